/* The CONFIG that carries a scope, and what a sensor says to it: small maps, written by msgpack-c and read by the cursor. */
#include <string.h>

#include <msgpack.h>

#include "picket/envelope.h"
#include "picket/hash.h"
#include "picket/limits.h"

#include "cursor.h"
#include "msgpack_bytes.h"

uint32_t pk_config_version(const uint8_t *body, size_t len)
{
    struct pk_config_scope scope;
    uint8_t digest[PK_DIGEST_BYTES];
    if (pk_config_scope_decode(body, len, &scope) == PK_OK && scope.text.len > 0) {
        pk_digest(scope.text.data, scope.text.len, digest); /* its number changes nothing */
    } else {
        pk_digest(body, len, digest);
    }
    uint32_t version = (uint32_t)digest[0] | (uint32_t)digest[1] << 8 | (uint32_t)digest[2] << 16 |
                       (uint32_t)digest[3] << 24;
    return version ? version : 1;
}

pk_err pk_config_scope_encode(const struct pk_config_scope *scope, struct pk_bytes *out)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, pk_msgpack_write);
    msgpack_pack_map(&packer, 2);
    msgpack_pack_uint64(&packer, 2);
    msgpack_pack_bin(&packer, scope->text.len);
    msgpack_pack_bin_body(&packer, scope->text.data, scope->text.len);
    msgpack_pack_uint64(&packer, 3);
    msgpack_pack_uint64(&packer, scope->serial);
    return out->err;
}

pk_err pk_config_scope_decode(const uint8_t *data, size_t len, struct pk_config_scope *out_scope)
{
    struct pk_config_scope scope = {.serial = 0};
    struct pk_reader in;
    pk_reader_init(&in, data, len);
    uint32_t left = mp_map(&in, PK_MAX_MAP_ENTRIES);
    for (unsigned key = mp_next_key(&in, &left, 0); key; key = mp_next_key(&in, &left, key)) {
        if (key == 2) {
            scope.text = mp_bin(&in, PK_MAX_SCOPE_BYTES);
        } else if (key == 3) {
            scope.serial = (uint32_t)mp_uint(&in, UINT32_MAX);
        } else {
            mp_skip(&in);
        }
    }
    if (in.err == PK_OK && !pk_reader_at_end(&in)) {
        return PK_ERR_MALFORMED;
    }
    if (in.err == PK_OK) {
        *out_scope = scope;
    }
    return in.err;
}

pk_err pk_config_ack_body_encode(const char *reason, struct pk_bytes *out)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, pk_msgpack_write);
    msgpack_pack_map(&packer, 1);
    msgpack_pack_uint64(&packer, 1);
    msgpack_pack_str(&packer, strlen(reason));
    msgpack_pack_str_body(&packer, reason, strlen(reason));
    return out->err;
}

pk_err pk_config_ack_body_decode(
    const uint8_t *data, size_t len, char out_reason[PK_CONFIG_REASON_SIZE])
{
    char reason[PK_CONFIG_REASON_SIZE] = "";
    struct pk_reader in;
    pk_reader_init(&in, data, len);
    uint32_t left = mp_map(&in, PK_MAX_MAP_ENTRIES);
    for (unsigned key = mp_next_key(&in, &left, 0); key; key = mp_next_key(&in, &left, key)) {
        if (key == 1) {
            mp_text(&in, reason, sizeof reason);
        } else {
            mp_skip(&in);
        }
    }
    if (in.err == PK_OK && !pk_reader_at_end(&in)) {
        return PK_ERR_MALFORMED;
    }
    if (in.err == PK_OK) {
        memcpy(out_reason, reason, sizeof reason);
    }
    return in.err;
}

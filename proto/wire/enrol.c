/* Small maps again, written by msgpack-c and read by the cursor; the token is one of them in base64url. */
#include "picket/enrol.h"

#include <string.h>

#include <msgpack.h>
#include <sodium.h>

#include "picket/hash.h"

#include "cursor.h"
#include "msgpack_bytes.h"

#define TOKEN_PREFIX "picket1."

enum {
    CHECK_KEY = 6,
    CHECK_BYTES = 4,
};

/* BLAKE2b has 16 bytes at least; the first four tell a slip of the hand. */
static void check_of(const uint8_t *data, size_t len, uint8_t out_check[CHECK_BYTES])
{
    uint8_t digest[crypto_generichash_BYTES];
    (void)crypto_generichash(digest, sizeof digest, data, len, NULL, 0);
    memcpy(out_check, digest, CHECK_BYTES);
}

static void put_blob(msgpack_packer *packer, unsigned key, const void *data, size_t len)
{
    msgpack_pack_uint64(packer, key);
    msgpack_pack_bin(packer, len);
    msgpack_pack_bin_body(packer, data, len);
}

static void put_text(msgpack_packer *packer, const char *text)
{
    msgpack_pack_str(packer, strlen(text));
    msgpack_pack_str_body(packer, text, strlen(text));
}

static pk_err finish(const struct pk_reader *in, bool is_complete)
{
    return in->err != PK_OK                      ? in->err
           : pk_reader_at_end(in) && is_complete ? PK_OK
                                                 : PK_ERR_MALFORMED;
}

/* --- token --- */

pk_err pk_token_encode(const struct pk_token *token, char out_text[PK_TOKEN_TEXT_SIZE])
{
    struct pk_bytes bytes;
    msgpack_packer packer;
    pk_bytes_init(&bytes, PK_TOKEN_TEXT_SIZE);
    msgpack_packer_init(&packer, &bytes, pk_msgpack_write);
    msgpack_pack_map(&packer, token->has_client_key ? 6 : 5);
    msgpack_pack_uint64(&packer, 1);
    put_text(&packer, token->endpoint);
    put_blob(&packer, 2, token->server_pubkey, PK_KEY_BYTES);
    put_blob(&packer, 3, token->id, PK_TOKEN_ID_BYTES);
    put_blob(&packer, 4, token->secret, PK_TOKEN_SECRET_BYTES);
    if (token->has_client_key) {
        put_blob(&packer, 5, token->client_key, PK_KEY_BYTES);
    }
    if (bytes.err == PK_OK) {
        uint8_t check[CHECK_BYTES];
        check_of(bytes.data, bytes.len, check);
        put_blob(&packer, CHECK_KEY, check, sizeof check);
    }
    size_t prefix = strlen(TOKEN_PREFIX);
    pk_err err = bytes.err;
    if (err == PK_OK &&
        sodium_base64_encoded_len(bytes.len, sodium_base64_VARIANT_URLSAFE_NO_PADDING) + prefix >
            PK_TOKEN_TEXT_SIZE) {
        err = PK_ERR_LIMIT;
    }
    if (err == PK_OK) {
        memcpy(out_text, TOKEN_PREFIX, prefix);
        sodium_bin2base64(out_text + prefix, PK_TOKEN_TEXT_SIZE - prefix, bytes.data, bytes.len,
            sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    }
    if (bytes.data) {
        sodium_memzero(bytes.data, bytes.len);
    }
    pk_bytes_done(&bytes);
    return err;
}

static pk_err decode_token(const uint8_t *data, size_t len, struct pk_token *token)
{
    struct pk_reader in;
    unsigned seen = 0;
    pk_reader_init(&in, data, len);
    bool is_right = true;
    uint32_t left = mp_map(&in, PK_MAX_MAP_ENTRIES);
    size_t start = in.pos;
    for (unsigned key = mp_next_key(&in, &left, 0); key;
         start = in.pos, key = mp_next_key(&in, &left, key)) {
        seen |= key < 8 ? 1U << key : 0;
        if (key == 1) {
            mp_text(&in, token->endpoint, sizeof token->endpoint);
        } else if (key == 2) {
            mp_blob(&in, token->server_pubkey, PK_KEY_BYTES);
        } else if (key == 3) {
            mp_blob(&in, token->id, PK_TOKEN_ID_BYTES);
        } else if (key == 4) {
            mp_blob(&in, token->secret, PK_TOKEN_SECRET_BYTES);
        } else if (key == 5) {
            mp_blob(&in, token->client_key, PK_KEY_BYTES);
            token->has_client_key = true;
        } else if (key == CHECK_KEY) {
            uint8_t check[CHECK_BYTES] = {0}, wanted[CHECK_BYTES];
            mp_blob(&in, check, sizeof check);
            check_of(data, start, wanted);
            is_right = memcmp(check, wanted, sizeof check) == 0;
        } else {
            is_right = is_right && (seen & 1U << CHECK_KEY); /* else the check's own key changed */
            mp_skip(&in);
        }
    }
    return finish(&in, is_right && (seen & 0x1e) == 0x1e);
}

pk_err pk_token_decode(const char *text, struct pk_token *out_token)
{
    size_t prefix = strlen(TOKEN_PREFIX), len = 0;
    uint8_t bytes[PK_TOKEN_TEXT_SIZE];
    struct pk_token token = {.endpoint = ""};
    if (strncmp(text, TOKEN_PREFIX, prefix) != 0) {
        return strncmp(text, "picket", 6) == 0 && strchr(text, '.') ? PK_ERR_VERSION
                                                                    : PK_ERR_MALFORMED;
    }
    if (strlen(text) >= PK_TOKEN_TEXT_SIZE ||
        sodium_base642bin(bytes, sizeof bytes, text + prefix, strlen(text + prefix), NULL, &len,
            NULL, sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0) {
        return PK_ERR_MALFORMED;
    }
    pk_err err = decode_token(bytes, len, &token);
    if (err == PK_OK) {
        *out_token = token;
    }
    sodium_memzero(bytes, sizeof bytes);
    sodium_memzero(&token, sizeof token);
    return err;
}

void pk_token_digest(const uint8_t secret[PK_TOKEN_SECRET_BYTES], uint8_t out_digest[32])
{
    (void)crypto_generichash(out_digest, 32, secret, PK_TOKEN_SECRET_BYTES, NULL, 0);
}

/* --- messages --- */

pk_err pk_enrol_request_encode(const struct pk_enrol_request *request, struct pk_bytes *out)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, pk_msgpack_write);
    msgpack_pack_map(&packer, 3);
    put_blob(&packer, 1, request->id, PK_TOKEN_ID_BYTES);
    put_blob(&packer, 2, request->secret, PK_TOKEN_SECRET_BYTES);
    msgpack_pack_uint64(&packer, 3);
    put_text(&packer, request->name);
    return out->err;
}

pk_err pk_enrol_request_decode(
    const uint8_t *data, size_t len, struct pk_enrol_request *out_request)
{
    struct pk_enrol_request request = {.name = ""};
    struct pk_reader in;
    unsigned seen = 0;
    pk_reader_init(&in, data, len);
    uint32_t left = mp_map(&in, PK_MAX_MAP_ENTRIES);
    for (unsigned key = mp_next_key(&in, &left, 0); key; key = mp_next_key(&in, &left, key)) {
        seen |= key < 8 ? 1U << key : 0;
        if (key == 1) {
            mp_blob(&in, request.id, PK_TOKEN_ID_BYTES);
        } else if (key == 2) {
            mp_blob(&in, request.secret, PK_TOKEN_SECRET_BYTES);
        } else if (key == 3) {
            mp_text(&in, request.name, sizeof request.name);
        } else {
            mp_skip(&in);
        }
    }
    pk_err err = finish(&in, (seen & 6) == 6);
    if (err == PK_OK) {
        *out_request = request;
    }
    return err;
}

pk_err pk_enrol_answer_encode(const struct pk_enrol_answer *answer, struct pk_bytes *out)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, pk_msgpack_write);
    msgpack_pack_map(&packer, 6);
    msgpack_pack_uint64(&packer, 1);
    msgpack_pack_uint64(&packer, answer->status);
    msgpack_pack_uint64(&packer, 2);
    msgpack_pack_uint64(&packer, answer->sensor_id);
    msgpack_pack_uint64(&packer, 3);
    put_text(&packer, answer->name);
    msgpack_pack_uint64(&packer, 4);
    put_text(&packer, answer->place);
    msgpack_pack_uint64(&packer, 5);
    msgpack_pack_array(&packer, answer->n_endpoints);
    for (uint32_t i = 0; i < answer->n_endpoints; i++) {
        put_text(&packer, answer->endpoints[i]);
    }
    put_blob(&packer, 6, answer->scope.data, answer->scope.len);
    return out->err;
}

pk_err pk_enrol_answer_decode(const uint8_t *data, size_t len, struct pk_enrol_answer *out_answer)
{
    struct pk_enrol_answer answer = {.name = ""};
    struct pk_reader in;
    unsigned seen = 0;
    pk_reader_init(&in, data, len);
    uint32_t left = mp_map(&in, PK_MAX_MAP_ENTRIES);
    for (unsigned key = mp_next_key(&in, &left, 0); key; key = mp_next_key(&in, &left, key)) {
        seen |= key < 8 ? 1U << key : 0;
        if (key == 1) {
            answer.status = (uint8_t)mp_uint(&in, UINT8_MAX);
        } else if (key == 2) {
            answer.sensor_id = (uint32_t)mp_uint(&in, UINT32_MAX);
        } else if (key == 3) {
            mp_text(&in, answer.name, sizeof answer.name);
        } else if (key == 4) {
            mp_text(&in, answer.place, sizeof answer.place);
        } else if (key == 5) {
            answer.n_endpoints = mp_array(&in, PK_ENROL_MAX_ENDPOINTS);
            for (uint32_t i = 0; i < answer.n_endpoints; i++) {
                mp_text(&in, answer.endpoints[i], sizeof answer.endpoints[i]);
            }
        } else if (key == 6) {
            answer.scope = mp_bin(&in, PK_MAX_BODY_BYTES);
        } else {
            mp_skip(&in);
        }
    }
    pk_err err = finish(&in, (seen & 0x3e) == 0x3e && answer.n_endpoints > 0);
    if (err == PK_OK) {
        *out_answer = answer;
    }
    return err;
}

/* Written by temporary file, fsync and rename. */
#include "ship/pushed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "picket/limits.h"
#include "picket/segment.h"

#include "ship/spool_file.h"

enum {
    CRC_BYTES = 4,
    MAGIC_BYTES = 8,
    NONCE_BYTES = crypto_secretbox_NONCEBYTES,
    SEAL_BYTES = MAGIC_BYTES + NONCE_BYTES + crypto_secretbox_MACBYTES,
    MAX_BODY = PK_MAX_SCOPE_BYTES + 4096, /* unknown keys beside it */
};

static const char magic[] = "PKSCOPE1"; /* no body of CONFIG begins so: it is a map */

pk_err pk_pushed_init(struct pk_pushed *out_pushed, const uint8_t *body, size_t len)
{
    struct pk_config_scope scope;
    *out_pushed = (struct pk_pushed){.version = 0};
    pk_bytes_init(&out_pushed->body, MAX_BODY);
    pk_bytes_put(&out_pushed->body, body, len);
    pk_err err = out_pushed->body.err;
    if (err == PK_OK) {
        err = pk_config_scope_decode(out_pushed->body.data, out_pushed->body.len, &scope);
    }
    if (err == PK_OK && scope.text.len == 0) {
        err = PK_ERR_MALFORMED;
    }
    if (err != PK_OK) {
        pk_pushed_done(out_pushed);
        return err;
    }
    out_pushed->version = pk_config_version(body, len);
    out_pushed->serial = scope.serial;
    out_pushed->text = scope.text;
    return PK_OK;
}

void pk_pushed_done(struct pk_pushed *pushed)
{
    pk_bytes_done(&pushed->body);
    *pushed = (struct pk_pushed){.version = 0};
}

static bool read_whole(const char *folder, struct pk_bytes *out)
{
    int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = dir >= 0 ? openat(dir, "scope", O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    ssize_t n = fd >= 0 ? 1 : -1;
    while (n > 0) {
        uint8_t chunk[16384];
        do {
            n = read(fd, chunk, sizeof chunk);
        } while (n < 0 && errno == EINTR);
        pk_bytes_put(out, chunk, n > 0 ? (size_t)n : 0);
    }
    if (fd >= 0) {
        close(fd);
    }
    if (dir >= 0) {
        close(dir);
    }
    return n == 0 && out->err == PK_OK;
}

/* --- sealed or in clear --- */

/* The spool's key is a key of streams; this one is of nothing but the scope. */
static void derive(const uint8_t *spool_key, uint8_t out_key[crypto_secretbox_KEYBYTES])
{
    _Static_assert((int)crypto_kdf_KEYBYTES == (int)PK_SPOOL_KEY_BYTES, "a master of 32 bytes");
    (void)crypto_kdf_derive_from_key(out_key, crypto_secretbox_KEYBYTES, 1, "pk-scope", spool_key);
}

static bool is_sealed(const struct pk_bytes *raw)
{
    return raw->len >= MAGIC_BYTES && memcmp(raw->data, magic, MAGIC_BYTES) == 0;
}

static bool open_sealed(const struct pk_bytes *raw, const uint8_t *spool_key, struct pk_bytes *out)
{
    uint8_t key[crypto_secretbox_KEYBYTES];
    if (!spool_key || raw->len < SEAL_BYTES) {
        return false;
    }
    derive(spool_key, key);
    uint8_t *plain = pk_bytes_extend(out, raw->len - SEAL_BYTES);
    bool is_good =
        plain && crypto_secretbox_open_easy(plain, raw->data + MAGIC_BYTES + NONCE_BYTES,
                     raw->len - MAGIC_BYTES - NONCE_BYTES, raw->data + MAGIC_BYTES, key) == 0;
    sodium_memzero(key, sizeof key);
    return is_good;
}

static pk_err seal(const struct pk_bytes *body, const uint8_t *spool_key, struct pk_bytes *out)
{
    uint8_t key[crypto_secretbox_KEYBYTES], nonce[NONCE_BYTES];
    randombytes_buf(nonce, sizeof nonce);
    pk_bytes_put(out, magic, MAGIC_BYTES);
    pk_bytes_put(out, nonce, sizeof nonce);
    uint8_t *box = pk_bytes_extend(out, body->len + crypto_secretbox_MACBYTES);
    derive(spool_key, key);
    if (box) {
        (void)crypto_secretbox_easy(box, body->data, body->len, nonce, key);
    }
    sodium_memzero(key, sizeof key);
    return out->err;
}

static pk_err check_sum(const struct pk_bytes *body, struct pk_bytes *out)
{
    pk_bytes_put(out, body->data, body->len);
    pk_bytes_put_be32(out, pk_crc32c(body->data, body->len));
    return out->err;
}

static bool is_whole(const struct pk_bytes *raw)
{
    if (raw->len <= CRC_BYTES) {
        return false;
    }
    const uint8_t *crc = raw->data + raw->len - CRC_BYTES;
    uint32_t wanted =
        (uint32_t)crc[0] << 24 | (uint32_t)crc[1] << 16 | (uint32_t)crc[2] << 8 | crc[3];
    return pk_crc32c(raw->data, raw->len - CRC_BYTES) == wanted;
}

enum pk_pushed_found pk_pushed_load(
    const char *folder, const uint8_t *spool_key, struct pk_pushed *out_pushed)
{
    struct pk_bytes raw, plain;
    enum pk_pushed_found found = PK_PUSHED_NONE;
    *out_pushed = (struct pk_pushed){.version = 0};
    pk_bytes_init(&raw, MAX_BODY + SEAL_BYTES);
    pk_bytes_init(&plain, MAX_BODY);
    if (read_whole(folder, &raw) && is_sealed(&raw)) {
        found = open_sealed(&raw, spool_key, &plain) &&
                        pk_pushed_init(out_pushed, plain.data, plain.len) == PK_OK
                    ? PK_PUSHED_SEALED
                    : PK_PUSHED_OF_ANOTHER_KEY;
    } else if (is_whole(&raw) &&
               pk_pushed_init(out_pushed, raw.data, raw.len - CRC_BYTES) == PK_OK) {
        found = PK_PUSHED_IN_CLEAR;
    }
    pk_bytes_done(&raw);
    pk_bytes_done(&plain);
    return found;
}

/* --- writing --- */

static bool write_whole(int fd, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        data += n;
        len -= (size_t)n;
    }
    return true;
}

pk_err pk_pushed_save(const char *folder, const uint8_t *spool_key, const struct pk_pushed *pushed)
{
    struct pk_bytes raw;
    pk_bytes_init(&raw, MAX_BODY + SEAL_BYTES);
    pk_err err = spool_key ? seal(&pushed->body, spool_key, &raw) : check_sum(&pushed->body, &raw);
    int dir = err == PK_OK ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    int fd = dir >= 0 ? openat(dir, "scope.new",
                            O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600)
                      : -1;
    bool is_good = fd >= 0 && write_whole(fd, raw.data, raw.len) && fsync(fd) == 0;
    if (fd >= 0) {
        is_good = close(fd) == 0 && is_good;
    }
    is_good = is_good && renameat(dir, "scope.new", dir, "scope") == 0 && fsync(dir) == 0;
    if (dir >= 0) {
        close(dir);
    }
    pk_bytes_done(&raw);
    return err != PK_OK ? err : is_good ? PK_OK : PK_ERR_IO;
}

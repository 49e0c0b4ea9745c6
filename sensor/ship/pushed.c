/* Written by temporary file, fsync and rename. */
#include "ship/pushed.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "picket/limits.h"
#include "picket/segment.h"

enum {
    CRC_BYTES = 4,
    MAX_BODY = PK_MAX_SCOPE_BYTES + 4096, /* unknown keys beside it */
};

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
        n = read(fd, chunk, sizeof chunk);
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

void pk_pushed_load(const char *folder, struct pk_pushed *out_pushed)
{
    struct pk_bytes raw;
    *out_pushed = (struct pk_pushed){.version = 0};
    pk_bytes_init(&raw, MAX_BODY + CRC_BYTES);
    if (read_whole(folder, &raw) && raw.len > CRC_BYTES) {
        size_t len = raw.len - CRC_BYTES;
        const uint8_t *crc = raw.data + len;
        uint32_t wanted =
            (uint32_t)crc[0] << 24 | (uint32_t)crc[1] << 16 | (uint32_t)crc[2] << 8 | crc[3];
        if (pk_crc32c(raw.data, len) == wanted) {
            (void)pk_pushed_init(out_pushed, raw.data, len); /* stays empty when it fails */
        }
    }
    pk_bytes_done(&raw);
}

static bool write_whole(int fd, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n <= 0) {
            return false;
        }
        data += n;
        len -= (size_t)n;
    }
    return true;
}

pk_err pk_pushed_save(const char *folder, const struct pk_pushed *pushed)
{
    uint32_t crc = pk_crc32c(pushed->body.data, pushed->body.len);
    const uint8_t tail[CRC_BYTES] = {
        (uint8_t)(crc >> 24), (uint8_t)(crc >> 16), (uint8_t)(crc >> 8), (uint8_t)crc};
    int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = dir >= 0 ? openat(dir, "scope.new",
                            O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600)
                      : -1;
    bool is_good = fd >= 0 && write_whole(fd, pushed->body.data, pushed->body.len) &&
                   write_whole(fd, tail, sizeof tail) && fsync(fd) == 0;
    if (fd >= 0) {
        is_good = close(fd) == 0 && is_good;
    }
    is_good = is_good && renameat(dir, "scope.new", dir, "scope") == 0 && fsync(dir) == 0;
    if (dir >= 0) {
        close(dir);
    }
    return is_good ? PK_OK : PK_ERR_IO;
}

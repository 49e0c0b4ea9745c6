/* Written by temporary file, fsync and rename. */
#include "ship/learned.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "picket/segment.h"

enum {
    MAX_FILE = 1024, /* four endpoints of 127 bytes with their keys */
    CRC_BYTES = 4,
};

static bool is_same(const struct pk_config_endpoint *a, const struct pk_config_endpoint *b)
{
    return strcmp(a->endpoint.address, b->endpoint.address) == 0 &&
           memcmp(a->endpoint.server_pubkey, b->endpoint.server_pubkey, PK_KEY_BYTES) == 0;
}

bool pk_learned_add(
    struct pk_config_body *learned, const struct pk_config_body *news, uint32_t *out_dropped)
{
    bool has_changed = false;
    *out_dropped = 0;
    for (uint32_t i = 0; i < news->n; i++) {
        uint32_t at = 0;
        while (at < learned->n && !is_same(&learned->endpoints[at], &news->endpoints[i])) {
            at++;
        }
        if (at < learned->n) {
            has_changed |= learned->endpoints[at].not_before_us != news->endpoints[i].not_before_us;
            learned->endpoints[at] = news->endpoints[i];
            continue;
        }
        if (learned->n == PK_MAX_LEARNED) {
            memmove(learned->endpoints, learned->endpoints + 1,
                --learned->n * sizeof learned->endpoints[0]);
            ++*out_dropped;
        }
        learned->endpoints[learned->n++] = news->endpoints[i];
        has_changed = true;
    }
    return has_changed;
}

void pk_learned_load(const char *folder, struct pk_config_body *out_learned)
{
    uint8_t raw[MAX_FILE];
    *out_learned = (struct pk_config_body){.n = 0};
    int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = dir >= 0 ? openat(dir, "learned", O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    ssize_t len = fd >= 0 ? read(fd, raw, sizeof raw) : -1;
    if (fd >= 0) {
        close(fd);
    }
    if (dir >= 0) {
        close(dir);
    }
    if (len <= CRC_BYTES) {
        return;
    }
    size_t body_len = (size_t)len - CRC_BYTES;
    const uint8_t *crc = raw + body_len;
    uint32_t wanted =
        (uint32_t)crc[0] << 24 | (uint32_t)crc[1] << 16 | (uint32_t)crc[2] << 8 | crc[3];
    if (pk_crc32c(raw, body_len) == wanted) {
        (void)pk_config_body_decode(raw, body_len, out_learned); /* leaves it empty when it fails */
    }
}

pk_err pk_learned_save(const char *folder, const struct pk_config_body *learned)
{
    struct pk_bytes body;
    pk_bytes_init(&body, MAX_FILE);
    pk_err err = pk_config_body_encode(learned, &body);
    if (err == PK_OK) {
        pk_bytes_put_be32(&body, pk_crc32c(body.data, body.len));
        err = body.err;
    }
    int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = err == PK_OK && dir >= 0
                 ? openat(dir, "learned.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
                       0600)
                 : -1;
    bool is_good = fd >= 0 && write(fd, body.data, body.len) == (ssize_t)body.len && fsync(fd) == 0;
    if (fd >= 0) {
        is_good = close(fd) == 0 && is_good;
    }
    is_good = is_good && renameat(dir, "learned.new", dir, "learned") == 0 && fsync(dir) == 0;
    if (dir >= 0) {
        close(dir);
    }
    pk_bytes_done(&body);
    return is_good ? PK_OK : err == PK_OK ? PK_ERR_IO : err;
}

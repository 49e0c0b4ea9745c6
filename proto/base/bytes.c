/* Growable bytes. Doubling growth, capped at max_bytes; the sticky error lets encoders write straight through. */
#include "picket/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    FIRST_CAP = 256
};

void pk_bytes_init(struct pk_bytes *bytes, size_t max_bytes)
{
    /* Sums and doublings of lengths never wrap, whatever "no limit" the caller has in mind. */
    *bytes = (struct pk_bytes){.max_bytes = max_bytes < SIZE_MAX / 4 ? max_bytes : SIZE_MAX / 4};
}

size_t pk_bytes_bound_bytes(size_t max_bytes)
{
    return max_bytes + 1;
}

void pk_bytes_done(struct pk_bytes *bytes)
{
    free(bytes->data);
    bytes->data = NULL;
    bytes->len = 0;
    bytes->cap = 0;
    bytes->err = PK_OK;
}

void pk_bytes_clear(struct pk_bytes *bytes)
{
    bytes->len = 0;
    bytes->err = PK_OK;
}

/* Makes room for `more` bytes and one spare (the zero of pk_bytes_text). */
static bool grow(struct pk_bytes *bytes, size_t more)
{
    if (bytes->err != PK_OK) {
        return false;
    }
    if (more > bytes->max_bytes - bytes->len) {
        bytes->err = PK_ERR_LIMIT;
        return false;
    }
    size_t need = bytes->len + more + 1;
    if (need <= bytes->cap) {
        return true;
    }
    size_t cap = bytes->cap ? bytes->cap : FIRST_CAP;
    while (cap < need) {
        cap *= 2;
    }
    if (cap > bytes->max_bytes + 1) {
        cap = bytes->max_bytes + 1; /* need is not more */
    }
    uint8_t *data = realloc(bytes->data, cap);
    if (!data) {
        bytes->err = PK_ERR_NOMEM;
        return false;
    }
    bytes->data = data;
    bytes->cap = cap;
    return true;
}

uint8_t *pk_bytes_extend(struct pk_bytes *bytes, size_t len)
{
    if (!grow(bytes, len)) {
        return NULL;
    }
    uint8_t *room = bytes->data + bytes->len;
    bytes->len += len;
    return room;
}

void pk_bytes_put(struct pk_bytes *bytes, const void *data, size_t len)
{
    if (len > 0 && grow(bytes, len)) {
        memcpy(bytes->data + bytes->len, data, len);
        bytes->len += len;
    }
}

void pk_bytes_put_u8(struct pk_bytes *bytes, uint8_t v)
{
    if (grow(bytes, 1)) {
        bytes->data[bytes->len++] = v;
    }
}

void pk_bytes_put_be16(struct pk_bytes *bytes, uint16_t v)
{
    uint8_t raw[2] = {(uint8_t)(v >> 8), (uint8_t)v};
    pk_bytes_put(bytes, raw, sizeof raw);
}

void pk_bytes_put_be32(struct pk_bytes *bytes, uint32_t v)
{
    uint8_t raw[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    pk_bytes_put(bytes, raw, sizeof raw);
}

void pk_bytes_put_be64(struct pk_bytes *bytes, uint64_t v)
{
    pk_bytes_put_be32(bytes, (uint32_t)(v >> 32));
    pk_bytes_put_be32(bytes, (uint32_t)v);
}

void pk_bytes_put_varint(struct pk_bytes *bytes, uint64_t v)
{
    uint8_t raw[10];
    size_t n = 0;
    while (v >= 0x80) {
        raw[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    raw[n++] = (uint8_t)v;
    pk_bytes_put(bytes, raw, n);
}

void pk_bytes_printf(struct pk_bytes *bytes, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0) {
        bytes->err = bytes->err != PK_OK ? bytes->err : PK_ERR_MALFORMED;
    } else if (grow(bytes, (size_t)n)) { /* grow leaves room for the zero */
        vsnprintf((char *)bytes->data + bytes->len, (size_t)n + 1, format, again);
        bytes->len += (size_t)n;
    }
    va_end(again);
}

const char *pk_bytes_text(struct pk_bytes *bytes)
{
    if (!grow(bytes, 0)) {
        return NULL;
    }
    bytes->data[bytes->len] = '\0';
    return (const char *)bytes->data;
}

pk_err pk_bytes_read_file(struct pk_bytes *bytes, const char *path)
{
    bool is_stdin = strcmp(path, "-") == 0;
    int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    uint8_t chunk[65536];
    ssize_t n = fd < 0 ? -1 : 0;
    if (fd >= 0) {
        while (bytes->err == PK_OK && (n = read(fd, chunk, sizeof chunk)) > 0) {
            pk_bytes_put(bytes, chunk, (size_t)n);
        }
    }
    int saved = errno;
    if (fd >= 0 && !is_stdin) {
        close(fd);
    }
    errno = saved;
    return n < 0 ? PK_ERR_IO : bytes->err;
}

/* read(2), with an unpacker behind it where the content asks for one. */
#include "input/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lzma.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

enum {
    IN_SIZE = 256 << 10,
    LONGEST_MARK = 6,
    ZSTD_WINDOW_LOG = 27 /* 128 MiB, as the zstd tool without --memory */
};

enum packing {
    PLAIN,
    GZIP,
    XZ,
    ZSTD
};

/* A packed file being read. */
struct pk_unpack {
    int fd;
    enum packing packing;
    uint8_t in[IN_SIZE];
    size_t in_len, in_pos;
    bool at_end;                        /* of the file on disk */
    bool is_damaged;                    /* the packed stream is */
    bool is_too_large;                  /* and why: its window is */
    int failed;                         /* errno of the read that did */
    uint8_t peeked[PK_UNPACK_MAX_PEEK]; /* unpacked, given out before the rest */
    size_t peeked_len, peeked_pos;
    z_stream gzip;
    lzma_stream xz;
    ZSTD_DStream *zstd;
};

static enum packing packing_of(const uint8_t *p, size_t len)
{
    if (len >= 2 && p[0] == 0x1f && p[1] == 0x8b) {
        return GZIP;
    }
    if (len >= 6 && memcmp(p,
                        "\xfd"
                        "7zXZ\0",
                        6) == 0) {
        return XZ;
    }
    if (len >= 4 && memcmp(p, "\x28\xb5\x2f\xfd", 4) == 0) {
        return ZSTD;
    }
    return PLAIN;
}

static size_t read_some(struct pk_unpack *unpack, uint8_t *out, size_t size)
{
    ssize_t n;
    do {
        n = read(unpack->fd, out, size);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        unpack->failed = errno;
    }
    unpack->at_end = n <= 0;
    return n > 0 ? (size_t)n : 0;
}

static void refill(struct pk_unpack *unpack)
{
    if (unpack->in_pos == unpack->in_len && !unpack->at_end) {
        unpack->in_len = read_some(unpack, unpack->in, sizeof unpack->in);
        unpack->in_pos = 0;
    }
}

static size_t unpack_plain(struct pk_unpack *unpack, uint8_t *out, size_t size)
{
    size_t n = unpack->in_len - unpack->in_pos < size ? unpack->in_len - unpack->in_pos : size;
    memcpy(out, unpack->in + unpack->in_pos, n);
    unpack->in_pos += n;
    return n;
}

static size_t unpack_gzip(struct pk_unpack *unpack, uint8_t *out, size_t size)
{
    z_stream *z = &unpack->gzip;
    z->next_in = unpack->in + unpack->in_pos;
    z->avail_in = (uInt)(unpack->in_len - unpack->in_pos);
    z->next_out = out;
    z->avail_out = (uInt)size;
    int result = inflate(z, Z_NO_FLUSH);
    unpack->in_pos = unpack->in_len - z->avail_in;
    if (result == Z_STREAM_END) {
        (void)inflateReset(z); /* another member may follow */
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
        unpack->is_damaged = true;
    }
    return size - z->avail_out;
}

static size_t unpack_xz(struct pk_unpack *unpack, uint8_t *out, size_t size)
{
    lzma_stream *x = &unpack->xz;
    x->next_in = unpack->in + unpack->in_pos;
    x->avail_in = unpack->in_len - unpack->in_pos;
    x->next_out = out;
    x->avail_out = size;
    lzma_ret result = lzma_code(x, unpack->at_end ? LZMA_FINISH : LZMA_RUN);
    unpack->in_pos = unpack->in_len - x->avail_in;
    bool is_cut = unpack->at_end && x->avail_out == size && result != LZMA_STREAM_END;
    if (is_cut || (result != LZMA_OK && result != LZMA_STREAM_END && result != LZMA_BUF_ERROR)) {
        unpack->is_damaged = true;
        unpack->is_too_large = result == LZMA_MEMLIMIT_ERROR;
    }
    return size - x->avail_out;
}

static size_t unpack_zstd(struct pk_unpack *unpack, uint8_t *out, size_t size)
{
    ZSTD_inBuffer in = {.src = unpack->in, .size = unpack->in_len, .pos = unpack->in_pos};
    ZSTD_outBuffer room = {.dst = out, .size = size};
    size_t result = ZSTD_decompressStream(unpack->zstd, &room, &in);
    unpack->is_damaged = ZSTD_isError(result);
    unpack->is_too_large = ZSTD_getErrorCode(result) == ZSTD_error_frameParameter_windowTooLarge;
    unpack->in_pos = in.pos;
    return room.pos;
}

static size_t run(struct pk_unpack *unpack, uint8_t *out, size_t size)
{
    switch (unpack->packing) {
    case GZIP:
        return unpack_gzip(unpack, out, size);
    case XZ:
        return unpack_xz(unpack, out, size);
    case ZSTD:
        return unpack_zstd(unpack, out, size);
    case PLAIN:
        break;
    }
    return unpack_plain(unpack, out, size);
}

/* At least one unpacked byte, or 0 at the end or at damage. */
static size_t unpacked(struct pk_unpack *unpack, uint8_t *out, size_t size)
{
    size_t n = 0;
    if (unpack->packing == PLAIN && unpack->in_pos == unpack->in_len) { /* spares a copy */
        return unpack->at_end ? 0 : read_some(unpack, out, size);
    }
    while (n == 0 && !unpack->is_damaged) {
        refill(unpack);
        n = run(unpack, out, size);
        if (n == 0 && unpack->at_end) {
            break;
        }
    }
    return n;
}

size_t pk_unpack_read(struct pk_unpack *unpack, uint8_t *out, size_t size)
{
    size_t n = unpack->peeked_len - unpack->peeked_pos;
    if (n == 0) {
        return unpacked(unpack, out, size);
    }
    n = n < size ? n : size;
    memcpy(out, unpack->peeked + unpack->peeked_pos, n);
    unpack->peeked_pos += n;
    return n;
}

void pk_unpack_close(struct pk_unpack *unpack)
{
    if (!unpack) {
        return;
    }
    if (unpack->packing == GZIP) {
        inflateEnd(&unpack->gzip);
    } else if (unpack->packing == XZ) {
        lzma_end(&unpack->xz);
    } else if (unpack->packing == ZSTD) {
        ZSTD_freeDStream(unpack->zstd);
    }
    if (unpack->fd != STDIN_FILENO) {
        close(unpack->fd);
    }
    free(unpack);
}

/* As many as the longest mark has, also from a pipe that gives them one by one. */
static void read_mark(struct pk_unpack *unpack)
{
    while (unpack->in_len < LONGEST_MARK && !unpack->at_end) {
        unpack->in_len +=
            read_some(unpack, unpack->in + unpack->in_len, sizeof unpack->in - unpack->in_len);
    }
}

static bool start_unpacking(struct pk_unpack *unpack)
{
    read_mark(unpack);
    unpack->packing = packing_of(unpack->in, unpack->in_len);
    switch (unpack->packing) {
    case GZIP:
        return inflateInit2(&unpack->gzip, 15 + 16) == Z_OK;
    case XZ:
        unpack->xz = (lzma_stream)LZMA_STREAM_INIT;
        return lzma_stream_decoder(&unpack->xz, PK_UNPACK_BOUND_BYTES - sizeof *unpack,
                   LZMA_CONCATENATED) == LZMA_OK;
    case ZSTD:
        unpack->zstd = ZSTD_createDStream();
        return unpack->zstd && !ZSTD_isError(ZSTD_initDStream(unpack->zstd)) &&
               !ZSTD_isError(
                   ZSTD_DCtx_setParameter(unpack->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG));
    case PLAIN:
        break;
    }
    return true;
}

pk_err pk_unpack_open(
    const char *path, struct pk_unpack **out_unpack, char out_error[PK_UNPACK_ERROR_SIZE])
{
    struct pk_unpack *unpack = calloc(1, sizeof *unpack);
    if (!unpack) {
        return PK_ERR_NOMEM;
    }
    unpack->fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (unpack->fd < 0) {
        snprintf(
            out_error, PK_UNPACK_ERROR_SIZE, "%s: cannot be opened: %s", path, strerror(errno));
        free(unpack);
        return PK_ERR_IO;
    }
    if (!start_unpacking(unpack)) {
        snprintf(out_error, PK_UNPACK_ERROR_SIZE, "%s: out of memory", path);
        pk_unpack_close(unpack);
        return PK_ERR_NOMEM;
    }
    *out_unpack = unpack;
    return PK_OK;
}

size_t pk_unpack_peek(struct pk_unpack *unpack, uint8_t *out, size_t size)
{
    size = size < sizeof unpack->peeked ? size : sizeof unpack->peeked;
    while (unpack->peeked_len < size) {
        size_t n = unpacked(unpack, unpack->peeked + unpack->peeked_len, size - unpack->peeked_len);
        if (n == 0) {
            break;
        }
        unpack->peeked_len += n;
    }
    memcpy(out, unpack->peeked, unpack->peeked_len);
    return unpack->peeked_len;
}

const char *pk_unpack_fault(const struct pk_unpack *unpack)
{
    return unpack->failed         ? strerror(unpack->failed)
           : unpack->is_too_large ? "unpacking it needs more memory than 130 MiB"
           : unpack->is_damaged   ? "the packed data cannot be unpacked"
                                  : NULL;
}

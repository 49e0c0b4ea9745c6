/* Files as they are, or packed with gzip, xz or zstd (told by content), as one stream of bytes. Edge. */
#ifndef SENSOR_UNPACK_H
#define SENSOR_UNPACK_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "picket/err.h"

enum {
    PK_UNPACK_ERROR_SIZE = 512,
    PK_UNPACK_MAX_PEEK = 16
};

struct pk_unpack;

/* "-" is standard input. The caller closes *out_stream, which owns *out_unpack. PK_ERR_IO, PK_ERR_NOMEM. */
pk_err pk_unpack_open(const char *path, FILE **out_stream, struct pk_unpack **out_unpack,
    char out_error[PK_UNPACK_ERROR_SIZE]);
/* The first bytes, which stay to be read; only before anything was read. Returns how many there are, at most PK_UNPACK_MAX_PEEK. */
size_t pk_unpack_peek(struct pk_unpack *unpack, uint8_t *out, size_t size);
bool pk_unpack_is_damaged(
    const struct pk_unpack *unpack); /* the packed data cannot be unpacked further */
uint64_t pk_unpack_offset(const struct pk_unpack *unpack); /* unpacked bytes given out */

#endif

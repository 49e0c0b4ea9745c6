/* Files as they are, or packed with gzip, xz or zstd (told by content), as one stream of bytes. Edge. */
#ifndef SENSOR_UNPACK_H
#define SENSOR_UNPACK_H

#include <stddef.h>
#include <stdint.h>

#include "picket/err.h"

enum {
    PK_UNPACK_ERROR_SIZE = 512,
    PK_UNPACK_BOUND_BYTES =
        130
        << 20, /* a file's window of 128 MiB (xz -9 needs 64, zstd --long 128); what asks for more is refused */
    PK_UNPACK_MAX_PEEK = 16
};

struct pk_unpack;

/* "-" is standard input. PK_ERR_IO, PK_ERR_NOMEM. */
pk_err pk_unpack_open(
    const char *path, struct pk_unpack **out_unpack, char out_error[PK_UNPACK_ERROR_SIZE]);
void pk_unpack_close(struct pk_unpack *unpack);
/* Up to size (> 0) unpacked bytes, as many as are there: at least one, 0 at the end or at damage. Plain files are read straight into out. */
size_t pk_unpack_read(struct pk_unpack *unpack, uint8_t *out, size_t size);
/* The first bytes, which stay to be read; only before anything was read. Returns how many there are, at most PK_UNPACK_MAX_PEEK. */
size_t pk_unpack_peek(struct pk_unpack *unpack, uint8_t *out, size_t size);
/* Why it ended before its end: the packed data cannot be unpacked, or the system's reason; NULL: it did not. Borrowed. */
const char *pk_unpack_fault(const struct pk_unpack *unpack);

#endif

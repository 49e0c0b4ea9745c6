/* A growable byte buffer with a ceiling and a sticky error.
 *
 * Appending never fails loudly: the first failure is remembered in `err`, later appends do nothing,
 * and the caller looks once at the end. Appends either happen whole or not at all. */
#ifndef PICKET_BYTES_H
#define PICKET_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picket/err.h"

struct pk_bytes {
    uint8_t *data;    /* owned; NULL while empty */
    size_t len;       /* bytes used */
    size_t cap;       /* bytes allocated */
    size_t max_bytes; /* ceiling for len */
    pk_err err;       /* PK_OK, PK_ERR_NOMEM or PK_ERR_LIMIT; the first failure */
};

/* Empty buffer that may grow to max_bytes. Allocates nothing. */
void pk_bytes_init(struct pk_bytes *bytes, size_t max_bytes);
/* What a buffer with this ceiling may come to allocate. */
size_t pk_bytes_bound_bytes(size_t max_bytes);
/* Frees the storage; the buffer is empty and usable afterwards. May be called twice. */
void pk_bytes_done(struct pk_bytes *bytes);
/* Forgets content and error, keeps the storage. */
void pk_bytes_clear(struct pk_bytes *bytes);

void pk_bytes_put(struct pk_bytes *bytes, const void *data, size_t len);
void pk_bytes_put_u8(struct pk_bytes *bytes, uint8_t v);
void pk_bytes_put_be16(struct pk_bytes *bytes, uint16_t v);
void pk_bytes_put_be32(struct pk_bytes *bytes, uint32_t v);
void pk_bytes_put_be64(struct pk_bytes *bytes, uint64_t v);
/* Unsigned LEB128, shortest form. */
void pk_bytes_put_varint(struct pk_bytes *bytes, uint64_t v);
/* printf-style text without the terminating zero. */
void pk_bytes_printf(struct pk_bytes *bytes, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Room for len more bytes at the end (uninitialised), counted as used; NULL on failure (sticky).
 * The pointer is good until the next call that changes the buffer. */
uint8_t *pk_bytes_extend(struct pk_bytes *bytes, size_t len);
/* Appends a zero that is not counted in len and returns the text; NULL when err is set. */
const char *pk_bytes_text(struct pk_bytes *bytes);

/* Appends a whole file ("-": standard input). PK_ERR_IO: errno says why; PK_ERR_LIMIT, PK_ERR_NOMEM as sticky error. */
pk_err pk_bytes_read_file(struct pk_bytes *bytes, const char *path);

#endif

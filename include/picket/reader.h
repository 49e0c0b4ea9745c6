/* A bounded cursor over bytes nobody may trust.
 *
 * Every read checks what is left. The first read that does not fit sets the sticky error and from
 * then on every read returns zero (or NULL), so a parser reads a whole structure straight through and
 * looks at pk_reader_err once. No pointer arithmetic on input happens anywhere else. */
#ifndef PICKET_READER_H
#define PICKET_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picket/err.h"

struct pk_reader {
    const uint8_t *data; /* borrowed */
    size_t len;
    size_t pos; /* <= len always */
    pk_err err;
};

void pk_reader_init(struct pk_reader *reader, const void *data, size_t len);

static inline size_t pk_reader_left(const struct pk_reader *reader)
{
    return reader->err == PK_OK ? reader->len - reader->pos : 0;
}
static inline pk_err pk_reader_err(const struct pk_reader *reader)
{
    return reader->err;
}
/* Sets the sticky error if none is set yet; used by parsers for their own rules. */
void pk_reader_fail(struct pk_reader *reader, pk_err err);

uint8_t pk_reader_u8(struct pk_reader *reader);
uint16_t pk_reader_be16(struct pk_reader *reader);
uint32_t pk_reader_be32(struct pk_reader *reader);
uint64_t pk_reader_be64(struct pk_reader *reader);
uint16_t pk_reader_le16(struct pk_reader *reader);
uint32_t pk_reader_le32(struct pk_reader *reader);
/* Unsigned LEB128 of at most 10 bytes in its shortest form; a longer form or more than 64 bits is
 * PK_ERR_MALFORMED. */
uint64_t pk_reader_varint(struct pk_reader *reader);
/* len bytes borrowed from the input, NULL on failure (or when len is 0). */
const uint8_t *pk_reader_bytes(struct pk_reader *reader, size_t len);
void pk_reader_skip(struct pk_reader *reader, size_t len);
/* A reader over the next len bytes; this one moves past them. On failure the sub-reader has the error. */
struct pk_reader pk_reader_sub(struct pk_reader *reader, size_t len);
/* True when everything was read and nothing failed. */
bool pk_reader_at_end(const struct pk_reader *reader);

#endif

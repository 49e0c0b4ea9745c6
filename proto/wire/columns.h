/* Columns: one bin each, a leading byte that names the encoding, then the values of all rows (docs/PROTOCOL.md s4.3). Private to proto/wire. */
#ifndef WIRE_COLUMNS_H
#define WIRE_COLUMNS_H

#include "picket/bytes.h"
#include "picket/observation.h"

enum pk_column_encoding {
    COLUMN_VARINT = 0,   /* unsigned LEB128 */
    COLUMN_DELTA = 1,    /* zigzag LEB128 of the difference to the row before (the first: to 0) */
    COLUMN_BYTES = 2,    /* one byte a value */
    COLUMN_RUNS = 3,     /* (value, length) pairs, both LEB128 */
    COLUMN_CONSTANT = 4, /* one LEB128 for all rows */
};

/* Bytes of an unsigned LEB128. */
static inline size_t column_varint_len(uint64_t v)
{
    unsigned top = 63 - (unsigned)__builtin_clzll(v | 1);
    return (top * 9 + 73) / 64; /* top / 7 + 1 without the division, exact up to 63 */
}

static inline uint8_t *column_put_varint(uint8_t *p, uint64_t v)
{
    while (v >= 0x80) {
        *p++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *p++ = (uint8_t)v;
    return p;
}

enum {
    COLUMN_SLACK = 8 /* bytes that the writers may touch beyond the end */
};

/* How a column is to be written: the shortest encoding of n >= 1 values; ties go to the lower number, so equal columns give equal bytes. */
struct column_plan {
    enum pk_column_encoding encoding;
    uint32_t any; /* of narrow values: all or-ed */
    size_t
        len; /* with the byte that names the encoding; 0: all values are zero, the column is left out */
};
struct column_plan column_plan(const uint64_t *values, size_t n); /* never left out */
struct column_plan column_plan_narrow(const uint32_t *values, size_t n);
/* Writes plan->len bytes; room for COLUMN_SLACK more. */
void column_write(const struct column_plan *plan, const uint64_t *values, size_t n, uint8_t *room);
void column_write_narrow(
    const struct column_plan *plan, const uint32_t *values, size_t n, uint8_t *room);
/* Whether all values are zero: such a column is left out. */
bool pk_column_is_zero(const uint64_t *values, size_t n);
/* Reads exactly n values, none above max. PK_ERR_MALFORMED, PK_ERR_TRUNCATED, PK_ERR_LIMIT. */
pk_err pk_column_decode(struct pk_slice column, size_t n, uint64_t max, uint64_t *out_values);

#endif

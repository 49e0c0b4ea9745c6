/* Column encodings. The sizes of all are computed first (a pass of additions), then the smallest is written. */
#include "columns.h"

#include <string.h>

#include "picket/reader.h"

static uint8_t *write_varint(uint8_t *p, uint64_t v)
{
    while (v >= 0x80) {
        *p++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *p++ = (uint8_t)v;
    return p;
}

static uint64_t zigzag(uint64_t delta)
{
    return (delta << 1) ^ (uint64_t)((int64_t)delta >> 63);
}

static uint64_t unzigzag(uint64_t v)
{
    return (v >> 1) ^ (0 - (v & 1));
}

struct sizes {
    size_t varint, delta, bytes, runs, constant;
};

static struct sizes measure(const uint64_t *values, size_t n)
{
    struct sizes sizes = {.bytes = n, .constant = SIZE_MAX};
    uint64_t before = values[0], any = 0;
    size_t run = 0;
    sizes.delta = column_varint_len(zigzag(values[0]));
    for (size_t i = 0; i < n; i++) {
        uint64_t v = values[i];
        size_t len = column_varint_len(v);
        any |= v;
        sizes.varint += len;
        if (v != before) {
            sizes.runs += column_varint_len(before) + column_varint_len(run);
            sizes.delta += column_varint_len(zigzag(v - before));
            run = 0;
        } else {
            sizes.delta += i > 0;
        }
        run++;
        before = v;
    }
    if (run == n) {
        sizes.constant = column_varint_len(before);
    }
    sizes.runs += column_varint_len(before) + column_varint_len(run);
    sizes.bytes = any > UINT8_MAX ? SIZE_MAX : n;
    return sizes;
}

static uint8_t *write_runs(uint8_t *p, const uint64_t *values, size_t n)
{
    size_t run = 0;
    for (size_t i = 0; i < n; i++) {
        run++;
        if (i + 1 == n || values[i + 1] != values[i]) {
            p = write_varint(write_varint(p, values[i]), run);
            run = 0;
        }
    }
    return p;
}

static void write_values(
    uint8_t *p, enum pk_column_encoding encoding, const uint64_t *values, size_t n)
{
    uint64_t before = 0;
    switch (encoding) {
    case COLUMN_CONSTANT:
        (void)write_varint(p, values[0]);
        break;
    case COLUMN_RUNS:
        (void)write_runs(p, values, n);
        break;
    case COLUMN_BYTES:
        for (size_t i = 0; i < n; i++) {
            p[i] = (uint8_t)values[i];
        }
        break;
    case COLUMN_DELTA:
        for (size_t i = 0; i < n; i++) {
            p = write_varint(p, zigzag(values[i] - before));
            before = values[i];
        }
        break;
    case COLUMN_VARINT:
        for (size_t i = 0; i < n; i++) {
            p = write_varint(p, values[i]);
        }
        break;
    }
}

void pk_column_encode(const uint64_t *values, size_t n, struct pk_bytes *out)
{
    struct sizes sizes = measure(values, n);
    const size_t by_encoding[] = {
        sizes.varint, sizes.delta, sizes.bytes, sizes.runs, sizes.constant};
    unsigned best = 0;
    for (unsigned i = 1; i < 5; i++) {
        if (by_encoding[i] < by_encoding[best]) {
            best = i;
        }
    }
    pk_bytes_put_u8(out, (uint8_t)best);
    uint8_t *room = pk_bytes_extend(out, by_encoding[best]); /* measured to the byte */
    if (room) {
        write_values(room, (enum pk_column_encoding)best, values, n);
    }
}

bool pk_column_is_zero(const uint64_t *values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (values[i] != 0) {
            return false;
        }
    }
    return true;
}

static void read_runs(struct pk_reader *in, size_t n, uint64_t *out_values)
{
    size_t at = 0;
    while (at < n && pk_reader_err(in) == PK_OK) {
        uint64_t v = pk_reader_varint(in);
        uint64_t run = pk_reader_varint(in);
        if (run == 0 || run > n - at) {
            pk_reader_fail(in, PK_ERR_MALFORMED);
            return;
        }
        for (uint64_t i = 0; i < run; i++) {
            out_values[at++] = v;
        }
    }
}

pk_err pk_column_decode(struct pk_slice column, size_t n, uint64_t max, uint64_t *out_values)
{
    struct pk_reader in;
    pk_reader_init(&in, column.data, column.len);
    uint8_t encoding = pk_reader_u8(&in);
    uint64_t before = 0;
    switch (encoding) {
    case COLUMN_VARINT:
    case COLUMN_DELTA:
        for (size_t i = 0; i < n; i++) {
            uint64_t v = pk_reader_varint(&in);
            before = out_values[i] = encoding == COLUMN_DELTA ? before + unzigzag(v) : v;
        }
        break;
    case COLUMN_BYTES:
        for (size_t i = 0; i < n; i++) {
            out_values[i] = pk_reader_u8(&in);
        }
        break;
    case COLUMN_RUNS:
        read_runs(&in, n, out_values);
        break;
    case COLUMN_CONSTANT:
        before = pk_reader_varint(&in);
        for (size_t i = 0; i < n; i++) {
            out_values[i] = before;
        }
        break;
    default:
        pk_reader_fail(&in, PK_ERR_MALFORMED);
    }
    if (pk_reader_err(&in) != PK_OK) {
        return pk_reader_err(&in);
    }
    for (size_t i = 0; i < n; i++) {
        if (out_values[i] > max) {
            return PK_ERR_LIMIT;
        }
    }
    return pk_reader_at_end(&in) ? PK_OK : PK_ERR_MALFORMED;
}

/* Column encodings. The sizes of all are computed first (a pass of additions), then the smallest is written. */
#include "columns.h"

#include <string.h>

#include "picket/reader.h"

static size_t varint_len(uint64_t v)
{
    return ((unsigned)(63 - __builtin_clzll(v | 1)) / 7) + 1;
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
    uint64_t before = 0;
    size_t run = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t v = values[i];
        sizes.varint += varint_len(v);
        sizes.delta += varint_len(zigzag(v - before));
        if (v > UINT8_MAX) {
            sizes.bytes = SIZE_MAX;
        }
        run++;
        if (i + 1 == n || values[i + 1] != v) {
            sizes.runs += varint_len(v) + varint_len(run);
            run = 0;
        }
        if (i > 0 && v != before) {
            sizes.constant = 0;
        }
        before = v;
    }
    sizes.constant = sizes.constant == 0 ? SIZE_MAX : varint_len(values[0]);
    return sizes;
}

static void write_runs(const uint64_t *values, size_t n, struct pk_bytes *out)
{
    size_t run = 0;
    for (size_t i = 0; i < n; i++) {
        run++;
        if (i + 1 == n || values[i + 1] != values[i]) {
            pk_bytes_put_varint(out, values[i]);
            pk_bytes_put_varint(out, run);
            run = 0;
        }
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
    if (best == COLUMN_CONSTANT) {
        pk_bytes_put_varint(out, values[0]);
    } else if (best == COLUMN_RUNS) {
        write_runs(values, n, out);
    } else {
        uint64_t before = 0;
        for (size_t i = 0; i < n; i++) {
            if (best == COLUMN_BYTES) {
                pk_bytes_put_u8(out, (uint8_t)values[i]);
            } else {
                pk_bytes_put_varint(
                    out, best == COLUMN_DELTA ? zigzag(values[i] - before) : values[i]);
            }
            before = values[i];
        }
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

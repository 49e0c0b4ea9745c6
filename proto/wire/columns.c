/* Column encodings. The sizes of all are computed first, then the smallest is written.
 *
 * Nearly all columns are 32 bits wide and stay below 2^31. For these, measuring is additions without a branch, which the compiler does four at a time, and runs, which are seldom the shortest, are only
 * measured when there are few enough of them. */
#include "columns.h"

#include <string.h>

#include "picket/reader.h"

static uint64_t zigzag(uint64_t delta)
{
    return (delta << 1) ^ (uint64_t)((int64_t)delta >> 63);
}

static uint64_t unzigzag(uint64_t v)
{
    return (v >> 1) ^ (0 - (v & 1));
}

/* Both widths by one code: the compiler makes two of it. */
static inline uint64_t value_at(const void *values, bool is_narrow, size_t i)
{
    return is_narrow ? ((const uint32_t *)values)[i] : ((const uint64_t *)values)[i];
}

/* By number of the encoding. */
struct sizes {
    size_t v[5];
};

static struct column_plan smallest(const struct sizes *sizes)
{
    unsigned best = 0;
    for (unsigned i = 1; i < 5; i++) {
        best = sizes->v[i] < sizes->v[best] ? i : best;
    }
    return (struct column_plan){
        .encoding = (enum pk_column_encoding)best, .len = 1 + sizes->v[best]};
}

static size_t measure_runs(const void *values, bool is_narrow, size_t n)
{
    size_t sum = 0, start = 0;
    for (size_t i = 1; i <= n; i++) {
        if (i == n || value_at(values, is_narrow, i) != value_at(values, is_narrow, i - 1)) {
            sum += column_varint_len(value_at(values, is_narrow, start)) +
                   column_varint_len(i - start);
            start = i;
        }
    }
    return sum;
}

static inline __attribute__((always_inline)) struct column_plan plan_any(
    const void *values, bool is_narrow, size_t n)
{
    uint64_t before = 0, any = 0;
    bool is_constant = true;
    struct sizes sizes = {{0, 0, n, 0, SIZE_MAX}};
    for (size_t i = 0; i < n; i++) {
        uint64_t v = value_at(values, is_narrow, i);
        any |= v;
        is_constant = is_constant && (i == 0 || v == before);
        sizes.v[COLUMN_VARINT] += column_varint_len(v);
        sizes.v[COLUMN_DELTA] += column_varint_len(zigzag(v - before));
        before = v;
    }
    sizes.v[COLUMN_BYTES] = any > UINT8_MAX ? SIZE_MAX : n;
    sizes.v[COLUMN_RUNS] = measure_runs(values, is_narrow, n);
    sizes.v[COLUMN_CONSTANT] = is_constant ? column_varint_len(before) : SIZE_MAX;
    return smallest(&sizes);
}

struct column_plan column_plan(const uint64_t *values, size_t n)
{
    return plan_any(values, false, n);
}

/* All values or-ed. */
static uint32_t or_all(const uint32_t *values, size_t n)
{
    uint32_t any = 0;
    for (size_t i = 0; i < n; i++) {
        any |= values[i];
    }
    return any;
}

/* Bytes after the first that the varint of v takes. */
static inline uint32_t more_bytes(uint32_t v)
{
    return (uint32_t)(v >> 7 != 0) + (uint32_t)(v >> 14 != 0) + (uint32_t)(v >> 21 != 0) +
           (uint32_t)(v >> 28 != 0);
}

struct column_plan column_plan_narrow(const uint32_t *values, size_t n)
{
    uint32_t any = or_all(values, n), varint = 0, delta = 0, changes = 0;
    struct column_plan plan;
    if (any == 0) {
        return (struct column_plan){.len = 0};
    }
    if (any > INT32_MAX || n > UINT32_MAX / 8) { /* differences need more than 32 bits */
        plan = plan_any(values, true, n);
        plan.any = any;
        return plan;
    }
    for (size_t i = 1; i < n; i++) {
        uint32_t difference = values[i] - values[i - 1];
        varint += more_bytes(values[i]);
        delta += more_bytes(difference << 1 ^ (uint32_t)((int32_t)difference >> 31));
        changes += difference != 0;
    }
    struct sizes sizes = {
        {n + varint + more_bytes(values[0]), n + delta + more_bytes(values[0] << 1),
            any > UINT8_MAX ? SIZE_MAX : n, SIZE_MAX, SIZE_MAX}};
    if (changes == 0) {
        sizes.v[COLUMN_CONSTANT] = column_varint_len(values[0]);
    }
    size_t runs_at_least = 2 * ((size_t)changes + 1);
    if (runs_at_least < sizes.v[COLUMN_VARINT] && runs_at_least < sizes.v[COLUMN_DELTA]) {
        sizes.v[COLUMN_RUNS] = measure_runs(values, true, n);
    }
    plan = smallest(&sizes);
    plan.any = any;
    return plan;
}

/* A varint below 2^28 without a branch on its length; four bytes are written whatever it takes. */
static inline uint8_t *put_quick(uint8_t *p, uint32_t v)
{
    unsigned len = (unsigned)column_varint_len(v);
    uint32_t spread = (v & 0x7f) | (v & 0x3f80) << 1 | (v & 0x1fc000) << 2 | (v & 0xfe00000) << 3;
    spread |= 0x80808080u & ((1u << 8 * (len - 1)) - 1);
    for (unsigned i = 0; i < 4; i++) { /* one store, on little-endian machines */
        p[i] = (uint8_t)(spread >> 8 * i);
    }
    return p + len;
}

static void write_runs(const void *values, bool is_narrow, size_t n, uint8_t *p)
{
    size_t run = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t v = value_at(values, is_narrow, i);
        run++;
        if (i + 1 == n || value_at(values, is_narrow, i + 1) != v) {
            p = column_put_varint(column_put_varint(p, v), run);
            run = 0;
        }
    }
}

static inline __attribute__((always_inline)) void write_any(
    enum pk_column_encoding encoding, const void *values, bool is_narrow, size_t n, uint8_t *p)
{
    uint64_t before = 0;
    switch (encoding) {
    case COLUMN_CONSTANT:
        (void)column_put_varint(p, value_at(values, is_narrow, 0));
        break;
    case COLUMN_RUNS:
        write_runs(values, is_narrow, n, p);
        break;
    case COLUMN_BYTES:
        for (size_t i = 0; i < n; i++) {
            p[i] = (uint8_t)value_at(values, is_narrow, i);
        }
        break;
    case COLUMN_DELTA:
        for (size_t i = 0; i < n; i++) {
            uint64_t v = value_at(values, is_narrow, i);
            p = column_put_varint(p, zigzag(v - before));
            before = v;
        }
        break;
    case COLUMN_VARINT:
        for (size_t i = 0; i < n; i++) {
            p = column_put_varint(p, value_at(values, is_narrow, i));
        }
        break;
    }
}

void column_write(const struct column_plan *plan, const uint64_t *values, size_t n, uint8_t *room)
{
    *room = (uint8_t)plan->encoding;
    write_any(plan->encoding, values, false, n, room + 1);
}

void column_write_narrow(
    const struct column_plan *plan, const uint32_t *values, size_t n, uint8_t *room)
{
    uint8_t *p = room + 1;
    uint32_t before = 0, any = plan->any;
    *room = (uint8_t)plan->encoding;
    if (plan->encoding == COLUMN_VARINT && any < 0x80) { /* a byte each: the loop has no len */
        write_any(COLUMN_BYTES, values, true, n, p);
    } else if (plan->encoding == COLUMN_VARINT && any < 1u << 28) {
        for (size_t i = 0; i < n; i++) {
            p = put_quick(p, values[i]);
        }
    } else if (plan->encoding == COLUMN_DELTA && any < 1u << 27) {
        for (size_t i = 0; i < n; i++) {
            uint32_t difference = values[i] - before;
            p = put_quick(p, difference << 1 ^ (uint32_t)((int32_t)difference >> 31));
            before = values[i];
        }
    } else {
        write_any(plan->encoding, values, true, n, p);
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

/* Engine state as bytes: the shared shapes. */
#include "codec.h"

#include <stdlib.h>
#include <string.h>

void state_put_double(struct pk_bytes *out, double v)
{
    uint64_t raw;
    memcpy(&raw, &v, sizeof raw);
    pk_bytes_put_be64(out, raw);
}

void state_put_float(struct pk_bytes *out, float v)
{
    uint32_t raw;
    memcpy(&raw, &v, sizeof raw);
    pk_bytes_put_be32(out, raw);
}

void state_put_time(struct pk_bytes *out, int64_t us)
{
    pk_bytes_put_be64(out, (uint64_t)us);
}

void state_put_addr(struct pk_bytes *out, const struct pk_addr *addr)
{
    pk_bytes_put_u8(out, addr->family);
    pk_bytes_put(out, addr->bytes, sizeof addr->bytes);
}

void state_put_names(struct pk_bytes *out, uint8_t *const *names, uint8_t n)
{
    pk_bytes_put_u8(out, n);
    for (uint8_t i = 0; i < n; i++) {
        pk_bytes_put(out, names[i], (size_t)names[i][0] + 1);
    }
}

double state_get_double(struct pk_reader *in)
{
    uint64_t raw = pk_reader_be64(in);
    double v;
    memcpy(&v, &raw, sizeof v);
    if (!(v >= -1e9 && v <= 1e9)) { /* nothing of ours is NaN or infinite */
        pk_reader_fail(in, PK_ERR_MALFORMED);
        return 0;
    }
    return v;
}

float state_get_float(struct pk_reader *in)
{
    uint32_t raw = pk_reader_be32(in);
    float v;
    memcpy(&v, &raw, sizeof v);
    if (!(v >= -1e9f && v <= 1e9f)) {
        pk_reader_fail(in, PK_ERR_MALFORMED);
        return 0;
    }
    return v;
}

int64_t state_get_time(struct pk_reader *in)
{
    return (int64_t)pk_reader_be64(in);
}

static uint64_t get_at_most(struct pk_reader *in, uint64_t max)
{
    uint64_t v = pk_reader_varint(in);
    if (v > max) {
        pk_reader_fail(in, PK_ERR_MALFORMED);
        return 0;
    }
    return v;
}

uint32_t state_get_u32(struct pk_reader *in)
{
    return (uint32_t)get_at_most(in, UINT32_MAX);
}

uint16_t state_get_u16(struct pk_reader *in)
{
    return (uint16_t)get_at_most(in, UINT16_MAX);
}

uint8_t state_get_count(struct pk_reader *in, size_t max)
{
    uint8_t n = pk_reader_u8(in);
    if (n > max) {
        pk_reader_fail(in, PK_ERR_MALFORMED);
        return 0;
    }
    return n;
}

uint8_t state_get_index(struct pk_reader *in, size_t size)
{
    return state_get_count(in, size - 1);
}

void state_get_bytes(struct pk_reader *in, void *out, size_t len)
{
    const uint8_t *p = pk_reader_bytes(in, len);
    if (p) {
        memcpy(out, p, len);
    }
}

void state_get_addr(struct pk_reader *in, struct pk_addr *out)
{
    out->family = pk_reader_u8(in);
    state_get_bytes(in, out->bytes, sizeof out->bytes);
}

uint8_t *state_get_name(struct pk_reader *in)
{
    uint8_t len = pk_reader_u8(in);
    const uint8_t *p = pk_reader_bytes(in, len);
    struct pk_name name;
    if (!p || pk_name_from_wire(p, len, &name) != PK_OK) {
        pk_reader_fail(in, PK_ERR_MALFORMED);
        return NULL;
    }
    uint8_t *copied = name_copy(&name);
    if (!copied) {
        pk_reader_fail(in, PK_ERR_NOMEM);
    }
    return copied;
}

uint8_t state_get_names(struct pk_reader *in, uint8_t **out, size_t max)
{
    uint8_t n = state_get_count(in, max), kept = 0;
    for (uint8_t i = 0; i < n && in->err == PK_OK; i++) {
        out[kept] = state_get_name(in);
        kept = (uint8_t)(kept + (out[kept] != NULL));
    }
    return kept;
}

uint8_t *name_copy(const struct pk_name *name)
{
    uint8_t *copy = malloc((size_t)name->len + 1);
    if (copy) {
        copy[0] = name->len;
        memcpy(copy + 1, name->wire, name->len);
    }
    return copy;
}

bool names_have(uint8_t *const *names, size_t n, const struct pk_name *name)
{
    for (size_t i = 0; i < n; i++) {
        if (names[i][0] == name->len && memcmp(names[i] + 1, name->wire, name->len) == 0) {
            return true;
        }
    }
    return false;
}

pk_err names_add(uint8_t **names, uint8_t *n, size_t max, const struct pk_name *name)
{
    if (*n == max || names_have(names, *n, name)) {
        return PK_OK;
    }
    names[*n] = name_copy(name);
    if (!names[*n]) {
        return PK_ERR_NOMEM;
    }
    (*n)++;
    return PK_OK;
}

void names_done(uint8_t **names, uint8_t *n)
{
    for (size_t i = 0; i < *n; i++) {
        free(names[i]);
    }
    *n = 0;
}

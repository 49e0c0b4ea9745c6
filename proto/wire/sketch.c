/* HyperLogLog without the large-range correction: it is for 32-bit hashes, ours have 64. */
#include "picket/sketch.h"

#include <math.h>
#include <string.h>

void pk_sketch_unite(struct pk_sketch *into, const struct pk_sketch *other)
{
    for (unsigned i = 0; i < PK_SKETCH_REGISTERS; i++) {
        if (other->registers[i] > into->registers[i]) {
            into->registers[i] = other->registers[i];
        }
    }
}

double pk_sketch_estimate(const struct pk_sketch *sketch)
{
    const double m = PK_SKETCH_REGISTERS, alpha = 0.7213 / (1 + 1.079 / m);
    double sum = 0;
    unsigned n_zero = 0;
    for (unsigned i = 0; i < PK_SKETCH_REGISTERS; i++) {
        sum += ldexp(1.0, -sketch->registers[i]);
        n_zero += sketch->registers[i] == 0;
    }
    double estimate = alpha * m * m / sum;
    return estimate <= 2.5 * m && n_zero > 0 ? m * log(m / n_zero) : estimate;
}

size_t pk_sketch_pack(const struct pk_sketch *sketch, uint8_t out[PK_SKETCH_PACKED_SIZE])
{
    size_t n = 0;
    for (unsigned i = 0; i < PK_SKETCH_REGISTERS; i++) {
        if (sketch->registers[i] && n++ < PK_SKETCH_MAX_SPARSE) {
            out[2 * n - 1] = (uint8_t)i;
            out[2 * n] = sketch->registers[i];
        }
    }
    if (n > PK_SKETCH_MAX_SPARSE) {
        out[0] = 0;
        memcpy(out + 1, sketch->registers, PK_SKETCH_REGISTERS);
        return PK_SKETCH_PACKED_SIZE;
    }
    out[0] = (uint8_t)n;
    return n > 0 ? 1 + 2 * n : 0;
}

bool pk_sketch_unpack(const uint8_t *packed, size_t len, struct pk_sketch *out)
{
    memset(out, 0, sizeof *out);
    if (len == 0) {
        return true;
    }
    size_t n = packed[0];
    if (len != (n ? 1 + 2 * n : (size_t)PK_SKETCH_PACKED_SIZE) || n > PK_SKETCH_MAX_SPARSE) {
        return false;
    }
    for (size_t i = 0; i < (n ? n : PK_SKETCH_REGISTERS); i++) {
        uint8_t rank = packed[n ? 2 + 2 * i : 1 + i];
        if (rank > PK_SKETCH_MAX_RANK) {
            memset(out, 0, sizeof *out);
            return false;
        }
        out->registers[n ? packed[1 + 2 * i] : i] = rank;
    }
    return true;
}

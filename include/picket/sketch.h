/* How many different names, in 256 bytes: a HyperLogLog (Flajolet et al. 2007) of 256 registers, linear counting below 640 (s4 there). The standard error of
 * an estimate is 1.04 / sqrt(256) = 6.5 %. Sketches of one key unite without loss, over windows and over sites. Pure. */
#ifndef PICKET_SKETCH_H
#define PICKET_SKETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PK_SKETCH_REGISTERS = 256,
    PK_SKETCH_MAX_RANK = 57,    /* 64 bits of hash, eight of them choose the register */
    PK_SKETCH_MAX_SPARSE = 127, /* registers that are written with their numbers */
    PK_SKETCH_PACKED_SIZE = 1 + PK_SKETCH_REGISTERS
};

struct pk_sketch {
    uint8_t registers[PK_SKETCH_REGISTERS]; /* 0..PK_SKETCH_MAX_RANK */
};

/* hash: 64 even bits, from pk_sketch_hash of pseudonym.h. */
static inline void pk_sketch_add(struct pk_sketch *sketch, uint64_t hash)
{
    uint64_t rest = hash >> 8;
    uint8_t rank = (uint8_t)(rest ? __builtin_ctzll(rest) + 1 : PK_SKETCH_MAX_RANK);
    uint8_t *at = &sketch->registers[hash & (PK_SKETCH_REGISTERS - 1)];
    *at = rank > *at ? rank : *at;
}
void pk_sketch_unite(struct pk_sketch *into, const struct pk_sketch *other);
double pk_sketch_estimate(const struct pk_sketch *sketch);
/* The form of docs/PROTOCOL.md 4.1, 0 bytes for an empty one; returns how many. */
size_t pk_sketch_pack(const struct pk_sketch *sketch, uint8_t out[PK_SKETCH_PACKED_SIZE]);
/* And back, from bytes that were checked before (batch.h): those of the store. False when they are no such form; out is then empty. */
bool pk_sketch_unpack(const uint8_t *packed, size_t len, struct pk_sketch *out);

#endif

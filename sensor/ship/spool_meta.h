/* What a spool must remember beside its segments: the epoch, the next number, and how far each epoch is acknowledged. Two slots written in turn, each with a checksum: a crash
 * while one is written leaves the other, which is a second older. Behind is harmless: what is sent again the aggregator knows. */
#ifndef SENSOR_SPOOL_META_H
#define SENSOR_SPOOL_META_H

#include <stdbool.h>
#include <stdint.h>

#include "ship/spool_file.h"

enum {
    PK_META_EPOCHS = 64 /* alive at once; the oldest is forgotten beyond */
};

struct pk_meta {
    uint64_t generation; /* of the slot written last; 0: none */
    uint64_t epoch, next_seq;
    uint32_t n;
    struct {
        uint64_t epoch, acked;
    } epochs[PK_META_EPOCHS];
};

/* The newer good slot. False: there is none (out is all zeros). */
bool pk_meta_read(int folder, struct pk_meta *out);
/* Durable in the other slot than the last; meta->generation counts up. */
bool pk_meta_write(int folder, const struct pk_spool_ops *ops, struct pk_meta *meta);
uint64_t pk_meta_acked(const struct pk_meta *meta, uint64_t epoch);

#endif

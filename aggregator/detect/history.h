/* What the engine may ask of the passive-DNS history. The caller hands in the table (aggregator/detection.c: the store; replay: a COF file); the engine never
 * writes through it. For equal findings the answers must depend on the ingest order alone: an implementation answers as of the row in hand. */
#ifndef AGGREGATOR_DETECT_HISTORY_H
#define AGGREGATOR_DETECT_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "picket/name.h"

struct pk_history_entry {
    int64_t first_us;         /* first positive answer */
    int64_t last_positive_us; /* latest positive answer */
    uint32_t n_sites;         /* that had a positive answer; at least 1 */
    uint32_t n_days;          /* with a positive answer, at least 1; 1 where it is not counted */
    bool was_authoritative;   /* one of them came from the zone's own server */
};

struct pk_history_source {
    void *arg;
    /* The name in lower case; true and *out_entry when it ever had a positive answer. Must be quick (microseconds): it is asked for each
     * first contact that misses, and for none that hits. */
    bool (*lookup)(void *arg, const struct pk_name *name, struct pk_history_entry *out_entry);
};

#endif

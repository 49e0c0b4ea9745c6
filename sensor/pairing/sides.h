/* Which servers are seen from both sides: a tap that carries one direction of some servers only (asymmetric routing, a mirror of one port of a pair) shows as queries nobody
 * answers beside responses nobody asked for. Counted when a transaction ends, for the busiest PK_SIDES_SLOTS servers: a new one takes the place of one that was seen less
 * often lately. */
#ifndef SENSOR_SIDES_H
#define SENSOR_SIDES_H

#include "transaction.h"

enum {
    PK_SIDES_SLOTS = 512,
    PK_SIDES_LEAST = 20, /* below that a server proves nothing */
};

struct pk_side {
    struct pk_addr server;
    uint32_t answered, queries_alone, responses_alone; /* halved now and then */
};

struct pk_sides {
    struct pk_side v[PK_SIDES_SLOTS];
};

/* All zeros to begin with. */
void pk_sides_note(struct pk_sides *sides, const struct pk_transaction *transaction);

struct pk_sides_sum {
    uint32_t n_servers; /* with at least PK_SIDES_LEAST */
    uint32_t n_queries_only, n_responses_only;
    const struct pk_side *queries_only, *responses_only; /* the busiest of each, or NULL */
};
void pk_sides_sum(const struct pk_sides *sides, struct pk_sides_sum *out_sum);

#endif

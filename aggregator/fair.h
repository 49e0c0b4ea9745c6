/* The order of commits: per tenant first in, first out; between tenants in turn, by bytes.
 *
 * Deficit round robin (Shreedhar and Varghese, 1995): a tenant whose turn it is gets a quantum of bytes to spend; what it cannot spend stays for its next turn only while it has something
 * waiting. So the wait of a quiet tenant depends on how many tenants are busy, never on how much the loud ones have waiting. Pure; holds what it is given and frees
 * nothing. */
#ifndef AGGREGATOR_FAIR_H
#define AGGREGATOR_FAIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picket/err.h"
#include "picket/map.h"

/* First member of what waits. Belongs to the queue from push to pop. */
struct pk_fair_item {
    struct pk_fair_item *next;
    uint32_t tenant;
    uint32_t bytes;
};

struct pk_fair_flow {
    struct pk_fair_item *first, *last;
    uint32_t tenant;
    int64_t deficit_bytes; /* left of this turn */
    uint32_t next;         /* in the ring; flow number */
};

struct pk_fair {
    struct pk_fair_flow *flows; /* dense, only ever added to; owned */
    size_t n_flows, max_flows;
    struct pk_map by_tenant;
    uint32_t head, tail; /* of the busy flows, PK_MAP_NONE: none */
    size_t n;            /* items */
    uint64_t bytes;
    uint32_t quantum_bytes;
};

pk_err pk_fair_init(struct pk_fair *fair, size_t max_tenants, uint32_t quantum_bytes);
void pk_fair_done(struct pk_fair *fair);
/* Takes the item into its tenant's queue. PK_ERR_LIMIT beyond max_tenants, item untouched. */
pk_err pk_fair_push(struct pk_fair *fair, struct pk_fair_item *item);
/* The items whose turn it is, in order: at least one, at most max_items, of one tenant, no more than its turn allows (all that fit when no other tenant waits). They stay in
 * the queue. 0 when it is empty. */
size_t pk_fair_front(const struct pk_fair *fair, struct pk_fair_item **out_items, size_t max_items);
/* Takes the first item of the tenant whose turn it is; NULL when empty. The turn passes on when it is spent. */
struct pk_fair_item *pk_fair_pop(struct pk_fair *fair);

#endif

/* Who should be a tenant's home: a pure function of what the database says, so that all aggregators come to the same answer without talking.
 *
 * An operator's pin goes first, then the aggregators that prefer the tenant, then all; among equals the one with fewest homes, then the lesser name. A home that is held
 * stays where it is, but for a pin or a preference that says otherwise: moving costs the sensors a reconnect and the engine a load. */
#ifndef AGGREGATOR_HOMES_PLAN_H
#define AGGREGATOR_HOMES_PLAN_H

#include "store/store.h"

enum pk_homes_move {
    PK_HOMES_STAY,
    PK_HOMES_TAKE,  /* free, and ours to take */
    PK_HOMES_LEAVE, /* held by us, and better elsewhere: give it up in order */
};

/* One move for each of view->homes. is_first: what was held under our name is ours at once, we are its restart. */
void pk_homes_plan(const struct pk_store_homes *view, const struct pk_store_node *self,
    bool is_first, enum pk_homes_move *out_moves);
/* The node that would take this home if `without` were gone; NULL: none. */
const struct pk_store_node *pk_homes_next(const struct pk_store_homes *view,
    const struct pk_store_home *home, const struct pk_store_node *without);
/* The node that holds it; NULL: none that is there. */
const struct pk_store_node *pk_homes_holder(
    const struct pk_store_homes *view, const struct pk_store_home *home);

#endif

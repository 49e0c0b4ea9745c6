/* Flows are numbered and linked by number, so that the array may be small and the ring costs nothing to turn. */
#include "fair.h"

#include <stdlib.h>

#include "picket/hash.h"

static bool is_tenant(const void *entries, uint32_t entry, const void *key)
{
    return ((const struct pk_fair_flow *)entries)[entry].tenant == *(const uint32_t *)key;
}

pk_err pk_fair_init(struct pk_fair *fair, size_t max_tenants, uint32_t quantum_bytes)
{
    *fair = (struct pk_fair){.max_flows = max_tenants,
        .head = PK_MAP_NONE,
        .tail = PK_MAP_NONE,
        .quantum_bytes = quantum_bytes};
    fair->flows = calloc(max_tenants, sizeof *fair->flows);
    return fair->flows ? pk_map_init(&fair->by_tenant, max_tenants, is_tenant) : PK_ERR_NOMEM;
}

void pk_fair_done(struct pk_fair *fair)
{
    free(fair->flows);
    fair->flows = NULL;
    fair->n_flows = 0;
    pk_map_done(&fair->by_tenant);
}

static struct pk_fair_flow *flow_of(struct pk_fair *fair, uint32_t tenant)
{
    uint64_t hash = pk_hash(&tenant, sizeof tenant);
    uint32_t entry = pk_map_find(&fair->by_tenant, hash, fair->flows, &tenant);
    if (entry != PK_MAP_NONE) {
        return &fair->flows[entry];
    }
    if (fair->n_flows == fair->max_flows ||
        !pk_map_add(&fair->by_tenant, hash, (uint32_t)fair->n_flows)) {
        return NULL;
    }
    fair->flows[fair->n_flows] = (struct pk_fair_flow){.tenant = tenant, .next = PK_MAP_NONE};
    return &fair->flows[fair->n_flows++];
}

static void ring_add(struct pk_fair *fair, struct pk_fair_flow *flow)
{
    uint32_t number = (uint32_t)(flow - fair->flows);
    flow->next = PK_MAP_NONE;
    flow->deficit_bytes += fair->quantum_bytes;
    if (fair->head == PK_MAP_NONE) {
        fair->head = number;
    } else {
        fair->flows[fair->tail].next = number;
    }
    fair->tail = number;
}

pk_err pk_fair_push(struct pk_fair *fair, struct pk_fair_item *item)
{
    struct pk_fair_flow *flow = flow_of(fair, item->tenant);
    if (!flow) {
        return PK_ERR_LIMIT;
    }
    item->next = NULL;
    if (flow->first) {
        flow->last->next = item;
        flow->last = item;
    } else {
        flow->first = flow->last = item;
        flow->deficit_bytes = 0; /* nothing is saved up while nothing waits */
        ring_add(fair, flow);
    }
    fair->n++;
    fair->bytes += item->bytes;
    return PK_OK;
}

size_t pk_fair_front(const struct pk_fair *fair, struct pk_fair_item **out_items, size_t max_items)
{
    if (fair->head == PK_MAP_NONE) {
        return 0;
    }
    const struct pk_fair_flow *flow = &fair->flows[fair->head];
    bool is_alone = fair->head == fair->tail;
    int64_t left = flow->deficit_bytes;
    size_t n = 0;
    for (struct pk_fair_item *item = flow->first; item && n < max_items; item = item->next) {
        if (n > 0 && !is_alone && left < (int64_t)item->bytes) {
            break;
        }
        left -= item->bytes;
        out_items[n++] = item;
    }
    return n;
}

struct pk_fair_item *pk_fair_pop(struct pk_fair *fair)
{
    if (fair->head == PK_MAP_NONE) {
        return NULL;
    }
    struct pk_fair_flow *flow = &fair->flows[fair->head];
    struct pk_fair_item *item = flow->first;
    flow->first = item->next;
    flow->deficit_bytes -= item->bytes;
    fair->n--;
    fair->bytes -= item->bytes;
    if (!flow->first || flow->deficit_bytes <= 0) { /* the turn is over */
        fair->head = flow->next;
        if (fair->head == PK_MAP_NONE) {
            fair->tail = PK_MAP_NONE;
        }
        if (flow->first) {
            ring_add(fair, flow);
        }
    }
    item->next = NULL;
    return item;
}

/* What the sensors of each tenant are sent of the scope in force: the body of CONFIG, made when it is asked for.
 *
 * Core's thread. One body is kept, of the tenant asked for last; of the others the version alone. */
#ifndef AGGREGATOR_SCOPE_PUSH_H
#define AGGREGATOR_SCOPE_PUSH_H

#include "picket/bytes.h"

#include "registry.h"

struct pk_scope_push_tenant {
    struct pk_tenant_id tenant;
    uint32_t version; /* 0: nothing is sent, because it has no scope or one that is too large */
    bool is_known;
};

struct pk_scope_push {
    uint64_t serial;                      /* of the scope these are of */
    struct pk_scope_push_tenant *tenants; /* as in the registry */
    size_t n;
    struct pk_bytes body; /* of body_of */
    struct pk_tenant_id body_of;
};

void pk_scope_push_done(struct pk_scope_push *push);
/* A registry was read. True: its scope is another one than before. */
bool pk_scope_push_set(struct pk_scope_push *push, const struct pk_registry *registry);
/* The version of the tenant's CONFIG, 0: there is none. */
uint32_t pk_scope_push_version(
    struct pk_scope_push *push, const struct pk_registry *registry, struct pk_tenant_id tenant);
/* Its body, borrowed until the next call; empty with version 0. */
struct pk_slice pk_scope_push_body(struct pk_scope_push *push, const struct pk_registry *registry,
    struct pk_tenant_id tenant, uint32_t *out_version);

#endif

/* Rendering costs a millisecond for a large scope, and whoever needs one sensor's needs the next of the same tenant soon: hence one body. */
#include "scope_push.h"

#include <stdlib.h>

#include "picket/limits.h"
#include "picket/log.h"

enum {
    BODY_SLACK = 64 /* of the map around the text */
};

void pk_scope_push_done(struct pk_scope_push *push)
{
    free(push->tenants);
    pk_bytes_done(&push->body);
    *push = (struct pk_scope_push){.serial = 0};
}

bool pk_scope_push_set(struct pk_scope_push *push, const struct pk_registry *registry)
{
    bool is_new = registry->rows.scope_serial != push->serial;
    if (!is_new && registry->rows.n_tenants == push->n) {
        return false;
    }
    pk_scope_push_done(push);
    push->tenants = calloc(registry->rows.n_tenants + 1, sizeof *push->tenants);
    push->n = push->tenants ? registry->rows.n_tenants : 0; /* no memory: nothing is sent */
    for (size_t i = 0; i < push->n; i++) {
        push->tenants[i].tenant = registry->rows.tenants[i].tenant;
    }
    push->serial = registry->rows.scope_serial;
    return is_new;
}

static struct pk_scope_push_tenant *find(struct pk_scope_push *push, struct pk_tenant_id tenant)
{
    size_t low = 0, high = push->n; /* by id, as the store gives them */
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (push->tenants[middle].tenant.v < tenant.v) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < push->n && push->tenants[low].tenant.v == tenant.v ? &push->tenants[low] : NULL;
}

/* Into push->body. False: this tenant has nothing to send. */
static bool render(
    struct pk_scope_push *push, const struct pk_registry *registry, struct pk_tenant_id tenant)
{
    const struct pk_scope_tenant *scope = pk_registry_scope(registry, tenant);
    struct pk_bytes text;
    pk_bytes_done(&push->body);
    pk_bytes_init(&push->body, PK_MAX_SCOPE_BYTES + BODY_SLACK);
    push->body_of = (struct pk_tenant_id){0};
    if (!scope) {
        return false;
    }
    pk_bytes_init(&text, PK_MAX_SCOPE_BYTES);
    pk_err err = pk_scope_render(scope, &text);
    if (err == PK_OK) {
        struct pk_config_scope config = {.serial = (uint32_t)push->serial,
            .text = {.data = text.data, .len = (uint32_t)text.len}};
        err = pk_config_scope_encode(&config, &push->body);
    }
    pk_bytes_done(&text);
    if (err != PK_OK) {
        pk_warn("scope", "tenant=%s its scope is not sent to its sensors: %s", scope->name,
            pk_err_str(err));
        pk_bytes_clear(&push->body);
        return false;
    }
    push->body_of = tenant;
    return true;
}

uint32_t pk_scope_push_version(
    struct pk_scope_push *push, const struct pk_registry *registry, struct pk_tenant_id tenant)
{
    struct pk_scope_push_tenant *entry = find(push, tenant);
    if (!entry) {
        return 0;
    }
    if (!entry->is_known) {
        entry->is_known = true;
        entry->version =
            render(push, registry, tenant) ? pk_config_version(push->body.data, push->body.len) : 0;
    }
    return entry->version;
}

struct pk_slice pk_scope_push_body(struct pk_scope_push *push, const struct pk_registry *registry,
    struct pk_tenant_id tenant, uint32_t *out_version)
{
    *out_version = pk_scope_push_version(push, registry, tenant);
    bool is_there =
        *out_version != 0 && (push->body_of.v == tenant.v || render(push, registry, tenant));
    return is_there ? (struct pk_slice){.data = push->body.data, .len = (uint32_t)push->body.len}
                    : (struct pk_slice){.data = NULL};
}

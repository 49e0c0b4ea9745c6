/* Lookups over the snapshot that the store loaded. The tables are small (sensors, sites) and asked once a batch, so a binary search or a short
 * scan over what is already sorted beats one more index to keep right. */
#include "registry.h"

#include <stdlib.h>
#include <string.h>

static int compare_sensors(const void *a, const void *b)
{
    uint32_t x = ((const struct pk_store_sensor *)a)->sensor.v,
             y = ((const struct pk_store_sensor *)b)->sensor.v;
    return x < y ? -1 : x > y;
}

static int compare_assignments(const void *a, const void *b)
{
    const struct pk_store_assignment *x = a, *y = b;
    if (x->sensor.v != y->sensor.v) {
        return x->sensor.v < y->sensor.v ? -1 : 1;
    }
    return x->from_us < y->from_us ? -1 : x->from_us > y->from_us;
}

pk_err pk_registry_init(struct pk_registry *registry, struct pk_store_registry *rows,
    char out_error[PK_CONF_ERROR_SIZE])
{
    *registry = (struct pk_registry){.rows = *rows};
    memset(rows, 0, sizeof *rows);
    if (registry->rows.n_sensors) {
        qsort(registry->rows.sensors, registry->rows.n_sensors, sizeof *registry->rows.sensors,
            compare_sensors);
    }
    if (registry->rows.n_assignments) {
        qsort(registry->rows.assignments, registry->rows.n_assignments,
            sizeof *registry->rows.assignments, compare_assignments);
    }
    const char *text = registry->rows.scope_text;
    return text ? pk_scope_parse("stored scope", text, strlen(text), &registry->scope, out_error)
                : PK_OK;
}

void pk_registry_done(struct pk_registry *registry)
{
    pk_store_registry_done(&registry->rows);
    pk_scope_free(registry->scope);
    *registry = (struct pk_registry){0};
}

const struct pk_store_sensor *pk_registry_sensor(
    const struct pk_registry *registry, uint32_t sensor)
{
    struct pk_store_sensor wanted = {.sensor = {sensor}};
    return registry->rows.n_sensors ? bsearch(&wanted, registry->rows.sensors,
                                          registry->rows.n_sensors, sizeof wanted, compare_sensors)
                                    : NULL;
}

const struct pk_store_sensor *pk_registry_key(
    const struct pk_registry *registry, const uint8_t pubkey[PK_KEY_BYTES])
{
    for (size_t i = 0; i < registry->rows.n_sensors; i++) {
        if (memcmp(registry->rows.sensors[i].pubkey, pubkey, PK_KEY_BYTES) == 0) {
            return &registry->rows.sensors[i];
        }
    }
    return NULL;
}

const char *pk_registry_site_name(
    const struct pk_registry *registry, struct pk_tenant_id tenant, struct pk_site_id site)
{
    for (size_t i = 0; i < registry->rows.n_sites; i++) {
        const struct pk_store_site *row = &registry->rows.sites[i];
        if (row->tenant.v == tenant.v && row->site.v == site.v) {
            return row->name;
        }
    }
    return NULL;
}

const char *pk_registry_tenant_name(const struct pk_registry *registry, struct pk_tenant_id tenant)
{
    for (size_t i = 0; i < registry->rows.n_tenants; i++) {
        if (registry->rows.tenants[i].tenant.v == tenant.v) {
            return registry->rows.tenants[i].name;
        }
    }
    return NULL;
}

const struct pk_scope_tenant *pk_registry_scope(
    const struct pk_registry *registry, struct pk_tenant_id tenant)
{
    const char *name = pk_registry_tenant_name(registry, tenant);
    for (size_t i = 0; name && registry->scope && i < registry->scope->n_tenants; i++) {
        if (strcmp(registry->scope->tenants[i].name, name) == 0) {
            return &registry->scope->tenants[i];
        }
    }
    return NULL;
}

struct pk_site_id pk_registry_site_at(
    const struct pk_registry *registry, struct pk_sensor_id sensor, int64_t at_us)
{
    struct pk_site_id site = {0};
    for (size_t i = 0; i < registry->rows.n_assignments; i++) {
        const struct pk_store_assignment *row = &registry->rows.assignments[i];
        if (row->sensor.v == sensor.v && (site.v == 0 || row->from_us <= at_us)) {
            site = row->site;
        }
    }
    return site;
}

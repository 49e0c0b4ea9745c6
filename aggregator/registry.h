/* The registry: whose key it is, where that sensor stood when, and the names of all of them. A table in memory, replaced whole. */
#ifndef AGGREGATOR_REGISTRY_H
#define AGGREGATOR_REGISTRY_H

#include "picket/err.h"
#include "picket/ids.h"
#include "picket/scope.h"

#include "store/store.h"

struct pk_registry {
    struct pk_store_registry rows; /* owned; sorted by id as loaded */
    struct pk_scope *scope;        /* owned; NULL while none was applied */
};

/* Takes rows (also on failure). PK_ERR_CONFIG: the stored scope does not parse; out_error says why. */
pk_err pk_registry_init(struct pk_registry *registry, struct pk_store_registry *rows,
    char out_error[PK_CONF_ERROR_SIZE]);
void pk_registry_done(struct pk_registry *registry);

/* NULL when there is none. Borrowed until the registry is replaced. */
const struct pk_store_sensor *pk_registry_sensor(
    const struct pk_registry *registry, uint32_t sensor);
const struct pk_store_sensor *pk_registry_key(
    const struct pk_registry *registry, const uint8_t pubkey[PK_KEY_BYTES]);
const char *pk_registry_site_name(
    const struct pk_registry *registry, struct pk_tenant_id tenant, struct pk_site_id site);
const char *pk_registry_tenant_name(const struct pk_registry *registry, struct pk_tenant_id tenant);
const struct pk_scope_tenant *pk_registry_scope(
    const struct pk_registry *registry, struct pk_tenant_id tenant);
/* The site the sensor was assigned to at that time; when the time lies before the first assignment (a spool older than the enrolment)
 * the first, after the last the last. v 0 when it was never assigned. */
struct pk_site_id pk_registry_site_at(
    const struct pk_registry *registry, struct pk_sensor_id sensor, int64_t at_us);

#endif

/* What this aggregator does for the tenants whose home it is: an engine each, sessions of their sensors; and how it begins and ends. */
#ifndef AGGREGATOR_TENANCY_H
#define AGGREGATOR_TENANCY_H

#include "picket/envelope.h"
#include "picket/err.h"

#include "detection.h"
#include "homes.h"
#include "ingest/link.h"
#include "pipeline.h"
#include "registry.h"
#include "reports.h"
#include "store/store.h"

enum {
    PK_TENANCY_PARKED =
        256 /* sensors that came while their tenant had no home; others ask again by themselves */
};

/* Pointers are borrowed. */
struct pk_tenancy {
    struct pk_homes *homes;
    struct pk_detection *detection;
    struct pk_store *store;
    const struct pk_registry *registry;
    struct pk_pipeline_counters *counters;
    struct pk_reports *reports;
    /* Ends the sensor's session (0: whichever it has) and sends it elsewhere (an empty address: to its own list). */
    void (*end_session)(
        void *arg, uint32_t sensor, uint64_t session, const struct pk_endpoint *elsewhere);
    void *arg;
    struct pk_link_hello parked[PK_TENANCY_PARKED];
    size_t n_parked;
    int64_t next_drop_ms; /* when whole days are looked at again */
    bool is_clock_off;    /* retention waits for it, and the log says so once */
};

/* Engines to fit this registry, before the old one is freed. PK_ERR_IO: nothing is lost, call again. */
pk_err pk_tenancy_set_registry(struct pk_tenancy *tenancy, const struct pk_registry *registry);
/* Brings what is open here in line with the table of homes. PK_ERR_IO: call again. */
pk_err pk_tenancy_sync(struct pk_tenancy *tenancy);
/* A commit said that the tenant is not ours any more. */
void pk_tenancy_lose(struct pk_tenancy *tenancy, struct pk_tenant_id tenant);
/* Keeps the newest HELLO of a sensor until its tenant has a home; unpark asks again for each, which may park it again. */
/* False: no place. */
bool pk_tenancy_park(struct pk_tenancy *tenancy, const struct pk_link_hello *hello);
void pk_tenancy_unpark(
    struct pk_tenancy *tenancy, void (*answer)(void *arg, const struct pk_link_hello *hello));
/* Writes what sensors of the tenants here said of themselves. */
pk_err pk_tenancy_write_reports(struct pk_tenancy *tenancy);
/* One bounded pass of retention for each tenant here. *out_has_more: another would find something. */
pk_err pk_tenancy_prune(struct pk_tenancy *tenancy, bool *out_has_more);
/* Looks for alarms of the tenants here; each opening and closing is a line in the log. */
pk_err pk_tenancy_check_alarms(struct pk_tenancy *tenancy);
/* Ends identities of fleets that are silent too long; calm_us: for how long sensors had the chance to be heard here. */
pk_err pk_tenancy_expire_stale(struct pk_tenancy *tenancy, int64_t calm_us);
/* A stop in order: others need not wait for leases to run out. The engines' state is saved already. */
void pk_tenancy_leave(struct pk_tenancy *tenancy);

#endif

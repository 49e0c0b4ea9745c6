/* Detection beside the store: one engine a tenant, fed in ingest order, its state and findings saved.
 *
 * On start each engine loads its saved state and reads the stored activity after it, so that a restart ends where an undisturbed run would.
 * Pure bookkeeping around aggregator/detect and aggregator/store; runs on the core's thread. */
#ifndef AGGREGATOR_DETECTION_H
#define AGGREGATOR_DETECTION_H

#include "picket/batch.h"
#include "picket/err.h"

#include "registry.h"
#include "store/store.h"

struct pk_detection;

pk_err pk_detection_new(struct pk_detection **out_detection);
void pk_detection_free(struct pk_detection *detection);

/* Which tenants have their home here, in which generation. */
struct pk_detection_homes {
    uint64_t (*generation)(void *arg, struct pk_tenant_id tenant); /* 0: not here */
    void (*progress)(void *arg); /* called now and then while stored activity is read */
    void *arg;
};
/* After every registry change, before the old registry is freed, and when homes change: makes engines for tenants that are new here (loading and catching up from the
 * store), hands the new scope to the others, drops those that are no longer here or are here again in another generation. PK_ERR_IO: the store is away, call again. */
pk_err pk_detection_sync(struct pk_detection *detection, const struct pk_registry *registry,
    const struct pk_detection_homes *homes, struct pk_store *store);
/* Forgets the tenant's engine and what it has not saved. */
void pk_detection_drop(struct pk_detection *detection, struct pk_tenant_id tenant);
/* One committed batch, in ingest order: activity and client rows are for the engine, the rest is not. */
pk_err pk_detection_observe(struct pk_detection *detection, const struct pk_registry *registry,
    const struct pk_store_batch *batch, uint64_t ingest_seq);
/* Writes findings that are waiting, and the state of tenants that changed when with_state. PK_ERR_IO: nothing is lost, call again. A tenant whose home is elsewhere
 * by now is dropped, and what it had not saved with it: the new home finds the same in the stored activity. */
pk_err pk_detection_save(struct pk_detection *detection, struct pk_store *store, bool with_state);
/* Looks at the next names of one tenant's history (retired.h), tenants in turn. PK_ERR_IO: call again. */
pk_err pk_detection_walk_history(
    struct pk_detection *detection, const struct pk_registry *registry, struct pk_store *store);
bool pk_detection_has_findings(const struct pk_detection *detection);

struct pk_detection_totals {
    uint64_t rows, trials, findings;
    uint64_t
        early_rows; /* held to the time they came: the sensor's clock is ahead (pk_store_hold_time) */
    uint64_t retired_names, retired_refused; /* retired.h */
};
void pk_detection_totals(
    const struct pk_detection *detection, struct pk_detection_totals *out_totals);

#endif

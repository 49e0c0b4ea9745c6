/* How each sensor was when it last spoke, between the ingest child and the store. The core's thread.
 *
 * What is new is written every two seconds; a heartbeat that says what is known already waits up to a minute. */
#ifndef AGGREGATOR_REPORTS_H
#define AGGREGATOR_REPORTS_H

#include "picket/map.h"

#include "ingest/link.h"
#include "store/store.h"

enum {
    PK_REPORTS_MAX = 20000, /* as many as sessions; when full, those without news are forgotten */
};

struct pk_report {
    struct pk_store_report now; /* what is to be written */
    struct pk_tenant_id tenant;
    int64_t written_us, written_offset_us;
    uint64_t written_queued;
    bool has_news;
};

struct pk_reports {
    struct pk_report *slots; /* dense, n used */
    size_t n;
    struct pk_map by_sensor;
};

pk_err pk_reports_init(struct pk_reports *reports);
void pk_reports_done(struct pk_reports *reports);
void pk_reports_hello(struct pk_reports *reports, struct pk_tenant_id tenant,
    const struct pk_link_hello *hello, int64_t wall_us);
void pk_reports_heartbeat(struct pk_reports *reports, struct pk_tenant_id tenant,
    const struct pk_link_report *heartbeat, int64_t wall_us);
void pk_reports_clone(struct pk_reports *reports, struct pk_tenant_id tenant,
    const struct pk_link_clone *clone, int64_t wall_us);
/* Writes what is new of a tenant's sensors. PK_ERR_CONFLICT as of pk_store_commit, PK_ERR_IO: it is still new. */
pk_err pk_reports_write(struct pk_reports *reports, struct pk_store *store,
    struct pk_tenant_id tenant, uint64_t generation, int64_t wall_us);

#endif

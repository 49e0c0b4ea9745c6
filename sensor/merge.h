/* Equal observations of a window become one row.
 *
 * Decides by the scope what may carry a client (design decision 3), collects activity, RRsets and negatives in three bounded tables, and gives all rows out when the
 * window ends. Each transaction is counted in exactly one of in_scope, negative, positive, merge_shed. Time comes from the packets. */
#ifndef SENSOR_MERGE_H
#define SENSOR_MERGE_H

#include "picket/batch.h"
#include "picket/err.h"
#include "picket/scope.h"

#include "history.h"
#include "stats.h"
#include "transaction.h"

enum {
    PK_MERGE_MAX_ROWS = 50000,     /* of each table; when full the window is given out in parts */
    PK_MERGE_MAX_BYTES = 16 << 20, /* names and RDATA; the same */
    PK_MERGE_MAX_SERVERS = 4096,   /* whose vantage is remembered */
};

struct pk_merge;

struct pk_merge_options {
    const struct pk_scope_tenant *tenant; /* NULL: no scope, every source in clear; borrowed */
    const struct pk_scope_site *site;     /* with tenant */
    const uint8_t *client_key; /* 32 bytes, or NULL: inside clients are left out; borrowed */
    enum pk_vantage vantage;   /* UNKNOWN: the site's, else inferred for each server */
    uint32_t window_ms;
};

/* What a window gives out; rows are borrowed during the call. */
struct pk_merge_sink {
    void *arg;
    void (*window)(void *arg, const struct pk_batch_info *info); /* begins; kind is not set */
    void (*activity)(void *arg, const struct pk_activity *row);
    void (*rrset)(void *arg, const struct pk_rrset *row);
    void (*negative)(void *arg, const struct pk_negative *row);
    void (*window_end)(void *arg);
};

pk_err pk_merge_new(const struct pk_merge_options *options, struct pk_stats *stats,
    const struct pk_merge_sink *sink, struct pk_merge **out_merge);
void pk_merge_free(struct pk_merge *merge);
/* Another scope, window or vantage: the open window is given out under the old ones first. */
void pk_merge_change(struct pk_merge *merge, const struct pk_merge_options *options);
void pk_merge_transaction(struct pk_merge *merge, const struct pk_transaction *transaction);
void pk_merge_rrset(struct pk_merge *merge, const struct pk_rrset *rrset);
/* Ends the window when now_us is past it, or now when force. */
void pk_merge_tick(struct pk_merge *merge, int64_t now_us, bool force);

#endif

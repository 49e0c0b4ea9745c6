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
};
#define PK_MERGE_NO_ROW UINT32_MAX

struct pk_merge;

struct pk_merge_options {
    const struct pk_scope_tenant *tenant; /* NULL: no scope, every source in clear; borrowed */
    const struct pk_scope_site *site;     /* with tenant */
    const uint8_t *client_key; /* 32 bytes, or NULL: inside clients are left out; borrowed */
    enum pk_vantage vantage;   /* UNKNOWN: the site's, else inferred for each server */
    uint32_t window_ms;
};

/* What a window gives out; rows are borrowed during the call. The numbers are the window's own: see pk_batch_add_numbered_activity. */
struct pk_merge_sink {
    void *arg;
    void (*window)(void *arg, const struct pk_batch_info *info); /* begins; kind is not set */
    void (*activity)(
        void *arg, const struct pk_activity *row, const struct pk_row_numbers *numbers);
    void (*rrset)(void *arg, const struct pk_rrset *row, const struct pk_row_numbers *numbers);
    void (*negative)(
        void *arg, const struct pk_negative *row, const struct pk_row_numbers *numbers);
    void (*window_end)(void *arg, bool is_last); /* false: a part of a window that goes on */
};

pk_err pk_merge_new(const struct pk_merge_options *options, struct pk_stats *stats,
    const struct pk_merge_sink *sink, struct pk_merge **out_merge);
void pk_merge_free(struct pk_merge *merge);
/* Another scope, window or vantage: the open window is given out under the old ones first. */
void pk_merge_change(struct pk_merge *merge, const struct pk_merge_options *options);
/* Enters the window that holds this moment, giving out the one before when it is over, and says which part of a window it is: numbers of rows are good until
 * that changes. */
uint32_t pk_merge_enter(struct pk_merge *merge, int64_t ts_us);
void pk_merge_transaction(struct pk_merge *merge, const struct pk_transaction *transaction,
    const struct pk_answer *answer);
/* The number of its row, or PK_MERGE_NO_ROW when it was shed (counted). */
uint32_t pk_merge_rrset(struct pk_merge *merge, const struct pk_rrset *rrset);
/* One more sighting of a row of the part in hand. */
void pk_merge_repeat(
    struct pk_merge *merge, uint32_t row, int64_t ts_us, uint32_t ttl_min_s, uint32_t ttl_max_s);
/* Ends the window when now_us is past it, or now when force. A window begins with its first packet, seen or not: a sensor that sees nothing says so. */
void pk_merge_tick(struct pk_merge *merge, int64_t now_us, bool force);

/* What it can come to hold, in bytes. */
size_t pk_merge_bound_bytes(void);

#endif

/* Equal observations of a window become one row.
 *
 * Decides by the scope what may carry a client (design decision 3), collects activity, RRsets and negatives in three bounded tables, and gives all rows out when the
 * window ends. Each transaction is counted in exactly one of in_scope, overflow, negative, positive, merge_shed. Time comes from the packets.
 *
 * With a scope each client's transactions out of scope are counted too, without names (struct pk_client_count). When many want rows, the evidence stays and only its detail goes:
 *   - a table that is full gives the window out in parts, until a kind has given window_rows rows in this window;
 *   - activity above a client's share (share.h) counts in its overflow row for the zone, with outcomes and a sketch of the distinct names: a sweep stays a sweep of its size;
 *   - above window_rows / 4 clients that are only counted, those that come new share one row a zone, without a client;
 *   - negatives out of scope above window_rows fold to `*.` and the last two labels of their names, above 5/4 of it to `*.`; existing rows count on;
 *   - RRsets that are new above window_rows are shed and counted (rrsets_shed). */
#ifndef SENSOR_MERGE_H
#define SENSOR_MERGE_H

#include "picket/batch_rows.h"
#include "picket/err.h"
#include "picket/scope.h"

#include "stats.h"
#include "transaction.h"
#include "window/history.h"

enum {
    PK_MERGE_MAX_ROWS =
        50000, /* of each table; when full the window is given out in parts, up to window_rows */
    PK_MERGE_WINDOW_ROWS = 200000, /* default of window_rows */
    PK_MERGE_MAX_BYTES = 16 << 20, /* names and RDATA of all tables; the same */
};
#define PK_MERGE_NO_ROW UINT32_MAX

struct pk_merge;

struct pk_merge_options {
    const struct pk_scope_tenant *tenant; /* NULL: no scope, every source in clear; borrowed */
    const struct pk_scope_site *site;     /* with tenant */
    const uint8_t
        *client_key; /* the master, 32 bytes, or NULL: inside clients are left out; borrowed */
    bool
        is_own; /* tenant is from the site's own file and nobody sent it: the scanners and peers it declares stay in clear */
    enum pk_vantage vantage; /* UNKNOWN: the site's, else inferred for each server */
    uint32_t window_ms;
    uint32_t window_rows; /* most rows of a kind in a window, all its parts together; 0: no limit */
};

/* The window in hand, with the rows that are in its tables. */
struct pk_merge_open {
    int64_t window_start_us;
    uint32_t window_ms;
    uint32_t activity, rrsets, negatives;
};

/* What a window gives out, kind by kind; rows are borrowed during the call. */
struct pk_merge_sink {
    void *arg;
    /* Rows of one kind; info.kind is not set, its flags say whether the window goes on after this part. */
    void (*rows)(void *arg, const struct pk_batch_info *info, const struct pk_rows *rows);
    void (*window_end)(void *arg, const struct pk_batch_info *info);
    /* How the window stands, before rows are given out and it ends, and when it is asked for. May be NULL. */
    void (*open)(void *arg, const struct pk_merge_open *open);
};

/* sink NULL: rows are merged and dropped. */
pk_err pk_merge_new(const struct pk_merge_options *options, struct pk_stats *stats,
    const struct pk_merge_sink *sink, struct pk_merge **out_merge);
void pk_merge_free(struct pk_merge *merge);
/* Another scope, window or vantage: the open window is given out under the old ones first. */
void pk_merge_change(struct pk_merge *merge, const struct pk_merge_options *options);
/* Enters the window that holds this moment, giving out the one before when it is over, and says which part of the RRsets it is: numbers of their rows are good until
 * that changes. */
uint32_t pk_merge_enter(struct pk_merge *merge, int64_t ts_us);
/* Asks for the memory that a transaction with this message will want, so that other work can be done while it answers; its name_hash is reckoned. */
void pk_merge_ahead(const struct pk_merge *merge, const struct pk_message *message);
void pk_merge_transaction(struct pk_merge *merge, const struct pk_transaction *transaction,
    const struct pk_answer *answer);
/* The number of its row, or PK_MERGE_NO_ROW when it was shed (counted). */
uint32_t pk_merge_rrset(struct pk_merge *merge, const struct pk_rrset *rrset);
/* More sightings of a row of the part in hand. */
void pk_merge_repeat(struct pk_merge *merge, const struct pk_history_repeat *repeat);
/* Calls this before RRsets are given out: the last moment to tell of repeats. NULL: nothing. */
void pk_merge_before_rrsets(struct pk_merge *merge, void (*before)(void *arg), void *arg);
/* Ends the window when now_us is past it, or now when force. A window begins with its first packet, seen or not: a sensor that sees nothing says so. */
void pk_merge_tick(struct pk_merge *merge, int64_t now_us, bool force);
/* Tells the sink how the open window stands. */
void pk_merge_tell(const struct pk_merge *merge);

/* What it can come to hold, in bytes. */
size_t pk_merge_bound_bytes(void);

#endif

/* What is old goes, in small pieces, and the ledger's hours are put together to days.
 *
 * Kept for N days means after it came: what is given up had its event and its arrival before. Arrival is known by the ingest sequence, of which each day's last is noted (table arrival): nothing is
 * given up in the first N days after that table was made. Days of activity go as whole partitions when no tenant keeps a row in them, else a tenant's rows go from them. Each step is a transaction of
 * its own that holds the home, and bounded; one that fails does not keep the others from their turn. RRsets stay. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "picket/clock.h"

#include "pg_internal.h"

#define DAY_US "86400000000"

enum {
    MAX_ROWS = 5000,     /* of one table, in one pass; whole batches, so up to one more */
    MAX_DAYS_LOOKED = 8, /* partitions of a table, in one pass */
    DROP_LOCK_MS = 200,  /* as in picket_drop_day: what takes so long waited in vain */
    MAX_FOLDED = 32,     /* days of a sensor */
    MAX_ENTRY_TEXT = 24,
};

/* One pass for one tenant. */
struct pass {
    struct pk_store *store;
    const struct pk_store_retention *mine;
    uint64_t generation;
    int64_t today;                /* days since 1970 */
    pk_err err;                   /* the first failure, or what ended the pass */
    bool is_over;                 /* no step can do anything any more */
    char error[STORE_ERROR_SIZE]; /* of err */
};

static void param_day(struct params *params, int64_t day)
{
    param_int(params, day); /* used as date '1970-01-01' + $n */
}

/* What the database refuses in one step says nothing of the next; a lost home and a lost connection do. */
static void note_failure(struct pass *pass, pk_err err)
{
    bool is_lost = !pass->store->conn || PQstatus(pass->store->conn) != CONNECTION_OK;
    if (err == PK_OK || pass->is_over) {
        return;
    }
    pass->is_over = is_lost || err == PK_ERR_CONFLICT;
    if (pass->is_over || pass->err == PK_OK) {
        pass->err = pass->is_over || err == PK_ERR_NOMEM ? err : PK_ERR_MALFORMED;
        memcpy(pass->error, pass->store->error, sizeof pass->error);
    }
}

/* Runs the statement as a transaction under the lease. Returns the number that it says; 0 when it failed. */
static uint64_t step(
    struct pass *pass, const char *doing, const char *sql, const struct params *params)
{
    PGresult *result = NULL;
    if (pass->is_over) {
        return 0;
    }
    pk_err err = pg_begin(pass->store);
    if (err == PK_OK) {
        err = pg_hold_home(pass->store, pass->mine->tenant, pass->generation);
        if (err == PK_OK) {
            err = pg_query(pass->store, doing, sql, params, true, &result);
        }
        uint64_t n = err == PK_OK && PQntuples(result) == 1 ? (uint64_t)get_int(result, 0, 0) : 0;
        PQclear(result);
        err = pg_end(pass->store, err);
        if (err == PK_OK) {
            return n;
        }
    }
    note_failure(pass, err);
    return 0;
}

/* What the pass returns; the store's error is that one's. */
static pk_err end_pass(const struct pass *pass)
{
    if (pass->err != PK_OK) {
        memcpy(pass->store->error, pass->error, sizeof pass->store->error);
    }
    return pass->err;
}

static void note_arrival(struct pass *pass)
{
    struct params params = {0};
    param_int(&params, pass->mine->tenant.v);
    param_day(&params, pass->today);
    (void)step(pass, "note what came today",
        "insert into arrival as a (tenant_id, day, last_seq) select $1::int, date '1970-01-01' + $2::int, coalesce((select last_seq from ingest_seq where tenant_id = $1::int), 0)"
        " on conflict (tenant_id, day) do update set last_seq = excluded.last_seq returning 1::bigint",
        &params);
}

/* --- days of activity and of negatives --- */

/* "{1,2}" and "{2026-01-01,...}" for all tenants. */
struct cutoffs {
    char *tenants, *days;
};

static bool make_cutoffs(
    const struct pk_store_retention_plan *plan, bool is_activity, struct cutoffs *out)
{
    const struct pk_store_retention *all = plan->all;
    size_t n = plan->n, size = n * MAX_ENTRY_TEXT + 3, tenants = 0, days = 0;
    *out = (struct cutoffs){.tenants = malloc(size), .days = malloc(size)};
    if (!out->tenants || !out->days) {
        return false;
    }
    out->tenants[tenants++] = out->days[days++] = '{';
    for (size_t i = 0; i < n; i++) {
        char day[PK_TIME_TEXT_SIZE];
        int64_t kept = is_activity ? all[i].activity_days : all[i].history_days;
        pk_time_text((plan->today - kept) * PK_US_PER_DAY, day);
        tenants += (size_t)snprintf(
            out->tenants + tenants, size - tenants, "%s%" PRIu32, i ? "," : "", all[i].tenant.v);
        days += (size_t)snprintf(out->days + days, size - days, "%s%.10s", i ? "," : "", day);
    }
    snprintf(out->tenants + tenants, size - tenants, "}");
    snprintf(out->days + days, size - days, "}");
    return true;
}

/* The days of a table's partitions between two days, from their bounds: no plan can put a name that is none of ours, or none of a day, before the cast. */
#define OLD_DAYS                                                                                                                      \
    "with part as materialized (select c.relname, substring(pg_get_expr(c.relpartbound, c.oid) from '\\d{4}-\\d\\d-\\d\\d') as bound" \
    "  from pg_class c where c.oid in (select i.inhrelid from pg_inherits i where i.inhparent = to_regclass($1))),"                   \
    " dated as materialized (select relname, bound::date as day from part where bound is not null)"                                   \
    " select day - date '1970-01-01' from dated where relname = $1 || '_' || to_char(day, 'YYYYMMDD')"                                \
    "  and day > date '1970-01-01' + $2::int and day < date '1970-01-01' + $3::int order by day limit $4::int"

/* The first day that every tenant keeps. */
static int64_t first_kept(const struct pk_store_retention_plan *plan, bool is_activity)
{
    int64_t kept = INT32_MAX;
    for (size_t i = 0; i < plan->n; i++) {
        int64_t days = is_activity ? plan->all[i].activity_days : plan->all[i].history_days;
        kept = days < kept ? days : kept;
    }
    return plan->today - kept;
}

/* A day's own transaction: what it locks it holds for a moment only. */
static bool drop_day(struct pass *pass, const struct cutoffs *cutoffs, bool is_activity,
    int64_t day, bool *inout_is_busy)
{
    struct params params = {0};
    param_text(&params, is_activity ? "{activity,client_count}" : "{negative}");
    param_day(&params, day);
    param_text(&params, cutoffs->tenants);
    param_text(&params, cutoffs->days);
    int64_t start_ms = pk_clock_mono_ms();
    uint64_t n = step(pass, "drop days",
        "select picket_drop_day($1::text[], date '1970-01-01' + $2::int, $3::int[], $4::date[])::int::bigint",
        &params);
    *inout_is_busy = *inout_is_busy || (n == 0 && pk_clock_mono_ms() - start_ms >= DROP_LOCK_MS);
    return n > 0;
}

/* Goes on where it stopped the last time, and after the last day begins again, so that days which somebody keeps hide none behind them. */
static void drop_days(struct pass *pass, const struct pk_store_retention_plan *plan,
    bool is_activity, struct pk_store_dropped *out)
{
    struct cutoffs cutoffs = {.tenants = NULL};
    struct params params = {0};
    PGresult *days = NULL;
    int32_t *after = &pass->store->looked_day[is_activity];
    param_text(&params, is_activity ? "activity" : "negative");
    param_day(&params, *after);
    param_day(&params, first_kept(plan, is_activity));
    param_int(&params, MAX_DAYS_LOOKED);
    pk_err err = make_cutoffs(plan, is_activity, &cutoffs)
                     ? pg_query(pass->store, "look for old days", OLD_DAYS, &params, true, &days)
                     : pg_fail(pass->store, PK_ERR_NOMEM, "no memory");
    note_failure(pass, err);
    int n = err == PK_OK ? PQntuples(days) : 0;
    int i = 0;
    for (; i < n && !out->is_busy && !pass->is_over; i++) {
        *after = (int32_t)get_int(days, i, 0);
        out->days += drop_day(pass, &cutoffs, is_activity, *after, &out->is_busy);
    }
    if (i == n && n < MAX_DAYS_LOOKED) {
        *after = 0;
    }
    out->has_more = out->has_more || n == MAX_DAYS_LOOKED;
    PQclear(days);
    free(cutoffs.tenants);
    free(cutoffs.days);
}

pk_err pk_store_drop_days(struct pk_store *store, const struct pk_store_retention_plan *plan,
    size_t which, uint64_t generation, struct pk_store_dropped *out_dropped)
{
    struct pk_store_dropped dropped = {0};
    struct pass pass = {
        .store = store, .mine = &plan->all[which], .generation = generation, .today = plan->today};
    drop_days(&pass, plan, true, &dropped);
    if (!dropped.is_busy) {
        drop_days(&pass, plan, false, &dropped);
    }
    if (dropped.days > 0) {
        store->days.n = 0; /* which partitions there are */
    }
    *out_dropped = dropped;
    return end_pass(&pass);
}

#define OLD_SEQ \
    "(select max(last_seq) from arrival where tenant_id = $1::int and day < date '1970-01-01' + $2::int)"
/* The first rows of the tenant's oldest day that hold nothing it keeps. */
#define DELETE_OLD(table)                                                                                            \
    "with oldest as (select min(day) as day from " table                                                             \
    " where tenant_id = $1::int and day < date '1970-01-01' + $2::int and ingest_seq <= " OLD_SEQ                    \
    "), upto as (select max(ingest_seq) as seq from (select t.ingest_seq from oldest o, " table                      \
    "   t where t.tenant_id = $1::int and t.day = o.day and t.ingest_seq <= " OLD_SEQ                                \
    "   order by t.ingest_seq limit $3::int) first),"                                                                \
    " gone as (delete from " table                                                                                   \
    " t using oldest o, upto u where t.tenant_id = $1::int and t.day = o.day and t.ingest_seq <= u.seq returning 1)" \
    " select count(*) from gone"

static void delete_activity(struct pass *pass, struct pk_store_pruned *out)
{
    struct params params = {0};
    param_int(&params, pass->mine->tenant.v);
    param_day(&params, pass->today - pass->mine->activity_days);
    param_int(&params, MAX_ROWS);
    uint64_t rows = step(pass, "give up activity", DELETE_OLD("activity"), &params);
    uint64_t counts = step(pass, "give up client counts", DELETE_OLD("client_count"), &params);
    out->activity += rows + counts;
    out->has_more = out->has_more || rows > 0 || counts > 0;
}

/* --- health --- */

/* By sensor along the key: no index by time is needed. */
#define DELETE_OF_SENSORS(table)                                                                                                   \
    "with old as (select h.sensor_id, h.ingest_seq from sensor s cross join lateral (select t.sensor_id, t.ingest_seq from " table \
    "  t where t.tenant_id = $1::int and t.sensor_id = s.sensor_id and t.ingest_seq <= " OLD_SEQ                                   \
    "  order by t.ingest_seq limit $3::int) h where s.tenant_id = $1::int limit $3::int),"                                         \
    " gone as (delete from " table                                                                                                 \
    " t using old o where t.tenant_id = $1::int and t.sensor_id = o.sensor_id and t.ingest_seq = o.ingest_seq returning 1)"        \
    " select count(*) from gone"

static void delete_health(struct pass *pass, struct pk_store_pruned *out)
{
    struct params params = {0}, quarantine = {0};
    int64_t cutoff = pass->today - pass->mine->health_days;
    param_int(&params, pass->mine->tenant.v);
    param_day(&params, cutoff);
    param_int(&params, MAX_ROWS);
    uint64_t rows = step(pass, "give up health", DELETE_OF_SENSORS("health"), &params);
    uint64_t interfaces =
        step(pass, "give up health of interfaces", DELETE_OF_SENSORS("health_interface"), &params);
    param_int(&quarantine, pass->mine->tenant.v);
    param_int(&quarantine, cutoff * PK_US_PER_DAY);
    out->quarantine += step(pass, "give up quarantine",
        "with gone as (delete from quarantine where tenant_id = $1::int and received_us < $2::bigint returning 1) select count(*) from gone",
        &quarantine);
    out->health += rows + interfaces;
    out->has_more = out->has_more || rows >= MAX_ROWS || interfaces >= MAX_ROWS;
}

/* --- the ledger --- */

#define SUM_ARRAY(column)                                                                                                               \
    "coalesce((select array_agg(least(v, 576460752303423488)::bigint order by i) from (select i, sum(x) as v from gone, unnest(" column \
    ") with ordinality u(x, i) group by i) s), '{}'::bigint[])"

/* The other hours of a day are added to its first. What comes later for such a day is an hour again, and added in its turn: sums stay what they were. */
static void fold_ledger(struct pass *pass, struct pk_store_pruned *out)
{
    PGresult *due = NULL;
    struct params params = {0};
    if (pass->is_over) {
        return;
    }
    param_int(&params, pass->mine->tenant.v);
    param_int(&params, (pass->today - PK_STORE_LEDGER_HOURS_DAYS) * PK_US_PER_DAY);
    param_int(&params, MAX_FOLDED);
    pk_err err = pg_query(pass->store, "look for hours of old days",
        "select s.sensor_id, d.day_us from sensor s cross join lateral (select l.hour_us - l.hour_us % " DAY_US
        " as day_us from ledger l where l.tenant_id = $1::int and l.sensor_id = s.sensor_id and l.hour_us >= 0"
        "  and l.hour_us < $2::bigint and l.hour_us % " DAY_US " <> 0 order by l.hour_us limit 1) d"
        " where s.tenant_id = $1::int order by 1 limit $3::int",
        &params, true, &due);
    note_failure(pass, err);
    int n = err == PK_OK ? PQntuples(due) : 0;
    uint64_t folded = 0;
    for (int i = 0; i < n; i++) {
        struct params day = {0};
        param_int(&day, pass->mine->tenant.v);
        param_int(&day, get_int(due, i, 0));
        param_int(&day, get_int(due, i, 1));
        folded += step(pass, "put a day together",
            "with gone as (delete from ledger where tenant_id = $1::int and sensor_id = $2::int and hour_us > $3::bigint and hour_us < $3::bigint + " DAY_US
            " returning *),"
            " put as (insert into ledger as l (tenant_id, sensor_id, hour_us, batches, row_count, counters, stored, lost, last_received_us)"
            "  select $1::int, $2::int, $3::bigint, sum(batches), sum(row_count), " SUM_ARRAY("counters") ", " SUM_ARRAY(
                "stored") ", " SUM_ARRAY("lost") ", max(last_received_us) from gone having count(*) > 0"
                                                 "  on conflict (tenant_id, sensor_id, hour_us) do update set batches = l.batches + excluded.batches, row_count = l.row_count + excluded.row_count,"
                                                 "  counters = picket_add(l.counters, excluded.counters), stored = picket_add(l.stored, excluded.stored), lost = picket_add(l.lost, excluded.lost),"
                                                 "  last_received_us = greatest(l.last_received_us, excluded.last_received_us) returning 1)"
                                                 " select count(*) from put",
            &day);
    }
    PQclear(due);
    out->folded += folded;
    out->has_more = out->has_more || folded > 0;
}

pk_err pk_store_read_day(struct pk_store *store, int64_t *out_day, int64_t *out_ahead_s)
{
    PGresult *result;
    pk_err err = pg_query(store, "read the day",
        "select (extract(epoch from clock_timestamp()) * 1000000)::bigint", NULL, true, &result);
    if (err == PK_OK) {
        int64_t us = get_int(result, 0, 0);
        *out_day = us / PK_US_PER_DAY;
        *out_ahead_s = (now_us() - us) / 1000000;
    }
    PQclear(result);
    return err;
}

pk_err pk_store_prune(struct pk_store *store, const struct pk_store_retention_plan *plan,
    size_t which, uint64_t generation, struct pk_store_pruned *out_pruned)
{
    struct pk_store_pruned pruned = {0};
    struct pass pass = {
        .store = store, .mine = &plan->all[which], .generation = generation, .today = plan->today};
    note_arrival(&pass);
    delete_activity(&pass, &pruned);
    delete_health(&pass, &pruned);
    fold_ledger(&pass, &pruned);
    *out_pruned = pruned;
    return end_pass(&pass);
}

/* What is old goes, in small pieces, and the ledger's hours are put together to days.
 *
 * Kept for N days means after it came: what is given up had its event and its arrival before. Arrival is known by the ingest sequence, of which each day's last is noted (table arrival): nothing is
 * given up in the first N days after that table was made. Days of activity go as whole partitions when no tenant keeps a row in them, else a tenant's rows go from them. Each step is a transaction of
 * its own that holds the home, and bounded; RRsets stay. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "picket/clock.h"

#include "pg_internal.h"

#define DAY_US "86400000000"

enum {
    MAX_ROWS = 5000,     /* of one table, in one pass; whole batches, so up to one more */
    MAX_DAYS_LOOKED = 8, /* partitions, oldest first */
    MAX_FOLDED = 32,     /* days of a sensor */
    MAX_ENTRY_TEXT = 24,
};

static int64_t today(void)
{
    return now_us() / PK_US_PER_DAY;
}

static void param_day(struct params *params, int64_t day)
{
    param_int(params, day); /* used as date '1970-01-01' + $n */
}

/* Runs the statement, which counts what it did, as a transaction under the lease. */
static pk_err step(struct pk_store *store, struct pk_tenant_id tenant, uint64_t generation,
    const char *doing, const char *sql, const struct params *params, uint64_t *out_n)
{
    PGresult *result = NULL;
    pk_err err = pg_begin(store);
    if (err != PK_OK) {
        return err;
    }
    err = pg_hold_home(store, tenant, generation);
    if (err == PK_OK) {
        err = pg_query(store, doing, sql, params, true, &result);
    }
    uint64_t n = err == PK_OK && PQntuples(result) == 1 ? (uint64_t)get_int(result, 0, 0) : 0;
    PQclear(result);
    err = pg_end(store, err);
    if (err == PK_OK) {
        *out_n = n;
    }
    return err;
}

static pk_err note_arrival(struct pk_store *store, struct pk_tenant_id tenant, uint64_t generation)
{
    uint64_t n;
    struct params params = {0};
    param_int(&params, tenant.v);
    param_day(&params, today());
    return step(store, tenant, generation, "note what came today",
        "insert into arrival as a (tenant_id, day, last_seq) select $1::int, date '1970-01-01' + $2::int, coalesce((select last_seq from ingest_seq where tenant_id = $1::int), 0)"
        " on conflict (tenant_id, day) do update set last_seq = excluded.last_seq returning 1::bigint",
        &params, &n);
}

/* --- days of activity and of negatives --- */

/* "{1,2}" and "{2026-01-01,...}" for all tenants. */
struct cutoffs {
    char *tenants, *days;
};

static bool make_cutoffs(
    const struct pk_store_retention *all, size_t n, bool is_activity, struct cutoffs *out)
{
    size_t size = n * MAX_ENTRY_TEXT + 3, tenants = 0, days = 0;
    *out = (struct cutoffs){.tenants = malloc(size), .days = malloc(size)};
    if (!out->tenants || !out->days) {
        return false;
    }
    out->tenants[tenants++] = out->days[days++] = '{';
    for (size_t i = 0; i < n; i++) {
        char day[PK_TIME_TEXT_SIZE];
        int64_t kept = is_activity ? all[i].activity_days : all[i].history_days;
        pk_time_text((today() - kept) * PK_US_PER_DAY, day);
        tenants += (size_t)snprintf(
            out->tenants + tenants, size - tenants, "%s%" PRIu32, i ? "," : "", all[i].tenant.v);
        days += (size_t)snprintf(out->days + days, size - days, "%s%.10s", i ? "," : "", day);
    }
    snprintf(out->tenants + tenants, size - tenants, "}");
    snprintf(out->days + days, size - days, "}");
    return true;
}

static pk_err drop_days(struct pk_store *store, const struct pk_store_retention *all, size_t n,
    const struct pk_store_retention *mine, uint64_t generation, bool is_activity, uint64_t *inout_n)
{
    struct cutoffs cutoffs = {.tenants = NULL};
    struct params params = {0};
    uint64_t dropped = 0;
    pk_err err = PK_ERR_NOMEM;
    if (make_cutoffs(all, n, is_activity, &cutoffs)) {
        param_text(&params, is_activity ? "activity" : "negative");
        param_text(&params, is_activity ? "{activity,client_count}" : "{negative}");
        param_day(&params, today() - (is_activity ? mine->activity_days : mine->history_days));
        param_text(&params, cutoffs.tenants);
        param_text(&params, cutoffs.days);
        param_int(&params, MAX_DAYS_LOOKED);
        err = step(store, mine->tenant, generation, "drop days",
            "select count(*) filter (where picket_drop_day($2::text[], day, $4::int[], $5::date[])) from"
            " (select to_date(right(c.relname, 8), 'YYYYMMDD') as day from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = to_regclass($1)"
            "  and to_date(right(c.relname, 8), 'YYYYMMDD') < date '1970-01-01' + $3::int order by 1 limit $6::int) old",
            &params, &dropped);
    }
    free(cutoffs.tenants);
    free(cutoffs.days);
    if (err == PK_OK && dropped > 0) {
        store->days.n = 0; /* which partitions there are */
        *inout_n += dropped;
    }
    return err;
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

static pk_err delete_activity(struct pk_store *store, const struct pk_store_retention *mine,
    uint64_t generation, struct pk_store_pruned *out)
{
    uint64_t rows = 0, counts = 0;
    struct params params = {0};
    param_int(&params, mine->tenant.v);
    param_day(&params, today() - mine->activity_days);
    param_int(&params, MAX_ROWS);
    pk_err err = step(store, mine->tenant, generation, "give up activity", DELETE_OLD("activity"),
        &params, &rows);
    if (err == PK_OK) {
        err = step(store, mine->tenant, generation, "give up client counts",
            DELETE_OLD("client_count"), &params, &counts);
    }
    out->activity += rows + counts;
    out->has_more = out->has_more || rows > 0 || counts > 0;
    return err;
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

static pk_err delete_health(struct pk_store *store, const struct pk_store_retention *mine,
    uint64_t generation, struct pk_store_pruned *out)
{
    uint64_t rows = 0, interfaces = 0, bodies = 0;
    struct params params = {0}, quarantine = {0};
    param_int(&params, mine->tenant.v);
    param_day(&params, today() - mine->health_days);
    param_int(&params, MAX_ROWS);
    pk_err err = step(store, mine->tenant, generation, "give up health",
        DELETE_OF_SENSORS("health"), &params, &rows);
    if (err == PK_OK) {
        err = step(store, mine->tenant, generation, "give up health of interfaces",
            DELETE_OF_SENSORS("health_interface"), &params, &interfaces);
    }
    param_int(&quarantine, mine->tenant.v);
    param_int(&quarantine, (today() - mine->health_days) * PK_US_PER_DAY);
    if (err == PK_OK) {
        err = step(store, mine->tenant, generation, "give up quarantine",
            "with gone as (delete from quarantine where tenant_id = $1::int and received_us < $2::bigint returning 1) select count(*) from gone",
            &quarantine, &bodies);
    }
    out->health += rows + interfaces;
    out->quarantine += bodies;
    out->has_more = out->has_more || rows >= MAX_ROWS || interfaces >= MAX_ROWS;
    return err;
}

/* --- the ledger --- */

#define SUM_ARRAY(column)                                                                                                               \
    "coalesce((select array_agg(least(v, 576460752303423488)::bigint order by i) from (select i, sum(x) as v from gone, unnest(" column \
    ") with ordinality u(x, i) group by i) s), '{}'::bigint[])"

/* The other hours of a day are added to its first. What comes later for such a day is an hour again, and added in its turn: sums stay what they were. */
static pk_err fold_ledger(struct pk_store *store, const struct pk_store_retention *mine,
    uint64_t generation, struct pk_store_pruned *out)
{
    PGresult *due = NULL;
    struct params params = {0};
    param_int(&params, mine->tenant.v);
    param_int(&params, (today() - PK_STORE_LEDGER_HOURS_DAYS) * PK_US_PER_DAY);
    param_int(&params, MAX_FOLDED);
    pk_err err = pg_query(store, "look for hours of old days",
        "select s.sensor_id, d.day_us from sensor s cross join lateral (select l.hour_us - l.hour_us % " DAY_US
        " as day_us from ledger l where l.tenant_id = $1::int and l.sensor_id = s.sensor_id and l.hour_us >= 0"
        "  and l.hour_us < $2::bigint and l.hour_us % " DAY_US " <> 0 order by l.hour_us limit 1) d"
        " where s.tenant_id = $1::int order by 1 limit $3::int",
        &params, true, &due);
    int n = err == PK_OK ? PQntuples(due) : 0;
    for (int i = 0; i < n && err == PK_OK; i++) {
        uint64_t folded = 0;
        struct params day = {0};
        param_int(&day, mine->tenant.v);
        param_int(&day, get_int(due, i, 0));
        param_int(&day, get_int(due, i, 1));
        err = step(store, mine->tenant, generation, "put a day together",
            "with gone as (delete from ledger where tenant_id = $1::int and sensor_id = $2::int and hour_us > $3::bigint and hour_us < $3::bigint + " DAY_US
            " returning *),"
            " put as (insert into ledger as l (tenant_id, sensor_id, hour_us, batches, row_count, counters, stored, lost, last_received_us)"
            "  select $1::int, $2::int, $3::bigint, sum(batches), sum(row_count), " SUM_ARRAY("counters") ", " SUM_ARRAY(
                "stored") ", " SUM_ARRAY("lost") ", max(last_received_us) from gone having count(*) > 0"
                                                 "  on conflict (tenant_id, sensor_id, hour_us) do update set batches = l.batches + excluded.batches, row_count = l.row_count + excluded.row_count,"
                                                 "  counters = picket_add(l.counters, excluded.counters), stored = picket_add(l.stored, excluded.stored), lost = picket_add(l.lost, excluded.lost),"
                                                 "  last_received_us = greatest(l.last_received_us, excluded.last_received_us) returning 1)"
                                                 " select count(*) from put",
            &day, &folded);
        out->folded += folded;
    }
    PQclear(due);
    out->has_more = out->has_more || n > 0;
    return err;
}

pk_err pk_store_prune(struct pk_store *store, const struct pk_store_retention *all, size_t n,
    size_t which, uint64_t generation, struct pk_store_pruned *out_pruned)
{
    const struct pk_store_retention *mine = &all[which];
    struct pk_store_pruned pruned = {0};
    pk_err err = note_arrival(store, mine->tenant, generation);
    if (err == PK_OK) {
        err = drop_days(store, all, n, mine, generation, true, &pruned.days);
    }
    if (err == PK_OK) {
        err = drop_days(store, all, n, mine, generation, false, &pruned.days);
    }
    if (err == PK_OK) {
        err = delete_activity(store, mine, generation, &pruned);
    }
    if (err == PK_OK) {
        err = delete_health(store, mine, generation, &pruned);
    }
    if (err == PK_OK) {
        err = fold_ledger(store, mine, generation, &pruned);
    }
    *out_pruned = pruned;
    return err;
}

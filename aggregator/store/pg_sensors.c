/* The sensors for people: how each was when it last spoke, and the sums of its ledger. */
#include <string.h>

#include <jansson.h>

#include "picket/clock.h"

#include "pg_internal.h"

/* --- writing --- */

static json_t *report_json(const struct pk_store_report *report)
{
    char address[sizeof report->address], software[sizeof report->software],
        peers[sizeof report->clone_peers];
    pg_plain(report->address, address, sizeof address);
    pg_plain(report->software, software, sizeof software);
    pg_plain(report->clone_peers, peers, sizeof peers);
    return json_pack("{s:I, s:I, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:s}", "sensor",
        (json_int_t)report->sensor.v, "reported", (json_int_t)report->reported_us, "address",
        address, "software", software, "off", (json_int_t)report->offset_us, "queued",
        (json_int_t)(report->queued & INT64_MAX), "bytes",
        (json_int_t)(report->queued_bytes & INT64_MAX), "behind",
        (json_int_t)(report->behind_us & INT64_MAX), "cloned", (json_int_t)report->cloned_us,
        "peers", peers);
}

/* One array of objects, so that one statement takes them all. NULL: out of memory. */
static char *reports_text(const struct pk_store_report *reports, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        (void)json_array_append_new(list, report_json(&reports[i]));
    }
    char *text = json_array_size(list) == n ? json_dumps(list, JSON_COMPACT) : NULL;
    json_decref(list);
    return text;
}

/* The least int64 has no absolute value. */
#define OFF "greatest(r.off, -9223372036854775807)"

pk_err pk_store_write_reports(struct pk_store *store, struct pk_tenant_id tenant,
    uint64_t generation, const struct pk_store_report *reports, size_t n)
{
    struct params params = {0};
    char *text = reports_text(reports, n);
    if (!text) {
        return PK_ERR_NOMEM;
    }
    param_int(&params, tenant.v);
    param_text(&params, text);
    pk_err err = pg_begin(store);
    if (err == PK_OK) {
        err = pg_hold_home(store, tenant, generation);
        if (err == PK_OK) {
            err = pg_exec(store, "write reports of sensors",
                "insert into sensor_state as s (tenant_id, sensor_id, reported_us, address, software, offset_us, skewed_since_us, queued, queued_bytes, behind_us, cloned_us, clone_peers)"
                " select $1::int, r.sensor, r.reported, r.address, r.software, nullif(" OFF
                ", 0), case when abs(" OFF ") > " PG_SKEW_US
                " then r.reported end, r.queued, r.bytes, r.behind, nullif(r.cloned, 0), r.peers"
                " from jsonb_to_recordset($2::jsonb) as r(sensor int, reported bigint, address text, software text, off bigint, queued bigint, bytes bigint, behind bigint, cloned bigint, peers text)"
                " on conflict (tenant_id, sensor_id) do update set reported_us = excluded.reported_us,"
                " address = coalesce(nullif(excluded.address, ''), s.address), software = coalesce(nullif(excluded.software, ''), s.software),"
                " offset_us = coalesce(excluded.offset_us, s.offset_us),"
                " skewed_since_us = case when excluded.offset_us is null then s.skewed_since_us"
                "   when excluded.skewed_since_us is not null then coalesce(s.skewed_since_us, excluded.skewed_since_us) end,"
                " queued = excluded.queued, queued_bytes = excluded.queued_bytes, behind_us = excluded.behind_us,"
                " cloned_us = coalesce(excluded.cloned_us, s.cloned_us), clone_peers = coalesce(nullif(excluded.clone_peers, ''), s.clone_peers)",
                &params);
        }
        err = pg_end(store, err);
    }
    free(text);
    return err;
}

/* --- reading --- */

_Static_assert(PK_N_LOSS_CAUSES == 9, "the query below counts causes 0 to 8");

enum {
    LOST_FIELDS = 4 /* batches, rows, transactions, batches of health */
};

static void read_lost(const PGresult *r, int i, struct pk_store_loss *out)
{
    uint64_t told[LOST_FIELDS * PK_N_LOSS_CAUSES] = {0}, counted[PK_N_LOSS_CAUSES] = {0};
    get_bigints(r, i, 4, counted, PK_N_LOSS_CAUSES);
    get_bigints(r, i, 9, told, LOST_FIELDS * PK_N_LOSS_CAUSES);
    for (size_t k = 0; k < PK_N_LOSS_CAUSES; k++) {
        const uint64_t *of = told + LOST_FIELDS * k;
        out->lost[k] = (struct pk_store_lost){.batches = of[0],
            .rows = of[1],
            .transactions = of[2],
            .counted = counted[k],
            .health_batches = of[3]};
    }
}

static void read_now(const PGresult *r, int i, struct pk_store_report *out)
{
    out->reported_us = get_int(r, i, 10);
    get_text(r, i, 11, out->address, sizeof out->address);
    get_text(r, i, 12, out->software, sizeof out->software);
    out->offset_us = get_int(r, i, 13);
    out->queued = (uint64_t)get_int(r, i, 14);
    out->queued_bytes = (uint64_t)get_int(r, i, 15);
    out->behind_us = (uint64_t)get_int(r, i, 16);
    out->cloned_us = get_int(r, i, 17);
    get_text(r, i, 18, out->clone_peers, sizeof out->clone_peers);
}

static void read_loss(const PGresult *r, int i, struct pk_store_loss *out)
{
    uint64_t stored[8] = {0};
    memset(out, 0, sizeof *out);
    get_text(r, i, 0, out->site, sizeof out->site);
    get_text(r, i, 1, out->sensor, sizeof out->sensor);
    get_bigints(r, i, 2, out->sum.v, PK_N_HEALTH_KEYS);
    get_bigints(r, i, 3, stored, 8);
    out->stored_activity = stored[PK_BATCH_ACTIVITY];
    out->stored_negative = stored[PK_BATCH_NEGATIVE];
    out->stored_rrset = stored[PK_BATCH_RRSET];
    out->batches = (uint64_t)get_int(r, i, 5);
    out->rows = (uint64_t)get_int(r, i, 6);
    out->last_received_us = get_int(r, i, 7);
    out->quarantined = (uint64_t)get_int(r, i, 8);
    read_lost(r, i, out);
    read_now(r, i, &out->now);
    get_text(r, i, 19, out->alarms, sizeof out->alarms);
    out->interfaces = PQgetvalue(r, i, 20); /* libpq ends every value with a zero */
}

/* An array summed place by place: a sum for each, as much of it as a bigint holds, since taking arrays apart and grouping by place takes twelve times as long. */
#define CAPPED(sum)    "least(coalesce(" sum ", 0), 9223372036854775807)"
#define SUM(column, i) CAPPED("sum(" column "[" #i "])")
#define EIGHT(column, a, b, c, d, e, f, g, h)                                            \
    SUM(column, a)                                                                       \
    "," SUM(column, b) "," SUM(column, c) "," SUM(column, d) "," SUM(column, e) "," SUM( \
        column, f) "," SUM(column, g) "," SUM(column, h)
#define EIGHTY(column)                                                                             \
    EIGHT(column, 1, 2, 3, 4, 5, 6, 7, 8)                                                          \
    "," EIGHT(column, 9, 10, 11, 12, 13, 14, 15, 16) "," EIGHT(column, 17, 18, 19, 20, 21, 22, 23, \
        24) "," EIGHT(column, 25, 26, 27, 28, 29, 30, 31, 32) "," EIGHT(column, 33, 34, 35, 36,    \
        37, 38, 39, 40) "," EIGHT(column, 41, 42, 43, 44, 45, 46, 47, 48) "," EIGHT(column, 49,    \
        50, 51, 52, 53, 54, 55,                                                                    \
        56) "," EIGHT(column, 57, 58, 59, 60, 61, 62, 63, 64) "," EIGHT(column, 65, 66, 67, 68,    \
        69, 70, 71, 72) "," EIGHT(column, 73, 74, 75, 76, 77, 78, 79, 80)
#define ARRAY(sums, name) "array[" sums "]::bigint[] as " name
_Static_assert(PK_N_HEALTH_KEYS <= 80, "the query below sums 80 places");

pk_err pk_store_query_loss(struct pk_store *store, struct pk_tenant_id tenant,
    bool (*row)(void *arg, const struct pk_store_loss *loss), void *arg)
{
    struct params params = {0};
    param_int(&params, tenant.v);
    pk_err err = pg_begin_for(store, tenant);
    PGresult *result = NULL;
    if (err == PK_OK) {
        err = pg_query(store, "read the sensors' sums",
            "select coalesce(si.name, ''), se.name, coalesce(hours.counters, '{}'::bigint[]), coalesce(hours.stored, '{}'::bigint[]), coalesce(hours.lost, '{}'::bigint[]),"
            " coalesce(hours.batches, 0)::bigint, coalesce(hours.row_count, 0)::bigint, coalesce(hours.last_us, 0)::bigint,"
            " (select count(*) from quarantine q where q.tenant_id = $1::int and q.sensor_id = se.sensor_id)::bigint,"
            " (select array_agg(v order by c, ord) from (select c, sum(l.batches) as b, sum(l.row_count) as r, sum(l.transactions) as t,"
            "   sum(l.batches) filter (where l.kind = 5) as h from generate_series(0, 8) c left join loss l on l.tenant_id = $1::int"
            "   and l.sensor_id = se.sensor_id and case when l.cause between 0 and 8 then l.cause else 0 end = c group by c) sums, unnest(array[" CAPPED("b") "::bigint," CAPPED("r") "::bigint," CAPPED(
                "t") "::bigint," CAPPED("h") "::bigint]) with ordinality u(v, ord)),"
                                             " coalesce(st.reported_us, 0)::bigint, coalesce(st.address, ''), coalesce(st.software, ''), coalesce(st.offset_us, 0)::bigint, coalesce(st.queued, 0)::bigint,"
                                             " coalesce(st.queued_bytes, 0)::bigint, coalesce(st.behind_us, 0)::bigint, coalesce(st.cloned_us, 0)::bigint, coalesce(st.clone_peers, ''),"
                                             " coalesce((select string_agg(a.kind, ',' order by a.kind) from alarm a where a.tenant_id = $1::int and a.sensor_id = se.sensor_id and a.closed_us is null), ''),"
                                             " coalesce((select jsonb_agg(jsonb_build_object('name', name, 'state', state, 'packets', packets, 'kernel_dropped', kernel_dropped, 'iface_dropped', iface_dropped) order by name)::text"
                                             "   from (select name, (array_agg(state order by ingest_seq desc))[1] as state, sum(packets) as packets, sum(kernel_dropped) as kernel_dropped, sum(iface_dropped) as iface_dropped"
                                             "     from health_interface where tenant_id = $1::int and sensor_id = se.sensor_id and ingest_seq >= (select min(ingest_seq) from (select ingest_seq from health"
                                             "     where tenant_id = $1::int and sensor_id = se.sensor_id order by ingest_seq desc limit 60) h) group by name) i), '')"
                                             " from sensor se left join site_assignment sa on sa.tenant_id = se.tenant_id and sa.sensor_id = se.sensor_id and sa.to_us = 9223372036854775807"
                                             " left join site si on si.tenant_id = sa.tenant_id and si.site_id = sa.site_id"
                                             " left join sensor_state st on st.tenant_id = se.tenant_id and st.sensor_id = se.sensor_id"
                                             " left join (select sensor_id, sum(batches) as batches, sum(row_count) as row_count, max(last_received_us) as last_us," ARRAY(
                                                 EIGHTY("counters"),
                                                 "counters") "," ARRAY(EIGHT("stored", 1, 2, 3, 4,
                                                                           5, 6, 7, 8),
                                                 "stored") "," ARRAY(EIGHT("lost", 1, 2, 3, 4, 5, 6,
                                                                         7, 8) "," SUM("lost", 9),
                                                 "lost") " from ledger"
                                                         "   where tenant_id = $1::int group by sensor_id) hours on hours.sensor_id = se.sensor_id"
                                                         " where se.tenant_id = $1::int order by 1, 2",
            &params, true, &result);
    }
    for (int i = 0; err == PK_OK && i < PQntuples(result); i++) {
        struct pk_store_loss loss;
        read_loss(result, i, &loss);
        if (!row(arg, &loss)) {
            break;
        }
    }
    PQclear(result);
    return pg_end(store, err);
}

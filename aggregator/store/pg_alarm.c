/* Alarms: a question to the ledger and the newest health rows; what holds now and did not is opened, what did and does not is closed. */
#include <string.h>

#include "pg_internal.h"

/* Stable: a volatile time would keep the index out of it. */
#define NOW "(extract(epoch from statement_timestamp()) * 1000000)::bigint"

/* An hour of the ledger that is over, and those before it. Of a sensor that reads an hour of old captures nothing is judged: the hours are those of its rows. */
#define HOUR "(" NOW " / 3600000000 * 3600000000)"

/* silent: no health row for three of its windows (of a day at most: a sensor may say anything) and 45 s more. unbalanced: in the hours of the last week that are over, what the sensor told is neither stored nor told lost; judged an hour
 * late, because losses are told after the rows they are of. skewed, cloned: as the sensor's last words say (sensor_state). blind: the hour before this one and this one have no message, though the
 * sensor was there for fifty minutes of the former and had a message a minute in the week before; or most of what it sees is encrypted DNS: a thousand packets at least, and more than it can read.
 * tap: the sensor itself says that it cannot see (enum pk_diagnosis; but for bit 10, a single encrypted flow). Positions are enum pk_health_key plus one. */
static const char holds_now[] =
    "with newest as (select s.sensor_id, h.* from sensor s cross join lateral (select received_us, counters[1] as interval_ms, counters[52] as diagnoses"
    "   from health where tenant_id = $1::int and sensor_id = s.sensor_id order by ingest_seq desc limit 1) h where s.tenant_id = $1::int),"
    " sums as (select s.sensor_id, l.* from sensor s cross join lateral (select sum(counters[21] + counters[22]) as told, sum(stored[3] + stored[5]) as stored,"
    "   sum(lost[1] + lost[2] + lost[3] + lost[4] + lost[5] + lost[6] + lost[7] + lost[8] + coalesce(lost[9], 0)) as lost from ledger where tenant_id = $1::int and sensor_id = s.sensor_id"
    "   and hour_us between " NOW " - 604800000000 and " NOW
    " - 7200000000) l where s.tenant_id = $1::int),"
    " recent as (select s.sensor_id, l.* from sensor s cross join lateral (select coalesce(sum(counters[1]) filter (where hour_us < " HOUR
    "), 0) as ms, sum(counters[11]) as messages, sum(counters[34]) as readable, sum(counters[49]) as encrypted from ledger where tenant_id = $1::int"
    "   and sensor_id = s.sensor_id and hour_us between " HOUR " - 3600000000 and " HOUR
    ") l where s.tenant_id = $1::int),"
    " before as (select s.sensor_id, l.* from sensor s cross join lateral (select count(*) as hours, sum(counters[11]) as messages from ledger where tenant_id = $1::int"
    "   and sensor_id = s.sensor_id and counters[1] >= 3000000 and hour_us between " HOUR
    " - 604800000000 and " HOUR " - 7200000000) l where s.tenant_id = $1::int),"
    " holds as (select n.sensor_id, 'silent' as kind, 'no health row since ' || to_timestamp(n.received_us / 1e6)::text as detail from newest n join sensor s on s.tenant_id = $1::int"
    "     and s.sensor_id = n.sensor_id and s.is_active where " NOW
    " - n.received_us > least(n.interval_ms, 86400000) * 3000 + 45000000"
    "   union all select sensor_id, 'unbalanced', format('told %s, stored %s, lost %s', told, stored, lost) from sums where told <> stored + lost"
    "   union all select sensor_id, 'skewed', format('its clock is %s s %s since %s', round(abs(offset_us) / 1e6, 1), case when offset_us > 0 then 'behind' else 'ahead' end,"
    "     to_timestamp(skewed_since_us / 1e6)) from sensor_state join sensor using (tenant_id, sensor_id) where tenant_id = $1::int and is_active and skewed_since_us < " NOW
    " - " PG_SKEW_FOR_US
    "   union all select sensor_id, 'cloned', 'its key is used from ' || clone_peers from sensor_state where tenant_id = $1::int and cloned_us > " NOW
    " - " PG_CLONE_FOR_US
    "   union all select r.sensor_id, 'blind', case when r.messages = 0 then format('no message for an hour, %s an hour before', (b.messages / b.hours)::bigint)"
    "     else format('%s packets of encrypted DNS, %s that can be read', r.encrypted, r.readable) end from recent r left join before b on b.sensor_id = r.sensor_id"
    "     where r.messages = 0 and r.ms >= 3000000 and b.hours >= 3 and b.messages >= 60 * b.hours or r.encrypted >= 1000 and r.encrypted > r.readable"
    "   union all select sensor_id, 'tap', 'diagnosis bits ' || diagnoses from newest where coalesce(diagnoses, 0) & ~1024 <> 0),"
    " opened as (insert into alarm (tenant_id, sensor_id, kind, opened_us, detail) select $1::int, sensor_id, kind, " NOW
    ", detail from holds h"
    "   where not exists (select from alarm a where a.tenant_id = $1::int and a.sensor_id = h.sensor_id and a.kind = h.kind and a.closed_us is null)"
    "   returning sensor_id, kind, detail),"
    " closed as (update alarm a set closed_us = " NOW
    " where a.tenant_id = $1::int and a.closed_us is null"
    "   and not exists (select from holds h where h.sensor_id = a.sensor_id and h.kind = a.kind) returning sensor_id, kind, detail)"
    " select s.name, c.kind, c.detail, c.is_open from (select sensor_id, kind, detail, 1 as is_open from opened union all select sensor_id, kind, detail, 0 from closed) c"
    " join sensor s on s.tenant_id = $1::int and s.sensor_id = c.sensor_id";

static void give(
    const PGresult *result, void (*row)(void *arg, const struct pk_store_alarm *alarm), void *arg)
{
    for (int i = 0; i < PQntuples(result); i++) {
        struct pk_store_alarm alarm = {.is_open = get_int(result, i, 3) != 0};
        get_text(result, i, 0, alarm.sensor, sizeof alarm.sensor);
        get_text(result, i, 1, alarm.kind, sizeof alarm.kind);
        get_text(result, i, 2, alarm.detail, sizeof alarm.detail);
        if (PQnfields(result) > 4) {
            alarm.opened_us = get_int(result, i, 4);
            alarm.closed_us = get_int(result, i, 5);
        }
        row(arg, &alarm);
    }
}

pk_err pk_store_check_alarms(struct pk_store *store, struct pk_tenant_id tenant,
    uint64_t generation, void (*changed)(void *arg, const struct pk_store_alarm *alarm), void *arg)
{
    PGresult *result = NULL;
    struct params params = {0};
    param_int(&params, tenant.v);
    pk_err err = pg_begin(store);
    if (err != PK_OK) {
        return err;
    }
    err = pg_hold_home(store, tenant, generation);
    if (err == PK_OK) {
        err = pg_query(store, "check alarms", holds_now, &params, true, &result);
    }
    err = pg_end(store, err);
    if (err == PK_OK) {
        give(result, changed, arg);
    }
    PQclear(result);
    return err;
}

pk_err pk_store_query_alarms(struct pk_store *store, struct pk_tenant_id tenant, bool wants_closed,
    void (*row)(void *arg, const struct pk_store_alarm *alarm), void *arg)
{
    PGresult *result = NULL;
    struct params params = {0};
    param_int(&params, tenant.v);
    param_int(&params, wants_closed);
    pk_err err = pg_begin_for(store, tenant);
    if (err == PK_OK) {
        err = pg_query(store, "read alarms",
            "select s.name, a.kind, a.detail, (a.closed_us is null)::int, a.opened_us, coalesce(a.closed_us, 0) from alarm a join sensor s on s.tenant_id = a.tenant_id"
            " and s.sensor_id = a.sensor_id where a.tenant_id = $1::int and (a.closed_us is null or $2::int = 1) order by a.opened_us desc limit 10000",
            &params, true, &result);
    }
    if (err == PK_OK) {
        give(result, row, arg);
    }
    PQclear(result);
    return pg_end(store, err);
}

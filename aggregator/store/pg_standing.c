/* Who the sensors are and how they stand: told by the aggregator as it happens, read for people. */
#include <string.h>

#include "pg_internal.h"

static pk_err note_config(struct pk_store *store, const struct pk_store_config_note *note)
{
    struct params params = {0};
    param_int(&params, note->tenant.v);
    param_int(&params, note->sensor.v);
    param_int(&params, note->serial);
    param_int(&params, note->status);
    param_text(&params, note->reason);
    param_int(&params, note->at_us);
    return pg_exec(store, "note what a sensor said to its scope",
        "insert into sensor_config as c (tenant_id, sensor_id, serial, status, reason, at_us) values ($1::int, $2::int, $3::bigint, $4::smallint, $5, $6::bigint)"
        " on conflict (tenant_id, sensor_id) do update set serial = excluded.serial, status = excluded.status, reason = excluded.reason, at_us = excluded.at_us"
        " where excluded.at_us >= c.at_us",
        &params);
}

static pk_err note_offence(struct pk_store *store, const struct pk_store_offence_note *note)
{
    struct params params = {0};
    param_int(&params, note->tenant.v);
    param_int(&params, note->sensor.v);
    param_int(&params, note->kind);
    param_int(&params, (int64_t)note->n);
    param_int(&params, (int64_t)note->cuts);
    param_int(&params, note->at_us);
    param_text(&params, note->address);
    return pg_exec(store, "note an offence",
        "insert into sensor_offence as o (tenant_id, sensor_id, kind, n, cuts, first_us, last_us, address)"
        " values ($1::int, $2::int, $3::smallint, $4::bigint, $5::bigint, $6::bigint, $6::bigint, $7)"
        " on conflict (tenant_id, sensor_id, kind) do update set n = o.n + excluded.n, cuts = o.cuts + excluded.cuts,"
        " last_us = greatest(o.last_us, excluded.last_us), address = coalesce(nullif(excluded.address, ''), o.address)",
        &params);
}

pk_err pk_store_note_offences(struct pk_store *store, struct pk_tenant_id tenant,
    uint64_t generation, const struct pk_store_offence_note *notes, size_t n)
{
    pk_err err = pg_begin(store);
    if (err != PK_OK) {
        return err;
    }
    err = pg_hold_home(store, tenant, generation);
    for (size_t i = 0; i < n && err == PK_OK; i++) {
        err = notes[i].tenant.v == tenant.v ? note_offence(store, &notes[i]) : PK_OK;
    }
    return pg_end(store, err);
}

pk_err pk_store_note_configs(struct pk_store *store, struct pk_tenant_id tenant,
    uint64_t generation, const struct pk_store_config_note *notes, size_t n)
{
    pk_err err = pg_begin(store);
    if (err != PK_OK) {
        return err;
    }
    err = pg_hold_home(store, tenant, generation);
    for (size_t i = 0; i < n && err == PK_OK; i++) {
        err = notes[i].tenant.v == tenant.v ? note_config(store, &notes[i]) : PK_OK;
    }
    return pg_end(store, err);
}

pk_err pk_store_query_sensors(struct pk_store *store, struct pk_tenant_id tenant,
    void (*row)(void *arg, const struct pk_store_sensor_row *sensor), void *arg)
{
    struct params params = {0};
    param_int(&params, tenant.v);
    pk_err err = pg_begin_for(store, tenant);
    PGresult *result = NULL;
    if (err == PK_OK) {
        err = pg_query(store, "read sensors",
            "select se.name, coalesce(si.name, ''), se.is_active::int, se.is_pending::int, coalesce((select max(version) from scope_version), 0)::bigint,"
            " coalesce(c.serial, 0)::bigint, coalesce(c.status, 0)::int, coalesce(c.reason, ''), coalesce(c.at_us, 0)::bigint, coalesce(se.stale_us, 0)::bigint, (se.fleet_token is not null)::int,"
            " (select array_agg(coalesce(o.n, 0)::bigint order by k) from generate_series(0, 7) k left join sensor_offence o on o.tenant_id = $1::int and o.sensor_id = se.sensor_id and o.kind = k),"
            " coalesce((select sum(o.cuts) from sensor_offence o where o.tenant_id = $1::int and o.sensor_id = se.sensor_id), 0)::bigint,"
            " coalesce((select max(o.last_us) from sensor_offence o where o.tenant_id = $1::int and o.sensor_id = se.sensor_id), 0)::bigint,"
            " coalesce((select o.address from sensor_offence o where o.tenant_id = $1::int and o.sensor_id = se.sensor_id order by o.last_us desc limit 1), '')"
            " from sensor se left join site_assignment sa on sa.tenant_id = se.tenant_id and sa.sensor_id = se.sensor_id and sa.to_us = 9223372036854775807"
            " left join site si on si.tenant_id = sa.tenant_id and si.site_id = sa.site_id"
            " left join sensor_config c on c.tenant_id = se.tenant_id and c.sensor_id = se.sensor_id"
            " where se.tenant_id = $1::int order by 2, 1",
            &params, true, &result);
    }
    for (int i = 0; err == PK_OK && i < PQntuples(result); i++) {
        struct pk_store_sensor_row sensor = {.is_active = get_int(result, i, 2) != 0,
            .is_pending = get_int(result, i, 3) != 0,
            .scope_wanted = get_int(result, i, 4),
            .scope_has = get_int(result, i, 5),
            .scope_status = (uint8_t)get_int(result, i, 6),
            .scope_at_us = get_int(result, i, 8),
            .stale_us = get_int(result, i, 9),
            .is_fleet = get_int(result, i, 10) != 0,
            .cuts = (uint64_t)get_int(result, i, 12),
            .offence_last_us = get_int(result, i, 13)};
        get_bigints(result, i, 11, sensor.offences, PK_STORE_OFFENCES);
        get_text(result, i, 14, sensor.offence_address, sizeof sensor.offence_address);
        get_text(result, i, 0, sensor.name, sizeof sensor.name);
        get_text(result, i, 1, sensor.site, sizeof sensor.site);
        get_text(result, i, 7, sensor.scope_reason, sizeof sensor.scope_reason);
        row(arg, &sensor);
    }
    PQclear(result);
    return pg_end(store, err);
}

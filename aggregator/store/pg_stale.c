/* Identities of a fleet that are gone: containers that nobody took down in order.
 *
 * Silent is who sent no batch, no HELLO and no HEARTBEAT, and got no key. The sensor is refused from then on and gives its use of the token back; its past stays, and the same node (or the same key) that comes by the
 * token again is the same sensor. */
#include <string.h>

#include "picket/clock.h"

#include "pg_internal.h"

static pk_err find_silent(struct pk_store *store, struct pk_tenant_id tenant, int64_t calm_us,
    int64_t now, PGresult **out_result)
{
    struct params params = {0};
    param_int(&params, tenant.v);
    param_int(&params, now);
    param_int(&params, calm_us);
    return pg_query(store, "look for stale sensors",
        "select s.sensor_id, s.name, k.token_id, k.stale_after_s from sensor s join enrol_token k on k.token_id = s.fleet_token"
        " where s.tenant_id = $1::int and s.is_active and k.stale_after_s > 0 and $3::bigint >= least(k.stale_after_s, " PG_STALE_GRACE_S
        ") * 1000000::bigint and greatest(s.added_us,"
        "   coalesce((select max(y.added_us) from sensor_key y where y.tenant_id = $1::int and y.sensor_id = s.sensor_id), 0),"
        "   coalesce((select t.reported_us from sensor_state t where t.tenant_id = $1::int and t.sensor_id = s.sensor_id), 0),"
        "   coalesce((select max(l.last_received_us) from ledger l where l.tenant_id = $1::int and l.sensor_id = s.sensor_id), 0))"
        "   < $2::bigint - k.stale_after_s * 1000000::bigint",
        &params, true, out_result);
}

static pk_err expire(struct pk_store *store, struct pk_tenant_id tenant, const PGresult *result,
    int row, int64_t now)
{
    struct params params = {0};
    param_int(&params, tenant.v);
    param_int(&params, get_int(result, row, 0));
    param_int(&params, now);
    pk_err err = pg_exec(store, "expire sensor",
        "update sensor set is_active = false, stale_us = $3::bigint where tenant_id = $1::int and sensor_id = $2::int",
        &params);
    if (err == PK_OK) {
        struct pk_slice token = get_bytes(result, row, 2);
        struct params use = {0};
        param_bytes(&use, token.data, token.len);
        param_int(&use, now);
        /* One that was closed stays closed. */
        err = pg_exec(store, "give a use back",
            "update enrol_token set uses_left = uses_left + 1 where token_id = $1 and until_us > $2::bigint and failures < 100",
            &use);
    }
    return err;
}

pk_err pk_store_expire_stale(struct pk_store *store, struct pk_tenant_id tenant,
    uint64_t generation, int64_t calm_us,
    void (*gone)(void *arg, const char *sensor, int64_t silent_s), void *arg)
{
    PGresult *result = NULL;
    int64_t now = now_us();
    pk_err err = pg_begin(store);
    if (err != PK_OK) {
        return err;
    }
    err = pg_hold_home(store, tenant, generation);
    if (err == PK_OK) {
        err = find_silent(store, tenant, calm_us, now, &result);
    }
    int n = err == PK_OK ? PQntuples(result) : 0;
    for (int i = 0; i < n && err == PK_OK; i++) {
        err = expire(store, tenant, result, i, now);
    }
    if (err == PK_OK && n > 0) {
        err = pg_raise_version(store);
    }
    err = pg_end(store, err);
    for (int i = 0; err == PK_OK && i < n; i++) {
        char name[65];
        get_text(result, i, 1, name, sizeof name);
        gone(arg, name, get_int(result, i, 3));
    }
    PQclear(result);
    return err;
}

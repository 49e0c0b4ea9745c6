/* A sensor changes its key: old and new work side by side until the new one is used. The row of the new key says which it replaces, so that no clock decides. */
#include "picket/clock.h"

#include "pg_internal.h"

enum {
    ROTATE_EVERY_S = 60 /* a row stays of each change */
};

/* What the tables say of a wish; the key in use is locked. */
struct wish {
    bool is_mine;  /* the key in use is active, and this sensor's */
    bool is_known; /* the next key is in the table */
    bool is_there; /* as the successor of the key in use */
    bool is_busy, has_successor;
};

static pk_err read_wish(struct pk_store *store, struct pk_sensor_id sensor, const uint8_t *pubkey,
    const uint8_t *next, struct wish *out)
{
    PGresult *result;
    struct params params = {0};
    param_bytes(&params, pubkey, PK_KEY_BYTES);
    param_int(&params, sensor.v);
    param_bytes(&params, next, PK_KEY_BYTES);
    param_int(&params, now_us() - ROTATE_EVERY_S * PK_US_PER_S);
    pk_err err = pg_query(store, "read keys",
        "select (select count(*) from sensor_key n where n.pubkey = $3),"
        " (select count(*) from sensor_key n where n.pubkey = $3 and n.replaces = $1 and n.is_active and n.sensor_id = $2::int),"
        " (select count(*) from sensor_key n where n.sensor_id = $2::int and n.replaces is not null and n.added_us > $4::bigint),"
        " (select count(*) from sensor_key n where n.replaces = $1 and n.is_active)"
        " from sensor_key k join sensor s on s.tenant_id = k.tenant_id and s.sensor_id = k.sensor_id"
        " where k.pubkey = $1 and k.sensor_id = $2::int and k.is_active and s.is_active for update of k",
        &params, true, &result);
    if (err == PK_OK && PQntuples(result) == 1) {
        *out = (struct wish){.is_mine = true,
            .is_known = get_int(result, 0, 0) != 0,
            .is_there = get_int(result, 0, 1) != 0,
            .is_busy = get_int(result, 0, 2) != 0,
            .has_successor = get_int(result, 0, 3) != 0};
    }
    PQclear(result);
    return err;
}

pk_err pk_store_rotate_key(struct pk_store *store, struct pk_sensor_id sensor,
    const uint8_t pubkey[PK_KEY_BYTES], const uint8_t next[PK_KEY_BYTES], bool *out_is_taken,
    bool *out_is_busy)
{
    struct wish wish = {0};
    pk_err err = pg_begin(store);
    if (err != PK_OK) {
        return err;
    }
    err = read_wish(store, sensor, pubkey, next, &wish);
    bool is_new = wish.is_mine && !wish.is_known && !wish.is_busy;
    if (err == PK_OK && is_new) {
        struct params params = {0};
        param_bytes(&params, next, PK_KEY_BYTES);
        param_bytes(&params, pubkey, PK_KEY_BYTES);
        param_int(&params, now_us());
        err = pg_exec(store, "add next key",
            wish.has_successor
                ? "update sensor_key set pubkey = $1, added_us = $3::bigint where replaces = $2 and is_active"
                : "insert into sensor_key (pubkey, tenant_id, sensor_id, added_us, replaces)"
                  " select $1, tenant_id, sensor_id, $3::bigint, pubkey from sensor_key where pubkey = $2",
            &params);
    }
    if (err == PK_OK && is_new) {
        err = pg_raise_version(store);
    }
    err = pg_end(store, err);
    if (err == PK_OK) {
        *out_is_taken = is_new || wish.is_there;
        *out_is_busy = wish.is_mine && !wish.is_known && wish.is_busy;
    }
    return err;
}

pk_err pk_store_retire_replaced(struct pk_store *store, const uint8_t pubkey[PK_KEY_BYTES])
{
    struct params params = {0};
    param_bytes(&params, pubkey, PK_KEY_BYTES);
    pk_err err = pg_begin(store);
    if (err != PK_OK) {
        return err;
    }
    err = pg_exec(store, "retire replaced key",
        "update sensor_key o set is_active = false from sensor_key k where k.pubkey = $1 and k.is_active and o.pubkey = k.replaces and o.sensor_id = k.sensor_id",
        &params);
    if (err == PK_OK) {
        err = pg_raise_version(store);
    }
    return pg_end(store, err);
}

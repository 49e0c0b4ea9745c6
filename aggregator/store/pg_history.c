/* What detection asks of the stored history: the lives of names, and the record of which were known to be retired when. */
#include <stdlib.h>
#include <string.h>

#include "pg_internal.h"

enum {
    KEY_BYTES = PK_NAME_SORT_KEY_ROOM
};

/* The last key of the chunk that begins after `after`: that of the limit-th name and more, or the end of the zone. A name's RRsets stay together. */
static pk_err find_chunk_end(struct pk_store *store, struct pk_tenant_id tenant,
    const struct pk_store_lives_cursor *cursor, size_t limit, uint8_t *high, size_t *high_len,
    bool *out_is_last)
{
    PGresult *result;
    struct params params = {0};
    param_int(&params, tenant.v);
    param_bytes(&params, cursor->key, cursor->key_len);
    param_bytes(&params, high, *high_len);
    param_int(&params, (int64_t)limit);
    pk_err err = pg_query(store, "read names of history",
        "select owner_key from rrset where tenant_id = $1::int and owner_key > $2 and owner_key < $3 order by owner_key limit 1 offset $4::bigint",
        &params, true, &result);
    *out_is_last = err == PK_OK && PQntuples(result) == 0;
    if (err == PK_OK && !*out_is_last) {
        struct pk_slice key = get_bytes(result, 0, 0);
        *high_len = key.len < KEY_BYTES ? key.len : KEY_BYTES;
        memcpy(high, key.data, *high_len);
    }
    PQclear(result);
    return err;
}

static pk_err read_lives(struct pk_store *store, struct pk_tenant_id tenant,
    const struct pk_store_lives_cursor *cursor, const uint8_t *high, size_t high_len,
    int64_t before_us, bool (*row)(void *arg, const struct pk_store_life *life), void *arg)
{
    PGresult *result;
    struct params params = {0};
    param_int(&params, tenant.v);
    param_bytes(&params, cursor->key, cursor->key_len);
    param_bytes(&params, high, high_len);
    param_int(&params, before_us);
    /* Answers alone (trust 0 and 1) make a life: referrals and glue are said by others. `offset 0` keeps the planner from reading the whole table to join it, which is a call that grows
     * with the history; name by name it is the same 45 microseconds a name at any size. */
    pk_err err = pg_query(store, "read lives of names",
        "with lives as (select r.owner_key, (array_agg(r.owner))[1] as owner, min(s.first_us) as first_us, max(s.last_us) as last_us,"
        " bool_or(r.trust = 0)::int as is_authoritative from rrset r cross join lateral (select s.first_us, s.last_us from rrset_stat s where s.tenant_id = r.tenant_id and s.rrset_key = r.rrset_key offset 0) s"
        " where r.tenant_id = $1::int and r.owner_key > $2 and r.owner_key <= $3 and r.trust <= 1 and r.type not in (43, 46, 47, 48, 50, 51, 59, 60)"
        " group by r.owner_key)"
        " select owner, first_us, last_us, is_authoritative, case when last_us > $4::bigint then 0 else (select count(distinct w.site_id) from rrset r"
        " join rrset_site w on w.tenant_id = r.tenant_id and w.rrset_key = r.rrset_key where r.tenant_id = $1::int and r.owner_key = lives.owner_key) end"
        " from lives order by owner_key",
        &params, true, &result);
    for (int i = 0; err == PK_OK && i < PQntuples(result); i++) {
        struct pk_store_life life = {.first_us = get_int(result, i, 1),
            .last_us = get_int(result, i, 2),
            .is_authoritative = get_int(result, i, 3) != 0,
            .n_sites = (uint32_t)get_int(result, i, 4)};
        struct pk_slice owner = get_bytes(result, i, 0);
        if (pk_name_from_wire(owner.data, owner.len, &life.owner) == PK_OK && !row(arg, &life)) {
            break;
        }
    }
    PQclear(result);
    return err;
}

pk_err pk_store_read_lives(struct pk_store *store, struct pk_tenant_id tenant,
    const struct pk_name *zone, struct pk_store_lives_cursor *cursor, size_t limit,
    int64_t before_us, bool (*row)(void *arg, const struct pk_store_life *life), void *arg,
    bool *out_is_last)
{
    uint8_t high[KEY_BYTES + 1];
    size_t high_len = pk_name_sort_key(zone, high);
    if (cursor->key_len == 0) { /* the zone's own name is not below it */
        memcpy(cursor->key, high, high_len);
        cursor->key_len = high_len;
    }
    if (high_len > 0) {
        high[high_len - 1] = 1; /* every label ends with a zero byte; one is the next */
    } else {
        high[high_len++] = 0xff;
    }
    pk_err err = find_chunk_end(store, tenant, cursor, limit, high, &high_len, out_is_last);
    if (err == PK_OK) {
        err = read_lives(store, tenant, cursor, high, high_len, before_us, row, arg);
    }
    if (err == PK_OK) {
        memcpy(cursor->key, high, high_len);
        cursor->key_len = *out_is_last ? 0 : high_len;
    }
    return err;
}

/* --- the record --- */

pk_err pk_store_read_retired(struct pk_store *store, struct pk_tenant_id tenant, uint64_t after,
    size_t limit, bool (*row)(void *arg, const struct pk_store_retired *retired), void *arg)
{
    PGresult *result;
    struct params params = {0};
    param_int(&params, tenant.v);
    param_int(&params, (int64_t)after);
    param_int(&params, (int64_t)limit);
    pk_err err = pg_query(store, "read retired names",
        "select owner, first_us, last_us, sites, is_authoritative::int, from_seq, to_seq from retired_name where tenant_id = $1::int and to_seq > $2::bigint"
        " order by from_seq, owner_key limit $3::bigint",
        &params, true, &result);
    for (int i = 0; err == PK_OK && i < PQntuples(result); i++) {
        struct pk_store_retired retired = {.life = {.first_us = get_int(result, i, 1),
                                               .last_us = get_int(result, i, 2),
                                               .n_sites = (uint32_t)get_int(result, i, 3),
                                               .is_authoritative = get_int(result, i, 4) != 0},
            .from_seq = (uint64_t)get_int(result, i, 5),
            .to_seq = (uint64_t)get_int(result, i, 6)};
        struct pk_slice owner = get_bytes(result, i, 0);
        if (pk_name_from_wire(owner.data, owner.len, &retired.life.owner) == PK_OK &&
            !row(arg, &retired)) {
            break;
        }
    }
    PQclear(result);
    return err;
}

static pk_err put_retired(struct pk_store *store, struct pk_tenant_id tenant,
    const struct pk_store_life *lives, size_t n, uint64_t at_seq)
{
    struct pk_bytes *out = &store->copy;
    copy_begin(store);
    for (size_t i = 0; i < n; i++) {
        uint8_t key[KEY_BYTES];
        size_t key_len = pk_name_sort_key(&lives[i].owner, key);
        copy_row(out, 8);
        copy_int4(out, (int32_t)tenant.v);
        copy_bytea(out, key, key_len);
        copy_int8(out, (int64_t)at_seq);
        copy_bytea(out, lives[i].owner.wire, lives[i].owner.len);
        copy_int8(out, lives[i].first_us);
        copy_int8(out, lives[i].last_us);
        copy_int4(out, (int32_t)lives[i].n_sites);
        pk_bytes_put_be32(out, 1);
        pk_bytes_put_u8(out, lives[i].is_authoritative);
    }
    return out->err != PK_OK
               ? out->err
               : copy_end(store, "write retired names",
                     "copy retired_name (tenant_id, owner_key, from_seq, owner, first_us, last_us, sites, is_authoritative) from stdin (format binary)");
}

static pk_err end_retired(
    struct pk_store *store, struct pk_tenant_id tenant, const struct pk_name *name, uint64_t at_seq)
{
    uint8_t key[KEY_BYTES];
    struct params params = {0};
    size_t key_len = pk_name_sort_key(name, key);
    param_int(&params, tenant.v);
    param_bytes(&params, key, key_len);
    param_int(&params, (int64_t)at_seq);
    return pg_exec(store, "end a retired name",
        "update retired_name set to_seq = $3::bigint where tenant_id = $1::int and owner_key = $2 and to_seq = 9223372036854775807",
        &params);
}

pk_err pk_store_write_retired(struct pk_store *store, struct pk_tenant_id tenant,
    uint64_t generation, uint64_t at_seq, const struct pk_store_life *retired, size_t n,
    const struct pk_name *back, size_t n_back)
{
    pk_err err = pg_begin(store);
    if (err != PK_OK) {
        return err;
    }
    err = pg_hold_home(store, tenant, generation);
    for (size_t i = 0; i < n_back && err == PK_OK; i++) {
        err = end_retired(store, tenant, &back[i], at_seq);
    }
    if (err == PK_OK && n > 0) {
        err = put_retired(store, tenant, retired, n, at_seq);
    }
    return pg_end(store, err);
}

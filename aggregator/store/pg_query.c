/* What the API asks. Every statement runs with the tenant set for row-level security, and names it in its own WHERE as well. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pg_internal.h"

enum {
    MAX_RDATA = 4096,
    MAX_LIMIT = 1000000,
    DEFAULT_LIMIT = 10000
};

/* --- RRsets --- */

static bool give_rrset(
    const PGresult *r, int i, bool (*row)(void *arg, const struct pk_store_rrset *rrset), void *arg)
{
    static _Thread_local struct pk_slice items[MAX_RDATA];
    struct pk_store_rrset rrset = {
        .type = (uint16_t)get_int(r, i, 1), .class = (uint16_t)get_int(r, i, 2)};
    struct pk_slice owner = get_bytes(r, i, 0), rdata = get_bytes(r, i, 3),
                    bailiwick = get_bytes(r, i, 4);
    size_t n = 0, at = 0;
    if (pk_name_from_wire(owner.data, owner.len, &rrset.owner) != PK_OK ||
        pk_name_from_wire(bailiwick.data, bailiwick.len, &rrset.bailiwick) != PK_OK) {
        return true; /* a row nobody could have written: not worth failing the answer */
    }
    while (at + 2 <= rdata.len && n < MAX_RDATA) {
        uint32_t len = (uint32_t)rdata.data[at] << 8 | rdata.data[at + 1];
        if (len > rdata.len - at - 2) {
            break;
        }
        items[n++] = (struct pk_slice){.data = rdata.data + at + 2, .len = len};
        at += 2 + len;
    }
    rrset.rdata = items;
    rrset.n_rdata = n;
    rrset.trust = (uint8_t)get_int(r, i, 5);
    rrset.count = (uint64_t)get_int(r, i, 6);
    rrset.first_us = get_int(r, i, 7);
    rrset.last_us = get_int(r, i, 8);
    return row(arg, &rrset);
}

/* The range of sort keys a name stands for: itself alone, or everything below it ([key, key with the last byte raised)). */
static void key_range(const struct pk_store_rrset_query *query, uint8_t low[PK_NAME_SORT_KEY_ROOM],
    size_t *out_low, uint8_t high[PK_NAME_SORT_KEY_ROOM], size_t *out_high)
{
    *out_low = pk_name_sort_key(&query->name, low);
    *out_high = pk_name_sort_key(&query->name, high);
    if (query->is_wildcard_left && *out_low > 0) {
        high[*out_high - 1] = 1; /* every label ends with a zero byte; one is the next */
    } else if (query->is_wildcard_left) {
        high[0] = 0xff; /* below the root: everything */
        *out_high = 1;
    } else {
        high[(*out_high)++] = 0;
    }
}

pk_err pk_store_query_rrsets(struct pk_store *store, struct pk_tenant_id tenant,
    const struct pk_store_rrset_query *query,
    bool (*row)(void *arg, const struct pk_store_rrset *rrset), void *arg)
{
    uint8_t low[PK_NAME_SORT_KEY_ROOM], high[PK_NAME_SORT_KEY_ROOM];
    size_t low_len, high_len, limit = query->limit ? query->limit : DEFAULT_LIMIT;
    if (query->is_wildcard_right) {
        return pg_fail(store, PK_ERR_UNSUPPORTED,
            "right-hand wildcards (www.*) come with the full DNSDB surface");
    }
    key_range(query, low, &low_len, high, &high_len);
    struct params params = {0};
    param_int(&params, tenant.v);
    param_bytes(&params, low, low_len);
    param_bytes(&params, high, high_len);
    param_int(&params, query->type == 255 ? 0 : query->type);
    param_bytes(&params, query->bailiwick.wire, query->has_bailiwick ? query->bailiwick.len : 0);
    param_int(&params, query->time_first_after_us);
    param_int(&params, query->time_first_before_us);
    param_int(&params, query->time_last_after_us);
    param_int(&params, query->time_last_before_us);
    param_int(&params, (int64_t)(limit < MAX_LIMIT ? limit : MAX_LIMIT));
    param_int(&params, (int64_t)query->offset);
    pk_err err = pg_begin_for(store, tenant);
    PGresult *result = NULL;
    if (err == PK_OK) {
        err = pg_query(store, "look up RRsets",
            "select r.owner, r.type, r.class, r.rdata, r.bailiwick, r.trust, s.count, s.first_us, s.last_us"
            " from rrset r join rrset_stat s on s.tenant_id = r.tenant_id and s.rrset_key = r.rrset_key"
            " where r.tenant_id = $1::int and r.owner_key >= $2 and r.owner_key < $3"
            " and ($4::int = 0 and r.type not in (43, 46, 47, 48, 50, 51, 59, 60) or r.type = $4::int)"
            " and (length($5::bytea) = 0 or r.bailiwick = $5)"
            " and ($6::bigint = 0 or s.first_us > $6::bigint) and ($7::bigint = 0 or s.first_us < $7::bigint)"
            " and ($8::bigint = 0 or s.last_us > $8::bigint) and ($9::bigint = 0 or s.last_us < $9::bigint)"
            " order by r.owner_key, r.type, s.last_us desc, r.rrset_key limit $10::bigint offset $11::bigint",
            &params, true, &result);
    }
    for (int i = 0; err == PK_OK && i < PQntuples(result); i++) {
        if (!give_rrset(result, i, row, arg)) {
            break;
        }
    }
    PQclear(result);
    return pg_end(store, err);
}

pk_err pk_store_last_absent(struct pk_store *store, struct pk_tenant_id tenant,
    const struct pk_name *name, int64_t *out_last_us)
{
    struct params params = {0};
    PGresult *result = NULL;
    param_int(&params, tenant.v);
    param_bytes(&params, name->wire, name->len);
    pk_err err = pg_begin_for(store, tenant);
    if (err == PK_OK) {
        err = pg_query(store, "read absence",
            "select coalesce(max(last_us), 0)::bigint from negative where tenant_id = $1::int and name = $2 and rcode = 3",
            &params, true, &result);
    }
    if (err == PK_OK) {
        *out_last_us = PQntuples(result) == 1 ? get_int(result, 0, 0) : 0;
    }
    PQclear(result);
    return pg_end(store, err);
}

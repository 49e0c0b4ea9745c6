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
static void key_range(const struct pk_store_rrset_query *query, uint8_t low[2 * PK_NAME_MAX + 1],
    size_t *out_low, uint8_t high[2 * PK_NAME_MAX + 1], size_t *out_high)
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
    uint8_t low[2 * PK_NAME_MAX + 1], high[2 * PK_NAME_MAX + 1];
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

/* --- the loss ledger --- */

_Static_assert(PK_N_LOSS_CAUSES == 8, "the query below counts causes 0 to 7");

/* A bigint[] in its binary form; values that are not there stay as they are. */
static void read_bigints(struct pk_slice array, uint32_t n, uint64_t *out)
{
    const uint8_t *p = array.data;
    for (uint32_t i = 0; i < n && 20 + (i + 1) * 12 <= array.len; i++) {
        uint64_t v = 0;
        for (unsigned k = 0; k < 8; k++) {
            v = v << 8 | p[20 + i * 12 + 4 + k];
        }
        out[i] = v;
    }
}

static void read_loss(const PGresult *r, int i, struct pk_store_loss *out)
{
    struct pk_slice site = get_bytes(r, i, 0), sensor = get_bytes(r, i, 1);
    memset(out, 0, sizeof *out);
    memcpy(out->site, site.data, site.len < 64 ? site.len : 64);
    memcpy(out->sensor, sensor.data, sensor.len < 64 ? sensor.len : 64);
    read_bigints(get_bytes(r, i, 2), PK_N_HEALTH_KEYS, out->sum.v);
    out->stored_activity = (uint64_t)get_int(r, i, 3);
    out->stored_negative = (uint64_t)get_int(r, i, 4);
    out->stored_rrset = (uint64_t)get_int(r, i, 5);
    out->batches = (uint64_t)get_int(r, i, 6);
    out->quarantined = (uint64_t)get_int(r, i, 7);
    out->last_received_us = get_int(r, i, 8);
    uint64_t lost[5 * PK_N_LOSS_CAUSES] = {0};
    read_bigints(get_bytes(r, i, 9), 5 * PK_N_LOSS_CAUSES, lost);
    for (size_t k = 0; k < PK_N_LOSS_CAUSES; k++) {
        const uint64_t *of = lost + 5 * k;
        out->lost[k] = (struct pk_store_lost){.batches = of[0],
            .rows = of[1],
            .transactions = of[2],
            .counted = of[3],
            .health_batches = of[4]};
    }
}

pk_err pk_store_query_loss(struct pk_store *store, struct pk_tenant_id tenant,
    bool (*row)(void *arg, const struct pk_store_loss *loss), void *arg)
{
    struct params params = {0};
    param_int(&params, tenant.v);
    pk_err err = pg_begin_for(store, tenant);
    PGresult *result = NULL;
    if (err == PK_OK) {
        err = pg_query(store, "read loss ledger",
            "select coalesce(si.name, ''), se.name,"
            " coalesce((select array_agg(total order by ord) from (select ord, sum(c)::bigint as total from health h, unnest(h.counters) with ordinality u(c, ord)"
            "   where h.tenant_id = $1::int and h.sensor_id = se.sensor_id group by ord) sums), '{}'::bigint[]),"
            " coalesce((select sum(count) from activity a where a.tenant_id = $1::int and a.sensor_id = se.sensor_id), 0)::bigint,"
            " coalesce((select sum(count) from negative n where n.tenant_id = $1::int and n.site_id = sa.site_id), 0)::bigint,"
            " coalesce((select sum(count) from rrset_site rs where rs.tenant_id = $1::int and rs.site_id = sa.site_id), 0)::bigint,"
            " (select count(*) from ingest_mark m where m.tenant_id = $1::int and m.sensor_id = se.sensor_id)::bigint,"
            " (select count(*) from ingest_mark m where m.tenant_id = $1::int and m.sensor_id = se.sensor_id and m.ingest_seq = 0)::bigint,"
            " coalesce((select max(received_us) from ingest_mark m where m.tenant_id = $1::int and m.sensor_id = se.sensor_id), 0)::bigint,"
            " (select array_agg(v order by c, ord) from (select c, sum(l.batches) as b, sum(l.row_count) as r, sum(l.transactions) as t,"
            "   sum(l.transactions) filter (where l.kind in (2, 4)) as d, sum(l.batches) filter (where l.kind = 5) as h from generate_series(0, 7) c left join loss l on l.tenant_id = $1::int"
            "   and l.sensor_id = se.sensor_id and l.cause = c group by c) sums, unnest(array[coalesce(b, 0)::bigint, coalesce(r, 0)::bigint,"
            "   coalesce(t, 0)::bigint, coalesce(d, 0)::bigint, coalesce(h, 0)::bigint]) with ordinality u(v, ord))"
            " from sensor se left join site_assignment sa on sa.tenant_id = se.tenant_id and sa.sensor_id = se.sensor_id and sa.to_us = 9223372036854775807"
            " left join site si on si.tenant_id = sa.tenant_id and si.site_id = sa.site_id"
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

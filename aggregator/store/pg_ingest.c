/* Writing batches: marks, rows and sequence numbers in one transaction.
 *
 * Rows go by binary COPY: activity, health and losses straight into their tables (their columns by name, so that a newer schema may have more), RRsets and negatives into temporary tables and from there, sorted by key, into one upsert each (two
 * writers that sort the same way cannot deadlock). Merging is by sum, least and greatest, so the order of batches does not matter to the result. */
#include <stdio.h>
#include <string.h>

#include "picket/clock.h"
#include "picket/hash.h"
#include "picket/limits.h"
#include "picket/name.h"

#include "pg_internal.h"

enum {
    MAX_FUTURE_DAYS = 2,
    MAX_AHEAD_MIN = 5,
    MAX_PAST_DAYS = 3700,
    KEEP_MARKS =
        4096, /* of an epoch at least; up to twice as many are there before the older ones go */
    MAX_QUARANTINE = 1 << 20
};

int64_t pk_store_hold_time(int64_t us, int64_t received_us)
{
    return us - received_us > MAX_AHEAD_MIN * 60 * (int64_t)PK_US_PER_S ? received_us : us;
}

/* --- days --- */

static int32_t day_of(int64_t us)
{
    int64_t days = us / PK_US_PER_DAY;
    return (int32_t)(us % PK_US_PER_DAY < 0 ? days - 1 : days);
}

static bool has_day(const struct pg_days *days, int32_t day)
{
    for (size_t i = 0; i < days->n; i++) {
        if (days->v[i] == day) {
            return true;
        }
    }
    return false;
}

/* Full: all are forgotten, which costs a statement each. */
static void add_day(struct pg_days *days, int32_t day)
{
    days->n = days->n < MAX_DAYS ? days->n : 0;
    days->v[days->n++] = day;
}

/* Makes the day's partitions, once in a transaction for all its rows (done: those seen to in it), and not at all when this connection knows them. A day far
 * off is the batch's fault, not the clock's: the sensor is skewed. */
static pk_err ensure_day(
    struct pk_store *store, int32_t day, int64_t received_us, struct pg_days *done)
{
    int32_t today = day_of(received_us);
    if (day > today + MAX_FUTURE_DAYS || day < today - MAX_PAST_DAYS) {
        return pg_fail(store, PK_ERR_MALFORMED, "a row's time lies too far from now");
    }
    if (has_day(done, day)) {
        return PK_OK;
    }
    add_day(done, day);
    if (has_day(&store->days, day)) {
        return PK_OK;
    }
    char text[PK_TIME_TEXT_SIZE];
    struct params params = {0};
    pk_time_text(day * PK_US_PER_DAY, text);
    text[10] = '\0';
    param_text(&params, text);
    return pg_exec(store, "make partition", "select picket_ensure_day($1::date)", &params);
}

/* After the commit: of days that may be given up meanwhile (pg_retention.c) the connection remembers none. */
static void keep_days(struct pk_store *store, const struct pg_days *done)
{
    int32_t yesterday = day_of(now_us()) - 1;
    for (size_t i = 0; i < done->n; i++) {
        if (done->v[i] >= yesterday && !has_day(&store->days, done->v[i])) {
            add_day(&store->days, done->v[i]);
        }
    }
}

static pk_err make_temp_tables(struct pk_store *store)
{
    if (store->has_temp_tables) {
        return PK_OK;
    }
    pk_err err = pg_exec(store, "temporary tables",
        "create temp table if not exists tmp_rrset (rrset_key bytea, site_id int, owner_key bytea, owner bytea, type int, class int, rdata bytea, bailiwick bytea,"
        " trust smallint, count bigint, first_us bigint, last_us bigint, ttl_min_s bigint, ttl_max_s bigint) on commit delete rows",
        NULL);
    if (err == PK_OK) {
        err = pg_exec(store, "temporary tables",
            "create temp table if not exists tmp_negative (day date, site_id int, name bytea, type int, class int, rcode int, count bigint, first_us bigint,"
            " last_us bigint) on commit delete rows",
            NULL);
    }
    store->has_temp_tables = err == PK_OK;
    return err;
}

/* --- marks --- */

static pk_err put_mark(
    struct pk_store *store, const struct pk_store_batch *batch, enum pk_store_commit *out_result)
{
    const struct pk_frame_batch *frame = batch->frame;
    PGresult *result;
    struct params params = {0};
    param_int(&params, batch->tenant.v);
    param_int(&params, batch->sensor.v);
    param_int(&params, (int64_t)frame->epoch);
    param_int(&params, (int64_t)frame->seq);
    param_bytes(&params, frame->digest, sizeof frame->digest);
    param_int(&params, frame->kind);
    param_int(&params, frame->rows);
    param_int(&params, batch->received_us);
    pk_err err = pg_query(store, "mark batch",
        "insert into ingest_mark (tenant_id, sensor_id, epoch, seq, digest, kind, row_count, received_us, ingest_seq)"
        " select $1::int, $2::int, $3::bigint, $4::bigint, $5, $6::smallint, $7::int, $8::bigint, 0"
        " where not exists (select from ingest_epoch where tenant_id = $1::int and sensor_id = $2::int and epoch = $3::bigint and forgotten_seq >= $4::bigint)"
        " on conflict do nothing returning 1",
        &params, true, &result);
    bool is_new = err == PK_OK && PQntuples(result) == 1;
    PQclear(result);
    if (err != PK_OK || is_new) {
        *out_result = PK_STORE_COMMITTED;
        return err;
    }
    struct params key = {0};
    param_int(&key, batch->tenant.v);
    param_int(&key, batch->sensor.v);
    param_int(&key, (int64_t)frame->epoch);
    param_int(&key, (int64_t)frame->seq);
    err = pg_query(store, "read mark",
        "select digest from ingest_mark where tenant_id = $1::int and sensor_id = $2::int and epoch = $3::bigint and seq = $4::bigint",
        &key, true, &result);
    if (err == PK_OK) {
        /* A mark so old that it is forgotten: nobody resends from so far back, see migrations/0002. */
        struct pk_slice digest =
            PQntuples(result) == 1 ? get_bytes(result, 0, 0) : (struct pk_slice){0};
        bool is_same = digest.len == sizeof frame->digest &&
                       memcmp(digest.data, frame->digest, digest.len) == 0;
        *out_result = is_same ? PK_STORE_DUPLICATE : PK_STORE_CONFLICT;
    }
    PQclear(result);
    return err;
}

/* Notes the greatest number of an epoch, and forgets marks far behind it. */
static pk_err advance_epoch(struct pk_store *store, struct pk_tenant_id tenant,
    struct pk_sensor_id sensor, uint64_t epoch, uint64_t seq)
{
    struct params params = {0};
    PGresult *result;
    param_int(&params, tenant.v);
    param_int(&params, sensor.v);
    param_int(&params, (int64_t)epoch);
    param_int(&params, (int64_t)seq);
    pk_err err = pg_query(store, "advance epoch",
        "insert into ingest_epoch as e (tenant_id, sensor_id, epoch, newest_seq) values ($1::int, $2::int, $3::bigint, $4::bigint)"
        " on conflict (tenant_id, sensor_id, epoch) do update set newest_seq = greatest(e.newest_seq, excluded.newest_seq)"
        " returning newest_seq, forgotten_seq",
        &params, true, &result);
    if (err != PK_OK) {
        return err;
    }
    int64_t newest = get_int(result, 0, 0), forgotten = get_int(result, 0, 1);
    PQclear(result);
    if (newest - forgotten < 2 * KEEP_MARKS) {
        return PK_OK;
    }
    struct params prune = {0};
    param_int(&prune, tenant.v);
    param_int(&prune, sensor.v);
    param_int(&prune, (int64_t)epoch);
    param_int(&prune, newest - KEEP_MARKS);
    err = pg_exec(store, "move the bound of marks",
        "update ingest_epoch set forgotten_seq = $4::bigint where tenant_id = $1::int and sensor_id = $2::int and epoch = $3::bigint",
        &prune);
    return err != PK_OK
               ? err
               : pg_exec(store, "forget marks",
                     "delete from ingest_mark where tenant_id = $1::int and sensor_id = $2::int and epoch = $3::bigint and seq <= $4::bigint",
                     &prune);
}

/* --- rows --- */

/* client_kind, client, pseudonym, client_prefix */
static void copy_client(struct pk_bytes *out, const struct pk_client *client)
{
    copy_int2(out, (int16_t)client->kind);
    copy_inet(out, &client->addr, client->addr.family == 4 ? 32 : 128, false);
    if (client->kind == PK_CLIENT_PSEUDONYM) {
        copy_bytea(out, client->pseudonym, sizeof client->pseudonym);
    } else {
        copy_null(out);
    }
    copy_inet(out, &client->prefix.addr, client->prefix.len, true);
}

static void put_activity(struct pk_bytes *out, const struct pk_store_batch *batch,
    uint64_t ingest_seq, size_t row_no, const struct pk_activity *row)
{
    const struct pk_signature *s = &row->signature;
    copy_row(out, 34);
    copy_int4(out, (int32_t)batch->tenant.v);
    copy_day(out, day_of(pk_store_hold_time(row->first_us, batch->received_us)));
    copy_int8(out, (int64_t)ingest_seq);
    copy_int4(out, (int32_t)row_no);
    copy_int4(out, (int32_t)batch->site.v);
    copy_int4(out, (int32_t)batch->sensor.v);
    copy_client(out, &row->client);
    copy_bytea(out, row->name.data, row->name.len);
    copy_int4(out, s->qtype);
    copy_int4(out, s->qclass);
    copy_inet(out, &s->server, s->server.family == 4 ? 32 : 128, false);
    copy_int4(out, s->server_port);
    copy_int2(out, s->transport);
    copy_int2(out, s->vantage);
    copy_int2(out, s->opcode);
    copy_int2(out, s->answer);
    copy_int4(out, s->rcode);
    copy_int4(out, s->flags);
    copy_int4(out, s->edns_udp_size);
    copy_int8(out, pk_store_hold_time(row->first_us, batch->received_us));
    copy_int8(out, row->span_us);
    copy_int8(out, row->count);
    copy_int8(out, row->latency_min_us);
    copy_int8(out, row->latency_max_us);
    copy_int8(out, row->response_bytes_max);
    copy_int8(out, (int64_t)row->answer_digest);
    copy_int8(out, row->min_ttl_s);
    copy_int8(out, row->retransmissions);
    copy_int8(out, row->transfer_records);
    copy_int4(out, row->transfer_soas);
    copy_int2(out, row->case_mixed);
}

typedef pk_err (*put_batch)(
    struct pk_store *store, const struct pk_store_batch *batch, uint64_t ingest_seq);

static pk_err put_activity_batch(
    struct pk_store *store, const struct pk_store_batch *batch, uint64_t ingest_seq)
{
    for (size_t i = 0; i < pk_batch_rows(batch->batch); i++) {
        struct pk_activity row;
        pk_batch_activity(batch->batch, i, &row);
        put_activity(&store->copy, batch, ingest_seq, i, &row);
    }
    return store->copy.err;
}

/* The identity of an RRset, the same wherever it is computed. */
static void put_rrset(struct pk_bytes *out, struct pk_bytes *scratch,
    const struct pk_store_batch *batch, const struct pk_rrset *row)
{
    struct pk_name owner;
    uint8_t owner_key[PK_NAME_SORT_KEY_ROOM], rrset_key[PK_DIGEST_BYTES];
    (void)pk_name_from_wire(
        row->owner.data, row->owner.len, &owner); /* checked when it was decoded */
    pk_bytes_clear(scratch);
    for (uint32_t i = 0; i < row->n_rdata; i++) {
        pk_bytes_put_be16(scratch, (uint16_t)row->rdata[i].len);
        pk_bytes_put(scratch, row->rdata[i].data, row->rdata[i].len);
    }
    size_t rdata_len = scratch->len;
    pk_bytes_put(scratch, row->owner.data, row->owner.len);
    pk_bytes_put(scratch, row->bailiwick.data, row->bailiwick.len);
    pk_bytes_put_be16(scratch, row->type);
    pk_bytes_put_be16(scratch, row->class);
    pk_bytes_put_u8(scratch, row->trust);
    pk_digest(scratch->data, scratch->len, rrset_key);
    copy_row(out, 14);
    copy_bytea(out, rrset_key, sizeof rrset_key);
    copy_int4(out, (int32_t)batch->site.v);
    copy_bytea(out, owner_key, pk_name_sort_key(&owner, owner_key));
    copy_bytea(out, row->owner.data, row->owner.len);
    copy_int4(out, row->type);
    copy_int4(out, row->class);
    copy_bytea(out, scratch->data, rdata_len);
    copy_bytea(out, row->bailiwick.data, row->bailiwick.len);
    copy_int2(out, row->trust);
    copy_int8(out, row->count);
    copy_int8(out, pk_store_hold_time(row->first_us, batch->received_us));
    copy_int8(out, pk_store_hold_time(row->last_us, batch->received_us));
    copy_int8(out, row->ttl_min_s);
    copy_int8(out, row->ttl_max_s);
}

static pk_err put_rrset_batch(
    struct pk_store *store, const struct pk_store_batch *batch, uint64_t ingest_seq)
{
    struct pk_bytes scratch;
    (void)ingest_seq; /* history is the same whenever it came */
    pk_bytes_init(&scratch, PK_MAX_UNPACKED_BYTES);
    for (size_t i = 0; i < pk_batch_rows(batch->batch); i++) {
        struct pk_rrset row;
        pk_batch_rrset(batch->batch, i, &row);
        put_rrset(&store->copy, &scratch, batch, &row);
    }
    pk_err err = scratch.err != PK_OK ? scratch.err : store->copy.err;
    pk_bytes_done(&scratch);
    return err;
}

static pk_err put_negative_batch(
    struct pk_store *store, const struct pk_store_batch *batch, uint64_t ingest_seq)
{
    (void)ingest_seq;
    for (size_t i = 0; i < pk_batch_rows(batch->batch); i++) {
        struct pk_negative row;
        pk_batch_negative(batch->batch, i, &row);
        copy_row(&store->copy, 9);
        copy_day(&store->copy, day_of(pk_store_hold_time(row.first_us, batch->received_us)));
        copy_int4(&store->copy, (int32_t)batch->site.v);
        copy_bytea(&store->copy, row.name.data, row.name.len);
        copy_int4(&store->copy, row.type);
        copy_int4(&store->copy, row.class);
        copy_int4(&store->copy, row.rcode);
        copy_int8(&store->copy, row.count);
        copy_int8(&store->copy, pk_store_hold_time(row.first_us, batch->received_us));
        copy_int8(&store->copy, pk_store_hold_time(row.last_us, batch->received_us));
    }
    return store->copy.err;
}

static pk_err put_client_batch(
    struct pk_store *store, const struct pk_store_batch *batch, uint64_t ingest_seq)
{
    struct pk_bytes *out = &store->copy;
    for (size_t i = 0; i < pk_batch_rows(batch->batch); i++) {
        struct pk_client_count row;
        uint8_t sketch[PK_SKETCH_PACKED_SIZE];
        pk_batch_client_count(batch->batch, i, &row);
        row.first_us = pk_store_hold_time(row.first_us, batch->received_us);
        size_t sketch_len = pk_sketch_pack(&row.names, sketch);
        copy_row(out, 21);
        copy_int4(out, (int32_t)batch->tenant.v);
        copy_day(out, day_of(row.first_us));
        copy_int8(out, (int64_t)ingest_seq);
        copy_int4(out, (int32_t)i);
        copy_int4(out, (int32_t)batch->site.v);
        copy_int4(out, (int32_t)batch->sensor.v);
        copy_client(out, &row.client);
        if (row.former.kind == PK_CLIENT_PSEUDONYM) {
            copy_bytea(out, row.former.pseudonym, sizeof row.former.pseudonym);
        } else {
            copy_null(out);
        }
        copy_int8(out, pk_batch_info(batch->batch)->key_period);
        copy_bytea(out, row.zone.data, row.zone.len);
        copy_int2(out, row.reason);
        copy_int8(out, row.count);
        copy_int8(out, row.negative);
        copy_int8(out, row.unanswered);
        copy_int8(out, row.ptr);
        copy_int8(out, row.first_us);
        copy_int8(out, row.span_us);
        if (sketch_len > 0) {
            copy_bytea(out, sketch, sketch_len);
        } else {
            copy_null(out);
        }
    }
    return out->err;
}

static pk_err put_health_batch(
    struct pk_store *store, const struct pk_store_batch *batch, uint64_t ingest_seq)
{
    struct pk_health health;
    struct pk_bytes *out = &store->copy;
    pk_batch_health(batch->batch, &health);
    copy_row(out, 6);
    copy_int4(out, (int32_t)batch->tenant.v);
    copy_int4(out, (int32_t)batch->sensor.v);
    copy_int8(out, (int64_t)ingest_seq);
    copy_int8(out, pk_batch_info(batch->batch)->window_start_us);
    copy_int8(out, batch->received_us);
    const uint32_t head[] = {20 + 12 * PK_N_HEALTH_KEYS, 1, 0, 20 /* int8 */, PK_N_HEALTH_KEYS,
        1}; /* length; dimensions, nulls, type, size, lower bound */
    for (size_t i = 0; i < sizeof head / sizeof *head; i++) {
        pk_bytes_put_be32(out, head[i]);
    }
    for (size_t i = 0; i < PK_N_HEALTH_KEYS; i++) {
        copy_int8(out, (int64_t)(health.v[i] & INT64_MAX));
    }
    return out->err;
}

/* A window's count is far below; with whatever a sensor says, sums of many stay numbers. */
static int64_t window_count(uint64_t v)
{
    return v < UINT32_MAX ? (int64_t)v : UINT32_MAX;
}

/* The interfaces of a health batch, beside its row. */
static pk_err put_interfaces(
    struct pk_store *store, const struct pk_store_batch *batch, uint64_t ingest_seq)
{
    const struct pk_health_interface *interfaces;
    struct pk_bytes *out = &store->copy;
    size_t n = pk_batch_interfaces(batch->batch, &interfaces);
    for (size_t i = 0; i < n; i++) {
        char name[PK_HEALTH_INTERFACE_SIZE];
        pg_plain(interfaces[i].name, name, sizeof name);
        copy_row(out, 9);
        copy_int4(out, (int32_t)batch->tenant.v);
        copy_int4(out, (int32_t)batch->sensor.v);
        copy_int8(out, (int64_t)ingest_seq);
        copy_int4(out, (int32_t)i);
        copy_bytea(out, name, strlen(name)); /* text in binary is its bytes */
        copy_int2(out, interfaces[i].state);
        copy_int8(out, window_count(interfaces[i].packets));
        copy_int8(out, window_count(interfaces[i].kernel_dropped));
        copy_int8(out, window_count(interfaces[i].iface_dropped));
    }
    return out->err;
}

static pk_err put_loss_batch(
    struct pk_store *store, const struct pk_store_batch *batch, uint64_t ingest_seq)
{
    struct pk_bytes *out = &store->copy;
    for (size_t i = 0; i < pk_batch_rows(batch->batch); i++) {
        struct pk_loss row;
        pk_batch_loss(batch->batch, i, &row);
        copy_row(out, 15);
        copy_int4(out, (int32_t)batch->tenant.v);
        copy_int4(out, (int32_t)batch->sensor.v);
        copy_int8(out, (int64_t)ingest_seq);
        copy_int4(out, (int32_t)i);
        copy_int8(out, batch->received_us);
        copy_int2(out, row.cause);
        copy_int2(out, row.kind);
        copy_int8(out, (int64_t)row.batches);
        copy_int8(out, (int64_t)row.rows);
        copy_int8(out, (int64_t)row.transactions);
        copy_int8(out, row.first_us);
        copy_int8(out, row.last_us);
        copy_int8(out, (int64_t)row.epoch);
        copy_int8(out, (int64_t)row.from_seq);
        copy_int8(out, (int64_t)row.to_seq);
    }
    return out->err;
}

/* --- one kind of all batches --- */

/* The days of the rows this batch will write, made sure of before the COPY. */
static pk_err ensure_days(
    struct pk_store *store, const struct pk_store_batch *batch, struct pg_days *done)
{
    enum pk_batch_kind kind = pk_batch_info(batch->batch)->kind;
    pk_err err = PK_OK;
    for (size_t i = 0;
         i < pk_batch_rows(batch->batch) && err == PK_OK &&
         (kind == PK_BATCH_ACTIVITY || kind == PK_BATCH_NEGATIVE || kind == PK_BATCH_CLIENT);
         i++) {
        int64_t first_us;
        if (kind == PK_BATCH_ACTIVITY) {
            struct pk_activity row;
            pk_batch_activity(batch->batch, i, &row);
            first_us = row.first_us;
        } else if (kind == PK_BATCH_CLIENT) {
            struct pk_client_count row;
            pk_batch_client_count(batch->batch, i, &row);
            first_us = row.first_us;
        } else {
            struct pk_negative row;
            pk_batch_negative(batch->batch, i, &row);
            first_us = row.first_us;
        }
        err = ensure_day(store, day_of(pk_store_hold_time(first_us, batch->received_us)),
            batch->received_us, done);
    }
    return err;
}

/* How the rows of a kind are written: each COPY names its columns, in the order that put writes them. */
struct copy {
    enum pk_batch_kind kind;
    put_batch put;
    const char *sql;
};

static const struct copy direct_copies[] = {
    {PK_BATCH_ACTIVITY, put_activity_batch,
        "copy activity (tenant_id, day, ingest_seq, row_no, site_id, sensor_id, client_kind, client, pseudonym, client_prefix, name, qtype, qclass, server, server_port, transport,"
        " vantage, opcode, answer, rcode, flags, edns_udp_size, first_us, span_us, count, latency_min_us, latency_max_us, response_bytes_max, answer_digest, min_ttl_s,"
        " retransmissions, transfer_records, transfer_soas, case_mixed) from stdin (format binary)"},
    {PK_BATCH_CLIENT, put_client_batch,
        "copy client_count (tenant_id, day, ingest_seq, row_no, site_id, sensor_id, client_kind, client, pseudonym, client_prefix, former, key_period, zone, reason, count, negative,"
        " unanswered, ptr, first_us, span_us, sketch) from stdin (format binary)"},
    {PK_BATCH_HEALTH, put_health_batch,
        "copy health (tenant_id, sensor_id, ingest_seq, window_start_us, received_us, counters) from stdin (format binary)"},
    {PK_BATCH_HEALTH, put_interfaces,
        "copy health_interface (tenant_id, sensor_id, ingest_seq, row_no, name, state, packets, kernel_dropped, iface_dropped) from stdin (format binary)"},
    {PK_BATCH_LOSS, put_loss_batch,
        "copy loss (tenant_id, sensor_id, ingest_seq, row_no, received_us, cause, kind, batches, row_count, transactions, first_us, last_us, epoch, from_seq, to_seq)"
        " from stdin (format binary)"},
};
static const struct copy rrset_copy = {PK_BATCH_RRSET, put_rrset_batch,
    "copy tmp_rrset (rrset_key, site_id, owner_key, owner, type, class, rdata, bailiwick, trust, count, first_us, last_us, ttl_min_s, ttl_max_s) from stdin (format binary)"};
static const struct copy negative_copy = {PK_BATCH_NEGATIVE, put_negative_batch,
    "copy tmp_negative (day, site_id, name, type, class, rcode, count, first_us, last_us) from stdin (format binary)"};

/* The rows of all batches of its kind in one COPY, if there are any. */
static pk_err copy_kind(struct pk_store *store, const struct copy *copy,
    const struct pk_store_batch *batches, size_t n, const enum pk_store_commit *results,
    const uint64_t *seqs, bool *out_any)
{
    pk_err err = PK_OK;
    copy_begin(store);
    size_t head = store->copy.len;
    for (size_t i = 0; i < n && err == PK_OK; i++) {
        if (results[i] == PK_STORE_COMMITTED &&
            pk_batch_info(batches[i].batch)->kind == copy->kind) {
            err = copy->put(store, &batches[i], seqs[i]);
        }
    }
    *out_any = store->copy.len > head;
    return err == PK_OK && *out_any ? copy_end(store, pk_batch_kind_str(copy->kind), copy->sql)
                                    : err;
}

static pk_err upsert_rrsets(struct pk_store *store, struct pk_tenant_id tenant)
{
    static const char *const statements[] = {
        "insert into rrset (tenant_id, rrset_key, owner_key, owner, type, class, rdata, bailiwick, trust)"
        " select distinct on (rrset_key) $1::int, rrset_key, owner_key, owner, type, class, rdata, bailiwick, trust from tmp_rrset order by rrset_key"
        " on conflict do nothing",
        "insert into rrset_stat as s (tenant_id, rrset_key, count, first_us, last_us, ttl_min_s, ttl_max_s)"
        " select $1::int, rrset_key, sum(count), min(first_us), max(last_us), min(ttl_min_s), max(ttl_max_s) from tmp_rrset group by rrset_key order by rrset_key"
        " on conflict (tenant_id, rrset_key) do update set count = s.count + excluded.count, first_us = least(s.first_us, excluded.first_us),"
        " last_us = greatest(s.last_us, excluded.last_us), ttl_min_s = least(s.ttl_min_s, excluded.ttl_min_s),"
        " ttl_max_s = greatest(s.ttl_max_s, excluded.ttl_max_s)",
        "insert into rrset_site as s (tenant_id, rrset_key, site_id, count, first_us, last_us)"
        " select $1::int, rrset_key, site_id, sum(count), min(first_us), max(last_us) from tmp_rrset group by rrset_key, site_id order by rrset_key, site_id"
        " on conflict (tenant_id, rrset_key, site_id) do update set count = s.count + excluded.count, first_us = least(s.first_us, excluded.first_us),"
        " last_us = greatest(s.last_us, excluded.last_us)",
    };
    pk_err err = PK_OK;
    for (size_t i = 0; i < sizeof statements / sizeof *statements && err == PK_OK; i++) {
        struct params params = {0};
        param_int(&params, tenant.v);
        err = pg_exec(store, "merge RRsets", statements[i], &params);
    }
    return err;
}

static pk_err upsert_negatives(struct pk_store *store, struct pk_tenant_id tenant)
{
    struct params params = {0};
    param_int(&params, tenant.v);
    return pg_exec(store, "merge negatives",
        "insert into negative as n (tenant_id, day, site_id, name, type, class, rcode, count, first_us, last_us)"
        " select $1::int, day, site_id, name, type, class, rcode, sum(count), min(first_us), max(last_us) from tmp_negative"
        " group by day, site_id, name, type, class, rcode order by day, name, type, class, rcode, site_id"
        " on conflict (tenant_id, day, name, type, class, rcode, site_id) do update set count = n.count + excluded.count,"
        " first_us = least(n.first_us, excluded.first_us), last_us = greatest(n.last_us, excluded.last_us)",
        &params);
}

static pk_err write_rows(struct pk_store *store, const struct pk_store_batch *batches, size_t n,
    const enum pk_store_commit *results, const uint64_t *seqs, struct pg_days *done)
{
    bool any;
    pk_err err = PK_OK;
    for (size_t i = 0; i < n && err == PK_OK; i++) {
        err = results[i] == PK_STORE_COMMITTED ? ensure_days(store, &batches[i], done) : PK_OK;
    }
    for (size_t i = 0; i < sizeof direct_copies / sizeof *direct_copies && err == PK_OK; i++) {
        err = copy_kind(store, &direct_copies[i], batches, n, results, seqs, &any);
    }
    if (err == PK_OK) {
        err = copy_kind(store, &rrset_copy, batches, n, results, seqs, &any);
        if (err == PK_OK && any) {
            err = upsert_rrsets(store, batches[0].tenant);
        }
    }
    if (err == PK_OK) {
        err = copy_kind(store, &negative_copy, batches, n, results, seqs, &any);
        if (err == PK_OK && any) {
            err = upsert_negatives(store, batches[0].tenant);
        }
    }
    return err;
}

/* The tenant's next sequence numbers, without gaps: the row stays locked to the commit, so numbers become visible in their order. */
static pk_err take_seqs(struct pk_store *store, struct pk_tenant_id tenant,
    const enum pk_store_commit *results, size_t n, uint64_t *out_seqs)
{
    size_t wanted = 0;
    for (size_t i = 0; i < n; i++) {
        wanted += results[i] == PK_STORE_COMMITTED;
    }
    if (wanted == 0) {
        return PK_OK;
    }
    PGresult *result;
    struct params params = {0};
    param_int(&params, tenant.v);
    param_int(&params, (int64_t)wanted);
    pk_err err = pg_query(store, "take ingest sequence",
        "insert into ingest_seq as s (tenant_id, last_seq) values ($1::int, $2::bigint)"
        " on conflict (tenant_id) do update set last_seq = s.last_seq + excluded.last_seq returning last_seq",
        &params, true, &result);
    if (err == PK_OK) {
        uint64_t next = (uint64_t)get_int(result, 0, 0) - wanted + 1;
        for (size_t i = 0; i < n; i++) {
            out_seqs[i] = results[i] == PK_STORE_COMMITTED ? next++ : 0;
        }
    }
    PQclear(result);
    return err;
}

static pk_err note_seq(
    struct pk_store *store, const struct pk_store_batch *batch, uint64_t ingest_seq)
{
    struct params params = {0};
    param_int(&params, batch->tenant.v);
    param_int(&params, batch->sensor.v);
    param_int(&params, (int64_t)batch->frame->epoch);
    param_int(&params, (int64_t)batch->frame->seq);
    param_int(&params, (int64_t)ingest_seq);
    return pg_exec(store, "note ingest sequence",
        "update ingest_mark set ingest_seq = $5::bigint where tenant_id = $1::int and sensor_id = $2::int and epoch = $3::bigint and seq = $4::bigint",
        &params);
}

static pk_err commit_all(struct pk_store *store, const struct pk_store_batch *batches, size_t n,
    enum pk_store_commit *results, uint64_t *seqs, struct pg_days *done)
{
    pk_err err = PK_OK;
    for (size_t i = 0; i < n && err == PK_OK; i++) {
        err = put_mark(store, &batches[i], &results[i]);
    }
    if (err == PK_OK) {
        err = take_seqs(store, batches[0].tenant, results, n, seqs);
    }
    for (size_t i = 0; i < n && err == PK_OK; i++) {
        if (results[i] == PK_STORE_COMMITTED) {
            err = note_seq(store, &batches[i], seqs[i]);
        }
    }
    if (err == PK_OK) {
        err = write_rows(store, batches, n, results, seqs, done);
    }
    if (err == PK_OK) {
        err = pg_write_ledger(store, batches, n, results);
    }
    /* Once for each epoch among the batches: they come grouped by sensor more often than not. */
    for (size_t i = 0; i < n && err == PK_OK; i++) {
        bool is_last = i + 1 == n || batches[i + 1].sensor.v != batches[i].sensor.v ||
                       batches[i + 1].frame->epoch != batches[i].frame->epoch;
        if (is_last) {
            err = advance_epoch(store, batches[i].tenant, batches[i].sensor,
                batches[i].frame->epoch, batches[i].frame->seq);
        }
    }
    return err;
}

/* 53200: no memory, or no room for locks; 54: a limit of PostgreSQL's. A smaller transaction may do. */
static bool was_too_much(const struct pk_store *store)
{
    return strcmp(store->state, "53200") == 0 || strncmp(store->state, "54", 2) == 0;
}

pk_err pk_store_commit(struct pk_store *store, const struct pk_store_batch *batches, size_t n,
    enum pk_store_commit *out_results, uint64_t *out_ingest_seq)
{
    struct pg_days done = {0};
    memset(out_ingest_seq, 0, n * sizeof *out_ingest_seq);
    pk_err err = make_temp_tables(store);
    if (err == PK_OK) {
        err = pg_begin(store);
    }
    if (err != PK_OK) {
        return err;
    }
    err = pg_hold_home(store, batches[0].tenant, batches[0].generation);
    if (err == PK_OK) {
        err = commit_all(store, batches, n, out_results, out_ingest_seq, &done);
    }
    err = pg_end(store, err);
    if (err == PK_OK) { /* else the partitions made in it went with the transaction */
        keep_days(store, &done);
    }
    return err == PK_ERR_IO && was_too_much(store) ? PK_ERR_LIMIT : err;
}

pk_err pk_store_quarantine(struct pk_store *store, struct pk_tenant_id tenant, uint64_t generation,
    struct pk_sensor_id sensor, const struct pk_frame_batch *frame, const uint8_t *body,
    size_t body_len, const char *reason)
{
    struct params params = {0};
    enum pk_store_commit result;
    struct pk_store_batch mark = {
        .tenant = tenant, .sensor = sensor, .frame = frame, .received_us = now_us()};
    pk_err err = pg_begin(store);
    if (err != PK_OK) {
        return err;
    }
    err = pg_hold_home(store, tenant, generation);
    if (err == PK_OK) {
        err = put_mark(store, &mark, &result);
    }
    param_int(&params, tenant.v);
    param_int(&params, sensor.v);
    param_int(&params, (int64_t)frame->epoch);
    param_int(&params, (int64_t)frame->seq);
    param_int(&params, mark.received_us);
    param_text(&params, reason);
    param_bytes(&params, body, body_len < MAX_QUARANTINE ? body_len : MAX_QUARANTINE);
    if (err == PK_OK && result == PK_STORE_COMMITTED) {
        err = pg_exec(store, "quarantine",
            "insert into quarantine (tenant_id, sensor_id, epoch, seq, received_us, reason, body)"
            " values ($1::int, $2::int, $3::bigint, $4::bigint, $5::bigint, $6, $7) on conflict do nothing",
            &params);
    }
    if (err == PK_OK) {
        err = advance_epoch(store, tenant, sensor, frame->epoch, frame->seq);
    }
    return pg_end(store, err);
}

pk_err pk_store_newest_seq(struct pk_store *store, struct pk_tenant_id tenant,
    struct pk_sensor_id sensor, uint64_t epoch, uint64_t *out_seq)
{
    PGresult *result;
    struct params params = {0};
    param_int(&params, tenant.v);
    param_int(&params, sensor.v);
    param_int(&params, (int64_t)(epoch & INT64_MAX));
    pk_err err = pg_query(store, "read newest sequence",
        "select newest_seq from ingest_epoch where tenant_id = $1::int and sensor_id = $2::int and epoch = $3::bigint",
        &params, true, &result);
    if (err == PK_OK) {
        *out_seq = PQntuples(result) == 1 ? (uint64_t)get_int(result, 0, 0) : 0;
    }
    PQclear(result);
    return err;
}

/* Detection's side of the store: stored activity in order, findings, state. */
#include <stdlib.h>
#include <string.h>

#include "picket/clock.h"

#include "pg_internal.h"

static void read_pseudonym(const PGresult *r, int i, int c, struct pk_client *out)
{
    struct pk_slice pseudonym = get_bytes(r, i, c);
    if (pseudonym.len == sizeof out->pseudonym) {
        memcpy(out->pseudonym, pseudonym.data, pseudonym.len);
    }
}

/* Four columns from c on; returns the next. */
static int read_client(const PGresult *r, int i, int c, struct pk_client *out)
{
    out->kind = (enum pk_client_kind)get_int(r, i, c++);
    (void)get_addr(r, i, c++, &out->addr, NULL); /* null: none */
    read_pseudonym(r, i, c++, out);
    (void)get_addr(r, i, c++, &out->prefix.addr, &out->prefix.len);
    return c;
}

static void read_row(const PGresult *r, int i, struct pk_store_activity *out)
{
    int c = 0;
    struct pk_activity *row = &out->activity;
    struct pk_signature *s = &row->signature;
    memset(out, 0, sizeof *out);
    out->ingest_seq = (uint64_t)get_int(r, i, c++);
    out->row_no = (uint32_t)get_int(r, i, c++);
    out->site.v = (uint32_t)get_int(r, i, c++);
    out->sensor.v = (uint32_t)get_int(r, i, c++);
    c = read_client(r, i, c, &row->client);
    row->name = get_bytes(r, i, c++);
    s->qtype = (uint16_t)get_int(r, i, c++);
    s->qclass = (uint16_t)get_int(r, i, c++);
    (void)get_addr(r, i, c++, &s->server, NULL);
    s->server_port = (uint16_t)get_int(r, i, c++);
    s->transport = (uint8_t)get_int(r, i, c++);
    s->vantage = (uint8_t)get_int(r, i, c++);
    s->opcode = (uint8_t)get_int(r, i, c++);
    s->answer = (uint8_t)get_int(r, i, c++);
    s->rcode = (uint16_t)get_int(r, i, c++);
    s->flags = (uint16_t)get_int(r, i, c++);
    s->edns_udp_size = (uint16_t)get_int(r, i, c++);
    row->first_us = get_int(r, i, c++);
    row->span_us = (uint32_t)get_int(r, i, c++);
    row->count = (uint32_t)get_int(r, i, c++);
    row->latency_min_us = (uint32_t)get_int(r, i, c++);
    row->latency_max_us = (uint32_t)get_int(r, i, c++);
    row->response_bytes_max = (uint32_t)get_int(r, i, c++);
    row->answer_digest = (uint64_t)get_int(r, i, c++);
    row->min_ttl_s = (uint32_t)get_int(r, i, c++);
    row->retransmissions = (uint32_t)get_int(r, i, c++);
    row->transfer_records = (uint32_t)get_int(r, i, c++);
    row->transfer_soas = (uint16_t)get_int(r, i, c++);
    row->case_mixed = (uint8_t)get_int(r, i, c++);
}

static void read_count_row(
    const PGresult *r, int i, struct pk_client_count *row, struct pk_store_activity *out)
{
    int c = 0;
    memset(out, 0, sizeof *out);
    memset(row, 0, sizeof *row);
    out->client = row;
    out->ingest_seq = (uint64_t)get_int(r, i, c++);
    out->row_no = (uint32_t)get_int(r, i, c++);
    out->site.v = (uint32_t)get_int(r, i, c++);
    out->sensor.v = (uint32_t)get_int(r, i, c++);
    c = read_client(r, i, c, &row->client);
    if (!PQgetisnull(r, i, c)) {
        row->former.kind = PK_CLIENT_PSEUDONYM;
        read_pseudonym(r, i, c, &row->former);
    }
    c++;
    row->zone = get_bytes(r, i, c++);
    row->reason = (uint8_t)get_int(r, i, c++);
    row->count = (uint32_t)get_int(r, i, c++);
    row->negative = (uint32_t)get_int(r, i, c++);
    row->unanswered = (uint32_t)get_int(r, i, c++);
    row->ptr = (uint32_t)get_int(r, i, c++);
    row->first_us = get_int(r, i, c++);
    row->span_us = (uint32_t)get_int(r, i, c++);
    struct pk_slice sketch = get_bytes(r, i, c++);
    (void)pk_sketch_unpack(sketch.data, sketch.len, &row->names); /* as we packed it */
}

/* A cursor, and the page of it in hand. */
struct stream {
    const char *fetch;
    PGresult *page; /* owned */
    int at, n;
    bool is_over;
};

static pk_err fill(struct pk_store *store, struct stream *stream)
{
    if (stream->at < stream->n || stream->is_over) {
        return PK_OK;
    }
    PQclear(stream->page);
    stream->page = NULL;
    pk_err err = pg_query(store, "read activity", stream->fetch, NULL, true, &stream->page);
    stream->at = 0;
    stream->n = err == PK_OK ? PQntuples(stream->page) : 0;
    stream->is_over = stream->n == 0;
    return err;
}

static uint64_t next_seq(const struct stream *stream)
{
    return stream->is_over ? UINT64_MAX : (uint64_t)get_int(stream->page, stream->at, 0);
}

/* A batch is of one kind, so the sequence numbers of the two tables never meet. */
static pk_err fetch_all(struct pk_store *store,
    bool (*row)(void *arg, const struct pk_store_activity *activity), void *arg)
{
    struct stream rows = {.fetch = "fetch 5000 from picket_activity"},
                  counts = {.fetch = "fetch 1000 from picket_client_count"};
    pk_err err = PK_OK;
    for (bool goes_on = true; goes_on && err == PK_OK;) {
        struct pk_store_activity activity;
        struct pk_client_count count;
        err = fill(store, &rows);
        err = err == PK_OK ? fill(store, &counts) : err;
        if (err != PK_OK || (rows.is_over && counts.is_over)) {
            break;
        }
        if (next_seq(&rows) < next_seq(&counts)) {
            read_row(rows.page, rows.at++, &activity);
        } else {
            read_count_row(counts.page, counts.at++, &count, &activity);
        }
        goes_on = row(arg, &activity);
    }
    PQclear(rows.page);
    PQclear(counts.page);
    return err;
}

/* Counts out of scope say nothing to the engine (engine.h). */
#define DECLARE_COUNTS                                                                                                                                       \
    "declare picket_client_count no scroll cursor for select ingest_seq, row_no, site_id, sensor_id, client_kind, client, pseudonym, client_prefix, former," \
    " zone, reason, count, negative, unanswered, ptr, first_us, span_us, sketch from client_count where reason <> 0 and tenant_id = $1::int"
#define AFTER " and ingest_seq > $2::bigint order by ingest_seq, row_no"
#define BETWEEN                                                                                                                           \
    " and first_us >= $2::bigint and first_us < $3::bigint and day >= date '1970-01-01' + $4::int and day <= date '1970-01-01' + $5::int" \
    " order by ingest_seq, row_no"
#define DECLARE                                                                                                                                               \
    "declare picket_activity no scroll cursor for select ingest_seq, row_no, site_id, sensor_id, client_kind, client, pseudonym, client_prefix, name, qtype," \
    " qclass, server, server_port, transport, vantage, opcode, answer, rcode, flags, edns_udp_size, first_us, span_us, count, latency_min_us,"                \
    " latency_max_us, response_bytes_max, answer_digest, min_ttl_s, retransmissions, transfer_records, transfer_soas, case_mixed"                             \
    " from activity where tenant_id = $1::int"

static pk_err read_activity(struct pk_store *store, const char *sql, const char *counts_sql,
    const struct params *params, bool (*row)(void *arg, const struct pk_store_activity *activity),
    void *arg)
{
    pk_err err = pg_begin(store);
    if (err != PK_OK) {
        return err;
    }
    err = pg_exec(store, "read activity", sql, params);
    if (err == PK_OK) {
        err = pg_exec(store, "read client counts", counts_sql, params);
    }
    return pg_end(store, err == PK_OK ? fetch_all(store, row, arg) : err);
}

pk_err pk_store_read_activity(struct pk_store *store, struct pk_tenant_id tenant, uint64_t after,
    bool (*row)(void *arg, const struct pk_store_activity *activity), void *arg)
{
    struct params params = {0};
    param_int(&params, tenant.v);
    param_int(&params, (int64_t)after);
    return read_activity(store, DECLARE AFTER, DECLARE_COUNTS AFTER, &params, row, arg);
}

pk_err pk_store_read_activity_between(struct pk_store *store, struct pk_tenant_id tenant,
    int64_t from_us, int64_t to_us,
    bool (*row)(void *arg, const struct pk_store_activity *activity), void *arg)
{
    struct params params = {0};
    param_int(&params, tenant.v);
    param_int(&params, from_us);
    param_int(&params, to_us);
    param_int(&params, from_us / PK_US_PER_DAY - 1); /* whole days, for the partitions */
    param_int(&params, to_us / PK_US_PER_DAY + 1);
    return read_activity(store, DECLARE BETWEEN, DECLARE_COUNTS BETWEEN, &params, row, arg);
}

/* --- coverage --- */

pk_err pk_store_read_scopes(struct pk_store *store,
    bool (*row)(void *arg, int64_t from_us, int64_t to_us, const char *scope), void *arg)
{
    PGresult *result;
    pk_err err = pg_query(store, "read scope versions",
        "select from_us, to_us, scope from scope_version order by version", NULL, false, &result);
    for (int i = 0; err == PK_OK && i < PQntuples(result); i++) {
        if (!row(arg, strtoll(PQgetvalue(result, i, 0), NULL, 10),
                strtoll(PQgetvalue(result, i, 1), NULL, 10), PQgetvalue(result, i, 2))) {
            break;
        }
    }
    PQclear(result);
    return err;
}

pk_err pk_store_read_reported(
    struct pk_store *store, struct pk_tenant_id tenant, int64_t *out_from_us, int64_t *out_to_us)
{
    PGresult *result;
    struct params params = {0};
    param_int(&params, tenant.v);
    pk_err err = pg_query(store, "read when sensors reported",
        "select coalesce(min(window_start_us), 1), coalesce(max(window_start_us), 0) from health where tenant_id = $1::int",
        &params, true, &result);
    if (err == PK_OK) {
        *out_from_us = get_int(result, 0, 0);
        *out_to_us = get_int(result, 0, 1);
    }
    PQclear(result);
    return err;
}

static pk_err put_finding(
    struct pk_store *store, struct pk_tenant_id tenant, const struct pk_store_finding *finding)
{
    struct params params = {0};
    param_int(&params, tenant.v);
    param_text(&params, finding->id);
    param_int(&params, finding->revision);
    param_text(&params, finding->detector);
    param_int(&params, finding->severity);
    param_int(&params, finding->first_us);
    param_int(&params, finding->last_us);
    param_text(&params, finding->json);
    return pg_exec(store, "write finding",
        "insert into finding as f (tenant_id, id, revision, detector, severity, first_us, last_us, finding)"
        " values ($1::int, $2, $3::int, $4, $5::smallint, $6::bigint, $7::bigint, $8)"
        " on conflict (tenant_id, id) do update set revision = excluded.revision, severity = excluded.severity, first_us = excluded.first_us,"
        " last_us = excluded.last_us, finding = excluded.finding where f.revision < excluded.revision",
        &params);
}

pk_err pk_store_save_detection(struct pk_store *store, struct pk_tenant_id tenant,
    uint64_t generation, const struct pk_store_finding *findings, size_t n,
    const struct pk_slice *state, uint32_t state_version, uint64_t at_seq)
{
    pk_err err = pg_begin(store);
    if (err != PK_OK) {
        return err;
    }
    err = pg_hold_home(store, tenant, generation);
    for (size_t i = 0; i < n && err == PK_OK; i++) {
        err = put_finding(store, tenant, &findings[i]);
    }
    if (state && err == PK_OK) {
        struct params params = {0};
        param_int(&params, tenant.v);
        param_int(&params, state_version);
        param_int(&params, (int64_t)at_seq);
        param_bytes(&params, state->data, state->len);
        err = pg_exec(store, "write detection state",
            "insert into detection_state as d (tenant_id, version, at_seq, state) values ($1::int, $2::int, $3::bigint, $4)"
            " on conflict (tenant_id) do update set version = excluded.version, at_seq = excluded.at_seq, state = excluded.state",
            &params);
    }
    return pg_end(store, err);
}

pk_err pk_store_load_state(struct pk_store *store, struct pk_tenant_id tenant, uint8_t **out_state,
    size_t *out_len, uint32_t *out_version, uint64_t *out_seq)
{
    PGresult *result;
    struct params params = {0};
    param_int(&params, tenant.v);
    pk_err err = pg_query(store, "read detection state",
        "select version, at_seq, state from detection_state where tenant_id = $1::int", &params,
        true, &result);
    if (err == PK_OK && PQntuples(result) == 1) {
        struct pk_slice state = get_bytes(result, 0, 2);
        uint8_t *copy = malloc(state.len ? state.len : 1);
        if (copy) {
            memcpy(copy, state.data, state.len);
            *out_version = (uint32_t)get_int(result, 0, 0);
            *out_seq = (uint64_t)get_int(result, 0, 1);
            *out_state = copy;
            *out_len = state.len;
        } else {
            err = PK_ERR_NOMEM;
        }
    } else if (err == PK_OK) {
        *out_state = NULL;
    }
    PQclear(result);
    return err;
}

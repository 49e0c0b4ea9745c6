/* The connection: opening, statements, transactions, binary COPY. Everything libpq says is turned into pk_err here, by SQLSTATE class. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "picket/clock.h"

#include "pg_internal.h"

enum {
    MAX_COPY = 512 << 20,
    PG_EPOCH_DAYS = 10957 /* 2000-01-01 */,
    PG_AF_INET = 2,
    PG_AF_INET6 = 3
};

int64_t now_us(void)
{
    return pk_clock_wall_us();
}

static void keep_error(
    struct pk_store *store, const char *doing, const char *state, const char *message)
{
    snprintf(store->state, sizeof store->state, "%s", state ? state : "");
    int n = snprintf(store->error, sizeof store->error, "%s: %s%s%s", doing, state ? state : "",
        state ? " " : "", message ? message : "no message");
    for (int i = 0; i < n && store->error[i]; i++) {
        if (store->error[i] == '\n') {
            store->error[i] = ' ';
        }
    }
}

pk_err pg_fail(struct pk_store *store, pk_err err, const char *text)
{
    snprintf(store->error, sizeof store->error, "%s", text);
    return err;
}

/* 22 data, 23 integrity: the values are to blame and trying again is useless. 42 and others: so is the program. Anything about the connection, resources or
 * a shutdown may pass. */
static pk_err classify(const PGresult *result, const PGconn *conn)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (!state || PQstatus(conn) != CONNECTION_OK) {
        return PK_ERR_IO;
    }
    if (strncmp(state, "22", 2) == 0 || strncmp(state, "23", 2) == 0) {
        return PK_ERR_MALFORMED;
    }
    if (strncmp(state, "42501", 5) == 0) {
        return PK_ERR_AUTH;
    }
    return PK_ERR_IO;
}

/* --- parameters --- */

void param_text(struct params *params, const char *text)
{
    params->values[params->n] = text;
    params->lengths[params->n] = 0;
    params->formats[params->n++] = 0;
}

void param_int(struct params *params, int64_t v)
{
    char *text = params->texts[params->n];
    snprintf(text, sizeof params->texts[0], "%lld", (long long)v);
    param_text(params, text);
}

void param_bytes(struct params *params, const void *data, size_t len)
{
    params->values[params->n] = data ? data : "";
    params->lengths[params->n] = (int)len;
    params->formats[params->n++] = 1;
}

/* --- statements --- */

pk_err pg_query(struct pk_store *store, const char *doing, const char *sql,
    const struct params *params, bool wants_binary, PGresult **out_result)
{
    static const struct params none;
    const struct params *p = params ? params : &none;
    *out_result = NULL;
    if (!store->conn || PQstatus(store->conn) != CONNECTION_OK) {
        keep_error(store, doing, NULL, "not connected");
        return PK_ERR_IO;
    }
    PGresult *result =
        PQexecParams(store->conn, sql, p->n, NULL, p->values, p->lengths, p->formats, wants_binary);
    ExecStatusType status = PQresultStatus(result);
    if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_COPY_IN) {
        *out_result = result;
        return PK_OK;
    }
    pk_err err = classify(result, store->conn);
    keep_error(
        store, doing, PQresultErrorField(result, PG_DIAG_SQLSTATE), PQresultErrorMessage(result));
    PQclear(result);
    return err;
}

pk_err pg_exec(
    struct pk_store *store, const char *doing, const char *sql, const struct params *params)
{
    PGresult *result;
    pk_err err = pg_query(store, doing, sql, params, false, &result);
    PQclear(result);
    return err;
}

pk_err pg_begin(struct pk_store *store)
{
    return pg_exec(store, "begin", "begin", NULL);
}

pk_err pg_set_tenant(struct pk_store *store, struct pk_tenant_id tenant)
{
    char sql[64];
    snprintf(sql, sizeof sql, "set local picket.tenant_id = %u", tenant.v);
    return pg_exec(store, "set tenant", sql, NULL);
}

pk_err pg_begin_for(struct pk_store *store, struct pk_tenant_id tenant)
{
    if (tenant.v == 0) {
        return pg_fail(store, PK_ERR_AUTH, "a query needs a tenant");
    }
    pk_err err = pg_begin(store);
    return err == PK_OK ? pg_set_tenant(store, tenant) : err;
}

pk_err pg_end(struct pk_store *store, pk_err err)
{
    if (err == PK_OK) {
        return pg_exec(store, "commit", "commit", NULL);
    }
    char kept[STORE_ERROR_SIZE];
    memcpy(kept, store->error, sizeof kept);
    (void)pg_exec(store, "rollback", "rollback", NULL); /* what matters is the first error */
    memcpy(store->error, kept, sizeof kept);
    return err;
}

/* --- opening --- */

static void disconnect(struct pk_store *store)
{
    if (store->conn) {
        PQfinish(store->conn);
    }
    store->conn = NULL;
    store->has_temp_tables = store->is_listening = false;
    store->days.n = 0;
}

static pk_err set_session(struct pk_store *store)
{
    pk_err err = pg_exec(store, "session", "set statement_timeout = '120s'", NULL);
    if (err == PK_OK) {
        err = pg_exec(store, "session",
            store->is_hasty ? "set lock_timeout = '2s'" : "set lock_timeout = '30s'", NULL);
    }
    if (err == PK_OK) {
        err = pg_exec(store, "session", "set idle_in_transaction_session_timeout = '60s'", NULL);
    }
    if (err == PK_OK) { /* our sums have many columns and few rows: to compile them takes longer */
        err = pg_exec(store, "session", "set jit = off", NULL);
    }
    if (err == PK_OK && store->role) {
        struct params params = {0};
        param_text(&params, store->role);
        err = pg_exec(store, "role", "select set_config('role', $1, false)", &params);
    }
    if (err == PK_OK && store->is_application_fixed) {
        struct params params = {0};
        param_text(&params, store->application);
        err = pg_exec(
            store, "application", "select set_config('application_name', $1, false)", &params);
    }
    return err;
}

pk_err pk_store_reconnect(struct pk_store *store)
{
    disconnect(store);
    /* Our defaults stand before the operator's string, so that his win. */
    const char *const keys[] = {"connect_timeout", "keepalives_idle", "tcp_user_timeout",
        "fallback_application_name", "dbname", NULL};
    const char *const values[] = {"10", "30", "30000", store->application, store->conninfo, NULL};
    store->conn = PQconnectdbParams(keys, values, 1);
    if (PQstatus(store->conn) != CONNECTION_OK) {
        keep_error(store, "connect", NULL, PQerrorMessage(store->conn));
        disconnect(store);
        return PK_ERR_IO;
    }
    (void)PQsetErrorVerbosity(store->conn, PQERRORS_TERSE);
    return set_session(store);
}

static pk_err check_version(struct pk_store *store)
{
    struct pg_schema schema;
    int64_t own = pk_store_schema_version();
    pk_err err = pg_read_schema(store, &schema);
    if (err != PK_OK || (schema.needed <= own && own <= schema.present)) {
        return err;
    }
    snprintf(store->error, sizeof store->error,
        "the database's schema is version %lld, this program needs %lld: %s",
        (long long)schema.present, (long long)own,
        schema.needed > own ? "use a newer program" : "run picket-aggregator migrate");
    return PK_ERR_VERSION;
}

pk_err pk_store_open(const struct pk_store_options *options, struct pk_store **out_store)
{
    struct pk_store *store = calloc(1, sizeof *store);
    *out_store = store;
    if (!store) {
        return PK_ERR_NOMEM;
    }
    pk_bytes_init(&store->copy, MAX_COPY);
    store->conninfo = strdup(options->conninfo);
    store->application = strdup(options->application ? options->application : "picket");
    store->is_application_fixed = options->is_application_fixed;
    store->is_hasty = options->is_hasty;
    store->role = options->role ? strdup(options->role) : NULL;
    if (!store->conninfo || !store->application || (options->role && !store->role)) {
        return PK_ERR_NOMEM;
    }
    pk_err err = pk_store_reconnect(store);
    return err == PK_OK && !options->skip_version_check ? check_version(store) : err;
}

void pk_store_close(struct pk_store *store)
{
    if (store) {
        disconnect(store);
        pk_bytes_done(&store->copy);
        free(store->conninfo);
        free(store->role);
        free(store->application);
        free(store);
    }
}

const char *pk_store_error(const struct pk_store *store)
{
    return store->error[0] ? store->error : "no error";
}

int pk_store_socket(const struct pk_store *store)
{
    return store->conn ? PQsocket(store->conn) : -1;
}

bool pk_store_ping(struct pk_store *store)
{
    return pg_exec(store, "ping", "select 1", NULL) == PK_OK;
}

/* --- binary COPY --- */

void copy_begin(struct pk_store *store)
{
    static const uint8_t header[] = {
        'P', 'G', 'C', 'O', 'P', 'Y', '\n', 0xff, '\r', '\n', 0, 0, 0, 0, 0, 0, 0, 0, 0};
    pk_bytes_clear(&store->copy);
    pk_bytes_put(&store->copy, header, sizeof header);
}

void copy_row(struct pk_bytes *out, uint16_t n_fields)
{
    pk_bytes_put_be16(out, n_fields);
}

void copy_int2(struct pk_bytes *out, int16_t v)
{
    pk_bytes_put_be32(out, 2);
    pk_bytes_put_be16(out, (uint16_t)v);
}

void copy_int4(struct pk_bytes *out, int32_t v)
{
    pk_bytes_put_be32(out, 4);
    pk_bytes_put_be32(out, (uint32_t)v);
}

void copy_int8(struct pk_bytes *out, int64_t v)
{
    pk_bytes_put_be32(out, 8);
    pk_bytes_put_be64(out, (uint64_t)v);
}

void copy_bytea(struct pk_bytes *out, const void *data, size_t len)
{
    pk_bytes_put_be32(out, (uint32_t)len);
    pk_bytes_put(out, data, len);
}

void copy_null(struct pk_bytes *out)
{
    pk_bytes_put_be32(out, UINT32_MAX);
}

void copy_inet(struct pk_bytes *out, const struct pk_addr *addr, int prefix_len, bool is_cidr)
{
    size_t len = pk_addr_len(addr);
    if (len == 0) {
        copy_null(out);
        return;
    }
    pk_bytes_put_be32(out, (uint32_t)(4 + len));
    pk_bytes_put_u8(out, addr->family == 4 ? PG_AF_INET : PG_AF_INET6);
    pk_bytes_put_u8(out, (uint8_t)prefix_len);
    pk_bytes_put_u8(out, is_cidr);
    pk_bytes_put_u8(out, (uint8_t)len);
    pk_bytes_put(out, addr->bytes, len);
}

void copy_day(struct pk_bytes *out, int32_t days)
{
    copy_int4(out, days - PG_EPOCH_DAYS);
}

pk_err copy_end(struct pk_store *store, const char *doing, const char *sql)
{
    PGresult *result;
    pk_bytes_put_be16(&store->copy, UINT16_MAX);
    if (store->copy.err != PK_OK) {
        return pg_fail(store, store->copy.err, "a batch takes too much memory");
    }
    pk_err err = pg_query(store, doing, sql, NULL, false, &result);
    PQclear(result);
    if (err != PK_OK) {
        return err;
    }
    size_t at = 0;
    bool is_sent = true;
    while (is_sent && at < store->copy.len) {
        size_t n = store->copy.len - at > (1 << 20) ? 1 << 20 : store->copy.len - at;
        is_sent = PQputCopyData(store->conn, (const char *)store->copy.data + at, (int)n) == 1;
        at += n;
    }
    if (!is_sent || PQputCopyEnd(store->conn, NULL) != 1) {
        keep_error(store, doing, NULL, PQerrorMessage(store->conn));
        return PK_ERR_IO;
    }
    while ((result = PQgetResult(store->conn))) {
        if (err == PK_OK && PQresultStatus(result) != PGRES_COMMAND_OK) {
            err = classify(result, store->conn);
            keep_error(store, doing, PQresultErrorField(result, PG_DIAG_SQLSTATE),
                PQresultErrorMessage(result));
        }
        PQclear(result);
    }
    return err;
}

/* --- binary results --- */

int64_t get_int(const PGresult *result, int row, int column)
{
    int len = PQgetlength(result, row, column);
    const uint8_t *p = (const uint8_t *)PQgetvalue(result, row, column);
    int64_t v = len > 0 && p[0] & 0x80 ? -1 : 0;
    for (int i = 0; i < len && i < 8; i++) {
        v = (int64_t)((uint64_t)v << 8 | p[i]);
    }
    return v;
}

struct pk_slice get_bytes(const PGresult *result, int row, int column)
{
    return (struct pk_slice){.data = (const uint8_t *)PQgetvalue(result, row, column),
        .len = (uint32_t)PQgetlength(result, row, column)};
}

void get_text(const PGresult *result, int row, int column, char *out, size_t size)
{
    struct pk_slice text = get_bytes(result, row, column);
    size_t n = text.len < size - 1 ? text.len : size - 1;
    memcpy(out, text.data, n);
    out[n] = '\0';
}

void pg_plain(const char *text, char *out, size_t size)
{
    size_t n = 0;
    for (; text[n] && n + 1 < size; n++) {
        out[n] = (char)(text[n] >= ' ' && text[n] <= '~' ? text[n] : '?');
    }
    out[n] = '\0';
}

/* 20 bytes of head, then length and value each. */
void get_bigints(const PGresult *result, int row, int column, uint64_t *out, size_t n)
{
    struct pk_slice array = get_bytes(result, row, column);
    for (size_t i = 0; i < n && 20 + (i + 1) * 12 <= array.len; i++) {
        const uint8_t *p = array.data + 20 + i * 12 + 4;
        out[i] = 0;
        for (size_t k = 0; k < 8; k++) {
            out[i] = out[i] << 8 | p[k];
        }
    }
}

bool get_addr(
    const PGresult *result, int row, int column, struct pk_addr *out_addr, uint8_t *out_prefix_len)
{
    memset(out_addr, 0, sizeof *out_addr);
    int len = PQgetlength(result, row, column);
    const uint8_t *p = (const uint8_t *)PQgetvalue(result, row, column);
    if (PQgetisnull(result, row, column) || len < 8 || (p[3] != 4 && p[3] != 16) ||
        len < 4 + p[3]) {
        return false;
    }
    out_addr->family = p[3] == 4 ? 4 : 6;
    memcpy(out_addr->bytes, p + 4, p[3]);
    if (out_prefix_len) {
        *out_prefix_len = p[1];
    }
    return true;
}

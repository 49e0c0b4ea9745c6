/* What the pg_*.c files share: the connection, statements, binary COPY. Private to aggregator/store. */
#ifndef STORE_PG_INTERNAL_H
#define STORE_PG_INTERNAL_H

#include <libpq-fe.h>

#include "picket/bytes.h"

#include "store.h"

enum {
    STORE_ERROR_SIZE = 512,
    MAX_DAYS = 64,
    MAX_PARAMS = 16
};

struct pg_days {
    int32_t v[MAX_DAYS]; /* days since 1970, each once */
    size_t n;
};

struct pk_store {
    PGconn *conn;
    char *conninfo, *role, *application;
    char error[STORE_ERROR_SIZE], state[6]; /* of what failed last; its SQLSTATE, or empty */
    bool has_temp_tables, is_listening, is_application_fixed, is_hasty;
    struct pg_days days;   /* whose partitions are known to exist */
    int32_t looked_day[2]; /* retention's last look at a negative, an activity partition */
    struct pk_bytes copy;  /* rows on their way */
};

/* pg_migrate.c: the newest migration that programs must know of, and the newest of all. */
struct pg_schema {
    int64_t needed, present;
};
pk_err pg_read_schema(struct pk_store *store, struct pg_schema *out_schema);

/* Parameters of a statement as text or binary; built on the stack. */
struct params {
    int n;
    const char *values[MAX_PARAMS];
    int lengths[MAX_PARAMS], formats[MAX_PARAMS];
    char texts[MAX_PARAMS][24];
};
void param_int(struct params *params, int64_t v);
void param_text(struct params *params, const char *text); /* NULL: null */
void param_bytes(struct params *params, const void *data, size_t len);

/* Runs one statement. Rows come in binary when wants_binary. The result is the caller's to PQclear, NULL with an error. */
pk_err pg_query(struct pk_store *store, const char *doing, const char *sql,
    const struct params *params, bool wants_binary, PGresult **out_result);
/* The same without rows. */
pk_err pg_exec(
    struct pk_store *store, const char *doing, const char *sql, const struct params *params);
pk_err pg_begin(struct pk_store *store);
/* The one statement that is formatted: an integer we print (design, decision 8). */
pk_err pg_set_tenant(struct pk_store *store, struct pk_tenant_id tenant);
/* A transaction of a role under row-level security; no tenant is refused. */
pk_err pg_begin_for(struct pk_store *store, struct pk_tenant_id tenant);
/* First in a transaction that writes for a tenant: holds its home to the end of it. PK_ERR_CONFLICT: it is not of this generation (pg_home.c). */
pk_err pg_hold_home(struct pk_store *store, struct pk_tenant_id tenant, uint64_t generation);
/* Adds what is committed to the ledger of its sensors and hours (pg_ledger.c). */
pk_err pg_write_ledger(struct pk_store *store, const struct pk_store_batch *batches, size_t n,
    const enum pk_store_commit *results);
/* Commits when err is PK_OK, else rolls back; returns err, or what the commit said. */
pk_err pg_end(struct pk_store *store, pk_err err);
pk_err pg_fail(struct pk_store *store, pk_err err, const char *text);

/* An aggregator takes nobody for silent that may only not have found it yet, after its start or an outage. */
#define PG_STALE_GRACE_S "600"

/* Somebody may come by a token k: a newcomer while a use is left, and those of a fleet, who need none, as long as there is one of them. */
#define PG_TOKEN_IS_OPEN \
    "(k.uses_left > 0 or (k.is_fleet and exists (select from sensor fs where fs.tenant_id = k.tenant_id and fs.fleet_token = k.token_id and fs.is_active)))"
/* How long after a token's last use the port stays: for the answer to get out over a slow line (it carries the scope, up to 512 KiB), and for who heard none
 * in his 20 s and asks again. */
#define PG_ANSWER_US "60000000"

/* pg_control.c: for whoever changes what the aggregator must hear of; within a transaction. */
pk_err pg_raise_version(struct pk_store *store);
pk_err pg_find_site(struct pk_store *store, const char *tenant, const char *site,
    int64_t *out_tenant, int64_t *out_site);

/* COPY ... FROM STDIN (FORMAT binary): begin, rows into store->copy, end. */
void copy_begin(struct pk_store *store);
void copy_row(struct pk_bytes *out, uint16_t n_fields);
void copy_int2(struct pk_bytes *out, int16_t v);
void copy_int4(struct pk_bytes *out, int32_t v);
void copy_int8(struct pk_bytes *out, int64_t v);
void copy_bytea(struct pk_bytes *out, const void *data, size_t len);
void copy_null(struct pk_bytes *out);
void copy_inet(struct pk_bytes *out, const struct pk_addr *addr, int prefix_len,
    bool is_cidr); /* family 0: null */
void copy_day(struct pk_bytes *out, int32_t days);
pk_err copy_end(struct pk_store *store, const char *doing, const char *sql);

/* Bounds of alarms (docs/OPERATIONS.md), as SQL has them. */
#define PG_SKEW_US      "30000000"  /* a clock that is off by more is skewed */
#define PG_SKEW_FOR_US  "120000000" /* for so long */
#define PG_CLONE_FOR_US "300000000" /* a key is cloned until so long after the last turn */

/* Fields of binary results. */
int64_t get_int(const PGresult *result, int row, int column); /* int2, int4, int8 */
struct pk_slice get_bytes(const PGresult *result, int row, int column);
bool get_addr(const PGresult *result, int row, int column, struct pk_addr *out_addr,
    uint8_t *out_prefix_len); /* false: null */

/* A bigint[] as it comes in binary; values that are not there stay as they are. */
void get_bigints(const PGresult *result, int row, int column, uint64_t *out, size_t n);
/* A text, cut to size - 1 and ended with a zero; null: empty. */
void get_text(const PGresult *result, int row, int column, char *out, size_t size);

/* What a sensor says of itself, as any database takes it, whatever its encoding: what is no printable ASCII becomes a question mark. Cut to size. */
void pg_plain(const char *text, char *out, size_t size);

int64_t now_us(void);

#endif

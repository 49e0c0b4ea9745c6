/* Forward-only migrations under an advisory lock: several aggregators may start at once, one migrates, the others wait and find it done.
 *
 * schema_version holds the migrations that programs must know of; schema_expansion those that only add what older programs do not see: those go on, and start, on what a newer
 * one has expanded, so that a release can be rolled out and back one aggregator after the other. */
#include <stdio.h>

#include "pg_internal.h"
#include "pg_migrations.h"

unsigned pk_store_schema_version(void)
{
    return pk_n_migrations;
}

static pk_err newest(struct pk_store *store, const char *has_table, const char *max, int64_t *out)
{
    PGresult *result;
    pk_err err = pg_query(store, "read schema version", has_table, NULL, true, &result);
    bool is_there = err == PK_OK && get_int(result, 0, 0) != 0;
    PQclear(result);
    *out = 0;
    if (is_there) {
        err = pg_query(store, "read schema version", max, NULL, true, &result);
        *out = err == PK_OK ? get_int(result, 0, 0) : 0;
        PQclear(result);
    }
    return err;
}

pk_err pg_read_schema(struct pk_store *store, struct pg_schema *out_schema)
{
    pk_err err = newest(store, "select (to_regclass('schema_version') is not null)::int",
        "select coalesce(max(version), 0) from schema_version", &out_schema->needed);
    if (err == PK_OK) {
        err = newest(store, "select (to_regclass('schema_expansion') is not null)::int",
            "select coalesce(max(version), 0) from schema_expansion", &out_schema->present);
    }
    if (out_schema->present < out_schema->needed) {
        out_schema->present = out_schema->needed;
    }
    return err;
}

static pk_err make_tables(struct pk_store *store)
{
    pk_err err = pg_exec(store, "make schema_version",
        "create table if not exists schema_version (version integer primary key, name text not null, applied_at timestamptz not null default now())",
        NULL);
    return err != PK_OK
               ? err
               : pg_exec(store, "make schema_expansion",
                     "create table if not exists schema_expansion (version integer primary key, name text not null, applied_at timestamptz not null default now())",
                     NULL);
}

/* A migration holds many statements: the simple protocol takes them as one implicit block inside our transaction. */
static pk_err run_script(struct pk_store *store, const struct pk_migration *migration)
{
    PGresult *result = PQexec(store->conn, migration->sql);
    ExecStatusType status = PQresultStatus(result);
    pk_err err = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK ? PK_OK : PK_ERR_IO;
    if (err != PK_OK) {
        snprintf(store->error, sizeof store->error, "migration %s: %s", migration->name,
            PQresultErrorMessage(result));
    }
    PQclear(result);
    return err;
}

static pk_err apply(struct pk_store *store, unsigned version)
{
    const struct pk_migration *migration = &pk_migrations[version - 1];
    struct params params = {0};
    pk_err err = pg_begin(store);
    if (err != PK_OK) {
        return err;
    }
    err = run_script(store, migration);
    if (err == PK_OK) {
        param_int(&params, version);
        param_text(&params, migration->name);
        err = pg_exec(store, "note migration",
            migration->only_expands
                ? "insert into schema_expansion (version, name) values ($1::int, $2)"
                : "insert into schema_version (version, name) values ($1::int, $2)",
            &params);
    }
    return pg_end(store, err);
}

pk_err pk_store_migrate(struct pk_store *store,
    void (*progress)(void *arg, unsigned version, const char *name), void *arg)
{
    struct pg_schema schema = {0};
    pk_err err = pg_exec(store, "lock", "select pg_advisory_lock(7353, 0)", NULL);
    if (err == PK_OK) {
        err = make_tables(store);
    }
    if (err == PK_OK) {
        err = pg_read_schema(store, &schema);
    }
    if (err == PK_OK && schema.needed > (int64_t)pk_n_migrations) {
        err = pg_fail(store, PK_ERR_VERSION,
            "the database's schema is newer than this program; use a newer one");
    }
    for (unsigned next = (unsigned)schema.present + 1; err == PK_OK && next <= pk_n_migrations;
         next++) {
        if (progress) {
            progress(arg, next, pk_migrations[next - 1].name);
        }
        err = apply(store, next);
    }
    if (store->conn) {
        char kept[STORE_ERROR_SIZE];
        snprintf(kept, sizeof kept, "%s", store->error);
        (void)pg_exec(store, "unlock", "select pg_advisory_unlock(7353, 0)",
            NULL); /* the session's end would do it too */
        snprintf(store->error, sizeof store->error, "%s", kept);
    }
    return err;
}

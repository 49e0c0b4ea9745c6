/* Forward-only migrations under an advisory lock: several aggregators may start at once, one migrates, the others wait and find it done. */
#include <stdio.h>

#include "pg_internal.h"
#include "pg_migrations.h"

unsigned pk_store_schema_version(void)
{
    return pk_n_migrations;
}

static pk_err present_version(struct pk_store *store, int64_t *out_version)
{
    PGresult *result;
    pk_err err = pg_exec(store, "make schema_version",
        "create table if not exists schema_version (version integer primary key, name text not null, applied_at timestamptz not null default now())",
        NULL);
    if (err == PK_OK) {
        err = pg_query(store, "read schema_version",
            "select coalesce(max(version), 0) from schema_version", NULL, true, &result);
        if (err == PK_OK) {
            *out_version = get_int(result, 0, 0);
        }
        PQclear(result);
    }
    return err;
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
            "insert into schema_version (version, name) values ($1::int, $2)", &params);
    }
    return pg_end(store, err);
}

pk_err pk_store_migrate(struct pk_store *store,
    void (*progress)(void *arg, unsigned version, const char *name), void *arg)
{
    int64_t version = 0;
    pk_err err = pg_exec(store, "lock", "select pg_advisory_lock(7353, 0)", NULL);
    if (err == PK_OK) {
        err = present_version(store, &version);
    }
    if (err == PK_OK && version > (int64_t)pk_n_migrations) {
        err = pg_fail(store, PK_ERR_VERSION,
            "the database's schema is newer than this program; use a newer one");
    }
    for (unsigned next = (unsigned)version + 1; err == PK_OK && next <= pk_n_migrations; next++) {
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

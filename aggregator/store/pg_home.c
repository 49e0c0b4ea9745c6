/* Homes: leases on tenants.
 *
 * Correctness rests on one rule. A transaction that writes for a tenant begins by locking the home's row FOR KEY SHARE and comparing its generation; a take-over locks it
 * FOR UPDATE, which waits for such transactions and makes later ones see the new generation. Renewing changes no key, so it waits for neither, however long a commit lasts.
 * Times only decide when a take-over may be tried, never whether a write is good: a holder may sleep for an hour at any point. */
#include <stdlib.h>
#include <string.h>

#include "pg_internal.h"

/* The database's clock, in one place. What would last longer than twice a lease (homes.h) was written before that clock went back, and binds nobody: if its writer lives, it
 * renews within a second; if not, nobody waits for the clock to come to where it was. */
#define NOW              "(extract(epoch from clock_timestamp()) * 1000000)::bigint"
#define IS_LIVE(expires) "(" expires " > " NOW " and " expires " <= " NOW " + 10000000)"

pk_err pg_hold_home(struct pk_store *store, struct pk_tenant_id tenant, uint64_t generation)
{
    PGresult *result;
    struct params params = {0};
    param_int(&params, tenant.v);
    pk_err err = pg_query(store, "hold the home",
        "select generation from home where tenant_id = $1::int for key share", &params, true,
        &result);
    if (err == PK_OK && (PQntuples(result) != 1 || (uint64_t)get_int(result, 0, 0) != generation)) {
        err = pg_fail(store, PK_ERR_CONFLICT, "another aggregator is this tenant's home now");
    }
    PQclear(result);
    return err;
}

/* --- reading --- */

static void copy_text(const PGresult *result, int row, int column, char *out, size_t size)
{
    struct pk_slice text = get_bytes(result, row, column);
    size_t n = text.len < size - 1 ? text.len : size - 1;
    memcpy(out, text.data, n);
    out[n] = '\0';
}

static pk_err read_nodes(struct pk_store *store, struct pk_store_homes *homes)
{
    PGresult *result;
    pk_err err = pg_query(store, "read aggregators",
        "select name, instance, endpoint, server_key, prefers from aggregator_node where " IS_LIVE(
            "expires_us") " order by name collate \"C\"",
        NULL, true, &result);
    size_t n = err == PK_OK ? (size_t)PQntuples(result) : 0;
    homes->nodes = calloc(n + 1, sizeof *homes->nodes);
    if (err == PK_OK && !homes->nodes) {
        err = PK_ERR_NOMEM;
    }
    for (size_t i = 0; err == PK_OK && i < n; i++) {
        struct pk_store_node *node = &homes->nodes[homes->n_nodes++];
        struct pk_slice key = get_bytes(result, (int)i, 3);
        copy_text(result, (int)i, 0, node->name, sizeof node->name);
        copy_text(result, (int)i, 1, node->instance, sizeof node->instance);
        copy_text(result, (int)i, 2, node->endpoint.address, sizeof node->endpoint.address);
        memcpy(node->endpoint.server_pubkey, key.data,
            key.len < PK_KEY_BYTES ? key.len : PK_KEY_BYTES);
        copy_text(result, (int)i, 4, node->prefers, sizeof node->prefers);
    }
    PQclear(result);
    return err;
}

/* Eight seconds after its start nobody can have renewed what the tables tell of: longer than a lease lasts. */
static pk_err read_leases(struct pk_store *store, struct pk_store_homes *homes)
{
    PGresult *result;
    pk_err err = pg_query(store, "read homes",
        "select t.tenant_id, t.name, coalesce(h.holder, ''), coalesce(h.instance, ''), coalesce(h.pinned, ''), coalesce(h.generation, 0),"
        " coalesce(" IS_LIVE(
            "h.expires_us") ", false)::int,"
                            " (clock_timestamp() - pg_postmaster_start_time() between interval '0' and interval '8 s')::int"
                            " from tenant t left join home h using (tenant_id) order by t.tenant_id",
        NULL, true, &result);
    size_t n = err == PK_OK ? (size_t)PQntuples(result) : 0;
    homes->homes = calloc(n + 1, sizeof *homes->homes);
    if (err == PK_OK && !homes->homes) {
        err = PK_ERR_NOMEM;
    }
    for (size_t i = 0; err == PK_OK && i < n; i++) {
        struct pk_store_home *home = &homes->homes[homes->n_homes++];
        home->tenant.v = (uint32_t)get_int(result, (int)i, 0);
        copy_text(result, (int)i, 1, home->tenant_name, sizeof home->tenant_name);
        copy_text(result, (int)i, 2, home->holder, sizeof home->holder);
        copy_text(result, (int)i, 3, home->instance, sizeof home->instance);
        copy_text(result, (int)i, 4, home->pinned, sizeof home->pinned);
        home->generation = (uint64_t)get_int(result, (int)i, 5);
        home->is_live = get_int(result, (int)i, 6) != 0;
        homes->is_young = get_int(result, (int)i, 7) != 0;
    }
    PQclear(result);
    return err;
}

pk_err pk_store_read_homes(struct pk_store *store, struct pk_store_homes *out_homes)
{
    *out_homes = (struct pk_store_homes){0};
    pk_err err = read_nodes(store, out_homes);
    if (err == PK_OK) {
        err = read_leases(store, out_homes);
    }
    if (err != PK_OK) {
        pk_store_homes_done(out_homes);
    }
    return err;
}

void pk_store_homes_done(struct pk_store_homes *homes)
{
    free(homes->nodes);
    free(homes->homes);
    *homes = (struct pk_store_homes){0};
}

/* --- being there --- */

/* One statement, a transaction of its own: over a slow link several would last longer than a lease, and what they say would be seen late. */
static pk_err put_node(
    struct pk_store *store, const struct pk_store_node *self, uint32_t lease_ms, bool claims_name)
{
    PGresult *result;
    struct params params = {0};
    param_text(&params, self->name);
    param_text(&params, self->instance);
    param_text(&params, self->endpoint.address);
    param_bytes(&params, self->endpoint.server_pubkey, PK_KEY_BYTES);
    param_text(&params, self->prefers);
    param_int(&params, (int64_t)lease_ms * 1000);
    param_int(&params, claims_name);
    pk_err err = pg_query(store, "say that we are here",
        "with put as (insert into aggregator_node as a (name, instance, endpoint, server_key, prefers, expires_us) values ($1, $2, $3, $4, $5, " NOW
        " + $6::bigint)"
        " on conflict (name) do update set instance = excluded.instance, endpoint = excluded.endpoint, server_key = excluded.server_key,"
        " prefers = excluded.prefers, expires_us = excluded.expires_us"
        " where a.instance = excluded.instance or not " IS_LIVE(
            "a.expires_us") " or $7::int = 1 returning 1),"
                            " renewed as (update home set expires_us = " NOW
                            " + $6::bigint where instance = $2 and exists (select from put)),"
                            " made as (insert into home (tenant_id) select tenant_id from tenant t"
                            " where not exists (select from home h where h.tenant_id = t.tenant_id) on conflict do nothing)"
                            " select 1 from put",
        &params, true, &result);
    if (err == PK_OK && PQntuples(result) != 1) {
        err = pg_fail(store, PK_ERR_CONFLICT,
            "another aggregator goes by the same name; give each its own `name`");
    }
    PQclear(result);
    return err;
}

pk_err pk_store_renew_homes(struct pk_store *store, const struct pk_store_node *self,
    uint32_t lease_ms, bool claims_name, struct pk_store_homes *out_homes)
{
    *out_homes = (struct pk_store_homes){0};
    pk_err err = put_node(store, self, lease_ms, claims_name);
    return err == PK_OK ? pk_store_read_homes(store, out_homes) : err;
}

pk_err pk_store_leave(struct pk_store *store, const struct pk_store_node *self)
{
    struct params params = {0};
    param_text(&params, self->name);
    param_text(&params, self->instance);
    return pg_exec(
        store, "leave", "delete from aggregator_node where name = $1 and instance = $2", &params);
}

/* --- changing hands --- */

/* Without the right to do so the take-over waits for those connections instead, as long as the server keeps them. */
static void end_connections(struct pk_store *store, const char *instance)
{
    struct params params = {0};
    PGresult *result;
    param_text(&params, instance);
    (void)pg_query(store, "end connections of the former home",
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        " and application_name = 'picket-aggregator/' || $1",
        &params, false, &result);
    PQclear(result);
}

pk_err pk_store_take_home(struct pk_store *store, const struct pk_store_node *self,
    uint32_t lease_ms, const struct pk_store_home *home, uint64_t *out_generation)
{
    PGresult *result = NULL;
    if (home->instance[0] && strcmp(home->instance, self->instance) != 0) {
        end_connections(store, home->instance);
    }
    pk_err err = pg_begin(store);
    if (err != PK_OK) {
        return err;
    }
    struct params key = {0}, params = {0};
    param_int(&key, home->tenant.v);
    param_int(&key, (int64_t)home->generation);
    param_text(&key, self->name);
    err = pg_query(store, "lock home",
        "select generation from home where tenant_id = $1::int and generation = $2::bigint and (not " IS_LIVE(
            "expires_us") " or holder = $3) for update",
        &key, true, &result);
    if (err == PK_OK && PQntuples(result) != 1) {
        err = pg_fail(store, PK_ERR_CONFLICT, "the home was taken meanwhile");
    }
    PQclear(result);
    param_int(&params, home->tenant.v);
    param_text(&params, self->name);
    param_text(&params, self->instance);
    param_int(&params, (int64_t)home->generation + 1);
    param_int(&params, (int64_t)lease_ms * 1000);
    if (err == PK_OK) {
        err = pg_exec(store, "take home",
            "update home set holder = $2, instance = $3, generation = $4::bigint, expires_us = " NOW
            " + $5::bigint where tenant_id = $1::int",
            &params);
    }
    *out_generation = home->generation + 1;
    return pg_end(store, err);
}

pk_err pk_store_release_home(
    struct pk_store *store, struct pk_tenant_id tenant, uint64_t generation)
{
    struct params params = {0};
    param_int(&params, tenant.v);
    param_int(&params, (int64_t)generation);
    return pg_exec(store, "release home",
        "update home set holder = '', instance = '', expires_us = 0 where tenant_id = $1::int and generation = $2::bigint",
        &params);
}

pk_err pk_store_pin_home(struct pk_store *store, struct pk_tenant_id tenant, const char *name)
{
    PGresult *result;
    struct params params = {0};
    param_int(&params, tenant.v);
    param_text(&params, name);
    pk_err err = pg_query(store, "pin home",
        "update home set pinned = $2 where tenant_id = $1::int"
        " and ($2 = '' or exists (select from aggregator_node where name = $2 and " IS_LIVE(
            "expires_us") ")) returning 1",
        &params, true, &result);
    if (err == PK_OK && PQntuples(result) != 1) {
        err = pg_fail(store, PK_ERR_CONFIG, "there is no such aggregator now");
    }
    PQclear(result);
    return err;
}

/* Tenants, sites, sensors, keys and the scope. Every change raises control_version and notifies, in the same transaction. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pg_internal.h"

static pk_err raise_version(struct pk_store *store, int64_t *out_version)
{
    PGresult *result;
    pk_err err = pg_query(store, "raise control version",
        "update control_version set version = version + 1 where id = 1 returning version", NULL,
        true, &result);
    if (err == PK_OK && out_version) {
        *out_version = get_int(result, 0, 0);
    }
    PQclear(result);
    return err == PK_OK ? pg_exec(store, "notify", "notify picket_control", NULL) : err;
}

pk_err pg_raise_version(struct pk_store *store)
{
    return raise_version(store, NULL);
}

static pk_err put_tenant(struct pk_store *store, const char *name, int64_t *out_id)
{
    PGresult *result;
    struct params params = {0};
    param_text(&params, name);
    pk_err err = pg_query(store, "write tenant",
        "insert into tenant (name) values ($1) on conflict (name) do update set is_retired = false returning tenant_id",
        &params, true, &result);
    if (err == PK_OK) {
        *out_id = get_int(result, 0, 0);
    }
    PQclear(result);
    return err;
}

static pk_err put_site(struct pk_store *store, int64_t tenant, const char *name)
{
    struct params params = {0};
    param_int(&params, tenant);
    param_text(&params, name);
    return pg_exec(store, "write site",
        "insert into site (tenant_id, site_id, name) values ($1::int, nextval('site_id_seq'), $2)"
        " on conflict (tenant_id, name) do update set is_retired = false",
        &params);
}

static pk_err put_scope(struct pk_store *store, const struct pk_scope *scope)
{
    pk_err err = pg_exec(
        store, "retire tenants", "update tenant set is_retired = true where not is_retired", NULL);
    if (err == PK_OK) {
        err = pg_exec(
            store, "retire sites", "update site set is_retired = true where not is_retired", NULL);
    }
    for (size_t t = 0; t < scope->n_tenants && err == PK_OK; t++) {
        int64_t tenant = 0;
        err = put_tenant(store, scope->tenants[t].name, &tenant);
        for (size_t s = 0; s < scope->tenants[t].n_sites && err == PK_OK; s++) {
            err = put_site(store, tenant, scope->tenants[t].sites[s].name);
        }
    }
    return err;
}

pk_err pk_store_apply_scope(struct pk_store *store, const struct pk_scope *scope,
    const char *scope_text, uint32_t *out_version)
{
    int64_t version = 0, now = now_us();
    pk_err err = pg_begin(store);
    if (err != PK_OK) {
        return err;
    }
    err = raise_version(store, &version); /* first: its row lock puts several appliers in order */
    if (err == PK_OK) {
        err = put_scope(store, scope);
    }
    if (err == PK_OK) {
        struct params params = {0};
        param_int(&params, now);
        err = pg_exec(store, "end old scope",
            "update scope_version set to_us = $1::bigint where to_us = 9223372036854775807",
            &params);
    }
    if (err == PK_OK) {
        struct params params = {0};
        param_int(&params, version);
        param_int(&params, now);
        param_text(&params, scope_text);
        err = pg_exec(store, "write scope",
            "insert into scope_version (version, from_us, scope) values ($1::bigint, $2::bigint, $3)",
            &params);
    }
    err = pg_end(store, err);
    if (err == PK_OK) {
        *out_version = (uint32_t)version;
    }
    return err;
}

pk_err pg_find_site(struct pk_store *store, const char *tenant, const char *site,
    int64_t *out_tenant, int64_t *out_site)
{
    PGresult *result;
    struct params params = {0};
    param_text(&params, tenant);
    param_text(&params, site);
    pk_err err = pg_query(store, "find site",
        "select s.tenant_id, s.site_id from site s join tenant t using (tenant_id) where t.name = $1 and s.name = $2 and not s.is_retired",
        &params, true, &result);
    if (err == PK_OK && PQntuples(result) == 1) {
        *out_tenant = get_int(result, 0, 0);
        *out_site = get_int(result, 0, 1);
    } else if (err == PK_OK) {
        snprintf(store->error, sizeof store->error,
            "there is no site %s/%s; apply a scope that has it first", tenant, site);
        err = PK_ERR_CONFIG;
    }
    PQclear(result);
    return err;
}

static pk_err insert_sensor(struct pk_store *store, int64_t tenant, int64_t site, const char *name,
    const uint8_t *pubkey, int64_t *out_sensor)
{
    PGresult *result;
    struct params params = {0};
    int64_t now = now_us();
    param_int(&params, tenant);
    param_text(&params, name);
    param_int(&params, now);
    pk_err err = pg_query(store, "add sensor",
        "insert into sensor (tenant_id, sensor_id, name, added_us) values ($1::int, nextval('sensor_id_seq'), $2, $3::bigint) returning sensor_id",
        &params, true, &result);
    if (err == PK_OK) {
        *out_sensor = get_int(result, 0, 0);
    }
    PQclear(result);
    if (err == PK_OK) {
        struct params key = {0};
        param_bytes(&key, pubkey, PK_KEY_BYTES);
        param_int(&key, tenant);
        param_int(&key, *out_sensor);
        param_int(&key, now);
        err = pg_exec(store, "add key",
            "insert into sensor_key (pubkey, tenant_id, sensor_id, added_us) values ($1, $2::int, $3::int, $4::bigint)",
            &key);
    }
    if (err == PK_OK) {
        struct params place = {0};
        param_int(&place, tenant);
        param_int(&place, *out_sensor);
        param_int(&place, site);
        param_int(&place, now);
        err = pg_exec(store, "assign sensor",
            "insert into site_assignment (tenant_id, sensor_id, site_id, from_us) values ($1::int, $2::int, $3::int, $4::bigint)",
            &place);
    }
    return err;
}

pk_err pk_store_add_sensor(struct pk_store *store, const char *tenant, const char *site,
    const char *name, const uint8_t pubkey[PK_KEY_BYTES], struct pk_sensor_id *out_sensor)
{
    int64_t tenant_id = 0, site_id = 0, sensor_id = 0;
    pk_err err = pg_begin(store);
    if (err != PK_OK) {
        return err;
    }
    err = pg_find_site(store, tenant, site, &tenant_id, &site_id);
    if (err == PK_OK) {
        err = insert_sensor(store, tenant_id, site_id, name, pubkey, &sensor_id);
        if (err == PK_ERR_MALFORMED) { /* a unique key said no */
            err = pg_fail(
                store, PK_ERR_CONFLICT, "this key, or a sensor of this name, is there already");
        }
    }
    if (err == PK_OK) {
        err = raise_version(store, NULL);
    }
    err = pg_end(store, err);
    if (err == PK_OK) {
        out_sensor->v = (uint32_t)sensor_id;
    }
    return err;
}

/* --- reading it back --- */

static void copy_text(const PGresult *result, int row, int column, char out[65])
{
    struct pk_slice text = get_bytes(result, row, column);
    size_t n = text.len < 64 ? text.len : 64;
    memcpy(out, text.data, n);
    out[n] = '\0';
}

static void *rows_for(const PGresult *result, size_t size, size_t *out_n)
{
    *out_n = (size_t)PQntuples(result);
    return calloc(*out_n + 1, size);
}

static pk_err load_tenants(struct pk_store *store, struct pk_store_registry *registry)
{
    PGresult *result;
    pk_err err = pg_query(store, "load tenants",
        "select tenant_id, name from tenant where not is_retired order by 1", NULL, true, &result);
    registry->tenants =
        err == PK_OK ? rows_for(result, sizeof *registry->tenants, &registry->n_tenants) : NULL;
    for (size_t i = 0; registry->tenants && i < registry->n_tenants; i++) {
        registry->tenants[i].tenant.v = (uint32_t)get_int(result, (int)i, 0);
        copy_text(result, (int)i, 1, registry->tenants[i].name);
    }
    PQclear(result);
    return err != PK_OK ? err : registry->tenants ? PK_OK : PK_ERR_NOMEM;
}

static pk_err load_sites(struct pk_store *store, struct pk_store_registry *registry)
{
    PGresult *result;
    pk_err err = pg_query(store, "load sites",
        "select tenant_id, site_id, name from site order by 1, 2", NULL, true, &result);
    registry->sites =
        err == PK_OK ? rows_for(result, sizeof *registry->sites, &registry->n_sites) : NULL;
    for (size_t i = 0; registry->sites && i < registry->n_sites; i++) {
        registry->sites[i].tenant.v = (uint32_t)get_int(result, (int)i, 0);
        registry->sites[i].site.v = (uint32_t)get_int(result, (int)i, 1);
        copy_text(result, (int)i, 2, registry->sites[i].name);
    }
    PQclear(result);
    return err != PK_OK ? err : registry->sites ? PK_OK : PK_ERR_NOMEM;
}

/* What does not parse (only another hand than ours could have written it) lets nobody in. */
static void read_allowed(const PGresult *result, int row, struct pk_store_sensor *sensor)
{
    char text[PK_STORE_MAX_ALLOWED * PK_PREFIX_TEXT_SIZE];
    struct pk_slice field = get_bytes(result, row, 6);
    size_t n = field.len < sizeof text - 1 ? field.len : sizeof text - 1;
    memcpy(text, field.data, n);
    text[n] = '\0';
    if (!pk_store_parse_prefixes(
            text, sensor->allowed_from, PK_STORE_MAX_ALLOWED, &sensor->n_allowed_from)) {
        sensor->is_active = false;
    }
}

static pk_err load_enrolment(struct pk_store *store, struct pk_store_registry *registry)
{
    PGresult *result;
    pk_err err = pg_query(store, "look for open tokens",
        "select coalesce(max(case when " PG_TOKEN_IS_OPEN
        " then k.until_us else least(k.used_us + " PG_ANSWER_US
        ", k.until_us) end), 0) from enrol_token k",
        NULL, true, &result);
    if (err == PK_OK) {
        registry->enrol_until_us = get_int(result, 0, 0);
    }
    PQclear(result);
    return err;
}

static pk_err load_sensors(struct pk_store *store, struct pk_store_registry *registry)
{
    PGresult *result;
    pk_err err = pg_query(store, "load sensors",
        "select k.tenant_id, k.sensor_id, k.pubkey, (k.is_active and s.is_active)::int, s.name, s.is_pending::int, s.allowed_from,"
        " (k.is_active and exists (select from sensor_key o where o.pubkey = k.replaces and o.is_active))::int"
        " from sensor_key k join sensor s on s.tenant_id = k.tenant_id and s.sensor_id = k.sensor_id order by 2",
        NULL, true, &result);
    registry->sensors =
        err == PK_OK ? rows_for(result, sizeof *registry->sensors, &registry->n_sensors) : NULL;
    for (size_t i = 0; registry->sensors && i < registry->n_sensors; i++) {
        struct pk_store_sensor *sensor = &registry->sensors[i];
        struct pk_slice key = get_bytes(result, (int)i, 2);
        sensor->tenant.v = (uint32_t)get_int(result, (int)i, 0);
        sensor->sensor.v = (uint32_t)get_int(result, (int)i, 1);
        memcpy(sensor->pubkey, key.data, key.len < PK_KEY_BYTES ? key.len : PK_KEY_BYTES);
        sensor->is_active = get_int(result, (int)i, 3) != 0;
        copy_text(result, (int)i, 4, sensor->name);
        sensor->is_pending = get_int(result, (int)i, 5) != 0;
        read_allowed(result, (int)i, sensor);
        sensor->is_successor = get_int(result, (int)i, 7) != 0;
    }
    PQclear(result);
    return err != PK_OK ? err : registry->sensors ? PK_OK : PK_ERR_NOMEM;
}

static pk_err load_assignments(struct pk_store *store, struct pk_store_registry *registry)
{
    PGresult *result;
    pk_err err = pg_query(store, "load assignments",
        "select tenant_id, sensor_id, site_id, from_us, to_us from site_assignment order by 2, 4",
        NULL, true, &result);
    registry->assignments =
        err == PK_OK ? rows_for(result, sizeof *registry->assignments, &registry->n_assignments)
                     : NULL;
    for (size_t i = 0; registry->assignments && i < registry->n_assignments; i++) {
        struct pk_store_assignment *assignment = &registry->assignments[i];
        assignment->tenant.v = (uint32_t)get_int(result, (int)i, 0);
        assignment->sensor.v = (uint32_t)get_int(result, (int)i, 1);
        assignment->site.v = (uint32_t)get_int(result, (int)i, 2);
        assignment->from_us = get_int(result, (int)i, 3);
        assignment->to_us = get_int(result, (int)i, 4);
    }
    PQclear(result);
    return err != PK_OK ? err : registry->assignments ? PK_OK : PK_ERR_NOMEM;
}

static pk_err load_scope(struct pk_store *store, struct pk_store_registry *registry)
{
    PGresult *result;
    pk_err err = pg_query(store, "load scope",
        "select scope, version from scope_version order by version desc limit 1", NULL, false,
        &result);
    if (err == PK_OK && PQntuples(result) == 1) {
        registry->scope_serial = strtoull(PQgetvalue(result, 0, 1), NULL, 10);
        registry->scope_text = strdup(PQgetvalue(result, 0, 0));
        err = registry->scope_text ? PK_OK : PK_ERR_NOMEM;
    }
    PQclear(result);
    return err;
}

static pk_err read_version(struct pk_store *store, uint64_t *out_version)
{
    PGresult *result;
    pk_err err = pg_query(store, "read control version",
        "select version from control_version where id = 1", NULL, true, &result);
    if (err == PK_OK) {
        *out_version = (uint64_t)get_int(result, 0, 0);
    }
    PQclear(result);
    return err;
}

pk_err pk_store_load_registry(struct pk_store *store, struct pk_store_registry *out_registry)
{
    struct pk_store_registry registry = {0};
    pk_err (*const loads[])(struct pk_store *, struct pk_store_registry *) = {
        load_tenants, load_sites, load_sensors, load_assignments, load_enrolment, load_scope};
    pk_err err = pg_exec(store, "begin", "begin isolation level repeatable read read only", NULL);
    if (err != PK_OK) {
        return err;
    }
    err = read_version(store, &registry.control_version);
    for (size_t i = 0; i < sizeof loads / sizeof *loads && err == PK_OK; i++) {
        err = loads[i](store, &registry);
    }
    err = pg_end(store, err);
    if (err != PK_OK) {
        pk_store_registry_done(&registry);
        return err;
    }
    *out_registry = registry;
    return PK_OK;
}

void pk_store_registry_done(struct pk_store_registry *registry)
{
    free(registry->tenants);
    free(registry->sites);
    free(registry->sensors);
    free(registry->assignments);
    free(registry->scope_text);
    *registry = (struct pk_store_registry){0};
}

pk_err pk_store_control_version(struct pk_store *store, uint64_t *out_version)
{
    if (!store->is_listening) {
        pk_err err = pg_exec(store, "listen", "listen picket_control", NULL);
        if (err != PK_OK) {
            return err;
        }
        store->is_listening = true;
    }
    pk_err err = read_version(store, out_version);
    for (PGnotify *note; store->conn && (note = PQnotifies(store->conn));) {
        PQfreemem(note); /* only that they came matters: they woke the poll */
    }
    return err;
}

/* --- API keys --- */

pk_err pk_store_check_api_key(
    struct pk_store *store, const uint8_t key_hash[32], struct pk_store_api_key *out_key)
{
    PGresult *result;
    struct params params = {0};
    param_bytes(&params, key_hash, 32);
    pk_err err = pg_query(store, "check API key",
        "select coalesce(tenant_id, 0), left(name, 64) from api_key where key_hash = $1", &params,
        true, &result);
    if (err == PK_OK) {
        *out_key = (struct pk_store_api_key){.is_known = PQntuples(result) == 1};
        if (out_key->is_known) {
            out_key->tenant.v = (uint32_t)get_int(result, 0, 0);
            out_key->is_admin = out_key->tenant.v == 0;
            struct pk_slice name = get_bytes(result, 0, 1);
            memcpy(out_key->name, name.data, name.len < 64 ? name.len : 64); /* zeroed above */
        }
    }
    PQclear(result);
    return err;
}

pk_err pk_store_add_api_key(struct pk_store *store, const char *name, struct pk_tenant_id tenant,
    const uint8_t key_hash[32])
{
    struct params params = {0};
    param_bytes(&params, key_hash, 32);
    param_text(&params, name);
    if (tenant.v == 0) {
        param_text(&params, NULL);
    } else {
        param_int(&params, tenant.v);
    }
    param_int(&params, now_us());
    return pg_exec(store, "add API key",
        "insert into api_key (key_hash, name, tenant_id, added_us) values ($1, $2, $3::int, $4::bigint)",
        &params);
}

pk_err pk_store_has_admin_key(struct pk_store *store, bool *out_has)
{
    PGresult *result;
    pk_err err = pg_query(store, "look for an admin key",
        "select count(*) from api_key where tenant_id is null", NULL, true, &result);
    if (err == PK_OK) {
        *out_has = get_int(result, 0, 0) > 0;
    }
    PQclear(result);
    return err;
}

pk_err pk_store_find_tenant(
    struct pk_store *store, const char *name, struct pk_tenant_id *out_tenant)
{
    PGresult *result;
    struct params params = {0};
    param_text(&params, name);
    pk_err err = pg_query(store, "find tenant", "select tenant_id from tenant where name = $1",
        &params, true, &result);
    if (err == PK_OK) {
        out_tenant->v = PQntuples(result) == 1 ? (uint32_t)get_int(result, 0, 0) : 0;
    }
    PQclear(result);
    return err;
}

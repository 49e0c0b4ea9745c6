/* GET /api/v1/canaries: D12's names as the scope in force has them, and who read them.
 *
 * A canary is made (picketctl canary make), planted by hand in the one place its channel names, and watched from the moment the scope that has it is applied; taken out of the
 * scope it is watched no more. So the list is the scope's, and what is known of each comes from the findings of D12: the sources that asked for it, the first of them first. */
#include <stdlib.h>
#include <string.h>

#include "picket/clock.h"
#include "picket/scope.h"

#include "handler.h"

enum {
    MAX_FINDINGS = 10000
};

/* NULL: the tenant is not in the scope. */
static const struct pk_scope_tenant *tenant_of(
    const struct context *c, const struct pk_store_registry *registry, const struct pk_scope *scope)
{
    for (size_t i = 0; i < registry->n_tenants; i++) {
        for (size_t k = 0; k < scope->n_tenants && registry->tenants[i].tenant.v == c->tenant.v;
             k++) {
            if (strcmp(scope->tenants[k].name, registry->tenants[i].name) == 0) {
                return &scope->tenants[k];
            }
        }
    }
    return NULL;
}

void scope_in_force_done(struct scope_in_force *in_force)
{
    pk_scope_free(in_force->scope);
    pk_store_registry_done(&in_force->registry);
}

const struct pk_scope_tenant *scope_of_tenant(struct context *c, struct scope_in_force *in_force)
{
    char error[PK_CONF_ERROR_SIZE];
    memset(in_force, 0, sizeof *in_force);
    pk_err err = pk_store_load_registry(c->routes->control, &in_force->registry);
    if (err != PK_OK) {
        refuse_store(c, c->routes->control, err);
        return NULL;
    }
    const char *text = in_force->registry.scope_text;
    if (text && pk_scope_parse("scope", text, strlen(text), &in_force->scope, error) != PK_OK) {
        in_force->scope = NULL;
    }
    const struct pk_scope_tenant *tenant =
        in_force->scope ? tenant_of(c, &in_force->registry, in_force->scope) : NULL;
    if (!tenant) {
        refuse(c->response, NOT_FOUND, "no scope in force names this tenant");
        scope_in_force_done(in_force);
    }
    return tenant;
}

/* A finding's zones are the canaries that were asked. */
static bool is_of(const json_t *finding, const struct pk_name *canary)
{
    size_t index;
    json_t *zone;
    json_array_foreach(json_object_get(finding, "zones"), index, zone)
    {
        struct pk_name name;
        const char *text = json_string_value(zone);
        if (text && pk_name_from_text(text, &name) == PK_OK && pk_name_equal(&name, canary)) {
            return true;
        }
    }
    return false;
}

static void copy(json_t *into, const char *key, const json_t *from, const char *member)
{
    json_t *value = json_object_get(from, member);
    (void)json_object_set(into, key, value ? value : json_null());
}

struct readers {
    const struct pk_scope_tenant *tenant;
    json_t *list; /* an object for each canary of the tenant, in its order */
};

/* The earlier reader stands in front. */
static void add_reader(json_t *list, json_t *reader)
{
    size_t at = 0;
    while (at < json_array_size(list) && strcmp(text_of(json_array_get(list, at), "first_seen"),
                                             text_of(reader, "first_seen")) <= 0) {
        at++;
    }
    (void)json_array_insert_new(list, at, reader);
}

static bool on_finding(void *arg, const struct pk_store_told_finding *row)
{
    struct readers *readers = arg;
    json_t *finding = json_loads(row->json, 0, NULL);
    bool is_canary = strcmp(text_of(finding, "detector"), "D12") == 0;
    for (size_t i = 0; is_canary && i < readers->tenant->n_canaries; i++) {
        if (is_of(finding, &readers->tenant->canaries[i].name)) {
            json_t *reader = json_object();
            copy(reader, "actor", json_object_get(finding, "actor"), "key");
            copy(reader, "finding", finding, "id");
            copy(reader, "severity", finding, "severity");
            copy(reader, "sites", finding, "sites");
            copy(reader, "first_seen", finding, "first_seen");
            copy(reader, "last_seen", finding, "last_seen");
            add_reader(json_object_get(json_array_get(readers->list, i), "readers"), reader);
        }
    }
    json_decref(finding);
    return true;
}

static json_t *describe(const struct pk_scope_canary *canary)
{
    char text[PK_NAME_TEXT_SIZE];
    json_t *object = json_object();
    (void)json_object_set_new(object, "name", json_string(pk_name_text(&canary->name, text)));
    (void)json_object_set_new(
        object, "channel", canary->channel ? json_string(canary->channel) : json_null());
    (void)json_object_set_new(object, "planted",
        canary->planted_us ? json_string(pk_time_text(canary->planted_us, text)) : json_null());
    (void)json_object_set_new(object, "readers", json_array());
    return object;
}

void handle_canaries(struct context *c)
{
    struct scope_in_force in_force;
    const struct pk_scope_tenant *tenant = scope_of_tenant(c, &in_force);
    if (!tenant) {
        return;
    }
    struct readers readers = {.tenant = tenant, .list = json_array()};
    for (size_t i = 0; i < tenant->n_canaries; i++) {
        (void)json_array_append_new(readers.list, describe(&tenant->canaries[i]));
    }
    struct pk_store_finding_query query = {.limit = MAX_FINDINGS};
    pk_err err =
        pk_store_query_findings(c->routes->reader, c->tenant, &query, on_finding, &readers);
    scope_in_force_done(&in_force);
    if (err == PK_OK) {
        reply_json(c->response, OK, readers.list);
    } else {
        json_decref(readers.list);
        refuse_store(c, c->routes->reader, err);
    }
}

/* GET /api/v1/exposure[/ZONE]: D14 over the history.
 *
 * Reads the zone's records page by page, then what is known of the targets of its CNAME, NS and MX, then transfers that succeeded (D1); the judgement is
 * detect/exposure.c. The scope in force says which zones are the tenant's and which are sensitive. */
#include "detect/exposure.h"

#include <stdlib.h>
#include <string.h>

#include "picket/clock.h"
#include "picket/rdata.h"
#include "picket/scope.h"

#include "handler.h"

enum {
    PAGE = 10000,
    MAX_PAGES = 20, /* 200,000 sets a zone */
    MAX_TARGETS = 500,
    MAX_TRANSFERS = 100,
    TYPE_NSEC = 47
};

struct walk {
    struct context *c;
    struct pk_exposure *exposure;
    size_t n; /* rows of the page, or targets so far */
    pk_err err;
};

static bool on_record(void *arg, const struct pk_store_rrset *rrset)
{
    struct walk *walk = arg;
    struct pk_exposure_record record = {.owner = rrset->owner,
        .type = rrset->type,
        .class = rrset->class,
        .is_authoritative = rrset->trust == PK_TRUST_AUTHORITATIVE,
        .rdata = rrset->rdata,
        .n_rdata = rrset->n_rdata,
        .first_us = rrset->first_us,
        .last_us = rrset->last_us};
    walk->n++;
    walk->err = pk_exposure_record(walk->exposure, &record);
    return walk->err == PK_OK;
}

static pk_err read_records(struct walk *walk, const struct pk_name *zone, uint16_t type)
{
    struct pk_store_rrset_query query = {.name = *zone,
        .is_wildcard_left = true,
        .type = type,
        .bailiwick = {.len = 1},
        .limit = PAGE};
    pk_err err = PK_OK;
    for (size_t page = 0; page < MAX_PAGES && err == PK_OK; page++) {
        walk->n = 0;
        query.offset = page * PAGE;
        err = pk_store_query_rrsets(
            walk->c->routes->reader, walk->c->tenant, &query, on_record, walk);
        err = err == PK_OK ? walk->err : err;
        if (walk->n < PAGE) {
            break;
        }
    }
    return err;
}

static void on_target(void *arg, const struct pk_name *name)
{
    struct walk *walk = arg;
    struct pk_store_rrset_query query = {.name = *name, .bailiwick = {.len = 1}, .limit = 10};
    int64_t absent_us = 0;
    if (walk->err != PK_OK || walk->n++ >= MAX_TARGETS) {
        return;
    }
    size_t n = walk->n;
    walk->err =
        pk_store_query_rrsets(walk->c->routes->reader, walk->c->tenant, &query, on_record, walk);
    walk->n = n;
    if (walk->err == PK_OK) {
        walk->err =
            pk_store_last_absent(walk->c->routes->reader, walk->c->tenant, name, &absent_us);
    }
    if (walk->err == PK_OK && absent_us > 0) {
        pk_exposure_absent(walk->exposure, name, absent_us);
    }
}

static bool on_transfer(void *arg, const struct pk_store_told_finding *row)
{
    struct walk *walk = arg;
    json_t *finding = json_loads(row->json, 0, NULL), *zone;
    size_t index;
    int64_t at_us = 0;
    if (strcmp(text_of(finding, "detector"), "D1") == 0 &&
        json_integer_value(json_object_get(json_object_get(finding, "counts"), "hits")) > 0) {
        (void)pk_time_parse(text_of(finding, "last_seen"), &at_us);
        json_array_foreach(json_object_get(finding, "zones"), index, zone)
        {
            struct pk_name name;
            const char *text = json_string_value(zone);
            if (text && pk_name_from_text(text, &name) == PK_OK) {
                walk->err = pk_exposure_transferred(
                    walk->exposure, &name, at_us, text_of(finding, "title"));
            }
        }
    }
    json_decref(finding);
    return walk->err == PK_OK;
}

static void on_item(void *arg, const struct pk_exposure_item *item)
{
    json_t *list = arg, *object = json_object();
    char text[PK_NAME_TEXT_SIZE];
    (void)json_object_set_new(object, "kind", json_string(pk_exposure_kind_str(item->kind)));
    (void)json_object_set_new(object, "severity", json_integer(item->severity));
    (void)json_object_set_new(object, "zone", json_string(pk_name_text(&item->zone, text)));
    (void)json_object_set_new(object, "name", json_string(pk_name_text(&item->name, text)));
    (void)json_object_set_new(
        object, "type", item->type ? json_string(pk_type_text(item->type, text)) : json_null());
    (void)json_object_set_new(object, "evidence", json_string(item->evidence));
    (void)json_object_set_new(object, "technique", json_string("T1590"));
    (void)json_object_set_new(
        object, "first_seen", json_string(pk_time_text(item->first_us, text)));
    (void)json_object_set_new(object, "last_seen", json_string(pk_time_text(item->last_us, text)));
    (void)json_array_append_new(list, object);
}

static pk_err read_all(
    struct walk *walk, const struct pk_scope_tenant *tenant, const struct pk_name *zone)
{
    struct pk_store_finding_query transfers = {.min_severity = 5, .limit = MAX_TRANSFERS};
    pk_err err = PK_OK;
    for (size_t i = 0; i < (zone ? 1 : tenant->n_zones) && err == PK_OK; i++) {
        err = read_records(walk, zone ? zone : &tenant->zones[i], 0);
    }
    for (size_t i = 0; i < tenant->n_sensitive_zones && err == PK_OK; i++) {
        if (!zone || pk_name_is_within(&tenant->sensitive_zones[i], zone)) {
            err = read_records(walk, &tenant->sensitive_zones[i], TYPE_NSEC);
        }
    }
    if (err == PK_OK) {
        walk->n = 0;
        pk_exposure_targets(walk->exposure, on_target, walk);
        err = walk->err;
    }
    if (err == PK_OK) {
        err = pk_store_query_findings(
            walk->c->routes->reader, walk->c->tenant, &transfers, on_transfer, walk);
    }
    return err == PK_OK ? walk->err : err;
}

static void answer(
    struct context *c, const struct pk_scope_tenant *tenant, const struct pk_name *zone)
{
    struct walk walk = {.c = c};
    json_t *list = json_array();
    pk_err err = pk_exposure_new(tenant, &walk.exposure);
    if (err == PK_OK) {
        err = read_all(&walk, tenant, zone);
    }
    if (err == PK_OK) {
        err = pk_exposure_report(walk.exposure, zone, on_item, list);
    }
    pk_exposure_free(walk.exposure);
    if (err == PK_OK) {
        reply_json(c->response, OK, list);
    } else {
        json_decref(list);
        refuse_store(c, c->routes->reader, err);
    }
}

void handle_exposure(struct context *c)
{
    struct scope_in_force in_force;
    struct pk_name zone;
    const char *text = *c->rest == '/' ? c->rest + 1 : c->rest;
    if (*text && pk_name_from_text(text, &zone) != PK_OK) {
        refuse(c->response, BAD_REQUEST, "not a domain name");
        return;
    }
    if (*text) {
        pk_name_lower(&zone);
    }
    const struct pk_scope_tenant *tenant = scope_of_tenant(c, &in_force);
    if (!tenant) {
        return;
    }
    if (*text && pk_scope_match(tenant, &zone, 0, 1, NULL) != PK_SCOPE_ZONE) {
        refuse(c->response, NOT_FOUND, "the zone is none of this tenant's");
    } else {
        answer(c, tenant, *text ? &zone : NULL);
    }
    scope_in_force_done(&in_force);
}

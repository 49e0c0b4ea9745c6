/* Only takes away: names and networks by filtering their lists in place, addresses by adding to those that are inside. Then the index is built anew. */
#include "picket/scope_floor.h"

#include <stdlib.h>
#include <string.h>

#include "picket/pseudonym.h"

#include "scope_internal.h"

enum {
    MIN_LABELS = 2, /* of a zone, unless the site says otherwise */
    MIN_ARPA_LABELS = 3,
    MIN_NETWORK_V4 = 8,
    MIN_NETWORK_V6 = 16,
    MAX_TOLD_V4 = 24,
    MAX_TOLD_V6 = 48,
    MAX_DAYS = PK_PSEUDONYM_MAX_DAYS,
    TEXT_SIZE = PK_NAME_TEXT_SIZE,
};

/* --- reading --- */

/* A list, or one text with commas between, as an environment variable gives it. NULL: nothing was said. */
static void *read_all(struct pk_conf *conf, const struct pk_conf_node *list, size_t item_size,
    size_t *out_n, bool (*read)(const char *text, void *out))
{
    size_t n = list && pk_conf_is_scalar(list) ? 1 : pk_conf_list_len(list);
    *out_n = 0;
    if (!list) {
        return NULL;
    }
    if (n > PK_FLOOR_MAX_ENTRIES || (!pk_conf_is_scalar(list) && !pk_conf_is_list(list))) {
        pk_conf_fail(conf, list, "must be a list of at most %d entries", PK_FLOOR_MAX_ENTRIES);
        return NULL;
    }
    uint8_t *items = calloc(PK_FLOOR_MAX_ENTRIES, item_size);
    if (!items) {
        pk_conf_fail(conf, list, "out of memory");
    }
    for (size_t i = 0; items && i < n; i++) {
        const struct pk_conf_node *node = pk_conf_is_scalar(list) ? list : pk_conf_item(list, i);
        const char *text = NULL;
        pk_conf_text(conf, node, &text);
        while (text && *text) {
            char one[TEXT_SIZE];
            size_t len = strcspn(text, ",");
            bool fits = len < sizeof one && *out_n < PK_FLOOR_MAX_ENTRIES;
            memcpy(one, text, fits ? len : 0);
            one[fits ? len : 0] = '\0';
            if (!fits || !read(one, items + *out_n * item_size)) {
                pk_conf_fail(conf, node, "\"%s\" is not one", one);
                break;
            }
            ++*out_n;
            text += len + (text[len] == ',');
        }
    }
    return items;
}

static bool read_prefix(const char *text, void *out)
{
    return pk_prefix_parse(text, out);
}

static bool read_name(const char *text, void *out)
{
    bool is_good = pk_name_from_text(text, out) == PK_OK;
    if (is_good) {
        pk_name_lower(out);
    }
    return is_good;
}

void pk_scope_floor_read(
    struct pk_conf *conf, const struct pk_conf_node *node, struct pk_scope_floor *out_floor)
{
    *out_floor = (struct pk_scope_floor){.hides_inside = false};
    if (!node) {
        return;
    }
    const struct pk_conf_node *inside = pk_conf_get(conf, node, "inside");
    const char *text = "pseudonyms";
    int64_t days = 0;
    pk_conf_text(conf, inside, &text);
    if (strcmp(text, "pseudonyms") != 0 && strcmp(text, "none") != 0) {
        pk_conf_fail(conf, inside, "must be pseudonyms or none");
    }
    out_floor->hides_inside = strcmp(text, "none") == 0;
    out_floor->clients = read_all(conf, pk_conf_get(conf, node, "clients"),
        sizeof *out_floor->clients, &out_floor->n_clients, read_prefix);
    out_floor->zones = read_all(conf, pk_conf_get(conf, node, "zones"), sizeof *out_floor->zones,
        &out_floor->n_zones, read_name);
    out_floor->networks = read_all(conf, pk_conf_get(conf, node, "networks"),
        sizeof *out_floor->networks, &out_floor->n_networks, read_prefix);
    pk_conf_int(conf, pk_conf_get(conf, node, "pseudonym_days"), 1, MAX_DAYS, &days);
    out_floor->pseudonym_days = (uint32_t)days;
    pk_conf_finish_map(conf, node);
}

void pk_scope_floor_done(struct pk_scope_floor *floor)
{
    free(floor->clients);
    free(floor->zones);
    free(floor->networks);
    *floor = (struct pk_scope_floor){.hides_inside = false};
}

/* --- names --- */

static bool is_limited(const struct pk_scope_floor *floor)
{
    return floor->n_zones > 0 || floor->n_networks > 0;
}

static bool is_within_any(const struct pk_name *zones, size_t n, const struct pk_name *name)
{
    for (size_t i = 0; i < n; i++) {
        if (pk_name_is_within(name, &zones[i])) {
            return true;
        }
    }
    return false;
}

static bool is_name_allowed(const struct pk_scope_floor *floor, const struct pk_scope_tenant *own,
    const struct pk_name *name)
{
    static const struct pk_name arpa = {.len = 6, .n_labels = 1, .wire = "\4arpa"};
    if (is_limited(floor)) {
        return is_within_any(floor->zones, floor->n_zones, name);
    }
    unsigned least = pk_name_is_within(name, &arpa) ? MIN_ARPA_LABELS : MIN_LABELS;
    return name->n_labels >= least || (own && is_within_any(own->zones, own->n_zones, name));
}

static size_t keep_names(struct pk_name *names, size_t n, const struct pk_scope_floor *floor,
    const struct pk_scope_tenant *own)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (is_name_allowed(floor, own, &names[i])) {
            names[kept++] = names[i];
        }
    }
    return kept;
}

static size_t keep_canaries(struct pk_scope_tenant *tenant, const struct pk_scope_floor *floor,
    const struct pk_scope_tenant *own)
{
    size_t kept = 0;
    for (size_t i = 0; i < tenant->n_canaries; i++) {
        if (is_name_allowed(floor, own, &tenant->canaries[i].name)) {
            tenant->canaries[kept++] = tenant->canaries[i];
        } else {
            free(tenant->canaries[i].channel);
        }
    }
    return kept;
}

/* --- networks --- */

static bool is_within_prefix(const struct pk_prefix *outer, const struct pk_prefix *inner)
{
    return outer->len <= inner->len && pk_prefix_contains(outer, &inner->addr);
}

static bool is_network_allowed(const struct pk_scope_floor *floor,
    const struct pk_scope_tenant *own, const struct pk_prefix *network)
{
    struct pk_name zone;
    for (size_t i = 0; i < floor->n_networks; i++) {
        if (is_within_prefix(&floor->networks[i], network)) {
            return true;
        }
    }
    pk_name_of_prefix(network, &zone);
    if (is_limited(floor)) {
        return is_within_any(floor->zones, floor->n_zones, &zone);
    }
    for (size_t i = 0; own && i < own->n_networks; i++) {
        if (is_within_prefix(&own->networks[i], network)) {
            return true;
        }
    }
    return network->len >= (network->addr.family == 4 ? MIN_NETWORK_V4 : MIN_NETWORK_V6);
}

static size_t keep_networks(struct pk_scope_tenant *tenant, const struct pk_scope_floor *floor,
    const struct pk_scope_tenant *own)
{
    size_t kept = 0;
    for (size_t i = 0; i < tenant->n_networks; i++) {
        if (is_network_allowed(floor, own, &tenant->networks[i])) {
            tenant->networks[kept++] = tenant->networks[i];
        }
    }
    return kept;
}

/* --- addresses --- */

static const struct pk_scope_site *site_of(const struct pk_scope_tenant *own, const char *name)
{
    for (size_t i = 0; own && i < own->n_sites; i++) {
        if (strcmp(own->sites[i].name, name) == 0) {
            return &own->sites[i];
        }
    }
    return NULL;
}

/* The scope's come first: where both hold an address, its prefix is what is told beside the pseudonym. */
static pk_err add_clients(struct pk_scope_site *site, const struct pk_prefix *prefixes, size_t n)
{
    struct pk_prefix *grown = realloc(site->clients, (site->n_clients + n + 1) * sizeof *grown);
    if (!grown) {
        return PK_ERR_NOMEM;
    }
    if (n > 0) {
        memcpy(grown + site->n_clients, prefixes, n * sizeof *grown);
    }
    site->clients = grown;
    site->n_clients += n;
    return PK_OK;
}

static pk_err widen_clients(
    const struct pk_scope_floor *floor, struct pk_scope_site *site, const struct pk_scope_site *own)
{
    if (own == site) {
        return add_clients(site, floor->clients, floor->n_clients);
    }
    struct pk_prefix *ranges = NULL;
    size_t n_ranges = 0;
    pk_err err = PK_OK;
    for (size_t i = 0; i < site->n_clients; i++) {
        struct pk_prefix *prefix = &site->clients[i];
        uint8_t most = prefix->addr.family == 4 ? MAX_TOLD_V4 : MAX_TOLD_V6;
        *prefix = prefix->len > most ? pk_addr_prefix(&prefix->addr, most) : *prefix;
    }
    if (floor->n_clients == 0 && !own && !pk_scope_private_ranges(&ranges, &n_ranges)) {
        return PK_ERR_NOMEM;
    }
    err = add_clients(site, floor->clients, floor->n_clients);
    if (err == PK_OK && own) {
        err = add_clients(site, own->clients, own->n_clients);
    }
    if (err == PK_OK) {
        err = add_clients(site, ranges, n_ranges);
    }
    free(ranges);
    return err;
}

pk_err pk_scope_floor_apply(const struct pk_scope_floor *floor, struct pk_scope *scope,
    const struct pk_scope_tenant *tenant, const struct pk_scope_site *site,
    const struct pk_scope_tenant *own, size_t *out_left_out)
{
    struct pk_scope_tenant *t = &scope->tenants[tenant - scope->tenants];
    size_t before = t->n_zones + t->n_watch + t->n_canaries + t->n_networks;
    t->n_zones = keep_names(t->zones, t->n_zones, floor, own);
    t->n_watch = keep_names(t->watch, t->n_watch, floor, own);
    t->n_canaries = keep_canaries(t, floor, own);
    t->n_networks = keep_networks(t, floor, own);
    if (floor->pseudonym_days && t->pseudonym_days > floor->pseudonym_days) {
        t->pseudonym_days = floor->pseudonym_days;
    }
    pk_err err = widen_clients(floor, &t->sites[site - t->sites], site_of(own, site->name));
    if (err == PK_OK) {
        err = pk_scope_reindex(t);
    }
    if (err == PK_OK) {
        *out_left_out = before - t->n_zones - t->n_watch - t->n_canaries - t->n_networks;
    }
    return err;
}

/* Reading the scope file, and the question that is asked for every transaction: may this name carry its source?
 *
 * All names that answer yes stand in one hash set; a name is looked up by each of its suffixes, so a lookup costs a hash a label however many zones
 * there are. */
#include "picket/scope.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "picket/clock.h"
#include "picket/dnsmsg.h"
#include "picket/limits.h"
#include "picket/map.h"
#include "picket/pseudonym.h"

#include "scope_internal.h"
#include "scope_services.h"

enum {
    NAME_SIZE_MAX = 63
};

struct entry {
    const struct pk_name *name;
    enum pk_scope_reason reason;
    const struct pk_scope_canary *canary; /* NULL: none */
};

struct pk_scope_index {
    struct entry *entries;
    size_t n;
    struct pk_map map;
    struct pk_name *services; /* the built-in ones */
};

/* Version 2 of the built-in part: services that know others' names (scope_services.c), and suffixes of names that are meant for inside and have no business elsewhere (RFC 6762 appendix G, RFC 8375, RFC 6761). */
static const char *const internal_suffixes[] = {"local.", "localdomain.", "internal.", "intranet.",
    "corp.", "home.", "lan.", "private.", "home.arpa."};

static const char *const private_ranges[] = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",
    "100.64.0.0/10", "169.254.0.0/16", "127.0.0.0/8", "fc00::/7", "fe80::/10", "::1/128"};

/* --- reading the file --- */

static bool is_good_name(const char *text)
{
    size_t len = strlen(text);
    if (len == 0 || len > NAME_SIZE_MAX || text[0] == '-' || text[0] == '.') {
        return false;
    }
    return strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789._-") == len;
}

static char *read_label(struct pk_conf *conf, const struct pk_conf_node *node)
{
    const char *text = NULL;
    pk_conf_text(conf, node, &text);
    if (!text) {
        return NULL;
    }
    if (!is_good_name(text)) {
        pk_conf_fail(conf, node,
            "\"%s\" is not a name: use up to 63 of a-z 0-9 . _ -, not beginning with . or -", text);
        return NULL;
    }
    return strdup(text);
}

/* A list of n things under key: allocates, then reads each by `read`. One scalar stands for a list of one. */
static void *read_list(struct pk_conf *conf, const struct pk_conf_node *map, const char *key,
    size_t item_size, size_t max, size_t *out_n,
    void (*read)(struct pk_conf *, const struct pk_conf_node *, void *))
{
    const struct pk_conf_node *list = pk_conf_get(conf, map, key);
    *out_n = 0;
    if (!list) {
        return NULL;
    }
    size_t n = pk_conf_list_len(list);
    if (!pk_conf_is_list(list)) {
        pk_conf_fail(conf, list, "must be a list, [a, b] or lines that begin with -");
        return NULL;
    }
    if (n > max) {
        pk_conf_fail(conf, list, "more than %zu entries", max);
        return NULL;
    }
    uint8_t *items = calloc(n ? n : 1, item_size);
    if (!items) {
        pk_conf_fail(conf, list, "out of memory");
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        read(conf, pk_conf_item(list, i), items + i * item_size);
    }
    *out_n = n;
    return items;
}

static void read_prefix(struct pk_conf *conf, const struct pk_conf_node *node, void *out)
{
    const char *text = NULL;
    pk_conf_text(conf, node, &text);
    if (text && !pk_prefix_parse(text, out)) {
        pk_conf_fail(conf, node,
            "\"%s\" is not a network: write 192.0.2.0/24 or 2001:db8::/32 with no bits set after the length, or an address",
            text);
    }
}

static void read_name(struct pk_conf *conf, const struct pk_conf_node *node, void *out)
{
    const char *text = NULL;
    pk_conf_text(conf, node, &text);
    if (!text) {
        return;
    }
    if (pk_name_from_text(text, out) != PK_OK) {
        pk_conf_fail(conf, node, "\"%s\" is not a domain name", text);
        return;
    }
    pk_name_lower(out);
}

static void read_zone(struct pk_conf *conf, const struct pk_conf_node *node, void *out)
{
    read_name(conf, node, out);
    if (!pk_conf_error(conf) && pk_name_is_root(out)) {
        pk_conf_fail(conf, node, "the root would put every name of the Internet in scope");
    }
}

/* A name, or a map: {name, channel, planted}. */
static void read_canary(struct pk_conf *conf, const struct pk_conf_node *node, void *out)
{
    struct pk_scope_canary *canary = out;
    const char *text = NULL;
    if (!pk_conf_is_map(node)) {
        read_zone(conf, node, &canary->name);
        return;
    }
    const struct pk_conf_node *name = pk_conf_get(conf, node, "name"),
                              *channel = pk_conf_get(conf, node, "channel"),
                              *planted = pk_conf_get(conf, node, "planted");
    pk_conf_need(conf, node, name, "name");
    if (name) {
        read_zone(conf, name, &canary->name);
    }
    if (channel) {
        canary->channel = read_label(conf, channel);
    }
    if (planted) {
        pk_conf_text(conf, planted, &text);
    }
    if (text && !pk_time_parse(text, &canary->planted_us)) {
        pk_conf_fail(
            conf, planted, "\"%s\" is not a time: write 2026-11-23T09:55:00Z or 2026-11-23", text);
    }
    pk_conf_finish_map(conf, node);
}

static void read_vantage(
    struct pk_conf *conf, const struct pk_conf_node *node, enum pk_vantage *out_vantage)
{
    const char *text = NULL;
    pk_conf_text(conf, node, &text);
    if (!text) {
        return;
    }
    if (strcmp(text, "authoritative") == 0) {
        *out_vantage = PK_VANTAGE_AUTHORITATIVE;
    } else if (strcmp(text, "resolver") == 0) {
        *out_vantage = PK_VANTAGE_RESOLVER;
    } else {
        pk_conf_fail(conf, node, "\"%s\" must be authoritative or resolver", text);
    }
}

bool pk_scope_private_ranges(struct pk_prefix **out_prefixes, size_t *out_n)
{
    size_t n = sizeof private_ranges / sizeof *private_ranges;
    struct pk_prefix *prefixes = calloc(n, sizeof *prefixes);
    for (size_t i = 0; prefixes && i < n; i++) {
        (void)pk_prefix_parse(private_ranges[i], &prefixes[i]); /* they are well formed */
    }
    if (prefixes) {
        *out_prefixes = prefixes;
        *out_n = n;
    }
    return prefixes != NULL;
}

static void read_site(struct pk_conf *conf, const struct pk_conf_node *node, void *out)
{
    struct pk_scope_site *site = out;
    if (pk_conf_is_map(node)) {
        const struct pk_conf_node *name = pk_conf_get(conf, node, "name");
        pk_conf_need(conf, node, name, "name");
        site->name = read_label(conf, name);
        read_vantage(conf, pk_conf_get(conf, node, "vantage"), &site->vantage);
        site->clients = read_list(conf, node, "clients", sizeof *site->clients, PK_MAX_ZONES,
            &site->n_clients, read_prefix);
        site->resolvers = read_list(conf, node, "resolvers", sizeof *site->resolvers, PK_MAX_ZONES,
            &site->n_resolvers, read_prefix);
        pk_conf_finish_map(conf, node);
    } else {
        site->name = read_label(conf, node);
    }
    if (!site->clients && !pk_scope_private_ranges(&site->clients, &site->n_clients)) {
        pk_conf_fail(conf, node, "out of memory");
    }
}

static void read_retention(
    struct pk_conf *conf, const struct pk_conf_node *node, struct pk_scope_tenant *tenant)
{
    int64_t activity_days = PK_SCOPE_ACTIVITY_DAYS, history_days = PK_SCOPE_HISTORY_DAYS,
            health_days = PK_SCOPE_HEALTH_DAYS;
    if (node) {
        pk_conf_int(conf, pk_conf_get(conf, node, "activity_days"), 1, 3650, &activity_days);
        pk_conf_int(conf, pk_conf_get(conf, node, "history_days"), 1, 36500, &history_days);
        pk_conf_int(conf, pk_conf_get(conf, node, "health_days"), 8, 3650, &health_days);
        pk_conf_finish_map(conf, node);
    }
    tenant->activity_days = (uint32_t)activity_days;
    tenant->history_days = (uint32_t)history_days;
    tenant->health_days = (uint32_t)health_days;
}

static void derive_reverse_zones(struct pk_scope_tenant *tenant)
{
    tenant->reverse_zones =
        calloc(tenant->n_networks ? tenant->n_networks : 1, sizeof *tenant->reverse_zones);
    for (size_t i = 0; tenant->reverse_zones && i < tenant->n_networks; i++) {
        pk_name_of_prefix(&tenant->networks[i], &tenant->reverse_zones[tenant->n_reverse_zones++]);
    }
}

static void check_sites(
    struct pk_conf *conf, const struct pk_conf_node *list, const struct pk_scope_tenant *tenant)
{
    for (size_t i = 0; i < tenant->n_sites; i++) {
        for (size_t k = 0; k < i; k++) {
            if (tenant->sites[i].name && tenant->sites[k].name &&
                strcmp(tenant->sites[i].name, tenant->sites[k].name) == 0) {
                pk_conf_fail(conf, pk_conf_item(list, i), "the site \"%s\" stands here twice",
                    tenant->sites[i].name);
                return;
            }
        }
    }
}

static void read_tenant(struct pk_conf *conf, const struct pk_conf_node *node, void *out)
{
    struct pk_scope_tenant *tenant = out;
    const struct pk_conf_node *name = pk_conf_get(conf, node, "name");
    pk_conf_need(conf, node, name, "name");
    tenant->name = read_label(conf, name);
    tenant->sites = read_list(
        conf, node, "sites", sizeof *tenant->sites, PK_MAX_SITES, &tenant->n_sites, read_site);
    tenant->zones = read_list(
        conf, node, "zones", sizeof *tenant->zones, PK_MAX_ZONES, &tenant->n_zones, read_zone);
    tenant->networks = read_list(conf, node, "networks", sizeof *tenant->networks, PK_MAX_ZONES,
        &tenant->n_networks, read_prefix);
    tenant->transfer_peers = read_list(conf, node, "transfer_peers", sizeof *tenant->transfer_peers,
        PK_MAX_ZONES, &tenant->n_transfer_peers, read_prefix);
    tenant->sensors_from = read_list(conf, node, "sensors_from", sizeof *tenant->sensors_from,
        PK_SCOPE_MAX_FROM, &tenant->n_sensors_from, read_prefix);
    tenant->scanners = read_list(conf, node, "scanners", sizeof *tenant->scanners, PK_MAX_ZONES,
        &tenant->n_scanners, read_prefix);
    tenant->canaries = read_list(conf, node, "canaries", sizeof *tenant->canaries, PK_MAX_ZONES,
        &tenant->n_canaries, read_canary);
    tenant->watch = read_list(
        conf, node, "watch", sizeof *tenant->watch, PK_MAX_ZONES, &tenant->n_watch, read_zone);
    tenant->sensitive_zones = read_list(conf, node, "sensitive_zones",
        sizeof *tenant->sensitive_zones, PK_MAX_ZONES, &tenant->n_sensitive_zones, read_zone);
    read_retention(conf, pk_conf_get(conf, node, "retention"), tenant);
    int64_t pseudonym_days = PK_PSEUDONYM_DAYS;
    pk_conf_int(
        conf, pk_conf_get(conf, node, "pseudonym_days"), 1, PK_PSEUDONYM_MAX_DAYS, &pseudonym_days);
    tenant->pseudonym_days = (uint32_t)pseudonym_days;
    int64_t window_s = 0;
    pk_conf_int(conf, pk_conf_get(conf, node, "window_s"), 1, 60, &window_s);
    tenant->window_s = (uint32_t)window_s;
    pk_conf_bool(conf, pk_conf_get(conf, node, "share_actors"), &tenant->share_actors);
    tenant->budget = 1;
    pk_conf_double(conf, pk_conf_get(conf, node, "budget"), 0.001, 1000, &tenant->budget);
    pk_conf_finish_map(conf, node);
    if (!pk_conf_error(conf)) {
        check_sites(conf, pk_conf_get(conf, node, "sites"), tenant);
        derive_reverse_zones(tenant);
    }
}

/* --- the index --- */

static bool is_name(const void *entries, uint32_t entry, const void *key)
{
    return pk_name_equal(((const struct entry *)entries)[entry].name, key);
}

static void index_names(struct pk_scope_index *index, const struct pk_name *names, size_t n,
    enum pk_scope_reason reason)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t hash = pk_name_hash(&names[i]);
        if (pk_map_find(&index->map, hash, index->entries, &names[i]) == PK_MAP_NONE) {
            index->entries[index->n] = (struct entry){.name = &names[i], .reason = reason};
            (void)pk_map_add(&index->map, hash, (uint32_t)index->n++); /* sized for all */
        }
    }
}

static pk_err index_services(struct pk_scope_index *index)
{
    index->services = calloc(pk_n_scope_services, sizeof *index->services);
    if (!index->services) {
        return PK_ERR_NOMEM;
    }
    for (unsigned i = 0; i < pk_n_scope_services; i++) {
        pk_err err = pk_name_from_text(pk_scope_services[i], &index->services[i]);
        if (err != PK_OK) {
            return err;
        }
    }
    index_names(index, index->services, pk_n_scope_services, PK_SCOPE_BUILTIN);
    return PK_OK;
}

static void index_canaries(
    struct pk_scope_index *index, const struct pk_scope_canary *canaries, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t before = index->n;
        index_names(index, &canaries[i].name, 1, PK_SCOPE_ZONE);
        if (index->n > before) {
            index->entries[before].canary = &canaries[i];
        }
    }
}

static pk_err build_index(struct pk_scope_tenant *tenant)
{
    size_t n = tenant->n_zones + tenant->n_reverse_zones + tenant->n_canaries + tenant->n_watch +
               pk_n_scope_services + 1;
    struct pk_scope_index *index = calloc(1, sizeof *index);
    tenant->index = index;
    if (!index || !(index->entries = calloc(n, sizeof *index->entries)) ||
        pk_map_init(&index->map, n, is_name) != PK_OK) {
        return PK_ERR_NOMEM;
    }
    index_names(index, tenant->zones, tenant->n_zones, PK_SCOPE_ZONE);
    index_canaries(index, tenant->canaries, tenant->n_canaries);
    index_names(index, tenant->reverse_zones, tenant->n_reverse_zones, PK_SCOPE_REVERSE);
    index_names(index, tenant->watch, tenant->n_watch, PK_SCOPE_WATCH);
    return index_services(index); /* last: what the tenant says of a name comes first */
}

static void free_index(struct pk_scope_tenant *tenant)
{
    if (tenant->index) {
        free(tenant->index->entries);
        free(tenant->index->services);
        if (tenant->index->map.slots) {
            pk_map_done(&tenant->index->map);
        }
        free(tenant->index);
        tenant->index = NULL;
    }
}

pk_err pk_scope_reindex(struct pk_scope_tenant *tenant)
{
    free_index(tenant);
    free(tenant->reverse_zones);
    tenant->n_reverse_zones = 0;
    derive_reverse_zones(tenant);
    return tenant->reverse_zones ? build_index(tenant) : PK_ERR_NOMEM;
}

/* --- life --- */

static void tenant_done(struct pk_scope_tenant *tenant)
{
    for (size_t i = 0; i < tenant->n_sites; i++) {
        free(tenant->sites[i].name);
        free(tenant->sites[i].clients);
        free(tenant->sites[i].resolvers);
    }
    free(tenant->sites);
    free(tenant->name);
    free(tenant->zones);
    free(tenant->networks);
    free(tenant->reverse_zones);
    free(tenant->transfer_peers);
    free(tenant->sensors_from);
    free(tenant->scanners);
    for (size_t i = 0; i < tenant->n_canaries; i++) {
        free(tenant->canaries[i].channel);
    }
    free(tenant->canaries);
    free(tenant->watch);
    free(tenant->sensitive_zones);
    free_index(tenant);
}

void pk_scope_free(struct pk_scope *scope)
{
    if (!scope) {
        return;
    }
    for (size_t i = 0; i < scope->n_tenants; i++) {
        tenant_done(&scope->tenants[i]);
    }
    free(scope->tenants);
    free(scope);
}

static pk_err read_scope(struct pk_conf *conf, struct pk_scope *scope)
{
    const struct pk_conf_node *root = pk_conf_root(conf);
    const struct pk_conf_node *list = pk_conf_get(conf, root, "tenants");
    pk_conf_need(conf, root, list, "tenants");
    if (list) {
        scope->tenants = read_list(conf, root, "tenants", sizeof *scope->tenants, PK_MAX_TENANTS,
            &scope->n_tenants, read_tenant);
    }
    pk_conf_finish_map(conf, root);
    for (size_t i = 0; i < scope->n_tenants && !pk_conf_error(conf); i++) {
        for (size_t k = 0; k < i; k++) {
            if (strcmp(scope->tenants[i].name, scope->tenants[k].name) == 0) {
                pk_conf_fail(conf, pk_conf_item(list, i), "the tenant \"%s\" stands here twice",
                    scope->tenants[i].name);
            }
        }
        if (build_index(&scope->tenants[i]) != PK_OK) {
            return PK_ERR_NOMEM;
        }
    }
    return pk_conf_error(conf) ? PK_ERR_CONFIG : PK_OK;
}

/* Takes conf. */
static pk_err finish(
    struct pk_conf *conf, struct pk_scope **out_scope, char out_error[PK_CONF_ERROR_SIZE])
{
    struct pk_scope *scope = calloc(1, sizeof *scope);
    pk_err err = scope ? read_scope(conf, scope) : PK_ERR_NOMEM;
    if (err == PK_OK) {
        *out_scope = scope;
    } else {
        const char *wrong = pk_conf_error(conf);
        snprintf(out_error, PK_CONF_ERROR_SIZE, "%s", wrong ? wrong : pk_err_str(err));
        pk_scope_free(scope);
    }
    pk_conf_free(conf);
    return err;
}

pk_err pk_scope_load(
    const char *path, struct pk_scope **out_scope, char out_error[PK_CONF_ERROR_SIZE])
{
    struct pk_conf *conf;
    pk_err err = pk_conf_load(path, &conf, out_error);
    return err == PK_OK ? finish(conf, out_scope, out_error) : err;
}

pk_err pk_scope_parse(const char *name, const char *text, size_t len, struct pk_scope **out_scope,
    char out_error[PK_CONF_ERROR_SIZE])
{
    struct pk_conf *conf;
    pk_err err = pk_conf_parse(name, text, len, &conf, out_error);
    return err == PK_OK ? finish(conf, out_scope, out_error) : err;
}

/* --- asking --- */

pk_err pk_scope_find_site(const struct pk_scope *scope, const char *path,
    const struct pk_scope_tenant **out_tenant, const struct pk_scope_site **out_site,
    char out_error[PK_CONF_ERROR_SIZE])
{
    const char *slash = strchr(path, '/');
    const char *site_name = slash ? slash + 1 : path;
    unsigned n_found = 0;
    for (size_t t = 0; t < scope->n_tenants; t++) {
        const struct pk_scope_tenant *tenant = &scope->tenants[t];
        if (slash && (strlen(tenant->name) != (size_t)(slash - path) ||
                         strncmp(tenant->name, path, (size_t)(slash - path)) != 0)) {
            continue;
        }
        for (size_t s = 0; s < tenant->n_sites; s++) {
            if (strcmp(tenant->sites[s].name, site_name) == 0) {
                n_found++;
                *out_tenant = tenant;
                *out_site = &tenant->sites[s];
            }
        }
    }
    if (n_found == 1) {
        return PK_OK;
    }
    if (n_found == 0) {
        snprintf(out_error, PK_CONF_ERROR_SIZE,
            "the scope has no site \"%s\"; add it to a tenant's list of sites, or name it as tenant/site",
            path);
    } else {
        snprintf(out_error, PK_CONF_ERROR_SIZE, "%u tenants have a site \"%s\"; say which: %s/%s",
            n_found, path, (*out_tenant)->name, path);
    }
    return PK_ERR_CONFIG;
}

static bool is_internal(const struct pk_name *name)
{
    uint8_t len;
    const uint8_t *top = name->n_labels ? pk_name_label(name, name->n_labels - 1u, &len) : NULL;
    if (!top ||
        (len == 3 &&
            (top[0] | 0x20) == 'c')) { /* com, by far the most common: not worth nine comparisons */
        return false;
    }
    for (size_t i = 0; i < sizeof internal_suffixes / sizeof *internal_suffixes; i++) {
        struct pk_name suffix;
        (void)pk_name_from_text(internal_suffixes[i], &suffix);
        if (pk_name_is_within(name, &suffix)) {
            return true;
        }
    }
    return false;
}

enum pk_scope_reason pk_scope_match(const struct pk_scope_tenant *tenant,
    const struct pk_name *name, uint16_t qtype, uint16_t qclass, struct pk_name *out_zone)
{
    const struct pk_scope_index *index = tenant->index;
    const struct entry *service = NULL;
    struct pk_name suffix;
    /* From the name itself towards the root: the most specific entry wins. */
    for (unsigned strip = 0; index && strip < name->n_labels; strip++) {
        pk_name_strip(name, strip, &suffix);
        uint32_t found = pk_map_find(&index->map, pk_name_hash(&suffix), index->entries, &suffix);
        struct pk_addr addr;
        if (found != PK_MAP_NONE && index->entries[found].reason == PK_SCOPE_REVERSE &&
            pk_name_reverse_addr(name, &addr) &&
            !pk_scope_is_in(tenant->networks, tenant->n_networks, &addr)) {
            continue; /* the zone is wider than the network: a /22 lives in the reverse zone of its /16 */
        }
        if (found != PK_MAP_NONE && index->entries[found].reason == PK_SCOPE_BUILTIN) {
            service = &index->entries[found]; /* unless it is below a zone of the tenant's */
        } else if (found != PK_MAP_NONE) {
            if (out_zone) {
                *out_zone = *index->entries[found].name;
            }
            return index->entries[found].reason;
        }
    }
    if (service) {
        if (out_zone) {
            *out_zone = *service->name;
        }
        return PK_SCOPE_BUILTIN;
    }
    if (qtype == PK_TYPE_AXFR || qtype == PK_TYPE_IXFR || qclass == PK_CLASS_CH ||
        is_internal(name)) {
        if (out_zone) {
            out_zone->len = 1;
            out_zone->n_labels = 0;
            out_zone->wire[0] = 0;
        }
        return PK_SCOPE_BUILTIN;
    }
    return PK_SCOPE_NOT;
}

const struct pk_scope_canary *pk_scope_canary_of(
    const struct pk_scope_tenant *tenant, const struct pk_name *zone)
{
    const struct pk_scope_index *index = tenant->index;
    if (tenant->n_canaries == 0 || !index) {
        return NULL;
    }
    uint32_t found = pk_map_find(&index->map, pk_name_hash(zone), index->entries, zone);
    return found == PK_MAP_NONE ? NULL : index->entries[found].canary;
}

bool pk_scope_is_in(const struct pk_prefix *prefixes, size_t n, const struct pk_addr *addr)
{
    for (size_t i = 0; i < n; i++) {
        if (pk_prefix_contains(&prefixes[i], addr)) {
            return true;
        }
    }
    return false;
}

bool pk_scope_is_client(const struct pk_scope_site *site, const struct pk_addr *addr)
{
    return pk_scope_is_in(site->clients, site->n_clients, addr);
}

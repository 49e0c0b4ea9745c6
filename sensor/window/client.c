/* Pseudonyms are made under the tenant's key of the period, so the aggregator can compare but not reverse them. */
#include "window/client.h"

#include <string.h>

#include <sodium.h>

#include "picket/clock.h"

static bool is_private(const struct pk_addr *addr)
{
    const uint8_t *b = addr->bytes;
    if (addr->family == 4) {
        return b[0] == 10 || (b[0] == 172 && (b[1] & 0xf0) == 16) || (b[0] == 192 && b[1] == 168) ||
               (b[0] == 100 && (b[1] & 0xc0) == 64) || (b[0] == 169 && b[1] == 254) || b[0] == 127;
    }
    return (b[0] & 0xfe) == 0xfc || (b[0] == 0xfe && (b[1] & 0xc0) == 0x80);
}

void pk_client_rules_forget(struct pk_client_rules *rules)
{
    sodium_memzero(rules, sizeof *rules);
    rules->period = UINT32_MAX; /* no period there is */
}

void pk_client_rules_set(struct pk_client_rules *rules, const struct pk_scope_tenant *tenant,
    const struct pk_scope_site *site, const uint8_t *master, int64_t ts_us)
{
    const int64_t day_us = INT64_C(86400) * PK_US_PER_S;
    uint32_t period = tenant && master ? pk_pseudonym_period(ts_us, tenant->pseudonym_days) : 0;
    rules->has_former = period > 1 && ts_us < ((int64_t)period + 1) * day_us;
    rules->site = site;
    if (period == rules->period) {
        return;
    }
    rules->period = period;
    if (period > 0) {
        pk_pseudonym_key(master, period, rules->key);
        pk_pseudonym_key(master,
            pk_pseudonym_period((int64_t)period * day_us - 1, tenant->pseudonym_days),
            rules->former_key);
    }
    if (tenant) {
        pk_sketch_key(period > 0 ? rules->key : NULL, tenant->name, rules->sketch_key);
    }
}

/* A scanner or a secondary is a machine that the tenant has written down, nobody's desk. */
static bool is_declared(const struct pk_client_rules *rules, const struct pk_addr *addr)
{
    const struct pk_scope_tenant *tenant = rules->declared;
    return tenant && (pk_scope_is_in(tenant->scanners, tenant->n_scanners, addr) ||
                         pk_scope_is_in(tenant->transfer_peers, tenant->n_transfer_peers, addr));
}

static struct pk_client hidden(
    const struct pk_client_rules *rules, const struct pk_prefix *prefix, const struct pk_addr *addr)
{
    struct pk_client client;
    memset(&client, 0, sizeof client);
    if (rules->period > 0) {
        client.kind = PK_CLIENT_PSEUDONYM;
        pk_pseudonym_of(rules->key, addr, client.pseudonym);
        client.prefix = *prefix;
    }
    return client;
}

struct pk_client pk_client_of(const struct pk_client_rules *rules, const struct pk_addr *addr)
{
    struct pk_client client = {.kind = PK_CLIENT_OUTSIDE, .addr = *addr};
    const struct pk_scope_site *site = rules->site;
    if (addr->family == 0) { /* a server's log need not say who asked */
        return (struct pk_client){.kind = PK_CLIENT_NONE};
    }
    if (!site) {
        client.kind = is_private(addr) ? PK_CLIENT_INSIDE : PK_CLIENT_OUTSIDE;
        return client;
    }
    for (size_t i = 0; i < site->n_clients; i++) {
        if (pk_prefix_contains(&site->clients[i], addr)) {
            client.kind = PK_CLIENT_INSIDE;
            return is_declared(rules, addr) ? client : hidden(rules, &site->clients[i], addr);
        }
    }
    return client;
}

struct pk_prefix pk_client_subnet(const struct pk_prefix *told)
{
    uint8_t most = told->addr.family == 4 ? 24 : 48;
    return pk_addr_prefix(&told->addr, told->len < most ? told->len : most);
}

bool pk_client_asks_for(
    const struct pk_client_rules *rules, struct pk_client *client, const struct pk_prefix *subnet)
{
    const struct pk_scope_site *site = rules->site;
    if (client->kind != PK_CLIENT_OUTSIDE || is_private(&subnet->addr)) {
        return false;
    }
    for (size_t i = 0; site && i < site->n_clients; i++) {
        if (pk_prefix_contains(&site->clients[i], &subnet->addr) ||
            pk_prefix_contains(subnet, &site->clients[i].addr)) {
            return false;
        }
    }
    client->prefix = *subnet;
    return true;
}

struct pk_client pk_client_former(
    const struct pk_client_rules *rules, const struct pk_client *client, const struct pk_addr *addr)
{
    struct pk_client former = *client;
    pk_pseudonym_of(rules->former_key, addr, former.pseudonym);
    return former;
}

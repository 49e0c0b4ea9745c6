/* One tenant's part of a scope as text that pk_scope_parse takes: JSON, which is YAML. What enrolment and CONFIG hand to a sensor. Retention and budget are the aggregator's alone and stay out. */
#include <inttypes.h>

#include "picket/clock.h"
#include "picket/scope.h"

static void put_quoted(struct pk_bytes *out, const char *text)
{
    pk_bytes_put_u8(out, '"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') {
            pk_bytes_put_u8(out, '\\');
        }
        pk_bytes_put_u8(out, (uint8_t)*text);
    }
    pk_bytes_put_u8(out, '"');
}

static void put_names(struct pk_bytes *out, const char *key, const struct pk_name *names, size_t n)
{
    char text[PK_NAME_TEXT_SIZE];
    if (n == 0) {
        return;
    }
    pk_bytes_printf(out, ",\n  \"%s\": [", key);
    for (size_t i = 0; i < n; i++) {
        pk_bytes_printf(out, "%s", i ? ", " : "");
        put_quoted(out, pk_name_text(&names[i], text));
    }
    pk_bytes_put_u8(out, ']');
}

static void put_prefixes(
    struct pk_bytes *out, const char *lead, const struct pk_prefix *prefixes, size_t n)
{
    char text[PK_PREFIX_TEXT_SIZE];
    if (n == 0) {
        return;
    }
    pk_bytes_printf(out, "%s: [", lead);
    for (size_t i = 0; i < n; i++) {
        pk_bytes_printf(out, "%s\"%s\"", i ? ", " : "", pk_prefix_text(&prefixes[i], text));
    }
    pk_bytes_put_u8(out, ']');
}

static void put_canaries(struct pk_bytes *out, const struct pk_scope_tenant *tenant)
{
    for (size_t i = 0; i < tenant->n_canaries; i++) {
        const struct pk_scope_canary *canary = &tenant->canaries[i];
        char name[PK_NAME_TEXT_SIZE], planted[PK_TIME_TEXT_SIZE];
        pk_bytes_printf(out, "%s{\"name\": ", i ? ", " : ",\n  \"canaries\": [");
        put_quoted(out, pk_name_text(&canary->name, name));
        if (canary->channel) {
            pk_bytes_printf(out, ", \"channel\": ");
            put_quoted(out, canary->channel);
        }
        if (canary->planted_us) {
            pk_bytes_printf(
                out, ", \"planted\": \"%s\"", pk_time_text(canary->planted_us, planted));
        }
        pk_bytes_put_u8(out, '}');
    }
    pk_bytes_printf(out, "%s", tenant->n_canaries ? "]" : "");
}

pk_err pk_scope_render(const struct pk_scope_tenant *tenant, struct pk_bytes *out)
{
    static const char *const vantages[] = {"", "authoritative", "resolver"};
    pk_bytes_printf(out, "{\"tenants\": [{\"name\": ");
    put_quoted(out, tenant->name);
    pk_bytes_printf(out, ",\n  \"sites\": [");
    for (size_t i = 0; i < tenant->n_sites; i++) {
        const struct pk_scope_site *site = &tenant->sites[i];
        pk_bytes_printf(out, "%s{\"name\": ", i ? ",\n    " : "");
        put_quoted(out, site->name);
        if (site->vantage != PK_VANTAGE_UNKNOWN) {
            pk_bytes_printf(out, ", \"vantage\": \"%s\"", vantages[site->vantage]);
        }
        put_prefixes(out, ", \"clients\"", site->clients, site->n_clients);
        put_prefixes(out, ", \"resolvers\"", site->resolvers, site->n_resolvers);
        pk_bytes_put_u8(out, '}');
    }
    pk_bytes_put_u8(out, ']');
    put_names(out, "zones", tenant->zones, tenant->n_zones);
    put_prefixes(out, ",\n  \"networks\"", tenant->networks, tenant->n_networks);
    put_prefixes(out, ",\n  \"transfer_peers\"", tenant->transfer_peers, tenant->n_transfer_peers);
    put_prefixes(out, ",\n  \"scanners\"", tenant->scanners, tenant->n_scanners);
    put_canaries(out, tenant);
    put_names(out, "watch", tenant->watch, tenant->n_watch);
    put_names(out, "sensitive_zones", tenant->sensitive_zones, tenant->n_sensitive_zones);
    pk_bytes_printf(out, ",\n  \"pseudonym_days\": %" PRIu32, tenant->pseudonym_days);
    if (tenant->window_s) {
        pk_bytes_printf(out, ",\n  \"window_s\": %" PRIu32, tenant->window_s);
    }
    pk_bytes_printf(out, "}]}\n");
    return out->err;
}

/* B4, B5: the tenant's authoritative servers, asked by the resolvers of the Internet.
 *
 * Shares are estimates from running such servers, not fits: about a sixth of questions have no name behind them (policy lookups of
 * mail receivers, automatic configuration of mail and phone clients, stale links, typing errors, search suffixes of laptops that
 * left the building), minimising resolvers ask for the names between (RFC 9156), a fifth mix case, a third validate. Three in ten
 * questions come from twelve shared public resolvers. B5 adds what wildcards are for: customers' names and cache busters. */
#include <stdio.h>
#include <string.h>

#include "picket/dnsmsg.h"

#include "mix.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

enum kind {
    KIND_HOST,
    KIND_APEX,
    KIND_POLICY,
    KIND_AUTOCONF,
    KIND_RETIRED,
    KIND_TYPO,
    KIND_SUFFIX,
    KIND_JUNK,
    KIND_REVERSE,
    KIND_VALIDATOR,
    N_KINDS
};
static const double shares[N_KINDS] = {68, 8, 6, 4.5, 4, 2, 1.7, 0.8, 3.5, 1.5};

struct asker {
    struct ev_resolver resolver;
    uint32_t zone;
    uint8_t site;
};

static struct asker any_asker(struct ev_hour *hour)
{
    struct ev_rng *rng = &hour->rng;
    struct asker asker;
    if (ev_rng_chance(rng, 0.3)) {
        uint32_t op = ev_rng_zipf(rng, EV_N_OPERATORS);
        asker.resolver = ev_public_resolver(hour->world, op, ev_rng_below(rng, EV_EGRESS));
        asker.site = (uint8_t)ev_rng_below(rng, EV_N_SITES);
    } else {
        uint32_t number = ev_rng_zipf(rng, hour->world->options.n_resolvers);
        asker.resolver = ev_resolver(hour->world, number);
        asker.site = asker.resolver.sites[ev_rng_zipf(rng, 3)];
    }
    asker.zone = ev_rng_chance(rng, 0.35) ? EV_ZONE_GROUP : EV_ZONE_SITE + (uint32_t)asker.site;
    return asker;
}

static uint16_t address_type(struct ev_rng *rng)
{
    static const double of[] = {62, 28, 10};
    static const uint16_t types[] = {PK_TYPE_A, PK_TYPE_AAAA, 65};
    return types[ev_rng_pick(rng, of, COUNT(of))];
}

static void ask_host(struct ev_hour *hour, const struct asker *asker, struct ev_event event)
{
    const struct ev_zone *zone = &hour->world->zones[asker->zone];
    const struct ev_host *host =
        &hour->world->hosts[zone->first_host + ev_rng_zipf(&hour->rng, zone->n_public)];
    const char *dot = strchr(host->label, '.');
    if (dot && asker->resolver.is_minimising) {
        struct ev_event shorter = event;
        shorter.qtype = ev_rng_chance(&hour->rng, 0.7) ? PK_TYPE_A : PK_TYPE_NS;
        ev_emit(hour, zone, strrchr(host->label, '.') + 1, shorter);
        event.time_us += 20000;
    }
    event.qtype = host->label[0] == '_'
                      ? (strstr(host->label, "._tcp") || strstr(host->label, "._tls") ? PK_TYPE_SRV
                                                                                      : PK_TYPE_TXT)
                      : address_type(&hour->rng);
    ev_emit(hour, zone, host->label, event);
    if (event.qtype == PK_TYPE_A && ev_rng_chance(&hour->rng, 0.3)) {
        event.qtype = PK_TYPE_AAAA;
        event.time_us += 3000;
        ev_emit(hour, zone, host->label, event);
    }
}

static void ask_fixed(
    struct ev_hour *hour, const struct ev_zone *zone, enum kind kind, struct ev_event event)
{
    static const char *const policy[] = {"_dmarc", "selector1._domainkey", "selector2._domainkey",
        "default._domainkey", "google._domainkey", "k1._domainkey", "s1._domainkey", "_mta-sts",
        "mta-sts", "default._bimi", "_smtp._tls", "_domainkey", "_adsp._domainkey"};
    static const char *const autoconf[] = {"autodiscover", "_autodiscover._tcp", "autoconfig",
        "lyncdiscover", "lyncdiscoverinternal", "_sip._tls", "_sipfederationtls._tcp", "sip",
        "_sipinternaltls._tcp", "enterpriseregistration", "enterpriseenrollment", "_imaps._tcp",
        "_submission._tcp", "_caldavs._tcp", "_carddavs._tcp", "wpad", "_xmpp-server._tcp",
        "_matrix._tcp", "msoid", "_minecraft._tcp"};
    const char *label = kind == KIND_POLICY ? policy[ev_rng_zipf(&hour->rng, COUNT(policy))]
                                            : autoconf[ev_rng_zipf(&hour->rng, COUNT(autoconf))];
    bool is_service = strchr(label, '_') != NULL;
    event.qtype = kind == KIND_POLICY && is_service ? PK_TYPE_TXT
                  : is_service                      ? PK_TYPE_SRV
                                                    : address_type(&hour->rng);
    ev_emit(hour, zone, label, event);
}

static void ask_apex(
    struct ev_hour *hour, const struct ev_zone *zone, enum kind kind, struct ev_event event)
{
    static const uint16_t types[] = {
        PK_TYPE_A, PK_TYPE_MX, PK_TYPE_TXT, PK_TYPE_AAAA, PK_TYPE_NS, PK_TYPE_SOA, 65, 257};
    if (kind == KIND_VALIDATOR) {
        event.qtype = ev_rng_chance(&hour->rng, 0.5) ? 48 : PK_TYPE_DS;
        event.flags |= PK_SIG_QUERY_DO;
    } else {
        event.qtype = types[ev_rng_zipf(&hour->rng, COUNT(types))];
    }
    ev_emit(hour, zone, "", event);
}

static void ask_missing(
    struct ev_hour *hour, const struct asker *asker, enum kind kind, struct ev_event event)
{
    const struct ev_world *world = hour->world;
    const struct ev_zone *zone = &world->zones[asker->zone];
    char label[EV_MAX_LABEL_TEXT] = "", text[300];
    event.qtype = address_type(&hour->rng);
    switch ((int)kind) {
    case KIND_RETIRED:
        ev_label_retired(world, asker->zone, ev_rng_zipf(&hour->rng, EV_N_STALE), label);
        break;
    case KIND_TYPO:
        ev_label_typo(&hour->rng,
            world->hosts[zone->first_host + ev_rng_zipf(&hour->rng, zone->n_public)].label, label);
        break;
    case KIND_SUFFIX:
        (void)snprintf(text, sizeof text, "%s%s", ev_rng_chance(&hour->rng, 0.5) ? "www." : "",
            world->externals[ev_rng_zipf(&hour->rng, world->n_externals)]);
        ev_emit(hour, zone, text, event);
        return;
    default: /* scripts with a variable unset, browsers' probes, one crawler's leftovers */
        if (ev_rng_chance(&hour->rng, 0.3)) {
            static const char *const junk[] = {"undefined", "null", "localhost", "www.www", "http",
                "none", "-", "nan", "example", "your-domain", "_", "*"};
            (void)snprintf(label, sizeof label, "%s", junk[ev_rng_below(&hour->rng, COUNT(junk))]);
        } else {
            ev_label_random(&hour->rng, 7, 15, label);
        }
    }
    ev_emit(hour, zone, label, event);
}

static void ask_reverse(struct ev_hour *hour, const struct asker *asker, struct ev_event event)
{
    /* Receivers look up the addresses that send them mail or visit them: a few addresses, much; the rest from everybody's logs. */
    uint8_t last = ev_rng_chance(&hour->rng, 0.8) ? (uint8_t)(20 + ev_rng_zipf(&hour->rng, 8))
                                                  : (uint8_t)ev_rng_below(&hour->rng, 256);
    struct pk_addr addr = pk_addr_v4((const uint8_t[4]){198, 18, (uint8_t)(asker->site + 1), last});
    ev_emit_reverse(hour, &addr, event);
}

/* B5: what the wildcard is there for. */
static void ask_wild(struct ev_hour *hour, const struct asker *asker, struct ev_event event)
{
    char label[EV_MAX_LABEL_TEXT];
    event.qtype = address_type(&hour->rng);
    switch (ev_rng_below(&hour->rng, 3)) {
    case 0: /* a customer's name: many customers, some much in use */
        (void)snprintf(label, sizeof label, "kd%u", 20000 + ev_rng_zipf(&hour->rng, 30000));
        break;
    case 1: { /* a shop that a customer named himself */
        struct ev_rng rng = ev_rng_begin(
            hour->world->options.seed, 'K', asker->zone, ev_rng_zipf(&hour->rng, 5000));
        ev_label_product(&rng, label);
        break;
    }
    default: /* never the same twice: cache busters, message numbers */
        (void)snprintf(label, sizeof label, "%012llx.t",
            (unsigned long long)(ev_rng_next(&hour->rng) & 0xffffffffffff));
    }
    ev_emit(hour, &hour->world->zones[asker->zone], label, event);
}

static void ask(struct ev_hour *hour)
{
    struct asker asker = any_asker(hour);
    const struct ev_zone *zone = &hour->world->zones[asker.zone];
    struct ev_event event = {.time_us = ev_any_time(hour),
        .site = asker.site,
        .client = asker.resolver.addr,
        .vantage = PK_VANTAGE_AUTHORITATIVE,
        .is_mixed_case = asker.resolver.is_mixing_case,
        .flags = PK_SIG_QUERY_EDNS};
    event.flags |= asker.resolver.is_validating ? PK_SIG_QUERY_DO : 0;
    if (zone->is_wildcard && ev_rng_chance(&hour->rng, 0.35)) {
        ask_wild(hour, &asker, event);
        return;
    }
    size_t before = hour->out->n;
    enum kind kind = (enum kind)ev_rng_pick(&hour->rng, shares, N_KINDS);
    switch (kind) {
    case KIND_HOST:
        ask_host(hour, &asker, event);
        break;
    case KIND_APEX:
    case KIND_VALIDATOR:
        ask_apex(hour, zone, kind, event);
        break;
    case KIND_POLICY:
    case KIND_AUTOCONF:
        ask_fixed(hour, zone, kind, event);
        break;
    case KIND_REVERSE:
        ask_reverse(hour, &asker, event);
        break;
    case KIND_RETIRED:
    case KIND_TYPO:
    case KIND_SUFFIX:
    case KIND_JUNK:
    case N_KINDS:
        ask_missing(hour, &asker, kind, event);
        break;
    }
    if (hour->out->n > before && ev_rng_chance(&hour->rng, 0.02)) { /* asked again: 1-3 % */
        struct ev_event again = hour->out->events[hour->out->n - 1];
        struct pk_name name = {.len = again.name_len};
        memcpy(name.wire, hour->out->names + again.name_pos, name.len);
        again.time_us += 800000 + ev_rng_below(&hour->rng, 4000000);
        ev_traffic_add(hour->out, &again, &name);
    }
}

void ev_mix_authority(struct ev_hour *hour, double volume)
{
    double mean = 33000 * volume * hour->mix->scale * ev_day_curve(hour->hour, false);
    for (uint32_t i = ev_rng_poisson(&hour->rng, mean); i > 0; i--) {
        ask(hour);
    }
}

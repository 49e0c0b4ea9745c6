/* B1, B2, B3: inside clients and their resolvers.
 *
 * B1: 50 branches of about 50 clients: intranet, directory service records, proxy discovery, browsers' probes of three random labels, names
 * of printers and file servers that moved, search suffixes behind everything, an inventory that walks all workstations at night
 * (a twentieth are gone), monitoring every five minutes. B2: mail gateways: own policy records, sender names that pretend to be ours.
 * B3: pods with ndots:5 and four search suffixes (Kubernetes dns-pod-service): each outside name is four misses first. */
#include <stdio.h>
#include <string.h>

#include "picket/dnsmsg.h"

#include "mix.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

enum {
    CLIENTS = 50,
    PODS = 60,
};

static struct ev_event inside_event(struct ev_hour *hour, uint8_t site, uint8_t net, uint8_t last)
{
    return (struct ev_event){.time_us = ev_any_time(hour),
        .site = site,
        .is_inside = 1,
        .client = pk_addr_v4((const uint8_t[4]){10, (uint8_t)(site + 1), net, last}),
        .vantage = PK_VANTAGE_RESOLVER,
        .qtype = PK_TYPE_A,
        .flags = PK_SIG_QUERY_RD | PK_SIG_RA};
}

static void pair(
    struct ev_hour *hour, const struct ev_zone *zone, const char *label, struct ev_event event)
{
    ev_emit(hour, zone, label, event);
    if (ev_rng_chance(&hour->rng, 0.7)) {
        event.qtype = PK_TYPE_AAAA;
        event.time_us += 200;
        ev_emit(hour, zone, label, event);
    }
}

static void office_probe(struct ev_hour *hour, struct ev_event event)
{
    char label[EV_MAX_LABEL_TEXT];
    for (unsigned i = 0; i < 3; i++) {
        ev_label_random(&hour->rng, 7, 15, label);
        ev_emit(hour, &hour->world->zones[EV_ZONE_AD], label, event);
        ev_emit(hour, &hour->world->zones[EV_ZONE_GROUP], label, event);
        event.time_us += 1000;
    }
}

static void office_directory(struct ev_hour *hour, struct ev_event event)
{
    static const char *const records[] = {"_ldap._tcp.dc._msdcs", "_kerberos._tcp.dc._msdcs",
        "_ldap._tcp", "_kerberos._udp", "_gc._tcp", "_vlmcs._tcp", "_kpasswd._tcp"};
    char label[EV_MAX_LABEL_TEXT];
    event.qtype = PK_TYPE_SRV;
    if (ev_rng_chance(&hour->rng, 0.5)) {
        (void)snprintf(label, sizeof label, "_ldap._tcp.s%02u._sites.dc._msdcs", event.site + 1U);
    } else {
        (void)snprintf(label, sizeof label, "%s", records[ev_rng_zipf(&hour->rng, COUNT(records))]);
    }
    ev_emit(hour, &hour->world->zones[EV_ZONE_AD], label, event);
}

static const struct ev_host *any_host(struct ev_hour *hour, const struct ev_zone *zone)
{
    return &hour->world->hosts[zone->first_host + ev_rng_zipf(&hour->rng, zone->n_hosts)];
}

static void office_ask(struct ev_hour *hour, uint8_t site, uint8_t client)
{
    static const double shares[] = {40, 14, 6, 3, 4, 4, 5, 24};
    const struct ev_zone *ad = &hour->world->zones[EV_ZONE_AD];
    const struct ev_zone *own = &hour->world->zones[EV_ZONE_SITE + site];
    struct ev_event event = inside_event(hour, site, 1, client);
    char label[EV_MAX_LABEL_TEXT], text[300];
    const char *external =
        hour->world->externals[ev_rng_zipf(&hour->rng, hour->world->n_externals)];
    switch (ev_rng_pick(&hour->rng, shares, COUNT(shares))) {
    case 0: {
        const struct ev_zone *zone =
            ev_rng_chance(&hour->rng, 0.5) ? &hour->world->zones[EV_ZONE_GROUP] : own;
        pair(hour, zone, any_host(hour, zone)->label, event);
        break;
    }
    case 1:
        office_directory(hour, event);
        break;
    case 2:
        ev_emit(hour, ad, "wpad", event);
        ev_emit(hour, &hour->world->zones[EV_ZONE_GROUP], "wpad", event);
        break;
    case 3:
        office_probe(hour, event);
        break;
    case 4: /* a printer or file server that moved: each client has its own few */
        ev_label_retired(hour->world, EV_ZONE_AD,
            (uint32_t)(ev_hash3(site, client, ev_rng_below(&hour->rng, 4)) % 400), label);
        pair(hour, ad, label, event);
        break;
    case 5: /* the suffix behind everything */
        (void)snprintf(text, sizeof text, "www.%s", external);
        pair(hour, ad, text, event);
        break;
    case 6: {
        struct pk_addr addr = pk_addr_v4((const uint8_t[4]){
            10, (uint8_t)(site + 1), 2, (uint8_t)(10 + ev_rng_zipf(&hour->rng, 12))});
        ev_emit_reverse(hour, &addr, event);
        break;
    }
    default:
        (void)snprintf(text, sizeof text, "www.%s", external);
        ev_emit_foreign(hour, text, true, event);
    }
}

/* Every night each site's inventory asks for all workstations it has in its books; monitoring asks for its forty hosts all day. */
static void office_machines(struct ev_hour *hour)
{
    const struct ev_zone *ad = &hour->world->zones[EV_ZONE_AD];
    char label[EV_MAX_LABEL_TEXT];
    for (uint8_t site = 0; site < EV_N_SITES; site++) {
        for (uint32_t i = 0; i < 40 && ev_rng_chance(&hour->rng, hour->mix->scale); i++) {
            uint32_t number = (uint32_t)(ev_hash3(site, i, 'M') % ad->n_hosts);
            struct ev_event event = inside_event(hour, site, 9, 10);
            ev_emit(hour, ad, hour->world->hosts[ad->first_host + number].label, event);
        }
        if (hour->hour % 24 != 1) {
            continue;
        }
        uint32_t n = ad->n_hosts / EV_N_SITES;
        for (uint32_t i = 0; i < n; i++) {
            struct ev_event event = inside_event(hour, site, 9, 20);
            event.time_us = hour->start_us + i * 400000;
            const char *name =
                hour->world->hosts[ad->first_host + (site * n + i) % ad->n_hosts].label;
            if (ev_hash3(site, i, 'G') % 20 == 0) {
                ev_label_retired(hour->world, EV_ZONE_AD, 1000 + site * 100U + i, label);
                name = label;
            }
            ev_emit(hour, ad, name, event);
            struct pk_addr addr = pk_addr_v4(
                (const uint8_t[4]){10, (uint8_t)(site + 1), 1, (uint8_t)(10 + i % CLIENTS)});
            ev_emit_reverse(hour, &addr, event);
        }
    }
}

void ev_mix_office(struct ev_hour *hour)
{
    double mean = 22000 * hour->mix->scale * ev_day_curve(hour->hour, true);
    for (uint32_t i = ev_rng_poisson(&hour->rng, mean); i > 0; i--) {
        office_ask(hour, (uint8_t)ev_rng_below(&hour->rng, EV_N_SITES),
            (uint8_t)(10 + ev_rng_zipf(&hour->rng, CLIENTS)));
    }
    office_machines(hour);
}

static void mail_ask(struct ev_hour *hour)
{
    static const double shares[] = {30, 18, 10, 12, 30};
    static const char *const policies[] = {"_dmarc", "selector1._domainkey", "selector2._domainkey",
        "_mta-sts", "_smtp._tls", "default._bimi", "mail", "mx1", "mx2"};
    uint8_t site = (uint8_t)(5 * ev_rng_below(&hour->rng, EV_N_SITES / 5));
    const struct ev_zone *zone =
        &hour->world->zones[ev_rng_chance(&hour->rng, 0.4)
                                ? EV_ZONE_GROUP
                                : EV_ZONE_SITE + ev_rng_zipf(&hour->rng, EV_N_SITES)];
    struct ev_event event =
        inside_event(hour, site, 3, (uint8_t)(25 + ev_rng_below(&hour->rng, 2)));
    char label[EV_MAX_LABEL_TEXT], text[300];
    uint64_t sender = ev_rng_next(&hour->rng);
    switch (ev_rng_pick(&hour->rng, shares, COUNT(shares))) {
    case 0: /* mail from ourselves */
        (void)snprintf(
            label, sizeof label, "%s", policies[ev_rng_zipf(&hour->rng, COUNT(policies))]);
        event.qtype = label[0] == 'm' ? PK_TYPE_A : PK_TYPE_TXT;
        ev_emit(hour, zone, label, event);
        break;
    case 1:
        event.qtype = ev_rng_chance(&hour->rng, 0.5) ? PK_TYPE_MX : PK_TYPE_TXT;
        ev_emit(hour, zone, "", event);
        break;
    case 2: /* a greeting that pretends to be one of ours: mostly the apex or a mail name, else made up */
        if (ev_rng_chance(&hour->rng, 0.6)) {
            ev_emit(hour, zone, ev_rng_chance(&hour->rng, 0.5) ? "" : "mail", event);
        } else {
            ev_label_random(&hour->rng, 4, 10, label);
            ev_emit(hour, zone, label, event);
        }
        break;
    case 3: {
        struct pk_addr addr = pk_addr_v4((const uint8_t[4]){198, 18,
            (uint8_t)(1 + ev_rng_zipf(&hour->rng, EV_N_SITES)), (uint8_t)(20 + sender % 6)});
        ev_emit_reverse(hour, &addr, event);
        break;
    }
    default: /* the sender's address backwards, and in two block lists */
        (void)snprintf(text, sizeof text, "%u.%u.%u.%u.in-addr.arpa", (unsigned)(sender & 255),
            (unsigned)(sender >> 8 & 255), (unsigned)(sender >> 16 & 255),
            60 + (unsigned)(sender >> 24) % 40);
        event.qtype = PK_TYPE_PTR;
        ev_emit_foreign(hour, text, sender % 3 > 0, event);
        (void)snprintf(text, sizeof text, "%u.%u.%u.%u.bl.%s", (unsigned)(sender & 255),
            (unsigned)(sender >> 8 & 255), (unsigned)(sender >> 16 & 255),
            60 + (unsigned)(sender >> 24) % 40, sender & 1 ? "spamlist.example" : "dnsbl.example");
        event.qtype = PK_TYPE_A;
        ev_emit_foreign(hour, text, sender % 5 == 0, event);
    }
}

void ev_mix_mail(struct ev_hour *hour)
{
    double mean = 30000 * hour->mix->scale * ev_day_curve(hour->hour, false);
    for (uint32_t i = ev_rng_poisson(&hour->rng, mean); i > 0; i--) {
        mail_ask(hour);
    }
}

/* One lookup of a pod: search suffixes in order until something answers. */
static void pod_lookup(struct ev_hour *hour, const char *name, unsigned dots, struct ev_event event)
{
    static const char *const spaces[] = {"shop", "billing", "search", "infra", "monitoring"};
    const struct ev_zone *own = &hour->world->zones[EV_ZONE_SITE + event.site];
    char text[300];
    if (dots < 5) {
        const char *space = spaces[event.client.bytes[3] % COUNT(spaces)];
        const char *const suffixes[] = {"svc.cluster.local", "cluster.local"};
        (void)snprintf(text, sizeof text, "%s.%s.svc.cluster.local", name, space);
        ev_emit_foreign(hour, text, false, event);
        for (unsigned i = 0; i < 2; i++) {
            (void)snprintf(text, sizeof text, "%s.%s", name, suffixes[i]);
            ev_emit_foreign(hour, text, false, event);
        }
        pair(hour, own, name, event); /* the node's own suffix: in our zone */
    }
    ev_emit_foreign(hour, name, true, event);
}

void ev_mix_kubernetes(struct ev_hour *hour)
{
    double mean = 16000 * hour->mix->scale * ev_day_curve(hour->hour, false);
    for (uint32_t i = ev_rng_poisson(&hour->rng, mean); i > 0; i--) {
        /* Eight sites run clusters; a pod lives about six hours and then has another address. */
        uint8_t site = (uint8_t)(6 * ev_rng_below(&hour->rng, 8));
        uint32_t pod = ev_rng_zipf(&hour->rng, PODS);
        uint64_t where = ev_hash3(site, pod, (hour->hour + pod % 6) / 6);
        struct ev_event event =
            inside_event(hour, site, (uint8_t)(64 + where % 16), (uint8_t)(1 + (where >> 8) % 250));
        const struct ev_zone *group = &hour->world->zones[EV_ZONE_GROUP];
        char text[300];
        /* A workload talks to about twenty outside services and a handful of ours. */
        uint64_t service = ev_hash3(site, pod % 12, ev_rng_zipf(&hour->rng, 24));
        if (ev_rng_chance(&hour->rng, 0.75)) {
            (void)snprintf(text, sizeof text, "%s%s", service % 2 ? "api." : "",
                hour->world->externals[service % hour->world->n_externals]);
            pod_lookup(hour, text, 2, event);
        } else {
            const struct ev_host *host =
                &hour->world->hosts[group->first_host + service % group->n_hosts];
            (void)snprintf(text, sizeof text, "%s.acme-group.example", host->label);
            pod_lookup(hour, text, 3, event);
            pair(hour, group, host->label, event);
        }
    }
}

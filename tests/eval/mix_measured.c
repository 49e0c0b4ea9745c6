/* B7: shares and shapes as measured in real captures, at the tenant's zones.
 *
 * Measured with `picket-sensor --output transactions` (tests/eval/measure prints these numbers again) over the shared captures:
 *
 *   compactor__nsd-live.raw.pcap.xz, 60 s at a root server: 10,432 transactions, 2,491 sources, 10,091 first contacts
 *     NXDOMAIN 0.629, referral 0.320, data 0.037, truncated 0.010, nodata 0.002
 *     A 0.572 AAAA 0.233 NS 0.053 PTR 0.038 SRV 0.030 DS 0.026 SOA 0.019 ANY 0.013 MX 0.007 TXT 0.006 DNSKEY 0.002
 *     transactions a source: median 1, p90 8, p99 53, most 266 (2.5 %), 55 % asked once
 *     distinct names with NXDOMAIN a source: most 263 247 124 120 101; 45 % of sources have any
 *     case mixed 0.176, DO 0.707, RD 0.018, TCP 0.010; first label length q10 3, median 8, q90 14
 *     of the missing names 40 % are one label of 7-15 letters (flat between: browsers' probes); the rest are names of homes and offices
 *     with a suffix that leaked: <host>.local, _ldap._tcp.<site>._sites.<domain>, wpad.<..>, lb._dns-sd._udp.<..>, addresses, URLs
 *   pcapplusplus__DnsPackets.pcap, dns-probe__udp_simple.pcap, small captures together: clients, NXDOMAIN 0.009, 0, 0.059
 *
 * A root server sees the leaks of everybody; the tenant's own zones here get theirs, with the root server's share of misses, sources,
 * types and shapes: a hard mix on purpose. Volumes: what a source sends in that minute, it sends in an hour here, and the sources of
 * an hour are drawn anew from the same population, so that they come back. */
#include <stdio.h>
#include <string.h>

#include "picket/dnsmsg.h"

#include "mix.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* Transactions a source, by quantile: 0.55 at 1, 0.9 at 8, 0.99 at 53, 1 at 266; geometric between. */
static uint32_t source_volume(struct ev_rng *rng)
{
    static const double quantiles[] = {0.55, 0.90, 0.99, 1.0};
    static const double volumes[] = {1, 8, 53, 266};
    double u = ev_rng_unit(rng);
    if (u < quantiles[0]) {
        return 1;
    }
    size_t i = 1;
    while (u > quantiles[i]) {
        i++;
    }
    double along = (u - quantiles[i - 1]) / (quantiles[i] - quantiles[i - 1]);
    return (uint32_t)(volumes[i - 1] * pow(volumes[i] / volumes[i - 1], along) + 0.5);
}

static void leaked(struct ev_hour *hour, uint64_t source, char *out_label, size_t size)
{
    static const double shapes[] = {40, 14, 10, 6, 6, 14, 10};
    static const char *const devices[] = {"touchpanel", "vaio", "iphone", "nas", "printer",
        "server", "desktop", "tv", "camera", "gateway", "proxy", "update"};
    char label[EV_MAX_LABEL_TEXT];
    struct ev_rng home = ev_rng_begin(source, 'h', ev_rng_below(&hour->rng, 4), 0);
    switch (ev_rng_pick(&hour->rng, shapes, COUNT(shapes))) {
    case 0:
        ev_label_random(&hour->rng, 7, 15, label);
        (void)snprintf(out_label, size, "%s", label);
        break;
    case 1: /* this home's machines: always the same few */
        (void)snprintf(out_label, size, "%s-%04x", devices[ev_rng_below(&home, COUNT(devices))],
            ev_rng_below(&home, 65536));
        break;
    case 2:
        ev_label_product(&home, label);
        (void)snprintf(out_label, size, "_ldap._tcp.%s._sites.dc._msdcs", label);
        break;
    case 3:
        (void)snprintf(out_label, size, "wpad");
        break;
    case 4:
        (void)snprintf(out_label, size, "%s._dns-sd._udp",
            (const char *const[]){"lb", "b", "db", "dr", "r"}[ev_rng_below(&hour->rng, 5)]);
        break;
    case 5: /* somebody else's name with our suffix behind it */
        (void)snprintf(out_label, size, "%s",
            hour->world->externals[ev_rng_zipf(&hour->rng, hour->world->n_externals)]);
        break;
    default: /* an address taken for a name */
        (void)snprintf(out_label, size, "%u.%u.%u.%u", ev_rng_below(&hour->rng, 256),
            ev_rng_below(&hour->rng, 256), ev_rng_below(&hour->rng, 256),
            ev_rng_below(&hour->rng, 256));
    }
}

static void ask(struct ev_hour *hour, const struct ev_resolver *resolver, uint64_t source)
{
    static const uint16_t types[] = {PK_TYPE_A, PK_TYPE_AAAA, PK_TYPE_NS, PK_TYPE_PTR, PK_TYPE_SRV,
        PK_TYPE_DS, PK_TYPE_SOA, PK_TYPE_ANY, PK_TYPE_MX, PK_TYPE_TXT, 48};
    static const double shares[] = {57.2, 23.3, 5.3, 3.8, 3.0, 2.6, 1.9, 1.3, 0.7, 0.6, 0.2};
    struct ev_rng *rng = &hour->rng;
    uint8_t site = resolver->sites[ev_rng_zipf(rng, 3)];
    uint32_t z = ev_rng_chance(rng, 0.35) ? EV_ZONE_GROUP : EV_ZONE_SITE + (uint32_t)site;
    const struct ev_zone *zone = &hour->world->zones[z];
    struct ev_event event = {.time_us = ev_any_time(hour),
        .site = site,
        .client = resolver->addr,
        .vantage = PK_VANTAGE_AUTHORITATIVE,
        .transport = ev_rng_chance(rng, 0.01) ? PK_TRANSPORT_TCP : PK_TRANSPORT_UDP,
        .qtype = types[ev_rng_pick(rng, shares, COUNT(types))],
        .is_mixed_case = resolver->is_mixing_case,
        .flags = PK_SIG_QUERY_EDNS};
    event.flags |= source % 1000 < 707 ? PK_SIG_QUERY_DO : 0;
    char label[300];
    if (event.qtype == PK_TYPE_PTR) {
        struct pk_addr addr = pk_addr_v4((const uint8_t[4]){
            198, 18, (uint8_t)(site + 1), (uint8_t)(20 + ev_rng_zipf(rng, 200))});
        ev_emit_reverse(hour, &addr, event);
        return;
    }
    if (ev_rng_chance(rng, 0.629)) {
        leaked(hour, source, label, sizeof label);
    } else {
        (void)snprintf(label, sizeof label, "%s",
            event.qtype == PK_TYPE_NS || event.qtype == PK_TYPE_SOA || event.qtype == PK_TYPE_MX
                ? ""
                : hour->world->hosts[zone->first_host + ev_rng_zipf(rng, zone->n_public)].label);
    }
    ev_emit(hour, zone, label, event);
}

void ev_mix_measured(struct ev_hour *hour)
{
    /* 2,491 sources sent 10,432: about 4.2 each. */
    double mean = 33000 / 4.2 * hour->mix->scale * ev_day_curve(hour->hour, false);
    uint32_t n_sources = ev_rng_poisson(&hour->rng, mean);
    for (uint32_t i = 0; i < n_sources; i++) {
        uint32_t number = ev_rng_below(&hour->rng, hour->world->options.n_resolvers);
        struct ev_resolver resolver = ev_resolver(hour->world, number);
        /* A source's volume is its own for good: the busy ones are busy every time they come. */
        struct ev_rng own = ev_rng_begin(hour->world->options.seed, 'V', number, 0);
        uint64_t source = ev_rng_next(&own);
        for (uint32_t k = source_volume(&own); k > 0; k--) {
            ask(hour, &resolver, source);
        }
    }
}

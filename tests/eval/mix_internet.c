/* B6: what the Internet does to any name server, besides asking for what it needs.
 *
 * A third of B4 as ground, and on it: twenty research scanners (each zone once a day: apex types, www, policy names, some the server's
 * version, some a random label to learn of wildcards), followers of certificate logs (minutes after a new name), uptime monitors, our own
 * declared scanner with names of our own, two declared secondaries, on day 4 at 14:00 a random-subdomain flood of 2,000 q/s for ten minutes,
 * on day 5 at 09:00 a roll-out with a wrong suffix at all branches at once (clients inside, and their resolvers at our servers). */
#include <stdio.h>
#include <string.h>

#include "picket/dnsmsg.h"

#include "mix.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

enum {
    N_RESEARCH = 20,
    N_MONITORS = 10,
    CERTIFICATES_A_DAY = 4,
    FLOOD_QPS = 2000,
    ROLLOUT_NAMES = 25,
};

static struct ev_event outside(struct ev_hour *hour, struct pk_addr addr, uint8_t site)
{
    return (struct ev_event){.time_us = ev_any_time(hour),
        .site = site,
        .client = addr,
        .vantage = PK_VANTAGE_AUTHORITATIVE,
        .qtype = PK_TYPE_A,
        .flags = PK_SIG_QUERY_EDNS};
}

static void version_question(struct ev_hour *hour, struct ev_event event)
{
    struct pk_name name;
    ev_name_from("version.bind", &name);
    event.qtype = PK_TYPE_TXT;
    event.qclass = PK_CLASS_CH;
    event.answer = PK_ANSWER_ERROR;
    event.rcode = PK_RCODE_REFUSED;
    ev_traffic_add(hour->out, &event, &name);
}

static void research(struct ev_hour *hour)
{
    static const uint16_t types[] = {PK_TYPE_SOA, PK_TYPE_NS, PK_TYPE_MX, PK_TYPE_A, PK_TYPE_AAAA,
        PK_TYPE_TXT, 257, 48, PK_TYPE_DS};
    for (uint32_t who = 0; who < N_RESEARCH; who++) {
        uint64_t habits = ev_hash3(hour->world->options.seed, 'S', who);
        if (hour->hour % 24 != habits % 24) {
            continue;
        }
        for (uint32_t z = 0; z <= EV_N_SITES; z++) {
            struct pk_addr addr = ev_outside_addr(habits & ~UINT64_C(255));
            addr.bytes[addr.family == 4 ? 3 : 15] = (uint8_t)(1 + (z + hour->hour) % 16);
            uint8_t site = (uint8_t)(z == EV_ZONE_GROUP ? habits % EV_N_SITES : z - EV_ZONE_SITE);
            struct ev_event event = outside(hour, addr, site);
            const struct ev_zone *zone = &hour->world->zones[z];
            for (unsigned i = 0; i < COUNT(types); i++) {
                event.qtype = types[i];
                event.time_us += 5000;
                ev_emit(hour, zone, "", event);
            }
            event.qtype = PK_TYPE_A;
            ev_emit(hour, zone, "www", event);
            if (who % 2 == 0) {
                event.qtype = PK_TYPE_TXT;
                ev_emit(hour, zone, "_dmarc", event);
                ev_emit(hour, zone, "_mta-sts", event);
            }
            if (who % 7 == 0) {
                char label[EV_MAX_LABEL_TEXT];
                ev_label_random(&hour->rng, 12, 12, label);
                event.qtype = PK_TYPE_A;
                ev_emit(hour, zone, label, event);
            }
            if (who % 5 == 0) {
                version_question(hour, event);
            }
        }
    }
}

static void certificates(struct ev_hour *hour)
{
    double chance = CERTIFICATES_A_DAY / 24.0;
    if (!ev_rng_chance(&hour->rng, chance)) {
        return;
    }
    uint32_t z = ev_rng_chance(&hour->rng, 0.5)
                     ? EV_ZONE_GROUP
                     : EV_ZONE_SITE + ev_rng_below(&hour->rng, EV_N_SITES);
    const struct ev_zone *zone = &hour->world->zones[z];
    const struct ev_host *host =
        &hour->world->hosts[zone->first_host + ev_rng_below(&hour->rng, zone->n_hosts)];
    int64_t issued = ev_any_time(hour);
    uint32_t followers = 25 + ev_rng_below(&hour->rng, 40);
    for (uint32_t i = 0; i < followers; i++) {
        uint64_t who = ev_hash3(hour->world->options.seed, 'T', ev_rng_zipf(&hour->rng, 150));
        uint8_t site = (uint8_t)(z == EV_ZONE_GROUP ? who % EV_N_SITES : z - EV_ZONE_SITE);
        struct ev_event event = outside(hour, ev_outside_addr(who), site);
        char label[EV_MAX_LABEL_TEXT];
        event.time_us = issued + 20000000 + (int64_t)(ev_rng_unit(&hour->rng) * 280e6);
        ev_emit(hour, zone, host->label, event);
        event.qtype = PK_TYPE_AAAA;
        ev_emit(hour, zone, host->label, event);
        if (who % 3 == 0) {
            (void)snprintf(label, sizeof label, "www.%.50s", host->label);
            event.qtype = PK_TYPE_A;
            ev_emit(hour, zone, label, event);
        }
    }
}

static void monitors(struct ev_hour *hour)
{
    for (uint32_t who = 0; who < N_MONITORS; who++) {
        uint64_t habits = ev_hash3(hour->world->options.seed, 'U', who);
        uint8_t site = (uint8_t)(habits % EV_N_SITES);
        const struct ev_zone *zone = &hour->world->zones[EV_ZONE_SITE + site];
        struct ev_event event = outside(hour, ev_outside_addr(habits), site);
        event.time_us = hour->start_us + (int64_t)(habits % 60) * 1000000;
        for (unsigned i = 0; i < 60; i++, event.time_us += 60000000) {
            ev_emit(hour, zone,
                hour->world->hosts[zone->first_host + habits % 5 % zone->n_hosts].label, event);
        }
    }
}

/* Ours: asks for what it once saw anywhere in the group, in every zone, at night. */
static void own_scanner(struct ev_hour *hour)
{
    if (hour->hour % 24 != 3) {
        return;
    }
    for (uint32_t i = 0; i < 3000; i++) {
        uint32_t z = i % (EV_N_SITES + 1);
        struct ev_event event = outside(hour, pk_addr_v4((const uint8_t[4]){203, 0, 113, 200}),
            (uint8_t)(z == EV_ZONE_GROUP ? i % EV_N_SITES : z - EV_ZONE_SITE));
        uint32_t any = ev_rng_below(&hour->rng, hour->world->zones[EV_ZONE_AD].first_host);
        ev_emit(hour, &hour->world->zones[z], hour->world->hosts[any].label, event);
    }
}

static void secondaries(struct ev_hour *hour)
{
    for (uint32_t z = 0; z <= EV_N_SITES; z++) {
        const struct ev_zone *zone = &hour->world->zones[z];
        for (uint8_t which = 0; which < 2; which++) {
            struct ev_event event =
                outside(hour, pk_addr_v4((const uint8_t[4]){192, 0, 2, (uint8_t)(7 + which)}),
                    (uint8_t)(z == EV_ZONE_GROUP ? 0 : z - EV_ZONE_SITE));
            event.qtype = PK_TYPE_SOA;
            event.time_us = hour->start_us + (int64_t)z * 1000000;
            for (unsigned i = 0; i < 4; i++, event.time_us += EV_HOUR_US / 4) {
                ev_emit(hour, zone, "", event);
            }
            if (ev_hash3(hour->world->options.seed, z, hour->hour) % 12 == 0) {
                event.time_us = ev_any_time(hour);
                event.transport = PK_TRANSPORT_TCP;
                event.qtype = PK_TYPE_IXFR;
                event.qclass = PK_CLASS_IN;
                event.answer = PK_ANSWER_TRANSFER;
                event.transfer_records = 6;
                ev_traffic_add(hour->out, &event, &zone->name);
            }
        }
    }
}

static void flood(struct ev_hour *hour)
{
    if (hour->hour != 4 * 24 + 14) {
        return;
    }
    const struct ev_zone *zone = &hour->world->zones[EV_ZONE_SITE + 4];
    uint32_t n = (uint32_t)(FLOOD_QPS * 600 * (hour->mix->scale < 1 ? hour->mix->scale : 1));
    for (uint32_t i = 0; i < n; i++) {
        struct ev_resolver resolver =
            ev_rng_chance(&hour->rng, 0.2)
                ? ev_public_resolver(hour->world, ev_rng_zipf(&hour->rng, EV_N_OPERATORS),
                      ev_rng_below(&hour->rng, EV_EGRESS))
                : ev_resolver(
                      hour->world, ev_rng_below(&hour->rng, hour->world->options.n_resolvers));
        struct ev_event event = outside(hour, resolver.addr, 4);
        event.time_us = hour->start_us + (int64_t)(ev_rng_unit(&hour->rng) * 600e6);
        char label[EV_MAX_LABEL_TEXT];
        ev_label_random(&hour->rng, 8, 16, label);
        ev_emit(hour, zone, label, event);
    }
}

static void rollout(struct ev_hour *hour)
{
    if (hour->hour != 5 * 24 + 8) { /* nine o'clock there */
        return;
    }
    const struct ev_zone *group = &hour->world->zones[EV_ZONE_GROUP];
    for (uint8_t site = 0; site < EV_N_SITES; site++) {
        for (uint32_t i = 0; i < ROLLOUT_NAMES; i++) {
            char label[EV_MAX_LABEL_TEXT];
            (void)snprintf(label, sizeof label, "%.40s.prodd",
                hour->world->hosts[group->first_host + 3 + i % (group->n_hosts - 3)].label);
            for (uint8_t client = 0; client < 40; client++) {
                struct ev_event event = outside(hour,
                    pk_addr_v4(
                        (const uint8_t[4]){10, (uint8_t)(site + 1), 1, (uint8_t)(10 + client)}),
                    site);
                event.is_inside = 1;
                event.vantage = PK_VANTAGE_RESOLVER;
                event.flags = PK_SIG_QUERY_RD | PK_SIG_RA;
                ev_emit(hour, group, label, event);
            }
            uint64_t branch = ev_hash3(hour->world->options.seed, 'Q', site);
            ev_emit(hour, group, label,
                outside(hour, ev_outside_addr(branch), (uint8_t)(branch % EV_N_SITES)));
        }
    }
}

void ev_mix_internet(struct ev_hour *hour)
{
    ev_mix_authority(hour, 0.33);
    research(hour);
    certificates(hour);
    monitors(hour);
    own_scanner(hour);
    secondaries(hour);
    flood(hour);
    rollout(hour);
}

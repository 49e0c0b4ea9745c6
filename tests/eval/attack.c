/* The attacks of the evaluation: see attack.h. */
#include "attack.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "picket/dnsmsg.h"

#include "mix.h"

#define COUNT(a) (uint32_t)(sizeof(a) / sizeof *(a))

/* --- lists --- */

static char **read_lines(const char *folder, const char *path, uint32_t *out_n)
{
    char line[512];
    (void)snprintf(line, sizeof line, "%s/%s", folder, path);
    FILE *file = fopen(line, "re");
    char **lines = NULL;
    size_t cap = 0, n = 0;
    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\r\n")] = 0;
        if (n == cap) {
            cap = cap ? 2 * cap : 1024;
            lines = realloc(lines, cap * sizeof *lines);
        }
        if (*line && lines) {
            lines[n++] = strdup(line);
        }
    }
    if (file) {
        (void)fclose(file);
    }
    *out_n = (uint32_t)n;
    return lines;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Second-level labels from rank 3,000 on that no word list has: words nobody would call common. */
static void keep_uncommon(struct ev_lists *lists)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < lists->n_heldout; i++) {
        char *label = lists->heldout[i];
        label[strcspn(label, ".")] = 0;
        bool is_good =
            i >= 3000 && strlen(label) >= 5 && !isdigit((unsigned char)label[0]) &&
            !bsearch(&label, lists->alphabetical, lists->n_alphabetical, sizeof(char *), by_text);
        if (is_good) {
            lists->heldout[kept++] = label;
        } else {
            free(label);
        }
    }
    lists->n_heldout = kept;
}

bool ev_lists_load(const char *folder, struct ev_lists *out_lists)
{
    *out_lists = (struct ev_lists){0};
    if (!folder) {
        return false;
    }
    out_lists->popular = read_lines(
        folder, "wordlists/dnsrecon__subdomains-top1mil-5000.txt", &out_lists->n_popular);
    out_lists->alphabetical = read_lines(
        folder, "wordlists/dnsrecon__subdomains-top1mil-20000.txt", &out_lists->n_alphabetical);
    out_lists->heldout =
        read_lines(folder, "domains/opendns__opendns-top-domains.txt", &out_lists->n_heldout);
    if (!out_lists->n_popular || !out_lists->n_alphabetical || !out_lists->n_heldout) {
        return false;
    }
    qsort(out_lists->alphabetical, out_lists->n_alphabetical, sizeof(char *), by_text);
    keep_uncommon(out_lists);
    return true;
}

void ev_lists_done(struct ev_lists *lists)
{
    char **const all[] = {lists->popular, lists->alphabetical, lists->heldout};
    const uint32_t n[] = {lists->n_popular, lists->n_alphabetical, lists->n_heldout};
    for (unsigned i = 0; i < 3; i++) {
        for (uint32_t k = 0; k < n[i]; k++) {
            free(all[i][k]);
        }
        free(all[i]);
    }
    *lists = (struct ev_lists){0};
}

/* --- making --- */

struct maker {
    const struct ev_world *world;
    const struct ev_cell *cell;
    const struct ev_lists *lists;
    struct ev_campaign *campaign;
    struct ev_rng rng;
    int64_t now_us;
    uint32_t n; /* queries so far */
    uint32_t list_at;
};

void ev_attack_sites(const struct ev_cell *cell, uint8_t out_sites[EV_N_SITES])
{
    struct ev_rng rng = ev_rng_begin(cell->attack_seed, 'A', cell->sites, 0);
    for (uint32_t i = 0; i < EV_N_SITES; i++) {
        out_sites[i] = (uint8_t)i;
    }
    for (uint32_t i = EV_N_SITES - 1; i > 0; i--) {
        uint32_t other = ev_rng_below(&rng, i + 1);
        uint8_t site = out_sites[i];
        out_sites[i] = out_sites[other];
        out_sites[other] = site;
    }
}

static uint32_t sources_of(const struct ev_cell *cell)
{
    switch (cell->path) {
    case EV_PATH_OWN:
    case EV_PATH_BUSY:
        return 1;
    case EV_PATH_PUBLIC:
        return 50;
    case EV_PATH_DIRECT:
    case EV_PATH_INSIDE:
        break;
    }
    return cell->sources;
}

static void make_sources(struct maker *m)
{
    struct ev_campaign *campaign = m->campaign;
    campaign->n_sources = sources_of(m->cell);
    campaign->sources = calloc(campaign->n_sources, sizeof *campaign->sources);
    uint64_t net = ev_rng_next(&m->rng);
    for (uint32_t i = 0; campaign->sources && i < campaign->n_sources; i++) {
        struct pk_addr *addr = &campaign->sources[i];
        switch (m->cell->path) {
        case EV_PATH_BUSY:
            *addr = ev_public_resolver(m->world, 0, 0).addr;
            break;
        case EV_PATH_PUBLIC:
            *addr = ev_public_resolver(m->world, i % EV_N_OPERATORS, i / EV_N_OPERATORS).addr;
            break;
        case EV_PATH_INSIDE:
            *addr = pk_addr_v4(
                (const uint8_t[4]){10, (uint8_t)(campaign->sites[i % campaign->n_sites] + 1), 1,
                    (uint8_t)(61 + ev_rng_below(&m->rng, 150))});
            campaign->is_inside = true;
            break;
        case EV_PATH_DIRECT:
        case EV_PATH_OWN:
            *addr = ev_outside_addr(
                strcmp(m->cell->from, "net24") == 0 ? net | 0xff : ev_rng_next(&m->rng) | 0xff);
            if (strcmp(m->cell->from, "net24") == 0) {
                addr->bytes[addr->family == 4 ? 3 : 15] = (uint8_t)(1 + i % 254);
            }
            break;
        }
    }
}

static const char *alteration(struct maker *m, char *text, size_t size)
{
    static const char *const words[] = {
        "dev", "test", "stage", "old", "new", "backup", "int", "admin", "api", "v2", "beta", "qa"};
    const struct ev_zone *zone = &m->world->zones[EV_ZONE_GROUP];
    const char *base =
        m->world->hosts[zone->first_host + ev_rng_zipf(&m->rng, zone->n_public)].label;
    const char *word = words[ev_rng_below(&m->rng, COUNT(words))];
    switch (ev_rng_below(&m->rng, 3)) {
    case 0:
        (void)snprintf(text, size, "%s-%.40s", word, base);
        break;
    case 1:
        (void)snprintf(text, size, "%.*s-%s", (int)strcspn(base, "."), base, word);
        break;
    default:
        (void)snprintf(text, size, "%.*s%u", (int)strcspn(base, ".0123456789"), base,
            ev_rng_below(&m->rng, 30));
    }
    return text;
}

/* The next word of the list; with overlap, now and then one that was tried before. NULL: no such list here. */
static const char *next_word(struct maker *m, char *text, size_t size)
{
    const char *list = m->cell->list;
    uint32_t at = m->list_at++;
    if (at > 10 && ev_rng_chance(&m->rng, m->cell->overlap)) {
        at = ev_rng_below(&m->rng, at);
    }
    struct ev_rng made = ev_rng_begin(m->cell->attack_seed, 'w', at, 0);
    if (strcmp(list, "made") == 0) {
        ev_label_product(&made, text);
        (void)ev_rng_next(&made);
        (void)snprintf(
            text + strlen(text), size - strlen(text), "%s", ev_rng_chance(&made, 0.3) ? "-x" : "");
        return text;
    }
    if (strcmp(list, "alteration") == 0) {
        return alteration(m, text, size);
    }
    char **words = m->lists->popular;
    uint32_t n = m->lists->n_popular;
    if (strcmp(list, "alphabetical") == 0) {
        words = m->lists->alphabetical;
        n = m->lists->n_alphabetical;
        at += 700; /* past what begins with a digit */
    } else if (strcmp(list, "heldout") == 0) {
        words = m->lists->heldout;
        n = m->lists->n_heldout;
        at += (uint32_t)(ev_hash3(0, m->cell->attack_seed, 1) % 100);
    }
    return n ? words[at % n] : NULL;
}

static struct ev_event event_of(struct maker *m, uint8_t site, uint32_t source)
{
    bool is_inside = m->campaign->is_inside;
    struct ev_event event = {.time_us = m->now_us,
        .site = site,
        .is_inside = is_inside,
        .is_attack = 1,
        .client = m->campaign->sources[source],
        .vantage = is_inside ? PK_VANTAGE_RESOLVER : PK_VANTAGE_AUTHORITATIVE,
        .qtype = PK_TYPE_A,
        .flags = PK_SIG_QUERY_RD};
    if (m->cell->path != EV_PATH_DIRECT && !is_inside) {
        event.flags = PK_SIG_QUERY_EDNS | PK_SIG_QUERY_DO;
        event.is_mixed_case = ev_hash3(m->cell->attack_seed, source, 7) % 3 == 0;
    }
    return event;
}

static void send(
    struct maker *m, const struct ev_zone *zone, const char *label, struct ev_event event)
{
    struct pk_name name;
    ev_world_name(zone, label, &name);
    ev_world_answer(m->world, zone, &name, &event);
    ev_traffic_add(&m->campaign->traffic, &event, &name);
}

static void tick(struct maker *m)
{
    m->n++;
    m->now_us += (int64_t)((0.5 + ev_rng_unit(&m->rng)) * 1e6 / m->cell->rate);
}

static uint32_t source_of(struct maker *m, uint32_t query, uint32_t n_queries, uint32_t site_index)
{
    uint32_t n = m->campaign->n_sources;
    if (strcmp(m->cell->split, "block") == 0) {
        return (uint32_t)((uint64_t)query * n / n_queries) % n;
    }
    if (strcmp(m->cell->split, "random") == 0 || m->cell->path == EV_PATH_PUBLIC) {
        return ev_rng_below(&m->rng, n);
    }
    if (strcmp(m->cell->split, "zone") == 0) {
        return site_index % n;
    }
    return query % n;
}

static const struct ev_zone *zone_at(const struct maker *m, uint32_t site_index)
{
    uint8_t site = m->campaign->sites[site_index];
    return &m->world->zones[strcmp(m->cell->target, "zones") == 0 ? EV_ZONE_SITE + site
                                                                  : EV_ZONE_GROUP];
}

static const char *existing(struct maker *m, const struct ev_zone *zone)
{
    return m->world->hosts[zone->first_host + ev_rng_zipf(&m->rng, zone->n_public)].label;
}

/* One guess and what a tool does around it: AAAA through a resolver of one's own, a second look at a hit, hits between as padding. */
static void guess(
    struct maker *m, const struct ev_zone *zone, const char *label, struct ev_event event)
{
    for (uint32_t i = 0; i < m->cell->pad; i++) {
        send(m, zone, existing(m, zone), event);
        tick(m);
        event.time_us = m->now_us;
    }
    if (strcmp(m->cell->order, "mimic") == 0) {
        static const uint16_t types[] = {PK_TYPE_A, PK_TYPE_AAAA, 65, PK_TYPE_MX, PK_TYPE_TXT};
        static const double shares[] = {60, 25, 9, 3, 3};
        event.qtype = types[ev_rng_pick(&m->rng, shares, COUNT(shares))];
        event.flags = PK_SIG_QUERY_EDNS | PK_SIG_QUERY_DO;
    }
    send(m, zone, label, event);
    const struct ev_event *sent = &m->campaign->traffic.events[m->campaign->traffic.n - 1];
    if (m->cell->path == EV_PATH_OWN || sent->answer == PK_ANSWER_DATA) {
        event.qtype = PK_TYPE_AAAA;
        event.time_us += 30000;
        send(m, zone, label, event);
    }
}

static bool guessing(struct maker *m)
{
    uint32_t n_sites = m->campaign->n_sites, n = m->cell->queries;
    int64_t limit_us = m->now_us + (int64_t)(m->cell->hours * 3600e6);
    char text[EV_MAX_LABEL_TEXT];
    uint32_t misses = 0;
    for (uint32_t i = 0; i < n && m->now_us < limit_us; i++) {
        /* quiet: fewer than five misses a site and day */
        if (strcmp(m->cell->order, "quiet") == 0 && misses >= 4 * n_sites) {
            m->now_us +=
                INT64_C(86400000000) - (m->now_us - m->campaign->start_us) % INT64_C(86400000000);
            misses = 0;
        }
        uint32_t site_index = strcmp(m->cell->split, "zone") == 0
                                  ? (uint32_t)((uint64_t)i * n_sites / n)
                                  : ev_rng_below(&m->rng, n_sites);
        const struct ev_zone *zone = zone_at(m, site_index);
        struct ev_event event =
            event_of(m, m->campaign->sites[site_index], source_of(m, i, n, site_index));
        if (i < 2) { /* is there a wildcard? */
            ev_label_random(&m->rng, 10, 16, text);
            send(m, zone, text, event);
            tick(m);
            event.time_us = m->now_us;
        }
        const char *word = next_word(m, text, sizeof text);
        if (!word) {
            return false;
        }
        guess(m, zone, word, event);
        misses++;
        tick(m);
    }
    return true;
}

static bool reverse_sweep(struct maker *m)
{
    bool is_random = strcmp(m->cell->order, "random") == 0;
    uint32_t stride = strcmp(m->cell->order, "sparse") == 0 ? 7 : 1;
    for (uint32_t i = 0; i < m->cell->queries; i++) {
        uint32_t step = i * stride, site_index = step / 256 % m->campaign->n_sites;
        uint8_t site = m->campaign->sites[site_index];
        uint8_t last = is_random ? (uint8_t)(ev_hash3(m->cell->attack_seed, i, 3)) : (uint8_t)step;
        char text[80];
        struct pk_name name;
        uint8_t net = (uint8_t)(site + 1);
        (void)snprintf(text, sizeof text,
            m->campaign->is_inside ? "%u.1.%u.10.in-addr.arpa" : "%u.%u.18.198.in-addr.arpa", last,
            net);
        ev_name_from(text, &name);
        struct ev_event event = event_of(m, site, source_of(m, i, m->cell->queries, site_index));
        event.qtype = PK_TYPE_PTR;
        ev_world_answer(m->world, NULL, &name, &event);
        ev_traffic_add(&m->campaign->traffic, &event, &name);
        tick(m);
    }
    return true;
}

static int by_canonical_order(const void *a, const void *b)
{
    return pk_name_compare(a, b);
}

/* Walks the chain in its order (RFC 4034 s6.1): by asking for the NSEC record of each name learned, or for a name just behind it. */
static bool nsec_walk(struct maker *m, bool is_behind)
{
    uint32_t n_sites = m->campaign->n_sites, left = m->cell->queries;
    for (uint32_t s = 0; s < n_sites && left; s++) {
        const struct ev_zone *zone = zone_at(m, s);
        struct pk_name *names = calloc(zone->n_hosts, sizeof *names);
        for (uint32_t i = 0; names && i < zone->n_hosts; i++) {
            ev_world_name(zone, m->world->hosts[zone->first_host + i].label, &names[i]);
        }
        if (!names) {
            return false;
        }
        qsort(names, zone->n_hosts, sizeof *names, by_canonical_order);
        for (uint32_t i = 0; i < zone->n_hosts && left; i++, left--) {
            struct ev_event event =
                event_of(m, m->campaign->sites[s], source_of(m, i, zone->n_hosts, s));
            struct pk_name name = names[i];
            event.flags |= PK_SIG_QUERY_EDNS | PK_SIG_QUERY_DO;
            event.qtype = is_behind ? PK_TYPE_A : PK_TYPE_NSEC;
            if (is_behind) {
                name = (struct pk_name){.len = (uint8_t)(names[i].len + 2),
                    .n_labels = (uint8_t)(names[i].n_labels + 1),
                    .wire = {1, 0}};
                memcpy(name.wire + 2, names[i].wire, names[i].len);
            }
            ev_world_answer(m->world, zone, &name, &event);
            event.answer = is_behind ? event.answer : PK_ANSWER_DATA;
            ev_traffic_add(&m->campaign->traffic, &event, &name);
            tick(m);
        }
        free(names);
    }
    return true;
}

static bool nsec3_probe(struct maker *m)
{
    for (uint32_t i = 0; i < m->cell->k; i++) {
        uint32_t site_index = i % m->campaign->n_sites;
        struct ev_event event =
            event_of(m, m->campaign->sites[site_index], source_of(m, i, m->cell->k, site_index));
        char label[EV_MAX_LABEL_TEXT];
        event.flags |= PK_SIG_QUERY_EDNS | PK_SIG_QUERY_DO;
        ev_label_random(&m->rng, 8, 14, label);
        send(m, zone_at(m, site_index), label, event);
        tick(m);
    }
    return true;
}

static bool transfers(struct maker *m)
{
    for (uint32_t i = 0; i < m->cell->k; i++) {
        uint8_t site = m->campaign->sites[i % m->campaign->n_sites];
        struct ev_event event = event_of(m, site, i % m->campaign->n_sources);
        bool is_open = i % 10 == 9;
        event.transport = PK_TRANSPORT_TCP;
        event.qtype = PK_TYPE_AXFR;
        event.qclass = PK_CLASS_IN;
        event.answer = is_open ? PK_ANSWER_TRANSFER : PK_ANSWER_ERROR;
        event.rcode = is_open ? PK_RCODE_NOERROR : PK_RCODE_REFUSED;
        event.transfer_records = is_open ? 200 : 0;
        ev_traffic_add(&m->campaign->traffic, &event, &m->world->zones[EV_ZONE_SITE + site].name);
        tick(m);
    }
    return true;
}

static bool profiling(struct maker *m)
{
    static const char *const chaos[] = {
        "version.bind", "hostname.bind", "id.server", "version.server", "authors.bind"};
    static const uint16_t types[] = {
        PK_TYPE_SOA, PK_TYPE_NS, PK_TYPE_ANY, PK_TYPE_TXT, 48, PK_TYPE_MX};
    for (uint32_t i = 0; i < m->campaign->n_sites; i++) {
        uint8_t site = m->campaign->sites[i];
        struct ev_event event = event_of(m, site, i % m->campaign->n_sources);
        for (unsigned k = 0; k < COUNT(chaos); k++) {
            struct pk_name name;
            struct ev_event odd = event;
            ev_name_from(chaos[k], &name);
            odd.time_us = m->now_us;
            odd.qclass = PK_CLASS_CH;
            odd.qtype = PK_TYPE_TXT;
            odd.flags |= PK_SIG_QUERY_EDNS | PK_SIG_QUERY_NSID;
            odd.answer = PK_ANSWER_ERROR;
            odd.rcode = PK_RCODE_REFUSED;
            ev_traffic_add(&m->campaign->traffic, &odd, &name);
            tick(m);
        }
        for (unsigned k = 0; k < COUNT(types); k++) {
            event.time_us = m->now_us;
            event.qtype = types[k];
            send(m, zone_at(m, i), "", event);
            tick(m);
        }
    }
    return true;
}

/* A7, A9: from a database of others: names that were, or that are and nobody asks for. */
static bool targeted(struct maker *m, bool is_retired)
{
    for (uint32_t i = 0; i < m->cell->k; i++) {
        uint32_t site_index = i % m->campaign->n_sites;
        const struct ev_zone *zone = zone_at(m, site_index);
        struct ev_event event =
            event_of(m, m->campaign->sites[site_index], i % m->campaign->n_sources);
        char label[EV_MAX_LABEL_TEXT];
        if (is_retired) {
            send(m, zone, existing(m, zone), event);
            tick(m);
            event.time_us = m->now_us;
            ev_label_retired(m->world, (uint32_t)(zone - m->world->zones),
                EV_N_STALE + ev_rng_below(&m->rng, EV_N_RETIRED - EV_N_STALE), label);
            send(m, zone, label, event);
        } else {
            uint32_t rare = zone->n_hosts - zone->n_public;
            send(m, zone,
                m->world->hosts[zone->first_host + zone->n_public + ev_rng_below(&m->rng, rare)]
                    .label,
                event);
        }
        tick(m);
    }
    return true;
}

static bool canary(struct maker *m)
{
    struct pk_name name;
    ev_name_from("vpn-kiel3.acme-group.example", &name);
    struct ev_event event = event_of(m, m->campaign->sites[0], 0);
    ev_world_answer(m->world, &m->world->zones[EV_ZONE_GROUP], &name, &event);
    ev_traffic_add(&m->campaign->traffic, &event, &name);
    return true;
}

static bool harvesting(struct maker *m)
{
    if (strcmp(m->cell->order, "ptr") == 0) {
        return reverse_sweep(m);
    }
    if (strcmp(m->cell->order, "srv") != 0) {
        return guessing(m);
    }
    static const char *const protocols[] = {"_ldap._tcp", "_kerberos._tcp", "_kerberos._udp",
        "_gc._tcp", "_kpasswd._tcp", "_sip._tcp", "_sips._tcp", "_xmpp-client._tcp", "_h323cs._tcp",
        "_mssql._tcp", "_http._tcp", "_https._tcp", "_ftp._tcp", "_ssh._tcp", "_nfs._tcp",
        "_smb._tcp", "_ipp._tcp", "_imap._tcp", "_imaps._tcp", "_pop3._tcp", "_submission._tcp",
        "_caldav._tcp", "_carddav._tcp", "_ntp._udp", "_syslog._udp", "_snmp._udp", "_radius._udp",
        "_tftp._udp", "_git._tcp", "_rdp._tcp", "_vnc._tcp", "_docker._tcp", "_etcd-server._tcp",
        "_consul._tcp"};
    for (uint32_t i = 0; i < COUNT(protocols); i++) {
        struct ev_event event = event_of(m, m->campaign->sites[0], 0);
        event.qtype = PK_TYPE_SRV;
        send(m, &m->world->zones[i % 2 ? EV_ZONE_AD : EV_ZONE_GROUP], protocols[i], event);
        tick(m);
    }
    return true;
}

static bool make(struct maker *m)
{
    switch (atoi(m->cell->what + 1)) {
    case 1:
    case 2:
    case 11:
        return guessing(m);
    case 3:
        return reverse_sweep(m);
    case 4:
        return strcmp(m->cell->order, "nsec3") == 0
                   ? nsec3_probe(m)
                   : nsec_walk(m, strcmp(m->cell->order, "behind") == 0);
    case 5:
        return transfers(m);
    case 6:
        return profiling(m);
    case 7:
        return targeted(m, true);
    case 8:
        return canary(m);
    case 9:
        return targeted(m, false);
    case 10:
        return harvesting(m);
    default:
        return false;
    }
}

static uint32_t count_existing(
    const struct ev_campaign *campaign, const struct ev_world *world, const struct ev_cell *cell)
{
    uint32_t n = 0;
    if (strcmp(cell->target, "zones") != 0) {
        return world->zones[EV_ZONE_GROUP].n_hosts;
    }
    for (uint32_t i = 0; i < campaign->n_sites; i++) {
        n += world->zones[EV_ZONE_SITE + campaign->sites[i]].n_hosts;
    }
    return n;
}

bool ev_attack_make(const struct ev_world *world, const struct ev_cell *cell,
    const struct ev_lists *lists, uint32_t seed_number, int64_t start_us,
    struct ev_campaign *out_campaign)
{
    *out_campaign = (struct ev_campaign){.start_us = start_us, .n_sites = cell->sites};
    struct maker m = {.world = world,
        .cell = cell,
        .lists = lists,
        .campaign = out_campaign,
        .now_us = start_us,
        .rng = ev_rng_begin(
            cell->attack_seed + seed_number, 'A', (uint64_t)cell->what[1], cell->sources)};
    ev_attack_sites(cell, out_campaign->sites);
    make_sources(&m);
    if (!make(&m)) {
        ev_campaign_done(out_campaign);
        return false;
    }
    if (out_campaign->is_inside && strcmp(cell->back, "B8") == 0) {
        ev_forward(&out_campaign->traffic, 0, true);
    }
    ev_traffic_sort(&out_campaign->traffic);
    out_campaign->end_us = m.now_us;
    out_campaign->n_existing = count_existing(out_campaign, world, cell);
    return true;
}

static void stranger(const struct ev_world *world, struct ev_rng *rng, uint32_t hour, uint32_t zone,
    const char *label, struct ev_traffic *out)
{
    uint32_t site = zone == EV_ZONE_GROUP ? ev_rng_below(rng, EV_N_SITES) : zone - EV_ZONE_SITE;
    struct pk_name name;
    struct ev_event event = {.time_us = world->start_us + hour * INT64_C(3600000000) +
                                        (int64_t)(ev_rng_unit(rng) * 3600e6),
        .site = (uint8_t)site,
        .client = ev_outside_addr(ev_rng_next(rng)),
        .vantage = PK_VANTAGE_AUTHORITATIVE,
        .qtype = PK_TYPE_A,
        .flags = PK_SIG_QUERY_EDNS};
    ev_world_name(&world->zones[zone], label, &name);
    ev_world_answer(world, &world->zones[zone], &name, &event);
    ev_traffic_add(out, &event, &name);
}

void ev_attack_noise(const struct ev_world *world, const struct ev_cell *cell,
    const struct ev_lists *lists, uint32_t hour, struct ev_traffic *out)
{
    enum {
        HOURS_A_WEEK = 168
    };
    struct ev_rng rng = ev_rng_begin(cell->attack_seed, 'N', hour, 0);
    uint32_t words = lists->n_popular / 3, a_hour = words / HOURS_A_WEEK + 1;
    for (uint32_t i = 0; cell->has_preplay && words && i < a_hour; i++) {
        const char *word = lists->popular[(hour * a_hour + i) % words];
        stranger(world, &rng, hour, EV_ZONE_GROUP, word, out);
        stranger(world, &rng, hour, EV_ZONE_SITE + ev_rng_below(&rng, EV_N_SITES), word, out);
    }
    for (uint32_t i = 0; i < cell->flood; i++) {
        char label[EV_MAX_LABEL_TEXT];
        ev_label_random(&rng, 8, 16, label);
        stranger(world, &rng, hour, EV_ZONE_SITE + 4, label, out);
    }
}

void ev_campaign_done(struct ev_campaign *campaign)
{
    ev_traffic_done(&campaign->traffic);
    free(campaign->sources);
    *campaign = (struct ev_campaign){0};
}

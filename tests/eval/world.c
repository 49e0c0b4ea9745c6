/* The evaluation's tenant: see world.h. */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "picket/bytes.h"
#include "picket/dnsmsg.h"

static const char *const services[] = {"www", "mail", "autodiscover", "smtp", "vpn", "portal",
    "webmail", "ns1", "ns2", "mx1", "mx2", "remote", "api", "shop", "sip", "lyncdiscover",
    "intranet", "extranet", "ftp", "sftp", "jobs", "news", "support", "download", "cdn", "static",
    "img", "status", "login", "sso", "adfs", "mdm", "citrix", "git", "jira", "wiki", "test", "dev",
    "stage", "blog", "events", "press", "partner", "supplier", "billing", "survey", "training",
    "crm", "erp", "hr", "travel", "fleet", "iot-gw", "mqtt", "grafana", "vcenter", "backup", "ntp",
    "proxy"};
static const char *const places[] = {"ber", "ham", "muc", "kel", "lej", "zrh", "vie", "prg", "waw",
    "krk", "bud", "bcn", "mad", "lis", "opo", "lyo", "tls", "ant", "rtm", "ein", "cph", "arn",
    "got", "osl", "hel", "tll", "rix", "dub", "crk", "man", "lba", "edi", "yul", "yyz", "ord",
    "bos", "slc", "gru", "scl", "nrt", "icn", "sin", "bom", "blr", "syd", "akl"};
static const char *const roles[] = {"sw", "fw", "rtr", "ap", "srv", "esx", "san", "db", "app",
    "web", "prn", "cam", "ups", "wlc", "lb", "dc", "fs", "mon", "log", "ts", "plc", "scada",
    "badge"};
static const char *const stages[] = {"dev", "stage", "test", "uat", "prod", "old", "demo", "int"};
static const char *const syllables[] = {"ka", "ra", "du", "na", "vo", "li", "mer", "tan", "so",
    "bel", "cor", "vi", "zen", "pra", "to", "mi", "lux", "ne", "or", "fa", "gro", "hel", "ix", "jo",
    "que", "sta", "tri", "ul", "wen", "ya"};

#define COUNT(a) (uint32_t)(sizeof(a) / sizeof *(a))

void ev_label_random(
    struct ev_rng *rng, uint32_t min, uint32_t max, char out_label[EV_MAX_LABEL_TEXT])
{
    uint32_t n = min + ev_rng_below(rng, max - min + 1);
    for (uint32_t i = 0; i < n; i++) {
        out_label[i] = (char)('a' + ev_rng_below(rng, 26));
    }
    out_label[n] = 0;
}

void ev_label_product(struct ev_rng *rng, char out_label[EV_MAX_LABEL_TEXT])
{
    uint32_t n = 2 + ev_rng_below(rng, 3);
    out_label[0] = 0;
    for (uint32_t i = 0; i < n; i++) {
        strncat(out_label, syllables[ev_rng_below(rng, COUNT(syllables))], 8);
    }
}

void ev_label_typo(struct ev_rng *rng, const char *label, char out_label[EV_MAX_LABEL_TEXT])
{
    size_t n = strlen(label);
    (void)snprintf(out_label, EV_MAX_LABEL_TEXT, "%s", label);
    uint32_t at = ev_rng_below(rng, (uint32_t)n + 1);
    switch (ev_rng_below(rng, 3)) {
    case 0: /* a letter twice */
        (void)snprintf(out_label, EV_MAX_LABEL_TEXT, "%.*s%c%.30s", (int)at, label,
            at ? label[at - 1] : label[0], label + at);
        break;
    case 1: /* a letter missing */
        if (n > 2 && at < n) {
            (void)snprintf(
                out_label, EV_MAX_LABEL_TEXT, "%.*s%.30s", (int)at, label, label + at + 1);
        }
        break;
    default: /* two letters the wrong way */
        if (at + 1 < n && label[at] != '.' && label[at + 1] != '.') {
            out_label[at] = label[at + 1];
            out_label[at + 1] = label[at];
        }
    }
}

static void label_structured(struct ev_rng *rng, char out_label[EV_MAX_LABEL_TEXT])
{
    const char *place = places[ev_rng_below(rng, COUNT(places))];
    const char *role = roles[ev_rng_below(rng, COUNT(roles))];
    switch (ev_rng_below(rng, 4)) {
    case 0:
        (void)snprintf(
            out_label, EV_MAX_LABEL_TEXT, "%s-%s-%02u", place, role, 1 + ev_rng_below(rng, 24));
        break;
    case 1:
        (void)snprintf(
            out_label, EV_MAX_LABEL_TEXT, "%s%02u.%s", role, 1 + ev_rng_below(rng, 40), place);
        break;
    case 2:
        (void)snprintf(out_label, EV_MAX_LABEL_TEXT, "%s%u", role, 1 + ev_rng_below(rng, 99));
        break;
    default:
        (void)snprintf(
            out_label, EV_MAX_LABEL_TEXT, "%s%s%04u", place, role, 1000 + ev_rng_below(rng, 9000));
    }
}

/* What an administrator, a product team, a customer portal or a directory calls a machine. */
static void label_of_host(struct ev_rng *rng, bool is_ad, char out_label[EV_MAX_LABEL_TEXT])
{
    static const double shares[] = {45, 20, 15, 12, 8};
    char product[EV_MAX_LABEL_TEXT];
    if (is_ad) {
        if (ev_rng_chance(rng, 0.8)) {
            (void)snprintf(out_label, EV_MAX_LABEL_TEXT, "%s-%06x",
                ev_rng_chance(rng, 0.6) ? "lt" : "ws", ev_rng_below(rng, 1 << 24));
        } else {
            label_structured(rng, out_label);
        }
        return;
    }
    ev_label_product(rng, product);
    switch (ev_rng_pick(rng, shares, COUNT(shares))) {
    case 0:
        label_structured(rng, out_label);
        break;
    case 1:
        (void)snprintf(out_label, EV_MAX_LABEL_TEXT, "%.40s", product);
        break;
    case 2:
        (void)snprintf(out_label, EV_MAX_LABEL_TEXT, "%.40s-%s", product,
            stages[ev_rng_below(rng, COUNT(stages))]);
        break;
    case 3:
        (void)snprintf(out_label, EV_MAX_LABEL_TEXT, "c%05u.%.30s", ev_rng_below(rng, 100000),
            ev_rng_chance(rng, 0.5) ? "portal" : product);
        break;
    default:
        (void)snprintf(out_label, EV_MAX_LABEL_TEXT, "%s.%.30s",
            stages[ev_rng_below(rng, COUNT(stages))], product);
    }
}

static void name_begin(struct pk_name *name)
{
    name->len = 0;
    name->n_labels = 0;
}

static void name_put(struct pk_name *name, const char *label, size_t len, size_t room)
{
    len = len > PK_LABEL_MAX ? PK_LABEL_MAX : len;
    if (len == 0 || name->len + len + 2 + room > PK_NAME_MAX) {
        return;
    }
    name->wire[name->len++] = (uint8_t)len;
    for (size_t i = 0; i < len; i++) {
        char c = label[i];
        name->wire[name->len++] = (uint8_t)(c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    name->n_labels++;
}

static void name_put_text(struct pk_name *name, const char *text, size_t room)
{
    while (*text) {
        size_t len = strcspn(text, ".");
        name_put(name, text, len, room);
        text += len + (text[len] == '.');
    }
}

void ev_name_from(const char *text, struct pk_name *out_name)
{
    name_begin(out_name);
    name_put_text(out_name, text, 0);
    out_name->wire[out_name->len++] = 0;
}

void ev_world_name(const struct ev_zone *zone, const char *label, struct pk_name *out_name)
{
    name_begin(out_name);
    name_put_text(out_name, label, zone->name.len);
    memcpy(out_name->wire + out_name->len, zone->name.wire, zone->name.len);
    out_name->len = (uint8_t)(out_name->len + zone->name.len);
    out_name->n_labels = (uint8_t)(out_name->n_labels + zone->name.n_labels);
}

static uint64_t name_hash(const uint8_t *wire, size_t len)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ wire[i]) * UINT64_C(0x100000001b3);
    }
    return ev_mix64(hash) | 1;
}

static void set_add(uint64_t *set, size_t mask, const struct pk_name *name)
{
    uint64_t hash = name_hash(name->wire, name->len);
    size_t at = (size_t)hash & mask;
    while (set[at] && set[at] != hash) {
        at = (at + 1) & mask;
    }
    set[at] = hash;
}

static bool set_has(const uint64_t *set, size_t mask, const struct pk_name *name)
{
    uint64_t hash = name_hash(name->wire, name->len);
    for (size_t at = (size_t)hash & mask; set[at]; at = (at + 1) & mask) {
        if (set[at] == hash) {
            return true;
        }
    }
    return false;
}

static void know(struct ev_world *world, const struct pk_name *name)
{
    set_add(world->known, world->known_mask, name);
}

bool ev_world_exists(const struct ev_world *world, const struct pk_name *name)
{
    return set_has(world->known, world->known_mask, name);
}

bool ev_world_was(const struct ev_world *world, const struct pk_name *name)
{
    return set_has(world->retired, world->retired_mask, name) && !ev_world_exists(world, name);
}

static struct ev_host *host_add(
    struct ev_world *world, const struct ev_zone *zone, const char *label, struct ev_rng *rng)
{
    struct pk_name name;
    ev_world_name(zone, label, &name);
    if (ev_world_exists(world, &name)) {
        return NULL;
    }
    /* The name and every empty non-terminal above it (RFC 8020). */
    for (struct pk_name up = name; up.n_labels > zone->name.n_labels;) {
        know(world, &up);
        struct pk_name parent;
        pk_name_strip(&up, 1, &parent);
        up = parent;
    }
    struct ev_host *host = &world->hosts[world->n_hosts++];
    (void)snprintf(host->label, sizeof host->label, "%s", label);
    host->has_aaaa = ev_rng_chance(rng, 0.4);
    host->has_https = ev_rng_chance(rng, 0.15);
    return host;
}

static void zone_fill(struct ev_world *world, uint32_t number, uint32_t n_names)
{
    struct ev_zone *zone = &world->zones[number];
    struct ev_rng rng = ev_rng_begin(world->options.seed, 'Z', number, 0);
    bool is_ad = number == EV_ZONE_AD;
    char label[EV_MAX_LABEL_TEXT], policy[EV_MAX_LABEL_TEXT];
    zone->first_host = world->n_hosts;
    know(world, &zone->name);
    for (uint32_t i = 0; i < COUNT(services) && !is_ad; i++) {
        if (ev_rng_chance(&rng, i < 3                     ? 1.0
                                : i < 16                  ? 0.6
                                : number == EV_ZONE_GROUP ? 0.5
                                                          : 0.15)) {
            (void)host_add(world, zone, services[i], &rng);
        }
    }
    static const char *const policies[] = {"_dmarc", "_mta-sts", "_autodiscover._tcp", "_sip._tls",
        "selector1._domainkey", "selector2._domainkey", "default._bimi"};
    for (uint32_t i = 0; i < COUNT(policies) && !is_ad; i++) {
        (void)snprintf(policy, sizeof policy, "%s", policies[i]);
        if (ev_rng_chance(&rng, i == 0 ? 0.9 : 0.4)) {
            (void)host_add(world, zone, policy, &rng);
        }
    }
    static const char *const directory[] = {"_ldap._tcp.dc._msdcs", "_kerberos._tcp.dc._msdcs",
        "_ldap._tcp", "_kerberos._tcp", "_kerberos._udp", "_gc._tcp", "_kpasswd._tcp"};
    for (uint32_t i = 0; i < COUNT(directory) && is_ad; i++) {
        (void)host_add(world, zone, directory[i], &rng);
    }
    for (uint32_t i = 0; i < EV_N_SITES && is_ad; i++) {
        (void)snprintf(label, sizeof label, "_ldap._tcp.s%02u._sites.dc._msdcs", i + 1);
        (void)host_add(world, zone, label, &rng);
    }
    uint32_t limit = zone->first_host + n_names;
    for (uint32_t tries = 0; world->n_hosts < limit && tries < 8 * n_names; tries++) {
        label_of_host(&rng, is_ad, label);
        (void)host_add(world, zone, label, &rng);
    }
    zone->n_hosts = world->n_hosts - zone->first_host;
    zone->n_public = is_ad ? 0 : zone->n_hosts * 2 / 3 + 1;
    for (uint32_t i = zone->n_public; i < zone->n_hosts; i++) {
        world->hosts[zone->first_host + i].is_rare = 1;
    }
}

void ev_world_scope_text(const struct ev_world *world, struct pk_bytes *out)
{
    pk_bytes_printf(out, "tenants:\n  - name: acme\n    sites:\n");
    for (unsigned i = 1; i <= EV_N_SITES; i++) {
        pk_bytes_printf(out,
            "      - {name: s%02u, clients: [10.%u.0.0/16], resolvers: [10.%u.0.53]}\n", i, i, i);
    }
    pk_bytes_printf(out, "    zones: [acme-group.example");
    for (unsigned i = 1; i <= EV_N_SITES; i++) {
        pk_bytes_printf(out, ", unit%02u.example", i);
    }
    pk_bytes_printf(out,
        "]\n    networks: [198.18.0.0/18]\n    transfer_peers: [192.0.2.7, 192.0.2.8]\n"
        "    scanners: [203.0.113.200]\n    canaries: [vpn-kiel3.acme-group.example, "
        "backup-prv.unit02.example]\n");
    if (world->options.budget > 0) {
        pk_bytes_printf(out, "    budget: %g\n", world->options.budget);
    }
}

static bool scope_make(struct ev_world *world)
{
    struct pk_bytes text;
    char error[PK_CONF_ERROR_SIZE];
    pk_bytes_init(&text, 1 << 16);
    ev_world_scope_text(world, &text);
    pk_err err = pk_scope_parse("eval", (const char *)text.data, text.len, &world->scope, error);
    pk_bytes_done(&text);
    if (err) {
        (void)fprintf(stderr, "eval: scope: %s\n", error);
    }
    return err == PK_OK;
}

static void externals_make(struct ev_world *world, const char *path)
{
    enum {
        MAX_EXTERNALS = 3000
    };
    world->externals = calloc(MAX_EXTERNALS, sizeof *world->externals);
    FILE *file = path ? fopen(path, "re") : NULL;
    char line[256];
    while (file && world->n_externals < MAX_EXTERNALS && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\r\n")] = 0;
        world->externals[world->n_externals++] = strdup(line);
    }
    if (file) {
        (void)fclose(file);
    }
    static const char *const tops[] = {"com", "net", "org", "io", "de"};
    for (struct ev_rng rng = ev_rng_begin(1, 'X', 0, 0); world->n_externals < 500;) {
        char label[EV_MAX_LABEL_TEXT];
        ev_label_product(&rng, label);
        (void)snprintf(line, sizeof line, "%s.%s", label, tops[ev_rng_below(&rng, COUNT(tops))]);
        world->externals[world->n_externals++] = strdup(line);
    }
}

struct ev_world *ev_world_new(const struct ev_world_options *options, const char *externals_path)
{
    struct ev_world *world = calloc(1, sizeof *world);
    if (!world) {
        return NULL;
    }
    world->options = *options;
    world->start_us = INT64_C(1789948800) * 1000000; /* Monday 2026-09-21 */
    world->cap_hosts = options->n_names + EV_N_ZONES * 160;
    world->hosts = calloc(world->cap_hosts, sizeof *world->hosts);
    size_t size = 1024;
    while (size < 4 * (size_t)world->cap_hosts) {
        size *= 2;
    }
    world->known = calloc(size, sizeof *world->known);
    world->known_mask = size - 1;
    world->retired = calloc(1 << 15, sizeof *world->retired);
    world->retired_mask = (1 << 15) - 1;
    if (!world->hosts || !world->known || !world->retired || !scope_make(world)) {
        ev_world_free(world);
        return NULL;
    }
    externals_make(world, externals_path);
    double weights[EV_N_ZONES], sum = 0;
    struct ev_rng rng = ev_rng_begin(options->seed, 'W', 0, 0);
    for (unsigned i = 0; i < EV_N_ZONES; i++) {
        weights[i] = i == EV_ZONE_GROUP ? 12 : i == EV_ZONE_AD ? 15 : exp(2.5 * ev_rng_unit(&rng));
        sum += weights[i];
    }
    for (unsigned i = 0; i < EV_N_ZONES; i++) {
        char text[64];
        (void)snprintf(text, sizeof text,
            i == EV_ZONE_GROUP ? "acme-group.example"
            : i == EV_ZONE_AD  ? "corp.acme-group.example"
                               : "unit%02u.example",
            i);
        ev_name_from(text, &world->zones[i].name);
        world->zones[i].is_wildcard = options->has_wildcards && i != EV_ZONE_AD && i % 3 == 0;
        zone_fill(world, i, (uint32_t)(options->n_names * weights[i] / sum) + 8);
    }
    for (unsigned i = 0; i < EV_N_ZONES; i++) {
        for (uint32_t k = 0; k < EV_N_RETIRED; k++) {
            char label[EV_MAX_LABEL_TEXT];
            struct pk_name name;
            ev_label_retired(world, i, k, label);
            ev_world_name(&world->zones[i], label, &name);
            set_add(world->retired, world->retired_mask, &name);
        }
    }
    static const char *const canaries[] = {
        "vpn-kiel3.acme-group.example", "backup-prv.unit02.example"};
    for (unsigned i = 0; i < COUNT(canaries); i++) {
        struct pk_name name;
        ev_name_from(canaries[i], &name);
        know(world, &name);
    }
    return world;
}

void ev_world_free(struct ev_world *world)
{
    if (!world) {
        return;
    }
    for (uint32_t i = 0; i < world->n_externals; i++) {
        free(world->externals[i]);
    }
    free(world->externals);
    free(world->hosts);
    free(world->known);
    free(world->retired);
    pk_scope_free(world->scope);
    free(world);
}

static void answer_as(struct ev_event *event, enum pk_answer_kind kind, uint16_t rcode)
{
    event->answer = (uint8_t)kind;
    event->rcode = rcode;
}

void ev_world_answer(const struct ev_world *world, const struct ev_zone *zone,
    const struct pk_name *name, struct ev_event *event)
{
    uint64_t hash = name_hash(name->wire, name->len);
    event->qclass = event->qclass ? event->qclass : PK_CLASS_IN;
    event->flags |= event->vantage == PK_VANTAGE_RESOLVER ? PK_SIG_RA | PK_SIG_QUERY_RD : PK_SIG_AA;
    event->digest = hash;
    if (!zone) {
        bool is_there = ev_hash3(world->options.seed, hash, 'R') % 3 == 0;
        answer_as(event, is_there ? PK_ANSWER_DATA : PK_ANSWER_NXDOMAIN,
            is_there ? PK_RCODE_NOERROR : PK_RCODE_NXDOMAIN);
        return;
    }
    bool is_apex = pk_name_equal(name, &zone->name);
    bool exists = is_apex || ev_world_exists(world, name);
    if (!exists) {
        if (zone->is_wildcard) {
            event->digest = name_hash(zone->name.wire, zone->name.len);
            bool is_address = event->qtype == PK_TYPE_A || event->qtype == PK_TYPE_AAAA;
            answer_as(event, is_address ? PK_ANSWER_DATA : PK_ANSWER_NODATA, PK_RCODE_NOERROR);
            return;
        }
        answer_as(event, PK_ANSWER_NXDOMAIN, PK_RCODE_NXDOMAIN);
        return;
    }
    bool has = true;
    bool is_service = memchr(name->wire, '_', name->len) != NULL; /* _dmarc, _ldap._tcp ... */
    switch (event->qtype) {
    case PK_TYPE_A:
        has = !is_service;
        break;
    case PK_TYPE_AAAA:
        has = hash % 10 < 4 && !is_service;
        break;
    case 65: /* HTTPS, RFC 9460 */
        has = hash % 100 < 15;
        break;
    case PK_TYPE_SRV:
    case PK_TYPE_TXT:
        has = is_apex || is_service;
        break;
    case PK_TYPE_NS:
    case PK_TYPE_SOA:
    case PK_TYPE_MX:
    case 48: /* DNSKEY */
        has = is_apex;
        break;
    default:
        has = false;
    }
    answer_as(event, has ? PK_ANSWER_DATA : PK_ANSWER_NODATA, PK_RCODE_NOERROR);
}

static struct pk_addr outside_v4(uint64_t hash)
{
    static const uint8_t firsts[] = {5, 8, 12, 24, 31, 37, 45, 46, 50, 62, 64, 66, 71, 77, 78, 80,
        82, 85, 88, 91, 93, 95, 103, 109, 116, 119, 122, 134, 139, 145, 151, 159, 168, 173, 177,
        185, 188, 189, 193, 195, 201, 208, 212, 217, 220};
    return pk_addr_v4((const uint8_t[4]){firsts[(hash >> 8 & 0xffff) % COUNT(firsts)],
        (uint8_t)(hash >> 24), (uint8_t)(hash >> 32), (uint8_t)(1 + (hash >> 40) % 254)});
}

struct pk_addr ev_outside_addr(uint64_t hash)
{
    if (hash % 100 < 12) {
        uint8_t six[16] = {0x2a, (uint8_t)(hash >> 8 & 0x0f), (uint8_t)(hash >> 16),
            (uint8_t)(hash >> 24), 0, (uint8_t)(hash >> 32 & 3)};
        six[15] = (uint8_t)(hash >> 40);
        six[14] = (uint8_t)(hash >> 48);
        return pk_addr_v6(six);
    }
    return outside_v4(hash);
}

struct ev_resolver ev_resolver(const struct ev_world *world, uint32_t number)
{
    uint64_t hash = ev_hash3(world->options.seed, 'r', number);
    uint64_t habits = ev_mix64(hash);
    struct ev_resolver resolver = {.addr = ev_outside_addr(hash),
        .is_minimising = habits % 100 < 45,
        .is_mixing_case = (habits >> 8) % 100 < 18,
        .is_validating = (habits >> 16) % 100 < 35};
    for (unsigned i = 0; i < 3; i++) {
        resolver.sites[i] = (uint8_t)((habits >> (24 + 8 * i)) % EV_N_SITES);
    }
    return resolver;
}

struct ev_resolver ev_public_resolver(
    const struct ev_world *world, uint32_t operator_number, uint32_t egress)
{
    uint64_t hash = ev_hash3(world->options.seed, 'P', operator_number);
    struct ev_resolver resolver =
        ev_resolver(world, UINT32_MAX - operator_number * EV_EGRESS - egress);
    resolver.addr = outside_v4(hash); /* neighbours in one /24 */
    resolver.addr.bytes[3] = (uint8_t)(10 + egress);
    resolver.is_validating = true;
    return resolver;
}

void ev_label_retired(
    const struct ev_world *world, uint32_t zone, uint32_t number, char out_label[EV_MAX_LABEL_TEXT])
{
    struct ev_rng rng = ev_rng_begin(world->options.seed, 'O', zone, number);
    label_of_host(&rng, false, out_label);
}

/* Baselines: see baseline.h. Tables grow without bound: this is a test program with plenty of memory. */
#include "baseline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "picket/dnsmsg.h"

#include "rng.h"

#define MINUTE_US (INT64_C(60) * 1000000)
#define DAY_US    (INT64_C(1440) * MINUTE_US)

const char *const ev_rule_names[EV_N_RULES] = {"zeek-nxdomain", "sentinel-nxdomain",
    "sigma-subdomains", "anomalous-dns", "sentinel-ptr", "axfr", "splunk-failures", "trw-site",
    "trw-pooled", "pooled-counter", "pooled-15min"};
const uint32_t ev_rule_published[EV_N_RULES] = {51, 201, 201, 9, 11, 1, 51, 115, 115, 50, 50};
const uint32_t ev_levels[EV_N_LEVELS] = {1, 2, 3, 4, 5, 6, 7, 9, 11, 13, 16, 20, 25, 30, 35, 42, 51,
    60, 75, 90, 105, 115, 130, 150, 175, 201, 240, 290, 350, 420, 500, 600, 750, 900, 1100, 1300,
    1600, 2000, 2500, 3000, 4000, 5500, 7500, 10000, 20000, 50000, 100000, 1000000};

static const int64_t windows[EV_N_RULES] = {5 * MINUTE_US, 15 * MINUTE_US, 15 * MINUTE_US,
    60 * MINUTE_US, DAY_US, DAY_US, DAY_US, DAY_US, DAY_US, DAY_US, 15 * MINUTE_US};

struct cell { /* 0 key: empty */
    uint64_t key;
    int64_t window;
    uint32_t day, count, day_max, earlier_max;
    double walk;
};
struct table {
    struct cell *cells;
    size_t mask, n;
};
struct set {
    uint64_t *keys;
    size_t mask, n;
    int64_t window;
};

struct ev_baselines {
    int64_t start_us;
    struct table tables[EV_N_RULES];
    struct set seen[EV_N_RULES];
    ev_alert_counts alerts;
    struct ev_crossing crossings[EV_N_RULES][EV_N_LEVELS];
    uint32_t attack_level[EV_N_RULES]; /* levels already crossed */
};

static void *must(void *data)
{
    if (!data) {
        (void)fprintf(stderr, "eval: out of memory\n");
        exit(70);
    }
    return data;
}

static struct cell *table_get(struct table *table, uint64_t key)
{
    if (2 * table->n >= table->mask) {
        struct table bigger = {.mask = table->mask ? 2 * table->mask + 1 : 1023, .n = table->n};
        bigger.cells = must(calloc(bigger.mask + 1, sizeof *bigger.cells));
        for (size_t i = 0; table->cells && i <= table->mask; i++) {
            if (table->cells[i].key) {
                size_t at = (size_t)table->cells[i].key & bigger.mask;
                while (bigger.cells[at].key) {
                    at = (at + 1) & bigger.mask;
                }
                bigger.cells[at] = table->cells[i];
            }
        }
        free(table->cells);
        *table = bigger;
    }
    size_t at = (size_t)key & table->mask;
    while (table->cells[at].key && table->cells[at].key != key) {
        at = (at + 1) & table->mask;
    }
    if (!table->cells[at].key) {
        table->cells[at].key = key;
        table->n++;
    }
    return &table->cells[at];
}

/* True when the key is new in this window; the set forgets with the window. */
static bool set_add(struct set *set, uint64_t key, int64_t window)
{
    if (set->window != window && set->keys) {
        memset(set->keys, 0, (set->mask + 1) * sizeof *set->keys);
        set->n = 0;
    }
    set->window = window;
    if (2 * set->n >= set->mask) {
        struct set bigger = {
            .mask = set->mask ? 2 * set->mask + 1 : 1023, .n = set->n, .window = window};
        bigger.keys = must(calloc(bigger.mask + 1, sizeof *bigger.keys));
        for (size_t i = 0; set->keys && i <= set->mask; i++) {
            if (set->keys[i]) {
                size_t at = (size_t)set->keys[i] & bigger.mask;
                while (bigger.keys[at]) {
                    at = (at + 1) & bigger.mask;
                }
                bigger.keys[at] = set->keys[i];
            }
        }
        free(set->keys);
        *set = bigger;
    }
    size_t at = (size_t)key & set->mask;
    while (set->keys[at]) {
        if (set->keys[at] == key) {
            return false;
        }
        at = (at + 1) & set->mask;
    }
    set->keys[at] = key;
    set->n++;
    return true;
}

struct ev_baselines *ev_baselines_new(int64_t start_us)
{
    struct ev_baselines *baselines = must(calloc(1, sizeof *baselines));
    baselines->start_us = start_us;
    return baselines;
}

void ev_baselines_free(struct ev_baselines *baselines)
{
    for (size_t i = 0; baselines && i < EV_N_RULES; i++) {
        free(baselines->tables[i].cells);
        free(baselines->seen[i].keys);
    }
    free(baselines);
}

static void close_day(struct ev_baselines *baselines, enum ev_rule rule, struct cell *cell)
{
    uint32_t day = cell->day < EV_MAX_DAYS ? cell->day : EV_MAX_DAYS - 1;
    for (size_t i = 0; i < EV_N_LEVELS && cell->day_max >= ev_levels[i]; i++) {
        baselines->alerts[rule][day][i]++;
    }
    cell->earlier_max = cell->day_max > cell->earlier_max ? cell->day_max : cell->earlier_max;
    cell->day_max = 0;
}

void ev_baselines_finish(struct ev_baselines *baselines)
{
    for (size_t rule = 0; rule < EV_N_RULES; rule++) {
        struct table *table = &baselines->tables[rule];
        for (size_t i = 0; table->cells && i <= table->mask; i++) {
            if (table->cells[i].key) {
                close_day(baselines, (enum ev_rule)rule, &table->cells[i]);
            }
        }
    }
}

struct sight { /* of one row */
    struct ev_baselines *baselines;
    const struct ev_row *row;
    uint32_t n_attack;
    uint32_t day;
    uint64_t source, at_site, name;
};

static struct cell *cell_now(const struct sight *sight, enum ev_rule rule, uint64_t key)
{
    struct cell *cell = table_get(&sight->baselines->tables[rule], key | 1);
    if (cell->day != sight->day) {
        close_day(sight->baselines, rule, cell);
        cell->day = sight->day;
    }
    int64_t window = sight->row->arrival_us / windows[rule];
    if (cell->window != window) {
        cell->window = window;
        cell->count = 0;
    }
    return cell;
}

static void reached(const struct sight *sight, enum ev_rule rule, struct cell *cell, uint32_t value)
{
    /* A client that was above that before is known for it (the rule looks back nine days). */
    if (rule == EV_RULE_PTR && value <= cell->earlier_max) {
        return;
    }
    if (value > cell->day_max) {
        cell->day_max = value;
    }
    uint32_t *level = &sight->baselines->attack_level[rule];
    while (sight->row->n_attack && *level < EV_N_LEVELS && value >= ev_levels[*level]) {
        sight->baselines->crossings[rule][(*level)++] =
            (struct ev_crossing){true, sight->row->arrival_us, sight->n_attack};
    }
}

static void add(const struct sight *sight, enum ev_rule rule, uint64_t key, uint32_t n)
{
    struct cell *cell = cell_now(sight, rule, key);
    cell->count += n;
    reached(sight, rule, cell, cell->count);
}

static void add_distinct(const struct sight *sight, enum ev_rule rule, uint64_t key)
{
    int64_t window = sight->row->arrival_us / windows[rule];
    if (set_add(&sight->baselines->seen[rule], ev_hash3(key, sight->name, 1) | 1, window)) {
        add(sight, rule, key, 1);
    }
}

/* Jung et al. 2004: theta0 0.8, theta1 0.2, alpha 1e-5, beta 0.01; back to the start at the lower bound. */
static void walk(const struct sight *sight, enum ev_rule rule, uint64_t key, bool is_success)
{
    int64_t window = sight->row->arrival_us / windows[rule];
    if (!set_add(&sight->baselines->seen[rule], ev_hash3(key, sight->name, 2) | 1, window)) {
        return;
    }
    struct cell *cell = cell_now(sight, rule, key);
    cell->walk += is_success ? -1.3862943611198906 : 1.3862943611198906;
    if (cell->walk <= -4.605) {
        cell->walk = 0;
    }
    if (cell->walk > 0) {
        reached(sight, rule, cell, (uint32_t)(cell->walk * 10));
    }
}

static uint64_t hash_bytes(const uint8_t *data, size_t len)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ data[i]) * UINT64_C(0x100000001b3);
    }
    return ev_mix64(hash);
}

/* Hash of the last two labels: what these rules take for a registered domain here. */
static uint64_t domain_of(struct pk_slice name)
{
    uint32_t starts[128], n = 0;
    for (uint32_t at = 0; at < name.len && name.data[at] && n < 128; at += name.data[at] + 1U) {
        starts[n++] = at;
    }
    uint32_t from = n > 2 ? starts[n - 2] : 0;
    return hash_bytes(name.data + from, name.len - from);
}

static void count_misses(const struct sight *sight, uint32_t count)
{
    add(sight, EV_RULE_ZEEK_NXDOMAIN, sight->at_site, count);
    add(sight, EV_RULE_SENTINEL, sight->at_site, count);
    add_distinct(sight, EV_RULE_POOLED, sight->source);
    add_distinct(sight, EV_RULE_POOLED_QUARTER, sight->source);
}

void ev_baselines_observe(
    struct ev_baselines *baselines, const struct ev_row *row, uint32_t n_attack_before)
{
    const struct pk_activity *a = &row->activity;
    const struct pk_signature *s = &a->signature;
    /* Whoever runs such a rule excepts his own scanner and secondaries, as the engine's scope does (world.c). */
    static const uint8_t own[][4] = {{203, 0, 113, 200}, {192, 0, 2, 7}, {192, 0, 2, 8}};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        if (a->client.addr.family == 4 && memcmp(a->client.addr.bytes, own[i], 4) == 0) {
            return;
        }
    }
    struct sight sight = {.baselines = baselines,
        .row = row,
        .n_attack = n_attack_before + row->n_attack,
        .day = (uint32_t)((row->arrival_us - baselines->start_us) / DAY_US),
        .name = hash_bytes(a->name.data, a->name.len)};
    sight.source = a->client.kind == PK_CLIENT_PSEUDONYM ? hash_bytes(a->client.pseudonym, 8)
                                                         : hash_bytes(a->client.addr.bytes, 16);
    sight.at_site = ev_hash3(sight.source, row->site, 's');
    static const uint8_t reverse[] = "\7in-addr\4arpa";
    bool is_reverse =
        a->name.len > sizeof reverse &&
        memcmp(a->name.data + a->name.len - sizeof reverse, reverse, sizeof reverse) == 0;
    bool is_miss = s->answer == PK_ANSWER_NXDOMAIN;
    if (is_miss) {
        count_misses(&sight, a->count);
    }
    if (s->rcode != PK_RCODE_NOERROR && s->rcode != PK_RCODE_NO_RESPONSE && !is_reverse) {
        add(&sight, EV_RULE_SPLUNK, ev_hash3(sight.at_site, s->rcode, 3), a->count);
    }
    uint64_t domain = domain_of(a->name);
    add_distinct(&sight, EV_RULE_SIGMA, ev_hash3(sight.at_site, domain, 4));
    if (a->name.data[0] != 1 || a->name.data[1] != '_') {
        add_distinct(&sight, EV_RULE_ANOMALOUS, ev_hash3(sight.at_site, domain, 5));
    }
    if (is_reverse) {
        add_distinct(&sight, EV_RULE_PTR, sight.at_site);
    }
    if (s->qtype == PK_TYPE_AXFR) {
        add(&sight, EV_RULE_AXFR, sight.source, a->count);
    }
    if (s->answer != PK_ANSWER_NONE && s->answer != PK_ANSWER_ERROR) {
        walk(&sight, EV_RULE_TRW, sight.at_site, !is_miss);
        walk(&sight, EV_RULE_TRW_POOLED, sight.source, !is_miss);
    }
}

const ev_alert_counts *ev_baselines_alerts(const struct ev_baselines *baselines)
{
    return &baselines->alerts;
}

const struct ev_crossing *ev_baselines_crossings(
    const struct ev_baselines *baselines, enum ev_rule rule)
{
    return baselines->crossings[rule];
}

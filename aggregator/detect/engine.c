/* The engine: prepares each row once and hands it to every rule. */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

#include "picket/dnsmsg.h"
#include "picket/hash.h"

#include "internal.h"

enum {
    DEFAULT_ACTORS = 200000,
    LEAST_ACTORS = 256, /* the rules hold on to two at a time */
    DEFAULT_CONTACTS = 2000000,
    DEFAULT_MISSES = 262144,
    MAX_SENSOR_NAMES = UINT16_MAX,
    TICK_US = 10 * 1000000,
    SETTLE_US = 600 * 1000000, /* how often the silent are looked for */
    FLUSH_US = 600 * 1000000,
};

pk_err names_intern(struct names *names, const char *name, size_t max, uint16_t *out_index)
{
    unsigned place = 0;
    for (const char *p = name; *p; p++) {
        place = 31 * place + (unsigned char)*p;
    }
    uint16_t *cached = &names->cache[place % NAMES_CACHE];
    if (*cached > 0 && strcmp(names->v[*cached - 1], name) == 0) {
        *out_index = (uint16_t)(*cached - 1);
        return PK_OK;
    }
    for (size_t i = 0; i < names->n; i++) {
        if (strcmp(names->v[i], name) == 0) {
            *out_index = (uint16_t)i;
            *cached = (uint16_t)(i + 1);
            return PK_OK;
        }
    }
    if (names->n == max) { /* the last one stands for all that do not fit */
        *out_index = (uint16_t)(max - 1);
        return PK_OK;
    }
    if (names->n == names->cap) {
        size_t cap = names->cap ? 2 * names->cap : 8;
        char(*grown)[65] = realloc(names->v, cap * sizeof *grown);
        if (!grown) {
            return PK_ERR_NOMEM;
        }
        names->v = grown;
        names->cap = cap;
    }
    memset(names->v[names->n], 0, sizeof *names->v);
    strncpy(names->v[names->n], name, sizeof *names->v - 1);
    *out_index = (uint16_t)names->n++;
    return PK_OK;
}

pk_err pk_engine_new(const struct pk_engine_options *options, pk_finding_cb on_finding, void *arg,
    struct pk_engine **out_engine)
{
    struct pk_engine *engine = calloc(1, sizeof *engine);
    if (!engine) {
        return PK_ERR_NOMEM;
    }
    engine->tenant = options->tenant;
    engine->history = options->history;
    engine->limits.max_actors =
        options->limits.max_actors ? options->limits.max_actors : DEFAULT_ACTORS;
    engine->limits.max_actors =
        engine->limits.max_actors > LEAST_ACTORS ? engine->limits.max_actors : LEAST_ACTORS;
    engine->limits.max_contacts =
        options->limits.max_contacts ? options->limits.max_contacts : DEFAULT_CONTACTS;
    engine->limits.max_misses =
        options->limits.max_misses ? options->limits.max_misses : DEFAULT_MISSES;
    engine->on_finding = on_finding;
    engine->arg = arg;
    engine->is_campaign_waiting = true; /* a state that is loaded may have one */
    if (pk_labels_new(&engine->labels) != PK_OK ||
        actors_init(&engine->actors, engine->limits.max_actors) != PK_OK ||
        zones_init(&engine->zones, options->tenant->n_zones + options->tenant->n_canaries) !=
            PK_OK ||
        pk_contacts_init(&engine->contacts, engine->limits.max_contacts) != PK_OK ||
        legs_init(&engine->legs) != PK_OK ||
        misses_init(&engine->misses, engine->limits.max_misses) != PK_OK ||
        baseline_init(&engine->baseline, options->priors) != PK_OK) {
        pk_engine_free(engine);
        return PK_ERR_NOMEM;
    }
    *out_engine = engine;
    return PK_OK;
}

void pk_engine_free(struct pk_engine *engine)
{
    if (!engine) {
        return;
    }
    ledgers_drop_all(engine, &engine->tenant_ledgers);
    actors_done(engine);
    zones_done(engine);
    pk_contacts_done(&engine->contacts);
    misses_done(&engine->misses);
    legs_done(&engine->legs);
    baseline_done(&engine->baseline);
    pk_labels_free(engine->labels);
    free(engine->sites.v);
    free(engine->sensors.v);
    free(engine);
}

void pk_engine_set_scope(struct pk_engine *engine, const struct pk_scope_tenant *tenant)
{
    engine->tenant = tenant;
    memset(engine->places, 0, sizeof engine->places);
}

/* Findings whose sources fell silent; in the order of rules, then of ledgers. */
static pk_err settle(struct pk_engine *engine, int64_t now_us)
{
    pk_err err = PK_OK;
    for (unsigned i = 0; i < N_RULES; i++) {
        const struct rule *rule = rules[rule_order[i]];
        void *ledger = rule->settle ? ledger_oldest(engine, rule_order[i]) : NULL;
        for (; ledger && err == PK_OK; ledger = ledger_newer(ledger)) {
            err = dossier_settle(engine, rule, ledger, now_us);
        }
    }
    return err;
}

pk_err pk_engine_finish(struct pk_engine *engine)
{
    return settle(engine, INT64_MAX);
}

pk_err pk_engine_idle(struct pk_engine *engine, int64_t idle_us)
{
    return engine->now_us == 0 ? PK_OK : settle(engine, engine->now_us + idle_us);
}

/* Tells the rules when the clock passes a multiple of ten seconds: once, however many it passed. */
static pk_err advance(struct pk_engine *engine, int64_t now_us)
{
    pk_err err = PK_OK;
    if (now_us / TICK_US > engine->now_us / TICK_US && engine->now_us != 0) {
        for (size_t i = 0; i < N_RULES && err == PK_OK; i++) {
            const struct rule *rule = rules[rule_order[i]];
            err = rule->tick ? rule->tick(engine, now_us) : PK_OK;
        }
    }
    engine->now_us = now_us > engine->now_us ? now_us : engine->now_us;
    return err;
}

/* A row of this time is next. */
static pk_err move_on(struct pk_engine *engine, int64_t row_us)
{
    pk_err err = PK_OK;
    if (row_us / SETTLE_US > engine->now_us / SETTLE_US && engine->now_us != 0) {
        err = settle(engine, row_us);
    }
    return err == PK_OK && row_us > engine->now_us ? advance(engine, row_us) : err;
}

pk_err pk_engine_flush(struct pk_engine *engine)
{
    int64_t now_us = engine->now_us;
    pk_err err = now_us == 0 ? PK_OK : advance(engine, now_us + FLUSH_US);
    engine->now_us = now_us;
    return err;
}

/* Whose row it is. A site that tells nothing of its clients (no client key) is a source of its own: its inside clients together. */
static bool key_of(const struct pk_client *client, const char *site, struct actor_key *key)
{
    memset(key, 0, sizeof *key); /* it is compared and hashed whole */
    switch (client->kind) {
    case PK_CLIENT_OUTSIDE:
        key->kind = ACTOR_ADDRESS; /* an address is one source, seen from wherever */
        key->addr = client->addr;
        return true;
    case PK_CLIENT_INSIDE:
        key->kind = ACTOR_INSIDE;
        key->addr = client->addr;
        return true;
    case PK_CLIENT_PSEUDONYM:
        key->kind = ACTOR_PSEUDONYM;
        memcpy(key->addr.bytes, client->pseudonym, sizeof client->pseudonym);
        return true;
    case PK_CLIENT_NONE:
        *key = actor_site_key(site);
        return true;
    }
    return false;
}

static bool is_scanner(const struct pk_engine *engine, const struct actor_key *key)
{
    return (key->kind == ACTOR_ADDRESS || key->kind == ACTOR_INSIDE) &&
           pk_scope_is_in(engine->tenant->scanners, engine->tenant->n_scanners, &key->addr);
}

/* Whether a resolver's word stands for who asked: it names a whole network that is not its own. Of a transfer it cannot: no resolver passes one on. */
static bool is_for_subnet(const struct pk_activity *row)
{
    const struct pk_prefix *subnet = &row->client.prefix;
    return row->client.kind == PK_CLIENT_OUTSIDE && subnet->addr.family != 0 &&
           subnet->len == (subnet->addr.family == 4 ? 24 : 48) &&
           !pk_prefix_contains(subnet, &row->client.addr) && row->signature.qtype != PK_TYPE_AXFR &&
           row->signature.qtype != PK_TYPE_IXFR;
}

/* A public resolver is thousands of askers behind one address; where it tells them apart, they are told apart. What it tells may be made up, so who makes up many of them is many sources, each of
 * which asks little: that is what D4 and D5 are for (tests/scenarios/d4-subnets-made-up.scn). */
static bool key_of_row(
    const struct pk_engine_origin *origin, const struct pk_activity *row, struct actor_key *key)
{
    if (!is_for_subnet(row)) {
        return key_of(&row->client, origin->site, key);
    }
    memset(key, 0, sizeof *key);
    key->kind = ACTOR_SUBNET;
    key->addr = row->client.prefix.addr;
    return true;
}

/* The site in the scope; NULL: not there. The last index of all stands for many sites (names_intern): it is looked for each time. */
static const struct pk_scope_site *place_of(
    struct pk_engine *engine, uint16_t site, const char *name)
{
    const struct pk_scope_tenant *tenant = engine->tenant;
    uint16_t *place = &engine->places[site];
    if (*place == 0 || site == PK_ENGINE_MAX_SITES - 1) {
        *place = 1;
        for (size_t i = 0; i < tenant->n_sites && i < UINT16_MAX - 2 && *place == 1; i++) {
            *place = strcmp(tenant->sites[i].name, name) == 0 ? (uint16_t)(i + 2) : 1;
        }
    }
    return *place >= 2 ? &tenant->sites[*place - 2] : NULL;
}

static pk_err find_origin(
    struct pk_engine *engine, const struct pk_engine_origin *origin, struct observation *seen)
{
    pk_err err = names_intern(&engine->sites, origin->site, PK_ENGINE_MAX_SITES, &seen->site);
    if (err == PK_OK) {
        err = names_intern(&engine->sensors, origin->sensor, MAX_SENSOR_NAMES, &seen->sensor);
    }
    if (err == PK_OK) {
        seen->place = place_of(engine, seen->site, origin->site);
    }
    return err;
}

pk_err pk_engine_observe(
    struct pk_engine *engine, const struct pk_engine_origin *origin, const struct pk_activity *row)
{
    struct observation seen = {.row = row};
    struct actor_key key;
    pk_err err = move_on(engine, row->first_us);
    engine->stats.rows++;
    if (err != PK_OK || row->signature.vantage >= PK_N_VANTAGES || !key_of_row(origin, row, &key) ||
        pk_name_from_wire(row->name.data, row->name.len, &seen.name) != PK_OK) {
        engine->stats.ignored_rows++;
        return err;
    }
    pk_name_lower(&seen.name);
    seen.reason = pk_scope_match(
        engine->tenant, &seen.name, row->signature.qtype, row->signature.qclass, &seen.zone_name);
    if (seen.reason == PK_SCOPE_NOT) {
        engine->stats.ignored_rows++;
        return PK_OK;
    }
    err = find_origin(engine, origin, &seen);
    if (err == PK_OK && seen.reason == PK_SCOPE_ZONE) {
        err = zone_enter(engine, &seen);
    }
    if (err != PK_OK) {
        return err;
    }
    seen.now_us = engine->now_us;
    seen.name_hash = pk_hash_fixed(seen.name.wire, seen.name.len);
    seen.actor = actor_get(engine, &key, row->first_us);
    seen.source_hash = actor_identity(seen.actor);
    seen.actor->last_us = row->first_us > seen.actor->last_us ? row->first_us : seen.actor->last_us;
    seen.actor->rows += seen.actor->rows < UINT32_MAX;
    seen.is_own_scanner = is_scanner(engine, &key);
    if (seen.reason == PK_SCOPE_ZONE || seen.reason == PK_SCOPE_REVERSE) {
        legs_note(engine, &seen);
    }
    trial_judge(engine, &seen);
    if (seen.trial.no == TRIAL_YES) {
        err = baseline_p0(engine, &seen, seen.p0);
    }
    for (size_t i = 0; i < N_RULES && err == PK_OK; i++) {
        const struct rule *rule = rules[rule_order[i]];
        err = rule->observe ? rule->observe(engine, &seen) : PK_OK;
    }
    if (seen.trial.no == TRIAL_YES || seen.trial.no == NO_TRIAL_AGAIN) {
        baseline_learn(engine, &seen); /* last: what the rules think of the source decides */
    }
    return err;
}

/* How many distinct names of an overflow row do not exist, at least. Every answer with data and every silence is taken for a name of its own, and the sketch for two standard errors
 * too high; so repetitions, second types and a resolver's usual traffic make it less, never more. */
static struct counted count_names(const struct pk_client_count *row)
{
    double distinct = (1 - 2 * .065) * pk_sketch_estimate(&row->names);
    double existing = (double)row->count - (double)row->negative;
    double missing = distinct - existing - (double)row->unanswered;
    double most = (double)row->negative - (double)row->unanswered;
    missing = missing < most ? missing : most;
    return (struct counted){.missing = missing > 0 ? (uint64_t)missing : 0,
        .existing = existing > 0 ? (uint64_t)existing : 0};
}

/* There is no row to take the vantage from: the site's latest stands for it. */
static uint8_t vantage_of(const struct pk_engine *engine, uint16_t site)
{
    return site + 1u < engine->baseline.n_sites ? engine->baseline.sites[site + 1].vantage
                                                : PK_VANTAGE_UNKNOWN;
}

static pk_err observe_overflow(struct pk_engine *engine, const struct pk_engine_origin *origin,
    const struct pk_client_count *row)
{
    struct counted counted = count_names(row);
    struct pk_activity stands = {.client = row->client,
        .name = row->zone,
        .first_us = row->first_us,
        .span_us = row->span_us,
        .count = row->count,
        .signature = {.qclass = PK_CLASS_IN}};
    struct observation seen = {.row = &stands, .now_us = engine->now_us};
    struct actor_key key;
    if (counted.missing == 0 ||
        pk_name_from_wire(row->zone.data, row->zone.len, &seen.name) != PK_OK) {
        return PK_OK;
    }
    pk_name_lower(&seen.name);
    seen.reason = pk_scope_match(engine->tenant, &seen.name, 0, PK_CLASS_IN, &seen.zone_name);
    if (seen.reason != PK_SCOPE_ZONE) {
        return PK_OK;
    }
    pk_err err = find_origin(engine, origin, &seen);
    if (err == PK_OK) {
        err = zone_enter(engine, &seen);
    }
    if (err != PK_OK || !seen.zone) {
        return err;
    }
    seen.name_hash = pk_hash_fixed(seen.name.wire, seen.name.len);
    stands.signature.vantage = vantage_of(engine, seen.site);
    seen.actor = key_of(&row->client, origin->site, &key) ? actor_find(engine, &key) : NULL;
    seen.trial.no = NO_TRIAL_KIND;
    if (seen.actor) {
        seen.source_hash = actor_identity(seen.actor);
        seen.is_own_scanner = is_scanner(engine, &key);
        err = baseline_p0(engine, &seen, seen.p0);
    }
    for (size_t i = 0; i < N_RULES && err == PK_OK && !seen.is_own_scanner; i++) {
        const struct rule *rule = rules[rule_order[i]];
        err = rule->counted ? rule->counted(engine, &seen, &counted) : PK_OK;
    }
    return err;
}

pk_err pk_engine_observe_client(struct pk_engine *engine, const struct pk_engine_origin *origin,
    const struct pk_client_count *row)
{
    struct actor_key key, former;
    if (row->reason == PK_CLIENT_OUT_OF_SCOPE) {
        return PK_OK; /* not even its time: such rows are not read again (store.h) */
    }
    pk_err err = move_on(engine, row->first_us);
    engine->stats.client_rows++;
    if (err == PK_OK && row->reason == PK_CLIENT_ALIAS &&
        key_of(&row->client, origin->site, &key) && key_of(&row->former, origin->site, &former) &&
        key.kind == ACTOR_PSEUDONYM && former.kind == ACTOR_PSEUDONYM) {
        actor_succeed(engine, &former, &key);
    } else if (err == PK_OK && row->reason == PK_CLIENT_OVERFLOW) {
        err = observe_overflow(engine, origin, row);
    }
    return err;
}

const char *pk_engine_no_trial_str(unsigned why)
{
    static const char *const names[N_NO_TRIALS] = {[TRIAL_YES] = "yes",
        [NO_TRIAL_AGAIN] = "again",
        [NO_TRIAL_KIND] = "kind",
        [NO_TRIAL_VERDICT] = "no_verdict",
        [NO_TRIAL_SERVICE] = "service",
        [NO_TRIAL_SCANNER] = "own_scanner",
        [NO_TRIAL_UPSTREAM] = "upstream",
        [NO_TRIAL_SEARCH] = "search_suffix",
        [NO_TRIAL_LIST] = "list_lookup",
        [NO_TRIAL_MINIMISED] = "minimised",
        [NO_TRIAL_WALK] = "walk"};
    return why < N_NO_TRIALS ? names[why] : NULL;
}

void pk_engine_stats(const struct pk_engine *engine, struct pk_engine_stats *out_stats)
{
    *out_stats = engine->stats;
    out_stats->actors = engine->actors.map.n;
    out_stats->evicted_actors = engine->actors.evicted;
    out_stats->contacts = engine->contacts.n[0] + engine->contacts.n[1];
    out_stats->evicted_contacts = engine->contacts.forgotten;
    for (unsigned i = 0; i < N_RULES; i++) {
        out_stats->ledgers += engine->queues[i].n;
        out_stats->evicted_ledgers += engine->queues[i].evicted;
    }
}

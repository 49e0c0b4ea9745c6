/* D7, several sources: one walk of a zone's NSEC chain, split over addresses (T1590.002).
 *
 * The walk is one chain whoever asks: the next question is about the next owner of the answer before, so a walker behind ten addresses shows each of them a tenth of it, too little for rule_walk.c.
 * The evidence is therefore pooled for the zone, over all sources and sites: questions of a shape that nobody but a walker sends (a zero byte in a label 3.8 nats, types NSEC and NSEC3 2.5), each that
 * stands behind the one before in canonical order ln(.98/.5), one that does not takes 1 of that away (sites come in turns). Shapes that a slip of the finger has too are left to the single source, which is
 * known to have asked the name before. The sum is a CUSUM (Page 1954) that loses its threshold in ten minutes; ln(1000/(.02 budget)) = 10.8 nats, five steps and two networks fire.
 * A single source shows itself: three steps of one are counted here and no more, until the finding is open. Then every such step in the zone is of it and its source raises no finding of its own. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "picket/dnsmsg.h"

#include "internal.h"
#include "walk.h"

enum {
    LEAK_S = 600,
    MAX_SEEN = 32, /* hashes of the latest steps: a step is counted once */
    MAX_NETWORKS = 2,
    MAX_OWN = 3, /* steps of one source that are pooled */
    MIN_STEPS = 5,
    MANY_STEPS = 32
};

static const double trials_a_day = 1000; /* questions of such a shape from everybody else */
static const double nats_order = 0.673 /* ln(.98/.5) */, nats_disorder = 1.0;

struct chain {
    int64_t last_us;
    float shape, order; /* nats */
    uint32_t steps;     /* since nothing was left */
    uint64_t seen[MAX_SEEN];
    uint8_t n_seen, at, n_networks;
    uint64_t networks[MAX_NETWORKS]; /* hashes */
    uint8_t
        last[PK_NAME_MAX + 1]; /* length byte and wire form of the latest step; length 0: none */
};

static double threshold(const struct pk_engine *engine)
{
    return rule_threshold(engine, rule_chain.budget_share, trials_a_day);
}

static bool is_running(const struct chain *chain, int64_t now_us)
{
    const struct dossier *dossier = chain ? ledger_dossier_find(chain) : NULL;
    return dossier_is_open(dossier) &&
           now_us - dossier->last_us <= (int64_t)FINDING_IDLE_S * 1000000;
}

bool chain_takes(const struct observation *seen)
{
    return walk_plain_shape(seen) > 0 &&
           is_running(zone_ledger_find(seen->zone, RULE_CHAIN), seen->row->first_us);
}

static bool is_new(struct chain *chain, uint64_t hash)
{
    for (uint8_t i = 0; i < chain->n_seen; i++) {
        if (chain->seen[i] == hash) {
            return false;
        }
    }
    chain->seen[chain->at] = hash;
    chain->at = (uint8_t)((chain->at + 1) % MAX_SEEN);
    chain->n_seen = (uint8_t)(chain->n_seen + (chain->n_seen < MAX_SEEN));
    return true;
}

static void add_network(struct chain *chain, const struct actor *actor)
{
    struct actor_key key = actor_network_key(actor);
    uint64_t hash = actor_hash(&key);
    for (uint8_t i = 0; i < chain->n_networks; i++) {
        if (chain->networks[i] == hash) {
            return;
        }
    }
    if (chain->n_networks < MAX_NETWORKS) {
        chain->networks[chain->n_networks++] = hash;
    }
}

static void leak(const struct pk_engine *engine, struct chain *chain, int64_t now_us)
{
    int64_t dt_us = chain->last_us ? now_us - chain->last_us : 0;
    double lost = dt_us > 0 ? threshold(engine) * (double)dt_us / (LEAK_S * 1e6) : 0;
    chain->last_us = now_us > chain->last_us ? now_us : chain->last_us;
    if ((double)(chain->shape + chain->order) > lost) {
        chain->shape -=
            (float)lost; /* the order's share is small: below zero it is the other's loss */
        return;
    }
    chain->shape = chain->order = 0;
    chain->steps = 0;
    chain->n_networks = 0;
    chain->last[0] = 0;
}

static void add_step(struct chain *chain, const struct observation *seen, double shape)
{
    struct pk_name last;
    if (chain->last[0] > 0 && pk_name_from_wire(chain->last + 1, chain->last[0], &last) == PK_OK) {
        int order = pk_name_compare(&last, &seen->name);
        chain->order += (float)(order < 0 ? nats_order : order > 0 ? -nats_disorder : 0);
        chain->order = chain->order < 0 ? 0 : chain->order;
    }
    chain->shape += (float)shape;
    chain->steps++;
    chain->last[0] = seen->name.len;
    memcpy(chain->last + 1, seen->name.wire, seen->name.len);
}

static pk_err report(struct pk_engine *engine, const struct chain *chain, struct dossier *dossier)
{
    uint8_t severity = chain->steps >= MANY_STEPS ? 4 : 3;
    if (!dossier_is_due(dossier, chain->steps, severity)) {
        return PK_OK;
    }
    struct subject subject = {.kind = "campaign"};
    char zone[PK_NAME_TEXT_SIZE] = "";
    struct pk_name name;
    const uint8_t *raw = engine->zones.v[ledger_owner(chain)].name;
    if (pk_name_from_wire(raw + 1, raw[0], &name) == PK_OK) {
        (void)pk_name_text(&name, zone);
    }
    snprintf(subject.key, sizeof subject.key, "zone:%.57s", zone);
    struct pk_finding *finding =
        dossier_begin(engine, RULE_CHAIN, dossier, &subject, chain->steps, severity);
    snprintf(finding->title, sizeof finding->title,
        "Zone walk of %.60s by several sources: %u steps, %zu addresses", zone, chain->steps,
        finding->n_addresses);
    finding->technique[finding->n_techniques++] = "T1590.002";
    memcpy(finding->campaign, finding->id, sizeof finding->campaign);
    contribute(finding, "names that only a walk of the chain asks for", (double)chain->shape);
    contribute(finding, "steps in canonical order", (double)chain->order);
    finding->trials = chain->steps;
    report_finding(engine, threshold(engine));
    return PK_OK;
}

static pk_err observe(struct pk_engine *engine, const struct observation *seen)
{
    double shape = seen->is_own_scanner || seen->is_upstream ? 0 : walk_plain_shape(seen);
    if (shape == 0) {
        return PK_OK;
    }
    struct chain *chain = zone_ledger(engine, seen->zone, RULE_CHAIN);
    struct dossier *dossier = chain ? ledger_dossier(chain) : NULL;
    if (!dossier) {
        return PK_ERR_NOMEM;
    }
    bool is_open = is_running(chain, seen->row->first_us);
    if (!is_open && walk_steps(seen->actor) >= MAX_OWN) {
        return PK_OK;
    }
    leak(engine, chain, seen->row->first_us);
    if (!is_new(chain, seen->name_hash)) {
        return PK_OK;
    }
    add_network(chain, seen->actor);
    add_step(chain, seen, shape);
    if (seen->actor->key.kind != ACTOR_PSEUDONYM) {
        dossier_add_address(dossier, &seen->actor->key.addr);
    }
    bool is_hit = seen->row->signature.answer == PK_ANSWER_DATA;
    pk_err err = dossier_note(dossier, seen, is_hit ? NOTE_LEARNED : NOTE_SAMPLE, true);
    bool is_walk = chain->steps >= MIN_STEPS && chain->n_networks == MAX_NETWORKS &&
                   (double)(chain->shape + chain->order) > threshold(engine);
    return err == PK_OK && (is_walk || is_open) ? report(engine, chain, dossier) : err;
}

static pk_err settle(struct pk_engine *engine, void *ledger)
{
    return report(engine, ledger, ledger_dossier_find(ledger));
}

static void save(const void *ledger, struct pk_bytes *out)
{
    const struct chain *chain = ledger;
    state_put_time(out, chain->last_us);
    state_put_float(out, chain->shape);
    state_put_float(out, chain->order);
    pk_bytes_put_varint(out, chain->steps);
    pk_bytes_put_u8(out, chain->n_seen);
    for (uint8_t i = 0; i < chain->n_seen; i++) {
        pk_bytes_put_be64(out, chain->seen[i]);
    }
    pk_bytes_put_u8(out, chain->at);
    pk_bytes_put_u8(out, chain->n_networks);
    for (uint8_t i = 0; i < chain->n_networks; i++) {
        pk_bytes_put_be64(out, chain->networks[i]);
    }
    pk_bytes_put(out, chain->last, (size_t)chain->last[0] + 1);
}

static void load(void *ledger, struct pk_reader *in)
{
    struct chain *chain = ledger;
    chain->last_us = state_get_time(in);
    chain->shape = state_get_float(in);
    chain->order = state_get_float(in);
    chain->steps = state_get_u32(in);
    chain->n_seen = state_get_count(in, MAX_SEEN);
    for (uint8_t i = 0; i < chain->n_seen; i++) {
        chain->seen[i] = pk_reader_be64(in);
    }
    chain->at = state_get_index(in, MAX_SEEN);
    chain->n_networks = state_get_count(in, MAX_NETWORKS);
    for (uint8_t i = 0; i < chain->n_networks; i++) {
        chain->networks[i] = pk_reader_be64(in);
    }
    chain->last[0] = pk_reader_u8(in);
    state_get_bytes(in, chain->last + 1, chain->last[0]);
}

const struct rule rule_chain = {
    .id = "D7",
    .family = "chain",
    .version = "1",
    .budget_share = 0.02,
    .ledger_bytes = sizeof(struct chain),
    .max_ledgers = 10000,
    .observe = observe,
    .settle = settle,
    .save = save,
    .load = load,
};

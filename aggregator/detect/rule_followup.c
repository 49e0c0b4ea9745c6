/* D15: from reconnaissance to first contact (T1595, towards T1190 and T1133).
 *
 * Names that existed and that a source reported for D2 to D7 got are watched for a week. A source that never asked here before, and asks nothing but such names, without a
 * miss, may be whoever uses the list. For each name: ln(p1/p0), p1 = 1/(names watched), p0 = the share of the name among all first contacts that hit (how popular it is, a
 * table of 4096 counters by hash), at most 3. So www says nothing however often it was learned, and a name nobody asks says much. A source in the network of the one that
 * learned adds 3. One name outside the list, or a miss, and the source is just a resolver. What connects afterwards is not visible to DNS: confidence stays low. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "picket/hash.h"

#include "followup.h"
#include "internal.h"

enum {
    MAX_LEARNED = 512, /* the longest watched goes */
    POPULARITY = 4096,
    MAX_ASKED = 16,
    WATCH_S = 7 * 86400,
    MIN_NAMES = 3,
    MIN_TOTAL = 200, /* hits before popularity means anything */
    HALVE_AT = 1 << 20
};

static const double cap = 3.0, nats_network = 3.0, new_sources_a_day = 2000;

struct learned_name {
    uint64_t hash, network; /* of whom it was told to */
    int64_t since_us;
};

/* Of the tenant. */
struct learned {
    struct learned_name names[MAX_LEARNED];
    uint16_t n, at;
    uint32_t total;
    uint32_t hits[POPULARITY];
};

/* Of a new source. */
struct followup {
    bool is_spoiled; /* it asked for something else */
    bool is_near;    /* in the network of the one that learned */
    uint8_t n;
    uint64_t asked[MAX_ASKED];
    float nats;
};

static struct learned_name *find(struct learned *learned, uint64_t hash)
{
    for (uint16_t i = 0; i < learned->n; i++) {
        if (learned->names[i].hash == hash) {
            return &learned->names[i];
        }
    }
    return NULL;
}

void followup_learn(struct pk_engine *engine, const struct pk_finding *finding)
{
    uint8_t rule = engine->report_rule;
    bool is_recon = rule == RULE_SUBDOMAINS || rule == RULE_HELD || rule == RULE_COVERAGE ||
                    rule == RULE_WALK || rule == RULE_CHAIN;
    struct learned *learned =
        is_recon && finding->n_learned > 0 ? tenant_ledger(engine, RULE_LEARNED) : NULL;
    if (!learned) {
        return; /* short of memory nothing is watched; the finding itself is out */
    }
    uint64_t network = 0;
    if (engine->report_actor) {
        struct actor_key key = actor_network_key(engine->report_actor);
        network = actor_hash(&key);
    }
    for (size_t i = 0; i < finding->n_learned; i++) {
        uint64_t hash = pk_hash_fixed(finding->learned[i].wire, finding->learned[i].len);
        struct learned_name *name = find(learned, hash);
        if (!name) {
            name = &learned->names[learned->at];
            learned->at = (uint16_t)((learned->at + 1) % MAX_LEARNED);
            learned->n = (uint16_t)(learned->n + (learned->n < MAX_LEARNED));
            *name =
                (struct learned_name){.hash = hash, .network = network, .since_us = engine->now_us};
        }
    }
}

static void count_hit(struct learned *learned, uint64_t hash)
{
    learned->hits[hash % POPULARITY]++;
    if (++learned->total == HALVE_AT) {
        learned->total = 0;
        for (size_t i = 0; i < POPULARITY; i++) {
            learned->hits[i] /= 2;
            learned->total += learned->hits[i];
        }
    }
}

static double nats_of(const struct learned *learned, uint64_t hash)
{
    double p0 = (learned->hits[hash % POPULARITY] + .5) / (learned->total + 64.);
    double nats = log(1. / learned->n / p0);
    return nats > cap ? cap : nats < -cap ? -cap : nats;
}

static pk_err report(struct pk_engine *engine, const struct observation *seen,
    const struct followup *followup, struct dossier *dossier, double threshold)
{
    if (!dossier_is_due(dossier, followup->n, 4)) {
        return PK_OK;
    }
    struct subject subject;
    subject_of_actor(seen->actor, &subject);
    struct pk_finding *finding =
        dossier_begin(engine, RULE_FOLLOWUP, dossier, &subject, followup->n, 4);
    snprintf(finding->title, sizeof finding->title,
        "First contact after reconnaissance: %.50s asks %u names learned before, and nothing else",
        finding->actor_key, followup->n);
    finding->technique[finding->n_techniques++] = "T1595";
    finding->technique[finding->n_techniques++] = "T1190";
    contribute(finding, "rare names that a reported source had learned", (double)followup->nats);
    contribute(
        finding, "from the network of the one that learned", followup->is_near ? nats_network : 0);
    finding->trials = followup->n;
    finding->hits = followup->n;
    report_finding(engine, threshold);
    return PK_OK;
}

static bool is_watched(const struct learned_name *name, const struct observation *seen)
{
    return name && seen->row->first_us - name->since_us <= (int64_t)WATCH_S * 1000000 &&
           seen->actor->first_us > name->since_us;
}

/* A new source's first hit, of a watched name: its ledger begins. Anybody else has none. */
static bool begins(const struct observation *seen)
{
    float before = 0;
    for (unsigned i = 0; i < N_OUTCOMES; i++) {
        before += seen->actor->own[i];
    }
    return before == 0 && seen->actor->key.kind == ACTOR_ADDRESS;
}

static pk_err follow(struct pk_engine *engine, const struct observation *seen,
    const struct learned *learned, const struct learned_name *name, struct followup *followup)
{
    struct dossier *dossier = ledger_dossier(followup);
    pk_err err = dossier ? dossier_note(dossier, seen, NOTE_LEARNED, true) : PK_ERR_NOMEM;
    if (err != PK_OK) {
        return err;
    }
    for (uint8_t i = 0; i < followup->n; i++) {
        if (followup->asked[i] == seen->name_hash) {
            return PK_OK;
        }
    }
    if (followup->n == MAX_ASKED) {
        return PK_OK;
    }
    struct actor_key network = actor_network_key(seen->actor);
    followup->asked[followup->n++] = seen->name_hash;
    followup->nats += (float)nats_of(learned, seen->name_hash);
    followup->is_near = followup->is_near || name->network == actor_hash(&network);
    double threshold = rule_threshold(engine, rule_followup.budget_share, new_sources_a_day);
    double score = (double)followup->nats + (followup->is_near ? nats_network : 0);
    return followup->n >= MIN_NAMES && score > threshold
               ? report(engine, seen, followup, dossier, threshold)
               : PK_OK;
}

static pk_err observe(struct pk_engine *engine, const struct observation *seen)
{
    if (seen->trial.no != TRIAL_YES) {
        return PK_OK;
    }
    struct learned *learned = tenant_ledger(engine, RULE_LEARNED);
    if (!learned) {
        return PK_ERR_NOMEM;
    }
    bool is_hit = seen->trial.outcome == OUTCOME_HIT;
    pk_err err = PK_OK;
    if (learned->n > 0 && learned->total >= MIN_TOTAL) {
        struct followup *followup = actor_ledger_find(seen->actor, RULE_FOLLOWUP);
        bool is_candidate = followup || begins(seen); /* few are: the search is for them alone */
        const struct learned_name *name =
            is_hit && is_candidate ? find(learned, seen->name_hash) : NULL;
        bool is_good = is_watched(name, seen);
        if (followup && !is_good) {
            followup->is_spoiled = true;
        }
        if (!followup && is_good) {
            followup = actor_ledger(engine, seen->actor, RULE_FOLLOWUP);
            err = followup ? PK_OK : PK_ERR_NOMEM;
        }
        if (followup && is_good && !followup->is_spoiled) {
            err = follow(engine, seen, learned, name, followup);
        }
    }
    if (is_hit) {
        count_hit(learned, seen->name_hash);
    }
    return err;
}

static void save(const void *ledger, struct pk_bytes *out)
{
    const struct followup *followup = ledger;
    pk_bytes_put_u8(out, followup->is_spoiled);
    pk_bytes_put_u8(out, followup->is_near);
    pk_bytes_put_u8(out, followup->n);
    for (uint8_t i = 0; i < followup->n; i++) {
        pk_bytes_put_be64(out, followup->asked[i]);
    }
    state_put_float(out, followup->nats);
}

static void load(void *ledger, struct pk_reader *in)
{
    struct followup *followup = ledger;
    followup->is_spoiled = state_get_count(in, 1);
    followup->is_near = state_get_count(in, 1);
    followup->n = state_get_count(in, MAX_ASKED);
    for (uint8_t i = 0; i < followup->n; i++) {
        followup->asked[i] = pk_reader_be64(in);
    }
    followup->nats = state_get_float(in);
}

static void save_learned(const void *ledger, struct pk_bytes *out)
{
    const struct learned *learned = ledger;
    pk_bytes_put_varint(out, learned->n);
    pk_bytes_put_varint(out, learned->at);
    for (uint16_t i = 0; i < learned->n; i++) {
        pk_bytes_put_be64(out, learned->names[i].hash);
        pk_bytes_put_be64(out, learned->names[i].network);
        state_put_time(out, learned->names[i].since_us);
    }
    pk_bytes_put_varint(out, learned->total);
    for (size_t i = 0; i < POPULARITY; i++) {
        pk_bytes_put_varint(out, learned->hits[i]);
    }
}

static void load_learned(void *ledger, struct pk_reader *in)
{
    struct learned *learned = ledger;
    learned->n = state_get_u16(in);
    learned->at = state_get_u16(in);
    if (learned->n > MAX_LEARNED || learned->at >= MAX_LEARNED) {
        pk_reader_fail(in, PK_ERR_MALFORMED);
        return;
    }
    for (uint16_t i = 0; i < learned->n; i++) {
        learned->names[i].hash = pk_reader_be64(in);
        learned->names[i].network = pk_reader_be64(in);
        learned->names[i].since_us = state_get_time(in);
    }
    learned->total = state_get_u32(in);
    for (size_t i = 0; i < POPULARITY; i++) {
        learned->hits[i] = state_get_u32(in);
    }
}

const struct rule rule_followup = {
    .id = "D15",
    .family = "followup",
    .version = "1",
    .budget_share = 0.02,
    .ledger_bytes = sizeof(struct followup),
    .max_ledgers = 10000,
    .observe = observe,
    .save = save,
    .load = load,
};

/* What was learned, and how popular names are; storage alone. */
const struct rule rule_learned = {
    .id = "D15",
    .family = "learned",
    .version = "1",
    .ledger_bytes = sizeof(struct learned),
    .max_ledgers = 1,
    .save = save_learned,
    .load = load_learned,
};

/* D17: only names that exist, and that nobody asks (T1590.002): a short list of good names, without misses.
 *
 * What other new sources ask in their first day says how popular a name is: a table of 16384 counters by hash. A source that is new here scores for each name that exists
 * ln(p1/p0), between -3 and 3: p1 = 1/(names that were ever asked), as if it drew from all that exist; p0 = the name's share among the first contacts of new sources. Popular names
 * count against it. Eight rare names within its first day and a score beyond ln(new sources a day, at least 2000/(.03 budget)) = 11.1 fire. Names of one bucket share their popularity, so a large tenant sees
 * less of it. The first day of an engine is for learning. A new monitor or partner who asks only such names looks the same: confidence stays low. */
#include <math.h>
#include <stdio.h>

#include "internal.h"

enum {
    BUCKETS = 16384,
    MIN_TOTAL = 1000, /* first contacts before popularity means anything */
    MIN_NAMES = 8,
    HALVE_AT = 1 << 20
};

static const double cap = 3, nats_rare = 1, least_a_day = 2000;
static const int64_t day_us = INT64_C(86400) * 1000000;

/* Of the tenant. */
struct popular {
    int64_t since_us;
    int64_t day;                           /* of the engine's clock, since 1970 */
    uint32_t sources_today, sources_a_day; /* new ones; the latter of the day before */
    uint32_t total, n_used;                /* sum of the counters, and how many are not zero */
    uint32_t hits[BUCKETS];
};

/* Of a new source. */
struct rarity {
    float nats;
    uint16_t n_rare, n;
};

static void count_hit(struct popular *popular, const struct observation *seen)
{
    uint32_t *hits = &popular->hits[seen->name_hash % BUCKETS];
    popular->since_us = popular->since_us ? popular->since_us : seen->row->first_us;
    popular->n_used += *hits == 0;
    (*hits)++;
    if (++popular->total < HALVE_AT) {
        return;
    }
    popular->total = popular->n_used = 0;
    for (size_t i = 0; i < BUCKETS; i++) {
        popular->hits[i] /= 2;
        popular->total += popular->hits[i];
        popular->n_used += popular->hits[i] > 0;
    }
}

static void count_source(struct popular *popular, int64_t now_us)
{
    int64_t day = now_us / day_us;
    if (day > popular->day) {
        popular->sources_a_day = popular->sources_today;
        popular->sources_today = 0;
        popular->day = day;
    }
    popular->sources_today++;
}

/* New sources a day, each of which may be wrongly reported once: at least two thousand. */
static double trials_a_day(const struct popular *popular)
{
    double n = popular->sources_a_day > popular->sources_today ? popular->sources_a_day
                                                               : popular->sources_today;
    return n > least_a_day ? n : least_a_day;
}

static double nats_of(const struct popular *popular, uint64_t hash)
{
    double p0 = (popular->hits[hash % BUCKETS] + .5) / (popular->total + 64.);
    double nats = log(1. / (popular->n_used + 1.) / p0);
    return nats > cap ? cap : nats < -cap ? -cap : nats;
}

static void report(struct pk_engine *engine, struct actor *actor, const struct rarity *rarity,
    struct dossier *dossier, double threshold)
{
    if (!dossier_is_due(dossier, rarity->n_rare, 2)) {
        return;
    }
    struct subject subject;
    subject_of_actor(actor, &subject);
    struct pk_finding *finding =
        dossier_begin(engine, RULE_RARITY, dossier, &subject, rarity->n_rare, 2);
    snprintf(finding->title, sizeof finding->title,
        "Existing names that nobody asks: %.50s, new here, asks %u of them", finding->actor_key,
        rarity->n_rare);
    finding->technique[finding->n_techniques++] = "T1590.002";
    contribute(
        finding, "how rare the names are, popular ones counted against", (double)rarity->nats);
    finding->trials = rarity->n;
    finding->hits = rarity->n;
    report_finding(engine, threshold);
}

static pk_err weigh(struct pk_engine *engine, const struct observation *seen,
    const struct popular *popular, struct rarity *rarity)
{
    struct dossier *dossier = ledger_dossier(rarity);
    double nats = nats_of(popular, seen->name_hash);
    pk_err err = dossier ? PK_OK : PK_ERR_NOMEM;
    if (err == PK_OK && nats > nats_rare) {
        rarity->n_rare++;
        err = dossier_note(dossier, seen, NOTE_LEARNED, true);
    }
    if (err != PK_OK) {
        return err;
    }
    rarity->n++;
    rarity->nats += (float)nats;
    double threshold = rule_threshold(engine, rule_rarity.budget_share, trials_a_day(popular));
    if (rarity->n_rare >= MIN_NAMES && (double)rarity->nats > threshold) {
        report(engine, seen->actor, rarity, dossier, threshold);
    }
    return PK_OK;
}

/* The source's first trial of all; later none begins. */
static bool begins(const struct actor *actor)
{
    float before = 0;
    for (unsigned i = 0; i < N_OUTCOMES; i++) {
        before += actor->own[i];
    }
    return before == 0;
}

static pk_err observe(struct pk_engine *engine, const struct observation *seen)
{
    const struct actor *actor = seen->actor;
    if (seen->trial.no != TRIAL_YES || actor->key.kind != ACTOR_ADDRESS ||
        seen->row->first_us - actor->first_us > day_us) {
        return PK_OK;
    }
    bool is_first = begins(actor);
    struct rarity *rarity = is_first ? actor_ledger(engine, seen->actor, RULE_RARITY)
                                     : actor_ledger_find(actor, RULE_RARITY);
    struct popular *popular = rarity ? tenant_ledger(engine, RULE_POPULAR) : NULL;
    if (!popular) {
        return rarity || is_first ? PK_ERR_NOMEM : PK_OK;
    }
    if (is_first) {
        count_source(popular, engine->now_us);
    }
    bool is_name = seen->trial.outcome == OUTCOME_HIT && !(seen->trial.marks & MARK_WILDCARD);
    if (!is_name || rarity->n == UINT16_MAX) {
        return PK_OK;
    }
    pk_err err = PK_OK;
    if (popular->total >= MIN_TOTAL && seen->row->first_us - popular->since_us > day_us) {
        err = weigh(engine, seen, popular, rarity);
    }
    count_hit(popular, seen);
    return err;
}

static pk_err settle(struct pk_engine *engine, void *ledger)
{
    const struct popular *popular = tenant_ledger(engine, RULE_POPULAR);
    if (!popular) {
        return PK_ERR_NOMEM;
    }
    report(engine, &engine->actors.v[ledger_owner(ledger)], ledger, ledger_dossier_find(ledger),
        rule_threshold(engine, rule_rarity.budget_share, trials_a_day(popular)));
    return PK_OK;
}

static void save(const void *ledger, struct pk_bytes *out)
{
    const struct rarity *rarity = ledger;
    state_put_float(out, rarity->nats);
    pk_bytes_put_be16(out, rarity->n_rare);
    pk_bytes_put_be16(out, rarity->n);
}

static void load(void *ledger, struct pk_reader *in)
{
    struct rarity *rarity = ledger;
    rarity->nats = state_get_float(in);
    rarity->n_rare = pk_reader_be16(in);
    rarity->n = pk_reader_be16(in);
}

static void save_popular(const void *ledger, struct pk_bytes *out)
{
    const struct popular *popular = ledger;
    state_put_time(out, popular->since_us);
    state_put_time(out, popular->day);
    pk_bytes_put_varint(out, popular->sources_today);
    pk_bytes_put_varint(out, popular->sources_a_day);
    for (size_t i = 0; i < BUCKETS; i++) {
        pk_bytes_put_varint(out, popular->hits[i]);
    }
}

static void load_popular(void *ledger, struct pk_reader *in)
{
    struct popular *popular = ledger;
    popular->since_us = state_get_time(in);
    popular->day = state_get_time(in);
    popular->sources_today = state_get_u32(in);
    popular->sources_a_day = state_get_u32(in);
    for (size_t i = 0; i < BUCKETS && in->err == PK_OK; i++) {
        popular->hits[i] = state_get_u32(in);
        if (popular->hits[i] > HALVE_AT - popular->total) {
            pk_reader_fail(in, PK_ERR_MALFORMED);
            popular->hits[i] = 0;
        }
        popular->total += popular->hits[i];
        popular->n_used += popular->hits[i] > 0;
    }
}

const struct rule rule_rarity = {
    .id = "D17",
    .family = "rarity",
    .version = "2",
    .budget_share = 0.03,
    .ledger_bytes = sizeof(struct rarity),
    .max_ledgers = 20000,
    .observe = observe,
    .settle = settle,
    .save = save,
    .load = load,
};

const struct rule rule_popular = {
    .id = "D17",
    .family = "popular",
    .version = "1",
    .ledger_bytes = sizeof(struct popular),
    .max_ledgers = 1,
    .save = save_popular,
    .load = load_popular,
};

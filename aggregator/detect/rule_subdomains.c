/* D2: guessing subdomains (T1595.003, T1590.002), a sequential likelihood-ratio test over all sites.
 *
 * A trial is the first question of a source for a label below a zone within a day, wherever it was seen. Its outcome is a hit, or a miss of a dictionary, random or
 * other label. For each of three ideas of the attacker's list and four shares of attack in the source's traffic a log-wealth is kept,
 *     L <- max(0, L - leak dt) + ln(1 - eps + eps p1(outcome) / p0(outcome)),
 * and the alarm is max(L + ln weight) > h. The floor at 0 makes it a CUSUM (Page 1954), the mixture bounds what benign questions of the same source can take away, and
 * h = ln(trials a day / false alarms a day allowed) is Lorden's bound. Priors: docs/DETECTIONS.md. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

enum {
    N_HYPOTHESES = 3,
    N_SHARES = 4,
    MIN_DICT = 8,
    MIN_LABELS = 6,
    MIN_UNKNOWN = 12,
    MANY_HITS = 5,
    LEAK_S = 86400
};

struct trials {
    double wealth[N_HYPOTHESES][N_SHARES];
    uint32_t hits, dict, rand, other; /* since the wealth last left zero */
    uint32_t labels;                  /* distinct labels: every trial is one */
    int64_t last_us;
};

/* Shares of first contacts of a source not seen before, by where the sensor stands: OUTCOME_HIT, OUTCOME_DICT, OUTCOME_RAND, OUTCOME_OTHER. */
static const double p0_by_vantage[PK_N_VANTAGES][N_OUTCOMES] = {
    [PK_VANTAGE_UNKNOWN] = {0.785, 0.030, 0.105, 0.080},
    [PK_VANTAGE_AUTHORITATIVE] = {0.785, 0.030, 0.105, 0.080},
    [PK_VANTAGE_RESOLVER] = {0.870, 0.030, 0.050, 0.050},
};
/* A long list, a short one of good names, a list that our words do not know. */
static const double p1[N_HYPOTHESES][N_OUTCOMES] = {
    {.08, .86, .01, .05}, {.40, .54, .01, .05}, {.06, .02, .02, .90}};
static const double shares[N_SHARES] = {1.0, 0.3, 0.1, 0.03};
static const double share_weights[N_SHARES] = {0.4, 0.3, 0.2, 0.1};
static const double trials_a_day = 170000;

static double threshold(const struct pk_engine *engine)
{
    return rule_threshold(engine, RULE_SUBDOMAINS, trials_a_day) +
           log(3.0); /* three granularities of the source share the budget */
}

static double gain(
    const struct observation *seen, enum outcome outcome, unsigned hypothesis, unsigned share)
{
    double p0 = p0_by_vantage[seen->row->signature.vantage][outcome];
    return log(1 - shares[share] + shares[share] * p1[hypothesis][outcome] / p0);
}

static double prior(unsigned share)
{
    return log(share_weights[share] / N_HYPOTHESES);
}

static void update(
    struct trials *trials, const struct observation *seen, enum outcome outcome, double h)
{
    int64_t dt_us = seen->row->first_us - trials->last_us;
    double leak =
        trials->last_us != 0 && dt_us > 0 ? h * (double)dt_us / ((double)LEAK_S * 1e6) : 0;
    double highest = 0;
    for (unsigned i = 0; i < N_HYPOTHESES; i++) {
        for (unsigned k = 0; k < N_SHARES; k++) {
            double left = trials->wealth[i][k] - leak;
            highest = left > highest ? left : highest;
            trials->wealth[i][k] = (left > 0 ? left : 0) + gain(seen, outcome, i, k);
        }
    }
    if (highest <= 0) { /* nothing is left of what was before: the episode begins here */
        trials->hits = trials->dict = trials->rand = trials->other = trials->labels = 0;
    }
    trials->hits += outcome == OUTCOME_HIT;
    trials->dict += outcome == OUTCOME_DICT;
    trials->rand += outcome == OUTCOME_RAND;
    trials->other += outcome == OUTCOME_OTHER;
    trials->labels++;
    trials->last_us = seen->row->first_us > trials->last_us ? seen->row->first_us : trials->last_us;
}

static double best(const struct trials *trials, unsigned *out_hypothesis, unsigned *out_share)
{
    double highest = -HUGE_VAL;
    for (unsigned i = 0; i < N_HYPOTHESES; i++) {
        for (unsigned k = 0; k < N_SHARES; k++) {
            double score = trials->wealth[i][k] + prior(k);
            if (score > highest) {
                highest = score;
                *out_hypothesis = i;
                *out_share = k;
            }
        }
    }
    return highest;
}

static void report(struct pk_engine *engine, const struct observation *seen,
    const struct trials *trials, struct dossier *dossier, uint8_t severity, double h)
{
    struct subject subject;
    unsigned i = 0, k = 0;
    double score = best(trials, &i, &k);
    subject_of_actor(seen->actor, &subject);
    struct pk_finding *finding =
        dossier_begin(engine, RULE_SUBDOMAINS, dossier, &subject, trials->labels, severity);
    snprintf(finding->title, sizeof finding->title,
        "Subdomain enumeration by %s: %u names tried, %u of them exist, at %zu site%s",
        finding->actor_key, trials->labels, trials->hits, finding->n_sites,
        finding->n_sites == 1 ? "" : "s");
    finding->technique[finding->n_techniques++] = "T1595.003";
    finding->technique[finding->n_techniques++] = "T1590.002";
    const double hits = trials->hits * gain(seen, OUTCOME_HIT, i, k),
                 dict = trials->dict * gain(seen, OUTCOME_DICT, i, k);
    const double rnd = trials->rand * gain(seen, OUTCOME_RAND, i, k),
                 other = trials->other * gain(seen, OUTCOME_OTHER, i, k);
    contribute(finding, "dictionary misses", dict);
    contribute(finding, "other misses", other);
    contribute(finding, "random-looking misses", rnd);
    contribute(finding, "names that exist", hits);
    contribute(finding, "prior of this list and share", prior(k));
    contribute(finding, "time, and what was before the episode",
        score - prior(k) - hits - dict - rnd - other);
    finding->trials = trials->labels;
    finding->hits = trials->hits;
    finding->dict = trials->dict;
    finding->rand = trials->rand;
    finding->other = trials->other;
    report_finding(engine, h);
}

static pk_err again(const struct observation *seen)
{
    struct trials *trials = actor_ledger_find(seen->actor, RULE_SUBDOMAINS);
    struct dossier *known = trials ? ledger_dossier_find(trials) : NULL;
    if (dossier_is_open(
            known)) { /* no new trial, but the same question at another site is worth telling */
        dossier_add_site(known, seen);
    }
    return PK_OK;
}

static pk_err observe(struct pk_engine *engine, const struct observation *seen)
{
    if (seen->trial.no != TRIAL_YES) {
        return seen->trial.no == NO_TRIAL_AGAIN ? again(seen) : PK_OK;
    }
    enum outcome outcome = seen->trial.outcome;
    struct trials *trials = actor_ledger_find(seen->actor, RULE_SUBDOMAINS);
    if (outcome == OUTCOME_HIT && !trials) {
        return PK_OK; /* most sources never miss: nothing to write down */
    }
    trials = actor_ledger(engine, seen->actor, RULE_SUBDOMAINS);
    struct dossier *dossier = trials ? ledger_dossier(trials) : NULL;
    if (!dossier) {
        return PK_ERR_NOMEM;
    }
    double h = threshold(engine);
    update(trials, seen, outcome, h);
    pk_err err = dossier_note(dossier, seen, outcome == OUTCOME_HIT ? NOTE_LEARNED : NOTE_SAMPLE,
        outcome != OUTCOME_HIT || dossier->n_evidence < PK_FINDING_MAX_EVIDENCE / 2);
    if (err != PK_OK) {
        return err;
    }
    unsigned i = 0, k = 0;
    bool has_words = trials->dict >= MIN_DICT,
         has_unknown = trials->dict + trials->other >= MIN_UNKNOWN;
    if (best(trials, &i, &k) > h && (has_words || has_unknown) && trials->labels >= MIN_LABELS) {
        uint8_t severity = trials->hits >= MANY_HITS ? 4 : 3;
        if (dossier_is_due(dossier, trials->labels, severity)) {
            report(engine, seen, trials, dossier, severity, h);
        }
    }
    return PK_OK;
}

static void save(const void *ledger, struct pk_bytes *out)
{
    const struct trials *trials = ledger;
    for (unsigned i = 0; i < N_HYPOTHESES; i++) {
        for (unsigned k = 0; k < N_SHARES; k++) {
            state_put_double(out, trials->wealth[i][k]);
        }
    }
    pk_bytes_put_varint(out, trials->hits);
    pk_bytes_put_varint(out, trials->dict);
    pk_bytes_put_varint(out, trials->rand);
    pk_bytes_put_varint(out, trials->other);
    pk_bytes_put_varint(out, trials->labels);
    state_put_time(out, trials->last_us);
}

static void load(void *ledger, struct pk_reader *in)
{
    struct trials *trials = ledger;
    for (unsigned i = 0; i < N_HYPOTHESES; i++) {
        for (unsigned k = 0; k < N_SHARES; k++) {
            trials->wealth[i][k] = state_get_double(in);
        }
    }
    trials->hits = state_get_u32(in);
    trials->dict = state_get_u32(in);
    trials->rand = state_get_u32(in);
    trials->other = state_get_u32(in);
    trials->labels = state_get_u32(in);
    trials->last_us = state_get_time(in);
}

const struct rule rule_subdomains = {
    .id = "D2",
    .family = "subdomains",
    .version = "1",
    .budget_share = 0.2,
    .ledger_bytes = sizeof(struct trials),
    .max_ledgers = 200000,
    .observe = observe,
    .save = save,
    .load = load,
};

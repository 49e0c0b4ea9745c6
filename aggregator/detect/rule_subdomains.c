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

#include "picket/dnsmsg.h"
#include "picket/hash.h"

#include "actor.h"

enum outcome {
    HIT,
    DICT,
    RAND,
    OTHER,
    N_OUTCOMES
};

enum {
    MIN_DICT = 8,
    MIN_LABELS = 6,
    MIN_UNKNOWN = 12,
    MANY_HITS = 5,
    LEAK_S = 86400
};

/* Shares of first contacts of a source not seen before, by where the sensor stands: HIT, DICT, RAND, OTHER. */
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
static const double trials_a_day = 170000, budget_share = 0.2;

static double threshold(const struct pk_engine *engine)
{
    return log(trials_a_day / (budget_share * engine->tenant->budget)) +
           log(3.0); /* three granularities of the source share the budget */
}

static bool is_trial(const struct pk_engine *engine, const struct observation *seen)
{
    const struct pk_signature *signature = &seen->row->signature;
    uint8_t len;
    bool has_verdict = signature->answer != PK_ANSWER_NONE &&
                       signature->answer != PK_ANSWER_ERROR &&
                       signature->answer != PK_ANSWER_TRANSFER;
    if (seen->reason != PK_SCOPE_ZONE || signature->opcode != PK_OPCODE_QUERY ||
        signature->qclass != PK_CLASS_IN || !has_verdict ||
        seen->name.n_labels <= seen->zone.n_labels) {
        return false;
    }
    const uint8_t *first = pk_name_label(&seen->name, 0, &len);
    return first[0] != '_' && !pk_scope_is_in(engine->tenant->scanners, engine->tenant->n_scanners,
                                  &seen->actor->key.addr);
}

/* Whether this answer is the zone's wildcard; learns from random-looking labels. */
static bool is_wildcard(
    struct pk_engine *engine, const struct observation *seen, enum pk_label_class class)
{
    uint64_t zone = name_hash(&seen->zone), digest = seen->row->answer_digest;
    struct wildcard *wildcard = NULL;
    if (digest == 0) {
        return false;
    }
    for (size_t i = 0; i < engine->n_wildcards && !wildcard; i++) {
        wildcard = engine->wildcards[i].zone_hash == zone ? &engine->wildcards[i] : NULL;
    }
    if (!wildcard) {
        if (class != PK_LABEL_RANDOM || engine->n_wildcards == engine->cap_wildcards) {
            return false;
        }
        wildcard = &engine->wildcards[engine->n_wildcards++];
        *wildcard = (struct wildcard){.zone_hash = zone};
    }
    unsigned slot = 0;
    while (slot < MAX_WILDCARDS && wildcard->digest[slot] != digest && wildcard->n[slot] > 0) {
        slot++;
    }
    if (class == PK_LABEL_RANDOM && slot < MAX_WILDCARDS && wildcard->n[slot] < UINT8_MAX) {
        wildcard->digest[slot] = digest;
        wildcard->n[slot]++;
    }
    return slot < MAX_WILDCARDS && wildcard->digest[slot] == digest && wildcard->n[slot] >= 3;
}

static enum outcome outcome_of(struct pk_engine *engine, const struct observation *seen)
{
    uint8_t len;
    const uint8_t *label = pk_name_label(&seen->name, 0, &len);
    enum pk_label_class class = pk_label_classify(engine->labels, label, len);
    if (seen->row->signature.answer != PK_ANSWER_NXDOMAIN && !is_wildcard(engine, seen, class)) {
        return HIT; /* NODATA and referrals too: the name exists */
    }
    return class == PK_LABEL_DICTIONARY ? DICT : class == PK_LABEL_RANDOM ? RAND : OTHER;
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
    trials->hits += outcome == HIT;
    trials->dict += outcome == DICT;
    trials->rand += outcome == RAND;
    trials->other += outcome == OTHER;
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

static void contribute(struct pk_finding *finding, const char *name, double nats)
{
    if (fabs(nats) >= 0.05) {
        finding->contributions[finding->n_contributions++] = (struct pk_contribution){name, nats};
    }
}

static void report(struct pk_engine *engine, const struct observation *seen,
    struct dossier *dossier, uint8_t severity, double h)
{
    const struct trials *trials = &seen->actor->trials;
    unsigned i = 0, k = 0;
    double score = best(trials, &i, &k);
    struct pk_finding *finding =
        dossier_begin(engine, seen->actor, FAMILY_SUBDOMAINS, dossier, trials->labels, severity);
    snprintf(finding->title, sizeof finding->title,
        "Subdomain enumeration by %s: %u names tried, %u of them exist, at %zu site%s",
        finding->actor_key, trials->labels, trials->hits, finding->n_sites,
        finding->n_sites == 1 ? "" : "s");
    finding->technique[finding->n_techniques++] = "T1595.003";
    finding->technique[finding->n_techniques++] = "T1590.002";
    const double hits = trials->hits * gain(seen, HIT, i, k),
                 dict = trials->dict * gain(seen, DICT, i, k);
    const double rnd = trials->rand * gain(seen, RAND, i, k),
                 other = trials->other * gain(seen, OTHER, i, k);
    contribute(finding, "dictionary misses", dict);
    contribute(finding, "other misses", other);
    contribute(finding, "random-looking misses", rnd);
    contribute(finding, "names that exist", hits);
    contribute(finding, "prior of this list and share", prior(k));
    contribute(finding, "time, and what was before the episode",
        score - prior(k) - hits - dict - rnd - other);
    finding->score_nats = score;
    finding->trials = trials->labels;
    finding->hits = trials->hits;
    finding->dict = trials->dict;
    finding->rand = trials->rand;
    finding->other = trials->other;
    report_finding(engine, h);
}

static pk_err note(struct pk_engine *engine, const struct observation *seen, enum outcome outcome,
    struct dossier **out_dossier)
{
    (void)engine;
    struct dossier *dossier;
    pk_err err = dossier_of(seen->actor, FAMILY_SUBDOMAINS, &dossier);
    if (err == PK_OK) {
        err = dossier_note(
            dossier, seen, outcome != HIT || dossier->n_evidence < PK_FINDING_MAX_EVIDENCE / 2);
    }
    if (err == PK_OK) {
        err = outcome == HIT ? dossier_add_name(dossier->learned, &dossier->n_learned,
                                   MAX_DOSSIER_NAMES, &seen->name)
                             : dossier_add_name(dossier->samples, &dossier->n_samples,
                                   MAX_DOSSIER_NAMES, &seen->name);
    }
    if (err == PK_OK) {
        err =
            dossier_add_name(dossier->zones, &dossier->n_zones, PK_FINDING_MAX_ZONES, &seen->zone);
    }
    *out_dossier = dossier;
    return err;
}

pk_err rule_subdomains(struct pk_engine *engine, const struct observation *seen)
{
    if (!is_trial(engine, seen)) {
        return PK_OK;
    }
    uint64_t contact[3] = {pk_hash_fixed(&seen->actor->key, sizeof seen->actor->key),
        name_hash(&seen->zone), name_hash(&seen->name)};
    if (!pk_contacts_add(
            &engine->contacts, pk_hash_fixed(contact, sizeof contact), seen->row->first_us)) {
        struct dossier *known =
            seen->actor->dossiers
                [FAMILY_SUBDOMAINS]; /* no new trial, but the same question at another site is worth telling */
        if (known && known->revision > 0) {
            known->sites[seen->site / 64] |= UINT64_C(1) << seen->site % 64;
        }
        return PK_OK;
    }
    struct trials *trials = &seen->actor->trials;
    struct dossier *dossier;
    double h = threshold(engine);
    enum outcome outcome = outcome_of(engine, seen);
    engine->stats.trials++;
    update(trials, seen, outcome, h);
    if (outcome == HIT && !seen->actor->dossiers[FAMILY_SUBDOMAINS]) {
        return PK_OK; /* most sources never miss: nothing to write down */
    }
    pk_err err = note(engine, seen, outcome, &dossier);
    if (err != PK_OK) {
        return err;
    }
    unsigned i = 0, k = 0;
    bool has_words = trials->dict >= MIN_DICT,
         has_unknown = trials->dict + trials->other >= MIN_UNKNOWN;
    if (best(trials, &i, &k) > h && (has_words || has_unknown) && trials->labels >= MIN_LABELS) {
        uint8_t severity = trials->hits >= MANY_HITS ? 4 : 3;
        if (dossier_is_due(dossier, trials->labels, severity)) {
            report(engine, seen, dossier, severity, h);
        }
    }
    return PK_OK;
}

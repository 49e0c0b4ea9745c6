/* D11: names that only history knows (T1596.001): the signature detector.
 *
 * Somebody who buys or scrapes passive DNS gets names that are long gone, and asks them. Nobody guesses such names, and nobody has a reason to ask several of them. A retired
 * name had an authoritative answer, or one at two sites or on two days (anybody can make a resolver see one answer once), the last 30 days ago or more, and is now a miss
 * (trial.c, MARK_RETIRED). Each distinct one a source asks for the first time within a day weighs ln(.5/.02) = 3.2 nats: the share of such a list against the share of such
 * questions among others' misses. Less where there is another reason to ask it: a word a list has too (half), one other sources ask as well (a third), a source that has long
 * been asking here, which may be a resolver with stale clients behind it (two fifths).
 *
 * The giveaway is breadth: a stale client, a forgotten link or a moved department asks names of one era, a list asks names that went at different times. So names that went
 * within a week of each other weigh fully once and then a third; and names whose lives never overlapped add 1.5 for each beyond the first, severity 4 from three on.
 * Three names and the threshold fire; a source remembers the last 24 it asked, and a name it asked before says nothing again. Fewer leave a hint for other detectors. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "picket/dnsmsg.h"

#include "internal.h"

enum {
    DAY_S = 86400,
    ERA_S = 7 * 86400,
    MAX_NAMES = 24,
    MIN_NAMES = 3,
    MIN_ESTABLISHED = 20, /* answers a source had before it counts as one of long standing */
    BREADTH_SEVERE = 3
};

/* 500 first contacts with retired names a day in a large tenant, .05 false alerts a day: ln(500/.05) = 9.2. */
static const double nats_name = 3.219, nats_disjoint = 1.5, trials_a_day = 500;
static const double weight_word = .5, weight_common = 1. / 3, weight_established = .4,
                    weight_era = 1. / 3;

struct retired_name {
    uint64_t hash;
    int64_t asked_us, first_us, last_us; /* its life as history knows it */
    float nats;
};

struct retired {
    struct retired_name names[MAX_NAMES]; /* the oldest goes */
    uint8_t n, at;
};

static double weight_of(const struct retired *retired, const struct observation *seen,
    const struct pk_history_entry *life)
{
    double weight = 1;
    const struct actor *actor = seen->actor;
    bool is_established = actor->own[OUTCOME_HIT] >= MIN_ESTABLISHED &&
                          seen->row->first_us - actor->first_us > (int64_t)DAY_S * 1000000;
    weight *= seen->trial.class == PK_LABEL_DICTIONARY ? weight_word : 1;
    weight *= seen->trial.miss.is_common ? weight_common : 1;
    weight *= is_established ? weight_established : 1;
    for (uint8_t i = 0; i < retired->n; i++) {
        const struct retired_name *other = &retired->names[i];
        if (llabs(other->last_us - life->last_positive_us) <= (int64_t)ERA_S * 1000000 &&
            seen->row->first_us - other->asked_us <= (int64_t)DAY_S * 1000000) {
            return weight * weight_era;
        }
    }
    return weight;
}

static bool is_recent(const struct retired_name *name, int64_t now_us)
{
    return now_us - name->asked_us <= (int64_t)DAY_S * 1000000;
}

/* The most lives of which no two overlapped: by end, greedily. */
static unsigned disjoint_lives(const struct retired *retired, int64_t now_us)
{
    unsigned n = 0;
    int64_t until_us = INT64_MIN;
    for (;;) {
        const struct retired_name *next = NULL;
        for (uint8_t i = 0; i < retired->n; i++) {
            const struct retired_name *name = &retired->names[i];
            if (is_recent(name, now_us) && name->first_us > until_us &&
                (!next || name->last_us < next->last_us)) {
                next = name;
            }
        }
        if (!next) {
            return n;
        }
        n++;
        until_us = next->last_us;
    }
}

struct verdict {
    unsigned n, disjoint;
    double nats_names, nats_breadth;
};

static struct verdict judge(const struct retired *retired, int64_t now_us)
{
    struct verdict verdict = {.disjoint = disjoint_lives(retired, now_us)};
    for (uint8_t i = 0; i < retired->n; i++) {
        if (is_recent(&retired->names[i], now_us)) {
            verdict.n++;
            verdict.nats_names += (double)retired->names[i].nats;
        }
    }
    verdict.nats_breadth = verdict.disjoint > 1 ? nats_disjoint * (verdict.disjoint - 1) : 0;
    return verdict;
}

static pk_err report(struct pk_engine *engine, const struct observation *seen,
    struct dossier *dossier, const struct verdict *verdict, double threshold)
{
    uint8_t severity = verdict->disjoint >= BREADTH_SEVERE ? 4 : 3;
    if (!dossier_is_due(dossier, verdict->n, severity)) {
        return PK_OK;
    }
    struct subject subject;
    subject_of_actor(seen->actor, &subject);
    struct pk_finding *finding =
        dossier_begin(engine, RULE_RETIRED, dossier, &subject, verdict->n, severity);
    snprintf(finding->title, sizeof finding->title,
        "Names known only from passive DNS asked by %.50s: %u retired names", finding->actor_key,
        verdict->n);
    finding->technique[finding->n_techniques++] = "T1596.001";
    contribute(finding, "distinct names that history alone knows", verdict->nats_names);
    contribute(finding, "their lives never overlapped", verdict->nats_breadth);
    finding->trials = verdict->n;
    finding->other = verdict->n;
    report_finding(engine, threshold);
    return PK_OK;
}

static pk_err observe(struct pk_engine *engine, const struct observation *seen)
{
    struct pk_history_entry life;
    if (seen->trial.no != TRIAL_YES || !(seen->trial.marks & MARK_RETIRED) ||
        !engine->history.lookup(engine->history.arg, &seen->name, &life)) {
        return PK_OK;
    }
    struct retired *retired = actor_ledger(engine, seen->actor, RULE_RETIRED);
    struct dossier *dossier = retired ? ledger_dossier(retired) : NULL;
    if (!dossier) {
        return PK_ERR_NOMEM;
    }
    for (uint8_t i = 0; i < retired->n; i++) {
        if (retired->names[i].hash == seen->name_hash) {
            return PK_OK; /* it has been asking that for a while: a stale client */
        }
    }
    int64_t now_us = seen->row->first_us;
    double nats = nats_name * weight_of(retired, seen, &life);
    retired->names[retired->at] = (struct retired_name){.hash = seen->name_hash,
        .asked_us = now_us,
        .first_us = life.first_us,
        .last_us = life.last_positive_us,
        .nats = (float)nats};
    retired->at = (uint8_t)((retired->at + 1) % MAX_NAMES);
    retired->n = (uint8_t)(retired->n + (retired->n < MAX_NAMES));
    pk_err err = dossier_note(dossier, seen, NOTE_SAMPLE, true);
    struct verdict verdict = judge(retired, now_us);
    if (err == PK_OK) {
        err = hint_leave(engine, seen->actor, HINT_RETIRED,
            verdict.nats_names < 6 ? verdict.nats_names : 6, now_us);
    }
    double threshold = rule_threshold(engine, rule_retired.budget_share, trials_a_day);
    bool is_alarm = verdict.n >= MIN_NAMES && verdict.nats_names + verdict.nats_breadth > threshold;
    return err == PK_OK && is_alarm ? report(engine, seen, dossier, &verdict, threshold) : err;
}

static void save(const void *ledger, struct pk_bytes *out)
{
    const struct retired *retired = ledger;
    pk_bytes_put_u8(out, retired->n);
    pk_bytes_put_u8(out, retired->at);
    for (uint8_t i = 0; i < retired->n; i++) {
        const struct retired_name *name = &retired->names[i];
        pk_bytes_put_be64(out, name->hash);
        state_put_time(out, name->asked_us);
        state_put_time(out, name->first_us);
        state_put_time(out, name->last_us);
        state_put_float(out, name->nats);
    }
}

static void load(void *ledger, struct pk_reader *in)
{
    struct retired *retired = ledger;
    retired->n = state_get_count(in, MAX_NAMES);
    retired->at = state_get_index(in, MAX_NAMES);
    for (uint8_t i = 0; i < retired->n; i++) {
        struct retired_name *name = &retired->names[i];
        name->hash = pk_reader_be64(in);
        name->asked_us = state_get_time(in);
        name->first_us = state_get_time(in);
        name->last_us = state_get_time(in);
        name->nats = state_get_float(in);
    }
}

const struct rule rule_retired = {
    .id = "D11",
    .family = "retired",
    .version = "1",
    .budget_share = 0.05,
    .ledger_bytes = sizeof(struct retired),
    .max_ledgers = 10000,
    .observe = observe,
    .save = save,
    .load = load,
};

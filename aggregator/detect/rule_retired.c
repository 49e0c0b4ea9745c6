/* D11: names that only history knows (T1596.001): the signature detector.
 *
 * Somebody who buys or scrapes passive DNS gets names that are long gone, and asks them. Nobody guesses such names, and nobody has a reason to ask several of them. A retired
 * name had an authoritative answer, or one at two sites or on two days (anybody can make a resolver see one answer once), the last 30 days ago or more, and is now a miss
 * (trial.c, MARK_RETIRED).
 *
 * But old links and old configuration lead to retired names too, for years, and whoever follows one asks by way of any resolver. So
 *  - a name that another network asked within a week is a public stale link: no weight, also when that shows only afterwards;
 *  - the share r of such questions (of names not known to be public links) among first contacts is learned here, outside and inside apart, over half a day: it is high where
 *    nothing is known yet and falls as the links become known. That is the cold start: until then r itself makes them weak;
 *  - a source is compared with itself: with n retired names beside m other first contacts it has, for a share e of attack in its traffic (.9, .5, .2, .05; weights w .3, .4, .2, .1),
 *    n ln(1 - e + e/r) + m ln(1 - e) + ln(w). A busy resolver with a few stale clients behind it gains nothing.
 *
 * Less where there is another reason to ask: a word a list has too (half), of a client of our own, whose bookmarks are old hosts, and of a source that also missed names
 * which history does not know: a list's words are not all old hosts by accident. The answer is not needed: history knows it. A question from outside whose answer was not seen (one direction
 * captured, a server that is silent) counts as one that missed.
 * The giveaway is breadth: a stale client, a forgotten link or a moved department asks names of one era,
 * a list asks names that went at different times. So names that went within a week of each other weigh fully once and then a quarter; names whose lives never overlapped add 2.5
 * for each beyond the first, severity 4 from three on. Three names within a day and the threshold fire; a source remembers the last 24 it asked, and a name it asked before says
 * nothing again. Fewer leave a hint for other detectors. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "picket/dnsmsg.h"

#include "internal.h"

enum {
    HOUR_S = 3600,
    DAY_S = 86400,
    ERA_S = 7 * 86400,
    MAX_NAMES = 24,
    MIN_NAMES = 3,
    MAX_LESSONS = 8, /* names of one source in a day that teach what is usual */
    PUBLIC = 1,      /* other networks that make a name a public link */
    BREADTH_SEVERE = 3,
    N_SHARES = 4
};

static const double shares[N_SHARES] = {.9, .5, .2, .05}, priors[N_SHARES] = {.3, .4, .2, .1},
                    nats_disjoint = 2.5;
static const double weight_word = .5, weight_era = .25;
/* Shares of first contacts with such names among all: before anything is known, what that counts for, and never below. */
static const double prior_share = .03, prior_trials = 200, least_share = .01;
static const double memory_s = DAY_S / 2., least_a_day = 500;

/* Of the tenant: first contacts, and those with retired names that are no public links; [1]: of inside clients. The past fades. */
struct stale {
    float trials[2], retired[2];
    int64_t time_us;
};

struct retired_name {
    uint64_t hash, miss;                 /* of the name; key in misses.h */
    int64_t asked_us, first_us, last_us; /* its life as history knows it */
    float weight;
};

struct retired {
    struct retired_name names[MAX_NAMES]; /* the oldest goes */
    uint8_t n, at;
};

static double weight_of(const struct retired *retired, const struct observation *seen,
    const struct pk_history_entry *life)
{
    const float *own = seen->actor->own; /* of misses only those that history does not know */
    bool may_have_reason = actor_is_inside(seen->actor) ||
                           own[OUTCOME_DICT] + own[OUTCOME_OTHER] + own[OUTCOME_RAND] > 0;
    bool is_word = seen->trial.class == PK_LABEL_DICTIONARY;
    double weight = is_word && may_have_reason ? weight_word : 1;
    for (uint8_t i = 0; i < retired->n; i++) {
        const struct retired_name *other = &retired->names[i];
        if (llabs(other->last_us - life->last_positive_us) <= (int64_t)ERA_S * 1000000 &&
            seen->row->first_us - other->asked_us <= (int64_t)DAY_S * 1000000) {
            return weight * weight_era;
        }
    }
    return weight;
}

/* --- what is usual --- */

static void count(struct stale *stale, const struct observation *seen, bool is_retired)
{
    int64_t dt_us = stale->time_us ? seen->now_us - stale->time_us : 0;
    if (dt_us > (int64_t)HOUR_S * 1000000 || stale->time_us == 0) {
        float left = (float)exp(-(double)dt_us * 1e-6 / memory_s);
        for (unsigned i = 0; i < 2; i++) {
            stale->trials[i] *= left;
            stale->retired[i] *= left;
        }
        stale->time_us = seen->now_us;
    }
    unsigned of = actor_is_inside(seen->actor);
    stale->trials[of]++;
    stale->retired[of] += is_retired;
}

static double usual_share(const struct stale *stale, unsigned of)
{
    double share = ((double)stale->retired[of] + prior_share * prior_trials) /
                   ((double)stale->trials[of] + prior_trials);
    return share > least_share ? share : least_share;
}

/* First contacts with such names in a day, as the last half day was; at least 500. */
static double trials_a_day(const struct stale *stale)
{
    double n = (double)(stale->retired[0] + stale->retired[1]) * DAY_S / memory_s;
    return n > least_a_day ? n : least_a_day;
}

/* --- judging --- */

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
    double nats_names, nats_others, nats_breadth;
};

static struct verdict judge(const struct pk_engine *engine, const struct retired *retired,
    const struct actor *actor, double share, int64_t now_us)
{
    double sum = 0, best = -HUGE_VAL;
    double others = (double)(actor->own[0] + actor->own[1] + actor->own[2] + actor->own[3]);
    struct verdict verdict = {.disjoint = disjoint_lives(retired, now_us)};
    for (uint8_t i = 0; i < retired->n; i++) {
        if (is_recent(&retired->names[i], now_us)) {
            bool is_public = miss_others(engine, retired->names[i].miss, actor) >= PUBLIC;
            verdict.n += !is_public;
            sum += is_public ? 0 : (double)retired->names[i].weight;
        }
    }
    for (unsigned k = 0; k < N_SHARES; k++) {
        double names = sum * log(1 - shares[k] + shares[k] / share);
        double rest = others * log(1 - shares[k]) + log(priors[k]);
        if (names + rest > best) {
            best = names + rest;
            verdict.nats_names = names;
            verdict.nats_others = rest;
        }
    }
    verdict.nats_breadth = verdict.disjoint > 1 ? nats_disjoint * (verdict.disjoint - 1) : 0;
    return verdict;
}

static pk_err report(struct pk_engine *engine, struct actor *actor, struct dossier *dossier,
    const struct verdict *verdict, double threshold)
{
    uint8_t severity = verdict->disjoint >= BREADTH_SEVERE ? 4 : 3;
    if (!dossier_is_due(dossier, verdict->n, severity)) {
        return PK_OK;
    }
    struct subject subject;
    subject_of_actor(actor, &subject);
    struct pk_finding *finding =
        dossier_begin(engine, RULE_RETIRED, dossier, &subject, verdict->n, severity);
    snprintf(finding->title, sizeof finding->title,
        "Names known only from passive DNS asked by %.50s: %u retired names", finding->actor_key,
        verdict->n);
    finding->technique[finding->n_techniques++] = "T1596.001";
    contribute(finding, "distinct names that history alone knows", verdict->nats_names);
    contribute(
        finding, "its other first contacts, and the prior of this share", verdict->nats_others);
    contribute(finding, "their lives never overlapped", verdict->nats_breadth);
    finding->trials = verdict->n;
    finding->other = verdict->n;
    report_finding(engine, threshold);
    return PK_OK;
}

/* The name joins what the source asked; the verdict goes out. */
static pk_err take(struct pk_engine *engine, const struct observation *seen,
    struct retired *retired, const struct pk_history_entry *life, const struct stale *stale)
{
    int64_t now_us = seen->row->first_us;
    struct dossier *dossier = ledger_dossier(retired);
    if (!dossier) {
        return PK_ERR_NOMEM;
    }
    double weight = weight_of(retired, seen, life);
    retired->names[retired->at] = (struct retired_name){.hash = seen->name_hash,
        .miss = miss_key(seen),
        .asked_us = now_us,
        .first_us = life->first_us,
        .last_us = life->last_positive_us,
        .weight = (float)weight};
    retired->at = (uint8_t)((retired->at + 1) % MAX_NAMES);
    retired->n = (uint8_t)(retired->n + (retired->n < MAX_NAMES));
    pk_err err = dossier_note(dossier, seen, NOTE_SAMPLE, true);
    struct verdict verdict = judge(
        engine, retired, seen->actor, usual_share(stale, actor_is_inside(seen->actor)), now_us);
    double score = verdict.nats_names + verdict.nats_others;
    if (err == PK_OK && score > 0) {
        err = hint_leave(engine, seen->actor, HINT_RETIRED, score < 6 ? score : 6, now_us);
    }
    double threshold = rule_threshold(engine, rule_retired.budget_share, trials_a_day(stale));
    bool is_alarm = verdict.n >= MIN_NAMES && score + verdict.nats_breadth > threshold;
    return err == PK_OK && is_alarm ? report(engine, seen->actor, dossier, &verdict, threshold)
                                    : err;
}

static pk_err observe(struct pk_engine *engine, const struct observation *seen)
{
    bool is_unseen = seen->trial.no == NO_TRIAL_VERDICT && seen->zone &&
                     !actor_is_inside(seen->actor) && seen->row->signature.answer == PK_ANSWER_NONE;
    if ((seen->trial.no != TRIAL_YES && !is_unseen) || !engine->history.lookup) {
        return PK_OK;
    }
    struct stale *stale = tenant_ledger(engine, RULE_STALE);
    struct pk_history_entry life;
    uint8_t marks = seen->trial.marks;
    if (!stale) {
        return PK_ERR_NOMEM;
    }
    if (is_unseen) {
        trial_ask_history(engine, seen->row, &seen->name, &marks);
    }
    if (!(marks & MARK_RETIRED) || miss_others(engine, miss_key(seen), seen->actor) >= PUBLIC ||
        !engine->history.lookup(engine->history.arg, &seen->name, &life)) {
        if (!is_unseen) {
            count(stale, seen, false);
        }
        return PK_OK;
    }
    struct retired *retired = actor_ledger(engine, seen->actor, RULE_RETIRED);
    if (!retired) {
        return PK_ERR_NOMEM;
    }
    unsigned n_today = 0;
    for (uint8_t i = 0; i < retired->n; i++) {
        if (retired->names[i].hash == seen->name_hash) {
            return PK_OK; /* it has been asking that for a while: a stale client */
        }
        n_today += is_recent(&retired->names[i], seen->row->first_us);
    }
    pk_err err = take(engine, seen, retired, &life, stale);
    count(stale, seen, n_today < MAX_LESSONS); /* not before it was judged itself */
    return err;
}

static pk_err settle(struct pk_engine *engine, void *ledger)
{
    const struct stale *stale = tenant_ledger(engine, RULE_STALE);
    struct dossier *dossier = ledger_dossier_find(ledger);
    struct actor *actor = &engine->actors.v[ledger_owner(ledger)];
    if (!stale) {
        return PK_ERR_NOMEM;
    }
    struct verdict verdict =
        judge(engine, ledger, actor, usual_share(stale, actor_is_inside(actor)), dossier->last_us);
    return report(engine, actor, dossier, &verdict,
        rule_threshold(engine, rule_retired.budget_share, trials_a_day(stale)));
}

static void save(const void *ledger, struct pk_bytes *out)
{
    const struct retired *retired = ledger;
    pk_bytes_put_u8(out, retired->n);
    pk_bytes_put_u8(out, retired->at);
    for (uint8_t i = 0; i < retired->n; i++) {
        const struct retired_name *name = &retired->names[i];
        pk_bytes_put_be64(out, name->hash);
        pk_bytes_put_be64(out, name->miss);
        state_put_time(out, name->asked_us);
        state_put_time(out, name->first_us);
        state_put_time(out, name->last_us);
        state_put_float(out, name->weight);
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
        name->miss = pk_reader_be64(in);
        name->asked_us = state_get_time(in);
        name->first_us = state_get_time(in);
        name->last_us = state_get_time(in);
        name->weight = state_get_float(in);
    }
}

static void save_stale(const void *ledger, struct pk_bytes *out)
{
    const struct stale *stale = ledger;
    state_put_time(out, stale->time_us);
    for (unsigned i = 0; i < 2; i++) {
        state_put_float(out, stale->trials[i]);
        state_put_float(out, stale->retired[i]);
    }
}

static void load_stale(void *ledger, struct pk_reader *in)
{
    struct stale *stale = ledger;
    stale->time_us = state_get_time(in);
    for (unsigned i = 0; i < 2; i++) {
        stale->trials[i] = state_get_float(in);
        stale->retired[i] = state_get_float(in);
        if (!(stale->trials[i] >= 0) || !(stale->retired[i] >= 0)) {
            pk_reader_fail(in, PK_ERR_MALFORMED);
        }
    }
}

const struct rule rule_retired = {
    .id = "D11",
    .family = "retired",
    .version = "3",
    .budget_share = 0.1,
    .ledger_bytes = sizeof(struct retired),
    .max_ledgers = 10000,
    .observe = observe,
    .settle = settle,
    .save = save,
    .load = load,
};

const struct rule rule_stale = {
    .id = "D11",
    .family = "stale",
    .version = "1",
    .ledger_bytes = sizeof(struct stale),
    .max_ledgers = 1,
    .save = save_stale,
    .load = load_stale,
};

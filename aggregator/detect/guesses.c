/* Evidence against one source, and its state. */
#include "guesses.h"

#include <math.h>
#include <string.h>

enum {
    MIN_DICT = 7,
    MIN_LABELS = 6,
    MIN_UNKNOWN = 12,
    MIN_EVENTS = 12,
    MAX_OTHERS =
        2,        /* networks that ask for the same label before it is everybody's, not a list's */
    FAST_S = 600, /* in which a fast wealth as high as the threshold is gone */
    SLOW_S = 3 * 86400
};

static const double fast_share = 0.2, slow_share = 0.15; /* of the budget */
static const double n_granularities = 2;                 /* address, network */
static const double ratios[N_RATIOS] = {3, 10, 30, 100};
static const double day_us = 86400e6;

double guesses_threshold(const struct pk_engine *engine, bool is_slow)
{
    return rule_threshold(
               engine, is_slow ? slow_share : fast_share, baseline_trials_a_day(engine)) +
           log(n_granularities);
}

/* --- evidence --- */

static void remember(struct guesses *guesses, uint64_t key, enum outcome outcome)
{
    guesses->recent[guesses->next_recent] = (key & ~UINT64_C(3)) | outcome;
    guesses->next_recent = (uint8_t)((guesses->next_recent + 1) % MAX_RECENT);
    guesses->n_recent = (uint8_t)(guesses->n_recent + (guesses->n_recent < MAX_RECENT));
}

bool guesses_is_remembered(const struct guesses *guesses, uint64_t key)
{
    for (uint8_t i = 0; i < guesses->n_recent; i++) {
        if ((guesses->recent[i] & ~UINT64_C(3)) == (key & ~UINT64_C(3))) {
            return true;
        }
    }
    return false;
}

void guesses_begin_episode(struct guesses *guesses, int64_t now_us)
{
    guesses->hits = guesses->dict = guesses->rand = guesses->other = guesses->known = 0;
    guesses->counted = 0;
    guesses->n_recent = guesses->next_recent = 0;
    guesses->zones = 0;
    guesses->first_us = now_us;
    guesses->crossed_us = 0;
}

void guesses_count(struct guesses *guesses, const struct observation *seen)
{
    enum outcome outcome = seen->trial.outcome;
    guesses->hits += outcome == OUTCOME_HIT;
    guesses->dict += outcome == OUTCOME_DICT;
    guesses->rand += outcome == OUTCOME_RAND;
    guesses->other += outcome == OUTCOME_OTHER;
    if (outcome != OUTCOME_HIT) {
        guesses->known += seen->trial.miss.is_suspect && seen->trial.miss.n_others <= MAX_OTHERS;
        guesses->zones |= UINT64_C(1) << seen->zone->hash % 64;
        remember(guesses, seen->trial.miss.key, outcome);
    }
}

/* Labels a day that are new to a busy source, half as much again (three times in its first day), at least five. */
static double usual_a_day(const struct guesses *guesses, int64_t now_us)
{
    double days = (double)(now_us - guesses->usual_us) / day_us;
    double margin = days < 1 ? 3 : 1.5;
    days = days > 1.0 / 24 ? days : 1.0 / 24;
    double rate = margin * (double)guesses->usual / days;
    return rate > 5 ? rate : 5;
}

void guesses_add_event(
    struct guesses *guesses, const struct observation *seen, bool is_event, bool is_suspected)
{
    int64_t now_us = seen->row->first_us, dt_us = now_us - guesses->last_us;
    double usual = usual_a_day(guesses, now_us) * (dt_us > 0 ? (double)dt_us / day_us : 0);
    float highest = 0;
    for (unsigned k = 0; k < N_RATIOS; k++) {
        double left = (double)guesses->rates[k] - (ratios[k] - 1) * usual;
        guesses->rates[k] = (float)(left > 0 ? left : 0);
        highest = guesses->rates[k] > highest ? guesses->rates[k] : highest;
        guesses->rates[k] += is_event ? (float)log(ratios[k]) : 0;
    }
    if (highest <= 0) {
        guesses_begin_episode(guesses, now_us);
    }
    guesses->usual += is_event && !is_suspected;
    if ((double)(now_us - guesses->usual_us) > 14 * day_us) { /* half of the past is forgotten */
        guesses->usual /= 2;
        guesses->usual_us += (now_us - guesses->usual_us) / 2;
    }
}

void guesses_add_outcome(
    struct pk_engine *engine, struct guesses *guesses, const struct observation *seen)
{
    int64_t dt_us = guesses->last_us ? seen->row->first_us - guesses->last_us : 0;
    double dt_s = dt_us > 0 ? (double)dt_us / 1e6 : 0;
    struct guess_wealth gains;
    guess_gains(seen->p0, seen->trial.outcome, &gains);
    (void)guess_add(
        &guesses->wealth[FAST], &gains, (float)(guesses_threshold(engine, false) * dt_s / FAST_S));
    if (guess_add(&guesses->wealth[SLOW], &gains,
            (float)(guesses_threshold(engine, true) * dt_s / SLOW_S))) {
        guesses_begin_episode(
            guesses, seen->row->first_us); /* nothing is left of what was before */
    }
}

/* --- judging --- */

double guesses_score(const struct guesses *guesses, unsigned window)
{
    unsigned i, k;
    if (!guesses->is_poisson) {
        return (double)guess_best(&guesses->wealth[window], &i, &k);
    }
    float highest = 0;
    for (unsigned r = 0; r < N_RATIOS; r++) {
        highest = guesses->rates[r] > highest ? guesses->rates[r] : highest;
    }
    return (double)highest - log(N_RATIOS);
}

static bool is_enough(const struct guesses *guesses, const struct actor *actor)
{
    uint32_t labels = guesses->hits + guesses->dict + guesses->rand + guesses->other;
    uint32_t misses = guesses->dict + guesses->other;
    if (actor->key.kind == ACTOR_NETWORK && guesses->n_addresses < MIN_ADDRESSES) {
        return false; /* what one or two addresses do is told of them */
    }
    if (2 * guesses->rand > misses) {
        return false; /* a generator of names */
    }
    /* Errors here and there: a list stays with its zone. But whoever found less than it missed, and has no life of its own here, has no errors to make: it goes through the zones. */
    bool has_life = miss_is_established(actor) || guesses->hits >= misses;
    if (has_life && 2 * (unsigned)__builtin_popcountll(guesses->zones) > misses) {
        return false;
    }
    return guesses->is_poisson
               ? misses >= MIN_EVENTS
               : labels >= MIN_LABELS && (guesses->dict >= MIN_DICT || misses >= MIN_UNKNOWN);
}

double guesses_alarm(const struct pk_engine *engine, const struct guesses *guesses,
    const struct actor *actor, bool *out_is_slow)
{
    double fast = guesses_score(guesses, FAST), slow = guesses_score(guesses, SLOW);
    *out_is_slow = !(fast > guesses_threshold(engine, false));
    /* Over days the slips of many add up to a list. */
    bool has_patience = !guesses->is_poisson && actor->key.kind != ACTOR_SITE;
    return !is_enough(guesses, actor)                               ? 0
           : !*out_is_slow                                          ? fast
           : has_patience && slow > guesses_threshold(engine, true) ? slow
                                                                    : 0;
}

/* Takes back what labels brought that turned out to be common. p0 of the row in hand stands for that of the time: they differ by a day's learning at most. */
void guesses_take_back_common(const struct pk_engine *engine, struct guesses *guesses,
    const double p0[N_OUTCOMES], bool is_established)
{
    for (uint8_t i = 0; i < guesses->n_recent;) {
        enum outcome outcome = (enum outcome)(guesses->recent[i] & 3);
        uint64_t key = guesses->recent[i] & ~UINT64_C(3);
        if (!(is_established ? miss_is_common(engine, key) : miss_is_ours(engine, key))) {
            i++;
            continue;
        }
        struct guess_wealth gains;
        guess_gains(p0, outcome, &gains);
        for (unsigned w = 0; w < N_WINDOWS; w++) {
            for (unsigned l = 0; l < N_LISTS; l++) {
                for (unsigned k = 0; k < N_SHARES; k++) {
                    guesses->wealth[w].v[l][k] -= gains.v[l][k];
                }
            }
        }
        for (unsigned k = 0; k < N_RATIOS; k++) {
            guesses->rates[k] -= (float)log(ratios[k]);
        }
        uint32_t *counter = outcome == OUTCOME_DICT   ? &guesses->dict
                            : outcome == OUTCOME_RAND ? &guesses->rand
                                                      : &guesses->other;
        *counter -= *counter > 0;
        guesses->common++;
        guesses->recent[i] = guesses->recent[--guesses->n_recent];
        guesses->next_recent = guesses->n_recent % MAX_RECENT;
    }
}

/* Two pseudonyms of one client: sums of gains add up; of the recent labels as many as there is room for. */
void guesses_unite(void *ledger, const void *with)
{
    struct guesses *guesses = ledger;
    const struct guesses *other = with;
    for (unsigned w = 0; w < N_WINDOWS; w++) {
        for (unsigned i = 0; i < N_LISTS; i++) {
            for (unsigned k = 0; k < N_SHARES; k++) {
                float more = other->wealth[w].v[i][k];
                guesses->wealth[w].v[i][k] += more > 0 ? more : 0;
            }
        }
    }
    guesses->usual += other->usual;
    guesses->hits += other->hits;
    guesses->dict += other->dict;
    guesses->rand += other->rand;
    guesses->other += other->other;
    guesses->known += other->known;
    guesses->common += other->common;
    guesses->counted += other->counted;
    guesses->zones |= other->zones;
    guesses->first_us = other->first_us < guesses->first_us ? other->first_us : guesses->first_us;
    guesses->last_us = other->last_us > guesses->last_us ? other->last_us : guesses->last_us;
    for (uint8_t i = 0; i < other->n_recent; i++) {
        if (guesses->n_recent < MAX_RECENT && !guesses_is_remembered(guesses, other->recent[i])) {
            remember(guesses, other->recent[i], (enum outcome)(other->recent[i] & 3));
        }
    }
}

/* --- state --- */

void guesses_save(const void *ledger, struct pk_bytes *out)
{
    const struct guesses *guesses = ledger;
    for (unsigned w = 0; w < N_WINDOWS; w++) {
        for (unsigned i = 0; i < N_LISTS; i++) {
            for (unsigned k = 0; k < N_SHARES; k++) {
                state_put_float(out, guesses->wealth[w].v[i][k]);
            }
        }
    }
    for (unsigned k = 0; k < N_RATIOS; k++) {
        state_put_float(out, guesses->rates[k]);
    }
    state_put_float(out, guesses->usual);
    pk_bytes_put_u8(out, guesses->is_poisson);
    pk_bytes_put_u8(out, guesses->is_slow);
    state_put_time(out, guesses->first_us);
    state_put_time(out, guesses->last_us);
    state_put_time(out, guesses->usual_us);
    state_put_time(out, guesses->crossed_us);
    pk_bytes_put_varint(out, guesses->again);
    state_put_time(out, guesses->taken_us);
    pk_bytes_put_varint(out, guesses->hits);
    pk_bytes_put_varint(out, guesses->dict);
    pk_bytes_put_varint(out, guesses->rand);
    pk_bytes_put_varint(out, guesses->other);
    pk_bytes_put_varint(out, guesses->known);
    pk_bytes_put_varint(out, guesses->common);
    pk_bytes_put_varint(out, guesses->counted);
    pk_bytes_put_be64(out, guesses->zones);
    pk_bytes_put_u8(out, guesses->next_recent);
    pk_bytes_put_u8(out, guesses->n_recent);
    for (uint8_t i = 0; i < guesses->n_recent; i++) {
        pk_bytes_put_be64(out, guesses->recent[i]);
    }
    pk_bytes_put_u8(out, guesses->n_addresses);
    for (uint8_t i = 0; i < guesses->n_addresses; i++) {
        pk_bytes_put_be16(out, guesses->addresses[i]);
    }
}

void guesses_load(void *ledger, struct pk_reader *in)
{
    struct guesses *guesses = ledger;
    for (unsigned w = 0; w < N_WINDOWS; w++) {
        for (unsigned i = 0; i < N_LISTS; i++) {
            for (unsigned k = 0; k < N_SHARES; k++) {
                guesses->wealth[w].v[i][k] = state_get_float(in);
            }
        }
    }
    for (unsigned k = 0; k < N_RATIOS; k++) {
        guesses->rates[k] = state_get_float(in);
    }
    guesses->usual = state_get_float(in);
    guesses->is_poisson = state_get_count(in, 1);
    guesses->is_slow = state_get_count(in, 1);
    guesses->first_us = state_get_time(in);
    guesses->last_us = state_get_time(in);
    guesses->usual_us = state_get_time(in);
    guesses->crossed_us = state_get_time(in);
    guesses->again = state_get_u32(in);
    guesses->taken_us = state_get_time(in);
    guesses->hits = state_get_u32(in);
    guesses->dict = state_get_u32(in);
    guesses->rand = state_get_u32(in);
    guesses->other = state_get_u32(in);
    guesses->known = state_get_u32(in);
    guesses->common = state_get_u32(in);
    guesses->counted = pk_reader_varint(in);
    guesses->zones = pk_reader_be64(in);
    guesses->next_recent = state_get_index(in, MAX_RECENT);
    guesses->n_recent = state_get_count(in, MAX_RECENT);
    for (uint8_t i = 0; i < guesses->n_recent; i++) {
        guesses->recent[i] = pk_reader_be64(in);
    }
    guesses->n_addresses = state_get_count(in, MIN_ADDRESSES);
    for (uint8_t i = 0; i < guesses->n_addresses; i++) {
        guesses->addresses[i] = pk_reader_be16(in);
    }
}

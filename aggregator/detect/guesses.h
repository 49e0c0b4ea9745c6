/* What is known of one source, or one network, that misses names (D2, D3): the evidence, its score, whether it is an alarm. Private to aggregator/detect.
 *
 * rule_subdomains.c decides which rows are evidence and what becomes of an alarm; the statistic is in guess.h. Plain values: a ledger of RULE_SUBDOMAINS. */
#ifndef DETECT_GUESSES_H
#define DETECT_GUESSES_H

#include <stdbool.h>
#include <stdint.h>

#include "guess.h"
#include "internal.h"

enum {
    FAST, /* windows */
    SLOW,
    N_WINDOWS,
    N_RATIOS = 4,
    MAX_RECENT = 32, /* latest missed labels */
    MIN_ADDRESSES = 3
};

struct guesses {
    struct guess_wealth wealth[N_WINDOWS];
    float rates
        [N_RATIOS]; /* Poisson form: log-wealth of labels new to the source coming so many times as often as usual */
    float usual;     /* such labels since usual_us */
    bool is_poisson; /* the source is a resolver of many */
    bool is_slow;    /* the slow window raised the alarm */
    int64_t first_us, last_us, usual_us;
    int64_t crossed_us;               /* above the threshold since; 0: not */
    uint32_t again;                   /* questions asked again since then */
    int64_t taken_us;                 /* a campaign's finding took it over; 0: none did */
    uint32_t hits, dict, rand, other; /* since the wealth last left zero */
    uint32_t known;                   /* misses that another suspect asked first */
    uint32_t common;                  /* misses without weight */
    uint64_t counted;                 /* names that do not exist and were only counted */
    uint64_t recent[MAX_RECENT];      /* keys of misses.h; the outcome in the two lowest bits */
    uint64_t zones;                   /* of misses since the wealth last left zero: a bit by hash */
    uint8_t n_recent, next_recent, n_addresses;
    uint16_t addresses[MIN_ADDRESSES]; /* of a network: hashes of those that missed */
};

double guesses_threshold(const struct pk_engine *engine, bool is_slow);
bool guesses_is_remembered(const struct guesses *guesses, uint64_t key);
/* Counts anew: nothing is left of what was before. */
void guesses_begin_episode(struct guesses *guesses, int64_t now_us);
/* A first contact by its outcome; the label of a miss is remembered. */
void guesses_count(struct guesses *guesses, const struct observation *seen);
/* Poisson form: a first contact of a resolver of many; is_event: with a label new to it. What is_suspected brings teaches nothing. */
void guesses_add_event(
    struct guesses *guesses, const struct observation *seen, bool is_event, bool is_suspected);
/* Otherwise: by its outcome against seen->p0. */
void guesses_add_outcome(
    struct pk_engine *engine, struct guesses *guesses, const struct observation *seen);
double guesses_score(const struct guesses *guesses, unsigned window);
/* 0: no alarm; else the score, and by which window. */
double guesses_alarm(const struct pk_engine *engine, const struct guesses *guesses,
    const struct actor *actor, bool *out_is_slow);
/* Takes back what labels brought that turned out to be common, or, against a source that is not established, a mistake of ours (misses.h). */
void guesses_take_back_common(const struct pk_engine *engine, struct guesses *guesses,
    const double p0[N_OUTCOMES], bool is_established);

void guesses_unite(void *ledger, const void *with);
void guesses_save(const void *ledger, struct pk_bytes *out);
void guesses_load(void *ledger, struct pk_reader *in);

#endif

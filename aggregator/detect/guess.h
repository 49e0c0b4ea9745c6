/* The statistic of guessing: how much likelier an outcome is under "this source tries a list" than under "this source is benign". Pure.
 *
 * Lists: long (stock lists), short (good names only), unknown to our words. Shares: how much of the source's traffic is the attack. For each pair a log-wealth
 *     L <- max(0, L - leak) + ln(1 - e + e p1(outcome) / p0(outcome))
 * is kept; the alarm is max(L + ln weight) > h. The floor makes it a CUSUM (Page 1954); the mixture bounds what benign questions of the same source can take away; h is
 * Lorden's bound. A linear leak lowers L on every path, so of several windows with one threshold the longest decides alone: there are two, each with its own threshold. */
#ifndef DETECT_GUESS_H
#define DETECT_GUESS_H

#include "trial.h"

enum {
    N_LISTS = 3,
    N_SHARES = 4
};

struct guess_wealth {
    float v[N_LISTS][N_SHARES];
};

/* ln(1 - e + e p1/p0) for each list and share. repeats is the share of a benign source's questions that are none for the first time: of an attacker's it is
 * GUESS_REPEATS, so p1/p0 is that of the outcome times the ratio of first contacts. */
#define GUESS_REPEATS 0.4
void guess_gains(const double p0[N_OUTCOMES], double repeats, enum outcome outcome,
    struct guess_wealth *out_gains);
/* The same for a question asked again. */
void guess_repeat_gains(double repeats, struct guess_wealth *out_gains);
/* True when nothing was left before the gain: an episode begins. */
bool guess_add(struct guess_wealth *wealth, const struct guess_wealth *gains, float leak);
/* The highest L + ln weight, and where. */
float guess_best(const struct guess_wealth *wealth, unsigned *out_list, unsigned *out_share);
double guess_prior(unsigned share); /* ln weight */

#endif

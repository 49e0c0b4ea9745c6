/* The statistic of guessing: how much likelier an outcome is under "this source tries a list" than under "this source is benign". Pure.
 *
 * Lists: long (stock lists), short (good names only), mostly unknown to our words (which know 78 % of the first 300 names of a popular list, 54 % of 1,000, 31 % of 5,000). Shares: how much of the source's traffic is the attack. For each pair a log-wealth
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

/* ln(1 - e + e p1/p0) for each list and share. */
void guess_gains(const double p0[N_OUTCOMES], enum outcome outcome, struct guess_wealth *out_gains);
/* The same for a question asked again, which is `repeats` of a benign source's questions and GUESS_REPEATS of an attacker's. For p0 >= p1 this costs wealth; that first contacts
 * are then the rarer is not credited to them: once a day, when contacts are forgotten, a benign source makes many. E(e) <= 1 all the same. */
#define GUESS_REPEATS 0.4
void guess_repeat_gains(double repeats, struct guess_wealth *out_gains);
/* True when nothing was left before the gain: an episode begins. */
bool guess_add(struct guess_wealth *wealth, const struct guess_wealth *gains, float leak);
/* The highest L + ln weight, and where. */
float guess_best(const struct guess_wealth *wealth, unsigned *out_list, unsigned *out_share);
double guess_prior(unsigned share); /* ln weight */

#endif

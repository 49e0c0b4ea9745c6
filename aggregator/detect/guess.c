/* Log-wealths of three lists and four shares. */
#include "guess.h"

#include <math.h>

/* HIT, DICT, RAND, OTHER. Stock lists of 1,500 to 5,000 labels have 3-8 % hits at a zone of 500 names, a short one of 128 good labels 40 %. */
static const double p1[N_LISTS][N_OUTCOMES] = {
    {.08, .86, .01, .05}, {.40, .54, .01, .05}, {.06, .25, .02, .67}};
static const double shares[N_SHARES] = {1.0, 0.3, 0.1, 0.03};
static const double weights[N_SHARES] = {0.4, 0.3, 0.2, 0.1};

static void fill(const double ratios[N_LISTS], struct guess_wealth *out_gains)
{
    for (unsigned i = 0; i < N_LISTS; i++) {
        for (unsigned k = 0; k < N_SHARES; k++) {
            out_gains->v[i][k] = logf((float)(1 - shares[k] + shares[k] * ratios[i]));
        }
    }
}

void guess_gains(const double p0[N_OUTCOMES], enum outcome outcome, struct guess_wealth *out_gains)
{
    double ratios[N_LISTS];
    for (unsigned i = 0; i < N_LISTS; i++) {
        ratios[i] = p1[i][outcome] / p0[outcome];
    }
    fill(ratios, out_gains);
}

void guess_repeat_gains(double repeats, struct guess_wealth *out_gains)
{
    double ratio = GUESS_REPEATS / repeats;
    const double ratios[N_LISTS] = {ratio, ratio, ratio};
    fill(ratios, out_gains);
}

bool guess_add(struct guess_wealth *wealth, const struct guess_wealth *gains, float leak)
{
    float highest = 0;
    for (unsigned i = 0; i < N_LISTS; i++) {
        for (unsigned k = 0; k < N_SHARES; k++) {
            float left = wealth->v[i][k] - leak;
            highest = left > highest ? left : highest;
            wealth->v[i][k] = (left > 0 ? left : 0) + gains->v[i][k];
        }
    }
    return highest <= 0;
}

double guess_prior(unsigned share)
{
    return log(weights[share] / N_LISTS);
}

float guess_best(const struct guess_wealth *wealth, unsigned *out_list, unsigned *out_share)
{
    /* ln(weight / lists), written out: this is asked at every trial. */
    static const float priors[N_SHARES] = {-2.0149030f, -2.3025851f, -2.7080502f, -3.4011974f};
    float highest = -HUGE_VALF;
    for (unsigned k = 0; k < N_SHARES; k++) {
        for (unsigned i = 0; i < N_LISTS; i++) {
            float score = wealth->v[i][k] + priors[k];
            if (score > highest) {
                highest = score;
                *out_list = i;
                *out_share = k;
            }
        }
    }
    return highest;
}

/* What benign first contacts look like here: shares of the outcomes by site and class of source, learned by the day. Private to aggregator/detect.
 *
 * Each (site, class) counts its outcomes a day; the estimate is the median over the last five days with enough trials (for new sources the highest day of each kind of miss), shrunk
 * towards the tenant's and that towards the prior with fifty pseudo-trials each. So one bad day moves nothing. Nor can one source: a suspected one teaches nothing, and
 * any other at most a hundredth of its class's last day (but five trials). Estimates stay within a factor of three below the prior: a quiet network must not make one typing error an alarm. */
#ifndef DETECT_BASELINE_H
#define DETECT_BASELINE_H

#include "picket/bytes.h"
#include "picket/reader.h"

#include "priors.h"
#include "trial.h"

struct actor;
struct pk_engine;
struct observation;

enum {
    BASELINE_DAYS = 5
};

struct baseline_cell {
    float today[N_OUTCOMES];
    float days[BASELINE_DAYS][N_OUTCOMES]; /* the newest is at (n_days - 1) % BASELINE_DAYS */
    uint32_t n_days;
    float p0[N_OUTCOMES];
};

struct baseline_site {
    uint8_t vantage; /* of its latest row: which prior */
    struct baseline_cell cells[PK_N_SOURCE_CLASSES];
};

struct baseline {
    const struct pk_priors *priors;
    struct baseline_site *sites; /* by the engine's site index; [0] is the tenant */
    size_t n_sites, cap_sites;
    int64_t day;                         /* days since 1970 of the engine's clock */
    uint32_t trials_today, trials_a_day; /* the busiest of this day and the last; for thresholds */
};

pk_err baseline_init(struct baseline *baseline, const struct pk_priors *priors);
void baseline_done(struct baseline *baseline);

enum pk_source_class baseline_class(const struct observation *seen);
enum pk_source_class baseline_class_of(const struct actor *actor);
/* Share of each outcome expected of this source if it is benign: its class's here, with twenty trials' weight, and its own history when it has that much. */
pk_err baseline_p0(
    struct pk_engine *engine, const struct observation *seen, double out_p0[N_OUTCOMES]);
/* The same of another actor that the row stands for: its network. */
pk_err baseline_p0_of(struct pk_engine *engine, const struct observation *seen,
    const struct actor *actor, double out_p0[N_OUTCOMES]);
/* A trial joins an actor's own history, unless it is suspected. */
void baseline_own(struct actor *actor, enum outcome outcome);
/* Share of this source's questions that it asked before, at least the prior's: the names that exist run out within a day, and then a benign source's first contacts are misses;
 * that it goes on asking what it knows is what tells it from a list. */
double baseline_repeats(const struct pk_engine *engine, const struct actor *actor);
/* Counts a trial or a repeat, in the source's own history and in its class's; not of suspected sources. */
void baseline_learn(struct pk_engine *engine, const struct observation *seen);
/* Trials a day for a threshold: at least 170,000. */
double baseline_trials_a_day(const struct pk_engine *engine);

void baseline_save(const struct baseline *baseline, struct pk_bytes *out);
void baseline_load(struct baseline *baseline, struct pk_reader *in, size_t n_sites);

#endif

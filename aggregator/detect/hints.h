/* What the weak detectors saw of a source, kept for the strong ones. Private to aggregator/detect.
 *
 * Asking a server for its version is nothing to be alarmed about; from somebody who also guesses names it is one more reason to believe it. A weak detector leaves a hint
 * with its nats; whatever finding is reported about the same source within an hour carries it as a contribution. Hints never make a finding fire: they are added after the
 * rule decided. And the other way round: a source that was reported for reconnaissance is remembered as such for an hour, which is what D8 asks. */
#ifndef DETECT_HINTS_H
#define DETECT_HINTS_H

#include <stdbool.h>
#include <stdint.h>

#include "picket/err.h"

struct actor;
struct pk_engine;
struct pk_finding;

enum hint {
    HINT_CHAOS,   /* D8: asked a server who it is */
    HINT_TYPES,   /* D9: rare types, ANY */
    HINT_PROFILE, /* D10: mail and service names */
    HINT_RETIRED, /* D11: names that only history knows */
    HINT_WALK,    /* D7: shapes of a chain walk */
    N_HINTS
};

/* The strongest within the hour stands. */
pk_err hint_leave(
    struct pk_engine *engine, struct actor *actor, enum hint hint, double nats, int64_t now_us);
/* Adds to the finding in hand what others left on its source (engine->report_actor) within the hour. */
void hints_contribute(const struct pk_engine *engine, struct pk_finding *finding);
/* The finding in hand went out: remembers that its source was reported (or, short of memory, does not). */
void hints_reported(struct pk_engine *engine);
/* The source was reported for reconnaissance (D1 to D7, D11, D12) within an hour of now. */
bool hints_is_recon(const struct actor *actor, int64_t now_us);

#endif

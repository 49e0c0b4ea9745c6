/* What the campaign of a zone (rule_coverage.c) tells the single-source rule. Private to aggregator/detect. */
#ifndef DETECT_COVERAGE_H
#define DETECT_COVERAGE_H

#include "rule.h"

/* An alarm about one source is due, with this score. It is told as part of the zone's campaign, and *out_taken is true, when
 *  - the campaign is open and the source brought new names to it, or
 *  - most of the source's names were asked by other suspects before (the same list again), or
 *  - it is the second network to raise one here within an hour, or the third within a day (one tool, several addresses).
 * n_names of the source's missed labels, n_known of them asked by another suspect first. may_open: none took this source over within the day: else the campaign of this zone is
 * told only if it is open already, so that a source that goes through many zones makes one finding. */
pk_err coverage_take(struct pk_engine *engine, const struct observation *seen,
    const struct actor *actor, double score, uint32_t n_names, uint32_t n_known, bool may_open,
    bool *out_taken);

#endif

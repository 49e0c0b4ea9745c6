/* What the campaign of a zone (rule_coverage.c) tells the single-source rule. Private to aggregator/detect. */
#ifndef DETECT_COVERAGE_H
#define DETECT_COVERAGE_H

#include "rule.h"

/* An alarm about one source is due. When the zone has an open campaign it belongs to (it brought new names to it, or most of its names are the campaign's), or when most of its
 * names were asked by other suspects before (then a campaign is opened: the same list again), the campaign's finding is revised in its place and *out_taken is true.
 * n_names of the source's missed labels, n_known of them asked by another suspect first. */
pk_err coverage_take(struct pk_engine *engine, const struct observation *seen,
    const struct actor *actor, uint32_t n_names, uint32_t n_known, bool *out_taken);

#endif

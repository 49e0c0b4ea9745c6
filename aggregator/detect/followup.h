/* D15's memory of what was learned. Private to aggregator/detect. */
#ifndef DETECT_FOLLOWUP_H
#define DETECT_FOLLOWUP_H

struct pk_engine;
struct pk_finding;

/* The finding in hand went out (engine->report_rule): the existing names its source got are watched from now on for seven days. */
void followup_learn(struct pk_engine *engine, const struct pk_finding *finding);

#endif

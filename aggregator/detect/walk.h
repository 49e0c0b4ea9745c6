/* What D7 tells other rules. Private to aggregator/detect. */
#ifndef DETECT_WALK_H
#define DETECT_WALK_H

#include <stdbool.h>

struct observation;

struct actor;

/* Nats of a shape that nobody but a walker sends, whatever was asked before: a zero byte in a label, types NSEC and NSEC3. 0: none. */
double walk_plain_shape(const struct observation *seen);
/* Steps of a walk this source was seen to make within the hour. */
unsigned walk_steps(const struct actor *actor);
/* Whether the row is of a walk that several sources share (rule_chain.c), and is told of there. */
bool chain_takes(const struct observation *seen);

/* Whether the row goes on a counter that a collector of NSEC3 hashes was seen counting: no guess at a name. */
bool walk_counts(const struct observation *seen);

#endif

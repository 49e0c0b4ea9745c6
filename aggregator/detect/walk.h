/* What D7 tells other rules. Private to aggregator/detect. */
#ifndef DETECT_WALK_H
#define DETECT_WALK_H

#include <stdbool.h>

struct observation;

/* Whether the row goes on a counter that a collector of NSEC3 hashes was seen counting: no guess at a name. */
bool walk_counts(const struct observation *seen);

#endif

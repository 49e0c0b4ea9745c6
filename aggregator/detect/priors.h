/* What first contacts of benign sources look like before anything has been learned: shipped with the program, or from `replay --baseline FILE`. */
#ifndef AGGREGATOR_DETECT_PRIORS_H
#define AGGREGATOR_DETECT_PRIORS_H

#include "picket/observation.h"

enum pk_source_class {
    PK_SOURCE_NEW,      /* outside, fewer than 20 trials so far */
    PK_SOURCE_ORDINARY, /* outside, 20 trials or more */
    PK_SOURCE_SHARED,   /* outside, 300 trials or more: a resolver of many */
    PK_SOURCE_INSIDE,   /* an inside client */
    PK_N_SOURCE_CLASSES
};

enum pk_prior_outcome {
    PK_PRIOR_HIT,
    PK_PRIOR_DICT,
    PK_PRIOR_RAND,
    PK_PRIOR_OTHER,
    PK_N_PRIOR_OUTCOMES
};

struct pk_priors {
    char version[32]; /* stands in findings' explanations and in docs/DETECTIONS.md */
    double p0[PK_N_VANTAGES][PK_N_SOURCE_CLASSES][PK_N_PRIOR_OUTCOMES]; /* each sums to 1 */
    double repeat; /* share of a source's questions that it asked within the day */
    double novel_dict,
        novel_other; /* share of a zone's questions that miss with a label nobody missed there in seven days */
};

extern const struct pk_priors pk_priors_shipped;

#endif

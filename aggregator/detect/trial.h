/* A trial: the first question of a source for a name below a zone within a day, wherever it was seen, and how it came out. Private to aggregator/detect.
 *
 * What is none, and why (enum no_trial), is counted: each exclusion is a claim about benign traffic that must be possible to check. */
#ifndef DETECT_TRIAL_H
#define DETECT_TRIAL_H

#include <stdbool.h>
#include <stdint.h>

#include "picket/dnsmsg.h"
#include "picket/observation.h"

#include "label.h"
#include "misses.h"

struct pk_engine;
struct observation;

enum outcome {
    OUTCOME_HIT,   /* exists: data that is not the wildcard's, or NODATA */
    OUTCOME_DICT,  /* does not exist; the first label is a word */
    OUTCOME_RAND,  /* does not exist; looks generated */
    OUTCOME_OTHER, /* does not exist; neither */
    N_OUTCOMES
};

enum {
    MARK_WILDCARD = 1 << 0, /* answered by the zone's wildcard: a miss */
    MARK_RETIRED = 1 << 1,  /* a miss; history knows a positive answer 30 days old or older */
    MARK_KNOWN = 1 << 2, /* a miss; history knows a positive answer, at two sites or on two days */
    MARK_MALFORMED =
        1
        << 3, /* a label with bytes no host name has (a zero, a space, ...): walkers and broken software */
};

enum no_trial {
    TRIAL_YES,
    NO_TRIAL_AGAIN,   /* the source asked it within the day */
    NO_TRIAL_KIND,    /* not a query of class IN for a name below a zone of the scope */
    NO_TRIAL_VERDICT, /* SERVFAIL, REFUSED, cut short, a referral, silence; NODATA below a wildcard */
    NO_TRIAL_SERVICE,   /* the first label begins with _ : service names, minimisation probes */
    NO_TRIAL_SCANNER,   /* the tenant's own scanner */
    NO_TRIAL_UPSTREAM,  /* charged to the leg nearest to the client */
    NO_TRIAL_SEARCH,    /* an outside name with a search suffix put after it */
    NO_TRIAL_LIST,      /* an address in front of a suffix: a block-list lookup */
    NO_TRIAL_MINIMISED, /* below a name the same source just learned not to exist, or `www.` before one it asked: one resolution */
    NO_TRIAL_WALK,      /* a zero byte in a label: a walk of the chain (rule_walk.c), not a guess */
    N_NO_TRIALS
};

struct trial {
    enum no_trial no; /* TRIAL_YES: a first contact; the rest is set for it and for AGAIN */
    enum outcome outcome;
    enum pk_label_class class; /* of the first label */
    uint8_t marks;             /* MARK_* */
    uint64_t label_hash;       /* of what stands before the zone; 0 when nothing does */
    struct miss_facts miss;    /* of a first contact that misses; else zero */
};

/* MARK_KNOWN and MARK_RETIRED, as far as history says so of the name. */
void trial_ask_history(const struct pk_engine *engine, const struct pk_activity *row,
    const struct pk_name *name, uint8_t *marks);
/* Fills seen->trial; the rest of seen is there. */
void trial_judge(struct pk_engine *engine, struct observation *seen);

#endif

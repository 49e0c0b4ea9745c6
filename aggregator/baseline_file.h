/* What benign traffic looks like, from a file: `picket-aggregator replay --baseline FILE`, in place of the priors shipped with the program. Edge: reads a file.
 *
 * One JSON object; what is left out stays as shipped, an unknown member is an error:
 *   {"version": "acme-2026-11",
 *    "priors": {"authoritative": {"new": {"hit": .785, "dict": .03, "rand": .105, "other": .08}, "ordinary": {..}, "shared": {..}, "inside": {..}},
 *               "resolver": {..}, "unknown": {..}},
 *    "repeat": .4, "novel_dict": .012, "novel_other": .05}
 * The four shares of a class are positive and are scaled to a sum of one; the others lie between 0 and 1. */
#ifndef AGGREGATOR_BASELINE_FILE_H
#define AGGREGATOR_BASELINE_FILE_H

#include "picket/err.h"

#include "detect/priors.h"

enum {
    PK_BASELINE_ERROR_SIZE = 256
};

/* PK_ERR_IO, PK_ERR_MALFORMED; out_error says where and why. */
pk_err pk_baseline_load(
    const char *path, struct pk_priors *out_priors, char out_error[PK_BASELINE_ERROR_SIZE]);

#endif

/* `picket-aggregator replay --from --to --tenant`: the detection engine over stored activity, with other settings (retro-hunt). */
#ifndef AGGREGATOR_HUNT_H
#define AGGREGATOR_HUNT_H

#include <stdint.h>

struct pk_hunt_options {
    const char *config;   /* aggregator.yaml; NULL: defaults and environment */
    const char *tenant;   /* name */
    const char *scope;    /* file; NULL: the one in force */
    const char *history;  /* COF file; NULL: what detection was told at the time */
    const char *baseline; /* file; NULL: the shipped one */
    int64_t from_us, to_us;
};

/* On standard output one JSON line {"coverage": ...} a zone, then the findings as replay prints them; counters on standard error. Writes nothing. Returns an exit status. */
int pk_hunt(const struct pk_hunt_options *options);

#endif

/* What is wrong with the capture, as sentences with numbers: somebody who reads one knows what to look at. Pure: counters in, sentences out. */
#ifndef SENSOR_DIAGNOSIS_H
#define SENSOR_DIAGNOSIS_H

#include "pairing/sides.h"
#include "stats.h"

/* The numbers are bits of PK_HEALTH_DIAGNOSES and never change. */
enum pk_diagnosis {
    PK_DIAGNOSIS_NOTHING,        /* no packet at all */
    PK_DIAGNOSIS_NO_DNS,         /* packets, but no DNS: wrong interface, VLAN or ports */
    PK_DIAGNOSIS_ONLY_QUERIES,   /* one direction */
    PK_DIAGNOSIS_ONLY_RESPONSES, /* the other */
    PK_DIAGNOSIS_SERVER_QUERIES, /* the same for some servers: not in health */
    PK_DIAGNOSIS_SERVER_RESPONSES,
    PK_DIAGNOSIS_DUPLICATED, /* everything more than once */
    PK_DIAGNOSIS_CLOCK,
    PK_DIAGNOSIS_SNAPPED,
    PK_DIAGNOSIS_DROPPED, /* by the kernel or the interface */
    PK_DIAGNOSIS_ENCRYPTED,
    PK_DIAGNOSIS_TCP_PARTS, /* streams with holes, or picked up in the middle */
    PK_DIAGNOSIS_CROWDED,   /* open queries closed early */
    PK_DIAGNOSIS_FORGED,    /* responses that look forged */
    PK_N_DIAGNOSES,
};
const char *pk_diagnosis_str(enum pk_diagnosis kind); /* "only_queries" */

enum {
    PK_DIAGNOSIS_TEXT_SIZE = 240,
    PK_DIAGNOSIS_LEAST = 20, /* messages below which shares prove nothing */
};

struct pk_diagnosed {
    enum pk_diagnosis kind;
    char text[PK_DIAGNOSIS_TEXT_SIZE];
};

/* Of what was counted between the two; before NULL: since the start. sides may be NULL. Returns how many, in the order of the enum, each kind at most once. */
size_t pk_diagnose(const struct pk_stats *now, const struct pk_stats *before,
    const struct pk_sides *sides, struct pk_diagnosed out[PK_N_DIAGNOSES]);
/* The kinds as bits, of counters alone. */
uint64_t pk_diagnosis_bits(const struct pk_stats *now, const struct pk_stats *before);

#endif

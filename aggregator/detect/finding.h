/* A finding: what was seen, by whom, where, and why the engine believes it. Rendered to the JSON of the design's contract. */
#ifndef AGGREGATOR_DETECT_FINDING_H
#define AGGREGATOR_DETECT_FINDING_H

#include <stddef.h>
#include <stdint.h>

#include "picket/addr.h"
#include "picket/bytes.h"
#include "picket/err.h"
#include "picket/name.h"

enum {
    PK_FINDING_ID_SIZE =
        33, /* 32 hex digits: BLAKE2b-128 of tenant, family, actor, zone group and opening number */
    PK_FINDING_MAX_SITES = 64,
    PK_FINDING_MAX_ZONES = 16,
    PK_FINDING_MAX_SAMPLES = 20,
    PK_FINDING_MAX_EVIDENCE = 20,
    PK_FINDING_MAX_ADDRESSES = 20,
    PK_FINDING_MAX_CONTRIBUTIONS = 8,
    PK_FINDING_MAX_TECHNIQUES = 4,
};

struct pk_contribution {
    const char *name; /* constant */
    double nats;
};

struct pk_evidence {
    char sensor[65];
    int64_t time_us;
    struct pk_name qname;
    uint16_t qtype;
    uint16_t rcode;
};

struct pk_finding {
    char id[PK_FINDING_ID_SIZE];
    uint32_t revision;    /* from 1 */
    const char *state;    /* "open"; "ended": its source fell silent; "standing": D14 in a replay */
    const char *detector; /* "D1" */
    const char *version;  /* of the detector's settings */
    char title[160];
    const char *technique[PK_FINDING_MAX_TECHNIQUES]; /* ATT&CK ids */
    size_t n_techniques;
    const char *tenant;
    char sites[PK_FINDING_MAX_SITES][65]; /* sorted */
    size_t n_sites;
    struct pk_name zones[PK_FINDING_MAX_ZONES];
    size_t n_zones;
    const char *actor_kind; /* "address", "client", "site", "network", "fingerprint", "campaign" */
    char actor_key[64];
    struct pk_addr addresses[PK_FINDING_MAX_ADDRESSES]; /* a sample; none for a pseudonym */
    size_t n_addresses;
    char
        campaign[PK_FINDING_ID_SIZE]; /* id of the finding about the campaign this is part of; "" */
    const char *
        elsewhere; /* at how many other tenants it is suspected, as a class (mesh.h); NULL: not told */
    uint8_t severity; /* 1 info .. 5 critical */
    double confidence;
    double score_nats;
    double threshold_nats; /* that the score had to pass; not part of the JSON */
    struct pk_contribution contributions[PK_FINDING_MAX_CONTRIBUTIONS];
    size_t n_contributions;
    uint32_t trials, hits, dict, rand, other;
    struct pk_name learned[PK_FINDING_MAX_SAMPLES];
    size_t n_learned;
    struct pk_name samples[PK_FINDING_MAX_SAMPLES];
    size_t n_samples;
    int64_t first_us, last_us;
    struct pk_evidence evidence[PK_FINDING_MAX_EVIDENCE];
    size_t n_evidence;
};

/* Appends the finding as one JSON object without newline (design README, "A finding is one JSON object a line"). */
pk_err pk_finding_json(const struct pk_finding *finding, struct pk_bytes *out);

#endif

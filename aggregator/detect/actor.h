/* What the engine knows of one source, and how the rules share it. Private to aggregator/detect.
 *
 * An actor is small; what a finding needs to be explained (names, evidence) is in a dossier that is made when there is something to write down. */
#ifndef DETECT_ACTOR_H
#define DETECT_ACTOR_H

#include "picket/map.h"

#include "contact.h"
#include "engine.h"
#include "finding.h"
#include "label.h"

enum {
    N_HYPOTHESES = 3,
    N_SHARES = 4,
    MAX_DOSSIER_NAMES = PK_FINDING_MAX_SAMPLES,
    MAX_TRANSFER_TARGETS = 16, /* (zone, server) pairs of one source */
    MAX_BLOCKS = 16,           /* /24 or /120 of one sweeping source; the longest untouched goes */
    MAX_WILDCARDS = 4,         /* distinct answers watched a zone */
    SITE_WORDS = PK_ENGINE_MAX_SITES / 64,
};

enum family {
    FAMILY_TRANSFER,
    FAMILY_SUBDOMAINS,
    FAMILY_SWEEP,
    N_FAMILIES
};

struct evidence {
    uint16_t sensor; /* index of the engine's names */
    uint16_t qtype, rcode;
    int64_t time_us;
    uint8_t *name; /* length byte and wire form; owned */
};

/* A finding in the making: everything a report says beside the rule's own numbers. */
struct dossier {
    uint32_t opening;  /* which one of this family and actor, from 1; 0: never opened */
    uint32_t revision; /* of the open finding; 0: not open */
    uint8_t severity;  /* last reported */
    int64_t first_us, last_us;
    uint64_t sites[SITE_WORDS];
    uint32_t reported_size; /* what the rule counted when it last reported */
    uint16_t reported_sites;
    uint8_t n_samples, n_learned, n_zones;
    uint8_t n_evidence;
    uint8_t *samples[MAX_DOSSIER_NAMES]; /* length byte and wire form; owned */
    uint8_t *learned[MAX_DOSSIER_NAMES];
    uint8_t *zones[PK_FINDING_MAX_ZONES];
    struct evidence evidence[PK_FINDING_MAX_EVIDENCE];
    uint32_t observations;
};

struct transfer_target {
    uint64_t zone_hash; /* pk_hash_fixed of the lower-case name */
    struct pk_addr server;
    int64_t last_us;
};

struct transfer_case {
    struct transfer_target targets[MAX_TRANSFER_TARGETS];
    uint8_t n_targets;
    uint32_t attempts, successes, records;
    uint8_t targets_in_window; /* most servers or zones within ten minutes so far */
};

struct trials {
    double wealth[N_HYPOTHESES][N_SHARES];
    uint32_t hits, dict, rand, other; /* since the wealth last left zero */
    uint32_t labels;                  /* distinct labels: every trial is one */
    int64_t last_us;
};

struct block {
    struct pk_addr addr; /* last byte zero */
    int64_t first_us, last_us;
    uint64_t seen[4]; /* bitmap of last bytes */
    uint16_t n, ordered;
    uint8_t last;
};

struct sweep_case {
    struct block blocks[MAX_BLOCKS];
    uint8_t n_blocks;
};

struct actor_key {
    uint8_t kind; /* enum pk_client_kind */
    struct pk_addr addr;
    uint8_t pseudonym[8];
};

struct actor {
    struct actor_key key;
    int64_t last_us;
    struct trials trials;
    struct transfer_case *transfer; /* each owned, NULL until needed */
    struct sweep_case *sweep;
    struct dossier *dossiers[N_FAMILIES];
    uint32_t newer, older;
};

/* Answers that random-looking labels of a zone get: three with the same make it the wildcard's. */
struct wildcard {
    uint64_t zone_hash;
    uint64_t digest[MAX_WILDCARDS];
    uint8_t n[MAX_WILDCARDS];
};

struct names {
    char (*v)[65];
    size_t n, cap;
};

struct pk_engine {
    const struct pk_scope_tenant *tenant;
    struct pk_engine_limits limits;
    pk_finding_cb on_finding;
    void *arg;
    struct pk_labels *labels;
    struct actor *actors; /* max_actors places */
    struct pk_map actor_map;
    uint32_t n_actors, newest, oldest, free;
    struct pk_contacts contacts;
    struct wildcard *wildcards; /* by first sight */
    size_t n_wildcards, cap_wildcards;
    struct names sites, sensors; /* by first sight */
    struct pk_engine_stats stats;
    struct pk_finding report; /* the one being filled: too big for the stack */
};

/* A row with what the engine found out about it. */
struct observation {
    const struct pk_activity *row;
    struct actor *actor;
    uint16_t site, sensor;
    struct pk_name name, zone;
    enum pk_scope_reason reason;
};

uint64_t name_hash(const struct pk_name *name); /* the same on every machine */

/* rule_*.c; each reports through report_finding. */
pk_err rule_transfer(struct pk_engine *engine, const struct observation *seen);
pk_err rule_subdomains(struct pk_engine *engine, const struct observation *seen);
pk_err rule_sweep(struct pk_engine *engine, const struct observation *seen);

/* dossier.c */
pk_err dossier_of(struct actor *actor, enum family family, struct dossier **out_dossier);
void dossier_free(struct dossier *dossier);
/* Notes site, time, sensor share and evidence of a row. */
pk_err dossier_note(struct dossier *dossier, const struct observation *seen, bool as_evidence);
pk_err dossier_add_name(uint8_t **names, uint8_t *n, size_t max, const struct pk_name *name);
unsigned dossier_sites(const struct dossier *dossier);
/* Whether a report is due: first, doubled, new site, other severity. */
bool dossier_is_due(const struct dossier *dossier, uint32_t size, uint8_t severity);
/* Fills what all findings share; the rule adds title, numbers, contributions. Opens the finding or raises its revision. */
struct pk_finding *dossier_begin(struct pk_engine *engine, const struct actor *actor,
    enum family family, struct dossier *dossier, uint32_t size, uint8_t severity);
void report_finding(struct pk_engine *engine, double threshold);
/* A finding whose actor was silent so long is closed: the next alarm opens another. */
enum {
    FINDING_IDLE_S = 86400
};

/* state.c */
pk_err names_intern(struct names *names, const char *name, size_t max, uint16_t *out_index);

#endif

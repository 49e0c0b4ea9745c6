/* Keeping and reporting what explains a finding. Private to aggregator/detect.
 *
 * A dossier hangs on a ledger. It is opened by its first report and closed by a day of silence; the next alarm opens it again under another id. A finding is
 * reported when it is first made, when what the rule counts has doubled, a site joined, or the severity changed; and once more, state "ended", when its source fell silent. */
#ifndef DETECT_DOSSIER_H
#define DETECT_DOSSIER_H

#include <stdbool.h>
#include <stdint.h>

#include "engine.h"
#include "finding.h"
#include "rule.h"

enum {
    SETTLE_S = 7200, /* of silence, and the finding is told as ended */
    SITE_WORDS = PK_ENGINE_MAX_SITES / 64,
    FINDING_IDLE_S = 86400
};

struct evidence {
    uint16_t sensor, site; /* indices of the engine's names */
    uint16_t qtype, rcode;
    uint8_t vantage;
    int64_t time_us;
    uint8_t *name; /* length byte and wire form; owned */
};

struct dossier {
    uint32_t opening;  /* which one of this ledger, from 1; 0: never opened */
    uint32_t revision; /* of the open finding; 0: not open */
    uint8_t severity;  /* last reported */
    int64_t first_us, last_us;
    uint64_t sites[SITE_WORDS];
    uint32_t reported_size; /* what the rule counted when it last reported */
    uint16_t reported_sites;
    uint8_t n_samples, n_learned, n_zones, n_evidence, n_addresses;
    uint8_t *samples[PK_FINDING_MAX_SAMPLES]; /* as names_add keeps them */
    uint8_t *learned[PK_FINDING_MAX_SAMPLES];
    uint8_t *zones[PK_FINDING_MAX_ZONES];
    struct pk_addr addresses[PK_FINDING_MAX_ADDRESSES]; /* of a network or campaign */
    struct evidence evidence[PK_FINDING_MAX_EVIDENCE];
    uint32_t observations;
    bool is_ended;    /* as it was told last */
    bool is_settled;  /* and nothing was noted since its rule was asked to */
    bool is_settling; /* during rule->settle */
};

struct dossier *dossier_new(void);
void dossier_free(struct dossier *dossier);
static inline bool dossier_is_open(const struct dossier *dossier)
{
    return dossier && dossier->revision > 0;
}

/* Notes time, site, zone and evidence of a row: its name among what was learned, or among the samples, or nowhere. Of evidence and samples the newest are kept until the finding opens; then the first
 * half stays, the rest is the newest. */
enum dossier_name {
    NOTE_NOTHING,
    NOTE_SAMPLE,
    NOTE_LEARNED
};
pk_err dossier_note(struct dossier *dossier, const struct observation *seen, enum dossier_name as,
    bool as_evidence);
void dossier_add_site(struct dossier *dossier, const struct observation *seen);
void dossier_add_address(struct dossier *dossier, const struct pk_addr *addr);
unsigned dossier_sites(const struct dossier *dossier);
/* Before the finding opens: forgets what was noted earlier than since_us; samples, sites and first time are those of the evidence that is left, addresses are none. Of an open one: nothing. For rules
 * whose evidence is all samples. */
pk_err dossier_narrow(struct dossier *dossier, int64_t since_us);

/* The open finding of a ledger that has been silent until now_us for long enough, or, at the end of the input (INT64_MAX), at all: told by its rule, unless it was. */
pk_err dossier_settle(
    struct pk_engine *engine, const struct rule *rule, void *ledger, int64_t now_us);
/* Whether a report is due: first, doubled, new site, other severity. */
bool dossier_is_due(const struct dossier *dossier, uint32_t size, uint8_t severity);

/* A row that stands for the latest one that was written down as evidence, for a rule that decides without one in hand: name, time, type, site, zone, source (NULL: there is no single one). False when
 * there is none, or its zone is gone. */
bool dossier_last_row(struct pk_engine *engine, const struct dossier *dossier, struct actor *actor,
    struct pk_activity *out_row, struct observation *out_seen);

/* Whom a finding is about. */
struct subject {
    const char *kind; /* "address", "client", "site", "network", "fingerprint", "campaign" */
    char key[64];
    struct pk_addr addr; /* family 0: none */
    struct actor *actor; /* NULL: no single source */
};
void subject_of_actor(struct actor *actor, struct subject *out_subject);

/* Fills what all findings share: opens the finding or raises its revision. The rule adds title, techniques, numbers and contributions (contribute), then calls
 * report_finding. The subject's actor must live until then. size is what the rule counts, severity 1..5. */
struct pk_finding *dossier_begin(struct pk_engine *engine, enum rule_id rule,
    struct dossier *dossier, const struct subject *subject, uint32_t size, uint8_t severity);
/* Drops what is below a twentieth of a nat. name is constant. */
void contribute(struct pk_finding *finding, const char *name, double nats);
/* Adds what other detectors left on the source (hints.h), sets the confidence by how far the score (the sum of the contributions) is above the threshold, and hands the finding out. */
void report_finding(struct pk_engine *engine, double threshold);

void dossier_save(const struct dossier *dossier, struct pk_bytes *out); /* NULL too */
struct dossier *dossier_load(
    struct pk_reader *in, size_t n_sensors); /* NULL: there was none, or the error is set */

#endif

/* The inside of an engine: who owns what. Private to aggregator/detect. */
#ifndef DETECT_INTERNAL_H
#define DETECT_INTERNAL_H

#include "actor.h"
#include "baseline.h"
#include "codec.h"
#include "contact.h"
#include "dossier.h"
#include "engine.h"
#include "finding.h"
#include "followup.h"
#include "hints.h"
#include "history.h"
#include "label.h"
#include "ledger.h"
#include "legs.h"
#include "misses.h"
#include "rule.h"
#include "zone.h"

enum {
    NAMES_CACHE = 64 /* places by a cheap hash */
};
struct names {
    char (*v)[65];
    size_t n, cap;
    uint16_t cache[NAMES_CACHE]; /* index + 1 of the one met last at the place; 0: none */
};

struct pk_engine {
    const struct pk_scope_tenant *tenant;
    struct pk_engine_limits limits;
    struct pk_history_source history;
    pk_finding_cb on_finding;
    void *arg;
    struct pk_labels *labels;
    int64_t now_us,
        ticked_us; /* the clock: latest first_us of any row; the last multiple of ten seconds that was told */
    struct actors actors;
    struct zones zones;
    struct ledger *tenant_ledgers;
    struct ledger_queue queues[N_RULES];
    struct pk_contacts contacts;
    struct misses misses;
    struct legs legs;
    struct baseline baseline;
    struct names sites, sensors; /* by first sight */
    uint16_t places
        [PK_ENGINE_MAX_SITES]; /* of sites: index in the scope + 2; 1: it is not there; 0: not looked for */
    bool is_campaign_waiting; /* there may be one (rule_coverage.c) */
    struct pk_engine_stats stats;
    uint8_t report_rule;        /* enum rule_id of the one below, */
    struct actor *report_actor; /* and its source; NULL: no single one */
    struct pk_finding report;   /* the one being filled: too big for the stack */
};

pk_err names_intern(struct names *names, const char *name, size_t max, uint16_t *out_index);

#endif

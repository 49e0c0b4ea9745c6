/* A detector is a rule: a table of functions with a file of its own (rule_<what>.c), listed in rules.c. Private to aggregator/detect.
 *
 * The engine prepares each row once (struct observation: names, zone, source, trial) and hands it to every rule in the order of the list. What a rule remembers it keeps in
 * ledgers (ledger.h): one for each source, zone or for the tenant that it has something to note about, made on demand from a bounded pool, freed and saved by the engine.
 * A rule therefore has no globals, no tables of its own and, when its ledger is plain values, two short functions for the state.
 *
 * How to add one: rule_x.c with `const struct rule rule_x`, its enum rule_id below, a line in rules.c, its row in docs/DETECTIONS.md, scenario files (attack and benign twin). */
#ifndef DETECT_RULE_H
#define DETECT_RULE_H

#include "picket/bytes.h"
#include "picket/err.h"
#include "picket/reader.h"
#include "picket/scope.h"

#include "trial.h"

struct pk_engine;
struct actor;
struct zone;

/* The number of a rule is part of the saved state: append, never reuse. The order in which rules meet a row is that of `rule_order` in rules.c. */
enum rule_id {
    RULE_TRANSFER,    /* D1 */
    RULE_SUBDOMAINS,  /* D2, D3 */
    RULE_SWEEP,       /* D6 */
    RULE_FLOOD,       /* random-subdomain floods */
    RULE_COVERAGE,    /* D4, D5 */
    RULE_HELD,        /* alarms of D2, D3 that wait for company */
    RULE_HINTS,       /* what weak detectors leave for the others (hints.h) */
    RULE_FINGERPRINT, /* D8 */
    RULE_TYPES,       /* D9 */
    RULE_PROFILE,     /* D10 */
    RULE_WALK,        /* D7 */
    RULE_RETIRED,     /* D11 */
    RULE_HARVEST,     /* D16 */
    RULE_CANARY,      /* D12 */
    RULE_CANARY_NAME, /* what is known of each canary */
    RULE_FOLLOWUP,    /* D15 */
    RULE_LEARNED,     /* what was learned, for D15 */
    RULE_STALE,       /* how often retired names are asked here, for D11 */
    RULE_RARITY,      /* D17 */
    RULE_POPULAR,     /* how often new sources ask which names, for D17 */
    RULE_CHAIN,       /* D7, several sources */
    N_RULES
};

/* A row with what the engine found out about it; good during the call. */
struct observation {
    const struct pk_activity *row;
    int64_t now_us; /* the engine's clock: the latest row->first_us so far; >= row->first_us */
    uint16_t site, sensor;             /* indices of the engine's names (engine_site_name) */
    const struct pk_scope_site *place; /* the site in the scope; NULL when it is not there */
    struct pk_name name;               /* lower case */
    uint64_t name_hash, source_hash;   /* of name and actor key, the same on every machine */
    struct pk_name
        zone_name; /* the scope's zone, reverse zone or watched name; below a learned zone cut the cut; the root for BUILTIN */
    enum pk_scope_reason reason;
    struct zone *zone;   /* of zone_name; NULL unless reason is ZONE, or when the table is full */
    struct actor *actor; /* the source: its address, or its pseudonym */
    bool is_own_scanner; /* listed in the scope: remembered, never reported */
    bool
        is_upstream; /* asked by a resolver of our own whose clients we see: one question, charged to the leg nearest to the client */
    bool is_echo;    /* an inside leg asked the same within three seconds: no witness of its own */
    struct trial trial;
    double p0
        [N_OUTCOMES]; /* of a trial: share of each outcome expected of this source if it is benign (baseline.h) */
};

/* What clients did above the rows a window gives (kind 7, reason overflow): no names, but how many at least. */
struct counted {
    uint64_t missing;  /* distinct names that do not exist, at least */
    uint64_t existing; /* answered with data, at most */
};

struct actor_key;

struct rule {
    const char *id;      /* "D2" */
    const char *family;  /* "subdomains"; part of finding ids: never changes */
    const char *version; /* of the settings; raised with every change that can change a finding */
    double budget_share; /* of the tenant's false alerts a day */
    size_t ledger_bytes; /* what it keeps for one owner; zeroed when made */
    uint32_t
        max_ledgers; /* a tenant; when all are in use the one longest untouched without an open finding goes */
    /* One row. PK_ERR_NOMEM alone. NULL: not wanted. */
    pk_err (*observe)(struct pk_engine *engine, const struct observation *seen);
    /* Names that were only counted; seen is a row that stands for them: time, zone (its name too), site, the source (NULL: not known) and p0, no trial. NULL: not wanted. */
    pk_err (*counted)(
        struct pk_engine *engine, struct observation *seen, const struct counted *counted);
    /* Two sources turn out to be one (actor_succeed): of two ledgers the one with an open finding stays, else the
     * former's, and what the other says is added to it. NULL: it is forgotten. */
    void (*unite)(void *ledger, const void *other);
    /* The source with this key has another now (actor_succeed); NULL: the rule keeps no keys. */
    void (*renamed)(
        struct pk_engine *engine, const struct actor_key *former, const struct actor_key *key);
    /* The engine's clock passed a multiple of ten seconds; NULL: not wanted. Called before the row that moved the clock, so at that moment all earlier rows are in. */
    pk_err (*tick)(struct pk_engine *engine, int64_t now_us);
    /* A source that has an open finding fell silent: reports once more, with the final numbers, through dossier_begin. Two hours after its last row, at most ten minutes later, or at the
     * end of the input. NULL: what was said last stands. */
    pk_err (*settle)(struct pk_engine *engine, void *ledger);
    /* Frees what a ledger owns (not the ledger); NULL: plain values. */
    void (*ledger_done)(void *ledger);
    void (*save)(const void *ledger, struct pk_bytes *out);
    /* Into a zeroed ledger; failures through pk_reader_fail. */
    void (*load)(void *ledger, struct pk_reader *in);
};

extern const struct rule *const rules[N_RULES];
extern const uint8_t rule_order[N_RULES];
extern const struct rule rule_transfer, rule_subdomains, rule_sweep, rule_flood, rule_coverage,
    rule_held, rule_hints, rule_fingerprint, rule_types, rule_profile, rule_walk, rule_retired,
    rule_harvest, rule_canary, rule_canary_name, rule_followup, rule_learned, rule_rarity,
    rule_popular, rule_stale, rule_chain;

/* ln(trials a day / false alerts a day allowed to this rule): Lorden's bound for a Page test (docs/DETECTIONS.md, "Threshold"). */
double rule_threshold(const struct pk_engine *engine, double budget_share, double trials_a_day);
/* The same of a rule whose threshold was set by hand for a budget of 1: a tenth of the budget asks for ln 10 more; more than 1 changes nothing. */
double rule_threshold_by_hand(const struct pk_engine *engine, double at_one);

#endif

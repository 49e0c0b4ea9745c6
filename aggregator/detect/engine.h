/* The detection engine: observations and the time in, findings out.
 *
 * Pure: no clock, no socket, no database, no global. One engine serves one tenant. It is deterministic in the order of
 * its input (ingest sequence, row): live, restarted and replayed runs give equal findings whatever the batching. Memory is
 * bounded by struct pk_engine_limits; eviction rules stand with each table. */
#ifndef AGGREGATOR_DETECT_ENGINE_H
#define AGGREGATOR_DETECT_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picket/bytes.h"
#include "picket/err.h"
#include "picket/observation.h"
#include "picket/scope.h"

#include "history.h"
#include "priors.h"

struct pk_engine;

enum {
    PK_ENGINE_STATE_VERSION = 14,
    PK_ENGINE_MAX_SITES = 512
};

struct pk_engine_limits {
    size_t max_actors; /* sources with state; default 200,000 */
    size_t
        max_contacts;  /* first-contact memory, (source, zone, label) of 24 h; default 2,000,000 */
    size_t max_misses; /* labels that were missed, (zone, label) of 7 days; default 262,144 */
};

struct pk_engine_options {
    const struct pk_scope_tenant
        *tenant; /* borrowed for the engine's life; zones, networks, peers, scanners, budget */
    struct pk_engine_limits limits;   /* zeros: defaults */
    struct pk_history_source history; /* lookup NULL: there is none */
    const struct pk_priors *priors;   /* borrowed for the engine's life; NULL: those shipped */
};

/* Where a row was seen, in names: findings speak to people. Borrowed during the call. */
struct pk_engine_origin {
    const char *site;
    const char *sensor;
};

/* Called for every new revision of a finding, in order, during pk_engine_observe; see finding.h. */
struct pk_finding;
typedef void (*pk_finding_cb)(void *arg, const struct pk_finding *finding);

pk_err pk_engine_new(const struct pk_engine_options *options, pk_finding_cb on_finding, void *arg,
    struct pk_engine **out_engine);
void pk_engine_free(struct pk_engine *engine);
/* A new scope (reload): keeps all state. tenant is borrowed as in options. */
void pk_engine_set_scope(struct pk_engine *engine, const struct pk_scope_tenant *tenant);

/* One activity row. PK_ERR_NOMEM leaves the engine as it was. */
pk_err pk_engine_observe(
    struct pk_engine *engine, const struct pk_engine_origin *origin, const struct pk_activity *row);

/* One row of counts: an alias lets its source go on under the new pseudonym; overflow of a suspected source is evidence, docs/DETECTIONS.md "Names that were only
 * counted"; counts out of scope say nothing here. Order with activity: the ingest order. */
pk_err pk_engine_observe_client(struct pk_engine *engine, const struct pk_engine_origin *origin,
    const struct pk_client_count *row);

/* No more rows for now: moves the engine's clock ten minutes past the latest row, so that what waits for company (docs/DETECTIONS.md, "Held back") comes out. For the end of a
 * replay, and for a live engine that stood idle that long; a row that comes later is taken as if nothing had been. */
pk_err pk_engine_flush(struct pk_engine *engine);

/* No row came for idle_us by the wall clock: tells the open findings whose sources fell silent (docs/DETECTIONS.md) as ended, as the next row so much later would. The clock stays; a late row opens
 * such a finding again. */
pk_err pk_engine_idle(struct pk_engine *engine, int64_t idle_us);

/* The input ends for good: tells the open findings whose sources have not been told silent yet with their final numbers, state "ended". After flush. */
pk_err pk_engine_finish(struct pk_engine *engine);

/* Outside addresses that are suspected, with what guessing brought them (D2, D3) and what an alarm needs, in nats. */
void pk_engine_suspects(const struct pk_engine *engine,
    void (*suspect)(
        void *arg, const struct pk_addr *addr, double wealth, double threshold, int64_t last_us),
    void *arg);

/* The whole state as bytes, canonical: equal states give equal bytes. Load replaces the state; PK_ERR_VERSION when it is of another version (the
 * caller then replays stored activity from the start), PK_ERR_MALFORMED. */
pk_err pk_engine_save(const struct pk_engine *engine, struct pk_bytes *out);
pk_err pk_engine_load(struct pk_engine *engine, const uint8_t *state, size_t len);

enum {
    PK_ENGINE_MAX_NO_TRIALS = 16
};
struct pk_engine_stats {
    uint64_t rows, trials, findings, revisions;
    uint64_t client_rows; /* of pk_engine_observe_client, but those out of scope; not among rows */
    uint64_t evicted_actors, evicted_contacts, evicted_ledgers, ignored_rows;
    uint64_t no_trials
        [PK_ENGINE_MAX_NO_TRIALS]; /* by pk_engine_no_trial_str; trials, no_trials and ignored rows add up to rows */
    size_t actors, contacts, ledgers;
};
const char *pk_engine_no_trial_str(unsigned why); /* NULL past the last */
void pk_engine_stats(const struct pk_engine *engine, struct pk_engine_stats *out_stats);

#endif

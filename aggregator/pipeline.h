/* The aggregator's core loop: ingest -> registry -> store -> detect.
 *
 * One thread. Batches wait in a bounded queue for the next commit; while the database is away the queue stays full, the link is not read, credit
 * is not returned, and the sensors keep their data in their spools. An acknowledgement leaves only after the commit. */
#ifndef AGGREGATOR_PIPELINE_H
#define AGGREGATOR_PIPELINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "picket/err.h"

#include "config.h"
#include "ingest/link.h"

/* Written by the core's thread, read by the metrics thread. */
struct pk_pipeline_counters {
    atomic_uint_fast64_t batches_committed, batches_duplicate, batches_conflict,
        batches_quarantined, rows_committed;
    atomic_uint_fast64_t commits, commit_us, store_failures, child_restarts, findings;
    atomic_uint_fast64_t retired_names, retired_refused, early_rows;
    atomic_uint_fast64_t trials, engine_rows, queue_batches, queue_bytes;
    atomic_uint_fast64_t sessions, ingest_bytes, refused_keys, refused_frames, refused_batches,
        refused_credit;
    atomic_uint_fast64_t configured, offences, struck, overgrown, overloaded, parked_sessions,
        outstanding_bytes, is_paused;
    atomic_uint_fast64_t scoped, scope_refusals, stale;
    atomic_uint_fast64_t retention_rows, retention_days, ledger_folded;
    atomic_uint_fast64_t homes, homes_lost, turned_away, alarms_opened, alarms_closed;
    atomic_bool is_ready; /* database connected, child listening */
};

struct pk_pipeline;

/* Connects to the store, starts the ingest child and waits until it listens. Failures are logged with what to do. */
pk_err pk_pipeline_open(
    const struct pk_aggregator_config *config, struct pk_pipeline **out_pipeline);
/* Runs until stop_fd is readable. */
pk_err pk_pipeline_run(struct pk_pipeline *pipeline, int stop_fd);
/* Commits what is queued if the database answers, saves detection state, stops the child. */
void pk_pipeline_close(struct pk_pipeline *pipeline);
struct pk_pipeline_counters *pk_pipeline_counters(struct pk_pipeline *pipeline);

#endif

/* From batches that wait to commits: whose turn it is, how many fit into one transaction, what each became. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "picket/batch.h"
#include "picket/clock.h"
#include "picket/limits.h"
#include "picket/log.h"

#include "pipeline_internal.h"

enum {
    MAX_COMMIT = 64, /* batches in one transaction */
    MAX_COMMIT_BYTES = 8 << 20,
    /* Their tables may all be new, and a transaction holds locks on each that it makes. */
    MAX_COMMIT_DAYS = 2 * PK_MAX_BATCH_DAYS,
    MAX_TOO_MUCH = 3, /* tries alone: it may have been others who left no room */
};

static void answer(struct pk_pipeline *pipeline, const struct pending *pending, uint16_t error)
{
    const struct pk_frame_batch *frame = &pending->head.frame;
    struct pk_link_done done = {
        .sensor = pending->head.sensor,
        .tenant = pending->head.tenant,
        .session = pending->head.session,
        .epoch = frame->epoch,
        .seq = frame->seq,
        .body_len = frame->raw_len, /* what the child has taken from the credit */
        .error = error,
    };
    (void)pk_link_send(&pipeline->ingest.link, PK_LINK_DONE, &done, sizeof done, NULL,
        0); /* a dead child is noticed elsewhere */
}

static void count_queue(struct pk_pipeline *pipeline)
{
    atomic_store(&pipeline->counters.queue_batches, pipeline->queue.n);
    atomic_store(&pipeline->counters.queue_bytes, pipeline->queue.bytes);
}

/* Removes the first n of those whose turn it is. */
void pipeline_pop(struct pk_pipeline *pipeline, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(pk_fair_pop(&pipeline->queue));
    }
    count_queue(pipeline);
}

static struct pk_store_batch store_batch(struct pk_pipeline *pipeline,
    const struct pending *pending, const struct pk_batch *batch,
    const struct pk_store_sensor *sensor)
{
    return (struct pk_store_batch){
        .tenant = sensor->tenant,
        .sensor = sensor->sensor,
        .site = pk_registry_site_at(
            &pipeline->registry, sensor->sensor, pk_batch_info(batch)->window_start_us),
        .frame = &pending->head.frame,
        .batch = batch,
        .received_us = pending->received_us,
        .generation = pipeline_generation_of(pipeline, sensor),
    };
}

/* The first of the queue cannot be stored: keep its bytes with the reason, tell the sensor, go on. */
static pk_err quarantine_first(struct pk_pipeline *pipeline, const struct pending *pending,
    const struct pk_store_sensor *sensor, const char *reason)
{
    pk_err err = pk_store_quarantine(pipeline->store, sensor->tenant,
        pipeline_generation_of(pipeline, sensor), sensor->sensor, &pending->head.frame,
        pending->body, pending->head.frame.body_len, reason);
    if (err != PK_OK) {
        return err;
    }
    char text[256];
    pk_warn("ingest", "sensor=%s epoch=%" PRIu64 " seq=%" PRIu64 " quarantined=\"%s\"",
        sensor->name, pending->head.frame.epoch, pending->head.frame.seq,
        pk_log_escape(reason, strlen(reason), text, sizeof text));
    atomic_fetch_add(&pipeline->counters.batches_quarantined, 1);
    answer(pipeline, pending, PK_FRAME_ERR_MALFORMED);
    pipeline_pop(pipeline, 1);
    return PK_OK;
}

static void count_commit(
    struct pk_pipeline *pipeline, const struct pending *pending, enum pk_store_commit result)
{
    struct pk_pipeline_counters *counters = &pipeline->counters;
    if (result == PK_STORE_COMMITTED) {
        atomic_fetch_add(&counters->batches_committed, 1);
        atomic_fetch_add(&counters->rows_committed, pending->head.frame.rows);
    } else if (result == PK_STORE_DUPLICATE) {
        atomic_fetch_add(&counters->batches_duplicate, 1);
    } else {
        atomic_fetch_add(&counters->batches_conflict, 1);
        pk_warn("ingest",
            "sensor_id=%u epoch=%" PRIu64 " seq=%" PRIu64
            " the same sequence came with other content: a restored spool, or a copied key",
            pending->head.sensor, pending->head.frame.epoch, pending->head.frame.seq);
    }
}

/* A run of the queue: batches of one tenant, decoded. */
struct run {
    struct pk_fair_item *items[MAX_COMMIT];
    struct pk_store_batch batches[MAX_COMMIT];
    struct pk_batch *decoded[MAX_COMMIT];
    size_t n;
    int32_t days[MAX_COMMIT_DAYS]; /* of their rows, each once */
    size_t n_days;
};

static const struct pending *pending_of(const struct run *run, size_t i)
{
    return (const struct pending *)run->items[i];
}

/* Commits the first n of the run, answers, and feeds the engine in the order of the ingest sequence. */
static pk_err commit_run(struct pk_pipeline *pipeline, const struct run *run, size_t n)
{
    enum pk_store_commit results[MAX_COMMIT];
    uint64_t seqs[MAX_COMMIT];
    int64_t start_ms = pk_clock_mono_ms();
    pk_err err = pk_store_commit(pipeline->store, run->batches, n, results, seqs);
    if (err != PK_OK) {
        return err;
    }
    atomic_fetch_add(&pipeline->counters.commits, 1);
    atomic_fetch_add(
        &pipeline->counters.commit_us, (uint64_t)(pk_clock_mono_ms() - start_ms) * 1000);
    for (size_t i = 0; i < n; i++) {
        count_commit(pipeline, pending_of(run, i), results[i]);
        answer(pipeline, pending_of(run, i),
            results[i] == PK_STORE_CONFLICT ? PK_FRAME_ERR_EPOCH_CONFLICT : 0);
        if (results[i] == PK_STORE_COMMITTED) {
            err = pk_detection_observe(
                pipeline->detection, &pipeline->registry, &run->batches[i], seqs[i]);
            if (err != PK_OK) {
                pk_error(
                    "detect", "ingest_seq=%" PRIu64 " failed=\"%s\"", seqs[i], pk_err_str(err));
            }
        }
    }
    pipeline_pop(pipeline, n);
    return PK_OK;
}

/* Adds the days of a batch; false when they are too many for one transaction. The first batch's never are. */
static bool add_days(struct run *run, const struct pk_batch *batch)
{
    const int32_t *days;
    size_t n = pk_batch_days(batch, &days), n_before = run->n_days;
    for (size_t i = 0; i < n; i++) {
        size_t k = 0;
        while (k < run->n_days && run->days[k] != days[i]) {
            k++;
        }
        if (k == MAX_COMMIT_DAYS) {
            run->n_days = n_before;
            return false;
        }
        run->days[k] = days[i];
        run->n_days = k == run->n_days ? k + 1 : run->n_days;
    }
    return true;
}

/* Decodes the longest run whose turn it is; stops before what must be dealt with alone. out_fault: why the first one of all cannot be decoded. The
 * child decoded each already; it is the process that may have been subverted. */
static void collect_run(
    struct pk_pipeline *pipeline, struct run *run, struct pk_batch_fault *out_fault)
{
    size_t n_items = pk_fair_front(&pipeline->queue, run->items, MAX_COMMIT);
    uint64_t bytes = 0;
    run->n_days = 0;
    for (run->n = 0; run->n < n_items; run->n++) {
        const struct pending *pending = pending_of(run, run->n);
        const struct pk_store_sensor *sensor =
            pk_registry_sensor(&pipeline->registry, pending->head.sensor);
        struct pk_batch *batch = NULL;
        bytes += pending->head.frame.body_len;
        if (!sensor || pending->is_refused || pipeline_generation_of(pipeline, sensor) == 0 ||
            (run->n > 0 &&
                (sensor->tenant.v != run->batches[0].tenant.v || bytes > MAX_COMMIT_BYTES)) ||
            pk_batch_decode(pending->body, pending->head.frame.body_len, &batch, out_fault) !=
                PK_OK) {
            break;
        }
        if (!add_days(run, batch)) {
            pk_batch_free(batch);
            break;
        }
        run->decoded[run->n] = batch;
        run->batches[run->n] = store_batch(pipeline, pending, batch, sensor);
    }
}

/* The tenant's home is not here (any more): nothing is stored, and the session ends. The answer, to nobody, gives the budget back. */
static void turn_away_front(struct pk_pipeline *pipeline, const struct pending *pending,
    const struct pk_store_sensor *sensor)
{
    struct pk_home home = pk_homes_get(pipeline->homes, sensor->tenant);
    pipeline_turn_away(pipeline, pending->head.sensor, pending->head.session, &home.elsewhere);
    answer(pipeline, pending, PK_FRAME_ERR_OVERLOADED);
    atomic_fetch_add(&pipeline->counters.turned_away, 1);
    pipeline_pop(pipeline, 1);
}

/* The first of the queue goes alone: the child refused it, it does not decode, its sensor is gone, or its home is elsewhere. */
static pk_err reject_front(
    struct pk_pipeline *pipeline, const struct pending *pending, const char *fault)
{
    const struct pk_store_sensor *sensor =
        pk_registry_sensor(&pipeline->registry, pending->head.sensor);
    if (!sensor) {
        answer(pipeline, pending, PK_FRAME_ERR_REVOKED);
        pipeline_pop(pipeline, 1);
        return PK_OK;
    }
    if (pipeline_generation_of(pipeline, sensor) == 0) {
        turn_away_front(pipeline, pending, sensor);
        return PK_OK;
    }
    return quarantine_first(
        pipeline, pending, sensor, pending->is_refused ? pending->head.reason : fault);
}

/* The first of the run was too much for the database alone: whether that has been so often enough. Until then the store is given its pause. */
static bool is_hopeless(const struct run *run)
{
    struct pending *pending = (struct pending *)run->items[0];
    return ++pending->n_too_much >= MAX_TOO_MUCH;
}

/* Takes the longest run of one tenant from the front of the queue. */
static pk_err commit_front(struct pk_pipeline *pipeline)
{
    struct run run;
    struct pk_batch_fault fault = {.what = "does not decode"};
    collect_run(pipeline, &run, &fault);
    if (run.n == 0) {
        return reject_front(pipeline, pending_of(&run, 0), fault.what);
    }
    size_t n = run.n;
    pk_err err = commit_run(pipeline, &run, n);
    while ((err == PK_ERR_MALFORMED || err == PK_ERR_LIMIT) && n > 1) {
        n /= 2; /* find the one the database refuses */
        err = commit_run(pipeline, &run, n);
    }
    if (err == PK_ERR_MALFORMED || (err == PK_ERR_LIMIT && is_hopeless(&run))) {
        char reason[256];
        snprintf(reason, sizeof reason, "%s", pk_store_error(pipeline->store));
        const struct pending *pending = pending_of(&run, 0);
        err = quarantine_first(pipeline, pending,
            pk_registry_sensor(&pipeline->registry, pending->head.sensor), reason);
    }
    if (err == PK_ERR_CONFLICT) {
        pk_tenancy_lose(&pipeline->tenancy, run.batches[0].tenant);
        err = PK_OK; /* what waits is turned away next */
    }
    for (size_t i = 0; i < run.n; i++) {
        pk_batch_free(run.decoded[i]);
    }
    return err;
}

/* One run of one tenant; false when there is nothing to do or the store is away. */
bool pipeline_commit_turn(struct pk_pipeline *pipeline)
{
    if (pipeline->queue.n == 0 || !pipeline_store_ready(pipeline)) {
        return false;
    }
    pk_err err = commit_front(pipeline);
    if (err == PK_OK && pk_detection_has_findings(pipeline->detection)) {
        err = pk_detection_save(pipeline->detection, pipeline->store, false);
    }
    if (err != PK_OK) {
        pipeline_store_failed(pipeline, "commit");
    }
    return err == PK_OK;
}

void pipeline_on_batch(
    struct pk_pipeline *pipeline, const uint8_t *data, size_t len, bool is_refused)
{
    struct pk_link_batch head;
    if (len <= sizeof head || len - sizeof head > PK_MAX_BODY_BYTES) {
        return;
    }
    memcpy(&head, data, sizeof head);
    head.reason[PK_LINK_TEXT_SIZE - 1] = '\0';
    head.frame.body_len = (uint32_t)(len - sizeof head);
    struct pending *pending = malloc(sizeof *pending + head.frame.body_len);
    if (pending) {
        *pending = (struct pending){
            .item = {.tenant = head.tenant, .bytes = head.frame.body_len},
            .head = head,
            .is_refused = is_refused,
            .received_us = pk_clock_wall_us(),
        };
        memcpy(pending->body, data + sizeof head, head.frame.body_len);
    }
    if (!pending || pk_fair_push(&pipeline->queue, &pending->item) != PK_OK) {
        struct pending lost = {.head = head};
        answer(pipeline, &lost, PK_FRAME_ERR_OVERLOADED);
        free(pending);
        return;
    }
    count_queue(pipeline);
}

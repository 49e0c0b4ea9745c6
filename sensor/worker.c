/* New settings are taken between two packets: the window ends early under the old scope, open queries and streams stay. */
#include "worker.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "picket/clock.h"
#include "picket/log.h"

#include "input/interfaces.h"
#include "input/live_loop.h"
#include "pairing/diagnosis.h"

enum {
    DIAGNOSIS_MS = 60000
};

struct pk_worker {
    _Atomic(const struct pk_settings *) settings, wanted;
    const uint8_t *client_key;
    struct pk_stats stats;
    struct pk_batcher *batcher;
    struct pk_merge *merge;
    struct pk_pipeline *pipeline;
    struct pk_ring *ring; /* NULL: none; then these are neither */
    struct pk_merge *ring_merge;
    struct pk_batcher *ring_batcher;
    struct pk_stats ring_stats;
    struct pk_interfaces *interfaces;  /* NULL: none */
    struct pk_dnstap_listener *dnstap; /* NULL: none */
    const struct pk_worker_hooks *hooks;
    struct pk_stats diagnosed; /* as of the last diagnosis */
    uint64_t diagnoses;        /* bits that hold */
    int64_t next_diagnosis_ms;
};

static void on_packet(void *arg, int link_type, const struct pk_raw_packet *packet)
{
    const struct pk_worker *worker = arg;
    pk_pipeline_packet(worker->pipeline, link_type, packet);
}

static struct pk_merge_options merge_options(
    const struct pk_worker *worker, const struct pk_settings *settings)
{
    return (struct pk_merge_options){
        .tenant = settings->tenant,
        .site = settings->site,
        .client_key = settings->config.floor.hides_inside ? NULL : worker->client_key,
        .is_own = settings->pushed_version == 0,
        .vantage = settings->config.vantage,
        .window_ms = settings->config.window_ms,
        .window_rows = settings->config.window_rows,
    };
}

static struct pk_interfaces_options interface_options(const struct pk_settings *settings)
{
    return (struct pk_interfaces_options){
        .names = settings->config.interfaces,
        .n_names = settings->config.n_interfaces,
        .ports = settings->config.ports,
        .ring_bytes = settings->config.ring_bytes,
        .n_fanout = settings->config.n_threads,
    };
}

pk_err pk_worker_new(const struct pk_settings *settings, struct pk_worker **out_worker)
{
    struct pk_worker *worker = calloc(1, sizeof *worker);
    if (!worker) {
        return PK_ERR_NOMEM;
    }
    atomic_init(&worker->settings, settings);
    atomic_init(&worker->wanted, settings);
    *out_worker = worker;
    return PK_OK;
}

void pk_worker_free(struct pk_worker *worker)
{
    if (worker) {
        pk_interfaces_close(worker->interfaces);
        pk_dnstap_listen_close(worker->dnstap);
        pk_pipeline_free(worker->pipeline);
        pk_merge_free(worker->merge);
        pk_batcher_free(worker->batcher);
        pk_merge_free(worker->ring_merge);
        pk_batcher_free(worker->ring_batcher);
        pk_ring_close(worker->ring);
        free(worker);
    }
}

pk_err pk_worker_open_capture(struct pk_worker *worker, char out_error[PK_CAPTURE_ERROR_SIZE])
{
    struct pk_interfaces_options options = interface_options(worker->settings);
    return pk_interfaces_open(
        &options, &worker->stats, on_packet, worker, &worker->interfaces, out_error);
}

pk_err pk_worker_open_dnstap(struct pk_worker *worker, char out_error[PK_DNSTAP_ERROR_SIZE])
{
    const struct pk_settings *settings = worker->settings;
    return pk_dnstap_listen_open(
        &settings->config.dnstap, &worker->stats, on_packet, worker, &worker->dnstap, out_error);
}

void pk_worker_take_ring(struct pk_worker *worker, struct pk_ring *ring)
{
    worker->ring = ring;
}

/* Without a scope: every client in clear. */
static struct pk_merge_options ring_options(const struct pk_settings *settings)
{
    return (struct pk_merge_options){.vantage = settings->config.vantage,
        .window_ms = settings->config.window_ms,
        .window_rows = settings->config.window_rows};
}

static pk_err open_ring(struct pk_worker *worker)
{
    struct pk_merge_options options = ring_options(worker->settings);
    pk_err err =
        pk_batcher_new(&worker->ring_stats, pk_ring_append, worker->ring, &worker->ring_batcher);
    if (err == PK_OK) {
        struct pk_merge_sink sink = pk_batcher_sink(worker->ring_batcher);
        err = pk_merge_new(&options, &worker->ring_stats, &sink, &worker->ring_merge);
    }
    worker->stats.memory_bound_bytes += worker->ring_stats.memory_bound_bytes;
    return err;
}

pk_err pk_worker_open_core(
    struct pk_worker *worker, const uint8_t *client_key, const struct pk_worker_sink *to)
{
    const struct pk_settings *settings = worker->settings;
    struct pk_pipeline_options options = {
        .ports = settings->config.ports,
        .wants_rrsets = true,
        .dnstap = pk_dnstap_use_of(&settings->config.dnstap, settings->config.n_interfaces),
    };
    worker->client_key = client_key;
    struct pk_merge_options merge = merge_options(worker, settings);
    pk_err err = pk_batcher_new(&worker->stats, to->on_sealed, to->arg, &worker->batcher);
    if (err == PK_OK) {
        pk_batcher_set_unsealed(worker->batcher, to->on_unsealed);
        struct pk_merge_sink sink = pk_batcher_sink(worker->batcher);
        err = pk_merge_new(&merge, &worker->stats, &sink, &worker->merge);
    }
    if (err == PK_OK && worker->ring) {
        err = open_ring(worker);
    }
    options.merge = worker->merge;
    options.ring = worker->ring_merge;
    return err == PK_OK ? pk_pipeline_new(&options, &worker->stats, &worker->pipeline) : err;
}

static void take_wanted(struct pk_worker *worker)
{
    const struct pk_settings *wanted = atomic_load(&worker->wanted);
    if (wanted == atomic_load(&worker->settings)) {
        return;
    }
    char error[PK_CAPTURE_ERROR_SIZE];
    struct pk_merge_options merge = merge_options(worker, wanted);
    struct pk_interfaces_options interfaces = interface_options(wanted);
    pk_merge_change(worker->merge, &merge);
    if (worker->ring) {
        struct pk_merge_options ring = ring_options(wanted);
        pk_merge_change(worker->ring_merge, &ring);
        if (pk_ring_set_scope(worker->ring, &wanted->scope_text) != PK_OK) {
            pk_error("ring",
                "the new scope cannot be kept beside the ring: what comes now will be read again as seen under the old one");
        }
    }
    pk_pipeline_set_ports(worker->pipeline, &wanted->config.ports);
    if (worker->interfaces &&
        pk_interfaces_change(worker->interfaces, &interfaces, error) != PK_OK) {
        pk_warn("capture", "%s", error);
    }
    atomic_store(&worker->settings, wanted);
}

/* Says what begins and what ends, at most once a minute each. */
static void diagnose(struct pk_worker *worker, int64_t mono_ms)
{
    struct pk_diagnosed all[PK_N_DIAGNOSES];
    uint64_t bits = 0;
    if (worker->next_diagnosis_ms == 0) {
        worker->next_diagnosis_ms = mono_ms + DIAGNOSIS_MS;
    }
    if (mono_ms < worker->next_diagnosis_ms) {
        return;
    }
    size_t n =
        pk_diagnose(&worker->stats, &worker->diagnosed, pk_pipeline_sides(worker->pipeline), all);
    for (size_t i = 0; i < n; i++) {
        uint64_t bit = UINT64_C(1) << all[i].kind;
        if (all[i].kind == PK_DIAGNOSIS_NOTHING &&
            atomic_load(&worker->settings)->config.n_threads > 1) {
            continue; /* the flows of a quiet link may all fall to another thread */
        }
        bits |= bit;
        if (!(worker->diagnoses & bit)) {
            pk_warn("diagnosis", "begins=%s %s", pk_diagnosis_str(all[i].kind), all[i].text);
        }
    }
    for (int kind = 0; kind < PK_N_DIAGNOSES; kind++) {
        if (worker->diagnoses & ~bits & UINT64_C(1) << kind) {
            pk_info("diagnosis", "ends=%s", pk_diagnosis_str((enum pk_diagnosis)kind));
        }
    }
    worker->diagnoses = bits;
    worker->diagnosed = worker->stats;
    worker->next_diagnosis_ms = mono_ms + DIAGNOSIS_MS;
}

static void on_tick(void *arg, int64_t mono_ms, bool was_idle)
{
    struct pk_worker *worker = arg;
    if (was_idle) {
        pk_pipeline_tick(worker->pipeline, pk_clock_wall_us() - PK_LIVE_LAG_MS * INT64_C(1000));
    }
    if (worker->hooks->tick) {
        worker->hooks->tick(worker->hooks->arg, mono_ms);
    }
    take_wanted(worker);
    pk_merge_tell(worker->merge);
    worker->stats.ring_lost_rows = worker->ring ? pk_ring_lost(worker->ring) : 0;
    diagnose(worker, mono_ms);
}

static bool is_done(void *arg)
{
    const struct pk_worker *worker = arg;
    return worker->hooks->is_done(worker->hooks->arg);
}

bool pk_worker_run(struct pk_worker *worker, const struct pk_worker_hooks *hooks)
{
    worker->hooks = hooks;
    struct pk_live_loop loop = {.arg = worker, .is_done = is_done, .tick = on_tick};
    if (worker->interfaces) {
        loop.sources[loop.n_sources++] = pk_interfaces_source(worker->interfaces);
    }
    if (worker->dnstap) {
        loop.sources[loop.n_sources++] = pk_dnstap_listen_source(worker->dnstap);
    }
    return pk_live_loop_run(&loop);
}

void pk_worker_finish(struct pk_worker *worker)
{
    pk_interfaces_close(worker->interfaces);
    worker->interfaces = NULL;
    pk_dnstap_listen_close(worker->dnstap);
    worker->dnstap = NULL;
    if (worker->pipeline) {
        pk_pipeline_flush(worker->pipeline);
    }
}

void pk_worker_want(struct pk_worker *worker, const struct pk_settings *settings)
{
    atomic_store(&worker->wanted, settings);
}

const struct pk_settings *pk_worker_settings(const struct pk_worker *worker)
{
    return atomic_load(&worker->settings);
}

struct pk_stats *pk_worker_stats(struct pk_worker *worker)
{
    return &worker->stats;
}

struct pk_pipeline *pk_worker_pipeline(struct pk_worker *worker)
{
    return worker->pipeline;
}

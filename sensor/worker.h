/* One thread of the daemon: its interfaces (or its member of each interface's fan-out), and a core of its own behind them. Workers share nothing but the sink of sealed batches. */
#ifndef SENSOR_WORKER_H
#define SENSOR_WORKER_H

#include "picket/err.h"

#include "input/capture.h"
#include "input/dnstap_listen.h"
#include "pipeline.h"
#include "settings.h"
#include "ship/ring.h"
#include "stats.h"
#include "window/batch.h"

struct pk_worker;

/* What the thread that runs a worker does beside: both are called in that thread. */
struct pk_worker_hooks {
    void *arg;
    bool (*is_done)(void *arg);
    void (*tick)(void *arg, int64_t mono_ms); /* may be NULL */
};

pk_err pk_worker_new(const struct pk_settings *settings, struct pk_worker **out_worker);
void pk_worker_free(struct pk_worker *worker);
/* As pk_interfaces_open. All workers' captures are opened by one thread, one after the other, before privileges are given up. */
pk_err pk_worker_open_capture(struct pk_worker *worker, char out_error[PK_CAPTURE_ERROR_SIZE]);
/* As pk_dnstap_listen_open; at most one worker has it. */
pk_err pk_worker_open_dnstap(struct pk_worker *worker, char out_error[PK_DNSTAP_ERROR_SIZE]);
/* Before pk_worker_open_core: everything goes into a ring too. Taken. */
void pk_worker_take_ring(struct pk_worker *worker, struct pk_ring *ring);
/* Where a worker's batches go. on_unsealed (may be NULL) hears of what is not sealed yet, ten times a second and before each batch. */
struct pk_worker_sink {
    pk_sealed_cb on_sealed;
    pk_unsealed_cb on_unsealed;
    void *arg; /* of both */
};
/* client_key may be NULL; borrowed. PK_ERR_NOMEM. */
pk_err pk_worker_open_core(
    struct pk_worker *worker, const uint8_t *client_key, const struct pk_worker_sink *to);
/* Until is_done. False: no interface is left (and dnstap is not listened for). */
bool pk_worker_run(struct pk_worker *worker, const struct pk_worker_hooks *hooks);
/* Closes the capture, ends the window and gives everything out. */
void pk_worker_finish(struct pk_worker *worker);

/* Any thread: take these settings (borrowed, until the next are in use) at the next tick. */
void pk_worker_want(struct pk_worker *worker, const struct pk_settings *settings);
/* Any thread: the settings in use. */
const struct pk_settings *pk_worker_settings(const struct pk_worker *worker);

struct pk_stats *pk_worker_stats(struct pk_worker *worker);
struct pk_pipeline *pk_worker_pipeline(struct pk_worker *worker);

#endif

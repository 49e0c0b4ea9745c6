/* The sensor as a service: the capture fills the spool, a second thread ships from it. Either end may stop for hours without the other noticing. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sysexits.h>

#include "picket/clock.h"
#include "picket/hide.h"
#include "picket/log.h"

#include "daemon.h"
#include "privileges.h"
#include "run.h"

/* --- live --- */

static bool live_is_done(void *arg)
{
    (void)arg;
    return daemon_stop_requested;
}

static int open_captures(struct daemon *d)
{
    char error[PK_CAPTURE_ERROR_SIZE];
    const struct pk_sensor_config *config = &d->settings->config;
    if (config->dnstap.n_endpoints > 0) {
        pk_err err = pk_worker_open_dnstap(d->workers[0], error);
        if (err != PK_OK) {
            return daemon_fail(err == PK_ERR_CONFIG ? EX_CONFIG : EX_NOINPUT, error);
        }
    }
    for (unsigned i = 0; i < d->n_workers && config->n_interfaces > 0; i++) {
        pk_err err = pk_worker_open_capture(d->workers[i], error);
        if (err != PK_OK) {
            return daemon_fail(err == PK_ERR_AUTH ? EX_NOPERM : EX_NOINPUT, error);
        }
    }
    return EX_OK;
}

/* Interfaces while there is the right to open them, then the user, then the spool (so that its files are that user's), then the rest is locked. */
static int open_live(struct daemon *d)
{
    char error[PK_PRIVILEGES_ERROR_SIZE];
    const struct pk_sensor_config *config = &d->settings->config;
    if (config->spool_folder &&
        !pk_privileges_give_folder(config->user, config->spool_folder, error, sizeof error)) {
        return daemon_fail(EX_NOPERM, error);
    }
    if (config->ring_folder &&
        !pk_privileges_give_folder(config->user, config->ring_folder, error, sizeof error)) {
        return daemon_fail(EX_NOPERM, error);
    }
    int status = open_captures(d);
    if (status == EX_OK && !pk_privileges_become(config->user, error, sizeof error)) {
        status = daemon_fail(EX_NOPERM, error);
    }
    if (status == EX_OK) {
        pk_hide_memory(); /* a change of user may have undone it */
        status = daemon_open_core(d);
    }
    if (status == EX_OK) {
        status = daemon_confine(d);
    }
    if (status == EX_OK && !daemon_start_uplink(d)) {
        status = daemon_fail(EX_OSERR, "cannot start the uplink's thread");
    }
    return status;
}

struct thread_arg {
    struct daemon *daemon;
    struct pk_worker *worker;
};

static void *worker_main(void *arg)
{
    struct thread_arg thread = *(struct thread_arg *)arg;
    free(arg);
    if (!pk_worker_run(thread.worker, &thread.daemon->hooks)) {
        pk_warn("capture",
            "no interface is left for a thread"); /* so for all: the first ends the sensor */
    }
    return NULL;
}

static bool start_threads(struct daemon *d)
{
    sigset_t all, before;
    d->hooks = (struct pk_worker_hooks){.arg = d, .is_done = live_is_done};
    bool is_good = daemon_start_sync(d);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (unsigned i = 1; i < d->n_workers && is_good; i++) {
        struct thread_arg *arg = malloc(sizeof *arg);
        if (arg) {
            *arg = (struct thread_arg){d, d->workers[i]};
        }
        is_good = arg && pthread_create(&d->threads[i], NULL, worker_main, arg) == 0;
        d->n_threads += is_good;
        if (!is_good) {
            free(arg);
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return is_good;
}

static int run_live(struct daemon *d)
{
    const struct pk_worker_hooks hooks = {.arg = d, .is_done = live_is_done, .tick = daemon_tick};
    d->uplink.scopes = &d->scopes; /* here alone is somebody who can change it */
    int status = open_live(d);
    if (status == EX_OK && !start_threads(d)) {
        status = daemon_fail(EX_OSERR, "cannot start the capture's threads");
    }
    if (status == EX_OK && !pk_worker_run(d->workers[0], &hooks)) {
        status = daemon_fail(EX_TEMPFAIL, "no interface is left");
    }
    daemon_stop_requested = 1; /* for the other threads */
    for (unsigned i = 1; i <= d->n_threads; i++) {
        pthread_join(d->threads[i], NULL);
    }
    daemon_stop_sync(d);
    for (unsigned i = 0; i < d->n_workers && d->spool; i++) {
        pk_worker_finish(d->workers[i]);
    }
    return status;
}

/* --- files --- */

static int64_t shift_of(const struct daemon *d)
{
    const struct pk_sensor_config *config = &d->settings->config;
    int64_t last_us = INT64_MIN;
    char error[PK_CAPTURE_ERROR_SIZE];
    for (size_t i = 0; i < config->n_reads && config->shift_to_now; i++) {
        struct pk_capture *capture;
        struct pk_raw_packet packet;
        if (pk_capture_open_file(config->reads[i], &capture, error) == PK_OK) {
            while (pk_capture_next(capture, &packet) == PK_CAPTURE_PACKET) {
                last_us = packet.ts_us > last_us ? packet.ts_us : last_us;
            }
            pk_capture_close(capture);
        }
    }
    return last_us == INT64_MIN ? 0 : pk_clock_wall_us() - last_us;
}

static int run_files(struct daemon *d)
{
    const struct pk_sensor_config *config = &d->settings->config;
    struct pk_pipeline *pipeline = pk_worker_pipeline(d->workers[0]);
    int status = EX_OK;
    int64_t shift_us = shift_of(d);
    if (!daemon_start_sync(d)) {
        return daemon_fail(EX_OSERR, "cannot start the spool's thread");
    }
    for (size_t i = 0; i < config->n_reads && !daemon_stop_requested; i++) {
        char error[PK_CAPTURE_ERROR_SIZE];
        struct pk_capture *capture;
        pk_worker_stats(d->workers[0])->files++;
        if (pk_capture_open_file(config->reads[i], &capture, error) != PK_OK) {
            status = daemon_fail(EX_NOINPUT, error);
            continue;
        }
        struct pk_raw_packet packet;
        enum pk_capture_result result = PK_CAPTURE_END;
        while (!daemon_stop_requested &&
               (result = pk_capture_next(capture, &packet)) == PK_CAPTURE_PACKET) {
            packet.ts_us += shift_us;
            pk_pipeline_packet(pipeline, pk_capture_link_type(capture), &packet);
        }
        if (result == PK_CAPTURE_BROKEN) {
            status = daemon_fail(EX_DATAERR, pk_capture_error(capture));
        }
        pk_capture_close(capture);
    }
    pk_worker_finish(d->workers[0]);
    daemon_copy_counters(d);
    d->uplink.ends_when_empty = true; /* the thread starts after the last batch is in the spool */
    daemon_stop_event = d->stop_fd;
    if (!daemon_start_uplink(d)) {
        daemon_stop_sync(d);
        return daemon_fail(EX_OSERR, "cannot start the uplink's thread");
    }
    pthread_join(d->uplink_thread, NULL);
    d->has_uplink_thread = false;
    daemon_stop_sync(d);
    return daemon_stop_requested && status == EX_OK ? EX_TEMPFAIL : status;
}

int pk_run_daemon(const char *config_path)
{
    static struct daemon d; /* one a process */
    daemon_catch_signals();
    int status = daemon_load(&d, config_path);
    const struct pk_sensor_config *config = status == EX_OK ? &d.settings->config : NULL;
    bool is_live = config && config->n_reads == 0;
    if (config) {
        status = daemon_new_workers(&d, config->n_interfaces > 0 ? config->n_threads : 1);
    }
    if (status == EX_OK && is_live) {
        status = run_live(&d);
    } else if (status == EX_OK) {
        status = daemon_open_core(&d);
        status = status == EX_OK ? run_files(&d) : status;
    }
    daemon_stop_uplink(&d);
    daemon_close(&d);
    return status;
}

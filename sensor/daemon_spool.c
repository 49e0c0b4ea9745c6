/* What is kept at the site: the spool with the thread that makes it sure, the local rings, and what people are told of them. */
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sysexits.h>
#include <unistd.h>

#include <sodium.h>

#include "picket/clock.h"
#include "picket/log.h"

#include "bounds.h"
#include "daemon.h"
#include "input/unpack.h"
#include "ship/ring.h"

static int open_spool(struct daemon *d)
{
    char error[PK_SPOOL_ERROR_SIZE];
    struct pk_spool_found found;
    const struct pk_sensor_config *config = &d->settings->config;
    struct pk_spool_options options = {.folder = config->spool_folder,
        .max_bytes = config->spool_max_bytes,
        .max_age_ms = config->spool_max_age_ms,
        .min_free_percent = config->spool_min_free_percent,
        .memory_bytes = config->spool_memory_bytes,
        .durability = (enum pk_spool_durability)config->spool_durability,
        .key = d->uplink.spool_key};
    pk_err err = pk_spool_open(&options, &d->spool, &found, error);
    if (err != PK_OK) {
        return daemon_fail(err == PK_ERR_AUTH ? EX_NOPERM : EX_CANTCREAT, error);
    }
    if (d->keeps_scope_in_clear &&
        pk_pushed_save(config->spool_folder, d->uplink.spool_key, &d->pushed) != PK_OK) {
        pk_warn(
            "spool", "the scope that was sent stays in the folder in clear: it cannot be written");
    }
    d->uplink.delivery.is_durable = config->spool_folder != NULL;
    d->spool_status.is_on_disk = true;
    if (!config->spool_folder) {
        d->spool_status.is_on_disk = false;
        pk_warn("spool",
            "memory=%" PRIu64
            " bytes and no folder: what is not delivered is lost with the process",
            config->spool_memory_bytes);
    } else if (found.n_batches > 0 || found.torn_bytes > 0 || found.damaged_files > 0) {
        pk_log(found.torn_bytes > 0 || found.damaged_files > 0 ? PK_LOG_WARNING : PK_LOG_INFO,
            "spool", "recovered batches=%" PRIu64 " torn_bytes=%" PRIu64 " damaged_segments=%u",
            found.n_batches, found.torn_bytes, found.damaged_files);
    }
    if (found.has_crashed && found.is_crash_unknown) {
        pk_error("spool",
            "the last process ended in the middle of its capture, and what its mark says of it cannot be read; lost cause=crash");
    } else if (found.has_crashed) {
        char time[PK_TIME_TEXT_SIZE];
        pk_error("spool",
            "the last process ended in the middle of its capture; lost cause=crash until=%s messages=%" PRIu64
            " transactions=%" PRIu64 ", and what came later",
            pk_time_text(found.crashed_us, time), found.crashed_messages,
            found.crashed_transactions);
    }
    return EX_OK;
}

/* What a person should know of the spool, said when it changes. */
static void watch_spool(struct daemon *d)
{
    struct pk_spool_status now;
    const struct pk_spool_status *before = &d->spool_status;
    pk_spool_get_status(d->spool, &now);
    if (!now.is_on_disk && before->is_on_disk) {
        pk_error("spool", "the disk refuses: batches are kept in memory until it works again");
    } else if (now.is_on_disk && !before->is_on_disk) {
        pk_info("spool", "the disk works again");
    }
    if (now.sync_failures > before->sync_failures) {
        pk_error("spool",
            "failures=%" PRIu64 " the disk could not make a segment sure; a new one was begun",
            now.sync_failures);
    }
    if (now.has_no_mark && !before->has_no_mark) {
        pk_error("spool",
            "no mark can be kept in the folder: what is not sealed yet is lost untold if this process is killed");
    }
    for (unsigned i = 0; i < PK_N_LOSS_CAUSES; i++) {
        bool is_first = now.lost_batches[i] > 0 && before->lost_batches[i] == 0;
        if (is_first) {
            pk_error("spool", "batches are lost cause=%s; the loss ledger counts them",
                pk_loss_cause_str(i));
        }
    }
    d->spool_status = now;
}

static int open_rings(struct daemon *d)
{
    char error[PK_RING_ERROR_SIZE];
    const struct pk_sensor_config *config = &d->settings->config;
    struct pk_origin origin = {.software = "picket-sensor " PICKET_VERSION};
    snprintf(origin.site, sizeof origin.site, "%s/%s", d->settings->tenant->name,
        d->settings->site->name);
    snprintf(origin.sensor, sizeof origin.sensor, "%s", config->name);
    for (unsigned i = 0; i < d->n_workers && config->ring_folder; i++) {
        struct pk_ring *ring;
        if (pk_ring_open(config->ring_folder, config->ring_max_bytes, i, &origin,
                &d->settings->scope_text, &ring, error) != PK_OK) {
            return daemon_fail(EX_CANTCREAT, error);
        }
        pk_worker_take_ring(d->workers[i], ring);
    }
    return EX_OK;
}

_Static_assert((int)PK_CONFIG_MAX_THREADS <= (int)PK_MARK_SOURCES,
    "each capture thread has a place in the mark");

/* Files are read again from their beginning after a crash: nothing of them is told as lost. */
static pk_err open_worker(struct daemon *d, unsigned i)
{
    bool is_live = d->settings->config.n_reads == 0;
    struct pk_worker_sink sink = {.on_sealed = pk_spool_append, .arg = d->spool};
    if (is_live) {
        sink = (struct pk_worker_sink){.on_sealed = pk_spool_source_append,
            .on_unsealed = pk_spool_source_note,
            .arg = pk_spool_source(d->spool, i)};
    }
    return pk_worker_open_core(d->workers[i], d->has_client_key ? d->client_key : NULL, &sink);
}

static void tell_bounds(const struct daemon *d)
{
    const struct pk_sensor_config *config = &d->settings->config;
    const struct pk_spool_options spool = {
        .folder = config->spool_folder, .memory_bytes = config->spool_memory_bytes};
    struct pk_bounds bounds = {.n_threads = d->n_workers,
        .spool = pk_spool_bound_bytes(&spool),
        .dnstap = pk_bounds_dnstap(config->dnstap.n_endpoints),
        .unpacking = config->n_reads ? PK_UNPACK_BOUND_BYTES : 0,
        .rings = pk_bounds_rings(
            config->interfaces, config->n_interfaces, config->ring_bytes, d->n_workers)};
    for (unsigned i = 0; i < d->n_workers; i++) {
        bounds.tables += pk_worker_stats(d->workers[i])->memory_bound_bytes;
    }
    pk_bounds_log(&bounds);
}

int daemon_open_core(struct daemon *d)
{
    int status = open_spool(d);
    status = status == EX_OK ? open_rings(d) : status;
    if (status != EX_OK) {
        return status;
    }
    d->queue = pk_spool_queue(d->spool);
    d->uplink.ends_when_empty = false;
    for (unsigned i = 0; i < d->n_workers; i++) {
        if (open_worker(d, i) != PK_OK) {
            return daemon_fail(EX_OSERR, "out of memory");
        }
    }
    tell_bounds(d);
    if (!pk_pipeline_has_suffixes(pk_worker_pipeline(d->workers[0]))) {
        pk_warn("sensor",
            "no list of public suffixes (package publicsuffix): bailiwicks are the last two labels");
    }
    return EX_OK;
}

void daemon_copy_counters(struct daemon *d)
{
    struct pk_stats *stats = pk_worker_stats(d->workers[0]);
    struct pk_queue_info info;
    d->queue.info(d->queue.self, &info);
    stats->spool_bytes = info.bytes;
    watch_spool(d);
    stats->spool_lost_rows = d->spool_status.lost_rows;
    stats->batches_sent = atomic_load(&d->uplink_counters.sent);
    stats->batches_resent = atomic_load(&d->uplink_counters.resent);
    stats->reconnects = atomic_load(&d->uplink_counters.reconnects);
    stats->batches_acked = atomic_load(&d->uplink_counters.acked);
    stats->batches_refused = atomic_load(&d->uplink_counters.refused);
    memcpy(stats->lost_rows, d->spool_status.lost_rows_by, sizeof stats->lost_rows);
    pk_stats_take_usage(stats);
}

/* A disk that takes its time must not keep anybody from emptying the rings. */
static void *sync_main(void *arg)
{
    struct daemon *d = arg;
    struct pollfd fds[] = {{.fd = d->sync_stop_fd, .events = POLLIN},
        {.fd = pk_spool_sync_fd(d->spool), .events = POLLIN}};
    while (poll(fds, 2, PK_SPOOL_SYNC_MS) < 0 || !(fds[0].revents & POLLIN)) {
        pk_spool_sync(d->spool, pk_clock_mono_ms(), false);
    }
    return NULL;
}

void daemon_stop_sync(struct daemon *d)
{
    if (d->has_sync_thread) {
        uint64_t one = 1;
        ssize_t n = write(d->sync_stop_fd, &one, sizeof one);
        (void)n;
        pthread_join(d->sync_thread, NULL);
        close(d->sync_stop_fd);
        d->has_sync_thread = false;
    }
}

bool daemon_start_sync(struct daemon *d)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    d->sync_stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    d->has_sync_thread =
        d->sync_stop_fd >= 0 && pthread_create(&d->sync_thread, NULL, sync_main, d) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return d->has_sync_thread;
}

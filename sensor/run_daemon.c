/* The sensor as a service: the capture fills the spool, a second thread ships from it. Either end may stop for hours without the other noticing. */
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sysexits.h>
#include <unistd.h>

#include "picket/clock.h"
#include "picket/hash.h"
#include "picket/log.h"
#include "picket/scope.h"

#include "batch.h"
#include "config.h"
#include "interfaces.h"
#include "live_loop.h"
#include "merge.h"
#include "pipeline.h"
#include "privileges.h"
#include "psp_queue.h"
#include "run.h"
#include "spool.h"
#include "uplink.h"

struct daemon {
    struct pk_sensor_config config;
    struct pk_scope *scope;
    const struct pk_scope_tenant *tenant;
    const struct pk_scope_site *site;
    uint8_t client_key[PK_KEY_BYTES];
    bool has_client_key;
    struct pk_stats stats;
    struct pk_spool *spool;
    struct pk_batcher *batcher;
    struct pk_merge *merge;
    struct pk_pipeline *pipeline;
    struct pk_uplink_options uplink;
    struct pk_queue queue;
    struct pk_uplink_counters uplink_counters;
    pthread_t uplink_thread;
    bool has_uplink_thread;
    int stop_fd; /* of the uplink */
};

static volatile sig_atomic_t stop_requested;
static volatile int stop_event =
    -1; /* the uplink's stop_fd once it may be stopped by a signal directly */

static void on_signal(int number)
{
    (void)number;
    stop_requested = 1;
    uint64_t one = 1;
    if (stop_event >= 0) {
        ssize_t n = write(stop_event, &one, sizeof one);
        (void)n;
    }
}

static int fail(int status, const char *text)
{
    char escaped[PK_CONF_ERROR_SIZE];
    pk_error("sensor", "%s", pk_log_escape(text, strlen(text), escaped, sizeof escaped));
    return status;
}

/* Configuration, scope and keys: everything that must be right before anything is opened. */
static int load(struct daemon *d, const char *path)
{
    char error[PK_CONF_ERROR_SIZE], key_error[PK_KEY_ERROR_SIZE];
    if (pk_sensor_config_load(path, &d->config, error) != PK_OK) {
        return fail(EX_CONFIG, error);
    }
    int level = pk_log_level_parse(d->config.log_level);
    if (level < 0) {
        return fail(EX_CONFIG, "log_level must be debug, info, warning or error");
    }
    pk_log_set_level((enum pk_log_level)level);
    if (pk_scope_load(d->config.scope, &d->scope, error) != PK_OK ||
        pk_scope_find_site(d->scope, d->config.site, &d->tenant, &d->site, error) != PK_OK) {
        return fail(EX_CONFIG, error);
    }
    if (d->config.client_key) {
        if (pk_client_key_load(d->config.client_key, d->client_key, key_error) != PK_OK) {
            return fail(EX_NOPERM, key_error);
        }
        d->has_client_key = true;
    }
    if (pk_keypair_load(d->config.key_file, &d->uplink.keys, key_error) != PK_OK) {
        return fail(EX_NOPERM, key_error);
    }
    memcpy(d->uplink.server_pubkey, d->config.server_pubkey, PK_KEY_BYTES);
    memcpy(d->uplink.endpoints, d->config.endpoints, sizeof d->uplink.endpoints);
    d->uplink.n_endpoints = d->config.n_endpoints;
    d->uplink.sensor = d->config.name;
    d->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pk_privileges_hide_memory();
    return EX_OK;
}

static int open_core(struct daemon *d)
{
    char error[PK_SPOOL_ERROR_SIZE];
    uint64_t torn_bytes;
    if (pk_spool_open(d->config.spool_folder, d->config.spool_max_bytes, pk_clock_wall_us(),
            &d->spool, &torn_bytes, error) != PK_OK) {
        return fail(EX_CANTCREAT, error);
    }
    if (torn_bytes > 0) {
        pk_warn("spool", "torn_bytes=%" PRIu64 " cut off the end of the last segment", torn_bytes);
    }
    d->queue = pk_spool_queue(d->spool);
    d->uplink.is_durable = true;
    d->uplink.ends_when_empty = false;
    struct pk_merge_options merge = {
        .tenant = d->tenant,
        .site = d->site,
        .client_key = d->has_client_key ? d->client_key : NULL,
        .vantage = d->config.vantage,
        .window_ms = d->config.window_ms,
    };
    struct pk_pipeline_options options = {.ports = d->config.ports, .wants_rrsets = true};
    if (pk_batcher_new(&d->stats, pk_spool_append, d->spool, &d->batcher) != PK_OK) {
        return fail(EX_OSERR, "out of memory");
    }
    struct pk_merge_sink sink = pk_batcher_sink(d->batcher);
    if (pk_merge_new(&merge, &d->stats, &sink, &d->merge) != PK_OK) {
        return fail(EX_OSERR, "out of memory");
    }
    options.merge = d->merge;
    return pk_pipeline_new(&options, &d->stats, &d->pipeline) == PK_OK
               ? EX_OK
               : fail(EX_OSERR, "out of memory");
}

static void *uplink_main(void *arg)
{
    struct daemon *d = arg;
    pk_err err = pk_uplink_run(&d->uplink, &d->queue, &d->uplink_counters, d->stop_fd);
    if (err != PK_OK) {
        pk_error("uplink", "ended: %s", pk_err_str(err));
    }
    return NULL;
}

/* Signals go to the thread that captures. */
static bool start_uplink(struct daemon *d)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    d->has_uplink_thread = pthread_create(&d->uplink_thread, NULL, uplink_main, d) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return d->has_uplink_thread;
}

static void copy_counters(struct daemon *d)
{
    struct pk_queue_info info;
    d->queue.info(d->queue.self, &info);
    d->stats.spool_bytes = info.bytes;
    d->stats.spool_lost_rows = pk_spool_lost_rows(d->spool);
    d->stats.batches_sent = atomic_load(&d->uplink_counters.sent);
    d->stats.batches_resent = atomic_load(&d->uplink_counters.resent);
    d->stats.reconnects = atomic_load(&d->uplink_counters.reconnects);
}

static void on_idle(struct daemon *d)
{
    copy_counters(d);
    pk_spool_sync(d->spool, pk_clock_mono_ms(), false);
}

static void on_live_packet(void *arg, int link_type, const struct pk_raw_packet *packet)
{
    const struct daemon *d = arg;
    pk_pipeline_packet(d->pipeline, link_type, packet);
}

static bool live_is_done(void *arg)
{
    (void)arg;
    return stop_requested;
}

static void on_tick(void *arg, int64_t mono_ms, bool was_idle)
{
    struct daemon *d = arg;
    (void)mono_ms;
    if (was_idle) {
        pk_pipeline_tick(d->pipeline, pk_clock_wall_us() - PK_LIVE_LAG_MS * INT64_C(1000));
    }
    on_idle(d);
}

static int open_interfaces(struct daemon *d, struct pk_interfaces **out_set)
{
    char error[PK_CAPTURE_ERROR_SIZE];
    struct pk_interfaces_options options = {
        .names = d->config.interfaces,
        .n_names = d->config.n_interfaces,
        .ports = d->config.ports,
        .ring_bytes = d->config.ring_bytes,
    };
    pk_err err = pk_interfaces_open(&options, &d->stats, on_live_packet, d, out_set, error);
    return err == PK_OK ? EX_OK : fail(err == PK_ERR_AUTH ? EX_NOPERM : EX_NOINPUT, error);
}

/* Ports of tcp:// endpoints, and 53 for name servers that are asked by TCP. */
static void endpoint_ports(const struct daemon *d, struct pk_privileges_rules *rules)
{
    rules->tcp_ports[rules->n_tcp_ports++] = 53;
    for (size_t i = 0; i < d->config.n_endpoints; i++) {
        const char *colon = strrchr(d->config.endpoints[i], ':');
        unsigned long port = colon ? strtoul(colon + 1, NULL, 10) : 0;
        if (port > 0 && port <= UINT16_MAX) {
            rules->tcp_ports[rules->n_tcp_ports++] = (uint16_t)port;
        }
    }
}

/* The key files are not among what stays readable: they have been read. */
static int confine(const struct daemon *d, const char *config_path)
{
    char error[PK_PRIVILEGES_ERROR_SIZE];
    struct pk_privileges_done done;
    struct pk_privileges_rules rules = {
        .writable = {d->config.spool_folder},
        .n_writable = 1,
        .readable = {config_path, d->config.scope},
        .n_readable = 2,
    };
    endpoint_ports(d, &rules);
    if (!d->config.has_sandbox) {
        pk_warn("privileges", "sandbox=off: no seccomp, no Landlock");
        return EX_OK;
    }
    if (!pk_privileges_confine(&rules, &done, error, sizeof error)) {
        return fail(EX_NOPERM, error);
    }
    pk_info("privileges", "uid=%u seccomp=%s landlock=%d", (unsigned)geteuid(),
        done.has_seccomp ? "on" : "off", done.landlock_abi);
    return EX_OK;
}

/* Interfaces while there is the right to open them, then the user, then the spool (so that its files are that user's), then the rest is locked. */
static int open_live(struct daemon *d, const char *config_path, struct pk_interfaces **out_set)
{
    char error[PK_PRIVILEGES_ERROR_SIZE];
    if (!pk_privileges_give_folder(d->config.user, d->config.spool_folder, error, sizeof error)) {
        return fail(EX_NOPERM, error);
    }
    int status = open_interfaces(d, out_set);
    if (status == EX_OK && !pk_privileges_become(d->config.user, error, sizeof error)) {
        status = fail(EX_NOPERM, error);
    }
    if (status == EX_OK) {
        pk_privileges_hide_memory(); /* a change of user may have undone it */
        status = open_core(d);
    }
    if (status == EX_OK) {
        status = confine(d, config_path);
    }
    if (status == EX_OK && !start_uplink(d)) {
        status = fail(EX_OSERR, "cannot start the uplink's thread");
    }
    return status;
}

static int run_live(struct daemon *d, const char *config_path)
{
    struct pk_interfaces *set = NULL;
    int status = open_live(d, config_path, &set);
    if (status == EX_OK) {
        struct pk_live_loop loop = {
            .sources = {pk_interfaces_source(set)},
            .n_sources = 1,
            .arg = d,
            .is_done = live_is_done,
            .tick = on_tick,
        };
        if (!pk_live_loop_run(&loop)) {
            status = fail(EX_TEMPFAIL, "no interface is left");
        }
    }
    pk_interfaces_close(set);
    if (d->pipeline) {
        pk_pipeline_flush(d->pipeline);
    }
    return status;
}

static int64_t shift_of(const struct daemon *d)
{
    int64_t last_us = INT64_MIN;
    char error[PK_CAPTURE_ERROR_SIZE];
    for (size_t i = 0; i < d->config.n_reads && d->config.shift_to_now; i++) {
        struct pk_capture *capture;
        struct pk_raw_packet packet;
        if (pk_capture_open_file(d->config.reads[i], &capture, error) == PK_OK) {
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
    int status = EX_OK;
    int64_t shift_us = shift_of(d);
    for (size_t i = 0; i < d->config.n_reads && !stop_requested; i++) {
        char error[PK_CAPTURE_ERROR_SIZE];
        struct pk_capture *capture;
        if (pk_capture_open_file(d->config.reads[i], &capture, error) != PK_OK) {
            status = fail(EX_NOINPUT, error);
            continue;
        }
        struct pk_raw_packet packet;
        enum pk_capture_result result = PK_CAPTURE_END;
        while (
            !stop_requested && (result = pk_capture_next(capture, &packet)) == PK_CAPTURE_PACKET) {
            packet.ts_us += shift_us;
            pk_pipeline_packet(d->pipeline, pk_capture_link_type(capture), &packet);
        }
        if (result == PK_CAPTURE_BROKEN) {
            status = fail(EX_DATAERR, pk_capture_error(capture));
        }
        pk_capture_close(capture);
    }
    pk_pipeline_flush(d->pipeline);
    on_idle(d);
    d->uplink.ends_when_empty = true; /* the thread starts after the last batch is in the spool */
    stop_event = d->stop_fd;
    if (!start_uplink(d)) {
        return fail(EX_OSERR, "cannot start the uplink's thread");
    }
    pthread_join(d->uplink_thread, NULL);
    d->has_uplink_thread = false;
    return stop_requested && status == EX_OK ? EX_TEMPFAIL : status;
}

static void stop_uplink(struct daemon *d)
{
    if (d->has_uplink_thread) {
        uint64_t one = 1;
        ssize_t n = write(d->stop_fd, &one, sizeof one);
        (void)n;
        pthread_join(d->uplink_thread, NULL);
    }
}

static void close_daemon(struct daemon *d)
{
    if (d->spool) {
        copy_counters(d);
        struct pk_bytes counters;
        pk_bytes_init(&counters, 1 << 20);
        if (pk_stats_json(&d->stats, &counters) == PK_OK) {
            fprintf(stderr, "%s\n", pk_bytes_text(&counters));
        }
        pk_bytes_done(&counters);
    }
    pk_pipeline_free(d->pipeline);
    pk_merge_free(d->merge);
    pk_batcher_free(d->batcher);
    pk_spool_close(d->spool);
    pk_scope_free(d->scope);
    if (d->config.file) {
        pk_sensor_config_done(&d->config);
    }
    pk_keypair_wipe(&d->uplink.keys);
    if (d->stop_fd > 0) {
        close(d->stop_fd);
    }
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

int pk_run_daemon(const char *config_path)
{
    static struct daemon d; /* one a process */
    catch_signals();
    int status = load(&d, config_path);
    if (status == EX_OK && d.config.n_interfaces > 0) {
        status = run_live(&d, config_path);
    } else if (status == EX_OK) {
        status = open_core(&d);
        status = status == EX_OK ? run_files(&d) : status;
    }
    stop_uplink(&d);
    close_daemon(&d);
    return status;
}

int pk_run_ship(const char *config_path, const char *const *paths, size_t n)
{
    static struct daemon d;
    catch_signals();
    int status = load(&d, config_path);
    stop_event = d.stop_fd;
    for (size_t i = 0; i < n && status == EX_OK && !stop_requested; i++) {
        char error[PK_PSP_QUEUE_ERROR_SIZE];
        struct pk_psp_queue *file;
        if (pk_psp_queue_open(paths[i], &file, error) != PK_OK) {
            status = fail(EX_DATAERR, error);
            break;
        }
        struct pk_queue queue = pk_psp_queue(file);
        struct pk_queue_info info;
        d.uplink.ends_when_empty = true;
        status = pk_uplink_run(&d.uplink, &queue, &d.uplink_counters, d.stop_fd) == PK_OK
                     ? EX_OK
                     : EX_OSERR;
        queue.info(queue.self, &info);
        bool is_whole = info.oldest_seq > info.newest_seq;
        pk_info("ship", "file=%s batches=%" PRIu64 " acknowledged=%" PRIu64, paths[i],
            info.newest_seq, info.oldest_seq - 1);
        status = status == EX_OK && !is_whole ? EX_TEMPFAIL : status;
        pk_psp_queue_close(file);
    }
    close_daemon(&d);
    return status;
}

int pk_run_check_config(const char *config_path)
{
    static struct daemon d;
    int status = load(&d, config_path);
    if (status == EX_OK) {
        printf("%s: good; sensor %s at %s/%s, %zu aggregator endpoint%s\n", config_path,
            d.config.name, d.tenant->name, d.site->name, d.config.n_endpoints,
            d.config.n_endpoints == 1 ? "" : "s");
    }
    close_daemon(&d);
    return status;
}

int pk_run_genkey(const char *path)
{
    struct pk_keypair pair;
    char error[PK_KEY_ERROR_SIZE], text[PK_KEY_TEXT_SIZE], fingerprint[PK_FINGERPRINT_SIZE];
    if (pk_keypair_generate(&pair) != PK_OK) {
        return fail(EX_OSERR, "the system gives no random numbers");
    }
    if (pk_keypair_save(path, &pair, false, error) != PK_OK) {
        pk_keypair_wipe(&pair);
        return fail(EX_CANTCREAT, error);
    }
    printf("%s\n", pk_key_text(pair.pubkey, text));
    fprintf(stderr, "fingerprint %s\n", pk_key_fingerprint(pair.pubkey, fingerprint));
    pk_keypair_wipe(&pair);
    return EX_OK;
}

/* The sensor as a service: the capture fills the spool, a second thread ships from it. Either end may stop for hours without the other noticing. */
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "picket/clock.h"
#include "picket/hash.h"
#include "picket/limits.h"
#include "picket/log.h"
#include "picket/scope.h"

#include "privileges.h"
#include "run.h"
#include "settings.h"
#include "ship/psp_queue.h"
#include "ship/reread.h"
#include "ship/ring.h"
#include "ship/spool.h"
#include "ship/uplink.h"
#include "window/batch.h"
#include "worker.h"

struct daemon {
    struct pk_settings *settings; /* wanted by all workers */
    struct pk_settings *retired;  /* while a worker may still use them; NULL else */
    uint8_t client_key[PK_KEY_BYTES];
    bool has_client_key;
    struct pk_worker *workers[PK_CONFIG_MAX_THREADS]; /* the first runs in the main thread */
    pthread_t threads[PK_CONFIG_MAX_THREADS];
    unsigned n_workers, n_threads; /* threads started beside the main one */
    struct pk_worker_hooks hooks;  /* of those */
    struct pk_spool *spool;
    struct pk_spool_status spool_status; /* as last said */
    struct pk_uplink_options uplink;
    char sensor[PK_MAX_WIRE_TEXT + 1];
    char key_file[PATH_MAX], spool_folder[PATH_MAX];
    struct pk_queue queue;
    struct pk_uplink_counters uplink_counters;
    pthread_t uplink_thread, sync_thread;
    bool has_uplink_thread, has_sync_thread;
    int sync_stop_fd;
    int stop_fd; /* of the uplink */
    const char *config_path;
    struct pk_scope_box scopes; /* that the aggregator sends */
    struct pk_pushed pushed;    /* the last of them that could be used; version 0: none came yet */
};

static volatile sig_atomic_t stop_requested, reload_requested;
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

static void on_reload(int number)
{
    (void)number;
    reload_requested = 1;
}

static int fail(int status, const char *text)
{
    char escaped[PK_CONF_ERROR_SIZE];
    pk_error("sensor", "%s", pk_log_escape(text, strlen(text), escaped, sizeof escaped));
    return status;
}

/* The uplink keeps copies, so that settings can go while it runs. */
static void set_uplink(struct daemon *d)
{
    const struct pk_sensor_config *config = &d->settings->config;
    struct pk_delivery_options *delivery = &d->uplink.delivery;
    memcpy(delivery->endpoints, config->endpoints, sizeof config->endpoints);
    delivery->n_endpoints = config->n_endpoints;
    d->uplink.learned_folder = NULL;
    if (config->spool_folder) { /* cannot change while running */
        snprintf(d->spool_folder, sizeof d->spool_folder, "%s", config->spool_folder);
        d->uplink.learned_folder = d->spool_folder;
        pk_learned_load(d->spool_folder, &delivery->learned);
    }
    delivery->sensor = d->sensor;
    delivery->vantage = (uint8_t)config->vantage;
    delivery->privacy = d->has_client_key && !config->floor.hides_inside ? PK_PRIVACY_PSEUDONYMS
                                                                         : PK_PRIVACY_NO_CLIENTS;
}

/* Says whose scope it is, and to the uplink which. */
static void announce_scope(struct daemon *d)
{
    const struct pk_settings *settings = d->settings;
    struct pk_scope_verdict in_use = {.version = settings->pushed_version};
    char escaped[PK_CONF_ERROR_SIZE];
    if (settings->pushed_error[0]) {
        pk_warn("scope", "the one that was kept cannot be used reason=\"%s\"",
            pk_log_escape(
                settings->pushed_error, strlen(settings->pushed_error), escaped, sizeof escaped));
    }
    if (settings->n_left_out > 0) {
        snprintf(in_use.reason, sizeof in_use.reason,
            "the site's privacy_floor leaves out %zu names and networks", settings->n_left_out);
        pk_warn("scope", "%s", in_use.reason);
    }
    if (settings->pushed_version) {
        pk_info("scope", "in use from=aggregator serial=%" PRIu32 " zones=%zu",
            settings->pushed_serial, settings->tenant->n_zones);
    } else if (!settings->config.scope) {
        pk_warn("scope",
            "none yet: nothing but what is built in is in scope until the aggregator sends one");
    }
    in_use.status = settings->config.spool_folder ? PK_CONFIG_KEPT : PK_CONFIG_NOT_DURABLE;
    pk_scope_box_set_in_use(&d->scopes, &in_use);
}

/* Looks for a pair that is to be the next (rotate-key). False: there is none, or none that is new. */
static bool take_next_key(struct daemon *d)
{
    char path[PATH_MAX], error[PK_KEY_ERROR_SIZE];
    struct pk_uplink_options *uplink = &d->uplink;
    struct pk_keypair next;
    const uint8_t *known =
        uplink->delivery.has_next_key ? uplink->next_keys.pubkey : uplink->keys.pubkey;
    if (!pk_keypair_next_path(uplink->key_file, path, sizeof path) || access(path, F_OK) != 0) {
        return false;
    }
    if (pk_keypair_load(path, &next, error) != PK_OK) {
        pk_warn("key", "%s; the present key stays", error);
        return false;
    }
    bool is_new = memcmp(next.pubkey, known, PK_KEY_BYTES) != 0;
    if (is_new) {
        uplink->next_keys = next;
        uplink->delivery.has_next_key = true;
        pk_info("key", "a new key waits for the aggregator file=%s", path);
    }
    pk_keypair_wipe(&next);
    return is_new;
}

/* Configuration, scope and keys: everything that must be right before anything is opened. */
static int load(struct daemon *d, const char *path)
{
    char error[PK_CONF_ERROR_SIZE], key_error[PK_KEY_ERROR_SIZE];
    d->config_path = path;
    pk_scope_box_init(&d->scopes);
    if (pk_settings_load(path, NULL, &d->settings, error) != PK_OK) {
        return fail(EX_CONFIG, error);
    }
    const struct pk_sensor_config *config = &d->settings->config;
    pk_log_set_level(d->settings->log_level);
    if (config->client_key) {
        if (pk_client_key_load(config->client_key, d->client_key, key_error) != PK_OK) {
            return fail(EX_NOPERM, key_error);
        }
        d->has_client_key = true;
    }
    if (pk_keypair_load(config->key_file, &d->uplink.keys, key_error) != PK_OK) {
        return fail(EX_NOPERM, key_error);
    }
    snprintf(d->key_file, sizeof d->key_file, "%s", config->key_file);
    d->uplink.key_file = d->key_file;
    (void)take_next_key(d);
    snprintf(d->sensor, sizeof d->sensor, "%s", config->name);
    set_uplink(d);
    announce_scope(d);
    d->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pk_privileges_hide_memory();
    return EX_OK;
}

static int new_workers(struct daemon *d, unsigned n)
{
    for (; d->n_workers < n; d->n_workers++) {
        if (pk_worker_new(d->settings, &d->workers[d->n_workers]) != PK_OK) {
            return fail(EX_OSERR, "out of memory");
        }
    }
    return EX_OK;
}

static int open_spool(struct daemon *d)
{
    char error[PK_SPOOL_ERROR_SIZE], key_error[PK_KEY_ERROR_SIZE];
    uint8_t key[PK_SPOOL_KEY_BYTES];
    struct pk_spool_found found;
    const struct pk_sensor_config *config = &d->settings->config;
    struct pk_spool_options options = {.folder = config->spool_folder,
        .max_bytes = config->spool_max_bytes,
        .max_age_ms = config->spool_max_age_ms,
        .min_free_percent = config->spool_min_free_percent,
        .memory_bytes = config->spool_memory_bytes,
        .durability = (enum pk_spool_durability)config->spool_durability};
    if (config->spool_key_file) {
        if (pk_spool_key_load(config->spool_key_file, key, key_error) != PK_OK) {
            return fail(EX_NOPERM, key_error);
        }
        options.key = key;
    }
    pk_err err = pk_spool_open(&options, &d->spool, &found, error);
    sodium_memzero(key, sizeof key);
    if (err != PK_OK) {
        return fail(err == PK_ERR_AUTH ? EX_NOPERM : EX_CANTCREAT, error);
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
            return fail(EX_CANTCREAT, error);
        }
        pk_worker_take_ring(d->workers[i], ring);
    }
    return EX_OK;
}

static int open_core(struct daemon *d)
{
    int status = open_spool(d);
    status = status == EX_OK ? open_rings(d) : status;
    if (status != EX_OK) {
        return status;
    }
    d->queue = pk_spool_queue(d->spool);
    d->uplink.ends_when_empty = false;
    for (unsigned i = 0; i < d->n_workers; i++) {
        if (pk_worker_open_core(d->workers[i], d->has_client_key ? d->client_key : NULL,
                pk_spool_append, d->spool) != PK_OK) {
            return fail(EX_OSERR, "out of memory");
        }
    }
    uint64_t bound_bytes = 0;
    for (unsigned i = 0; i < d->n_workers; i++) {
        bound_bytes += pk_worker_stats(d->workers[i])->memory_bound_bytes;
    }
    pk_info("sensor", "memory_bound_bytes=%" PRIu64 " of %u capture threads, without kernel rings",
        bound_bytes, d->n_workers);
    if (!pk_pipeline_has_suffixes(pk_worker_pipeline(d->workers[0]))) {
        pk_warn("sensor",
            "no list of public suffixes (package publicsuffix): bailiwicks are the last two labels");
    }
    return EX_OK;
}

/* What the uplink found out while it ran: the next pair is the pair now. */
static void settle_rotation(struct daemon *d)
{
    if (atomic_exchange(&d->uplink_counters.has_rotated, false)) {
        d->uplink.keys = d->uplink.next_keys;
        d->uplink.delivery.has_next_key = false;
    }
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

static void stop_uplink(struct daemon *d)
{
    uint64_t count = 1;
    if (d->has_uplink_thread) {
        ssize_t n = write(d->stop_fd, &count, sizeof count);
        pthread_join(d->uplink_thread, NULL);
        n = read(d->stop_fd, &count, sizeof count); /* it may be started again */
        (void)n;
        d->has_uplink_thread = false;
    }
}

/* Spool and uplink are one for all workers; their counters go out with the first worker's. */
static void copy_counters(struct daemon *d)
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
}

static bool live_is_done(void *arg)
{
    (void)arg;
    return stop_requested;
}

/* --- reload --- */

/* Once nobody uses the old settings; until then no further reload is begun. */
static void end_reload(struct daemon *d)
{
    for (unsigned i = 0; i < d->n_workers; i++) {
        if (pk_worker_settings(d->workers[i]) == d->retired) {
            return;
        }
    }
    char keys[PK_SETTINGS_KEYS_SIZE];
    if (pk_settings_need_restart(d->retired, d->settings, keys)) {
        pk_warn("reload", "done but for what needs a restart keys=\"%s\"", keys);
    } else {
        pk_info("reload", "done file=%s", d->config_path);
    }
    pk_settings_free(d->retired);
    d->retired = NULL;
}

static void use_settings(struct daemon *d, struct pk_settings *wanted)
{
    char path[PATH_MAX];
    bool has_new_uplink =
        !pk_settings_same_uplink(d->settings, wanted) ||
        (pk_keypair_next_path(d->key_file, path, sizeof path) && access(path, F_OK) == 0);
    if (has_new_uplink) { /* its options are ours to change once it stands still */
        stop_uplink(d);
        settle_rotation(d);
        (void)take_next_key(d);
    }
    d->retired = d->settings;
    d->settings = wanted;
    pk_log_set_level(wanted->log_level);
    for (unsigned i = 0; i < d->n_workers; i++) {
        pk_worker_want(d->workers[i], wanted);
    }
    if (has_new_uplink) {
        set_uplink(d);
        if (!start_uplink(d)) {
            pk_error("uplink", "cannot be started again; batches stay in the spool");
        }
    }
}

/* A file that is wrong changes nothing. What cannot change while running stays as it was and is named. */
static void reload(struct daemon *d)
{
    char error[PK_CONF_ERROR_SIZE], escaped[PK_CONF_ERROR_SIZE];
    struct pk_settings *wanted;
    reload_requested = 0;
    if (pk_settings_load(d->config_path, d->pushed.version ? &d->pushed : NULL, &wanted, error) !=
        PK_OK) {
        pk_error("reload", "refused, the old settings stay reason=\"%s\"",
            pk_log_escape(error, strlen(error), escaped, sizeof escaped));
        return;
    }
    if ((wanted->config.n_interfaces > 0) != (d->settings->config.n_interfaces > 0)) {
        pk_error("reload",
            "refused, the old settings stay reason=\"capture.read and capture.interfaces cannot take each other's place in a running sensor\"");
        pk_settings_free(wanted);
        return;
    }
    use_settings(d, wanted);
    announce_scope(d);
}

/* As a SIGHUP with another scope: one that cannot be used changes nothing, and the aggregator hears why. */
static void judge_scope(struct daemon *d)
{
    char error[PK_CONF_ERROR_SIZE] = "", escaped[PK_CONF_ERROR_SIZE];
    struct pk_pushed offer;
    struct pk_settings *wanted = NULL;
    if (!pk_scope_box_take(&d->scopes, &offer)) {
        return;
    }
    struct pk_scope_verdict verdict = {.version = offer.version, .status = PK_CONFIG_REFUSED};
    if (!d->settings->config.takes_scope) {
        snprintf(error, sizeof error, "this site keeps its own scope (scope_from: file)");
    } else if (pk_settings_with_scope(d->settings, d->config_path, &offer, &wanted, error) ==
               PK_OK) {
        use_settings(d, wanted);
        announce_scope(d);
        struct pk_pushed kept;
        if (pk_pushed_init(&kept, offer.body.data, offer.body.len) == PK_OK) { /* for reloads */
            pk_pushed_done(&d->pushed);
            d->pushed = kept;
        }
        verdict = pk_scope_box_in_use(&d->scopes);
    }
    if (!wanted) {
        snprintf(verdict.reason, sizeof verdict.reason, "%.*s", PK_CONFIG_REASON_SIZE - 1, error);
        pk_warn("scope", "refused serial=%" PRIu32 " reason=\"%s\"", offer.serial,
            pk_log_escape(error, strlen(error), escaped, sizeof escaped));
        pk_pushed_done(&offer); /* nothing of it is to be kept */
    }
    pk_scope_box_answer(&d->scopes, &verdict, &offer);
}

static void on_tick(void *arg, int64_t mono_ms)
{
    struct daemon *d = arg;
    (void)mono_ms;
    copy_counters(d);
    if (d->retired) {
        end_reload(d);
    } else if (reload_requested) {
        reload(d);
    } else {
        judge_scope(d);
    }
}

/* --- live --- */

static int open_captures(struct daemon *d)
{
    char error[PK_CAPTURE_ERROR_SIZE];
    const struct pk_sensor_config *config = &d->settings->config;
    if (config->dnstap.n_endpoints > 0) {
        pk_err err = pk_worker_open_dnstap(d->workers[0], error);
        if (err != PK_OK) {
            return fail(err == PK_ERR_CONFIG ? EX_CONFIG : EX_NOINPUT, error);
        }
    }
    for (unsigned i = 0; i < d->n_workers && config->n_interfaces > 0; i++) {
        pk_err err = pk_worker_open_capture(d->workers[i], error);
        if (err != PK_OK) {
            return fail(err == PK_ERR_AUTH ? EX_NOPERM : EX_NOINPUT, error);
        }
    }
    return EX_OK;
}

static void add_port(struct pk_privileges_rules *rules, const char *address)
{
    const char *colon = strrchr(address, ':');
    unsigned long port = colon ? strtoul(colon + 1, NULL, 10) : 0;
    if (port > 0 && port <= UINT16_MAX) {
        rules->tcp_ports[rules->n_tcp_ports++] = (uint16_t)port;
    }
}

/* Ports of tcp:// endpoints, configured and learned; 7353 to 7359 for those a BYE or a CONFIG names while we run; and 53 for name servers that are asked by TCP. */
static void endpoint_ports(const struct daemon *d, struct pk_privileges_rules *rules)
{
    const struct pk_delivery_options *delivery = &d->uplink.delivery;
    rules->tcp_ports[rules->n_tcp_ports++] = 53;
    for (uint16_t port = 7353; port <= 7359; port++) {
        rules->tcp_ports[rules->n_tcp_ports++] = port;
    }
    for (size_t i = 0; i < delivery->n_endpoints; i++) {
        add_port(rules, delivery->endpoints[i].address);
    }
    for (size_t i = 0; i < delivery->learned.n; i++) {
        add_port(rules, delivery->learned.endpoints[i].endpoint.address);
    }
}

/* Folders, not the files in them: an editor, or a mounted configuration, puts a new file in the place of the old. */
static int confine(const struct daemon *d)
{
    char error[PK_PRIVILEGES_ERROR_SIZE], config_path[PATH_MAX], scope_path[PATH_MAX];
    char key_path[PATH_MAX];
    const struct pk_sensor_config *config = &d->settings->config;
    struct pk_privileges_done done;
    snprintf(config_path, sizeof config_path, "%s", d->config_path);
    snprintf(scope_path, sizeof scope_path, "%s", config->scope ? config->scope : d->config_path);
    snprintf(key_path, sizeof key_path, "%s", d->key_file);
    const char *key_folder = dirname(key_path);
    struct pk_privileges_rules rules = {
        .writable = {config->spool_folder},
        .n_writable = config->spool_folder != NULL,
        .readable = {dirname(config_path), dirname(scope_path), key_folder},
        .n_readable = 3,
    };
    if (d->uplink.delivery.has_next_key) { /* to take the place of the present one */
        rules.writable[rules.n_writable++] = key_folder;
    }
    if (config->ring_folder) {
        rules.writable[rules.n_writable++] = config->ring_folder;
    }
    endpoint_ports(d, &rules);
    if (!config->has_sandbox) {
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
static int open_live(struct daemon *d)
{
    char error[PK_PRIVILEGES_ERROR_SIZE];
    const struct pk_sensor_config *config = &d->settings->config;
    if (config->spool_folder &&
        !pk_privileges_give_folder(config->user, config->spool_folder, error, sizeof error)) {
        return fail(EX_NOPERM, error);
    }
    if (config->ring_folder &&
        !pk_privileges_give_folder(config->user, config->ring_folder, error, sizeof error)) {
        return fail(EX_NOPERM, error);
    }
    int status = open_captures(d);
    if (status == EX_OK && !pk_privileges_become(config->user, error, sizeof error)) {
        status = fail(EX_NOPERM, error);
    }
    if (status == EX_OK) {
        pk_privileges_hide_memory(); /* a change of user may have undone it */
        status = open_core(d);
    }
    if (status == EX_OK) {
        status = confine(d);
    }
    if (status == EX_OK && !start_uplink(d)) {
        status = fail(EX_OSERR, "cannot start the uplink's thread");
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

static void stop_sync(struct daemon *d)
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

static bool start_sync(struct daemon *d)
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

static bool start_threads(struct daemon *d)
{
    sigset_t all, before;
    d->hooks = (struct pk_worker_hooks){.arg = d, .is_done = live_is_done};
    bool is_good = start_sync(d);
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
    const struct pk_worker_hooks hooks = {.arg = d, .is_done = live_is_done, .tick = on_tick};
    d->uplink.scopes = &d->scopes; /* here alone is somebody who can change it */
    int status = open_live(d);
    if (status == EX_OK && !start_threads(d)) {
        status = fail(EX_OSERR, "cannot start the capture's threads");
    }
    if (status == EX_OK && !pk_worker_run(d->workers[0], &hooks)) {
        status = fail(EX_TEMPFAIL, "no interface is left");
    }
    stop_requested = 1; /* for the other threads */
    for (unsigned i = 1; i <= d->n_threads; i++) {
        pthread_join(d->threads[i], NULL);
    }
    stop_sync(d);
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
    if (!start_sync(d)) {
        return fail(EX_OSERR, "cannot start the spool's thread");
    }
    for (size_t i = 0; i < config->n_reads && !stop_requested; i++) {
        char error[PK_CAPTURE_ERROR_SIZE];
        struct pk_capture *capture;
        if (pk_capture_open_file(config->reads[i], &capture, error) != PK_OK) {
            status = fail(EX_NOINPUT, error);
            continue;
        }
        struct pk_raw_packet packet;
        enum pk_capture_result result = PK_CAPTURE_END;
        while (
            !stop_requested && (result = pk_capture_next(capture, &packet)) == PK_CAPTURE_PACKET) {
            packet.ts_us += shift_us;
            pk_pipeline_packet(pipeline, pk_capture_link_type(capture), &packet);
        }
        if (result == PK_CAPTURE_BROKEN) {
            status = fail(EX_DATAERR, pk_capture_error(capture));
        }
        pk_capture_close(capture);
    }
    pk_worker_finish(d->workers[0]);
    copy_counters(d);
    d->uplink.ends_when_empty = true; /* the thread starts after the last batch is in the spool */
    stop_event = d->stop_fd;
    if (!start_uplink(d)) {
        stop_sync(d);
        return fail(EX_OSERR, "cannot start the uplink's thread");
    }
    pthread_join(d->uplink_thread, NULL);
    d->has_uplink_thread = false;
    stop_sync(d);
    return stop_requested && status == EX_OK ? EX_TEMPFAIL : status;
}

static void close_daemon(struct daemon *d)
{
    if (d->spool) {
        copy_counters(d);
        struct pk_bytes counters;
        pk_bytes_init(&counters, 1 << 20);
        struct pk_stats total = {0};
        for (unsigned i = 0; i < d->n_workers; i++) {
            pk_stats_add(&total, pk_worker_stats(d->workers[i]));
        }
        if (pk_stats_json(&total, NULL, &counters) == PK_OK) {
            fprintf(stderr, "%s\n", pk_bytes_text(&counters));
        }
        pk_bytes_done(&counters);
    }
    for (unsigned i = 0; i < d->n_workers; i++) {
        pk_worker_free(d->workers[i]);
    }
    pk_spool_close(d->spool);
    pk_settings_free(d->settings);
    pk_settings_free(d->retired);
    pk_scope_box_done(&d->scopes);
    pk_pushed_done(&d->pushed);
    pk_keypair_wipe(&d->uplink.keys);
    pk_keypair_wipe(&d->uplink.next_keys);
    if (d->stop_fd > 0) {
        close(d->stop_fd);
    }
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    action.sa_handler = on_reload; /* in the modes that read nothing again: noted and forgotten */
    action.sa_flags = SA_RESTART;
    sigaction(SIGHUP, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

int pk_run_daemon(const char *config_path)
{
    static struct daemon d; /* one a process */
    catch_signals();
    int status = load(&d, config_path);
    const struct pk_sensor_config *config = status == EX_OK ? &d.settings->config : NULL;
    bool is_live = config && config->n_reads == 0;
    if (config) {
        status = new_workers(&d, config->n_interfaces > 0 ? config->n_threads : 1);
    }
    if (status == EX_OK && is_live) {
        status = run_live(&d);
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
        settle_rotation(&d);
        queue.info(queue.self, &info);
        uint64_t refused = pk_psp_queue_refused(file);
        pk_info("ship", "file=%s batches=%" PRIu64 " accepted=%" PRIu64 " refused=%" PRIu64,
            paths[i], info.newest_seq, info.oldest_seq - 1 - refused, refused);
        status = status != EX_OK      ? status
                 : info.n_batches > 0 ? EX_TEMPFAIL
                 : refused > 0        ? EX_DATAERR
                                      : EX_OK;
        pk_psp_queue_close(file);
    }
    close_daemon(&d);
    return status;
}

int pk_run_reread(const char *config_path, int64_t since_us)
{
    char error[PK_CONF_ERROR_SIZE], key_error[PK_KEY_ERROR_SIZE], path[PK_REREAD_PATH_SIZE];
    char reread_error[PK_REREAD_ERROR_SIZE];
    uint8_t client_key[PK_KEY_BYTES];
    struct pk_settings *settings = NULL;
    uint64_t n_rows = 0;
    int status = EX_OK;
    if (pk_settings_load(config_path, NULL, &settings, error) != PK_OK) {
        return fail(EX_CONFIG, error);
    }
    const struct pk_sensor_config *config = &settings->config;
    if (!config->ring_folder) {
        status =
            fail(EX_CONFIG, "there is no ring to read again: the configuration has no ring.folder");
    } else if (config->client_key &&
               pk_client_key_load(config->client_key, client_key, key_error) != PK_OK) {
        status = fail(EX_NOPERM, key_error);
    } else if (pk_reread_make(settings,
                   config->client_key && !config->floor.hides_inside ? client_key : NULL, since_us,
                   path, &n_rows, reread_error) != PK_OK) {
        status = fail(EX_DATAERR, reread_error);
    }
    if (status == EX_OK && n_rows > 0) {
        const char *paths[] = {path};
        status = pk_run_ship(config_path, paths, 1);
        if (status == EX_OK && pk_reread_done(settings, reread_error) != PK_OK) {
            status = fail(EX_CANTCREAT, reread_error);
        }
    }
    pk_info("reread", "rows=%" PRIu64 " status=%d", n_rows, status);
    explicit_bzero(client_key, sizeof client_key);
    pk_settings_free(settings);
    return status;
}

int pk_run_check_config(const char *config_path)
{
    static struct daemon d;
    int status = load(&d, config_path);
    if (status == EX_OK) {
        printf("%s: good; sensor %s at %s/%s, %zu aggregator endpoint%s\n", config_path,
            d.settings->config.name, d.settings->tenant->name, d.settings->site->name,
            d.settings->config.n_endpoints, d.settings->config.n_endpoints == 1 ? "" : "s");
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

int pk_run_rotate_key(const char *config_path)
{
    char error[PK_CONF_ERROR_SIZE], key_error[PK_KEY_ERROR_SIZE], path[PATH_MAX];
    char text[PK_KEY_TEXT_SIZE];
    struct pk_settings *settings = NULL;
    struct pk_keypair pair = {.pubkey = {0}};
    struct stat owner;
    if (pk_settings_load(config_path, NULL, &settings, error) != PK_OK) {
        return fail(EX_CONFIG, error);
    }
    const char *key_file = settings->config.key_file;
    int status = EX_OK;
    if (stat(key_file, &owner) != 0 || !pk_keypair_next_path(key_file, path, sizeof path)) {
        status = fail(EX_NOINPUT, "there is no key to change; enroll, or genkey, makes one");
    } else if (pk_keypair_generate(&pair) != PK_OK) {
        status = fail(EX_OSERR, "the system gives no random numbers");
    } else if (pk_keypair_save(path, &pair, false, key_error) != PK_OK) {
        status = fail(EX_CANTCREAT, key_error);
    } else if (geteuid() == 0 && chown(path, owner.st_uid, owner.st_gid) != 0) {
        status = fail(EX_CANTCREAT, "the new key cannot be given to the owner of the old one");
    } else {
        printf("%s\n", pk_key_text(pair.pubkey, text));
        fprintf(stderr, "%s is made; SIGHUP or a restart of the sensor begins the change\n", path);
    }
    pk_keypair_wipe(&pair);
    pk_settings_free(settings);
    return status;
}

/* What every way to run has: signals, configuration, keys, the end. */
#include "daemon.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sysexits.h>
#include <unistd.h>

#include <sodium.h>

#include "picket/log.h"

#include "privileges.h"

volatile sig_atomic_t daemon_stop_requested, daemon_reload_requested;
volatile int daemon_stop_event =
    -1; /* the uplink's stop_fd once it may be stopped by a signal directly */

static void on_signal(int number)
{
    (void)number;
    daemon_stop_requested = 1;
    uint64_t one = 1;
    if (daemon_stop_event >= 0) {
        ssize_t n = write(daemon_stop_event, &one, sizeof one);
        (void)n;
    }
}

static void on_reload(int number)
{
    (void)number;
    daemon_reload_requested = 1;
}

void daemon_catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    action.sa_handler = on_reload; /* in the modes that read nothing again: noted and forgotten */
    action.sa_flags = SA_RESTART;
    sigaction(SIGHUP, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

int daemon_fail(int status, const char *text)
{
    char escaped[PK_CONF_ERROR_SIZE];
    pk_error("sensor", "%s", pk_log_escape(text, strlen(text), escaped, sizeof escaped));
    return status;
}

/* And with it the scope that was kept: a reload cannot read the key again once the user has changed. */
static int load_spool_key(struct daemon *d)
{
    char key_error[PK_KEY_ERROR_SIZE];
    const struct pk_sensor_config *config = &d->settings->config;
    if (config->spool_key_file) {
        pk_err err = pk_spool_key_load(config->spool_key_file, d->spool_key, key_error);
        if (err != PK_OK) {
            return daemon_fail(pk_key_status(err), key_error);
        }
        d->uplink.spool_key = d->spool_key;
    }
    if (d->settings->pushed_version) {
        d->keeps_scope_in_clear = pk_pushed_load(config->spool_folder, d->uplink.spool_key,
                                      &d->pushed) == PK_PUSHED_IN_CLEAR &&
                                  d->uplink.spool_key;
    }
    return EX_OK;
}

int daemon_load(struct daemon *d, const char *path)
{
    char error[PK_CONF_ERROR_SIZE], key_error[PK_KEY_ERROR_SIZE];
    d->config_path = path;
    pk_scope_box_init(&d->scopes);
    if (pk_settings_load(path, NULL, &d->settings, error) != PK_OK) {
        return daemon_fail(EX_CONFIG, error);
    }
    const struct pk_sensor_config *config = &d->settings->config;
    pk_log_set_level(d->settings->log_level);
    if (config->client_key) {
        pk_err err = pk_client_key_load(config->client_key, d->client_key, key_error);
        if (err != PK_OK) {
            return daemon_fail(pk_key_status(err), key_error);
        }
        d->has_client_key = true;
    }
    pk_err err = pk_keypair_load(config->key_file, &d->uplink.keys, key_error);
    if (err != PK_OK) {
        return daemon_fail(pk_key_status(err), key_error);
    }
    int status = load_spool_key(d);
    if (status != EX_OK) {
        return status;
    }
    snprintf(d->key_file, sizeof d->key_file, "%s", config->key_file);
    d->uplink.key_file = d->key_file;
    (void)daemon_take_next_key(d);
    snprintf(d->sensor, sizeof d->sensor, "%s", config->name);
    daemon_set_uplink(d);
    daemon_announce_scope(d);
    d->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return EX_OK;
}

void daemon_announce_scope(struct daemon *d)
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

int daemon_new_workers(struct daemon *d, unsigned n)
{
    for (; d->n_workers < n; d->n_workers++) {
        if (pk_worker_new(d->settings, &d->workers[d->n_workers]) != PK_OK) {
            return daemon_fail(EX_OSERR, "out of memory");
        }
    }
    return EX_OK;
}

void daemon_close(struct daemon *d)
{
    if (d->spool) {
        daemon_copy_counters(d);
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
    sodium_memzero(d->spool_key, sizeof d->spool_key);
    if (d->stop_fd > 0) {
        close(d->stop_fd);
    }
}

/* Settings that change while the sensor works: by SIGHUP, or by a scope that the aggregator sends. */
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "picket/log.h"

#include "daemon.h"

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
        daemon_stop_uplink(d);
        daemon_settle_rotation(d);
        (void)daemon_take_next_key(d);
    }
    d->retired = d->settings;
    d->settings = wanted;
    pk_log_set_level(wanted->log_level);
    for (unsigned i = 0; i < d->n_workers; i++) {
        pk_worker_want(d->workers[i], wanted);
    }
    if (has_new_uplink) {
        daemon_set_uplink(d);
        if (!daemon_start_uplink(d)) {
            pk_error("uplink", "cannot be started again; batches stay in the spool");
        }
    }
}

/* A file that is wrong changes nothing. What cannot change while running stays as it was and is named. */
static void reload(struct daemon *d)
{
    char error[PK_CONF_ERROR_SIZE], escaped[PK_CONF_ERROR_SIZE];
    struct pk_settings *wanted;
    daemon_reload_requested = 0;
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
    daemon_announce_scope(d);
}

/* In use by its text: another number is no other scope. */
static bool has_it(const struct daemon *d, const struct pk_pushed *offer)
{
    return d->pushed.version == offer->version && d->settings->pushed_version == offer->version &&
           d->pushed.text.len == offer->text.len &&
           memcmp(d->pushed.text.data, offer->text.data, offer->text.len) == 0;
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
    } else if (has_it(d, &offer)) { /* the open window goes on */
        verdict = pk_scope_box_in_use(&d->scopes);
        pk_pushed_done(&offer); /* what is on disk stays */
    } else if (pk_settings_with_scope(d->settings, d->config_path, &offer, &wanted, error) ==
               PK_OK) {
        use_settings(d, wanted);
        daemon_announce_scope(d);
        struct pk_pushed kept;
        if (pk_pushed_init(&kept, offer.body.data, offer.body.len) == PK_OK) { /* for reloads */
            pk_pushed_done(&d->pushed);
            d->pushed = kept;
        }
        verdict = pk_scope_box_in_use(&d->scopes);
    }
    if (verdict.status == PK_CONFIG_REFUSED) {
        snprintf(verdict.reason, sizeof verdict.reason, "%.*s", PK_CONFIG_REASON_SIZE - 1, error);
        pk_warn("scope", "refused serial=%" PRIu32 " reason=\"%s\"", offer.serial,
            pk_log_escape(error, strlen(error), escaped, sizeof escaped));
        pk_pushed_done(&offer); /* nothing of it is to be kept */
    }
    pk_scope_box_answer(&d->scopes, &verdict, &offer);
}

void daemon_tick(void *arg, int64_t mono_ms)
{
    struct daemon *d = arg;
    (void)mono_ms;
    daemon_copy_counters(d);
    if (d->retired) {
        end_reload(d);
    } else if (daemon_reload_requested) {
        reload(d);
    } else {
        judge_scope(d);
    }
}

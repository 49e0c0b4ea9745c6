/* Loading is all or nothing: a reload that fails leaves the old object as it was. */
#include "settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pk_err load_into(
    struct pk_settings *settings, const char *path, char out_error[PK_CONF_ERROR_SIZE])
{
    pk_err err = pk_sensor_config_load(path, &settings->config, out_error);
    if (err != PK_OK) {
        return err;
    }
    int level = pk_log_level_parse(settings->config.log_level);
    if (level < 0) {
        snprintf(out_error, PK_CONF_ERROR_SIZE,
            "%s: log_level: must be debug, info, warning or error", path);
        return PK_ERR_CONFIG;
    }
    settings->log_level = (enum pk_log_level)level;
    err = pk_scope_load(settings->config.scope, &settings->scope, out_error);
    return err == PK_OK ? pk_scope_find_site(settings->scope, settings->config.site,
                              &settings->tenant, &settings->site, out_error)
                        : err;
}

pk_err pk_settings_load(
    const char *path, struct pk_settings **out_settings, char out_error[PK_CONF_ERROR_SIZE])
{
    struct pk_settings *settings = calloc(1, sizeof *settings);
    if (!settings) {
        snprintf(out_error, PK_CONF_ERROR_SIZE, "%s: out of memory", path);
        return PK_ERR_NOMEM;
    }
    pk_err err = load_into(settings, path, out_error);
    if (err != PK_OK) {
        pk_settings_free(settings);
        return err;
    }
    *out_settings = settings;
    return PK_OK;
}

void pk_settings_free(struct pk_settings *settings)
{
    if (settings) {
        pk_scope_free(settings->scope);
        if (settings->config.file) {
            pk_sensor_config_done(&settings->config);
        }
        free(settings);
    }
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_list(const char *const *a, size_t n_a, const char *const *b, size_t n_b)
{
    bool is_same = n_a == n_b;
    for (size_t i = 0; is_same && i < n_a; i++) {
        is_same = same_text(a[i], b[i]);
    }
    return is_same;
}

static bool same_dnstap(const struct pk_dnstap_settings *a, const struct pk_dnstap_settings *b)
{
    return same_list(a->endpoints, a->n_endpoints, b->endpoints, b->n_endpoints) &&
           a->mode == b->mode && same_text(a->owner, b->owner) && a->use.whole == b->use.whole &&
           a->use.rrsets_only == b->use.rrsets_only && a->has_plain == b->has_plain &&
           a->is_plain == b->is_plain;
}

bool pk_settings_need_restart(const struct pk_settings *now, const struct pk_settings *wanted,
    char out_keys[PK_SETTINGS_KEYS_SIZE])
{
    const struct pk_sensor_config *a = &now->config, *b = &wanted->config;
    const struct {
        const char *key;
        bool is_same;
    } fixed[] = {
        {"sensor", same_text(a->name, b->name)},
        {"site", same_text(a->site, b->site)},
        {"key_file", same_text(a->key_file, b->key_file)},
        {"client_key", same_text(a->client_key, b->client_key)},
        {"capture.user", same_text(a->user, b->user)},
        {"capture.sandbox", a->has_sandbox == b->has_sandbox},
        {"capture.threads", a->n_threads == b->n_threads},
        {"capture.buffer_mb", a->ring_bytes == b->ring_bytes},
        {"capture.read", same_list(a->reads, a->n_reads, b->reads, b->n_reads)},
        {"dnstap", same_dnstap(&a->dnstap, &b->dnstap)},
        {"ring.folder", same_text(a->ring_folder, b->ring_folder)},
        {"ring.max_mb", a->ring_max_bytes == b->ring_max_bytes},
        {"spool.folder", same_text(a->spool_folder, b->spool_folder)},
        {"spool.max_mb", a->spool_max_bytes == b->spool_max_bytes},
        {"spool.memory", a->spool_is_memory == b->spool_is_memory},
        {"spool.memory_mb", a->spool_memory_bytes == b->spool_memory_bytes},
        {"spool.max_age_h", a->spool_max_age_ms == b->spool_max_age_ms},
        {"spool.min_free_percent", a->spool_min_free_percent == b->spool_min_free_percent},
        {"spool.sync", a->spool_durability == b->spool_durability},
        {"spool.key_file", same_text(a->spool_key_file, b->spool_key_file)},
    };
    size_t len = 0;
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        if (!fixed[i].is_same) {
            len += (size_t)snprintf(
                out_keys + len, PK_SETTINGS_KEYS_SIZE - len, "%s%s", len ? ", " : "", fixed[i].key);
        }
    }
    return len > 0;
}

bool pk_settings_same_uplink(const struct pk_settings *a, const struct pk_settings *b)
{
    bool is_same = a->config.n_endpoints == b->config.n_endpoints;
    for (size_t i = 0; is_same && i < a->config.n_endpoints; i++) {
        const struct pk_endpoint *x = &a->config.endpoints[i], *y = &b->config.endpoints[i];
        is_same = strcmp(x->address, y->address) == 0 &&
                  memcmp(x->server_pubkey, y->server_pubkey, PK_KEY_BYTES) == 0;
    }
    return is_same;
}

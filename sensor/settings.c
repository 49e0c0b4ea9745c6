/* Loading is all or nothing: a reload that fails leaves the old object as it was.
 *
 * The texts that were read stay with the object, so that a scope which comes later can be judged against them without going back to the disk, where they may be in the midst of being edited, or no longer
 * readable by who we are now. */
#include "settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "picket/key.h"
#include "picket/limits.h"

enum {
    DEFAULT_WINDOW_MS = 10000
};

/* A scope in the course of being chosen. */
struct candidate {
    struct pk_scope *scope;
    const struct pk_scope_tenant *tenant;
    const struct pk_scope_site *site;
};

static pk_err parse(const char *name, const uint8_t *text, size_t len, const char *site,
    struct candidate *out, char out_error[PK_CONF_ERROR_SIZE])
{
    *out = (struct candidate){.scope = NULL};
    pk_err err = pk_scope_parse(name, text ? (const char *)text : "", len, &out->scope, out_error);
    return err == PK_OK ? pk_scope_find_site(out->scope, site, &out->tenant, &out->site, out_error)
                        : err;
}

/* No file and nothing sent yet: the tenant and the site, and nothing in scope but what is built in. */
static pk_err parse_nothing(
    const char *site, struct candidate *out, char out_error[PK_CONF_ERROR_SIZE])
{
    const char *slash = strchr(site, '/');
    char text[PK_CONF_ERROR_SIZE];
    if (!slash) {
        snprintf(out_error, PK_CONF_ERROR_SIZE,
            "site: \"%s\" must be TENANT/SITE when there is no scope file", site);
        return PK_ERR_CONFIG;
    }
    int len =
        snprintf(text, sizeof text, "{\"tenants\": [{\"name\": \"%.*s\", \"sites\": [\"%s\"]}]}",
            (int)(slash - site), site, slash + 1);
    return parse("site", (const uint8_t *)text, (size_t)len < sizeof text ? (size_t)len : 0, site,
        out, out_error);
}

static void use(struct pk_settings *settings, struct candidate *candidate)
{
    settings->scope = candidate->scope;
    settings->tenant = candidate->tenant;
    settings->site = candidate->site;
    *candidate = (struct candidate){.scope = NULL};
}

static bool has_rules(const struct pk_scope_floor *floor)
{
    return floor->n_clients > 0 || floor->n_zones > 0 || floor->n_networks > 0 ||
           floor->pseudonym_days > 0;
}

/* The site's own scope, under the floor. What is in force is kept as it was read, or as the floor left it. */
static pk_err use_own(struct pk_settings *settings, struct candidate *own)
{
    const struct pk_scope_floor *floor = &settings->config.floor;
    pk_err err = PK_OK;
    if (has_rules(floor)) {
        err = pk_scope_floor_apply(
            floor, own->scope, own->tenant, own->site, own->tenant, &settings->n_left_out);
    }
    pk_bytes_init(&settings->scope_text, PK_CONF_MAX_BYTES);
    if (err == PK_OK && (has_rules(floor) || !settings->file_text.data)) {
        err = pk_scope_render(own->tenant, &settings->scope_text);
    } else if (err == PK_OK) {
        pk_bytes_put(&settings->scope_text, settings->file_text.data, settings->file_text.len);
        err = settings->scope_text.err;
    }
    if (err == PK_OK) {
        use(settings, own);
    }
    return err;
}

static pk_err use_pushed(struct pk_settings *settings, const struct pk_pushed *pushed,
    const struct candidate *own, char out_error[PK_CONF_ERROR_SIZE])
{
    struct candidate sent;
    pk_err err = parse(
        "scope", pushed->text.data, pushed->text.len, settings->config.site, &sent, out_error);
    if (err == PK_OK) {
        err = pk_scope_floor_apply(&settings->config.floor, sent.scope, sent.tenant, sent.site,
            own->tenant, &settings->n_left_out);
    }
    if (err == PK_OK) {
        pk_bytes_init(&settings->scope_text, PK_CONF_MAX_BYTES);
        err = pk_scope_render(sent.tenant, &settings->scope_text);
        if (err != PK_OK) {
            pk_bytes_done(&settings->scope_text);
        }
    }
    if (err != PK_OK) {
        if (!out_error[0]) {
            snprintf(out_error, PK_CONF_ERROR_SIZE, "scope: %s", pk_err_str(err));
        }
        pk_scope_free(sent.scope);
        return err;
    }
    use(settings, &sent);
    settings->pushed_version = pushed->version;
    settings->pushed_serial = pushed->serial;
    return PK_OK;
}

/* The scope that was sent, else the file's, else none. One that is new and cannot be used is an error; one that was kept and can no longer be used is noted. */
static pk_err choose_scope(struct pk_settings *settings, const struct pk_pushed *pushed,
    bool is_offer, char out_error[PK_CONF_ERROR_SIZE])
{
    const struct pk_sensor_config *config = &settings->config;
    struct candidate own = {.scope = NULL};
    pk_err err = config->scope ? parse(config->scope, settings->file_text.data,
                                     settings->file_text.len, config->site, &own, out_error)
                               : PK_OK;
    if (err == PK_OK && config->takes_scope && pushed && pushed->version) {
        char error[PK_CONF_ERROR_SIZE] = "";
        err = use_pushed(settings, pushed, &own, error);
        snprintf(is_offer ? out_error : settings->pushed_error, PK_CONF_ERROR_SIZE, "%s", error);
        if (err != PK_OK && !is_offer) {
            err = PK_OK;
        }
    }
    if (err == PK_OK && !settings->scope && !own.scope) {
        err = parse_nothing(config->site, &own, out_error);
    }
    if (err == PK_OK && !settings->scope) {
        err = use_own(settings, &own);
        if (err != PK_OK) {
            snprintf(out_error, PK_CONF_ERROR_SIZE, "scope: %s", pk_err_str(err));
        }
    }
    pk_scope_free(own.scope);
    return err;
}

/* A key that cannot be had is no error here: who opens the spool says so. */
static void load_kept(struct pk_settings *settings, struct pk_pushed *out_kept)
{
    char error[PK_KEY_ERROR_SIZE];
    uint8_t key[PK_KEY_BYTES];
    const char *key_file = settings->config.spool_key_file;
    bool has_key = key_file && pk_spool_key_load(key_file, key, error) == PK_OK;
    if (pk_pushed_load(settings->config.spool_folder, has_key ? key : NULL, out_kept) ==
        PK_PUSHED_OF_ANOTHER_KEY) {
        snprintf(settings->pushed_error, PK_CONF_ERROR_SIZE,
            "it is sealed, and spool.key_file is not there or another");
    }
    sodium_memzero(key, sizeof key);
}

/* From the texts in it. */
static pk_err make(struct pk_settings *settings, const char *path, const struct pk_pushed *pushed,
    bool is_offer, char out_error[PK_CONF_ERROR_SIZE])
{
    struct pk_sensor_config *config = &settings->config;
    pk_err err = pk_sensor_config_parse(path, &settings->config_text, config, out_error);
    if (err != PK_OK) {
        return err;
    }
    int level = pk_log_level_parse(config->log_level);
    if (level < 0) {
        snprintf(out_error, PK_CONF_ERROR_SIZE,
            "%s: log_level: must be debug, info, warning or error", path);
        return PK_ERR_CONFIG;
    }
    settings->log_level = (enum pk_log_level)level;
    struct pk_pushed kept = {.version = 0};
    if (!settings->file_text.data && config->scope) {
        err = pk_conf_read_file(config->scope, &settings->file_text, out_error);
    }
    if (err == PK_OK && !pushed && config->takes_scope && config->spool_folder) {
        load_kept(settings, &kept);
        pushed = &kept;
    }
    if (err == PK_OK) {
        err = choose_scope(settings, pushed, is_offer, out_error);
    }
    if (err == PK_OK && !config->window_ms) {
        uint32_t said_s = settings->tenant->window_s;
        config->window_ms = said_s ? said_s * 1000 : DEFAULT_WINDOW_MS;
    }
    pk_pushed_done(&kept);
    return err;
}

static pk_err new_settings(struct pk_settings **out, char out_error[PK_CONF_ERROR_SIZE])
{
    struct pk_settings *settings = calloc(1, sizeof *settings);
    if (!settings) {
        snprintf(out_error, PK_CONF_ERROR_SIZE, "out of memory");
        return PK_ERR_NOMEM;
    }
    pk_bytes_init(&settings->config_text, PK_CONF_MAX_BYTES);
    pk_bytes_init(&settings->file_text, PK_CONF_MAX_BYTES);
    *out = settings;
    return PK_OK;
}

static pk_err finish(pk_err err, struct pk_settings *settings, struct pk_settings **out_settings)
{
    if (err == PK_OK) {
        *out_settings = settings;
    } else {
        pk_settings_free(settings);
    }
    return err;
}

pk_err pk_settings_load(const char *path, const struct pk_pushed *pushed,
    struct pk_settings **out_settings, char out_error[PK_CONF_ERROR_SIZE])
{
    struct pk_settings *settings = NULL;
    pk_err err = new_settings(&settings, out_error);
    if (err == PK_OK) {
        err = pk_conf_read_file(path, &settings->config_text, out_error);
    }
    if (err == PK_OK) {
        err = make(settings, path, pushed, false, out_error);
    }
    return finish(err, settings, out_settings);
}

pk_err pk_settings_with_scope(const struct pk_settings *base, const char *path,
    const struct pk_pushed *offer, struct pk_settings **out_settings,
    char out_error[PK_CONF_ERROR_SIZE])
{
    struct pk_settings *settings = NULL;
    pk_err err = new_settings(&settings, out_error);
    if (err == PK_OK) {
        pk_bytes_put(&settings->config_text, base->config_text.data, base->config_text.len);
        pk_bytes_put(&settings->file_text, base->file_text.data, base->file_text.len);
        err = settings->config_text.err != PK_OK ? settings->config_text.err
                                                 : settings->file_text.err;
    }
    if (err == PK_OK) {
        out_error[0] = '\0';
        err = make(settings, path, offer, true, out_error);
    }
    if (err != PK_OK && !out_error[0]) {
        snprintf(out_error, PK_CONF_ERROR_SIZE, "%s", pk_err_str(err));
    }
    return finish(err, settings, out_settings);
}

void pk_settings_free(struct pk_settings *settings)
{
    if (settings) {
        pk_scope_free(settings->scope);
        if (settings->config.file) {
            pk_sensor_config_done(&settings->config);
        }
        pk_bytes_done(&settings->config_text);
        pk_bytes_done(&settings->file_text);
        pk_bytes_done(&settings->scope_text);
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
    bool is_same = a->config.n_endpoints == b->config.n_endpoints &&
                   a->config.takes_scope == b->config.takes_scope &&
                   a->config.floor.hides_inside == b->config.floor.hides_inside;
    for (size_t i = 0; is_same && i < a->config.n_endpoints; i++) {
        const struct pk_endpoint *x = &a->config.endpoints[i], *y = &b->config.endpoints[i];
        is_same = strcmp(x->address, y->address) == 0 &&
                  memcmp(x->server_pubkey, y->server_pubkey, PK_KEY_BYTES) == 0;
    }
    return is_same;
}

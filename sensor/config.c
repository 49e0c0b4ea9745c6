/* Reading sensor.yaml; every scalar can be overridden by the environment. */
#include "config.h"

#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ship/spool.h"
#include "window/merge.h"

static const struct {
    const char *path, *variable;
} overrides[] = {
    {"sensor", "PICKET_SENSOR"},
    {"site", "PICKET_SITE"},
    {"scope", "PICKET_SCOPE"},
    {"scope_from", "PICKET_SCOPE_FROM"},
    {"privacy_floor.inside", "PICKET_PRIVACY_FLOOR_INSIDE"},
    {"privacy_floor.clients", "PICKET_PRIVACY_FLOOR_CLIENTS"},
    {"privacy_floor.zones", "PICKET_PRIVACY_FLOOR_ZONES"},
    {"privacy_floor.networks", "PICKET_PRIVACY_FLOOR_NETWORKS"},
    {"privacy_floor.pseudonym_days", "PICKET_PRIVACY_FLOOR_PSEUDONYM_DAYS"},
    {"client_key", "PICKET_CLIENT_KEY"},
    {"key_file", "PICKET_KEY_FILE"},
    {"vantage", "PICKET_VANTAGE"},
    {"window_s", "PICKET_WINDOW_S"},
    {"window_rows", "PICKET_WINDOW_ROWS"},
    {"log_level", "PICKET_LOG_LEVEL"},
    {"capture.interface", "PICKET_CAPTURE_INTERFACE"},
    {"capture.interfaces", "PICKET_CAPTURE_INTERFACES"},
    {"capture.threads", "PICKET_CAPTURE_THREADS"},
    {"capture.sandbox", "PICKET_CAPTURE_SANDBOX"},
    {"capture.user", "PICKET_CAPTURE_USER"},
    {"capture.buffer_mb", "PICKET_CAPTURE_BUFFER_MB"},
    {"capture.read", "PICKET_CAPTURE_READ"},
    {"dnstap.unix", "PICKET_DNSTAP_UNIX"},
    {"dnstap.tcp", "PICKET_DNSTAP_TCP"},
    {"dnstap.mode", "PICKET_DNSTAP_MODE"},
    {"dnstap.owner", "PICKET_DNSTAP_OWNER"},
    {"dnstap.use", "PICKET_DNSTAP_USE"},
    {"dnstap.rrsets", "PICKET_DNSTAP_RRSETS"},
    {"dnstap.plain", "PICKET_DNSTAP_PLAIN"},
    {"ring.folder", "PICKET_RING_FOLDER"},
    {"ring.max_mb", "PICKET_RING_MAX_MB"},
    {"spool.folder", "PICKET_SPOOL_FOLDER"},
    {"spool.max_mb", "PICKET_SPOOL_MAX_MB"},
    {"spool.max_age_h", "PICKET_SPOOL_MAX_AGE_H"},
    {"spool.min_free_percent", "PICKET_SPOOL_MIN_FREE_PERCENT"},
    {"spool.memory", "PICKET_SPOOL_MEMORY"},
    {"spool.memory_mb", "PICKET_SPOOL_MEMORY_MB"},
    {"spool.sync", "PICKET_SPOOL_SYNC"},
    {"spool.key_file", "PICKET_SPOOL_KEY_FILE"},
    {"aggregator.endpoints", "PICKET_AGGREGATOR_ENDPOINTS"},
    {"aggregator.server_key", "PICKET_AGGREGATOR_SERVER_KEY"},
};

/* A list of texts; one text stands for a list of one, as an environment variable gives it. */
static size_t read_texts(
    struct pk_conf *file, const struct pk_conf_node *node, const char **out, size_t max)
{
    if (!node) {
        return 0;
    }
    if (pk_conf_is_scalar(node)) {
        pk_conf_text(file, node, &out[0]);
        return 1;
    }
    size_t n = pk_conf_list_len(node);
    if (!pk_conf_is_list(node) || n > max) {
        pk_conf_fail(file, node, "must be a list of at most %zu texts", max);
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        pk_conf_text(file, pk_conf_item(node, i), &out[i]);
    }
    return n;
}

static void read_endpoint(struct pk_conf *file, const struct pk_conf_node *node, const char *prefix,
    struct pk_sensor_config *config)
{
    struct pk_dnstap_settings *dnstap = &config->dnstap;
    char *out = config->dnstap_texts[dnstap->n_endpoints];
    size_t size = sizeof config->dnstap_texts[0];
    const char *text = NULL;
    bool is_open;
    pk_conf_text(file, node, &text);
    if (!text) {
        return;
    }
    if (snprintf(out, size, "%s%s", prefix, text) >= (int)size ||
        !pk_dnstap_endpoint_check(out, &is_open)) {
        pk_conf_fail(file, node,
            prefix[0] == 'u' ? "must be an absolute path of at most 107 bytes"
                             : "must be ADDRESS:PORT, [ADDRESS]:PORT or PORT");
        return;
    }
    dnstap->n_endpoints++;
}

static void read_dnstap(
    struct pk_conf *file, const struct pk_conf_node *root, struct pk_sensor_config *config)
{
    const struct pk_conf_node *map = pk_conf_get(file, root, "dnstap");
    struct pk_dnstap_settings *dnstap = &config->dnstap;
    if (!map) {
        return;
    }
    const struct pk_conf_node *mode = pk_conf_get(file, map, "mode"),
                              *plain = pk_conf_get(file, map, "plain");
    const char *mode_text = NULL;
    read_endpoint(file, pk_conf_get(file, map, "unix"), "unix:", config);
    read_endpoint(file, pk_conf_get(file, map, "tcp"), "tcp:", config);
    pk_conf_text(file, mode, &mode_text);
    if (mode_text && !pk_dnstap_mode_parse(mode_text, &dnstap->mode)) {
        pk_conf_fail(file, mode, "must be octal, at most 0777");
    }
    pk_conf_text(file, pk_conf_get(file, map, "owner"), &dnstap->owner);
    const struct {
        const char *key;
        uint8_t *out;
    } kinds[] = {{"use", &dnstap->use.whole}, {"rrsets", &dnstap->use.rrsets_only}};
    for (size_t i = 0; i < 2; i++) {
        const struct pk_conf_node *node = pk_conf_get(file, map, kinds[i].key);
        const char *text = NULL;
        pk_conf_text(file, node, &text);
        if (text && !pk_dnstap_kinds_parse(text, kinds[i].out)) {
            pk_conf_fail(file, node,
                "must be auth, client, update, resolver, forwarder, stub, tool, with commas between");
        }
    }
    dnstap->has_plain = plain != NULL;
    pk_conf_bool(file, plain, &dnstap->is_plain);
    pk_conf_finish_map(file, map);
    if (dnstap->n_endpoints == 0) {
        pk_conf_fail(file, map, "needs unix or tcp");
    }
}

static void read_capture(
    struct pk_conf *file, const struct pk_conf_node *root, struct pk_sensor_config *config)
{
    const struct pk_conf_node *capture = pk_conf_get(file, root, "capture");
    int64_t buffer_mb = 32, n_threads = 1, port;
    bool has_dnstap = config->dnstap.n_endpoints > 0;
    if (!capture && has_dnstap) {
        return;
    }
    pk_conf_need(file, root, capture, "capture");
    if (!capture) {
        return;
    }
    const struct pk_conf_node *read = pk_conf_get(file, capture, "read");
    const struct pk_conf_node *one = pk_conf_get(file, capture, "interface");
    const struct pk_conf_node *many = pk_conf_get(file, capture, "interfaces");
    if (one && many) {
        pk_conf_fail(file, many, "beside interface: give one of the two");
    }
    config->n_interfaces =
        read_texts(file, many ? many : one, config->interfaces, PK_STATS_MAX_INTERFACES);
    pk_conf_bool(file, pk_conf_get(file, capture, "sandbox"), &config->has_sandbox);
    config->n_reads = read_texts(file, read, config->reads, PK_CONFIG_MAX_READS);
    pk_conf_bool(file, pk_conf_get(file, capture, "shift_to_now"), &config->shift_to_now);
    pk_conf_text(file, pk_conf_get(file, capture, "user"), &config->user);
    pk_conf_int(file, pk_conf_get(file, capture, "buffer_mb"), 2, 2047, &buffer_mb);
    pk_conf_int(file, pk_conf_get(file, capture, "threads"), 1, PK_CONFIG_MAX_THREADS, &n_threads);
    config->n_threads = (unsigned)n_threads;
    const struct pk_conf_node *ports = pk_conf_get(file, capture, "ports");
    if (pk_conf_list_len(ports) > sizeof config->ports.v / sizeof *config->ports.v) {
        pk_conf_fail(file, ports, "more than 16 ports");
    }
    if (ports) {
        config->ports.n = 0;
    }
    for (size_t i = 0; i < pk_conf_list_len(ports) && !pk_conf_error(file); i++) {
        port = 53;
        pk_conf_int(file, pk_conf_item(ports, i), 1, 65535, &port);
        config->ports.v[config->ports.n++] = (uint16_t)port;
    }
    bool with_tunnels = true, with_fragments = true;
    pk_conf_bool(file, pk_conf_get(file, capture, "encrypted"), &config->ports.with_encrypted);
    pk_conf_bool(file, pk_conf_get(file, capture, "tunnels"), &with_tunnels);
    pk_conf_bool(file, pk_conf_get(file, capture, "fragments"), &with_fragments);
    config->ports.without_tunnels = !with_tunnels;
    config->ports.without_fragments = !with_fragments;
    pk_conf_finish_map(file, capture);
    if ((config->n_interfaces > 0 || has_dnstap) == (config->n_reads > 0)) {
        pk_conf_fail(file, capture,
            "needs either interface (or interfaces) or read; without read, dnstap will do too");
    }
    for (size_t i = 0; i < config->n_interfaces && !pk_conf_error(file); i++) {
        if (strlen(config->interfaces[i]) >= IF_NAMESIZE || !*config->interfaces[i]) {
            pk_conf_fail(file, many ? many : one, "an interface's name has 1 to 15 characters");
        }
    }
    config->ring_bytes = (uint64_t)buffer_mb << 20;
}

static void read_aggregator(
    struct pk_conf *file, const struct pk_conf_node *root, struct pk_sensor_config *config)
{
    const struct pk_conf_node *aggregator = pk_conf_get(file, root, "aggregator");
    pk_conf_need(file, root, aggregator, "aggregator");
    if (!aggregator) {
        return;
    }
    const struct pk_conf_node *endpoints = pk_conf_get(file, aggregator, "endpoints");
    const struct pk_conf_node *key = pk_conf_get(file, aggregator, "server_key");
    const char *text = NULL, *addresses[PK_DELIVERY_MAX_ENDPOINTS];
    uint8_t server_pubkey[PK_KEY_BYTES] = {0};
    pk_conf_need(file, aggregator, endpoints, "endpoints");
    pk_conf_need(file, aggregator, key, "server_key");
    pk_conf_text(file, key, &text);
    if (text && !pk_key_parse(text, server_pubkey)) {
        pk_conf_fail(file, key,
            "must be the aggregator's public key, 40 characters of Z85 in quotes, as it logs at its start");
    }
    config->n_endpoints = read_texts(file, endpoints, addresses, PK_DELIVERY_MAX_ENDPOINTS);
    for (size_t i = 0; i < config->n_endpoints; i++) {
        struct pk_endpoint *endpoint = &config->endpoints[i];
        if (!addresses[i] || strlen(addresses[i]) >= sizeof endpoint->address) {
            pk_conf_fail(
                file, endpoints, "an endpoint is text like tcp://host:7353, at most 127 bytes");
            continue;
        }
        memcpy(endpoint->address, addresses[i], strlen(addresses[i]) + 1);
        memcpy(endpoint->server_pubkey, server_pubkey, PK_KEY_BYTES);
    }
    pk_conf_finish_map(file, aggregator);
}

static void read_spool(
    struct pk_conf *file, const struct pk_conf_node *root, struct pk_sensor_config *config)
{
    const struct pk_conf_node *spool = pk_conf_get(file, root, "spool");
    int64_t max_mb = 1024, memory_mb = 16, max_age_h = 0, min_free = 2;
    const char *sync = "interval";
    pk_conf_need(file, root, spool, "spool");
    if (!spool) {
        return;
    }
    const struct pk_conf_node *folder = pk_conf_get(file, spool, "folder");
    pk_conf_bool(file, pk_conf_get(file, spool, "memory"), &config->spool_is_memory);
    if (!config->spool_is_memory) {
        pk_conf_need(file, spool, folder, "folder");
    }
    pk_conf_text(file, folder, &config->spool_folder);
    if (folder && config->spool_is_memory) {
        pk_conf_fail(file, folder, "is not used with memory: true; leave one of them out");
    }
    pk_conf_int(file, pk_conf_get(file, spool, "max_mb"), 1, 1 << 20, &max_mb);
    pk_conf_int(file, pk_conf_get(file, spool, "memory_mb"), 0, 4096, &memory_mb);
    pk_conf_int(file, pk_conf_get(file, spool, "max_age_h"), 0, 24 * 366, &max_age_h);
    pk_conf_int(file, pk_conf_get(file, spool, "min_free_percent"), 0, 50, &min_free);
    pk_conf_text(file, pk_conf_get(file, spool, "key_file"), &config->spool_key_file);
    const struct pk_conf_node *policy = pk_conf_get(file, spool, "sync");
    pk_conf_text(file, policy, &sync);
    if (strcmp(sync, "interval") != 0 && strcmp(sync, "always") != 0 &&
        strcmp(sync, "never") != 0) {
        pk_conf_fail(file, policy, "must be interval, always or never");
    }
    config->spool_durability = sync[0] == 'i'   ? PK_SPOOL_INTERVAL
                               : sync[0] == 'a' ? PK_SPOOL_ALWAYS
                                                : PK_SPOOL_NEVER;
    config->spool_max_bytes = (uint64_t)max_mb << 20;
    config->spool_memory_bytes = (uint64_t)memory_mb << 20;
    config->spool_max_age_ms = (uint64_t)max_age_h * 3600000;
    config->spool_min_free_percent = (unsigned)min_free;
    pk_conf_finish_map(file, spool);
}

/* Where the scope comes from, and what of it the site allows. */
static void read_scope(
    struct pk_conf *file, const struct pk_conf_node *root, struct pk_sensor_config *config)
{
    const struct pk_conf_node *from = pk_conf_get(file, root, "scope_from");
    const char *text = "aggregator";
    pk_conf_text(file, from, &text);
    if (strcmp(text, "aggregator") != 0 && strcmp(text, "file") != 0) {
        pk_conf_fail(file, from, "must be aggregator or file");
    }
    config->takes_scope = strcmp(text, "aggregator") == 0;
    if (!config->takes_scope && !config->scope) {
        pk_conf_fail(file, from, "needs scope: the file");
    }
    pk_scope_floor_read(file, pk_conf_get(file, root, "privacy_floor"), &config->floor);
}

static void read_all(struct pk_conf *file, struct pk_sensor_config *config)
{
    const struct pk_conf_node *root = pk_conf_root(file);
    const struct {
        const char *key;
        const char **out;
        bool is_needed;
    } texts[] = {
        {"sensor", &config->name, true},
        {"site", &config->site, true},
        {"scope", &config->scope, false},
        {"client_key", &config->client_key, false},
        {"key_file", &config->key_file, true},
        {"log_level", &config->log_level, false},
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const struct pk_conf_node *node = pk_conf_get(file, root, texts[i].key);
        if (texts[i].is_needed) {
            pk_conf_need(file, root, node, texts[i].key);
        }
        pk_conf_text(file, node, texts[i].out);
    }
    const struct pk_conf_node *vantage = pk_conf_get(file, root, "vantage");
    const char *where = NULL;
    pk_conf_text(file, vantage, &where);
    if (where && strcmp(where, "authoritative") != 0 && strcmp(where, "resolver") != 0) {
        pk_conf_fail(file, vantage, "must be authoritative or resolver");
    }
    config->vantage = !where            ? PK_VANTAGE_UNKNOWN
                      : where[0] == 'a' ? PK_VANTAGE_AUTHORITATIVE
                                        : PK_VANTAGE_RESOLVER;
    read_scope(file, root, config);
    int64_t window_s = 0, window_rows = PK_MERGE_WINDOW_ROWS;
    pk_conf_int(file, pk_conf_get(file, root, "window_s"), 1, 60, &window_s);
    pk_conf_int(file, pk_conf_get(file, root, "window_rows"), 1000, 10000000, &window_rows);
    read_dnstap(file, root, config);
    read_capture(file, root, config);
    const struct pk_conf_node *ring = pk_conf_get(file, root, "ring");
    int64_t ring_mb = 1024;
    if (ring) {
        const struct pk_conf_node *folder = pk_conf_get(file, ring, "folder");
        pk_conf_need(file, ring, folder, "folder");
        pk_conf_text(file, folder, &config->ring_folder);
        pk_conf_int(file, pk_conf_get(file, ring, "max_mb"), 16, 1 << 20, &ring_mb);
        pk_conf_finish_map(file, ring);
    }
    config->ring_max_bytes = (uint64_t)ring_mb << 20;
    read_spool(file, root, config);
    read_aggregator(file, root, config);
    pk_conf_finish_map(file, root);
    config->window_ms = (uint32_t)window_s * 1000;
    config->window_rows = (uint32_t)window_rows;
}

pk_err pk_sensor_config_parse(const char *path, const struct pk_bytes *text,
    struct pk_sensor_config *out_config, char out_error[PK_CONF_ERROR_SIZE])
{
    struct pk_sensor_config config = {.log_level = "info",
        .ports = {.v = {53}, .n = 1},
        .n_threads = 1,
        .has_sandbox = true,
        .dnstap = PK_DNSTAP_SETTINGS_DEFAULT};
    pk_err err = pk_conf_parse(
        path, text->data ? (const char *)text->data : "", text->len, &config.file, out_error);
    if (err != PK_OK) {
        return err;
    }
    for (size_t i = 0; i < sizeof overrides / sizeof *overrides && err == PK_OK; i++) {
        const char *value = getenv(overrides[i].variable);
        if (value) {
            err = pk_conf_override(config.file, overrides[i].path, overrides[i].variable, value);
        }
    }
    if (err == PK_OK) {
        read_all(config.file, &config);
    }
    const char *wrong = pk_conf_error(config.file);
    if (err != PK_OK || wrong) {
        snprintf(out_error, PK_CONF_ERROR_SIZE, "%s", wrong ? wrong : pk_err_str(err));
        pk_scope_floor_done(&config.floor);
        pk_conf_free(config.file);
        return err != PK_OK ? err : PK_ERR_CONFIG;
    }
    *out_config = config;
    for (size_t i = 0; i < config.dnstap.n_endpoints; i++) {
        out_config->dnstap.endpoints[i] = out_config->dnstap_texts[i];
    }
    return PK_OK;
}

void pk_sensor_config_done(struct pk_sensor_config *config)
{
    pk_scope_floor_done(&config->floor);
    pk_conf_free(config->file);
    config->file = NULL;
}

/* Reading aggregator.yaml. Every key can be overridden by the environment (PICKET_ and the key in capitals, dots as underscores), because that is how
 * containers are configured. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "picket/envelope.h"

static const struct {
    const char *path, *variable;
} overrides[] = {
    {"database", "PICKET_DATABASE"},
    {"role", "PICKET_ROLE"},
    {"listen", "PICKET_LISTEN"},
    {"announce", "PICKET_ANNOUNCE"},
    {"enrol.listen", "PICKET_ENROL_LISTEN"},
    {"enrol.announce", "PICKET_ENROL_ANNOUNCE"},
    {"key_file", "PICKET_KEY_FILE"},
    {"metrics.address", "PICKET_METRICS_ADDRESS"},
    {"metrics.port", "PICKET_METRICS_PORT"},
    {"ingest.memory_mb", "PICKET_INGEST_MEMORY_MB"},
    {"ingest.budget_mb", "PICKET_INGEST_BUDGET_MB"},
    {"detection.state_interval_s", "PICKET_DETECTION_STATE_INTERVAL_S"},
    {"log_level", "PICKET_LOG_LEVEL"},
    {"next.listen", "PICKET_NEXT_LISTEN"},
    {"next.key_file", "PICKET_NEXT_KEY_FILE"},
    {"next.announce", "PICKET_NEXT_ANNOUNCE"},
    {"name", "PICKET_NAME"},
    {"advertise", "PICKET_ADVERTISE"},
};

/* One text or a list. */
static void read_announce(
    struct pk_conf *file, const struct pk_conf_node *node, struct pk_aggregator_config *config)
{
    size_t n = pk_conf_list_len(node);
    if (!node) {
        return;
    }
    if (pk_conf_is_scalar(node)) {
        pk_conf_text(file, node, &config->announce[config->n_announce++]);
        return;
    }
    if (!pk_conf_is_list(node) || n > PK_ENROL_MAX_ENDPOINTS) {
        pk_conf_fail(file, node, "must be an endpoint or a list of at most four");
        return;
    }
    for (; config->n_announce < n; config->n_announce++) {
        pk_conf_text(
            file, pk_conf_item(node, config->n_announce), &config->announce[config->n_announce]);
    }
}

/* home: auto, or {prefer: [tenant, ...]} */
static void read_home(
    struct pk_conf *file, const struct pk_conf_node *home, struct pk_aggregator_config *config)
{
    if (!home || pk_conf_is_scalar(home)) {
        const char *word = "auto";
        pk_conf_text(file, home, &word);
        if (strcmp(word, "auto") != 0) {
            pk_conf_fail(file, home, "must be auto, or prefer: with a list of tenants");
        }
        return;
    }
    const struct pk_conf_node *list = pk_conf_get(file, home, "prefer");
    size_t len = 0;
    for (size_t i = 0; i < pk_conf_list_len(list); i++) {
        const char *tenant = NULL;
        pk_conf_text(file, pk_conf_item(list, i), &tenant);
        size_t n = tenant ? strlen(tenant) : 0;
        if (len + n + 2 > sizeof config->prefers) {
            pk_conf_fail(file, list, "too many tenants; the names may take 500 bytes together");
            return;
        }
        if (tenant) {
            memcpy(config->prefers + len, tenant, n);
            len += n;
            config->prefers[len++] = '\n';
            config->prefers[len] = '\0';
        }
    }
    pk_conf_finish_map(file, home);
}

static void read_names(struct pk_conf *file, struct pk_aggregator_config *config)
{
    const struct pk_conf_node *root = pk_conf_root(file);
    const struct pk_conf_node *name = pk_conf_get(file, root, "name");
    pk_conf_text(file, name, &config->name);
    if (config->name && (config->name[0] == '\0' || strlen(config->name) > 64)) {
        pk_conf_fail(file, name, "1 to 64 bytes");
    }
    const struct pk_conf_node *advertise = pk_conf_get(file, root, "advertise");
    pk_conf_text(file, advertise, &config->advertise);
    if (config->advertise && (strncmp(config->advertise, "tcp://", 6) != 0 ||
                                 strlen(config->advertise) >= PK_ENDPOINT_SIZE)) {
        pk_conf_fail(file, advertise, "text like tcp://host:7353, at most 127 bytes");
    }
    if (!config->advertise && config->n_announce > 0) {
        config->advertise = config->announce[0];
    }
    read_home(file, pk_conf_get(file, root, "home"), config);
}

/* A second port under a second key, which sensors are told of. */
static void read_next(struct pk_conf *file, struct pk_aggregator_config *config)
{
    const struct pk_conf_node *next = pk_conf_get(file, pk_conf_root(file), "next");
    if (!next) {
        return;
    }
    const struct pk_conf_node *listen = pk_conf_get(file, next, "listen");
    const struct pk_conf_node *key_file = pk_conf_get(file, next, "key_file");
    const struct pk_conf_node *announce = pk_conf_get(file, next, "announce");
    pk_conf_need(file, next, listen, "listen");
    pk_conf_need(file, next, key_file, "key_file");
    pk_conf_text(file, listen, &config->next_listen);
    pk_conf_text(file, key_file, &config->next_key_file);
    pk_conf_text(file, announce, &config->next_announce);
    if (config->next_announce && (strncmp(config->next_announce, "tcp://", 6) != 0 ||
                                     strlen(config->next_announce) >= PK_ENDPOINT_SIZE)) {
        pk_conf_fail(file, announce, "text like tcp://host:7355, at most 127 bytes");
    }
    pk_conf_finish_map(file, next);
}

static void read_all(struct pk_conf *file, struct pk_aggregator_config *config)
{
    const struct pk_conf_node *root = pk_conf_root(file);
    int64_t port = config->metrics_port, memory_mb = 2048, budget_mb = 256,
            interval_s = config->state_interval_s;

    const struct pk_conf_node *database = pk_conf_get(file, root, "database");
    pk_conf_need(file, root, database, "database");
    pk_conf_text(file, database, &config->database);
    pk_conf_text(file, pk_conf_get(file, root, "role"), &config->role);
    pk_conf_text(file, pk_conf_get(file, root, "listen"), &config->listen);
    read_announce(file, pk_conf_get(file, root, "announce"), config);
    const struct pk_conf_node *enrol = pk_conf_get(file, root, "enrol");
    if (enrol) {
        pk_conf_text(file, pk_conf_get(file, enrol, "listen"), &config->enrol_listen);
        pk_conf_text(file, pk_conf_get(file, enrol, "announce"), &config->enrol_announce);
        pk_conf_finish_map(file, enrol);
    }
    const struct pk_conf_node *key_file = pk_conf_get(file, root, "key_file");
    pk_conf_need(file, root, key_file, "key_file");
    pk_conf_text(file, key_file, &config->key_file);
    const struct pk_conf_node *level = pk_conf_get(file, root, "log_level");
    pk_conf_text(file, level, &config->log_level);
    if (level && strcmp(config->log_level, "debug") && strcmp(config->log_level, "info") &&
        strcmp(config->log_level, "warning") && strcmp(config->log_level, "error")) {
        pk_conf_fail(file, level, "must be debug, info, warning or error");
    }
    const struct pk_conf_node *metrics = pk_conf_get(file, root, "metrics");
    if (metrics) {
        pk_conf_text(file, pk_conf_get(file, metrics, "address"), &config->metrics_address);
        pk_conf_int(file, pk_conf_get(file, metrics, "port"), 0, 65535, &port);
        pk_conf_finish_map(file, metrics);
    }
    const struct pk_conf_node *ingest = pk_conf_get(file, root, "ingest");
    if (ingest) {
        pk_conf_int(file, pk_conf_get(file, ingest, "memory_mb"), 512, 1 << 20, &memory_mb);
        pk_conf_int(file, pk_conf_get(file, ingest, "budget_mb"), 16, 1 << 16, &budget_mb);
        pk_conf_finish_map(file, ingest);
    }
    const struct pk_conf_node *detection = pk_conf_get(file, root, "detection");
    if (detection) {
        pk_conf_int(file, pk_conf_get(file, detection, "state_interval_s"), 1, 3600, &interval_s);
        pk_conf_finish_map(file, detection);
    }
    read_names(file, config);
    read_next(file, config);
    pk_conf_finish_map(file, root);
    config->metrics_port = (uint16_t)port;
    config->ingest_memory_bytes = (uint64_t)memory_mb << 20;
    config->ingest_budget_bytes = (uint64_t)budget_mb << 20;
    config->state_interval_s = (uint32_t)interval_s;
}

pk_err pk_aggregator_config_load(
    const char *path, struct pk_aggregator_config *out_config, char out_error[PK_CONF_ERROR_SIZE])
{
    struct pk_aggregator_config config = {
        .listen = "tcp://*:7353",
        .enrol_listen = "tcp://*:7354",
        .metrics_address = "127.0.0.1",
        .metrics_port = 8354,
        .state_interval_s = 10,
        .log_level = "info",
    };
    pk_err err = path ? pk_conf_load(path, &config.file, out_error)
                      : pk_conf_parse("environment", "", 0, &config.file, out_error);
    if (err != PK_OK) {
        return err;
    }
    for (size_t i = 0; i < sizeof overrides / sizeof *overrides; i++) {
        const char *value = getenv(overrides[i].variable);
        if (value && err == PK_OK) {
            err = pk_conf_override(config.file, overrides[i].path, overrides[i].variable, value);
        }
    }
    if (err == PK_OK) {
        read_all(config.file, &config);
    }
    const char *wrong = pk_conf_error(config.file);
    if (err != PK_OK || wrong) {
        strncpy(out_error, wrong ? wrong : pk_err_str(err), PK_CONF_ERROR_SIZE - 1);
        out_error[PK_CONF_ERROR_SIZE - 1] = '\0';
        pk_conf_free(config.file);
        return err != PK_OK ? err : PK_ERR_CONFIG;
    }
    *out_config = config;
    return PK_OK;
}

void pk_aggregator_config_done(struct pk_aggregator_config *config)
{
    pk_conf_free(config->file);
    config->file = NULL;
}

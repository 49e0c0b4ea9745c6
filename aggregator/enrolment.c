/* Tokens are judged by the store in one transaction; here is what stands around that. */
#include "enrolment.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "picket/clock.h"
#include "picket/log.h"

void pk_enrolment_public_name(const char *listen, char *out, size_t size)
{
    char host[256] = "localhost";
    const char *port = strrchr(listen, ':');
    bool is_any =
        strstr(listen, "://*:") || strstr(listen, "://0.0.0.0:") || strstr(listen, "://[::]:");
    (void)gethostname(host, sizeof host - 1); /* else localhost stands */
    if (is_any && port) {
        snprintf(out, size, "tcp://%.*s%s", 100, host, port);
    } else {
        snprintf(out, size, "%s", listen);
    }
}

static size_t endpoints_of(
    const struct pk_aggregator_config *config, char out[PK_ENROL_MAX_ENDPOINTS][PK_ENDPOINT_SIZE])
{
    for (size_t i = 0; i < config->n_announce; i++) {
        snprintf(out[i], PK_ENDPOINT_SIZE, "%s", config->announce[i]);
    }
    if (config->n_announce == 0) {
        pk_enrolment_public_name(config->listen, out[0], PK_ENDPOINT_SIZE);
    }
    return config->n_announce ? config->n_announce : 1;
}

pk_err pk_enrolment_announce(struct pk_store *store, const struct pk_aggregator_config *config,
    const uint8_t pubkey[PK_KEY_BYTES])
{
    struct pk_store_aggregator aggregator = {.endpoints = ""};
    char endpoints[PK_ENROL_MAX_ENDPOINTS][PK_ENDPOINT_SIZE];
    size_t n = endpoints_of(config, endpoints), len = 0;
    memcpy(aggregator.pubkey, pubkey, PK_KEY_BYTES);
    for (size_t i = 0; i < n && len < sizeof aggregator.endpoints; i++) {
        int printed = snprintf(aggregator.endpoints + len, sizeof aggregator.endpoints - len,
            "%s%s", i ? "\n" : "", endpoints[i]);
        len += printed > 0 ? (size_t)printed : 0;
    }
    if (config->enrol_announce) {
        snprintf(aggregator.enrol_endpoint, sizeof aggregator.enrol_endpoint, "%s",
            config->enrol_announce);
    } else {
        pk_enrolment_public_name(
            config->enrol_listen, aggregator.enrol_endpoint, sizeof aggregator.enrol_endpoint);
    }
    return pk_store_announce(store, &aggregator);
}

void pk_enrolment_mind_door(
    struct pk_ingest *ingest, const struct pk_registry *registry, bool *inout_is_open)
{
    struct pk_link_door door = {.is_open = registry->rows.enrol_until_us > pk_clock_wall_us()};
    if (ingest->pid > 0 && door.is_open != *inout_is_open &&
        pk_link_send(&ingest->link, PK_LINK_DOOR, &door, sizeof door, NULL, 0) == PK_OK) {
        *inout_is_open = door.is_open;
        pk_info("enrol", "%s",
            door.is_open ? "a token is open, so is the port"
                         : "no token is open, the port is closed");
    }
}

static pk_err put_answer(const struct pk_store_enrolled *enrolled,
    const struct pk_registry *registry, const struct pk_aggregator_config *config,
    struct pk_bytes *out)
{
    struct pk_enrol_answer answer = {
        .status = enrolled->result == PK_STORE_ENROL_PENDING ? PK_ENROL_PENDING : PK_ENROL_DONE,
        .sensor_id = enrolled->sensor.v};
    struct pk_bytes scope;
    pk_bytes_init(&scope, PK_MAX_BODY_BYTES);
    snprintf(answer.name, sizeof answer.name, "%s", enrolled->name);
    snprintf(answer.place, sizeof answer.place, "%s/%s", enrolled->tenant, enrolled->site);
    answer.n_endpoints = (uint32_t)endpoints_of(config, answer.endpoints);
    pk_err err = PK_OK;
    for (size_t i = 0; registry->scope && i < registry->scope->n_tenants && err == PK_OK; i++) {
        if (strcmp(registry->scope->tenants[i].name, enrolled->tenant) == 0) {
            err = pk_scope_render(&registry->scope->tenants[i], &scope);
        }
    }
    answer.scope = (struct pk_slice){.data = scope.data, .len = (uint32_t)scope.len};
    err = err == PK_OK ? pk_enrol_answer_encode(&answer, out) : err;
    pk_bytes_done(&scope);
    return err;
}

/* The wish of somebody unknown ends up in files, logs and on screens: letters, digits, dot, dash and underscore. */
static void tame(char *name)
{
    for (; *name; name++) {
        bool is_plain = (*name >= 'a' && *name <= 'z') || (*name >= 'A' && *name <= 'Z') ||
                        (*name >= '0' && *name <= '9') || strchr("._-", *name);
        *name = is_plain ? *name : '-';
    }
}

static bool may_come(void *arg, const char *tenant, const struct pk_addr *from)
{
    const struct pk_registry *registry = arg;
    for (size_t i = 0; registry->scope && i < registry->scope->n_tenants; i++) {
        const struct pk_scope_tenant *scope = &registry->scope->tenants[i];
        if (strcmp(scope->name, tenant) == 0) {
            return scope->n_sensors_from == 0 ||
                   pk_scope_is_in(scope->sensors_from, scope->n_sensors_from, from);
        }
    }
    return true;
}

pk_err pk_enrolment_answer(struct pk_store *store, struct pk_ingest *ingest,
    const struct pk_registry *registry, const struct pk_aggregator_config *config,
    const uint8_t *data, size_t len)
{
    struct pk_link_enrol enrol;
    struct pk_link_enrolled answer = {.is_refused = true};
    struct pk_store_enrolled enrolled;
    struct pk_addr from = {0};
    struct pk_bytes body;
    if (len != sizeof enrol) {
        return PK_OK;
    }
    memcpy(&enrol, data, sizeof enrol);
    memcpy(answer.routing, enrol.routing, sizeof answer.routing);
    enrol.address[sizeof enrol.address - 1] = enrol.request.name[PK_ENROL_NAME_SIZE - 1] = '\0';
    tame(enrol.request.name);
    const char *address =
        strncmp(enrol.address, "::ffff:", 7) == 0 ? enrol.address + 7 : enrol.address;
    (void)pk_addr_parse(address, &from); /* none: only tokens for everywhere let it in */
    struct pk_store_gate gate = {
        .may_come = may_come, .arg = (struct pk_registry *)(uintptr_t)registry};
    pk_err err = pk_store_enrol(store, &enrol.request, enrol.pubkey, &from, &gate, &enrolled);
    sodium_memzero(&enrol.request.secret, sizeof enrol.request.secret);
    if (err == PK_ERR_MALFORMED) { /* two at once for one name or key: the loser asks again */
        err = PK_OK;
        enrolled.result = PK_STORE_ENROL_REFUSED;
    }
    if (err != PK_OK) {
        return err;
    }
    pk_bytes_init(&body, PK_MAX_BODY_BYTES + 4096);
    answer.is_refused = enrolled.result == PK_STORE_ENROL_REFUSED ||
                        put_answer(&enrolled, registry, config, &body) != PK_OK;
    char shown[128], name[160];
    pk_log_escape(address, strlen(address), shown, sizeof shown);
    pk_log_escape(enrol.request.name, strlen(enrol.request.name), name, sizeof name);
    if (answer.is_refused) {
        pk_warn("enrol", "refused address=%s name=\"%s\"", shown, name);
    } else {
        char fingerprint[PK_FINGERPRINT_SIZE];
        pk_info("enrol", "sensor=%s site=%s/%s address=%s key=\"%s\"%s", enrolled.name,
            enrolled.tenant, enrolled.site, shown, pk_key_fingerprint(enrol.pubkey, fingerprint),
            enrolled.result == PK_STORE_ENROL_PENDING ? " waits_for=approval" : "");
    }
    (void)pk_link_send(&ingest->link, PK_LINK_ENROLLED, &answer, sizeof answer, body.data,
        answer.is_refused ? 0 : body.len); /* lost: the same key gets the same answer for an hour */
    pk_bytes_done(&body);
    return PK_OK;
}

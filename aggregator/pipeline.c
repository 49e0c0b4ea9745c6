/* The core loop.
 *
 * Everything that may fail for a while (the database, the child) is a step that reports PK_ERR_IO and is done again after a back-off. What waits meanwhile is bounded by
 * the budget that the child gives credit from (ingest/session.h); the child is told that the database is away and closes the sensors' windows. Batches of a tenant are
 * committed in the order they came, tenants take turns (fair.h). Bodies wait as they came and are decoded for the commit only: decoded they take several times as much. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "picket/clock.h"
#include "picket/hash.h"
#include "picket/key.h"
#include "picket/limits.h"
#include "picket/log.h"

#include "pipeline_internal.h"

enum {
    MAX_QUEUE = 8192,     /* batches between socket and commit */
    TURN_BYTES = 1 << 20, /* of a tenant while others wait: one largest batch */
    MAX_FILLS = 64,       /* reads of the link in a turn */
    POLL_MS = 1000,
    RETRY_FIRST_MS = 200,
    RETRY_MAX_MS = 10000,
    START_WAIT_MS = 15000,
    PRUNE_MS = 60000,
    PRUNE_AGAIN_MS = 1000, /* while a pass finds something */
    ALARM_MS = 10000,
    REPORT_MS = 2000,
};

/* --- trouble with the store --- */

/* The child gives no credit while the store is away. */
static void tell_store(struct pk_pipeline *pipeline, bool is_away)
{
    struct pk_link_store state = {.is_away = is_away};
    if (pipeline->ingest.pid > 0) {
        (void)pk_link_send(&pipeline->ingest.link, PK_LINK_STORE, &state, sizeof state, NULL,
            0); /* a dead child is noticed elsewhere; a new one is told at its start */
    }
}

/* Jitter keeps several aggregators from coming back in step. */
void pipeline_store_failed(struct pk_pipeline *pipeline, const char *doing)
{
    int64_t now_ms = pk_clock_mono_ms();
    int64_t noise = (int64_t)(pk_hash(&now_ms, sizeof now_ms) &
                              0xff); /* under a random key: differs from process to process */
    pipeline->retry_ms = pipeline->retry_ms ? pipeline->retry_ms * 2 : RETRY_FIRST_MS;
    if (pipeline->retry_ms > RETRY_MAX_MS) {
        pipeline->retry_ms = RETRY_MAX_MS;
    }
    pipeline->calm_since_ms = now_ms;
    pipeline->retry_at_ms = now_ms + pipeline->retry_ms / 2 + pipeline->retry_ms * noise / 512;
    atomic_fetch_add(&pipeline->counters.store_failures, 1);
    atomic_store(&pipeline->counters.is_ready, false);
    tell_store(pipeline, true);
    char text[256];
    const char *why = pk_store_error(pipeline->store);
    pk_warn("store", "doing=\"%s\" failed=\"%s\" retry_ms=%" PRId64, doing,
        pk_log_escape(why, strlen(why), text, sizeof text), pipeline->retry_at_ms - now_ms);
}

static void store_worked(struct pk_pipeline *pipeline)
{
    if (pipeline->retry_ms) {
        pk_info("store", "connected again");
        tell_store(pipeline, false);
    }
    pipeline->retry_ms = 0;
    atomic_store(&pipeline->counters.is_ready, pipeline->ingest.pid > 0);
}

/* True when the store may be used now. */
bool pipeline_store_ready(struct pk_pipeline *pipeline)
{
    if (pipeline->retry_ms == 0) {
        return true;
    }
    if (pk_clock_mono_ms() < pipeline->retry_at_ms) {
        return false;
    }
    if (pk_store_reconnect(pipeline->store) != PK_OK) {
        pipeline_store_failed(pipeline, "connect");
        return false;
    }
    store_worked(pipeline);
    return true;
}

/* --- homes --- */

/* Ends a session here. A later ACK of it would cover what is not stored, so if the child cannot be told it must go. */
void pipeline_turn_away(
    void *arg, uint32_t sensor, uint64_t session, const struct pk_endpoint *elsewhere)
{
    struct pk_pipeline *pipeline = arg;
    struct pk_link_moved moved = {.sensor = sensor, .session = session, .elsewhere = *elsewhere};
    if (pipeline->ingest.pid > 0 && pk_link_send(&pipeline->ingest.link, PK_LINK_MOVED, &moved,
                                        sizeof moved, NULL, 0) != PK_OK) {
        pipeline->ingest.link.is_closed = true;
    }
}

uint64_t pipeline_generation_of(struct pk_pipeline *pipeline, const struct pk_store_sensor *sensor)
{
    return pk_homes_generation(pipeline->homes, sensor->tenant);
}

/* --- control --- */

static void put_limits(struct pk_link_key *key, const struct pk_store_sensor *sensor)
{
    key->is_pending = sensor->is_pending;
    key->n_from = (uint8_t)sensor->n_allowed_from;
    memcpy(key->from, sensor->allowed_from, sizeof key->from);
}

/* Tenants whose scope says where their sensors come from; before the keys, so that no key is ever in without them. */
static pk_err send_tenants(struct pk_pipeline *pipeline)
{
    const struct pk_store_registry *rows = &pipeline->registry.rows;
    struct pk_link_tenant *tenants = calloc(rows->n_tenants + 1, sizeof *tenants);
    size_t n = 0;
    if (!tenants) {
        return PK_ERR_NOMEM;
    }
    for (size_t i = 0; i < rows->n_tenants; i++) {
        const struct pk_scope_tenant *scope =
            pk_registry_scope(&pipeline->registry, rows->tenants[i].tenant);
        if (scope && scope->n_sensors_from > 0) {
            tenants[n].tenant = rows->tenants[i].tenant.v;
            tenants[n].n_from = (uint8_t)scope->n_sensors_from;
            memcpy(tenants[n++].from, scope->sensors_from,
                scope->n_sensors_from * sizeof tenants->from[0]);
        }
    }
    pk_err err = pk_link_send(
        &pipeline->ingest.link, PK_LINK_TENANTS, tenants, n * sizeof *tenants, NULL, 0);
    free(tenants);
    return err;
}

static pk_err send_keys(struct pk_pipeline *pipeline)
{
    pk_err sent = send_tenants(pipeline);
    if (sent != PK_OK) {
        return sent;
    }
    const struct pk_store_registry *rows = &pipeline->registry.rows;
    struct pk_link_key *keys = calloc(rows->n_sensors + 1, sizeof *keys);
    if (!keys) {
        return PK_ERR_NOMEM;
    }
    size_t n = 0;
    for (size_t i = 0; i < rows->n_sensors; i++) {
        if (rows->sensors[i].is_active) {
            put_limits(&keys[n], &rows->sensors[i]);
            keys[n].sensor = rows->sensors[i].sensor.v;
            keys[n].tenant = rows->sensors[i].tenant.v;
            memcpy(keys[n++].pubkey, rows->sensors[i].pubkey, PK_KEY_BYTES);
        }
    }
    pk_err err =
        pk_link_send(&pipeline->ingest.link, PK_LINK_KEYS, keys, n * sizeof *keys, NULL, 0);
    free(keys);
    return err;
}

/* Reads registry and scope from the store and hands them to those who use them. The old registry stays when anything fails. */
pk_err pipeline_reload(struct pk_pipeline *pipeline)
{
    struct pk_store_registry rows = {0};
    pk_err err = pk_store_load_registry(pipeline->store, &rows);
    if (err != PK_OK) {
        return err;
    }
    struct pk_registry fresh;
    char error[PK_CONF_ERROR_SIZE];
    uint64_t version = rows.control_version;
    err = pk_registry_init(&fresh, &rows, error);
    if (err != PK_OK) {
        pk_error("registry", "control_version=%" PRIu64 " keeping the old one: %s", version, error);
        pk_registry_done(&fresh);
        pipeline->registry.rows.control_version =
            version; /* do not try this version again each second */
        return PK_OK;
    }
    err = pk_tenancy_set_registry(&pipeline->tenancy, &fresh);
    if (err != PK_OK) {
        /* Engines may borrow from either scope now: give them back the old one, so that the fresh one can go. */
        (void)pk_tenancy_set_registry(&pipeline->tenancy, &pipeline->registry);
        pk_registry_done(&fresh);
        return err;
    }
    pk_registry_done(&pipeline->registry);
    pipeline->registry = fresh;
    pipeline_scope_reloaded(pipeline);
    pipeline->homes_changed = true;
    pk_homes_poke(pipeline->homes); /* new tenants need a home */
    pk_info("registry", "control_version=%" PRIu64 " tenants=%zu sites=%zu sensors=%zu", version,
        fresh.rows.n_tenants, fresh.rows.n_sites, fresh.rows.n_sensors);
    return pipeline->ingest.pid > 0 ? send_keys(pipeline) : PK_OK;
}

static void poll_control(struct pk_pipeline *pipeline, int64_t now_ms)
{
    if (now_ms < pipeline->next_control_ms || !pipeline_store_ready(pipeline)) {
        return;
    }
    pipeline->next_control_ms = now_ms + POLL_MS;
    uint64_t version = 0;
    pk_err err = pk_store_control_version(pipeline->store, &version);
    if (err == PK_OK && version != pipeline->registry.rows.control_version) {
        err = pipeline_reload(pipeline);
    }
    if (err != PK_OK) {
        pipeline_store_failed(pipeline, "read control tables");
    }
    pk_enrolment_mind_door(&pipeline->ingest, &pipeline->registry, &pipeline->is_door_open);
}

static void save_state(struct pk_pipeline *pipeline, int64_t now_ms)
{
    if (now_ms < pipeline->next_state_ms || !pipeline_store_ready(pipeline)) {
        return;
    }
    pipeline->next_state_ms = now_ms + (int64_t)pipeline->config->state_interval_s * 1000;
    if (pk_detection_save(pipeline->detection, pipeline->store, true) != PK_OK) {
        pipeline_store_failed(pipeline, "save detection state");
    } else if (pk_detection_walk_history(
                   pipeline->detection, &pipeline->registry, pipeline->store) != PK_OK) {
        pipeline_store_failed(pipeline, "read history");
    }
    struct pk_detection_totals totals;
    pk_detection_totals(pipeline->detection, &totals);
    atomic_store(&pipeline->counters.engine_rows, totals.rows);
    atomic_store(&pipeline->counters.trials, totals.trials);
    atomic_store(&pipeline->counters.findings, totals.findings);
    atomic_store(&pipeline->counters.retired_names, totals.retired_names);
    atomic_store(&pipeline->counters.early_rows, totals.early_rows);
    atomic_store(&pipeline->counters.retired_refused, totals.retired_refused);
}

static void write_reports(struct pk_pipeline *pipeline, int64_t now_ms)
{
    if (now_ms >= pipeline->next_report_ms && pipeline_store_ready(pipeline)) {
        pipeline->next_report_ms = now_ms + REPORT_MS;
        if (pk_tenancy_write_reports(&pipeline->tenancy) != PK_OK) {
            pipeline_store_failed(pipeline, "write reports of sensors");
        }
    }
}

static void check_alarms(struct pk_pipeline *pipeline, int64_t now_ms)
{
    if (now_ms >= pipeline->next_alarm_ms && pipeline_store_ready(pipeline)) {
        pipeline->next_alarm_ms = now_ms + ALARM_MS;
        if (pk_tenancy_check_alarms(&pipeline->tenancy) != PK_OK) {
            pipeline_store_failed(pipeline, "check alarms");
        } else {
            pipeline_expire_stale(pipeline, now_ms);
        }
    }
}

static void prune(struct pk_pipeline *pipeline, int64_t now_ms)
{
    bool has_more = false;
    uint64_t homes = atomic_load(&pipeline->counters.homes);
    bool is_due = now_ms >= pipeline->next_prune_ms || homes != pipeline->pruned_homes;
    if (is_due && pipeline_store_ready(pipeline)) {
        pipeline->pruned_homes = homes;
        if (pk_tenancy_prune(&pipeline->tenancy, &has_more) != PK_OK) {
            pipeline_store_failed(pipeline, "give up what is old");
        }
        pipeline->next_prune_ms = now_ms + (has_more ? PRUNE_AGAIN_MS : PRUNE_MS);
    }
}

/* --- from the child --- */

static void on_stats(struct pk_pipeline *pipeline, const uint8_t *data, size_t len)
{
    struct pk_link_stats stats;
    if (len == sizeof stats) {
        memcpy(&stats, data, sizeof stats);
        atomic_store(&pipeline->counters.sessions, stats.sessions);
        atomic_store(&pipeline->counters.ingest_bytes, stats.batch_bytes);
        atomic_store(&pipeline->counters.refused_keys, stats.refused_keys);
        atomic_store(&pipeline->counters.refused_frames, stats.refused_frames);
        atomic_store(&pipeline->counters.refused_batches, stats.refused_batches);
        atomic_store(&pipeline->counters.refused_credit, stats.refused_credit);
        atomic_store(&pipeline->counters.configured, stats.configured);
        atomic_store(&pipeline->counters.scoped, stats.scoped);
        atomic_store(&pipeline->counters.offences, stats.offences);
        atomic_store(&pipeline->counters.struck, stats.struck);
        atomic_store(&pipeline->counters.overgrown, stats.overgrown);
        atomic_store(&pipeline->counters.overloaded, stats.overloaded);
        atomic_store(&pipeline->counters.parked_sessions, stats.parked_sessions);
        atomic_store(&pipeline->counters.outstanding_bytes, stats.outstanding_bytes);
        atomic_store(&pipeline->counters.is_paused, stats.is_paused);
    }
}

static void on_enrol(struct pk_pipeline *pipeline, const uint8_t *data, size_t len)
{
    if (!pipeline_store_ready(pipeline)) {
        return; /* the sensor asks again */
    }
    if (pk_enrolment_answer(pipeline->store, &pipeline->ingest, &pipeline->registry,
            pipeline->config, data, len) != PK_OK) {
        pipeline_store_failed(pipeline, "enrol a sensor");
    }
}

static void on_offence(struct pk_pipeline *pipeline, const uint8_t *data, size_t len)
{
    struct pk_link_offence offence;
    if (len != sizeof offence) {
        return;
    }
    memcpy(&offence, data, sizeof offence);
    offence.address[sizeof offence.address - 1] = '\0';
    const struct pk_store_sensor *sensor = pk_registry_sensor(&pipeline->registry, offence.sensor);
    char address[128];
    pk_warn("ingest", "offence sensor=%s address=%s what=\"%s\" strikes=%u%s",
        sensor ? sensor->name : "-",
        pk_log_escape(offence.address, strlen(offence.address), address, sizeof address),
        pk_offence_str(offence.kind), offence.strikes,
        offence.is_out ? " refused_for=\"10 minutes\"" : "");
    if (sensor) {
        pipeline_note_offence(pipeline, sensor, &offence);
    }
}

/* Of sensors whose tenant's home this is; others are none of ours. */
static void on_reports(struct pk_pipeline *pipeline, const uint8_t *data, size_t len)
{
    struct pk_link_report report;
    int64_t now_us = pk_clock_wall_us();
    for (size_t at = 0; at + sizeof report <= len; at += sizeof report) {
        memcpy(&report, data + at, sizeof report);
        const struct pk_store_sensor *sensor =
            pk_registry_sensor(&pipeline->registry, report.sensor);
        if (sensor && pipeline_generation_of(pipeline, sensor) != 0) {
            pk_reports_heartbeat(&pipeline->reports, sensor->tenant, &report, now_us);
        }
    }
}

static void on_clone(struct pk_pipeline *pipeline, const uint8_t *data, size_t len)
{
    struct pk_link_clone clone;
    if (len != sizeof clone) {
        return;
    }
    memcpy(&clone, data, sizeof clone);
    clone.address[sizeof clone.address - 1] = clone.other[sizeof clone.other - 1] = '\0';
    const struct pk_store_sensor *sensor = pk_registry_sensor(&pipeline->registry, clone.sensor);
    if (sensor && pipeline_generation_of(pipeline, sensor) != 0) {
        pk_reports_clone(&pipeline->reports, sensor->tenant, &clone, pk_clock_wall_us());
    }
}

static void on_child(
    struct pk_pipeline *pipeline, enum pk_link_type type, const uint8_t *data, size_t len)
{
    char text[PK_LINK_ENDPOINT_SIZE];
    if (type == PK_LINK_HELLO) {
        pipeline_on_hello(pipeline, data, len);
    } else if (type == PK_LINK_BATCH || type == PK_LINK_REFUSED) {
        pipeline_on_batch(pipeline, data, len, type == PK_LINK_REFUSED);
    } else if (type == PK_LINK_STATS) {
        on_stats(pipeline, data, len);
    } else if (type == PK_LINK_ENROL) {
        on_enrol(pipeline, data, len);
    } else if (type == PK_LINK_OFFENCE) {
        on_offence(pipeline, data, len);
    } else if (type == PK_LINK_REPORTS) {
        on_reports(pipeline, data, len);
    } else if (type == PK_LINK_CLONE) {
        on_clone(pipeline, data, len);
    } else if (type == PK_LINK_ROTATE) {
        pipeline_on_rotate(pipeline, data, len);
    } else if (type == PK_LINK_SCOPE_ASK) {
        pipeline_on_scope_ask(pipeline, data, len);
    } else if (type == PK_LINK_SCOPE_ACK) {
        pipeline_on_scope_ack(pipeline, data, len);
    } else if (type == PK_LINK_READY) {
        pk_info("ingest", "listening endpoint=%s",
            pk_log_escape((const char *)data, strnlen((const char *)data, len), text, sizeof text));
        atomic_store(&pipeline->counters.is_ready, pipeline->retry_ms == 0);
    } else if (type == PK_LINK_FAILED) {
        pk_error("ingest", "cannot listen: %s",
            pk_log_escape((const char *)data, len, text, sizeof text));
    }
}

static bool queue_has_room(const struct pk_pipeline *pipeline)
{
    /* The child keeps within the budget; that it does is not taken on trust. */
    return pipeline->queue.n < MAX_QUEUE &&
           pipeline->queue.bytes <= pipeline->config->ingest_budget_bytes;
}

/* Deals with whole messages that were read already, as far as the queue has room. */
static void take_messages(struct pk_pipeline *pipeline)
{
    enum pk_link_type type;
    const uint8_t *data;
    size_t len;
    while (queue_has_room(pipeline) && pk_link_next(&pipeline->ingest.link, &type, &data, &len)) {
        on_child(pipeline, type, data, len);
    }
}

static void read_link(struct pk_pipeline *pipeline)
{
    struct pk_link *link = &pipeline->ingest.link;
    size_t before;
    bool has_more;
    int n = 0;
    /* All there is, before anything is committed: what waits in the socket waits in the order it came, and only in the queue do tenants take turns. */
    do {
        before = link->in.len - link->in_pos;
        (void)pk_link_fill(link); /* an end shows as is_closed; what came before it still counts */
        has_more = link->in.len - link->in_pos > before;
        take_messages(pipeline);
    } while (has_more && !link->is_closed && queue_has_room(pipeline) && ++n < MAX_FILLS);
}

/* --- the child's life --- */

static pk_err start_child(struct pk_pipeline *pipeline)
{
    pk_err err =
        pk_ingest_start(&pipeline->setup, pipeline->config->ingest_memory_bytes, &pipeline->ingest);
    pipeline->is_door_open = false;
    if (err == PK_OK && pipeline->retry_ms > 0) {
        tell_store(pipeline, true);
    }
    return err == PK_OK ? send_keys(pipeline) : err;
}

/* A child that died is started again; its sessions come back by themselves. What it had handed over is in the queue and is committed. */
static void mind_child(struct pk_pipeline *pipeline, int64_t now_ms)
{
    if (pipeline->ingest.pid > 0 && pipeline->ingest.link.is_closed) {
        pk_error("ingest", "the ingest child is gone, starting another");
        atomic_store(&pipeline->counters.is_ready, false);
        pk_ingest_stop(&pipeline->ingest);
        atomic_fetch_add(&pipeline->counters.child_restarts, 1);
        pipeline->next_child_ms = now_ms + POLL_MS;
    }
    if (pipeline->ingest.pid == 0 && now_ms >= pipeline->next_child_ms) {
        pipeline->next_child_ms = now_ms + POLL_MS;
        if (start_child(pipeline) != PK_OK) {
            pk_error("ingest", "cannot start the ingest child");
        }
    }
}

/* Waits until the child says READY or FAILED; at start a port that is taken must be an error, not a log line. */
static pk_err await_listening(struct pk_pipeline *pipeline)
{
    int64_t deadline_ms = pk_clock_mono_ms() + START_WAIT_MS;
    while (!atomic_load(&pipeline->counters.is_ready)) {
        int64_t left_ms = deadline_ms - pk_clock_mono_ms();
        struct pollfd item = {.fd = pipeline->ingest.link.fd, .events = POLLIN};
        if (left_ms <= 0 || pipeline->ingest.link.is_closed) {
            return PK_ERR_IO;
        }
        if (poll(&item, 1, (int)left_ms) > 0) {
            read_link(pipeline);
        }
    }
    return PK_OK;
}

/* --- life --- */

static pk_err load_key(const char *path, const char *what, struct pk_keypair *out_pair)
{
    char error[PK_KEY_ERROR_SIZE];
    pk_err err = pk_keypair_load(path, out_pair, error);
    if (err != PK_OK) {
        pk_error("key", "%s", error);
        return err;
    }
    char text[PK_KEY_TEXT_SIZE], fingerprint[PK_FINGERPRINT_SIZE];
    pk_info("key", "%s=\"%s\" fingerprint=\"%s\"", what, pk_key_text(out_pair->pubkey, text),
        pk_key_fingerprint(out_pair->pubkey, fingerprint));
    return PK_OK;
}

/* The keys, and what sensors are told of the next one. */
static pk_err load_keys(const struct pk_aggregator_config *config, struct pk_link_setup *setup)
{
    pk_err err = load_key(config->key_file, "server_pubkey", &setup->server);
    if (err != PK_OK || !config->next_listen) {
        return err;
    }
    struct pk_endpoint *next = &setup->config.endpoints[0].endpoint;
    err = load_key(config->next_key_file, "next_server_pubkey", &setup->next);
    snprintf(setup->next_endpoint, sizeof setup->next_endpoint, "%s", config->next_listen);
    pk_enrolment_public_name(config->next_announce ? config->next_announce : config->next_listen,
        next->address, sizeof next->address);
    memcpy(next->server_pubkey, setup->next.pubkey, PK_KEY_BYTES);
    setup->config.n = 1;
    return err;
}

/* The core's connection and the keeper's, and the homes that are ours. */
static pk_err open_store(struct pk_pipeline *pipeline)
{
    const struct pk_aggregator_config *config = pipeline->config;
    struct pk_homes_options homes = {.conninfo = config->database,
        .role = config->role,
        .self = pk_homes_self(config, pipeline->setup.server.pubkey)};
    pk_homes_name_instance(&homes.self, pipeline->application);
    struct pk_store_options options = {.conninfo = config->database,
        .role = config->role,
        .application = pipeline->application,
        .is_application_fixed = true};
    pk_err err = pk_store_open(&options, &pipeline->store);
    if (err == PK_OK) {
        err = pk_homes_open(&homes, &pipeline->homes);
    }
    pipeline->tenancy = (struct pk_tenancy){.homes = pipeline->homes,
        .detection = pipeline->detection,
        .store = pipeline->store,
        .registry = &pipeline->registry,
        .counters = &pipeline->counters,
        .reports = &pipeline->reports,
        .end_session = pipeline_turn_away,
        .arg = pipeline};
    return err;
}

pk_err pk_pipeline_open(
    const struct pk_aggregator_config *config, struct pk_pipeline **out_pipeline)
{
    struct pk_pipeline *pipeline = calloc(1, sizeof *pipeline);
    if (!pipeline) {
        return PK_ERR_NOMEM;
    }
    pipeline->config = config;
    pipeline->setup =
        (struct pk_link_setup){.outstanding_budget_bytes = config->ingest_budget_bytes,
            .outstanding_budget_batches = MAX_QUEUE,
            .io_threads = 1};
    snprintf(pipeline->setup.enrol_endpoint, sizeof pipeline->setup.enrol_endpoint, "%s",
        config->enrol_listen);
    strncpy(pipeline->setup.endpoint, config->listen, sizeof pipeline->setup.endpoint - 1);
    const char *doing = NULL;
    pk_err err = load_keys(config, &pipeline->setup);
    if (err != PK_OK) {
        goto fail;
    }
    err = pk_fair_init(&pipeline->queue, PK_MAX_TENANTS, TURN_BYTES);
    if (err == PK_OK) {
        err = pk_detection_new(&pipeline->detection);
    }
    if (err == PK_OK) {
        err = pk_reports_init(&pipeline->reports);
    }
    if (err != PK_OK) {
        goto fail;
    }
    doing = "connect to the database";
    err = open_store(pipeline);
    if (err != PK_OK) {
        goto fail;
    }
    doing = "announce this aggregator";
    err = pk_enrolment_announce(pipeline->store, config, pipeline->setup.server.pubkey);
    if (err != PK_OK) {
        goto fail;
    }
    doing = "load the registry";
    err = pipeline_reload(pipeline);
    if (err == PK_OK) {
        err = pk_tenancy_sync(&pipeline->tenancy);
    }
    if (err != PK_OK) {
        goto fail;
    }
    doing = NULL;
    err = start_child(pipeline);
    if (err == PK_OK) {
        err = await_listening(pipeline);
    }
    if (err == PK_OK) {
        *out_pipeline = pipeline;
        return PK_OK;
    }
fail:
    if (doing) {
        char text[512];
        const char *why = pipeline->store ? pk_store_error(pipeline->store) : pk_err_str(err);
        pk_error(
            "store", "cannot %s: %s", doing, pk_log_escape(why, strlen(why), text, sizeof text));
    }
    pk_pipeline_close(pipeline);
    return err;
}

pk_err pk_pipeline_run(struct pk_pipeline *pipeline, int stop_fd)
{
    for (;;) {
        bool reads = pipeline->ingest.pid > 0 && queue_has_room(pipeline);
        short link_events =
            (short)((reads ? POLLIN : 0) |
                    (pipeline->ingest.pid > 0 && pk_link_wants_write(&pipeline->ingest.link)
                            ? POLLOUT
                            : 0));
        struct pollfd items[] = {
            {.fd = stop_fd, .events = POLLIN},
            {.fd = pipeline->ingest.pid > 0 ? pipeline->ingest.link.fd : -1, .events = link_events},
            {.fd = pk_store_socket(pipeline->store), .events = pipeline->retry_ms ? 0 : POLLIN},
            {.fd = pk_homes_fd(pipeline->homes), .events = POLLIN},
        };
        int64_t now_ms = pk_clock_mono_ms();
        int64_t wait_ms = pipeline->retry_ms      ? pipeline->retry_at_ms - now_ms
                          : pipeline->queue.n > 0 ? 0
                                                  : POLL_MS;
        if (poll(items, 4,
                wait_ms < 0         ? 0
                : wait_ms > POLL_MS ? POLL_MS
                                    : (int)wait_ms) < 0 &&
            errno != EINTR) {
            return PK_ERR_IO;
        }
        if (items[0].revents) {
            return PK_OK;
        }
        if (items[1].revents & POLLOUT) {
            (void)pk_link_flush(&pipeline->ingest.link);
        }
        if (items[1].revents & (POLLIN | POLLHUP | POLLERR)) {
            read_link(pipeline);
        }
        if (items[2].revents) {
            pipeline->next_control_ms =
                0; /* a notification, or the connection broke: poll_control finds out */
        }
        if (items[3].revents) {
            pk_homes_clear_fd(pipeline->homes);
            pipeline->homes_changed = true;
        }
        now_ms = pk_clock_mono_ms();
        mind_child(pipeline, now_ms);
        poll_control(pipeline, now_ms);
        pipeline_mind_homes(pipeline);
        (void)pipeline_commit_turn(pipeline);
        if (pipeline->ingest.pid > 0) {
            take_messages(pipeline); /* that were left behind a full queue */
        }
        pipeline_write_notes(pipeline, now_ms);
        save_state(pipeline, now_ms);
        write_reports(pipeline, now_ms);
        check_alarms(pipeline, now_ms);
        prune(pipeline, now_ms);
    }
}

void pk_pipeline_close(struct pk_pipeline *pipeline)
{
    if (!pipeline) {
        return;
    }
    if (pipeline->store && pipeline->ingest.pid > 0) {
        while (pipeline_commit_turn(pipeline)) {
        }
        if (pipeline_store_ready(pipeline) &&
            pk_detection_save(pipeline->detection, pipeline->store, true) != PK_OK) {
            pk_warn("detect", "state not saved, the next start reads the stored activity again");
        }
        pk_tenancy_leave(&pipeline->tenancy);
    }
    pk_ingest_stop(&pipeline->ingest);
    pipeline_pop(pipeline, pipeline->queue.n);
    pk_fair_done(&pipeline->queue);
    pk_reports_done(&pipeline->reports);
    pk_detection_free(pipeline->detection);
    pk_homes_close(pipeline->homes);
    pk_scope_push_done(&pipeline->scopes);
    pk_registry_done(&pipeline->registry);
    pk_store_close(pipeline->store);
    pk_keypair_wipe(&pipeline->setup.server);
    pk_keypair_wipe(&pipeline->setup.next);
    free(pipeline);
}

struct pk_pipeline_counters *pk_pipeline_counters(struct pk_pipeline *pipeline)
{
    return &pipeline->counters;
}

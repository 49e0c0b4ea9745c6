/* Three paths and a table of counters. */
#include "metrics.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <microhttpd.h>

#include "picket/bytes.h"

enum {
    MAX_CONNECTIONS = 32,
    TIMEOUT_S = 10,
    MAX_TEXT = 64 << 10
};

struct pk_metrics {
    struct MHD_Daemon *daemon;
    struct pk_pipeline_counters *counters;
};

static void render(struct pk_pipeline_counters *c, struct pk_bytes *out)
{
    const struct {
        const char *name, *type, *help;
        uint64_t v;
    } rows[] = {
        {"picket_batches_committed_total", "counter", "Batches whose rows are durable.",
            atomic_load(&c->batches_committed)},
        {"picket_batches_duplicate_total", "counter", "Batches that were durable already.",
            atomic_load(&c->batches_duplicate)},
        {"picket_batches_conflict_total", "counter", "Known sequence, other content.",
            atomic_load(&c->batches_conflict)},
        {"picket_batches_quarantined_total", "counter", "Batches refused for good.",
            atomic_load(&c->batches_quarantined)},
        {"picket_rows_committed_total", "counter", "Rows in committed batches.",
            atomic_load(&c->rows_committed)},
        {"picket_commits_total", "counter", "Transactions.", atomic_load(&c->commits)},
        {"picket_store_failures_total", "counter", "Failures of the database that were retried.",
            atomic_load(&c->store_failures)},
        {"picket_ingest_restarts_total", "counter", "Ingest children that died.",
            atomic_load(&c->child_restarts)},
        {"picket_findings_total", "counter", "Findings opened.", atomic_load(&c->findings)},
        {"picket_detection_rows_total", "counter", "Activity rows seen by the engines.",
            atomic_load(&c->engine_rows)},
        {"picket_detection_trials_total", "counter", "First contacts judged.",
            atomic_load(&c->trials)},
        {"picket_detection_early_rows_total", "counter",
            "Rows of sensors whose clock is ahead, held to the time they came.",
            atomic_load(&c->early_rows)},
        {"picket_retired_names", "gauge", "Names that history alone knows, held for detection.",
            atomic_load(&c->retired_names)},
        {"picket_retired_refused_total", "counter", "Such names beyond the maximum.",
            atomic_load(&c->retired_refused)},
        {"picket_queue_batches", "gauge", "Batches waiting for a commit.",
            atomic_load(&c->queue_batches)},
        {"picket_queue_bytes", "gauge", "Bytes waiting for a commit.",
            atomic_load(&c->queue_bytes)},
        {"picket_sessions", "gauge", "Connected sensors.", atomic_load(&c->sessions)},
        {"picket_configured_sessions", "gauge",
            "Connected sensors that have the next endpoint and key on disk.",
            atomic_load(&c->configured)},
        {"picket_scoped_sessions", "gauge", "Connected sensors that use the scope they were sent.",
            atomic_load(&c->scoped)},
        {"picket_scope_refusals_total", "counter",
            "Scopes that a sensor could not, or would not, use.", atomic_load(&c->scope_refusals)},
        {"picket_retention_rows_total", "counter", "Rows given up because they are old.",
            atomic_load(&c->retention_rows)},
        {"picket_retention_days_total", "counter", "Days given up as a whole.",
            atomic_load(&c->retention_days)},
        {"picket_ledger_folded_total", "counter", "Days of sensors whose hours were put together.",
            atomic_load(&c->ledger_folded)},
        {"picket_stale_sensors_total", "counter", "Identities of fleets that were silent too long.",
            atomic_load(&c->stale)},
        {"picket_ingest_bytes_total", "counter", "Batch bytes received.",
            atomic_load(&c->ingest_bytes)},
        {"picket_refused_keys_total", "counter", "Handshakes refused.",
            atomic_load(&c->refused_keys)},
        {"picket_refused_frames_total", "counter", "Frames outside the protocol.",
            atomic_load(&c->refused_frames)},
        {"picket_refused_batches_total", "counter", "Batches that do not decode.",
            atomic_load(&c->refused_batches)},
        {"picket_refused_credit_total", "counter", "Batches beyond the credit granted.",
            atomic_load(&c->refused_credit)},
        {"picket_offences_total", "counter", "Breaches of the protocol by enrolled sensors.",
            atomic_load(&c->offences)},
        {"picket_struck_total", "counter", "Sensors refused for ten minutes after ten breaches.",
            atomic_load(&c->struck)},
        {"picket_overgrown_total", "counter", "Connections cut for a message without an end.",
            atomic_load(&c->overgrown)},
        {"picket_overloaded_total", "counter", "Batches sent back because the budget was spent.",
            atomic_load(&c->overloaded)},
        {"picket_parked_sessions", "gauge", "Sensors told to wait.",
            atomic_load(&c->parked_sessions)},
        {"picket_outstanding_bytes", "gauge", "Batch bytes between socket and commit.",
            atomic_load(&c->outstanding_bytes)},
        {"picket_paused", "gauge", "1 while no sensor gets credit, because the database is away.",
            atomic_load(&c->is_paused)},
        {"picket_alarms_opened_total", "counter", "Alarms about sensors that began.",
            atomic_load(&c->alarms_opened)},
        {"picket_alarms_closed_total", "counter", "Alarms about sensors that ended.",
            atomic_load(&c->alarms_closed)},
        {"picket_homes", "gauge", "Tenants whose home this aggregator is.", atomic_load(&c->homes)},
        {"picket_homes_lost_total", "counter", "Homes that another aggregator took over.",
            atomic_load(&c->homes_lost)},
        {"picket_turned_away_total", "counter",
            "Sessions and batches of tenants whose home is elsewhere.",
            atomic_load(&c->turned_away)},
        {"picket_ready", "gauge", "1 while the database answers and sensors can connect.",
            atomic_load(&c->is_ready)},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        pk_bytes_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %" PRIu64 "\n", rows[i].name,
            rows[i].help, rows[i].name, rows[i].type, rows[i].name, rows[i].v);
    }
    uint64_t us = atomic_load(&c->commit_us); /* Prometheus counts time in seconds */
    pk_bytes_printf(out,
        "# HELP picket_commit_seconds_total Time spent in transactions.\n"
        "# TYPE picket_commit_seconds_total counter\n"
        "picket_commit_seconds_total %" PRIu64 ".%06" PRIu64 "\n",
        us / 1000000, us % 1000000);
}

static enum MHD_Result respond(
    struct MHD_Connection *connection, unsigned status, const char *text, size_t len)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(len, (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
    if (!response) {
        return MHD_NO;
    }
    (void)MHD_add_response_header(
        response, "Content-Type", "text/plain; version=0.0.4; charset=utf-8");
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url,
    const char *method, const char *version, const char *upload, size_t *upload_size, void **state)
{
    struct pk_metrics *metrics = arg;
    (void)version;
    (void)upload;
    (void)state;
    *upload_size = 0;
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        return respond(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "GET only\n", 9);
    }
    if (strcmp(url, "/healthz") == 0) {
        return respond(connection, MHD_HTTP_OK, "ok\n", 3);
    }
    if (strcmp(url, "/readyz") == 0) {
        bool is_ready = atomic_load(&metrics->counters->is_ready);
        return is_ready ? respond(connection, MHD_HTTP_OK, "ready\n", 6)
                        : respond(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "not ready\n", 10);
    }
    if (strcmp(url, "/metrics") == 0) {
        struct pk_bytes text;
        pk_bytes_init(&text, MAX_TEXT);
        render(metrics->counters, &text);
        enum MHD_Result result =
            respond(connection, MHD_HTTP_OK, (const char *)text.data, text.len);
        pk_bytes_done(&text);
        return result;
    }
    return respond(connection, MHD_HTTP_NOT_FOUND, "/metrics, /healthz or /readyz\n", 30);
}

pk_err pk_metrics_start(const char *address, uint16_t port, struct pk_pipeline_counters *counters,
    struct pk_metrics **out_metrics)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    bool is_v6 = inet_pton(AF_INET, address, &v4.sin_addr) != 1;
    if (is_v6 && inet_pton(AF_INET6, address, &v6.sin6_addr) != 1) {
        return PK_ERR_IO;
    }
    struct pk_metrics *metrics = calloc(1, sizeof *metrics);
    if (!metrics) {
        return PK_ERR_NOMEM;
    }
    metrics->counters = counters;
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | (is_v6 ? MHD_USE_IPv6 : 0);
    const struct sockaddr *where =
        is_v6 ? (const struct sockaddr *)&v6 : (const struct sockaddr *)&v4;
    metrics->daemon = MHD_start_daemon(flags, port, NULL, NULL, on_request, metrics,
        MHD_OPTION_SOCK_ADDR, where, MHD_OPTION_CONNECTION_LIMIT, (unsigned)MAX_CONNECTIONS,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)TIMEOUT_S, MHD_OPTION_END);
    if (!metrics->daemon) {
        free(metrics);
        return PK_ERR_IO;
    }
    *out_metrics = metrics;
    return PK_OK;
}

void pk_metrics_stop(struct pk_metrics *metrics)
{
    if (metrics) {
        MHD_stop_daemon(metrics->daemon);
        free(metrics);
    }
}

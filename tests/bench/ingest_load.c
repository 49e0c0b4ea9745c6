/* Thousands of simulated sensors against one aggregator, in one process: each with its own key, socket and session, all sending the batches of a .psp file again and again.
 *
 *   ingest_load ENDPOINT SERVER_KEY KEYS FILE.psp SECONDS [scopes]
 *
 * KEYS has a line a sensor: public and secret key in Z85, and L or Q. A loud sensor (L) always has more to send; a quiet one (Q) sends a batch a second, and how long its
 * acknowledgement takes is the measure of fair shares. With "scopes" nothing is sent: each takes the scope that comes, and says so; whoever changes it knows when. Prints one JSON object. By hand, or by tests/bench/ingest; no test. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zmq.h>

#include "picket/clock.h"
#include "picket/codec.h"
#include "picket/envelope.h"
#include "picket/hash.h"
#include "picket/limits.h"
#include "picket/segment.h"

enum {
    MAX_SENSORS = 6000,
    MAX_RECORDS = 4096,
    MAX_LATENCIES = 1 << 20,
    HELLO_AGAIN_MS = 5000,
    CONNECT_LIMIT_MS = 300000,
    SCOPES_LIMIT_MS = 300000,
};

struct sensor {
    void *socket;
    bool is_quiet;
    uint64_t session, seq, acked;
    uint32_t window, window_bytes;
    uint64_t flight_bytes;
    int64_t hello_ms, sent_ms, next_ms, scope_ms; /* when it had a scope; 0: not yet */
};

struct load {
    struct sensor sensors[MAX_SENSORS];
    zmq_pollitem_t items[MAX_SENSORS];
    size_t n, n_welcome, n_scopes;
    uint64_t scope_bytes;
    bool takes_scopes;
    struct pk_segment_record records[MAX_RECORDS];
    uint8_t digests[MAX_RECORDS][PK_DIGEST_BYTES];
    uint32_t raw_len[MAX_RECORDS];
    size_t n_records;
    uint64_t acked_loud, acked_quiet, rows, credits_closed, errors;
    int64_t *latencies_ms;
    size_t n_latencies;
};

static bool send_frame(
    struct sensor *sensor, const struct pk_frame *frame, const void *body, size_t len)
{
    struct pk_bytes header;
    pk_bytes_init(&header, PK_MAX_HEADER_BYTES);
    bool is_sent = pk_frame_encode(frame, &header) == PK_OK &&
                   zmq_send(sensor->socket, header.data, header.len,
                       (body ? ZMQ_SNDMORE : 0) | ZMQ_DONTWAIT) >= 0 &&
                   (!body || zmq_send(sensor->socket, body, len, ZMQ_DONTWAIT) >= 0);
    pk_bytes_done(&header);
    return is_sent;
}

static void say_hello(struct load *load, struct sensor *sensor, int64_t now_ms)
{
    struct pk_frame frame = {.type = PK_FRAME_HELLO, .u.hello = {.mono_ns = 1}};
    struct pk_hello_body hello = {.spool_epoch = 1,
        .spool_bytes = sensor->is_quiet ? 0 : 1,
        .capabilities = load->takes_scopes ? PK_CAP_CONFIG | PK_CAP_SCOPE : 0};
    struct pk_bytes body;
    uint64_t number = (uint64_t)(sensor - load->sensors);
    memcpy(frame.u.hello.boot_id, &number, sizeof number);
    snprintf(hello.sensor, sizeof hello.sensor, "bench");
    pk_bytes_init(&body, PK_MAX_BODY_BYTES);
    if (pk_hello_body_encode(&hello, &body) == PK_OK &&
        send_frame(sensor, &frame, body.data, body.len)) {
        sensor->hello_ms = now_ms;
    }
    pk_bytes_done(&body);
}

static void send_batches(struct load *load, struct sensor *sensor, int64_t now_ms)
{
    while (sensor->seq - sensor->acked < sensor->window) {
        if (sensor->is_quiet && (sensor->seq > sensor->acked || now_ms < sensor->next_ms)) {
            return;
        }
        size_t i = sensor->seq % load->n_records;
        const struct pk_segment_record *record = &load->records[i];
        struct pk_frame frame = {
            .type = PK_FRAME_BATCH,
            .session = sensor->session,
            .u.batch = {.epoch = 1,
                .seq = sensor->seq + 1,
                .codec = record->codec,
                .kind = record->kind,
                .body_len = record->body_len,
                .raw_len = load->raw_len[i],
                .rows = record->rows,
                .first_us = record->first_us,
                .last_us = record->last_us},
        };
        memcpy(frame.u.batch.digest, load->digests[i], PK_DIGEST_BYTES);
        if (!send_frame(sensor, &frame, record->body, record->body_len)) {
            return;
        }
        sensor->seq++;
        sensor->sent_ms = now_ms;
        sensor->next_ms = now_ms + 1000;
    }
}

static void on_ack(struct load *load, struct sensor *sensor, uint64_t upto, int64_t now_ms)
{
    while (sensor->acked < upto && sensor->acked < sensor->seq) {
        load->rows += load->records[sensor->acked % load->n_records].rows;
        sensor->acked++;
        if (sensor->is_quiet) {
            load->acked_quiet++;
            if (load->n_latencies < MAX_LATENCIES) {
                load->latencies_ms[load->n_latencies++] = now_ms - sensor->sent_ms;
            }
        } else {
            load->acked_loud++;
        }
    }
}

static void on_scope(
    struct load *load, struct sensor *sensor, uint32_t version, size_t len, int64_t now_ms)
{
    struct pk_frame frame = {.type = PK_FRAME_CONFIG_ACK,
        .session = sensor->session,
        .u.config_ack = {.version = version, .status = PK_CONFIG_KEPT}};
    if (send_frame(sensor, &frame, NULL, 0)) {
        load->n_scopes += sensor->scope_ms == 0;
        load->scope_bytes += len;
        sensor->scope_ms = now_ms;
    }
}

static void on_message(struct load *load, struct sensor *sensor, int64_t now_ms)
{
    uint8_t header[PK_MAX_HEADER_BYTES], body[4096];
    int more = 0, n_body = 0;
    size_t size = sizeof more;
    struct pk_frame frame;
    struct pk_welcome_body welcome;
    int n = zmq_recv(sensor->socket, header, sizeof header, ZMQ_DONTWAIT);
    if (n < 0) {
        return;
    }
    (void)zmq_getsockopt(sensor->socket, ZMQ_RCVMORE, &more, &size);
    if (more) {
        n_body = zmq_recv(sensor->socket, body, sizeof body, 0);
    }
    if (pk_frame_decode(header, (size_t)n, &frame) != PK_OK) {
        load->errors++;
        return;
    }
    if (frame.type == PK_FRAME_WELCOME && n_body > 0 &&
        pk_welcome_body_decode(body, (size_t)n_body, &welcome) == PK_OK) {
        load->n_welcome += sensor->session == 0;
        sensor->session = frame.session;
        sensor->window = welcome.credit_batches;
    } else if (frame.type == PK_FRAME_ACK) {
        sensor->window = frame.u.ack.credit_batches;
        on_ack(load, sensor, frame.u.ack.upto, now_ms);
    } else if (frame.type == PK_FRAME_CREDIT) {
        load->credits_closed += frame.u.credit.credit_batches == 0;
        sensor->window = frame.u.credit.credit_batches;
    } else if (frame.type == PK_FRAME_CONFIG) {
        on_scope(load, sensor, frame.u.config.version, (size_t)n_body, now_ms);
    } else if (frame.type == PK_FRAME_ERROR || frame.type == PK_FRAME_BYE) {
        load->errors++;
        sensor->session = sensor->session ? 1 : 0;
        sensor->seq = sensor->acked;
        sensor->window = 0;
        say_hello(load, sensor, now_ms);
    }
}

/* One look at all sockets; begins what is due when `sends`. */
static void turn(struct load *load, bool sends)
{
    (void)zmq_poll(load->items, (int)load->n, 10);
    int64_t now_ms = pk_clock_mono_ms();
    for (size_t i = 0; i < load->n; i++) {
        struct sensor *sensor = &load->sensors[i];
        for (int k = 0; k < 16 && (load->items[i].revents & ZMQ_POLLIN); k++) {
            uint64_t acked = sensor->acked;
            on_message(load, sensor, now_ms);
            if (acked == sensor->acked && k > 0) {
                break;
            }
        }
        if (sensor->session == 0 &&
            (sensor->hello_ms == 0 || now_ms - sensor->hello_ms > HELLO_AGAIN_MS)) {
            say_hello(load, sensor, now_ms);
        } else if (sensor->session != 0 && sends) {
            send_batches(load, sensor, now_ms);
        }
    }
}

static bool open_sensors(struct load *load, void *context, const char *endpoint,
    const char *server_key, const char *keys_path)
{
    char pub[64], sec[64], kind[4];
    FILE *file = fopen(keys_path, "re");
    while (file && load->n < MAX_SENSORS && fscanf(file, "%63s %63s %3s", pub, sec, kind) == 3) {
        struct sensor *sensor = &load->sensors[load->n];
        const struct {
            int option, value;
        } ints[] = {{ZMQ_LINGER, 0}, {ZMQ_IMMEDIATE, 1}, {ZMQ_SNDHWM, 8}, {ZMQ_RCVHWM, 64},
            {ZMQ_HANDSHAKE_IVL, 30000}, {ZMQ_HEARTBEAT_IVL, 15000}, {ZMQ_SNDBUF, 65536}};
        sensor->socket = zmq_socket(context, ZMQ_DEALER);
        sensor->is_quiet = kind[0] == 'Q';
        bool is_good = sensor->socket != NULL;
        for (size_t i = 0; i < sizeof ints / sizeof *ints; i++) {
            is_good = is_good && zmq_setsockopt(sensor->socket, ints[i].option, &ints[i].value,
                                     sizeof ints[i].value) == 0;
        }
        if (!is_good || zmq_setsockopt(sensor->socket, ZMQ_CURVE_SERVERKEY, server_key, 41) != 0 ||
            zmq_setsockopt(sensor->socket, ZMQ_CURVE_PUBLICKEY, pub, 41) != 0 ||
            zmq_setsockopt(sensor->socket, ZMQ_CURVE_SECRETKEY, sec, 41) != 0 ||
            zmq_connect(sensor->socket, endpoint) != 0) {
            return false;
        }
        load->items[load->n++] = (zmq_pollitem_t){.socket = sensor->socket, .events = ZMQ_POLLIN};
    }
    if (file) {
        fclose(file);
    }
    return load->n > 0;
}

static bool read_records(struct load *load, struct pk_bytes *file, const char *path)
{
    size_t pos = PK_SEGMENT_HEADER_BYTES;
    if (pk_bytes_read_file(file, path) != PK_OK) {
        return false;
    }
    while (pos < file->len && load->n_records < MAX_RECORDS) {
        struct pk_segment_record *record = &load->records[load->n_records];
        size_t raw_len;
        if (pk_segment_record_decode(file->data, file->len, &pos, record) != PK_OK) {
            return false;
        }
        if (record->seq == 0 ||
            pk_unpacked_len(record->codec, record->body, record->body_len, &raw_len) != PK_OK) {
            continue;
        }
        load->raw_len[load->n_records] = (uint32_t)raw_len;
        pk_digest(record->body, record->body_len, load->digests[load->n_records++]);
    }
    return load->n_records > 0;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static int64_t quantile(const struct load *load, double q)
{
    return load->n_latencies ? load->latencies_ms[(size_t)(q * (double)(load->n_latencies - 1))]
                             : -1;
}

/* Until each has its scope. */
static void await_scopes(struct load *load)
{
    int64_t from_ms = pk_clock_mono_ms(), *at = calloc(load->n, sizeof *at);
    while (load->n_scopes < load->n && pk_clock_mono_ms() - from_ms < SCOPES_LIMIT_MS) {
        turn(load, false);
    }
    for (size_t i = 0; at && i < load->n; i++) {
        at[i] = load->sensors[i].scope_ms;
    }
    if (at) {
        qsort(at, load->n, sizeof *at, compare);
        printf("{\"sensors\": %zu, \"scopes\": %zu, \"bytes\": %" PRIu64
               ", \"at_ms\": {\"first\": %" PRId64 ", \"p50\": %" PRId64 ", \"last\": %" PRId64
               "}, \"errors\": %" PRIu64 "}\n",
            load->n, load->n_scopes, load->scope_bytes, at[0], at[load->n / 2], at[load->n - 1],
            load->errors);
    }
    free(at);
}

int main(int argc, char **argv)
{
    struct load *load = calloc(1, sizeof *load);
    struct pk_bytes file;
    void *context = zmq_ctx_new();
    bool takes_scopes = argc == 7 && strcmp(argv[6], "scopes") == 0;
    if ((argc != 6 && !takes_scopes) || !load || !context || pk_hash_start() != PK_OK) {
        fputs("ingest_load ENDPOINT SERVER_KEY KEYS FILE.psp SECONDS [scopes]\n", stderr);
        return 64;
    }
    load->takes_scopes = takes_scopes;
    load->latencies_ms = calloc(MAX_LATENCIES, sizeof *load->latencies_ms);
    (void)zmq_ctx_set(context, ZMQ_MAX_SOCKETS, MAX_SENSORS + 16);
    pk_bytes_init(&file, 64 << 20);
    if (!load->latencies_ms || !read_records(load, &file, argv[4])) {
        fputs("ingest_load: no batches in the file\n", stderr);
        return 66;
    }
    int64_t start_ms = pk_clock_mono_ms();
    if (!open_sensors(load, context, argv[1], argv[2], argv[3])) {
        fprintf(stderr, "ingest_load: sensor %zu: %s\n", load->n, zmq_strerror(zmq_errno()));
        return 71;
    }
    while (load->n_welcome < load->n && pk_clock_mono_ms() - start_ms < CONNECT_LIMIT_MS) {
        turn(load, false);
    }
    int64_t welcome_ms = pk_clock_mono_ms() - start_ms;
    fprintf(
        stderr, "welcome %zu of %zu after %" PRId64 " ms\n", load->n_welcome, load->n, welcome_ms);
    if (takes_scopes) {
        await_scopes(load);
        fflush(stdout);
        _exit(0);
    }
    int64_t seconds = strtol(argv[5], NULL, 10), from_ms = pk_clock_mono_ms();
    while (pk_clock_mono_ms() - from_ms < seconds * 1000) {
        turn(load, true);
    }
    double took_s = (double)(pk_clock_mono_ms() - from_ms) / 1000;
    qsort(load->latencies_ms, load->n_latencies, sizeof *load->latencies_ms, compare);
    printf("{\"sensors\": %zu, \"welcome\": %zu, \"welcome_s\": %.2f, \"seconds\": %.1f, "
           "\"batches_loud\": %" PRIu64 ", \"batches_quiet\": %" PRIu64
           ", \"rows_a_second\": %.0f, "
           "\"batches_a_second\": %.0f, \"quiet_ms\": {\"p50\": %" PRId64 ", \"p95\": %" PRId64
           ", \"max\": %" PRId64 "}, \"windows_closed\": %" PRIu64 ", \"errors\": %" PRIu64 "}\n",
        load->n, load->n_welcome, (double)welcome_ms / 1000, took_s, load->acked_loud,
        load->acked_quiet, (double)load->rows / took_s,
        (double)(load->acked_loud + load->acked_quiet) / took_s, quantile(load, 0.5),
        quantile(load, 0.95), quantile(load, 1), load->credits_closed, load->errors);
    fflush(stdout);
    _exit(0); /* the sockets go with the process */
}

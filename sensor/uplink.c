/* The uplink's state machine.
 *
 *   DOWN -> CONNECTING -> (handshake) -> HELLO sent -> (WELCOME) -> READY -> ... any trouble -> DOWN after a jittered back-off
 *
 * libzmq 4.3.4 stops trying for good when ZAP refuses a key (status 400, 500), and a send that succeeded says nothing about delivery; so the socket is watched by a
 * monitor and rebuilt by us, and only an ACK counts. */
#include "uplink.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>
#include <zmq.h>

#include "picket/batch.h"
#include "picket/clock.h"
#include "picket/codec.h"
#include "picket/hash.h"
#include "picket/limits.h"
#include "picket/log.h"

enum state {
    DOWN,
    CONNECTING,
    HELLO_SENT,
    READY
};

enum {
    MAX_IN_FLIGHT = 64,
    BACKOFF_FIRST_MS = 500,
    BACKOFF_MAX_MS = 60000,
    BACKOFF_REFUSED_MS = 5000,
    CONNECT_MS = 15000,
    HELLO_AGAIN_MS = 5000,
    HELLO_LIMIT_MS = 30000,
    POLL_MS = 1000,
    MONITOR_FRAME = 6, /* event be16, value be32 in host order */
};

#define MONITOR_ENDPOINT \
    "inproc://picket.uplink.monitor.%u" /* one a socket: a closed one's lives on for a while */

struct in_flight {
    uint64_t seq;
    uint32_t bytes;
};

struct uplink {
    const struct pk_uplink_options *options;
    const struct pk_queue *queue;
    struct pk_uplink_counters *counters;
    void *context, *socket, *monitor;
    unsigned n_sockets;
    enum state state;
    size_t endpoint;
    int64_t until_ms;    /* DOWN: not before; CONNECTING, HELLO_SENT: not later */
    int64_t hello_ms;    /* when the last HELLO left */
    int64_t progress_ms; /* when the last ACK came, or the first batch after none left */
    int64_t backoff_ms;
    bool was_refused; /* said once */
    uint8_t boot_id[PK_BOOT_ID_BYTES];
    uint64_t session, next_seq, highest_sent;
    struct pk_welcome_body welcome;
    int64_t next_heartbeat_ms;
    struct in_flight flight[MAX_IN_FLIGHT]; /* by sequence */
    size_t n_flight;
    uint64_t flight_bytes;
    struct pk_bytes buffer;
};

static void go_down(struct uplink *up, int64_t wait_ms, const char *why)
{
    if (up->monitor) {
        zmq_close(up->monitor);
    }
    if (up->socket) {
        (void)zmq_socket_monitor(up->socket, NULL, 0);
        zmq_close(up->socket);
    }
    up->socket = up->monitor = NULL;
    if (up->state == READY) {
        pk_info("uplink", "disconnected reason=\"%s\"", why);
    }
    /* Between half and the whole of the wait, so that a fleet does not come back in step. */
    int64_t now_ms = pk_clock_mono_ms();
    up->until_ms = now_ms + wait_ms / 2 + (int64_t)randombytes_uniform((uint32_t)wait_ms / 2 + 1);
    up->state = DOWN;
    up->session = 0;
    up->n_flight = 0;
    up->flight_bytes = 0;
    atomic_store(&up->counters->is_connected, false);
}

static int64_t next_backoff(struct uplink *up)
{
    up->backoff_ms = up->backoff_ms ? up->backoff_ms * 2 : BACKOFF_FIRST_MS;
    up->backoff_ms = up->backoff_ms > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : up->backoff_ms;
    return up->backoff_ms;
}

/* --- connecting --- */

static bool set_options(struct uplink *up)
{
    const struct {
        int option, value;
    } ints[] = {
        {ZMQ_LINGER, 0},
        {ZMQ_IMMEDIATE, 1},
        {ZMQ_SNDHWM, 8},
        {ZMQ_RCVHWM, 64},
        {ZMQ_SNDBUF, 256 << 10},
        {ZMQ_HANDSHAKE_IVL, 10000},
        {ZMQ_HEARTBEAT_IVL, 10000},
        {ZMQ_HEARTBEAT_TIMEOUT, 30000},
        {ZMQ_HEARTBEAT_TTL, 60000},
        {ZMQ_TCP_KEEPALIVE, 1},
        {ZMQ_TCP_KEEPALIVE_IDLE, 60},
        {ZMQ_TCP_MAXRT, 60000},
        {ZMQ_CONNECT_TIMEOUT, 10000},
        {ZMQ_RECONNECT_IVL, 1000},
        {ZMQ_RECONNECT_IVL_MAX, 60000},
        {ZMQ_IPV6, 1},
    };
    int64_t max_frame = 64 << 10;
    bool is_good = zmq_setsockopt(up->socket, ZMQ_MAXMSGSIZE, &max_frame, sizeof max_frame) == 0;
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++) {
        is_good = is_good && zmq_setsockopt(up->socket, ints[i].option, &ints[i].value,
                                 sizeof ints[i].value) == 0;
    }
    return is_good &&
           zmq_setsockopt(
               up->socket, ZMQ_CURVE_SERVERKEY, up->options->server_pubkey, PK_KEY_BYTES) == 0 &&
           zmq_setsockopt(
               up->socket, ZMQ_CURVE_PUBLICKEY, up->options->keys.pubkey, PK_KEY_BYTES) == 0 &&
           zmq_setsockopt(
               up->socket, ZMQ_CURVE_SECRETKEY, up->options->keys.seckey, PK_KEY_BYTES) == 0;
}

static void connect_next(struct uplink *up)
{
    const char *endpoint = up->options->endpoints[up->endpoint];
    int events = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
                 ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH |
                 ZMQ_EVENT_DISCONNECTED;
    char monitor[sizeof MONITOR_ENDPOINT + 10];
    snprintf(monitor, sizeof monitor, MONITOR_ENDPOINT, up->n_sockets++);
    up->socket = zmq_socket(up->context, ZMQ_DEALER);
    bool is_good =
        up->socket && set_options(up) && zmq_socket_monitor(up->socket, monitor, events) == 0;
    up->monitor = is_good ? zmq_socket(up->context, ZMQ_PAIR) : NULL;
    is_good = up->monitor && zmq_connect(up->monitor, monitor) == 0 &&
              zmq_connect(up->socket, endpoint) == 0;
    if (!is_good) {
        pk_error("uplink", "endpoint=%s cannot connect: %s", endpoint, zmq_strerror(zmq_errno()));
        go_down(up, next_backoff(up), "connect");
        return;
    }
    up->state = CONNECTING;
    up->until_ms = pk_clock_mono_ms() + CONNECT_MS;
}

static bool send_frame(
    struct uplink *up, const struct pk_frame *frame, const uint8_t *body, size_t body_len)
{
    struct pk_bytes header;
    pk_bytes_init(&header, PK_MAX_HEADER_BYTES);
    bool is_sent = pk_frame_encode(frame, &header) == PK_OK &&
                   zmq_send(up->socket, header.data, header.len,
                       (body ? ZMQ_SNDMORE : 0) | ZMQ_DONTWAIT) >= 0 &&
                   (!body || zmq_send(up->socket, body, body_len, ZMQ_DONTWAIT) >= 0);
    pk_bytes_done(&header);
    return is_sent;
}

static void send_hello(struct uplink *up)
{
    struct pk_queue_info info;
    up->queue->info(up->queue->self, &info);
    struct pk_hello_body hello = {
        .software = "picket-sensor " PICKET_VERSION,
        .capabilities = PK_CAP_ZSTD | (up->options->is_durable ? PK_CAP_SPOOL : 0),
        .spool_epoch = info.epoch,
        .spool_oldest_seq = info.oldest_seq,
        .spool_newest_seq = info.newest_seq,
        .spool_bytes = info.bytes,
        .wall_us = pk_clock_wall_us(),
    };
    snprintf(hello.sensor, sizeof hello.sensor, "%s", up->options->sensor);
    struct pk_frame frame = {.type = PK_FRAME_HELLO,
        .u.hello = {.minor = PK_PROTO_MINOR, .mono_ns = (uint64_t)pk_clock_mono_ms() * 1000000}};
    memcpy(frame.u.hello.boot_id, up->boot_id, sizeof up->boot_id);
    struct pk_bytes body;
    pk_bytes_init(&body, PK_MAX_BODY_BYTES);
    up->hello_ms = pk_clock_mono_ms();
    if (pk_hello_body_encode(&hello, &body) == PK_OK &&
        send_frame(up, &frame, body.data, body.len) && up->state != HELLO_SENT) {
        up->state = HELLO_SENT;
        up->until_ms = up->hello_ms + HELLO_LIMIT_MS;
    }
    pk_bytes_done(&body);
}

static void on_monitor(struct uplink *up)
{
    uint8_t raw[MONITOR_FRAME + 256], address[256];
    int len = zmq_recv(up->monitor, raw, sizeof raw, ZMQ_DONTWAIT);
    (void)zmq_recv(up->monitor, address, sizeof address, ZMQ_DONTWAIT);
    if (len < MONITOR_FRAME) {
        return;
    }
    uint16_t event;
    memcpy(&event, raw, sizeof event);
    const char *endpoint = up->options->endpoints[up->endpoint];
    if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
        send_hello(up);
    } else if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) {
        if (!up->was_refused) {
            char key[PK_KEY_TEXT_SIZE];
            pk_warn("uplink",
                "endpoint=%s the aggregator does not know this key yet; add it there: %s", endpoint,
                pk_key_text(up->options->keys.pubkey, key));
        }
        up->was_refused = true;
        go_down(up, BACKOFF_REFUSED_MS, "refused");
    } else if (event == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL ||
               event == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL) {
        pk_warn("uplink",
            "endpoint=%s handshake refused without a reason: check the server's public key and the port",
            endpoint);
        go_down(up, next_backoff(up), "handshake");
    } else if (event == ZMQ_EVENT_DISCONNECTED && up->state != CONNECTING) {
        go_down(up, next_backoff(up), "the connection broke");
    }
}

/* --- sending --- */

static void send_batches(struct uplink *up)
{
    struct pk_segment_record record;
    size_t raw_len;
    while (up->n_flight < up->welcome.credit_batches && up->n_flight < MAX_IN_FLIGHT) {
        struct pk_queue_info info;
        up->queue->info(up->queue->self, &info);
        if (up->next_seq < info.oldest_seq) {
            up->next_seq = info.oldest_seq; /* the spool shed what was before: counted there */
        }
        if (up->next_seq > info.newest_seq ||
            !up->queue->read(up->queue->self, up->next_seq, &up->buffer, &record) ||
            pk_unpacked_len(record.codec, record.body, record.body_len, &raw_len) != PK_OK ||
            (up->n_flight > 0 && up->flight_bytes + raw_len > up->welcome.credit_bytes)) {
            return;
        }
        struct pk_frame frame = {
            .type = PK_FRAME_BATCH,
            .session = up->session,
            .u.batch =
                {
                    .epoch = info.epoch,
                    .seq = record.seq,
                    .codec = record.codec,
                    .kind = record.kind,
                    .body_len = record.body_len,
                    .raw_len = (uint32_t)raw_len,
                    .rows = record.rows,
                    .first_us = record.first_us,
                    .last_us = record.last_us,
                },
        };
        pk_digest(record.body, record.body_len, frame.u.batch.digest);
        if (!send_frame(up, &frame, record.body, record.body_len)) {
            return; /* the pipe is full: the next poll tries again */
        }
        if (up->n_flight == 0) {
            up->progress_ms = pk_clock_mono_ms();
        }
        up->flight[up->n_flight++] =
            (struct in_flight){.seq = record.seq, .bytes = (uint32_t)raw_len};
        up->flight_bytes += raw_len;
        atomic_fetch_add(
            record.seq <= up->highest_sent ? &up->counters->resent : &up->counters->sent, 1);
        up->highest_sent = record.seq > up->highest_sent ? record.seq : up->highest_sent;
        up->next_seq++;
    }
}

static void forget_flight(struct uplink *up, uint64_t from, uint64_t to)
{
    size_t kept = 0;
    for (size_t i = 0; i < up->n_flight; i++) {
        if (up->flight[i].seq >= from && up->flight[i].seq <= to) {
            up->flight_bytes -= up->flight[i].bytes;
            atomic_fetch_add(&up->counters->acked, 1);
        } else {
            up->flight[kept++] = up->flight[i];
        }
    }
    up->n_flight = kept;
}

/* --- receiving --- */

static void on_welcome(
    struct uplink *up, const struct pk_frame *frame, const uint8_t *body, size_t len)
{
    struct pk_welcome_body welcome;
    if (pk_welcome_body_decode(body, len, &welcome) != PK_OK || frame->session == 0) {
        go_down(up, next_backoff(up), "WELCOME cannot be read");
        return;
    }
    struct pk_queue_info info;
    up->queue->info(up->queue->self, &info);
    if (welcome.resume_epoch == info.epoch) {
        up->queue->ack(up->queue->self, welcome.resume_seq);
    }
    up->welcome = welcome;
    up->session = frame->session;
    up->next_seq = welcome.resume_epoch == info.epoch ? welcome.resume_seq + 1 : info.oldest_seq;
    up->n_flight = 0;
    up->flight_bytes = 0;
    up->state = READY;
    up->backoff_ms = 0;
    up->was_refused = false;
    up->progress_ms = up->next_heartbeat_ms = pk_clock_mono_ms();
    atomic_fetch_add(&up->counters->reconnects, 1);
    atomic_store(&up->counters->is_connected, true);
    pk_info("uplink", "connected endpoint=%s sensor_id=%u resume_seq=%" PRIu64 " queued=%" PRIu64,
        up->options->endpoints[up->endpoint], welcome.sensor_id, welcome.resume_seq,
        info.newest_seq + 1 > up->next_seq ? info.newest_seq + 1 - up->next_seq : 0);
}

static void on_ack(struct uplink *up, const struct pk_frame *frame)
{
    struct pk_queue_info info;
    up->queue->info(up->queue->self, &info);
    if (frame->u.ack.epoch != info.epoch) {
        return;
    }
    forget_flight(up, 0, frame->u.ack.upto);
    for (uint32_t i = 0; i < frame->u.ack.n_ranges; i++) {
        forget_flight(up, frame->u.ack.ranges[i].from, frame->u.ack.ranges[i].to);
    }
    up->queue->ack(up->queue->self, frame->u.ack.upto);
    up->welcome.credit_batches = frame->u.ack.credit_batches;
    up->welcome.credit_bytes = frame->u.ack.credit_bytes;
    up->progress_ms = pk_clock_mono_ms();
}

static void on_error(
    struct uplink *up, const struct pk_frame *frame, const uint8_t *body, size_t len)
{
    char text[PK_MAX_WIRE_TEXT * 4 + 1];
    uint16_t code = frame->u.error.code;
    pk_log_escape((const char *)body, body ? len : 0, text, sizeof text);
    switch (code) {
    case PK_FRAME_ERR_NO_SESSION:
        up->session = 0;
        send_hello(up);
        return;
    case PK_FRAME_ERR_CREDIT:
    case PK_FRAME_ERR_OVERLOADED:
        go_down(up, BACKOFF_FIRST_MS,
            "the aggregator does not keep up"); /* WELCOME says where to go on */
        return;
    case PK_FRAME_ERR_TOO_LARGE:
    case PK_FRAME_ERR_CORRUPT:
    case PK_FRAME_ERR_MALFORMED:
    case PK_FRAME_ERR_EPOCH_CONFLICT:
        /* It will be refused for ever; the aggregator keeps its bytes in quarantine where it could. */
        pk_error("uplink", "batch refused seq=%" PRIu64 " code=%u reason=\"%s\"",
            frame->u.error.seq, code, text);
        atomic_fetch_add(&up->counters->refused_rows, 1);
        forget_flight(up, frame->u.error.seq, frame->u.error.seq);
        if (up->n_flight == 0) {
            up->queue->ack(up->queue->self, frame->u.error.seq);
        }
        return;
    default:
        pk_error("uplink", "refused code=%u reason=\"%s\"", code, text);
        go_down(up, next_backoff(up), "refused");
    }
}

static void on_frame(struct uplink *up, const uint8_t *header, size_t header_len,
    const uint8_t *body, size_t body_len)
{
    struct pk_frame frame;
    if (pk_frame_decode(header, header_len, &frame) != PK_OK) {
        return; /* of a newer minor version, or damaged; nothing depends on a single frame */
    }
    if (frame.type == PK_FRAME_WELCOME) {
        on_welcome(up, &frame, body, body_len);
    } else if (frame.type == PK_FRAME_ERROR) {
        on_error(up, &frame, body, body_len);
    } else if (frame.session != up->session || up->session == 0) {
        return;
    } else if (frame.type == PK_FRAME_ACK) {
        on_ack(up, &frame);
    } else if (frame.type == PK_FRAME_CREDIT) {
        up->welcome.credit_batches = frame.u.credit.credit_batches;
        up->welcome.credit_bytes = frame.u.credit.credit_bytes;
    } else if (frame.type == PK_FRAME_BYE) {
        int64_t wait_ms =
            frame.u.bye.retry_after_s > 600 ? 600000 : (int64_t)frame.u.bye.retry_after_s * 1000;
        go_down(up, wait_ms < BACKOFF_FIRST_MS ? BACKOFF_FIRST_MS : wait_ms,
            "the aggregator said goodbye");
    }
}

static void drain(struct uplink *up)
{
    while (up->socket) {
        zmq_msg_t parts[2];
        zmq_msg_init(&parts[0]);
        zmq_msg_init(&parts[1]);
        bool got = zmq_msg_recv(&parts[0], up->socket, ZMQ_DONTWAIT) >= 0;
        bool more = got && zmq_msg_more(&parts[0]);
        bool has_body = more && zmq_msg_recv(&parts[1], up->socket, 0) >= 0;
        for (more = has_body && zmq_msg_more(&parts[1]); more;) {
            zmq_msg_t scrap;
            zmq_msg_init(&scrap);
            more = zmq_msg_recv(&scrap, up->socket, 0) >= 0 && zmq_msg_more(&scrap);
            zmq_msg_close(&scrap);
        }
        if (got) {
            on_frame(up, zmq_msg_data(&parts[0]), zmq_msg_size(&parts[0]),
                has_body ? zmq_msg_data(&parts[1]) : NULL, has_body ? zmq_msg_size(&parts[1]) : 0);
        }
        zmq_msg_close(&parts[0]);
        zmq_msg_close(&parts[1]);
        if (!got) {
            return;
        }
    }
}

/* --- time --- */

static void heartbeat(struct uplink *up, int64_t now_ms)
{
    if (now_ms < up->next_heartbeat_ms) {
        return;
    }
    struct pk_queue_info info;
    up->queue->info(up->queue->self, &info);
    struct pk_frame frame = {
        .type = PK_FRAME_HEARTBEAT,
        .session = up->session,
        .u.heartbeat = {.mono_ns = (uint64_t)now_ms * 1000000,
            .wall_us = pk_clock_wall_us(),
            .queued = info.newest_seq + 1 - info.oldest_seq},
    };
    (void)send_frame(up, &frame, NULL, 0);
    up->next_heartbeat_ms = now_ms + (up->welcome.heartbeat_ms ? up->welcome.heartbeat_ms : 15000);
}

static void on_time(struct uplink *up)
{
    int64_t now_ms = pk_clock_mono_ms();
    int64_t ack_ms = up->welcome.ack_timeout_ms ? up->welcome.ack_timeout_ms : 15000;
    switch (up->state) {
    case DOWN:
        if (now_ms >= up->until_ms) {
            connect_next(up);
        }
        break;
    case CONNECTING:
        if (now_ms >= up->until_ms) {
            up->endpoint = (up->endpoint + 1) % up->options->n_endpoints;
            go_down(up, next_backoff(up), "no answer");
        }
        break;
    case HELLO_SENT:
        if (now_ms >= up->until_ms) {
            up->endpoint = (up->endpoint + 1) % up->options->n_endpoints;
            go_down(up, next_backoff(up), "no WELCOME");
        } else if (now_ms - up->hello_ms >= HELLO_AGAIN_MS) {
            send_hello(up); /* the aggregator's database may have been away */
        }
        break;
    case READY:
        if (up->n_flight > 0 && now_ms - up->progress_ms > 2 * ack_ms) {
            go_down(up, next_backoff(up), "no acknowledgement");
            break;
        }
        heartbeat(up, now_ms);
        send_batches(up);
        break;
    }
}

static bool is_empty(const struct uplink *up)
{
    struct pk_queue_info info;
    up->queue->info(up->queue->self, &info);
    return info.oldest_seq > info.newest_seq;
}

static void clear_wake(int fd)
{
    uint64_t count;
    if (fd >= 0) {
        ssize_t n = read(fd, &count, sizeof count);
        (void)n; /* nothing to clear is as good */
    }
}

pk_err pk_uplink_run(const struct pk_uplink_options *options, const struct pk_queue *queue,
    struct pk_uplink_counters *counters, int stop_fd)
{
    struct uplink up = {.options = options, .queue = queue, .counters = counters};
    pk_bytes_init(&up.buffer, PK_MAX_SEGMENT_RECORD);
    randombytes_buf(up.boot_id, sizeof up.boot_id);
    up.context = zmq_ctx_new();
    if (!up.context) {
        return PK_ERR_NOMEM;
    }
    pk_err err = PK_OK;
    while (!(options->ends_when_empty && is_empty(&up))) {
        zmq_pollitem_t items[4] = {
            {.fd = stop_fd, .events = ZMQ_POLLIN},
            {.fd = queue->wake_fd, .events = queue->wake_fd >= 0 ? ZMQ_POLLIN : 0},
            {.socket = up.socket, .events = ZMQ_POLLIN},
            {.socket = up.monitor, .events = ZMQ_POLLIN},
        };
        if (queue->wake_fd < 0) {
            items[1].fd = stop_fd; /* nothing ever wakes us there */
            items[1].events = 0;
        }
        int64_t wait_ms = up.state == DOWN ? up.until_ms - pk_clock_mono_ms() : POLL_MS;
        wait_ms = wait_ms < 0 ? 0 : wait_ms > POLL_MS ? POLL_MS : wait_ms;
        if (zmq_poll(items, up.socket ? 4 : 2, wait_ms) < 0 && zmq_errno() != EINTR) {
            err = PK_ERR_IO;
            break;
        }
        if (items[0].revents) {
            break;
        }
        if (items[1].revents) {
            clear_wake(queue->wake_fd);
        }
        if (up.socket && (items[3].revents & ZMQ_POLLIN)) {
            on_monitor(&up);
        }
        if (up.socket && (items[2].revents & ZMQ_POLLIN)) {
            drain(&up);
        }
        on_time(&up);
    }
    if (up.state == READY) {
        struct pk_frame bye = {
            .type = PK_FRAME_BYE, .session = up.session, .u.bye = {.reason = PK_BYE_SHUTDOWN}};
        (void)send_frame(&up, &bye, NULL, 0);
    }
    go_down(&up, 2, "stop");
    zmq_ctx_term(up.context);
    pk_bytes_done(&up.buffer);
    return err;
}

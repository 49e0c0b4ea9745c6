/* The ingest child's loop: one thread polls the ROUTER and the link, libzmq's I/O threads decrypt, the ZAP thread admits.
 *
 * Identity comes from the User-Id of a payload frame (libzmq 4.3.4 loses it on the routing-id frame), which the ZAP handler set from the key
 * table. A batch is checked whole - sizes, digest, every column - before the core hears of it, so that the core
 * handles only bytes that decode. Whoever breaks the protocol is answered with ERROR; a fatal one also loses the connection by shutdown(2) of its
 * descriptor (close(2) would crash libzmq, issue 2877). */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sodium.h>
#include <zmq.h>

#include "picket/batch.h"
#include "picket/clock.h"
#include "picket/codec.h"
#include "picket/hash.h"
#include "picket/limits.h"
#include "picket/log.h"

#include "ingest.h"
#include "session.h"
#include "zap.h"

enum {
    ZAP_ENFORCE_DOMAIN =
        93, /* ZMQ_ZAP_ENFORCE_DOMAIN: a DRAFT name in 4.3.4, but the number is honoured */
    HEADER_SLACK = 33 + 9, /* CURVE and ZMTP overhead of a frame */
    STATS_MS = 1000,
    SESSION_IDLE_MS = 60000,
    HEARTBEAT_MS = 15000,
    ACK_TIMEOUT_MS = 15000,
    LINK_QUEUE_SLACK = 8 << 20, /* beside the batches on account: small messages */
    MAX_FRAMES_A_TURN = 256,
};

struct child {
    struct pk_bytes unpacked; /* of the batch in hand */
    void *context, *router;
    struct pk_zap *zap;
    struct pk_link link;
    struct pk_sessions sessions;
    struct pk_link_stats stats;
    int64_t next_stats_ms;
    bool is_stopping;
};

/* One message as it came off the ROUTER. */
struct incoming {
    zmq_msg_t routing, header, body;
    bool has_body;
    unsigned n_frames; /* without the routing id */
};

static int set_int(void *socket, int option, int value)
{
    return zmq_setsockopt(socket, option, &value, sizeof value);
}

/* Options of docs/PROTOCOL.md s2; the reasons stand there. False with the option that failed in *out_what. */
static bool router_configure(void *router, const struct pk_link_setup *setup, const char **out_what)
{
    const struct {
        int option, value;
        const char *name;
    } options[] = {
        {ZMQ_LINGER, 0, "ZMQ_LINGER"},
        {ZMQ_SNDHWM, 64, "ZMQ_SNDHWM"},
        {ZMQ_RCVHWM, 8, "ZMQ_RCVHWM"},
        {ZMQ_HANDSHAKE_IVL, 5000, "ZMQ_HANDSHAKE_IVL"},
        {ZMQ_HEARTBEAT_IVL, 15000, "ZMQ_HEARTBEAT_IVL"},
        {ZMQ_HEARTBEAT_TIMEOUT, 45000, "ZMQ_HEARTBEAT_TIMEOUT"},
        {ZMQ_TCP_KEEPALIVE, 1, "ZMQ_TCP_KEEPALIVE"},
        {ZMQ_TCP_KEEPALIVE_IDLE, 60, "ZMQ_TCP_KEEPALIVE_IDLE"},
        {ZMQ_ROUTER_MANDATORY, 1, "ZMQ_ROUTER_MANDATORY"},
        {ZMQ_ROUTER_HANDOVER, 0, "ZMQ_ROUTER_HANDOVER"},
        {ZMQ_BACKLOG, 1024, "ZMQ_BACKLOG"},
        {ZMQ_IPV6, 1, "ZMQ_IPV6"},
        {ZMQ_CURVE_SERVER, 1, "ZMQ_CURVE_SERVER"},
        {ZAP_ENFORCE_DOMAIN, 1, "ZMQ_ZAP_ENFORCE_DOMAIN (93)"},
    };
    int64_t max_frame = PK_MAX_BODY_BYTES + HEADER_SLACK;
    *out_what = "ZMQ_MAXMSGSIZE";
    if (zmq_setsockopt(router, ZMQ_MAXMSGSIZE, &max_frame, sizeof max_frame) != 0) {
        return false;
    }
    *out_what = "ZMQ_ZAP_DOMAIN";
    if (zmq_setsockopt(router, ZMQ_ZAP_DOMAIN, PK_ZAP_DOMAIN, strlen(PK_ZAP_DOMAIN)) != 0) {
        return false;
    }
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        *out_what = options[i].name;
        if (set_int(router, options[i].option, options[i].value) != 0) {
            return false;
        }
    }
    *out_what = "ZMQ_CURVE_SECRETKEY";
    return zmq_setsockopt(router, ZMQ_CURVE_SECRETKEY, setup->server.seckey, PK_KEY_BYTES) == 0;
}

static void fail_start(struct child *child, const char *what)
{
    char text[PK_LINK_TEXT_SIZE];
    int n = snprintf(text, sizeof text, "%s: %s", what, zmq_strerror(zmq_errno()));
    (void)pk_link_send(&child->link, PK_LINK_FAILED, text,
        n < (int)sizeof text ? (size_t)n : sizeof text - 1, NULL, 0);
}

static bool child_open(struct child *child, const struct pk_link_setup *setup)
{
    const char *what = "memory";
    if (pk_sessions_init(&child->sessions, setup->outstanding_budget_bytes) != PK_OK) {
        goto fail;
    }
    child->link.out.max_bytes = (size_t)setup->outstanding_budget_bytes + LINK_QUEUE_SLACK;
    what = "ZeroMQ context";
    child->context = zmq_ctx_new();
    if (!child->context || zmq_ctx_set(child->context, ZMQ_IO_THREADS,
                               setup->io_threads ? setup->io_threads : 1) != 0) {
        goto fail;
    }
    what = "ZAP handler";
    if (pk_zap_start(child->context, &child->zap) != PK_OK) {
        goto fail;
    }
    what = "ROUTER socket";
    child->router = zmq_socket(child->context, ZMQ_ROUTER);
    if (!child->router || !router_configure(child->router, setup, &what)) {
        goto fail;
    }
    what = setup->endpoint;
    if (zmq_bind(child->router, setup->endpoint) != 0) {
        goto fail;
    }
    char bound[PK_LINK_ENDPOINT_SIZE];
    size_t size = sizeof bound;
    what = "ZMQ_LAST_ENDPOINT";
    if (zmq_getsockopt(child->router, ZMQ_LAST_ENDPOINT, bound, &size) != 0) {
        goto fail;
    }
    return pk_link_send(&child->link, PK_LINK_READY, bound, size, NULL, 0) == PK_OK;
fail:
    fail_start(child, what);
    return false;
}

static void child_close(struct child *child)
{
    if (child->router) {
        zmq_close(child->router);
    }
    pk_zap_stop(child->zap);
    if (child->context) {
        zmq_ctx_term(child->context);
    }
    pk_sessions_done(&child->sessions);
    pk_link_done(&child->link);
}

/* --- to the sensors --- */

/* False: the peer is gone or does not read, and the frame is lost. */
static bool send_frame(struct child *child, const struct pk_session *session,
    const struct pk_frame *frame, const struct pk_bytes *body)
{
    struct pk_bytes header;
    pk_bytes_init(&header, PK_MAX_HEADER_BYTES);
    bool is_sent = pk_frame_encode(frame, &header) == PK_OK &&
                   zmq_send(child->router, session->routing, PK_ROUTING_ID_BYTES,
                       ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0 &&
                   zmq_send(child->router, header.data, header.len,
                       (body ? ZMQ_SNDMORE : 0) | ZMQ_DONTWAIT) >= 0 &&
                   (!body || zmq_send(child->router, body->data, body->len, ZMQ_DONTWAIT) >= 0);
    pk_bytes_done(&header);
    return is_sent;
}

static bool send_error(struct child *child, const struct pk_session *session,
    enum pk_frame_error code, const struct pk_frame_batch *batch, const char *text)
{
    struct pk_frame frame = {
        .type = PK_FRAME_ERROR,
        .session = session->id,
        .u.error = {.code = (uint16_t)code,
            .epoch = batch ? batch->epoch : 0,
            .seq = batch ? batch->seq : 0},
    };
    struct pk_bytes body;
    pk_bytes_init(&body, PK_MAX_WIRE_TEXT);
    pk_bytes_put(&body, text, strnlen(text, PK_MAX_WIRE_TEXT));
    bool is_sent = send_frame(child, session, &frame, body.len ? &body : NULL);
    pk_bytes_done(&body);
    return is_sent;
}

static void send_welcome(
    struct child *child, struct pk_session *session, const struct pk_link_resume *resume)
{
    struct pk_welcome_body welcome = {
        .sensor_id = session->sensor,
        .max_body_bytes = PK_MAX_BODY_BYTES,
        .max_unpacked_bytes = PK_MAX_BODY_BYTES,
        .capabilities = PK_CAP_ZSTD,
        .credit_batches = PK_CREDIT_BATCHES,
        .credit_bytes = pk_session_credit_bytes(&child->sessions),
        .ack_timeout_ms = ACK_TIMEOUT_MS,
        .heartbeat_ms = HEARTBEAT_MS,
        .resume_epoch = resume->epoch,
        .resume_seq = resume->seq,
    };
    struct pk_frame frame = {
        .type = PK_FRAME_WELCOME,
        .session = session->id,
        .u.welcome = {.minor = PK_PROTO_MINOR, .wall_us = pk_clock_wall_us()},
    };
    struct pk_bytes body;
    pk_bytes_init(&body, PK_MAX_BODY_BYTES);
    if (pk_welcome_body_encode(&welcome, &body) == PK_OK) {
        session->is_resumed = true;
        send_frame(child, session, &frame, &body);
    }
    pk_bytes_done(&body);
}

/* --- from the sensors --- */

static void cut(zmq_msg_t *payload)
{
    int fd = zmq_msg_get(payload, ZMQ_SRCFD);
    if (fd >= 0) {
        (void)shutdown(fd, SHUT_RDWR); /* never close(2): the descriptor is libzmq's */
    }
}

static uint32_t sensor_of(zmq_msg_t *payload)
{
    const char *user_id = zmq_msg_gets(payload, "User-Id");
    return user_id ? (uint32_t)strtoul(user_id, NULL, 10) : 0;
}

static void on_hello(
    struct child *child, uint32_t sensor, const uint8_t *routing, struct incoming *in)
{
    struct pk_link_hello hello = {.sensor = sensor};
    if (!in->has_body || pk_hello_body_decode(zmq_msg_data(&in->body), zmq_msg_size(&in->body),
                             &hello.body) != PK_OK) {
        struct pk_session stranger = {.sensor = sensor};
        memcpy(stranger.routing, routing, PK_ROUTING_ID_BYTES);
        child->stats.refused_frames++;
        send_error(child, &stranger, PK_FRAME_ERR_FRAMING, NULL, "HELLO body");
        return;
    }
    do {
        randombytes_buf(&hello.session, sizeof hello.session);
    } while (hello.session == 0);
    const char *address = zmq_msg_gets(&in->header, "Peer-Address");
    snprintf(hello.address, sizeof hello.address, "%s", address ? address : "");

    struct pk_session replaced;
    struct pk_session *session =
        pk_sessions_open(&child->sessions, sensor, hello.session, routing, &replaced);
    if (!session) {
        cut(&in->header);
        return;
    }
    if (replaced.id != 0 && memcmp(replaced.routing, routing, PK_ROUTING_ID_BYTES) != 0) {
        struct pk_frame bye = {.type = PK_FRAME_BYE,
            .session = replaced.id,
            .u.bye = {.reason = PK_BYE_MOVED, .retry_after_s = 30}};
        send_frame(child, &replaced, &bye, NULL);
    }
    session->last_frame_ms = pk_clock_mono_ms();
    child->stats.hellos++;
    (void)pk_link_send(&child->link, PK_LINK_HELLO, &hello, sizeof hello, NULL,
        0); /* a full link: the sensor says HELLO again */
}

/* Everything that can be wrong with a batch, in the order of docs/PROTOCOL.md s6. 0 when nothing is. */
static enum pk_frame_error check_batch(struct child *child, const struct pk_frame_batch *frame,
    const uint8_t *body, size_t len, char reason[PK_LINK_TEXT_SIZE])
{
    if (frame->body_len != len || len > PK_MAX_BODY_BYTES || frame->rows > PK_MAX_BATCH_ROWS) {
        snprintf(reason, PK_LINK_TEXT_SIZE,
            "lengths in the header do not fit the body of %zu bytes", len);
        return PK_FRAME_ERR_TOO_LARGE;
    }
    if (frame->codec != PK_CODEC_PLAIN && frame->codec != PK_CODEC_ZSTD) {
        snprintf(reason, PK_LINK_TEXT_SIZE, "codec %u was not agreed", frame->codec);
        return PK_FRAME_ERR_UNSUPPORTED;
    }
    uint8_t digest[PK_DIGEST_BYTES];
    pk_digest(body, len, digest);
    if (memcmp(digest, frame->digest, sizeof digest) != 0) {
        snprintf(reason, PK_LINK_TEXT_SIZE, "digest does not fit the body");
        return PK_FRAME_ERR_CORRUPT;
    }
    size_t raw_len;
    pk_err err = pk_unpack(frame->codec, body, len, &child->unpacked, &body, &raw_len);
    if (err != PK_OK || raw_len != frame->raw_len) {
        snprintf(reason, PK_LINK_TEXT_SIZE, "does not unpack to %" PRIu32 " bytes (%s)",
            frame->raw_len, pk_err_str(err));
        return err == PK_ERR_NOMEM   ? PK_FRAME_ERR_OVERLOADED
               : err == PK_ERR_LIMIT ? PK_FRAME_ERR_TOO_LARGE
                                     : PK_FRAME_ERR_MALFORMED;
    }
    struct pk_batch *batch = NULL;
    struct pk_batch_fault fault = {0};
    err = pk_batch_decode(body, raw_len, &batch, &fault);
    if (err == PK_OK &&
        (pk_batch_info(batch)->kind != frame->kind || pk_batch_rows(batch) != frame->rows ||
            pk_batch_info(batch)->kind == PK_BATCH_ORIGIN)) {
        err = PK_ERR_MALFORMED;
        fault.what = "kind or rows differ from the header";
    }
    pk_batch_free(batch);
    if (err != PK_OK) {
        snprintf(reason, PK_LINK_TEXT_SIZE, "%s at key %" PRIu32 " (%s)",
            fault.what ? fault.what : "body", fault.key, pk_err_str(err));
        return err == PK_ERR_NOMEM ? PK_FRAME_ERR_OVERLOADED : PK_FRAME_ERR_MALFORMED;
    }
    return (enum pk_frame_error)0;
}

/* A batch that is not taken. An ACK covers everything sent before it in its session (docs/PROTOCOL.md s6), so a sensor that might not have
 * heard of a refusal, or that is to send the batch again, must begin a new session: the old one ends here. */
static void refuse_batch(struct child *child, struct pk_session *session, enum pk_frame_error code,
    const struct pk_frame_batch *batch, const char *text)
{
    bool is_final = code != PK_FRAME_ERR_CREDIT && code != PK_FRAME_ERR_OVERLOADED;
    if (!send_error(child, session, code, batch, text) || !is_final) {
        pk_sessions_close(&child->sessions, session);
    }
}

static void on_batch(struct child *child, struct pk_session *session, const struct pk_frame *frame,
    struct incoming *in)
{
    struct pk_link_batch batch = {
        .sensor = session->sensor, .session = session->id, .frame = frame->u.batch};
    const uint8_t *body = in->has_body ? zmq_msg_data(&in->body) : NULL;
    size_t len = in->has_body ? zmq_msg_size(&in->body) : 0;
    uint32_t raw_len = frame->u.batch.raw_len;
    if (len == 0 || len > PK_MAX_BODY_BYTES || raw_len > PK_MAX_BODY_BYTES) {
        child->stats.refused_frames++;
        refuse_batch(child, session, PK_FRAME_ERR_TOO_LARGE, &frame->u.batch,
            "no body, or beyond the limit of WELCOME");
        return;
    }
    if (!session->is_resumed || !pk_session_take(&child->sessions, session, raw_len)) {
        child->stats.refused_credit++;
        refuse_batch(
            child, session, PK_FRAME_ERR_CREDIT, &frame->u.batch, "beyond the credit granted");
        return;
    }
    enum pk_frame_error code = check_batch(child, &frame->u.batch, body, len, batch.reason);
    if (code == PK_FRAME_ERR_OVERLOADED) {
        refuse_batch(child, session, code, &frame->u.batch, "out of memory, send again");
        return;
    }
    child->stats.batches++;
    child->stats.batch_bytes += len;
    if (!code && frame->u.batch.codec != PK_CODEC_PLAIN) { /* the core knows plain bodies only */
        body = child->unpacked.data;
        len = child->unpacked.len;
    }
    batch.frame.body_len = (uint32_t)len;
    child->stats.refused_batches += code != 0;
    enum pk_link_type type = code ? PK_LINK_REFUSED : PK_LINK_BATCH;
    if (pk_link_send(&child->link, type, &batch, sizeof batch, body, len) != PK_OK) {
        refuse_batch(child, session, PK_FRAME_ERR_OVERLOADED, &frame->u.batch,
            "the core does not keep up, send again");
    }
}

static void on_heartbeat(
    struct child *child, struct pk_session *session, const struct pk_frame *frame)
{
    struct pk_frame echo = {
        .type = PK_FRAME_HEARTBEAT,
        .session = session->id,
        .u.heartbeat =
            {
                .mono_ns = (uint64_t)pk_clock_mono_ms() * 1000000,
                .wall_us = pk_clock_wall_us(),
                .echo_mono_ns = frame->u.heartbeat.mono_ns,
            },
    };
    send_frame(child, session, &echo, NULL);
}

static void on_frame(struct child *child, struct incoming *in)
{
    const uint8_t *routing = zmq_msg_data(&in->routing);
    uint32_t sensor = in->n_frames > 0 ? sensor_of(&in->header) : 0;
    if (sensor == 0 || zmq_msg_size(&in->routing) != PK_ROUTING_ID_BYTES || routing[0] != 0 ||
        !pk_zap_knows(child->zap, sensor)) {
        child->stats.refused_frames++;
        if (in->n_frames > 0) {
            cut(&in->header);
        }
        return;
    }
    struct pk_session *session = pk_sessions_find(&child->sessions, sensor);
    struct pk_session stranger = {.sensor = sensor};
    memcpy(stranger.routing, routing, PK_ROUTING_ID_BYTES);

    struct pk_frame frame;
    pk_err err = in->n_frames > 2 ? PK_ERR_LIMIT
                                  : pk_frame_decode(zmq_msg_data(&in->header),
                                        zmq_msg_size(&in->header), &frame);
    if (err == PK_ERR_UNSUPPORTED) {
        child->stats.refused_frames++;
        send_error(child, session ? session : &stranger, PK_FRAME_ERR_UNSUPPORTED, NULL,
            "unknown frame type");
        return;
    }
    if (err != PK_OK) {
        child->stats.refused_frames++;
        send_error(child, session ? session : &stranger,
            err == PK_ERR_VERSION ? PK_FRAME_ERR_VERSION : PK_FRAME_ERR_FRAMING, NULL,
            pk_err_str(err));
        cut(&in->header);
        return;
    }
    if (frame.type == PK_FRAME_HELLO) {
        on_hello(child, sensor, routing, in);
        return;
    }
    if (!session || session->id != frame.session ||
        memcmp(session->routing, routing, PK_ROUTING_ID_BYTES) != 0) {
        send_error(child, &stranger, PK_FRAME_ERR_NO_SESSION,
            frame.type == PK_FRAME_BATCH ? &frame.u.batch : NULL, "say HELLO");
        return;
    }
    session->last_frame_ms = pk_clock_mono_ms();
    if (frame.type == PK_FRAME_BATCH) {
        on_batch(child, session, &frame, in);
    } else if (frame.type == PK_FRAME_HEARTBEAT) {
        on_heartbeat(child, session, &frame);
    } else if (frame.type == PK_FRAME_BYE) {
        pk_sessions_close(&child->sessions, session);
    } else {
        send_error(child, session, PK_FRAME_ERR_UNSUPPORTED, NULL, "not for the aggregator");
    }
}

/* Reads one whole message; frames beyond the second are read and thrown away. False when there is none. */
static bool receive(void *router, struct incoming *in)
{
    zmq_msg_init(&in->routing);
    zmq_msg_init(&in->header);
    zmq_msg_init(&in->body);
    in->n_frames = 0;
    in->has_body = false;
    if (zmq_msg_recv(&in->routing, router, ZMQ_DONTWAIT) < 0) {
        return false;
    }
    bool more = zmq_msg_more(&in->routing);
    while (more) {
        zmq_msg_t scrap;
        zmq_msg_init(&scrap);
        zmq_msg_t *part = in->n_frames == 0 ? &in->header : in->n_frames == 1 ? &in->body : &scrap;
        more = zmq_msg_recv(part, router, 0) >= 0 && zmq_msg_more(part);
        zmq_msg_close(&scrap);
        in->has_body = in->has_body || in->n_frames == 1;
        in->n_frames++;
    }
    return true;
}

static void drain_router(struct child *child)
{
    struct incoming in;
    for (int i = 0; i < MAX_FRAMES_A_TURN; i++) {
        bool got = receive(child->router, &in);
        if (got) {
            on_frame(child, &in);
        }
        zmq_msg_close(&in.routing);
        zmq_msg_close(&in.header);
        zmq_msg_close(&in.body);
        if (!got) {
            break;
        }
    }
}

/* --- from the core --- */

static void on_done(struct child *child, const struct pk_link_done *done)
{
    struct pk_session *session = pk_sessions_find(&child->sessions, done->sensor);
    if (!session || session->id != done->session) {
        return; /* it reconnected meanwhile: its WELCOME told it */
    }
    pk_session_give_back(&child->sessions, session, done->body_len);
    if (done->error) {
        struct pk_frame_batch batch = {.epoch = done->epoch, .seq = done->seq};
        refuse_batch(child, session, (enum pk_frame_error)done->error, &batch,
            pk_frame_error_str((enum pk_frame_error)done->error));
        return;
    }
    struct pk_frame ack = {
        .type = PK_FRAME_ACK,
        .session = session->id,
        .u.ack =
            {
                .epoch = done->epoch,
                .upto =
                    done->seq, /* the core answers in the order it got them, a session's batches in the order sent */
                .credit_batches = PK_CREDIT_BATCHES,
                .credit_bytes = pk_session_credit_bytes(&child->sessions),
            },
    };
    send_frame(child, session, &ack, NULL);
}

/* Sessions of keys that are gone hear why and end; their later frames are dropped by pk_zap_knows. */
static void drop_revoked(struct child *child)
{
    for (size_t i = child->sessions.n; i-- > 0;) {
        struct pk_session *session = &child->sessions.slots[i];
        if (!pk_zap_knows(child->zap, session->sensor)) {
            struct pk_frame bye = {.type = PK_FRAME_BYE,
                .session = session->id,
                .u.bye = {.reason = PK_BYE_REVOKED, .retry_after_s = 600}};
            send_frame(child, session, &bye, NULL);
            pk_sessions_close(&child->sessions, session);
        }
    }
}

static void on_core(struct child *child, enum pk_link_type type, const uint8_t *data, size_t len)
{
    if (type == PK_LINK_KEYS && len % sizeof(struct pk_link_key) == 0) {
        size_t n = len / sizeof(struct pk_link_key);
        struct pk_link_key *keys = malloc(len ? len : 1); /* aligned copy */
        if (keys) {
            memcpy(keys, data, len);
            if (pk_zap_set_keys(child->zap, keys, n) == PK_OK) {
                drop_revoked(child);
            }
        }
        free(keys);
    } else if (type == PK_LINK_RESUME && len == sizeof(struct pk_link_resume)) {
        struct pk_link_resume resume;
        memcpy(&resume, data, sizeof resume);
        struct pk_session *session = pk_sessions_find(&child->sessions, resume.sensor);
        if (session && session->id == resume.session) {
            send_welcome(child, session, &resume);
        }
    } else if (type == PK_LINK_DONE && len == sizeof(struct pk_link_done)) {
        struct pk_link_done done;
        memcpy(&done, data, sizeof done);
        on_done(child, &done);
    } else if (type == PK_LINK_STOP) {
        child->is_stopping = true;
    }
}

static void say_bye(struct child *child)
{
    for (size_t i = 0; i < child->sessions.n; i++) {
        struct pk_session *session = &child->sessions.slots[i];
        struct pk_frame bye = {.type = PK_FRAME_BYE,
            .session = session->id,
            .u.bye = {.reason = PK_BYE_SHUTDOWN, .retry_after_s = 1}};
        send_frame(child, session, &bye, NULL);
    }
}

static void each_second(struct child *child, int64_t now_ms)
{
    if (now_ms < child->next_stats_ms) {
        return;
    }
    child->next_stats_ms = now_ms + STATS_MS;
    for (size_t i = child->sessions.n; i-- > 0;) {
        if (now_ms - child->sessions.slots[i].last_frame_ms > SESSION_IDLE_MS) {
            pk_sessions_close(&child->sessions, &child->sessions.slots[i]);
        }
    }
    child->stats.sessions = child->sessions.n;
    child->stats.refused_keys = pk_zap_refused(child->zap);
    child->stats.outstanding_bytes = child->sessions.outstanding_bytes;
    (void)pk_link_send(&child->link, PK_LINK_STATS, &child->stats, sizeof child->stats, NULL, 0);
}

static void take_messages(struct child *child)
{
    enum pk_link_type type;
    const uint8_t *data;
    size_t len;
    while (pk_link_next(&child->link, &type, &data, &len)) {
        on_core(child, type, data, len);
    }
}

static void serve(struct child *child)
{
    take_messages(child); /* what came in one read with the setup: no poll would tell */
    while (!child->is_stopping && !child->link.is_closed) {
        zmq_pollitem_t items[] = {
            {.socket = child->router, .events = ZMQ_POLLIN},
            {.fd = child->link.fd,
                .events =
                    (short)(ZMQ_POLLIN | (pk_link_wants_write(&child->link) ? ZMQ_POLLOUT : 0))},
        };
        if (zmq_poll(items, 2, STATS_MS) < 0 && zmq_errno() != EINTR) {
            break;
        }
        if (items[1].revents & ZMQ_POLLOUT) {
            (void)pk_link_flush(&child->link);
        }
        if (items[1].revents & (ZMQ_POLLIN | ZMQ_POLLERR)) {
            (void)pk_link_fill(&child->link); /* the end of the stream shows as is_closed */
            take_messages(child);
        }
        if (items[0].revents & ZMQ_POLLIN) {
            drain_router(child);
        }
        each_second(child, pk_clock_mono_ms());
    }
}

/* The setup is the first message; waits for it without a limit, since the core sends it right after the start or dies. */
static bool await_setup(struct pk_link *link, struct pk_link_setup *out_setup)
{
    enum pk_link_type type;
    const uint8_t *data;
    size_t len;
    while (!pk_link_next(link, &type, &data, &len)) {
        zmq_pollitem_t item = {.fd = link->fd, .events = ZMQ_POLLIN};
        if (zmq_poll(&item, 1, -1) < 0 || pk_link_fill(link) != PK_OK) {
            return false;
        }
    }
    if (type != PK_LINK_SETUP || len != sizeof *out_setup) {
        return false;
    }
    memcpy(out_setup, data, len);
    out_setup->endpoint[PK_LINK_ENDPOINT_SIZE - 1] = '\0';
    return true;
}

int pk_ingest_child_main(int link_fd)
{
    prctl(PR_SET_DUMPABLE, 0); /* the server's secret key is in memory */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct child child = {.next_stats_ms = 0};
    pk_bytes_init(&child.unpacked, PK_MAX_BODY_BYTES);
    struct pk_link_setup setup;
    int status = 70; /* EX_SOFTWARE */
    if (pk_link_init(&child.link, link_fd, LINK_QUEUE_SLACK) == PK_OK &&
        await_setup(&child.link, &setup) && child_open(&child, &setup)) {
        sodium_memzero(&setup, sizeof setup);
        serve(&child);
        say_bye(&child);
        status = 0;
    }
    sodium_memzero(&setup, sizeof setup);
    child_close(&child);
    return status;
}

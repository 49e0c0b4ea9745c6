/* Frames to the sensors. Nothing here blocks: a peer that does not read loses the frame, and every caller says what follows from that. */
#include <string.h>

#include <zmq.h>

#include "picket/clock.h"
#include "picket/limits.h"

#include "child.h"

/* False: the peer is gone or does not read, and the frame is lost. */
bool pk_talk_frame(struct child *child, const struct pk_session *session,
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

static bool is_fatal(enum pk_frame_error code)
{
    return code == PK_FRAME_ERR_FRAMING || code == PK_FRAME_ERR_VERSION ||
           code == PK_FRAME_ERR_CREDIT || code == PK_FRAME_ERR_CLONE ||
           code == PK_FRAME_ERR_REVOKED;
}

bool pk_talk_error(struct child *child, const struct pk_session *session, enum pk_frame_error code,
    const struct pk_frame_batch *batch, const char *text)
{
    struct pk_frame frame = {
        .type = PK_FRAME_ERROR,
        .session = session->id,
        .u.error = {.code = (uint16_t)code,
            .epoch = batch ? batch->epoch : 0,
            .seq = batch ? batch->seq : 0,
            .fatal = is_fatal(code)},
    };
    struct pk_bytes body;
    pk_bytes_init(&body, PK_MAX_WIRE_TEXT);
    pk_bytes_put(&body, text, strnlen(text, PK_MAX_WIRE_TEXT));
    bool is_sent = pk_talk_frame(child, session, &frame, body.len ? &body : NULL);
    pk_bytes_done(&body);
    return is_sent;
}

void pk_talk_welcome(
    struct child *child, struct pk_session *session, const struct pk_link_resume *resume)
{
    struct pk_window window = pk_session_window(&child->sessions, session);
    struct pk_welcome_body welcome = {
        .sensor_id = session->sensor,
        .max_body_bytes = PK_MAX_BODY_BYTES,
        .max_unpacked_bytes = PK_MAX_BODY_BYTES,
        .capabilities = PK_CAP_ZSTD | PK_CAP_ROTATE,
        .credit_batches = (uint16_t)window.batches,
        .credit_bytes = window.bytes,
        .ack_timeout_ms = PK_CHILD_ACK_TIMEOUT_MS,
        .heartbeat_ms = PK_CHILD_HEARTBEAT_MS,
        .resume_epoch = resume->epoch,
        .resume_seq = resume->seq,
        .config_version = resume->config_version,
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
        (void)pk_talk_frame(child, session, &frame, &body);
        pk_talk_config(child, session, pk_clock_mono_ms());
        pk_scopes_welcomed(child, session, resume->config_version);
    }
    pk_bytes_done(&body);
}

void pk_talk_ack(struct child *child, struct pk_session *session, uint64_t epoch, uint64_t upto)
{
    struct pk_window window = pk_session_window(&child->sessions, session);
    struct pk_frame ack = {
        .type = PK_FRAME_ACK,
        .session = session->id,
        .u.ack =
            {
                .epoch = epoch,
                .upto = upto,
                .credit_batches = (uint16_t)window.batches,
                .credit_bytes = window.bytes,
            },
    };
    (void)pk_talk_frame(child, session, &ack, NULL); /* lost: the next one covers it */
}

void pk_talk_credit(struct child *child, struct pk_session *session, enum pk_credit_reason reason)
{
    struct pk_window window = pk_session_window(&child->sessions, session);
    struct pk_frame credit = {
        .type = PK_FRAME_CREDIT,
        .session = session->id,
        .u.credit = {.credit_batches = (uint16_t)window.batches,
            .credit_bytes = window.bytes,
            .reason = (uint8_t)(window.batches ? PK_CREDIT_OPEN : reason)},
    };
    (void)pk_talk_frame(child, session, &credit, NULL); /* said again while it lasts */
}

void pk_talk_bye(struct child *child, const struct pk_session *session, enum pk_bye_reason reason,
    uint32_t retry_after_s)
{
    struct pk_frame bye = {.type = PK_FRAME_BYE,
        .session = session->id,
        .u.bye = {.reason = (uint8_t)reason, .retry_after_s = retry_after_s}};
    (void)pk_talk_frame(child, session, &bye, NULL); /* a courtesy */
}

void pk_talk_rotated(
    struct child *child, struct pk_session *session, const struct pk_link_rotated *rotated)
{
    if (rotated->is_refused) {
        (void)pk_talk_error(
            child, session, PK_FRAME_ERR_UNSUPPORTED, NULL, "this key cannot be the next");
        return;
    }
    struct pk_frame frame = {.type = PK_FRAME_ROTATE, .session = session->id};
    struct pk_bytes body;
    pk_bytes_init(&body, PK_MAX_WIRE_TEXT);
    if (pk_rotate_body_encode(rotated->next, &body) == PK_OK) {
        (void)pk_talk_frame(child, session, &frame, &body); /* lost: asked again */
    }
    pk_bytes_done(&body);
}

void pk_talk_config(struct child *child, struct pk_session *session, int64_t now_ms)
{
    struct pk_frame frame = {.type = PK_FRAME_CONFIG,
        .session = session->id,
        .u.config = {.version = child->config_version}};
    session->config_ms = now_ms;
    if (child->config.len > 0 && session->takes_config && !session->has_config) {
        (void)pk_talk_frame(child, session, &frame, &child->config); /* lost: told again */
    }
}

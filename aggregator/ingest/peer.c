/* What sensors say.
 *
 * Identity comes from the User-Id of a payload frame (libzmq 4.3.4 loses it on the routing-id frame), which the ZAP handler set from the key
 * table. A batch is checked whole - sizes, digest, every column - before the core hears of it, so that the core
 * handles only bytes that decode. Whoever breaks the protocol is answered with ERROR; a fatal one also loses the connection by shutdown(2) of its
 * descriptor (close(2) would crash libzmq, issue 2877), and ten in ten minutes shut the door on its key (offence.h). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <sodium.h>

#include "picket/batch.h"
#include "picket/clock.h"
#include "picket/codec.h"
#include "picket/hash.h"
#include "picket/limits.h"

#include "child.h"
#include "watch.h"

enum {
    HELLO_EVERY_MS = 1000,
    ANSWER_MS = 50, /* an ERROR gets out before its connection is cut */
};

void pk_peer_cut(int fd, const char *wanted_peer)
{
    char peer[PK_PEER_SIZE];
    /* The number may have been given to another connection since: the peer's address and port tell. */
    if (fd >= 0 && pk_watch_peer(fd, peer) && strcmp(peer, wanted_peer) == 0) {
        (void)shutdown(fd, SHUT_RDWR); /* never close(2): the descriptor is libzmq's */
    }
}

void pk_peer_cut_due(struct child *child, int64_t now_ms)
{
    while (child->n_doomed > 0 && child->doomed[0].at_ms <= now_ms) {
        pk_peer_cut(child->doomed[0].fd, child->doomed[0].peer);
        memmove(child->doomed, child->doomed + 1, --child->n_doomed * sizeof child->doomed[0]);
    }
}

void pk_peer_cut_soon(struct child *child, int fd, const char *peer)
{
    if (fd < 0 || child->n_doomed == PK_MAX_DOOMED) {
        pk_peer_cut(fd, peer);
        return;
    }
    struct doomed *doomed = &child->doomed[child->n_doomed++];
    *doomed = (struct doomed){.fd = fd, .at_ms = pk_clock_mono_ms() + ANSWER_MS};
    snprintf(doomed->peer, sizeof doomed->peer, "%s", peer);
}

/* The connection a message came on. */
static void cut(struct child *child, zmq_msg_t *payload)
{
    char peer[PK_PEER_SIZE];
    int fd = zmq_msg_get(payload, ZMQ_SRCFD);
    if (fd >= 0 && pk_watch_peer(fd, peer)) {
        pk_peer_cut_soon(child, fd, peer);
    }
}

static const char *address_of(zmq_msg_t *payload)
{
    const char *address = zmq_msg_gets(payload, "Peer-Address");
    return address ? address : "";
}

void pk_peer_offence(struct child *child, uint32_t sensor, uint32_t tenant, const char *address,
    enum pk_offence_kind kind, bool is_grave)
{
    int64_t now_ms = pk_clock_mono_ms();
    struct pk_link_offence offence = {.sensor = sensor, .tenant = tenant, .kind = kind};
    if ((sensor == 0 || kind == PK_OFFENCE_CLONE) &&
        !pk_offence_is_news(&child->offences, sensor, now_ms)) {
        return;
    }
    /* A clone is no strike: it would shut out the rightful one too. */
    offence.is_out =
        sensor != 0 && kind != PK_OFFENCE_CLONE &&
        pk_offence_strike(&child->offences, sensor, now_ms, is_grave, &offence.strikes);
    snprintf(offence.address, sizeof offence.address, "%s", address);
    child->stats.offences++;
    if (offence.is_out) {
        child->stats.struck++;
        pk_zap_shut_out(child->zap, sensor, now_ms + PK_OFFENCE_OUT_MS);
        struct pk_session *session = pk_sessions_find(&child->sessions, sensor);
        if (session) {
            pk_peer_cut(session->fd, session->peer);
            pk_sessions_close(&child->sessions, session);
        }
    }
    (void)pk_link_send(&child->link, PK_LINK_OFFENCE, &offence, sizeof offence, NULL,
        0); /* a full link: the counters have it */
}

static uint32_t sensor_of(zmq_msg_t *payload, uint8_t out_pubkey[PK_KEY_BYTES])
{
    const char *user_id = zmq_msg_gets(payload, "User-Id");
    uint32_t sensor;
    return user_id && pk_zap_read_user(user_id, &sensor, out_pubkey) ? sensor : 0;
}

/* The connection a session speaks on, so that it can be cut later. */
static void note_connection(struct pk_session *session, zmq_msg_t *payload)
{
    session->fd = zmq_msg_get(payload, ZMQ_SRCFD);
    if (session->fd >= 0 && !pk_watch_peer(session->fd, session->peer)) {
        session->fd = -1;
    }
}

/* The core hears of each turn, so that it knows when they end. */
static enum pk_offence_turn note_turn(struct child *child, uint32_t sensor,
    const uint8_t boot_id[PK_BOOT_ID_BYTES], const char *address, int64_t now_ms)
{
    const char *other;
    enum pk_offence_turn turn =
        pk_offence_flip(&child->offences, sensor, boot_id, address, now_ms, &other);
    if (turn != PK_OFFENCE_ALONE) {
        struct pk_link_clone clone = {.sensor = sensor};
        snprintf(clone.address, sizeof clone.address, "%s", address);
        snprintf(clone.other, sizeof clone.other, "%s", other);
        (void)pk_link_send(&child->link, PK_LINK_CLONE, &clone, sizeof clone, NULL,
            0); /* a full link: the next turn tells */
    }
    return turn;
}

/* stranger: who says it, by which key and on which connection; no session yet. */
static void on_hello(struct child *child, const struct pk_session *stranger, uint32_t tenant,
    const struct pk_frame *frame, struct incoming *in)
{
    uint32_t sensor = stranger->sensor;
    const uint8_t *routing = stranger->routing;
    struct pk_link_hello hello = {.sensor = sensor};
    int64_t now_ms = pk_clock_mono_ms();
    memcpy(hello.pubkey, stranger->pubkey, PK_KEY_BYTES);
    if (!in->has_body || pk_hello_body_decode(zmq_msg_data(&in->body), zmq_msg_size(&in->body),
                             &hello.body) != PK_OK) {
        child->stats.refused_frames++;
        (void)pk_talk_error(child, stranger, PK_FRAME_ERR_FRAMING, NULL, "HELLO body");
        cut(child, &in->header);
        pk_peer_offence(child, sensor, tenant, address_of(&in->header), PK_OFFENCE_FRAMING, false);
        return;
    }
    struct pk_session *old = pk_sessions_find(&child->sessions, sensor);
    bool is_same = old && memcmp(old->routing, routing, PK_ROUTING_ID_BYTES) == 0;
    if (is_same && now_ms - old->hello_ms < HELLO_EVERY_MS) {
        return; /* one that says nothing but HELLO gets one answer a second */
    }
    /* The same key on two machines: each comes back with the boot id it had before the other came. */
    enum pk_offence_turn turn =
        is_same ? PK_OFFENCE_ALONE
                : note_turn(child, sensor, frame->u.hello.boot_id, address_of(&in->header), now_ms);
    if (turn == PK_OFFENCE_STORM && old) {
        (void)pk_talk_error(
            child, stranger, PK_FRAME_ERR_CLONE, NULL, "this key is in use on another machine");
        cut(child, &in->header);
        pk_peer_offence(child, sensor, tenant, address_of(&in->header), PK_OFFENCE_CLONE, false);
        return;
    }
    do {
        randombytes_buf(&hello.session, sizeof hello.session);
    } while (hello.session == 0);
    snprintf(hello.address, sizeof hello.address, "%s", address_of(&in->header));

    struct pk_session replaced;
    struct pk_session *session =
        pk_sessions_open(&child->sessions, sensor, tenant, hello.session, routing, &replaced);
    if (!session) {
        cut(child, &in->header);
        return;
    }
    if (replaced.id != 0 && !is_same) {
        pk_talk_bye(child, &replaced, PK_BYE_MOVED, 30);
        if (memcmp(replaced.pubkey, stranger->pubkey, PK_KEY_BYTES) != 0) {
            pk_peer_cut_soon(child, replaced.fd, replaced.peer); /* of another key */
        }
    }
    session->last_frame_ms = session->hello_ms = now_ms;
    session->rotate_ms = now_ms - HELLO_EVERY_MS;
    session->takes_config = (hello.body.capabilities & PK_CAP_CONFIG) != 0;
    session->scope =
        (struct pk_session_scope){.is_taken = (hello.body.capabilities & PK_CAP_SCOPE) != 0,
            .due_ms = INT64_MAX,
            .tell_ms = session->scope.tell_ms};
    memcpy(session->pubkey, stranger->pubkey, PK_KEY_BYTES);
    session->queued =
        hello.body.spool_newest_seq >= hello.body.spool_oldest_seq && hello.body.spool_bytes > 0;
    note_connection(session, &in->header);
    session->address = pk_zap_address(hello.address, strlen(hello.address));
    pk_session_touch(&child->sessions, session, now_ms);
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

/* An ACK covers everything sent before it in its session (docs/PROTOCOL.md s6), so a sensor that might not have heard of a refusal, or that is to send
 * the batch again, must begin a new session: the old one ends here. */
void pk_peer_refuse(struct child *child, struct pk_session *session, enum pk_frame_error code,
    const struct pk_frame_batch *batch, const char *text)
{
    bool is_final = code != PK_FRAME_ERR_CREDIT && code != PK_FRAME_ERR_OVERLOADED;
    if (!pk_talk_error(child, session, code, batch, text) || !is_final) {
        pk_sessions_close(&child->sessions, session);
    }
}

/* The same for what no sensor of ours does: it counts against the sender, whose session may be gone afterwards. */
static void refuse_offence(struct child *child, struct pk_session *session,
    enum pk_frame_error code, const struct pk_frame_batch *batch, const char *text,
    enum pk_offence_kind kind)
{
    uint32_t sensor = session->sensor, tenant = session->tenant;
    char peer[sizeof session->peer];
    memcpy(peer, session->peer, sizeof peer);
    pk_peer_refuse(child, session, code, batch, text);
    pk_peer_offence(child, sensor, tenant, peer, kind, false);
}

static void on_batch(struct child *child, struct pk_session *session, const struct pk_frame *frame,
    struct incoming *in)
{
    struct pk_link_batch batch = {.sensor = session->sensor,
        .tenant = session->tenant,
        .session = session->id,
        .frame = frame->u.batch};
    const uint8_t *body = in->has_body ? zmq_msg_data(&in->body) : NULL;
    size_t len = in->has_body ? zmq_msg_size(&in->body) : 0;
    uint32_t raw_len = frame->u.batch.raw_len;
    session->last_batch_ms = session->last_frame_ms;
    if (len == 0 || len > PK_MAX_BODY_BYTES || raw_len == 0 || raw_len > PK_MAX_BODY_BYTES) {
        child->stats.refused_frames++;
        refuse_offence(child, session, PK_FRAME_ERR_TOO_LARGE, &frame->u.batch,
            "no body, or beyond the limit of WELCOME", PK_OFFENCE_LENGTHS);
        return;
    }
    enum pk_session_room room =
        session->is_resumed ? PK_SESSION_ROOM : PK_SESSION_BEYOND; /* a batch before WELCOME */
    uint32_t weight = raw_len > len ? raw_len : (uint32_t)len;     /* the lesser may be a lie */
    room = room == PK_SESSION_ROOM ? pk_session_take(&child->sessions, session, weight) : room;
    if (room == PK_SESSION_BEYOND) {
        child->stats.refused_credit++;
        refuse_offence(child, session, PK_FRAME_ERR_CREDIT, &frame->u.batch,
            "beyond the credit granted", PK_OFFENCE_CREDIT);
        return;
    }
    enum pk_frame_error code = room == PK_SESSION_NO_BUDGET
                                   ? PK_FRAME_ERR_OVERLOADED
                                   : check_batch(child, &frame->u.batch, body, len, batch.reason);
    if (code == PK_FRAME_ERR_OVERLOADED) {
        if (room == PK_SESSION_ROOM) {
            pk_sessions_give_back(&child->sessions, session, session->tenant, weight);
        }
        child->stats.overloaded++;
        pk_peer_refuse(child, session, code, &frame->u.batch, "no room for more, send again");
        return;
    }
    child->stats.batches++;
    child->stats.batch_bytes += len;
    if (!code && frame->u.batch.codec != PK_CODEC_PLAIN) { /* the core knows plain bodies only */
        body = child->unpacked.data;
        len = child->unpacked.len;
    }
    batch.frame.body_len = (uint32_t)len;
    batch.frame.raw_len = weight; /* comes back with the answer */
    child->stats.refused_batches += code != 0;
    enum pk_link_type type = code ? PK_LINK_REFUSED : PK_LINK_BATCH;
    if (pk_link_send(&child->link, type, &batch, sizeof batch, body, len) != PK_OK) {
        pk_sessions_give_back(&child->sessions, session, session->tenant, weight);
        child->stats.overloaded++;
        pk_peer_refuse(child, session, PK_FRAME_ERR_OVERLOADED, &frame->u.batch,
            "the core does not keep up, send again");
        return;
    }
    if (code) {
        pk_peer_offence(
            child, session->sensor, session->tenant, session->peer, PK_OFFENCE_BATCH, false);
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
    session->queued = frame->u.heartbeat.queued;
    session->queued_bytes = frame->u.heartbeat.queued_bytes;
    session->behind_us = frame->u.heartbeat.behind_us;
    session->offset_us = frame->u.heartbeat.offset_us;
    session->has_report = true;
    pk_session_touch(&child->sessions, session, session->last_frame_ms);
    (void)pk_talk_frame(child, session, &echo, NULL); /* asked again */
}

/* The core makes the key sure and answers; one that asks all the time is heard once a second. */
static void on_rotate(struct child *child, struct pk_session *session, struct incoming *in)
{
    struct pk_link_rotate rotate = {.sensor = session->sensor, .session = session->id};
    if (!in->has_body || pk_rotate_body_decode(zmq_msg_data(&in->body), zmq_msg_size(&in->body),
                             rotate.next) != PK_OK) {
        child->stats.refused_frames++;
        (void)pk_talk_error(child, session, PK_FRAME_ERR_FRAMING, NULL, "ROTATE body");
        cut(child, &in->header);
        pk_peer_offence(child, session->sensor, session->tenant, address_of(&in->header),
            PK_OFFENCE_FRAMING, false);
        return;
    }
    if (session->last_frame_ms - session->rotate_ms < HELLO_EVERY_MS) {
        return;
    }
    session->rotate_ms = session->last_frame_ms;
    memcpy(rotate.pubkey, session->pubkey, PK_KEY_BYTES);
    (void)pk_link_send(
        &child->link, PK_LINK_ROTATE, &rotate, sizeof rotate, NULL, 0); /* full: it asks again */
}

/* Not a frame of this protocol. */
static void refuse_frame(struct child *child, uint32_t sensor, uint32_t tenant,
    const struct pk_session *to, pk_err err, struct incoming *in)
{
    child->stats.refused_frames++;
    if (err == PK_ERR_UNSUPPORTED) {
        (void)pk_talk_error(child, to, PK_FRAME_ERR_UNSUPPORTED, NULL, "unknown frame type");
        return;
    }
    (void)pk_talk_error(child, to,
        err == PK_ERR_VERSION ? PK_FRAME_ERR_VERSION : PK_FRAME_ERR_FRAMING, NULL,
        err == PK_ERR_VERSION ? "this is protocol 1" : pk_err_str(err));
    cut(child, &in->header);
    if (err != PK_ERR_VERSION) { /* a sensor of another major version is no enemy */
        pk_peer_offence(child, sensor, tenant, address_of(&in->header), PK_OFFENCE_FRAMING, false);
    }
}

void pk_peer_frame(struct child *child, struct incoming *in)
{
    const uint8_t *routing = zmq_msg_data(&in->routing);
    uint8_t pubkey[PK_KEY_BYTES];
    uint32_t sensor = in->n_frames > 0 ? sensor_of(&in->header, pubkey) : 0;
    uint32_t tenant = sensor ? pk_zap_tenant(child->zap, sensor) : 0;
    if (tenant == 0 || zmq_msg_size(&in->routing) != PK_ROUTING_ID_BYTES || routing[0] != 0) {
        child->stats.refused_frames++;
        if (in->n_frames > 0) {
            cut(child, &in->header);
        }
        if (tenant != 0) {
            pk_peer_offence(
                child, sensor, tenant, address_of(&in->header), PK_OFFENCE_FRAMING, false);
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
    if (err != PK_OK) {
        refuse_frame(child, sensor, tenant, &stranger, err, in);
        return;
    }
    if (frame.type == PK_FRAME_HELLO && !pk_zap_has_key(child->zap, sensor, pubkey)) {
        child->stats.refused_frames++; /* of a connection older than the key's retirement */
        cut(child, &in->header);
        return;
    }
    if (frame.type == PK_FRAME_HELLO) {
        memcpy(stranger.pubkey, pubkey, PK_KEY_BYTES);
        on_hello(child, &stranger, tenant, &frame, in);
        return;
    }
    if (!session || session->id != frame.session ||
        memcmp(session->routing, routing, PK_ROUTING_ID_BYTES) != 0) {
        (void)pk_talk_error(child, &stranger, PK_FRAME_ERR_NO_SESSION,
            frame.type == PK_FRAME_BATCH ? &frame.u.batch : NULL, "say HELLO");
        return;
    }
    session->last_frame_ms = pk_clock_mono_ms();
    session->bytes_seen += in->bytes;
    if (frame.type == PK_FRAME_BATCH) {
        on_batch(child, session, &frame, in);
    } else if (frame.type == PK_FRAME_HEARTBEAT) {
        on_heartbeat(child, session, &frame);
    } else if (frame.type == PK_FRAME_CONFIG_ACK &&
               pk_scopes_acked(child, session, &frame,
                   in->has_body ? zmq_msg_data(&in->body) : NULL,
                   in->has_body ? zmq_msg_size(&in->body) : 0)) {
        /* about the scope */
    } else if (frame.type == PK_FRAME_CONFIG_ACK) {
        session->has_config = frame.u.config_ack.version == child->config_version &&
                              frame.u.config_ack.status == PK_CONFIG_KEPT;
    } else if (frame.type == PK_FRAME_ROTATE) {
        on_rotate(child, session, in);
    } else if (frame.type == PK_FRAME_BYE) {
        pk_sessions_close(&child->sessions, session);
    } else {
        (void)pk_talk_error(
            child, session, PK_FRAME_ERR_UNSUPPORTED, NULL, "not for the aggregator");
    }
}

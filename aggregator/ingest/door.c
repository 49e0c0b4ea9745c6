/* The enrolment port: a second ROUTER that is bound only while a token is open.
 *
 * Anybody may connect who knows the server's public key, so everything here is small: frames of 4 KiB, three seconds for the handshake, few connections a minute (zap.c), two frames a message. What
 * was said is checked by the core against the database; a refusal leaves a fixed time later, whatever its reason. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <sodium.h>
#include <zmq.h>

#include "picket/clock.h"
#include "picket/enrol.h"

#include "child.h"

enum {
    REFUSAL_MS = 1000,
    MAX_A_TURN = 16,
    ZAP_ENFORCE = 93, /* as in child.c */
};

static bool configure(void *router, const struct pk_keypair *server)
{
    const struct {
        int option, value;
    } options[] = {
        {ZMQ_LINGER, 0},
        {ZMQ_SNDHWM, 4},
        {ZMQ_RCVHWM, 2},
        {ZMQ_HANDSHAKE_IVL, 3000},
        {ZMQ_HEARTBEAT_IVL, 10000},
        {ZMQ_HEARTBEAT_TIMEOUT, 10000},
        {ZMQ_ROUTER_MANDATORY, 1},
        {ZMQ_BACKLOG, 64},
        {ZMQ_IPV6, 1},
        {ZMQ_CURVE_SERVER, 1},
        {ZAP_ENFORCE, 1},
    };
    int64_t max_frame = PK_ENROL_MAX_REQUEST;
    bool is_good = zmq_setsockopt(router, ZMQ_MAXMSGSIZE, &max_frame, sizeof max_frame) == 0 &&
                   zmq_setsockopt(router, ZMQ_ZAP_DOMAIN, PK_ZAP_ENROL_DOMAIN,
                       strlen(PK_ZAP_ENROL_DOMAIN)) == 0;
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        is_good = is_good && zmq_setsockopt(router, options[i].option, &options[i].value,
                                 sizeof options[i].value) == 0;
    }
    return is_good &&
           zmq_setsockopt(router, ZMQ_CURVE_SECRETKEY, server->seckey, PK_KEY_BYTES) == 0;
}

void pk_door_set(struct child *child, bool is_open)
{
    if (is_open == (child->door != NULL)) {
        return;
    }
    pk_zap_set_door(child->zap, is_open);
    if (!is_open) {
        zmq_close(child->door);
        child->door = NULL;
        return;
    }
    child->door = zmq_socket(child->context, ZMQ_ROUTER);
    if (child->door && configure(child->door, &child->server) &&
        zmq_bind(child->door, child->enrol_endpoint) == 0) {
        return;
    }
    char text[PK_LINK_TEXT_SIZE];
    int n = snprintf(text, sizeof text, "enrolment at %.80s: %s", child->enrol_endpoint,
        zmq_strerror(zmq_errno()));
    (void)pk_link_send(&child->link, PK_LINK_FAILED, text,
        n < (int)sizeof text ? (size_t)n : sizeof text - 1, NULL, 0);
    pk_zap_set_door(child->zap, false);
    if (child->door) {
        zmq_close(child->door);
        child->door = NULL;
    }
}

static void reply(struct child *child, const uint8_t *routing, const struct pk_frame *frame,
    const void *body, size_t len)
{
    struct pk_bytes header;
    pk_bytes_init(&header, PK_MAX_HEADER_BYTES);
    if (child->door && pk_frame_encode(frame, &header) == PK_OK &&
        zmq_send(child->door, routing, PK_ROUTING_ID_BYTES, ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0 &&
        zmq_send(child->door, header.data, header.len, ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0) {
        (void)zmq_send(child->door, body, len, ZMQ_DONTWAIT); /* lost: it asks again */
    }
    pk_bytes_done(&header);
}

static void refuse(struct child *child, const uint8_t *routing)
{
    struct pk_frame frame = {
        .type = PK_FRAME_ERROR, .u.error = {.code = PK_FRAME_ERR_ENROL, .fatal = 1}};
    static const char text[] = "this token is not open for you";
    reply(child, routing, &frame, text, sizeof text - 1);
}

static void refuse_later(struct child *child, const uint8_t *routing, int64_t now_ms)
{
    if (child->n_refusals == PK_MAX_REFUSALS) {
        return; /* no answer then; a flood earns none */
    }
    struct refusal *refusal = &child->refusals[child->n_refusals++];
    memcpy(refusal->routing, routing, PK_ROUTING_ID_BYTES);
    refusal->at_ms = now_ms + REFUSAL_MS;
}

static void on_request(struct child *child, struct incoming *in, int64_t now_ms)
{
    const uint8_t *routing = zmq_msg_data(&in->routing);
    struct pk_link_enrol enrol = {.n_routing = PK_ROUTING_ID_BYTES};
    struct pk_frame frame;
    if (zmq_msg_size(&in->routing) != PK_ROUTING_ID_BYTES || in->n_frames == 0) {
        return;
    }
    const char *key = zmq_msg_gets(&in->header, "User-Id"),
               *address = zmq_msg_gets(&in->header, "Peer-Address");
    child->stats.enrol_requests++;
    if (in->n_frames != 2 || !key || !pk_key_parse(key, enrol.pubkey) ||
        pk_frame_decode(zmq_msg_data(&in->header), zmq_msg_size(&in->header), &frame) != PK_OK ||
        frame.type != PK_FRAME_ENROL ||
        pk_enrol_request_decode(zmq_msg_data(&in->body), zmq_msg_size(&in->body), &enrol.request) !=
            PK_OK) {
        refuse_later(child, routing, now_ms);
        return;
    }
    memcpy(enrol.routing, routing, PK_ROUTING_ID_BYTES);
    snprintf(enrol.address, sizeof enrol.address, "%s", address ? address : "");
    (void)pk_link_send(
        &child->link, PK_LINK_ENROL, &enrol, sizeof enrol, NULL, 0); /* full: it asks again */
    sodium_memzero(&enrol, sizeof enrol);
}

void pk_door_serve(struct child *child, int64_t now_ms)
{
    size_t n_due = 0;
    while (n_due < child->n_refusals && child->refusals[n_due].at_ms <= now_ms) {
        refuse(child, child->refusals[n_due++].routing);
    }
    child->n_refusals -= n_due;
    memmove(
        child->refusals, child->refusals + n_due, child->n_refusals * sizeof child->refusals[0]);
    for (int i = 0; child->door && i < MAX_A_TURN; i++) {
        struct incoming in;
        bool got = pk_child_receive(child->door, &in);
        if (got) {
            on_request(child, &in, now_ms);
        }
        zmq_msg_close(&in.routing);
        zmq_msg_close(&in.header);
        zmq_msg_close(&in.body);
        if (!got) {
            break;
        }
    }
}

void pk_door_answer(
    struct child *child, const struct pk_link_enrolled *enrolled, const uint8_t *body, size_t len)
{
    if (enrolled->is_refused) {
        refuse_later(child, enrolled->routing, pk_clock_mono_ms());
        return;
    }
    struct pk_frame frame = {.type = PK_FRAME_ENROLLED};
    reply(child, enrolled->routing, &frame, body, len);
}

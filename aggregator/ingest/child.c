/* The ingest child's loop: one thread polls the ROUTER and the link, libzmq's I/O threads decrypt, the ZAP thread admits.
 *
 * What sensors say is dealt with in peer.c, what they are told leaves by talk.c; here is the life of the process, what the core says, and what is due by time: credit that
 * closes while the store is away and opens when it is back. */
#include "child.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <sodium.h>
#include <zmq.h>

#include "picket/clock.h"
#include "picket/limits.h"
#include "picket/log.h"

enum {
    ZAP_ENFORCE_DOMAIN =
        93, /* ZMQ_ZAP_ENFORCE_DOMAIN: a DRAFT name in 4.3.4, but the number is honoured */
    HEADER_SLACK = 33 + 9, /* CURVE and ZMTP overhead of a frame */
    STATS_MS = 1000,
    SESSION_IDLE_MS = 60000,
    CONFIG_AGAIN_MS = 30000,
    POLL_MS = 100,
    STALL_MS = 3000, /* the core answers nothing for so long: as good as a store that is away */
    CREDIT_AGAIN_MS =
        5000, /* a closed window is said again: silence must not look like a dead aggregator */
    UNPARK_A_TURN = 16,
    LINK_QUEUE_SLACK = 8 << 20, /* beside the batches on account: small messages */
    MAX_FRAMES_A_TURN = 256,
    LAST_WORDS_MS = 300, /* for a BYE to leave before the sockets close */
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

/* The body is made once; its digest is its version, so that a sensor's answer is to what it got. */
static pk_err set_config(struct child *child, const struct pk_config_body *config)
{
    pk_bytes_init(&child->config, PK_MAX_BODY_BYTES);
    pk_err err = config->n > 0 ? pk_config_body_encode(config, &child->config) : PK_OK;
    child->config_version = pk_config_version(child->config.data, child->config.len);
    return err;
}

static bool child_open(struct child *child, const struct pk_link_setup *setup)
{
    const char *what = "memory";
    if (pk_sessions_init(&child->sessions, setup->outstanding_budget_bytes,
            setup->outstanding_budget_batches) != PK_OK ||
        pk_offences_init(&child->offences) != PK_OK) {
        goto fail;
    }
    child->link.out.max_bytes = (size_t)setup->outstanding_budget_bytes + LINK_QUEUE_SLACK;
    what = "ZeroMQ context";
    child->context = zmq_ctx_new();
    if (!child->context || zmq_ctx_set(child->context, ZMQ_IO_THREADS,
                               setup->io_threads ? setup->io_threads : 1) != 0) {
        goto fail;
    }
    child->server = setup->server;
    memcpy(child->enrol_endpoint, setup->enrol_endpoint, sizeof child->enrol_endpoint);
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
    what = setup->next_endpoint; /* a port keeps the key that stood when it was bound */
    if (setup->next_endpoint[0] && (zmq_setsockopt(child->router, ZMQ_CURVE_SECRETKEY,
                                        setup->next.seckey, PK_KEY_BYTES) != 0 ||
                                       zmq_bind(child->router, setup->next_endpoint) != 0)) {
        goto fail;
    }
    what = "CONFIG";
    if (set_config(child, &setup->config) != PK_OK) {
        goto fail;
    }
    return pk_link_send(&child->link, PK_LINK_READY, bound, size, NULL, 0) == PK_OK;
fail:
    fail_start(child, what);
    return false;
}

static void child_close(struct child *child)
{
    if (child->door) {
        zmq_close(child->door);
    }
    pk_keypair_wipe(&child->server);
    if (child->router) {
        zmq_close(child->router);
    }
    pk_zap_stop(child->zap);
    if (child->context) {
        zmq_ctx_term(child->context);
    }
    pk_bytes_done(&child->config);
    pk_sessions_done(&child->sessions);
    pk_offences_done(&child->offences);
    pk_link_done(&child->link);
}

bool pk_child_receive(void *router, struct incoming *in)
{
    zmq_msg_init(&in->routing);
    zmq_msg_init(&in->header);
    zmq_msg_init(&in->body);
    in->n_frames = 0;
    in->has_body = false;
    in->bytes = 0;
    if (zmq_msg_recv(&in->routing, router, ZMQ_DONTWAIT) < 0) {
        return false;
    }
    bool more = zmq_msg_more(&in->routing);
    while (more) {
        zmq_msg_t scrap;
        zmq_msg_init(&scrap);
        zmq_msg_t *part = in->n_frames == 0 ? &in->header : in->n_frames == 1 ? &in->body : &scrap;
        more = zmq_msg_recv(part, router, 0) >= 0 && zmq_msg_more(part);
        in->bytes += zmq_msg_size(part) + HEADER_SLACK;
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
        bool got = pk_child_receive(child->router, &in);
        if (got) {
            pk_peer_frame(child, &in);
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
    if (session && session->id != done->session) {
        session = NULL; /* it reconnected meanwhile and sends again what it was not told of */
    }
    pk_sessions_give_back(&child->sessions, session, done->tenant, done->body_len);
    child->done_ms = pk_clock_mono_ms();
    if (session && done->error) {
        struct pk_frame_batch batch = {.epoch = done->epoch, .seq = done->seq};
        pk_peer_refuse(child, session, (enum pk_frame_error)done->error, &batch,
            pk_frame_error_str((enum pk_frame_error)done->error));
    } else if (session) {
        pk_session_acked(session);
        /* The core answers a session's batches in the order they were sent: upto covers what came before. */
        pk_talk_ack(child, session, done->epoch, done->seq);
    }
}

/* The tenant's home is another aggregator: the sensor goes there, or back to its own list. What it has under way is not acknowledged and comes again there. */
static void on_moved(struct child *child, const struct pk_link_moved *moved)
{
    struct pk_session *session = pk_sessions_find(&child->sessions, moved->sensor);
    if (!session || (moved->session != 0 && moved->session != session->id)) {
        return;
    }
    struct pk_frame bye = {.type = PK_FRAME_BYE,
        .session = session->id,
        .u.bye = {.reason = PK_BYE_MOVED, .retry_after_s = 1}};
    struct pk_bytes body;
    pk_bytes_init(&body, PK_MAX_BODY_BYTES);
    bool is_known = moved->elsewhere.address[0] != '\0' &&
                    pk_bye_body_encode(&moved->elsewhere, &body) == PK_OK;
    pk_talk_frame(child, session, &bye, is_known ? &body : NULL);
    pk_bytes_done(&body);
    pk_sessions_close(&child->sessions, session);
}

static void on_rotated(struct child *child, const struct pk_link_rotated *rotated)
{
    struct pk_session *session = pk_sessions_find(&child->sessions, rotated->sensor);
    if (session && session->id == rotated->session) {
        pk_talk_rotated(child, session, rotated);
    }
}

/* Sessions of keys that are gone, or that may not come from where they are, hear why and end; their later frames are dropped by pk_zap_tenant. */
static void drop_revoked(struct child *child)
{
    for (size_t i = child->sessions.n; i-- > 0;) {
        struct pk_session *session = &child->sessions.slots[i];
        if (pk_zap_tenant(child->zap, session->sensor) != session->tenant ||
            !pk_zap_may_stay(child->zap, session->sensor, session->pubkey, &session->address)) {
            pk_talk_bye(child, session, PK_BYE_REVOKED, 600);
            pk_peer_cut_soon(child, session->fd, session->peer);
            pk_sessions_close(&child->sessions, session);
        }
    }
}

/* Aligned copy. A list that has no place keeps the old one: no sensor is let in for want of memory. */
static void set_tenants(struct child *child, const uint8_t *data, size_t len)
{
    struct pk_link_tenant *tenants = malloc(len ? len : 1);
    if (tenants) {
        memcpy(tenants, data, len);
        (void)pk_zap_set_tenants(child->zap, tenants, len / sizeof *tenants);
    }
    free(tenants);
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
            pk_talk_welcome(child, session, &resume);
        }
    } else if (type == PK_LINK_DONE && len == sizeof(struct pk_link_done)) {
        struct pk_link_done done;
        memcpy(&done, data, sizeof done);
        on_done(child, &done);
    } else if (type == PK_LINK_STORE && len == sizeof(struct pk_link_store)) {
        struct pk_link_store state;
        memcpy(&state, data, sizeof state);
        child->is_store_away = state.is_away;
    } else if (type == PK_LINK_DOOR && len == sizeof(struct pk_link_door)) {
        struct pk_link_door door;
        memcpy(&door, data, sizeof door);
        pk_door_set(child, door.is_open);
    } else if (type == PK_LINK_ENROLLED && len >= sizeof(struct pk_link_enrolled)) {
        struct pk_link_enrolled enrolled;
        memcpy(&enrolled, data, sizeof enrolled);
        pk_door_answer(child, &enrolled, data + sizeof enrolled, len - sizeof enrolled);
    } else if (type == PK_LINK_MOVED && len == sizeof(struct pk_link_moved)) {
        struct pk_link_moved moved;
        memcpy(&moved, data, sizeof moved);
        moved.elsewhere.address[sizeof moved.elsewhere.address - 1] = '\0';
        on_moved(child, &moved);
    } else if (type == PK_LINK_ROTATED && len == sizeof(struct pk_link_rotated)) {
        struct pk_link_rotated rotated;
        memcpy(&rotated, data, sizeof rotated);
        on_rotated(child, &rotated);
    } else if (type == PK_LINK_TENANTS && len % sizeof(struct pk_link_tenant) == 0) {
        set_tenants(child, data, len);
    } else if (type == PK_LINK_SCOPES) {
        pk_scopes_changed(child);
    } else if (type == PK_LINK_SCOPE && len >= sizeof(struct pk_link_scope)) {
        struct pk_link_scope scope;
        memcpy(&scope, data, sizeof scope);
        pk_scopes_answer(child, &scope, data + sizeof scope, len - sizeof scope);
    } else if (type == PK_LINK_STOP) {
        child->is_stopping = true;
    }
}

static void say_bye(struct child *child)
{
    (void)set_int(child->router, ZMQ_LINGER, LAST_WORDS_MS);
    for (size_t i = 0; i < child->sessions.n; i++) {
        pk_talk_bye(child, &child->sessions.slots[i], PK_BYE_SHUTDOWN, 1);
    }
}

/* --- by time --- */

static void tell_all(struct child *child, enum pk_credit_reason reason, bool only_parked)
{
    for (size_t i = 0; i < child->sessions.n; i++) {
        struct pk_session *session = &child->sessions.slots[i];
        if (session->is_resumed && (!only_parked || session->is_parked)) {
            pk_talk_credit(child, session, reason);
        }
    }
}

/* Closes the windows while the store is away or answers nothing, opens them when it is back, and lets parked sessions go on in turn. */
static void mind_credit(struct child *child, int64_t now_ms)
{
    struct pk_sessions *sessions = &child->sessions;
    if (sessions->outstanding_batches == 0) {
        child->done_ms = now_ms;
    }
    bool is_paused = child->is_store_away || now_ms - child->done_ms > STALL_MS;
    bool is_due = now_ms >= child->next_credit_ms;
    if (is_paused != sessions->is_paused) {
        sessions->is_paused = is_paused;
        is_due = true;
        tell_all(child, PK_CREDIT_STORE, false);
    } else if (is_due) {
        tell_all(child, is_paused ? PK_CREDIT_STORE : PK_CREDIT_SHARE, true);
    }
    if (is_due) {
        child->next_credit_ms = now_ms + CREDIT_AGAIN_MS;
    }
    for (int i = 0; i < UNPARK_A_TURN; i++) {
        struct pk_session *session = pk_sessions_unpark(sessions);
        if (!session) {
            break;
        }
        if (session->is_resumed) {
            pk_talk_credit(child, session, PK_CREDIT_SHARE);
        }
    }
}

static void each_second(struct child *child, int64_t now_ms)
{
    if (now_ms < child->next_stats_ms) {
        return;
    }
    child->next_stats_ms = now_ms + STATS_MS;
    uint64_t n_configured = 0, n_scoped = 0;
    for (size_t i = child->sessions.n; i-- > 0;) {
        struct pk_session *session = &child->sessions.slots[i];
        if (now_ms - session->last_frame_ms > SESSION_IDLE_MS) {
            pk_sessions_close(&child->sessions, session);
        } else {
            pk_session_touch(&child->sessions, session, now_ms);
            n_configured += session->has_config;
            n_scoped += session->scope.wanted != 0 && session->scope.has == session->scope.wanted;
            if (session->is_resumed && now_ms - session->config_ms > CONFIG_AGAIN_MS) {
                pk_talk_config(child, session, now_ms);
            }
        }
    }
    child->stats.configured = n_configured;
    child->stats.scoped = n_scoped;
    child->stats.sessions = child->sessions.n;
    child->stats.refused_keys = pk_zap_refused(child->zap);
    child->stats.outstanding_bytes = child->sessions.outstanding_bytes;
    child->stats.parked_sessions = child->sessions.n_parked;
    child->stats.is_paused = child->sessions.is_paused;
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
            {.socket = child->door, .events = ZMQ_POLLIN},
        };
        if (zmq_poll(items, child->door ? 3 : 2, POLL_MS) < 0 && zmq_errno() != EINTR) {
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
        int64_t now_ms = pk_clock_mono_ms();
        pk_peer_cut_due(child, now_ms);
        pk_door_serve(child, now_ms);
        pk_scopes_due(child, now_ms);
        pk_watch_connections(child, now_ms);
        mind_credit(child, now_ms);
        each_second(child, now_ms);
        pk_report_send(child, now_ms);
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
    out_setup->enrol_endpoint[PK_LINK_ENDPOINT_SIZE - 1] = '\0';
    out_setup->next_endpoint[PK_LINK_ENDPOINT_SIZE - 1] = '\0';
    out_setup->endpoint[PK_LINK_ENDPOINT_SIZE - 1] = '\0';
    return true;
}

int pk_ingest_child_main(int link_fd)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct child child = {.done_ms = pk_clock_mono_ms()};
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) { /* one descriptor a sensor */
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
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

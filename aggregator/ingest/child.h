/* What the files of the ingest child share. Private to aggregator/ingest; one thread. */
#ifndef INGEST_CHILD_H
#define INGEST_CHILD_H

#include <zmq.h>

#include "picket/bytes.h"

#include "ingest.h"
#include "offence.h"
#include "session.h"
#include "zap.h"

enum {
    PK_MAX_DOOMED = 256,
    PK_MAX_REFUSALS = 64,
    PK_CHILD_HEARTBEAT_MS = 15000,
    PK_CHILD_ACK_TIMEOUT_MS = 15000,
};

/* A connection that is cut when its answer had time to get out. */
struct doomed {
    int fd;
    char peer[PK_PEER_SIZE];
    int64_t at_ms;
};

/* A refusal of the enrolment port on its way. */
struct refusal {
    uint8_t routing[PK_ROUTING_ID_BYTES];
    int64_t at_ms;
};

struct child {
    struct pk_bytes unpacked; /* of the batch in hand */
    void *context, *router;
    void *door; /* the enrolment ROUTER, NULL while it is shut */
    char enrol_endpoint[PK_LINK_ENDPOINT_SIZE];
    struct pk_keypair server;
    struct pk_bytes config; /* body of CONFIG; empty: there is nothing to tell */
    uint32_t config_version;
    struct refusal refusals[PK_MAX_REFUSALS]; /* in order of time */
    size_t n_refusals;
    struct pk_zap *zap;
    struct pk_link link;
    struct pk_sessions sessions;
    struct pk_offences offences;
    struct pk_link_stats stats;
    int64_t next_stats_ms, next_watch_ms, next_credit_ms, next_report_ms, next_scopes_ms;
    size_t scopes_cursor; /* where the next look for scopes that are due begins */
    int64_t done_ms;      /* when the core last answered a batch, or there was none to answer */
    bool is_store_away;   /* says the core */
    bool is_stopping;
    struct doomed doomed[PK_MAX_DOOMED]; /* in order of time */
    size_t n_doomed;
    uint64_t watched_rss; /* bytes, at the last look */
};

/* One message as it came off the ROUTER. */
struct incoming {
    zmq_msg_t routing, header, body;
    bool has_body;
    unsigned n_frames; /* without the routing id */
    uint64_t bytes;    /* about what they took on the wire */
};

/* talk.c: false when the peer is gone or does not read, and the frame is lost */
bool pk_talk_frame(struct child *child, const struct pk_session *session,
    const struct pk_frame *frame, const struct pk_bytes *body);
bool pk_talk_error(struct child *child, const struct pk_session *session, enum pk_frame_error code,
    const struct pk_frame_batch *batch, const char *text);
void pk_talk_welcome(
    struct child *child, struct pk_session *session, const struct pk_link_resume *resume);
void pk_talk_ack(struct child *child, struct pk_session *session, uint64_t epoch, uint64_t upto);
void pk_talk_credit(struct child *child, struct pk_session *session, enum pk_credit_reason reason);
void pk_talk_bye(struct child *child, const struct pk_session *session, enum pk_bye_reason reason,
    uint32_t retry_after_s);

/* To a sensor that understands it and has not said that it has it. */
void pk_talk_config(struct child *child, struct pk_session *session, int64_t now_ms);
/* scopes.c */
/* After WELCOME, which named this version. */
void pk_scopes_welcomed(struct child *child, struct pk_session *session, uint32_t version);
/* Of the core: every session's is to be asked for anew; one session's came. */
void pk_scopes_changed(struct child *child);
void pk_scopes_answer(
    struct child *child, const struct pk_link_scope *scope, const uint8_t *body, size_t len);
/* CONFIG_ACK; false: not about a scope. */
bool pk_scopes_acked(struct child *child, struct pk_session *session, const struct pk_frame *frame,
    const uint8_t *body, size_t len);
/* Asks the core for what is due. */
void pk_scopes_due(struct child *child, int64_t now_ms);

void pk_talk_rotated(
    struct child *child, struct pk_session *session, const struct pk_link_rotated *rotated);

/* peer.c: deals with one message from a sensor, or from whoever holds a key */
void pk_peer_frame(struct child *child, struct incoming *in);
/* A batch is not taken; the session may be gone afterwards. */
void pk_peer_refuse(struct child *child, struct pk_session *session, enum pk_frame_error code,
    const struct pk_frame_batch *batch, const char *text);
/* Ends the connection if the descriptor still belongs to this peer. */
void pk_peer_cut(int fd, const char *peer);
/* The same a moment later, so that an answer that was just sent still gets out. */
void pk_peer_cut_soon(struct child *child, int fd, const char *peer);
void pk_peer_cut_due(struct child *child, int64_t now_ms);
/* Counts an offence, tells the core, and shuts the door on the tenth (at once when is_grave). */
void pk_peer_offence(struct child *child, uint32_t sensor, uint32_t tenant, const char *address,
    enum pk_offence_kind kind, bool is_grave);

/* door.c: enrolment */
void pk_door_set(struct child *child, bool is_open);
void pk_door_serve(struct child *child, int64_t now_ms);
void pk_door_answer(
    struct child *child, const struct pk_link_enrolled *enrolled, const uint8_t *body, size_t len);

/* child.c: reads one whole message; frames beyond the second are read and thrown away. False when there is none. The parts are the caller's to close in any case. */
bool pk_child_receive(void *router, struct incoming *in);

/* report.c: what sensors said of themselves since, to the core; every two seconds */
void pk_report_send(struct child *child, int64_t now_ms);

/* watch.c: cuts connections that sent far more than what came out of libzmq as messages */
void pk_watch_connections(struct child *child, int64_t now_ms);

#endif

/* Sessions of the ingest child: which sensor speaks on which connection, and how much it may still send.
 *
 * Pure: frames' facts in, decisions out; no socket, no clock. One session a sensor, the newest connection wins (docs/PROTOCOL.md s6).
 *
 * Credit. What lies between the sockets and the commit is bounded by one budget of bytes and one of batches. It is shared out in two steps, equally among the tenants that
 * have something to send and equally among a tenant's sensors that have, so that a tenant with a thousand loud sensors takes nothing from one with a single quiet one. A
 * session begins with one batch and doubles with each ACK up to its share (slow start). Above three quarters of the budget the window of whoever holds his share or
 * more closes (it is parked), and opens again, in turn, below one half. A batch counts until the core has answered it, also when its session is gone meanwhile: so nothing is gained by coming back. */
#ifndef AGGREGATOR_INGEST_SESSION_H
#define AGGREGATOR_INGEST_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picket/addr.h"
#include "picket/envelope.h"
#include "picket/err.h"
#include "picket/limits.h"
#include "picket/map.h"

enum {
    PK_ROUTING_ID_BYTES =
        5, /* what a ROUTER makes for peers that set none: a zero byte and a counter */
    PK_MAX_SESSIONS = 20000,
    PK_PEER_SIZE = 64, /* "address:port" */
    PK_CREDIT_BATCHES = 8,
    PK_CREDIT_MAX_BYTES = 4 << 20,
    PK_CREDIT_MIN_BYTES = 64 << 10, /* a first batch may be of any size, this holds for more */
    PK_SESSION_ACTIVE_MS = 10000,   /* a session that sent a batch this lately counts as busy */
};

/* What a session may have under way: batches 0 is a pause. */
struct pk_window {
    uint32_t batches, bytes;
};

struct pk_session {
    uint32_t sensor, tenant;
    uint64_t id; /* random; 0: none */
    uint8_t routing[PK_ROUTING_ID_BYTES];
    bool is_resumed;     /* WELCOME was sent */
    bool is_active;      /* counted as having something to send */
    bool is_parked;      /* the window it was told is closed; a CREDIT is owed */
    uint32_t slow_start; /* batches; doubles with each ACK */
    uint32_t outstanding_batches;
    uint64_t outstanding_bytes;
    struct pk_window granted; /* the greatest it was ever told: what is under way may be that */
    uint64_t queued;          /* batches the sensor says it has */
    uint64_t queued_bytes, behind_us; /* of its last HEARTBEAT, as offset_us */
    int64_t offset_us;
    bool has_report; /* that the core was not told of */
    int64_t last_frame_ms, last_batch_ms;
    int64_t hello_ms, rotate_ms, config_ms;
    bool takes_config, has_config; /* understands CONFIG; has the present one on disk */
    struct pk_session_scope {
        bool is_taken; /* the sensor understands it */
        uint32_t
            wanted; /* the version it is to have, as the core said last; 0: none, or not asked yet */
        uint32_t has;        /* the version it said it uses */
        int64_t due_ms;      /* when it is sent (again); INT64_MAX: nothing to do */
        int64_t wait_ms;     /* until the next try when this one is not answered */
        uint32_t held_bytes; /* what may be on its way to it, ... */
        int64_t asked_ms;    /* ... asked for then */
        bool is_untold;      /* of what it said last the core has not heard yet, ... */
        int64_t tell_ms;     /* ... and does not before this */
        uint8_t status;      /* what it said last: enum pk_config_status, ... */
        char *reason;        /* ... and why, owned; NULL: it gave no reason, as most do */
    } scope;
    uint8_t pubkey[PK_KEY_BYTES]; /* by which it came in */
    /* For whoever must cut the connection. */
    int fd;
    char peer[PK_PEER_SIZE];
    struct pk_addr address; /* as libzmq gives it */
    uint64_t bytes_seen;    /* of whole messages */
};

struct pk_session_tenant {
    uint32_t tenant;
    uint32_t n_active;
    uint64_t outstanding_bytes;
};

struct pk_sessions {
    struct pk_session *slots; /* dense, n used */
    size_t n;
    struct pk_map by_sensor;
    struct pk_session_tenant *tenants; /* dense, only ever added to */
    size_t n_tenants, n_active_tenants;
    struct pk_map by_tenant;
    uint64_t budget_bytes, outstanding_bytes;
    uint32_t budget_batches, outstanding_batches;
    size_t cursor, n_parked; /* where the next turn of parked sessions begins */
    bool is_paused;          /* nobody gets credit: the store is away, or answers nothing */
};

pk_err pk_sessions_init(
    struct pk_sessions *sessions, uint64_t budget_bytes, uint32_t budget_batches);
void pk_sessions_done(struct pk_sessions *sessions);
struct pk_session *pk_sessions_find(struct pk_sessions *sessions, uint32_t sensor);
/* A HELLO came: gives the sensor's session the new id and connection. *out_replaced is the connection it had before (id 0: none), which
 * is to be told BYE(moved); it owns nothing. NULL at PK_MAX_SESSIONS, or at PK_MAX_TENANTS. */
struct pk_session *pk_sessions_open(struct pk_sessions *sessions, uint32_t sensor, uint32_t tenant,
    uint64_t id, const uint8_t routing[PK_ROUTING_ID_BYTES], struct pk_session *out_replaced);
/* Moves the last session into the gap: pointers to others are stale afterwards. */
void pk_sessions_close(struct pk_sessions *sessions, struct pk_session *session);
/* Says anew whether the session has something to send. Call after HELLO, HEARTBEAT and each batch, and once a second. */
void pk_session_touch(struct pk_sessions *sessions, struct pk_session *session, int64_t now_ms);

/* The window the session may be told now; is_parked and granted are set accordingly. */
struct pk_window pk_session_window(struct pk_sessions *sessions, struct pk_session *session);
enum pk_session_room {
    PK_SESSION_ROOM,     /* taken on account */
    PK_SESSION_BEYOND,   /* more than it was ever granted */
    PK_SESSION_NO_BUDGET /* it may, but the common budget is spent: to be sent again later */
};
enum pk_session_room pk_session_take(
    struct pk_sessions *sessions, struct pk_session *session, uint32_t body_len);
/* A batch of this sensor is dealt with: taken off the account, off the session's too when `session` is the one that sent it (else NULL). */
void pk_sessions_give_back(
    struct pk_sessions *sessions, struct pk_session *session, uint32_t tenant, uint32_t body_len);
/* The session had an ACK. */
void pk_session_acked(struct pk_session *session);
/* The next parked session that may go on, in turn; NULL when none may. */
struct pk_session *pk_sessions_unpark(struct pk_sessions *sessions);

#endif

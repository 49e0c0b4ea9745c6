/* Sessions of the ingest child: which sensor speaks on which connection, and how much it may still send.
 *
 * Pure: frames' facts in, decisions out; no socket. One session a sensor, the newest connection wins (docs/PROTOCOL.md s4). */
#ifndef AGGREGATOR_INGEST_SESSION_H
#define AGGREGATOR_INGEST_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picket/envelope.h"
#include "picket/err.h"
#include "picket/map.h"

enum {
    PK_ROUTING_ID_BYTES =
        5, /* what a ROUTER makes for peers that set none: a zero byte and a counter */
    PK_MAX_SESSIONS = 20000,
    PK_CREDIT_BATCHES = 8,
    PK_CREDIT_MAX_BYTES = 4 << 20,
    PK_CREDIT_MIN_BYTES = 1 << 20, /* one largest batch must always fit */
};

struct pk_session {
    uint32_t sensor;
    uint64_t id; /* random; 0: none */
    uint8_t routing[PK_ROUTING_ID_BYTES];
    bool is_resumed; /* WELCOME was sent */
    uint32_t outstanding_batches;
    uint64_t outstanding_bytes;
    int64_t last_frame_ms;
};

struct pk_sessions {
    struct pk_session *slots; /* dense, n used */
    size_t n;
    struct pk_map by_sensor;
    uint64_t budget_bytes; /* for all sessions together */
    uint64_t outstanding_bytes;
};

pk_err pk_sessions_init(struct pk_sessions *sessions, uint64_t budget_bytes);
void pk_sessions_done(struct pk_sessions *sessions);
struct pk_session *pk_sessions_find(struct pk_sessions *sessions, uint32_t sensor);
/* A HELLO came: gives the sensor's session the new id and connection. *out_replaced is the connection it had before (id 0: none), which
 * is to be told BYE(moved). NULL at PK_MAX_SESSIONS. */
struct pk_session *pk_sessions_open(struct pk_sessions *sessions, uint32_t sensor, uint64_t id,
    const uint8_t routing[PK_ROUTING_ID_BYTES], struct pk_session *out_replaced);
void pk_sessions_close(struct pk_sessions *sessions, struct pk_session *session);

/* Bytes this sensor may have under way: a fair share of the budget within the two bounds. */
uint32_t pk_session_credit_bytes(const struct pk_sessions *sessions);
/* Takes a batch on account; false: beyond its credit. */
bool pk_session_take(struct pk_sessions *sessions, struct pk_session *session, uint32_t body_len);
/* A batch is dealt with. */
void pk_session_give_back(
    struct pk_sessions *sessions, struct pk_session *session, uint32_t body_len);

#endif

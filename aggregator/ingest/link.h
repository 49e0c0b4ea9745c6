/* The socket pair between the aggregator's core and its ingest child: whole messages, both ways, bounded.
 *
 * The two ends are always the same program on the same machine, so structures cross as they are in memory. Even so the core
 * treats what the child says as input: the child is the process that faces hostile peers. Lengths and types are checked. */
#ifndef AGGREGATOR_INGEST_LINK_H
#define AGGREGATOR_INGEST_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picket/addr.h"
#include "picket/bytes.h"
#include "picket/enrol.h"
#include "picket/envelope.h"
#include "picket/err.h"
#include "picket/key.h"
#include "picket/limits.h"

enum pk_link_type {
    /* core to child */
    PK_LINK_SETUP = 1, /* struct pk_link_setup: once, first */
    PK_LINK_KEYS,      /* array of struct pk_link_key: the whole table; replaces the old one */
    PK_LINK_RESUME,    /* struct pk_link_resume: answer to HELLO */
    PK_LINK_DONE,      /* struct pk_link_done: a batch is durable, or refused for good */
    PK_LINK_STORE,     /* struct pk_link_store: the database is away, or back */
    PK_LINK_DOOR,      /* struct pk_link_door: whether the enrolment port is open */
    PK_LINK_ENROLLED,  /* struct pk_link_enrolled, then the body of the answer */
    PK_LINK_STOP,      /* say BYE to everybody and end */
    PK_LINK_MOVED,     /* struct pk_link_moved: the sensor's home is elsewhere, end its session */
    PK_LINK_ROTATED,   /* struct pk_link_rotated: answer to ROTATE, after the keys */
    PK_LINK_TENANTS, /* array of struct pk_link_tenant: where sensors may come from; replaces the old one, before KEYS */
    PK_LINK_SCOPES, /* nothing: the scope is another one, ask for each session */
    PK_LINK_SCOPE, /* struct pk_link_scope, then the body of CONFIG: answer to SCOPE_ASK; no body: it has it */
    /* child to core */
    PK_LINK_READY = 32, /* text: the endpoint that was bound */
    PK_LINK_FAILED,     /* text: why the child cannot start */
    PK_LINK_HELLO,      /* struct pk_link_hello */
    PK_LINK_BATCH,      /* struct pk_link_batch, then the body */
    PK_LINK_REFUSED,    /* struct pk_link_batch with reason, then the body: for the quarantine */
    PK_LINK_STATS,      /* struct pk_link_stats, each second */
    PK_LINK_ENROL,      /* struct pk_link_enrol: somebody asks to be let in */
    PK_LINK_OFFENCE,    /* struct pk_link_offence: a sensor broke the protocol */
    PK_LINK_ROTATE,     /* struct pk_link_rotate: a sensor wants another key */
    PK_LINK_REPORTS,    /* array of struct pk_link_report: what sensors said of themselves since */
    PK_LINK_CLONE,      /* struct pk_link_clone: a key is used on two machines */
    PK_LINK_SCOPE_ASK,  /* struct pk_link_scope_ask: a session is to be sent its scope */
    PK_LINK_SCOPE_ACK,  /* struct pk_link_scope_ack: what a sensor said to its scope */
};

enum {
    PK_LINK_MAX_MESSAGE = 8 << 20,
    PK_LINK_TEXT_SIZE = 160,
    PK_LINK_MAX_FROM = 4,
    PK_LINK_MAX_TENANT_FROM = 16,
    PK_LINK_ENDPOINT_SIZE = 256
};

struct pk_link_setup {
    char endpoint[PK_LINK_ENDPOINT_SIZE]; /* as zmq_bind takes it */
    char enrol_endpoint[PK_LINK_ENDPOINT_SIZE];
    struct pk_keypair server;
    char next_endpoint[PK_LINK_ENDPOINT_SIZE]; /* a second port; empty: none */
    struct pk_keypair next;                    /* its key */
    struct pk_config_body config;              /* what sensors are told; n 0: nothing */
    uint64_t outstanding_budget_bytes; /* of all sessions together: what may wait for a commit */
    uint32_t outstanding_budget_batches;
    uint8_t io_threads;
};
struct pk_link_key {
    uint8_t pubkey[PK_KEY_BYTES];
    uint32_t sensor, tenant;
    bool is_pending; /* enrolled, and told to try again until it is approved */
    uint8_t n_from;
    struct pk_prefix from[PK_LINK_MAX_FROM]; /* addresses it may come from; none: any */
};
/* A tenant that says where its sensors come from. */
struct pk_link_tenant {
    uint32_t tenant;
    uint8_t n_from;
    struct pk_prefix from[PK_LINK_MAX_TENANT_FROM];
};
struct pk_link_door {
    bool is_open;
};
struct pk_link_enrol {
    uint8_t routing[8], n_routing;
    uint8_t pubkey[PK_KEY_BYTES];
    struct pk_enrol_request request;
    char address[64];
};
struct pk_link_enrolled {
    uint8_t routing[8];
    bool is_refused;
};
struct pk_link_hello {
    uint32_t sensor;
    uint8_t pubkey[PK_KEY_BYTES]; /* by which it came in */
    uint64_t session;
    struct pk_hello_body body;
    char address[64]; /* Peer-Address as libzmq gives it */
};
struct pk_link_resume {
    uint32_t sensor;
    uint64_t session, epoch, seq;
    uint32_t config_version; /* of the CONFIG that has its scope; 0: none */
};
struct pk_link_scope_ask {
    uint32_t sensor, has; /* the version it said it uses; 0: none */
    uint64_t session;
};
struct pk_link_scope {
    uint32_t sensor, version;
    uint64_t session;
};
struct pk_link_scope_ack {
    uint32_t sensor, version;
    uint8_t status; /* enum pk_config_status */
    char reason[PK_CONFIG_REASON_SIZE];
};
struct pk_link_store {
    bool is_away;
};
struct pk_link_batch {
    uint32_t sensor, tenant;
    uint64_t session;
    struct pk_frame_batch frame;
    char reason[PK_LINK_TEXT_SIZE]; /* REFUSED only */
};
struct pk_link_done {
    uint32_t sensor, tenant; /* as in the batch */
    uint64_t session, epoch, seq;
    uint32_t body_len; /* returns as credit */
    uint16_t error;    /* 0: durable, else enum pk_frame_error */
    bool is_fatal;
};
enum pk_offence_kind {
    PK_OFFENCE_FRAMING = 1, /* not a frame of this protocol, or too many */
    PK_OFFENCE_LENGTHS,     /* lengths beyond the limits */
    PK_OFFENCE_CREDIT,      /* more than was granted */
    PK_OFFENCE_BATCH,       /* a batch that does not decode */
    PK_OFFENCE_FLOOD,       /* a message that never ends */
    PK_OFFENCE_CLONE,       /* the key is used on two machines */
};
const char *pk_offence_str(enum pk_offence_kind kind);
struct pk_link_offence {
    uint32_t sensor, tenant; /* 0: it had not said who it is */
    uint32_t strikes;        /* within ten minutes */
    enum pk_offence_kind kind;
    bool is_out; /* its key is refused for ten minutes */
    char address[64];
};
/* Of a HEARTBEAT. */
struct pk_link_report {
    uint32_t sensor;
    int64_t offset_us; /* 0: the sensor does not know */
    uint64_t queued, queued_bytes, behind_us;
};
/* Two machines take turns with one key; said again with each turn. */
struct pk_link_clone {
    uint32_t sensor;
    char address[64], other[64]; /* who came now, and who was there before */
};
struct pk_link_rotate {
    uint32_t sensor;
    uint64_t session;
    uint8_t pubkey[PK_KEY_BYTES], next[PK_KEY_BYTES];
};
struct pk_link_rotated {
    uint32_t sensor;
    uint64_t session;
    uint8_t next[PK_KEY_BYTES];
    bool is_refused;
};
struct pk_link_moved {
    uint32_t sensor;
    uint64_t session;             /* 0: whichever there is */
    struct pk_endpoint elsewhere; /* an empty address: not known */
};
/* Counters since the child started. */
struct pk_link_stats {
    uint64_t sessions, hellos, batches, batch_bytes, duplicates_in_flight;
    uint64_t refused_keys, refused_frames, refused_batches, refused_credit;
    uint64_t outstanding_bytes, parked_sessions, overloaded;
    uint64_t scoped;     /* sessions that use the scope they were sent */
    uint64_t configured; /* sessions that have the present CONFIG on disk */
    uint64_t offences, struck, overgrown, enrol_requests;
    bool is_paused;
};

struct pk_link {
    int fd; /* non-blocking, close-on-exec, owned */
    struct pk_bytes in;
    size_t in_pos;
    struct pk_bytes out;
    size_t out_pos;
    bool is_closed;
};

/* Takes the descriptor. max_queued bounds what waits to be written. */
pk_err pk_link_init(struct pk_link *link, int fd, size_t max_queued_bytes);
void pk_link_done(struct pk_link *link);
/* Queues a message of two parts (second may be NULL) and writes what the socket takes. PK_ERR_LIMIT: the queue is full,
 * nothing was queued. PK_ERR_IO: the other end is gone. */
pk_err pk_link_send(struct pk_link *link, enum pk_link_type type, const void *head, size_t head_len,
    const void *body, size_t body_len);
/* Writes more of the queue; call when the descriptor is writable. */
pk_err pk_link_flush(struct pk_link *link);
bool pk_link_wants_write(const struct pk_link *link);
/* Reads what is there without blocking; PK_ERR_IO at the end of the stream. */
pk_err pk_link_fill(struct pk_link *link);
/* The next whole message, borrowed until the next call of fill; false when there is none yet. A bad length sets is_closed. */
bool pk_link_next(
    struct pk_link *link, enum pk_link_type *out_type, const uint8_t **out_data, size_t *out_len);

#endif

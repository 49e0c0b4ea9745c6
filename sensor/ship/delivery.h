/* The sensor's half of the session protocol (docs/PROTOCOL.md s6), without sockets and without clocks.
 *
 *   DOWN -> CONNECTING -> HELLO_SENT -> READY -> ... any trouble -> DOWN for a jittered while, then the next endpoint
 *
 * Events and the time go in; what is to be done goes out through struct pk_delivery_link. That makes it possible to run it against a model of the aggregator
 * through thousands of orders of events (tests/unit/sensor/test_delivery.c). Rules:
 *   - Batches leave in the queue's order within the credit granted and stay in the queue until they are acknowledged. Nothing is sent twice within a session: TCP does that.
 *   - A refused key, a silent server, a broken connection all lead to DOWN; the wait doubles up to a minute, jittered between its half and its whole, so that a fleet does not come
 *     back in step. A refused key waits longer; it is asked again for ever, since it may be added tomorrow.
 *   - An endpoint that cannot be reached is given up at once, and the next is tried after a second to two: so the sensors of an aggregator that died come to the next one spread over a second.
 *     When all of the list have failed the wait doubles as above. One that says nothing at all (its host is gone) is given up after five seconds, or fifteen once all have failed.
 *   - Endpoints are tried in order. A sensor that had to leave the first one goes back to it after PK_DELIVERY_RETURN_MS of quiet.
 *   - CONFIG tells of further endpoints: they are tried after those of the list. Or it brings a scope, which goes to whoever decides about it; the answer follows when he has.
 *   - A sensor with a next key asks for it with ROTATE; when the aggregator has it, the next session is under that key. While there are two, a refusal of one is followed by the
 *     other: whatever was cut short, one of them is known.
 *   - BYE may name another endpoint (the tenant's home): it is tried next, once. */
#ifndef SENSOR_DELIVERY_H
#define SENSOR_DELIVERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picket/envelope.h"
#include "picket/key.h"

#include "ship/learned.h"
#include "ship/queue.h"
#include "ship/scope_box.h"

enum {
    PK_DELIVERY_MAX_ENDPOINTS = 8,  /* configured; one more is learned by redirection */
    PK_DELIVERY_MAX_IN_FLIGHT = 64, /* batches sent and not yet acknowledged */
    PK_DELIVERY_BACKOFF_FIRST_MS = 500,
    PK_DELIVERY_BACKOFF_MAX_MS = 60000,
    PK_DELIVERY_BACKOFF_REFUSED_MS = 5000, /* after the first refusal; doubles up to the ceiling */
    PK_DELIVERY_NEXT_MS = 2000,            /* to the next of the list when one cannot be reached */
    PK_DELIVERY_CONNECT_FIRST_MS =
        5000, /* from connect to the end of the handshake, while others are to be tried */
    PK_DELIVERY_CONNECT_MS =
        15000, /* the same after a round in which nobody answered, and of a single endpoint */
    PK_DELIVERY_HELLO_AGAIN_MS = 5000,
    PK_DELIVERY_HELLO_LIMIT_MS = 30000,
    PK_DELIVERY_ROTATE_AGAIN_MS = 5000,
    PK_DELIVERY_RETURN_MS = 3600000,  /* and up to half as much again, at random */
    PK_DELIVERY_HEARTBEAT_MS = 15000, /* when WELCOME does not say */
    PK_DELIVERY_ACK_MS = 15000,       /* the same; twice this without progress ends the session */
};

/* What the edge does on demand. Called during the functions below; none may call back. */
struct pk_delivery_link {
    void *arg;
    /* Begins a connection; its outcome comes as an event. False: it cannot be tried (and the edge has said why). */
    bool (*connect)(void *arg, const struct pk_endpoint *endpoint);
    void (*disconnect)(void *arg);
    /* False: the pipe is full, nothing was sent. */
    bool (*send)(void *arg, const struct pk_frame *frame, const uint8_t *body, size_t body_len);
    uint32_t (*random)(void *arg, uint32_t below); /* uniform in [0, below), below >= 1 */
    /* Something a person should know: level as in log.h, one sentence. May be NULL. */
    void (*tell)(void *arg, int level, const char *text);
    /* A session under the next key was opened: from now on it is the only one. May be NULL. */
    void (*rotated)(void *arg);
    /* Makes sure that this is known after a restart; false: it is not. May be NULL: it is not. */
    bool (*learn)(void *arg, const struct pk_config_body *learned);
    /* A body of CONFIG that has a scope: hands it on, to be answered by pk_delivery_scope_judged. PK_ERR_LIMIT: not now, it comes again; others: it cannot be one. May be NULL: no scope is taken. */
    pk_err (*offer_scope)(void *arg, const uint8_t *body, size_t body_len);
    /* The verdict on the scope that is in use; with offer_scope. */
    struct pk_scope_verdict (*scope_in_use)(void *arg);
};

struct pk_delivery_options {
    struct pk_endpoint endpoints[PK_DELIVERY_MAX_ENDPOINTS]; /* in order of preference */
    size_t n_endpoints;                                      /* >= 1 */
    const char *sensor;                                      /* name, for people; borrowed */
    const char *software;                                    /* borrowed */
    const char *pubkey_text; /* shown when the key is refused; borrowed */
    bool is_durable;         /* the queue survives a restart */
    uint8_t vantage, privacy;
    struct pk_config_body learned; /* further endpoints, tried after the list */
    bool has_next_key;             /* the key is to be changed to this one */
    uint8_t next_pubkey[PK_KEY_BYTES];
    uint8_t boot_id[PK_BOOT_ID_BYTES];
};

enum pk_delivery_event {
    PK_DELIVERY_CONNECTED,   /* the handshake succeeded */
    PK_DELIVERY_REFUSED,     /* the aggregator does not accept this key */
    PK_DELIVERY_FAILED,      /* the handshake failed without a reason */
    PK_DELIVERY_UNREACHABLE, /* nobody listens there, no way leads there, nobody knows the name */
    PK_DELIVERY_BROKEN,      /* an established connection is gone */
};

enum pk_delivery_state {
    PK_DELIVERY_DOWN,
    PK_DELIVERY_CONNECTING,
    PK_DELIVERY_HELLO_SENT,
    PK_DELIVERY_READY,
};

struct pk_delivery_counters {
    uint64_t sent, resent, acked, refused, sessions, redirects;
    int64_t
        clock_offset_us; /* the aggregator's wall clock minus ours, by the exchange with the least round trip of the last eight; 0: not known */
    uint32_t round_trip_us;
};

struct pk_delivery;

/* queue and options->sensor, ->software are borrowed for its life. PK_ERR_NOMEM. */
pk_err pk_delivery_new(const struct pk_delivery_options *options, const struct pk_queue *queue,
    const struct pk_delivery_link *link, struct pk_delivery **out_delivery);
void pk_delivery_free(struct pk_delivery *delivery);

/* Both clocks at the moment of the call. */
struct pk_delivery_time {
    int64_t mono_ms;
    int64_t wall_us;
};
void pk_delivery_on_event(
    struct pk_delivery *delivery, enum pk_delivery_event event, struct pk_delivery_time now);
/* A message from the aggregator; body NULL when it has none. Bytes from outside: anything may be in them. */
void pk_delivery_on_message(struct pk_delivery *delivery, const uint8_t *header, size_t header_len,
    const uint8_t *body, size_t body_len, struct pk_delivery_time now);
/* Does what is due: connects, sends, gives up. Call after events, when the queue grew, and at least once a second. */
void pk_delivery_tick(struct pk_delivery *delivery, struct pk_delivery_time now);
/* What became of a scope that was offered: the aggregator is told. */
void pk_delivery_scope_judged(struct pk_delivery *delivery, const struct pk_scope_verdict *verdict);
/* Takes leave and goes down for good. */
void pk_delivery_stop(struct pk_delivery *delivery);

/* Whether the connection is to be made under the next key; for link->connect. */
bool pk_delivery_uses_next_key(const struct pk_delivery *delivery);
enum pk_delivery_state pk_delivery_state(const struct pk_delivery *delivery);
/* How long nothing will be due unless something happens; at most 1000. */
int64_t pk_delivery_wait_ms(const struct pk_delivery *delivery, int64_t mono_ms);
const struct pk_delivery_counters *pk_delivery_counters(const struct pk_delivery *delivery);
/* True when everything in the queue is acknowledged. */
bool pk_delivery_is_done(const struct pk_delivery *delivery);

#endif

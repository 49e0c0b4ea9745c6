/* The delivery's inside, shared by delivery.c (session, sending, acknowledgements) and delivery_config.c (CONFIG). Private. */
#ifndef SENSOR_DELIVERY_INTERNAL_H
#define SENSOR_DELIVERY_INTERNAL_H

#include "picket/bytes.h"

#include "ship/delivery.h"

enum {
    CLOCK_SAMPLES = 8
};

struct in_flight {
    struct pk_queue_at at;
    uint32_t bytes;
};

struct clock_sample {
    int64_t offset_us;
    int64_t round_trip_us;
};

struct pk_delivery {
    struct pk_delivery_options options;
    const struct pk_queue *queue;
    struct pk_delivery_link link;
    enum pk_delivery_state state;
    size_t endpoint;              /* which of the list is being used */
    struct pk_endpoint elsewhere; /* from BYE; used instead of the list while is_redirected */
    bool has_elsewhere, is_redirected;
    int64_t until_ms;    /* DOWN: not before; CONNECTING, HELLO_SENT: not later */
    int64_t return_ms;   /* READY away from the first endpoint: when to try it again */
    int64_t hello_ms;    /* when the last HELLO left */
    int64_t progress_ms; /* when the last ACK came, or the first batch after none left */
    int64_t next_heartbeat_ms;
    int64_t backoff_ms;
    bool was_refused, was_unreachable;  /* said once */
    bool is_patient;                    /* nobody of the list did in the last round */
    bool uses_next_key, has_tried_both; /* both keys were refused in a row */
    int64_t next_rotate_ms;
    bool is_open; /* CONNECTING: the handshake is done, HELLO waits for the pipe */
    uint64_t session;
    struct pk_queue_at sent, furthest; /* last sent in this session, and ever */
    struct pk_welcome_body welcome;
    struct in_flight flight[PK_DELIVERY_MAX_IN_FLIGHT]; /* in sending order */
    size_t n_flight;
    uint64_t flight_bytes;
    struct clock_sample clock[CLOCK_SAMPLES];
    unsigned n_clock;
    struct pk_bytes buffer, plain; /* a batch, and what it is unpacked */
    struct pk_delivery_counters counters;
};

/* delivery.c */
/* For people, if anybody listens. */
__attribute__((format(printf, 3, 4))) void delivery_tell(
    const struct pk_delivery *d, int level, const char *format, ...);

/* delivery_config.c */
/* The aggregator names the scope it has for us: when that is the one in use, it need not send it. */
void delivery_tell_scope_in_use(struct pk_delivery *d);
void delivery_on_config(
    struct pk_delivery *d, const struct pk_frame *frame, const uint8_t *body, size_t len);

#endif

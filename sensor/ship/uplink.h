/* The way to the aggregator: one DEALER over CURVE, one endpoint at a time. What is said on it, and when, is decided in delivery.h; this is the edge that holds the socket. */
#ifndef SENSOR_UPLINK_H
#define SENSOR_UPLINK_H

#include <stdatomic.h>

#include "picket/err.h"
#include "picket/key.h"

#include "ship/delivery.h"

struct pk_uplink_options {
    struct pk_delivery_options delivery; /* boot_id is filled here */
    struct pk_keypair keys;
    struct pk_keypair next_keys; /* with delivery.has_next_key */
    const char
        *learned_folder; /* where learned endpoints and scopes are kept; NULL: nowhere; borrowed */
    const uint8_t *spool_key; /* what is kept there is sealed with it; NULL: in clear; borrowed */
    struct pk_scope_box
        *scopes;          /* where scopes that come are judged; NULL: none are taken; borrowed */
    const char *key_file; /* where the pair lives, the next beside it; borrowed */
    bool ends_when_empty; /* return when everything is acknowledged */
};

/* Written by the uplink's thread, read by others. */
struct pk_uplink_counters {
    atomic_uint_fast64_t sent, resent, acked, refused, reconnects;
    atomic_int_fast64_t clock_offset_us;
    atomic_bool is_connected;
    atomic_bool has_rotated; /* the next pair is the pair now */
};

/* Runs until stop_fd is readable (or the queue is empty, see options). PK_ERR_NOMEM, PK_ERR_IO when ZeroMQ itself fails; connection trouble never ends it. */
pk_err pk_uplink_run(const struct pk_uplink_options *options, const struct pk_queue *queue,
    struct pk_uplink_counters *counters, int stop_fd);

#endif

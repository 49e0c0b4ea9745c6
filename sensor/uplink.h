/* The way to the aggregator: one DEALER over CURVE, one endpoint at a time, batches sent in order within the credit granted, kept until acknowledged
 * (docs/PROTOCOL.md s4). The only module here that knows ZeroMQ. */
#ifndef SENSOR_UPLINK_H
#define SENSOR_UPLINK_H

#include <stdatomic.h>

#include "picket/err.h"
#include "picket/key.h"

#include "queue.h"

enum {
    PK_UPLINK_MAX_ENDPOINTS = 8
};

struct pk_uplink_options {
    const char *endpoints[PK_UPLINK_MAX_ENDPOINTS]; /* in order of preference; borrowed */
    size_t n_endpoints;
    uint8_t server_pubkey[PK_KEY_BYTES];
    struct pk_keypair keys;
    const char *sensor;   /* name, for people */
    bool is_durable;      /* the queue survives a restart */
    bool ends_when_empty; /* return when everything is acknowledged */
};

/* Written by the uplink's thread, read by others. */
struct pk_uplink_counters {
    atomic_uint_fast64_t sent, resent, acked, refused_rows, reconnects;
    atomic_bool is_connected;
};

/* Runs until stop_fd is readable (or the queue is empty, see options). PK_ERR_NOMEM, PK_ERR_IO when ZeroMQ itself fails; connection trouble never ends it. */
pk_err pk_uplink_run(const struct pk_uplink_options *options, const struct pk_queue *queue,
    struct pk_uplink_counters *counters, int stop_fd);

#endif

/* What the uplink ships from: batches numbered without gaps within an epoch, kept until they are acknowledged. The spool is one, a .psp file another. */
#ifndef SENSOR_QUEUE_H
#define SENSOR_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "picket/bytes.h"
#include "picket/err.h"
#include "picket/segment.h"

struct pk_queue_info {
    uint64_t epoch;
    uint64_t oldest_seq, newest_seq; /* kept; oldest > newest: empty */
    uint64_t bytes;
};

struct pk_queue {
    void *self;
    void (*info)(void *self, struct pk_queue_info *out_info);
    /* The record with this sequence, its body copied into buffer. False when it is not there (shed, or not yet written). */
    bool (*read)(
        void *self, uint64_t seq, struct pk_bytes *buffer, struct pk_segment_record *out_record);
    /* Everything up to seq is durable at the aggregator. */
    void (*ack)(void *self, uint64_t upto);
    int wake_fd; /* readable when something was added; -1: nothing ever is */
};

#endif

/* What the uplink ships from: immutable, numbered batches, kept until they are acknowledged. The spool is one, a .psp file another.
 *
 * A batch is named by (epoch, seq). Within an epoch numbers grow but may have holes: what was shed to keep the bounds is told to the aggregator by a loss row
 * (kind PK_BATCH_LOSS) that follows. A queue may hold batches of several epochs; it gives them out in one order, in which all of an epoch stand together. */
#ifndef SENSOR_QUEUE_H
#define SENSOR_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "picket/bytes.h"
#include "picket/err.h"
#include "picket/segment.h"

struct pk_queue_at {
    uint64_t epoch, seq; /* epoch 0: before everything */
};

struct pk_queue_info {
    uint64_t epoch; /* of what is waiting first, or of the next batch when nothing is */
    uint64_t oldest_seq, newest_seq; /* of that epoch; oldest > newest: nothing waits */
    uint64_t n_batches, bytes;       /* waiting, of all epochs; n_batches 0: empty */
    int64_t oldest_us;               /* first row of the batch that waits longest; 0: not known */
};

enum pk_queue_refusal {
    PK_QUEUE_REFUSED_KEPT,    /* the aggregator keeps the bytes in quarantine and counts the loss */
    PK_QUEUE_REFUSED_LOST,    /* nobody has it: the queue's owner counts it */
    PK_QUEUE_REFUSED_DAMAGED, /* the same, because its body cannot be unpacked */
    PK_QUEUE_REFUSED_CONFLICT, /* its number is taken by other content: a restored copy of this queue. Needs a number of a new epoch */
};

struct pk_queue {
    void *self;
    void (*info)(void *self, struct pk_queue_info *out_info);
    /* The first unacknowledged batch after a place, its body copied into buffer (or borrowed until the next call). False when there is none. */
    bool (*next)(void *self, struct pk_queue_at after, struct pk_bytes *buffer,
        struct pk_queue_at *out_at, struct pk_segment_record *out_record);
    /* What the queue has of the epoch from one number to another, both included, is durable at the aggregator. */
    void (*ack)(void *self, uint64_t epoch, uint64_t from, uint64_t to);
    /* This one will never be accepted under its number. */
    void (*refused)(void *self, struct pk_queue_at at, enum pk_queue_refusal why);
    int wake_fd; /* readable when something was added; -1: nothing ever is */
};

#endif

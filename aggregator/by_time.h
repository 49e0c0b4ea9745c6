/* Rows of batches whose windows overlap, given out in the order of their own times: a resolver's question to a server comes after the client's to the resolver, whichever sensor saw it and whichever
 * transaction was complete first. Counts of a client (batch kind 7) come at the end of what they count.
 *
 * A batch is kept, decoded, until its last row was given; so memory is that of the batches of one window of all sites. Not thread-safe. */
#ifndef AGGREGATOR_BY_TIME_H
#define AGGREGATOR_BY_TIME_H

#include <stddef.h>
#include <stdint.h>

#include "picket/batch.h"
#include "picket/err.h"

struct pk_by_time;

/* One row: of which batch, what was said of it on adding, and the row's number in it. Anything but PK_OK ends the giving and is handed on. */
typedef pk_err (*pk_by_time_fn)(
    void *arg, const struct pk_batch *batch, const void *about, size_t row);

pk_err pk_by_time_new(pk_by_time_fn give, void *arg, struct pk_by_time **out_rows);
void pk_by_time_free(struct pk_by_time *rows);
/* Takes the batch, of kind activity or client, also when it fails: PK_ERR_NOMEM. Rows of one time come in the order of adding. */
pk_err pk_by_time_add(struct pk_by_time *rows, struct pk_batch *batch, const void *about);
/* Gives out what is earlier than until_us. */
pk_err pk_by_time_give(struct pk_by_time *rows, int64_t until_us);

#endif

/* What a person reads: JSON lines of messages, transactions or RRsets (docs/OPERATIONS.md "Output"). */
#ifndef SENSOR_OUTPUT_H
#define SENSOR_OUTPUT_H

#include <stdbool.h>
#include <stdio.h>

#include "picket/err.h"

#include "transaction.h"

enum pk_output_mode {
    PK_OUTPUT_NONE,
    PK_OUTPUT_MESSAGES,
    PK_OUTPUT_TRANSACTIONS,
    PK_OUTPUT_RRSETS
};
bool pk_output_mode_parse(const char *text, enum pk_output_mode *out_mode);

struct pk_output;

enum {
    PK_OUTPUT_MAX_RRSETS =
        1000000 /* distinct RRsets remembered in mode rrsets; beyond that lines are flushed early */
};

/* Writes to stream, which the caller owns. */
pk_err pk_output_new(enum pk_output_mode mode, FILE *stream, struct pk_output **out_output);
void pk_output_free(struct pk_output *output);

void pk_output_message(struct pk_output *output, const struct pk_message *message);
void pk_output_transaction(struct pk_output *output, const struct pk_transaction *transaction);
void pk_output_rrset(struct pk_output *output, const struct pk_rrset *rrset);
/* Mode rrsets: prints what was collected, ordered by first sight and owner, and forgets it. Others: flushes the stream. */
pk_err pk_output_flush(struct pk_output *output);
/* The reader is gone (EPIPE): end quietly. */
bool pk_output_is_closed(const struct pk_output *output);

#endif

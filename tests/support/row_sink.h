/* A window's rows as values, for tests: each part is encoded and decoded again, so that what a test sees is what an aggregator would. */
#ifndef SUPPORT_ROW_SINK_H
#define SUPPORT_ROW_SINK_H

#include "sensor/window/merge.h"

/* Rows are borrowed during the call. A part that its window goes on after ends with is_last false. */
struct row_calls {
    void *arg;
    void (*window)(void *arg, const struct pk_batch_info *info); /* begins; kind is not set */
    void (*activity)(void *arg, const struct pk_activity *row);
    void (*rrset)(void *arg, const struct pk_rrset *row);
    void (*negative)(void *arg, const struct pk_negative *row);
    void (*client)(void *arg, const struct pk_client_count *row);
    void (*window_end)(void *arg, bool is_last);
};

struct row_sink;
/* Ends the program when anything fails. */
struct row_sink *row_sink_new(const struct row_calls *calls);
void row_sink_free(struct row_sink *sink);
/* What to give to pk_merge_new. */
struct pk_merge_sink row_sink_of(struct row_sink *sink);

#endif

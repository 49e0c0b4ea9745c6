/* Through the encoder and the decoder. */
#include "row_sink.h"

#include <stdio.h>
#include <stdlib.h>

#include "picket/limits.h"

struct row_sink {
    struct row_calls calls;
    struct pk_rows_encoder *encoder;
    struct pk_bytes body;
    bool is_inside;
};

static void check(bool is_good, const char *what)
{
    if (!is_good) {
        fprintf(stderr, "row_sink: %s\n", what);
        abort();
    }
}

struct row_sink *row_sink_new(const struct row_calls *calls)
{
    struct row_sink *sink = calloc(1, sizeof *sink);
    check(sink && pk_rows_encoder_new(&sink->encoder) == PK_OK, "out of memory");
    sink->calls = *calls;
    pk_bytes_init(&sink->body, PK_MAX_BODY_BYTES);
    return sink;
}

void row_sink_free(struct row_sink *sink)
{
    pk_rows_encoder_free(sink->encoder);
    pk_bytes_done(&sink->body);
    free(sink);
}

static void give(const struct row_calls *calls, const struct pk_batch *batch, size_t i)
{
    struct pk_activity activity;
    struct pk_rrset rrset;
    struct pk_negative negative;
    struct pk_client_count client;
    switch ((unsigned)pk_batch_info(batch)->kind) {
    case PK_BATCH_ACTIVITY:
        pk_batch_activity(batch, i, &activity);
        calls->activity(calls->arg, &activity);
        break;
    case PK_BATCH_RRSET:
        pk_batch_rrset(batch, i, &rrset);
        calls->rrset(calls->arg, &rrset);
        break;
    case PK_BATCH_NEGATIVE:
        pk_batch_negative(batch, i, &negative);
        calls->negative(calls->arg, &negative);
        break;
    default:
        pk_batch_client_count(batch, i, &client);
        calls->client(calls->arg, &client);
    }
}

static void begin(struct row_sink *sink, const struct pk_batch_info *info)
{
    if (!sink->is_inside) {
        sink->calls.window(sink->calls.arg, info);
        sink->is_inside = true;
    }
}

static void end(struct row_sink *sink, bool is_last)
{
    sink->calls.window_end(sink->calls.arg, is_last);
    sink->is_inside = false;
}

static void on_rows(void *arg, const struct pk_batch_info *info, const struct pk_rows *rows)
{
    struct row_sink *sink = arg;
    struct pk_rows_batch told = {.n_rows = 1};
    uint32_t n = 0;
    begin(sink, info);
    check(pk_rows_encoder_begin(sink->encoder, info, rows) == PK_OK, "rows are refused");
    while (told.n_rows > 0) {
        struct pk_batch *batch = NULL;
        struct pk_batch_fault fault = {0};
        pk_bytes_clear(&sink->body);
        check(pk_rows_encoder_next(sink->encoder, &sink->body, &told) == PK_OK, "no batch");
        n += told.n_rows + told.n_shed;
        if (told.n_rows > 0) {
            check(pk_batch_decode(sink->body.data, sink->body.len, &batch, &fault) == PK_OK,
                fault.what ? fault.what : "a batch is refused");
            check(pk_batch_rows(batch) == told.n_rows, "rows of a batch are missing");
            for (size_t i = 0; i < told.n_rows; i++) {
                give(&sink->calls, batch, i);
            }
            pk_batch_free(batch);
        }
    }
    check(n == rows->n, "rows are missing");
    if (info->flags & PK_BATCH_PARTIAL) {
        end(sink, false);
    }
}

static void on_window_end(void *arg, const struct pk_batch_info *info)
{
    struct row_sink *sink = arg;
    begin(sink, info);
    end(sink, true);
}

struct pk_merge_sink row_sink_of(struct row_sink *sink)
{
    return (struct pk_merge_sink){.arg = sink, .rows = on_rows, .window_end = on_window_end};
}

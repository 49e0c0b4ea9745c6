/* Filling and sealing. A row that does not fit the begun batch seals it and goes into the next; a row that fits none (a set beyond the limits of the wire)
 * is shed and counted. */
#include "window/batch.h"

#include <stdlib.h>
#include <string.h>

#include "picket/codec.h"
#include "picket/limits.h"

struct pk_batcher {
    struct pk_stats *stats;
    struct pk_stats reported; /* as of the last health batch */
    pk_sealed_cb on_sealed;
    void *arg;
    struct pk_batch_builder *builder;
    struct pk_batch_info info; /* of the window; kind 0: none begun */
    struct pk_bytes body, packed;
    struct pk_packer *packer;
    pk_err err;
};

pk_err pk_batcher_new(
    struct pk_stats *stats, pk_sealed_cb on_sealed, void *arg, struct pk_batcher **out_batcher)
{
    struct pk_batcher *batcher = calloc(1, sizeof *batcher);
    if (!batcher) {
        return PK_ERR_NOMEM;
    }
    *batcher = (struct pk_batcher){.stats = stats, .on_sealed = on_sealed, .arg = arg};
    pk_bytes_init(&batcher->body, PK_MAX_BODY_BYTES);
    pk_bytes_init(&batcher->packed, PK_MAX_BODY_BYTES);
    pk_err err = pk_batch_builder_new(PK_MAX_BATCH_ROWS, &batcher->builder);
    err = err == PK_OK ? pk_packer_new(&batcher->packer) : err;
    if (err != PK_OK) {
        pk_batch_builder_free(batcher->builder);
        free(batcher);
        return err;
    }
    stats->memory_bound_bytes += pk_batcher_bound_bytes();
    *out_batcher = batcher;
    return PK_OK;
}

void pk_batcher_free(struct pk_batcher *batcher)
{
    if (batcher) {
        pk_batch_builder_free(batcher->builder);
        pk_bytes_done(&batcher->body);
        pk_bytes_done(&batcher->packed);
        pk_packer_free(batcher->packer);
        free(batcher);
    }
}

static void note(struct pk_batcher *batcher, pk_err err)
{
    if (batcher->err == PK_OK) {
        batcher->err = err;
    }
}

static void seal(struct pk_batcher *batcher)
{
    size_t rows = batcher->info.kind ? pk_batch_builder_rows(batcher->builder) : 0;
    if (rows > 0) {
        struct pk_sealed sealed = {.kind = batcher->info.kind,
            .rows = (uint32_t)rows,
            .transactions = pk_batch_builder_transactions(batcher->builder)};
        pk_bytes_clear(&batcher->body);
        pk_err err =
            pk_batch_encode(batcher->builder, &batcher->body, &sealed.first_us, &sealed.last_us);
        if (err == PK_OK) {
            sealed.codec = (uint8_t)pk_pack(
                batcher->packer, batcher->body.data, batcher->body.len, &batcher->packed);
            struct pk_bytes *body =
                sealed.codec == PK_CODEC_PLAIN ? &batcher->body : &batcher->packed;
            sealed.body = body->data;
            sealed.body_len = body->len;
            err = batcher->on_sealed(batcher->arg, &sealed);
        }
        if (err != PK_OK) {
            note(batcher, err);
        } else {
            batcher->stats->batches++;
            batcher->stats->rows += rows;
        }
    }
    batcher->info.kind = (enum pk_batch_kind)0;
}

static void begin(struct pk_batcher *batcher, enum pk_batch_kind kind)
{
    seal(batcher);
    batcher->info.kind = kind;
    pk_batch_builder_begin(batcher->builder, &batcher->info);
}

/* One row of any kind: add it, sealing in between when the batch is full. */
static void add(struct pk_batcher *batcher, enum pk_batch_kind kind,
    pk_err (*add_row)(struct pk_batch_builder *, const void *, const struct pk_row_numbers *),
    const void *row, const struct pk_row_numbers *numbers)
{
    if (batcher->info.kind != kind) {
        begin(batcher, kind);
    }
    pk_err err = add_row(batcher->builder, row, numbers);
    if (err == PK_ERR_LIMIT && pk_batch_builder_rows(batcher->builder) > 0) {
        batcher->info.flags |= PK_BATCH_PARTIAL;
        begin(batcher, kind);
        err = add_row(batcher->builder, row, numbers);
    }
    if (err == PK_ERR_UNSUPPORTED || err == PK_ERR_LIMIT) {
        batcher->stats->rrsets_shed += kind == PK_BATCH_RRSET;
        batcher->stats->merge_shed += kind != PK_BATCH_RRSET;
    } else if (err != PK_OK) {
        note(batcher, err);
    }
}

static pk_err add_activity(
    struct pk_batch_builder *builder, const void *row, const struct pk_row_numbers *numbers)
{
    return pk_batch_add_numbered_activity(builder, row, numbers);
}

static pk_err add_rrset(
    struct pk_batch_builder *builder, const void *row, const struct pk_row_numbers *numbers)
{
    return pk_batch_add_numbered_rrset(builder, row, numbers);
}

static pk_err add_negative(
    struct pk_batch_builder *builder, const void *row, const struct pk_row_numbers *numbers)
{
    return pk_batch_add_numbered_negative(builder, row, numbers);
}

static pk_err add_client(
    struct pk_batch_builder *builder, const void *row, const struct pk_row_numbers *numbers)
{
    return pk_batch_add_numbered_client_count(builder, row, numbers);
}

static void on_window(void *arg, const struct pk_batch_info *info)
{
    struct pk_batcher *batcher = arg;
    batcher->info = *info;
    batcher->info.kind = (enum pk_batch_kind)0;
}

static void on_activity(
    void *arg, const struct pk_activity *row, const struct pk_row_numbers *numbers)
{
    add(arg, PK_BATCH_ACTIVITY, add_activity, row, numbers);
}

static void on_rrset(void *arg, const struct pk_rrset *row, const struct pk_row_numbers *numbers)
{
    add(arg, PK_BATCH_RRSET, add_rrset, row, numbers);
}

static void on_negative(
    void *arg, const struct pk_negative *row, const struct pk_row_numbers *numbers)
{
    add(arg, PK_BATCH_NEGATIVE, add_negative, row, numbers);
}

static void on_client(
    void *arg, const struct pk_client_count *row, const struct pk_row_numbers *numbers)
{
    add(arg, PK_BATCH_CLIENT, add_client, row, numbers);
}

/* Health belongs to whole windows: only there do the counters balance. */
static void on_window_end(void *arg, bool is_last)
{
    struct pk_batcher *batcher = arg;
    struct pk_health health;
    seal(batcher);
    if (!is_last) {
        return;
    }
    pk_stats_health(batcher->stats, &batcher->reported, batcher->info.window_ms, &health);
    batcher->reported = *batcher->stats;
    begin(batcher, PK_BATCH_HEALTH);
    note(batcher, pk_batch_set_health(batcher->builder, &health));
    seal(batcher);
}

struct pk_merge_sink pk_batcher_sink(struct pk_batcher *batcher)
{
    return (struct pk_merge_sink){.arg = batcher,
        .window = on_window,
        .activity = on_activity,
        .rrset = on_rrset,
        .negative = on_negative,
        .client = on_client,
        .window_end = on_window_end};
}

pk_err pk_batcher_origin(struct pk_batcher *batcher, const struct pk_origin *origin)
{
    begin(batcher, PK_BATCH_ORIGIN);
    note(batcher, pk_batch_set_origin(batcher->builder, origin));
    seal(batcher);
    return batcher->err;
}

pk_err pk_batcher_err(const struct pk_batcher *batcher)
{
    return batcher->err;
}

size_t pk_batcher_bound_bytes(void)
{
    return sizeof(struct pk_batcher) + 2 * pk_bytes_bound_bytes(PK_MAX_BODY_BYTES) +
           pk_batch_builder_bound_bytes(PK_MAX_BATCH_ROWS) + PK_PACKER_BOUND_BYTES;
}

/* Sealing. A row that fits no batch (a set beyond the limits of the wire) is shed and counted. */
#include "window/batch.h"

#include <stdlib.h>
#include <string.h>

#include "picket/codec.h"
#include "picket/limits.h"

enum {
    ONE_ROW_BYTES =
        1
        << 20 /* builder and encoding of health or origin: no value of theirs is in a dictionary */
};

struct pk_batcher {
    struct pk_stats *stats;
    struct pk_stats reported; /* as of the last health batch */
    pk_sealed_cb on_sealed;
    pk_unsealed_cb on_unsealed; /* NULL: nobody wants it */
    void *arg;
    struct pk_batch_builder *builder; /* of health and origin */
    struct pk_rows_encoder *encoder;
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
    pk_err err = pk_batch_builder_new(1, &batcher->builder);
    err = err == PK_OK ? pk_rows_encoder_new(&batcher->encoder) : err;
    err = err == PK_OK ? pk_packer_new(&batcher->packer) : err;
    if (err != PK_OK) {
        pk_batch_builder_free(batcher->builder);
        pk_rows_encoder_free(batcher->encoder);
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
        pk_rows_encoder_free(batcher->encoder);
        pk_bytes_done(&batcher->body);
        pk_bytes_done(&batcher->packed);
        pk_packer_free(batcher->packer);
        free(batcher);
    }
}

void pk_batcher_set_unsealed(struct pk_batcher *batcher, pk_unsealed_cb on_unsealed)
{
    batcher->on_unsealed = on_unsealed;
}

static void note(struct pk_batcher *batcher, pk_err err)
{
    if (batcher->err == PK_OK) {
        batcher->err = err;
    }
}

/* The body is there; *sealed says the rest. */
static void seal(struct pk_batcher *batcher, struct pk_sealed *sealed)
{
    sealed->codec =
        (uint8_t)pk_pack(batcher->packer, batcher->body.data, batcher->body.len, &batcher->packed);
    const struct pk_bytes *body =
        sealed->codec == PK_CODEC_PLAIN ? &batcher->body : &batcher->packed;
    sealed->body = body->data;
    sealed->body_len = body->len;
    pk_err err = batcher->on_sealed(batcher->arg, sealed);
    if (err != PK_OK) {
        note(batcher, err);
    } else {
        batcher->stats->batches++;
        batcher->stats->rows += sealed->rows;
    }
}

void pk_batcher_seal(
    struct pk_batcher *batcher, struct pk_batch_builder *builder, enum pk_batch_kind kind)
{
    struct pk_sealed sealed = {.kind = kind,
        .rows = (uint32_t)pk_batch_builder_rows(builder),
        .transactions = pk_batch_builder_transactions(builder)};
    if (sealed.rows == 0) {
        return;
    }
    pk_bytes_clear(&batcher->body);
    pk_err err = pk_batch_encode(builder, &batcher->body, &sealed.first_us, &sealed.last_us);
    if (err == PK_OK) {
        seal(batcher, &sealed);
    } else {
        note(batcher, err);
    }
}

static void on_rows(void *arg, const struct pk_batch_info *info, const struct pk_rows *rows)
{
    struct pk_batcher *batcher = arg;
    struct pk_rows_batch batch = {.n_rows = 1};
    pk_err err = pk_rows_encoder_begin(batcher->encoder, info, rows);
    while (err == PK_OK && batch.n_rows > 0) {
        pk_bytes_clear(&batcher->body);
        err = pk_rows_encoder_next(batcher->encoder, &batcher->body, &batch);
        batcher->stats->rrsets_shed += batch.n_shed;
        if (err == PK_OK && batch.n_rows > 0) {
            struct pk_sealed sealed = {.kind = rows->kind,
                .rows = batch.n_rows,
                .first_us = batch.first_us,
                .last_us = batch.last_us,
                .transactions = batch.transactions};
            seal(batcher, &sealed);
        }
    }
    if (err != PK_OK) {
        note(batcher, err);
    }
}

/* Health belongs to whole windows: only there do the counters balance. */
static void on_window_end(void *arg, const struct pk_batch_info *info)
{
    struct pk_batcher *batcher = arg;
    struct pk_health health;
    struct pk_health_interface interfaces[PK_STATS_MAX_INTERFACES];
    struct pk_batch_info own = *info;
    own.kind = PK_BATCH_HEALTH;
    size_t n_interfaces = pk_stats_interfaces(batcher->stats, &batcher->reported, interfaces);
    pk_stats_health(batcher->stats, &batcher->reported, info->window_ms, &health);
    batcher->reported = *batcher->stats;
    pk_batch_builder_begin(batcher->builder, &own);
    note(batcher, pk_batch_set_health(batcher->builder, &health));
    pk_batch_set_interfaces(batcher->builder, interfaces, n_interfaces);
    pk_batcher_seal(batcher, batcher->builder, PK_BATCH_HEALTH);
}

static void on_open(void *arg, const struct pk_merge_open *open)
{
    struct pk_batcher *batcher = arg;
    if (batcher->on_unsealed) {
        struct pk_unsealed unsealed = {.window_start_us = open->window_start_us,
            .window_ms = open->window_ms,
            .rows = {open->activity, open->rrsets, open->negatives}};
        pk_stats_health(batcher->stats, &batcher->reported, open->window_ms, &unsealed.health);
        batcher->on_unsealed(batcher->arg, &unsealed);
    }
}

struct pk_merge_sink pk_batcher_sink(struct pk_batcher *batcher)
{
    return (struct pk_merge_sink){
        .arg = batcher, .rows = on_rows, .window_end = on_window_end, .open = on_open};
}

pk_err pk_batcher_origin(struct pk_batcher *batcher, const struct pk_origin *origin)
{
    struct pk_batch_info info = {.kind = PK_BATCH_ORIGIN};
    pk_batch_builder_begin(batcher->builder, &info);
    note(batcher, pk_batch_set_origin(batcher->builder, origin));
    pk_batcher_seal(batcher, batcher->builder, PK_BATCH_ORIGIN);
    return batcher->err;
}

pk_err pk_batcher_err(const struct pk_batcher *batcher)
{
    return batcher->err;
}

size_t pk_batcher_bound_bytes(void)
{
    return sizeof(struct pk_batcher) + 2 * pk_bytes_bound_bytes(PK_MAX_BODY_BYTES) + ONE_ROW_BYTES +
           pk_rows_encoder_bound_bytes() + PK_PACKER_BOUND_BYTES;
}

/* From a window's rows to sealed batches of one kind each; each window ends with a health batch. */
#ifndef SENSOR_BATCH_H
#define SENSOR_BATCH_H

#include "picket/batch.h"
#include "picket/err.h"

#include "stats.h"
#include "window/merge.h"

struct pk_batcher;

/* A sealed body; borrowed during the call. */
struct pk_sealed {
    enum pk_batch_kind kind;
    uint32_t rows;
    int64_t first_us, last_us;
    uint64_t transactions; /* sum of the rows' counts; 0 for kinds without */
    uint8_t codec;         /* enum pk_codec: of the body */
    const uint8_t *body;
    size_t body_len;
};
typedef pk_err (*pk_sealed_cb)(void *arg, const struct pk_sealed *sealed);

/* What is captured and not sealed: the window in hand, and the counters since the last health row. */
struct pk_unsealed {
    int64_t window_start_us;
    uint32_t window_ms;
    struct pk_health health;
    uint64_t rows[3]; /* in its tables now: activity, RRset, negative */
};
typedef void (*pk_unsealed_cb)(void *arg, const struct pk_unsealed *unsealed);

pk_err pk_batcher_new(
    struct pk_stats *stats, pk_sealed_cb on_sealed, void *arg, struct pk_batcher **out_batcher);
void pk_batcher_free(struct pk_batcher *batcher);
/* Calls this, with the argument of on_sealed, when pk_merge_tell asks for it, and each time before something is sealed. */
void pk_batcher_set_unsealed(struct pk_batcher *batcher, pk_unsealed_cb on_unsealed);
/* What to give to pk_merge_new. */
struct pk_merge_sink pk_batcher_sink(struct pk_batcher *batcher);
/* Seals the rows of a builder that is not the window's (reread.c); none when it has none. */
void pk_batcher_seal(
    struct pk_batcher *batcher, struct pk_batch_builder *builder, enum pk_batch_kind kind);
/* Seals a batch that says who wrote the file. */
pk_err pk_batcher_origin(struct pk_batcher *batcher, const struct pk_origin *origin);
/* The first failure of sealing or of the callback, PK_OK while all is well. */
pk_err pk_batcher_err(const struct pk_batcher *batcher);
/* What it can come to hold, in bytes. */
size_t pk_batcher_bound_bytes(void);

#endif

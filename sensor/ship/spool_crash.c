/* What the spool makes of a mark that was left: the health row that the window never got, and the loss of its rows. And how the mark of this process comes about.
 *
 * Health rows are appended before the loss batch, both before the mark goes; a crash in between leaves them where pk_mark_see finds them, so that nothing is told twice. */
#include <unistd.h>

#include "picket/batch.h"
#include "picket/clock.h"

#include "ship/spool_internal.h"

/* --- of an earlier process --- */

static void put_health(
    struct pk_spool *spool, const struct pk_unsealed *unsealed, const struct pk_health *health)
{
    const struct pk_batch_info info = {.kind = PK_BATCH_HEALTH,
        .window_start_us = unsealed->window_start_us,
        .window_ms = unsealed->window_ms,
        .flags = PK_BATCH_PARTIAL};
    struct pk_segment_record record = {.kind = PK_BATCH_HEALTH, .rows = 1};
    struct pk_batch_builder *builder = NULL;
    pk_err err = pk_batch_builder_new(1, &builder);
    if (err == PK_OK) {
        pk_batch_builder_begin(builder, &info);
        err = pk_batch_set_health(builder, health);
    }
    pk_bytes_clear(&spool->loss_body);
    if (err == PK_OK) {
        err = pk_batch_encode(builder, &spool->loss_body, &record.first_us, &record.last_us);
    }
    pk_batch_builder_free(builder);
    record.body = spool->loss_body.data;
    record.body_len = (uint32_t)spool->loss_body.len;
    if (err != PK_OK || spool_put(spool, &record) != PK_OK) {
        pk_ledger_add(&spool->ledger,
            &(struct pk_loss){
                .cause = PK_LOSS_MEMORY, .kind = PK_BATCH_HEALTH, .batches = 1, .rows = 1});
    }
}

/* Of the window's time, as its health row: the ledger by hour shall meet there, however long nobody started the sensor. */
static void put_loss(
    struct pk_spool *spool, const struct pk_mark_left *left, struct pk_spool_found *found)
{
    struct pk_ledger lost = {.n = 0};
    int64_t when_us = INT64_MAX;
    for (unsigned kind = 0; kind < PK_MARK_KINDS && !left->is_loss_told; kind++) {
        struct pk_loss loss;
        if (pk_mark_loss(left, kind, &loss)) {
            pk_ledger_add(&lost, &loss);
            when_us = loss.first_us < when_us ? loss.first_us : when_us;
            found->has_crashed = true;
            found->crashed_transactions += loss.kind != PK_BATCH_RRSET ? loss.transactions : 0;
        }
    }
    for (unsigned kind = 0; kind < PK_MARK_BATCH_KINDS && !left->is_loss_told; kind++) {
        struct pk_loss loss;
        if (pk_mark_ring_loss(left, kind, &loss)) {
            pk_ledger_add(&lost, &loss);
            found->has_crashed = true;
            spool->ledger.batches[PK_LOSS_MEMORY] += loss.batches;
            spool->ledger.rows[PK_LOSS_MEMORY] += loss.rows;
        }
    }
    when_us = when_us == INT64_MAX ? pk_clock_wall_us() : when_us;
    spool->ledger.rows[PK_LOSS_CRASH] += lost.rows[PK_LOSS_CRASH];
    if (lost.n > 0 && !spool_put_losses(spool, &lost, when_us)) {
        for (size_t i = 0; i < lost.n; i++) {
            pk_ledger_carry(&spool->ledger, &lost.entries[i]);
        }
    }
}

void spool_tell_crash(
    struct pk_spool *spool, const struct pk_mark_left *left, struct pk_spool_found *found)
{
    for (size_t i = 0; i < left->n; i++) {
        const struct pk_mark *mark = &left->marks[i];
        struct pk_health health;
        if (pk_mark_health(mark, &health)) {
            put_health(spool, &mark->unsealed, &health);
            found->has_crashed = true;
            found->crashed_messages += health.v[PK_HEALTH_MESSAGES];
            found->crashed_us =
                mark->noted_us > found->crashed_us ? mark->noted_us : found->crashed_us;
        }
    }
    put_loss(spool, left, found);
    if (left->is_unreadable) {
        pk_ledger_add(&spool->ledger, &(struct pk_loss){.cause = PK_LOSS_CRASH, .batches = 1});
        found->has_crashed = found->is_crash_unknown = true;
    }
    if (left->n > 0 || left->is_unreadable) {
        spool_tell_losses(spool);
        spool_remove_mark(spool);
    }
}

/* --- of this one --- */

/* first: of those in the ring now. */
static void write_ring(struct pk_spool *spool, size_t first)
{
    if (!spool->mark) {
        return;
    }
    bool is_empty = first >= spool->n_ring;
    spool->ring_mark.epoch = is_empty ? spool->epoch : spool->ring[first].epoch;
    spool->ring_mark.seq = is_empty ? spool->next_seq : spool->ring[first].entry.seq;
    pk_mark_write_ring(spool->mark, &spool->ring_mark);
}

void spool_ring_came(struct pk_spool *spool, const struct ring_item *item)
{
    struct pk_mark_waiting *of = &spool->ring_mark.of[item->entry.kind % PK_MARK_BATCH_KINDS];
    of->batches++;
    of->rows += item->entry.rows;
    of->transactions += item->entry.transactions;
    write_ring(spool, 0);
}

void spool_ring_goes(struct pk_spool *spool, size_t index)
{
    const struct ring_item *item = &spool->ring[index];
    struct pk_mark_waiting *of = &spool->ring_mark.of[item->entry.kind % PK_MARK_BATCH_KINDS];
    of->batches--;
    of->rows -= item->entry.rows;
    of->transactions -= item->entry.transactions;
    write_ring(spool, index == 0 ? 1 : 0);
}

struct pk_spool_source *pk_spool_source(struct pk_spool *spool, unsigned n)
{
    struct pk_spool_source *source = &spool->sources[n];
    *source = (struct pk_spool_source){.spool = spool, .n = n};
    pthread_mutex_lock(&spool->mutex);
    if (!spool->mark && spool->folder >= 0) {
        spool->mark = pk_mark_map(spool->folder);
        spool->has_no_mark = spool->mark == NULL;
    }
    source->mark.epoch = spool->epoch;
    source->mark.seq = spool->next_seq;
    if (spool->mark) {
        pk_mark_write(spool->mark, n, &source->mark);
        write_ring(spool, 0);
    }
    pthread_mutex_unlock(&spool->mutex);
    return source;
}

void pk_spool_source_note(void *arg, const struct pk_unsealed *unsealed)
{
    struct pk_spool_source *source = arg;
    source->mark.unsealed = *unsealed;
    source->mark.noted_us = pk_clock_wall_us();
    if (source->spool->mark) {
        pk_mark_write(source->spool->mark, source->n, &source->mark);
    }
}

void spool_source_sealed(struct pk_spool_source *source, const struct pk_sealed *sealed)
{
    struct pk_spool *spool = source->spool;
    struct pk_mark *mark = &source->mark;
    unsigned kind = pk_mark_kind(sealed->kind);
    mark->epoch = spool->epoch;
    mark->seq = spool->next_seq;
    if (kind < PK_MARK_KINDS) {
        uint64_t *rows = &mark->unsealed.rows[kind];
        mark->sealed[kind] += sealed->transactions;
        *rows -= sealed->rows < *rows ? sealed->rows : *rows;
    } else if (sealed->kind == PK_BATCH_HEALTH) {
        *mark = (struct pk_mark){.generation = mark->generation,
            .epoch = mark->epoch,
            .seq = mark->seq,
            .noted_us = mark->noted_us};
    }
    if (spool->mark) {
        pk_mark_write(spool->mark, source->n, mark);
    }
}

void spool_remove_mark(struct pk_spool *spool)
{
    (void)unlinkat(spool->folder, "mark", 0);
}

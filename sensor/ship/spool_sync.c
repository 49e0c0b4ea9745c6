/* Making sure: what was appended survives a power cut, what is done with is noted and removed, what waits in memory goes to the disk again.
 *
 * Runs on a thread of its own, in rounds: under the lock it takes what is to be flushed, without it it waits for the disk, under the lock it notes the outcome. Nobody who
 * appends waits for an fdatasync. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "picket/clock.h"

#include "ship/spool_internal.h"

enum {
    DRAIN_AT_ONCE = 16
};

void spool_snapshot(struct pk_spool *spool, struct pk_meta *out)
{
    spool_note_epoch(spool, spool->epoch, spool->next_seq - 1);
    out->epoch = spool->epoch;
    out->next_seq = spool->next_seq;
    out->n = spool->epochs.n;
    memcpy(out->epochs, spool->epochs.epochs, sizeof out->epochs);
    for (uint32_t e = 0; e < out->n; e++) {
        uint64_t epoch = out->epochs[e].epoch;
        for (size_t i = 0; i < spool->n_files; i++) {
            const struct spool_file *file = spool->files[i];
            for (size_t k = 0; file->epoch == epoch && file->n_live > 0 && k < file->n; k++) {
                if (!file->entries[k].is_gone) {
                    out->epochs[e].acked = file->entries[k].seq - 1 < out->epochs[e].acked
                                               ? file->entries[k].seq - 1
                                               : out->epochs[e].acked;
                    break;
                }
            }
        }
        for (size_t i = 0; i < spool->n_ring; i++) {
            if (spool->ring[i].epoch == epoch &&
                spool->ring[i].entry.seq - 1 < out->epochs[e].acked) {
                out->epochs[e].acked = spool->ring[i].entry.seq - 1;
            }
        }
    }
}

static bool is_same(const struct pk_meta *a, const struct pk_meta *b)
{
    bool is_same = a->epoch == b->epoch && a->n == b->n;
    for (uint32_t i = 0; is_same && i < a->n; i++) {
        is_same =
            a->epochs[i].epoch == b->epochs[i].epoch && a->epochs[i].acked == b->epochs[i].acked;
    }
    return is_same;
}

/* Epochs of which nothing is left need not be remembered. */
static void forget_epochs(struct pk_spool *spool)
{
    uint32_t kept = 0;
    for (uint32_t e = 0; e < spool->epochs.n; e++) {
        bool is_used = spool->epochs.epochs[e].epoch == spool->epoch;
        for (size_t i = 0; i < spool->n_files && !is_used; i++) {
            is_used = spool->files[i]->epoch == spool->epochs.epochs[e].epoch;
        }
        for (size_t i = 0; i < spool->n_ring && !is_used; i++) {
            is_used = spool->ring[i].epoch == spool->epochs.epochs[e].epoch;
        }
        if (is_used) {
            spool->epochs.epochs[kept++] = spool->epochs.epochs[e];
        }
    }
    spool->epochs.n = kept;
}

struct sync_round {
    int fds[N_CLASSES]; /* copies, so that a slow disk holds up nobody who appends */
    const struct spool_file *files[N_CLASSES];
    int rolled[SPOOL_MAX_ROLLED];
    size_t n_rolled;
    struct pk_meta meta;
};

static void take_round(struct pk_spool *spool, struct sync_round *round)
{
    for (int class = 0; class < N_CLASSES; class ++) {
        struct pk_spool_writer *writer = &spool->writers[class];
        round->fds[class] = -1;
        round->files[class] = spool->active[class];
        if (writer->fd >= 0 && writer->is_dirty && spool->options.durability != PK_SPOOL_NEVER) {
            round->fds[class] = fcntl(writer->fd, F_DUPFD_CLOEXEC, 0);
            writer->is_dirty = round->fds[class] < 0;
        }
    }
    memcpy(round->rolled, spool->rolled, sizeof round->rolled);
    round->n_rolled = spool->n_rolled;
    spool->n_rolled = 0;
    for (size_t i = 0; i < spool->n_files; i++) {
        spool->files[i]->was_done = spool->files[i]->n_live == 0;
    }
    spool->unsure_bytes = 0;
    spool_snapshot(spool, &round->meta);
}

/* After a failed fdatasync the kernel has dropped the pages and says yes the next time, so the segment is left as it is and never asked again. */
static void flush_round(struct pk_spool *spool, struct sync_round *round)
{
    for (int class = 0; class < N_CLASSES; class ++) {
        if (round->fds[class] < 0) {
            continue;
        }
        bool is_sure = spool->ops->fdatasync(round->fds[class]) == 0;
        close(round->fds[class]);
        if (!is_sure) {
            pthread_mutex_lock(&spool->mutex);
            spool->sync_failures++;
            if (spool->active[class] == round->files[class]) {
                spool_close_active(spool, (enum spool_class) class);
            }
            pthread_mutex_unlock(&spool->mutex);
        }
    }
    for (size_t i = 0; i < round->n_rolled; i++) {
        bool is_sure = spool->ops->fdatasync(round->rolled[i]) == 0;
        close(round->rolled[i]);
        if (!is_sure) {
            pthread_mutex_lock(&spool->mutex);
            spool->sync_failures++;
            pthread_mutex_unlock(&spool->mutex);
        }
    }
}

static void finish_round(struct pk_spool *spool, struct sync_round *round)
{
    round->meta.generation = spool->meta.generation;
    bool is_written = is_same(&round->meta, &spool->meta) ||
                      pk_meta_write(spool->folder, spool->ops, &round->meta);
    if (!is_written) {
        return; /* what is done with stays until it can be noted */
    }
    spool->meta = round->meta;
    pthread_mutex_lock(&spool->mutex);
    for (int class = 0; class < N_CLASSES; class ++) {
        struct spool_file *file = spool->active[class];
        if (file && file->n_live == 0 && file->n > 0 &&
            pk_clock_mono_ms() - file->created_ms > PK_SPOOL_ROLL_MS) {
            spool_close_active(spool, (enum spool_class) class);
        }
    }
    while (spool_remove_done(spool, true)) {
    }
    forget_epochs(spool);
    pthread_mutex_unlock(&spool->mutex);
}

static void sync_disk(struct pk_spool *spool, int64_t mono_ms)
{
    struct sync_round round;
    bool has_more = true;
    while (has_more) { /* in steps, so that nobody waits for the whole ring */
        pthread_mutex_lock(&spool->mutex);
        bool is_due = spool->n_ring > 0 || spool->is_refused;
        if (is_due && mono_ms >= spool->retry_ms) {
            spool_shed_for_space(spool);
            has_more = spool_drain_ring(spool, DRAIN_AT_ONCE) && spool->n_ring > 0;
        } else {
            has_more = false;
        }
        if (!has_more) {
            spool_shed_for_space(spool);
            spool_shed_old(spool, mono_ms);
            spool_tell_losses(spool);
            spool_shed(spool);
            take_round(spool, &round);
        }
        pthread_mutex_unlock(&spool->mutex);
    }
    flush_round(spool, &round);
    finish_round(spool, &round);
}

void pk_spool_sync(struct pk_spool *spool, int64_t mono_ms, bool force)
{
    uint64_t count;
    pthread_mutex_lock(&spool->sync_mutex);
    ssize_t n = read(spool->sync_wake, &count, sizeof count);
    (void)n;
    pthread_mutex_lock(&spool->mutex);
    bool is_due = force || mono_ms - spool->synced_ms >= PK_SPOOL_SYNC_MS ||
                  spool->unsure_bytes >= PK_SPOOL_SYNC_BYTES;
    spool->synced_ms = is_due ? mono_ms : spool->synced_ms;
    spool->retry_ms = force ? mono_ms : spool->retry_ms;
    if (is_due && spool->folder < 0) {
        spool_tell_losses(spool);
    }
    pthread_mutex_unlock(&spool->mutex);
    if (is_due && spool->folder >= 0) {
        sync_disk(spool, mono_ms);
    }
    pthread_mutex_unlock(&spool->sync_mutex);
}

int pk_spool_sync_fd(const struct pk_spool *spool)
{
    return spool->sync_wake;
}

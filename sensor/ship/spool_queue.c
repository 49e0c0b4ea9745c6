/* The spool as a queue: what waits, in the order of epoch and sequence, over segments of all classes and the ring.
 *
 * A batch of the uplink lies in the uplink's buffer, never in ours: the capture may give up the segment at any moment. */
#include <string.h>

#include "picket/clock.h"
#include "picket/limits.h"

#include "ship/spool_internal.h"

static bool is_after(uint64_t epoch, uint64_t seq, struct pk_queue_at after)
{
    return epoch > after.epoch || (epoch == after.epoch && seq > after.seq);
}

/* The first entry of a file after a place that still waits; n when there is none. */
static size_t first_live(const struct spool_file *file, struct pk_queue_at after)
{
    size_t low = 0, high = file->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (is_after(file->epoch, file->entries[middle].seq, after)) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    while (low < file->n && file->entries[low].is_gone) {
        low++;
    }
    return low;
}

struct place {
    struct spool_file *file; /* NULL: in the ring */
    size_t index;
    struct pk_queue_at at;
};

/* Files of a class follow each other, so the first that has something is that class's candidate. */
static bool find_next(const struct pk_spool *spool, struct pk_queue_at after, struct place *out)
{
    bool has[N_CLASSES] = {false}, is_found = false;
    unsigned n_has = 0;
    for (size_t i = 0; i < spool->n_files && n_has < N_CLASSES; i++) {
        struct spool_file *file = spool->files[i];
        size_t index = !has[file->class] && file->n_live > 0 ? first_live(file, after) : file->n;
        if (index == file->n) {
            continue;
        }
        has[file->class] = true;
        n_has++;
        struct pk_queue_at at = {file->epoch, file->entries[index].seq};
        if (!is_found || is_after(out->at.epoch, out->at.seq, at)) {
            *out = (struct place){.file = file, .index = index, .at = at};
            is_found = true;
        }
    }
    for (size_t i = 0; i < spool->n_ring; i++) {
        const struct ring_item *item = &spool->ring[i];
        struct pk_queue_at at = {item->epoch, item->entry.seq};
        if (is_after(at.epoch, at.seq, after)) {
            if (!is_found || is_after(out->at.epoch, out->at.seq, at)) {
                *out = (struct place){.index = i, .at = at};
            }
            return true;
        }
    }
    return is_found;
}

bool spool_read(struct pk_spool *spool, const struct spool_file *file, size_t index,
    struct pk_bytes *buffer, struct pk_segment_record *out_record)
{
    struct pk_spool_reader *reader = &spool->readers[file->class];
    bool is_here = reader->fd >= 0 && spool->reading[file->class] == file;
    bool is_encrypted = reader->header.flags & PK_SEGMENT_ENCRYPTED;
    if (!is_here || (is_encrypted && reader->n_record > index)) {
        spool->reading[file->class] = NULL;
        if (pk_spool_reader_open(reader, spool->folder, file->name, spool_key(spool)) !=
            PK_SPOOL_OPENED) {
            return false;
        }
        spool->reading[file->class] = file;
        is_encrypted = reader->header.flags & PK_SEGMENT_ENCRYPTED;
    }
    if (!is_encrypted) {
        reader->at = file->entries[index].offset;
        reader->n_record = index;
    }
    enum pk_spool_read result = PK_SPOOL_READ_RECORD;
    while (result == PK_SPOOL_READ_RECORD && reader->n_record <= index) {
        result = pk_spool_reader_next(reader, file->bytes, buffer, out_record);
    }
    if (result != PK_SPOOL_READ_RECORD || out_record->seq != file->entries[index].seq) {
        pk_spool_reader_close(reader);
        spool->reading[file->class] = NULL;
        return false;
    }
    return true;
}

static bool read_place(struct pk_spool *spool, const struct place *place, struct pk_bytes *buffer,
    struct pk_segment_record *out_record)
{
    if (place->file) {
        return spool_read(spool, place->file, place->index, buffer, out_record);
    }
    const struct ring_item *item = &spool->ring[place->index];
    pk_bytes_clear(buffer);
    pk_bytes_put(buffer, item->body, item->body_len);
    *out_record = ring_record(item);
    out_record->body = buffer->data;
    return buffer->err == PK_OK;
}

static void set_gone(struct pk_spool *spool, const struct place *place)
{
    if (place->file) {
        place->file->entries[place->index].is_gone = true;
        place->file->n_live--;
        spool->n_live--;
    } else {
        spool_ring_remove(spool, place->index);
    }
}

static const struct spool_entry *entry_of(const struct pk_spool *spool, const struct place *place)
{
    return place->file ? &place->file->entries[place->index] : &spool->ring[place->index].entry;
}

static uint64_t newest_of(const struct pk_spool *spool, uint64_t epoch)
{
    return epoch == spool->epoch ? spool->next_seq - 1 : pk_meta_acked(&spool->epochs, epoch);
}

static void queue_info(void *self, struct pk_queue_info *out_info)
{
    struct pk_spool *spool = self;
    struct place first;
    pthread_mutex_lock(&spool->mutex);
    *out_info = (struct pk_queue_info){.epoch = spool->epoch,
        .oldest_seq = spool->next_seq,
        .newest_seq = spool->next_seq - 1,
        .n_batches = spool->n_live + (spool->ledger.n > 0), /* a loss that waits to be told */
        .bytes = spool->bytes + spool->ring_bytes};
    if (spool->n_live > 0 && find_next(spool, (struct pk_queue_at){0}, &first)) {
        out_info->epoch = first.at.epoch;
        out_info->oldest_seq = first.at.seq;
        out_info->newest_seq = newest_of(spool, first.at.epoch);
        out_info->oldest_us = entry_of(spool, &first)->first_us;
    }
    pthread_mutex_unlock(&spool->mutex);
}

static bool queue_next(void *self, struct pk_queue_at after, struct pk_bytes *buffer,
    struct pk_queue_at *out_at, struct pk_segment_record *out_record)
{
    struct pk_spool *spool = self;
    struct place place;
    bool is_found = false;
    pthread_mutex_lock(&spool->mutex);
    while (!is_found && find_next(spool, after, &place)) {
        is_found = read_place(spool, &place, buffer, out_record);
        if (!is_found && buffer->err == PK_ERR_NOMEM) {
            break; /* later */
        }
        if (!is_found) { /* it was good when it was written: the disk has lost it */
            spool_lose_entry(spool, PK_LOSS_DAMAGED, place.at.epoch, entry_of(spool, &place));
            set_gone(spool, &place);
        }
        after = place.at;
    }
    pthread_mutex_unlock(&spool->mutex);
    if (is_found) {
        *out_at = place.at;
    }
    return is_found;
}

static void queue_ack(void *self, uint64_t epoch, uint64_t from, uint64_t to)
{
    struct pk_spool *spool = self;
    pthread_mutex_lock(&spool->mutex);
    for (size_t i = 0; i < spool->n_files && spool->files[i]->epoch <= epoch; i++) {
        struct spool_file *file = spool->files[i];
        for (size_t k = 0;
             file->epoch == epoch && file->n_live > 0 && k < file->n && file->entries[k].seq <= to;
             k++) {
            if (!file->entries[k].is_gone && file->entries[k].seq >= from) {
                set_gone(spool, &(struct place){.file = file, .index = k});
            }
        }
    }
    for (size_t i = 0; i < spool->n_ring;) {
        if (spool->ring[i].epoch == epoch && spool->ring[i].entry.seq >= from &&
            spool->ring[i].entry.seq <= to) {
            spool_ring_remove(spool, i);
        } else {
            i++;
        }
    }
    pthread_mutex_unlock(&spool->mutex);
}

/* The body under a new number, with the old one beside it: recovery that finds both knows the old one is done with. The old one is only marked; its segment goes after a sync. */
static void renumber(struct pk_spool *spool, const struct place *place)
{
    struct pk_segment_record record;
    if (!read_place(spool, place, &spool->body, &record)) {
        spool_lose_entry(spool, PK_LOSS_DAMAGED, place->at.epoch, entry_of(spool, place));
        set_gone(spool, place);
        return;
    }
    record.origin_epoch = place->at.epoch;
    record.origin_seq = place->at.seq;
    set_gone(spool, place); /* first: the ring moves when something is put */
    if (place->at.epoch == spool->epoch) {
        spool_note_epoch(spool, spool->epoch, spool->next_seq - 1);
        spool->epoch = spool_new_epoch(spool->epoch);
        spool->next_seq = 1;
    }
    if (spool_put(spool, &record) != PK_OK) {
        struct spool_entry entry = {.seq = place->at.seq,
            .kind = record.kind,
            .rows = record.rows,
            .transactions = record.transactions,
            .first_us = record.first_us,
            .last_us = record.last_us};
        spool_lose_entry(spool, PK_LOSS_MEMORY, place->at.epoch, &entry);
    }
}

static void queue_refused(void *self, struct pk_queue_at at, enum pk_queue_refusal why)
{
    struct pk_spool *spool = self;
    struct place place;
    struct pk_queue_at before = {at.epoch, at.seq - 1};
    pthread_mutex_lock(&spool->mutex);
    if (at.seq > 0 && find_next(spool, before, &place) && place.at.epoch == at.epoch &&
        place.at.seq == at.seq) {
        if (why == PK_QUEUE_REFUSED_CONFLICT) {
            renumber(spool, &place);
        } else {
            if (why == PK_QUEUE_REFUSED_LOST || why == PK_QUEUE_REFUSED_DAMAGED) {
                spool_lose_entry(spool,
                    why == PK_QUEUE_REFUSED_LOST ? PK_LOSS_REFUSED : PK_LOSS_DAMAGED, at.epoch,
                    entry_of(spool, &place));
            }
            set_gone(spool, &place);
        }
    }
    pthread_mutex_unlock(&spool->mutex);
}

struct pk_queue pk_spool_queue(struct pk_spool *spool)
{
    return (struct pk_queue){.self = spool,
        .info = queue_info,
        .next = queue_next,
        .ack = queue_ack,
        .refused = queue_refused,
        .wake_fd = spool->wake};
}

/* Writing, giving up, making sure.
 *
 * One rule keeps crashes harmless: what stands in for a batch is written before the batch goes. A loss is a batch before its segment is unlinked, a renumbered body is durable before the
 * old one's segment goes, and meta knows of an acknowledgement before the segment goes. So after any crash there is at worst too much, and recovery can tell what. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "picket/clock.h"
#include "picket/limits.h"

#include "ship/spool_internal.h"

enum {
    RETRY_MS = 1000,
    MIN_SEGMENT = 64 << 10,
    SEGMENTS_AT_LEAST = 16, /* a small spool has small segments: giving one up must not empty it */
};

enum spool_class spool_class_of(unsigned kind)
{
    return kind == PK_BATCH_ACTIVITY                             ? CLASS_DETAIL
           : kind == PK_BATCH_RRSET || kind == PK_BATCH_NEGATIVE ? CLASS_HISTORY
                                                                 : CLASS_KEEP;
}

const uint8_t *spool_key(const struct pk_spool *spool)
{
    return spool->has_key ? spool->key : NULL;
}

uint64_t spool_new_epoch(uint64_t after)
{
    uint64_t epoch =
        ((uint64_t)(pk_clock_wall_us() / PK_US_PER_S) << 16 | randombytes_uniform(1 << 16)) &
        INT64_MAX;
    return epoch > after ? epoch : after + 1;
}

void spool_note_epoch(struct pk_spool *spool, uint64_t epoch, uint64_t newest)
{
    struct pk_meta *known = &spool->epochs;
    for (uint32_t i = 0; i < known->n; i++) {
        if (known->epochs[i].epoch == epoch) {
            if (newest > known->epochs[i].acked) {
                known->epochs[i].acked = newest;
            }
            return;
        }
    }
    if (known->n == PK_META_EPOCHS) {
        memmove(known->epochs, known->epochs + 1, --known->n * sizeof *known->epochs);
    }
    known->epochs[known->n].epoch = epoch;
    known->epochs[known->n++].acked = newest;
}

static void wake(int fd)
{
    uint64_t one = 1;
    ssize_t n = write(fd, &one, sizeof one);
    (void)n; /* full means it is readable already */
}

/* --- index --- */

/* Most segments of a spool that is far behind hold a few batches: each has room for so many at first, and at most for twice what it has. */
enum {
    FIRST_ENTRIES = 4
};

size_t pk_spool_bound_bytes(const struct pk_spool_options *options)
{
    const size_t file = sizeof(struct spool_file) + 2 * sizeof(struct spool_file *) +
                        FIRST_ENTRIES * sizeof(struct spool_entry);
    size_t index =
        PK_SPOOL_MAX_FILES * file + 2 * PK_SPOOL_MAX_RECORDS * sizeof(struct spool_entry);
    return options->memory_bytes + PK_SPOOL_MAX_RING * sizeof(struct ring_item) +
           (options->folder ? index : 0);
}

bool spool_add_file(struct pk_spool *spool, struct spool_file *file)
{
    if (spool->n_files == spool->cap_files) {
        size_t cap = spool->cap_files ? 2 * spool->cap_files : 64;
        struct spool_file **grown = realloc(spool->files, cap * sizeof *grown);
        if (!grown) {
            return false;
        }
        spool->files = grown;
        spool->cap_files = cap;
    }
    spool->files[spool->n_files++] = file;
    spool->bytes += file->bytes;
    return true;
}

static bool has_room(struct spool_file *file)
{
    if (file->n == file->cap) {
        size_t cap = file->cap ? 2 * file->cap : FIRST_ENTRIES;
        struct spool_entry *grown = realloc(file->entries, cap * sizeof *grown);
        if (!grown) {
            return false;
        }
        file->entries = grown;
        file->cap = cap;
    }
    return true;
}

static struct spool_entry entry_of(const struct pk_segment_record *record, uint64_t offset)
{
    return (struct spool_entry){.seq = record->seq,
        .transactions = record->transactions,
        .first_us = record->first_us,
        .last_us = record->last_us,
        .offset = (uint32_t)offset,
        .rows = record->rows,
        .kind = record->kind};
}

bool spool_add_entry(struct pk_spool *spool, struct spool_file *file,
    const struct pk_segment_record *record, uint64_t offset)
{
    if (!has_room(file)) {
        return false;
    }
    file->entries[file->n++] = entry_of(record, offset);
    file->n_live++;
    spool->n_entries++;
    spool->n_live++;
    return true;
}

void spool_close_active(struct pk_spool *spool, enum spool_class class)
{
    pk_spool_writer_close(&spool->writers[class]);
    spool->active[class] = NULL;
}

static void free_file(struct spool_file *file)
{
    free(file->entries);
    free(file);
}

void spool_remove_file(struct pk_spool *spool, size_t index)
{
    struct spool_file *file = spool->files[index];
    if (spool->active[file->class] == file) {
        spool_close_active(spool, file->class);
    }
    if (spool->reading[file->class] == file) {
        pk_spool_reader_close(&spool->readers[file->class]);
        spool->reading[file->class] = NULL;
    }
    (void)unlinkat(spool->folder, file->name, 0);
    spool->bytes -= file->bytes;
    spool->n_entries -= file->n;
    spool->n_live -= file->n_live;
    memmove(spool->files + index, spool->files + index + 1,
        (--spool->n_files - index) * sizeof *spool->files);
    free_file(file);
}

/* --- losses --- */

void spool_lose_entry(struct pk_spool *spool, enum pk_loss_cause cause, uint64_t epoch,
    const struct spool_entry *entry)
{
    pk_ledger_add(&spool->ledger, &(struct pk_loss){.cause = (uint8_t)cause,
                                      .kind = entry->kind,
                                      .batches = 1,
                                      .rows = entry->rows,
                                      .transactions = entry->transactions,
                                      .first_us = entry->first_us,
                                      .last_us = entry->last_us,
                                      .epoch = epoch,
                                      .from_seq = entry->seq,
                                      .to_seq = entry->seq});
}

static void carry(void *arg, const struct pk_loss *loss)
{
    pk_ledger_carry(&((struct pk_spool *)arg)->ledger, loss);
}

bool spool_put_losses(struct pk_spool *spool, const struct pk_ledger *told, int64_t when_us)
{
    struct pk_sealed sealed;
    if (pk_ledger_seal(told, when_us, &spool->loss_body, &sealed) != PK_OK) {
        return false;
    }
    struct pk_segment_record record = {.kind = PK_BATCH_LOSS,
        .codec = sealed.codec,
        .rows = sealed.rows,
        .first_us = sealed.first_us,
        .last_us = sealed.last_us,
        .body = sealed.body,
        .body_len = (uint32_t)sealed.body_len};
    return spool_put(spool, &record) == PK_OK;
}

/* The waiting losses become a batch. They are taken out first: putting it may lose something too. */
void spool_tell_losses(struct pk_spool *spool)
{
    struct pk_ledger told = spool->ledger;
    if (told.n == 0 || spool->is_telling) {
        return;
    }
    spool->is_telling = true;
    pk_ledger_clear(&spool->ledger);
    if (!spool_put_losses(spool, &told, pk_clock_wall_us())) {
        for (size_t i = 0; i < told.n; i++) {
            pk_ledger_carry(&spool->ledger, &told.entries[i]);
        }
    }
    spool->is_telling = false;
}

/* --- the ring --- */

void spool_ring_remove(struct pk_spool *spool, size_t index)
{
    struct ring_item *item = &spool->ring[index];
    spool_ring_goes(spool, index);
    spool->ring_bytes -= item->body_len;
    spool->n_live--;
    free(item->body);
    memmove(item, item + 1, (--spool->n_ring - index) * sizeof *item);
}

static void lose_item(struct pk_spool *spool, size_t index)
{
    const struct ring_item *item = &spool->ring[index];
    if (item->entry.kind == PK_BATCH_LOSS) { /* what it tells is told again */
        pk_ledger_read(item->body, item->body_len, item->codec, carry, spool);
    } else {
        spool_lose_entry(spool, PK_LOSS_MEMORY, item->epoch, &item->entry);
    }
    spool_ring_remove(spool, index);
}

/* The oldest of the least class. */
static size_t ring_victim(const struct pk_spool *spool)
{
    for (int class = 0; class < N_CLASSES; class ++) {
        for (size_t i = 0; i < spool->n_ring; i++) {
            if ((int)spool_class_of(spool->ring[i].entry.kind) == class) {
                return i;
            }
        }
    }
    return 0;
}

static pk_err ring_push(struct pk_spool *spool, const struct pk_segment_record *record)
{
    if (spool->n_ring == spool->cap_ring) {
        size_t cap = spool->cap_ring ? 2 * spool->cap_ring : 64;
        struct ring_item *grown = realloc(spool->ring, cap * sizeof *grown);
        if (!grown) {
            return PK_ERR_NOMEM;
        }
        spool->ring = grown;
        spool->cap_ring = cap;
    }
    struct ring_item item = {.epoch = spool->epoch,
        .origin_epoch = record->origin_epoch,
        .origin_seq = record->origin_seq,
        .entry = entry_of(record, 0),
        .codec = record->codec,
        .body = malloc(record->body_len ? record->body_len : 1),
        .body_len = record->body_len};
    if (!item.body) {
        return PK_ERR_NOMEM;
    }
    memcpy(item.body, record->body, record->body_len);
    spool->ring[spool->n_ring++] = item;
    spool->ring_bytes += item.body_len;
    spool->n_live++;
    spool_ring_came(spool, &item);
    while (spool->n_ring > 1 &&
           (spool->ring_bytes > spool->options.memory_bytes || spool->n_ring > PK_SPOOL_MAX_RING)) {
        lose_item(spool, ring_victim(spool));
    }
    return PK_OK;
}

/* --- the disk --- */

static bool start_file(struct pk_spool *spool, enum spool_class class, uint64_t epoch, uint64_t seq)
{
    static const char letters[N_CLASSES + 1] = "dhk";
    struct pk_segment_header header = {.epoch = epoch,
        .first_seq = seq,
        .created_us = pk_clock_wall_us(),
        .flags = (uint32_t) class << PK_SEGMENT_CLASS_SHIFT};
    struct spool_file *file = calloc(1, sizeof *file);
    if (!file) {
        return false;
    }
    snprintf(file->name, sizeof file->name, "seg-%016" PRIx64 "-%016" PRIx64 "-%c.psp", epoch, seq,
        letters[class]);
    file->epoch = epoch;
    file->class = class;
    file->created_us = header.created_us;
    file->created_ms = pk_clock_mono_ms();
    struct pk_spool_writer *writer = &spool->writers[class];
    if (!pk_spool_writer_open(
            writer, spool->ops, spool->folder, file->name, &header, spool_key(spool))) {
        (void)unlinkat(spool->folder, file->name, 0); /* an empty one of an attempt before */
        free(file);
        return false;
    }
    file->bytes = writer->bytes;
    if (!spool_add_file(spool, file)) {
        pk_spool_writer_close(writer);
        (void)unlinkat(spool->folder, file->name, 0);
        free(file);
        return false;
    }
    spool->active[class] = file;
    return true;
}

/* A segment that takes no more: what is not sure in it is left to the next round of sync, a second away, for who appends must not wait for the disk. */
static void roll(struct pk_spool *spool, enum spool_class class)
{
    struct pk_spool_writer *writer = &spool->writers[class];
    if (writer->fd >= 0 && writer->is_dirty && spool->options.durability != PK_SPOOL_NEVER) {
        int copy = spool->n_rolled < SPOOL_MAX_ROLLED ? fcntl(writer->fd, F_DUPFD_CLOEXEC, 0) : -1;
        if (copy >= 0) {
            spool->rolled[spool->n_rolled++] = copy;
        } else { /* the disk is many segments behind: wait for it here after all */
            spool->sync_failures += spool->ops->fdatasync(writer->fd) != 0;
        }
    }
    spool_close_active(spool, class);
}

static bool write_disk(
    struct pk_spool *spool, uint64_t epoch, const struct pk_segment_record *record)
{
    enum spool_class class = spool_class_of(record->kind);
    struct spool_file *file = spool->active[class];
    struct pk_spool_writer *writer = &spool->writers[class];
    if (file && (writer->fd < 0 || file->epoch != epoch || file->bytes >= spool->segment_bytes ||
                    pk_clock_mono_ms() - file->created_ms > PK_SPOOL_ROLL_MS)) {
        roll(spool, class);
        file = NULL;
    }
    if (!file && !start_file(spool, class, epoch, record->seq)) {
        return false;
    }
    file = spool->active[class];
    pk_bytes_clear(&spool->record);
    pk_segment_record_encode(record, &spool->record);
    if (spool->record.err != PK_OK || !has_room(file)) {
        return false;
    }
    uint64_t offset = writer->bytes;
    if (!pk_spool_writer_append(writer, spool->record.data, spool->record.len, &spool->scratch)) {
        if (writer->fd < 0) {
            spool_close_active(spool, class);
        }
        return false;
    }
    (void)spool_add_entry(spool, file, record, offset); /* there is room */
    spool->bytes += writer->bytes - offset;
    spool->unsure_bytes += writer->bytes - offset;
    file->bytes = writer->bytes;
    return true;
}

/* --- giving up --- */

static void drop_file(struct pk_spool *spool, size_t index, enum pk_loss_cause cause)
{
    struct spool_file *file = spool->files[index];
    if (spool->active[file->class] == file) {
        spool_close_active(spool, file->class); /* what is told must not stand in what goes */
    }
    for (size_t i = 0; i < file->n; i++) {
        const struct spool_entry *entry = &file->entries[i];
        struct pk_segment_record record;
        if (entry->is_gone) {
            continue;
        }
        if (entry->kind != PK_BATCH_LOSS) {
            spool_lose_entry(spool, cause, file->epoch, entry);
        } else if (spool_read(spool, file, i, &spool->body, &record)) {
            pk_ledger_read(record.body, record.body_len, record.codec, carry, spool);
        }
    }
    if (!spool->is_refused) {
        spool_tell_losses(spool); /* before it goes; with a full disk after */
        for (index = 0; spool->files[index] != file; index++) {
        }
    }
    spool_remove_file(spool, index);
}

static bool is_active(const struct pk_spool *spool, const struct spool_file *file)
{
    return spool->active[file->class] == file;
}

/* What is done with but still there. */
bool spool_remove_done(struct pk_spool *spool, bool only_sure)
{
    for (size_t i = 0; i < spool->n_files; i++) {
        if (spool->files[i]->n_live == 0 && (!only_sure || spool->files[i]->was_done) &&
            !is_active(spool, spool->files[i])) {
            spool_remove_file(spool, i);
            return true;
        }
    }
    return false;
}

/* The oldest of the least class; for want of space on the file system only one that is no longer written. */
static bool drop_one(struct pk_spool *spool, enum pk_loss_cause cause)
{
    if (spool_remove_done(spool, false)) {
        return true;
    }
    for (int class = 0; class < N_CLASSES; class ++) {
        for (size_t i = 0; i < spool->n_files; i++) {
            const struct spool_file *file = spool->files[i];
            if ((int)file->class == class && file->n > 0 &&
                (cause != PK_LOSS_SPACE || !is_active(spool, file))) {
                drop_file(spool, i, cause);
                return true;
            }
        }
    }
    return false;
}

static bool is_beyond_caps(const struct pk_spool *spool)
{
    return spool->bytes > spool->options.max_bytes || spool->n_entries > PK_SPOOL_MAX_RECORDS ||
           spool->n_files > PK_SPOOL_MAX_FILES;
}

void spool_shed(struct pk_spool *spool)
{
    while (!spool->is_telling && is_beyond_caps(spool) && spool->n_files > 1 &&
           drop_one(spool, PK_LOSS_OVERFLOW)) {
    }
}

void spool_shed_for_space(struct pk_spool *spool)
{
    while (!spool->is_telling && spool->folder >= 0 && spool->options.min_free_percent > 0) {
        int free_percent = spool->ops->free_percent(spool->folder);
        if (free_percent < 0 || free_percent >= (int)spool->options.min_free_percent ||
            !drop_one(spool, PK_LOSS_SPACE)) {
            return;
        }
    }
}

/* Segments of this process by the monotonic clock, older ones by the wall clock; one from the future is not old. */
void spool_shed_old(struct pk_spool *spool, int64_t mono_ms)
{
    int64_t now_us = pk_clock_wall_us(), max_ms = (int64_t)spool->options.max_age_ms;
    size_t end = max_ms > 0 ? spool->n_files : 0; /* what telling adds is not old */
    for (size_t i = 0; i < end;) {
        const struct spool_file *file = spool->files[i];
        int64_t age_ms =
            file->created_ms ? mono_ms - file->created_ms : (now_us - file->created_us) / 1000;
        if (file->n_live > 0 && age_ms > max_ms) {
            drop_file(spool, i, PK_LOSS_AGE);
            end--;
        } else {
            i++;
        }
    }
}

/* --- appending --- */

bool spool_drain_ring(struct pk_spool *spool, size_t at_most)
{
    for (size_t i = 0; i < at_most && spool->n_ring > 0; i++) {
        const struct ring_item *item = &spool->ring[0];
        struct pk_segment_record record = ring_record(item);
        if (!write_disk(spool, item->epoch, &record)) {
            spool->is_refused = true;
            spool->retry_ms = pk_clock_mono_ms() + RETRY_MS;
            return false;
        }
        spool_ring_remove(spool, 0);
    }
    spool->is_refused = false;
    return true;
}

pk_err spool_put(struct pk_spool *spool, const struct pk_segment_record *record)
{
    struct pk_segment_record numbered = *record;
    pk_err err = PK_OK;
    numbered.seq = spool->next_seq;
    bool is_written = spool->folder >= 0 && !spool->is_refused && spool->n_ring == 0 &&
                      write_disk(spool, spool->epoch, &numbered);
    if (!is_written) {
        bool is_new = spool->folder >= 0 && !spool->is_refused && spool->n_ring == 0;
        err = ring_push(spool, &numbered);
        if (is_new) {
            spool->is_refused = true;
            spool->retry_ms = pk_clock_mono_ms() + RETRY_MS;
        }
    }
    if (err == PK_OK) {
        spool->next_seq++;
        spool_shed(spool);
    }
    return err;
}

static void append(
    struct pk_spool *spool, struct pk_spool_source *source, const struct pk_sealed *sealed)
{
    struct pk_segment_record record = {
        .kind = (uint8_t)sealed->kind,
        .codec = sealed->codec,
        .rows = sealed->rows,
        .first_us = sealed->first_us,
        .last_us = sealed->last_us,
        .transactions = sealed->transactions,
        .body = sealed->body,
        .body_len = (uint32_t)sealed->body_len,
    };
    pthread_mutex_lock(&spool->mutex);
    pk_err err = spool_put(spool, &record);
    if (err != PK_OK) {
        struct spool_entry entry = entry_of(&record, 0);
        spool_lose_entry(spool, PK_LOSS_MEMORY, spool->epoch, &entry);
    }
    if (source) {
        spool_source_sealed(source, sealed);
    }
    bool is_due = spool->unsure_bytes >= PK_SPOOL_SYNC_BYTES || spool->is_refused;
    pthread_mutex_unlock(&spool->mutex);
    wake(spool->wake);
    if (spool->options.durability == PK_SPOOL_ALWAYS) {
        pk_spool_sync(spool, pk_clock_mono_ms(), true);
    } else if (is_due) {
        wake(spool->sync_wake);
    }
}

pk_err pk_spool_append(void *spool, const struct pk_sealed *sealed)
{
    append(spool, NULL, sealed);
    return PK_OK;
}

pk_err pk_spool_source_append(void *arg, const struct pk_sealed *sealed)
{
    struct pk_spool_source *source = arg;
    append(source->spool, source, sealed);
    return PK_OK;
}

void pk_spool_get_status(struct pk_spool *spool, struct pk_spool_status *out_status)
{
    pthread_mutex_lock(&spool->mutex);
    *out_status = (struct pk_spool_status){.bytes = spool->bytes,
        .ring_batches = spool->n_ring,
        .ring_bytes = spool->ring_bytes,
        .sync_failures = spool->sync_failures,
        .is_on_disk = spool->folder >= 0 && !spool->is_refused,
        .has_no_mark = spool->has_no_mark || pk_mark_is_cut_off()};
    for (int i = 0; i < PK_N_LOSS_CAUSES; i++) {
        out_status->lost_batches[i] = spool->ledger.batches[i];
        out_status->lost_rows_by[i] = spool->ledger.rows[i];
        out_status->lost_rows += spool->ledger.rows[i];
    }
    pthread_mutex_unlock(&spool->mutex);
}

/* --- life --- */

static pk_err refuse(char out_error[PK_SPOOL_ERROR_SIZE], pk_err err, const char *folder,
    const char *why, const char *more)
{
    snprintf(out_error, PK_SPOOL_ERROR_SIZE, "%s: %s%s", folder, why, more);
    return err;
}

/* Ours alone, and nobody else's now. */
static pk_err open_folder(struct pk_spool *spool, char out_error[PK_SPOOL_ERROR_SIZE])
{
    const char *path = spool->options.folder;
    struct stat info;
    (void)mkdir(path, 0700); /* it may be there already */
    spool->folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (spool->folder < 0 || fstat(spool->folder, &info) != 0) {
        return refuse(
            out_error, PK_ERR_IO, path, "the spool folder cannot be used: ", strerror(errno));
    }
    if (info.st_uid != geteuid() && geteuid() != 0) {
        return refuse(out_error, PK_ERR_AUTH, path,
            "the spool folder belongs to somebody else; chown it to the user this program runs as",
            "");
    }
    if ((info.st_mode & 022) && fchmod(spool->folder, info.st_mode & 0755) != 0) {
        return refuse(
            out_error, PK_ERR_AUTH, path, "others may write to the spool folder; chmod 700 it", "");
    }
    spool->lock = openat(spool->folder, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (spool->lock < 0) {
        return refuse(out_error, PK_ERR_IO, path, "cannot be written: ", strerror(errno));
    }
    if (flock(spool->lock, LOCK_EX | LOCK_NB) != 0) {
        return refuse(out_error, PK_ERR_CONFIG, path,
            "another picket-sensor uses this spool folder; give each its own", "");
    }
    return PK_OK;
}

static void init(struct pk_spool *spool, const struct pk_spool_options *options)
{
    pthread_mutex_init(&spool->mutex, NULL);
    pthread_mutex_init(&spool->sync_mutex, NULL);
    spool->options = *options;
    spool->ops = options->ops ? options->ops : &pk_spool_system_ops;
    spool->has_key = options->key != NULL;
    if (options->key) {
        memcpy(spool->key, options->key, sizeof spool->key);
    }
    uint64_t share = options->max_bytes / SEGMENTS_AT_LEAST;
    spool->segment_bytes = share < MIN_SEGMENT        ? MIN_SEGMENT
                           : share > PK_SEGMENT_BYTES ? PK_SEGMENT_BYTES
                                                      : share;
    spool->folder = spool->lock = -1;
    spool->next_seq = 1;
    spool->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    spool->sync_wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pk_bytes_init(&spool->record, PK_MAX_SEGMENT_RECORD);
    pk_bytes_init(&spool->scratch, PK_MAX_SEGMENT_RECORD + 64);
    pk_bytes_init(&spool->loss_body, PK_MAX_BODY_BYTES);
    pk_bytes_init(&spool->body, PK_MAX_SEGMENT_RECORD);
    for (int i = 0; i < N_CLASSES; i++) {
        spool->writers[i].fd = -1;
        pk_spool_reader_init(&spool->readers[i]);
    }
}

pk_err pk_spool_open(const struct pk_spool_options *options, struct pk_spool **out_spool,
    struct pk_spool_found *out_found, char out_error[PK_SPOOL_ERROR_SIZE])
{
    struct pk_spool *spool = calloc(1, sizeof *spool);
    struct pk_spool_found found = {0};
    struct pk_mark_left left = {0};
    pk_err err = PK_OK;
    if (!spool) {
        return refuse(out_error, PK_ERR_NOMEM, "spool", "out of memory", "");
    }
    init(spool, options);
    if (spool->wake < 0 || spool->sync_wake < 0) {
        err = refuse(out_error, PK_ERR_IO, "spool", "no event descriptor: ", strerror(errno));
    }
    if (err == PK_OK && options->folder) {
        err = open_folder(spool, out_error);
        err = err == PK_OK ? spool_recover(spool, &found, &left, out_error) : err;
    }
    if (err == PK_OK && spool->epoch == 0) { /* tells it from a wiped one of the same sensor */
        spool->epoch = spool_new_epoch(0);
        found.is_new = true;
    }
    if (err == PK_OK && options->folder && found.is_new) {
        struct pk_meta meta = {0};
        spool_snapshot(spool, &meta);
        if (!pk_meta_write(spool->folder, spool->ops, &meta)) {
            err = refuse(
                out_error, PK_ERR_IO, options->folder, "cannot be written: ", strerror(errno));
        }
        spool->meta = meta;
    }
    if (err != PK_OK) {
        spool->next_seq = 0; /* nothing to make durable */
        pk_spool_close(spool);
        return err;
    }
    spool_tell_crash(spool, &left, &found);
    *out_spool = spool;
    *out_found = found;
    return PK_OK;
}

/* The last chance of what is in memory. */
static void last_sync(struct pk_spool *spool)
{
    int64_t mono_ms = pk_clock_mono_ms();
    pk_spool_sync(spool, mono_ms, true);
    if (spool->n_ring > 0) {
        while (spool->n_ring > 0) {
            lose_item(spool, 0);
        }
        spool->is_refused = false;
        pk_spool_sync(spool, mono_ms, true);
    }
}

void pk_spool_close(struct pk_spool *spool)
{
    if (!spool) {
        return;
    }
    if (spool->folder >= 0 && spool->next_seq > 0) {
        last_sync(spool);
        spool_remove_mark(spool);
    }
    pk_mark_unmap(spool->mark);
    spool->mark = NULL;
    while (spool->n_ring > 0) {
        spool_ring_remove(spool, 0);
    }
    for (size_t i = 0; i < spool->n_files; i++) {
        free_file(spool->files[i]);
    }
    for (int i = 0; i < N_CLASSES; i++) {
        pk_spool_writer_close(&spool->writers[i]);
        pk_spool_reader_done(&spool->readers[i]);
    }
    while (spool->n_rolled > 0) {
        close(spool->rolled[--spool->n_rolled]);
    }
    int fds[] = {spool->wake, spool->sync_wake, spool->lock, spool->folder};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
    pk_bytes_done(&spool->record);
    pk_bytes_done(&spool->scratch);
    pk_bytes_done(&spool->loss_body);
    pk_bytes_done(&spool->body);
    pthread_mutex_destroy(&spool->mutex);
    pthread_mutex_destroy(&spool->sync_mutex);
    sodium_memzero(spool->key, sizeof spool->key);
    free(spool->ring);
    free(spool->files);
    free(spool);
}

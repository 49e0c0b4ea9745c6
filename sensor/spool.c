/* Segments in a folder, indexed in memory by their first sequence. Records are found by walking from the last place read, which is nearly always the next one. */
#include "spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "picket/clock.h"
#include "picket/hash.h"
#include "picket/limits.h"

enum {
    MAX_SEGMENTS = 65536,
    RECORD_HEAD = 40,
    META_BYTES = 32
};

static const char meta_magic[8] = "PICKETSM";

struct file {
    uint64_t first_seq, last_seq; /* last < first: empty */
    uint64_t bytes, rows;
};

struct pk_spool {
    pthread_mutex_t mutex; /* guards everything below */
    int folder;            /* descriptor */
    uint64_t max_bytes, bytes;
    uint64_t epoch, acked_seq, next_seq;
    struct file *files; /* oldest first */
    size_t n_files;
    int active; /* descriptor of the last file; -1: none */
    int64_t active_since_ms, synced_ms;
    bool is_dirty;
    uint64_t lost_rows;
    int wake;
    /* where the reader stands */
    int reading;
    uint64_t reading_first, at_seq;
    off_t at_offset;
    struct pk_bytes record;
};

static void file_name(uint64_t first_seq, char out[32])
{
    snprintf(out, 32, "seg-%016" PRIx64 ".psp", first_seq);
}

/* --- meta --- */

static void put_be64(uint8_t *p, uint64_t v)
{
    for (unsigned i = 8; i-- > 0; v >>= 8) {
        p[i] = (uint8_t)v;
    }
}

static uint64_t get_be64(const uint8_t *p)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < 8; i++) {
        v = v << 8 | p[i];
    }
    return v;
}

static bool write_meta(struct pk_spool *spool)
{
    uint8_t raw[META_BYTES] = {0};
    memcpy(raw, meta_magic, sizeof meta_magic);
    put_be64(raw + 8, spool->epoch);
    put_be64(raw + 16, spool->acked_seq);
    put_be64(raw + 24, pk_crc32c(raw, 24));
    int fd = openat(spool->folder, "meta.part", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool is_good =
        fd >= 0 && write(fd, raw, sizeof raw) == (ssize_t)sizeof raw && fdatasync(fd) == 0;
    if (fd >= 0) {
        is_good = close(fd) == 0 && is_good;
    }
    return is_good && renameat(spool->folder, "meta.part", spool->folder, "meta") == 0;
}

static bool read_meta(struct pk_spool *spool)
{
    uint8_t raw[META_BYTES];
    int fd = openat(spool->folder, "meta", O_RDONLY | O_CLOEXEC);
    bool is_good = fd >= 0 && read(fd, raw, sizeof raw) == (ssize_t)sizeof raw &&
                   memcmp(raw, meta_magic, sizeof meta_magic) == 0 &&
                   get_be64(raw + 24) == pk_crc32c(raw, 24);
    if (fd >= 0) {
        close(fd);
    }
    if (is_good) {
        spool->epoch = get_be64(raw + 8);
        spool->acked_seq = get_be64(raw + 16);
    }
    return is_good;
}

/* --- recovery --- */

static int compare_files(const void *a, const void *b)
{
    const struct file *x = a, *y = b;
    return x->first_seq < y->first_seq ? -1 : x->first_seq > y->first_seq;
}

static pk_err list_files(struct pk_spool *spool)
{
    DIR *dir = fdopendir(dup(spool->folder));
    if (!dir) {
        return PK_ERR_IO;
    }
    for (struct dirent *entry; (entry = readdir(dir)) && spool->n_files < MAX_SEGMENTS;) {
        uint64_t first_seq;
        if (sscanf(entry->d_name, "seg-%16" SCNx64 ".psp", &first_seq) == 1) {
            spool->files[spool->n_files++] = (struct file){.first_seq = first_seq};
        }
    }
    closedir(dir);
    if (spool->n_files > 1) {
        qsort(spool->files, spool->n_files, sizeof *spool->files, compare_files);
    }
    return PK_OK;
}

/* Reads a segment, learns what is in it and cuts it where it stops being good. False: nothing in it is good. */
static bool scan(struct pk_spool *spool, struct file *file, uint64_t *torn_bytes)
{
    char name[32];
    file_name(file->first_seq, name);
    int fd = openat(spool->folder, name, O_RDWR | O_CLOEXEC);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0 || info.st_size > 4 * (off_t)PK_SEGMENT_BYTES) {
        if (fd >= 0) {
            close(fd);
        }
        return false;
    }
    size_t len = (size_t)info.st_size, pos = PK_SEGMENT_HEADER_BYTES;
    uint8_t *data = malloc(len ? len : 1);
    struct pk_segment_header header;
    bool is_good = data && read(fd, data, len) == (ssize_t)len &&
                   pk_segment_header_decode(data, len, &header) == PK_OK &&
                   (spool->epoch == 0 || header.epoch == spool->epoch);
    if (is_good) {
        spool->epoch = header.epoch;
        file->last_seq = file->first_seq - 1;
        struct pk_segment_record record;
        while (pos < len && pk_segment_record_decode(data, len, &pos, &record) == PK_OK &&
               record.seq == file->last_seq + 1) {
            file->last_seq = record.seq;
            file->rows += record.rows;
        }
        file->bytes = pos;
        *torn_bytes += len - pos;
        is_good = len == pos || ftruncate(fd, (off_t)pos) == 0;
    }
    free(data);
    close(fd);
    return is_good && file->last_seq >= file->first_seq;
}

static void recover(struct pk_spool *spool, uint64_t *torn_bytes)
{
    size_t kept = 0;
    for (size_t i = 0; i < spool->n_files; i++) {
        struct file file = spool->files[i];
        char name[32];
        if (scan(spool, &file, torn_bytes) && file.last_seq > spool->acked_seq) {
            spool->files[kept++] = file;
            spool->bytes += file.bytes;
        } else {
            file_name(file.first_seq, name);
            (void)unlinkat(spool->folder, name, 0);
        }
    }
    spool->n_files = kept;
    spool->next_seq = (kept ? spool->files[kept - 1].last_seq : spool->acked_seq) + 1;
}

pk_err pk_spool_open(const char *folder, uint64_t max_bytes, int64_t now_us,
    struct pk_spool **out_spool, uint64_t *out_torn_bytes, char out_error[PK_SPOOL_ERROR_SIZE])
{
    struct pk_spool *spool = calloc(1, sizeof *spool);
    if (!spool || !(spool->files = calloc(MAX_SEGMENTS, sizeof *spool->files))) {
        free(spool);
        snprintf(out_error, PK_SPOOL_ERROR_SIZE, "out of memory");
        return PK_ERR_NOMEM;
    }
    pthread_mutex_init(&spool->mutex, NULL);
    spool->max_bytes = max_bytes;
    spool->active = spool->reading = -1;
    spool->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pk_bytes_init(&spool->record, PK_MAX_SEGMENT_RECORD);
    *out_torn_bytes = 0;
    (void)mkdir(folder, 0700); /* it may be there already */
    spool->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool has_meta = spool->folder >= 0 && read_meta(spool);
    if (spool->folder < 0 || spool->wake < 0 || list_files(spool) != PK_OK) {
        snprintf(out_error, PK_SPOOL_ERROR_SIZE, "%s: the spool folder cannot be used: %s", folder,
            strerror(errno));
        pk_spool_close(spool);
        return PK_ERR_IO;
    }
    recover(spool, out_torn_bytes);
    if (spool->epoch ==
        0) { /* a new folder: the epoch tells it from a wiped one with the same sensor */
        spool->epoch =
            ((uint64_t)(now_us / PK_US_PER_S) << 16 | (pk_hash(&now_us, sizeof now_us) & 0xffff)) &
            INT64_MAX;
    }
    if (!has_meta && !write_meta(spool)) {
        snprintf(
            out_error, PK_SPOOL_ERROR_SIZE, "%s: cannot be written: %s", folder, strerror(errno));
        pk_spool_close(spool);
        return PK_ERR_IO;
    }
    *out_spool = spool;
    return PK_OK;
}

void pk_spool_close(struct pk_spool *spool)
{
    if (!spool) {
        return;
    }
    pk_spool_sync(spool, 0, true);
    int fds[] = {spool->active, spool->reading, spool->wake, spool->folder};
    for (size_t i = 0; i < 4; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
    pk_bytes_done(&spool->record);
    pthread_mutex_destroy(&spool->mutex);
    free(spool->files);
    free(spool);
}

/* --- writing --- */

static void drop_first(struct pk_spool *spool, bool is_loss)
{
    char name[32];
    struct file *file = &spool->files[0];
    file_name(file->first_seq, name);
    (void)unlinkat(spool->folder, name, 0);
    spool->bytes -= file->bytes;
    spool->lost_rows += is_loss ? file->rows : 0;
    if (spool->reading >= 0 && spool->reading_first == file->first_seq) {
        close(spool->reading);
        spool->reading = -1;
    }
    if (spool->n_files == 1 && spool->active >= 0) {
        close(spool->active);
        spool->active = -1;
    }
    memmove(spool->files, spool->files + 1, --spool->n_files * sizeof *spool->files);
}

static bool start_file(struct pk_spool *spool)
{
    uint8_t raw[PK_SEGMENT_HEADER_BYTES];
    char name[32];
    struct pk_segment_header header = {
        .epoch = spool->epoch, .first_seq = spool->next_seq, .created_us = pk_clock_wall_us()};
    if (spool->n_files == MAX_SEGMENTS) {
        drop_first(spool, true);
    }
    if (spool->active >= 0) {
        (void)fdatasync(spool->active);
        close(spool->active);
    }
    file_name(spool->next_seq, name);
    pk_segment_header_encode(&header, raw);
    spool->active = openat(spool->folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (spool->active < 0 || write(spool->active, raw, sizeof raw) != (ssize_t)sizeof raw) {
        if (spool->active >= 0) {
            close(spool->active);
            spool->active = -1;
        }
        return false;
    }
    (void)fsync(spool->folder); /* the name must survive with the content */
    spool->files[spool->n_files++] = (struct file){
        .first_seq = spool->next_seq, .last_seq = spool->next_seq - 1, .bytes = sizeof raw};
    spool->bytes += sizeof raw;
    spool->active_since_ms = pk_clock_mono_ms();
    return true;
}

static pk_err append(struct pk_spool *spool, const struct pk_sealed *sealed)
{
    struct pk_segment_record record = {
        .seq = spool->next_seq,
        .kind = (uint8_t)sealed->kind,
        .codec = sealed->codec,
        .rows = sealed->rows,
        .first_us = sealed->first_us,
        .last_us = sealed->last_us,
        .body = sealed->body,
        .body_len = (uint32_t)sealed->body_len,
    };
    struct file *last = spool->n_files ? &spool->files[spool->n_files - 1] : NULL;
    bool rolls = spool->active < 0 || !last || last->bytes >= PK_SEGMENT_BYTES ||
                 pk_clock_mono_ms() - spool->active_since_ms > PK_SPOOL_ROLL_MS;
    if (rolls && !start_file(spool)) {
        return PK_ERR_IO;
    }
    pk_bytes_clear(&spool->record);
    pk_segment_record_encode(&record, &spool->record);
    last = &spool->files[spool->n_files - 1];
    if (spool->record.err != PK_OK) {
        return spool->record.err;
    }
    if (write(spool->active, spool->record.data, spool->record.len) != (ssize_t)spool->record.len) {
        int cut = ftruncate(
            spool->active, (off_t)last->bytes); /* half a record would hide what follows */
        if (cut != 0) {
            close(spool->active); /* then nothing may follow: the next batch begins a new segment */
            spool->active = -1;
        }
        return PK_ERR_IO;
    }
    last->bytes += spool->record.len;
    last->rows += sealed->rows;
    last->last_seq = spool->next_seq++;
    spool->bytes += spool->record.len;
    spool->is_dirty = true;
    while (spool->bytes > spool->max_bytes && spool->n_files > 1) {
        drop_first(spool, true);
    }
    return PK_OK;
}

pk_err pk_spool_append(void *arg, const struct pk_sealed *sealed)
{
    struct pk_spool *spool = arg;
    pthread_mutex_lock(&spool->mutex);
    pk_err err = append(spool, sealed);
    if (err != PK_OK) {
        spool->lost_rows += sealed->rows;
    }
    pthread_mutex_unlock(&spool->mutex);
    uint64_t one = 1;
    ssize_t n = write(spool->wake, &one, sizeof one);
    (void)n; /* full means it is readable already */
    return err == PK_ERR_IO ? PK_OK
                            : err; /* a full disk must not stop the capture: it is counted */
}

void pk_spool_sync(struct pk_spool *spool, int64_t mono_ms, bool force)
{
    int fd = -1;
    pthread_mutex_lock(&spool->mutex);
    if (spool->is_dirty && spool->active >= 0 &&
        (force || mono_ms - spool->synced_ms >= PK_SPOOL_SYNC_MS)) {
        fd = fcntl(spool->active, F_DUPFD_CLOEXEC, 0);
        spool->is_dirty = fd < 0;
        spool->synced_ms = mono_ms;
    }
    pthread_mutex_unlock(&spool->mutex);
    if (fd >= 0) { /* a slow disk holds nobody up who appends */
        (void)fdatasync(fd);
        close(fd);
    }
}

uint64_t pk_spool_lost_rows(struct pk_spool *spool)
{
    pthread_mutex_lock(&spool->mutex);
    uint64_t lost = spool->lost_rows;
    pthread_mutex_unlock(&spool->mutex);
    return lost;
}

/* --- reading --- */

static uint64_t oldest_of(const struct pk_spool *spool)
{
    uint64_t oldest = spool->n_files ? spool->files[0].first_seq : spool->next_seq;
    return oldest > spool->acked_seq + 1 ? oldest : spool->acked_seq + 1;
}

static void queue_info(void *self, struct pk_queue_info *out_info)
{
    struct pk_spool *spool = self;
    pthread_mutex_lock(&spool->mutex);
    uint64_t oldest = oldest_of(spool);
    *out_info = (struct pk_queue_info){
        .epoch = spool->epoch,
        .oldest_seq = oldest,
        .newest_seq = spool->next_seq - 1,
        .n_batches = spool->next_seq - oldest,
        .bytes = spool->bytes,
    };
    pthread_mutex_unlock(&spool->mutex);
}

/* Opens the file that holds seq and stands at its first record. */
static bool seek_file(struct pk_spool *spool, uint64_t seq)
{
    for (size_t i = 0; i < spool->n_files; i++) {
        const struct file *file = &spool->files[i];
        if (seq < file->first_seq || seq > file->last_seq) {
            continue;
        }
        if (spool->reading < 0 || spool->reading_first != file->first_seq || spool->at_seq > seq) {
            char name[32];
            if (spool->reading >= 0) {
                close(spool->reading);
            }
            file_name(file->first_seq, name);
            spool->reading = openat(spool->folder, name, O_RDONLY | O_CLOEXEC);
            spool->reading_first = spool->at_seq = file->first_seq;
            spool->at_offset = PK_SEGMENT_HEADER_BYTES;
        }
        return spool->reading >= 0;
    }
    return false;
}

/* Reads the record at the reader's place whole into buffer. */
static bool read_here(
    struct pk_spool *spool, struct pk_bytes *buffer, struct pk_segment_record *out_record)
{
    uint8_t head[RECORD_HEAD];
    if (pread(spool->reading, head, sizeof head, spool->at_offset) != (ssize_t)sizeof head) {
        return false;
    }
    size_t body = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
    size_t whole = (RECORD_HEAD + body + 7) / 8 * 8, pos = 0;
    pk_bytes_clear(buffer);
    uint8_t *room = body <= PK_MAX_BODY_BYTES ? pk_bytes_extend(buffer, whole) : NULL;
    if (!room || pread(spool->reading, room, whole, spool->at_offset) != (ssize_t)whole ||
        pk_segment_record_decode(room, whole, &pos, out_record) != PK_OK) {
        return false;
    }
    spool->at_offset += (off_t)whole;
    spool->at_seq++;
    return true;
}

static bool queue_next(void *self, struct pk_queue_at after, struct pk_bytes *buffer,
    struct pk_queue_at *out_at, struct pk_segment_record *out_record)
{
    struct pk_spool *spool = self;
    bool is_found = false;
    pthread_mutex_lock(&spool->mutex);
    uint64_t seq = oldest_of(spool);
    if (after.epoch == spool->epoch && after.seq >= seq) {
        seq = after.seq + 1;
    }
    if (seq < spool->next_seq && seek_file(spool, seq)) {
        do {
            is_found = read_here(spool, buffer, out_record);
        } while (is_found && out_record->seq < seq);
    }
    pthread_mutex_unlock(&spool->mutex);
    if (!is_found || out_record->seq != seq) {
        return false;
    }
    *out_at = (struct pk_queue_at){.epoch = spool->epoch, .seq = seq};
    return true;
}

static void queue_ack(void *self, uint64_t epoch, uint64_t upto)
{
    struct pk_spool *spool = self;
    pthread_mutex_lock(&spool->mutex);
    if (epoch == spool->epoch && upto > spool->acked_seq && upto < spool->next_seq) {
        spool->acked_seq = upto;
        bool has_dropped = false;
        while (spool->n_files > 0 && spool->files[0].last_seq <= upto &&
               (spool->n_files > 1 || spool->files[0].bytes >= PK_SEGMENT_BYTES)) {
            drop_first(spool, false);
            has_dropped = true;
        }
        if (has_dropped || spool->next_seq == upto + 1) {
            (void)write_meta(spool); /* behind is harmless: the aggregator knows duplicates */
        }
    }
    pthread_mutex_unlock(&spool->mutex);
}

static void queue_refused(void *self, struct pk_queue_at at, enum pk_queue_refusal why)
{
    struct pk_spool *spool = self;
    (void)why;
    if (at.seq == spool->acked_seq + 1) {
        queue_ack(self, at.epoch, at.seq);
    }
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

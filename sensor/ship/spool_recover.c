/* What a crash left. Each segment is used up to its first bad record and cut there; what was cut is a loss of unknown size. Then everything that something else stands in for is
 * marked as done with: below meta's acknowledgement, renumbered (the new record names the old), or told as lost (a segment that was about to go, a refusal). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "picket/limits.h"

#include "ship/spool_internal.h"

/* What something else stands in for. */
struct stand_in {
    uint64_t epoch, from, to;
    int kind; /* -1: any */
};

struct recovery {
    struct pk_spool *spool;
    struct pk_spool_found *found;
    struct pk_mark_left *left;
    struct pk_meta meta;
    struct stand_in *stand_ins;
    size_t n_stand_ins, cap_stand_ins;
    bool is_out_of_memory;
};

static void add_stand_in(struct recovery *recovery, struct stand_in stand_in)
{
    if (recovery->n_stand_ins == recovery->cap_stand_ins) {
        size_t cap = recovery->cap_stand_ins ? 2 * recovery->cap_stand_ins : 64;
        struct stand_in *grown = realloc(recovery->stand_ins, cap * sizeof *grown);
        if (!grown) {
            recovery->is_out_of_memory = true;
            return;
        }
        recovery->stand_ins = grown;
        recovery->cap_stand_ins = cap;
    }
    recovery->stand_ins[recovery->n_stand_ins++] = stand_in;
}

static void mark_gone(struct pk_spool *spool, uint64_t epoch, uint64_t from, uint64_t to, int kind)
{
    for (size_t i = 0; i < spool->n_files; i++) {
        struct spool_file *file = spool->files[i];
        if (file->epoch != epoch || file->n == 0 || file->entries[0].seq > to ||
            file->entries[file->n - 1].seq < from) {
            continue;
        }
        for (size_t k = 0; k < file->n; k++) {
            struct spool_entry *entry = &file->entries[k];
            if (!entry->is_gone && entry->seq >= from && entry->seq <= to &&
                (kind < 0 || entry->kind == kind)) {
                entry->is_gone = true;
                file->n_live--;
                spool->n_live--;
            }
        }
    }
}

/* Causes whose entries name whole runs of a kind: what lies between is lost too. */
static void note_loss(void *arg, const struct pk_loss *loss)
{
    bool is_run = loss->cause == PK_LOSS_OVERFLOW || loss->cause == PK_LOSS_AGE ||
                  loss->cause == PK_LOSS_SPACE || loss->cause == PK_LOSS_REFUSED;
    if (is_run && loss->from_seq > 0 && loss->kind != PK_BATCH_LOSS) {
        add_stand_in(arg, (struct stand_in){loss->epoch, loss->from_seq, loss->to_seq, loss->kind});
    }
}

/* Also of records that are done with: what they stand in for is so all the more. */
static void note_stand_ins(struct recovery *recovery, const struct pk_segment_record *record)
{
    if (record->origin_epoch != 0) {
        add_stand_in(recovery,
            (struct stand_in){record->origin_epoch, record->origin_seq, record->origin_seq, -1});
    }
    if (record->kind == PK_BATCH_LOSS) {
        pk_ledger_read(record->body, record->body_len, record->codec, note_loss, recovery);
    }
}

static void lose_unknown(struct recovery *recovery, const struct spool_file *file, bool is_torn)
{
    pk_ledger_add(&recovery->spool->ledger,
        &(struct pk_loss){.cause = is_torn ? PK_LOSS_TORN : PK_LOSS_DAMAGED,
            .batches = 1,
            .epoch = file ? file->epoch : 0,
            .first_us = file ? file->created_us : 0,
            .last_us = file ? file->created_us : 0});
    recovery->found->damaged_files += !is_torn;
}

/* --- a segment --- */

static pk_err refuse_file(
    const struct pk_spool *spool, const char *name, const char *why, char *out_error)
{
    snprintf(out_error, PK_SPOOL_ERROR_SIZE, "%s/%s: %s", spool->options.folder, name, why);
    return PK_ERR_CONFIG;
}

/* Cut, so that it is not counted a second time. */
static void cut(struct recovery *recovery, struct spool_file *file, uint64_t size, bool is_torn)
{
    const struct pk_spool *spool = recovery->spool;
    int fd = openat(spool->folder, file->name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    recovery->found->torn_bytes += size - file->bytes;
    lose_unknown(recovery, file, is_torn);
    if (fd >= 0) {
        (void)spool->ops->ftruncate(fd, (off_t)file->bytes); /* then it is counted again */
        close(fd);
    }
}

static pk_err read_records(struct recovery *recovery, struct spool_file *file, uint64_t size)
{
    struct pk_spool *spool = recovery->spool;
    struct pk_spool_reader *reader = &spool->readers[0];
    struct pk_segment_record record;
    enum pk_spool_read result;
    uint64_t last = 0, offset = reader->at;
    while ((result = pk_spool_reader_next(reader, size, &spool->body, &record)) ==
           PK_SPOOL_READ_RECORD) {
        if (record.seq <= last || record.seq > INT64_MAX) {
            result = PK_SPOOL_READ_BAD;
            break;
        }
        if (!spool_add_entry(spool, file, &record, offset)) {
            return PK_ERR_NOMEM;
        }
        note_stand_ins(recovery, &record);
        pk_mark_see(recovery->left, file->epoch, &record);
        last = record.seq;
        offset = reader->at;
    }
    if (spool->body.err == PK_ERR_NOMEM || recovery->is_out_of_memory) {
        return PK_ERR_NOMEM;
    }
    file->bytes = offset;
    if (result != PK_SPOOL_READ_END) {
        cut(recovery, file, size, result == PK_SPOOL_READ_TORN);
    }
    return PK_OK;
}

static void forget_file(struct pk_spool *spool, const struct spool_file *file)
{
    spool->n_entries -= file->n;
    spool->n_live -= file->n_live;
}

static pk_err scan(struct recovery *recovery, const char *name, char *out_error)
{
    struct pk_spool *spool = recovery->spool;
    struct pk_spool_reader *reader = &spool->readers[0];
    struct stat info;
    enum pk_spool_open result = pk_spool_reader_open(reader, spool->folder, name, spool_key(spool));
    if (result == PK_SPOOL_OPEN_VERSION) {
        return refuse_file(spool, name,
            "written by a newer version; start that version, or move the file away", out_error);
    }
    if (result == PK_SPOOL_OPEN_KEY) {
        return refuse_file(spool, name,
            "encrypted, and spool.key_file is not there or another; give the key, or move the file away",
            out_error);
    }
    if (result == PK_SPOOL_OPEN_IO) {
        return refuse_file(spool, name, strerror(errno), out_error);
    }
    if (result != PK_SPOOL_OPENED || fstat(reader->fd, &info) != 0 || info.st_size > UINT32_MAX ||
        reader->header.epoch == 0 || reader->header.epoch > INT64_MAX) {
        pk_spool_reader_close(reader);
        if (result != PK_SPOOL_OPEN_TORN) { /* that one never held a record */
            lose_unknown(recovery, NULL, false);
        }
        (void)unlinkat(spool->folder, name, 0);
        return PK_OK;
    }
    struct spool_file *file = calloc(1, sizeof *file);
    uint32_t class = reader->header.flags >> PK_SEGMENT_CLASS_SHIFT & 3;
    pk_err err = file ? PK_OK : PK_ERR_NOMEM;
    if (file) {
        snprintf(file->name, sizeof file->name, "%s", name);
        file->epoch = reader->header.epoch;
        file->created_us = reader->header.created_us;
        file->class = class < N_CLASSES ? (enum spool_class) class : CLASS_KEEP;
        err = read_records(recovery, file, (uint64_t)info.st_size);
        spool->reading[0] = NULL;
        if (err == PK_OK && !spool_add_file(spool, file)) {
            err = PK_ERR_NOMEM;
        }
    }
    pk_spool_reader_close(reader);
    if (err != PK_OK) {
        snprintf(out_error, PK_SPOOL_ERROR_SIZE, "%s/%s: %s", spool->options.folder, name,
            pk_err_str(err));
        if (file) {
            forget_file(spool, file);
            free(file->entries);
            free(file);
        }
    }
    return err;
}

static pk_err scan_all(struct recovery *recovery, char *out_error)
{
    struct pk_spool *spool = recovery->spool;
    int copy = fcntl(spool->folder, F_DUPFD_CLOEXEC, 0);
    DIR *dir = copy >= 0 ? fdopendir(copy) : NULL;
    pk_err err = PK_OK;
    if (!dir) {
        snprintf(out_error, PK_SPOOL_ERROR_SIZE, "%s: %s", spool->options.folder, strerror(errno));
        if (copy >= 0) {
            close(copy);
        }
        return PK_ERR_IO;
    }
    rewinddir(dir);
    for (struct dirent *entry; err == PK_OK && (entry = readdir(dir));) {
        size_t len = strlen(entry->d_name);
        if (strncmp(entry->d_name, "seg-", 4) == 0 && len < PK_SPOOL_NAME_SIZE && len > 8 &&
            strcmp(entry->d_name + len - 4, ".psp") == 0 && spool->n_files < PK_SPOOL_MAX_FILES) {
            err = scan(recovery, entry->d_name, out_error);
        }
    }
    closedir(dir);
    return err;
}

/* --- all together --- */

static uint64_t first_seq(const struct spool_file *file)
{
    return file->n ? file->entries[0].seq : 0;
}

static int compare_files(const void *a, const void *b)
{
    const struct spool_file *x = *(struct spool_file *const *)a,
                            *y = *(struct spool_file *const *)b;
    if (x->epoch != y->epoch) {
        return x->epoch < y->epoch ? -1 : 1;
    }
    return first_seq(x) < first_seq(y) ? -1 : first_seq(x) > first_seq(y);
}

static void apply_stand_ins(struct recovery *recovery)
{
    struct pk_spool *spool = recovery->spool;
    for (uint32_t i = 0; i < recovery->meta.n; i++) {
        mark_gone(spool, recovery->meta.epochs[i].epoch, 0, recovery->meta.epochs[i].acked, -1);
    }
    for (size_t i = 0; i < recovery->n_stand_ins; i++) {
        const struct stand_in *at = &recovery->stand_ins[i];
        mark_gone(spool, at->epoch, at->from, at->to, at->kind);
    }
    if (recovery->n_stand_ins > 0) {
        (void)syncfs(spool->folder); /* a stand-in may be in the page cache alone */
    }
}

static void take_numbers(struct recovery *recovery)
{
    struct pk_spool *spool = recovery->spool;
    spool->epoch = recovery->meta.epoch;
    spool->next_seq = recovery->meta.next_seq > 0 ? recovery->meta.next_seq : 1;
    for (uint32_t i = 0; i < recovery->meta.n; i++) {
        spool_note_epoch(spool, recovery->meta.epochs[i].epoch, recovery->meta.epochs[i].acked);
    }
    for (size_t i = 0; i < spool->n_files; i++) {
        const struct spool_file *file = spool->files[i];
        uint64_t newest = file->n ? file->entries[file->n - 1].seq : 0;
        if (file->epoch > spool->epoch) {
            spool->epoch = file->epoch;
            spool->next_seq = 1;
        }
        if (file->epoch == spool->epoch && newest >= spool->next_seq) {
            spool->next_seq = newest + 1;
        }
        spool_note_epoch(spool, file->epoch, newest);
    }
}

pk_err spool_recover(struct pk_spool *spool, struct pk_spool_found *out_found,
    struct pk_mark_left *out_left, char out_error[PK_SPOOL_ERROR_SIZE])
{
    struct recovery recovery = {.spool = spool, .found = out_found, .left = out_left};
    pk_mark_read(spool->folder, out_left);
    (void)pk_meta_read(spool->folder, &recovery.meta);
    pk_err err = scan_all(&recovery, out_error);
    if (err != PK_OK) {
        free(recovery.stand_ins);
        return err;
    }
    if (spool->n_files > 1) {
        qsort(spool->files, spool->n_files, sizeof *spool->files, compare_files);
    }
    apply_stand_ins(&recovery);
    free(recovery.stand_ins);
    take_numbers(&recovery);
    spool->meta = recovery.meta;
    for (size_t i = spool->n_files; i-- > 0;) {
        if (spool->files[i]->n_live == 0) {
            spool_remove_file(spool, i);
        }
    }
    out_found->n_batches = spool->n_live;
    return PK_OK;
}

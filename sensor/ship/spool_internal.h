/* The spool's inside, shared by spool.c (open, write, shed), spool_sync.c (making sure), spool_recover.c and spool_queue.c (read, acknowledge). Private. */
#ifndef SENSOR_SPOOL_INTERNAL_H
#define SENSOR_SPOOL_INTERNAL_H

#include <pthread.h>

#include "ship/spool.h"
#include "ship/spool_ledger.h"
#include "ship/spool_meta.h"

/* Least first: so they are given up. The numbers are in the segments. */
enum spool_class {
    CLASS_DETAIL,
    CLASS_HISTORY,
    CLASS_KEEP,
    N_CLASSES
};

struct spool_entry {
    uint64_t seq;
    uint64_t transactions;
    int64_t first_us, last_us;
    uint32_t offset; /* in its segment */
    uint32_t rows;
    uint8_t kind;
    bool is_gone; /* acknowledged, refused or renumbered */
};

struct spool_file {
    char name[PK_SPOOL_NAME_SIZE];
    uint64_t epoch;
    enum spool_class class;
    uint64_t bytes; /* good ones */
    int64_t created_us;
    int64_t created_ms;          /* monotonic; 0: by an earlier process */
    struct spool_entry *entries; /* by sequence; their place is the record's in the segment */
    size_t n, cap, n_live;
    bool was_done; /* nothing of it waited when the last round of sync began */
};

enum {
    SPOOL_MAX_ROLLED = 8
};

struct ring_item {
    uint64_t epoch, origin_epoch, origin_seq;
    struct spool_entry entry;
    uint8_t codec;
    uint8_t *body;
    uint32_t body_len;
};

/* As it is written; the body is the item's. */
static inline struct pk_segment_record ring_record(const struct ring_item *item)
{
    return (struct pk_segment_record){.seq = item->entry.seq,
        .kind = item->entry.kind,
        .codec = item->codec,
        .rows = item->entry.rows,
        .first_us = item->entry.first_us,
        .last_us = item->entry.last_us,
        .transactions = item->entry.transactions,
        .origin_epoch = item->origin_epoch,
        .origin_seq = item->origin_seq,
        .body = item->body,
        .body_len = item->body_len};
}

struct pk_spool_source {
    struct pk_spool *spool;
    unsigned n;
    struct pk_mark mark;
};

struct pk_spool {
    pthread_mutex_t sync_mutex; /* one sync at a time; taken before mutex */
    struct pk_meta meta;        /* guarded by sync_mutex: what was written last */
    pthread_mutex_t mutex;      /* guards everything below */
    struct pk_spool_options options;
    const struct pk_spool_ops *ops;
    uint8_t key[PK_SPOOL_KEY_BYTES];
    bool has_key;
    int folder, lock; /* -1: memory only */
    uint64_t epoch, next_seq;
    struct pk_meta epochs;     /* epoch -> greatest number given; .n, .epochs only */
    struct spool_file **files; /* by epoch, then first sequence */
    size_t n_files, cap_files;
    uint64_t bytes, n_entries, n_live; /* n_live: with the ring's */
    uint64_t segment_bytes;            /* where a segment is rolled */
    struct pk_spool_writer writers[N_CLASSES];
    struct spool_file *active[N_CLASSES]; /* of the writers that are open; NULL else */
    bool is_refused;                      /* the disk said no */
    int64_t retry_ms;
    int64_t synced_ms;
    uint64_t unsure_bytes;
    int rolled[SPOOL_MAX_ROLLED]; /* of segments that take no more and are not sure yet; owned */
    size_t n_rolled;
    uint64_t sync_failures;
    struct ring_item *ring; /* oldest first, all after what is on disk */
    size_t n_ring, cap_ring;
    uint64_t ring_bytes;
    struct pk_ledger ledger;
    struct pk_spool_source sources[PK_MARK_SOURCES]; /* each of its thread */
    uint8_t *mark;                                   /* the file they are kept in; NULL: none */
    bool has_no_mark;
    struct pk_mark_ring ring_mark; /* sums of what is in the ring */
    bool is_telling;               /* the ledger is being written: nothing is shed for it */
    int wake, sync_wake;
    struct pk_bytes record, scratch, loss_body;
    struct pk_spool_reader readers[N_CLASSES];
    const struct spool_file *reading[N_CLASSES]; /* what they stand in; compared, never followed */
    struct pk_bytes body;                        /* of a batch that is moved */
};

/* spool.c */
enum spool_class spool_class_of(unsigned kind);
const uint8_t *spool_key(const struct pk_spool *spool);
/* Numbers a record and puts it on disk or into the ring. */
pk_err spool_put(struct pk_spool *spool, const struct pk_segment_record *record);
void spool_lose_entry(struct pk_spool *spool, enum pk_loss_cause cause, uint64_t epoch,
    const struct spool_entry *entry);
bool spool_add_file(struct pk_spool *spool, struct spool_file *file);
bool spool_add_entry(struct pk_spool *spool, struct spool_file *file,
    const struct pk_segment_record *record, uint64_t offset);
/* Takes it from disk and index; nothing in it is counted. */
void spool_remove_file(struct pk_spool *spool, size_t index);
void spool_note_epoch(struct pk_spool *spool, uint64_t epoch, uint64_t newest);
uint64_t spool_new_epoch(uint64_t after);
void spool_ring_remove(struct pk_spool *spool, size_t index);

/* No more is written to the class's present segment. */
void spool_close_active(struct pk_spool *spool, enum spool_class class);
/* One segment of which nothing waits; false when there is none. only_sure: and nothing waited when the last round of sync began, so that what stands in for it is sure. */
bool spool_remove_done(struct pk_spool *spool, bool only_sure);
/* By bytes, by the file system's free space, by age: oldest of the least class first, told in the ledger. */
void spool_shed(struct pk_spool *spool);
void spool_shed_for_space(struct pk_spool *spool);
void spool_shed_old(struct pk_spool *spool, int64_t mono_ms);
/* From the ring to the disk; false when the disk still refuses. */
bool spool_drain_ring(struct pk_spool *spool, size_t at_most);
/* The entries as a batch of that time. False: it could not be put. */
bool spool_put_losses(struct pk_spool *spool, const struct pk_ledger *told, int64_t when_us);
/* Writes what the ledger holds as a batch. */
void spool_tell_losses(struct pk_spool *spool);

/* spool_sync.c */
/* How far each epoch is done with, in order: below the first that waits. */
void spool_snapshot(struct pk_spool *spool, struct pk_meta *out);

/* spool_queue.c */
/* The record of an entry into buffer. False: it cannot be read. */
bool spool_read(struct pk_spool *spool, const struct spool_file *file, size_t index,
    struct pk_bytes *buffer, struct pk_segment_record *out_record);

/* spool_recover.c */
/* out_left: the mark, with what stands in the spool of what it tells. */
pk_err spool_recover(struct pk_spool *spool, struct pk_spool_found *out_found,
    struct pk_mark_left *out_left, char out_error[PK_SPOOL_ERROR_SIZE]);

/* spool_crash.c */
/* Appends what the mark tells: health rows, then a loss batch; and removes it. */
void spool_tell_crash(
    struct pk_spool *spool, const struct pk_mark_left *left, struct pk_spool_found *found);
/* A batch of this source is in the spool. */
void spool_source_sealed(struct pk_spool_source *source, const struct pk_sealed *sealed);
/* An item came into the ring, or goes. */
void spool_ring_came(struct pk_spool *spool, const struct ring_item *item);
void spool_ring_goes(struct pk_spool *spool, size_t index);
/* The end: everything is sealed. */
void spool_remove_mark(struct pk_spool *spool);

#endif

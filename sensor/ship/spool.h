/* The spool: sealed batches on disk until the aggregator has them (docs/PROTOCOL.md s5, docs/decisions/0005).
 *
 * A folder with two slots of `meta`, a `lock` and segments of three classes. Batches of all classes share one sequence and are read in its order; the classes are what a full
 * spool gives up, the oldest segment of the least first: detail (activity), then history (RRsets, negatives), then keep (health, losses).
 * Whatever is given up is an entry of the loss ledger (spool_ledger.h), which is delivered as a batch of its own.
 *
 * What is captured and not sealed yet outlives a killed process as a mark (spool_mark.h), and is told as lost by the next one.
 *
 * Appending never waits for the network nor for the disk to be sure, and never fails for the disk: when that refuses, a ring in memory takes over until the disk works again. Without
 * a folder there is only the ring. Thread-safe: captures append, the uplink reads and acknowledges, pk_spool_sync is called by any thread, best by one of its own. */
#ifndef SENSOR_SPOOL_H
#define SENSOR_SPOOL_H

#include "ship/queue.h"
#include "ship/spool_file.h"
#include "ship/spool_mark.h"
#include "window/batch.h"

enum {
    PK_SPOOL_ERROR_SIZE = 512,
    PK_SPOOL_ROLL_MS = 60000, /* a segment takes no more after this */
    PK_SPOOL_SYNC_MS = 1000,
    PK_SPOOL_SYNC_BYTES = 1 << 20, /* or as soon as so much is not sure */
    PK_SPOOL_MAX_RECORDS =
        1 << 18, /* on disk, of 48 bytes in memory each; beyond, the oldest segment goes */
    PK_SPOOL_MAX_FILES = 65536,
    PK_SPOOL_MAX_RING = 16384, /* batches in the ring */
};

enum pk_spool_durability {
    PK_SPOOL_INTERVAL, /* fdatasync each PK_SPOOL_SYNC_MS or PK_SPOOL_SYNC_BYTES */
    PK_SPOOL_ALWAYS,   /* before append returns */
    PK_SPOOL_NEVER,    /* the operating system decides */
};

struct pk_spool_options {
    const char *folder;        /* NULL: memory only */
    uint64_t max_bytes;        /* on disk */
    uint64_t max_age_ms;       /* of a segment; 0: any */
    unsigned min_free_percent; /* of the file system; 0: not looked at */
    uint64_t memory_bytes;     /* of the ring */
    enum pk_spool_durability durability;
    const uint8_t *key;             /* PK_SPOOL_KEY_BYTES, copied; NULL: new segments in clear */
    const struct pk_spool_ops *ops; /* NULL: the system's */
};

struct pk_spool;

/* What recovery found. */
struct pk_spool_found {
    uint64_t n_batches;     /* that still wait */
    uint64_t torn_bytes;    /* cut off the ends of segments */
    unsigned damaged_files; /* segments that were given up from some record on, or whole */
    bool is_new;            /* a new epoch began */
    /* Of a capture that ended without giving out what it had: */
    bool has_crashed, is_crash_unknown; /* unknown: its mark cannot be read */
    int64_t crashed_us;                 /* when it last said how far it was */
    uint64_t crashed_messages, crashed_transactions;
};

/* Opens or makes the folder (mode 0700, ours alone) and recovers what is in it. PK_ERR_AUTH: it belongs to somebody else, or others may write to it. PK_ERR_CONFIG: another process
 * uses it; its segments are of a newer version; they are encrypted under another key. PK_ERR_IO, PK_ERR_NOMEM. out_error is a sentence. */
pk_err pk_spool_open(const struct pk_spool_options *options, struct pk_spool **out_spool,
    struct pk_spool_found *out_found, char out_error[PK_SPOOL_ERROR_SIZE]);
/* Makes all durable; what is in the ring and fits on no disk is lost. */
void pk_spool_close(struct pk_spool *spool);
/* What a spool of these options can come to hold in memory: its ring, and the index of what is on disk. */
size_t pk_spool_bound_bytes(const struct pk_spool_options *options);
/* pk_sealed_cb with the spool as argument. PK_ERR_NOMEM; anything else is counted, not returned. */
pk_err pk_spool_append(void *spool, const struct pk_sealed *sealed);
/* A capture thread's way into the spool, n from 0 to PK_MARK_SOURCES - 1; the spool's own. Of one thread at a time. Its batches and notes go together: pk_sealed_cb and pk_unsealed_cb. */
struct pk_spool_source;
struct pk_spool_source *pk_spool_source(struct pk_spool *spool, unsigned n);
pk_err pk_spool_source_append(void *source, const struct pk_sealed *sealed);
/* Some stores into memory; nothing without a folder. */
void pk_spool_source_note(void *source, const struct pk_unsealed *unsealed);
/* What is due: ring to disk, losses to a batch, fdatasync, meta, then the segments that are done with go. At most once in PK_SPOOL_SYNC_MS unless forced. */
void pk_spool_sync(struct pk_spool *spool, int64_t mono_ms, bool force);
/* Readable when a sync is due before its time. */
int pk_spool_sync_fd(const struct pk_spool *spool);
struct pk_queue pk_spool_queue(struct pk_spool *spool);

struct pk_spool_status {
    uint64_t bytes; /* on disk */
    uint64_t ring_batches, ring_bytes;
    uint64_t lost_rows; /* ever, by all causes */
    uint64_t lost_batches[PK_N_LOSS_CAUSES], lost_rows_by[PK_N_LOSS_CAUSES];
    uint64_t sync_failures; /* fdatasync said no: what was not sure may be gone after a power cut */
    bool is_on_disk;        /* false: the ring takes what comes */
    bool
        has_no_mark; /* the mark cannot be kept: what is not sealed is lost untold with the process */
};
void pk_spool_get_status(struct pk_spool *spool, struct pk_spool_status *out_status);

#endif

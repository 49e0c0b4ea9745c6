/* The mark: how much each capture thread has seen and not yet sealed, where the end of the process cannot take it. A file `mark` of the spool's folder, mapped; what is stored in it is the
 * kernel's when the process is killed, and on disk when the kernel writes it back (within half a minute or so): nobody waits for it.
 *
 * Each source (capture thread) has two slots of PK_MARK_SLOT_BYTES, written in turn: 64-bit words of the host's order
 *   magic, generation, epoch, seq, window start µs, window ms, noted at µs, sealed transactions (activity, RRset, negative), open rows (the same), n, n health counters, CRC-32C
 * and behind those of all sources two of the ring in memory: magic, generation, epoch, seq, by kind of batch (batches, rows, transactions), CRC-32C.
 * epoch and seq are the next number after its last sealed batch, the counters are since its last health row. Whatever the spool holds from the greatest of these numbers on was sealed
 * after the mark was made: the batch in hand of a killed process, or all that reached the disk after it before a power cut. It is taken off what the mark tells. Private to the spool. */
#ifndef SENSOR_SPOOL_MARK_H
#define SENSOR_SPOOL_MARK_H

#include "picket/segment.h"

#include "window/batch.h"

enum {
    PK_MARK_SLOT_BYTES = 1024,
    PK_MARK_SOURCES = 16,
    PK_MARK_KINDS = 3,       /* activity, RRset, negative */
    PK_MARK_BATCH_KINDS = 8, /* all of enum pk_batch_kind, from 0 */
};

/* What one source has under way. */
struct pk_mark {
    uint64_t generation;
    uint64_t epoch, seq;
    struct pk_unsealed unsealed;
    int64_t noted_us;               /* wall clock */
    uint64_t sealed[PK_MARK_KINDS]; /* transactions in batches since its last health row */
    bool is_told; /* of one that was left: its counters are in a health row after all */
};

/* What waits in memory because the disk refuses; epoch and seq of its first batch. Whatever the spool holds from there on was put on the disk after all. */
struct pk_mark_ring {
    uint64_t generation;
    uint64_t epoch, seq;
    struct pk_mark_waiting {
        uint64_t batches, rows, transactions;
    } of[PK_MARK_BATCH_KINDS];
};

/* The mark that an earlier process left. */
struct pk_mark_left {
    struct pk_mark marks[PK_MARK_SOURCES];
    size_t n;
    bool is_unreadable;  /* there is a file, and in it no good slot or a damaged one */
    bool is_loss_told;   /* a loss batch of what it tells is in the spool already */
    uint64_t epoch, seq; /* the greatest of the marks */
    uint64_t sealed[PK_MARK_KINDS], rows[PK_MARK_KINDS]; /* in the spool from there on */
    bool has_ring;
    struct pk_mark_ring ring;
    struct pk_mark_waiting drained[PK_MARK_BATCH_KINDS]; /* of the ring, in the spool */
};

/* Which place a kind of batch has in the arrays; PK_MARK_KINDS for those that have none. */
unsigned pk_mark_kind(unsigned kind);
void pk_mark_read(int folder, struct pk_mark_left *out_left);
/* A record that the spool holds. */
void pk_mark_see(struct pk_mark_left *left, uint64_t epoch, const struct pk_segment_record *record);
/* The health row of what a source had under way when it ended: as sealed, but that queries still open were closed without an answer and went to nobody. False: nothing that is not told. */
bool pk_mark_health(const struct pk_mark *mark, struct pk_health *out_health);
/* What is lost of a kind, over all sources. False: nothing. */
bool pk_mark_loss(const struct pk_mark_left *left, unsigned kind, struct pk_loss *out_loss);
/* What was in memory of a kind, and went with the process. False: nothing. */
bool pk_mark_ring_loss(
    const struct pk_mark_left *left, unsigned batch_kind, struct pk_loss *out_loss);

/* A new file, all of it on disk or in the page cache, mapped. NULL: it cannot be had. */
uint8_t *pk_mark_map(int folder);
void pk_mark_unmap(uint8_t *map);
/* Its file is gone or its disk refuses: the mapping is plain memory since, and nothing outlives the process. */
bool pk_mark_is_cut_off(void);
/* Writes the slot that is not the newest; counts mark->generation up. */
void pk_mark_write(uint8_t *map, unsigned source, struct pk_mark *mark);
void pk_mark_write_ring(uint8_t *map, struct pk_mark_ring *ring);

#endif

/* The spool: sealed batches on disk until the aggregator has them (docs/PROTOCOL.md s5).
 *
 * A folder with `meta` (epoch, acknowledged sequence) and segments `seg-<first sequence>.psp`. Appending never waits for the network. When the cap is reached the oldest
 * segment goes, and its rows are counted as lost. Thread-safe: the capture appends, the uplink reads and acknowledges. */
#ifndef SENSOR_SPOOL_H
#define SENSOR_SPOOL_H

#include "batch.h"
#include "queue.h"

enum {
    PK_SPOOL_ERROR_SIZE = 512,
    PK_SPOOL_ROLL_MS = 60000,
    PK_SPOOL_SYNC_MS = 1000
};

struct pk_spool;

/* Opens or makes the folder. Recovers: a torn tail of the last segment is cut off (counted in out_torn_bytes); a damaged record in the middle ends its segment. */
pk_err pk_spool_open(const char *folder, uint64_t max_bytes, int64_t now_us,
    struct pk_spool **out_spool, uint64_t *out_torn_bytes, char out_error[PK_SPOOL_ERROR_SIZE]);
void pk_spool_close(struct pk_spool *spool);
/* pk_sealed_cb with the spool as argument. PK_ERR_IO: the disk refused; the batch is lost and counted. */
pk_err pk_spool_append(void *spool, const struct pk_sealed *sealed);
/* Makes what was appended survive a power cut, at most once in PK_SPOOL_SYNC_MS unless forced. */
void pk_spool_sync(struct pk_spool *spool, int64_t mono_ms, bool force);
uint64_t pk_spool_lost_rows(struct pk_spool *spool);
struct pk_queue pk_spool_queue(struct pk_spool *spool);

#endif

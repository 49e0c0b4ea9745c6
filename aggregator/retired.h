/* Retired names of one tenant in memory: what D11 asks of the stored history (detect/history.h).
 *
 * History changes while detection goes on, and an engine that reads a row again must be told what it was told before. So the truth is not history itself but a record of it
 * (table retired_name): the core's thread walks over the names of the tenant's zones, a chunk at a time, writes down which had their last answer 30 days ago or more, and
 * with which ingest sequence that became known; it ends when the name is seen with an answer again. A row of activity is judged by what holds at its ingest sequence, whoever
 * reads it and whenever: live, restarted and replayed runs agree although the walk itself goes by the wall clock.
 *
 * Bounded: PK_RETIRED_MAX names, then no more are taken (counted); 60 bytes each. A lookup is one probe of a hash table. */
#ifndef AGGREGATOR_RETIRED_H
#define AGGREGATOR_RETIRED_H

#include <stdint.h>

#include "picket/err.h"
#include "picket/ids.h"
#include "picket/scope.h"

#include "detect/history.h"
#include "store/store.h"

enum {
    PK_RETIRED_MAX = 1000000
};

struct pk_retired;

/* generation: of the tenant's home, as long as this lives. */
pk_err pk_retired_new(
    struct pk_tenant_id tenant, uint64_t generation, struct pk_retired **out_retired);
void pk_retired_free(struct pk_retired *retired);

/* Reads the record, of all that holds for rows after `after`. */
pk_err pk_retired_load(struct pk_retired *retired, struct pk_store *store, uint64_t after);
/* Walks on over the next names of history; what is found holds for rows after at_seq, the latest that was observed. A call takes some tens of milliseconds at most.
 * After a failure the next call reads the record again: the store may have it and we not. */
pk_err pk_retired_walk(struct pk_retired *retired, struct pk_store *store,
    const struct pk_scope_tenant *scope, uint64_t at_seq, int64_t now_us);
/* Walks so far that came to the last name. */
uint64_t pk_retired_rounds(const struct pk_retired *retired);

/* From here on lookups answer for a row of this ingest sequence. */
void pk_retired_set_seq(struct pk_retired *retired, uint64_t seq);
struct pk_history_source pk_retired_source(struct pk_retired *retired);

struct pk_retired_totals {
    uint64_t names;   /* held, those that came back included */
    uint64_t refused; /* beyond the maximum */
};
void pk_retired_totals(const struct pk_retired *retired, struct pk_retired_totals *out_totals);

#endif

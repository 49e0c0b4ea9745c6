/* What is left of queries that were closed: enough to say what a response that meets no open query is.
 *
 * 16,384 entries of 16 bytes, each overwritten by the next that falls on its place, good for PK_CLOSED_KEEP_S: a statistic may be wrong for an entry that was overwritten (the
 * response then counts as unsolicited), history never sees any of these responses. */
#ifndef SENSOR_CLOSED_H
#define SENSOR_CLOSED_H

#include "picket/dnsmsg.h"
#include "picket/err.h"

#include "transaction.h"

enum {
    PK_CLOSED_SLOTS = 16384,
    PK_CLOSED_KEEP_S = 60,
};

struct pk_closed;

pk_err pk_closed_new(struct pk_closed **out_closed);
void pk_closed_free(struct pk_closed *closed);

/* Of a question, case ignored; never 0, which stands for "no question". name_hash: pk_name_hash of its name, 0 when it is not reckoned yet. */
uint32_t pk_closed_question(const struct pk_question *question, uint64_t name_hash);
/* A query was closed: key is the hash of its ends, id and transport; answer is the digest of its response, 0 when it had none. n_again: how many more responses its
 * retransmissions may bring. */
void pk_closed_note(struct pk_closed *closed, uint64_t key, uint32_t question, uint32_t answer,
    uint32_t n_again, int64_t now_us);
/* What a response is that meets no open query: PK_OUTCOME_LATE, _MISMATCHED, _REPEATED, _CONFLICTING or _UNSOLICITED. */
enum pk_outcome pk_closed_judge(
    struct pk_closed *closed, uint64_t key, uint32_t question, uint32_t answer, int64_t now_us);
/* What it can come to hold, in bytes. */
size_t pk_closed_bound_bytes(void);

#endif

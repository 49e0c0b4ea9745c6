/* Responses seen before: the same question with the same records, whatever their TTLs. Private to history.
 *
 * Two responses are the same when their header bits that matter, their questions (case kept) and all their records but OPT are the same bytes with the TTLs left out.
 * Compression pointers then mean the same, since everything stands at the same place. What was made of the first is remembered for the second: the kind of
 * answer, its digest, the rows of its RRsets. The bytes are compared whole, so nobody can make one response pass for another.
 *
 * Bounds: PK_REPEATS_MAX responses, PK_REPEATS_MAX_BYTES of their bytes and as many of what was made of them; when either is reached all are forgotten, as they are when the rows are. Responses with more
 * than PK_REPEAT_MAX_RECORDS records or PK_REPEAT_MAX_ROWS RRsets are not remembered. */
#ifndef SENSOR_REPEATS_H
#define SENSOR_REPEATS_H

#include "picket/dnsmsg.h"
#include "picket/err.h"

#include "window/history.h"

enum {
    PK_REPEATS_MAX = 32768,
    PK_REPEATS_MAX_BYTES = 6 << 20,
    PK_REPEAT_MAX_RECORDS = 48,
    PK_REPEAT_MAX_ROWS = 28,
    PK_REPEAT_MAX_MESSAGE = 2048, /* bytes */
    PK_REPEAT_NO_ROW = 0xff,
};

struct pk_repeat {
    struct pk_answer answer;
    uint32_t epoch;
    uint16_t n_refused;
    uint8_t n_rows, n_records;             /* records without OPT */
    bool is_whole;                         /* false: nothing of this may be used or kept */
    uint8_t row_of[PK_REPEAT_MAX_RECORDS]; /* index into rows, by record */
    uint32_t rows[PK_REPEAT_MAX_ROWS];     /* the sink's numbers */
};

/* Nothing is known of the response in hand yet. */
void pk_repeat_begin(struct pk_repeat *repeat, uint32_t epoch);
/* This record belongs to the RRset whose row comes next. */
void pk_repeat_belongs(struct pk_repeat *repeat, unsigned record);
void pk_repeat_row(struct pk_repeat *repeat, uint32_t row);
/* Of the answer section, as pk_history_answer_digest gives it. */
uint32_t pk_repeat_min_ttl(
    const struct pk_dnsmsg *msg, const struct pk_answer *answer, const uint32_t *ttls_s);

struct pk_repeats;

pk_err pk_repeats_new(struct pk_repeats **out_repeats);
void pk_repeats_free(struct pk_repeats *repeats);
/* Begins to look for a response, so that memory answers meanwhile; what it is found by is good until the next call of this or of find. NULL: none is looked for. */
void pk_repeats_ahead(struct pk_repeats *repeats, const struct pk_dnsmsg *msg);
/* Whether such a response is remembered from this epoch: fills *out_repeat then. out_ttls_s: of its records, good until the next call. */
bool pk_repeats_find(struct pk_repeats *repeats, uint32_t epoch, const struct pk_dnsmsg *msg,
    struct pk_repeat *out_repeat, const uint32_t **out_ttls_s);
/* Remembers what was made of the response that find did not know, unless it cannot be. */
void pk_repeats_keep(struct pk_repeats *repeats, const struct pk_repeat *made);
size_t pk_repeats_bound_bytes(void);

#endif

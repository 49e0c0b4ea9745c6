/* Responses seen before: the same question with the same records, whatever their TTLs. Private to history.
 *
 * Two responses are the same when their header bits that matter, their questions (case kept) and all their records but OPT are the same bytes with the TTLs left out.
 * Compression pointers then mean the same, since everything stands at the same place. What was made of the first is remembered for the second: the kind of
 * answer, its digest, the rows of its RRsets. The bytes are compared whole, so nobody can make one response pass for another.
 *
 * What comes again is summed up here, beside what it is known by, and told to the rows when they are about to be given out or all is forgotten: a repeated response touches one place in memory instead
 * of one for each of its rows. That place is far away mostly, so it is asked for in two steps while other work is done.
 *
 * Bounds: PK_REPEATS_MAX responses, PK_REPEATS_MAX_BYTES; when either is reached all are forgotten, as they are when the rows are. Responses with more
 * than PK_REPEAT_MAX_RECORDS records or PK_REPEAT_MAX_ROWS RRsets are not remembered. */
#ifndef SENSOR_REPEATS_H
#define SENSOR_REPEATS_H

#include "picket/dnsmsg.h"
#include "picket/err.h"

#include "window/history.h"

enum {
    PK_REPEATS_MAX = 32768,
    PK_REPEATS_MAX_BYTES = 12 << 20,
    PK_REPEAT_MAX_RECORDS = 48,
    PK_REPEAT_MAX_ROWS = 28,
    PK_REPEAT_MAX_MESSAGE = 2048, /* bytes */
    PK_REPEAT_NO_ROW = 0xff,
};

/* What is made of a response that is not known, while it is made. */
struct pk_repeat {
    struct pk_answer answer;
    uint32_t epoch;
    uint16_t n_refused;
    uint8_t n_rows;
    bool is_whole;                         /* false: nothing of this may be kept */
    uint8_t row_of[PK_REPEAT_MAX_RECORDS]; /* index into rows, by record */
    uint32_t rows[PK_REPEAT_MAX_ROWS];     /* the sink's numbers */
};

/* Nothing is known of the response in hand yet. */
void pk_repeat_begin(struct pk_repeat *repeat, uint32_t epoch);
/* This record belongs to the RRset whose row comes next. */
void pk_repeat_belongs(struct pk_repeat *repeat, unsigned record);
void pk_repeat_row(struct pk_repeat *repeat, uint32_t row);

/* A remembered response; in memory its rows, the row of each record and the bytes it is known by follow. */
struct pk_remembered {
    uint64_t digest;
    int64_t first_us, last_us; /* of what has not been told to the rows yet */
    uint32_t count;            /* the same */
    struct pk_answer_memo memo;
    uint32_t hash;
    uint16_t key_len;
    uint16_t n_refused;
    uint8_t kind; /* enum pk_answer_kind */
    uint8_t n_rows, n_records;
};

struct pk_repeats;

pk_err pk_repeats_new(const struct pk_history_sink *sink, struct pk_repeats **out_repeats);
void pk_repeats_free(struct pk_repeats *repeats);
/* Begins to look for a response, so that memory answers meanwhile; what it is found by is good until the next call of this or of find. NULL: none is looked for. */
void pk_repeats_ahead(struct pk_repeats *repeats, const struct pk_dnsmsg *msg);
/* The second step of the same. */
void pk_repeats_nearer(const struct pk_repeats *repeats);
/* What is remembered of this response, good until the next call of keep or forget; NULL: nothing. */
struct pk_remembered *pk_repeats_find(struct pk_repeats *repeats, const struct pk_dnsmsg *msg);
/* It came once more, as find saw it. Gives the least TTL of the answer section when the answer has data, else 0. */
uint32_t pk_repeats_count(struct pk_repeats *repeats, struct pk_remembered *known,
    const struct pk_dnsmsg *msg, int64_t ts_us);
/* Remembers what was made of the response that find did not know, and gives it, good as that of find; NULL when it cannot be. */
struct pk_remembered *pk_repeats_keep(struct pk_repeats *repeats, const struct pk_repeat *made);
/* Tells the rows what came, and forgets all. */
void pk_repeats_forget(struct pk_repeats *repeats);
size_t pk_repeats_bound_bytes(void);

#endif

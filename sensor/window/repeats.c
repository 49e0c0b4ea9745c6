/* Records side by side in one block, and a hash index whose slots hold the hash and where the record begins: a response that is known costs one slot and one record, two or three cache lines
 * that follow each other. */
#include "window/repeats.h"

#include <stdlib.h>
#include <string.h>

#include "picket/hash.h"

enum {
    ALIGNMENT = 8,
    LINE = 64,
    FIRST_SLOTS = 1024,
    MAX_SLOTS = 2 * PK_REPEATS_MAX,
    PLACE_MASK = (1 << 21) - 1, /* of a slot */
    MAX_KEY = PK_REPEAT_MAX_MESSAGE + 16,
    MAX_RECORD = sizeof(struct pk_remembered) + 12 * PK_REPEAT_MAX_ROWS + PK_REPEAT_MAX_RECORDS +
                 MAX_KEY + ALIGNMENT,
};

/* A row of a remembered response, and the TTLs that have not been told to it yet. */
struct row {
    uint32_t number, ttl_min_s, ttl_max_s;
};

_Static_assert(
    (int)PK_REPEATS_MAX_BYTES / (int)ALIGNMENT < (int)PLACE_MASK, "places that a slot can hold");
_Static_assert(
    sizeof(struct pk_remembered) % ALIGNMENT == 0 && sizeof(struct row) == 12, "side by side");

struct pk_repeats {
    struct pk_history_sink sink;
    uint8_t *records; /* owned, PK_REPEATS_MAX_BYTES */
    size_t len;
    uint32_t *
        slots; /* owned: place of the record / ALIGNMENT + 1 below, the top of its hash above; 0: empty. mask + 1 are in use */
    uint32_t mask, n;
    const uint8_t *ahead; /* bytes of the response whose key is made; NULL: none is */
    bool is_asked;        /* find did not know it */
    uint8_t n_records;    /* of the response in hand, without OPT */
    size_t key_len;       /* 0: it cannot be remembered */
    uint32_t key_hash;
    uint8_t key[MAX_KEY];
    uint32_t ttls_s[PK_REPEAT_MAX_RECORDS];
};

static void use_slots(struct pk_repeats *repeats, uint32_t n_slots)
{
    repeats->mask = n_slots - 1;
    memset(repeats->slots, 0, n_slots * sizeof *repeats->slots); /* all empty */
}

pk_err pk_repeats_new(const struct pk_history_sink *sink, struct pk_repeats **out_repeats)
{
    struct pk_repeats *repeats = calloc(1, sizeof *repeats);
    if (!repeats) {
        return PK_ERR_NOMEM;
    }
    repeats->sink = *sink;
    repeats->records = aligned_alloc(LINE, PK_REPEATS_MAX_BYTES);
    repeats->slots = malloc(MAX_SLOTS * sizeof *repeats->slots);
    if (!repeats->records || !repeats->slots) {
        pk_repeats_free(repeats);
        return PK_ERR_NOMEM;
    }
    use_slots(repeats, FIRST_SLOTS);
    *out_repeats = repeats;
    return PK_OK;
}

void pk_repeats_free(struct pk_repeats *repeats)
{
    if (repeats) {
        free(repeats->records);
        free(repeats->slots);
        free(repeats);
    }
}

size_t pk_repeats_bound_bytes(void)
{
    return sizeof(struct pk_repeats) + PK_REPEATS_MAX_BYTES + MAX_SLOTS * sizeof(uint32_t);
}

/* --- what is made of a response --- */

void pk_repeat_begin(struct pk_repeat *repeat, uint32_t epoch)
{
    repeat->epoch = epoch;
    repeat->n_refused = 0;
    repeat->n_rows = 0;
    repeat->is_whole = true;
    memset(repeat->row_of, PK_REPEAT_NO_ROW, sizeof repeat->row_of);
}

void pk_repeat_belongs(struct pk_repeat *repeat, unsigned record)
{
    if (record < PK_REPEAT_MAX_RECORDS) {
        repeat->row_of[record] = repeat->n_rows;
    } else {
        repeat->is_whole = false;
    }
}

void pk_repeat_row(struct pk_repeat *repeat, uint32_t row)
{
    if (repeat->n_rows == PK_REPEAT_MAX_ROWS || row == PK_HISTORY_NO_ROW) {
        repeat->is_whole = false;
    } else {
        repeat->rows[repeat->n_rows++] = row;
    }
}

/* --- records --- */

static struct row *rows_of(struct pk_remembered *known)
{
    return (struct row *)(void *)(known + 1);
}

static uint8_t *row_of_records(struct pk_remembered *known)
{
    return (uint8_t *)(rows_of(known) + known->n_rows);
}

static uint8_t *key_of(struct pk_remembered *known)
{
    return row_of_records(known) + known->n_records;
}

static size_t record_len(struct pk_remembered *known)
{
    size_t len = (size_t)(key_of(known) + known->key_len - (uint8_t *)known);
    return (len + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static struct pk_remembered *record_at(const struct pk_repeats *repeats, size_t at)
{
    return (struct pk_remembered *)(void *)(repeats->records + at);
}

static void nothing_to_tell(struct pk_remembered *known)
{
    struct row *rows = rows_of(known);
    known->count = 0;
    known->first_us = INT64_MAX;
    known->last_us = INT64_MIN;
    for (unsigned i = 0; i < known->n_rows; i++) {
        rows[i].ttl_min_s = UINT32_MAX;
        rows[i].ttl_max_s = 0;
    }
}

void pk_repeats_forget(struct pk_repeats *repeats)
{
    struct pk_remembered *known;
    for (size_t at = 0; at < repeats->len; at += record_len(known)) {
        known = record_at(repeats, at);
        const struct row *rows = rows_of(known);
        for (unsigned i = 0; known->count > 0 && i < known->n_rows; i++) {
            const struct pk_history_repeat repeat = {rows[i].number, known->count, known->first_us,
                known->last_us, rows[i].ttl_min_s, rows[i].ttl_max_s};
            repeats->sink.repeat(repeats->sink.arg, &repeat);
        }
    }
    if (repeats->len > 0) {
        repeats->len = 0;
        repeats->n = 0;
        use_slots(repeats, FIRST_SLOTS);
    }
}

static void put_slot(struct pk_repeats *repeats, size_t at)
{
    uint32_t hash = record_at(repeats, at)->hash, i = hash & repeats->mask;
    while (repeats->slots[i] != 0) {
        i = (i + 1) & repeats->mask;
    }
    repeats->slots[i] = (hash & ~(uint32_t)PLACE_MASK) | (uint32_t)(at / ALIGNMENT + 1);
}

struct pk_remembered *pk_repeats_keep(struct pk_repeats *repeats, const struct pk_repeat *made)
{
    if (!repeats->is_asked || !made->is_whole) {
        return NULL;
    }
    if (repeats->n == PK_REPEATS_MAX || repeats->len + MAX_RECORD > PK_REPEATS_MAX_BYTES) {
        pk_repeats_forget(repeats);
    }
    size_t at = repeats->len;
    struct pk_remembered *known = record_at(repeats, at);
    *known = (struct pk_remembered){.digest = made->answer.digest,
        .hash = repeats->key_hash,
        .key_len = (uint16_t)repeats->key_len,
        .n_refused = made->n_refused,
        .kind = (uint8_t)made->answer.kind,
        .n_rows = made->n_rows,
        .n_records = repeats->n_records};
    struct row *rows = rows_of(known);
    for (unsigned i = 0; i < made->n_rows; i++) {
        rows[i].number = made->rows[i];
    }
    nothing_to_tell(known);
    memcpy(row_of_records(known), made->row_of, repeats->n_records);
    memcpy(key_of(known), repeats->key, repeats->key_len);
    repeats->len += record_len(known);
    for (size_t i = 0; i < 4; i++) { /* for the next, as table_make_room */
        __builtin_prefetch(repeats->records + repeats->len + i * LINE, 1);
    }
    repeats->n++;
    if (2 * repeats->n > repeats->mask + 1 && repeats->mask + 1 < MAX_SLOTS) {
        use_slots(repeats, 2 * (repeats->mask + 1));
        for (size_t i = 0; i < repeats->len; i += record_len(record_at(repeats, i))) {
            put_slot(repeats, i);
        }
    } else {
        put_slot(repeats, at);
    }
    return known;
}

/* --- looking for one --- */

/* Writes the key; its length, or 0 when the response cannot be remembered. */
static size_t write_key(struct pk_repeats *repeats, const struct pk_dnsmsg *msg)
{
    struct pk_rr_iter iter;
    struct pk_rr rr;
    unsigned n = 0;
    bool has_opt = false;
    if (msg->len > PK_REPEAT_MAX_MESSAGE) {
        return 0;
    }
    uint8_t *p = repeats->key;
    const uint16_t head[] = {msg->rcode, (uint16_t)(msg->aa | msg->tc << 1),
        msg->n_records[PK_SECTION_QUESTION], msg->n_records[PK_SECTION_ANSWER],
        msg->n_records[PK_SECTION_AUTHORITY]};
    size_t end = msg->records_pos;
    memcpy(p, head, sizeof head);
    p += sizeof head;
    memcpy(p, msg->wire + PK_DNS_HEADER_BYTES, msg->len - PK_DNS_HEADER_BYTES);
    pk_rr_iter_init(&iter, msg);
    while (pk_rr_next(&iter, &rr)) {
        if (has_opt || n == PK_REPEAT_MAX_RECORDS) { /* what stands after OPT may have moved */
            return 0;
        }
        if (rr.type == PK_TYPE_OPT) {
            has_opt = true;
            continue;
        }
        memset(p + rr.rdata_pos - 6 - PK_DNS_HEADER_BYTES, 0, sizeof rr.ttl_s);
        end = rr.rdata_pos + rr.rdata_len;
        repeats->ttls_s[n++] = rr.ttl_s;
    }
    repeats->n_records = (uint8_t)n;
    return sizeof head + end - PK_DNS_HEADER_BYTES;
}

static void make_key(struct pk_repeats *repeats, const struct pk_dnsmsg *msg)
{
    repeats->key_len = write_key(repeats, msg);
    repeats->key_hash = (uint32_t)pk_hash_quick(repeats->key, repeats->key_len);
    __builtin_prefetch(&repeats->slots[repeats->key_hash & repeats->mask]);
}

void pk_repeats_ahead(struct pk_repeats *repeats, const struct pk_dnsmsg *msg)
{
    repeats->ahead = NULL;
    bool is_sound = msg && (msg->fault == PK_DNS_OK || msg->fault == PK_DNS_TRAILING);
    if (is_sound && msg->has_question) { /* as history wants it */
        make_key(repeats, msg);
        repeats->ahead = msg->wire;
    }
}

/* The record that the slot's hash makes likely. */
void pk_repeats_nearer(const struct pk_repeats *repeats)
{
    uint32_t slot = repeats->ahead ? repeats->slots[repeats->key_hash & repeats->mask] : 0;
    if (slot != 0) {
        const uint8_t *p = repeats->records + ((slot & PLACE_MASK) - 1) * (size_t)ALIGNMENT;
        __builtin_prefetch(p, 1);
        __builtin_prefetch(p + LINE);
        __builtin_prefetch(p + 2 * LINE);
    }
}

struct pk_remembered *pk_repeats_find(struct pk_repeats *repeats, const struct pk_dnsmsg *msg)
{
    if (repeats->ahead != msg->wire) {
        make_key(repeats, msg);
    }
    repeats->ahead = NULL;
    repeats->is_asked = repeats->key_len > 0;
    for (uint32_t i = repeats->key_hash & repeats->mask; repeats->is_asked;
         i = (i + 1) & repeats->mask) {
        uint32_t slot = repeats->slots[i];
        if (slot == 0) {
            return NULL;
        }
        if (((slot ^ repeats->key_hash) & ~(uint32_t)PLACE_MASK) == 0) {
            struct pk_remembered *known =
                record_at(repeats, ((slot & PLACE_MASK) - 1) * (size_t)ALIGNMENT);
            if (known->key_len == repeats->key_len &&
                memcmp(key_of(known), repeats->key, repeats->key_len) == 0) {
                return known;
            }
        }
    }
    return NULL;
}

static uint32_t min_ttl(const uint32_t *ttls_s, unsigned n)
{
    uint32_t min_ttl_s = UINT32_MAX;
    for (unsigned i = 0; i < n; i++) {
        min_ttl_s = ttls_s[i] < min_ttl_s ? ttls_s[i] : min_ttl_s;
    }
    return min_ttl_s;
}

uint32_t pk_repeats_count(struct pk_repeats *repeats, struct pk_remembered *known,
    const struct pk_dnsmsg *msg, int64_t ts_us)
{
    struct row *rows = rows_of(known);
    const uint8_t *row_of = row_of_records(known);
    unsigned n_answers = msg->n_records[PK_SECTION_ANSWER];
    known->count++;
    known->first_us = ts_us < known->first_us ? ts_us : known->first_us;
    known->last_us = ts_us > known->last_us ? ts_us : known->last_us;
    for (unsigned i = 0; known->n_rows > 0 && i < known->n_records; i++) {
        uint32_t ttl_s = repeats->ttls_s[i];
        if (row_of[i] != PK_REPEAT_NO_ROW) {
            struct row *row = &rows[row_of[i]];
            row->ttl_min_s = ttl_s < row->ttl_min_s ? ttl_s : row->ttl_min_s;
            row->ttl_max_s = ttl_s > row->ttl_max_s ? ttl_s : row->ttl_max_s;
        }
    }
    return known->kind == PK_ANSWER_DATA
               ? min_ttl(
                     repeats->ttls_s, n_answers < known->n_records ? n_answers : known->n_records)
               : 0;
}

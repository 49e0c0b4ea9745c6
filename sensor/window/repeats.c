/* A dictionary over the bytes that count; beside it, by number, what was made of them, packed: most have one row and two records, and what is not in the
 * cache costs more than unpacking. */
#include "window/repeats.h"

#include <stdlib.h>
#include <string.h>

#include "picket/dictionary.h"

#define NOT_KEPT UINT32_MAX

/* What stands in `made` for a response, before its rows (four bytes each) and the row of each record (one byte). */
struct packed {
    uint64_t digest;
    uint16_t n_refused;
    uint8_t n_rows, n_records, kind;
};

struct pk_repeats {
    struct pk_dictionary keys;
    struct pk_bytes made;
    uint32_t *made_at;     /* by number, offset; NOT_KEPT */
    uint32_t epoch, asked; /* asked: the number find did not know; NOT_KEPT: none */
    uint8_t asked_records;
    const uint8_t *ahead; /* bytes of the response whose key is made; NULL: none is */
    size_t key_len;       /* 0: it cannot be remembered */
    uint64_t key_hash;
    uint8_t key[PK_REPEAT_MAX_MESSAGE + 16]; /* of the response in hand */
    uint32_t ttls_s[PK_REPEAT_MAX_RECORDS];
};

pk_err pk_repeats_new(struct pk_repeats **out_repeats)
{
    struct pk_repeats *repeats = calloc(1, sizeof *repeats);
    if (!repeats) {
        return PK_ERR_NOMEM;
    }
    repeats->made_at = malloc(PK_REPEATS_MAX * sizeof *repeats->made_at);
    pk_bytes_init(&repeats->made, PK_REPEATS_MAX_BYTES);
    pk_err err = pk_dictionary_init(&repeats->keys, PK_REPEATS_MAX, PK_REPEATS_MAX_BYTES);
    if (!repeats->made_at || err != PK_OK) {
        pk_repeats_free(repeats);
        return PK_ERR_NOMEM;
    }
    *out_repeats = repeats;
    return PK_OK;
}

void pk_repeats_free(struct pk_repeats *repeats)
{
    if (repeats) {
        pk_dictionary_done(&repeats->keys);
        pk_bytes_done(&repeats->made);
        free(repeats->made_at);
        free(repeats);
    }
}

size_t pk_repeats_bound_bytes(void)
{
    return sizeof(struct pk_repeats) + PK_REPEATS_MAX * sizeof(uint32_t) +
           pk_bytes_bound_bytes(PK_REPEATS_MAX_BYTES) +
           pk_dictionary_bound_bytes(PK_REPEATS_MAX, PK_REPEATS_MAX_BYTES);
}

void pk_repeat_begin(struct pk_repeat *repeat, uint32_t epoch)
{
    repeat->epoch = epoch;
    repeat->n_refused = 0;
    repeat->n_rows = 0;
    repeat->n_records = 0;
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

uint32_t pk_repeat_min_ttl(
    const struct pk_dnsmsg *msg, const struct pk_answer *answer, const uint32_t *ttls_s)
{
    uint32_t min_ttl_s = UINT32_MAX;
    unsigned n = msg->n_records[PK_SECTION_ANSWER];
    if (answer->kind != PK_ANSWER_DATA) {
        return 0;
    }
    for (unsigned i = 0; i < n && i < PK_REPEAT_MAX_RECORDS; i++) {
        min_ttl_s = ttls_s[i] < min_ttl_s ? ttls_s[i] : min_ttl_s;
    }
    return min_ttl_s;
}

/* Writes the key; its length, or 0 when the response cannot be remembered. */
static size_t write_key(
    struct pk_repeats *repeats, const struct pk_dnsmsg *msg, uint8_t *out_n_records)
{
    struct pk_rr_iter iter;
    struct pk_rr rr;
    unsigned n = 0;
    bool has_opt = false;
    if (msg->len > PK_REPEAT_MAX_MESSAGE) {
        return 0;
    }
    uint8_t *p = repeats->key;
    size_t question_len = msg->records_pos - PK_DNS_HEADER_BYTES;
    const uint16_t head[] = {msg->rcode, (uint16_t)(msg->aa | msg->tc << 1),
        msg->n_records[PK_SECTION_QUESTION], msg->n_records[PK_SECTION_ANSWER],
        msg->n_records[PK_SECTION_AUTHORITY]};
    memcpy(p, head, sizeof head);
    p += sizeof head;
    memcpy(p, msg->wire + PK_DNS_HEADER_BYTES, question_len);
    p += question_len;
    pk_rr_iter_init(&iter, msg);
    while (pk_rr_next(&iter, &rr)) {
        if (has_opt || n == PK_REPEAT_MAX_RECORDS) { /* what stands after OPT may have moved */
            return 0;
        }
        if (rr.type == PK_TYPE_OPT) {
            has_opt = true;
            continue;
        }
        size_t before = rr.rdata_pos - 6 - rr.owner_pos; /* owner, type, class */
        memcpy(p, msg->wire + rr.owner_pos, before);
        p += before;
        memcpy(p, msg->wire + rr.rdata_pos - 2, 2 + (size_t)rr.rdata_len);
        p += 2 + (size_t)rr.rdata_len;
        repeats->ttls_s[n++] = rr.ttl_s;
    }
    *out_n_records = (uint8_t)n;
    return (size_t)(p - repeats->key);
}

static void forget(struct pk_repeats *repeats, uint32_t epoch)
{
    pk_dictionary_clear(&repeats->keys);
    pk_bytes_clear(&repeats->made);
    repeats->epoch = epoch;
}

static void unpack(const struct pk_repeats *repeats, uint32_t number, struct pk_repeat *out_repeat)
{
    const uint8_t *p = repeats->made.data + repeats->made_at[number];
    struct packed packed;
    memcpy(&packed, p, sizeof packed);
    out_repeat->answer =
        (struct pk_answer){.kind = (enum pk_answer_kind)packed.kind, .digest = packed.digest};
    out_repeat->n_refused = packed.n_refused;
    out_repeat->n_rows = packed.n_rows;
    out_repeat->n_records = packed.n_records;
    out_repeat->is_whole = true;
    memcpy(out_repeat->rows, p + sizeof packed, 4 * (size_t)packed.n_rows);
    memcpy(out_repeat->row_of, p + sizeof packed + 4 * (size_t)packed.n_rows, packed.n_records);
}

static void make_key(struct pk_repeats *repeats, const struct pk_dnsmsg *msg)
{
    repeats->key_len = write_key(repeats, msg, &repeats->asked_records);
    repeats->key_hash =
        repeats->key_len ? pk_dictionary_ahead(&repeats->keys, repeats->key, repeats->key_len) : 0;
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

bool pk_repeats_find(struct pk_repeats *repeats, uint32_t epoch, const struct pk_dnsmsg *msg,
    struct pk_repeat *out_repeat, const uint32_t **out_ttls_s)
{
    uint32_t number;
    if (repeats->ahead != msg->wire) {
        make_key(repeats, msg);
    }
    repeats->ahead = NULL;
    repeats->asked = NOT_KEPT;
    if (repeats->key_len == 0) {
        return false;
    }
    if (repeats->epoch != epoch) {
        forget(repeats, epoch);
    }
    uint32_t n = repeats->keys.n;
    pk_err err = pk_dictionary_intern_hashed(
        &repeats->keys, repeats->key, repeats->key_len, repeats->key_hash, &number);
    if (err != PK_OK) { /* full: the next begin anew */
        forget(repeats, epoch);
        return false;
    }
    if (number == n) {
        repeats->made_at[number] = NOT_KEPT;
    }
    if (repeats->made_at[number] == NOT_KEPT) {
        repeats->asked = number;
        return false;
    }
    unpack(repeats, number, out_repeat);
    *out_ttls_s = repeats->ttls_s;
    return true;
}

void pk_repeats_keep(struct pk_repeats *repeats, const struct pk_repeat *made)
{
    if (repeats->asked == NOT_KEPT || !made->is_whole || made->epoch != repeats->epoch) {
        return;
    }
    struct packed packed;
    memset(&packed, 0, sizeof packed);
    packed.digest = made->answer.digest;
    packed.kind = (uint8_t)made->answer.kind;
    packed.n_refused = made->n_refused;
    packed.n_rows = made->n_rows;
    packed.n_records = repeats->asked_records;
    size_t at = repeats->made.len;
    pk_bytes_put(&repeats->made, &packed, sizeof packed);
    pk_bytes_put(&repeats->made, made->rows, 4 * (size_t)made->n_rows);
    pk_bytes_put(&repeats->made, made->row_of, repeats->asked_records);
    if (repeats->made.err != PK_OK) {
        forget(repeats, repeats->epoch);
    } else {
        repeats->made_at[repeats->asked] = (uint32_t)at;
    }
}

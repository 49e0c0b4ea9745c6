/* Which rows make a batch, their values renumbered for it, their columns.
 *
 * One walk over the rows does all of it: a value gets its number in the batch at its first use, and its bytes go to the batch's dictionary then; a row's fields go to the columns. Names are the
 * exception, since theirs is a canonical order: all of the table are sorted once, those of a batch are marked, and a walk over the sorted ones numbers and writes the marked. */
#include <stdlib.h>
#include <string.h>

#include "picket/batch_rows.h"
#include "picket/name.h"

#include "body.h"
#include "columns.h"
#include "day_set.h"
#include "name_order.h"

enum {
    /* At most, written value by value: all columns of a row, references taking three bytes; a name with its two lengths; what the values of a row that is no RRset can add. */
    ROW_BYTES = 68,
    SUBNET_BYTES =
        3, /* of a row, in tables that have some: what is reckoned for all makes batches end before they are at their best */
    NAME_BYTES = PK_NAME_MAX + 4,
    ADDR_BYTES = 17,
    VALUES_BYTES = 700,
    RDATA_EXTRA_BYTES = 6, /* of one in a set: its length, the reference */
};

static const uint8_t numbered[] = {
    BODY_ADDRS, BODY_CLIENTS, BODY_SIGNATURES, BODY_ANSWERS, BODY_SUBNETS};
enum {
    N_NUMBERED = sizeof numbered
};

/* Where an entry stands in the batch's dictionary; good when the stamp is the batch's. */
struct known {
    uint32_t stamp, index;
};

struct dictionary {
    uint32_t n;
    struct pk_bytes bytes;
};

struct pk_rows_encoder {
    struct pk_batch_info info;
    uint32_t flags; /* of all batches */
    struct pk_rows rows;
    uint32_t next; /* row */
    uint32_t stamp;
    struct known *known[BODY_N_DICTIONARIES]; /* NULL for what is not numbered before */
    struct dictionary dictionaries[BODY_N_DICTIONARIES];
    struct pk_dictionary names, rdata, sets,
        sketches; /* of the batch: what is not numbered before */
    uint32_t set[PK_ROWS_MAX_SET];
    struct pk_bytes keys, put; /* put: the names as they are written */
    uint32_t *order, *rank;    /* of names: canonical order; place of each in the batch */
    uint8_t *is_used;          /* by name: in the batch in hand */
    uint32_t n_names;          /* of the batch */
    size_t estimate, bound; /* bytes of its dictionaries: as they weigh for sealing, and at most */
    uint32_t *columns[MAX_COLUMNS];
    uint64_t *first;     /* the wide column: times may lie anywhere */
    uint64_t any_first;  /* all of them or-ed */
    struct day_set days; /* of the batch */
    uint32_t n_rows;
    struct pk_rows_batch batch;
    pk_err err;
};

/* One line each, for making, forgetting and summing up. */
static const struct {
    size_t offset;
    uint32_t max;
} own[] = {
    {offsetof(struct pk_rows_encoder, names), PK_MAX_BATCH_NAMES},
    {offsetof(struct pk_rows_encoder, rdata), PK_MAX_BATCH_RDATA},
    {offsetof(struct pk_rows_encoder, sets), PK_MAX_BATCH_ROWS},
    {offsetof(struct pk_rows_encoder, sketches), PK_MAX_BATCH_ROWS},
};
enum {
    N_OWN = sizeof own / sizeof *own
};

static struct pk_dictionary *own_at(struct pk_rows_encoder *encoder, size_t i)
{
    return (struct pk_dictionary *)(void *)((uint8_t *)encoder + own[i].offset);
}

pk_err pk_rows_encoder_new(struct pk_rows_encoder **out_encoder)
{
    struct pk_rows_encoder *encoder = calloc(1, sizeof *encoder);
    bool is_good = encoder != NULL;
    for (size_t i = 0; is_good && i < N_NUMBERED; i++) {
        struct known **known = &encoder->known[numbered[i]];
        *known = calloc(PK_ROWS_MAX_NUMBERS, sizeof **known);
        is_good = *known != NULL;
    }
    for (size_t i = 0; is_good && i < N_OWN; i++) {
        is_good = pk_dictionary_init(own_at(encoder, i), own[i].max, PK_MAX_BODY_BYTES) == PK_OK;
    }
    for (size_t i = 0; is_good && i < MAX_COLUMNS; i++) {
        encoder->columns[i] = malloc(PK_MAX_BATCH_ROWS * sizeof *encoder->columns[i]);
        is_good = encoder->columns[i] != NULL;
    }
    if (is_good) {
        encoder->first = malloc(PK_MAX_BATCH_ROWS * sizeof *encoder->first);
        encoder->order = malloc(PK_ROWS_MAX_NUMBERS * sizeof *encoder->order);
        encoder->rank = malloc(PK_ROWS_MAX_NUMBERS * sizeof *encoder->rank);
        encoder->is_used = calloc(PK_ROWS_MAX_NUMBERS, 1);
        is_good = encoder->first && encoder->order && encoder->rank && encoder->is_used;
        pk_bytes_init(&encoder->keys, 2 * (PK_ROWS_MAX_NAME_BYTES + PK_NAME_MAX + 4));
        pk_bytes_init(&encoder->put, PK_MAX_BODY_BYTES);
        for (size_t i = 0; i < BODY_N_DICTIONARIES; i++) {
            pk_bytes_init(&encoder->dictionaries[i].bytes, PK_MAX_BODY_BYTES);
        }
    }
    if (!is_good) {
        pk_rows_encoder_free(encoder);
        return PK_ERR_NOMEM;
    }
    *out_encoder = encoder;
    return PK_OK;
}

void pk_rows_encoder_free(struct pk_rows_encoder *encoder)
{
    if (!encoder) {
        return;
    }
    for (size_t i = 0; i < N_OWN; i++) {
        pk_dictionary_done(own_at(encoder, i));
    }
    for (size_t i = 0; i < MAX_COLUMNS; i++) {
        free(encoder->columns[i]);
    }
    for (size_t i = 0; i < BODY_N_DICTIONARIES; i++) {
        pk_bytes_done(&encoder->dictionaries[i].bytes);
        free(encoder->known[i]);
    }
    free(encoder->first);
    free(encoder->order);
    free(encoder->rank);
    free(encoder->is_used);
    pk_bytes_done(&encoder->keys);
    pk_bytes_done(&encoder->put);
    free(encoder);
}

size_t pk_rows_encoder_bound_bytes(void)
{
    size_t sum = 0;
    for (size_t i = 0; i < N_OWN; i++) {
        sum += pk_dictionary_bound_bytes(own[i].max, PK_MAX_BODY_BYTES);
    }
    return sum + sizeof(struct pk_rows_encoder) +
           PK_ROWS_MAX_NUMBERS *
               (N_NUMBERED * sizeof(struct known) + 2 * sizeof(uint32_t) + 1 + NAME_ORDER_BYTES) +
           PK_MAX_BATCH_ROWS * (MAX_COLUMNS * sizeof(uint32_t) + sizeof(uint64_t)) +
           2 * (PK_ROWS_MAX_NAME_BYTES + PK_NAME_MAX + 4) +
           (1 + BODY_N_DICTIONARIES) * pk_bytes_bound_bytes(PK_MAX_BODY_BYTES);
}

/* --- values: their numbers in the batch --- */

static inline void use_name(struct pk_rows_encoder *encoder, uint32_t name)
{
    if (!encoder->is_used[name]) {
        size_t len = pk_dictionary_at(encoder->rows.names, name).len;
        encoder->is_used[name] = 1;
        encoder->n_names++;
        encoder->estimate += len;
        encoder->bound += len + 4;
    }
}

static void weigh(struct pk_rows_encoder *encoder, size_t estimate, size_t bound)
{
    encoder->estimate += estimate;
    encoder->bound += bound;
}

/* True when it has a place in the batch; else it gets the next one, and its bytes are to be added. */
static inline bool is_known(
    struct pk_rows_encoder *encoder, unsigned which, uint32_t number, uint32_t *out_index)
{
    struct known *known = &encoder->known[which][number];
    if (known->stamp == encoder->stamp) {
        *out_index = known->index;
        return true;
    }
    *known = (struct known){encoder->stamp, encoder->dictionaries[which].n++};
    *out_index = known->index;
    return false;
}

/* An entry whose bytes are those on the wire. */
static inline uint32_t use_plain(struct pk_rows_encoder *encoder, unsigned which,
    const struct pk_dictionary *dictionary, uint32_t number)
{
    uint32_t index;
    if (!is_known(encoder, which, number, &index)) {
        struct pk_slice bytes = pk_dictionary_at(dictionary, number);
        pk_bytes_put(&encoder->dictionaries[which].bytes, bytes.data, bytes.len);
        weigh(encoder, which == BODY_ADDRS ? 0 : bytes.len, bytes.len);
    }
    return index;
}

/* A client's bytes, less the subnet that follows those of an outside one (pk_client_pack_with_subnet). */
static size_t client_len(struct pk_slice bytes)
{
    return bytes.data[0] != PK_CLIENT_OUTSIDE ? bytes.len : bytes.data[1] == 4 ? 6 : 18;
}

static inline uint32_t use_client(struct pk_rows_encoder *encoder, uint32_t number)
{
    uint32_t index;
    if (!is_known(encoder, BODY_CLIENTS, number, &index)) {
        struct pk_slice bytes = pk_dictionary_at(encoder->rows.clients, number);
        size_t len = client_len(bytes);
        pk_bytes_put(&encoder->dictionaries[BODY_CLIENTS].bytes, bytes.data, len);
        weigh(encoder, len, len);
    }
    return index;
}

/* 0 for a client without one. They are numbered by their clients. */
static uint32_t use_subnet(struct pk_rows_encoder *encoder, uint32_t client)
{
    struct pk_slice bytes = pk_dictionary_at(encoder->rows.clients, client);
    size_t at = client_len(bytes);
    uint32_t index;
    if (at == bytes.len) {
        return 0;
    }
    if (!is_known(encoder, BODY_SUBNETS, client, &index)) {
        size_t len = bytes.len - at;
        pk_bytes_put(&encoder->dictionaries[BODY_SUBNETS].bytes, bytes.data + at, len);
        weigh(encoder, len, len);
    }
    return index + 1;
}

/* 0 stays 0, else a number + 1 to an index + 1. */
static inline uint32_t use_or_zero(struct pk_rows_encoder *encoder, unsigned which,
    const struct pk_dictionary *dictionary, uint32_t reference)
{
    return reference ? use_plain(encoder, which, dictionary, reference - 1) + 1 : 0;
}

/* 0 stays 0. */
static inline uint32_t use_answer(struct pk_rows_encoder *encoder, uint32_t reference)
{
    uint32_t index;
    if (reference == 0) {
        return 0;
    }
    if (!is_known(encoder, BODY_ANSWERS, reference - 1, &index)) {
        const uint64_t *digest = &encoder->rows.answers[reference - 1];
        pk_bytes_put(&encoder->dictionaries[BODY_ANSWERS].bytes, digest, sizeof *digest);
        weigh(encoder, sizeof *digest, sizeof *digest);
    }
    return index + 1;
}

static uint32_t use_signature(struct pk_rows_encoder *encoder, uint32_t number)
{
    uint32_t index;
    if (is_known(encoder, BODY_SIGNATURES, number, &index)) {
        return index;
    }
    struct pk_signature_row s = encoder->rows.signatures[number];
    const uint32_t fields[] = {use_or_zero(encoder, BODY_ADDRS, encoder->rows.addrs, s.server),
        s.server_port, s.transport, s.vantage, s.opcode, s.answer, s.qtype, s.qclass, s.rcode,
        s.flags, s.edns_udp_size};
    uint8_t raw[5 * sizeof fields / sizeof *fields], *p = raw;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        p = column_put_varint(p, fields[i]);
    }
    pk_bytes_put(&encoder->dictionaries[BODY_SIGNATURES].bytes, raw, (size_t)(p - raw));
    weigh(encoder, (size_t)(p - raw), (size_t)(p - raw));
    return index;
}

/* Into a dictionary of the batch itself, which has room: a batch's bound is below its limits. Only memory may lack, which is told at the end. */
static uint32_t intern(struct pk_rows_encoder *encoder, struct pk_dictionary *dictionary,
    const void *data, size_t len, size_t estimate, size_t bound)
{
    uint32_t n = dictionary->n, index = 0;
    pk_err err = pk_dictionary_intern(dictionary, data, len, &index);
    encoder->err = err == PK_OK ? encoder->err : err;
    if (dictionary->n > n) {
        weigh(encoder, estimate, bound);
    }
    return index;
}

static uint32_t intern_name(struct pk_rows_encoder *encoder, const uint8_t *wire, size_t len)
{
    return intern(encoder, &encoder->names, wire, len, len, len + 4);
}

static uint32_t intern_set(struct pk_rows_encoder *encoder, const uint8_t *p, uint32_t n_rdata)
{
    for (uint32_t i = 0; i < n_rdata; i++) {
        uint32_t len = (uint32_t)p[0] << 8 | p[1];
        encoder->set[i] = intern(encoder, &encoder->rdata, p + 2, len, len + 2, len + 3);
        p += 2 + len;
    }
    size_t bytes = n_rdata * sizeof *encoder->set;
    return intern(encoder, &encoder->sets, encoder->set, bytes, bytes, 2 + bytes);
}

/* 0 for an empty one, else index + 1. */
static uint32_t use_sketch(struct pk_rows_encoder *encoder, const struct pk_sketch *sketch)
{
    uint8_t packed[PK_SKETCH_PACKED_SIZE];
    size_t len = pk_sketch_pack(sketch, packed);
    return len ? intern(encoder, &encoder->sketches, packed, len, len, len) + 1 : 0;
}

/* --- rows: their fields to the columns --- */

static inline void take_times(
    struct pk_rows_encoder *encoder, uint32_t at, int64_t first_us, int64_t last_us)
{
    uint64_t offset = (uint64_t)(first_us - encoder->info.window_start_us);
    encoder->first[at] = offset;
    encoder->any_first |= offset;
    (void)day_set_add(&encoder->days, first_us); /* has room, see is_full */
    encoder->batch.first_us =
        first_us < encoder->batch.first_us ? first_us : encoder->batch.first_us;
    encoder->batch.last_us = last_us > encoder->batch.last_us ? last_us : encoder->batch.last_us;
}

static inline uint32_t span32(int64_t first_us, int64_t last_us)
{
    return last_us - first_us > UINT32_MAX ? UINT32_MAX : (uint32_t)(last_us - first_us);
}

static void take_activity(struct pk_rows_encoder *encoder, uint32_t at, uint32_t number)
{
    const struct pk_activity_row *row = (const struct pk_activity_row *)encoder->rows.rows + number;
    uint32_t **columns = encoder->columns;
    use_name(encoder, row->name);
    columns[ACT_NAME][at] = row->name;
    columns[ACT_CLIENT][at] = use_client(encoder, row->client);
    if (encoder->rows.has_subnets) {
        columns[ACT_SUBNET][at] = use_subnet(encoder, row->client);
    }
    columns[ACT_SIGNATURE][at] = use_signature(encoder, row->signature);
    columns[ACT_ANSWER][at] = use_answer(encoder, row->answer);
    columns[ACT_SPAN][at] = row->span_us;
    columns[ACT_COUNT][at] = row->count;
    columns[ACT_LATENCY_MIN][at] = row->latency_min_us;
    columns[ACT_LATENCY_MAX][at] = row->latency_max_us - row->latency_min_us;
    columns[ACT_RESPONSE_BYTES][at] = row->response_bytes_max;
    columns[ACT_MIN_TTL][at] = row->min_ttl_s;
    columns[ACT_RETRANSMISSIONS][at] = row->retransmissions;
    columns[ACT_TRANSFER_RECORDS][at] = row->transfer_records;
    columns[ACT_TRANSFER_SOAS][at] = row->transfer_soas;
    columns[ACT_CASE_MIXED][at] = row->case_mixed;
    take_times(encoder, at, row->first_us, row->first_us + row->span_us);
    encoder->batch.transactions += row->count;
}

static void take_rrset(struct pk_rows_encoder *encoder, uint32_t at, uint32_t number)
{
    const struct pk_rrset_row *row = (const struct pk_rrset_row *)encoder->rows.rows + number;
    const uint8_t *p = pk_dictionary_at(encoder->rows.contents, number).data;
    uint32_t **columns = encoder->columns;
    struct pk_rrset_content content;
    memcpy(&content, p, sizeof content);
    p += sizeof content;
    columns[RR_OWNER][at] = intern_name(encoder, p, content.owner_len);
    p += content.owner_len;
    columns[RR_BAILIWICK][at] = intern_name(encoder, p, content.bailiwick_len);
    p += content.bailiwick_len;
    columns[RR_SET][at] = intern_set(encoder, p, content.n_rdata);
    columns[RR_TYPE][at] = content.type;
    columns[RR_CLASS][at] = content.class;
    columns[RR_TRUST][at] = content.trust;
    columns[RR_COUNT][at] = row->count;
    columns[RR_SPAN][at] = span32(row->first_us, row->last_us);
    columns[RR_TTL_MIN][at] = row->ttl_min_s;
    columns[RR_TTL_MAX][at] = row->ttl_max_s - row->ttl_min_s;
    columns[RR_SERVER][at] = use_or_zero(encoder, BODY_ADDRS, encoder->rows.addrs, row->server);
    columns[RR_FLAGS][at] = row->flags;
    take_times(encoder, at, row->first_us, row->last_us);
    encoder->batch.transactions += row->count;
}

static void take_negative(struct pk_rows_encoder *encoder, uint32_t at, uint32_t number)
{
    const struct pk_negative_row *row = (const struct pk_negative_row *)encoder->rows.rows + number;
    uint32_t **columns = encoder->columns;
    use_name(encoder, row->name);
    columns[NEG_NAME][at] = row->name;
    columns[NEG_TYPE][at] = row->type;
    columns[NEG_CLASS][at] = row->class;
    columns[NEG_RCODE][at] = row->rcode;
    columns[NEG_COUNT][at] = row->count;
    columns[NEG_SPAN][at] = span32(row->first_us, row->last_us);
    take_times(encoder, at, row->first_us, row->last_us);
    encoder->batch.transactions += row->count;
}

static void take_count(struct pk_rows_encoder *encoder, uint32_t at, uint32_t number)
{
    const struct pk_count_row *row = (const struct pk_count_row *)encoder->rows.rows + number;
    uint32_t **columns = encoder->columns;
    use_name(encoder, row->zone);
    columns[CL_ZONE][at] = row->zone;
    columns[CL_CLIENT][at] = use_client(encoder, row->client);
    columns[CL_REASON][at] = row->reason;
    columns[CL_COUNT][at] = row->count;
    columns[CL_NEGATIVE][at] = row->negative;
    columns[CL_UNANSWERED][at] = row->unanswered;
    columns[CL_PTR][at] = row->ptr;
    columns[CL_SPAN][at] = span32(row->first_us, row->last_us);
    columns[CL_SKETCH][at] = use_sketch(encoder, &row->names);
    columns[CL_FORMER][at] = row->former ? use_client(encoder, row->former - 1) + 1 : 0;
    take_times(encoder, at, row->first_us, row->first_us + span32(row->first_us, row->last_us));
}

/* --- batches --- */

pk_err pk_rows_encoder_begin(
    struct pk_rows_encoder *encoder, const struct pk_batch_info *info, const struct pk_rows *rows)
{
    encoder->info = *info;
    encoder->info.kind = rows->kind;
    encoder->flags = info->flags;
    encoder->rows = *rows;
    encoder->next = 0;
    if (rows->n == 0 || rows->kind == PK_BATCH_RRSET) { /* these have names of their own */
        return PK_OK;
    }
    return name_order(rows->names, &encoder->keys, encoder->order, encoder->rank);
}

/* What an RRset can add to the batch at most: its content tells. */
static size_t rrset_bytes(
    const struct pk_rows_encoder *encoder, uint32_t number, uint32_t *out_n_rdata)
{
    struct pk_slice bytes = pk_dictionary_at(encoder->rows.contents, number);
    struct pk_rrset_content content;
    memcpy(&content, bytes.data, sizeof content);
    *out_n_rdata = content.n_rdata;
    return ADDR_BYTES + 12 + bytes.len + content.n_rdata * (size_t)RDATA_EXTRA_BYTES;
}

/* Whether a row that adds so many bytes at most still fits, whatever its values are. */
static inline bool fits(const struct pk_rows_encoder *encoder, size_t more)
{
    size_t row_bytes = ROW_BYTES + (encoder->rows.has_subnets ? SUBNET_BYTES : 0);
    return FRAME_BYTES + (encoder->n_rows + 1) * row_bytes + encoder->bound + more <=
           PK_MAX_BODY_BYTES;
}

/* Where a batch is at its best, by an estimate; or at the last day that it may have, which takes a capture whose time jumps. RRsets may be of any. */
static inline bool is_full(const struct pk_rows_encoder *encoder)
{
    return encoder->n_rows == PK_MAX_BATCH_ROWS ||
           (encoder->days.n == PK_MAX_BATCH_DAYS && encoder->rows.kind != PK_BATCH_RRSET) ||
           encoder->n_rows * (size_t)ROW_ESTIMATE + encoder->estimate >= SEAL_BYTES;
}

static inline __attribute__((always_inline)) void take_rows(
    struct pk_rows_encoder *encoder, void (*take)(struct pk_rows_encoder *, uint32_t, uint32_t))
{
    while (encoder->next < encoder->rows.n && !is_full(encoder) && fits(encoder, VALUES_BYTES)) {
        take(encoder, encoder->n_rows++, encoder->next++);
    }
}

static void take_counts(struct pk_rows_encoder *encoder)
{
    while (encoder->next < encoder->rows.n && !is_full(encoder) && fits(encoder, VALUES_BYTES) &&
           encoder->dictionaries[BODY_CLIENTS].n + 2 <= PK_MAX_BATCH_ADDRS) {
        take_count(encoder, encoder->n_rows++, encoder->next++);
    }
}

static void take_rrsets(struct pk_rows_encoder *encoder)
{
    while (encoder->next < encoder->rows.n && !is_full(encoder)) {
        uint32_t n_rdata;
        bool fits_in = fits(encoder, rrset_bytes(encoder, encoder->next, &n_rdata)) &&
                       encoder->names.n + 2 <= PK_MAX_BATCH_NAMES &&
                       encoder->rdata.n + n_rdata <= PK_MAX_BATCH_RDATA;
        if (fits_in) {
            take_rrset(encoder, encoder->n_rows++, encoder->next++);
        } else if (encoder->n_rows > 0) {
            return;
        } else { /* nor into an empty one */
            encoder->next++;
            encoder->batch.n_shed++;
        }
    }
}

/* Numbers the names of the batch and writes them, in their order. */
static void put_names(struct pk_rows_encoder *encoder)
{
    struct pk_slice before = {0};
    uint32_t rank = 0;
    pk_bytes_clear(&encoder->put);
    for (uint32_t i = 0; rank < encoder->n_names; i++) {
        uint32_t name = encoder->order[i];
        if (encoder->is_used[name]) {
            struct pk_slice bytes = pk_dictionary_at(encoder->rows.names, name);
            encoder->is_used[name] = 0;
            encoder->rank[name] = rank++;
            body_put_name(&encoder->put, bytes, before);
            before = bytes;
        }
    }
}

static pk_err put_own_names(struct pk_rows_encoder *encoder)
{
    struct pk_slice before = {0};
    pk_err err = name_order(&encoder->names, &encoder->keys, encoder->order, encoder->rank);
    pk_bytes_clear(&encoder->put);
    encoder->n_names = encoder->names.n;
    for (uint32_t i = 0; err == PK_OK && i < encoder->n_names; i++) {
        struct pk_slice bytes = pk_dictionary_at(&encoder->names, encoder->order[i]);
        body_put_name(&encoder->put, bytes, before);
        before = bytes;
    }
    return err;
}

/* RDATA and sets as they are written. */
static void put_sets(struct pk_rows_encoder *encoder)
{
    struct dictionary *rdata = &encoder->dictionaries[BODY_RDATA];
    struct dictionary *sets = &encoder->dictionaries[BODY_SETS];
    rdata->n = encoder->rdata.n;
    for (uint32_t i = 0; i < rdata->n; i++) {
        struct pk_slice bytes = pk_dictionary_at(&encoder->rdata, i);
        uint8_t *room = pk_bytes_extend(&rdata->bytes, 3 + bytes.len);
        if (room) {
            uint8_t *p = column_put_varint(room, bytes.len);
            memcpy(p, bytes.data, bytes.len);
            rdata->bytes.len -= (size_t)(room + 3 - p);
        }
    }
    sets->n = encoder->sets.n;
    for (uint32_t i = 0; i < sets->n; i++) {
        struct pk_slice set = pk_dictionary_at(&encoder->sets, i);
        uint32_t n = set.len / (uint32_t)sizeof(uint32_t);
        uint8_t *room = pk_bytes_extend(&sets->bytes, 3 + 3 * (size_t)n);
        uint8_t *p = room ? column_put_varint(room, n) : NULL;
        for (uint32_t k = 0; room && k < n; k++) {
            uint32_t index;
            memcpy(&index, set.data + k * sizeof index, sizeof index);
            p = column_put_varint(p, index);
        }
        sets->bytes.len -= room ? (size_t)(room + 3 + 3 * (size_t)n - p) : 0;
    }
}

static pk_err put_body(
    struct pk_rows_encoder *encoder, const struct schema *schema, struct pk_bytes *out)
{
    struct body body = {.info = &encoder->info,
        .schema = schema,
        .n_rows = encoder->n_rows,
        .names = {encoder->n_names, encoder->put.data, encoder->put.len}};
    pk_err err = encoder->err == PK_OK ? encoder->put.err : encoder->err;
    for (unsigned i = 0; i < BODY_N_DICTIONARIES; i++) {
        const struct dictionary *from = &encoder->dictionaries[i];
        body.dictionaries[i] = (struct body_dictionary){from->n, from->bytes.data, from->bytes.len};
        err = err == PK_OK ? from->bytes.err : err;
    }
    body.dictionaries[BODY_SKETCHES] = (struct body_dictionary){
        encoder->sketches.n, encoder->sketches.blob.data, encoder->sketches.blob.len};
    for (unsigned i = 0; i < schema->n_columns; i++) {
        uint32_t *column = encoder->columns[i];
        bool is_left_out =
            schema->columns[i].reference == REF_SUBNET_OR_ZERO && !encoder->rows.has_subnets;
        body.columns[i].narrow = is_left_out ? NULL : column;
        for (uint32_t row = 0; schema->columns[i].reference == REF_NAME && row < body.n_rows;
             row++) {
            column[row] = encoder->rank[column[row]];
        }
    }
    uint32_t *first = encoder->columns[schema->first_column];
    for (uint32_t row = 0; encoder->any_first <= UINT32_MAX && row < body.n_rows; row++) {
        first[row] = (uint32_t)encoder->first[row];
    }
    if (encoder->any_first > UINT32_MAX) {
        body.columns[schema->first_column] = (struct body_column){.wide = encoder->first};
    }
    if (err == PK_OK) {
        body_write(&body, out);
    }
    return err == PK_OK ? out->err : err;
}

static void begin_batch(struct pk_rows_encoder *encoder)
{
    encoder->stamp++; /* what was known is forgotten */
    encoder->n_rows = 0;
    encoder->n_names = 0;
    encoder->estimate = 0;
    encoder->bound = 0;
    encoder->any_first = 0;
    encoder->days.n = 0;
    encoder->err = PK_OK;
    encoder->batch = (struct pk_rows_batch){.first_us = INT64_MAX, .last_us = INT64_MIN};
    for (unsigned i = 0; i < BODY_N_DICTIONARIES; i++) {
        encoder->dictionaries[i].n = 0;
        pk_bytes_clear(&encoder->dictionaries[i].bytes);
    }
    for (size_t i = 0; i < N_OWN; i++) {
        if (own_at(encoder, i)->n > 0) {
            pk_dictionary_clear(own_at(encoder, i));
        }
    }
}

pk_err pk_rows_encoder_next(
    struct pk_rows_encoder *encoder, struct pk_bytes *out, struct pk_rows_batch *out_batch)
{
    begin_batch(encoder);
    switch ((unsigned)encoder->info.kind) {
    case PK_BATCH_ACTIVITY:
        take_rows(encoder, take_activity);
        break;
    case PK_BATCH_NEGATIVE:
        take_rows(encoder, take_negative);
        break;
    case PK_BATCH_RRSET:
        take_rrsets(encoder);
        break;
    default:
        take_counts(encoder);
    }
    encoder->batch.n_rows = encoder->n_rows;
    *out_batch = encoder->batch;
    if (encoder->n_rows == 0) {
        return PK_OK;
    }
    encoder->info.flags = encoder->flags | (encoder->next < encoder->rows.n ? PK_BATCH_PARTIAL : 0);
    pk_err err = PK_OK;
    if (encoder->info.kind == PK_BATCH_RRSET) {
        err = put_own_names(encoder);
        put_sets(encoder);
    } else {
        put_names(encoder);
    }
    return err != PK_OK ? err : put_body(encoder, batch_schema(encoder->info.kind), out);
}

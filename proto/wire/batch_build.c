/* Collecting rows. Every value is copied at once, so callers may reuse theirs. */
#include <stdlib.h>
#include <string.h>

#include "picket/batch_rows.h"

#include "batch_builder.h"
#include "columns.h"

enum {
    MAX_SET = 4096, /* records in one RRset */
    REFERENCE_BYTES =
        3, /* to an entry of a dictionary, which may be renumbered: none has more than 2^21 */
};

/* One line a dictionary, with what an entry takes beside its bytes on the wire: lengths (a name's twice), less what is narrower there than here (a set's
 * references are four bytes here). */
static const struct {
    size_t offset;
    uint32_t max, extra_bytes;
} dictionaries[] = {
    {offsetof(struct pk_batch_builder, names), PK_MAX_BATCH_NAMES, 4},
    {offsetof(struct pk_batch_builder, addrs), PK_MAX_BATCH_ADDRS, 0},
    {offsetof(struct pk_batch_builder, clients), PK_MAX_BATCH_ADDRS, 0},
    {offsetof(struct pk_batch_builder, signatures), PK_MAX_BATCH_SIGNATURES, 0},
    {offsetof(struct pk_batch_builder, rdata), PK_MAX_BATCH_RDATA, 5},
    {offsetof(struct pk_batch_builder, sets), PK_MAX_BATCH_ROWS, 2},
    {offsetof(struct pk_batch_builder, answers), PK_MAX_BATCH_ROWS, 0},
    {offsetof(struct pk_batch_builder, sketches), PK_MAX_BATCH_ROWS, 0},
    {offsetof(struct pk_batch_builder, subnets), PK_MAX_BATCH_ADDRS, 0},
};
enum {
    N_DICTIONARIES = sizeof dictionaries / sizeof *dictionaries
};

static struct pk_dictionary *dictionary(struct pk_batch_builder *builder, size_t i)
{
    return (struct pk_dictionary *)(void *)((uint8_t *)builder + dictionaries[i].offset);
}

pk_err pk_batch_builder_new(size_t max_rows, struct pk_batch_builder **out_builder)
{
    struct pk_batch_builder *builder = calloc(1, sizeof *builder);
    if (!builder) {
        return PK_ERR_NOMEM;
    }
    builder->max_rows = max_rows;
    pk_err err = PK_OK;
    for (size_t i = 0; i < MAX_COLUMNS; i++) {
        builder->columns[i] = malloc(max_rows * sizeof(uint64_t));
        err = builder->columns[i] ? err : PK_ERR_NOMEM;
    }
    builder->scratch = malloc(MAX_SET * sizeof *builder->scratch);
    err = builder->scratch ? err : PK_ERR_NOMEM;
    for (size_t i = 0; i < N_DICTIONARIES && err == PK_OK; i++) {
        err = pk_dictionary_init(dictionary(builder, i), dictionaries[i].max, PK_MAX_BODY_BYTES);
    }
    if (err != PK_OK) {
        pk_batch_builder_free(builder);
        return err;
    }
    *out_builder = builder;
    return PK_OK;
}

void pk_batch_builder_free(struct pk_batch_builder *builder)
{
    if (!builder) {
        return;
    }
    for (size_t i = 0; i < MAX_COLUMNS; i++) {
        free(builder->columns[i]);
    }
    free(builder->scratch);
    for (size_t i = 0; i < N_DICTIONARIES; i++) {
        pk_dictionary_done(dictionary(builder, i));
    }
    free(builder);
}

void pk_batch_builder_begin(struct pk_batch_builder *builder, const struct pk_batch_info *info)
{
    builder->info = *info;
    builder->schema = batch_schema(info->kind);
    builder->n_rows = 0;
    builder->first_us = INT64_MAX;
    builder->last_us = INT64_MIN;
    builder->rows_bytes = 0;
    for (size_t i = 0; i < N_DICTIONARIES; i++) {
        if (dictionary(builder, i)->n > 0) {
            pk_dictionary_clear(dictionary(builder, i));
        }
    }
}

size_t pk_batch_builder_rows(const struct pk_batch_builder *builder)
{
    return builder->n_rows;
}

uint64_t pk_batch_builder_transactions(const struct pk_batch_builder *builder)
{
    uint64_t sum = 0;
    int column = builder->info.kind == PK_BATCH_ACTIVITY   ? ACT_COUNT
                 : builder->info.kind == PK_BATCH_RRSET    ? RR_COUNT
                 : builder->info.kind == PK_BATCH_NEGATIVE ? NEG_COUNT
                                                           : -1;
    for (size_t i = 0; column >= 0 && i < builder->n_rows; i++) {
        sum += builder->columns[column][i];
    }
    return sum;
}

/* Where a batch is at its best, by an estimate. That its body stays below PK_MAX_BODY_BYTES is seen to by take_row. */
static bool is_full(const struct pk_batch_builder *builder)
{
    size_t estimate = builder->n_rows * ROW_ESTIMATE + builder->names.blob.len +
                      builder->rdata.blob.len + 2 * builder->rdata.n + builder->clients.blob.len +
                      builder->signatures.blob.len + builder->answers.blob.len +
                      builder->sets.blob.len + builder->sketches.blob.len +
                      builder->subnets.blob.len;
    return builder->n_rows == builder->max_rows || estimate >= SEAL_BYTES;
}

static void note_times(struct pk_batch_builder *builder, int64_t first_us, int64_t last_us)
{
    builder->first_us = first_us < builder->first_us ? first_us : builder->first_us;
    builder->last_us = last_us > builder->last_us ? last_us : builder->last_us;
}

/* --- one row: its values go into the dictionaries, then it is taken or all of them are taken back --- */

struct mark {
    uint32_t n[N_DICTIONARIES];
};

static struct mark mark(struct pk_batch_builder *builder)
{
    struct mark mark;
    for (size_t i = 0; i < N_DICTIONARIES; i++) {
        mark.n[i] = dictionary(builder, i)->n;
    }
    return mark;
}

static void take_back(struct pk_batch_builder *builder, const struct mark *mark)
{
    for (size_t i = 0; i < N_DICTIONARIES; i++) {
        pk_dictionary_truncate(dictionary(builder, i), mark->n[i]);
    }
}

/* What the row takes when each column is written value by value, which a column's encoding is never longer than. */
static size_t row_bytes(const struct schema *schema, const uint64_t *values)
{
    size_t sum = 0;
    for (unsigned i = 0; i < schema->n_columns; i++) {
        sum += schema->columns[i].reference == REF_NAME ? REFERENCE_BYTES
                                                        : column_varint_len(values[i]);
    }
    return sum;
}

static size_t dictionary_bytes(struct pk_batch_builder *builder)
{
    size_t sum = 0;
    for (size_t i = 0; i < N_DICTIONARIES; i++) {
        const struct pk_dictionary *one = dictionary(builder, i);
        sum += one->blob.len + (size_t)one->n * dictionaries[i].extra_bytes;
    }
    return sum;
}

/* The end of adding a row: err is what filling the dictionaries came to. Whatever the rows are, the body fits. */
static pk_err take_row(
    struct pk_batch_builder *builder, pk_err err, const uint64_t *values, const struct mark *mark)
{
    size_t rows_bytes = builder->rows_bytes;
    if (err == PK_OK) {
        rows_bytes += row_bytes(builder->schema, values);
        bool fits = FRAME_BYTES + rows_bytes + dictionary_bytes(builder) <= PK_MAX_BODY_BYTES;
        err = fits ? PK_OK : PK_ERR_LIMIT;
    }
    if (err != PK_OK) {
        take_back(builder, mark);
        return err;
    }
    for (unsigned i = 0; i < builder->schema->n_columns; i++) {
        builder->columns[i][builder->n_rows] = values[i];
    }
    builder->rows_bytes = rows_bytes;
    builder->n_rows++;
    return PK_OK;
}

/* 0 for no address, else index + 1. */
static pk_err intern_addr(
    struct pk_batch_builder *builder, const struct pk_addr *addr, uint32_t *out_reference)
{
    *out_reference = 0;
    if (addr->family == 0) {
        return PK_OK;
    }
    pk_err err = pk_dictionary_intern(&builder->addrs, addr, 1 + pk_addr_len(addr), out_reference);
    *out_reference += err == PK_OK;
    return err;
}

static size_t pack_prefix(const struct pk_prefix *prefix, uint8_t *out)
{
    size_t n = (prefix->len + 7u) / 8u;
    out[0] = prefix->addr.family;
    out[1] = prefix->len;
    memcpy(out + 2, prefix->addr.bytes, n);
    return 2 + n;
}

size_t pk_client_pack(const struct pk_client *client, uint8_t out[PK_CLIENT_PACKED_SIZE])
{
    size_t len = 0;
    out[len++] = (uint8_t)client->kind;
    if (client->kind == PK_CLIENT_PSEUDONYM) {
        memcpy(out + len, client->pseudonym, sizeof client->pseudonym);
        len += sizeof client->pseudonym;
        len += pack_prefix(&client->prefix, out + len);
    } else if (client->kind != PK_CLIENT_NONE) {
        size_t n = 1 + pk_addr_len(&client->addr);
        memcpy(out + len, &client->addr, n);
        len += n;
    }
    return len;
}

static bool has_subnet(const struct pk_client *client)
{
    return client->kind == PK_CLIENT_OUTSIDE && client->prefix.addr.family != 0;
}

size_t pk_client_pack_with_subnet(
    const struct pk_client *client, uint8_t out[PK_CLIENT_PACKED_SIZE])
{
    size_t len = pk_client_pack(client, out);
    return has_subnet(client) ? len + pack_prefix(&client->prefix, out + len) : len;
}

/* 0: none. */
static pk_err intern_subnet(
    struct pk_batch_builder *builder, const struct pk_client *client, uint32_t *out_reference)
{
    uint8_t raw[PK_CLIENT_PACKED_SIZE];
    *out_reference = 0;
    if (!has_subnet(client)) {
        return PK_OK;
    }
    pk_err err = pk_dictionary_intern(
        &builder->subnets, raw, pack_prefix(&client->prefix, raw), out_reference);
    *out_reference += err == PK_OK;
    return err;
}

static pk_err intern_signature(
    struct pk_batch_builder *builder, const struct pk_signature *signature, uint32_t *out_index)
{
    uint32_t server;
    pk_err err = intern_addr(builder, &signature->server, &server);
    if (err != PK_OK) {
        return err;
    }
    const uint32_t fields[] = {server, signature->server_port, signature->transport,
        signature->vantage, signature->opcode, signature->answer, signature->qtype,
        signature->qclass, signature->rcode, signature->flags, signature->edns_udp_size};
    uint8_t raw[5 * sizeof fields / sizeof *fields];
    size_t len = 0;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        uint32_t v = fields[i];
        for (; v >= 0x80; v >>= 7) {
            raw[len++] = (uint8_t)(v | 0x80);
        }
        raw[len++] = (uint8_t)v;
    }
    return pk_dictionary_intern(&builder->signatures, raw, len, out_index);
}

static pk_err intern_name(
    struct pk_batch_builder *builder, struct pk_slice name, uint32_t *out_index)
{
    return pk_dictionary_intern(&builder->names, name.data, name.len, out_index);
}

static pk_err intern_client(
    struct pk_batch_builder *builder, const struct pk_client *client, uint32_t *out_index)
{
    uint8_t raw[PK_CLIENT_PACKED_SIZE];
    return pk_dictionary_intern(&builder->clients, raw, pk_client_pack(client, raw), out_index);
}

pk_err pk_batch_add_activity(struct pk_batch_builder *builder, const struct pk_activity *row)
{
    uint32_t client = 0, name = 0, signature = 0, answer = 0, subnet = 0;
    if (is_full(builder)) {
        return PK_ERR_LIMIT;
    }
    struct mark before = mark(builder);
    pk_err err = intern_client(builder, &row->client, &client);
    if (err == PK_OK) {
        err = intern_subnet(builder, &row->client, &subnet);
    }
    if (err == PK_OK) {
        err = intern_name(builder, row->name, &name);
    }
    if (err == PK_OK) {
        err = intern_signature(builder, &row->signature, &signature);
    }
    if (err == PK_OK && row->answer_digest != 0) {
        err = pk_dictionary_intern(
            &builder->answers, &row->answer_digest, sizeof row->answer_digest, &answer);
        answer++;
    }
    const uint64_t values[] = {
        [ACT_CLIENT] = client,
        [ACT_NAME] = name,
        [ACT_SIGNATURE] = signature,
        [ACT_FIRST] = (uint64_t)(row->first_us - builder->info.window_start_us),
        [ACT_SPAN] = row->span_us,
        [ACT_COUNT] = row->count,
        [ACT_LATENCY_MIN] = row->latency_min_us,
        [ACT_LATENCY_MAX] = row->latency_max_us - row->latency_min_us,
        [ACT_RESPONSE_BYTES] = row->response_bytes_max,
        [ACT_ANSWER] = answer,
        [ACT_MIN_TTL] = row->min_ttl_s,
        [ACT_RETRANSMISSIONS] = row->retransmissions,
        [ACT_TRANSFER_RECORDS] = row->transfer_records,
        [ACT_TRANSFER_SOAS] = row->transfer_soas,
        [ACT_CASE_MIXED] = row->case_mixed,
        [ACT_SUBNET] = subnet,
    };
    err = take_row(builder, err, values, &before);
    if (err == PK_OK) {
        note_times(builder, row->first_us, row->first_us + row->span_us);
    }
    return err;
}

static pk_err intern_set(
    struct pk_batch_builder *builder, const struct pk_rrset *row, uint32_t *out_set)
{
    if (row->n_rdata > MAX_SET) {
        return PK_ERR_UNSUPPORTED;
    }
    for (uint32_t i = 0; i < row->n_rdata; i++) {
        pk_err err = pk_dictionary_intern(
            &builder->rdata, row->rdata[i].data, row->rdata[i].len, &builder->scratch[i]);
        if (err != PK_OK) {
            return err;
        }
    }
    return pk_dictionary_intern(
        &builder->sets, builder->scratch, row->n_rdata * sizeof *builder->scratch, out_set);
}

pk_err pk_batch_add_rrset(struct pk_batch_builder *builder, const struct pk_rrset *row)
{
    uint32_t owner = 0, bailiwick = 0, set = 0, server = 0;
    if (is_full(builder)) {
        return PK_ERR_LIMIT;
    }
    struct mark before = mark(builder);
    pk_err err = intern_name(builder, row->owner, &owner);
    if (err == PK_OK) {
        err = intern_name(builder, row->bailiwick, &bailiwick);
    }
    if (err == PK_OK) {
        err = intern_set(builder, row, &set);
    }
    if (err == PK_OK) {
        err = intern_addr(builder, &row->server, &server);
    }
    const uint64_t values[] = {
        [RR_OWNER] = owner,
        [RR_TYPE] = row->type,
        [RR_CLASS] = row->class,
        [RR_SET] = set,
        [RR_BAILIWICK] = bailiwick,
        [RR_TRUST] = row->trust,
        [RR_COUNT] = row->count,
        [RR_FIRST] = (uint64_t)(row->first_us - builder->info.window_start_us),
        [RR_SPAN] = (uint64_t)(row->last_us - row->first_us),
        [RR_TTL_MIN] = row->ttl_min_s,
        [RR_TTL_MAX] = row->ttl_max_s - row->ttl_min_s,
        [RR_SERVER] = server,
        [RR_FLAGS] = row->flags,
    };
    err = take_row(builder, err, values, &before);
    if (err == PK_OK) {
        note_times(builder, row->first_us, row->last_us);
    }
    return err;
}

pk_err pk_batch_add_negative(struct pk_batch_builder *builder, const struct pk_negative *row)
{
    uint32_t name = 0;
    if (is_full(builder)) {
        return PK_ERR_LIMIT;
    }
    struct mark before = mark(builder);
    pk_err err = intern_name(builder, row->name, &name);
    const uint64_t values[] = {
        [NEG_NAME] = name,
        [NEG_TYPE] = row->type,
        [NEG_CLASS] = row->class,
        [NEG_RCODE] = row->rcode,
        [NEG_COUNT] = row->count,
        [NEG_FIRST] = (uint64_t)(row->first_us - builder->info.window_start_us),
        [NEG_SPAN] = (uint64_t)(row->last_us - row->first_us),
    };
    err = take_row(builder, err, values, &before);
    if (err == PK_OK) {
        note_times(builder, row->first_us, row->last_us);
    }
    return err;
}

static uint64_t at_most(uint64_t v, uint64_t max)
{
    return v < max ? v : max;
}

pk_err pk_batch_add_loss(struct pk_batch_builder *builder, const struct pk_loss *row)
{
    if (is_full(builder)) {
        return PK_ERR_LIMIT;
    }
    struct mark before = mark(builder);
    const uint64_t most = UINT64_C(1) << PK_MAX_LOSS_BITS;
    bool has_times = row->first_us != 0 && row->last_us >= row->first_us;
    int64_t first_us = has_times ? row->first_us : builder->info.window_start_us;
    int64_t last_us = has_times ? row->last_us : first_us;
    const uint64_t values[] = {
        [LOSS_CAUSE] = row->cause,
        [LOSS_KIND] = row->kind,
        [LOSS_BATCHES] = at_most(row->batches, most),
        [LOSS_ROWS] = at_most(row->rows, most),
        [LOSS_TRANSACTIONS] = at_most(row->transactions, most),
        [LOSS_FIRST] = (uint64_t)(first_us - builder->info.window_start_us),
        [LOSS_SPAN] = at_most((uint64_t)(last_us - first_us), UINT64_C(1) << 54),
        [LOSS_EPOCH] = row->epoch,
        [LOSS_FROM] = row->from_seq,
        [LOSS_TO] = row->to_seq,
    };
    pk_err err = take_row(builder, PK_OK, values, &before);
    if (err == PK_OK) {
        note_times(builder, first_us, last_us);
    }
    return err;
}

/* 0 for an empty one, else index + 1. */
static pk_err intern_sketch(
    struct pk_batch_builder *builder, const struct pk_sketch *sketch, uint32_t *out_reference)
{
    uint8_t packed[PK_SKETCH_PACKED_SIZE];
    size_t len = pk_sketch_pack(sketch, packed);
    *out_reference = 0;
    if (len == 0) {
        return PK_OK;
    }
    pk_err err = pk_dictionary_intern(&builder->sketches, packed, len, out_reference);
    *out_reference += err == PK_OK;
    return err;
}

pk_err pk_batch_add_client_count(
    struct pk_batch_builder *builder, const struct pk_client_count *row)
{
    uint32_t client = 0, zone = 0, sketch = 0, former = 0;
    if (is_full(builder)) {
        return PK_ERR_LIMIT;
    }
    struct mark before = mark(builder);
    pk_err err = intern_client(builder, &row->client, &client);
    if (err == PK_OK) {
        err = intern_name(builder, row->zone, &zone);
    }
    if (err == PK_OK) {
        err = intern_sketch(builder, &row->names, &sketch);
    }
    if (err == PK_OK && row->former.kind != PK_CLIENT_NONE) {
        err = intern_client(builder, &row->former, &former);
        former++;
    }
    const uint64_t values[] = {
        [CL_CLIENT] = client,
        [CL_ZONE] = zone,
        [CL_REASON] = row->reason,
        [CL_COUNT] = row->count,
        [CL_NEGATIVE] = row->negative,
        [CL_UNANSWERED] = row->unanswered,
        [CL_PTR] = row->ptr,
        [CL_FIRST] = (uint64_t)(row->first_us - builder->info.window_start_us),
        [CL_SPAN] = row->span_us,
        [CL_SKETCH] = sketch,
        [CL_FORMER] = former,
    };
    err = take_row(builder, err, values, &before);
    if (err == PK_OK) {
        note_times(builder, row->first_us, row->first_us + row->span_us);
    }
    return err;
}

pk_err pk_batch_set_health(struct pk_batch_builder *builder, const struct pk_health *health)
{
    builder->health = *health;
    builder->n_interfaces = 0;
    builder->n_rows = 1;
    note_times(builder, builder->info.window_start_us, builder->info.window_start_us);
    return PK_OK;
}

void pk_batch_set_interfaces(
    struct pk_batch_builder *builder, const struct pk_health_interface *interfaces, size_t n)
{
    builder->n_interfaces = n < PK_MAX_HEALTH_INTERFACES ? n : PK_MAX_HEALTH_INTERFACES;
    memcpy(builder->interfaces, interfaces, builder->n_interfaces * sizeof *interfaces);
}

pk_err pk_batch_set_origin(struct pk_batch_builder *builder, const struct pk_origin *origin)
{
    builder->origin = *origin;
    builder->n_rows = 1;
    note_times(builder, builder->info.window_start_us, builder->info.window_start_us);
    return PK_OK;
}

size_t pk_batch_builder_bound_bytes(size_t max_rows)
{
    size_t sum = sizeof(struct pk_batch_builder) + MAX_COLUMNS * max_rows * sizeof(uint64_t) +
                 MAX_SET * sizeof(uint32_t);
    for (size_t i = 0; i < N_DICTIONARIES; i++) {
        sum += pk_dictionary_bound_bytes(dictionaries[i].max, PK_MAX_BODY_BYTES);
    }
    return sum + batch_encode_bound_bytes(max_rows);
}

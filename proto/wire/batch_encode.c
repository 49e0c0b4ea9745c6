/* Writing a batch body: a msgpack map with ascending keys, by msgpack-c's packer into our bounded buffer. */
#include <stdlib.h>
#include <string.h>

#include <msgpack.h>

#include "picket/batch.h"
#include "picket/name.h"

#include "batch_builder.h"
#include "columns.h"
#include "msgpack_bytes.h"
#include "name_order.h"

struct encoder {
    struct pk_batch_builder *builder;
    struct pk_bytes *out;
    msgpack_packer packer;
    struct pk_bytes part; /* the bin being made */
    uint32_t *order;      /* names in canonical order: builder's index of each */
    uint32_t *rank;       /* builder's index to place in that order */
    uint64_t *values;     /* a column with its references mapped */
};

static void put_uint(struct encoder *encoder, uint64_t v)
{
    msgpack_pack_uint64(&encoder->packer, v);
}

static void put_bin(struct encoder *encoder, const struct pk_bytes *bytes)
{
    msgpack_pack_bin(&encoder->packer, bytes->len);
    msgpack_pack_bin_body(&encoder->packer, bytes->data, bytes->len);
}

static void put_text(struct encoder *encoder, const char *text)
{
    msgpack_pack_str(&encoder->packer, strlen(text));
    msgpack_pack_str_body(&encoder->packer, text, strlen(text));
}

/* A dictionary is [count, bin]. */
static void put_dictionary(struct encoder *encoder, unsigned key, uint32_t n)
{
    put_uint(encoder, key);
    msgpack_pack_array(&encoder->packer, 2);
    put_uint(encoder, n);
    put_bin(encoder, &encoder->part);
}

/* Canonical order, each without the bytes it shares with the end of the one before. */
static void put_names(struct encoder *encoder)
{
    const struct pk_dictionary *names = &encoder->builder->names;
    struct pk_slice before = {0};
    pk_bytes_clear(&encoder->part);
    for (uint32_t i = 0; i < names->n; i++) {
        struct pk_slice name = pk_dictionary_at(names, encoder->order[i]);
        uint32_t shared = 0;
        while (shared < name.len && shared < before.len &&
               name.data[name.len - 1 - shared] == before.data[before.len - 1 - shared]) {
            shared++;
        }
        pk_bytes_put_varint(&encoder->part, shared);
        pk_bytes_put_varint(&encoder->part, name.len - shared);
        pk_bytes_put(&encoder->part, name.data, name.len - shared);
        before = name;
    }
    put_dictionary(encoder, KEY_NAMES, names->n);
}

/* Entries that tell their own length are laid side by side. */
static void put_plain(struct encoder *encoder, unsigned key, const struct pk_dictionary *dictionary)
{
    pk_bytes_clear(&encoder->part);
    pk_bytes_put(&encoder->part, dictionary->blob.data, dictionary->blob.len);
    put_dictionary(encoder, key, dictionary->n);
}

static void put_rdata(struct encoder *encoder)
{
    const struct pk_dictionary *rdata = &encoder->builder->rdata;
    pk_bytes_clear(&encoder->part);
    for (uint32_t i = 0; i < rdata->n; i++) {
        struct pk_slice one = pk_dictionary_at(rdata, i);
        pk_bytes_put_varint(&encoder->part, one.len);
        pk_bytes_put(&encoder->part, one.data, one.len);
    }
    put_dictionary(encoder, KEY_RDATA, rdata->n);
}

static void put_sets(struct encoder *encoder)
{
    const struct pk_dictionary *sets = &encoder->builder->sets;
    pk_bytes_clear(&encoder->part);
    for (uint32_t i = 0; i < sets->n; i++) {
        struct pk_slice set = pk_dictionary_at(sets, i);
        uint32_t n = set.len / (uint32_t)sizeof(uint32_t);
        pk_bytes_put_varint(&encoder->part, n);
        for (uint32_t k = 0; k < n; k++) {
            uint32_t index;
            memcpy(&index, set.data + k * sizeof index, sizeof index);
            pk_bytes_put_varint(&encoder->part, index);
        }
    }
    put_dictionary(encoder, KEY_RDATA_SETS, sets->n);
}

/* --- columns --- */

/* Whether the column has a value other than zero once its references to names are mapped. */
static bool has_values(const struct encoder *encoder, unsigned i)
{
    const struct pk_batch_builder *builder = encoder->builder;
    if (builder->schema->columns[i].reference != REF_NAME) {
        return builder->any[i] != 0;
    }
    for (size_t row = 0; row < builder->n_rows; row++) {
        if (encoder->rank[builder->columns[i][row]] != 0) {
            return true;
        }
    }
    return false;
}

/* The column's values with name references in canonical order. */
static const uint64_t *column_values(struct encoder *encoder, unsigned i)
{
    const struct pk_batch_builder *builder = encoder->builder;
    const uint64_t *values = builder->columns[i];
    if (builder->schema->columns[i].reference != REF_NAME) {
        return values;
    }
    for (size_t row = 0; row < builder->n_rows; row++) {
        encoder->values[row] = encoder->rank[values[row]];
    }
    return encoder->values;
}

static void put_column(struct encoder *encoder, unsigned key, const uint64_t *values, size_t n)
{
    pk_bytes_clear(&encoder->part);
    pk_column_encode(values, n, &encoder->part);
    put_uint(encoder, key);
    put_bin(encoder, &encoder->part);
}

static bool has_more_health(const struct pk_batch_builder *builder)
{
    return !pk_column_is_zero(
        builder->health.v + PK_N_HEALTH_FIRST, PK_N_HEALTH_KEYS - PK_N_HEALTH_FIRST);
}

/* Two columns: a reader of the first minor version wants exactly PK_N_HEALTH_FIRST values in the first, and skips the second. */
static void put_health(struct encoder *encoder)
{
    const struct pk_batch_builder *builder = encoder->builder;
    put_column(encoder, KEY_HEALTH, builder->health.v, PK_N_HEALTH_FIRST);
    if (has_more_health(builder)) {
        pk_bytes_clear(&encoder->part);
        pk_column_encode(builder->health.v + PK_N_HEALTH_FIRST,
            PK_N_HEALTH_KEYS - PK_N_HEALTH_FIRST, &encoder->part);
        put_dictionary(encoder, KEY_HEALTH_MORE, PK_N_HEALTH_KEYS - PK_N_HEALTH_FIRST);
    }
}

static uint32_t count_entries(struct encoder *encoder)
{
    const struct pk_batch_builder *builder = encoder->builder;
    uint32_t n = 7; /* version, kind, start, length, flags, privacy, rows */
    const struct pk_dictionary *dictionaries[] = {&builder->names, &builder->addrs,
        &builder->clients, &builder->signatures, &builder->rdata, &builder->sets, &builder->answers,
        &builder->sketches};
    for (size_t i = 0; i < sizeof dictionaries / sizeof *dictionaries; i++) {
        n += dictionaries[i]->n > 0;
    }
    for (unsigned i = 0; builder->schema && i < builder->schema->n_columns; i++) {
        n += has_values(encoder, i);
    }
    return n + (builder->info.kind == PK_BATCH_HEALTH      ? 1 + has_more_health(builder)
                   : builder->info.kind == PK_BATCH_ORIGIN ? 3
                                                           : 0);
}

static void put_common(struct encoder *encoder)
{
    const struct pk_batch_info *info = &encoder->builder->info;
    put_uint(encoder, KEY_VERSION);
    put_uint(encoder, BODY_VERSION);
    put_uint(encoder, KEY_KIND);
    put_uint(encoder, info->kind);
    put_uint(encoder, KEY_WINDOW_START);
    msgpack_pack_int64(&encoder->packer, info->window_start_us);
    put_uint(encoder, KEY_WINDOW_MS);
    put_uint(encoder, info->window_ms);
    put_uint(encoder, KEY_FLAGS);
    put_uint(encoder, info->flags);
    put_uint(encoder, KEY_PRIVACY);
    msgpack_pack_array(&encoder->packer, 2);
    put_uint(encoder, info->privacy);
    put_uint(encoder, info->key_period);
    put_uint(encoder, KEY_ROWS);
    put_uint(encoder, encoder->builder->n_rows);
}

static void put_dictionaries(struct encoder *encoder)
{
    const struct pk_batch_builder *builder = encoder->builder;
    if (builder->names.n) {
        put_names(encoder);
    }
    if (builder->addrs.n) {
        put_plain(encoder, KEY_ADDRS, &builder->addrs);
    }
    if (builder->clients.n) {
        put_plain(encoder, KEY_CLIENTS, &builder->clients);
    }
    if (builder->signatures.n) {
        put_plain(encoder, KEY_SIGNATURES, &builder->signatures);
    }
    if (builder->rdata.n) {
        put_rdata(encoder);
    }
    if (builder->sets.n) {
        put_sets(encoder);
    }
    if (builder->answers.n) {
        put_plain(encoder, KEY_ANSWERS, &builder->answers);
    }
    if (builder->sketches.n) {
        put_plain(encoder, KEY_SKETCHES, &builder->sketches);
    }
}

static pk_err encode(struct encoder *encoder)
{
    struct pk_batch_builder *builder = encoder->builder;
    pk_err err = name_order(&builder->names, &encoder->part, encoder->order, encoder->rank);
    if (err != PK_OK) {
        return err;
    }
    msgpack_packer_init(&encoder->packer, encoder->out, pk_msgpack_write);
    msgpack_pack_map(&encoder->packer, count_entries(encoder));
    put_common(encoder);
    put_dictionaries(encoder);
    for (unsigned i = 0; builder->schema && i < builder->schema->n_columns; i++) {
        if (has_values(encoder, i)) {
            put_column(encoder, builder->schema->columns[i].key, column_values(encoder, i),
                builder->n_rows);
        }
    }
    if (builder->info.kind == PK_BATCH_HEALTH) {
        put_health(encoder);
    } else if (builder->info.kind == PK_BATCH_ORIGIN) {
        put_uint(encoder, KEY_ORIGIN_SITE);
        put_text(encoder, builder->origin.site);
        put_uint(encoder, KEY_ORIGIN_SENSOR);
        put_text(encoder, builder->origin.sensor);
        put_uint(encoder, KEY_ORIGIN_SOFTWARE);
        put_text(encoder, builder->origin.software);
    }
    return encoder->part.err != PK_OK ? encoder->part.err : encoder->out->err;
}

pk_err pk_batch_encode(struct pk_batch_builder *builder, struct pk_bytes *out,
    int64_t *out_first_us, int64_t *out_last_us)
{
    struct encoder encoder = {.builder = builder, .out = out};
    size_t n_names = builder->names.n + 1, n_rows = builder->n_rows + 1;
    pk_bytes_init(&encoder.part, 2 * PK_MAX_UNPACKED_BYTES); /* sort keys may be twice the names */
    encoder.order = malloc(n_names * sizeof *encoder.order);
    encoder.rank = malloc(n_names * sizeof *encoder.rank);
    encoder.values = malloc(n_rows * sizeof *encoder.values);
    pk_err err = builder->n_rows == 0                                 ? PK_ERR_MALFORMED
                 : !encoder.order || !encoder.rank || !encoder.values ? PK_ERR_NOMEM
                                                                      : encode(&encoder);
    if (err == PK_OK) {
        *out_first_us = builder->first_us;
        *out_last_us = builder->last_us;
    }
    pk_bytes_done(&encoder.part);
    free(encoder.order);
    free(encoder.rank);
    free(encoder.values);
    return err;
}

size_t batch_encode_bound_bytes(size_t max_rows)
{
    /* Sort keys: at most twice the names, which fit a body, in a buffer that doubles; order and rank; what is sorted. */
    return 4 * (size_t)PK_MAX_BODY_BYTES +
           PK_MAX_BATCH_NAMES * (2 * sizeof(uint32_t) + NAME_ORDER_BYTES) +
           max_rows * sizeof(uint64_t);
}

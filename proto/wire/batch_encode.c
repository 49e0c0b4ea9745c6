/* From the builder's dictionaries and columns to a body. */
#include <stdlib.h>
#include <string.h>

#include "picket/name.h"

#include "batch_builder.h"
#include "body.h"
#include "columns.h"
#include "name_order.h"

struct encoder {
    struct pk_batch_builder *builder;
    struct pk_bytes keys, names, rdata, sets;
    uint32_t *order; /* names in canonical order: builder's index of each */
    uint32_t *rank;  /* builder's index to place in that order */
};

static void put_names(struct encoder *encoder)
{
    const struct pk_dictionary *names = &encoder->builder->names;
    struct pk_slice before = {0};
    for (uint32_t i = 0; i < names->n; i++) {
        struct pk_slice name = pk_dictionary_at(names, encoder->order[i]);
        body_put_name(&encoder->names, name, before);
        before = name;
    }
}

static void put_rdata(struct encoder *encoder)
{
    const struct pk_dictionary *rdata = &encoder->builder->rdata;
    for (uint32_t i = 0; i < rdata->n; i++) {
        struct pk_slice one = pk_dictionary_at(rdata, i);
        pk_bytes_put_varint(&encoder->rdata, one.len);
        pk_bytes_put(&encoder->rdata, one.data, one.len);
    }
}

static void put_sets(struct encoder *encoder)
{
    const struct pk_dictionary *sets = &encoder->builder->sets;
    for (uint32_t i = 0; i < sets->n; i++) {
        struct pk_slice set = pk_dictionary_at(sets, i);
        uint32_t n = set.len / (uint32_t)sizeof(uint32_t);
        pk_bytes_put_varint(&encoder->sets, n);
        for (uint32_t k = 0; k < n; k++) {
            uint32_t index;
            memcpy(&index, set.data + k * sizeof index, sizeof index);
            pk_bytes_put_varint(&encoder->sets, index);
        }
    }
}

/* Entries that tell their own length lie side by side already. */
static struct body_dictionary plain(const struct pk_dictionary *dictionary)
{
    return (struct body_dictionary){dictionary->n, dictionary->blob.data, dictionary->blob.len};
}

/* References to names in canonical order, in place: a batch is encoded once. */
static void rank_names(struct encoder *encoder, uint64_t *column)
{
    for (size_t row = 0; row < encoder->builder->n_rows; row++) {
        column[row] = encoder->rank[column[row]];
    }
}

static pk_err encode(struct encoder *encoder, struct pk_bytes *out)
{
    struct pk_batch_builder *builder = encoder->builder;
    pk_err err = name_order(&builder->names, &encoder->keys, encoder->order, encoder->rank);
    if (err != PK_OK) {
        return err;
    }
    put_names(encoder);
    put_rdata(encoder);
    put_sets(encoder);
    struct body body = {
        .info = &builder->info,
        .schema = builder->schema,
        .n_rows = (uint32_t)builder->n_rows,
        .names = {builder->names.n, encoder->names.data, encoder->names.len},
        .dictionaries = {[BODY_ADDRS] = plain(&builder->addrs),
            [BODY_CLIENTS] = plain(&builder->clients),
            [BODY_SIGNATURES] = plain(&builder->signatures),
            [BODY_RDATA] = {builder->rdata.n, encoder->rdata.data, encoder->rdata.len},
            [BODY_SETS] = {builder->sets.n, encoder->sets.data, encoder->sets.len},
            [BODY_ANSWERS] = plain(&builder->answers),
            [BODY_SKETCHES] = plain(&builder->sketches),
            [BODY_SUBNETS] = plain(&builder->subnets)},
        .health = builder->info.kind == PK_BATCH_HEALTH ? &builder->health : NULL,
        .interfaces = builder->interfaces,
        .n_interfaces = builder->info.kind == PK_BATCH_HEALTH ? builder->n_interfaces : 0,
        .origin = builder->info.kind == PK_BATCH_ORIGIN ? &builder->origin : NULL,
    };
    for (unsigned i = 0; builder->schema && i < builder->schema->n_columns; i++) {
        if (builder->schema->columns[i].reference == REF_NAME) {
            rank_names(encoder, builder->columns[i]);
        }
        body.columns[i].wide = builder->columns[i];
    }
    const struct pk_bytes *made[] = {&encoder->names, &encoder->rdata, &encoder->sets};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        err = err == PK_OK ? made[i]->err : err;
    }
    if (err == PK_OK) {
        body_write(&body, out);
    }
    return err == PK_OK ? out->err : err;
}

pk_err pk_batch_encode(struct pk_batch_builder *builder, struct pk_bytes *out,
    int64_t *out_first_us, int64_t *out_last_us)
{
    struct encoder encoder = {.builder = builder};
    size_t n_names = builder->names.n + 1;
    struct pk_bytes *made[] = {&encoder.keys, &encoder.names, &encoder.rdata, &encoder.sets};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        pk_bytes_init(made[i], 2 * PK_MAX_UNPACKED_BYTES); /* sort keys may be twice the names */
    }
    encoder.order = malloc(n_names * sizeof *encoder.order);
    encoder.rank = malloc(n_names * sizeof *encoder.rank);
    pk_err err = builder->n_rows == 0              ? PK_ERR_MALFORMED
                 : !encoder.order || !encoder.rank ? PK_ERR_NOMEM
                                                   : encode(&encoder, out);
    if (err == PK_OK) {
        *out_first_us = builder->first_us;
        *out_last_us = builder->last_us;
    }
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        pk_bytes_done(made[i]);
    }
    free(encoder.order);
    free(encoder.rank);
    return err;
}

size_t batch_encode_bound_bytes(size_t max_rows)
{
    (void)max_rows;
    /* Sort keys: at most twice the names, which fit a body; what is made; each in a buffer that doubles. Order and rank; what is sorted. */
    return 10 * (size_t)PK_MAX_BODY_BYTES +
           PK_MAX_BATCH_NAMES * (2 * sizeof(uint32_t) + NAME_ORDER_BYTES);
}

/* A batch body about to be written: what the builder and the encoder of rows have in common. Private to proto/wire. */
#ifndef WIRE_BODY_H
#define WIRE_BODY_H

#include "batch_schema.h"

/* The dictionaries beside the names, in the order of their keys on the wire. */
enum {
    BODY_ADDRS,
    BODY_CLIENTS,
    BODY_SIGNATURES,
    BODY_RDATA,
    BODY_SETS,
    BODY_ANSWERS,
    BODY_SKETCHES,
    BODY_SUBNETS,
    BODY_N_DICTIONARIES
};

struct body_dictionary {
    uint32_t n;
    const uint8_t *data; /* entries side by side, as they stand on the wire */
    size_t len;
};

/* One of the two is set, or none for a column that is left out. */
struct body_column {
    const uint32_t *narrow;
    const uint64_t *wide;
};

struct body {
    const struct pk_batch_info *info;
    const struct schema *schema; /* NULL for kinds without columns */
    uint32_t n_rows;
    struct body_dictionary names; /* entries written by body_put_name */
    struct body_dictionary dictionaries[BODY_N_DICTIONARIES];
    struct body_column columns[MAX_COLUMNS];
    const struct pk_health *health;               /* of its kind; else NULL */
    const struct pk_health_interface *interfaces; /* beside health */
    size_t n_interfaces;
    const struct pk_origin *origin; /* the same */
};

/* Writes the map. Errors are sticky in out. */
void body_write(const struct body *body, struct pk_bytes *out);
/* A name after the one before it in canonical order: without the bytes they share at their ends. before.len 0: the first. */
void body_put_name(struct pk_bytes *out, struct pk_slice name, struct pk_slice before);

#endif

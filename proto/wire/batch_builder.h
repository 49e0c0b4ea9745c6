/* The builder's inside, shared by batch_build.c and batch_encode.c. Private. */
#ifndef WIRE_BATCH_BUILDER_H
#define WIRE_BATCH_BUILDER_H

#include "picket/dictionary.h"

#include "batch_schema.h"

struct pk_batch_builder {
    struct pk_batch_info info;
    const struct schema *schema; /* of info.kind; NULL for health and origin */
    size_t n_rows, max_rows;
    uint64_t *columns[MAX_COLUMNS]; /* max_rows values each */
    size_t rows_bytes; /* that the rows take at most, whatever encodings their columns get */
    int64_t first_us, last_us; /* over all rows */
    struct pk_dictionary names, addrs, clients, signatures, rdata, sets, answers, sketches, subnets;
    uint32_t *scratch; /* rdata indexes of a set being added */
    struct pk_health health;
    struct pk_health_interface interfaces[PK_MAX_HEALTH_INTERFACES];
    size_t n_interfaces;
    struct pk_origin origin;
};

/* What pk_batch_encode holds while it runs, in bytes. */
size_t batch_encode_bound_bytes(size_t max_rows);

#endif

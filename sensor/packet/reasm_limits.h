/* The memory of all reassembly together, and how it is shared: a flood of fragments cannot push streams out, nor streams fragments. */
#ifndef SENSOR_REASM_LIMITS_H
#define SENSOR_REASM_LIMITS_H

enum {
    PK_REASSEMBLY_MAX_BYTES = 24 << 20,
    PK_FRAG_MAX_BYTES = 4 << 20,
    PK_REASM_MAX_BYTES = PK_REASSEMBLY_MAX_BYTES - PK_FRAG_MAX_BYTES, /* of TCP streams */
    PK_REASM_PIECE_BYTES =
        48, /* counted for each piece held besides its data: header and allocator */
};

#endif

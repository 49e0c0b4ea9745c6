/* The parts of a batch body and their map keys: one table for builder, encoder and decoder. docs/PROTOCOL.md s4 is the normative form. Private. */
#ifndef WIRE_BATCH_SCHEMA_H
#define WIRE_BATCH_SCHEMA_H

#include "picket/batch.h"
#include "picket/limits.h"

enum {
    BODY_VERSION = 1,
    MAX_COLUMNS = 16,
    SEAL_BYTES =
        500
        << 10, /* estimated body size at which the builder says full: ZeroMQ with CURVE is at its best from 16 to 256 KiB */
    ROW_ESTIMATE = 20, /* rows of real traffic take 10 to 15 */
    FRAME_BYTES =
        1024, /* map, common fields and the heads of at most 9 dictionaries and 16 columns */
};

enum body_key {
    KEY_VERSION = 1,
    KEY_KIND = 2,
    KEY_WINDOW_START = 3,
    KEY_WINDOW_MS = 5,
    KEY_FLAGS = 8,
    KEY_PRIVACY = 10,
    KEY_ROWS = 11,
    KEY_NAMES = 16,
    KEY_ADDRS = 17,
    KEY_CLIENTS = 18,
    KEY_SIGNATURES = 19,
    KEY_RDATA = 20,
    KEY_RDATA_SETS = 21,
    KEY_ANSWERS = 22,
    KEY_SKETCHES = 23,
    KEY_SUBNETS = 24,
    KEY_COLUMN_FIRST = 32, /* columns: 32..127 */
    KEY_HEALTH = 96,
    KEY_HEALTH_MORE = 97,
    KEY_INTERFACES = 98,
    KEY_LOSS_FIRST = 100, /* columns: 100..109 */
    KEY_ORIGIN_SITE = 120,
    KEY_ORIGIN_SENSOR = 121,
    KEY_ORIGIN_SOFTWARE = 122,
};

/* What a column's values point to. */
enum reference {
    REF_NONE,
    REF_NAME,
    REF_CLIENT,
    REF_SIGNATURE,
    REF_RDATA_SET,
    REF_ANSWER_OR_ZERO,
    REF_ADDR_OR_ZERO,
    REF_CLIENT_OR_ZERO,
    REF_SKETCH_OR_ZERO,
    REF_SUBNET_OR_ZERO
};

struct column {
    uint8_t key;
    uint8_t reference; /* enum reference */
    uint64_t max;      /* of a plain value */
};

struct schema {
    uint8_t kind;
    uint8_t n_columns;
    uint8_t
        first_column; /* column of the row's first time (offset to the window start, two's complement) */
    uint8_t span_column;
    struct column columns[MAX_COLUMNS];
};

/* Column positions, in the order of the tables in batch_schema.c. */
enum {
    ACT_CLIENT,
    ACT_NAME,
    ACT_SIGNATURE,
    ACT_FIRST,
    ACT_SPAN,
    ACT_COUNT,
    ACT_LATENCY_MIN,
    ACT_LATENCY_MAX,
    ACT_RESPONSE_BYTES,
    ACT_ANSWER,
    ACT_MIN_TTL,
    ACT_RETRANSMISSIONS,
    ACT_TRANSFER_RECORDS,
    ACT_TRANSFER_SOAS,
    ACT_CASE_MIXED,
    ACT_SUBNET
};
enum {
    RR_OWNER,
    RR_TYPE,
    RR_CLASS,
    RR_SET,
    RR_BAILIWICK,
    RR_TRUST,
    RR_COUNT,
    RR_FIRST,
    RR_SPAN,
    RR_TTL_MIN,
    RR_TTL_MAX,
    RR_SERVER,
    RR_FLAGS
};
enum {
    NEG_NAME,
    NEG_TYPE,
    NEG_CLASS,
    NEG_RCODE,
    NEG_COUNT,
    NEG_FIRST,
    NEG_SPAN
};

enum {
    LOSS_CAUSE,
    LOSS_KIND,
    LOSS_BATCHES,
    LOSS_ROWS,
    LOSS_TRANSACTIONS,
    LOSS_FIRST,
    LOSS_SPAN,
    LOSS_EPOCH,
    LOSS_FROM,
    LOSS_TO
};

enum {
    CL_CLIENT,
    CL_ZONE,
    CL_REASON,
    CL_COUNT,
    CL_NEGATIVE,
    CL_UNANSWERED,
    CL_PTR,
    CL_FIRST,
    CL_SPAN,
    CL_SKETCH,
    CL_FORMER
};

/* NULL for kinds without columns. */
const struct schema *batch_schema(unsigned kind);

#endif

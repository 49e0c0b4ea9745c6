/* Every cap an outsider can push against, in one place, each with what happens there. The wire limits are part
 * of the protocol (docs/PROTOCOL.md); changing one is a protocol change. */
#ifndef PICKET_LIMITS_H
#define PICKET_LIMITS_H

enum {
    /* Wire. A batch or frame beyond any of these is refused whole. */
    PK_MAX_HEADER_BYTES = 256,   /* frame header */
    PK_MAX_BODY_BYTES = 1 << 20, /* batch body as sent; also the ZeroMQ frame limit */
    PK_MAX_UNPACKED_BYTES =
        8 << 20, /* after decompression, and the sum of what decoding allocates per table */
    PK_MAX_COMPRESSION_RATIO = 32,
    PK_MAX_BATCH_ROWS = 20000, /* RFC 8618 appendix C: little gain past 10,000 */
    PK_MAX_BATCH_NAMES = 20000,
    PK_MAX_BATCH_ADDRS = 20000,
    PK_MAX_BATCH_SIGNATURES = 20000,
    PK_MAX_BATCH_RDATA = 60000,
    PK_MAX_BATCH_DAYS = 8, /* of activity, negatives or clients: each has a partition of its own */
    PK_MAX_MAP_ENTRIES = 64,
    PK_MAX_WIRE_TEXT = 128,

    /* Files. */
    PK_SEGMENT_BYTES = 8 << 20, /* a segment is rolled at this size */
    PK_MAX_SEGMENT_RECORD = PK_MAX_BODY_BYTES + 256,

    /* Scope. */
    PK_MAX_SCOPE_BYTES =
        512 << 10, /* a tenant's, as its sensors get it; a greater one is refused */
    PK_MAX_TENANTS = 10000,
    PK_MAX_SITES = 10000, /* a tenant */
    PK_MAX_ZONES = 10000, /* a tenant */
};

#endif

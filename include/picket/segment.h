/* Segments: the file form of batches. A sensor's spool is a folder of them, a .psp file is one (docs/PROTOCOL.md s5).
 *
 * 64-byte header, then records [len | crc32c | seq | kind | codec | form | rows | first | last | (form 1: transactions | origin) | body], each padded to eight bytes. */
#ifndef PICKET_SEGMENT_H
#define PICKET_SEGMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "picket/bytes.h"
#include "picket/envelope.h"

enum {
    PK_SEGMENT_HEADER_BYTES = 64,
    PK_SEGMENT_VERSION = 2, /* the newest that is read; 1 has no records of form 1 */
    PK_SEGMENT_KEY_ID_BYTES = 8,
    PK_SEGMENT_ENCRYPTED =
        1 << 0, /* flag: frames of a secretstream follow the header, not records */
    PK_SEGMENT_CLASS_SHIFT =
        8, /* flags: two bits, what a full spool gives up first (sensor/ship/spool.h) */
};

struct pk_segment_header {
    uint64_t epoch;
    uint64_t first_seq;
    int64_t created_us;
    uint32_t flags;
    uint16_t version;                        /* writing: 0 is 1 */
    uint8_t key_id[PK_SEGMENT_KEY_ID_BYTES]; /* of the key it is encrypted under */
};

struct pk_segment_record {
    uint64_t seq;
    uint8_t kind, codec;
    uint32_t rows;
    int64_t first_us, last_us;
    uint64_t transactions; /* sum of the rows' counts */
    uint64_t origin_epoch,
        origin_seq; /* the number this body had before it met other content under that number; 0: none */
    const uint8_t *body; /* borrowed from the bytes read */
    uint32_t body_len;
};

void pk_segment_header_encode(
    const struct pk_segment_header *header, uint8_t out[PK_SEGMENT_HEADER_BYTES]);
/* PK_ERR_TRUNCATED, PK_ERR_MALFORMED (not a segment, bad checksum), PK_ERR_VERSION. */
pk_err pk_segment_header_decode(
    const uint8_t *data, size_t len, struct pk_segment_header *out_header);
void pk_segment_record_encode(const struct pk_segment_record *record, struct pk_bytes *out);
/* The record at *pos of data; on success *pos is after it. PK_ERR_TRUNCATED: the bytes end inside it (a torn tail);
 * PK_ERR_MALFORMED: length, checksum or padding is wrong. At the end of data (*pos == len) call no more. */
pk_err pk_segment_record_decode(
    const uint8_t *data, size_t len, size_t *pos, struct pk_segment_record *out_record);
uint32_t pk_crc32c(const void *data, size_t len);

#endif

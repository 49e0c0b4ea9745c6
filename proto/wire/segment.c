/* Segment bytes: big-endian fixed layout, CRC-32C over everything a record holds but its checksum.
 *
 * Header, 64 bytes: "PICKETSG" | version be16 | flags be32 | epoch be64 | first seq be64 | created be64 | key id, 8 bytes | zero to 60 | crc32c be32 of the first 60.
 * Record: body length be32 | crc32c be32 | seq be64 | kind | codec | form | 0 | rows be32 | first be64 | last be64 | form 1: transactions be64, origin epoch be64, origin seq be64 | body | zeros to a multiple of 8. */
#include "picket/segment.h"

#include <string.h>

#include "picket/limits.h"
#include "picket/reader.h"

static const char magic[8] = "PICKETSG";

enum {
    RECORD_FIXED = 40,
    RECORD_MORE = 24, /* of form 1 */
    RECORD_CHECKED_FROM = 8
};

/* Castagnoli polynomial, reflected (RFC 3720 appendix B.4). Eight bytes a step ("slicing by 8", Kounavis and Berry 2005): tables[k] is what a byte does that
 * k more follow. */
static uint32_t crc_more(uint32_t crc, const uint8_t *p, size_t len)
{
    static uint32_t tables[8][256];
    static bool is_ready; /* filled with the same values by whoever comes first */
    if (!__atomic_load_n(&is_ready, __ATOMIC_ACQUIRE)) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t v = i;
            for (unsigned bit = 0; bit < 64; bit++) {
                v = v & 1 ? v >> 1 ^ 0x82f63b78u : v >> 1;
                if (bit % 8 == 7) {
                    __atomic_store_n(&tables[bit / 8][i], v, __ATOMIC_RELAXED);
                }
            }
        }
        __atomic_store_n(&is_ready, true, __ATOMIC_RELEASE);
    }
    for (; len >= 8; len -= 8, p += 8) {
        uint32_t first = crc ^ ((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
                                   (uint32_t)p[3] << 24);
        crc = tables[7][first & 0xff] ^ tables[6][first >> 8 & 0xff] ^
              tables[5][first >> 16 & 0xff] ^ tables[4][first >> 24] ^ tables[3][p[4]] ^
              tables[2][p[5]] ^ tables[1][p[6]] ^ tables[0][p[7]];
    }
    for (size_t i = 0; i < len; i++) {
        crc = crc >> 8 ^ tables[0][(crc ^ p[i]) & 0xff];
    }
    return crc;
}

uint32_t pk_crc32c(const void *data, size_t len)
{
    return ~crc_more(~0u, data, len);
}

/* Of a whole record but the checksum itself: the length counts too, or a shorter body with the same padding would pass. */
static uint32_t record_crc(const uint8_t *start, size_t padded)
{
    return ~crc_more(
        crc_more(~0u, start, 4), start + RECORD_CHECKED_FROM, padded - RECORD_CHECKED_FROM);
}

static uint8_t *put_be(uint8_t *p, uint64_t v, unsigned n)
{
    for (unsigned i = n; i-- > 0; v >>= 8) {
        p[i] = (uint8_t)v;
    }
    return p + n;
}

void pk_segment_header_encode(
    const struct pk_segment_header *header, uint8_t out[PK_SEGMENT_HEADER_BYTES])
{
    memset(out, 0, PK_SEGMENT_HEADER_BYTES);
    memcpy(out, magic, sizeof magic);
    uint8_t *p = put_be(out + sizeof magic, header->version ? header->version : 1, 2);
    p = put_be(p, header->flags, 4);
    p = put_be(p, header->epoch, 8);
    p = put_be(p, header->first_seq, 8);
    p = put_be(p, (uint64_t)header->created_us, 8);
    memcpy(p, header->key_id, sizeof header->key_id);
    (void)put_be(out + 60, pk_crc32c(out, 60), 4);
}

pk_err pk_segment_header_decode(
    const uint8_t *data, size_t len, struct pk_segment_header *out_header)
{
    struct pk_reader in;
    if (len < PK_SEGMENT_HEADER_BYTES) {
        return PK_ERR_TRUNCATED;
    }
    if (memcmp(data, magic, sizeof magic) != 0) {
        return PK_ERR_MALFORMED;
    }
    pk_reader_init(&in, data, PK_SEGMENT_HEADER_BYTES);
    pk_reader_skip(&in, sizeof magic);
    uint16_t version = pk_reader_be16(&in);
    struct pk_segment_header header = {.flags = pk_reader_be32(&in)};
    header.epoch = pk_reader_be64(&in);
    header.first_seq = pk_reader_be64(&in);
    header.created_us = (int64_t)pk_reader_be64(&in);
    header.version = version;
    memcpy(header.key_id, data + in.pos, sizeof header.key_id); /* the whole header is there */
    pk_reader_skip(&in, 60 - in.pos);
    if (pk_reader_be32(&in) != pk_crc32c(data, 60)) {
        return PK_ERR_MALFORMED;
    }
    if (version == 0 || version > PK_SEGMENT_VERSION) {
        return PK_ERR_VERSION;
    }
    *out_header = header;
    return PK_OK;
}

void pk_segment_record_encode(const struct pk_segment_record *record, struct pk_bytes *out)
{
    bool has_more = record->transactions != 0 || record->origin_epoch != 0;
    size_t fixed = RECORD_FIXED + (has_more ? RECORD_MORE : 0);
    size_t padded = (fixed + (size_t)record->body_len + 7) / 8 * 8;
    uint8_t *start = pk_bytes_extend(out, padded);
    if (!start) {
        return;
    }
    memset(start + padded - 8, 0, 8);
    uint8_t *p = put_be(start, record->body_len, 4);
    p = put_be(p, 0, 4);
    p = put_be(p, record->seq, 8);
    *p++ = record->kind;
    *p++ = record->codec;
    p = put_be(p, has_more ? 0x0100 : 0, 2);
    p = put_be(p, record->rows, 4);
    p = put_be(p, (uint64_t)record->first_us, 8);
    p = put_be(p, (uint64_t)record->last_us, 8);
    if (has_more) {
        p = put_be(p, record->transactions, 8);
        p = put_be(p, record->origin_epoch, 8);
        p = put_be(p, record->origin_seq, 8);
    }
    memcpy(p, record->body, record->body_len);
    (void)put_be(start + 4, record_crc(start, padded), 4);
}

pk_err pk_segment_record_decode(
    const uint8_t *data, size_t len, size_t *pos, struct pk_segment_record *out_record)
{
    struct pk_reader in;
    if (len - *pos < RECORD_FIXED) {
        return PK_ERR_TRUNCATED;
    }
    const uint8_t *start = data + *pos;
    pk_reader_init(&in, start, len - *pos);
    struct pk_segment_record record = {.body_len = pk_reader_be32(&in)};
    uint32_t crc = pk_reader_be32(&in);
    if (record.body_len > PK_MAX_BODY_BYTES) {
        return PK_ERR_MALFORMED;
    }
    size_t fixed = RECORD_FIXED + (start[18] == 1 ? RECORD_MORE : 0);
    size_t padded = (fixed + (size_t)record.body_len + 7) / 8 * 8;
    if (padded > len - *pos) {
        return PK_ERR_TRUNCATED;
    }
    if (crc != record_crc(start, padded)) {
        return PK_ERR_MALFORMED;
    }
    record.seq = pk_reader_be64(&in);
    record.kind = pk_reader_u8(&in);
    record.codec = pk_reader_u8(&in);
    pk_reader_skip(&in, 2);
    record.rows = pk_reader_be32(&in);
    record.first_us = (int64_t)pk_reader_be64(&in);
    record.last_us = (int64_t)pk_reader_be64(&in);
    if (fixed > RECORD_FIXED) {
        record.transactions = pk_reader_be64(&in);
        record.origin_epoch = pk_reader_be64(&in);
        record.origin_seq = pk_reader_be64(&in);
    }
    record.body = start + fixed;
    *pos += padded;
    *out_record = record;
    return PK_OK;
}

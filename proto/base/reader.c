/* The bounded cursor: one place that subtracts lengths, so one place to get it right. */
#include "picket/reader.h"

void pk_reader_init(struct pk_reader *reader, const void *data, size_t len)
{
    *reader = (struct pk_reader){.data = data, .len = len};
}

void pk_reader_fail(struct pk_reader *reader, pk_err err)
{
    if (reader->err == PK_OK) {
        reader->err = err;
    }
}

/* The next len bytes, or NULL with the error set. */
static const uint8_t *take(struct pk_reader *reader, size_t len)
{
    if (reader->err != PK_OK) {
        return NULL;
    }
    if (len > reader->len - reader->pos) {
        reader->err = PK_ERR_TRUNCATED;
        return NULL;
    }
    const uint8_t *p = reader->data + reader->pos;
    reader->pos += len;
    return p;
}

uint8_t pk_reader_u8(struct pk_reader *reader)
{
    const uint8_t *p = take(reader, 1);
    return p ? *p : 0;
}

uint16_t pk_reader_be16(struct pk_reader *reader)
{
    const uint8_t *p = take(reader, 2);
    return p ? (uint16_t)((unsigned)p[0] << 8 | p[1]) : 0;
}

uint32_t pk_reader_be32(struct pk_reader *reader)
{
    const uint8_t *p = take(reader, 4);
    return p ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3] : 0;
}

uint64_t pk_reader_be64(struct pk_reader *reader)
{
    uint64_t high = pk_reader_be32(reader);
    return high << 32 | pk_reader_be32(reader);
}

uint16_t pk_reader_le16(struct pk_reader *reader)
{
    const uint8_t *p = take(reader, 2);
    return p ? (uint16_t)((unsigned)p[1] << 8 | p[0]) : 0;
}

uint32_t pk_reader_le32(struct pk_reader *reader)
{
    const uint8_t *p = take(reader, 4);
    return p ? (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0] : 0;
}

uint64_t pk_reader_varint(struct pk_reader *reader)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = pk_reader_u8(reader);
        if (reader->err != PK_OK) {
            return 0;
        }
        if ((shift == 63 && byte > 1) ||
            (byte == 0 && shift > 0)) { /* beyond 64 bits, or not the shortest form */
            pk_reader_fail(reader, PK_ERR_MALFORMED);
            return 0;
        }
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            return v;
        }
    }
    pk_reader_fail(reader, PK_ERR_MALFORMED);
    return 0;
}

const uint8_t *pk_reader_bytes(struct pk_reader *reader, size_t len)
{
    return take(reader, len);
}

void pk_reader_skip(struct pk_reader *reader, size_t len)
{
    (void)take(reader, len);
}

struct pk_reader pk_reader_sub(struct pk_reader *reader, size_t len)
{
    const uint8_t *p = take(reader, len);
    struct pk_reader sub = {.data = p, .len = p ? len : 0, .err = reader->err};
    return sub;
}

bool pk_reader_at_end(const struct pk_reader *reader)
{
    return reader->err == PK_OK && reader->pos == reader->len;
}

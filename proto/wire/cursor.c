/* The msgpack cursor. */
#include "cursor.h"

#include <string.h>

enum {
    MAX_DEPTH = 4
};

/* An unsigned of n bytes whose value must not fit in fewer (`least` is the smallest value this form may carry). */
static uint64_t sized(struct pk_reader *in, unsigned n, uint64_t least)
{
    uint64_t v = n == 1   ? pk_reader_u8(in)
                 : n == 2 ? pk_reader_be16(in)
                 : n == 4 ? pk_reader_be32(in)
                          : pk_reader_be64(in);
    if (v < least) {
        pk_reader_fail(in, PK_ERR_MALFORMED);
        return 0;
    }
    return v;
}

static uint64_t unsigned_of(struct pk_reader *in, uint8_t tag)
{
    switch (tag) {
    case 0xcc:
        return sized(in, 1, 0x80);
    case 0xcd:
        return sized(in, 2, 0x100);
    case 0xce:
        return sized(in, 4, 0x10000);
    case 0xcf:
        return sized(in, 8, UINT64_C(0x100000000));
    default:
        if (tag > 0x7f) {
            pk_reader_fail(in, PK_ERR_MALFORMED);
            return 0;
        }
        return tag;
    }
}

uint64_t mp_uint(struct pk_reader *in, uint64_t max)
{
    uint64_t v = unsigned_of(in, pk_reader_u8(in));
    if (v > max) {
        pk_reader_fail(in, PK_ERR_LIMIT);
        return 0;
    }
    return v;
}

int64_t mp_int(struct pk_reader *in)
{
    uint8_t tag = pk_reader_u8(in);
    if (tag >= 0xe0) {
        return (int8_t)tag;
    }
    if (tag < 0xd0 || tag > 0xd3) {
        uint64_t v = unsigned_of(in, tag);
        if (v > INT64_MAX) {
            pk_reader_fail(in, PK_ERR_LIMIT);
            return 0;
        }
        return (int64_t)v;
    }
    unsigned n = 1u << (tag - 0xd0);
    uint64_t raw = n == 1   ? pk_reader_u8(in)
                   : n == 2 ? pk_reader_be16(in)
                   : n == 4 ? pk_reader_be32(in)
                            : pk_reader_be64(in);
    int64_t v = (int64_t)(raw << (64 - 8 * n)) >> (64 - 8 * n);
    /* Only what the next smaller form cannot hold, and only negatives: positives have their own forms. */
    int64_t most = n == 1 ? -33 : -(INT64_C(1) << (4 * n - 1)) - 1;
    if (v > most) {
        pk_reader_fail(in, PK_ERR_MALFORMED);
        return 0;
    }
    return v;
}

static uint32_t count_of(
    struct pk_reader *in, uint8_t fix_tag, uint8_t tag16, uint32_t max, unsigned item_bytes)
{
    uint8_t tag = pk_reader_u8(in);
    uint64_t n = 0;
    if ((tag & 0xf0) == fix_tag) {
        n = tag & 0xf;
    } else if (tag == tag16) {
        n = sized(in, 2, 16);
    } else if (tag == tag16 + 1) {
        n = sized(in, 4, 0x10000);
    } else {
        pk_reader_fail(in, PK_ERR_MALFORMED);
    }
    if (n > max) {
        pk_reader_fail(in, PK_ERR_LIMIT);
    }
    if (n * item_bytes > pk_reader_left(in)) {
        pk_reader_fail(in, PK_ERR_TRUNCATED);
    }
    return in->err == PK_OK ? (uint32_t)n : 0;
}

uint32_t mp_array(struct pk_reader *in, uint32_t max)
{
    return count_of(in, 0x90, 0xdc, max, 1);
}

uint32_t mp_map(struct pk_reader *in, uint32_t max)
{
    return count_of(in, 0x80, 0xde, max, 2);
}

static struct pk_slice blob(struct pk_reader *in, uint64_t len, uint32_t max)
{
    if (len > max) {
        pk_reader_fail(in, PK_ERR_LIMIT);
    }
    const uint8_t *p = pk_reader_bytes(in, (size_t)len);
    return in->err == PK_OK ? (struct pk_slice){.data = p, .len = (uint32_t)len}
                            : (struct pk_slice){0};
}

struct pk_slice mp_bin(struct pk_reader *in, uint32_t max)
{
    uint8_t tag = pk_reader_u8(in);
    uint64_t len = 0;
    switch (tag) {
    case 0xc4:
        len = pk_reader_u8(in);
        break;
    case 0xc5:
        len = sized(in, 2, 0x100);
        break;
    case 0xc6:
        len = sized(in, 4, 0x10000);
        break;
    default:
        pk_reader_fail(in, PK_ERR_MALFORMED);
    }
    return blob(in, len, max);
}

static struct pk_slice text_slice(struct pk_reader *in, uint32_t max)
{
    uint8_t tag = pk_reader_u8(in);
    uint64_t len = 0;
    if ((tag & 0xe0) == 0xa0) {
        len = tag & 0x1f;
    } else if (tag == 0xd9) {
        len = sized(in, 1, 32);
    } else if (tag == 0xda) {
        len = sized(in, 2, 0x100);
    } else {
        pk_reader_fail(in, PK_ERR_MALFORMED);
    }
    return blob(in, len, max);
}

void mp_text(struct pk_reader *in, char *out, size_t size)
{
    struct pk_slice text = text_slice(in, (uint32_t)(size - 1));
    if (text.len > 0 && memchr(text.data, 0, text.len)) {
        pk_reader_fail(in, PK_ERR_MALFORMED);
    }
    if (in->err == PK_OK) {
        if (text.len > 0) {
            memcpy(out, text.data, text.len);
        }
        out[text.len] = '\0';
    }
}

bool mp_bool(struct pk_reader *in)
{
    uint8_t tag = pk_reader_u8(in);
    if (tag != 0xc2 && tag != 0xc3) {
        pk_reader_fail(in, PK_ERR_MALFORMED);
    }
    return tag == 0xc3;
}

static uint8_t peek(const struct pk_reader *in)
{
    return in->err == PK_OK && in->pos < in->len ? in->data[in->pos] : 0xc1;
}

void mp_skip(struct pk_reader *in)
{
    uint64_t open[MAX_DEPTH]; /* items still to skip at each level */
    unsigned depth = 0;
    open[0] = 1;
    while (in->err == PK_OK) {
        while (open[depth] == 0) {
            if (depth == 0) {
                return;
            }
            depth--;
        }
        open[depth]--;
        uint8_t tag = peek(in);
        bool is_map = (tag & 0xf0) == 0x80 || tag == 0xde || tag == 0xdf;
        bool is_array = (tag & 0xf0) == 0x90 || tag == 0xdc || tag == 0xdd;
        if (is_map || is_array) {
            if (depth + 1 == MAX_DEPTH) {
                pk_reader_fail(in, PK_ERR_LIMIT);
                return;
            }
            uint64_t n = is_map ? 2 * (uint64_t)mp_map(in, UINT32_MAX) : mp_array(in, UINT32_MAX);
            open[++depth] = n;
        } else if (tag >= 0xc4 && tag <= 0xc6) {
            (void)mp_bin(in, UINT32_MAX);
        } else if ((tag & 0xe0) == 0xa0 || tag == 0xd9 || tag == 0xda) {
            (void)text_slice(in, UINT32_MAX);
        } else if (tag == 0xc2 || tag == 0xc3) {
            (void)mp_bool(in);
        } else {
            (void)mp_int(
                in); /* refuses what is no integer; a uint64 above INT64_MAX is skipped nowhere in the protocol */
        }
    }
}

void mp_blob(struct pk_reader *in, uint8_t *out, uint32_t len)
{
    struct pk_slice blob = mp_bin(in, len);
    if (blob.len == len) {
        memcpy(out, blob.data, len);
    } else {
        pk_reader_fail(in, PK_ERR_MALFORMED);
    }
}

unsigned mp_next_key(struct pk_reader *in, uint32_t *left, unsigned last)
{
    if (*left == 0 || in->err != PK_OK) {
        return 0;
    }
    (*left)--;
    unsigned key = (unsigned)mp_uint(in, UINT16_MAX);
    if (key <= last) {
        pk_reader_fail(in, PK_ERR_MALFORMED);
        return 0;
    }
    return key;
}

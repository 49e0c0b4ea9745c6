/* Names: parsing, presentation, order.
 *
 * A parsed name is checked once and trusted from then on. Parsing copies label by label with memcpy and does no work a byte; case is folded only
 * where two names are compared. */
#include "picket/name.h"

#include <stdio.h>
#include <string.h>

#include "picket/addr.h"
#include "picket/hash.h"

enum {
    POINTER_TAG = 0xc0
};

static uint8_t fold(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

/* Walks the labels of a name, copying each run of them when out is not NULL (most names are one run). Pointers must go before the first byte of the run of labels they
 * end, so each jump lowers the bound and the walk ends. */
static pk_err walk(const uint8_t *msg, size_t msg_len, size_t *pos, struct pk_name *out)
{
    size_t at = *pos, bound = *pos, run = *pos, len = 0;
    size_t after = 0; /* where the name ends at its original place; 0: no pointer yet */
    unsigned n_labels = 0;
    for (;;) {
        if (at >= msg_len) {
            return PK_ERR_TRUNCATED;
        }
        uint8_t c = msg[at];
        if ((c & POINTER_TAG) == POINTER_TAG) {
            if (at + 1 >= msg_len) {
                return PK_ERR_TRUNCATED;
            }
            size_t target = (size_t)(c & 0x3f) << 8 | msg[at + 1];
            if (target >= bound) {
                return PK_ERR_MALFORMED;
            }
            if (out && at > run) {
                memcpy(out->wire + len - (at - run), msg + run, at - run);
            }
            after = after ? after : at + 2;
            at = bound = run = target;
            continue;
        }
        if (c & POINTER_TAG) { /* label types 01 and 10: RFC 6891 s5 retired them */
            return PK_ERR_MALFORMED;
        }
        if (c >= msg_len - at) {
            return PK_ERR_TRUNCATED;
        }
        if (len + c + 1 > PK_NAME_MAX) {
            return PK_ERR_MALFORMED;
        }
        len += (size_t)c + 1;
        at += (size_t)c + 1;
        if (c == 0) {
            break;
        }
        n_labels++;
    }
    *pos = after ? after : at;
    if (out) {
        memcpy(out->wire + len - (at - run), msg + run, at - run);
        out->len = (uint8_t)len;
        out->n_labels = (uint8_t)n_labels;
    }
    return PK_OK;
}

/* A name that is one sound run of labels up to the root: its length, 0 for anything else, which walk then judges. Nearly every question is one, and
 * walk's bookkeeping for each label was a twelfth of parsing and pairing. */
static size_t plain_run(const uint8_t *msg, size_t msg_len, size_t pos, unsigned *out_n_labels)
{
    size_t at = pos;
    unsigned n = 0;
    while (at < msg_len && msg[at] <= PK_LABEL_MAX) {
        if (msg[at] == 0) {
            *out_n_labels = n;
            return at + 1 - pos <= PK_NAME_MAX ? at + 1 - pos : 0;
        }
        at += (size_t)msg[at] + 1;
        n++;
    }
    return 0;
}

pk_err pk_name_parse(const uint8_t *msg, size_t msg_len, size_t *pos, struct pk_name *out_name)
{
    unsigned n_labels;
    size_t len = plain_run(msg, msg_len, *pos, &n_labels);
    if (len == 0) {
        return walk(msg, msg_len, pos, out_name);
    }
    memcpy(out_name->wire, msg + *pos, len);
    out_name->len = (uint8_t)len;
    out_name->n_labels = (uint8_t)n_labels;
    *pos += len;
    return PK_OK;
}

pk_err pk_name_skip(const uint8_t *msg, size_t msg_len, size_t *pos)
{
    unsigned n_labels;
    size_t len = plain_run(msg, msg_len, *pos, &n_labels);
    *pos += len;
    return len > 0 ? PK_OK : walk(msg, msg_len, pos, NULL);
}

pk_err pk_name_from_wire(const uint8_t *wire, size_t len, struct pk_name *out_name)
{
    size_t at = 0;
    unsigned n_labels = 0;
    if (len == 0 || len > PK_NAME_MAX) {
        return PK_ERR_MALFORMED;
    }
    while (at < len && wire[at] != 0) {
        if (wire[at] > PK_LABEL_MAX) {
            return PK_ERR_MALFORMED;
        }
        at += (size_t)wire[at] + 1;
        n_labels++;
    }
    if (at + 1 != len) { /* no root label, or bytes after it */
        return PK_ERR_MALFORMED;
    }
    memcpy(out_name->wire, wire, len);
    out_name->len = (uint8_t)len;
    out_name->n_labels = (uint8_t)n_labels;
    return PK_OK;
}

/* One character of presentation form; advances *text. -1: bad escape. */
static int text_byte(const char **text)
{
    const unsigned char *p = (const unsigned char *)*text;
    if (*p != '\\') {
        *text += 1;
        return *p;
    }
    if (p[1] >= '0' && p[1] <= '9') {
        if (p[2] < '0' || p[2] > '9' || p[3] < '0' || p[3] > '9') {
            return -1;
        }
        int v = (p[1] - '0') * 100 + (p[2] - '0') * 10 + (p[3] - '0');
        *text += 4;
        return v <= 255 ? v : -1;
    }
    if (p[1] == '\0') {
        return -1;
    }
    *text += 2;
    return p[1];
}

pk_err pk_name_from_text(const char *text, struct pk_name *out_name)
{
    struct pk_name name;
    size_t len = 0, label = 0; /* label: where the length byte of the open label is */
    unsigned n_labels = 0;
    if (strcmp(text, ".") == 0) {
        text++;
    } else if (*text == '\0' || *text == '.') {
        return PK_ERR_MALFORMED;
    }
    while (*text != '\0') {
        label = len++;
        while (*text != '\0' && *text != '.') {
            int c = text_byte(&text);
            if (c < 0 || len - label > PK_LABEL_MAX || len >= PK_NAME_MAX - 1) {
                return PK_ERR_MALFORMED;
            }
            name.wire[len++] = (uint8_t)c;
        }
        if (len - label == 1) { /* an empty label inside */
            return PK_ERR_MALFORMED;
        }
        name.wire[label] = (uint8_t)(len - label - 1);
        n_labels++;
        text += *text == '.';
        if (len >= PK_NAME_MAX) {
            return PK_ERR_MALFORMED;
        }
    }
    name.wire[len++] = 0;
    memcpy(out_name->wire, name.wire, len);
    out_name->len = (uint8_t)len;
    out_name->n_labels = (uint8_t)n_labels;
    return PK_OK;
}

const char *pk_name_text(const struct pk_name *name, char out_text[PK_NAME_TEXT_SIZE])
{
    char *p = out_text;
    size_t at = 0;
    while (name->wire[at] != 0) {
        size_t end = at + 1 + name->wire[at];
        for (at++; at < end; at++) {
            uint8_t c = name->wire[at];
            if (c <= 0x20 || c >= 0x7f) {
                *p++ = '\\';
                *p++ = (char)('0' + c / 100);
                *p++ = (char)('0' + c / 10 % 10);
                *p++ = (char)('0' + c % 10);
            } else {
                if (strchr(".\\\"();@$", c)) { /* what a master file reads as its own */
                    *p++ = '\\';
                }
                *p++ = (char)c;
            }
        }
        *p++ = '.';
    }
    if (p == out_text) {
        *p++ = '.';
    }
    *p = '\0';
    return out_text;
}

/* ASCII case folding of eight bytes at once: the sums carry into bit 7 of each byte that is above 'Z', and at or above 'A'. Length bytes (0..63) are not
 * letters. */
static uint64_t fold8(uint64_t v)
{
    const uint64_t ones = 0x0101010101010101u, high = ones << 7;
    uint64_t low = v & ~high;
    uint64_t is_upper = ((low + ones * (0x80 - 'A')) ^ (low + ones * (0x7f - 'Z'))) & ~v & high;
    return v | is_upper >> 2;
}

static void fold_word(uint8_t *out, const uint8_t *in)
{
    uint64_t v;
    memcpy(&v, in, sizeof v);
    v = fold8(v);
    memcpy(out, &v, sizeof v);
}

/* Folding twice is folding once, so the last eight bytes may overlap those before them. */
static void fold_bytes(uint8_t *out, const uint8_t *in, size_t len)
{
    if (len >= 8) {
        for (size_t i = 0; i < len - 8; i += 8) {
            fold_word(out + i, in + i);
        }
        fold_word(out + len - 8, in + len - 8);
        return;
    }
    for (size_t i = 0; i < len; i++) {
        out[i] = fold(in[i]);
    }
}

void pk_name_lower(struct pk_name *name)
{
    fold_bytes(name->wire, name->wire, name->len);
}

void pk_name_lower_copy(struct pk_name *to, const struct pk_name *from)
{
    to->len = from->len;
    to->n_labels = from->n_labels;
    fold_bytes(to->wire, from->wire, from->len);
}

static bool equal_folded8(const uint8_t *a, const uint8_t *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x == y || fold8(x) == fold8(y);
}

/* The last eight bytes overlap those before them: names of eight bytes and more are never compared byte by byte. */
static bool equal_folded(const uint8_t *a, const uint8_t *b, size_t len)
{
    if (len >= 8) {
        for (size_t i = 0; i < len - 8; i += 8) {
            if (!equal_folded8(a + i, b + i)) {
                return false;
            }
        }
        return equal_folded8(a + len - 8, b + len - 8);
    }
    for (size_t i = 0; i < len; i++) {
        if (fold(a[i]) != fold(b[i])) {
            return false;
        }
    }
    return true;
}

/* Bytes above 0x7f and what is no letter change nothing. */
static uint64_t letters8(uint64_t v, char first)
{
    const uint64_t ones = 0x0101010101010101u, high = ones << 7;
    uint64_t low = v & ~high, begin = (uint64_t)(0x80 - first), end = begin - 26;
    return ((low + ones * begin) ^ (low + ones * end)) & ~v & high;
}

bool pk_name_is_case_mixed(const struct pk_name *name)
{
    uint8_t padded[8] = {0};
    const uint8_t *wire = name->len < sizeof padded ? padded : name->wire;
    size_t last = name->len < sizeof padded ? 0 : name->len - sizeof padded;
    uint64_t upper = 0, lower = 0, v;
    if (wire == padded) {
        memcpy(padded, name->wire, name->len);
    }
    for (size_t i = 0; i < last + sizeof v; i += sizeof v) {
        memcpy(&v, wire + (i < last ? i : last), sizeof v);
        upper |= letters8(v, 'A');
        lower |= letters8(v, 'a');
    }
    return upper != 0 && lower != 0;
}

bool pk_name_equal(const struct pk_name *a, const struct pk_name *b)
{
    return a->len == b->len && equal_folded(a->wire, b->wire, a->len);
}

uint64_t pk_name_hash(const struct pk_name *name)
{
    PK_UNSET uint8_t folded[PK_NAME_MAX];
    fold_bytes(folded, name->wire, name->len);
    return pk_hash_quick(folded, name->len);
}

/* Offsets of the labels from the left; returns how many. */
static unsigned label_offsets(const struct pk_name *name, uint8_t out_offsets[PK_NAME_MAX_LABELS])
{
    unsigned n = 0;
    for (size_t at = 0; name->wire[at] != 0; at += (size_t)name->wire[at] + 1) {
        out_offsets[n++] = (uint8_t)at;
    }
    return n;
}

int pk_name_compare(const struct pk_name *a, const struct pk_name *b)
{
    uint8_t at_a[PK_NAME_MAX_LABELS], at_b[PK_NAME_MAX_LABELS];
    unsigned n_a = label_offsets(a, at_a), n_b = label_offsets(b, at_b);
    while (n_a > 0 && n_b > 0) {
        const uint8_t *x = a->wire + at_a[--n_a], *y = b->wire + at_b[--n_b];
        unsigned shorter = *x < *y ? *x : *y;
        for (unsigned i = 1; i <= shorter; i++) {
            int difference = fold(x[i]) - fold(y[i]);
            if (difference != 0) {
                return difference;
            }
        }
        if (*x != *y) {
            return *x - *y;
        }
    }
    return (int)n_a - (int)n_b;
}

bool pk_name_is_within(const struct pk_name *name, const struct pk_name *ancestor)
{
    if (name->n_labels < ancestor->n_labels || name->len < ancestor->len) {
        return false;
    }
    size_t at = 0;
    for (unsigned skip = name->n_labels - ancestor->n_labels; skip > 0; skip--) {
        at += (size_t)name->wire[at] + 1;
    }
    return name->len - at == ancestor->len &&
           equal_folded(name->wire + at, ancestor->wire, ancestor->len);
}

void pk_name_strip(const struct pk_name *name, unsigned n, struct pk_name *out_name)
{
    size_t at = 0;
    for (unsigned i = 0; i < n; i++) {
        at += (size_t)name->wire[at] + 1;
    }
    uint8_t n_labels = (uint8_t)(name->n_labels - n);
    uint8_t len = (uint8_t)(name->len - at);
    memmove(out_name->wire, name->wire + at, len);
    out_name->len = len;
    out_name->n_labels = n_labels;
}

const uint8_t *pk_name_label(const struct pk_name *name, unsigned index, uint8_t *out_len)
{
    size_t at = 0;
    for (unsigned i = 0; i < index; i++) {
        at += (size_t)name->wire[at] + 1;
    }
    *out_len = name->wire[at];
    return name->wire + at + 1;
}

bool pk_name_is_root(const struct pk_name *name)
{
    return name->n_labels == 0;
}

/* Whether one of eight bytes is below 2, which a key writes as two. */
static bool has_low(uint64_t v)
{
    const uint64_t ones = 0x0101010101010101u, high = ones << 7;
    return (v - 2 * ones) & ~v & high;
}

/* One label of a sort key, eight bytes at a time while as many are left of the name; returns the end of what was written. Bytes after it may be written over. */
static uint8_t *put_key_label(uint8_t *out, const uint8_t *label, unsigned len, const uint8_t *end)
{
    unsigned i = 0;
    for (; i < len && end - (label + i) >= 8; i += 8) {
        uint64_t v;
        memcpy(&v, label + i, sizeof v);
        if (len - i < 8) {
            v |= UINT64_MAX << 8 * (len - i); /* not of this label */
        }
        if (has_low(v)) {
            break;
        }
        v = fold8(v);
        memcpy(out + i, &v, sizeof v);
    }
    if (i >= len) {
        return out + len;
    }
    for (out += i; i < len; i++) {
        uint8_t c = fold(label[i]);
        if (c <= 1) {
            *out++ = 1;
            c++;
        }
        *out++ = c;
    }
    return out;
}

size_t pk_name_wire_sort_key(
    const uint8_t *wire, size_t len, uint8_t out_key[PK_NAME_SORT_KEY_ROOM])
{
    PK_UNSET uint8_t at[PK_NAME_MAX_LABELS];
    size_t n_labels = 0, end = 0;
    uint8_t *p = out_key;
    if (len == 0 || len > PK_NAME_MAX) {
        return PK_NAME_NO_KEY;
    }
    for (; end < len && wire[end] != 0; end += wire[end] + 1u) {
        if (wire[end] > PK_LABEL_MAX || n_labels == PK_NAME_MAX_LABELS) {
            return PK_NAME_NO_KEY;
        }
        at[n_labels++] = (uint8_t)end;
    }
    if (end + 1 != len) {
        return PK_NAME_NO_KEY;
    }
    while (n_labels-- > 0) {
        const uint8_t *label = wire + at[n_labels];
        p = put_key_label(p, label + 1, *label, wire + len);
        *p++ = 0;
    }
    return (size_t)(p - out_key);
}

size_t pk_name_sort_key(const struct pk_name *name, uint8_t out_key[PK_NAME_SORT_KEY_ROOM])
{
    return pk_name_wire_sort_key(name->wire, name->len, out_key); /* a name always has one */
}

static int hex_digit(uint8_t c)
{
    c = fold(c);
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The decimal octet of a label without leading zeros; -1 when it is not one. */
static int octet(const uint8_t *label, uint8_t len)
{
    int v = 0;
    if (len == 0 || len > 3 || (len > 1 && label[0] == '0')) {
        return -1;
    }
    for (uint8_t i = 0; i < len; i++) {
        if (label[i] < '0' || label[i] > '9') {
            return -1;
        }
        v = v * 10 + (label[i] - '0');
    }
    return v <= 255 ? v : -1;
}

static const struct pk_name in_addr_arpa = {.len = 14, .n_labels = 2, .wire = "\7in-addr\4arpa"};
static const struct pk_name ip6_arpa = {.len = 10, .n_labels = 2, .wire = "\3ip6\4arpa"};

bool pk_name_reverse_addr(const struct pk_name *name, struct pk_addr *out_addr)
{
    uint8_t bytes[16] = {0};
    bool is_v4 = name->n_labels == 6 && pk_name_is_within(name, &in_addr_arpa);
    if (!is_v4 && (name->n_labels != 34 || !pk_name_is_within(name, &ip6_arpa))) {
        return false;
    }
    const uint8_t *label = name->wire;
    for (unsigned i = 0; i < (is_v4 ? 4u : 32u); i++, label += *label + 1) {
        int v = is_v4 ? octet(label + 1, *label) : *label == 1 ? hex_digit(label[1]) : -1;
        if (v < 0) {
            return false;
        }
        if (is_v4) {
            bytes[3 - i] = (uint8_t)v;
        } else {
            bytes[15 - i / 2] |= (uint8_t)(v << 4 * (i % 2));
        }
    }
    *out_addr = is_v4 ? pk_addr_v4(bytes) : pk_addr_v6(bytes);
    return true;
}

void pk_name_of_prefix(const struct pk_prefix *prefix, struct pk_name *out_name)
{
    char text[80];
    size_t len = 0;
    if (prefix->addr.family == 4) {
        for (unsigned i = prefix->len / 8u; i-- > 0;) {
            len += (size_t)snprintf(text + len, sizeof text - len, "%u.", prefix->addr.bytes[i]);
        }
        snprintf(text + len, sizeof text - len, "in-addr.arpa.");
    } else {
        for (unsigned i = prefix->len / 4u; i-- > 0;) {
            unsigned nibble = prefix->addr.bytes[i / 2] >> (i % 2 ? 0 : 4) & 0xf;
            len += (size_t)snprintf(text + len, sizeof text - len, "%x.", nibble);
        }
        snprintf(text + len, sizeof text - len, "ip6.arpa.");
    }
    (void)pk_name_from_text(text, out_name); /* our own text is a name */
}

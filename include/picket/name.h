/* DNS names as values: RFC 1035 wire form, uncompressed, at most 255 bytes, case kept as seen.
 *
 * Comparison and hashing ignore ASCII case (RFC 4343). Presentation form is master-file syntax
 * (RFC 1035 s5.1): \. and \\ inside a label, \DDD for what is not printable ASCII, always absolute. */
#ifndef PICKET_NAME_H
#define PICKET_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picket/err.h"

enum {
    PK_NAME_MAX = 255, /* RFC 1035 s2.3.4, wire bytes with the root label */
    PK_LABEL_MAX = 63, /* RFC 1035 s2.3.4 */
    PK_NAME_MAX_LABELS = 127,
    PK_NAME_TEXT_SIZE = 1020, /* every byte as \DDD, dots, the zero */
};

struct pk_name {
    uint8_t len;               /* wire bytes used, 1 (root) .. 255 */
    uint8_t n_labels;          /* without the root label, 0 .. 127 */
    uint8_t wire[PK_NAME_MAX]; /* bytes past len are undefined */
};

/* Reads the name at *pos of a message, following compression pointers (each must point before the
 * label run it was met in, so no loop is possible; RFC 1035 s4.1.4). On success *pos is after the
 * name as it stands at the original place. PK_ERR_TRUNCATED: it leaves the message;
 * PK_ERR_MALFORMED: label type, pointer or length is not allowed. */
pk_err pk_name_parse(const uint8_t *msg, size_t msg_len, size_t *pos, struct pk_name *out_name);
/* The same checks without keeping the name. */
pk_err pk_name_skip(const uint8_t *msg, size_t msg_len, size_t *pos);
/* A whole uncompressed wire name of exactly len bytes. */
pk_err pk_name_from_wire(const uint8_t *wire, size_t len, struct pk_name *out_name);
/* Presentation form, absolute with or without the last dot; "" is refused, "." is the root. */
pk_err pk_name_from_text(const char *text, struct pk_name *out_name);
/* Absolute presentation form, last dot included; returns out_text. */
const char *pk_name_text(const struct pk_name *name, char out_text[PK_NAME_TEXT_SIZE]);

/* In two sizes that a compiler copies without a call. */
static inline void pk_name_copy(struct pk_name *to, const struct pk_name *from)
{
    to->len = from->len;
    to->n_labels = from->n_labels;
    if (from->len <= 64) {
        __builtin_memcpy(to->wire, from->wire, 64);
    } else {
        __builtin_memcpy(to->wire, from->wire, PK_NAME_MAX);
    }
}

void pk_name_lower(struct pk_name *name);
void pk_name_lower_copy(struct pk_name *to, const struct pk_name *from);
bool pk_name_equal(const struct pk_name *a, const struct pk_name *b);
uint64_t pk_name_hash(const struct pk_name *name); /* keyed, case ignored */
/* Letters of both cases in one name: the 0x20 trick, or somebody's shift key. Length bytes are no letters. */
bool pk_name_is_case_mixed(const struct pk_name *name);
/* Canonical order, RFC 4034 s6.1. */
int pk_name_compare(const struct pk_name *a, const struct pk_name *b);
/* True when name is ancestor or below it; every name is within the root. */
bool pk_name_is_within(const struct pk_name *name, const struct pk_name *ancestor);
/* Name without its n leftmost labels; n <= n_labels. */
void pk_name_strip(const struct pk_name *name, unsigned n, struct pk_name *out_name);
/* The label with this index from the left (0 is the first), borrowed from name; its length out. */
const uint8_t *pk_name_label(const struct pk_name *name, unsigned index, uint8_t *out_len);
bool pk_name_is_root(const struct pk_name *name);

enum {
    PK_NAME_SORT_KEY_ROOM = 2 * PK_NAME_MAX + 8
};
/* Sort key for suffix ranges in an index: labels from the root, lower case, each followed by a zero
 * byte and with 0x00 -> 0x01 0x01, 0x01 -> 0x01 0x02 inside labels, so that byte order is canonical
 * order and all names below N begin with the key of N. At most 2 * PK_NAME_MAX bytes, written eight at a time, so that some after it are overwritten. */
size_t pk_name_sort_key(const struct pk_name *name, uint8_t out_key[PK_NAME_SORT_KEY_ROOM]);
/* The same of wire bytes; PK_NAME_NO_KEY when they are no name. */
#define PK_NAME_NO_KEY SIZE_MAX
size_t pk_name_wire_sort_key(
    const uint8_t *wire, size_t len, uint8_t out_key[PK_NAME_SORT_KEY_ROOM]);

/* The IPv4 or IPv6 address that a full reverse name stands for (RFC 1035 s3.5, RFC 3596 s2.5);
 * false when it is not one (zone cuts, partial names, RFC 2317). */
struct pk_addr;
bool pk_name_reverse_addr(const struct pk_name *name, struct pk_addr *out_addr);
/* The reverse zone name of an octet or nibble aligned part of a prefix (a /22 gives its /16). */
struct pk_prefix;
void pk_name_of_prefix(const struct pk_prefix *prefix, struct pk_name *out_name);

#endif

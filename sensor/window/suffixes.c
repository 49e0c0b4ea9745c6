/* Nodes are found by their parent's number and their label; a name's labels are looked up from the right until one is not there. The table holds what the list
 * says, so nobody outside chooses what is in it, and a lookup ends at the first empty slot of a table that is half empty. */
#include "window/suffixes.h"

#include <endian.h>
#include <idn2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "picket/bytes.h"

enum {
    IS_RULE = 1,
    HAS_WILDCARD = 2, /* all labels below are suffixes; so is this one */
    IS_EXCEPTION = 4,
    HAS_CHILDREN = 8,

    ROOT = 0,
    NONE = UINT32_MAX,
    FIRST_SLOTS = 1024,
    LINE_SIZE = 512,

    NUMBER_MASK = 2 * PK_SUFFIXES_MAX_NODES - 1, /* of a slot */
};

struct node {
    uint64_t first;         /* bytes of the label, at most eight */
    uint32_t parent, label; /* label: its offset, length first */
    uint8_t len, flags;
};

struct pk_suffixes {
    struct node *nodes;
    uint32_t n_nodes, max_nodes;
    uint32_t *slots; /* a node's number below, the top of its hash above; NONE: empty */
    uint32_t mask;
    struct pk_bytes labels;
};

/* Read by two pieces that meet or overlap: a copy of any length is a call, and its pieces were waited for where they are read as one. */
static uint64_t first_bytes(const uint8_t *label, uint8_t len)
{
    uint64_t first = 0;
    uint32_t low, high;
    if (len >= sizeof first) {
        memcpy(&first, label, sizeof first);
    } else if (len >= sizeof low) {
        memcpy(&low, label, sizeof low);
        memcpy(&high, label + len - sizeof high, sizeof high);
        first = le32toh(low) | (uint64_t)le32toh(high) << 8 * (len - sizeof high);
    } else if (len > 0) {
        first = label[0] | (uint64_t)label[len / 2] << 8 * (len / 2) |
                (uint64_t)label[len - 1] << 8 * (len - 1);
    }
    return first;
}

static uint32_t hash_of(uint32_t parent, uint64_t first, const uint8_t *label, uint8_t len)
{
    uint64_t last = len > 8 ? first_bytes(label + len - 8, 8) : 0;
    uint64_t v = (first ^ (uint64_t)parent << 32 ^ len) * 0x9e3779b97f4a7c15u;
    v = (v ^ v >> 29 ^ last) * 0xbf58476d1ce4e5b9u;
    return (uint32_t)(v >> 32);
}

static uint32_t find(
    const struct pk_suffixes *suffixes, uint32_t parent, const uint8_t *label, uint8_t len)
{
    uint64_t first = first_bytes(label, len);
    uint32_t hash = hash_of(parent, first, label, len);
    for (uint32_t i = hash & suffixes->mask;; i = (i + 1) & suffixes->mask) {
        uint32_t slot = suffixes->slots[i], number = slot & NUMBER_MASK;
        if (slot == NONE) {
            return NONE;
        }
        if (((slot ^ hash) & ~(uint32_t)NUMBER_MASK) != 0) {
            continue;
        }
        const struct node *node = &suffixes->nodes[number];
        if (node->parent == parent && node->first == first && node->len == len &&
            (len <= 8 || memcmp(suffixes->labels.data + node->label, label, len) == 0)) {
            return number;
        }
    }
}

/* --- reading the list --- */

static void put_slot(struct pk_suffixes *suffixes, uint32_t number)
{
    const struct node *node = &suffixes->nodes[number];
    uint32_t hash =
        hash_of(node->parent, node->first, suffixes->labels.data + node->label, node->len);
    uint32_t i = hash & suffixes->mask;
    while (suffixes->slots[i] != NONE) {
        i = (i + 1) & suffixes->mask;
    }
    suffixes->slots[i] = (hash & ~(uint32_t)NUMBER_MASK) | number;
}

static pk_err widen(struct pk_suffixes *suffixes)
{
    uint32_t n_slots = suffixes->slots ? 2 * (suffixes->mask + 1) : FIRST_SLOTS;
    uint32_t *slots = realloc(suffixes->slots, n_slots * sizeof *slots);
    if (!slots) {
        return PK_ERR_NOMEM;
    }
    suffixes->slots = slots;
    struct node *nodes = realloc(suffixes->nodes, n_slots / 2 * sizeof *nodes);
    if (!nodes) {
        return PK_ERR_NOMEM;
    }
    suffixes->nodes = nodes;
    suffixes->mask = n_slots - 1;
    suffixes->max_nodes = n_slots / 2;
    memset(slots, 0xff, n_slots * sizeof *slots);
    for (uint32_t i = ROOT + 1; i < suffixes->n_nodes; i++) {
        put_slot(suffixes, i);
    }
    return PK_OK;
}

static pk_err add_node(struct pk_suffixes *suffixes, uint32_t parent, const uint8_t *label,
    uint8_t len, uint32_t *out_number)
{
    uint32_t number = find(suffixes, parent, label, len);
    if (number != NONE) {
        *out_number = number;
        return PK_OK;
    }
    if (suffixes->n_nodes == PK_SUFFIXES_MAX_NODES) {
        return PK_ERR_LIMIT;
    }
    pk_err err = suffixes->n_nodes == suffixes->max_nodes ? widen(suffixes) : PK_OK;
    if (err != PK_OK) {
        return err;
    }
    number = suffixes->n_nodes;
    suffixes->nodes[number] = (struct node){.first = first_bytes(label, len),
        .parent = parent,
        .label = (uint32_t)suffixes->labels.len,
        .len = len};
    pk_bytes_put(&suffixes->labels, label, len);
    if (suffixes->labels.err != PK_OK) {
        return suffixes->labels.err;
    }
    suffixes->n_nodes++;
    put_slot(suffixes, number);
    suffixes->nodes[parent].flags |= HAS_CHILDREN;
    *out_number = number;
    return PK_OK;
}

static bool is_ascii(const char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text >= 0x80) {
            return false;
        }
    }
    return true;
}

/* The rule as a name of wire labels; false when it is none. */
static bool name_of(const char *rule, struct pk_name *out_name)
{
    char *ascii = NULL;
    if (!is_ascii(rule) && idn2_to_ascii_8z(rule, &ascii, IDN2_NONTRANSITIONAL) != IDN2_OK) {
        return false;
    }
    const char *text = ascii ? ascii : rule;
    bool is_name = *text && pk_name_from_text(text, out_name) == PK_OK;
    idn2_free(ascii);
    if (is_name) {
        pk_name_lower(out_name);
    }
    return is_name;
}

/* One line: a rule ends at the first blank. */
static pk_err add_rule(struct pk_suffixes *suffixes, char *line)
{
    struct pk_name name;
    uint8_t flags = IS_RULE;
    line[strcspn(line, " \t\r\n")] = '\0';
    if (line[0] == '\0' || strncmp(line, "//", 2) == 0) {
        return PK_OK;
    }
    if (line[0] == '!') {
        flags = IS_EXCEPTION;
        line++;
    } else if (strncmp(line, "*.", 2) == 0) {
        flags = IS_RULE | HAS_WILDCARD;
        line += 2;
    }
    if (!name_of(line, &name)) {
        return PK_OK;
    }
    uint32_t number = ROOT;
    pk_err err = PK_OK;
    for (unsigned i = name.n_labels; i-- > 0 && err == PK_OK;) {
        uint8_t len;
        const uint8_t *label = pk_name_label(&name, i, &len);
        err = add_node(suffixes, number, label, len, &number);
    }
    if (err == PK_OK) {
        suffixes->nodes[number].flags |= flags;
    }
    return err;
}

pk_err pk_suffixes_load(const char *path, struct pk_suffixes **out_suffixes)
{
    char line[LINE_SIZE];
    FILE *file = fopen(path, "re");
    if (!file) {
        return PK_ERR_IO;
    }
    struct pk_suffixes *suffixes = calloc(1, sizeof *suffixes);
    pk_err err = suffixes ? PK_OK : PK_ERR_NOMEM;
    if (suffixes) {
        pk_bytes_init(&suffixes->labels, PK_SUFFIXES_MAX_BYTES);
        err = widen(suffixes);
    }
    if (err == PK_OK) {
        suffixes->n_nodes = 1;
        suffixes->nodes[ROOT] = (struct node){.parent = NONE};
    }
    while (err == PK_OK && fgets(line, sizeof line, file)) {
        err = add_rule(suffixes, line);
    }
    fclose(file);
    if (err != PK_OK) {
        pk_suffixes_free(suffixes);
        return err;
    }
    *out_suffixes = suffixes;
    return PK_OK;
}

void pk_suffixes_free(struct pk_suffixes *suffixes)
{
    if (suffixes) {
        free(suffixes->nodes);
        free(suffixes->slots);
        pk_bytes_done(&suffixes->labels);
        free(suffixes);
    }
}

size_t pk_suffixes_bound_bytes(void)
{
    return sizeof(struct pk_suffixes) + pk_bytes_bound_bytes(PK_SUFFIXES_MAX_BYTES) +
           PK_SUFFIXES_MAX_NODES * (sizeof(struct node) + 2 * sizeof(uint32_t));
}

/* --- asking --- */

/* Labels of the longest suffix that the name ends in; the last label always is one (the rule "*"). */
static unsigned suffix_labels(
    const struct pk_suffixes *suffixes, const struct pk_name *name, const uint8_t *starts)
{
    unsigned longest = 1;
    uint32_t number = ROOT;
    for (unsigned depth = 1; depth <= name->n_labels; depth++) {
        const uint8_t *label = name->wire + starts[name->n_labels - depth];
        uint8_t above = suffixes->nodes[number].flags;
        number = above & HAS_CHILDREN ? find(suffixes, number, label + 1, *label) : NONE;
        uint8_t flags = number == NONE ? 0 : suffixes->nodes[number].flags;
        if (flags & IS_EXCEPTION) {
            return depth - 1;
        }
        if (flags & IS_RULE || above & HAS_WILDCARD) {
            longest = depth;
        }
        if (number == NONE) {
            break;
        }
    }
    return longest;
}

unsigned pk_suffixes_strip(const struct pk_suffixes *suffixes, const struct pk_name *name)
{
    PK_UNSET uint8_t starts[PK_NAME_MAX_LABELS];
    unsigned n = 0, suffix = 1;
    if (suffixes) {
        for (unsigned at = 0; name->wire[at] != 0; at += name->wire[at] + 1u) {
            starts[n++] = (uint8_t)at;
        }
        suffix = suffix_labels(suffixes, name, starts);
    }
    return name->n_labels > suffix + 1 ? name->n_labels - suffix - 1 : 0;
}

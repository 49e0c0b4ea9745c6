/* Comparing names label by label was a fifth of `--write`, sorting keys by comparison still a tenth: each of 14 comparisons a name is a branch that nobody can foresee.
 * Radix needs a pass for each byte in which the keys differ, and each pass reads and writes in order. Names use few of the 256 bytes: a character is written in as few
 * bits as tell those apart that occur, mostly five or six, so that ten to twelve of them fit the eight bytes that are sorted by. */
#include "name_order.h"

#include <stdlib.h>
#include <string.h>

#include "picket/name.h"

enum {
    DIGITS = 8,
    N_VALUES = 256,
    FEW = 12, /* as many are sorted by insertion */
};

struct item {
    uint64_t
        head; /* of the key, after what all keys have in common, in codes; zeros after its end */
    uint32_t index, key_start;
};

_Static_assert(2 * sizeof(struct item) + sizeof(uint32_t) <= NAME_ORDER_BYTES, "all arrays");

struct sorter {
    struct pk_bytes *keys;
    struct item *items, *other; /* n of each */
    uint32_t *key_ends;         /* by index */
    uint32_t n;
    uint8_t codes
        [N_VALUES]; /* of a byte, in the same order; 0 stays 0, which is below all that can follow a label */
    unsigned code_bits;
    uint32_t counts[DIGITS][N_VALUES];
};

static pk_err make_keys(struct sorter *sorter, const struct pk_dictionary *names)
{
    pk_bytes_clear(sorter->keys);
    for (uint32_t i = 0; i < sorter->n; i++) {
        struct pk_slice wire = pk_dictionary_at(names, i);
        size_t start = sorter->keys->len;
        uint8_t *room = pk_bytes_extend(sorter->keys, PK_NAME_SORT_KEY_ROOM);
        size_t len = room ? pk_name_wire_sort_key(wire.data, wire.len, room) : 0;
        if (!room || len == PK_NAME_NO_KEY) {
            return room ? PK_ERR_MALFORMED : sorter->keys->err;
        }
        sorter->keys->len = start + len;
        sorter->items[i] = (struct item){.index = i, .key_start = (uint32_t)start};
        sorter->key_ends[i] = (uint32_t)(start + len);
    }
    return PK_OK;
}

static uint32_t key_len(const struct sorter *sorter, const struct item *item)
{
    return sorter->key_ends[item->index] - item->key_start;
}

/* Bytes with which all keys begin. */
static uint32_t common_bytes(const struct sorter *sorter)
{
    const uint8_t *keys = sorter->keys->data, *first = keys + sorter->items[0].key_start;
    uint32_t common = key_len(sorter, &sorter->items[0]);
    for (uint32_t i = 1; i < sorter->n && common > 0; i++) {
        const uint8_t *key = keys + sorter->items[i].key_start;
        uint32_t len = key_len(sorter, &sorter->items[i]);
        uint32_t most = len < common ? len : common;
        uint32_t k = 0;
        while (k < most && key[k] == first[k]) {
            k++;
        }
        common = k;
    }
    return common;
}

static void make_codes(struct sorter *sorter)
{
    uint8_t is_there[N_VALUES] = {1};
    unsigned n = 0;
    for (size_t i = 0; i < sorter->keys->len; i++) {
        is_there[sorter->keys->data[i]] = 1;
    }
    for (unsigned v = 0; v < N_VALUES; v++) {
        sorter->codes[v] = (uint8_t)n;
        n += is_there[v];
    }
    for (sorter->code_bits = 1; 1u << sorter->code_bits < n; sorter->code_bits++) {
    }
}

static void take_heads(struct sorter *sorter, uint32_t common)
{
    unsigned bits = sorter->code_bits, n_codes = 64 / bits;
    memset(sorter->counts, 0, sizeof sorter->counts);
    for (uint32_t i = 0; i < sorter->n; i++) {
        struct item *item = &sorter->items[i];
        const uint8_t *key = sorter->keys->data + item->key_start + common;
        uint32_t left = key_len(sorter, item) - common;
        unsigned n = left < n_codes ? left : n_codes;
        uint64_t head = 0;
        for (unsigned k = 0; k < n; k++) {
            head = head << bits | sorter->codes[key[k]];
        }
        item->head = n > 0 ? head << (n_codes - n) * bits : 0;
        for (unsigned d = 0; d < DIGITS; d++) {
            sorter->counts[d][item->head >> 8 * d & 0xff]++;
        }
    }
}

/* From the last digit to the first, each time keeping the order of before among equals. */
static void sort_by_heads(struct sorter *sorter)
{
    for (unsigned d = 0; d < DIGITS; d++) {
        uint32_t *counts = sorter->counts[d], at = 0;
        if (counts[sorter->items[0].head >> 8 * d & 0xff] == sorter->n) {
            continue; /* all the same here */
        }
        for (unsigned v = 0; v < N_VALUES; v++) {
            uint32_t count = counts[v];
            counts[v] = at;
            at += count;
        }
        for (uint32_t i = 0; i < sorter->n; i++) {
            sorter->other[counts[sorter->items[i].head >> 8 * d & 0xff]++] = sorter->items[i];
        }
        struct item *sorted = sorter->other;
        sorter->other = sorter->items;
        sorter->items = sorted;
    }
}

static int compare_keys(const void *a, const void *b, void *arg)
{
    const struct item *x = a, *y = b;
    const struct sorter *sorter = arg;
    const uint8_t *keys = sorter->keys->data;
    uint32_t x_len = key_len(sorter, x), y_len = key_len(sorter, y);
    int order = memcmp(keys + x->key_start, keys + y->key_start, x_len < y_len ? x_len : y_len);
    return order ? order : x_len < y_len ? -1 : x_len > y_len;
}

static void sort_few(struct sorter *sorter, struct item *items, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++) {
        struct item item = items[i];
        uint32_t k = i;
        for (; k > 0 && compare_keys(&items[k - 1], &item, sorter) > 0; k--) {
            items[k] = items[k - 1];
        }
        items[k] = item;
    }
}

static void sort_ties(struct sorter *sorter)
{
    for (uint32_t i = 0; i < sorter->n;) {
        uint32_t end = i + 1;
        while (end < sorter->n && sorter->items[i].head == sorter->items[end].head) {
            end++;
        }
        if (end - i <= FEW) {
            sort_few(sorter, sorter->items + i, end - i);
        } else {
            qsort_r(sorter->items + i, end - i, sizeof *sorter->items, compare_keys, sorter);
        }
        i = end;
    }
}

pk_err name_order(const struct pk_dictionary *names, struct pk_bytes *keys, uint32_t *out_order,
    uint32_t *out_rank)
{
    struct sorter sorter = {.keys = keys, .n = names->n};
    if (names->n == 0) {
        return PK_OK;
    }
    struct item *room = malloc(2 * (size_t)names->n * sizeof *room);
    sorter.key_ends = malloc(names->n * sizeof *sorter.key_ends);
    if (!room || !sorter.key_ends) {
        free(room);
        free(sorter.key_ends);
        return PK_ERR_NOMEM;
    }
    sorter.items = room;
    sorter.other = room + names->n;
    pk_err err = make_keys(&sorter, names);
    if (err == PK_OK) {
        make_codes(&sorter);
        take_heads(&sorter, common_bytes(&sorter));
        sort_by_heads(&sorter);
        sort_ties(&sorter);
        for (uint32_t i = 0; i < names->n; i++) {
            out_order[i] = sorter.items[i].index;
            out_rank[sorter.items[i].index] = i;
        }
    }
    free(room);
    free(sorter.key_ends);
    return err;
}

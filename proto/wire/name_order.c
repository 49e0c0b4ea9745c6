/* Comparing names label by label was a fifth of `--write`, sorting keys by comparison still a tenth: each of 14 comparisons a name is a branch that nobody can foresee.
 * Radix needs a pass for each byte in which the keys differ, and each pass reads and writes in order. */
#include "name_order.h"

#include <stdlib.h>
#include <string.h>

#include "picket/name.h"

enum {
    DIGITS = 16,
    N_VALUES = 256
};

struct item {
    uint8_t
        digits[DIGITS]; /* of the key, after what all keys have in common; zeros after its end */
    uint32_t index, key_start, key_len; /* key_len: all of it */
};

_Static_assert(2 * sizeof(struct item) <= NAME_ORDER_BYTES, "both arrays");

struct sorter {
    struct pk_bytes *keys;
    struct item *items, *other; /* n of each */
    uint32_t n;
    uint32_t counts[DIGITS][N_VALUES];
};

static pk_err make_keys(struct sorter *sorter, const struct pk_dictionary *names)
{
    pk_bytes_clear(sorter->keys);
    for (uint32_t i = 0; i < sorter->n; i++) {
        struct pk_slice wire = pk_dictionary_at(names, i);
        size_t start = sorter->keys->len;
        uint8_t *room = pk_bytes_extend(sorter->keys, 2 * PK_NAME_MAX);
        size_t len = room ? pk_name_wire_sort_key(wire.data, wire.len, room) : 0;
        if (!room || len == PK_NAME_NO_KEY) {
            return room ? PK_ERR_MALFORMED : sorter->keys->err;
        }
        sorter->keys->len = start + len;
        sorter->items[i] =
            (struct item){.index = i, .key_start = (uint32_t)start, .key_len = (uint32_t)len};
    }
    return PK_OK;
}

/* Bytes with which all keys begin. */
static uint32_t common_bytes(const struct sorter *sorter)
{
    const uint8_t *keys = sorter->keys->data, *first = keys + sorter->items[0].key_start;
    uint32_t common = sorter->items[0].key_len;
    for (uint32_t i = 1; i < sorter->n && common > 0; i++) {
        const uint8_t *key = keys + sorter->items[i].key_start;
        uint32_t most = sorter->items[i].key_len < common ? sorter->items[i].key_len : common;
        uint32_t k = 0;
        while (k < most && key[k] == first[k]) {
            k++;
        }
        common = k;
    }
    return common;
}

static void take_digits(struct sorter *sorter, uint32_t common)
{
    memset(sorter->counts, 0, sizeof sorter->counts);
    for (uint32_t i = 0; i < sorter->n; i++) {
        struct item *item = &sorter->items[i];
        uint32_t left = item->key_len - common;
        memcpy(item->digits, sorter->keys->data + item->key_start + common,
            left < DIGITS ? left : DIGITS);
        for (unsigned d = 0; d < DIGITS; d++) {
            sorter->counts[d][item->digits[d]]++;
        }
    }
}

/* From the last digit to the first, each time keeping the order of before among equals. */
static void sort_by_digits(struct sorter *sorter)
{
    for (unsigned d = DIGITS; d-- > 0;) {
        uint32_t *counts = sorter->counts[d], at = 0;
        if (counts[sorter->items[0].digits[d]] == sorter->n) {
            continue; /* all the same here */
        }
        for (unsigned v = 0; v < N_VALUES; v++) {
            uint32_t count = counts[v];
            counts[v] = at;
            at += count;
        }
        for (uint32_t i = 0; i < sorter->n; i++) {
            sorter->other[counts[sorter->items[i].digits[d]]++] = sorter->items[i];
        }
        struct item *sorted = sorter->other;
        sorter->other = sorter->items;
        sorter->items = sorted;
    }
}

static int compare_keys(const void *a, const void *b, void *arg)
{
    const struct item *x = a, *y = b;
    const uint8_t *keys = arg;
    uint32_t shorter = x->key_len < y->key_len ? x->key_len : y->key_len;
    int order = memcmp(keys + x->key_start, keys + y->key_start, shorter);
    return order ? order : x->key_len < y->key_len ? -1 : x->key_len > y->key_len;
}

static void sort_ties(struct sorter *sorter)
{
    for (uint32_t i = 0; i < sorter->n;) {
        uint32_t end = i + 1;
        while (end < sorter->n &&
               memcmp(sorter->items[i].digits, sorter->items[end].digits, DIGITS) == 0) {
            end++;
        }
        if (end - i > 1) {
            qsort_r(sorter->items + i, end - i, sizeof *sorter->items, compare_keys,
                sorter->keys->data);
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
    if (!room) {
        return PK_ERR_NOMEM;
    }
    sorter.items = room;
    sorter.other = room + names->n;
    pk_err err = make_keys(&sorter, names);
    if (err == PK_OK) {
        take_digits(&sorter, common_bytes(&sorter));
        sort_by_digits(&sorter);
        sort_ties(&sorter);
        for (uint32_t i = 0; i < names->n; i++) {
            out_order[i] = sorter.items[i].index;
            out_rank[sorter.items[i].index] = i;
        }
    }
    free(room);
    return err;
}

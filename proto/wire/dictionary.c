/* One growing blob, the end of each entry, and a keyed index over them.
 *
 * The index is allocated once for the most entries, but only a part that fits the entries there are is in use: a batch has 10,000 rows where 60,000 RDATA are
 * allowed, and both the misses and the clearing of the rest were a tenth of `--write`. */
#include "dictionary.h"

#include <stdlib.h>
#include <string.h>

#include "picket/hash.h"
#include "picket/limits.h"

enum {
    FIRST_SLOTS = 512
};

static void use_slots(struct dictionary *dictionary, uint32_t n_slots)
{
    dictionary->mask = n_slots - 1;
    memset(dictionary->slots, 0xff, n_slots * sizeof *dictionary->slots); /* all empty */
}

static void put_slot(struct dictionary *dictionary, uint32_t tag, uint32_t entry)
{
    uint32_t i = tag & dictionary->mask;
    while (dictionary->slots[i].entry != UINT32_MAX) {
        i = (i + 1) & dictionary->mask;
    }
    dictionary->slots[i] = (struct dictionary_slot){.tag = tag, .entry = entry};
}

pk_err dictionary_init(struct dictionary *dictionary, uint32_t max_entries)
{
    *dictionary = (struct dictionary){.max = max_entries, .max_slots = FIRST_SLOTS};
    while (dictionary->max_slots < 2 * max_entries) {
        dictionary->max_slots *= 2;
    }
    pk_bytes_init(&dictionary->blob, PK_MAX_UNPACKED_BYTES);
    dictionary->ends = malloc(max_entries * sizeof *dictionary->ends);
    dictionary->tags = malloc(max_entries * sizeof *dictionary->tags);
    dictionary->slots = malloc(dictionary->max_slots * sizeof *dictionary->slots);
    if (!dictionary->ends || !dictionary->tags || !dictionary->slots) {
        return PK_ERR_NOMEM;
    }
    use_slots(dictionary, FIRST_SLOTS);
    return PK_OK;
}

void dictionary_done(struct dictionary *dictionary)
{
    pk_bytes_done(&dictionary->blob);
    free(dictionary->ends);
    free(dictionary->tags);
    free(dictionary->slots);
    *dictionary = (struct dictionary){0};
}

void dictionary_clear(struct dictionary *dictionary)
{
    pk_bytes_clear(&dictionary->blob);
    dictionary->n = 0;
    use_slots(dictionary, FIRST_SLOTS);
}

struct pk_slice dictionary_at(const struct dictionary *dictionary, uint32_t index)
{
    uint32_t start = index ? dictionary->ends[index - 1] : 0;
    return (struct pk_slice){
        .data = dictionary->blob.data + start, .len = dictionary->ends[index] - start};
}

static uint32_t find(
    const struct dictionary *dictionary, uint32_t tag, const void *data, size_t len)
{
    for (uint32_t i = tag & dictionary->mask;; i = (i + 1) & dictionary->mask) {
        const struct dictionary_slot *slot = &dictionary->slots[i];
        if (slot->entry == UINT32_MAX) {
            return UINT32_MAX;
        }
        if (slot->tag == tag) {
            struct pk_slice have = dictionary_at(dictionary, slot->entry);
            if (have.len == len && memcmp(have.data, data, len) == 0) {
                return slot->entry;
            }
        }
    }
}

pk_err dictionary_intern(
    struct dictionary *dictionary, const void *data, size_t len, uint32_t *out_index)
{
    uint32_t tag = (uint32_t)pk_hash_quick(data, len);
    uint32_t index = find(dictionary, tag, data, len);
    if (index == UINT32_MAX) {
        if (dictionary->n == dictionary->max) {
            return PK_ERR_LIMIT;
        }
        pk_bytes_put(&dictionary->blob, data, len);
        if (dictionary->blob.err != PK_OK) {
            pk_err err = dictionary->blob.err;
            dictionary->blob.err = PK_OK;
            return err;
        }
        index = dictionary->n++;
        dictionary->ends[index] = (uint32_t)dictionary->blob.len;
        dictionary->tags[index] = tag;
        if (2 * dictionary->n > dictionary->mask) {
            use_slots(dictionary, 2 * (dictionary->mask + 1)); /* at most max_slots: twice max */
            for (uint32_t i = 0; i < dictionary->n; i++) {
                put_slot(dictionary, dictionary->tags[i], i);
            }
        } else {
            put_slot(dictionary, tag, index);
        }
    }
    *out_index = index;
    return PK_OK;
}

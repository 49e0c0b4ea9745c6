/* One growing blob, the end of each entry, and a keyed index over them.
 *
 * The index is allocated once for the most entries, but only a part that fits the entries there are is in use: a batch has 10,000 rows where 60,000 RDATA are
 * allowed, and both the misses and the clearing of the rest were a tenth of `--write`. A slot is four bytes for the same reason. */
#include "picket/dictionary.h"

#include <stdlib.h>
#include <string.h>

#include "picket/hash.h"

enum {
    FIRST_SLOTS = 512
};

static void use_slots(struct pk_dictionary *dictionary, uint32_t n_slots)
{
    dictionary->mask = n_slots - 1;
    memset(dictionary->slots, 0, n_slots * sizeof *dictionary->slots); /* all empty */
}

static void put_slot(struct pk_dictionary *dictionary, uint32_t tag, uint32_t entry)
{
    uint32_t i = tag & dictionary->mask;
    while (dictionary->slots[i] != 0) {
        i = (i + 1) & dictionary->mask;
    }
    dictionary->slots[i] = (tag & ~dictionary->entry_mask) | (entry + 1);
}

static uint32_t slots_for(uint32_t max_entries)
{
    uint32_t n_slots = FIRST_SLOTS;
    while (n_slots <= 2 * max_entries) { /* the index doubles when it is more than half full */
        n_slots *= 2;
    }
    return n_slots;
}

size_t pk_dictionary_bound_bytes(uint32_t max_entries, size_t max_bytes)
{
    return pk_bytes_bound_bytes(max_bytes) + 2 * max_entries * sizeof(uint32_t) +
           slots_for(max_entries) * sizeof(uint32_t);
}

pk_err pk_dictionary_init(struct pk_dictionary *dictionary, uint32_t max_entries, size_t max_bytes)
{
    *dictionary = (struct pk_dictionary){.max = max_entries,
        .max_slots = slots_for(max_entries),
        .entry_mask = UINT32_MAX >> __builtin_clz(max_entries)};
    pk_bytes_init(&dictionary->blob, max_bytes);
    dictionary->ends = malloc(max_entries * sizeof *dictionary->ends);
    dictionary->tags = malloc(max_entries * sizeof *dictionary->tags);
    dictionary->slots = malloc(dictionary->max_slots * sizeof *dictionary->slots);
    if (!dictionary->ends || !dictionary->tags || !dictionary->slots) {
        return PK_ERR_NOMEM;
    }
    use_slots(dictionary, FIRST_SLOTS);
    return PK_OK;
}

void pk_dictionary_done(struct pk_dictionary *dictionary)
{
    pk_bytes_done(&dictionary->blob);
    free(dictionary->ends);
    free(dictionary->tags);
    free(dictionary->slots);
    *dictionary = (struct pk_dictionary){0};
}

/* What fills it next is mostly of the same size: growing anew, with all entries put in again at each doubling, cost more than clearing. */
void pk_dictionary_clear(struct pk_dictionary *dictionary)
{
    uint32_t n_slots = dictionary->mask + 1;
    while (n_slots > FIRST_SLOTS && n_slots > 4 * (uint64_t)dictionary->n) {
        n_slots /= 2;
    }
    pk_bytes_clear(&dictionary->blob);
    dictionary->n = 0;
    use_slots(dictionary, n_slots);
}

struct pk_slice pk_dictionary_at(const struct pk_dictionary *dictionary, uint32_t index)
{
    uint32_t start = index ? dictionary->ends[index - 1] : 0;
    return (struct pk_slice){
        .data = dictionary->blob.data + start, .len = dictionary->ends[index] - start};
}

static uint32_t find(
    const struct pk_dictionary *dictionary, uint32_t tag, const void *data, size_t len)
{
    for (uint32_t i = tag & dictionary->mask;; i = (i + 1) & dictionary->mask) {
        uint32_t slot = dictionary->slots[i];
        if (slot == 0) {
            return UINT32_MAX;
        }
        if (((slot ^ tag) & ~dictionary->entry_mask) == 0) {
            uint32_t entry = (slot & dictionary->entry_mask) - 1;
            struct pk_slice have = pk_dictionary_at(dictionary, entry);
            if (have.len == len && memcmp(have.data, data, len) == 0) {
                return entry;
            }
        }
    }
}

/* What is put next stands where nothing was for a long while: asked for now, no store waits for it. */
static void make_room(const struct pk_bytes *blob)
{
    enum {
        LINE = 64,
        LINES_AHEAD = 3
    };
    for (size_t i = 1; i <= LINES_AHEAD; i++) {
        __builtin_prefetch(blob->data + blob->len + i * LINE, 1);
    }
}

static pk_err append(struct pk_dictionary *dictionary, const void *data, size_t len, uint32_t tag)
{
    if (dictionary->n == dictionary->max) {
        return PK_ERR_LIMIT;
    }
    pk_bytes_put(&dictionary->blob, data, len);
    if (dictionary->blob.err != PK_OK) {
        pk_err err = dictionary->blob.err;
        dictionary->blob.err = PK_OK;
        return err;
    }
    make_room(&dictionary->blob);
    dictionary->ends[dictionary->n] = (uint32_t)dictionary->blob.len;
    dictionary->tags[dictionary->n++] = tag;
    return PK_OK;
}

pk_err pk_dictionary_append(
    struct pk_dictionary *dictionary, const void *data, size_t len, uint32_t *out_index)
{
    pk_err err = append(dictionary, data, len, 0);
    *out_index = err == PK_OK ? dictionary->n - 1 : *out_index;
    return err;
}

/* The last to come took the end of its run of slots, so it can go without moving others. */
void pk_dictionary_truncate(struct pk_dictionary *dictionary, uint32_t n)
{
    while (dictionary->n > n) {
        uint32_t entry = --dictionary->n;
        uint32_t i = dictionary->tags[entry] & dictionary->mask;
        while (dictionary->slots[i] != 0 &&
               (dictionary->slots[i] & dictionary->entry_mask) != entry + 1) {
            i = (i + 1) & dictionary->mask;
        }
        dictionary->slots[i] = 0;
        dictionary->blob.len = entry ? dictionary->ends[entry - 1] : 0;
    }
}

uint64_t pk_dictionary_ahead(const struct pk_dictionary *dictionary, const void *data, size_t len)
{
    uint64_t hash = pk_hash_quick(data, len);
    pk_dictionary_prefetch(dictionary, hash);
    return hash;
}

void pk_dictionary_prefetch(const struct pk_dictionary *dictionary, uint64_t hash)
{
    __builtin_prefetch(&dictionary->slots[(uint32_t)hash & dictionary->mask]);
}

bool pk_dictionary_find(
    const struct pk_dictionary *dictionary, const void *data, size_t len, uint32_t *out_index)
{
    uint32_t index = find(dictionary, (uint32_t)pk_hash_quick(data, len), data, len);
    if (index == UINT32_MAX) {
        return false;
    }
    *out_index = index;
    return true;
}

pk_err pk_dictionary_intern(
    struct pk_dictionary *dictionary, const void *data, size_t len, uint32_t *out_index)
{
    return pk_dictionary_intern_hashed(dictionary, data, len, pk_hash_quick(data, len), out_index);
}

pk_err pk_dictionary_intern_hashed(struct pk_dictionary *dictionary, const void *data, size_t len,
    uint64_t hash, uint32_t *out_index)
{
    uint32_t tag = (uint32_t)hash;
    uint32_t index = find(dictionary, tag, data, len);
    if (index == UINT32_MAX) {
        pk_err err = append(dictionary, data, len, tag);
        if (err != PK_OK) {
            return err;
        }
        index = dictionary->n - 1;
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

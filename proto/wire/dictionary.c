/* One growing blob, the end of each entry, and a keyed index over them. */
#include "dictionary.h"

#include <stdlib.h>
#include <string.h>

#include "picket/hash.h"
#include "picket/limits.h"

static bool is_entry(const void *entries, uint32_t entry, const void *key)
{
    struct pk_slice have = dictionary_at(entries, entry);
    const struct pk_slice *want = key;
    return have.len == want->len && memcmp(have.data, want->data, have.len) == 0;
}

pk_err dictionary_init(struct dictionary *dictionary, uint32_t max_entries)
{
    *dictionary = (struct dictionary){.max = max_entries};
    pk_bytes_init(&dictionary->blob, PK_MAX_UNPACKED_BYTES);
    dictionary->ends = malloc(max_entries * sizeof *dictionary->ends);
    return dictionary->ends ? pk_map_init(&dictionary->map, max_entries, is_entry) : PK_ERR_NOMEM;
}

void dictionary_done(struct dictionary *dictionary)
{
    pk_bytes_done(&dictionary->blob);
    free(dictionary->ends);
    dictionary->ends = NULL;
    if (dictionary->map.slots) {
        pk_map_done(&dictionary->map);
    }
}

void dictionary_clear(struct dictionary *dictionary)
{
    pk_bytes_clear(&dictionary->blob);
    dictionary->n = 0;
    pk_map_clear(&dictionary->map);
}

struct pk_slice dictionary_at(const struct dictionary *dictionary, uint32_t index)
{
    uint32_t start = index ? dictionary->ends[index - 1] : 0;
    return (struct pk_slice){
        .data = dictionary->blob.data + start, .len = dictionary->ends[index] - start};
}

pk_err dictionary_intern(
    struct dictionary *dictionary, const void *data, size_t len, uint32_t *out_index)
{
    struct pk_slice key = {.data = data, .len = (uint32_t)len};
    uint64_t hash = pk_hash(data, len);
    uint32_t index = pk_map_find(&dictionary->map, hash, dictionary, &key);
    if (index == PK_MAP_NONE) {
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
        (void)pk_map_add(&dictionary->map, hash, index); /* has as many places as the dictionary */
    }
    *out_index = index;
    return PK_OK;
}

/* A hash index: from a 64-bit hash to the number of an entry the caller keeps in an array.
 *
 * The index stores (low half of the hash, entry number) pairs and knows nothing of the entries; equality is asked
 * through a callback. The capacity is fixed and allocated at init, as every table an outsider can fill
 * must have a cap; only a part that fits the entries is in use, so that a table made for a flood stays
 * in the cache while there is none. Linear probing at a load of at most one half; removal shifts back, so there
 * are no tombstones and a long-lived table stays fast. */
#ifndef PICKET_MAP_H
#define PICKET_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picket/err.h"

#define PK_MAP_NONE UINT32_MAX

/* Whether the entry with this number is the one looked for. `key` is what was given to find. */
typedef bool (*pk_map_equal)(const void *entries, uint32_t entry, const void *key);

struct pk_map_slot {
    uint32_t tag;   /* low half of the hash: small slots, since a lookup costs the cache miss */
    uint32_t entry; /* PK_MAP_NONE: empty */
};

struct pk_map {
    struct pk_map_slot *slots; /* owned; a power of two of them, of which mask + 1 are in use */
    size_t mask, max_slots;
    size_t n;
    size_t max_entries;
    pk_map_equal equal;
};

/* Room for max_entries (1 .. 2^30). PK_ERR_NOMEM leaves *map empty and safe for _done. */
pk_err pk_map_init(struct pk_map *map, size_t max_entries, pk_map_equal equal);
/* What the index of such a map takes. */
size_t pk_map_bound_bytes(size_t max_entries);
void pk_map_done(struct pk_map *map);
void pk_map_clear(struct pk_map *map);

/* The entry number for key under hash, or PK_MAP_NONE. entries is handed through to equal. */
uint32_t pk_map_find(const struct pk_map *map, uint64_t hash, const void *entries, const void *key);
/* Adds an entry that find did not know. False when the map holds max_entries already: the caller
 * sheds by his rule. */
bool pk_map_add(struct pk_map *map, uint64_t hash, uint32_t entry);
/* Removes the pair; false when it is not there. */
bool pk_map_remove(struct pk_map *map, uint64_t hash, uint32_t entry);

#endif

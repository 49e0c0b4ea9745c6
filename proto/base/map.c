/* Linear probing with backward-shift removal (Knuth 6.4 R). */
#include "picket/map.h"

#include <stdlib.h>
#include <string.h>

enum {
    FIRST_SLOTS = 1024
};

static size_t slots_for(size_t max_entries)
{
    size_t n_slots = 8;
    while (n_slots < 2 * max_entries) {
        n_slots *= 2;
    }
    return n_slots;
}

size_t pk_map_bound_bytes(size_t max_entries)
{
    return slots_for(max_entries) * sizeof(struct pk_map_slot);
}

static void use_slots(struct pk_map *map, size_t n_slots)
{
    map->mask = n_slots - 1;
    memset(map->slots, 0xff, n_slots * sizeof *map->slots); /* every entry PK_MAP_NONE */
}

static void put(struct pk_map *map, struct pk_map_slot slot)
{
    size_t i = slot.tag & map->mask;
    while (map->slots[i].entry != PK_MAP_NONE) {
        i = (i + 1) & map->mask;
    }
    map->slots[i] = slot;
}

/* Four times the slots. Without memory for the move it stays as it is, which is slower and still right, until it is full. */
static void widen(struct pk_map *map)
{
    struct pk_map_slot *old = malloc(map->n * sizeof *old);
    size_t n = 0, n_slots = 4 * (map->mask + 1);
    if (!old) {
        return;
    }
    for (size_t i = 0; i <= map->mask; i++) {
        if (map->slots[i].entry != PK_MAP_NONE) {
            old[n++] = map->slots[i];
        }
    }
    use_slots(map, n_slots < map->max_slots ? n_slots : map->max_slots);
    for (size_t i = 0; i < n; i++) {
        put(map, old[i]);
    }
    free(old);
}

pk_err pk_map_init(struct pk_map *map, size_t max_entries, pk_map_equal equal)
{
    *map = (struct pk_map){.max_entries = max_entries, .equal = equal};
    size_t n_slots = slots_for(max_entries);
    map->slots = malloc(n_slots * sizeof *map->slots);
    if (!map->slots) {
        return PK_ERR_NOMEM;
    }
    map->max_slots = n_slots;
    pk_map_clear(map);
    return PK_OK;
}

void pk_map_done(struct pk_map *map)
{
    free(map->slots);
    *map = (struct pk_map){0};
}

void pk_map_clear(struct pk_map *map)
{
    use_slots(map, map->max_slots < FIRST_SLOTS ? map->max_slots : FIRST_SLOTS);
    map->n = 0;
}

uint32_t pk_map_find(const struct pk_map *map, uint64_t hash, const void *entries, const void *key)
{
    for (size_t i = hash & map->mask;; i = (i + 1) & map->mask) {
        const struct pk_map_slot *slot = &map->slots[i];
        if (slot->entry == PK_MAP_NONE) {
            return PK_MAP_NONE;
        }
        if (slot->tag == (uint32_t)hash && map->equal(entries, slot->entry, key)) {
            return slot->entry;
        }
    }
}

bool pk_map_add(struct pk_map *map, uint64_t hash, uint32_t entry)
{
    if (map->n == map->max_entries) {
        return false;
    }
    if (2 * map->n > map->mask && map->mask + 1 < map->max_slots) {
        widen(map);
        if (map->n == map->mask) {
            return false; /* no memory to widen, and one slot has to stay empty */
        }
    }
    put(map, (struct pk_map_slot){.tag = (uint32_t)hash, .entry = entry});
    map->n++;
    return true;
}

bool pk_map_remove(struct pk_map *map, uint64_t hash, uint32_t entry)
{
    size_t i = hash & map->mask;
    while (map->slots[i].entry != entry || map->slots[i].tag != (uint32_t)hash) {
        if (map->slots[i].entry == PK_MAP_NONE) {
            return false;
        }
        i = (i + 1) & map->mask;
    }
    /* Move back every later pair of the run whose home is not between the gap and itself. */
    for (size_t j = (i + 1) & map->mask; map->slots[j].entry != PK_MAP_NONE;
         j = (j + 1) & map->mask) {
        size_t home = map->slots[j].tag & map->mask;
        if (((j - home) & map->mask) >= ((j - i) & map->mask)) {
            map->slots[i] = map->slots[j];
            i = j;
        }
    }
    map->slots[i].entry = PK_MAP_NONE;
    map->n--;
    return true;
}

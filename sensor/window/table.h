/* Rows that are found by the numbers they begin with. Private to sensor/window.
 *
 * An array of rows of one size and a hash index over it: a slot holds the hash and the row's place, so that a row is only read when it is most likely the one. Filled, given out, cleared; nothing is
 * removed. Keys are a few integers that this process gave out, hashed by pk_hash_words. */
#ifndef SENSOR_TABLE_H
#define SENSOR_TABLE_H

#include <string.h>

#include "picket/err.h"
#include "picket/hash.h"

struct table {
    uint8_t *rows; /* owned; max of row_bytes each, the key first */
    uint32_t n, max;
    size_t row_bytes;
    uint32_t *
        slots; /* the row's number + 1 below, the top of its hash above; 0: empty. mask + 1 of max_slots are in use, never more than half full */
    uint32_t mask, max_slots;
    uint32_t row_mask; /* the bits of a slot that are a number */
};

#define TABLE_NONE UINT32_MAX

/* Room for max rows (1 .. 2^30). PK_ERR_NOMEM leaves it safe for _done. */
pk_err table_init(struct table *table, uint32_t max, size_t row_bytes);
void table_done(struct table *table);
void table_clear(struct table *table);
size_t table_bound_bytes(uint32_t max, size_t row_bytes);
/* Puts the last row into the index; it was not there. */
void table_index(struct table *table, uint32_t hash, size_t key_bytes);

/* Of a key; its size is one for all keys of a table, and a multiple of four. It is told each time, so that the compiler knows it. */
static inline uint32_t table_hash(const void *key, size_t key_bytes)
{
    return pk_hash_words(key, key_bytes / sizeof(uint32_t));
}

static inline void table_prefetch(const struct table *table, uint32_t hash)
{
    __builtin_prefetch(&table->slots[hash & table->mask]);
}

static inline void *table_at(const struct table *table, uint32_t row)
{
    return table->rows + row * table->row_bytes;
}

/* The row with this key, or TABLE_NONE. */
static inline uint32_t table_find(
    const struct table *table, const void *key, size_t key_bytes, uint32_t hash)
{
    for (uint32_t i = hash & table->mask;; i = (i + 1) & table->mask) {
        uint32_t slot = table->slots[i], row = (slot & table->row_mask) - 1;
        if (slot == 0) {
            return TABLE_NONE;
        }
        if (((slot ^ hash) & ~table->row_mask) == 0 &&
            memcmp(table_at(table, row), key, key_bytes) == 0) {
            return row;
        }
    }
}

/* Asks for the place of rows to come: a new row is written where nothing was for a long while, and stores wait for memory in their order. Some seventy of them can; then the
 * processor stands still, at whatever it stores next. */
static inline void table_make_room(const struct table *table)
{
    enum {
        AHEAD_BYTES = 256
    };
    __builtin_prefetch(table->rows + table->n * table->row_bytes + AHEAD_BYTES, 1);
}

/* The row with this key; a new one, which is the n of before, has its key set and the rest to be set by the caller. PK_ERR_LIMIT: full, nothing was added. */
static inline pk_err table_put(
    struct table *table, const void *key, size_t key_bytes, uint32_t hash, uint32_t *out_row)
{
    *out_row = table_find(table, key, key_bytes, hash);
    if (*out_row == TABLE_NONE) {
        if (table->n == table->max) {
            return PK_ERR_LIMIT;
        }
        *out_row = table->n++;
        table_make_room(table);
        memcpy(table_at(table, *out_row), key, key_bytes);
        table_index(table, hash, key_bytes);
    }
    return PK_OK;
}

#endif

/* The index grows with the rows; what fills it next is mostly of the same size, so clearing leaves it as large as a fourth of it was needed. */
#include "window/table.h"

#include <stdlib.h>

enum {
    FIRST_SLOTS = 512
};

static uint32_t slots_for(uint32_t max)
{
    uint32_t n_slots = FIRST_SLOTS;
    while (n_slots < 2 * max) {
        n_slots *= 2;
    }
    return n_slots;
}

static void use_slots(struct table *table, uint32_t n_slots)
{
    table->mask = n_slots - 1;
    memset(table->slots, 0, n_slots * sizeof *table->slots); /* all empty */
}

pk_err table_init(struct table *table, uint32_t max, size_t row_bytes)
{
    *table = (struct table){.max = max,
        .row_bytes = row_bytes,
        .max_slots = slots_for(max),
        .row_mask = UINT32_MAX >> __builtin_clz(max)};
    table->rows = aligned_alloc(64, (max * row_bytes + 63) / 64 * 64);
    table->slots = malloc(table->max_slots * sizeof *table->slots);
    if (!table->rows || !table->slots) {
        return PK_ERR_NOMEM;
    }
    use_slots(table, FIRST_SLOTS);
    return PK_OK;
}

void table_done(struct table *table)
{
    free(table->rows);
    free(table->slots);
    *table = (struct table){0};
}

void table_clear(struct table *table)
{
    uint32_t n_slots = table->mask + 1;
    while (n_slots > FIRST_SLOTS && n_slots > 4 * (uint64_t)table->n) {
        n_slots /= 2;
    }
    table->n = 0;
    use_slots(table, n_slots);
}

size_t table_bound_bytes(uint32_t max, size_t row_bytes)
{
    return max * row_bytes + 63 + slots_for(max) * sizeof(uint32_t);
}

static void put_slot(struct table *table, uint32_t row, uint32_t hash)
{
    uint32_t i = hash & table->mask;
    while (table->slots[i] != 0) {
        i = (i + 1) & table->mask;
    }
    table->slots[i] = (hash & ~table->row_mask) | (row + 1);
}

void table_index(struct table *table, uint32_t hash, size_t key_bytes)
{
    if (2 * table->n > table->mask + 1 && table->mask + 1 < table->max_slots) {
        use_slots(table, 2 * (table->mask + 1));
        for (uint32_t i = 0; i < table->n; i++) {
            put_slot(table, i, table_hash(table_at(table, i), key_bytes));
        }
    } else {
        put_slot(table, table->n - 1, hash);
    }
}

/* Two generations of 64-bit hashes. */
#include "contact.h"

#include <stdlib.h>
#include <string.h>

pk_err pk_contacts_init(struct pk_contacts *contacts, size_t max_contacts)
{
    *contacts = (struct pk_contacts){.max = max_contacts / 2};
    size_t slots = 1024;
    while (slots < max_contacts) { /* each generation holds half of max: load one half */
        slots *= 2;
    }
    contacts->mask = slots - 1;
    contacts->sets[0] = calloc(slots, sizeof(uint64_t)); /* pages come as they are used */
    contacts->sets[1] = calloc(slots, sizeof(uint64_t));
    return contacts->sets[0] && contacts->sets[1] ? PK_OK : PK_ERR_NOMEM;
}

void pk_contacts_done(struct pk_contacts *contacts)
{
    free(contacts->sets[0]);
    free(contacts->sets[1]);
    contacts->sets[0] = contacts->sets[1] = NULL;
}

/* The slot of key, or the empty one where it would go. */
static size_t slot_of(const struct pk_contacts *contacts, unsigned generation, uint64_t key)
{
    size_t slot = key & contacts->mask;
    while (contacts->sets[generation][slot] != 0 && contacts->sets[generation][slot] != key) {
        slot = (slot + 1) & contacts->mask;
    }
    return slot;
}

static void turn(struct pk_contacts *contacts, int64_t now_us)
{
    uint64_t *oldest = contacts->sets[1];
    contacts->forgotten += contacts->n[1];
    contacts->sets[1] = contacts->sets[0];
    contacts->n[1] = contacts->n[0];
    memset(oldest, 0, (contacts->mask + 1) * sizeof *oldest);
    contacts->sets[0] = oldest;
    contacts->n[0] = 0;
    contacts->since_us = now_us;
}

bool pk_contacts_add(struct pk_contacts *contacts, uint64_t key, int64_t now_us)
{
    key = key ? key : 1;
    if (contacts->since_us == 0) {
        contacts->since_us = now_us;
    }
    if (now_us - contacts->since_us > (int64_t)PK_CONTACT_GENERATION_S * 1000000 ||
        contacts->n[0] >= contacts->max) {
        turn(contacts, now_us);
    }
    size_t slot = slot_of(contacts, 0, key);
    if (contacts->sets[0][slot] == key || contacts->sets[1][slot_of(contacts, 1, key)] == key) {
        return false;
    }
    contacts->sets[0][slot] = key;
    contacts->n[0]++;
    return true;
}

bool pk_contacts_has(const struct pk_contacts *contacts, uint64_t key)
{
    key = key ? key : 1;
    return contacts->sets[0][slot_of(contacts, 0, key)] == key ||
           contacts->sets[1][slot_of(contacts, 1, key)] == key;
}

static int compare_keys(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

void pk_contacts_save(const struct pk_contacts *contacts, struct pk_bytes *out)
{
    pk_bytes_put_be64(out, (uint64_t)contacts->since_us);
    for (unsigned generation = 0; generation < 2; generation++) {
        size_t n = contacts->n[generation], at = 0;
        uint64_t *sorted = malloc((n + 1) * sizeof *sorted);
        if (!sorted) {
            out->err = PK_ERR_NOMEM;
            return;
        }
        for (size_t i = 0; i <= contacts->mask && at < n; i++) {
            if (contacts->sets[generation][i]) {
                sorted[at++] = contacts->sets[generation][i];
            }
        }
        if (n > 1) {
            qsort(sorted, n, sizeof *sorted, compare_keys); /* canonical: equal sets, equal bytes */
        }
        pk_bytes_put_varint(out, n);
        for (size_t i = 0; i < n; i++) {
            pk_bytes_put_be64(out, sorted[i]);
        }
        free(sorted);
    }
}

pk_err pk_contacts_load(struct pk_contacts *contacts, struct pk_reader *in)
{
    contacts->since_us = (int64_t)pk_reader_be64(in);
    for (unsigned generation = 0; generation < 2; generation++) {
        uint64_t n = pk_reader_varint(in);
        memset(contacts->sets[generation], 0, (contacts->mask + 1) * sizeof(uint64_t));
        contacts->n[generation] = 0;
        if (n > contacts->max || n * 8 > pk_reader_left(in)) {
            return PK_ERR_MALFORMED;
        }
        for (uint64_t i = 0; i < n; i++) {
            uint64_t key = pk_reader_be64(in);
            size_t slot = slot_of(contacts, generation, key);
            contacts->n[generation] += key != 0 && contacts->sets[generation][slot] == 0;
            contacts->sets[generation][slot] = key;
        }
    }
    return pk_reader_err(in);
}

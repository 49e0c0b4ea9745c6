/* Interning for the batch builder: byte strings to small numbers, in order of arrival. Private to proto/wire. */
#ifndef WIRE_DICTIONARY_H
#define WIRE_DICTIONARY_H

#include "picket/bytes.h"
#include "picket/observation.h"

struct dictionary_slot {
    uint32_t tag, entry; /* entry UINT32_MAX: empty */
};

struct dictionary {
    struct pk_bytes blob;
    uint32_t *ends; /* of each entry in blob */
    uint32_t *tags; /* hash of each entry, its low half */
    uint32_t n, max;
    struct dictionary_slot *
        slots; /* mask + 1 of max_slots are in use: what a batch touches stays in the cache, and clearing costs what was used */
    uint32_t mask, max_slots;
};

pk_err dictionary_init(struct dictionary *dictionary, uint32_t max_entries);
void dictionary_done(struct dictionary *dictionary);
void dictionary_clear(struct dictionary *dictionary);
/* PK_ERR_LIMIT when it is full; then nothing was added. */
pk_err dictionary_intern(
    struct dictionary *dictionary, const void *data, size_t len, uint32_t *out_index);
struct pk_slice dictionary_at(const struct dictionary *dictionary, uint32_t index);

#endif

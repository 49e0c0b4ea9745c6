/* Interning: byte strings to small numbers, in order of arrival. For tables that fill, are read once and are forgotten: a batch, a window. Hashed with
 * pk_hash_quick, so for what no outsider can time. */
#ifndef PICKET_DICTIONARY_H
#define PICKET_DICTIONARY_H

#include "picket/bytes.h"
#include "picket/observation.h"

struct pk_dictionary {
    struct pk_bytes blob;
    uint32_t *ends; /* of each entry in blob */
    uint32_t *tags; /* hash of each entry, its low half */
    uint32_t n, max;
    uint32_t *
        slots; /* entry + 1 and as much of its tag as has room above; 0: empty. mask + 1 of max_slots are in use: what a batch touches stays in the cache, and clearing costs what was used */
    uint32_t mask, max_slots, entry_mask;
};

/* Room for max_entries (1 .. 2^30) of max_bytes together; the bytes are allocated as they come. PK_ERR_NOMEM leaves it safe for _done. */
pk_err pk_dictionary_init(struct pk_dictionary *dictionary, uint32_t max_entries, size_t max_bytes);
size_t pk_dictionary_bound_bytes(uint32_t max_entries, size_t max_bytes);
void pk_dictionary_done(struct pk_dictionary *dictionary);
void pk_dictionary_clear(struct pk_dictionary *dictionary);
/* The number of these bytes; a new one is the n of before. PK_ERR_LIMIT when it is full, PK_ERR_NOMEM; then nothing was added. */
pk_err pk_dictionary_intern(
    struct pk_dictionary *dictionary, const void *data, size_t len, uint32_t *out_index);
/* The same in two steps, so that other work can be done while memory answers: the hash of the bytes, which also asks for the slot; then the rest. */
uint64_t pk_dictionary_ahead(const struct pk_dictionary *dictionary, const void *data, size_t len);
void pk_dictionary_prefetch(const struct pk_dictionary *dictionary, uint64_t hash);
pk_err pk_dictionary_intern_hashed(struct pk_dictionary *dictionary, const void *data, size_t len,
    uint64_t hash, uint32_t *out_index);
/* Adds bytes that the caller knows to be new, without hashing them: _intern does not find them, so a dictionary is filled by the one or the other. Errors as there. */
pk_err pk_dictionary_append(
    struct pk_dictionary *dictionary, const void *data, size_t len, uint32_t *out_index);
/* Forgets the last entries: n is at most what there are. Costs as much as adding them did. */
void pk_dictionary_truncate(struct pk_dictionary *dictionary, uint32_t n);
/* Whether these bytes have a number; adds nothing. */
bool pk_dictionary_find(
    const struct pk_dictionary *dictionary, const void *data, size_t len, uint32_t *out_index);
/* Borrowed until the next intern. */
struct pk_slice pk_dictionary_at(const struct pk_dictionary *dictionary, uint32_t index);

#endif

/* Who missed which label of a zone lately: what is common is nobody's attack, what is new is a list's. Private to aggregator/detect.
 *
 * A fixed table, four places a bucket, the longest untouched of a bucket is overwritten. Keys are 64-bit hashes of (zone, label); what is older than a week is as if it were not. */
#ifndef DETECT_MISSES_H
#define DETECT_MISSES_H

#include <stdbool.h>
#include <stdint.h>

#include "picket/bytes.h"
#include "picket/err.h"
#include "picket/reader.h"

struct actor;
struct pk_engine;
struct observation;

enum {
    MISS_NETWORKS = 6,
    MISS_SITES = 3,
    MISS_FEW = 3, /* networks, at MISS_SITES sites */
    MISS_STRANGERS = 2,
    MISS_INSIDE = 3 /* clients of our own, at MISS_SITES sites: a mistake of ours */
};

struct miss {
    uint64_t key;                /* the two lowest bits are zero; 0: free */
    uint32_t hour;               /* of the last one, since 1970 */
    uint8_t n_networks, n_sites; /* of established sources, up to what is kept */
    uint8_t is_suspect;          /* a suspected source asked it */
    uint8_t n_strangers;
    uint8_t n_inside;                 /* of the established: clients of our own */
    uint16_t networks[MISS_NETWORKS]; /* sixteen bits of a hash */
    uint16_t sites[MISS_SITES];
    uint16_t strangers[MISS_STRANGERS]; /* networks of other sources, the first */
};

struct misses {
    struct miss *v;
    uint64_t mask; /* of buckets */
};

pk_err misses_init(struct misses *misses, size_t max);
void misses_done(struct misses *misses);

struct miss_facts {
    uint64_t key;   /* the two lowest bits are zero */
    bool is_novel;  /* nobody missed it here within seven days */
    bool is_common; /* three unrelated established sources at three sites did, or six anywhere */
    bool is_ours; /* three clients of our own at three sites did: a mistake of ours, whoever asks */
    bool is_suspect; /* a suspected source did */
    uint8_t
        n_others; /* other networks that did, strangers too: whoever leads an attack can make it so */
};
/* Of a zone and label. */
uint64_t miss_key(const struct observation *seen);
/* Notes the row's miss and says what was known before it. */
void miss_note(
    struct pk_engine *engine, const struct observation *seen, struct miss_facts *out_facts);
/* A source with a life of its own here: an inside client, or one that had twenty answers. A fresh one may be one of a botnet's: it makes nothing common. */
bool miss_is_established(const struct actor *actor);
/* Networks but the source's own that missed it, as kept. */
uint8_t miss_others(const struct pk_engine *engine, uint64_t key, const struct actor *actor);
bool miss_is_common(const struct pk_engine *engine, uint64_t key);
bool miss_is_ours(const struct pk_engine *engine, uint64_t key);
void miss_suspect(struct pk_engine *engine, uint64_t key);

void misses_save(const struct misses *misses, struct pk_bytes *out);
void misses_load(struct misses *misses, struct pk_reader *in);

#endif

/* A four-way table of missed labels. */
#include "misses.h"

#include <stdlib.h>
#include <string.h>

#include "picket/hash.h"

#include "internal.h"

enum {
    WAYS = 4,
    WEEK_H = 168,
    ESTABLISHED_HITS = 20
};

pk_err misses_init(struct misses *misses, size_t max)
{
    size_t buckets = 64;
    while (buckets * WAYS < max) {
        buckets *= 2;
    }
    misses->mask = buckets - 1;
    misses->v = calloc(buckets * WAYS, sizeof *misses->v); /* pages come as they are used */
    return misses->v ? PK_OK : PK_ERR_NOMEM;
}

void misses_done(struct misses *misses)
{
    free(misses->v);
    misses->v = NULL;
}

static struct miss *find(const struct misses *misses, uint64_t key)
{
    struct miss *bucket = &misses->v[(key >> 2 & misses->mask) * WAYS];
    for (unsigned i = 0; i < WAYS; i++) {
        if (bucket[i].key == key) {
            return &bucket[i];
        }
    }
    return NULL;
}

static struct miss *place(const struct misses *misses, uint64_t key)
{
    struct miss *bucket = &misses->v[(key >> 2 & misses->mask) * WAYS], *oldest = bucket;
    for (unsigned i = 0; i < WAYS; i++) {
        if (bucket[i].key == 0) {
            return &bucket[i];
        }
        oldest = bucket[i].hour < oldest->hour ? &bucket[i] : oldest;
    }
    return oldest;
}

static bool is_common(const struct miss *miss)
{
    return miss->n_networks == MISS_NETWORKS ||
           (miss->n_networks >= MISS_FEW && miss->n_sites == MISS_SITES);
}

/* Clients of our own cannot be had from outside: what they miss together at several sites says nothing about strangers either, who are often their resolvers. */
static bool is_ours(const struct miss *miss)
{
    return miss->n_inside >= MISS_INSIDE && miss->n_sites == MISS_SITES;
}

bool miss_is_established(const struct actor *actor)
{
    return actor_is_inside(actor) || actor->own[OUTCOME_HIT] >= ESTABLISHED_HITS;
}

static uint8_t add(uint16_t *list, uint8_t n, uint8_t max, uint16_t v)
{
    for (uint8_t i = 0; i < n; i++) {
        if (list[i] == v) {
            return n;
        }
    }
    if (n < max) {
        list[n++] = v;
    }
    return n;
}

static uint8_t others(const struct miss *miss, uint16_t network)
{
    uint8_t n = 0;
    for (uint8_t i = 0; i < miss->n_networks; i++) {
        n = (uint8_t)(n + (miss->networks[i] != network));
    }
    for (uint8_t i = 0; i < miss->n_strangers; i++) {
        n = (uint8_t)(n + (miss->strangers[i] != network));
    }
    return n;
}

uint64_t miss_key(const struct observation *seen)
{
    uint64_t key = pk_hash_mix(seen->zone->hash, seen->trial.label_hash);
    key &= ~UINT64_C(3); /* room for an outcome where keys are kept */
    return key ? key : 4;
}

void miss_note(
    struct pk_engine *engine, const struct observation *seen, struct miss_facts *out_facts)
{
    uint64_t key = miss_key(seen);
    uint32_t hour = (uint32_t)(seen->row->first_us / INT64_C(3600000000));
    struct actor_key network_key = actor_network_key(seen->actor);
    uint16_t network = (uint16_t)actor_hash(&network_key);
    struct miss *miss = find(&engine->misses, key);
    *out_facts = (struct miss_facts){.key = key};
    if (!miss || hour > miss->hour + WEEK_H) {
        out_facts->is_novel = true;
        miss = miss ? miss : place(&engine->misses, key);
        *miss = (struct miss){.key = key, .hour = hour};
    } else {
        out_facts->is_common = is_common(miss);
        out_facts->is_ours = is_ours(miss);
        out_facts->is_suspect = miss->is_suspect;
        out_facts->n_others = others(miss, network);
    }
    miss->hour = hour > miss->hour ? hour : miss->hour;
    if (miss_is_established(seen->actor) && !seen->is_echo) {
        uint8_t n = miss->n_networks;
        miss->n_networks = add(miss->networks, n, MISS_NETWORKS, network);
        miss->n_inside =
            (uint8_t)(miss->n_inside + (miss->n_networks > n && actor_is_inside(seen->actor)));
        miss->n_sites = add(miss->sites, miss->n_sites, MISS_SITES, seen->site);
    } else if (!seen->is_echo) {
        miss->n_strangers = add(miss->strangers, miss->n_strangers, MISS_STRANGERS, network);
    }
}

uint8_t miss_others(const struct pk_engine *engine, uint64_t key, const struct actor *actor)
{
    const struct miss *miss = find(&engine->misses, key);
    struct actor_key network = actor_network_key(actor);
    return miss ? others(miss, (uint16_t)actor_hash(&network)) : 0;
}

bool miss_is_common(const struct pk_engine *engine, uint64_t key)
{
    const struct miss *miss = find(&engine->misses, key);
    return miss && is_common(miss);
}

bool miss_is_ours(const struct pk_engine *engine, uint64_t key)
{
    const struct miss *miss = find(&engine->misses, key);
    return miss && is_ours(miss);
}

void miss_suspect(struct pk_engine *engine, uint64_t key)
{
    struct miss *miss = find(&engine->misses, key);
    if (miss) {
        miss->is_suspect = 1;
    }
}

/* --- state --- */

void misses_save(const struct misses *misses, struct pk_bytes *out)
{
    size_t n = 0, last = 0;
    for (size_t i = 0; i < (misses->mask + 1) * WAYS; i++) {
        n += misses->v[i].key != 0;
    }
    pk_bytes_put_varint(out, misses->mask + 1);
    pk_bytes_put_varint(out, n);
    for (size_t i = 0; i < (misses->mask + 1) * WAYS && n > 0; i++) {
        const struct miss *miss = &misses->v[i];
        if (miss->key == 0) {
            continue;
        }
        pk_bytes_put_varint(out, i - last);
        last = i;
        pk_bytes_put_be64(out, miss->key);
        pk_bytes_put_varint(out, miss->hour);
        pk_bytes_put_u8(out, miss->n_networks);
        pk_bytes_put_u8(out, miss->n_sites);
        pk_bytes_put_u8(out, miss->n_inside);
        pk_bytes_put_u8(out, miss->is_suspect);
        for (unsigned k = 0; k < miss->n_networks; k++) {
            pk_bytes_put_be16(out, miss->networks[k]);
        }
        for (unsigned k = 0; k < miss->n_sites; k++) {
            pk_bytes_put_be16(out, miss->sites[k]);
        }
        pk_bytes_put_u8(out, miss->n_strangers);
        for (unsigned k = 0; k < miss->n_strangers; k++) {
            pk_bytes_put_be16(out, miss->strangers[k]);
        }
    }
}

void misses_load(struct misses *misses, struct pk_reader *in)
{
    size_t places = (misses->mask + 1) * WAYS, at = 0;
    if (pk_reader_varint(in) != misses->mask + 1) {
        pk_reader_fail(in, PK_ERR_MALFORMED); /* saved under another limit */
    }
    uint64_t n = pk_reader_varint(in);
    for (uint64_t i = 0; i < n && in->err == PK_OK; i++) {
        uint64_t skip = pk_reader_varint(in);
        if (skip >= places - at) {
            pk_reader_fail(in, PK_ERR_MALFORMED);
            return;
        }
        at += skip;
        struct miss *miss = &misses->v[at];
        miss->key = pk_reader_be64(in);
        miss->hour = state_get_u32(in);
        miss->n_networks = state_get_count(in, MISS_NETWORKS);
        miss->n_sites = state_get_count(in, MISS_SITES);
        miss->n_inside = state_get_count(in, MISS_NETWORKS);
        miss->is_suspect = state_get_count(in, 1);
        for (unsigned k = 0; k < miss->n_networks; k++) {
            miss->networks[k] = pk_reader_be16(in);
        }
        for (unsigned k = 0; k < miss->n_sites; k++) {
            miss->sites[k] = pk_reader_be16(in);
        }
        miss->n_strangers = state_get_count(in, MISS_STRANGERS);
        for (unsigned k = 0; k < miss->n_strangers; k++) {
            miss->strangers[k] = pk_reader_be16(in);
        }
    }
}

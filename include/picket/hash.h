/* Keyed hashing for every table that outsiders fill (hash flooding: SipHash-2-4, Aumasson and
 * Bernstein 2012, with a random key drawn at start), and the unkeyed digest for content. */
#ifndef PICKET_HASH_H
#define PICKET_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picket/err.h"

enum {
    PK_DIGEST_BYTES = 16
};

/* Initialises libsodium and draws the process's hash key. Call once from main, before threads;
 * PK_ERR_IO when the system has no randomness. Tests may call pk_hash_set_key for repeatable runs. */
pk_err pk_hash_start(void);
void pk_hash_set_key(const uint8_t key[16]);

/* SipHash-2-4 under the process key: for tables in memory only, never stored or sent. */
uint64_t pk_hash(const void *data, size_t len);
/* A keyed hash three to ten times quicker, for tables nobody outside can watch: those of a sensor, which answers no one. Almost universal, not a PRF: two
 * different inputs chosen without knowing the key collide with probability below 2^-62, which is all that a bounded table needs when its owner gives
 * nothing back that an attacker could learn from (hash.c says where the bound comes from). Where a peer can time us, pk_hash. */
static inline uint64_t pk_hash_quick(const void *data, size_t len);
/* For keys of a few words that this process made itself (numbers of table entries): multilinear over 32-bit words in 64-bit arithmetic, strongly universal in its 32 bits (Lemire and
 * Kaser, "Strongly universal string hashing is fast", Computer Journal 57, 2014). n at most PK_HASH_MAX_WORDS. */
enum {
    PK_HASH_MAX_WORDS = 8
};
extern uint64_t pk_hash_word_keys[PK_HASH_MAX_WORDS + 1];
static inline uint32_t pk_hash_words(const void *words, size_t n)
{
    const uint8_t *p = words;
    uint64_t sum = pk_hash_word_keys[PK_HASH_MAX_WORDS];
    for (size_t i = 0; i < n; i++) {
        uint32_t word;
        __builtin_memcpy(&word, p + i * sizeof word, sizeof word);
        sum += pk_hash_word_keys[i] * word;
    }
    return (uint32_t)(sum >> 32);
}
/* Mixes two hashes into one (for composite keys). */
uint64_t pk_hash_mix(uint64_t a, uint64_t b);

/* SipHash under a fixed, public key: quick content identity that is the same on every machine. Not for tables. */
uint64_t pk_hash_fixed(const void *data, size_t len);

/* BLAKE2b-128 of data: the same on every machine, for content identity (digests, derived ids). */
void pk_digest(const void *data, size_t len, uint8_t out_digest[PK_DIGEST_BYTES]);

/* --- the quick hash of short keys whose size the compiler knows (addresses, the ends of a flow): half of a call's cost was the call --- */

__extension__ typedef unsigned __int128 pk_u128;

enum {
    PK_HASH_QUICK_MAX_BYTES = 2048, /* longer input goes to SipHash */
    PK_HASH_QUICK_INLINE = 64
};

uint64_t pk_hash_quick_any(const void *data, size_t len); /* of any length */
/* Of hash.c; nobody else writes it. */
extern struct pk_hash_quick_key {
    pk_u128 fold[4];
    uint64_t words[PK_HASH_QUICK_MAX_BYTES / 8];
    bool is_ready;
} pk_hash_quick_key;

static inline uint64_t pk_hash_quick_load(const uint8_t *p)
{
    uint64_t v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}

/* 128 bits to 64: multiply-add-shift. */
static inline uint64_t pk_hash_quick_fold(pk_u128 sum, size_t len)
{
    const pk_u128 *fold = pk_hash_quick_key.fold;
    return (uint64_t)((fold[0] + fold[1] * (uint64_t)sum + fold[2] * (uint64_t)(sum >> 64) +
                          fold[3] * len) >>
                      64);
}

/* As the general one computes it, for 8 bytes and more. */
static inline uint64_t pk_hash_quick_short(const uint8_t *p, size_t len)
{
    const uint64_t *key = pk_hash_quick_key.words;
    pk_u128 sum = 0;
    size_t left = len;
    for (; left > 16; left -= 16, p += 16, key += 2) {
        sum += (pk_u128)(pk_hash_quick_load(p) + key[0]) * (pk_hash_quick_load(p + 8) + key[1]);
    }
    const uint8_t *a = len >= 16 ? p + left - 16 : p;
    sum += (pk_u128)(pk_hash_quick_load(a) + key[0]) * (pk_hash_quick_load(p + left - 8) + key[1]);
    return pk_hash_quick_fold(sum, len);
}

__attribute__((always_inline)) static inline uint64_t pk_hash_quick(const void *data, size_t len)
{
    if (__builtin_constant_p(len) && len >= 8 && len <= PK_HASH_QUICK_INLINE &&
        __builtin_expect(pk_hash_quick_key.is_ready, 1)) {
        return pk_hash_quick_short(data, len);
    }
    return pk_hash_quick_any(data, len);
}

#endif

/* Keyed hashing for every table that outsiders fill (hash flooding: SipHash-2-4, Aumasson and
 * Bernstein 2012, with a random key drawn at start), and the unkeyed digest for content. */
#ifndef PICKET_HASH_H
#define PICKET_HASH_H

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
uint64_t pk_hash_quick(const void *data, size_t len);
/* Mixes two hashes into one (for composite keys). */
uint64_t pk_hash_mix(uint64_t a, uint64_t b);

/* SipHash under a fixed, public key: quick content identity that is the same on every machine. Not for tables. */
uint64_t pk_hash_fixed(const void *data, size_t len);

/* BLAKE2b-128 of data: the same on every machine, for content identity (digests, derived ids). */
void pk_digest(const void *data, size_t len, uint8_t out_digest[PK_DIGEST_BYTES]);

#endif

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
/* A quicker keyed hash (folded multiplication, as in wyhash), for what is done with every message. For tables in memory where the entry is compared as well, or where a
 * collision costs no more than one entry of a statistic: it is no match for somebody who can see its values. */
uint64_t pk_hash_quick(const void *data, size_t len);
/* Mixes two hashes into one (for composite keys). */
uint64_t pk_hash_mix(uint64_t a, uint64_t b);

/* SipHash under a fixed, public key: quick content identity that is the same on every machine. Not for tables. */
uint64_t pk_hash_fixed(const void *data, size_t len);

/* BLAKE2b-128 of data: the same on every machine, for content identity (digests, derived ids). */
void pk_digest(const void *data, size_t len, uint8_t out_digest[PK_DIGEST_BYTES]);

#endif

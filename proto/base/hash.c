/* Keyed hashing and digests over libsodium. */
#include "picket/hash.h"

#include <string.h>

#include <sodium.h>

static uint8_t process_key[crypto_shorthash_siphash24_KEYBYTES];

pk_err pk_hash_start(void)
{
    if (sodium_init() < 0) {
        return PK_ERR_IO;
    }
    randombytes_buf(process_key, sizeof process_key);
    return PK_OK;
}

void pk_hash_set_key(const uint8_t key[16])
{
    memcpy(process_key, key, sizeof process_key);
}

static uint64_t siphash(const void *data, size_t len, const uint8_t *key)
{
    uint8_t raw[crypto_shorthash_siphash24_BYTES];
    (void)crypto_shorthash_siphash24(raw, data, len, key); /* cannot fail */
    uint64_t v = 0;
    for (unsigned i = sizeof raw; i-- > 0;) { /* little-endian on every machine */
        v = v << 8 | raw[i];
    }
    return v;
}

uint64_t pk_hash(const void *data, size_t len)
{
    return siphash(data, len, process_key);
}

uint64_t pk_hash_fixed(const void *data, size_t len)
{
    static const uint8_t zero[crypto_shorthash_siphash24_KEYBYTES];
    return siphash(data, len, zero);
}

uint64_t pk_hash_mix(uint64_t a, uint64_t b)
{
    /* Both are keyed hashes already; this only has to keep (a, b) and (b, a) apart and spread the bits (murmur3's finaliser). */
    uint64_t v = a ^ (b * 0x9e3779b97f4a7c15u + 0x7f4a7c15u + (a << 6) + (a >> 2));
    v ^= v >> 33;
    v *= 0xff51afd7ed558ccdu;
    v ^= v >> 33;
    return v;
}

void pk_digest(const void *data, size_t len, uint8_t out_digest[PK_DIGEST_BYTES])
{
    (void)crypto_generichash(
        out_digest, PK_DIGEST_BYTES, data, len, NULL, 0); /* cannot fail with these sizes */
}

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

__extension__ typedef unsigned __int128 u128;

static uint64_t fold(uint64_t a, uint64_t b)
{
    u128 product = (u128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t word(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v); /* in the machine's order: the value never leaves it */
    return v;
}

static uint64_t half(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

uint64_t pk_hash_quick(const void *data, size_t len)
{
    const uint8_t *p = data;
    uint64_t key = word(process_key), mask = word(process_key + 8) ^ 0x9e3779b97f4a7c15u;
    uint64_t h = key ^ 0xa0761d6478bd642fu ^ len, a = 0, b = 0;
    size_t left = len;
    for (; left > 16; left -= 16, p += 16) {
        h = fold(word(p) ^ mask, word(p + 8) ^ h);
    }
    if (left >= 8) { /* both ends: they may overlap */
        a = word(p);
        b = word(p + left - 8);
    } else if (left >= 4) {
        a = half(p);
        b = half(p + left - 4);
    } else if (left > 0) {
        a = (uint64_t)p[0] << 16 | (uint64_t)p[left / 2] << 8 | p[left - 1];
    }
    h = fold(a ^ mask, b ^ h);
    return fold(h ^ key, mask ^ 0xe7037ed1a0b428dbu);
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

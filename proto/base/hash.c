/* Keyed hashing and digests over libsodium, and one universal hash of our own.
 *
 * The quick hash is NH (Black, Halevi, Krawczyk, Krovetz, Rogaway, "UMAC", CRYPTO 1999, s4: for words of w bits two messages collide with probability at
 * most 2^-w) over 64-bit words, brought from 128 to 64 bits by multiply-add-shift with keys of 128 bits (Dietzfelbinger 1996: strongly universal). The
 * last words of a message overlap the ones before instead of being padded: that is still one encoding for each message of a length, and the length goes into
 * the last step. SipHash was a tenth of the sensor's time. */
#include "picket/hash.h"

#include <string.h>

#include <sodium.h>

static uint8_t process_key[crypto_shorthash_siphash24_KEYBYTES];
struct pk_hash_quick_key pk_hash_quick_key;

/* Until a key is drawn, some odd numbers: the tables work. */
uint64_t pk_hash_word_keys[PK_HASH_MAX_WORDS + 1] = {0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9,
    0x94d049bb133111eb, 0xff51afd7ed558ccd, 0xc4ceb9fe1a85ec53, 0x2545f4914f6cdd1d,
    0xd1342543de82ef95, 0xaf251af3b0f025b5, 0xb564ef22ec7aece5};

/* The long key of the quick hash, out of the short one by ChaCha20. */
static void expand_key(void)
{
    uint8_t seed[randombytes_SEEDBYTES] = {0};
    memcpy(seed, process_key, sizeof process_key);
    randombytes_buf_deterministic(pk_hash_quick_key.words, sizeof pk_hash_quick_key.words, seed);
    seed[sizeof seed - 1] = 1;
    randombytes_buf_deterministic(pk_hash_quick_key.fold, sizeof pk_hash_quick_key.fold, seed);
    seed[sizeof seed - 1] = 2;
    randombytes_buf_deterministic(pk_hash_word_keys, sizeof pk_hash_word_keys, seed);
    sodium_memzero(seed, sizeof seed);
    pk_hash_quick_key.is_ready = true;
}

pk_err pk_hash_start(void)
{
    if (sodium_init() < 0) {
        return PK_ERR_IO;
    }
    randombytes_buf(process_key, sizeof process_key);
    expand_key();
    return PK_OK;
}

void pk_hash_set_key(const uint8_t key[16])
{
    memcpy(process_key, key, sizeof process_key);
    expand_key();
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

static uint64_t load(const uint8_t *p, size_t n)
{
    uint64_t v = 0;
    memcpy(&v, p, n);
    return v;
}

/* Up to 15 bytes as two words; with the length known, different bytes give different words. */
static void load_short(const uint8_t *p, size_t len, uint64_t *out_a, uint64_t *out_b)
{
    if (len >= 8) {
        *out_a = load(p, 8);
        *out_b = load(p + len - 8, 8);
    } else if (len >= 4) {
        *out_a = load(p, 4);
        *out_b = load(p + len - 4, 4);
    } else {
        *out_a = len > 0 ? p[0] : 0;
        *out_b = len > 0 ? (uint64_t)p[len / 2] << 8 | p[len - 1] : 0;
    }
}

/* What seldom happens, apart: its stack and the guard of that cost the rest a fifth. */
__attribute__((noinline, cold)) static uint64_t hash_long(const void *data, size_t len)
{
    return pk_hash(data, len);
}

__attribute__((noinline, cold)) static void make_ready(void)
{
    expand_key();
}

uint64_t pk_hash_quick_any(const void *data, size_t len)
{
    const uint8_t *p = data;
    pk_u128 sum = 0;
    uint64_t a, b;
    if (__builtin_expect(len > PK_HASH_QUICK_MAX_BYTES, 0)) {
        return hash_long(data, len);
    }
    if (__builtin_expect(!pk_hash_quick_key.is_ready, 0)) {
        make_ready();
    }
    const uint64_t *key = pk_hash_quick_key.words;
    size_t left = len;
    for (; left > 16; left -= 16, p += 16, key += 2) {
        sum += (pk_u128)(load(p, 8) + key[0]) * (load(p + 8, 8) + key[1]);
    }
    if (len >= 16) {
        a = load(p + left - 16, 8);
        b = load(p + left - 8, 8);
    } else {
        load_short(p, len, &a, &b);
    }
    sum += (pk_u128)(a + key[0]) * (b + key[1]);
    return pk_hash_quick_fold(sum, len);
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

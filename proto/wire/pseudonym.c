/* Everything comes out of one master key by libsodium's BLAKE2b: crypto_kdf for keys, generichash for addresses, SipHash for the names of sketches (20 ns where
 * BLAKE2b takes 300: it is asked for every transaction out of scope). */
#include "picket/pseudonym.h"

#include <string.h>

#include <sodium.h>

#include "picket/clock.h"

static const int64_t us_per_day = INT64_C(86400) * PK_US_PER_S;

uint32_t pk_pseudonym_period(int64_t ts_us, uint32_t days)
{
    int64_t day = ts_us > 0 ? ts_us / us_per_day : 0;
    int64_t first = day - day % days;
    return first > 0 ? (uint32_t)first : 1;
}

void pk_pseudonym_key(const uint8_t master[PK_PSEUDONYM_KEY_BYTES], uint32_t period,
    uint8_t out_key[PK_PSEUDONYM_KEY_BYTES])
{
    _Static_assert(PK_PSEUDONYM_KEY_BYTES == crypto_kdf_KEYBYTES, "the master is a crypto_kdf key");
    (void)crypto_kdf_derive_from_key(
        out_key, PK_PSEUDONYM_KEY_BYTES, period, "pkclient", master); /* fails for bad sizes only */
}

void pk_pseudonym_of(const uint8_t key[PK_PSEUDONYM_KEY_BYTES], const struct pk_addr *addr,
    uint8_t out_pseudonym[PK_PSEUDONYM_BYTES])
{
    static const uint8_t salt[crypto_generichash_blake2b_SALTBYTES] = {0};
    static const uint8_t personal[crypto_generichash_blake2b_PERSONALBYTES] = "pk-client";
    uint8_t raw[crypto_generichash_blake2b_BYTES_MIN];
    (void)crypto_generichash_blake2b_salt_personal(raw, sizeof raw, (const uint8_t *)addr,
        sizeof *addr, key, PK_PSEUDONYM_KEY_BYTES, salt, personal);
    memcpy(out_pseudonym, raw, PK_PSEUDONYM_BYTES);
}

void pk_sketch_key(
    const uint8_t *period_key, const char *tenant, uint8_t out_key[PK_SKETCH_KEY_BYTES])
{
    static const uint8_t salt[crypto_generichash_blake2b_SALTBYTES] = {0};
    static const uint8_t personal[crypto_generichash_blake2b_PERSONALBYTES] = "pk-sketch";
    (void)crypto_generichash_blake2b_salt_personal(out_key, PK_SKETCH_KEY_BYTES,
        (const uint8_t *)tenant, strlen(tenant), period_key,
        period_key ? PK_PSEUDONYM_KEY_BYTES : 0, salt, personal);
}

uint64_t pk_sketch_hash(const uint8_t key[PK_SKETCH_KEY_BYTES], const uint8_t *wire, size_t len)
{
    uint8_t raw[crypto_shorthash_BYTES];
    uint64_t hash = 0;
    (void)crypto_shorthash(raw, wire, len, key);
    for (unsigned i = sizeof raw; i-- > 0;) { /* the same on every machine */
        hash = hash << 8 | raw[i];
    }
    return hash;
}

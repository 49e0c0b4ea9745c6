/* Pseudonyms of inside clients, and the key of the sketches: one function for the sensor that makes them and for whoever holds the tenant's master key and
 * wants to reverse them by trying its own addresses. Pure.
 *
 * key of a period = crypto_kdf(master, number of the period, "pkclient"); the number is the period's first day since 1970. A pseudonym is the first eight
 * bytes of keyed BLAKE2b of the address. Without the key of its period it can be compared with others of that period, and nothing else. */
#ifndef PICKET_PSEUDONYM_H
#define PICKET_PSEUDONYM_H

#include <stddef.h>
#include <stdint.h>

#include "picket/addr.h"

enum {
    PK_PSEUDONYM_BYTES = 8,
    PK_PSEUDONYM_KEY_BYTES = 32,
    PK_PSEUDONYM_DAYS = 90, /* default length of a period */
    PK_PSEUDONYM_MAX_DAYS = 3650,
    PK_SKETCH_KEY_BYTES = 16,
};

/* The period that holds this moment: its first day since 1970, at least 1. days 1..PK_PSEUDONYM_MAX_DAYS. */
uint32_t pk_pseudonym_period(int64_t ts_us, uint32_t days);
void pk_pseudonym_key(const uint8_t master[PK_PSEUDONYM_KEY_BYTES], uint32_t period,
    uint8_t out_key[PK_PSEUDONYM_KEY_BYTES]);
void pk_pseudonym_of(const uint8_t key[PK_PSEUDONYM_KEY_BYTES], const struct pk_addr *addr,
    uint8_t out_pseudonym[PK_PSEUDONYM_BYTES]);

/* The key of a tenant's sketches in a period: from the period's key where there is one (then only its holders can ask a sketch about a name they guess), else from
 * the tenant's name (then whoever knows that can). period_key may be NULL. */
void pk_sketch_key(
    const uint8_t *period_key, const char *tenant, uint8_t out_key[PK_SKETCH_KEY_BYTES]);
/* Of a name's wire form in lower case. */
uint64_t pk_sketch_hash(const uint8_t key[PK_SKETCH_KEY_BYTES], const uint8_t *wire, size_t len);

#endif

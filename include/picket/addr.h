/* IP addresses and prefixes as values. */
#ifndef PICKET_ADDR_H
#define PICKET_ADDR_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picket/err.h"

enum {
    PK_ADDR_TEXT_SIZE = 46,
    PK_PREFIX_TEXT_SIZE = 50
};

/* family is 4 or 6, 0 for "none". An IPv4 address fills bytes[0..3], the rest is zero, so that two
 * addresses are equal exactly when all their bytes are. */
struct pk_addr {
    uint8_t family;
    uint8_t bytes[16];
};

struct pk_prefix {
    struct pk_addr addr; /* host bits are zero */
    uint8_t len;         /* 0..32 or 0..128 */
};

/* From four or sixteen bytes in network order, written in one piece. What is stored byte by byte and read as a whole right after (copied, hashed, compared: every packet's
 * addresses are) makes the processor wait until the bytes have reached the cache; that was a tenth of the time of parsing and pairing. */
static inline void pk_addr_set(
    struct pk_addr *out_addr, uint8_t family, uint64_t first_le, uint64_t second_le)
{
    typedef uint64_t pair __attribute__((vector_size(16)));
    pair words = {htole64(first_le << 8 | family), htole64(second_le << 8 | first_le >> 56)};
    __builtin_memcpy(out_addr, &words, sizeof words);
    out_addr->bytes[15] = (uint8_t)(second_le >> 56);
}
static inline void pk_addr_set_v4(struct pk_addr *out_addr, const uint8_t bytes[4])
{
    uint32_t word;
    __builtin_memcpy(&word, bytes, sizeof word);
    pk_addr_set(out_addr, 4, le32toh(word), 0);
}
static inline void pk_addr_set_v6(struct pk_addr *out_addr, const uint8_t bytes[16])
{
    uint64_t words[2];
    __builtin_memcpy(words, bytes, sizeof words);
    pk_addr_set(out_addr, 6, le64toh(words[0]), le64toh(words[1]));
}
struct pk_addr pk_addr_v4(const uint8_t bytes[4]);
struct pk_addr pk_addr_v6(const uint8_t bytes[16]);
bool pk_addr_equal(const struct pk_addr *a, const struct pk_addr *b);
int pk_addr_compare(const struct pk_addr *a, const struct pk_addr *b); /* family, then bytes */
size_t pk_addr_len(const struct pk_addr *addr);                        /* 4, 16 or 0 */
uint64_t pk_addr_hash(const struct pk_addr *addr);                     /* keyed, see hash.h */

const char *pk_addr_text(const struct pk_addr *addr, char out_text[PK_ADDR_TEXT_SIZE]);
bool pk_addr_parse(const char *text, struct pk_addr *out_addr);
const char *pk_prefix_text(const struct pk_prefix *prefix, char out_text[PK_PREFIX_TEXT_SIZE]);
/* "192.0.2.0/24", or an address alone (full length). False also when host bits are set. */
bool pk_prefix_parse(const char *text, struct pk_prefix *out_prefix);
bool pk_prefix_contains(const struct pk_prefix *prefix, const struct pk_addr *addr);
/* The prefix of this length that holds addr. */
struct pk_prefix pk_addr_prefix(const struct pk_addr *addr, uint8_t len);

#endif

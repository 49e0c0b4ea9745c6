/* Addresses and prefixes. Text goes through inet_ntop and inet_pton. */
#include "picket/addr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "picket/hash.h"

struct pk_addr pk_addr_v4(const uint8_t bytes[4])
{
    struct pk_addr addr;
    pk_addr_set_v4(&addr, bytes);
    return addr;
}

struct pk_addr pk_addr_v6(const uint8_t bytes[16])
{
    struct pk_addr addr;
    pk_addr_set_v6(&addr, bytes);
    return addr;
}

bool pk_addr_equal(const struct pk_addr *a, const struct pk_addr *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

int pk_addr_compare(const struct pk_addr *a, const struct pk_addr *b)
{
    return memcmp(a, b, sizeof *a);
}

size_t pk_addr_len(const struct pk_addr *addr)
{
    return addr->family == 4 ? 4 : addr->family == 6 ? 16 : 0;
}

/* In words: the last byte apart, since two that overlap would be read as they were not written. */
uint64_t pk_addr_hash(const struct pk_addr *addr)
{
    uint64_t words[4] = {0, 0, addr->bytes[15], 0};
    memcpy(words, addr, 2 * sizeof *words);
    return pk_hash_quick(words, sizeof words);
}

const char *pk_addr_text(const struct pk_addr *addr, char out_text[PK_ADDR_TEXT_SIZE])
{
    out_text[0] = '\0';
    if (addr->family != 0) {
        (void)inet_ntop(
            addr->family == 4 ? AF_INET : AF_INET6, addr->bytes, out_text, PK_ADDR_TEXT_SIZE);
    }
    return out_text;
}

bool pk_addr_parse(const char *text, struct pk_addr *out_addr)
{
    struct pk_addr addr = {0};
    if (inet_pton(AF_INET, text, addr.bytes) == 1) {
        addr.family = 4;
    } else if (inet_pton(AF_INET6, text, addr.bytes) == 1) {
        addr.family = 6;
    } else {
        return false;
    }
    *out_addr = addr;
    return true;
}

const char *pk_prefix_text(const struct pk_prefix *prefix, char out_text[PK_PREFIX_TEXT_SIZE])
{
    char addr[PK_ADDR_TEXT_SIZE];
    snprintf(
        out_text, PK_PREFIX_TEXT_SIZE, "%s/%u", pk_addr_text(&prefix->addr, addr), prefix->len);
    return out_text;
}

struct pk_prefix pk_addr_prefix(const struct pk_addr *addr, uint8_t len)
{
    struct pk_prefix prefix = {.addr = *addr, .len = len};
    size_t n_bytes = pk_addr_len(addr);
    for (size_t i = 0; i < n_bytes; i++) {
        size_t kept = len > i * 8 ? len - i * 8 : 0;
        if (kept < 8) {
            prefix.addr.bytes[i] &= (uint8_t)(0xff00u >> kept);
        }
    }
    return prefix;
}

bool pk_prefix_parse(const char *text, struct pk_prefix *out_prefix)
{
    char addr_text[PK_ADDR_TEXT_SIZE];
    const char *slash = strchr(text, '/');
    size_t addr_len = slash ? (size_t)(slash - text) : strlen(text);
    struct pk_addr addr;
    if (addr_len >= sizeof addr_text) {
        return false;
    }
    memcpy(addr_text, text, addr_len);
    addr_text[addr_len] = '\0';
    if (!pk_addr_parse(addr_text, &addr)) {
        return false;
    }
    unsigned long len = pk_addr_len(&addr) * 8;
    if (slash) {
        char *end;
        unsigned long max = len;
        len = strtoul(slash + 1, &end, 10);
        if (slash[1] < '0' || slash[1] > '9' || *end != '\0' || len > max) {
            return false;
        }
    }
    struct pk_prefix prefix = pk_addr_prefix(&addr, (uint8_t)len);
    if (!pk_addr_equal(&prefix.addr, &addr)) {
        return false;
    }
    *out_prefix = prefix;
    return true;
}

bool pk_prefix_contains(const struct pk_prefix *prefix, const struct pk_addr *addr)
{
    if (prefix->addr.family != addr->family) {
        return false;
    }
    size_t whole = prefix->len / 8;
    unsigned rest = prefix->len % 8;
    return memcmp(prefix->addr.bytes, addr->bytes, whole) == 0 &&
           (rest == 0 ||
               ((prefix->addr.bytes[whole] ^ addr->bytes[whole]) & (0xff00u >> rest) & 0xff) == 0);
}

/* Pseudonyms are BLAKE2b under the tenant's key, so the aggregator can compare but not reverse them. */
#include "client.h"

#include <string.h>

#include <sodium.h>

static bool is_private(const struct pk_addr *addr)
{
    const uint8_t *b = addr->bytes;
    if (addr->family == 4) {
        return b[0] == 10 || (b[0] == 172 && (b[1] & 0xf0) == 16) || (b[0] == 192 && b[1] == 168) ||
               (b[0] == 100 && (b[1] & 0xc0) == 64) || (b[0] == 169 && b[1] == 254) || b[0] == 127;
    }
    return (b[0] & 0xfe) == 0xfc || (b[0] == 0xfe && (b[1] & 0xc0) == 0x80);
}

static struct pk_client hidden(
    const struct pk_client_rules *rules, const struct pk_prefix *prefix, const struct pk_addr *addr)
{
    struct pk_client client;
    memset(&client, 0, sizeof client);
    if (rules->client_key) {
        uint8_t salt[crypto_generichash_blake2b_SALTBYTES] = {0};
        static const uint8_t personal[crypto_generichash_blake2b_PERSONALBYTES] = "pk-client";
        uint8_t raw[16];
        (void)crypto_generichash_blake2b_salt_personal(raw, sizeof raw, (const uint8_t *)addr,
            sizeof *addr, rules->client_key, 32, salt, personal);
        client.kind = PK_CLIENT_PSEUDONYM;
        memcpy(client.pseudonym, raw, sizeof client.pseudonym);
        client.prefix = *prefix;
    }
    return client;
}

struct pk_client pk_client_of(const struct pk_client_rules *rules, const struct pk_addr *addr)
{
    struct pk_client client = {.kind = PK_CLIENT_OUTSIDE, .addr = *addr};
    const struct pk_scope_site *site = rules->site;
    if (addr->family == 0) { /* a server's log need not say who asked */
        return (struct pk_client){.kind = PK_CLIENT_NONE};
    }
    if (!site) {
        client.kind = is_private(addr) ? PK_CLIENT_INSIDE : PK_CLIENT_OUTSIDE;
        return client;
    }
    for (size_t i = 0; i < site->n_clients; i++) {
        if (pk_prefix_contains(&site->clients[i], addr)) {
            return hidden(rules, &site->clients[i], addr);
        }
    }
    return client;
}

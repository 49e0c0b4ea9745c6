/* Small tables of counters and stamps; the reasons stand in the header. */
#include "pairing/crowd.h"

#include <stdlib.h>
#include <string.h>

#include "picket/hash.h"

enum {
    STAMP_SHIFT = 26, /* 67 s */
    KNOWN_STAMPS = PK_CROWD_KNOWN_S >> 6,
    ROWS = 2,
};

struct pk_crowd {
    uint16_t known[PK_CROWD_KNOWN_SLOTS]; /* tag, stamp; 0: empty */
    uint32_t clients[ROWS][PK_CROWD_COUNTERS], networks[ROWS][PK_CROWD_COUNTERS];
};

pk_err pk_crowd_new(struct pk_crowd **out_crowd)
{
    *out_crowd = calloc(1, sizeof **out_crowd);
    return *out_crowd ? PK_OK : PK_ERR_NOMEM;
}

void pk_crowd_free(struct pk_crowd *crowd)
{
    free(crowd);
}

/* --- known networks --- */

/* The family and the first three or six bytes of the address, read as one word: it was written so (picket/addr.h). */
uint64_t pk_crowd_network(const struct pk_addr *client)
{
    static const uint8_t kept_v4[8] = {255, 255, 255, 255};
    static const uint8_t kept_v6[8] = {255, 255, 255, 255, 255, 255, 255};
    uint64_t word, kept;
    memcpy(&word, client, sizeof word);
    memcpy(&kept, client->family == 4 ? kept_v4 : kept_v6, sizeof kept);
    word &= kept;
    return pk_hash_quick(&word, sizeof word);
}

static uint8_t stamp(int64_t now_us)
{
    return (uint8_t)(now_us >> STAMP_SHIFT);
}

static uint16_t tag(uint64_t network)
{
    return (uint16_t)((network >> 32 | 0x100) & 0xff00); /* never 0 */
}

bool pk_crowd_is_known(const struct pk_crowd *crowd, uint64_t network, int64_t now_us)
{
    uint16_t slot = crowd->known[network & (PK_CROWD_KNOWN_SLOTS - 1)];
    uint8_t age = (uint8_t)(stamp(now_us) - (uint8_t)slot);
    return (slot & 0xff00) == tag(network) && age <= KNOWN_STAMPS;
}

void pk_crowd_note_answer(struct pk_crowd *crowd, uint64_t network, int64_t now_us)
{
    crowd->known[network & (PK_CROWD_KNOWN_SLOTS - 1)] = (uint16_t)(tag(network) | stamp(now_us));
}

/* --- shares --- */

void pk_crowd_clear(struct pk_crowd *crowd)
{
    memset(crowd->clients, 0, sizeof crowd->clients);
    memset(crowd->networks, 0, sizeof crowd->networks);
}

static uint32_t *counter(uint32_t rows[ROWS][PK_CROWD_COUNTERS], unsigned row, uint64_t hash)
{
    return &rows[row][hash >> 24 * row & (PK_CROWD_COUNTERS - 1)];
}

static bool add(uint32_t rows[ROWS][PK_CROWD_COUNTERS], uint64_t hash, uint32_t share)
{
    uint32_t a = ++*counter(rows, 0, hash), b = ++*counter(rows, 1, hash);
    return (a < b ? a : b) > share;
}

static void subtract(uint32_t rows[ROWS][PK_CROWD_COUNTERS], uint64_t hash)
{
    for (unsigned row = 0; row < ROWS; row++) {
        uint32_t *n = counter(rows, row, hash);
        *n -= *n > 0;
    }
}

enum pk_crowd_verdict pk_crowd_add(
    struct pk_crowd *crowd, const struct pk_addr *client, uint64_t network)
{
    bool is_client_full = add(crowd->clients, pk_addr_hash(client), PK_CROWD_CLIENT);
    bool is_network_full = add(crowd->networks, network, PK_CROWD_NETWORK);
    return is_client_full    ? PK_CROWD_CLIENT_FULL
           : is_network_full ? PK_CROWD_NETWORK_FULL
                             : PK_CROWD_FINE;
}

void pk_crowd_remove(struct pk_crowd *crowd, const struct pk_addr *client, uint64_t network)
{
    subtract(crowd->clients, pk_addr_hash(client));
    subtract(crowd->networks, network);
}

size_t pk_crowd_bound_bytes(void)
{
    return sizeof(struct pk_crowd);
}

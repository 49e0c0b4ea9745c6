/* Addresses are those the operators publish. */
#include "pairing/encrypted.h"

#include <string.h>

#include "picket/hash.h"

enum {
    PORT_TLS = 853, /* and QUIC */
    PORT_HTTPS = PK_PORT_HTTPS,
};

static const struct pk_addr known[] = {
    {.family = 4, .bytes = {1, 1, 1, 1}},
    {.family = 4, .bytes = {1, 0, 0, 1}}, /* Cloudflare */
    {.family = 4, .bytes = {1, 1, 1, 2}},
    {.family = 4, .bytes = {1, 0, 0, 2}},
    {.family = 4, .bytes = {1, 1, 1, 3}},
    {.family = 4, .bytes = {1, 0, 0, 3}},
    {.family = 4, .bytes = {8, 8, 8, 8}},
    {.family = 4, .bytes = {8, 8, 4, 4}}, /* Google */
    {.family = 4, .bytes = {9, 9, 9, 9}},
    {.family = 4, .bytes = {149, 112, 112, 112}}, /* Quad9 */
    {.family = 4, .bytes = {9, 9, 9, 10}},
    {.family = 4, .bytes = {9, 9, 9, 11}},
    {.family = 4, .bytes = {208, 67, 222, 222}},
    {.family = 4, .bytes = {208, 67, 220, 220}}, /* OpenDNS */
    {.family = 4, .bytes = {94, 140, 14, 14}},
    {.family = 4, .bytes = {94, 140, 15, 15}}, /* AdGuard */
    {.family = 4, .bytes = {185, 228, 168, 9}},
    {.family = 4, .bytes = {185, 228, 169, 9}}, /* CleanBrowsing */
    {.family = 4, .bytes = {45, 90, 28, 0}},
    {.family = 4, .bytes = {45, 90, 30, 0}},                                   /* NextDNS */
    {.family = 6, .bytes = {0x26, 0x06, 0x47, 0, 0x47, 0, [14] = 0x11, 0x11}}, /* Cloudflare */
    {.family = 6, .bytes = {0x26, 0x06, 0x47, 0, 0x47, 0, [14] = 0x10, 0x01}},
    {.family = 6, .bytes = {0x20, 0x01, 0x48, 0x60, 0x48, 0x60, [14] = 0x88, 0x88}}, /* Google */
    {.family = 6, .bytes = {0x20, 0x01, 0x48, 0x60, 0x48, 0x60, [14] = 0x88, 0x44}},
    {.family = 6, .bytes = {0x26, 0x20, 0, 0xfe, [15] = 0xfe}}, /* Quad9 */
    {.family = 6, .bytes = {0x26, 0x20, 0, 0xfe, [15] = 0x09}},
};

const struct pk_addr *pk_encrypted_resolvers(size_t *out_n)
{
    *out_n = sizeof known / sizeof *known;
    return known;
}

static bool is_resolver(const struct pk_addr *addr)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (pk_addr_equal(&known[i], addr)) {
            return true;
        }
    }
    return false;
}

void pk_encrypted_note(struct pk_encrypted *encrypted, const struct pk_packet *packet,
    int64_t now_us, struct pk_stats *stats)
{
    bool to_tls = packet->dport == PORT_TLS, from_tls = packet->sport == PORT_TLS;
    bool to = to_tls || (!from_tls && packet->dport == PORT_HTTPS && is_resolver(&packet->dst));
    bool from = from_tls || (!to_tls && packet->sport == PORT_HTTPS && is_resolver(&packet->src));
    if (!to && !from) {
        return;
    }
    stats->encrypted_packets++;
    struct pk_addr ends[2] = {to ? packet->src : packet->dst, to ? packet->dst : packet->src};
    const uint16_t client_port = to ? packet->sport : packet->dport;
    uint64_t flow = pk_hash_mix(pk_hash_quick(ends, sizeof ends), client_port) | 1;
    size_t slot = flow >> 16 & (PK_ENCRYPTED_SLOTS - 1);
    bool is_new = encrypted->flows[slot].flow != flow ||
                  now_us - encrypted->flows[slot].seen_us > PK_ENCRYPTED_IDLE_US;
    stats->encrypted_flows += is_new;
    encrypted->flows[slot].flow = flow;
    encrypted->flows[slot].seen_us = now_us;
}

/* Addresses are those the operators publish. */
#include "encrypted.h"

#include <string.h>

#include "picket/hash.h"

enum {
    PORT_TLS = 853, /* and QUIC */
    PORT_HTTPS = 443,
};

static bool is_resolver_v4(const uint8_t *p)
{
    static const uint8_t known[][4] = {
        {1, 1, 1, 1}, {1, 0, 0, 1}, {1, 1, 1, 2}, {1, 0, 0, 2}, {1, 1, 1, 3},
        {1, 0, 0, 3},                                                     /* Cloudflare */
        {8, 8, 8, 8}, {8, 8, 4, 4},                                       /* Google */
        {9, 9, 9, 9}, {149, 112, 112, 112}, {9, 9, 9, 10}, {9, 9, 9, 11}, /* Quad9 */
        {208, 67, 222, 222}, {208, 67, 220, 220},                         /* OpenDNS */
        {94, 140, 14, 14}, {94, 140, 15, 15},                             /* AdGuard */
        {185, 228, 168, 9}, {185, 228, 169, 9},                           /* CleanBrowsing */
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (memcmp(p, known[i], 4) == 0) {
            return true;
        }
    }
    return p[0] == 45 && p[1] == 90 && (p[2] == 28 || p[2] == 30); /* NextDNS */
}

static bool is_resolver_v6(const uint8_t *p)
{
    static const uint8_t known[][16] = {
        {0x26, 0x06, 0x47, 0, 0x47, 0, [14] = 0x11, 0x11},
        {0x26, 0x06, 0x47, 0, 0x47, 0, [14] = 0x10, 0x01}, /* Cloudflare */
        {0x20, 0x01, 0x48, 0x60, 0x48, 0x60, [14] = 0x88, 0x88},
        {0x20, 0x01, 0x48, 0x60, 0x48, 0x60, [14] = 0x88, 0x44},                /* Google */
        {0x26, 0x20, 0, 0xfe, [15] = 0xfe}, {0x26, 0x20, 0, 0xfe, [15] = 0x09}, /* Quad9 */
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (memcmp(p, known[i], 16) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_resolver(const struct pk_addr *addr)
{
    return addr->family == 4 ? is_resolver_v4(addr->bytes) : is_resolver_v6(addr->bytes);
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

/* Fragments in any order, overlap, size and time, of packets that hold DNS, tunnels or anything. Every fragment is counted once; a packet is made only of bytes that
 * came at their place, each place once.
 *
 * Input: records of four bytes. Byte 0: bits 0-1 id, bit 2 more to come, bit 3 other content (a forger), bit 4 IPv6, bits 5-6 protocol, bit 7 time passes. Byte 1:
 * offset in units of 64. Bytes 2-3: length in the low 12 bits, the rest added to the offset in units of 8. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "picket/hash.h"

#include "sensor/packet/frag.h"

enum {
    MAX_FRAGMENTS = 1024,
    MAX_LEN = 4095
};

static uint8_t genuine_at(size_t place)
{
    return place < 4 ? (uint8_t) "\0\x35\0\x35"[place] : (uint8_t)(place * 7);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t protocols[] = {17, 6, 47, 60}, key[16] = {1};
    static const struct pk_ports ports = {.v = {53}, .n = 1};
    static struct pk_stats stats;
    static struct pk_frags *frags;
    static uint8_t body[MAX_LEN];
    static uint64_t n_sent;
    if (!frags) {
        pk_hash_set_key(key);
        if (pk_frags_new(&ports, &stats, &frags) != PK_OK) {
            abort();
        }
    }
    int64_t ts_us = 1700000000000000;
    for (unsigned n = 0; n < MAX_FRAGMENTS && size >= 4; n++, data += 4, size -= 4) {
        uint8_t flags = data[0];
        size_t len = (size_t)(data[2] & 15) << 8 | data[3];
        struct pk_packet packet = {.src = {.family = flags & 16 ? 6 : 4},
            .dst = {.family = flags & 16 ? 6 : 4},
            .fragment = {.id = flags & 3,
                .offset = data[1] * 64u + (data[2] >> 4) * 8u,
                .has_more = flags & 4,
                .protocol = protocols[flags >> 5 & 3],
                .data = body,
                .len = len}};
        for (size_t i = 0; i < len; i++) {
            body[i] = (uint8_t)(genuine_at(packet.fragment.offset + i) ^ (flags & 8 ? 0x80 : 0));
        }
        ts_us += flags & 128 ? 2600000 : 10;
        struct pk_datagram whole;
        bool is_whole = pk_frags_take(frags, &packet, ts_us, &whole);
        n_sent++;
        for (size_t i = 0; is_whole && i < whole.len; i++) {
            if ((whole.data[i] & 0x7f) != (genuine_at(i) & 0x7f)) {
                abort();
            }
        }
        uint64_t counted = 0;
        for (int i = 0; i < PK_N_FRAG_FATES; i++) {
            counted += stats.frags[i];
        }
        if (counted != n_sent || (is_whole && (whole.len == 0 || whole.len > 65535))) {
            abort();
        }
    }
    pk_frags_flush(frags);
    if (stats.frags[PK_FRAG_PENDING] != 0) {
        abort();
    }
    return 0;
}

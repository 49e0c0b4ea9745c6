/* Segments in any order, overlap, size and time. Every byte must be accounted for, nothing may be given out that is not there, and the memory stays bounded.
 *
 * Input: records of four bytes and a body. Byte 0: bits 0-1 which stream, bit 2 SYN, bit 3 FIN, bit 4 RST, bit 5 the sequence number is absolute, bits 6-7 how much
 * time passes (3: back). Bytes 1-2: sequence number, relative to where the last segment of the stream ended. Byte 3: length. Body: that many bytes, each repeated 16
 * times when bit 0 of the length is set. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "picket/hash.h"

#include "sensor/packet/reasm.h"

enum {
    MAX_SEGMENTS = 2048,
    REPEAT = 16
};

static struct pk_stats stats;
static uint64_t n_bytes;

static void on_message(void *arg, const struct pk_reasm_message *message)
{
    (void)arg;
    for (size_t i = 0; i < message->len; i++) { /* a sanitizer sees what is not there */
        n_bytes += message->data[i] & 1;
    }
    if (message->len < 12 || message->len > 65535 || message->frame == 0) {
        abort();
    }
}

static void check(void)
{
    uint64_t shed = 0;
    for (int i = 0; i < PK_N_TCP_SHED; i++) {
        shed += stats.tcp_shed[i];
    }
    if (stats.tcp_bytes !=
            stats.tcp_bytes_used + stats.tcp_bytes_duplicate + stats.tcp_bytes_pending + shed ||
        stats.tcp_bytes_pending > PK_REASM_MAX_BYTES) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int64_t steps_us[] = {100, 1500000, 61000000, -5000000};
    static struct pk_reasm *reasm;
    static uint8_t body[255 * REPEAT];
    static const uint8_t key[16] = {1};
    if (!reasm) {
        pk_hash_set_key(key);
        if (pk_reasm_new(&stats, on_message, NULL, &reasm) != PK_OK) {
            abort();
        }
    }
    uint32_t next[4] = {0};
    int64_t ts_us = 1700000000000000;
    for (uint64_t n = 1; n <= MAX_SEGMENTS && size >= 4; n++) {
        uint8_t flags = data[0];
        uint16_t seq = (uint16_t)(data[1] << 8 | data[2]);
        size_t len = data[3];
        data += 4;
        size -= 4;
        len = len < size ? len : size;
        size_t n_times = data[-1] & 1 ? REPEAT : 1;
        for (size_t i = 0; i < len * n_times; i++) {
            body[i] = data[i / n_times];
        }
        uint32_t *at = &next[flags & 3];
        uint32_t step = seq < 0x8000 ? seq : seq + 0xffff0000u; /* negative ones wrap */
        struct pk_packet packet = {.src = {.family = 4, .bytes = {1}},
            .dst = {.family = 4, .bytes = {2}},
            .sport = (uint16_t)(1000 + (flags & 3)),
            .dport = 53,
            .is_tcp = true,
            .tcp_flags = (uint8_t)((flags & 4 ? PK_TCP_SYN : 0) | (flags & 8 ? PK_TCP_FIN : 0) |
                                   (flags & 16 ? PK_TCP_RST : 0)),
            .tcp_seq = flags & 32 ? (uint32_t)seq << 16 : *at + step,
            .payload = body,
            .payload_len = len * n_times};
        *at = packet.tcp_seq + (flags >> 2 & 1u) + (uint32_t)packet.payload_len;
        ts_us += steps_us[flags >> 6];
        pk_reasm_segment(reasm, &packet, ts_us, n);
        check();
        data += len;
        size -= len;
    }
    pk_reasm_flush(reasm);
    check();
    if (stats.tcp_bytes_pending != 0) {
        abort();
    }
    return 0;
}

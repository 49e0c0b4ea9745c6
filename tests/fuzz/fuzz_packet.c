/* Any bytes as a captured packet: the first byte chooses the link type, the second how much the capture cut. What is found must lie inside the packet. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sensor/packet/packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int links[] = {
        0, 1, 12, 14, 101, 108, 113, 228, 229, 276, 105, 127, 239, 9, 50, 51, 104};
    static const struct pk_ports ports = {.v = {53}, .n = 1, .with_multicast = true};
    struct pk_packet packet;
    if (size < 2) {
        return 0;
    }
    int link = links[data[0] % (sizeof links / sizeof *links)];
    const uint8_t *bytes = data + 2;
    size_t len = size - 2;
    enum pk_disposition disposition =
        pk_packet_dissect(link, bytes, len, len + data[1], &ports, &packet);
    if (disposition >= PK_N_DISPOSITIONS) {
        abort();
    }
    char via[PK_VIA_TEXT_SIZE];
    if (packet.via.n > PK_VIA_MAX || strlen(pk_via_text(&packet.via, via)) >= PK_VIA_TEXT_SIZE) {
        abort();
    }
    if (disposition == PK_PACKET_FRAGMENT) {
        const struct pk_fragment part = packet.fragment;
        if (part.data < bytes || part.data + part.len > bytes + len || part.offset % 8 != 0) {
            abort();
        }
        disposition =
            pk_packet_dissect_datagram(part.protocol, part.data, part.len, &ports, &packet);
    }
    bool has_payload = disposition == PK_PACKET_DNS || disposition == PK_PACKET_TCP;
    if (has_payload &&
        (packet.payload < bytes || packet.payload + packet.payload_len > bytes + len)) {
        abort();
    }
    if (has_payload && !pk_ports_have(&ports, packet.sport) &&
        !pk_ports_have(&ports, packet.dport) && !packet.is_multicast) {
        abort();
    }
    return 0;
}

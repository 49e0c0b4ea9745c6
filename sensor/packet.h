/* From captured bytes to a UDP payload or a TCP segment. Pure; borrows everything from the packet. */
#ifndef SENSOR_PACKET_H
#define SENSOR_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picket/addr.h"

#include "stats.h"

enum {
    PK_TCP_FIN = 1,
    PK_TCP_SYN = 2,
    PK_TCP_RST = 4,
    PK_TCP_ACK = 16
};

struct pk_packet {
    struct pk_addr src, dst;
    uint16_t sport, dport;
    bool is_tcp;
    bool is_fragmented; /* put together from IP fragments */
    uint8_t tcp_flags;  /* PK_TCP_* */
    uint32_t tcp_seq;
    const uint8_t *payload;
    size_t payload_len;
    const char *via; /* constant text, NULL without encapsulation */
};

/* Ports that carry DNS; 53 alone by default. */
struct pk_ports {
    uint16_t v[16];
    size_t n;
};
bool pk_ports_have(const struct pk_ports *ports, uint16_t port);

/* Whether this link type can be dissected; numbers are libpcap's DLT_ values. */
bool pk_packet_link_supported(int link_type);

/* caplen bytes of a packet that had wire_len. The result says what it is; out_packet is filled for DNS and TCP. Reads at most 8 IPv6 extension
 * headers and 2 VLAN tags. */
enum pk_disposition pk_packet_dissect(int link_type, const uint8_t *data, size_t caplen,
    size_t wire_len, const struct pk_ports *ports, struct pk_packet *out_packet);

#endif

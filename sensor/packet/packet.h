/* From captured bytes to a UDP payload, a TCP segment or an IP fragment. Pure; borrows everything from the packet.
 *
 * Understood: Ethernet, 802.11 (plain or behind radiotap), PPP, PPPoE, Cisco HDLC, Linux cooked (SLL, SLL2), BSD loopback, raw IP and NFLOG; in them VLAN tags,
 * PPPoE sessions and MPLS; IPv4 and IPv6 with extension headers; tunnels by GRE, ERSPAN, VXLAN, Geneve, GTP-U, Teredo and IP in IP, nested up to PK_VIA_MAX. */
#ifndef SENSOR_PACKET_H
#define SENSOR_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picket/addr.h"

#include "packet/via.h"
#include "stats.h"

enum {
    PK_TCP_FIN = 1,
    PK_TCP_SYN = 2,
    PK_TCP_RST = 4,
    PK_TCP_ACK = 16,
    PK_PACKET_MAX_EXTENSIONS = 8, /* IPv6 extension headers of one IP header */
};

/* A part of an IP packet; filled for PK_PACKET_FRAGMENT. */
struct pk_fragment {
    uint32_t id;
    uint32_t offset; /* bytes, a multiple of 8 */
    bool has_more;
    uint8_t
        protocol; /* of what the parts make together; in IPv6 possibly another extension header */
    const uint8_t *data;
    size_t len;
};

struct pk_packet {
    struct pk_addr src, dst; /* of the innermost IP header */
    uint16_t sport, dport;   /* sport 0: the packet has none */
    bool is_tcp;
    bool is_fragmented; /* put together from IP fragments */
    bool is_multicast;  /* mDNS or LLMNR by its port */
    bool
        is_cut; /* the end of the payload is not there (UDP): cut by the capture, or a header claims more than there is */
    uint8_t tcp_flags; /* PK_TCP_* */
    uint32_t tcp_seq;
    const uint8_t *payload;
    size_t payload_len;
    struct pk_fragment fragment;
    bool
        has_quoted_query; /* of ICMP_QUOTE: addresses and ports are those of a UDP packet that was not delivered, and ... */
    uint16_t quoted_id; /* ... this is the id of its message */
    struct pk_via via;
};

/* Ports that carry DNS, 53 alone by default, and what else is looked for. */
struct pk_ports {
    uint16_t v[16];
    size_t n;
    bool with_multicast;  /* mDNS (5353) and LLMNR (5355) too */
    bool with_encrypted;  /* the kernel filter of a live capture lets port 853 in, to be counted */
    bool without_tunnels; /* the kernel filter of a live capture leaves tunnels out ... */
    bool without_fragments; /* ... and later IP fragments */
};
bool pk_ports_have(const struct pk_ports *ports, uint16_t port);

/* Whether this link type can be dissected; numbers are libpcap's DLT_ values. */
bool pk_packet_link_supported(int link_type);

/* caplen bytes of a packet that had wire_len. The result says what it is; out_packet is filled for DNS, TCP and FRAGMENT (of which only addresses, via and
 * fragment). */
enum pk_disposition pk_packet_dissect(int link_type, const uint8_t *data, size_t caplen,
    size_t wire_len, const struct pk_ports *ports, struct pk_packet *out_packet);

/* What fragments made together: packet is that of any of them (addresses and via are read) and becomes that of the whole. May again be a FRAGMENT, of an inner
 * packet. */
enum pk_disposition pk_packet_dissect_datagram(uint8_t protocol, const uint8_t *data, size_t len,
    const struct pk_ports *ports, struct pk_packet *packet);

/* Whether an IP packet that begins so is worth putting together: false when its ports say that it holds neither DNS nor a tunnel. */
bool pk_packet_is_wanted(
    uint8_t protocol, const uint8_t *data, size_t len, const struct pk_ports *ports);

#endif

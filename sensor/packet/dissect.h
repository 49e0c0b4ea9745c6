/* Between the parts of the dissector (packet.c, link.c, ip.c, tunnel.c); nobody else includes this.
 *
 * A layer either ends in a disposition or, when it wraps a whole packet, says in `next` where to go on and returns PK_DISSECT_NEXT to the loop in packet.c: no
 * recursion, and as every such step pushes a layer on `via`, never more than PK_VIA_MAX of them. The plain way (Ethernet, IP, UDP) takes no step. */
#ifndef SENSOR_DISSECT_H
#define SENSOR_DISSECT_H

#include "picket/reader.h"

#include "packet/packet.h"

#define PK_DISSECT_NEXT PK_N_DISPOSITIONS

enum {
    PK_ETHERTYPE_IPV4 = 0x0800,
    PK_ETHERTYPE_BRIDGED = 0x6558, /* an Ethernet frame inside GRE or Geneve */
    PK_ETHERTYPE_VLAN = 0x8100,
    PK_ETHERTYPE_IPV6 = 0x86dd,
    PK_ETHERTYPE_MPLS = 0x8847,
    PK_ETHERTYPE_MPLS_MULTICAST = 0x8848,
    PK_ETHERTYPE_PPPOE = 0x8864,
    PK_ETHERTYPE_QINQ = 0x88a8,
    PK_ETHERTYPE_QINQ_OLD = 0x9100,
    PK_IPPROTO_HOPOPT = 0,
    PK_IPPROTO_ICMP = 1,
    PK_IPPROTO_IPV4 = 4,
    PK_IPPROTO_TCP = 6,
    PK_IPPROTO_UDP = 17,
    PK_IPPROTO_IPV6 = 41,
    PK_IPPROTO_ROUTING = 43,
    PK_IPPROTO_FRAGMENT = 44,
    PK_IPPROTO_GRE = 47,
    PK_IPPROTO_ESP = 50,
    PK_IPPROTO_AH = 51,
    PK_IPPROTO_ICMPV6 = 58,
    PK_IPPROTO_DSTOPT = 60,
    PK_IPPROTO_ETHERIP = 97,
    PK_IPPROTO_L2TP = 115,
    PK_IPPROTO_MPLS = 137,
    PK_PORT_GTP_U = 2152,     /* 3GPP TS 29.281 */
    PK_PORT_TEREDO = 3544,    /* RFC 4380 */
    PK_PORT_VXLAN = 4789,     /* RFC 7348 */
    PK_PORT_VXLAN_GPE = 4790, /* draft-ietf-nvo3-vxlan-gpe */
    PK_PORT_MDNS = 5353,      /* RFC 6762 */
    PK_PORT_LLMNR = 5355,     /* RFC 4795 */
    PK_PORT_GENEVE = 6081,    /* RFC 8926 */
    PK_PORT_VXLAN_LINUX =
        8472, /* of VXLAN before it had a number; container networks still use it */
};

enum pk_dissect_next {
    PK_NEXT_ETHERNET,
    PK_NEXT_IP,        /* told by its version */
    PK_NEXT_ETHERTYPE, /* what next_ethertype says */
};

struct pk_dissector {
    struct pk_reader in;
    size_t missing;     /* bytes of the packet that are not there */
    bool is_overstated; /* by a length in a header, not by the capture's cut */
    const struct pk_ports *ports;
    struct pk_packet *out;
    enum pk_dissect_next next;
    uint16_t next_ethertype;
};

/* Fields of a header that was taken as one piece with pk_reader_bytes: on the plain way one check for each header, not for each field. */
static inline uint16_t pk_be16_at(const uint8_t *header, size_t at)
{
    return (uint16_t)(header[at] << 8 | header[at + 1]);
}

static inline uint32_t pk_be32_at(const uint8_t *header, size_t at)
{
    return (uint32_t)pk_be16_at(header, at) << 16 | pk_be16_at(header, at + 2);
}

/* A header that did not fit: cut by the capture, or damaged? */
static inline enum pk_disposition pk_dissect_short(
    const struct pk_dissector *d, enum pk_disposition damaged)
{
    return d->missing > 0 && !d->is_overstated ? PK_PACKET_SNAPPED : damaged;
}

/* Keeps the reader to the length a header states; what is not there of it is missing. */
void pk_dissect_trim(struct pk_dissector *d, size_t len);

/* link.c */
bool pk_link_is_known(int link_type);
enum pk_disposition pk_dissect_link(struct pk_dissector *d, int link_type);
enum pk_disposition pk_dissect_ethernet(struct pk_dissector *d);
enum pk_disposition pk_dissect_ethertype(struct pk_dissector *d, uint16_t type);

/* ip.c */
enum pk_disposition pk_dissect_ip(struct pk_dissector *d);
enum pk_disposition pk_dissect_ipv4(struct pk_dissector *d);
enum pk_disposition pk_dissect_ipv6(struct pk_dissector *d);
/* The extension headers of IPv6 and what follows them. */
enum pk_disposition pk_dissect_extensions(struct pk_dissector *d, uint8_t next);

/* packet.c: what an IP header carries. */
enum pk_disposition pk_dissect_protocol(struct pk_dissector *d, uint8_t protocol);

/* tunnel.c */
bool pk_tunnel_is_port(uint16_t sport, uint16_t dport);
/* Behind a UDP header whose ports name a tunnel; the reader stands at the payload. */
enum pk_disposition pk_dissect_udp_tunnel(struct pk_dissector *d);
enum pk_disposition pk_dissect_gre(struct pk_dissector *d);
enum pk_disposition pk_dissect_ip_in_ip(struct pk_dissector *d, uint8_t protocol);

#endif

/* Link, IP, UDP and TCP headers.
 *
 * Lengths inside the headers are believed only within the bytes captured; a header that claims less than is there (Ethernet padding) wins, one that claims
 * more makes the packet "snapped" when the capture cut it and "bad" when it did not. Checksums are not judged: captures beside the sender see them
 * unfinished. */
#include "packet.h"

#include <string.h>

#include "picket/reader.h"

enum {
    DLT_NULL_ = 0,
    DLT_EN10MB_ = 1,
    DLT_RAW_ = 12,
    DLT_RAW_BSD_ = 14,
    DLT_LINKTYPE_RAW_ = 101,
    DLT_LOOP_ = 108,
    DLT_LINUX_SLL_ = 113,
    DLT_IPV4_ = 228,
    DLT_IPV6_ = 229,
    DLT_LINUX_SLL2_ = 276,
    ETHERTYPE_IPV4 = 0x0800,
    ETHERTYPE_IPV6 = 0x86dd,
    ETHERTYPE_VLAN = 0x8100,
    ETHERTYPE_QINQ = 0x88a8,
    ETHERTYPE_QINQ_OLD = 0x9100,
    PROTO_TCP = 6,
    PROTO_UDP = 17,
    PROTO_HOPOPT = 0,
    PROTO_ROUTING = 43,
    PROTO_FRAGMENT = 44,
    PROTO_DSTOPT = 60,
    MAX_EXTENSIONS = 8,
    MAX_VLANS = 2,
};

struct dissector {
    struct pk_reader in;
    size_t missing; /* bytes the capture cut off the end of the packet */
    const struct pk_ports *ports;
    struct pk_packet *out;
};

bool pk_ports_have(const struct pk_ports *ports, uint16_t port)
{
    for (size_t i = 0; i < ports->n; i++) {
        if (ports->v[i] == port) {
            return true;
        }
    }
    return false;
}

bool pk_packet_link_supported(int link_type)
{
    switch (link_type) {
    case DLT_NULL_:
    case DLT_EN10MB_:
    case DLT_RAW_:
    case DLT_RAW_BSD_:
    case DLT_LINKTYPE_RAW_:
    case DLT_LOOP_:
    case DLT_LINUX_SLL_:
    case DLT_IPV4_:
    case DLT_IPV6_:
    case DLT_LINUX_SLL2_:
        return true;
    default:
        return false;
    }
}

/* A header that did not fit: cut by the capture, or damaged? */
static enum pk_disposition short_of(const struct dissector *d, enum pk_disposition damaged)
{
    return d->missing > 0 ? PK_PACKET_SNAPPED : damaged;
}

/* Keeps the reader to the length a header states; false when the packet is shorter than that and was not cut. */
static bool trim(struct dissector *d, size_t len)
{
    size_t left = pk_reader_left(&d->in);
    if (len <= left) {
        d->in.len = d->in.pos + len;
        d->missing = 0;
        return true;
    }
    if (len - left <= d->missing) {
        d->missing = len - left;
        return true;
    }
    return false;
}

static enum pk_disposition dissect_udp(struct dissector *d)
{
    d->out->sport = pk_reader_be16(&d->in);
    d->out->dport = pk_reader_be16(&d->in);
    uint16_t len = pk_reader_be16(&d->in);
    pk_reader_skip(&d->in, 2);
    if (d->in.err != PK_OK) {
        return short_of(d, PK_PACKET_BAD_TRANSPORT);
    }
    if (!pk_ports_have(d->ports, d->out->sport) && !pk_ports_have(d->ports, d->out->dport)) {
        return PK_PACKET_NOT_DNS;
    }
    if (len < 8 || !trim(d, len - 8u)) {
        return PK_PACKET_BAD_TRANSPORT;
    }
    if (len == 8) {
        return PK_PACKET_EMPTY;
    }
    if (d->missing > 0) {
        return PK_PACKET_SNAPPED;
    }
    d->out->payload = d->in.data + d->in.pos;
    d->out->payload_len = pk_reader_left(&d->in);
    return PK_PACKET_DNS;
}

static enum pk_disposition dissect_tcp(struct dissector *d)
{
    d->out->sport = pk_reader_be16(&d->in);
    d->out->dport = pk_reader_be16(&d->in);
    d->out->tcp_seq = pk_reader_be32(&d->in);
    pk_reader_skip(&d->in, 4);
    uint8_t offset = pk_reader_u8(&d->in) >> 4;
    d->out->tcp_flags = pk_reader_u8(&d->in);
    pk_reader_skip(&d->in, 6);
    if (d->in.err != PK_OK) {
        return short_of(d, PK_PACKET_BAD_TRANSPORT);
    }
    if (!pk_ports_have(d->ports, d->out->sport) && !pk_ports_have(d->ports, d->out->dport)) {
        return PK_PACKET_NOT_DNS;
    }
    if (offset < 5) {
        return PK_PACKET_BAD_TRANSPORT;
    }
    pk_reader_skip(&d->in, (offset - 5u) * 4u);
    if (d->in.err != PK_OK) {
        return short_of(d, PK_PACKET_BAD_TRANSPORT);
    }
    d->out->is_tcp = true;
    d->out->payload = d->in.data + d->in.pos;
    d->out->payload_len = pk_reader_left(&d->in); /* what was cut shows as a gap in the stream */
    return PK_PACKET_TCP;
}

static enum pk_disposition dissect_transport(struct dissector *d, uint8_t protocol)
{
    return protocol == PROTO_UDP   ? dissect_udp(d)
           : protocol == PROTO_TCP ? dissect_tcp(d)
                                   : PK_PACKET_NOT_DNS;
}

static enum pk_disposition dissect_ipv4(struct dissector *d)
{
    uint8_t version_ihl = pk_reader_u8(&d->in);
    pk_reader_skip(&d->in, 1);
    uint16_t total = pk_reader_be16(&d->in);
    pk_reader_skip(&d->in, 2);
    uint16_t fragment = pk_reader_be16(&d->in);
    pk_reader_skip(&d->in, 1);
    uint8_t protocol = pk_reader_u8(&d->in);
    pk_reader_skip(&d->in, 2);
    const uint8_t *src = pk_reader_bytes(&d->in, 4), *dst = pk_reader_bytes(&d->in, 4);
    size_t header = (version_ihl & 0xfu) * 4u;
    if (d->in.err != PK_OK) {
        return short_of(d, PK_PACKET_BAD_IP);
    }
    if (version_ihl >> 4 != 4 || header < 20) {
        return PK_PACKET_BAD_IP;
    }
    if (total == 0) { /* segmentation offload leaves it empty: the packet is what was captured */
        total = (uint16_t)(20 + pk_reader_left(&d->in) > UINT16_MAX ? UINT16_MAX
                                                                    : 20 + pk_reader_left(&d->in));
    }
    if (total < header || !trim(d, total - 20u)) {
        return PK_PACKET_BAD_IP;
    }
    pk_reader_skip(&d->in, header - 20);
    if (d->in.err != PK_OK) {
        return short_of(d, PK_PACKET_BAD_IP);
    }
    if (fragment & 0x3fff) { /* offset, or more to come */
        return protocol == PROTO_UDP || protocol == PROTO_TCP ? PK_PACKET_FRAGMENT
                                                              : PK_PACKET_NOT_DNS;
    }
    d->out->src = pk_addr_v4(src);
    d->out->dst = pk_addr_v4(dst);
    return dissect_transport(d, protocol);
}

static enum pk_disposition dissect_ipv6(struct dissector *d)
{
    uint32_t version = pk_reader_be32(&d->in) >> 28;
    uint16_t payload = pk_reader_be16(&d->in);
    uint8_t next = pk_reader_u8(&d->in);
    pk_reader_skip(&d->in, 1);
    const uint8_t *src = pk_reader_bytes(&d->in, 16), *dst = pk_reader_bytes(&d->in, 16);
    if (d->in.err != PK_OK) {
        return short_of(d, PK_PACKET_BAD_IP);
    }
    if (version != 6 || (payload > 0 && !trim(d, payload))) {
        return PK_PACKET_BAD_IP;
    }
    d->out->src = pk_addr_v6(src);
    d->out->dst = pk_addr_v6(dst);
    for (unsigned i = 0; i < MAX_EXTENSIONS; i++) {
        if (next == PROTO_FRAGMENT) {
            uint8_t inner = pk_reader_u8(&d->in);
            pk_reader_skip(&d->in, 1);
            uint16_t offset = pk_reader_be16(&d->in);
            pk_reader_skip(&d->in, 4);
            if (d->in.err != PK_OK) {
                return short_of(d, PK_PACKET_BAD_IP);
            }
            if (offset & 0xfff9) {
                return PK_PACKET_FRAGMENT;
            }
            next = inner; /* an atomic fragment is a whole packet (RFC 6946) */
        } else if (next == PROTO_HOPOPT || next == PROTO_ROUTING || next == PROTO_DSTOPT) {
            next = pk_reader_u8(&d->in);
            uint8_t len = pk_reader_u8(&d->in);
            pk_reader_skip(&d->in, 6 + 8 * (size_t)len);
            if (d->in.err != PK_OK) {
                return short_of(d, PK_PACKET_BAD_IP);
            }
        } else {
            return dissect_transport(d, next);
        }
    }
    return PK_PACKET_BAD_IP;
}

static enum pk_disposition dissect_ip(struct dissector *d)
{
    if (pk_reader_left(&d->in) == 0) {
        return short_of(d, PK_PACKET_BAD_LINK);
    }
    uint8_t version = d->in.data[d->in.pos] >> 4;
    return version == 4 ? dissect_ipv4(d) : version == 6 ? dissect_ipv6(d) : PK_PACKET_NOT_DNS;
}

static enum pk_disposition dissect_ethertype(struct dissector *d, uint16_t type)
{
    static const char *const vias[MAX_VLANS + 1] = {NULL, "vlan", "vlan,vlan"};
    unsigned n_tags = 0;
    while (type == ETHERTYPE_VLAN || type == ETHERTYPE_QINQ || type == ETHERTYPE_QINQ_OLD) {
        if (++n_tags > MAX_VLANS) {
            return PK_PACKET_NOT_DNS;
        }
        pk_reader_skip(&d->in, 2);
        type = pk_reader_be16(&d->in);
    }
    if (d->in.err != PK_OK) {
        return short_of(d, PK_PACKET_BAD_LINK);
    }
    d->out->via = vias[n_tags];
    return type == ETHERTYPE_IPV4   ? dissect_ipv4(d)
           : type == ETHERTYPE_IPV6 ? dissect_ipv6(d)
                                    : PK_PACKET_NOT_DNS;
}

/* The address family in front of loopback frames is the host's: whoever wrote the file decided on the order and on AF_INET6 (10, 24, 28, 30). The packet
 * itself says which IP it is. */
static enum pk_disposition dissect_null(struct dissector *d)
{
    const uint8_t *family = pk_reader_bytes(&d->in, 4);
    if (!family) {
        return short_of(d, PK_PACKET_BAD_LINK);
    }
    return dissect_ip(d);
}

enum pk_disposition pk_packet_dissect(int link_type, const uint8_t *data, size_t caplen,
    size_t wire_len, const struct pk_ports *ports, struct pk_packet *out_packet)
{
    struct dissector d = {
        .missing = wire_len > caplen ? wire_len - caplen : 0, .ports = ports, .out = out_packet};
    pk_reader_init(&d.in, data, caplen);
    out_packet->is_tcp = false;
    out_packet->is_fragmented = false;
    out_packet->via = NULL;
    switch (link_type) {
    case DLT_EN10MB_:
        pk_reader_skip(&d.in, 12);
        return dissect_ethertype(&d, pk_reader_be16(&d.in));
    case DLT_LINUX_SLL_:
        pk_reader_skip(&d.in, 14);
        return dissect_ethertype(&d, pk_reader_be16(&d.in));
    case DLT_LINUX_SLL2_: {
        uint16_t type = pk_reader_be16(&d.in);
        pk_reader_skip(&d.in, 18);
        return dissect_ethertype(&d, type);
    }
    case DLT_NULL_:
    case DLT_LOOP_:
        return dissect_null(&d);
    case DLT_RAW_:
    case DLT_RAW_BSD_:
    case DLT_LINKTYPE_RAW_:
    case DLT_IPV4_:
    case DLT_IPV6_:
        return dissect_ip(&d);
    default:
        return PK_PACKET_NOT_DNS;
    }
}

/* The way through a packet, and what stands behind IP: UDP, TCP, ICMP.
 *
 * Lengths inside the headers are believed only within the bytes captured; a header that claims less than is there (Ethernet padding) wins. One that claims
 * more leaves the message without its end, like the capture's own cut: a DNS message is still given out, marked cut, since its header and question are mostly
 * there; a packet of which too little is there for that is "snapped" when the capture cut it and "bad" when a header lied. Checksums are not judged: captures beside the sender see them unfinished. */
#include "packet/packet.h"

#include "packet/dissect.h"

enum {
    DNS_HEADER = 12
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
    return pk_link_is_known(link_type);
}

void pk_dissect_trim(struct pk_dissector *d, size_t len)
{
    size_t left = pk_reader_left(&d->in);
    if (len <= left) {
        d->in.len = d->in.pos + len;
        d->missing = 0;
        d->is_overstated = false;
        return;
    }
    d->is_overstated = d->is_overstated || len - left > d->missing;
    d->missing = len - left;
}

static bool is_dns(const struct pk_ports *ports, uint16_t sport, uint16_t dport)
{
    return pk_ports_have(ports, sport) || pk_ports_have(ports, dport);
}

static bool is_multicast_dns(const struct pk_ports *ports, uint16_t sport, uint16_t dport)
{
    return ports->with_multicast && (sport == PK_PORT_MDNS || dport == PK_PORT_MDNS ||
                                        sport == PK_PORT_LLMNR || dport == PK_PORT_LLMNR);
}

static enum pk_disposition dissect_udp(struct pk_dissector *d)
{
    struct pk_packet *out = d->out;
    const uint8_t *udp = pk_reader_bytes(&d->in, 8);
    if (!udp) {
        return pk_dissect_short(d, PK_PACKET_BAD_TRANSPORT);
    }
    out->sport = pk_be16_at(udp, 0);
    out->dport = pk_be16_at(udp, 2);
    uint16_t len = pk_be16_at(udp, 4);
    bool is_tunnel = false;
    if (!is_dns(d->ports, out->sport, out->dport)) {
        out->is_multicast = is_multicast_dns(d->ports, out->sport, out->dport);
        is_tunnel = !out->is_multicast && pk_tunnel_is_port(out->sport, out->dport);
        if (!out->is_multicast && !is_tunnel) {
            return PK_PACKET_NOT_DNS;
        }
    }
    if (len < 8) {
        return PK_PACKET_BAD_TRANSPORT;
    }
    pk_dissect_trim(d, len - 8u);
    if (is_tunnel) {
        return pk_dissect_udp_tunnel(d);
    }
    if (len == 8) {
        return PK_PACKET_EMPTY;
    }
    out->payload = d->in.data + d->in.pos;
    out->payload_len = pk_reader_left(&d->in);
    out->is_cut = d->missing > 0;
    return out->is_cut && out->payload_len < DNS_HEADER
               ? pk_dissect_short(d, PK_PACKET_BAD_TRANSPORT)
               : PK_PACKET_DNS;
}

static enum pk_disposition dissect_tcp(struct pk_dissector *d)
{
    struct pk_packet *out = d->out;
    const uint8_t *tcp = pk_reader_bytes(&d->in, 20);
    if (!tcp) {
        return pk_dissect_short(d, PK_PACKET_BAD_TRANSPORT);
    }
    out->sport = pk_be16_at(tcp, 0);
    out->dport = pk_be16_at(tcp, 2);
    out->tcp_seq = pk_be32_at(tcp, 4);
    out->tcp_flags = tcp[13];
    uint8_t offset = tcp[12] >> 4;
    if (!is_dns(d->ports, out->sport, out->dport)) {
        out->is_multicast = is_multicast_dns(d->ports, out->sport, out->dport);
        if (!out->is_multicast) {
            return PK_PACKET_NOT_DNS;
        }
    }
    if (offset < 5) {
        return PK_PACKET_BAD_TRANSPORT;
    }
    pk_reader_skip(&d->in, (offset - 5u) * 4u);
    if (d->in.err != PK_OK) {
        return pk_dissect_short(d, PK_PACKET_BAD_TRANSPORT);
    }
    out->is_tcp = true;
    out->payload = d->in.data + d->in.pos;
    out->payload_len = pk_reader_left(&d->in); /* what was cut shows as a gap in the stream */
    return PK_PACKET_TCP;
}

/* Hands over whose message could not be delivered: the reader stands behind the quoted ports. */
static void take_quote(
    struct pk_dissector *d, const uint8_t *quoted_ip, bool is_v6, uint16_t sport, uint16_t dport)
{
    struct pk_packet *out = d->out;
    pk_reader_skip(&d->in, 4);
    out->quoted_id = pk_reader_be16(&d->in);
    out->has_quoted_query = d->in.err == PK_OK;
    if (out->has_quoted_query) {
        out->src = is_v6 ? pk_addr_v6(quoted_ip + 8) : pk_addr_v4(quoted_ip + 12);
        out->dst = is_v6 ? pk_addr_v6(quoted_ip + 24) : pk_addr_v4(quoted_ip + 16);
        out->sport = sport;
        out->dport = dport;
    }
}

/* An error message quotes the packet it complains of (RFC 792, RFC 4443): DNS in it was seen already, or came from elsewhere, and is only counted. A query that is
 * said to be undeliverable is marked (pk_pairing_unreachable). */
static enum pk_disposition dissect_icmp(struct pk_dissector *d, bool is_v6)
{
    uint8_t type = pk_reader_u8(&d->in);
    uint8_t code = pk_reader_u8(&d->in);
    bool is_error = is_v6 ? type >= 1 && type <= 4
                          : type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
    if (!is_error) {
        return PK_PACKET_NOT_DNS;
    }
    pk_reader_skip(&d->in, 6);
    d->out->has_quoted_query = false;
    struct pk_reader peek = d->in;
    size_t header = is_v6 ? 40 : (pk_reader_u8(&peek) & 0xfu) * 4u;
    if (!is_v6 && header < 20) {
        return PK_PACKET_NOT_DNS; /* not an IPv4 header, whatever else it is */
    }
    const uint8_t *quoted_ip = pk_reader_bytes(&d->in, header);
    uint16_t sport = pk_reader_be16(&d->in), dport = pk_reader_be16(&d->in);
    uint8_t protocol = d->in.err == PK_OK ? quoted_ip[is_v6 ? 6 : 9] : 0;
    bool is_quote = (protocol == PK_IPPROTO_UDP || protocol == PK_IPPROTO_TCP) &&
                    is_dns(d->ports, sport, dport);
    bool is_undelivered = is_v6 ? type == 1 : type == 3 && code != 4 /* too big: sent again */;
    if (is_quote && is_undelivered && protocol == PK_IPPROTO_UDP) {
        take_quote(d, quoted_ip, is_v6, sport, dport);
    }
    return is_quote ? PK_PACKET_ICMP_QUOTE : PK_PACKET_NOT_DNS;
}

enum pk_disposition pk_dissect_protocol(struct pk_dissector *d, uint8_t protocol)
{
    switch (protocol) {
    case PK_IPPROTO_UDP:
        return dissect_udp(d);
    case PK_IPPROTO_TCP:
        return dissect_tcp(d);
    case PK_IPPROTO_ICMP:
    case PK_IPPROTO_ICMPV6:
        return dissect_icmp(d, protocol == PK_IPPROTO_ICMPV6);
    case PK_IPPROTO_IPV4:
    case PK_IPPROTO_IPV6:
        return pk_dissect_ip_in_ip(d, protocol);
    case PK_IPPROTO_GRE:
        return pk_dissect_gre(d);
    case PK_IPPROTO_MPLS: /* RFC 4023 */
        d->next = PK_NEXT_ETHERTYPE;
        d->next_ethertype = PK_ETHERTYPE_MPLS;
        return PK_DISSECT_NEXT;
    case PK_IPPROTO_ESP:
    case PK_IPPROTO_ETHERIP:
    case PK_IPPROTO_L2TP:
        return PK_PACKET_TUNNEL;
    default:
        return PK_PACKET_NOT_DNS;
    }
}

/* As long as a layer wraps a whole packet. */
static enum pk_disposition go_on(struct pk_dissector *d, enum pk_disposition result)
{
    while (result == PK_DISSECT_NEXT) {
        switch (d->next) {
        case PK_NEXT_ETHERNET:
            result = pk_dissect_ethernet(d);
            break;
        case PK_NEXT_IP:
            result = pk_dissect_ip(d);
            break;
        case PK_NEXT_ETHERTYPE:
            result = pk_dissect_ethertype(d, d->next_ethertype);
            break;
        }
    }
    return result;
}

static void start(struct pk_dissector *d, const uint8_t *data, size_t len)
{
    pk_reader_init(&d->in, data, len);
    d->out->is_tcp = false;
    d->out->is_fragmented = false;
    d->out->is_multicast = false;
    d->out->is_cut = false;
}

enum pk_disposition pk_packet_dissect(int link_type, const uint8_t *data, size_t caplen,
    size_t wire_len, const struct pk_ports *ports, struct pk_packet *out_packet)
{
    struct pk_dissector d = {
        .missing = wire_len > caplen ? wire_len - caplen : 0, .ports = ports, .out = out_packet};
    start(&d, data, caplen);
    out_packet->via.n = 0;
    out_packet->sport = 0; /* where there are ports, none is 0 */
    enum pk_disposition result = pk_dissect_link(&d, link_type);
    return result == PK_DISSECT_NEXT ? go_on(&d, result) : result;
}

enum pk_disposition pk_packet_dissect_datagram(uint8_t protocol, const uint8_t *data, size_t len,
    const struct pk_ports *ports, struct pk_packet *packet)
{
    struct pk_dissector d = {.ports = ports, .out = packet};
    start(&d, data, len);
    packet->is_fragmented = true;
    return go_on(&d, packet->src.family == 6 ? pk_dissect_extensions(&d, protocol)
                                             : pk_dissect_protocol(&d, protocol));
}

bool pk_packet_is_wanted(
    uint8_t protocol, const uint8_t *data, size_t len, const struct pk_ports *ports)
{
    struct pk_reader in;
    pk_reader_init(&in, data, len);
    uint16_t sport = pk_reader_be16(&in), dport = pk_reader_be16(&in);
    switch (protocol) {
    case PK_IPPROTO_UDP:
        return is_dns(ports, sport, dport) || is_multicast_dns(ports, sport, dport) ||
               pk_tunnel_is_port(sport, dport);
    case PK_IPPROTO_TCP:
        return is_dns(ports, sport, dport) || is_multicast_dns(ports, sport, dport);
    case PK_IPPROTO_IPV4:
    case PK_IPPROTO_IPV6:
    case PK_IPPROTO_GRE:
    case PK_IPPROTO_MPLS:
    case PK_IPPROTO_HOPOPT: /* extension headers of IPv6: what is behind them is not known yet */
    case PK_IPPROTO_ROUTING:
    case PK_IPPROTO_FRAGMENT:
    case PK_IPPROTO_AH:
    case PK_IPPROTO_DSTOPT:
        return true;
    default:
        return false;
    }
}

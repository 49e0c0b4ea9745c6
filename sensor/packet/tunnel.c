/* Tunnels that carry whole packets: GRE (RFC 2784, 2890), ERSPAN, IP in IP (RFC 2003, 2473, 4213), VXLAN (RFC 7348), Geneve (RFC 8926), GTP-U (3GPP TS 29.281) and
 * Teredo (RFC 4380).
 *
 * A UDP port is only a hint: what does not look like the tunnel is counted as one that is not understood, and nothing in it is believed. */
#include "packet/dissect.h"

enum {
    GRE_ERSPAN_2 = 0x88be,
    GRE_ERSPAN_3 = 0x22eb,
    GRE_CHECKSUM = 0x8000,
    GRE_ROUTING = 0x4000,
    GRE_KEY = 0x2000,
    GRE_SEQUENCE = 0x1000,
    VXLAN_HAS_VNI = 0x08,
    GPE_HAS_NEXT = 0x04,
    GTP_G_PDU = 255,
    GTP_MAX_EXTENSIONS = 4,
};

static enum pk_disposition next(struct pk_dissector *d, enum pk_dissect_next what)
{
    d->next = what;
    return PK_DISSECT_NEXT;
}

static enum pk_disposition next_ethertype(struct pk_dissector *d, uint16_t type)
{
    d->next_ethertype = type;
    return next(d, type == PK_ETHERTYPE_BRIDGED ? PK_NEXT_ETHERNET : PK_NEXT_ETHERTYPE);
}

/* Enters the tunnel: the layer is noted, the header must have been there. */
static enum pk_disposition enter(struct pk_dissector *d, enum pk_via_kind kind, bool has_id,
    uint32_t id, enum pk_disposition inner)
{
    if (d->in.err != PK_OK) {
        return pk_dissect_short(d, PK_PACKET_TUNNEL);
    }
    return pk_via_push(&d->out->via, kind, has_id, id) ? inner : PK_PACKET_TOO_DEEP;
}

enum pk_disposition pk_dissect_ip_in_ip(struct pk_dissector *d, uint8_t protocol)
{
    bool is_outer_v6 = d->out->src.family == 6, is_inner_v6 = protocol == PK_IPPROTO_IPV6;
    enum pk_via_kind kind = is_outer_v6 ? (is_inner_v6 ? PK_VIA_6IN6 : PK_VIA_4IN6)
                                        : (is_inner_v6 ? PK_VIA_6IN4 : PK_VIA_IPIP);
    return enter(d, kind, false, 0, next(d, PK_NEXT_IP));
}

/* Type II behind a GRE sequence number: version, VLAN, session; an index. Type III says more and may append a platform header. Both hold an Ethernet frame.
 * draft-foschiano-erspan */
static enum pk_disposition dissect_erspan(struct pk_dissector *d, bool is_type_3)
{
    uint16_t version = pk_reader_be16(&d->in) >> 12;
    uint32_t session = pk_reader_be16(&d->in) & 0x3ffu;
    if (d->in.err == PK_OK && version != (is_type_3 ? 2 : 1)) {
        return PK_PACKET_TUNNEL;
    }
    pk_reader_skip(&d->in, is_type_3 ? 7 : 4);
    bool has_platform = is_type_3 && pk_reader_u8(&d->in) & 1;
    pk_reader_skip(&d->in, has_platform ? 8 : 0);
    return enter(d, PK_VIA_ERSPAN, true, session, next(d, PK_NEXT_ETHERNET));
}

enum pk_disposition pk_dissect_gre(struct pk_dissector *d)
{
    uint16_t flags = pk_reader_be16(&d->in), type = pk_reader_be16(&d->in);
    if (flags & (GRE_ROUTING | 7)) { /* source routes are deprecated; version 1 is PPTP's */
        return PK_PACKET_TUNNEL;
    }
    pk_reader_skip(&d->in, flags & GRE_CHECKSUM ? 4 : 0);
    uint32_t key = flags & GRE_KEY ? pk_reader_be32(&d->in) : 0;
    pk_reader_skip(&d->in, flags & GRE_SEQUENCE ? 4 : 0);
    if (type == GRE_ERSPAN_2 && !(flags & GRE_SEQUENCE)) { /* type I has no header of its own */
        return enter(d, PK_VIA_ERSPAN, false, 0, next(d, PK_NEXT_ETHERNET));
    }
    if (type == GRE_ERSPAN_2 || type == GRE_ERSPAN_3) {
        return dissect_erspan(d, type == GRE_ERSPAN_3);
    }
    return enter(d, PK_VIA_GRE, flags & GRE_KEY, key, next_ethertype(d, type));
}

/* With the generic protocol extension the last byte of the first word says what is inside. */
static enum pk_disposition dissect_vxlan(struct pk_dissector *d, bool is_gpe)
{
    uint32_t first = pk_reader_be32(&d->in), vni = pk_reader_be32(&d->in);
    uint32_t flags = first >> 24, inner = first & 0xff;
    if (d->in.err != PK_OK) {
        return pk_dissect_short(d, PK_PACKET_TUNNEL);
    }
    if (!(flags & VXLAN_HAS_VNI)) {
        return PK_PACKET_TUNNEL;
    }
    /* Some senders of GPE leave the flag of the next protocol out but name it: a VXLAN proper has zero there. */
    bool is_ip = is_gpe && (inner == 1 || inner == 2);
    if (is_gpe && (inner > 3 || (flags & GPE_HAS_NEXT && inner == 0))) {
        return PK_PACKET_TUNNEL;
    }
    return enter(d, PK_VIA_VXLAN, true, vni >> 8, next(d, is_ip ? PK_NEXT_IP : PK_NEXT_ETHERNET));
}

static enum pk_disposition dissect_geneve(struct pk_dissector *d)
{
    uint8_t version_len = pk_reader_u8(&d->in);
    pk_reader_skip(&d->in, 1);
    uint16_t type = pk_reader_be16(&d->in);
    uint32_t vni = pk_reader_be32(&d->in) >> 8;
    if (d->in.err == PK_OK && version_len >> 6 != 0) {
        return PK_PACKET_TUNNEL;
    }
    pk_reader_skip(&d->in, (version_len & 0x3fu) * 4u);
    return enter(d, PK_VIA_GENEVE, true, vni, next_ethertype(d, type));
}

static enum pk_disposition dissect_gtp(struct pk_dissector *d)
{
    uint8_t flags = pk_reader_u8(&d->in), type = pk_reader_u8(&d->in);
    pk_reader_skip(&d->in, 2);
    uint32_t teid = pk_reader_be32(&d->in);
    if (d->in.err == PK_OK && flags >> 4 != 3) { /* version 1, not GTP' */
        return PK_PACKET_TUNNEL;
    }
    if (d->in.err == PK_OK && type != GTP_G_PDU) {
        return PK_PACKET_NOT_DNS;
    }
    if (flags & 7) {
        pk_reader_skip(&d->in, 3);
        uint8_t extension = pk_reader_u8(&d->in);
        for (unsigned i = 0; extension && flags & 4 && d->in.err == PK_OK; i++) {
            size_t len = pk_reader_u8(&d->in) * 4u;
            if (i == GTP_MAX_EXTENSIONS || len == 0) {
                return pk_dissect_short(d, PK_PACKET_TUNNEL);
            }
            pk_reader_skip(&d->in, len - 2);
            extension = pk_reader_u8(&d->in);
        }
    }
    return enter(d, PK_VIA_GTP, true, teid, next(d, PK_NEXT_IP));
}

/* Authentication and origin may stand in front of the IPv6 packet, in this order (RFC 4380 s5.1.1). */
static enum pk_disposition dissect_teredo(struct pk_dissector *d)
{
    struct pk_reader peek = d->in;
    uint16_t indicator = pk_reader_be16(&peek);
    if (indicator == 1 && peek.err == PK_OK) {
        pk_reader_skip(&d->in, 2);
        uint8_t id_len = pk_reader_u8(&d->in), value_len = pk_reader_u8(&d->in);
        pk_reader_skip(&d->in, (size_t)id_len + value_len + 9);
        peek = d->in;
        indicator = pk_reader_be16(&peek);
    }
    if (indicator == 0 && peek.err == PK_OK) {
        pk_reader_skip(&d->in, 8);
        peek = d->in;
        indicator = pk_reader_be16(&peek);
    }
    if (d->in.err != PK_OK || peek.err != PK_OK) {
        return pk_dissect_short(d, PK_PACKET_TUNNEL);
    }
    return indicator >> 12 == 6 ? enter(d, PK_VIA_TEREDO, false, 0, next(d, PK_NEXT_IP))
                                : PK_PACKET_TUNNEL;
}

static bool is_vxlan(uint16_t port)
{
    return port == PK_PORT_VXLAN || port == PK_PORT_VXLAN_GPE || port == PK_PORT_VXLAN_LINUX;
}

static bool is_port(uint16_t port)
{
    return is_vxlan(port) || port == PK_PORT_GENEVE || port == PK_PORT_GTP_U ||
           port == PK_PORT_TEREDO;
}

/* The destination by the RFCs; some ends answer from the port, to where the other sent from. */
bool pk_tunnel_is_port(uint16_t sport, uint16_t dport)
{
    return is_port(dport) || is_port(sport);
}

enum pk_disposition pk_dissect_udp_tunnel(struct pk_dissector *d)
{
    uint16_t port = is_port(d->out->dport) ? d->out->dport : d->out->sport;
    return is_vxlan(port)           ? dissect_vxlan(d, port == PK_PORT_VXLAN_GPE)
           : port == PK_PORT_GENEVE ? dissect_geneve(d)
           : port == PK_PORT_GTP_U  ? dissect_gtp(d)
                                    : dissect_teredo(d);
}

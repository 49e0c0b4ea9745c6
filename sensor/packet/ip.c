/* IPv4 (RFC 791) and IPv6 (RFC 8200) headers, up to what they carry. A fragment is described, not followed: frag.c puts them together. */
#include "packet/dissect.h"

/* The reader stands at the part's data. The first part of a datagram is read by itself when its own end is missing: it can never become whole, and header and
 * question of a message are in it. */
static enum pk_disposition fragment(
    struct pk_dissector *d, uint8_t protocol, uint32_t id, uint16_t offset_units, bool has_more)
{
    if (d->missing > 0) {
        return offset_units == 0 ? pk_dissect_protocol(d, protocol)
                                 : pk_dissect_short(d, PK_PACKET_BAD_IP);
    }
    d->out->fragment = (struct pk_fragment){
        .id = id,
        .offset = offset_units * 8u,
        .has_more = has_more,
        .protocol = protocol,
        .data = d->in.data + d->in.pos,
        .len = pk_reader_left(&d->in),
    };
    return PK_PACKET_FRAGMENT;
}

enum pk_disposition pk_dissect_ipv4(struct pk_dissector *d)
{
    const uint8_t *ip = pk_reader_bytes(&d->in, 20);
    if (!ip) {
        return pk_dissect_short(d, PK_PACKET_BAD_IP);
    }
    uint8_t version_ihl = ip[0], protocol = ip[9];
    uint16_t total = pk_be16_at(ip, 2), offset = pk_be16_at(ip, 6);
    size_t header = (version_ihl & 0xfu) * 4u;
    if (version_ihl >> 4 != 4 || header < 20) {
        return PK_PACKET_BAD_IP;
    }
    if (total == 0) { /* segmentation offload leaves it empty: the packet is what was captured */
        total = (uint16_t)(20 + pk_reader_left(&d->in) > UINT16_MAX ? UINT16_MAX
                                                                    : 20 + pk_reader_left(&d->in));
    }
    if (total < header) {
        return PK_PACKET_BAD_IP;
    }
    pk_dissect_trim(d, total - 20u);
    if (header > 20) {
        pk_reader_skip(&d->in, header - 20);
        if (d->in.err != PK_OK) {
            return pk_dissect_short(d, PK_PACKET_BAD_IP);
        }
    }
    pk_addr_set_v4(&d->out->src, ip + 12);
    pk_addr_set_v4(&d->out->dst, ip + 16);
    if (offset & 0x3fff) { /* offset, or more to come */
        return fragment(d, protocol, pk_be16_at(ip, 4), offset & 0x1fff, offset & 0x2000);
    }
    return pk_dissect_protocol(d, protocol);
}

enum pk_disposition pk_dissect_extensions(struct pk_dissector *d, uint8_t next)
{
    for (unsigned i = 0; i <= PK_PACKET_MAX_EXTENSIONS; i++) {
        uint8_t kind = next;
        if (kind == PK_IPPROTO_FRAGMENT) {
            next = pk_reader_u8(&d->in);
            pk_reader_skip(&d->in, 1);
            uint16_t offset = pk_reader_be16(&d->in);
            uint32_t id = pk_reader_be32(&d->in);
            if (d->in.err == PK_OK && offset & 0xfff9) {
                return fragment(d, next, id, offset >> 3, offset & 1);
            } /* an atomic fragment is a whole packet (RFC 6946) */
        } else if (kind == PK_IPPROTO_HOPOPT || kind == PK_IPPROTO_ROUTING ||
                   kind == PK_IPPROTO_DSTOPT) {
            next = pk_reader_u8(&d->in);
            uint8_t len = pk_reader_u8(&d->in);
            pk_reader_skip(&d->in, 6 + 8 * (size_t)len);
        } else if (kind == PK_IPPROTO_AH) { /* counts words, not eights (RFC 4302) */
            next = pk_reader_u8(&d->in);
            uint8_t len = pk_reader_u8(&d->in);
            pk_reader_skip(&d->in, 6 + 4 * (size_t)len);
        } else {
            return pk_dissect_protocol(d, kind);
        }
        if (d->in.err != PK_OK) {
            return pk_dissect_short(d, PK_PACKET_BAD_IP);
        }
    }
    return PK_PACKET_BAD_IP;
}

enum pk_disposition pk_dissect_ipv6(struct pk_dissector *d)
{
    const uint8_t *ip = pk_reader_bytes(&d->in, 40);
    if (!ip) {
        return pk_dissect_short(d, PK_PACKET_BAD_IP);
    }
    uint8_t version = ip[0] >> 4;
    uint16_t payload = pk_be16_at(ip, 4);
    if (version != 6) {
        return PK_PACKET_BAD_IP;
    }
    if (payload > 0) {
        pk_dissect_trim(d, payload);
    }
    pk_addr_set_v6(&d->out->src, ip + 8);
    pk_addr_set_v6(&d->out->dst, ip + 24);
    return pk_dissect_extensions(d, ip[6]);
}

enum pk_disposition pk_dissect_ip(struct pk_dissector *d)
{
    if (pk_reader_left(&d->in) == 0) {
        return pk_dissect_short(d, PK_PACKET_BAD_LINK);
    }
    uint8_t version = d->in.data[d->in.pos] >> 4;
    return version == 4   ? pk_dissect_ipv4(d)
           : version == 6 ? pk_dissect_ipv6(d)
                          : PK_PACKET_NOT_DNS;
}

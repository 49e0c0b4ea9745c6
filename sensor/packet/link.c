/* Link layers, down to IP: what libpcap calls link types, and what may stand between an Ethernet header and IP. */
#include <string.h>

#include "packet/dissect.h"

enum { /* libpcap's numbers */
    DLT_NULL_ = 0,
    DLT_EN10MB_ = 1,
    DLT_PPP_ = 9,
    DLT_FDDI_ = 10,
    DLT_RAW_ = 12,
    DLT_RAW_BSD_ = 14,
    DLT_PPP_SERIAL_ = 50,
    DLT_PPP_ETHER_ = 51,
    DLT_LINKTYPE_RAW_ = 101,
    DLT_C_HDLC_ = 104,
    DLT_IEEE802_11_ = 105,
    DLT_LOOP_ = 108,
    DLT_LINUX_SLL_ = 113,
    DLT_IEEE802_11_RADIO_ = 127,
    DLT_IPV4_ = 228,
    DLT_IPV6_ = 229,
    DLT_NFLOG_ = 239,
    DLT_LINUX_SLL2_ = 276,
};

enum {
    PPP_IPV4 = 0x0021,
    PPP_IPV6 = 0x0057,
    PPP_MPLS = 0x0281,
    MAX_802_3_LENGTH = 1500,
    NFULA_PAYLOAD = 9,
    WLAN_TYPE_DATA = 2,
};

bool pk_link_is_known(int link_type)
{
    switch (link_type) {
    case DLT_NULL_:
    case DLT_EN10MB_:
    case DLT_PPP_:
    case DLT_FDDI_:
    case DLT_RAW_:
    case DLT_RAW_BSD_:
    case DLT_PPP_SERIAL_:
    case DLT_PPP_ETHER_:
    case DLT_LINKTYPE_RAW_:
    case DLT_C_HDLC_:
    case DLT_IEEE802_11_:
    case DLT_LOOP_:
    case DLT_LINUX_SLL_:
    case DLT_IEEE802_11_RADIO_:
    case DLT_IPV4_:
    case DLT_IPV6_:
    case DLT_NFLOG_:
    case DLT_LINUX_SLL2_:
        return true;
    default:
        return false;
    }
}

static bool push(struct pk_dissector *d, enum pk_via_kind kind, uint32_t id)
{
    return pk_via_push(&d->out->via, kind, true, id);
}

/* A stack of labels (RFC 3032) and no word on what is below: IP tells itself by its version; a pseudowire begins with a control word of zero nibble (RFC 4385)
 * and holds Ethernet. */
static enum pk_disposition dissect_mpls(struct pk_dissector *d)
{
    uint32_t label;
    do {
        label = pk_reader_be32(&d->in);
        if (d->in.err != PK_OK) {
            return pk_dissect_short(d, PK_PACKET_BAD_LINK);
        }
        if (!push(d, PK_VIA_MPLS, label >> 12)) {
            return PK_PACKET_TOO_DEEP;
        }
    } while (!(label & 0x100));
    if (pk_reader_left(&d->in) == 0) {
        return pk_dissect_short(d, PK_PACKET_BAD_LINK);
    }
    switch (d->in.data[d->in.pos] >> 4) {
    case 4:
    case 6:
        return pk_dissect_ip(d);
    case 0:
        pk_reader_skip(&d->in, 4);
        d->next = PK_NEXT_ETHERNET;
        return PK_DISSECT_NEXT;
    default:
        return PK_PACKET_TUNNEL;
    }
}

/* RFC 1661; the protocol is one byte where it is odd (field compression). */
static enum pk_disposition dissect_ppp(struct pk_dissector *d)
{
    uint16_t protocol = pk_reader_u8(&d->in);
    if (!(protocol & 1)) {
        protocol = (uint16_t)(protocol << 8 | pk_reader_u8(&d->in));
    }
    if (d->in.err != PK_OK) {
        return pk_dissect_short(d, PK_PACKET_BAD_LINK);
    }
    return protocol == PPP_IPV4   ? pk_dissect_ipv4(d)
           : protocol == PPP_IPV6 ? pk_dissect_ipv6(d)
           : protocol == PPP_MPLS ? dissect_mpls(d)
                                  : PK_PACKET_NOT_DNS;
}

static enum pk_disposition dissect_ppp_framed(struct pk_dissector *d)
{
    if (pk_reader_left(&d->in) >= 2 && d->in.data[d->in.pos] == 0xff) {
        pk_reader_skip(&d->in, 2); /* address and control of HDLC framing (RFC 1662) */
    }
    return dissect_ppp(d);
}

/* RFC 2516, session stage. */
static enum pk_disposition dissect_pppoe(struct pk_dissector *d)
{
    uint8_t version_type = pk_reader_u8(&d->in), code = pk_reader_u8(&d->in);
    uint16_t session = pk_reader_be16(&d->in), len = pk_reader_be16(&d->in);
    if (d->in.err != PK_OK) {
        return pk_dissect_short(d, PK_PACKET_BAD_LINK);
    }
    if (version_type != 0x11 || code != 0) {
        return PK_PACKET_NOT_DNS;
    }
    if (!push(d, PK_VIA_PPPOE, session)) {
        return PK_PACKET_TOO_DEEP;
    }
    pk_dissect_trim(d, len);
    return dissect_ppp(d);
}

static bool is_vlan(uint16_t type)
{
    return type == PK_ETHERTYPE_VLAN || type == PK_ETHERTYPE_QINQ || type == PK_ETHERTYPE_QINQ_OLD;
}

/* 802.2 with SNAP: what 802.11 and, rarely, 802.3 have instead of an Ethernet type. Gives the type, 0 for anything else. */
static uint16_t snap_type(struct pk_dissector *d)
{
    const uint8_t *llc = pk_reader_bytes(&d->in, 6);
    uint16_t type = pk_reader_be16(&d->in);
    return llc && memcmp(llc, "\xaa\xaa\x03\0\0\0", 6) == 0 ? type : 0;
}

enum pk_disposition pk_dissect_ethertype(struct pk_dissector *d, uint16_t type)
{
    while (is_vlan(type)) {
        uint16_t tag = pk_reader_be16(&d->in);
        type = pk_reader_be16(&d->in);
        if (d->in.err == PK_OK && !push(d, PK_VIA_VLAN, tag & 0xfffu)) {
            return PK_PACKET_TOO_DEEP;
        }
    }
    if (d->in.err != PK_OK) {
        return pk_dissect_short(d, PK_PACKET_BAD_LINK);
    }
    if (type > 0 && type <= MAX_802_3_LENGTH && pk_reader_left(&d->in) >= 8) {
        type = snap_type(d);
    }
    switch (type) {
    case PK_ETHERTYPE_IPV4:
        return pk_dissect_ipv4(d);
    case PK_ETHERTYPE_IPV6:
        return pk_dissect_ipv6(d);
    case PK_ETHERTYPE_PPPOE:
        return dissect_pppoe(d);
    case PK_ETHERTYPE_MPLS:
    case PK_ETHERTYPE_MPLS_MULTICAST:
        return dissect_mpls(d);
    default:
        return PK_PACKET_NOT_DNS;
    }
}

enum pk_disposition pk_dissect_ethernet(struct pk_dissector *d)
{
    pk_reader_skip(&d->in, 12);
    return pk_dissect_ethertype(d, pk_reader_be16(&d->in));
}

/* The address family in front of loopback frames is the host's: whoever wrote the file decided on the order and on AF_INET6 (10, 24, 28, 30). The packet
 * itself says which IP it is. */
static enum pk_disposition dissect_null(struct pk_dissector *d)
{
    pk_reader_skip(&d->in, 4);
    return d->in.err == PK_OK ? pk_dissect_ip(d) : pk_dissect_short(d, PK_PACKET_BAD_LINK);
}

/* Netlink attributes in the order of the host that wrote them; libpcap turns those of a file to ours. */
static enum pk_disposition dissect_nflog(struct pk_dissector *d)
{
    pk_reader_skip(&d->in, 4); /* family, version, resource */
    while (d->in.err == PK_OK) {
        uint16_t len, type;
        const uint8_t *header = pk_reader_bytes(&d->in, 4);
        if (!header) {
            break;
        }
        memcpy(&len, header, sizeof len);
        memcpy(&type, header + 2, sizeof type);
        if (len < 4) {
            return PK_PACKET_BAD_LINK;
        }
        if ((type & 0x3fff) == NFULA_PAYLOAD) {
            pk_dissect_trim(d, len - 4u);
            return pk_dissect_ip(d);
        }
        pk_reader_skip(&d->in, ((size_t)len + 3) / 4 * 4 - 4);
    }
    return pk_dissect_short(d, PK_PACKET_BAD_LINK);
}

/* ISO 9314-2: frame control and two addresses; only LLC frames (x101xxxx) carry anything. */
static enum pk_disposition dissect_fddi(struct pk_dissector *d)
{
    const uint8_t *header = pk_reader_bytes(&d->in, 13);
    if (header && (header[0] & 0x70) != 0x50) {
        return PK_PACKET_NOT_DNS;
    }
    uint16_t type = snap_type(d);
    return d->in.err == PK_OK ? pk_dissect_ethertype(d, type)
                              : pk_dissect_short(d, PK_PACKET_BAD_LINK);
}

/* IEEE 802.11-2016 s9.2.4: a data frame in clear; what is encrypted or aggregated (A-MSDU) is not understood. */
static enum pk_disposition dissect_wlan(struct pk_dissector *d)
{
    uint8_t control = pk_reader_u8(&d->in), flags = pk_reader_u8(&d->in);
    uint8_t subtype = control >> 4;
    bool is_qos = subtype & 8, has_two_ds = (flags & 3) == 3;
    pk_reader_skip(&d->in, has_two_ds ? 28 : 22);
    uint8_t qos = is_qos ? pk_reader_u8(&d->in) : 0;
    pk_reader_skip(&d->in, is_qos ? (flags & 0x80 ? 5 : 1) : 0);
    if ((control >> 2 & 3) != WLAN_TYPE_DATA || subtype & 4) {
        return PK_PACKET_NOT_DNS;
    }
    if (flags & 0x40 || qos & 0x80) {
        return PK_PACKET_TUNNEL;
    }
    uint16_t type = snap_type(d);
    return d->in.err == PK_OK ? pk_dissect_ethertype(d, type)
                              : pk_dissect_short(d, PK_PACKET_BAD_LINK);
}

/* What the receiver says of the radio, as long as it says; then 802.11. */
static enum pk_disposition dissect_radiotap(struct pk_dissector *d)
{
    pk_reader_skip(&d->in, 2);
    uint16_t len = pk_reader_le16(&d->in);
    if (d->in.err == PK_OK && len < 8) {
        return PK_PACKET_BAD_LINK;
    }
    pk_reader_skip(&d->in, len - 4u);
    return d->in.err == PK_OK ? dissect_wlan(d) : pk_dissect_short(d, PK_PACKET_BAD_LINK);
}

enum pk_disposition pk_dissect_link(struct pk_dissector *d, int link_type)
{
    switch (link_type) {
    case DLT_EN10MB_:
        return pk_dissect_ethernet(d);
    case DLT_LINUX_SLL_:
        pk_reader_skip(&d->in, 14);
        return pk_dissect_ethertype(d, pk_reader_be16(&d->in));
    case DLT_LINUX_SLL2_: {
        uint16_t type = pk_reader_be16(&d->in);
        pk_reader_skip(&d->in, 18);
        return pk_dissect_ethertype(d, type);
    }
    case DLT_C_HDLC_:
        pk_reader_skip(&d->in, 2);
        return pk_dissect_ethertype(d, pk_reader_be16(&d->in));
    case DLT_NULL_:
    case DLT_LOOP_:
        return dissect_null(d);
    case DLT_RAW_:
    case DLT_RAW_BSD_:
    case DLT_LINKTYPE_RAW_:
    case DLT_IPV4_:
    case DLT_IPV6_:
        return pk_dissect_ip(d);
    case DLT_NFLOG_:
        return dissect_nflog(d);
    case DLT_PPP_:
    case DLT_PPP_SERIAL_:
        return dissect_ppp_framed(d);
    case DLT_PPP_ETHER_:
        return dissect_pppoe(d);
    case DLT_FDDI_:
        return dissect_fddi(d);
    case DLT_IEEE802_11_:
        return dissect_wlan(d);
    case DLT_IEEE802_11_RADIO_:
        return dissect_radiotap(d);
    default:
        return PK_PACKET_BAD_LINK; /* one of several interfaces of a file */
    }
}

/* Offsets are written out (link[12:2]) where the link header has a fixed size, instead of libpcap's "vlan", "pppoes" and "mpls", which shift the offsets of all that
 * follows and cannot be nested at will. In a live capture the kernel has taken the outermost tag out of the frame: then the form without a tag matches. On "any"
 * (SLL) only constant offsets reach the kernel, so there IP is left to libpcap's own words and what is tagged passes whole. */
#include "input/filter.h"

#include <stdio.h>

#include "packet/dissect.h"
#include "pairing/encrypted.h"

enum {
    DLT_NULL_ = 0,
    DLT_EN10MB_ = 1,
    DLT_RAW_ = 12,
    DLT_RAW_BSD_ = 14,
    DLT_LINKTYPE_RAW_ = 101,
    DLT_C_HDLC_ = 104,
    DLT_LOOP_ = 108,
    DLT_LINUX_SLL_ = 113,
    DLT_IPV4_ = 228,
    DLT_IPV6_ = 229,
    DLT_LINUX_SLL2_ = 276,
    MAX_TAGS = 2, /* looked through; what has more passes whole */
    MAX_LABELS = 2,
    PORT_ENCRYPTED = 853, /* DNS over TLS and over QUIC: RFC 7858, RFC 9250 */
};

struct text {
    struct pk_bytes *out;
    const struct pk_ports *ports;
};

#define put(t, ...) pk_bytes_printf((t)->out, __VA_ARGS__)

static const uint16_t tunnel_ports[] = {PK_PORT_VXLAN, PK_PORT_VXLAN_GPE, PK_PORT_VXLAN_LINUX,
    PK_PORT_GENEVE, PK_PORT_GTP_U, PK_PORT_TEREDO};
static const uint8_t tunnel_protocols[] = {
    PK_IPPROTO_IPV4, PK_IPPROTO_IPV6, PK_IPPROTO_GRE, PK_IPPROTO_MPLS};
static const uint8_t extensions[] = {
    PK_IPPROTO_HOPOPT, PK_IPPROTO_ROUTING, PK_IPPROTO_AH, PK_IPPROTO_DSTOPT};

/* Whether the two bytes at this place are a port of DNS or of a tunnel. */
static void put_port(struct text *t, const char *place)
{
    const struct pk_ports *ports = t->ports;
    const char *separator = "";
    for (size_t i = 0; i < ports->n; i++, separator = " or ") {
        put(t, "%s%s=%u", separator, place, ports->v[i]);
    }
    if (ports->with_multicast) {
        put(t, "%s%s=%d or %s=%d", separator, place, PK_PORT_MDNS, place, PK_PORT_LLMNR);
        separator = " or ";
    }
    if (ports->with_encrypted) {
        put(t, "%s%s=%d", separator, place, PORT_ENCRYPTED);
        separator = " or ";
    }
    for (size_t i = 0; !ports->without_tunnels && i < sizeof tunnel_ports / sizeof *tunnel_ports;
         i++) {
        put(t, "%s%s=%u", separator, place, tunnel_ports[i]);
        separator = " or ";
    }
    if (!*separator) {
        put(t, "%s=0", place);
    }
}

static void put_one_of(struct text *t, unsigned at, const uint8_t *values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        put(t, " or link[%u]=%u", at, values[i]);
    }
}

/* HTTPS of the resolvers that serve nothing else there; addresses of `words` 32-bit words at these offsets. */
static void put_resolvers(
    struct text *t, const char *sport, const char *dport, unsigned src_at, unsigned words)
{
    size_t n;
    const struct pk_addr *known = pk_encrypted_resolvers(&n);
    put(t, " or ((%s=%d or %s=%d) and (", sport, PK_PORT_HTTPS, dport, PK_PORT_HTTPS);
    const char *separator = "";
    for (size_t i = 0; i < n; i++) {
        if ((known[i].family == 4) != (words == 1)) {
            continue;
        }
        for (unsigned end = 0; end < 2; end++, separator = " or ") {
            const uint8_t *p = known[i].bytes;
            put(t, "%s(", separator);
            for (unsigned w = 0; w < words; w++, p += 4) {
                put(t, "%slink[%u:4]=0x%02x%02x%02x%02x", w ? " and " : "",
                    src_at + 4 * (end * words + w), p[0], p[1], p[2], p[3]);
            }
            put(t, ")");
        }
    }
    put(t, "))");
}

/* An IPv4 header at this offset. */
static void put_ipv4(struct text *t, unsigned at)
{
    char place[64], other[64];
    put(t, "(((link[%u]=17 or link[%u]=6) and (", at + 9, at + 9);
    if (!t->ports->without_fragments) {
        put(t, "link[%u:2]&0x1fff!=0 or ", at + 6);
    }
    snprintf(place, sizeof place, "link[%u+4*(link[%u]&0xf):2]", at, at);
    put_port(t, place);
    put(t, " or ");
    snprintf(other, sizeof other, "link[%u+4*(link[%u]&0xf):2]", at + 2, at);
    put_port(t, other);
    if (t->ports->with_encrypted) {
        put_resolvers(t, place, other, at + 12, 1);
    }
    put(t, "))");
    /* Destination unreachable: it may quote a query that nobody will answer. */
    put(t, " or (link[%u]=1 and link[%u+4*(link[%u]&0xf)]=3)", at + 9, at, at);
    if (!t->ports->without_tunnels) {
        put_one_of(t, at + 9, tunnel_protocols, sizeof tunnel_protocols);
    }
    put(t, ")");
}

static void put_ipv6(struct text *t, unsigned at)
{
    char place[32], other[32];
    put(t, "(((link[%u]=17 or link[%u]=6) and (", at + 6, at + 6);
    snprintf(place, sizeof place, "link[%u:2]", at + 40);
    put_port(t, place);
    put(t, " or ");
    snprintf(other, sizeof other, "link[%u:2]", at + 42);
    put_port(t, other);
    if (t->ports->with_encrypted) {
        put_resolvers(t, place, other, at + 8, 4);
    }
    put(t, "))");
    put(t, " or (link[%u]=58 and link[%u]=1)", at + 6, at + 40); /* destination unreachable */
    put_one_of(t, at + 6, extensions, sizeof extensions);
    if (!t->ports->without_fragments) {
        put(t, " or link[%u]=%d", at + 6, PK_IPPROTO_FRAGMENT);
    }
    if (!t->ports->without_tunnels) {
        put_one_of(t, at + 6, tunnel_protocols, sizeof tunnel_protocols);
    }
    put(t, ")");
}

/* IP at this offset, of the version it says. */
static void put_ip(struct text *t, unsigned at)
{
    put(t, "((link[%u]&0xf0=0x40 and ", at);
    put_ipv4(t, at);
    put(t, ") or (link[%u]&0xf0=0x60 and ", at);
    put_ipv6(t, at);
    put(t, "))");
}

static void put_pppoe(struct text *t, unsigned at)
{
    put(t, "((link[%u:2]=0x21 and ", at + 6);
    put_ipv4(t, at + 8);
    put(t, ") or (link[%u:2]=0x57 and ", at + 6);
    put_ipv6(t, at + 8);
    put(t, ") or link[%u]&1!=0 or link[%u:2]=0x281)", at + 6, at + 6); /* compressed, MPLS */
}

/* Labels end with the one that has the bottom bit; a pseudowire (zero nibble) passes whole, and so does a deeper stack. */
static void put_mpls(struct text *t, unsigned at)
{
    for (unsigned i = 0; i < MAX_LABELS; i++, at += 4) {
        put(t, "((link[%u]&1!=0 and (link[%u]&0xf0=0 or ", at + 2, at + 4);
        put_ip(t, at + 4);
        put(t, ")) or (link[%u]&1=0 and ", at + 2);
    }
    put(t, "link[0]>=0");
    for (unsigned i = 0; i < MAX_LABELS; i++) {
        put(t, "))");
    }
}

/* An Ethernet type at this offset and what belongs behind it. */
static void put_ethertype(struct text *t, unsigned at, unsigned n_tags)
{
    put(t, "((link[%u:2]=0x800 and ", at);
    put_ipv4(t, at + 2);
    put(t, ") or (link[%u:2]=0x86dd and ", at);
    put_ipv6(t, at + 2);
    put(t, ") or (link[%u:2]=0x8864", at);
    if (n_tags < MAX_TAGS) {
        put(t, " and ");
        put_pppoe(t, at + 2);
    }
    put(t, ") or ((link[%u:2]=0x8847 or link[%u:2]=0x8848)", at, at);
    if (n_tags == 0) {
        put(t, " and ");
        put_mpls(t, at + 2);
    }
    put(t, ") or (link[%u:2]<=1500 and link[%u:2]=0xaaaa)", at, at + 2); /* SNAP */
    put(t, " or ((link[%u:2]=0x8100 or link[%u:2]=0x88a8 or link[%u:2]=0x9100)", at, at, at);
}

static void put_ethernet(struct text *t, unsigned at)
{
    for (unsigned i = 0; i <= MAX_TAGS; i++) {
        put_ethertype(t, at + 4 * i, i);
        put(t, i < MAX_TAGS ? " and " : "");
    }
    for (unsigned i = 0; i <= MAX_TAGS; i++) {
        put(t, "))");
    }
}

static void put_words_of_resolvers(struct text *t)
{
    size_t n;
    const struct pk_addr *known = pk_encrypted_resolvers(&n);
    put(t, " or (port %d and (", PK_PORT_HTTPS);
    for (size_t i = 0; i < n; i++) {
        char text[PK_ADDR_TEXT_SIZE];
        put(t, "%shost %s", i ? " or " : "", pk_addr_text(&known[i], text));
    }
    put(t, "))");
}

/* libpcap's own words, for SLL. */
static void put_words(struct text *t, unsigned ethertype_at)
{
    const struct pk_ports *ports = t->ports;
    put(t, "link[%u:2]=0x8100 or link[%u:2]=0x88a8 or link[%u:2]=0x9100", ethertype_at,
        ethertype_at, ethertype_at);
    put(t, " or link[%u:2]=0x8864 or link[%u:2]=0x8847 or link[%u:2]=0x8848 or link[%u:2]<=1500",
        ethertype_at, ethertype_at, ethertype_at, ethertype_at);
    for (size_t i = 0; i < ports->n; i++) {
        put(t, " or port %u", ports->v[i]);
    }
    if (ports->with_multicast) {
        put(t, " or port %d or port %d", PK_PORT_MDNS, PK_PORT_LLMNR);
    }
    put(t, " or (ip[9]=1 and ip[20]=3) or (ip6[6]=58 and ip6[40]=1)");
    if (ports->with_encrypted) {
        put(t, " or port %d", PORT_ENCRYPTED);
        put_words_of_resolvers(t);
    }
    if (!ports->without_fragments) {
        put(t, " or (ip[6:2]&0x1fff!=0 and (ip[9]=17 or ip[9]=6)) or ip6[6]=44");
    }
    for (size_t i = 0; i < sizeof extensions; i++) {
        put(t, " or ip6[6]=%u", extensions[i]);
    }
    for (size_t i = 0; !ports->without_tunnels && i < sizeof tunnel_protocols; i++) {
        put(t, " or ip[9]=%u or ip6[6]=%u", tunnel_protocols[i], tunnel_protocols[i]);
    }
    for (size_t i = 0; !ports->without_tunnels && i < sizeof tunnel_ports / sizeof *tunnel_ports;
         i++) {
        put(t, " or udp port %u", tunnel_ports[i]);
    }
}

pk_err pk_filter_text(int link_type, const struct pk_ports *ports, struct pk_bytes *out)
{
    struct text t = {.out = out, .ports = ports};
    switch (link_type) {
    case DLT_EN10MB_:
        put_ethernet(&t, 12);
        break;
    case DLT_C_HDLC_:
        put_ethernet(&t, 2);
        break;
    case DLT_NULL_:
    case DLT_LOOP_:
        put_ip(&t, 4);
        break;
    case DLT_RAW_:
    case DLT_RAW_BSD_:
    case DLT_LINKTYPE_RAW_:
    case DLT_IPV4_:
    case DLT_IPV6_:
        put_ip(&t, 0);
        break;
    case DLT_LINUX_SLL_:
        put_words(&t, 14);
        break;
    case DLT_LINUX_SLL2_:
        put_words(&t, 0);
        break;
    default:
        break;
    }
    return out->err;
}

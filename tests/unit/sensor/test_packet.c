/* Headers around a DNS payload, and every way they can be wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "packet_builder.h"
#include "sensor/packet/packet.h"
#include "wrap_builder.h"

static const struct pk_ports ports = {.v = {53}, .n = 1};
static const char payload[] = "a payload of some length";
enum {
    PAYLOAD_LEN = sizeof payload - 1
};

static enum pk_disposition dissect(
    int link, const uint8_t *data, size_t len, size_t wire_len, struct pk_packet *out)
{
    /* On the heap and of the exact size, so that a sanitizer sees a read too far. */
    uint8_t *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, data, len);
    enum pk_disposition disposition = pk_packet_dissect(link, copy, len, wire_len, &ports, out);
    bool has_payload = disposition == PK_PACKET_DNS || disposition == PK_PACKET_TCP;
    if (has_payload && out->payload_len > 0) {
        assert_true(out->payload >= copy && out->payload + out->payload_len <= copy + len);
        out->payload = data + (out->payload - copy);
    }
    free(copy);
    return disposition;
}

static struct pk_build_flow udp_flow(enum pk_build_link link)
{
    return (struct pk_build_flow){.link = link, .src = 1, .dst = 53, .sport = 4000, .dport = 53};
}

static void every_link_type_leads_to_the_payload(void **state)
{
    (void)state;
    static const enum pk_build_link links[] = {
        PK_BUILD_ETHERNET, PK_BUILD_RAW, PK_BUILD_SLL, PK_BUILD_SLL2, PK_BUILD_NULL};
    for (unsigned i = 0; i < 20; i++) {
        struct pk_build_flow flow = udp_flow(links[i / 4]);
        flow.is_v6 = i & 1;
        flow.is_tcp = i & 2;
        uint8_t data[PK_BUILD_MAX];
        size_t len = pk_build_packet(data, &flow, payload, PAYLOAD_LEN);
        struct pk_packet packet;
        assert_true(pk_packet_link_supported((int)flow.link));
        assert_int_equal(dissect((int)flow.link, data, len, len, &packet),
            flow.is_tcp ? PK_PACKET_TCP : PK_PACKET_DNS);
        assert_int_equal(packet.payload_len, PAYLOAD_LEN);
        assert_memory_equal(packet.payload, payload, PAYLOAD_LEN);
        assert_int_equal(packet.sport, 4000);
        assert_int_equal(packet.dport, 53);
        assert_int_equal(packet.src.family, flow.is_v6 ? 6 : 4);
        assert_int_equal(packet.src.bytes[flow.is_v6 ? 15 : 3], 1);
        assert_int_equal(packet.dst.bytes[flow.is_v6 ? 15 : 3], 53);
        assert_int_equal(packet.via.n, 0);
    }
}

static void vlan_tags_are_looked_through_and_told(void **state)
{
    (void)state;
    static const char *const vias[] = {"", "vlan:100", "vlan:100,vlan:100"};
    for (unsigned n = 0; n <= PK_VIA_MAX + 1; n++) {
        struct pk_build_flow flow = udp_flow(PK_BUILD_ETHERNET);
        flow.n_vlans = n;
        uint8_t data[PK_BUILD_MAX];
        char via[PK_VIA_TEXT_SIZE];
        size_t len = pk_build_packet(data, &flow, payload, PAYLOAD_LEN);
        struct pk_packet packet;
        assert_int_equal(dissect(1, data, len, len, &packet),
            n <= PK_VIA_MAX ? PK_PACKET_DNS : PK_PACKET_TOO_DEEP);
        assert_true(packet.via.n <= PK_VIA_MAX);
        if (n < 3) {
            assert_string_equal(pk_via_text(&packet.via, via), vias[n]);
        }
    }
}

static size_t inner(uint8_t *out, bool is_v6)
{
    struct pk_build_flow flow = udp_flow(PK_BUILD_RAW);
    flow.is_v6 = is_v6;
    return pk_build_packet(out, &flow, payload, PAYLOAD_LEN);
}

static const struct {
    const char *layers, *via; /* as built, as told */
    bool is_v6;               /* the innermost packet */
} tunnels[] = {
    {"", "", false},
    {"vlan:12", "vlan:12", true},
    {"qinq:7,vlan:4095", "vlan:7,vlan:4095", false},
    {"pppoe:513", "pppoe:513", false},
    {"vlan:7,pppoe:1", "vlan:7,pppoe:1", true},
    {"mpls:16", "mpls:16", false},
    {"vlan:2,mpls:16,mpls:1048575", "vlan:2,mpls:16,mpls:1048575", true},
    {"gre", "gre", false},
    {"gre:4294967295", "gre:4294967295", true},
    {"gre,mpls:5", "gre,mpls:5", false},
    {"bridge:9,vlan:3", "gre:9,vlan:3", false},
    {"erspan:1023", "erspan:1023", false},
    {"erspan3:7,vlan:1", "erspan:7,vlan:1", true},
    {"vxlan:16777215", "vxlan:16777215", false},
    {"vxlan_old:1,vlan:5", "vxlan:1,vlan:5", true},
    {"gpe:3", "vxlan:3", false},
    {"gpe:4", "vxlan:4", true},
    {"geneve:77", "geneve:77", false},
    {"gtp:4000000000", "gtp:4000000000", true},
    {"ipip", "ipip", false},
    {"6in4", "6in4", true},
    {"4in6", "4in6", false},
    {"6in6", "6in6", true},
    {"teredo", "teredo", true},
    {"vlan:1,gre:2,vxlan:3,6in4,6in6,4in6,ipip,6in4",
        "vlan:1,gre:2,vxlan:3,6in4,6in6,4in6,ipip,6in4", true},
};

static void tunnels_are_looked_into_and_told(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof tunnels / sizeof *tunnels; i++) {
        uint8_t ip[PK_BUILD_MAX], data[PK_BUILD_MAX];
        char via[PK_VIA_TEXT_SIZE];
        struct pk_packet packet;
        size_t len = pk_build_wrapped(data, tunnels[i].layers, ip, inner(ip, tunnels[i].is_v6));
        enum pk_disposition got = dissect(1, data, len, len, &packet);
        if (got != PK_PACKET_DNS) {
            fail_msg("%s: %s", tunnels[i].layers, pk_disposition_str(got));
        }
        assert_string_equal(pk_via_text(&packet.via, via), tunnels[i].via);
        assert_int_equal(packet.payload_len, PAYLOAD_LEN);
        assert_memory_equal(packet.payload, payload, PAYLOAD_LEN);
        assert_int_equal(packet.src.family, tunnels[i].is_v6 ? 6 : 4);
        assert_int_equal(packet.src.bytes[tunnels[i].is_v6 ? 15 : 3], 1);
    }
}

/* Every byte of a tunnel's headers, changed to every value: something is said, nothing outside is read. Every cut likewise. */
static void damaged_tunnels_invent_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof tunnels / sizeof *tunnels; i++) {
        uint8_t ip[PK_BUILD_MAX], data[PK_BUILD_MAX];
        struct pk_packet packet;
        size_t len = pk_build_wrapped(data, tunnels[i].layers, ip, inner(ip, tunnels[i].is_v6));
        for (size_t at = 12; at < len - PAYLOAD_LEN; at++) {
            uint8_t good = data[at];
            for (unsigned value = 0; value < 256; value += 5) {
                data[at] = (uint8_t)value;
                assert_true(dissect(1, data, len, len, &packet) < PK_N_DISPOSITIONS);
            }
            data[at] = good;
            assert_int_not_equal(dissect(1, data, at, at, &packet), PK_PACKET_DNS);
            assert_int_equal(dissect(1, data, at, len, &packet), PK_PACKET_SNAPPED);
        }
    }
}

static void what_is_wrapped_too_deep_is_counted(void **state)
{
    (void)state;
    uint8_t ip[PK_BUILD_MAX], data[PK_BUILD_MAX];
    struct pk_packet packet;
    size_t len = pk_build_wrapped(
        data, "ipip,ipip,ipip,ipip,ipip,ipip,ipip,ipip,ipip", ip, inner(ip, false));
    assert_int_equal(dissect(1, data, len, len, &packet), PK_PACKET_TOO_DEEP);
}

static void tunnels_that_are_not_understood_are_counted(void **state)
{
    (void)state;
    static const struct {
        const char *layers;
        size_t at; /* from the Ethernet header */
        uint8_t value;
    } cases[] = {
        {"gre", 14 + 9, 50},         /* ESP */
        {"gre", 14 + 20, 0x40},      /* source routes */
        {"gre", 14 + 21, 1},         /* version of PPTP */
        {"vxlan:1", 14 + 28, 0},     /* no VNI */
        {"geneve:1", 14 + 28, 0xc0}, /* another version */
        {"gtp:1", 14 + 28, 0x54},    /* another version */
        {"erspan:1", 14 + 28, 0x70}, /* another version */
        {"teredo", 14 + 28, 0x45},   /* not a prefix of Teredo, not IPv6 */
        {"mpls:1", 14 + 4, 0x10},    /* neither IP nor a control word */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t ip[PK_BUILD_MAX], data[PK_BUILD_MAX];
        struct pk_packet packet;
        size_t len = pk_build_wrapped(
            data, cases[i].layers, ip, inner(ip, strcmp(cases[i].layers, "teredo") == 0));
        data[cases[i].at] = cases[i].value;
        enum pk_disposition got = dissect(1, data, len, len, &packet);
        if (got != PK_PACKET_TUNNEL) {
            fail_msg("%zu %s: %s", i, cases[i].layers, pk_disposition_str(got));
        }
    }
}

static void a_quotation_in_an_icmp_error_is_counted_apart(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        bool is_v6 = i & 1, is_echo = i & 2;
        uint8_t ip[PK_BUILD_MAX], icmp[PK_BUILD_MAX] = {0}, data[PK_BUILD_MAX];
        struct pk_packet packet;
        size_t quoted = inner(ip, is_v6), header = is_v6 ? 40 : 20;
        memcpy(icmp, ip, header);
        icmp[is_v6 ? 5 : 3] = (uint8_t)(8 + quoted + (is_v6 ? 0 : 20));
        icmp[is_v6 ? 6 : 9] = is_v6 ? 58 : 1;
        icmp[header] = is_echo ? (is_v6 ? 128 : 8) : (is_v6 ? 1 : 3);
        memcpy(icmp + header + 8, ip, quoted);
        size_t len = pk_build_wrapped(data, "", icmp, header + 8 + quoted);
        assert_int_equal(dissect(1, data, len, len, &packet),
            is_echo ? PK_PACKET_NOT_DNS : PK_PACKET_ICMP_QUOTE);
    }
}

static void multicast_dns_only_when_asked(void **state)
{
    (void)state;
    static const struct pk_ports both = {.v = {53}, .n = 1, .with_multicast = true};
    for (unsigned i = 0; i < 4; i++) {
        struct pk_build_flow flow = udp_flow(PK_BUILD_RAW);
        flow.dport = i & 1 ? 5353 : 5355;
        flow.is_tcp = i & 2;
        uint8_t data[PK_BUILD_MAX];
        struct pk_packet packet;
        size_t len = pk_build_packet(data, &flow, payload, PAYLOAD_LEN);
        assert_int_equal(
            pk_packet_dissect(101, data, len, len, &ports, &packet), PK_PACKET_NOT_DNS);
        assert_int_equal(pk_packet_dissect(101, data, len, len, &both, &packet),
            flow.is_tcp ? PK_PACKET_TCP : PK_PACKET_DNS);
        assert_true(packet.is_multicast);
        flow.sport = 53; /* DNS to a host that happens to use this port */
        len = pk_build_packet(data, &flow, payload, PAYLOAD_LEN);
        (void)pk_packet_dissect(101, data, len, len, &both, &packet);
        assert_false(packet.is_multicast);
    }
}

/* NFLOG's attributes before the payload, padded to words; radiotap and 802.11 with QoS before LLC. */
static void attributes_and_radio_headers_are_stepped_over(void **state)
{
    (void)state;
    uint8_t data[PK_BUILD_MAX], ip[PK_BUILD_MAX];
    struct pk_packet packet;
    size_t len = inner(ip, false);
    static const uint8_t nflog[] = {2, 0, 0, 5, 5, 0, 10, 0, 'x', 0, 0, 0};
    memcpy(data, nflog, sizeof nflog);
    uint16_t attribute[2] = {(uint16_t)(len + 4), 9}; /* the host's order */
    memcpy(data + sizeof nflog, attribute, 4);
    memcpy(data + sizeof nflog + 4, ip, len);
    assert_int_equal(
        dissect(239, data, sizeof nflog + 4 + len, sizeof nflog + 4 + len, &packet), PK_PACKET_DNS);
    static const uint8_t fddi[13 + 8] = {0x50, [13] = 0xaa, 0xaa, 3, 0, 0, 0, 8, 0};
    memcpy(data, fddi, sizeof fddi);
    memcpy(data + sizeof fddi, ip, len);
    assert_int_equal(
        dissect(10, data, sizeof fddi + len, sizeof fddi + len, &packet), PK_PACKET_DNS);
    data[0] = 0x41; /* a frame of the ring's own */
    assert_int_equal(
        dissect(10, data, sizeof fddi + len, sizeof fddi + len, &packet), PK_PACKET_NOT_DNS);
    static const uint8_t radio[8 + 26 + 8] = {
        0, 0, 8, 0, 0, 0, 0, 0, 0x88, 1, [34] = 0xaa, 0xaa, 3, 0, 0, 0, 8, 0};
    memcpy(data, radio, sizeof radio);
    memcpy(data + sizeof radio, ip, len);
    assert_int_equal(
        dissect(127, data, sizeof radio + len, sizeof radio + len, &packet), PK_PACKET_DNS);
    assert_int_equal(
        dissect(105, data + 8, sizeof radio - 8 + len, sizeof radio - 8 + len, &packet),
        PK_PACKET_DNS);
    data[9] |= 0x40; /* encrypted */
    assert_int_equal(
        dissect(127, data, sizeof radio + len, sizeof radio + len, &packet), PK_PACKET_TUNNEL);
}

static void a_packet_without_its_end_is_read_as_far_as_it_goes(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct pk_build_flow flow = udp_flow(PK_BUILD_ETHERNET);
        flow.is_v6 = i & 1;
        flow.is_tcp = i & 2;
        uint8_t data[PK_BUILD_MAX];
        size_t len = pk_build_packet(data, &flow, payload, PAYLOAD_LEN);
        size_t headers = len - PAYLOAD_LEN;
        for (size_t cut = 0; cut < len; cut++) {
            struct pk_packet packet;
            enum pk_disposition snapped = dissect(1, data, cut, len, &packet);
            /* TCP: the stream shows the gap. UDP: header and question may be there. */
            size_t needed = headers + (flow.is_tcp ? 0 : 12);
            assert_int_equal(snapped, cut < needed  ? PK_PACKET_SNAPPED
                                      : flow.is_tcp ? PK_PACKET_TCP
                                                    : PK_PACKET_DNS);
            assert_true(cut < needed || packet.is_cut == !flow.is_tcp);
            /* The headers claim more than there is: bad as far as snapped, and else the same. */
            enum pk_disposition overstated = dissect(1, data, cut, cut, &packet);
            assert_true(cut >= needed
                            ? overstated == snapped
                            : overstated == PK_PACKET_BAD_LINK || overstated == PK_PACKET_BAD_IP ||
                                  overstated == PK_PACKET_BAD_TRANSPORT);
            assert_true(cut < needed || packet.is_cut == !flow.is_tcp);
        }
    }
}

/* It can never become whole, so it is read by itself; the later parts cannot be. */
static void the_first_fragment_without_its_end_is_read_by_itself(void **state)
{
    (void)state;
    struct pk_build_flow flow = udp_flow(PK_BUILD_ETHERNET);
    uint8_t data[PK_BUILD_MAX];
    struct pk_packet packet;
    size_t len = pk_build_packet(data, &flow, payload, PAYLOAD_LEN), ip = pk_build_ip_at(&flow);
    data[ip + 6] = 0x20; /* more to come */
    assert_int_equal(dissect(1, data, len - 1, len, &packet), PK_PACKET_DNS);
    assert_true(packet.is_cut);
    assert_int_equal(packet.payload_len, PAYLOAD_LEN - 1);
    data[ip + 7] = 1;
    assert_int_equal(dissect(1, data, len - 1, len, &packet), PK_PACKET_SNAPPED);
    assert_int_equal(dissect(1, data, len - 1, len - 1, &packet), PK_PACKET_BAD_IP);
}

static void padding_after_the_ip_packet_is_no_payload(void **state)
{
    (void)state;
    struct pk_build_flow flow = udp_flow(PK_BUILD_ETHERNET);
    uint8_t data[PK_BUILD_MAX];
    struct pk_packet packet;
    size_t len = pk_build_packet(data, &flow, payload, PAYLOAD_LEN);
    memset(data + len, 0xee, 18);
    assert_int_equal(dissect(1, data, len + 18, len + 18, &packet), PK_PACKET_DNS);
    assert_int_equal(packet.payload_len, PAYLOAD_LEN);
    flow.is_tcp = true;
    len = pk_build_packet(data, &flow, NULL, 0);
    memset(data + len, 0, 6);
    assert_int_equal(dissect(1, data, len + 6, len + 6, &packet), PK_PACKET_TCP);
    assert_int_equal(packet.payload_len, 0);
}

/* One byte of a sound UDP packet over IPv4 is replaced, or one over IPv6. */
static void damage_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        bool is_v6, is_tcp;
        size_t at; /* from the IP header */
        uint8_t value;
        enum pk_disposition wanted;
    } cases[] = {
        {"IPv4 version", false, false, 0, 0x65, PK_PACKET_BAD_IP},
        {"IPv4 header length below five words", false, false, 0, 0x44, PK_PACKET_BAD_IP},
        {"IPv4 header longer than the packet", false, false, 0, 0x4f, PK_PACKET_BAD_IP},
        {"IPv4 total length beyond the frame, UDP within it", false, false, 2, 0x7f, PK_PACKET_DNS},
        {"IPv4 total length below the header", false, false, 3, 19, PK_PACKET_BAD_IP},
        {"more fragments", false, false, 6, 0x20, PK_PACKET_FRAGMENT},
        {"fragment offset", false, false, 7, 1, PK_PACKET_FRAGMENT},
        {"do not fragment is no fragment", false, false, 6, 0x40, PK_PACKET_DNS},
        {"ICMP that is no error", false, false, 9, 1, PK_PACKET_NOT_DNS},
        {"another port", false, false, 23, 54, PK_PACKET_NOT_DNS},
        {"UDP length below its header", false, false, 25, 7, PK_PACKET_BAD_TRANSPORT},
        {"UDP length beyond the packet: a message without its end", false, false, 24, 1,
            PK_PACKET_DNS},
        {"UDP without payload", false, false, 25, 8, PK_PACKET_EMPTY},
        {"TCP offset below five words", false, true, 32, 0x40, PK_PACKET_BAD_TRANSPORT},
        {"TCP offset beyond the packet", false, true, 32, 0xf0, PK_PACKET_BAD_TRANSPORT},
        {"IPv6 version", true, false, 0, 0x40, PK_PACKET_BAD_IP},
        {"IPv6 length beyond the frame, UDP within it", true, false, 4, 0x7f, PK_PACKET_DNS},
        {"IPv6 no next header", true, false, 6, 59, PK_PACKET_NOT_DNS},
        {"IPv6 options longer than the packet", true, false, 6, 0, PK_PACKET_BAD_IP},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pk_build_flow flow = udp_flow(PK_BUILD_ETHERNET);
        flow.is_v6 = cases[i].is_v6;
        flow.is_tcp = cases[i].is_tcp;
        uint8_t data[PK_BUILD_MAX];
        size_t len = pk_build_packet(data, &flow, payload, PAYLOAD_LEN);
        data[pk_build_ip_at(&flow) + cases[i].at] = cases[i].value;
        struct pk_packet packet;
        enum pk_disposition got = dissect(1, data, len, len, &packet);
        if (got != cases[i].wanted) {
            fail_msg("%s: %s, not %s", cases[i].what, pk_disposition_str(got),
                pk_disposition_str(cases[i].wanted));
        }
    }
}

/* Puts IPv6 extension headers before UDP: each is eight bytes, the first byte the type of the next. */
static size_t with_extensions(uint8_t *out, const uint8_t *types, unsigned n, const uint8_t *bodies)
{
    struct pk_build_flow flow = udp_flow(PK_BUILD_RAW);
    flow.is_v6 = true;
    uint8_t plain[PK_BUILD_MAX];
    size_t len = pk_build_packet(plain, &flow, payload, PAYLOAD_LEN);
    memcpy(out, plain, 40);
    out[5] = (uint8_t)(out[5] + 8 * n);
    out[6] = types[0];
    for (unsigned i = 0; i < n; i++) {
        memcpy(out + 40 + 8 * i, bodies + 8 * (size_t)i, 8);
        out[40 + 8 * i] = i + 1 < n ? types[i + 1] : 17;
    }
    memcpy(out + 40 + 8 * n, plain + 40, len - 40);
    return len + 8 * n;
}

static void extension_headers_are_walked_up_to_a_bound(void **state)
{
    (void)state;
    static const uint8_t options[9] = {0, 60, 43, 60, 60, 60, 60, 60, 60}, fragment = 44;
    static const uint8_t nothing[72] = {0}, atomic[8] = {0}, first[8] = {[3] = 1},
                         later[8] = {[3] = 8};
    uint8_t data[PK_BUILD_MAX];
    struct pk_packet packet;
    size_t len = with_extensions(data, options, 3, nothing);
    assert_int_equal(dissect(101, data, len, len, &packet), PK_PACKET_DNS);
    assert_memory_equal(packet.payload, payload, PAYLOAD_LEN);
    len = with_extensions(data, options, 9, nothing);
    assert_int_equal(dissect(101, data, len, len, &packet), PK_PACKET_BAD_IP);
    len = with_extensions(data, &fragment, 1, atomic);
    assert_int_equal(dissect(101, data, len, len, &packet), PK_PACKET_DNS); /* RFC 6946 */
    len = with_extensions(data, &fragment, 1, first);
    assert_int_equal(dissect(101, data, len, len, &packet), PK_PACKET_FRAGMENT);
    assert_true(packet.fragment.has_more);
    len = with_extensions(data, &fragment, 1, later);
    assert_int_equal(dissect(101, data, len, len, &packet), PK_PACKET_FRAGMENT);
}

static void a_length_left_empty_by_offload_means_what_was_captured(void **state)
{
    (void)state;
    struct pk_build_flow flow = udp_flow(PK_BUILD_RAW);
    flow.is_tcp = true;
    uint8_t data[PK_BUILD_MAX];
    struct pk_packet packet;
    size_t len = pk_build_packet(data, &flow, payload, PAYLOAD_LEN);
    data[2] = data[3] = 0;
    assert_int_equal(dissect(101, data, len, len, &packet), PK_PACKET_TCP);
    assert_int_equal(packet.payload_len, PAYLOAD_LEN);
}

static void unknown_links_are_not_supported(void **state)
{
    (void)state;
    struct pk_packet packet;
    assert_false(pk_packet_link_supported(195)); /* 802.15.4 */
    assert_int_equal(dissect(195, (const uint8_t *)payload, PAYLOAD_LEN, PAYLOAD_LEN, &packet),
        PK_PACKET_BAD_LINK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_link_type_leads_to_the_payload),
        cmocka_unit_test(vlan_tags_are_looked_through_and_told),
        cmocka_unit_test(tunnels_are_looked_into_and_told),
        cmocka_unit_test(damaged_tunnels_invent_nothing),
        cmocka_unit_test(what_is_wrapped_too_deep_is_counted),
        cmocka_unit_test(tunnels_that_are_not_understood_are_counted),
        cmocka_unit_test(a_quotation_in_an_icmp_error_is_counted_apart),
        cmocka_unit_test(multicast_dns_only_when_asked),
        cmocka_unit_test(attributes_and_radio_headers_are_stepped_over),
        cmocka_unit_test(a_packet_without_its_end_is_read_as_far_as_it_goes),
        cmocka_unit_test(the_first_fragment_without_its_end_is_read_by_itself),
        cmocka_unit_test(padding_after_the_ip_packet_is_no_payload),
        cmocka_unit_test(damage_is_named),
        cmocka_unit_test(extension_headers_are_walked_up_to_a_bound),
        cmocka_unit_test(a_length_left_empty_by_offload_means_what_was_captured),
        cmocka_unit_test(unknown_links_are_not_supported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

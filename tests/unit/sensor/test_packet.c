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
#include "sensor/packet.h"

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

static void every_cut_is_snapped_when_the_capture_cut_it_and_never_dns(void **state)
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
            enum pk_disposition damaged = dissect(1, data, cut, cut, &packet);
            assert_true(damaged == PK_PACKET_BAD_LINK || damaged == PK_PACKET_BAD_IP ||
                        damaged == PK_PACKET_BAD_TRANSPORT);
        }
    }
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
        {"IPv4 total length beyond the frame", false, false, 2, 0x7f, PK_PACKET_BAD_IP},
        {"IPv4 total length below the header", false, false, 3, 19, PK_PACKET_BAD_IP},
        {"more fragments", false, false, 6, 0x20, PK_PACKET_FRAGMENT},
        {"fragment offset", false, false, 7, 1, PK_PACKET_FRAGMENT},
        {"do not fragment is no fragment", false, false, 6, 0x40, PK_PACKET_DNS},
        {"ICMP that is no error", false, false, 9, 1, PK_PACKET_NOT_DNS},
        {"another port", false, false, 23, 54, PK_PACKET_NOT_DNS},
        {"UDP length below its header", false, false, 25, 7, PK_PACKET_BAD_TRANSPORT},
        {"UDP length beyond the packet", false, false, 24, 1, PK_PACKET_BAD_TRANSPORT},
        {"UDP without payload", false, false, 25, 8, PK_PACKET_EMPTY},
        {"TCP offset below five words", false, true, 32, 0x40, PK_PACKET_BAD_TRANSPORT},
        {"TCP offset beyond the packet", false, true, 32, 0xf0, PK_PACKET_BAD_TRANSPORT},
        {"IPv6 version", true, false, 0, 0x40, PK_PACKET_BAD_IP},
        {"IPv6 length beyond the frame", true, false, 4, 0x7f, PK_PACKET_BAD_IP},
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
        PK_PACKET_NOT_DNS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_link_type_leads_to_the_payload),
        cmocka_unit_test(vlan_tags_are_looked_through_and_told),
        cmocka_unit_test(every_cut_is_snapped_when_the_capture_cut_it_and_never_dns),
        cmocka_unit_test(padding_after_the_ip_packet_is_no_payload),
        cmocka_unit_test(damage_is_named),
        cmocka_unit_test(extension_headers_are_walked_up_to_a_bound),
        cmocka_unit_test(a_length_left_empty_by_offload_means_what_was_captured),
        cmocka_unit_test(unknown_links_are_not_supported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

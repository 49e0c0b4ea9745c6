/* The kernel's filter, run by libpcap without a kernel: what the sensor finds DNS in must pass it. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pcap/pcap.h>

#include "packet_builder.h"
#include "sensor/input/capture.h"
#include "sensor/input/filter.h"
#include "wrap_builder.h"

enum {
    KERNEL_MAX = 4096, /* instructions, BPF_MAXINSNS */
    MAX_TEXT = 256 << 10
};

static void compile(int link_type, const struct pk_ports *ports, struct bpf_program *out_program)
{
    struct pk_bytes text;
    pk_bytes_init(&text, MAX_TEXT);
    assert_int_equal(pk_filter_text(link_type, ports, &text), PK_OK);
    pcap_t *dead = pcap_open_dead(link_type == 101 ? DLT_RAW : link_type, 262144);
    assert_non_null(dead);
    if (pcap_compile(dead, out_program, pk_bytes_text(&text), 1, PCAP_NETMASK_UNKNOWN) != 0) {
        fail_msg("link type %d: %s", link_type, pcap_geterr(dead));
    }
    assert_true(out_program->bf_len < KERNEL_MAX);
    pcap_close(dead);
    pk_bytes_done(&text);
}

static bool passes(const struct bpf_program *program, const uint8_t *data, size_t len)
{
    const struct pcap_pkthdr header = {.caplen = (bpf_u_int32)len, .len = (bpf_u_int32)len};
    return pcap_offline_filter(program, &header, data) != 0;
}

static size_t plain(uint8_t *out, enum pk_build_link link, bool is_v6, bool is_tcp, uint16_t port)
{
    struct pk_build_flow flow = {.link = link,
        .is_v6 = is_v6,
        .is_tcp = is_tcp,
        .src = 1,
        .dst = 53,
        .sport = 4000,
        .dport = port};
    return pk_build_packet(out, &flow, "a payload of DNS", 16);
}

static void every_link_passes_its_ports_and_no_other(void **state)
{
    (void)state;
    static const enum pk_build_link links[] = {
        PK_BUILD_ETHERNET, PK_BUILD_RAW, PK_BUILD_SLL, PK_BUILD_SLL2, PK_BUILD_NULL};
    static const struct pk_ports ports = {.v = {53, 5300}, .n = 2};
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        struct bpf_program program;
        compile((int)links[i], &ports, &program);
        for (unsigned k = 0; k < 4; k++) {
            static const struct {
                uint16_t port;
                bool passes;
            } cases[] = {{53, true}, {5300, true}, {54, false}, {5353, false}};
            for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
                uint8_t data[PK_BUILD_MAX];
                size_t len = plain(data, links[i], k & 1, k & 2, cases[c].port);
                assert_int_equal(passes(&program, data, len), cases[c].passes);
            }
        }
        pcap_freecode(&program);
    }
}

static void encrypted_dns_passes_where_it_is_wanted(void **state)
{
    (void)state;
    static const struct pk_ports ports = {.v = {53}, .n = 1},
                                 curious = {.v = {53}, .n = 1, .with_encrypted = true};
    static const enum pk_build_link links[] = {
        PK_BUILD_ETHERNET, PK_BUILD_RAW, PK_BUILD_SLL, PK_BUILD_SLL2, PK_BUILD_NULL};
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        struct bpf_program program, more;
        compile((int)links[i], &ports, &program);
        compile((int)links[i], &curious, &more);
        for (unsigned k = 0; k < 4; k++) {
            uint8_t data[PK_BUILD_MAX];
            size_t len = plain(data, links[i], k & 1, k & 2, 853);
            assert_false(passes(&program, data, len));
            assert_true(passes(&more, data, len));
            len = plain(data, links[i], k & 1, k & 2, 854);
            assert_false(passes(&more, data, len));
        }
        pcap_freecode(&program);
        pcap_freecode(&more);
    }
}

static void https_passes_to_resolvers_alone(void **state)
{
    (void)state;
    static const struct pk_ports ports = {.v = {53}, .n = 1},
                                 curious = {.v = {53}, .n = 1, .with_encrypted = true};
    static const enum pk_build_link links[] = {
        PK_BUILD_ETHERNET, PK_BUILD_RAW, PK_BUILD_SLL, PK_BUILD_SLL2, PK_BUILD_NULL};
    static const uint8_t quad9[] = {9, 9, 9, 9},
                         google[] = {0x20, 1, 0x48, 0x60, 0x48, 0x60, [14] = 0x88, 0x88};
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        struct bpf_program program, more;
        compile((int)links[i], &ports, &program);
        compile((int)links[i], &curious, &more);
        for (unsigned k = 0; k < 8; k++) {
            uint8_t data[PK_BUILD_MAX];
            bool is_v6 = k & 1, is_dst = k & 4;
            struct pk_build_flow flow = {.link = links[i], .is_v6 = is_v6};
            size_t len = plain(data, links[i], is_v6, k & 2, 443);
            assert_false(passes(&more, data, len));
            uint8_t *address = data + pk_build_ip_at(&flow) + (is_v6 ? 8 : 12);
            address += is_dst ? (is_v6 ? 16 : 4) : 0;
            memcpy(address, is_v6 ? google : quad9, is_v6 ? 16 : 4);
            assert_true(passes(&more, data, len));
            assert_false(passes(&program, data, len));
        }
        pcap_freecode(&program);
        pcap_freecode(&more);
    }
}

static void destination_unreachable_passes_and_no_ping(void **state)
{
    (void)state;
    static const struct pk_ports ports = {.v = {53}, .n = 1};
    static const enum pk_build_link links[] = {
        PK_BUILD_ETHERNET, PK_BUILD_RAW, PK_BUILD_SLL, PK_BUILD_SLL2, PK_BUILD_NULL};
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        struct bpf_program program;
        compile((int)links[i], &ports, &program);
        for (unsigned k = 0; k < 2; k++) {
            uint8_t data[PK_BUILD_MAX];
            struct pk_build_flow flow = {.link = links[i], .is_v6 = k};
            size_t len = plain(data, links[i], k, false, 53), ip = pk_build_ip_at(&flow);
            data[ip + (k ? 6 : 9)] = k ? 58 : 1;
            data[ip + (k ? 40 : 20)] = k ? 1 : 3;
            assert_true(passes(&program, data, len));
            data[ip + (k ? 40 : 20)] = k ? 128 : 8; /* echo */
            assert_false(passes(&program, data, len));
        }
        pcap_freecode(&program);
    }
}

static const char *const layers[] = {"", "vlan:12", "qinq:7,vlan:9", "qinq:7,qinq:8,vlan:9",
    "pppoe:1", "vlan:3,pppoe:1", "qinq:2,vlan:3,pppoe:1", "mpls:1", "mpls:1,mpls:2",
    "mpls:1,mpls:2,mpls:3", "vlan:3,mpls:1", "gre:1", "bridge:1", "erspan:1", "erspan3:1",
    "vxlan:1", "vxlan_old:1", "gpe:1", "geneve:1", "gtp:1", "ipip", "4in6", "vlan:1,vxlan:2",
    "vlan:1,4in6", "pppoe:3,gre", "mpls:4,ipip"};

static bool is_tunnel(const char *text)
{
    return strpbrk(text, "gx") || strstr(text, "ip") || strstr(text, "4in6") ||
           strstr(text, "erspan");
}

static void frames_of_every_kind_pass(void **state)
{
    (void)state;
    static const struct pk_ports ports = {.v = {53}, .n = 1}, frugal = {.v = {53},
                                                                  .n = 1,
                                                                  .without_tunnels = true,
                                                                  .without_fragments = true};
    struct bpf_program program, less;
    compile(1, &ports, &program);
    compile(1, &frugal, &less);
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        for (unsigned is_v6 = 0; is_v6 < 2; is_v6++) {
            uint8_t ip[PK_BUILD_MAX], data[PK_BUILD_MAX];
            size_t len =
                pk_build_wrapped(data, layers[i], ip, plain(ip, PK_BUILD_RAW, is_v6, false, 53));
            if (!passes(&program, data, len)) {
                fail_msg("%s does not pass", layers[i]);
            }
            assert_int_equal(passes(&less, data, len), !is_tunnel(layers[i]));
            struct pk_packet packet;
            assert_int_equal(pk_packet_dissect(1, data, len, len, &ports, &packet), PK_PACKET_DNS);
        }
    }
    pcap_freecode(&program);
    pcap_freecode(&less);
}

/* What the kernel looks through is judged there: another port does not pass. */
static void other_traffic_in_tags_does_not_pass(void **state)
{
    (void)state;
    static const char *const seen_through[] = {
        "", "vlan:12", "qinq:7,vlan:9", "pppoe:1", "vlan:3,pppoe:1", "mpls:1", "mpls:1,mpls:2"};
    static const struct pk_ports ports = {.v = {53}, .n = 1};
    struct bpf_program program;
    compile(1, &ports, &program);
    for (size_t i = 0; i < sizeof seen_through / sizeof *seen_through; i++) {
        for (unsigned k = 0; k < 4; k++) {
            uint8_t ip[PK_BUILD_MAX], data[PK_BUILD_MAX];
            size_t len = pk_build_wrapped(
                data, seen_through[i], ip, plain(ip, PK_BUILD_RAW, k & 1, k & 2, 443));
            assert_false(passes(&program, data, len));
        }
    }
    pcap_freecode(&program);
}

static void fragments_and_extension_headers_pass(void **state)
{
    (void)state;
    static const struct pk_ports ports = {.v = {53}, .n = 1},
                                 frugal = {.v = {53}, .n = 1, .without_fragments = true};
    static const int links[] = {1, 113, 276, 101};
    static const enum pk_build_link builds[] = {
        PK_BUILD_ETHERNET, PK_BUILD_SLL, PK_BUILD_SLL2, PK_BUILD_RAW};
    for (size_t i = 0; i < 4; i++) {
        struct bpf_program program, less;
        compile(links[i], &ports, &program);
        compile(links[i], &frugal, &less);
        static const uint8_t next[] = {44, 0, 43, 51, 60};
        for (size_t k = 0; k < sizeof next; k++) {
            uint8_t data[PK_BUILD_MAX];
            size_t len = plain(data, builds[i], true, false, 9999);
            struct pk_build_flow flow = {.link = builds[i], .is_v6 = true};
            data[pk_build_ip_at(&flow) + 6] = next[k];
            assert_true(passes(&program, data, len));
            assert_int_equal(passes(&less, data, len), next[k] != 44);
        }
        uint8_t data[PK_BUILD_MAX];
        size_t len = plain(data, builds[i], false, false, 9999);
        struct pk_build_flow flow = {.link = builds[i]};
        data[pk_build_ip_at(&flow) + 7] = 3; /* a later part: no ports in it */
        assert_true(passes(&program, data, len));
        assert_false(passes(&less, data, len));
        data[pk_build_ip_at(&flow) + 9] = 1; /* of ICMP */
        assert_false(passes(&program, data, len));
        pcap_freecode(&program);
        pcap_freecode(&less);
    }
}

static void multicast_passes_when_asked_and_all_ports_fit(void **state)
{
    (void)state;
    struct pk_ports ports = {.n = 16, .with_multicast = true};
    for (uint16_t i = 0; i < 16; i++) {
        ports.v[i] = (uint16_t)(1053 + i);
    }
    static const enum pk_build_link links[] = {PK_BUILD_ETHERNET, PK_BUILD_SLL, PK_BUILD_SLL2};
    for (size_t i = 0; i < 3; i++) {
        struct bpf_program program;
        compile((int)links[i], &ports, &program);
        static const uint16_t wanted[] = {1053, 1068, 5353, 5355};
        for (size_t k = 0; k < 4; k++) {
            uint8_t data[PK_BUILD_MAX];
            assert_true(passes(&program, data, plain(data, links[i], k & 1, false, wanted[k])));
        }
        pcap_freecode(&program);
    }
}

static void every_shared_packet_with_dns_passes(void **state)
{
    (void)state;
    static const struct pk_ports ports = {.v = {53}, .n = 1, .with_multicast = true};
    DIR *folder = opendir(PICKET_SHARED_CAPTURES);
    if (!folder) {
        skip();
    }
    size_t n_checked = 0, n_passed = 0;
    struct dirent *entry;
    while ((entry = readdir(folder)) != NULL) {
        char path[1024], error[PK_CAPTURE_ERROR_SIZE];
        snprintf(path, sizeof path, "%s/%s", PICKET_SHARED_CAPTURES, entry->d_name);
        struct pk_capture *capture;
        if (entry->d_name[0] == '.' || pk_capture_open_file(path, &capture, error) != PK_OK) {
            continue;
        }
        struct bpf_program program;
        struct pk_raw_packet raw;
        int link_type = pk_capture_link_type(capture);
        compile(link_type, &ports, &program);
        for (uint64_t frame = 1; pk_capture_next(capture, &raw) == PK_CAPTURE_PACKET; frame++) {
            struct pk_packet packet;
            if (pk_capture_link_type(capture) != link_type) { /* of another interface */
                link_type = pk_capture_link_type(capture);
                pcap_freecode(&program);
                compile(link_type, &ports, &program);
            }
            enum pk_disposition is =
                pk_packet_dissect(link_type, raw.data, raw.caplen, raw.wire_len, &ports, &packet);
            bool is_passed = passes(&program, raw.data, raw.caplen);
            bool is_needed = is == PK_PACKET_DNS || is == PK_PACKET_TCP || is == PK_PACKET_EMPTY ||
                             (is == PK_PACKET_FRAGMENT && packet.fragment.protocol == 17);
            if (is_needed && !is_passed) {
                fail_msg("%s, packet %llu does not pass", path, (unsigned long long)frame);
            }
            n_checked += is_needed;
            n_passed += is_passed;
        }
        pcap_freecode(&program);
        pk_capture_close(capture);
    }
    closedir(folder);
    printf("%zu packets needed, %zu passed\n", n_checked, n_passed);
    assert_true(n_checked > 40000);
    assert_true(n_passed < n_checked + n_checked / 10); /* and it does filter */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_link_passes_its_ports_and_no_other),
        cmocka_unit_test(encrypted_dns_passes_where_it_is_wanted),
        cmocka_unit_test(https_passes_to_resolvers_alone),
        cmocka_unit_test(destination_unreachable_passes_and_no_ping),
        cmocka_unit_test(frames_of_every_kind_pass),
        cmocka_unit_test(other_traffic_in_tags_does_not_pass),
        cmocka_unit_test(fragments_and_extension_headers_pass),
        cmocka_unit_test(multicast_passes_when_asked_and_all_ports_fit),
        cmocka_unit_test(every_shared_packet_with_dns_passes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

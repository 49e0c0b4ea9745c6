/* Packets in, lines out: the modules together, and their counters, under sound and damaged input. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "picket/hash.h"

#include "packet_builder.h"
#include "sensor/pipeline.h"

struct fixture {
    struct pk_stats stats;
    struct pk_pipeline *pipeline;
    struct pk_output *output;
    char *text;
    size_t text_len;
    FILE *stream;
    int64_t ts_us;
};

static struct fixture *fixture_new(enum pk_output_mode mode)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    pk_hash_set_key((const uint8_t[16]){1});
    f->stream = open_memstream(&f->text, &f->text_len);
    assert_non_null(f->stream);
    assert_int_equal(pk_output_new(mode, f->stream, &f->output), PK_OK);
    struct pk_pipeline_options options = {.ports = {.v = {53}, .n = 1},
        .output = f->output,
        .wants_rrsets = mode == PK_OUTPUT_RRSETS};
    assert_int_equal(pk_pipeline_new(&options, &f->stats, &f->pipeline), PK_OK);
    return f;
}

static size_t n_lines(const struct fixture *f)
{
    size_t n = 0;
    for (const char *p = f->text; p && *p; p++) {
        n += *p == '\n';
    }
    return n;
}

static void finish(struct fixture *f)
{
    pk_pipeline_flush(f->pipeline);
    assert_int_equal(pk_output_flush(f->output), PK_OK);
    assert_null(pk_stats_check(&f->stats));
}

static void fixture_free(struct fixture *f)
{
    pk_pipeline_free(f->pipeline);
    pk_output_free(f->output);
    fclose(f->stream);
    free(f->text);
    free(f);
}

static void give(struct fixture *f, const struct pk_build_flow *flow, const void *payload,
    size_t len, size_t cut)
{
    uint8_t data[PK_BUILD_MAX];
    size_t whole = pk_build_packet(data, flow, payload, len);
    struct pk_raw_packet raw = {
        .ts_us = f->ts_us += 1000, .data = data, .caplen = whole - cut, .wire_len = whole};
    pk_pipeline_packet(f->pipeline, (int)flow->link, &raw);
}

static void exchange(struct fixture *f, bool is_tcp, bool is_v6)
{
    uint8_t wire[512], framed[514];
    static const uint8_t addr[4] = {192, 0, 2, 80};
    struct pk_build_flow there = {.link = PK_BUILD_ETHERNET,
        .src = 1,
        .dst = 53,
        .sport = 4000,
        .dport = 53,
        .is_tcp = is_tcp,
        .is_v6 = is_v6};
    struct pk_build_flow back = {.link = PK_BUILD_ETHERNET,
        .src = 53,
        .dst = 1,
        .sport = 53,
        .dport = 4000,
        .is_tcp = is_tcp,
        .is_v6 = is_v6};
    size_t len = pk_build_query(wire, 7, "www.example.com.", 1);
    give(f, &there, is_tcp ? framed : wire, is_tcp ? pk_build_framed(framed, wire, len) : len, 0);
    len = pk_build_record(wire, pk_build_response(wire, 7, "www.example.com.", 1, 0x0400), 1,
        "www.example.com.", 1, addr, 4);
    give(f, &back, is_tcp ? framed : wire, is_tcp ? pk_build_framed(framed, wire, len) : len, 0);
}

static void an_exchange_is_two_messages_one_transaction_one_rrset(void **state)
{
    (void)state;
    static const struct {
        enum pk_output_mode mode;
        size_t n;
    } cases[] = {{PK_OUTPUT_MESSAGES, 2}, {PK_OUTPUT_TRANSACTIONS, 1}, {PK_OUTPUT_RRSETS, 1}};
    for (unsigned i = 0; i < 12; i++) {
        struct fixture *f = fixture_new(cases[i % 3].mode);
        exchange(f, i & 4, i >= 6);
        finish(f);
        assert_int_equal(n_lines(f), cases[i % 3].n);
        assert_non_null(strstr(f->text, "www.example.com."));
        assert_int_equal(f->stats.answered, 1);
        fixture_free(f);
    }
}

struct sight {
    uint16_t interface;
    uint8_t client, server;
    uint16_t client_port;
};

static void show(struct fixture *f, const struct sight *sight, bool is_response)
{
    uint8_t wire[512], data[PK_BUILD_MAX];
    static const uint8_t addr[4] = {192, 0, 2, 80};
    const struct pk_build_flow flow = {.link = PK_BUILD_ETHERNET,
        .src = is_response ? sight->server : sight->client,
        .dst = is_response ? sight->client : sight->server,
        .sport = is_response ? 53 : sight->client_port,
        .dport = is_response ? sight->client_port : 53};
    size_t len = is_response
                     ? pk_build_record(wire, pk_build_response(wire, 7, "www.example.com.", 1, 0),
                           1, "www.example.com.", 1, addr, 4)
                     : pk_build_query(wire, 7, "www.example.com.", 1);
    size_t whole = pk_build_packet(data, &flow, wire, len);
    struct pk_raw_packet raw = {.ts_us = f->ts_us += 20,
        .data = data,
        .caplen = whole,
        .wire_len = whole,
        .interface = sight->interface};
    pk_pipeline_packet(f->pipeline, PK_BUILD_ETHERNET, &raw);
}

/* A pod's veth, the host's bridge and its uplink. The question comes out at the pod first, the answer at the pod last: whatever lies between, one transaction
 * between the ends the pod knows. */
static void every_leg_of_a_container_host_is_one_transaction_of_the_pod(void **state)
{
    (void)state;
    static const struct {
        struct sight legs[3];
        uint64_t n_legs;
    } cases[] = {
        {{{0, 1, 53, 4000}, {1, 1, 53, 4000}, {2, 1, 53, 4000}}, 3},  /* routed */
        {{{0, 1, 53, 4000}, {1, 1, 53, 4000}, {2, 9, 53, 60000}}, 3}, /* masqueraded */
        {{{0, 1, 53, 4000}, {1, 1, 99, 4000}}, 2},                    /* a service address */
        {{{0, 1, 53, 4000}, {0, 1, 53, 4000}}, 2}, /* a mirror that says all twice */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fixture *f = fixture_new(PK_OUTPUT_TRANSACTIONS);
        uint64_t n = cases[i].n_legs;
        for (uint64_t leg = 0; leg < n; leg++) {
            show(f, &cases[i].legs[leg], false);
        }
        for (uint64_t leg = n; leg-- > 0;) {
            show(f, &cases[i].legs[leg], true);
        }
        finish(f);
        assert_int_equal(n_lines(f), 1);
        assert_int_equal(f->stats.copies, 2 * (n - 1));
        assert_int_equal(f->stats.answered, 1);
        assert_int_equal(f->stats.unsolicited, 0);
        assert_int_equal(f->stats.retransmissions, 0);
        assert_non_null(strstr(f->text, "192.0.2.1\""));
        assert_non_null(strstr(f->text, "192.0.2.53\""));
        fixture_free(f);
    }
}

/* Hosts that ask again at once when they have the answer are no mirror: each answer is there. */
static void a_question_asked_again_after_its_answer_is_no_copy(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(PK_OUTPUT_TRANSACTIONS);
    static const struct sight sight = {0, 1, 53, 4000};
    for (unsigned i = 0; i < 6; i++) {
        show(f, &sight, i & 1);
    }
    finish(f);
    assert_int_equal(n_lines(f), 3);
    assert_int_equal(f->stats.copies, 0);
    assert_int_equal(f->stats.answered, 3);
    fixture_free(f);
}

/* Port unreachable, from the server's host: the query ends as that; quoted with more than our query (another id), it does not. */
static void an_icmp_error_ends_its_query(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct fixture *f = fixture_new(PK_OUTPUT_TRANSACTIONS);
        uint8_t wire[512], query[PK_BUILD_MAX], data[PK_BUILD_MAX] = {0};
        bool is_v6 = i & 1, is_ours = i < 2;
        const struct pk_build_flow flow = {
            .link = PK_BUILD_RAW, .src = 1, .dst = 53, .sport = 4000, .dport = 53, .is_v6 = is_v6};
        size_t len = pk_build_query(wire, 7, "www.example.com.", 1), header = is_v6 ? 40 : 20;
        give(f, &flow, wire, len, 0);
        wire[1] = is_ours ? 7 : 8;
        size_t quoted = pk_build_packet(query, &flow, wire, len);
        memcpy(data, query, header);
        data[is_v6 ? 5 : 3] = (uint8_t)(8 + quoted + (is_v6 ? 0 : header));
        data[is_v6 ? 6 : 9] = is_v6 ? 58 : 1;
        data[header] = is_v6 ? 1 : 3;
        data[header + 1] = is_v6 ? 4 : 3;
        memcpy(data + header + 8, query, quoted);
        const struct pk_raw_packet raw = {.ts_us = f->ts_us,
            .data = data,
            .caplen = header + 8 + quoted,
            .wire_len = header + 8 + quoted};
        pk_pipeline_packet(f->pipeline, PK_BUILD_RAW, &raw);
        assert_int_equal(f->stats.dispositions[PK_PACKET_ICMP_QUOTE], 1);
        assert_int_equal(f->stats.open_now, 1); /* an answer would still win */
        finish(f);
        assert_int_equal(f->stats.unreachable, is_ours);
        fixture_free(f);
    }
}

static void copies_are_listed_among_the_messages(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(PK_OUTPUT_MESSAGES);
    static const struct sight sight = {0, 1, 53, 4000};
    show(f, &sight, false);
    show(f, &sight, false);
    finish(f);
    assert_int_equal(n_lines(f), 2);
    assert_int_equal(f->stats.copies, 1);
    assert_int_equal(f->stats.opened, 1);
    fixture_free(f);
}

static void messages_cut_by_the_capture_are_shown_as_far_as_they_go(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(PK_OUTPUT_MESSAGES);
    uint8_t wire[512];
    struct pk_build_flow flow = {
        .link = PK_BUILD_ETHERNET, .src = 1, .dst = 53, .sport = 4000, .dport = 53};
    size_t len = pk_build_query(wire, 7, "www.example.com.", 1);
    give(f, &flow, wire, len, 1);
    give(f, &flow, wire, len, len - 11);
    finish(f);
    assert_int_equal(n_lines(f), 1);
    assert_non_null(strstr(f->text, "\"cut\":true"));
    assert_int_equal(f->stats.messages_cut, 1);
    assert_int_equal(f->stats.unusable, 1);
    assert_int_equal(f->stats.dispositions[PK_PACKET_SNAPPED], 1);
    fixture_free(f);
}

static void messages_of_other_opcodes_are_shown_but_not_paired(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(PK_OUTPUT_MESSAGES);
    uint8_t wire[512];
    struct pk_build_flow flow = {
        .link = PK_BUILD_ETHERNET, .src = 1, .dst = 53, .sport = 4000, .dport = 53};
    size_t len = pk_build_query(wire, 7, "www.example.com.", 1);
    wire[2] = 6 << 3; /* DSO */
    give(f, &flow, wire, len, 0);
    finish(f);
    assert_int_equal(n_lines(f), 1);
    assert_int_equal(f->stats.ignored, 1);
    assert_int_equal(f->stats.opened, 0);
    fixture_free(f);
}

/* Every byte of an exchange is damaged in turn: whatever it then is, the counters must say so. */
static void counters_balance_under_damage(void **state)
{
    (void)state;
    for (unsigned mode = PK_OUTPUT_NONE; mode <= PK_OUTPUT_RRSETS; mode++) {
        struct fixture *f = fixture_new((enum pk_output_mode)mode);
        uint8_t wire[512], framed[514], data[PK_BUILD_MAX];
        for (unsigned is_tcp = 0; is_tcp < 2; is_tcp++) {
            struct pk_build_flow back = {.link = PK_BUILD_ETHERNET,
                .src = 53,
                .dst = 1,
                .sport = 53,
                .dport = 4000,
                .is_tcp = is_tcp};
            size_t len = pk_build_response(wire, 7, "www.example.com.", 1, 0x0400);
            len = pk_build_record_name(wire, len, 1, "www.example.com.", 5, "cdn.example.net.");
            len = pk_build_record_name(wire, len, 2, "example.com.", 2, "ns.example.com.");
            size_t whole = pk_build_packet(data, &back, is_tcp ? framed : wire,
                is_tcp ? pk_build_framed(framed, wire, len) : len);
            for (size_t at = 0; at < whole * 8; at++) {
                exchange(f, is_tcp, false);
                data[at / 8] ^= (uint8_t)(1u << at % 8);
                struct pk_raw_packet raw = {
                    .ts_us = f->ts_us += 1000, .data = data, .caplen = whole, .wire_len = whole};
                pk_pipeline_packet(f->pipeline, 1, &raw);
                data[at / 8] ^= (uint8_t)(1u << at % 8);
            }
        }
        finish(f);
        assert_true(f->stats.answered > 0);
        fixture_free(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_exchange_is_two_messages_one_transaction_one_rrset),
        cmocka_unit_test(every_leg_of_a_container_host_is_one_transaction_of_the_pod),
        cmocka_unit_test(a_question_asked_again_after_its_answer_is_no_copy),
        cmocka_unit_test(an_icmp_error_ends_its_query),
        cmocka_unit_test(copies_are_listed_among_the_messages),
        cmocka_unit_test(messages_cut_by_the_capture_are_shown_as_far_as_they_go),
        cmocka_unit_test(messages_of_other_opcodes_are_shown_but_not_paired),
        cmocka_unit_test(counters_balance_under_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

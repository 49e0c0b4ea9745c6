/* dnstap payloads to events, and events through the pipeline: what a server logs must give what was asked of it, however it logs. */
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
#include "row_sink.h"
#include "sensor/input/dnstap.h"
#include "sensor/pipeline.h"
#include "tap_builder.h"

enum {
    AQ = 1,
    AR,
    RQ,
    RR,
    CQ,
    CR
};

enum {
    NOON = 1700000000
};

struct fixture {
    struct pk_stats stats;
    struct pk_dnstap *dnstap;
    struct pk_pipeline *pipeline;
    struct pk_output *output;
    struct pk_merge *merge;
    struct row_sink *rows;
    char *text;
    size_t text_len;
    FILE *stream;
    uint32_t n_activity, n_windows;
    uint8_t vantage;
};

static void on_window(void *arg, const struct pk_batch_info *info)
{
    struct fixture *f = arg;
    (void)info;
    f->n_windows++;
}

static void on_activity(void *arg, const struct pk_activity *row)
{
    struct fixture *f = arg;
    f->n_activity += row->count;
    f->vantage = row->signature.vantage;
}

static void on_rrset(void *arg, const struct pk_rrset *row)
{
    (void)arg;
    (void)row;
}

static void on_negative(void *arg, const struct pk_negative *row)
{
    (void)arg;
    (void)row;
}

static void on_client(void *arg, const struct pk_client_count *row)
{
    (void)arg;
    (void)row;
}

static void on_window_end(void *arg, bool is_last)
{
    (void)is_last;
    (void)arg;
}

static struct fixture *fixture_new(enum pk_output_mode mode, struct pk_dnstap_use use)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    pk_hash_set_key((const uint8_t[16]){1});
    f->stream = open_memstream(&f->text, &f->text_len);
    const struct row_calls calls = {
        f, on_window, on_activity, on_rrset, on_negative, on_client, on_window_end};
    f->rows = row_sink_new(&calls);
    const struct pk_merge_sink sink = row_sink_of(f->rows);
    struct pk_merge_options merge = {.window_ms = 10000};
    assert_int_equal(pk_merge_new(&merge, &f->stats, &sink, &f->merge), PK_OK);
    assert_int_equal(pk_output_new(mode, f->stream, &f->output), PK_OK);
    assert_int_equal(pk_dnstap_new(&f->dnstap), PK_OK);
    struct pk_pipeline_options options = {.ports = {.v = {53}, .n = 1},
        .output = f->output,
        .merge = f->merge,
        .wants_rrsets = true,
        .dnstap = use};
    assert_int_equal(pk_pipeline_new(&options, &f->stats, &f->pipeline), PK_OK);
    return f;
}

static void give_bytes(struct fixture *f, const void *payload, size_t len)
{
    struct pk_dnstap_event event;
    pk_dnstap_decode(f->dnstap, payload, len, (int64_t)NOON * 1000000, &event);
    struct pk_raw_packet raw = {.ts_us = event.ts_us, .tapped = &event};
    pk_pipeline_packet(f->pipeline, 0, &raw);
}

static void give(struct fixture *f, const struct pk_tap *tap)
{
    uint8_t payload[PK_TAP_MAX];
    give_bytes(f, payload, pk_tap_payload(payload, tap));
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
    pk_merge_free(f->merge);
    row_sink_free(f->rows);
    pk_output_free(f->output);
    pk_dnstap_free(f->dnstap);
    fclose(f->stream);
    free(f->text);
    free(f);
}

static const char *const qname = "www.example.com.";

static size_t answer(uint8_t *out, uint16_t id, uint16_t flags)
{
    static const uint8_t addr[4] = {192, 0, 2, 80};
    return pk_build_record(out, pk_build_response(out, id, qname, 1, flags), 1, qname, 1, addr, 4);
}

/* The two halves of one exchange. */
static void make_halves(struct pk_tap taps[2], uint8_t wires[2][512], unsigned query_type)
{
    const struct pk_tap base = {.family = 1,
        .protocol = 3,
        .initiator = "198.51.100.7",
        .responder = "192.0.2.53",
        .initiator_port = 4000,
        .responder_port = 853,
        .query_s = NOON,
        .query_ns = 1000000};
    size_t query_len = pk_build_query(wires[0], 7, qname, 1);
    size_t response_len = answer(wires[1], 7, query_type == CQ ? 0x0180 : 0x0400);
    taps[0] = taps[1] = base;
    taps[0].type = query_type;
    taps[0].query = wires[0];
    taps[0].query_len = query_len;
    taps[1].type = query_type + 1;
    taps[1].response = wires[1];
    taps[1].response_len = response_len;
    taps[1].response_s = NOON;
    taps[1].response_ns = 4000000;
}

static const struct pk_dnstap_use defaults;

static void each_way_of_logging_gives_one_answered_transaction(void **state)
{
    (void)state;
    enum way {
        BOTH,
        RESPONSE_ALONE,
        RESPONSE_WITH_QUERY,
        RESPONSE_FIRST,
        N_WAYS
    };
    for (int way = BOTH; way < N_WAYS; way++) {
        uint8_t wires[2][512];
        struct pk_tap taps[2];
        struct fixture *f = fixture_new(PK_OUTPUT_TRANSACTIONS, defaults);
        make_halves(taps, wires, CQ);
        if (way == RESPONSE_WITH_QUERY) {
            taps[1].query = taps[0].query;
            taps[1].query_len = taps[0].query_len;
        }
        if (way == BOTH) {
            give(f, &taps[0]);
        }
        give(f, &taps[1]);
        if (way == RESPONSE_FIRST) {
            give(f, &taps[0]);
        }
        finish(f);
        assert_int_equal(f->stats.answered, 1);
        assert_int_equal(f->stats.unanswered, 0);
        assert_int_equal(f->stats.unsolicited, 0);
        assert_int_equal(f->stats.dnstap.synthesised, way != BOTH);
        assert_int_equal(f->stats.dnstap.fates[PK_DNSTAP_LATE], way == RESPONSE_FIRST);
        assert_int_equal(f->n_activity, 1);
        assert_int_equal(f->vantage, PK_VANTAGE_RESOLVER);
        assert_non_null(strstr(f->text, "\"latency_us\":3000"));
        assert_non_null(strstr(f->text, "\"proto\":\"dot\""));
        assert_non_null(strstr(f->text, "\"client\":\"198.51.100.7\""));
        assert_non_null(strstr(f->text, "\"server\":\"192.0.2.53\""));
        assert_non_null(strstr(f->text, "\"via\":\"dnstap:client\""));
        assert_non_null(strstr(f->text, "\"rd\":true"));
        fixture_free(f);
    }
}

static void a_query_without_response_is_unanswered(void **state)
{
    (void)state;
    uint8_t wires[2][512];
    struct pk_tap taps[2];
    struct fixture *f = fixture_new(PK_OUTPUT_TRANSACTIONS, defaults);
    make_halves(taps, wires, AQ);
    give(f, &taps[0]);
    finish(f);
    assert_int_equal(f->stats.unanswered, 1);
    assert_int_equal(f->vantage, PK_VANTAGE_AUTHORITATIVE);
    fixture_free(f);
}

static void the_legs_behind_a_resolver_are_history_and_no_activity(void **state)
{
    (void)state;
    uint8_t wires[2][512];
    struct pk_tap taps[2];
    const struct pk_dnstap_use all = {.whole = 0x7f};
    for (int is_all = 0; is_all < 2; is_all++) {
        struct fixture *f = fixture_new(PK_OUTPUT_TRANSACTIONS, is_all ? all : defaults);
        make_halves(taps, wires, RQ);
        taps[1].zone = "example.com.";
        taps[1].initiator = NULL; /* resolvers need not say from where they asked */
        taps[0].initiator = NULL;
        give(f, &taps[0]);
        give(f, &taps[1]);
        finish(f);
        assert_int_equal(f->stats.answered, 1);
        assert_int_equal(f->stats.rrsets, 1);
        assert_int_equal(f->stats.upstream, !is_all);
        assert_int_equal(f->n_activity, is_all);
        fixture_free(f);
    }
}

static void kinds_and_transports_that_are_not_wanted_are_counted(void **state)
{
    (void)state;
    uint8_t wires[2][512];
    struct pk_tap taps[2];
    const struct pk_dnstap_use uses[] = {
        {.whole = 1 << PK_DNSTAP_AUTH}, {.whole = PK_DNSTAP_USE_WHOLE, .encrypted_only = true}};
    for (int i = 0; i < 2; i++) {
        struct fixture *f = fixture_new(PK_OUTPUT_MESSAGES, uses[i]);
        make_halves(taps, wires, CQ);
        taps[1].protocol = 2;
        taps[1].responder_port = 53;
        give(f, &taps[0]);
        give(f, &taps[1]);
        finish(f);
        assert_int_equal(f->stats.dnstap.frames, 2);
        assert_int_equal(f->stats.dnstap.fates[PK_DNSTAP_UNUSED], i == 0 ? 2 : 1);
        fixture_free(f);
    }
}

static void made_up_queries_are_not_printed_as_messages(void **state)
{
    (void)state;
    uint8_t wires[2][512];
    struct pk_tap taps[2];
    struct fixture *f = fixture_new(PK_OUTPUT_MESSAGES, defaults);
    make_halves(taps, wires, CQ);
    give(f, &taps[1]);
    finish(f);
    assert_non_null(strstr(f->text, "\"qr\":1"));
    assert_null(strstr(f->text, "\"qr\":0"));
    assert_non_null(strstr(f->text, "\"frame\":1"));
    fixture_free(f);
}

static void a_payload_is_one_of_the_fates(void **state)
{
    (void)state;
    uint8_t wires[2][512], payload[PK_TAP_MAX];
    struct pk_tap good[2], tap;
    make_halves(good, wires, CQ);
    size_t len = pk_tap_payload(payload, &good[0]);
    struct pk_dnstap *dnstap;
    struct pk_dnstap_event event;
    assert_int_equal(pk_dnstap_new(&dnstap), PK_OK);
    for (size_t cut = 1; cut <= len; cut++) { /* the type stands last and is needed */
        pk_dnstap_decode(dnstap, payload, len - cut, 0, &event);
        assert_int_equal(event.fate, PK_DNSTAP_MALFORMED);
    }
#define FATE_OF(changed)                                                                           \
    (tap = (changed), pk_dnstap_decode(dnstap, payload, pk_tap_payload(payload, &tap), 5, &event), \
        event.fate)
#define WITH(field, v) \
    __extension__({    \
        tap = good[0]; \
        tap.field = v; \
        tap;           \
    })
    assert_int_equal(FATE_OF(good[0]), PK_DNSTAP_USED);
    assert_int_equal(event.kind, PK_DNSTAP_CLIENT);
    assert_int_equal(event.transport, PK_TRANSPORT_DOT);
    assert_int_equal(event.ts_us, (int64_t)NOON * 1000000 + 1000);
    assert_int_equal(FATE_OF(WITH(protocol, 7)), PK_DNSTAP_USED);
    assert_int_equal(event.transport, PK_TRANSPORT_DOQ);
    assert_int_equal(FATE_OF(WITH(protocol, 1)), PK_DNSTAP_USED); /* on port 853 */
    assert_int_equal(event.transport, PK_TRANSPORT_DOQ);
    assert_int_equal(FATE_OF(WITH(protocol, 2)), PK_DNSTAP_USED);
    assert_int_equal(event.transport, PK_TRANSPORT_DOT);
    tap = good[0];
    tap.protocol = 2;
    tap.responder_port = 443;
    assert_int_equal(FATE_OF(tap), PK_DNSTAP_USED);
    assert_int_equal(event.transport, PK_TRANSPORT_DOH);
    tap.responder_port = 53;
    tap.responder = "0.0.0.0";
    assert_int_equal(FATE_OF(tap), PK_DNSTAP_USED);
    assert_int_equal(event.transport, PK_TRANSPORT_TCP);
    assert_int_equal(event.responder.family, 0);
    assert_int_equal(FATE_OF(WITH(protocol, 8)), PK_DNSTAP_UNKNOWN);
    assert_int_equal(FATE_OF(WITH(family, 3)), PK_DNSTAP_UNKNOWN);
    assert_int_equal(FATE_OF(WITH(type, 15)), PK_DNSTAP_UNKNOWN);
    assert_int_equal(FATE_OF(WITH(type, 14)), PK_DNSTAP_EMPTY);
    assert_int_equal(FATE_OF(WITH(type, 0)), PK_DNSTAP_MALFORMED);
    assert_int_equal(FATE_OF(WITH(query, NULL)), PK_DNSTAP_EMPTY);
    assert_int_equal(FATE_OF(WITH(query, wires[1])), PK_DNSTAP_MALFORMED); /* QR */
    assert_int_equal(FATE_OF(WITH(family, 2)), PK_DNSTAP_MALFORMED);       /* of four bytes */
    assert_int_equal(FATE_OF(WITH(initiator_port, 65536)), PK_DNSTAP_MALFORMED);
    assert_int_equal(FATE_OF(WITH(query_s, UINT64_MAX)), PK_DNSTAP_USED);
    assert_true(event.ts_us < INT64_C(253402300800) * 1000000);
    assert_int_equal(FATE_OF(WITH(query_s, 0)), PK_DNSTAP_USED);
    assert_int_equal(event.ts_us, 5);
    tap = good[0];
    tap.family = 2;
    tap.initiator = "::ffff:198.51.100.7";
    tap.responder = "2001:db8::53";
    assert_int_equal(FATE_OF(tap), PK_DNSTAP_USED);
    assert_int_equal(event.initiator.family, 4);
    assert_int_equal(event.responder.family, 6);
    pk_dnstap_decode(dnstap, (const uint8_t *)"\x78\x02", 2, 0, &event);
    assert_int_equal(event.fate, PK_DNSTAP_UNKNOWN); /* another type of payload */
    pk_dnstap_decode(dnstap, (const uint8_t *)"\x78\x01", 2, 0, &event);
    assert_int_equal(event.fate, PK_DNSTAP_EMPTY);
    pk_dnstap_decode(dnstap, NULL, 0, 0, &event);
    assert_int_equal(event.fate, PK_DNSTAP_MALFORMED);
    pk_dnstap_free(dnstap);
}

static void a_payload_of_countless_fields_costs_no_more_than_the_arena(void **state)
{
    (void)state;
    enum {
        N = 65536
    };
    uint8_t *payload = malloc(2 * N);
    struct pk_dnstap *dnstap;
    struct pk_dnstap_event event;
    assert_non_null(payload);
    assert_int_equal(pk_dnstap_new(&dnstap), PK_OK);
    for (size_t i = 0; i < N;
         i++) { /* field 13 is none of the schema's; the last says which type */
        payload[2 * i] = 13 << 3;
        payload[2 * i + 1] = 1;
    }
    payload[2 * N - 2] = 15 << 3;
    pk_dnstap_decode(dnstap, payload, 2 * N, 0, &event);
    assert_int_equal(event.fate, PK_DNSTAP_MALFORMED);
    pk_dnstap_free(dnstap);
    free(payload);
}

static void kinds_are_named(void **state)
{
    (void)state;
    uint8_t kinds = 0;
    assert_true(pk_dnstap_kinds_parse("auth,client,update", &kinds));
    assert_int_equal(kinds, PK_DNSTAP_USE_WHOLE);
    assert_true(pk_dnstap_kinds_parse("", &kinds));
    assert_int_equal(kinds, 0);
    assert_false(pk_dnstap_kinds_parse("auth,clients", &kinds));
    assert_false(pk_dnstap_kinds_parse("auth,,client", &kinds));
}

/* --- servers with another clock --- */

enum {
    SECOND_US = 1000000,
    HOUR_S = 3600,
};

/* As the listener does: this machine's clock shows now_us, the server's skew_s more. Both halves come delay_us after what they tell. */
struct server {
    struct fixture *f;
    int64_t skew_s, delay_us, shift_us;
    uint16_t n_asked;
    uint32_t n_shifted;
};

static void tell_half(struct server *server, unsigned type, int64_t at_us)
{
    uint8_t wires[2][512], payload[PK_TAP_MAX];
    struct pk_tap taps[2];
    struct pk_dnstap_event event;
    make_halves(taps, wires, CQ);
    struct pk_tap *tap = &taps[type == CR];
    int64_t told_us = at_us + server->skew_s * SECOND_US, now_us = at_us + server->delay_us;
    tap->initiator_port = (server->skew_s ? 2000u : 1000u) + server->n_asked;
    tap->query_s = type == CQ ? (uint64_t)(told_us / SECOND_US) : 0;
    tap->query_ns = type == CQ ? (uint32_t)(told_us % SECOND_US) * 1000 : 0;
    tap->response_s = (uint64_t)(told_us / SECOND_US);
    tap->response_ns = (uint32_t)(told_us % SECOND_US) * 1000;
    size_t len = pk_tap_payload(payload, tap);
    pk_dnstap_decode(server->f->dnstap, payload, len, now_us, &event);
    server->n_shifted += pk_dnstap_place(&event, now_us, &server->shift_us);
    assert_in_range(event.ts_us, now_us - PK_DNSTAP_SLACK_US, now_us);
    struct pk_raw_packet raw = {.ts_us = event.ts_us, .tapped = &event};
    pk_pipeline_packet(server->f->pipeline, 0, &raw);
}

static void a_server_with_another_clock_moves_nobody(void **state)
{
    (void)state;
    const int64_t skews_s[] = {
        2 * HOUR_S, -2 * HOUR_S, 30 * 24 * HOUR_S, 6, -6, 100 - (int64_t)NOON, 3};
    enum {
        N_ROUNDS = 100
    };
    for (size_t i = 0; i < sizeof skews_s / sizeof *skews_s; i++) {
        struct fixture *f = fixture_new(PK_OUTPUT_TRANSACTIONS, defaults);
        struct server right = {.f = f, .delay_us = 40000};
        struct server wrong = {.f = f, .skew_s = skews_s[i], .delay_us = 30000};
        for (int round = 0; round < N_ROUNDS; round++) {
            int64_t at_us = (int64_t)NOON * SECOND_US + round * INT64_C(200000);
            right.n_asked = wrong.n_asked = (uint16_t)round;
            tell_half(&right, CQ, at_us);
            tell_half(&wrong, CQ, at_us + 20000);
            tell_half(&right, CR, at_us + 30000); /* 30 ms and 25 ms after the questions */
            tell_half(&wrong, CR, at_us + 45000);
        }
        finish(f);
        assert_int_equal(f->stats.answered, 2 * N_ROUNDS);
        assert_int_equal(f->stats.unanswered + f->stats.unsolicited, 0);
        assert_int_equal(f->stats.clock_steps, 0);
        assert_in_range(f->n_windows, 2, 4); /* 20 s in windows of ten */
        assert_int_equal(right.n_shifted, 0);
        assert_int_equal(wrong.n_shifted, 2 * N_ROUNDS);
        assert_int_equal(right.shift_us, 0);
        size_t n_right = 0, n_wrong = 0;
        for (const char *p = f->text; (p = strstr(p, "\"latency_us\":")); p++) {
            n_right += strncmp(p, "\"latency_us\":30000,", 19) == 0;
            n_wrong += strncmp(p, "\"latency_us\":25000,", 19) == 0;
        }
        assert_int_equal(n_right, N_ROUNDS);
        assert_int_equal(n_wrong, N_ROUNDS);
        fixture_free(f);
    }
}

static struct pk_dnstap_event told(int64_t query_us, int64_t ts_us)
{
    return (struct pk_dnstap_event){.fate = PK_DNSTAP_USED, .ts_us = ts_us, .query_us = query_us};
}

static void times_within_the_slack_stay_and_others_keep_their_differences(void **state)
{
    (void)state;
    const int64_t now_us = (int64_t)NOON * SECOND_US;
    int64_t shift_us = 0;
    struct pk_dnstap_event event = told(now_us - 5 * SECOND_US, now_us - PK_DNSTAP_SLACK_US);
    assert_false(pk_dnstap_place(&event, now_us, &shift_us));
    assert_int_equal(event.ts_us, now_us - PK_DNSTAP_SLACK_US);
    assert_int_equal(event.query_us, now_us - 5 * SECOND_US);
    event = told(now_us, now_us + 1); /* a trifle ahead: held back, and no word of it */
    assert_false(pk_dnstap_place(&event, now_us, &shift_us));
    assert_int_equal(event.ts_us, now_us);
    assert_int_equal(event.query_us, now_us - 1);
    event = told(now_us + 59 * SECOND_US, now_us + 60 * SECOND_US);
    assert_true(pk_dnstap_place(&event, now_us, &shift_us));
    assert_int_equal(shift_us, -60 * SECOND_US);
    assert_int_equal(event.ts_us, now_us);
    assert_int_equal(event.query_us, now_us - SECOND_US);
    /* One that came sooner tells the clock better; one that came later goes by what is known. */
    event = told(now_us + 60 * SECOND_US, now_us + 60 * SECOND_US + 5);
    assert_true(pk_dnstap_place(&event, now_us + 1, &shift_us));
    assert_int_equal(event.ts_us, now_us + 1);
    event = told(now_us + 60 * SECOND_US, now_us + 61 * SECOND_US);
    assert_true(pk_dnstap_place(&event, now_us + 2 * SECOND_US, &shift_us));
    assert_int_equal(event.ts_us, now_us + SECOND_US - 4);
    /* The clock was set right. */
    event = told(now_us + 3 * SECOND_US, now_us + 3 * SECOND_US);
    assert_false(pk_dnstap_place(&event, now_us + 3 * SECOND_US, &shift_us));
    assert_int_equal(shift_us, 0);
    /* A question from long ago is none. */
    event = told(0, now_us);
    assert_false(pk_dnstap_place(&event, now_us, &shift_us));
    assert_int_equal(event.query_us, now_us);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_way_of_logging_gives_one_answered_transaction),
        cmocka_unit_test(a_query_without_response_is_unanswered),
        cmocka_unit_test(the_legs_behind_a_resolver_are_history_and_no_activity),
        cmocka_unit_test(kinds_and_transports_that_are_not_wanted_are_counted),
        cmocka_unit_test(made_up_queries_are_not_printed_as_messages),
        cmocka_unit_test(a_payload_is_one_of_the_fates),
        cmocka_unit_test(a_payload_of_countless_fields_costs_no_more_than_the_arena),
        cmocka_unit_test(kinds_are_named),
        cmocka_unit_test(a_server_with_another_clock_moves_nobody),
        cmocka_unit_test(times_within_the_slack_stay_and_others_keep_their_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

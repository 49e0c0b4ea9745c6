/* Query meets response: what must match, how long, and what the tables do when they are full. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "picket/hash.h"

#include "packet_builder.h"
#include "sensor/pairing/pairing.h"

struct fixture {
    struct pk_stats stats;
    struct pk_pairing *pairing;
    uint64_t n[PK_N_OUTCOMES];
    struct pk_transaction last; /* its response is not good any more */
    bool had_response;
    uint64_t frame;
};

static void on_transaction(void *arg, const struct pk_transaction *transaction)
{
    struct fixture *f = arg;
    f->n[transaction->outcome]++;
    f->last = *transaction;
    f->had_response = transaction->response;
    if (transaction->response) { /* what it borrows must be good now */
        struct pk_dnsmsg again;
        assert_true(pk_dnsmsg_parse(
            transaction->response->dns.wire, transaction->response->dns.len, &again));
        assert_int_equal(again.id, transaction->response->dns.id);
    }
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    pk_hash_set_key((const uint8_t[16]){1});
    assert_int_equal(pk_pairing_new(&f->stats, on_transaction, f, &f->pairing), PK_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    pk_pairing_flush(f->pairing);
    const struct pk_stats *s = &f->stats;
    assert_int_equal(s->queries, s->opened + s->retransmissions);
    assert_int_equal(s->responses, s->matched + s->unsolicited + s->transfer_more);
    assert_int_equal(s->opened, s->answered + s->unanswered);
    assert_int_equal(s->answered, s->matched);
    assert_int_equal(s->open_now + s->held_now + s->transfers_now, 0);
    assert_int_equal(s->answered, f->n[PK_OUTCOME_ANSWERED]);
    assert_int_equal(s->unreachable, f->n[PK_OUTCOME_UNREACHABLE]);
    assert_int_equal(s->unanswered, f->n[PK_OUTCOME_UNANSWERED] + s->unreachable);
    assert_int_equal(s->late, f->n[PK_OUTCOME_LATE]);
    assert_int_equal(s->mismatched, f->n[PK_OUTCOME_MISMATCHED]);
    assert_int_equal(s->repeated, f->n[PK_OUTCOME_REPEATED]);
    assert_int_equal(s->conflicting, f->n[PK_OUTCOME_CONFLICTING]);
    assert_int_equal(s->unsolicited,
        f->n[PK_OUTCOME_UNSOLICITED] + s->late + s->mismatched + s->repeated + s->conflicting);
    pk_pairing_free(f->pairing);
    free(f);
    return 0;
}

struct side {
    uint32_t client;
    uint8_t server;
    uint16_t port;
    uint8_t transport;
};

static const struct side usual = {
    .client = 1, .server = 53, .port = 4000, .transport = PK_TRANSPORT_UDP};

static void give(
    struct fixture *f, const struct side *side, const uint8_t *wire, size_t len, int64_t ts_us)
{
    uint8_t *copy = malloc(len); /* gone after the call, as the packet is */
    assert_non_null(copy);
    memcpy(copy, wire, len);
    struct pk_message message = {.ts_us = ts_us, .frame = ++f->frame, .transport = side->transport};
    const uint8_t client[4] = {
        10, (uint8_t)(side->client >> 16), (uint8_t)(side->client >> 8), (uint8_t)side->client};
    const uint8_t server[4] = {192, 0, 2, side->server};
    assert_true(pk_dnsmsg_parse(copy, len, &message.dns));
    bool is_response = message.dns.is_response;
    message.src = pk_addr_v4(is_response ? server : client);
    message.dst = pk_addr_v4(is_response ? client : server);
    message.sport = is_response ? 53 : side->port;
    message.dport = is_response ? side->port : 53;
    message.digest = pk_hash_quick(copy, len);
    pk_pairing_tick(f->pairing, ts_us);
    pk_pairing_message(f->pairing, &message);
    free(copy);
}

static void ask(
    struct fixture *f, const struct side *side, uint16_t id, const char *qname, int64_t ts_us)
{
    uint8_t wire[512];
    give(f, side, wire, pk_build_query(wire, id, qname, 1), ts_us);
}

static void reply(
    struct fixture *f, const struct side *side, uint16_t id, const char *qname, int64_t ts_us)
{
    uint8_t wire[512];
    give(f, side, wire, pk_build_response(wire, id, qname, 1, 0), ts_us);
}

static void assert_outcomes(
    const struct fixture *f, uint64_t answered, uint64_t unanswered, uint64_t unsolicited)
{
    assert_int_equal(f->n[PK_OUTCOME_ANSWERED], answered);
    assert_int_equal(f->n[PK_OUTCOME_UNANSWERED], unanswered);
    assert_int_equal(f->stats.unsolicited, unsolicited);
}

static void a_response_meets_its_query(void **state)
{
    struct fixture *f = *state;
    ask(f, &usual, 7, "www.example.com.", 1000);
    reply(f, &usual, 7, "www.example.com.", 1500);
    assert_outcomes(f, 1, 0, 0);
    assert_int_equal(f->last.query.ts_us, 1000);
    assert_int_equal(f->last.response_ts_us, 1500);
    assert_int_equal(f->last.query.id, 7);
    assert_int_equal(f->last.query.client.bytes[3], 1);
    assert_int_equal(f->last.query.server.bytes[3], 53);
    assert_int_equal(f->last.query.client_port, 4000);
}

static void a_response_that_differs_in_anything_does_not_pair(void **state)
{
    struct fixture *f = *state;
    const struct side other_client = {2, 53, 4000, PK_TRANSPORT_UDP},
                      other_server = {1, 54, 4000, PK_TRANSPORT_UDP};
    const struct side other_port = {1, 53, 4001, PK_TRANSPORT_UDP},
                      other_transport = {1, 53, 4000, PK_TRANSPORT_TCP};
    ask(f, &usual, 7, "www.example.com.", 0);
    reply(f, &other_client, 7, "www.example.com.", 1);
    reply(f, &other_server, 7, "www.example.com.", 1);
    reply(f, &other_port, 7, "www.example.com.", 1);
    reply(f, &other_transport, 7, "www.example.com.", 1);
    reply(f, &usual, 8, "www.example.com.", 1);
    reply(f, &usual, 7, "www.example.org.", 1);
    pk_pairing_tick(f->pairing, PK_PAIRING_HOLD_US + 2);
    assert_outcomes(f, 0, 0, 6);
    assert_int_equal(f->n[PK_OUTCOME_MISMATCHED], 1); /* the last: only its question is another */
    reply(f, &usual, 7, "www.example.com.", PK_PAIRING_HOLD_US + 2);
    assert_outcomes(f, 1, 0, 6);
}

static void case_in_the_name_does_not_matter(void **state)
{
    struct fixture *f = *state;
    ask(f, &usual, 7, "wWw.eXample.com.", 0);
    assert_outcomes(f, 0, 0, 0);
    reply(f, &usual, 7, "www.example.COM.", 1);
    assert_outcomes(f, 1, 0, 0);
    assert_true(f->last.query.is_case_mixed);
}

static void a_response_without_question_meets_the_query(void **state)
{
    struct fixture *f = *state;
    static const uint8_t bare[12] = {0, 7, 0x80, 1};
    ask(f, &usual, 7, "www.example.com.", 0);
    give(f, &usual, bare, sizeof bare, 1);
    assert_outcomes(f, 1, 0, 0);
    assert_true(f->last.query.has_question);
}

static void two_questions_under_one_id_both_pair(void **state)
{
    struct fixture *f = *state;
    ask(f, &usual, 7, "a.example.com.", 0);
    ask(f, &usual, 7, "b.example.com.", 1);
    reply(f, &usual, 7, "b.example.com.", 2);
    assert_int_equal(f->last.query.ts_us, 1);
    reply(f, &usual, 7, "a.example.com.", 3);
    assert_int_equal(f->last.query.ts_us, 0);
    assert_outcomes(f, 2, 0, 0);
}

static void a_query_times_out_after_five_seconds(void **state)
{
    struct fixture *f = *state;
    ask(f, &usual, 7, "www.example.com.", 0);
    pk_pairing_tick(f->pairing, PK_PAIRING_TIMEOUT_US);
    assert_outcomes(f, 0, 0, 0);
    pk_pairing_tick(f->pairing, PK_PAIRING_TIMEOUT_US + 1);
    assert_outcomes(f, 0, 1, 0);
    assert_false(f->had_response);
}

static void a_retransmission_is_no_second_query_and_wins_time(void **state)
{
    struct fixture *f = *state;
    ask(f, &usual, 7, "www.example.com.", 0);
    ask(f, &usual, 7, "www.example.com.", 4000000);
    reply(f, &usual, 7, "www.example.com.", 9000000);
    assert_outcomes(f, 1, 0, 0);
    assert_int_equal(f->last.query.retransmissions, 1);
    assert_int_equal(f->last.query.ts_us, 0);
}

static void a_second_response_is_nobodys(void **state)
{
    struct fixture *f = *state;
    ask(f, &usual, 7, "www.example.com.", 0);
    reply(f, &usual, 7, "www.example.com.", 1);
    reply(f, &usual, 7, "www.example.com.", 2);
    pk_pairing_flush(f->pairing);
    assert_outcomes(f, 1, 0, 1);
}

static void a_response_waits_a_moment_for_its_query(void **state)
{
    struct fixture *f = *state;
    reply(f, &usual, 7, "www.example.com.", 0);
    ask(f, &usual, 7, "www.example.com.", PK_PAIRING_HOLD_US);
    assert_outcomes(f, 1, 0, 0);
    assert_true(f->had_response);
    reply(f, &usual, 8, "www.example.com.", 1000000);
    ask(f, &usual, 8, "www.example.com.", 1000001 + PK_PAIRING_HOLD_US);
    assert_outcomes(f, 1, 0, 1);
}

static void responses_that_wait_are_bounded(void **state)
{
    struct fixture *f = *state;
    for (uint32_t i = 0; i < PK_PAIRING_MAX_HELD + 10; i++) {
        reply(f, &usual, (uint16_t)i, "www.example.com.", 0);
    }
    assert_int_equal(f->stats.held_shed, 10);
    assert_outcomes(f, 0, 0, 10);
    ask(f, &usual, 5, "www.example.com.", 1);
    assert_outcomes(f, 1, 0, 10);
    pk_pairing_tick(f->pairing, PK_PAIRING_HOLD_US + 1);
    assert_outcomes(f, 1, 0, PK_PAIRING_MAX_HELD + 9);
}

static void a_full_table_gives_up_the_oldest(void **state)
{
    struct fixture *f = *state;
    for (uint32_t i = 0; i < PK_PAIRING_MAX_OPEN; i++) {
        const struct side side = {
            .client = i & ~0xffu, /* a network each 256, so that none has too many */
            .server = 53,
            .port = 4000,
            .transport = PK_TRANSPORT_UDP};
        ask(f, &side, (uint16_t)i, "www.example.com.", (int64_t)i);
    }
    assert_int_equal(f->stats.evicted, 0);
    const struct side fresh = {
        .client = 99999, .server = 53, .port = 4000, .transport = PK_TRANSPORT_UDP};
    ask(f, &fresh, 1, "www.example.com.", PK_PAIRING_MAX_OPEN);
    assert_int_equal(f->stats.evicted, 1);
    assert_int_equal(f->last.query.ts_us, 0);
    reply(f, &fresh, 1, "www.example.com.", PK_PAIRING_MAX_OPEN + 1);
    assert_outcomes(f, 1, 1, 0);
}

/* Asks n questions of one client that nobody answers. */
static void flood(struct fixture *f, uint32_t client, uint32_t n, int64_t ts_us)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct side side = {.client = client,
            .server = 53,
            .port = (uint16_t)(1024 + (i >> 16)),
            .transport = PK_TRANSPORT_UDP};
        ask(f, &side, (uint16_t)i, "www.example.com.", ts_us);
    }
}

static void one_client_cannot_crowd_out_the_others(void **state)
{
    struct fixture *f = *state;
    const struct side quiet = {
        .client = 2, .server = 53, .port = 4000, .transport = PK_TRANSPORT_UDP};
    ask(f, &quiet, 1, "www.example.com.", 0);
    flood(f, 1, 3 * PK_PAIRING_MAX_OPEN, 1);
    assert_true(f->stats.evicted > PK_PAIRING_MAX_OPEN);
    assert_int_equal(f->stats.evicted_client, f->stats.evicted);
    reply(f, &quiet, 1, "www.example.com.", 2);
    assert_outcomes(f, 1, f->stats.evicted, 0);
    assert_int_equal(f->last.query.client.bytes[3], 2);
}

static void one_network_cannot_crowd_out_the_others(void **state)
{
    struct fixture *f = *state;
    const struct side quiet = {
        .client = 0x20001, .server = 53, .port = 4000, .transport = PK_TRANSPORT_UDP};
    ask(f, &quiet, 1, "www.example.com.", 0);
    for (uint32_t host = 0; host < 256; host++) {
        flood(f, 0x10000 + host, 1000, 1);
    }
    assert_int_equal(f->stats.evicted_client, 0);
    assert_true(f->stats.evicted_network > PK_PAIRING_MAX_OPEN);
    assert_true(f->stats.open_now < PK_PAIRING_MAX_OPEN);
    reply(f, &quiet, 1, "www.example.com.", 2);
    assert_outcomes(f, 1, f->stats.evicted, 0);
}

/* Every source is made up, so no share is ever exceeded. A network that had an answer before keeps its open queries, and may ask new ones. */
static void made_up_sources_push_out_only_each_other(void **state)
{
    struct fixture *f = *state;
    const struct side real = {
        .client = 0xfe0001, .server = 53, .port = 4000, .transport = PK_TRANSPORT_UDP};
    ask(f, &real, 1, "www.example.com.", 0);
    reply(f, &real, 1, "www.example.com.", 1);
    ask(f, &real, 2, "www.example.com.", 2);
    for (uint32_t round = 0; round < 6; round++) {
        for (uint32_t i = 0; i < PK_PAIRING_MAX_OPEN / 2; i++) { /* a host in each of many /24 */
            const struct side side = {.client = i << 8 & 0xfdff00,
                .server = 53,
                .port = (uint16_t)(round << 8 | i >> 15),
                .transport = PK_TRANSPORT_UDP};
            ask(f, &side, (uint16_t)i, "www.example.com.", 3 + round);
        }
        ask(f, &real, (uint16_t)(10 + round), "www.example.com.", 3 + round);
    }
    assert_true(f->stats.evicted > PK_PAIRING_MAX_OPEN);
    assert_int_equal(f->stats.evicted_client + f->stats.evicted_network, 0);
    reply(f, &real, 2, "www.example.com.", 20);
    for (uint32_t round = 0; round < 6; round++) {
        reply(f, &real, (uint16_t)(10 + round), "www.example.com.", 20);
    }
    assert_outcomes(f, 8, f->stats.evicted, 0);
}

static void a_response_after_the_timeout_is_late(void **state)
{
    struct fixture *f = *state;
    ask(f, &usual, 7, "www.example.com.", 0);
    pk_pairing_tick(f->pairing, PK_PAIRING_TIMEOUT_US + 1);
    reply(f, &usual, 7, "www.example.com.", PK_PAIRING_TIMEOUT_US + 2);
    pk_pairing_tick(f->pairing, 2 * PK_PAIRING_TIMEOUT_US);
    assert_outcomes(f, 0, 1, 1);
    assert_int_equal(f->stats.late, 1);
    assert_true(f->had_response);
}

static void say(struct fixture *f, uint16_t id, uint8_t address, int64_t ts_us)
{
    uint8_t wire[512];
    const uint8_t rdata[4] = {192, 0, 2, address};
    size_t len = pk_build_response(wire, id, "www.example.com.", 1, 0);
    len = pk_build_record(wire, len, 1, "www.example.com.", 1, rdata, sizeof rdata);
    give(f, &usual, wire, len, ts_us);
}

static void two_answers_to_one_question_conflict(void **state)
{
    struct fixture *f = *state;
    ask(f, &usual, 7, "www.example.com.", 0);
    say(f, 7, 1, 1);
    say(f, 7, 66, 2);
    say(f, 7, 1, 3);
    pk_pairing_tick(f->pairing, 1000000);
    assert_outcomes(f, 1, 0, 2);
    assert_int_equal(f->stats.conflicting, 1);
    assert_int_equal(f->stats.repeated, 1); /* the same again is no conflict */
}

static void a_question_asked_twice_may_have_two_answers(void **state)
{
    struct fixture *f = *state;
    ask(f, &usual, 7, "www.example.com.", 0);
    ask(f, &usual, 7, "www.example.com.", 1);
    say(f, 7, 1, 2);
    say(f, 7, 2, 3);
    say(f, 7, 3, 4);
    pk_pairing_tick(f->pairing, 1000000);
    assert_int_equal(f->stats.repeated, 1);
    assert_int_equal(f->stats.conflicting, 1); /* but not three */
}

static void a_guess_at_another_name_is_mismatched_after_the_answer_too(void **state)
{
    struct fixture *f = *state;
    ask(f, &usual, 7, "www.example.com.", 0);
    reply(f, &usual, 7, "www.example.com.", 1);
    reply(f, &usual, 7, "evil.example.com.", 2);
    pk_pairing_tick(f->pairing, 1000000);
    assert_int_equal(f->stats.mismatched, 1);
}

static void what_was_closed_is_forgotten_after_a_while(void **state)
{
    struct fixture *f = *state;
    ask(f, &usual, 7, "www.example.com.", 0);
    reply(f, &usual, 7, "www.example.com.", 1);
    reply(f, &usual, 7, "www.example.com.", 120000000);
    pk_pairing_tick(f->pairing, 121000000);
    assert_int_equal(f->n[PK_OUTCOME_UNSOLICITED], 1);
}

static void case_that_is_not_repeated_is_noted(void **state)
{
    struct fixture *f = *state;
    ask(f, &usual, 7, "wWw.eXample.com.", 0);
    reply(f, &usual, 7, "wWw.eXample.com.", 1);
    assert_false(f->last.is_case_changed);
    ask(f, &usual, 8, "wWw.eXample.com.", 2);
    reply(f, &usual, 8, "www.example.com.", 3);
    assert_true(f->last.is_case_changed);
    ask(f, &usual, 9, "www.example.com.", 4); /* nothing was mixed, nothing can be proved */
    reply(f, &usual, 9, "WWW.example.com.", 5);
    assert_false(f->last.is_case_changed);
    assert_int_equal(f->stats.case_changed, 1);
}

static void an_icmp_error_says_why_and_an_answer_wins(void **state)
{
    struct fixture *f = *state;
    struct pk_leg leg = {.src = pk_addr_v4((const uint8_t[]){10, 0, 0, 1}),
        .dst = pk_addr_v4((const uint8_t[]){192, 0, 2, 53}),
        .sport = 4000,
        .dport = 53};
    ask(f, &usual, 7, "www.example.com.", 0);
    assert_false(pk_pairing_unreachable(f->pairing, &leg, PK_TRANSPORT_UDP, 8, 1));
    assert_false(pk_pairing_unreachable(f->pairing, &leg, PK_TRANSPORT_TCP, 7, 1));
    assert_outcomes(f, 0, 0, 0);
    assert_true(pk_pairing_unreachable(f->pairing, &leg, PK_TRANSPORT_UDP, 7, 1));
    assert_outcomes(f, 0, 0, 0); /* it may be forged */
    reply(f, &usual, 7, "www.example.com.", 20000);
    assert_outcomes(f, 1, 0, 0);
    assert_false(pk_pairing_unreachable(f->pairing, &leg, PK_TRANSPORT_UDP, 7, 30000));
    ask(f, &usual, 7, "www.example.com.", 1000000); /* in the same place, without the mark */
    pk_pairing_tick(f->pairing, 7000000);
    assert_outcomes(f, 1, 1, 0);
    ask(f, &usual, 7, "www.example.com.", 8000000);
    assert_true(pk_pairing_unreachable(f->pairing, &leg, PK_TRANSPORT_UDP, 7, 8001000));
    pk_pairing_tick(f->pairing, 14000000);
    assert_int_equal(f->n[PK_OUTCOME_UNREACHABLE], 1);
    assert_int_equal(f->stats.unreachable, 1);
}

static size_t put_soa(uint8_t *wire, size_t len, uint8_t serial)
{
    uint8_t rdata[22] = {0, 0, [5] = serial};
    return pk_build_record(wire, len, 1, "example.com.", 6, rdata, sizeof rdata);
}

static void a_transfer_over_three_messages_is_one_transaction(void **state)
{
    struct fixture *f = *state;
    const struct side side = {1, 53, 4000, PK_TRANSPORT_TCP};
    static const uint8_t addr[4] = {192, 0, 2, 9};
    uint8_t wire[2048];
    give(f, &side, wire, pk_build_query(wire, 7, "example.com.", 252), 0);
    size_t len = put_soa(wire, pk_build_response(wire, 7, "example.com.", 252, 0x0400), 5);
    give(f, &side, wire, len, 1);
    for (int64_t i = 0; i < 2; i++) { /* longer than the timeout, but never idle so long */
        len = pk_build_record(wire, pk_build_response(wire, 7, "example.com.", 252, 0x0400), 1,
            "a.example.com.", 1, addr, 4);
        give(f, &side, wire, len, (i + 1) * 4000000);
    }
    assert_outcomes(f, 0, 0, 0);
    len = put_soa(wire, pk_build_response(wire, 7, "example.com.", 252, 0x0400), 5);
    give(f, &side, wire, len, 9000000);
    assert_outcomes(f, 1, 0, 0);
    assert_int_equal(f->last.transfer_records, 4);
    assert_int_equal(f->last.transfer_soas, 2);
    assert_int_equal(f->last.transfer_messages, 4);
    assert_int_equal(f->stats.transfer_more, 3);
}

static void a_transfer_that_breaks_off_is_answered(void **state)
{
    struct fixture *f = *state;
    const struct side side = {1, 53, 4000, PK_TRANSPORT_TCP};
    uint8_t wire[2048];
    give(f, &side, wire, pk_build_query(wire, 7, "example.com.", 252), 0);
    give(f, &side, wire, put_soa(wire, pk_build_response(wire, 7, "example.com.", 252, 0x0400), 5),
        1);
    pk_pairing_tick(f->pairing, PK_PAIRING_TIMEOUT_US + 2);
    assert_outcomes(f, 1, 0, 0);
    assert_false(f->had_response);
    assert_int_equal(f->last.transfer_records, 1);
}

static void a_refused_transfer_ends_at_once(void **state)
{
    struct fixture *f = *state;
    const struct side side = {1, 53, 4000, PK_TRANSPORT_TCP};
    uint8_t wire[512];
    give(f, &side, wire, pk_build_query(wire, 7, "example.com.", 252), 0);
    give(f, &side, wire, pk_build_response(wire, 7, "example.com.", 252, 5), 1);
    assert_outcomes(f, 1, 0, 0);
    assert_true(f->had_response);
}

static void time_that_steps_back_a_little_loses_nothing(void **state)
{
    struct fixture *f = *state;
    ask(f, &usual, 7, "www.example.com.", PK_PAIRING_TIMEOUT_US);
    reply(f, &usual, 9, "www.example.com.", PK_PAIRING_TIMEOUT_US);
    ask(f, &usual, 8, "www.example.com.", 0);
    reply(f, &usual, 8, "www.example.com.", 1);
    reply(f, &usual, 7, "www.example.com.", 2);
    ask(f, &usual, 9, "www.example.com.", 3);
    assert_outcomes(f, 3, 0, 0);
}

static const int64_t hour_us = INT64_C(3600000000);

static void time_that_steps_back_far_ends_what_was_open_and_what_waited(void **state)
{
    struct fixture *f = *state;
    ask(f, &usual, 7, "www.example.com.", hour_us);
    reply(f, &usual, 9, "www.example.com.", hour_us);
    pk_pairing_tick(f->pairing, hour_us - PK_PAIRING_TIMEOUT_US);
    assert_outcomes(f, 0, 0, 0);
    const int64_t back_us = hour_us - PK_PAIRING_TIMEOUT_US - 1;
    pk_pairing_tick(f->pairing, back_us);
    assert_outcomes(f, 0, 1, 1);
    assert_int_equal(f->stats.open_now + f->stats.held_now, 0);
    reply(f, &usual, 7, "www.example.com.", back_us + 1); /* as after a step ahead */
    pk_pairing_tick(f->pairing, back_us + PK_PAIRING_HOLD_US + 2);
    assert_int_equal(f->stats.late, 1);
}

static void after_a_step_back_queries_time_out_and_responses_wait_as_before(void **state)
{
    struct fixture *f = *state;
    const int64_t apart_us = 100000;
    const uint32_t n = PK_PAIRING_MAX_HELD + 100;
    ask(f, &usual, 7, "www.example.com.", hour_us);
    reply(f, &usual, 9, "www.example.com.", hour_us);
    for (uint32_t i = 0; i < n; i++) {
        const struct side side = {2, 53, (uint16_t)(1000 + i), PK_TRANSPORT_UDP},
                          silent = {3, 53, (uint16_t)(1000 + i), PK_TRANSPORT_UDP};
        reply(f, &side, 1, "www.example.com.", apart_us * i); /* the response comes first */
        ask(f, &side, 1, "www.example.com.", apart_us * i + 200);
        ask(f, &silent, 2, "www.example.com.", apart_us * i + 300);
        assert_in_range(f->stats.open_now, 1, PK_PAIRING_TIMEOUT_US / apart_us + 1);
    }
    assert_int_equal(f->stats.held_shed, 0);
    assert_outcomes(f, n, n + 1 - f->stats.open_now, 1);
}

/* Known clients and strangers stand in orders of their own: who is not over in the one keeps nobody in the other. */
static void after_a_step_back_known_clients_do_not_keep_strangers(void **state)
{
    struct fixture *f = *state;
    const struct side stranger = {0x20000, 53, 4000, PK_TRANSPORT_UDP};
    ask(f, &usual, 1, "www.example.com.", 0);
    reply(f, &usual, 1, "www.example.com.", 1); /* known from now on */
    ask(f, &usual, 2, "www.example.com.", 2000000);
    ask(f, &stranger, 3, "www.example.com.", 6000000);
    pk_pairing_tick(f->pairing, 999999);
    assert_outcomes(f, 1, 1, 0);
    assert_int_equal(f->last.query.id, 3);
    assert_int_equal(f->stats.open_now, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_response_meets_its_query),
        TEST(a_response_that_differs_in_anything_does_not_pair),
        TEST(case_in_the_name_does_not_matter),
        TEST(a_response_without_question_meets_the_query),
        TEST(two_questions_under_one_id_both_pair),
        TEST(a_query_times_out_after_five_seconds),
        TEST(a_retransmission_is_no_second_query_and_wins_time),
        TEST(a_second_response_is_nobodys),
        TEST(a_response_waits_a_moment_for_its_query),
        TEST(responses_that_wait_are_bounded),
        TEST(a_full_table_gives_up_the_oldest),
        TEST(one_client_cannot_crowd_out_the_others),
        TEST(one_network_cannot_crowd_out_the_others),
        TEST(made_up_sources_push_out_only_each_other),
        TEST(a_response_after_the_timeout_is_late),
        TEST(two_answers_to_one_question_conflict),
        TEST(a_question_asked_twice_may_have_two_answers),
        TEST(a_guess_at_another_name_is_mismatched_after_the_answer_too),
        TEST(what_was_closed_is_forgotten_after_a_while),
        TEST(case_that_is_not_repeated_is_noted),
        TEST(an_icmp_error_says_why_and_an_answer_wins),
        TEST(a_transfer_over_three_messages_is_one_transaction),
        TEST(a_transfer_that_breaks_off_is_answered),
        TEST(a_refused_transfer_ends_at_once),
        TEST(time_that_steps_back_a_little_loses_nothing),
        TEST(time_that_steps_back_far_ends_what_was_open_and_what_waited),
        TEST(after_a_step_back_queries_time_out_and_responses_wait_as_before),
        TEST(after_a_step_back_known_clients_do_not_keep_strangers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

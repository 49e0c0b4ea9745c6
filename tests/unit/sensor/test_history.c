/* What enters the history, and what a hostile server cannot put there. */
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
#include "sensor/window/history.h"

enum {
    A = 1,
    NS = 2,
    CNAME = 5,
    SOA = 6,
    AA = 0x0400,
    TC = 0x0200,
    MAX_RESPONSE = 65536
};

struct fixture {
    struct pk_stats stats;
    struct pk_history *history;
    char lines[4096]; /* "owner type count-of-rdata bailiwick trust; ..." */
    struct pk_message message;
    uint8_t wire[MAX_RESPONSE];
    size_t len;
    char qname[256];
    uint32_t epoch;          /* of the sink that keeps rows */
    unsigned n_new, n_again; /* RRsets told, rows told again */
    uint32_t ttl_min_s, ttl_max_s;
};

static const char *name_text(struct pk_slice slice, char text[PK_NAME_TEXT_SIZE])
{
    struct pk_name name;
    assert_int_equal(pk_name_from_wire(slice.data, slice.len, &name), PK_OK);
    return pk_name_text(&name, text);
}

static uint32_t on_rrset(void *arg, const struct pk_rrset *rrset)
{
    static const char *const trusts[] = {"authoritative", "resolver", "referral", "glue"};
    struct fixture *f = arg;
    char owner[PK_NAME_TEXT_SIZE], bailiwick[PK_NAME_TEXT_SIZE];
    size_t at = strlen(f->lines);
    snprintf(f->lines + at, sizeof f->lines - at, "%s %u %u %s %s;", name_text(rrset->owner, owner),
        rrset->type, rrset->n_rdata, name_text(rrset->bailiwick, bailiwick), trusts[rrset->trust]);
    return PK_HISTORY_NO_ROW;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    pk_hash_set_key((const uint8_t[16]){1});
    struct pk_history_sink sink = {.arg = f, .rrset = on_rrset};
    assert_int_equal(pk_history_new(&f->stats, &sink, &f->history), PK_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    pk_history_free(f->history);
    free(f);
    return 0;
}

/* --- a sink that keeps rows --- */

static uint32_t keep_rrset(void *arg, const struct pk_rrset *rrset)
{
    struct fixture *f = arg;
    (void)rrset;
    return f->n_new++;
}

static uint32_t keep_enter(void *arg, int64_t ts_us)
{
    (void)ts_us;
    return ((struct fixture *)arg)->epoch;
}

static void keep_repeat(void *arg, const struct pk_history_repeat *repeat)
{
    struct fixture *f = arg;
    assert_true(repeat->row < f->n_new);
    assert_true(repeat->first_us <= repeat->last_us);
    f->n_again += repeat->count;
    f->ttl_min_s = repeat->ttl_min_s;
    f->ttl_max_s = repeat->ttl_max_s;
}

static int setup_keeping(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    pk_hash_set_key((const uint8_t[16]){1});
    struct pk_history_sink sink = {
        .arg = f, .rrset = keep_rrset, .enter = keep_enter, .repeat = keep_repeat};
    assert_int_equal(pk_history_new(&f->stats, &sink, &f->history), PK_OK);
    *state = f;
    return 0;
}

static void respond(struct fixture *f, const char *qname, uint16_t flags)
{
    snprintf(f->qname, sizeof f->qname, "%s", qname);
    f->len = pk_build_response(f->wire, 7, qname, A, flags);
}

static void add(
    struct fixture *f, unsigned section, const char *owner, uint16_t type, const char *target)
{
    static const uint8_t addr[4] = {203, 0, 113, 1};
    f->len = target ? pk_build_record_name(f->wire, f->len, section, owner, type, target)
                    : pk_build_record(f->wire, f->len, section, owner, type, addr, sizeof addr);
}

static void assert_history_of(struct fixture *f, enum pk_outcome outcome, const char *lines)
{
    (void)pk_dnsmsg_parse(f->wire, f->len, &f->message.dns);
    struct pk_transaction transaction = {
        .outcome = outcome, .response = &f->message, .response_ts_us = 5};
    transaction.query.has_question = true;
    transaction.query.question.type = A;
    transaction.query.question.class = PK_CLASS_IN;
    assert_int_equal(pk_name_from_text(f->qname, &transaction.query.question.name), PK_OK);
    f->lines[0] = '\0';
    struct pk_answer answer;
    pk_history_transaction(f->history, &transaction, &answer);
    assert_string_equal(f->lines, lines);
}

static void assert_history(struct fixture *f, const char *lines)
{
    assert_history_of(f, PK_OUTCOME_ANSWERED, lines);
}

static void records_of_one_set_come_as_one(void **state)
{
    struct fixture *f = *state;
    static const uint8_t other[4] = {203, 0, 113, 2};
    respond(f, "WWW.example.com.", AA);
    add(f, 1, "www.example.com.", A, NULL);
    f->len = pk_build_record(f->wire, f->len, 1, "www.EXAMPLE.com.", A, other, 4);
    add(f, 1, "www.example.com.", A, NULL); /* twice: a set */
    assert_history(f, "www.example.com. 1 2 example.com. authoritative;");
}

static void only_answered_transactions_count(void **state)
{
    struct fixture *f = *state;
    respond(f, "www.example.com.", AA);
    add(f, 1, "www.example.com.", A, NULL);
    assert_history_of(f, PK_OUTCOME_UNSOLICITED, "");
    assert_history_of(f, PK_OUTCOME_UNANSWERED, "");
}

static void truncated_damaged_and_failed_responses_give_nothing(void **state)
{
    struct fixture *f = *state;
    static const uint16_t flags[] = {TC, 2 /* SERVFAIL */, 5};
    for (size_t i = 0; i < 3; i++) {
        respond(f, "www.example.com.", flags[i]);
        add(f, 1, "www.example.com.", A, NULL);
        assert_history(f, "");
    }
    respond(f, "www.example.com.", AA);
    add(f, 1, "www.example.com.", A, NULL);
    add(f, 1, "www.example.com.", A, NULL);
    f->len -= 2;
    assert_history(f, "");
}

static void a_server_narrows_its_bailiwick_but_never_widens_it(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *claim, *wanted;
    } cases[] = {
        {"a.example.com.", "www.a.example.com. 1 1 a.example.com. authoritative;"},
        {"example.com.", "www.a.example.com. 1 1 example.com. authoritative;"},
        {"com.", "www.a.example.com. 1 1 example.com. authoritative;"},
        {".", "www.a.example.com. 1 1 example.com. authoritative;"},
        {"b.example.com.", "www.a.example.com. 1 1 example.com. authoritative;"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        respond(f, "www.a.example.com.", AA);
        add(f, 1, "www.a.example.com.", A, NULL);
        add(f, 1, "www.bank.com.", A, NULL);
        add(f, 2, cases[i].claim, NS, "ns.example.com.");
        assert_history(f, cases[i].wanted);
    }
}

static void strangers_are_kept_only_on_a_resolvers_chain(void **state)
{
    struct fixture *f = *state;
    respond(f, "www.example.com.", 0);
    add(f, 1, "cdn.example.net.", A, NULL);
    add(f, 1, "www.example.com.", CNAME, "CDN.example.net.");
    add(f, 1, "www.bank.org.", A, NULL);
    assert_history(f,
        "cdn.example.net. 1 1 example.net. resolver;www.example.com. 5 1 example.com. resolver;");
    assert_int_equal(f->stats.rrsets_refused, 1);
    respond(f, "www.example.com.", AA);
    add(f, 1, "www.example.com.", CNAME, "cdn.example.net.");
    add(f, 1, "cdn.example.net.", A, NULL);
    assert_history(f, "www.example.com. 5 1 example.com. authoritative;");
}

static void the_zone_a_server_was_asked_as_is_its_bailiwick(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(pk_name_from_text("Dept.example.com.", &f->message.zone), PK_OK);
    respond(f, "www.dept.example.com.", AA);
    add(f, 1, "www.dept.example.com.", A, NULL);
    add(f, 1, "www.example.com.", A, NULL); /* of the registrable domain, not of this server */
    assert_history(f, "www.dept.example.com. 1 1 dept.example.com. authoritative;");
    assert_int_equal(f->stats.rrsets_refused, 1);
    respond(f, "www.lab.dept.example.com.", 0);
    add(f, 2, "lab.dept.example.com.", NS, "ns.lab.dept.example.com.");
    add(f, 3, "ns.lab.dept.example.com.", A, NULL);
    assert_history(f,
        "lab.dept.example.com. 2 1 dept.example.com. referral;ns.lab.dept.example.com. 1 1 dept.example.com. glue;");
    respond(f, "www.lab.dept.example.com.", 0);
    add(f, 2, "example.com.", NS, "ns.evil.net."); /* upwards */
    add(f, 2, "dept.example.com.", NS, "ns.evil.net.");
    assert_history(f, "");
    assert_int_equal(f->stats.rrsets_refused, 3);
    respond(f, "www.example.net.", AA); /* not about its zone: as without one */
    add(f, 1, "www.example.net.", A, NULL);
    assert_history(f, "www.example.net. 1 1 example.net. authoritative;");
}

static void responses_from_fragments_give_nothing_and_are_counted(void **state)
{
    struct fixture *f = *state;
    respond(f, "www.example.com.", AA);
    add(f, 1, "www.example.com.", A, NULL);
    f->message.is_fragmented = true;
    assert_history(f, "");
    assert_int_equal(f->stats.refused_fragmented, 1);
    f->message.is_fragmented = false;
    assert_history(f, "www.example.com. 1 1 example.com. authoritative;");
}

static void what_met_no_query_or_contradicts_an_answer_gives_nothing(void **state)
{
    struct fixture *f = *state;
    static const enum pk_outcome strays[] = {PK_OUTCOME_UNSOLICITED, PK_OUTCOME_LATE,
        PK_OUTCOME_MISMATCHED, PK_OUTCOME_REPEATED, PK_OUTCOME_CONFLICTING};
    respond(f, "www.example.com.", AA);
    add(f, 1, "www.example.com.", A, NULL);
    for (size_t i = 0; i < sizeof strays / sizeof *strays; i++) {
        assert_history_of(f, strays[i], "");
    }
    assert_int_equal(f->stats.rrsets, 0);
}

static void a_chain_that_loops_ends(void **state)
{
    struct fixture *f = *state;
    respond(f, "a.example.com.", 0);
    add(f, 1, "a.example.com.", CNAME, "b.example.net.");
    add(f, 1, "b.example.net.", CNAME, "a.example.com.");
    assert_history(
        f, "a.example.com. 5 1 example.com. resolver;b.example.net. 5 1 example.net. resolver;");
}

static void a_referral_brings_its_own_glue_alone(void **state)
{
    struct fixture *f = *state;
    respond(f, "www.example.com.", 0);
    add(f, 2, "example.com.", NS, "ns.example.com.");
    add(f, 2, "example.com.", NS, "ns.example.net.");
    add(f, 3, "ns.example.com.", A, NULL);
    add(f, 3, "ns.example.net.", A, NULL);
    add(f, 3, "www.example.com.", A, NULL);
    assert_history(f, "example.com. 2 2 com. referral;ns.example.com. 1 1 com. glue;");
    assert_int_equal(f->stats.rrsets_refused, 2);
    respond(f, "www.example.com.", 0);
    add(f, 2, ".", NS, "ns.example.net.");
    assert_history(f, "");
    respond(f, "www.example.com.", AA);
    add(f, 2, "example.com.", NS, "ns.example.com.");
    assert_history(f, "");
}

static void a_set_is_whole_or_absent(void **state)
{
    struct fixture *f = *state;
    for (unsigned n = PK_HISTORY_MAX_RECORDS; n <= PK_HISTORY_MAX_RECORDS + 1; n++) {
        respond(f, "www.example.com.", AA);
        for (unsigned i = 0; i < n; i++) {
            const uint8_t addr[4] = {10, 0, (uint8_t)(i >> 8), (uint8_t)i};
            f->len = pk_build_record(f->wire, f->len, 1, "www.example.com.", A, addr, 4);
        }
        assert_history(f, n == PK_HISTORY_MAX_RECORDS
                              ? "www.example.com. 1 512 example.com. authoritative;"
                              : "");
    }
    assert_int_equal(f->stats.rrsets_shed, 1);
}

static enum pk_answer_kind kind_of(struct fixture *f)
{
    (void)pk_dnsmsg_parse(f->wire, f->len, &f->message.dns);
    struct pk_transaction transaction = {.outcome = PK_OUTCOME_ANSWERED, .response = &f->message};
    transaction.query.has_question = true;
    assert_int_equal(pk_name_from_text(f->qname, &transaction.query.question.name), PK_OK);
    return pk_history_answer_kind(&transaction);
}

static void kinds_of_answers_are_told_apart(void **state)
{
    struct fixture *f = *state;
    respond(f, "www.example.com.", 0);
    assert_int_equal(kind_of(f), PK_ANSWER_NODATA);
    add(f, 1, "www.example.com.", A, NULL);
    assert_int_equal(kind_of(f), PK_ANSWER_DATA);
    respond(f, "www.example.com.", 3);
    assert_int_equal(kind_of(f), PK_ANSWER_NXDOMAIN);
    respond(f, "www.example.com.", 5);
    assert_int_equal(kind_of(f), PK_ANSWER_ERROR);
    respond(f, "www.example.com.", TC);
    assert_int_equal(kind_of(f), PK_ANSWER_TRUNCATED);
    respond(f, "www.example.com.", 0);
    add(f, 2, "example.com.", NS, "ns.example.com.");
    assert_int_equal(kind_of(f), PK_ANSWER_REFERRAL);
    respond(f, "www.example.com.", 0);
    add(f, 2, "example.org.", NS, "ns.example.com.");
    assert_int_equal(kind_of(f), PK_ANSWER_NODATA);
}

static void the_digest_does_not_see_order(void **state)
{
    struct fixture *f = *state;
    static const uint8_t addrs[2][4] = {{10, 0, 0, 1}, {10, 0, 0, 2}};
    uint64_t digests[3];
    uint32_t ttl_s;
    for (unsigned i = 0; i < 3; i++) {
        respond(f, "www.example.com.", AA);
        f->len = pk_build_record(f->wire, f->len, 1, "www.example.com.", A, addrs[i & 1], 4);
        f->len =
            i == 2 ? f->len
                   : pk_build_record(f->wire, f->len, 1, "www.example.com.", A, addrs[!(i & 1)], 4);
        (void)pk_dnsmsg_parse(f->wire, f->len, &f->message.dns);
        digests[i] = pk_history_answer_digest(f->history, &f->message, &ttl_s);
        assert_int_equal(ttl_s, 300);
    }
    assert_true(digests[0] == digests[1]);
    assert_true(digests[0] != digests[2]);
    respond(f, "www.example.com.", AA);
    (void)pk_dnsmsg_parse(f->wire, f->len, &f->message.dns);
    assert_true(pk_history_answer_digest(f->history, &f->message, &ttl_s) == 0);
    assert_int_equal(ttl_s, 0);
}

static struct pk_answer tell(struct fixture *f)
{
    struct pk_answer answer;
    (void)pk_dnsmsg_parse(f->wire, f->len, &f->message.dns);
    struct pk_transaction transaction = {
        .outcome = PK_OUTCOME_ANSWERED, .response = &f->message, .response_ts_us = 5};
    transaction.query.has_question = true;
    transaction.query.question.type = A;
    transaction.query.question.class = PK_CLASS_IN;
    assert_int_equal(pk_name_from_text(f->qname, &transaction.query.question.name), PK_OK);
    pk_history_transaction(f->history, &transaction, &answer);
    return answer;
}

static void set_ttl(struct fixture *f, unsigned index, uint32_t ttl_s)
{
    struct pk_rr_iter iter;
    struct pk_rr rr;
    (void)pk_dnsmsg_parse(f->wire, f->len, &f->message.dns);
    pk_rr_iter_init(&iter, &f->message.dns);
    for (unsigned i = 0; i <= index; i++) {
        assert_true(pk_rr_next(&iter, &rr));
    }
    uint8_t *ttl = f->wire + rr.rdata_pos - 6;
    ttl[0] = (uint8_t)(ttl_s >> 24);
    ttl[1] = (uint8_t)(ttl_s >> 16);
    ttl[2] = (uint8_t)(ttl_s >> 8);
    ttl[3] = (uint8_t)ttl_s;
}

/* The same rows, kind and digest as when it is taken apart; the TTLs are this response's own; counters as if. */
static void a_response_seen_before_is_told_by_its_rows(void **state)
{
    struct fixture *f = *state;
    respond(f, "www.example.com.", 0);
    add(f, 1, "www.example.com.", CNAME, "web.example.com.");
    add(f, 1, "web.example.com.", A, NULL);
    add(f, 1, "stranger.example.net.", A, NULL);
    struct pk_answer first = tell(f);
    assert_int_equal(f->n_new, 2);
    assert_int_equal(f->stats.rrsets_refused, 1);
    set_ttl(f, 1, 77);
    struct pk_answer second = tell(f);
    assert_int_equal(f->n_new, 2);
    assert_int_equal(f->n_again, 0); /* told when the rows go */
    pk_history_settle(f->history);
    assert_int_equal(f->n_again, 2);
    assert_int_equal(f->ttl_min_s, 77);
    assert_int_equal(f->ttl_max_s, 77);
    assert_int_equal(f->stats.rrsets, 4);
    assert_int_equal(f->stats.rrsets_refused, 2);
    assert_int_equal(first.kind, second.kind);
    assert_true(first.digest != 0 && first.digest == second.digest);
    assert_int_equal(second.min_ttl_s, first.min_ttl_s < 77 ? first.min_ttl_s : 77);
}

static void one_other_byte_or_rows_that_are_gone_make_it_new(void **state)
{
    struct fixture *f = *state;
    respond(f, "www.example.com.", 0);
    add(f, 1, "www.example.com.", A, NULL);
    (void)tell(f);
    f->wire[f->len - 1] ^= 1; /* the address */
    (void)tell(f);
    assert_int_equal(f->n_new, 2);
    f->wire[2] |= AA >> 8; /* another trust */
    (void)tell(f);
    assert_int_equal(f->n_new, 3);
    assert_int_equal(f->n_again, 0);
    (void)tell(f);
    (void)tell(f);
    assert_int_equal(f->n_new, 3);
    pk_history_settle(f->history);
    assert_int_equal(f->n_again, 2);
    f->epoch++;
    (void)tell(f);
    assert_int_equal(f->n_new, 4);
    pk_history_settle(f->history);
    assert_int_equal(f->n_again, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_response_seen_before_is_told_by_its_rows, setup_keeping, teardown),
        cmocka_unit_test_setup_teardown(
            one_other_byte_or_rows_that_are_gone_make_it_new, setup_keeping, teardown),
        TEST(records_of_one_set_come_as_one),
        TEST(only_answered_transactions_count),
        TEST(truncated_damaged_and_failed_responses_give_nothing),
        TEST(a_server_narrows_its_bailiwick_but_never_widens_it),
        TEST(strangers_are_kept_only_on_a_resolvers_chain),
        TEST(the_zone_a_server_was_asked_as_is_its_bailiwick),
        TEST(responses_from_fragments_give_nothing_and_are_counted),
        TEST(what_met_no_query_or_contradicts_an_answer_gives_nothing),
        TEST(a_chain_that_loops_ends),
        TEST(a_referral_brings_its_own_glue_alone),
        TEST(a_set_is_whole_or_absent),
        TEST(kinds_of_answers_are_told_apart),
        TEST(the_digest_does_not_see_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

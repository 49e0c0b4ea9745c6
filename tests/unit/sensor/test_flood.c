/* What stays of a flood, and what leaves a site at all: clients that are only counted, pseudonyms over a change of period, reverse names. */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "picket/hash.h"

#include "row_sink.h"
#include "sensor/window/client.h"
#include "sensor/window/merge.h"

enum {
    WINDOW_MS = 10000,
    WINDOW_ROWS = 200000,
    N_BENIGN = 200,
    N_BENIGN_NAMES = 10,
#ifdef __SANITIZE_ADDRESS__
    N_SMALL_FLOOD = 400000,
    N_FLOOD = 800000,
#else
    N_SMALL_FLOOD = 1000000,
    N_FLOOD = 5000000,
#endif
};
static const int64_t day_us = INT64_C(86400000000);
static const uint8_t master[PK_PSEUDONYM_KEY_BYTES] = {42};

static const char scope_text[] = "tenants:\n"
                                 "  - name: acme\n"
                                 "    sites: [hq]\n"
                                 "    zones: [example.com]\n"
                                 "    networks: [198.51.100.0/24]\n";

struct fixture {
    struct pk_stats stats;
    struct pk_scope *scope;
    struct pk_merge *merge;
    struct row_sink *rows;
    struct pk_merge_options options;
    uint64_t n_activity_rows, n_activity, n_benign, n_negative_rows, n_negative, n_wildcard;
    uint64_t n_rrsets, n_out_of_scope, n_aliases, n_counts[PK_N_CLIENT_REASONS];
    uint64_t n_nobody; /* transactions in rows without a client */
    uint32_t negative, unanswered, ptr, key_period;
    struct pk_sketch overflow;
    struct pk_client last, last_former;
    char zone[64], last_name[256];
};

static void to_text(struct pk_slice wire, char *out, size_t size)
{
    struct pk_name name;
    char text[PK_NAME_TEXT_SIZE];
    assert_int_equal(pk_name_from_wire(wire.data, wire.len, &name), PK_OK);
    snprintf(out, size, "%.60s", pk_name_text(&name, text));
}

static void on_window(void *arg, const struct pk_batch_info *info)
{
    struct fixture *f = arg;
    f->key_period = info->key_period;
}

static void on_activity(void *arg, const struct pk_activity *row)
{
    struct fixture *f = arg;
    f->n_activity_rows++;
    f->n_activity += row->count;
    f->n_benign += memcmp(row->name.data + 1, "benign", 6) == 0 ? row->count : 0;
    f->last = row->client;
}

static void on_rrset(void *arg, const struct pk_rrset *row)
{
    struct fixture *f = arg;
    f->n_rrsets++;
    to_text(row->owner, f->last_name, sizeof f->last_name);
}

static void on_negative(void *arg, const struct pk_negative *row)
{
    struct fixture *f = arg;
    f->n_negative_rows++;
    f->n_negative += row->count;
    f->n_wildcard += row->name.data[1] == '*' ? row->count : 0;
    to_text(row->name, f->last_name, sizeof f->last_name);
}

static void on_client(void *arg, const struct pk_client_count *row)
{
    struct fixture *f = arg;
    f->n_counts[row->reason] += row->count;
    f->n_nobody += row->client.kind == PK_CLIENT_NONE ? row->count : 0;
    f->negative += row->negative;
    f->unanswered += row->unanswered;
    f->ptr += row->ptr;
    if (row->reason == PK_CLIENT_ALIAS) {
        f->n_aliases++;
        f->last_former = row->former;
    }
    if (row->reason == PK_CLIENT_OVERFLOW) {
        pk_sketch_unite(&f->overflow, &row->names);
        to_text(row->zone, f->zone, sizeof f->zone);
    }
    f->last = row->client;
}

static void on_window_end(void *arg, bool is_last)
{
    (void)arg;
    (void)is_last;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    char error[PK_CONF_ERROR_SIZE];
    assert_non_null(f);
    pk_hash_set_key((const uint8_t[16]){1});
    assert_int_equal(
        pk_scope_parse("s", scope_text, sizeof scope_text - 1, &f->scope, error), PK_OK);
    const struct row_calls calls = {
        f, on_window, on_activity, on_rrset, on_negative, on_client, on_window_end};
    f->rows = row_sink_new(&calls);
    const struct pk_merge_sink sink = row_sink_of(f->rows);
    f->options = (struct pk_merge_options){.tenant = &f->scope->tenants[0],
        .site = &f->scope->tenants[0].sites[0],
        .client_key = master,
        .window_ms = WINDOW_MS,
        .window_rows = WINDOW_ROWS};
    assert_int_equal(pk_merge_new(&f->options, &f->stats, &sink, &f->merge), PK_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    pk_merge_free(f->merge);
    row_sink_free(f->rows);
    pk_scope_free(f->scope);
    free(f);
    return 0;
}

static void ask(struct fixture *f, uint32_t client, const char *name, uint16_t type, int64_t ts_us,
    enum pk_answer_kind kind)
{
    const uint8_t bytes[4] = {
        (uint8_t)(client >> 24), (uint8_t)(client >> 16), (uint8_t)(client >> 8), (uint8_t)client};
    static const uint8_t server[4] = {192, 0, 2, 53};
    static struct pk_message response;
    bool is_answered = kind != PK_ANSWER_NONE;
    response.dns.rcode = kind == PK_ANSWER_NXDOMAIN ? PK_RCODE_NXDOMAIN : PK_RCODE_NOERROR;
    struct pk_transaction transaction = {
        .outcome = is_answered ? PK_OUTCOME_ANSWERED : PK_OUTCOME_UNANSWERED,
        .response = is_answered ? &response : NULL,
        .ended_us = ts_us};
    transaction.query.ts_us = ts_us;
    transaction.query.client = pk_addr_v4(bytes);
    transaction.query.server = pk_addr_v4(server);
    transaction.query.has_question = true;
    transaction.query.question.type = type;
    transaction.query.question.class = PK_CLASS_IN;
    assert_int_equal(pk_name_from_text(name, &transaction.query.question.name), PK_OK);
    pk_merge_transaction(f->merge, &transaction, &(struct pk_answer){.kind = kind});
}

static uint64_t balance(const struct fixture *f)
{
    return f->stats.in_scope + f->stats.overflow + f->stats.negative + f->stats.positive +
           f->stats.merge_shed;
}

static void benign(struct fixture *f, unsigned client, int64_t ts_us)
{
    for (unsigned i = 0; i < N_BENIGN_NAMES; i++) {
        char name[64];
        snprintf(name, sizeof name, "benign%u.example.com.", i);
        ask(f, 0x0a000000 + client, name, 1, ts_us, PK_ANSWER_DATA);
    }
}

/* n_clients 0: an outside address of its own for each twenty names. */
static void flood(struct fixture *f, unsigned n_clients, unsigned n_names)
{
    size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
    const int64_t second_us = INT64_C(20000000);
    for (unsigned i = 0; i < N_BENIGN; i++) {
        benign(f, i, INT64_C(10000000)); /* known from the window before */
    }
    pk_merge_tick(f->merge, second_us, false);
    assert_int_equal(f->n_benign, N_BENIGN * N_BENIGN_NAMES);
    f->n_benign = f->n_activity_rows = f->n_activity = 0;
    for (unsigned i = 0, k = 0; i < n_names; i++) {
        char name[64];
        snprintf(name, sizeof name, "x%07u.example.com.", i);
        uint32_t client = n_clients ? 0x0a090000 + i % n_clients : 0xcb000000 + i / 20;
        ask(f, client, name, 1, second_us + 1, i % 4 ? PK_ANSWER_NXDOMAIN : PK_ANSWER_NONE);
        if (i % (n_names / N_BENIGN) == 0 && k < N_BENIGN) {
            benign(f, k++, second_us + 2);
        }
    }
    pk_merge_tick(f->merge, second_us, true);
    assert_true(mallinfo2().uordblks + mallinfo2().hblkhd <= before + pk_merge_bound_bytes());
    assert_int_equal(f->n_benign, N_BENIGN * N_BENIGN_NAMES);
    assert_true(f->n_activity_rows <= WINDOW_ROWS);
    assert_int_equal(f->stats.merge_shed, 0);
    assert_int_equal(f->n_counts[PK_CLIENT_OVERFLOW], f->stats.overflow);
    assert_int_equal(f->n_activity + f->stats.overflow, n_names + N_BENIGN * N_BENIGN_NAMES);
    assert_int_equal(balance(f), n_names + 2 * N_BENIGN * N_BENIGN_NAMES);
    assert_int_equal(f->negative, f->stats.overflow); /* nothing of the benign is in it */
    assert_true(f->unanswered > f->negative / 5 && f->unanswered < f->negative / 3);
    assert_string_equal(f->zone, "example.com.");
    double distinct = pk_sketch_estimate(&f->overflow);
    assert_true(distinct > 0.8 * (double)f->stats.overflow); /* three standard errors */
    assert_true(distinct < 1.2 * (double)f->stats.overflow);
}

static void a_sweep_by_four_clients_stays_a_sweep_of_its_size(void **state)
{
    struct fixture *f = *state;
    flood(f, 4, N_FLOOD);
    assert_int_equal(f->n_nobody, 0); /* and it is known whose */
}

static void a_sweep_by_sixty_known_clients_leaves_the_others_their_rows(void **state)
{
    flood(*state, 60, N_SMALL_FLOOD);
}

static void a_sweep_by_a_crowd_of_strangers_leaves_the_others_their_rows(void **state)
{
    struct fixture *f = *state;
    flood(f, 0, N_SMALL_FLOOD); /* 50,000 of them */
}

static void clients_without_end_share_one_row(void **state)
{
    struct fixture *f = *state;
    f->options.window_rows = 1000;
    pk_merge_change(f->merge, &f->options);
    for (unsigned i = 0; i < 5000; i++) {
        char name[64];
        snprintf(name, sizeof name, "x%u.example.net.", i);
        ask(f, 0xcb000000 + i, name, 1, 1000, PK_ANSWER_DATA);
    }
    for (unsigned i = 0; i < 10; i++) {
        ask(f, 0xcb000000, "x.example.net.", 1, 1000, PK_ANSWER_DATA); /* has its row */
    }
    pk_merge_tick(f->merge, 1000, true);
    assert_int_equal(f->n_counts[PK_CLIENT_OUT_OF_SCOPE], 5010);
    assert_int_equal(f->n_nobody, 4750);
}

static void negatives_out_of_scope_fold_to_their_domain(void **state)
{
    struct fixture *f = *state;
    const unsigned n = 400000;
    for (unsigned i = 0; i < n; i++) {
        char name[64];
        snprintf(name, sizeof name, "x%07u.example.net.", i);
        ask(f, 0x0a000001, name, 1, 1000, PK_ANSWER_NXDOMAIN);
    }
    pk_merge_tick(f->merge, 1000, true);
    assert_int_equal(f->n_negative, n);
    assert_int_equal(f->n_wildcard, n - WINDOW_ROWS);
    assert_int_equal(f->stats.folded, n - WINDOW_ROWS);
    assert_true(f->n_negative_rows < WINDOW_ROWS + 20);
    assert_string_equal(f->last_name, "*.example.net.");
    assert_int_equal(balance(f), n);
    /* Registrable domains without end fold to the root's wildcard. */
    f->n_negative_rows = 0;
    for (unsigned i = 0; i < n; i++) {
        char name[64];
        snprintf(name, sizeof name, "www.x%07u.net.", i);
        ask(f, 0x0a000001, name, 1, 10001000, PK_ANSWER_NXDOMAIN);
    }
    pk_merge_tick(f->merge, 10001000, true);
    assert_int_equal(f->n_negative, 2 * n);
    assert_true(f->n_negative_rows < WINDOW_ROWS + WINDOW_ROWS / 4 + 20);
    assert_string_equal(f->last_name, "*.");
}

static void put_rrset(struct fixture *f, const char *owner_text, uint16_t type, unsigned number)
{
    struct pk_name owner;
    const uint8_t rdata[4] = {1, 2, (uint8_t)(number >> 8), (uint8_t)number};
    struct pk_slice one = {rdata, sizeof rdata};
    assert_int_equal(pk_name_from_text(owner_text, &owner), PK_OK);
    struct pk_rrset row = {.owner = {owner.wire, owner.len},
        .bailiwick = {owner.wire, owner.len},
        .type = type,
        .class = PK_CLASS_IN,
        .rdata = &one,
        .n_rdata = 1,
        .count = 1,
        .first_us = 1000,
        .last_us = 1000};
    (void)pk_merge_rrset(f->merge, &row);
}

static void rrsets_above_the_limit_are_shed_and_counted(void **state)
{
    struct fixture *f = *state;
    f->options.window_rows = 100;
    pk_merge_change(f->merge, &f->options);
    for (unsigned i = 0; i < 200; i++) {
        put_rrset(f, "one.example.net.", 1, i); /* an address after the other */
    }
    for (unsigned i = 0; i < 50; i++) {
        put_rrset(f, "one.example.net.", 1, 7);
        put_rrset(f, "other.example.net.", 1, i);
    }
    pk_merge_tick(f->merge, 1000, true);
    assert_int_equal(f->n_rrsets, 100);
    assert_int_equal(f->stats.rrsets_shed, 150);
}

static void out_of_scope_a_client_is_counts_and_a_sketch(void **state)
{
    struct fixture *f = *state;
    ask(f, 0x0a000001, "a.example.net.", 1, 1000, PK_ANSWER_DATA);
    ask(f, 0x0a000001, "a.example.net.", 1, 2000, PK_ANSWER_NXDOMAIN);
    ask(f, 0x0a000001, "b.example.net.", 12, 3000, PK_ANSWER_NONE);
    pk_merge_tick(f->merge, 3000, true);
    assert_int_equal(f->n_activity_rows, 0);
    assert_int_equal(f->n_counts[PK_CLIENT_OUT_OF_SCOPE], 3);
    assert_int_equal(f->negative, 2);
    assert_int_equal(f->unanswered, 1);
    assert_int_equal(f->ptr, 1);
    assert_int_equal(f->last.kind, PK_CLIENT_PSEUDONYM);
    assert_int_equal(f->last.addr.family, 0);
    assert_int_equal(f->key_period, 1);
    assert_int_equal(f->stats.negative + f->stats.positive, 3);
}

static void without_a_key_inside_clients_have_no_row_of_their_own(void **state)
{
    struct fixture *f = *state;
    f->options.client_key = NULL;
    pk_merge_change(f->merge, &f->options);
    ask(f, 0x0a000001, "a.example.net.", 1, 1000, PK_ANSWER_DATA);
    ask(f, 0x0a000002, "www.example.com.", 1, 1000, PK_ANSWER_DATA);
    pk_merge_tick(f->merge, 3000, true);
    assert_int_equal(f->n_nobody, 1);
    assert_int_equal(f->n_activity, 1);
    assert_int_equal(f->last.kind, PK_CLIENT_NONE);
    assert_int_equal(f->key_period, 0);
}

static void the_first_day_of_a_period_links_both_pseudonyms(void **state)
{
    struct fixture *f = *state;
    const int64_t change_us = 18090 * day_us;
    ask(f, 0x0a000001, "www.example.com.", 1, change_us - 20000000, PK_ANSWER_DATA);
    pk_merge_tick(f->merge, change_us, true);
    struct pk_client before = f->last;
    assert_int_equal(f->key_period, 18000);
    assert_int_equal(f->n_aliases, 0);
    for (unsigned i = 0; i < 30; i++) { /* five minutes: said once */
        ask(f, 0x0a000001, "www.example.com.", 1, change_us + i * INT64_C(10000000),
            PK_ANSWER_DATA);
    }
    pk_merge_tick(f->merge, change_us, true);
    assert_int_equal(f->key_period, 18090);
    assert_int_equal(f->n_aliases, 1);
    assert_memory_equal(f->last_former.pseudonym, before.pseudonym, PK_PSEUDONYM_BYTES);
    assert_memory_not_equal(f->last.pseudonym, before.pseudonym, PK_PSEUDONYM_BYTES);
    ask(f, 0x0a000001, "a.example.net.", 1, change_us + day_us / 2, PK_ANSWER_DATA);
    pk_merge_tick(f->merge, change_us, true);
    assert_int_equal(f->n_aliases, 2); /* another hour */
    ask(f, 0x0a000001, "a.example.net.", 1, change_us + day_us, PK_ANSWER_DATA);
    pk_merge_tick(f->merge, change_us, true);
    assert_int_equal(f->n_aliases, 2);
}

static void reverse_names_of_foreign_networks_do_not_say_who_was_looked_up(void **state)
{
    struct fixture *f = *state;
    static const char *const cut[][2] = {
        {"9.2.0.192.in-addr.arpa.", "2.0.192.in-addr.arpa."},
        {"2.0.192.in-addr.arpa.", "2.0.192.in-addr.arpa."},
        {"b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa.",
            "1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa."},
    };
    for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) {
        ask(f, 0x0a000001, cut[i][0], 12, 1000, PK_ANSWER_NXDOMAIN);
        pk_merge_tick(f->merge, 1000, true);
        assert_string_equal(f->last_name, cut[i][1]);
    }
    put_rrset(f, "9.2.0.192.in-addr.arpa.", 12, 0);
    assert_int_equal(f->stats.rrsets_withheld, 1);
    put_rrset(f, "9.100.51.198.in-addr.arpa.", 12, 0); /* own network */
    put_rrset(f, "2.0.192.in-addr.arpa.", 2, 0);       /* a zone, nobody's address */
    pk_merge_tick(f->merge, 1000, true);
    assert_int_equal(f->n_rrsets, 2);
    assert_int_equal(f->stats.rrsets_withheld, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_sweep_by_four_clients_stays_a_sweep_of_its_size),
        TEST(a_sweep_by_sixty_known_clients_leaves_the_others_their_rows),
        TEST(a_sweep_by_a_crowd_of_strangers_leaves_the_others_their_rows),
        TEST(clients_without_end_share_one_row),
        TEST(negatives_out_of_scope_fold_to_their_domain),
        TEST(rrsets_above_the_limit_are_shed_and_counted),
        TEST(out_of_scope_a_client_is_counts_and_a_sketch),
        TEST(without_a_key_inside_clients_have_no_row_of_their_own),
        TEST(the_first_day_of_a_period_links_both_pseudonyms),
        TEST(reverse_names_of_foreign_networks_do_not_say_who_was_looked_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Merging by window: equal observations become one row, and a flood costs rows, never sight. */
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
#include "sensor/window/merge.h"

enum {
    WINDOW_MS = 60000,
    MAX_CLIENTS = 8,
};

struct fixture {
    struct pk_stats stats;
    struct pk_merge *merge;
    struct row_sink *rows;
    uint64_t n_windows, n_ends, n_activity, n_transactions, n_rrsets, n_sightings, n_negatives;
    int64_t last_start_us;
    bool is_inside;
    struct pk_client clients[MAX_CLIENTS]; /* of the first rows */
};

static void on_window(void *arg, const struct pk_batch_info *info)
{
    struct fixture *f = arg;
    assert_false(f->is_inside);
    f->is_inside = true;
    f->n_windows++;
    f->last_start_us = info->window_start_us;
}

static void on_activity(void *arg, const struct pk_activity *row)
{
    struct fixture *f = arg;
    struct pk_name name;
    assert_true(f->is_inside);
    assert_int_equal(pk_name_from_wire(row->name.data, row->name.len, &name), PK_OK);
    f->n_activity++;
    f->n_transactions += row->count;
    if (f->n_activity <= MAX_CLIENTS) {
        f->clients[f->n_activity - 1] = row->client;
    }
}

static void on_rrset(void *arg, const struct pk_rrset *row)
{
    struct fixture *f = arg;
    struct pk_name name;
    assert_true(f->is_inside);
    assert_int_equal(pk_name_from_wire(row->owner.data, row->owner.len, &name), PK_OK);
    assert_int_equal(row->n_rdata, 1);
    assert_int_equal(row->rdata[0].len, 4);
    f->n_rrsets++;
    f->n_sightings += row->count;
}

static void on_negative(void *arg, const struct pk_negative *row)
{
    struct fixture *f = arg;
    f->n_negatives += row->count;
}

static void on_client(void *arg, const struct pk_client_count *row)
{
    (void)arg;
    (void)row;
}

static void on_window_end(void *arg, bool is_last)
{
    (void)is_last;
    struct fixture *f = arg;
    assert_true(f->is_inside);
    f->is_inside = false;
    f->n_ends++;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    pk_hash_set_key((const uint8_t[16]){1});
    const struct row_calls calls = {
        f, on_window, on_activity, on_rrset, on_negative, on_client, on_window_end};
    f->rows = row_sink_new(&calls);
    const struct pk_merge_sink sink = row_sink_of(f->rows);
    struct pk_merge_options options = {.window_ms = WINDOW_MS};
    assert_int_equal(pk_merge_new(&options, &f->stats, &sink, &f->merge), PK_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(f->n_windows, f->n_ends);
    pk_merge_free(f->merge);
    row_sink_free(f->rows);
    free(f);
    return 0;
}

static void unanswered(struct fixture *f, unsigned number, int64_t ts_us)
{
    static const uint8_t client[4] = {10, 0, 0, 1}, server[4] = {192, 0, 2, 53};
    char text[64];
    struct pk_transaction transaction = {
        .outcome = PK_OUTCOME_UNANSWERED, .ended_us = ts_us + 5000000};
    transaction.query.ts_us = ts_us;
    transaction.query.client = pk_addr_v4(client);
    transaction.query.server = pk_addr_v4(server);
    transaction.query.has_question = true;
    transaction.query.question.type = 1;
    transaction.query.question.class = PK_CLASS_IN;
    snprintf(text, sizeof text, "n%u.example.com.", number);
    assert_int_equal(pk_name_from_text(text, &transaction.query.question.name), PK_OK);
    pk_merge_transaction(f->merge, &transaction, &(struct pk_answer){.kind = PK_ANSWER_NONE});
}

/* A resolver's question for somebody; subnet NULL: it does not say for whom. */
static void asked_for(struct fixture *f, const char *resolver, const char *subnet)
{
    struct pk_transaction transaction = {.outcome = PK_OUTCOME_UNANSWERED, .ended_us = 5001000};
    transaction.query.ts_us = 1000;
    transaction.query.has_question = true;
    transaction.query.question.type = 1;
    transaction.query.question.class = PK_CLASS_IN;
    assert_true(pk_addr_parse(resolver, &transaction.query.client));
    assert_true(!subnet || pk_prefix_parse(subnet, &transaction.query.subnet));
    assert_int_equal(pk_name_from_text("a.example.com.", &transaction.query.question.name), PK_OK);
    pk_merge_transaction(f->merge, &transaction, &(struct pk_answer){.kind = PK_ANSWER_NONE});
}

static void rrset(struct fixture *f, unsigned number, int64_t ts_us)
{
    static const uint8_t owner[] = {1, 'a', 0}, root[] = {0};
    const uint8_t addr[4] = {10, (uint8_t)(number >> 16), (uint8_t)(number >> 8), (uint8_t)number};
    struct pk_slice rdata = {addr, sizeof addr};
    struct pk_rrset row = {
        .owner = {owner, sizeof owner},
        .bailiwick = {root, sizeof root},
        .type = 1,
        .class = PK_CLASS_IN,
        .rdata = &rdata,
        .n_rdata = 1,
        .count = 1,
        .first_us = ts_us,
        .last_us = ts_us,
    };
    pk_merge_rrset(f->merge, &row);
}

static void equal_observations_are_one_row(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 10; i++) {
        unanswered(f, i % 2, 1000);
        rrset(f, i % 5, 1000);
    }
    pk_merge_tick(f->merge, 1000, true);
    assert_int_equal(f->n_windows, 1);
    assert_int_equal(f->n_activity, 2);
    assert_int_equal(f->n_transactions, 10);
    assert_int_equal(f->n_rrsets, 5);
    assert_int_equal(f->n_sightings, 10);
}

static void a_window_ends_with_its_time(void **state)
{
    struct fixture *f = *state;
    int64_t window_us = WINDOW_MS * INT64_C(1000);
    rrset(f, 1, 5 * window_us + 17);
    pk_merge_tick(f->merge, 6 * window_us - 1, false);
    assert_int_equal(f->n_windows, 0);
    pk_merge_tick(f->merge, 6 * window_us, false);
    assert_int_equal(f->n_windows, 1);
    assert_int_equal(f->last_start_us, 5 * window_us);
    pk_merge_tick(f->merge, 7 * window_us, true);
    assert_int_equal(f->n_windows, 2); /* nothing came: that is said too */
    assert_int_equal(f->n_rrsets, 1);
    pk_merge_tick(f->merge, 9 * window_us, true);
    assert_int_equal(f->n_windows, 2);
}

static void a_flood_gives_the_window_out_in_parts(void **state)
{
    struct fixture *f = *state;
    const unsigned n = 2 * PK_MERGE_MAX_ROWS + 10;
    for (unsigned i = 0; i < n; i++) {
        unanswered(f, i, 1000);
        rrset(f, i, 1000);
    }
    pk_merge_tick(f->merge, 1000, true);
    assert_int_equal(f->n_transactions, n);
    assert_int_equal(f->n_sightings, n);
    assert_int_equal(f->stats.merge_shed, 0);
    assert_int_equal(f->stats.rrsets_shed, 0);
    assert_true(f->n_windows >= 3);
    assert_int_equal(f->last_start_us, 0);
}

static void the_row_that_overflowed_is_given_out_at_the_end(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < PK_MERGE_MAX_ROWS + 1; i++) {
        unanswered(f, i, 1000);
    }
    assert_int_equal(f->n_transactions, PK_MERGE_MAX_ROWS);
    pk_merge_tick(f->merge, 1000, true);
    assert_int_equal(f->n_transactions, PK_MERGE_MAX_ROWS + 1);
}

static void a_resolver_that_tells_for_whom_it_asks_is_as_many_clients(void **state)
{
    struct fixture *f = *state;
    static const char *const rows[] = {"", "198.51.100.0/24", "198.51.0.0/20", "2001:db8:7::/48"};
    asked_for(f, "192.0.2.8", NULL);
    asked_for(f, "192.0.2.8", "198.51.100.0/24");
    asked_for(f, "192.0.2.8", "198.51.100.77/32"); /* no more of it than its network */
    asked_for(f, "192.0.2.8", "198.51.0.0/20");
    asked_for(f, "192.0.2.8", NULL);
    asked_for(f, "192.0.2.8", "2001:db8:7:8::/64");
    asked_for(f, "192.0.2.8", "198.51.100.0/24");
    asked_for(f, "192.0.2.8", "192.168.7.0/24"); /* somebody's inside */
    asked_for(f, "10.0.0.8", "198.51.100.0/24"); /* of an inside client nothing is told */
    pk_merge_tick(f->merge, 1000, true);
    assert_int_equal(f->n_transactions, 9);
    assert_int_equal(f->n_activity, 5);
    unsigned n_of[4] = {0}, n_inside = 0;
    for (unsigned i = 0; i < f->n_activity; i++) {
        char text[PK_PREFIX_TEXT_SIZE] = "";
        const struct pk_client *client = &f->clients[i];
        if (client->prefix.addr.family != 0) {
            pk_prefix_text(&client->prefix, text);
        }
        n_inside += client->kind == PK_CLIENT_INSIDE && text[0] == 0;
        for (unsigned k = 0; k < 4; k++) {
            n_of[k] += client->kind == PK_CLIENT_OUTSIDE && strcmp(text, rows[k]) == 0;
        }
    }
    assert_int_equal(n_inside, 1);
    assert_int_equal(n_of[0] * n_of[1] * n_of[2] * n_of[3], 1);
    assert_int_equal(f->stats.subnets_shed, 0);
}

static void subnets_without_end_are_shed_and_their_rows_stay(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 20000; i++) {
        char subnet[PK_PREFIX_TEXT_SIZE];
        snprintf(subnet, sizeof subnet, "20.%u.%u.0/24", i / 256, i % 256);
        asked_for(f, "192.0.2.8", subnet);
    }
    pk_merge_tick(f->merge, 1000, true);
    assert_int_equal(f->n_transactions, 20000);
    assert_int_equal(f->stats.subnets_shed, 20000 - 16384);
    assert_int_equal(f->n_activity, 16384 + 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(equal_observations_are_one_row),
        TEST(a_window_ends_with_its_time),
        TEST(a_flood_gives_the_window_out_in_parts),
        TEST(the_row_that_overflowed_is_given_out_at_the_end),
        TEST(a_resolver_that_tells_for_whom_it_asks_is_as_many_clients),
        TEST(subnets_without_end_are_shed_and_their_rows_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

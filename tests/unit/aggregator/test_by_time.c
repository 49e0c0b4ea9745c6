/* Rows of overlapping batches in the order of their times: against a sort of them all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "picket/limits.h"

#include "by_time.h"

enum {
    WINDOW_US = 10000000,
    N_BATCHES = 40,
    MAX_ROWS = 20,
    MAX_GIVEN = N_BATCHES * MAX_ROWS
};

struct given {
    int64_t time_us[MAX_GIVEN];
    int which[MAX_GIVEN]; /* the batch's place of adding times MAX_ROWS, and the row's */
    size_t n, n_most;     /* n_most: refuse more */
};

static pk_err give(void *arg, const struct pk_batch *batch, const void *about, size_t row)
{
    struct given *given = arg;
    struct pk_activity activity;
    if (given->n == given->n_most) {
        return PK_ERR_NOMEM;
    }
    pk_batch_activity(batch, row, &activity);
    given->time_us[given->n] = activity.first_us;
    given->which[given->n++] = *(const int *)about * MAX_ROWS + (int)row;
    return PK_OK;
}

static struct pk_batch *make(int64_t start_us, const int64_t *times_us, size_t n)
{
    struct pk_batch_info info = {
        .kind = PK_BATCH_ACTIVITY, .window_start_us = start_us, .window_ms = WINDOW_US / 1000};
    struct pk_batch_builder *builder;
    struct pk_bytes body;
    struct pk_batch *batch;
    struct pk_batch_fault fault;
    int64_t first_us, last_us;
    pk_bytes_init(&body, 1 << 20);
    assert_int_equal(pk_batch_builder_new(MAX_ROWS, &builder), PK_OK);
    pk_batch_builder_begin(builder, &info);
    for (size_t i = 0; i < n; i++) {
        struct pk_activity row = {.client = {.kind = PK_CLIENT_OUTSIDE,
                                      .addr = pk_addr_v4((const uint8_t[]){192, 0, 2, 1})},
            .name = {(const uint8_t *)"\1a", 3},
            .first_us = times_us[i],
            .count = 1,
            .signature = {.qtype = 1, .qclass = 1}};
        assert_int_equal(pk_batch_add_activity(builder, &row), PK_OK);
    }
    assert_int_equal(pk_batch_encode(builder, &body, &first_us, &last_us), PK_OK);
    assert_int_equal(pk_batch_decode(body.data, body.len, &batch, &fault), PK_OK);
    pk_bytes_done(&body);
    pk_batch_builder_free(builder);
    return batch;
}

/* Three sites' windows of ten seconds, each with rows anywhere in it; times repeat. */
static size_t feed(struct pk_by_time *rows, int numbers[N_BATCHES], pk_err *out_err)
{
    uint64_t dice = 7;
    size_t n = 0;
    pk_err err = PK_OK;
    for (int b = 0; b < N_BATCHES && err == PK_OK; b++) {
        int64_t times_us[MAX_ROWS], start_us = (int64_t)(b / 3) * WINDOW_US;
        size_t n_rows = 1 + (size_t)b * 7 % MAX_ROWS;
        for (size_t i = 0; i < n_rows; i++) {
            dice = dice * 6364136223846793005u + 1442695040888963407u;
            times_us[i] = start_us + (int64_t)((dice >> 33) % 10) * (WINDOW_US / 10);
        }
        numbers[b] = b;
        err = b % 3 == 0 ? pk_by_time_give(rows, start_us) : PK_OK;
        if (err == PK_OK) {
            err = pk_by_time_add(rows, make(start_us, times_us, n_rows), &numbers[b]);
            n += n_rows;
        }
    }
    *out_err = err == PK_OK ? pk_by_time_give(rows, INT64_MAX) : err;
    return n;
}

static void rows_come_by_time_and_ties_in_the_order_of_adding(void **state)
{
    (void)state;
    static struct given given;
    struct pk_by_time *rows;
    int numbers[N_BATCHES];
    pk_err err;
    given = (struct given){.n_most = MAX_GIVEN};
    assert_int_equal(pk_by_time_new(give, &given, &rows), PK_OK);
    size_t n = feed(rows, numbers, &err);
    assert_int_equal(err, PK_OK);
    assert_int_equal(given.n, n);
    for (size_t i = 1; i < n; i++) {
        assert_true(
            given.time_us[i - 1] < given.time_us[i] ||
            (given.time_us[i - 1] == given.time_us[i] && given.which[i - 1] < given.which[i]));
    }
    pk_by_time_free(rows);
}

static void a_refusal_ends_the_giving_and_nothing_is_kept(void **state)
{
    (void)state;
    static struct given given;
    for (size_t most = 0; most < 60; most += 7) {
        struct pk_by_time *rows;
        int numbers[N_BATCHES];
        pk_err err;
        given = (struct given){.n_most = most};
        assert_int_equal(pk_by_time_new(give, &given, &rows), PK_OK);
        (void)feed(rows, numbers, &err);
        assert_int_equal(err, PK_ERR_NOMEM);
        assert_int_equal(given.n, most);
        pk_by_time_free(rows);
    }
    pk_by_time_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_come_by_time_and_ties_in_the_order_of_adding),
        cmocka_unit_test(a_refusal_ends_the_giving_and_nothing_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

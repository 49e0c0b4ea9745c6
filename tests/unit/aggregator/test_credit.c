/* Fair shares of credit, order of commits, offences: by seeded runs against simple rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "picket/hash.h"

#include "fair.h"
#include "offence.h"
#include "session.h"

enum {
    MIB = 1 << 20,
    BUDGET = 64 * MIB,
    BUDGET_BATCHES = 512,
    BATCH = 128 << 10,
};

static struct pk_session *open_session(
    struct pk_sessions *sessions, uint32_t sensor, uint32_t tenant)
{
    uint8_t routing[PK_ROUTING_ID_BYTES] = {
        0, (uint8_t)(sensor >> 16), (uint8_t)(sensor >> 8), (uint8_t)sensor, 1};
    struct pk_session replaced;
    struct pk_session *session =
        pk_sessions_open(sessions, sensor, tenant, sensor + 1, routing, &replaced);
    assert_non_null(session);
    session->queued = 1;
    pk_session_touch(sessions, session, 1);
    return session;
}

static void a_session_begins_with_one_batch_and_doubles(void **state)
{
    (void)state;
    struct pk_sessions sessions;
    assert_int_equal(pk_sessions_init(&sessions, BUDGET, BUDGET_BATCHES), PK_OK);
    struct pk_session *session = open_session(&sessions, 1, 1);
    uint32_t wanted[] = {1, 2, 4, 8, 8};
    assert_int_equal(pk_session_take(&sessions, session, BATCH), PK_SESSION_BEYOND);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        assert_int_equal(pk_session_window(&sessions, session).batches, wanted[i]);
        for (uint32_t k = 0; k < wanted[i]; k++) {
            assert_int_equal(pk_session_take(&sessions, session, BATCH), PK_SESSION_ROOM);
        }
        assert_int_equal(pk_session_take(&sessions, session, BATCH), PK_SESSION_BEYOND);
        for (uint32_t k = 0; k < wanted[i]; k++) {
            pk_sessions_give_back(&sessions, session, 1, BATCH);
        }
        pk_session_acked(session);
    }
    assert_int_equal(sessions.outstanding_bytes, 0);
    pk_sessions_done(&sessions);
}

/* 200 sensors of a loud tenant send all they may while nothing is committed; then the one of the quiet tenant comes. */
static void a_loud_tenant_leaves_room_for_a_quiet_one(void **state)
{
    (void)state;
    struct pk_sessions sessions;
    assert_int_equal(pk_sessions_init(&sessions, BUDGET, BUDGET_BATCHES), PK_OK);
    struct pk_session *quiet = open_session(&sessions, 1000, 2);
    uint32_t loud_batches = 0;
    for (int round = 0; round < 6; round++) {
        for (uint32_t i = 0; i < 200; i++) {
            struct pk_session *session =
                round == 0 ? open_session(&sessions, i + 1, 1) : pk_sessions_find(&sessions, i + 1);
            struct pk_window window = pk_session_window(&sessions, session);
            while (session->outstanding_batches < window.batches &&
                   pk_session_take(&sessions, session, BATCH) == PK_SESSION_ROOM) {
                loud_batches++;
            }
            pk_session_acked(session);
        }
    }
    assert_true(loud_batches >= 200);
    assert_true(sessions.outstanding_bytes <= BUDGET * 7ULL / 8);
    uint32_t quiet_batches = 0;
    for (int round = 0; round < 4; round++) {
        struct pk_window window = pk_session_window(&sessions, quiet);
        assert_true(window.batches > 0);
        while (quiet->outstanding_batches < window.batches) {
            assert_int_equal(pk_session_take(&sessions, quiet, BATCH), PK_SESSION_ROOM);
            quiet_batches++;
        }
        pk_session_acked(quiet);
    }
    assert_int_equal(quiet_batches, PK_CREDIT_BATCHES);
    pk_sessions_done(&sessions);
}

/* Coming back again and again must not make room: what is under way is on the account until the core has answered. */
static void a_new_session_does_not_clear_the_account(void **state)
{
    (void)state;
    struct pk_sessions sessions;
    assert_int_equal(pk_sessions_init(&sessions, BUDGET, BUDGET_BATCHES), PK_OK);
    uint64_t taken = 0;
    for (int i = 0; i < 1000; i++) {
        struct pk_session *session = open_session(&sessions, 7, 1);
        if (pk_session_window(&sessions, session).batches > 0 &&
            pk_session_take(&sessions, session, MIB) == PK_SESSION_ROOM) {
            taken += MIB;
        }
        if (i % 3 == 0) {
            pk_sessions_close(&sessions, session);
        }
    }
    assert_true(taken <= BUDGET);
    assert_int_equal(sessions.outstanding_bytes, taken);
    for (uint64_t left = taken; left > 0; left -= MIB) {
        pk_sessions_give_back(&sessions, NULL, 1, MIB);
    }
    assert_int_equal(sessions.outstanding_bytes, 0);
    assert_int_equal(sessions.outstanding_batches, 0);
    pk_sessions_done(&sessions);
}

static void a_pause_closes_every_window_and_all_open_again(void **state)
{
    (void)state;
    struct pk_sessions sessions;
    assert_int_equal(pk_sessions_init(&sessions, BUDGET, BUDGET_BATCHES), PK_OK);
    for (uint32_t i = 1; i <= 50; i++) {
        (void)open_session(&sessions, i, i % 5 + 1);
    }
    sessions.is_paused = true;
    for (size_t i = 0; i < sessions.n; i++) {
        assert_int_equal(pk_session_window(&sessions, &sessions.slots[i]).batches, 0);
    }
    assert_int_equal(sessions.n_parked, 50);
    assert_null(pk_sessions_unpark(&sessions));
    pk_sessions_close(&sessions, pk_sessions_find(&sessions, 13));
    sessions.is_paused = false;
    for (struct pk_session *session; (session = pk_sessions_unpark(&sessions)) != NULL;) {
        assert_int_not_equal(pk_session_window(&sessions, session).batches, 0);
    }
    assert_int_equal(sessions.n_parked, 0);
    pk_sessions_done(&sessions);
}

/* --- order of commits --- */

struct item {
    struct pk_fair_item item;
    uint32_t number;
};

static void a_quiet_tenant_waits_for_a_turn_not_for_a_queue(void **state)
{
    (void)state;
    struct pk_fair fair;
    enum {
        N = 4000,
        LOUD = 4
    };
    struct item *items = calloc(N + 1, sizeof *items);
    assert_int_equal(pk_fair_init(&fair, 16, MIB), PK_OK);
    for (uint32_t i = 0; i < N; i++) {
        items[i] = (struct item){.item = {.tenant = i % LOUD, .bytes = BATCH}, .number = i};
        assert_int_equal(pk_fair_push(&fair, &items[i].item), PK_OK);
    }
    items[N] = (struct item){.item = {.tenant = 9, .bytes = BATCH}, .number = N};
    assert_int_equal(pk_fair_push(&fair, &items[N].item), PK_OK);
    uint32_t last[16] = {0}, place = 0, popped = 0;
    while (fair.n > 0) {
        struct pk_fair_item *run[64];
        size_t n = pk_fair_front(&fair, run, 64);
        assert_true(n >= 1);
        for (size_t i = 0; i < n; i++) {
            struct item *item = (struct item *)pk_fair_pop(&fair);
            assert_ptr_equal(item, run[i]);
            assert_true(item->number >= last[item->item.tenant]); /* first in, first out */
            last[item->item.tenant] = item->number;
            place = item->number == N ? popped : place;
            popped++;
        }
    }
    assert_int_equal(popped, N + 1);
    assert_true(place <= (LOUD + 1) * (MIB / BATCH + 1)); /* one turn of each of the others */
    free(items);
    pk_fair_done(&fair);
}

static void seeded_orders_lose_nothing_and_share_equally(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 200; seed++) {
        struct pk_fair fair;
        unsigned dice = seed;
        enum {
            N = 600,
            TENANTS = 5
        };
        struct item items[N] = {0};
        uint64_t bytes[TENANTS] = {0}, waiting[TENANTS] = {0};
        uint32_t in = 0, out = 0;
        assert_int_equal(pk_fair_init(&fair, TENANTS, MIB), PK_OK);
        while (out < N) {
            unsigned burst = in < N ? (unsigned)rand_r(&dice) % 20 : 0;
            for (; burst > 0 && in < N; burst--, in++) {
                items[in].item.tenant = (uint32_t)rand_r(&dice) % TENANTS;
                items[in].item.bytes = 1 + (uint32_t)rand_r(&dice) % MIB;
                assert_int_equal(pk_fair_push(&fair, &items[in].item), PK_OK);
                waiting[items[in].item.tenant]++;
            }
            for (unsigned n = (unsigned)rand_r(&dice) % 8; n > 0 && fair.n > 0; n--, out++) {
                const struct pk_fair_item *item = pk_fair_pop(&fair);
                bytes[item->tenant] += item->bytes;
                waiting[item->tenant]--;
            }
        }
        for (size_t i = 0; i < TENANTS; i++) {
            assert_int_equal(waiting[i], 0);
            assert_true(bytes[i] > 0);
        }
        assert_int_equal(fair.bytes, 0);
        pk_fair_done(&fair);
    }
}

/* --- offences --- */

static void ten_strikes_in_ten_minutes_are_out(void **state)
{
    (void)state;
    struct pk_offences offences;
    uint32_t strikes;
    assert_int_equal(pk_offences_init(&offences), PK_OK);
    for (int64_t i = 0; i < 100; i++) { /* one in two minutes: never */
        assert_false(pk_offence_strike(&offences, 1, i * 120000, false, &strikes));
    }
    for (int64_t i = 0; i < 9; i++) {
        assert_false(pk_offence_strike(&offences, 2, 1000 + i, false, &strikes));
    }
    assert_true(pk_offence_strike(&offences, 2, 2000, false, &strikes));
    assert_int_equal(strikes, 10);
    assert_false(pk_offence_strike(&offences, 2, 2001, false, &strikes));
    assert_true(pk_offence_strike(&offences, 3, 2001, true, &strikes));
    pk_offences_done(&offences);
}

static void only_machines_that_return_are_clones(void **state)
{
    (void)state;
    struct pk_offences offences;
    uint8_t a[PK_BOOT_ID_BYTES] = {1}, b[PK_BOOT_ID_BYTES] = {2};
    assert_int_equal(pk_offences_init(&offences), PK_OK);
    const char *other;
    for (uint8_t i = 0; i < 200; i++) { /* a sensor that crashes and starts, each second */
        uint8_t boot[PK_BOOT_ID_BYTES] = {9, i};
        for (int again = 0; again < 2; again++) { /* and reconnects */
            assert_int_equal(
                pk_offence_flip(&offences, 1, boot, "x", i * 1000 + again * 500, &other),
                PK_OFFENCE_ALONE);
        }
    }
    enum pk_offence_turn turn = PK_OFFENCE_ALONE;
    int n = 0, n_cloned = 0;
    for (; n < 40 && turn != PK_OFFENCE_STORM; n++) {
        turn = pk_offence_flip(
            &offences, 2, n % 2 ? a : b, n % 2 ? "a" : "b", 1000 + n * 1000, &other);
        n_cloned += turn == PK_OFFENCE_CLONED;
        assert_string_equal(other, n == 0 ? "" : n % 2 ? "b" : "a");
        assert_true(
            n >= 3 ||
            turn ==
                PK_OFFENCE_ALONE); /* one return may be a copy that was started by mistake and ended */
    }
    assert_true(turn == PK_OFFENCE_STORM && n <= 2 + PK_OFFENCE_FLIPS + 1);
    assert_int_equal(n_cloned, PK_OFFENCE_FLIPS - 1);
    for (int64_t i = 0; i < 40;
         i++) { /* six a minute are not more than six: an alarm, but nobody is kept out */
        turn = pk_offence_flip(&offences, 3, i % 2 ? a : b, "x", i * 10000, &other);
        assert_int_equal(turn, i < 3 ? PK_OFFENCE_ALONE : PK_OFFENCE_CLONED);
    }
    for (int64_t i = 0; i < 40; i++) { /* a machine that is the other's spare, a week each */
        turn = pk_offence_flip(&offences, 4, i % 2 ? a : b, "x", i * 86400000, &other);
        assert_int_equal(turn, PK_OFFENCE_ALONE);
    }
    pk_offences_done(&offences);
}

static void a_full_table_forgets_the_longest_quiet(void **state)
{
    (void)state;
    struct pk_offences offences;
    uint32_t strikes;
    assert_int_equal(pk_offences_init(&offences), PK_OK);
    for (uint32_t i = 1; i <= PK_MAX_OFFENDERS + 50; i++) {
        (void)pk_offence_strike(&offences, i, i, false, &strikes);
    }
    (void)pk_offence_strike(&offences, PK_MAX_OFFENDERS + 50, 30000, false, &strikes);
    assert_int_equal(strikes, 2);
    (void)pk_offence_strike(&offences, 1, 30001, false, &strikes);
    assert_int_equal(strikes, 1);
    pk_offences_done(&offences);
}

int main(void)
{
    assert_int_equal(pk_hash_start(), PK_OK);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_begins_with_one_batch_and_doubles),
        cmocka_unit_test(a_loud_tenant_leaves_room_for_a_quiet_one),
        cmocka_unit_test(a_new_session_does_not_clear_the_account),
        cmocka_unit_test(a_pause_closes_every_window_and_all_open_again),
        cmocka_unit_test(a_quiet_tenant_waits_for_a_turn_not_for_a_queue),
        cmocka_unit_test(seeded_orders_lose_nothing_and_share_equally),
        cmocka_unit_test(ten_strikes_in_ten_minutes_are_out),
        cmocka_unit_test(only_machines_that_return_are_clones),
        cmocka_unit_test(a_full_table_forgets_the_longest_quiet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

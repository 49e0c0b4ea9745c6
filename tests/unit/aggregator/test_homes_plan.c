/* Who takes which tenant: the same answer for everybody, one taker for each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "homes_plan.h"

enum {
    N_NODES = 3,
    N_HOMES = 7
};

struct world {
    struct pk_store_node nodes[N_NODES];
    struct pk_store_home homes[N_HOMES];
    struct pk_store_homes view;
};

static void make(struct world *w)
{
    memset(w, 0, sizeof *w);
    for (int i = 0; i < N_NODES; i++) {
        snprintf(w->nodes[i].name, sizeof w->nodes[i].name, "node%d", i);
        snprintf(w->nodes[i].instance, sizeof w->nodes[i].instance, "instance%d", i);
    }
    for (int i = 0; i < N_HOMES; i++) {
        w->homes[i].tenant.v = (uint32_t)i + 1;
        snprintf(w->homes[i].tenant_name, sizeof w->homes[i].tenant_name, "tenant%d", i);
    }
    w->view = (struct pk_store_homes){
        .nodes = w->nodes, .n_nodes = N_NODES, .homes = w->homes, .n_homes = N_HOMES};
}

static void hold(struct world *w, int home, int node)
{
    memcpy(w->homes[home].holder, w->nodes[node].name, sizeof w->nodes[node].name);
    memcpy(w->homes[home].instance, w->nodes[node].instance, sizeof w->nodes[node].instance);
    w->homes[home].is_live = true;
}

/* The node that takes a home by its own plan, -1: none; more than one fails. */
static int taker(const struct world *w, int home)
{
    int found = -1;
    for (int i = 0; i < N_NODES; i++) {
        enum pk_homes_move moves[N_HOMES];
        pk_homes_plan(&w->view, &w->nodes[i], false, moves);
        if (moves[home] == PK_HOMES_TAKE) {
            assert_int_equal(found, -1);
            found = i;
        }
    }
    return found;
}

static enum pk_homes_move move_of(const struct world *w, int node, bool is_first, int home)
{
    enum pk_homes_move moves[N_HOMES];
    pk_homes_plan(&w->view, &w->nodes[node], is_first, moves);
    return moves[home];
}

static void free_homes_are_spread_evenly(void **state)
{
    (void)state;
    struct world w;
    size_t n[N_NODES] = {0};
    make(&w);
    for (int i = 0; i < N_HOMES; i++) {
        int node = taker(&w, i);
        assert_in_range(node, 0, N_NODES - 1);
        n[node]++;
    }
    assert_int_equal(n[0], 3);
    assert_int_equal(n[1], 2);
    assert_int_equal(n[2], 2);
}

static void the_one_with_fewest_takes_what_comes_free(void **state)
{
    (void)state;
    struct world w;
    make(&w);
    for (int i = 0; i < N_HOMES - 1; i++) {
        hold(&w, i, i < 4 ? 0 : 1);
    }
    assert_int_equal(taker(&w, N_HOMES - 1), 2);
    assert_int_equal(taker(&w, 0), -1); /* what is held stays, however uneven */
    assert_int_equal(move_of(&w, 0, false, 0), PK_HOMES_STAY);
}

static void a_pin_goes_before_a_preference_and_that_before_numbers(void **state)
{
    (void)state;
    struct world w;
    make(&w);
    strcpy(w.nodes[1].prefers, "tenant\ntenant0\nother\n");
    hold(&w, 5, 1);
    hold(&w, 6, 1);
    assert_int_equal(taker(&w, 0), 1);
    strcpy(w.homes[0].pinned, "node2");
    assert_int_equal(taker(&w, 0), 2);
    strcpy(w.homes[0].pinned, "nobody-there");
    assert_int_equal(taker(&w, 0), 1);
}

static void a_holder_leaves_for_a_better_place_only(void **state)
{
    (void)state;
    struct world w;
    make(&w);
    hold(&w, 0, 0);
    hold(&w, 1, 0);
    strcpy(w.nodes[2].prefers, "tenant0\n");
    assert_int_equal(move_of(&w, 0, false, 0), PK_HOMES_LEAVE);
    assert_int_equal(move_of(&w, 0, false, 1), PK_HOMES_STAY);
    assert_int_equal(taker(&w, 0), -1); /* not before it was given up */
    assert_string_equal(pk_homes_next(&w.view, &w.homes[0], &w.nodes[0])->name, "node2");
    strcpy(w.homes[0].pinned, "node0");
    assert_int_equal(move_of(&w, 0, false, 0), PK_HOMES_STAY);
}

static void a_lease_that_ran_out_is_taken_unless_nobody_could_renew(void **state)
{
    (void)state;
    struct world w;
    make(&w);
    hold(&w, 0, 0);
    w.homes[0].is_live = false;
    w.view.nodes = w.nodes + 1;
    w.view.n_nodes = 2;
    assert_int_equal(move_of(&w, 1, false, 0), PK_HOMES_TAKE);
    w.view.is_young = true;
    assert_int_equal(move_of(&w, 1, false, 0), PK_HOMES_STAY);
    assert_int_equal(taker(&w, 0), -1);
    assert_int_equal(move_of(&w, 1, false, 1), PK_HOMES_TAKE); /* nobody held it */
}

static void a_restart_takes_its_own_at_once(void **state)
{
    (void)state;
    struct world w;
    make(&w);
    hold(&w, 0, 0);
    strcpy(w.nodes[0].instance, "after the restart");
    assert_int_equal(move_of(&w, 0, true, 0), PK_HOMES_TAKE);
    assert_int_equal(move_of(&w, 0, false, 0), PK_HOMES_STAY); /* a second one by this name */
    assert_int_equal(move_of(&w, 1, true, 0), PK_HOMES_STAY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(free_homes_are_spread_evenly),
        cmocka_unit_test(the_one_with_fewest_takes_what_comes_free),
        cmocka_unit_test(a_pin_goes_before_a_preference_and_that_before_numbers),
        cmocka_unit_test(a_holder_leaves_for_a_better_place_only),
        cmocka_unit_test(a_lease_that_ran_out_is_taken_unless_nobody_could_renew),
        cmocka_unit_test(a_restart_takes_its_own_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

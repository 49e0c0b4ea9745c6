/* One message seen twice counts once; a question asked twice does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "picket/hash.h"

#include "packet_builder.h"
#include "sensor/pairing/copies.h"

enum {
    START = 1000000000
};

static int setup(void **state)
{
    struct pk_copies *copies;
    pk_hash_set_key((const uint8_t[16]){1, 2, 3, 4, 5, 6, 7, 8, 9});
    assert_int_equal(pk_copies_new(&copies), PK_OK);
    *state = copies;
    return 0;
}

static int teardown(void **state)
{
    pk_copies_free(*state);
    return 0;
}

struct sight {
    uint8_t client, server;
    uint16_t port;
    uint16_t interface;
    int64_t after_us;
    uint8_t transport;
    uint16_t id;
};

static enum pk_copy see(void *copies, const struct sight *sight, struct pk_leg *out_first)
{
    uint8_t wire[512];
    struct pk_message message = {.ts_us = START + sight->after_us,
        .src = pk_addr_v4((const uint8_t[]){10, 0, 0, sight->client}),
        .dst = pk_addr_v4((const uint8_t[]){192, 0, 2, sight->server}),
        .sport = sight->port,
        .dport = 53,
        .transport = sight->transport,
        .interface = sight->interface};
    size_t len = pk_build_query(wire, sight->id, "www.example.com.", 1);
    assert_true(pk_dnsmsg_parse(wire, len, &message.dns));
    message.digest = pk_hash_quick(wire, len);
    return pk_copies_see(copies, &message, out_first);
}

static void what_makes_a_copy(void **state)
{
    (void)state;
    static const struct {
        struct sight sight; /* after the first: client 1, server 53, port 4000, interface 0, id 7 */
        enum pk_copy expected;
    } cases[] = {
        {{1, 53, 4000, 0, 0, 0, 7}, PK_COPY_REPEAT},
        {{1, 53, 4000, 0, PK_COPY_SAME_US, 0, 7}, PK_COPY_REPEAT},
        {{1, 53, 4000, 0, PK_COPY_SAME_US + 1, 0, 7}, PK_COPY_NONE}, /* asked again */
        {{1, 53, 4000, 1, PK_COPY_SAME_US + 1, 0, 7}, PK_COPY_SAME},
        {{1, 53, 4000, 1, -PK_COPY_OTHER_US, 0, 7}, PK_COPY_SAME}, /* interfaces are read in turn */
        {{1, 53, 4000, 1, PK_COPY_OTHER_US + 1, 0, 7}, PK_COPY_NONE},
        {{1, 53, 4000, 0, 0, PK_TRANSPORT_TCP, 7}, PK_COPY_NONE},
        {{1, 53, 4000, 0, 0, 0, 8}, PK_COPY_NONE},
        {{2, 53, 4000, 0, 0, 0, 7}, PK_COPY_NONE}, /* another client with our id, same interface */
        {{1, 54, 4000, 0, 0, 0, 7}, PK_COPY_NONE}, /* one client, two servers at once */
        {{2, 53, 60000, 1, PK_COPY_NAT_US, 0, 7}, PK_COPY_TRANSLATED}, /* source NAT */
        {{1, 54, 4000, 1, PK_COPY_NAT_US, 0, 7}, PK_COPY_TRANSLATED},  /* service address */
        {{1, 54, 4000, 1, PK_COPY_NAT_US + 1, 0, 7}, PK_COPY_NONE},
        {{1, 54, 4001, 1, 0, 0, 7}, PK_COPY_NONE}, /* the port is part of the end */
        {{2, 54, 4000, 1, 0, 0, 7}, PK_COPY_NONE}, /* a forwarder's own question */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static const struct sight first = {1, 53, 4000, 0, 0, 0, 7};
        struct pk_leg leg;
        void *copies;
        setup(&copies);
        assert_int_equal(see(copies, &first, &leg), PK_COPY_NONE);
        if (see(copies, &cases[i].sight, &leg) != cases[i].expected) {
            fail_msg("case %zu", i);
        }
        if (cases[i].expected == PK_COPY_TRANSLATED) {
            assert_int_equal(leg.src.bytes[3], 1);
            assert_int_equal(leg.dst.bytes[3], 53);
            assert_int_equal(leg.sport, 4000);
        }
        pk_copies_free(copies);
    }
}

static void messages_of_one_tcp_connection_are_never_copies(void **state)
{
    static const struct sight sight = {1, 53, 4000, 0, 0, PK_TRANSPORT_TCP, 7};
    struct pk_leg leg;
    assert_int_equal(see(*state, &sight, &leg), PK_COPY_NONE);
    assert_int_equal(see(*state, &sight, &leg), PK_COPY_NONE);
}

/* Two servers asked at once (musl does so), the same again on the uplink: each copy finds its own. */
static void a_copy_with_all_ends_equal_wins_over_a_translated_one(void **state)
{
    struct pk_leg leg;
    static const struct sight sights[] = {{1, 53, 4000, 0, 0, 0, 7}, {1, 54, 4000, 0, 1, 0, 7},
        {1, 54, 4000, 1, 2, 0, 7}, {1, 53, 4000, 1, 3, 0, 7}};
    static const enum pk_copy expected[] = {PK_COPY_NONE, PK_COPY_NONE, PK_COPY_SAME, PK_COPY_SAME};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(see(*state, &sights[i], &leg), expected[i]);
    }
}

static void a_question_repeated_without_end_counts_each_window_once(void **state)
{
    struct pk_leg leg;
    unsigned n = 0;
    struct sight sight = {1, 53, 4000, 0, 0, 0, 7};
    for (sight.after_us = 0; sight.after_us < 10 * (PK_COPY_SAME_US + 1); sight.after_us++) {
        n += see(*state, &sight, &leg) == PK_COPY_NONE;
    }
    assert_int_equal(n, 10);
}

static void a_full_set_forgets_its_oldest_and_says_so(void **state)
{
    struct pk_leg leg;
    struct sight sight = {1, 53, 4000, 0, 0, 0, 0};
    for (uint32_t i = 0; i < 4 * PK_COPIES_SETS * PK_COPIES_WAYS; i++) {
        sight.id = (uint16_t)i;
        sight.port = (uint16_t)(1024 + i / 65536);
        assert_int_equal(see(*state, &sight, &leg), PK_COPY_NONE);
    }
    assert_true(pk_copies_forgotten(*state) >= 3 * PK_COPIES_SETS * PK_COPIES_WAYS);
    assert_int_equal(see(*state, &sight, &leg), PK_COPY_REPEAT); /* the newest is there */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_makes_a_copy),
        TEST(messages_of_one_tcp_connection_are_never_copies),
        TEST(a_copy_with_all_ends_equal_wins_over_a_translated_one),
        TEST(a_question_repeated_without_end_counts_each_window_once),
        TEST(a_full_set_forgets_its_oldest_and_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

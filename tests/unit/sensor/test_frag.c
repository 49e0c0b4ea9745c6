/* IP fragments in every order and with every lie; each is counted once whatever becomes of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "picket/hash.h"

#include "sensor/packet/frag.h"

enum {
    UDP_LEN = 100 /* of the datagram that is cut up */
};

struct fixture {
    struct pk_ports ports;
    struct pk_stats stats;
    struct pk_frags *frags;
    uint8_t whole[UDP_LEN];
    uint64_t n_sent;
    int64_t ts_us;
    struct pk_datagram made;
    uint8_t copy[65535];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    pk_hash_set_key((const uint8_t[16]){1});
    f->ports = (struct pk_ports){.v = {53}, .n = 1};
    for (size_t i = 0; i < UDP_LEN; i++) {
        f->whole[i] = (uint8_t)i;
    }
    memcpy(f->whole, "\x10\0\0\x35\0\x64\0\0", 8);
    assert_int_equal(pk_frags_new(&f->ports, &f->stats, &f->frags), PK_OK);
    *state = f;
    return 0;
}

static uint64_t counted(const struct fixture *f)
{
    uint64_t n = 0;
    for (int i = 0; i < PK_N_FRAG_FATES; i++) {
        n += f->stats.frags[i];
    }
    return n;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    pk_frags_flush(f->frags);
    assert_int_equal(f->stats.frags[PK_FRAG_PENDING], 0);
    assert_int_equal(counted(f), f->n_sent);
    pk_frags_free(f->frags);
    free(f);
    return 0;
}

static bool give(struct fixture *f, const struct pk_packet *packet)
{
    uint8_t *exact = malloc(packet->fragment.len ? packet->fragment.len : 1);
    assert_non_null(exact);
    struct pk_packet mine = *packet;
    memcpy(exact, packet->fragment.data, packet->fragment.len);
    mine.fragment.data = exact;
    bool is_whole = pk_frags_take(f->frags, &mine, f->ts_us, &f->made);
    free(exact);
    f->n_sent++;
    assert_int_equal(counted(f), f->n_sent);
    return is_whole;
}

static struct pk_packet part_of(
    const struct fixture *f, uint32_t id, size_t from, size_t to, bool has_more)
{
    static const uint8_t src[4] = {192, 0, 2, 1}, dst[4] = {192, 0, 2, 53};
    return (struct pk_packet){.src = pk_addr_v4(src),
        .dst = pk_addr_v4(dst),
        .fragment = {.id = id,
            .offset = (uint32_t)from,
            .has_more = has_more,
            .protocol = 17,
            .data = f->whole + from,
            .len = to - from}};
}

static bool part(struct fixture *f, size_t from, size_t to)
{
    struct pk_packet packet = part_of(f, 7, from, to, to < UDP_LEN);
    return give(f, &packet);
}

static void assert_whole(const struct fixture *f)
{
    assert_int_equal(f->made.protocol, 17);
    assert_int_equal(f->made.len, UDP_LEN);
    assert_memory_equal(f->made.data, f->whole, UDP_LEN);
}

static void parts_in_any_order_make_the_whole(void **state)
{
    struct fixture *f = *state;
    static const size_t cuts[][2] = {{0, 24}, {24, 48}, {48, 80}, {80, 100}};
    for (unsigned order = 0; order < 256; order++) {
        unsigned seen = 0, n = 0;
        for (unsigned i = 0; i < 4; i++) {
            seen |= 1u << (order >> 2 * i & 3);
        }
        if (seen != 15) {
            continue; /* not a permutation */
        }
        for (unsigned i = 0; i < 4; i++) {
            const size_t *cut = cuts[order >> 2 * i & 3];
            bool is_whole = part(f, cut[0], cut[1]);
            assert_int_equal(is_whole, i == 3);
            n += is_whole;
        }
        assert_int_equal(n, 1);
        assert_whole(f);
    }
    assert_int_equal(f->stats.frags_whole, 24);
    assert_int_equal(f->stats.frags[PK_FRAG_USED], 96);
}

static void a_copy_is_passed_over(void **state)
{
    struct fixture *f = *state;
    assert_false(part(f, 24, 48));
    assert_false(part(f, 24, 48));
    assert_false(part(f, 48, 100));
    assert_true(part(f, 0, 24));
    assert_int_equal(f->stats.frags[PK_FRAG_DUPLICATE], 1);
    assert_whole(f);
}

/* RFC 5722: whatever the overlap, nothing is made of it, and what still comes goes the same way. */
static void overlaps_drop_all_of_it(void **state)
{
    struct fixture *f = *state;
    static const size_t lies[][3] = {{0, 32, 1}, {16, 32, 1}, {24, 40, 1}, {32, 40, 1}, {40, 56, 1},
        {16, 96, 1}, {0, 48, 0}, {16, 30, 0}};
    for (uint32_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        struct pk_packet one = part_of(f, 100 + i, 0, 24, true),
                         two = part_of(f, 100 + i, 24, 48, true),
                         lie = part_of(f, 100 + i, lies[i][0], lies[i][1], lies[i][2]),
                         end = part_of(f, 100 + i, 48, 100, false);
        (void)give(f, &one);
        (void)give(f, &two);
        assert_false(give(f, &lie));
        assert_false(give(f, &end));
    }
    assert_int_equal(f->stats.frags[PK_FRAG_OVERLAP], f->n_sent);
    assert_int_equal(f->stats.frags_whole, 0);
}

static void a_copy_with_other_bytes_is_an_overlap(void **state)
{
    struct fixture *f = *state;
    uint8_t forged[24];
    memset(forged, 0x66, sizeof forged);
    struct pk_packet lie = part_of(f, 7, 24, 48, true);
    lie.fragment.data = forged;
    assert_false(part(f, 0, 24));
    assert_false(give(f, &lie));
    assert_false(part(f, 24, 48));
    assert_false(part(f, 48, 100));
    assert_int_equal(f->stats.frags[PK_FRAG_OVERLAP], 4);
}

static void two_ends_or_something_behind_the_end_drop_all(void **state)
{
    struct fixture *f = *state;
    struct pk_packet shorter = part_of(f, 7, 48, 64, false), behind = part_of(f, 8, 64, 80, true);
    assert_false(part(f, 80, 100));
    assert_false(give(f, &shorter));
    assert_false(give(f, &behind));
    struct pk_packet end = part_of(f, 8, 48, 64, false);
    assert_false(give(f, &end));
    assert_int_equal(f->stats.frags[PK_FRAG_OVERLAP], 4);
}

static void parts_that_cannot_be_are_bad(void **state)
{
    struct fixture *f = *state;
    static uint8_t big[2000];
    struct pk_packet odd = part_of(f, 1, 0, 23, true), empty = part_of(f, 2, 8, 8, true),
                     beyond = part_of(f, 3, 0, 100, false), tcp = part_of(f, 4, 0, 16, true);
    beyond.fragment.offset = 65528;
    beyond.fragment.data = big;
    tcp.fragment.protocol = 6;
    assert_false(give(f, &odd));
    assert_false(give(f, &empty));
    assert_false(give(f, &beyond));
    assert_false(give(f, &tcp)); /* half a TCP header: RFC 1858 */
    assert_int_equal(f->stats.frags[PK_FRAG_BAD], 4);
}

static void too_many_parts_are_bad(void **state)
{
    struct fixture *f = *state;
    static uint8_t eight[8];
    struct pk_packet tiny = part_of(f, 1, 0, 8, true);
    tiny.fragment.data = eight;
    memcpy(eight, f->whole, 8);
    for (uint32_t i = 0; i <= PK_FRAG_MAX_PARTS; i++) {
        tiny.fragment.offset = 8 * i;
        assert_false(give(f, &tiny));
    }
    assert_int_equal(f->stats.frags[PK_FRAG_BAD], PK_FRAG_MAX_PARTS + 1);
}

static void the_rest_must_come_in_time(void **state)
{
    struct fixture *f = *state;
    assert_false(part(f, 0, 48));
    f->ts_us = PK_FRAG_TIMEOUT_US;
    assert_true(part(f, 48, 100));
    assert_false(part(f, 0, 48));
    f->ts_us += PK_FRAG_TIMEOUT_US + 1;
    assert_false(part(f, 48, 100));
    assert_int_equal(f->stats.frags[PK_FRAG_TIMEOUT], 1);
    f->ts_us = 0; /* the next file is older */
    assert_false(part(f, 0, 48));
    assert_int_equal(f->stats.frags[PK_FRAG_TIMEOUT], 2);
}

static void what_is_not_dns_is_not_held(void **state)
{
    struct fixture *f = *state;
    f->whole[3] = 80;
    assert_false(part(f, 48, 100)); /* came first: nobody knows yet */
    assert_int_equal(f->stats.frags[PK_FRAG_PENDING], 1);
    assert_false(part(f, 0, 24));
    assert_false(part(f, 24, 48));
    assert_int_equal(f->stats.frags[PK_FRAG_NOT_DNS], 3);
    assert_int_equal(f->stats.frags[PK_FRAG_PENDING], 0);
}

static void ids_ends_protocols_and_networks_are_kept_apart(void **state)
{
    struct fixture *f = *state;
    struct pk_packet others[5];
    for (unsigned i = 0; i < 5; i++) {
        others[i] = part_of(f, 7, 48, 100, false);
    }
    others[0].fragment.id = 8;
    others[1].src.bytes[3] = 2;
    others[2].dst.bytes[3] = 54;
    others[3].fragment.protocol = 47;
    assert_true(pk_via_push(&others[4].via, PK_VIA_VLAN, true, 5));
    assert_false(part(f, 0, 48));
    for (unsigned i = 0; i < 5; i++) {
        assert_false(give(f, &others[i]));
    }
    assert_true(part(f, 48, 100));
}

static void the_table_is_bounded(void **state)
{
    struct fixture *f = *state;
    for (uint32_t i = 0; i < PK_FRAG_MAX_PACKETS + 10; i++) {
        struct pk_packet packet = part_of(f, i, 0, 48, true);
        assert_false(give(f, &packet));
    }
    assert_int_equal(f->stats.frags[PK_FRAG_SHED], 10);
    assert_int_equal(f->stats.frags[PK_FRAG_PENDING], PK_FRAG_MAX_PACKETS);
}

static void the_bytes_are_bounded(void **state)
{
    struct fixture *f = *state;
    static uint8_t big[60000];
    memcpy(big, f->whole, 8);
    for (uint32_t i = 0; i < 200; i++) {
        struct pk_packet packet = part_of(f, i, 0, 48, true);
        packet.fragment.data = big;
        packet.fragment.len = sizeof big;
        assert_false(give(f, &packet));
    }
    assert_true(f->stats.frags[PK_FRAG_PENDING] <= PK_FRAG_MAX_BYTES / sizeof big);
    assert_true(f->stats.frags[PK_FRAG_PENDING] >= PK_FRAG_MAX_BYTES / sizeof big - 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(parts_in_any_order_make_the_whole),
        TEST(a_copy_is_passed_over),
        TEST(overlaps_drop_all_of_it),
        TEST(a_copy_with_other_bytes_is_an_overlap),
        TEST(two_ends_or_something_behind_the_end_drop_all),
        TEST(parts_that_cannot_be_are_bad),
        TEST(too_many_parts_are_bad),
        TEST(the_rest_must_come_in_time),
        TEST(what_is_not_dns_is_not_held),
        TEST(ids_ends_protocols_and_networks_are_kept_apart),
        TEST(the_table_is_bounded),
        TEST(the_bytes_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

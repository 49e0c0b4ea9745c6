/* The rules that tie the counters together: each must notice when one counter of it is off by one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sensor/stats.h"

static struct pk_stats balanced(void)
{
    return (struct pk_stats){
        .packets = 15,
        .dispositions = {[PK_PACKET_DNS] = 7,
            [PK_PACKET_TCP] = 3,
            [PK_PACKET_NOT_DNS] = 2,
            [PK_PACKET_FRAGMENT] = 3},
        .frags = {[PK_FRAG_USED] = 2, [PK_FRAG_OVERLAP] = 1},
        .frags_whole = 1,
        .reassembled = {[PK_PACKET_DNS] = 1},
        .messages_udp = 8,
        .messages_tcp = 2,
        .tcp_segments = 3,
        .tcp_bytes = 100,
        .tcp_bytes_used = 60,
        .tcp_bytes_duplicate = 20,
        .tcp_bytes_pending = 15,
        .tcp_shed = {[PK_TCP_SHED_GAP] = 5},
        .multicast = 1,
        .faults = {[PK_DNS_OK] = 9, [PK_DNS_SHORT_HEADER] = 1},
        .unusable = 1,
        .queries = 4,
        .responses = 4,
        .opened = 4,
        .retransmissions = 0,
        .matched = 2,
        .unsolicited = 1,
        .mismatched = 1,
        .transfer_more = 1,
        .answered = 2,
        .unanswered = 2,
        .evicted = 2,
        .evicted_network = 2,
    };
}

static void sums_that_agree_balance(void **state)
{
    (void)state;
    struct pk_stats stats = balanced();
    assert_null(pk_stats_check(&stats));
}

static void one_too_many_is_noticed_everywhere(void **state)
{
    (void)state;
    struct pk_stats stats = balanced();
    uint64_t *const counters[] = {
        &stats.packets,
        &stats.dispositions[PK_PACKET_DNS],
        &stats.dispositions[PK_PACKET_EMPTY],
        &stats.dispositions[PK_PACKET_FRAGMENT],
        &stats.frags[PK_FRAG_PENDING],
        &stats.frags_whole,
        &stats.reassembled[PK_PACKET_TUNNEL],
        &stats.tcp_segments,
        &stats.tcp_bytes,
        &stats.tcp_bytes_used,
        &stats.tcp_bytes_duplicate,
        &stats.tcp_bytes_pending,
        &stats.tcp_shed[PK_TCP_SHED_TABLE],
        &stats.multicast,
        &stats.messages_udp,
        &stats.messages_tcp,
        &stats.faults[PK_DNS_TRAILING],
        &stats.unusable,
        &stats.queries,
        &stats.responses,
        &stats.ignored,
        &stats.copies,
        &stats.opened,
        &stats.retransmissions,
        &stats.matched,
        &stats.unsolicited,
        &stats.transfer_more,
        &stats.answered,
        &stats.unanswered,
        &stats.open_now,
        &stats.held_now,
        &stats.transfers_now,
        &stats.late,
        &stats.evicted_client,
        &stats.unreachable,
    };
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++) {
        ++*counters[i];
        assert_non_null(pk_stats_check(&stats));
        --*counters[i];
    }
    assert_null(pk_stats_check(&stats));
}

static void json_says_whether_it_balances(void **state)
{
    (void)state;
    struct pk_stats stats = balanced();
    struct pk_bytes text;
    pk_bytes_init(&text, 1 << 16);
    assert_int_equal(pk_stats_json(&stats, NULL, &text), PK_OK);
    assert_non_null(strstr(pk_bytes_text(&text), "\"balanced\":true"));
    assert_non_null(strstr(pk_bytes_text(&text), "\"packets\":15"));
    pk_bytes_clear(&text);
    stats.packets++;
    assert_int_equal(pk_stats_json(&stats, NULL, &text), PK_OK);
    assert_non_null(strstr(pk_bytes_text(&text), "\"balanced\":\"packets"));
    pk_bytes_done(&text);
}

static void health_is_the_difference(void **state)
{
    (void)state;
    struct pk_stats before = balanced(), now = balanced();
    struct pk_health health;
    now.packets += 7;
    now.kernel_dropped = 3;
    now.spool_bytes = 99;
    before.spool_bytes = 50;
    pk_stats_health(&now, &before, 10000, &health);
    assert_int_equal(health.v[PK_HEALTH_INTERVAL_MS], 10000);
    assert_int_equal(health.v[PK_HEALTH_PACKETS], 7);
    assert_int_equal(health.v[PK_HEALTH_KERNEL_DROPPED], 3);
    assert_int_equal(health.v[PK_HEALTH_SPOOL_BYTES], 99); /* a level, not a count */
    assert_int_equal(health.v[PK_HEALTH_QUERIES], 0);
}

static void interfaces_are_told_with_what_is_new_of_each(void **state)
{
    (void)state;
    struct pk_stats before = {.packets = 0}, now;
    struct pk_health_interface told[PK_STATS_MAX_INTERFACES];
    before.interfaces[0] = (struct pk_interface_stats){
        .name = "eth0", .state = PK_INTERFACE_OPEN, .packets = 100, .kernel_dropped = 5};
    before.interfaces[2] =
        (struct pk_interface_stats){.name = "gone", .state = PK_INTERFACE_OPEN, .packets = 50};
    now = before;
    now.interfaces[0].packets = 130;
    now.interfaces[0].iface_dropped = 2;
    now.interfaces[0].state = PK_INTERFACE_DOWN;
    now.interfaces[2] = (struct pk_interface_stats){/* another in its place */
        .name = "new",
        .state = PK_INTERFACE_DENIED,
        .packets = 7};
    assert_int_equal(pk_stats_interfaces(&now, &before, told), 2);
    assert_string_equal(told[0].name, "eth0");
    assert_int_equal(told[0].state, PK_IFACE_DOWN);
    assert_int_equal(told[0].packets, 30);
    assert_int_equal(told[0].kernel_dropped, 0);
    assert_int_equal(told[0].iface_dropped, 2);
    assert_string_equal(told[1].name, "new");
    assert_int_equal(told[1].state, PK_IFACE_DENIED);
    assert_int_equal(told[1].packets, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_that_agree_balance),
        cmocka_unit_test(one_too_many_is_noticed_everywhere),
        cmocka_unit_test(json_says_whether_it_balances),
        cmocka_unit_test(health_is_the_difference),
        cmocka_unit_test(interfaces_are_told_with_what_is_new_of_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Each thing that can be wrong with a tap is said, with its numbers, and a sound one is left in peace. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "picket/hash.h"

#include "sensor/pairing/diagnosis.h"
#include "sensor/pairing/encrypted.h"

static struct pk_stats sound(void)
{
    return (struct pk_stats){.packets = 2100,
        .dispositions = {[PK_PACKET_DNS] = 2000, [PK_PACKET_TCP] = 100},
        .messages_udp = 2000,
        .queries = 1010,
        .responses = 980,
        .copies = 10,
        .opened = 1000,
        .answered = 970,
        .mismatched = 2,
        .tcp_bytes = 50000,
        .tcp_shed = {[PK_TCP_SHED_GAP] = 900}};
}

static void a_sound_tap_is_left_in_peace(void **state)
{
    (void)state;
    struct pk_diagnosed all[PK_N_DIAGNOSES];
    struct pk_stats stats = sound();
    assert_int_equal(pk_diagnose(&stats, NULL, NULL, all), 0);
    assert_int_equal(pk_diagnosis_bits(&stats, NULL), 0);
}

static void check(const struct pk_stats *stats, enum pk_diagnosis kind, const char *part)
{
    struct pk_diagnosed all[PK_N_DIAGNOSES];
    size_t n = pk_diagnose(stats, NULL, NULL, all);
    assert_int_equal(n, 1);
    assert_int_equal(all[0].kind, kind);
    if (!strstr(all[0].text, part)) {
        fail_msg("%s: no \"%s\" in \"%s\"", pk_diagnosis_str(kind), part, all[0].text);
    }
    assert_true(pk_diagnosis_bits(stats, NULL) == UINT64_C(1) << kind);
}

static void each_fault_is_said_with_its_numbers(void **state)
{
    (void)state;
    struct pk_stats s = {0};
    check(&s, PK_DIAGNOSIS_NOTHING, "is this the interface");
    s.files = 2;
    check(&s, PK_DIAGNOSIS_NOTHING, "no packet in 2 files");
    s.files = 0;
    s.packets = 5000;
    check(&s, PK_DIAGNOSIS_NO_DNS, "5000 packets");
    s = sound();
    s.responses = 20;
    check(&s, PK_DIAGNOSIS_ONLY_QUERIES, "1010 queries but 20 responses");
    s.responses = 21; /* one in fifty */
    assert_int_equal(pk_diagnosis_bits(&s, NULL), 0);
    s = sound();
    s.queries = 0;
    check(&s, PK_DIAGNOSIS_ONLY_RESPONSES, "980 responses but 0 queries");
    s = sound();
    s.copies = 100;
    check(&s, PK_DIAGNOSIS_DUPLICATED, "100 of 2000 messages (5.0 %)");
    s = sound();
    s.clock_steps = 3;
    check(&s, PK_DIAGNOSIS_CLOCK, "3 times");
    s = sound();
    s.dispositions[PK_PACKET_SNAPPED] = 1;
    s.messages_cut = 2;
    check(&s, PK_DIAGNOSIS_SNAPPED, "3 packets end early");
    s = sound();
    s.kernel_dropped = 2100;
    check(&s, PK_DIAGNOSIS_DROPPED, "2100 packets (50.00 %)");
    s = sound();
    s.encrypted_flows = 7;
    s.encrypted_packets = 700;
    check(&s, PK_DIAGNOSIS_ENCRYPTED, "7 flows of encrypted DNS (700 packets, 25.0 %");
    s = sound();
    s.tcp_shed[PK_TCP_SHED_UNSYNCED] = 1600;
    check(&s, PK_DIAGNOSIS_TCP_PARTS, "2500 of 50000 bytes (5.0 %)");
    s = sound();
    s.evicted = 9;
    check(&s, PK_DIAGNOSIS_CROWDED, "9 of 1000");
    s = sound();
    s.conflicting = 18;
    check(&s, PK_DIAGNOSIS_FORGED, "20 responses look forged");
}

static void what_was_before_is_not_said_again(void **state)
{
    (void)state;
    struct pk_stats before = sound(), now;
    before.clock_steps = before.kernel_dropped = before.evicted = 5;
    now = before;
    now.packets += 100;
    now.messages_udp += 100;
    now.queries += 50;
    now.responses += 50;
    assert_int_equal(pk_diagnosis_bits(&now, &before), 0);
    now.clock_steps++;
    assert_true(pk_diagnosis_bits(&now, &before) == UINT64_C(1) << PK_DIAGNOSIS_CLOCK);
}

static void note(struct pk_sides *sides, uint8_t server, enum pk_outcome outcome, unsigned n)
{
    struct pk_transaction transaction = {.outcome = outcome};
    transaction.query.server = pk_addr_v4((const uint8_t[]){192, 0, 2, server});
    for (unsigned i = 0; i < n; i++) {
        pk_sides_note(sides, &transaction);
    }
}

static void servers_seen_from_one_side_are_named(void **state)
{
    (void)state;
    static struct pk_sides sides;
    struct pk_diagnosed all[PK_N_DIAGNOSES];
    struct pk_stats stats = sound();
    pk_hash_set_key((const uint8_t[16]){1});
    memset(&sides, 0, sizeof sides);
    note(&sides, 1, PK_OUTCOME_ANSWERED, 100);
    note(&sides, 1, PK_OUTCOME_UNANSWERED, 40);
    note(&sides, 2, PK_OUTCOME_UNANSWERED, 30);
    note(&sides, 3, PK_OUTCOME_UNANSWERED, 50);
    note(&sides, 4, PK_OUTCOME_UNSOLICITED, 60);
    note(&sides, 5, PK_OUTCOME_UNANSWERED, PK_SIDES_LEAST - 1);
    assert_int_equal(pk_diagnose(&stats, NULL, &sides, all), 2);
    assert_int_equal(all[0].kind, PK_DIAGNOSIS_SERVER_QUERIES);
    assert_non_null(strstr(all[0].text, "2 of 4 servers"));
    assert_non_null(strstr(all[0].text, "192.0.2.3 most (50)"));
    assert_int_equal(all[1].kind, PK_DIAGNOSIS_SERVER_RESPONSES);
    assert_non_null(strstr(all[1].text, "192.0.2.4 most (60)"));
    stats.responses = 0; /* the whole tap: no list of servers */
    assert_int_equal(pk_diagnose(&stats, NULL, &sides, all), 1);
}

static void a_scan_of_servers_does_not_push_out_the_busy_one(void **state)
{
    (void)state;
    static struct pk_sides sides;
    struct pk_sides_sum sum;
    pk_hash_set_key((const uint8_t[16]){1});
    memset(&sides, 0, sizeof sides);
    for (uint32_t i = 0; i < 100000; i++) {
        struct pk_transaction scan = {.outcome = PK_OUTCOME_UNANSWERED};
        scan.query.server =
            pk_addr_v4((const uint8_t[]){10, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i});
        pk_sides_note(&sides, &scan);
        note(&sides, 77, PK_OUTCOME_UNSOLICITED, 1);
    }
    pk_sides_sum(&sides, &sum);
    assert_non_null(sum.responses_only);
    assert_int_equal(sum.responses_only->server.bytes[3], 77);
}

static void encrypted_dns_is_counted_by_flow(void **state)
{
    (void)state;
    static struct pk_encrypted encrypted;
    struct pk_stats stats = {0};
    static const uint8_t client[] = {10, 0, 0, 1}, other[] = {192, 0, 2, 1}, quad9[] = {9, 9, 9, 9};
    const struct {
        const uint8_t *server;
        uint16_t client_port, server_port;
        int64_t ts_us;
        unsigned packets, flows; /* added */
    } cases[] = {
        {other, 4000, 853, 1, 2, 1},                        /* DoT or DoQ: one of each direction */
        {other, 4000, 853, 2, 2, 0},                        /* goes on */
        {other, 4001, 853, 3, 2, 1},                        /* another port, another flow */
        {other, 4000, 443, 4, 0, 0},                        /* the web */
        {quad9, 4000, 443, 5, 2, 1},                        /* DoH, by its address */
        {quad9, 4000, 80, 6, 0, 0},                         /* not its other services */
        {other, 4000, 853, PK_ENCRYPTED_IDLE_US + 3, 2, 1}, /* after a long silence */
    };
    pk_hash_set_key((const uint8_t[16]){1});
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pk_stats before = stats;
        for (unsigned back = 0; back < 2; back++) {
            struct pk_addr ends[2] = {pk_addr_v4(client), pk_addr_v4(cases[i].server)};
            struct pk_packet packet = {.src = ends[back],
                .dst = ends[!back],
                .sport = back ? cases[i].server_port : cases[i].client_port,
                .dport = back ? cases[i].client_port : cases[i].server_port};
            pk_encrypted_note(&encrypted, &packet, cases[i].ts_us, &stats);
        }
        if (stats.encrypted_packets - before.encrypted_packets != cases[i].packets ||
            stats.encrypted_flows - before.encrypted_flows != cases[i].flows) {
            fail_msg("case %zu", i);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sound_tap_is_left_in_peace),
        cmocka_unit_test(each_fault_is_said_with_its_numbers),
        cmocka_unit_test(what_was_before_is_not_said_again),
        cmocka_unit_test(servers_seen_from_one_side_are_named),
        cmocka_unit_test(a_scan_of_servers_does_not_push_out_the_busy_one),
        cmocka_unit_test(encrypted_dns_is_counted_by_flow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

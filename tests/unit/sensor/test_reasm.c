/* Streams of length-prefixed messages, in every order TCP can bring them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "picket/hash.h"

#include "packet_builder.h"
#include "sensor/packet/reasm.h"

#define ISN 0xfffffff0u

struct fixture {
    struct pk_stats stats;
    struct pk_reasm *reasm;
    uint16_t ids[64]; /* of the messages given out, in order */
    uint64_t frames[64];
    int64_t times_us[64];
    uint64_t frame; /* of the last segment sent */
    size_t n;
    uint8_t stream[4096]; /* messages 1, 2, 3 ... framed */
    size_t end[16];       /* where message i+1 ends in it */
};

static void on_message(void *arg, const struct pk_reasm_message *message)
{
    struct fixture *f = arg;
    assert_true(message->packet->is_tcp);
    assert_int_equal(message->packet->dport, 53);
    assert_true(message->len >= 12);
    assert_true(f->n < 64);
    f->frames[f->n] = message->frame;
    f->times_us[f->n] = message->ts_us;
    f->ids[f->n++] = (uint16_t)(message->data[0] << 8 | message->data[1]);
}

static uint64_t shed(const struct fixture *f)
{
    uint64_t bytes = 0;
    for (int i = 0; i < PK_N_TCP_SHED; i++) {
        bytes += f->stats.tcp_shed[i];
    }
    return bytes;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    pk_hash_set_key((const uint8_t[16]){1});
    assert_int_equal(pk_reasm_new(&f->stats, on_message, f, &f->reasm), PK_OK);
    size_t at = 0;
    for (uint16_t id = 1; id <= 8; id++) {
        uint8_t message[512];
        size_t len = pk_build_query(message, id, "www.example.com.", 1);
        at += pk_build_framed(f->stream + at, message, len);
        f->end[id - 1] = at;
    }
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    pk_reasm_flush(f->reasm);
    assert_int_equal(f->stats.tcp_bytes_pending, 0);
    assert_int_equal(
        f->stats.tcp_bytes, f->stats.tcp_bytes_used + f->stats.tcp_bytes_duplicate + shed(f));
    pk_reasm_free(f->reasm);
    free(f);
    return 0;
}

/* Bytes from..to of the stream, or any others, from a client with this port. */
static void send_bytes(struct fixture *f, uint16_t port, uint32_t seq, uint8_t flags,
    const uint8_t *data, size_t len, int64_t ts_us)
{
    static const uint8_t client[4] = {192, 0, 2, 1}, server[4] = {192, 0, 2, 53};
    struct pk_packet packet = {
        .src = pk_addr_v4(client),
        .dst = pk_addr_v4(server),
        .sport = port,
        .dport = 53,
        .is_tcp = true,
        .tcp_flags = flags,
        .tcp_seq = seq,
        .payload = data,
        .payload_len = len,
    };
    pk_reasm_segment(f->reasm, &packet, ts_us, ++f->frame);
    assert_int_equal(f->stats.tcp_bytes, f->stats.tcp_bytes_used + f->stats.tcp_bytes_duplicate +
                                             f->stats.tcp_bytes_pending + shed(f));
}

static void syn(struct fixture *f)
{
    send_bytes(f, 4000, ISN - 1, PK_TCP_SYN, NULL, 0, 0);
}

static void part(struct fixture *f, size_t from, size_t to, int64_t ts_us)
{
    send_bytes(f, 4000, ISN + (uint32_t)from, PK_TCP_ACK, f->stream + from, to - from, ts_us);
}

static void assert_ids(const struct fixture *f, const char *ids)
{
    assert_int_equal(f->n, strlen(ids));
    for (size_t i = 0; i < f->n; i++) {
        assert_int_equal(f->ids[i], ids[i] - '0');
    }
}

static void many_messages_in_one_segment(void **state)
{
    struct fixture *f = *state;
    syn(f);
    part(f, 0, f->end[2], 0);
    assert_ids(f, "123");
}

/* The sequence numbers wrap inside the stream. */
static void one_byte_a_segment(void **state)
{
    struct fixture *f = *state;
    syn(f);
    for (size_t i = 0; i < f->end[3]; i++) {
        part(f, i, i + 1, 0);
    }
    assert_ids(f, "1234");
}

static void any_cut_gives_the_same_messages(void **state)
{
    struct fixture *f = *state;
    for (size_t cut = 1; cut < f->end[1]; cut++) {
        f->n = 0;
        send_bytes(f, (uint16_t)(5000 + cut), ISN - 1, PK_TCP_SYN, NULL, 0, 0);
        send_bytes(f, (uint16_t)(5000 + cut), ISN, PK_TCP_ACK, f->stream, cut, 0);
        send_bytes(f, (uint16_t)(5000 + cut), ISN + (uint32_t)cut, PK_TCP_ACK, f->stream + cut,
            f->end[1] - cut, 0);
        assert_ids(f, "12");
    }
}

static void segments_out_of_order_wait(void **state)
{
    struct fixture *f = *state;
    syn(f);
    part(f, f->end[1], f->end[2], 0);
    part(f, f->end[0] + 5, f->end[1], 0);
    assert_ids(f, "");
    part(f, 0, f->end[0] + 5, 0);
    assert_ids(f, "123");
    assert_int_equal(f->stats.tcp_gaps, 0);
}

static void retransmissions_and_overlaps_count_once(void **state)
{
    struct fixture *f = *state;
    syn(f);
    part(f, 0, f->end[0], 0);
    part(f, 0, f->end[0], 0);
    part(f, 3, f->end[1], 0);
    part(f, f->end[0], f->end[2], 0);
    assert_ids(f, "123");
    assert_int_equal(f->stats.tcp_duplicate, 1);
}

static void a_keep_alive_is_no_data(void **state)
{
    struct fixture *f = *state;
    syn(f);
    part(f, 0, f->end[0], 0);
    part(f, f->end[0] - 1, f->end[0], 0);
    part(f, f->end[0], f->end[1], 0);
    assert_ids(f, "12");
}

static void data_on_a_syn_is_used(void **state)
{
    struct fixture *f = *state;
    send_bytes(f, 4000, ISN - 1, PK_TCP_SYN, f->stream, f->end[0], 0);
    part(f, f->end[0], f->end[1], 0);
    assert_ids(f, "12");
}

static void a_stream_met_midway_starts_at_a_message(void **state)
{
    struct fixture *f = *state;
    part(f, 7, f->end[0], 0); /* the end of a message: nothing to hold on to */
    assert_ids(f, "");
    part(f, f->end[0], f->end[2], 0);
    assert_ids(f, "23");
    assert_int_equal(shed(f), f->end[0] - 7);
}

static void a_gap_is_given_up_after_a_while(void **state)
{
    struct fixture *f = *state;
    syn(f);
    part(f, 0, f->end[0] + 5, 0);
    part(f, f->end[1], f->end[2], 0);
    part(f, f->end[2], f->end[3], PK_REASM_GAP_US);
    assert_ids(f, "1");
    part(f, f->end[3], f->end[4], PK_REASM_GAP_US + 1);
    assert_ids(f, "1345");
    assert_int_equal(f->stats.tcp_gaps, 1);
    assert_int_equal(shed(f), 5);
}

static void a_gap_is_given_up_when_too_much_waits(void **state)
{
    struct fixture *f = *state;
    static const uint8_t noise[PK_REASM_MAX_WAITING];
    syn(f);
    for (uint32_t i = 0; i < PK_REASM_MAX_WAITING - 1; i++) {
        send_bytes(f, 4000, ISN + 4000 + i, PK_TCP_ACK, noise, 1, 0);
    }
    assert_int_equal(f->stats.tcp_gaps, 0);
    send_bytes(f, 4000, ISN + 8000, PK_TCP_ACK, f->stream, f->end[0], 0);
    assert_int_equal(f->stats.tcp_gaps, 2); /* before the single bytes, and before message 1 */
    assert_ids(f, "1");
}

static void a_gap_is_given_up_when_too_many_bytes_wait(void **state)
{
    struct fixture *f = *state;
    uint8_t *noise = calloc(1, 60000);
    assert_non_null(noise);
    syn(f);
    for (uint32_t i = 0; i < PK_REASM_MAX_STREAM_BYTES / 60000; i++) {
        send_bytes(f, 4000, ISN + 4000 + i * 60000, PK_TCP_ACK, noise, 60000, 0);
    }
    assert_int_equal(f->stats.tcp_gaps, 0);
    send_bytes(f, 4000, ISN + 4000 + (PK_REASM_MAX_STREAM_BYTES / 60000) * 60000, PK_TCP_ACK, noise,
        60000, 0);
    free(noise);
    assert_int_equal(f->stats.tcp_gaps, 1);
    assert_int_equal(f->stats.tcp_shed[PK_TCP_SHED_UNSYNCED], f->stats.tcp_bytes);
}

/* What came before a hole may still come after FIN. */
static void fin_waits_for_the_gap(void **state)
{
    struct fixture *f = *state;
    syn(f);
    part(f, f->end[0], f->end[1], 0);
    send_bytes(f, 4000, ISN + (uint32_t)f->end[1], PK_TCP_FIN, NULL, 0, 0);
    assert_ids(f, "");
    part(f, 0, f->end[0], PK_REASM_GAP_US);
    assert_ids(f, "12");
}

static void a_gap_before_fin_is_given_up_in_time(void **state)
{
    struct fixture *f = *state;
    syn(f);
    part(f, f->end[0], f->end[1], 5);
    send_bytes(f, 4000, ISN + (uint32_t)f->end[1], PK_TCP_FIN, NULL, 0, 0);
    pk_reasm_tick(f->reasm, PK_REASM_GAP_US + 5);
    assert_ids(f, "");
    pk_reasm_tick(f->reasm, PK_REASM_GAP_US + 6);
    assert_ids(f, "2");
    assert_int_equal(f->times_us[0], 5); /* complete when it came, not when we gave up waiting */
    assert_int_equal(f->frames[0], 2);
}

static void the_end_of_input_gives_out_what_waits(void **state)
{
    struct fixture *f = *state;
    syn(f);
    part(f, f->end[0], f->end[1], 0);
    pk_reasm_flush(f->reasm);
    assert_ids(f, "2");
}

static void a_message_names_the_packet_that_completed_it(void **state)
{
    struct fixture *f = *state;
    syn(f);                               /* frame 1 */
    part(f, f->end[0], f->end[1] + 3, 0); /* 2: message 2, the beginning of 3 */
    part(f, f->end[2], f->end[3], 0);     /* 3: message 4 */
    part(f, f->end[1] + 3, f->end[2], 0); /* 4: the rest of 3 */
    part(f, 0, f->end[0], 0);             /* 5: message 1 */
    assert_ids(f, "1234");
    static const uint64_t frames[] = {5, 2, 4, 3};
    assert_memory_equal(f->frames, frames, sizeof frames);
}

static void a_copy_of_what_waits_is_not_held_twice(void **state)
{
    struct fixture *f = *state;
    syn(f);
    part(f, f->end[0], f->end[2], 0);
    part(f, f->end[0], f->end[2], 0);
    part(f, f->end[0] + 7, f->end[1], 0);
    assert_int_equal(f->stats.tcp_duplicate, 2);
    assert_int_equal(f->stats.tcp_bytes_pending, f->end[2] - f->end[0]);
    part(f, 0, f->end[0], 0);
    assert_ids(f, "123");
}

static void reset_forgets_the_stream(void **state)
{
    struct fixture *f = *state;
    syn(f);
    part(f, 0, 5, 0);
    send_bytes(f, 4000, ISN + 5, PK_TCP_RST, NULL, 0, 0);
    part(f, 5, f->end[0], 0);
    assert_ids(f, "");
}

static void a_reset_far_from_the_window_is_nobodys(void **state)
{
    struct fixture *f = *state;
    syn(f);
    part(f, 0, 5, 0);
    send_bytes(f, 4000, ISN + 5 + PK_REASM_MAX_JUMP + 1, PK_TCP_RST, NULL, 0, 0);
    part(f, 5, f->end[0], 0);
    assert_ids(f, "1");
}

/* RFC 7413 s4.2.2: the data of a SYN may come again, with another SYN or without. */
static void data_on_a_repeated_syn_counts_once(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 2; i++) {
        send_bytes(f, 4000, ISN - 1, PK_TCP_SYN, f->stream, f->end[0], 0);
    }
    part(f, 0, f->end[0], 0);
    part(f, f->end[0], f->end[1], 0);
    assert_ids(f, "12");
    assert_int_equal(f->stats.tcp_streams, 1);
}

static void a_port_used_again_unseen_begins_anew(void **state)
{
    struct fixture *f = *state;
    syn(f);
    part(f, 0, f->end[0], 0);
    send_bytes(f, 4000, ISN - 0x40000000, PK_TCP_ACK, f->stream, f->end[0], 0);
    send_bytes(f, 4000, ISN + 0x20000000, PK_TCP_ACK, f->stream, f->end[1], 0);
    assert_ids(f, "1112");
}

/* 60,000 records in messages of 16 KiB, a pair of segments swapped here and there. */
static void a_large_transfer_comes_whole(void **state)
{
    struct fixture *f = *state;
    enum {
        MESSAGE = 16382,
        N = 60,
        SEGMENT = 1448
    };
    size_t len = N * (MESSAGE + 2);
    uint8_t *zone = calloc(1, len);
    assert_non_null(zone);
    for (size_t i = 0; i < N; i++) {
        uint8_t *message = zone + i * (MESSAGE + 2);
        message[0] = MESSAGE >> 8;
        message[1] = MESSAGE & 0xff;
        message[3] = (uint8_t)i;
    }
    syn(f);
    size_t n_segments = (len + SEGMENT - 1) / SEGMENT;
    for (size_t i = 0; i < n_segments; i++) {
        size_t k = i % 7 == 3 && i + 1 < n_segments ? i + 1 : i % 7 == 4 ? i - 1 : i;
        size_t at = k * SEGMENT;
        send_bytes(f, 4000, ISN + (uint32_t)at, PK_TCP_ACK, zone + at,
            len - at < SEGMENT ? len - at : SEGMENT, 0);
    }
    free(zone);
    assert_int_equal(f->n, N);
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(f->ids[i], i);
    }
    assert_int_equal(f->stats.tcp_bytes_used, len);
}

static void a_port_used_again_begins_anew(void **state)
{
    struct fixture *f = *state;
    syn(f);
    part(f, 0, 5, 0);
    send_bytes(f, 4000, 77, PK_TCP_SYN, NULL, 0, 0);
    send_bytes(f, 4000, 78, PK_TCP_ACK, f->stream, f->end[0], 0);
    assert_ids(f, "1");
    assert_int_equal(f->stats.tcp_streams, 2);
}

static void directions_are_streams_of_their_own(void **state)
{
    struct fixture *f = *state;
    syn(f);
    part(f, 0, 5, 0);
    send_bytes(f, 4001, ISN + 5, PK_TCP_ACK, f->stream, f->end[0], 0);
    part(f, 5, f->end[0], 0);
    assert_ids(f, "11");
}

static void a_length_too_short_for_a_header_ends_trust(void **state)
{
    struct fixture *f = *state;
    static const uint8_t zero[40] = {0, 11};
    syn(f);
    send_bytes(f, 4000, ISN, PK_TCP_ACK, zero, sizeof zero, 0);
    assert_ids(f, "");
    assert_int_equal(f->stats.tcp_bad_length, 1);
    assert_int_equal(shed(f), sizeof zero);
    send_bytes(f, 4000, ISN + (uint32_t)sizeof zero, PK_TCP_ACK, f->stream, f->end[0], 0);
    assert_ids(f, "1"); /* and is won back */
}

static void the_largest_message_fits(void **state)
{
    struct fixture *f = *state;
    uint8_t *big = calloc(1, 65537);
    assert_non_null(big);
    big[0] = big[1] = 0xff;
    big[3] = 9;
    syn(f);
    for (size_t at = 0; at < 65537; at += 1400) {
        send_bytes(f, 4000, ISN + (uint32_t)at, PK_TCP_ACK, big + at,
            65537 - at < 1400 ? 65537 - at : 1400, 0);
    }
    free(big);
    assert_ids(f, "9");
}

static void the_table_of_streams_is_bounded(void **state)
{
    struct fixture *f = *state;
    for (uint32_t i = 0; i < PK_REASM_MAX_STREAMS + 100; i++) {
        send_bytes(f, (uint16_t)(1024 + i), 1, PK_TCP_SYN, NULL, 0, 0);
    }
    assert_int_equal(f->stats.tcp_streams_shed, 100);
    send_bytes(f, 1024, 2, PK_TCP_ACK, f->stream + 5, f->end[0] - 5,
        0); /* the oldest was shed: met midway */
    assert_ids(f, "");
}

static void buffered_bytes_are_bounded(void **state)
{
    struct fixture *f = *state;
    uint8_t *half = calloc(1, 60000);
    assert_non_null(half);
    half[0] = 0xff; /* promises more than ever comes */
    for (uint16_t i = 0; i < 1000; i++) {
        send_bytes(f, (uint16_t)(2000 + i), 1, PK_TCP_SYN, NULL, 0, 0);
        send_bytes(f, (uint16_t)(2000 + i), 2, PK_TCP_ACK, half, 60000, 0);
    }
    free(half);
    assert_true(f->stats.tcp_streams_shed >= 1000 - PK_REASM_MAX_BYTES / 60000);
    assert_int_equal(f->stats.tcp_shed[PK_TCP_SHED_MEMORY], f->stats.tcp_streams_shed * 60000);
    assert_true(f->stats.tcp_bytes_pending <= PK_REASM_MAX_BYTES);
    assert_ids(f, "");
}

static void idle_streams_are_forgotten(void **state)
{
    struct fixture *f = *state;
    syn(f);
    part(f, 0, 5, 0);
    send_bytes(f, 4001, 1, PK_TCP_SYN, NULL, 0, PK_REASM_IDLE_US + 1);
    part(f, 5, f->end[0], PK_REASM_IDLE_US + 1);
    assert_ids(f, "");
    assert_int_equal(shed(f), f->end[0]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(many_messages_in_one_segment),
        TEST(one_byte_a_segment),
        TEST(any_cut_gives_the_same_messages),
        TEST(segments_out_of_order_wait),
        TEST(retransmissions_and_overlaps_count_once),
        TEST(a_keep_alive_is_no_data),
        TEST(data_on_a_syn_is_used),
        TEST(a_stream_met_midway_starts_at_a_message),
        TEST(a_gap_is_given_up_after_a_while),
        TEST(a_gap_is_given_up_when_too_much_waits),
        TEST(a_gap_is_given_up_when_too_many_bytes_wait),
        TEST(fin_waits_for_the_gap),
        TEST(a_gap_before_fin_is_given_up_in_time),
        TEST(the_end_of_input_gives_out_what_waits),
        TEST(a_message_names_the_packet_that_completed_it),
        TEST(a_copy_of_what_waits_is_not_held_twice),
        TEST(a_reset_far_from_the_window_is_nobodys),
        TEST(data_on_a_repeated_syn_counts_once),
        TEST(a_port_used_again_unseen_begins_anew),
        TEST(a_large_transfer_comes_whole),
        TEST(reset_forgets_the_stream),
        TEST(a_port_used_again_begins_anew),
        TEST(directions_are_streams_of_their_own),
        TEST(a_length_too_short_for_a_header_ends_trust),
        TEST(the_largest_message_fits),
        TEST(the_table_of_streams_is_bounded),
        TEST(buffered_bytes_are_bounded),
        TEST(idle_streams_are_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

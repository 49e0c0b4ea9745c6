/* Streams of bytes to frames, in whatever pieces they come, and what must end a stream. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sensor/input/fstrm.h"
#include "tap_builder.h"

enum {
    ACCEPT = 1,
    START,
    STOP,
    READY,
    FINISH
};

struct result {
    enum pk_fstrm_result last;
    unsigned n_frames, n_ended;
    size_t n_bytes;
    uint8_t reply[PK_FSTRM_MAX_REPLY];
    size_t reply_len;
    char fault[64];
    bool is_inside;
    size_t cap;
};

/* Feeds all of it, at most `piece` bytes at a time. */
static struct result feed(const uint8_t *data, size_t len, bool is_file, size_t piece)
{
    struct result result = {0};
    struct pk_fstrm stream;
    struct pk_slice frame;
    pk_fstrm_init(&stream, is_file);
    for (;;) {
        result.last = pk_fstrm_next(&stream, &frame);
        if (result.last == PK_FSTRM_FRAME) {
            result.n_frames++;
            result.n_bytes += frame.len;
            continue;
        }
        if (result.last == PK_FSTRM_ENDED && is_file) {
            result.n_ended++;
            continue;
        }
        if (result.last != PK_FSTRM_MORE || len == 0) {
            break;
        }
        size_t room;
        uint8_t *p = pk_fstrm_room(&stream, &room);
        assert_non_null(p);
        size_t n = len < piece ? len : piece;
        n = n < room ? n : room;
        memcpy(p, data, n);
        pk_fstrm_filled(&stream, n);
        data += n;
        len -= n;
    }
    memcpy(result.reply, stream.reply, stream.reply_len);
    result.reply_len = stream.reply_len;
    strncpy(result.fault, pk_fstrm_fault(&stream), sizeof result.fault - 1);
    result.is_inside = pk_fstrm_is_inside(&stream);
    result.cap = stream.cap;
    pk_fstrm_done(&stream);
    return result;
}

/* READY (unless one way), START, two frames, STOP. */
static size_t session(uint8_t *out, bool is_two_way, const char *type)
{
    size_t len = is_two_way ? pk_tap_control(out, READY, type) : 0;
    len += pk_tap_control(out + len, START, type);
    len += pk_tap_frame(out + len, "first", 5);
    len += pk_tap_frame(out + len, "second", 6);
    return len + pk_tap_control(out + len, STOP, NULL);
}

static void a_session_is_the_same_in_any_pieces(void **state)
{
    (void)state;
    uint8_t out[PK_TAP_MAX], reply[PK_TAP_MAX];
    for (int is_two_way = 0; is_two_way < 2; is_two_way++) {
        size_t len = session(out, is_two_way, PK_FSTRM_DNSTAP), reply_len = 0;
        if (is_two_way) {
            reply_len = pk_tap_control(reply, ACCEPT, PK_FSTRM_DNSTAP);
            reply_len += pk_tap_control(reply + reply_len, FINISH, NULL);
        }
        for (size_t piece = 1; piece <= len; piece++) {
            struct result result = feed(out, len, false, piece);
            assert_int_equal(result.last, PK_FSTRM_ENDED);
            assert_int_equal(result.n_frames, 2);
            assert_int_equal(result.n_bytes, 11);
            assert_int_equal(result.reply_len, reply_len);
            assert_memory_equal(result.reply, reply, reply_len);
        }
    }
}

static void a_file_may_hold_several_streams_and_lack_the_last_stop(void **state)
{
    (void)state;
    uint8_t out[PK_TAP_MAX];
    size_t len = session(out, false, PK_FSTRM_DNSTAP);
    len += session(out + len, false, PK_FSTRM_DNSTAP) - 12;
    struct result result = feed(out, len, true, len);
    assert_int_equal(result.last, PK_FSTRM_MORE);
    assert_int_equal(result.n_frames, 4);
    assert_int_equal(result.n_ended, 1);
    assert_false(result.is_inside);
    assert_int_equal(result.reply_len, 0);
    assert_true(feed(out, len - 1, true, len).is_inside);
}

static void other_content_is_refused(void **state)
{
    (void)state;
    uint8_t out[PK_TAP_MAX];
    for (int is_two_way = 0; is_two_way < 2; is_two_way++) {
        size_t len = session(out, is_two_way, "protobuf:other.Thing");
        struct result result = feed(out, len, false, len);
        assert_int_equal(result.last, PK_FSTRM_BROKEN);
        assert_int_equal(result.n_frames, 0);
        assert_int_equal(result.reply_len, 0);
        len = session(out, is_two_way, NULL); /* no type named: any will do */
        assert_int_equal(feed(out, len, false, len).last, PK_FSTRM_ENDED);
    }
}

static void what_is_out_of_turn_or_impossible_breaks_the_stream(void **state)
{
    (void)state;
    uint8_t out[PK_TAP_MAX];
    size_t len;
    static const struct {
        unsigned controls[3];
        bool is_file;
    } cases[] = {
        {{STOP, 0, 0}, false},
        {{ACCEPT, 0, 0}, false},
        {{FINISH, 0, 0}, false},
        {{READY, READY, 0}, false},
        {{READY, STOP, 0}, false},
        {{START, START, 0}, false},
        {{START, READY, 0}, false},
        {{READY, START, READY}, false},
        {{READY, 0, 0}, true},
        {{9, 0, 0}, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        len = 0;
        for (size_t j = 0; j < 3 && cases[i].controls[j]; j++) {
            unsigned type = cases[i].controls[j];
            len += pk_tap_control(
                out + len, type, type == STOP || type == FINISH ? NULL : PK_FSTRM_DNSTAP);
        }
        assert_int_equal(feed(out, len, cases[i].is_file, len).last, PK_FSTRM_BROKEN);
    }
    len = pk_tap_frame(out, "early", 5);
    assert_int_equal(feed(out, len, false, len).last, PK_FSTRM_BROKEN);
    static const uint8_t lengths[][4] = {
        {0, 0, 0, 0}, {0, 0, 0, 3}, {0, 0, 2, 1}, {0xff, 0xff, 0xff, 0xff}};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) { /* of a control frame */
        memset(out, 0, 4);
        memcpy(out + 4, lengths[i], 4);
        assert_int_equal(feed(out, 8, false, 8).last, PK_FSTRM_BROKEN);
    }
    static const uint8_t field[] = {0, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0, 4, 0, 0, 0, 1, 0xff, 0, 0, 0};
    assert_int_equal(feed(field, sizeof field, false, 99).last, PK_FSTRM_BROKEN);
}

static void frames_up_to_the_greatest_pass_and_longer_ones_end_the_stream(void **state)
{
    (void)state;
    size_t size = PK_FSTRM_MAX_FRAME + 256;
    uint8_t *out = calloc(1, size);
    assert_non_null(out);
    for (uint32_t n = PK_FSTRM_MAX_FRAME; n <= PK_FSTRM_MAX_FRAME + 1; n++) {
        size_t len = pk_tap_control(out, START, PK_FSTRM_DNSTAP);
        for (int i = 0; i < 4; i++) {
            out[len + (size_t)i] = (uint8_t)(n >> (24 - 8 * i));
        }
        len += 4 + n;
        struct result result = feed(out, len, false, 65536);
        bool is_good = n == PK_FSTRM_MAX_FRAME;
        assert_int_equal(result.last, is_good ? PK_FSTRM_MORE : PK_FSTRM_OVERSIZE);
        assert_int_equal(result.n_frames, is_good);
        assert_true(result.cap <= PK_FSTRM_MAX_FRAME + 4);
    }
    /* The announcement alone costs nothing. */
    size_t len = pk_tap_control(out, START, PK_FSTRM_DNSTAP);
    memcpy(out + len, "\0\1\xff\xff", 4);
    assert_true(feed(out, len + 4, false, 65536).cap <= 4096);
    free(out);
}

static void a_frame_stream_is_told_by_its_start(void **state)
{
    (void)state;
    uint8_t out[PK_TAP_MAX];
    size_t len = pk_tap_control(out, START, PK_FSTRM_DNSTAP);
    assert_true(pk_fstrm_is_start(out, len));
    assert_false(pk_fstrm_is_start(out, 11));
    (void)pk_tap_control(out, READY, PK_FSTRM_DNSTAP);
    assert_false(pk_fstrm_is_start(out, len));
    assert_false(pk_fstrm_is_start((const uint8_t *)"\xd4\xc3\xb2\xa1\2\0\4\0\0\0\0\0", 12));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_is_the_same_in_any_pieces),
        cmocka_unit_test(a_file_may_hold_several_streams_and_lack_the_last_stop),
        cmocka_unit_test(other_content_is_refused),
        cmocka_unit_test(what_is_out_of_turn_or_impossible_breaks_the_stream),
        cmocka_unit_test(frames_up_to_the_greatest_pass_and_longer_ones_end_the_stream),
        cmocka_unit_test(a_frame_stream_is_told_by_its_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What sensors say to their scopes, on its way to the core: with made times, over a real link. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "child.h"

enum {
    SENSOR = 7,
    VERSION = 99,
    TELL_MS = 1000,
    BEGIN_MS = 5000,
};

struct world {
    struct child child;
    struct pk_link core;
    struct pk_session *session;
    struct pk_link_scope_ack last;
    size_t n_told;
};

static void begin(struct world *w)
{
    static const uint8_t routing[PK_ROUTING_ID_BYTES] = {0, 1};
    struct pk_session replaced;
    int fds[2];
    memset(w, 0, sizeof *w);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    assert_int_equal(pk_link_init(&w->child.link, fds[0], 1 << 20), PK_OK);
    assert_int_equal(pk_link_init(&w->core, fds[1], 1 << 20), PK_OK);
    assert_int_equal(pk_sessions_init(&w->child.sessions, 1 << 20, 8), PK_OK);
    w->session = pk_sessions_open(&w->child.sessions, SENSOR, 1, 1, routing, &replaced);
    assert_non_null(w->session);
    w->session->is_resumed = true;
    w->session->scope = (struct pk_session_scope){
        .is_taken = true, .wanted = VERSION, .due_ms = INT64_MAX, .wait_ms = 1};
}

static void end(struct world *w)
{
    pk_sessions_done(&w->child.sessions);
    pk_link_done(&w->child.link);
    pk_link_done(&w->core);
}

static void say(struct world *w, int64_t now_ms, uint8_t status, const char *reason)
{
    struct pk_frame frame = {
        .type = PK_FRAME_CONFIG_ACK, .u.config_ack = {.version = VERSION, .status = status}};
    struct pk_bytes body;
    pk_bytes_init(&body, 1024);
    assert_int_equal(pk_config_ack_body_encode(reason, &body), PK_OK);
    w->session->last_frame_ms = now_ms;
    assert_true(pk_scopes_acked(&w->child, w->session, &frame, body.data, body.len));
    pk_bytes_done(&body);
}

/* How many answers the core was told since the last call. */
static size_t heard(struct world *w)
{
    enum pk_link_type type;
    const uint8_t *data;
    size_t len, before = w->n_told;
    (void)pk_link_fill(&w->core);
    while (pk_link_next(&w->core, &type, &data, &len)) {
        assert_int_equal(type, PK_LINK_SCOPE_ACK);
        assert_int_equal(len, sizeof w->last);
        memcpy(&w->last, data, sizeof w->last);
        w->n_told++;
    }
    return w->n_told - before;
}

static void a_flood_of_changing_answers_is_one_message_a_second(void **state)
{
    struct world w;
    int64_t now_ms = BEGIN_MS;
    (void)state;
    begin(&w);
    for (int i = 0; i < 1000; i++, now_ms += 3) { /* three seconds of it */
        char reason[32];
        snprintf(reason, sizeof reason, "no %d", i);
        say(&w, now_ms, i % 2 ? PK_CONFIG_REFUSED : PK_CONFIG_KEPT, reason);
        pk_scopes_due(&w.child, now_ms);
    }
    assert_in_range(heard(&w), 1, 3);
    pk_scopes_due(&w.child, now_ms + TELL_MS);
    assert_int_equal(heard(&w), 1);
    assert_int_equal(w.last.sensor, SENSOR);
    assert_int_equal(w.last.version, VERSION);
    assert_int_equal(w.last.status, PK_CONFIG_REFUSED);
    assert_string_equal(w.last.reason, "no 999");
    pk_scopes_due(&w.child, now_ms + 3 * TELL_MS); /* and then there is nothing more to tell */
    assert_int_equal(heard(&w), 0);
    end(&w);
}

static void an_unchanged_scope_under_another_number_is_told_again_and_not_sent(void **state)
{
    struct world w;
    struct pk_link_scope known = {.sensor = SENSOR, .version = VERSION, .session = 1};
    (void)state;
    begin(&w);
    say(&w, BEGIN_MS, PK_CONFIG_NOT_DURABLE, "two left out");
    assert_int_equal(heard(&w), 1);
    w.session->scope.wanted = 0; /* as when the scope changed */
    pk_scopes_answer(&w.child, &known, NULL, 0);
    pk_scopes_due(&w.child, BEGIN_MS + TELL_MS);
    assert_int_equal(heard(&w), 1);
    assert_int_equal(w.last.status, PK_CONFIG_NOT_DURABLE);
    assert_string_equal(w.last.reason, "two left out");
    assert_int_equal(w.session->scope.due_ms, INT64_MAX);
    /* What it refused is not told of another version. */
    say(&w, BEGIN_MS + 2 * TELL_MS, PK_CONFIG_REFUSED, "no");
    say(&w, BEGIN_MS + 2 * TELL_MS, PK_CONFIG_REFUSED, "never");
    assert_int_equal(heard(&w), 1);
    known.version = VERSION + 1;
    pk_scopes_answer(&w.child, &known, NULL, 0);
    pk_scopes_due(&w.child, BEGIN_MS + 4 * TELL_MS);
    assert_int_equal(heard(&w), 0);
    end(&w);
}

static void a_status_that_there_is_not_is_malformed(void **state)
{
    (void)state;
    for (unsigned status = 0; status < 256; status++) {
        struct pk_frame frame = {.type = PK_FRAME_CONFIG_ACK,
            .session = 1,
            .u.config_ack = {.version = VERSION, .status = (uint8_t)status}};
        struct pk_frame got;
        struct pk_bytes header;
        pk_bytes_init(&header, PK_MAX_HEADER_BYTES);
        assert_int_equal(pk_frame_encode(&frame, &header), PK_OK);
        pk_err err = pk_frame_decode(header.data, header.len, &got);
        assert_int_equal(err == PK_OK, status <= PK_CONFIG_NOT_DURABLE);
        pk_bytes_done(&header);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flood_of_changing_answers_is_one_message_a_second),
        cmocka_unit_test(an_unchanged_scope_under_another_number_is_told_again_and_not_sent),
        cmocka_unit_test(a_status_that_there_is_not_is_malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What an aggregator says besides acknowledgements, and what the sensor's half answers: scopes, and which codec it may be sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "picket/batch.h"
#include "picket/codec.h"
#include "picket/hash.h"
#include "picket/limits.h"

#include "sensor/ship/delivery.h"

enum {
    SESSION = 77
};

struct world {
    struct pk_delivery *delivery;
    struct pk_queue queue;
    struct pk_segment_record record; /* what the queue gives; body NULL: nothing */
    struct pk_queue_at acked;
    struct pk_frame last; /* that was sent, with its body */
    uint8_t last_body[PK_MAX_BODY_BYTES / 16];
    size_t last_len, n_sent;
    uint64_t capabilities; /* of HELLO */
    pk_err offer_result;
    size_t n_offers;
    uint32_t offered; /* version */
    enum pk_queue_refusal refused;
    char told[256];
    struct pk_scope_verdict in_use;
};

static void q_info(void *self, struct pk_queue_info *out)
{
    struct world *w = self;
    *out = (struct pk_queue_info){
        .epoch = 5, .oldest_seq = 1, .newest_seq = 1, .n_batches = w->record.body != NULL};
}

static bool q_next(void *self, struct pk_queue_at after, struct pk_bytes *buffer,
    struct pk_queue_at *out_at, struct pk_segment_record *out_record)
{
    struct world *w = self;
    (void)buffer;
    if (!w->record.body || after.epoch != 0) {
        return false;
    }
    *out_at = (struct pk_queue_at){.epoch = 5, .seq = 1};
    *out_record = w->record;
    return true;
}

static void q_ack(void *self, uint64_t epoch, uint64_t from, uint64_t to)
{
    (void)from;
    ((struct world *)self)->acked = (struct pk_queue_at){.epoch = epoch, .seq = to};
}

static void q_refused(void *self, struct pk_queue_at at, enum pk_queue_refusal why)
{
    (void)at;
    ((struct world *)self)->refused = why;
    ((struct world *)self)->record.body = NULL;
}

static bool l_connect(void *arg, const struct pk_endpoint *endpoint)
{
    (void)arg;
    (void)endpoint;
    return true;
}

static void l_disconnect(void *arg)
{
    (void)arg;
}

static bool l_send(void *arg, const struct pk_frame *frame, const uint8_t *body, size_t len)
{
    struct world *w = arg;
    struct pk_hello_body hello;
    assert_true(len <= sizeof w->last_body);
    if (frame->type == PK_FRAME_HELLO) {
        assert_int_equal(pk_hello_body_decode(body, len, &hello), PK_OK);
        w->capabilities = hello.capabilities;
    }
    if (frame->type != PK_FRAME_HEARTBEAT) {
        w->last = *frame;
        w->last_len = body ? len : 0;
        memcpy(w->last_body, body ? body : (const uint8_t *)"", w->last_len);
        w->n_sent++;
    }
    return true;
}

static void l_tell(void *arg, int level, const char *text)
{
    (void)level;
    snprintf(((struct world *)arg)->told, sizeof((struct world *)arg)->told, "%s", text);
}

static uint32_t l_random(void *arg, uint32_t below)
{
    (void)arg;
    (void)below;
    return 0;
}

static pk_err l_offer(void *arg, const uint8_t *body, size_t len)
{
    struct world *w = arg;
    w->n_offers++;
    w->offered = pk_config_version(body, len);
    return w->offer_result;
}

static struct pk_scope_verdict l_in_use(void *arg)
{
    return ((struct world *)arg)->in_use;
}

static struct pk_delivery_time at(int64_t ms)
{
    return (struct pk_delivery_time){.mono_ms = ms, .wall_us = 1795000000000000 + ms * 1000};
}

static void hear(struct world *w, const struct pk_frame *frame, const struct pk_bytes *body)
{
    struct pk_bytes header;
    pk_bytes_init(&header, PK_MAX_HEADER_BYTES);
    assert_int_equal(pk_frame_encode(frame, &header), PK_OK);
    pk_delivery_on_message(w->delivery, header.data, header.len, body ? body->data : NULL,
        body ? body->len : 0, at(20));
    pk_bytes_done(&header);
}

static void welcome(struct world *w, uint64_t capabilities, uint32_t config_version)
{
    struct pk_frame frame = {.type = PK_FRAME_WELCOME, .session = SESSION};
    struct pk_welcome_body body = {.sensor_id = 1,
        .max_body_bytes = PK_MAX_BODY_BYTES,
        .max_unpacked_bytes = PK_MAX_BODY_BYTES,
        .credit_batches = 4,
        .credit_bytes = 1 << 20,
        .ack_timeout_ms = 15000,
        .heartbeat_ms = 15000,
        .config_version = config_version,
        .capabilities = capabilities};
    struct pk_bytes out;
    pk_bytes_init(&out, 4096);
    assert_int_equal(pk_welcome_body_encode(&body, &out), PK_OK);
    hear(w, &frame, &out);
    pk_bytes_done(&out);
}

/* Up to the point where WELCOME is waited for. */
static void begin(struct world *w, bool takes_scope)
{
    struct pk_delivery_options options = {
        .n_endpoints = 1, .sensor = "hq-1", .software = "test", .pubkey_text = ""};
    struct pk_delivery_link link = {.arg = w,
        .connect = l_connect,
        .disconnect = l_disconnect,
        .send = l_send,
        .random = l_random,
        .tell = l_tell,
        .offer_scope = takes_scope ? l_offer : NULL,
        .scope_in_use = l_in_use};
    *w = (struct world){.offer_result = PK_OK};
    snprintf(options.endpoints[0].address, sizeof options.endpoints[0].address, "tcp://a:1");
    w->queue = (struct pk_queue){.self = w,
        .info = q_info,
        .next = q_next,
        .ack = q_ack,
        .refused = q_refused,
        .wake_fd = -1};
    assert_int_equal(pk_delivery_new(&options, &w->queue, &link, &w->delivery), PK_OK);
    pk_delivery_tick(w->delivery, at(0));
    pk_delivery_on_event(w->delivery, PK_DELIVERY_CONNECTED, at(10));
    assert_int_equal(pk_delivery_state(w->delivery), PK_DELIVERY_HELLO_SENT);
}

static struct pk_bytes scope_body(const char *text, uint32_t serial)
{
    struct pk_bytes body;
    struct pk_config_scope scope = {
        .serial = serial, .text = {.data = (const uint8_t *)text, .len = (uint32_t)strlen(text)}};
    pk_bytes_init(&body, PK_MAX_BODY_BYTES);
    assert_int_equal(pk_config_scope_encode(&scope, &body), PK_OK);
    return body;
}

static void config(struct world *w, const struct pk_bytes *body)
{
    struct pk_frame frame = {.type = PK_FRAME_CONFIG,
        .session = SESSION,
        .u.config = {.version = pk_config_version(body->data, body->len)}};
    hear(w, &frame, body);
}

static void answered(const struct world *w, uint32_t version, uint8_t status, const char *reason)
{
    char told[PK_CONFIG_REASON_SIZE] = "";
    assert_int_equal(w->last.type, PK_FRAME_CONFIG_ACK);
    assert_int_equal(w->last.session, SESSION);
    assert_int_equal(w->last.u.config_ack.version, version);
    assert_int_equal(w->last.u.config_ack.status, status);
    if (w->last_len > 0) {
        assert_int_equal(pk_config_ack_body_decode(w->last_body, w->last_len, told), PK_OK);
    }
    assert_string_equal(told, reason);
}

static void a_scope_is_offered_and_answered_when_it_was_judged(void **state)
{
    struct world w;
    struct pk_bytes body = scope_body("tenants: []", 3);
    uint32_t version = pk_config_version(body.data, body.len);
    (void)state;
    begin(&w, true);
    assert_true(w.capabilities & PK_CAP_SCOPE);
    welcome(&w, PK_CAP_ZSTD, version);
    size_t before = w.n_sent;
    config(&w, &body);
    assert_int_equal(w.n_offers, 1);
    assert_int_equal(w.offered, version);
    assert_int_equal(w.n_sent, before); /* nothing yet */
    struct pk_scope_verdict verdict = {.version = version, .status = PK_CONFIG_REFUSED};
    snprintf(verdict.reason, sizeof verdict.reason, "no site");
    pk_delivery_scope_judged(w.delivery, &verdict);
    answered(&w, version, PK_CONFIG_REFUSED, "no site");
    /* Offered again: it may be another by then. One that waits still is not answered. */
    w.offer_result = PK_ERR_LIMIT;
    before = w.n_sent;
    config(&w, &body);
    assert_int_equal(w.n_offers, 2);
    assert_int_equal(w.n_sent, before);
    /* The one in use is not offered. */
    w.in_use = (struct pk_scope_verdict){.version = version, .status = PK_CONFIG_NOT_DURABLE};
    config(&w, &body);
    assert_int_equal(w.n_offers, 2);
    answered(&w, version, PK_CONFIG_NOT_DURABLE, "");
    pk_bytes_done(&body);
    body = scope_body("tenants: []", 4); /* nor under another number */
    config(&w, &body);
    assert_int_equal(w.n_offers, 2);
    answered(&w, version, PK_CONFIG_NOT_DURABLE, "");
    pk_delivery_free(w.delivery);
    pk_bytes_done(&body);
}

static void the_one_in_use_is_told_after_welcome(void **state)
{
    struct world w;
    (void)state;
    begin(&w, true);
    w.in_use = (struct pk_scope_verdict){.version = 9, .status = PK_CONFIG_KEPT};
    snprintf(w.in_use.reason, sizeof w.in_use.reason, "two left out");
    welcome(&w, 0, 9);
    answered(&w, 9, PK_CONFIG_KEPT, "two left out");
    pk_delivery_free(w.delivery);
    begin(&w, true);
    w.in_use.version = 9;
    welcome(&w, 0, 10);
    assert_int_equal(w.last.type, PK_FRAME_HELLO);
    pk_delivery_free(w.delivery);
}

static void what_cannot_be_a_scope_is_refused_at_once(void **state)
{
    static const uint8_t damaged[] = {0x82, 0x02, 0xc4, 0x05, 'x'};
    struct world w;
    struct pk_bytes body;
    (void)state;
    begin(&w, true);
    welcome(&w, 0, 0);
    pk_bytes_init(&body, 64);
    pk_bytes_put(&body, damaged, sizeof damaged);
    config(&w, &body);
    answered(&w, pk_config_version(damaged, sizeof damaged), PK_CONFIG_REFUSED, "cannot be read");
    assert_int_equal(w.n_offers, 0);
    pk_bytes_done(&body);
    body = scope_body("x", 1);
    w.offer_result = PK_ERR_MALFORMED;
    config(&w, &body);
    answered(
        &w, pk_config_version(body.data, body.len), PK_CONFIG_REFUSED, "the scope cannot be read");
    /* Of another session nothing is heard. */
    size_t before = w.n_sent;
    struct pk_frame frame = {.type = PK_FRAME_CONFIG, .session = SESSION + 1};
    hear(&w, &frame, &body);
    assert_int_equal(w.n_sent, before);
    pk_delivery_free(w.delivery);
    pk_bytes_done(&body);
}

static void who_takes_no_scope_does_not_say_so(void **state)
{
    struct world w;
    (void)state;
    begin(&w, false);
    assert_false(w.capabilities & PK_CAP_SCOPE);
    assert_true(w.capabilities & PK_CAP_CONFIG);
    pk_delivery_free(w.delivery);
}

static void a_packed_batch_goes_packed_only_where_it_is_understood(void **state)
{
    static uint8_t raw[4096];
    struct pk_packer *packer;
    struct pk_bytes packed;
    (void)state;
    for (size_t i = 0; i < sizeof raw; i++) {
        raw[i] = (uint8_t)(i * i >> 4);
    }
    assert_int_equal(pk_packer_new(&packer), PK_OK);
    pk_bytes_init(&packed, PK_MAX_BODY_BYTES);
    assert_int_equal(pk_pack(packer, raw, sizeof raw, &packed), PK_CODEC_ZSTD);
    for (int knows = 0; knows < 2; knows++) {
        struct world w;
        uint8_t digest[PK_DIGEST_BYTES];
        begin(&w, false);
        w.record = (struct pk_segment_record){.seq = 1,
            .kind = PK_BATCH_ACTIVITY,
            .codec = PK_CODEC_ZSTD,
            .rows = 1,
            .body = packed.data,
            .body_len = (uint32_t)packed.len};
        welcome(&w, knows ? PK_CAP_ZSTD : PK_CAP_ROTATE, 0);
        pk_delivery_tick(w.delivery, at(30));
        assert_int_equal(w.last.type, PK_FRAME_BATCH);
        assert_int_equal(w.last.u.batch.codec, knows ? PK_CODEC_ZSTD : PK_CODEC_PLAIN);
        assert_int_equal(w.last.u.batch.raw_len, sizeof raw);
        assert_int_equal(w.last.u.batch.body_len, w.last_len);
        pk_digest(w.last_body, w.last_len, digest);
        assert_memory_equal(w.last.u.batch.digest, digest, sizeof digest);
        if (!knows) {
            assert_int_equal(w.last_len, sizeof raw);
            assert_memory_equal(w.last_body, raw, sizeof raw);
        }
        pk_delivery_free(w.delivery);
    }
    pk_bytes_done(&packed);
    pk_packer_free(packer);
}

static void what_cannot_be_sent_is_given_up_and_said_why(void **state)
{
    (void)state;
    static uint8_t body[PK_MAX_BODY_BYTES + 1] = {0x81, 1, 1};
    static const struct {
        uint8_t codec;
        uint32_t len;
        enum pk_queue_refusal why;
        const char *told;
    } cases[] = {
        {PK_CODEC_PLAIN, sizeof body, PK_QUEUE_REFUSED_LOST, "beyond the aggregator's limit"},
        {PK_CODEC_ZSTD, 3, PK_QUEUE_REFUSED_DAMAGED, "cannot be unpacked"},
    };
    for (size_t i = 0; i < 2; i++) {
        for (int knows = 0; knows < 2; knows++) {
            struct world w;
            begin(&w, false);
            w.record = (struct pk_segment_record){.seq = 1,
                .kind = PK_BATCH_ACTIVITY,
                .codec = cases[i].codec,
                .rows = 1,
                .body = body,
                .body_len = cases[i].len};
            welcome(&w, knows ? PK_CAP_ZSTD : PK_CAP_ROTATE, 0);
            pk_delivery_tick(w.delivery, at(30));
            assert_null(w.record.body);
            assert_int_equal(w.refused, cases[i].why);
            assert_non_null(strstr(w.told, cases[i].told));
            pk_delivery_free(w.delivery);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_scope_is_offered_and_answered_when_it_was_judged),
        cmocka_unit_test(the_one_in_use_is_told_after_welcome),
        cmocka_unit_test(what_cannot_be_a_scope_is_refused_at_once),
        cmocka_unit_test(who_takes_no_scope_does_not_say_so),
        cmocka_unit_test(what_cannot_be_sent_is_given_up_and_said_why),
        cmocka_unit_test(a_packed_batch_goes_packed_only_where_it_is_understood),
    };
    return pk_hash_start() == PK_OK ? cmocka_run_group_tests(tests, NULL, NULL) : 2;
}

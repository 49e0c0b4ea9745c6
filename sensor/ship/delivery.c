/* One struct, one state, and a deadline for whatever the state waits for. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "picket/clock.h"
#include "picket/codec.h"
#include "picket/limits.h"
#include "picket/log.h"

#include "ship/delivery_internal.h"

enum {
    MAX_WAIT_MS = 1000,
    PIPE_WAIT_MS = 10, /* libzmq tells of the handshake a moment before its pipe takes messages */
    MAX_RETRY_AFTER_MS = 600000,
    TEXT_SIZE = 1024,
};

pk_err pk_delivery_new(const struct pk_delivery_options *options, const struct pk_queue *queue,
    const struct pk_delivery_link *link, struct pk_delivery **out_delivery)
{
    struct pk_delivery *d = calloc(1, sizeof *d);
    if (!d) {
        return PK_ERR_NOMEM;
    }
    d->options = *options;
    d->queue = queue;
    d->link = *link;
    pk_bytes_init(&d->buffer, PK_MAX_SEGMENT_RECORD);
    pk_bytes_init(&d->plain, PK_MAX_BODY_BYTES);
    *out_delivery = d;
    return PK_OK;
}

void pk_delivery_free(struct pk_delivery *d)
{
    if (d) {
        pk_bytes_done(&d->buffer);
        pk_bytes_done(&d->plain);
        free(d);
    }
}

void delivery_tell(const struct pk_delivery *d, int level, const char *format, ...)
{
    char text[TEXT_SIZE];
    va_list args;
    if (!d->link.tell) {
        return;
    }
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    d->link.tell(d->link.arg, level, text);
}

static const struct pk_endpoint *endpoint_of(const struct pk_delivery *d)
{
    return d->is_redirected ? &d->elsewhere
           : d->endpoint < d->options.n_endpoints
               ? &d->options.endpoints[d->endpoint]
               : &d->options.learned.endpoints[d->endpoint - d->options.n_endpoints].endpoint;
}

/* Those of the list, then the learned. */
static size_t n_all(const struct pk_delivery *d)
{
    return d->options.n_endpoints + d->options.learned.n;
}

static struct pk_queue_info info_of(const struct pk_delivery *d)
{
    struct pk_queue_info info;
    d->queue->info(d->queue->self, &info);
    return info;
}

/* --- up and down --- */

/* Between half and the whole of the wait, so that a fleet does not come back in step. */
static void go_down(struct pk_delivery *d, int64_t wait_ms, int64_t now_ms, const char *why)
{
    if (d->state != PK_DELIVERY_DOWN) {
        d->link.disconnect(d->link.arg);
    }
    if (d->state == PK_DELIVERY_READY) {
        delivery_tell(
            d, PK_LOG_INFO, "disconnected endpoint=%s reason=\"%s\"", endpoint_of(d)->address, why);
    }
    d->until_ms =
        now_ms + wait_ms / 2 + (int64_t)d->link.random(d->link.arg, (uint32_t)(wait_ms / 2) + 1);
    d->state = PK_DELIVERY_DOWN;
    d->session = 0;
    d->n_flight = 0;
    d->flight_bytes = 0;
}

static int64_t next_backoff(struct pk_delivery *d, int64_t at_least_ms)
{
    d->backoff_ms = d->backoff_ms ? d->backoff_ms * 2 : PK_DELIVERY_BACKOFF_FIRST_MS;
    if (d->backoff_ms < at_least_ms) {
        d->backoff_ms = at_least_ms;
    }
    if (d->backoff_ms > PK_DELIVERY_BACKOFF_MAX_MS) {
        d->backoff_ms = PK_DELIVERY_BACKOFF_MAX_MS;
    }
    return d->backoff_ms;
}

/* This endpoint does not do: the next one is tried, after next_ms while there is one that was not tried in this round. */
static void try_next_endpoint(
    struct pk_delivery *d, int64_t now_ms, int64_t next_ms, int64_t at_least_ms, const char *why)
{
    bool was_last = !d->is_redirected && d->endpoint + 1 == n_all(d);
    if (d->is_redirected) {
        d->is_redirected = false;
    } else {
        d->endpoint = (d->endpoint + 1) % n_all(d);
    }
    d->is_patient = d->is_patient || was_last;
    go_down(d, was_last ? next_backoff(d, at_least_ms) : next_ms, now_ms, why);
}

static void give_up_endpoint(
    struct pk_delivery *d, int64_t now_ms, int64_t at_least_ms, const char *why)
{
    try_next_endpoint(d, now_ms, PK_DELIVERY_BACKOFF_FIRST_MS, at_least_ms, why);
}

/* One that was announced for later is left out; the first of the list never is. */
static bool is_early(const struct pk_delivery *d, int64_t wall_us)
{
    return d->endpoint >= d->options.n_endpoints &&
           d->options.learned.endpoints[d->endpoint - d->options.n_endpoints].not_before_us >
               wall_us;
}

static void begin_connect(struct pk_delivery *d, struct pk_delivery_time now)
{
    int64_t now_ms = now.mono_ms;
    while (!d->is_redirected && is_early(d, now.wall_us)) {
        d->endpoint = (d->endpoint + 1) % n_all(d);
    }
    if (d->has_elsewhere) { /* once: when it does not work out, the list stands */
        d->has_elsewhere = false;
        d->is_redirected = true;
    }
    d->state = PK_DELIVERY_CONNECTING;
    d->is_open = false;
    d->until_ms = now_ms + (n_all(d) > 1 && !d->is_patient ? PK_DELIVERY_CONNECT_FIRST_MS
                                                           : PK_DELIVERY_CONNECT_MS);
    if (!d->link.connect(d->link.arg, endpoint_of(d))) {
        give_up_endpoint(d, now_ms, 0, "connect");
    }
}

/* By this clock; a queue that was filled by a clock that ran ahead is not behind. */
static uint64_t behind_us(const struct pk_queue_info *info, int64_t wall_us)
{
    return info->n_batches > 0 && info->oldest_us != 0 && info->oldest_us < wall_us
               ? (uint64_t)(wall_us - info->oldest_us)
               : 0;
}

static void say_hello(struct pk_delivery *d, struct pk_delivery_time now)
{
    struct pk_queue_info info = info_of(d);
    struct pk_hello_body hello = {
        .capabilities = PK_CAP_ZSTD | PK_CAP_CONFIG | (d->options.is_durable ? PK_CAP_SPOOL : 0) |
                        (d->link.offer_scope ? PK_CAP_SCOPE : 0),
        .vantage = d->options.vantage,
        .privacy = d->options.privacy,
        .spool_epoch = info.epoch,
        .spool_oldest_seq = info.oldest_seq,
        .spool_newest_seq = info.newest_seq,
        .spool_bytes = info.bytes,
        .wall_us = now.wall_us,
        .queued = info.n_batches,
        .behind_us = behind_us(&info, now.wall_us),
    };
    snprintf(hello.sensor, sizeof hello.sensor, "%s", d->options.sensor);
    snprintf(hello.software, sizeof hello.software, "%s", d->options.software);
    struct pk_frame frame = {.type = PK_FRAME_HELLO,
        .u.hello = {.minor = PK_PROTO_MINOR, .mono_ns = (uint64_t)now.mono_ms * 1000000}};
    memcpy(frame.u.hello.boot_id, d->options.boot_id, PK_BOOT_ID_BYTES);
    struct pk_bytes body;
    pk_bytes_init(&body, PK_MAX_BODY_BYTES);
    d->hello_ms = now.mono_ms;
    bool is_sent = pk_hello_body_encode(&hello, &body) == PK_OK &&
                   d->link.send(d->link.arg, &frame, body.data, body.len);
    pk_bytes_done(&body);
    if (is_sent && d->state != PK_DELIVERY_HELLO_SENT) {
        d->state = PK_DELIVERY_HELLO_SENT;
        d->until_ms = now.mono_ms + PK_DELIVERY_HELLO_LIMIT_MS;
    }
}

static void on_refused(struct pk_delivery *d, int64_t now_ms)
{
    if (d->options.has_next_key) { /* which of the two is known may have changed since */
        d->uses_next_key = !d->uses_next_key;
        d->has_tried_both = !d->has_tried_both;
        if (d->has_tried_both) {
            go_down(d, PK_DELIVERY_BACKOFF_FIRST_MS, now_ms, "refused");
            return;
        }
    }
    if (!d->was_refused) {
        delivery_tell(d, PK_LOG_WARNING,
            "endpoint=%s the aggregator does not know this key yet; add it there: %s",
            endpoint_of(d)->address, d->options.pubkey_text);
    }
    d->was_refused = true;
    give_up_endpoint(d, now_ms, PK_DELIVERY_BACKOFF_REFUSED_MS, "refused");
}

/* Many sensors hear this at the same moment: the aggregator they had died. */
static void on_unreachable(struct pk_delivery *d, int64_t now_ms)
{
    if (d->state != PK_DELIVERY_CONNECTING) {
        return;
    }
    if (!d->was_unreachable) {
        delivery_tell(d, PK_LOG_WARNING,
            "endpoint=%s cannot be reached; batches wait, others are tried",
            endpoint_of(d)->address);
    }
    d->was_unreachable = true;
    try_next_endpoint(d, now_ms, PK_DELIVERY_NEXT_MS, 0, "cannot be reached");
}

void pk_delivery_on_event(
    struct pk_delivery *d, enum pk_delivery_event event, struct pk_delivery_time now)
{
    if (d->state == PK_DELIVERY_DOWN) {
        return; /* of a connection that was given up meanwhile */
    }
    switch (event) {
    case PK_DELIVERY_CONNECTED:
        if (d->state == PK_DELIVERY_CONNECTING) {
            d->is_open = true;
            say_hello(d, now);
        }
        break;
    case PK_DELIVERY_REFUSED:
        on_refused(d, now.mono_ms);
        break;
    case PK_DELIVERY_FAILED:
        delivery_tell(d, PK_LOG_WARNING,
            "endpoint=%s handshake refused without a reason: check the server's public key and the port",
            endpoint_of(d)->address);
        give_up_endpoint(d, now.mono_ms, 0, "handshake");
        break;
    case PK_DELIVERY_UNREACHABLE:
        on_unreachable(d, now.mono_ms);
        break;
    case PK_DELIVERY_BROKEN:
        if (d->state == PK_DELIVERY_CONNECTING) {
            break; /* libzmq says next that it tries again, or why it does not */
        }
        /* The same endpoint again: a restart of the aggregator is the usual cause. */
        go_down(d, next_backoff(d, 0), now.mono_ms, "the connection broke");
        break;
    }
}

/* --- sending --- */

static bool is_further(struct pk_queue_at a, struct pk_queue_at b)
{
    return a.epoch != b.epoch || a.seq > b.seq;
}

/* An aggregator that does not know zstd gets the body as it was before packing. */
static bool suit_codec(struct pk_delivery *d, struct pk_segment_record *record)
{
    const uint8_t *body;
    size_t len;
    if (record->codec != PK_CODEC_ZSTD || (d->welcome.capabilities & PK_CAP_ZSTD)) {
        return true;
    }
    if (pk_unpack(record->codec, record->body, record->body_len, &d->plain, &body, &len) != PK_OK) {
        return false;
    }
    record->body = body;
    record->body_len = (uint32_t)len;
    record->codec = PK_CODEC_PLAIN;
    return true;
}

/* It is never sent. */
static void give_up_batch(struct pk_delivery *d, struct pk_queue_at at,
    const struct pk_segment_record *record, bool is_readable)
{
    if (is_readable) {
        delivery_tell(d, PK_LOG_ERROR,
            "seq=%" PRIu64 " bytes=%u beyond the aggregator's limit of %u: given up", at.seq,
            record->body_len, d->welcome.max_body_bytes);
    } else {
        delivery_tell(d, PK_LOG_ERROR,
            "seq=%" PRIu64 " bytes=%u codec=%u its body cannot be unpacked: given up as damaged",
            at.seq, record->body_len, record->codec);
    }
    d->queue->refused(
        d->queue->self, at, is_readable ? PK_QUEUE_REFUSED_LOST : PK_QUEUE_REFUSED_DAMAGED);
    d->counters.refused++;
    d->sent = at;
}

static bool send_next(struct pk_delivery *d, int64_t now_ms)
{
    struct pk_queue_at at;
    struct pk_segment_record record;
    size_t raw_len;
    if (!d->queue->next(d->queue->self, d->sent, &d->buffer, &at, &record)) {
        return false;
    }
    bool is_readable = suit_codec(d, &record) && pk_unpacked_len(record.codec, record.body,
                                                     record.body_len, &raw_len) == PK_OK;
    if (!is_readable || record.body_len > d->welcome.max_body_bytes) {
        give_up_batch(d, at, &record, is_readable);
        return true;
    }
    if (d->n_flight > 0 && d->flight_bytes + raw_len > d->welcome.credit_bytes) {
        return false;
    }
    struct pk_frame frame = {
        .type = PK_FRAME_BATCH,
        .session = d->session,
        .u.batch =
            {
                .epoch = at.epoch,
                .seq = at.seq,
                .codec = record.codec,
                .kind = record.kind,
                .body_len = record.body_len,
                .raw_len = (uint32_t)raw_len,
                .rows = record.rows,
                .first_us = record.first_us,
                .last_us = record.last_us,
            },
    };
    pk_digest(record.body, record.body_len, frame.u.batch.digest);
    if (!d->link.send(d->link.arg, &frame, record.body, record.body_len)) {
        return false; /* the pipe is full: the next tick tries again */
    }
    if (d->n_flight == 0) {
        d->progress_ms = now_ms;
    }
    d->flight[d->n_flight++] = (struct in_flight){.at = at, .bytes = (uint32_t)raw_len};
    d->flight_bytes += raw_len;
    d->sent = at;
    if (is_further(at, d->furthest)) {
        d->furthest = at;
        d->counters.sent++;
    } else {
        d->counters.resent++;
    }
    return true;
}

static void send_batches(struct pk_delivery *d, int64_t now_ms)
{
    while (d->n_flight < d->welcome.credit_batches && d->n_flight < PK_DELIVERY_MAX_IN_FLIGHT &&
           send_next(d, now_ms)) {
    }
}

/* Takes batches out of the air; returns how many. */
static size_t land(struct pk_delivery *d, uint64_t epoch, uint64_t from, uint64_t to)
{
    size_t kept = 0, before = d->n_flight;
    for (size_t i = 0; i < d->n_flight; i++) {
        const struct in_flight *flying = &d->flight[i];
        if (flying->at.epoch == epoch && flying->at.seq >= from && flying->at.seq <= to) {
            d->flight_bytes -= flying->bytes;
        } else {
            d->flight[kept++] = *flying;
        }
    }
    d->n_flight = kept;
    return before - kept;
}

/* --- receiving --- */

static void on_welcome(struct pk_delivery *d, const struct pk_frame *frame, const uint8_t *body,
    size_t len, int64_t now_ms)
{
    struct pk_welcome_body welcome;
    if (d->state != PK_DELIVERY_HELLO_SENT && d->state != PK_DELIVERY_READY) {
        return;
    }
    if (!body || pk_welcome_body_decode(body, len, &welcome) != PK_OK || frame->session == 0) {
        give_up_endpoint(d, now_ms, 0, "WELCOME cannot be read");
        return;
    }
    struct pk_queue_info info = info_of(d);
    if (welcome.resume_epoch == info.epoch && welcome.resume_seq > info.newest_seq) {
        delivery_tell(d, PK_LOG_WARNING,
            "the aggregator has seq=%" PRIu64 " of epoch=%" PRIu64
            ", this spool only up to %" PRIu64
            ": it is a restored copy; what differs gets new numbers",
            welcome.resume_seq, info.epoch, info.newest_seq);
    }
    d->welcome = welcome;
    d->session = frame->session;
    d->sent =
        (struct pk_queue_at){0}; /* the queue knows what is acknowledged; the rest is sent again */
    d->n_flight = 0;
    d->flight_bytes = 0;
    d->state = PK_DELIVERY_READY;
    d->backoff_ms = 0;
    d->was_refused = d->was_unreachable = d->is_patient = false;
    d->has_tried_both = false;
    d->next_rotate_ms = now_ms;
    d->progress_ms = d->next_heartbeat_ms = now_ms;
    d->return_ms = now_ms + PK_DELIVERY_RETURN_MS +
                   (int64_t)d->link.random(d->link.arg, PK_DELIVERY_RETURN_MS / 2);
    d->counters.sessions++;
    delivery_tell(d, PK_LOG_INFO,
        "connected endpoint=%s sensor_id=%u resume_seq=%" PRIu64 " queued=%" PRIu64,
        endpoint_of(d)->address, welcome.sensor_id, welcome.resume_seq, info.n_batches);
    if (d->uses_next_key) {
        d->uses_next_key = d->options.has_next_key = false;
        delivery_tell(d, PK_LOG_INFO, "the new key is in use, the old one is retired");
        if (d->link.rotated) {
            d->link.rotated(d->link.arg);
        }
    }
    delivery_tell_scope_in_use(d);
}

/* What was sent in this session, never more: what lies in the aggregator under the same number may be other content (a restored copy of the queue). */
static void ack_sent(struct pk_delivery *d, uint64_t epoch, uint64_t from, uint64_t to)
{
    to = epoch == d->sent.epoch && to > d->sent.seq ? d->sent.seq : to;
    size_t n = land(d, epoch, from, to);
    d->counters.acked += n;
    if (n > 0) {
        d->queue->ack(d->queue->self, epoch, from, to);
    }
}

static void on_ack(struct pk_delivery *d, const struct pk_frame *frame, int64_t now_ms)
{
    ack_sent(d, frame->u.ack.epoch, 0, frame->u.ack.upto);
    for (uint32_t i = 0; i < frame->u.ack.n_ranges; i++) { /* of one that commits out of order */
        ack_sent(d, frame->u.ack.epoch, frame->u.ack.ranges[i].from, frame->u.ack.ranges[i].to);
    }
    d->welcome.credit_batches = frame->u.ack.credit_batches;
    d->welcome.credit_bytes = frame->u.ack.credit_bytes;
    d->progress_ms = now_ms;
}

/* An ERROR that names a batch. Only one that is under way is believed: no aggregator can make us forget others. */
static void on_batch_error(struct pk_delivery *d, const struct pk_frame *frame, const char *text)
{
    struct pk_queue_at at = {.epoch = frame->u.error.epoch, .seq = frame->u.error.seq};
    if (land(d, at.epoch, at.seq, at.seq) == 0) {
        return;
    }
    enum pk_queue_refusal why =
        frame->u.error.code == PK_FRAME_ERR_EPOCH_CONFLICT ? PK_QUEUE_REFUSED_CONFLICT
        : frame->u.error.code == PK_FRAME_ERR_TOO_LARGE    ? PK_QUEUE_REFUSED_LOST
                                                           : PK_QUEUE_REFUSED_KEPT;
    delivery_tell(d, PK_LOG_ERROR,
        "batch refused epoch=%" PRIu64 " seq=%" PRIu64 " code=%u reason=\"%s\"", at.epoch, at.seq,
        frame->u.error.code, text);
    d->counters.refused++;
    d->queue->refused(d->queue->self, at, why);
}

static void on_error(struct pk_delivery *d, const struct pk_frame *frame, const uint8_t *body,
    size_t len, struct pk_delivery_time now)
{
    char text[PK_MAX_WIRE_TEXT * 4 + 1];
    pk_log_escape((const char *)body, body ? len : 0, text, sizeof text);
    bool is_about_key = frame->u.error.code == PK_FRAME_ERR_UNSUPPORTED &&
                        frame->u.error.seq == 0 && d->options.has_next_key;
    if (is_about_key && d->state == PK_DELIVERY_READY) {
        d->next_rotate_ms = INT64_MAX; /* in this session; everything else goes on */
        delivery_tell(d, PK_LOG_ERROR, "endpoint=%s does not take the new key reason=\"%s\"",
            endpoint_of(d)->address, text);
        return;
    }
    switch (frame->u.error.code) {
    case PK_FRAME_ERR_NO_SESSION:
        if (d->state == PK_DELIVERY_READY) {
            d->session = 0;
            say_hello(d, now);
        }
        return;
    case PK_FRAME_ERR_CREDIT:
    case PK_FRAME_ERR_OVERLOADED:
        go_down(d, next_backoff(d, 0), now.mono_ms,
            "the aggregator does not keep up"); /* WELCOME says where to go on */
        return;
    case PK_FRAME_ERR_TOO_LARGE:
    case PK_FRAME_ERR_CORRUPT:
    case PK_FRAME_ERR_MALFORMED:
    case PK_FRAME_ERR_EPOCH_CONFLICT:
        on_batch_error(d, frame, text);
        return;
    default:
        delivery_tell(d, PK_LOG_ERROR, "endpoint=%s refused code=%u reason=\"%s\"",
            endpoint_of(d)->address, frame->u.error.code, text);
        give_up_endpoint(d, now.mono_ms, PK_DELIVERY_BACKOFF_REFUSED_MS, "refused");
    }
}

/* It lives, and tells us to wait or to go on. */
static void on_credit(struct pk_delivery *d, const struct pk_frame *frame, int64_t now_ms)
{
    bool was_open = d->welcome.credit_batches > 0, is_open = frame->u.credit.credit_batches > 0;
    if (was_open != is_open) {
        delivery_tell(d, PK_LOG_INFO, "endpoint=%s %s", endpoint_of(d)->address,
            is_open                                     ? "goes on"
            : frame->u.credit.reason == PK_CREDIT_STORE ? "waits: the aggregator's database is away"
                                                        : "waits: others come first");
    }
    d->welcome.credit_batches = frame->u.credit.credit_batches;
    d->welcome.credit_bytes = frame->u.credit.credit_bytes;
    d->progress_ms = now_ms;
}

static void on_bye(struct pk_delivery *d, const struct pk_frame *frame, const uint8_t *body,
    size_t len, int64_t now_ms)
{
    int64_t wait_ms = (int64_t)frame->u.bye.retry_after_s * 1000;
    wait_ms = wait_ms > MAX_RETRY_AFTER_MS             ? MAX_RETRY_AFTER_MS
              : wait_ms < PK_DELIVERY_BACKOFF_FIRST_MS ? PK_DELIVERY_BACKOFF_FIRST_MS
                                                       : wait_ms;
    struct pk_endpoint elsewhere;
    if (body && pk_bye_body_decode(body, len, &elsewhere) == PK_OK) {
        d->elsewhere = elsewhere;
        d->has_elsewhere = true;
        d->counters.redirects++;
        delivery_tell(
            d, PK_LOG_INFO, "sent on from=%s to=%s", endpoint_of(d)->address, elsewhere.address);
    }
    go_down(d, wait_ms, now_ms, "the aggregator said goodbye");
    d->is_redirected = false;
}

/* The aggregator has the next key. The old one works until the new one was used. */
static void on_rotate(struct pk_delivery *d, const uint8_t *body, size_t len, int64_t now_ms)
{
    uint8_t pubkey[PK_KEY_BYTES];
    if (body && d->options.has_next_key && pk_rotate_body_decode(body, len, pubkey) == PK_OK &&
        memcmp(pubkey, d->options.next_pubkey, sizeof pubkey) == 0) {
        d->uses_next_key = true;
        go_down(d, PK_DELIVERY_BACKOFF_FIRST_MS, now_ms, "the key changes");
    }
}

/* NTP's exchange (RFC 5905 s8), symmetric delay assumed; the sample with the least round trip is the truest. */
static void on_heartbeat(
    struct pk_delivery *d, const struct pk_frame *frame, struct pk_delivery_time now)
{
    int64_t sent_ms = (int64_t)(frame->u.heartbeat.echo_mono_ns / 1000000);
    int64_t round_trip_us = (now.mono_ms - sent_ms) * 1000;
    if (frame->u.heartbeat.echo_mono_ns == 0 || round_trip_us < 0 ||
        round_trip_us > 60 * PK_US_PER_S) {
        return;
    }
    d->clock[d->n_clock++ % CLOCK_SAMPLES] = (struct clock_sample){
        .offset_us = frame->u.heartbeat.wall_us + round_trip_us / 2 - now.wall_us,
        .round_trip_us = round_trip_us};
    const struct clock_sample *best = &d->clock[0];
    for (unsigned i = 1; i < d->n_clock && i < CLOCK_SAMPLES; i++) {
        best = d->clock[i].round_trip_us < best->round_trip_us ? &d->clock[i] : best;
    }
    d->counters.clock_offset_us = best->offset_us;
    d->counters.round_trip_us = (uint32_t)best->round_trip_us;
}

void pk_delivery_on_message(struct pk_delivery *d, const uint8_t *header, size_t header_len,
    const uint8_t *body, size_t body_len, struct pk_delivery_time now)
{
    struct pk_frame frame;
    if (d->state == PK_DELIVERY_DOWN || pk_frame_decode(header, header_len, &frame) != PK_OK) {
        return; /* of a newer minor version, or damaged; nothing depends on a single frame */
    }
    if (frame.type == PK_FRAME_WELCOME) {
        on_welcome(d, &frame, body, body_len, now.mono_ms);
    } else if (frame.type == PK_FRAME_ERROR) {
        on_error(d, &frame, body, body_len, now);
    } else if (frame.type == PK_FRAME_BYE && d->state == PK_DELIVERY_HELLO_SENT) {
        on_bye(
            d, &frame, body, body_len, now.mono_ms); /* in the place of a WELCOME: not the home */
    } else if (frame.session != d->session || d->session == 0) {
        return;
    } else if (frame.type == PK_FRAME_ACK) {
        on_ack(d, &frame, now.mono_ms);
    } else if (frame.type == PK_FRAME_CREDIT) {
        on_credit(d, &frame, now.mono_ms);
    } else if (frame.type == PK_FRAME_HEARTBEAT) {
        on_heartbeat(d, &frame, now);
    } else if (frame.type == PK_FRAME_BYE) {
        on_bye(d, &frame, body, body_len, now.mono_ms);
    } else if (frame.type == PK_FRAME_CONFIG) {
        delivery_on_config(d, &frame, body, body_len);
    } else if (frame.type == PK_FRAME_ROTATE) {
        on_rotate(d, body, body_len, now.mono_ms);
    }
}

/* --- time --- */

static void heartbeat(struct pk_delivery *d, struct pk_delivery_time now)
{
    if (now.mono_ms < d->next_heartbeat_ms) {
        return;
    }
    struct pk_queue_info info = info_of(d);
    struct pk_frame frame = {
        .type = PK_FRAME_HEARTBEAT,
        .session = d->session,
        .u.heartbeat = {.mono_ns = (uint64_t)now.mono_ms * 1000000,
            .wall_us = now.wall_us,
            .queued = info.n_batches,
            .offset_us = d->counters.clock_offset_us,
            .queued_bytes = info.bytes,
            .behind_us = behind_us(&info, now.wall_us)},
    };
    (void)d->link.send(d->link.arg, &frame, NULL, 0); /* lost in a full pipe: the next one tells */
    d->next_heartbeat_ms = now.mono_ms + (d->welcome.heartbeat_ms ? d->welcome.heartbeat_ms
                                                                  : PK_DELIVERY_HEARTBEAT_MS);
}

static void ask_for_next_key(struct pk_delivery *d, int64_t now_ms)
{
    if (!d->options.has_next_key || !(d->welcome.capabilities & PK_CAP_ROTATE) ||
        now_ms < d->next_rotate_ms) {
        return;
    }
    struct pk_frame frame = {.type = PK_FRAME_ROTATE, .session = d->session};
    struct pk_bytes body;
    pk_bytes_init(&body, PK_MAX_WIRE_TEXT);
    if (pk_rotate_body_encode(d->options.next_pubkey, &body) == PK_OK &&
        d->link.send(d->link.arg, &frame, body.data, body.len)) {
        d->next_rotate_ms = now_ms + PK_DELIVERY_ROTATE_AGAIN_MS;
    }
    pk_bytes_done(&body);
}

static void tick_ready(struct pk_delivery *d, struct pk_delivery_time now)
{
    int64_t ack_ms = d->welcome.ack_timeout_ms ? d->welcome.ack_timeout_ms : PK_DELIVERY_ACK_MS;
    if (d->n_flight > 0 && now.mono_ms - d->progress_ms > 2 * ack_ms) {
        give_up_endpoint(d, now.mono_ms, 0, "no acknowledgement");
        return;
    }
    bool is_away = d->is_redirected ? false : d->endpoint != 0;
    if (is_away && now.mono_ms >= d->return_ms) {
        d->endpoint = 0;
        go_down(d, PK_DELIVERY_BACKOFF_FIRST_MS, now.mono_ms, "back to the first endpoint");
        return;
    }
    heartbeat(d, now);
    ask_for_next_key(d, now.mono_ms);
    send_batches(d, now.mono_ms);
}

void pk_delivery_tick(struct pk_delivery *d, struct pk_delivery_time now)
{
    switch (d->state) {
    case PK_DELIVERY_DOWN:
        if (now.mono_ms >= d->until_ms) {
            begin_connect(d, now);
        }
        break;
    case PK_DELIVERY_CONNECTING:
        if (now.mono_ms >= d->until_ms) {
            give_up_endpoint(d, now.mono_ms, 0, "no answer");
        } else if (d->is_open) {
            say_hello(d, now);
        }
        break;
    case PK_DELIVERY_HELLO_SENT:
        if (now.mono_ms >= d->until_ms) {
            give_up_endpoint(d, now.mono_ms, 0, "no WELCOME");
        } else if (now.mono_ms - d->hello_ms >= PK_DELIVERY_HELLO_AGAIN_MS) {
            say_hello(d, now); /* the aggregator's database may have been away */
        }
        break;
    case PK_DELIVERY_READY:
        tick_ready(d, now);
        break;
    }
}

void pk_delivery_stop(struct pk_delivery *d)
{
    if (d->state == PK_DELIVERY_READY) {
        struct pk_frame bye = {
            .type = PK_FRAME_BYE, .session = d->session, .u.bye = {.reason = PK_BYE_SHUTDOWN}};
        (void)d->link.send(d->link.arg, &bye, NULL, 0); /* a courtesy */
    }
    if (d->state != PK_DELIVERY_DOWN) {
        d->link.disconnect(d->link.arg);
        d->state = PK_DELIVERY_DOWN;
    }
    d->until_ms = INT64_MAX;
}

bool pk_delivery_uses_next_key(const struct pk_delivery *d)
{
    return d->uses_next_key;
}

enum pk_delivery_state pk_delivery_state(const struct pk_delivery *d)
{
    return d->state;
}

int64_t pk_delivery_wait_ms(const struct pk_delivery *d, int64_t mono_ms)
{
    int64_t wait_ms = d->state == PK_DELIVERY_READY                      ? MAX_WAIT_MS
                      : d->state == PK_DELIVERY_CONNECTING && d->is_open ? PIPE_WAIT_MS
                                                                         : d->until_ms - mono_ms;
    return wait_ms < 0 ? 0 : wait_ms > MAX_WAIT_MS ? MAX_WAIT_MS : wait_ms;
}

const struct pk_delivery_counters *pk_delivery_counters(const struct pk_delivery *d)
{
    return &d->counters;
}

bool pk_delivery_is_done(const struct pk_delivery *d)
{
    return info_of(d).n_batches == 0;
}

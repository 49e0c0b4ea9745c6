/* Frame headers and the bodies that are small maps. Written by msgpack-c, read by the cursor. */
#include "picket/envelope.h"

#include <string.h>

#include <msgpack.h>

#include "picket/limits.h"

#include "cursor.h"
#include "msgpack_bytes.h"

const char *pk_frame_error_str(enum pk_frame_error code)
{
    static const char *const names[] = {"none", "framing", "version", "unsupported", "no session",
        "too large", "credit exceeded", "corrupt", "malformed", "epoch conflict", "cloned key",
        "revoked", "overloaded, send again", "not enrolled"};
    return (unsigned)code < sizeof names / sizeof *names ? names[code] : "unknown";
}

/* --- writing --- */

static void put_fields(msgpack_packer *packer, const uint64_t *fields, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        msgpack_pack_uint64(packer, fields[i]);
    }
}

static void put_blob(msgpack_packer *packer, const uint8_t *data, size_t len)
{
    msgpack_pack_bin(packer, len);
    msgpack_pack_bin_body(packer, data, len);
}

/* The three fields every header begins with; n: elements after them. */
static void put_start(msgpack_packer *packer, const struct pk_frame *frame, size_t n)
{
    msgpack_pack_array(packer, 3 + n);
    put_fields(packer, (const uint64_t[]){PK_PROTO_MAGIC, frame->type, frame->session}, 3);
}

#define PUT(packer, frame, ...)                                     \
    do {                                                            \
        const uint64_t fields[] = {__VA_ARGS__};                    \
        put_start(packer, frame, sizeof fields / sizeof *fields);   \
        put_fields(packer, fields, sizeof fields / sizeof *fields); \
    } while (0)

static void put_batch(msgpack_packer *packer, const struct pk_frame *frame)
{
    const struct pk_frame_batch *batch = &frame->u.batch;
    put_start(packer, frame, 10);
    put_fields(packer,
        (const uint64_t[]){batch->epoch, batch->seq, batch->codec, batch->kind, batch->body_len,
            batch->raw_len, batch->rows},
        7);
    msgpack_pack_int64(packer, batch->first_us);
    msgpack_pack_int64(packer, batch->last_us);
    put_blob(packer, batch->digest, sizeof batch->digest);
}

static void put_ack(msgpack_packer *packer, const struct pk_frame *frame)
{
    put_start(packer, frame, 5);
    put_fields(packer, (const uint64_t[]){frame->u.ack.epoch, frame->u.ack.upto}, 2);
    msgpack_pack_array(packer, frame->u.ack.n_ranges);
    for (uint32_t i = 0; i < frame->u.ack.n_ranges; i++) {
        msgpack_pack_array(packer, 2);
        put_fields(
            packer, (const uint64_t[]){frame->u.ack.ranges[i].from, frame->u.ack.ranges[i].to}, 2);
    }
    put_fields(
        packer, (const uint64_t[]){frame->u.ack.credit_batches, frame->u.ack.credit_bytes}, 2);
}

pk_err pk_frame_encode(const struct pk_frame *frame, struct pk_bytes *out)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, pk_msgpack_write);
    switch (frame->type) {
    case PK_FRAME_HELLO:
        put_start(&packer, frame, 3);
        put_fields(&packer, (const uint64_t[]){frame->u.hello.minor}, 1);
        put_blob(&packer, frame->u.hello.boot_id, PK_BOOT_ID_BYTES);
        put_fields(&packer, &frame->u.hello.mono_ns, 1);
        break;
    case PK_FRAME_WELCOME:
        put_start(&packer, frame, 3);
        put_fields(&packer, (const uint64_t[]){frame->u.welcome.minor}, 1);
        msgpack_pack_int64(&packer, frame->u.welcome.wall_us);
        put_fields(&packer, &frame->u.welcome.echo_mono_ns, 1);
        break;
    case PK_FRAME_BATCH:
        put_batch(&packer, frame);
        break;
    case PK_FRAME_ACK:
        put_ack(&packer, frame);
        break;
    case PK_FRAME_CREDIT:
        PUT(&packer, frame, frame->u.credit.credit_batches, frame->u.credit.credit_bytes,
            frame->u.credit.reason);
        break;
    case PK_FRAME_HEARTBEAT:
        put_start(&packer, frame, 7);
        put_fields(&packer, &frame->u.heartbeat.mono_ns, 1);
        msgpack_pack_int64(&packer, frame->u.heartbeat.wall_us);
        put_fields(&packer,
            (const uint64_t[]){frame->u.heartbeat.echo_mono_ns, frame->u.heartbeat.queued}, 2);
        msgpack_pack_int64(&packer, frame->u.heartbeat.offset_us);
        put_fields(&packer,
            (const uint64_t[]){frame->u.heartbeat.queued_bytes, frame->u.heartbeat.behind_us}, 2);
        break;
    case PK_FRAME_CONFIG:
        PUT(&packer, frame, frame->u.config.version);
        break;
    case PK_FRAME_CONFIG_ACK:
        PUT(&packer, frame, frame->u.config_ack.version, frame->u.config_ack.status);
        break;
    case PK_FRAME_BYE:
        PUT(&packer, frame, frame->u.bye.reason, frame->u.bye.retry_after_s);
        break;
    case PK_FRAME_ERROR:
        put_start(&packer, frame, 4);
        put_fields(&packer,
            (const uint64_t[]){frame->u.error.code, frame->u.error.epoch, frame->u.error.seq}, 3);
        if (frame->u.error.fatal) {
            msgpack_pack_true(&packer);
        } else {
            msgpack_pack_false(&packer);
        }
        break;
    case PK_FRAME_ROTATE:
    case PK_FRAME_ENROL:
    case PK_FRAME_ENROLLED:
        put_start(&packer, frame, 0);
        break;
    }
    return out->err;
}

/* --- reading --- */

static void get_batch(struct pk_reader *in, struct pk_frame_batch *batch)
{
    batch->epoch = mp_uint(in, UINT64_MAX);
    batch->seq = mp_uint(in, UINT64_MAX);
    batch->codec = (uint8_t)mp_uint(in, UINT8_MAX);
    batch->kind = (uint8_t)mp_uint(in, UINT8_MAX);
    batch->body_len = (uint32_t)mp_uint(in, UINT32_MAX);
    batch->raw_len = (uint32_t)mp_uint(in, UINT32_MAX);
    batch->rows = (uint32_t)mp_uint(in, UINT32_MAX);
    batch->first_us = mp_int(in);
    batch->last_us = mp_int(in);
    mp_blob(in, batch->digest, PK_DIGEST_BYTES);
    if (batch->epoch == 0 || batch->epoch > INT64_MAX || batch->seq == 0 ||
        batch->seq > INT64_MAX) { /* they live in signed columns */
        pk_reader_fail(in, PK_ERR_MALFORMED);
    }
}

static void get_ack(struct pk_reader *in, struct pk_frame *frame)
{
    frame->u.ack.epoch = mp_uint(in, UINT64_MAX);
    frame->u.ack.upto = mp_uint(in, UINT64_MAX);
    frame->u.ack.n_ranges = mp_array(in, PK_MAX_ACK_RANGES);
    for (uint32_t i = 0; i < frame->u.ack.n_ranges; i++) {
        if (mp_array(in, 2) != 2) {
            pk_reader_fail(in, PK_ERR_MALFORMED);
        }
        frame->u.ack.ranges[i].from = mp_uint(in, UINT64_MAX);
        frame->u.ack.ranges[i].to = mp_uint(in, UINT64_MAX);
    }
    frame->u.ack.credit_batches = (uint16_t)mp_uint(in, UINT16_MAX);
    frame->u.ack.credit_bytes = (uint32_t)mp_uint(in, UINT32_MAX);
}

/* How many elements after the first three a type needs; -1: unknown type. Later minor versions append, so more may be there. */
static int n_fields(unsigned type)
{
    switch (type) {
    case PK_FRAME_HELLO:
    case PK_FRAME_WELCOME:
    case PK_FRAME_CREDIT:
        return 3;
    case PK_FRAME_BATCH:
        return 10;
    case PK_FRAME_ACK:
        return 5;
    case PK_FRAME_HEARTBEAT:
    case PK_FRAME_ERROR:
        return 4;
    case PK_FRAME_CONFIG:
        return 1;
    case PK_FRAME_CONFIG_ACK:
    case PK_FRAME_BYE:
        return 2;
    case PK_FRAME_ROTATE:
    case PK_FRAME_ENROL:
    case PK_FRAME_ENROLLED:
        return 0;
    default:
        return -1;
    }
}

/* Reads the fields of a header with `given` elements after the first three; returns how many it read. */
static int get_fields(struct pk_reader *in, struct pk_frame *frame, int given)
{
    int read = n_fields(frame->type);
    switch (frame->type) {
    case PK_FRAME_HELLO:
        frame->u.hello.minor = (uint8_t)mp_uint(in, UINT8_MAX);
        mp_blob(in, frame->u.hello.boot_id, PK_BOOT_ID_BYTES);
        frame->u.hello.mono_ns = mp_uint(in, UINT64_MAX);
        break;
    case PK_FRAME_WELCOME:
        frame->u.welcome.minor = (uint8_t)mp_uint(in, UINT8_MAX);
        frame->u.welcome.wall_us = mp_int(in);
        frame->u.welcome.echo_mono_ns = mp_uint(in, UINT64_MAX);
        break;
    case PK_FRAME_BATCH:
        get_batch(in, &frame->u.batch);
        break;
    case PK_FRAME_ACK:
        get_ack(in, frame);
        break;
    case PK_FRAME_CREDIT:
        frame->u.credit.credit_batches = (uint16_t)mp_uint(in, UINT16_MAX);
        frame->u.credit.credit_bytes = (uint32_t)mp_uint(in, UINT32_MAX);
        frame->u.credit.reason = (uint8_t)mp_uint(in, UINT8_MAX);
        break;
    case PK_FRAME_HEARTBEAT:
        frame->u.heartbeat.mono_ns = mp_uint(in, UINT64_MAX);
        frame->u.heartbeat.wall_us = mp_int(in);
        frame->u.heartbeat.echo_mono_ns = mp_uint(in, UINT64_MAX);
        frame->u.heartbeat.queued = mp_uint(in, UINT64_MAX);
        if (given > read) {
            frame->u.heartbeat.offset_us = mp_int(in);
            read++;
        }
        if (given > read + 1) {
            frame->u.heartbeat.queued_bytes = mp_uint(in, UINT64_MAX);
            frame->u.heartbeat.behind_us = mp_uint(in, UINT64_MAX);
            read += 2;
        }
        break;
    case PK_FRAME_CONFIG:
        frame->u.config.version = (uint32_t)mp_uint(in, UINT32_MAX);
        break;
    case PK_FRAME_CONFIG_ACK:
        frame->u.config_ack.version = (uint32_t)mp_uint(in, UINT32_MAX);
        frame->u.config_ack.status = (uint8_t)mp_uint(in, PK_CONFIG_NOT_DURABLE);
        break;
    case PK_FRAME_BYE:
        frame->u.bye.reason = (uint8_t)mp_uint(in, UINT8_MAX);
        frame->u.bye.retry_after_s = (uint32_t)mp_uint(in, UINT32_MAX);
        break;
    case PK_FRAME_ERROR:
        frame->u.error.code = (uint16_t)mp_uint(in, UINT16_MAX);
        frame->u.error.epoch = mp_uint(in, UINT64_MAX);
        frame->u.error.seq = mp_uint(in, UINT64_MAX);
        frame->u.error.fatal = mp_bool(in);
        break;
    case PK_FRAME_ROTATE:
    case PK_FRAME_ENROL:
    case PK_FRAME_ENROLLED:
        break;
    }
    return read;
}

pk_err pk_frame_decode(const uint8_t *header, size_t len, struct pk_frame *out_frame)
{
    struct pk_frame frame = {.session = 0};
    struct pk_reader in;
    if (len > PK_MAX_HEADER_BYTES) {
        return PK_ERR_LIMIT;
    }
    pk_reader_init(&in, header, len);
    uint32_t n = mp_array(&in, 64);
    uint64_t magic = n >= 3 ? mp_uint(&in, UINT16_MAX) : 0;
    if (in.err == PK_OK && magic != PK_PROTO_MAGIC) {
        return magic >> 8 == PK_PROTO_MAGIC >> 8 ? PK_ERR_VERSION : PK_ERR_MALFORMED;
    }
    unsigned type = (unsigned)mp_uint(&in, UINT8_MAX);
    frame.type = (enum pk_frame_type)type;
    frame.session = mp_uint(&in, UINT64_MAX);
    int needed = n_fields(type);
    if (in.err == PK_OK && needed < 0) {
        *out_frame = frame;
        return PK_ERR_UNSUPPORTED;
    }
    if (in.err == PK_OK && (int)n - 3 < needed) {
        return PK_ERR_TRUNCATED;
    }
    int read = get_fields(&in, &frame, (int)n - 3);
    for (int extra = (int)n - 3 - read; extra > 0 && in.err == PK_OK; extra--) {
        mp_skip(&in); /* appended by a newer minor version */
    }
    if (in.err == PK_OK && !pk_reader_at_end(&in)) {
        return PK_ERR_MALFORMED;
    }
    if (in.err == PK_OK) {
        *out_frame = frame;
    }
    return in.err;
}

/* --- bodies: maps with ascending integer keys --- */

static void put_pair(msgpack_packer *packer, unsigned key, uint64_t v)
{
    msgpack_pack_uint64(packer, key);
    msgpack_pack_uint64(packer, v);
}

static void put_text(msgpack_packer *packer, unsigned key, const char *text)
{
    msgpack_pack_uint64(packer, key);
    msgpack_pack_str(packer, strlen(text));
    msgpack_pack_str_body(packer, text, strlen(text));
}

pk_err pk_hello_body_encode(const struct pk_hello_body *body, struct pk_bytes *out)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, pk_msgpack_write);
    msgpack_pack_map(&packer, 12);
    put_text(&packer, 1, body->sensor);
    put_text(&packer, 2, body->software);
    put_pair(&packer, 3, body->capabilities);
    put_pair(&packer, 4, body->vantage);
    put_pair(&packer, 6, body->privacy);
    put_pair(&packer, 8, body->spool_epoch);
    put_pair(&packer, 9, body->spool_oldest_seq);
    put_pair(&packer, 10, body->spool_newest_seq);
    put_pair(&packer, 11, body->spool_bytes);
    msgpack_pack_uint64(&packer, 12);
    msgpack_pack_int64(&packer, body->wall_us);
    put_pair(&packer, 13, body->queued);
    put_pair(&packer, 14, body->behind_us);
    return out->err;
}

pk_err pk_hello_body_decode(const uint8_t *data, size_t len, struct pk_hello_body *out_body)
{
    struct pk_hello_body body = {.sensor = ""};
    struct pk_reader in;
    pk_reader_init(&in, data, len);
    uint32_t left = mp_map(&in, PK_MAX_MAP_ENTRIES);
    for (unsigned key = mp_next_key(&in, &left, 0); key; key = mp_next_key(&in, &left, key)) {
        switch (key) {
        case 1:
            mp_text(&in, body.sensor, sizeof body.sensor);
            break;
        case 2:
            mp_text(&in, body.software, sizeof body.software);
            break;
        case 3:
            body.capabilities = mp_uint(&in, UINT64_MAX);
            break;
        case 4:
            body.vantage = (uint8_t)mp_uint(&in, UINT8_MAX);
            break;
        case 6:
            body.privacy = (uint8_t)mp_uint(&in, UINT8_MAX);
            break;
        case 8:
            body.spool_epoch = mp_uint(&in, INT64_MAX);
            break;
        case 9:
            body.spool_oldest_seq = mp_uint(&in, INT64_MAX);
            break;
        case 10:
            body.spool_newest_seq = mp_uint(&in, INT64_MAX);
            break;
        case 11:
            body.spool_bytes = mp_uint(&in, UINT64_MAX);
            break;
        case 12:
            body.wall_us = mp_int(&in);
            break;
        case 13:
            body.queued = mp_uint(&in, UINT64_MAX);
            break;
        case 14:
            body.behind_us = mp_uint(&in, UINT64_MAX);
            break;
        default:
            mp_skip(&in);
        }
    }
    if (in.err == PK_OK && !pk_reader_at_end(&in)) {
        return PK_ERR_MALFORMED;
    }
    if (in.err == PK_OK) {
        *out_body = body;
    }
    return in.err;
}

pk_err pk_welcome_body_encode(const struct pk_welcome_body *body, struct pk_bytes *out)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, pk_msgpack_write);
    msgpack_pack_map(&packer, 10);
    put_pair(&packer, 1, body->sensor_id);
    put_pair(&packer, 2, body->max_body_bytes);
    put_pair(&packer, 3, body->max_unpacked_bytes);
    put_pair(&packer, 4, body->credit_batches);
    put_pair(&packer, 5, body->credit_bytes);
    put_pair(&packer, 6, body->ack_timeout_ms);
    put_pair(&packer, 7, body->heartbeat_ms);
    msgpack_pack_uint64(&packer, 8);
    msgpack_pack_array(&packer, 2);
    msgpack_pack_uint64(&packer, body->resume_epoch);
    msgpack_pack_uint64(&packer, body->resume_seq);
    put_pair(&packer, 9, body->config_version);
    put_pair(&packer, 10, body->capabilities);
    return out->err;
}

pk_err pk_welcome_body_decode(const uint8_t *data, size_t len, struct pk_welcome_body *out_body)
{
    struct pk_welcome_body body = {.credit_batches = 1,
        .credit_bytes = PK_MAX_BODY_BYTES,
        .max_body_bytes = PK_MAX_BODY_BYTES};
    struct pk_reader in;
    pk_reader_init(&in, data, len);
    uint32_t left = mp_map(&in, PK_MAX_MAP_ENTRIES);
    for (unsigned key = mp_next_key(&in, &left, 0); key; key = mp_next_key(&in, &left, key)) {
        switch (key) {
        case 1:
            body.sensor_id = (uint32_t)mp_uint(&in, UINT32_MAX);
            break;
        case 2:
            body.max_body_bytes = (uint32_t)mp_uint(&in, UINT32_MAX);
            break;
        case 3:
            body.max_unpacked_bytes = (uint32_t)mp_uint(&in, UINT32_MAX);
            break;
        case 4:
            body.credit_batches = (uint16_t)mp_uint(&in, UINT16_MAX);
            break;
        case 5:
            body.credit_bytes = (uint32_t)mp_uint(&in, UINT32_MAX);
            break;
        case 6:
            body.ack_timeout_ms = (uint32_t)mp_uint(&in, UINT32_MAX);
            break;
        case 7:
            body.heartbeat_ms = (uint32_t)mp_uint(&in, UINT32_MAX);
            break;
        case 8:
            if (mp_array(&in, 2) != 2) {
                pk_reader_fail(&in, PK_ERR_MALFORMED);
            }
            body.resume_epoch = mp_uint(&in, INT64_MAX);
            body.resume_seq = mp_uint(&in, INT64_MAX);
            break;
        case 9:
            body.config_version = (uint32_t)mp_uint(&in, UINT32_MAX);
            break;
        case 10:
            body.capabilities = mp_uint(&in, UINT64_MAX);
            break;
        default:
            mp_skip(&in);
        }
    }
    if (in.err == PK_OK && !pk_reader_at_end(&in)) {
        return PK_ERR_MALFORMED;
    }
    if (in.err == PK_OK) {
        *out_body = body;
    }
    return in.err;
}

pk_err pk_bye_body_encode(const struct pk_endpoint *elsewhere, struct pk_bytes *out)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, pk_msgpack_write);
    msgpack_pack_map(&packer, 2);
    put_text(&packer, 1, elsewhere->address);
    msgpack_pack_uint64(&packer, 2);
    put_blob(&packer, elsewhere->server_pubkey, PK_KEY_BYTES);
    return out->err;
}

pk_err pk_bye_body_decode(const uint8_t *data, size_t len, struct pk_endpoint *out_elsewhere)
{
    struct pk_endpoint body = {.address = ""};
    struct pk_reader in;
    bool has_key = false;
    pk_reader_init(&in, data, len);
    uint32_t left = mp_map(&in, PK_MAX_MAP_ENTRIES);
    for (unsigned key = mp_next_key(&in, &left, 0); key; key = mp_next_key(&in, &left, key)) {
        if (key == 1) {
            mp_text(&in, body.address, sizeof body.address);
        } else if (key == 2) {
            mp_blob(&in, body.server_pubkey, PK_KEY_BYTES);
            has_key = true;
        } else {
            mp_skip(&in);
        }
    }
    if (in.err == PK_OK && (!pk_reader_at_end(&in) || !has_key || body.address[0] == '\0')) {
        return PK_ERR_MALFORMED;
    }
    if (in.err == PK_OK) {
        *out_elsewhere = body;
    }
    return in.err;
}

pk_err pk_rotate_body_encode(const uint8_t pubkey[PK_KEY_BYTES], struct pk_bytes *out)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, pk_msgpack_write);
    msgpack_pack_map(&packer, 1);
    msgpack_pack_uint64(&packer, 1);
    put_blob(&packer, pubkey, PK_KEY_BYTES);
    return out->err;
}

pk_err pk_rotate_body_decode(const uint8_t *data, size_t len, uint8_t out_pubkey[PK_KEY_BYTES])
{
    uint8_t pubkey[PK_KEY_BYTES];
    struct pk_reader in;
    bool has_key = false;
    pk_reader_init(&in, data, len);
    uint32_t left = mp_map(&in, PK_MAX_MAP_ENTRIES);
    for (unsigned key = mp_next_key(&in, &left, 0); key; key = mp_next_key(&in, &left, key)) {
        if (key == 1) {
            mp_blob(&in, pubkey, PK_KEY_BYTES);
            has_key = true;
        } else {
            mp_skip(&in);
        }
    }
    if (in.err == PK_OK && (!pk_reader_at_end(&in) || !has_key)) {
        return PK_ERR_MALFORMED;
    }
    if (in.err == PK_OK) {
        memcpy(out_pubkey, pubkey, PK_KEY_BYTES);
    }
    return in.err;
}

pk_err pk_config_body_encode(const struct pk_config_body *body, struct pk_bytes *out)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, pk_msgpack_write);
    msgpack_pack_map(&packer, 1);
    msgpack_pack_uint64(&packer, 1);
    msgpack_pack_array(&packer, body->n);
    for (uint32_t i = 0; i < body->n; i++) {
        const struct pk_config_endpoint *entry = &body->endpoints[i];
        size_t len = strlen(entry->endpoint.address);
        msgpack_pack_array(&packer, 3);
        msgpack_pack_str(&packer, len);
        msgpack_pack_str_body(&packer, entry->endpoint.address, len);
        put_blob(&packer, entry->endpoint.server_pubkey, PK_KEY_BYTES);
        msgpack_pack_int64(&packer, entry->not_before_us);
    }
    return out->err;
}

/* [address, key, from when on, ...]: a later version may append. */
static void get_config_endpoint(struct pk_reader *in, struct pk_config_endpoint *out)
{
    uint32_t n = mp_array(in, PK_MAX_MAP_ENTRIES);
    if (n < 3) {
        pk_reader_fail(in, PK_ERR_MALFORMED);
        return;
    }
    mp_text(in, out->endpoint.address, sizeof out->endpoint.address);
    mp_blob(in, out->endpoint.server_pubkey, PK_KEY_BYTES);
    out->not_before_us = mp_int(in);
    for (; n > 3 && in->err == PK_OK; n--) {
        mp_skip(in);
    }
    if (strncmp(out->endpoint.address, "tcp://", 6) != 0) {
        pk_reader_fail(in, PK_ERR_MALFORMED);
    }
}

pk_err pk_config_body_decode(const uint8_t *data, size_t len, struct pk_config_body *out_body)
{
    struct pk_config_body body = {.n = 0};
    struct pk_reader in;
    pk_reader_init(&in, data, len);
    uint32_t left = mp_map(&in, PK_MAX_MAP_ENTRIES);
    for (unsigned key = mp_next_key(&in, &left, 0); key; key = mp_next_key(&in, &left, key)) {
        if (key != 1) {
            mp_skip(&in);
            continue;
        }
        body.n = mp_array(&in, PK_CONFIG_MAX_ENDPOINTS);
        for (uint32_t i = 0; i < body.n && in.err == PK_OK; i++) {
            get_config_endpoint(&in, &body.endpoints[i]);
        }
    }
    if (in.err == PK_OK && !pk_reader_at_end(&in)) {
        return PK_ERR_MALFORMED;
    }
    if (in.err == PK_OK) {
        *out_body = body;
    }
    return in.err;
}

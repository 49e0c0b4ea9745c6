/* The session protocol against a model of the aggregator, through thousands of orders of events.
 *
 * One world: a queue of batches that survives restarts, the real pk_delivery, a network of two pipes that may be cut at any message, and an aggregator that commits
 * what it received some time later, acknowledges only then, and may die in between. Each seed is another order. Whatever happens, in the end every batch is in the
 * store exactly once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "picket/batch.h"
#include "picket/envelope.h"
#include "picket/limits.h"

#include "sensor/ship/delivery.h"

/* Built twice: with a model of the queue, and with the spool on a real folder in its place (unit.delivery_spool). */
#ifdef PICKET_REAL_SPOOL
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "picket/clock.h"
#include "picket/hash.h"

#include "sensor/ship/spool.h"
#endif

enum {
    MAX_BATCHES = 160,
    MAX_PIPE = 256,
#ifdef PICKET_REAL_SPOOL
    N_SEEDS = 300,
#else
    N_SEEDS = 4000,
#endif
    N_STEPS = 500,
    CREDIT_BATCHES = 5,
};

struct batch {
    struct pk_queue_at at;
    uint32_t content;
    bool is_gone; /* acknowledged, or moved to another number */
};

struct queue_model {
    struct batch batches[MAX_BATCHES];
    size_t n;
    uint64_t epoch, next_seq;
#ifdef PICKET_REAL_SPOOL
    struct pk_spool *spool;
    char folder; /* name of it */
#endif
};

struct pipe_message {
    uint8_t header[PK_MAX_HEADER_BYTES];
    size_t header_len;
    uint8_t body[512];
    size_t body_len;
};

struct pipe_model {
    struct pipe_message messages[MAX_PIPE];
    size_t first, n;
};

struct mark {
    struct pk_queue_at at;
    uint32_t content;
    uint64_t session; /* in which it came */
};

struct world {
    uint64_t random;
    struct pk_delivery_time now;
    struct queue_model queue;
    struct pk_queue handle;
    struct pk_delivery *delivery;
    /* network */
    bool is_connecting, is_connected;
    size_t endpoint;
    struct pipe_model up, down;
    /* aggregator: what a crash loses, then what is durable */
    bool is_reachable, knows_key;
    bool knows_old, knows_next;            /* durable: which of the sensor's keys work */
    bool has_next, is_promoted, uses_next; /* the sensor's files; the connection's key */
    uint64_t session;
    struct mark received[MAX_PIPE]; /* waiting for the commit, in order */
    size_t n_received;
    struct mark store[4 * MAX_BATCHES];
    size_t n_store;
    unsigned duplicates; /* came a second time, as the same */
    bool is_unordered; /* commits in any order and acknowledges by ranges, as later versions may */
    unsigned n_ranges; /* acknowledged so */
    uint32_t next_content;
};

static uint32_t roll(struct world *w, uint32_t below)
{
    w->random = w->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((w->random >> 33) % below);
}

/* --- the queue --- */

#ifdef PICKET_REAL_SPOOL
static char root[64];

static void open_queue(struct world *w)
{
    char folder[96], error[PK_SPOOL_ERROR_SIZE] = "";
    struct pk_spool_found found;
    snprintf(folder, sizeof folder, "%s/%c", root, w->queue.folder);
    struct pk_spool_options options = {
        .folder = folder, .max_bytes = 64 << 20, .memory_bytes = 1 << 20};
    if (pk_spool_open(&options, &w->queue.spool, &found, error) != PK_OK) {
        fail_msg("%s", error);
    }
    w->handle = pk_spool_queue(w->queue.spool);
}

static void each_file(
    char folder, void (*visit)(const char *path, const char *name, char to), char to)
{
    char path[400];
    snprintf(path, sizeof path, "%s/%c", root, folder);
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (entry->d_name[0] != '.') {
            snprintf(path, sizeof path, "%s/%c/%s", root, folder, entry->d_name);
            visit(path, entry->d_name, to);
        }
    }
    if (dir) {
        closedir(dir);
    }
}

static void remove_one(const char *path, const char *name, char to)
{
    (void)name;
    (void)to;
    unlink(path);
}

static void copy_one(const char *path, const char *name, char to)
{
    static uint8_t data[1 << 20];
    char target[400];
    snprintf(target, sizeof target, "%s/%c/%s", root, to, name);
    FILE *in = fopen(path, "rb"), *out = fopen(target, "wb");
    assert_true(in && out);
    size_t len = fread(data, 1, sizeof data, in);
    assert_int_equal(fwrite(data, 1, len, out), len);
    fclose(in);
    fclose(out);
}

/* As it is at this moment; no source empties the target. */
static void copy_folder(char from, char to)
{
    char path[96];
    snprintf(path, sizeof path, "%s/%c", root, to);
    (void)mkdir(path, 0700);
    each_file(to, remove_one, to);
    each_file(from, copy_one, to);
}

static void append(struct queue_model *queue, uint32_t content)
{
    uint8_t body[] = {(uint8_t)(content >> 24), (uint8_t)(content >> 16), (uint8_t)(content >> 8),
        (uint8_t)content};
    static const enum pk_batch_kind kinds[] = {PK_BATCH_ACTIVITY, PK_BATCH_RRSET, PK_BATCH_HEALTH};
    assert_int_equal(
        pk_spool_append(queue->spool,
            &(struct pk_sealed){
                .kind = kinds[content % 3], .rows = 1, .body = body, .body_len = sizeof body}),
        PK_OK);
}

/* The process ends, in order or by a crash (then what is on disk goes on elsewhere, as it was). */
static void restart_queue(struct world *w)
{
    char other = w->queue.folder == 'a' ? 'b' : 'a';
    bool crashes = roll(w, 3) > 0;
    if (crashes) {
        copy_folder(w->queue.folder, other);
    }
    pk_spool_close(w->queue.spool);
    w->queue.folder = crashes ? other : w->queue.folder;
    open_queue(w);
}

static void take_snapshot(struct world *w, struct queue_model *out)
{
    copy_folder(w->queue.folder, 's');
    *out = w->queue;
}

static void restore_snapshot(struct world *w, const struct queue_model *snapshot)
{
    (void)snapshot;
    pk_spool_close(w->queue.spool);
    copy_folder('s', w->queue.folder);
    open_queue(w);
}

static void open_world(struct world *w)
{
    copy_folder('-', 'a');
    w->queue.folder = 'a';
    open_queue(w);
}

static void close_queue(struct world *w)
{
    pk_spool_close(w->queue.spool);
}

static void tick_queue(struct world *w)
{
    if (roll(w, 4) == 0) {
        pk_spool_sync(w->queue.spool, pk_clock_mono_ms(), true);
    }
}

static int make_root(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "%s/picket-delivery-XXXXXX",
        access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    return pk_hash_start() == PK_OK && sodium_init() >= 0 && mkdtemp(root) ? 0 : 1;
}

static int remove_root(void **state)
{
    static const char folders[] = "abs";
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        char path[96];
        each_file(folders[i], remove_one, 0);
        snprintf(path, sizeof path, "%s/%c", root, folders[i]);
        (void)rmdir(path);
    }
    return rmdir(root);
}
#else
static void q_info(void *self, struct pk_queue_info *out)
{
    const struct queue_model *queue = &((struct world *)self)->queue;
    *out = (struct pk_queue_info){
        .epoch = queue->epoch, .oldest_seq = queue->next_seq, .newest_seq = queue->next_seq - 1};
    for (size_t i = queue->n; i-- > 0;) {
        if (!queue->batches[i].is_gone) {
            out->n_batches++;
            out->epoch = queue->batches[i].at.epoch;
            out->oldest_seq = queue->batches[i].at.seq;
        }
    }
}

static bool q_next(void *self, struct pk_queue_at after, struct pk_bytes *buffer,
    struct pk_queue_at *out_at, struct pk_segment_record *out_record)
{
    const struct queue_model *queue = &((struct world *)self)->queue;
    bool is_past = after.epoch == 0;
    for (size_t i = 0; i < queue->n; i++) {
        const struct batch *batch = &queue->batches[i];
        if (is_past && !batch->is_gone) {
            pk_bytes_clear(buffer);
            pk_bytes_put_be32(buffer, batch->content);
            *out_at = batch->at;
            *out_record = (struct pk_segment_record){.seq = batch->at.seq,
                .kind = PK_BATCH_ACTIVITY,
                .rows = 1,
                .body = buffer->data,
                .body_len = 4};
            return true;
        }
        is_past = is_past || (batch->at.epoch == after.epoch && batch->at.seq == after.seq);
    }
    return false;
}

static void q_ack(void *self, uint64_t epoch, uint64_t from, uint64_t to)
{
    struct queue_model *queue = &((struct world *)self)->queue;
    for (size_t i = 0; i < queue->n; i++) {
        struct batch *batch = &queue->batches[i];
        batch->is_gone = batch->is_gone ||
                         (batch->at.epoch == epoch && batch->at.seq >= from && batch->at.seq <= to);
    }
}

static void append(struct queue_model *queue, uint32_t content)
{
    assert_true(queue->n < MAX_BATCHES);
    queue->batches[queue->n++] =
        (struct batch){.at = {.epoch = queue->epoch, .seq = queue->next_seq++}, .content = content};
}

/* As a spool does it: the content gets a number in a new epoch. */
static void q_refused(void *self, struct pk_queue_at at, enum pk_queue_refusal why)
{
    struct world *w = self;
    struct queue_model *queue = &w->queue;
    assert_int_equal(why, PK_QUEUE_REFUSED_CONFLICT);
    for (size_t i = 0; i < queue->n; i++) {
        struct batch *batch = &queue->batches[i];
        if (batch->at.epoch == at.epoch && batch->at.seq == at.seq && !batch->is_gone) {
            batch->is_gone = true;
            if (queue->epoch == at.epoch) {
                queue->epoch = 1000 + roll(w, 1000000);
                queue->next_seq = 1;
            }
            append(queue, batch->content);
            return;
        }
    }
}

static void restart_queue(struct world *w)
{
    (void)w; /* all of it is on disk */
}

static void take_snapshot(struct world *w, struct queue_model *out)
{
    *out = w->queue;
}

static void restore_snapshot(struct world *w, const struct queue_model *snapshot)
{
    w->queue = *snapshot;
}

static void open_world(struct world *w)
{
    w->handle = (struct pk_queue){.self = w,
        .info = q_info,
        .next = q_next,
        .ack = q_ack,
        .refused = q_refused,
        .wake_fd = -1};
}

static void close_queue(struct world *w)
{
    (void)w;
}

static void tick_queue(struct world *w)
{
    (void)w;
}

static int make_root(void **state)
{
    (void)state;
    return 0;
}

static int remove_root(void **state)
{
    (void)state;
    return 0;
}
#endif

/* --- the network --- */

static void cut(struct world *w)
{
    w->up = w->down = (struct pipe_model){0};
    w->is_connected = w->is_connecting = false;
}

static void put(
    struct pipe_model *pipe, const struct pk_frame *frame, const uint8_t *body, size_t len)
{
    assert_true(pipe->n < MAX_PIPE && len <= sizeof pipe->messages->body);
    struct pipe_message *message = &pipe->messages[(pipe->first + pipe->n++) % MAX_PIPE];
    struct pk_bytes header;
    pk_bytes_init(&header, PK_MAX_HEADER_BYTES);
    assert_int_equal(pk_frame_encode(frame, &header), PK_OK);
    memcpy(message->header, header.data, header.len);
    message->header_len = header.len;
    memcpy(message->body, body ? body : (const uint8_t *)"", body ? len : 0);
    message->body_len = body ? len : 0;
    pk_bytes_done(&header);
}

static struct pipe_message *take(struct pipe_model *pipe)
{
    if (pipe->n == 0) {
        return NULL;
    }
    struct pipe_message *message = &pipe->messages[pipe->first];
    pipe->first = (pipe->first + 1) % MAX_PIPE;
    pipe->n--;
    return message;
}

static bool l_connect(void *arg, const struct pk_endpoint *endpoint)
{
    struct world *w = arg;
    cut(w);
    w->is_connecting = true;
    w->uses_next = w->is_promoted || pk_delivery_uses_next_key(w->delivery);
    w->endpoint = (size_t)(endpoint->address[0] - 'a');
    return true;
}

static void l_disconnect(void *arg)
{
    cut(arg);
}

static bool l_send(void *arg, const struct pk_frame *frame, const uint8_t *body, size_t len)
{
    struct world *w = arg;
    assert_true(w->is_connected);
    if (w->up.n >= 8) { /* the high-water mark */
        return false;
    }
    put(&w->up, frame, body, len);
    return true;
}

static uint32_t l_random(void *arg, uint32_t below)
{
    return roll(arg, below);
}

static void l_rotated(void *arg)
{
    struct world *w = arg;
    assert_true(w->has_next && w->knows_next && !w->knows_old);
    w->is_promoted = true;
}

/* --- the aggregator --- */

static void a_rotate(struct world *w, const struct pipe_message *message)
{
    uint8_t pubkey[PK_KEY_BYTES];
    struct pk_bytes body;
    struct pk_frame frame = {.type = PK_FRAME_ROTATE, .session = w->session};
    assert_int_equal(pk_rotate_body_decode(message->body, message->body_len, pubkey), PK_OK);
    w->knows_next = true;
    pk_bytes_init(&body, 64);
    assert_int_equal(pk_rotate_body_encode(pubkey, &body), PK_OK);
    put(&w->down, &frame, body.data, body.len);
    pk_bytes_done(&body);
}

static void a_hello(struct world *w, const struct pipe_message *message)
{
    struct pk_hello_body hello;
    struct pk_bytes body;
    assert_int_equal(pk_hello_body_decode(message->body, message->body_len, &hello), PK_OK);
    w->session = 1 + roll(w, 1u << 30);
    w->knows_old = w->knows_old && !w->uses_next; /* its first use retires the other */
    struct pk_welcome_body welcome = {.sensor_id = 1,
        .max_body_bytes = PK_MAX_BODY_BYTES,
        .credit_batches = CREDIT_BATCHES,
        .credit_bytes = 1 << 20,
        .ack_timeout_ms = 15000,
        .heartbeat_ms = 15000,
        .capabilities = PK_CAP_ROTATE};
    welcome.resume_epoch = hello.spool_epoch;
    for (size_t i = 0; i < w->n_store; i++) {
        if (w->store[i].at.epoch == hello.spool_epoch && w->store[i].at.seq > welcome.resume_seq) {
            welcome.resume_seq = w->store[i].at.seq;
        }
    }
    struct pk_frame frame = {.type = PK_FRAME_WELCOME, .session = w->session};
    pk_bytes_init(&body, 512);
    assert_int_equal(pk_welcome_body_encode(&welcome, &body), PK_OK);
    put(&w->down, &frame, body.data, body.len);
    pk_bytes_done(&body);
}

static void a_receive(struct world *w)
{
    const struct pipe_message *message = w->is_connected ? take(&w->up) : NULL;
    struct pk_frame frame;
    if (!message) {
        return;
    }
    assert_int_equal(pk_frame_decode(message->header, message->header_len, &frame), PK_OK);
    if (frame.type == PK_FRAME_HELLO) {
        a_hello(w, message);
    } else if (frame.session != w->session) {
        struct pk_frame error = {
            .type = PK_FRAME_ERROR, .u.error = {.code = PK_FRAME_ERR_NO_SESSION}};
        put(&w->down, &error, NULL, 0);
    } else if (frame.type == PK_FRAME_ROTATE) {
        a_rotate(w, message);
    } else if (frame.type == PK_FRAME_BATCH && w->n_received < MAX_PIPE) {
        uint32_t content = (uint32_t)message->body[0] << 24 | (uint32_t)message->body[1] << 16 |
                           (uint32_t)message->body[2] << 8 | message->body[3];
        w->received[w->n_received++] =
            (struct mark){.at = {.epoch = frame.u.batch.epoch, .seq = frame.u.batch.seq},
                .content = content,
                .session = frame.session};
    }
}

static const struct mark *find(const struct world *w, struct pk_queue_at at)
{
    for (size_t i = 0; i < w->n_store; i++) {
        if (w->store[i].at.epoch == at.epoch && w->store[i].at.seq == at.seq) {
            return &w->store[i];
        }
    }
    return NULL;
}

static void a_commit(struct world *w)
{
    if (w->n_received == 0 || (w->is_unordered && w->n_received < 3 && roll(w, 4))) {
        return; /* nothing, or it waits for more */
    }
    size_t i = w->is_unordered ? roll(w, (uint32_t)w->n_received) : 0;
    bool is_first = true; /* of what waits of its session and epoch */
    struct mark mark = w->received[i];
    for (size_t k = 0; k < i; k++) {
        is_first = is_first && (w->received[k].session != mark.session ||
                                   w->received[k].at.epoch != mark.at.epoch);
    }
    memmove(w->received + i, w->received + i + 1, (--w->n_received - i) * sizeof *w->received);
    const struct mark *known = find(w, mark.at);
    if (!known) {
        w->store[w->n_store++] = mark;
    }
    w->duplicates += known && known->content == mark.content;
    if (!w->is_connected || w->session != mark.session) {
        return;
    }
    if (w->down.n >
        6) { /* the sensor does not read: an ACK may be lost, a refusal ends the session */
        w->session = known && known->content != mark.content ? 0 : w->session;
        return;
    }
    struct pk_frame frame = {.type = PK_FRAME_ACK,
        .session = w->session,
        .u.ack = {.epoch = mark.at.epoch,
            .upto = mark.at.seq,
            .credit_batches = CREDIT_BATCHES,
            .credit_bytes = 1 << 20}};
    if (!is_first) {
        frame.u.ack.upto = 0;
        frame.u.ack.n_ranges = 1;
        frame.u.ack.ranges[0].from = frame.u.ack.ranges[0].to = mark.at.seq;
        w->n_ranges++;
    }
    if (known && known->content != mark.content) {
        frame = (struct pk_frame){.type = PK_FRAME_ERROR,
            .session = w->session,
            .u.error = {
                .code = PK_FRAME_ERR_EPOCH_CONFLICT, .epoch = mark.at.epoch, .seq = mark.at.seq}};
    }
    put(&w->down, &frame, NULL, 0);
}

static void a_crash(struct world *w)
{
    w->n_received = 0;
    w->session = 0;
    if (w->is_connected) {
        cut(w);
        pk_delivery_on_event(w->delivery, PK_DELIVERY_BROKEN, w->now);
    }
}

/* --- the world turns --- */

static void start_sensor(struct world *w)
{
    struct pk_delivery_options options = {
        .n_endpoints = 2, .sensor = "s", .software = "t", .pubkey_text = "k", .is_durable = true};
    struct pk_delivery_link link = {.arg = w,
        .connect = l_connect,
        .disconnect = l_disconnect,
        .send = l_send,
        .random = l_random,
        .rotated = l_rotated};
    options.has_next_key = w->has_next && !w->is_promoted;
    memset(options.next_pubkey, 0x42, sizeof options.next_pubkey);
    strcpy(options.endpoints[0].address, "a");
    strcpy(options.endpoints[1].address, "b");
    assert_int_equal(pk_delivery_new(&options, &w->handle, &link, &w->delivery), PK_OK);
}

static void restart_sensor(struct world *w)
{
    cut(w);
    w->session = 0;
    pk_delivery_free(w->delivery);
    restart_queue(w);
    start_sensor(w);
}

static void handshake(struct world *w)
{
    if (w->is_connecting && (!w->is_reachable || w->endpoint != 0)) { /* refused, or no answer */
        if (roll(w, 2) == 0) {
            pk_delivery_on_event(w->delivery, PK_DELIVERY_UNREACHABLE, w->now);
        }
        return;
    }
    if (!w->is_connecting) {
        return;
    }
    w->is_connecting = false;
    w->is_connected = w->knows_key && (w->uses_next ? w->knows_next : w->knows_old);
    pk_delivery_on_event(
        w->delivery, w->is_connected ? PK_DELIVERY_CONNECTED : PK_DELIVERY_REFUSED, w->now);
}

static void s_receive(struct world *w)
{
    const struct pipe_message *message = w->is_connected ? take(&w->down) : NULL;
    if (message) {
        pk_delivery_on_message(w->delivery, message->header, message->header_len,
            message->body_len ? message->body : NULL, message->body_len, w->now);
    }
}

static void advance(struct world *w, int64_t ms)
{
    w->now.mono_ms += ms;
    w->now.wall_us += ms * 1000;
    tick_queue(w);
    pk_delivery_tick(w->delivery, w->now);
}

static void step(struct world *w)
{
    switch (roll(w, 40)) {
    case 0:
        a_crash(w);
        break;
    case 1:
        restart_sensor(w);
        break;
    case 2:
        w->is_reachable = !w->is_reachable;
        break;
    case 3:
        w->knows_key = !w->knows_key;
        break;
    case 4:
        advance(w, 20000 + roll(w, 40000));
        break;
    case 5:
    case 6:
    case 7:
    case 8:
        if (w->next_content < MAX_BATCHES / 4) {
            append(&w->queue, ++w->next_content);
        }
        break;
    case 9:
    case 10:
        handshake(w);
        break;
    default:
        switch (roll(w, 4)) {
        case 0:
            a_receive(w);
            break;
        case 1:
            s_receive(w);
            break;
        case 2:
            a_commit(w);
            break;
        default:
            advance(w, roll(w, 700));
        }
    }
}

/* All is delivered, and a change of key that was begun is over. */
static bool is_settled(const struct world *w)
{
    return pk_delivery_is_done(w->delivery) && (!w->has_next || w->is_promoted);
}

/* No more faults: everything must arrive. */
static bool settle(struct world *w)
{
    w->is_reachable = w->knows_key = true;
    for (unsigned i = 0; i < 20000 && !is_settled(w); i++) {
        handshake(w);
        a_receive(w);
        a_commit(w);
        s_receive(w);
        advance(w, 250);
    }
    return is_settled(w);
}

static void new_world(struct world *w, uint64_t seed)
{
    *w = (struct world){.random = seed * 2654435761u + 1,
        .is_reachable = true,
        .knows_key = true,
        .knows_old = true,
        .has_next = seed % 2 == 0,
        .is_unordered = seed % 3 == 0};
    w->now = (struct pk_delivery_time){.mono_ms = 1000, .wall_us = INT64_C(1700000000000000)};
    w->queue.epoch = 7;
    w->queue.next_seq = 1;
    open_world(w);
    start_sensor(w);
}

static void end_world(struct world *w)
{
    pk_delivery_free(w->delivery);
    close_queue(w);
}

static void check_store(const struct world *w, uint64_t seed)
{
    unsigned seen[MAX_BATCHES + 1] = {0};
    for (size_t i = 0; i < w->n_store; i++) {
        seen[w->store[i].content]++;
    }
    for (uint32_t content = 1; content <= w->next_content; content++) {
        if (seen[content] != 1) {
            fail_msg("seed %llu: batch %u is in the store %u times", (unsigned long long)seed,
                content, seen[content]);
        }
    }
}

static void every_batch_is_stored_once_in_any_order_of_faults(void **state)
{
    (void)state;
    static struct world w;
    unsigned duplicates = 0, n_ranges = 0;
    for (uint64_t seed = 1; seed <= N_SEEDS; seed++) {
        new_world(&w, seed);
        for (unsigned i = 0; i < N_STEPS; i++) {
            step(&w);
        }
        if (!settle(&w)) {
            fail_msg("seed %llu: it never ends", (unsigned long long)seed);
        }
        check_store(&w, seed);
        duplicates += w.duplicates > 0;
        n_ranges += w.n_ranges > 0;
        end_world(&w);
    }
    assert_true(duplicates > N_SEEDS / 10); /* the faults are real: often something came twice */
    assert_true(n_ranges > N_SEEDS / 20);
}

/* A virtual machine is set back: the queue is as it was, its numbers are given again to other content. */
static void a_restored_copy_of_the_queue_loses_nothing(void **state)
{
    (void)state;
    static struct world w;
    unsigned conflicts = 0;
    for (uint64_t seed = 1; seed <= N_SEEDS / 4; seed++) {
        new_world(&w, seed);
        for (unsigned i = 0; i < 4; i++) {
            append(&w.queue, ++w.next_content);
        }
        for (unsigned i = roll(&w, 200); i > 0; i--) {
            step(&w);
        }
        struct queue_model snapshot;
        take_snapshot(&w, &snapshot);
        for (unsigned i = 0; i < 150; i++) {
            step(&w);
        }
        assert_true(settle(&w)); /* what was seen between the snapshot and now is safe already */
        restore_snapshot(&w, &snapshot);
        restart_sensor(&w);
        for (unsigned i = 0; i < 6; i++) {
            append(&w.queue, ++w.next_content);
        }
        for (unsigned i = 0; i < 150; i++) {
            step(&w);
        }
        if (!settle(&w)) {
            fail_msg("seed %llu: it never ends", (unsigned long long)seed);
        }
        conflicts += (unsigned)pk_delivery_counters(w.delivery)->refused;
        check_store(&w, seed);
        end_world(&w);
    }
    assert_true(conflicts > 0);
}

/* --- single rules --- */

static void a_silent_first_endpoint_gives_way_and_is_tried_again_after_an_hour(void **state)
{
    (void)state;
    static struct world w;
    new_world(&w, 5);
    advance(&w, 1000); /* connects to the first, which says nothing */
    assert_int_equal(w.endpoint, 0);
    advance(&w, PK_DELIVERY_CONNECT_FIRST_MS);
    advance(&w, PK_DELIVERY_BACKOFF_FIRST_MS + 1);
    assert_int_equal(w.endpoint, 1);
    w.is_connecting = false;
    w.is_connected = true;
    pk_delivery_on_event(w.delivery, PK_DELIVERY_CONNECTED, w.now);
    a_receive(&w);
    s_receive(&w);
    assert_int_equal(pk_delivery_state(w.delivery), PK_DELIVERY_READY);
    advance(&w, PK_DELIVERY_RETURN_MS - 1000);
    assert_int_equal(pk_delivery_state(w.delivery), PK_DELIVERY_READY);
    advance(&w, PK_DELIVERY_RETURN_MS / 2 + 2000);
    advance(&w, PK_DELIVERY_BACKOFF_FIRST_MS + 1);
    assert_int_equal(w.endpoint, 0);
    end_world(&w);
}

/* A host that is gone without a word costs five seconds; where none of the list answers a slow one gets its fifteen. */
static void who_answers_nobody_is_given_more_time_in_the_second_round(void **state)
{
    (void)state;
    static struct world w;
    int64_t begun_ms[6], ended_ms[6];
    new_world(&w, 5);
    for (size_t i = 0; i < 6; i++) {
        while (pk_delivery_state(w.delivery) != PK_DELIVERY_CONNECTING) {
            advance(&w, 10);
        }
        assert_int_equal(w.endpoint, i % 2);
        begun_ms[i] = w.now.mono_ms;
        if (i == 3) { /* this one answers after ten seconds, then its host is gone, too */
            advance(&w, 10000);
            w.is_connecting = false;
            w.is_connected = true;
            pk_delivery_on_event(w.delivery, PK_DELIVERY_CONNECTED, w.now);
            a_receive(&w);
            s_receive(&w);
            assert_int_equal(pk_delivery_state(w.delivery), PK_DELIVERY_READY);
            cut(&w);
            pk_delivery_on_event(w.delivery, PK_DELIVERY_BROKEN, w.now);
            break;
        }
        while (pk_delivery_state(w.delivery) == PK_DELIVERY_CONNECTING) {
            advance(&w, 10);
        }
        ended_ms[i] = w.now.mono_ms;
    }
    assert_in_range(ended_ms[0] - begun_ms[0], 5000, 5010);
    assert_in_range(ended_ms[1] - begun_ms[1], 5000, 5010);
    assert_in_range(begun_ms[1] - ended_ms[0], 0, PK_DELIVERY_BACKOFF_FIRST_MS + 10);
    assert_in_range(ended_ms[2] - begun_ms[2], 15000, 15010);
    while (pk_delivery_state(w.delivery) != PK_DELIVERY_CONNECTING) {
        advance(&w, 10);
    }
    int64_t again_ms = w.now.mono_ms; /* it was there: the round is the first again */
    while (pk_delivery_state(w.delivery) == PK_DELIVERY_CONNECTING) {
        advance(&w, 10);
    }
    assert_in_range(w.now.mono_ms - again_ms, 5000, 5010);
    end_world(&w);
}

/* Many sensors lose the same aggregator at the same moment. */
static void an_endpoint_that_refuses_gives_way_within_two_seconds_and_spread(void **state)
{
    (void)state;
    static struct world w;
    unsigned n_tenths[20] = {0};
    for (uint64_t seed = 1; seed <= 1000; seed++) {
        new_world(&w, seed * 7919);
        advance(&w, 1000);
        assert_int_equal(w.endpoint, 0);
        int64_t before_ms = w.now.mono_ms;
        pk_delivery_on_event(w.delivery, PK_DELIVERY_UNREACHABLE, w.now);
        assert_int_equal(pk_delivery_state(w.delivery), PK_DELIVERY_DOWN);
        while (w.endpoint == 0) {
            advance(&w, 10);
        }
        int64_t waited_ms = w.now.mono_ms - before_ms;
        assert_true(waited_ms <= PK_DELIVERY_NEXT_MS + 10);
        n_tenths[waited_ms / 100 < 20 ? waited_ms / 100 : 19]++;
        end_world(&w);
    }
    for (size_t i = 0; i < 20; i++) {
        assert_true(n_tenths[i] < 200); /* no tenth of a second has a fifth of them */
    }
}

static void endpoints_that_all_refuse_are_asked_ever_less_often_and_for_ever(void **state)
{
    (void)state;
    static struct world w;
    unsigned n_in[3] = {0}; /* connections begun in each ten minutes */
    new_world(&w, 9);
    for (int64_t ms = 0; ms < 1800000; ms += 100) {
        advance(&w, 100);
        if (w.is_connecting) {
            n_in[ms / 600000]++;
            pk_delivery_on_event(w.delivery, PK_DELIVERY_UNREACHABLE, w.now);
        }
    }
    assert_in_range(n_in[0], 30, 70); /* two a round; a round lasts a minute at most */
    assert_in_range(n_in[1], 18, 42);
    assert_in_range(n_in[2], 18, 42);
    end_world(&w);
}

static void bye_with_another_endpoint_is_followed_once(void **state)
{
    (void)state;
    static struct world w;
    new_world(&w, 6);
    advance(&w, 1000);
    handshake(&w);
    a_receive(&w);
    s_receive(&w);
    struct pk_endpoint home = {.address = "c"};
    struct pk_bytes body;
    pk_bytes_init(&body, 256);
    assert_int_equal(pk_bye_body_encode(&home, &body), PK_OK);
    struct pk_frame bye = {
        .type = PK_FRAME_BYE, .session = w.session, .u.bye = {.reason = PK_BYE_MOVED}};
    put(&w.down, &bye, body.data, body.len);
    pk_bytes_done(&body);
    s_receive(&w);
    assert_int_equal(pk_delivery_state(w.delivery), PK_DELIVERY_DOWN);
    advance(&w, PK_DELIVERY_BACKOFF_FIRST_MS + 1);
    assert_int_equal(w.endpoint, 2);
    pk_delivery_on_event(
        w.delivery, PK_DELIVERY_FAILED, w.now); /* it does not do: back to the list */
    advance(&w, PK_DELIVERY_BACKOFF_FIRST_MS + 1);
    assert_int_equal(w.endpoint, 0);
    end_world(&w);
}

static void no_aggregator_can_make_it_forget_what_was_not_sent(void **state)
{
    (void)state;
    static struct world w;
    new_world(&w, 7);
    append(&w.queue, ++w.next_content);
    advance(&w, 1000);
    handshake(&w);
    a_receive(&w);
    s_receive(&w);
    advance(&w, 1);
    struct pk_frame error = {.type = PK_FRAME_ERROR,
        .session = w.session,
        .u.error = {.code = PK_FRAME_ERR_EPOCH_CONFLICT, .epoch = 7, .seq = 99}};
    put(&w.down, &error, NULL, 0);
    s_receive(&w);
    assert_int_equal(pk_delivery_counters(w.delivery)->refused, 0);
    end_world(&w);
}

static void ranges_acknowledge_what_was_sent_and_leave_the_rest(void **state)
{
    (void)state;
    static struct world w;
    new_world(&w, 11);
    for (int i = 0; i < 7; i++) {
        append(&w.queue, ++w.next_content);
    }
    advance(&w, 1000);
    handshake(&w);
    a_receive(&w);
    s_receive(&w);
    advance(&w, 1); /* five leave: the credit */
    struct pk_queue_info info;
    w.handle.info(w.handle.self, &info);
    uint64_t first = info.oldest_seq;
    assert_int_equal(info.n_batches, 7);
    struct pk_frame ack = {.type = PK_FRAME_ACK,
        .session = w.session,
        .u.ack = {.epoch = info.epoch,
            .upto = first,
            .n_ranges = 2,
            .ranges = {{first + 2, first + 2}, {first + 3, first + 99}}}};
    put(&w.down, &ack, NULL, 0);
    s_receive(&w);
    assert_int_equal(pk_delivery_counters(w.delivery)->acked, 4);
    w.handle.info(w.handle.self, &info);
    assert_int_equal(info.oldest_seq, first + 1);
    assert_int_equal(info.n_batches, 3); /* the last two were not sent, so no range is about them */
    assert_true(settle(&w));
    check_store(&w, 11);
    end_world(&w);
}

static void clock_offset_is_the_sample_with_the_least_round_trip(void **state)
{
    (void)state;
    static struct world w;
    new_world(&w, 8);
    advance(&w, 1000);
    handshake(&w);
    a_receive(&w);
    s_receive(&w);
    const int64_t round_trips_ms[] = {400, 20, 900};
    for (size_t i = 0; i < 3; i++) {
        int64_t sent_ms = w.now.mono_ms;
        w.now.mono_ms += round_trips_ms[i];
        w.now.wall_us += round_trips_ms[i] * 1000;
        /* the aggregator is 3 s ahead and answers when all of the trip lies behind: worst for long trips */
        struct pk_frame echo = {.type = PK_FRAME_HEARTBEAT,
            .session = w.session,
            .u.heartbeat = {.echo_mono_ns = (uint64_t)sent_ms * 1000000,
                .wall_us = w.now.wall_us + INT64_C(3000000)}};
        put(&w.down, &echo, NULL, 0);
        s_receive(&w);
    }
    assert_int_equal(pk_delivery_counters(w.delivery)->round_trip_us, 20000);
    assert_int_equal(pk_delivery_counters(w.delivery)->clock_offset_us, 3010000);
    end_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_batch_is_stored_once_in_any_order_of_faults),
        cmocka_unit_test(a_restored_copy_of_the_queue_loses_nothing),
        cmocka_unit_test(ranges_acknowledge_what_was_sent_and_leave_the_rest),
        cmocka_unit_test(a_silent_first_endpoint_gives_way_and_is_tried_again_after_an_hour),
        cmocka_unit_test(who_answers_nobody_is_given_more_time_in_the_second_round),
        cmocka_unit_test(an_endpoint_that_refuses_gives_way_within_two_seconds_and_spread),
        cmocka_unit_test(endpoints_that_all_refuse_are_asked_ever_less_often_and_for_ever),
        cmocka_unit_test(bye_with_another_endpoint_is_followed_once),
        cmocka_unit_test(no_aggregator_can_make_it_forget_what_was_not_sent),
        cmocka_unit_test(clock_offset_is_the_sample_with_the_least_round_trip),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}

/* The socket, its monitor and the poll loop.
 *
 * libzmq 4.3.4 stops trying for good when ZAP refuses a key (status 400, 500), and a send that succeeded says nothing about delivery; so the socket is watched by a
 * monitor and rebuilt on demand of the delivery, and only an ACK counts. */
#include "ship/uplink.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>
#include <zmq.h>

#include "picket/clock.h"
#include "picket/limits.h"
#include "picket/log.h"

enum {
    MONITOR_FRAME = 6, /* event be16, value be32 in host order */
    MAX_FRAME = PK_MAX_BODY_BYTES + 4096,
};

struct uplink {
    const struct pk_uplink_options *options;
    struct pk_delivery *delivery;
    void *context, *socket, *monitor;
    unsigned n_sockets;
    bool has_rotated;
    struct pk_uplink_counters *counters;
    char pubkey_text[PK_KEY_TEXT_SIZE];
};

static struct pk_delivery_time now(void)
{
    return (struct pk_delivery_time){.mono_ms = pk_clock_mono_ms(), .wall_us = pk_clock_wall_us()};
}

/* --- what the delivery asks for --- */

static bool set_options(struct uplink *up, const struct pk_endpoint *endpoint)
{
    const struct {
        int option, value;
    } ints[] = {
        {ZMQ_LINGER, 0},
        {ZMQ_IMMEDIATE, 1},
        {ZMQ_SNDHWM, 8},
        {ZMQ_RCVHWM, 16}, /* of MAX_FRAME each */
        {ZMQ_SNDBUF, 256 << 10},
        {ZMQ_HANDSHAKE_IVL, 10000},
        {ZMQ_HEARTBEAT_IVL, 10000},
        {ZMQ_HEARTBEAT_TIMEOUT, 30000},
        {ZMQ_HEARTBEAT_TTL, 60000},
        {ZMQ_TCP_KEEPALIVE, 1},
        {ZMQ_TCP_KEEPALIVE_IDLE, 60},
        {ZMQ_TCP_MAXRT, 60000},
        {ZMQ_CONNECT_TIMEOUT, 10000},
        {ZMQ_RECONNECT_IVL, 1000},
        {ZMQ_RECONNECT_IVL_MAX, 60000},
        {ZMQ_IPV6, 1},
    };
    bool is_next = up->has_rotated || pk_delivery_uses_next_key(up->delivery);
    const struct pk_keypair *keys = is_next ? &up->options->next_keys : &up->options->keys;
    int64_t max_frame = MAX_FRAME;
    bool is_good = zmq_setsockopt(up->socket, ZMQ_MAXMSGSIZE, &max_frame, sizeof max_frame) == 0;
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++) {
        is_good = is_good && zmq_setsockopt(up->socket, ints[i].option, &ints[i].value,
                                 sizeof ints[i].value) == 0;
    }
    return is_good &&
           zmq_setsockopt(up->socket, ZMQ_CURVE_SERVERKEY, endpoint->server_pubkey, PK_KEY_BYTES) ==
               0 &&
           zmq_setsockopt(up->socket, ZMQ_CURVE_PUBLICKEY, keys->pubkey, PK_KEY_BYTES) == 0 &&
           zmq_setsockopt(up->socket, ZMQ_CURVE_SECRETKEY, keys->seckey, PK_KEY_BYTES) == 0;
}

static void on_disconnect(void *arg)
{
    struct uplink *up = arg;
    if (up->socket) {
        /* First, while its other end is there: libzmq's I/O thread blocks for ever on an event that nobody takes (seen: 4.3.4). */
        (void)zmq_socket_monitor(up->socket, NULL, 0);
    }
    if (up->monitor) {
        zmq_close(up->monitor);
    }
    if (up->socket) {
        zmq_close(up->socket);
    }
    up->socket = up->monitor = NULL;
}

static bool on_connect(void *arg, const struct pk_endpoint *endpoint)
{
    struct uplink *up = arg;
    int events = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
                 ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH |
                 ZMQ_EVENT_CONNECT_RETRIED | ZMQ_EVENT_DISCONNECTED;
    /* A name of its own for each socket: a closed one frees its name only some time later. */
    char monitor[64];
    snprintf(monitor, sizeof monitor, "inproc://picket.uplink.monitor.%u", up->n_sockets++);
    up->socket = zmq_socket(up->context, ZMQ_DEALER);
    bool is_good = up->socket && set_options(up, endpoint) &&
                   zmq_socket_monitor(up->socket, monitor, events) == 0;
    up->monitor = is_good ? zmq_socket(up->context, ZMQ_PAIR) : NULL;
    is_good = up->monitor && zmq_connect(up->monitor, monitor) == 0 &&
              zmq_connect(up->socket, endpoint->address) == 0;
    if (!is_good) {
        pk_error("uplink", "endpoint=%s cannot connect: %s", endpoint->address,
            zmq_strerror(zmq_errno()));
    }
    return is_good;
}

static bool on_send(void *arg, const struct pk_frame *frame, const uint8_t *body, size_t body_len)
{
    struct uplink *up = arg;
    struct pk_bytes header;
    pk_bytes_init(&header, PK_MAX_HEADER_BYTES);
    bool is_sent = pk_frame_encode(frame, &header) == PK_OK &&
                   zmq_send(up->socket, header.data, header.len,
                       (body ? ZMQ_SNDMORE : 0) | ZMQ_DONTWAIT) >= 0 &&
                   (!body || zmq_send(up->socket, body, body_len, ZMQ_DONTWAIT) >= 0);
    pk_bytes_done(&header);
    return is_sent;
}

static uint32_t on_random(void *arg, uint32_t below)
{
    (void)arg;
    return randombytes_uniform(below);
}

static void on_tell(void *arg, int level, const char *text)
{
    (void)arg;
    pk_log((enum pk_log_level)level, "uplink", "%s", text);
}

/* The old pair is worth nothing any more. When the file cannot be changed, both stay, and the next start finds out again which is known. */
static void on_rotated(void *arg)
{
    struct uplink *up = arg;
    char error[PK_KEY_ERROR_SIZE];
    up->has_rotated = true;
    (void)pk_key_text(up->options->next_keys.pubkey, up->pubkey_text);
    atomic_store(&up->counters->has_rotated, true);
    if (pk_keypair_promote(up->options->key_file, error) != PK_OK) {
        pk_warn("uplink", "%s; move it there, or leave both: each start tries both", error);
    }
}

static bool on_learn(void *arg, const struct pk_config_body *learned)
{
    const struct uplink *up = arg;
    struct pk_config_body kept = {.n = 0};
    if (!up->options->learned_folder) {
        return false;
    }
    pk_learned_load(up->options->learned_folder, &kept);
    uint32_t dropped;
    bool is_new = kept.n != learned->n || pk_learned_add(&kept, learned, &dropped);
    return !is_new || pk_learned_save(up->options->learned_folder, learned) == PK_OK;
}

static pk_err on_offer_scope(void *arg, const uint8_t *body, size_t body_len)
{
    const struct uplink *up = arg;
    return pk_scope_box_offer(up->options->scopes, body, body_len);
}

static struct pk_scope_verdict on_scope_in_use(void *arg)
{
    const struct uplink *up = arg;
    return pk_scope_box_in_use(up->options->scopes);
}

/* The disk is asked here and not by whoever judged: he empties rings. */
static void mind_scope(struct uplink *up)
{
    struct pk_scope_verdict verdict;
    struct pk_pushed judged;
    if (!up->options->scopes || !pk_scope_box_answered(up->options->scopes, &verdict, &judged)) {
        return;
    }
    if (judged.version) {
        bool is_kept = up->options->learned_folder && pk_pushed_save(up->options->learned_folder,
                                                          up->options->spool_key, &judged) == PK_OK;
        verdict.status = is_kept ? PK_CONFIG_KEPT : PK_CONFIG_NOT_DURABLE;
        pk_scope_box_set_in_use(up->options->scopes, &verdict);
        if (!is_kept) {
            pk_warn("uplink", "the scope is in use and cannot be kept on the disk serial=%" PRIu32,
                judged.serial);
        }
    }
    pk_pushed_done(&judged);
    pk_delivery_scope_judged(up->delivery, &verdict);
}

/* --- what happens on the socket --- */

static void read_monitor(struct uplink *up)
{
    uint8_t raw[MONITOR_FRAME + 256], address[256];
    int len = zmq_recv(up->monitor, raw, sizeof raw, ZMQ_DONTWAIT);
    (void)zmq_recv(up->monitor, address, sizeof address, ZMQ_DONTWAIT);
    if (len < MONITOR_FRAME) {
        return;
    }
    uint16_t event;
    memcpy(&event, raw, sizeof event);
    switch (event) {
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
        pk_delivery_on_event(up->delivery, PK_DELIVERY_CONNECTED, now());
        break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
        pk_delivery_on_event(up->delivery, PK_DELIVERY_REFUSED, now());
        break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
        pk_delivery_on_event(up->delivery, PK_DELIVERY_FAILED, now());
        break;
    case ZMQ_EVENT_CONNECT_RETRIED: /* it failed, and libzmq would wait before it tries again */
        pk_delivery_on_event(up->delivery, PK_DELIVERY_UNREACHABLE, now());
        break;
    case ZMQ_EVENT_DISCONNECTED:
        pk_delivery_on_event(up->delivery, PK_DELIVERY_BROKEN, now());
        break;
    default:
        break;
    }
}

/* Reads one whole message; frames beyond the second are read and thrown away. False when there is none. */
static bool read_message(struct uplink *up)
{
    zmq_msg_t parts[2];
    zmq_msg_init(&parts[0]);
    zmq_msg_init(&parts[1]);
    bool got = zmq_msg_recv(&parts[0], up->socket, ZMQ_DONTWAIT) >= 0;
    bool more = got && zmq_msg_more(&parts[0]);
    bool has_body = more && zmq_msg_recv(&parts[1], up->socket, 0) >= 0;
    for (more = has_body && zmq_msg_more(&parts[1]); more;) {
        zmq_msg_t scrap;
        zmq_msg_init(&scrap);
        more = zmq_msg_recv(&scrap, up->socket, 0) >= 0 && zmq_msg_more(&scrap);
        zmq_msg_close(&scrap);
    }
    if (got) {
        pk_delivery_on_message(up->delivery, zmq_msg_data(&parts[0]), zmq_msg_size(&parts[0]),
            has_body ? zmq_msg_data(&parts[1]) : NULL, has_body ? zmq_msg_size(&parts[1]) : 0,
            now());
    }
    zmq_msg_close(&parts[0]);
    zmq_msg_close(&parts[1]);
    return got;
}

static void clear_wake(int fd)
{
    uint64_t count;
    if (fd >= 0) {
        ssize_t n = read(fd, &count, sizeof count);
        (void)n; /* nothing to clear is as good */
    }
}

static void copy_counters(const struct uplink *up, struct pk_uplink_counters *out)
{
    const struct pk_delivery_counters *counters = pk_delivery_counters(up->delivery);
    atomic_store(&out->sent, counters->sent);
    atomic_store(&out->resent, counters->resent);
    atomic_store(&out->acked, counters->acked);
    atomic_store(&out->refused, counters->refused);
    atomic_store(&out->reconnects, counters->sessions);
    atomic_store(&out->clock_offset_us, counters->clock_offset_us);
    atomic_store(&out->is_connected, pk_delivery_state(up->delivery) == PK_DELIVERY_READY);
}

static pk_err run(struct uplink *up, const struct pk_queue *queue,
    struct pk_uplink_counters *counters, int stop_fd)
{
    while (!(up->options->ends_when_empty && pk_delivery_is_done(up->delivery))) {
        zmq_pollitem_t items[4] = {
            {.fd = stop_fd, .events = ZMQ_POLLIN},
            {.fd = queue->wake_fd, .events = ZMQ_POLLIN},
            {.socket = up->socket, .events = ZMQ_POLLIN},
            {.socket = up->monitor, .events = ZMQ_POLLIN},
        };
        if (queue->wake_fd < 0) {
            items[1] = (zmq_pollitem_t){.fd = stop_fd}; /* nothing ever wakes us there */
        }
        int64_t wait_ms = pk_delivery_wait_ms(up->delivery, pk_clock_mono_ms());
        if (zmq_poll(items, up->socket ? 4 : 2, wait_ms) < 0 && zmq_errno() != EINTR) {
            return PK_ERR_IO;
        }
        if (items[0].revents) {
            return PK_OK;
        }
        if (items[1].revents) {
            clear_wake(queue->wake_fd);
        }
        if (up->socket && (items[3].revents & ZMQ_POLLIN)) {
            read_monitor(up);
        }
        while (up->socket && (items[2].revents & ZMQ_POLLIN) && read_message(up)) {
        }
        mind_scope(up);
        pk_delivery_tick(up->delivery, now());
        copy_counters(up, counters);
    }
    return PK_OK;
}

pk_err pk_uplink_run(const struct pk_uplink_options *options, const struct pk_queue *queue,
    struct pk_uplink_counters *counters, int stop_fd)
{
    struct uplink up = {.options = options, .counters = counters};
    struct pk_delivery_link link = {.arg = &up,
        .connect = on_connect,
        .disconnect = on_disconnect,
        .send = on_send,
        .random = on_random,
        .tell = on_tell,
        .rotated = on_rotated,
        .learn = on_learn,
        .offer_scope = options->scopes ? on_offer_scope : NULL,
        .scope_in_use = on_scope_in_use};
    struct pk_delivery_options delivery = options->delivery;
    randombytes_buf(delivery.boot_id, sizeof delivery.boot_id);
    delivery.software = "picket-sensor " PICKET_VERSION;
    memcpy(delivery.next_pubkey, options->next_keys.pubkey, PK_KEY_BYTES);
    delivery.pubkey_text = pk_key_text(options->keys.pubkey, up.pubkey_text);
    up.context = zmq_ctx_new();
    pk_err err = up.context ? pk_delivery_new(&delivery, queue, &link, &up.delivery) : PK_ERR_NOMEM;
    if (err == PK_OK) {
        err = run(&up, queue, counters, stop_fd);
        pk_delivery_stop(up.delivery);
        copy_counters(&up, counters);
    }
    pk_delivery_free(up.delivery);
    if (up.context) {
        zmq_ctx_term(up.context);
    }
    return err;
}

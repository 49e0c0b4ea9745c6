/* TCP reassembly.
 *
 * A stream is in one of two states. Synced: the next byte expected is the first of a length or inside a message. Unsynced (picked up in the middle, or after a
 * gap): a segment is believed only when it begins with a length and a header that look like DNS; else it is thrown away whole. */
#include "reasm.h"

#include <stdlib.h>
#include <string.h>

#include "picket/hash.h"
#include "picket/map.h"

enum {
    NONE = UINT32_MAX,
    MAX_MESSAGE = 65535 + 2
};

struct segment {
    uint32_t seq;
    uint32_t len;
    uint8_t *data; /* owned */
};

struct key {
    struct pk_addr src, dst;
    uint16_t sport, dport;
};

struct stream {
    struct key key;
    uint64_t hash;
    uint32_t next_seq;
    bool is_synced;
    bool is_used;
    uint8_t *buffer; /* of an unfinished message; owned */
    size_t len, cap;
    struct segment *waiting; /* sorted by sequence; owned, PK_REASM_MAX_WAITING places */
    unsigned n_waiting;
    int64_t last_us, gap_since_us;
    uint32_t newer, older; /* idle order; the free list runs through `older` */
};

struct pk_reasm {
    struct pk_stats *stats;
    pk_reasm_cb on_message;
    void *arg;
    struct stream *streams;
    struct pk_map map;
    uint32_t newest, oldest, free;
    size_t bytes;
};

static bool is_stream(const void *entries, uint32_t entry, const void *key)
{
    return memcmp(&((const struct stream *)entries)[entry].key, key, sizeof(struct key)) == 0;
}

pk_err pk_reasm_new(
    struct pk_stats *stats, pk_reasm_cb on_message, void *arg, struct pk_reasm **out_reasm)
{
    struct pk_reasm *reasm = calloc(1, sizeof *reasm);
    if (!reasm) {
        return PK_ERR_NOMEM;
    }
    *reasm = (struct pk_reasm){.stats = stats,
        .on_message = on_message,
        .arg = arg,
        .newest = NONE,
        .oldest = NONE,
        .free = 0};
    reasm->streams = calloc(PK_REASM_MAX_STREAMS, sizeof *reasm->streams);
    if (!reasm->streams || pk_map_init(&reasm->map, PK_REASM_MAX_STREAMS, is_stream) != PK_OK) {
        pk_reasm_free(reasm);
        return PK_ERR_NOMEM;
    }
    for (uint32_t i = 0; i < PK_REASM_MAX_STREAMS; i++) {
        reasm->streams[i].older = i + 1 < PK_REASM_MAX_STREAMS ? i + 1 : NONE;
    }
    *out_reasm = reasm;
    return PK_OK;
}

static void drop_buffer(struct pk_reasm *reasm, struct stream *stream)
{
    reasm->stats->tcp_shed_bytes += stream->len;
    stream->len = 0;
}

static void release(struct pk_reasm *reasm, struct stream *stream)
{
    for (unsigned i = 0; i < stream->n_waiting; i++) {
        reasm->stats->tcp_shed_bytes += stream->waiting[i].len;
        reasm->bytes -= stream->waiting[i].len;
        free(stream->waiting[i].data);
    }
    drop_buffer(reasm, stream);
    reasm->bytes -= stream->cap;
    free(stream->buffer);
    free(stream->waiting);
}

void pk_reasm_free(struct pk_reasm *reasm)
{
    if (!reasm) {
        return;
    }
    for (uint32_t i = 0; reasm->streams && i < PK_REASM_MAX_STREAMS; i++) {
        if (reasm->streams[i].is_used) {
            release(reasm, &reasm->streams[i]);
        }
    }
    free(reasm->streams);
    if (reasm->map.slots) {
        pk_map_done(&reasm->map);
    }
    free(reasm);
}

/* --- idle order --- */

static void unlink_stream(struct pk_reasm *reasm, struct stream *stream)
{
    if (stream->newer != NONE) {
        reasm->streams[stream->newer].older = stream->older;
    } else {
        reasm->newest = stream->older;
    }
    if (stream->older != NONE) {
        reasm->streams[stream->older].newer = stream->newer;
    } else {
        reasm->oldest = stream->newer;
    }
}

static void link_newest(struct pk_reasm *reasm, struct stream *stream)
{
    uint32_t index = (uint32_t)(stream - reasm->streams);
    stream->newer = NONE;
    stream->older = reasm->newest;
    if (reasm->newest != NONE) {
        reasm->streams[reasm->newest].newer = index;
    } else {
        reasm->oldest = index;
    }
    reasm->newest = index;
}

static void close_stream(struct pk_reasm *reasm, struct stream *stream)
{
    uint32_t index = (uint32_t)(stream - reasm->streams);
    unlink_stream(reasm, stream);
    (void)pk_map_remove(&reasm->map, stream->hash, index);
    release(reasm, stream);
    *stream = (struct stream){.older = reasm->free};
    reasm->free = index;
}

static void shed_oldest(struct pk_reasm *reasm)
{
    reasm->stats->tcp_streams_shed++;
    close_stream(reasm, &reasm->streams[reasm->oldest]);
}

static struct stream *open_stream(struct pk_reasm *reasm, const struct key *key, uint64_t hash)
{
    if (reasm->free == NONE) {
        shed_oldest(reasm);
    }
    uint32_t index = reasm->free;
    struct stream *stream = &reasm->streams[index];
    reasm->free = stream->older;
    *stream = (struct stream){.key = *key, .hash = hash, .is_used = true};
    (void)pk_map_add(&reasm->map, hash, index); /* as many places as streams */
    link_newest(reasm, stream);
    reasm->stats->tcp_streams++;
    return stream;
}

/* Makes room in the common budget; the stream that asks is the newest and never its own victim. */
static bool reserve(struct pk_reasm *reasm, const struct stream *stream, size_t bytes)
{
    while (reasm->bytes + bytes > PK_REASM_MAX_BYTES) {
        if (&reasm->streams[reasm->oldest] == stream) {
            return false;
        }
        shed_oldest(reasm);
    }
    return true;
}

/* --- messages --- */

/* Whether bytes that should begin a message look like one: a length that holds a header, an opcode and counts that occur. */
static bool looks_like_message(const uint8_t *p, size_t len)
{
    if (len < 14) {
        return false;
    }
    size_t message = (size_t)p[0] << 8 | p[1];
    uint8_t opcode = p[4] >> 3 & 0xf;
    unsigned qdcount = (unsigned)p[6] << 8 | p[7];
    return message >= 12 && opcode <= 6 && !(p[5] & 0x40) && qdcount <= 1;
}

/* Gives out every whole message at the start of p; returns the bytes used. */
static size_t emit(struct pk_reasm *reasm, struct stream *stream, const struct pk_packet *packet,
    const uint8_t *p, size_t len)
{
    size_t used = 0;
    while (len - used >= 2) {
        size_t message = (size_t)p[used] << 8 | p[used + 1];
        if (message < 12) { /* no DNS message is so short: the stream is not where we think */
            reasm->stats->tcp_bad_length++;
            reasm->stats->tcp_shed_bytes += len - used;
            stream->is_synced = false;
            return len;
        }
        if (len - used - 2 < message) {
            break;
        }
        reasm->on_message(reasm->arg, packet, p + used + 2, message);
        used += 2 + message;
    }
    return used;
}

static bool keep(struct pk_reasm *reasm, struct stream *stream, const uint8_t *data, size_t len)
{
    if (stream->len + len > stream->cap) {
        size_t cap = stream->cap ? stream->cap : 2048;
        while (cap < stream->len + len) {
            cap *= 2;
        }
        uint8_t *grown =
            reserve(reasm, stream, cap - stream->cap) ? realloc(stream->buffer, cap) : NULL;
        if (!grown) {
            return false;
        }
        reasm->bytes += cap - stream->cap;
        stream->buffer = grown;
        stream->cap = cap;
    }
    memcpy(stream->buffer + stream->len, data, len);
    stream->len += len;
    return true;
}

/* Bytes that come next in the stream. The usual segment holds whole messages and is never copied. */
static void consume(struct pk_reasm *reasm, struct stream *stream, const struct pk_packet *packet,
    const uint8_t *data, size_t len)
{
    if (!stream->is_synced) {
        if (!looks_like_message(data, len)) {
            reasm->stats->tcp_shed_bytes += len;
            return;
        }
        stream->is_synced = true;
    }
    if (stream->len == 0) {
        size_t used = emit(reasm, stream, packet, data, len);
        data += used;
        len -= used;
        if (len == 0) {
            return;
        }
    }
    if (!keep(reasm, stream, data, len)) {
        drop_buffer(reasm, stream);
        reasm->stats->tcp_shed_bytes += len;
        stream->is_synced = false;
        return;
    }
    size_t used = emit(reasm, stream, packet, stream->buffer, stream->len);
    memmove(stream->buffer, stream->buffer + used, stream->len - used);
    stream->len -= used;
}

/* --- order --- */

/* Takes len bytes at seq that may overlap what was consumed; returns false when they lie beyond a gap. */
static bool advance(struct pk_reasm *reasm, struct stream *stream, const struct pk_packet *packet,
    uint32_t seq, const uint8_t *data, uint32_t len)
{
    int32_t ahead = (int32_t)(seq - stream->next_seq);
    if (ahead > 0) {
        return false;
    }
    uint32_t behind = stream->next_seq - seq;
    if (behind >= len) {
        reasm->stats->tcp_duplicate += len > 0;
        return true;
    }
    stream->next_seq = seq + len;
    consume(reasm, stream, packet, data + behind, len - behind);
    return true;
}

static void remove_waiting(struct pk_reasm *reasm, struct stream *stream, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        reasm->bytes -= stream->waiting[i].len;
        free(stream->waiting[i].data);
    }
    stream->n_waiting -= n;
    if (stream->n_waiting > 0) { /* most streams never had any: then there is no array */
        memmove(stream->waiting, stream->waiting + n, stream->n_waiting * sizeof *stream->waiting);
    }
}

static void take_waiting(
    struct pk_reasm *reasm, struct stream *stream, const struct pk_packet *packet)
{
    unsigned n = 0;
    while (n < stream->n_waiting && advance(reasm, stream, packet, stream->waiting[n].seq,
                                        stream->waiting[n].data, stream->waiting[n].len)) {
        n++;
    }
    remove_waiting(reasm, stream, n);
}

/* The missing bytes will not come: go on at the first segment that waits. */
static void jump_gap(struct pk_reasm *reasm, struct stream *stream, const struct pk_packet *packet)
{
    while (stream->n_waiting > 0) {
        reasm->stats->tcp_gaps++;
        drop_buffer(reasm, stream);
        stream->is_synced = false;
        stream->next_seq = stream->waiting[0].seq;
        take_waiting(reasm, stream, packet);
    }
}

static void wait_for_gap(struct pk_reasm *reasm, struct stream *stream,
    const struct pk_packet *packet, uint32_t seq, int64_t ts_us)
{
    uint32_t len = (uint32_t)packet->payload_len;
    if (!stream->waiting) {
        stream->waiting = calloc(PK_REASM_MAX_WAITING, sizeof *stream->waiting);
    }
    uint8_t *copy = stream->waiting && reserve(reasm, stream, len) ? malloc(len) : NULL;
    if (!copy) {
        reasm->stats->tcp_shed_bytes += len;
        return;
    }
    memcpy(copy, packet->payload, len);
    reasm->bytes += len;
    unsigned at = stream->n_waiting;
    while (at > 0 && (int32_t)(stream->waiting[at - 1].seq - seq) > 0) {
        stream->waiting[at] = stream->waiting[at - 1];
        at--;
    }
    stream->waiting[at] = (struct segment){.seq = seq, .len = len, .data = copy};
    if (stream->n_waiting++ == 0) {
        stream->gap_since_us = ts_us;
    }
    if (stream->n_waiting == PK_REASM_MAX_WAITING) {
        jump_gap(reasm, stream, packet);
    }
}

static void expire_idle(struct pk_reasm *reasm, int64_t ts_us)
{
    while (
        reasm->oldest != NONE && ts_us - reasm->streams[reasm->oldest].last_us > PK_REASM_IDLE_US) {
        close_stream(reasm, &reasm->streams[reasm->oldest]);
    }
}

void pk_reasm_segment(struct pk_reasm *reasm, const struct pk_packet *packet, int64_t ts_us)
{
    struct key key; /* compared as bytes: no padding may differ */
    memset(&key, 0, sizeof key);
    key.src = packet->src;
    key.dst = packet->dst;
    key.sport = packet->sport;
    key.dport = packet->dport;
    reasm->stats->tcp_segments++;
    expire_idle(reasm, ts_us);
    uint64_t hash = pk_hash(&key, sizeof key);
    uint32_t found = pk_map_find(&reasm->map, hash, reasm->streams, &key);
    struct stream *stream = found == PK_MAP_NONE ? NULL : &reasm->streams[found];
    bool is_syn = packet->tcp_flags & PK_TCP_SYN;
    if (packet->tcp_flags & PK_TCP_RST) {
        if (stream) {
            close_stream(reasm, stream);
        }
        return;
    }
    if (is_syn && stream && stream->next_seq != packet->tcp_seq + 1) { /* the port is used again */
        close_stream(reasm, stream);
        stream = NULL;
    }
    if (!stream) {
        if (packet->payload_len == 0 && !is_syn) {
            return;
        }
        stream = open_stream(reasm, &key, hash);
        stream->next_seq = packet->tcp_seq + is_syn;
        stream->is_synced = is_syn;
    }
    stream->last_us = ts_us;
    unlink_stream(reasm, stream);
    link_newest(reasm, stream);
    uint32_t seq = packet->tcp_seq + is_syn; /* data on a SYN (RFC 7413) begins after it */
    if (stream->n_waiting > 0 && ts_us - stream->gap_since_us > PK_REASM_GAP_US) {
        jump_gap(reasm, stream, packet);
    }
    /* One byte before what is expected is a keep-alive (RFC 1122 s4.2.3.6); it is a duplicate to us. */
    if (packet->payload_len > 0) {
        if (advance(reasm, stream, packet, seq, packet->payload, (uint32_t)packet->payload_len)) {
            take_waiting(reasm, stream, packet);
        } else {
            wait_for_gap(reasm, stream, packet, seq, ts_us);
        }
    }
    if (packet->tcp_flags & PK_TCP_FIN) {
        jump_gap(reasm, stream, packet);
        close_stream(reasm, stream);
    }
}

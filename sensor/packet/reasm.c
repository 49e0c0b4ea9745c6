/* TCP reassembly.
 *
 * A stream is in one of two states. Synced: the next byte expected is the first of a length or inside a message. Unsynced (picked up in the middle, or after a
 * gap): a segment is believed only when it begins with a length and a header that look like DNS; else it is thrown away whole. */
#include "packet/reasm.h"

#include <stdlib.h>
#include <string.h>

#include "picket/hash.h"
#include "picket/map.h"

enum {
    NONE = UINT32_MAX,
    KEPT_BUFFER = 4096, /* a larger one is given back when it is empty */
};

/* Where bytes came from. */
struct origin {
    int64_t ts_us;
    uint64_t frame;
};

/* A segment that waits for those before it. */
struct piece {
    struct piece *next; /* by sequence number; of equal ones the first to come is first */
    struct origin from;
    uint32_t seq, len;
    uint8_t data[];
};

struct key { /* compared as bytes: no padding may differ */
    uint64_t via;
    struct pk_addr src, dst;
    uint16_t sport, dport;
};

enum order {
    BY_USE, /* every stream, the longest idle last */
    BY_GAP, /* those with waiting pieces, the oldest gap last */
    N_ORDERS
};

struct links {
    uint32_t newer, older;
};

struct stream {
    struct key key;
    struct pk_via via;
    uint64_t hash;
    uint32_t first_seq, next_seq, fin_seq;
    bool is_synced, has_fin, is_fragmented, is_multicast;
    uint8_t *buffer; /* of an unfinished message; owned */
    uint32_t len, cap;
    struct origin from;    /* of the newest byte in buffer */
    struct piece *waiting; /* owned */
    struct piece *last;    /* of waiting */
    uint32_t n_waiting, waiting_bytes;
    int64_t last_us, gap_since_us;
    struct links links[N_ORDERS]; /* the free list runs through links[BY_USE].older */
};

struct pk_reasm {
    struct pk_stats *stats;
    pk_reasm_cb on_message;
    void *arg;
    struct stream *streams;
    struct pk_map map;
    struct links ends[N_ORDERS]; /* newer is the newest, older the oldest */
    uint32_t free;
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
    *reasm = (struct pk_reasm){
        .stats = stats, .on_message = on_message, .arg = arg, .ends = {{NONE, NONE}, {NONE, NONE}}};
    reasm->streams = calloc(PK_REASM_MAX_STREAMS, sizeof *reasm->streams);
    if (!reasm->streams || pk_map_init(&reasm->map, PK_REASM_MAX_STREAMS, is_stream) != PK_OK) {
        pk_reasm_free(reasm);
        return PK_ERR_NOMEM;
    }
    for (uint32_t i = 0; i < PK_REASM_MAX_STREAMS; i++) {
        reasm->streams[i].links[BY_USE].older = i + 1 < PK_REASM_MAX_STREAMS ? i + 1 : NONE;
    }
    *out_reasm = reasm;
    return PK_OK;
}

/* --- lists --- */

static void unlink_from(struct pk_reasm *reasm, struct stream *stream, enum order order)
{
    struct links *ends = &reasm->ends[order], mine = stream->links[order];
    *(mine.newer != NONE ? &reasm->streams[mine.newer].links[order].older : &ends->newer) =
        mine.older;
    *(mine.older != NONE ? &reasm->streams[mine.older].links[order].newer : &ends->older) =
        mine.newer;
}

static void link_newest(struct pk_reasm *reasm, struct stream *stream, enum order order)
{
    struct links *ends = &reasm->ends[order];
    uint32_t index = (uint32_t)(stream - reasm->streams);
    stream->links[order] = (struct links){.newer = NONE, .older = ends->newer};
    *(ends->newer != NONE ? &reasm->streams[ends->newer].links[order].newer : &ends->older) = index;
    ends->newer = index;
}

/* --- giving up --- */

static void drop_buffer(struct pk_reasm *reasm, struct stream *stream, enum pk_tcp_shed cause)
{
    reasm->stats->tcp_shed[cause] += stream->len;
    reasm->stats->tcp_bytes_pending -= stream->len;
    stream->len = 0;
}

static struct piece *pop_piece(struct pk_reasm *reasm, struct stream *stream)
{
    struct piece *piece = stream->waiting;
    stream->waiting = piece->next;
    stream->n_waiting--;
    stream->waiting_bytes -= piece->len;
    reasm->bytes -= piece->len + PK_REASM_PIECE_BYTES;
    reasm->stats->tcp_bytes_pending -= piece->len;
    if (!stream->waiting) {
        unlink_from(reasm, stream, BY_GAP);
    }
    return piece;
}

static void close_stream(struct pk_reasm *reasm, struct stream *stream, enum pk_tcp_shed cause)
{
    uint32_t index = (uint32_t)(stream - reasm->streams);
    drop_buffer(reasm, stream, cause);
    while (stream->waiting) {
        struct piece *piece = pop_piece(reasm, stream);
        reasm->stats->tcp_shed[cause] += piece->len;
        free(piece);
    }
    unlink_from(reasm, stream, BY_USE);
    (void)pk_map_remove(&reasm->map, stream->hash, index);
    reasm->bytes -= stream->cap;
    free(stream->buffer);
    *stream = (struct stream){.links[BY_USE].older = reasm->free};
    reasm->free = index;
}

void pk_reasm_free(struct pk_reasm *reasm)
{
    if (!reasm) {
        return;
    }
    while (reasm->ends[BY_USE].older != NONE) {
        close_stream(reasm, &reasm->streams[reasm->ends[BY_USE].older], PK_TCP_SHED_CLOSED);
    }
    free(reasm->streams);
    if (reasm->map.slots) {
        pk_map_done(&reasm->map);
    }
    free(reasm);
}

static struct stream *open_stream(
    struct pk_reasm *reasm, const struct key *key, uint64_t hash, const struct pk_packet *packet)
{
    if (reasm->free == NONE) {
        reasm->stats->tcp_streams_shed++;
        close_stream(reasm, &reasm->streams[reasm->ends[BY_USE].older], PK_TCP_SHED_TABLE);
    }
    uint32_t index = reasm->free;
    struct stream *stream = &reasm->streams[index];
    bool is_syn = packet->tcp_flags & PK_TCP_SYN;
    reasm->free = stream->links[BY_USE].older;
    *stream = (struct stream){.key = *key,
        .via = packet->via,
        .hash = hash,
        .first_seq = packet->tcp_seq + is_syn,
        .next_seq = packet->tcp_seq + is_syn,
        .is_synced = is_syn,
        .is_multicast = packet->is_multicast};
    (void)pk_map_add(&reasm->map, hash, index); /* as many places as streams */
    link_newest(reasm, stream, BY_USE);
    reasm->stats->tcp_streams++;
    return stream;
}

/* Makes room in the common budget; the stream that asks is the newest and never its own victim. */
static bool reserve(struct pk_reasm *reasm, const struct stream *stream, size_t bytes)
{
    while (reasm->bytes + bytes > PK_REASM_MAX_BYTES) {
        struct stream *oldest = &reasm->streams[reasm->ends[BY_USE].older];
        if (oldest == stream) {
            return false;
        }
        reasm->stats->tcp_streams_shed++;
        close_stream(reasm, oldest, PK_TCP_SHED_MEMORY);
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

static void give_out(struct pk_reasm *reasm, const struct stream *stream, const uint8_t *data,
    size_t len, const struct origin *from)
{
    struct pk_packet packet = {.src = stream->key.src,
        .dst = stream->key.dst,
        .sport = stream->key.sport,
        .dport = stream->key.dport,
        .is_tcp = true,
        .is_multicast = stream->is_multicast,
        .via = stream->via};
    struct pk_reasm_message message = {.packet = &packet,
        .data = data,
        .len = len,
        .ts_us = from->ts_us,
        .frame = from->frame,
        .is_fragmented = stream->is_fragmented};
    reasm->stats->tcp_bytes_used += 2 + len;
    reasm->on_message(reasm->arg, &message);
}

/* Gives out every whole message at the start of p, the first of which was completed by `first` and all others by `others`; returns the bytes used. */
static size_t emit(struct pk_reasm *reasm, struct stream *stream, const uint8_t *p, size_t len,
    const struct origin *first, const struct origin *others)
{
    size_t used = 0;
    while (len - used >= 2) {
        size_t message = (size_t)p[used] << 8 | p[used + 1];
        if (message < 12) { /* no DNS message is so short: the stream is not where we think */
            reasm->stats->tcp_bad_length++;
            reasm->stats->tcp_shed[PK_TCP_SHED_BAD_LENGTH] += len - used;
            stream->is_synced = false;
            return len;
        }
        if (len - used - 2 < message) {
            break;
        }
        give_out(reasm, stream, p + used + 2, message, used ? others : first);
        used += 2 + message;
    }
    return used;
}

static bool keep(struct pk_reasm *reasm, struct stream *stream, const uint8_t *data, size_t len)
{
    if (stream->len + len > stream->cap) {
        uint32_t cap = stream->cap ? stream->cap : 2048;
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
    stream->len += (uint32_t)len;
    reasm->stats->tcp_bytes_pending += len;
    return true;
}

static void shrink(struct pk_reasm *reasm, struct stream *stream)
{
    if (stream->len == 0 && stream->cap > KEPT_BUFFER) {
        reasm->bytes -= stream->cap;
        free(stream->buffer);
        stream->buffer = NULL;
        stream->cap = 0;
    }
}

/* Bytes that come next in the stream. The usual segment holds whole messages and is never copied. */
static void consume(struct pk_reasm *reasm, struct stream *stream, const struct origin *from,
    const uint8_t *data, size_t len)
{
    if (!stream->is_synced) {
        if (!looks_like_message(data, len)) {
            reasm->stats->tcp_shed[PK_TCP_SHED_UNSYNCED] += len;
            return;
        }
        stream->is_synced = true;
    }
    if (stream->len == 0) {
        size_t used = emit(reasm, stream, data, len, from, from);
        data += used;
        len -= used;
        if (len == 0) {
            return;
        }
        stream->from = *from;
    }
    if (!keep(reasm, stream, data, len)) {
        drop_buffer(reasm, stream, PK_TCP_SHED_MEMORY);
        reasm->stats->tcp_shed[PK_TCP_SHED_MEMORY] += len;
        stream->is_synced = false;
        return;
    }
    if (from->frame > stream->from.frame) {
        stream->from = *from;
    }
    size_t used = emit(reasm, stream, stream->buffer, stream->len, &stream->from, from);
    if (used > 0) {
        memmove(stream->buffer, stream->buffer + used, stream->len - used);
        stream->len -= (uint32_t)used;
        reasm->stats->tcp_bytes_pending -= used;
        stream->from = *from;
        shrink(reasm, stream);
    }
}

/* --- order --- */

/* Takes len bytes at seq, not beyond what is expected, that may overlap what was consumed. */
static void advance(struct pk_reasm *reasm, struct stream *stream, const struct origin *from,
    uint32_t seq, const uint8_t *data, uint32_t len)
{
    uint32_t behind = stream->next_seq - seq;
    if (behind >= len) {
        reasm->stats->tcp_duplicate += len > 0;
        reasm->stats->tcp_bytes_duplicate += len;
        return;
    }
    reasm->stats->tcp_bytes_duplicate += behind;
    stream->next_seq = seq + len;
    consume(reasm, stream, from, data + behind, len - behind);
}

static bool is_beyond(const struct stream *stream, uint32_t seq)
{
    return (int32_t)(seq - stream->next_seq) > 0;
}

static void take_waiting(struct pk_reasm *reasm, struct stream *stream)
{
    while (stream->waiting && !is_beyond(stream, stream->waiting->seq)) {
        struct piece *piece = pop_piece(reasm, stream);
        advance(reasm, stream, &piece->from, piece->seq, piece->data, piece->len);
        free(piece);
    }
}

/* Starts again at seq: what is between is lost. */
static void jump_to(struct pk_reasm *reasm, struct stream *stream, uint32_t seq)
{
    reasm->stats->tcp_gaps++;
    drop_buffer(reasm, stream, PK_TCP_SHED_GAP);
    stream->is_synced = false;
    stream->next_seq = seq;
}

/* The missing bytes will not come: go on at the segments that wait. */
static void jump_gaps(struct pk_reasm *reasm, struct stream *stream)
{
    while (stream->waiting) {
        jump_to(reasm, stream, stream->waiting->seq);
        take_waiting(reasm, stream);
    }
}

/* Where a piece at seq goes: the link to hang it on, *out_before the piece before it. */
static struct piece **place_of(struct stream *stream, uint32_t seq, struct piece **out_before)
{
    struct piece **place = &stream->waiting;
    *out_before = NULL;
    if (stream->last && stream->waiting && (int32_t)(stream->last->seq - seq) <= 0) {
        *out_before = stream->last; /* the usual case: they come in order behind the hole */
        return &stream->last->next;
    }
    while (*place && (int32_t)((*place)->seq - seq) <= 0) {
        *out_before = *place;
        place = &(*place)->next;
    }
    return place;
}

static void wait_for_gap(struct pk_reasm *reasm, struct stream *stream,
    const struct pk_packet *packet, uint32_t seq, const struct origin *from)
{
    uint32_t len = (uint32_t)packet->payload_len;
    struct piece *before, **place = place_of(stream, seq, &before);
    uint32_t offset = before ? seq - before->seq : 0;
    if (before && offset <= before->len && before->len - offset >= len) {
        reasm->stats->tcp_duplicate++;
        reasm->stats->tcp_bytes_duplicate += len;
        return;
    }
    struct piece *piece =
        reserve(reasm, stream, len + PK_REASM_PIECE_BYTES) ? malloc(sizeof *piece + len) : NULL;
    if (!piece) {
        reasm->stats->tcp_shed[PK_TCP_SHED_MEMORY] += len;
        return;
    }
    *piece = (struct piece){.next = *place, .from = *from, .seq = seq, .len = len};
    memcpy(piece->data, packet->payload, len);
    if (!stream->waiting) {
        stream->gap_since_us = from->ts_us;
        link_newest(reasm, stream, BY_GAP);
    }
    *place = piece;
    if (!piece->next) {
        stream->last = piece;
    }
    stream->n_waiting++;
    stream->waiting_bytes += len;
    reasm->bytes += len + PK_REASM_PIECE_BYTES;
    reasm->stats->tcp_bytes_pending += len;
    if (stream->n_waiting == PK_REASM_MAX_WAITING ||
        stream->waiting_bytes + stream->cap > PK_REASM_MAX_STREAM_BYTES) {
        jump_gaps(reasm, stream);
    }
}

/* The last word on a stream, given out what can be. */
static void finish(struct pk_reasm *reasm, struct stream *stream)
{
    jump_gaps(reasm, stream);
    close_stream(reasm, stream, PK_TCP_SHED_CLOSED);
}

static bool is_over(int64_t since_us, int64_t now_us, int64_t limit_us)
{
    int64_t age_us = now_us - since_us; /* time may step back: the next file */
    return age_us > limit_us || age_us < -limit_us;
}

static void close_if_ended(struct pk_reasm *reasm, struct stream *stream)
{
    if (stream->has_fin && !is_beyond(stream, stream->fin_seq)) {
        finish(reasm, stream);
    }
}

void pk_reasm_tick(struct pk_reasm *reasm, int64_t now_us)
{
    uint32_t oldest;
    while ((oldest = reasm->ends[BY_GAP].older) != NONE &&
           is_over(reasm->streams[oldest].gap_since_us, now_us, PK_REASM_GAP_US)) {
        struct stream *stream = &reasm->streams[oldest];
        jump_gaps(reasm, stream);
        close_if_ended(reasm, stream);
    }
    while ((oldest = reasm->ends[BY_USE].older) != NONE &&
           is_over(reasm->streams[oldest].last_us, now_us, PK_REASM_IDLE_US)) {
        finish(reasm, &reasm->streams[oldest]);
    }
}

void pk_reasm_flush(struct pk_reasm *reasm)
{
    while (reasm->ends[BY_USE].older != NONE) {
        finish(reasm, &reasm->streams[reasm->ends[BY_USE].older]);
    }
}

static void take_payload(struct pk_reasm *reasm, struct stream *stream,
    const struct pk_packet *packet, const struct origin *from)
{
    bool is_syn = packet->tcp_flags & PK_TCP_SYN;
    uint32_t seq = packet->tcp_seq + is_syn; /* data on a SYN (RFC 7413) begins after it */
    int32_t ahead = (int32_t)(seq - stream->next_seq);
    if (ahead > PK_REASM_MAX_JUMP || ahead < -PK_REASM_MAX_JUMP) {
        jump_gaps(reasm, stream);
        jump_to(reasm, stream, seq);
        ahead = 0;
    }
    /* One byte before what is expected is a keep-alive (RFC 1122 s4.2.3.6); it is a duplicate to us. */
    if (ahead > 0) {
        wait_for_gap(reasm, stream, packet, seq, from);
    } else {
        advance(reasm, stream, from, seq, packet->payload, (uint32_t)packet->payload_len);
        take_waiting(reasm, stream);
    }
}

static struct stream *find_stream(struct pk_reasm *reasm, const struct pk_packet *packet)
{
    struct key key;
    memset(&key, 0, sizeof key);
    key.via = pk_via_hash(&packet->via);
    key.src = packet->src;
    key.dst = packet->dst;
    key.sport = packet->sport;
    key.dport = packet->dport;
    uint64_t hash = pk_hash(&key, sizeof key);
    uint32_t found = pk_map_find(&reasm->map, hash, reasm->streams, &key);
    struct stream *stream = found == PK_MAP_NONE ? NULL : &reasm->streams[found];
    bool is_syn = packet->tcp_flags & PK_TCP_SYN;
    if (packet->tcp_flags & PK_TCP_RST) { /* one far from the window is not the peer's (RFC 5961) */
        int32_t ahead = stream ? (int32_t)(packet->tcp_seq - stream->next_seq) : 0;
        if (stream && ahead >= -1 && ahead <= PK_REASM_MAX_JUMP) {
            finish(reasm, stream);
        }
        return NULL;
    }
    if (is_syn && stream && stream->first_seq != packet->tcp_seq + 1) { /* the port is used again */
        finish(reasm, stream);
        stream = NULL;
    }
    if (!stream && (packet->payload_len > 0 || is_syn)) {
        stream = open_stream(reasm, &key, hash, packet);
    }
    return stream;
}

/* Kept out of its caller, where the usual packet, over UDP, would pay for the registers it needs. */
__attribute__((noinline)) void pk_reasm_segment(
    struct pk_reasm *reasm, const struct pk_packet *packet, int64_t ts_us, uint64_t frame)
{
    struct origin from = {.ts_us = ts_us, .frame = frame};
    reasm->stats->tcp_segments++;
    reasm->stats->tcp_bytes += packet->payload_len;
    pk_reasm_tick(reasm, ts_us);
    struct stream *stream = find_stream(reasm, packet);
    if (!stream) { /* a reset, or nothing to begin with */
        reasm->stats->tcp_shed[PK_TCP_SHED_CLOSED] += packet->payload_len;
        return;
    }
    stream->last_us = ts_us;
    stream->is_fragmented |= packet->is_fragmented;
    unlink_from(reasm, stream, BY_USE);
    link_newest(reasm, stream, BY_USE);
    if (packet->payload_len > 0) {
        take_payload(reasm, stream, packet, &from);
    }
    if (packet->tcp_flags & PK_TCP_FIN) {
        stream->has_fin = true;
        stream->fin_seq =
            packet->tcp_seq + !!(packet->tcp_flags & PK_TCP_SYN) + (uint32_t)packet->payload_len;
    }
    close_if_ended(reasm, stream);
}

size_t pk_reasm_bound_bytes(void)
{
    return sizeof(struct pk_reasm) + PK_REASM_MAX_STREAMS * sizeof(struct stream) +
           pk_map_bound_bytes(PK_REASM_MAX_STREAMS) + PK_REASM_MAX_BYTES;
}

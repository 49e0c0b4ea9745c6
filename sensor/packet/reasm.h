/* TCP streams of DNS: segments in, whole messages out (RFC 1035 s4.2.2, RFC 7766).
 *
 * Each direction is a stream of its own; streams of different encapsulations are different. Out-of-order segments wait; a gap that is not filled within
 * PK_REASM_GAP_US, or before the stream's memory is used up, is jumped over and the stream starts again at the next segment that begins like a message. Where bytes
 * come twice the first stand. A message is given out with the number and time of the packet that completed it, which may be older than the packet in hand.
 *
 * Every payload byte is counted once: see pk_stats_check. */
#ifndef SENSOR_REASM_H
#define SENSOR_REASM_H

#include "picket/err.h"

#include "packet/packet.h"
#include "packet/reasm_limits.h"
#include "stats.h"

enum {
    PK_REASM_MAX_STREAMS = 16384,          /* when full the longest idle goes: tcp_streams_shed */
    PK_REASM_MAX_STREAM_BYTES = 512 << 10, /* held by one stream; beyond it its gap is given up */
    PK_REASM_MAX_WAITING = 512,            /* out-of-order segments of one stream; likewise */
    PK_REASM_MAX_JUMP =
        1 << 20, /* a sequence number further off belongs to another connection or to lost data */
    PK_REASM_GAP_US = 2000000,
    PK_REASM_IDLE_US = 60000000,
};

struct pk_reasm;

/* A whole message, without its two length bytes; borrowed during the call. */
struct pk_reasm_message {
    const struct pk_packet *packet; /* of this stream: addresses, ports and via are the message's */
    const uint8_t *data;
    size_t len;
    int64_t ts_us;      /* of the packet that completed it */
    uint64_t frame;     /* its number */
    bool is_fragmented; /* some segment of the stream came in IP fragments */
};
typedef void (*pk_reasm_cb)(void *arg, const struct pk_reasm_message *message);

pk_err pk_reasm_new(
    struct pk_stats *stats, pk_reasm_cb on_message, void *arg, struct pk_reasm **out_reasm);
void pk_reasm_free(struct pk_reasm *reasm);
/* packet: of PK_PACKET_TCP, the frame-th of the capture. */
void pk_reasm_segment(
    struct pk_reasm *reasm, const struct pk_packet *packet, int64_t ts_us, uint64_t frame);
/* Gives up gaps and streams whose time is over. Cheap. */
void pk_reasm_tick(struct pk_reasm *reasm, int64_t now_us);
/* End of input: what waits behind gaps is given out, every stream is closed. */
void pk_reasm_flush(struct pk_reasm *reasm);
/* What it can come to hold, in bytes. */
size_t pk_reasm_bound_bytes(void);

#endif

/* TCP streams of DNS: segments in, whole messages out (RFC 1035 s4.2.2, RFC 7766).
 *
 * Each direction is a stream of its own. Out-of-order segments wait; a gap that is not filled within PK_REASM_GAP_US, or before FIN, is jumped over and the
 * stream starts again at the next segment that begins like a message. IP fragments are not put together yet: packet.c counts them and this is where they
 * will be. */
#ifndef SENSOR_REASM_H
#define SENSOR_REASM_H

#include "picket/err.h"

#include "packet.h"
#include "stats.h"

enum {
    PK_REASM_MAX_STREAMS = 16384, /* when full the longest idle goes: tcp_streams_shed */
    PK_REASM_MAX_BYTES =
        24 << 20, /* buffered by all streams together; when full the longest idle goes */
    PK_REASM_MAX_WAITING =
        64, /* out-of-order segments of one stream; beyond that the gap is given up */
    PK_REASM_GAP_US = 2000000,
    PK_REASM_IDLE_US = 60000000,
};

struct pk_reasm;

/* A whole message, without its two length bytes; borrowed during the call. */
typedef void (*pk_reasm_cb)(
    void *arg, const struct pk_packet *packet, const uint8_t *message, size_t len);

pk_err pk_reasm_new(
    struct pk_stats *stats, pk_reasm_cb on_message, void *arg, struct pk_reasm **out_reasm);
void pk_reasm_free(struct pk_reasm *reasm);
void pk_reasm_segment(struct pk_reasm *reasm, const struct pk_packet *packet, int64_t ts_us);

#endif

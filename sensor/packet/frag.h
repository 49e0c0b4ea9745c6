/* IP fragments, put together (RFC 791, RFC 8200 s4.5), within a bound that no sender can move.
 *
 * A packet whose parts overlap is dropped whole, and so is what still comes of it (RFC 5722, RFC 8900 s3); only an exact copy of a part is passed over. Likewise a
 * packet of too many parts, with two different ends, or with a part that cannot be right. Parts of a packet whose first part is neither DNS nor a tunnel are
 * not held. Whatever is not whole within PK_FRAG_TIMEOUT_US of the capture's time is dropped. When a table or the bytes are full the oldest packet goes.
 *
 * Every fragment is counted once: see pk_stats_check. */
#ifndef SENSOR_FRAG_H
#define SENSOR_FRAG_H

#include <stdbool.h>

#include "picket/err.h"

#include "packet/packet.h"
#include "packet/reasm_limits.h"
#include "stats.h"

enum {
    PK_FRAG_MAX_PACKETS = 1024,
    PK_FRAG_MAX_PARTS = 128, /* of one packet: 64 KiB in parts of 512 */
    PK_FRAG_TIMEOUT_US = 5000000,
};

struct pk_frags;

/* What parts made together. */
struct pk_datagram {
    uint8_t protocol;    /* as struct pk_fragment has it */
    const uint8_t *data; /* until the next call; owned by the table */
    size_t len;
};

/* ports and stats are borrowed; ports may change between calls. */
pk_err pk_frags_new(
    const struct pk_ports *ports, struct pk_stats *stats, struct pk_frags **out_frags);
void pk_frags_free(struct pk_frags *frags);
/* Takes a packet of PK_PACKET_FRAGMENT seen at ts_us. True when it made a whole, which out_datagram then is. */
bool pk_frags_take(struct pk_frags *frags, const struct pk_packet *packet, int64_t ts_us,
    struct pk_datagram *out_datagram);
/* End of input: what is not whole never will be. */
void pk_frags_flush(struct pk_frags *frags);
/* What it can come to hold, in bytes. */
size_t pk_frags_bound_bytes(void);

#endif

/* DNS beside us that cannot be read: a measure of blindness, from addresses and ports alone.
 *
 * DNS over TLS (RFC 7858, TCP 853), over QUIC (RFC 9250, UDP 853), and HTTPS (TCP and UDP 443) to addresses of well-known public resolvers, which serve nothing else there (RFC 8484).
 * A flow is a client, a server and their ports, counted again after PK_ENCRYPTED_IDLE_US of silence; PK_ENCRYPTED_SLOTS flows are remembered, and one that was
 * overwritten counts again. A live capture sees them only when its kernel filter lets them in. */
#ifndef SENSOR_ENCRYPTED_H
#define SENSOR_ENCRYPTED_H

#include "picket/err.h"

#include "packet/packet.h"

enum {
    PK_ENCRYPTED_SLOTS = 4096,
    PK_ENCRYPTED_IDLE_US = 300000000,
    PK_PORT_HTTPS = 443,
};

/* The well-known public resolvers whose HTTPS is DNS; constant. For the kernel's filter. */
const struct pk_addr *pk_encrypted_resolvers(size_t *out_n);

struct pk_encrypted {
    struct {
        uint64_t flow;
        int64_t seen_us;
    } flows[PK_ENCRYPTED_SLOTS];
};

/* All zeros to begin with. A packet that is not DNS, with its ports filled. Counts packets and flows. */
void pk_encrypted_note(struct pk_encrypted *encrypted, const struct pk_packet *packet,
    int64_t now_us, struct pk_stats *stats);

#endif

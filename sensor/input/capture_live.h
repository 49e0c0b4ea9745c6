/* One network interface being captured. With capture.c the only module that knows libpcap.
 *
 * A TPACKET_V3 ring of stated size, never immediate mode (docs/ARCHITECTURE.md, bounds), filtered in the kernel for the DNS ports. Not thread-safe: one thread a handle. */
#ifndef SENSOR_CAPTURE_LIVE_H
#define SENSOR_CAPTURE_LIVE_H

#include <stddef.h>
#include <stdint.h>

#include "input/capture.h"

enum {
    PK_LIVE_BLOCK_MS = 100 /* the kernel hands a block over when it is full, or this old */
};

struct pk_live;

enum pk_live_result {
    PK_LIVE_OK,
    PK_LIVE_DOWN,   /* it is there and not up */
    PK_LIVE_GONE,   /* there is no such interface (any more) */
    PK_LIVE_DENIED, /* not allowed: CAP_NET_RAW is missing */
    PK_LIVE_FAILED, /* link type, filter, memory */
};

struct pk_live_options {
    size_t ring_bytes;            /* kernel memory, not swappable */
    const struct pk_ports *ports; /* borrowed during the call */
    uint16_t interface;           /* what its packets carry in pk_raw_packet.interface */
    unsigned n_fanout;            /* members that share this interface's packets; 0 and 1: alone */
};

/* What went through, since the handle was opened. received = read + dropped + what is still in the ring (on the loopback device the kernel counts packets twice). */
struct pk_live_counts {
    uint64_t received, dropped, iface_dropped;
};

typedef void (*pk_live_cb)(void *arg, int link_type, const struct pk_raw_packet *packet);

/* On failure out_error holds the sentence, beginning with the interface's name. */
enum pk_live_result pk_live_open(const char *interface, const struct pk_live_options *options,
    struct pk_live **out_live, char out_error[PK_CAPTURE_ERROR_SIZE]);
void pk_live_close(struct pk_live *live);
int pk_live_fd(const struct pk_live *live); /* readable when a block is ready */
int pk_live_link_type(const struct pk_live *live);
const char *pk_live_link_name(const struct pk_live *live); /* EN10MB, ... */
/* Gives what is ready to the callback, about max packets at most, up to the first that is younger than until_us (INT64_MAX: no such limit); that one is held, as a copy, for a
 * later call. Never waits. DOWN, GONE, FAILED: the handle is of no more use. */
enum pk_live_result pk_live_read(struct pk_live *live, int max, int64_t until_us,
    pk_live_cb on_packet, void *arg, size_t *out_n, char out_error[PK_CAPTURE_ERROR_SIZE]);
/* The time of the held packet; INT64_MAX when none is held. */
int64_t pk_live_held_us(const struct pk_live *live);
/* Another filter in the running capture; what the old one let through is still read. */
enum pk_live_result pk_live_set_ports(
    struct pk_live *live, const struct pk_ports *ports, char out_error[PK_CAPTURE_ERROR_SIZE]);
/* Asks the kernel; costs some system calls. */
void pk_live_counts(struct pk_live *live, struct pk_live_counts *out_counts);

#endif

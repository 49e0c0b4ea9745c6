/* All the interfaces one thread captures from: opened by name or pattern, watched while they come and go, opened again when they come back.
 *
 * A slot an interface. A name keeps its slot for ever; an interface that matched a pattern loses it when it vanishes. An interface that fails is tried again after 1, 2, 4 ... 30 s, at once when the
 * kernel says that something changed, while the others go on. One thread a set.
 *
 * Packets of several interfaces are given out in the order of their times: each waits until no other interface can still bring an older one, PK_INTERFACES_HOLD_MS. A single interface's
 * packets do not wait. */
#ifndef SENSOR_INTERFACES_H
#define SENSOR_INTERFACES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picket/err.h"

#include "input/capture_live.h"
#include "input/source.h"
#include "stats.h"

enum {
    PK_INTERFACES_READ = 4096, /* packets taken before other sources have their turn, about */
    PK_INTERFACES_HOLD_MS = PK_LIVE_BLOCK_MS + 50,
    PK_INTERFACES_TURN_MS = 10,    /* several interfaces are looked at so often */
    PK_INTERFACES_LEFT_MS = 10000, /* so long nothing may be left before the set gives up */
    PK_INTERFACES_RING_MIN = 2 << 20,
    PK_INTERFACES_RING_MAX = 2047 << 20,
};

struct pk_interfaces;

struct pk_interfaces_options {
    const char *const
        *names;     /* interface names, or patterns of fnmatch(3); borrowed during the call */
    size_t n_names; /* 1..PK_STATS_MAX_INTERFACES */
    struct pk_ports ports;
    size_t ring_bytes; /* each interface */
    unsigned n_fanout; /* sets, each in a thread, that share the same interfaces */
};

/* Opens what is there. A name that does not exist or may not be opened is an error; one that is down is waited for, and so is an interface for a pattern.
 * PK_ERR_AUTH (CAP_NET_RAW), PK_ERR_IO, PK_ERR_LIMIT (too many names), PK_ERR_NOMEM; out_error has the sentence. Counters go to stats->interfaces (borrowed). */
pk_err pk_interfaces_open(const struct pk_interfaces_options *options, struct pk_stats *stats,
    pk_live_cb on_packet, void *arg, struct pk_interfaces **out_set,
    char out_error[PK_CAPTURE_ERROR_SIZE]);
void pk_interfaces_close(struct pk_interfaces *set);
struct pk_source pk_interfaces_source(struct pk_interfaces *set);

/* Other names and ports while running: interfaces that are in both lists are not touched but for their filter. PK_ERR_IO: a filter could not be set and that interface is
 * being opened again; PK_ERR_LIMIT: nothing was changed. */
pk_err pk_interfaces_change(struct pk_interfaces *set, const struct pk_interfaces_options *options,
    char out_error[PK_CAPTURE_ERROR_SIZE]);
/* Asks the kernel for its counters of all that is open. */
void pk_interfaces_count(struct pk_interfaces *set);
size_t pk_interfaces_n_open(const struct pk_interfaces *set);
bool pk_interfaces_is_pattern(const char *name);

#endif

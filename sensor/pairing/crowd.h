/* Who may stay when there are more open queries than places.
 *
 * Two defences, for two floods:
 *   - Known and strangers. A client's network (/24, /48) that had an answer lately is known. The table of open queries keeps an order for each of the two classes, and each is
 *     sure of half the places: a flood from made-up sources, whose queries stay open because nobody answers them, pushes out its own. A flood that is answered does not stay
 *     open, and does no harm here.
 *   - Shares. While more than half the places are taken, a client may hold PK_CROWD_CLIENT and a network PK_CROWD_NETWORK of them; what is above is closed at once. That is for
 *     floods from few sources, known or not.
 * Not defended against: a flood that makes up sources within the networks of many real clients. It shortens the time a query may stay open to half the table over the rate.
 *
 * Counts are kept only while the table is crowded, in two rows of counters each, the smaller of which is taken (Cormode and Muthukrishnan 2005): never too small; too large only
 * when both are shared with a flooder, which a keyed hash leaves to chance. */
#ifndef SENSOR_CROWD_H
#define SENSOR_CROWD_H

#include <stdbool.h>
#include <stdint.h>

#include "picket/addr.h"
#include "picket/err.h"

enum {
    PK_CROWD_CLIENT = 8192,
    PK_CROWD_NETWORK = 16384,
    PK_CROWD_KNOWN_SLOTS = 65536, /* networks remembered, 2 bytes each */
    PK_CROWD_KNOWN_S = 15 * 60,   /* about: counted in steps of 67 s */
    PK_CROWD_COUNTERS = 16384,    /* in each of four rows of 4 bytes */
};

enum pk_crowd_verdict {
    PK_CROWD_FINE,
    PK_CROWD_CLIENT_FULL,
    PK_CROWD_NETWORK_FULL,
};

struct pk_crowd;

pk_err pk_crowd_new(struct pk_crowd **out_crowd);
void pk_crowd_free(struct pk_crowd *crowd);

/* Of a client's /24 or /48, for the two calls below. */
uint64_t pk_crowd_network(const struct pk_addr *client);
bool pk_crowd_is_known(const struct pk_crowd *crowd, uint64_t network, int64_t now_us);
void pk_crowd_note_answer(struct pk_crowd *crowd, uint64_t network, int64_t now_us);

/* Counting: clear, then add each open query; the verdict says whether this one is above a share. */
void pk_crowd_clear(struct pk_crowd *crowd);
enum pk_crowd_verdict pk_crowd_add(
    struct pk_crowd *crowd, const struct pk_addr *client, uint64_t network);
void pk_crowd_remove(struct pk_crowd *crowd, const struct pk_addr *client, uint64_t network);
/* What it can come to hold, in bytes. */
size_t pk_crowd_bound_bytes(void);

#endif

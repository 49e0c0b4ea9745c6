/* The ingest child: everything that faces the network of sensors, in a process of its own.
 *
 * Runs the ROUTER socket and the ZAP handler, checks frames, sessions, credit and whole batches, and hands what passed to the core
 * over a link. A hostile peer can at worst make this process die; the core starts it again. */
#ifndef AGGREGATOR_INGEST_INGEST_H
#define AGGREGATOR_INGEST_INGEST_H

#include "link.h"

/* --- the child's side --- */
/* `picket-aggregator ingest`: serves the link on this descriptor until told to stop or the core is gone. Exit status. */
int pk_ingest_child_main(int link_fd);

/* --- the core's side --- */
struct pk_ingest {
    int pid;
    struct pk_link link;
};
/* Starts the child (this program again, argument "ingest") with an address-space limit of memory_limit_bytes, and sends it the setup. */
pk_err pk_ingest_start(
    const struct pk_link_setup *setup, uint64_t memory_limit_bytes, struct pk_ingest *out_ingest);
/* Asks it to end, waits up to two seconds, then kills. Safe on a child that is gone already. */
void pk_ingest_stop(struct pk_ingest *ingest);

#endif

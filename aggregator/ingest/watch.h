/* The peer of a descriptor, as "address:port": tells whether a number still belongs to the connection it was seen on. */
#ifndef AGGREGATOR_INGEST_WATCH_H
#define AGGREGATOR_INGEST_WATCH_H

#include <stdbool.h>

#include "session.h"

bool pk_watch_peer(int fd, char out_peer[PK_PEER_SIZE]);

#endif

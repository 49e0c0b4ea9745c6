/* The same message seen twice: on several interfaces (a pod's veth, the bridge and the uplink of a container host; before and after service NAT), or twice on one (redundant
 * taps, a mirror port that sends both directions of one port). It counts once; what is told to be a copy is dropped behind the list of messages and counted.
 *
 * A copy has the transport, the bytes of the DNS message (id included) and
 *   - all addresses and ports of the first, and comes within PK_COPY_SAME_US on the same interface, before the answer to its query, or within PK_COPY_OTHER_US on another
 *     one; or
 *   - one end (address and port, in the same role) of the first, another interface, and comes within PK_COPY_NAT_US: a translated leg.
 * On one interface only UDP has copies: the stream has dropped what came twice.
 *
 * The windows. Mirrored frames follow each other within microseconds; resolvers repeat a question after 100 ms at the soonest (most after 0.4 to 5 s). In between lie hosts that say
 * everything twice: in a root server's minute of 10,429 queries 32 repeats came within 1 ms, 7 more within 5 ms, 44 more within 0.5 s, no gap in between, each answered. A mirrored question comes before
 * its answer, theirs come after: so on one interface a repeat is a copy only while the query is open, and a repeated response only while none is. Between interfaces of one host the kernel needs microseconds; 50 ms allow for packets that
 * reach us out of order. A translated leg is told by less, so it must be quick: another client's equal question and id to the same server within 5 ms would be taken for one.
 *
 * Which one is kept. Of queries the first: it was seen nearest to the client, and evidence is charged to that leg. The first of a response is the far leg, which meets no
 * query when it is translated; so the caller offers a translated copy of a response to the pairing (pk_pairing_claim), which takes it in place of the one that waits. */
#ifndef SENSOR_COPIES_H
#define SENSOR_COPIES_H

#include "picket/err.h"

#include "transaction.h"

enum {
    PK_COPY_SAME_US = 2000,
    PK_COPY_OTHER_US = 50000,
    PK_COPY_NAT_US = 5000,
    PK_COPIES_SETS = 4096, /* of three messages each, 64 bytes a message: 0.8 MiB */
    PK_COPIES_WAYS = 3,
};

enum pk_copy {
    PK_COPY_NONE,
    PK_COPY_REPEAT, /* all ends equal, same interface: a copy if its query is still open (query), if none is (response) */
    PK_COPY_SAME,   /* all ends equal, another interface */
    PK_COPY_TRANSLATED, /* one end equal */
};

struct pk_copies;

pk_err pk_copies_new(struct pk_copies **out_copies);
void pk_copies_free(struct pk_copies *copies);
/* What message is (its digest filled); remembered when it is none. out_first is filled for a translated copy: the ends of the message it was made of. Forgets the oldest of a full set: a copy of that one then counts as a message, and
 * n_forgotten of pk_copies_forgotten says how often it could have happened. */
enum pk_copy pk_copies_see(
    struct pk_copies *copies, const struct pk_message *message, struct pk_leg *out_first);
/* How many messages were forgotten before PK_COPY_SAME_US had gone by. */
uint64_t pk_copies_forgotten(const struct pk_copies *copies);
/* Asks memory for what pk_copies_see will look at. */
void pk_copies_ahead(const struct pk_copies *copies, uint64_t digest);
/* What it can come to hold, in bytes. */
size_t pk_copies_bound_bytes(void);

#endif

/* Query meets response.
 *
 * Key: client address and port, server address and port, transport, id; and the question, case ignored, when the response has one. The earliest open query wins.
 * Time comes from the packets alone. Rules: RFC 8618 s10 (timeout), RFC 5452 s3 (what a match must hold). */
#ifndef SENSOR_PAIRING_H
#define SENSOR_PAIRING_H

#include "picket/err.h"

#include "copies.h"
#include "stats.h"
#include "transaction.h"

enum {
    PK_PAIRING_TIMEOUT_US = 5000000,
    PK_PAIRING_HOLD_US = 50000,  /* a response seen before its query waits so long */
    PK_PAIRING_MAX_OPEN = 65536, /* full: the oldest is closed as unanswered, counted as evicted */
    PK_PAIRING_MAX_CLIENT =
        8192, /* of one client while the table is more than half full: its newest is closed at once */
    PK_PAIRING_MAX_HELD = 1024,
    PK_PAIRING_MAX_HELD_BYTES = 4096, /* of one held response; larger ones are not held */
};

struct pk_pairing;

/* Called for every transaction when it ends; borrowed during the call. */
typedef void (*pk_pairing_cb)(void *arg, const struct pk_transaction *transaction);

pk_err pk_pairing_new(struct pk_stats *stats, pk_pairing_cb on_transaction, void *arg,
    struct pk_pairing **out_pairing);
void pk_pairing_free(struct pk_pairing *pairing);
/* A usable message of opcode QUERY (or NOTIFY, UPDATE, STATUS: paired by the same rules). */
void pk_pairing_message(struct pk_pairing *pairing, const struct pk_message *message);
/* Whether a query is open that this response would answer, or that this query repeats. */
bool pk_pairing_awaits(const struct pk_pairing *pairing, const struct pk_message *message);
/* A response known to be a translated copy of one whose ends were *first (copies.h): the leg nearest to the client comes last. PK_CLAIM_NONE: no query of this leg is open, it is a
 * copy and nothing else. PK_CLAIM_TAKEN: it answered its query in place of the first, which had waited and is forgotten. PK_CLAIM_OWN: it answered its query, and the first
 * does not wait any more (it was reported as nobody's), so this one counts as a response. */
enum pk_claim {
    PK_CLAIM_NONE,
    PK_CLAIM_TAKEN,
    PK_CLAIM_OWN
};
enum pk_claim pk_pairing_claim(
    struct pk_pairing *pairing, const struct pk_message *message, const struct pk_leg *first);
/* Closes what timed out by now_us. */
void pk_pairing_tick(struct pk_pairing *pairing, int64_t now_us);
/* End of input: closes everything. */
void pk_pairing_flush(struct pk_pairing *pairing);

#endif

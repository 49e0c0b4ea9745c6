/* Query meets response.
 *
 * Key: client address and port, server address and port, transport, id; and the question, case ignored, when the response has one. The earliest open query wins.
 * Time comes from the packets alone. Rules: RFC 8618 s10 (timeout), RFC 5452 s3 (what a match must hold). */
#ifndef SENSOR_PAIRING_H
#define SENSOR_PAIRING_H

#include "picket/err.h"

#include "pairing/copies.h"
#include "stats.h"
#include "transaction.h"

enum {
    PK_PAIRING_TIMEOUT_US = 5000000,
    PK_PAIRING_HOLD_US = 50000, /* a response seen before its query waits so long */
    PK_PAIRING_MAX_OPEN =
        65536, /* full: one is closed as unanswered, by the rules of crowd.h, and counted as evicted */
    PK_PAIRING_MAX_HELD = 1024,
    PK_PAIRING_MAX_HELD_BYTES = 4096, /* of one held response; larger ones are not held */
};

struct pk_pairing;

/* Called for every transaction when it ends; borrowed during the call. */
typedef void (*pk_pairing_cb)(void *arg, const struct pk_transaction *transaction);

pk_err pk_pairing_new(struct pk_stats *stats, pk_pairing_cb on_transaction, void *arg,
    struct pk_pairing **out_pairing);
void pk_pairing_free(struct pk_pairing *pairing);
/* A usable message of opcode QUERY (or NOTIFY, UPDATE, STATUS: paired by the same rules), its digest filled. Counts it as query or response. */
void pk_pairing_message(struct pk_pairing *pairing, const struct pk_message *message);
/* Whether a query is open that this response would answer, or that this query repeats. */
bool pk_pairing_awaits(const struct pk_pairing *pairing, const struct pk_message *message);
/* A response known to be a translated copy of one whose ends were *first (copies.h): the leg nearest to the client comes last. True when a query of this leg was open: it is
 * answered and everything is counted; the first, when it waits, is forgotten and this one counted as its copy. False: nothing was done. */
bool pk_pairing_claim(
    struct pk_pairing *pairing, const struct pk_message *message, const struct pk_leg *first);
/* An ICMP error quotes a message with these ends (as the message had them), transport and id: its query, if open, ends as unreachable
 * unless an answer comes after all, for anybody can send such an error. True when there was one. */
bool pk_pairing_unreachable(struct pk_pairing *pairing, const struct pk_leg *quoted,
    uint8_t transport, uint16_t id, int64_t now_us);
/* The packets' time, which may be later than that of a message that waited for the rest of its stream. */
void pk_pairing_set_now(struct pk_pairing *pairing, int64_t now_us);
/* Sets it too, and closes what timed out by now_us, and what lies more than PK_PAIRING_TIMEOUT_US ahead of it: time stepped back. The counters of pairing balance before and after each call here, not during callbacks. */
void pk_pairing_tick(struct pk_pairing *pairing, int64_t now_us);
/* End of input: closes everything. */
void pk_pairing_flush(struct pk_pairing *pairing);
/* What it can come to hold, in bytes. */
size_t pk_pairing_bound_bytes(void);

#endif

/* What of a transaction belongs into passive DNS, as RRsets with trust class and bailiwick.
 *
 * Only responses that met their query are looked at: sound as a whole, with the question in them, opcode QUERY, class IN, not truncated, not transfers.
 *   - Bailiwick of a response: the registrable domain of the QNAME (public suffix list), or the QNAME where there is none. In an authoritative answer
 *     the deepest owner of SOA or NS in the authority section that encloses the QNAME, when that lies at or below the registrable domain: a server may
 *     narrow its bailiwick, never widen it.
 *   - Answer section: kept when the owner is within the bailiwick. In a resolver's answer (no AA) later owners of the CNAME chain that begins at the
 *     QNAME have their own registrable domain; other strangers, and all strangers in an authoritative answer, are refused.
 *   - An RRset is whole or absent: responses of more than PK_HISTORY_MAX_RECORDS records give none.
 *   - Referral (no answer, not AA, NS in authority that enclose the QNAME): kept as such, bailiwick is the parent of the cut; with them the additional addresses of
 *     those name servers that lie within the cut, as glue.
 *   - OPT, SIG, TSIG, TKEY never. */
#ifndef SENSOR_HISTORY_H
#define SENSOR_HISTORY_H

#include "picket/err.h"
#include "picket/observation.h"

#include "stats.h"
#include "transaction.h"

enum {
    PK_HISTORY_MAX_RECORDS = 512 /* of one response; with more it is shed whole and counted */
};

struct pk_history;

/* One RRset of one response: count 1, both times the response's. Borrowed during the call. */
typedef void (*pk_history_cb)(void *arg, const struct pk_rrset *rrset);

pk_err pk_history_new(
    struct pk_stats *stats, pk_history_cb on_rrset, void *arg, struct pk_history **out_history);
void pk_history_free(struct pk_history *history);
void pk_history_transaction(struct pk_history *history, const struct pk_transaction *transaction);

/* RFC 2308 s2: what kind of answer this is. */
enum pk_answer_kind pk_history_answer_kind(const struct pk_transaction *transaction);
/* Of the answer section's (type, RDATA) set, whatever its order, without owners and TTLs; 0 when it is empty. out_min_ttl_s: 0 then. */
uint64_t pk_history_answer_digest(
    struct pk_history *history, const struct pk_message *response, uint32_t *out_min_ttl_s);

#endif

/* What of a transaction belongs into passive DNS, as RRsets with trust class and bailiwick.
 *
 * Only responses that met their query are looked at: sound as a whole, with the question in them, opcode QUERY, class IN, not truncated, not transfers.
 *   - Bailiwick of a response: the registrable domain of the QNAME (public suffix list), or the QNAME where there is none. In an authoritative answer
 *     the deepest owner of SOA or NS in the authority section that encloses the QNAME, when that lies at or below the registrable domain: a server may
 *     narrow its bailiwick, never widen it.
 *     Where the source says which zone the server was asked as (dnstap), that is the bailiwick of its authoritative answers and of its referrals, which lead below it.
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

/* How often a row came once more, when, and with which TTLs. */
struct pk_history_repeat {
    uint32_t row, count;
    int64_t first_us, last_us;
    uint32_t ttl_min_s, ttl_max_s;
};

/* Where RRsets go.
 *
 * A resolver's or a root server's answers are mostly the same few over and over, and taking one apart again cost more than all the rest. A sink that
 * keeps rows can be told instead that the rows of a response came again: enter and repeat are both set, rrset gives each row a number, and pk_history_settle is called before rows are given out. */
struct pk_history_sink {
    void *arg;
    /* One RRset of one response: count 1, both times the response's. Borrowed during the call. The number of its row, or PK_HISTORY_NO_ROW. */
    uint32_t (*rrset)(void *arg, const struct pk_rrset *rrset);
    /* Time is now ts_us; numbers given before are good while what comes back is the same. NULL: nothing is remembered. */
    uint32_t (*enter)(void *arg, int64_t ts_us);
    void (*repeat)(void *arg, const struct pk_history_repeat *repeat);
};
#define PK_HISTORY_NO_ROW UINT32_MAX

/* What the activity's window makes of a remembered response, kept with it: good within that part. */
struct pk_answer_memo {
    uint32_t part; /* 0: nothing yet */
    uint32_t name, answer;
};

/* What came back, as an activity row tells it. */
struct pk_answer {
    enum pk_answer_kind kind;
    uint64_t digest; /* pk_history_answer_digest, of DATA; else 0 */
    uint32_t min_ttl_s;
    struct pk_answer_memo
        *memo; /* of the response, when it is remembered, until history's next call; else NULL */
};

pk_err pk_history_new(
    struct pk_stats *stats, const struct pk_history_sink *sink, struct pk_history **out_history);
void pk_history_free(struct pk_history *history);
/* The same for the message in hand, before it is paired: what may be remembered of it is asked for. Every message is to be told of, or none. */
void pk_history_ahead(struct pk_history *history, const struct pk_message *message);
/* The second step of the same, after some other work. */
void pk_history_nearer(const struct pk_history *history);
/* Tells the sink what came again, and forgets the numbers of its rows. */
void pk_history_settle(struct pk_history *history);
/* Reports the RRsets. */
void pk_history_transaction(struct pk_history *history, const struct pk_transaction *transaction,
    struct pk_answer *out_answer);
/* Whether the list of public suffixes was there (PICKET_PUBLIC_SUFFIX_LIST, of the distribution); without it the registrable domain is the last two labels. */
bool pk_history_has_suffixes(const struct pk_history *history);
/* What it can come to hold, in bytes. */
size_t pk_history_bound_bytes(void);

/* RFC 2308 s2: what kind of answer this is. */
enum pk_answer_kind pk_history_answer_kind(const struct pk_transaction *transaction);
/* Of the answer section's (type, RDATA) set, whatever its order, without owners and TTLs; 0 when it is empty. out_min_ttl_s: 0 then. */
uint64_t pk_history_answer_digest(
    struct pk_history *history, const struct pk_message *response, uint32_t *out_min_ttl_s);

#endif

/* What a sensor says it saw, and what it lost of that: six kinds of rows, as plain values.
 *
 * Names are in lower case, uncompressed wire form. Slices are borrowed: from the batch they were read from, or from
 * the caller until the builder has copied them. */
#ifndef PICKET_OBSERVATION_H
#define PICKET_OBSERVATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picket/addr.h"
#include "picket/sketch.h"

struct pk_slice {
    const uint8_t *data;
    uint32_t len;
};

/* Who asked. Outside addresses travel in clear, inside clients as a keyed pseudonym with their configured prefix. */
enum pk_client_kind {
    PK_CLIENT_NONE,
    PK_CLIENT_OUTSIDE,   /* addr */
    PK_CLIENT_INSIDE,    /* addr: only in files written without a scope */
    PK_CLIENT_PSEUDONYM, /* pseudonym, prefix */
};
struct pk_client {
    enum pk_client_kind kind;
    struct pk_addr addr;
    uint8_t pseudonym[8]; /* BLAKE2b under the tenant's client key */
    struct pk_prefix
        prefix; /* of a pseudonym: the configured network it is in; of an outside client: the client
                                subnet for which it asked (RFC 7871), at most /24 or /48; else family 0 */
};

/* Where the capture stood (design, "--vantage"). */
enum pk_vantage {
    PK_VANTAGE_UNKNOWN,
    PK_VANTAGE_AUTHORITATIVE, /* beside an authoritative server: clients are outside resolvers and actors */
    PK_VANTAGE_RESOLVER, /* between inside clients and their resolver */
    PK_N_VANTAGES,
};

enum pk_transport {
    PK_TRANSPORT_UDP,
    PK_TRANSPORT_TCP,
    /* The rest cannot be read on the wire: only a server that logs its messages (dnstap) shows them. */
    PK_TRANSPORT_DOT, /* RFC 7858 */
    PK_TRANSPORT_DOH, /* RFC 8484 */
    PK_TRANSPORT_DOQ, /* RFC 9250 */
    PK_TRANSPORT_DNSCRYPT_UDP,
    PK_TRANSPORT_DNSCRYPT_TCP,
    PK_N_TRANSPORTS,
};

/* What came back. */
enum pk_answer_kind {
    PK_ANSWER_NONE,      /* no response in time */
    PK_ANSWER_DATA,      /* NOERROR with the asked type, or a chain to it, in the answer section */
    PK_ANSWER_NODATA,    /* NOERROR, empty answer, not a referral (RFC 2308 s2.2) */
    PK_ANSWER_REFERRAL,  /* NOERROR, empty answer, NS of a zone cut in authority, not AA */
    PK_ANSWER_NXDOMAIN,  /* RFC 8020 */
    PK_ANSWER_ERROR,     /* any other RCODE */
    PK_ANSWER_TRUNCATED, /* TC: the client will ask again over TCP */
    PK_ANSWER_TRANSFER,  /* AXFR or IXFR with records */
    PK_N_ANSWER_KINDS,
};

enum {
    PK_RCODE_NO_RESPONSE = 0xffff
};

/* Response header bits kept, and the query's. */
enum {
    PK_SIG_AA = 1 << 0,
    PK_SIG_TC = 1 << 1,
    PK_SIG_RA = 1 << 2,
    PK_SIG_QUERY_RD = 1 << 3,
    PK_SIG_QUERY_AD = 1 << 4,
    PK_SIG_QUERY_CD = 1 << 5,
    PK_SIG_QUERY_EDNS = 1 << 6,
    PK_SIG_QUERY_DO = 1 << 7,
    PK_SIG_QUERY_COOKIE = 1 << 8,
    PK_SIG_QUERY_ECS = 1 << 9,
    PK_SIG_QUERY_NSID = 1 << 10,
};

/* What many transactions of a window have in common (RFC 8618 "query signature"). */
struct pk_signature {
    struct pk_addr server;
    uint16_t server_port;
    uint8_t transport; /* enum pk_transport */
    uint8_t vantage;   /* enum pk_vantage, per server */
    uint8_t opcode;
    uint8_t answer; /* enum pk_answer_kind */
    uint16_t qtype;
    uint16_t qclass;
    uint16_t rcode; /* PK_RCODE_NO_RESPONSE when none came */
    uint16_t flags; /* PK_SIG_* */
    uint16_t
        edns_udp_size; /* of the query, rounded down to 512, 1232, 1400, 4096 or the rest to 0 and 65535 */
};

/* In-scope transactions of one client, name and signature within a window. */
struct pk_activity {
    struct pk_client client;
    struct pk_slice name;
    struct pk_signature signature;
    int64_t first_us;                        /* time of the first query */
    uint32_t span_us;                        /* last minus first */
    uint32_t count;                          /* transactions, >= 1 */
    uint32_t latency_min_us, latency_max_us; /* 0 when unanswered */
    uint32_t response_bytes_max;
    uint64_t
        answer_digest; /* of the answer section's (type, RDATA) set without owner and TTL; 0: none. Equal answers of
                               different names are how a wildcard shows */
    uint32_t min_ttl_s;
    uint32_t retransmissions;
    uint32_t transfer_records; /* AXFR, IXFR: resource records seen */
    uint16_t transfer_soas;
    uint8_t
        case_mixed; /* queries with 0x20 case patterns (RFC draft-vixie-dnsext-dns0x20), saturating */
};

/* How far an RRset may be believed; part of its identity in history, never merged across (design, 7). */
enum pk_trust {
    PK_TRUST_AUTHORITATIVE, /* answer section, AA */
    PK_TRUST_RESOLVER,      /* answer section, no AA: a cache said it */
    PK_TRUST_REFERRAL,      /* NS in authority, parent side */
    PK_TRUST_GLUE,          /* additional address of a name in such an NS set */
    PK_N_TRUSTS,
};

enum {
    PK_RRSET_SIGNED = 1 << 0, /* an RRSIG covering it came along */
};

struct pk_rrset {
    struct pk_slice owner;
    uint16_t type;
    uint16_t class;
    const struct pk_slice *rdata; /* canonical RDATA, sorted by bytes, distinct */
    uint32_t n_rdata;             /* >= 1 */
    struct pk_slice bailiwick;
    uint8_t trust; /* enum pk_trust */
    uint8_t flags; /* PK_RRSET_* */
    uint32_t count;
    int64_t first_us, last_us;
    uint32_t ttl_min_s, ttl_max_s;
    struct pk_addr server; /* one that said it; family 0 when not kept */
};

/* Answers without data, out of scope or in: no client. */
struct pk_negative {
    struct pk_slice name;
    uint16_t type;
    uint16_t class;
    uint16_t rcode; /* PK_RCODE_NO_RESPONSE: unanswered */
    uint32_t count;
    int64_t first_us, last_us;
};

/* Why a client's transactions are only counted. */
enum pk_client_reason {
    PK_CLIENT_OUT_OF_SCOPE,
    PK_CLIENT_OVERFLOW, /* in scope, but above what a window gives rows of their own */
    PK_CLIENT_ALIAS, /* counts nothing: says which pseudonym the client had in the period before */
    PK_N_CLIENT_REASONS,
};

/* What one client did within a window, without any name but the tenant's zone. */
struct pk_client_count {
    struct pk_client client;
    struct pk_client
        former;           /* ALIAS: the same client's pseudonym of the period before; else NONE */
    struct pk_slice zone; /* OVERFLOW: the tenant's zone; else the root */
    uint8_t reason;       /* enum pk_client_reason */
    uint32_t count;       /* transactions */
    uint32_t negative;    /* of count: answered without data, or not at all */
    uint32_t unanswered;  /* of negative */
    uint32_t ptr;         /* of count: asked for PTR */
    int64_t first_us;
    uint32_t span_us;
    struct pk_sketch names; /* distinct names asked for */
};

/* Counters since the last health batch (deltas), but for gauges. The place of each is its place on the wire and never changes. In each window
 *   packets = dns_packets + tcp_packets + not_dns + snapped + bad_packet + fragments;
 *   messages = malformed + ignored + copies + queries + responses;   queries = opened + retransmissions;   transactions = answered + unanswered;
 *   opened = transactions + the rise of open_now;
 *   transactions = in_scope + overflow + negative + positive + merge_shed. */
enum pk_health_key {
    PK_HEALTH_INTERVAL_MS,
    PK_HEALTH_PACKETS,        /* handed over by libpcap */
    PK_HEALTH_KERNEL_DROPPED, /* ring full: libpcap ps_drop */
    PK_HEALTH_IFACE_DROPPED,  /* libpcap ps_ifdrop */
    PK_HEALTH_NOT_DNS,        /* other ports, protocols, link types */
    PK_HEALTH_SNAPPED,        /* cut by the snap length inside the message */
    PK_HEALTH_BAD_PACKET,     /* link, IP, UDP or TCP header damaged */
    PK_HEALTH_FRAGMENTS,      /* IP fragments not used */
    PK_HEALTH_TCP_SEGMENTS,
    PK_HEALTH_TCP_SHED, /* stream bytes dropped: gaps, caps */
    PK_HEALTH_MESSAGES, /* DNS messages, malformed ones included */
    PK_HEALTH_MALFORMED,
    PK_HEALTH_QUERIES,
    PK_HEALTH_RESPONSES,
    PK_HEALTH_TRANSACTIONS, /* answered + unanswered */
    PK_HEALTH_ANSWERED,
    PK_HEALTH_UNANSWERED,
    PK_HEALTH_RETRANSMISSIONS,
    PK_HEALTH_UNSOLICITED,
    PK_HEALTH_PAIRING_EVICTED, /* open queries closed early: reported as unanswered too */
    PK_HEALTH_IN_SCOPE,        /* transactions in activity rows */
    PK_HEALTH_NEGATIVE,        /* transactions in negative rows */
    PK_HEALTH_POSITIVE,        /* out-of-scope transactions with data: only their RRsets travel */
    PK_HEALTH_MERGE_SHED,      /* transactions lost because a window table was full */
    PK_HEALTH_RRSETS,          /* RRset sightings before merging */
    PK_HEALTH_RRSETS_SHED,
    PK_HEALTH_RRSETS_REFUSED, /* out of bailiwick, unsolicited: not history */
    PK_HEALTH_ROWS,           /* rows sealed into batches */
    PK_HEALTH_SPOOL_BYTES,    /* gauge */
    PK_HEALTH_SPOOL_LOST_ROWS,
    PK_HEALTH_BATCHES_SENT,
    PK_HEALTH_BATCHES_RESENT,
    PK_HEALTH_RECONNECTS,
    PK_N_HEALTH_FIRST, /* what the first minor version has: one column; the rest stands in another */
    PK_HEALTH_DNS_PACKETS = PK_N_HEALTH_FIRST, /* with a DNS message, or a dnstap frame used */
    PK_HEALTH_TCP_PACKETS,                     /* given to the streams */
    PK_HEALTH_COPIES,             /* messages seen before, on another interface or twice */
    PK_HEALTH_IGNORED,            /* messages of other opcodes, mDNS and LLMNR */
    PK_HEALTH_OPENED,             /* queries that were no retransmission */
    PK_HEALTH_OPEN_NOW,           /* gauge: of these, not yet closed */
    PK_HEALTH_TRANSFER_MORE,      /* responses after the first of a transfer */
    PK_HEALTH_HELD_NOW,           /* gauge: responses that wait for their query */
    PK_HEALTH_LATE,               /* of unsolicited */
    PK_HEALTH_MISMATCHED,         /* of unsolicited */
    PK_HEALTH_REPEATED,           /* of unsolicited */
    PK_HEALTH_CONFLICTING,        /* of unsolicited */
    PK_HEALTH_UNREACHABLE,        /* of unanswered */
    PK_HEALTH_CASE_CHANGED,       /* of answered */
    PK_HEALTH_REFUSED_FRAGMENTED, /* responses from IP fragments: not history */
    PK_HEALTH_ENCRYPTED_PACKETS,  /* DNS that cannot be read: DoT, DoQ, DoH of known resolvers */
    PK_HEALTH_ENCRYPTED_FLOWS,
    PK_HEALTH_CLOCK_STEPS,     /* packet time jumped back or far ahead */
    PK_HEALTH_DIAGNOSES,       /* gauge: bits of enum pk_diagnosis that hold */
    PK_HEALTH_OVERFLOW,        /* in-scope transactions in a client's overflow row */
    PK_HEALTH_FOLDED,          /* of negative: counted under a wildcard of their domain */
    PK_HEALTH_RRSETS_WITHHELD, /* reverse names of foreign networks: they stay at the site */
    PK_HEALTH_LOST_OVERFLOW,   /* of spool_lost_rows, by enum pk_loss_cause, as what follows */
    PK_HEALTH_LOST_AGE,
    PK_HEALTH_LOST_SPACE,
    PK_HEALTH_LOST_MEMORY,
    PK_HEALTH_LOST_REFUSED,
    PK_HEALTH_BATCHES_ACKED,
    PK_HEALTH_BATCHES_REFUSED, /* by the aggregator: given up, or given a new number */
    PK_HEALTH_PEAK_RSS_KB,     /* gauge: the most the process has had in memory */
    PK_HEALTH_CPU_MS,          /* of all its threads, user and system */
    PK_N_HEALTH_KEYS,
};
/* Levels and bits, not counts: a sum of them over windows says nothing. */
bool pk_health_key_is_gauge(enum pk_health_key key);
const char *pk_health_key_str(enum pk_health_key key); /* "packets", "kernel_dropped", ... */

struct pk_health {
    uint64_t v[PK_N_HEALTH_KEYS];
};

enum {
    PK_MAX_HEALTH_INTERFACES = 64,
    PK_HEALTH_INTERFACE_SIZE = 16 /* name and the zero */
};
enum pk_iface_state { /* on the wire; never changes */
    PK_IFACE_OPEN = 1,
    PK_IFACE_DOWN = 2,
    PK_IFACE_GONE = 3,
    PK_IFACE_DENIED = 4,
    PK_IFACE_FAILED = 5,
};
const char *pk_iface_state_str(unsigned state); /* "open", ... */

/* Of a health row: one interface of a live capture, with what was counted on it since the row before. */
struct pk_health_interface {
    char name[PK_HEALTH_INTERFACE_SIZE];
    uint8_t state; /* enum pk_iface_state */
    uint64_t packets, kernel_dropped, iface_dropped;
};

/* Why batches that were sealed, or rows that were to be, never came to the aggregator. The numbers are on the wire and never change. */
enum pk_loss_cause {
    PK_LOSS_OVERFLOW = 1, /* spool.max_mb was reached: the oldest of the least class went */
    PK_LOSS_AGE = 2,      /* older than spool.max_age_h */
    PK_LOSS_SPACE = 3,    /* the file system had less free than spool.min_free_percent */
    PK_LOSS_MEMORY =
        4,            /* the disk refused, and the memory ring was full or ended with the process */
    PK_LOSS_TORN = 5, /* the end of a segment was cut off by a crash: how much is not known */
    PK_LOSS_DAMAGED = 6, /* a record was damaged, or a segment unreadable: how much is not known */
    PK_LOSS_REFUSED = 7, /* the aggregator does not take it, and keeps no copy */
    PK_LOSS_CRASH =
        8, /* captured, not yet sealed when the process ended; no batches. batches 1: how much is not known */
    PK_N_LOSS_CAUSES,
};
const char *pk_loss_cause_str(unsigned cause); /* "overflow", ... */

/* An entry of the loss ledger: batches of one kind, of one cause. */
struct pk_loss {
    uint8_t cause; /* enum pk_loss_cause */
    uint8_t kind;  /* enum pk_batch_kind of what was lost; 0: not known */
    uint64_t batches, rows;
    uint64_t transactions;     /* sum of the rows' counts; sightings for RRsets; 0 for the rest */
    int64_t first_us, last_us; /* times of the rows; 0 when not known */
    uint64_t epoch;
    uint64_t from_seq, to_seq; /* 0 when not known; others between them need not be lost */
};

enum {
    PK_MAX_LOSS_BITS = 40 /* of batches, rows and transactions: sums stay within 63 bits */
};

#endif

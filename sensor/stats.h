/* Counters of the sensor. Every packet and message ends in exactly one of them, so the sums balance; pk_stats_check says whether they do. */
#ifndef SENSOR_STATS_H
#define SENSOR_STATS_H

#include <stdbool.h>
#include <stdint.h>

#include "picket/bytes.h"
#include "picket/dnsmsg.h"
#include "picket/observation.h"

/* What became of a packet; each packet counts in exactly one. */
enum pk_disposition {
    PK_PACKET_DNS,      /* UDP with a DNS message */
    PK_PACKET_TCP,      /* a segment of a DNS port, given to the stream */
    PK_PACKET_NOT_DNS,  /* other ports and protocols */
    PK_PACKET_FRAGMENT, /* part of a fragmented IP packet */
    PK_PACKET_SNAPPED,  /* cut by the snap length */
    PK_PACKET_BAD_LINK, /* link header too short or damaged, or of a kind that is not known */
    PK_PACKET_BAD_IP,
    PK_PACKET_BAD_TRANSPORT, /* UDP or TCP header */
    PK_PACKET_EMPTY,         /* UDP to a DNS port without payload */
    PK_PACKET_TUNNEL,        /* a tunnel that is not understood, or encrypted */
    PK_PACKET_TOO_DEEP,      /* more encapsulations than PK_VIA_MAX */
    PK_PACKET_ICMP_QUOTE,    /* DNS quoted in an ICMP error: no observation */
    PK_N_DISPOSITIONS,
};
const char *pk_disposition_str(enum pk_disposition disposition);

/* What became of a dnstap frame; each frame counts in exactly one. */
enum pk_dnstap_fate {
    PK_DNSTAP_USED,   /* its DNS message went on */
    PK_DNSTAP_UNUSED, /* of a kind or transport that the settings leave out */
    PK_DNSTAP_LATE,   /* a query whose response came before it and stood for both */
    PK_DNSTAP_EMPTY,  /* carries no DNS message of its kind */
    PK_DNSTAP_UNKNOWN, /* a type of payload, message, socket family or protocol nobody has told us of */
    PK_DNSTAP_MALFORMED, /* not the protocol buffer it says it is */
    PK_DNSTAP_OVERSIZE,  /* longer than PK_FSTRM_MAX_FRAME: its stream ends */
    PK_N_DNSTAP_FATES,
};
const char *pk_dnstap_fate_str(enum pk_dnstap_fate fate);

struct pk_dnstap_stats {
    uint64_t frames, bytes; /* of data frames */
    uint64_t fates[PK_N_DNSTAP_FATES];
    uint64_t messages;    /* DNS messages given on: frames used + queries made */
    uint64_t synthesised; /* queries made from a response that came alone */
    uint64_t shifted;     /* frames whose times were moved: dnstap_listen, pk_dnstap_place */
    uint64_t connections; /* accepted, then served or */
    uint64_t refused;     /* no place left: closed at once */
    uint64_t broken;      /* closed because of what they sent, bad handshakes included */
    uint64_t idle;        /* closed because they sent nothing, or half of something, for too long */
    uint64_t paused;      /* times a sender had to wait because its share of a turn was used up */
};

enum {
    PK_STATS_MAX_INTERFACES = 64,
    PK_STATS_NAME_SIZE = 16
};

enum pk_interface_state {
    PK_INTERFACE_NONE, /* the slot is free */
    PK_INTERFACE_OPEN,
    PK_INTERFACE_DOWN,
    PK_INTERFACE_GONE,
    PK_INTERFACE_DENIED,
    PK_INTERFACE_FAILED,
};

/* One interface of a live capture, over all its openings. */
struct pk_interface_stats {
    char name[PK_STATS_NAME_SIZE];
    char link_type[PK_STATS_NAME_SIZE]; /* as libpcap calls it; of the last opening */
    enum pk_interface_state state;
    uint64_t packets;        /* read from it */
    uint64_t kernel_dropped; /* the ring was full */
    uint64_t iface_dropped;  /* the driver had no room */
    uint64_t kernel_unread;  /* in the ring when it was closed */
    uint64_t openings;
};

/* What became of an IP fragment; each counts in exactly one. */
enum pk_frag_fate {
    PK_FRAG_USED,      /* in a whole packet */
    PK_FRAG_NOT_DNS,   /* of a packet whose first part is neither DNS nor a tunnel */
    PK_FRAG_DUPLICATE, /* an exact copy */
    PK_FRAG_OVERLAP,   /* of a packet whose parts overlap or end twice */
    PK_FRAG_BAD,       /* of a packet with a part that cannot be right, or with too many */
    PK_FRAG_TIMEOUT,   /* the rest did not come in time, or before the input ended */
    PK_FRAG_SHED,      /* table or memory full */
    PK_FRAG_PENDING,   /* held now */
    PK_N_FRAG_FATES,
};
const char *pk_frag_fate_str(enum pk_frag_fate fate);

/* Why TCP payload bytes were given up. */
enum pk_tcp_shed {
    PK_TCP_SHED_UNSYNCED, /* picked up in the middle, or after a gap, and no message begins here */
    PK_TCP_SHED_BAD_LENGTH, /* behind a length that no message has */
    PK_TCP_SHED_GAP,        /* an unfinished message before a gap */
    PK_TCP_SHED_CLOSED, /* an unfinished message when the stream ended, fell idle or was reset */
    PK_TCP_SHED_MEMORY, /* no room in the budget */
    PK_TCP_SHED_TABLE,  /* the stream table was full */
    PK_N_TCP_SHED,
};
const char *pk_tcp_shed_str(enum pk_tcp_shed cause);

/* Everything after the interfaces is a uint64_t that can be summed over threads, also within the structs; pk_stats_add relies on it. */
struct pk_stats {
    struct pk_interface_stats interfaces[PK_STATS_MAX_INTERFACES];
    uint64_t interfaces_refused; /* matched a pattern when all slots were taken */
    uint64_t packets;
    struct pk_dnstap_stats dnstap;
    uint64_t upstream; /* transactions of servers among themselves, not activity */
    uint64_t dispositions[PK_N_DISPOSITIONS];
    uint64_t frags[PK_N_FRAG_FATES];
    uint64_t frags_whole;                    /* packets put together */
    uint64_t reassembled[PK_N_DISPOSITIONS]; /* what became of them */
    uint64_t messages_udp, messages_tcp;
    uint64_t messages_cut;                /* their end is not in the packet; part of messages_udp */
    uint64_t multicast;                   /* mDNS and LLMNR messages: listed, not paired */
    uint64_t faults[PK_N_DNS_FAULTS];     /* of messages; OK and TRAILING are usable */
    uint64_t unusable;                    /* messages without a usable header and question */
    uint64_t queries, responses, ignored; /* usable messages: ignored are other opcodes */
    uint64_t copies, copies_forgotten;    /* messages seen before (copies.h), counted once */
    uint64_t opened, retransmissions;     /* queries */
    uint64_t matched, unsolicited,
        transfer_more; /* responses: transfer_more are later messages of a transfer */
    uint64_t late, mismatched, repeated, conflicting; /* parts of unsolicited: enum pk_outcome */
    uint64_t answered, unanswered, evicted;   /* transactions; evicted are part of unanswered */
    uint64_t evicted_client, evicted_network; /* parts of evicted: above a share (crowd.h) */
    uint64_t unreachable;                     /* part of unanswered */
    uint64_t case_changed;                    /* part of answered: 0x20 asked, not repeated */
    uint64_t open_now, held_now,
        transfers_now; /* levels: queries open, responses held, queries open that have part of their transfer */
    uint64_t held_shed; /* responses before their query that found no place */
    uint64_t tcp_segments, tcp_duplicate, tcp_gaps, tcp_streams, tcp_streams_shed, tcp_bad_length;
    uint64_t tcp_bytes; /* payload: used + duplicate + shed + pending */
    uint64_t tcp_bytes_used, tcp_bytes_duplicate, tcp_bytes_pending, tcp_shed[PK_N_TCP_SHED];
    uint64_t rrsets, rrsets_refused, rrsets_shed;
    uint64_t
        subnets_shed; /* transactions whose row does not say for which subnet they were asked */
    uint64_t refused_fragmented; /* responses from IP fragments, whose RRsets are not looked at */
    uint64_t encrypted_packets, encrypted_flows; /* DNS that cannot be read (encrypted.h) */
    uint64_t clock_steps, diagnoses;             /* diagnosis.h; diagnoses: bits that hold now */
    uint64_t in_scope, overflow, negative, positive, merge_shed;
    uint64_t folded;          /* part of negative: under a wildcard of their domain */
    uint64_t rrsets_withheld; /* reverse names of foreign networks: no rows */
    uint64_t rows, batches;
    uint64_t kernel_dropped, iface_dropped; /* live capture */
    uint64_t ring_lost_rows;                /* of the local ring */
    uint64_t
        memory_bound_bytes; /* all that the tables of capture to batch can come to hold, each thread's */
    uint64_t spool_bytes, spool_lost_rows, batches_sent, batches_resent, reconnects;
    uint64_t lost_rows[PK_N_LOSS_CAUSES]; /* of spool_lost_rows, by enum pk_loss_cause */
    uint64_t batches_acked, batches_refused;
    uint64_t peak_rss_kb,
        cpu_ms; /* of the process: as spool_bytes and what follows, in one of its threads' counters */
    uint64_t files; /* that were to be read */
};

/* What the process used up to now: peak_rss_kb and cpu_ms. */
void pk_stats_take_usage(struct pk_stats *stats);

/* The rules that must hold at the end of input, as one sentence naming the first that does not; NULL when all do. */
const char *pk_stats_check(const struct pk_stats *stats);
/* Adds one thread's counters; interfaces are matched by name. */
void pk_stats_add(struct pk_stats *total, const struct pk_stats *one);
/* One JSON object, with "balanced": true or the sentence, and the diagnosis (sides may be NULL). */
struct pk_sides;
pk_err pk_stats_json(
    const struct pk_stats *stats, const struct pk_sides *sides, struct pk_bytes *out);
/* The interfaces for a health row; returns how many. */
size_t pk_stats_interfaces(const struct pk_stats *now, const struct pk_stats *before,
    struct pk_health_interface out[PK_STATS_MAX_INTERFACES]);
/* Deltas for a health row. */
void pk_stats_health(const struct pk_stats *now, const struct pk_stats *before,
    uint32_t interval_ms, struct pk_health *out_health);

#endif

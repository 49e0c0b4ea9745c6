/* Names of what is counted. */
#include "picket/observation.h"

#include "picket/batch.h"

bool pk_health_key_is_gauge(enum pk_health_key key)
{
    return key == PK_HEALTH_SPOOL_BYTES || key == PK_HEALTH_OPEN_NOW || key == PK_HEALTH_HELD_NOW ||
           key == PK_HEALTH_DIAGNOSES || key == PK_HEALTH_PEAK_RSS_KB;
}

const char *pk_health_key_str(enum pk_health_key key)
{
    static const char *const names[PK_N_HEALTH_KEYS] = {
        [PK_HEALTH_INTERVAL_MS] = "interval_ms",
        [PK_HEALTH_PACKETS] = "packets",
        [PK_HEALTH_KERNEL_DROPPED] = "kernel_dropped",
        [PK_HEALTH_IFACE_DROPPED] = "iface_dropped",
        [PK_HEALTH_NOT_DNS] = "not_dns",
        [PK_HEALTH_SNAPPED] = "snapped",
        [PK_HEALTH_BAD_PACKET] = "bad_packet",
        [PK_HEALTH_FRAGMENTS] = "fragments",
        [PK_HEALTH_TCP_SEGMENTS] = "tcp_segments",
        [PK_HEALTH_TCP_SHED] = "tcp_shed",
        [PK_HEALTH_MESSAGES] = "messages",
        [PK_HEALTH_MALFORMED] = "malformed",
        [PK_HEALTH_QUERIES] = "queries",
        [PK_HEALTH_RESPONSES] = "responses",
        [PK_HEALTH_TRANSACTIONS] = "transactions",
        [PK_HEALTH_ANSWERED] = "answered",
        [PK_HEALTH_UNANSWERED] = "unanswered",
        [PK_HEALTH_RETRANSMISSIONS] = "retransmissions",
        [PK_HEALTH_UNSOLICITED] = "unsolicited",
        [PK_HEALTH_PAIRING_EVICTED] = "pairing_evicted",
        [PK_HEALTH_IN_SCOPE] = "in_scope",
        [PK_HEALTH_NEGATIVE] = "negative",
        [PK_HEALTH_POSITIVE] = "positive",
        [PK_HEALTH_MERGE_SHED] = "merge_shed",
        [PK_HEALTH_RRSETS] = "rrsets",
        [PK_HEALTH_RRSETS_SHED] = "rrsets_shed",
        [PK_HEALTH_RRSETS_REFUSED] = "rrsets_refused",
        [PK_HEALTH_ROWS] = "rows",
        [PK_HEALTH_SPOOL_BYTES] = "spool_bytes",
        [PK_HEALTH_SPOOL_LOST_ROWS] = "spool_lost_rows",
        [PK_HEALTH_BATCHES_SENT] = "batches_sent",
        [PK_HEALTH_BATCHES_RESENT] = "batches_resent",
        [PK_HEALTH_RECONNECTS] = "reconnects",
        [PK_HEALTH_DNS_PACKETS] = "dns_packets",
        [PK_HEALTH_TCP_PACKETS] = "tcp_packets",
        [PK_HEALTH_COPIES] = "copies",
        [PK_HEALTH_IGNORED] = "ignored",
        [PK_HEALTH_OPENED] = "opened",
        [PK_HEALTH_OPEN_NOW] = "open_now",
        [PK_HEALTH_TRANSFER_MORE] = "transfer_more",
        [PK_HEALTH_HELD_NOW] = "held_now",
        [PK_HEALTH_LATE] = "late",
        [PK_HEALTH_MISMATCHED] = "mismatched",
        [PK_HEALTH_REPEATED] = "repeated",
        [PK_HEALTH_CONFLICTING] = "conflicting",
        [PK_HEALTH_UNREACHABLE] = "unreachable",
        [PK_HEALTH_CASE_CHANGED] = "case_changed",
        [PK_HEALTH_REFUSED_FRAGMENTED] = "refused_fragmented",
        [PK_HEALTH_ENCRYPTED_PACKETS] = "encrypted_packets",
        [PK_HEALTH_ENCRYPTED_FLOWS] = "encrypted_flows",
        [PK_HEALTH_CLOCK_STEPS] = "clock_steps",
        [PK_HEALTH_DIAGNOSES] = "diagnoses",
        [PK_HEALTH_OVERFLOW] = "overflow",
        [PK_HEALTH_FOLDED] = "folded",
        [PK_HEALTH_RRSETS_WITHHELD] = "rrsets_withheld",
        [PK_HEALTH_LOST_OVERFLOW] = "lost_overflow",
        [PK_HEALTH_LOST_AGE] = "lost_age",
        [PK_HEALTH_LOST_SPACE] = "lost_space",
        [PK_HEALTH_LOST_MEMORY] = "lost_memory",
        [PK_HEALTH_LOST_REFUSED] = "lost_refused",
        [PK_HEALTH_BATCHES_ACKED] = "batches_acked",
        [PK_HEALTH_BATCHES_REFUSED] = "batches_refused",
        [PK_HEALTH_PEAK_RSS_KB] = "peak_rss_kb",
        [PK_HEALTH_CPU_MS] = "cpu_ms",
    };
    return (unsigned)key < PK_N_HEALTH_KEYS ? names[key] : "unknown";
}

const char *pk_iface_state_str(unsigned state)
{
    static const char *const names[] = {"unknown", "open", "down", "gone", "denied", "failed"};
    return names[state < sizeof names / sizeof *names ? state : 0];
}

const char *pk_loss_cause_str(unsigned cause)
{
    static const char *const names[PK_N_LOSS_CAUSES] = {
        [PK_LOSS_OVERFLOW] = "overflow",
        [PK_LOSS_AGE] = "age",
        [PK_LOSS_SPACE] = "space",
        [PK_LOSS_MEMORY] = "memory",
        [PK_LOSS_TORN] = "torn",
        [PK_LOSS_DAMAGED] = "damaged",
        [PK_LOSS_REFUSED] = "refused",
        [PK_LOSS_CRASH] = "crash",
    };
    return cause < PK_N_LOSS_CAUSES && names[cause] ? names[cause] : "unknown";
}

const char *pk_batch_kind_str(enum pk_batch_kind kind)
{
    switch (kind) {
    case PK_BATCH_ORIGIN:
        return "origin";
    case PK_BATCH_ACTIVITY:
        return "activity";
    case PK_BATCH_RRSET:
        return "rrset";
    case PK_BATCH_NEGATIVE:
        return "negative";
    case PK_BATCH_HEALTH:
        return "health";
    case PK_BATCH_LOSS:
        return "loss";
    case PK_BATCH_CLIENT:
        return "client";
    }
    return "unknown";
}

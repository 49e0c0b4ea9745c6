/* Counters as JSON and as a health row. */
#include "stats.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <jansson.h>

#include "pairing/diagnosis.h"

const char *pk_disposition_str(enum pk_disposition disposition)
{
    static const char *const names[PK_N_DISPOSITIONS] = {
        [PK_PACKET_DNS] = "dns",
        [PK_PACKET_TCP] = "tcp",
        [PK_PACKET_NOT_DNS] = "not_dns",
        [PK_PACKET_FRAGMENT] = "fragment",
        [PK_PACKET_SNAPPED] = "snapped",
        [PK_PACKET_BAD_LINK] = "bad_link",
        [PK_PACKET_BAD_IP] = "bad_ip",
        [PK_PACKET_BAD_TRANSPORT] = "bad_transport",
        [PK_PACKET_EMPTY] = "empty",
        [PK_PACKET_TUNNEL] = "tunnel",
        [PK_PACKET_TOO_DEEP] = "too_deep",
        [PK_PACKET_ICMP_QUOTE] = "icmp_quote",
    };
    return names[disposition];
}

const char *pk_dnstap_fate_str(enum pk_dnstap_fate fate)
{
    static const char *const names[PK_N_DNSTAP_FATES] = {
        "used", "unused", "late", "empty", "unknown", "malformed", "oversize"};
    return names[fate];
}

const char *pk_frag_fate_str(enum pk_frag_fate fate)
{
    static const char *const names[PK_N_FRAG_FATES] = {
        "used", "not_dns", "duplicate", "overlap", "bad", "timeout", "shed", "pending"};
    return names[fate];
}

const char *pk_tcp_shed_str(enum pk_tcp_shed cause)
{
    static const char *const names[PK_N_TCP_SHED] = {
        "unsynced", "bad_length", "gap", "closed", "memory", "table"};
    return names[cause];
}

static uint64_t sum(const uint64_t *values, size_t n)
{
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++) {
        total += values[i];
    }
    return total;
}

static uint64_t messages(const struct pk_stats *s)
{
    return s->messages_udp + s->messages_tcp + s->dnstap.messages;
}

const char *pk_stats_check(const struct pk_stats *s)
{
    if (s->packets != sum(s->dispositions, PK_N_DISPOSITIONS)) {
        return "packets != sum of dispositions";
    }
    if (s->dispositions[PK_PACKET_FRAGMENT] + s->reassembled[PK_PACKET_FRAGMENT] !=
        sum(s->frags, PK_N_FRAG_FATES)) {
        return "fragments != sum of their fates";
    }
    if (s->frags_whole != sum(s->reassembled, PK_N_DISPOSITIONS)) {
        return "packets put together != sum of their dispositions";
    }
    if (s->messages_udp != s->dispositions[PK_PACKET_DNS] + s->reassembled[PK_PACKET_DNS]) {
        return "UDP messages != packets with DNS";
    }
    if (s->tcp_segments != s->dispositions[PK_PACKET_TCP] + s->reassembled[PK_PACKET_TCP]) {
        return "TCP segments != packets with TCP";
    }
    if (s->tcp_bytes != s->tcp_bytes_used + s->tcp_bytes_duplicate + s->tcp_bytes_pending +
                            sum(s->tcp_shed, PK_N_TCP_SHED)) {
        return "TCP bytes != used + duplicate + pending + shed";
    }
    if (s->dnstap.frames != sum(s->dnstap.fates, PK_N_DNSTAP_FATES)) {
        return "dnstap frames != sum of fates";
    }
    if (s->dnstap.messages != s->dnstap.fates[PK_DNSTAP_USED] + s->dnstap.synthesised) {
        return "dnstap messages != frames used + queries synthesised";
    }
    if (messages(s) != sum(s->faults, PK_N_DNS_FAULTS)) {
        return "messages != sum of parse results";
    }
    if (messages(s) !=
        s->unusable + s->queries + s->responses + s->ignored + s->copies + s->multicast) {
        return "messages != unusable + queries + responses + ignored + copies + multicast";
    }
    if (s->queries != s->opened + s->retransmissions) {
        return "queries != opened + retransmissions";
    }
    if (s->responses != s->matched + s->unsolicited + s->transfer_more + s->held_now) {
        return "responses != matched + unsolicited + transfer_more + held_now";
    }
    if (s->opened != s->answered + s->unanswered + s->open_now) {
        return "opened != answered + unanswered + open_now";
    }
    if (s->matched != s->answered + s->transfers_now) {
        return "matched != answered + transfers_now";
    }
    if (s->evicted + s->unreachable > s->unanswered ||
        s->evicted_client + s->evicted_network > s->evicted ||
        s->late + s->mismatched + s->repeated + s->conflicting > s->unsolicited) {
        return "parts are more than the whole";
    }
    return NULL;
}

static void add_interface(struct pk_stats *total, const struct pk_interface_stats *one)
{
    for (size_t i = 0; i < PK_STATS_MAX_INTERFACES; i++) {
        struct pk_interface_stats *sum_of = &total->interfaces[i];
        if (!sum_of->name[0]) {
            *sum_of = *one;
            return;
        }
        if (strcmp(sum_of->name, one->name) == 0) {
            sum_of->packets += one->packets;
            sum_of->kernel_dropped += one->kernel_dropped;
            sum_of->iface_dropped += one->iface_dropped;
            sum_of->kernel_unread += one->kernel_unread;
            sum_of->openings += one->openings;
            return;
        }
    }
}

void pk_stats_add(struct pk_stats *total, const struct pk_stats *one)
{
    const size_t start = offsetof(struct pk_stats, interfaces_refused);
    _Static_assert((sizeof(struct pk_stats) - offsetof(struct pk_stats, interfaces_refused)) %
                           sizeof(uint64_t) ==
                       0,
        "counters are uint64_t");
    uint64_t *to = (uint64_t *)(void *)((char *)total + start);
    const uint64_t *from = (const uint64_t *)(const void *)((const char *)one + start);
    for (size_t i = 0; i < (sizeof *total - start) / sizeof *to; i++) {
        to[i] += from[i];
    }
    for (size_t i = 0; i < PK_STATS_MAX_INTERFACES; i++) {
        if (one->interfaces[i].name[0]) {
            add_interface(total, &one->interfaces[i]);
        }
    }
}

static json_t *u64(uint64_t v)
{
    return json_integer((json_int_t)v);
}

static void set(json_t *object, const char *key, uint64_t v)
{
    json_object_set_new(object, key, u64(v));
}

static json_t *dnstap_json(const struct pk_dnstap_stats *s)
{
    json_t *object = json_object(), *fates = json_object();
    for (int i = 0; i < PK_N_DNSTAP_FATES; i++) {
        set(fates, pk_dnstap_fate_str((enum pk_dnstap_fate)i), s->fates[i]);
    }
    set(object, "frames", s->frames);
    set(object, "bytes", s->bytes);
    json_object_set_new(object, "fates", fates);
    set(object, "messages", s->messages);
    set(object, "synthesised", s->synthesised);
    set(object, "shifted", s->shifted);
    set(object, "connections", s->connections);
    set(object, "refused", s->refused);
    set(object, "broken", s->broken);
    set(object, "idle", s->idle);
    set(object, "paused", s->paused);
    return object;
}

static json_t *interfaces_json(const struct pk_stats *s)
{
    static const char *const states[] = {"none", "open", "down", "gone", "denied", "failed"};
    json_t *list = json_array();
    for (size_t i = 0; i < PK_STATS_MAX_INTERFACES; i++) {
        const struct pk_interface_stats *one = &s->interfaces[i];
        if (one->name[0]) {
            json_t *object = json_object();
            json_object_set_new(object, "name", json_string(one->name));
            json_object_set_new(object, "link_type", json_string(one->link_type));
            json_object_set_new(object, "state", json_string(states[one->state]));
            set(object, "packets", one->packets);
            set(object, "kernel_dropped", one->kernel_dropped);
            set(object, "iface_dropped", one->iface_dropped);
            set(object, "kernel_unread", one->kernel_unread);
            set(object, "openings", one->openings);
            json_array_append_new(list, object);
        }
    }
    return list;
}

/* What became of fragments, of the packets they made, and of TCP bytes that no message got. */
static void set_reassembly(json_t *root, const struct pk_stats *s)
{
    json_t *fragments = json_object(), *whole = json_object(), *shed = json_object();
    for (int i = 0; i < PK_N_FRAG_FATES; i++) {
        set(fragments, pk_frag_fate_str((enum pk_frag_fate)i), s->frags[i]);
    }
    for (int i = 0; i < PK_N_DISPOSITIONS; i++) {
        set(whole, pk_disposition_str((enum pk_disposition)i), s->reassembled[i]);
    }
    for (int i = 0; i < PK_N_TCP_SHED; i++) {
        set(shed, pk_tcp_shed_str((enum pk_tcp_shed)i), s->tcp_shed[i]);
    }
    json_object_set_new(root, "fragments", fragments);
    json_object_set_new(root, "reassembled", whole);
    json_object_set_new(root, "tcp_shed", shed);
}

static json_t *diagnosis_json(const struct pk_stats *s, const struct pk_sides *sides)
{
    struct pk_diagnosed all[PK_N_DIAGNOSES];
    json_t *array = json_array();
    for (size_t i = 0, n = pk_diagnose(s, NULL, sides, all); i < n; i++) {
        json_t *one = json_object();
        (void)json_object_set_new(one, "kind", json_string(pk_diagnosis_str(all[i].kind)));
        (void)json_object_set_new(one, "text", json_string(all[i].text));
        (void)json_array_append_new(array, one);
    }
    return array;
}

pk_err pk_stats_json(const struct pk_stats *s, const struct pk_sides *sides, struct pk_bytes *out)
{
    json_t *root = json_object(), *packets = json_object(), *faults = json_object();
    const char *wrong = pk_stats_check(s);
    const struct {
        const char *key;
        uint64_t v;
    } plain[] = {
        {"memory_bound_bytes", s->memory_bound_bytes},
        {"messages", messages(s)},
        {"messages_udp", s->messages_udp},
        {"messages_tcp", s->messages_tcp},
        {"messages_cut", s->messages_cut},
        {"multicast", s->multicast},
        {"unusable", s->unusable},
        {"queries", s->queries},
        {"responses", s->responses},
        {"ignored", s->ignored},
        {"copies", s->copies},
        {"copies_forgotten", s->copies_forgotten},
        {"opened", s->opened},
        {"retransmissions", s->retransmissions},
        {"matched", s->matched},
        {"unsolicited", s->unsolicited},
        {"late", s->late},
        {"mismatched", s->mismatched},
        {"repeated", s->repeated},
        {"conflicting", s->conflicting},
        {"transfer_more", s->transfer_more},
        {"transactions", s->answered + s->unanswered},
        {"answered", s->answered},
        {"unanswered", s->unanswered},
        {"unreachable", s->unreachable},
        {"case_changed", s->case_changed},
        {"evicted", s->evicted},
        {"evicted_client", s->evicted_client},
        {"evicted_network", s->evicted_network},
        {"open_now", s->open_now},
        {"held_now", s->held_now},
        {"held_shed", s->held_shed},
        {"fragments_whole", s->frags_whole},
        {"tcp_segments", s->tcp_segments},
        {"tcp_duplicate", s->tcp_duplicate},
        {"tcp_gaps", s->tcp_gaps},
        {"tcp_bytes", s->tcp_bytes},
        {"tcp_bytes_used", s->tcp_bytes_used},
        {"tcp_bytes_duplicate", s->tcp_bytes_duplicate},
        {"tcp_bytes_pending", s->tcp_bytes_pending},
        {"tcp_shed_bytes", sum(s->tcp_shed, PK_N_TCP_SHED)},
        {"tcp_streams", s->tcp_streams},
        {"tcp_streams_shed", s->tcp_streams_shed},
        {"tcp_bad_length", s->tcp_bad_length},
        {"rrsets", s->rrsets},
        {"rrsets_refused", s->rrsets_refused},
        {"rrsets_shed", s->rrsets_shed},
        {"subnets_shed", s->subnets_shed},
        {"upstream", s->upstream},
        {"refused_fragmented", s->refused_fragmented},
        {"in_scope", s->in_scope},
        {"overflow", s->overflow},
        {"folded", s->folded},
        {"ring_lost_rows", s->ring_lost_rows},
        {"rrsets_withheld", s->rrsets_withheld},
        {"negative", s->negative},
        {"positive", s->positive},
        {"merge_shed", s->merge_shed},
        {"rows", s->rows},
        {"batches", s->batches},
        {"encrypted_packets", s->encrypted_packets},
        {"encrypted_flows", s->encrypted_flows},
        {"clock_steps", s->clock_steps},
        {"kernel_dropped", s->kernel_dropped},
        {"iface_dropped", s->iface_dropped},
        {"interfaces_refused", s->interfaces_refused},
        {"spool_lost_rows", s->spool_lost_rows},
        {"batches_sent", s->batches_sent},
        {"batches_resent", s->batches_resent},
        {"batches_acked", s->batches_acked},
        {"batches_refused", s->batches_refused},
        {"peak_rss_kb", s->peak_rss_kb},
        {"cpu_ms", s->cpu_ms},
        {"reconnects", s->reconnects},
    };
    set(root, "packets", s->packets);
    for (int i = 0; i < PK_N_DISPOSITIONS; i++) {
        set(packets, pk_disposition_str((enum pk_disposition)i), s->dispositions[i]);
    }
    json_object_set_new(root, "dispositions", packets);
    set_reassembly(root, s);
    for (int i = 0; i < PK_N_DNS_FAULTS; i++) {
        set(faults, pk_dns_fault_str((enum pk_dns_fault)i), s->faults[i]);
    }
    json_object_set_new(root, "parsed", faults);
    json_object_set_new(root, "dnstap", dnstap_json(&s->dnstap));
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        set(root, plain[i].key, plain[i].v);
    }
    json_object_set_new(root, "interfaces", interfaces_json(s));
    json_object_set_new(root, "diagnosis", diagnosis_json(s, sides));
    json_object_set_new(root, "balanced", wrong ? json_string(wrong) : json_true());
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    if (!text) {
        return PK_ERR_NOMEM;
    }
    pk_bytes_put(out, text, strlen(text));
    free(text);
    return out->err;
}

static uint64_t milliseconds(const struct timeval *time)
{
    return (uint64_t)time->tv_sec * 1000 + (uint64_t)time->tv_usec / 1000;
}

void pk_stats_take_usage(struct pk_stats *stats)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        stats->peak_rss_kb = (uint64_t)usage.ru_maxrss;
        stats->cpu_ms = milliseconds(&usage.ru_utime) + milliseconds(&usage.ru_stime);
    }
}

/* A place may have been given to another interface meanwhile: what that counted is all new. */
size_t pk_stats_interfaces(const struct pk_stats *now, const struct pk_stats *before,
    struct pk_health_interface out[PK_STATS_MAX_INTERFACES])
{
    static const struct pk_interface_stats none = {.packets = 0};
    static const uint8_t states[] = {[PK_INTERFACE_OPEN] = PK_IFACE_OPEN,
        [PK_INTERFACE_DOWN] = PK_IFACE_DOWN,
        [PK_INTERFACE_GONE] = PK_IFACE_GONE,
        [PK_INTERFACE_DENIED] = PK_IFACE_DENIED,
        [PK_INTERFACE_FAILED] = PK_IFACE_FAILED};
    size_t n = 0;
    for (size_t i = 0; i < PK_STATS_MAX_INTERFACES; i++) {
        const struct pk_interface_stats *is = &now->interfaces[i], *was = &before->interfaces[i];
        if (is->state == PK_INTERFACE_NONE) {
            continue;
        }
        was = strcmp(is->name, was->name) == 0 ? was : &none;
        out[n] = (struct pk_health_interface){.state = states[is->state],
            .packets = is->packets - was->packets,
            .kernel_dropped = is->kernel_dropped - was->kernel_dropped,
            .iface_dropped = is->iface_dropped - was->iface_dropped};
        memcpy(out[n++].name, is->name, sizeof is->name);
    }
    return n;
}

void pk_stats_health(const struct pk_stats *now, const struct pk_stats *before,
    uint32_t interval_ms, struct pk_health *out_health)
{
#define DELTA(field) (now->field - before->field)
    const struct pk_health health = {
        .v = {
            [PK_HEALTH_INTERVAL_MS] = interval_ms,
            [PK_HEALTH_PACKETS] = DELTA(packets) + DELTA(dnstap.frames),
            [PK_HEALTH_KERNEL_DROPPED] = DELTA(kernel_dropped),
            [PK_HEALTH_IFACE_DROPPED] = DELTA(iface_dropped),
            [PK_HEALTH_NOT_DNS] =
                DELTA(dispositions[PK_PACKET_NOT_DNS]) + DELTA(dispositions[PK_PACKET_EMPTY]) +
                DELTA(dnstap.fates[PK_DNSTAP_UNUSED]) + DELTA(dnstap.fates[PK_DNSTAP_LATE]) +
                DELTA(dnstap.fates[PK_DNSTAP_EMPTY]) + DELTA(dnstap.fates[PK_DNSTAP_UNKNOWN]) +
                DELTA(dispositions[PK_PACKET_TUNNEL]) + DELTA(dispositions[PK_PACKET_TOO_DEEP]) +
                DELTA(dispositions[PK_PACKET_ICMP_QUOTE]),
            [PK_HEALTH_SNAPPED] = DELTA(dispositions[PK_PACKET_SNAPPED]),
            [PK_HEALTH_BAD_PACKET] =
                DELTA(dispositions[PK_PACKET_BAD_LINK]) + DELTA(dispositions[PK_PACKET_BAD_IP]) +
                DELTA(dispositions[PK_PACKET_BAD_TRANSPORT]) +
                DELTA(dnstap.fates[PK_DNSTAP_MALFORMED]) + DELTA(dnstap.fates[PK_DNSTAP_OVERSIZE]),
            [PK_HEALTH_FRAGMENTS] = DELTA(dispositions[PK_PACKET_FRAGMENT]),
            [PK_HEALTH_TCP_SEGMENTS] = DELTA(tcp_segments),
            [PK_HEALTH_TCP_SHED] =
                sum(now->tcp_shed, PK_N_TCP_SHED) - sum(before->tcp_shed, PK_N_TCP_SHED),
            [PK_HEALTH_MESSAGES] = messages(now) - messages(before),
            [PK_HEALTH_MALFORMED] = DELTA(unusable),
            [PK_HEALTH_QUERIES] = DELTA(queries),
            [PK_HEALTH_RESPONSES] = DELTA(responses),
            [PK_HEALTH_TRANSACTIONS] = DELTA(answered) + DELTA(unanswered),
            [PK_HEALTH_ANSWERED] = DELTA(answered),
            [PK_HEALTH_UNANSWERED] = DELTA(unanswered),
            [PK_HEALTH_RETRANSMISSIONS] = DELTA(retransmissions),
            [PK_HEALTH_UNSOLICITED] = DELTA(unsolicited),
            [PK_HEALTH_PAIRING_EVICTED] = DELTA(evicted),
            [PK_HEALTH_IN_SCOPE] = DELTA(in_scope),
            [PK_HEALTH_OVERFLOW] = DELTA(overflow),
            [PK_HEALTH_FOLDED] = DELTA(folded),
            [PK_HEALTH_RRSETS_WITHHELD] = DELTA(rrsets_withheld),
            [PK_HEALTH_NEGATIVE] = DELTA(negative),
            [PK_HEALTH_POSITIVE] =
                DELTA(positive) + DELTA(upstream), /* of both only RRsets travel */
            [PK_HEALTH_MERGE_SHED] = DELTA(merge_shed),
            [PK_HEALTH_RRSETS] = DELTA(rrsets),
            [PK_HEALTH_RRSETS_SHED] = DELTA(rrsets_shed),
            [PK_HEALTH_RRSETS_REFUSED] = DELTA(rrsets_refused),
            [PK_HEALTH_ROWS] = DELTA(rows),
            [PK_HEALTH_SPOOL_BYTES] = now->spool_bytes,
            [PK_HEALTH_SPOOL_LOST_ROWS] = DELTA(spool_lost_rows),
            [PK_HEALTH_BATCHES_SENT] = DELTA(batches_sent),
            [PK_HEALTH_BATCHES_RESENT] = DELTA(batches_resent),
            [PK_HEALTH_RECONNECTS] = DELTA(reconnects),
            [PK_HEALTH_LOST_OVERFLOW] = DELTA(lost_rows[PK_LOSS_OVERFLOW]),
            [PK_HEALTH_LOST_AGE] = DELTA(lost_rows[PK_LOSS_AGE]),
            [PK_HEALTH_LOST_SPACE] = DELTA(lost_rows[PK_LOSS_SPACE]),
            [PK_HEALTH_LOST_MEMORY] = DELTA(lost_rows[PK_LOSS_MEMORY]),
            [PK_HEALTH_LOST_REFUSED] = DELTA(lost_rows[PK_LOSS_REFUSED]),
            [PK_HEALTH_BATCHES_ACKED] = DELTA(batches_acked),
            [PK_HEALTH_BATCHES_REFUSED] = DELTA(batches_refused),
            [PK_HEALTH_PEAK_RSS_KB] = now->peak_rss_kb,
            [PK_HEALTH_CPU_MS] = DELTA(cpu_ms),
            [PK_HEALTH_DNS_PACKETS] =
                DELTA(dispositions[PK_PACKET_DNS]) + DELTA(dnstap.fates[PK_DNSTAP_USED]),
            [PK_HEALTH_TCP_PACKETS] = DELTA(dispositions[PK_PACKET_TCP]),
            [PK_HEALTH_COPIES] = DELTA(copies),
            [PK_HEALTH_IGNORED] = DELTA(ignored) + DELTA(multicast),
            [PK_HEALTH_OPENED] = DELTA(opened),
            [PK_HEALTH_OPEN_NOW] = now->open_now,
            [PK_HEALTH_TRANSFER_MORE] = DELTA(transfer_more),
            [PK_HEALTH_HELD_NOW] = now->held_now,
            [PK_HEALTH_LATE] = DELTA(late),
            [PK_HEALTH_MISMATCHED] = DELTA(mismatched),
            [PK_HEALTH_REPEATED] = DELTA(repeated),
            [PK_HEALTH_CONFLICTING] = DELTA(conflicting),
            [PK_HEALTH_UNREACHABLE] = DELTA(unreachable),
            [PK_HEALTH_CASE_CHANGED] = DELTA(case_changed),
            [PK_HEALTH_REFUSED_FRAGMENTED] = DELTA(refused_fragmented),
            [PK_HEALTH_ENCRYPTED_PACKETS] = DELTA(encrypted_packets),
            [PK_HEALTH_ENCRYPTED_FLOWS] = DELTA(encrypted_flows),
            [PK_HEALTH_CLOCK_STEPS] = DELTA(clock_steps),
            [PK_HEALTH_DIAGNOSES] = pk_diagnosis_bits(now, before),
        }};
#undef DELTA
    *out_health = health;
}

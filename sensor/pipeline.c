/* Wiring of the core. A message is counted where it is parsed, in exactly one place for each rule of pk_stats_check. */
#include "pipeline.h"

#include <stdlib.h>

#include "picket/hash.h"

#include "packet/frag.h"
#include "packet/reasm.h"
#include "pairing/copies.h"
#include "pairing/encrypted.h"
#include "pairing/pairing.h"
#include "window/history.h"

enum {
    CLOCK_BACK_US = 1000000, /* interfaces read in turn are not that far apart */
};
#define CLOCK_AHEAD_US INT64_C(3600000000) /* no packet for an hour: or the clock was set */

enum {
    REASM_EVERY_US = 100000
};

struct pk_pipeline {
    struct pk_pipeline_options options;
    struct pk_stats *stats;
    struct pk_frags *frags;
    struct pk_reasm *reasm;
    struct pk_copies *copies;
    struct pk_pairing *pairing;
    struct pk_history *history;
    struct pk_message message; /* of the packet in hand; big, so not on the stack of every call */
    struct pk_dnstap_told told;
    struct pk_sides sides;
    struct pk_encrypted encrypted;
    int64_t ts_us;
    int64_t reasm_us;   /* when streams were last asked for gaps whose time is over */
    uint16_t interface; /* of the packet in hand */
};

static uint32_t on_rrset(void *arg, const struct pk_rrset *rrset)
{
    struct pk_pipeline *pipeline = arg;
    if (pipeline->options.output) {
        pk_output_rrset(pipeline->options.output, rrset);
    }
    if (pipeline->options.merge) {
        return pk_merge_rrset(pipeline->options.merge, rrset);
    }
    return PK_HISTORY_NO_ROW;
}

static uint32_t on_enter(void *arg, int64_t ts_us)
{
    struct pk_pipeline *pipeline = arg;
    return pk_merge_enter(pipeline->options.merge, ts_us);
}

static void on_repeat(void *arg, const struct pk_history_repeat *repeat)
{
    struct pk_pipeline *pipeline = arg;
    pk_merge_repeat(pipeline->options.merge, repeat);
}

static void before_rrsets(void *arg)
{
    pk_history_settle(arg);
}

static void on_transaction(void *arg, const struct pk_transaction *transaction)
{
    struct pk_pipeline *pipeline = arg;
    pk_sides_note(&pipeline->sides, transaction);
    if (pipeline->options.output) {
        pk_output_transaction(pipeline->options.output, transaction);
    }
    struct pk_answer answer;
    if (pipeline->options.wants_rrsets) {
        pk_history_transaction(pipeline->history, transaction, &answer);
    }
    if (transaction->query.is_upstream) {
        pipeline->stats->upstream += !pk_outcome_is_stray(transaction->outcome);
    } else if (pipeline->options.merge) {
        pk_merge_transaction(pipeline->options.merge, transaction, &answer);
        if (pipeline->options.ring) {
            answer.memo = NULL; /* the other's */
            pk_merge_transaction(pipeline->options.ring, transaction, &answer);
        }
    }
}

static bool is_paired(uint8_t opcode)
{
    return opcode == PK_OPCODE_QUERY || opcode == PK_OPCODE_STATUS || opcode == PK_OPCODE_NOTIFY ||
           opcode == PK_OPCODE_UPDATE;
}

/* Usable: the header and, where there is one, the question are sound. A response cut short by TC still answers its query; one damaged otherwise is good for
 * pairing (the header is) but its records end where the damage begins. */
static bool is_usable(const struct pk_dnsmsg *dns)
{
    return dns->fault != PK_DNS_SHORT_HEADER && dns->fault != PK_DNS_BAD_QUESTION;
}

/* What was seen before goes no further. Of a translated response the copy may be the one that meets the query. */
static void pair(struct pk_pipeline *pipeline, struct pk_message *message)
{
    struct pk_leg first;
    enum pk_copy copy = pk_copies_see(pipeline->copies, message, &first);
    bool is_again = copy == PK_COPY_REPEAT &&
                    pk_pairing_awaits(pipeline->pairing, message) == message->dns.is_response;
    if (copy == PK_COPY_NONE || is_again) {
        pk_history_nearer(pipeline->history);
        pk_pairing_message(pipeline->pairing, message);
        return;
    }
    bool is_claimed = copy == PK_COPY_TRANSLATED && message->dns.is_response &&
                      pk_pairing_claim(pipeline->pairing, message, &first);
    pipeline->stats->copies += !is_claimed;
}

/* What the window and history keep is far away: asked for here. */
static void look_ahead(struct pk_pipeline *pipeline, struct pk_message *message)
{
    message->name_hash = 0;
    if (message->dns.is_response && message->dns.has_question) {
        pk_name_lower_copy(&message->lower, &message->dns.question.name);
        message->name_hash = pk_hash_quick(message->lower.wire, message->lower.len);
    }
    if (pipeline->options.merge) {
        pk_merge_ahead(pipeline->options.merge, message);
        pk_history_ahead(pipeline->history, message);
    }
}

/* The message in hand, parsed: counted, printed, paired. */
static void settle(struct pk_pipeline *pipeline, bool is_printed)
{
    struct pk_stats *stats = pipeline->stats;
    struct pk_message *message = &pipeline->message;
    stats->faults[message->dns.fault]++;
    if (is_printed && pipeline->options.output) {
        pk_output_message(pipeline->options.output, message);
    }
    if (message->is_multicast) {
        stats->multicast++;
    } else if (!is_usable(&message->dns)) {
        stats->unusable++;
    } else if (!is_paired(message->dns.opcode)) {
        stats->ignored++;
    } else {
        look_ahead(pipeline, message);
        pair(pipeline, message);
    }
}

/* Before the message is parsed, so that memory answers meanwhile. */
static void take_digest(struct pk_pipeline *pipeline, const uint8_t *wire, size_t len)
{
    pipeline->message.digest = pk_hash_quick(wire, len);
    pk_copies_ahead(pipeline->copies, pipeline->message.digest);
}

/* The message's time, frame and origin are in pipeline->message already. */
static void take_message(
    struct pk_pipeline *pipeline, const struct pk_packet *packet, const uint8_t *wire, size_t len)
{
    struct pk_stats *stats = pipeline->stats;
    struct pk_message *message = &pipeline->message;
    message->src = packet->src;
    message->dst = packet->dst;
    message->sport = packet->sport;
    message->dport = packet->dport;
    message->transport = packet->is_tcp ? PK_TRANSPORT_TCP : PK_TRANSPORT_UDP;
    message->via = NULL;
    message->layers.n = 0;
    if (packet->via.n > 0) {
        message->layers = packet->via;
    }
    message->is_multicast = packet->is_multicast;
    message->interface = pipeline->interface;
    message->vantage = PK_VANTAGE_UNKNOWN;
    message->is_upstream = false;
    message->zone.len = 0;
    take_digest(pipeline, wire, len);
    (void)pk_dnsmsg_parse(wire, len, &message->dns); /* the fault says what is usable */
    stats->messages_tcp += packet->is_tcp;
    stats->messages_udp += !packet->is_tcp;
    settle(pipeline, true);
}

/* --- dnstap --- */

static void fill_tapped(struct pk_pipeline *pipeline, const struct pk_dnstap_event *event,
    bool is_response, int64_t ts_us, struct pk_slice wire)
{
    struct pk_message *message = &pipeline->message;
    message->ts_us = ts_us;
    message->frame = pipeline->stats->packets + pipeline->stats->dnstap.frames;
    message->src = is_response ? event->responder : event->initiator;
    message->dst = is_response ? event->initiator : event->responder;
    message->sport = is_response ? event->responder_port : event->initiator_port;
    message->dport = is_response ? event->initiator_port : event->responder_port;
    message->transport = event->transport;
    message->via = pk_dnstap_via(event->kind);
    message->layers.n = 0;
    message->is_multicast = message->is_cut = false;
    message->interface = pipeline->interface;
    message->is_fragmented = false;
    message->vantage = (uint8_t)pk_dnstap_vantage(event->kind);
    message->is_upstream = !(pipeline->options.dnstap.whole >> event->kind & 1);
    message->zone = event->zone;
    take_digest(pipeline, wire.data, wire.len);
    (void)pk_dnsmsg_parse(wire.data, wire.len, &message->dns);
}

/* A response in the message in hand that no open query awaits: servers may log responses alone. Its query is the one that came with it, or what the response
 * says of it; a server answers nothing that was not asked. */
static void tell_query_of(
    struct pk_pipeline *pipeline, const struct pk_dnstap_event *event, int64_t query_us)
{
    const struct pk_dnsmsg *dns = &pipeline->message.dns;
    uint8_t made[PK_DNSTAP_MAX_MADE_QUERY];
    if (!is_usable(dns) || !is_paired(dns->opcode) ||
        pk_pairing_awaits(pipeline->pairing, &pipeline->message)) {
        return;
    }
    struct pk_slice wire = {made, (uint32_t)pk_dnstap_make_query(dns, made)};
    uint16_t id = dns->id;
    bool is_seen = false;
    if (event->query.len > 0) {
        fill_tapped(pipeline, event, false, query_us, event->query);
        is_seen = is_usable(&pipeline->message.dns) && pipeline->message.dns.id == id;
    }
    if (!is_seen) {
        fill_tapped(pipeline, event, false, query_us, wire);
    }
    pipeline->stats->dnstap.messages++;
    pipeline->stats->dnstap.synthesised++;
    pk_dnstap_told_note(&pipeline->told, &pipeline->message);
    settle(pipeline, is_seen);
}

static void take_tapped(struct pk_pipeline *pipeline, const struct pk_raw_packet *raw)
{
    const struct pk_dnstap_event *event = raw->tapped;
    struct pk_dnstap_stats *stats = &pipeline->stats->dnstap;
    enum pk_dnstap_fate fate = event->fate;
    stats->frames++;
    stats->bytes += event->frame_len;
    if (fate == PK_DNSTAP_USED &&
        !pk_dnstap_is_wanted(&pipeline->options.dnstap, &pipeline->options.ports, event)) {
        fate = PK_DNSTAP_UNUSED;
    }
    struct pk_slice wire = event->is_response ? event->response : event->query;
    if (fate == PK_DNSTAP_USED) {
        fill_tapped(pipeline, event, event->is_response, raw->ts_us, wire);
        if (!event->is_response && pk_dnstap_told_take(&pipeline->told, &pipeline->message)) {
            fate = PK_DNSTAP_LATE;
        }
    }
    stats->fates[fate]++;
    if (fate != PK_DNSTAP_USED) {
        return;
    }
    if (event->is_response) {
        tell_query_of(pipeline, event, raw->ts_us - (event->ts_us - event->query_us));
        fill_tapped(pipeline, event, true, raw->ts_us, wire);
    }
    stats->messages++;
    settle(pipeline, true);
}

static void on_stream_message(void *arg, const struct pk_reasm_message *from)
{
    struct pk_pipeline *pipeline = arg;
    struct pk_message *message = &pipeline->message;
    message->ts_us = from->ts_us;
    message->frame = from->frame;
    message->is_fragmented = from->is_fragmented;
    message->is_cut = false;
    take_message(pipeline, from->packet, from->data, from->len);
}

static void take_packet(
    struct pk_pipeline *pipeline, const struct pk_packet *packet, enum pk_disposition disposition)
{
    struct pk_stats *stats = pipeline->stats;
    struct pk_message *message = &pipeline->message;
    if (disposition == PK_PACKET_DNS) {
        message->ts_us = pipeline->ts_us;
        message->frame = stats->packets + stats->dnstap.frames;
        message->is_fragmented = packet->is_fragmented;
        message->is_cut = packet->is_cut;
        stats->messages_cut += packet->is_cut;
        take_message(pipeline, packet, packet->payload, packet->payload_len);
    } else if (disposition == PK_PACKET_TCP) {
        pk_reasm_segment(
            pipeline->reasm, packet, pipeline->ts_us, stats->packets + stats->dnstap.frames);
    } else if (disposition == PK_PACKET_ICMP_QUOTE && packet->has_quoted_query) {
        const struct pk_leg quoted = {
            .src = packet->src, .dst = packet->dst, .sport = packet->sport, .dport = packet->dport};
        (void)pk_pairing_unreachable(
            pipeline->pairing, &quoted, PK_TRANSPORT_UDP, packet->quoted_id, pipeline->ts_us);
    } else if (disposition == PK_PACKET_NOT_DNS && packet->sport != 0) {
        pk_encrypted_note(&pipeline->encrypted, packet, pipeline->ts_us, stats);
    }
}

/* A fragment; when it completes its packet that is dissected, and may hold a fragment again (of an inner packet, each time a shorter one). */
__attribute__((noinline)) static void take_fragment(
    struct pk_pipeline *pipeline, struct pk_packet *packet)
{
    struct pk_datagram whole;
    enum pk_disposition disposition = PK_PACKET_FRAGMENT;
    while (disposition == PK_PACKET_FRAGMENT &&
           pk_frags_take(pipeline->frags, packet, pipeline->ts_us, &whole)) {
        disposition = pk_packet_dissect_datagram(
            whole.protocol, whole.data, whole.len, &pipeline->options.ports, packet);
        pipeline->stats->reassembled[disposition]++;
    }
    take_packet(pipeline, packet, disposition);
}

pk_err pk_pipeline_new(const struct pk_pipeline_options *options, struct pk_stats *stats,
    struct pk_pipeline **out_pipeline)
{
    struct pk_pipeline *pipeline = calloc(1, sizeof *pipeline);
    if (!pipeline) {
        return PK_ERR_NOMEM;
    }
    pipeline->options = *options;
    if (!options->dnstap.whole && !options->dnstap.rrsets_only) {
        pipeline->options.dnstap.whole = PK_DNSTAP_USE_WHOLE;
        pipeline->options.dnstap.rrsets_only = PK_DNSTAP_USE_RRSETS;
    }
    pipeline->options.wants_rrsets = options->wants_rrsets || options->merge;
    pipeline->stats = stats;
    struct pk_history_sink rrsets = {.arg = pipeline, .rrset = on_rrset};
    if (options->merge && !options->output) { /* what is printed is printed each time */
        rrsets.enter = on_enter;
        rrsets.repeat = on_repeat;
    }
    if (pk_frags_new(&pipeline->options.ports, stats, &pipeline->frags) != PK_OK ||
        pk_reasm_new(stats, on_stream_message, pipeline, &pipeline->reasm) != PK_OK ||
        pk_copies_new(&pipeline->copies) != PK_OK ||
        pk_pairing_new(stats, on_transaction, pipeline, &pipeline->pairing) != PK_OK ||
        pk_history_new(stats, &rrsets, &pipeline->history) != PK_OK) {
        pk_pipeline_free(pipeline);
        return PK_ERR_NOMEM;
    }
    if (rrsets.repeat) {
        pk_merge_before_rrsets(options->merge, before_rrsets, pipeline->history);
    }
    stats->memory_bound_bytes += pk_pipeline_bound_bytes();
    *out_pipeline = pipeline;
    return PK_OK;
}

size_t pk_pipeline_bound_bytes(void)
{
    return sizeof(struct pk_pipeline) + pk_frags_bound_bytes() + pk_reasm_bound_bytes() +
           pk_copies_bound_bytes() + pk_pairing_bound_bytes() + pk_history_bound_bytes();
}

void pk_pipeline_free(struct pk_pipeline *pipeline)
{
    if (pipeline) {
        if (pipeline->options.merge) {
            pk_merge_before_rrsets(pipeline->options.merge, NULL, NULL);
        }
        pk_frags_free(pipeline->frags);
        pk_reasm_free(pipeline->reasm);
        pk_copies_free(pipeline->copies);
        pk_pairing_free(pipeline->pairing);
        pk_history_free(pipeline->history);
        free(pipeline);
    }
}

/* Windows end and queries time out between packets, where all counters balance. The window first: what times out now belongs to the one that begins. */
static void pass_time(struct pk_pipeline *pipeline, int64_t now_us)
{
    if (pipeline->options.merge) {
        pk_merge_tick(pipeline->options.merge, now_us, false);
    }
    if (pipeline->options.ring) {
        pk_merge_tick(pipeline->options.ring, now_us, false);
    }
    pk_pairing_set_now(pipeline->pairing, now_us); /* for what the streams let go */
    int64_t since_us = now_us - pipeline->reasm_us;
    if (since_us > REASM_EVERY_US || since_us < 0) {
        pipeline->reasm_us = now_us;
        pk_reasm_tick(pipeline->reasm, now_us);
    }
    pk_pairing_tick(pipeline->pairing, now_us);
}

void pk_pipeline_set_ports(struct pk_pipeline *pipeline, const struct pk_ports *ports)
{
    pipeline->options.ports = *ports;
}

void pk_pipeline_packet(
    struct pk_pipeline *pipeline, int link_type, const struct pk_raw_packet *raw)
{
    PK_UNSET struct pk_packet packet; /* what is read of it the dissector fills */
    int64_t gone_us = raw->ts_us - pipeline->ts_us;
    pipeline->stats->clock_steps +=
        pipeline->ts_us != 0 && (gone_us < -CLOCK_BACK_US || gone_us > CLOCK_AHEAD_US);
    pipeline->ts_us = raw->ts_us;
    pipeline->interface = raw->interface;
    pass_time(pipeline, raw->ts_us);
    if (raw->tapped) {
        take_tapped(pipeline, raw);
        return;
    }
    pipeline->stats->packets++;
    enum pk_disposition disposition = pk_packet_dissect(
        link_type, raw->data, raw->caplen, raw->wire_len, &pipeline->options.ports, &packet);
    pipeline->stats->dispositions[disposition]++;
    if (disposition == PK_PACKET_FRAGMENT) {
        take_fragment(pipeline, &packet);
    } else {
        take_packet(pipeline, &packet, disposition);
    }
}

bool pk_pipeline_has_suffixes(const struct pk_pipeline *pipeline)
{
    return pk_history_has_suffixes(pipeline->history);
}

const struct pk_sides *pk_pipeline_sides(const struct pk_pipeline *pipeline)
{
    return &pipeline->sides;
}

void pk_pipeline_tick(struct pk_pipeline *pipeline, int64_t now_us)
{
    pipeline->stats->copies_forgotten = pk_copies_forgotten(pipeline->copies);
    pass_time(pipeline, now_us);
}

void pk_pipeline_flush(struct pk_pipeline *pipeline)
{
    pk_frags_flush(pipeline->frags);
    pk_reasm_flush(pipeline->reasm);
    pk_pairing_flush(pipeline->pairing);
    pipeline->stats->copies_forgotten = pk_copies_forgotten(pipeline->copies);
    if (pipeline->options.merge) {
        pk_merge_tick(pipeline->options.merge, pipeline->ts_us, true);
    }
    if (pipeline->options.ring) {
        pk_merge_tick(pipeline->options.ring, pipeline->ts_us, true);
    }
}

/* Wiring of the core. A message is counted where it is parsed, in exactly one place for each rule of pk_stats_check. */
#include "pipeline.h"

#include <stdlib.h>

#include "history.h"
#include "pairing.h"
#include "reasm.h"

struct pk_pipeline {
    struct pk_pipeline_options options;
    struct pk_stats *stats;
    struct pk_reasm *reasm;
    struct pk_pairing *pairing;
    struct pk_history *history;
    struct pk_message message; /* of the packet in hand; big, so not on the stack of every call */
    int64_t ts_us;
    uint16_t interface; /* of the packet in hand */
};

static void on_rrset(void *arg, const struct pk_rrset *rrset)
{
    struct pk_pipeline *pipeline = arg;
    if (pipeline->options.output) {
        pk_output_rrset(pipeline->options.output, rrset);
    }
    if (pipeline->options.merge) {
        pk_merge_rrset(pipeline->options.merge, rrset);
    }
}

static void on_transaction(void *arg, const struct pk_transaction *transaction)
{
    struct pk_pipeline *pipeline = arg;
    if (pipeline->options.output) {
        pk_output_transaction(pipeline->options.output, transaction);
    }
    if (pipeline->options.merge) {
        pk_merge_transaction(pipeline->options.merge, transaction);
    }
    if (pipeline->options.wants_rrsets) {
        pk_history_transaction(pipeline->history, transaction);
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

static void take_message(
    struct pk_pipeline *pipeline, const struct pk_packet *packet, const uint8_t *wire, size_t len)
{
    struct pk_stats *stats = pipeline->stats;
    struct pk_message *message = &pipeline->message;
    message->ts_us = pipeline->ts_us;
    message->frame = stats->packets;
    message->src = packet->src;
    message->dst = packet->dst;
    message->sport = packet->sport;
    message->dport = packet->dport;
    message->transport = packet->is_tcp ? PK_TRANSPORT_TCP : PK_TRANSPORT_UDP;
    message->via = packet->via;
    message->interface = pipeline->interface;
    message->is_fragmented = packet->is_fragmented;
    (void)pk_dnsmsg_parse(wire, len, &message->dns); /* the fault says what is usable */
    stats->messages_tcp += packet->is_tcp;
    stats->messages_udp += !packet->is_tcp;
    stats->faults[message->dns.fault]++;
    if (pipeline->options.output) {
        pk_output_message(pipeline->options.output, message);
    }
    if (!is_usable(&message->dns)) {
        stats->unusable++;
    } else if (!is_paired(message->dns.opcode)) {
        stats->ignored++;
    } else {
        stats->responses += message->dns.is_response;
        stats->queries += !message->dns.is_response;
        pk_pairing_message(pipeline->pairing, message);
    }
}

static void on_stream_message(
    void *arg, const struct pk_packet *packet, const uint8_t *message, size_t len)
{
    take_message(arg, packet, message, len);
}

pk_err pk_pipeline_new(const struct pk_pipeline_options *options, struct pk_stats *stats,
    struct pk_pipeline **out_pipeline)
{
    struct pk_pipeline *pipeline = calloc(1, sizeof *pipeline);
    if (!pipeline) {
        return PK_ERR_NOMEM;
    }
    pipeline->options = *options;
    pipeline->stats = stats;
    if (pk_reasm_new(stats, on_stream_message, pipeline, &pipeline->reasm) != PK_OK ||
        pk_pairing_new(stats, on_transaction, pipeline, &pipeline->pairing) != PK_OK ||
        pk_history_new(stats, on_rrset, pipeline, &pipeline->history) != PK_OK) {
        pk_pipeline_free(pipeline);
        return PK_ERR_NOMEM;
    }
    *out_pipeline = pipeline;
    return PK_OK;
}

void pk_pipeline_free(struct pk_pipeline *pipeline)
{
    if (pipeline) {
        pk_reasm_free(pipeline->reasm);
        pk_pairing_free(pipeline->pairing);
        pk_history_free(pipeline->history);
        free(pipeline);
    }
}

void pk_pipeline_packet(
    struct pk_pipeline *pipeline, int link_type, const struct pk_raw_packet *raw)
{
    struct pk_packet packet;
    pipeline->ts_us = raw->ts_us;
    pipeline->interface = raw->interface;
    pipeline->stats->packets++;
    enum pk_disposition disposition = pk_packet_dissect(
        link_type, raw->data, raw->caplen, raw->wire_len, &pipeline->options.ports, &packet);
    pipeline->stats->dispositions[disposition]++;
    if (disposition == PK_PACKET_DNS) {
        take_message(pipeline, &packet, packet.payload, packet.payload_len);
    } else if (disposition == PK_PACKET_TCP) {
        pk_reasm_segment(pipeline->reasm, &packet, raw->ts_us);
    }
}

void pk_pipeline_tick(struct pk_pipeline *pipeline, int64_t now_us)
{
    pk_pairing_tick(pipeline->pairing, now_us);
    if (pipeline->options.merge) {
        pk_merge_tick(pipeline->options.merge, now_us, false);
    }
}

void pk_pipeline_flush(struct pk_pipeline *pipeline)
{
    pk_pairing_flush(pipeline->pairing);
    if (pipeline->options.merge) {
        pk_merge_tick(pipeline->options.merge, pipeline->ts_us, true);
    }
}

/* Any sequence of packets through the whole core, with every kind of output and with merging. Whatever comes, the counters balance.
 *
 * Input: records of flags, length (two bytes) and body. Flags: bit 0 TCP, bit 1 from the server, bits 2-3 which client, bit 4 IPv6, bit 5 the body is a whole Ethernet
 * frame, bits 6-7 how much time passes. A body is a DNS message, or bytes of the stream that follow the last ones. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "picket/hash.h"

#include "row_sink.h"
#include "sensor/pipeline.h"

enum {
    MAX_PACKETS = 256,
    MAX_BODY = 4096
};

struct sink_counts {
    uint64_t rows;
};

static void on_window(void *arg, const struct pk_batch_info *info)
{
    (void)arg;
    (void)info;
}

static void on_activity(void *arg, const struct pk_activity *row)
{
    struct sink_counts *counts = arg;
    counts->rows += row->name.len > 0;
}

/* Touches every byte, so that a sanitizer sees what is not there. */
static void on_rrset(void *arg, const struct pk_rrset *row)
{
    struct sink_counts *counts = arg;
    for (uint32_t i = 0; i < row->n_rdata; i++) {
        for (uint32_t k = 0; k < row->rdata[i].len; k++) {
            counts->rows += row->rdata[i].data[k];
        }
    }
}

static void on_negative(void *arg, const struct pk_negative *row)
{
    struct sink_counts *counts = arg;
    counts->rows += row->name.len > 0;
}

static void on_client(void *arg, const struct pk_client_count *row)
{
    (void)arg;
    (void)row;
}

static void on_window_end(void *arg, bool is_last)
{
    (void)is_last;
    (void)arg;
}

static void put16(uint8_t *out, size_t v)
{
    out[0] = (uint8_t)(v >> 8);
    out[1] = (uint8_t)v;
}

/* A raw IP packet around the body; returns its length. */
static size_t wrap(uint8_t *out, uint8_t flags, uint32_t seq, const uint8_t *body, size_t len)
{
    bool is_tcp = flags & 1, is_answer = flags & 2, is_v6 = flags & 16;
    size_t ip = is_v6 ? 40 : 20, transport = is_tcp ? 20 : 8;
    uint8_t client = (uint8_t)(1 + (flags >> 2 & 3));
    memset(out, 0, ip + transport);
    out[0] = is_v6 ? 0x60 : 0x45;
    put16(out + (is_v6 ? 4 : 2), transport + len + (is_v6 ? 0 : ip));
    out[is_v6 ? 6 : 9] = is_tcp ? 6 : 17;
    out[ip - (is_v6 ? 17 : 5)] = is_answer ? 53 : client;
    out[ip - 1] = is_answer ? client : 53;
    put16(out + ip, is_answer ? 53 : 4000);
    put16(out + ip + 2, is_answer ? 4000 : 53);
    if (is_tcp) {
        put16(out + ip + 4, seq >> 16);
        put16(out + ip + 6, seq & 0xffff);
        out[ip + 12] = 0x50;
        out[ip + 13] = 0x10;
    } else {
        put16(out + ip + 4, 8 + len);
    }
    memcpy(out + ip + transport, body, len);
    return ip + transport + len;
}

static void feed(struct pk_pipeline *pipeline, const uint8_t *data, size_t size, int64_t *ts_us)
{
    static const int64_t steps_us[] = {10, 40000, 3000000, 61000000};
    static uint8_t packet[64 + MAX_BODY];
    uint32_t seqs[32] = {0};
    for (unsigned n = 0; n < MAX_PACKETS && size >= 3; n++) {
        uint8_t flags = data[0];
        size_t len = ((size_t)data[1] << 8 | data[2]) % MAX_BODY;
        data += 3;
        size -= 3;
        len = len < size ? len : size;
        *ts_us += steps_us[flags >> 6];
        struct pk_raw_packet raw = {.ts_us = *ts_us, .data = data, .caplen = len, .wire_len = len};
        if (!(flags & 32)) {
            uint32_t *seq = &seqs[flags & 31];
            raw.caplen = raw.wire_len = wrap(packet, flags, *seq, data, len);
            raw.data = packet;
            *seq += (uint32_t)len;
        }
        pk_pipeline_packet(pipeline, flags & 32 ? 1 : 101, &raw);
        data += len;
        size -= len;
    }
}

/* Made once a mode, since the tables are large; an hour passes between inputs, after which nothing of
 * the last one is left. */
struct machine {
    struct pk_stats stats;
    struct sink_counts counts;
    struct pk_pipeline *pipeline;
    struct pk_output *output;
    struct pk_merge *merge;
    struct row_sink *rows;
    int64_t ts_us;
};

static bool machine_init(struct machine *machine, enum pk_output_mode mode, FILE *null)
{
    const struct row_calls calls = {
        &machine->counts, on_window, on_activity, on_rrset, on_negative, on_client, on_window_end};
    machine->rows = row_sink_new(&calls);
    const struct pk_merge_sink sink = row_sink_of(machine->rows);
    struct pk_merge_options merge_options = {.window_ms = 60000};
    struct pk_pipeline_options options = {.ports = {.v = {53}, .n = 1}, .wants_rrsets = true};
    if (pk_output_new(mode, null, &machine->output) != PK_OK ||
        pk_merge_new(&merge_options, &machine->stats, &sink, &machine->merge) != PK_OK) {
        return false;
    }
    machine->ts_us = 1700000000000000;
    options.output = machine->output;
    options.merge = machine->merge;
    return pk_pipeline_new(&options, &machine->stats, &machine->pipeline) == PK_OK;
}

static void run(struct machine *machine, const uint8_t *data, size_t size)
{
    feed(machine->pipeline, data, size, &machine->ts_us);
    pk_pipeline_flush(machine->pipeline);
    if (pk_output_flush(machine->output) != PK_OK || pk_stats_check(&machine->stats)) {
        abort();
    }
    machine->ts_us += 3600000000;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct machine machines[3];
    static const uint8_t key[16] = {1};
    if (size == 0) {
        return 0;
    }
    struct machine *machine = &machines[data[0] % 3];
    if (!machine->pipeline) {
        FILE *null = fopen("/dev/null", "we");
        pk_hash_set_key(key);
        if (!null ||
            !machine_init(machine, (enum pk_output_mode)(PK_OUTPUT_MESSAGES + data[0] % 3), null)) {
            abort();
        }
    }
    run(machine, data + 1, size - 1);
    return 0;
}

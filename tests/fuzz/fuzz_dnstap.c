/* A Frame Stream with dnstap payloads through the pipeline: any bytes, in any pieces; the counters must balance. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "picket/hash.h"

#include "sensor/input/dnstap.h"
#include "sensor/input/fstrm.h"
#include "sensor/pipeline.h"

struct machine {
    struct pk_stats stats;
    struct pk_dnstap *dnstap;
    struct pk_pipeline *pipeline;
    struct pk_output *output;
    int64_t now_us;
};

static void machine_init(struct machine *machine)
{
    static const uint8_t key[16] = {1};
    FILE *null = fopen("/dev/null", "we");
    pk_hash_set_key(key);
    struct pk_pipeline_options options = {.ports = {.v = {53}, .n = 1}, .wants_rrsets = true};
    if (!null || pk_output_new(PK_OUTPUT_TRANSACTIONS, null, &machine->output) != PK_OK ||
        pk_dnstap_new(&machine->dnstap) != PK_OK) {
        abort();
    }
    options.output = machine->output;
    options.dnstap = (struct pk_dnstap_use){.whole = 0x35, .rrsets_only = 0x0a}; /* tools unused */
    machine->now_us = 1700000000000000;
    if (pk_pipeline_new(&options, &machine->stats, &machine->pipeline) != PK_OK) {
        abort();
    }
}

static void give(struct machine *machine, struct pk_slice frame)
{
    /* In a buffer of its own size, so that a sanitizer sees what reads past the frame. */
    uint8_t *copy = malloc(frame.len);
    struct pk_dnstap_event event;
    if (!copy) {
        abort();
    }
    memcpy(copy, frame.data, frame.len);
    machine->now_us += 1000;
    pk_dnstap_decode(machine->dnstap, copy, frame.len, machine->now_us, &event);
    struct pk_raw_packet raw = {.ts_us = event.ts_us, .tapped = &event};
    pk_pipeline_packet(machine->pipeline, 0, &raw);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct machine machine;
    struct pk_fstrm stream;
    struct pk_slice frame;
    if (size == 0) {
        return 0;
    }
    if (!machine.pipeline) {
        machine_init(&machine);
    }
    pk_fstrm_init(&stream, data[0] & 1);
    size_t piece = data[0] >> 1 ? data[0] >> 1 : size;
    data++;
    size--;
    for (;;) {
        enum pk_fstrm_result result = pk_fstrm_next(&stream, &frame);
        if (result == PK_FSTRM_FRAME) {
            give(&machine, frame);
        } else if (result == PK_FSTRM_MORE && size > 0) {
            size_t room, n = piece < size ? piece : size;
            uint8_t *p = pk_fstrm_room(&stream, &room);
            if (!p) {
                abort();
            }
            n = n < room ? n : room;
            memcpy(p, data, n);
            pk_fstrm_filled(&stream, n);
            data += n;
            size -= n;
        } else if (result != PK_FSTRM_ENDED || !stream.is_file) {
            break;
        }
        stream.reply_len = 0; /* sent */
    }
    pk_fstrm_done(&stream);
    pk_pipeline_flush(machine.pipeline);
    if (pk_stats_check(&machine.stats)) {
        abort();
    }
    machine.now_us += 3600000000;
    return 0;
}

/* A capture file of any bytes. However the bytes come, the same packets must come of them; all of a packet must stand in the file. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sensor/input/savefile.h"

struct source {
    const uint8_t *data;
    size_t len, at, piece;
};

static size_t give(void *arg, uint8_t *out, size_t size)
{
    struct source *source = arg;
    size_t n = source->len - source->at;
    n = n < size ? n : size;
    n = n < source->piece ? n : source->piece;
    memcpy(out, source->data + source->at, n);
    source->at += n;
    return n;
}

/* Reads bytes of the packet that must be there, and keeps what may be compared. */
static uint64_t sum_of(const struct pk_raw_packet *packet, int link_type)
{
    uint64_t sum =
        (uint64_t)packet->ts_us * 31 + packet->caplen * 7 + packet->wire_len + (uint64_t)link_type;
    for (size_t i = 0; i < packet->caplen; i++) {
        sum = sum * 31 + packet->data[i];
    }
    return sum;
}

static struct pk_savefile *start(struct source *source, pk_err *out_err)
{
    struct pk_savefile *file;
    if (pk_savefile_new(give, source, &file) != PK_OK) {
        abort();
    }
    *out_err = pk_savefile_start(file);
    return file;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct source whole = {.data = data, .len = size, .piece = SIZE_MAX};
    struct source pieces = {.data = data, .len = size, .piece = 3};
    struct pk_raw_packet a, b;
    enum pk_capture_result result = PK_CAPTURE_PACKET;
    pk_err err, err_pieces;
    struct pk_savefile *file = start(&whole, &err), *again = start(&pieces, &err_pieces);
    if (err != err_pieces) {
        abort();
    }
    while (err == PK_OK && result == PK_CAPTURE_PACKET) {
        result = pk_savefile_next(file, &a);
        if (result != pk_savefile_next(again, &b)) {
            abort();
        }
        if (result == PK_CAPTURE_PACKET && (a.caplen > size || a.ts_us < 0 ||
                                               sum_of(&a, pk_savefile_link_type(file)) !=
                                                   sum_of(&b, pk_savefile_link_type(again)))) {
            abort();
        }
    }
    if (pk_savefile_offset(file) != pk_savefile_offset(again) || pk_savefile_offset(file) > size) {
        abort();
    }
    pk_savefile_free(file);
    pk_savefile_free(again);
    return 0;
}

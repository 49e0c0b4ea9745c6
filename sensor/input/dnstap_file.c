/* Times that a frame leaves out are those of the frame before it. */
#include "input/dnstap_file.h"

#include <stdlib.h>

#include "input/dnstap.h"
#include "input/fstrm.h"

struct pk_dnstap_file {
    struct pk_unpack *source;
    struct pk_fstrm frames;
    struct pk_dnstap *dnstap;
    struct pk_dnstap_event event;
    const char *fault;
    int64_t last_us;
    uint64_t n_read;
};

pk_err pk_dnstap_file_new(struct pk_unpack *source, struct pk_dnstap_file **out_file)
{
    struct pk_dnstap_file *file = calloc(1, sizeof *file);
    if (!file || pk_dnstap_new(&file->dnstap) != PK_OK) {
        free(file);
        return PK_ERR_NOMEM;
    }
    file->source = source;
    pk_fstrm_init(&file->frames, true);
    *out_file = file;
    return PK_OK;
}

void pk_dnstap_file_free(struct pk_dnstap_file *file)
{
    if (file) {
        pk_fstrm_done(&file->frames);
        pk_dnstap_free(file->dnstap);
        free(file);
    }
}

static enum pk_capture_result broken(struct pk_dnstap_file *file, const char *fault)
{
    file->fault = fault;
    return PK_CAPTURE_BROKEN;
}

/* False at the end of the file, or without memory. */
static bool read_more(struct pk_dnstap_file *file)
{
    size_t room;
    uint8_t *p = pk_fstrm_room(&file->frames, &room);
    size_t n = p ? pk_unpack_read(file->source, p, room) : 0;
    pk_fstrm_filled(&file->frames, n);
    file->n_read += n;
    return n > 0;
}

static enum pk_capture_result give(struct pk_dnstap_file *file, struct pk_raw_packet *out_packet)
{
    file->last_us = file->event.ts_us;
    *out_packet = (struct pk_raw_packet){.ts_us = file->event.ts_us, .tapped = &file->event};
    return PK_CAPTURE_PACKET;
}

enum pk_capture_result pk_dnstap_file_next(
    struct pk_dnstap_file *file, struct pk_raw_packet *out_packet)
{
    struct pk_slice frame;
    while (!file->fault) {
        switch (pk_fstrm_next(&file->frames, &frame)) {
        case PK_FSTRM_FRAME:
            pk_dnstap_decode(file->dnstap, frame.data, frame.len, file->last_us, &file->event);
            return give(file, out_packet);
        case PK_FSTRM_OVERSIZE:
            file->event =
                (struct pk_dnstap_event){.fate = PK_DNSTAP_OVERSIZE, .ts_us = file->last_us};
            return give(file, out_packet);
        case PK_FSTRM_BROKEN:
            return broken(file, pk_fstrm_fault(&file->frames));
        case PK_FSTRM_ENDED:
            break; /* another stream may follow */
        case PK_FSTRM_MORE:
            if (!read_more(file)) {
                return pk_fstrm_is_inside(&file->frames) ? broken(file, "it ends within a frame")
                                                         : PK_CAPTURE_END;
            }
            break;
        }
    }
    return PK_CAPTURE_BROKEN;
}

const char *pk_dnstap_file_fault(const struct pk_dnstap_file *file)
{
    return file->fault;
}

uint64_t pk_dnstap_file_offset(const struct pk_dnstap_file *file)
{
    return file->n_read - (file->frames.end - file->frames.start);
}

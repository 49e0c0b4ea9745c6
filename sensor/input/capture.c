/* Files of packets or of messages: unpacked on the way, the kind told by content. libpcap only names the link types that are not known. */
#include "input/capture.h"

#include <stdio.h>
#include <stdlib.h>

#include <pcap/pcap.h>

#include "input/dnstap_file.h"
#include "input/fstrm.h"
#include "input/savefile.h"
#include "input/unpack.h"

struct pk_capture {
    struct pk_unpack *source;
    struct pk_savefile *packets; /* or NULL, and ... */
    struct pk_dnstap_file *tap;  /* ... this */
    char name[256];
    char error[PK_CAPTURE_ERROR_SIZE];
    uint64_t n_packets;
};

/* --- opening --- */

static size_t read_source(void *arg, uint8_t *out, size_t size)
{
    return pk_unpack_read(arg, out, size);
}

static bool is_frame_stream(struct pk_unpack *source)
{
    uint8_t first[12];
    return pk_fstrm_is_start(first, pk_unpack_peek(source, first, sizeof first));
}

/* Of several interfaces some may be of a kind that is not dissected: their packets are counted (bad_link). A file without any other is refused. */
static pk_err check_links(
    const struct pk_savefile *packets, const char *path, char out_error[PK_CAPTURE_ERROR_SIZE])
{
    size_t n;
    const int *links = pk_savefile_links(packets, &n);
    for (size_t i = 0; i < n; i++) {
        if (pk_packet_link_supported(links[i])) {
            return PK_OK;
        }
    }
    if (n == 0) {
        return PK_OK;
    }
    const char *name = pcap_datalink_val_to_name(links[0]);
    snprintf(out_error, PK_CAPTURE_ERROR_SIZE, "%s: link type %d (%s) is not supported", path,
        links[0], name ? name : "unknown");
    return PK_ERR_UNSUPPORTED;
}

static pk_err open_packets(
    struct pk_capture *capture, const char *path, char out_error[PK_CAPTURE_ERROR_SIZE])
{
    pk_err err = pk_savefile_new(read_source, capture->source, &capture->packets);
    if (err != PK_OK) {
        return err;
    }
    err = pk_savefile_start(capture->packets);
    if (err != PK_OK) {
        const char *fault = pk_unpack_fault(capture->source);
        snprintf(out_error, PK_CAPTURE_ERROR_SIZE, "%s: offset %llu: %s%s%s%s", path,
            (unsigned long long)pk_savefile_offset(capture->packets),
            pk_savefile_fault(capture->packets), fault ? " (" : "", fault ? fault : "",
            fault ? ")" : "");
        return err;
    }
    return check_links(capture->packets, path, out_error);
}

pk_err pk_capture_open_file(
    const char *path, struct pk_capture **out_capture, char out_error[PK_CAPTURE_ERROR_SIZE])
{
    struct pk_capture *capture = calloc(1, sizeof *capture);
    if (!capture) {
        return PK_ERR_NOMEM;
    }
    snprintf(capture->name, sizeof capture->name, "%s", path);
    pk_err err = pk_unpack_open(path, &capture->source, out_error);
    if (err == PK_OK) {
        err = is_frame_stream(capture->source) ? pk_dnstap_file_new(capture->source, &capture->tap)
                                               : open_packets(capture, path, out_error);
    }
    if (err != PK_OK) {
        pk_capture_close(capture);
        return err;
    }
    *out_capture = capture;
    return PK_OK;
}

void pk_capture_close(struct pk_capture *capture)
{
    if (capture) {
        pk_savefile_free(capture->packets);
        pk_dnstap_file_free(capture->tap);
        pk_unpack_close(capture->source);
        free(capture);
    }
}

/* --- reading --- */

int pk_capture_link_type(const struct pk_capture *capture)
{
    return capture->tap ? 0 : pk_savefile_link_type(capture->packets);
}

/* A file that ends where its packed data, or the disk, fails has not ended. */
static enum pk_capture_result explain(struct pk_capture *capture, enum pk_capture_result result)
{
    const char *source_fault = pk_unpack_fault(capture->source);
    if (result == PK_CAPTURE_END && !source_fault) {
        return PK_CAPTURE_END;
    }
    uint64_t offset =
        capture->tap ? pk_dnstap_file_offset(capture->tap) : pk_savefile_offset(capture->packets);
    const char *fault =
        capture->tap ? pk_dnstap_file_fault(capture->tap) : pk_savefile_fault(capture->packets);
    snprintf(capture->error, sizeof capture->error, "%s: damaged at offset %llu, after %s %llu: %s",
        capture->name, (unsigned long long)offset, capture->tap ? "frame" : "packet",
        (unsigned long long)capture->n_packets, source_fault ? source_fault : fault);
    return PK_CAPTURE_BROKEN;
}

enum pk_capture_result pk_capture_next(struct pk_capture *capture, struct pk_raw_packet *out_packet)
{
    enum pk_capture_result result = capture->tap ? pk_dnstap_file_next(capture->tap, out_packet)
                                                 : pk_savefile_next(capture->packets, out_packet);
    if (__builtin_expect(result != PK_CAPTURE_PACKET, 0)) {
        return explain(capture, result);
    }
    capture->n_packets++;
    return result;
}

const char *pk_capture_error(const struct pk_capture *capture)
{
    return capture->error;
}

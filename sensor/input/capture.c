/* The libpcap edge, files. They are unpacked on the way; recorded Frame Streams of dnstap are told by their content and read without libpcap. */
#include "input/capture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pcap/pcap.h>

#include "input/dnstap_file.h"
#include "input/fstrm.h"
#include "input/unpack.h"

struct pk_capture {
    pcap_t *pcap;
    struct pk_unpack *source; /* borrowed: pcap's FILE owns it */
    FILE *tap_stream;         /* owned; of a Frame Stream, which has no pcap */
    struct pk_dnstap_file *tap;
    char name[256];
    char error[PK_CAPTURE_ERROR_SIZE];
    uint64_t n_packets;
};

/* --- opening --- */

static bool is_frame_stream(struct pk_unpack *source)
{
    uint8_t first[12];
    return pk_fstrm_is_start(first, pk_unpack_peek(source, first, sizeof first));
}

pk_err pk_capture_open_file(
    const char *path, struct pk_capture **out_capture, char out_error[PK_CAPTURE_ERROR_SIZE])
{
    char reason[PCAP_ERRBUF_SIZE] = "";
    FILE *stream = NULL;
    struct pk_capture *capture = calloc(1, sizeof *capture);
    if (!capture) {
        return PK_ERR_NOMEM;
    }
    pk_err err = pk_unpack_open(path, &stream, &capture->source, out_error);
    if (err != PK_OK) {
        free(capture);
        return err;
    }
    snprintf(capture->name, sizeof capture->name, "%s", path);
    if (is_frame_stream(capture->source)) {
        capture->tap_stream = stream;
        err = pk_dnstap_file_new(stream, &capture->tap);
        if (err != PK_OK) {
            pk_capture_close(capture);
            return err;
        }
        *out_capture = capture;
        return PK_OK;
    }
    capture->pcap =
        pcap_fopen_offline_with_tstamp_precision(stream, PCAP_TSTAMP_PRECISION_MICRO, reason);
    if (!capture->pcap) {
        snprintf(out_error, PK_CAPTURE_ERROR_SIZE, "%s: offset %llu: %s%s", path,
            (unsigned long long)pk_unpack_offset(capture->source), reason,
            pk_unpack_is_damaged(capture->source) ? " (the packed data is damaged)" : "");
        fclose(stream);
        free(capture);
        return PK_ERR_MALFORMED;
    }
    int link_type = pcap_datalink(capture->pcap);
    if (!pk_packet_link_supported(link_type)) {
        const char *name = pcap_datalink_val_to_name(link_type);
        snprintf(out_error, PK_CAPTURE_ERROR_SIZE, "%s: link type %d (%s) is not supported", path,
            link_type, name ? name : "unknown");
        pk_capture_close(capture);
        return PK_ERR_UNSUPPORTED;
    }
    *out_capture = capture;
    return PK_OK;
}

void pk_capture_close(struct pk_capture *capture)
{
    if (capture) {
        if (capture->pcap) {
            pcap_close(capture->pcap); /* closes the stream and with it the source */
        }
        pk_dnstap_file_free(capture->tap);
        if (capture->tap_stream) {
            fclose(capture->tap_stream);
        }
        free(capture);
    }
}

/* --- reading --- */

int pk_capture_link_type(const struct pk_capture *capture)
{
    return capture->tap ? 0 : pcap_datalink(capture->pcap);
}

/* Damaged files hold any number; beyond the year 9999 it would overflow what is reckoned with it. */
static int64_t time_us(const struct timeval *time)
{
    const int64_t max_s = 253402300799, s = time->tv_sec;
    return (s < 0 ? 0 : s > max_s ? max_s : s) * 1000000 + time->tv_usec % 1000000;
}

static enum pk_capture_result next_tapped(
    struct pk_capture *capture, struct pk_raw_packet *out_packet)
{
    enum pk_capture_result result = pk_dnstap_file_next(capture->tap, out_packet);
    bool is_damaged = pk_unpack_is_damaged(capture->source);
    capture->n_packets += result == PK_CAPTURE_PACKET;
    if (result == PK_CAPTURE_END && is_damaged) {
        result = PK_CAPTURE_BROKEN;
    }
    if (result == PK_CAPTURE_BROKEN) {
        snprintf(capture->error, sizeof capture->error,
            "%s: damaged at offset %llu, after frame %llu: %s", capture->name,
            (unsigned long long)pk_dnstap_file_offset(capture->tap),
            (unsigned long long)capture->n_packets,
            is_damaged ? "the packed data cannot be unpacked" : pk_dnstap_file_fault(capture->tap));
    }
    return result;
}

enum pk_capture_result pk_capture_next(struct pk_capture *capture, struct pk_raw_packet *out_packet)
{
    struct pcap_pkthdr *header;
    const unsigned char *data;
    if (capture->tap) {
        return next_tapped(capture, out_packet);
    }
    int result = pcap_next_ex(capture->pcap, &header, &data);
    if (result == 1) {
        capture->n_packets++;
        *out_packet = (struct pk_raw_packet){
            .ts_us = time_us(&header->ts),
            .data = data,
            .caplen = header->caplen,
            .wire_len = header->len,
        };
        return PK_CAPTURE_PACKET;
    }
    if (result == PCAP_ERROR_BREAK && !pk_unpack_is_damaged(capture->source)) {
        return PK_CAPTURE_END;
    }
    snprintf(capture->error, sizeof capture->error,
        "%s: damaged at offset %lld, after packet %llu: %s", capture->name,
        (long long)ftello(pcap_file(capture->pcap)), (unsigned long long)capture->n_packets,
        pk_unpack_is_damaged(capture->source) ? "the packed data cannot be unpacked"
                                              : pcap_geterr(capture->pcap));
    return PK_CAPTURE_BROKEN;
}

const char *pk_capture_error(const struct pk_capture *capture)
{
    return capture->error;
}

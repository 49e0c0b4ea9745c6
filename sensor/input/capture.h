/* Packets from files. */
#ifndef SENSOR_CAPTURE_H
#define SENSOR_CAPTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picket/err.h"

#include "packet/packet.h"

struct pk_capture;
struct pk_dnstap_event;

enum {
    PK_CAPTURE_ERROR_SIZE = 512
};

struct pk_raw_packet {
    int64_t ts_us;
    const uint8_t *data; /* until the next read */
    size_t caplen, wire_len;
    const struct pk_dnstap_event *
        tapped; /* of a dnstap source: what the frame says, instead of a packet; until the next read */
    uint16_t interface; /* index of the capture source, in the order configured; 0 for files */
};

enum pk_capture_result {
    PK_CAPTURE_PACKET,
    PK_CAPTURE_END, /* end of the file */
    PK_CAPTURE_BROKEN, /* damaged file: pk_capture_error says what and where; everything before was given out */
};

/* pcap, pcapng or a Frame Stream of dnstap, plain or packed with gzip, xz or zstd (told by content); "-" is standard input. PK_ERR_IO, PK_ERR_MALFORMED, PK_ERR_UNSUPPORTED (no link type of it can be dissected). */
pk_err pk_capture_open_file(
    const char *path, struct pk_capture **out_capture, char out_error[PK_CAPTURE_ERROR_SIZE]);
void pk_capture_close(struct pk_capture *capture);

/* Of the packet read last: a pcapng file may hold several. Before the first that of the first interface. */
int pk_capture_link_type(const struct pk_capture *capture);
enum pk_capture_result pk_capture_next(
    struct pk_capture *capture, struct pk_raw_packet *out_packet);
const char *pk_capture_error(const struct pk_capture *capture);

#endif

/* Capture files: pcap and pcapng, out of bytes that somebody else reads. Pure.
 *
 * pcap: both byte orders, micro- and nanoseconds, the modified format of old Red Hat systems, the record lengths that versions before 2.4 wrote the wrong way round; version 2.
 * pcapng (draft-ietf-opsawg-pcapng): several sections, each in its own byte order, interfaces of different link types and resolutions (if_tsresol, if_tsoffset), enhanced, simple
 * and obsolete packet blocks; what else there is is passed over. A time is that of the file, rounded down to a microsecond and kept within the years 1970 to 9999: damaged files
 * hold any number, and it is reckoned with.
 *
 * Why not libpcap, and why the bytes are read and not mapped: docs/decisions, "our own reader of capture files". What libpcap reads is read alike
 * (tests/unit/sensor/test_savefile.c); of pcapng more is. */
#ifndef SENSOR_SAVEFILE_H
#define SENSOR_SAVEFILE_H

#include <stddef.h>
#include <stdint.h>

#include "picket/err.h"

#include "input/capture.h"

enum {
    PK_SAVEFILE_BLOCK = 256 << 10,      /* bytes asked for at once; stays in a second-level cache */
    PK_SAVEFILE_MAX_PACKET = 256 << 10, /* captured bytes of a pcap record: more is damage */
    PK_SAVEFILE_MAX_BLOCK = 16 << 20,   /* of pcapng; the buffer grows to that where it must */
    PK_SAVEFILE_MAX_INTERFACES = 65536, /* of one section */
    PK_SAVEFILE_FAULT_SIZE = 160,
};

/* Up to size (> 0) bytes of what follows: at least one, 0 at the end and for good. May wait. */
typedef size_t (*pk_savefile_read)(void *arg, uint8_t *out, size_t size);

struct pk_savefile;

/* Holds PK_SAVEFILE_BLOCK bytes; reads nothing yet. PK_ERR_NOMEM. */
pk_err pk_savefile_new(pk_savefile_read read, void *arg, struct pk_savefile **out_file);
void pk_savefile_free(struct pk_savefile *file);

/* The file's header and, of pcapng, what stands before the first packet; once, first. PK_ERR_MALFORMED: not such a file, or damaged; pk_savefile_fault says how. */
pk_err pk_savefile_start(struct pk_savefile *file);
/* DLT_ numbers of libpcap: of a pcap file, or of the interfaces known when the first packet of pcapng comes (of its section; none in a file without). Borrowed until the next call. */
const int *pk_savefile_links(const struct pk_savefile *file, size_t *out_n);

/* The next packet; its data stays until the next call. PK_CAPTURE_BROKEN: pk_savefile_fault says why, everything before was given out, and it stays so. */
enum pk_capture_result pk_savefile_next(struct pk_savefile *file, struct pk_raw_packet *out_packet);
/* Of the packet given out last. */
int pk_savefile_link_type(const struct pk_savefile *file);

const char *pk_savefile_fault(const struct pk_savefile *file);
/* Bytes before the record or block that comes next, or that is at fault. */
uint64_t pk_savefile_offset(const struct pk_savefile *file);

#endif

/* Frames out of a recorded Frame Stream (what fstrm_capture and the servers themselves write). Edge. */
#ifndef SENSOR_DNSTAP_FILE_H
#define SENSOR_DNSTAP_FILE_H

#include "picket/err.h"

#include "input/capture.h"
#include "input/unpack.h"

struct pk_dnstap_file;

/* Borrows source, which must outlive it. */
pk_err pk_dnstap_file_new(struct pk_unpack *source, struct pk_dnstap_file **out_file);
void pk_dnstap_file_free(struct pk_dnstap_file *file);
/* PACKET with `tapped`, END, or BROKEN: pk_dnstap_file_fault says why. A file whose writer did not stop it (no STOP frame) is whole when it ends after a frame. */
enum pk_capture_result pk_dnstap_file_next(
    struct pk_dnstap_file *file, struct pk_raw_packet *out_packet);
const char *pk_dnstap_file_fault(const struct pk_dnstap_file *file);
/* Offset in the unpacked file after what was understood. */
uint64_t pk_dnstap_file_offset(const struct pk_dnstap_file *file);

#endif

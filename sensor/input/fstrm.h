/* Frame Streams (https://farsightsec.github.io/fstrm): bytes of one stream to its data frames and the answers of the handshake. Pure.
 *
 * libfstrm encodes and decodes the control frames. Its own reader blocks in read and knows only files and outgoing connections, so the framing around them (a
 * length in network order, zero for a control frame) is here, over a buffer that grows as bytes really come, to one frame of the greatest length. */
#ifndef SENSOR_FSTRM_H
#define SENSOR_FSTRM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picket/observation.h"

enum {
    PK_FSTRM_MAX_FRAME =
        2 * 65535 + 4096,       /* a response with its query, and what stands around them */
    PK_FSTRM_MAX_CONTROL = 512, /* the standard's */
    PK_FSTRM_MAX_REPLY = 64,
};
#define PK_FSTRM_DNSTAP "protobuf:dnstap.Dnstap"

enum pk_fstrm_result {
    PK_FSTRM_FRAME, /* out_frame */
    PK_FSTRM_MORE,  /* needs bytes */
    PK_FSTRM_ENDED, /* STOP: the sender is done. In a file another START may follow, and the next call goes on */
    PK_FSTRM_OVERSIZE, /* a data frame longer than the greatest; the stream is broken with it */
    PK_FSTRM_BROKEN,   /* pk_fstrm_fault says why; and so for ever */
};

struct pk_fstrm {
    bool
        is_file; /* one way: no handshake, STOP may be missing, several streams may follow each other */
    enum {
        PK_FSTRM_BEGIN,   /* READY (a peer that wants a handshake) or START */
        PK_FSTRM_GREETED, /* after READY: START */
        PK_FSTRM_OPEN,
        PK_FSTRM_DONE,
    } state;
    bool is_two_way;
    const char *fault;
    uint8_t *data; /* owned; start..end are not looked at yet */
    size_t start, end, cap;
    uint8_t reply[PK_FSTRM_MAX_REPLY]; /* what has to go back to the peer */
    size_t reply_len;
};

void pk_fstrm_init(struct pk_fstrm *stream, bool is_file);
void pk_fstrm_done(struct pk_fstrm *stream);
/* Room for at least one byte at the end of the buffer; moves what is there, so a frame given out before is no longer good. NULL: no memory. Never needed, so never NULL for
 * another reason, after PK_FSTRM_MORE. */
uint8_t *pk_fstrm_room(struct pk_fstrm *stream, size_t *out_size);
void pk_fstrm_filled(struct pk_fstrm *stream, size_t len);
/* Frames are borrowed until the next pk_fstrm_room. */
enum pk_fstrm_result pk_fstrm_next(struct pk_fstrm *stream, struct pk_slice *out_frame);
const char *pk_fstrm_fault(const struct pk_fstrm *stream); /* constant text */
/* Bytes that are part of a frame whose rest is missing. */
bool pk_fstrm_is_inside(const struct pk_fstrm *stream);
/* Whether a file with these first bytes is a Frame Stream: a control frame START. 12 bytes are enough. */
bool pk_fstrm_is_start(const uint8_t *data, size_t len);

#endif

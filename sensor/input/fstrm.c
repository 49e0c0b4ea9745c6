/* A peer can make one buffer grow to the greatest frame, and only by sending it. Control frames are few by construction: each moves the state on. */
#include "input/fstrm.h"

#include <fstrm.h>
#include <stdlib.h>
#include <string.h>

enum {
    FIRST_CAP = 4096,
    LENGTH_BYTES = 4
};

void pk_fstrm_init(struct pk_fstrm *stream, bool is_file)
{
    *stream = (struct pk_fstrm){.is_file = is_file};
}

void pk_fstrm_done(struct pk_fstrm *stream)
{
    free(stream->data);
    stream->data = NULL;
    stream->start = stream->end = stream->cap = 0;
}

uint8_t *pk_fstrm_room(struct pk_fstrm *stream, size_t *out_size)
{
    if (stream->start > 0) {
        memmove(stream->data, stream->data + stream->start, stream->end - stream->start);
        stream->end -= stream->start;
        stream->start = 0;
    }
    if (stream->end == stream->cap) {
        size_t cap = stream->cap ? 2 * stream->cap : FIRST_CAP;
        if (cap > LENGTH_BYTES + PK_FSTRM_MAX_FRAME) {
            cap = LENGTH_BYTES + PK_FSTRM_MAX_FRAME;
        }
        uint8_t *grown = cap > stream->cap ? realloc(stream->data, cap) : NULL;
        if (!grown) {
            return NULL;
        }
        stream->data = grown;
        stream->cap = cap;
    }
    *out_size = stream->cap - stream->end;
    return stream->data + stream->end;
}

void pk_fstrm_filled(struct pk_fstrm *stream, size_t len)
{
    stream->end += len;
}

const char *pk_fstrm_fault(const struct pk_fstrm *stream)
{
    return stream->fault ? stream->fault : "no fault";
}

bool pk_fstrm_is_inside(const struct pk_fstrm *stream)
{
    return stream->end > stream->start;
}

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

bool pk_fstrm_is_start(const uint8_t *data, size_t len)
{
    return len >= 3 * LENGTH_BYTES && be32(data) == 0 && be32(data + 4) >= LENGTH_BYTES &&
           be32(data + 4) <= PK_FSTRM_MAX_CONTROL && be32(data + 8) == FSTRM_CONTROL_START;
}

static enum pk_fstrm_result broken(struct pk_fstrm *stream, const char *fault)
{
    stream->fault = fault;
    return PK_FSTRM_BROKEN;
}

static void reply(struct pk_fstrm *stream, fstrm_control_type type)
{
    struct fstrm_control *control = fstrm_control_init();
    size_t room = sizeof stream->reply - stream->reply_len;
    (void)fstrm_control_set_type(control, type);
    if (type == FSTRM_CONTROL_ACCEPT) {
        (void)fstrm_control_add_field_content_type(
            control, (const uint8_t *)PK_FSTRM_DNSTAP, strlen(PK_FSTRM_DNSTAP));
    }
    if (fstrm_control_encode(control, stream->reply + stream->reply_len, &room,
            FSTRM_CONTROL_FLAG_WITH_HEADER) == fstrm_res_success) {
        stream->reply_len += room;
    }
    fstrm_control_destroy(&control);
}

/* Moves the state on by one control frame. MORE: look at what follows. */
static enum pk_fstrm_result on_control(
    struct pk_fstrm *stream, fstrm_control_type type, bool is_dnstap)
{
    if (type == FSTRM_CONTROL_READY && stream->state == PK_FSTRM_BEGIN && !stream->is_file) {
        if (!is_dnstap) {
            return broken(stream, "offers no content of type " PK_FSTRM_DNSTAP);
        }
        stream->state = PK_FSTRM_GREETED;
        stream->is_two_way = true;
        reply(stream, FSTRM_CONTROL_ACCEPT);
        return PK_FSTRM_MORE;
    }
    if (type == FSTRM_CONTROL_START &&
        (stream->state == PK_FSTRM_BEGIN || stream->state == PK_FSTRM_GREETED)) {
        if (!is_dnstap) {
            return broken(stream, "its content is not of type " PK_FSTRM_DNSTAP);
        }
        stream->state = PK_FSTRM_OPEN;
        return PK_FSTRM_MORE;
    }
    if (type == FSTRM_CONTROL_STOP && stream->state == PK_FSTRM_OPEN) {
        stream->state = stream->is_file ? PK_FSTRM_BEGIN : PK_FSTRM_DONE;
        if (stream->is_two_way) {
            reply(stream, FSTRM_CONTROL_FINISH);
        }
        return PK_FSTRM_ENDED;
    }
    return broken(stream, "a control frame out of turn");
}

static enum pk_fstrm_result take_control(struct pk_fstrm *stream, const uint8_t *p, size_t len)
{
    fstrm_control_type type;
    struct fstrm_control *control = fstrm_control_init();
    enum pk_fstrm_result result = PK_FSTRM_BROKEN;
    if (fstrm_control_decode(control, p, len, 0) == fstrm_res_success &&
        fstrm_control_get_type(control, &type) == fstrm_res_success) {
        bool is_dnstap =
            fstrm_control_match_field_content_type(control, (const uint8_t *)PK_FSTRM_DNSTAP,
                strlen(PK_FSTRM_DNSTAP)) == fstrm_res_success;
        result = on_control(stream, type, is_dnstap);
    } else {
        stream->fault = "a damaged control frame";
    }
    fstrm_control_destroy(&control);
    return result;
}

/* One step: MORE with *out_moved when a control frame was taken. */
static enum pk_fstrm_result step(
    struct pk_fstrm *stream, struct pk_slice *out_frame, bool *out_moved)
{
    size_t left = stream->end - stream->start;
    *out_moved = false;
    if (left < LENGTH_BYTES) {
        return PK_FSTRM_MORE;
    }
    const uint8_t *p = stream->data + stream->start;
    uint32_t len = be32(p);
    if (len > 0) {
        if (stream->state != PK_FSTRM_OPEN) {
            return broken(stream, "not a Frame Stream, or data before its start");
        }
        if (len > PK_FSTRM_MAX_FRAME) {
            stream->fault = "a frame longer than any dnstap message";
            return PK_FSTRM_OVERSIZE;
        }
        if (left - LENGTH_BYTES < len) {
            return PK_FSTRM_MORE;
        }
        *out_frame = (struct pk_slice){p + LENGTH_BYTES, len};
        stream->start += LENGTH_BYTES + len;
        return PK_FSTRM_FRAME;
    }
    if (left < 2 * LENGTH_BYTES) {
        return PK_FSTRM_MORE;
    }
    uint32_t control_len = be32(p + LENGTH_BYTES);
    if (control_len < LENGTH_BYTES || control_len > PK_FSTRM_MAX_CONTROL) {
        return broken(stream, "a control frame of impossible length");
    }
    if (left - 2 * LENGTH_BYTES < control_len) {
        return PK_FSTRM_MORE;
    }
    stream->start += 2 * LENGTH_BYTES + control_len;
    *out_moved = true;
    return take_control(stream, p + 2 * LENGTH_BYTES, control_len);
}

enum pk_fstrm_result pk_fstrm_next(struct pk_fstrm *stream, struct pk_slice *out_frame)
{
    enum pk_fstrm_result result;
    bool has_moved;
    if (stream->fault) {
        return PK_FSTRM_BROKEN;
    }
    if (stream->state == PK_FSTRM_DONE) {
        return PK_FSTRM_ENDED;
    }
    do {
        result = step(stream, out_frame, &has_moved);
    } while (result == PK_FSTRM_MORE && has_moved);
    return result;
}

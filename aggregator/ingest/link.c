/* Length-prefixed messages over a stream socket pair.
 *
 * A stream and not a datagram socket because a batch may be a mebibyte and datagram limits (wmem_max) are the machine's, not
 * ours. Both ends are non-blocking: neither process ever waits for the other, it stops reading instead. */
#include "link.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    HEADER_BYTES = 8,
    READ_CHUNK = 256 << 10
};

pk_err pk_link_init(struct pk_link *link, int fd, size_t max_queued_bytes)
{
    *link = (struct pk_link){.fd = fd};
    pk_bytes_init(&link->in, 2 * (size_t)PK_LINK_MAX_MESSAGE);
    pk_bytes_init(&link->out, max_queued_bytes);
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
        return PK_ERR_IO;
    }
    return PK_OK;
}

void pk_link_done(struct pk_link *link)
{
    if (link->fd >= 0) {
        close(link->fd);
    }
    link->fd = -1;
    pk_bytes_done(&link->in);
    pk_bytes_done(&link->out);
}

/* Drops the part of a queue that was dealt with, once it is worth the copy. */
static void compact(struct pk_bytes *queue, size_t *pos)
{
    if (*pos == queue->len) {
        pk_bytes_clear(queue);
        *pos = 0;
    } else if (*pos > queue->len / 2) {
        memmove(queue->data, queue->data + *pos, queue->len - *pos);
        queue->len -= *pos;
        *pos = 0;
    }
}

const char *pk_offence_str(enum pk_offence_kind kind)
{
    switch (kind) {
    case PK_OFFENCE_FRAMING:
        return "not a frame of this protocol";
    case PK_OFFENCE_LENGTHS:
        return "lengths beyond the limits";
    case PK_OFFENCE_CREDIT:
        return "more than the credit granted";
    case PK_OFFENCE_BATCH:
        return "a batch that does not decode";
    case PK_OFFENCE_FLOOD:
        return "a message that does not end";
    case PK_OFFENCE_CLONE:
        return "the key is in use on two machines";
    }
    return "unknown";
}

pk_err pk_link_flush(struct pk_link *link)
{
    while (link->out_pos < link->out.len) {
        ssize_t n = send(
            link->fd, link->out.data + link->out_pos, link->out.len - link->out_pos, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            break;
        }
        if (n < 0) {
            link->is_closed = true;
            return PK_ERR_IO;
        }
        link->out_pos += (size_t)n;
    }
    compact(&link->out, &link->out_pos);
    return PK_OK;
}

pk_err pk_link_send(struct pk_link *link, enum pk_link_type type, const void *head, size_t head_len,
    const void *body, size_t body_len)
{
    size_t payload = head_len + body_len;
    if (link->is_closed) {
        return PK_ERR_IO;
    }
    if (payload > PK_LINK_MAX_MESSAGE ||
        link->out.len + HEADER_BYTES + payload > link->out.max_bytes) {
        return PK_ERR_LIMIT;
    }
    size_t before = link->out.len;
    pk_bytes_put_be32(&link->out, (uint32_t)payload);
    pk_bytes_put_be32(&link->out, (uint32_t)type);
    pk_bytes_put(&link->out, head, head_len);
    pk_bytes_put(&link->out, body, body_len);
    if (link->out.err != PK_OK) { /* out of memory: the stream must not carry half a message */
        pk_err err = link->out.err;
        link->out.len = before;
        link->out.err = PK_OK;
        return err;
    }
    return pk_link_flush(link);
}

bool pk_link_wants_write(const struct pk_link *link)
{
    return link->out_pos < link->out.len;
}

pk_err pk_link_fill(struct pk_link *link)
{
    compact(&link->in, &link->in_pos);
    size_t before = link->in.len;
    uint8_t *room = pk_bytes_extend(&link->in, READ_CHUNK);
    if (!room) { /* full: the caller reads messages out first */
        link->in.err = PK_OK;
        return PK_OK;
    }
    ssize_t n;
    do {
        n = recv(link->fd, room, READ_CHUNK, 0);
    } while (n < 0 && errno == EINTR);
    link->in.len = before + (n > 0 ? (size_t)n : 0);
    if (n == 0 || (n < 0 && errno != EAGAIN)) {
        link->is_closed = true;
        return PK_ERR_IO;
    }
    return PK_OK;
}

bool pk_link_next(
    struct pk_link *link, enum pk_link_type *out_type, const uint8_t **out_data, size_t *out_len)
{
    size_t left = link->in.len - link->in_pos;
    if (left < HEADER_BYTES) {
        return false;
    }
    const uint8_t *p = link->in.data + link->in_pos;
    size_t payload = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
    if (payload > PK_LINK_MAX_MESSAGE) {
        link->is_closed = true;
        return false;
    }
    if (left - HEADER_BYTES < payload) {
        return false;
    }
    *out_type = (enum pk_link_type)p[7];
    *out_data = p + HEADER_BYTES;
    *out_len = payload;
    link->in_pos += HEADER_BYTES + payload;
    return true;
}

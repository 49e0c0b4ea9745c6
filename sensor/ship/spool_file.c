/* Plain: header, records. Encrypted: header, 24 bytes of the stream, frames of length and ciphertext; a frame that does not decrypt under its place in the segment is bad, so
 * records can be neither changed nor moved. */
#include "ship/spool_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "picket/hash.h"
#include "picket/limits.h"

enum {
    STREAM_HEADER = crypto_secretstream_xchacha20poly1305_HEADERBYTES,
    STREAM_MORE = crypto_secretstream_xchacha20poly1305_ABYTES,
    FRAME_HEAD = 4,
    RECORD_HEAD = 40,
    MAX_FRAME = PK_MAX_SEGMENT_RECORD + STREAM_MORE,
    FORM_AT = 18, /* of a record */
    FORM_MORE = 24,
};
_Static_assert((int)PK_SPOOL_KEY_BYTES == (int)crypto_secretstream_xchacha20poly1305_KEYBYTES,
    "a key of the stream");

static int system_create(int folder, const char *name)
{
    return openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
}

static int system_free_percent(int folder)
{
    struct statvfs info;
    if (fstatvfs(folder, &info) != 0 || info.f_blocks == 0) {
        return -1;
    }
    return (int)((uint64_t)info.f_bavail * 100 / info.f_blocks);
}

const struct pk_spool_ops pk_spool_system_ops = {.create = system_create,
    .write = write,
    .fdatasync = fdatasync,
    .ftruncate = ftruncate,
    .free_percent = system_free_percent};

static void key_id(const uint8_t *key, uint8_t out[PK_SEGMENT_KEY_ID_BYTES])
{
    uint8_t digest[PK_DIGEST_BYTES];
    pk_digest(key, PK_SPOOL_KEY_BYTES, digest);
    memcpy(out, digest, PK_SEGMENT_KEY_ID_BYTES);
}

static void place_bytes(uint64_t place, uint8_t out[8])
{
    for (unsigned i = 8; i-- > 0; place >>= 8) {
        out[i] = (uint8_t)place;
    }
}

/* --- writing --- */

bool pk_spool_writer_open(struct pk_spool_writer *writer, const struct pk_spool_ops *ops,
    int folder, const char *name, const struct pk_segment_header *header, const uint8_t *key)
{
    uint8_t raw[PK_SEGMENT_HEADER_BYTES + STREAM_HEADER];
    struct pk_segment_header own = *header;
    size_t len = PK_SEGMENT_HEADER_BYTES;
    *writer = (struct pk_spool_writer){.ops = ops, .fd = -1, .is_encrypted = key != NULL};
    own.version = PK_SEGMENT_VERSION;
    if (key) {
        own.flags |= PK_SEGMENT_ENCRYPTED;
        key_id(key, own.key_id);
        crypto_secretstream_xchacha20poly1305_init_push(&writer->stream, raw + len, key);
        len += STREAM_HEADER;
    }
    pk_segment_header_encode(&own, raw);
    writer->fd = ops->create(folder, name);
    if (writer->fd < 0) {
        return false;
    }
    if (ops->write(writer->fd, raw, len) != (ssize_t)len || fsync(folder) != 0) {
        pk_spool_writer_close(writer); /* the name must survive with the content */
        (void)unlinkat(folder, name, 0);
        return false;
    }
    writer->bytes = len;
    writer->is_dirty = true;
    return true;
}

static bool encrypt(
    struct pk_spool_writer *writer, const uint8_t *record, size_t len, struct pk_bytes *frame)
{
    uint8_t place[8];
    place_bytes(writer->n_records, place);
    pk_bytes_clear(frame);
    pk_bytes_put_be32(frame, (uint32_t)(len + STREAM_MORE));
    uint8_t *room = pk_bytes_extend(frame, len + STREAM_MORE);
    return room && crypto_secretstream_xchacha20poly1305_push(
                       &writer->stream, room, NULL, record, len, place, sizeof place, 0) == 0;
}

bool pk_spool_writer_append(
    struct pk_spool_writer *writer, const uint8_t *record, size_t len, struct pk_bytes *scratch)
{
    crypto_secretstream_xchacha20poly1305_state before = writer->stream;
    if (writer->fd < 0) {
        return false;
    }
    if (writer->is_encrypted) {
        if (!encrypt(writer, record, len, scratch)) {
            writer->stream = before;
            return false;
        }
        record = scratch->data;
        len = scratch->len;
    }
    if (writer->ops->write(writer->fd, record, len) != (ssize_t)len) {
        writer->stream = before;
        /* Half a record would hide what follows. The file position goes back too. */
        if (writer->ops->ftruncate(writer->fd, (off_t)writer->bytes) != 0 ||
            lseek(writer->fd, (off_t)writer->bytes, SEEK_SET) < 0) {
            pk_spool_writer_close(writer);
        }
        return false;
    }
    writer->bytes += len;
    writer->n_records++;
    writer->is_dirty = true;
    return true;
}

void pk_spool_writer_close(struct pk_spool_writer *writer)
{
    if (writer->fd >= 0) {
        close(writer->fd);
        writer->fd = -1;
    }
    sodium_memzero(&writer->stream, sizeof writer->stream);
}

/* --- reading --- */

void pk_spool_reader_init(struct pk_spool_reader *reader)
{
    *reader = (struct pk_spool_reader){.fd = -1};
    pk_bytes_init(&reader->raw, MAX_FRAME);
}

static enum pk_spool_open open_stream(
    struct pk_spool_reader *reader, const uint8_t *raw, size_t len, const uint8_t *key)
{
    uint8_t id[PK_SEGMENT_KEY_ID_BYTES];
    if (!key) {
        return PK_SPOOL_OPEN_KEY;
    }
    key_id(key, id);
    if (memcmp(id, reader->header.key_id, sizeof id) != 0) {
        return PK_SPOOL_OPEN_KEY;
    }
    if (len < PK_SEGMENT_HEADER_BYTES + STREAM_HEADER) {
        return PK_SPOOL_OPEN_TORN;
    }
    reader->at += STREAM_HEADER;
    return crypto_secretstream_xchacha20poly1305_init_pull(
               &reader->stream, raw + PK_SEGMENT_HEADER_BYTES, key) == 0
               ? PK_SPOOL_OPENED
               : PK_SPOOL_OPEN_BAD;
}

enum pk_spool_open pk_spool_reader_open(
    struct pk_spool_reader *reader, int folder, const char *name, const uint8_t *key)
{
    uint8_t raw[PK_SEGMENT_HEADER_BYTES + STREAM_HEADER];
    enum pk_spool_open result = PK_SPOOL_OPENED;
    pk_spool_reader_close(reader);
    reader->fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t len = reader->fd >= 0 ? pread(reader->fd, raw, sizeof raw, 0) : -1;
    if (len < 0) {
        result = PK_SPOOL_OPEN_IO;
    } else if (len < PK_SEGMENT_HEADER_BYTES) {
        result = PK_SPOOL_OPEN_TORN;
    } else {
        pk_err err = pk_segment_header_decode(raw, (size_t)len, &reader->header);
        result = err == PK_OK            ? PK_SPOOL_OPENED
                 : err == PK_ERR_VERSION ? PK_SPOOL_OPEN_VERSION
                                         : PK_SPOOL_OPEN_BAD;
    }
    reader->at = PK_SEGMENT_HEADER_BYTES;
    reader->n_record = 0;
    if (result == PK_SPOOL_OPENED && (reader->header.flags & PK_SEGMENT_ENCRYPTED)) {
        result = open_stream(reader, raw, (size_t)len, key);
    }
    if (result != PK_SPOOL_OPENED) {
        pk_spool_reader_close(reader);
    }
    return result;
}

/* len bytes from here into buffer, when the file has them. */
static bool read_bytes(const struct pk_spool_reader *reader, uint64_t len, struct pk_bytes *buffer)
{
    pk_bytes_clear(buffer);
    uint8_t *room = pk_bytes_extend(buffer, (size_t)len);
    return room && pread(reader->fd, room, (size_t)len, (off_t)reader->at) == (ssize_t)len;
}

static enum pk_spool_read next_plain(struct pk_spool_reader *reader, uint64_t limit,
    struct pk_bytes *buffer, struct pk_segment_record *out_record)
{
    uint8_t head[RECORD_HEAD];
    size_t pos = 0;
    if (limit - reader->at < RECORD_HEAD ||
        pread(reader->fd, head, sizeof head, (off_t)reader->at) != (ssize_t)sizeof head) {
        return PK_SPOOL_READ_TORN;
    }
    uint64_t body =
        (uint64_t)head[0] << 24 | (uint64_t)head[1] << 16 | (uint64_t)head[2] << 8 | head[3];
    if (body > PK_MAX_BODY_BYTES) {
        return PK_SPOOL_READ_BAD;
    }
    uint64_t more = head[FORM_AT] == 1 ? FORM_MORE : 0;
    uint64_t whole = (RECORD_HEAD + more + body + 7) / 8 * 8;
    if (whole > limit - reader->at) {
        return PK_SPOOL_READ_TORN;
    }
    if (!read_bytes(reader, whole, buffer) ||
        pk_segment_record_decode(buffer->data, buffer->len, &pos, out_record) != PK_OK ||
        pos != whole) {
        return PK_SPOOL_READ_BAD;
    }
    reader->at += whole;
    return PK_SPOOL_READ_RECORD;
}

static enum pk_spool_read next_frame(struct pk_spool_reader *reader, uint64_t limit,
    struct pk_bytes *buffer, struct pk_segment_record *out_record)
{
    uint8_t head[FRAME_HEAD], place[8];
    size_t pos = 0;
    if (limit - reader->at < FRAME_HEAD ||
        pread(reader->fd, head, sizeof head, (off_t)reader->at) != (ssize_t)sizeof head) {
        return PK_SPOOL_READ_TORN;
    }
    uint64_t len =
        (uint64_t)head[0] << 24 | (uint64_t)head[1] << 16 | (uint64_t)head[2] << 8 | head[3];
    if (len <= STREAM_MORE || len > MAX_FRAME) {
        return PK_SPOOL_READ_BAD;
    }
    if (len > limit - reader->at - FRAME_HEAD) {
        return PK_SPOOL_READ_TORN;
    }
    reader->at += FRAME_HEAD;
    bool is_read = read_bytes(reader, len, &reader->raw);
    reader->at -= FRAME_HEAD;
    pk_bytes_clear(buffer);
    uint8_t *room = is_read ? pk_bytes_extend(buffer, (size_t)len - STREAM_MORE) : NULL;
    place_bytes(reader->n_record, place);
    if (!room ||
        crypto_secretstream_xchacha20poly1305_pull(
            &reader->stream, room, NULL, NULL, reader->raw.data, len, place, sizeof place) != 0 ||
        pk_segment_record_decode(room, buffer->len, &pos, out_record) != PK_OK ||
        pos != buffer->len) {
        return PK_SPOOL_READ_BAD;
    }
    reader->at += FRAME_HEAD + len;
    return PK_SPOOL_READ_RECORD;
}

enum pk_spool_read pk_spool_reader_next(struct pk_spool_reader *reader, uint64_t limit,
    struct pk_bytes *buffer, struct pk_segment_record *out_record)
{
    if (reader->at >= limit) {
        return PK_SPOOL_READ_END;
    }
    enum pk_spool_read result = reader->header.flags & PK_SEGMENT_ENCRYPTED
                                    ? next_frame(reader, limit, buffer, out_record)
                                    : next_plain(reader, limit, buffer, out_record);
    reader->n_record += result == PK_SPOOL_READ_RECORD;
    return result;
}

void pk_spool_reader_close(struct pk_spool_reader *reader)
{
    if (reader->fd >= 0) {
        close(reader->fd);
        reader->fd = -1;
    }
    sodium_memzero(&reader->stream, sizeof reader->stream);
}

void pk_spool_reader_done(struct pk_spool_reader *reader)
{
    pk_spool_reader_close(reader);
    pk_bytes_done(&reader->raw);
}

/* One segment of a spool on disk: written record by record, read in order, in clear or as a libsodium secretstream (docs/PROTOCOL.md s5). The edge to the disk; its calls
 * go through a table, so that a test can be the disk that refuses. Not thread-safe. */
#ifndef SENSOR_SPOOL_FILE_H
#define SENSOR_SPOOL_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <sodium.h>

#include "picket/segment.h"

enum {
    PK_SPOOL_KEY_BYTES = 32,
    PK_SPOOL_NAME_SIZE = 64,
};

/* As in unistd.h. */
struct pk_spool_ops {
    int (*create)(int folder, const char *name); /* for writing, must not be there */
    ssize_t (*write)(int fd, const void *data, size_t len);
    int (*fdatasync)(int fd);
    int (*ftruncate)(int fd, off_t len);
    int (*free_percent)(int folder); /* of its file system; -1: not known */
};
extern const struct pk_spool_ops pk_spool_system_ops;

struct pk_spool_writer {
    const struct pk_spool_ops *ops;
    int fd; /* -1: closed */
    bool is_encrypted, is_dirty;
    uint64_t bytes;     /* good ones */
    uint64_t n_records; /* written so far */
    crypto_secretstream_xchacha20poly1305_state stream;
};

/* key NULL: in clear. header->flags, key_id and version are completed here. False: the disk refused; nothing is open, and an empty file may be left. */
bool pk_spool_writer_open(struct pk_spool_writer *writer, const struct pk_spool_ops *ops,
    int folder, const char *name, const struct pk_segment_header *header, const uint8_t *key);
/* Appends an encoded record whole or not at all. False: the disk refused; when the writer is closed afterwards too, the end of the file is not sure and nothing more may follow. */
bool pk_spool_writer_append(
    struct pk_spool_writer *writer, const uint8_t *record, size_t len, struct pk_bytes *scratch);
void pk_spool_writer_close(struct pk_spool_writer *writer);

struct pk_spool_reader {
    int fd; /* -1: closed */
    struct pk_segment_header header;
    uint64_t at;       /* where the next record begins */
    uint64_t n_record; /* its place in the segment */
    struct pk_bytes raw;
    crypto_secretstream_xchacha20poly1305_state stream;
};

enum pk_spool_read {
    PK_SPOOL_READ_RECORD,
    PK_SPOOL_READ_END,  /* exactly at the limit */
    PK_SPOOL_READ_TORN, /* the bytes end within a record */
    PK_SPOOL_READ_BAD,  /* a record that cannot be right */
};

enum pk_spool_open {
    PK_SPOOL_OPENED,
    PK_SPOOL_OPEN_TORN,    /* shorter than a header: a crash while it was made */
    PK_SPOOL_OPEN_BAD,     /* not a segment, or damaged */
    PK_SPOOL_OPEN_VERSION, /* of a newer version */
    PK_SPOOL_OPEN_KEY,     /* encrypted, and the key is another or none was given */
    PK_SPOOL_OPEN_IO,
};

void pk_spool_reader_init(struct pk_spool_reader *reader);
/* Opens the segment and stands at its first record. On any other result than OPENED the reader is closed. */
enum pk_spool_open pk_spool_reader_open(
    struct pk_spool_reader *reader, int folder, const char *name, const uint8_t *key);
/* The record here; limit is how many bytes of the file are good. out_record->body lies in buffer. On READ_RECORD the reader stands at the next. */
enum pk_spool_read pk_spool_reader_next(struct pk_spool_reader *reader, uint64_t limit,
    struct pk_bytes *buffer, struct pk_segment_record *out_record);
void pk_spool_reader_close(struct pk_spool_reader *reader);
void pk_spool_reader_done(struct pk_spool_reader *reader);

#endif

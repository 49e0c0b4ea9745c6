/* Writing .psp files. */
#include "ship/psp_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "picket/limits.h"
#include "picket/segment.h"

struct pk_psp_file {
    FILE *stream;
    char *path, *temporary;
    uint64_t seq;
    struct pk_bytes record;
};

static void file_free(struct pk_psp_file *file)
{
    if (file) {
        free(file->path);
        free(file->temporary);
        pk_bytes_done(&file->record);
        free(file);
    }
}

pk_err pk_psp_file_create(const char *path, int64_t created_us, uint64_t epoch, bool is_private,
    struct pk_psp_file **out_file, char out_error[PK_PSP_ERROR_SIZE])
{
    struct pk_psp_file *file = calloc(1, sizeof *file);
    if (!file || !(file->path = strdup(path)) || asprintf(&file->temporary, "%s.part", path) < 0) {
        file_free(file);
        snprintf(out_error, PK_PSP_ERROR_SIZE, "out of memory");
        return PK_ERR_NOMEM;
    }
    pk_bytes_init(&file->record, PK_MAX_SEGMENT_RECORD);
    int fd =
        open(file->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, is_private ? 0600 : 0666);
    file->stream = fd >= 0 ? fdopen(fd, "wb") : NULL;
    if (!file->stream) {
        snprintf(out_error, PK_PSP_ERROR_SIZE, "%s: cannot be written: %s", file->temporary,
            strerror(errno));
        file_free(file);
        return PK_ERR_IO;
    }
    uint8_t raw[PK_SEGMENT_HEADER_BYTES];
    struct pk_segment_header header = {.epoch = epoch, .first_seq = 1, .created_us = created_us};
    pk_segment_header_encode(&header, raw);
    (void)fwrite(raw, 1, sizeof raw, file->stream); /* a failure stays in the stream's error flag */
    *out_file = file;
    return PK_OK;
}

pk_err pk_psp_file_append(void *arg, const struct pk_sealed *sealed)
{
    struct pk_psp_file *file = arg;
    struct pk_segment_record record = {
        .seq = sealed->kind == PK_BATCH_ORIGIN
                   ? 0
                   : ++file->seq, /* says who wrote the file; is never shipped */
        .kind = (uint8_t)sealed->kind,
        .codec = sealed->codec,
        .rows = sealed->rows,
        .first_us = sealed->first_us,
        .last_us = sealed->last_us,
        .body = sealed->body,
        .body_len = (uint32_t)sealed->body_len,
    };
    pk_bytes_clear(&file->record);
    pk_segment_record_encode(&record, &file->record);
    if (file->record.err != PK_OK) {
        return file->record.err;
    }
    return fwrite(file->record.data, 1, file->record.len, file->stream) == file->record.len
               ? PK_OK
               : PK_ERR_IO;
}

pk_err pk_psp_file_close(struct pk_psp_file *file, bool commit, char out_error[PK_PSP_ERROR_SIZE])
{
    pk_err err = PK_OK;
    if (!file) {
        return PK_OK;
    }
    bool is_good = fflush(file->stream) == 0 && !ferror(file->stream) &&
                   (!commit || fsync(fileno(file->stream)) == 0);
    int saved = errno;
    is_good = fclose(file->stream) == 0 && is_good;
    if (commit && is_good) {
        is_good = rename(file->temporary, file->path) == 0;
        saved = errno;
    }
    if (commit && !is_good) {
        snprintf(
            out_error, PK_PSP_ERROR_SIZE, "%s: cannot be written: %s", file->path, strerror(saved));
        err = PK_ERR_IO;
    }
    if (!commit || !is_good) {
        (void)unlink(file->temporary);
    }
    file_free(file);
    return err;
}

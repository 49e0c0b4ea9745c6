/* The whole file in memory, an array of its records. */
#include "ship/psp_queue.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "picket/batch.h"
#include "picket/codec.h"
#include "picket/limits.h"

enum {
    MAX_FILE = 1 << 30
};

struct pk_psp_queue {
    struct pk_bytes data;
    struct pk_segment_header header;
    struct pk_segment_record *records; /* sequence 1 first */
    size_t n_records, cap_records;
    uint64_t done_seq; /* up to here all are acknowledged or refused */
    bool *is_done;     /* by record */
    uint64_t n_done, n_refused;
};

static pk_err read_file(
    const char *path, struct pk_bytes *out, char out_error[PK_PSP_QUEUE_ERROR_SIZE])
{
    pk_err err = pk_bytes_read_file(out, path);
    if (err != PK_OK) {
        snprintf(out_error, PK_PSP_QUEUE_ERROR_SIZE, "%s: %s", path,
            err == PK_ERR_IO ? strerror(errno) : pk_err_str(err));
    }
    return err;
}

static bool add_record(struct pk_psp_queue *queue, const struct pk_segment_record *record)
{
    if (queue->n_records == queue->cap_records) {
        size_t cap = queue->cap_records ? 2 * queue->cap_records : 256;
        struct pk_segment_record *grown = realloc(queue->records, cap * sizeof *grown);
        if (!grown) {
            return false;
        }
        queue->records = grown;
        queue->cap_records = cap;
    }
    queue->records[queue->n_records++] = *record;
    return true;
}

static pk_err check_batch(const struct pk_segment_record *record, struct pk_batch_fault *out_fault)
{
    struct pk_batch *batch = NULL;
    struct pk_bytes unpacked;
    const uint8_t *body;
    size_t len;
    pk_bytes_init(&unpacked, PK_MAX_BODY_BYTES);
    out_fault->what = "codec";
    pk_err err = pk_unpack(record->codec, record->body, record->body_len, &unpacked, &body, &len);
    err = err == PK_OK ? pk_batch_decode(body, len, &batch, out_fault) : err;
    pk_batch_free(batch);
    pk_bytes_done(&unpacked);
    return err;
}

/* Every record, its checksum and its batch; the sequence without gaps. */
static pk_err index_records(
    struct pk_psp_queue *queue, const char *path, char out_error[PK_PSP_QUEUE_ERROR_SIZE])
{
    const uint8_t *data = queue->data.data;
    size_t len = queue->data.len, pos = PK_SEGMENT_HEADER_BYTES;
    pk_err err = pk_segment_header_decode(data, len, &queue->header);
    if (err != PK_OK) {
        snprintf(out_error, PK_PSP_QUEUE_ERROR_SIZE, "%s: offset 0: not a .psp file (%s)", path,
            pk_err_str(err));
        return err;
    }
    while (pos < len) {
        struct pk_segment_record record;
        struct pk_batch_fault fault = {.what = "record"};
        size_t at = pos;
        err = pk_segment_record_decode(data, len, &pos, &record);
        if (err == PK_OK) {
            err = check_batch(&record, &fault);
        }
        if (err == PK_OK && record.kind != PK_BATCH_ORIGIN && record.seq != queue->n_records + 1) {
            err = PK_ERR_MALFORMED;
            fault.what = "sequence has a gap";
        }
        if (err == PK_OK && record.kind != PK_BATCH_ORIGIN && !add_record(queue, &record)) {
            err = PK_ERR_NOMEM;
        }
        if (err != PK_OK) {
            snprintf(out_error, PK_PSP_QUEUE_ERROR_SIZE,
                "%s: offset %zu: %s (%s); nothing of the file is used", path, at, fault.what,
                pk_err_str(err));
            return err;
        }
    }
    return PK_OK;
}

pk_err pk_psp_queue_open(
    const char *path, struct pk_psp_queue **out_queue, char out_error[PK_PSP_QUEUE_ERROR_SIZE])
{
    struct pk_psp_queue *queue = calloc(1, sizeof *queue);
    if (!queue) {
        snprintf(out_error, PK_PSP_QUEUE_ERROR_SIZE, "out of memory");
        return PK_ERR_NOMEM;
    }
    pk_bytes_init(&queue->data, MAX_FILE);
    pk_err err = read_file(path, &queue->data, out_error);
    if (err == PK_OK) {
        err = index_records(queue, path, out_error);
    }
    if (err == PK_OK && !(queue->is_done = calloc(queue->n_records + 1, sizeof(bool)))) {
        snprintf(out_error, PK_PSP_QUEUE_ERROR_SIZE, "%s: out of memory", path);
        err = PK_ERR_NOMEM;
    }
    if (err != PK_OK) {
        pk_psp_queue_close(queue);
        return err;
    }
    *out_queue = queue;
    return PK_OK;
}

void pk_psp_queue_close(struct pk_psp_queue *queue)
{
    if (queue) {
        pk_bytes_done(&queue->data);
        free(queue->records);
        free(queue->is_done);
        free(queue);
    }
}

static void queue_info(void *self, struct pk_queue_info *out_info)
{
    const struct pk_psp_queue *queue = self;
    *out_info = (struct pk_queue_info){.epoch = queue->header.epoch,
        .oldest_seq = queue->done_seq + 1,
        .newest_seq = queue->n_records,
        .n_batches = queue->n_records - queue->n_done,
        .bytes = queue->data.len};
}

static bool queue_next(void *self, struct pk_queue_at after, struct pk_bytes *buffer,
    struct pk_queue_at *out_at, struct pk_segment_record *out_record)
{
    const struct pk_psp_queue *queue = self;
    (void)buffer; /* the file is in memory already */
    uint64_t seq = after.epoch == queue->header.epoch && after.seq > queue->done_seq
                       ? after.seq + 1
                       : queue->done_seq + 1;
    while (seq <= queue->n_records && queue->is_done[seq - 1]) {
        seq++;
    }
    if (seq > queue->n_records) {
        return false;
    }
    *out_at = (struct pk_queue_at){.epoch = queue->header.epoch, .seq = seq};
    *out_record = queue->records[seq - 1];
    return true;
}

static void set_done(struct pk_psp_queue *queue, uint64_t seq)
{
    queue->n_done += !queue->is_done[seq - 1];
    queue->is_done[seq - 1] = true;
    while (queue->done_seq < queue->n_records && queue->is_done[queue->done_seq]) {
        queue->done_seq++;
    }
}

static void queue_ack(void *self, uint64_t epoch, uint64_t from, uint64_t to)
{
    struct pk_psp_queue *queue = self;
    from = from > queue->done_seq ? from : queue->done_seq + 1;
    for (uint64_t seq = from; epoch == queue->header.epoch && seq <= to && seq <= queue->n_records;
         seq++) {
        set_done(queue, seq);
    }
}

static void queue_refused(void *self, struct pk_queue_at at, enum pk_queue_refusal why)
{
    struct pk_psp_queue *queue = self;
    (void)why; /* the file stays as it is, whoever keeps a copy */
    if (at.seq >= 1 && at.seq <= queue->n_records && !queue->is_done[at.seq - 1]) {
        queue->n_refused++;
        set_done(queue, at.seq);
    }
}

uint64_t pk_psp_queue_refused(const struct pk_psp_queue *queue)
{
    return queue->n_refused;
}

struct pk_queue pk_psp_queue(struct pk_psp_queue *queue)
{
    return (struct pk_queue){.self = queue,
        .info = queue_info,
        .next = queue_next,
        .ack = queue_ack,
        .refused = queue_refused,
        .wake_fd = -1};
}

/* A .psp file as a queue to ship from: verified whole before anything is sent. */
#ifndef SENSOR_PSP_QUEUE_H
#define SENSOR_PSP_QUEUE_H

#include "ship/queue.h"

struct pk_psp_queue;

enum {
    PK_PSP_QUEUE_ERROR_SIZE = 512
};

/* PK_ERR_IO, or the file is refused whole: out_error says where and why. */
pk_err pk_psp_queue_open(
    const char *path, struct pk_psp_queue **out_queue, char out_error[PK_PSP_QUEUE_ERROR_SIZE]);
void pk_psp_queue_close(struct pk_psp_queue *queue);
/* Batches the aggregator did not accept. */
uint64_t pk_psp_queue_refused(const struct pk_psp_queue *queue);
struct pk_queue pk_psp_queue(struct pk_psp_queue *queue);

#endif

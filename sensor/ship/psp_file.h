/* A .psp file: one segment with the batches of a capture, for replay and for shipping later. */
#ifndef SENSOR_PSP_FILE_H
#define SENSOR_PSP_FILE_H

#include "picket/err.h"

#include "window/batch.h"

enum {
    PK_PSP_ERROR_SIZE = 512
};

struct pk_psp_file;

/* Written beside the path and renamed when closed, so that a file that exists is whole. */
/* is_private: mode 0600 whatever the umask. */
pk_err pk_psp_file_create(const char *path, int64_t created_us, uint64_t epoch, bool is_private,
    struct pk_psp_file **out_file, char out_error[PK_PSP_ERROR_SIZE]);
/* pk_sealed_cb with the file as argument. */
pk_err pk_psp_file_append(void *file, const struct pk_sealed *sealed);
/* Takes the file, also on failure; commit false throws it away. */
pk_err pk_psp_file_close(struct pk_psp_file *file, bool commit, char out_error[PK_PSP_ERROR_SIZE]);

#endif

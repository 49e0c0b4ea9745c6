/* What a new scope lets through of what the local ring kept (ring.h). */
#ifndef SENSOR_REREAD_H
#define SENSOR_REREAD_H

#include <stddef.h>
#include <stdint.h>

#include "picket/err.h"

#include "settings.h"

enum {
    PK_REREAD_ERROR_SIZE = 640,
    PK_REREAD_PATH_SIZE = 4096,
};

/* Writes `pending-<digest of the scope>.psp` into the ring's folder: the rows since since_us that the scope of the settings has in scope, and no scope under which they were written or read again before; clients by
 * the rules of today's scope (pseudonyms of the period each row is of). Beside it stands the list of the files read. A pending file that is there already, because it could not be shipped, is
 * left as it is, so that shipping it again is the same shipment. out_rows: 0 when there is nothing to ship; then there is no file. */
pk_err pk_reread_make(const struct pk_settings *settings, const uint8_t *client_key,
    int64_t since_us, char out_path[PK_REREAD_PATH_SIZE], uint64_t *out_rows,
    char out_error[PK_REREAD_ERROR_SIZE]);
/* It has been shipped: notes that those files have been read under this scope, and removes it. */
pk_err pk_reread_done(const struct pk_settings *settings, char out_error[PK_REREAD_ERROR_SIZE]);

#endif

/* The local ring: every transaction in full, clients in clear, in .psp files that never leave the site (docs/PRIVACY.md).
 *
 * A folder of files `ring-<wall µs, 16 hex>-<writer>-<scope digest>.psp`, mode 0600, the oldest removed when all are above max_bytes, and for each digest the scope that was in force as
 * `scope-<digest>.yaml`: with it can be said which rows have left the site, so that a new scope can have the others shipped (reread.h). A file is written beside its name and renamed when
 * it is 8 MiB large or ten minutes old; what was begun when the sensor dies is lost. Every writer belongs to one thread. */
#ifndef SENSOR_RING_H
#define SENSOR_RING_H

#include "picket/err.h"

#include "window/batch.h"

enum {
    PK_RING_FILE_BYTES = 8 << 20,
    PK_RING_FILE_S = 600,
    PK_RING_DIGEST_SIZE = 17, /* 16 hex digits */
    PK_RING_ERROR_SIZE = 640,
};

struct pk_ring;

/* origin is copied; the scope's text is kept in the folder, which is made when it is not there. PK_ERR_IO, PK_ERR_NOMEM. */
pk_err pk_ring_open(const char *folder, uint64_t max_bytes, unsigned writer,
    const struct pk_origin *origin, const struct pk_bytes *scope, struct pk_ring **out_ring,
    char out_error[PK_RING_ERROR_SIZE]);
/* Ends the file in hand. */
void pk_ring_close(struct pk_ring *ring);
/* What comes from now on was seen under this scope. */
pk_err pk_ring_set_scope(struct pk_ring *ring, const struct pk_bytes *scope);
/* pk_sealed_cb with the ring as argument. Never fails: the ring must not hold up what is shipped; see pk_ring_lost. */
pk_err pk_ring_append(void *ring, const struct pk_sealed *sealed);
/* Rows that could not be written. */
uint64_t pk_ring_lost(const struct pk_ring *ring);

/* Copies a scope into the folder and gives its digest. */
pk_err pk_ring_keep_scope(
    const char *folder, const struct pk_bytes *scope, char out_digest[PK_RING_DIGEST_SIZE]);

#endif

/* The scope an aggregator sent (CONFIG): as it came, and as it is kept across restarts.
 *
 * The file is `scope` in the spool's folder: the body of CONFIG (docs/PROTOCOL.md s3) and its CRC-32C, big-endian; or, where the spool has a key, `PKSCOPE1`, a nonce and the body in a libsodium
 * secretbox under a key derived from it. A damaged one counts as none, as does a sealed one without its key: the scope of the configuration stands, and the aggregator sends it again. */
#ifndef SENSOR_PUSHED_H
#define SENSOR_PUSHED_H

#include "picket/bytes.h"
#include "picket/envelope.h"

struct pk_pushed {
    uint32_t version; /* of the CONFIG, 0: there is none */
    uint32_t serial;  /* as `picketctl apply` numbered it */
    struct pk_bytes body;
    struct pk_slice text; /* borrowed from body */
};

/* Copies a body of CONFIG. PK_ERR_MALFORMED, PK_ERR_LIMIT: it has no scope that may be. out is empty then. */
pk_err pk_pushed_init(struct pk_pushed *out_pushed, const uint8_t *body, size_t len);
void pk_pushed_done(struct pk_pushed *pushed);
enum pk_pushed_found {
    PK_PUSHED_NONE,           /* or none that is whole: out is empty, as for the next */
    PK_PUSHED_OF_ANOTHER_KEY, /* sealed; with no key, or not with this one, or damaged */
    PK_PUSHED_IN_CLEAR,
    PK_PUSHED_SEALED,
};
/* spool_key: PK_SPOOL_KEY_BYTES, or NULL. One in clear is read all the same. */
enum pk_pushed_found pk_pushed_load(
    const char *folder, const uint8_t *spool_key, struct pk_pushed *out_pushed);
/* Durable when PK_OK; else the old file is as it was. Sealed when there is a key. PK_ERR_IO, PK_ERR_NOMEM. */
pk_err pk_pushed_save(const char *folder, const uint8_t *spool_key, const struct pk_pushed *pushed);

#endif

/* Batch bodies as they are stored and sent: plain, or packed as one zstd frame (docs/PROTOCOL.md s4.4).
 *
 * Packed bytes come from outside, so unpacking is bounded before it begins: a frame says how long its content is, and more than PK_MAX_BODY_BYTES, or more
 * than PK_MAX_COMPRESSION_RATIO times the packed length, is refused. */
#ifndef PICKET_CODEC_H
#define PICKET_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "picket/bytes.h"
#include "picket/err.h"

enum pk_codec {
    PK_CODEC_PLAIN = 0,
    PK_CODEC_ZSTD = 1
};

struct pk_packer;
enum {
    PK_PACKER_BOUND_BYTES =
        2 << 20 /* a context of zstd at its quickest, for bodies within their limit */
};

pk_err pk_packer_new(struct pk_packer **out_packer);
void pk_packer_free(struct pk_packer *packer);
/* Packs into *out, which is emptied first, and returns the codec to store with it; PK_CODEC_PLAIN, with *out left empty, when packing saves nothing. */
enum pk_codec pk_pack(
    struct pk_packer *packer, const uint8_t *body, size_t len, struct pk_bytes *out);

/* Length of the body once unpacked. PK_ERR_UNSUPPORTED: unknown codec; PK_ERR_LIMIT: beyond the bounds above; PK_ERR_MALFORMED: no zstd frame. */
pk_err pk_unpacked_len(uint8_t codec, const uint8_t *body, size_t len, size_t *out_len);
/* The body as it was before packing: *out_body is borrowed from body when that is plain, else from *buffer, which is emptied first. Codes as above,
 * PK_ERR_NOMEM; PK_ERR_MALFORMED also when the content is not exactly as long as it says. */
pk_err pk_unpack(uint8_t codec, const uint8_t *body, size_t len, struct pk_bytes *buffer,
    const uint8_t **out_body, size_t *out_len);

#endif

/* msgpack-c's packer into a pk_bytes. Private to proto/wire. */
#ifndef WIRE_MSGPACK_BYTES_H
#define WIRE_MSGPACK_BYTES_H

#include "picket/bytes.h"

/* For msgpack_packer_init, with the struct pk_bytes as data. A failure is sticky in the buffer, so callers look there once at the end. */
static inline int pk_msgpack_write(void *data, const char *buf, size_t len)
{
    struct pk_bytes *out = data;
    pk_bytes_put(out, buf, len);
    return out->err == PK_OK ? 0 : -1;
}

#endif

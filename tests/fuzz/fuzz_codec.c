/* Any bytes as a packed body: what is unpacked has the length that was said before, within the limits, and the frame's own bytes bound it. */
#include <stdlib.h>

#include "picket/codec.h"
#include "picket/limits.h"

#include "heap_cap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct pk_bytes buffer;
    size_t said, len;
    const uint8_t *body;
    heap_cap_begin();
    pk_bytes_init(&buffer, PK_MAX_BODY_BYTES);
    for (unsigned codec = 0; codec < 3; codec++) {
        pk_err said_err = pk_unpacked_len((uint8_t)codec, data, size, &said);
        pk_err err = pk_unpack((uint8_t)codec, data, size, &buffer, &body, &len);
        if (err == PK_OK && (said_err != PK_OK || len != said)) {
            abort();
        }
        if (err == PK_OK && codec == PK_CODEC_ZSTD &&
            (len > PK_MAX_BODY_BYTES || len > size * PK_MAX_COMPRESSION_RATIO)) {
            abort();
        }
    }
    pk_bytes_done(&buffer);
    return 0;
}

/* Any bytes as a frame header; what is taken is written the same when nothing was appended to it. */
#include <stdlib.h>

#include "picket/envelope.h"
#include "picket/limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pk_frame frame, again;
    struct pk_hello_body hello;
    struct pk_welcome_body welcome;
    struct pk_config_body config;
    struct pk_bytes out;
    uint8_t pubkey[PK_KEY_BYTES];
    (void)pk_hello_body_decode(data, size, &hello);
    (void)pk_welcome_body_decode(data, size, &welcome);
    (void)pk_rotate_body_decode(data, size, pubkey);
    (void)pk_config_body_decode(data, size, &config);
    if (pk_frame_decode(data, size, &frame) != PK_OK) {
        return 0;
    }
    pk_bytes_init(&out, PK_MAX_HEADER_BYTES);
    if (pk_frame_encode(&frame, &out) != PK_OK ||
        pk_frame_decode(out.data, out.len, &again) != PK_OK || out.len > size) {
        abort();
    }
    pk_bytes_done(&out);
    return 0;
}

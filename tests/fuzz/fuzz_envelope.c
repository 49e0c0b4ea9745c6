/* Any bytes as a frame header, and as the bodies beside it; what is taken is written the same when nothing was appended to it, or left out. */
#include <stdlib.h>
#include <string.h>

#include "picket/envelope.h"
#include "picket/limits.h"

#include "heap_cap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void scope(const uint8_t *data, size_t size)
{
    struct pk_config_scope scope, same;
    struct pk_bytes out;
    char reason[PK_CONFIG_REASON_SIZE], told[PK_CONFIG_REASON_SIZE];
    pk_bytes_init(&out, PK_MAX_BODY_BYTES);
    if (pk_config_scope_decode(data, size, &scope) == PK_OK &&
        (pk_config_scope_encode(&scope, &out) != PK_OK ||
            pk_config_scope_decode(out.data, out.len, &same) != PK_OK ||
            same.text.len != scope.text.len || same.serial != scope.serial)) {
        abort();
    }
    pk_bytes_clear(&out);
    if (pk_config_ack_body_decode(data, size, reason) == PK_OK &&
        (pk_config_ack_body_encode(reason, &out) != PK_OK ||
            pk_config_ack_body_decode(out.data, out.len, told) != PK_OK ||
            strcmp(reason, told) != 0)) {
        abort();
    }
    pk_bytes_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pk_frame frame, again;
    struct pk_hello_body hello;
    struct pk_welcome_body welcome;
    struct pk_config_body config;
    struct pk_bytes out;
    uint8_t pubkey[PK_KEY_BYTES];
    heap_cap_begin();
    (void)pk_hello_body_decode(data, size, &hello);
    (void)pk_welcome_body_decode(data, size, &welcome);
    (void)pk_rotate_body_decode(data, size, pubkey);
    (void)pk_config_body_decode(data, size, &config);
    scope(data, size);
    if (pk_frame_decode(data, size, &frame) != PK_OK) {
        return 0;
    }
    /* An older sensor's HEARTBEAT lacks the last three fields, which are written as zeros. */
    size_t grown = frame.type == PK_FRAME_HEARTBEAT ? 3 : 0;
    pk_bytes_init(&out, PK_MAX_HEADER_BYTES);
    if (pk_frame_encode(&frame, &out) != PK_OK ||
        pk_frame_decode(out.data, out.len, &again) != PK_OK || out.len > size + grown) {
        abort();
    }
    pk_bytes_done(&out);
    return 0;
}

/* Any bytes as a token, an ENROL and an ENROLLED; what is taken is written and read the same. */
#include <stdlib.h>
#include <string.h>

#include "picket/enrol.h"

#include "heap_cap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void token(const uint8_t *data, size_t size)
{
    char text[PK_TOKEN_TEXT_SIZE], again[PK_TOKEN_TEXT_SIZE];
    struct pk_token token, other;
    if (size >= sizeof text) {
        return;
    }
    memcpy(text, data, size);
    text[size] = '\0';
    if (pk_token_decode(text, &token) == PK_OK &&
        (pk_token_encode(&token, again) != PK_OK || pk_token_decode(again, &other) != PK_OK ||
            memcmp(token.secret, other.secret, sizeof token.secret) != 0)) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pk_enrol_request request, same;
    struct pk_enrol_answer answer, told;
    struct pk_bytes out;
    heap_cap_begin();
    token(data, size);
    pk_bytes_init(&out, PK_MAX_BODY_BYTES + 4096);
    if (pk_enrol_request_decode(data, size, &request) == PK_OK &&
        (pk_enrol_request_encode(&request, &out) != PK_OK ||
            pk_enrol_request_decode(out.data, out.len, &same) != PK_OK)) {
        abort();
    }
    pk_bytes_clear(&out);
    if (pk_enrol_answer_decode(data, size, &answer) == PK_OK &&
        (pk_enrol_answer_encode(&answer, &out) != PK_OK ||
            pk_enrol_answer_decode(out.data, out.len, &told) != PK_OK)) {
        abort();
    }
    pk_bytes_done(&out);
    return 0;
}

/* Any bytes as a batch body; what is taken must survive being written and read again, row by row. */
#include <stdlib.h>
#include <string.h>

#include "picket/batch.h"
#include "picket/hash.h"
#include "picket/limits.h"

#include "heap_cap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static pk_err copy_row(struct pk_batch_builder *builder, const struct pk_batch *batch, size_t i)
{
    struct pk_activity activity;
    struct pk_rrset rrset;
    struct pk_negative negative;
    struct pk_client_count count;
    struct pk_health health;
    struct pk_loss loss;
    struct pk_origin origin;
    switch (pk_batch_info(batch)->kind) {
    case PK_BATCH_ACTIVITY:
        pk_batch_activity(batch, i, &activity);
        return pk_batch_add_activity(builder, &activity);
    case PK_BATCH_RRSET:
        pk_batch_rrset(batch, i, &rrset);
        return pk_batch_add_rrset(builder, &rrset);
    case PK_BATCH_NEGATIVE:
        pk_batch_negative(batch, i, &negative);
        return pk_batch_add_negative(builder, &negative);
    case PK_BATCH_CLIENT:
        pk_batch_client_count(batch, i, &count);
        return pk_batch_add_client_count(builder, &count);
    case PK_BATCH_HEALTH:
        pk_batch_health(batch, &health);
        return pk_batch_set_health(builder, &health);
    case PK_BATCH_LOSS:
        pk_batch_loss(batch, i, &loss);
        return pk_batch_add_loss(builder, &loss);
    case PK_BATCH_ORIGIN:
        pk_batch_origin(batch, &origin);
        return pk_batch_set_origin(builder, &origin);
    }
    return PK_ERR_MALFORMED;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct pk_batch_builder *builder;
    struct pk_batch *batch, *again;
    struct pk_batch_fault fault;
    if (!builder &&
        (pk_hash_start() != PK_OK || pk_batch_builder_new(PK_MAX_BATCH_ROWS, &builder) != PK_OK)) {
        return 0;
    }
    heap_cap_begin();
    if (pk_batch_decode(data, size, &batch, &fault) != PK_OK) {
        if (!fault.what) {
            abort();
        }
        return 0;
    }
    size_t n = 0;
    pk_batch_builder_begin(builder, pk_batch_info(batch));
    while (n < pk_batch_rows(batch) && n < 200 && copy_row(builder, batch, n) == PK_OK) {
        n++;
    }
    struct pk_bytes body;
    int64_t first_us, last_us;
    pk_bytes_init(&body, PK_MAX_BODY_BYTES);
    if (n > 0 && pk_batch_encode(builder, &body, &first_us, &last_us) == PK_OK) {
        if (pk_batch_decode(body.data, body.len, &again, &fault) != PK_OK) {
            abort();
        }
        pk_batch_free(again);
    }
    pk_bytes_done(&body);
    pk_batch_free(batch);
    return 0;
}

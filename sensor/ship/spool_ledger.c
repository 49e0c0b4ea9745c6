/* A small array; linear. */
#include "ship/spool_ledger.h"

#include "picket/codec.h"
#include "picket/limits.h"

static bool merges(const struct pk_loss *have, const struct pk_loss *loss)
{
    return have->cause == loss->cause && have->kind == loss->kind && have->epoch == loss->epoch &&
           (loss->cause != PK_LOSS_REFUSED || have->to_seq + 1 == loss->from_seq);
}

static void merge(struct pk_loss *have, const struct pk_loss *loss)
{
    have->batches += loss->batches;
    have->rows += loss->rows;
    have->transactions += loss->transactions;
    if (loss->first_us != 0 && (have->first_us == 0 || loss->first_us < have->first_us)) {
        have->first_us = loss->first_us;
    }
    have->last_us = loss->last_us > have->last_us ? loss->last_us : have->last_us;
    if (loss->from_seq != 0 && (have->from_seq == 0 || loss->from_seq < have->from_seq)) {
        have->from_seq = loss->from_seq;
    }
    have->to_seq = loss->to_seq > have->to_seq ? loss->to_seq : have->to_seq;
}

void pk_ledger_carry(struct pk_ledger *ledger, const struct pk_loss *loss)
{
    for (size_t i = 0; i < ledger->n; i++) {
        if (merges(&ledger->entries[i], loss)) {
            merge(&ledger->entries[i], loss);
            return;
        }
    }
    if (ledger->n < PK_LEDGER_ENTRIES) {
        ledger->entries[ledger->n++] = *loss;
        return;
    }
    for (size_t i = 0; i < ledger->n; i++) {
        struct pk_loss *have = &ledger->entries[i];
        if (have->kind == loss->kind || i + 1 == ledger->n) {
            merge(have, loss);
            have->epoch = have->from_seq = have->to_seq = 0;
            return;
        }
    }
}

void pk_ledger_add(struct pk_ledger *ledger, const struct pk_loss *loss)
{
    ledger->batches[loss->cause] += loss->batches;
    ledger->rows[loss->cause] += loss->rows;
    pk_ledger_carry(ledger, loss);
}

pk_err pk_ledger_seal(const struct pk_ledger *ledger, int64_t now_us, struct pk_bytes *body,
    struct pk_sealed *out_sealed)
{
    struct pk_batch_builder *builder;
    struct pk_batch_info info = {.kind = PK_BATCH_LOSS, .window_start_us = now_us};
    struct pk_sealed sealed = {.kind = PK_BATCH_LOSS, .codec = PK_CODEC_PLAIN};
    pk_err err = pk_batch_builder_new(PK_LEDGER_ENTRIES, &builder);
    if (err != PK_OK) {
        return err;
    }
    pk_batch_builder_begin(builder, &info);
    for (size_t i = 0; i < ledger->n && err == PK_OK; i++) {
        err = pk_batch_add_loss(builder, &ledger->entries[i]);
    }
    pk_bytes_clear(body);
    if (err == PK_OK) {
        err = pk_batch_encode(builder, body, &sealed.first_us, &sealed.last_us);
    }
    pk_batch_builder_free(builder);
    if (err == PK_OK) {
        sealed.rows = (uint32_t)ledger->n;
        sealed.body = body->data;
        sealed.body_len = body->len;
        *out_sealed = sealed;
    }
    return err;
}

void pk_ledger_clear(struct pk_ledger *ledger)
{
    ledger->n = 0;
}

void pk_ledger_read(const uint8_t *body, size_t len, uint8_t codec,
    void (*entry)(void *arg, const struct pk_loss *loss), void *arg)
{
    struct pk_batch *batch = NULL;
    struct pk_batch_fault fault;
    struct pk_bytes unpacked;
    pk_bytes_init(&unpacked, PK_MAX_BODY_BYTES);
    if (pk_unpack(codec, body, len, &unpacked, &body, &len) == PK_OK &&
        pk_batch_decode(body, len, &batch, &fault) == PK_OK &&
        pk_batch_info(batch)->kind == PK_BATCH_LOSS) {
        for (size_t i = 0; i < pk_batch_rows(batch); i++) {
            struct pk_loss loss;
            pk_batch_loss(batch, i, &loss);
            entry(arg, &loss);
        }
    }
    pk_batch_free(batch);
    pk_bytes_done(&unpacked);
}

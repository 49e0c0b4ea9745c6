/* What the spool could not keep: entries by cause, kind and epoch that wait to be delivered as a batch of kind PK_BATCH_LOSS. */
#ifndef SENSOR_SPOOL_LEDGER_H
#define SENSOR_SPOOL_LEDGER_H

#include <stdbool.h>

#include "picket/observation.h"

#include "window/batch.h"

enum {
    PK_LEDGER_ENTRIES =
        128 /* beyond them entries of a cause lose their kind and numbers, not their sums */
};

struct pk_ledger {
    struct pk_loss entries[PK_LEDGER_ENTRIES];
    size_t n;
    uint64_t batches[PK_N_LOSS_CAUSES], rows[PK_N_LOSS_CAUSES]; /* ever, for metrics */
};

/* Merges with an entry that waits and has the same cause, kind and epoch; a refusal only with its neighbour in sequence, so that its numbers name what was refused and nothing else. */
void pk_ledger_add(struct pk_ledger *ledger, const struct pk_loss *loss);
/* The same for one that was counted before: in a loss batch that is itself to be dropped. */
void pk_ledger_carry(struct pk_ledger *ledger, const struct pk_loss *loss);
/* The waiting entries as a sealed batch; body is written to and borrowed by out_sealed. The entries stay until pk_ledger_clear. PK_ERR_NOMEM. */
pk_err pk_ledger_seal(const struct pk_ledger *ledger, int64_t now_us, struct pk_bytes *body,
    struct pk_sealed *out_sealed);
void pk_ledger_clear(struct pk_ledger *ledger);
/* The entries of a loss batch; nothing when it cannot be read. */
void pk_ledger_read(const uint8_t *body, size_t len, uint8_t codec,
    void (*entry)(void *arg, const struct pk_loss *loss), void *arg);

#endif

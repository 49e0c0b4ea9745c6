/* What a rule remembers about one owner: a source, a zone or the tenant. Private to aggregator/detect.
 *
 * Ledgers of an owner hang on it in a short list; ledgers of a rule stand in a queue by age. When a rule's pool is full the queue's oldest goes, unless it was touched since it
 * last came up (it goes to the end, once around) or has an open finding. */
#ifndef DETECT_LEDGER_H
#define DETECT_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "rule.h"

struct dossier;

enum owner_kind {
    OWNER_ACTOR,
    OWNER_ZONE,
    OWNER_TENANT,
    N_OWNER_KINDS
};

struct ledger {
    struct ledger *next;          /* of the same owner */
    struct ledger *newer, *older; /* of the same rule */
    struct dossier *dossier;      /* owned; NULL until there is something to write down */
    uint32_t owner;               /* index in the table of its kind */
    uint8_t owner_kind, rule;
    bool is_touched;
};

struct ledger_queue {
    struct ledger *newest, *oldest;
    uint32_t n;
    uint64_t evicted;
};

/* The rule's part of an owner's state: NULL when there is none, or (get) when memory is short. The pointer is good until another ledger of the same rule is made. */
void *actor_ledger_find(const struct actor *actor, enum rule_id rule);
void *actor_ledger(struct pk_engine *engine, struct actor *actor, enum rule_id rule);
void *zone_ledger_find(const struct zone *zone, enum rule_id rule);
void *zone_ledger(struct pk_engine *engine, struct zone *zone, enum rule_id rule);
void *tenant_ledger(struct pk_engine *engine, enum rule_id rule);

/* The dossier of a ledger; NULL when there is none yet, or (get) when memory is short. */
struct dossier *ledger_dossier_find(const void *ledger);
struct dossier *ledger_dossier(void *ledger);

/* Frees one ledger, or all of an owner. */
void ledger_drop(struct pk_engine *engine, enum rule_id rule, void *ledger);
void ledgers_drop_all(struct pk_engine *engine, struct ledger **first);
bool ledgers_are_open(const struct ledger *first); /* one has an open finding */

/* `from`'s ledgers become `into`'s (actor_succeed). */
void ledgers_unite(struct pk_engine *engine, struct actor *into, struct actor *from);

/* Walks a rule's ledgers from the oldest; next is good also when the one in hand is dropped. */
void *ledger_oldest(const struct pk_engine *engine, enum rule_id rule);
void *ledger_newer(const void *ledger);
uint32_t ledger_owner(const void *ledger);

/* State: needs actors and zones in place already. positions (by actor index) are where the saved actors stand. */
void ledgers_save(const struct pk_engine *engine, const uint32_t *positions, struct pk_bytes *out);
void ledgers_load(struct pk_engine *engine, struct pk_reader *in);

#endif

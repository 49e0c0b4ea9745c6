/* Pools of rule state. The payload follows the head in one allocation. */
#include "ledger.h"

#include <stdlib.h>

#include "dossier.h"
#include "internal.h"

enum {
    LOOK_AT = 64
};

static void *payload(struct ledger *ledger)
{
    return ledger + 1;
}

static struct ledger *head(const void *payload_of)
{
    return (struct ledger *)(uintptr_t)payload_of - 1;
}

static struct ledger **list_of(struct pk_engine *engine, uint8_t owner_kind, uint32_t owner)
{
    return owner_kind == OWNER_ACTOR  ? &engine->actors.v[owner].ledgers
           : owner_kind == OWNER_ZONE ? &engine->zones.v[owner].ledgers
                                      : &engine->tenant_ledgers;
}

static struct ledger *find(struct ledger *first, enum rule_id rule)
{
    while (first && first->rule != rule) {
        first = first->next;
    }
    return first;
}

/* --- the queue --- */

static void enqueue(struct ledger_queue *queue, struct ledger *ledger)
{
    ledger->newer = NULL;
    ledger->older = queue->newest;
    if (queue->newest) {
        queue->newest->newer = ledger;
    } else {
        queue->oldest = ledger;
    }
    queue->newest = ledger;
    queue->n++;
}

static void dequeue(struct ledger_queue *queue, struct ledger *ledger)
{
    if (ledger->newer) {
        ledger->newer->older = ledger->older;
    } else {
        queue->newest = ledger->older;
    }
    if (ledger->older) {
        ledger->older->newer = ledger->newer;
    } else {
        queue->oldest = ledger->newer;
    }
    queue->n--;
}

static void drop(struct pk_engine *engine, struct ledger *ledger)
{
    struct ledger **link = list_of(engine, ledger->owner_kind, ledger->owner);
    while (*link != ledger) {
        link = &(*link)->next;
    }
    *link = ledger->next;
    dequeue(&engine->queues[ledger->rule], ledger);
    if (rules[ledger->rule]->ledger_done) {
        rules[ledger->rule]->ledger_done(payload(ledger));
    }
    dossier_free(ledger->dossier);
    free(ledger);
}

static void evict(struct pk_engine *engine, struct ledger_queue *queue)
{
    for (unsigned looked = 0; looked < LOOK_AT; looked++) {
        struct ledger *oldest = queue->oldest;
        if (!oldest->is_touched && !dossier_is_open(oldest->dossier)) {
            break;
        }
        oldest->is_touched = false;
        dequeue(queue, oldest);
        enqueue(queue, oldest);
    }
    queue->evicted++;
    drop(engine, queue->oldest);
}

static struct ledger *make(
    struct pk_engine *engine, enum rule_id rule, uint8_t owner_kind, uint32_t owner)
{
    struct ledger_queue *queue = &engine->queues[rule];
    if (queue->n >= rules[rule]->max_ledgers) {
        evict(engine, queue);
    }
    struct ledger *ledger = calloc(1, sizeof *ledger + rules[rule]->ledger_bytes);
    if (!ledger) {
        return NULL;
    }
    struct ledger **first = list_of(engine, owner_kind, owner);
    if (owner_kind == OWNER_ACTOR) {
        engine->actors.v[owner].is_touched = true; /* somebody to remember: once more around */
    }
    ledger->owner = owner;
    ledger->owner_kind = owner_kind;
    ledger->rule = (uint8_t)rule;
    ledger->next = *first;
    *first = ledger;
    enqueue(queue, ledger);
    return ledger;
}

static void *get(struct pk_engine *engine, enum rule_id rule, uint8_t owner_kind, uint32_t owner)
{
    struct ledger *ledger = find(*list_of(engine, owner_kind, owner), rule);
    if (ledger) {
        ledger->is_touched = true;
    } else {
        ledger = make(engine, rule, owner_kind, owner);
    }
    return ledger ? payload(ledger) : NULL;
}

/* --- the contract --- */

void *actor_ledger_find(const struct actor *actor, enum rule_id rule)
{
    struct ledger *ledger = find(actor->ledgers, rule);
    return ledger ? payload(ledger) : NULL;
}

void *actor_ledger(struct pk_engine *engine, struct actor *actor, enum rule_id rule)
{
    return get(engine, rule, OWNER_ACTOR, actor_index(engine, actor));
}

void *zone_ledger_find(const struct zone *zone, enum rule_id rule)
{
    struct ledger *ledger = find(zone->ledgers, rule);
    return ledger ? payload(ledger) : NULL;
}

void *zone_ledger(struct pk_engine *engine, struct zone *zone, enum rule_id rule)
{
    return get(engine, rule, OWNER_ZONE, (uint32_t)(zone - engine->zones.v));
}

void *tenant_ledger(struct pk_engine *engine, enum rule_id rule)
{
    return get(engine, rule, OWNER_TENANT, 0);
}

struct dossier *ledger_dossier_find(const void *ledger)
{
    return head(ledger)->dossier;
}

struct dossier *ledger_dossier(void *ledger)
{
    struct ledger *of = head(ledger);
    if (!of->dossier) {
        of->dossier = dossier_new();
    }
    return of->dossier;
}

void ledger_drop(struct pk_engine *engine, enum rule_id rule, void *ledger)
{
    (void)rule;
    drop(engine, head(ledger));
}

void ledgers_drop_all(struct pk_engine *engine, struct ledger **first)
{
    while (*first) {
        drop(engine, *first);
    }
}

void ledgers_unite(struct pk_engine *engine, struct actor *into, struct actor *from)
{
    while (from->ledgers) {
        struct ledger *theirs = from->ledgers, *ours = find(into->ledgers, theirs->rule);
        bool ours_stays =
            ours && (dossier_is_open(ours->dossier) || !dossier_is_open(theirs->dossier));
        if (ours && rules[ours->rule]->unite) {
            rules[ours->rule]->unite(
                payload(ours_stays ? ours : theirs), payload(ours_stays ? theirs : ours));
        }
        if (ours_stays) {
            drop(engine, theirs);
            continue;
        }
        if (ours) {
            drop(engine, ours);
        }
        from->ledgers = theirs->next;
        theirs->next = into->ledgers;
        theirs->owner = actor_index(engine, into);
        into->ledgers = theirs;
    }
}

bool ledgers_are_open(const struct ledger *first)
{
    while (first && !dossier_is_open(first->dossier)) {
        first = first->next;
    }
    return first != NULL;
}

void *ledger_oldest(const struct pk_engine *engine, enum rule_id rule)
{
    struct ledger *oldest = engine->queues[rule].oldest;
    return oldest ? payload(oldest) : NULL;
}

void *ledger_newer(const void *ledger)
{
    struct ledger *newer = head(ledger)->newer;
    return newer ? payload(newer) : NULL;
}

uint32_t ledger_owner(const void *ledger)
{
    return head(ledger)->owner;
}

/* --- state --- */

void ledgers_save(const struct pk_engine *engine, const uint32_t *positions, struct pk_bytes *out)
{
    for (unsigned rule = 0; rule < N_RULES; rule++) {
        pk_bytes_put_varint(out, engine->queues[rule].n);
        pk_bytes_put_varint(out, engine->queues[rule].evicted);
        for (struct ledger *at = engine->queues[rule].oldest; at; at = at->newer) {
            pk_bytes_put_u8(out, at->owner_kind);
            pk_bytes_put_varint(
                out, at->owner_kind == OWNER_ACTOR ? positions[at->owner] : at->owner);
            pk_bytes_put_u8(out, at->is_touched);
            dossier_save(at->dossier, out);
            rules[rule]->save(payload(at), out);
        }
    }
}

static void load_one(struct pk_engine *engine, enum rule_id rule, struct pk_reader *in)
{
    uint8_t kind = state_get_index(in, N_OWNER_KINDS);
    uint32_t owner = state_get_u32(in);
    uint8_t is_touched = state_get_count(in, 1);
    size_t n = kind == OWNER_ACTOR  ? engine->actors.map.n
               : kind == OWNER_ZONE ? engine->zones.n
                                    : 1;
    if (in->err == PK_OK && (owner >= n || find(*list_of(engine, kind, owner), rule) ||
                                engine->queues[rule].n >= rules[rule]->max_ledgers)) {
        pk_reader_fail(in, PK_ERR_MALFORMED);
    }
    if (in->err != PK_OK) {
        return;
    }
    struct ledger *ledger = make(engine, rule, kind, owner);
    if (!ledger) {
        pk_reader_fail(in, PK_ERR_NOMEM);
        return;
    }
    ledger->is_touched = is_touched;
    ledger->dossier = dossier_load(in, engine->sensors.n);
    rules[rule]->load(payload(ledger), in);
}

void ledgers_load(struct pk_engine *engine, struct pk_reader *in)
{
    for (unsigned rule = 0; rule < N_RULES; rule++) {
        uint64_t n = pk_reader_varint(in);
        engine->queues[rule].evicted = pk_reader_varint(in);
        for (uint64_t i = 0; i < n && in->err == PK_OK; i++) {
            load_one(engine, (enum rule_id)rule, in);
        }
    }
}

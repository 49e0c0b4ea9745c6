/* D1: somebody asks for a whole zone (T1590.002).
 *
 * Event, not statistic: AXFR or IXFR of one of the tenant's zones from a peer that is not listed; or of any zone by an inside client. An attempt is severity 2, two servers or two
 * zones within ten minutes 3 (every tool tries all name servers), success 5; each doubling of zones in a day adds one. */
#include <stdio.h>
#include <stdlib.h>

#include "picket/dnsmsg.h"
#include "picket/hash.h"

#include "internal.h"

enum {
    MAX_TARGETS = 16,
    TOGETHER_US = 600 * 1000000,
    DAY_S = 86400,
    SUCCESS_RECORDS = 50
};

struct target {
    uint64_t zone_hash; /* the same on every machine */
    struct pk_addr server;
    int64_t last_us;
};

struct transfer {
    struct target targets[MAX_TARGETS]; /* (zone, server) pairs; the longest untouched goes */
    uint8_t n_targets;
    uint8_t targets_in_window; /* most servers or zones within ten minutes so far */
    uint32_t attempts, successes, records;
};

/* What each fact weighs against the benign background: unlisted peers are new secondaries about once in twenty tenant-days; see docs/DETECTIONS.md. */
static const double nats_attempt = 3.0, nats_more_targets = 2.3, nats_success = 9.0,
                    threshold = 3.0;

static bool is_relevant(const struct pk_engine *engine, const struct observation *seen)
{
    uint16_t qtype = seen->row->signature.qtype;
    const struct pk_scope_tenant *tenant = engine->tenant;
    if (qtype != PK_TYPE_AXFR && qtype != PK_TYPE_IXFR) {
        return false;
    }
    if (seen->reason != PK_SCOPE_ZONE && seen->reason != PK_SCOPE_REVERSE &&
        seen->actor->key.kind == ACTOR_ADDRESS) {
        return false; /* somebody else's zone, asked from outside: not ours to judge */
    }
    const struct pk_addr *addr = &seen->actor->key.addr;
    return !pk_scope_is_in(tenant->transfer_peers, tenant->n_transfer_peers, addr) &&
           !seen->is_own_scanner;
}

static bool is_success(const struct pk_activity *row)
{
    return row->signature.answer == PK_ANSWER_TRANSFER &&
           (row->transfer_soas >= 2 || row->transfer_records > SUCCESS_RECORDS);
}

/* Remembers (zone, server) and returns how many distinct servers or zones were tried within ten minutes. */
static unsigned note_target(struct transfer *transfer, const struct observation *seen)
{
    uint64_t zone = pk_hash_fixed(seen->name.wire, seen->name.len);
    const struct pk_addr *server = &seen->row->signature.server;
    int64_t now_us = seen->row->first_us;
    unsigned slot = transfer->n_targets, oldest = 0;
    for (unsigned i = 0; i < transfer->n_targets; i++) {
        struct target *target = &transfer->targets[i];
        if (target->zone_hash == zone && pk_addr_equal(&target->server, server)) {
            slot = i;
        }
        oldest = target->last_us < transfer->targets[oldest].last_us ? i : oldest;
    }
    if (slot == MAX_TARGETS) {
        slot = oldest;
    } else if (slot == transfer->n_targets) {
        transfer->n_targets++;
    }
    transfer->targets[slot] =
        (struct target){.zone_hash = zone, .server = *server, .last_us = now_us};
    unsigned together = 0;
    for (unsigned i = 0; i < transfer->n_targets; i++) {
        together += llabs(now_us - transfer->targets[i].last_us) <= TOGETHER_US;
    }
    return together;
}

static unsigned count_zones(const struct transfer *transfer, int64_t now_us)
{
    unsigned n = 0;
    for (unsigned i = 0; i < transfer->n_targets; i++) {
        bool is_new = now_us - transfer->targets[i].last_us <= (int64_t)DAY_S * 1000000;
        for (unsigned k = 0; k < i && is_new; k++) {
            is_new = transfer->targets[k].zone_hash != transfer->targets[i].zone_hash;
        }
        n += is_new;
    }
    return n;
}

static uint8_t severity_of(const struct transfer *transfer, int64_t now_us)
{
    if (transfer->successes > 0) {
        return 5;
    }
    unsigned severity = transfer->targets_in_window >= 2 ? 3 : 2;
    for (unsigned zones = count_zones(transfer, now_us); zones >= 2; zones /= 2) {
        severity++;
    }
    return severity > 5 ? 5 : (uint8_t)severity;
}

static void report(struct pk_engine *engine, const struct observation *seen,
    const struct transfer *transfer, struct dossier *dossier, uint8_t severity)
{
    struct subject subject;
    subject_of_actor(seen->actor, &subject);
    struct pk_finding *finding =
        dossier_begin(engine, RULE_TRANSFER, dossier, &subject, transfer->attempts, severity);
    snprintf(finding->title, sizeof finding->title,
        transfer->successes ? "Zone transfer succeeded: %u records went to %s"
                            : "Zone transfer attempted %u times by %s",
        transfer->successes ? transfer->records : transfer->attempts, finding->actor_key);
    finding->technique[finding->n_techniques++] = "T1590.002";
    contribute(finding, "transfer asked by an unlisted peer", nats_attempt);
    if (transfer->targets_in_window >= 2) {
        contribute(finding, "several servers or zones within ten minutes", nats_more_targets);
    }
    if (transfer->successes > 0) {
        contribute(finding, "the zone was handed over", nats_success);
    }
    finding->trials = transfer->attempts;
    finding->hits = transfer->successes;
    report_finding(engine, threshold);
}

static pk_err observe(struct pk_engine *engine, const struct observation *seen)
{
    if (!is_relevant(engine, seen)) {
        return PK_OK;
    }
    struct transfer *transfer = actor_ledger(engine, seen->actor, RULE_TRANSFER);
    struct dossier *dossier = transfer ? ledger_dossier(transfer) : NULL;
    if (!dossier) {
        return PK_ERR_NOMEM;
    }
    pk_err err = dossier_note(dossier, seen, NOTE_NOTHING, true);
    if (err == PK_OK) {
        err = names_add(dossier->zones, &dossier->n_zones, PK_FINDING_MAX_ZONES, &seen->name);
    }
    if (err != PK_OK) {
        return err;
    }
    if (dossier->observations == 1) { /* a new case: what was before belongs to a closed one */
        *transfer = (struct transfer){.n_targets = 0};
    }
    unsigned together = note_target(transfer, seen);
    transfer->targets_in_window =
        together > transfer->targets_in_window ? (uint8_t)together : transfer->targets_in_window;
    transfer->attempts += seen->row->count;
    if (is_success(seen->row)) {
        transfer->successes += seen->row->count;
        transfer->records += seen->row->transfer_records;
    }
    uint8_t severity = severity_of(transfer, seen->row->first_us);
    if (dossier_is_due(dossier, transfer->attempts, severity)) {
        report(engine, seen, transfer, dossier, severity);
    }
    return PK_OK;
}

static void save(const void *ledger, struct pk_bytes *out)
{
    const struct transfer *transfer = ledger;
    pk_bytes_put_u8(out, transfer->n_targets);
    for (uint8_t i = 0; i < transfer->n_targets; i++) {
        pk_bytes_put_be64(out, transfer->targets[i].zone_hash);
        state_put_addr(out, &transfer->targets[i].server);
        state_put_time(out, transfer->targets[i].last_us);
    }
    pk_bytes_put_u8(out, transfer->targets_in_window);
    pk_bytes_put_varint(out, transfer->attempts);
    pk_bytes_put_varint(out, transfer->successes);
    pk_bytes_put_varint(out, transfer->records);
}

static void load(void *ledger, struct pk_reader *in)
{
    struct transfer *transfer = ledger;
    transfer->n_targets = state_get_count(in, MAX_TARGETS);
    for (uint8_t i = 0; i < transfer->n_targets; i++) {
        transfer->targets[i].zone_hash = pk_reader_be64(in);
        state_get_addr(in, &transfer->targets[i].server);
        transfer->targets[i].last_us = state_get_time(in);
    }
    transfer->targets_in_window = pk_reader_u8(in);
    transfer->attempts = state_get_u32(in);
    transfer->successes = state_get_u32(in);
    transfer->records = state_get_u32(in);
}

const struct rule rule_transfer = {
    .id = "D1",
    .family = "transfer",
    .version = "1",
    .budget_share = 0.05,
    .ledger_bytes = sizeof(struct transfer),
    .max_ledgers = 20000,
    .observe = observe,
    .save = save,
    .load = load,
};

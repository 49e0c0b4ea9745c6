/* D1: somebody asks for a whole zone (T1590.002).
 *
 * Event, not statistic: AXFR or IXFR of one of the tenant's zones from a peer that is not listed; or of any zone by an inside client. An attempt is severity 2, two servers or two
 * zones within ten minutes 3 (every tool tries all name servers), success 5; each doubling of zones in a day adds one.
 *
 * Sources of one /24 or /48 are one finding, under the first one's name. A peer is learned for one zone when it behaves like a secondary: three transfers that succeeded, each after a question for
 * the zone's SOA within the hour (RFC 1034 s4.3.5), the first and the last a week apart. The first ones are reported all the same; afterwards its transfers of that zone are
 * silent as long as it comes once a month. Whether a transfer was signed (TSIG) or the peer stands in NS cannot be seen in an observation. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "picket/dnsmsg.h"
#include "picket/hash.h"

#include "internal.h"

enum {
    MAX_TARGETS = 16,
    TOGETHER_US = 600 * 1000000,
    DAY_S = 86400,
    SUCCESS_RECORDS = 50,
    MAX_PEERS =
        8, /* (address, zone) pairs of a network that are watched; the longest silent goes */
    LEARN_TRANSFERS = 3,
    LEARN_DAYS = 7,
    FORGET_DAYS = 31,
    POLL_S = 3600 /* SOA before a transfer */
};

struct target {
    uint64_t zone_hash; /* the same on every machine */
    struct pk_addr server;
    int64_t last_us;
};

/* Somebody who may turn out to be a secondary. */
struct peer {
    uint64_t zone_hash;
    struct pk_addr addr;
    int64_t soa_us, first_us, last_us; /* last question for the SOA; transfers after one */
    uint8_t n;                         /* of these, saturating */
};

struct transfer {
    struct pk_addr first; /* whose name the finding has; family 0: not an outside address */
    struct peer peers[MAX_PEERS];
    uint8_t n_peers;
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

/* --- peers --- */

static struct peer *peer_of(struct transfer *transfer, const struct observation *seen, bool makes)
{
    struct actor_key key = actor_first_key(seen->actor);
    uint64_t zone = pk_hash_fixed(seen->name.wire, seen->name.len);
    unsigned oldest = 0;
    for (unsigned i = 0; i < transfer->n_peers; i++) {
        struct peer *peer = &transfer->peers[i];
        if (peer->zone_hash == zone && pk_addr_equal(&peer->addr, &key.addr)) {
            return peer;
        }
        oldest = peer->soa_us < transfer->peers[oldest].soa_us ? i : oldest;
    }
    if (!makes) {
        return NULL;
    }
    struct peer *peer =
        &transfer->peers[transfer->n_peers < MAX_PEERS ? transfer->n_peers++ : oldest];
    *peer = (struct peer){.zone_hash = zone, .addr = key.addr};
    return peer;
}

static bool is_learned(const struct peer *peer, int64_t now_us)
{
    const int64_t day_us = INT64_C(86400000000);
    return peer && peer->n >= LEARN_TRANSFERS &&
           peer->last_us - peer->first_us >= LEARN_DAYS * day_us &&
           now_us - peer->last_us <= FORGET_DAYS * day_us;
}

static void note_poll(struct transfer *transfer, const struct observation *seen)
{
    struct peer *peer = peer_of(transfer, seen, true);
    peer->soa_us = seen->row->first_us > peer->soa_us ? seen->row->first_us : peer->soa_us;
}

/* Counts a transfer that succeeded, if the SOA was asked for before. */
static void learn(struct peer *peer, int64_t now_us)
{
    if (!peer || now_us - peer->soa_us > (int64_t)POLL_S * 1000000) {
        return;
    }
    if (now_us - peer->last_us > INT64_C(86400000000) * FORGET_DAYS) {
        peer->n = 0;
    }
    peer->first_us = peer->n == 0 ? now_us : peer->first_us;
    peer->last_us = now_us;
    peer->n = (uint8_t)(peer->n + (peer->n < UINT8_MAX));
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
    if (transfer->first.family != 0) {
        struct actor_key key;
        memset(&key, 0, sizeof key);
        key.addr = transfer->first; /* ACTOR_ADDRESS */
        subject.addr = transfer->first;
        subject.actor = actor_find(engine, &key);
        actor_text(&key, subject.key);
    }
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

/* Whose ledger it is: the network's, as far as it is there or makes. */
static struct actor *owner_of(struct pk_engine *engine, const struct observation *seen, bool makes)
{
    if (seen->actor->key.kind != ACTOR_ADDRESS) {
        return seen->actor;
    }
    struct actor_key key = actor_network_key(seen->actor);
    struct actor *network =
        makes ? actor_get(engine, &key, seen->row->first_us) : actor_find(engine, &key);
    if (network && seen->row->first_us > network->last_us) {
        network->last_us = seen->row->first_us;
    }
    return network;
}

/* A new case: what was before belongs to a closed one, but for the peers. */
static void begin_case(struct transfer *transfer, const struct observation *seen)
{
    bool is_outside = seen->actor->key.kind == ACTOR_ADDRESS;
    transfer->first = is_outside ? seen->actor->key.addr : (struct pk_addr){.family = 0};
    transfer->n_targets = transfer->targets_in_window = 0;
    transfer->attempts = transfer->successes = transfer->records = 0;
}

static pk_err observe(struct pk_engine *engine, const struct observation *seen)
{
    if (seen->row->signature.qtype == PK_TYPE_SOA) {
        struct actor *polling = owner_of(engine, seen, false);
        struct transfer *known = polling ? actor_ledger_find(polling, RULE_TRANSFER) : NULL;
        if (known) {
            note_poll(known, seen);
        }
        return PK_OK;
    }
    if (!is_relevant(engine, seen)) {
        return PK_OK;
    }
    struct actor *owner = owner_of(engine, seen, true);
    struct transfer *transfer = actor_ledger(engine, owner, RULE_TRANSFER);
    if (!transfer) {
        return PK_ERR_NOMEM;
    }
    struct peer *peer = peer_of(transfer, seen, false);
    bool is_peer = is_learned(peer, seen->row->first_us);
    if (is_success(seen->row)) {
        learn(peer, seen->row->first_us);
    }
    if (is_peer) {
        return PK_OK;
    }
    struct dossier *dossier = ledger_dossier(transfer);
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
    if (dossier->observations == 1) {
        begin_case(transfer, seen);
    } else if (transfer->first.family != 0 &&
               !pk_addr_equal(&transfer->first, &seen->actor->key.addr)) {
        dossier_add_address(dossier, &seen->actor->key.addr);
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
    state_put_addr(out, &transfer->first);
    pk_bytes_put_u8(out, transfer->n_peers);
    for (uint8_t i = 0; i < transfer->n_peers; i++) {
        pk_bytes_put_be64(out, transfer->peers[i].zone_hash);
        state_put_addr(out, &transfer->peers[i].addr);
        state_put_time(out, transfer->peers[i].soa_us);
        state_put_time(out, transfer->peers[i].first_us);
        state_put_time(out, transfer->peers[i].last_us);
        pk_bytes_put_u8(out, transfer->peers[i].n);
    }
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
    state_get_addr(in, &transfer->first);
    transfer->n_peers = state_get_count(in, MAX_PEERS);
    for (uint8_t i = 0; i < transfer->n_peers; i++) {
        transfer->peers[i].zone_hash = pk_reader_be64(in);
        state_get_addr(in, &transfer->peers[i].addr);
        transfer->peers[i].soa_us = state_get_time(in);
        transfer->peers[i].first_us = state_get_time(in);
        transfer->peers[i].last_us = state_get_time(in);
        transfer->peers[i].n = pk_reader_u8(in);
    }
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
    .version = "2",
    .budget_share = 0.05,
    .ledger_bytes = sizeof(struct transfer),
    .max_ledgers = 20000,
    .observe = observe,
    .save = save,
    .load = load,
};

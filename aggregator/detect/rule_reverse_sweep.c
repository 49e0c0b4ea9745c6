/* D6: walking a reverse range (T1590.005, T1590.002).
 *
 * Distinct addresses of one /24 (IPv6: one /120) that one source asked the PTR of within an hour, over all sites: sixteen in one block, or three in each of eight blocks
 * within a day. The score is the Poisson log-likelihood ratio of D against what the source usually asks in an hour (at least one; a log analyser or a mail gateway has its own), plus
 * ln(.8/.02) for each further step in the same direction to a neighbouring address (a few hosts side by side, asked as they come, make single steps), capped: order makes it surer, it does
 * not lower the minimum. An address of the block asked again, but the one just before, takes ln(.3/.03) away: a sweep asks once, a mail gateway or a log analyser comes back.
 *
 * IPv6 ranges are too wide to count through: tools go down the nibble tree and prune where the answer is NXDOMAIN (RFC 7707 s5.1.4, RFC 8020). They ask PTR of names that stand for no
 * address, which nothing else does: minimising resolvers ask A or NS of them (RFC 9156). Twelve distinct ones, of which most are siblings, are a descent.
 *
 * A network (/24 or /48) is a source too, when three of its addresses take part: a sweep spread over a range is found as one. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "picket/dnsmsg.h"
#include "picket/hash.h"

#include "internal.h"

enum {
    MAX_BLOCKS = 16, /* /24 or /120 of one source; the longest untouched goes */
    MIN_IN_BLOCK = 16,
    MIN_SPREAD = 3,
    MIN_BLOCKS = 8,
    MIN_PARTIAL = 12,
    MIN_ADDRESSES = 3,
    FULL_V6_LABELS = 34, /* 32 nibbles, ip6, arpa */
    HOUR_S = 3600,
    DAY_S = 86400,
    MAX_STEPS = 8
};

static const double budget_share = 0.05, nats_step = 3.689 /* ln(.8/.02) */,
                    nats_again =
                        2.3 /* ln(.3/.03): a sweep asks once, a log or a gateway comes back */,
                    nats_partial = 1.5 /* a name of no address, PTR */,
                    nats_sibling = 0.7 /* another child of the same node: ln(.9/.45) */,
                    reverse_share = 0.1 /* of reverse lookups beside a source's other questions */;

struct block {
    struct pk_addr addr; /* last byte zero */
    int64_t first_us, last_us;
    uint64_t seen[4];           /* bitmap of last bytes */
    uint16_t n, ordered, again; /* again: addresses asked before, but the one just before */
    uint8_t last;
    int8_t step; /* the latest, when it was to a neighbour: 1, -1 */
};

struct sweep {
    struct block blocks[MAX_BLOCKS];
    uint8_t n_blocks;
    float usual; /* distinct addresses since usual_us */
    int64_t usual_us;
    uint32_t partial,
        siblings;    /* names of no address; of these children of the same node as the one before */
    uint64_t parent; /* of the latest, a fixed hash */
    int64_t partial_us;
    uint8_t n_sources; /* of a network: addresses that took part */
    uint16_t sources[MIN_ADDRESSES];
};

enum kind {
    NOT_OURS,
    ADDRESS,
    PARTIAL
};

static enum kind kind_of(const struct observation *seen, struct pk_addr *out_addr)
{
    const struct pk_signature *signature = &seen->row->signature;
    if (seen->reason != PK_SCOPE_REVERSE || signature->qtype != PK_TYPE_PTR ||
        signature->opcode != PK_OPCODE_QUERY || seen->is_own_scanner || seen->is_upstream) {
        return NOT_OURS;
    }
    if (pk_name_reverse_addr(&seen->name, out_addr)) {
        return ADDRESS;
    }
    uint8_t len;
    const uint8_t *tree = seen->name.n_labels >= 2
                              ? pk_name_label(&seen->name, seen->name.n_labels - 2u, &len)
                              : NULL;
    const uint8_t *first = pk_name_label(&seen->name, 0, &len);
    bool is_nibble =
        len == 1 && ((first[0] >= '0' && first[0] <= '9') || (first[0] >= 'a' && first[0] <= 'f'));
    return tree && tree[0] == 'i' && tree[1] == 'p' && is_nibble &&
                   seen->name.n_labels < FULL_V6_LABELS
               ? PARTIAL
               : NOT_OURS;
}

static struct block *block_of(struct sweep *sweep, const struct pk_addr *addr, int64_t now_us)
{
    struct pk_addr base = *addr;
    base.bytes[addr->family == 4 ? 3 : 15] = 0;
    struct block *oldest = &sweep->blocks[0];
    for (unsigned i = 0; i < sweep->n_blocks; i++) {
        struct block *block = &sweep->blocks[i];
        if (pk_addr_equal(&block->addr, &base)) {
            if (now_us - block->last_us > (int64_t)DAY_S * 1000000) {
                *block = (struct block){.addr = base, .first_us = now_us};
            }
            return block;
        }
        oldest = block->last_us < oldest->last_us ? block : oldest;
    }
    struct block *block = sweep->n_blocks < MAX_BLOCKS ? &sweep->blocks[sweep->n_blocks++] : oldest;
    *block = (struct block){.addr = base, .first_us = now_us};
    return block;
}

static bool touch(struct block *block, uint8_t last, int64_t now_us)
{
    bool is_stale = block->n > 0 && now_us - block->first_us > (int64_t)HOUR_S * 1000000 &&
                    block->n < MIN_IN_BLOCK;
    if (is_stale && block->n >= MIN_SPREAD) {
        is_stale = now_us - block->last_us >
                   (int64_t)HOUR_S * 1000000; /* still of use to the spread rule */
    }
    if (is_stale) {
        *block = (struct block){.addr = block->addr, .first_us = now_us};
    }
    bool is_new = !(block->seen[last / 64] >> last % 64 & 1);
    if (is_new) {
        int step = block->n > 0 ? last - block->last : 0;
        step = step == 1 || step == -1 ? step : 0;
        block->ordered = (uint16_t)(block->ordered + (step != 0 && step == block->step));
        block->step = (int8_t)step;
        block->seen[last / 64] |= UINT64_C(1) << last % 64;
        block->n++;
        block->last = last;
    } else if (last != block->last) {
        block->again = (uint16_t)(block->again + (block->again < UINT16_MAX));
    }
    block->last_us = now_us > block->last_us ? now_us : block->last_us;
    return is_new;
}

struct verdict {
    uint32_t addresses, ordered, blocks_spread;
    double nats_addresses, nats_order, nats_partial;
    bool is_alarm;
};

static double threshold(const struct pk_engine *engine)
{
    return rule_threshold(engine, budget_share, 170000);
}

/* Distinct addresses an hour that this source asks anyway, twice over; in its first day one, of an inside client four, or a tenth of what else it asks: a resolver of many, or an
 * office behind one address, has some reverse lookups among the rest (3.8 % at a root server, tests/eval/mix_measured.c). */
static double usual_an_hour(const struct sweep *sweep, const struct actor *actor, int64_t now_us)
{
    bool is_inside = actor_is_inside(actor);
    double hours = (double)(now_us - sweep->usual_us) / (HOUR_S * 1e6);
    double age = (double)(now_us - actor->first_us) / (HOUR_S * 1e6);
    double rest = (double)(actor->own[0] + actor->own[1] + actor->own[2] + actor->own[3]) +
                  (double)actor->repeats;
    double beside = reverse_share * rest / (age > 1 ? age : 1);
    double least = is_inside ? 4 : 1;
    least = beside > least ? beside : least;
    double rate = hours >= 24 ? 2 * (double)sweep->usual / hours : least;
    return rate > least ? rate : least;
}

static void learn(struct sweep *sweep, int64_t now_us)
{
    if (sweep->usual_us == 0) {
        sweep->usual_us = now_us;
    }
    sweep->usual++;
    if (now_us - sweep->usual_us >
        (int64_t)14 * DAY_S * 1000000) { /* half of the past is forgotten */
        sweep->usual /= 2;
        sweep->usual_us += (now_us - sweep->usual_us) / 2;
    }
}

static struct verdict judge(const struct pk_engine *engine, const struct sweep *sweep,
    const struct actor *actor, int64_t now_us)
{
    struct verdict verdict = {0};
    bool has_full = false;
    bool is_network = actor->key.kind == ACTOR_NETWORK;
    double an_hour = usual_an_hour(sweep, actor, now_us);
    for (unsigned i = 0; i < sweep->n_blocks; i++) {
        const struct block *block = &sweep->blocks[i];
        if (now_us - block->last_us > (int64_t)DAY_S * 1000000) {
            continue;
        }
        double n = block->n, hours = (double)(block->last_us - block->first_us) / (HOUR_S * 1e6);
        double usual = an_hour * (hours > 1 ? hours : 1);
        verdict.addresses += block->n;
        verdict.ordered += block->ordered;
        double nats = n > usual ? n * log(n / usual) - (n - usual) : 0;
        nats -= nats_again * block->again;
        verdict.nats_addresses += nats > 0 ? nats : 0;
        verdict.blocks_spread += block->n >= MIN_SPREAD;
        has_full = has_full || block->n >= MIN_IN_BLOCK;
    }
    verdict.nats_order = nats_step * (verdict.ordered < MAX_STEPS ? verdict.ordered : MAX_STEPS);
    verdict.nats_partial = sweep->partial * nats_partial + sweep->siblings * nats_sibling;
    double h = threshold(engine);
    bool is_walk = (has_full || verdict.blocks_spread >= MIN_BLOCKS) &&
                   verdict.nats_addresses > 0 && verdict.nats_addresses + verdict.nats_order > h;
    bool is_descent = sweep->partial >= MIN_PARTIAL && 2 * sweep->siblings >= sweep->partial &&
                      verdict.nats_partial > h;
    verdict.is_alarm =
        (is_walk || is_descent) && (!is_network || sweep->n_sources >= MIN_ADDRESSES);
    return verdict;
}

static void report(struct pk_engine *engine, struct actor *actor, struct dossier *dossier,
    const struct sweep *sweep, uint8_t severity, const struct verdict *verdict)
{
    struct subject subject;
    subject_of_actor(actor, &subject);
    uint32_t size = verdict->addresses + sweep->partial;
    struct pk_finding *finding =
        dossier_begin(engine, RULE_SWEEP, dossier, &subject, size, severity);
    snprintf(finding->title, sizeof finding->title,
        sweep->partial >= MIN_PARTIAL
            ? "Descent of the IPv6 reverse tree by %s: %u names, at %zu site%s"
            : "Reverse lookup sweep by %s: %u addresses, at %zu site%s",
        finding->actor_key, size, finding->n_sites, finding->n_sites == 1 ? "" : "s");
    finding->technique[finding->n_techniques++] = "T1590.005";
    finding->technique[finding->n_techniques++] = "T1590.002";
    contribute(finding, "distinct addresses in a block", verdict->nats_addresses);
    contribute(finding, "steps to the next address", verdict->nats_order);
    contribute(finding, "nodes of the reverse tree, and their siblings", verdict->nats_partial);
    finding->trials = size;
    finding->hits = dossier->n_learned;
    report_finding(engine, threshold(engine));
}

static void count_source(struct sweep *sweep, const struct observation *seen)
{
    uint16_t tag = (uint16_t)seen->source_hash;
    for (uint8_t i = 0; i < sweep->n_sources; i++) {
        if (sweep->sources[i] == tag) {
            return;
        }
    }
    if (sweep->n_sources < MIN_ADDRESSES) {
        sweep->sources[sweep->n_sources++] = tag;
    }
}

/* True when the row adds something. */
static bool take(struct pk_engine *engine, const struct observation *seen,
    const struct actor *actor, struct sweep *sweep, enum kind kind, const struct pk_addr *addr)
{
    int64_t now_us = seen->row->first_us;
    if (kind == ADDRESS) {
        bool is_new =
            touch(block_of(sweep, addr, now_us), addr->bytes[addr->family == 4 ? 3 : 15], now_us);
        if (is_new) {
            learn(sweep, now_us);
        }
        return is_new;
    }
    uint64_t contact[2] = {actor_identity(actor), seen->name_hash};
    if (!pk_contacts_add(&engine->contacts, pk_hash_fixed(contact, sizeof contact), now_us)) {
        return false;
    }
    if (now_us - sweep->partial_us > (int64_t)DAY_S * 1000000) {
        sweep->partial = sweep->siblings = 0;
        sweep->parent = 0;
    }
    struct pk_name parent;
    pk_name_strip(&seen->name, 1, &parent);
    uint64_t hash = pk_hash_fixed(parent.wire, parent.len);
    sweep->partial++;
    sweep->siblings += hash == sweep->parent;
    sweep->parent = hash;
    sweep->partial_us = now_us;
    return true;
}

static bool is_open(const struct pk_engine *engine, const struct actor_key *key, int64_t now_us)
{
    const struct actor *actor = actor_find(engine, key);
    const struct sweep *sweep = actor ? actor_ledger_find(actor, RULE_SWEEP) : NULL;
    const struct dossier *dossier = sweep ? ledger_dossier_find(sweep) : NULL;
    return dossier_is_open(dossier) &&
           now_us - dossier->last_us <= (int64_t)FINDING_IDLE_S * 1000000;
}

/* One row for one key of its source; *out_open: a finding about it is open afterwards. */
static pk_err weigh(struct pk_engine *engine, const struct observation *seen, struct actor *actor,
    enum kind kind, const struct pk_addr *addr, bool is_told_elsewhere)
{
    struct sweep *sweep = actor_ledger(engine, actor, RULE_SWEEP);
    struct dossier *dossier = sweep ? ledger_dossier(sweep) : NULL;
    if (!dossier) {
        return PK_ERR_NOMEM;
    }
    if (!take(engine, seen, actor, sweep, kind, addr)) {
        dossier_add_site(dossier, seen);
        return PK_OK;
    }
    bool is_network = actor->key.kind == ACTOR_NETWORK;
    if (is_network) {
        count_source(sweep, seen);
        dossier_add_address(dossier, &seen->actor->key.addr);
    }
    bool is_hit = seen->row->signature.answer == PK_ANSWER_DATA;
    pk_err err = dossier_note(dossier, seen, is_hit ? NOTE_LEARNED : NOTE_SAMPLE, true);
    if (err != PK_OK) {
        return err;
    }
    struct verdict verdict = judge(engine, sweep, actor, seen->row->first_us);
    uint8_t severity = dossier_sites(dossier) >= 3 ? 3 : 2;
    bool is_due = dossier_is_due(dossier, verdict.addresses + sweep->partial, severity);
    if (verdict.is_alarm && is_due && (dossier_is_open(dossier) || !is_told_elsewhere)) {
        report(engine, actor, dossier, sweep, severity, &verdict);
    }
    return PK_OK;
}

static pk_err settle(struct pk_engine *engine, void *ledger)
{
    const struct sweep *sweep = ledger;
    struct dossier *dossier = ledger_dossier_find(ledger);
    struct actor *actor = &engine->actors.v[ledger_owner(ledger)];
    struct verdict verdict = judge(engine, sweep, actor, dossier->last_us);
    if (dossier_is_due(dossier, verdict.addresses + sweep->partial, dossier->severity)) {
        report(engine, actor, dossier, sweep, dossier->severity, &verdict);
    }
    return PK_OK;
}

static pk_err observe(struct pk_engine *engine, const struct observation *seen)
{
    struct pk_addr addr = {0};
    enum kind kind = kind_of(seen, &addr);
    if (kind == NOT_OURS) {
        return PK_OK;
    }
    struct actor_key key = actor_network_key(seen->actor);
    bool is_networks =
        seen->actor->key.kind == ACTOR_ADDRESS && is_open(engine, &key, seen->row->first_us);
    pk_err err = weigh(engine, seen, seen->actor, kind, &addr, is_networks);
    if (err != PK_OK || seen->actor->key.kind != ACTOR_ADDRESS) {
        return err;
    }
    struct actor *network = actor_get(engine, &key, seen->row->first_us);
    network->last_us =
        seen->row->first_us > network->last_us ? seen->row->first_us : network->last_us;
    return weigh(engine, seen, network, kind, &addr,
        is_open(engine, &seen->actor->key, seen->row->first_us));
}

static void save(const void *ledger, struct pk_bytes *out)
{
    const struct sweep *sweep = ledger;
    pk_bytes_put_u8(out, sweep->n_blocks);
    for (uint8_t i = 0; i < sweep->n_blocks; i++) {
        const struct block *block = &sweep->blocks[i];
        state_put_addr(out, &block->addr);
        state_put_time(out, block->first_us);
        state_put_time(out, block->last_us);
        for (size_t k = 0; k < 4; k++) {
            pk_bytes_put_be64(out, block->seen[k]);
        }
        pk_bytes_put_be16(out, block->n);
        pk_bytes_put_be16(out, block->ordered);
        pk_bytes_put_u8(out, block->last);
        pk_bytes_put_u8(out, (uint8_t)(block->step + 1));
        pk_bytes_put_be16(out, block->again);
    }
    state_put_float(out, sweep->usual);
    state_put_time(out, sweep->usual_us);
    pk_bytes_put_varint(out, sweep->partial);
    pk_bytes_put_varint(out, sweep->siblings);
    pk_bytes_put_be64(out, sweep->parent);
    state_put_time(out, sweep->partial_us);
    pk_bytes_put_u8(out, sweep->n_sources);
    for (uint8_t i = 0; i < sweep->n_sources; i++) {
        pk_bytes_put_be16(out, sweep->sources[i]);
    }
}

static void load(void *ledger, struct pk_reader *in)
{
    struct sweep *sweep = ledger;
    sweep->n_blocks = state_get_count(in, MAX_BLOCKS);
    for (uint8_t i = 0; i < sweep->n_blocks; i++) {
        struct block *block = &sweep->blocks[i];
        state_get_addr(in, &block->addr);
        block->first_us = state_get_time(in);
        block->last_us = state_get_time(in);
        for (size_t k = 0; k < 4; k++) {
            block->seen[k] = pk_reader_be64(in);
        }
        block->n = pk_reader_be16(in);
        block->ordered = pk_reader_be16(in);
        block->last = pk_reader_u8(in);
        block->step = (int8_t)(state_get_index(in, 3) - 1);
        block->again = pk_reader_be16(in);
    }
    sweep->usual = state_get_float(in);
    sweep->usual_us = state_get_time(in);
    sweep->partial = state_get_u32(in);
    sweep->siblings = state_get_u32(in);
    sweep->parent = pk_reader_be64(in);
    sweep->partial_us = state_get_time(in);
    sweep->n_sources = state_get_count(in, MIN_ADDRESSES);
    for (uint8_t i = 0; i < sweep->n_sources; i++) {
        sweep->sources[i] = pk_reader_be16(in);
    }
}

const struct rule rule_sweep = {
    .id = "D6",
    .family = "sweep",
    .version = "4",
    .budget_share = 0.05,
    .ledger_bytes = sizeof(struct sweep),
    .max_ledgers = 50000,
    .observe = observe,
    .settle = settle,
    .save = save,
    .load = load,
};

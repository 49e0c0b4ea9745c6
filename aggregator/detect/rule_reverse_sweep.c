/* D6: walking a reverse range (T1590.005, T1590.002).
 *
 * Distinct addresses of one /24 (IPv6: one /120) that one source asked the PTR of within an hour, over all sites: sixteen in one block, or three in each of eight blocks
 * within a day. The score is the Poisson log-likelihood ratio of D against one address a block and hour, plus ln(.8/.02) for each step to a neighbouring address, capped:
 * order makes it surer, it does not lower the minimum. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "picket/dnsmsg.h"

#include "internal.h"

enum {
    MAX_BLOCKS = 16, /* /24 or /120 of one source; the longest untouched goes */
    MIN_IN_BLOCK = 16,
    MIN_SPREAD = 3,
    MIN_BLOCKS = 8,
    HOUR_US_S = 3600,
    DAY_S = 86400,
    MAX_STEPS = 8
};

struct block {
    struct pk_addr addr; /* last byte zero */
    int64_t first_us, last_us;
    uint64_t seen[4]; /* bitmap of last bytes */
    uint16_t n, ordered;
    uint8_t last;
};

struct sweep {
    struct block blocks[MAX_BLOCKS];
    uint8_t n_blocks;
};

static const double threshold = 14.75, nats_step = 3.689 /* ln(.8/.02) */;

static bool is_relevant(const struct observation *seen, struct pk_addr *out_addr)
{
    const struct pk_signature *signature = &seen->row->signature;
    return seen->reason == PK_SCOPE_REVERSE && signature->qtype == PK_TYPE_PTR &&
           signature->opcode == PK_OPCODE_QUERY && pk_name_reverse_addr(&seen->name, out_addr) &&
           !seen->is_own_scanner;
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
    bool is_stale = block->n > 0 && now_us - block->first_us > (int64_t)HOUR_US_S * 1000000 &&
                    block->n < MIN_IN_BLOCK;
    if (is_stale && block->n >= MIN_SPREAD) {
        is_stale = now_us - block->last_us >
                   (int64_t)HOUR_US_S * 1000000; /* still of use to the spread rule */
    }
    if (is_stale) {
        *block = (struct block){.addr = block->addr, .first_us = now_us};
    }
    bool is_new = !(block->seen[last / 64] >> last % 64 & 1);
    if (is_new) {
        block->ordered =
            (uint16_t)(block->ordered + (block->n > 0 && abs(last - block->last) == 1));
        block->seen[last / 64] |= UINT64_C(1) << last % 64;
        block->n++;
        block->last = last;
    }
    block->last_us = now_us > block->last_us ? now_us : block->last_us;
    return is_new;
}

struct verdict {
    uint32_t addresses, ordered, blocks_spread;
    double nats_addresses, nats_order;
    bool is_alarm;
};

static struct verdict judge(const struct sweep *sweep, int64_t now_us)
{
    struct verdict verdict = {0};
    bool has_full = false;
    for (unsigned i = 0; i < sweep->n_blocks; i++) {
        const struct block *block = &sweep->blocks[i];
        if (now_us - block->last_us > (int64_t)DAY_S * 1000000) {
            continue;
        }
        double n = block->n;
        verdict.addresses += block->n;
        verdict.ordered += block->ordered;
        verdict.nats_addresses += n > 1 ? n * log(n) - (n - 1) : 0;
        verdict.blocks_spread += block->n >= MIN_SPREAD;
        has_full = has_full || block->n >= MIN_IN_BLOCK;
    }
    verdict.nats_order = nats_step * (verdict.ordered < MAX_STEPS ? verdict.ordered : MAX_STEPS);
    verdict.is_alarm = (has_full || verdict.blocks_spread >= MIN_BLOCKS) &&
                       verdict.nats_addresses + verdict.nats_order > threshold;
    return verdict;
}

static void report(struct pk_engine *engine, const struct observation *seen,
    struct dossier *dossier, uint8_t severity, const struct verdict *verdict)
{
    struct subject subject;
    subject_of_actor(seen->actor, &subject);
    struct pk_finding *finding =
        dossier_begin(engine, RULE_SWEEP, dossier, &subject, verdict->addresses, severity);
    snprintf(finding->title, sizeof finding->title,
        "Reverse lookup sweep by %s: %u addresses, at %zu site%s", finding->actor_key,
        verdict->addresses, finding->n_sites, finding->n_sites == 1 ? "" : "s");
    finding->technique[finding->n_techniques++] = "T1590.005";
    finding->technique[finding->n_techniques++] = "T1590.002";
    contribute(finding, "distinct addresses in a block", verdict->nats_addresses);
    contribute(finding, "steps to the next address", verdict->nats_order);
    finding->trials = verdict->addresses;
    finding->hits = dossier->n_learned;
    report_finding(engine, threshold);
}

static pk_err observe(struct pk_engine *engine, const struct observation *seen)
{
    struct pk_addr addr;
    if (!is_relevant(seen, &addr)) {
        return PK_OK;
    }
    struct sweep *sweep = actor_ledger(engine, seen->actor, RULE_SWEEP);
    struct dossier *dossier = sweep ? ledger_dossier(sweep) : NULL;
    if (!dossier) {
        return PK_ERR_NOMEM;
    }
    int64_t now_us = seen->row->first_us;
    if (!touch(block_of(sweep, &addr, now_us), addr.bytes[addr.family == 4 ? 3 : 15], now_us)) {
        dossier_add_site(dossier, seen);
        return PK_OK;
    }
    bool is_hit = seen->row->signature.answer == PK_ANSWER_DATA;
    pk_err err = dossier_note(dossier, seen, is_hit ? NOTE_LEARNED : NOTE_SAMPLE, true);
    if (err != PK_OK) {
        return err;
    }
    struct verdict verdict = judge(sweep, now_us);
    uint8_t severity = dossier_sites(dossier) >= 3 ? 3 : 2;
    if (verdict.is_alarm && dossier_is_due(dossier, verdict.addresses, severity)) {
        report(engine, seen, dossier, severity, &verdict);
    }
    return PK_OK;
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
    }
}

const struct rule rule_sweep = {
    .id = "D6",
    .family = "sweep",
    .version = "1",
    .budget_share = 0.05,
    .ledger_bytes = sizeof(struct sweep),
    .max_ledgers = 50000,
    .observe = observe,
    .save = save,
    .load = load,
};

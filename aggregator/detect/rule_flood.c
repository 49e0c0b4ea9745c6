/* Random-subdomain flood: a zone is asked masses of generated names through many sources, to exhaust its servers, not to learn anything. One finding of its own for the zone;
 * while it lasts, names that are not words say nothing about anybody (an attacker may hide a list in it: words still count).
 *
 * Fires when within a minute a zone has at least 600 first contacts, seven in ten of them misses that look generated, from at least ten networks; with names that were only
 * counted (a window's rows were full), while those seen look generated, from 6,000 on also from fewer networks. */
#include <stdio.h>

#include "internal.h"

enum {
    WINDOW_US = 60 * 1000000,
    MIN_TRIALS = 600,
    MIN_NETWORKS = 10,
    NETWORK_BITS = 64,
    MIN_SEEN = 50,          /* first contacts that show what the counted names look like */
    MANY = 6000,            /* a hundred a second for a minute: no matter from how many networks */
    LONG_US = 300 * 1000000 /* of silence, and it is over */
};

static const double min_share = .7, nats_shape = 20, threshold = 14;

struct flood {
    int64_t window_us;
    uint32_t n, n_random;
    uint64_t networks; /* of random names: a bit by hash */
    uint64_t total_random;
};

static pk_err report(struct pk_engine *engine, const struct observation *seen, struct flood *flood,
    enum dossier_name as)
{
    struct subject subject = {.kind = "campaign"};
    struct dossier *dossier = ledger_dossier(flood);
    pk_err err = dossier ? dossier_note(dossier, seen, as, as != NOTE_NOTHING) : PK_ERR_NOMEM;
    uint32_t size = flood->total_random > UINT32_MAX ? UINT32_MAX : (uint32_t)flood->total_random;
    if (err != PK_OK || !dossier_is_due(dossier, size, 2)) {
        return err;
    }
    char zone[PK_NAME_TEXT_SIZE];
    (void)pk_name_text(&seen->zone_name, zone);
    snprintf(subject.key, sizeof subject.key, "flood:%.56s", zone);
    struct pk_finding *finding = dossier_begin(engine, RULE_FLOOD, dossier, &subject, size, 2);
    snprintf(finding->title, sizeof finding->title, "Flood of random names below %.80s: %u so far",
        zone, size);
    finding->technique[finding->n_techniques++] = "T1498";
    contribute(finding, "most names look generated, from many networks, none twice", nats_shape);
    finding->trials = flood->n;
    finding->rand = size;
    report_finding(engine, threshold);
    return PK_OK;
}

static pk_err observe(struct pk_engine *engine, const struct observation *seen)
{
    if (seen->trial.no != TRIAL_YES) {
        return PK_OK;
    }
    bool is_random = seen->trial.outcome == OUTCOME_RAND;
    struct flood *flood = zone_ledger_find(seen->zone, RULE_FLOOD);
    if (!flood) {
        flood = is_random ? zone_ledger(engine, seen->zone, RULE_FLOOD) : NULL;
        if (!flood) {
            return is_random ? PK_ERR_NOMEM : PK_OK;
        }
    }
    int64_t now_us = seen->row->first_us;
    if (now_us - flood->window_us > WINDOW_US) {
        if (now_us - seen->zone->flood_us > LONG_US) {
            flood->total_random = 0;
        }
        *flood = (struct flood){.window_us = now_us, .total_random = flood->total_random};
    }
    flood->n++;
    if (is_random) {
        struct actor_key network = actor_network_key(seen->actor);
        flood->n_random++;
        flood->total_random++;
        flood->networks |= UINT64_C(1) << actor_hash(&network) % NETWORK_BITS;
    }
    bool is_flood = flood->n >= MIN_TRIALS && flood->n_random >= min_share * flood->n &&
                    __builtin_popcountll(flood->networks) >= MIN_NETWORKS;
    if (is_flood) {
        seen->zone->flood_us = now_us;
    }
    return is_flood && is_random ? report(engine, seen, flood, NOTE_SAMPLE) : PK_OK;
}

static uint32_t add_up(uint32_t n, uint64_t more)
{
    return more < UINT32_MAX - n ? n + (uint32_t)more : UINT32_MAX;
}

static pk_err counted(
    struct pk_engine *engine, struct observation *seen, const struct counted *counted)
{
    struct flood *flood = zone_ledger_find(seen->zone, RULE_FLOOD);
    int64_t now_us = seen->row->first_us;
    if (!flood || now_us - flood->window_us > WINDOW_US || flood->n < MIN_SEEN ||
        flood->n_random < min_share * flood->n) {
        return PK_OK; /* nothing says that these names are random */
    }
    flood->n = add_up(flood->n, counted->missing);
    flood->n_random = add_up(flood->n_random, counted->missing);
    flood->total_random += counted->missing;
    if (seen->actor) {
        struct actor_key network = actor_network_key(seen->actor);
        flood->networks |= UINT64_C(1) << actor_hash(&network) % NETWORK_BITS;
    }
    if (flood->n < MIN_TRIALS ||
        (__builtin_popcountll(flood->networks) < MIN_NETWORKS && flood->n_random < MANY)) {
        return PK_OK;
    }
    seen->zone->flood_us = now_us > seen->zone->flood_us ? now_us : seen->zone->flood_us;
    return report(engine, seen, flood, NOTE_NOTHING);
}

static void save(const void *ledger, struct pk_bytes *out)
{
    const struct flood *flood = ledger;
    state_put_time(out, flood->window_us);
    pk_bytes_put_varint(out, flood->n);
    pk_bytes_put_varint(out, flood->n_random);
    pk_bytes_put_be64(out, flood->networks);
    pk_bytes_put_varint(out, flood->total_random);
}

static void load(void *ledger, struct pk_reader *in)
{
    struct flood *flood = ledger;
    flood->window_us = state_get_time(in);
    flood->n = state_get_u32(in);
    flood->n_random = state_get_u32(in);
    flood->networks = pk_reader_be64(in);
    flood->total_random = pk_reader_varint(in);
}

const struct rule rule_flood = {
    .id = "flood",
    .family = "flood",
    .version = "1",
    .budget_share = 0.02,
    .ledger_bytes = sizeof(struct flood),
    .max_ledgers = 10000,
    .observe = observe,
    .counted = counted,
    .save = save,
    .load = load,
};

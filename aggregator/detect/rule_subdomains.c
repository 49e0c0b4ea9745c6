/* D2, D3: guessing subdomains (T1595.003, T1590.002), by one source or one network, quickly or one name an hour, over all sites.
 *
 * The statistic is in guess.h, what is known of a source in guesses.h; here is what counts as evidence and when an alarm goes out.
 *  - A label that several unrelated established sources miss (misses.h) is no evidence against another such: no weight, also when that shows only afterwards. Of strangers the
 *    baseline knows how many ask what everybody asks.
 *  - A name that history knows existed is somebody's old bookmark or D11's business: no weight.
 *  - Resolvers of many, with hundreds of first contacts before, are judged by the rate of labels new to them (Poisson), since the names that exist run out within a day.
 *  - An alarm about an established source waits half a minute for company, unless sixteen names missed already: a botched roll-out shows at many branches at once and then
 *    carries no weight. A stranger's goes out at once.
 *  - Names that were only counted (the window's rows were full) count for a source that is suspected by those that were seen, as far as these do not look generated: at most
 *    sixty-four a row, misses before hits. So an outage or a busy resolver, which show no miss, bring nothing.
 *  - A finding of a network takes over its addresses, one of a campaign (coverage.h) its members. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "picket/dnsmsg.h"
#include "picket/hash.h"

#include "coverage.h"
#include "guesses.h"
#include "internal.h"
#include "walk.h"

enum {
    MANY_HITS = 5,
    MANY_MISSES = 16, /* names that need no company */
    HELD_US = 30 * 1000000,
    MONITOR_US = 660 * 1000000, /* twice five minutes, and one */
    SITE_US = 590 * 1000000,    /* not beyond a flush: a capture's end lets it out */
    MONITOR_HITS = 3,           /* names that exist for each that does not */
    MAX_HELD = 64,
    MAX_COUNTED = 64 /* trials a row of counts may stand for */
};

static const float monitor_rounds = 1.8f; /* two, and some of it lost */

/* What waits. The key, since a source may be gone when its time comes. */
struct held {
    struct actor_key keys[MAX_HELD];
    uint8_t n;
};

/* --- reporting --- */

static void explain(
    struct pk_finding *finding, const struct guesses *guesses, const double p0[N_OUTCOMES])
{
    unsigned i = 0, k = 0, window = guesses->is_slow ? SLOW : FAST;
    double score = guesses_score(guesses, window);
    if (guesses->is_poisson) {
        contribute(finding, "names new to a busy resolver, far more often than usual",
            score + log(N_RATIOS));
        contribute(finding, "prior of this rate", -log(N_RATIOS));
        return;
    }
    (void)guess_best(&guesses->wealth[window], &i, &k);
    const uint32_t counts[N_OUTCOMES] = {
        guesses->hits, guesses->dict, guesses->rand, guesses->other};
    static const char *const names[N_OUTCOMES] = {
        "names that exist", "dictionary misses", "random-looking misses", "other misses"};
    double rest = score - guess_prior(k);
    for (unsigned y = 0; y < N_OUTCOMES; y++) {
        struct guess_wealth gains;
        guess_gains(p0, (enum outcome)y, &gains);
        contribute(finding, names[y], counts[y] * (double)gains.v[i][k]);
        rest -=
            fabs(counts[y] * (double)gains.v[i][k]) >= 0.05 ? counts[y] * (double)gains.v[i][k] : 0;
    }
    contribute(finding, "prior of this list and share", guess_prior(k));
    contribute(finding, "time, and what was before the episode", rest);
}

static void report(struct pk_engine *engine, struct actor *actor, struct guesses *guesses,
    struct dossier *dossier, const double p0[N_OUTCOMES])
{
    struct subject subject;
    uint8_t severity = guesses->hits >= MANY_HITS ? 4 : 3;
    uint32_t labels = guesses->hits + guesses->dict + guesses->rand + guesses->other;
    if (!dossier_is_due(dossier, labels, severity)) {
        return;
    }
    subject_of_actor(actor, &subject);
    struct pk_finding *finding =
        dossier_begin(engine, RULE_SUBDOMAINS, dossier, &subject, labels, severity);
    finding->detector = guesses->is_slow ? "D3" : "D2";
    snprintf(finding->title, sizeof finding->title,
        "%s by %s: %u names tried, %u of them exist, at %zu site%s",
        guesses->is_slow ? "Slow subdomain enumeration" : "Subdomain enumeration",
        finding->actor_key, labels, guesses->hits, finding->n_sites,
        finding->n_sites == 1 ? "" : "s");
    if (guesses->counted > 0) {
        size_t len = strlen(finding->title);
        snprintf(finding->title + len, sizeof finding->title - len,
            "; some %llu more were only counted", (unsigned long long)guesses->counted);
    }
    finding->technique[finding->n_techniques++] = "T1595.003";
    finding->technique[finding->n_techniques++] = "T1590.002";
    explain(finding, guesses, p0);
    finding->first_us =
        guesses->first_us < finding->first_us ? guesses->first_us : finding->first_us;
    finding->trials = labels;
    finding->hits = guesses->hits;
    finding->dict = guesses->dict;
    finding->rand = guesses->rand;
    finding->other = guesses->other;
    report_finding(engine, guesses_threshold(engine, guesses->is_slow));
}

/* Whether the finding of this address's network is open and speaks for it. */
static bool is_networks(struct pk_engine *engine, const struct actor *actor, int64_t now_us)
{
    struct actor_key key = actor_network_key(actor);
    struct actor *network = actor->key.kind == ACTOR_ADDRESS ? actor_find(engine, &key) : NULL;
    const struct guesses *guesses = network ? actor_ledger_find(network, RULE_SUBDOMAINS) : NULL;
    const struct dossier *dossier = guesses ? ledger_dossier_find(guesses) : NULL;
    return dossier_is_open(dossier) &&
           now_us - dossier->last_us <= (int64_t)FINDING_IDLE_S * 1000000;
}

static bool hold(struct pk_engine *engine, const struct actor *actor)
{
    struct held *held = tenant_ledger(engine, RULE_HELD);
    if (!held || held->n == MAX_HELD) {
        return false; /* too many wait: out with it */
    }
    held->keys[held->n++] = actor->key;
    return true;
}

/* A monitor's first round, the dead hosts of its list last, looks like guessing; its second and third do not. So who found much more than it missed gets the time for them, and
 * the clients of a site together, one of which may be a monitor, unless most of what they ask is missing. */
static int64_t held_us(const struct guesses *guesses, const struct actor *actor)
{
    float misses = (float)(guesses->dict + guesses->rand + guesses->other);
    bool may_be_monitor = !guesses->is_poisson && actor->own[OUTCOME_HIT] >= MONITOR_HITS * misses;
    bool may_have_one = actor->key.kind == ACTOR_SITE && actor->own[OUTCOME_HIT] >= misses;
    return may_have_one ? SITE_US : may_be_monitor ? MONITOR_US : HELD_US;
}

/* It asked for nearly everything it knows again and again while its alarm waited. */
static bool is_monitor(const struct guesses *guesses, const struct actor *actor)
{
    float names = actor->own[OUTCOME_HIT] + (float)(guesses->dict + guesses->rand + guesses->other);
    return held_us(guesses, actor) > HELD_US && (float)guesses->again >= monitor_rounds * names;
}

/* The alarm goes out, waits, or becomes somebody else's. */
static pk_err decide(struct pk_engine *engine, const struct observation *seen, struct actor *actor,
    struct guesses *guesses)
{
    struct dossier *dossier = ledger_dossier(guesses);
    bool is_slow, is_taken = false;
    if (!dossier) {
        return PK_ERR_NOMEM;
    }
    if (dossier_is_open(dossier)) {
        report(engine, actor, guesses, dossier, seen->p0);
        return PK_OK;
    }
    if (is_networks(engine, actor, seen->now_us)) {
        return PK_OK;
    }
    uint32_t misses = guesses->dict + guesses->other;
    bool waits = held_us(guesses, actor) == SITE_US ||
                 (misses < MANY_MISSES && miss_is_established(seen->actor));
    if (waits && guesses->crossed_us == 0) {
        guesses->crossed_us = seen->now_us;
        guesses->again = 0;
        waits = hold(engine, actor);
    } else if (waits) {
        waits = seen->now_us - guesses->crossed_us < held_us(guesses, actor);
    }
    if (waits) {
        return PK_OK;
    }
    if (guesses->crossed_us != 0 && is_monitor(guesses, actor)) {
        memset(guesses->wealth, 0, sizeof guesses->wealth);
    }
    guesses_take_back_common(engine, guesses, seen->p0, miss_is_established(seen->actor));
    if (guesses_alarm(engine, guesses, actor, &is_slow) <= 0) {
        guesses->crossed_us = 0;
        return PK_OK;
    }
    guesses->is_slow = is_slow;
    bool was_taken = guesses->taken_us != 0 &&
                     seen->now_us - guesses->taken_us <= (int64_t)FINDING_IDLE_S * 1000000;
    pk_err err = coverage_take(engine, seen, actor, guesses_score(guesses, is_slow ? SLOW : FAST),
        misses, guesses->known, !was_taken, &is_taken);
    if (is_taken && !was_taken) {
        guesses->taken_us = seen->now_us;
    }
    if (err == PK_OK && !is_taken) {
        report(engine, actor, guesses, dossier, seen->p0);
    }
    return err;
}

static pk_err write_down(
    const struct observation *seen, struct actor *actor, struct guesses *guesses)
{
    bool is_hit = seen->trial.outcome == OUTCOME_HIT;
    struct dossier *dossier = ledger_dossier(guesses);
    if (!dossier) {
        return PK_ERR_NOMEM;
    }
    if (actor->key.kind == ACTOR_NETWORK) {
        dossier_add_address(dossier, &seen->actor->key.addr);
    }
    return dossier_note(dossier, seen, is_hit ? NOTE_LEARNED : NOTE_SAMPLE,
        !is_hit || dossier->n_evidence < PK_FINDING_MAX_EVIDENCE / 2);
}

static void start(
    struct guesses *guesses, const struct observation *seen, const struct actor *actor)
{
    if (guesses->last_us == 0) {
        guesses->first_us = seen->row->first_us;
    }
    if (!guesses->is_poisson && !actor->is_suspected &&
        (actor == seen->actor ? baseline_class(seen) : baseline_class_of(actor)) ==
            PK_SOURCE_SHARED) {
        guesses->is_poisson = true;
        guesses->usual = actor->own[OUTCOME_DICT] + actor->own[OUTCOME_OTHER];
        guesses->usual_us = actor->first_us;
        guesses_begin_episode(guesses, seen->row->first_us);
    }
}

static void count_address(struct guesses *guesses, const struct observation *seen)
{
    uint16_t tag = (uint16_t)seen->source_hash;
    for (uint8_t i = 0; i < guesses->n_addresses; i++) {
        if (guesses->addresses[i] == tag) {
            return;
        }
    }
    if (guesses->n_addresses < MIN_ADDRESSES) {
        guesses->addresses[guesses->n_addresses++] = tag;
    }
}

/* One trial for one key of its source. */
static pk_err weigh(struct pk_engine *engine, const struct observation *seen, struct actor *actor)
{
    bool is_miss = seen->trial.outcome != OUTCOME_HIT;
    struct guesses *guesses = actor_ledger_find(actor, RULE_SUBDOMAINS);
    if (!is_miss && !guesses) {
        return PK_OK; /* most sources never miss: nothing to write down */
    }
    guesses = actor_ledger(engine, actor, RULE_SUBDOMAINS);
    if (!guesses) {
        return PK_ERR_NOMEM;
    }
    start(guesses, seen, actor);
    if (is_miss && guesses_is_remembered(guesses, seen->trial.miss.key)) {
        return PK_OK; /* asked again after its day: still the same label */
    }
    if (guesses->is_poisson) {
        guesses_add_event(guesses, seen,
            seen->trial.outcome == OUTCOME_DICT || seen->trial.outcome == OUTCOME_OTHER,
            actor->is_suspected);
    } else {
        guesses_add_outcome(engine, guesses, seen);
    }
    guesses_count(guesses, seen);
    if (is_miss && actor->key.kind == ACTOR_NETWORK) {
        count_address(guesses, seen);
    }
    guesses->last_us =
        seen->row->first_us > guesses->last_us ? seen->row->first_us : guesses->last_us;
    double quarter = guesses_threshold(engine, false) / 4;
    actor->is_suspected =
        guesses_score(guesses, FAST) > quarter || guesses_score(guesses, SLOW) > quarter;
    if (!actor->is_suspected) {
        guesses->crossed_us = 0;
        return PK_OK;
    }
    if (is_miss) {
        miss_suspect(engine, seen->trial.miss.key);
    }
    bool is_slow;
    pk_err err = write_down(seen, actor, guesses);
    return err == PK_OK && guesses_alarm(engine, guesses, actor, &is_slow) > 0
               ? decide(engine, seen, actor, guesses)
               : err;
}

/* A question asked again, by the source or by another of its addresses. */
static void add_repeat(const struct pk_engine *engine, struct actor *actor)
{
    struct guesses *guesses = actor_ledger_find(actor, RULE_SUBDOMAINS);
    double repeats = guesses ? baseline_repeats(engine, actor) : 0;
    if (guesses && guesses->again < UINT32_MAX) {
        guesses->again++;
    }
    if (guesses && !guesses->is_poisson && repeats > engine->baseline.priors->repeat) {
        struct guess_wealth gains;
        guess_repeat_gains(repeats, &gains);
        (void)guess_add(&guesses->wealth[FAST], &gains, 0);
        (void)guess_add(&guesses->wealth[SLOW], &gains, 0);
    }
    if (actor->key.kind == ACTOR_NETWORK) {
        actor
            ->repeats++; /* also of a suspected one: a list's share of them is known, so it gains nothing by it */
    }
}

/* No new trial, but the same question at another site is worth telling; and that a source asks what it knows is evidence too. */
static void again(struct pk_engine *engine, const struct observation *seen)
{
    struct guesses *guesses = actor_ledger_find(seen->actor, RULE_SUBDOMAINS);
    struct dossier *dossier = guesses ? ledger_dossier_find(guesses) : NULL;
    if (dossier_is_open(dossier)) {
        dossier_add_site(dossier, seen);
    }
    add_repeat(engine, seen->actor);
    struct actor_key key = actor_network_key(seen->actor);
    struct actor *network =
        seen->actor->key.kind == ACTOR_ADDRESS ? actor_find(engine, &key) : NULL;
    if (network) {
        add_repeat(engine, network);
    }
}

static bool has_weight(const struct observation *seen)
{
    const struct trial *trial = &seen->trial;
    bool is_flooded = zone_is_flooded(seen->zone, seen->row->first_us) &&
                      (trial->outcome == OUTCOME_RAND || trial->outcome == OUTCOME_OTHER);
    return !is_flooded && !(trial->marks & MARK_KNOWN) && !trial->miss.is_ours &&
           !(trial->miss.is_common && miss_is_established(seen->actor));
}

/* The network, when it has something to its name or something is to be noted. */
static pk_err weigh_network(struct pk_engine *engine, const struct observation *seen)
{
    struct actor_key key = actor_network_key(seen->actor);
    bool is_miss = seen->trial.outcome != OUTCOME_HIT;
    struct actor *network =
        is_miss ? actor_get(engine, &key, seen->row->first_us) : actor_find(engine, &key);
    if (!network) {
        return PK_OK;
    }
    uint64_t contact[2] = {actor_hash(&key), seen->name_hash};
    network->last_us =
        seen->row->first_us > network->last_us ? seen->row->first_us : network->last_us;
    if (!pk_contacts_add(
            &engine->contacts, pk_hash_fixed(contact, sizeof contact), seen->row->first_us)) {
        add_repeat(engine, network); /* another of its addresses asked it */
        return PK_OK;
    }
    struct observation of_network = *seen;
    pk_err err = baseline_class_of(network) == PK_SOURCE_NEW
                     ? PK_OK
                     : baseline_p0_of(engine, seen, network, of_network.p0);
    if (err == PK_OK) {
        err = weigh(engine, &of_network, network);
    }
    baseline_own(network, seen->trial.outcome);
    return err;
}

/* What a mail gateway or a phone of ours asks beside host names: the zone itself, its policies and services. No guess, whatever comes back, so it counts like a question asked again. Of clients of
 * our own alone: from outside that is how profiling begins. */
static bool is_plain_business(const struct observation *seen)
{
    bool is_apex = seen->reason == PK_SCOPE_ZONE && seen->zone &&
                   seen->row->signature.qclass == PK_CLASS_IN &&
                   seen->name.n_labels == seen->zone_name.n_labels;
    return (seen->trial.no == NO_TRIAL_SERVICE || (is_apex && seen->trial.no == NO_TRIAL_KIND)) &&
           actor_is_inside(seen->actor);
}

static pk_err observe(struct pk_engine *engine, const struct observation *seen)
{
    if (is_plain_business(seen)) {
        add_repeat(engine, seen->actor);
        if (!seen->actor->is_suspected) {
            seen->actor->repeats++;
        }
        return PK_OK;
    }
    if (seen->trial.no != TRIAL_YES || !has_weight(seen) || walk_counts(seen)) {
        if (seen->trial.no == NO_TRIAL_AGAIN) {
            again(engine, seen);
        }
        return PK_OK;
    }
    pk_err err = seen->actor->key.kind == ACTOR_ADDRESS ? weigh_network(engine, seen) : PK_OK;
    return err == PK_OK ? weigh(engine, seen, seen->actor) : err;
}

/* --- what was only counted --- */

static void add_counted(struct pk_engine *engine, struct guesses *guesses, struct observation *seen,
    const struct counted *counted)
{
    uint64_t all = counted->missing + counted->existing;
    uint64_t n = all < MAX_COUNTED ? all : MAX_COUNTED;
    uint64_t n_missing = n * counted->missing / all;
    guesses->counted += counted->missing - n_missing;
    guesses->zones |= UINT64_C(1) << seen->zone->hash % 64;
    for (uint64_t i = 0; i < n; i++) {
        seen->trial.outcome = i < n_missing ? OUTCOME_OTHER : OUTCOME_HIT;
        guesses_add_outcome(engine, guesses, seen);
        guesses->other += i < n_missing;
        guesses->last_us =
            seen->row->first_us > guesses->last_us ? seen->row->first_us : guesses->last_us;
    }
}

static pk_err counted(
    struct pk_engine *engine, struct observation *seen, const struct counted *counted)
{
    struct actor *actor = seen->actor;
    struct guesses *guesses =
        actor && actor->is_suspected ? actor_ledger_find(actor, RULE_SUBDOMAINS) : NULL;
    bool is_flooded = zone_is_flooded(seen->zone, seen->row->first_us);
    if (!guesses || guesses->is_poisson || is_flooded ||
        2 * guesses->rand > guesses->dict + guesses->other) {
        return PK_OK;
    }
    guesses = actor_ledger(engine, actor, RULE_SUBDOMAINS);
    struct dossier *dossier = ledger_dossier(guesses);
    if (!dossier) {
        return PK_ERR_NOMEM;
    }
    add_counted(engine, guesses, seen, counted);
    bool is_slow;
    pk_err err = dossier_note(dossier, seen, NOTE_NOTHING, false);
    return err == PK_OK && guesses_alarm(engine, guesses, actor, &is_slow) > 0
               ? decide(engine, seen, actor, guesses)
               : err;
}

/* --- what waits --- */

static void renamed(
    struct pk_engine *engine, const struct actor_key *former, const struct actor_key *key)
{
    struct held *held = ledger_oldest(engine, RULE_HELD);
    for (uint8_t i = 0; held && i < held->n; i++) {
        if (memcmp(&held->keys[i], former, sizeof *former) == 0) {
            held->keys[i] = *key;
        }
    }
}

/* A row that stands for "now" when there is none: decide() needs the zone and the source's latest name. */
static pk_err release(
    struct pk_engine *engine, const struct actor_key *key, int64_t now_us, bool *out_stays)
{
    struct actor *actor = actor_find(engine, key);
    struct guesses *guesses = actor ? actor_ledger_find(actor, RULE_SUBDOMAINS) : NULL;
    struct dossier *dossier = guesses ? ledger_dossier_find(guesses) : NULL;
    *out_stays = false;
    if (!dossier || guesses->crossed_us == 0 || dossier_is_open(dossier)) {
        return PK_OK;
    }
    if (now_us - guesses->crossed_us < held_us(guesses, actor)) {
        *out_stays = true;
        return PK_OK;
    }
    struct pk_activity row;
    struct observation seen;
    if (!dossier_last_row(engine, dossier, actor, &row, &seen)) {
        return PK_OK;
    }
    seen.now_us = now_us;
    pk_err err = baseline_p0(engine, &seen, seen.p0);
    bool is_slow;
    return err == PK_OK && guesses_alarm(engine, guesses, actor, &is_slow) > 0
               ? decide(engine, &seen, actor, guesses)
               : err;
}

static pk_err settle(struct pk_engine *engine, void *ledger)
{
    struct dossier *dossier = ledger_dossier_find(ledger);
    struct actor *actor = &engine->actors.v[ledger_owner(ledger)];
    struct pk_activity row;
    struct observation seen;
    if (!dossier_last_row(engine, dossier, actor, &row, &seen)) {
        return PK_OK;
    }
    pk_err err = baseline_p0(engine, &seen, seen.p0);
    if (err == PK_OK) {
        report(engine, actor, ledger, dossier, seen.p0);
    }
    return err;
}

static pk_err tick(struct pk_engine *engine, int64_t now_us)
{
    struct held *held = tenant_ledger(engine, RULE_HELD);
    pk_err err = held ? PK_OK : PK_ERR_NOMEM;
    uint8_t kept = 0;
    for (uint8_t i = 0; held && i < held->n; i++) {
        bool stays = true;
        struct actor_key key = held->keys[i];
        if (err == PK_OK) {
            err = release(engine, &key, now_us, &stays);
        }
        if (stays) {
            held->keys[kept++] = key;
        }
    }
    if (held) {
        held->n = kept;
    }
    return err;
}

void pk_engine_suspects(const struct pk_engine *engine,
    void (*suspect)(
        void *arg, const struct pk_addr *addr, double wealth, double threshold, int64_t last_us),
    void *arg)
{
    for (const struct guesses *guesses = ledger_oldest(engine, RULE_SUBDOMAINS); guesses;
         guesses = ledger_newer(guesses)) {
        const struct actor *actor = &engine->actors.v[ledger_owner(guesses)];
        if (actor->key.kind == ACTOR_ADDRESS && actor->is_suspected) {
            suspect(arg, &actor->key.addr, guesses_score(guesses, FAST),
                guesses_threshold(engine, false), guesses->last_us);
            suspect(arg, &actor->key.addr, guesses_score(guesses, SLOW),
                guesses_threshold(engine, true), guesses->last_us);
        }
    }
}

/* --- state --- */

static void save_held(const void *ledger, struct pk_bytes *out)
{
    const struct held *held = ledger;
    pk_bytes_put_u8(out, held->n);
    for (uint8_t i = 0; i < held->n; i++) {
        pk_bytes_put_u8(out, held->keys[i].kind);
        state_put_addr(out, &held->keys[i].addr);
    }
}

static void load_held(void *ledger, struct pk_reader *in)
{
    struct held *held = ledger;
    held->n = state_get_count(in, MAX_HELD);
    for (uint8_t i = 0; i < held->n; i++) {
        held->keys[i].kind = state_get_index(in, N_ACTOR_KINDS);
        state_get_addr(in, &held->keys[i].addr);
    }
}

const struct rule rule_subdomains = {
    .id = "D2",
    .family = "subdomains",
    .version = "4",
    .budget_share = 0.35, /* D2 and D3 */
    .ledger_bytes = sizeof(struct guesses),
    .max_ledgers = 200000,
    .observe = observe,
    .counted = counted,
    .unite = guesses_unite,
    .renamed = renamed,
    .tick = tick,
    .settle = settle,
    .save = guesses_save,
    .load = guesses_load,
};

const struct rule rule_held = {
    .id = "D2",
    .family = "held",
    .version = "1",
    .ledger_bytes = sizeof(struct held),
    .max_ledgers = 1,
    .save = save_held,
    .load = load_held,
};

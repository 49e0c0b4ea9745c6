/* D4, D5: one list over many sources (T1595.003, T1590.002), and the same list at several places.
 *
 * Each source may stay below every threshold of its own; together they cover a list. So the statistic is kept for the zone, over its stream of questions: is a label one that
 * nobody missed here within seven days? Questions asked again count as its background, since the names that exist run out within the day. A list brings new words at every step, benign typing errors do not. It is the mixture CUSUM of guess.h with outcomes new word, new other
 * label, the rest, and smaller shares of the zone's traffic. One network brings four new labels to it a day at most, so that a single loud source cannot be a campaign. Some sum is
 * seldom at zero in a busy zone; the finding is about the change where the winning list and share last left it (Hinkley 1970, Inference about the change-point from cumulative sum tests), and what was noted before is not its evidence.
 *
 * A campaign is one finding for its zone: sources that would raise alarms of their own while it is open join it (coverage_take). D5 is a campaign opened by a second
 * source that asks what another suspect asked before. Overlap is counted in the table of missed labels, which the zone has anyway; no sketches. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "coverage.h"
#include "internal.h"

enum {
    NEW_WORD,
    NEW_OTHER,
    NEW_AGAIN, /* a new label, word or not, of a network that brought one today and hardly ever got an answer */
    REST,
    N_EVENTS
};
enum {
    LISTS = 3,
    SHARES = 5,
    MAX_MEMBERS = 64, /* networks; the longest silent goes */
    PER_NETWORK = 4,  /* new labels a network brings in a day */
    LESSONS = 40,     /* new labels of a network in a day that teach what is usual */
    MIN_NETWORKS = 3,
    MIN_WORDS = 8,
    MIN_LABELS = 11,
    MANY_HITS = 5,
    DAY_S = 86400,
    MIN_DAY_TRIALS = 200,
    DAYS = 5,
    MAX_ALARMS = 4, /* latest sources with alarms of their own */
    HOUR_S = 3600,
    MAX_RECENT = 32, /* latest new labels */
    HELD_US = 30 * 1000000,
    MIN_OVERLAP = 6, /* a suspect's first names come before it is one */
    IS_OTHER = 1,    /* of a recent label */
    IS_AGAIN = 2,
    MAX_HOMES =
        1024 /* zones, in the order of their first question, whose campaigns may take in others */
};

/* Questions asked again (a second type, a retry) are of the rest too: they are what goes on when all that exists has been asked. */
static const double p1[LISTS][N_EVENTS] = {
    {.40, .04, .01, .55}, {.02, .39, .01, .58}, {.12, .13, .45, .30}};
static const double part_again = .08; /* of new labels, of others than attackers */
static const double shares[SHARES] = {1.0, .3, .1, .03, .01};
static const double weights[SHARES] = {.30, .25, .20, .15, .10};
static const double budget_share = 0.2, pseudo_trials = 500;

struct member {
    struct actor_key network;
    uint16_t tag;            /* of its hash: every row looks for its network here */
    struct pk_addr addr;     /* one of its addresses; family 0 for a pseudonym */
    int64_t last_us, day_us; /* latest new label; when the count began */
    uint8_t n;               /* new labels since day_us, saturating above LESSONS */
};

struct alarm {
    struct actor_key network;
    struct pk_addr addr;
    int64_t time_us;
};

/* Why a campaign that single alarms opened is believed. */
struct company {
    float score; /* of the source, or the further zone, that joins; 0: the stream's own alarm */
    bool is_zone;
    uint32_t n_known;  /* of its names asked by another suspect */
    uint32_t n_alarms; /* other networks' alarms within a day */
};

struct coverage {
    struct alarm alarms[MAX_ALARMS]; /* that were not taken into a campaign; the oldest goes */
    uint8_t n_alarms;
    float wealth[LISTS][SHARES];
    int64_t since_us
        [LISTS]
        [SHARES]; /* when it last left zero: where the change was, if it is this list and share (Hinkley 1970) */
    int64_t start_us, last_us;
    uint32_t words, others;      /* new labels since the wealth last left zero */
    uint32_t inside;             /* of these brought by clients of our own */
    uint64_t recent[MAX_RECENT]; /* keys of the latest; IS_OTHER, IS_AGAIN in the lowest bits */
    uint8_t n_recent, next_recent;
    float told;         /* the score when it was reported last */
    int64_t crossed_us; /* above the threshold since, and waiting; 0: not */
    struct member members[MAX_MEMBERS];
    uint8_t n_members;
    bool is_same_list;      /* opened by coverage_take */
    struct company company; /* of the latest report */
    int64_t day;
    float today[N_EVENTS], days[DAYS][N_EVENTS];
    uint32_t n_days;
    /* Worked out when what is usual changes; not saved. */
    float gains[N_EVENTS][LISTS][SHARES];
    uint32_t gains_of; /* which days and age they are for; 0: none yet */
};

static double threshold(const struct pk_engine *engine)
{
    return rule_threshold(engine, budget_share, baseline_trials_a_day(engine));
}

/* --- what is usual here --- */

static void turn_day(struct coverage *coverage, int64_t day)
{
    float total = 0;
    for (unsigned y = 0; y < N_EVENTS; y++) {
        total += coverage->today[y];
    }
    if (total >= MIN_DAY_TRIALS && !dossier_is_open(ledger_dossier_find(coverage))) {
        memcpy(coverage->days[coverage->n_days % DAYS], coverage->today, sizeof coverage->today);
        coverage->n_days++; /* a day on which somebody went through a list is no lesson */
    }
    memset(coverage->today, 0, sizeof coverage->today);
    coverage->day = day;
}

/* In its first day, and until a day has taught something. */
static bool young(const struct pk_engine *engine, const struct coverage *coverage)
{
    return coverage->n_days == 0 || engine->now_us - coverage->start_us < (int64_t)DAY_S * 1000000;
}

/* The mean of the days, with the prior's weight, never below a tenth of it; twice the prior on the first day, when every label is new once. */
static void usual(
    const struct pk_engine *engine, const struct coverage *coverage, double out_p0[N_EVENTS])
{
    bool is_young = young(engine, coverage);
    double word = engine->baseline.priors->novel_dict * (is_young ? 2 : 1),
           other = engine->baseline.priors->novel_other * (is_young ? 2 : 1);
    const double again = part_again * (word + other);
    const double prior[N_EVENTS] = {
        (1 - part_again) * word, (1 - part_again) * other, again, 1 - word - other};
    double sum[N_EVENTS] = {0}, total = 0;
    unsigned n = coverage->n_days < DAYS ? coverage->n_days : DAYS;
    for (unsigned d = 0; d < n; d++) {
        for (unsigned y = 0; y < N_EVENTS; y++) {
            sum[y] += (double)coverage->days[d][y];
            total += (double)coverage->days[d][y];
        }
    }
    for (unsigned y = 0; y < N_EVENTS; y++) {
        double p = (sum[y] + pseudo_trials * prior[y]) / (total + pseudo_trials);
        out_p0[y] = p > prior[y] / 10 ? p : prior[y] / 10;
    }
}

/* --- members --- */

static struct member *find_network(struct coverage *coverage, const struct actor_key *network)
{
    uint16_t tag = (uint16_t)actor_hash(network);
    for (unsigned i = 0; i < coverage->n_members; i++) {
        struct member *member = &coverage->members[i];
        if (member->tag == tag && memcmp(&member->network, network, sizeof *network) == 0) {
            return member;
        }
    }
    return NULL;
}

static struct member *member_of(
    struct coverage *coverage, const struct actor_key *network, int64_t now_us)
{
    struct member *member = find_network(coverage, network);
    if (member) {
        return member;
    }
    member = &coverage->members[0];
    for (unsigned i = 1; i < coverage->n_members; i++) {
        member = coverage->members[i].last_us < member->last_us ? &coverage->members[i] : member;
    }
    if (coverage->n_members < MAX_MEMBERS) {
        member = &coverage->members[coverage->n_members++];
    }
    memset(member, 0, sizeof *member);
    member->network = *network;
    member->tag = (uint16_t)actor_hash(network);
    member->last_us = member->day_us = now_us;
    return member;
}

static const struct member *find_member(const struct coverage *coverage, const struct actor *actor)
{
    struct actor_key network = actor_network_key(actor);
    for (unsigned i = 0; i < coverage->n_members; i++) {
        if (memcmp(&coverage->members[i].network, &network, sizeof network) == 0) {
            return &coverage->members[i];
        }
    }
    return NULL;
}

static unsigned active_members(const struct coverage *coverage, int64_t now_us)
{
    unsigned n = 0;
    for (unsigned i = 0; i < coverage->n_members; i++) {
        n += coverage->members[i].n > 0 &&
             now_us - coverage->members[i].last_us <= (int64_t)DAY_S * 1000000;
    }
    return n;
}

/* How many new labels this network would have brought today if this were one. */
static uint8_t would_bring(struct coverage *coverage, const struct observation *seen)
{
    struct actor_key network = actor_network_key(seen->actor);
    const struct member *member = find_network(coverage, &network);
    bool is_today = member && seen->row->first_us - member->day_us <= (int64_t)DAY_S * 1000000;
    return (uint8_t)(is_today ? member->n + (member->n <= LESSONS) : 1);
}

/* How many new labels this network brought today, with this one. */
static uint8_t bring(struct coverage *coverage, const struct observation *seen)
{
    struct actor_key network = actor_network_key(seen->actor);
    int64_t now_us = seen->row->first_us;
    struct member *member = member_of(coverage, &network, now_us);
    if (now_us - member->day_us > (int64_t)DAY_S * 1000000) {
        member->day_us = now_us;
        member->n = 0;
    }
    member->last_us = now_us > member->last_us ? now_us : member->last_us;
    if (seen->actor->key.kind == ACTOR_ADDRESS || seen->actor->key.kind == ACTOR_INSIDE) {
        member->addr = seen->actor->key.addr;
    }
    member->n = (uint8_t)(member->n + (member->n <= LESSONS));
    return member->n;
}

/* --- reporting --- */

static double best(const struct coverage *coverage, unsigned *out_list, unsigned *out_share)
{
    double highest = -HUGE_VAL;
    for (unsigned i = 0; i < LISTS; i++) {
        for (unsigned k = 0; k < SHARES; k++) {
            double score = (double)coverage->wealth[i][k] + log(weights[k] / LISTS);
            if (score > highest) {
                highest = score;
                *out_list = i;
                *out_share = k;
            }
        }
    }
    return highest;
}

/* Those that brought labels since the finding began, the latest last: of a full list these stay. */
static void add_members(struct dossier *dossier, const struct coverage *coverage)
{
    const struct member *sorted[MAX_MEMBERS];
    unsigned n = 0;
    for (unsigned i = 0; i < coverage->n_members; i++) {
        const struct member *member = &coverage->members[i];
        if (member->n < 2 || member->addr.family == 0 || /* one is a typing error's */
            member->last_us < dossier->first_us) {
            continue;
        }
        unsigned at = n++;
        for (; at > 0 && sorted[at - 1]->last_us > member->last_us; at--) {
            sorted[at] = sorted[at - 1];
        }
        sorted[at] = member;
    }
    for (unsigned i = n > PK_FINDING_MAX_ADDRESSES ? n - PK_FINDING_MAX_ADDRESSES : 0; i < n; i++) {
        dossier_add_address(dossier, &sorted[i]->addr);
    }
}

static void explain(
    struct pk_finding *finding, const struct coverage *coverage, const struct company *company)
{
    unsigned i = 0, k = 0;
    double score = best(coverage, &i, &k);
    if (company->score > 0) {
        contribute(finding,
            company->is_zone ? "labels nobody missed for a week in a further zone, same sources"
                             : "evidence against the source that joined",
            (double)company->score);
        /* Half of n names by chance from a vocabulary of a thousand and more: ln 10 for each is on the safe side. */
        contribute(finding, "names asked by another suspect", company->n_known * log(10.0));
        return;
    }
    contribute(finding, "labels nobody missed here for a week", score - log(weights[k] / LISTS));
    contribute(finding, "prior of this list and share", log(weights[k] / LISTS));
}

/* is_wider: a further zone, which is worth telling. The row may be of such a zone; the campaign is told of its own. */
static void report(struct pk_engine *engine, struct coverage *coverage, struct dossier *dossier,
    const struct company *company, bool is_wider)
{
    struct subject subject = {.kind = "campaign"};
    uint8_t severity = dossier->n_learned >= MANY_HITS ? 4 : 3;
    unsigned list, share;
    double score = best(coverage, &list, &share);
    add_members(dossier, coverage);
    uint32_t size = coverage->words + coverage->others;
    size = size > dossier->n_addresses ? size : dossier->n_addresses;
    /* Twice the evidence: of whom and what, the finding may not have said yet. */
    bool is_again =
        score > 2 * (double)coverage->told && score > (double)coverage->told + threshold(engine);
    if (!dossier_is_due(dossier, size, severity) && !is_wider && !is_again) {
        return;
    }
    coverage->told = (float)score;
    char zone[PK_NAME_TEXT_SIZE] = "";
    struct pk_name name;
    const uint8_t *raw = engine->zones.v[ledger_owner(coverage)].name;
    if (pk_name_from_wire(raw + 1, raw[0], &name) == PK_OK) {
        (void)pk_name_text(&name, zone);
    }
    coverage->company = *company;
    snprintf(subject.key, sizeof subject.key, "zone:%.57s", zone);
    struct pk_finding *finding =
        dossier_begin(engine, RULE_COVERAGE, dossier, &subject, size, severity);
    finding->detector = coverage->is_same_list ? "D5" : "D4";
    const char *what = coverage->is_same_list ? "The same list again"
                       : company->score > 0   ? "Enumeration by several sources"
                                              : "One list over many sources";
    snprintf(finding->title, sizeof finding->title,
        "%s below %.60s: %zu sources of several names, %u new names, at %zu site%s", what, zone,
        finding->n_addresses, coverage->words + coverage->others, finding->n_sites,
        finding->n_sites == 1 ? "" : "s");
    finding->technique[finding->n_techniques++] = "T1595.003";
    finding->technique[finding->n_techniques++] = "T1590.002";
    memcpy(finding->campaign, finding->id, sizeof finding->campaign);
    explain(finding, coverage, company);
    finding->trials = coverage->words + coverage->others;
    finding->dict = coverage->words;
    finding->other = coverage->others;
    report_finding(engine, threshold(engine));
}

/* How many other networks raised alarms here within so long. */
static unsigned other_alarms(const struct coverage *coverage, const struct actor_key *network,
    int64_t now_us, int64_t within_s)
{
    unsigned n = 0;
    for (uint8_t i = 0; i < coverage->n_alarms; i++) {
        n += memcmp(&coverage->alarms[i].network, network, sizeof *network) != 0 &&
             now_us - coverage->alarms[i].time_us <= within_s * 1000000;
    }
    return n;
}

static void add_alarm(struct coverage *coverage, const struct actor *actor,
    const struct actor_key *network, int64_t now_us)
{
    unsigned at = 0;
    for (uint8_t i = 0; i < coverage->n_alarms; i++) {
        at = coverage->alarms[i].time_us < coverage->alarms[at].time_us ? i : at;
    }
    at = coverage->n_alarms < MAX_ALARMS ? coverage->n_alarms++ : at;
    coverage->alarms[at] = (struct alarm){.network = *network, .time_us = now_us};
    if (actor->key.kind == ACTOR_ADDRESS || actor->key.kind == ACTOR_INSIDE) {
        coverage->alarms[at].addr = actor->key.addr;
    }
}

static pk_err join(struct pk_engine *engine, const struct observation *seen,
    const struct actor *actor, struct coverage *coverage, const struct company *company)
{
    struct dossier *dossier = ledger_dossier(coverage);
    uint8_t n_zones = dossier ? dossier->n_zones : 0;
    pk_err err = dossier ? dossier_note(dossier, seen, NOTE_SAMPLE, true) : PK_ERR_NOMEM;
    if (err != PK_OK) {
        return err;
    }
    if (actor && (actor->key.kind == ACTOR_ADDRESS || actor->key.kind == ACTOR_INSIDE)) {
        dossier_add_address(dossier, &actor->key.addr);
    }
    for (uint8_t i = 0; i < coverage->n_alarms; i++) {
        if (coverage->alarms[i].addr.family != 0 &&
            seen->row->first_us - coverage->alarms[i].time_us <= (int64_t)DAY_S * 1000000) {
            dossier_add_address(dossier, &coverage->alarms[i].addr);
        }
    }
    report(engine, coverage, dossier, company, dossier->n_zones > n_zones);
    return PK_OK;
}

/* --- one campaign over several zones --- */

static bool is_running(const struct coverage *coverage, int64_t now_us)
{
    const struct dossier *dossier = coverage ? ledger_dossier_find(coverage) : NULL;
    return dossier_is_open(dossier) &&
           now_us - dossier->last_us <= (int64_t)FINDING_IDLE_S * 1000000;
}

static bool is_active(const struct member *member, int64_t now_us)
{
    return member && member->n > 0 && now_us - member->last_us <= (int64_t)DAY_S * 1000000;
}

/* The zone whose open campaign the source takes part in: this one before others; NULL: none. */
static struct zone *home_of_actor(struct pk_engine *engine, const struct observation *seen,
    const struct actor *actor, int64_t now_us)
{
    struct coverage *here = zone_ledger_find(seen->zone, RULE_COVERAGE);
    const struct member *member = here ? find_member(here, actor) : NULL;
    if (is_running(here, now_us) && member && member->n > 0) {
        return seen->zone;
    }
    for (uint32_t i = 0; i < engine->zones.n && i < MAX_HOMES; i++) {
        struct zone *zone = &engine->zones.v[i];
        struct coverage *coverage = zone_ledger_find(zone, RULE_COVERAGE);
        if (zone != seen->zone && is_running(coverage, now_us) &&
            is_active(find_member(coverage, actor), now_us)) {
            return zone;
        }
    }
    return NULL;
}

/* The zone whose open campaign has at least three networks, and half of those that are active here: the same sources go through the tenant's zones. NULL: none. */
static struct zone *home_of_sources(struct pk_engine *engine, const struct observation *seen,
    const struct coverage *coverage, int64_t now_us)
{
    for (uint32_t i = 0; i < engine->zones.n && i < MAX_HOMES; i++) {
        struct zone *zone = &engine->zones.v[i];
        struct coverage *other = zone_ledger_find(zone, RULE_COVERAGE);
        unsigned shared = 0;
        if (zone == seen->zone || !is_running(other, now_us)) {
            continue;
        }
        for (unsigned k = 0; k < coverage->n_members; k++) {
            const struct member *member = &coverage->members[k];
            for (unsigned m = 0; is_active(member, now_us) && m < other->n_members; m++) {
                shared += is_active(&other->members[m], now_us) &&
                          memcmp(&member->network, &other->members[m].network,
                              sizeof member->network) == 0;
            }
        }
        if (shared >= MIN_NETWORKS && 2 * shared >= active_members(coverage, now_us)) {
            return zone;
        }
    }
    return NULL;
}

pk_err coverage_take(struct pk_engine *engine, const struct observation *seen,
    const struct actor *actor, double score, uint32_t n_names, uint32_t n_known, bool may_open,
    bool *out_taken)
{
    struct coverage *coverage = zone_ledger(engine, seen->zone, RULE_COVERAGE);
    if (!coverage) {
        return PK_ERR_NOMEM;
    }
    int64_t now_us = seen->row->first_us;
    struct actor_key network = actor_network_key(actor);
    bool is_open = is_running(coverage, now_us);
    struct zone *home = home_of_actor(engine, seen, actor, now_us);
    bool is_same = n_known >= MIN_OVERLAP && 2 * n_known >= n_names;
    struct company company = {.score = (float)score,
        .n_known = n_known,
        .n_alarms = other_alarms(coverage, &network, now_us, DAY_S)};
    bool has_company =
        company.n_alarms >= 2 || other_alarms(coverage, &network, now_us, HOUR_S) >= 1;
    *out_taken = home || is_same || has_company;
    if (home && home != seen->zone) {
        return join(engine, seen, actor, zone_ledger_find(home, RULE_COVERAGE), &company);
    }
    if (!*out_taken) {
        add_alarm(coverage, actor, &network, now_us);
        return PK_OK;
    }
    if (!is_open && !may_open) {
        return PK_OK; /* it is told of as part of another zone's campaign */
    }
    coverage->is_same_list = is_open ? coverage->is_same_list : is_same;
    return join(engine, seen, actor, coverage, &company);
}

/* --- the stream --- */

static void refresh(const struct pk_engine *engine, struct coverage *coverage)
{
    bool is_young = young(engine, coverage);
    uint32_t wanted = 2 * (coverage->n_days + 1) + is_young;
    double p0[N_EVENTS];
    if (coverage->gains_of == wanted) {
        return;
    }
    usual(engine, coverage, p0);
    for (unsigned y = 0; y < N_EVENTS; y++) {
        for (unsigned i = 0; i < LISTS; i++) {
            for (unsigned k = 0; k < SHARES; k++) {
                coverage->gains[y][i][k] =
                    logf((float)(1 - shares[k] + shares[k] * p1[i][y] / p0[y]));
            }
        }
    }
    coverage->gains_of = wanted;
}

static void add(struct coverage *coverage, unsigned event, float leak, int64_t now_us)
{
    float highest = 0;
    for (unsigned i = 0; i < LISTS; i++) {
        for (unsigned k = 0; k < SHARES; k++) {
            float left = coverage->wealth[i][k] - leak;
            highest = left > highest ? left : highest;
            if (left <= 0) {
                left = 0;
                coverage->since_us[i][k] = now_us;
            }
            coverage->wealth[i][k] = left + coverage->gains[event][i][k];
        }
    }
    if (highest <= 0) {
        coverage->words = coverage->others = coverage->inside = 0;
        coverage->n_recent = coverage->next_recent = 0;
        coverage->crossed_us = 0;
        coverage->told = 0;
    }
}

static unsigned event_of(const struct observation *seen)
{
    const struct trial *trial = &seen->trial;
    bool is_flooded = zone_is_flooded(seen->zone, seen->row->first_us);
    bool is_new = trial->miss.is_novel && !(trial->marks & MARK_KNOWN) &&
                  (trial->outcome == OUTCOME_DICT ||
                      (trial->outcome == OUTCOME_OTHER && !is_flooded &&
                          !(trial->marks & MARK_WILDCARD))); /* users may name themselves */
    if (!is_new) {
        return REST;
    }
    return trial->outcome == OUTCOME_DICT ? NEW_WORD : NEW_OTHER;
}

/* Next to nothing it asked here ever existed. A resolver with typing errors behind it gets answers; who guesses a few names and goes does not. */
static bool is_stranger(const struct pk_engine *engine, const struct actor *actor)
{
    struct actor_key key = actor_network_key(actor);
    const struct actor *network = actor_find(engine, &key);
    float hits = actor->own[OUTCOME_HIT];
    hits += network && network != actor ? network->own[OUTCOME_HIT] : 0;
    return hits <= 1;
}

/* Takes back what labels brought that established sources miss together: a mistake at many places, no list. */
static void take_back_common(const struct pk_engine *engine, struct coverage *coverage)
{
    for (uint8_t i = 0; i < coverage->n_recent;) {
        unsigned bits = (unsigned)(coverage->recent[i] & 3);
        unsigned event = bits & IS_AGAIN ? NEW_AGAIN : bits & IS_OTHER ? NEW_OTHER : NEW_WORD;
        if (!miss_is_common(engine, coverage->recent[i] & ~UINT64_C(3))) {
            i++;
            continue;
        }
        for (unsigned l = 0; l < LISTS; l++) {
            for (unsigned k = 0; k < SHARES; k++) {
                coverage->wealth[l][k] -= coverage->gains[event][l][k];
            }
        }
        uint32_t *counter = bits & IS_OTHER ? &coverage->others : &coverage->words;
        *counter -= *counter > 0;
        coverage->inside -= coverage->inside > 0;
        coverage->recent[i] = coverage->recent[--coverage->n_recent];
        coverage->next_recent = coverage->n_recent % MAX_RECENT;
    }
}

static void remember(struct coverage *coverage, const struct observation *seen, unsigned bits)
{
    coverage->words += !(bits & IS_OTHER);
    coverage->others += bits & IS_OTHER;
    coverage->inside += actor_is_inside(seen->actor);
    coverage->recent[coverage->next_recent] = seen->trial.miss.key | bits;
    coverage->next_recent = (uint8_t)((coverage->next_recent + 1) % MAX_RECENT);
    coverage->n_recent = (uint8_t)(coverage->n_recent + (coverage->n_recent < MAX_RECENT));
}

static bool is_alarm(
    const struct pk_engine *engine, const struct observation *seen, const struct coverage *coverage)
{
    /* A zone none of whose names ever was seen to exist is not there: a suffix that leaks (`local`, `lan`) to servers that do not know it. */
    unsigned i, k;
    bool is_enough =
        coverage->words >= MIN_WORDS || coverage->words + coverage->others >= MIN_LABELS;
    return is_enough && seen->zone->n_exist > 0 && best(coverage, &i, &k) > threshold(engine) &&
           active_members(coverage, seen->row->first_us) >= MIN_NETWORKS;
}

/* The alarm goes out; or, when most of it comes from clients of our own, waits half a minute for others that make the same mistake. */
static pk_err decide(struct pk_engine *engine, const struct observation *seen,
    struct coverage *coverage, struct dossier *dossier)
{
    if (!dossier_is_open(dossier) && is_alarm(engine, seen, coverage)) {
        bool waits = 2 * coverage->inside > coverage->words + coverage->others;
        coverage->crossed_us = coverage->crossed_us ? coverage->crossed_us : seen->now_us;
        if (waits && seen->now_us - coverage->crossed_us < HELD_US) {
            engine->is_campaign_waiting = true;
            return PK_OK;
        }
        take_back_common(engine, coverage);
    }
    coverage->crossed_us = 0;
    if (!is_alarm(engine, seen, coverage)) {
        return PK_OK;
    }
    struct zone *home = dossier_is_open(dossier)
                            ? NULL
                            : home_of_sources(engine, seen, coverage, seen->row->first_us);
    if (home) {
        unsigned i, k;
        struct company company = {.score = (float)best(coverage, &i, &k), .is_zone = true};
        return join(engine, seen, seen->actor, zone_ledger_find(home, RULE_COVERAGE), &company);
    }
    unsigned i, k;
    (void)best(coverage, &i, &k);
    pk_err err = dossier_narrow(dossier, coverage->since_us[i][k]);
    if (err == PK_OK) {
        report(engine, coverage, dossier, &(struct company){.score = 0}, false);
    }
    return err;
}

static pk_err note(
    struct pk_engine *engine, const struct observation *seen, struct coverage *coverage)
{
    struct dossier *dossier = ledger_dossier(coverage);
    pk_err err = dossier ? dossier_note(dossier, seen, NOTE_SAMPLE, true) : PK_ERR_NOMEM;
    return err == PK_OK ? decide(engine, seen, coverage, dossier) : err;
}

static pk_err observe(struct pk_engine *engine, const struct observation *seen)
{
    if (seen->trial.no != TRIAL_YES && seen->trial.no != NO_TRIAL_AGAIN) {
        return PK_OK;
    }
    struct coverage *coverage = zone_ledger(engine, seen->zone, RULE_COVERAGE);
    if (!coverage) {
        return PK_ERR_NOMEM;
    }
    int64_t now_us = seen->row->first_us, day = engine->now_us / INT64_C(86400000000);
    coverage->start_us = coverage->start_us ? coverage->start_us : now_us;
    if (day > coverage->day) {
        turn_day(coverage, day);
    }
    unsigned event = event_of(seen);
    /* Whose new labels count no more, of that nothing else counts either: otherwise what is usual of a network until then would be lost among its questions of the rest of the day. */
    uint8_t n_brought = event == REST ? would_bring(coverage, seen) : bring(coverage, seen);
    unsigned bits = event == NEW_OTHER ? IS_OTHER : 0;
    if (event != REST && n_brought >= 2 && is_stranger(engine, seen->actor)) {
        event = NEW_AGAIN;
        bits |= IS_AGAIN;
    }
    coverage->today[event] += n_brought <= LESSONS;
    if (n_brought > PER_NETWORK) {
        return PK_OK; /* more of the same network: neither for nor against, but what is usual */
    }
    double h = threshold(engine);
    int64_t dt_us = coverage->last_us ? now_us - coverage->last_us : 0;
    refresh(engine, coverage);
    add(coverage, event, (float)(dt_us > 0 ? h * (double)dt_us / ((double)DAY_S * 1e6) : 0),
        now_us);
    coverage->last_us = now_us > coverage->last_us ? now_us : coverage->last_us;
    if (event == REST) {
        return PK_OK;
    }
    remember(coverage, seen, bits);
    unsigned i, k;
    return best(coverage, &i, &k) > h / 4 ? note(engine, seen, coverage) : PK_OK;
}

/* What waited long enough. */
static pk_err tick(struct pk_engine *engine, int64_t now_us)
{
    if (!engine->is_campaign_waiting) {
        return PK_OK;
    }
    engine->is_campaign_waiting = false;
    pk_err err = PK_OK;
    for (struct coverage *coverage = ledger_oldest(engine, RULE_COVERAGE); coverage && err == PK_OK;
         coverage = ledger_newer(coverage)) {
        struct pk_activity row;
        struct observation seen;
        struct dossier *dossier = ledger_dossier_find(coverage);
        engine->is_campaign_waiting = engine->is_campaign_waiting || coverage->crossed_us != 0;
        if (coverage->crossed_us == 0 || now_us - coverage->crossed_us < HELD_US || !dossier ||
            !dossier_last_row(engine, dossier, NULL, &row, &seen)) {
            continue;
        }
        seen.now_us = now_us;
        refresh(engine, coverage);
        err = decide(engine, &seen, coverage, dossier);
    }
    return err;
}

/* Tells the numbers of the end; of a campaign that single alarms opened there are no others than were told. */
static pk_err settle(struct pk_engine *engine, void *ledger)
{
    struct coverage *coverage = ledger;
    struct dossier *dossier = ledger_dossier_find(coverage);
    struct pk_activity row;
    struct observation seen;
    if (dossier_last_row(engine, dossier, NULL, &row, &seen)) {
        struct company company = coverage->company;
        report(engine, coverage, dossier, &company, false);
    }
    return PK_OK;
}

/* --- state --- */

static void save(const void *ledger, struct pk_bytes *out)
{
    const struct coverage *coverage = ledger;
    pk_bytes_put_u8(out, coverage->n_alarms);
    for (uint8_t i = 0; i < coverage->n_alarms; i++) {
        pk_bytes_put_u8(out, coverage->alarms[i].network.kind);
        state_put_addr(out, &coverage->alarms[i].network.addr);
        state_put_addr(out, &coverage->alarms[i].addr);
        state_put_time(out, coverage->alarms[i].time_us);
    }
    for (unsigned i = 0; i < LISTS; i++) {
        for (unsigned k = 0; k < SHARES; k++) {
            state_put_float(out, coverage->wealth[i][k]);
            state_put_time(out, coverage->since_us[i][k]);
        }
    }
    state_put_time(out, coverage->start_us);
    state_put_time(out, coverage->last_us);
    pk_bytes_put_varint(out, coverage->words);
    pk_bytes_put_varint(out, coverage->others);
    pk_bytes_put_varint(out, coverage->inside);
    pk_bytes_put_u8(out, coverage->next_recent);
    pk_bytes_put_u8(out, coverage->n_recent);
    for (unsigned i = 0; i < coverage->n_recent; i++) {
        pk_bytes_put_be64(out, coverage->recent[i]);
    }
    state_put_float(out, coverage->told);
    state_put_time(out, coverage->crossed_us);
    pk_bytes_put_u8(out, coverage->is_same_list);
    state_put_float(out, coverage->company.score);
    pk_bytes_put_u8(out, coverage->company.is_zone);
    pk_bytes_put_varint(out, coverage->company.n_known);
    pk_bytes_put_varint(out, coverage->company.n_alarms);
    pk_bytes_put_u8(out, coverage->n_members);
    for (unsigned i = 0; i < coverage->n_members; i++) {
        const struct member *member = &coverage->members[i];
        pk_bytes_put_u8(out, member->network.kind);
        state_put_addr(out, &member->network.addr);
        state_put_addr(out, &member->addr);
        state_put_time(out, member->last_us);
        state_put_time(out, member->day_us);
        pk_bytes_put_u8(out, member->n);
    }
    state_put_time(out, coverage->day);
    pk_bytes_put_varint(out, coverage->n_days);
    for (unsigned y = 0; y < N_EVENTS; y++) {
        state_put_float(out, coverage->today[y]);
        for (unsigned d = 0; d < DAYS; d++) {
            state_put_float(out, coverage->days[d][y]);
        }
    }
}

static void load(void *ledger, struct pk_reader *in)
{
    struct coverage *coverage = ledger;
    coverage->n_alarms = state_get_count(in, MAX_ALARMS);
    for (uint8_t i = 0; i < coverage->n_alarms; i++) {
        coverage->alarms[i].network.kind = state_get_index(in, N_ACTOR_KINDS);
        state_get_addr(in, &coverage->alarms[i].network.addr);
        state_get_addr(in, &coverage->alarms[i].addr);
        coverage->alarms[i].time_us = state_get_time(in);
    }
    for (unsigned i = 0; i < LISTS; i++) {
        for (unsigned k = 0; k < SHARES; k++) {
            coverage->wealth[i][k] = state_get_float(in);
            coverage->since_us[i][k] = state_get_time(in);
        }
    }
    coverage->start_us = state_get_time(in);
    coverage->last_us = state_get_time(in);
    coverage->words = state_get_u32(in);
    coverage->others = state_get_u32(in);
    coverage->inside = state_get_u32(in);
    coverage->next_recent = state_get_index(in, MAX_RECENT);
    coverage->n_recent = state_get_count(in, MAX_RECENT);
    for (unsigned i = 0; i < coverage->n_recent; i++) {
        coverage->recent[i] = pk_reader_be64(in);
    }
    coverage->told = state_get_float(in);
    coverage->crossed_us = state_get_time(in);
    coverage->is_same_list = state_get_count(in, 1);
    coverage->company.score = state_get_float(in);
    coverage->company.is_zone = state_get_count(in, 1);
    coverage->company.n_known = state_get_u32(in);
    coverage->company.n_alarms = state_get_u32(in);
    coverage->n_members = state_get_count(in, MAX_MEMBERS);
    for (unsigned i = 0; i < coverage->n_members; i++) {
        struct member *member = &coverage->members[i];
        member->network.kind = state_get_index(in, N_ACTOR_KINDS);
        state_get_addr(in, &member->network.addr);
        member->tag = (uint16_t)actor_hash(&member->network);
        state_get_addr(in, &member->addr);
        member->last_us = state_get_time(in);
        member->day_us = state_get_time(in);
        member->n = state_get_count(in, LESSONS + 1);
    }
    coverage->day = state_get_time(in);
    coverage->n_days = state_get_u32(in);
    for (unsigned y = 0; y < N_EVENTS; y++) {
        coverage->today[y] = state_get_float(in);
        for (unsigned d = 0; d < DAYS; d++) {
            coverage->days[d][y] = state_get_float(in);
        }
    }
}

const struct rule rule_coverage = {
    .id = "D4",
    .family = "campaign",
    .version = "5",
    .budget_share = 0.2, /* D4 and D5 */
    .ledger_bytes = sizeof(struct coverage),
    .max_ledgers = 10000,
    .observe = observe,
    .tick = tick,
    .settle = settle,
    .save = save,
    .load = load,
};

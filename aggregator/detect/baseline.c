/* Baselines by site and class. */
#include "baseline.h"

#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum {
    OWN_TRIALS = 20,
    SHARED_TRIALS = 300,
    PSEUDO_TRIALS = 50,
    MIN_DAY_TRIALS = 20,
    MAX_WEIGHT = 2000, /* trials a cell may weigh against its prior */
    LEAST_LESSONS = 5,
    MIN_TRIALS_A_DAY = 170000,
    MAX_OWN = 5, /* times its class's share of a kind of miss a source may make its own habit */
    OWN_MEMORY = 1024 /* own trials kept; then all are halved */
};

/* From synthetic traffic (detection.md 3.4) and the captures under tests/data; version it when a number changes. */
const struct pk_priors pk_priors_shipped =
    {
        .version = "1",
        .p0 =
            {
                [PK_VANTAGE_UNKNOWN] = {[PK_SOURCE_NEW] = {.785, .030, .105, .080},
                    [PK_SOURCE_ORDINARY] = {.800, .030, .090, .080},
                    [PK_SOURCE_SHARED] = {.750, .040, .110, .100},
                    [PK_SOURCE_INSIDE] = {.860, .035, .050, .055}},
                [PK_VANTAGE_AUTHORITATIVE] = {[PK_SOURCE_NEW] = {.785, .030, .105, .080},
                    [PK_SOURCE_ORDINARY] = {.800, .030, .090, .080},
                    [PK_SOURCE_SHARED] = {.750, .040, .110, .100},
                    [PK_SOURCE_INSIDE] = {.860, .035, .050, .055}},
                [PK_VANTAGE_RESOLVER] = {[PK_SOURCE_NEW] = {.860, .035, .050, .055},
                    [PK_SOURCE_ORDINARY] = {.860, .035, .050, .055},
                    [PK_SOURCE_SHARED] = {.800, .040, .090, .070},
                    [PK_SOURCE_INSIDE] = {.860, .035, .050, .055}},
            },
        .repeat = .4,
        .novel_dict = .012,
        .novel_other = .05,
};

static void reset(struct baseline *baseline, struct baseline_site *site, uint8_t vantage)
{
    memset(site, 0, sizeof *site);
    site->vantage = vantage;
    for (unsigned class = 0; class < PK_N_SOURCE_CLASSES; class ++) {
        for (unsigned y = 0; y < N_OUTCOMES; y++) {
            site->cells[class].p0[y] = (float)baseline->priors->p0[vantage][class][y];
        }
    }
}

/* The tenant's and the named sites' cells up to index; NULL: no memory. */
static struct baseline_site *at(struct baseline *baseline, size_t index)
{
    while (baseline->n_sites <= index) {
        if (baseline->n_sites == baseline->cap_sites) {
            size_t cap = baseline->cap_sites ? 2 * baseline->cap_sites : 8;
            struct baseline_site *grown = realloc(baseline->sites, cap * sizeof *grown);
            if (!grown) {
                return NULL;
            }
            baseline->sites = grown;
            baseline->cap_sites = cap;
        }
        reset(baseline, &baseline->sites[baseline->n_sites++], PK_VANTAGE_UNKNOWN);
    }
    return &baseline->sites[index];
}

pk_err baseline_init(struct baseline *baseline, const struct pk_priors *priors)
{
    *baseline = (struct baseline){
        .priors = priors ? priors : &pk_priors_shipped, .trials_a_day = MIN_TRIALS_A_DAY};
    return at(baseline, 0) ? PK_OK : PK_ERR_NOMEM;
}

void baseline_done(struct baseline *baseline)
{
    free(baseline->sites);
    baseline->sites = NULL;
    baseline->n_sites = 0;
}

enum pk_source_class baseline_class(const struct observation *seen)
{
    return baseline_class_of(seen->actor);
}

enum pk_source_class baseline_class_of(const struct actor *actor)
{
    float n = actor->own[0] + actor->own[1] + actor->own[2] + actor->own[3];
    bool is_many = actor->key.kind == ACTOR_SITE && n >= SHARED_TRIALS;
    if (actor_is_inside(actor) && !is_many) {
        return PK_SOURCE_INSIDE;
    }
    return n >= SHARED_TRIALS ? PK_SOURCE_SHARED
           : n >= OWN_TRIALS  ? PK_SOURCE_ORDINARY
                              : PK_SOURCE_NEW;
}

/* --- estimating --- */

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Median over the days of one outcome's share, or the highest. */
static float over_days(const struct baseline_cell *cell, unsigned outcome, bool is_highest)
{
    float shares[BASELINE_DAYS];
    unsigned n = cell->n_days < BASELINE_DAYS ? cell->n_days : BASELINE_DAYS;
    for (unsigned d = 0; d < n; d++) {
        float total = 0;
        for (unsigned y = 0; y < N_OUTCOMES; y++) {
            total += cell->days[d][y];
        }
        shares[d] = cell->days[d][outcome] / total;
    }
    qsort(shares, n, sizeof *shares, compare_floats);
    return is_highest ? shares[n - 1] : shares[n / 2];
}

static void estimate(
    struct baseline_cell *cell, const float *prior, const double *shipped, bool is_new)
{
    float shares[N_OUTCOMES], total = 0, weight = 0, sum = 0;
    for (unsigned y = 0; y < N_OUTCOMES; y++) {
        shares[y] = over_days(cell, y, is_new && y != OUTCOME_HIT);
        total += shares[y];
        for (unsigned d = 0; d < BASELINE_DAYS; d++) {
            weight += cell->days[d][y];
        }
    }
    weight = weight < MAX_WEIGHT ? weight : MAX_WEIGHT;
    for (unsigned y = 0; y < N_OUTCOMES; y++) {
        float p =
            (weight * shares[y] / total + PSEUDO_TRIALS * prior[y]) / (weight + PSEUDO_TRIALS);
        float least = (float)shipped[y] / 3;
        cell->p0[y] = p > least ? p : least;
        sum += cell->p0[y];
    }
    for (unsigned y = 0; y < N_OUTCOMES; y++) {
        cell->p0[y] /= sum;
    }
}

static void end_day(struct baseline_cell *cell)
{
    float total = 0;
    for (unsigned y = 0; y < N_OUTCOMES; y++) {
        total += cell->today[y];
    }
    if (total >= MIN_DAY_TRIALS) {
        memcpy(cell->days[cell->n_days % BASELINE_DAYS], cell->today, sizeof cell->today);
        cell->n_days++;
    }
    memset(cell->today, 0, sizeof cell->today);
}

static void turn_day(struct baseline *baseline, int64_t day)
{
    for (size_t s = 0; s < baseline->n_sites; s++) {
        struct baseline_site *site = &baseline->sites[s];
        for (unsigned class = 0; class < PK_N_SOURCE_CLASSES; class ++) {
            struct baseline_cell *cell = &site->cells[class];
            const double *shipped = baseline->priors->p0[site->vantage][class];
            float prior[N_OUTCOMES];
            for (unsigned y = 0; y < N_OUTCOMES; y++) {
                prior[y] = s == 0 ? (float)shipped[y] : baseline->sites[0].cells[class].p0[y];
            }
            end_day(cell);
            if (cell->n_days > 0) {
                estimate(cell, prior, shipped, class == PK_SOURCE_NEW);
            } else {
                memcpy(cell->p0, prior, sizeof prior);
            }
        }
    }
    baseline->trials_a_day =
        baseline->trials_today > MIN_TRIALS_A_DAY ? baseline->trials_today : MIN_TRIALS_A_DAY;
    baseline->trials_today = 0;
    baseline->day = day;
}

/* --- the contract --- */

pk_err baseline_p0(
    struct pk_engine *engine, const struct observation *seen, double out_p0[N_OUTCOMES])
{
    return baseline_p0_of(engine, seen, seen->actor, out_p0);
}

pk_err baseline_p0_of(struct pk_engine *engine, const struct observation *seen,
    const struct actor *actor, double out_p0[N_OUTCOMES])
{
    struct baseline *baseline = &engine->baseline;
    struct baseline_site *site = at(baseline, (size_t)seen->site + 1);
    if (!site) {
        return PK_ERR_NOMEM;
    }
    const uint8_t vantage = seen->row->signature.vantage;
    if (site->vantage != vantage && site->cells[0].n_days == 0) {
        reset(baseline, site, vantage);
        baseline->sites[0].vantage = vantage;
    }
    int64_t day = engine->now_us / INT64_C(86400000000);
    if (day > baseline->day) {
        turn_day(baseline, day);
    }
    enum pk_source_class class = baseline_class_of(actor);
    const float *own = actor->own;
    double n = (double)(own[0] + own[1] + own[2] + own[3]);
    bool has_own = n >= OWN_TRIALS;
    for (unsigned y = 0; y < N_OUTCOMES; y++) {
        double p = (double)site->cells[class].p0[y];
        double mixed = (OWN_TRIALS * p + (double)own[y]) / (OWN_TRIALS + n);
        double most = MAX_OWN * p;
        out_p0[y] = !has_own        ? p
                    : mixed < p / 2 ? p / 2 /* cleanliness has no end, trust in it has */
                    : y != OUTCOME_HIT && mixed > most ? most
                                                       : mixed;
    }
    return PK_OK;
}

double baseline_repeats(const struct pk_engine *engine, const struct actor *actor)
{
    const float *own = actor->own;
    double n = (double)(own[0] + own[1] + own[2] + own[3]) + (double)actor->repeats;
    double prior = engine->baseline.priors->repeat;
    double p = (OWN_TRIALS * prior + (double)actor->repeats) / (OWN_TRIALS + n);
    return n < OWN_TRIALS || p < prior ? prior : p;
}

static bool may_teach(
    const struct pk_engine *engine, const struct baseline_cell *cell, struct actor *actor)
{
    uint16_t today = (uint16_t)engine->baseline.day;
    float last_day = 0;
    for (unsigned y = 0; y < N_OUTCOMES && cell->n_days > 0; y++) {
        last_day += cell->days[(cell->n_days - 1) % BASELINE_DAYS][y];
    }
    if (actor->lesson_day != today) {
        actor->lesson_day = today;
        actor->lessons = 0;
    }
    if ((float)actor->lessons >= LEAST_LESSONS && (float)actor->lessons >= last_day / 100) {
        return false;
    }
    actor->lessons = (uint16_t)(actor->lessons + (actor->lessons < UINT16_MAX));
    return true;
}

void baseline_own(struct actor *actor, enum outcome outcome)
{
    if (actor->is_suspected) {
        return;
    }
    actor->own[outcome]++;
    if (actor->own[0] + actor->own[1] + actor->own[2] + actor->own[3] > OWN_MEMORY) {
        for (unsigned y = 0; y < N_OUTCOMES; y++) {
            actor->own[y] /= 2;
        }
        actor->repeats /= 2;
    }
}

void baseline_learn(struct pk_engine *engine, const struct observation *seen)
{
    struct actor *actor = seen->actor;
    struct baseline *baseline = &engine->baseline;
    baseline->trials_today += seen->trial.no == TRIAL_YES;
    if (actor->is_suspected || seen->trial.miss.is_ours ||
        (seen->trial.miss.is_common && miss_is_established(actor)) ||
        (seen->trial.marks & MARK_KNOWN)) {
        return; /* what has no weight as evidence has none as a habit either */
    }
    if (seen->trial.no != TRIAL_YES) {
        actor->repeats++;
        return;
    }
    enum pk_source_class class = baseline_class(seen);
    enum outcome outcome = seen->trial.outcome;
    if ((size_t)seen->site + 1 < baseline->n_sites &&
        may_teach(engine, &baseline->sites[0].cells[class], actor)) {
        baseline->sites[seen->site + 1].cells[class].today[outcome]++;
        baseline->sites[0].cells[class].today[outcome]++;
    }
    baseline_own(actor, outcome);
}

double baseline_trials_a_day(const struct pk_engine *engine)
{
    return engine->baseline.trials_a_day;
}

/* --- state --- */

void baseline_save(const struct baseline *baseline, struct pk_bytes *out)
{
    pk_bytes_put_varint(out, baseline->n_sites);
    state_put_time(out, baseline->day);
    pk_bytes_put_varint(out, baseline->trials_today);
    pk_bytes_put_varint(out, baseline->trials_a_day);
    for (size_t s = 0; s < baseline->n_sites; s++) {
        pk_bytes_put_u8(out, baseline->sites[s].vantage);
        for (unsigned class = 0; class < PK_N_SOURCE_CLASSES; class ++) {
            const struct baseline_cell *cell = &baseline->sites[s].cells[class];
            pk_bytes_put_varint(out, cell->n_days);
            for (unsigned y = 0; y < N_OUTCOMES; y++) {
                state_put_float(out, cell->today[y]);
                state_put_float(out, cell->p0[y]);
                for (unsigned d = 0; d < BASELINE_DAYS; d++) {
                    state_put_float(out, cell->days[d][y]);
                }
            }
        }
    }
}

static void load_cell(struct baseline_cell *cell, struct pk_reader *in)
{
    cell->n_days = state_get_u32(in);
    for (unsigned y = 0; y < N_OUTCOMES; y++) {
        cell->today[y] = state_get_float(in);
        cell->p0[y] = state_get_float(in);
        if (!(cell->p0[y] > 0 && cell->p0[y] < 1) || !(cell->today[y] >= 0)) {
            pk_reader_fail(in, PK_ERR_MALFORMED);
        }
        for (unsigned d = 0; d < BASELINE_DAYS; d++) {
            cell->days[d][y] = state_get_float(in);
        }
    }
}

void baseline_load(struct baseline *baseline, struct pk_reader *in, size_t n_sites)
{
    uint64_t n = pk_reader_varint(in);
    baseline->day = state_get_time(in);
    baseline->trials_today = state_get_u32(in);
    baseline->trials_a_day = state_get_u32(in);
    if (n == 0 || n > n_sites + 1 || baseline->trials_a_day < MIN_TRIALS_A_DAY) {
        pk_reader_fail(in, PK_ERR_MALFORMED);
    }
    for (uint64_t s = 0; s < n && in->err == PK_OK; s++) {
        struct baseline_site *site = at(baseline, s);
        if (!site) {
            pk_reader_fail(in, PK_ERR_NOMEM);
            return;
        }
        site->vantage = state_get_index(in, PK_N_VANTAGES);
        for (unsigned class = 0; class < PK_N_SOURCE_CLASSES; class ++) {
            load_cell(&site->cells[class], in);
        }
    }
}

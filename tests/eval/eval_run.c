/* eval-run: one cell of a plan, to one JSON object on standard output.
 *
 *   eval-run PLAN list                       one line a cell: number, tab, the line of the plan
 *   eval-run PLAN rules                      the ladder of levels, and the published level of each baseline
 *   eval-run PLAN NUMBER [--lists FOLDER] [--quick]
 *   eval-run PLAN NUMBER --packets FOLDER    the cell's first seed as one capture a site, and what the engine finds in it
 *
 * The ground (days of benign traffic) is laid once; each seed of an attack then runs in a child process that shares it: a seed costs what
 * its own hours cost, and one that crashes is reported as such. --quick: a tenth of the seeds, days and scale, for people. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "picket/hash.h"

#include "attack.h"
#include "baseline.h"
#include "judge.h"
#include "mix.h"
#include "packets.h"
#include "plan.h"

enum {
    FIRST_HOUR = 9, /* attacks come on a working day */
    MAX_SINGLES = 2,
    MAX_JUDGES = EV_MAX_BUDGETS + MAX_SINGLES,
};

struct run {
    const struct ev_cell *cell;
    struct ev_world *world;
    struct ev_lists lists;
    struct ev_mix mix;
    struct ev_flaws flaws;
    struct ev_judge judges[MAX_JUDGES];
    size_t n_judges;
    struct ev_baselines *baselines;
    struct ev_traffic traffic, later;
    struct ev_rows rows;
    bool is_possible;  /* its words are there */
    uint32_t n_attack; /* transactions seen by the baselines */
};

/* Hour `hour` of the ground, and what of the campaign falls into it, through everything. */
static void run_hour(struct run *run, uint32_t hour, const struct ev_campaign *campaign)
{
    int64_t start = run->world->start_us + hour * EV_HOUR_US, end = start + EV_HOUR_US;
    ev_traffic_clear(&run->traffic);
    ev_traffic_append(&run->traffic, &run->later);
    ev_traffic_clear(&run->later);
    if (!ev_mix_fill(run->world, &run->mix, hour, &run->traffic)) {
        (void)fprintf(stderr, "eval-run: no such mix: %s\n", run->mix.id);
        exit(64);
    }
    if (run->cell->is_attack) {
        ev_attack_noise(run->world, run->cell, &run->lists, hour, &run->traffic);
    }
    for (size_t i = 0; campaign && i < campaign->traffic.n; i++) {
        const struct ev_event *event = &campaign->traffic.events[i];
        if (event->time_us >= start && event->time_us < end) {
            struct pk_name name = {.len = event->name_len};
            memcpy(name.wire, campaign->traffic.names + event->name_pos, name.len);
            ev_traffic_add(&run->traffic, event, &name);
        }
    }
    ev_traffic_hold(&run->traffic, &run->flaws, end, &run->later);
    ev_traffic_rows(&run->traffic, &run->flaws, &run->rows);
    for (size_t i = 0; i < run->n_judges; i++) {
        ev_judge_feed(&run->judges[i], &run->rows);
    }
    /* Their tables have no bound: under a flood they would only show that. */
    for (size_t i = 0; i < run->rows.n && !run->cell->flood; i++) {
        ev_baselines_observe(run->baselines, &run->rows.rows[i], run->n_attack);
        run->n_attack += run->rows.rows[i].n_attack;
    }
}

static void print_line(const char *line)
{
    (void)printf("{\"cell\":\"");
    for (; *line; line++) {
        (void)printf(*line == '"' ? "'" : "%c", *line);
    }
    (void)printf("\"");
}

static void run_benign(struct run *run)
{
    for (uint32_t hour = 0; hour < 24 * run->cell->days; hour++) {
        run_hour(run, hour, NULL);
    }
    for (size_t i = 0; i < run->n_judges; i++) {
        ev_judge_finish(&run->judges[i]);
    }
    ev_baselines_finish(run->baselines);
    print_line(run->cell->line);
    (void)printf(
        ",\"days\":%u,\"training\":%u,\"engines\":[", run->cell->days, run->cell->training);
    for (size_t i = 0; i < run->n_judges; i++) {
        (void)printf("%s", i ? "," : "");
        ev_judge_print_benign(&run->judges[i], stdout);
    }
    (void)printf("],\"baselines\":{");
    const ev_alert_counts *alerts = ev_baselines_alerts(run->baselines);
    for (unsigned rule = 0; rule < EV_N_RULES; rule++) {
        (void)printf("%s\"%s\":[", rule ? "," : "", ev_rule_names[rule]);
        for (uint32_t day = 0; day < run->cell->days; day++) {
            (void)printf("%s[", day ? "," : "");
            for (unsigned i = 0; i < EV_N_LEVELS; i++) {
                (void)printf("%s%u", i ? "," : "", (*alerts)[rule][day][i]);
            }
            (void)printf("]");
        }
        (void)printf("]");
    }
    (void)printf("}}\n");
}

static void print_crossings(const struct run *run, const struct ev_campaign *campaign, FILE *out)
{
    (void)fprintf(out, "\"baselines\":{");
    for (unsigned rule = 0; rule < EV_N_RULES; rule++) {
        const struct ev_crossing *crossing =
            ev_baselines_crossings(run->baselines, (enum ev_rule)rule);
        (void)fprintf(out, "%s\"%s\":[", rule ? "," : "", ev_rule_names[rule]);
        for (unsigned i = 0; i < EV_N_LEVELS && crossing[i].is_reached; i++) {
            (void)fprintf(out, "%s[%u,%.0f]", i ? "," : "", crossing[i].n_queries,
                (double)(crossing[i].time_us - campaign->start_us) * 1e-6);
        }
        (void)fprintf(out, "]");
    }
    (void)fprintf(out, "}");
}

/* In the child: one seed to the end. */
static void run_seed(struct run *run, uint32_t seed, FILE *out)
{
    uint32_t hour = FIRST_HOUR + 24 * run->cell->age_days;
    struct ev_campaign campaign;
    int64_t start = run->world->start_us + hour * EV_HOUR_US + INT64_C(300000000);
    if (!ev_attack_make(run->world, run->cell, &run->lists, seed, start, &campaign)) {
        (void)fprintf(out, "{\"seed\":%u,\"impossible\":true}", seed);
        return;
    }
    for (size_t i = 0; i < run->n_judges; i++) {
        ev_judge_campaign(&run->judges[i], &campaign);
    }
    int64_t last =
        campaign.traffic.n ? campaign.traffic.events[campaign.traffic.n - 1].time_us : start;
    for (bool is_over = false; !is_over; hour++) {
        int64_t hour_start = run->world->start_us + hour * EV_HOUR_US;
        is_over = hour_start > last;
        run_hour(run, hour, &campaign);
    }
    for (size_t k = 0; k < run->n_judges; k++) {
        ev_judge_finish(&run->judges[k]);
    }
    (void)fprintf(out, "{\"seed\":%u,\"queries\":%zu,\"engines\":[", seed, campaign.traffic.n);
    for (size_t i = 0; i < run->n_judges; i++) {
        (void)fprintf(out, "%s", i ? "," : "");
        ev_judge_print_attack(&run->judges[i], run->world, out);
    }
    (void)fprintf(out, "],");
    print_crossings(run, &campaign, out);
    (void)fprintf(out, "}");
    ev_campaign_done(&campaign);
}

/* Runs the seed in a child that inherits the ground; its JSON, or what became of it, goes to standard output. */
static void fork_seed(struct run *run, uint32_t seed)
{
    int ends[2], status = 0;
    (void)fflush(stdout);
    if (pipe(ends)) {
        perror("pipe");
        exit(71);
    }
    pid_t child = fork();
    if (child < 0) {
        perror("fork");
        exit(71);
    }
    if (child == 0) {
        FILE *out = fdopen(ends[1], "w");
        (void)close(ends[0]);
        run_seed(run, seed, out);
        _exit(fclose(out) ? 74 : 0);
    }
    (void)close(ends[1]);
    char buffer[65536];
    ssize_t n;
    while ((n = read(ends[0], buffer, sizeof buffer)) > 0) {
        (void)fwrite(buffer, 1, (size_t)n, stdout);
    }
    (void)close(ends[0]);
    if (waitpid(child, &status, 0) < 0 || status) {
        (void)fprintf(
            stderr, "eval-run: seed %u ended with status %d: %s\n", seed, status, run->cell->line);
        exit(70);
    }
}

static void run_attack(struct run *run)
{
    if (!run->is_possible) {
        print_line(run->cell->line);
        (void)printf(",\"what\":\"%s\",\"runs\":[]}\n", run->cell->what);
        return;
    }
    for (uint32_t hour = FIRST_HOUR; hour < FIRST_HOUR + 24 * run->cell->age_days; hour++) {
        run_hour(run, hour, NULL);
    }
    print_line(run->cell->line);
    (void)printf(",\"what\":\"%s\",\"runs\":[", run->cell->what);
    for (uint32_t seed = 0; seed < run->cell->n_seeds; seed++) {
        (void)printf("%s", seed ? ",\n" : "\n");
        fork_seed(run, seed);
    }
    (void)printf("]}\n");
}

static bool add_judge(struct run *run, double budget, int site)
{
    int64_t start = run->world->start_us + (run->cell->is_attack ? FIRST_HOUR * EV_HOUR_US : 0);
    if (!ev_judge_init(
            &run->judges[run->n_judges], run->world, budget, site, run->cell->has_history, start)) {
        return false;
    }
    run->n_judges++;
    return true;
}

static bool prepare(struct run *run, const struct ev_cell *cell, const char *lists)
{
    struct ev_world_options options = {.seed = cell->seed,
        .n_names = cell->names,
        .n_resolvers = cell->resolvers,
        .has_wildcards =
            cell->has_wildcard || (!cell->is_attack && ev_mix_needs_wildcards(cell->what))};
    char externals[512] = "";
    if (lists) {
        (void)snprintf(
            externals, sizeof externals, "%s/domains/opendns__opendns-top-domains.txt", lists);
    }
    run->cell = cell;
    run->world = ev_world_new(&options, externals);
    run->mix.scale = cell->scale;
    run->mix.is_clear = cell->is_clear;
    (void)snprintf(
        run->mix.id, sizeof run->mix.id, "%s", cell->is_attack ? cell->back : cell->what);
    run->flaws = (struct ev_flaws){.late_site = -1};
    if (cell->has_flaws) {
        run->flaws = (struct ev_flaws){.seed = cell->seed,
            .max_skew_us = 2000000,
            .late_site = 6,
            .late_us = 600000000,
            .loss = 0.01,
            .one_way = 0.05};
    }
    if (!run->world) {
        return false;
    }
    int kind = atoi(cell->what + 1);
    bool needs_words = (kind <= 2 || kind >= 10) && strcmp(cell->list, "made") != 0 &&
                       strcmp(cell->list, "alteration") != 0;
    run->is_possible = !cell->is_attack || ev_lists_load(lists, &run->lists) || !needs_words;
    run->baselines =
        ev_baselines_new(run->world->start_us + (cell->is_attack ? FIRST_HOUR * EV_HOUR_US : 0));
    bool is_good = true;
    for (size_t i = 0; is_good && i < cell->n_budgets && !(cell->is_tuning && !cell->is_attack);
         i++) {
        is_good = add_judge(run, cell->budgets[i], -1);
    }
    uint8_t sites[EV_N_SITES];
    ev_attack_sites(cell, sites);
    for (uint32_t i = 0; is_good && cell->wants_gain && i < MAX_SINGLES && i < cell->sites; i++) {
        is_good = add_judge(run, cell->budgets[0], sites[i]);
    }
    return is_good;
}

static void shrink(struct ev_cell *cell)
{
    cell->n_seeds = cell->n_seeds > 2 ? 2 : cell->n_seeds;
    cell->n_budgets = 1;
    if (!cell->is_attack) {
        cell->days = 2;
        cell->training = 1;
        cell->scale /= 10;
    }
    cell->scale = cell->scale > 0.1 ? 0.1 : cell->scale;
    cell->age_days = cell->age_days > 1 ? 1 : cell->age_days;
    cell->queries = cell->queries > 300 ? 300 : cell->queries;
    cell->hours = cell->hours > 12 ? 12 : cell->hours;
}

/* The ladder of levels, and each baseline's level as published. */
static void print_rules(void)
{
    (void)printf("{\"levels\":[");
    for (unsigned i = 0; i < EV_N_LEVELS; i++) {
        (void)printf("%s%u", i ? "," : "", ev_levels[i]);
    }
    (void)printf("],\"published\":{");
    for (unsigned rule = 0; rule < EV_N_RULES; rule++) {
        (void)printf("%s\"%s\":%u", rule ? "," : "", ev_rule_names[rule], ev_rule_published[rule]);
    }
    (void)printf("}}\n");
}

int main(int argc, char **argv)
{
    static struct run run;
    struct ev_plan plan;
    const char *lists = NULL, *packets = NULL;
    bool is_quick = false;
    if (argc < 3 || !ev_plan_load(argv[1], &plan) || pk_hash_start()) {
        (void)fprintf(stderr,
            "usage: eval-run PLAN list|rules | eval-run PLAN NUMBER [--lists FOLDER] [--quick] [--packets FOLDER]\n");
        return 64;
    }
    pk_hash_set_key((const uint8_t[16]){0}); /* the same tables every time */
    for (int i = 3; i < argc; i++) {
        is_quick = is_quick || strcmp(argv[i], "--quick") == 0;
        lists = strcmp(argv[i], "--lists") == 0 && i + 1 < argc ? argv[i + 1] : lists;
        packets = strcmp(argv[i], "--packets") == 0 && i + 1 < argc ? argv[i + 1] : packets;
    }
    if (strcmp(argv[2], "rules") == 0) {
        print_rules();
        return 0;
    }
    if (strcmp(argv[2], "list") == 0) {
        for (size_t i = 0; i < plan.n; i++) {
            (void)printf("%zu\t%s\n", i, plan.cells[i].line);
        }
        ev_plan_done(&plan);
        return 0;
    }
    size_t number = strtoul(argv[2], NULL, 10);
    if (number >= plan.n) {
        (void)fprintf(stderr, "eval-run: the plan has %zu cells\n", plan.n);
        return 64;
    }
    struct ev_cell cell = plan.cells[number];
    if (is_quick) {
        shrink(&cell);
    }
    if (!prepare(&run, &cell, lists)) {
        return 65;
    }
    if (packets) {
        return ev_packets_main(run.world, &cell, &run.mix, &run.lists, packets);
    }
    if (cell.is_attack) {
        run_attack(&run);
    } else {
        run_benign(&run);
    }
    for (size_t i = 0; i < run.n_judges; i++) {
        ev_judge_done(&run.judges[i]);
    }
    ev_baselines_free(run.baselines);
    ev_traffic_done(&run.traffic);
    ev_traffic_done(&run.later);
    ev_rows_done(&run.rows);
    ev_lists_done(&run.lists);
    ev_world_free(run.world);
    ev_plan_done(&plan);
    return 0;
}

/* The generator's own promises: the same again from the same seed, the rates it states, flaws that do what they say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "picket/dnsmsg.h"
#include "picket/hash.h"

#include "attack.h"
#include "baseline.h"
#include "mix.h"
#include "plan.h"

static const struct ev_flaws no_flaws = {.late_site = -1};

static struct ev_world *world_of(const char *mix, uint64_t seed)
{
    struct ev_world_options options = {.seed = seed,
        .n_names = 2000,
        .n_resolvers = 5000,
        .has_wildcards = ev_mix_needs_wildcards(mix)};
    struct ev_world *world = ev_world_new(&options, NULL);
    assert_non_null(world);
    return world;
}

static void fill(const char *id, uint64_t seed, double scale, uint32_t hour, struct ev_traffic *out)
{
    struct ev_world *world = world_of(id, seed);
    struct ev_mix mix = {.scale = scale};
    (void)strncpy(mix.id, id, sizeof mix.id - 1);
    assert_true(ev_mix_fill(world, &mix, hour, out));
    ev_world_free(world);
}

static uint64_t digest_of(const struct ev_traffic *traffic)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < traffic->n; i++) {
        const struct ev_event *e = &traffic->events[i];
        sum = ev_hash3(sum, (uint64_t)e->time_us, (uint64_t)e->qtype << 16 | e->answer);
    }
    for (size_t i = 0; i < traffic->names_len; i++) {
        sum = sum * 31 + traffic->names[i];
    }
    return sum;
}

static const char *const mixes[] = {"B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8"};

static void the_same_seed_gives_the_same_hour_and_another_seed_another(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof mixes / sizeof *mixes; i++) {
        struct ev_traffic a = {0}, b = {0}, c = {0};
        fill(mixes[i], 5, 0.02, 10, &a);
        fill(mixes[i], 5, 0.02, 10, &b);
        fill(mixes[i], 6, 0.02, 10, &c);
        assert_true(a.n > 100);
        assert_true(digest_of(&a) == digest_of(&b));
        assert_true(digest_of(&a) != digest_of(&c));
        ev_traffic_done(&a);
        ev_traffic_done(&b);
        ev_traffic_done(&c);
    }
}

static double share_of_misses(const char *mix, uint32_t hour)
{
    struct ev_traffic traffic = {0};
    fill(mix, 9, 0.3, hour, &traffic);
    size_t misses = 0;
    for (size_t i = 0; i < traffic.n; i++) {
        misses += traffic.events[i].answer == PK_ANSWER_NXDOMAIN;
    }
    double share = (double)misses / (double)traffic.n;
    ev_traffic_done(&traffic);
    return share;
}

static void shares_of_misses_are_as_stated(void **state)
{
    (void)state;
    double authority = share_of_misses("B4", 34);
    assert_true(authority > 0.08 && authority < 0.25);
    double measured = share_of_misses("B7", 34);
    assert_true(measured > 0.58 && measured < 0.70);
    assert_true(share_of_misses("B5", 34) < authority);
    double pods = share_of_misses("B3", 34); /* in scope: the fourth suffix of each lookup */
    assert_true(pods > 0.7 && pods < 0.95);
}

static void a_day_of_scale_one_is_about_a_million(void **state)
{
    (void)state;
    static const char *const big[] = {"B4", "B7"};
    for (size_t m = 0; m < 2; m++) {
        size_t n = 0;
        for (uint32_t hour = 0; hour < 24; hour++) {
            struct ev_traffic traffic = {0};
            fill(big[m], 3, 0.02, hour, &traffic);
            n += traffic.n;
            ev_traffic_done(&traffic);
        }
        assert_true(n > 12000 && n < 32000);
    }
}

static void the_flood_and_the_rollout_happen_when_they_should(void **state)
{
    (void)state;
    struct ev_traffic before = {0}, flood = {0}, rollout = {0};
    fill("B6", 3, 0.02, 4 * 24 + 13, &before);
    fill("B6", 3, 0.02, 4 * 24 + 14, &flood);
    fill("B6", 3, 0.02, 5 * 24 + 8, &rollout);
    assert_in_range(flood.n - before.n, 22000, 26000);
    assert_in_range(rollout.n, 50 * 25 * 41, 50 * 25 * 41 + 3000);
    ev_traffic_done(&before);
    ev_traffic_done(&flood);
    ev_traffic_done(&rollout);
}

static void rows_without_flaws_hold_every_event_in_order_of_arrival(void **state)
{
    (void)state;
    struct ev_traffic traffic = {0};
    struct ev_rows rows = {0};
    fill("B4", 3, 0.05, 10, &traffic);
    ev_traffic_rows(&traffic, &no_flaws, &rows);
    uint64_t n = 0;
    for (size_t i = 0; i < rows.n; i++) {
        n += rows.rows[i].activity.count;
        assert_true(i == 0 || rows.rows[i].arrival_us >= rows.rows[i - 1].arrival_us);
        assert_true(rows.rows[i].arrival_us > rows.rows[i].activity.first_us);
    }
    assert_int_equal(n, traffic.n);
    assert_true(rows.n < traffic.n); /* some merge */
    ev_rows_done(&rows);
    ev_traffic_done(&traffic);
}

static void flaws_do_what_they_say(void **state)
{
    (void)state;
    struct ev_traffic traffic = {0};
    struct ev_rows rows = {0};
    struct ev_flaws flaws = {.seed = 1,
        .late_site = 6,
        .late_us = 600000000,
        .max_skew_us = 2000000,
        .loss = 0.01,
        .one_way = 0.05};
    fill("B4", 3, 0.2, 10, &traffic);
    ev_traffic_rows(&traffic, &flaws, &rows);
    uint64_t seen = 0, one_way = 0;
    for (size_t i = 0; i < rows.n; i++) {
        const struct ev_row *row = &rows.rows[i];
        seen += row->activity.count;
        one_way += row->activity.signature.answer == PK_ANSWER_NONE ? row->activity.count : 0;
        int64_t delay = row->arrival_us - row->activity.first_us;
        assert_true(row->site == 6 ? delay > 590000000 : delay < 13000000);
    }
    double loss = 1 - (double)seen / (double)traffic.n, way = (double)one_way / (double)seen;
    assert_true(loss > 0.004 && loss < 0.018);
    assert_true(way > 0.01 && way < 0.10);
    ev_rows_done(&rows);
    ev_traffic_done(&traffic);
}

static void a_branch_forwards_its_misses_to_the_head_office(void **state)
{
    (void)state;
    struct ev_traffic traffic = {0};
    fill("B8", 3, 0.1, 34, &traffic);
    size_t misses = 0, forwarded_misses = 0, forwarded = 0;
    for (size_t i = 0; i < traffic.n; i++) {
        const struct ev_event *event = &traffic.events[i];
        bool is_resolver = event->client.bytes[2] == 0 && event->client.bytes[3] == 53;
        bool is_miss = event->answer == PK_ANSWER_NXDOMAIN;
        misses += !is_resolver && event->site != 0 && is_miss;
        forwarded_misses += is_resolver && is_miss;
        forwarded += is_resolver;
        assert_true(!is_resolver || event->site == 0);
    }
    assert_true(misses > 100);
    assert_int_equal(misses, forwarded_misses);
    assert_true(forwarded > misses);
    ev_traffic_done(&traffic);
}

static void what_the_late_site_sees_last_waits_for_the_next_hour(void **state)
{
    (void)state;
    struct ev_traffic traffic = {0}, later = {0};
    struct ev_flaws flaws = {.late_site = 6, .late_us = 600000000};
    fill("B4", 3, 0.2, 10, &traffic);
    size_t n = traffic.n;
    int64_t end = traffic.events[0].time_us / EV_HOUR_US * EV_HOUR_US + EV_HOUR_US;
    ev_traffic_hold(&traffic, &flaws, end, &later);
    assert_int_equal(traffic.n + later.n, n);
    assert_true(later.n > 0);
    for (size_t i = 0; i < later.n; i++) {
        assert_int_equal(later.events[i].site, 6);
        assert_true(later.events[i].time_us >= end - flaws.late_us);
    }
    ev_traffic_done(&traffic);
    ev_traffic_done(&later);
}

static void names_of_the_tenant_exist_and_gone_ones_mostly_do_not(void **state)
{
    (void)state;
    struct ev_world *world = world_of("B4", 11);
    struct pk_name name;
    unsigned gone = 0;
    for (uint32_t z = 0; z < EV_N_ZONES; z++) {
        const struct ev_zone *zone = &world->zones[z];
        assert_true(zone->n_hosts > 5);
        ev_world_name(zone, world->hosts[zone->first_host + zone->n_hosts - 1].label, &name);
        assert_true(ev_world_exists(world, &name));
        char label[EV_MAX_LABEL_TEXT];
        ev_label_retired(world, z, 3, label);
        ev_world_name(zone, label, &name);
        gone += !ev_world_exists(world, &name);
    }
    assert_true(gone > EV_N_ZONES * 8 / 10);
    ev_world_free(world);
}

/* A plan of one line, as from a file. */
static struct ev_cell cell_of(const char *line)
{
    char path[] = "/tmp/picket-eval-XXXXXX";
    int file = mkstemp(path);
    struct ev_plan plan;
    assert_true(file >= 0);
    assert_true(write(file, line, strlen(line)) == (ssize_t)strlen(line));
    assert_int_equal(close(file), 0);
    assert_true(ev_plan_load(path, &plan));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(plan.n, 1);
    struct ev_cell cell = plan.cells[0];
    ev_plan_done(&plan);
    return cell;
}

static void a_plan_says_what_it_means_and_a_wrong_word_is_refused(void **state)
{
    (void)state;
    struct ev_cell cell =
        cell_of("default seeds=7 budgets=1,0.1\nattack-seed 900 # comment\n"
                "attack A1 rate=1/3600 sites=10 path=public split=block gain=1 # more\n");
    assert_true(cell.is_attack && cell.wants_gain);
    assert_string_equal(cell.what, "A1");
    assert_int_equal(cell.n_seeds, 7);
    assert_int_equal(cell.n_budgets, 2);
    assert_int_equal(cell.attack_seed, 900);
    assert_int_equal(cell.path, EV_PATH_PUBLIC);
    assert_string_equal(cell.split, "block");
    assert_true(cell.rate * 3600 > 0.999 && cell.rate * 3600 < 1.001);
    assert_true(cell_of("benign B4 seed=3 split=tune\n").is_tuning);
    struct ev_plan plan;
    assert_false(ev_plan_load("/nonexistent/plan", &plan));
}

static struct ev_campaign campaign_of(const char *line, uint32_t seed)
{
    struct ev_cell cell = cell_of(line);
    struct ev_world *world = world_of("B4", 21);
    struct ev_lists lists = {0};
    struct ev_campaign campaign;
    assert_true(ev_attack_make(world, &cell, &lists, seed, world->start_us, &campaign));
    ev_world_free(world);
    return campaign;
}

static void an_attack_has_the_rate_the_sites_and_the_sources_it_should(void **state)
{
    (void)state;
    struct ev_campaign a =
        campaign_of("attack A1 list=made rate=10 sites=3 sources=8 queries=500\n", 1);
    assert_in_range(a.traffic.n, 500, 520);
    double seconds = (double)(a.end_us - a.start_us) * 1e-6;
    assert_true(seconds > 45 && seconds < 56);
    uint64_t sites = 0;
    uint32_t sources = 0, used[8] = {0};
    for (size_t i = 0; i < a.traffic.n; i++) {
        sites |= UINT64_C(1) << a.traffic.events[i].site;
        for (uint32_t s = 0; s < a.n_sources; s++) {
            used[s] += pk_addr_equal(&a.sources[s], &a.traffic.events[i].client);
        }
    }
    for (uint32_t s = 0; s < 8; s++) {
        sources += used[s] > 40;
    }
    assert_int_equal(__builtin_popcountll(sites), 3);
    assert_int_equal(sources, 8);
    struct ev_campaign b =
        campaign_of("attack A1 list=made rate=10 sites=3 sources=8 queries=500\n", 1);
    struct ev_campaign c =
        campaign_of("attack A1 list=made rate=10 sites=3 sources=8 queries=500\n", 2);
    assert_true(digest_of(&a.traffic) == digest_of(&b.traffic));
    assert_true(digest_of(&a.traffic) != digest_of(&c.traffic));
    ev_campaign_done(&a);
    ev_campaign_done(&b);
    ev_campaign_done(&c);
}

static void every_attack_that_needs_no_list_can_be_made(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        size_t min, max;
    } attacks[] = {
        {"attack A2 list=made split=block overlap=0.1 sources=4 queries=200\n", 200, 210},
        {"attack A3 order=sparse sites=3 queries=256\n", 256, 256},
        {"attack A4 order=nsec queries=40\n", 40, 40}, {"attack A4 order=nsec3 k=30\n", 30, 30},
        {"attack A5 k=50 sites=50\n", 50, 50}, {"attack A6 sites=10\n", 110, 110},
        {"attack A7 k=3\n", 6, 6}, {"attack A8\n", 1, 1}, {"attack A9 k=15 sites=3\n", 15, 15},
        {"attack A10 path=inside order=srv\n", 30, 40},
        {"attack A11 list=made order=pad pad=5 queries=20\n", 120, 260}};
    for (size_t i = 0; i < sizeof attacks / sizeof *attacks; i++) {
        struct ev_campaign campaign = campaign_of(attacks[i].line, 0);
        assert_in_range(campaign.traffic.n, attacks[i].min, attacks[i].max);
        ev_campaign_done(&campaign);
    }
}

static void targeted_probes_never_miss(void **state)
{
    (void)state;
    struct ev_campaign campaign = campaign_of("attack A9 k=20 sites=3\n", 0);
    for (size_t i = 0; i < campaign.traffic.n; i++) {
        assert_int_not_equal(campaign.traffic.events[i].answer, PK_ANSWER_NXDOMAIN);
    }
    ev_campaign_done(&campaign);
}

/* One source, n misses a minute apart at one site, then a look at what each rule made of it. */
static void the_rules_count_as_their_authors_say(void **state)
{
    (void)state;
    struct ev_campaign campaign = campaign_of("attack A1 list=made rate=1 sites=1 queries=60\n", 0);
    struct ev_rows rows = {0};
    ev_traffic_rows(&campaign.traffic, &no_flaws, &rows);
    struct ev_baselines *rules = ev_baselines_new(campaign.start_us);
    uint32_t n = 0, misses = 0;
    for (size_t i = 0; i < rows.n; i++) {
        ev_baselines_observe(rules, &rows.rows[i], n);
        n += rows.rows[i].n_attack;
        misses += rows.rows[i].activity.signature.answer == PK_ANSWER_NXDOMAIN
                      ? rows.rows[i].activity.count
                      : 0;
    }
    assert_true(misses > 51);
    ev_baselines_finish(rules);
    size_t at_51 = 0, at_90 = 0, at_115 = 0;
    while (ev_levels[at_51] != 51) {
        at_51++;
    }
    while (ev_levels[at_90] != 90) {
        at_90++;
    }
    while (ev_levels[at_115] != 115) {
        at_115++;
    }
    const ev_alert_counts *alerts = ev_baselines_alerts(rules);
    assert_int_equal((*alerts)[EV_RULE_ZEEK_NXDOMAIN][0][at_51], 1);
    assert_int_equal((*alerts)[EV_RULE_POOLED][0][at_51], 1);
    assert_int_equal((*alerts)[EV_RULE_ZEEK_NXDOMAIN][0][at_90], 0);
    assert_int_equal((*alerts)[EV_RULE_PTR][0][0], 0);
    assert_int_equal((*alerts)[EV_RULE_AXFR][0][0], 0);
    /* ln(1/1e-5) / ln 4: nine misses and no hit */
    const struct ev_crossing *walk = ev_baselines_crossings(rules, EV_RULE_TRW);
    assert_true(walk[at_115].is_reached);
    assert_in_range(walk[at_115].n_queries, 9, 13);
    ev_baselines_free(rules);
    ev_rows_done(&rows);
    ev_campaign_done(&campaign);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_seed_gives_the_same_hour_and_another_seed_another),
        cmocka_unit_test(shares_of_misses_are_as_stated),
        cmocka_unit_test(a_day_of_scale_one_is_about_a_million),
        cmocka_unit_test(the_flood_and_the_rollout_happen_when_they_should),
        cmocka_unit_test(rows_without_flaws_hold_every_event_in_order_of_arrival),
        cmocka_unit_test(flaws_do_what_they_say),
        cmocka_unit_test(a_branch_forwards_its_misses_to_the_head_office),
        cmocka_unit_test(what_the_late_site_sees_last_waits_for_the_next_hour),
        cmocka_unit_test(names_of_the_tenant_exist_and_gone_ones_mostly_do_not),
        cmocka_unit_test(a_plan_says_what_it_means_and_a_wrong_word_is_refused),
        cmocka_unit_test(an_attack_has_the_rate_the_sites_and_the_sources_it_should),
        cmocka_unit_test(every_attack_that_needs_no_list_can_be_made),
        cmocka_unit_test(targeted_probes_never_miss),
        cmocka_unit_test(the_rules_count_as_their_authors_say),
    };
    if (pk_hash_start()) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}

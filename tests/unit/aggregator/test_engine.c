/* The engine: scenarios with their benign twins, and state that goes on where it stood. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "picket/dnsmsg.h"
#include "picket/hash.h"

#include "aggregator/detect/engine.h"
#include "aggregator/detect/finding.h"

enum {
    MAX_EVENTS = 400
};

struct event {
    const char *site, *client;
    char name[80];
    uint16_t qtype;
    enum pk_answer_kind answer;
    int64_t at_us;
    uint64_t digest;
};

struct timeline {
    struct event events[MAX_EVENTS];
    size_t n;
};

static const char scope_text[] =
    "tenants:\n  - name: acme\n    sites: [hq, branch, cloud]\n    zones: [example.com, wild.example]\n    networks: [198.51.100.0/24, 2001:db8::/32]\n"
    "    transfer_peers: [192.0.2.7]\n    scanners: [203.0.113.200]\n";

struct world {
    struct pk_scope *scope;
    struct pk_engine *engine;
    struct pk_bytes log; /* id, revision, severity and score of everything reported */
    unsigned n_findings;
    struct pk_finding last;
};

static void on_finding(void *arg, const struct pk_finding *finding)
{
    struct world *world = arg;
    pk_bytes_printf(&world->log, "%s %u %u %.6f %s\n", finding->id, finding->revision,
        finding->severity, finding->score_nats, finding->detector);
    world->n_findings += finding->revision == 1;
    world->last = *finding;
}

static struct world *world_new(void)
{
    char error[PK_CONF_ERROR_SIZE];
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    pk_bytes_init(&world->log, 1 << 20);
    assert_int_equal(
        pk_scope_parse("scope", scope_text, strlen(scope_text), &world->scope, error), PK_OK);
    struct pk_engine_options options = {.tenant = &world->scope->tenants[0],
        .limits = {.max_actors = 1000, .max_contacts = 100000}};
    assert_int_equal(pk_engine_new(&options, on_finding, world, &world->engine), PK_OK);
    return world;
}

static void world_free(struct world *world)
{
    pk_engine_free(world->engine);
    pk_scope_free(world->scope);
    pk_bytes_done(&world->log);
    free(world);
}

static void add(struct timeline *t, const char *site, const char *client, const char *name,
    uint16_t qtype, enum pk_answer_kind answer)
{
    struct event *event = &t->events[t->n];
    *event = (struct event){.site = site,
        .client = client,
        .qtype = qtype,
        .answer = answer,
        .at_us = 1795000000000000 + (int64_t)t->n * 1000000};
    snprintf(event->name, sizeof event->name, "%s", name);
    t->n++;
    assert_true(t->n < MAX_EVENTS);
}

static void play_one(struct world *world, const struct event *event)
{
    struct pk_name name;
    struct pk_engine_origin origin = {.site = event->site, .sensor = event->site};
    assert_int_equal(pk_name_from_text(event->name, &name), PK_OK);
    struct pk_activity row = {
        .client = {.kind = PK_CLIENT_OUTSIDE},
        .name = {name.wire, name.len},
        .signature = {.server_port = 53,
            .qtype = event->qtype,
            .qclass = 1,
            .answer = (uint8_t)event->answer,
            .vantage = PK_VANTAGE_AUTHORITATIVE,
            .rcode = event->answer == PK_ANSWER_NXDOMAIN ? 3
                     : event->answer == PK_ANSWER_ERROR  ? 5
                                                         : 0},
        .first_us = event->at_us,
        .count = 1,
        .answer_digest = event->digest,
        .transfer_records = event->answer == PK_ANSWER_TRANSFER ? 80 : 0,
        .transfer_soas = event->answer == PK_ANSWER_TRANSFER ? 2 : 0,
    };
    assert_true(pk_addr_parse(event->client, &row.client.addr));
    assert_true(pk_addr_parse(strcmp(event->site, "hq") == 0       ? "198.51.100.1"
                              : strcmp(event->site, "branch") == 0 ? "198.51.100.2"
                                                                   : "198.51.100.3",
        &row.signature.server));
    assert_int_equal(pk_engine_observe(world->engine, &origin, &row), PK_OK);
}

static void play(struct world *world, const struct timeline *t)
{
    for (size_t i = 0; i < t->n; i++) {
        play_one(world, &t->events[i]);
    }
    assert_int_equal(pk_engine_flush(world->engine), PK_OK);
}

static const char *const sites[] = {"hq", "branch", "cloud"};
static const char *const words[] = {"dev", "jenkins", "backup", "staging", "gitlab", "admin",
    "test", "portal", "intranet", "vpn2", "api-prod", "sso"};

static void scan(struct timeline *t, unsigned n_words, unsigned n_sites)
{
    for (unsigned i = 0; i < n_words; i++) {
        char name[80];
        snprintf(name, sizeof name, "%s.example.com", words[i]);
        add(t, sites[i % n_sites], "203.0.113.66", name, 1, PK_ANSWER_NXDOMAIN);
    }
}

static void nine_words_over_three_sites_are_a_finding_and_six_are_not(void **state)
{
    struct timeline *t = calloc(1, sizeof *t);
    struct world *world = world_new();
    (void)state;
    scan(t, 6, 3);
    play(world, t);
    assert_int_equal(world->n_findings, 0);
    t->n = 0;
    scan(t, 9, 3);
    play(world, t); /* the first six again: no new trials */
    assert_int_equal(world->n_findings, 1);
    assert_string_equal(world->last.detector, "D2");
    assert_int_equal(world->last.n_sites, 3);
    assert_int_equal(
        world->last.dict, 7); /* reported at the seventh: a stranger's alarm does not wait */
    double sum = 0;
    for (size_t i = 0; i < world->last.n_contributions; i++) {
        sum += world->last.contributions[i].nats;
    }
    assert_true(sum - world->last.score_nats < 1e-9 && world->last.score_nats - sum < 1e-9);
    world_free(world);
    free(t);
}

static void the_same_name_at_many_sites_is_one_trial(void **state)
{
    struct timeline *t = calloc(1, sizeof *t);
    struct world *world = world_new();
    (void)state;
    for (unsigned i = 0; i < 60; i++) {
        char name[80];
        snprintf(name, sizeof name, "%s.example.com", words[i % 3]);
        add(t, sites[i % 3], "203.0.113.66", name, i % 2 ? 1 : 28, PK_ANSWER_NXDOMAIN);
    }
    play(world, t);
    struct pk_engine_stats stats;
    pk_engine_stats(world->engine, &stats);
    assert_int_equal(stats.trials, 3);
    assert_int_equal(world->n_findings, 0);
    world_free(world);
    free(t);
}

/* The benign twins: a resolver with typing errors, a mail server, a browser's random probes, a crawler of names that exist, an own scanner, a listed secondary. */
static void benign_sources_stay_silent(void **state)
{
    struct timeline *t = calloc(1, sizeof *t);
    struct world *world = world_new();
    char name[80];
    (void)state;
    for (unsigned i = 0; i < 120; i++) {
        snprintf(name, sizeof name, "host%u.example.com", i);
        add(t, sites[i % 3], "192.0.2.53", name, 1, PK_ANSWER_DATA);
        if (i % 30 == 7) {
            snprintf(name, sizeof name, "%s.example.com", words[i / 30]);
            add(t, sites[i % 3], "192.0.2.53", name, 1, PK_ANSWER_NXDOMAIN);
        }
    }
    for (unsigned i = 0; i < 30; i++) {
        snprintf(name, sizeof name, "qzx%uwvkjt%u.example.com", i * 7919, i);
        add(t, sites[i % 3], "192.0.2.54", name, 1, PK_ANSWER_NXDOMAIN);
        snprintf(name, sizeof name, "_dmarc%u.example.com", i);
        add(t, sites[i % 3], "192.0.2.55", name, 16, PK_ANSWER_NXDOMAIN);
        snprintf(name, sizeof name, "%u.100.51.198.in-addr.arpa", i * 7 % 256);
        if (i < 10) {
            add(t, sites[i % 3], "192.0.2.56", name, 12, PK_ANSWER_DATA);
        }
        add(t, sites[i % 3], "203.0.113.200", name, 12, PK_ANSWER_NXDOMAIN);
    }
    for (unsigned i = 0; i < 12; i++) {
        snprintf(name, sizeof name, "%s.example.com", words[i]);
        add(t, sites[i % 3], "203.0.113.200", name, 1, PK_ANSWER_NXDOMAIN);
        add(t, sites[i % 3], "192.0.2.57", name, 1, PK_ANSWER_ERROR); /* refused: no verdict */
    }
    add(t, "hq", "192.0.2.7", "example.com", 252, PK_ANSWER_TRANSFER);
    play(world, t);
    if (world->n_findings) {
        fail_msg("%s", pk_bytes_text(&world->log));
    }
    world_free(world);
    free(t);
}

static void transfers_rise_with_servers_and_success(void **state)
{
    struct timeline *t = calloc(1, sizeof *t);
    struct world *world = world_new();
    (void)state;
    add(t, "hq", "192.0.2.66", "example.com", 252, PK_ANSWER_ERROR);
    play(world, t);
    assert_int_equal(world->last.severity, 2);
    t->n = 0;
    add(t, "branch", "192.0.2.66", "example.com", 252, PK_ANSWER_ERROR);
    play(world, t);
    assert_int_equal(world->last.severity, 3);
    t->n = 0;
    add(t, "cloud", "192.0.2.66", "example.com", 252, PK_ANSWER_TRANSFER);
    play(world, t);
    assert_int_equal(world->last.severity, 5);
    assert_int_equal(world->n_findings, 1);
    assert_int_equal(world->last.revision, 3);
    assert_int_equal(world->last.n_sites, 3);
    world_free(world);
    free(t);
}

static void sweep(struct timeline *t, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        char name[80];
        snprintf(name, sizeof name, "%u.100.51.198.in-addr.arpa", 40 + i);
        add(t, sites[i / 7 % 3], "203.0.113.77", name, 12, PK_ANSWER_NXDOMAIN);
    }
}

static void sixteen_addresses_of_a_block_are_a_sweep_and_fourteen_are_not(void **state)
{
    struct timeline *t = calloc(1, sizeof *t);
    struct world *world = world_new();
    (void)state;
    sweep(t, 14);
    play(world, t);
    assert_int_equal(world->n_findings, 0);
    t->n = 0;
    sweep(t, 21);
    play(world, t);
    assert_int_equal(world->n_findings, 1);
    assert_string_equal(world->last.detector, "D6");
    assert_int_equal(world->last.severity, 3);
    world_free(world);
    free(t);
}

static void a_wildcard_does_not_hide_the_scan(void **state)
{
    struct timeline *t = calloc(1, sizeof *t);
    struct world *world = world_new();
    char name[80];
    (void)state;
    for (unsigned i = 0; i < 3 + 12; i++) {
        if (i < 3) {
            snprintf(name, sizeof name, "xkqzvw%uhjtrf.wild.example", i * 31);
        } else {
            snprintf(name, sizeof name, "%s.wild.example", words[i - 3]);
        }
        add(t, sites[i % 3], i < 3 ? "192.0.2.99" : "203.0.113.66", name, 1, PK_ANSWER_DATA);
        t->events[t->n - 1].digest = 0xabcdef;
    }
    play(world, t);
    assert_int_equal(world->n_findings, 1);
    world_free(world);
    free(t);
}

static void saved_and_loaded_at_every_row_it_goes_on_the_same(void **state)
{
    struct timeline *t = calloc(1, sizeof *t);
    struct world *whole = world_new();
    (void)state;
    scan(t, 12, 3);
    sweep(t, 21);
    add(t, "hq", "192.0.2.66", "example.com", 252, PK_ANSWER_ERROR);
    add(t, "cloud", "192.0.2.66", "example.com", 252, PK_ANSWER_TRANSFER);
    play(whole, t);
    assert_int_equal(whole->n_findings, 3);
    struct pk_bytes wanted;
    pk_bytes_init(&wanted, 1 << 26);
    assert_int_equal(pk_engine_save(whole->engine, &wanted), PK_OK);
    for (size_t cut = 0; cut <= t->n; cut++) {
        struct world *first = world_new(), *second = world_new();
        struct pk_bytes saved, end;
        pk_bytes_init(&saved, 1 << 26);
        pk_bytes_init(&end, 1 << 26);
        for (size_t i = 0; i < cut; i++) {
            play_one(first, &t->events[i]);
        }
        assert_int_equal(pk_engine_save(first->engine, &saved), PK_OK);
        assert_int_equal(pk_engine_load(second->engine, saved.data, saved.len), PK_OK);
        for (size_t i = cut; i < t->n; i++) {
            play_one(second, &t->events[i]);
        }
        assert_int_equal(pk_engine_flush(second->engine), PK_OK);
        pk_bytes_put(&first->log, second->log.data, second->log.len);
        assert_string_equal(pk_bytes_text(&first->log), pk_bytes_text(&whole->log));
        assert_int_equal(pk_engine_save(second->engine, &end), PK_OK);
        assert_int_equal(end.len, wanted.len);
        assert_memory_equal(end.data, wanted.data, end.len);
        pk_bytes_done(&saved);
        pk_bytes_done(&end);
        world_free(first);
        world_free(second);
    }
    /* Damaged state is refused or taken, never followed into the woods; the engine stays usable. */
    for (size_t at = 0; at < wanted.len; at += 1 + wanted.len / 400) {
        struct world *world = world_new();
        wanted.data[at] ^= 0x55;
        (void)pk_engine_load(world->engine, wanted.data, wanted.len);
        (void)pk_engine_load(world->engine, wanted.data, at);
        play(world, t);
        wanted.data[at] ^= 0x55;
        world_free(world);
    }
    pk_bytes_done(&wanted);
    world_free(whole);
    free(t);
}

static void a_flood_of_sources_is_bounded_and_the_open_finding_stays(void **state)
{
    struct timeline *t = calloc(1, sizeof *t);
    struct world *world = world_new();
    (void)state;
    scan(t, 9, 3);
    play(world, t);
    assert_int_equal(world->n_findings, 1);
    for (unsigned i = 0; i < 5000; i++) {
        struct event event = {.site = "hq",
            .name = "www.example.com",
            .qtype = 1,
            .answer = PK_ANSWER_DATA,
            .at_us = 1795000100000000 + i};
        char client[32];
        snprintf(client, sizeof client, "100.%u.%u.1", i / 250, i % 250);
        event.client = client;
        play_one(world, &event);
    }
    struct pk_engine_stats stats;
    pk_engine_stats(world->engine, &stats);
    assert_int_equal(stats.actors, 1000);
    assert_true(stats.evicted_actors >= 4000);
    t->n = 0;
    scan(t, 12, 3);
    play(world, t);
    assert_int_equal(world->n_findings, 1); /* still the same one */
    world_free(world);
    free(t);
}

static int start(void **state)
{
    (void)state;
    return pk_hash_start() == PK_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nine_words_over_three_sites_are_a_finding_and_six_are_not),
        cmocka_unit_test(the_same_name_at_many_sites_is_one_trial),
        cmocka_unit_test(benign_sources_stay_silent),
        cmocka_unit_test(transfers_rise_with_servers_and_success),
        cmocka_unit_test(sixteen_addresses_of_a_block_are_a_sweep_and_fourteen_are_not),
        cmocka_unit_test(a_wildcard_does_not_hide_the_scan),
        cmocka_unit_test(saved_and_loaded_at_every_row_it_goes_on_the_same),
        cmocka_unit_test(a_flood_of_sources_is_bounded_and_the_open_finding_stays),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}

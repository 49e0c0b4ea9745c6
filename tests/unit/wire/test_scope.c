/* The scope on its way to a sensor, and the floor that the sensor's site lays over it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "picket/hash.h"
#include "picket/limits.h"
#include "picket/scope_floor.h"

static struct pk_scope *scope_of(const char *text)
{
    struct pk_scope *scope = NULL;
    char error[PK_CONF_ERROR_SIZE];
    if (pk_scope_parse("s.yaml", text, strlen(text), &scope, error) != PK_OK) {
        fail_msg("%s", error);
    }
    return scope;
}

static struct pk_scope_floor floor_of(const char *text)
{
    struct pk_conf *conf = NULL;
    struct pk_scope_floor floor;
    char error[PK_CONF_ERROR_SIZE];
    assert_int_equal(pk_conf_parse("f.yaml", text, strlen(text), &conf, error), PK_OK);
    pk_scope_floor_read(conf, pk_conf_root(conf), &floor);
    if (pk_conf_error(conf)) {
        fail_msg("%s", pk_conf_error(conf));
    }
    pk_conf_free(conf);
    return floor;
}

static void what_is_rendered_reads_as_the_same_scope(void **state)
{
    static const char text[] =
        "tenants:\n  - name: acme\n    sites: [hq, {name: branch, vantage: resolver, clients: [10.2.0.0/16], resolvers: [10.2.0.53]}]\n"
        "    zones: ['we\\\"ird\\\\.example', example.com]\n    networks: [198.51.100.0/24, '2001:db8::/32']\n    transfer_peers: [192.0.2.7]\n    scanners: [203.0.113.200]\n"
        "    canaries: [{name: a.example.com, channel: axfr, planted: '2026-11-20T10:00:00Z'}, b.example.com]\n    watch: [intel.example.org]\n"
        "    sensitive_zones: [corp.example.com]\n    pseudonym_days: 7\n    window_s: 20\n    retention: {activity_days: 3}\n    budget: 2\n";
    struct pk_scope *scope = scope_of(text), *again;
    struct pk_bytes first, second;
    (void)state;
    pk_bytes_init(&first, PK_MAX_SCOPE_BYTES);
    pk_bytes_init(&second, PK_MAX_SCOPE_BYTES);
    assert_int_equal(pk_scope_render(&scope->tenants[0], &first), PK_OK);
    again = scope_of(pk_bytes_text(&first));
    const struct pk_scope_tenant *a = &scope->tenants[0], *b = &again->tenants[0];
    assert_int_equal(b->n_sites, 2);
    assert_int_equal(b->sites[1].vantage, PK_VANTAGE_RESOLVER);
    assert_int_equal(b->sites[0].n_clients, a->sites[0].n_clients);
    assert_int_equal(b->sites[1].n_clients, 1);
    assert_int_equal(b->sites[1].n_resolvers, 1);
    assert_int_equal(b->n_zones, 2);
    assert_true(pk_name_equal(&a->zones[0], &b->zones[0]));
    assert_int_equal(b->n_networks, 2);
    assert_int_equal(b->n_reverse_zones, 2);
    assert_int_equal(b->n_canaries, 2);
    assert_string_equal(b->canaries[0].channel, "axfr");
    assert_int_equal(b->canaries[0].planted_us, a->canaries[0].planted_us);
    assert_null(b->canaries[1].channel);
    assert_int_equal(b->canaries[1].planted_us, 0);
    assert_int_equal(b->pseudonym_days, 7);
    assert_int_equal(b->window_s, 20);
    assert_int_equal(pk_scope_render(b, &second), PK_OK);
    assert_int_equal(first.len, second.len);
    assert_memory_equal(first.data, second.data, first.len);
    pk_bytes_done(&first);
    pk_bytes_init(&first, 100);
    assert_int_equal(pk_scope_render(a, &first), PK_ERR_LIMIT);
    pk_bytes_done(&first);
    pk_bytes_done(&second);
    pk_scope_free(scope);
    pk_scope_free(again);
}

static void the_floor_takes_away_and_never_adds(void **state)
{
    static const struct {
        const char *floor, *sent, *own; /* own: the site's file, NULL: none */
        size_t n_zones, n_networks, left_out;
        const char *inside, *outside; /* an address each; NULL: not asked */
    } cases[] = {
        {"{}",
            "zones: [example.com, com, in-addr.arpa, 2.0.192.in-addr.arpa], networks: [10.0.0.0/7, 198.51.100.0/24]",
            NULL, 2, 1, 3, "10.9.9.9", "198.51.100.7"},
        {"{}", "zones: [lan]", "zones: [lan]", 1, 0, 0, NULL, NULL},
        {"{}", "zones: [lan, corp]", "zones: [lan]", 1, 0, 1, NULL, NULL},
        {"{zones: [example.com]}",
            "zones: [example.com, a.example.com, example.org], canaries: [x.example.org], watch: [w.example.org]",
            NULL, 2, 0, 3, NULL, NULL},
        {"{zones: 'example.com,example.org'}", "zones: [example.com, a.example.org, lan]",
            "zones: [lan]", 2, 0, 1, NULL, NULL},
        {"{networks: [198.51.100.0/24]}",
            "zones: [example.com], networks: [198.51.100.0/25, 198.51.0.0/16]", NULL, 0, 1, 2, NULL,
            NULL},
        {"{zones: [100.51.198.in-addr.arpa]}", "networks: [198.51.100.0/24, 203.0.113.0/24]", NULL,
            0, 1, 1, NULL, NULL},
        {"{clients: [192.0.2.0/24]}", "sites: [{name: hq, clients: [203.0.113.0/24]}]", NULL, 0, 0,
            0, "192.0.2.200", "10.1.1.1"},
        {"{}", "sites: [{name: hq, clients: [203.0.113.0/24]}]",
            "sites: [{name: hq, clients: [172.16.0.0/12]}]", 0, 0, 0, "172.17.0.1", "10.1.1.1"},
        {"{}", "sites: [{name: hq, clients: [203.0.113.0/24]}]", NULL, 0, 0, 0, "203.0.113.1",
            "192.0.2.1"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char sent_text[512], own_text[512];
        bool has_sites = strstr(cases[i].sent, "sites") != NULL;
        snprintf(sent_text, sizeof sent_text, "tenants: [{name: acme, %s%s, pseudonym_days: 365}]",
            has_sites ? "" : "sites: [hq], ", cases[i].sent);
        snprintf(own_text, sizeof own_text, "tenants: [{name: acme, %s}]",
            cases[i].own ? cases[i].own : "sites: [hq]");
        struct pk_scope *sent = scope_of(sent_text), *own = scope_of(own_text);
        struct pk_scope_floor floor = floor_of(cases[i].floor);
        struct pk_scope_tenant *tenant = &sent->tenants[0];
        struct pk_addr addr;
        size_t left_out = 99;
        floor.pseudonym_days = 30;
        assert_int_equal(pk_scope_floor_apply(&floor, sent, tenant, &tenant->sites[0],
                             cases[i].own ? &own->tenants[0] : NULL, &left_out),
            PK_OK);
        if (tenant->n_zones != cases[i].n_zones || tenant->n_networks != cases[i].n_networks ||
            left_out != cases[i].left_out) {
            fail_msg("case %zu: zones %zu networks %zu left out %zu", i, tenant->n_zones,
                tenant->n_networks, left_out);
        }
        assert_int_equal(tenant->pseudonym_days, 30);
        assert_int_equal(tenant->n_reverse_zones, tenant->n_networks);
        if (cases[i].inside) {
            assert_true(pk_addr_parse(cases[i].inside, &addr));
            assert_true(pk_scope_is_client(&tenant->sites[0], &addr));
            assert_true(pk_addr_parse(cases[i].outside, &addr));
            assert_false(pk_scope_is_client(&tenant->sites[0], &addr));
        }
        pk_scope_floor_done(&floor);
        pk_scope_free(sent);
        pk_scope_free(own);
    }
}

static void what_went_is_not_found_any_more(void **state)
{
    struct pk_scope *sent = scope_of(
        "tenants: [{name: acme, sites: [hq], zones: [example.com, example.org], canaries: [c.example.org]}]");
    struct pk_scope_floor floor = floor_of("{zones: [example.com]}");
    struct pk_scope_tenant *tenant = &sent->tenants[0];
    struct pk_name name;
    size_t left_out;
    (void)state;
    assert_int_equal(pk_name_from_text("www.c.example.org", &name), PK_OK);
    assert_int_equal(pk_scope_match(tenant, &name, 1, 1, NULL), PK_SCOPE_ZONE);
    assert_int_equal(
        pk_scope_floor_apply(&floor, sent, tenant, &tenant->sites[0], NULL, &left_out), PK_OK);
    assert_int_equal(left_out, 2);
    assert_int_equal(pk_scope_match(tenant, &name, 1, 1, NULL), PK_SCOPE_NOT);
    assert_int_equal(pk_name_from_text("www.example.com", &name), PK_OK);
    assert_int_equal(pk_scope_match(tenant, &name, 1, 1, NULL), PK_SCOPE_ZONE);
    pk_scope_floor_done(&floor);
    pk_scope_free(sent);
}

/* A scope that lists clients one by one would have their addresses told as the prefixes they are in. */
static void a_prefix_beside_a_pseudonym_never_names_a_client(void **state)
{
    struct pk_scope *sent = scope_of(
        "tenants: [{name: acme, sites: [{name: hq, clients: [10.1.2.3/32, '2001:db8::5/128', 10.9.0.0/16]}]}]");
    struct pk_scope_floor floor = floor_of("{}");
    struct pk_scope_site *site = &sent->tenants[0].sites[0];
    char text[PK_PREFIX_TEXT_SIZE];
    size_t left_out;
    (void)state;
    assert_int_equal(
        pk_scope_floor_apply(&floor, sent, &sent->tenants[0], site, NULL, &left_out), PK_OK);
    assert_string_equal(pk_prefix_text(&site->clients[0], text), "10.1.2.0/24");
    assert_string_equal(pk_prefix_text(&site->clients[1], text), "2001:db8::/48");
    assert_string_equal(pk_prefix_text(&site->clients[2], text), "10.9.0.0/16");
    pk_scope_floor_done(&floor);
    pk_scope_free(sent);
}

static void wrong_floors_are_refused(void **state)
{
    static const char *const texts[] = {"{inside: clear}", "{clients: [10.0.0.1/8]}",
        "{zones: ['a..b']}", "{networks: {a: 1}}", "{pseudonym_days: 0}", "{outside: 1}"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct pk_conf *conf = NULL;
        struct pk_scope_floor floor;
        char error[PK_CONF_ERROR_SIZE];
        assert_int_equal(pk_conf_parse("f", texts[i], strlen(texts[i]), &conf, error), PK_OK);
        pk_scope_floor_read(conf, pk_conf_root(conf), &floor);
        if (!pk_conf_error(conf)) {
            fail_msg("%s was taken", texts[i]);
        }
        pk_scope_floor_done(&floor);
        pk_conf_free(conf);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_rendered_reads_as_the_same_scope),
        cmocka_unit_test(the_floor_takes_away_and_never_adds),
        cmocka_unit_test(what_went_is_not_found_any_more),
        cmocka_unit_test(a_prefix_beside_a_pseudonym_never_names_a_client),
        cmocka_unit_test(wrong_floors_are_refused),
    };
    return pk_hash_start() == PK_OK ? cmocka_run_group_tests(tests, NULL, NULL) : 2;
}

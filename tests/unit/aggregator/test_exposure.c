/* D14: what a zone shows, from records; and its benign twin. */
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

#include "aggregator/detect/exposure.h"

static const char scope_text[] =
    "tenants:\n  - name: acme\n    sites: [hq]\n    zones: [example.com, corp.example.com]\n    sensitive_zones: [corp.example.com]\n";

struct world {
    struct pk_scope *scope;
    struct pk_exposure *exposure;
    char report[8192]; /* "severity kind name;" for each */
};

static int set_up(void **state)
{
    char error[PK_CONF_ERROR_SIZE];
    struct world *world = calloc(1, sizeof *world);
    *state = world;
    assert_int_equal(
        pk_scope_parse("scope", scope_text, strlen(scope_text), &world->scope, error), PK_OK);
    return pk_exposure_new(&world->scope->tenants[0], &world->exposure) == PK_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    pk_exposure_free(world->exposure);
    pk_scope_free(world->scope);
    free(world);
    return 0;
}

static struct pk_exposure_record record_of(const char *owner, uint16_t type)
{
    struct pk_exposure_record record = {.type = type,
        .class = 1,
        .is_authoritative = true,
        .n_rdata = 1,
        .first_us = 1000,
        .last_us = 2000};
    assert_int_equal(pk_name_from_text(owner, &record.owner), PK_OK);
    return record;
}

static void feed(
    struct world *world, struct pk_exposure_record record, const void *data, size_t len)
{
    struct pk_slice rdata = {data, (uint32_t)len};
    record.rdata = &rdata;
    assert_int_equal(pk_exposure_record(world->exposure, &record), PK_OK);
}

static void address(struct world *world, const char *owner, const char *text)
{
    struct pk_addr addr;
    assert_true(pk_addr_parse(text, &addr));
    feed(world, record_of(owner, addr.family == 4 ? 1 : 28), addr.bytes, addr.family == 4 ? 4 : 16);
}

static void target(struct world *world, const char *owner, uint16_t type, const char *text)
{
    struct pk_name name;
    uint8_t mx[PK_NAME_MAX + 2] = {0, 10};
    assert_int_equal(pk_name_from_text(text, &name), PK_OK);
    memcpy(mx + 2, name.wire, name.len);
    size_t skip = type == PK_TYPE_MX ? 0 : 2;
    feed(world, record_of(owner, type), mx + skip, name.len + 2u - skip);
}

static void text_at(struct world *world, const char *owner, const char *text, int64_t last_us)
{
    uint8_t data[256];
    struct pk_exposure_record record = record_of(owner, PK_TYPE_TXT);
    record.last_us = last_us;
    data[0] = (uint8_t)strlen(text);
    memcpy(data + 1, text, strlen(text));
    feed(world, record, data, strlen(text) + 1);
}

static void absent(struct world *world, const char *text)
{
    struct pk_name name;
    assert_int_equal(pk_name_from_text(text, &name), PK_OK);
    pk_exposure_absent(world->exposure, &name, 5000);
}

static void on_item(void *arg, const struct pk_exposure_item *item)
{
    struct world *world = arg;
    char name[PK_NAME_TEXT_SIZE];
    size_t len = strlen(world->report);
    snprintf(world->report + len, sizeof world->report - len, "%u %s %s;", item->severity,
        pk_exposure_kind_str(item->kind), pk_name_text(&item->name, name));
    assert_true(item->evidence[0] != '\0');
}

static const char *report(struct world *world)
{
    world->report[0] = '\0';
    assert_int_equal(pk_exposure_report(world->exposure, NULL, on_item, world), PK_OK);
    return world->report;
}

static void what_is_wrong_is_listed_worst_first_with_evidence(void **state)
{
    struct world *world = *state;
    struct pk_name zone;
    assert_int_equal(pk_name_from_text("example.com", &zone), PK_OK);
    assert_int_equal(
        pk_exposure_transferred(world->exposure, &zone, 9, "transfer of 80 records to 192.0.2.66"),
        PK_OK);
    target(world, "shop.example.com", PK_TYPE_CNAME, "acme-shop.azurewebsites.net");
    absent(world, "acme-shop.azurewebsites.net");
    target(world, "blog.example.com", PK_TYPE_CNAME, "acme.github.io");
    target(world, "example.com", PK_TYPE_MX, "mx.gone.example.net");
    absent(world, "mx.gone.example.net");
    address(world, "db.example.com", "10.20.0.5");
    address(world, "db.corp.example.com", "fd00::5");
    text_at(world, "example.com", "v=spf1 a +all", 2000);
    text_at(world, "_dmarc.example.com", "v=DMARC1; p=none", 2000);
    address(world, "qzxkvjwpfh.example.com", "198.51.100.9");
    address(world, "wvkqxzjhbp.example.com", "198.51.100.9");
    address(world, "xkzqwvjfpt.example.com", "198.51.100.9");
    assert_string_equal(report(world),
        "5 transfer example.com.;4 dangling example.com.;4 dangling shop.example.com.;3 spf_all example.com.;"
        "3 private_address db.corp.example.com.;2 claimable blog.example.com.;2 private_address db.example.com.;"
        "1 wildcard xkzqwvjfpt.example.com.;1 dmarc_none _dmarc.example.com.;");
}

static void a_sound_zone_shows_nothing(void **state)
{
    struct world *world = *state;
    target(world, "shop.example.com", PK_TYPE_CNAME, "acme-shop.azurewebsites.net");
    address(world, "acme-shop.azurewebsites.net", "198.51.100.7"); /* its target is there */
    target(world, "example.com", PK_TYPE_MX, "mail.example.com");
    target(world, "nomail.example.com", PK_TYPE_MX, ".");
    address(world, "mail.example.com", "198.51.100.8");
    text_at(world, "example.com", "v=spf1 a mx -all", 2000);
    text_at(world, "_dmarc.example.com", "v=DMARC1; p=reject", 2000);
    address(world, "printer.other.example", "10.0.0.1"); /* not ours */
    struct pk_exposure_record inside = record_of("db.example.com", 1);
    inside.is_inside = true; /* the inside view may say so */
    feed(world, inside, "\x0a\x00\x00\x05", 4);
    struct pk_exposure_record cached = record_of("db2.example.com", 1);
    cached.is_authoritative = false;
    feed(world, cached, "\x0a\x00\x00\x05", 4);
    assert_string_equal(report(world), "");
}

static void what_was_mended_is_gone(void **state)
{
    struct world *world = *state;
    text_at(world, "example.com", "v=spf1 +all", 2000);
    text_at(world, "example.com", "v=spf1 -all", 2000 + INT64_C(2) * 86400 * 1000000);
    target(world, "old.example.com", PK_TYPE_CNAME, "x.example.net");
    absent(world, "x.example.net");
    struct pk_exposure_record again = record_of("x.example.net", 1);
    again.last_us = 9000;
    feed(world, again, "\xc6\x33\x64\x07", 4);
    assert_string_equal(report(world), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            what_is_wrong_is_listed_worst_first_with_evidence, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_sound_zone_shows_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_mended_is_gone, set_up, tear_down),
    };
    if (pk_hash_start() != PK_OK) {
        return 1;
    }
    return cmocka_run_group_tests_name("exposure", tests, NULL, NULL);
}

/* Whose scope holds: the one that was sent, the file's, or none; under the floor that the site set. And what is kept of the one that was sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "picket/hash.h"
#include "picket/limits.h"

#include "sensor/settings.h"
#include "sensor/ship/spool_file.h"

static char folder[64];

static const char *path_of(const char *name)
{
    static char path[160];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void write_file(const char *name, const void *data, size_t len)
{
    FILE *out = fopen(path_of(name), "we");
    assert_non_null(out);
    assert_int_equal(fwrite(data, 1, len, out), len);
    assert_int_equal(fclose(out), 0);
}

/* sensor.yaml with these lines besides. */
static void configure(const char *more, bool has_file)
{
    char text[2048];
    int len = snprintf(text, sizeof text,
        "sensor: hq-1\nsite: acme/hq\nkey_file: %s/key\n%s%s%scapture: {interfaces: [lo]}\nspool: {folder: %s}\naggregator: {endpoints: [tcp://127.0.0.1:1], server_key: \"%s\"}\n%s",
        folder, has_file ? "scope: " : "", has_file ? folder : "", has_file ? "/scope.yaml\n" : "",
        folder, "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7", more);
    write_file("sensor.yaml", text, (size_t)len);
}

static struct pk_pushed sent(const char *text, uint32_t serial)
{
    struct pk_pushed pushed;
    struct pk_bytes body;
    struct pk_config_scope scope = {
        .serial = serial, .text = {.data = (const uint8_t *)text, .len = (uint32_t)strlen(text)}};
    pk_bytes_init(&body, PK_MAX_BODY_BYTES);
    assert_int_equal(pk_config_scope_encode(&scope, &body), PK_OK);
    assert_int_equal(pk_pushed_init(&pushed, body.data, body.len), PK_OK);
    pk_bytes_done(&body);
    return pushed;
}

#define FILE_SCOPE \
    "tenants: [{name: acme, sites: [{name: hq, clients: [10.1.0.0/16]}], zones: [file.example]}]"
#define SENT_SCOPE \
    "tenants: [{name: acme, sites: [{name: hq, clients: [10.2.0.0/16]}], zones: [sent.example, a.test], window_s: 30}]"

static const char *first_zone(const struct pk_settings *settings)
{
    static char text[PK_NAME_TEXT_SIZE];
    return settings->tenant->n_zones ? pk_name_text(&settings->tenant->zones[0], text) : "";
}

static void the_one_that_was_sent_comes_first(void **state)
{
    static const struct {
        const char *more;
        bool has_file, is_sent;
        const char *zone;
        uint32_t window_ms;
        size_t left_out;
    } cases[] = {
        {"", true, false, "file.example.", 10000, 0},
        {"", true, true, "sent.example.", 30000, 0},
        {"", false, true, "sent.example.", 30000, 0},
        {"", false, false, "", 10000, 0},
        {"window_s: 2\n", true, true, "sent.example.", 2000, 0},
        {"scope_from: file\n", true, true, "file.example.", 10000, 0},
        {"scope_from: aggregator\n", true, true, "sent.example.", 30000, 0},
        {"privacy_floor: {zones: [a.test]}\n", true, true, "a.test.", 30000, 1},
        {"privacy_floor: {zones: [a.test]}\n", true, false, "", 10000, 1},
    };
    (void)state;
    write_file("scope.yaml", FILE_SCOPE, strlen(FILE_SCOPE));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pk_pushed pushed = sent(SENT_SCOPE, 5);
        struct pk_settings *settings = NULL;
        char error[PK_CONF_ERROR_SIZE] = "", path[160];
        configure(cases[i].more, cases[i].has_file);
        snprintf(path, sizeof path, "%s", path_of("sensor.yaml"));
        if (pk_settings_load(path, cases[i].is_sent ? &pushed : NULL, &settings, error) != PK_OK) {
            fail_msg("case %zu: %s", i, error);
        }
        if (strcmp(first_zone(settings), cases[i].zone) != 0 ||
            settings->config.window_ms != cases[i].window_ms ||
            settings->n_left_out != cases[i].left_out) {
            fail_msg("case %zu: zone %s window %u left out %zu", i, first_zone(settings),
                settings->config.window_ms, settings->n_left_out);
        }
        bool uses_sent = cases[i].is_sent && settings->config.takes_scope;
        assert_int_equal(settings->pushed_serial, uses_sent ? 5 : 0);
        /* What is in force can be read again, and is the same. */
        struct pk_scope *again = NULL;
        assert_int_equal(pk_scope_parse("kept", (const char *)settings->scope_text.data,
                             settings->scope_text.len, &again, error),
            PK_OK);
        assert_int_equal(again->tenants[0].n_zones, settings->tenant->n_zones);
        pk_scope_free(again);
        pk_settings_free(settings);
        pk_pushed_done(&pushed);
    }
}

static bool is_inside(const struct pk_settings *settings, const char *text)
{
    struct pk_addr addr;
    assert_true(pk_addr_parse(text, &addr));
    return pk_scope_is_client(settings->site, &addr);
}

static void who_is_inside_by_the_file_stays_inside(void **state)
{
    struct pk_pushed pushed = sent(SENT_SCOPE, 5);
    struct pk_settings *settings = NULL;
    char error[PK_CONF_ERROR_SIZE];
    (void)state;
    configure("", true);
    assert_int_equal(pk_settings_load(path_of("sensor.yaml"), &pushed, &settings, error), PK_OK);
    assert_true(is_inside(settings, "10.1.0.1") && is_inside(settings, "10.2.0.1"));
    assert_false(is_inside(settings, "192.168.0.1"));
    pk_settings_free(settings);
    configure("", false);
    assert_int_equal(pk_settings_load(path_of("sensor.yaml"), &pushed, &settings, error), PK_OK);
    assert_true(is_inside(settings, "192.168.0.1"));
    pk_settings_free(settings);
    pk_pushed_done(&pushed);
}

/* Judged against what was read, whatever lies on the disk by then; a bad one leaves the old settings as they are. */
static void an_offer_is_judged_by_what_is_in_memory(void **state)
{
    struct pk_pushed good = sent(SENT_SCOPE, 6),
                     elsewhere = sent("tenants: [{name: acme, sites: [b]}]", 7),
                     broken = sent("tenants: [", 8);
    struct pk_settings *base = NULL, *wanted = NULL;
    char error[PK_CONF_ERROR_SIZE], path[160];
    (void)state;
    configure("", true);
    snprintf(path, sizeof path, "%s", path_of("sensor.yaml"));
    assert_int_equal(pk_settings_load(path, NULL, &base, error), PK_OK);
    write_file("sensor.yaml", "half an ed", 10);
    (void)unlink(path_of("scope.yaml"));
    assert_int_equal(pk_settings_with_scope(base, path, &good, &wanted, error), PK_OK);
    assert_string_equal(first_zone(wanted), "sent.example.");
    assert_true(is_inside(wanted, "10.1.0.1"));
    pk_settings_free(wanted);
    wanted = NULL;
    assert_int_equal(pk_settings_with_scope(base, path, &elsewhere, &wanted, error), PK_ERR_CONFIG);
    assert_non_null(strstr(error, "no site \"acme/hq\""));
    assert_int_not_equal(pk_settings_with_scope(base, path, &broken, &wanted, error), PK_OK);
    assert_null(wanted);
    assert_string_equal(first_zone(base), "file.example.");
    pk_settings_free(base);
    /* One that was kept and can no longer be used gives way, with a reason. */
    write_file("scope.yaml", FILE_SCOPE, strlen(FILE_SCOPE));
    configure("", true);
    assert_int_equal(pk_settings_load(path, &elsewhere, &base, error), PK_OK);
    assert_string_equal(first_zone(base), "file.example.");
    assert_non_null(strstr(base->pushed_error, "no site"));
    pk_settings_free(base);
    pk_pushed_done(&good);
    pk_pushed_done(&elsewhere);
    pk_pushed_done(&broken);
}

static void what_is_kept_is_whole_or_nothing(void **state)
{
    struct pk_pushed pushed = sent(SENT_SCOPE, 9), found;
    uint8_t raw[1024];
    (void)state;
    assert_int_equal(pk_pushed_load(folder, NULL, &found), PK_PUSHED_NONE);
    assert_int_equal(found.version, 0);
    assert_int_equal(pk_pushed_save(folder, NULL, &pushed), PK_OK);
    assert_int_equal(pk_pushed_load(folder, NULL, &found), PK_PUSHED_IN_CLEAR);
    assert_int_equal(found.version, pushed.version);
    assert_int_equal(found.serial, 9);
    assert_memory_equal(found.text.data, SENT_SCOPE, strlen(SENT_SCOPE));
    pk_pushed_done(&found);
    FILE *in = fopen(path_of("scope"), "re");
    size_t len = fread(raw, 1, sizeof raw, in);
    assert_int_equal(fclose(in), 0);
    for (size_t cut = 0; cut < len; cut++) {
        write_file("scope", raw, cut);
        (void)pk_pushed_load(folder, NULL, &found);
        assert_int_equal(found.version, 0);
        raw[cut] ^= 0x10;
        write_file("scope", raw, len);
        (void)pk_pushed_load(folder, NULL, &found);
        assert_int_equal(found.version, 0);
        raw[cut] ^= 0x10;
    }
    assert_int_equal(pk_pushed_save("/nowhere/at/all", NULL, &pushed), PK_ERR_IO);
    (void)unlink(path_of("scope"));
    pk_pushed_done(&pushed);
}

/* Names of the tenant's zones and networks must not stand beside an encrypted spool. */
static void with_a_spool_key_it_is_sealed(void **state)
{
    struct pk_pushed pushed = sent(SENT_SCOPE, 9), found;
    const uint8_t key[PK_SPOOL_KEY_BYTES] = {1, 2, 3}, other[PK_SPOOL_KEY_BYTES] = {1, 2, 4};
    uint8_t raw[1024];
    (void)state;
    assert_int_equal(pk_pushed_save(folder, NULL, &pushed), PK_OK);
    assert_int_equal(pk_pushed_load(folder, key, &found), PK_PUSHED_IN_CLEAR); /* of before */
    assert_int_equal(found.serial, 9);
    pk_pushed_done(&found);
    assert_int_equal(pk_pushed_save(folder, key, &pushed), PK_OK);
    FILE *in = fopen(path_of("scope"), "re");
    size_t len = fread(raw, 1, sizeof raw, in);
    assert_int_equal(fclose(in), 0);
    assert_null(memmem(raw, len, "example", 7));
    assert_int_equal(pk_pushed_load(folder, NULL, &found), PK_PUSHED_OF_ANOTHER_KEY);
    assert_int_equal(pk_pushed_load(folder, other, &found), PK_PUSHED_OF_ANOTHER_KEY);
    assert_int_equal(found.version, 0);
    assert_int_equal(pk_pushed_load(folder, key, &found), PK_PUSHED_SEALED);
    assert_int_equal(found.version, pushed.version);
    assert_memory_equal(found.text.data, SENT_SCOPE, strlen(SENT_SCOPE));
    pk_pushed_done(&found);
    for (size_t cut = 0; cut < len; cut++) {
        write_file("scope", raw, cut);
        assert_int_not_equal(pk_pushed_load(folder, key, &found), PK_PUSHED_SEALED);
        assert_int_equal(found.version, 0);
        raw[cut] ^= 0x10;
        write_file("scope", raw, len);
        assert_int_not_equal(pk_pushed_load(folder, key, &found), PK_PUSHED_SEALED);
        assert_int_equal(found.version, 0);
        raw[cut] ^= 0x10;
    }
    (void)unlink(path_of("scope"));
    pk_pushed_done(&pushed);
}

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/picket-settings-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    (void)unlink(path_of("sensor.yaml"));
    (void)unlink(path_of("scope.yaml"));
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_one_that_was_sent_comes_first),
        cmocka_unit_test(who_is_inside_by_the_file_stays_inside),
        cmocka_unit_test(an_offer_is_judged_by_what_is_in_memory),
        cmocka_unit_test(what_is_kept_is_whole_or_nothing),
        cmocka_unit_test(with_a_spool_key_it_is_sealed),
    };
    return pk_hash_start() == PK_OK ? cmocka_run_group_tests(tests, make_folder, remove_folder) : 2;
}

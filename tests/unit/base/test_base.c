/* Bytes, reader, map, times, addresses, configuration. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "picket/addr.h"
#include "picket/bytes.h"
#include "picket/clock.h"
#include "picket/conf.h"
#include "picket/hash.h"
#include "picket/log.h"
#include "picket/map.h"
#include "picket/reader.h"

static void bytes_stop_at_their_ceiling_and_remember(void **state)
{
    struct pk_bytes bytes;
    (void)state;
    pk_bytes_init(&bytes, 10);
    pk_bytes_put(&bytes, "12345678", 8);
    pk_bytes_put(&bytes, "9ab", 3); /* whole or not at all */
    assert_int_equal(bytes.err, PK_ERR_LIMIT);
    assert_int_equal(bytes.len, 8);
    pk_bytes_put_u8(&bytes, 'x'); /* would fit, but the error sticks */
    assert_int_equal(bytes.len, 8);
    pk_bytes_clear(&bytes);
    pk_bytes_printf(&bytes, "%d-%s", 42, "abc");
    assert_string_equal(pk_bytes_text(&bytes), "42-abc");
    pk_bytes_done(&bytes);
    pk_bytes_done(&bytes);
}

static void bytes_without_a_ceiling_do_not_wrap(void **state)
{
    (void)state;
    struct pk_bytes bytes;
    pk_bytes_init(&bytes, SIZE_MAX);
    pk_bytes_put(&bytes, "abc", 3);
    assert_int_equal(bytes.err, PK_OK);
    assert_null(pk_bytes_extend(&bytes, SIZE_MAX - 2)); /* with what is there it would begin anew */
    assert_int_equal(bytes.err, PK_ERR_LIMIT);
    assert_memory_equal(bytes.data, "abc", 3);
    pk_bytes_done(&bytes);
}

static void varints_come_back_and_long_forms_are_refused(void **state)
{
    static const uint64_t values[] = {
        0, 1, 127, 128, 300, 16383, 16384, UINT32_MAX, UINT64_MAX - 1, UINT64_MAX};
    static const struct {
        const char *bytes;
        size_t len;
        pk_err err;
    } bad[] = {
        {"\x80\x00", 2, PK_ERR_MALFORMED},
        {"\x80", 1, PK_ERR_TRUNCATED},
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10, PK_ERR_MALFORMED},
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, PK_ERR_MALFORMED},
    };
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct pk_bytes bytes;
        struct pk_reader in;
        pk_bytes_init(&bytes, 100);
        pk_bytes_put_varint(&bytes, values[i]);
        pk_reader_init(&in, bytes.data, bytes.len);
        assert_true(pk_reader_varint(&in) == values[i]);
        assert_true(pk_reader_at_end(&in));
        pk_bytes_done(&bytes);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct pk_reader in;
        pk_reader_init(&in, bad[i].bytes, bad[i].len);
        assert_int_equal(pk_reader_varint(&in), 0);
        assert_int_equal(pk_reader_err(&in), bad[i].err);
    }
}

static void reader_never_reads_past_the_end(void **state)
{
    static const uint8_t data[] = {1, 2, 3, 4, 5};
    struct pk_reader in;
    (void)state;
    pk_reader_init(&in, data, sizeof data);
    assert_int_equal(pk_reader_be32(&in), 0x01020304);
    assert_int_equal(pk_reader_be16(&in), 0);
    assert_int_equal(pk_reader_err(&in), PK_ERR_TRUNCATED);
    assert_null(pk_reader_bytes(&in, 1)); /* one byte is there, but the error sticks */
    pk_reader_init(&in, data, sizeof data);
    struct pk_reader sub = pk_reader_sub(&in, 2);
    assert_int_equal(pk_reader_be16(&sub), 0x0102);
    assert_int_equal(pk_reader_u8(&sub), 0);
    assert_int_equal(pk_reader_err(&sub), PK_ERR_TRUNCATED);
    assert_int_equal(pk_reader_u8(&in), 3);
    pk_reader_skip(&in, SIZE_MAX);
    assert_int_equal(pk_reader_err(&in), PK_ERR_TRUNCATED);
}

static bool is_number(const void *entries, uint32_t entry, const void *key)
{
    return ((const uint32_t *)entries)[entry] == *(const uint32_t *)key;
}

/* Against a plain array, with hashes that collide on purpose. */
static void map_agrees_with_an_array(void **state)
{
    enum {
        N = 500
    };
    uint32_t numbers[N];
    bool is_in[N] = {false};
    struct pk_map map;
    uint64_t seed = 1;
    size_t n = 0;
    (void)state;
    for (uint32_t i = 0; i < N; i++) {
        numbers[i] = i;
    }
    assert_int_equal(pk_map_init(&map, N / 2, is_number), PK_OK);
    for (unsigned round = 0; round < 50000; round++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        uint32_t i = (uint32_t)(seed >> 33) % N;
        uint64_t hash = i % 7;
        uint32_t found = pk_map_find(&map, hash, numbers, &i);
        assert_int_equal(found, is_in[i] ? i : PK_MAP_NONE);
        if (is_in[i]) {
            assert_true(pk_map_remove(&map, hash, i));
            assert_false(pk_map_remove(&map, hash, i));
            is_in[i] = false;
            n--;
        } else {
            assert_int_equal(pk_map_add(&map, hash, i), n < N / 2);
            is_in[i] = n < N / 2;
            n += is_in[i];
        }
        assert_int_equal(map.n, n);
    }
    pk_map_done(&map);
}

/* Every length through its branches, every byte through every position of the key; under one key no two of some thousands collide, nor do their low bits
 * gather. */
static void quick_hash_sees_every_byte_and_the_length(void **state)
{
    (void)state;
    uint8_t data[600] = {0};
    static const uint8_t key[16] = {1}, other_key[16] = {2};
    pk_hash_set_key(key);
    for (size_t len = 0; len <= sizeof data; len++) {
        uint64_t plain = pk_hash_quick(data, len);
        assert_true(plain == pk_hash_quick(data, len));
        assert_true(len == 0 ||
                    plain != pk_hash_quick(data, len - 1)); /* all zeros: only the length differs */
        for (size_t i = 0; i < len; i++) {
            data[i] = 0x80;
            assert_true(plain != pk_hash_quick(data, len));
            data[i] = 0;
        }
    }
    uint64_t before = pk_hash_quick(data, 20);
    pk_hash_set_key(other_key);
    assert_true(before != pk_hash_quick(data, 20));
}

static void quick_hash_is_the_same_inline(void **state)
{
    (void)state;
    uint8_t data[80];
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)(i * 37 + 11);
    }
    for (size_t n = 8; n <= PK_HASH_QUICK_INLINE; n++) {
        assert_true(pk_hash_quick_short(data + n % 5, n) == pk_hash_quick_any(data + n % 5, n));
    }
}

static void quick_hash_spreads_what_counts_up(void **state)
{
    (void)state;
    enum {
        N = 1 << 14,
        BUCKETS = 1 << 10
    };
    static uint32_t counts[BUCKETS];
    for (uint64_t i = 0; i < N; i++) {
        uint64_t key[3] = {i << 32, 0, i};
        counts[pk_hash_quick(key, sizeof key) % BUCKETS]++;
    }
    for (size_t i = 0; i < BUCKETS; i++) {
        assert_in_range(counts[i], 1, 64); /* 16 on average */
    }
}

static void times_come_back_and_nonsense_does_not(void **state)
{
    static const struct {
        const char *text;
        int64_t us;
    } good[] = {
        {"1970-01-01T00:00:00.000000Z", 0},
        {"2026-11-23T09:55:00.000000Z", 1795427700000000},
        {"2000-02-29T23:59:59.999999Z", 951868799999999},
        {"1969-12-31T23:59:59.000001Z", -999999},
    };
    static const char *const bad[] = {"", "yesterday", "2026-13-01", "2026-11-23T25:00:00Z",
        "2026-11-23T09:55:00", "2026-11-23T09:55:00.Z", "2026-11-23T09:55:00Zz"};
    char text[PK_TIME_TEXT_SIZE];
    int64_t us;
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_string_equal(pk_time_text(good[i].us, text), good[i].text);
        assert_true(pk_time_parse(good[i].text, &us));
        assert_int_equal(us, good[i].us);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(pk_time_parse(bad[i], &us));
    }
    assert_true(pk_time_parse("2026-11-23T10:55:00+01:00", &us));
    assert_int_equal(us, 1795427700000000);
    assert_int_equal(strlen(pk_time_text(INT64_MAX, text)), 27);
    assert_int_equal(strlen(pk_time_text(INT64_MIN, text)), 27);
}

static void prefixes_hold_what_they_should(void **state)
{
    static const struct {
        const char *prefix, *addr;
        bool holds;
    } cases[] = {
        {"192.0.2.0/24", "192.0.2.255", true},
        {"192.0.2.0/24", "192.0.3.0", false},
        {"192.0.2.128/25", "192.0.2.127", false},
        {"0.0.0.0/0", "203.0.113.9", true},
        {"0.0.0.0/0", "2001:db8::1", false},
        {"2001:db8::/33", "2001:db8:8000::", false},
        {"2001:db8::/33", "2001:db8:7fff::1", true},
        {"192.0.2.7", "192.0.2.7", true},
    };
    static const char *const bad[] = {"192.0.2.1/24", "192.0.2.0/33", "192.0.2.0/", "192.0.2/24",
        "2001:db8::/129", "x", "", "192.0.2.0/-1", "1.2.3.4/8x"};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pk_prefix prefix;
        struct pk_addr addr;
        assert_true(pk_prefix_parse(cases[i].prefix, &prefix));
        assert_true(pk_addr_parse(cases[i].addr, &addr));
        assert_int_equal(pk_prefix_contains(&prefix, &addr), cases[i].holds);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct pk_prefix prefix;
        if (pk_prefix_parse(bad[i], &prefix)) {
            fail_msg("%s", bad[i]);
        }
    }
}

static void log_text_from_outside_is_escaped(void **state)
{
    char out[64];
    (void)state;
    assert_string_equal(
        pk_log_escape("a\"b\\c\n\xff", 7, out, sizeof out), "a\\x22b\\x5cc\\x0a\\xff");
    assert_string_equal(pk_log_escape("abcdef", 6, out, 4), "abc");
}

static void overrides_win_and_name_their_variable(void **state)
{
    static const char text[] = "spool: {max_mb: 5}\nname: [a, b]\n";
    struct pk_conf *conf;
    char error[PK_CONF_ERROR_SIZE];
    int64_t v = 0;
    const char *name = NULL;
    (void)state;
    assert_int_equal(pk_conf_parse("x.yaml", text, sizeof text - 1, &conf, error), PK_OK);
    assert_int_equal(pk_conf_override(conf, "spool.max_mb", "PICKET_SPOOL_MAX_MB", "7"), PK_OK);
    assert_int_equal(pk_conf_override(conf, "name", "PICKET_NAME", "c"), PK_OK);
    assert_int_equal(pk_conf_override(conf, "new.key", "PICKET_NEW_KEY", "many"), PK_OK);
    const struct pk_conf_node *root = pk_conf_root(conf);
    pk_conf_int(conf, pk_conf_get(conf, pk_conf_get(conf, root, "spool"), "max_mb"), 0, 100, &v);
    pk_conf_text(conf, pk_conf_get(conf, root, "name"), &name);
    assert_int_equal(v, 7);
    assert_string_equal(name, "c");
    assert_null(pk_conf_error(conf));
    pk_conf_int(conf, pk_conf_get(conf, pk_conf_get(conf, root, "new"), "key"), 0, 100, &v);
    assert_non_null(strstr(
        pk_conf_error(conf), "PICKET_NEW_KEY: must be a number from 0 to 100, not \"many\""));
    assert_int_equal(v, 7);
    pk_conf_free(conf);
}

static int start(void **state)
{
    (void)state;
    return pk_hash_start() == PK_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_stop_at_their_ceiling_and_remember),
        cmocka_unit_test(bytes_without_a_ceiling_do_not_wrap),
        cmocka_unit_test(varints_come_back_and_long_forms_are_refused),
        cmocka_unit_test(reader_never_reads_past_the_end),
        cmocka_unit_test(map_agrees_with_an_array),
        cmocka_unit_test(quick_hash_is_the_same_inline),
        cmocka_unit_test(quick_hash_sees_every_byte_and_the_length),
        cmocka_unit_test(quick_hash_spreads_what_counts_up),
        cmocka_unit_test(times_come_back_and_nonsense_does_not),
        cmocka_unit_test(prefixes_hold_what_they_should),
        cmocka_unit_test(log_text_from_outside_is_escaped),
        cmocka_unit_test(overrides_win_and_name_their_variable),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}

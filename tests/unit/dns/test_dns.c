/* Names and messages: what is taken, what is refused, and in which order names stand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "picket/addr.h"
#include "picket/dnsmsg.h"
#include "picket/hash.h"
#include "picket/rdata.h"

static struct pk_name name_of(const char *text)
{
    struct pk_name name;
    if (pk_name_from_text(text, &name) != PK_OK) {
        fail_msg("%s", text);
    }
    return name;
}

static void names_come_back_from_text(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {".", "."},
        {"example.com", "example.com."},
        {"a\\.b.c.", "a\\.b.c."},
        {"\\065\\000x", "A\\000x."},
        {"sp\\032ace", "sp\\032ace."},
        {"at\\@sign", "at\\@sign."},
        {"\\255", "\\255."},
    };
    static const char *const bad[] = {"", "..", ".a", "a..b", "\\", "a\\25", "a\\256",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.b"};
    char text[PK_NAME_TEXT_SIZE];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pk_name name = name_of(cases[i].in);
        assert_string_equal(pk_name_text(&name, text), cases[i].out);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct pk_name name;
        if (pk_name_from_text(bad[i], &name) == PK_OK) {
            fail_msg("%s", bad[i]);
        }
    }
}

static void pointers_must_go_backwards(void **state)
{
    static const struct {
        const char *bytes;
        size_t len, pos;
        pk_err err;
    } cases[] = {
        {"\3www\300\6\1a\0", 9, 0, PK_ERR_MALFORMED}, /* forwards */
        {"\300\0", 2, 0, PK_ERR_MALFORMED},           /* to itself */
        {"\1a\300\0", 4, 0, PK_ERR_MALFORMED},        /* into its own labels: a loop */
        {"\1a\0\1b\300\0", 7, 3, PK_OK},
        {"\1a\300\4\1b\300\0", 8, 4, PK_ERR_MALFORMED}, /* two that chase each other */
        {"\1a", 2, 0, PK_ERR_TRUNCATED}, {"\5abc", 4, 0, PK_ERR_TRUNCATED},
        {"\300", 1, 0, PK_ERR_TRUNCATED}, {"\100a\0", 3, 0, PK_ERR_MALFORMED}, /* label type 01 */
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pk_name name;
        size_t pos = cases[i].pos;
        assert_int_equal(pk_name_parse((const uint8_t *)cases[i].bytes, cases[i].len, &pos, &name),
            cases[i].err);
        pos = cases[i].pos;
        assert_int_equal(
            pk_name_skip((const uint8_t *)cases[i].bytes, cases[i].len, &pos), cases[i].err);
    }
}

/* RFC 4034 s6.1's own example, and the sort key must give the same order. */
static void canonical_order_is_that_of_rfc_4034(void **state)
{
    static const char *const order[] = {"example", "a.example", "yljkjljk.a.example", "Z.a.example",
        "zABC.a.EXAMPLE", "z.example", "\\001.z.example", "*.z.example", "\\200.z.example"};
    enum {
        N = sizeof order / sizeof *order
    };
    (void)state;
    for (size_t i = 0; i < N; i++) {
        for (size_t k = 0; k < N; k++) {
            struct pk_name a = name_of(order[i]), b = name_of(order[k]);
            uint8_t x[PK_NAME_SORT_KEY_ROOM], y[PK_NAME_SORT_KEY_ROOM];
            size_t n_x = pk_name_sort_key(&a, x), n_y = pk_name_sort_key(&b, y);
            int by_key = memcmp(x, y, n_x < n_y ? n_x : n_y);
            by_key = by_key ? by_key : (int)n_x - (int)n_y;
            int by_name = pk_name_compare(&a, &b);
            assert_int_equal(by_name < 0, i < k);
            assert_int_equal(by_key < 0, i < k);
            assert_int_equal(by_name == 0, pk_name_equal(&a, &b));
        }
    }
}

/* Bytes below 2 are written as two; by itself and within eight bytes, at the end of the name and before more of it. */
static void the_sort_key_escapes_what_would_end_a_label(void **state)
{
    static const struct {
        const char *name, *key;
        size_t len;
    } cases[] = {
        {"\\000\\001\\002", "\1\1\1\2\2", 6},
        {"Abc\\001efghIJ.x", "x\0abc\1\2efghij", 14},
        {"abcdefgh\\000.example", "example\0abcdefgh\1\1", 19},
        {"a\\001.b\\000.example", "example\0b\1\1\0a\1\2", 16},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pk_name name = name_of(cases[i].name);
        uint8_t key[PK_NAME_SORT_KEY_ROOM];
        assert_int_equal(pk_name_sort_key(&name, key), cases[i].len);
        assert_memory_equal(key, cases[i].key, cases[i].len);
    }
}

static void reverse_names_and_addresses_agree(void **state)
{
    static const struct {
        const char *name, *addr;
    } cases[] = {
        {"7.100.51.198.in-addr.arpa", "198.51.100.7"},
        {"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.B.D.0.1.0.0.2.ip6.arpa", "2001:db8::1"},
        {"07.100.51.198.in-addr.arpa", NULL},
        {"256.100.51.198.in-addr.arpa", NULL},
        {"100.51.198.in-addr.arpa", NULL},
        {"7.100.51.198.in-addr.arpb", NULL},
        {"0/25.100.51.198.in-addr.arpa", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pk_name name = name_of(cases[i].name);
        struct pk_addr addr;
        char text[PK_ADDR_TEXT_SIZE];
        assert_int_equal(pk_name_reverse_addr(&name, &addr), cases[i].addr != NULL);
        if (cases[i].addr) {
            assert_string_equal(pk_addr_text(&addr, text), cases[i].addr);
        }
    }
}

static void within_means_whole_labels(void **state)
{
    struct pk_name zone = name_of("Example.com"), root = name_of(".");
    struct pk_name in = name_of("www.example.COM"), out = name_of("notexample.com");
    (void)state;
    assert_true(pk_name_is_within(&in, &zone));
    assert_true(pk_name_is_within(&zone, &zone));
    assert_true(pk_name_is_within(&in, &root));
    assert_false(pk_name_is_within(&out, &zone));
    assert_false(pk_name_is_within(&zone, &in));
}

#define HEADER(qd, an, ns, ar) "\x12\x34\x84\0\0" qd "\0" an "\0" ns "\0" ar
#define QUESTION               "\3www\7example\3com\0\0\1\0\1"

static void messages_are_judged_by_the_first_thing_that_is_wrong(void **state)
{
#define CASE(bytes, fault)              \
    {                                   \
        bytes, sizeof(bytes) - 1, fault \
    }
    static const struct {
        const char *bytes;
        size_t len;
        enum pk_dns_fault fault;
    } cases[] = {
        CASE("\x12\x34", PK_DNS_SHORT_HEADER),
        CASE(HEADER("\1", "\0", "\0", "\0") QUESTION, PK_DNS_OK),
        CASE(HEADER("\0", "\0", "\0", "\0"), PK_DNS_OK),
        CASE(HEADER("\1", "\0", "\0", "\0") "\3www", PK_DNS_BAD_QUESTION),
        CASE(HEADER("\1", "\0", "\0", "\0") QUESTION "x", PK_DNS_TRAILING),
        CASE(HEADER("\1", "\1", "\0", "\0") QUESTION, PK_DNS_SHORT_RECORD),
        CASE(HEADER("\1", "\1", "\0", "\0") QUESTION "\300\14\0\1\0\1\0\0\0\5\0\4\300\0\2\1",
            PK_DNS_OK),
        CASE(HEADER("\1", "\1", "\0", "\0") QUESTION "\300\14\0\1\0\1\0\0\0\5\0\3\300\0\2",
            PK_DNS_BAD_RDATA),
        CASE(HEADER("\1", "\1", "\0", "\0") QUESTION "\300\14\0\5\0\1\0\0\0\5\0\2\300\60",
            PK_DNS_BAD_RDATA),
        CASE(HEADER("\1", "\1", "\0", "\0") QUESTION "\300\14\0\1\0\1\0\0\0\5\377\377\300\0\2\1",
            PK_DNS_SHORT_RECORD),
        CASE(HEADER("\1", "\0", "\0", "\1") QUESTION "\0\0\51\20\0\0\0\200\0\0\0", PK_DNS_OK),
        CASE(HEADER("\1", "\0", "\0", "\1") QUESTION "\0\0\51\20\0\0\0\200\0\0\3\0\12\0",
            PK_DNS_BAD_EDNS),
        CASE(HEADER("\1", "\1", "\0", "\0") QUESTION "\0\0\51\20\0\0\0\200\0\0\0", PK_DNS_BAD_EDNS),
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pk_dnsmsg msg;
        bool is_whole = pk_dnsmsg_parse((const uint8_t *)cases[i].bytes, cases[i].len, &msg);
        if (msg.fault != cases[i].fault) {
            fail_msg("case %zu: %s", i, pk_dns_fault_str(msg.fault));
        }
        assert_int_equal(
            is_whole, cases[i].fault == PK_DNS_OK || cases[i].fault == PK_DNS_TRAILING);
        struct pk_rr_iter iter;
        struct pk_rr rr;
        unsigned n = 0;
        for (pk_rr_iter_init(&iter, &msg); pk_rr_next(&iter, &rr); n++) {
            struct pk_name owner;
            pk_rr_owner(&msg, &rr, &owner);
        }
        assert_int_equal(n, msg.n_good_records);
    }
}

static void a_client_subnet_is_read_when_it_is_good(void **state)
{
#define OPTION(bytes, text)            \
    {                                  \
        bytes, sizeof(bytes) - 1, text \
    }
    static const struct {
        const char *options;
        size_t len;
        const char *subnet; /* NULL: none */
    } cases[] = {
        OPTION("\0\10\0\7\0\1\30\0\306\63\144", "198.51.100.0/24"),
        OPTION("\0\3\0\0\0\10\0\10\0\1\40\30\306\63\144\7", "198.51.100.7/32"), /* after an NSID */
        OPTION("\0\10\0\7\0\1\24\0\306\63\140", "198.51.96.0/20"),
        OPTION("\0\10\0\12\0\2\60\0\40\1\15\270\0\7", "2001:db8:7::/48"),
        OPTION("\0\10\0\4\0\1\0\0", NULL),                  /* s7.1.2: do not tell */
        OPTION("\0\10\0\7\0\1\24\0\306\63\144", NULL),      /* host bits */
        OPTION("\0\10\0\6\0\1\30\0\306\63", NULL),          /* too few bytes */
        OPTION("\0\10\0\10\0\1\30\0\306\63\144\0", NULL),   /* too many */
        OPTION("\0\10\0\11\0\1\50\0\306\63\144\0\0", NULL), /* /40 */
        OPTION("\0\10\0\7\0\3\30\0\306\63\144", NULL),      /* no such family */
        OPTION("\0\10\0\3\0\1\30", NULL),
        OPTION("\0\12\0\10\1\2\3\4\5\6\7\10", NULL), /* a cookie alone */
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct pk_edns edns = {.present = true,
            .options = (const uint8_t *)cases[i].options,
            .options_len = (uint16_t)cases[i].len};
        struct pk_prefix subnet;
        char text[PK_PREFIX_TEXT_SIZE];
        bool is_told = pk_edns_client_subnet(&edns, &subnet);
        if (is_told != (cases[i].subnet != NULL)) {
            fail_msg("case %zu", i);
        }
        if (is_told) {
            assert_string_equal(pk_prefix_text(&subnet, text), cases[i].subnet);
        }
    }
}

static void rdata_reads_as_a_master_file_would(void **state)
{
    static const struct {
        uint16_t type;
        const char *rdata;
        size_t len;
        const char *text;
    } cases[] = {
        {1, "\300\0\2\1", 4, "192.0.2.1"},
        {1, "\300\0\2", 3, "\\# 3 c00002"},
        {15, "\0\12\4mail\0", 8, "10 mail."},
        {16, "\2a\"\0", 4, "\"a\\\"\" \"\""},
        {33, "\0\1\0\2\0\65\1x\0", 9, "1 2 53 x."},
        {43, "\60\71\10\2\252\273", 6, "12345 8 2 aabb"},
        {257, "\0\5issueca.example", 17, "0 issue \"ca.example\""},
        {65, "\0\1\0\0\1\0\3\2h2", 10, "1 . alpn=\"h2\""},
        {65534, "\1\2", 2, "\\# 2 0102"},
        {47, "\1a\0\0\6\100\1\0\0\0\3", 11, "a. A MX RRSIG NSEC"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pk_bytes out;
        pk_bytes_init(&out, 1000);
        pk_rdata_text(cases[i].type, 1, (const uint8_t *)cases[i].rdata, cases[i].len, &out);
        assert_string_equal(pk_bytes_text(&out), cases[i].text);
        pk_bytes_done(&out);
    }
}

static int start(void **state)
{
    (void)state;
    return pk_hash_start() == PK_OK ? 0 : -1;
}

static uint8_t lower_of(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

static bool is_mixed(const struct pk_name *name)
{
    bool has_upper = false, has_lower = false;
    for (size_t i = 0; i < name->len; i++) {
        has_upper = has_upper || (name->wire[i] >= 'A' && name->wire[i] <= 'Z');
        has_lower = has_lower || (name->wire[i] >= 'a' && name->wire[i] <= 'z');
    }
    return has_upper && has_lower;
}

/* Names of one label and of every length up to 30, any byte at any place: eight bytes at once must say what byte by byte would. */
static void case_is_ignored_for_letters_alone_at_every_place(void **state)
{
    (void)state;
    for (uint8_t len = 1; len < 30; len++) {
        struct pk_name a = {.len = (uint8_t)(len + 2), .n_labels = 1};
        a.wire[0] = len;
        memset(a.wire + 1, 'q', len);
        for (size_t at = 1; at <= len; at++) {
            for (unsigned v = 0; v < 256; v++) {
                struct pk_name b = a, c = a, lower;
                b.wire[at] = (uint8_t)v;
                c.wire[at] = (uint8_t)(v ^ 0x20);
                bool is_same = lower_of((uint8_t)v) == lower_of((uint8_t)(v ^ 0x20));
                assert_int_equal(pk_name_equal(&b, &c), is_same);
                assert_int_equal(pk_name_hash(&b) == pk_name_hash(&c), is_same);
                assert_int_equal(pk_name_is_case_mixed(&b), is_mixed(&b));
                lower = b;
                pk_name_lower(&lower);
                assert_int_equal(lower.wire[at], lower_of((uint8_t)v));
                assert_int_equal(lower.wire[len + 1], 0);
            }
        }
    }
}

/* The plain run and the walk behind it agree on where a name is too long or leaves the message. */
static void long_names_end_where_they_must(void **state)
{
    (void)state;
    uint8_t wire[300];
    for (size_t extra = 0; extra < 4; extra++) { /* 4 labels of 63 are 256 with the root */
        size_t len = 0, pos = 0;
        struct pk_name name;
        for (unsigned i = 0; i < 4; i++) {
            uint8_t label = (uint8_t)(i == 3 ? 59 + extra : 63);
            wire[len] = label;
            memset(wire + len + 1, 'a', label);
            len += label + 1u;
        }
        wire[len++] = 0;
        pk_err want = len <= PK_NAME_MAX ? PK_OK : PK_ERR_MALFORMED;
        assert_int_equal(pk_name_parse(wire, len, &pos, &name), want);
        pos = 0;
        assert_int_equal(pk_name_skip(wire, len, &pos), want);
        assert_int_equal(pos, want == PK_OK ? len : 0);
        for (size_t cut = 0; cut < len; cut++) {
            pos = 0;
            assert_int_equal(pk_name_parse(wire, cut, &pos, &name), PK_ERR_TRUNCATED);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_come_back_from_text),
        cmocka_unit_test(pointers_must_go_backwards),
        cmocka_unit_test(canonical_order_is_that_of_rfc_4034),
        cmocka_unit_test(the_sort_key_escapes_what_would_end_a_label),
        cmocka_unit_test(reverse_names_and_addresses_agree),
        cmocka_unit_test(within_means_whole_labels),
        cmocka_unit_test(messages_are_judged_by_the_first_thing_that_is_wrong),
        cmocka_unit_test(a_client_subnet_is_read_when_it_is_good),
        cmocka_unit_test(rdata_reads_as_a_master_file_would),
        cmocka_unit_test(case_is_ignored_for_letters_alone_at_every_place),
        cmocka_unit_test(long_names_end_where_they_must),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}

/* Our trie and libpsl read the same list and must strip the same labels of every name made of its rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <libpsl.h>

#include "sensor/window/suffixes.h"

static unsigned labels_in(const char *text)
{
    unsigned n = 1;
    for (; *text; text++) {
        n += *text == '.';
    }
    return n;
}

static unsigned strip(const struct pk_suffixes *suffixes, const char *text)
{
    struct pk_name name;
    assert_int_equal(pk_name_from_text(text, &name), PK_OK);
    return pk_suffixes_strip(suffixes, &name);
}

static void strips_as_libpsl_does(void **state)
{
    (void)state;
    static const char *const before[] = {"", "www.", "a.b.", "x.y.z.", "xn--p1ai.", "com.co."};
    struct pk_suffixes *suffixes;
    psl_ctx_t *psl = psl_load_file(PICKET_PUBLIC_SUFFIX_LIST);
    FILE *list = fopen(PICKET_PUBLIC_SUFFIX_LIST, "r");
    if (!psl || !list) {
        skip(); /* no list on this machine */
    }
    assert_int_equal(pk_suffixes_load(PICKET_PUBLIC_SUFFIX_LIST, &suffixes), PK_OK);
    char line[512], text[1024];
    unsigned n_names = 0;
    while (fgets(line, sizeof line, list)) {
        line[strcspn(line, " \t\r\n")] = '\0';
        const char *rule = line + (*line == '!') + 2 * (*line == '*');
        if (*rule == '\0' || *rule == '/') {
            continue;
        }
        for (const char *p = rule; p; p = strchr(p, '.') ? strchr(p, '.') + 1 : NULL) {
            for (size_t i = 0; i < sizeof before / sizeof *before; i++) {
                snprintf(text, sizeof text, "%s%s", before[i], p);
                bool is_ascii = true;
                for (const char *c = text; *c; c++) {
                    is_ascii = is_ascii && (signed char)*c > 0;
                }
                if (!is_ascii) {
                    continue; /* their wire form is held in the next test */
                }
                const char *domain = psl_registrable_domain(psl, text);
                unsigned want = domain ? labels_in(text) - labels_in(domain) : 0;
                unsigned have = strip(suffixes, text);
                if (have != want) {
                    fail_msg("%s: %u labels instead of %u", text, have, want);
                }
                n_names++;
            }
        }
    }
    assert_true(n_names > 50000);
    fclose(list);
    psl_free(psl);
    pk_suffixes_free(suffixes);
}

static const char *write_list(const char *rules)
{
    static char path[] = "/tmp/picket-suffixes-XXXXXX";
    strcpy(path + strlen(path) - 6, "XXXXXX");
    FILE *file = fdopen(mkstemp(path), "w");
    assert_non_null(file);
    fputs(rules, file);
    fclose(file);
    return path;
}

static void rules_wildcards_and_exceptions(void **state)
{
    (void)state;
    struct pk_suffixes *suffixes;
    const char *path =
        write_list("// a list\n\ncom\nco.uk trailing words\n*.ck\n!www.ck\n\xd1\x80\xd1\x84\n");
    assert_int_equal(pk_suffixes_load(path, &suffixes), PK_OK);
    remove(path);
    assert_int_equal(strip(suffixes, "."), 0);
    assert_int_equal(strip(suffixes, "com"), 0);
    assert_int_equal(strip(suffixes, "a.com"), 0);
    assert_int_equal(strip(suffixes, "b.a.com"), 1);
    assert_int_equal(strip(suffixes, "a.co.uk"), 0);
    assert_int_equal(strip(suffixes, "b.a.co.uk"), 1);
    assert_int_equal(strip(suffixes, "b.a.uk"), 1);     /* the rule "*" */
    assert_int_equal(strip(suffixes, "c.b.a.ck"), 1);   /* a.ck is a suffix */
    assert_int_equal(strip(suffixes, "c.b.www.ck"), 2); /* www.ck is none */
    assert_int_equal(strip(suffixes, "b.a.xn--p1ai"), 1);
    assert_int_equal(strip(suffixes, "b\\.c.a.com"), 1); /* labels, not text */
    pk_suffixes_free(suffixes);
    assert_int_equal(strip(NULL, "c.b.co.uk"), 2);
    assert_int_equal(pk_suffixes_load("/nonexistent", &suffixes), PK_ERR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strips_as_libpsl_does),
        cmocka_unit_test(rules_wildcards_and_exceptions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

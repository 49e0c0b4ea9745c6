/* Names sorted once after reading, then found by binary search: the table is read-only while the engine runs. */
#include "cof_history.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

enum {
    DAY_S = 86400,
    LINE_BYTES = 1 << 20
};

struct entry {
    uint8_t *name; /* length byte and wire form, lower case; owned */
    struct pk_history_entry facts;
};

struct pk_cof_history {
    struct entry *v;
    size_t n, cap;
};

static int compare_wire(const uint8_t *a, const uint8_t *b)
{
    int by_len = (a[0] > b[0]) - (a[0] < b[0]);
    return by_len ? by_len : memcmp(a + 1, b + 1, a[0]);
}

static int compare(const void *a, const void *b)
{
    return compare_wire(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static pk_err add(
    struct pk_cof_history *history, const struct pk_name *name, int64_t first_s, int64_t last_s)
{
    if (history->n == PK_COF_MAX_NAMES) {
        return PK_ERR_LIMIT;
    }
    if (history->n == history->cap) {
        size_t cap = history->cap ? 2 * history->cap : 4096;
        struct entry *grown = realloc(history->v, cap * sizeof *grown);
        if (!grown) {
            return PK_ERR_NOMEM;
        }
        history->v = grown;
        history->cap = cap;
    }
    uint8_t *copy = malloc((size_t)name->len + 1);
    if (!copy) {
        return PK_ERR_NOMEM;
    }
    copy[0] = name->len;
    memcpy(copy + 1, name->wire, name->len);
    history->v[history->n++] = (struct entry){.name = copy,
        .facts = {
            .first_us = first_s * 1000000, .last_positive_us = last_s * 1000000, .n_sites = 1}};
    return PK_OK;
}

static bool is_wanted(const struct pk_scope *scope, const struct pk_name *name)
{
    for (size_t i = 0; i < scope->n_tenants; i++) {
        if (pk_scope_match(&scope->tenants[i], name, 0, 1, NULL) != PK_SCOPE_NOT) {
            return true;
        }
    }
    return false;
}

static pk_err take_line(
    struct pk_cof_history *history, const struct pk_scope *scope, const char *text, size_t len)
{
    struct pk_name name;
    json_t *line = json_loadb(text, len, 0, NULL);
    const char *rrname = json_string_value(json_object_get(line, "rrname"));
    const json_t *first = json_object_get(line, "time_first"),
                 *last = json_object_get(line, "time_last");
    if (!first && !last) { /* the same facts under the zone file's names */
        first = json_object_get(line, "zone_time_first");
        last = json_object_get(line, "zone_time_last");
    }
    bool is_good = rrname && json_is_number(first) && json_is_number(last) &&
                   pk_name_from_text(rrname, &name) == PK_OK;
    double first_s = json_number_value(first), last_s = json_number_value(last);
    is_good = is_good && first_s >= 0 && first_s <= last_s && last_s < 1e12;
    json_decref(line);
    if (!is_good) {
        return PK_ERR_MALFORMED;
    }
    pk_name_lower(&name);
    return is_wanted(scope, &name) ? add(history, &name, (int64_t)first_s, (int64_t)last_s) : PK_OK;
}

/* Lines of one name become one entry. */
static void put_together(struct pk_cof_history *history)
{
    size_t kept = 0;
    if (history->n > 1) {
        qsort(history->v, history->n, sizeof *history->v, compare);
    }
    for (size_t i = 0; i < history->n; i++) {
        struct entry *into = kept ? &history->v[kept - 1] : NULL, *from = &history->v[i];
        if (!into || compare(into, from) != 0) {
            history->v[kept++] = *from;
            continue;
        }
        into->facts.first_us = from->facts.first_us < into->facts.first_us ? from->facts.first_us
                                                                           : into->facts.first_us;
        into->facts.last_positive_us = from->facts.last_positive_us > into->facts.last_positive_us
                                           ? from->facts.last_positive_us
                                           : into->facts.last_positive_us;
        free(from->name);
    }
    history->n = kept;
    for (size_t i = 0; i < kept; i++) { /* first and last on different days: at least two */
        struct pk_history_entry *facts = &history->v[i].facts;
        facts->n_days =
            facts->last_positive_us - facts->first_us >= (int64_t)DAY_S * 1000000 ? 2 : 1;
    }
}

static pk_err read_lines(struct pk_cof_history *history, const struct pk_scope *scope, FILE *file,
    char *buffer, size_t *out_line)
{
    while (fgets(buffer, LINE_BYTES, file)) {
        size_t len = strlen(buffer);
        (*out_line)++;
        if (len == LINE_BYTES - 1 && buffer[len - 1] != '\n') {
            return PK_ERR_LIMIT;
        }
        if (strspn(buffer, " \t\r\n") == len) {
            continue;
        }
        pk_err err = take_line(history, scope, buffer, len);
        if (err != PK_OK) {
            return err;
        }
    }
    return ferror(file) ? PK_ERR_IO : PK_OK;
}

pk_err pk_cof_history_load(const char *path, const struct pk_scope *scope,
    struct pk_cof_history **out_history, char out_error[PK_COF_ERROR_SIZE])
{
    struct pk_cof_history *history = calloc(1, sizeof *history);
    char *buffer = malloc(LINE_BYTES);
    FILE *file = fopen(path, "re");
    size_t line = 0;
    pk_err err = !history || !buffer ? PK_ERR_NOMEM : !file ? PK_ERR_IO : PK_OK;
    if (err == PK_OK) {
        err = read_lines(history, scope, file, buffer, &line);
    }
    if (err == PK_OK) {
        put_together(history);
        *out_history = history;
        history = NULL;
    } else {
        snprintf(out_error, PK_COF_ERROR_SIZE, "%s: line %zu: %s", path, line,
            err == PK_ERR_IO          ? strerror(errno)
            : err == PK_ERR_MALFORMED ? "not an object with rrname, time_first and time_last"
                                      : pk_err_str(err));
    }
    if (file) {
        (void)fclose(file); /* only read from */
    }
    free(buffer);
    pk_cof_history_free(history);
    return err;
}

void pk_cof_history_free(struct pk_cof_history *history)
{
    for (size_t i = 0; history && i < history->n; i++) {
        free(history->v[i].name);
    }
    if (history) {
        free(history->v);
    }
    free(history);
}

size_t pk_cof_history_names(const struct pk_cof_history *history)
{
    return history->n;
}

static bool lookup(void *arg, const struct pk_name *name, struct pk_history_entry *out_entry)
{
    const struct pk_cof_history *history = arg;
    uint8_t wanted[PK_NAME_MAX + 1];
    wanted[0] = name->len;
    memcpy(wanted + 1, name->wire, name->len);
    struct entry key = {.name = wanted};
    const struct entry *found =
        history->n ? bsearch(&key, history->v, history->n, sizeof *history->v, compare) : NULL;
    if (found) {
        *out_entry = found->facts;
    }
    return found != NULL;
}

struct pk_history_source pk_cof_history_source(struct pk_cof_history *history)
{
    return (struct pk_history_source){.arg = history, .lookup = lookup};
}

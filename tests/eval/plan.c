/* Reading plans: see plan.h. */
#include "plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum field_kind {
    U32,
    U64,
    REAL,
    WORD,
    FLAG,
    SPECIAL,
};
struct field {
    const char *key;
    enum field_kind kind;
    size_t offset;
};
#define AT(field) offsetof(struct ev_cell, field)
static const struct field fields[] = {{"seed", U64, AT(seed)}, {"names", U32, AT(names)},
    {"resolvers", U32, AT(resolvers)}, {"days", U32, AT(days)}, {"training", U32, AT(training)},
    {"age", U32, AT(age_days)}, {"scale", REAL, AT(scale)}, {"clear", FLAG, AT(is_clear)},
    {"flaws", FLAG, AT(has_flaws)}, {"back", WORD, AT(back)}, {"seeds", U32, AT(n_seeds)},
    {"sites", U32, AT(sites)}, {"sources", U32, AT(sources)}, {"queries", U32, AT(queries)},
    {"k", U32, AT(k)}, {"rate", REAL, AT(rate)}, {"overlap", REAL, AT(overlap)},
    {"hours", REAL, AT(hours)}, {"list", WORD, AT(list)}, {"split", SPECIAL, AT(split)},
    {"target", WORD, AT(target)}, {"order", WORD, AT(order)}, {"from", WORD, AT(from)},
    {"wildcard", FLAG, AT(has_wildcard)}, {"gain", FLAG, AT(wants_gain)}, {"pad", U32, AT(pad)},
    {"preplay", FLAG, AT(has_preplay)}, {"flood", U32, AT(flood)}, {"history", SPECIAL, 0},
    {"path", SPECIAL, 0}, {"budgets", SPECIAL, 0}};

static bool set_path(struct ev_cell *cell, const char *value)
{
    static const char *const names[] = {"direct", "own", "busy", "public", "inside"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(value, names[i]) == 0) {
            cell->path = (enum ev_path)i;
            return true;
        }
    }
    return false;
}

static bool set_budgets(struct ev_cell *cell, const char *value)
{
    cell->n_budgets = 0;
    for (char *end = NULL; *value && cell->n_budgets < EV_MAX_BUDGETS; value = end) {
        cell->budgets[cell->n_budgets++] = strtod(value, &end);
        if (end == value) {
            return false;
        }
        end += *end == ',';
    }
    return !*value;
}

static bool set_word(char *to, size_t size, const char *value)
{
    return (size_t)snprintf(to, size, "%s", value) < size;
}

static bool set_special(struct ev_cell *cell, const char *key, const char *value)
{
    if (strcmp(key, "path") == 0) {
        return set_path(cell, value);
    }
    if (strcmp(key, "history") == 0) {
        cell->has_history = strcmp(value, "1") == 0;
        cell->says_history = true;
        return true;
    }
    if (strcmp(key, "budgets") == 0) {
        return set_budgets(cell, value);
    }
    /* split: of the weeks into tuned-on and held out; of an attack over its sources */
    if (strcmp(value, "tune") == 0 || strcmp(value, "held") == 0) {
        cell->is_tuning = value[0] == 't';
        return true;
    }
    return set_word(cell->split, sizeof cell->split, value);
}

static bool set(struct ev_cell *cell, const char *key, const char *value)
{
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const struct field *field = &fields[i];
        if (strcmp(field->key, key) != 0) {
            continue;
        }
        char *at = (char *)cell + field->offset, *end = NULL;
        switch (field->kind) {
        case U32:
            *(uint32_t *)(void *)at = (uint32_t)strtoul(value, &end, 10);
            return end != value && !*end;
        case U64:
            *(uint64_t *)(void *)at = strtoull(value, &end, 10);
            return end != value && !*end;
        case REAL:
            *(double *)(void *)at = strtod(value, &end);
            if (*end == '/') { /* rate=1/3600 */
                *(double *)(void *)at /= strtod(end + 1, &end);
            }
            return end != value && !*end;
        case WORD:
            return set_word(at, field->offset == AT(back) ? 8 : EV_WORD_SIZE, value);
        case FLAG:
            *(bool *)(void *)at = strcmp(value, "1") == 0 || strcmp(value, "on") == 0;
            return true;
        case SPECIAL:
            return set_special(cell, key, value);
        }
    }
    return false;
}

static struct ev_cell defaults(void)
{
    struct ev_cell cell = {.names = 6000,
        .resolvers = 40000,
        .days = 7,
        .training = 3,
        .scale = 0,
        .budgets = {1},
        .n_budgets = 1,
        .has_flaws = true,
        .back = "B4",
        .n_seeds = 20,
        .sites = 1,
        .sources = 1,
        .queries = 2000,
        .rate = 1,
        .k = 10,
        .hours = 96,
        .list = "popular",
        .split = "interleave",
        .target = "shared",
        .order = "sequential",
        .from = "unrelated"};
    return cell;
}

/* False: the word that was wrong is in *out_bad. */
static bool read_pairs(char *text, struct ev_cell *cell, char **out_bad)
{
    char *rest = NULL;
    for (char *word = strtok_r(text, " \t", &rest); word; word = strtok_r(NULL, " \t", &rest)) {
        char *equals = strchr(word, '=');
        *out_bad = word;
        if (!equals) {
            return false;
        }
        *equals = 0;
        if (!set(cell, word, equals + 1)) {
            return false;
        }
    }
    return true;
}

static bool read_line(
    char *line, struct ev_cell *common, uint64_t *attack_seed, struct ev_plan *plan, char **out_bad)
{
    struct ev_cell cell = *common;
    (void)snprintf(cell.line, sizeof cell.line, "%s", line);
    size_t word = strcspn(line, " \t");
    char *rest = line + word + strspn(line + word, " \t");
    line[word] = 0;
    *out_bad = line;
    if (strcmp(line, "default") == 0) {
        return read_pairs(rest, common, out_bad);
    }
    if (strcmp(line, "attack-seed") == 0) {
        *attack_seed = strtoull(rest, NULL, 10);
        return true;
    }
    cell.is_attack = strcmp(line, "attack") == 0;
    if (!cell.is_attack && strcmp(line, "benign") != 0) {
        return false;
    }
    size_t name = strcspn(rest, " \t");
    (void)snprintf(cell.what, sizeof cell.what, "%.*s", (int)name, rest);
    rest += name + strspn(rest + name, " \t");
    cell.attack_seed = *attack_seed;
    if (!read_pairs(rest, &cell, out_bad)) {
        return false;
    }
    if (!cell.says_history) {
        cell.has_history = !cell.is_attack || cell.age_days > 0;
    }
    if (!(cell.scale > 0)) {
        cell.scale = cell.is_attack ? 0.02 : 1;
    }
    plan->cells = realloc(plan->cells, (plan->n + 1) * sizeof *plan->cells);
    if (!plan->cells) {
        return false;
    }
    plan->cells[plan->n++] = cell;
    return true;
}

bool ev_plan_load(const char *path, struct ev_plan *out_plan)
{
    FILE *file = fopen(path, "re");
    if (!file) {
        perror(path);
        return false;
    }
    struct ev_cell common = defaults();
    uint64_t attack_seed = 0;
    char line[512], *bad = NULL;
    bool is_good = true;
    *out_plan = (struct ev_plan){0};
    for (unsigned number = 1; is_good && fgets(line, sizeof line, file); number++) {
        line[strcspn(line, "#\r\n")] = 0;
        for (size_t n = strlen(line); n && line[n - 1] == ' ';) {
            line[--n] = 0;
        }
        if (*line && !read_line(line, &common, &attack_seed, out_plan, &bad)) {
            (void)fprintf(stderr, "%s:%u: not understood: %s\n", path, number, bad);
            is_good = false;
        }
    }
    (void)fclose(file);
    return is_good;
}

void ev_plan_done(struct ev_plan *plan)
{
    free(plan->cells);
    *plan = (struct ev_plan){0};
}

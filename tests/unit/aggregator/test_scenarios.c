/* Every scenario file, straight through and over saved and loaded state. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "picket/hash.h"

#include "scenario.h"

#ifndef SCENARIO_FOLDER
#define SCENARIO_FOLDER "tests/scenarios"
#endif

static void play_file(void **state)
{
    struct scenario *scenario = scenario_load(*state);
    struct scenario_result whole;
    scenario_play(scenario, 0, &whole);
    const char *wrong = scenario_check(scenario, &whole);
    if (wrong) {
        fail_msg("%s\n%s", wrong, whole.log.len ? pk_bytes_text(&whole.log) : "");
    }
    /* A state a row is dear for long files: about forty stops are enough, and all for short ones. */
    size_t every = 1 + scenario->n_rows / 40;
    struct scenario_result cut;
    scenario_play(scenario, every, &cut);
    assert_int_equal(cut.log.len, whole.log.len);
    assert_memory_equal(cut.log.data ? cut.log.data : (const uint8_t *)"",
        whole.log.data ? whole.log.data : (const uint8_t *)"", whole.log.len);
    assert_int_equal(cut.state.len, whole.state.len);
    assert_memory_equal(cut.state.data, whole.state.data, whole.state.len);
    scenario_result_done(&whole);
    scenario_result_done(&cut);
    scenario_free(scenario);
}

static int is_scenario(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);
    return len > 4 && strcmp(entry->d_name + len - 4, ".scn") == 0;
}

/* With arguments: these files alone, and every revision printed. */
static void show(const char *path)
{
    struct scenario *scenario = scenario_load(path);
    struct scenario_result result;
    scenario_play(scenario, 0, &result);
    printf("%s%s: %s\n", result.log.len ? pk_bytes_text(&result.log) : "", path,
        scenario_check(scenario, &result) ? scenario_check(scenario, &result) : "good");
    scenario_result_done(&result);
    scenario_free(scenario);
}

/* SCENARIOS_PART=2/4: the second, sixth, .. file; without it all. False: it says something else. */
static bool part_from_environment(int *out_first, int *out_step)
{
    const char *text = getenv("SCENARIOS_PART");
    *out_first = *out_step = 1;
    return !text || (sscanf(text, "%d/%d", out_first, out_step) == 2 && *out_first >= 1 &&
                        *out_first <= *out_step);
}

int main(int argc, char **argv)
{
    struct dirent **entries;
    int first, step, n_tests = 0;
    if (pk_hash_start() != PK_OK || !part_from_environment(&first, &step)) {
        return 1;
    }
    for (int i = 1; i < argc; i++) {
        show(argv[i]);
    }
    int n = argc > 1 ? 0 : scandir(SCENARIO_FOLDER, &entries, is_scenario, alphasort);
    if (argc > 1 || n <= 0) {
        return argc > 1 ? 0 : 1;
    }
    struct CMUnitTest *tests = calloc((size_t)n, sizeof *tests);
    for (int i = 0; i < n; i++) {
        if (i % step == first - 1) {
            char *path = malloc(sizeof SCENARIO_FOLDER + 2 + strlen(entries[i]->d_name));
            sprintf(path, "%s/%s", SCENARIO_FOLDER, entries[i]->d_name);
            tests[n_tests++] = (struct CMUnitTest){
                .name = strdup(entries[i]->d_name), .test_func = play_file, .initial_state = path};
        }
        free(entries[i]);
    }
    free(entries);
    int failed = _cmocka_run_group_tests("scenarios", tests, (size_t)n_tests, NULL, NULL);
    for (int i = 0; i < n_tests; i++) {
        free((void *)(uintptr_t)tests[i].name);
        free(tests[i].initial_state);
    }
    free(tests);
    return failed;
}

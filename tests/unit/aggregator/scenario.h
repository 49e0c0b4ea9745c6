/* Reading and playing scenario files (tests/scenarios/README.md). */
#ifndef TEST_SCENARIO_H
#define TEST_SCENARIO_H

#include "picket/bytes.h"
#include "picket/scope.h"

#include "aggregator/detect/engine.h"
#include "aggregator/detect/finding.h"

enum {
    MAX_EXPECTS = 16,
    MAX_TERMS = 12,
    MAX_SCENARIO_SITES = 64,
    MAX_HISTORY = 256
};

struct scenario_row {
    char site[65];
    struct pk_activity activity; /* slices point into name */
    struct pk_name name;
    struct pk_client_count
        count; /* is_count: a client row in place of activity; its zone in name */
    bool is_count;
    bool is_mark, is_flush; /* no row but a command */
};

struct scenario_expect {
    char detector[16]; /* "none", "only" too */
    char terms[MAX_TERMS][128];
    size_t n_terms;
    unsigned line;
};

struct scenario {
    char path[512];
    struct pk_scope *scope;
    struct scenario_row *rows;
    size_t n_rows, cap_rows;
    struct scenario_expect expects[MAX_EXPECTS];
    size_t n_expects;
    struct {
        struct pk_name name;
        struct pk_history_entry entry;
    } history[MAX_HISTORY];
    size_t n_history;
};

/* Fails the test with file and line when the file is wrong. */
struct scenario *scenario_load(const char *path);
void scenario_free(struct scenario *scenario);

struct scenario_result {
    struct pk_finding *findings; /* the latest revision of each */
    uint64_t *at_rows;           /* rows since the mark when it first came out */
    size_t n, cap;
    struct pk_bytes log;   /* every revision as JSON */
    struct pk_bytes state; /* at the end */
    uint64_t rows;
};
/* Plays it; with every > 0 the engine is replaced by one loaded from its saved state before each such row. */
void scenario_play(
    const struct scenario *scenario, size_t every, struct scenario_result *out_result);
void scenario_result_done(struct scenario_result *result);
/* NULL when all expectations hold; otherwise what does not (static text). */
const char *scenario_check(const struct scenario *scenario, const struct scenario_result *result);

#endif

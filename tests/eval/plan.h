/* Plans: one cell of the report a line, `word key=value ...` (README.md, "A plan"). */
#ifndef TESTS_EVAL_PLAN_H
#define TESTS_EVAL_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    EV_MAX_BUDGETS = 6,
    EV_WORD_SIZE = 24,
};

enum ev_path { /* how an attack reaches our servers */
    EV_PATH_DIRECT,
    EV_PATH_OWN,    /* a resolver of his own: minimises, mixes case, asks for AAAA too */
    EV_PATH_BUSY,   /* one address of the busiest public resolver */
    EV_PATH_PUBLIC, /* fifty addresses of public resolvers */
    EV_PATH_INSIDE, /* an inside client, seen by the resolver's sensor */
};

struct ev_cell {
    char line[320]; /* as it stands in the plan, without comment; names the cell in the report */
    bool is_attack;
    char what[8]; /* "B4", "A1" */
    /* the tenant and the ground */
    uint64_t seed; /* of the world */
    uint32_t names, resolvers, days, training, age_days;
    double scale, budgets[EV_MAX_BUDGETS];
    size_t n_budgets;
    bool has_flaws, is_clear, is_tuning;
    /* has_history: the engine may ask what names there were; unless said, not by an attack on a cold engine. has_preplay: strangers
     * asked for the popular third of the list before. flood: sources an hour that each ask once for a random label meanwhile. */
    bool has_history, has_preplay;
    uint32_t flood;
    bool says_history;
    char back[8]; /* mix under an attack */
    /* the attack */
    uint64_t attack_seed;
    uint32_t n_seeds, sites, sources, queries, k;
    double rate, overlap, hours;
    enum ev_path path;
    char list[EV_WORD_SIZE], split[EV_WORD_SIZE], target[EV_WORD_SIZE], order[EV_WORD_SIZE],
        from[EV_WORD_SIZE];
    bool has_wildcard, wants_gain;
    uint32_t pad; /* existing names asked between two guesses */
};

struct ev_plan {
    struct ev_cell *cells;
    size_t n;
};

/* False: said why on standard error, with the line. */
bool ev_plan_load(const char *path, struct ev_plan *out_plan);
void ev_plan_done(struct ev_plan *plan);

#endif

/* Attacks A1..A11: the questions an adversary sends, as events, and what is known about them for judging.
 *
 *   A1 A2  guessing names from a list (rate, sites, sources, path, split, overlap, pad = A11's padding, wildcard zones)
 *   A3     reverse sweep, order=sequential|random|sparse        A8  a canary name
 *   A4     order=nsec|behind: walk; nsec3: k random names        A9  k existing rare names, no miss
 *   A5     zone transfers of k zones                            A10 inside harvester, order=list|ptr|srv
 *   A6     profiling of servers                                 A11 evasive: order=pad|quiet|mimic
 *   A7     k names that history knows and that are gone, among live ones
 *
 * Words of list= are read at run time: popular and alphabetical from word lists, heldout from second-level labels of less popular domains that are in
 * no word list, alteration from the tenant's own names, made from our own syllables. */
#ifndef TESTS_EVAL_ATTACK_H
#define TESTS_EVAL_ATTACK_H

#include "plan.h"
#include "traffic.h"
#include "world.h"

struct ev_lists {
    char **popular, **alphabetical, **heldout;
    uint32_t n_popular, n_alphabetical, n_heldout;
};
/* folder as ../shared/data: wordlists/, domains/. False when it is not there: only list=made|alteration work then. */
bool ev_lists_load(const char *folder, struct ev_lists *out_lists);
void ev_lists_done(struct ev_lists *lists);

struct ev_campaign {
    struct ev_traffic traffic; /* sorted by time */
    struct pk_addr *sources;
    uint32_t n_sources;
    bool is_inside;
    uint8_t sites[EV_N_SITES]; /* the first n_sites are asked */
    uint32_t n_sites;
    int64_t start_us, end_us;
    uint32_t n_existing; /* names of the zones asked that exist: what there is to learn */
};
/* The sites a cell's attacks go to: the same for each of its seeds, so that single-site twins can learn in advance. */
void ev_attack_sites(const struct ev_cell *cell, uint8_t out_sites[EV_N_SITES]);
/* False: the cell needs a list that is not there, or there is no such attack. */
bool ev_attack_make(const struct ev_world *world, const struct ev_cell *cell,
    const struct ev_lists *lists, uint32_t seed_number, int64_t start_us,
    struct ev_campaign *out_campaign);
/* What others did in that hour before an attack: preplay= (a week of it asks for the popular third of the popular list, each word from another
 * source) and flood= of the cell. */
void ev_attack_noise(const struct ev_world *world, const struct ev_cell *cell,
    const struct ev_lists *lists, uint32_t hour, struct ev_traffic *out);
void ev_campaign_done(struct ev_campaign *campaign);

#endif

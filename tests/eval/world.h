/* The tenant of the evaluation: a group of companies with 50 sites, the names its zones really have, and who asks for them.
 *
 * Everything follows from the seed. Names are composed from a vocabulary of our own, written from what company zones look like
 * (services, place-role-number, products, customers, workstations); no list that an attack uses was read for it. */
#ifndef TESTS_EVAL_WORLD_H
#define TESTS_EVAL_WORLD_H

#include "picket/bytes.h"
#include "picket/name.h"
#include "picket/scope.h"

#include "rng.h"
#include "traffic.h"

enum {
    EV_ZONE_GROUP = 0,           /* served by every site */
    EV_ZONE_SITE = 1,            /* + site: served there only */
    EV_ZONE_AD = EV_N_SITES + 1, /* inside names, below the group's zone */
    EV_N_ZONES = EV_N_SITES + 2,
    EV_N_OPERATORS = 12, /* shared public resolvers */
    EV_EGRESS = 8,       /* addresses of each */
    EV_N_RETIRED =
        200, /* names of each zone that are gone; links still lead to the first EV_N_STALE */
    EV_N_STALE = 60,
    EV_MAX_LABEL_TEXT = 64,
};

struct ev_host {
    char label[EV_MAX_LABEL_TEXT]; /* relative to its zone; may hold dots */
    uint8_t has_aaaa, has_https;
    uint8_t is_rare; /* published, and hardly ever asked for */
};

struct ev_zone {
    struct pk_name name;
    uint32_t first_host, n_hosts;
    uint32_t n_public; /* the first ones are asked for from outside, most popular first */
    bool is_wildcard;
};

struct ev_world_options {
    uint64_t seed;
    uint32_t n_names;     /* 500 .. 20,000 over all zones */
    uint32_t n_resolvers; /* 5,000 .. 100,000 outside resolvers */
    bool has_wildcards;   /* the group's zone and every third site's */
    double budget;        /* of the scope; 0: the default */
};

struct ev_world {
    struct ev_world_options options;
    struct ev_zone zones[EV_N_ZONES];
    struct ev_host *hosts;
    uint32_t n_hosts, cap_hosts;
    uint64_t *known; /* set of hashes of names that exist */
    size_t known_mask;
    uint64_t *retired; /* the same of names that were there once */
    size_t retired_mask;
    struct pk_scope *scope;
    char **
        externals; /* names of other people's services; from the domain list where there is one, else composed */
    uint32_t n_externals;
    int64_t start_us; /* a Monday, 00:00 UTC */
};

/* externals_path: one domain a line, most asked first; NULL or unreadable: composed ones. */
struct ev_world *ev_world_new(const struct ev_world_options *options, const char *externals_path);
void ev_world_free(struct ev_world *world);
void ev_world_scope_text(const struct ev_world *world, struct pk_bytes *out); /* YAML */

/* label "." zone; label may hold dots, "" is the apex. Labels that do not fit are cut. */
void ev_world_name(const struct ev_zone *zone, const char *label, struct pk_name *out_name);
void ev_name_from(const char *text, struct pk_name *out_name); /* absolute, from text */
bool ev_world_exists(const struct ev_world *world, const struct pk_name *name);
/* Whether it is one of the names that are gone (and none that is back). */
bool ev_world_was(const struct ev_world *world, const struct pk_name *name);
/* A transaction as that zone's server answers it; zone NULL: a reverse name of the site (about a third exist). */
void ev_world_answer(const struct ev_world *world, const struct ev_zone *zone,
    const struct pk_name *name, struct ev_event *event);

/* Outside addresses. Resolver number i has an address and habits of its own for good. */
struct ev_resolver {
    struct pk_addr addr;
    bool is_minimising, is_mixing_case, is_validating;
    uint8_t sites[3]; /* that it mostly asks */
};
struct ev_resolver ev_resolver(const struct ev_world *world, uint32_t number);
struct ev_resolver ev_public_resolver(
    const struct ev_world *world, uint32_t operator_number, uint32_t egress);
/* A public address out of a hash: never private, documentation or our own space. */
struct pk_addr ev_outside_addr(uint64_t hash);

/* Label makers, each from the stream: 7-15 letters as browsers probe; a pronounceable product name; a workstation. */
void ev_label_random(
    struct ev_rng *rng, uint32_t min, uint32_t max, char out_label[EV_MAX_LABEL_TEXT]);
void ev_label_product(struct ev_rng *rng, char out_label[EV_MAX_LABEL_TEXT]);
void ev_label_typo(struct ev_rng *rng, const char *label, char out_label[EV_MAX_LABEL_TEXT]);
/* Names that were there once and are gone: number 0 .. of a zone, the same for good; the first EV_N_RETIRED are in the history. */
void ev_label_retired(const struct ev_world *world, uint32_t zone, uint32_t number,
    char out_label[EV_MAX_LABEL_TEXT]);

#endif

/* Benign traffic: the mixes B1..B7 of the evaluation, an hour at a time.
 *
 *   B1 office branches (b)         B5 authoritative with wildcard zones (a)
 *   B2 mail gateways (b)           B6 Internet background, flood, botched roll-out (a and b)
 *   B3 Kubernetes fleet (b)        B7 shares and shapes measured in real captures (a), see mix_measured.c
 *   B4 authoritative (a)             B8 office branches that forward to the head office (b)
 *
 * a: the sensor stands beside an authoritative server; b: between inside clients and their resolver. Written without knowledge of the
 * detectors, from what clients and resolvers do; sources stand beside each number. */
#ifndef TESTS_EVAL_MIX_H
#define TESTS_EVAL_MIX_H

#include "traffic.h"
#include "world.h"

#define EV_HOUR_US (INT64_C(3600) * 1000000)

struct ev_mix {
    char id[8];    /* "B1" .. */
    double scale;  /* 1: about a million transactions a day over all sites */
    bool is_clear; /* names of others too, as from a sensor that runs without a scope */
};

/* What every mix function gets. */
struct ev_hour {
    const struct ev_world *world;
    const struct ev_mix *mix;
    uint32_t hour; /* since world->start_us */
    int64_t start_us;
    struct ev_traffic *out;
    struct ev_rng rng;
};

/* Appends the hour's events. False: no such mix. */
bool ev_mix_fill(
    const struct ev_world *world, const struct ev_mix *mix, uint32_t hour, struct ev_traffic *out);
bool ev_mix_needs_wildcards(const char *id);

void ev_mix_office(struct ev_hour *hour);
/* What a branch's resolver does not know it asks the head office (site s01): events from number `from` on are seen there again, as from the
 * branch's resolver; all misses (negative answers live short) and three in ten of the rest, or every one. */
void ev_forward(struct ev_traffic *traffic, size_t from, bool is_all);
void ev_mix_mail(struct ev_hour *hour);
void ev_mix_kubernetes(struct ev_hour *hour);
void ev_mix_authority(struct ev_hour *hour, double volume);
void ev_mix_internet(struct ev_hour *hour);
void ev_mix_measured(struct ev_hour *hour);

/* Helpers: office hours (UTC+1) and Internet day; an event now. */
double ev_day_curve(uint32_t hour, bool is_office);
int64_t ev_any_time(struct ev_hour *hour);
/* Fills in the answer and adds. zone NULL: reverse space of the site. */
void ev_emit(
    struct ev_hour *hour, const struct ev_zone *zone, const char *label, struct ev_event event);
/* A reverse name of addr, answered by the site. */
void ev_emit_reverse(struct ev_hour *hour, const struct pk_addr *addr, struct ev_event event);
/* Somebody else's name: only in clear mixes. */
void ev_emit_foreign(struct ev_hour *hour, const char *name, bool exists, struct ev_event event);

#endif

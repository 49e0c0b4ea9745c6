/* What the engine knows of the tenant's zones: cuts below the scope's zones, wildcards, search suffixes. Private to aggregator/detect.
 *
 * Zones of the scope are there from their first row; below them a zone cut is learned from an answer to SOA, NS or DNSKEY at its owner. Bounded: the scope's zones and
 * MAX_CUTS learned ones; further cuts are not learned, their names belong to the zone above. Nothing is evicted: zones are the tenant's, not an outsider's. */
#ifndef DETECT_ZONE_H
#define DETECT_ZONE_H

#include "picket/bytes.h"
#include "picket/map.h"
#include "picket/name.h"
#include "picket/observation.h"
#include "picket/reader.h"

#include "label.h"

struct ledger;
struct pk_engine;
struct observation;

enum {
    MAX_CUTS = 4096,
    MAX_WILDCARDS = 4, /* distinct answers watched a zone: A and AAAA, a change of address */
    WILDCARD_PROBES = 3,
    WILDCARD_LABELS = 8,
};

struct zone {
    uint8_t *name; /* length byte and wire form, lower case; owned */
    uint64_t hash; /* of the name, the same on every machine */
    bool is_learned;
    uint32_t n_cuts; /* learned cuts directly or deeper below: 0 saves the search */
    struct ledger *ledgers;
    struct {
        uint64_t digest;
        uint8_t n_random; /* random-looking labels that got it, saturating */
        uint8_t n_labels; /* first contacts with any label that got it, saturating */
    } wildcards[MAX_WILDCARDS];
    uint8_t n_wildcards;
    uint8_t n_nxdomain; /* first contacts that got NXDOMAIN, saturating: a wildcard leaves few */
    uint8_t
        n_exist; /* answers with data of it, or of a server of its own, saturating; wildcards' too */
    uint32_t n_trials,
        n_free; /* first contacts, and those with a free name (zone_is_free_form); both halved from time to time */
    int64_t flood_us; /* a flood of random names was seen last; 0 never (rule_flood.c) */
    uint8_t
        n_search; /* outside names asked below it, saturating: a search suffix from SEARCH_NAMES on */
    uint8_t
        ends[(26 * 26 + 7) / 8]; /* two-letter labels directly below it that exist, a bit each */
};

struct zones {
    struct zone *v;
    struct pk_map map;
    uint32_t n, max;
};

pk_err zones_init(struct zones *zones, size_t n_scope);
void zones_done(struct pk_engine *engine);

/* Finds the zone of a row whose scope zone is in seen->zone_name: the deepest learned cut at or above the name; sets zone and zone_name. Learns a cut
 * from the row. PK_ERR_NOMEM. */
pk_err zone_enter(struct pk_engine *engine, struct observation *seen);
/* Whether the row's answer is the zone's wildcard: three random-looking labels got the same; or one did (a tool's probe) and so did eight other first contacts, while next to
 * nothing in the zone does not exist. Learns from the row, which is a first contact. */
bool zone_is_wildcard(struct zone *zone, const struct pk_activity *row, enum pk_label_class class);
bool zone_has_wildcard(const struct zone *zone);
/* Whether a random-looking name was answered. */
bool zone_may_have_wildcard(const struct zone *zone);
/* Counts a first contact, with a wildcard's name that is neither a word nor looks generated or with another one. True when the zone's users give themselves names (vanity hosting): a
 * fifth of at least two hundred first contacts were such. There they say nothing. */
bool zone_is_free_form(struct zone *zone, bool is_free_name);

/* A flood of random names goes on, or was seen within ten minutes before. */
bool zone_is_flooded(const struct zone *zone, int64_t now_us);

/* Whether the label is two letters, and one that exists directly below the zone. */
bool zone_has_end(const struct zone *zone, const uint8_t *label, uint8_t len);
void zone_learn_end(struct zone *zone, const uint8_t *label, uint8_t len);

void zones_save(const struct zones *zones, struct pk_bytes *out);
void zones_load(struct pk_engine *engine, struct pk_reader *in);

#endif

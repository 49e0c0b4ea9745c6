/* The engine: actors in the order of their last row, a bounded table; each row goes to every rule.
 *
 * When the table is full the longest silent actor without an open finding goes; only when the hundred longest silent all have one, the very oldest does. */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

#include "picket/hash.h"

#include "actor.h"

enum {
    NONE = UINT32_MAX,
    DEFAULT_ACTORS = 200000,
    DEFAULT_CONTACTS = 2000000,
    LOOK_AT = 100
};

static bool is_actor(const void *entries, uint32_t entry, const void *key)
{
    return memcmp(&((const struct actor *)entries)[entry].key, key, sizeof(struct actor_key)) == 0;
}

uint64_t name_hash(const struct pk_name *name)
{
    return pk_hash_fixed(name->wire, name->len);
}

pk_err names_intern(struct names *names, const char *name, size_t max, uint16_t *out_index)
{
    for (size_t i = 0; i < names->n; i++) {
        if (strcmp(names->v[i], name) == 0) {
            *out_index = (uint16_t)i;
            return PK_OK;
        }
    }
    if (names->n == max) { /* the last one stands for all that do not fit */
        *out_index = (uint16_t)(max - 1);
        return PK_OK;
    }
    if (names->n == names->cap) {
        size_t cap = names->cap ? 2 * names->cap : 8;
        char(*grown)[65] = realloc(names->v, cap * sizeof *grown);
        if (!grown) {
            return PK_ERR_NOMEM;
        }
        names->v = grown;
        names->cap = cap;
    }
    memset(names->v[names->n], 0, sizeof *names->v);
    strncpy(names->v[names->n], name, sizeof *names->v - 1);
    *out_index = (uint16_t)names->n++;
    return PK_OK;
}

pk_err pk_engine_new(const struct pk_engine_options *options, pk_finding_cb on_finding, void *arg,
    struct pk_engine **out_engine)
{
    struct pk_engine *engine = calloc(1, sizeof *engine);
    if (!engine) {
        return PK_ERR_NOMEM;
    }
    engine->tenant = options->tenant;
    engine->limits.max_actors =
        options->limits.max_actors ? options->limits.max_actors : DEFAULT_ACTORS;
    engine->limits.max_contacts =
        options->limits.max_contacts ? options->limits.max_contacts : DEFAULT_CONTACTS;
    engine->on_finding = on_finding;
    engine->arg = arg;
    engine->newest = engine->oldest = engine->free = NONE;
    engine->cap_wildcards = options->tenant->n_zones + options->tenant->n_canaries + 16;
    engine->actors = malloc(
        engine->limits.max_actors * sizeof *engine->actors); /* pages come as they are used */
    engine->wildcards = calloc(engine->cap_wildcards, sizeof *engine->wildcards);
    if (!engine->actors || !engine->wildcards || pk_labels_new(&engine->labels) != PK_OK ||
        pk_map_init(&engine->actor_map, engine->limits.max_actors, is_actor) != PK_OK ||
        pk_contacts_init(&engine->contacts, engine->limits.max_contacts) != PK_OK) {
        pk_engine_free(engine);
        return PK_ERR_NOMEM;
    }
    *out_engine = engine;
    return PK_OK;
}

static void actor_done(struct actor *actor)
{
    for (unsigned i = 0; i < N_FAMILIES; i++) {
        dossier_free(actor->dossiers[i]);
        actor->dossiers[i] = NULL;
    }
    free(actor->transfer);
    free(actor->sweep);
    actor->transfer = NULL;
    actor->sweep = NULL;
}

static void drop_actors(struct pk_engine *engine)
{
    for (uint32_t i = engine->newest; i != NONE; i = engine->actors[i].older) {
        actor_done(&engine->actors[i]);
    }
    engine->newest = engine->oldest = engine->free = NONE;
    engine->n_actors = 0;
}

void pk_engine_free(struct pk_engine *engine)
{
    if (!engine) {
        return;
    }
    if (engine->actors) {
        drop_actors(engine);
    }
    if (engine->actor_map.slots) {
        pk_map_done(&engine->actor_map);
    }
    pk_contacts_done(&engine->contacts);
    pk_labels_free(engine->labels);
    free(engine->wildcards);
    free(engine->actors);
    free(engine->sites.v);
    free(engine->sensors.v);
    free(engine);
}

void pk_engine_set_scope(struct pk_engine *engine, const struct pk_scope_tenant *tenant)
{
    engine->tenant = tenant;
}

/* --- the order of silence --- */

static void unlink_actor(struct pk_engine *engine, struct actor *actor)
{
    if (actor->newer != NONE) {
        engine->actors[actor->newer].older = actor->older;
    } else {
        engine->newest = actor->older;
    }
    if (actor->older != NONE) {
        engine->actors[actor->older].newer = actor->newer;
    } else {
        engine->oldest = actor->newer;
    }
}

static void link_newest(struct pk_engine *engine, struct actor *actor)
{
    uint32_t index = (uint32_t)(actor - engine->actors);
    actor->newer = NONE;
    actor->older = engine->newest;
    if (engine->newest != NONE) {
        engine->actors[engine->newest].newer = index;
    } else {
        engine->oldest = index;
    }
    engine->newest = index;
}

static bool has_open_finding(const struct actor *actor)
{
    for (unsigned i = 0; i < N_FAMILIES; i++) {
        if (actor->dossiers[i] && actor->dossiers[i]->revision > 0) {
            return true;
        }
    }
    return false;
}

static void evict(struct pk_engine *engine)
{
    uint32_t victim = engine->oldest;
    for (unsigned looked = 0;
         victim != NONE && looked < LOOK_AT && has_open_finding(&engine->actors[victim]);
         looked++) {
        victim = engine->actors[victim].newer;
    }
    victim = victim == NONE ? engine->oldest : victim;
    struct actor *actor = &engine->actors[victim];
    (void)pk_map_remove(&engine->actor_map, pk_hash(&actor->key, sizeof actor->key), victim);
    unlink_actor(engine, actor);
    actor_done(actor);
    actor->older = engine->free;
    engine->free = victim;
    engine->stats.evicted_actors++;
}

struct actor *engine_actor(struct pk_engine *engine, const struct actor_key *key);

struct actor *engine_actor(struct pk_engine *engine, const struct actor_key *key)
{
    uint64_t hash = pk_hash(key, sizeof *key);
    uint32_t index = pk_map_find(&engine->actor_map, hash, engine->actors, key);
    if (index != PK_MAP_NONE) {
        struct actor *actor = &engine->actors[index];
        unlink_actor(engine, actor);
        link_newest(engine, actor);
        return actor;
    }
    if (engine->actor_map.n == engine->limits.max_actors) {
        evict(engine);
    }
    if (engine->free != NONE) {
        index = engine->free;
        engine->free = engine->actors[index].older;
    } else {
        index = engine->n_actors++;
    }
    struct actor *actor = &engine->actors[index];
    memset(actor, 0, sizeof *actor);
    actor->key = *key;
    (void)pk_map_add(&engine->actor_map, hash, index); /* room was made above */
    link_newest(engine, actor);
    return actor;
}

pk_err pk_engine_observe(
    struct pk_engine *engine, const struct pk_engine_origin *origin, const struct pk_activity *row)
{
    struct observation seen = {.row = row};
    struct actor_key key;
    engine->stats.rows++;
    bool has_client = row->client.kind == PK_CLIENT_OUTSIDE ||
                      row->client.kind == PK_CLIENT_INSIDE ||
                      row->client.kind == PK_CLIENT_PSEUDONYM;
    if (!has_client || pk_name_from_wire(row->name.data, row->name.len, &seen.name) != PK_OK ||
        row->signature.vantage >= PK_N_VANTAGES) {
        engine->stats.ignored_rows++;
        return PK_OK;
    }
    pk_name_lower(&seen.name);
    seen.reason = pk_scope_match(
        engine->tenant, &seen.name, row->signature.qtype, row->signature.qclass, &seen.zone);
    if (seen.reason == PK_SCOPE_NOT) {
        engine->stats.ignored_rows++;
        return PK_OK;
    }
    memset(&key, 0, sizeof key);
    key.kind = row->client.kind == PK_CLIENT_PSEUDONYM
                   ? PK_CLIENT_PSEUDONYM
                   : PK_CLIENT_OUTSIDE; /* an address is one actor, seen from wherever */
    if (row->client.kind == PK_CLIENT_INSIDE) {
        key.kind = PK_CLIENT_INSIDE;
    }
    if (key.kind == PK_CLIENT_PSEUDONYM) {
        memcpy(key.pseudonym, row->client.pseudonym, sizeof key.pseudonym);
    } else {
        key.addr = row->client.addr;
    }
    pk_err err = names_intern(&engine->sites, origin->site, PK_ENGINE_MAX_SITES, &seen.site);
    if (err == PK_OK) {
        err = names_intern(&engine->sensors, origin->sensor, UINT16_MAX, &seen.sensor);
    }
    if (err != PK_OK) {
        return err;
    }
    seen.actor = engine_actor(engine, &key);
    seen.actor->last_us = row->first_us;
    pk_err (*const rules[])(struct pk_engine *, const struct observation *) = {
        rule_transfer, rule_subdomains, rule_sweep};
    for (size_t i = 0; i < sizeof rules / sizeof *rules && err == PK_OK; i++) {
        err = rules[i](engine, &seen);
    }
    return err;
}

void pk_engine_stats(const struct pk_engine *engine, struct pk_engine_stats *out_stats)
{
    *out_stats = engine->stats;
    out_stats->actors = engine->actor_map.n;
    out_stats->contacts = engine->contacts.n[0] + engine->contacts.n[1];
    out_stats->evicted_contacts = engine->contacts.forgotten;
}

/* Sources in a fixed array, found by keyed hash, queued by age with a second chance (CLOCK; Corbato 1968). */
#include "actor.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "picket/hash.h"

#include "internal.h"

enum {
    NONE = UINT32_MAX,
    LOOK_AT = 64
};

static bool is_actor(const void *entries, uint32_t entry, const void *key)
{
    return memcmp(&((const struct actor *)entries)[entry].key, key, sizeof(struct actor_key)) == 0;
}

pk_err actors_init(struct actors *actors, size_t max)
{
    *actors = (struct actors){.max = max, .newest = NONE, .oldest = NONE, .free = NONE};
    actors->v = malloc(max * sizeof *actors->v);
    return actors->v && pk_map_init(&actors->map, max, is_actor) == PK_OK ? PK_OK : PK_ERR_NOMEM;
}

void actors_done(struct pk_engine *engine)
{
    struct actors *actors = &engine->actors;
    for (uint32_t i = actors->v ? actors->newest : NONE; i != NONE; i = actors->v[i].older) {
        ledgers_drop_all(engine, &actors->v[i].ledgers);
    }
    free(actors->v);
    actors->v = NULL;
    if (actors->map.slots) {
        pk_map_done(&actors->map);
    }
}

static void dequeue(struct actors *actors, const struct actor *actor)
{
    if (actor->newer != NONE) {
        actors->v[actor->newer].older = actor->older;
    } else {
        actors->newest = actor->older;
    }
    if (actor->older != NONE) {
        actors->v[actor->older].newer = actor->newer;
    } else {
        actors->oldest = actor->newer;
    }
}

static void enqueue(struct actors *actors, struct actor *actor)
{
    uint32_t index = (uint32_t)(actor - actors->v);
    actor->newer = NONE;
    actor->older = actors->newest;
    if (actors->newest != NONE) {
        actors->v[actors->newest].newer = index;
    } else {
        actors->oldest = index;
    }
    actors->newest = index;
}

static void evict(struct pk_engine *engine)
{
    struct actors *actors = &engine->actors;
    for (unsigned looked = 0; looked < LOOK_AT; looked++) {
        struct actor *oldest = &actors->v[actors->oldest];
        if (!oldest->is_touched && !oldest->is_suspected && !ledgers_are_open(oldest->ledgers)) {
            break;
        }
        oldest->is_touched = false;
        dequeue(actors, oldest);
        enqueue(actors, oldest);
    }
    struct actor *victim = &actors->v[actors->oldest];
    (void)pk_map_remove(&actors->map, pk_hash(&victim->key, sizeof victim->key), actors->oldest);
    ledgers_drop_all(engine, &victim->ledgers);
    uint32_t index = actors->oldest;
    dequeue(actors, victim);
    victim->older = actors->free;
    actors->free = index;
    actors->evicted++;
}

static struct actor *add(struct pk_engine *engine, const struct actor_key *key, uint64_t hash)
{
    struct actors *actors = &engine->actors;
    if (actors->map.n == actors->max) {
        evict(engine);
    }
    uint32_t index = actors->free;
    if (index != NONE) {
        actors->free = actors->v[index].older;
    } else {
        index = actors->used++;
    }
    struct actor *actor = &actors->v[index];
    memset(actor, 0, sizeof *actor);
    actor->key = *key;
    if (key->kind == ACTOR_PSEUDONYM) {
        memcpy(actor->first_pseudonym, key->addr.bytes, sizeof actor->first_pseudonym);
    }
    (void)pk_map_add(&actors->map, hash, index); /* room was made above */
    enqueue(actors, actor);
    return actor;
}

struct actor *actor_get(struct pk_engine *engine, const struct actor_key *key, int64_t now_us)
{
    uint64_t hash = pk_hash(key, sizeof *key);
    uint32_t index = pk_map_find(&engine->actors.map, hash, engine->actors.v, key);
    if (index != PK_MAP_NONE) {
        engine->actors.v[index].is_touched = true;
        return &engine->actors.v[index];
    }
    struct actor *actor = add(engine, key, hash);
    actor->first_us = now_us;
    return actor;
}

struct actor *actor_find(const struct pk_engine *engine, const struct actor_key *key)
{
    uint32_t index =
        pk_map_find(&engine->actors.map, pk_hash(key, sizeof *key), engine->actors.v, key);
    return index == PK_MAP_NONE ? NULL : &engine->actors.v[index];
}

uint32_t actor_index(const struct pk_engine *engine, const struct actor *actor)
{
    return (uint32_t)(actor - engine->actors.v);
}

uint64_t actor_hash(const struct actor_key *key)
{
    return pk_hash_fixed(key, sizeof *key);
}

struct actor_key actor_first_key(const struct actor *actor)
{
    struct actor_key key = actor->key;
    if (key.kind == ACTOR_PSEUDONYM) {
        memcpy(key.addr.bytes, actor->first_pseudonym, sizeof actor->first_pseudonym);
    }
    return key;
}

uint64_t actor_identity(const struct actor *actor)
{
    if (actor->key.kind != ACTOR_PSEUDONYM) {
        return actor_hash(&actor->key); /* every row comes by here */
    }
    struct actor_key key = actor_first_key(actor);
    return actor_hash(&key);
}

struct actor_key actor_network_key(const struct actor *actor)
{
    struct actor_key key;
    if (actor->key.kind != ACTOR_ADDRESS) {
        return actor_first_key(actor);
    }
    memset(&key, 0, sizeof key);
    key.kind = ACTOR_NETWORK;
    key.addr = pk_addr_prefix(&actor->key.addr, actor->key.addr.family == 4 ? 24 : 48).addr;
    return key;
}

bool actor_is_inside(const struct actor *actor)
{
    return actor->key.kind == ACTOR_INSIDE || actor->key.kind == ACTOR_PSEUDONYM ||
           actor->key.kind == ACTOR_SITE;
}

struct actor_key actor_site_key(const char *site)
{
    enum {
        ROOM = sizeof((struct pk_addr *)0)->bytes,
        DIGITS = 4
    };
    struct actor_key key;
    size_t len = strlen(site);
    memset(&key, 0, sizeof key);
    key.kind = ACTOR_SITE;
    key.addr.family = 6; /* all sixteen bytes are kept in the state */
    memcpy(key.addr.bytes, site, len < ROOM ? len : ROOM);
    if (len > ROOM) {
        char digits[17];
        snprintf(digits, sizeof digits, "%016" PRIx64, pk_hash_fixed(site, len));
        memcpy(key.addr.bytes + ROOM - DIGITS, digits, DIGITS);
    }
    return key;
}

void actor_text(const struct actor_key *key, char out[64])
{
    char addr[PK_ADDR_TEXT_SIZE];
    if (key->kind == ACTOR_SITE) {
        snprintf(out, 64, "site:%.16s", (const char *)key->addr.bytes);
    } else if (key->kind == ACTOR_PSEUDONYM || key->kind == ACTOR_PRINT) {
        unsigned n = key->kind == ACTOR_PSEUDONYM ? 8 : 2;
        char *p = out + snprintf(out, 64, key->kind == ACTOR_PSEUDONYM ? "client:" : "print:");
        for (unsigned i = 0; i < n; i++) {
            p += snprintf(p, 3, "%02x", key->addr.bytes[i]);
        }
    } else if (key->kind == ACTOR_NETWORK || key->kind == ACTOR_SUBNET) {
        snprintf(out, 64, "%s%s/%s", key->kind == ACTOR_SUBNET ? "subnet:" : "",
            pk_addr_text(&key->addr, addr), key->addr.family == 4 ? "24" : "48");
    } else {
        snprintf(out, 64, "%s", pk_addr_text(&key->addr, addr));
    }
}

/* --- succession --- */

static uint32_t add_up(uint32_t a, uint32_t b)
{
    return a < UINT32_MAX - b ? a + b : UINT32_MAX;
}

/* What a client did under its new pseudonym before the alias came joins what is known of it. */
static void unite(struct actor *into, const struct actor *from)
{
    into->is_touched = true;
    into->is_suspected |= from->is_suspected;
    into->first_us = from->first_us < into->first_us ? from->first_us : into->first_us;
    into->last_us = from->last_us > into->last_us ? from->last_us : into->last_us;
    if (from->last_miss_us > into->last_miss_us) {
        into->last_miss = from->last_miss;
        into->last_miss_us = from->last_miss_us;
    }
    into->rows = add_up(into->rows, from->rows);
    into->asked = (uint16_t)(into->asked + from->asked); /* a thousand each at most (legs.c) */
    into->echoed = (uint16_t)(into->echoed + from->echoed);
    into->repeats += from->repeats;
    for (unsigned k = 0; k < N_OUTCOMES; k++) {
        into->own[k] += from->own[k];
    }
}

void actor_succeed(
    struct pk_engine *engine, const struct actor_key *former, const struct actor_key *key)
{
    struct actors *actors = &engine->actors;
    struct actor *actor = actor_find(engine, former), *heir = actor_find(engine, key);
    if (!actor || actor == heir) {
        return;
    }
    if (heir) {
        uint32_t index = actor_index(engine, heir);
        unite(actor, heir);
        ledgers_unite(engine, actor, heir);
        (void)pk_map_remove(&actors->map, pk_hash(key, sizeof *key), index);
        dequeue(actors, heir);
        memset(heir, 0, sizeof *heir); /* no leg takes it for a source any more */
        heir->older = actors->free;
        actors->free = index;
    }
    uint32_t index = actor_index(engine, actor);
    (void)pk_map_remove(&actors->map, pk_hash(former, sizeof *former), index);
    actor->key = *key;
    (void)pk_map_add(&actors->map, pk_hash(key, sizeof *key), index);
    for (size_t i = 0; i < N_RULES; i++) {
        if (rules[i]->renamed) {
            rules[i]->renamed(engine, former, key);
        }
    }
}

/* --- state --- */

void actors_save(const struct actors *actors, uint32_t *positions, struct pk_bytes *out)
{
    uint32_t position = 0;
    pk_bytes_put_varint(out, actors->map.n);
    pk_bytes_put_varint(out, actors->evicted);
    for (uint32_t i = actors->oldest; i != NONE; i = actors->v[i].newer) {
        const struct actor *actor = &actors->v[i];
        positions[i] = position++;
        pk_bytes_put_u8(out, actor->key.kind);
        state_put_addr(out, &actor->key.addr);
        if (actor->key.kind == ACTOR_PSEUDONYM) {
            pk_bytes_put(out, actor->first_pseudonym, sizeof actor->first_pseudonym);
        }
        pk_bytes_put_u8(out, (uint8_t)(actor->is_touched | actor->is_suspected << 1));
        state_put_time(out, actor->first_us);
        state_put_time(out, actor->last_us);
        pk_bytes_put_be64(out, actor->last_miss);
        state_put_time(out, actor->last_miss_us);
        pk_bytes_put_varint(out, actor->rows);
        pk_bytes_put_be16(out, actor->asked);
        pk_bytes_put_be16(out, actor->echoed);
        pk_bytes_put_be16(out, actor->lesson_day);
        pk_bytes_put_be16(out, actor->lessons);
        state_put_float(out, actor->repeats);
        for (unsigned k = 0; k < N_OUTCOMES; k++) {
            state_put_float(out, actor->own[k]);
        }
    }
}

static void load_one(struct pk_engine *engine, struct pk_reader *in)
{
    struct actor_key key;
    memset(&key, 0, sizeof key);
    key.kind = state_get_index(in, N_ACTOR_KINDS);
    state_get_addr(in, &key.addr);
    uint8_t first[sizeof((struct actor *)0)->first_pseudonym] = {0};
    if (key.kind == ACTOR_PSEUDONYM) {
        state_get_bytes(in, first, sizeof first);
    }
    uint64_t hash = pk_hash(&key, sizeof key);
    if (in->err == PK_OK &&
        (engine->actors.map.n == engine->actors.max ||
            pk_map_find(&engine->actors.map, hash, engine->actors.v, &key) != PK_MAP_NONE)) {
        pk_reader_fail(in, PK_ERR_MALFORMED); /* too many, or the same twice */
    }
    if (in->err != PK_OK) {
        return;
    }
    struct actor *actor = add(engine, &key, hash);
    memcpy(actor->first_pseudonym, first, sizeof first);
    uint8_t flags = state_get_count(in, 3);
    actor->is_touched = flags & 1;
    actor->is_suspected = flags >> 1;
    actor->first_us = state_get_time(in);
    actor->last_us = state_get_time(in);
    actor->last_miss = pk_reader_be64(in);
    actor->last_miss_us = state_get_time(in);
    actor->rows = state_get_u32(in);
    actor->asked = pk_reader_be16(in);
    actor->echoed = pk_reader_be16(in);
    actor->lesson_day = pk_reader_be16(in);
    actor->lessons = pk_reader_be16(in);
    actor->repeats = state_get_float(in);
    for (unsigned k = 0; k < N_OUTCOMES; k++) {
        actor->own[k] = state_get_float(in);
        if (!(actor->own[k] >= 0) || !(actor->repeats >= 0)) {
            pk_reader_fail(in, PK_ERR_MALFORMED);
        }
    }
}

void actors_load(struct pk_engine *engine, struct pk_reader *in)
{
    uint64_t n = pk_reader_varint(in);
    engine->actors.evicted = pk_reader_varint(in);
    for (uint64_t i = 0; i < n && in->err == PK_OK; i++) {
        load_one(engine, in);
    }
}

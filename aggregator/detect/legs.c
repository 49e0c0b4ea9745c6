/* Who echoes whom. */
#include "legs.h"

#include <stdlib.h>

#include "internal.h"

enum {
    LEGS = 1 << 15,
    TOGETHER_US = 3000000,
    MEMORY_US = 120 * 1000000,
    MIN_ASKED = 50,
    MIN_DECLARED = 10,
    MANY_ASKED = 1000 /* then both counts are halved */
};

pk_err legs_init(struct legs *legs)
{
    legs->v = calloc(LEGS, sizeof *legs->v); /* pages come as they are used */
    return legs->v ? PK_OK : PK_ERR_NOMEM;
}

void legs_done(struct legs *legs)
{
    free(legs->v);
    legs->v = NULL;
}

static bool is_declared(const struct pk_engine *engine, const struct actor *actor)
{
    if (actor->key.kind != ACTOR_ADDRESS && actor->key.kind != ACTOR_INSIDE) {
        return false;
    }
    for (size_t i = 0; i < engine->tenant->n_sites; i++) {
        const struct pk_scope_site *site = &engine->tenant->sites[i];
        if (pk_scope_is_in(site->resolvers, site->n_resolvers, &actor->key.addr)) {
            return true;
        }
    }
    return false;
}

static void credit(struct actor *actor)
{
    actor->echoed = (uint16_t)(actor->echoed + (actor->echoed < actor->asked));
}

void legs_note(struct pk_engine *engine, struct observation *seen)
{
    uint64_t name = seen->name_hash | 1, source = seen->source_hash;
    struct leg *leg = &engine->legs.v[(name >> 1) % LEGS];
    struct actor *actor = seen->actor;
    int64_t now_us = seen->row->first_us, apart_us = now_us - leg->time_us;
    bool is_inside = actor_is_inside(actor) || seen->row->signature.vantage == PK_VANTAGE_RESOLVER;
    bool is_known = leg->name == name && leg->time_us >= engine->now_us - MEMORY_US &&
                    llabs(apart_us) <= TOGETHER_US;
    if (actor->asked >= MANY_ASKED) {
        actor->asked /= 2;
        actor->echoed /= 2;
    }
    actor->asked++;
    if (is_known && leg->source != source) {
        struct actor *other = &engine->actors.v[leg->actor];
        if (apart_us >= 0 && leg->is_inside) {
            seen->is_echo = true;
            credit(actor);
        } else if (apart_us < 0 && is_inside && leg->actor < engine->actors.used &&
                   actor_identity(other) == leg->source) {
            credit(other); /* the later leg's batch came first */
        }
    }
    /* The nearest leg keeps the place: later ones are measured against it. */
    if (!is_known || leg->source == source || apart_us < 0) {
        *leg = (struct leg){.name = name,
            .source = source,
            .time_us = now_us,
            .actor = actor_index(engine, actor),
            .is_inside = is_inside};
    }
    seen->is_upstream = (seen->is_echo && 2 * actor->echoed >= actor->asked) ||
                        (actor->asked >= MIN_ASKED && 10 * actor->echoed >= 9 * actor->asked) ||
                        (actor->asked >= MIN_DECLARED && 2 * actor->echoed >= actor->asked &&
                            is_declared(engine, actor));
}

/* --- state --- */

static bool is_live(const struct pk_engine *engine, const struct leg *leg)
{
    return leg->name != 0 && leg->time_us >= engine->now_us - MEMORY_US &&
           leg->actor < engine->actors.used &&
           actor_identity(&engine->actors.v[leg->actor]) == leg->source;
}

void legs_save(const struct pk_engine *engine, const uint32_t *positions, struct pk_bytes *out)
{
    size_t n = 0;
    for (size_t i = 0; i < LEGS; i++) {
        n += is_live(engine, &engine->legs.v[i]);
    }
    pk_bytes_put_varint(out, n);
    for (size_t i = 0; i < LEGS; i++) {
        const struct leg *leg = &engine->legs.v[i];
        if (is_live(engine, leg)) {
            pk_bytes_put_be64(out, leg->name);
            pk_bytes_put_be64(out, leg->source);
            state_put_time(out, leg->time_us);
            pk_bytes_put_varint(out, positions[leg->actor]);
            pk_bytes_put_u8(out, leg->is_inside);
        }
    }
}

void legs_load(struct pk_engine *engine, struct pk_reader *in)
{
    uint64_t n = pk_reader_varint(in);
    for (uint64_t i = 0; i < n && in->err == PK_OK; i++) {
        struct leg leg = {.name = pk_reader_be64(in) | 1, .source = pk_reader_be64(in)};
        leg.time_us = state_get_time(in);
        leg.actor = state_get_u32(in);
        leg.is_inside = state_get_count(in, 1);
        engine->legs.v[(leg.name >> 1) % LEGS] = leg;
    }
}

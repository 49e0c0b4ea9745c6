/* The engine's state as bytes and back.
 *
 * Canonical: tables in the order of their queues or of first sight, hash sets sorted, numbers as their bits; so a restored engine goes on exactly where the saved one stood.
 * What is read is checked like anything from outside: the bytes come from a database. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static const char magic[4] = "PKEA";

static void put_interned(struct pk_bytes *out, const struct names *names)
{
    pk_bytes_put_varint(out, names->n);
    for (size_t i = 0; i < names->n; i++) {
        size_t len = strlen(names->v[i]);
        pk_bytes_put_u8(out, (uint8_t)len);
        pk_bytes_put(out, names->v[i], len);
    }
}

static void get_interned(struct pk_reader *in, struct names *names, size_t max)
{
    uint64_t n = pk_reader_varint(in);
    for (uint64_t i = 0; i < n && in->err == PK_OK; i++) {
        char text[65] = "";
        uint8_t len = state_get_count(in, 64);
        uint16_t index;
        state_get_bytes(in, text, len);
        if (in->err == PK_OK && (names_intern(names, text, max, &index) != PK_OK || index != i)) {
            pk_reader_fail(in, PK_ERR_MALFORMED);
        }
    }
}

pk_err pk_engine_save(const struct pk_engine *engine, struct pk_bytes *out)
{
    const struct pk_engine_stats *stats = &engine->stats;
    uint32_t *positions = calloc((size_t)engine->actors.used + 1, sizeof *positions);
    if (!positions) {
        return PK_ERR_NOMEM;
    }
    pk_bytes_put(out, magic, sizeof magic);
    state_put_time(out, engine->now_us);
    const uint64_t counters[] = {stats->rows, stats->trials, stats->findings, stats->revisions,
        stats->ignored_rows, stats->client_rows};
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++) {
        pk_bytes_put_varint(out, counters[i]);
    }
    for (size_t i = 0; i < N_NO_TRIALS; i++) {
        pk_bytes_put_varint(out, stats->no_trials[i]);
    }
    put_interned(out, &engine->sites);
    put_interned(out, &engine->sensors);
    zones_save(&engine->zones, out);
    pk_contacts_save(&engine->contacts, out);
    misses_save(&engine->misses, out);
    baseline_save(&engine->baseline, out);
    actors_save(&engine->actors, positions, out);
    legs_save(engine, positions, out);
    ledgers_save(engine, positions, out);
    free(positions);
    return out->err;
}

static void load(struct pk_engine *fresh, struct pk_reader *in)
{
    char seen_magic[sizeof magic] = "";
    state_get_bytes(in, seen_magic, sizeof seen_magic);
    if (in->err == PK_OK && memcmp(seen_magic, magic, sizeof magic) != 0) {
        pk_reader_fail(in, PK_ERR_VERSION);
    }
    fresh->now_us = state_get_time(in);
    struct pk_engine_stats *stats = &fresh->stats;
    uint64_t *counters[] = {&stats->rows, &stats->trials, &stats->findings, &stats->revisions,
        &stats->ignored_rows, &stats->client_rows};
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++) {
        *counters[i] = pk_reader_varint(in);
    }
    for (size_t i = 0; i < N_NO_TRIALS; i++) {
        stats->no_trials[i] = pk_reader_varint(in);
    }
    get_interned(in, &fresh->sites, PK_ENGINE_MAX_SITES);
    get_interned(in, &fresh->sensors, UINT16_MAX);
    zones_load(fresh, in);
    if (in->err == PK_OK && pk_contacts_load(&fresh->contacts, in) != PK_OK) {
        pk_reader_fail(in, PK_ERR_MALFORMED);
    }
    misses_load(&fresh->misses, in);
    baseline_load(&fresh->baseline, in, fresh->sites.n);
    actors_load(fresh, in);
    legs_load(fresh, in);
    ledgers_load(fresh, in);
    if (in->err == PK_OK && !pk_reader_at_end(in)) {
        pk_reader_fail(in, PK_ERR_MALFORMED);
    }
}

pk_err pk_engine_load(struct pk_engine *engine, const uint8_t *state, size_t len)
{
    struct pk_engine_options options = {.tenant = engine->tenant,
        .limits = engine->limits,
        .history = engine->history,
        .priors = engine->baseline.priors};
    struct pk_engine *fresh = NULL;
    pk_err err = pk_engine_new(&options, engine->on_finding, engine->arg, &fresh);
    if (err != PK_OK) {
        return err;
    }
    struct pk_reader in;
    pk_reader_init(&in, state, len);
    load(fresh, &in);
    err = in.err == PK_ERR_TRUNCATED ? PK_ERR_MALFORMED : in.err;
    if (err ==
        PK_OK) { /* the fresh one's inside becomes ours, the old one goes with the fresh shell */
        struct pk_engine old = *engine;
        *engine = *fresh;
        *fresh = old;
    }
    pk_engine_free(fresh);
    return err;
}

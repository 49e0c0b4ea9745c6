/* The engine's state as bytes and back.
 *
 * Canonical: actors from the longest silent to the newest, everything else in the order it was first seen, hash sets sorted. Doubles travel as their bits, so a restored
 * engine goes on exactly where the saved one stood. What is read is checked like anything from outside: the bytes come from a database. */
#include <stdlib.h>
#include <string.h>

#include "picket/reader.h"

#include "actor.h"

enum {
    NONE = UINT32_MAX,
    MAX_SENSOR_NAMES = 65535
};

static const char magic[4] = "PKE1";

struct actor *engine_actor(struct pk_engine *engine, const struct actor_key *key);

/* --- writing --- */

static void put_double(struct pk_bytes *out, double v)
{
    uint64_t raw;
    memcpy(&raw, &v, sizeof raw);
    pk_bytes_put_be64(out, raw);
}

static void put_time(struct pk_bytes *out, int64_t us)
{
    pk_bytes_put_be64(out, (uint64_t)us);
}

static void put_names(struct pk_bytes *out, uint8_t *const *names, uint8_t n)
{
    pk_bytes_put_u8(out, n);
    for (uint8_t i = 0; i < n; i++) {
        pk_bytes_put(out, names[i], (size_t)names[i][0] + 1);
    }
}

static void put_dossier(struct pk_bytes *out, const struct dossier *dossier)
{
    pk_bytes_put_u8(out, dossier != NULL);
    if (!dossier) {
        return;
    }
    pk_bytes_put_varint(out, dossier->opening);
    pk_bytes_put_varint(out, dossier->revision);
    pk_bytes_put_u8(out, dossier->severity);
    put_time(out, dossier->first_us);
    put_time(out, dossier->last_us);
    for (size_t i = 0; i < SITE_WORDS; i++) {
        pk_bytes_put_be64(out, dossier->sites[i]);
    }
    pk_bytes_put_varint(out, dossier->reported_size);
    pk_bytes_put_varint(out, dossier->reported_sites);
    pk_bytes_put_varint(out, dossier->observations);
    put_names(out, dossier->samples, dossier->n_samples);
    put_names(out, dossier->learned, dossier->n_learned);
    put_names(out, dossier->zones, dossier->n_zones);
    pk_bytes_put_u8(out, dossier->n_evidence);
    for (uint8_t i = 0; i < dossier->n_evidence; i++) {
        const struct evidence *evidence = &dossier->evidence[i];
        pk_bytes_put_be16(out, evidence->sensor);
        pk_bytes_put_be16(out, evidence->qtype);
        pk_bytes_put_be16(out, evidence->rcode);
        put_time(out, evidence->time_us);
        pk_bytes_put(out, evidence->name, (size_t)evidence->name[0] + 1);
    }
}

static void put_transfer(struct pk_bytes *out, const struct transfer_case *transfer)
{
    pk_bytes_put_u8(out, transfer != NULL);
    if (transfer) {
        pk_bytes_put_u8(out, transfer->n_targets);
        for (uint8_t i = 0; i < transfer->n_targets; i++) {
            pk_bytes_put_be64(out, transfer->targets[i].zone_hash);
            pk_bytes_put(out, &transfer->targets[i].server, sizeof transfer->targets[i].server);
            put_time(out, transfer->targets[i].last_us);
        }
        pk_bytes_put_varint(out, transfer->attempts);
        pk_bytes_put_varint(out, transfer->successes);
        pk_bytes_put_varint(out, transfer->records);
        pk_bytes_put_u8(out, transfer->targets_in_window);
    }
}

static void put_sweep(struct pk_bytes *out, const struct sweep_case *sweep)
{
    pk_bytes_put_u8(out, sweep != NULL);
    if (sweep) {
        pk_bytes_put_u8(out, sweep->n_blocks);
        for (uint8_t i = 0; i < sweep->n_blocks; i++) {
            const struct block *block = &sweep->blocks[i];
            pk_bytes_put(out, &block->addr, sizeof block->addr);
            put_time(out, block->first_us);
            put_time(out, block->last_us);
            for (size_t k = 0; k < 4; k++) {
                pk_bytes_put_be64(out, block->seen[k]);
            }
            pk_bytes_put_be16(out, block->n);
            pk_bytes_put_be16(out, block->ordered);
            pk_bytes_put_u8(out, block->last);
        }
    }
}

static void put_actor(struct pk_bytes *out, const struct actor *actor)
{
    pk_bytes_put(out, &actor->key, sizeof actor->key);
    put_time(out, actor->last_us);
    for (unsigned i = 0; i < N_HYPOTHESES; i++) {
        for (unsigned k = 0; k < N_SHARES; k++) {
            put_double(out, actor->trials.wealth[i][k]);
        }
    }
    pk_bytes_put_varint(out, actor->trials.hits);
    pk_bytes_put_varint(out, actor->trials.dict);
    pk_bytes_put_varint(out, actor->trials.rand);
    pk_bytes_put_varint(out, actor->trials.other);
    pk_bytes_put_varint(out, actor->trials.labels);
    put_time(out, actor->trials.last_us);
    put_transfer(out, actor->transfer);
    put_sweep(out, actor->sweep);
    for (unsigned i = 0; i < N_FAMILIES; i++) {
        put_dossier(out, actor->dossiers[i]);
    }
}

static void put_interned(struct pk_bytes *out, const struct names *names)
{
    pk_bytes_put_varint(out, names->n);
    for (size_t i = 0; i < names->n; i++) {
        size_t len = strlen(names->v[i]);
        pk_bytes_put_u8(out, (uint8_t)len);
        pk_bytes_put(out, names->v[i], len);
    }
}

pk_err pk_engine_save(const struct pk_engine *engine, struct pk_bytes *out)
{
    const struct pk_engine_stats *stats = &engine->stats;
    pk_bytes_put(out, magic, sizeof magic);
    const uint64_t counters[] = {stats->rows, stats->trials, stats->findings, stats->revisions,
        stats->evicted_actors, stats->ignored_rows};
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++) {
        pk_bytes_put_varint(out, counters[i]);
    }
    put_interned(out, &engine->sites);
    put_interned(out, &engine->sensors);
    pk_bytes_put_varint(out, engine->n_wildcards);
    for (size_t i = 0; i < engine->n_wildcards; i++) {
        pk_bytes_put_be64(out, engine->wildcards[i].zone_hash);
        for (unsigned k = 0; k < MAX_WILDCARDS; k++) {
            pk_bytes_put_be64(out, engine->wildcards[i].digest[k]);
            pk_bytes_put_u8(out, engine->wildcards[i].n[k]);
        }
    }
    pk_contacts_save(&engine->contacts, out);
    pk_bytes_put_varint(out, engine->actor_map.n);
    for (uint32_t i = engine->oldest; i != NONE; i = engine->actors[i].newer) {
        put_actor(out, &engine->actors[i]);
    }
    return out->err;
}

/* --- reading --- */

static void copy(struct pk_reader *in, void *out, size_t len)
{
    const uint8_t *p = pk_reader_bytes(in, len);
    if (p) {
        memcpy(out, p, len);
    }
}

static double get_double(struct pk_reader *in)
{
    uint64_t raw = pk_reader_be64(in);
    double v;
    memcpy(&v, &raw, sizeof v);
    if (!(v >= -1e9 && v <= 1e9)) { /* no wealth of ours is NaN or infinite */
        pk_reader_fail(in, PK_ERR_MALFORMED);
        return 0;
    }
    return v;
}

static int64_t get_time(struct pk_reader *in)
{
    return (int64_t)pk_reader_be64(in);
}

static uint32_t get_u32(struct pk_reader *in)
{
    uint64_t v = pk_reader_varint(in);
    if (v > UINT32_MAX) {
        pk_reader_fail(in, PK_ERR_MALFORMED);
    }
    return (uint32_t)v;
}

static uint8_t get_count(struct pk_reader *in, size_t max)
{
    uint8_t n = pk_reader_u8(in);
    if (n > max) {
        pk_reader_fail(in, PK_ERR_MALFORMED);
        return 0;
    }
    return n;
}

static uint8_t *get_name(struct pk_reader *in)
{
    uint8_t len = pk_reader_u8(in);
    const uint8_t *p = pk_reader_bytes(in, len);
    struct pk_name name;
    if (!p || pk_name_from_wire(p, len, &name) != PK_OK) {
        pk_reader_fail(in, PK_ERR_MALFORMED);
        return NULL;
    }
    uint8_t *copied = malloc((size_t)len + 1);
    if (!copied) {
        pk_reader_fail(in, PK_ERR_NOMEM);
        return NULL;
    }
    copied[0] = len;
    memcpy(copied + 1, p, len);
    return copied;
}

static uint8_t get_names(struct pk_reader *in, uint8_t **out, size_t max)
{
    uint8_t n = get_count(in, max), kept = 0;
    for (uint8_t i = 0; i < n && in->err == PK_OK; i++) {
        out[kept] = get_name(in);
        kept = (uint8_t)(kept + (out[kept] != NULL));
    }
    return kept;
}

static void get_dossier(
    struct pk_reader *in, struct actor *actor, enum family family, const struct pk_engine *engine)
{
    struct dossier *dossier;
    if (pk_reader_u8(in) != 1 || in->err != PK_OK) {
        return;
    }
    if (dossier_of(actor, family, &dossier) != PK_OK) {
        pk_reader_fail(in, PK_ERR_NOMEM);
        return;
    }
    dossier->opening = get_u32(in);
    dossier->revision = get_u32(in);
    dossier->severity = pk_reader_u8(in);
    dossier->first_us = get_time(in);
    dossier->last_us = get_time(in);
    for (size_t i = 0; i < SITE_WORDS; i++) {
        dossier->sites[i] = pk_reader_be64(in);
    }
    dossier->reported_size = get_u32(in);
    dossier->reported_sites = (uint16_t)get_u32(in);
    dossier->observations = get_u32(in);
    dossier->n_samples = get_names(in, dossier->samples, MAX_DOSSIER_NAMES);
    dossier->n_learned = get_names(in, dossier->learned, MAX_DOSSIER_NAMES);
    dossier->n_zones = get_names(in, dossier->zones, PK_FINDING_MAX_ZONES);
    uint8_t n = get_count(in, PK_FINDING_MAX_EVIDENCE);
    for (uint8_t i = 0; i < n && in->err == PK_OK; i++) {
        struct evidence evidence = {.sensor = pk_reader_be16(in)};
        evidence.qtype = pk_reader_be16(in);
        evidence.rcode = pk_reader_be16(in);
        evidence.time_us = get_time(in);
        evidence.name = get_name(in);
        if (evidence.sensor >= engine->sensors.n) {
            pk_reader_fail(in, PK_ERR_MALFORMED);
        }
        if (in->err == PK_OK) {
            dossier->evidence[dossier->n_evidence++] = evidence;
        } else {
            free(evidence.name);
        }
    }
}

static void get_transfer(struct pk_reader *in, struct actor *actor)
{
    if (pk_reader_u8(in) != 1 || in->err != PK_OK) {
        return;
    }
    struct transfer_case *transfer = actor->transfer = calloc(1, sizeof *transfer);
    if (!transfer) {
        pk_reader_fail(in, PK_ERR_NOMEM);
        return;
    }
    transfer->n_targets = get_count(in, MAX_TRANSFER_TARGETS);
    for (uint8_t i = 0; i < transfer->n_targets; i++) {
        transfer->targets[i].zone_hash = pk_reader_be64(in);
        copy(in, &transfer->targets[i].server, sizeof transfer->targets[i].server);
        transfer->targets[i].last_us = get_time(in);
    }
    transfer->attempts = get_u32(in);
    transfer->successes = get_u32(in);
    transfer->records = get_u32(in);
    transfer->targets_in_window = pk_reader_u8(in);
}

static void get_sweep(struct pk_reader *in, struct actor *actor)
{
    if (pk_reader_u8(in) != 1 || in->err != PK_OK) {
        return;
    }
    struct sweep_case *sweep = actor->sweep = calloc(1, sizeof *sweep);
    if (!sweep) {
        pk_reader_fail(in, PK_ERR_NOMEM);
        return;
    }
    sweep->n_blocks = get_count(in, MAX_BLOCKS);
    for (uint8_t i = 0; i < sweep->n_blocks; i++) {
        struct block *block = &sweep->blocks[i];
        copy(in, &block->addr, sizeof block->addr);
        block->first_us = get_time(in);
        block->last_us = get_time(in);
        for (size_t k = 0; k < 4; k++) {
            block->seen[k] = pk_reader_be64(in);
        }
        block->n = pk_reader_be16(in);
        block->ordered = pk_reader_be16(in);
        block->last = pk_reader_u8(in);
    }
}

static void get_actor(struct pk_engine *engine, struct pk_reader *in)
{
    struct actor_key key;
    memset(&key, 0, sizeof key);
    copy(in, &key, sizeof key);
    if (in->err != PK_OK) {
        return;
    }
    struct actor *actor = engine_actor(engine, &key);
    actor->last_us = get_time(in);
    for (unsigned i = 0; i < N_HYPOTHESES; i++) {
        for (unsigned k = 0; k < N_SHARES; k++) {
            actor->trials.wealth[i][k] = get_double(in);
        }
    }
    actor->trials.hits = get_u32(in);
    actor->trials.dict = get_u32(in);
    actor->trials.rand = get_u32(in);
    actor->trials.other = get_u32(in);
    actor->trials.labels = get_u32(in);
    actor->trials.last_us = get_time(in);
    if (actor->transfer || actor->sweep) { /* the same key twice */
        pk_reader_fail(in, PK_ERR_MALFORMED);
        return;
    }
    get_transfer(in, actor);
    get_sweep(in, actor);
    for (unsigned i = 0; i < N_FAMILIES && in->err == PK_OK; i++) {
        get_dossier(in, actor, (enum family)i, engine);
    }
}

static void get_interned(struct pk_reader *in, struct names *names, size_t max)
{
    uint64_t n = pk_reader_varint(in);
    for (uint64_t i = 0; i < n && in->err == PK_OK; i++) {
        char text[65] = "";
        uint8_t len = get_count(in, 64);
        uint16_t index;
        copy(in, text, len);
        if (in->err == PK_OK && (names_intern(names, text, max, &index) != PK_OK || index != i)) {
            pk_reader_fail(in, PK_ERR_MALFORMED);
        }
    }
}

static void get_wildcards(struct pk_engine *engine, struct pk_reader *in)
{
    uint64_t n = pk_reader_varint(in);
    for (uint64_t i = 0; i < n && in->err == PK_OK; i++) {
        struct wildcard wildcard = {.zone_hash = pk_reader_be64(in)};
        for (unsigned k = 0; k < MAX_WILDCARDS; k++) {
            wildcard.digest[k] = pk_reader_be64(in);
            wildcard.n[k] = pk_reader_u8(in);
        }
        if (in->err == PK_OK && engine->n_wildcards < engine->cap_wildcards) {
            engine->wildcards[engine->n_wildcards++] =
                wildcard; /* of a scope that had more zones the rest is learned again */
        }
    }
}

pk_err pk_engine_load(struct pk_engine *engine, const uint8_t *state, size_t len)
{
    struct pk_engine_options options = {.tenant = engine->tenant, .limits = engine->limits};
    struct pk_engine *fresh = NULL;
    pk_err err = pk_engine_new(&options, engine->on_finding, engine->arg, &fresh);
    if (err != PK_OK) {
        return err;
    }
    struct pk_reader in;
    char seen_magic[sizeof magic] = "";
    pk_reader_init(&in, state, len);
    copy(&in, seen_magic, sizeof seen_magic);
    if (in.err == PK_OK && memcmp(seen_magic, magic, sizeof magic) != 0) {
        pk_reader_fail(&in, PK_ERR_VERSION);
    }
    uint64_t *counters[] = {&fresh->stats.rows, &fresh->stats.trials, &fresh->stats.findings,
        &fresh->stats.revisions, &fresh->stats.evicted_actors, &fresh->stats.ignored_rows};
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++) {
        *counters[i] = pk_reader_varint(&in);
    }
    get_interned(&in, &fresh->sites, PK_ENGINE_MAX_SITES);
    get_interned(&in, &fresh->sensors, MAX_SENSOR_NAMES);
    get_wildcards(fresh, &in);
    if (in.err == PK_OK && pk_contacts_load(&fresh->contacts, &in) != PK_OK) {
        pk_reader_fail(&in, PK_ERR_MALFORMED);
    }
    uint64_t n = pk_reader_varint(&in);
    for (uint64_t i = 0; i < n && in.err == PK_OK; i++) {
        get_actor(fresh, &in);
    }
    if (in.err == PK_OK && !pk_reader_at_end(&in)) {
        pk_reader_fail(&in, PK_ERR_MALFORMED);
    }
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

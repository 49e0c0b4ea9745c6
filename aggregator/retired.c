/* Entries in an array, found by hash and ingest sequence; several of one name have periods that do not overlap. */
#include "retired.h"

#include <stdlib.h>
#include <string.h>

#include "picket/hash.h"
#include "picket/log.h"

enum {
    RETIRED_DAYS = 30,
    CHUNK = 2000,       /* RRsets a walk looks at in a call */
    ZONES_A_CALL = 16,  /* and zones it comes to the end of */
    FIRST_SLOTS = 1024, /* a power of two */
};
static const int64_t day_us = 86400 * (int64_t)1000000;

struct entry {
    uint64_t hash; /* of the name in lower case, under the process key */
    uint64_t from_seq, to_seq;
    int64_t first_us, last_us;
    uint32_t n_sites;
    bool is_authoritative;
};

struct pk_retired {
    struct pk_tenant_id tenant;
    struct entry *entries;
    size_t n, cap;
    uint32_t *slots; /* number of an entry and one, 0: empty; linear probing, at most half full */
    size_t n_slots;
    uint64_t generation; /* of the tenant's home */
    uint64_t seq, after, rounds, refused;
    size_t zone; /* where the walk is */
    struct pk_store_lives_cursor cursor;
    bool is_stale; /* the record may have what is not here */
};

/* --- the table --- */

static void place(struct pk_retired *retired, size_t i)
{
    size_t at = retired->entries[i].hash & (retired->n_slots - 1);
    while (retired->slots[at]) {
        at = (at + 1) & (retired->n_slots - 1);
    }
    retired->slots[at] = (uint32_t)(i + 1);
}

static pk_err make_room(struct pk_retired *retired)
{
    if (retired->n == retired->cap) {
        size_t cap = retired->cap ? retired->cap * 2 : FIRST_SLOTS / 2;
        struct entry *grown = realloc(retired->entries, cap * sizeof *grown);
        if (!grown) {
            return PK_ERR_NOMEM;
        }
        retired->entries = grown;
        retired->cap = cap;
    }
    if ((retired->n + 1) * 2 > retired->n_slots) {
        size_t n_slots = retired->n_slots ? retired->n_slots * 2 : FIRST_SLOTS;
        uint32_t *slots = calloc(n_slots, sizeof *slots);
        if (!slots) {
            return PK_ERR_NOMEM;
        }
        free(retired->slots);
        retired->slots = slots;
        retired->n_slots = n_slots;
        for (size_t i = 0; i < retired->n; i++) {
            place(retired, i);
        }
    }
    return PK_OK;
}

static uint64_t hash_of(const struct pk_name *name)
{
    struct pk_name lower = *name;
    pk_name_lower(&lower);
    return pk_hash(lower.wire, lower.len);
}

/* The one that holds at seq. */
static struct entry *find(const struct pk_retired *retired, uint64_t hash, uint64_t seq)
{
    for (size_t at = hash; retired->n_slots > 0; at++) {
        uint32_t slot = retired->slots[at & (retired->n_slots - 1)];
        struct entry *entry = slot ? &retired->entries[slot - 1] : NULL;
        if (!entry || (entry->hash == hash && entry->from_seq < seq && seq <= entry->to_seq)) {
            return entry;
        }
    }
    return NULL;
}

static pk_err add(struct pk_retired *retired, const struct pk_store_retired *fact)
{
    if (retired->n == PK_RETIRED_MAX) {
        retired->refused++;
        return PK_OK;
    }
    pk_err err = make_room(retired);
    if (err == PK_OK) {
        retired->entries[retired->n] = (struct entry){.hash = hash_of(&fact->life.owner),
            .from_seq = fact->from_seq,
            .to_seq = fact->to_seq,
            .first_us = fact->life.first_us,
            .last_us = fact->life.last_us,
            .n_sites = fact->life.n_sites,
            .is_authoritative = fact->life.is_authoritative};
        place(retired, retired->n++);
    }
    return err;
}

/* --- what the engine asks --- */

static bool lookup(void *arg, const struct pk_name *name, struct pk_history_entry *out_entry)
{
    const struct pk_retired *retired = arg;
    const struct entry *entry = find(retired, pk_hash(name->wire, name->len), retired->seq);
    if (entry) {
        *out_entry = (struct pk_history_entry){.first_us = entry->first_us,
            .last_positive_us = entry->last_us,
            .n_sites = entry->n_sites,
            .n_days = entry->last_us - entry->first_us >= day_us ? 2 : 1,
            .was_authoritative = entry->is_authoritative};
    }
    return entry != NULL;
}

struct pk_history_source pk_retired_source(struct pk_retired *retired)
{
    return (struct pk_history_source){.arg = retired, .lookup = lookup};
}

void pk_retired_set_seq(struct pk_retired *retired, uint64_t seq)
{
    retired->seq = seq;
}

/* --- the record --- */

struct loading {
    struct pk_retired *retired;
    pk_err err;
};

static bool on_retired(void *arg, const struct pk_store_retired *fact)
{
    struct loading *loading = arg;
    loading->err = add(loading->retired, fact);
    return loading->err == PK_OK;
}

pk_err pk_retired_load(struct pk_retired *retired, struct pk_store *store, uint64_t after)
{
    struct loading loading = {.retired = retired};
    retired->n = 0;
    retired->after = after;
    if (retired->n_slots > 0) {
        memset(retired->slots, 0, retired->n_slots * sizeof *retired->slots);
    }
    pk_err err =
        pk_store_read_retired(store, retired->tenant, after, PK_RETIRED_MAX, on_retired, &loading);
    err = err == PK_OK ? loading.err : err;
    retired->is_stale = err != PK_OK;
    return err;
}

struct changes {
    struct pk_retired *retired;
    int64_t before_us;
    struct pk_store_life *lives; /* that are retired now */
    struct pk_name *back;
    size_t n_lives, n_back;
};

/* A name counts that somebody vouches for: its own server, two sites or two days (detection.md, poisoning). Others would be no evidence. */
static bool on_life(void *arg, const struct pk_store_life *life)
{
    struct changes *changes = arg;
    const struct entry *known =
        find(changes->retired, hash_of(&life->owner), INT64_MAX); /* one that holds still */
    bool is_vouched =
        life->is_authoritative || life->n_sites >= 2 || life->last_us - life->first_us >= day_us;
    if (known && life->last_us > known->last_us) {
        changes->back[changes->n_back++] = life->owner;
    } else if (!known && life->last_us <= changes->before_us && is_vouched) {
        changes->lives[changes->n_lives++] = *life;
    }
    return changes->n_back <= CHUNK && changes->n_lives <= CHUNK;
}

static pk_err take_changes(
    struct pk_retired *retired, struct pk_store *store, struct changes *changes, uint64_t at_seq)
{
    size_t room = PK_RETIRED_MAX - retired->n;
    if (changes->n_lives > room) {
        retired->refused += changes->n_lives - room;
        changes->n_lives = room;
    }
    if (changes->n_lives + changes->n_back == 0) {
        return PK_OK;
    }
    pk_err err = pk_store_write_retired(store, retired->tenant, retired->generation, at_seq,
        changes->lives, changes->n_lives, changes->back, changes->n_back);
    for (size_t i = 0; i < changes->n_back && err == PK_OK; i++) {
        struct entry *entry = find(retired, hash_of(&changes->back[i]), INT64_MAX);
        if (entry) {
            entry->to_seq = at_seq;
        }
    }
    for (size_t i = 0; i < changes->n_lives && err == PK_OK; i++) {
        struct pk_store_retired fact = {
            .life = changes->lives[i], .from_seq = at_seq, .to_seq = INT64_MAX};
        err = add(retired, &fact);
    }
    return err;
}

pk_err pk_retired_walk(struct pk_retired *retired, struct pk_store *store,
    const struct pk_scope_tenant *scope, uint64_t at_seq, int64_t now_us)
{
    pk_err err = retired->is_stale ? pk_retired_load(retired, store, retired->after) : PK_OK;
    struct changes changes = {.retired = retired, .before_us = now_us - RETIRED_DAYS * day_us};
    changes.lives = calloc(CHUNK + 1, sizeof *changes.lives);
    changes.back = calloc(CHUNK + 1, sizeof *changes.back);
    if (err == PK_OK && (!changes.lives || !changes.back)) {
        err = PK_ERR_NOMEM;
    }
    bool is_last = true;
    for (unsigned i = 0; i < ZONES_A_CALL && is_last && err == PK_OK; i++) {
        if (retired->zone >= scope->n_zones) { /* the scope may have shrunk, too */
            retired->rounds += scope->n_zones > 0;
            retired->zone = 0;
            retired->cursor.key_len = 0;
            break;
        }
        changes.n_lives = changes.n_back = 0;
        err = pk_store_read_lives(store, retired->tenant, &scope->zones[retired->zone],
            &retired->cursor, CHUNK, changes.before_us, on_life, &changes, &is_last);
        if (err == PK_OK) {
            err = take_changes(retired, store, &changes, at_seq);
        }
        if (err == PK_OK && is_last) {
            retired->zone++;
            retired->cursor.key_len = 0;
        }
    }
    retired->is_stale = err != PK_OK;
    free(changes.lives);
    free(changes.back);
    return err;
}

uint64_t pk_retired_rounds(const struct pk_retired *retired)
{
    return retired->rounds;
}

void pk_retired_totals(const struct pk_retired *retired, struct pk_retired_totals *out_totals)
{
    *out_totals = (struct pk_retired_totals){.names = retired->n, .refused = retired->refused};
}

/* --- life --- */

pk_err pk_retired_new(
    struct pk_tenant_id tenant, uint64_t generation, struct pk_retired **out_retired)
{
    *out_retired = calloc(1, sizeof **out_retired);
    if (!*out_retired) {
        return PK_ERR_NOMEM;
    }
    (*out_retired)->tenant = tenant;
    (*out_retired)->generation = generation;
    return PK_OK;
}

void pk_retired_free(struct pk_retired *retired)
{
    if (retired) {
        free(retired->entries);
        free(retired->slots);
        free(retired);
    }
}

/* Zones by name. */
#include "zone.h"

#include <stdlib.h>
#include <string.h>

#include "picket/dnsmsg.h"
#include "picket/hash.h"

#include "internal.h"

enum {
    FREE_TRIALS = 200,
    FREE_PART = 5,
    FLOOD_US = 600 * 1000000,
    TYPE_DNSKEY = 48 /* RFC 4034 s2.1 */
};

static bool is_zone(const void *entries, uint32_t entry, const void *key)
{
    const uint8_t *name = ((const struct zone *)entries)[entry].name;
    const struct pk_name *wanted = key;
    return name[0] == wanted->len && memcmp(name + 1, wanted->wire, wanted->len) == 0;
}

pk_err zones_init(struct zones *zones, size_t n_scope)
{
    *zones = (struct zones){.max = (uint32_t)(n_scope + MAX_CUTS)};
    zones->v = malloc(zones->max * sizeof *zones->v); /* pages come as they are used */
    return zones->v && pk_map_init(&zones->map, zones->max, is_zone) == PK_OK ? PK_OK
                                                                              : PK_ERR_NOMEM;
}

void zones_done(struct pk_engine *engine)
{
    struct zones *zones = &engine->zones;
    for (uint32_t i = 0; i < zones->n; i++) {
        ledgers_drop_all(engine, &zones->v[i].ledgers);
        free(zones->v[i].name);
    }
    free(zones->v);
    if (zones->map.slots) {
        pk_map_done(&zones->map);
    }
    *zones = (struct zones){0};
}

static struct zone *find(struct zones *zones, const struct pk_name *name)
{
    uint32_t index = pk_map_find(&zones->map, pk_hash(name->wire, name->len), zones->v, name);
    return index == PK_MAP_NONE ? NULL : &zones->v[index];
}

/* NULL when the table is full, or (err set) when memory is short. */
static struct zone *add(struct zones *zones, const struct pk_name *name, pk_err *err)
{
    if (zones->n == zones->max) {
        return NULL;
    }
    uint8_t *copy = name_copy(name);
    if (!copy) {
        *err = PK_ERR_NOMEM;
        return NULL;
    }
    struct zone *zone = &zones->v[zones->n];
    *zone = (struct zone){.name = copy, .hash = pk_hash_fixed(name->wire, name->len)};
    (void)pk_map_add(&zones->map, pk_hash(name->wire, name->len), zones->n++);
    return zone;
}

static void raise_if(uint8_t *count, bool is)
{
    *count = (uint8_t)(*count + (is && *count < UINT8_MAX));
}

/* An answer to a question that has one only at a zone's apex, or at a delegation. */
static bool shows_cut(const struct observation *seen)
{
    const struct pk_signature *signature = &seen->row->signature;
    bool is_apex_type = signature->qtype == PK_TYPE_SOA || signature->qtype == PK_TYPE_NS ||
                        signature->qtype == TYPE_DNSKEY;
    return is_apex_type && signature->qclass == PK_CLASS_IN &&
           signature->answer == PK_ANSWER_DATA && seen->name.n_labels > seen->zone_name.n_labels;
}

pk_err zone_enter(struct pk_engine *engine, struct observation *seen)
{
    struct zones *zones = &engine->zones;
    pk_err err = PK_OK;
    struct zone *zone = find(zones, &seen->zone_name);
    if (!zone) {
        zone = add(zones, &seen->zone_name, &err);
    }
    if (!zone) {
        return err;
    }
    struct zone *top = zone;
    for (unsigned strip = 0;
         top->n_cuts > 0 && strip + seen->zone_name.n_labels < seen->name.n_labels; strip++) {
        struct pk_name suffix;
        pk_name_strip(&seen->name, strip, &suffix);
        struct zone *cut = find(zones, &suffix);
        if (cut) {
            zone = cut;
            seen->zone_name = suffix;
            break;
        }
    }
    if (shows_cut(seen) && zone->hash != pk_hash_fixed(seen->name.wire, seen->name.len)) {
        struct zone *cut = add(zones, &seen->name, &err);
        if (cut) {
            cut->is_learned = true;
            top->n_cuts++;
            zone = cut;
            seen->zone_name = seen->name;
        }
    }
    const struct pk_signature *signature = &seen->row->signature;
    bool is_served =
        signature->vantage == PK_VANTAGE_AUTHORITATIVE && (signature->flags & PK_SIG_AA);
    raise_if(&zone->n_exist, signature->answer == PK_ANSWER_DATA || is_served);
    seen->zone = zone;
    return err;
}

static bool is_wildcard(const struct zone *zone, unsigned slot)
{
    return zone->wildcards[slot].n_random >= WILDCARD_PROBES ||
           (zone->wildcards[slot].n_random >= 1 &&
               zone->wildcards[slot].n_labels >= WILDCARD_LABELS &&
               zone->wildcards[slot].n_labels >= WILDCARD_LABELS * zone->n_nxdomain);
}

/* The slot of an answer, MAX_WILDCARDS: none. Answers that no random-looking name got give way to more frequent ones (Misra and Gries 1982), and at once to one that such a name got: the names a
 * list asked before its first random-looking one count too. */
static unsigned wildcard_slot(struct zone *zone, uint64_t digest, enum pk_label_class class)
{
    unsigned least = MAX_WILDCARDS;
    for (unsigned i = 0; i < zone->n_wildcards; i++) {
        if (zone->wildcards[i].digest == digest) {
            return i;
        }
        if (zone->wildcards[i].n_random == 0 &&
            (least == MAX_WILDCARDS ||
                zone->wildcards[i].n_labels < zone->wildcards[least].n_labels)) {
            least = i;
        }
    }
    if (zone->n_wildcards < MAX_WILDCARDS) {
        least = zone->n_wildcards++;
        zone->wildcards[least].n_labels = zone->wildcards[least].n_random = 0;
    } else if (least < MAX_WILDCARDS && class != PK_LABEL_RANDOM) {
        for (unsigned i = 0; i < MAX_WILDCARDS; i++) {
            if (zone->wildcards[i].n_random == 0 && zone->wildcards[i].n_labels > 0) {
                zone->wildcards[i].n_labels--;
            }
        }
        if (zone->wildcards[least].n_labels > 0) {
            return MAX_WILDCARDS;
        }
    } else if (least < MAX_WILDCARDS) {
        zone->wildcards[least].n_labels = 0;
    }
    if (least < MAX_WILDCARDS) {
        zone->wildcards[least].digest = digest;
    }
    return least;
}

bool zone_is_wildcard(struct zone *zone, const struct pk_activity *row, enum pk_label_class class)
{
    uint64_t digest = row->answer_digest;
    raise_if(&zone->n_nxdomain, row->signature.answer == PK_ANSWER_NXDOMAIN);
    if (digest == 0 || row->signature.answer != PK_ANSWER_DATA) {
        return false;
    }
    unsigned slot = wildcard_slot(zone, digest, class);
    if (slot == MAX_WILDCARDS) {
        return false;
    }
    raise_if(&zone->wildcards[slot].n_random, class == PK_LABEL_RANDOM);
    raise_if(&zone->wildcards[slot].n_labels, true);
    return is_wildcard(zone, slot);
}

bool zone_may_have_wildcard(const struct zone *zone)
{
    for (unsigned i = 0; i < zone->n_wildcards; i++) {
        if (zone->wildcards[i].n_random > 0) {
            return true;
        }
    }
    return false;
}

bool zone_has_wildcard(const struct zone *zone)
{
    for (unsigned i = 0; i < zone->n_wildcards; i++) {
        if (is_wildcard(zone, i)) {
            return true;
        }
    }
    return false;
}

bool zone_is_free_form(struct zone *zone, bool is_free_name)
{
    zone->n_trials++;
    zone->n_free += is_free_name;
    if (zone->n_trials >= 1u << 16) {
        zone->n_trials /= 2;
        zone->n_free /= 2;
    }
    return zone->n_trials >= FREE_TRIALS && FREE_PART * zone->n_free >= zone->n_trials;
}

bool zone_is_flooded(const struct zone *zone, int64_t now_us)
{
    return zone->flood_us != 0 && now_us - zone->flood_us < FLOOD_US;
}

/* The bit of a label of two letters; -1: it is none. */
static int end_bit(const uint8_t *label, uint8_t len)
{
    bool is_pair =
        len == 2 && label[0] >= 'a' && label[0] <= 'z' && label[1] >= 'a' && label[1] <= 'z';
    return is_pair ? (label[0] - 'a') * 26 + label[1] - 'a' : -1;
}

bool zone_has_end(const struct zone *zone, const uint8_t *label, uint8_t len)
{
    int bit = end_bit(label, len);
    return bit >= 0 && (zone->ends[bit / 8] >> bit % 8 & 1);
}

void zone_learn_end(struct zone *zone, const uint8_t *label, uint8_t len)
{
    int bit = end_bit(label, len);
    if (bit >= 0) {
        zone->ends[bit / 8] = (uint8_t)(zone->ends[bit / 8] | 1u << bit % 8);
    }
}

/* --- state --- */

void zones_save(const struct zones *zones, struct pk_bytes *out)
{
    pk_bytes_put_varint(out, zones->n);
    for (uint32_t i = 0; i < zones->n; i++) {
        const struct zone *zone = &zones->v[i];
        pk_bytes_put(out, zone->name, (size_t)zone->name[0] + 1);
        pk_bytes_put_u8(out, zone->is_learned);
        pk_bytes_put_varint(out, zone->n_cuts);
        pk_bytes_put_u8(out, zone->n_search);
        pk_bytes_put(out, zone->ends, sizeof zone->ends);
        pk_bytes_put_varint(out, zone->n_trials);
        pk_bytes_put_varint(out, zone->n_free);
        state_put_time(out, zone->flood_us);
        pk_bytes_put_u8(out, zone->n_nxdomain);
        pk_bytes_put_u8(out, zone->n_exist);
        pk_bytes_put_u8(out, zone->n_wildcards);
        for (unsigned k = 0; k < zone->n_wildcards; k++) {
            pk_bytes_put_be64(out, zone->wildcards[k].digest);
            pk_bytes_put_u8(out, zone->wildcards[k].n_random);
            pk_bytes_put_u8(out, zone->wildcards[k].n_labels);
        }
    }
}

static void load_one(struct zones *zones, struct pk_reader *in)
{
    uint8_t *raw = state_get_name(in);
    struct pk_name name;
    pk_err err = PK_ERR_MALFORMED;
    struct zone *zone = NULL;
    if (raw && pk_name_from_wire(raw + 1, raw[0], &name) == PK_OK && !find(zones, &name)) {
        zone = add(zones, &name, &err);
    }
    free(raw);
    if (!zone) {
        pk_reader_fail(in, err);
        return;
    }
    zone->is_learned = state_get_count(in, 1);
    zone->n_cuts = state_get_u32(in);
    zone->n_search = pk_reader_u8(in);
    for (size_t i = 0; i < sizeof zone->ends; i++) {
        zone->ends[i] = pk_reader_u8(in);
    }
    zone->n_trials = state_get_u32(in);
    zone->n_free = state_get_u32(in);
    zone->flood_us = state_get_time(in);
    zone->n_nxdomain = pk_reader_u8(in);
    zone->n_exist = pk_reader_u8(in);
    zone->n_wildcards = state_get_count(in, MAX_WILDCARDS);
    for (unsigned k = 0; k < zone->n_wildcards; k++) {
        zone->wildcards[k].digest = pk_reader_be64(in);
        zone->wildcards[k].n_random = pk_reader_u8(in);
        zone->wildcards[k].n_labels = pk_reader_u8(in);
    }
}

void zones_load(struct pk_engine *engine, struct pk_reader *in)
{
    uint64_t n = pk_reader_varint(in);
    for (uint64_t i = 0; i < n && in->err == PK_OK; i++) {
        load_one(&engine->zones, in);
    }
}

/* D7: walking the NSEC chain of a signed zone (T1590.002).
 *
 * A walker asks for the name right after each name it was told of (RFC 4034 s6.1 order), so what it asks has shapes nobody else asks for: a zero byte in a label
 * (ldns-walk: `\000.name`, `name\000`), a name asked before with `0.` in front, with `-` behind its first label or with the last character doubled (dnsrecon -z), types NSEC and
 * NSEC3 as questions. Each distinct shape weighs ln(p(walker)/p(others)); each that comes after the previous one in canonical order ln(.98/.5), one that does not takes 1
 * away. Four steps and ln(1000/(.05 budget)) = 9.9 nats fire; 3, and 4 from 32 steps on. NSEC3: asking random names and hashing the answers looks like any random name (limit); what is seen is a
 * source that asks one directly with recursion desired and DNSSEC OK, thirteen random names and next to nothing else within an hour: a few dozen answers are
 * enough to estimate a zone's size or to take its hashes home. Or a counter, up to four hexadecimal digits that do not exist, each at most sixteen after the one before (n3map): .8 a step and the
 * order; from its seventh on it is no guessing of names (walk_counts). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "picket/dnsmsg.h"
#include "picket/hash.h"

#include "internal.h"
#include "walk.h"

enum {
    WINDOW_US_S = 3600,
    MAX_SEEN = 32,   /* hashes of the latest steps: a step is counted once */
    MAX_LATEST = 16, /* hashes of what the source asked last and exists, once it is watched */
    MIN_STEPS = 4,
    MANY_OTHERS =
        8, /* other first contacts for each step: slips of many people, not steps of one walk */
    SOME_OTHERS = 2, /* the same for the steps of a counter: lists have numbers here and there */
    MANY_STEPS = 32,
    MIN_RANDOM = 13,
    MIN_COUNTED = 6, /* then they are no guesses any more (rule_subdomains.c) */
    MAX_JUMP = 16,
    MAX_COUNTER = 4 /* letters and digits of a counter */
};

static const double nats_zero = 3.8, nats_type = 2.5, nats_derived = 3.0,
                    nats_order = 0.673 /* ln(.98/.5) */, nats_disorder = 1.0, nats_random = 0.8,
                    nats_counter = 0.8 /* a counter's next value: some lists have a few in a row */;
static const double trials_a_day = 1000; /* questions of such a shape from everybody else */

struct walk {
    int64_t last_us;
    uint64_t seen[MAX_SEEN];
    uint8_t n_seen, at;
    uint64_t latest
        [MAX_LATEST]; /* a ring; service names are no first contacts, so they are not in the engine's memory */
    uint8_t latest_at;
    long counter;                   /* the latest value of a counter */
    uint32_t counted;               /* its steps */
    uint32_t steps, random, others; /* others: first contacts that are no random name */
    float shape, order;             /* nats */
    uint8_t
        last[PK_NAME_MAX + 1]; /* length byte and wire form of the latest step; length 0: none */
};

static double threshold(const struct pk_engine *engine)
{
    return rule_threshold(engine, rule_walk.budget_share, trials_a_day);
}

unsigned walk_steps(const struct actor *actor)
{
    const struct walk *walk = actor_ledger_find(actor, RULE_WALK);
    return walk ? walk->steps : 0;
}

static bool has_zero(const struct pk_name *name, unsigned left)
{
    for (unsigned i = 0; i < left; i++) {
        uint8_t len;
        const uint8_t *label = pk_name_label(name, i, &len);
        if (memchr(label, 0, len)) {
            return true;
        }
    }
    return false;
}

/* Whether the source asked within the day for the name whose first label is the given one, followed by what stands after this name's first label. */
static bool asked_before(const struct pk_engine *engine, const struct observation *seen,
    const uint8_t *label, uint8_t len)
{
    uint8_t wire[PK_NAME_MAX];
    uint8_t first_len;
    (void)pk_name_label(&seen->name, 0, &first_len);
    size_t rest = (size_t)seen->name.len - first_len - 1, at = 0;
    if (len > 0) {
        wire[at++] = len;
        memcpy(wire + at, label, len);
        at += len;
    }
    memcpy(wire + at, seen->name.wire + first_len + 1, rest);
    uint64_t hash = pk_hash_fixed(wire, at + rest);
    const struct walk *walk = actor_ledger_find(seen->actor, RULE_WALK);
    for (unsigned i = 0; walk && i < MAX_LATEST; i++) {
        if (walk->latest[i] == hash) {
            return true;
        }
    }
    if (walk) {
        return false; /* a walker is told of a name right before; a busy resolver asked it some time of the day */
    }
    uint64_t contact[2] = {seen->source_hash, hash};
    return pk_contacts_has(&engine->contacts, pk_hash_fixed(contact, sizeof contact));
}

/* Hexadecimal as a program prints it, without zeros in front; -1: none. */
static long counter_of(const struct pk_name *name)
{
    uint8_t len;
    const uint8_t *label = pk_name_label(name, 0, &len);
    long v = 0;
    if (len > 1 && label[0] == '0') {
        return -1;
    }
    for (uint8_t i = 0; i < len; i++) {
        int digit = label[i] >= '0' && label[i] <= '9'   ? label[i] - '0'
                    : label[i] >= 'a' && label[i] <= 'f' ? label[i] - 'a' + 10
                                                         : -1;
        if (digit < 0 || len > MAX_COUNTER) {
            return -1;
        }
        v = 16 * v + digit;
    }
    return len > 0 ? v : -1;
}

/* Whether the name is a counter that may stand for any: whoever collects NSEC3 hashes asks for whatever falls into a gap (n3map: 0, 1, .. f, 10, ..), DNSSEC OK. */
static bool is_counter(const struct observation *seen)
{
    return seen->name.n_labels == seen->zone_name.n_labels + 1 &&
           (seen->row->signature.flags & PK_SIG_QUERY_DO) &&
           seen->row->signature.answer == PK_ANSWER_NXDOMAIN && counter_of(&seen->name) >= 0;
}

/* Whether it is so far down a list of other names that it is no step of a walk. */
static bool is_slip(const struct walk *walk, uint32_t others)
{
    return walk && walk->others > others * (walk->steps + 1);
}

/* Whoever goes from 9 to 10 without a letter counts like people: a sorted list of words begins so. */
static bool is_next(const struct walk *walk, const struct observation *seen)
{
    long v = is_counter(seen) ? counter_of(&seen->name) : -1;
    bool is_begun = walk && walk->counted > 0;
    bool is_decimal = is_begun && walk->counter < 0xa && v > 0xf;
    return v >= 0 && !is_decimal && !is_slip(walk, SOME_OTHERS) &&
           (is_begun ? v > walk->counter && v <= walk->counter + MAX_JUMP : v <= 1);
}

bool walk_counts(const struct observation *seen)
{
    const struct walk *walk = actor_ledger_find(seen->actor, RULE_WALK);
    return walk && walk->counted >= MIN_COUNTED && is_counter(seen);
}

/* Digits alone: word lists have 10, 100, 1000 and 22, 222 one behind the other. */
static bool is_number(const uint8_t *label, uint8_t len)
{
    for (uint8_t i = 0; i < len; i++) {
        if (label[i] < '0' || label[i] > '9') {
            return false;
        }
    }
    return true;
}

double walk_plain_shape(const struct observation *seen)
{
    if (seen->reason != PK_SCOPE_ZONE || !seen->zone ||
        seen->row->signature.qclass != PK_CLASS_IN) {
        return 0;
    }
    uint16_t type = seen->row->signature.qtype;
    unsigned left = (unsigned)(seen->name.n_labels - seen->zone_name.n_labels);
    return type == PK_TYPE_NSEC || type == PK_TYPE_NSEC3 ? nats_type
           : has_zero(&seen->name, left)                 ? nats_zero
                                                         : 0;
}

/* What the row's shape says; 0: nothing. */
static double shape_of(const struct pk_engine *engine, const struct observation *seen)
{
    unsigned left = (unsigned)(seen->name.n_labels - seen->zone_name.n_labels);
    uint8_t len;
    double plain = walk_plain_shape(seen);
    if (plain > 0 || left == 0) {
        return plain;
    }
    const uint8_t *label = pk_name_label(&seen->name, 0, &len);
    bool is_zero = len == 1 && label[0] == '0' && seen->row->signature.answer != PK_ANSWER_DATA;
    bool is_prefixed = is_zero && (left == 1 || asked_before(engine, seen, NULL, 0));
    bool is_dashed =
        len >= 2 && label[len - 1] == '-' && asked_before(engine, seen, label, len - 1);
    bool is_doubled = len >= 3 && label[len - 1] == label[len - 2] && !is_number(label, len) &&
                      seen->row->signature.answer != PK_ANSWER_DATA &&
                      asked_before(engine, seen, label, len - 1);
    bool may_slip = is_slip(actor_ledger_find(seen->actor, RULE_WALK), MANY_OTHERS);
    return is_dashed                                  ? nats_derived
           : !may_slip && (is_prefixed || is_doubled) ? nats_derived / 2
                                                      : 0;
}

static bool is_new(struct walk *walk, uint64_t hash)
{
    for (uint8_t i = 0; i < walk->n_seen; i++) {
        if (walk->seen[i] == hash) {
            return false;
        }
    }
    walk->seen[walk->at] = hash;
    walk->at = (uint8_t)((walk->at + 1) % MAX_SEEN);
    walk->n_seen = (uint8_t)(walk->n_seen + (walk->n_seen < MAX_SEEN));
    return true;
}

static void note_order(struct walk *walk, const struct observation *seen)
{
    struct pk_name last;
    if (walk->last[0] > 0 && pk_name_from_wire(walk->last + 1, walk->last[0], &last) == PK_OK) {
        int order = pk_name_compare(&last, &seen->name);
        walk->order += (float)(order < 0 ? nats_order : order > 0 ? -nats_disorder : 0);
        walk->order = walk->order < 0 ? 0 : walk->order;
    }
    walk->last[0] = seen->name.len;
    memcpy(walk->last + 1, seen->name.wire, seen->name.len);
}

/* A random name asked by a program, not by a resolver: recursion desired of an authoritative server, and DNSSEC OK. */
static bool is_probe(const struct observation *seen)
{
    const struct pk_signature *signature = &seen->row->signature;
    return seen->trial.no == TRIAL_YES && seen->trial.outcome == OUTCOME_RAND &&
           !(seen->trial.marks & MARK_WILDCARD) && signature->vantage == PK_VANTAGE_AUTHORITATIVE &&
           seen->actor->key.kind == ACTOR_ADDRESS && (signature->flags & PK_SIG_QUERY_DO) &&
           (signature->flags & PK_SIG_QUERY_RD) && seen->zone->flood_us == 0;
}

static pk_err report(
    struct pk_engine *engine, struct actor *actor, const struct walk *walk, struct dossier *dossier)
{
    uint32_t n = walk->steps + walk->random;
    uint8_t severity = walk->steps >= MANY_STEPS ? 4 : 3;
    if (!dossier_is_due(dossier, n, severity)) {
        return PK_OK;
    }
    struct subject subject;
    char zone[PK_NAME_TEXT_SIZE];
    subject_of_actor(actor, &subject);
    struct pk_finding *finding = dossier_begin(engine, RULE_WALK, dossier, &subject, n, severity);
    snprintf(finding->title, sizeof finding->title, "Zone walk of %.60s by %.50s: %u steps",
        finding->n_zones > 0 ? pk_name_text(&finding->zones[0], zone) : "", finding->actor_key, n);
    finding->technique[finding->n_techniques++] = "T1590.002";
    contribute(finding, "names that only a walk of the chain asks for", (double)walk->shape);
    contribute(finding, "steps in canonical order", (double)walk->order);
    contribute(finding, "random names asked directly, DNSSEC OK", nats_random * walk->random);
    finding->trials = n;
    finding->rand = walk->random;
    report_finding(engine, threshold(engine));
    return PK_OK;
}

static pk_err observe(struct pk_engine *engine, const struct observation *seen)
{
    if (seen->reason != PK_SCOPE_ZONE || !seen->zone || seen->is_own_scanner || seen->is_upstream ||
        seen->row->signature.qclass != PK_CLASS_IN) {
        return PK_OK;
    }
    struct walk *walk = actor_ledger_find(seen->actor, RULE_WALK);
    double shape = shape_of(engine, seen);
    bool is_counted = shape == 0 && is_next(walk, seen);
    shape = is_counted ? nats_counter : shape;
    bool is_random = shape == 0 && is_probe(seen);
    if (walk && seen->row->signature.answer != PK_ANSWER_NXDOMAIN) {
        walk->latest[walk->latest_at] = seen->name_hash;
        walk->latest_at = (uint8_t)((walk->latest_at + 1) % MAX_LATEST);
    }
    if (shape == 0 && !is_random) {
        if (walk && seen->trial.no == TRIAL_YES) {
            walk->others += walk->others < UINT32_MAX;
        }
        return PK_OK;
    }
    walk = actor_ledger(engine, seen->actor, RULE_WALK);
    struct dossier *dossier = walk ? ledger_dossier(walk) : NULL;
    if (!dossier) {
        return PK_ERR_NOMEM;
    }
    int64_t now_us = seen->row->first_us;
    if (walk->last_us != 0 && now_us - walk->last_us > (int64_t)WINDOW_US_S * 1000000) {
        *walk = (struct walk){.last_us = now_us};
    }
    walk->last_us = now_us > walk->last_us ? now_us : walk->last_us;
    if (!is_new(walk, seen->name_hash)) {
        dossier_add_site(dossier, seen);
        return PK_OK;
    }
    walk->steps += shape > 0;
    walk->counted += is_counted;
    walk->counter = is_counted ? counter_of(&seen->name) : walk->counter;
    walk->random += is_random;
    walk->shape += (float)shape;
    if (shape > 0) {
        note_order(walk, seen);
    }
    bool is_hit = seen->row->signature.answer == PK_ANSWER_DATA;
    pk_err err = dossier_note(dossier, seen, is_hit ? NOTE_LEARNED : NOTE_SAMPLE, true);
    bool is_walk =
        walk->steps >= MIN_STEPS && (double)(walk->shape + walk->order) > threshold(engine);
    bool is_probing = walk->random >= MIN_RANDOM && walk->others <= walk->random / 10 &&
                      nats_random * walk->random > threshold(engine);
    if (err == PK_OK && (is_walk || is_probing)) {
        err = hint_leave(engine, seen->actor, HINT_WALK, 3, now_us);
        bool is_taken = !dossier_is_open(dossier) && chain_takes(seen);
        return err == PK_OK && !is_taken ? report(engine, seen->actor, walk, dossier) : err;
    }
    return err;
}

static pk_err settle(struct pk_engine *engine, void *ledger)
{
    return report(
        engine, &engine->actors.v[ledger_owner(ledger)], ledger, ledger_dossier_find(ledger));
}

static void save(const void *ledger, struct pk_bytes *out)
{
    const struct walk *walk = ledger;
    state_put_time(out, walk->last_us);
    pk_bytes_put_u8(out, walk->n_seen);
    for (uint8_t i = 0; i < walk->n_seen; i++) {
        pk_bytes_put_be64(out, walk->seen[i]);
    }
    pk_bytes_put_u8(out, walk->at);
    for (unsigned i = 0; i < MAX_LATEST; i++) {
        pk_bytes_put_be64(out, walk->latest[i]);
    }
    pk_bytes_put_u8(out, walk->latest_at);
    pk_bytes_put_varint(out, (uint64_t)walk->counter);
    pk_bytes_put_varint(out, walk->counted);
    pk_bytes_put_varint(out, walk->steps);
    pk_bytes_put_varint(out, walk->random);
    pk_bytes_put_varint(out, walk->others);
    state_put_float(out, walk->shape);
    state_put_float(out, walk->order);
    pk_bytes_put(out, walk->last, (size_t)walk->last[0] + 1);
}

static void load(void *ledger, struct pk_reader *in)
{
    struct walk *walk = ledger;
    walk->last_us = state_get_time(in);
    walk->n_seen = state_get_count(in, MAX_SEEN);
    for (uint8_t i = 0; i < walk->n_seen; i++) {
        walk->seen[i] = pk_reader_be64(in);
    }
    walk->at = state_get_index(in, MAX_SEEN);
    for (unsigned i = 0; i < MAX_LATEST; i++) {
        walk->latest[i] = pk_reader_be64(in);
    }
    walk->latest_at = state_get_index(in, MAX_LATEST);
    walk->counter = (long)state_get_u32(in);
    walk->counted = state_get_u32(in);
    walk->steps = state_get_u32(in);
    walk->random = state_get_u32(in);
    walk->others = state_get_u32(in);
    walk->shape = state_get_float(in);
    walk->order = state_get_float(in);
    walk->last[0] = pk_reader_u8(in);
    state_get_bytes(in, walk->last + 1, walk->last[0]);
}

const struct rule rule_walk = {
    .id = "D7",
    .family = "walk",
    .version = "3",
    .budget_share = 0.05,
    .ledger_bytes = sizeof(struct walk),
    .max_ledgers = 10000,
    .observe = observe,
    .settle = settle,
    .save = save,
    .load = load,
};

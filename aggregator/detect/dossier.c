/* Keeping and reporting what explains a finding. */
#include "dossier.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "picket/hash.h"

#include "calibration.h"
#include "internal.h"

struct dossier *dossier_new(void)
{
    return calloc(1, sizeof(struct dossier));
}

static void clear(struct dossier *dossier)
{
    names_done(dossier->samples, &dossier->n_samples);
    names_done(dossier->learned, &dossier->n_learned);
    names_done(dossier->zones, &dossier->n_zones);
    for (size_t i = 0; i < dossier->n_evidence; i++) {
        free(dossier->evidence[i].name);
    }
}

void dossier_free(struct dossier *dossier)
{
    if (dossier) {
        clear(dossier);
        free(dossier);
    }
}

unsigned dossier_sites(const struct dossier *dossier)
{
    unsigned n = 0;
    for (size_t i = 0; i < SITE_WORDS; i++) {
        n += (unsigned)__builtin_popcountll(dossier->sites[i]);
    }
    return n;
}

void dossier_add_site(struct dossier *dossier, const struct observation *seen)
{
    dossier->sites[seen->site / 64] |= UINT64_C(1) << seen->site % 64;
}

/* Where the next of a full list goes. Before anything was told the oldest makes room: what was noted days ago is not what raises the alarm. Afterwards the first half stays and the newest replace each
 * other: how it began, and how it goes on. */
static size_t oldest_to_go(const struct dossier *dossier, size_t max)
{
    return dossier_is_open(dossier) ? max / 2 : 0;
}

void dossier_add_address(struct dossier *dossier, const struct pk_addr *addr)
{
    for (uint8_t i = 0; i < dossier->n_addresses; i++) {
        if (pk_addr_equal(&dossier->addresses[i], addr)) {
            return;
        }
    }
    if (dossier->n_addresses == PK_FINDING_MAX_ADDRESSES) {
        size_t at = oldest_to_go(dossier, PK_FINDING_MAX_ADDRESSES);
        dossier->n_addresses--;
        memmove(&dossier->addresses[at], &dossier->addresses[at + 1],
            (dossier->n_addresses - at) * sizeof *dossier->addresses);
    }
    dossier->addresses[dossier->n_addresses++] = *addr;
}

static pk_err add_evidence(struct dossier *dossier, const struct observation *seen)
{
    uint8_t *name = name_copy(&seen->name);
    if (!name) {
        return PK_ERR_NOMEM;
    }
    if (dossier->n_evidence == PK_FINDING_MAX_EVIDENCE) {
        size_t at = oldest_to_go(dossier, PK_FINDING_MAX_EVIDENCE);
        free(dossier->evidence[at].name);
        dossier->n_evidence--;
        memmove(&dossier->evidence[at], &dossier->evidence[at + 1],
            (dossier->n_evidence - at) * sizeof *dossier->evidence);
    }
    dossier->evidence[dossier->n_evidence++] = (struct evidence){
        .sensor = seen->sensor,
        .site = seen->site,
        .vantage = seen->row->signature.vantage,
        .qtype = seen->row->signature.qtype,
        .rcode = seen->row->signature.rcode,
        .time_us = seen->row->first_us,
        .name = name,
    };
    return PK_OK;
}

static pk_err add_sample(struct dossier *dossier, const struct pk_name *name)
{
    uint8_t n = dossier->n_samples;
    if (n == PK_FINDING_MAX_SAMPLES && !names_have(dossier->samples, n, name)) {
        size_t at = oldest_to_go(dossier, n);
        free(dossier->samples[at]);
        dossier->n_samples = --n;
        memmove(
            &dossier->samples[at], &dossier->samples[at + 1], (n - at) * sizeof *dossier->samples);
    }
    return names_add(dossier->samples, &dossier->n_samples, PK_FINDING_MAX_SAMPLES, name);
}

pk_err dossier_narrow(struct dossier *dossier, int64_t since_us)
{
    pk_err err = PK_OK;
    size_t n = 0;
    if (dossier_is_open(dossier)) {
        return PK_OK;
    }
    names_done(dossier->samples, &dossier->n_samples);
    memset(dossier->sites, 0, sizeof dossier->sites);
    dossier->n_addresses = 0;
    dossier->first_us = dossier->last_us;
    for (size_t i = 0; i < dossier->n_evidence; i++) {
        struct evidence evidence = dossier->evidence[i];
        struct pk_name name;
        if (evidence.time_us < since_us) {
            free(evidence.name);
            continue;
        }
        dossier->evidence[n++] = evidence;
        dossier->sites[evidence.site / 64] |= UINT64_C(1) << evidence.site % 64;
        dossier->first_us =
            evidence.time_us < dossier->first_us ? evidence.time_us : dossier->first_us;
        if (err == PK_OK &&
            pk_name_from_wire(evidence.name + 1, evidence.name[0], &name) == PK_OK) {
            err = names_add(dossier->samples, &dossier->n_samples, PK_FINDING_MAX_SAMPLES, &name);
        }
    }
    dossier->n_evidence = (uint8_t)n;
    return err;
}

pk_err dossier_note(
    struct dossier *dossier, const struct observation *seen, enum dossier_name as, bool as_evidence)
{
    int64_t first_us = seen->row->first_us, last_us = first_us + seen->row->span_us;
    if (dossier->last_us != 0 && first_us - dossier->last_us > (int64_t)FINDING_IDLE_S * 1000000) {
        uint32_t opening =
            dossier
                ->opening; /* the number of openings is what makes ids differ: it outlives the rest */
        clear(dossier);
        *dossier = (struct dossier){.opening = opening};
    }
    dossier->first_us =
        dossier->first_us == 0 || first_us < dossier->first_us ? first_us : dossier->first_us;
    dossier->last_us = last_us > dossier->last_us ? last_us : dossier->last_us;
    dossier_add_site(dossier, seen);
    dossier->is_settled = false;
    dossier->observations++;
    pk_err err =
        names_add(dossier->zones, &dossier->n_zones, PK_FINDING_MAX_ZONES, &seen->zone_name);
    if (err == PK_OK && as == NOTE_SAMPLE) {
        err = add_sample(dossier, &seen->name);
    } else if (err == PK_OK && as == NOTE_LEARNED) {
        err = names_add(dossier->learned, &dossier->n_learned, PK_FINDING_MAX_SAMPLES, &seen->name);
    }
    return err == PK_OK && as_evidence ? add_evidence(dossier, seen) : err;
}

bool dossier_is_due(const struct dossier *dossier, uint32_t size, uint8_t severity)
{
    if (dossier->is_settling) {
        return size >= dossier->reported_size; /* less: it began to count anew since */
    }
    return dossier->revision == 0 || dossier->is_ended || severity != dossier->severity ||
           dossier_sites(dossier) != dossier->reported_sites || size >= 2 * dossier->reported_size;
}

pk_err dossier_settle(
    struct pk_engine *engine, const struct rule *rule, void *ledger, int64_t now_us)
{
    struct dossier *dossier = ledger_dossier_find(ledger);
    if (!dossier_is_open(dossier) || dossier->is_settled ||
        (now_us != INT64_MAX && now_us - dossier->last_us < (int64_t)SETTLE_S * 1000000)) {
        return PK_OK;
    }
    dossier->is_settling = true;
    pk_err err = rule->settle(engine, ledger);
    dossier->is_settling = false;
    dossier->is_settled = err == PK_OK;
    return err;
}

bool dossier_last_row(struct pk_engine *engine, const struct dossier *dossier, struct actor *actor,
    struct pk_activity *out_row, struct observation *out_seen)
{
    if (dossier->n_evidence == 0) {
        return false;
    }
    const struct evidence *last = &dossier->evidence[dossier->n_evidence - 1];
    *out_row = (struct pk_activity){
        .name = {last->name + 1, last->name[0]},
        .first_us = last->time_us,
        .count = 1,
        .signature = {.qtype = last->qtype,
            .rcode = last->rcode,
            .vantage = last->vantage,
            .qclass = 1},
    };
    memset(out_seen, 0, sizeof *out_seen);
    out_seen->row = out_row;
    out_seen->now_us = engine->now_us;
    out_seen->actor = actor;
    out_seen->site = last->site;
    out_seen->sensor = last->sensor;
    (void)pk_name_from_wire(last->name + 1, last->name[0], &out_seen->name); /* our own copy */
    out_seen->name_hash = pk_hash_fixed(out_seen->name.wire, out_seen->name.len);
    out_seen->source_hash = actor ? actor_identity(actor) : 0;
    out_seen->reason =
        pk_scope_match(engine->tenant, &out_seen->name, last->qtype, 1, &out_seen->zone_name);
    return out_seen->reason == PK_SCOPE_ZONE && zone_enter(engine, out_seen) == PK_OK &&
           out_seen->zone;
}

void subject_of_actor(struct actor *actor, struct subject *out_subject)
{
    static const char *const kinds[N_ACTOR_KINDS] = {[ACTOR_ADDRESS] = "address",
        [ACTOR_INSIDE] = "address",
        [ACTOR_PSEUDONYM] = "client",
        [ACTOR_NETWORK] = "network",
        [ACTOR_PRINT] = "fingerprint",
        [ACTOR_SITE] = "site",
        [ACTOR_SUBNET] = "subnet"};
    *out_subject = (struct subject){.kind = kinds[actor->key.kind], .actor = actor};
    actor_text(&actor->key, out_subject->key);
    if (actor->key.kind == ACTOR_ADDRESS || actor->key.kind == ACTOR_INSIDE) {
        out_subject->addr = actor->key.addr;
    }
}

static void derive_id(const struct pk_engine *engine, enum rule_id rule, const char *actor,
    uint32_t opening, char out_id[PK_FINDING_ID_SIZE])
{
    char text[512];
    uint8_t digest[PK_DIGEST_BYTES];
    int n = snprintf(text, sizeof text, "%s|%s|%s|*|%u", engine->tenant->name, rules[rule]->family,
        actor, opening);
    pk_digest(text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1, digest);
    for (size_t i = 0; i < sizeof digest; i++) {
        snprintf(out_id + 2 * i, 3, "%02x", digest[i]);
    }
}

static size_t fill_names(struct pk_name *out, uint8_t *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        (void)pk_name_from_wire(names[i] + 1, names[i][0], &out[i]); /* our own copies */
    }
    return n;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(a, b);
}

static int compare_names(const void *a, const void *b)
{
    return pk_name_compare(a, b);
}

static void fill(
    struct pk_finding *finding, const struct pk_engine *engine, const struct dossier *dossier)
{
    for (size_t i = 0; i < engine->sites.n && finding->n_sites < PK_FINDING_MAX_SITES; i++) {
        if (dossier->sites[i / 64] >> i % 64 & 1) {
            memcpy(
                finding->sites[finding->n_sites++], engine->sites.v[i], sizeof finding->sites[0]);
        }
    }
    qsort(finding->sites, finding->n_sites, sizeof finding->sites[0], compare_texts);
    finding->n_zones = fill_names(finding->zones, dossier->zones, dossier->n_zones);
    qsort(finding->zones, finding->n_zones, sizeof finding->zones[0], compare_names);
    finding->n_samples = fill_names(finding->samples, dossier->samples, dossier->n_samples);
    finding->n_learned = fill_names(finding->learned, dossier->learned, dossier->n_learned);
    finding->first_us = dossier->first_us;
    finding->last_us = dossier->last_us;
    for (size_t i = 0; i < dossier->n_evidence; i++) {
        const struct evidence *from = &dossier->evidence[i];
        struct pk_evidence *to = &finding->evidence[finding->n_evidence++];
        memcpy(to->sensor, engine->sensors.v[from->sensor], sizeof to->sensor);
        to->time_us = from->time_us;
        to->qtype = from->qtype;
        to->rcode = from->rcode;
        (void)pk_name_from_wire(from->name + 1, from->name[0], &to->qname);
    }
}

struct pk_finding *dossier_begin(struct pk_engine *engine, enum rule_id rule,
    struct dossier *dossier, const struct subject *subject, uint32_t size, uint8_t severity)
{
    struct pk_finding *finding = &engine->report;
    memset(finding, 0, sizeof *finding);
    if (dossier->revision == 0) {
        dossier->opening++;
        engine->stats.findings++;
    }
    dossier->revision++;
    dossier->severity = severity;
    dossier->reported_size = size;
    dossier->reported_sites = (uint16_t)dossier_sites(dossier);
    memcpy(finding->actor_key, subject->key, sizeof finding->actor_key);
    char first[sizeof finding->actor_key]; /* the id stays when a client gets another pseudonym */
    memcpy(first, subject->key, sizeof first);
    if (subject->actor && subject->actor->key.kind == ACTOR_PSEUDONYM) {
        struct actor_key key = actor_first_key(subject->actor);
        actor_text(&key, first);
    }
    derive_id(engine, rule, first, dossier->opening, finding->id);
    finding->revision = dossier->revision;
    dossier->is_ended = dossier->is_settling;
    finding->state = dossier->is_ended ? "ended" : "open";
    finding->detector = rules[rule]->id;
    finding->version = rules[rule]->version;
    finding->tenant = engine->tenant->name;
    finding->actor_kind = subject->kind;
    if (subject->addr.family != 0) {
        finding->addresses[finding->n_addresses++] = subject->addr;
    }
    for (uint8_t i = 0; i < dossier->n_addresses && finding->n_addresses < PK_FINDING_MAX_ADDRESSES;
         i++) {
        finding->addresses[finding->n_addresses++] = dossier->addresses[i];
    }
    finding->severity = severity;
    engine->report_rule = (uint8_t)rule;
    engine->report_actor = subject->actor;
    fill(finding, engine, dossier);
    return finding;
}

void contribute(struct pk_finding *finding, const char *name, double nats)
{
    if (fabs(nats) >= 0.05 && finding->n_contributions < PK_FINDING_MAX_CONTRIBUTIONS) {
        finding->contributions[finding->n_contributions++] = (struct pk_contribution){name, nats};
    }
}

void report_finding(struct pk_engine *engine, double threshold)
{
    struct pk_finding *finding = &engine->report;
    hints_contribute(engine, finding);
    finding->score_nats = 0;
    for (size_t i = 0; i < finding->n_contributions; i++) {
        finding->score_nats += finding->contributions[i].nats; /* what is shown adds up */
    }
    finding->threshold_nats = threshold;
    finding->confidence =
        calibration_confidence(finding->detector, finding->score_nats - threshold);
    engine->stats.revisions++;
    engine->on_finding(engine->arg, finding);
    hints_reported(engine);
    followup_learn(engine, finding);
}

/* --- state --- */

void dossier_save(const struct dossier *dossier, struct pk_bytes *out)
{
    pk_bytes_put_u8(out, dossier != NULL);
    if (!dossier) {
        return;
    }
    pk_bytes_put_varint(out, dossier->opening);
    pk_bytes_put_varint(out, dossier->revision);
    pk_bytes_put_u8(out, dossier->severity);
    state_put_time(out, dossier->first_us);
    state_put_time(out, dossier->last_us);
    for (size_t i = 0; i < SITE_WORDS; i++) {
        pk_bytes_put_varint(out, dossier->sites[i]);
    }
    pk_bytes_put_varint(out, dossier->reported_size);
    pk_bytes_put_varint(out, dossier->reported_sites);
    pk_bytes_put_varint(out, dossier->observations);
    pk_bytes_put_u8(out, dossier->is_ended);
    pk_bytes_put_u8(out, dossier->is_settled);
    state_put_names(out, dossier->samples, dossier->n_samples);
    state_put_names(out, dossier->learned, dossier->n_learned);
    state_put_names(out, dossier->zones, dossier->n_zones);
    pk_bytes_put_u8(out, dossier->n_addresses);
    for (uint8_t i = 0; i < dossier->n_addresses; i++) {
        state_put_addr(out, &dossier->addresses[i]);
    }
    pk_bytes_put_u8(out, dossier->n_evidence);
    for (uint8_t i = 0; i < dossier->n_evidence; i++) {
        const struct evidence *evidence = &dossier->evidence[i];
        pk_bytes_put_be16(out, evidence->sensor);
        pk_bytes_put_be16(out, evidence->site);
        pk_bytes_put_u8(out, evidence->vantage);
        pk_bytes_put_be16(out, evidence->qtype);
        pk_bytes_put_be16(out, evidence->rcode);
        state_put_time(out, evidence->time_us);
        pk_bytes_put(out, evidence->name, (size_t)evidence->name[0] + 1);
    }
}

static void load_evidence(struct dossier *dossier, struct pk_reader *in, size_t n_sensors)
{
    uint8_t n = state_get_count(in, PK_FINDING_MAX_EVIDENCE);
    for (uint8_t i = 0; i < n && in->err == PK_OK; i++) {
        struct evidence evidence = {.sensor = pk_reader_be16(in)};
        evidence.site = pk_reader_be16(in);
        evidence.vantage = state_get_index(in, PK_N_VANTAGES);
        evidence.qtype = pk_reader_be16(in);
        evidence.rcode = pk_reader_be16(in);
        evidence.time_us = state_get_time(in);
        evidence.name = state_get_name(in);
        if (evidence.sensor >= n_sensors || evidence.site >= PK_ENGINE_MAX_SITES) {
            pk_reader_fail(in, PK_ERR_MALFORMED);
        }
        if (in->err == PK_OK) {
            dossier->evidence[dossier->n_evidence++] = evidence;
        } else {
            free(evidence.name);
        }
    }
}

struct dossier *dossier_load(struct pk_reader *in, size_t n_sensors)
{
    struct dossier *dossier = state_get_count(in, 1) == 1 ? dossier_new() : NULL;
    if (!dossier) {
        return NULL;
    }
    dossier->opening = state_get_u32(in);
    dossier->revision = state_get_u32(in);
    dossier->severity = pk_reader_u8(in);
    dossier->first_us = state_get_time(in);
    dossier->last_us = state_get_time(in);
    for (size_t i = 0; i < SITE_WORDS; i++) {
        dossier->sites[i] = pk_reader_varint(in);
    }
    dossier->reported_size = state_get_u32(in);
    dossier->reported_sites = state_get_u16(in);
    dossier->observations = state_get_u32(in);
    dossier->is_ended = state_get_count(in, 1);
    dossier->is_settled = state_get_count(in, 1);
    dossier->n_samples = state_get_names(in, dossier->samples, PK_FINDING_MAX_SAMPLES);
    dossier->n_learned = state_get_names(in, dossier->learned, PK_FINDING_MAX_SAMPLES);
    dossier->n_zones = state_get_names(in, dossier->zones, PK_FINDING_MAX_ZONES);
    dossier->n_addresses = state_get_count(in, PK_FINDING_MAX_ADDRESSES);
    for (uint8_t i = 0; i < dossier->n_addresses; i++) {
        state_get_addr(in, &dossier->addresses[i]);
    }
    load_evidence(dossier, in, n_sensors);
    return dossier;
}

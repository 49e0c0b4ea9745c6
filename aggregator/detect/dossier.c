/* Keeping and reporting what explains a finding. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "picket/hash.h"

#include "actor.h"

static const char *const family_names[N_FAMILIES] = {"transfer", "subdomains", "sweep"};
static const char *const detector_names[N_FAMILIES] = {"D1", "D2", "D6"};

pk_err dossier_of(struct actor *actor, enum family family, struct dossier **out_dossier)
{
    if (!actor->dossiers[family]) {
        actor->dossiers[family] = calloc(1, sizeof **actor->dossiers);
    }
    *out_dossier = actor->dossiers[family];
    return *out_dossier ? PK_OK : PK_ERR_NOMEM;
}

static void clear(struct dossier *dossier)
{
    for (size_t i = 0; i < dossier->n_samples; i++) {
        free(dossier->samples[i]);
    }
    for (size_t i = 0; i < dossier->n_learned; i++) {
        free(dossier->learned[i]);
    }
    for (size_t i = 0; i < dossier->n_zones; i++) {
        free(dossier->zones[i]);
    }
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

static uint8_t *copy_name(const struct pk_name *name)
{
    uint8_t *copy = malloc((size_t)name->len + 1);
    if (copy) {
        copy[0] = name->len;
        memcpy(copy + 1, name->wire, name->len);
    }
    return copy;
}

pk_err dossier_add_name(uint8_t **names, uint8_t *n, size_t max, const struct pk_name *name)
{
    for (size_t i = 0; i < *n; i++) {
        if (names[i][0] == name->len && memcmp(names[i] + 1, name->wire, name->len) == 0) {
            return PK_OK;
        }
    }
    if (*n == max) {
        return PK_OK; /* samples, not a list */
    }
    names[*n] = copy_name(name);
    if (!names[*n]) {
        return PK_ERR_NOMEM;
    }
    (*n)++;
    return PK_OK;
}

unsigned dossier_sites(const struct dossier *dossier)
{
    unsigned n = 0;
    for (size_t i = 0; i < SITE_WORDS; i++) {
        n += (unsigned)__builtin_popcountll(dossier->sites[i]);
    }
    return n;
}

pk_err dossier_note(struct dossier *dossier, const struct observation *seen, bool as_evidence)
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
    dossier->sites[seen->site / 64] |= UINT64_C(1) << seen->site % 64;
    dossier->observations++;
    if (!as_evidence) {
        return PK_OK;
    }
    /* The first half stays, then the newest replace each other: how it began, and how it goes on. */
    size_t half = PK_FINDING_MAX_EVIDENCE / 2;
    if (dossier->n_evidence == PK_FINDING_MAX_EVIDENCE) {
        free(dossier->evidence[half].name);
        memmove(&dossier->evidence[half], &dossier->evidence[half + 1],
            (half - 1) * sizeof *dossier->evidence);
        dossier->n_evidence--;
    }
    uint8_t *name = copy_name(&seen->name);
    if (!name) {
        return PK_ERR_NOMEM;
    }
    dossier->evidence[dossier->n_evidence++] = (struct evidence){
        .sensor = seen->sensor,
        .qtype = seen->row->signature.qtype,
        .rcode = seen->row->signature.rcode,
        .time_us = first_us,
        .name = name,
    };
    return PK_OK;
}

bool dossier_is_due(const struct dossier *dossier, uint32_t size, uint8_t severity)
{
    return dossier->revision == 0 || severity != dossier->severity ||
           dossier_sites(dossier) != dossier->reported_sites || size >= 2 * dossier->reported_size;
}

static void actor_text(const struct actor *actor, char out[64])
{
    if (actor->key.kind == PK_CLIENT_PSEUDONYM) {
        char *p = out + snprintf(out, 64, "client:");
        for (size_t i = 0; i < sizeof actor->key.pseudonym; i++) {
            p += snprintf(p, 3, "%02x", actor->key.pseudonym[i]);
        }
    } else {
        char addr[PK_ADDR_TEXT_SIZE];
        snprintf(out, 64, "%s", pk_addr_text(&actor->key.addr, addr));
    }
}

static void derive_id(const struct pk_engine *engine, enum family family, const char *actor,
    uint32_t opening, char out_id[PK_FINDING_ID_SIZE])
{
    char text[256];
    uint8_t digest[PK_DIGEST_BYTES];
    int n = snprintf(text, sizeof text, "%s|%s|%s|*|%u", engine->tenant->name, family_names[family],
        actor, opening);
    pk_digest(text, (size_t)n, digest);
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

struct pk_finding *dossier_begin(struct pk_engine *engine, const struct actor *actor,
    enum family family, struct dossier *dossier, uint32_t size, uint8_t severity)
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
    actor_text(actor, finding->actor_key);
    derive_id(engine, family, finding->actor_key, dossier->opening, finding->id);
    finding->revision = dossier->revision;
    finding->state = "open";
    finding->detector = detector_names[family];
    finding->version = "1";
    finding->tenant = engine->tenant->name;
    finding->actor_kind = actor->key.kind == PK_CLIENT_PSEUDONYM ? "client" : "address";
    if (actor->key.kind != PK_CLIENT_PSEUDONYM) {
        finding->actor_addr = actor->key.addr;
    }
    finding->severity = severity;
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
    return finding;
}

/* Posterior buckets by how far the score is above the threshold (docs/DETECTIONS.md, "Confidence"). */
void report_finding(struct pk_engine *engine, double threshold)
{
    static const double buckets[] = {0.5, 0.8, 0.95};
    struct pk_finding *finding = &engine->report;
    double above = finding->score_nats - threshold;
    unsigned bucket = above < 1 ? 0 : above < 4 ? 1 : 2;
    finding->confidence = buckets[bucket];
    finding->score_nats = 0;
    for (size_t i = 0; i < finding->n_contributions; i++) {
        finding->score_nats += finding->contributions[i].nats; /* what is shown adds up */
    }
    engine->stats.revisions++;
    engine->on_finding(engine->arg, finding);
}

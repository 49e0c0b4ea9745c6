/* A finding as JSON. */
#include "finding.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "picket/clock.h"
#include "picket/observation.h"
#include "picket/rdata.h"

static void set(json_t *object, const char *key, json_t *value)
{
    (void)json_object_set_new_nocheck(object, key, value);
}

static json_t *name_json(const struct pk_name *name)
{
    char text[PK_NAME_TEXT_SIZE];
    return json_string_nocheck(pk_name_text(name, text));
}

static json_t *names_json(const struct pk_name *names, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        (void)json_array_append_new(list, name_json(&names[i]));
    }
    return list;
}

static json_t *time_json(int64_t us)
{
    char text[PK_TIME_TEXT_SIZE];
    return json_string_nocheck(pk_time_text(us, text));
}

/* Three decimals are enough for nats, and the same on every machine. */
static json_t *nats_json(double nats)
{
    return json_real(round(nats * 1000) / 1000);
}

static json_t *evidence_json(const struct pk_finding *finding)
{
    json_t *list = json_array();
    for (size_t i = 0; i < finding->n_evidence; i++) {
        const struct pk_evidence *evidence = &finding->evidence[i];
        char text[PK_TYPE_TEXT_SIZE];
        json_t *row = json_object();
        set(row, "sensor", json_string_nocheck(evidence->sensor));
        set(row, "time", time_json(evidence->time_us));
        set(row, "qname", name_json(&evidence->qname));
        set(row, "qtype", json_string_nocheck(pk_type_text(evidence->qtype, text)));
        set(row, "rcode",
            evidence->rcode == PK_RCODE_NO_RESPONSE
                ? json_null()
                : json_string_nocheck(pk_rcode_text(evidence->rcode, text)));
        (void)json_array_append_new(list, row);
    }
    return list;
}

static json_t *actor_json(const struct pk_finding *finding)
{
    json_t *actor = json_object(), *addresses = json_array();
    char text[PK_ADDR_TEXT_SIZE];
    set(actor, "kind", json_string_nocheck(finding->actor_kind));
    set(actor, "key", json_string_nocheck(finding->actor_key));
    for (size_t i = 0; i < finding->n_addresses; i++) {
        (void)json_array_append_new(
            addresses, json_string_nocheck(pk_addr_text(&finding->addresses[i], text)));
    }
    set(actor, "addresses", addresses);
    return actor;
}

pk_err pk_finding_json(const struct pk_finding *finding, struct pk_bytes *out)
{
    json_t *root = json_object(), *technique = json_array(), *sites = json_array(),
           *contributions = json_array(), *counts = json_object();
    for (size_t i = 0; i < finding->n_techniques; i++) {
        (void)json_array_append_new(technique, json_string_nocheck(finding->technique[i]));
    }
    for (size_t i = 0; i < finding->n_sites; i++) {
        (void)json_array_append_new(sites, json_string_nocheck(finding->sites[i]));
    }
    for (size_t i = 0; i < finding->n_contributions; i++) {
        json_t *one = json_object();
        set(one, "name", json_string_nocheck(finding->contributions[i].name));
        set(one, "nats", nats_json(finding->contributions[i].nats));
        (void)json_array_append_new(contributions, one);
    }
    set(counts, "trials", json_integer(finding->trials));
    set(counts, "hits", json_integer(finding->hits));
    set(counts, "dict", json_integer(finding->dict));
    set(counts, "rand", json_integer(finding->rand));
    set(counts, "other", json_integer(finding->other));
    set(root, "id", json_string_nocheck(finding->id));
    set(root, "revision", json_integer(finding->revision));
    set(root, "state", json_string_nocheck(finding->state));
    set(root, "detector", json_string_nocheck(finding->detector));
    set(root, "version", json_string_nocheck(finding->version));
    set(root, "title", json_string_nocheck(finding->title));
    set(root, "technique", technique);
    set(root, "tenant", json_string_nocheck(finding->tenant));
    set(root, "sites", sites);
    set(root, "zones", names_json(finding->zones, finding->n_zones));
    set(root, "actor", actor_json(finding));
    set(root, "campaign",
        finding->campaign[0] ? json_string_nocheck(finding->campaign) : json_null());
    if (finding->elsewhere) {
        set(root, "elsewhere", json_string_nocheck(finding->elsewhere));
    }
    set(root, "severity", json_integer(finding->severity));
    set(root, "confidence", json_real(finding->confidence));
    set(root, "score_nats", nats_json(finding->score_nats));
    set(root, "contributions", contributions);
    set(root, "counts", counts);
    set(root, "learned", names_json(finding->learned, finding->n_learned));
    set(root, "sample_names", names_json(finding->samples, finding->n_samples));
    set(root, "first_seen", time_json(finding->first_us));
    set(root, "last_seen", time_json(finding->last_us));
    set(root, "evidence", evidence_json(finding));
    char *text = json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(12));
    json_decref(root);
    if (!text) {
        return PK_ERR_NOMEM;
    }
    pk_bytes_put(out, text, strlen(text));
    free(text);
    return out->err;
}

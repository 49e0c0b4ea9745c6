/* D12: canary names (T1596.001, and what the channel says).
 *
 * A canary is a name that stands in one place alone: in a zone that only a transfer or a chain walk shows, in one passive-DNS service, in a certificate, in our own history.
 * Nobody has a reason to ask for it but who has read that place, so one question is a finding and says which channel was read: severity 4; 5 where reading needs a breach of
 * its own (a transfer, our API). Certificates are read by everybody: a canary of channel `ct` is severity 1 by itself.
 *
 * What asks without having read: the resolver that planted it, and its prefetch (any network seen within an hour of planting, for good); certificate authorities (names that
 * begin with `_`, CAA); and echoes: a name that was asked once is asked again for weeks by services that collect names from resolvers. So the first network to ask after the
 * hour is the reader; others that ask the same canary within four weeks weigh a third, which no single name makes a finding. Two distinct canaries of one source confirm it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum {
    PLANTING_S = 3600,
    ECHO_S = 28 * 86400,
    MAX_NETWORKS = 16,
    MAX_CANARIES = 16, /* of one source */
    TYPE_CAA = 257     /* RFC 8659 */
};

static const double nats_canary = 12.0, nats_echo = 4.0, nats_second = 3.0, weight_word = .5,
                    threshold = 9.2;

/* Of the canary's zone. */
struct canary_name {
    uint64_t planters[MAX_NETWORKS]; /* networks seen within the hour of planting */
    uint8_t n_planters;
    uint64_t reader; /* network that asked first, after it; 0: none yet */
    int64_t read_us; /* when */
};

/* Of a source. */
struct canary {
    uint64_t asked[MAX_CANARIES];
    float nats[MAX_CANARIES];
    uint8_t n;
};

static bool is_planter(const struct canary_name *name, uint64_t network)
{
    for (uint8_t i = 0; i < name->n_planters; i++) {
        if (name->planters[i] == network) {
            return true;
        }
    }
    return false;
}

/* What this question weighs; 0: it says nothing. */
static double weigh(struct pk_engine *engine, const struct observation *seen,
    const struct pk_scope_canary *canary, struct canary_name *name)
{
    struct actor_key key = actor_network_key(seen->actor);
    uint64_t network = actor_hash(&key);
    int64_t now_us = seen->row->first_us;
    uint8_t len;
    if (canary->planted_us != 0 && now_us <= canary->planted_us + (int64_t)PLANTING_S * 1000000) {
        if (!is_planter(name, network) && name->n_planters < MAX_NETWORKS) {
            name->planters[name->n_planters++] = network;
        }
        return 0;
    }
    if (is_planter(name, network)) {
        return 0;
    }
    const uint8_t *label = pk_name_label(&canary->name, 0, &len);
    double weight =
        pk_label_classify(engine->labels, label, len) == PK_LABEL_DICTIONARY ? weight_word : 1;
    bool is_echo = name->reader != 0 && name->reader != network &&
                   now_us - name->read_us <= (int64_t)ECHO_S * 1000000;
    if (!is_echo && name->reader != network) {
        name->reader = network;
        name->read_us = now_us;
    }
    return weight * (is_echo ? nats_echo : nats_canary);
}

static bool is_channel(const struct pk_scope_canary *canary, const char *a, const char *b)
{
    return canary->channel && (strcmp(canary->channel, a) == 0 || strcmp(canary->channel, b) == 0);
}

static uint8_t severity_of(const struct pk_scope_canary *canary, const struct canary *asked)
{
    if (is_channel(canary, "axfr", "picket")) {
        return 5;
    }
    return is_channel(canary, "ct", "certificate") && asked->n < 2 ? 1 : 4;
}

static double sum(const struct canary *asked)
{
    double nats = 0;
    for (uint8_t i = 0; i < asked->n; i++) {
        nats += (double)asked->nats[i];
    }
    return nats;
}

static pk_err report(struct pk_engine *engine, const struct observation *seen,
    const struct pk_scope_canary *canary, const struct canary *asked, struct dossier *dossier)
{
    uint8_t severity = severity_of(canary, asked);
    severity =
        dossier_is_open(dossier) && dossier->severity > severity ? dossier->severity : severity;
    if (!dossier_is_due(dossier, asked->n, severity)) {
        return PK_OK;
    }
    struct subject subject;
    char name[PK_NAME_TEXT_SIZE];
    subject_of_actor(seen->actor, &subject);
    struct pk_finding *finding =
        dossier_begin(engine, RULE_CANARY, dossier, &subject, asked->n, severity);
    snprintf(finding->title, sizeof finding->title,
        "Canary %.60s (planted in %.20s) asked by %.45s", pk_name_text(&canary->name, name),
        canary->channel ? canary->channel : "an unnamed channel", finding->actor_key);
    finding->technique[finding->n_techniques++] =
        is_channel(canary, "axfr", "nsec") ? "T1590.002" : "T1596.001";
    contribute(finding, "names that stand in one place alone", sum(asked));
    contribute(finding, "two distinct canaries", asked->n >= 2 ? nats_second : 0);
    finding->trials = asked->n;
    report_finding(engine, threshold);
    return PK_OK;
}

/* NULL: the row is none, or of somebody who may ask. */
static const struct pk_scope_canary *canary_of(
    const struct pk_engine *engine, const struct observation *seen)
{
    uint8_t len;
    if (engine->tenant->n_canaries == 0 || seen->reason != PK_SCOPE_ZONE || !seen->zone ||
        seen->is_own_scanner || seen->is_upstream || seen->row->signature.qtype == TYPE_CAA ||
        pk_name_label(&seen->name, 0, &len)[0] == '_') {
        return NULL;
    }
    return pk_scope_canary_of(engine->tenant, &seen->zone_name);
}

static pk_err observe(struct pk_engine *engine, const struct observation *seen)
{
    const struct pk_scope_canary *canary = canary_of(engine, seen);
    struct canary_name *name = canary ? zone_ledger(engine, seen->zone, RULE_CANARY_NAME) : NULL;
    if (!name) {
        return canary ? PK_ERR_NOMEM : PK_OK;
    }
    double nats = weigh(engine, seen, canary, name);
    struct canary *asked = nats > 0 ? actor_ledger(engine, seen->actor, RULE_CANARY) : NULL;
    struct dossier *dossier = asked ? ledger_dossier(asked) : NULL;
    pk_err err = dossier    ? dossier_note(dossier, seen, NOTE_SAMPLE, true)
                 : nats > 0 ? PK_ERR_NOMEM
                            : PK_OK;
    if (err != PK_OK || nats <= 0) {
        return err;
    }
    uint8_t slot = 0;
    while (slot < asked->n && asked->asked[slot] != seen->zone->hash) {
        slot++;
    }
    if (slot < MAX_CANARIES) {
        asked->n = slot == asked->n ? (uint8_t)(slot + 1) : asked->n;
        asked->asked[slot] = seen->zone->hash;
        asked->nats[slot] = (float)nats > asked->nats[slot] ? (float)nats : asked->nats[slot];
    }
    return sum(asked) + (asked->n >= 2 ? nats_second : 0) > threshold
               ? report(engine, seen, canary, asked, dossier)
               : PK_OK;
}

static void save(const void *ledger, struct pk_bytes *out)
{
    const struct canary *asked = ledger;
    pk_bytes_put_u8(out, asked->n);
    for (uint8_t i = 0; i < asked->n; i++) {
        pk_bytes_put_be64(out, asked->asked[i]);
        state_put_float(out, asked->nats[i]);
    }
}

static void load(void *ledger, struct pk_reader *in)
{
    struct canary *asked = ledger;
    asked->n = state_get_count(in, MAX_CANARIES);
    for (uint8_t i = 0; i < asked->n; i++) {
        asked->asked[i] = pk_reader_be64(in);
        asked->nats[i] = state_get_float(in);
    }
}

static void save_name(const void *ledger, struct pk_bytes *out)
{
    const struct canary_name *name = ledger;
    pk_bytes_put_u8(out, name->n_planters);
    for (uint8_t i = 0; i < name->n_planters; i++) {
        pk_bytes_put_be64(out, name->planters[i]);
    }
    pk_bytes_put_be64(out, name->reader);
    state_put_time(out, name->read_us);
}

static void load_name(void *ledger, struct pk_reader *in)
{
    struct canary_name *name = ledger;
    name->n_planters = state_get_count(in, MAX_NETWORKS);
    for (uint8_t i = 0; i < name->n_planters; i++) {
        name->planters[i] = pk_reader_be64(in);
    }
    name->reader = pk_reader_be64(in);
    name->read_us = state_get_time(in);
}

const struct rule rule_canary = {
    .id = "D12",
    .family = "canary",
    .version = "1",
    .budget_share = 0.01,
    .ledger_bytes = sizeof(struct canary),
    .max_ledgers = 10000,
    .observe = observe,
    .save = save,
    .load = load,
};

/* What is known of each canary; storage alone. */
const struct rule rule_canary_name = {
    .id = "D12",
    .family = "canary-name",
    .version = "1",
    .ledger_bytes = sizeof(struct canary_name),
    .max_ledgers = 10000,
    .save = save_name,
    .load = load_name,
};

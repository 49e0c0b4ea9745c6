/* D16: harvesting from inside (T1596.001, done from within).
 *
 * An inside client that asks for hosts of services that know others' names (proto/wire/scope_services.c, and the tenant's own `watch` list). Collection tools ask their sources
 * side by side: subfinder calls some fifty, amass some twenty. Five distinct services within ten minutes are a tool, severity 2. Three within a day are a person at work:
 * severity 1, for the record. A client that does it on three days before is a routine (a threat intelligence platform fetching its feeds) and stays at 1 from then on. What is
 * asked of the services is not visible (HTTPS), only that they were. */
#include <stdio.h>
#include <stdlib.h>

#include "picket/hash.h"

#include "internal.h"

enum {
    WINDOW_US = 600 * 1000000,
    DAY_S = 86400,
    MAX_SERVICES = 32, /* distinct ones of a client, by latest question */
    MIN_TOOL = 5,
    MIN_PERSON = 3,
    ROUTINE_DAYS = 3
};

/* A client-day with a service on the list is one in a thousand, of a tool's day nearly each: the first weighs less because it may be chance. */
static const double nats_service = 2.0, threshold = 9.5;

struct service {
    uint64_t hash;
    int64_t last_us;
};

struct harvest {
    struct service services[MAX_SERVICES];
    uint8_t n;
    uint8_t days; /* on which it looked like a tool, saturating */
    uint32_t day; /* the latest of them, since 1970 */
};

static void touch(struct harvest *harvest, uint64_t hash, int64_t now_us)
{
    unsigned slot = harvest->n, oldest = 0;
    for (unsigned i = 0; i < harvest->n; i++) {
        if (harvest->services[i].hash == hash) {
            slot = i;
        }
        oldest = harvest->services[i].last_us < harvest->services[oldest].last_us ? i : oldest;
    }
    slot = slot == MAX_SERVICES ? oldest : slot;
    harvest->n = (uint8_t)(slot == harvest->n ? harvest->n + 1 : harvest->n);
    harvest->services[slot] = (struct service){.hash = hash, .last_us = now_us};
}

static unsigned count(const struct harvest *harvest, int64_t now_us, int64_t window_us)
{
    unsigned n = 0;
    for (unsigned i = 0; i < harvest->n; i++) {
        n += now_us - harvest->services[i].last_us <= window_us;
    }
    return n;
}

static bool is_service(const struct observation *seen)
{
    return seen->reason == PK_SCOPE_WATCH ||
           (seen->reason == PK_SCOPE_BUILTIN && seen->zone_name.n_labels > 0);
}

/* True when the client did this on enough earlier days. */
static bool is_routine(struct harvest *harvest, int64_t now_us)
{
    uint32_t today = (uint32_t)(now_us / 1000000 / DAY_S);
    unsigned before = harvest->days - (harvest->day == today ? 1u : 0u);
    if (harvest->day != today) {
        harvest->day = today;
        harvest->days = (uint8_t)(harvest->days + (harvest->days < UINT8_MAX));
    }
    return before >= ROUTINE_DAYS;
}

static pk_err observe(struct pk_engine *engine, const struct observation *seen)
{
    if (!is_service(seen) || seen->is_own_scanner || !actor_is_inside(seen->actor)) {
        return PK_OK;
    }
    struct harvest *harvest = actor_ledger(engine, seen->actor, RULE_HARVEST);
    struct dossier *dossier = harvest ? ledger_dossier(harvest) : NULL;
    pk_err err = dossier ? dossier_note(dossier, seen, NOTE_SAMPLE, true) : PK_ERR_NOMEM;
    if (err != PK_OK) {
        return err;
    }
    int64_t now_us = seen->row->first_us;
    touch(harvest, pk_hash_fixed(seen->zone_name.wire, seen->zone_name.len), now_us);
    unsigned together = count(harvest, now_us, WINDOW_US),
             today = count(harvest, now_us, (int64_t)DAY_S * 1000000);
    double h = rule_threshold_by_hand(engine, threshold);
    bool is_tool = together >= MIN_TOOL && nats_service * together > h;
    uint8_t severity = is_tool && !is_routine(harvest, now_us) ? 2 : 1;
    severity =
        dossier_is_open(dossier) && dossier->severity > severity ? dossier->severity : severity;
    unsigned size = together > today ? together : today;
    if (today < MIN_PERSON || !dossier_is_due(dossier, size, severity)) {
        return PK_OK;
    }
    struct subject subject;
    subject_of_actor(seen->actor, &subject);
    struct pk_finding *finding =
        dossier_begin(engine, RULE_HARVEST, dossier, &subject, size, severity);
    snprintf(finding->title, sizeof finding->title,
        "%s from inside: %.50s asked %u services that know others' names",
        severity >= 2 ? "Collection tool" : "Look-ups", finding->actor_key, size);
    finding->technique[finding->n_techniques++] = "T1596.001";
    contribute(finding, "distinct passive-DNS and search services", nats_service * size);
    finding->trials = size;
    report_finding(engine, severity >= 2 ? h : h + nats_service * size);
    return PK_OK;
}

static void save(const void *ledger, struct pk_bytes *out)
{
    const struct harvest *harvest = ledger;
    pk_bytes_put_u8(out, harvest->n);
    for (uint8_t i = 0; i < harvest->n; i++) {
        pk_bytes_put_be64(out, harvest->services[i].hash);
        state_put_time(out, harvest->services[i].last_us);
    }
    pk_bytes_put_u8(out, harvest->days);
    pk_bytes_put_varint(out, harvest->day);
}

static void load(void *ledger, struct pk_reader *in)
{
    struct harvest *harvest = ledger;
    harvest->n = state_get_count(in, MAX_SERVICES);
    for (uint8_t i = 0; i < harvest->n; i++) {
        harvest->services[i].hash = pk_reader_be64(in);
        harvest->services[i].last_us = state_get_time(in);
    }
    harvest->days = pk_reader_u8(in);
    harvest->day = state_get_u32(in);
}

const struct rule rule_harvest = {
    .id = "D16",
    .family = "harvest",
    .version = "2",
    .budget_share = 0.02,
    .ledger_bytes = sizeof(struct harvest),
    .max_ledgers = 5000,
    .observe = observe,
    .save = save,
    .load = load,
};

/* D9: asking one name for many types, or for ANY (T1590.002).
 *
 * Distinct types one source asks of one name within a minute, over all sites. Each type has a weight, ln of how much likelier a tool asks it than a resolver with users: 0 for
 * what resolvers, validators and browsers ask by themselves (A AAAA NS DS DNSKEY HTTPS SVCB), little for what mail asks (MX TXT SOA SRV PTR CNAME CAA), much for the
 * deprecated and rare (RFC 6895 registry: WKS HINFO RP AFSDB LOC SPF ...) and for ANY (RFC 8482); .2 for each
 * from the sixth on. Six types with three nats are a sweep, severity 2: dnsrecon's standard
 * mode asks nine of the apex, dnsx eleven. ANY alone is what amplification and old mail servers send: a hint, no finding. A busy resolver (three hundred questions and more)
 * asks everything for its users: it leaves a hint and is never reported. */
#include <stdio.h>
#include <stdlib.h>

#include "picket/dnsmsg.h"

#include "internal.h"

enum {
    WINDOW_US = 60 * 1000000,
    MAX_NAMES = 4,  /* names of one source watched at a time */
    MAX_TYPES = 24, /* of one name */
    MIN_TYPES = 6,
    BUSY_ROWS = 300
};

static const double nats_breadth = 0.2, cap = 4.0, threshold = 3.0, hint_least = 1.0;

struct asked {
    uint64_t name;
    int64_t since_us;
    uint8_t n;
    uint16_t types[MAX_TYPES];
};

struct types {
    struct asked names[MAX_NAMES];
    uint8_t n_names;
};

static double weight(uint16_t type)
{
    static const struct {
        uint16_t type;
        double nats;
    } known[] = {{1, 0}, {28, 0}, {2, 0}, {43, 0}, {48, 0}, {64, 0}, {65, 0}, {46, 0}, {51, 0},
        {12, .2}, {5, .3}, {15, .2}, {16, .3}, {6, .3}, {33, .4}, {257, .4}, {52, .4}, {35, .6},
        {255, 1.5}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (known[i].type == type) {
            return known[i].nats;
        }
    }
    return 2.0;
}

/* NULL: none yet, and a type that says nothing begins none. When all places are taken the name with the fewest types goes. */
static struct asked *asked_of(struct types *types, uint64_t name, int64_t now_us, bool may_begin)
{
    struct asked *least = &types->names[0];
    for (uint8_t i = 0; i < types->n_names; i++) {
        struct asked *asked = &types->names[i];
        bool is_over = llabs(now_us - asked->since_us) > WINDOW_US;
        if (asked->name == name && !is_over) {
            return asked;
        }
        least = is_over || asked->n < least->n ? asked : least;
    }
    if (!may_begin) {
        return NULL;
    }
    struct asked *asked = types->n_names < MAX_NAMES ? &types->names[types->n_names++] : least;
    *asked = (struct asked){.name = name, .since_us = now_us};
    return asked;
}

/* True when it is new for this name. */
static bool note_type(struct asked *asked, uint16_t type)
{
    for (uint8_t i = 0; i < asked->n; i++) {
        if (asked->types[i] == type) {
            return false;
        }
    }
    if (asked->n == MAX_TYPES) {
        return false;
    }
    asked->types[asked->n++] = type;
    return true;
}

static double nats_of(const struct asked *asked)
{
    double nats = 0;
    for (uint8_t i = 0; i < asked->n; i++) {
        nats += weight(asked->types[i]);
    }
    nats += asked->n >= MIN_TYPES ? nats_breadth * (asked->n - MIN_TYPES + 1) : 0;
    return nats < cap ? nats : cap;
}

static pk_err report(struct pk_engine *engine, const struct observation *seen, struct types *types,
    const struct asked *asked, double nats)
{
    struct dossier *dossier = ledger_dossier(types);
    pk_err err = dossier ? dossier_note(dossier, seen, NOTE_SAMPLE, true) : PK_ERR_NOMEM;
    if (err != PK_OK || !dossier_is_due(dossier, asked->n, 2)) {
        return err;
    }
    struct subject subject;
    char name[PK_NAME_TEXT_SIZE];
    subject_of_actor(seen->actor, &subject);
    struct pk_finding *finding = dossier_begin(engine, RULE_TYPES, dossier, &subject, asked->n, 2);
    snprintf(finding->title, sizeof finding->title, "Type sweep by %.50s: %u types of %.60s",
        finding->actor_key, asked->n, pk_name_text(&seen->name, name));
    finding->technique[finding->n_techniques++] = "T1590.002";
    contribute(finding, "rare and unusual types of one name within a minute", nats);
    finding->trials = asked->n;
    report_finding(engine, rule_threshold_by_hand(engine, threshold));
    return PK_OK;
}

static pk_err observe(struct pk_engine *engine, const struct observation *seen)
{
    const struct pk_signature *signature = &seen->row->signature;
    if (seen->reason != PK_SCOPE_ZONE || signature->opcode != PK_OPCODE_QUERY ||
        signature->qclass != PK_CLASS_IN || seen->is_own_scanner || seen->is_upstream ||
        signature->qtype == PK_TYPE_AXFR || signature->qtype == PK_TYPE_IXFR) {
        return PK_OK;
    }
    /* A source that asks usual types alone, which is nearly every one, leaves nothing here: its ledger begins with the first type that weighs. The free ones
     * are counted from then on. */
    struct types *types = actor_ledger_find(seen->actor, RULE_TYPES);
    if (!types && weight(signature->qtype) == 0) {
        return PK_OK;
    }
    types = actor_ledger(engine, seen->actor, RULE_TYPES);
    if (!types) {
        return PK_ERR_NOMEM;
    }
    int64_t now_us = seen->row->first_us;
    struct asked *asked = asked_of(types, seen->name_hash, now_us, weight(signature->qtype) > 0);
    if (!asked || !note_type(asked, signature->qtype)) {
        return PK_OK;
    }
    double nats = nats_of(asked);
    pk_err err =
        nats >= hint_least ? hint_leave(engine, seen->actor, HINT_TYPES, nats, now_us) : PK_OK;
    bool is_sweep = asked->n >= MIN_TYPES && nats >= rule_threshold_by_hand(engine, threshold) &&
                    seen->actor->rows < BUSY_ROWS;
    return err == PK_OK && is_sweep ? report(engine, seen, types, asked, nats) : err;
}

static void save(const void *ledger, struct pk_bytes *out)
{
    const struct types *types = ledger;
    pk_bytes_put_u8(out, types->n_names);
    for (uint8_t i = 0; i < types->n_names; i++) {
        const struct asked *asked = &types->names[i];
        pk_bytes_put_be64(out, asked->name);
        state_put_time(out, asked->since_us);
        pk_bytes_put_u8(out, asked->n);
        for (uint8_t k = 0; k < asked->n; k++) {
            pk_bytes_put_be16(out, asked->types[k]);
        }
    }
}

static void load(void *ledger, struct pk_reader *in)
{
    struct types *types = ledger;
    types->n_names = state_get_count(in, MAX_NAMES);
    for (uint8_t i = 0; i < types->n_names; i++) {
        struct asked *asked = &types->names[i];
        asked->name = pk_reader_be64(in);
        asked->since_us = state_get_time(in);
        asked->n = state_get_count(in, MAX_TYPES);
        for (uint8_t k = 0; k < asked->n; k++) {
            asked->types[k] = pk_reader_be16(in);
        }
    }
}

const struct rule rule_types = {
    .id = "D9",
    .family = "types",
    .version = "2",
    .budget_share = 0.03,
    .ledger_bytes = sizeof(struct types),
    .max_ledgers = 10000,
    .observe = observe,
    .save = save,
    .load = load,
};

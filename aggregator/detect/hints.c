/* What the weak detectors saw of a source. */
#include "hints.h"

#include <stdlib.h>

#include "internal.h"

enum {
    HOUR_US_S = 3600
};

struct hints {
    int64_t at_us[N_HINTS]; /* 0: never */
    float nats[N_HINTS];
    int64_t recon_us; /* reported for reconnaissance last; 0: never */
};

static const struct {
    const char *text;
    uint8_t rule; /* its own finding does not carry it twice */
} kinds[N_HINTS] = {
    [HINT_CHAOS] = {"the same source asked servers for their version", RULE_FINGERPRINT},
    [HINT_TYPES] = {"the same source asked for rare types or ANY", RULE_TYPES},
    [HINT_PROFILE] = {"the same source profiled mail and service names", RULE_PROFILE},
    [HINT_RETIRED] = {"the same source asked for names only history knows", RULE_RETIRED},
    [HINT_WALK] = {"the same source walked the zone's chain", RULE_WALK},
};

static bool is_within_hour(int64_t at_us, int64_t now_us)
{
    return at_us != 0 && llabs(now_us - at_us) <= (int64_t)HOUR_US_S * 1000000;
}

pk_err hint_leave(
    struct pk_engine *engine, struct actor *actor, enum hint hint, double nats, int64_t now_us)
{
    struct hints *hints = actor_ledger(engine, actor, RULE_HINTS);
    if (!hints) {
        return PK_ERR_NOMEM;
    }
    if (!is_within_hour(hints->at_us[hint], now_us) || nats > (double)hints->nats[hint]) {
        hints->nats[hint] = (float)nats;
    }
    hints->at_us[hint] = now_us;
    return PK_OK;
}

void hints_contribute(const struct pk_engine *engine, struct pk_finding *finding)
{
    const struct hints *hints =
        engine->report_actor ? actor_ledger_find(engine->report_actor, RULE_HINTS) : NULL;
    for (unsigned i = 0; hints && i < N_HINTS; i++) {
        if (kinds[i].rule != engine->report_rule &&
            is_within_hour(hints->at_us[i], engine->now_us)) {
            contribute(finding, kinds[i].text, (double)hints->nats[i]);
        }
    }
}

static bool is_recon(uint8_t rule)
{
    return rule == RULE_TRANSFER || rule == RULE_SUBDOMAINS || rule == RULE_HELD ||
           rule == RULE_COVERAGE || rule == RULE_SWEEP || rule == RULE_WALK ||
           rule == RULE_RETIRED || rule == RULE_CANARY;
}

void hints_reported(struct pk_engine *engine)
{
    struct hints *hints = engine->report_actor && is_recon(engine->report_rule)
                              ? actor_ledger(engine, engine->report_actor, RULE_HINTS)
                              : NULL;
    if (hints) {
        hints->recon_us = engine->now_us;
    }
}

bool hints_is_recon(const struct actor *actor, int64_t now_us)
{
    const struct hints *hints = actor_ledger_find(actor, RULE_HINTS);
    return hints && is_within_hour(hints->recon_us, now_us);
}

static void save(const void *ledger, struct pk_bytes *out)
{
    const struct hints *hints = ledger;
    for (unsigned i = 0; i < N_HINTS; i++) {
        state_put_time(out, hints->at_us[i]);
        state_put_float(out, hints->nats[i]);
    }
    state_put_time(out, hints->recon_us);
}

static void load(void *ledger, struct pk_reader *in)
{
    struct hints *hints = ledger;
    for (unsigned i = 0; i < N_HINTS; i++) {
        hints->at_us[i] = state_get_time(in);
        hints->nats[i] = state_get_float(in);
    }
    hints->recon_us = state_get_time(in);
}

/* Storage alone: it observes nothing and reports nothing. */
const struct rule rule_hints = {
    .id = "hints",
    .family = "hints",
    .version = "1",
    .ledger_bytes = sizeof(struct hints),
    .max_ledgers = 50000,
    .save = save,
    .load = load,
};

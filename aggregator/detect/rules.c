/* The list of rules, and the order in which each row meets them. */
#include <math.h>

#include "internal.h"

const struct rule *const rules[N_RULES] = {
    [RULE_TRANSFER] = &rule_transfer,
    [RULE_SUBDOMAINS] = &rule_subdomains,
    [RULE_SWEEP] = &rule_sweep,
    [RULE_FLOOD] = &rule_flood,
    [RULE_COVERAGE] = &rule_coverage,
    [RULE_HELD] = &rule_held,
    [RULE_HINTS] = &rule_hints,
    [RULE_FINGERPRINT] = &rule_fingerprint,
    [RULE_TYPES] = &rule_types,
    [RULE_PROFILE] = &rule_profile,
    [RULE_WALK] = &rule_walk,
    [RULE_RETIRED] = &rule_retired,
    [RULE_HARVEST] = &rule_harvest,
    [RULE_CANARY] = &rule_canary,
    [RULE_CANARY_NAME] = &rule_canary_name,
    [RULE_FOLLOWUP] = &rule_followup,
    [RULE_LEARNED] = &rule_learned,
    [RULE_STALE] = &rule_stale,
    [RULE_RARITY] = &rule_rarity,
    [RULE_POPULAR] = &rule_popular,
    [RULE_CHAIN] = &rule_chain,
};

/* A flood explains what it brings; a campaign takes its members' findings over: so these come before the single source. Those that
 * leave hints come before those that carry them. */
const uint8_t rule_order[N_RULES] = {RULE_HINTS, RULE_FINGERPRINT, RULE_TYPES, RULE_PROFILE,
    RULE_TRANSFER, RULE_FLOOD, RULE_CHAIN, RULE_WALK, RULE_RETIRED, RULE_CANARY, RULE_CANARY_NAME,
    RULE_COVERAGE, RULE_SUBDOMAINS, RULE_HELD, RULE_SWEEP, RULE_HARVEST, RULE_FOLLOWUP,
    RULE_LEARNED, RULE_STALE, RULE_RARITY, RULE_POPULAR};

double rule_threshold_by_hand(const struct pk_engine *engine, double at_one)
{
    double budget = engine->tenant->budget;
    return budget < 1 ? at_one - log(budget) : at_one;
}

double rule_threshold(const struct pk_engine *engine, double budget_share, double trials_a_day)
{
    return log(trials_a_day / (budget_share * engine->tenant->budget));
}

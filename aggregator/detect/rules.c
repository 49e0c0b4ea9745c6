/* The list of rules, in the order in which each row meets them. */
#include <math.h>

#include "internal.h"

const struct rule *const rules[N_RULES] = {
    [RULE_TRANSFER] = &rule_transfer,
    [RULE_SUBDOMAINS] = &rule_subdomains,
    [RULE_SWEEP] = &rule_sweep,
};

double rule_threshold(const struct pk_engine *engine, enum rule_id rule, double trials_a_day)
{
    return log(trials_a_day / (rules[rule]->budget_share * engine->tenant->budget));
}

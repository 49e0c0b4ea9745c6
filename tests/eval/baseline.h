/* The rules that are in use today and the walks of the literature, over the same rows (detection.md s1.1, s1.2).
 *
 * Each keeps one number a key (site and source, or source alone) and window; an alert is that number reaching a level. Every level of a fixed
 * ladder is watched at once, so that a rule can be judged as published and re-tuned to any rate of false alerts afterwards. A key alerts at
 * most once a day, which flatters the rules. Windows are by arrival. */
#ifndef TESTS_EVAL_BASELINE_H
#define TESTS_EVAL_BASELINE_H

#include "traffic.h"

enum ev_rule {
    EV_RULE_ZEEK_NXDOMAIN, /* > 50 NXDOMAIN a source in 5 min, per site */
    EV_RULE_SENTINEL,      /* > 200 NXDOMAIN a source in 15 min, per site */
    EV_RULE_SIGMA,         /* > 200 distinct names of one domain a source in 15 min, per site */
    EV_RULE_ANOMALOUS, /* > 8 distinct names of one domain a source in an hour, per site; "_." left out */
    EV_RULE_PTR, /* > 10 distinct reverse names a source and day, not above that on earlier days, per site */
    EV_RULE_AXFR, /* any transfer query */
    EV_RULE_SPLUNK, /* > 50 failed answers a source and code, no window: a day; reverse left out, per site */
    EV_RULE_TRW, /* threshold random walk, per site; level is ten times the log-likelihood ratio */
    EV_RULE_TRW_POOLED,     /* the same, a source at all sites together */
    EV_RULE_POOLED,         /* distinct missing names a source in a day, all sites together */
    EV_RULE_POOLED_QUARTER, /* the same in 15 min */
    EV_N_RULES,
};
extern const char *const ev_rule_names[EV_N_RULES];
extern const uint32_t
    ev_rule_published[EV_N_RULES]; /* level of the published rule; for ours a guess */

enum {
    EV_N_LEVELS = 48,
    EV_MAX_DAYS = 32,
};
extern const uint32_t ev_levels[EV_N_LEVELS];

struct ev_baselines;

struct ev_crossing { /* an attack's row took a key to this level for the first time */
    bool is_reached;
    int64_t time_us;
    uint32_t n_queries; /* of the attack so far, at all sites */
};

/* Per day of the run, keys whose highest number of that day reached a level. */
typedef uint32_t ev_alert_counts[EV_N_RULES][EV_MAX_DAYS][EV_N_LEVELS];

struct ev_baselines *ev_baselines_new(int64_t start_us);
void ev_baselines_free(struct ev_baselines *baselines);
/* n_attack_before: transactions of the attack that came before this row. */
void ev_baselines_observe(
    struct ev_baselines *baselines, const struct ev_row *row, uint32_t n_attack_before);
/* Closes the open days into the counts. */
void ev_baselines_finish(struct ev_baselines *baselines);
const ev_alert_counts *ev_baselines_alerts(const struct ev_baselines *baselines);
const struct ev_crossing *ev_baselines_crossings(
    const struct ev_baselines *baselines, enum ev_rule rule); /* EV_N_LEVELS of them */

#endif

/* One engine under test and what is to be known about its findings: which belong to the attack, which are false, and when. */
#ifndef TESTS_EVAL_JUDGE_H
#define TESTS_EVAL_JUDGE_H

#include <stdio.h>

#include "aggregator/detect/engine.h"
#include "aggregator/detect/finding.h"
#include "attack.h"
#include "traffic.h"
#include "world.h"

enum {
    EV_MAX_KEPT = 400, /* findings kept with their particulars */
    EV_MAX_RUN_DAYS = 32,
};

struct ev_alert { /* a finding when it first reached severity 2 */
    int64_t at_us;
    char detector[8], actor[64], title[120], zone[80], id[PK_FINDING_ID_SIZE];
    uint8_t severity;
    double score, max_score,
        threshold;     /* max_score: of the revision furthest above its threshold */
    double confidence; /* of that one */
    bool is_attack;
};

struct ev_judge {
    struct pk_engine *engine;
    const struct ev_world *world;
    struct pk_scope_tenant tenant; /* shares its arrays with the world's scope */
    int site;                      /* >= 0: sees this site alone */
    int64_t now_us, start_us;
    const struct ev_campaign *campaign; /* NULL: all findings are false */
    uint64_t *attack_names;             /* sorted hashes */
    size_t n_attack_names;
    struct pk_bytes ids; /* of findings that alerted: 32 characters each */
    struct ev_alert *alerts;
    uint32_t n_kept, n_matched, n_false, n_low, n_members;
    /* n_members: came as part of a campaign's finding */ /* n_low: findings that stayed below severity 2 */
    uint32_t by_day[EV_MAX_RUN_DAYS];
    bool *is_covered; /* sources of the campaign with a finding */
    /* first finding that belongs to the attack */
    bool is_detected;
    int64_t detected_us;
    uint32_t n_attack_seen, n_attack_at_detection;
    double cpu_s;
    uint64_t n_rows;
};

/* has_history: the engine may ask which names there are and were. */
bool ev_judge_init(struct ev_judge *judge, const struct ev_world *world, double budget, int site,
    bool has_history, int64_t start_us);
void ev_judge_done(struct ev_judge *judge);
/* From now on findings may belong to this campaign (borrowed). */
void ev_judge_campaign(struct ev_judge *judge, const struct ev_campaign *campaign);
/* Feeds rows in their order; those of other sites are left out. finish: no more rows. */
void ev_judge_finish(struct ev_judge *judge);
void ev_judge_feed(struct ev_judge *judge, const struct ev_rows *rows);
/* JSON objects: {"detected":...} of an attack run; {"alerts":[...]} of a benign one. */
void ev_judge_print_attack(const struct ev_judge *judge, const struct ev_world *world, FILE *out);
void ev_judge_print_benign(struct ev_judge *judge, FILE *out);

#endif

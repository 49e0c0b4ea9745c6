/* Judging findings: see judge.h.
 *
 * A finding belongs to the attack when its actor is one of the attack's sources (or a prefix or client that is one), or when most of its sample
 * names are questions of the attack; and, where it shows names, when one of them at least is. That keeps a finding on a busy
 * resolver's own customers from counting as the discovery of an attack inside it. */
#include "judge.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "aggregator/detect/finding.h"

static uint64_t hash_name(const uint8_t *wire, size_t len)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ wire[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static bool is_attack_name(const struct ev_judge *judge, const struct pk_name *name)
{
    struct pk_name lower = *name;
    pk_name_lower(&lower);
    uint64_t hash = hash_name(lower.wire, lower.len);
    return bsearch(&hash, judge->attack_names, judge->n_attack_names, sizeof hash, by_number);
}

static bool is_actor(const struct pk_finding *finding, const struct pk_addr *source, bool is_inside)
{
    struct pk_prefix prefix;
    if (is_inside) {
        uint8_t pseudonym[8];
        char hex[17];
        ev_pseudonym(source, pseudonym);
        for (unsigned i = 0; i < 8; i++) {
            (void)snprintf(hex + 2 * i, 3, "%02x", pseudonym[i]);
        }
        return strstr(finding->actor_key, hex) != NULL;
    }
    for (size_t i = 0; i < finding->n_addresses; i++) {
        if (pk_addr_equal(&finding->addresses[i], source)) {
            return true;
        }
    }
    return pk_prefix_parse(finding->actor_key, &prefix) && prefix.len >= 8 &&
           pk_prefix_contains(&prefix, source);
}

static bool belongs(struct ev_judge *judge, const struct pk_finding *finding)
{
    const struct ev_campaign *campaign = judge->campaign;
    if (!campaign || judge->now_us < campaign->start_us) {
        return false;
    }
    size_t n_samples = finding->n_samples + finding->n_learned, n_ours = 0;
    for (size_t i = 0; i < finding->n_samples; i++) {
        n_ours += is_attack_name(judge, &finding->samples[i]);
    }
    for (size_t i = 0; i < finding->n_learned; i++) {
        n_ours += is_attack_name(judge, &finding->learned[i]);
    }
    bool has_actor = false;
    for (uint32_t i = 0; i < campaign->n_sources; i++) {
        if (is_actor(finding, &campaign->sources[i], campaign->is_inside)) {
            has_actor = true;
            judge->is_covered[i] = judge->is_covered[i] || n_samples == 0 || n_ours > 0;
        }
    }
    return (has_actor && (n_samples == 0 || n_ours > 0)) || 2 * n_ours > n_samples;
}

static bool id_is_new(struct ev_judge *judge, const char *id)
{
    for (size_t at = 0; at < judge->ids.len; at += PK_FINDING_ID_SIZE - 1) {
        if (memcmp(judge->ids.data + at, id, PK_FINDING_ID_SIZE - 1) == 0) {
            return false;
        }
    }
    pk_bytes_put(&judge->ids, id, PK_FINDING_ID_SIZE - 1);
    return true;
}

static void keep(struct ev_judge *judge, const struct pk_finding *finding, bool is_attack)
{
    if (judge->n_kept == EV_MAX_KEPT) {
        return;
    }
    struct ev_alert *alert = &judge->alerts[judge->n_kept++];
    char zone[PK_NAME_TEXT_SIZE];
    *alert = (struct ev_alert){.at_us = judge->now_us,
        .severity = finding->severity,
        .score = finding->score_nats,
        .max_score = finding->score_nats,
        .is_attack = is_attack};
    (void)snprintf(alert->detector, sizeof alert->detector, "%s", finding->detector);
    (void)snprintf(alert->actor, sizeof alert->actor, "%s", finding->actor_key);
    (void)snprintf(alert->title, sizeof alert->title, "%.119s", finding->title);
    if (finding->n_zones) {
        (void)snprintf(
            alert->zone, sizeof alert->zone, "%.79s", pk_name_text(&finding->zones[0], zone));
    }
    (void)memcpy(alert->id, finding->id, sizeof alert->id);
    alert->threshold = finding->threshold_nats;
    alert->confidence = finding->confidence;
}

/* How far a finding that is kept went since. */
static void follow(struct ev_judge *judge, const struct pk_finding *finding)
{
    for (uint32_t i = judge->n_kept; i-- > 0;) {
        struct ev_alert *alert = &judge->alerts[i];
        if (strcmp(alert->id, finding->id) == 0) {
            double over = finding->score_nats - finding->threshold_nats;
            if (over > alert->max_score - alert->threshold) {
                alert->max_score = alert->threshold + over;
                alert->confidence = finding->confidence;
            }
            return;
        }
    }
}

static void on_finding(void *arg, const struct pk_finding *finding)
{
    struct ev_judge *judge = arg;
    judge->n_low += finding->severity < 2 && finding->revision == 1;
    if (finding->severity < 2 ||
        strcmp(finding->detector, "D14") == 0) { /* standing exposure apart */
        return;
    }
    bool is_attack = belongs(judge, finding);
    if (is_attack && !judge->is_detected) {
        judge->is_detected = true;
        judge->detected_us = judge->now_us;
        judge->n_attack_at_detection = judge->n_attack_seen;
    }
    if (!id_is_new(judge, finding->id)) {
        follow(judge, finding);
        return;
    }
    /* Told as part of another finding: no alert of its own. A campaign's finding names itself. */
    if (finding->campaign[0] && strcmp(finding->campaign, finding->id) != 0) {
        judge->n_members++;
        return;
    }
    judge->n_matched += is_attack;
    judge->n_false += !is_attack;
    uint32_t day = (uint32_t)((judge->now_us - judge->start_us) / INT64_C(86400000000));
    judge->by_day[day < EV_MAX_RUN_DAYS ? day : EV_MAX_RUN_DAYS - 1]++;
    keep(judge, finding, is_attack);
}

/* Passive DNS of two years: what is there was seen yesterday, what is gone within the last two years. */
static bool look_up(void *arg, const struct pk_name *name, struct pk_history_entry *out_entry)
{
    const struct ev_judge *judge = arg;
    const int64_t day_us = INT64_C(86400000000);
    bool is_there = ev_world_exists(judge->world, name);
    if (!is_there && !ev_world_was(judge->world, name)) {
        return false;
    }
    int64_t age = is_there ? 1 : 30 + (int64_t)(hash_name(name->wire, name->len) % 700);
    *out_entry = (struct pk_history_entry){.first_us = judge->start_us - 900 * day_us,
        .last_positive_us = judge->start_us - age * day_us,
        .n_sites = 3,
        .n_days = 40,
        .was_authoritative = true};
    return true;
}

bool ev_judge_init(struct ev_judge *judge, const struct ev_world *world, double budget, int site,
    bool has_history, int64_t start_us)
{
    *judge = (struct ev_judge){
        .tenant = world->scope->tenants[0], .site = site, .start_us = start_us, .world = world};
    judge->tenant.budget = budget;
    judge->alerts = calloc(EV_MAX_KEPT, sizeof *judge->alerts);
    pk_bytes_init(&judge->ids, 1 << 24);
    struct pk_engine_options options = {.tenant = &judge->tenant};
    if (has_history) {
        options.history = (struct pk_history_source){.arg = judge, .lookup = look_up};
    }
    return judge->alerts && !pk_engine_new(&options, on_finding, judge, &judge->engine);
}

void ev_judge_done(struct ev_judge *judge)
{
    pk_engine_free(judge->engine);
    pk_bytes_done(&judge->ids);
    free(judge->alerts);
    free(judge->attack_names);
    free(judge->is_covered);
    *judge = (struct ev_judge){0};
}

void ev_judge_campaign(struct ev_judge *judge, const struct ev_campaign *campaign)
{
    const struct ev_traffic *traffic = &campaign->traffic;
    judge->campaign = campaign;
    judge->attack_names = calloc(traffic->n + 1, sizeof *judge->attack_names);
    judge->is_covered = calloc(campaign->n_sources, sizeof *judge->is_covered);
    for (size_t i = 0; judge->attack_names && i < traffic->n; i++) {
        judge->attack_names[judge->n_attack_names++] =
            hash_name(traffic->names + traffic->events[i].name_pos, traffic->events[i].name_len);
    }
    if (judge->n_attack_names) {
        qsort(judge->attack_names, judge->n_attack_names, sizeof *judge->attack_names, by_number);
    }
}

static double cpu_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void ev_judge_feed(struct ev_judge *judge, const struct ev_rows *rows)
{
    char site[EV_N_SITES][8];
    for (unsigned i = 0; i < EV_N_SITES; i++) {
        (void)snprintf(site[i], sizeof site[i], "s%02u", i + 1);
    }
    double before = cpu_now();
    for (size_t i = 0; i < rows->n; i++) {
        const struct ev_row *row = &rows->rows[i];
        if (judge->site >= 0 && row->site != judge->site) {
            continue;
        }
        struct pk_engine_origin origin = {.site = site[row->site], .sensor = site[row->site]};
        judge->now_us = row->arrival_us;
        judge->n_attack_seen += row->n_attack;
        judge->n_rows++;
        if (pk_engine_observe(judge->engine, &origin, &row->activity)) {
            (void)fprintf(stderr, "eval: the engine is out of memory\n");
            exit(70);
        }
    }
    judge->cpu_s += cpu_now() - before;
}

void ev_judge_finish(struct ev_judge *judge)
{
    judge->now_us += INT64_C(600000000);
    if (pk_engine_flush(judge->engine)) {
        (void)fprintf(stderr, "eval: the engine is out of memory\n");
        exit(70);
    }
}

/* What the actor had sent and learned when the alert came out; all of it when none did. */
static void print_learned(const struct ev_judge *judge, const struct ev_world *world, FILE *out)
{
    const struct ev_campaign *campaign = judge->campaign;
    const struct ev_traffic *traffic = &campaign->traffic;
    uint64_t *learned = calloc(traffic->n + 1, sizeof *learned);
    size_t n_learned = 0, n_sent = 0, n_distinct = 0;
    for (size_t i = 0; learned && i < traffic->n; i++) {
        const struct ev_event *event = &traffic->events[i];
        if (judge->is_detected && event->time_us > judge->detected_us) {
            break;
        }
        n_sent++;
        struct pk_name name;
        if (event->answer == PK_ANSWER_DATA &&
            !pk_name_from_wire(traffic->names + event->name_pos, event->name_len, &name) &&
            ev_world_exists(world, &name)) {
            learned[n_learned++] = hash_name(name.wire, name.len);
        }
    }
    if (n_learned) {
        qsort(learned, n_learned, sizeof *learned, by_number);
    }
    for (size_t i = 0; i < n_learned; i++) {
        n_distinct += i == 0 || learned[i] != learned[i - 1];
    }
    free(learned);
    (void)fprintf(out, "\"sent\":%zu,\"learned\":%zu,\"existing\":%u", n_sent, n_distinct,
        campaign->n_existing);
}

void ev_judge_print_attack(const struct ev_judge *judge, const struct ev_world *world, FILE *out)
{
    uint32_t covered = 0;
    for (uint32_t i = 0; i < judge->campaign->n_sources; i++) {
        covered += judge->is_covered[i];
    }
    const struct ev_alert *first = NULL;
    for (uint32_t i = 0; i < judge->n_kept && !first; i++) {
        first = judge->alerts[i].is_attack ? &judge->alerts[i] : NULL;
    }
    (void)fprintf(out,
        "{\"budget\":%g,\"site\":%d,\"detected\":%s,\"queries\":%u,\"seconds\":%.3f,\"findings\":%u,\"other\":"
        "%u,\"members\":%u,\"low\":%u,\"covered\":%u,\"sources\":%u,\"detector\":\"%s\",\"severity\":%u,\"score\":%.2f,",
        judge->tenant.budget, judge->site, judge->is_detected ? "true" : "false",
        judge->n_attack_at_detection,
        judge->is_detected ? (double)(judge->detected_us - judge->campaign->start_us) * 1e-6 : 0.0,
        judge->n_matched, judge->n_false, judge->n_members, judge->n_low, covered,
        judge->campaign->n_sources, first ? first->detector : "", first ? first->severity : 0,
        first ? first->score : 0.0);
    print_learned(judge, world, out);
    (void)fprintf(out, ",\"alerts\":[");
    for (uint32_t i = 0; i < judge->n_kept; i++) {
        const struct ev_alert *alert = &judge->alerts[i];
        (void)fprintf(out,
            "%s{\"detector\":\"%s\",\"over\":%.2f,\"confidence\":%.3f,\"attack\":%s}", i ? "," : "",
            alert->detector, alert->max_score - alert->threshold, alert->confidence,
            alert->is_attack ? "true" : "false");
    }
    (void)fprintf(out, "]}");
}

static void print_text(const char *text, FILE *out)
{
    (void)fputc('"', out);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') {
            (void)fputc('\\', out);
        }
        (void)fputc((unsigned char)*text < 32 ? ' ' : *text, out);
    }
    (void)fputc('"', out);
}

void ev_judge_print_benign(struct ev_judge *judge, FILE *out)
{
    struct pk_engine_stats stats;
    struct pk_bytes state;
    pk_engine_stats(judge->engine, &stats);
    pk_bytes_init(&state, (size_t)1 << 32);
    pk_err err = pk_engine_save(judge->engine, &state);
    (void)fprintf(out,
        "{\"budget\":%g,\"rows\":%llu,\"trials\":%llu,\"cpu_s\":%.2f,\"actors\":%zu,\"contacts\":%zu,\"evicted_actors\":%llu,"
        "\"evicted_contacts\":%llu,\"state_bytes\":%zu,\"low\":%u,\"by_day\":[",
        judge->tenant.budget, (unsigned long long)judge->n_rows, (unsigned long long)stats.trials,
        judge->cpu_s, stats.actors, stats.contacts, (unsigned long long)stats.evicted_actors,
        (unsigned long long)stats.evicted_contacts, err ? 0 : state.len, judge->n_low);
    pk_bytes_done(&state);
    for (unsigned i = 0; i < EV_MAX_RUN_DAYS; i++) {
        (void)fprintf(out, "%s%u", i ? "," : "", judge->by_day[i]);
    }
    (void)fprintf(out, "],\"alerts\":[");
    for (uint32_t i = 0; i < judge->n_kept; i++) {
        const struct ev_alert *alert = &judge->alerts[i];
        (void)fprintf(out,
            "%s{\"hour\":%.2f,\"detector\":\"%s\",\"severity\":%u,\"score\":%.2f,\"threshold\":%.2f,\"over\":%.2f,\"confidence\":%.3f,\"actor\":",
            i ? "," : "", (double)(alert->at_us - judge->start_us) / 3.6e9, alert->detector,
            alert->severity, alert->score, alert->threshold, alert->max_score - alert->threshold,
            alert->confidence);
        print_text(alert->actor, out);
        (void)fprintf(out, ",\"title\":");
        print_text(alert->title, out);
        (void)fprintf(out, ",\"zone\":");
        print_text(alert->zone, out);
        (void)fprintf(out, "}");
    }
    (void)fprintf(out, "]}");
}

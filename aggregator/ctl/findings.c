/* picketctl findings, finding, suppress, unsuppress, suppressions. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

#include "picket/clock.h"

#include "command.h"

enum {
    PATH_SIZE = 512,
    MAX_DAYS = 3650
};

static long long number(const json_t *object, const char *key)
{
    return (long long)json_integer_value(json_object_get(object, key));
}

static void print_findings(const json_t *list)
{
    size_t index;
    json_t *finding;
    printf("%-3s %-4s %-12s %-20s %-18s %-34s %-32s %s\n", "SEV", "RULE", "STATE", "LAST SEEN",
        "SITES", "TECHNIQUE", "ID", "FINDING");
    json_array_foreach((json_t *)(uintptr_t)list, index, finding)
    {
        char sites[256], technique[128];
        bool is_suppressed = json_is_object(json_object_get(finding, "suppressed"));
        ctl_join(json_object_get(finding, "sites"), sites, sizeof sites);
        ctl_join(json_object_get(finding, "technique"), technique, sizeof technique);
        printf("%-3lld %-4s %-12s %-20.19s %-18s %-34s %-32s %s\n", number(finding, "severity"),
            ctl_text(finding, "detector"),
            is_suppressed ? "suppressed" : ctl_text(finding, "state"),
            ctl_text(finding, "last_seen"), sites, technique, ctl_text(finding, "id"),
            ctl_text(finding, "title"));
    }
    if (json_array_size(list) == 0) {
        puts("no findings");
    }
}

int ctl_findings(const struct arguments *arguments)
{
    return ctl_list(arguments, "/api/v1/findings", print_findings);
}

/* --- one finding --- */

static void print_texts(const char *label, const json_t *list)
{
    size_t index;
    json_t *item;
    if (json_array_size(list) == 0) {
        return;
    }
    printf("%s\n", label);
    json_array_foreach((json_t *)(uintptr_t)list, index, item)
    {
        printf("    %s\n", json_string_value(item) ? json_string_value(item) : "");
    }
}

static void print_evidence(const json_t *list)
{
    size_t index;
    json_t *row;
    if (json_array_size(list) > 0) {
        puts("evidence");
    }
    json_array_foreach((json_t *)(uintptr_t)list, index, row)
    {
        printf("    %-27s %-12s %-8s %-9s %s\n", ctl_text(row, "time"), ctl_text(row, "sensor"),
            ctl_text(row, "qtype"), ctl_text(row, "rcode"), ctl_text(row, "qname"));
    }
}

static void print_finding(const json_t *finding)
{
    char sites[256], technique[128], zones[512];
    size_t index;
    json_t *part;
    const json_t *actor = json_object_get(finding, "actor"),
                 *suppressed = json_object_get(finding, "suppressed");
    ctl_join(json_object_get(finding, "sites"), sites, sizeof sites);
    ctl_join(json_object_get(finding, "technique"), technique, sizeof technique);
    ctl_join(json_object_get(finding, "zones"), zones, sizeof zones);
    printf("%s\n\n", ctl_text(finding, "title"));
    printf("id          %s, revision %lld\n", ctl_text(finding, "id"), number(finding, "revision"));
    printf("state       %s", ctl_text(finding, "state"));
    if (*ctl_text(finding, "state_by")) {
        printf(" by %s since %.19sZ  %s", ctl_text(finding, "state_by"),
            ctl_text(finding, "state_since"), ctl_text(finding, "state_note"));
    }
    printf("\nseverity    %lld of 5, confidence %.2f\n", number(finding, "severity"),
        json_number_value(json_object_get(finding, "confidence")));
    if (*ctl_text(finding, "elsewhere")) {
        printf("elsewhere   suspected at %s other tenants too: one severity more\n",
            ctl_text(finding, "elsewhere"));
    }
    printf("rule        %s version %s  %s\n", ctl_text(finding, "detector"),
        ctl_text(finding, "version"), technique);
    printf("actor       %s %s\n", ctl_text(actor, "kind"), ctl_text(actor, "key"));
    printf("sites       %s\nzones       %s\n", sites, zones);
    printf("seen        %.19sZ to %.19sZ\n", ctl_text(finding, "first_seen"),
        ctl_text(finding, "last_seen"));
    printf("score       %.1f nats\n", json_number_value(json_object_get(finding, "score_nats")));
    json_array_foreach(json_object_get(finding, "contributions"), index, part)
    {
        printf("    %+7.1f  %s\n", json_number_value(json_object_get(part, "nats")),
            ctl_text(part, "name"));
    }
    if (json_is_object(suppressed)) {
        printf("suppressed  until %.19sZ by %s: %s\n", ctl_text(suppressed, "until"),
            ctl_text(suppressed, "by"), ctl_text(suppressed, "reason"));
    }
    print_texts("the actor learned", json_object_get(finding, "learned"));
    print_texts("names it asked for", json_object_get(finding, "sample_names"));
    print_evidence(json_object_get(finding, "evidence"));
}

static void print_one(const json_t *list)
{
    if (json_array_size(list) == 0) {
        fputs("picketctl: there is no such finding\n", stderr);
    } else {
        print_finding(json_array_get(list, 0));
    }
}

static void print_actions(const json_t *list)
{
    size_t index;
    json_t *action;
    if (json_array_size(list) > 0) {
        puts("what was done");
    }
    json_array_foreach((json_t *)(uintptr_t)list, index, action)
    {
        printf("    %.19sZ  %-12s %-12s at revision %lld  %s\n", ctl_text(action, "at"),
            ctl_text(action, "action"), ctl_text(action, "by"), number(action, "revision"),
            ctl_text(action, "note"));
    }
}

static int show(const struct arguments *arguments, const char *id)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "/api/v1/findings/%.64s", id);
    int status = ctl_list(arguments, path, print_one);
    if (status == EX_OK && !arguments->as_json) {
        snprintf(path, sizeof path, "/api/v1/findings/%.64s/actions", id);
        status = ctl_list(arguments, path, print_actions);
    }
    return status;
}

int ctl_finding(const struct arguments *arguments)
{
    static const struct {
        const char *word, *action;
    } words[] = {{"ack", "acknowledge"}, {"acknowledge", "acknowledge"}, {"close", "close"},
        {"reopen", "reopen"}, {"note", "note"}};
    const char *word = arguments->n_words > 1 ? arguments->words[1] : "",
               *id = arguments->n_words > 2 ? arguments->words[2] : NULL;
    if (!id) {
        return ctl_fail(EX_USAGE,
            "finding needs what and which: finding show|ack|close|reopen|note ID [--note TEXT]");
    }
    if (strcmp(word, "show") == 0) {
        return show(arguments, id);
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(word, words[i].word) != 0) {
            continue;
        }
        char path[PATH_SIZE], full[PATH_SIZE];
        struct pk_bytes body = {0};
        snprintf(path, sizeof path, "/api/v1/findings/%.64s", id);
        int status = ctl_path(arguments, path, full, sizeof full)
                         ? ctl_post(arguments, full,
                               json_pack("{s:s, s:s}", "action", words[i].action, "note",
                                   arguments->note ? arguments->note : ""),
                               &body)
                         : ctl_fail(EX_USAGE, "the arguments are too long");
        if (status == EX_OK) {
            printf("%s: %s\n", id, words[i].action);
        }
        pk_bytes_done(&body);
        return status;
    }
    return ctl_fail(EX_USAGE, "finding is followed by show, ack, close, reopen or note");
}

/* --- suppressions --- */

/* "30d", "12h" or a time into RFC 3339. */
static bool read_until(const char *text, char out[PK_TIME_TEXT_SIZE])
{
    char *end;
    int64_t us;
    long n = strtol(text, &end, 10);
    if (end != text && n > 0 && n <= MAX_DAYS * 24L && end[1] == '\0' &&
        (*end == 'd' || *end == 'h')) {
        us = pk_clock_wall_us() + (int64_t)n * (*end == 'd' ? 86400 : 3600) * PK_US_PER_S;
    } else if (!pk_time_parse(text, &us)) {
        return false;
    }
    pk_time_text(us, out);
    return true;
}

int ctl_suppress(const struct arguments *arguments)
{
    char until[PK_TIME_TEXT_SIZE], path[PATH_SIZE];
    struct pk_bytes body = {0};
    if (!arguments->reason || !arguments->until) {
        return ctl_fail(EX_USAGE,
            "suppress needs --reason TEXT and --until TIME (or 30d, 12h), and what: --detector, --actor or --zone");
    }
    if (!read_until(arguments->until, until)) {
        return ctl_fail(EX_USAGE, "--until must be a time like 2027-01-31, or 30d, or 12h");
    }
    if (!ctl_path(arguments, "/api/v1/suppressions", path, sizeof path)) {
        return ctl_fail(EX_USAGE, "the arguments are too long");
    }
    int status = ctl_post(arguments, path,
        json_pack("{s:s, s:s, s:s, s:s, s:s}", "detector",
            arguments->detector ? arguments->detector : "", "actor",
            arguments->actor ? arguments->actor : "", "zone",
            arguments->zone ? arguments->zone : "", "reason", arguments->reason, "until", until),
        &body);
    if (status == EX_OK) {
        json_t *root = json_loadb((const char *)body.data, body.len, 0, NULL);
        printf("suppression %lld until %.19sZ\n", number(root, "id"), until);
        json_decref(root);
    }
    pk_bytes_done(&body);
    return status;
}

int ctl_unsuppress(const struct arguments *arguments)
{
    char path[PATH_SIZE], full[PATH_SIZE];
    struct pk_bytes body = {0};
    if (arguments->n_words < 2) {
        return ctl_fail(EX_USAGE, "unsuppress needs the number that suppressions lists");
    }
    snprintf(path, sizeof path, "/api/v1/suppressions/end/%.16s", arguments->words[1]);
    if (!ctl_path(arguments, path, full, sizeof full)) {
        return ctl_fail(EX_USAGE, "the arguments are too long");
    }
    int status = ctl_request(arguments, "POST", full, "", 0, &body);
    if (status == EX_OK) {
        printf("suppression %s has ended\n", arguments->words[1]);
    }
    pk_bytes_done(&body);
    return status;
}

static void print_suppressions(const json_t *list)
{
    size_t index;
    json_t *row;
    printf("%-4s %-8s %-40s %-24s %-20s %-12s %s\n", "NO", "RULE", "ACTOR", "ZONE", "UNTIL", "BY",
        "REASON");
    json_array_foreach((json_t *)(uintptr_t)list, index, row)
    {
        const char *detector = ctl_text(row, "detector"), *actor = ctl_text(row, "actor"),
                   *zone = ctl_text(row, "zone");
        printf("%-4lld %-8s %-40s %-24s %-20.19s %-12s %s\n", number(row, "id"),
            *detector ? detector : "any", *actor ? actor : "any", *zone ? zone : "any",
            ctl_text(row, "until"), ctl_text(row, "by"), ctl_text(row, "reason"));
    }
}

int ctl_suppressions(const struct arguments *arguments)
{
    return ctl_list(arguments, "/api/v1/suppressions", print_suppressions);
}

/* picketctl: the operator's command line over picket-api. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include <jansson.h>

#include "picket/conf.h"
#include "picket/hash.h"
#include "picket/hide.h"
#include "picket/scope.h"

#include "command.h"

static const char usage[] =
    "picketctl - asks and tells picket-api\n"
    "\n"
    "  picketctl bootstrap                             first administrator's key, on the API's own host; prints it once\n"
    "  picketctl apply -f scope.yaml                   tenants, sites, zones, networks\n"
    "  picketctl enroll --site TENANT/SITE [--ttl 24h] [--uses N] [--from PREFIXES] [--approve] [--fleet [--stale-after 7d]] [--client-key FILE]\n"
    "                                                  a token for picket-sensor enroll; printed once\n"
    "  picketctl tokens [--json]                       those that are open\n"
    "  picketctl token close ID\n"
    "  picketctl sensor revoke|approve|move|limit NAME --tenant T [--to SITE] [--from PREFIXES]\n"
    "  picketctl sensor add --site TENANT/SITE --name NAME --pubkey KEY\n"
    "  picketctl key add --name NAME [--tenant TENANT] another API key; prints it once\n"
    "  picketctl findings [--tenant T] [--min-severity N] [--since TIME] [--all] [--json]    --all: closed and suppressed ones too\n"
    "  picketctl finding show|ack|close|reopen|note ID [--note TEXT]\n"
    "  picketctl suppress --reason TEXT --until TIME|30d [--detector D2] [--actor KEY] [--zone ZONE]\n"
    "  picketctl suppressions [--all] [--json]         what is expected, until when and why\n"
    "  picketctl unsuppress NUMBER\n"
    "  picketctl lookup NAME [--type TYPE] [--tenant T] [--json]      NAME may begin with *.\n"
    "  picketctl sensors [--tenant T] [--json]         what each saw, stored and lost\n"
    "  picketctl sensors --hours N [--tenant T] [--json]   the same by hour, the last N\n"
    "  picketctl alarms [--all] [--tenant T] [--json]  what is wrong with sensors; --all: what was\n"
    "  picketctl homes [--json]                        the aggregators, and which is each tenant's home\n"
    "  picketctl home move TENANT AGGREGATOR           moves it there and keeps it; auto lets it go where there is room\n"
    "  picketctl exposure [ZONE] [--tenant T] [--json] what a zone shows to everybody, from the history\n"
    "  picketctl canary list [--tenant T] [--json]        the scope's canaries, and who read them\n"
    "  picketctl canary make --zone ZONE [--n 5] [--channel axfr|ct|...] [--seed TEXT]    names for the scope file; sends nothing\n"
    "  picketctl resolve --client-key FILE [--day DAY] [--in PREFIXES] [--candidates FILE] [-f scope.yaml] PSEUDONYM...|-\n"
    "                                                  who it is, found where the key is; asks nobody\n"
    "\n"
    "  --server URL   where picket-api is (PICKET_SERVER, default http://127.0.0.1:8353)\n"
    "  --key KEY      API key (PICKET_API_KEY)\n";

enum {
    CLOCK_SHOWN_MS = 2000 /* a sensor's clock that is off by more is shown */
};

/* --- commands --- */

static int print_key(int status, struct pk_bytes *body)
{
    if (status == EX_OK) {
        json_t *root = json_loadb((const char *)body->data, body->len, 0, NULL);
        const char *key = json_string_value(json_object_get(root, "key"));
        puts(key ? key : "");
        json_decref(root);
    }
    pk_bytes_done(body);
    return status;
}

static int bootstrap(const struct arguments *arguments)
{
    struct pk_bytes body;
    int status = ctl_request(arguments, "POST", "/api/v1/bootstrap", NULL, 0, &body);
    return print_key(status, &body);
}

static int key_add(const struct arguments *arguments)
{
    struct pk_bytes body = {0};
    if (!arguments->name) {
        return ctl_fail(EX_USAGE, "key add needs --name");
    }
    json_t *object = json_object();
    (void)json_object_set_new(object, "name", json_string(arguments->name));
    if (arguments->tenant) {
        (void)json_object_set_new(object, "tenant", json_string(arguments->tenant));
    }
    int status = ctl_post(arguments, "/api/v1/keys", object, &body);
    return print_key(status, &body);
}

static int sensor_add(const struct arguments *arguments)
{
    struct pk_bytes body = {0};
    if (!arguments->site || !arguments->name || !arguments->pubkey) {
        return ctl_fail(EX_USAGE, "sensor add needs --site TENANT/SITE, --name and --pubkey");
    }
    json_t *object = json_object();
    (void)json_object_set_new(object, "site", json_string(arguments->site));
    (void)json_object_set_new(object, "name", json_string(arguments->name));
    (void)json_object_set_new(object, "pubkey", json_string(arguments->pubkey));
    int status = ctl_post(arguments, "/api/v1/sensors", object, &body);
    if (status == EX_OK) {
        printf("%s at %s is known\n", arguments->name, arguments->site);
    }
    pk_bytes_done(&body);
    return status;
}

static int read_whole(const char *path, struct pk_bytes *out)
{
    pk_err err = pk_bytes_read_file(out, path);
    if (err == PK_ERR_IO) {
        fprintf(stderr, "picketctl: %s: cannot be read: %s\n", path, strerror(errno));
        return EX_NOINPUT;
    }
    return err == PK_OK ? EX_OK : ctl_fail(EX_DATAERR, "the file is too large");
}

/* Checked here first, so that a mistake is reported with the file's own name and line even when the API is away. */
static int apply(const struct arguments *arguments)
{
    struct pk_bytes text, answer = {0};
    struct pk_scope *scope = NULL;
    char error[PK_CONF_ERROR_SIZE];
    if (!arguments->file) {
        return ctl_fail(EX_USAGE, "apply needs -f FILE");
    }
    pk_bytes_init(&text, PK_CONF_MAX_BYTES);
    int status = read_whole(arguments->file, &text);
    if (status == EX_OK && pk_scope_parse(arguments->file, text.data ? (const char *)text.data : "",
                               text.len, &scope, error) != PK_OK) {
        status = ctl_fail(EX_CONFIG, error);
    }
    if (status == EX_OK) {
        status = ctl_request(
            arguments, "POST", "/api/v1/scope", (const char *)text.data, text.len, &answer);
    }
    if (status == EX_OK) {
        json_t *root = json_loadb((const char *)answer.data, answer.len, 0, NULL);
        printf("scope version %lld: %zu tenant%s\n",
            (long long)json_integer_value(json_object_get(root, "version")), scope->n_tenants,
            scope->n_tenants == 1 ? "" : "s");
        json_decref(root);
    }
    pk_scope_free(scope);
    pk_bytes_done(&text);
    pk_bytes_done(&answer);
    return status;
}

/* A line for each cause of what was sealed and never delivered, and why the sums do not meet. */
static void print_losses(const json_t *row)
{
    const char *cause, *alarm = json_string_value(json_object_get(row, "alarm"));
    json_t *lost;
    json_object_foreach(json_object_get(row, "lost_by_cause"), cause, lost)
    {
        printf("    lost: cause=%s batches=%lld rows=%lld transactions=%lld\n", cause,
            (long long)json_integer_value(json_object_get(lost, "batches")),
            (long long)json_integer_value(json_object_get(lost, "rows")),
            (long long)json_integer_value(json_object_get(lost, "transactions")));
    }
    if (alarm) {
        printf("    alarm: %s\n", alarm);
    }
}

/* What waits at the sensor, how wrong its clock is, and which alarms are open: lines for what is not as it should be. */
static void print_now(const json_t *row)
{
    const json_t *now = json_object_get(row, "now");
    long long behind_s = (long long)json_integer_value(json_object_get(now, "behind_s"));
    long long waiting = (long long)json_integer_value(json_object_get(now, "waiting_batches"));
    long long offset_ms = (long long)json_integer_value(json_object_get(now, "clock_offset_ms"));
    size_t index;
    json_t *kind, *interface;
    json_array_foreach(json_object_get(row, "interfaces"), index, interface)
    {
        long long dropped =
            (long long)json_integer_value(json_object_get(interface, "kernel_dropped")) +
            (long long)json_integer_value(json_object_get(interface, "iface_dropped"));
        if (dropped > 0 || strcmp(ctl_text(interface, "state"), "open") != 0) {
            printf("    interface %s is %s: packets=%lld dropped=%lld lately\n",
                ctl_text(interface, "name"), ctl_text(interface, "state"),
                (long long)json_integer_value(json_object_get(interface, "packets")), dropped);
        }
    }
    if (waiting > 0) {
        printf("    behind by %lldd %02lld:%02lld:%02lld: batches=%lld bytes=%lld wait there\n",
            behind_s / 86400, behind_s / 3600 % 24, behind_s / 60 % 60, behind_s % 60, waiting,
            (long long)json_integer_value(json_object_get(now, "waiting_bytes")));
    }
    if (offset_ms > CLOCK_SHOWN_MS || offset_ms < -CLOCK_SHOWN_MS) {
        printf("    its clock is %.1f s %s\n", (double)llabs(offset_ms) / 1000,
            offset_ms > 0 ? "behind" : "ahead");
    }
    json_array_foreach(json_object_get(row, "alarms"), index, kind)
    {
        printf("    alarm open: %s (picketctl alarms)\n", json_string_value(kind));
    }
}

static void print_offences(const json_t *offences)
{
    const char *kind;
    json_t *n;
    if (json_integer_value(json_object_get(offences, "total")) == 0) {
        return;
    }
    printf("    broke the protocol:");
    json_object_foreach(json_object_get(offences, "by_kind"), kind, n)
    {
        printf(" %s=%lld", kind, (long long)json_integer_value(n));
    }
    printf(", cut off %lld times, last %.19s from %s\n",
        (long long)json_integer_value(json_object_get(offences, "cuts")),
        ctl_text(offences, "last"), ctl_text(offences, "address"));
}

/* Who they are and whether they have the scope that is meant for them. */
static void print_standing(const json_t *list)
{
    size_t index;
    json_t *row;
    printf("\n%-12s %-12s %-8s %7s %7s %-12s %s\n", "SITE", "SENSOR", "STATE", "SCOPE", "HAS",
        "STATUS", "REASON");
    json_array_foreach((json_t *)(uintptr_t)list, index, row)
    {
        const json_t *scope = json_object_get(row, "scope");
        const json_t *has = json_object_get(scope, "acknowledged");
        char text[24] = "-";
        if (json_is_integer(has)) {
            snprintf(text, sizeof text, "%lld", (long long)json_integer_value(has));
        }
        printf("%-12s %-12s %-8s %7lld %7s %-12s %s\n", ctl_text(row, "site"),
            ctl_text(row, "sensor"), ctl_text(row, "state"),
            (long long)json_integer_value(json_object_get(scope, "wanted")), text,
            ctl_text(scope, "status"), ctl_text(scope, "reason"));
        print_offences(json_object_get(row, "offences"));
    }
}

static void print_sensors(const json_t *list)
{
    size_t index;
    json_t *row;
    printf("%-12s %-12s %10s %12s %10s %10s %10s %8s %s\n", "SITE", "SENSOR", "MESSAGES",
        "TRANSACTIONS", "ACTIVITY", "NEGATIVE", "RRSETS", "LOST", "BALANCED");
    json_array_foreach((json_t *)(uintptr_t)list, index, row)
    {
        const json_t *counters = json_object_get(row, "counters");
        printf("%-12s %-12s %10lld %12lld %10lld %10lld %10lld %8lld %s\n",
            json_string_value(json_object_get(row, "site")),
            json_string_value(json_object_get(row, "sensor")),
            (long long)json_integer_value(json_object_get(counters, "messages")),
            (long long)json_integer_value(json_object_get(counters, "transactions")),
            (long long)json_integer_value(json_object_get(row, "stored_activity")),
            (long long)json_integer_value(json_object_get(row, "stored_negative")),
            (long long)json_integer_value(json_object_get(row, "stored_rrset")),
            (long long)json_integer_value(json_object_get(row, "lost")),
            json_is_true(json_object_get(row, "balanced")) ? "yes" : "NO");
        print_losses(row);
        print_now(row);
    }
    print_standing(list);
}

static void print_hours(const json_t *list)
{
    static const char *const columns[] = {"messages", "transactions", "merged", "delivered_rows",
        "stored_activity", "stored_negative", "stored_rrset", "lost_transactions"};
    size_t index;
    json_t *row;
    printf("%-12s %-17s %10s %12s %10s %10s %10s %10s %10s %8s\n", "SENSOR", "HOUR", "MESSAGES",
        "TRANSACTIONS", "MERGED", "DELIVERED", "ACTIVITY", "NEGATIVE", "RRSETS", "LOST");
    json_array_foreach((json_t *)(uintptr_t)list, index, row)
    {
        printf("%-12s %-17.16s", ctl_text(row, "sensor"), ctl_text(row, "hour"));
        for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
            printf(" %*lld",
                i == 1   ? 12
                : i == 7 ? 8
                         : 10,
                (long long)json_integer_value(json_object_get(row, columns[i])));
        }
        putchar('\n');
    }
}

static int sensors(const struct arguments *arguments)
{
    if (arguments->hours) {
        return ctl_list(arguments, "/api/v1/ledger", print_hours);
    }
    return ctl_list(arguments, "/api/v1/loss", print_sensors);
}

static void print_alarms(const json_t *list)
{
    size_t index;
    json_t *row;
    json_array_foreach((json_t *)(uintptr_t)list, index, row)
    {
        printf("%-12s %-10s %.19s %.19s %s\n", ctl_text(row, "sensor"), ctl_text(row, "kind"),
            ctl_text(row, "opened"), ctl_text(row, "closed"), ctl_text(row, "detail"));
    }
    if (json_array_size(list) == 0) {
        puts("no alarms");
    }
}

static int alarms(const struct arguments *arguments)
{
    return ctl_list(arguments, "/api/v1/alarms", print_alarms);
}

static void print_homes(const json_t *answer)
{
    size_t index;
    json_t *row;
    printf("%-24s %s\n", "AGGREGATOR", "ENDPOINT");
    json_array_foreach(json_object_get(answer, "aggregators"), index, row)
    {
        printf("%-24s %s\n", json_string_value(json_object_get(row, "name")),
            json_string_value(json_object_get(row, "endpoint")));
    }
    printf("\n%-20s %-24s %-24s %s\n", "TENANT", "HOME", "PINNED", "GENERATION");
    json_array_foreach(json_object_get(answer, "homes"), index, row)
    {
        const char *home = json_string_value(json_object_get(row, "home"));
        printf("%-20s %-24s %-24s %lld\n", json_string_value(json_object_get(row, "tenant")),
            home && *home ? home : "nobody", json_string_value(json_object_get(row, "pinned")),
            (long long)json_integer_value(json_object_get(row, "generation")));
    }
}

static int homes(const struct arguments *arguments)
{
    struct pk_bytes body;
    int status = ctl_request(arguments, "GET", "/api/v1/homes", NULL, 0, &body);
    json_t *root = status == EX_OK ? json_loadb((const char *)body.data, body.len, 0, NULL) : NULL;
    if (root && arguments->as_json) {
        (void)json_dumpf(root, stdout, JSON_COMPACT);
        putchar('\n');
    } else if (root) {
        print_homes(root);
    }
    json_decref(root);
    pk_bytes_done(&body);
    return status;
}

static int home_move(const struct arguments *arguments)
{
    struct pk_bytes body = {0};
    if (arguments->n_words != 4) {
        return ctl_fail(EX_USAGE, "home move needs TENANT and AGGREGATOR");
    }
    const char *to = arguments->words[3];
    json_t *object = json_object();
    (void)json_object_set_new(object, "tenant", json_string(arguments->words[2]));
    (void)json_object_set_new(object, "to", json_string(strcmp(to, "auto") == 0 ? "" : to));
    int status = ctl_post(arguments, "/api/v1/homes", object, &body);
    if (status == EX_OK) {
        printf("%s goes to %s\n", arguments->words[2], to);
    }
    pk_bytes_done(&body);
    return status;
}

static void print_rrset(const json_t *object)
{
    size_t index;
    json_t *rdata;
    json_array_foreach(json_object_get(object, "rdata"), index, rdata)
    {
        printf("%-40s %-8s %s\n", json_string_value(json_object_get(object, "rrname")),
            json_string_value(json_object_get(object, "rrtype")), json_string_value(rdata));
    }
}

static int lookup(const struct arguments *arguments)
{
    struct pk_bytes path, body;
    char separator = '?';
    size_t n = 0;
    if (arguments->n_words < 2) {
        return ctl_fail(EX_USAGE, "lookup needs a NAME");
    }
    pk_bytes_init(&path, 8192);
    ctl_put_text(&path, "/dnsdb/v2/lookup/rrset/name/");
    pk_client_escape(&path, arguments->words[1]);
    if (arguments->type) {
        ctl_put_text(&path, "/");
        pk_client_escape(&path, arguments->type);
    }
    ctl_put_query(&path, &separator, "tenant", arguments->tenant);
    int status = ctl_request(arguments, "GET", pk_bytes_text(&path), NULL, 0, &body);
    pk_bytes_done(&path);
    char *save = NULL;
    char *text = status == EX_OK ? (char *)(uintptr_t)pk_bytes_text(&body) : NULL;
    for (char *line = text ? strtok_r(text, "\n", &save) : NULL; line;
         line = strtok_r(NULL, "\n", &save)) {
        json_t *root = json_loads(line, 0, NULL);
        const json_t *object = json_object_get(root, "obj");
        if (object) {
            n++;
            if (arguments->as_json) {
                (void)json_dumpf(object, stdout, JSON_COMPACT);
                putchar('\n');
            } else {
                print_rrset(object);
            }
        }
        json_decref(root);
    }
    pk_bytes_done(&body);
    if (status == EX_OK && n == 0) {
        fputs("nothing in the history\n", stderr);
    }
    return status;
}

/* --- arguments --- */

enum {
    OPT_SERVER = 256,
    OPT_KEY,
    OPT_TENANT,
    OPT_SITE,
    OPT_NAME,
    OPT_PUBKEY,
    OPT_SEVERITY,
    OPT_SINCE,
    OPT_TYPE,
    OPT_NOTE,
    OPT_DETECTOR,
    OPT_ACTOR,
    OPT_ZONE,
    OPT_REASON,
    OPT_UNTIL,
    OPT_TTL,
    OPT_USES,
    OPT_FROM,
    OPT_CLIENT_KEY,
    OPT_TO,
    OPT_NUMBER,
    OPT_SEED,
    OPT_HOURS,
    OPT_STALE_AFTER,
    OPT_IN,
    OPT_CANDIDATES,
    OPT_DAY,
    OPT_DAYS,
    OPT_JSON,
    OPT_ALL,
    OPT_APPROVE,
    OPT_FLEET
};

/* -1: go on. */
static int read_arguments(int argc, char **argv, struct arguments *a)
{
    static const struct option options[] = {
        {"file", required_argument, NULL, 'f'},
        {"server", required_argument, NULL, OPT_SERVER},
        {"key", required_argument, NULL, OPT_KEY},
        {"tenant", required_argument, NULL, OPT_TENANT},
        {"site", required_argument, NULL, OPT_SITE},
        {"name", required_argument, NULL, OPT_NAME},
        {"pubkey", required_argument, NULL, OPT_PUBKEY},
        {"min-severity", required_argument, NULL, OPT_SEVERITY},
        {"since", required_argument, NULL, OPT_SINCE},
        {"type", required_argument, NULL, OPT_TYPE},
        {"note", required_argument, NULL, OPT_NOTE},
        {"detector", required_argument, NULL, OPT_DETECTOR},
        {"actor", required_argument, NULL, OPT_ACTOR},
        {"zone", required_argument, NULL, OPT_ZONE},
        {"reason", required_argument, NULL, OPT_REASON},
        {"until", required_argument, NULL, OPT_UNTIL},
        {"ttl", required_argument, NULL, OPT_TTL},
        {"uses", required_argument, NULL, OPT_USES},
        {"from", required_argument, NULL, OPT_FROM},
        {"client-key", required_argument, NULL, OPT_CLIENT_KEY},
        {"to", required_argument, NULL, OPT_TO},
        {"hours", required_argument, NULL, OPT_HOURS},
        {"stale-after", required_argument, NULL, OPT_STALE_AFTER},
        {"in", required_argument, NULL, OPT_IN},
        {"candidates", required_argument, NULL, OPT_CANDIDATES},
        {"day", required_argument, NULL, OPT_DAY},
        {"pseudonym-days", required_argument, NULL, OPT_DAYS},
        {"approve", no_argument, NULL, OPT_APPROVE},
        {"fleet", no_argument, NULL, OPT_FLEET},
        {"n", required_argument, NULL, OPT_NUMBER},
        {"seed", required_argument, NULL, OPT_SEED},
        {"channel", required_argument, NULL, OPT_NAME},
        {"json", no_argument, NULL, OPT_JSON},
        {"all", no_argument, NULL, OPT_ALL},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    const char **texts[] = {&a->client.server, &a->client.key, &a->tenant, &a->site, &a->name,
        &a->pubkey, &a->severity, &a->since, &a->type, &a->note, &a->detector, &a->actor, &a->zone,
        &a->reason, &a->until, &a->ttl, &a->uses, &a->from, &a->client_key, &a->to, &a->number,
        &a->seed, &a->hours, &a->stale_after, &a->in, &a->candidates, &a->day, &a->days};
    int option;
    while ((option = getopt_long(argc, argv, "f:hV", options, NULL)) != -1) {
        if (option >= OPT_SERVER && option < OPT_JSON) {
            *texts[option - OPT_SERVER] = optarg;
        } else if (option == OPT_JSON) {
            a->as_json = true;
        } else if (option == OPT_APPROVE) {
            a->approve = true;
        } else if (option == OPT_FLEET) {
            a->fleet = true;
        } else if (option == OPT_ALL) {
            a->wants_all = true;
        } else if (option == 'f') {
            a->file = optarg;
        } else if (option == 'h') {
            fputs(usage, stdout);
            return EX_OK;
        } else if (option == 'V') {
            puts("picketctl " PICKET_VERSION);
            return EX_OK;
        } else {
            return EX_USAGE;
        }
    }
    for (; optind < argc && a->n_words < PK_CTL_MAX_WORDS; optind++) {
        a->words[a->n_words++] = argv[optind];
    }
    if (a->n_words == 0) {
        fputs(usage, stderr);
        return EX_USAGE;
    }
    return -1;
}

int main(int argc, char **argv)
{
    const char *server = getenv("PICKET_SERVER");
    struct arguments arguments = {.client = {.server = server ? server : "http://127.0.0.1:8353",
                                      .key = getenv("PICKET_API_KEY")}};
    static const struct {
        const char *first, *second;
        int (*run)(const struct arguments *arguments);
    } commands[] = {
        {"bootstrap", NULL, bootstrap},
        {"apply", NULL, apply},
        {"enroll", NULL, ctl_enroll},
        {"tokens", NULL, ctl_tokens},
        {"token", "close", ctl_token_close},
        {"sensor", "add", sensor_add},
        {"sensor", "revoke", ctl_sensor_change},
        {"sensor", "approve", ctl_sensor_change},
        {"sensor", "move", ctl_sensor_change},
        {"sensor", "limit", ctl_sensor_change},
        {"key", "add", key_add},
        {"findings", NULL, ctl_findings},
        {"finding", NULL, ctl_finding},
        {"suppress", NULL, ctl_suppress},
        {"unsuppress", NULL, ctl_unsuppress},
        {"suppressions", NULL, ctl_suppressions},
        {"lookup", NULL, lookup},
        {"sensors", NULL, sensors},
        {"alarms", NULL, alarms},
        {"homes", NULL, homes},
        {"home", "move", home_move},
        {"exposure", NULL, ctl_exposure},
        {"canary", "list", ctl_canary_list},
        {"canary", "make", ctl_canary_make},
        {"resolve", NULL, ctl_resolve},
    };
    pk_hide_memory();
    if (pk_hash_start() != PK_OK) {
        return ctl_fail(EX_OSERR, "the system gives no random numbers");
    }
    int status = read_arguments(argc, argv, &arguments);
    if (status >= 0) {
        return status;
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        bool has_second =
            !commands[i].second ||
            (arguments.n_words > 1 && strcmp(arguments.words[1], commands[i].second) == 0);
        if (strcmp(arguments.words[0], commands[i].first) == 0 && has_second) {
            return commands[i].run(&arguments);
        }
    }
    fprintf(
        stderr, "picketctl: command \"%s\" is unknown; --help lists them\n", arguments.words[0]);
    return EX_USAGE;
}

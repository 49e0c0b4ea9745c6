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
#include "picket/scope.h"

#include "client.h"

enum {
    MAX_ANSWER = 256 << 20
};

static const char usage[] =
    "picketctl - asks and tells picket-api\n"
    "\n"
    "  picketctl bootstrap                             first administrator's key, on the API's own host; prints it once\n"
    "  picketctl apply -f scope.yaml                   tenants, sites, zones, networks\n"
    "  picketctl sensor add --site TENANT/SITE --name NAME --pubkey KEY\n"
    "  picketctl key add --name NAME [--tenant TENANT] another API key; prints it once\n"
    "  picketctl findings [--tenant T] [--min-severity N] [--since TIME] [--json]\n"
    "  picketctl lookup NAME [--type TYPE] [--tenant T] [--json]      NAME may begin with *.\n"
    "  picketctl sensors [--tenant T] [--json]         what each saw, stored and lost\n"
    "\n"
    "  --server URL   where picket-api is (PICKET_SERVER, default http://127.0.0.1:8353)\n"
    "  --key KEY      API key (PICKET_API_KEY)\n";

struct arguments {
    struct pk_api_client client;
    const char *file, *tenant, *site, *name, *pubkey, *severity, *since, *type;
    bool as_json;
    const char *words[4];
    int n_words;
};

static int fail(int status, const char *text)
{
    fprintf(stderr, "picketctl: %s\n", text);
    return status;
}

/* The API's own sentence, when there is one. */
static int fail_status(long status, struct pk_bytes *body)
{
    json_t *root = json_loadb(body->data ? (const char *)body->data : "", body->len, 0, NULL);
    const char *why = json_string_value(json_object_get(root, "error"));
    fprintf(stderr, "picketctl: %s (HTTP %ld)\n", why ? why : "the API refused", status);
    json_decref(root);
    return status == 401 || status == 403 ? EX_NOPERM : status >= 500 ? EX_UNAVAILABLE : EX_DATAERR;
}

/* Sends and checks; on EX_OK the answer is in out_body, which the caller frees in any case. */
static int request(const struct arguments *arguments, const char *method, const char *path,
    const char *body, size_t body_len, struct pk_bytes *out_body)
{
    char error[PK_CLIENT_ERROR_SIZE];
    long status = 0;
    pk_bytes_init(out_body, MAX_ANSWER);
    if (pk_client_request(
            &arguments->client, method, path, body, body_len, &status, out_body, error) != PK_OK) {
        return fail(EX_UNAVAILABLE, error);
    }
    return status >= 200 && status < 300 ? EX_OK : fail_status(status, out_body);
}

static void put_text(struct pk_bytes *out, const char *text)
{
    pk_bytes_put(out, text, strlen(text));
}

static void put_query(struct pk_bytes *path, char *separator, const char *name, const char *value)
{
    if (value) {
        pk_bytes_put_u8(path, (uint8_t)*separator);
        put_text(path, name);
        pk_bytes_put_u8(path, '=');
        pk_client_escape(path, value);
        *separator = '&';
    }
}

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
    int status = request(arguments, "POST", "/api/v1/bootstrap", NULL, 0, &body);
    return print_key(status, &body);
}

static int post_object(
    const struct arguments *arguments, const char *path, json_t *object, struct pk_bytes *out_body)
{
    char *text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    int status = text ? request(arguments, "POST", path, text, strlen(text), out_body)
                      : fail(EX_OSERR, "out of memory");
    free(text);
    return status;
}

static int key_add(const struct arguments *arguments)
{
    struct pk_bytes body = {0};
    if (!arguments->name) {
        return fail(EX_USAGE, "key add needs --name");
    }
    json_t *object = json_object();
    (void)json_object_set_new(object, "name", json_string(arguments->name));
    if (arguments->tenant) {
        (void)json_object_set_new(object, "tenant", json_string(arguments->tenant));
    }
    int status = post_object(arguments, "/api/v1/keys", object, &body);
    return print_key(status, &body);
}

static int sensor_add(const struct arguments *arguments)
{
    struct pk_bytes body = {0};
    if (!arguments->site || !arguments->name || !arguments->pubkey) {
        return fail(EX_USAGE, "sensor add needs --site TENANT/SITE, --name and --pubkey");
    }
    json_t *object = json_object();
    (void)json_object_set_new(object, "site", json_string(arguments->site));
    (void)json_object_set_new(object, "name", json_string(arguments->name));
    (void)json_object_set_new(object, "pubkey", json_string(arguments->pubkey));
    int status = post_object(arguments, "/api/v1/sensors", object, &body);
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
    return err == PK_OK ? EX_OK : fail(EX_DATAERR, "the file is too large");
}

/* Checked here first, so that a mistake is reported with the file's own name and line even when the API is away. */
static int apply(const struct arguments *arguments)
{
    struct pk_bytes text, answer = {0};
    struct pk_scope *scope = NULL;
    char error[PK_CONF_ERROR_SIZE];
    if (!arguments->file) {
        return fail(EX_USAGE, "apply needs -f FILE");
    }
    pk_bytes_init(&text, PK_CONF_MAX_BYTES);
    int status = read_whole(arguments->file, &text);
    if (status == EX_OK && pk_scope_parse(arguments->file, text.data ? (const char *)text.data : "",
                               text.len, &scope, error) != PK_OK) {
        status = fail(EX_CONFIG, error);
    }
    if (status == EX_OK) {
        status =
            request(arguments, "POST", "/api/v1/scope", (const char *)text.data, text.len, &answer);
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

static void join(const json_t *list, char *out, size_t size)
{
    size_t index, len = 0;
    const json_t *item;
    out[0] = '\0';
    json_array_foreach((json_t *)(uintptr_t)list, index, item)
    {
        int n = snprintf(out + len, size - len, "%s%s", index ? "," : "",
            json_string_value(item) ? json_string_value(item) : "");
        len += n > 0 && (size_t)n < size - len ? (size_t)n : 0;
    }
}

static void print_findings(const json_t *list)
{
    size_t index;
    json_t *finding;
    printf("%-3s %-4s %-20s %-18s %-34s %s\n", "SEV", "RULE", "LAST SEEN", "SITES", "TECHNIQUE",
        "FINDING");
    json_array_foreach((json_t *)(uintptr_t)list, index, finding)
    {
        char sites[256], technique[128];
        const char *seen = json_string_value(json_object_get(finding, "last_seen"));
        join(json_object_get(finding, "sites"), sites, sizeof sites);
        join(json_object_get(finding, "technique"), technique, sizeof technique);
        printf("%-3lld %-4s %-20.19s %-18s %-34s %s\n",
            (long long)json_integer_value(json_object_get(finding, "severity")),
            json_string_value(json_object_get(finding, "detector")), seen ? seen : "", sites,
            technique, json_string_value(json_object_get(finding, "title")));
    }
    if (json_array_size(list) == 0) {
        puts("no findings");
    }
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
    }
}

/* A GET whose answer is a JSON list: as it is, or by print. */
static int list(
    const struct arguments *arguments, const char *path, void (*print)(const json_t *list))
{
    struct pk_bytes full, body;
    char separator = '?';
    pk_bytes_init(&full, 8192);
    put_text(&full, path);
    put_query(&full, &separator, "tenant", arguments->tenant);
    put_query(&full, &separator, "min_severity", arguments->severity);
    put_query(&full, &separator, "since", arguments->since);
    const char *text = pk_bytes_text(&full);
    int status = text ? request(arguments, "GET", text, NULL, 0, &body)
                      : fail(EX_USAGE, "the arguments are too long");
    pk_bytes_done(&full);
    if (status != EX_OK) {
        if (text) {
            pk_bytes_done(&body);
        }
        return status;
    }
    json_t *root = json_loadb((const char *)body.data, body.len, 0, NULL);
    if (!json_is_array(root)) {
        status = fail(EX_PROTOCOL, "the answer is not a list");
    } else if (arguments->as_json) {
        size_t index;
        json_t *item;
        json_array_foreach(root, index, item)
        {
            (void)json_dumpf(item, stdout, JSON_COMPACT);
            putchar('\n');
        }
    } else {
        print(root);
    }
    json_decref(root);
    pk_bytes_done(&body);
    return status;
}

static int findings(const struct arguments *arguments)
{
    return list(arguments, "/api/v1/findings", print_findings);
}

static int sensors(const struct arguments *arguments)
{
    return list(arguments, "/api/v1/loss", print_sensors);
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
        return fail(EX_USAGE, "lookup needs a NAME");
    }
    pk_bytes_init(&path, 8192);
    put_text(&path, "/dnsdb/v2/lookup/rrset/name/");
    pk_client_escape(&path, arguments->words[1]);
    if (arguments->type) {
        put_text(&path, "/");
        pk_client_escape(&path, arguments->type);
    }
    put_query(&path, &separator, "tenant", arguments->tenant);
    int status = request(arguments, "GET", pk_bytes_text(&path), NULL, 0, &body);
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
    OPT_JSON
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
        {"json", no_argument, NULL, OPT_JSON},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    const char **texts[] = {&a->client.server, &a->client.key, &a->tenant, &a->site, &a->name,
        &a->pubkey, &a->severity, &a->since, &a->type};
    int option;
    while ((option = getopt_long(argc, argv, "f:hV", options, NULL)) != -1) {
        if (option >= OPT_SERVER && option < OPT_JSON) {
            *texts[option - OPT_SERVER] = optarg;
        } else if (option == OPT_JSON) {
            a->as_json = true;
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
    for (; optind < argc && a->n_words < 4; optind++) {
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
        {"sensor", "add", sensor_add},
        {"key", "add", key_add},
        {"findings", NULL, findings},
        {"lookup", NULL, lookup},
        {"sensors", NULL, sensors},
    };
    if (pk_hash_start() != PK_OK) {
        return fail(EX_OSERR, "the system gives no random numbers");
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

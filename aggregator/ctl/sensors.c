/* picketctl enroll, and picketctl sensor revoke, approve, move, limit.
 *
 * A token is made here, on the tenant's side: the API gets a digest of its secret, and the tenant's client key, which the token carries to the sensor, never leaves this machine otherwise. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

#include <sodium.h>

#include "picket/enrol.h"
#include "picket/key.h"

#include "command.h"

enum {
    DAY_S = 86400
};

/* "24h", "7d", "30m", "90" (seconds); 0 when it is none. */
static long read_seconds(const char *text)
{
    char *end;
    long v = strtol(text, &end, 10);
    long unit = strcmp(end, "") == 0 || strcmp(end, "s") == 0 ? 1
                : strcmp(end, "m") == 0                       ? 60
                : strcmp(end, "h") == 0                       ? 3600
                : strcmp(end, "d") == 0                       ? DAY_S
                                                              : 0;
    return v < 0 || v > 366L * DAY_S ? 0 : v * unit;
}

static int load_client_key(const struct arguments *arguments, struct pk_token *token)
{
    char error[PK_KEY_ERROR_SIZE];
    if (!arguments->client_key) {
        return EX_OK;
    }
    pk_err err = pk_client_key_load(arguments->client_key, token->client_key, error);
    if (err != PK_OK) {
        return ctl_fail(pk_key_status(err), error);
    }
    token->has_client_key = true;
    return EX_OK;
}

static json_t *describe(const struct arguments *arguments, const struct pk_token *token, long ttl_s)
{
    uint8_t digest[32];
    char id[2 * PK_TOKEN_ID_BYTES + 1], hash[2 * sizeof digest + 1];
    pk_token_digest(token->secret, digest);
    sodium_bin2hex(id, sizeof id, token->id, sizeof token->id);
    sodium_bin2hex(hash, sizeof hash, digest, sizeof digest);
    json_t *object = json_object();
    (void)json_object_set_new(object, "site", json_string(arguments->site));
    (void)json_object_set_new(object, "ttl_s", json_integer(ttl_s));
    (void)json_object_set_new(
        object, "uses", json_integer(arguments->uses ? strtol(arguments->uses, NULL, 10) : 1));
    (void)json_object_set_new(object, "from", json_string(arguments->from ? arguments->from : ""));
    (void)json_object_set_new(object, "approve", json_boolean(arguments->approve));
    (void)json_object_set_new(object, "fleet", json_boolean(arguments->fleet));
    (void)json_object_set_new(object, "stale_after_s",
        json_integer(arguments->stale_after ? read_seconds(arguments->stale_after) : 0));
    (void)json_object_set_new(object, "id", json_string(id));
    (void)json_object_set_new(object, "secret_hash", json_string(hash));
    return object;
}

static int print_token(struct pk_token *token, const struct pk_bytes *answer)
{
    char text[PK_TOKEN_TEXT_SIZE];
    json_t *root = json_loadb((const char *)answer->data, answer->len, 0, NULL);
    bool is_good = pk_key_parse(ctl_text(root, "server_key"), token->server_pubkey);
    snprintf(token->endpoint, sizeof token->endpoint, "%s", ctl_text(root, "enrol_endpoint"));
    json_decref(root);
    if (!is_good || pk_token_encode(token, text) != PK_OK) {
        return ctl_fail(EX_PROTOCOL, "the API's answer cannot be used");
    }
    puts(text);
    sodium_memzero(text, sizeof text);
    return EX_OK;
}

int ctl_enroll(const struct arguments *arguments)
{
    struct pk_token token = {.endpoint = ""};
    struct pk_bytes answer = {0};
    long ttl_s = read_seconds(arguments->ttl ? arguments->ttl : "24h");
    if (!arguments->site) {
        return ctl_fail(EX_USAGE, "enroll needs --site TENANT/SITE");
    }
    if (ttl_s == 0) {
        return ctl_fail(EX_USAGE, "--ttl is a time like 24h or 7d, a year at most");
    }
    if (arguments->stale_after &&
        (!arguments->fleet || read_seconds(arguments->stale_after) == 0)) {
        return ctl_fail(EX_USAGE, "--stale-after is a time like 7d, and goes with --fleet");
    }
    if (sodium_init() < 0) {
        return ctl_fail(EX_OSERR, "the system gives no random numbers");
    }
    randombytes_buf(token.id, sizeof token.id);
    randombytes_buf(token.secret, sizeof token.secret);
    int status = load_client_key(arguments, &token);
    if (status == EX_OK) {
        status = ctl_post(arguments, "/api/v1/enrol", describe(arguments, &token, ttl_s), &answer);
    }
    if (status == EX_OK) {
        status = print_token(&token, &answer);
    }
    sodium_memzero(&token, sizeof token);
    pk_bytes_done(&answer);
    return status;
}

static void print_tokens(const json_t *list)
{
    size_t index;
    json_t *token;
    printf("%-32s %-20s %9s %9s %-8s %-5s %11s %s\n", "ID", "SITE", "USES LEFT", "FAILURES",
        "APPROVE", "FLEET", "STALE AFTER", "OPEN UNTIL");
    json_array_foreach((json_t *)(uintptr_t)list, index, token)
    {
        char until[32] = "";
        time_t at = (time_t)json_integer_value(json_object_get(token, "until"));
        struct tm utc;
        if (gmtime_r(&at, &utc)) {
            (void)strftime(until, sizeof until, "%Y-%m-%dT%H:%M:%SZ", &utc);
        }
        long long stale_s = (long long)json_integer_value(json_object_get(token, "stale_after"));
        char stale[24] = "-";
        if (stale_s > 0) {
            snprintf(stale, sizeof stale, stale_s < 7200 ? "%lldm" : "%lldh",
                stale_s < 7200 ? stale_s / 60 : stale_s / 3600);
        }
        printf("%-32s %-20s %9lld %9lld %-8s %-5s %11s %s\n", ctl_text(token, "id"),
            ctl_text(token, "site"),
            (long long)json_integer_value(json_object_get(token, "uses_left")),
            (long long)json_integer_value(json_object_get(token, "failures")),
            json_is_true(json_object_get(token, "approve")) ? "yes" : "no",
            json_is_true(json_object_get(token, "fleet")) ? "yes" : "no", stale, until);
    }
    if (json_array_size(list) == 0) {
        puts("no token is open");
    }
}

int ctl_tokens(const struct arguments *arguments)
{
    return ctl_list(arguments, "/api/v1/enrol", print_tokens);
}

int ctl_token_close(const struct arguments *arguments)
{
    struct pk_bytes answer = {0};
    if (arguments->n_words != 3) {
        return ctl_fail(EX_USAGE, "token close ID; picketctl tokens lists them");
    }
    json_t *object = json_object();
    (void)json_object_set_new(object, "id", json_string(arguments->words[2]));
    int status = ctl_post(arguments, "/api/v1/enrol/close", object, &answer);
    pk_bytes_done(&answer);
    return status;
}

int ctl_sensor_change(const struct arguments *arguments)
{
    struct pk_bytes answer = {0};
    const char *change = arguments->words[1];
    bool needs_to = strcmp(change, "move") == 0;
    if (arguments->n_words != 3 || !arguments->tenant || (needs_to && !arguments->to)) {
        return ctl_fail(EX_USAGE,
            "sensor revoke|approve|move|limit NAME --tenant TENANT [--to SITE] [--from PREFIXES]");
    }
    json_t *object = json_object();
    (void)json_object_set_new(object, "tenant", json_string(arguments->tenant));
    (void)json_object_set_new(object, "name", json_string(arguments->words[2]));
    (void)json_object_set_new(object, "change", json_string(change));
    const char *to = needs_to ? arguments->to : arguments->from;
    (void)json_object_set_new(object, "to", json_string(to ? to : ""));
    int status = ctl_post(arguments, "/api/v1/sensors/change", object, &answer);
    pk_bytes_done(&answer);
    return status;
}

/* Tokens, and what an administrator says about one sensor. */
#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "picket/clock.h"

#include "handler.h"

enum {
    MAX_TTL_S = 366 * 86400,
    MAX_USES = 100000,
    MIN_STALE_S = 600, /* as long as an aggregator waits after its start */
    MAX_PREFIXES = 16
};

/* "tenant/site" into its halves; false when it is not that. */
static bool split_place(const char *place, char out_tenant[65], const char **out_rest)
{
    const char *slash = strchr(place, '/');
    if (!slash || slash == place || slash - place > 64 || slash[1] == '\0') {
        return false;
    }
    snprintf(out_tenant, 65, "%.*s", (int)(slash - place), place);
    *out_rest = slash + 1;
    return true;
}

static bool read_hex(const char *text, uint8_t *out, size_t size)
{
    size_t len = 0;
    return sodium_hex2bin(out, size, text, strlen(text), NULL, &len, NULL) == 0 && len == size;
}

static bool read_prefixes(const char *text, size_t max)
{
    struct pk_prefix prefixes[MAX_PREFIXES];
    size_t n;
    return pk_store_parse_prefixes(text, prefixes, max, &n);
}

static void reply_where(struct context *c)
{
    struct pk_store_aggregator where;
    char key[PK_KEY_TEXT_SIZE];
    pk_err err = pk_store_find_aggregator(c->routes->control, &where);
    if (err != PK_OK) {
        refuse_store(c, c->routes->control, err);
        return;
    }
    json_t *object = json_object();
    (void)json_object_set_new(object, "server_key", json_string(pk_key_text(where.pubkey, key)));
    (void)json_object_set_new(object, "enrol_endpoint", json_string(where.enrol_endpoint));
    reply_json(c->response, CREATED, object);
}

void handle_add_token(struct context *c)
{
    json_t *body = json_loadb(c->request->body, c->request->body_len, JSON_REJECT_DUPLICATES, NULL);
    char tenant[65];
    json_int_t ttl_s = json_integer_value(json_object_get(body, "ttl_s")),
               uses = json_integer_value(json_object_get(body, "uses")),
               stale_s = json_integer_value(json_object_get(body, "stale_after_s"));
    struct pk_store_token token = {.tenant = tenant,
        .n_uses = (uint32_t)uses,
        .until_us = pk_clock_wall_us() + ttl_s * PK_US_PER_S,
        .allowed_from = text_of(body, "from"),
        .stale_after_s = (uint32_t)stale_s,
        .needs_approval = json_is_true(json_object_get(body, "approve")),
        .is_fleet = json_is_true(json_object_get(body, "fleet"))};
    if (!split_place(text_of(body, "site"), tenant, &token.site)) {
        refuse(c->response, BAD_REQUEST, "site must be TENANT/SITE");
    } else if (ttl_s < 1 || ttl_s > MAX_TTL_S || uses < 1 || uses > MAX_USES) {
        refuse(c->response, BAD_REQUEST,
            "a token is open for a second to a year, and for 1 to 100000 sensors");
    } else if (stale_s != 0 && (!token.is_fleet || stale_s < MIN_STALE_S || stale_s > MAX_TTL_S)) {
        refuse(
            c->response, BAD_REQUEST, "stale_after_s is for fleet tokens: ten minutes to a year");
    } else if (!read_prefixes(token.allowed_from, MAX_PREFIXES)) {
        refuse(c->response, BAD_REQUEST, "from must be at most 16 prefixes with commas between");
    } else if (!read_hex(text_of(body, "id"), token.id, sizeof token.id) ||
               !read_hex(
                   text_of(body, "secret_hash"), token.secret_hash, sizeof token.secret_hash)) {
        refuse(c->response, BAD_REQUEST,
            "id and secret_hash must be 16 and 32 bytes in hex; picketctl makes them");
    } else {
        pk_err err = pk_store_add_token(c->routes->control, &token);
        if (err != PK_OK) {
            refuse_store(c, c->routes->control, err);
        } else {
            reply_where(c);
        }
    }
    json_decref(body);
}

static bool on_token(void *arg, const struct pk_store_token_row *token)
{
    char id[2 * PK_TOKEN_ID_BYTES + 1], site[132];
    sodium_bin2hex(id, sizeof id, token->id, sizeof token->id);
    snprintf(site, sizeof site, "%s/%s", token->tenant, token->site);
    json_t *object = json_object();
    (void)json_object_set_new(object, "id", json_string(id));
    (void)json_object_set_new(object, "site", json_string(site));
    (void)json_object_set_new(object, "uses_left", json_integer(token->uses_left));
    (void)json_object_set_new(object, "failures", json_integer(token->failures));
    (void)json_object_set_new(object, "until", json_integer(token->until_us / PK_US_PER_S));
    (void)json_object_set_new(object, "approve", json_boolean(token->needs_approval));
    (void)json_object_set_new(object, "fleet", json_boolean(token->is_fleet));
    (void)json_object_set_new(object, "stale_after", json_integer(token->stale_after_s));
    return json_array_append_new(arg, object) == 0;
}

void handle_tokens(struct context *c)
{
    json_t *list = json_array();
    pk_err err = pk_store_list_tokens(c->routes->control, on_token, list);
    if (err != PK_OK) {
        json_decref(list);
        refuse_store(c, c->routes->control, err);
        return;
    }
    reply_json(c->response, OK, list);
}

void handle_close_token(struct context *c)
{
    json_t *body = json_loadb(c->request->body, c->request->body_len, JSON_REJECT_DUPLICATES, NULL);
    uint8_t id[PK_TOKEN_ID_BYTES];
    if (!read_hex(text_of(body, "id"), id, sizeof id)) {
        refuse(
            c->response, BAD_REQUEST, "needs {\"id\"}: 32 hex digits, as picketctl tokens lists");
    } else {
        pk_err err = pk_store_close_token(c->routes->control, id);
        if (err != PK_OK) {
            refuse_store(c, c->routes->control, err);
        } else {
            json_t *object = json_object();
            (void)json_object_set_new(object, "closed", json_true());
            reply_json(c->response, OK, object);
        }
    }
    json_decref(body);
}

void handle_change_sensor(struct context *c)
{
    static const struct {
        const char *name;
        enum pk_store_sensor_change change;
    } changes[] = {{"revoke", PK_STORE_SENSOR_REVOKE}, {"approve", PK_STORE_SENSOR_APPROVE},
        {"move", PK_STORE_SENSOR_MOVE}, {"limit", PK_STORE_SENSOR_LIMIT}};
    json_t *body = json_loadb(c->request->body, c->request->body_len, JSON_REJECT_DUPLICATES, NULL);
    const char *tenant = text_of(body, "tenant"), *name = text_of(body, "name"),
               *text = text_of(body, "to");
    size_t i = 0;
    while (i < sizeof changes / sizeof *changes &&
           strcmp(changes[i].name, text_of(body, "change")) != 0) {
        i++;
    }
    if (i == sizeof changes / sizeof *changes || !*tenant || !*name) {
        refuse(c->response, BAD_REQUEST,
            "needs {\"tenant\", \"name\", \"change\": revoke, approve, move or limit, \"to\"}");
    } else if (changes[i].change == PK_STORE_SENSOR_LIMIT &&
               !read_prefixes(text, PK_STORE_MAX_ALLOWED)) {
        refuse(c->response, BAD_REQUEST, "to must be at most four prefixes with commas between");
    } else {
        pk_err err =
            pk_store_change_sensor(c->routes->control, tenant, name, changes[i].change, text);
        if (err != PK_OK) {
            refuse_store(c, c->routes->control, err);
        } else {
            json_t *object = json_object();
            (void)json_object_set_new(object, "changed", json_true());
            reply_json(c->response, OK, object);
        }
    }
    json_decref(body);
}

/* --- how they stand --- */

static const char *state_of(const struct pk_store_sensor_row *sensor)
{
    return sensor->stale_us     ? "stale"
           : !sensor->is_active ? "revoked"
           : sensor->is_pending ? "pending"
                                : "active";
}

static const char *status_of(const struct pk_store_sensor_row *sensor)
{
    static const char *const texts[] = {"kept", "refused", "not on disk"};
    size_t n = sizeof texts / sizeof *texts;
    return sensor->scope_has == 0     ? "unknown"
           : sensor->scope_status < n ? texts[sensor->scope_status]
                                      : "other";
}

static void put_offences(json_t *row, const struct pk_store_sensor_row *sensor)
{
    static const char *const kinds[PK_STORE_OFFENCES] = {NULL, "framing", "lengths", "credit",
        "batches", "flood", "clone", NULL}; /* enum pk_offence_kind */
    char text[PK_TIME_TEXT_SIZE];
    json_t *offences = json_object(), *by_kind = json_object();
    uint64_t sum = 0;
    for (size_t i = 0; i < PK_STORE_OFFENCES; i++) {
        sum += sensor->offences[i];
        if (kinds[i] && sensor->offences[i]) {
            (void)json_object_set_new(
                by_kind, kinds[i], json_integer((json_int_t)sensor->offences[i]));
        }
    }
    (void)json_object_set_new(offences, "total", json_integer((json_int_t)sum));
    (void)json_object_set_new(offences, "cuts", json_integer((json_int_t)sensor->cuts));
    (void)json_object_set_new(offences, "by_kind", by_kind);
    (void)json_object_set_new(offences, "last",
        sum ? json_string(pk_time_text(sensor->offence_last_us, text)) : json_null());
    (void)json_object_set_new(offences, "address", json_string(sensor->offence_address));
    (void)json_object_set_new(row, "offences", offences);
}

static void put_facts(json_t *row, const struct pk_store_sensor_row *sensor)
{
    char text[PK_TIME_TEXT_SIZE];
    json_t *scope = json_object();
    (void)json_object_set_new(row, "state", json_string(state_of(sensor)));
    (void)json_object_set_new(row, "fleet", json_boolean(sensor->is_fleet));
    (void)json_object_set_new(row, "stale_since",
        sensor->stale_us ? json_string(pk_time_text(sensor->stale_us, text)) : json_null());
    (void)json_object_set_new(scope, "wanted", json_integer(sensor->scope_wanted));
    (void)json_object_set_new(
        scope, "acknowledged", sensor->scope_has ? json_integer(sensor->scope_has) : json_null());
    (void)json_object_set_new(scope, "status", json_string(status_of(sensor)));
    (void)json_object_set_new(scope, "reason", json_string(sensor->scope_reason));
    (void)json_object_set_new(scope, "at",
        sensor->scope_has ? json_string(pk_time_text(sensor->scope_at_us, text)) : json_null());
    (void)json_object_set_new(row, "scope", scope);
    put_offences(row, sensor);
}

static void on_sensor(void *arg, const struct pk_store_sensor_row *sensor)
{
    json_t *row = json_object();
    (void)json_object_set_new(row, "site", json_string(sensor->site));
    (void)json_object_set_new(row, "sensor", json_string(sensor->name));
    put_facts(row, sensor);
    (void)json_array_append_new(arg, row);
}

void handle_sensors(struct context *c)
{
    json_t *list = json_array();
    pk_err err = pk_store_query_sensors(c->routes->reader, c->tenant, on_sensor, list);
    if (err != PK_OK) {
        json_decref(list);
        refuse_store(c, c->routes->reader, err);
        return;
    }
    reply_json(c->response, OK, list);
}

static void on_joined(void *arg, const struct pk_store_sensor_row *sensor)
{
    json_t *row = json_object_get(arg, sensor->name);
    if (row) {
        put_facts(row, sensor);
    }
}

pk_err join_sensors(struct context *c, json_t *list)
{
    json_t *by_name = json_object(), *row;
    size_t i;
    json_array_foreach(list, i, row)
    {
        const char *name = json_string_value(json_object_get(row, "sensor"));
        (void)json_object_set(by_name, name ? name : "", row);
    }
    pk_err err = pk_store_query_sensors(c->routes->reader, c->tenant, on_joined, by_name);
    json_decref(by_name);
    return err;
}

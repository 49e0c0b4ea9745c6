/* Routes: a table of method, prefix, who may, and what to do.
 *
 * An API key belongs to a tenant, or to an administrator, who says `tenant=` where a tenant is meant. Keys are compared by their digest, which is all the database has. */
#include "routes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <sodium.h>

#include "picket/clock.h"
#include "picket/rdata.h"
#include "picket/scope.h"

#include "handler.h"
#include "saf.h"

enum {
    KEY_BYTES = 24,
    KEY_TEXT = 2 * KEY_BYTES + 1,
    LOOKUP_LIMIT = 10000
};

static void put(struct pk_http_response *response, const char *text)
{
    pk_bytes_put(&response->body, text, strlen(text));
}

void reply_json(struct pk_http_response *response, unsigned status, json_t *object)
{
    char *text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    response->status = text ? status : 500;
    put(response, text ? text : "{\"error\":\"out of memory\"}");
    put(response, "\n");
    free(text);
}

void refuse(struct pk_http_response *response, unsigned status, const char *why)
{
    json_t *object = json_object();
    (void)json_object_set_new(object, "error", json_string(why));
    reply_json(response, status, object);
}

/* The database said no or is away. One reconnect is tried by the caller's next request. */
void refuse_store(struct context *c, struct pk_store *store, pk_err err)
{
    unsigned status = err == PK_ERR_CONFIG        ? BAD_REQUEST
                      : err == PK_ERR_CONFLICT    ? CONFLICT
                      : err == PK_ERR_UNSUPPORTED ? BAD_REQUEST
                                                  : UNAVAILABLE;
    c->routes->n_errors++;
    refuse(c->response, status,
        status == UNAVAILABLE ? "the database does not answer, try again" : pk_store_error(store));
}

static bool alive(struct pk_store *store)
{
    return pk_store_ping(store) || pk_store_reconnect(store) == PK_OK;
}

/* --- open to everybody --- */

static void healthz(struct context *c)
{
    put(c->response, "{\"status\":\"ok\"}\n");
}

static void readyz(struct context *c)
{
    if (alive(c->routes->reader) && alive(c->routes->control)) {
        put(c->response, "{\"status\":\"ready\"}\n");
    } else {
        refuse(c->response, UNAVAILABLE, "the database does not answer");
    }
}

static void metrics(struct context *c)
{
    c->response->content_type = "text/plain; version=0.0.4; charset=utf-8";
    pk_bytes_printf(&c->response->body,
        "# HELP picket_api_requests_total Requests served.\n# TYPE picket_api_requests_total counter\npicket_api_requests_total %" PRIu64
        "\n"
        "# HELP picket_api_errors_total Requests that failed on the database.\n# TYPE picket_api_errors_total counter\npicket_api_errors_total %" PRIu64
        "\n# HELP picket_api_refused_total Requests without a good key.\n# TYPE picket_api_refused_total counter\npicket_api_refused_total %" PRIu64
        "\n",
        c->routes->n_requests, c->routes->n_errors, c->routes->n_refused);
}

static void digest_key(const char *key, uint8_t out_hash[32])
{
    (void)crypto_generichash(out_hash, 32, (const uint8_t *)key, strlen(key), NULL, 0);
}

/* Makes a key, stores its digest, answers with the key: it is shown this once. */
static void issue_key(struct context *c, const char *name, struct pk_tenant_id tenant)
{
    uint8_t raw[KEY_BYTES], hash[32];
    char text[KEY_TEXT];
    randombytes_buf(raw, sizeof raw);
    sodium_bin2hex(text, sizeof text, raw, sizeof raw);
    digest_key(text, hash);
    pk_err err = pk_store_add_api_key(c->routes->control, name, tenant, hash);
    if (err != PK_OK) {
        refuse_store(c, c->routes->control, err);
        return;
    }
    json_t *object = json_object();
    (void)json_object_set_new(object, "key", json_string(text));
    (void)json_object_set_new(object, "name", json_string(name));
    reply_json(c->response, CREATED, object);
    sodium_memzero(text, sizeof text);
}

static void bootstrap(struct context *c)
{
    bool has = true;
    if (!c->request->is_loopback) {
        refuse(c->response, FORBIDDEN,
            "the first key is given only to this host; run picketctl bootstrap here");
        return;
    }
    pk_err err =
        alive(c->routes->control) ? pk_store_has_admin_key(c->routes->control, &has) : PK_ERR_IO;
    if (err != PK_OK) {
        refuse_store(c, c->routes->control, err);
    } else if (has) {
        refuse(c->response, CONFLICT, "there is an administrator's key already");
    } else {
        issue_key(c, "bootstrap", (struct pk_tenant_id){0});
    }
}

/* --- for a tenant --- */

struct lookup {
    struct pk_http_response *response;
    size_t n, limit;
};

static bool on_rrset(void *arg, const struct pk_store_rrset *rrset)
{
    struct lookup *lookup = arg;
    pk_saf_rrset(&lookup->response->body, rrset);
    return ++lookup->n < lookup->limit && lookup->response->body.err == PK_OK;
}

static int64_t query_time(const struct pk_http_request *request, const char *name)
{
    const char *text = pk_http_query(request, name);
    long long v = text ? strtoll(text, NULL, 10) : 0;
    if (v < 0) { /* DNSDB: relative to now */
        return pk_clock_wall_us() + v * PK_US_PER_S;
    }
    return v * PK_US_PER_S;
}

size_t query_count(const struct pk_http_request *request, const char *name, size_t otherwise)
{
    const char *text = pk_http_query(request, name);
    long long v = text ? strtoll(text, NULL, 10) : -1;
    return v < 0 ? otherwise : (size_t)v;
}

/* NAME[/TYPE[/BAILIWICK]] of the path into a query; false with the sentence. */
static bool parse_lookup(const char *rest, struct pk_store_rrset_query *query, const char **out_why)
{
    char copy[PK_NAME_TEXT_SIZE * 2];
    if (strlen(rest) >= sizeof copy) {
        *out_why = "the path is too long";
        return false;
    }
    strcpy(copy, rest); /* fits: measured above */
    char *save = NULL, *name = strtok_r(copy, "/", &save), *type = strtok_r(NULL, "/", &save),
         *bailiwick = strtok_r(NULL, "/", &save);
    *out_why = "say which name: /lookup/rrset/name/NAME";
    if (!name) {
        return false;
    }
    query->is_wildcard_left = strncmp(name, "*.", 2) == 0;
    size_t len = strlen(name);
    query->is_wildcard_right = len > 2 && strcmp(name + len - 2, ".*") == 0;
    if (query->is_wildcard_right) {
        name[len - 1] = '\0';
    }
    *out_why = "not a domain name";
    if (pk_name_from_text(name + (query->is_wildcard_left ? 2 : 0), &query->name) != PK_OK) {
        return false;
    }
    *out_why = "not a record type";
    if (type && !pk_type_parse(type, &query->type)) {
        return false;
    }
    *out_why = "the bailiwick is not a domain name";
    query->has_bailiwick = bailiwick != NULL;
    if (bailiwick && pk_name_from_text(bailiwick, &query->bailiwick) != PK_OK) {
        return false;
    }
    pk_name_lower(&query->name);
    pk_name_lower(&query->bailiwick);
    return true;
}

static void lookup_rrset(struct context *c)
{
    struct pk_store_rrset_query query = {.bailiwick = {.len = 1}};
    const char *why;
    if (!parse_lookup(c->rest, &query, &why)) {
        refuse(c->response, BAD_REQUEST, why);
        return;
    }
    struct lookup lookup = {
        .response = c->response, .limit = query_count(c->request, "limit", LOOKUP_LIMIT)};
    lookup.limit = lookup.limit ? lookup.limit : LOOKUP_LIMIT;
    query.limit = lookup.limit;
    query.offset = query_count(c->request, "offset", 0);
    query.time_first_after_us = query_time(c->request, "time_first_after");
    query.time_first_before_us = query_time(c->request, "time_first_before");
    query.time_last_after_us = query_time(c->request, "time_last_after");
    query.time_last_before_us = query_time(c->request, "time_last_before");
    c->response->content_type = "application/x-ndjson";
    pk_saf_begin(&c->response->body);
    pk_err err = pk_store_query_rrsets(c->routes->reader, c->tenant, &query, on_rrset, &lookup);
    if (err != PK_OK) {
        pk_bytes_clear(&c->response->body);
        c->response->content_type = "application/json";
        refuse_store(c, c->routes->reader, err);
        return;
    }
    pk_saf_end(&c->response->body, lookup.n >= lookup.limit);
}

static void dnsdb_ping(struct context *c)
{
    put(c->response, "{\"ping\":\"ok\"}\n");
}

static void dnsdb_rate_limit(struct context *c)
{
    put(c->response,
        "{\"rate\":{\"reset\":\"n/a\",\"limit\":\"unlimited\",\"remaining\":\"n/a\"}}\n");
}

/* Losses between sealing and delivery, by cause. out_rows: all of them; out_counted: the transactions among them that stored rows lack; out_is_known false when one says not
 * how many, or when the sensor's own counters are among what is lost. */
static json_t *lost_json(
    const struct pk_store_loss *loss, uint64_t *out_rows, uint64_t *out_counted, bool *out_is_known)
{
    json_t *causes = json_object();
    *out_rows = *out_counted = 0;
    *out_is_known = loss->quarantined == 0;
    for (unsigned i = 0; i < PK_N_LOSS_CAUSES; i++) {
        const struct pk_store_lost *lost = &loss->lost[i];
        *out_rows += lost->rows;
        *out_counted += lost->counted;
        if (lost->batches > 0 || lost->rows > 0 || lost->transactions > 0) {
            *out_is_known = *out_is_known && lost->health_batches == 0 && i != 0 &&
                            i != PK_LOSS_TORN && i != PK_LOSS_DAMAGED &&
                            (i != PK_LOSS_CRASH || lost->batches == 0);
            (void)json_object_set_new(causes, pk_loss_cause_str(i),
                json_pack("{s:I, s:I, s:I}", "batches", (json_int_t)lost->batches, "rows",
                    (json_int_t)lost->rows, "transactions", (json_int_t)lost->transactions));
        }
    }
    return causes;
}

/* By its HELLO and HEARTBEAT; null for one that never came. */
static json_t *now_json(const struct pk_store_report *now)
{
    char text[PK_TIME_TEXT_SIZE];
    if (now->reported_us == 0) {
        return json_null();
    }
    json_t *object = json_object();
    (void)json_object_set_new(
        object, "reported", json_string(pk_time_text(now->reported_us, text)));
    (void)json_object_set_new(object, "address", json_string(now->address));
    (void)json_object_set_new(object, "software", json_string(now->software));
    (void)json_object_set_new(object, "clock_offset_ms",
        now->offset_us ? json_integer(now->offset_us / 1000) : json_null());
    (void)json_object_set_new(object, "waiting_batches", json_integer((json_int_t)now->queued));
    (void)json_object_set_new(object, "waiting_bytes", json_integer((json_int_t)now->queued_bytes));
    (void)json_object_set_new(
        object, "behind_s", json_integer((json_int_t)(now->behind_us / PK_US_PER_S)));
    return object;
}

/* What the last health rows said of each interface; the state as a word. */
static json_t *interfaces_json(const char *text)
{
    size_t index;
    json_t *interface, *list = json_loads(text, 0, NULL);
    json_array_foreach(list, index, interface)
    {
        unsigned state = (unsigned)json_integer_value(json_object_get(interface, "state"));
        (void)json_object_set_new(interface, "state", json_string(pk_iface_state_str(state)));
    }
    return list ? list : json_array();
}

/* "a,b" as a list. */
static json_t *words_json(const char *words)
{
    json_t *list = json_array();
    for (size_t n; *words; words += n + (words[n] == ',')) {
        n = strcspn(words, ",");
        (void)json_array_append_new(list, json_stringn(words, n));
    }
    return list;
}

static bool on_loss(void *arg, const struct pk_store_loss *loss)
{
    json_t *list = arg, *row = json_object(), *counters = json_object();
    char text[PK_TIME_TEXT_SIZE];
    for (int i = 0; i < PK_N_HEALTH_KEYS; i++) {
        if (pk_health_key_is_gauge((enum pk_health_key)i)) {
            continue; /* the store has sums */
        }
        (void)json_object_set_new(counters, pk_health_key_str((enum pk_health_key)i),
            json_integer((json_int_t)loss->sum.v[i]));
    }
    uint64_t rows, counted;
    bool is_known;
    (void)json_object_set_new(row, "lost_by_cause", lost_json(loss, &rows, &counted, &is_known));
    uint64_t lost = loss->sum.v[PK_HEALTH_KERNEL_DROPPED] + loss->sum.v[PK_HEALTH_MERGE_SHED] +
                    loss->sum.v[PK_HEALTH_RRSETS_SHED] + rows;
    uint64_t told = loss->sum.v[PK_HEALTH_IN_SCOPE] + loss->sum.v[PK_HEALTH_NEGATIVE];
    (void)json_object_set_new(row, "site", json_string(loss->site));
    (void)json_object_set_new(row, "sensor", json_string(loss->sensor));
    (void)json_object_set_new(row, "counters", counters);
    (void)json_object_set_new(
        row, "stored_activity", json_integer((json_int_t)loss->stored_activity));
    (void)json_object_set_new(
        row, "stored_negative", json_integer((json_int_t)loss->stored_negative));
    (void)json_object_set_new(row, "stored_rrset", json_integer((json_int_t)loss->stored_rrset));
    (void)json_object_set_new(row, "batches", json_integer((json_int_t)loss->batches));
    (void)json_object_set_new(row, "delivered_rows", json_integer((json_int_t)loss->rows));
    (void)json_object_set_new(row, "now", now_json(&loss->now));
    (void)json_object_set_new(row, "alarms", words_json(loss->alarms));
    (void)json_object_set_new(row, "interfaces", interfaces_json(loss->interfaces));
    (void)json_object_set_new(row, "quarantined", json_integer((json_int_t)loss->quarantined));
    (void)json_object_set_new(row, "lost", json_integer((json_int_t)lost));
    (void)json_object_set_new(row, "lost_transactions", json_integer((json_int_t)counted));
    bool is_balanced = loss->stored_activity + loss->stored_negative + counted == told;
    (void)json_object_set_new(row, "balanced", json_boolean(is_balanced));
    (void)json_object_set_new(row, "alarm",
        is_balanced
            ? json_null()
            : json_string(is_known ? "sums do not meet" : "lost an amount that is not known"));
    (void)json_object_set_new(
        row, "last_received", json_string(pk_time_text(loss->last_received_us, text)));
    (void)json_array_append_new(list, row);
    return true;
}

static void loss(struct context *c)
{
    json_t *list = json_array();
    pk_err err = pk_store_query_loss(c->routes->reader, c->tenant, on_loss, list);
    if (err == PK_OK) {
        err = join_sensors(c, list);
    }
    if (err != PK_OK) {
        json_decref(list);
        refuse_store(c, c->routes->reader, err);
        return;
    }
    reply_json(c->response, OK, list);
}

static bool on_ledger(void *arg, const struct pk_store_ledger *ledger)
{
    static const struct {
        const char *name;
        enum pk_health_key key;
    } told[] = {{"packets", PK_HEALTH_PACKETS}, {"messages", PK_HEALTH_MESSAGES},
        {"malformed", PK_HEALTH_MALFORMED}, {"transactions", PK_HEALTH_TRANSACTIONS},
        {"merged", PK_HEALTH_ROWS}, {"merge_shed", PK_HEALTH_MERGE_SHED},
        {"kernel_dropped", PK_HEALTH_KERNEL_DROPPED},
        {"spool_lost_rows", PK_HEALTH_SPOOL_LOST_ROWS}};
    json_t *list = arg, *row = json_object();
    char text[PK_TIME_TEXT_SIZE];
    uint64_t lost = 0;
    for (size_t i = 0; i < sizeof ledger->lost / sizeof *ledger->lost; i++) {
        lost += ledger->lost[i];
    }
    (void)json_object_set_new(row, "sensor", json_string(ledger->sensor));
    (void)json_object_set_new(row, "hour", json_string(pk_time_text(ledger->hour_us, text)));
    for (size_t i = 0; i < sizeof told / sizeof *told; i++) {
        (void)json_object_set_new(
            row, told[i].name, json_integer((json_int_t)ledger->sum.v[told[i].key]));
    }
    (void)json_object_set_new(row, "delivered_rows", json_integer((json_int_t)ledger->rows));
    (void)json_object_set_new(row, "batches", json_integer((json_int_t)ledger->batches));
    (void)json_object_set_new(
        row, "stored_activity", json_integer((json_int_t)ledger->stored[PK_BATCH_ACTIVITY]));
    (void)json_object_set_new(
        row, "stored_negative", json_integer((json_int_t)ledger->stored[PK_BATCH_NEGATIVE]));
    (void)json_object_set_new(
        row, "stored_rrset", json_integer((json_int_t)ledger->stored[PK_BATCH_RRSET]));
    (void)json_object_set_new(row, "lost_transactions", json_integer((json_int_t)lost));
    (void)json_array_append_new(list, row);
    return true;
}

static void on_alarm(void *arg, const struct pk_store_alarm *alarm)
{
    json_t *list = arg, *row = json_object();
    char text[PK_TIME_TEXT_SIZE];
    (void)json_object_set_new(row, "sensor", json_string(alarm->sensor));
    (void)json_object_set_new(row, "kind", json_string(alarm->kind));
    (void)json_object_set_new(row, "detail", json_string(alarm->detail));
    (void)json_object_set_new(row, "opened", json_string(pk_time_text(alarm->opened_us, text)));
    (void)json_object_set_new(row, "closed",
        alarm->is_open ? json_null() : json_string(pk_time_text(alarm->closed_us, text)));
    (void)json_array_append_new(list, row);
}

/* ?state=all: closed ones too. */
static void alarms(struct context *c)
{
    const char *state = pk_http_query(c->request, "state");
    json_t *list = json_array();
    pk_err err = pk_store_query_alarms(
        c->routes->reader, c->tenant, state && strcmp(state, "all") == 0, on_alarm, list);
    if (err != PK_OK) {
        json_decref(list);
        refuse_store(c, c->routes->reader, err);
        return;
    }
    reply_json(c->response, OK, list);
}

/* ?hours=N: the last N, the one that runs included. */
static void ledger(struct context *c)
{
    size_t hours = query_count(c->request, "hours", 24);
    int64_t hour_us = INT64_C(3600) * PK_US_PER_S, now_us = pk_clock_wall_us();
    int64_t since_us =
        hours > 1000000 ? 0 : now_us - now_us % hour_us - ((int64_t)hours - 1) * hour_us;
    json_t *list = json_array();
    pk_err err = pk_store_query_ledger(c->routes->reader, c->tenant, since_us, on_ledger, list);
    if (err != PK_OK) {
        json_decref(list);
        refuse_store(c, c->routes->reader, err);
        return;
    }
    reply_json(c->response, OK, list);
}

/* --- for administrators --- */

/* A sensor takes so much and no more. */
static bool fits_sensors(const struct pk_scope *scope, char out_error[PK_CONF_ERROR_SIZE])
{
    bool fits = true;
    for (size_t i = 0; i < scope->n_tenants && fits; i++) {
        struct pk_bytes text;
        pk_bytes_init(&text, PK_MAX_SCOPE_BYTES);
        fits = pk_scope_render(&scope->tenants[i], &text) == PK_OK;
        pk_bytes_done(&text);
        if (!fits) {
            snprintf(out_error, PK_CONF_ERROR_SIZE,
                "tenant %s: what its sensors get of this is larger than %d bytes: name zones instead of the names in them",
                scope->tenants[i].name, PK_MAX_SCOPE_BYTES);
        }
    }
    return fits;
}

static void apply_scope(struct context *c)
{
    struct pk_scope *scope = NULL;
    char error[PK_CONF_ERROR_SIZE];
    uint32_t version = 0;
    const char *name = pk_http_query(c->request, "file");
    if (pk_scope_parse(name ? name : "scope", c->request->body, c->request->body_len, &scope,
            error) != PK_OK) {
        refuse(c->response, BAD_REQUEST, error);
        return;
    }
    if (!fits_sensors(scope, error)) {
        refuse(c->response, BAD_REQUEST, error);
        pk_scope_free(scope);
        return;
    }
    pk_err err = pk_store_apply_scope(c->routes->control, scope, c->request->body, &version);
    if (err != PK_OK) {
        refuse_store(c, c->routes->control, err);
    } else {
        json_t *object = json_object();
        (void)json_object_set_new(object, "version", json_integer(version));
        (void)json_object_set_new(object, "tenants", json_integer((json_int_t)scope->n_tenants));
        reply_json(c->response, OK, object);
    }
    pk_scope_free(scope);
}

const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static void add_sensor(struct context *c)
{
    json_t *body = json_loadb(c->request->body, c->request->body_len, JSON_REJECT_DUPLICATES, NULL);
    const char *site = text_of(body, "site"), *name = text_of(body, "name"),
               *slash = strchr(site, '/');
    uint8_t pubkey[PK_KEY_BYTES];
    char tenant[65];
    struct pk_sensor_id sensor = {0};
    if (!slash || slash == site || (size_t)(slash - site) >= sizeof tenant || *name == '\0' ||
        strlen(name) > 64) {
        refuse(c->response, BAD_REQUEST,
            "needs {\"site\": \"tenant/site\", \"name\": \"...\", \"pubkey\": \"Z85\"}");
    } else if (!pk_key_parse(text_of(body, "pubkey"), pubkey)) {
        refuse(c->response, BAD_REQUEST,
            "pubkey must be the sensor's public key, 40 characters of Z85, as picket-sensor genkey prints it");
    } else {
        snprintf(tenant, sizeof tenant, "%.*s", (int)(slash - site), site);
        pk_err err =
            pk_store_add_sensor(c->routes->control, tenant, slash + 1, name, pubkey, &sensor);
        if (err != PK_OK) {
            refuse_store(c, c->routes->control, err);
        } else {
            json_t *object = json_object();
            (void)json_object_set_new(object, "sensor_id", json_integer(sensor.v));
            reply_json(c->response, CREATED, object);
        }
    }
    json_decref(body);
}

static void add_key(struct context *c)
{
    json_t *body = json_loadb(c->request->body, c->request->body_len, JSON_REJECT_DUPLICATES, NULL);
    const char *name = text_of(body, "name"), *tenant = text_of(body, "tenant");
    struct pk_tenant_id id = {0};
    pk_err err = *tenant ? pk_store_find_tenant(c->routes->control, tenant, &id) : PK_OK;
    if (err != PK_OK) {
        refuse_store(c, c->routes->control, err);
    } else if (*name == '\0' || (*tenant && id.v == 0)) {
        refuse(c->response, BAD_REQUEST,
            *name ? "there is no such tenant" : "needs {\"name\": \"...\", \"tenant\": \"...\"}");
    } else {
        issue_key(c, name, id);
    }
    json_decref(body);
}

/* --- homes --- */

static json_t *home_json(const struct pk_store_home *home)
{
    json_t *object = json_object();
    (void)json_object_set_new(object, "tenant", json_string(home->tenant_name));
    (void)json_object_set_new(object, "home", json_string(home->is_live ? home->holder : ""));
    (void)json_object_set_new(object, "pinned", json_string(home->pinned));
    (void)json_object_set_new(object, "generation", json_integer((json_int_t)home->generation));
    return object;
}

static void homes(struct context *c)
{
    struct pk_store_homes view;
    pk_err err = pk_store_read_homes(c->routes->control, &view);
    if (err != PK_OK) {
        refuse_store(c, c->routes->control, err);
        return;
    }
    json_t *object = json_object(), *tenants = json_array(), *nodes = json_array();
    for (size_t i = 0; i < view.n_homes; i++) {
        (void)json_array_append_new(tenants, home_json(&view.homes[i]));
    }
    for (size_t i = 0; i < view.n_nodes; i++) {
        json_t *node = json_object();
        (void)json_object_set_new(node, "name", json_string(view.nodes[i].name));
        (void)json_object_set_new(node, "endpoint", json_string(view.nodes[i].endpoint.address));
        (void)json_array_append_new(nodes, node);
    }
    (void)json_object_set_new(object, "aggregators", nodes);
    (void)json_object_set_new(object, "homes", tenants);
    pk_store_homes_done(&view);
    reply_json(c->response, OK, object);
}

static void move_home(struct context *c)
{
    json_t *body = json_loadb(c->request->body, c->request->body_len, JSON_REJECT_DUPLICATES, NULL);
    const char *tenant = text_of(body, "tenant"), *to = text_of(body, "to");
    struct pk_tenant_id id = {0};
    pk_err err = pk_store_find_tenant(c->routes->control, tenant, &id);
    if (err == PK_OK && id.v == 0) {
        refuse(c->response, BAD_REQUEST, "there is no such tenant");
    } else {
        err = err == PK_OK ? pk_store_pin_home(c->routes->control, id, to) : err;
        if (err == PK_ERR_CONFIG) {
            refuse(c->response, BAD_REQUEST, pk_store_error(c->routes->control));
        } else if (err != PK_OK) {
            refuse_store(c, c->routes->control, err);
        } else {
            reply_json(c->response, OK, json_object());
        }
    }
    json_decref(body);
}

/* --- dispatch --- */

enum access {
    OPEN,
    TENANT,
    ADMIN
};

static const struct route {
    const char *method, *prefix;
    bool takes_rest; /* more path may follow */
    enum access access;
    void (*handle)(struct context *c);
} table[] = {
    {"GET", "/healthz", false, OPEN, healthz},
    {"GET", "/readyz", false, OPEN, readyz},
    {"GET", "/metrics", false, OPEN, metrics},
    {"POST", "/api/v1/bootstrap", false, OPEN, bootstrap},
    {"GET", "/dnsdb/v2/lookup/rrset/name/", true, TENANT, lookup_rrset},
    {"GET", "/dnsdb/v2/ping", false, TENANT, dnsdb_ping},
    {"GET", "/dnsdb/v2/rate_limit", false, TENANT, dnsdb_rate_limit},
    {"GET", "/api/v1/findings", true, TENANT, handle_findings},
    {"POST", "/api/v1/findings", true, TENANT, handle_finding_action},
    {"GET", "/api/v1/suppressions", false, TENANT, handle_suppressions},
    {"GET", "/api/v1/exposure", true, TENANT, handle_exposure},
    {"GET", "/api/v1/canaries", false, TENANT, handle_canaries},
    {"POST", "/api/v1/suppressions", false, TENANT, handle_suppress},
    {"POST", "/api/v1/suppressions/end/", true, TENANT, handle_end_suppression},
    {"GET", "/api/v1/loss", false, TENANT, loss},
    {"GET", "/api/v1/ledger", false, TENANT, ledger},
    {"GET", "/api/v1/sensors", false, TENANT, handle_sensors},
    {"GET", "/api/v1/alarms", false, TENANT, alarms},
    {"POST", "/api/v1/scope", false, ADMIN, apply_scope},
    {"POST", "/api/v1/sensors", false, ADMIN, add_sensor},
    {"POST", "/api/v1/sensors/change", false, ADMIN, handle_change_sensor},
    {"POST", "/api/v1/enrol", false, ADMIN, handle_add_token},
    {"GET", "/api/v1/enrol", false, ADMIN, handle_tokens},
    {"POST", "/api/v1/enrol/close", false, ADMIN, handle_close_token},
    {"POST", "/api/v1/keys", false, ADMIN, add_key},
    {"GET", "/api/v1/homes", false, ADMIN, homes},
    {"POST", "/api/v1/homes", false, ADMIN, move_home},
};

static bool check_key(struct context *c)
{
    uint8_t hash[32];
    if (!c->request->key) {
        c->routes->n_refused++;
        refuse(c->response, UNAUTHORIZED, "send an API key in the header X-API-Key");
        return false;
    }
    digest_key(c->request->key, hash);
    pk_err err = alive(c->routes->reader) && alive(c->routes->control)
                     ? pk_store_check_api_key(c->routes->reader, hash, &c->key)
                     : PK_ERR_IO;
    if (err != PK_OK) {
        refuse_store(c, c->routes->reader, err);
        return false;
    }
    if (!c->key.is_known) {
        c->routes->n_refused++;
        refuse(c->response, FORBIDDEN, "unknown API key");
    }
    return c->key.is_known;
}

/* An administrator's query names its tenant; a tenant's key is bound to its own, and asking for another is refused, not answered with the wrong one. */
static bool find_tenant(struct context *c)
{
    const char *name = pk_http_query(c->request, "tenant");
    if (!name) {
        c->tenant = c->key.tenant;
        if (c->key.is_admin) {
            refuse(c->response, BAD_REQUEST, "an administrator's key needs ?tenant=NAME here");
        }
        return !c->key.is_admin;
    }
    pk_err err = pk_store_find_tenant(c->routes->reader, name, &c->tenant);
    if (err != PK_OK) {
        refuse_store(c, c->routes->reader, err);
        return false;
    }
    if (!c->key.is_admin) {
        if (c->tenant.v != c->key.tenant.v) { /* the same words for a tenant that does not exist */
            c->routes->n_refused++;
            refuse(c->response, FORBIDDEN, "this key is not for that tenant");
            return false;
        }
        return true;
    }
    if (c->tenant.v == 0) {
        refuse(c->response, NOT_FOUND, "there is no such tenant");
    }
    return c->tenant.v != 0;
}

static bool may(struct context *c, enum access access)
{
    if (access == OPEN) {
        return true;
    }
    if (!check_key(c)) {
        return false;
    }
    if (access == ADMIN && !c->key.is_admin) {
        c->routes->n_refused++;
        refuse(c->response, FORBIDDEN, "this needs an administrator's key");
        return false;
    }
    return access == ADMIN || find_tenant(c);
}

void pk_routes_handle(
    void *arg, const struct pk_http_request *request, struct pk_http_response *response)
{
    struct context c = {.routes = arg, .request = request, .response = response};
    bool has_path = false;
    c.routes->n_requests++;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        size_t len = strlen(table[i].prefix);
        if (strncmp(request->path, table[i].prefix, len) != 0 ||
            (!table[i].takes_rest && request->path[len] != '\0')) {
            continue;
        }
        has_path = true;
        bool is_head = strcmp(request->method, "HEAD") == 0 && strcmp(table[i].method, "GET") == 0;
        if (strcmp(request->method, table[i].method) == 0 || is_head) {
            c.rest = request->path + len;
            if (may(&c, table[i].access)) {
                table[i].handle(&c);
            }
            return;
        }
    }
    refuse(response, has_path ? 405 : NOT_FOUND,
        has_path ? "another method is needed here" : "no such path");
}

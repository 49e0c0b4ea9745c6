/* Findings as people work with them: what the engine said, what was done about it, and what is expected and therefore kept out of sight.
 *
 * The engine's JSON is passed on as it is, but for "state", which follows from the last action: acknowledged; closed, and reopened by itself when the finding has gone
 * on since; reopened. Suppressed findings are marked with the reason and left out of lists unless state=all is asked for: they are made all the same. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "picket/clock.h"
#include "picket/name.h"

#include "handler.h"

enum {
    MAX_NOTE = 2000,
    DEFAULT_FINDINGS = 1000
};

static void put_text(json_t *object, const char *key, const char *text)
{
    (void)json_object_set_new(object, key, json_string(text));
}

static void put_time(json_t *object, const char *key, int64_t us)
{
    char text[PK_TIME_TEXT_SIZE];
    put_text(object, key, pk_time_text(us, text));
}

/* --- suppressions --- */

static json_t *suppression_json(const struct pk_store_suppression *suppression)
{
    json_t *object = json_object();
    (void)json_object_set_new(object, "id", json_integer(suppression->id));
    put_text(object, "detector", suppression->detector);
    put_text(object, "actor", suppression->actor);
    put_text(object, "zone", suppression->zone);
    put_text(object, "reason", suppression->reason);
    put_text(object, "by", suppression->by_key);
    put_time(object, "from", suppression->from_us);
    put_time(object, "until", suppression->until_us);
    return object;
}

static bool on_suppression(void *arg, const struct pk_store_suppression *suppression)
{
    return json_array_append_new(arg, suppression_json(suppression)) == 0;
}

static bool fits(const char *wanted, const char *have)
{
    return *wanted == '\0' || strcmp(wanted, have) == 0;
}

/* The suppression this finding falls under, borrowed from list; NULL when there is none. */
static json_t *suppression_of(const json_t *list, const json_t *finding)
{
    size_t index;
    json_t *suppression;
    json_array_foreach((json_t *)(uintptr_t)list, index, suppression)
    {
        const char *zone = text_of(suppression, "zone");
        bool has_zone = *zone == '\0';
        size_t at;
        json_t *seen;
        json_array_foreach(json_object_get(finding, "zones"), at, seen)
        {
            has_zone =
                has_zone || (json_is_string(seen) && strcmp(json_string_value(seen), zone) == 0);
        }
        if (has_zone && fits(text_of(suppression, "detector"), text_of(finding, "detector")) &&
            fits(
                text_of(suppression, "actor"), text_of(json_object_get(finding, "actor"), "key"))) {
            return suppression;
        }
    }
    return NULL;
}

void handle_suppressions(struct context *c)
{
    const char *state = pk_http_query(c->request, "state");
    json_t *list = json_array();
    pk_err err = pk_store_query_suppressions(
        c->routes->reader, c->tenant, state && strcmp(state, "all") == 0, on_suppression, list);
    if (err != PK_OK) {
        json_decref(list);
        refuse_store(c, c->routes->reader, err);
        return;
    }
    reply_json(c->response, OK, list);
}

/* "" stays "any"; else the zone in presentation form with its last dot, as findings have it. */
static bool read_zone(const char *text, char out[PK_NAME_TEXT_SIZE])
{
    struct pk_name name;
    out[0] = '\0';
    if (*text == '\0') {
        return true;
    }
    if (pk_name_from_text(text, &name) != PK_OK) {
        return false;
    }
    pk_name_lower(&name);
    pk_name_text(&name, out);
    return true;
}

void handle_suppress(struct context *c)
{
    json_t *body = json_loadb(c->request->body, c->request->body_len, JSON_REJECT_DUPLICATES, NULL);
    char zone[PK_NAME_TEXT_SIZE];
    uint32_t id = 0;
    struct pk_store_suppression suppression = {.detector = text_of(body, "detector"),
        .actor = text_of(body, "actor"),
        .zone = zone,
        .reason = text_of(body, "reason"),
        .by_key = c->key.name};
    if (*suppression.reason == '\0' || strlen(suppression.reason) > MAX_NOTE) {
        refuse(c->response, BAD_REQUEST, "a suppression needs a reason of at most 2000 bytes");
    } else if (!pk_time_parse(text_of(body, "until"), &suppression.until_us) ||
               suppression.until_us <= pk_clock_wall_us()) {
        refuse(c->response, BAD_REQUEST,
            "until must be a time to come, like 2027-01-31 or 2027-01-31T12:00:00Z");
    } else if (!read_zone(text_of(body, "zone"), zone)) {
        refuse(c->response, BAD_REQUEST, "zone is not a domain name");
    } else if (*suppression.detector == '\0' && *suppression.actor == '\0' && zone[0] == '\0') {
        refuse(c->response, BAD_REQUEST,
            "say what is expected: detector, actor or zone; without one everything would be out of sight");
    } else {
        pk_err err = pk_store_add_suppression(c->routes->control, c->tenant, &suppression, &id);
        if (err != PK_OK) {
            refuse_store(c, c->routes->control, err);
        } else {
            reply_json(c->response, CREATED, json_pack("{s:i}", "id", (int)id));
        }
    }
    json_decref(body);
}

void handle_end_suppression(struct context *c)
{
    char *end;
    unsigned long id = strtoul(c->rest, &end, 10);
    if (end == c->rest || *end != '\0' || id == 0 || id > INT32_MAX) {
        refuse(c->response, BAD_REQUEST, "say which: /api/v1/suppressions/end/NUMBER");
        return;
    }
    pk_err err = pk_store_end_suppression(c->routes->control, c->tenant, (uint32_t)id);
    if (err != PK_OK) {
        refuse_store(c, c->routes->control, err);
        return;
    }
    reply_json(c->response, OK, json_pack("{s:i}", "id", (int)id));
}

/* --- findings --- */

static const char *state_of(const struct pk_store_told_finding *finding, const char *engine_state)
{
    const char *action = finding->last.action;
    if (strcmp(action, "acknowledge") == 0) {
        return "acknowledged";
    }
    if (strcmp(action, "close") == 0) {
        /* That its source fell silent is no news to whoever closed it. */
        uint32_t silent = strcmp(engine_state, "ended") == 0;
        return finding->revision > finding->last.revision + silent ? "reopened" : "closed";
    }
    return strcmp(action, "reopen") == 0 ? "reopened" : engine_state;
}

struct listing {
    struct pk_http_response *response;
    json_t *suppressions;
    bool wants_all;
    bool is_one; /* asked for by its id */
    size_t n;
};

static bool on_finding(void *arg, const struct pk_store_told_finding *told)
{
    struct listing *listing = arg;
    json_t *finding = json_loads(told->json, JSON_REJECT_DUPLICATES, NULL);
    if (!finding) {
        return true; /* not ours: the table is written by the aggregator alone */
    }
    json_t *suppression = suppression_of(listing->suppressions, finding);
    bool is_closed =
        strcmp(told->last.action, "close") == 0 && told->revision <= told->last.revision;
    if (listing->wants_all || listing->is_one || (!suppression && !is_closed)) {
        char state[32];
        snprintf(state, sizeof state, "%s", state_of(told, text_of(finding, "state")));
        put_text(finding, "state", state);
        (void)json_object_set(finding, "suppressed", suppression ? suppression : json_null());
        if (*told->last.action) {
            put_text(finding, "state_by", told->last.by_key);
            put_text(finding, "state_note", told->last.note);
            put_time(finding, "state_since", told->last.at_us);
        }
        char *text = json_dumps(finding, JSON_COMPACT);
        struct pk_bytes *out = &listing->response->body;
        pk_bytes_printf(out, "%s%s", listing->n++ ? ",\n" : "\n", text ? text : "{}");
        free(text);
    }
    json_decref(finding);
    return listing->response->body.err == PK_OK;
}

static bool on_action(void *arg, const struct pk_store_action *action)
{
    json_t *object = json_object();
    put_text(object, "action", action->action);
    put_text(object, "note", action->note);
    put_text(object, "by", action->by_key);
    put_time(object, "at", action->at_us);
    (void)json_object_set_new(object, "revision", json_integer(action->revision));
    return json_array_append_new(arg, object) == 0;
}

/* GET /api/v1/findings/ID/actions */
static void list_actions(struct context *c, const char *id)
{
    json_t *list = json_array();
    pk_err err = pk_store_query_actions(c->routes->reader, c->tenant, id, on_action, list);
    if (err != PK_OK) {
        json_decref(list);
        refuse_store(c, c->routes->reader, err);
        return;
    }
    reply_json(c->response, OK, list);
}

/* The id that the rest of the path names, "/ID" or "/ID/WORD"; "" when there is none. */
static void read_id(const char *rest, char out_id[65], const char **out_word)
{
    size_t len = *rest == '/' ? strcspn(rest + 1, "/") : 0;
    snprintf(out_id, 65, "%.*s", len < 64 ? (int)len : 64, *rest ? rest + 1 : "");
    *out_word = *rest && rest[1 + len] == '/' ? rest + 2 + len : "";
}

void handle_findings(struct context *c)
{
    const char *since = pk_http_query(c->request, "since"), *word;
    const char *state = pk_http_query(c->request, "state");
    char id[65];
    read_id(c->rest, id, &word);
    if (strcmp(word, "actions") == 0) {
        list_actions(c, id);
        return;
    }
    struct pk_store_finding_query query = {
        .min_severity = (uint8_t)query_count(c->request, "min_severity", 0),
        .limit = query_count(c->request, "limit", DEFAULT_FINDINGS),
        .id = id[0] ? id : NULL,
    };
    if (since && !pk_time_parse(since, &query.since_us)) {
        refuse(c->response, BAD_REQUEST, "since must be a time like 2026-11-23T09:55:00Z");
        return;
    }
    if (state && strcmp(state, "all") != 0 && strcmp(state, "open") != 0) {
        refuse(c->response, BAD_REQUEST,
            "state is open (what is neither closed nor suppressed; the default) or all");
        return;
    }
    struct listing listing = {.response = c->response,
        .suppressions = json_array(),
        .wants_all = state && strcmp(state, "all") == 0,
        .is_one = id[0] != '\0'};
    pk_err err = pk_store_query_suppressions(
        c->routes->reader, c->tenant, false, on_suppression, listing.suppressions);
    pk_bytes_printf(&c->response->body, "[");
    if (err == PK_OK) {
        err = pk_store_query_findings(c->routes->reader, c->tenant, &query, on_finding, &listing);
    }
    json_decref(listing.suppressions);
    if (err != PK_OK) {
        pk_bytes_clear(&c->response->body);
        refuse_store(c, c->routes->reader, err);
        return;
    }
    pk_bytes_printf(&c->response->body, "\n]\n");
}

void handle_finding_action(struct context *c)
{
    static const char *const actions[] = {"acknowledge", "close", "reopen", "note"};
    json_t *body = json_loadb(c->request->body, c->request->body_len, JSON_REJECT_DUPLICATES, NULL);
    const char *word;
    char id[65];
    bool is_known = false;
    read_id(c->rest, id, &word);
    struct pk_store_action action = {
        .action = text_of(body, "action"), .note = text_of(body, "note"), .by_key = c->key.name};
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        is_known = is_known || strcmp(action.action, actions[i]) == 0;
    }
    bool needs_note = strcmp(action.action, "note") == 0 && *action.note == '\0';
    if (!id[0] || *word || !is_known || needs_note || strlen(action.note) > MAX_NOTE) {
        refuse(c->response, BAD_REQUEST,
            "needs POST /api/v1/findings/ID with {\"action\": \"acknowledge|close|reopen|note\", \"note\": \"at most 2000 bytes\"}");
    } else {
        pk_err err = pk_store_act_on_finding(c->routes->control, c->tenant, id, &action);
        if (err == PK_ERR_CONFIG) {
            refuse(c->response, NOT_FOUND, "there is no such finding");
        } else if (err != PK_OK) {
            refuse_store(c, c->routes->control, err);
        } else {
            reply_json(c->response, OK, json_pack("{s:s, s:s}", "id", id, "action", action.action));
        }
    }
    json_decref(body);
}

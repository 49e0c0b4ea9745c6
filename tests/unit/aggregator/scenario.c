/* Scenario files: a small language for timelines. Test code: anything wrong ends the test with file and line. */
#include "scenario.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "picket/dnsmsg.h"
#include "picket/hash.h"
#include "picket/rdata.h"

enum {
    MAX_WORDS = 32,
    MAX_LIST = 4096,
    MAX_SCOPE = 1 << 16
};

static const char default_scope[] =
    "tenants:\n  - name: acme\n    sites: [hq, branch, cloud]\n    zones: [example.com, wild.example]\n"
    "    networks: [198.51.100.0/24, 2001:db8::/32]\n    transfer_peers: [192.0.2.7]\n    scanners: [203.0.113.200]\n";

struct list {
    char *text;
    char *v[MAX_LIST];
    size_t n;
};

struct reading {
    struct scenario *scenario;
    unsigned line;
    int64_t now_us, step_us;
    struct list words, odd;
    struct {
        char name[65];
        uint8_t vantage;
        struct pk_addr server;
    } sites[MAX_SCENARIO_SITES];
    size_t n_sites;
};

static void wrong(const struct reading *in, const char *what, const char *word)
{
    fail_msg("%s:%u: %s: %s", in->scenario->path, in->line, what, word);
}

static void load_list(struct list *list, const char *folder_of, const char *name)
{
    char path[600];
    struct pk_bytes bytes;
    const char *slash = strrchr(folder_of, '/');
    snprintf(path, sizeof path, "%.*s/%s", (int)(slash - folder_of), folder_of, name);
    pk_bytes_init(&bytes, 1 << 20);
    assert_int_equal(pk_bytes_read_file(&bytes, path), PK_OK);
    list->text = strdup(pk_bytes_text(&bytes));
    pk_bytes_done(&bytes);
    char *rest = list->text;
    for (char *word = strsep(&rest, "\n"); word; word = strsep(&rest, "\n")) {
        if (*word && list->n < MAX_LIST) {
            list->v[list->n++] = word;
        }
    }
}

/* --- words into values --- */

static int64_t duration(const struct reading *in, const char *word)
{
    char *end;
    double v = strtod(word, &end);
    double unit = strcmp(end, "ms") == 0  ? 1e3
                  : strcmp(end, "s") == 0 ? 1e6
                  : strcmp(end, "m") == 0 ? 60e6
                  : strcmp(end, "h") == 0 ? 3600e6
                  : strcmp(end, "d") == 0 ? 86400e6
                                          : -1;
    if (unit < 0 || end == word) {
        wrong(in, "not a duration", word);
    }
    return (int64_t)(v * unit);
}

static int64_t instant(const struct reading *in, const char *word)
{
    int y, mo, d, h = 0, mi = 0;
    double s = 0;
    int n = sscanf(word, "%d-%d-%dT%d:%d:%lf", &y, &mo, &d, &h, &mi, &s);
    if (n < 3) {
        wrong(in, "not a time", word);
    }
    /* Days from civil, Howard Hinnant. */
    int64_t year = y - (mo <= 2);
    int64_t era = year / 400, yoe = year - era * 400;
    int64_t doy = (153 * (mo + (mo > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    int64_t days = era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
    return ((days * 24 + h) * 60 + mi) * 60000000 + (int64_t)(s * 1e6);
}

static void put_rand(char *out, uint64_t i)
{
    uint64_t x = i * 0x9e3779b97f4a7c15u + 0x2545f4914f6cdd1du;
    for (unsigned k = 0; k < 10; k++) {
        x ^= x >> 29;
        x *= 0xbf58476d1ce4e5b9u;
        out[k] = (char)('a' + (x >> 40) % 26);
    }
    out[10] = 0;
}

/* {..} and [..] of one word for number i. */
static void fill_word(const struct reading *in, const char *word, uint64_t i, char out[256])
{
    size_t at = 0;
    uint64_t n = i;
    char picked[256];
    const char *open = strchr(word, '['), *close = open ? strchr(open, ']') : NULL;
    if (close) { /* pick first, then fill */
        size_t entries = 1, want;
        for (const char *p = open; p < close; p++) {
            entries += *p == ',';
        }
        want = i % entries;
        n = i / entries;
        const char *from = open + 1;
        for (; want > 0; want--) {
            from = strchr(from, ',') + 1;
        }
        size_t len = strcspn(from, ",]");
        snprintf(picked, sizeof picked, "%.*s%.*s%s", (int)(open - word), word, (int)len, from,
            close + 1);
        word = picked;
    }
    for (const char *p = word; *p && at < 200;) {
        char r[16];
        put_rand(r, i);
        if (strncmp(p, "{i}", 3) == 0 || strncmp(p, "{n}", 3) == 0) {
            at += (size_t)snprintf(
                out + at, 256 - at, "%llu", (unsigned long long)(p[1] == 'i' ? i : n));
            p += 3;
        } else if (strncmp(p, "{word}", 6) == 0) {
            at += (size_t)snprintf(out + at, 256 - at, "%s", in->words.v[i % in->words.n]);
            p += 6;
        } else if (strncmp(p, "{odd}", 5) == 0) {
            at += (size_t)snprintf(out + at, 256 - at, "%s", in->odd.v[i % in->odd.n]);
            p += 5;
        } else if (strncmp(p, "{rand}", 6) == 0) {
            at += (size_t)snprintf(out + at, 256 - at, "%s", r);
            p += 6;
        } else {
            out[at++] = *p++;
        }
    }
    out[at] = 0;
}

/* --- rows --- */

static void set_client(const struct reading *in, const char *word, struct pk_client *client)
{
    if (strncmp(word, "client:", 7) == 0) {
        client->kind = PK_CLIENT_PSEUDONYM;
        for (size_t i = 0; i < 8 && word[7 + 2 * i]; i++) {
            unsigned v = 0;
            (void)sscanf(word + 7 + 2 * i, "%2x", &v);
            client->pseudonym[i] = (uint8_t)v;
        }
        return;
    }
    if (strcmp(word, "hidden") == 0) {
        client->kind = PK_CLIENT_NONE;
        return;
    }
    bool is_inside = strncmp(word, "inside:", 7) == 0;
    client->kind = is_inside ? PK_CLIENT_INSIDE : PK_CLIENT_OUTSIDE;
    if (!pk_addr_parse(is_inside ? word + 7 : word, &client->addr)) {
        wrong(in, "not an address", word);
    }
}

static void set_answer(const struct reading *in, const char *word, struct pk_activity *row)
{
    static const struct {
        const char *word;
        uint8_t answer;
        uint16_t rcode;
    } answers[] = {{"data", PK_ANSWER_DATA, 0}, {"nodata", PK_ANSWER_NODATA, 0},
        {"nxdomain", PK_ANSWER_NXDOMAIN, 3}, {"referral", PK_ANSWER_REFERRAL, 0},
        {"refused", PK_ANSWER_ERROR, 5}, {"none", PK_ANSWER_NONE, PK_RCODE_NO_RESPONSE},
        {"truncated", PK_ANSWER_TRUNCATED, 0}, {"transfer", PK_ANSWER_TRANSFER, 0}};
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        if (strcmp(answers[i].word, word) == 0) {
            row->signature.answer = answers[i].answer;
            row->signature.rcode = answers[i].rcode;
            return;
        }
    }
    wrong(in, "not an answer", word);
}

static void set_key(const struct reading *in, const char *word, struct pk_activity *row)
{
    char key[32];
    const char *value = strchr(word, '=');
    if (!value || (size_t)(value - word) >= sizeof key) {
        wrong(in, "not key=value", word);
        return;
    }
    snprintf(key, sizeof key, "%.*s", (int)(value - word), word);
    value++;
    unsigned long long v = strtoull(value, NULL, 0);
    if (strcmp(key, "digest") == 0) {
        row->answer_digest = v;
    } else if (strcmp(key, "for") == 0) {
        assert_true(pk_prefix_parse(value, &row->client.prefix));
    } else if (strcmp(key, "count") == 0) {
        row->count = (uint32_t)v;
    } else if (strcmp(key, "server") == 0) {
        assert_true(pk_addr_parse(value, &row->signature.server));
    } else if (strcmp(key, "vantage") == 0) {
        row->signature.vantage =
            strcmp(value, "resolver") == 0 ? PK_VANTAGE_RESOLVER : PK_VANTAGE_AUTHORITATIVE;
    } else if (strcmp(key, "opcode") == 0) {
        row->signature.opcode = (uint8_t)v;
    } else if (strcmp(key, "qclass") == 0) {
        row->signature.qclass = (uint16_t)v;
    } else if (strcmp(key, "rcode") == 0) {
        row->signature.rcode = (uint16_t)v;
    } else if (strcmp(key, "flags") == 0) {
        row->signature.flags = (uint16_t)v;
    } else if (strcmp(key, "records") == 0) {
        row->transfer_records = (uint32_t)v;
    } else if (strcmp(key, "soas") == 0) {
        row->transfer_soas = (uint16_t)v;
    } else if (strcmp(key, "span") == 0) {
        row->span_us = (uint32_t)duration(in, value);
    } else if (strcmp(key, "ttl") == 0) {
        row->min_ttl_s = (uint32_t)v;
    } else if (strcmp(key, "bytes") == 0) {
        row->response_bytes_max = (uint32_t)v;
    } else if (strcmp(key, "transport") == 0) {
        row->signature.transport = strcmp(value, "tcp") == 0 ? PK_TRANSPORT_TCP : PK_TRANSPORT_UDP;
    } else if (strcmp(key, "mixed") == 0) {
        row->case_mixed = (uint8_t)v;
    } else if (strcmp(key, "size") == 0) {
        row->signature.edns_udp_size = (uint16_t)v;
    } else {
        wrong(in, "not a key of a row", word);
    }
}

static uint16_t type_of(const struct reading *in, const char *word)
{
    char text[PK_TYPE_TEXT_SIZE];
    for (unsigned type = 1; type <= 260; type++) {
        if (strcmp(pk_type_text((uint16_t)type, text), word) == 0) {
            return (uint16_t)type;
        }
    }
    unsigned v = 0;
    if (sscanf(word, "TYPE%u", &v) != 1) {
        wrong(in, "not a type", word);
    }
    return (uint16_t)v;
}

static struct scenario_row *next_row(struct reading *in)
{
    struct scenario *scenario = in->scenario;
    if (scenario->n_rows == scenario->cap_rows) {
        scenario->cap_rows = scenario->cap_rows ? 2 * scenario->cap_rows : 256;
        scenario->rows = realloc(scenario->rows, scenario->cap_rows * sizeof *scenario->rows);
        assert_non_null(scenario->rows);
    }
    struct scenario_row *row = &scenario->rows[scenario->n_rows++];
    memset(row, 0, sizeof *row);
    return row;
}

static void add_row(struct reading *in, char words[][256], size_t n)
{
    if (n < 5) {
        wrong(in, "a row has at least site, client, name, type and answer", n ? words[0] : "");
    }
    struct scenario_row *row = next_row(in);
    struct pk_activity *activity = &row->activity;
    snprintf(row->site, sizeof row->site, "%.64s", words[0]);
    *activity = (struct pk_activity){.first_us = in->now_us,
        .count = 1,
        .signature = {.server_port = 53, .qclass = 1, .vantage = PK_VANTAGE_AUTHORITATIVE}};
    (void)pk_addr_parse("198.51.100.1", &activity->signature.server);
    for (size_t i = 0; i < in->n_sites; i++) {
        if (strcmp(in->sites[i].name, row->site) == 0) {
            activity->signature.vantage = in->sites[i].vantage;
            activity->signature.server = in->sites[i].server;
        }
    }
    set_client(in, words[1], &activity->client);
    if (pk_name_from_text(words[2], &row->name) != PK_OK) {
        wrong(in, "not a name", words[2]);
    }
    pk_name_lower(&row->name);
    activity->signature.qtype = type_of(in, words[3]);
    set_answer(in, words[4], activity);
    for (size_t i = 5; i < n; i++) {
        set_key(in, words[i], activity);
    }
    in->now_us += in->step_us;
}

static void repeat_row(struct reading *in, char *const *words, size_t n)
{
    unsigned long long first, last;
    char filled[MAX_WORDS][256];
    if (n < 3 || sscanf(words[1], "%llu..%llu", &first, &last) != 2 ||
        strcmp(words[2], "row") != 0) {
        wrong(in, "for FIRST..LAST row ...", words[0]);
        return;
    }
    for (uint64_t i = first; i <= last; i++) {
        for (size_t k = 3; k < n; k++) {
            fill_word(in, words[k], i, filled[k - 3]);
        }
        add_row(in, filled, n - 3);
    }
}

/* alias SITE NEW OLD; counted SITE CLIENT ZONE [key=value]... */
static void add_count(struct reading *in, char *const *words, size_t n)
{
    bool is_alias = strcmp(words[0], "alias") == 0;
    if (n < 4 || (is_alias && n > 4)) {
        wrong(in, "alias SITE NEW OLD, or counted SITE CLIENT ZONE ...", words[0]);
    }
    struct scenario_row *row = next_row(in);
    struct pk_client_count *count = &row->count;
    row->is_count = true;
    snprintf(row->site, sizeof row->site, "%.64s", words[1]);
    count->first_us = in->now_us;
    count->reason = is_alias ? PK_CLIENT_ALIAS : PK_CLIENT_OVERFLOW;
    set_client(in, words[2], &count->client);
    if (is_alias) {
        set_client(in, words[3], &count->former);
        row->name.len = 1;
    } else if (pk_name_from_text(words[3], &row->name) != PK_OK) {
        wrong(in, "not a zone", words[3]);
    }
    for (size_t i = 4; i < n; i++) {
        uint32_t v =
            (uint32_t)strtoul(strchr(words[i], '=') ? strchr(words[i], '=') + 1 : "", NULL, 10);
        if (strncmp(words[i], "names=", 6) == 0) {
            for (uint64_t k = 0; k < v; k++) {
                pk_sketch_add(&count->names, pk_hash_fixed(&k, sizeof k));
            }
        } else if (strncmp(words[i], "count=", 6) == 0) {
            count->count = v;
        } else if (strncmp(words[i], "negative=", 9) == 0) {
            count->negative = v;
        } else if (strncmp(words[i], "unanswered=", 11) == 0) {
            count->unanswered = v;
        } else {
            wrong(in, "not of a counted row", words[i]);
        }
    }
    in->now_us += in->step_us;
}

/* --- the other commands --- */

static void add_site(struct reading *in, char *const *words, size_t n)
{
    if (n < 3 || in->n_sites == MAX_SCENARIO_SITES) {
        wrong(in, "site NAME VANTAGE [SERVER]", n > 1 ? words[1] : "");
    }
    snprintf(in->sites[in->n_sites].name, sizeof in->sites->name, "%.64s", words[1]);
    in->sites[in->n_sites].vantage =
        strcmp(words[2], "resolver") == 0 ? PK_VANTAGE_RESOLVER : PK_VANTAGE_AUTHORITATIVE;
    (void)pk_addr_parse(n > 3 ? words[3] : "198.51.100.1", &in->sites[in->n_sites].server);
    in->n_sites++;
}

static void add_history(struct reading *in, char *const *words, size_t n)
{
    struct scenario *scenario = in->scenario;
    if (n < 4 || scenario->n_history == MAX_HISTORY ||
        pk_name_from_text(words[1], &scenario->history[scenario->n_history].name) != PK_OK) {
        wrong(in, "history NAME FIRST LAST ...", words[0]);
    }
    struct pk_history_entry entry = {.first_us = instant(in, words[2]),
        .last_positive_us = instant(in, words[3]),
        .n_sites = 1,
        .n_days = 1};
    for (size_t i = 4; i < n; i++) {
        if (strncmp(words[i], "sites=", 6) == 0) {
            entry.n_sites = (uint32_t)strtoul(words[i] + 6, NULL, 10);
        } else if (strncmp(words[i], "days=", 5) == 0) {
            entry.n_days = (uint32_t)strtoul(words[i] + 5, NULL, 10);
        } else if (strcmp(words[i], "authoritative") == 0) {
            entry.was_authoritative = true;
        } else {
            wrong(in, "not of a history", words[i]);
        }
    }
    scenario->history[scenario->n_history++].entry = entry;
}

static void add_expect(struct reading *in, char *const *words, size_t n)
{
    struct scenario *scenario = in->scenario;
    if (n < 2 || scenario->n_expects == MAX_EXPECTS) {
        wrong(in, "expect DETECTOR ...", words[0]);
    }
    struct scenario_expect *expect = &scenario->expects[scenario->n_expects++];
    expect->line = in->line;
    snprintf(expect->detector, sizeof expect->detector, "%.15s", words[1]);
    for (size_t i = 2; i < n && expect->n_terms < MAX_TERMS; i++) {
        snprintf(expect->terms[expect->n_terms++], sizeof *expect->terms, "%.127s", words[i]);
    }
}

static void parse_scope(struct reading *in, const char *text)
{
    char error[PK_CONF_ERROR_SIZE];
    pk_scope_free(in->scenario->scope);
    in->scenario->scope = NULL;
    if (pk_scope_parse(in->scenario->path, text, strlen(text), &in->scenario->scope, error) !=
        PK_OK) {
        wrong(in, "scope", error);
    }
}

static void take_line(struct reading *in, char *line)
{
    char *words[MAX_WORDS], *rest = line;
    size_t n = 0;
    for (char *word = strsep(&rest, " \t"); word && n < MAX_WORDS; word = strsep(&rest, " \t")) {
        if (*word == '#') {
            break;
        }
        if (*word) {
            words[n++] = word;
        }
    }
    if (n == 0) {
        return;
    }
    const char *command = words[0];
    if (strcmp(command, "row") == 0) {
        char filled[MAX_WORDS][256];
        for (size_t i = 1; i < n; i++) {
            fill_word(in, words[i], 0, filled[i - 1]);
        }
        add_row(in, filled, n - 1);
    } else if (strcmp(command, "for") == 0) {
        repeat_row(in, words, n);
    } else if (strcmp(command, "alias") == 0 || strcmp(command, "counted") == 0) {
        add_count(in, words, n);
    } else if (strcmp(command, "at") == 0 && n == 2) {
        in->now_us = instant(in, words[1]);
    } else if (strcmp(command, "step") == 0 && n == 2) {
        in->step_us = duration(in, words[1]);
    } else if (strcmp(command, "wait") == 0 && n == 2) {
        in->now_us += duration(in, words[1]);
    } else if (strcmp(command, "site") == 0) {
        add_site(in, words, n);
    } else if (strcmp(command, "history") == 0) {
        add_history(in, words, n);
    } else if (strcmp(command, "expect") == 0) {
        add_expect(in, words, n);
    } else if (strcmp(command, "mark") == 0) {
        next_row(in)->is_mark = true;
    } else if (strcmp(command, "flush") == 0) {
        next_row(in)->is_flush = true;
    } else {
        wrong(in, "not a command", command);
    }
}

struct scenario *scenario_load(const char *path)
{
    struct reading in = {.now_us = 1795000000000000, .step_us = 1000000};
    struct pk_bytes bytes;
    in.scenario = calloc(1, sizeof *in.scenario);
    assert_non_null(in.scenario);
    snprintf(in.scenario->path, sizeof in.scenario->path, "%s", path);
    load_list(&in.words, path, "words.txt");
    load_list(&in.odd, path, "odd.txt");
    parse_scope(&in, default_scope);
    pk_bytes_init(&bytes, 1 << 20);
    assert_int_equal(pk_bytes_read_file(&bytes, path), PK_OK);
    char *text = strdup(pk_bytes_text(&bytes)), *rest = text;
    char *scope = calloc(1, MAX_SCOPE);
    bool is_scope = false;
    for (char *line = strsep(&rest, "\n"); line; line = strsep(&rest, "\n")) {
        in.line++;
        if (is_scope && strcmp(line, "end") == 0) {
            parse_scope(&in, scope);
            is_scope = false;
        } else if (is_scope) {
            strncat(scope, line, MAX_SCOPE - strlen(scope) - 2);
            strcat(scope, "\n");
        } else if (strcmp(line, "scope") == 0) {
            is_scope = true;
        } else {
            take_line(&in, line);
        }
    }
    free(scope);
    free(text);
    free(in.words.text);
    free(in.odd.text);
    pk_bytes_done(&bytes);
    return in.scenario;
}

void scenario_free(struct scenario *scenario)
{
    pk_scope_free(scenario->scope);
    free(scenario->rows);
    free(scenario);
}

/* --- playing --- */

static bool lookup(void *arg, const struct pk_name *name, struct pk_history_entry *out_entry)
{
    const struct scenario *scenario = arg;
    for (size_t i = 0; i < scenario->n_history; i++) {
        if (pk_name_equal(&scenario->history[i].name, name)) {
            *out_entry = scenario->history[i].entry;
            return true;
        }
    }
    return false;
}

static void on_finding(void *arg, const struct pk_finding *finding)
{
    struct scenario_result *result = arg;
    assert_int_equal(pk_finding_json(finding, &result->log), PK_OK);
    pk_bytes_put_u8(&result->log, '\n');
    for (size_t i = 0; i < result->n; i++) {
        if (strcmp(result->findings[i].id, finding->id) == 0) {
            result->findings[i] = *finding;
            return;
        }
    }
    if (result->n == result->cap) {
        result->cap = result->cap ? 2 * result->cap : 8;
        result->findings = realloc(result->findings, result->cap * sizeof *result->findings);
        result->at_rows = realloc(result->at_rows, result->cap * sizeof *result->at_rows);
        assert_true(result->findings && result->at_rows);
    }
    result->at_rows[result->n] = result->rows;
    result->findings[result->n++] = *finding;
}

static struct pk_engine *engine_for(const struct scenario *scenario, struct scenario_result *result)
{
    struct pk_engine *engine;
    struct pk_engine_options options = {.tenant = &scenario->scope->tenants[0],
        .limits = {.max_actors = 5000, .max_contacts = 200000},
        .history = {
            .arg = (void *)(uintptr_t)scenario, .lookup = scenario->n_history ? lookup : NULL}};
    assert_int_equal(pk_engine_new(&options, on_finding, result, &engine), PK_OK);
    return engine;
}

void scenario_play(
    const struct scenario *scenario, size_t every, struct scenario_result *out_result)
{
    memset(out_result, 0, sizeof *out_result);
    pk_bytes_init(&out_result->log, 1 << 26);
    pk_bytes_init(&out_result->state, 1 << 26);
    struct pk_engine *engine = engine_for(scenario, out_result);
    for (size_t i = 0; i < scenario->n_rows; i++) {
        const struct scenario_row *row = &scenario->rows[i];
        if (every && i % every == every - 1) {
            struct pk_bytes saved;
            pk_bytes_init(&saved, 1 << 26);
            assert_int_equal(pk_engine_save(engine, &saved), PK_OK);
            pk_engine_free(engine);
            engine = engine_for(scenario, out_result);
            assert_int_equal(pk_engine_load(engine, saved.data, saved.len), PK_OK);
            pk_bytes_done(&saved);
        }
        if (row->is_mark || row->is_flush) {
            out_result->rows = row->is_mark ? 0 : out_result->rows;
            assert_int_equal(row->is_flush ? pk_engine_flush(engine) : PK_OK, PK_OK);
            continue;
        }
        struct pk_activity activity = row->activity;
        struct pk_engine_origin origin = {.site = row->site, .sensor = row->site};
        activity.name = (struct pk_slice){row->name.wire, row->name.len};
        out_result->rows++;
        if (row->is_count) {
            struct pk_client_count count = row->count;
            count.zone = activity.name;
            assert_int_equal(pk_engine_observe_client(engine, &origin, &count), PK_OK);
        } else {
            assert_int_equal(pk_engine_observe(engine, &origin, &activity), PK_OK);
        }
    }
    assert_int_equal(pk_engine_flush(engine), PK_OK);
    assert_int_equal(pk_engine_save(engine, &out_result->state), PK_OK);
    pk_engine_free(engine);
}

void scenario_result_done(struct scenario_result *result)
{
    free(result->findings);
    free(result->at_rows);
    pk_bytes_done(&result->log);
    pk_bytes_done(&result->state);
}

/* --- judging --- */

static bool value_of(const struct pk_finding *finding, uint64_t rows, const char *key,
    double *out_number, const char **out_text)
{
    const struct {
        const char *key;
        double v;
    } numbers[] = {{"severity", finding->severity}, {"sites", (double)finding->n_sites},
        {"trials", finding->trials}, {"hits", finding->hits}, {"dict", finding->dict},
        {"rand", finding->rand}, {"other", finding->other}, {"learned", (double)finding->n_learned},
        {"zones", (double)finding->n_zones}, {"addresses", (double)finding->n_addresses},
        {"revision", finding->revision}, {"score", finding->score_nats},
        {"confidence", finding->confidence}, {"rows", (double)rows}};
    const struct {
        const char *key, *v;
    } texts[] = {{"actor", finding->actor_key}, {"kind", finding->actor_kind},
        {"title", finding->title}, {"id", finding->id}, {"state", finding->state}};
    *out_text = NULL;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (strcmp(numbers[i].key, key) == 0) {
            *out_number = numbers[i].v;
            return true;
        }
    }
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (strcmp(texts[i].key, key) == 0) {
            *out_text = texts[i].v;
            return true;
        }
    }
    return false;
}

static bool agrees(const struct pk_finding *finding, uint64_t rows, const char *term)
{
    char key[32];
    double number = 0;
    const char *text;
    size_t len = strcspn(term, "<>=");
    const char *op = term + len, *value = op + 1 + (op[0] != '=' && op[1] == '=');
    snprintf(key, sizeof key, "%.*s", (int)len, term);
    if (!value_of(finding, rows, key, &number, &text)) {
        fail_msg("not a key of a finding: %s", term);
    }
    if (text) {
        return strcmp(text, value) == 0;
    }
    double wanted = strtod(value, NULL);
    return *op == '=' ? number == wanted : *op == '<' ? number <= wanted : number >= wanted;
}

const char *scenario_check(const struct scenario *scenario, const struct scenario_result *result)
{
    static char text[800];
    size_t n_expected = 0;
    for (size_t i = 0; i < scenario->n_expects; i++) {
        const struct scenario_expect *expect = &scenario->expects[i];
        bool is_none = strcmp(expect->detector, "none") == 0,
             is_only = strcmp(expect->detector, "only") == 0,
             is_quiet = strcmp(expect->detector, "quiet") == 0;
        size_t n = 0, n_loud = 0;
        for (size_t k = 0; k < result->n; k++) {
            bool is_match = strcmp(result->findings[k].detector, expect->detector) == 0;
            for (size_t t = 0; t < expect->n_terms && is_match; t++) {
                is_match = agrees(&result->findings[k], result->at_rows[k], expect->terms[t]);
            }
            n += is_match;
            n_loud += result->findings[k].severity >= 2;
        }
        n_expected += n;
        bool is_good = is_none    ? result->n == 0
                       : is_quiet ? n_loud == 0
                       : is_only  ? n_expected == result->n
                                  : n == 1;
        if (!is_good) {
            snprintf(text, sizeof text, "%s:%u: expected %s: %zu of %zu findings", scenario->path,
                expect->line, expect->detector, is_none || is_only ? n_expected : n, result->n);
            return text;
        }
    }
    return scenario->n_expects ? NULL : "a scenario expects something";
}

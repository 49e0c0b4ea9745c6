/* Coverage first, then the rows in the order they were stored.
 *
 * What nobody watched cannot be clean. A zone was watched while a scope version had it and sensors of the tenant reported (their health rows come also when nothing happens); the rest of the
 * period is listed as not watched, and a hunt that finds nothing there says so. */
#include "hunt.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include <jansson.h>

#include "picket/clock.h"

#include "baseline_file.h"
#include "cof_history.h"
#include "config.h"
#include "detect/engine.h"
#include "detect/finding.h"
#include "registry.h"
#include "retired.h"
#include "store/store.h"

enum {
    MAX_FINDING_BYTES = 256 << 10
};

struct period {
    int64_t from_us, to_us;
};
struct periods {
    struct period *v;
    size_t n;
};

struct hunt {
    const struct pk_hunt_options *options;
    struct pk_aggregator_config config;
    struct pk_store *store;
    struct pk_tenant_id id;
    struct pk_registry registry;
    struct pk_scope *own_scope;           /* of --scope; NULL: the registry's */
    const struct pk_scope_tenant *tenant; /* of either */
    struct pk_cof_history *history;
    struct pk_retired *retired;
    struct pk_priors priors;
    struct pk_engine *engine;
    struct periods *watched; /* one for each zone: while a scope version had it */
    struct period reported;  /* by the tenant's sensors; from > to: never */
    uint64_t rows, findings, revisions;
    pk_err err;
    bool is_closed; /* standard output is gone */
};

static int fail(int status, const char *text)
{
    fprintf(stderr, "picket-aggregator: %s\n", text);
    return status;
}

static int fail_store(const struct hunt *hunt, const char *doing, pk_err err)
{
    fprintf(stderr, "picket-aggregator: cannot %s: %s\n", doing,
        hunt->store ? pk_store_error(hunt->store) : pk_err_str(err));
    return EX_UNAVAILABLE;
}

/* --- coverage --- */

/* Versions come in order, so a period is either a continuation of the last one or after it. */
static bool add_period(struct periods *periods, int64_t from_us, int64_t to_us)
{
    if (periods->n > 0 && periods->v[periods->n - 1].to_us >= from_us) {
        periods->v[periods->n - 1].to_us = to_us;
        return true;
    }
    struct period *grown = realloc(periods->v, (periods->n + 1) * sizeof *grown);
    if (!grown) {
        return false;
    }
    periods->v = grown;
    periods->v[periods->n++] = (struct period){from_us, to_us};
    return true;
}

static bool on_scope(void *arg, int64_t from_us, int64_t to_us, const char *text)
{
    struct hunt *hunt = arg;
    struct pk_scope *scope = NULL;
    char error[PK_CONF_ERROR_SIZE];
    if (pk_scope_parse("stored scope", text, strlen(text), &scope, error) != PK_OK) {
        return true; /* nobody could go by it */
    }
    for (size_t t = 0; t < scope->n_tenants && hunt->err == PK_OK; t++) {
        for (size_t z = 0;
             z < hunt->tenant->n_zones &&
             strcmp(scope->tenants[t].name, hunt->options->tenant) == 0 && hunt->err == PK_OK;
             z++) {
            bool had = pk_scope_match(&scope->tenants[t], &hunt->tenant->zones[z], 1, 1, NULL) ==
                       PK_SCOPE_ZONE;
            if (had && !add_period(&hunt->watched[z], from_us, to_us)) {
                hunt->err = PK_ERR_NOMEM;
            }
        }
    }
    pk_scope_free(scope);
    return hunt->err == PK_OK;
}

static void append(json_t *list, int64_t from_us, int64_t to_us)
{
    char from[PK_TIME_TEXT_SIZE], to[PK_TIME_TEXT_SIZE];
    (void)json_array_append_new(list,
        json_pack("{s:s,s:s}", "from", pk_time_text(from_us, from), "to", pk_time_text(to_us, to)));
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void print_coverage(struct hunt *hunt, size_t z)
{
    json_t *watched = json_array(), *not_watched = json_array();
    const struct periods *periods = &hunt->watched[z];
    char name[PK_NAME_TEXT_SIZE], since[PK_TIME_TEXT_SIZE];
    int64_t at_us = hunt->options->from_us;
    const int64_t end_us = hunt->options->to_us;
    for (size_t i = 0; i < periods->n; i++) {
        int64_t from_us = later(later(periods->v[i].from_us, hunt->reported.from_us), at_us),
                to_us = earlier(earlier(periods->v[i].to_us, hunt->reported.to_us), end_us);
        if (from_us < to_us) {
            if (at_us < from_us) {
                append(not_watched, at_us, from_us);
            }
            append(watched, from_us, to_us);
            at_us = to_us;
        }
    }
    if (at_us < end_us) {
        append(not_watched, at_us, end_us);
    }
    int64_t since_us = periods->n > 0 && hunt->reported.from_us <= hunt->reported.to_us
                           ? later(periods->v[0].from_us, hunt->reported.from_us)
                           : INT64_MAX;
    json_t *line = json_pack("{s:{s:s,s:s,s:o,s:o,s:o}}", "coverage", "tenant",
        hunt->options->tenant, "zone", pk_name_text(&hunt->tenant->zones[z], name), "since",
        since_us == INT64_MAX ? json_null() : json_string(pk_time_text(since_us, since)), "watched",
        watched, "not_watched", not_watched);
    char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    json_decref(line);
    if (!text) {
        hunt->err = PK_ERR_NOMEM;
    } else {
        hunt->is_closed = hunt->is_closed || printf("%s\n", text) < 0;
    }
    free(text);
}

static pk_err tell_coverage(struct hunt *hunt)
{
    hunt->watched = calloc(hunt->tenant->n_zones + 1, sizeof *hunt->watched);
    if (!hunt->watched) {
        return PK_ERR_NOMEM;
    }
    pk_err err = pk_store_read_scopes(hunt->store, on_scope, hunt);
    if (err == PK_OK) {
        err = pk_store_read_reported(
            hunt->store, hunt->id, &hunt->reported.from_us, &hunt->reported.to_us);
    }
    for (size_t z = 0; z < hunt->tenant->n_zones && err == PK_OK && hunt->err == PK_OK; z++) {
        print_coverage(hunt, z);
    }
    return err != PK_OK ? err : hunt->err;
}

/* --- running --- */

static void on_finding(void *arg, const struct pk_finding *finding)
{
    struct hunt *hunt = arg;
    struct pk_bytes json;
    pk_bytes_init(&json, MAX_FINDING_BYTES);
    if (pk_finding_json(finding, &json) == PK_OK) {
        hunt->is_closed = hunt->is_closed || printf("%s\n", pk_bytes_text(&json)) < 0;
    }
    pk_bytes_done(&json);
    hunt->revisions++;
    hunt->findings += finding->revision == 1;
}

static bool on_row(void *arg, const struct pk_store_activity *stored)
{
    struct hunt *hunt = arg;
    const char *site = pk_registry_site_name(&hunt->registry, hunt->id, stored->site);
    const struct pk_store_sensor *sensor = pk_registry_sensor(&hunt->registry, stored->sensor.v);
    struct pk_engine_origin origin = {
        .site = site ? site : "unknown", .sensor = sensor ? sensor->name : "unknown"};
    if (hunt->retired) {
        pk_retired_set_seq(hunt->retired, stored->ingest_seq);
    }
    hunt->rows++;
    hunt->err = stored->client ? pk_engine_observe_client(hunt->engine, &origin, stored->client)
                               : pk_engine_observe(hunt->engine, &origin, &stored->activity);
    return hunt->err == PK_OK && !hunt->is_closed;
}

static pk_err start_engine(struct hunt *hunt)
{
    struct pk_engine_options options = {.tenant = hunt->tenant, .priors = &hunt->priors};
    pk_err err = PK_OK;
    if (hunt->history) {
        options.history = pk_cof_history_source(hunt->history);
    } else {
        err = pk_retired_new(hunt->id, 0, &hunt->retired);
        if (err == PK_OK) {
            err = pk_retired_load(hunt->retired, hunt->store, 0);
            options.history = pk_retired_source(hunt->retired);
        }
    }
    return err == PK_OK ? pk_engine_new(&options, on_finding, hunt, &hunt->engine) : err;
}

static int run(struct hunt *hunt)
{
    pk_err err = tell_coverage(hunt);
    if (err == PK_OK) {
        err = start_engine(hunt);
    }
    if (err == PK_OK) {
        err = pk_store_read_activity_between(
            hunt->store, hunt->id, hunt->options->from_us, hunt->options->to_us, on_row, hunt);
    }
    err = err == PK_OK ? hunt->err : err;
    if (err == PK_OK) {
        err = pk_engine_flush(hunt->engine);
    }
    if (err == PK_OK) {
        err = pk_engine_finish(hunt->engine);
    }
    if (err != PK_OK) {
        return err == PK_ERR_NOMEM ? fail(EX_OSERR, "out of memory")
                                   : fail_store(hunt, "read the stored activity", err);
    }
    struct pk_engine_stats stats;
    pk_engine_stats(hunt->engine, &stats);
    fprintf(stderr,
        "{\"rows\":%" PRIu64 ",\"ignored_rows\":%" PRIu64 ",\"trials\":%" PRIu64
        ",\"actors\":%zu,\"evicted_actors\":%" PRIu64 ",\"findings\":%" PRIu64
        ",\"revisions\":%" PRIu64 "}\n",
        hunt->rows, stats.ignored_rows, stats.trials, stats.actors, stats.evicted_actors,
        hunt->findings, hunt->revisions);
    return fflush(stdout) != 0 && errno != EPIPE
               ? fail(EX_IOERR, "standard output cannot be written")
               : EX_OK;
}

/* --- settings --- */

static int open_store(struct hunt *hunt)
{
    char error[PK_CONF_ERROR_SIZE];
    struct pk_store_registry rows = {0};
    struct pk_store_options options = {.conninfo = hunt->config.database,
        .role = hunt->config.role,
        .application = "picket-replay"};
    pk_err err = pk_store_open(&options, &hunt->store);
    if (err == PK_OK) {
        err = pk_store_find_tenant(hunt->store, hunt->options->tenant, &hunt->id);
    }
    if (err == PK_OK) {
        err = pk_store_load_registry(hunt->store, &rows);
    }
    if (err != PK_OK) {
        return fail_store(hunt, "read the database", err);
    }
    if (pk_registry_init(&hunt->registry, &rows, error) != PK_OK) {
        return fail(EX_CONFIG, error);
    }
    return hunt->id.v == 0 ? fail(EX_CONFIG, "--tenant: the database knows no such tenant") : EX_OK;
}

static int find_scope(struct hunt *hunt)
{
    char error[PK_CONF_ERROR_SIZE];
    pk_err err =
        hunt->options->scope ? pk_scope_load(hunt->options->scope, &hunt->own_scope, error) : PK_OK;
    if (err != PK_OK) {
        return fail(err == PK_ERR_IO ? EX_NOINPUT : EX_CONFIG, error);
    }
    const struct pk_scope *scope = hunt->own_scope ? hunt->own_scope : hunt->registry.scope;
    for (size_t i = 0; scope && i < scope->n_tenants; i++) {
        if (strcmp(scope->tenants[i].name, hunt->options->tenant) == 0) {
            hunt->tenant = &scope->tenants[i];
            return EX_OK;
        }
    }
    return fail(EX_CONFIG, "the tenant is not in the scope");
}

static int read_files(struct hunt *hunt)
{
    char history_error[PK_COF_ERROR_SIZE], baseline_error[PK_BASELINE_ERROR_SIZE];
    const struct pk_hunt_options *options = hunt->options;
    hunt->priors = pk_priors_shipped;
    if (options->baseline &&
        pk_baseline_load(options->baseline, &hunt->priors, baseline_error) != PK_OK) {
        return fail(EX_DATAERR, baseline_error);
    }
    if (options->history) {
        const struct pk_scope *scope = hunt->own_scope ? hunt->own_scope : hunt->registry.scope;
        if (pk_cof_history_load(options->history, scope, &hunt->history, history_error) != PK_OK) {
            return fail(EX_DATAERR, history_error);
        }
    }
    return EX_OK;
}

static void done(struct hunt *hunt)
{
    pk_engine_free(hunt->engine);
    pk_retired_free(hunt->retired);
    pk_cof_history_free(hunt->history);
    for (size_t z = 0; hunt->watched && z < hunt->tenant->n_zones; z++) {
        free(hunt->watched[z].v);
    }
    free(hunt->watched);
    pk_scope_free(hunt->own_scope);
    pk_registry_done(&hunt->registry);
    pk_store_close(hunt->store);
    pk_aggregator_config_done(&hunt->config);
}

int pk_hunt(const struct pk_hunt_options *options)
{
    struct hunt hunt = {.options = options};
    char error[PK_CONF_ERROR_SIZE];
    if (pk_aggregator_config_load(options->config, &hunt.config, error) != PK_OK) {
        pk_aggregator_config_done(&hunt.config);
        return fail(EX_CONFIG, error);
    }
    int (*const steps[])(struct hunt *) = {open_store, find_scope, read_files, run};
    int status = EX_OK;
    for (size_t i = 0; i < sizeof steps / sizeof *steps && status == EX_OK; i++) {
        status = steps[i](&hunt);
    }
    done(&hunt);
    return status;
}

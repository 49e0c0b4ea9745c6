/* Replay: verify every file whole, then feed the engines in the order of time over all files, then print.
 *
 * The order is fixed: rows by their time; of one time by the start of their batch's window, then by file, then by place in the file. */
#include "replay.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "picket/batch.h"
#include "picket/clock.h"
#include "picket/codec.h"
#include "picket/limits.h"
#include "picket/scope.h"
#include "picket/segment.h"

#include "baseline_file.h"
#include "by_time.h"
#include "cof_history.h"
#include "detect/engine.h"
#include "detect/finding.h"
#include "hunt.h"
#include "standing.h"

enum {
    MAX_FILE = 1 << 30,
    MAX_FINDING_BYTES = 256 << 10
};

struct file {
    const char *path;
    struct pk_bytes data;
    struct pk_origin origin;
    const struct pk_scope_tenant *tenant;
    const struct pk_scope_site *site;
};

struct item {
    int64_t window_start_us;
    size_t file, place;
    const uint8_t *body; /* in the file's data */
    uint32_t body_len;
    uint8_t codec, kind; /* enum pk_batch_kind: activity, client */
};

struct replay {
    struct pk_bytes unpacked; /* of the batch in hand */
    struct pk_scope *scope;
    struct pk_cof_history *history; /* NULL: none was given */
    struct pk_priors priors;        /* those shipped, or from a file */
    struct file *files;
    size_t n_files;
    struct item *items; /* batches of activity and of clients */
    size_t n_items, cap_items, n_activity;
    struct pk_engine **engines;    /* one for each tenant of the scope, NULL until needed */
    struct pk_standing **standing; /* the same */
    uint64_t rows, other_batches, findings, revisions, exposures;
    bool is_closed; /* standard output is gone */
};

static const char usage[] =
    "picket-aggregator replay --scope FILE [--history FILE.cof] [--baseline FILE] FILE.psp...\n"
    "picket-aggregator replay --from TIME --to TIME --tenant TENANT [--config FILE] [--scope FILE] [--history FILE.cof] [--baseline FILE]\n";

static int fail(int status, const char *text)
{
    fprintf(stderr, "picket-aggregator: %s\n", text);
    return status;
}

static int refuse(const struct file *file, size_t offset, const char *what, pk_err err)
{
    fprintf(stderr, "picket-aggregator: %s: offset %zu: %s (%s); nothing was used\n", file->path,
        offset, what, pk_err_str(err));
    return EX_DATAERR;
}

/* --- reading --- */

static int read_file(struct file *file)
{
    pk_bytes_init(&file->data, MAX_FILE);
    pk_err err = pk_bytes_read_file(&file->data, file->path);
    if (err == PK_ERR_IO) {
        fprintf(stderr, "picket-aggregator: %s: cannot be read: %s\n", file->path, strerror(errno));
        return EX_NOINPUT;
    }
    return err == PK_OK ? EX_OK : refuse(file, file->data.len, "larger than a gigabyte", err);
}

static bool add_item(struct replay *replay, const struct item *item)
{
    if (replay->n_items == replay->cap_items) {
        size_t cap = replay->cap_items ? 2 * replay->cap_items : 1024;
        struct item *grown = realloc(replay->items, cap * sizeof *grown);
        if (!grown) {
            return false;
        }
        replay->items = grown;
        replay->cap_items = cap;
    }
    replay->items[replay->n_items++] = *item;
    return true;
}

static int find_site(struct replay *replay, struct file *file)
{
    char error[PK_CONF_ERROR_SIZE];
    if (pk_scope_find_site(replay->scope, file->origin.site, &file->tenant, &file->site, error) !=
        PK_OK) {
        fprintf(stderr, "picket-aggregator: %s: %s\n", file->path, error);
        return EX_CONFIG;
    }
    return EX_OK;
}

static pk_err decode(struct replay *replay, uint8_t codec, const uint8_t *body, size_t len,
    struct pk_batch **out_batch, struct pk_batch_fault *out_fault)
{
    pk_err err = pk_unpack(codec, body, len, &replay->unpacked, &body, &len);
    return err == PK_OK ? pk_batch_decode(body, len, out_batch, out_fault) : err;
}

static int note_standing(
    struct replay *replay, const struct file *file, const struct pk_batch *batch)
{
    struct pk_standing **standing = &replay->standing[file->tenant - replay->scope->tenants];
    pk_err err = *standing ? PK_OK : pk_standing_new(file->tenant, standing);
    if (err == PK_OK) {
        err = pk_standing_batch(*standing, batch);
    }
    return err == PK_OK ? EX_OK : fail(EX_OSERR, "out of memory");
}

/* One record: checked to the last column, remembered when it is activity. */
static int take_record(struct replay *replay, size_t index, const struct pk_segment_record *record,
    size_t offset, size_t place)
{
    struct file *file = &replay->files[index];
    struct pk_batch *batch = NULL;
    struct pk_batch_fault fault = {.what = ""};
    pk_err err = decode(replay, record->codec, record->body, record->body_len, &batch, &fault);
    if (err != PK_OK) {
        return refuse(file, offset, fault.what[0] ? fault.what : "codec", err);
    }
    int status = EX_OK;
    const struct pk_batch_info *info = pk_batch_info(batch);
    if (info->kind != record->kind || pk_batch_rows(batch) != record->rows) {
        status =
            refuse(file, offset, "kind or rows differ from the record's head", PK_ERR_MALFORMED);
    } else if (info->kind == PK_BATCH_ORIGIN) {
        pk_batch_origin(batch, &file->origin);
        status = find_site(replay, file);
    } else if (!file->tenant) {
        status = refuse(
            file, offset, "the file does not begin by saying who wrote it", PK_ERR_MALFORMED);
    } else if (info->kind == PK_BATCH_ACTIVITY || info->kind == PK_BATCH_CLIENT) {
        struct item item = {.kind = (uint8_t)info->kind,
            .window_start_us = info->window_start_us,
            .file = index,
            .place = place,
            .codec = record->codec,
            .body = record->body,
            .body_len = record->body_len};
        status = add_item(replay, &item) ? EX_OK : fail(EX_OSERR, "out of memory");
        replay->n_activity += info->kind == PK_BATCH_ACTIVITY;
        replay->other_batches += info->kind != PK_BATCH_ACTIVITY;
    } else {
        replay->other_batches++;
    }
    if (status == EX_OK && file->tenant) {
        status = note_standing(replay, file, batch);
    }
    pk_batch_free(batch);
    return status;
}

static int verify(struct replay *replay, size_t index)
{
    struct file *file = &replay->files[index];
    struct pk_segment_header header;
    int status = read_file(file);
    if (status != EX_OK) {
        return status;
    }
    const uint8_t *data = file->data.data ? file->data.data : (const uint8_t *)"";
    pk_err err = pk_segment_header_decode(data, file->data.len, &header);
    if (err != PK_OK) {
        return refuse(file, 0, "not a .psp file", err);
    }
    size_t pos = PK_SEGMENT_HEADER_BYTES;
    for (size_t place = 0; pos < file->data.len && status == EX_OK; place++) {
        struct pk_segment_record record;
        size_t offset = pos;
        err = pk_segment_record_decode(data, file->data.len, &pos, &record);
        status = err == PK_OK ? take_record(replay, index, &record, offset, place)
                              : refuse(file, offset, "damaged record", err);
    }
    if (status == EX_OK && !file->tenant) {
        status = refuse(file, pos, "the file holds nothing", PK_ERR_TRUNCATED);
    }
    return status;
}

/* --- running --- */

static int compare_items(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    if (x->window_start_us != y->window_start_us) {
        return x->window_start_us < y->window_start_us ? -1 : 1;
    }
    if (x->file != y->file) {
        return x->file < y->file ? -1 : 1;
    }
    return x->place < y->place ? -1 : x->place > y->place;
}

static void print_finding(struct replay *replay, const struct pk_finding *finding)
{
    struct pk_bytes json;
    pk_bytes_init(&json, MAX_FINDING_BYTES);
    if (pk_finding_json(finding, &json) == PK_OK) {
        replay->is_closed = replay->is_closed || printf("%s\n", pk_bytes_text(&json)) < 0;
    }
    pk_bytes_done(&json);
}

static void on_standing(void *arg, const struct pk_finding *finding)
{
    struct replay *replay = arg;
    print_finding(replay, finding);
    replay->exposures++;
}

static void on_finding(void *arg, const struct pk_finding *finding)
{
    struct replay *replay = arg;
    print_finding(replay, finding);
    replay->revisions++;
    replay->findings += finding->revision == 1;
}

static struct pk_engine *engine_of(struct replay *replay, const struct pk_scope_tenant *tenant)
{
    struct pk_engine **engine = &replay->engines[tenant - replay->scope->tenants];
    struct pk_engine_options options = {.tenant = tenant, .priors = &replay->priors};
    if (replay->history) {
        options.history = pk_cof_history_source(replay->history);
    }
    if (!*engine && pk_engine_new(&options, on_finding, replay, engine) != PK_OK) {
        *engine = NULL;
    }
    return *engine;
}

static pk_err feed_row(void *arg, const struct pk_batch *batch, const void *about, size_t i)
{
    struct replay *replay = arg;
    const struct item *item = about;
    const struct file *file = &replay->files[item->file];
    struct pk_engine_origin origin = {.site = file->site->name, .sensor = file->origin.sensor};
    struct pk_engine *engine = engine_of(replay, file->tenant);
    if (!engine) {
        return PK_ERR_NOMEM;
    }
    if (replay->is_closed) {
        return PK_OK;
    }
    if (item->kind == PK_BATCH_CLIENT) {
        struct pk_client_count row;
        pk_batch_client_count(batch, i, &row);
        return pk_engine_observe_client(engine, &origin, &row);
    }
    struct pk_activity row;
    pk_batch_activity(batch, i, &row);
    replay->rows++;
    return pk_engine_observe(engine, &origin, &row);
}

/* Everything before a batch's window goes in before the batch is unpacked. */
static pk_err feed(struct replay *replay, struct pk_by_time *rows)
{
    pk_err err = PK_OK;
    int64_t fed_us = INT64_MIN;
    for (size_t i = 0; i < replay->n_items && err == PK_OK && !replay->is_closed; i++) {
        const struct item *item = &replay->items[i];
        struct pk_batch *batch = NULL;
        struct pk_batch_fault fault;
        if (item->window_start_us > fed_us) {
            fed_us = item->window_start_us;
            err = pk_by_time_give(rows, fed_us);
        }
        if (err == PK_OK) { /* verified before: only memory can fail */
            err = decode(replay, item->codec, item->body, item->body_len, &batch, &fault);
        }
        if (err == PK_OK) {
            err = pk_by_time_add(rows, batch, item);
        }
    }
    return err == PK_OK ? pk_by_time_give(rows, INT64_MAX) : err;
}

static void print_summary(const struct replay *replay)
{
    struct pk_engine_stats sum = {0};
    for (size_t i = 0; i < replay->scope->n_tenants; i++) {
        if (replay->engines[i]) {
            struct pk_engine_stats stats;
            pk_engine_stats(replay->engines[i], &stats);
            sum.trials += stats.trials;
            sum.ignored_rows += stats.ignored_rows;
            sum.client_rows += stats.client_rows;
            sum.evicted_actors += stats.evicted_actors;
            sum.actors += stats.actors;
        }
    }
    fprintf(stderr,
        "{\"files\":%zu,\"activity_batches\":%zu,\"other_batches\":%" PRIu64 ",\"rows\":%" PRIu64
        ",\"ignored_rows\":%" PRIu64 ",\"client_rows\":%" PRIu64 ",\"trials\":%" PRIu64
        ",\"actors\":%zu,\"evicted_actors\":%" PRIu64 ",\"findings\":%" PRIu64
        ",\"revisions\":%" PRIu64 ",\"exposures\":%" PRIu64 "}\n",
        replay->n_files, replay->n_activity, replay->other_batches, replay->rows, sum.ignored_rows,
        sum.client_rows, sum.trials, sum.actors, sum.evicted_actors, replay->findings,
        replay->revisions, replay->exposures);
}

static int run(struct replay *replay)
{
    int status = EX_OK;
    for (size_t i = 0; i < replay->n_files && status == EX_OK; i++) {
        status = verify(replay, i);
    }
    if (status != EX_OK) {
        return status;
    }
    if (replay->n_items > 1) {
        qsort(replay->items, replay->n_items, sizeof *replay->items, compare_items);
    }
    struct pk_by_time *rows = NULL;
    if (pk_by_time_new(feed_row, replay, &rows) != PK_OK || feed(replay, rows) != PK_OK) {
        status = fail(EX_OSERR, "out of memory");
    }
    pk_by_time_free(rows);
    for (size_t i = 0; i < replay->scope->n_tenants && status == EX_OK && !replay->is_closed; i++) {
        if (replay->engines[i] && (pk_engine_flush(replay->engines[i]) != PK_OK ||
                                      pk_engine_finish(replay->engines[i]) != PK_OK)) {
            status = fail(EX_OSERR, "out of memory");
        }
    }
    for (size_t i = 0; i < replay->scope->n_tenants && status == EX_OK && !replay->is_closed; i++) {
        if (replay->standing[i] &&
            pk_standing_report(replay->standing[i], on_standing, replay) != PK_OK) {
            status = fail(EX_OSERR, "out of memory");
        }
    }
    if (fflush(stdout) != 0 && errno != EPIPE && status == EX_OK) {
        status = fail(EX_IOERR, "standard output cannot be written");
    }
    print_summary(replay);
    return status;
}

static bool read_time(const char *option, const char *text, int64_t *out_us)
{
    if (!pk_time_parse(text, out_us)) {
        fprintf(stderr,
            "picket-aggregator: --%s: \"%s\" is no time like 2026-11-23T10:00:00Z, nor a date\n",
            option, text);
        return false;
    }
    return true;
}

/* A hunt has all three of its own options and no files, a replay of files none of them. */
static bool is_whole(const struct pk_hunt_options *hunt, bool has_files)
{
    bool is_hunt = hunt->tenant && hunt->to_us > hunt->from_us && hunt->to_us < INT64_MAX;
    bool is_nothing_of_it =
        !hunt->tenant && !hunt->config && hunt->to_us == INT64_MAX && hunt->from_us == INT64_MIN;
    return has_files ? is_nothing_of_it && hunt->scope : is_hunt && hunt->from_us > INT64_MIN;
}

/* -1: run. All into the options of a hunt; a replay of files uses scope, history and baseline. */
static int read_arguments(int argc, char **argv, struct pk_hunt_options *out)
{
    static const struct option options[] = {{"scope", required_argument, NULL, 's'},
        {"history", required_argument, NULL, 'H'}, {"baseline", required_argument, NULL, 'B'},
        {"from", required_argument, NULL, 'F'}, {"to", required_argument, NULL, 'T'},
        {"tenant", required_argument, NULL, 't'}, {"config", required_argument, NULL, 'c'},
        {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    int option;
    while ((option = getopt_long(argc, argv, "s:c:h", options, NULL)) != -1) {
        const char **text = option == 's'   ? &out->scope
                            : option == 'H' ? &out->history
                            : option == 'B' ? &out->baseline
                            : option == 't' ? &out->tenant
                            : option == 'c' ? &out->config
                                            : NULL;
        if (text) {
            *text = optarg;
        } else if (option == 'F' || option == 'T') {
            if (!read_time(option == 'F' ? "from" : "to", optarg,
                    option == 'F' ? &out->from_us : &out->to_us)) {
                return EX_USAGE;
            }
        } else if (option == 'h') {
            fputs(usage, stdout);
            return EX_OK;
        } else {
            return EX_USAGE;
        }
    }
    if (!is_whole(out, optind < argc)) {
        fputs(usage, stderr);
        return EX_USAGE;
    }
    return optind < argc ? -1 : pk_hunt(out);
}

int pk_replay_main(int argc, char **argv)
{
    struct pk_hunt_options options = {.from_us = INT64_MIN, .to_us = INT64_MAX};
    char error[PK_CONF_ERROR_SIZE];
    struct replay replay = {0};
    pk_bytes_init(&replay.unpacked, PK_MAX_BODY_BYTES);
    int status = read_arguments(argc, argv, &options);
    if (status >= 0) {
        return status;
    }
    pk_err scope_err = pk_scope_load(options.scope, &replay.scope, error);
    if (scope_err != PK_OK) {
        return fail(scope_err == PK_ERR_IO ? EX_NOINPUT : EX_CONFIG, error);
    }
    char history_error[PK_COF_ERROR_SIZE], baseline_error[PK_BASELINE_ERROR_SIZE];
    replay.priors = pk_priors_shipped;
    if (options.baseline &&
        pk_baseline_load(options.baseline, &replay.priors, baseline_error) != PK_OK) {
        status = fail(EX_DATAERR, baseline_error);
        pk_scope_free(replay.scope);
        return status;
    }
    if (options.history && pk_cof_history_load(options.history, replay.scope, &replay.history,
                               history_error) != PK_OK) {
        status = fail(EX_DATAERR, history_error);
        pk_scope_free(replay.scope);
        return status;
    }
    replay.n_files = (size_t)(argc - optind);
    replay.files = calloc(replay.n_files, sizeof *replay.files);
    replay.engines = calloc(replay.scope->n_tenants + 1, sizeof(struct pk_engine *));
    replay.standing = calloc(replay.scope->n_tenants + 1, sizeof(struct pk_standing *));
    status =
        replay.files && replay.engines && replay.standing ? EX_OK : fail(EX_OSERR, "out of memory");
    for (size_t i = 0; i < replay.n_files && status == EX_OK; i++) {
        replay.files[i].path = argv[optind + (int)i];
    }
    if (status == EX_OK) {
        status = run(&replay);
    }
    for (size_t i = 0; replay.files && i < replay.n_files; i++) {
        pk_bytes_done(&replay.files[i].data);
    }
    for (size_t i = 0; replay.engines && i < replay.scope->n_tenants; i++) {
        pk_engine_free(replay.engines[i]);
    }
    for (size_t i = 0; replay.standing && i < replay.scope->n_tenants; i++) {
        pk_standing_free(replay.standing[i]);
    }
    pk_bytes_done(&replay.unpacked);
    free(replay.standing);
    free(replay.files);
    free(replay.engines);
    free(replay.items);
    pk_cof_history_free(replay.history);
    pk_scope_free(replay.scope);
    return status;
}

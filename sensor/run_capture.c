/* Files or interfaces, to the terminal or to a .psp file.
 *
 * Damage in a file is reported after everything before it was used; further files are still read. The last line on standard error is always the counters. */
#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "picket/clock.h"
#include "picket/hash.h"
#include "picket/key.h"
#include "picket/log.h"
#include "picket/scope.h"

#include "bounds.h"
#include "input/capture.h"
#include "input/dnstap_listen.h"
#include "input/interfaces.h"
#include "input/live_loop.h"
#include "input/unpack.h"
#include "pipeline.h"
#include "privileges.h"
#include "run.h"
#include "ship/psp_file.h"
#include "window/batch.h"
#include "window/merge.h"

enum {
    RING_BYTES = 32 << 20,
    OUT_BUFFER = 1 << 20,
    RRSETS_EVERY_MS = 60000
};

struct run {
    const struct pk_options *options;
    struct pk_stats stats;
    struct pk_scope *scope;
    const struct pk_scope_tenant *tenant;
    const struct pk_scope_site *site;
    uint8_t client_key[PK_KEY_BYTES];
    bool has_client_key;
    struct pk_output *output;
    struct pk_psp_file *file;
    struct pk_batcher *batcher;
    struct pk_merge *merge;
    struct pk_pipeline *pipeline;
    int64_t shift_us; /* --now */
    int64_t next_flush_ms;
};

static volatile sig_atomic_t stop_requested;

static void on_signal(int number)
{
    (void)number;
    stop_requested = 1;
}

static int fail(int status, const char *text)
{
    fprintf(stderr, "picket-sensor: %s\n", text);
    return status;
}

static int load_scope(struct run *run)
{
    char error[PK_CONF_ERROR_SIZE];
    if (!run->options->scope) {
        return EX_OK;
    }
    pk_err err = pk_scope_load(run->options->scope, &run->scope, error);
    if (err != PK_OK) {
        return fail(err == PK_ERR_IO ? EX_NOINPUT : EX_CONFIG, error);
    }
    if (!run->options->site) {
        return fail(EX_USAGE, "--scope needs --site");
    }
    if (pk_scope_find_site(run->scope, run->options->site, &run->tenant, &run->site, error) !=
        PK_OK) {
        return fail(EX_CONFIG, error);
    }
    if (run->options->client_key) {
        char key_error[PK_KEY_ERROR_SIZE];
        err = pk_client_key_load(run->options->client_key, run->client_key, key_error);
        if (err != PK_OK) {
            return fail(pk_key_status(err), key_error);
        }
        run->has_client_key = true;
    }
    return EX_OK;
}

/* The epoch of a .psp file is derived from what it was made from, so that the same capture shipped twice is the same. */
static uint64_t epoch_of(const struct run *run, int64_t created_us)
{
    (void)run;
    return ((uint64_t)(created_us / PK_US_PER_S) << 16 |
               (pk_hash(&created_us, sizeof created_us) & 0xffff)) &
           INT64_MAX;
}

static pk_err open_merge(struct run *run, const struct pk_merge_sink *sink)
{
    struct pk_merge_options options = {
        .tenant = run->tenant,
        .site = run->site,
        .client_key = run->has_client_key ? run->client_key : NULL,
        .is_own = true,
        .vantage = run->options->vantage,
        .window_ms = run->options->window_ms,
        .window_rows = run->options->window_rows >= 0 ? (uint32_t)run->options->window_rows
                       : run->tenant                  ? PK_MERGE_WINDOW_ROWS
                                                      : 0,
    };
    return pk_merge_new(&options, &run->stats, sink, &run->merge);
}

static int open_writer(struct run *run)
{
    char error[PK_PSP_ERROR_SIZE];
    int64_t now_us = pk_clock_wall_us();
    if (!run->options->write) {
        bool is_dry =
            run->options->output == PK_OUTPUT_NONE; /* all the work of --write but writing */
        return is_dry && open_merge(run, NULL) != PK_OK ? fail(EX_OSERR, "out of memory") : EX_OK;
    }
    if (pk_psp_file_create(run->options->write, now_us, epoch_of(run, now_us), false, &run->file,
            error) != PK_OK) {
        return fail(EX_CANTCREAT, error);
    }
    struct pk_origin origin = {.software = "picket-sensor " PICKET_VERSION};
    const char *slash = strchr(run->options->site, '/');
    if (run->tenant) {
        snprintf(origin.site, sizeof origin.site, "%s/%s", run->tenant->name, run->site->name);
    } else {
        snprintf(origin.site, sizeof origin.site, "%s", run->options->site);
    }
    snprintf(origin.sensor, sizeof origin.sensor, "%s",
        run->options->sensor ? run->options->sensor
        : slash              ? slash + 1
                             : run->options->site);
    if (pk_batcher_new(&run->stats, pk_psp_file_append, run->file, &run->batcher) != PK_OK) {
        return fail(EX_OSERR, "out of memory");
    }
    struct pk_merge_sink sink = pk_batcher_sink(run->batcher);
    if (open_merge(run, &sink) != PK_OK || pk_batcher_origin(run->batcher, &origin) != PK_OK) {
        return fail(EX_OSERR, "out of memory");
    }
    return EX_OK;
}

static int open_run(struct run *run)
{
    int status = load_scope(run);
    if (status == EX_OK) {
        status = open_writer(run);
    }
    if (status != EX_OK) {
        return status;
    }
    (void)setvbuf(stdout, NULL, _IOFBF, OUT_BUFFER);
    struct pk_pipeline_options options = {
        .ports = run->options->ports,
        .merge = run->merge,
        .wants_rrsets = run->merge || run->options->output == PK_OUTPUT_RRSETS,
        .dnstap = pk_dnstap_use_of(&run->options->dnstap, run->options->n_interfaces),
    };
    if (run->options->output != PK_OUTPUT_NONE &&
        pk_output_new(run->options->output, stdout, &run->output) != PK_OK) {
        return fail(EX_OSERR, "out of memory");
    }
    options.output = run->output;
    if (pk_pipeline_new(&options, &run->stats, &run->pipeline) != PK_OK) {
        return fail(EX_OSERR, "out of memory");
    }
    struct pk_bounds bounds = {.n_threads = 1,
        .tables = run->stats.memory_bound_bytes,
        .dnstap = pk_bounds_dnstap(run->options->dnstap.n_endpoints),
        .unpacking = run->options->n_reads ? PK_UNPACK_BOUND_BYTES : 0,
        .rings =
            pk_bounds_rings(run->options->interfaces, run->options->n_interfaces, RING_BYTES, 1)};
    pk_bounds_log(&bounds);
    bool is_told_bailiwick = run->file || run->options->output == PK_OUTPUT_RRSETS;
    if (is_told_bailiwick && !pk_pipeline_has_suffixes(run->pipeline)) {
        fprintf(stderr,
            "picket-sensor: no list of public suffixes (package publicsuffix): bailiwicks are the last two labels\n");
    }
    return EX_OK;
}

static bool is_done(const struct run *run)
{
    return stop_requested || (run->output && pk_output_is_closed(run->output)) ||
           (run->batcher && pk_batcher_err(run->batcher) != PK_OK);
}

static int read_file(struct run *run, const char *path)
{
    char error[PK_CAPTURE_ERROR_SIZE];
    struct pk_capture *capture;
    run->stats.files++;
    pk_err err = pk_capture_open_file(path, &capture, error);
    if (err != PK_OK) {
        return fail(err == PK_ERR_IO ? EX_NOINPUT : EX_DATAERR, error);
    }
    struct pk_raw_packet packet;
    enum pk_capture_result result;
    int status = EX_OK;
    while (!is_done(run) && (result = pk_capture_next(capture, &packet)) != PK_CAPTURE_END) {
        if (result == PK_CAPTURE_BROKEN) {
            status = fail(EX_DATAERR, pk_capture_error(capture));
            break;
        }
        packet.ts_us += run->shift_us;
        pk_pipeline_packet(run->pipeline, pk_capture_link_type(capture), &packet);
    }
    pk_capture_close(capture);
    return status;
}

/* --now: the time of the last packet over all files, to be told as the present. */
static void find_shift(struct run *run)
{
    int64_t last_us = INT64_MIN;
    char error[PK_CAPTURE_ERROR_SIZE];
    for (size_t i = 0; i < run->options->n_reads; i++) {
        struct pk_capture *capture;
        struct pk_raw_packet packet;
        if (pk_capture_open_file(run->options->reads[i], &capture, error) == PK_OK) {
            while (pk_capture_next(capture, &packet) == PK_CAPTURE_PACKET) {
                last_us = packet.ts_us > last_us ? packet.ts_us : last_us;
            }
            pk_capture_close(capture);
        }
    }
    run->shift_us = last_us == INT64_MIN ? 0 : pk_clock_wall_us() - last_us;
}

static int run_files(struct run *run)
{
    int status = EX_OK;
    if (run->options->shift_to_now) {
        find_shift(run);
    }
    for (size_t i = 0; i < run->options->n_reads && !is_done(run); i++) {
        int one = read_file(run, run->options->reads[i]);
        status = status == EX_OK ? one : status;
    }
    return status;
}

static void on_live_packet(void *arg, int link_type, const struct pk_raw_packet *packet)
{
    const struct run *run = arg;
    pk_pipeline_packet(run->pipeline, link_type, packet);
}

static bool live_is_done(void *arg)
{
    return is_done(arg);
}

static void on_tick(void *arg, int64_t mono_ms, bool was_idle)
{
    struct run *run = arg;
    if (was_idle) {
        pk_pipeline_tick(run->pipeline, pk_clock_wall_us() - PK_LIVE_LAG_MS * INT64_C(1000));
    }
    if (run->output &&
        (run->options->output != PK_OUTPUT_RRSETS || mono_ms >= run->next_flush_ms)) {
        (void)pk_output_flush(run->output); /* a closed pipe shows in is_done */
        run->next_flush_ms = mono_ms + RRSETS_EVERY_MS;
    }
}

/* The file of --write is renamed at its end, so its folder stays writable. */
static bool confine(const struct run *run, char *out_error, size_t size)
{
    struct pk_privileges_rules rules = {0};
    struct pk_privileges_done done;
    char folder[PATH_MAX] = "";
    if (run->options->write) {
        snprintf(folder, sizeof folder, "%s", run->options->write);
        rules.writable[rules.n_writable++] = dirname(folder);
    }
    return run->options->has_no_sandbox || pk_privileges_confine(&rules, &done, out_error, size);
}

static int open_interfaces(struct run *run, struct pk_interfaces **out_set)
{
    char error[PK_CAPTURE_ERROR_SIZE];
    struct pk_interfaces_options options = {
        .names = run->options->interfaces,
        .n_names = run->options->n_interfaces,
        .ports = run->options->ports,
        .ring_bytes = RING_BYTES,
    };
    pk_err err = pk_interfaces_open(&options, &run->stats, on_live_packet, run, out_set, error);
    return err == PK_OK ? EX_OK : fail(err == PK_ERR_AUTH ? EX_NOPERM : EX_NOINPUT, error);
}

static int open_dnstap(struct run *run, struct pk_dnstap_listener **out_listener)
{
    char error[PK_DNSTAP_ERROR_SIZE];
    pk_err err = pk_dnstap_listen_open(
        &run->options->dnstap, &run->stats, on_live_packet, run, out_listener, error);
    return err == PK_OK ? EX_OK : fail(err == PK_ERR_CONFIG ? EX_USAGE : EX_NOINPUT, error);
}

static int run_sources(
    struct run *run, struct pk_interfaces *set, struct pk_dnstap_listener *listener)
{
    char error[PK_CAPTURE_ERROR_SIZE];
    struct pk_live_loop loop = {.arg = run, .is_done = live_is_done, .tick = on_tick};
    if (!pk_privileges_become(run->options->user, error, sizeof error) ||
        !confine(run, error, sizeof error)) {
        return fail(EX_NOPERM, error);
    }
    if (set) {
        loop.sources[loop.n_sources++] = pk_interfaces_source(set);
    }
    if (listener) {
        loop.sources[loop.n_sources++] = pk_dnstap_listen_source(listener);
    }
    run->next_flush_ms = pk_clock_mono_ms() + RRSETS_EVERY_MS;
    return pk_live_loop_run(&loop) ? EX_OK : fail(EX_TEMPFAIL, "no interface is left");
}

static int run_live(struct run *run)
{
    struct pk_interfaces *set = NULL;
    struct pk_dnstap_listener *listener = NULL;
    int status = run->options->n_interfaces > 0 ? open_interfaces(run, &set) : EX_OK;
    if (status == EX_OK && run->options->dnstap.n_endpoints > 0) {
        status = open_dnstap(run, &listener);
    }
    if (status == EX_OK) {
        status = run_sources(run, set, listener);
    }
    pk_interfaces_close(set);
    pk_dnstap_listen_close(listener);
    return status;
}

static int close_run(struct run *run, int status)
{
    if (run->pipeline) {
        pk_pipeline_flush(run->pipeline);
    }
    if (run->output && pk_output_flush(run->output) != PK_OK && status == EX_OK) {
        status = fail(EX_IOERR, "standard output cannot be written");
    }
    if (run->file) {
        char error[PK_PSP_ERROR_SIZE] = "";
        pk_err err = run->batcher ? pk_batcher_err(run->batcher) : PK_ERR_NOMEM;
        bool commits = err == PK_OK && run->pipeline;
        if (!commits && status == EX_OK) {
            status = fail(EX_IOERR, pk_err_str(err));
        }
        if (pk_psp_file_close(run->file, commits, error) != PK_OK) {
            status = fail(EX_CANTCREAT, error);
        }
    }
    if (run->pipeline) {
        struct pk_bytes counters;
        pk_bytes_init(&counters, 1 << 20);
        pk_stats_take_usage(&run->stats);
        if (pk_stats_json(&run->stats, pk_pipeline_sides(run->pipeline), &counters) == PK_OK) {
            fprintf(stderr, "%s\n", pk_bytes_text(&counters));
        }
        pk_bytes_done(&counters);
    }
    pk_pipeline_free(run->pipeline);
    pk_merge_free(run->merge);
    pk_batcher_free(run->batcher);
    pk_output_free(run->output);
    pk_scope_free(run->scope);
    return status;
}

int pk_run_capture(const struct pk_options *options)
{
    struct run run = {.options = options};
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN); /* `| head` ends us quietly through EPIPE */
    int status = open_run(&run);
    if (status == EX_OK) {
        status = options->n_reads == 0 ? run_live(&run) : run_files(&run);
    }
    return close_run(&run, status);
}

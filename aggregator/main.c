/* picket-aggregator: arguments and wiring. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <unistd.h>

#include "picket/hash.h"
#include "picket/hide.h"
#include "picket/key.h"
#include "picket/log.h"

#include "config.h"
#include "ingest/ingest.h"
#include "metrics.h"
#include "pipeline.h"
#include "replay.h"
#include "store/store.h"

enum {
    INGEST_FD = 3
};

static const char usage[] =
    "picket-aggregator - takes in what the sensors saw, keeps it, finds reconnaissance in it\n"
    "\n"
    "  picket-aggregator --config FILE                      the service\n"
    "  picket-aggregator migrate [--config FILE]            brings the database's schema up to date\n"
    "  picket-aggregator check-config FILE                  says whether FILE is good\n"
    "  picket-aggregator genkey FILE                        makes the server's CURVE key pair, prints the public half\n"
    "  picket-aggregator replay --scope FILE FILE.psp...    findings of recorded observations, no server needed\n"
    "\n"
    "  -c, --config FILE      aggregator.yaml; PICKET_* variables override its keys\n"
    "  -h, --help             this text\n"
    "  -V, --version\n";

static int load_config(const char *path, struct pk_aggregator_config *out_config)
{
    char error[PK_CONF_ERROR_SIZE];
    if (pk_aggregator_config_load(path, out_config, error) != PK_OK) {
        fprintf(stderr, "picket-aggregator: %s\n", error);
        return EX_CONFIG;
    }
    pk_log_set_level((enum pk_log_level)pk_log_level_parse(out_config->log_level));
    return EX_OK;
}

/* The value of -c or --config; *out_rest is the index of the first argument that is no option. -1: run, else an exit status. */
static int read_options(int argc, char **argv, const char **out_config)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
        {"help", no_argument, NULL, 'h'}, {"version", no_argument, NULL, 'V'}, {NULL, 0, NULL, 0}};
    int option;
    while ((option = getopt_long(argc, argv, "c:hV", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            *out_config = optarg;
            break;
        case 'h':
            fputs(usage, stdout);
            return EX_OK;
        case 'V':
            puts("picket-aggregator " PICKET_VERSION);
            return EX_OK;
        default:
            return EX_USAGE;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "picket-aggregator: argument \"%s\" is not understood; --help shows how\n",
            argv[optind]);
        return EX_USAGE;
    }
    return -1;
}

static void on_migration(void *arg, unsigned version, const char *name)
{
    (void)arg;
    fprintf(stderr, "migrating to %u: %s\n", version, name);
}

static int migrate(int argc, char **argv)
{
    const char *path = NULL;
    int status = read_options(argc, argv, &path);
    struct pk_aggregator_config config;
    if (status >= 0) {
        return status;
    }
    status = load_config(path, &config);
    if (status != EX_OK) {
        return status;
    }
    struct pk_store *store = NULL;
    struct pk_store_options options = {.conninfo = config.database,
        .role = config.role,
        .application = "picket-migrate",
        .skip_version_check = true};
    pk_err err = pk_store_open(&options, &store);
    if (err == PK_OK) {
        err = pk_store_migrate(store, on_migration, NULL);
    }
    if (err == PK_OK) {
        fprintf(stderr, "schema version %u\n", pk_store_schema_version());
    } else {
        fprintf(stderr, "picket-aggregator: cannot migrate: %s\n",
            store ? pk_store_error(store) : pk_err_str(err));
        status = err == PK_ERR_VERSION ? EX_SOFTWARE : EX_UNAVAILABLE;
    }
    pk_store_close(store);
    pk_aggregator_config_done(&config);
    return status;
}

static int genkey(int argc, char **argv)
{
    struct pk_keypair pair;
    char error[PK_KEY_ERROR_SIZE], text[PK_KEY_TEXT_SIZE], fingerprint[PK_FINGERPRINT_SIZE];
    if (argc != 2) {
        fputs("picket-aggregator genkey FILE\n", stderr);
        return EX_USAGE;
    }
    if (pk_keypair_generate(&pair) != PK_OK ||
        pk_keypair_save(argv[1], &pair, false, error) != PK_OK) {
        fprintf(stderr, "picket-aggregator: %s\n", error);
        return EX_CANTCREAT;
    }
    printf("%s\n", pk_key_text(pair.pubkey, text));
    fprintf(stderr, "fingerprint %s\n", pk_key_fingerprint(pair.pubkey, fingerprint));
    pk_keypair_wipe(&pair);
    return EX_OK;
}

static int check_config(int argc, char **argv)
{
    struct pk_aggregator_config config;
    if (argc != 2) {
        fputs("picket-aggregator check-config FILE\n", stderr);
        return EX_USAGE;
    }
    int status = load_config(argv[1], &config);
    if (status == EX_OK) {
        printf("%s: good; listens on %s\n", argv[1], config.listen);
        pk_aggregator_config_done(&config);
    }
    return status;
}

/* SIGINT and SIGTERM as a descriptor; blocked in all threads, which inherit the mask. */
static int open_stop_fd(void)
{
    sigset_t stops;
    sigemptyset(&stops);
    sigaddset(&stops, SIGINT);
    sigaddset(&stops, SIGTERM);
    sigprocmask(SIG_BLOCK, &stops, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &stops, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int serve(const struct pk_aggregator_config *config)
{
    int stop_fd = open_stop_fd();
    struct pk_pipeline *pipeline = NULL;
    struct pk_metrics *metrics = NULL;
    int status = EX_OK;
    pk_err err = stop_fd < 0 ? PK_ERR_IO : pk_pipeline_open(config, &pipeline);
    if (err != PK_OK) {
        return err == PK_ERR_CONFIG || err == PK_ERR_MALFORMED || err == PK_ERR_AUTH
                   ? EX_CONFIG
                   : EX_UNAVAILABLE;
    }
    if (config->metrics_port && pk_metrics_start(config->metrics_address, config->metrics_port,
                                    pk_pipeline_counters(pipeline), &metrics) != PK_OK) {
        pk_error("metrics", "cannot listen on %s port %u: is the address right and the port free?",
            config->metrics_address, config->metrics_port);
        status = EX_UNAVAILABLE;
    } else {
        err = pk_pipeline_run(pipeline, stop_fd);
        status = err == PK_OK ? EX_OK : EX_SOFTWARE;
    }
    pk_metrics_stop(metrics);
    pk_pipeline_close(pipeline);
    close(stop_fd);
    return status;
}

int main(int argc, char **argv)
{
    pk_hide_memory();
    if (pk_hash_start() != PK_OK) {
        fputs("picket-aggregator: the system gives no random numbers\n", stderr);
        return EX_OSERR;
    }
    const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } commands[] = {{"migrate", migrate}, {"genkey", genkey}, {"check-config", check_config},
        {"replay", pk_replay_main}};
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    if (argc == 2 &&
        strcmp(argv[1], "ingest") == 0) { /* started by ourselves, see ingest/ingest.h */
        return pk_ingest_child_main(INGEST_FD);
    }
    const char *path = NULL;
    int status = read_options(argc, argv, &path);
    if (status >= 0) {
        return status;
    }
    if (!path && argc == 1 && !getenv("PICKET_DATABASE")) {
        fputs(usage, stderr);
        return EX_USAGE;
    }
    struct pk_aggregator_config config;
    status = load_config(path, &config);
    if (status == EX_OK) {
        status = serve(&config);
        pk_aggregator_config_done(&config);
    }
    return status;
}

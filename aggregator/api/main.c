/* picket-api: arguments, configuration, wiring. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "picket/conf.h"
#include "picket/hash.h"
#include "picket/hide.h"
#include "picket/log.h"

#include "routes.h"
#include "server.h"

static const char usage[] =
    "picket-api - findings, history and control over HTTP\n"
    "\n"
    "  picket-api --config FILE\n"
    "\n"
    "Keys of FILE: database, reader_role (picket_reader), control_role (picket_control), address (127.0.0.1), port (8353).\n"
    "PICKET_DATABASE, PICKET_API_ADDRESS and PICKET_API_PORT override them. TLS is a reverse proxy's work.\n";

struct config {
    struct pk_conf *file;
    const char *database, *reader_role, *control_role, *address;
    uint16_t port;
};

static pk_err load(const char *path, struct config *config, char out_error[PK_CONF_ERROR_SIZE])
{
    static const char *const overrides[][2] = {{"database", "PICKET_DATABASE"},
        {"address", "PICKET_API_ADDRESS"}, {"port", "PICKET_API_PORT"}};
    pk_err err = path ? pk_conf_load(path, &config->file, out_error)
                      : pk_conf_parse("environment", "", 0, &config->file, out_error);
    int64_t port = 8353;
    for (size_t i = 0; i < sizeof overrides / sizeof *overrides && err == PK_OK; i++) {
        const char *value = getenv(overrides[i][1]);
        err =
            value ? pk_conf_override(config->file, overrides[i][0], overrides[i][1], value) : PK_OK;
    }
    if (err != PK_OK) {
        return err;
    }
    struct pk_conf *file = config->file;
    const struct pk_conf_node *root = pk_conf_root(file),
                              *database = pk_conf_get(file, root, "database");
    config->reader_role = "picket_reader";
    config->control_role = "picket_control";
    config->address = "127.0.0.1";
    pk_conf_need(file, root, database, "database");
    pk_conf_text(file, database, &config->database);
    pk_conf_text(file, pk_conf_get(file, root, "reader_role"), &config->reader_role);
    pk_conf_text(file, pk_conf_get(file, root, "control_role"), &config->control_role);
    pk_conf_text(file, pk_conf_get(file, root, "address"), &config->address);
    pk_conf_int(file, pk_conf_get(file, root, "port"), 1, 65535, &port);
    pk_conf_finish_map(file, root);
    config->port = (uint16_t)port;
    if (pk_conf_error(file)) {
        snprintf(out_error, PK_CONF_ERROR_SIZE, "%s", pk_conf_error(file));
        return PK_ERR_CONFIG;
    }
    return PK_OK;
}

static bool open_store(const struct config *config, const char *role, struct pk_store **out_store)
{
    struct pk_store_options options = {.conninfo = config->database,
        .role = role,
        .application = "picket-api",
        .skip_version_check = true};
    pk_err err = pk_store_open(&options, out_store);
    if (err != PK_OK) {
        char text[512];
        const char *why = *out_store ? pk_store_error(*out_store) : pk_err_str(err);
        pk_error("store", "cannot connect as role %s: %s", role,
            pk_log_escape(why, strlen(why), text, sizeof text));
    }
    return err == PK_OK;
}

static int serve(const struct config *config)
{
    struct pk_routes routes = {0};
    struct pk_server *server = NULL;
    sigset_t stops;
    int status = EX_UNAVAILABLE, number;
    sigemptyset(&stops);
    sigaddset(&stops, SIGINT);
    sigaddset(&stops, SIGTERM);
    sigprocmask(SIG_BLOCK, &stops, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (open_store(config, config->reader_role, &routes.reader) &&
        open_store(config, config->control_role, &routes.control)) {
        if (pk_server_start(config->address, config->port, pk_routes_handle, &routes, &server) ==
            PK_OK) {
            pk_info("api", "listening address=%s port=%u", config->address, config->port);
            (void)sigwait(&stops, &number);
            status = EX_OK;
        } else {
            pk_error("api", "cannot listen on %s port %u: is the address right and the port free?",
                config->address, config->port);
        }
    }
    pk_server_stop(server);
    pk_store_close(routes.reader);
    pk_store_close(routes.control);
    return status;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
        {"help", no_argument, NULL, 'h'}, {"version", no_argument, NULL, 'V'}, {NULL, 0, NULL, 0}};
    const char *path = NULL;
    char error[PK_CONF_ERROR_SIZE];
    struct config config = {0};
    int option;
    pk_hide_memory(); /* the database's password may be in the configuration */
    while ((option = getopt_long(argc, argv, "c:hV", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            path = optarg;
            break;
        case 'h':
            fputs(usage, stdout);
            return EX_OK;
        case 'V':
            puts("picket-api " PICKET_VERSION);
            return EX_OK;
        default:
            return EX_USAGE;
        }
    }
    if (pk_hash_start() != PK_OK) {
        fputs("picket-api: the system gives no random numbers\n", stderr);
        return EX_OSERR;
    }
    int status = EX_CONFIG;
    if (load(path, &config, error) == PK_OK) {
        status = serve(&config);
    } else {
        fprintf(stderr, "picket-api: %s\n", error);
    }
    pk_conf_free(config.file);
    return status;
}

/* Files that are shipped once: .psp files, and what a ring of rows gives under a new scope. */
#include <inttypes.h>
#include <string.h>
#include <sysexits.h>

#include "picket/log.h"

#include "daemon.h"
#include "run.h"
#include "ship/psp_queue.h"
#include "ship/reread.h"

int pk_run_ship(const char *config_path, const char *const *paths, size_t n)
{
    static struct daemon d;
    daemon_catch_signals();
    int status = daemon_load(&d, config_path);
    daemon_stop_event = d.stop_fd;
    for (size_t i = 0; i < n && status == EX_OK && !daemon_stop_requested; i++) {
        char error[PK_PSP_QUEUE_ERROR_SIZE];
        struct pk_psp_queue *file;
        if (pk_psp_queue_open(paths[i], &file, error) != PK_OK) {
            status = daemon_fail(EX_DATAERR, error);
            break;
        }
        struct pk_queue queue = pk_psp_queue(file);
        struct pk_queue_info info;
        d.uplink.ends_when_empty = true;
        status = pk_uplink_run(&d.uplink, &queue, &d.uplink_counters, d.stop_fd) == PK_OK
                     ? EX_OK
                     : EX_OSERR;
        daemon_settle_rotation(&d);
        queue.info(queue.self, &info);
        uint64_t refused = pk_psp_queue_refused(file);
        pk_info("ship", "file=%s batches=%" PRIu64 " accepted=%" PRIu64 " refused=%" PRIu64,
            paths[i], info.newest_seq, info.oldest_seq - 1 - refused, refused);
        status = status != EX_OK      ? status
                 : info.n_batches > 0 ? EX_TEMPFAIL
                 : refused > 0        ? EX_DATAERR
                                      : EX_OK;
        pk_psp_queue_close(file);
    }
    daemon_close(&d);
    return status;
}

int pk_run_reread(const char *config_path, int64_t since_us)
{
    char error[PK_CONF_ERROR_SIZE], key_error[PK_KEY_ERROR_SIZE], path[PK_REREAD_PATH_SIZE];
    char reread_error[PK_REREAD_ERROR_SIZE];
    uint8_t client_key[PK_KEY_BYTES];
    struct pk_settings *settings = NULL;
    uint64_t n_rows = 0;
    int status = EX_OK;
    pk_err err = PK_OK;
    if (pk_settings_load(config_path, NULL, &settings, error) != PK_OK) {
        return daemon_fail(EX_CONFIG, error);
    }
    const struct pk_sensor_config *config = &settings->config;
    if (!config->ring_folder) {
        status = daemon_fail(
            EX_CONFIG, "there is no ring to read again: the configuration has no ring.folder");
    } else if (config->client_key &&
               (err = pk_client_key_load(config->client_key, client_key, key_error)) != PK_OK) {
        status = daemon_fail(pk_key_status(err), key_error);
    } else if (pk_reread_make(settings,
                   config->client_key && !config->floor.hides_inside ? client_key : NULL, since_us,
                   path, &n_rows, reread_error) != PK_OK) {
        status = daemon_fail(EX_DATAERR, reread_error);
    }
    if (status == EX_OK && n_rows > 0) {
        const char *paths[] = {path};
        status = pk_run_ship(config_path, paths, 1);
        if (status == EX_OK && pk_reread_done(settings, reread_error) != PK_OK) {
            status = daemon_fail(EX_CANTCREAT, reread_error);
        }
    }
    pk_info("reread", "rows=%" PRIu64 " status=%d", n_rows, status);
    explicit_bzero(client_key, sizeof client_key);
    pk_settings_free(settings);
    return status;
}

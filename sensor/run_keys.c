/* The small commands: a configuration is checked, a key pair made, a next one made. */
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "daemon.h"
#include "run.h"

int pk_run_check_config(const char *config_path)
{
    static struct daemon d;
    int status = daemon_load(&d, config_path);
    if (status == EX_OK) {
        printf("%s: good; sensor %s at %s/%s, %zu aggregator endpoint%s\n", config_path,
            d.settings->config.name, d.settings->tenant->name, d.settings->site->name,
            d.settings->config.n_endpoints, d.settings->config.n_endpoints == 1 ? "" : "s");
    }
    daemon_close(&d);
    return status;
}

int pk_run_genkey(const char *path)
{
    struct pk_keypair pair;
    char error[PK_KEY_ERROR_SIZE], text[PK_KEY_TEXT_SIZE], fingerprint[PK_FINGERPRINT_SIZE];
    if (pk_keypair_generate(&pair) != PK_OK) {
        return daemon_fail(EX_OSERR, "the system gives no random numbers");
    }
    if (pk_keypair_save(path, &pair, false, error) != PK_OK) {
        pk_keypair_wipe(&pair);
        return daemon_fail(EX_CANTCREAT, error);
    }
    printf("%s\n", pk_key_text(pair.pubkey, text));
    fprintf(stderr, "fingerprint %s\n", pk_key_fingerprint(pair.pubkey, fingerprint));
    pk_keypair_wipe(&pair);
    return EX_OK;
}

int pk_run_rotate_key(const char *config_path)
{
    char error[PK_CONF_ERROR_SIZE], key_error[PK_KEY_ERROR_SIZE], path[PATH_MAX];
    char text[PK_KEY_TEXT_SIZE];
    struct pk_settings *settings = NULL;
    struct pk_keypair pair = {.pubkey = {0}};
    struct stat owner;
    if (pk_settings_load(config_path, NULL, &settings, error) != PK_OK) {
        return daemon_fail(EX_CONFIG, error);
    }
    const char *key_file = settings->config.key_file;
    int status = EX_OK;
    if (stat(key_file, &owner) != 0 || !pk_keypair_next_path(key_file, path, sizeof path)) {
        status = daemon_fail(EX_NOINPUT, "there is no key to change; enroll, or genkey, makes one");
    } else if (pk_keypair_generate(&pair) != PK_OK) {
        status = daemon_fail(EX_OSERR, "the system gives no random numbers");
    } else if (pk_keypair_save(path, &pair, false, key_error) != PK_OK) {
        status = daemon_fail(EX_CANTCREAT, key_error);
    } else if (geteuid() == 0 && chown(path, owner.st_uid, owner.st_gid) != 0) {
        status =
            daemon_fail(EX_CANTCREAT, "the new key cannot be given to the owner of the old one");
    } else {
        printf("%s\n", pk_key_text(pair.pubkey, text));
        fprintf(stderr, "%s is made; SIGHUP or a restart of the sensor begins the change\n", path);
    }
    pk_keypair_wipe(&pair);
    pk_settings_free(settings);
    return status;
}

/* Everything the daemon reads from files and may read again: sensor.yaml and the scope, checked together. Immutable once loaded, so that threads can share it. */
#ifndef SENSOR_SETTINGS_H
#define SENSOR_SETTINGS_H

#include "picket/log.h"
#include "picket/scope.h"

#include "config.h"

struct pk_settings {
    struct pk_sensor_config config;
    struct pk_scope *scope;
    const struct pk_scope_tenant *tenant;
    const struct pk_scope_site *site;
    enum pk_log_level log_level;
};

enum {
    PK_SETTINGS_KEYS_SIZE = 256
};

/* out_error: one sentence with file, line and key. PK_ERR_IO, PK_ERR_CONFIG, PK_ERR_LIMIT, PK_ERR_NOMEM. */
pk_err pk_settings_load(
    const char *path, struct pk_settings **out_settings, char out_error[PK_CONF_ERROR_SIZE]);
void pk_settings_free(struct pk_settings *settings);

/* The keys that differ and are read at the start only, as "key_file, spool.folder"; false when there is none. */
bool pk_settings_need_restart(const struct pk_settings *now, const struct pk_settings *wanted,
    char out_keys[PK_SETTINGS_KEYS_SIZE]);
/* Whether the way to the aggregator differs. */
bool pk_settings_same_uplink(const struct pk_settings *a, const struct pk_settings *b);

#endif

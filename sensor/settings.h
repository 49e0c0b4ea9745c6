/* Everything the daemon reads from files and may read again: sensor.yaml and the scope, checked together; or the scope that an aggregator sent in the place of the file's. Immutable once loaded, so that
 * threads can share it.
 *
 * Whose scope: with `scope_from: aggregator` (the default) the last that was sent and can be used, else that of the file `scope`, else an empty one. privacy_floor is laid over whichever it is. */
#ifndef SENSOR_SETTINGS_H
#define SENSOR_SETTINGS_H

#include "picket/log.h"
#include "picket/scope.h"

#include "config.h"
#include "ship/pushed.h"

struct pk_settings {
    struct pk_sensor_config config; /* window_ms is what holds */
    struct pk_bytes config_text,
        file_text;              /* of sensor.yaml, of the scope file; as they were read */
    struct pk_bytes scope_text; /* the scope in force, floor and all */
    uint32_t pushed_version, pushed_serial; /* 0: the scope is not the aggregator's */
    size_t n_left_out;                      /* names and networks of it that the floor took */
    char pushed_error[PK_CONF_ERROR_SIZE];  /* why the one that was kept cannot be used; or empty */
    struct pk_scope *scope;
    const struct pk_scope_tenant *tenant;
    const struct pk_scope_site *site;
    enum pk_log_level log_level;
};

enum {
    PK_SETTINGS_KEYS_SIZE = 256
};

/* pushed: the scope that was sent last; NULL: the one in the spool's folder, if any. out_error: one sentence with file, line and key. PK_ERR_IO, PK_ERR_CONFIG, PK_ERR_LIMIT, PK_ERR_NOMEM. */
pk_err pk_settings_load(const char *path, const struct pk_pushed *pushed,
    struct pk_settings **out_settings, char out_error[PK_CONF_ERROR_SIZE]);
/* The same settings under a scope that was sent now; nothing is read from the disk. Errors as above: it cannot be used. */
pk_err pk_settings_with_scope(const struct pk_settings *base, const char *path,
    const struct pk_pushed *offer, struct pk_settings **out_settings,
    char out_error[PK_CONF_ERROR_SIZE]);
void pk_settings_free(struct pk_settings *settings);

/* The keys that differ and are read at the start only, as "key_file, spool.folder"; false when there is none. */
bool pk_settings_need_restart(const struct pk_settings *now, const struct pk_settings *wanted,
    char out_keys[PK_SETTINGS_KEYS_SIZE]);
/* Whether the way to the aggregator differs. */
bool pk_settings_same_uplink(const struct pk_settings *a, const struct pk_settings *b);

#endif

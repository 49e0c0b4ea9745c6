/* sensor.yaml and PICKET_* to a checked struct. Keys, defaults and ranges: docs/OPERATIONS.md. */
#ifndef SENSOR_CONFIG_H
#define SENSOR_CONFIG_H

#include "picket/bytes.h"
#include "picket/conf.h"
#include "picket/observation.h"
#include "picket/scope_floor.h"

#include "input/dnstap_listen.h"
#include "packet/packet.h"
#include "ship/uplink.h"
#include "stats.h"

enum {
    PK_CONFIG_MAX_READS = 64,
    PK_CONFIG_MAX_THREADS = 16
};

struct pk_sensor_config {
    struct pk_conf *file; /* owns the texts below */
    const char *name, *site, *scope, *client_key, *key_file, *user, *log_level;
    enum pk_vantage vantage;
    bool takes_scope; /* from the aggregator; scope (a file, may be NULL) holds until then */
    struct pk_scope_floor floor;
    const char *interfaces[PK_STATS_MAX_INTERFACES]; /* names and patterns, live; or */
    size_t n_interfaces;
    const char *reads[PK_CONFIG_MAX_READS]; /* recorded captures, read once, then the sensor ends */
    size_t n_reads;
    struct pk_dnstap_settings dnstap;
    char dnstap_texts[2][128]; /* its endpoints */
    bool shift_to_now;         /* tell the recorded captures as if they ended now */
    struct pk_ports ports;
    unsigned n_threads; /* of the capture */
    bool has_sandbox;
    uint64_t ring_bytes;
    uint32_t window_ms; /* 0: not said */
    uint32_t window_rows;
    const char *ring_folder; /* NULL: no ring */
    uint64_t ring_max_bytes;
    const char *spool_folder;
    uint64_t spool_max_bytes, spool_memory_bytes, spool_max_age_ms;
    unsigned spool_min_free_percent;
    int spool_durability;       /* enum pk_spool_durability */
    bool spool_is_memory;       /* spool_folder is NULL then */
    const char *spool_key_file; /* or NULL */
    struct pk_endpoint endpoints[PK_DELIVERY_MAX_ENDPOINTS];
    size_t n_endpoints;
};

/* text is the file's; path is what messages call it. */
pk_err pk_sensor_config_parse(const char *path, const struct pk_bytes *text,
    struct pk_sensor_config *out_config, char out_error[PK_CONF_ERROR_SIZE]);
void pk_sensor_config_done(struct pk_sensor_config *config);

#endif

/* aggregator.yaml and PICKET_* to a checked struct. Keys, defaults and ranges: docs/OPERATIONS.md. */
#ifndef AGGREGATOR_CONFIG_H
#define AGGREGATOR_CONFIG_H

#include <stdint.h>

#include "picket/conf.h"
#include "picket/enrol.h"
#include "picket/err.h"

struct pk_aggregator_config {
    struct pk_conf *file; /* owns the texts below */
    const char *database; /* libpq conninfo */
    const char *role;     /* SET ROLE after connecting; NULL: none */
    const char *listen;   /* ZeroMQ endpoint for sensors */
    const char *announce
        [PK_ENROL_MAX_ENDPOINTS]; /* where sensors reach `listen`; none: this host and its port */
    size_t n_announce;
    const char *enrol_listen, *enrol_announce;
    const char *key_file; /* the server's CURVE pair; made when absent */
    const char *metrics_address;
    uint16_t metrics_port;        /* 0: no metrics listener */
    uint64_t ingest_memory_bytes; /* address space of the child */
    uint64_t ingest_budget_bytes; /* batches between socket and commit */
    uint32_t state_interval_s;    /* detection state is saved this often while rows come */
    const char *log_level;
    const char *next_listen, *next_key_file; /* a second port under a second key; NULL: none */
    const char *next_announce; /* where sensors reach it; NULL: this host and its port */
    const char *name;          /* among several aggregators; NULL: made of host name and port */
    const char *advertise;     /* endpoint that other aggregators send sensors to; NULL: none */
    char prefers[512];         /* tenants to be the home of before others, each with a line feed */
};

/* path NULL: defaults and environment alone. */
pk_err pk_aggregator_config_load(
    const char *path, struct pk_aggregator_config *out_config, char out_error[PK_CONF_ERROR_SIZE]);
void pk_aggregator_config_done(struct pk_aggregator_config *config);

#endif

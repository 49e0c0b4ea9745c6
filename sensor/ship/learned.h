/* Endpoints an aggregator told this sensor of (CONFIG): tried after the configured ones, kept across restarts.
 *
 * The file is `learned` in the spool's folder: the body of CONFIG (docs/PROTOCOL.md s3) and its CRC-32C, big-endian. A damaged one counts as none: the configured endpoints
 * stand, and the aggregator says it again. */
#ifndef SENSOR_LEARNED_H
#define SENSOR_LEARNED_H

#include "picket/envelope.h"

enum {
    PK_MAX_LEARNED = PK_CONFIG_MAX_ENDPOINTS /* beyond, the one learned first goes */
};

/* Adds what is new. How many were dropped from the front for it goes to *out_dropped. True when anything changed. */
bool pk_learned_add(
    struct pk_config_body *learned, const struct pk_config_body *news, uint32_t *out_dropped);
/* Empty when there is none, or none that is whole. */
void pk_learned_load(const char *folder, struct pk_config_body *out_learned);
/* Durable when PK_OK; else the old file is as it was. PK_ERR_IO. */
pk_err pk_learned_save(const char *folder, const struct pk_config_body *learned);

#endif

/* The core's part of enrolment: announces where the mesh is, opens and closes the door, answers who asks. */
#ifndef AGGREGATOR_ENROLMENT_H
#define AGGREGATOR_ENROLMENT_H

#include "config.h"
#include "ingest/ingest.h"
#include "registry.h"
#include "store/store.h"

/* Writes where sensors find this aggregator, for those who make tokens. */
/* An address that means all of this host's, as others reach it: by the host's name; others stay. */
void pk_enrolment_public_name(const char *listen, char *out, size_t size);
pk_err pk_enrolment_announce(struct pk_store *store, const struct pk_aggregator_config *config,
    const uint8_t pubkey[PK_KEY_BYTES]);
/* Tells the child whether a token is open. */
void pk_enrolment_mind_door(
    struct pk_ingest *ingest, const struct pk_registry *registry, bool *inout_is_open);
/* Deals with PK_LINK_ENROL. PK_ERR_IO: the store is away, nobody was answered (the sensor asks again). */
pk_err pk_enrolment_answer(struct pk_store *store, struct pk_ingest *ingest,
    const struct pk_registry *registry, const struct pk_aggregator_config *config,
    const uint8_t *data, size_t len);

#endif

/* This aggregator among others: which tenants it is the home of.
 *
 * A thread of its own, with a connection of its own, renews the leases each second, takes free ones and marks those to leave; it stops renewing when the core's thread has
 * given no sign of life for three minutes. The core asks the table, opens what is here (loads the engine) and closes what is not. All functions are for the core's thread. */
#ifndef AGGREGATOR_HOMES_H
#define AGGREGATOR_HOMES_H

#include <stdbool.h>
#include <stdint.h>

#include "picket/envelope.h"
#include "picket/err.h"
#include "picket/ids.h"

#include "config.h"
#include "store/store.h"

enum {
    PK_HOMES_LEASE_MS = 5000,
    PK_HOMES_APPLICATION_SIZE = 64
};

struct pk_homes;

struct pk_homes_options {
    const char *conninfo, *role;
    struct pk_store_node self; /* instance is filled in */
};

enum pk_home_place {
    PK_HOME_NOWHERE, /* nobody's at this moment */
    PK_HOME_HERE,
    PK_HOME_LEAVING, /* here, to be given up */
    PK_HOME_ELSEWHERE,
};
struct pk_home {
    enum pk_home_place place;
    uint64_t generation;
    uint64_t opened; /* the generation the core opened it in; 0: it has not */
    struct pk_endpoint
        elsewhere; /* ELSEWHERE, LEAVING: where to; an empty address: it does not say */
};

/* What this aggregator says of itself, by its configuration. */
struct pk_store_node pk_homes_self(
    const struct pk_aggregator_config *config, const uint8_t server_pubkey[PK_KEY_BYTES]);
/* Names the instance; the application name of all connections of this process. */
void pk_homes_name_instance(
    struct pk_store_node *self, char out_application[PK_HOMES_APPLICATION_SIZE]);
/* Says that we are here and takes what is ours before it returns. Failures are logged. */
pk_err pk_homes_open(const struct pk_homes_options *options, struct pk_homes **out_homes);
/* Takes nothing more and is no longer counted among those that might; the table stays as it is. The homes are to be released next. */
void pk_homes_retire(struct pk_homes *homes);
void pk_homes_close(struct pk_homes *homes);
int pk_homes_fd(const struct pk_homes *homes); /* readable when the table changed */
void pk_homes_clear_fd(struct pk_homes *homes);

/* The tenants of the table, one by one, retired ones too; 0 after the last. */
struct pk_tenant_id pk_homes_at(struct pk_homes *homes, size_t index);
struct pk_home pk_homes_get(struct pk_homes *homes, struct pk_tenant_id tenant);
/* The generation to commit with; 0: not opened here. */
uint64_t pk_homes_generation(struct pk_homes *homes, struct pk_tenant_id tenant);
void pk_homes_opened(struct pk_homes *homes, struct pk_tenant_id tenant, uint64_t generation);
/* Closed by the core: lost, or released. */
void pk_homes_closed(struct pk_homes *homes, struct pk_tenant_id tenant);
/* Where the tenant would go if we were gone; false: nowhere. */
bool pk_homes_next_place(
    struct pk_homes *homes, struct pk_tenant_id tenant, struct pk_endpoint *out_endpoint);
void pk_homes_alive(struct pk_homes *homes); /* the core works */
/* Look again now; the descriptor tells when that is done, also when nothing is different. */
void pk_homes_poke(struct pk_homes *homes);

#endif

/* Who may be named in a row, and how: outside sources in clear, inside clients as keyed pseudonyms or not at all (design decision 3). Pure. */
#ifndef SENSOR_CLIENT_H
#define SENSOR_CLIENT_H

#include "picket/observation.h"
#include "picket/scope.h"

struct pk_client_rules {
    const struct pk_scope_site
        *site; /* whose clients are inside; NULL: no scope, every source in clear; borrowed */
    const uint8_t *client_key; /* 32 bytes, or NULL: inside clients are left out; borrowed */
};

/* Costs a BLAKE2b for a pseudonym: ask once for an address of a window. */
struct pk_client pk_client_of(const struct pk_client_rules *rules, const struct pk_addr *addr);

#endif

/* Which side of DNS a server is seen from, as its answers show. One table for each sensor, at most PK_VANTAGE_MAX_SERVERS; later servers stay unknown. */
#ifndef SENSOR_VANTAGE_H
#define SENSOR_VANTAGE_H

#include "picket/err.h"
#include "picket/observation.h"

#include "transaction.h"

enum {
    PK_VANTAGE_MAX_SERVERS = 4096
};

struct pk_vantages;

pk_err pk_vantages_new(struct pk_vantages **out_vantages);
void pk_vantages_free(struct pk_vantages *vantages);
/* Takes in what this transaction shows of its server, and says what is known of it. */
uint8_t pk_vantages_of(struct pk_vantages *vantages, const struct pk_transaction *transaction);
size_t pk_vantages_bound_bytes(void);

#endif

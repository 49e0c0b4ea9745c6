/* The names of a batch in canonical order (RFC 4034 s6.1). Private to proto/wire.
 *
 * By radix on the first characters of each name's sort key, as many as eight bytes hold (from the second on when all keys begin alike, and so on); what is equal there is compared. */
#ifndef WIRE_NAME_ORDER_H
#define WIRE_NAME_ORDER_H

#include "picket/dictionary.h"

enum {
    NAME_ORDER_BYTES = 64 /* taken for each name meanwhile, at most */
};

/* Gives the dictionary's numbers in order (out_order) and the place of each number in it (out_rank), names->n of each. keys: holds the sort keys meanwhile; what was in it
 * is lost. PK_ERR_MALFORMED: an entry is no name in wire form; PK_ERR_LIMIT, PK_ERR_NOMEM. */
pk_err name_order(const struct pk_dictionary *names, struct pk_bytes *keys, uint32_t *out_order,
    uint32_t *out_rank);

#endif

/* What scope.c shares with scope_floor.c. Private to proto/wire. */
#ifndef WIRE_SCOPE_INTERNAL_H
#define WIRE_SCOPE_INTERNAL_H

#include "picket/scope.h"

/* Builds the index of a tenant's names anew, and the reverse zones of its networks before it. PK_ERR_NOMEM: pk_scope_free is all that may be called. */
pk_err pk_scope_reindex(struct pk_scope_tenant *tenant);
/* The ranges that are inside when nothing is said. False: no memory. */
bool pk_scope_private_ranges(struct pk_prefix **out_prefixes, size_t *out_n);

#endif

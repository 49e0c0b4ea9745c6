/* A passive-DNS history read from a file in the Common Output Format (draft-dulaunoy-dnsop-passive-dns-cof): one JSON object a line, as `picket-sensor --output rrsets`,
 * `dnsdbq -j` and other tools write it. For `picket-aggregator replay --history`. Edge: reads a file. */
#ifndef AGGREGATOR_COF_HISTORY_H
#define AGGREGATOR_COF_HISTORY_H

#include "picket/scope.h"

#include "detect/history.h"

struct pk_cof_history;

enum {
    PK_COF_MAX_NAMES = 4 << 20,
    PK_COF_ERROR_SIZE = 256
};

/* Keeps names in the zones of any tenant of the scope: rrname, time_first, time_last; lines of one name are put together. Other members are not looked at. PK_ERR_IO,
 * PK_ERR_MALFORMED (a line that is no such object), PK_ERR_LIMIT, PK_ERR_NOMEM; out_error says where and why. */
pk_err pk_cof_history_load(const char *path, const struct pk_scope *scope,
    struct pk_cof_history **out_history, char out_error[PK_COF_ERROR_SIZE]);
void pk_cof_history_free(struct pk_cof_history *history);
size_t pk_cof_history_names(const struct pk_cof_history *history);
/* What the engine is given; borrows history. */
struct pk_history_source pk_cof_history_source(struct pk_cof_history *history);

#endif

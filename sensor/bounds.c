#include "bounds.h"

#include <inttypes.h>

#include "picket/log.h"

#include "input/dnstap.h"
#include "input/dnstap_listen.h"
#include "input/fstrm.h"
#include "input/interfaces.h"

uint64_t pk_bounds_rings(
    const char *const *names, size_t n_names, size_t ring_bytes, unsigned n_threads)
{
    uint64_t n = n_names;
    for (size_t i = 0; i < n_names; i++) {
        n = pk_interfaces_is_pattern(names[i]) ? PK_STATS_MAX_INTERFACES : n;
    }
    return n * ring_bytes * n_threads;
}

uint64_t pk_bounds_dnstap(size_t n_endpoints)
{
    return n_endpoints ? PK_DNSTAP_MAX_PEERS * (uint64_t)PK_FSTRM_MAX_FRAME + PK_DNSTAP_ARENA_BYTES
                       : 0;
}

void pk_bounds_log(const struct pk_bounds *bounds)
{
    pk_info("sensor",
        "memory_bound_bytes=%" PRIu64 " threads=%u spool_bytes=%" PRIu64 " dnstap_bytes=%" PRIu64
        " unpack_bytes=%" PRIu64 " kernel_ring_bytes=%" PRIu64 " total_bytes=%" PRIu64,
        bounds->tables, bounds->n_threads, bounds->spool, bounds->dnstap, bounds->unpacking,
        bounds->rings,
        bounds->tables + bounds->spool + bounds->dnstap + bounds->unpacking + bounds->rings);
}

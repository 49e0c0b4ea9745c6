/* RA is a resolver's bit, AA an authoritative server's; the last answer that shows either is believed. */
#include "window/vantage.h"

#include <stdlib.h>

#include "picket/map.h"

struct server {
    struct pk_addr addr;
    uint8_t vantage;
};

struct pk_vantages {
    struct server servers[PK_VANTAGE_MAX_SERVERS];
    struct pk_map map;
    uint32_t n, last; /* last: the server of the transaction before, most often this one's too */
};

static bool is_server(const void *entries, uint32_t entry, const void *key)
{
    return pk_addr_equal(&((const struct server *)entries)[entry].addr, key);
}

pk_err pk_vantages_new(struct pk_vantages **out_vantages)
{
    struct pk_vantages *vantages = calloc(1, sizeof *vantages);
    if (!vantages || pk_map_init(&vantages->map, PK_VANTAGE_MAX_SERVERS, is_server) != PK_OK) {
        free(vantages);
        return PK_ERR_NOMEM;
    }
    *out_vantages = vantages;
    return PK_OK;
}

void pk_vantages_free(struct pk_vantages *vantages)
{
    if (vantages) {
        pk_map_done(&vantages->map);
        free(vantages);
    }
}

size_t pk_vantages_bound_bytes(void)
{
    return sizeof(struct pk_vantages) + pk_map_bound_bytes(PK_VANTAGE_MAX_SERVERS);
}

static uint8_t shown_by(const struct pk_transaction *transaction)
{
    if (!transaction->response) {
        return PK_VANTAGE_UNKNOWN;
    }
    const struct pk_dnsmsg *msg = &transaction->response->dns;
    return msg->ra ? PK_VANTAGE_RESOLVER : msg->aa ? PK_VANTAGE_AUTHORITATIVE : PK_VANTAGE_UNKNOWN;
}

uint8_t pk_vantages_of(struct pk_vantages *vantages, const struct pk_transaction *transaction)
{
    const struct pk_addr *addr = &transaction->query.server;
    uint8_t shown = shown_by(transaction);
    uint32_t found = vantages->last;
    if (found >= vantages->n || !pk_addr_equal(&vantages->servers[found].addr, addr)) {
        uint64_t hash = pk_addr_hash(addr);
        found = pk_map_find(&vantages->map, hash, vantages->servers, addr);
        if (found == PK_MAP_NONE) {
            if (shown == PK_VANTAGE_UNKNOWN || vantages->n == PK_VANTAGE_MAX_SERVERS) {
                return PK_VANTAGE_UNKNOWN;
            }
            found = vantages->n++;
            vantages->servers[found] = (struct server){.addr = *addr};
            (void)pk_map_add(&vantages->map, hash, found); /* as many places as servers */
        }
        vantages->last = found;
    }
    if (shown != PK_VANTAGE_UNKNOWN) {
        vantages->servers[found].vantage = shown;
    }
    return vantages->servers[found].vantage;
}

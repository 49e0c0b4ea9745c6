/* What a site allows to leave it, whatever scope it is handed: a floor under its privacy that the site alone sets (docs/PRIVACY.md).
 *
 * A scope decides which names carry a source and whose addresses are inside. Where it comes from somebody else, that somebody could name the whole Internet as the tenant's zones, or leave the site's
 * own networks out of its clients. The floor is laid over the scope before it is used: it can only take away. */
#ifndef PICKET_SCOPE_FLOOR_H
#define PICKET_SCOPE_FLOOR_H

#include "picket/scope.h"

enum {
    PK_FLOOR_MAX_ENTRIES = 256 /* of each list */
};

struct pk_scope_floor {
    bool hides_inside;         /* nothing of single inside clients, not even pseudonyms */
    struct pk_prefix *clients; /* inside whatever a scope says */
    size_t n_clients;
    struct pk_name *zones; /* names with a source are at or below one of these ... */
    size_t n_zones;
    struct pk_prefix *networks; /* ... or reverse names within these; both empty: not limited */
    size_t n_networks;
    uint32_t pseudonym_days; /* at most; 0: not limited */
};

/* The map privacy_floor of a configuration: inside, clients, zones, networks, pseudonym_days. A NULL node: an empty floor. What is wrong is reported to conf. */
void pk_scope_floor_read(
    struct pk_conf *conf, const struct pk_conf_node *node, struct pk_scope_floor *out_floor);
void pk_scope_floor_done(struct pk_scope_floor *floor);

/* Lays the floor over a scope; tenant and site are of this scope. own: the tenant as the site itself wrote it, or NULL; where that is tenant itself, nothing but the floor counts. Of a scope that came from elsewhere inside are then the scope's clients, the floor's, and
 * own's at this site; where neither floor nor own has any, the private ranges. Of the scope's clients nothing longer than a /24 (IPv6 /48) is told beside a pseudonym. Without zones or networks in the floor, top-level domains and networks wider than /8 (IPv6 /16) are left out unless
 * own has them. *out_left_out: zones, watched names, canaries and networks that went. PK_ERR_NOMEM: the scope is of no use any more. */
pk_err pk_scope_floor_apply(const struct pk_scope_floor *floor, struct pk_scope *scope,
    const struct pk_scope_tenant *tenant, const struct pk_scope_site *site,
    const struct pk_scope_tenant *own, size_t *out_left_out);

#endif

/* The scope: which tenants and sites there are, which names may carry a source, whose addresses are whose.
 *
 * One YAML file, read by the sensor (--scope), the replay and `picketctl apply`; format in docs/OPERATIONS.md. Loaded once,
 * then immutable. All lookups are by hash or binary search; names may be tens of thousands. */
#ifndef PICKET_SCOPE_H
#define PICKET_SCOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picket/addr.h"
#include "picket/bytes.h"
#include "picket/conf.h"
#include "picket/name.h"
#include "picket/observation.h"

struct pk_scope_site {
    char *name;
    enum pk_vantage vantage;
    struct pk_prefix
        *clients; /* empty in the file: the private ranges of RFC 1918, 4193, 6598, link-local */
    size_t n_clients;
    struct pk_prefix *resolvers;
    size_t n_resolvers;
};

enum {
    PK_SCOPE_MAX_FROM = 16,
    PK_SCOPE_ACTIVITY_DAYS = 30, /* kept where the file does not say */
    PK_SCOPE_HISTORY_DAYS = 3650,
    PK_SCOPE_HEALTH_DAYS = 90,
};

/* A name that stands in one place alone: who asks for it has read that place. */
struct pk_scope_canary {
    struct pk_name name;
    char *channel;      /* where it was planted: "axfr", "ct", "dnsdb", ...; NULL: not said */
    int64_t planted_us; /* 0: not said */
};

struct pk_scope_tenant {
    char *name;
    struct pk_scope_site *sites;
    size_t n_sites;
    struct pk_name *zones; /* lower case; watch and sensitive_zones too */
    size_t n_zones;
    struct pk_prefix *networks;
    size_t n_networks;
    struct pk_name *reverse_zones; /* of networks */
    size_t n_reverse_zones;
    struct pk_prefix *transfer_peers;
    size_t n_transfer_peers;
    struct pk_prefix
        *sensors_from;     /* where its sensors may connect and enrol from; none: anywhere */
    size_t n_sensors_from; /* at most PK_SCOPE_MAX_FROM */
    struct pk_prefix *scanners;
    size_t n_scanners;
    struct pk_scope_canary *canaries;
    size_t n_canaries;
    struct pk_name *watch;
    size_t n_watch;
    struct pk_name *sensitive_zones;
    size_t n_sensitive_zones;
    uint32_t pseudonym_days;      /* how long pseudonyms stay the same; default 90 */
    uint32_t window_s;            /* 1 to 60: of sensors that do not say themselves; 0: not said */
    uint32_t activity_days;       /* default 30 */
    uint32_t history_days;        /* default 3650 */
    uint32_t health_days;         /* default 90 */
    bool share_actors;            /* takes part in D13; default no */
    double budget;                /* false alerts a day over all detectors; default 1 */
    struct pk_scope_index *index; /* zones, reverse zones and watched names by hash; private */
};

struct pk_scope {
    struct pk_scope_tenant *tenants;
    size_t n_tenants;
};

/* Reads a scope; out_error as in conf.h. */
pk_err pk_scope_load(
    const char *path, struct pk_scope **out_scope, char out_error[PK_CONF_ERROR_SIZE]);
pk_err pk_scope_parse(const char *name, const char *text, size_t len, struct pk_scope **out_scope,
    char out_error[PK_CONF_ERROR_SIZE]);
void pk_scope_free(struct pk_scope *scope);
/* Appends what a sensor of this tenant needs, as text that pk_scope_parse takes. PK_ERR_LIMIT: beyond out->max_bytes. */
pk_err pk_scope_render(const struct pk_scope_tenant *tenant, struct pk_bytes *out);

/* "acme/hq", or "hq" when only one tenant has such a site. On failure out_error says which would be right. */
pk_err pk_scope_find_site(const struct pk_scope *scope, const char *path,
    const struct pk_scope_tenant **out_tenant, const struct pk_scope_site **out_site,
    char out_error[PK_CONF_ERROR_SIZE]);

/* Why a transaction is in scope. */
enum pk_scope_reason {
    PK_SCOPE_NOT,
    PK_SCOPE_ZONE,    /* at or below one of the tenant's zones */
    PK_SCOPE_REVERSE, /* reverse name within the tenant's networks */
    PK_SCOPE_WATCH,
    PK_SCOPE_BUILTIN, /* transfer types, class CH, internal suffixes, services that know others' names: ships with the sensor, versioned */
};
enum {
    PK_SCOPE_BUILTIN_VERSION = 2
};
/* name in any case. out_zone (may be NULL): the zone, reverse zone or watched name it fell under; of BUILTIN the service, else the root. */
enum pk_scope_reason pk_scope_match(const struct pk_scope_tenant *tenant,
    const struct pk_name *name, uint16_t qtype, uint16_t qclass, struct pk_name *out_zone);
/* The canary that a zone given out by pk_scope_match is; NULL: it is none. */
const struct pk_scope_canary *pk_scope_canary_of(
    const struct pk_scope_tenant *tenant, const struct pk_name *zone);
bool pk_scope_is_client(const struct pk_scope_site *site, const struct pk_addr *addr);
bool pk_scope_is_in(const struct pk_prefix *prefixes, size_t n, const struct pk_addr *addr);

#endif

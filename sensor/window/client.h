/* Who may be named in a row, and how: outside sources in clear, inside clients as keyed pseudonyms or not at all (design decision 3). Pure. */
#ifndef SENSOR_CLIENT_H
#define SENSOR_CLIENT_H

#include "picket/observation.h"
#include "picket/pseudonym.h"
#include "picket/scope.h"

/* Keys of one period. Those of the period before are there for its first day, in which both pseudonyms are told. */
struct pk_client_rules {
    const struct pk_scope_site
        *site; /* whose clients are inside; NULL: no scope, every source in clear; borrowed */
    const struct pk_scope_tenant *
        declared; /* whose scanners and transfer peers stay in clear wherever they are: the site's own file says so; NULL: none; borrowed */
    uint32_t period; /* pk_pseudonym_period; 0: no client key, inside clients are left out */
    bool has_former;
    uint8_t key[PK_PSEUDONYM_KEY_BYTES], former_key[PK_PSEUDONYM_KEY_BYTES];
    uint8_t sketch_key[PK_SKETCH_KEY_BYTES];
};

/* The rules at this moment. tenant and site NULL: without a scope; master NULL: no client key. Keys are only made anew when the period is another. */
void pk_client_rules_set(struct pk_client_rules *rules, const struct pk_scope_tenant *tenant,
    const struct pk_scope_site *site, const uint8_t *master, int64_t ts_us);
/* So that the next set makes the keys anew: scope or master are others. */
void pk_client_rules_forget(struct pk_client_rules *rules);

/* Costs a BLAKE2b for a pseudonym: ask once for an address of a window. */
struct pk_client pk_client_of(const struct pk_client_rules *rules, const struct pk_addr *addr);
/* As much of a subnet that a query told (RFC 7871) as leaves a site: its /24 or /48. */
struct pk_prefix pk_client_subnet(const struct pk_prefix *told);
/* The same client, asking for such a subnet. False when it is not to be told: of any client but an outside one, of a private range (whoever is behind it is
 * somebody's inside), and of a subnet that has clients of the site in it, which it would tell of in clear. */
bool pk_client_asks_for(
    const struct pk_client_rules *rules, struct pk_client *client, const struct pk_prefix *subnet);
/* The same client in the period before; only with has_former, for an address that has a pseudonym. */
struct pk_client pk_client_former(const struct pk_client_rules *rules,
    const struct pk_client *client, const struct pk_addr *addr);

#endif

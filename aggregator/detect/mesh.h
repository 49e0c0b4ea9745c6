/* D13: the same actor at several tenants. Pure; off unless a tenant opts in.
 *
 * Stands above the engines: each tenant that opted in hands in what its engine thinks of outside addresses (pk_mesh_report), and gets back for each of its own actors in how many
 * other tenants the same one is suspected (pk_mesh_ask). What crosses from tenant to tenant is a class of that number alone: never a name, a zone, a site, a time finer than the
 * hour or which tenants. With fewer than three tenants that opted in nothing is told, and the number told is a class (1, 2-4, 5-9, 10+), so that no tenant can learn another's
 * traffic by elimination. Who does not report is not told: a tenant that opts out again takes its reports with it.
 *
 * An actor counts at a tenant when its wealth there reached a third of that tenant's threshold within the last day. The tenant that asks raises the severity of its own finding
 * by one; nothing else changes, and no finding is made from other tenants' evidence alone. Bounded: MAX places, the longest untouched of a bucket is overwritten. */
#ifndef AGGREGATOR_DETECT_MESH_H
#define AGGREGATOR_DETECT_MESH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picket/addr.h"
#include "picket/err.h"
#include "picket/ids.h"

enum {
    PK_MESH_MIN_TENANTS = 3, /* that opted in, before anything is told */
    PK_MESH_DAY_HOURS = 24
};

enum pk_mesh_class {
    PK_MESH_NONE,
    PK_MESH_ONE,     /* one other tenant */
    PK_MESH_FEW,     /* 2 to 4 */
    PK_MESH_SEVERAL, /* 5 to 9 */
    PK_MESH_MANY,    /* 10 and more */
    PK_N_MESH_CLASSES
};
const char *pk_mesh_class_str(enum pk_mesh_class class); /* "none", "1", "2-4", "5-9", "10+" */

struct pk_mesh;

/* max_reports: (actor, tenant) pairs kept. PK_ERR_NOMEM. */
pk_err pk_mesh_new(size_t max_reports, struct pk_mesh **out_mesh);
void pk_mesh_free(struct pk_mesh *mesh);
/* The tenant takes part from now on, or no longer: then what it reported is forgotten at once. PK_ERR_NOMEM; PK_ERR_LIMIT beyond 4096 tenants. */
pk_err pk_mesh_opt_in(struct pk_mesh *mesh, struct pk_tenant_id tenant);
void pk_mesh_opt_out(struct pk_mesh *mesh, struct pk_tenant_id tenant);
/* What a tenant's engine thinks of an outside address, in nats, and the threshold it would alarm at. Ignored when it is below a third of it, or the tenant did not opt in. */
void pk_mesh_report(struct pk_mesh *mesh, struct pk_tenant_id tenant, const struct pk_addr *addr,
    double wealth, double threshold, int64_t now_us);
/* At how many other tenants it is suspected, for a tenant that opted in and suspects it itself; NONE for anybody else. */
enum pk_mesh_class pk_mesh_ask(const struct pk_mesh *mesh, struct pk_tenant_id tenant,
    const struct pk_addr *addr, int64_t now_us);

#endif

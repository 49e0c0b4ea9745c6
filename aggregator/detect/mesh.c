/* The same actor at several tenants. */
#include "mesh.h"

#include <stdlib.h>
#include <string.h>

#include "picket/hash.h"

enum {
    WAYS = 16, /* places of a bucket: an actor's reports stand in one bucket */
    MAX_TENANTS = 4096
};

static const double least_share = 1. / 3;
static const int64_t hour_us = INT64_C(3600) * 1000000;

struct report {
    struct pk_addr addr; /* family 0: free */
    uint32_t tenant;
    uint32_t hour; /* since 1970: nothing finer is kept */
};

struct pk_mesh {
    struct report *v;
    size_t n_buckets;
    uint32_t tenants[MAX_TENANTS]; /* that opted in */
    size_t n_tenants;
};

const char *pk_mesh_class_str(enum pk_mesh_class class)
{
    static const char *const names[PK_N_MESH_CLASSES] = {"none", "1", "2-4", "5-9", "10+"};
    return names[class];
}

pk_err pk_mesh_new(size_t max_reports, struct pk_mesh **out_mesh)
{
    struct pk_mesh *mesh = calloc(1, sizeof *mesh);
    if (mesh) {
        mesh->n_buckets = max_reports / WAYS + 1;
        mesh->v = calloc(mesh->n_buckets * WAYS, sizeof *mesh->v);
    }
    if (!mesh || !mesh->v) {
        pk_mesh_free(mesh);
        return PK_ERR_NOMEM;
    }
    *out_mesh = mesh;
    return PK_OK;
}

void pk_mesh_free(struct pk_mesh *mesh)
{
    if (mesh) {
        free(mesh->v);
        free(mesh);
    }
}

static bool is_in(const struct pk_mesh *mesh, struct pk_tenant_id tenant)
{
    for (size_t i = 0; i < mesh->n_tenants; i++) {
        if (mesh->tenants[i] == tenant.v) {
            return true;
        }
    }
    return false;
}

pk_err pk_mesh_opt_in(struct pk_mesh *mesh, struct pk_tenant_id tenant)
{
    if (is_in(mesh, tenant)) {
        return PK_OK;
    }
    if (mesh->n_tenants == MAX_TENANTS) {
        return PK_ERR_LIMIT;
    }
    mesh->tenants[mesh->n_tenants++] = tenant.v;
    return PK_OK;
}

void pk_mesh_opt_out(struct pk_mesh *mesh, struct pk_tenant_id tenant)
{
    for (size_t i = 0; i < mesh->n_tenants; i++) {
        if (mesh->tenants[i] == tenant.v) {
            mesh->tenants[i--] = mesh->tenants[--mesh->n_tenants];
        }
    }
    for (size_t i = 0; i < mesh->n_buckets * WAYS; i++) {
        if (mesh->v[i].addr.family != 0 && mesh->v[i].tenant == tenant.v) {
            memset(&mesh->v[i], 0, sizeof mesh->v[i]);
        }
    }
}

static struct report *bucket_of(const struct pk_mesh *mesh, const struct pk_addr *addr)
{
    uint64_t hash = pk_hash_mix(pk_hash(addr->bytes, sizeof addr->bytes), addr->family);
    return mesh->v + hash % mesh->n_buckets * WAYS;
}

void pk_mesh_report(struct pk_mesh *mesh, struct pk_tenant_id tenant, const struct pk_addr *addr,
    double wealth, double threshold, int64_t now_us)
{
    if (addr->family == 0 || wealth < threshold * least_share || !is_in(mesh, tenant)) {
        return;
    }
    struct report *bucket = bucket_of(mesh, addr), *oldest = bucket;
    for (unsigned i = 0; i < WAYS; i++) {
        struct report *report = &bucket[i];
        if (report->addr.family == 0 ||
            (report->tenant == tenant.v && pk_addr_equal(&report->addr, addr))) {
            oldest = report;
            break;
        }
        oldest = report->hour < oldest->hour ? report : oldest;
    }
    *oldest =
        (struct report){.addr = *addr, .tenant = tenant.v, .hour = (uint32_t)(now_us / hour_us)};
}

enum pk_mesh_class pk_mesh_ask(const struct pk_mesh *mesh, struct pk_tenant_id tenant,
    const struct pk_addr *addr, int64_t now_us)
{
    unsigned n = 0;
    bool is_own = false;
    uint32_t now = (uint32_t)(now_us / hour_us);
    if (addr->family == 0 || mesh->n_tenants < PK_MESH_MIN_TENANTS || !is_in(mesh, tenant)) {
        return PK_MESH_NONE;
    }
    const struct report *bucket = bucket_of(mesh, addr);
    for (unsigned i = 0; i < WAYS; i++) {
        const struct report *report = &bucket[i];
        bool is_recent = report->addr.family != 0 && pk_addr_equal(&report->addr, addr) &&
                         llabs((int64_t)now - report->hour) <= PK_MESH_DAY_HOURS;
        is_own = is_own || (is_recent && report->tenant == tenant.v);
        n += is_recent && report->tenant != tenant.v;
    }
    return !is_own || n == 0 ? PK_MESH_NONE
           : n == 1          ? PK_MESH_ONE
           : n <= 4          ? PK_MESH_FEW
           : n <= 9          ? PK_MESH_SEVERAL
                             : PK_MESH_MANY;
}

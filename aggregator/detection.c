/* Engines by tenant.
 *
 * A finding is rendered the moment the engine reports it and waits as text until the next save: the engine's own memory of it may move on. Findings
 * are saved before the state that contains them or together with it, never after; a crash in between makes the engine report the same revisions
 * again, which the store ignores. */
#include "detection.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "picket/clock.h"
#include "picket/log.h"

#include "detect/engine.h"
#include "detect/finding.h"
#include "detect/mesh.h"
#include "retired.h"

enum {
    QUIET_SAVES = 6,   /* and what waits in the engine for company has waited long enough */
    IDLE_MS = 7800000, /* without a row for two hours and ten minutes: all sources fell silent */
    MAX_STATE_BYTES = 1 << 30,
    MAX_FINDING_BYTES = 256 << 10,
    MAX_SHARED = 1 << 16, /* reports of addresses between tenants: 1.8 MB */
    FIRST_WALKS = 4       /* over history, before the first row: a small one is known at once */
};

struct waiting {
    char id[PK_FINDING_ID_SIZE];
    uint32_t revision;
    char detector[8];
    uint8_t severity;
    int64_t first_us, last_us;
    char *json; /* owned */
};

struct tenant {
    struct pk_tenant_id id;
    uint64_t generation; /* of its home, when it was loaded */
    struct pk_engine *engine;
    struct pk_retired *retired; /* what the engine may ask of history */
    uint64_t at_seq;            /* ingest sequence of the last row seen */
    bool is_dirty;              /* rows since the last saved state */
    unsigned n_quiet;           /* saves of the state without rows before them */
    int64_t
        quiet_since_ms; /* of the clock that only goes forward; 0: rows came, or that the silence was told */
    struct waiting *waiting;
    size_t n_waiting, cap_waiting;
    pk_err err;             /* of a callback */
    struct pk_mesh *mesh;   /* of the detection; NULL: the tenant does not share actors */
    struct pk_finding told; /* a finding with what the mesh adds: too big for the stack */
};

struct pk_detection {
    struct tenant **tenants;
    size_t n_tenants;
    uint64_t early_rows;
    struct pk_mesh *mesh; /* D13: between the tenants that have their home here */
    size_t next_walk;     /* the tenant whose history is looked at next */
};

pk_err pk_detection_new(struct pk_detection **out_detection)
{
    struct pk_detection *detection = calloc(1, sizeof *detection);
    if (!detection || pk_mesh_new(MAX_SHARED, &detection->mesh) != PK_OK) {
        free(detection);
        return PK_ERR_NOMEM;
    }
    *out_detection = detection;
    return PK_OK;
}

static void drop_waiting(struct tenant *tenant)
{
    for (size_t i = 0; i < tenant->n_waiting; i++) {
        free(tenant->waiting[i].json);
    }
    tenant->n_waiting = 0;
}

static void tenant_free(struct tenant *tenant)
{
    if (tenant) {
        drop_waiting(tenant);
        free(tenant->waiting);
        pk_engine_free(tenant->engine);
        pk_retired_free(tenant->retired);
        free(tenant);
    }
}

void pk_detection_free(struct pk_detection *detection)
{
    for (size_t i = 0; detection && i < detection->n_tenants; i++) {
        tenant_free(detection->tenants[i]);
    }
    if (detection) {
        free(detection->tenants);
        pk_mesh_free(detection->mesh);
    }
    free(detection);
}

static pk_err keep(struct tenant *tenant, const struct pk_finding *finding)
{
    if (tenant->n_waiting == tenant->cap_waiting) {
        size_t cap = tenant->cap_waiting ? 2 * tenant->cap_waiting : 16;
        struct waiting *grown = realloc(tenant->waiting, cap * sizeof *grown);
        if (!grown) {
            return PK_ERR_NOMEM;
        }
        tenant->waiting = grown;
        tenant->cap_waiting = cap;
    }
    struct pk_bytes json;
    pk_bytes_init(&json, MAX_FINDING_BYTES);
    pk_err err = pk_finding_json(finding, &json);
    const char *text = err == PK_OK ? pk_bytes_text(&json) : NULL;
    char *copy = text ? strdup(text) : NULL;
    pk_bytes_done(&json);
    if (!copy) {
        return err != PK_OK ? err : PK_ERR_NOMEM;
    }
    struct waiting *waiting = &tenant->waiting[tenant->n_waiting++];
    *waiting = (struct waiting){
        .revision = finding->revision,
        .severity = finding->severity,
        .first_us = finding->first_us,
        .last_us = finding->last_us,
        .json = copy,
    };
    memcpy(waiting->id, finding->id, sizeof waiting->id);
    strncpy(waiting->detector, finding->detector, sizeof waiting->detector - 1);
    return PK_OK;
}

/* D13: the class of other tenants, and one severity more. Times are those of the rows, to the hour. */
static const struct pk_finding *ask_mesh(struct tenant *tenant, const struct pk_finding *finding)
{
    if (!tenant->mesh || strcmp(finding->actor_kind, "address") != 0 || finding->n_addresses == 0) {
        return finding;
    }
    const struct pk_addr *addr = &finding->addresses[0];
    pk_mesh_report(tenant->mesh, tenant->id, addr, 1, 1, finding->last_us); /* it alarmed */
    enum pk_mesh_class class = pk_mesh_ask(tenant->mesh, tenant->id, addr, finding->last_us);
    if (class == PK_MESH_NONE) {
        return finding;
    }
    tenant->told = *finding;
    tenant->told.elsewhere = pk_mesh_class_str(class);
    tenant->told.severity = (uint8_t)(finding->severity + (finding->severity < 5));
    return &tenant->told;
}

static void on_suspect(
    void *arg, const struct pk_addr *addr, double wealth, double threshold, int64_t last_us)
{
    const struct tenant *tenant = arg;
    pk_mesh_report(tenant->mesh, tenant->id, addr, wealth, threshold, last_us);
}

/* Into the mesh or out of it, as the scope in force says. Out: what it reported goes at once. */
static pk_err share(struct pk_detection *detection, struct tenant *tenant, bool shares)
{
    if (tenant->mesh && !shares) {
        pk_mesh_opt_out(tenant->mesh, tenant->id);
        tenant->mesh = NULL;
    } else if (!tenant->mesh && shares) {
        pk_err err = pk_mesh_opt_in(detection->mesh, tenant->id);
        if (err != PK_OK) {
            pk_warn("detect", "tenant=%u cannot share actors: %s", tenant->id.v, pk_err_str(err));
            return err == PK_ERR_LIMIT ? PK_OK : err;
        }
        tenant->mesh = detection->mesh;
    }
    return PK_OK;
}

static void on_finding(void *arg, const struct pk_finding *finding)
{
    struct tenant *tenant = arg;
    finding = ask_mesh(tenant, finding);
    pk_err err = keep(tenant, finding);
    if (err != PK_OK && tenant->err == PK_OK) {
        tenant->err = err;
    }
    pk_info("detect", "finding=%s revision=%" PRIu32 " detector=%s severity=%u tenant=%s actor=%s",
        finding->id, finding->revision, finding->detector, finding->severity, finding->tenant,
        finding->actor_key);
}

static struct tenant *find(const struct pk_detection *detection, struct pk_tenant_id id)
{
    for (size_t i = 0; i < detection->n_tenants; i++) {
        if (detection->tenants[i]->id.v == id.v) {
            return detection->tenants[i];
        }
    }
    return NULL;
}

/* One of row and count. */
static pk_err observe(struct tenant *tenant, const struct pk_registry *registry,
    struct pk_site_id site, struct pk_sensor_id sensor, const struct pk_activity *row,
    const struct pk_client_count *count)
{
    const char *site_name = pk_registry_site_name(registry, tenant->id, site);
    const struct pk_store_sensor *known = pk_registry_sensor(registry, sensor.v);
    struct pk_engine_origin origin = {
        .site = site_name ? site_name : "unknown", .sensor = known ? known->name : "unknown"};
    pk_err err = count ? pk_engine_observe_client(tenant->engine, &origin, count)
                       : pk_engine_observe(tenant->engine, &origin, row);
    return err != PK_OK ? err : tenant->err;
}

struct catch_up {
    struct tenant *tenant;
    const struct pk_registry *registry;
    const struct pk_detection_homes *homes;
    uint64_t rows;
    pk_err err;
};

static bool on_stored_row(void *arg, const struct pk_store_activity *stored)
{
    struct catch_up *work = arg;
    pk_retired_set_seq(work->tenant->retired, stored->ingest_seq);
    work->err = observe(work->tenant, work->registry, stored->site, stored->sensor,
        &stored->activity, stored->client);
    work->tenant->at_seq = stored->ingest_seq;
    work->tenant->is_dirty = true;
    if (work->rows % 10000 == 0) {
        work->homes->progress(work->homes->arg);
    }
    if (++work->rows % 1000000 == 0) {
        pk_info("detect", "catching up: rows=%" PRIu64 " ingest_seq=%" PRIu64, work->rows,
            stored->ingest_seq);
    }
    return work->err == PK_OK;
}

/* The saved state, then what was stored after it. A state of another version is no error: the activity is still there. */
static pk_err restore(struct tenant *tenant, const struct pk_registry *registry,
    const struct pk_detection_homes *homes, struct pk_store *store)
{
    uint8_t *state = NULL;
    size_t len = 0;
    uint32_t version = 0;
    uint64_t seq = 0;
    pk_err err = pk_store_load_state(store, tenant->id, &state, &len, &version, &seq);
    if (err != PK_OK) {
        return err;
    }
    if (state && version == PK_ENGINE_STATE_VERSION &&
        pk_engine_load(tenant->engine, state, len) == PK_OK) {
        tenant->at_seq = seq;
    } else if (state) {
        pk_warn("detect",
            "tenant=%u the saved state (version %u) is not usable here, reading all stored activity instead",
            tenant->id.v, version);
    }
    free(state);
    struct catch_up work = {.tenant = tenant, .registry = registry, .homes = homes};
    err = pk_retired_load(tenant->retired, store, tenant->at_seq);
    if (err != PK_OK) {
        return err;
    }
    err = pk_store_read_activity(store, tenant->id, tenant->at_seq, on_stored_row, &work);
    if (err == PK_OK) {
        err = work.err;
    }
    if (err == PK_OK) {
        pk_info("detect",
            "tenant=%u state_seq=%" PRIu64 " replayed_rows=%" PRIu64 " now_seq=%" PRIu64,
            tenant->id.v, seq, work.rows, tenant->at_seq);
    }
    return err;
}

/* Only a store that is away is the caller's business: without history detection goes on, and the walk is tried again. */
static pk_err walk(
    struct tenant *tenant, const struct pk_scope_tenant *scope, struct pk_store *store)
{
    pk_err err = pk_retired_walk(tenant->retired, store, scope, tenant->at_seq, pk_clock_wall_us());
    if (err != PK_OK && err != PK_ERR_IO &&
        err != PK_ERR_CONFLICT) { /* its home is elsewhere: the next save finds out */
        pk_warn("detect", "tenant=%u history cannot be walked: %s", tenant->id.v, pk_err_str(err));
    }
    return err == PK_ERR_IO ? err : PK_OK;
}

static pk_err start_engine(struct tenant *tenant, const struct pk_scope_tenant *scope,
    const struct pk_registry *registry, const struct pk_detection_homes *homes,
    struct pk_store *store)
{
    pk_err err = pk_retired_new(tenant->id, tenant->generation, &tenant->retired);
    if (err != PK_OK) {
        return err;
    }
    struct pk_engine_options options = {
        .tenant = scope, .history = pk_retired_source(tenant->retired)};
    err = pk_engine_new(&options, on_finding, tenant, &tenant->engine);
    if (err == PK_OK) {
        err = restore(tenant, registry, homes, store);
    }
    for (int i = 0; i < FIRST_WALKS && err == PK_OK && pk_retired_rounds(tenant->retired) == 0;
         i++) {
        err = walk(tenant, scope, store);
    }
    return err;
}

static pk_err add_tenant(struct pk_detection *detection, struct pk_tenant_id id,
    const struct pk_scope_tenant *scope, const struct pk_registry *registry,
    const struct pk_detection_homes *homes, struct pk_store *store)
{
    struct tenant **grown =
        realloc(detection->tenants, (detection->n_tenants + 1) * sizeof(struct tenant *));
    if (!grown) {
        return PK_ERR_NOMEM;
    }
    detection->tenants = grown;
    struct tenant *tenant = calloc(1, sizeof *tenant);
    if (!tenant) {
        return PK_ERR_NOMEM;
    }
    tenant->id = id;
    tenant->generation = homes->generation(homes->arg, id);
    pk_err err = share(detection, tenant, scope->share_actors);
    err = err != PK_OK ? err : start_engine(tenant, scope, registry, homes, store);
    if (err != PK_OK) {
        (void)share(detection, tenant, false);
        tenant_free(tenant);
        return err;
    }
    detection->tenants[detection->n_tenants++] = tenant;
    return PK_OK;
}

static void drop_at(struct pk_detection *detection, size_t i)
{
    (void)share(detection, detection->tenants[i], false);
    tenant_free(detection->tenants[i]);
    detection->tenants[i] = detection->tenants[--detection->n_tenants];
}

void pk_detection_drop(struct pk_detection *detection, struct pk_tenant_id id)
{
    for (size_t i = detection->n_tenants; i-- > 0;) {
        if (detection->tenants[i]->id.v == id.v) {
            drop_at(detection, i);
        }
    }
}

pk_err pk_detection_sync(struct pk_detection *detection, const struct pk_registry *registry,
    const struct pk_detection_homes *homes, struct pk_store *store)
{
    /* An engine borrows its scope: one whose tenant left the scope must go before the old registry does. Its state is in the store. */
    for (size_t i = detection->n_tenants; i-- > 0;) {
        const struct tenant *tenant = detection->tenants[i];
        if (!pk_registry_scope(registry, tenant->id) ||
            homes->generation(homes->arg, tenant->id) != tenant->generation) {
            drop_at(detection, i);
        }
    }
    for (size_t i = 0; i < registry->rows.n_tenants; i++) {
        struct pk_tenant_id id = registry->rows.tenants[i].tenant;
        const struct pk_scope_tenant *scope = pk_registry_scope(registry, id);
        struct tenant *tenant = find(detection, id);
        if (tenant) {
            pk_engine_set_scope(tenant->engine, scope);
            pk_err err = share(detection, tenant, scope && scope->share_actors);
            if (err != PK_OK) {
                return err;
            }
        } else if (scope && homes->generation(homes->arg, id) != 0) {
            pk_err err = add_tenant(detection, id, scope, registry, homes, store);
            if (err != PK_OK) {
                return err;
            }
        }
    }
    return PK_OK;
}

pk_err pk_detection_observe(struct pk_detection *detection, const struct pk_registry *registry,
    const struct pk_store_batch *batch, uint64_t ingest_seq)
{
    struct tenant *tenant = find(detection, batch->tenant);
    enum pk_batch_kind kind = pk_batch_info(batch->batch)->kind;
    if (!tenant || (kind != PK_BATCH_ACTIVITY && kind != PK_BATCH_CLIENT)) {
        return PK_OK;
    }
    size_t n = pk_batch_rows(batch->batch);
    pk_retired_set_seq(tenant->retired, ingest_seq);
    for (size_t i = 0; i < n; i++) {
        struct pk_activity row;
        struct pk_client_count count;
        if (kind == PK_BATCH_CLIENT) {
            pk_batch_client_count(batch->batch, i, &count);
            count.first_us = pk_store_hold_time(count.first_us, batch->received_us);
        } else {
            pk_batch_activity(batch->batch, i, &row);
            int64_t held_us = pk_store_hold_time(row.first_us, batch->received_us);
            detection->early_rows += held_us != row.first_us;
            row.first_us = held_us; /* as stored */
        }
        pk_err err = observe(tenant, registry, batch->site, batch->sensor, &row,
            kind == PK_BATCH_CLIENT ? &count : NULL);
        if (err != PK_OK) {
            return err;
        }
    }
    tenant->at_seq = ingest_seq;
    tenant->is_dirty = true;
    return PK_OK;
}

static pk_err save_tenant(struct tenant *tenant, struct pk_store *store, bool with_state)
{
    struct pk_bytes state;
    pk_bytes_init(&state, MAX_STATE_BYTES);
    pk_err err = with_state ? pk_engine_save(tenant->engine, &state) : PK_OK;
    struct pk_store_finding *findings = calloc(tenant->n_waiting + 1, sizeof *findings);
    if (!findings && err == PK_OK) {
        err = PK_ERR_NOMEM;
    }
    if (err == PK_OK) {
        for (size_t i = 0; i < tenant->n_waiting; i++) {
            const struct waiting *waiting = &tenant->waiting[i];
            findings[i] = (struct pk_store_finding){
                .id = waiting->id,
                .revision = waiting->revision,
                .detector = waiting->detector,
                .severity = waiting->severity,
                .first_us = waiting->first_us,
                .last_us = waiting->last_us,
                .json = waiting->json,
            };
        }
        struct pk_slice slice = {.data = state.data, .len = (uint32_t)state.len};
        err = pk_store_save_detection(store, tenant->id, tenant->generation, findings,
            tenant->n_waiting, with_state ? &slice : NULL, PK_ENGINE_STATE_VERSION, tenant->at_seq);
    }
    if (err == PK_OK) {
        drop_waiting(tenant);
        tenant->is_dirty = tenant->is_dirty && !with_state;
    }
    free(findings);
    pk_bytes_done(&state);
    return err;
}

/* A tenant's traffic ended long ago: no row will come to move the engine's clock past the silence. */
static pk_err mind_silence(struct tenant *tenant)
{
    int64_t now_ms = pk_clock_mono_ms();
    if (tenant->n_quiet == 1) {
        tenant->quiet_since_ms = now_ms;
    }
    if (tenant->quiet_since_ms == 0 || now_ms - tenant->quiet_since_ms < IDLE_MS) {
        return PK_OK;
    }
    tenant->quiet_since_ms = 0;
    return pk_engine_idle(tenant->engine, (int64_t)IDLE_MS * 1000);
}

/* Whether the state is worth writing; an engine that has been quiet for long gives out what waits for company, and later what has ended. */
static pk_err prepare_save(struct tenant *tenant, bool with_state, bool *out_saves_state)
{
    *out_saves_state = with_state && tenant->is_dirty;
    if (tenant->is_dirty || !with_state) {
        tenant->n_quiet = tenant->is_dirty ? 0 : tenant->n_quiet;
        return PK_OK;
    }
    tenant->n_quiet += tenant->n_quiet <= QUIET_SAVES;
    pk_err err = tenant->n_quiet == QUIET_SAVES ? pk_engine_flush(tenant->engine) : PK_OK;
    if (err == PK_OK) {
        err = mind_silence(tenant);
    }
    tenant->is_dirty = tenant->n_waiting > 0;
    *out_saves_state = tenant->is_dirty;
    return err;
}

pk_err pk_detection_save(struct pk_detection *detection, struct pk_store *store, bool with_state)
{
    for (size_t i = detection->n_tenants; i-- > 0;) {
        struct tenant *tenant = detection->tenants[i];
        bool saves_state;
        if (tenant->mesh && with_state && tenant->is_dirty) {
            pk_engine_suspects(tenant->engine, on_suspect, tenant);
        }
        pk_err err = prepare_save(tenant, with_state, &saves_state);
        if (err == PK_OK && (tenant->n_waiting > 0 || saves_state)) {
            err = save_tenant(tenant, store, saves_state);
        }
        if (err == PK_ERR_CONFLICT) {
            pk_warn("detect", "tenant=%u has its home elsewhere: not saved here", tenant->id.v);
            drop_at(detection, i);
        } else if (err != PK_OK) {
            return err;
        }
    }
    return PK_OK;
}

pk_err pk_detection_walk_history(
    struct pk_detection *detection, const struct pk_registry *registry, struct pk_store *store)
{
    if (detection->n_tenants == 0) {
        return PK_OK;
    }
    struct tenant *tenant = detection->tenants[detection->next_walk++ % detection->n_tenants];
    return walk(tenant, pk_registry_scope(registry, tenant->id), store);
}

bool pk_detection_has_findings(const struct pk_detection *detection)
{
    for (size_t i = 0; i < detection->n_tenants; i++) {
        if (detection->tenants[i]->n_waiting > 0) {
            return true;
        }
    }
    return false;
}

void pk_detection_totals(
    const struct pk_detection *detection, struct pk_detection_totals *out_totals)
{
    *out_totals = (struct pk_detection_totals){.early_rows = detection->early_rows};
    for (size_t i = 0; i < detection->n_tenants; i++) {
        struct pk_engine_stats stats;
        pk_engine_stats(detection->tenants[i]->engine, &stats);
        out_totals->rows += stats.rows;
        out_totals->trials += stats.trials;
        out_totals->findings += stats.findings;
        struct pk_retired_totals retired;
        pk_retired_totals(detection->tenants[i]->retired, &retired);
        out_totals->retired_names += retired.names;
        out_totals->retired_refused += retired.refused;
    }
}

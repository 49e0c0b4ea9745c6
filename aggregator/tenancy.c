/* Opening and closing tenants here. All in the core's thread; the keeper behind pk_homes only says what should be. */
#include "tenancy.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "picket/clock.h"
#include "picket/log.h"

enum {
    DROP_MS = 60000,        /* from looking at whole days in vain to the next time */
    PRUNE_CLOCK_OFF_S = 600 /* our clock from the database's: more, and nothing is given up */
};

/* The generation in which an engine may work here. One that is to leave works until it has left. */
static uint64_t generation_here(void *arg, struct pk_tenant_id tenant)
{
    struct pk_tenancy *tenancy = arg;
    struct pk_home home = pk_homes_get(tenancy->homes, tenant);
    return home.place == PK_HOME_HERE ? home.generation : home.opened;
}

static void on_progress(void *arg)
{
    struct pk_tenancy *tenancy = arg;
    pk_homes_alive(tenancy->homes);
}

pk_err pk_tenancy_set_registry(struct pk_tenancy *tenancy, const struct pk_registry *registry)
{
    struct pk_detection_homes homes = {
        .generation = generation_here, .progress = on_progress, .arg = tenancy};
    return pk_detection_sync(tenancy->detection, registry, &homes, tenancy->store);
}

/* The tenant's engine and sessions go; what waits in the queue is turned away when it comes to the front. */
static void close_home(struct pk_tenancy *tenancy, struct pk_tenant_id tenant,
    const struct pk_endpoint *elsewhere, const char *why)
{
    const char *name = pk_registry_tenant_name(tenancy->registry, tenant);
    pk_info("homes", "tenant=%s closed: %s; sensors go to=%s", name ? name : "?", why,
        elsewhere->address[0] ? elsewhere->address : "their own list");
    pk_detection_drop(tenancy->detection, tenant);
    for (size_t i = 0; i < tenancy->registry->rows.n_sensors; i++) {
        const struct pk_store_sensor *sensor = &tenancy->registry->rows.sensors[i];
        if (sensor->tenant.v == tenant.v) {
            tenancy->end_session(tenancy->arg, sensor->sensor.v, 0, elsewhere);
        }
    }
    pk_homes_closed(tenancy->homes, tenant);
    atomic_fetch_sub(&tenancy->counters->homes, 1);
}

void pk_tenancy_lose(struct pk_tenancy *tenancy, struct pk_tenant_id tenant)
{
    struct pk_home home = pk_homes_get(tenancy->homes, tenant);
    atomic_fetch_add(&tenancy->counters->homes_lost, 1);
    close_home(tenancy, tenant, &home.elsewhere, "another aggregator took it over");
}

/* In order: nothing of it is left here when another takes it. */
static pk_err leave_home(
    struct pk_tenancy *tenancy, struct pk_tenant_id tenant, const struct pk_home *home)
{
    pk_err err = pk_detection_save(tenancy->detection, tenancy->store, true);
    if (err == PK_OK) {
        err = pk_store_release_home(tenancy->store, tenant, home->generation);
    }
    if (err == PK_OK && home->opened) {
        close_home(tenancy, tenant, &home->elsewhere, "given up");
    } else if (err == PK_OK) {
        pk_homes_closed(tenancy->homes, tenant);
    }
    return err;
}

/* Brings what is open here in line with the table of homes. PK_ERR_IO: call again. */
pk_err pk_tenancy_sync(struct pk_tenancy *tenancy)
{
    struct pk_tenant_id tenant;
    for (size_t i = 0; (tenant = pk_homes_at(tenancy->homes, i)).v != 0; i++) {
        struct pk_home home = pk_homes_get(tenancy->homes, tenant);
        if (home.place == PK_HOME_LEAVING) {
            pk_err err = leave_home(tenancy, tenant, &home);
            if (err != PK_OK) {
                return err;
            }
        } else if (home.opened && (home.place != PK_HOME_HERE || home.generation != home.opened)) {
            pk_tenancy_lose(tenancy, tenant);
        }
    }
    pk_err err = pk_tenancy_set_registry(tenancy, tenancy->registry);
    for (size_t i = 0; err == PK_OK && (tenant = pk_homes_at(tenancy->homes, i)).v != 0; i++) {
        struct pk_home home = pk_homes_get(tenancy->homes, tenant);
        if (home.place == PK_HOME_HERE && !home.opened) {
            pk_homes_opened(tenancy->homes, tenant, home.generation);
            atomic_fetch_add(&tenancy->counters->homes, 1);
            const char *name = pk_registry_tenant_name(tenancy->registry, tenant);
            pk_info("homes", "tenant=%s open generation=%" PRIu64, name ? name : "retired",
                home.generation);
        }
    }
    return err;
}

/* One tenant's trouble is its own: its home went elsewhere, or something stored for it cannot be reckoned with, which waiting does not mend. */
static pk_err go_on(
    struct pk_tenancy *tenancy, struct pk_tenant_id tenant, const char *doing, pk_err err)
{
    if (err == PK_ERR_CONFLICT) {
        pk_tenancy_lose(tenancy, tenant);
        return PK_OK;
    }
    if (err == PK_ERR_MALFORMED) {
        char text[256];
        const char *why = pk_store_error(tenancy->store);
        pk_warn("store", "doing=\"%s\" tenant_id=%" PRIu32 " failed=\"%s\"", doing, tenant.v,
            pk_log_escape(why, strlen(why), text, sizeof text));
        return PK_OK;
    }
    return err;
}

static void on_alarm(void *arg, const struct pk_store_alarm *alarm)
{
    struct pk_tenancy *tenancy = arg;
    atomic_fetch_add(
        alarm->is_open ? &tenancy->counters->alarms_opened : &tenancy->counters->alarms_closed, 1);
    if (alarm->is_open) {
        pk_warn("alarm", "opened sensor=%s kind=%s detail=\"%s\"", alarm->sensor, alarm->kind,
            alarm->detail);
    } else {
        pk_info("alarm", "closed sensor=%s kind=%s", alarm->sensor, alarm->kind);
    }
}

pk_err pk_tenancy_check_alarms(struct pk_tenancy *tenancy)
{
    struct pk_tenant_id tenant;
    pk_err err = PK_OK;
    for (size_t i = 0; err == PK_OK && (tenant = pk_homes_at(tenancy->homes, i)).v != 0; i++) {
        uint64_t generation = pk_homes_generation(tenancy->homes, tenant);
        if (generation != 0) {
            err = pk_store_check_alarms(tenancy->store, tenant, generation, on_alarm, tenancy);
        }
        err = go_on(tenancy, tenant, "check alarms", err);
    }
    return err;
}

pk_err pk_tenancy_write_reports(struct pk_tenancy *tenancy)
{
    struct pk_tenant_id tenant;
    pk_err err = PK_OK;
    for (size_t i = 0; err == PK_OK && (tenant = pk_homes_at(tenancy->homes, i)).v != 0; i++) {
        uint64_t generation = pk_homes_generation(tenancy->homes, tenant);
        if (generation != 0) {
            err = pk_reports_write(
                tenancy->reports, tenancy->store, tenant, generation, pk_clock_wall_us());
        }
        err = go_on(tenancy, tenant, "write reports", err);
    }
    return err;
}

static struct pk_store_retention retention_of(
    const struct pk_registry *registry, struct pk_tenant_id tenant)
{
    const struct pk_scope_tenant *scope = pk_registry_scope(registry, tenant);
    return (struct pk_store_retention){.tenant = tenant,
        .activity_days = scope ? scope->activity_days : PK_SCOPE_ACTIVITY_DAYS,
        .history_days = scope ? scope->history_days : PK_SCOPE_HISTORY_DAYS,
        .health_days = scope ? scope->health_days : PK_SCOPE_HEALTH_DAYS};
}

static void on_pruned(
    struct pk_tenancy *tenancy, struct pk_tenant_id tenant, const struct pk_store_pruned *pruned)
{
    uint64_t rows = pruned->activity + pruned->health + pruned->quarantine;
    atomic_fetch_add(&tenancy->counters->retention_rows, rows);
    atomic_fetch_add(&tenancy->counters->ledger_folded, pruned->folded);
    if (rows > 0) {
        const char *name = pk_registry_tenant_name(tenancy->registry, tenant);
        pk_info("retention",
            "tenant=%s activity_rows=%" PRIu64 " health_rows=%" PRIu64 " quarantined=%" PRIu64,
            name ? name : "retired", pruned->activity, pruned->health, pruned->quarantine);
    }
}

/* Somebody is wrong about the day, and what is given up does not come back. */
static bool is_clock_off(struct pk_tenancy *tenancy, int64_t ahead_s)
{
    bool is_off = ahead_s > PRUNE_CLOCK_OFF_S || ahead_s < -PRUNE_CLOCK_OFF_S;
    if (is_off && !tenancy->is_clock_off) {
        pk_warn("retention",
            "waits: the clocks of this machine and of the database differ ahead_s=%" PRId64,
            ahead_s);
    } else if (!is_off && tenancy->is_clock_off) {
        pk_info("retention", "goes on: the clocks agree again");
    }
    tenancy->is_clock_off = is_off;
    return is_off;
}

/* Days are everybody's: once for all tenants here, under the lease of the first. */
static pk_err drop_days(
    struct pk_tenancy *tenancy, const struct pk_store_retention_plan *plan, bool *inout_has_more)
{
    struct pk_store_dropped dropped = {0};
    uint64_t generation = 0;
    size_t i = 0;
    while (
        i < plan->n && !(generation = pk_homes_generation(tenancy->homes, plan->all[i].tenant))) {
        i++;
    }
    int64_t now_ms = pk_clock_mono_ms();
    if (i == plan->n || now_ms < tenancy->next_drop_ms) {
        return PK_OK;
    }
    pk_err err = pk_store_drop_days(tenancy->store, plan, i, generation, &dropped);
    atomic_fetch_add(&tenancy->counters->retention_days, dropped.days);
    if (dropped.days > 0 || dropped.is_busy) {
        pk_info("retention", "days=%" PRIu64 "%s", dropped.days,
            dropped.is_busy ? " the next is in use: waits for a minute" : "");
    }
    bool is_soon = err == PK_OK && dropped.days > 0 && !dropped.is_busy;
    tenancy->next_drop_ms = is_soon ? now_ms : now_ms + DROP_MS;
    *inout_has_more = *inout_has_more || (is_soon && dropped.has_more);
    return go_on(tenancy, plan->all[i].tenant, "give up what is old", err);
}

pk_err pk_tenancy_prune(struct pk_tenancy *tenancy, bool *out_has_more)
{
    const struct pk_store_registry *rows = &tenancy->registry->rows;
    struct pk_store_retention *all = calloc(rows->n_tenants + 1, sizeof *all);
    struct pk_store_retention_plan plan = {.all = all, .n = rows->n_tenants};
    int64_t ahead_s = 0;
    pk_err err = all ? pk_store_read_day(tenancy->store, &plan.today, &ahead_s) : PK_ERR_NOMEM;
    bool has_more = false, is_off = err == PK_OK && is_clock_off(tenancy, ahead_s);
    for (size_t i = 0; err == PK_OK && i < plan.n; i++) {
        all[i] = retention_of(tenancy->registry, rows->tenants[i].tenant);
    }
    if (err == PK_OK && !is_off) {
        err = drop_days(tenancy, &plan, &has_more);
    }
    for (size_t i = 0; err == PK_OK && !is_off && i < plan.n; i++) {
        uint64_t generation = pk_homes_generation(tenancy->homes, all[i].tenant);
        struct pk_store_pruned pruned = {0};
        if (generation != 0) {
            err = pk_store_prune(tenancy->store, &plan, i, generation, &pruned);
            on_pruned(tenancy, all[i].tenant, &pruned);
            has_more = has_more || pruned.has_more;
        }
        err = go_on(tenancy, all[i].tenant, "give up what is old", err);
    }
    free(all);
    *out_has_more = has_more;
    return err;
}

static void on_stale(void *arg, const char *sensor, int64_t silent_s)
{
    struct pk_tenancy *tenancy = arg;
    atomic_fetch_add(&tenancy->counters->stale, 1);
    pk_info("enrol",
        "stale sensor=%s silent_s=%" PRId64 " its key is refused until it enrols again", sensor,
        silent_s);
}

pk_err pk_tenancy_expire_stale(struct pk_tenancy *tenancy, int64_t calm_us)
{
    struct pk_tenant_id tenant;
    pk_err err = PK_OK;
    for (size_t i = 0; err == PK_OK && (tenant = pk_homes_at(tenancy->homes, i)).v != 0; i++) {
        uint64_t generation = pk_homes_generation(tenancy->homes, tenant);
        if (generation != 0) {
            err = pk_store_expire_stale(
                tenancy->store, tenant, generation, calm_us, on_stale, tenancy);
        }
        err = go_on(tenancy, tenant, "expire sensors", err);
    }
    return err;
}

/* A stop in order: others need not wait for leases to run out. */
void pk_tenancy_leave(struct pk_tenancy *tenancy)
{
    struct pk_tenant_id tenant;
    pk_homes_retire(tenancy->homes);
    for (size_t i = 0; (tenant = pk_homes_at(tenancy->homes, i)).v != 0; i++) {
        struct pk_home home = pk_homes_get(tenancy->homes, tenant);
        struct pk_endpoint next = {0};
        bool is_held = home.place == PK_HOME_HERE || home.place == PK_HOME_LEAVING;
        if (is_held && pk_store_release_home(tenancy->store, tenant, home.generation) == PK_OK &&
            home.opened && pk_homes_next_place(tenancy->homes, tenant, &next)) {
            close_home(tenancy, tenant, &next, "this aggregator stops");
        }
    }
}

bool pk_tenancy_park(struct pk_tenancy *tenancy, const struct pk_link_hello *hello)
{
    size_t i = 0;
    while (i < tenancy->n_parked && tenancy->parked[i].sensor != hello->sensor) {
        i++;
    }
    if (i < PK_TENANCY_PARKED) {
        tenancy->parked[i] = *hello;
        tenancy->n_parked += i == tenancy->n_parked;
    }
    return i < PK_TENANCY_PARKED;
}

void pk_tenancy_unpark(
    struct pk_tenancy *tenancy, void (*answer)(void *arg, const struct pk_link_hello *hello))
{
    size_t n = tenancy->n_parked;
    tenancy->n_parked = 0; /* those parked again come to places that were read already */
    for (size_t i = 0; i < n; i++) {
        struct pk_link_hello hello = tenancy->parked[i];
        answer(tenancy->arg, &hello);
    }
}

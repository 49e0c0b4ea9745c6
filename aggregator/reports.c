/* A slot a sensor, with what the store has of it, to tell news from repetition. */
#include "reports.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "picket/clock.h"
#include "picket/hash.h"

enum {
    WRITE_AT_ONCE = 256, /* rows of a statement */
};
#define SAME_OFFSET_US (100 * INT64_C(1000))
#define AGAIN_US       (60 * PK_US_PER_S)

static bool is_sensor(const void *entries, uint32_t entry, const void *key)
{
    return ((const struct pk_report *)entries)[entry].now.sensor.v == *(const uint32_t *)key;
}

pk_err pk_reports_init(struct pk_reports *reports)
{
    *reports = (struct pk_reports){.slots = calloc(PK_REPORTS_MAX, sizeof *reports->slots)};
    return reports->slots ? pk_map_init(&reports->by_sensor, PK_REPORTS_MAX, is_sensor)
                          : PK_ERR_NOMEM;
}

void pk_reports_done(struct pk_reports *reports)
{
    free(reports->slots);
    reports->slots = NULL;
    reports->n = 0;
    pk_map_done(&reports->by_sensor);
}

static uint64_t hash_of(uint32_t sensor)
{
    return pk_hash(&sensor, sizeof sensor);
}

/* libzmq, which listens on IPv6 too, writes IPv4 as mapped (RFC 4291 s2.5.5.2); people do not. */
static const char *plain(const char *address)
{
    static const char mapped[] = "::ffff:";
    size_t len = sizeof mapped - 1;
    return strncmp(address, mapped, len) == 0 && strchr(address, '.') ? address + len : address;
}

/* What is written is in the store; who speaks again comes again. */
static void forget_written(struct pk_reports *reports)
{
    for (size_t i = reports->n; i-- > 0;) {
        struct pk_report *report = &reports->slots[i];
        uint32_t last = (uint32_t)(reports->n - 1);
        if (report->has_news) {
            continue;
        }
        (void)pk_map_remove(&reports->by_sensor, hash_of(report->now.sensor.v), (uint32_t)i);
        if (i != last) {
            uint64_t hash = hash_of(reports->slots[last].now.sensor.v);
            (void)pk_map_remove(&reports->by_sensor, hash, last);
            *report = reports->slots[last];
            (void)pk_map_add(&reports->by_sensor, hash, (uint32_t)i);
        }
        reports->n--;
    }
}

/* NULL: no place, all of them are news. */
static struct pk_report *slot_of(
    struct pk_reports *reports, uint32_t sensor, struct pk_tenant_id tenant)
{
    uint32_t entry = pk_map_find(&reports->by_sensor, hash_of(sensor), reports->slots, &sensor);
    if (entry == PK_MAP_NONE) {
        if (reports->n == PK_REPORTS_MAX) {
            forget_written(reports);
        }
        entry = (uint32_t)reports->n;
        if (reports->n == PK_REPORTS_MAX ||
            !pk_map_add(&reports->by_sensor, hash_of(sensor), entry)) {
            return NULL;
        }
        reports->slots[reports->n++] = (struct pk_report){.now = {.sensor = {sensor}}};
    }
    reports->slots[entry].tenant = tenant;
    return &reports->slots[entry];
}

void pk_reports_hello(struct pk_reports *reports, struct pk_tenant_id tenant,
    const struct pk_link_hello *hello, int64_t wall_us)
{
    struct pk_report *report = slot_of(reports, hello->sensor, tenant);
    if (report) {
        struct pk_store_report *now = &report->now;
        now->reported_us = wall_us;
        snprintf(now->address, sizeof now->address, "%s", plain(hello->address));
        snprintf(now->software, sizeof now->software, "%s", hello->body.software);
        now->offset_us = 0;
        now->queued = hello->body.queued;
        now->queued_bytes = hello->body.spool_bytes;
        now->behind_us = hello->body.behind_us;
        report->has_news = true;
    }
}

void pk_reports_heartbeat(struct pk_reports *reports, struct pk_tenant_id tenant,
    const struct pk_link_report *heartbeat, int64_t wall_us)
{
    struct pk_report *report = slot_of(reports, heartbeat->sensor, tenant);
    if (report) {
        struct pk_store_report *now = &report->now;
        now->reported_us = wall_us;
        now->offset_us = heartbeat->offset_us;
        now->queued = heartbeat->queued;
        now->queued_bytes = heartbeat->queued_bytes;
        now->behind_us = heartbeat->behind_us;
        /* The difference in unsigned: the sensor may have said anything. */
        uint64_t moved = now->offset_us > report->written_offset_us
                             ? (uint64_t)now->offset_us - (uint64_t)report->written_offset_us
                             : (uint64_t)report->written_offset_us - (uint64_t)now->offset_us;
        report->has_news = report->has_news || moved > SAME_OFFSET_US ||
                           now->queued != report->written_queued ||
                           wall_us - report->written_us >= AGAIN_US;
    }
}

void pk_reports_clone(struct pk_reports *reports, struct pk_tenant_id tenant,
    const struct pk_link_clone *clone, int64_t wall_us)
{
    struct pk_report *report = slot_of(reports, clone->sensor, tenant);
    if (report) {
        report->now.reported_us = report->now.cloned_us = wall_us;
        snprintf(report->now.clone_peers, sizeof report->now.clone_peers, "%s and %s",
            plain(clone->other), plain(clone->address));
        report->has_news = true;
    }
}

static pk_err write_some(struct pk_store *store, struct pk_tenant_id tenant, uint64_t generation,
    int64_t wall_us, struct pk_report *const *some, size_t n)
{
    struct pk_store_report rows[WRITE_AT_ONCE];
    for (size_t i = 0; i < n; i++) {
        rows[i] = some[i]->now;
    }
    pk_err err = pk_store_write_reports(store, tenant, generation, rows, n);
    for (size_t i = 0; i < n && err == PK_OK; i++) {
        some[i]->has_news = false;
        some[i]->written_us = wall_us;
        some[i]->written_offset_us = some[i]->now.offset_us;
        some[i]->written_queued = some[i]->now.queued;
    }
    return err;
}

pk_err pk_reports_write(struct pk_reports *reports, struct pk_store *store,
    struct pk_tenant_id tenant, uint64_t generation, int64_t wall_us)
{
    struct pk_report *some[WRITE_AT_ONCE];
    size_t n = 0;
    pk_err err = PK_OK;
    for (size_t i = 0; i < reports->n && err == PK_OK; i++) {
        struct pk_report *report = &reports->slots[i];
        if (report->has_news && report->tenant.v == tenant.v) {
            some[n++] = report;
        }
        if (n == WRITE_AT_ONCE || (n > 0 && i + 1 == reports->n)) {
            err = write_some(store, tenant, generation, wall_us, some, n);
            n = 0;
        }
    }
    return err;
}

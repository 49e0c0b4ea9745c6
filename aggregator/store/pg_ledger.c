/* The ledger by sensor and hour: what was captured, sealed, stored and lost, summed while it is stored. Adding is exact because a batch is committed once. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "picket/clock.h"

#include "pg_internal.h"

#define HOUR_US (INT64_C(3600) * PK_US_PER_S)
#define MOST    (UINT64_C(1) << 59)

enum {
    N_KINDS = 8,
    MAX_ENTRIES =
        64 /* sensor and hour within one commit; a full table is written out and begun again */
};

struct entry {
    struct pk_sensor_id sensor;
    int64_t hour_us, received_us;
    uint64_t batches, rows;
    uint64_t counters[PK_N_HEALTH_KEYS], stored[N_KINDS], lost[PK_N_LOSS_CAUSES];
};

static int64_t hour_of(int64_t us)
{
    return us - (us % HOUR_US + HOUR_US) % HOUR_US;
}

/* What a sensor tells is what it likes to tell: a sum stops at the ledger's most (0017_ledger_saturates.sql), far above any true one, far below what overflows. */
static void add(uint64_t *sum, uint64_t n)
{
    *sum = n > MOST - *sum ? MOST : *sum + n;
}

/* The sum of what the batch's rows stand for. */
static uint64_t sum_counts(const struct pk_batch *batch)
{
    uint64_t sum = 0;
    enum pk_batch_kind kind = pk_batch_info(batch)->kind;
    for (size_t i = 0; i < pk_batch_rows(batch); i++) {
        if (kind == PK_BATCH_ACTIVITY) {
            struct pk_activity row;
            pk_batch_activity(batch, i, &row);
            add(&sum, row.count);
        } else if (kind == PK_BATCH_NEGATIVE) {
            struct pk_negative row;
            pk_batch_negative(batch, i, &row);
            add(&sum, row.count);
        } else if (kind == PK_BATCH_RRSET) {
            struct pk_rrset row;
            pk_batch_rrset(batch, i, &row);
            add(&sum, row.count);
        }
    }
    return sum;
}

static void add_batch(struct entry *entry, const struct pk_store_batch *batch)
{
    enum pk_batch_kind kind = pk_batch_info(batch->batch)->kind;
    entry->batches++;
    entry->rows += pk_batch_rows(batch->batch);
    entry->received_us =
        batch->received_us > entry->received_us ? batch->received_us : entry->received_us;
    if (kind == PK_BATCH_HEALTH) {
        struct pk_health health;
        pk_batch_health(batch->batch, &health);
        for (size_t i = 0; i < PK_N_HEALTH_KEYS; i++) {
            add(&entry->counters[i], health.v[i] & UINT32_MAX); /* a window's count is far below */
        }
    } else if (kind == PK_BATCH_LOSS) {
        for (size_t i = 0; i < pk_batch_rows(batch->batch); i++) {
            struct pk_loss row;
            pk_batch_loss(batch->batch, i, &row);
            if (row.kind == PK_BATCH_ACTIVITY ||
                row.kind == PK_BATCH_NEGATIVE) { /* of others the sum is of sightings */
                add(&entry->lost[row.cause < PK_N_LOSS_CAUSES ? row.cause : 0], row.transactions);
            }
        }
    } else if ((size_t)kind < N_KINDS) {
        add(&entry->stored[kind], sum_counts(batch->batch));
    }
}

static void array_text(const uint64_t *v, size_t n, char *out, size_t size)
{
    size_t len = 0;
    for (size_t i = 0; i < n && len < size; i++) {
        len += (size_t)snprintf(out + len, size - len, "%c%" PRIu64, i ? ',' : '{', v[i]);
    }
    snprintf(out + (len < size - 2 ? len : size - 2), 2, "}");
}

static pk_err write_entry(
    struct pk_store *store, struct pk_tenant_id tenant, const struct entry *entry)
{
    char counters[PK_N_HEALTH_KEYS * 21 + 2], stored[N_KINDS * 21 + 2];
    char lost[PK_N_LOSS_CAUSES * 21 + 2];
    struct params params = {0};
    array_text(entry->counters, PK_N_HEALTH_KEYS, counters, sizeof counters);
    array_text(entry->stored, N_KINDS, stored, sizeof stored);
    array_text(entry->lost, PK_N_LOSS_CAUSES, lost, sizeof lost);
    param_int(&params, tenant.v);
    param_int(&params, entry->sensor.v);
    param_int(&params, entry->hour_us);
    param_int(&params, (int64_t)entry->batches);
    param_int(&params, (int64_t)entry->rows);
    param_text(&params, counters);
    param_text(&params, stored);
    param_text(&params, lost);
    param_int(&params, entry->received_us);
    return pg_exec(store, "write ledger",
        "insert into ledger as l (tenant_id, sensor_id, hour_us, batches, row_count, counters, stored, lost, last_received_us)"
        " values ($1::int, $2::int, $3::bigint, $4::bigint, $5::bigint, $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint)"
        " on conflict (tenant_id, sensor_id, hour_us) do update set batches = l.batches + excluded.batches, row_count = l.row_count + excluded.row_count,"
        " counters = picket_add(l.counters, excluded.counters), stored = picket_add(l.stored, excluded.stored), lost = picket_add(l.lost, excluded.lost),"
        " last_received_us = greatest(l.last_received_us, excluded.last_received_us)",
        &params);
}

static pk_err write_entries(
    struct pk_store *store, struct pk_tenant_id tenant, const struct entry *entries, size_t n)
{
    pk_err err = PK_OK;
    for (size_t i = 0; i < n && err == PK_OK; i++) {
        err = write_entry(store, tenant, &entries[i]);
    }
    return err;
}

pk_err pg_write_ledger(struct pk_store *store, const struct pk_store_batch *batches, size_t n,
    const enum pk_store_commit *results)
{
    struct entry entries[MAX_ENTRIES];
    size_t n_entries = 0;
    pk_err err = PK_OK;
    for (size_t i = 0; i < n && err == PK_OK; i++) {
        if (results[i] != PK_STORE_COMMITTED) {
            continue;
        }
        int64_t hour_us = hour_of(pk_store_hold_time(
            pk_batch_info(batches[i].batch)->window_start_us, batches[i].received_us));
        size_t at = 0;
        while (at < n_entries &&
               (entries[at].sensor.v != batches[i].sensor.v || entries[at].hour_us != hour_us)) {
            at++;
        }
        if (at == MAX_ENTRIES) {
            err = write_entries(store, batches[0].tenant, entries, n_entries);
            n_entries = at = 0;
        }
        if (at == n_entries) {
            entries[n_entries++] = (struct entry){.sensor = batches[i].sensor, .hour_us = hour_us};
        }
        add_batch(&entries[at], &batches[i]);
    }
    return err == PK_OK ? write_entries(store, batches[0].tenant, entries, n_entries) : err;
}

/* --- reading --- */

pk_err pk_store_query_ledger(struct pk_store *store, struct pk_tenant_id tenant, int64_t since_us,
    bool (*row)(void *arg, const struct pk_store_ledger *ledger), void *arg)
{
    struct params params = {0};
    param_int(&params, tenant.v);
    param_int(&params, since_us);
    pk_err err = pg_begin_for(store, tenant);
    PGresult *result = NULL;
    if (err == PK_OK) {
        err = pg_query(store, "read ledger",
            "select se.name, l.hour_us, l.batches, l.row_count, l.last_received_us, l.counters, l.stored, l.lost from ledger l"
            " join sensor se on se.tenant_id = l.tenant_id and se.sensor_id = l.sensor_id"
            " where l.tenant_id = $1::int and l.hour_us >= $2::bigint order by se.name, l.hour_us",
            &params, true, &result);
    }
    for (int i = 0; err == PK_OK && i < PQntuples(result); i++) {
        struct pk_store_ledger ledger = {.hour_us = get_int(result, i, 1),
            .batches = (uint64_t)get_int(result, i, 2),
            .rows = (uint64_t)get_int(result, i, 3),
            .last_received_us = get_int(result, i, 4)};
        get_text(result, i, 0, ledger.sensor, sizeof ledger.sensor);
        get_bigints(result, i, 5, ledger.sum.v, PK_N_HEALTH_KEYS);
        get_bigints(result, i, 6, ledger.stored, N_KINDS);
        get_bigints(result, i, 7, ledger.lost, PK_N_LOSS_CAUSES);
        if (!row(arg, &ledger)) {
            break;
        }
    }
    PQclear(result);
    return pg_end(store, err);
}

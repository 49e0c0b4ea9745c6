/* A dense array with an index by sensor id; closing moves the last session into the gap.
 *
 * Credit is counted here because it is the only thing that bounds memory between the socket and the database: high-water marks count messages,
 * and a sensor that ignores them is enrolled, so it can be named and cut. */
#include "session.h"

#include <stdlib.h>
#include <string.h>

#include "picket/hash.h"

static bool is_sensor(const void *entries, uint32_t entry, const void *key)
{
    return ((const struct pk_session *)entries)[entry].sensor == *(const uint32_t *)key;
}

static bool is_tenant(const void *entries, uint32_t entry, const void *key)
{
    return ((const struct pk_session_tenant *)entries)[entry].tenant == *(const uint32_t *)key;
}

static uint64_t hash_of(uint32_t id)
{
    return pk_hash(&id, sizeof id);
}

pk_err pk_sessions_init(
    struct pk_sessions *sessions, uint64_t budget_bytes, uint32_t budget_batches)
{
    *sessions =
        (struct pk_sessions){.budget_bytes = budget_bytes, .budget_batches = budget_batches};
    sessions->slots = calloc(PK_MAX_SESSIONS, sizeof *sessions->slots);
    sessions->tenants = calloc(PK_MAX_TENANTS, sizeof *sessions->tenants);
    if (!sessions->slots || !sessions->tenants) {
        return PK_ERR_NOMEM;
    }
    pk_err err = pk_map_init(&sessions->by_sensor, PK_MAX_SESSIONS, is_sensor);
    return err == PK_OK ? pk_map_init(&sessions->by_tenant, PK_MAX_TENANTS, is_tenant) : err;
}

void pk_sessions_done(struct pk_sessions *sessions)
{
    for (size_t i = 0; i < sessions->n; i++) {
        free(sessions->slots[i].scope.reason);
    }
    free(sessions->slots);
    free(sessions->tenants);
    sessions->slots = NULL;
    sessions->tenants = NULL;
    sessions->n = sessions->n_tenants = 0;
    pk_map_done(&sessions->by_sensor);
    pk_map_done(&sessions->by_tenant);
}

struct pk_session *pk_sessions_find(struct pk_sessions *sessions, uint32_t sensor)
{
    uint32_t entry = pk_map_find(&sessions->by_sensor, hash_of(sensor), sessions->slots, &sensor);
    return entry == PK_MAP_NONE ? NULL : &sessions->slots[entry];
}

static struct pk_session_tenant *find_tenant(struct pk_sessions *sessions, uint32_t tenant)
{
    uint32_t entry = pk_map_find(&sessions->by_tenant, hash_of(tenant), sessions->tenants, &tenant);
    return entry == PK_MAP_NONE ? NULL : &sessions->tenants[entry];
}

static bool ensure_tenant(struct pk_sessions *sessions, uint32_t tenant)
{
    if (find_tenant(sessions, tenant)) {
        return true;
    }
    if (sessions->n_tenants == PK_MAX_TENANTS ||
        !pk_map_add(&sessions->by_tenant, hash_of(tenant), (uint32_t)sessions->n_tenants)) {
        return false;
    }
    sessions->tenants[sessions->n_tenants++] = (struct pk_session_tenant){.tenant = tenant};
    return true;
}

static void set_active(struct pk_sessions *sessions, struct pk_session *session, bool is_active)
{
    struct pk_session_tenant *tenant = find_tenant(sessions, session->tenant);
    if (session->is_active == is_active || !tenant) {
        return;
    }
    session->is_active = is_active;
    if (is_active) {
        sessions->n_active_tenants += tenant->n_active++ == 0;
    } else {
        sessions->n_active_tenants -= --tenant->n_active == 0;
    }
}

static void set_parked(struct pk_sessions *sessions, struct pk_session *session, bool is_parked)
{
    if (is_parked != session->is_parked) {
        sessions->n_parked += is_parked ? 1 : (size_t)-1;
        session->is_parked = is_parked;
    }
}

struct pk_session *pk_sessions_open(struct pk_sessions *sessions, uint32_t sensor, uint32_t tenant,
    uint64_t id, const uint8_t routing[PK_ROUTING_ID_BYTES], struct pk_session *out_replaced)
{
    struct pk_session *session = pk_sessions_find(sessions, sensor);
    *out_replaced = session ? *session : (struct pk_session){0};
    out_replaced->scope.reason = NULL;
    if (!ensure_tenant(sessions, tenant)) {
        return NULL;
    }
    if (session) {
        set_active(sessions, session, false);
        set_parked(sessions, session, false);
        free(session->scope.reason);
    } else {
        if (sessions->n == PK_MAX_SESSIONS ||
            !pk_map_add(&sessions->by_sensor, hash_of(sensor), (uint32_t)sessions->n)) {
            return NULL;
        }
        session = &sessions->slots[sessions->n++];
    }
    *session = (struct pk_session){
        .sensor = sensor, .tenant = tenant, .id = id, .slow_start = 1, .fd = -1};
    memcpy(session->routing, routing, PK_ROUTING_ID_BYTES);
    return session;
}

void pk_sessions_close(struct pk_sessions *sessions, struct pk_session *session)
{
    uint32_t gap = (uint32_t)(session - sessions->slots);
    uint32_t last = (uint32_t)(sessions->n - 1);
    set_active(sessions, session, false);
    set_parked(sessions, session, false);
    free(session->scope.reason);
    pk_map_remove(&sessions->by_sensor, hash_of(session->sensor), gap);
    if (gap != last) {
        uint64_t hash = hash_of(sessions->slots[last].sensor);
        pk_map_remove(&sessions->by_sensor, hash, last);
        sessions->slots[gap] = sessions->slots[last];
        (void)pk_map_add(&sessions->by_sensor, hash, gap); /* a place was just freed */
    }
    sessions->n--;
}

void pk_session_touch(struct pk_sessions *sessions, struct pk_session *session, int64_t now_ms)
{
    bool was_lately =
        session->last_batch_ms != 0 && now_ms - session->last_batch_ms < PK_SESSION_ACTIVE_MS;
    set_active(
        sessions, session, session->outstanding_batches > 0 || session->queued > 0 || was_lately);
}

/* --- shares --- */

struct share {
    uint64_t tenant_bytes, bytes;
    uint32_t batches;
};

/* What the session may hold at the present number of busy tenants and sensors; its own counts among them even when it is quiet yet. */
static struct share share_of(struct pk_sessions *sessions, const struct pk_session *session)
{
    const struct pk_session_tenant *tenant = find_tenant(sessions, session->tenant);
    uint64_t n_sensors = (tenant ? tenant->n_active : 0) + !session->is_active;
    uint64_t n_tenants = sessions->n_active_tenants + (!tenant || tenant->n_active == 0 ? 1 : 0);
    n_sensors = n_sensors ? n_sensors : 1;
    n_tenants = n_tenants ? n_tenants : 1;
    return (struct share){
        .tenant_bytes = sessions->budget_bytes / n_tenants,
        .bytes = sessions->budget_bytes / n_tenants / n_sensors,
        .batches = (uint32_t)(sessions->budget_batches / n_tenants / n_sensors),
    };
}

static bool is_above(const struct pk_sessions *sessions, unsigned quarters)
{
    return sessions->outstanding_bytes > sessions->budget_bytes / 4 * quarters ||
           sessions->outstanding_batches > sessions->budget_batches / 4 * quarters;
}

struct pk_window pk_session_window(struct pk_sessions *sessions, struct pk_session *session)
{
    struct share share = share_of(sessions, session);
    const struct pk_session_tenant *tenant = find_tenant(sessions, session->tenant);
    struct pk_window window = {.batches = session->slow_start, .bytes = PK_CREDIT_MAX_BYTES};
    if (window.batches > share.batches) {
        window.batches = share.batches ? share.batches : 1;
    }
    if (window.bytes > share.bytes) {
        window.bytes =
            share.bytes > PK_CREDIT_MIN_BYTES ? (uint32_t)share.bytes : PK_CREDIT_MIN_BYTES;
    }
    bool is_greedy = session->outstanding_bytes >= share.bytes ||
                     (tenant && tenant->outstanding_bytes >= share.tenant_bytes);
    bool is_closed = sessions->is_paused || (is_above(sessions, 3) && is_greedy);
    set_parked(sessions, session, is_closed);
    if (is_closed) {
        return (struct pk_window){0};
    }
    session->granted.batches =
        window.batches > session->granted.batches ? window.batches : session->granted.batches;
    session->granted.bytes =
        window.bytes > session->granted.bytes ? window.bytes : session->granted.bytes;
    return window;
}

enum pk_session_room pk_session_take(
    struct pk_sessions *sessions, struct pk_session *session, uint32_t body_len)
{
    /* The greatest window, not the present one: a share that shrank because others came must not punish what is under way. */
    if (session->outstanding_batches >= session->granted.batches ||
        (session->outstanding_batches > 0 &&
            session->outstanding_bytes + body_len > session->granted.bytes)) {
        return PK_SESSION_BEYOND;
    }
    if (sessions->outstanding_bytes + body_len > sessions->budget_bytes ||
        sessions->outstanding_batches >= sessions->budget_batches) {
        return PK_SESSION_NO_BUDGET;
    }
    struct pk_session_tenant *tenant = find_tenant(sessions, session->tenant);
    session->outstanding_batches++;
    session->outstanding_bytes += body_len;
    sessions->outstanding_batches++;
    sessions->outstanding_bytes += body_len;
    tenant->outstanding_bytes += body_len;
    return PK_SESSION_ROOM;
}

void pk_sessions_give_back(
    struct pk_sessions *sessions, struct pk_session *session, uint32_t tenant_id, uint32_t body_len)
{
    struct pk_session_tenant *tenant = find_tenant(sessions, tenant_id);
    if (!tenant || tenant->outstanding_bytes < body_len || sessions->outstanding_batches == 0) {
        return; /* the core answers each batch once; what it says is checked all the same */
    }
    tenant->outstanding_bytes -= body_len;
    sessions->outstanding_bytes -= body_len;
    sessions->outstanding_batches--;
    if (session && session->outstanding_batches > 0 && session->outstanding_bytes >= body_len) {
        session->outstanding_batches--;
        session->outstanding_bytes -= body_len;
    }
}

void pk_session_acked(struct pk_session *session)
{
    session->slow_start =
        session->slow_start * 2 < PK_CREDIT_BATCHES ? session->slow_start * 2 : PK_CREDIT_BATCHES;
}

struct pk_session *pk_sessions_unpark(struct pk_sessions *sessions)
{
    if (sessions->n_parked == 0 || sessions->is_paused || is_above(sessions, 2)) {
        return NULL;
    }
    for (size_t i = 0; i < sessions->n; i++) {
        struct pk_session *session = &sessions->slots[sessions->cursor++ % sessions->n];
        if (session->is_parked) {
            return session;
        }
    }
    return NULL;
}

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

static uint64_t hash_of(uint32_t sensor)
{
    return pk_hash(&sensor, sizeof sensor);
}

pk_err pk_sessions_init(struct pk_sessions *sessions, uint64_t budget_bytes)
{
    *sessions = (struct pk_sessions){.budget_bytes = budget_bytes};
    sessions->slots = calloc(PK_MAX_SESSIONS, sizeof *sessions->slots);
    if (!sessions->slots) {
        return PK_ERR_NOMEM;
    }
    return pk_map_init(&sessions->by_sensor, PK_MAX_SESSIONS, is_sensor);
}

void pk_sessions_done(struct pk_sessions *sessions)
{
    free(sessions->slots);
    sessions->slots = NULL;
    sessions->n = 0;
    pk_map_done(&sessions->by_sensor);
}

struct pk_session *pk_sessions_find(struct pk_sessions *sessions, uint32_t sensor)
{
    uint32_t entry = pk_map_find(&sessions->by_sensor, hash_of(sensor), sessions->slots, &sensor);
    return entry == PK_MAP_NONE ? NULL : &sessions->slots[entry];
}

struct pk_session *pk_sessions_open(struct pk_sessions *sessions, uint32_t sensor, uint64_t id,
    const uint8_t routing[PK_ROUTING_ID_BYTES], struct pk_session *out_replaced)
{
    struct pk_session *session = pk_sessions_find(sessions, sensor);
    *out_replaced = session ? *session : (struct pk_session){0};
    if (session) {
        sessions->outstanding_bytes -= session->outstanding_bytes;
    } else {
        if (sessions->n == PK_MAX_SESSIONS ||
            !pk_map_add(&sessions->by_sensor, hash_of(sensor), (uint32_t)sessions->n)) {
            return NULL;
        }
        session = &sessions->slots[sessions->n++];
    }
    *session = (struct pk_session){.sensor = sensor, .id = id};
    memcpy(session->routing, routing, PK_ROUTING_ID_BYTES);
    return session;
}

void pk_sessions_close(struct pk_sessions *sessions, struct pk_session *session)
{
    uint32_t gap = (uint32_t)(session - sessions->slots);
    uint32_t last = (uint32_t)(sessions->n - 1);
    sessions->outstanding_bytes -= session->outstanding_bytes;
    pk_map_remove(&sessions->by_sensor, hash_of(session->sensor), gap);
    if (gap != last) {
        uint64_t hash = hash_of(sessions->slots[last].sensor);
        pk_map_remove(&sessions->by_sensor, hash, last);
        sessions->slots[gap] = sessions->slots[last];
        (void)pk_map_add(&sessions->by_sensor, hash, gap); /* a place was just freed */
    }
    sessions->n--;
}

uint32_t pk_session_credit_bytes(const struct pk_sessions *sessions)
{
    uint64_t share = sessions->budget_bytes / (sessions->n ? sessions->n : 1);
    if (share > PK_CREDIT_MAX_BYTES) {
        return PK_CREDIT_MAX_BYTES;
    }
    return share < PK_CREDIT_MIN_BYTES ? PK_CREDIT_MIN_BYTES : (uint32_t)share;
}

bool pk_session_take(struct pk_sessions *sessions, struct pk_session *session, uint32_t body_len)
{
    /* The largest share, not the present one: a share that shrank because others came must not punish what is under way. */
    if (session->outstanding_batches >= PK_CREDIT_BATCHES ||
        session->outstanding_bytes + body_len > PK_CREDIT_MAX_BYTES ||
        sessions->outstanding_bytes + body_len > sessions->budget_bytes) {
        return false;
    }
    session->outstanding_batches++;
    session->outstanding_bytes += body_len;
    sessions->outstanding_bytes += body_len;
    return true;
}

void pk_session_give_back(
    struct pk_sessions *sessions, struct pk_session *session, uint32_t body_len)
{
    if (session->outstanding_batches > 0 && session->outstanding_bytes >= body_len) {
        session->outstanding_batches--;
        session->outstanding_bytes -= body_len;
        sessions->outstanding_bytes -= body_len;
    }
}

/* The tenants' scopes on their way to the sensors.
 *
 * The bodies are with the core: this process asks for one when a session is due and hands it on. What is on its way at a time is bounded, so that a scope of half a megabyte for thousands of sensors neither
 * fills libzmq's queues nor holds up batches. A sensor that does not answer is sent it again after 30 s, a minute, and so on up to an hour; one that refuses after ten minutes (its own configuration may
 * have changed). One whose CONFIG_ACK after WELCOME names the version that WELCOME named has it already. What they say goes to the core once a second each at most. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "picket/clock.h"
#include "picket/limits.h"

#include "child.h"

enum {
    UNDER_WAY_BYTES = 16 << 20,
    LOOK_MS = 100,
    GRACE_MS = 500, /* after WELCOME, for the sensor to say that it has it */
    AGAIN_MS = 30000,
    AGAIN_MAX_MS = 3600000,
    REFUSED_AGAIN_MS = 600000,
    TELL_MS = 1000,
};

void pk_scopes_welcomed(struct child *child, struct pk_session *session, uint32_t version)
{
    (void)child;
    if (session->scope.is_taken && version) {
        session->scope.wanted = version;
        session->scope.wait_ms = AGAIN_MS;
        session->scope.due_ms = pk_clock_mono_ms() + GRACE_MS;
    }
}

void pk_scopes_changed(struct child *child)
{
    int64_t now_ms = pk_clock_mono_ms();
    for (size_t i = 0; i < child->sessions.n; i++) {
        struct pk_session *session = &child->sessions.slots[i];
        if (session->scope.is_taken && session->is_resumed) {
            session->scope.wanted = 0; /* not known before the core was asked */
            session->scope.is_untold = false;
            session->scope.due_ms = now_ms;
            session->scope.wait_ms = AGAIN_MS;
        }
    }
}

void pk_scopes_answer(
    struct child *child, const struct pk_link_scope *scope, const uint8_t *body, size_t len)
{
    struct pk_session *session = pk_sessions_find(&child->sessions, scope->sensor);
    if (!session || session->id != scope->session) {
        return;
    }
    if (session->scope.wanted != scope->version) { /* what it said was about another */
        session->scope.wanted = scope->version;
        session->scope.is_untold = false;
    }
    session->scope.held_bytes = 0;
    if (len == 0) { /* it has it, or there is none */
        session->scope.due_ms = INT64_MAX;
        /* The same under another number: what it said holds for that too. */
        session->scope.is_untold = scope->version != 0 && scope->version == session->scope.has;
        return;
    }
    struct pk_frame frame = {
        .type = PK_FRAME_CONFIG, .session = session->id, .u.config = {.version = scope->version}};
    struct pk_bytes copy;
    pk_bytes_init(&copy, PK_MAX_BODY_BYTES);
    pk_bytes_put(&copy, body, len);
    if (copy.err == PK_OK && pk_talk_frame(child, session, &frame, &copy)) {
        session->scope.held_bytes = (uint32_t)len;
    } /* else the next try brings it */
    pk_bytes_done(&copy);
}

/* The newest word alone, once a TELL_MS however often it changes: the link is everybody's. What is held back, or finds the link full, goes with a later tick. */
static void tell(struct child *child, struct pk_session *session, int64_t now_ms)
{
    struct pk_session_scope *scope = &session->scope;
    if (!scope->is_untold || scope->wanted == 0 || now_ms < scope->tell_ms) {
        return;
    }
    struct pk_link_scope_ack ack = {
        .sensor = session->sensor, .version = scope->wanted, .status = scope->status};
    snprintf(ack.reason, sizeof ack.reason, "%s", scope->reason ? scope->reason : "");
    if (pk_link_send(&child->link, PK_LINK_SCOPE_ACK, &ack, sizeof ack, NULL, 0) == PK_OK) {
        scope->is_untold = false;
        scope->tell_ms = now_ms + TELL_MS;
    }
}

bool pk_scopes_acked(struct child *child, struct pk_session *session, const struct pk_frame *frame,
    const uint8_t *body, size_t len)
{
    struct pk_session_scope *scope = &session->scope;
    int64_t now_ms = session->last_frame_ms;
    if (!scope->is_taken ||
        (child->config.len > 0 && frame->u.config_ack.version == child->config_version)) {
        return false;
    }
    if (scope->wanted == 0 || frame->u.config_ack.version != scope->wanted) {
        return true; /* to one that is no longer wanted: what is due stays due */
    }
    char reason[PK_CONFIG_REASON_SIZE];
    bool has_reason = body && pk_config_ack_body_decode(body, len, reason) == PK_OK && reason[0];
    free(scope->reason);
    scope->reason = has_reason ? strdup(reason) : NULL; /* a text that cannot be read is none */
    scope->status = frame->u.config_ack.status;
    bool is_refused = scope->status == PK_CONFIG_REFUSED;
    scope->held_bytes = 0;
    scope->has = is_refused ? 0 : scope->wanted;
    scope->due_ms = is_refused ? now_ms + REFUSED_AGAIN_MS : INT64_MAX;
    scope->is_untold = true;
    tell(child, session, now_ms);
    return true;
}

void pk_scopes_due(struct child *child, int64_t now_ms)
{
    struct pk_sessions *sessions = &child->sessions;
    uint64_t held = 0;
    if (now_ms < child->next_scopes_ms) {
        return;
    }
    child->next_scopes_ms = now_ms + LOOK_MS;
    for (size_t i = 0; i < sessions->n; i++) {
        const struct pk_session_scope *scope = &sessions->slots[i].scope;
        tell(child, &sessions->slots[i], now_ms);
        held += now_ms - scope->asked_ms < AGAIN_MS ? scope->held_bytes
                                                    : 0; /* who never answers holds up nobody */
    }
    for (size_t i = 0; i < sessions->n && held + PK_MAX_SCOPE_BYTES <= UNDER_WAY_BYTES; i++) {
        size_t at = (child->scopes_cursor + i) % sessions->n;
        struct pk_session *session = &sessions->slots[at];
        struct pk_link_scope_ask ask = {
            .sensor = session->sensor, .has = session->scope.has, .session = session->id};
        if (!session->is_resumed || session->scope.due_ms > now_ms) {
            continue;
        }
        if (pk_link_send(&child->link, PK_LINK_SCOPE_ASK, &ask, sizeof ask, NULL, 0) != PK_OK) {
            break;
        }
        session->scope.due_ms = now_ms + session->scope.wait_ms;
        session->scope.wait_ms =
            session->scope.wait_ms * 2 > AGAIN_MAX_MS ? AGAIN_MAX_MS : session->scope.wait_ms * 2;
        session->scope.asked_ms = now_ms;
        session->scope.held_bytes = PK_MAX_SCOPE_BYTES;
        held += PK_MAX_SCOPE_BYTES;
        child->scopes_cursor = at + 1;
    }
}

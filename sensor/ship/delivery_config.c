/* What CONFIG brings: further endpoints, which are tried after those of the list, or a scope, which goes to whoever decides about it. Each is answered. */
#include "picket/limits.h"
#include "picket/log.h"

#include "ship/delivery_internal.h"

static void ack_config(struct pk_delivery *d, uint32_t version, uint8_t status, const char *reason)
{
    struct pk_frame answer = {.type = PK_FRAME_CONFIG_ACK,
        .session = d->session,
        .u.config_ack = {.version = version, .status = status}};
    struct pk_bytes body;
    pk_bytes_init(&body, PK_MAX_HEADER_BYTES);
    bool has_body = reason && reason[0] && pk_config_ack_body_encode(reason, &body) == PK_OK;
    (void)d->link.send(d->link.arg, &answer, has_body ? body.data : NULL,
        has_body ? body.len : 0); /* lost: it is told again */
    pk_bytes_done(&body);
}

void pk_delivery_scope_judged(struct pk_delivery *d, const struct pk_scope_verdict *verdict)
{
    if (d->state == PK_DELIVERY_READY) {
        ack_config(d, verdict->version, verdict->status, verdict->reason);
    }
}

/* The aggregator names the scope it has for us: when that is the one in use, it need not send it. */
void delivery_tell_scope_in_use(struct pk_delivery *d)
{
    if (d->link.offer_scope && d->welcome.config_version) {
        struct pk_scope_verdict verdict = d->link.scope_in_use(d->link.arg);
        if (verdict.version == d->welcome.config_version) {
            ack_config(d, verdict.version, verdict.status, verdict.reason);
        }
    }
}

static void on_scope(
    struct pk_delivery *d, const struct pk_frame *frame, const uint8_t *body, size_t len)
{
    struct pk_scope_verdict in_use = d->link.scope_in_use(d->link.arg);
    if (in_use.version == pk_config_version(body, len)) {
        ack_config(d, frame->u.config.version, in_use.status, in_use.reason);
        return;
    }
    pk_err err = d->link.offer_scope(d->link.arg, body, len);
    if (err != PK_OK && err != PK_ERR_LIMIT) {
        ack_config(d, frame->u.config.version, PK_CONFIG_REFUSED, "the scope cannot be read");
    }
}

/* Further endpoints, from the one we are connected to. A list that cannot be read changes nothing. */
void delivery_on_config(
    struct pk_delivery *d, const struct pk_frame *frame, const uint8_t *body, size_t len)
{
    struct pk_config_body news;
    struct pk_config_scope scope = {.serial = 0};
    uint8_t status = PK_CONFIG_REFUSED;
    bool is_whole = body && pk_config_scope_decode(body, len, &scope) == PK_OK;
    if (is_whole && scope.text.len > 0 && d->link.offer_scope) {
        on_scope(d, frame, body, len);
        return;
    }
    if (is_whole && pk_config_body_decode(body, len, &news) == PK_OK) {
        uint32_t dropped = 0;
        struct pk_config_body *learned = &d->options.learned;
        bool is_new = pk_learned_add(learned, &news, &dropped);
        size_t first = d->options.n_endpoints;
        if (d->endpoint > first) { /* the same endpoint, where it is now */
            d->endpoint -= dropped < d->endpoint - first ? dropped : d->endpoint - first;
        }
        bool is_kept = d->link.learn && d->link.learn(d->link.arg, learned);
        status = is_kept ? PK_CONFIG_KEPT : PK_CONFIG_NOT_DURABLE;
        for (uint32_t i = 0; is_new && i < news.n; i++) {
            delivery_tell(d, PK_LOG_INFO, "learned endpoint=%s%s",
                news.endpoints[i].endpoint.address, is_kept ? "" : " (not on disk)");
        }
    }
    ack_config(d, frame->u.config.version, status, is_whole ? NULL : "cannot be read");
}

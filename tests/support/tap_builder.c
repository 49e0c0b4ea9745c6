#include "tap_builder.h"

#include <arpa/inet.h>
#include <string.h>

#include "picket/name.h"

struct out {
    uint8_t *p;
    size_t len;
};

static void varint(struct out *out, uint64_t v)
{
    while (v >= 0x80) {
        out->p[out->len++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    out->p[out->len++] = (uint8_t)v;
}

static void number(struct out *out, unsigned field, uint64_t v)
{
    if (v) {
        varint(out, field << 3);
        varint(out, v);
    }
}

static void fixed32(struct out *out, unsigned field, uint32_t v)
{
    varint(out, field << 3 | 5);
    for (int i = 0; i < 4; i++) {
        out->p[out->len++] = (uint8_t)(v >> 8 * i);
    }
}

static void bytes(struct out *out, unsigned field, const void *data, size_t len)
{
    if (data) {
        varint(out, field << 3 | 2);
        varint(out, len);
        memcpy(out->p + out->len, data, len);
        out->len += len;
    }
}

static void address(struct out *out, unsigned field, const char *text)
{
    uint8_t raw[16];
    if (text && inet_pton(AF_INET, text, raw) == 1) {
        bytes(out, field, raw, 4);
    } else if (text && inet_pton(AF_INET6, text, raw) == 1) {
        bytes(out, field, raw, 16);
    }
}

size_t pk_tap_payload(uint8_t *out, const struct pk_tap *tap)
{
    uint8_t inner[PK_TAP_MAX];
    struct out message = {.p = inner}, whole = {.p = out};
    number(&message, 1, tap->type);
    number(&message, 2, tap->family);
    number(&message, 3, tap->protocol);
    address(&message, 4, tap->initiator);
    address(&message, 5, tap->responder);
    number(&message, 6, tap->initiator_port);
    number(&message, 7, tap->responder_port);
    if (tap->query_s) {
        number(&message, 8, tap->query_s);
        fixed32(&message, 9, tap->query_ns);
    }
    bytes(&message, 10, tap->query, tap->query_len);
    if (tap->zone) {
        struct pk_name name;
        if (pk_name_from_text(tap->zone, &name) == PK_OK) {
            bytes(&message, 11, name.wire, name.len);
        }
    }
    if (tap->response_s) {
        number(&message, 12, tap->response_s);
        fixed32(&message, 13, tap->response_ns);
    }
    bytes(&message, 14, tap->response, tap->response_len);
    bytes(&whole, 1, "tap", 3);
    bytes(&whole, 14, inner, message.len);
    number(&whole, 15, 1);
    return whole.len;
}

static size_t be32(uint8_t *out, size_t v)
{
    for (int i = 0; i < 4; i++) {
        out[i] = (uint8_t)(v >> (24 - 8 * i));
    }
    return 4;
}

size_t pk_tap_frame(uint8_t *out, const void *payload, size_t len)
{
    be32(out, len);
    memcpy(out + 4, payload, len);
    return len + 4;
}

size_t pk_tap_control(uint8_t *out, unsigned type, const char *content_type)
{
    size_t len = 12;
    be32(out, 0);
    be32(out + 8, type);
    if (content_type) {
        size_t n = strlen(content_type);
        be32(out + 12, 1);
        be32(out + 16, n);
        memcpy(out + 20, content_type, n);
        len += 8 + n;
    }
    be32(out + 4, len - 8);
    return len;
}

/* Written down straight, so that a test can be checked against the RFCs by eye; nothing of the sensor is used but names. */
#include "packet_builder.h"

#include <assert.h>
#include <string.h>

#include "picket/name.h"

static size_t put16(uint8_t *out, size_t at, unsigned v)
{
    out[at] = (uint8_t)(v >> 8);
    out[at + 1] = (uint8_t)v;
    return at + 2;
}

static size_t put32(uint8_t *out, size_t at, uint32_t v)
{
    return put16(out, put16(out, at, v >> 16), v & 0xffff);
}

static size_t put_address(uint8_t *out, size_t at, bool is_v6, uint8_t last)
{
    static const uint8_t v4[4] = {192, 0, 2}, v6[16] = {0x20, 0x01, 0x0d, 0xb8};
    size_t len = is_v6 ? sizeof v6 : sizeof v4;
    memcpy(out + at, is_v6 ? v6 : v4, len);
    out[at + len - 1] = last;
    return at + len;
}

static size_t put_link(uint8_t *out, const struct pk_build_flow *flow)
{
    unsigned type = flow->is_v6 ? 0x86dd : 0x0800;
    size_t at = 0;
    switch (flow->link) {
    case PK_BUILD_ETHERNET:
        memset(out, 2, 12);
        at = 12;
        for (unsigned i = 0; i < flow->n_vlans; i++) {
            at = put16(out, put16(out, at, 0x8100), 100);
        }
        return put16(out, at, type);
    case PK_BUILD_SLL:
        memset(out, 0, 14);
        return put16(out, 14, type);
    case PK_BUILD_SLL2:
        memset(out, 0, 20);
        put16(out, 0, type);
        return 20;
    case PK_BUILD_NULL:
        memset(out, 0, 4);
        out[0] = flow->is_v6 ? 30 : 2;
        return 4;
    case PK_BUILD_RAW:
        break;
    }
    return 0;
}

size_t pk_build_ip_at(const struct pk_build_flow *flow)
{
    uint8_t scratch[64];
    return put_link(scratch, flow);
}

static size_t put_ip(uint8_t *out, size_t at, const struct pk_build_flow *flow, size_t len)
{
    uint8_t protocol = flow->is_tcp ? 6 : 17;
    if (flow->is_v6) {
        at = put32(out, at, 0x60000000);
        at = put16(out, at, (unsigned)len);
        out[at++] = protocol;
        out[at++] = 64;
    } else {
        at = put16(out, at, 0x4500);
        at = put16(out, at, (unsigned)len + 20);
        at = put32(out, at, 0);
        out[at++] = 64;
        out[at++] = protocol;
        at = put16(out, at, 0);
    }
    at = put_address(out, at, flow->is_v6, flow->src);
    return put_address(out, at, flow->is_v6, flow->dst);
}

size_t pk_build_packet(
    uint8_t *out, const struct pk_build_flow *flow, const void *payload, size_t len)
{
    assert(len + 120 < PK_BUILD_MAX);
    size_t at = put_ip(out, put_link(out, flow), flow, len + (flow->is_tcp ? 20 : 8));
    at = put16(out, put16(out, at, flow->sport), flow->dport);
    if (flow->is_tcp) {
        at = put32(out, put32(out, at, flow->seq), 0);
        out[at++] = 0x50;
        out[at++] = flow->tcp_flags;
        at = put32(out, put16(out, at, 65535), 0);
    } else {
        at = put16(out, put16(out, at, (unsigned)len + 8), 0);
    }
    if (len > 0) {
        memcpy(out + at, payload, len);
    }
    return at + len;
}

static size_t put_name(uint8_t *out, size_t at, const char *text)
{
    struct pk_name name;
    pk_err err = pk_name_from_text(text, &name);
    assert(err == PK_OK);
    (void)err;
    memcpy(out + at, name.wire, name.len);
    return at + name.len;
}

static size_t put_message(
    uint8_t *out, uint16_t id, unsigned flags, const char *qname, uint16_t qtype)
{
    size_t at = put16(out, put16(out, 0, id), flags);
    at = put32(out, put32(out, at, 0x10000), 0);
    return put16(out, put16(out, put_name(out, at, qname), qtype), 1);
}

size_t pk_build_query(uint8_t *out, uint16_t id, const char *qname, uint16_t qtype)
{
    return put_message(out, id, 0x0100, qname, qtype);
}

size_t pk_build_response(
    uint8_t *out, uint16_t id, const char *qname, uint16_t qtype, uint16_t flags)
{
    return put_message(out, id, 0x8000u | flags, qname, qtype);
}

size_t pk_build_record(uint8_t *msg, size_t len, unsigned section, const char *owner, uint16_t type,
    const void *rdata, size_t rdata_len)
{
    size_t count_at = 4 + 2 * (size_t)section;
    put16(msg, count_at, ((unsigned)msg[count_at] << 8 | msg[count_at + 1]) + 1);
    len = put_name(msg, len, owner);
    len = put16(msg, put16(msg, len, type), 1);
    len = put16(msg, put32(msg, len, 300), (unsigned)rdata_len);
    memcpy(msg + len, rdata, rdata_len);
    return len + rdata_len;
}

size_t pk_build_record_name(uint8_t *msg, size_t len, unsigned section, const char *owner,
    uint16_t type, const char *target)
{
    uint8_t wire[PK_NAME_MAX];
    return pk_build_record(msg, len, section, owner, type, wire, put_name(wire, 0, target));
}

size_t pk_build_framed(uint8_t *out, const void *message, size_t len)
{
    put16(out, 0, (unsigned)len);
    memcpy(out + 2, message, len);
    return len + 2;
}

/* protobuf-c takes the payload apart, with an allocator that hands out one arena and never frees, so that nothing a peer sends costs more than the arena. What
 * protobuf-c does not check (ranges, lengths, that a query is a query) is checked here. */
#include "input/dnstap.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "picket/clock.h"
#include "picket/hash.h"

#include "dnstap.pb-c.h"
#include "pairing/pairing.h"

enum {
    TYPE_MESSAGE = 1,
    FAMILY_INET = 1,
    FAMILY_INET6 = 2,
    PORT_HTTPS = 443,
    PORT_TLS = 853
};

struct pk_dnstap {
    ProtobufCAllocator allocator;
    size_t used;
    alignas(max_align_t) uint8_t arena[PK_DNSTAP_ARENA_BYTES];
};

static void *arena_alloc(void *self, size_t size)
{
    struct pk_dnstap *dnstap = self;
    size_t start = dnstap->used;
    if (size > sizeof dnstap->arena - start) {
        return NULL;
    }
    size_t end = start + size, step = alignof(max_align_t);
    dnstap->used = (end + step - 1) / step * step;
    return dnstap->arena + start;
}

static void arena_free(void *self, void *pointer)
{
    (void)self;
    (void)pointer;
}

pk_err pk_dnstap_new(struct pk_dnstap **out_dnstap)
{
    struct pk_dnstap *dnstap = malloc(sizeof *dnstap);
    if (!dnstap) {
        return PK_ERR_NOMEM;
    }
    dnstap->allocator =
        (ProtobufCAllocator){.alloc = arena_alloc, .free = arena_free, .allocator_data = dnstap};
    dnstap->used = 0;
    *out_dnstap = dnstap;
    return PK_OK;
}

void pk_dnstap_free(struct pk_dnstap *dnstap)
{
    free(dnstap);
}

/* --- words --- */

static const char *const kind_names[PK_N_DNSTAP_KINDS] = {
    "auth", "resolver", "client", "forwarder", "stub", "tool", "update"};

const char *pk_dnstap_kind_str(enum pk_dnstap_kind kind)
{
    return kind_names[kind];
}

bool pk_dnstap_kinds_parse(const char *text, uint8_t *out_kinds)
{
    uint8_t kinds = 0;
    while (*text) {
        size_t len = strcspn(text, ",");
        int kind = 0;
        while (kind < PK_N_DNSTAP_KINDS &&
               (strlen(kind_names[kind]) != len || strncmp(kind_names[kind], text, len) != 0)) {
            kind++;
        }
        if (kind == PK_N_DNSTAP_KINDS) {
            return false;
        }
        kinds = (uint8_t)(kinds | 1u << kind);
        text += len + (text[len] == ',');
    }
    *out_kinds = kinds;
    return true;
}

const char *pk_dnstap_via(enum pk_dnstap_kind kind)
{
    static const char *const names[PK_N_DNSTAP_KINDS] = {"dnstap:auth", "dnstap:resolver",
        "dnstap:client", "dnstap:forwarder", "dnstap:stub", "dnstap:tool", "dnstap:update"};
    return names[kind];
}

enum pk_vantage pk_dnstap_vantage(enum pk_dnstap_kind kind)
{
    static const enum pk_vantage vantages[PK_N_DNSTAP_KINDS] = {
        [PK_DNSTAP_AUTH] = PK_VANTAGE_AUTHORITATIVE,
        [PK_DNSTAP_UPDATE] = PK_VANTAGE_AUTHORITATIVE,
        [PK_DNSTAP_CLIENT] = PK_VANTAGE_RESOLVER,
        [PK_DNSTAP_FORWARDER] = PK_VANTAGE_RESOLVER,
        [PK_DNSTAP_STUB] = PK_VANTAGE_RESOLVER,
    };
    return vantages[kind];
}

bool pk_dnstap_is_wanted(const struct pk_dnstap_use *use, const struct pk_ports *ports,
    const struct pk_dnstap_event *event)
{
    bool is_plain =
        (event->transport == PK_TRANSPORT_UDP || event->transport == PK_TRANSPORT_TCP) &&
        pk_ports_have(ports, event->responder_port);
    return ((use->whole | use->rrsets_only) >> event->kind & 1) &&
           !(use->encrypted_only && is_plain);
}

/* --- clocks --- */

bool pk_dnstap_place(struct pk_dnstap_event *event, int64_t now_us, int64_t *shift_us)
{
    if (event->fate != PK_DNSTAP_USED) {
        event->ts_us = now_us;
        return false;
    }
    int64_t took_us = event->ts_us - event->query_us;
    int64_t ts_us = event->ts_us + *shift_us;
    if (ts_us > now_us || ts_us < now_us - PK_DNSTAP_SLACK_US) {
        *shift_us = now_us - event->ts_us;
        ts_us = now_us;
    }
    event->ts_us = ts_us;
    event->query_us = ts_us - (took_us > PK_DNSTAP_MAX_TOOK_US ? 0 : took_us);
    return *shift_us > PK_DNSTAP_SLACK_US || *shift_us < -PK_DNSTAP_SLACK_US;
}

/* --- decoding --- */

/* Beyond the year 9999 it would overflow what is reckoned with it. */
static int64_t time_us(uint64_t s, uint32_t ns)
{
    const uint64_t max_s = 253402300799;
    return (int64_t)(s > max_s ? max_s : s) * PK_US_PER_S + ns % 1000000000 / 1000;
}

static struct pk_slice slice_of(bool has, const ProtobufCBinaryData *data)
{
    return has ? (struct pk_slice){data->data, (uint32_t)data->len} : (struct pk_slice){NULL, 0};
}

/* False when it is no address of the family. The unspecified address is that of an unbound socket and tells nothing; IPv4 as a dual-stack socket tells it (RFC 4291 s2.5.5.2) is IPv4. */
static bool take_address(
    struct pk_slice bytes, bool has_family, uint32_t family, struct pk_addr *out_addr)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    static const uint8_t unspecified[16];
    *out_addr = (struct pk_addr){0};
    if (bytes.len == 0 || (bytes.len <= 16 && memcmp(bytes.data, unspecified, bytes.len) == 0)) {
        return bytes.len == 0 || bytes.len == 4 || bytes.len == 16;
    }
    if (bytes.len == 4 && (!has_family || family == FAMILY_INET)) {
        *out_addr = pk_addr_v4(bytes.data);
        return true;
    }
    if (bytes.len != 16 || (has_family && family != FAMILY_INET6)) {
        return false;
    }
    *out_addr = memcmp(bytes.data, mapped, sizeof mapped) == 0 ? pk_addr_v4(bytes.data + 12)
                                                               : pk_addr_v6(bytes.data);
    return true;
}

static bool take_transport(const Dnstap__Message *message, uint8_t *out_transport)
{
    static const uint8_t transports[] = {PK_TRANSPORT_UDP, PK_TRANSPORT_UDP, PK_TRANSPORT_TCP,
        PK_TRANSPORT_DOT, PK_TRANSPORT_DOH, PK_TRANSPORT_DNSCRYPT_UDP, PK_TRANSPORT_DNSCRYPT_TCP,
        PK_TRANSPORT_DOQ};
    uint32_t protocol = message->has_socket_protocol ? message->socket_protocol : 1;
    if (protocol == 0 || protocol >= sizeof transports) {
        return false;
    }
    *out_transport = transports[protocol];
    return true;
}

/* Unbound 1.17, NSD 4.6 and BIND 9.18 know UDP and TCP only: they log DoT as TCP and DoH as TCP or even UDP. The ports are IANA's. */
static uint8_t transport_at(uint8_t transport, uint16_t port)
{
    bool is_udp = transport == PK_TRANSPORT_UDP;
    if (!is_udp && transport != PK_TRANSPORT_TCP) {
        return transport;
    }
    return port == PORT_TLS     ? (is_udp ? PK_TRANSPORT_DOQ : PK_TRANSPORT_DOT)
           : port == PORT_HTTPS ? PK_TRANSPORT_DOH
                                : transport;
}

/* Whether the bytes can be what the type says: long enough to tell, QR as it should be. Shorter ones go on and are counted where messages are parsed. */
static bool is_of_direction(struct pk_slice wire, bool is_response)
{
    return wire.len < 3 || (wire.data[2] >> 7) == is_response;
}

static void take_times(
    const Dnstap__Message *message, int64_t now_us, struct pk_dnstap_event *event)
{
    bool has_query = message->has_query_time_sec, has_response = message->has_response_time_sec;
    int64_t query_us = time_us(message->query_time_sec, message->query_time_nsec);
    int64_t response_us = time_us(message->response_time_sec, message->response_time_nsec);
    if (!event->is_response) {
        event->ts_us = has_query ? query_us : now_us;
    } else {
        event->ts_us = has_response ? response_us : has_query ? query_us : now_us;
    }
    event->query_us = has_query && query_us <= event->ts_us ? query_us : event->ts_us;
}

static enum pk_dnstap_fate take_message(
    const Dnstap__Message *message, int64_t now_us, struct pk_dnstap_event *event)
{
    if (message->type == 0 || message->type > 2 * PK_N_DNSTAP_KINDS) {
        return PK_DNSTAP_UNKNOWN;
    }
    event->kind = (enum pk_dnstap_kind)((message->type - 1) / 2);
    event->is_response = message->type % 2 == 0;
    take_times(message, now_us, event);
    bool has_family = message->has_socket_family;
    if (!take_transport(message, &event->transport) ||
        (has_family && message->socket_family != FAMILY_INET &&
            message->socket_family != FAMILY_INET6)) {
        return PK_DNSTAP_UNKNOWN;
    }
    event->query = slice_of(message->has_query_message, &message->query_message);
    event->response = slice_of(message->has_response_message, &message->response_message);
    struct pk_slice zone = slice_of(message->has_query_zone, &message->query_zone);
    if (!take_address(slice_of(message->has_query_address, &message->query_address), has_family,
            message->socket_family, &event->initiator) ||
        !take_address(slice_of(message->has_response_address, &message->response_address),
            has_family, message->socket_family, &event->responder) ||
        message->query_port > UINT16_MAX || message->response_port > UINT16_MAX ||
        event->query.len > PK_DNSTAP_MAX_MESSAGE || event->response.len > PK_DNSTAP_MAX_MESSAGE ||
        !is_of_direction(event->query, false) || !is_of_direction(event->response, true) ||
        (zone.len > 0 && pk_name_from_wire(zone.data, zone.len, &event->zone) != PK_OK)) {
        return PK_DNSTAP_MALFORMED;
    }
    event->initiator_port = (uint16_t)message->query_port;
    event->responder_port = (uint16_t)message->response_port;
    event->transport = transport_at(event->transport, event->responder_port);
    return (event->is_response ? event->response.len : event->query.len) > 0 ? PK_DNSTAP_USED
                                                                             : PK_DNSTAP_EMPTY;
}

void pk_dnstap_decode(struct pk_dnstap *dnstap, const uint8_t *data, size_t len, int64_t now_us,
    struct pk_dnstap_event *out_event)
{
    *out_event = (struct pk_dnstap_event){.frame_len = len, .ts_us = now_us};
    dnstap->used = 0;
    const Dnstap__Dnstap *tap = dnstap__dnstap__unpack(&dnstap->allocator, len, data);
    if (!tap) {
        out_event->fate = PK_DNSTAP_MALFORMED;
    } else if (tap->type != TYPE_MESSAGE) {
        out_event->fate = PK_DNSTAP_UNKNOWN;
    } else if (!tap->message) {
        out_event->fate = PK_DNSTAP_EMPTY;
    } else {
        out_event->identity = slice_of(tap->has_identity, &tap->identity);
        out_event->version = slice_of(tap->has_version, &tap->version);
        out_event->fate = take_message(tap->message, now_us, out_event);
    }
}

/* --- queries that nobody logged --- */

size_t pk_dnstap_make_query(
    const struct pk_dnsmsg *response, uint8_t out_query[PK_DNSTAP_MAX_MADE_QUERY])
{
    const struct pk_name *name = &response->question.name;
    size_t len = PK_DNS_HEADER_BYTES;
    memset(out_query, 0, PK_DNS_HEADER_BYTES);
    out_query[0] = (uint8_t)(response->id >> 8);
    out_query[1] = (uint8_t)response->id;
    out_query[2] = (uint8_t)(response->opcode << 3 | response->rd);
    out_query[3] = (uint8_t)(response->cd << 4);
    out_query[5] = response->has_question;
    out_query[11] = response->edns.present;
    if (response->has_question) {
        memcpy(out_query + len, name->wire, name->len);
        len += name->len;
        const uint16_t rest[] = {response->question.type, response->question.class};
        for (size_t i = 0; i < 2; i++) {
            out_query[len++] = (uint8_t)(rest[i] >> 8);
            out_query[len++] = (uint8_t)rest[i];
        }
    }
    if (response->edns.present) {
        const uint8_t opt[11] = {
            [2] = PK_TYPE_OPT, [7] = response->edns.dnssec_ok ? 0x80 : 0}; /* root, OPT, size 0 */
        memcpy(out_query + len, opt, sizeof opt);
        len += sizeof opt;
    }
    return len;
}

static uint64_t told_hash(const struct pk_message *query)
{
    struct {
        struct pk_addr client, server;
        uint16_t client_port, server_port, id, type;
        uint64_t name;
    } key;
    memset(&key, 0, sizeof key);
    key.client = query->src;
    key.server = query->dst;
    key.client_port = query->sport;
    key.server_port = query->dport;
    key.id = query->dns.id;
    if (query->dns.has_question) {
        key.type = query->dns.question.type;
        key.name = pk_name_hash(&query->dns.question.name);
    }
    return pk_hash(&key, sizeof key) | 1;
}

void pk_dnstap_told_note(struct pk_dnstap_told *told, const struct pk_message *query)
{
    uint64_t hash = told_hash(query);
    size_t slot = (size_t)(hash >> 8) % PK_DNSTAP_MAX_TOLD;
    told->slots[slot].hash = hash;
    told->slots[slot].ts_us = query->ts_us;
}

bool pk_dnstap_told_take(struct pk_dnstap_told *told, const struct pk_message *query)
{
    uint64_t hash = told_hash(query);
    size_t slot = (size_t)(hash >> 8) % PK_DNSTAP_MAX_TOLD;
    int64_t apart_us = query->ts_us - told->slots[slot].ts_us;
    if (told->slots[slot].hash != hash || apart_us > PK_PAIRING_TIMEOUT_US ||
        apart_us < -PK_PAIRING_TIMEOUT_US) {
        return false;
    }
    told->slots[slot].hash = 0;
    return true;
}

/* One dnstap payload (https://dnstap.info) to what a DNS server says it sent or received. Pure.
 *
 * A server with dnstap logs its own DNS messages with addresses and times, encrypted transports included, which no capture on the wire can read. The schema
 * is dnstap.proto beside this file; unknown fields are skipped. */
#ifndef SENSOR_DNSTAP_H
#define SENSOR_DNSTAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picket/addr.h"
#include "picket/err.h"
#include "picket/name.h"
#include "picket/observation.h"

#include "packet/packet.h"
#include "stats.h"
#include "transaction.h"

/* Which arrow of DNS a message stands for, and which end of it logged; the order is the schema's. */
enum pk_dnstap_kind {
    PK_DNSTAP_AUTH,      /* authoritative server, its askers */
    PK_DNSTAP_RESOLVER,  /* resolver, the authoritative servers it asks */
    PK_DNSTAP_CLIENT,    /* resolver, its clients */
    PK_DNSTAP_FORWARDER, /* forwarder, the resolver it asks */
    PK_DNSTAP_STUB,      /* stub resolver, its resolver */
    PK_DNSTAP_TOOL,
    PK_DNSTAP_UPDATE, /* authoritative server, RFC 2136 */
    PK_N_DNSTAP_KINDS,
};
const char *pk_dnstap_kind_str(enum pk_dnstap_kind kind); /* "auth", "resolver", ... */
/* "auth,client" to a set of 1 << kind; "" is the empty set. False on an unknown word. */
bool pk_dnstap_kinds_parse(const char *text, uint8_t *out_kinds);

/* One resolution is one trial: the leg of the asker is told whole; the legs behind it, in which the same question goes on from server to server, give RRsets
 * alone; the rest is left out. Sets of 1 << enum pk_dnstap_kind. */
struct pk_dnstap_use {
    uint8_t whole;       /* activity and RRsets */
    uint8_t rrsets_only; /* minus those of `whole` */
    bool encrypted_only; /* UDP and TCP are seen on the wire by the same sensor */
};
enum {
    PK_DNSTAP_USE_WHOLE = 1 << PK_DNSTAP_AUTH | 1 << PK_DNSTAP_CLIENT | 1 << PK_DNSTAP_UPDATE,
    PK_DNSTAP_USE_RRSETS = 1 << PK_DNSTAP_RESOLVER | 1 << PK_DNSTAP_FORWARDER,
    PK_DNSTAP_MAX_MESSAGE = 65535,
    PK_DNSTAP_ARENA_BYTES = 1 << 20, /* what taking apart one payload may cost; more is malformed */
    PK_DNSTAP_MAX_TOLD = 1024,
    PK_DNSTAP_SLACK_US = 2000000,     /* from message to arrival: most servers flush each second */
    PK_DNSTAP_MAX_TOOK_US = 60000000, /* from query to response; longer is taken as not told */
};

/* Borrowed from the payload and the decoder: good until the decoder's next payload. */
struct pk_dnstap_event {
    enum pk_dnstap_fate
        fate; /* PK_DNSTAP_USED, or why not; then only `frame_len` and `ts_us` are set */
    size_t frame_len;
    int64_t ts_us; /* of the message that the event is about: query or response */
    enum pk_dnstap_kind kind;
    bool is_response;
    uint8_t
        transport; /* enum pk_transport; many servers tell DoT and DoH as TCP or UDP, so port 853 means DoT or DoQ, and 443 DoH */
    struct pk_addr initiator, responder; /* family 0: not told */
    uint16_t initiator_port, responder_port;
    int64_t query_us; /* of a response: when its query was, ts_us when that is not told */
    struct pk_slice query, response; /* wire; a response may come with its query */
    struct pk_name zone;             /* len 0: not told */
    struct pk_slice identity, version;
};

/* Memory for taking payloads apart, allocated once. One thread at a time. */
struct pk_dnstap;
pk_err pk_dnstap_new(struct pk_dnstap **out_dnstap);
void pk_dnstap_free(struct pk_dnstap *dnstap);
/* Always fills *out_event. now_us stands for times that the payload leaves out. Cost linear in len. */
void pk_dnstap_decode(struct pk_dnstap *dnstap, const uint8_t *data, size_t len, int64_t now_us,
    struct pk_dnstap_event *out_event);

/* Live: a server's clock must not become everybody's. Moves the event's times to where they lie by this machine's clock, in the PK_DNSTAP_SLACK_US up to now_us, query and response
 * by the same. *shift_us is kept for each server, 0 at first: what its times are moved by, measured anew when an event falls outside; so the event that came soonest tells it. What a
 * server kept longer than the slack is told as of its arrival. True: moved by more than the slack. */
bool pk_dnstap_place(struct pk_dnstap_event *event, int64_t now_us, int64_t *shift_us);

/* ports: those that carry plain DNS on the wire. Beside a capture, only messages of plain UDP and TCP on them are left to it. */
bool pk_dnstap_is_wanted(const struct pk_dnstap_use *use, const struct pk_ports *ports,
    const struct pk_dnstap_event *event);
/* "dnstap:client", ...; constant text */
const char *pk_dnstap_via(enum pk_dnstap_kind kind);
enum pk_vantage pk_dnstap_vantage(enum pk_dnstap_kind kind);

enum {
    PK_DNSTAP_MAX_MADE_QUERY = PK_DNS_HEADER_BYTES + PK_NAME_MAX + 4 + 11
};
/* The query that a response tells of by what servers must copy into it: id, opcode, RD, CD, question (RFC 1035 s4.1.1, RFC 4035 s3.2.2), and that there was
 * EDNS and DO (RFC 6891 s6.1.1, RFC 3225 s3). Returns its length. */
size_t pk_dnstap_make_query(
    const struct pk_dnsmsg *response, uint8_t out_query[PK_DNSTAP_MAX_MADE_QUERY]);

/* Loggers with several threads may tell a response before its query. Once a query was made up for it, the real one is late and must not count a second time: the
 * last PK_DNSTAP_MAX_TOLD of them are remembered for the time a query stays open. */
struct pk_dnstap_told {
    struct {
        uint64_t hash; /* 0: empty */
        int64_t ts_us;
    } slots[PK_DNSTAP_MAX_TOLD];
};
void pk_dnstap_told_note(struct pk_dnstap_told *told, const struct pk_message *query);
/* Whether this query was told already; if so it is forgotten. */
bool pk_dnstap_told_take(struct pk_dnstap_told *told, const struct pk_message *query);

#endif

/* What flows through the sensor's core: packets become messages, messages become transactions. */
#ifndef SENSOR_TRANSACTION_H
#define SENSOR_TRANSACTION_H

#include <stdbool.h>
#include <stdint.h>

#include "picket/addr.h"
#include "picket/dnsmsg.h"
#include "picket/observation.h"

#include "packet/via.h"

/* The ends of a message. */
struct pk_leg {
    struct pk_addr src, dst;
    uint16_t sport, dport;
};

/* One DNS message as it was seen. `dns` and what it borrows is good only during the call that hands it over. */
struct pk_message {
    int64_t ts_us;
    uint64_t frame; /* number of the packet that completed it, from 1 over all files read */
    union {
        struct pk_leg leg;
        struct {
            struct pk_addr src, dst;
            uint16_t sport, dport;
        };
    };
    uint8_t transport; /* enum pk_transport */
    const char
        *via; /* the source that told of it where it was no packet ("dnstap:client"), else NULL */
    struct pk_via layers; /* encapsulation of its packet, outermost first */
    uint16_t interface;   /* where it was captured: of struct pk_raw_packet */
    bool
        is_fragmented; /* from IP fragments: who guesses the second can replace it (never into history) */
    uint8_t
        vantage; /* enum pk_vantage when the source knows it (dnstap), else PK_VANTAGE_UNKNOWN */
    bool is_upstream; /* a server's own question to another server: history, never activity */
    struct pk_name
        zone;        /* the zone the asking resolver took the server to serve; len 0: not known */
    uint64_t digest; /* pk_hash_quick of the bytes of dns */
    uint64_t name_hash;   /* pk_name_hash of a response's question; 0: none, or not reckoned */
    struct pk_name lower; /* with name_hash: that name in lower case */
    bool is_cut;          /* its end is not there */
    bool is_multicast;    /* mDNS or LLMNR: shown, never paired */
    struct pk_dnsmsg dns;
};

/* The question side, kept by value while a query is open. */
struct pk_query {
    int64_t ts_us;
    struct pk_addr client, server;
    uint16_t client_port, server_port;
    uint16_t id;
    uint8_t transport; /* enum pk_transport */
    uint8_t opcode;
    uint16_t flags;         /* PK_SIG_QUERY_* */
    uint16_t edns_udp_size; /* as asked, 0 without EDNS */
    struct pk_prefix
        subnet; /* for whom it was asked (pk_edns_client_subnet); family 0: nobody told, and the rest says nothing */
    bool has_question;
    bool is_case_mixed;
    struct pk_question question; /* name as first asked, case kept */
    uint32_t retransmissions;
    const char *via; /* of struct pk_message, as are these */
    uint8_t vantage;
    bool is_upstream;
};

enum pk_outcome {
    PK_OUTCOME_ANSWERED,
    PK_OUTCOME_UNANSWERED,  /* timed out, evicted or open at the end of input */
    PK_OUTCOME_UNREACHABLE, /* unanswered, and an ICMP error said why */
    /* From here on responses that met no open query: evidence, never history. */
    PK_OUTCOME_UNSOLICITED, /* nobody asked */
    PK_OUTCOME_LATE,        /* its query was closed as unanswered before */
    PK_OUTCOME_MISMATCHED, /* ends and id of a query, another question: a guess, or a broken server */
    PK_OUTCOME_REPEATED,   /* its query had this answer already, or asked more than once */
    PK_OUTCOME_CONFLICTING, /* its query, asked once, had another answer already: one of the two is forged, or a middlebox answers too */
    PK_N_OUTCOMES,
};
static inline bool pk_outcome_is_stray(enum pk_outcome outcome)
{
    return outcome >= PK_OUTCOME_UNSOLICITED;
}

/* A zone transfer spans several messages: they are summed and one transaction is reported at its end. */
struct pk_transaction {
    enum pk_outcome outcome;
    struct pk_query
        query; /* of strays: the addresses and question of the response, ts of the response */
    const struct pk_message *
        response; /* NULL when unanswered; of a transfer the message that ended it, NULL when none did */
    int64_t response_ts_us;
    int64_t
        ended_us; /* when the pairing closed it, in the packets' time: never earlier than what was closed before, unless the clock steps */
    bool is_case_changed; /* the response does not repeat the case of the letters asked (0x20) */
    uint32_t response_bytes;
    uint32_t transfer_records;
    uint16_t transfer_soas;
    uint32_t transfer_messages;
};

/* The question's name in lower case; the root without a question. It is the response's, where that was made ready (name_hash): its question is the query's, or the two had not met. Else
 * it is written to room. */
static inline const struct pk_name *pk_transaction_name(
    const struct pk_transaction *transaction, struct pk_name *room)
{
    const struct pk_message *response = transaction->response;
    if (response && response->name_hash != 0 && response->dns.has_question &&
        transaction->query.has_question) {
        return &response->lower;
    }
    if (transaction->query.has_question) {
        pk_name_lower_copy(room, &transaction->query.question.name);
    } else {
        room->len = 1;
        room->n_labels = 0;
        room->wire[0] = 0;
    }
    return room;
}

#endif

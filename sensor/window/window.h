/* The tables of one window: values that repeat (names, clients, signatures) as small numbers, and the rows that are keyed by those numbers.
 *
 * Private to merge.c and window.c. A row's key is a few numbers instead of the bytes of the name, the addresses and the flags: a window of 50,000 rows and
 * its index stay near the cache, and each value is hashed once for a transaction. The numbers go out with the rows, so that the batch builder need not hash
 * again. */
#ifndef SENSOR_WINDOW_H
#define SENSOR_WINDOW_H

#include "picket/batch.h"
#include "picket/dictionary.h"

#include "window/client.h"
#include "window/merge.h"

enum {
    WINDOW_MAX_NAMES = 2 * PK_MERGE_MAX_ROWS,
    WINDOW_MAX_SET = 512,      /* RDATA in one RRset */
    WINDOW_MAX_COUNTS = 16384, /* clients that are only counted, for each reason and zone */
};

struct activity_key {
    uint32_t name, client, signature, unused;
    uint64_t answer_digest;
};

struct activity_value {
    int64_t first_us;
    uint32_t span_us, count, latency_min_us, latency_max_us, response_bytes_max, min_ttl_s,
        retransmissions, transfer_records;
    uint16_t transfer_soas;
    uint8_t case_mixed;
};

/* The key of an RRset goes on with its RDATA, each with its length in two bytes before it. */
struct rrset_key {
    uint32_t owner, bailiwick;
    uint16_t type, class, trust, n_rdata;
};

struct rrset_value {
    int64_t first_us, last_us;
    uint32_t count, ttl_min_s, ttl_max_s;
    uint8_t flags;
    struct pk_addr server;
};

struct negative_key {
    uint32_t name;
    uint16_t type, class, rcode, unused;
};

struct negative_value {
    int64_t first_us, last_us;
    uint32_t count;
};

struct count_key {
    uint32_t client, zone; /* zone: number of its name */
    uint32_t reason;       /* enum pk_client_reason */
};

struct count_value {
    int64_t first_us, last_us;
    uint32_t count, negative, unanswered, ptr;
    struct pk_sketch names;
};

struct window {
    struct pk_dictionary names;        /* wire form, lower case */
    struct pk_dictionary addresses;    /* struct pk_addr of clients */
    struct pk_client *clients;         /* by number */
    uint32_t *client_of_address;       /* address to client: those left out share one */
    uint32_t n_clients, hidden_client; /* hidden_client UINT32_MAX: none yet */
    struct pk_dictionary signatures;   /* struct pk_signature */
    struct pk_dictionary activity, rrsets, negatives, counts; /* keys */
    struct activity_value *activity_values;
    struct rrset_value *rrset_values;
    struct negative_value *negative_values;
    struct count_value *count_values;
    struct pk_bytes scratch; /* of the RRset key in hand */
    struct pk_slice set[WINDOW_MAX_SET];
};

pk_err window_init(struct window *window);
void window_done(struct window *window);
void window_clear(struct window *window);
size_t window_bound_bytes(void);

/* The number of the client that stands behind an address. PK_ERR_LIMIT, PK_ERR_NOMEM. */
pk_err window_client(struct window *window, const struct pk_client_rules *rules,
    const struct pk_addr *addr, uint32_t *out_client);
/* Gives all rows out, in the order in which they came up. */
void window_give(struct window *window, const struct pk_merge_sink *sink);

#endif

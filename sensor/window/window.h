/* The tables of one window: values that repeat (names, clients, signatures) as small numbers, and the rows that are keyed by those numbers.
 *
 * Private to merge.c and window.c. A row's key is a few numbers instead of the bytes of the name, the addresses and the flags: a window of 50,000 rows and
 * its index stay near the cache, and each value is hashed once for a transaction. Rows stand as batch_rows.h wants them: batches are written from these tables as they are.
 *
 * RRsets stand apart and are given out by themselves, when they are full or the window ends: what is remembered of responses (repeats.h) names their rows, and outlives many parts of the activity. They
 * are found by their whole content: numbered like the rest, a new one cost six or more look-ups in large tables, and a quarter of the time was waiting for these. */
#ifndef SENSOR_WINDOW_H
#define SENSOR_WINDOW_H

#include "picket/batch_rows.h"

#include "window/client.h"
#include "window/merge.h"
#include "window/table.h"

enum {
    WINDOW_MAX_NAMES = 2 * PK_MERGE_MAX_ROWS,
    WINDOW_MAX_COUNTS = 16384,  /* clients that are only counted, for each reason and zone */
    WINDOW_MAX_SUBNETS = 16384, /* clients told apart by the subnets they ask for */
};

/* Keys: what the rows of batch_rows.h begin with. */
struct activity_key {
    uint32_t name, client, signature, answer;
};
struct negative_key {
    uint32_t name;
    uint16_t type, class, rcode, unused;
};
struct count_key {
    uint32_t client, zone; /* zone: number of its name */
    uint32_t reason;       /* enum pk_client_reason */
};

/* A client's address, its bytes in words so that they are hashed as a few numbers; those left out share one client. */
struct address_key {
    uint32_t words[5];
};
struct address_row {
    struct address_key key;
    uint32_t client;
};

/* A client that asks for a subnet is a client of its own. Whoever asks chooses what he tells, so they have a table of their own, and what a client may take of a window goes by its address
 * (share.h). */
struct subnet_key {
    uint32_t through;  /* the client without it */
    uint32_t words[5]; /* the subnet */
};
struct subnet_row {
    struct subnet_key key;
    uint32_t client; /* through itself when the subnet is not to be told */
};

/* Addresses of servers: few, and the one of the transaction before is mostly this one's. */
struct servers {
    struct pk_dictionary addrs; /* as on the wire */
    struct pk_addr last;
    uint32_t last_reference; /* 0: none yet */
};

struct window {
    struct pk_dictionary names;   /* wire form, lower case */
    struct table addresses;       /* struct address_row */
    struct table subnets;         /* struct subnet_row */
    struct pk_dictionary clients; /* by number, as on the wire */
    uint32_t hidden_client;       /* UINT32_MAX: none yet */
    struct servers servers;
    struct table signatures; /* struct pk_signature_row, all of it the key */
    struct table answers;    /* uint64_t digests */
    struct table activity, negatives, counts;
};

struct rrsets {
    struct pk_dictionary contents; /* struct pk_rrset_content and what follows it */
    struct servers servers;
    struct pk_rrset_row *rows; /* by number of the content */
    struct pk_bytes scratch;   /* the content in hand */
};

pk_err window_init(struct window *window);
void window_done(struct window *window);
void window_clear(struct window *window);
size_t window_bound_bytes(void);

/* The number of the client that stands behind an address. PK_ERR_LIMIT, PK_ERR_NOMEM. */
pk_err window_client(struct window *window, const struct pk_client_rules *rules,
    const struct pk_addr *addr, uint32_t *out_client);
/* Asks for where window_client looks first. */
void window_client_ahead(const struct window *window, const struct pk_addr *addr);
/* Whether the address is known; its client. */
bool window_find_client(
    const struct window *window, const struct pk_addr *addr, uint32_t *out_client);
/* From the number of a client to that of the client that asks for this subnet through it. Without room for it the number stays as it is; whether there was, is returned. */
bool window_client_for(struct window *window, const struct pk_client_rules *rules,
    const struct pk_prefix *subnet, uint32_t *client);
/* The same of one that is known; false when it would be new. */
bool window_find_client_for(
    const struct window *window, const struct pk_prefix *subnet, uint32_t *client);
struct pk_addr window_address(const struct window *window, uint32_t number);
/* The number of a server + 1; 0 for none. PK_ERR_LIMIT, PK_ERR_NOMEM. */
pk_err servers_number(struct servers *servers, const struct pk_addr *addr, uint32_t *out_reference);
/* The same of one that is known; false when it is not. */
bool servers_find(
    const struct servers *servers, const struct pk_addr *addr, uint32_t *out_reference);

pk_err rrsets_init(struct rrsets *rrsets);
void rrsets_done(struct rrsets *rrsets);
void rrsets_clear(struct rrsets *rrsets);
size_t rrsets_bound_bytes(void);
/* The number of an RRset's row; a new one is the n of before. is_scarce: only what has its row already is found, else PK_ERR_UNSUPPORTED. PK_ERR_LIMIT: a table is full. */
pk_err rrsets_row(
    struct rrsets *rrsets, const struct pk_rrset *rrset, bool is_scarce, uint32_t *out_row);

/* Give rows out, in the order in which they came up. */
void window_give(const struct window *window, const struct pk_batch_info *info,
    const struct pk_merge_sink *sink);
void rrsets_give(const struct rrsets *rrsets, const struct pk_batch_info *info,
    const struct pk_merge_sink *sink);
/* The rows of clients alone. */
void window_give_counts(const struct window *window, const struct pk_batch_info *info,
    const struct pk_merge_sink *sink);

#endif

/* Batches from tables of rows whose values are numbered already.
 *
 * A window numbers names, clients and all else that repeats, so its rows are a few integers each, and its dictionaries are what a batch's dictionaries are made of. From these the encoder
 * writes batch after batch: no row is made into a value in between, nothing is hashed again. The bytes are those that the builder of batch.h would write for the same rows. */
#ifndef PICKET_BATCH_ROWS_H
#define PICKET_BATCH_ROWS_H

#include "picket/batch.h"
#include "picket/dictionary.h"

enum {
    PK_ROWS_MAX_NUMBERS = 1 << 17,    /* entries of each dictionary */
    PK_ROWS_MAX_NAME_BYTES = 4 << 20, /* all names of a table */
    PK_ROWS_MAX_SET = 512,            /* RDATA in one RRset */
    PK_CLIENT_PACKED_SIZE = 40,
};

/* Fields are those of observation.h. A number is that of an entry in the dictionary of the name; "+ 1": 0 is none. What makes a row the same as another stands first. */
struct pk_activity_row {
    uint32_t name, client, signature, answer; /* answer + 1 */
    int64_t first_us;
    uint32_t span_us, count, latency_min_us, latency_max_us, response_bytes_max, min_ttl_s,
        retransmissions, transfer_records;
    uint16_t transfer_soas;
    uint8_t case_mixed;
    uint8_t unused[5]; /* a cache line */
};

/* struct pk_signature with the server as a number; without holes, since it is looked up by its bytes. */
struct pk_signature_row {
    uint32_t server; /* address + 1 */
    uint16_t server_port, qtype, qclass, rcode, flags, edns_udp_size;
    uint8_t transport, vantage, opcode, answer;
};

/* What an RRset is known by, in the dictionary of contents: this, then owner, bailiwick, and each RDATA after its length in two bytes (big-endian), in the order of their bytes. Written out, not
 * numbered: a window's RRsets are many and seldom looked at, and one look-up in a large table costs less than one for each value. */
struct pk_rrset_content {
    uint16_t type, class, n_rdata;
    uint8_t trust, owner_len, bailiwick_len, unused;
};

/* The row of the content with the same number. */
struct pk_rrset_row {
    int64_t first_us, last_us;
    uint32_t count, ttl_min_s, ttl_max_s;
    uint32_t server; /* address + 1 */
    uint8_t flags;
};

struct pk_negative_row {
    uint32_t name;
    uint16_t type, class, rcode, unused;
    uint32_t count;
    int64_t first_us, last_us;
};

struct pk_count_row {
    uint32_t client, zone; /* zone: a name */
    uint32_t reason;
    uint32_t former; /* client + 1 */
    uint32_t count, negative, unanswered, ptr;
    int64_t first_us, last_us;
    struct pk_sketch names;
};

/* Rows of one kind and what their numbers stand for; dictionaries that the kind does not use may be NULL. */
struct pk_rows {
    enum pk_batch_kind
        kind; /* ACTIVITY, RRSET, NEGATIVE or CLIENT: which of the structs above rows is an array of */
    const void *rows;
    uint32_t n;
    const struct pk_dictionary *names;   /* wire form, lower case; not of RRSET */
    const struct pk_dictionary *clients; /* pk_client_pack_with_subnet */
    bool has_subnets;                    /* some of the clients ask for a subnet */
    const struct pk_signature_row *signatures;
    const uint64_t *answers;              /* digests */
    const struct pk_dictionary *contents; /* of RRsets, as many as rows */
    const struct pk_dictionary *addrs;    /* family and bytes: the first of struct pk_addr */
};

/* A client as it stands in a batch's dictionary, or in a table's: there the subnet of an outside one follows. Both return how many bytes. */
size_t pk_client_pack(const struct pk_client *client, uint8_t out[PK_CLIENT_PACKED_SIZE]);
size_t pk_client_pack_with_subnet(
    const struct pk_client *client, uint8_t out[PK_CLIENT_PACKED_SIZE]);

struct pk_rows_encoder;
pk_err pk_rows_encoder_new(struct pk_rows_encoder **out_encoder);
void pk_rows_encoder_free(struct pk_rows_encoder *encoder);
size_t pk_rows_encoder_bound_bytes(void);

/* What one batch came to. */
struct pk_rows_batch {
    uint32_t n_rows;       /* 0: there are no more rows, and no body */
    uint32_t n_shed;       /* rows passed over on the way, since no batch can hold one of them */
    uint64_t transactions; /* the sum of the rows' counts; 0 for CLIENT */
    int64_t first_us, last_us;
};
/* Begins with these rows; they and their dictionaries stay as they are until the last batch. info: kind is set from rows. PK_ERR_NOMEM. */
pk_err pk_rows_encoder_begin(
    struct pk_rows_encoder *encoder, const struct pk_batch_info *info, const struct pk_rows *rows);
/* Appends the body of the next batch: as many rows as it is at its best with, in their order. Marked as partial when more are to come, or when info said so of all. PK_ERR_NOMEM, PK_ERR_LIMIT of out. */
pk_err pk_rows_encoder_next(
    struct pk_rows_encoder *encoder, struct pk_bytes *out, struct pk_rows_batch *out_batch);

#endif

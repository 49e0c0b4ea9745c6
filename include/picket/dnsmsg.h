/* DNS messages: complete, bounds-checked, without allocation.
 *
 * pk_dnsmsg_parse walks the whole message once and accepts it only when every name, record and
 * embedded name is sound; after that the iterators over its records cannot fail. Everything is borrowed from the
 * caller's bytes. A damaged message still yields what was good before the damage: header and
 * question, for counting and for `--output messages`. */
#ifndef PICKET_DNSMSG_H
#define PICKET_DNSMSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picket/addr.h"
#include "picket/err.h"
#include "picket/name.h"

enum {
    PK_DNS_HEADER_BYTES = 12
};

/* Values of RFC 1035 s4.1.1, RFC 6895. */
enum pk_opcode {
    PK_OPCODE_QUERY = 0,
    PK_OPCODE_STATUS = 2,
    PK_OPCODE_NOTIFY = 4,
    PK_OPCODE_UPDATE = 5
};
enum pk_rcode {
    PK_RCODE_NOERROR = 0,
    PK_RCODE_FORMERR = 1,
    PK_RCODE_SERVFAIL = 2,
    PK_RCODE_NXDOMAIN = 3,
    PK_RCODE_NOTIMP = 4,
    PK_RCODE_REFUSED = 5,
    PK_RCODE_NOTAUTH = 9
};
enum pk_class {
    PK_CLASS_IN = 1,
    PK_CLASS_CH = 3,
    PK_CLASS_ANY = 255
};
enum pk_type {
    PK_TYPE_A = 1,
    PK_TYPE_NS = 2,
    PK_TYPE_CNAME = 5,
    PK_TYPE_SOA = 6,
    PK_TYPE_PTR = 12,
    PK_TYPE_MX = 15,
    PK_TYPE_TXT = 16,
    PK_TYPE_SIG = 24,
    PK_TYPE_AAAA = 28,
    PK_TYPE_SRV = 33,
    PK_TYPE_DNAME = 39,
    PK_TYPE_OPT = 41,
    PK_TYPE_DS = 43,
    PK_TYPE_RRSIG = 46,
    PK_TYPE_NSEC = 47,
    PK_TYPE_NSEC3 = 50,
    PK_TYPE_TSIG = 250,
    PK_TYPE_IXFR = 251,
    PK_TYPE_AXFR = 252,
    PK_TYPE_ANY = 255,
};

enum pk_section {
    PK_SECTION_QUESTION,
    PK_SECTION_ANSWER,
    PK_SECTION_AUTHORITY,
    PK_SECTION_ADDITIONAL
};

/* Why a message was not taken whole; PK_DNS_OK is none. Counted by name (pk_dns_fault_str). */
enum pk_dns_fault {
    PK_DNS_OK,
    PK_DNS_SHORT_HEADER, /* fewer than 12 bytes */
    PK_DNS_BAD_QUESTION, /* a question's name, type or class does not fit or is not allowed */
    PK_DNS_BAD_NAME,     /* an owner name */
    PK_DNS_SHORT_RECORD, /* counts promise more records than the bytes hold */
    PK_DNS_BAD_RDATA,    /* RDLENGTH or the RDATA of a known type */
    PK_DNS_BAD_EDNS, /* OPT outside additional, twice, not at the root, or options do not fit (RFC 6891) */
    PK_DNS_TRAILING, /* bytes after the last record; everything before is good */
    PK_N_DNS_FAULTS,
};

enum {
    PK_EDNS_NSID = 3,          /* RFC 5001 */
    PK_EDNS_CLIENT_SUBNET = 8, /* RFC 7871 */
    PK_EDNS_COOKIE = 10,       /* RFC 7873 */
};
struct pk_edns {
    bool present;
    uint16_t udp_size;
    uint8_t version;
    uint8_t ext_rcode; /* upper eight bits of the extended RCODE */
    bool dnssec_ok;
    const uint8_t *options; /* borrowed; code, length, data triples, checked */
    uint16_t options_len;
};

struct pk_question {
    struct pk_name name; /* case as seen */
    uint16_t type;
    uint16_t class;
};

struct pk_dnsmsg {
    const uint8_t *wire; /* borrowed */
    size_t len;
    uint16_t id;
    uint8_t opcode;
    uint16_t rcode; /* with the extended bits when EDNS is present */
    bool is_response, aa, tc, rd, ra, ad, cd;
    uint16_t n_records[4]; /* as the header says, by enum pk_section */
    bool has_question;     /* the first question is in `question` */
    struct pk_question question;
    size_t
        question_name_end; /* offset after the first question's name as it stands in the message */
    size_t records_pos;    /* where the answer section begins; 0 when the questions are bad */
    unsigned n_good_records; /* records (all three sections) before the fault */
    struct pk_edns edns;
    enum pk_dns_fault fault;
    size_t fault_pos; /* offset of the record or field at fault */
};

/* Fills *out_msg always, as far as the bytes are good; true when the message is usable whole (fault is OK
 * or TRAILING). Cost linear in len; names chase at most 127 labels each. */
bool pk_dnsmsg_parse(const uint8_t *wire, size_t len, struct pk_dnsmsg *out_msg);
const char *pk_dns_fault_str(enum pk_dns_fault fault); /* "short_header", ... */
/* The client subnet that a query carries (RFC 7871 s6): the network for whom a resolver asks, as long as the option says. False without a good one: none, another family than IPv4 and IPv6, a
 * length that does not fit, host bits that are set, or length 0, by which a client asks not to be told of. */
bool pk_edns_client_subnet(const struct pk_edns *edns, struct pk_prefix *out_subnet);

struct pk_rr {
    enum pk_section section;
    size_t owner_pos; /* offset of the owner in the message; read it with pk_rr_owner */
    uint16_t type;
    uint16_t class;
    uint32_t ttl_s;
    size_t rdata_pos;
    uint16_t rdata_len; /* as in the message, names possibly compressed */
};

struct pk_rr_iter {
    const struct pk_dnsmsg *msg;
    size_t pos;
    unsigned index;
};

/* Walks the good records of all sections in order, OPT included. */
void pk_rr_iter_init(struct pk_rr_iter *iter, const struct pk_dnsmsg *msg);
bool pk_rr_next(struct pk_rr_iter *iter, struct pk_rr *out_rr);
void pk_rr_owner(const struct pk_dnsmsg *msg, const struct pk_rr *rr, struct pk_name *out_owner);

#endif

/* Packets and DNS messages for tests: bytes as they would be captured, lengths right unless a test
 * breaks them afterwards. Checksums are zero: nothing here judges them. */
#ifndef TESTS_PACKET_BUILDER_H
#define TESTS_PACKET_BUILDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PK_BUILD_MAX = 9000
};

enum pk_build_link {
    PK_BUILD_ETHERNET = 1,
    PK_BUILD_RAW = 101,
    PK_BUILD_SLL = 113,
    PK_BUILD_SLL2 = 276,
    PK_BUILD_NULL = 0
};

struct pk_build_flow {
    enum pk_build_link link;
    unsigned n_vlans;
    bool is_v6, is_tcp;
    uint8_t src, dst; /* last byte of 192.0.2.x or 2001:db8::x */
    uint16_t sport, dport;
    uint32_t seq;
    uint8_t tcp_flags;
};

/* Each returns the bytes written; out has PK_BUILD_MAX bytes. */
size_t pk_build_packet(
    uint8_t *out, const struct pk_build_flow *flow, const void *payload, size_t len);
/* Where the IP header of such a packet begins. */
size_t pk_build_ip_at(const struct pk_build_flow *flow);
size_t pk_build_query(uint8_t *out, uint16_t id, const char *qname, uint16_t qtype);
/* flags: bits of the header besides QR, for example 0x0400 for AA; rcode in the low four. No records. */
size_t pk_build_response(
    uint8_t *out, uint16_t id, const char *qname, uint16_t qtype, uint16_t flags);
/* Appends a record to a message of len bytes and counts it: section 1 answer, 2 authority, 3 additional.
 * Sections must be filled in order. */
size_t pk_build_record(uint8_t *msg, size_t len, unsigned section, const char *owner, uint16_t type,
    const void *rdata, size_t rdata_len);
/* The same with a name as RDATA. */
size_t pk_build_record_name(uint8_t *msg, size_t len, unsigned section, const char *owner,
    uint16_t type, const char *target);
/* The message behind its two bytes of length. */
size_t pk_build_framed(uint8_t *out, const void *message, size_t len);

#endif

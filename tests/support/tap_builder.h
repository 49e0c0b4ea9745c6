/* dnstap payloads and Frame Streams byte by byte, for tests; shares nothing with the libraries that read them. */
#ifndef TAP_BUILDER_H
#define TAP_BUILDER_H

#include <stddef.h>
#include <stdint.h>

enum {
    PK_TAP_MAX = 4096
};

/* Zero or NULL fields are left out. */
struct pk_tap {
    unsigned type; /* of the message: 1 AUTH_QUERY ... 14 UPDATE_RESPONSE */
    unsigned family, protocol;
    const char *initiator, *responder; /* IPv4 or IPv6 text */
    unsigned initiator_port, responder_port;
    uint64_t query_s, response_s;
    uint32_t query_ns, response_ns;
    const void *query, *response;
    size_t query_len, response_len;
    const char *zone; /* text */
};

/* Each returns the bytes written to out, which has PK_TAP_MAX. */
size_t pk_tap_payload(uint8_t *out, const struct pk_tap *tap);
size_t pk_tap_frame(uint8_t *out, const void *payload, size_t len);
/* Control frame: 1 ACCEPT, 2 START, 3 STOP, 4 READY, 5 FINISH; content_type NULL: without. */
size_t pk_tap_control(uint8_t *out, unsigned type, const char *content_type);

#endif

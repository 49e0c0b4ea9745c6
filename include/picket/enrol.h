/* Enrolment: the token that lets a sensor in, and the two messages that make it known (docs/PROTOCOL.md s7).
 *
 * A token is one line that a person carries to the sensor's machine: where the aggregator is, the key by which it is known, and a secret. It is made on the tenant's side, which also puts
 * the tenant's client key in; the aggregator gets a digest of the secret and never the client key. Whoever holds a token can enrol as long as it is open: it is to be kept like a password. */
#ifndef PICKET_ENROL_H
#define PICKET_ENROL_H

#include <stdbool.h>

#include "picket/envelope.h"
#include "picket/limits.h"
#include "picket/observation.h"

enum {
    PK_TOKEN_ID_BYTES = 16,
    PK_TOKEN_SECRET_BYTES = 32,
    PK_TOKEN_TEXT_SIZE = 1024, /* and its zero */
    PK_ENROL_NAME_SIZE = 65,
    PK_ENROL_PLACE_SIZE = 130, /* "tenant/site" */
    PK_ENROL_MAX_ENDPOINTS = 4,
    PK_ENROL_MAX_REQUEST = 4096, /* bytes of a frame on the enrolment port */
};

struct pk_token {
    char endpoint[PK_ENDPOINT_SIZE]; /* of enrolment */
    uint8_t server_pubkey[PK_KEY_BYTES];
    uint8_t id[PK_TOKEN_ID_BYTES];
    uint8_t secret[PK_TOKEN_SECRET_BYTES];
    bool has_client_key;
    uint8_t client_key[PK_KEY_BYTES];
};
/* "picket1." and base64url. PK_ERR_LIMIT when it does not fit. */
pk_err pk_token_encode(const struct pk_token *token, char out_text[PK_TOKEN_TEXT_SIZE]);
/* PK_ERR_VERSION: a token of a newer kind. PK_ERR_MALFORMED: cut, or no token at all. */
pk_err pk_token_decode(const char *text, struct pk_token *out_token);
/* What the aggregator keeps of a secret: BLAKE2b-256. */
void pk_token_digest(const uint8_t secret[PK_TOKEN_SECRET_BYTES], uint8_t out_digest[32]);

/* Body of ENROL. */
struct pk_enrol_request {
    uint8_t id[PK_TOKEN_ID_BYTES];
    uint8_t secret[PK_TOKEN_SECRET_BYTES];
    char name[PK_ENROL_NAME_SIZE]; /* what the sensor would like to be called: its node's name */
};
pk_err pk_enrol_request_encode(const struct pk_enrol_request *request, struct pk_bytes *out);
pk_err pk_enrol_request_decode(
    const uint8_t *data, size_t len, struct pk_enrol_request *out_request);

enum pk_enrol_status {
    PK_ENROL_DONE = 0,
    PK_ENROL_PENDING = 1, /* known, and let in when an administrator approves */
};
/* Body of ENROLLED. */
struct pk_enrol_answer {
    uint8_t status; /* enum pk_enrol_status */
    uint32_t sensor_id;
    char name[PK_ENROL_NAME_SIZE], place[PK_ENROL_PLACE_SIZE];
    char endpoints[PK_ENROL_MAX_ENDPOINTS][PK_ENDPOINT_SIZE];
    uint32_t n_endpoints;
    struct pk_slice scope; /* the tenant's, as YAML; decoded: borrowed from the body */
};
pk_err pk_enrol_answer_encode(const struct pk_enrol_answer *answer, struct pk_bytes *out);
pk_err pk_enrol_answer_decode(const uint8_t *data, size_t len, struct pk_enrol_answer *out_answer);

#endif

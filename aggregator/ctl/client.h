/* Requests to picket-api by libcurl. */
#ifndef CTL_CLIENT_H
#define CTL_CLIENT_H

#include "picket/bytes.h"
#include "picket/err.h"

struct pk_api_client {
    const char *server; /* http://127.0.0.1:8353 */
    const char *key;    /* or NULL */
};

enum {
    PK_CLIENT_ERROR_SIZE = 512
};

/* method "GET" or "POST"; body NULL without. The body of the answer goes to out_body also when the status is an error. PK_ERR_IO: no answer, out_error says what to do. */
pk_err pk_client_request(const struct pk_api_client *client, const char *method, const char *path,
    const char *body, size_t body_len, long *out_status, struct pk_bytes *out_body,
    char out_error[PK_CLIENT_ERROR_SIZE]);
/* Appends text percent-encoded for a path or query. */
void pk_client_escape(struct pk_bytes *out, const char *text);

#endif

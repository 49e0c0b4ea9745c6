/* HTTP by libmicrohttpd: requests as values in, responses as values out. The only module here that knows the library.
 *
 * One thread serves all connections, one request at a time: the handler owns its database connections without locks. Bodies up to PK_HTTP_MAX_BODY. */
#ifndef API_SERVER_H
#define API_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "picket/bytes.h"
#include "picket/err.h"

enum {
    PK_HTTP_MAX_BODY = 8 << 20,
    PK_HTTP_MAX_RESPONSE = 256 << 20,
    PK_HTTP_MAX_CONNECTIONS = 256,
    PK_HTTP_TIMEOUT_S = 60
};

struct pk_http_request {
    const char *method, *path; /* path percent-decoded once, without the query */
    const char *key;           /* X-API-Key, or the token of Authorization: Bearer; NULL */
    const char *body;          /* terminated; "" without */
    size_t body_len;
    bool is_loopback; /* the peer's address is 127.0.0.0/8 or ::1 */
    void *connection; /* for pk_http_query */
};
/* The value of a query parameter, NULL when absent. */
const char *pk_http_query(const struct pk_http_request *request, const char *name);

struct pk_http_response {
    unsigned status;
    const char *content_type; /* constant */
    struct pk_bytes body;
};

typedef void (*pk_http_handler)(
    void *arg, const struct pk_http_request *request, struct pk_http_response *response);

struct pk_server;

/* PK_ERR_CONFIG: not an address; PK_ERR_IO: taken or not ours. */
pk_err pk_server_start(const char *address, uint16_t port, pk_http_handler handler, void *arg,
    struct pk_server **out_server);
void pk_server_stop(struct pk_server *server);

#endif

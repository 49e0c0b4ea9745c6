/* What each path answers. Knows the store and JSON, not HTTP's library. */
#ifndef API_ROUTES_H
#define API_ROUTES_H

#include "server.h"
#include "store/store.h"

struct pk_routes {
    struct pk_store *reader;  /* role bound by row-level security */
    struct pk_store *control; /* role that writes control tables */
    uint64_t n_requests, n_errors, n_refused;
};

/* A pk_http_handler; arg is a struct pk_routes. */
void pk_routes_handle(
    void *arg, const struct pk_http_request *request, struct pk_http_response *response);

#endif

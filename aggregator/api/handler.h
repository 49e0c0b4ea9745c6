/* What the handlers of routes.c and its sister files share. Private to aggregator/api. */
#ifndef API_HANDLER_H
#define API_HANDLER_H

#include <jansson.h>

#include "routes.h"

enum {
    OK = 200,
    CREATED = 201,
    BAD_REQUEST = 400,
    UNAUTHORIZED = 401,
    FORBIDDEN = 403,
    NOT_FOUND = 404,
    CONFLICT = 409,
    UNAVAILABLE = 503
};

struct context {
    struct pk_routes *routes;
    const struct pk_http_request *request;
    struct pk_http_response *response;
    const char *rest; /* of the path, after the route's prefix */
    struct pk_store_api_key key;
    struct pk_tenant_id tenant; /* of the key, or named by an administrator */
};

/* Takes object. */
void reply_json(struct pk_http_response *response, unsigned status, json_t *object);
/* {"error": why} */
void refuse(struct pk_http_response *response, unsigned status, const char *why);
/* The database said no or is away. */
void refuse_store(struct context *c, struct pk_store *store, pk_err err);
size_t query_count(const struct pk_http_request *request, const char *name,
    size_t otherwise); /* absent: otherwise */
/* A member that is text, "" when it is not there. */
const char *text_of(const json_t *object, const char *key);

/* sensors.c */
void handle_add_token(struct context *c);
void handle_tokens(struct context *c);
void handle_close_token(struct context *c);
void handle_change_sensor(struct context *c);
void handle_sensors(struct context *c);
/* Adds what handle_sensors tells to the rows of a list that name the sensor. */
pk_err join_sensors(struct context *c, json_t *list);

/* findings.c */
void handle_findings(struct context *c);
void handle_finding_action(struct context *c);
void handle_suppressions(struct context *c);
void handle_suppress(struct context *c);
void handle_end_suppression(struct context *c);

/* canaries.c */
struct scope_in_force {
    struct pk_store_registry registry;
    struct pk_scope *scope;
};
/* The tenant's part of the scope that was applied; NULL: there is none, which was answered. Afterwards, unless NULL: scope_in_force_done. */
const struct pk_scope_tenant *scope_of_tenant(struct context *c, struct scope_in_force *in_force);
void scope_in_force_done(struct scope_in_force *in_force);
void handle_canaries(struct context *c);

/* exposure.c */
void handle_exposure(struct context *c);

#endif

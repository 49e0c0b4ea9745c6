/* The libmicrohttpd edge. */
#include "server.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <microhttpd.h>

struct pk_server {
    struct MHD_Daemon *daemon;
    pk_http_handler handler;
    void *arg;
};

struct upload {
    struct pk_bytes body;
};

const char *pk_http_query(const struct pk_http_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, name);
}

static bool is_loopback(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    if (!info || !info->client_addr) {
        return false;
    }
    if (info->client_addr->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)info->client_addr;
        return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
    }
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)info->client_addr;
    return info->client_addr->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

static const char *key_of(struct MHD_Connection *connection)
{
    const char *key = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "X-API-Key");
    const char *authorization =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Authorization");
    if (!key && authorization && strncasecmp(authorization, "Bearer ", 7) == 0) {
        key = authorization + 7;
    }
    return key;
}

/* Takes the body of response. */
static enum MHD_Result send_response(
    struct MHD_Connection *connection, struct pk_http_response *response)
{
    if (response->body.err != PK_OK) {
        static const char text[] = "{\"error\":\"the answer is too large, ask for less\"}\n";
        pk_bytes_done(&response->body);
        response->status = MHD_HTTP_INTERNAL_SERVER_ERROR;
        pk_bytes_put(&response->body, text, sizeof text - 1);
    }
    struct MHD_Response *raw = MHD_create_response_from_buffer(
        response->body.len, response->body.data, MHD_RESPMEM_MUST_FREE);
    if (!raw) {
        pk_bytes_done(&response->body);
        return MHD_NO;
    }
    (void)MHD_add_response_header(raw, "Content-Type", response->content_type);
    (void)MHD_add_response_header(raw, "Cache-Control", "no-store");
    (void)MHD_add_response_header(raw, "X-Content-Type-Options", "nosniff");
    enum MHD_Result result = MHD_queue_response(connection, response->status, raw);
    MHD_destroy_response(raw);
    return result;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url,
    const char *method, const char *version, const char *data, size_t *data_len, void **state)
{
    struct pk_server *server = arg;
    struct upload *upload = *state;
    (void)version;
    if (!upload) {
        upload = calloc(1, sizeof *upload);
        *state = upload;
        if (!upload) {
            return MHD_NO;
        }
        pk_bytes_init(&upload->body, PK_HTTP_MAX_BODY);
        return MHD_YES;
    }
    if (*data_len > 0) {
        pk_bytes_put(&upload->body, data, *data_len);
        *data_len = 0;
        return MHD_YES;
    }
    struct pk_http_response response = {.status = MHD_HTTP_OK, .content_type = "application/json"};
    pk_bytes_init(&response.body, PK_HTTP_MAX_RESPONSE);
    if (upload->body.err != PK_OK) {
        static const char text[] = "{\"error\":\"the body is larger than eight megabytes\"}\n";
        response.status = MHD_HTTP_CONTENT_TOO_LARGE;
        pk_bytes_put(&response.body, text, sizeof text - 1);
        return send_response(connection, &response);
    }
    const char *body = pk_bytes_text(&upload->body);
    struct pk_http_request request = {
        .method = method,
        .path = url,
        .key = key_of(connection),
        .body = body ? body : "",
        .body_len = upload->body.len,
        .is_loopback = is_loopback(connection),
        .connection = connection,
    };
    server->handler(server->arg, &request, &response);
    return send_response(connection, &response);
}

static void on_done(void *arg, struct MHD_Connection *connection, void **state,
    enum MHD_RequestTerminationCode code)
{
    struct upload *upload = *state;
    (void)arg;
    (void)connection;
    (void)code;
    if (upload) {
        pk_bytes_done(&upload->body);
        free(upload);
        *state = NULL;
    }
}

pk_err pk_server_start(const char *address, uint16_t port, pk_http_handler handler, void *arg,
    struct pk_server **out_server)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    bool is_v6 = inet_pton(AF_INET, address, &v4.sin_addr) != 1;
    if (is_v6 && inet_pton(AF_INET6, address, &v6.sin6_addr) != 1) {
        return PK_ERR_CONFIG;
    }
    struct pk_server *server = calloc(1, sizeof *server);
    if (!server) {
        return PK_ERR_NOMEM;
    }
    server->handler = handler;
    server->arg = arg;
    const struct sockaddr *where =
        is_v6 ? (const struct sockaddr *)&v6 : (const struct sockaddr *)&v4;
    server->daemon = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | (is_v6 ? MHD_USE_IPv6 : 0),
        port, NULL, NULL, on_request, server, MHD_OPTION_SOCK_ADDR, where,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)PK_HTTP_MAX_CONNECTIONS,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)PK_HTTP_TIMEOUT_S, MHD_OPTION_NOTIFY_COMPLETED,
        on_done, server, MHD_OPTION_END);
    if (!server->daemon) {
        free(server);
        return PK_ERR_IO;
    }
    *out_server = server;
    return PK_OK;
}

void pk_server_stop(struct pk_server *server)
{
    if (server) {
        MHD_stop_daemon(server->daemon);
        free(server);
    }
}

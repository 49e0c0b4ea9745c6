/* Where DNS servers deliver their dnstap: unix and TCP sockets that the sensor listens on. Edge; one thread.
 *
 * A server connects, shakes hands (or not: one-way senders begin with START) and sends. What a peer can make the sensor hold: one buffer of one frame. */
#ifndef SENSOR_DNSTAP_LISTEN_H
#define SENSOR_DNSTAP_LISTEN_H

#include <stdbool.h>
#include <stddef.h>

#include "picket/err.h"

#include "input/capture_live.h"
#include "input/dnstap.h"
#include "input/source.h"
#include "stats.h"

enum {
    PK_DNSTAP_MAX_ENDPOINTS = 4,
    PK_DNSTAP_MAX_PEERS = 32,      /* of all endpoints; 4.2 MiB with the greatest frame in each */
    PK_DNSTAP_HANDSHAKE_MS = 5000, /* from accept to START */
    PK_DNSTAP_STALL_MS = 30000,    /* within a frame without a byte */
    PK_DNSTAP_IDLE_MS = 60000, /* between frames: so long nobody loses its place to a new peer */
    PK_DNSTAP_TURN_BYTES = 256 << 10, /* taken from one peer before the next has its turn */
    PK_DNSTAP_ERROR_SIZE = 512,
    PK_DNSTAP_INTERFACE =
        UINT16_MAX, /* the source's number in struct pk_raw_packet: none of the interfaces' */
};

/* What the operator says about dnstap, on the command line or in sensor.yaml. Texts are borrowed. */
struct pk_dnstap_settings {
    const char *endpoints
        [PK_DNSTAP_MAX_ENDPOINTS]; /* "unix:/path", "tcp:192.0.2.1:6000", "tcp:[::1]:6000", "tcp:6000" (127.0.0.1) */
    size_t n_endpoints;
    unsigned mode;     /* of the unix sockets */
    const char *owner; /* "user", "user:group" or ":group"; NULL: who runs the sensor */
    struct pk_dnstap_use use;
    bool has_plain,
        is_plain; /* plain UDP and TCP too; left out: when there is no interface that shows them */
};
#define PK_DNSTAP_SETTINGS_DEFAULT                                                                \
    {                                                                                             \
        .mode = 0660, .use = {.whole = PK_DNSTAP_USE_WHOLE, .rrsets_only = PK_DNSTAP_USE_RRSETS } \
    }

/* Which messages these settings use, beside so many interfaces. */
struct pk_dnstap_use pk_dnstap_use_of(
    const struct pk_dnstap_settings *settings, size_t n_interfaces);
bool pk_dnstap_mode_parse(const char *text, unsigned *out_mode); /* octal */

struct pk_dnstap_listener;

/* Whether an endpoint is well written; *out_is_open: TCP that others than this machine reach. */
bool pk_dnstap_endpoint_check(const char *endpoint, bool *out_is_open);
/* Binds and listens; frames go to on_frame with PK_DNSTAP_INTERFACE. A socket file nobody listens on any more is replaced; one in use is an error. Before privileges are dropped. PK_ERR_CONFIG, PK_ERR_IO, PK_ERR_NOMEM;
 * out_error has the sentence. Counters go to stats->dnstap (borrowed). */
pk_err pk_dnstap_listen_open(const struct pk_dnstap_settings *settings, struct pk_stats *stats,
    pk_live_cb on_frame, void *arg, struct pk_dnstap_listener **out_listener,
    char out_error[PK_DNSTAP_ERROR_SIZE]);
/* NULL is allowed. Removes the socket files if it still may. */
void pk_dnstap_listen_close(struct pk_dnstap_listener *listener);
struct pk_source pk_dnstap_listen_source(struct pk_dnstap_listener *listener);

#endif

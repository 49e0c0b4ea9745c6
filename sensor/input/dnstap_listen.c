/* One epoll descriptor over the listening sockets and their peers. libfstrm has no server side, see fstrm.h. */
#include "input/dnstap_listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "picket/clock.h"
#include "picket/log.h"

#include "input/dnstap.h"
#include "input/fstrm.h"

enum {
    BACKLOG = 64,
    WARN_MS = 1000,
    MAX_EVENTS = PK_DNSTAP_MAX_PEERS + PK_DNSTAP_MAX_ENDPOINTS,
    TEXT_SIZE = 128
};

struct endpoint {
    union {
        struct sockaddr any;
        struct sockaddr_un un;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } address;
    socklen_t len;
    int fd; /* -1: not open */
    bool is_bound;
};

struct peer {
    int fd; /* -1: free */
    uint64_t number;
    struct pk_fstrm stream;
    int64_t heard_ms; /* the last byte, or accept */
    int64_t accepted_ms;
    bool is_introduced; /* its first frame was logged */
    bool is_shift_told;
    int64_t shift_us; /* pk_dnstap_place */
};

struct pk_dnstap_listener {
    struct pk_stats *stats;
    pk_live_cb on_frame;
    void *arg;
    int epoll_fd;
    uint64_t n_accepted;
    int64_t warned_ms;
    struct pk_dnstap *dnstap;
    struct endpoint endpoints[PK_DNSTAP_MAX_ENDPOINTS];
    size_t n_endpoints;
    struct peer peers[PK_DNSTAP_MAX_PEERS];
};

/* --- settings --- */

struct pk_dnstap_use pk_dnstap_use_of(
    const struct pk_dnstap_settings *settings, size_t n_interfaces)
{
    struct pk_dnstap_use use = settings->use;
    bool is_plain = settings->has_plain ? settings->is_plain : n_interfaces == 0;
    use.encrypted_only = settings->n_endpoints > 0 && !is_plain;
    return use;
}

bool pk_dnstap_mode_parse(const char *text, unsigned *out_mode)
{
    char *end;
    unsigned long mode = strtoul(text, &end, 8);
    if (*text < '0' || *text > '7' || *end || mode > 0777) {
        return false;
    }
    *out_mode = (unsigned)mode;
    return true;
}

/* --- endpoints --- */

static bool parse_tcp(const char *text, struct endpoint *out)
{
    char host[INET6_ADDRSTRLEN + 2] = "127.0.0.1";
    const char *colon = strrchr(text, ':');
    const char *port_text = colon ? colon + 1 : text;
    char *end;
    unsigned long port = strtoul(port_text, &end, 10);
    if (*port_text < '0' || *port_text > '9' || *end || port == 0 || port > UINT16_MAX) {
        return false;
    }
    if (colon) {
        bool is_bracketed = text[0] == '[' && colon > text && colon[-1] == ']';
        const char *start = text + is_bracketed;
        size_t len = (size_t)(colon - start) - is_bracketed;
        if (len == 0 || len >= sizeof host) {
            return false;
        }
        memcpy(host, start, len);
        host[len] = '\0';
    }
    if (inet_pton(AF_INET, host, &out->address.in.sin_addr) == 1) {
        out->address.in.sin_family = AF_INET;
        out->address.in.sin_port = htons((uint16_t)port);
        out->len = sizeof out->address.in;
        return true;
    }
    if (inet_pton(AF_INET6, host, &out->address.in6.sin6_addr) == 1) {
        out->address.in6.sin6_family = AF_INET6;
        out->address.in6.sin6_port = htons((uint16_t)port);
        out->len = sizeof out->address.in6;
        return true;
    }
    return false;
}

static bool parse_endpoint(const char *text, struct endpoint *out)
{
    *out = (struct endpoint){.fd = -1};
    if (strncmp(text, "tcp:", 4) == 0) {
        return parse_tcp(text + 4, out);
    }
    const char *path = strncmp(text, "unix:", 5) == 0 ? text + 5 : NULL;
    if (!path || path[0] != '/' || strlen(path) >= sizeof out->address.un.sun_path) {
        return false;
    }
    out->address.un.sun_family = AF_UNIX;
    strncpy(out->address.un.sun_path, path, sizeof out->address.un.sun_path - 1);
    out->len = sizeof out->address.un;
    return true;
}

static bool is_open_to_others(const struct endpoint *endpoint)
{
    if (endpoint->address.any.sa_family == AF_INET) {
        return ntohl(endpoint->address.in.sin_addr.s_addr) >> 24 != 127;
    }
    return endpoint->address.any.sa_family == AF_INET6 &&
           !IN6_IS_ADDR_LOOPBACK(&endpoint->address.in6.sin6_addr);
}

bool pk_dnstap_endpoint_check(const char *text, bool *out_is_open)
{
    struct endpoint endpoint;
    if (!parse_endpoint(text, &endpoint)) {
        return false;
    }
    *out_is_open = is_open_to_others(&endpoint);
    return true;
}

/* A socket file left behind by a sensor that could not remove it. */
static void remove_stale(const struct endpoint *endpoint)
{
    struct stat status;
    const char *path = endpoint->address.un.sun_path;
    int fd = -1;
    if (lstat(path, &status) == 0 && S_ISSOCK(status.st_mode)) {
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    }
    if (fd >= 0) {
        if (connect(fd, &endpoint->address.any, endpoint->len) != 0 && errno == ECONNREFUSED) {
            (void)unlink(path);
        }
        close(fd);
    }
}

static bool find_owner(const char *text, uid_t *out_uid, gid_t *out_gid)
{
    char user[64];
    const char *colon = strchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : strlen(text);
    *out_uid = (uid_t)-1;
    *out_gid = (gid_t)-1;
    if (len >= sizeof user) {
        return false;
    }
    memcpy(user, text, len);
    user[len] = '\0';
    if (len > 0) {
        const struct passwd *entry = getpwnam(user);
        if (!entry) {
            return false;
        }
        *out_uid = entry->pw_uid;
    }
    if (colon) {
        const struct group *group = getgrnam(colon + 1);
        if (!group) {
            return false;
        }
        *out_gid = group->gr_gid;
    }
    return true;
}

static pk_err fail(
    const char *endpoint, const char *what, const char *why, char out_error[PK_DNSTAP_ERROR_SIZE])
{
    snprintf(out_error, PK_DNSTAP_ERROR_SIZE, "dnstap %s: %s%s%s", endpoint, what, why ? ": " : "",
        why ? why : "");
    return why ? PK_ERR_IO : PK_ERR_CONFIG;
}

/* The file gets its mode before anybody can connect: it is made for nobody and opened afterwards. */
static pk_err set_rights(const struct pk_dnstap_settings *settings, const char *text,
    const struct endpoint *endpoint, char out_error[PK_DNSTAP_ERROR_SIZE])
{
    const char *path = endpoint->address.un.sun_path;
    uid_t uid;
    gid_t gid;
    if (settings->owner) {
        if (!find_owner(settings->owner, &uid, &gid)) {
            return fail(
                text, "there is no such owner (user, user:group or :group)", NULL, out_error);
        }
        if (lchown(path, uid, gid) != 0) {
            return fail(text, "its owner cannot be changed", strerror(errno), out_error);
        }
    }
    if (chmod(path, settings->mode) != 0) {
        return fail(text, "its mode cannot be changed", strerror(errno), out_error);
    }
    return PK_OK;
}

static pk_err watch(struct pk_dnstap_listener *listener, int fd, uint32_t index)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = index};
    return epoll_ctl(listener->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? PK_OK : PK_ERR_IO;
}

static pk_err open_endpoint(struct pk_dnstap_listener *listener,
    const struct pk_dnstap_settings *settings, const char *text,
    char out_error[PK_DNSTAP_ERROR_SIZE])
{
    struct endpoint *endpoint = &listener->endpoints[listener->n_endpoints];
    if (!parse_endpoint(text, endpoint)) {
        return fail(text, "must be unix:/path, tcp:ADDRESS:PORT or tcp:PORT", NULL, out_error);
    }
    listener->n_endpoints++;
    bool is_unix = endpoint->address.any.sa_family == AF_UNIX;
    int on = 1;
    endpoint->fd =
        socket(endpoint->address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (endpoint->fd < 0) {
        return fail(text, "no socket", strerror(errno), out_error);
    }
    if (is_unix) {
        remove_stale(endpoint);
    } else {
        (void)setsockopt(endpoint->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    }
    mode_t before = umask(0177);
    int result = bind(endpoint->fd, &endpoint->address.any, endpoint->len);
    int why = errno;
    umask(before);
    endpoint->is_bound = result == 0;
    if (result != 0) {
        return fail(text, "cannot listen there", strerror(why), out_error);
    }
    pk_err err = is_unix ? set_rights(settings, text, endpoint, out_error) : PK_OK;
    if (err != PK_OK) {
        return err;
    }
    if (listen(endpoint->fd, BACKLOG) != 0 ||
        watch(listener, endpoint->fd, PK_DNSTAP_MAX_PEERS + (uint32_t)listener->n_endpoints - 1) !=
            PK_OK) {
        return fail(text, "cannot listen there", strerror(errno), out_error);
    }
    if (is_open_to_others(endpoint)) {
        pk_warn("dnstap",
            "endpoint=%s dnstap over TCP has no authentication: whoever reaches this port can make observations up",
            text);
    }
    return PK_OK;
}

pk_err pk_dnstap_listen_open(const struct pk_dnstap_settings *settings, struct pk_stats *stats,
    pk_live_cb on_frame, void *arg, struct pk_dnstap_listener **out_listener,
    char out_error[PK_DNSTAP_ERROR_SIZE])
{
    struct pk_dnstap_listener *listener = calloc(1, sizeof *listener);
    if (!listener) {
        snprintf(out_error, PK_DNSTAP_ERROR_SIZE, "dnstap: out of memory");
        return PK_ERR_NOMEM;
    }
    *listener = (struct pk_dnstap_listener){.stats = stats, .on_frame = on_frame, .arg = arg};
    for (size_t i = 0; i < PK_DNSTAP_MAX_PEERS; i++) {
        listener->peers[i].fd = -1;
    }
    listener->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    pk_err err = pk_dnstap_new(&listener->dnstap);
    if (err != PK_OK || listener->epoll_fd < 0) {
        snprintf(out_error, PK_DNSTAP_ERROR_SIZE, "dnstap: out of memory or descriptors");
        pk_dnstap_listen_close(listener);
        return PK_ERR_NOMEM;
    }
    for (size_t i = 0; i < settings->n_endpoints && err == PK_OK; i++) {
        err = listener->n_endpoints == PK_DNSTAP_MAX_ENDPOINTS
                  ? fail(settings->endpoints[i], "more than four endpoints", NULL, out_error)
                  : open_endpoint(listener, settings, settings->endpoints[i], out_error);
    }
    if (err != PK_OK) {
        pk_dnstap_listen_close(listener);
        return err;
    }
    *out_listener = listener;
    return PK_OK;
}

/* --- peers --- */

/* counter: NULL when the peer left as it should. Whoever connects in a loop must not fill the log: one warning a second. */
static void drop(
    struct pk_dnstap_listener *listener, struct peer *peer, uint64_t *counter, const char *why)
{
    int64_t now_ms = pk_clock_mono_ms();
    if (counter) {
        ++*counter;
        if (now_ms - listener->warned_ms >= WARN_MS) {
            listener->warned_ms = now_ms;
            pk_warn("dnstap", "peer=%" PRIu64 " closed: %s", peer->number, why);
        }
    } else if (peer->is_introduced) {
        pk_info("dnstap", "peer=%" PRIu64 " gone", peer->number);
    }
    close(peer->fd); /* leaves the epoll set with it */
    peer->fd = -1;
    pk_fstrm_done(&peer->stream);
}

/* A free place, or that of the peer that has been silent longest and long enough. NULL: none. */
static struct peer *find_place(struct pk_dnstap_listener *listener, int64_t now_ms)
{
    struct peer *quietest = NULL;
    for (size_t i = 0; i < PK_DNSTAP_MAX_PEERS; i++) {
        struct peer *peer = &listener->peers[i];
        if (peer->fd < 0) {
            return peer;
        }
        if (!quietest || peer->heard_ms < quietest->heard_ms) {
            quietest = peer;
        }
    }
    if (now_ms - quietest->heard_ms < PK_DNSTAP_IDLE_MS) {
        return NULL;
    }
    drop(listener, quietest, &listener->stats->dnstap.idle, "silent, and its place is needed");
    return quietest;
}

static void accept_peers(struct pk_dnstap_listener *listener, const struct endpoint *endpoint)
{
    int64_t now_ms = pk_clock_mono_ms();
    for (int i = 0; i < BACKLOG; i++) {
        int fd = accept4(endpoint->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            return;
        }
        struct peer *peer = find_place(listener, now_ms);
        if (!peer || watch(listener, fd, (uint32_t)(peer - listener->peers)) != PK_OK) {
            listener->stats->dnstap.refused++;
            close(fd);
            continue;
        }
        listener->stats->dnstap.connections++;
        *peer = (struct peer){
            .fd = fd, .number = ++listener->n_accepted, .heard_ms = now_ms, .accepted_ms = now_ms};
        pk_fstrm_init(&peer->stream, false);
    }
}

static void introduce(struct peer *peer, const struct pk_dnstap_event *event)
{
    char identity[TEXT_SIZE], version[TEXT_SIZE];
    peer->is_introduced = true;
    pk_info("dnstap", "peer=%" PRIu64 " identity=\"%s\" version=\"%s\"", peer->number,
        pk_log_escape(
            (const char *)event->identity.data, event->identity.len, identity, sizeof identity),
        pk_log_escape(
            (const char *)event->version.data, event->version.len, version, sizeof version));
}

/* Once for each peer, and as drop() not more than once a second. */
static void tell_shift(
    struct pk_dnstap_listener *listener, struct peer *peer, const struct pk_dnstap_event *event)
{
    char identity[TEXT_SIZE];
    int64_t now_ms = pk_clock_mono_ms(), shift_us = peer->shift_us;
    int64_t seconds = (llabs(shift_us) + PK_US_PER_S / 2) / PK_US_PER_S;
    if (peer->is_shift_told || now_ms - listener->warned_ms < WARN_MS) {
        return;
    }
    peer->is_shift_told = true;
    listener->warned_ms = now_ms;
    pk_warn("dnstap",
        "peer=%" PRIu64 " identity=\"%s\" its times are %" PRId64
        " s %s: they are moved to when they arrive here",
        peer->number,
        pk_log_escape(
            (const char *)event->identity.data, event->identity.len, identity, sizeof identity),
        seconds,
        shift_us < 0 ? "ahead of this machine's clock"
                     : "behind this machine's clock, or it kept them so long");
}

static void give(struct pk_dnstap_listener *listener, const struct pk_dnstap_event *event)
{
    struct pk_raw_packet packet = {
        .ts_us = event->ts_us, .tapped = event, .interface = PK_DNSTAP_INTERFACE};
    listener->on_frame(listener->arg, 0, &packet);
}

/* All frames that are whole. False when the peer was closed. */
static bool take_frames(struct pk_dnstap_listener *listener, struct peer *peer, size_t *out_n)
{
    struct pk_dnstap_stats *stats = &listener->stats->dnstap;
    struct pk_dnstap_event event;
    struct pk_slice frame;
    enum pk_fstrm_result result;
    while ((result = pk_fstrm_next(&peer->stream, &frame)) == PK_FSTRM_FRAME) {
        int64_t now_us = pk_clock_wall_us();
        pk_dnstap_decode(listener->dnstap, frame.data, frame.len, now_us, &event);
        if (!peer->is_introduced) {
            introduce(peer, &event);
        }
        if (pk_dnstap_place(&event, now_us, &peer->shift_us)) {
            stats->shifted++;
            tell_shift(listener, peer, &event);
        }
        give(listener, &event);
        ++*out_n;
    }
    if (result == PK_FSTRM_OVERSIZE) {
        event = (struct pk_dnstap_event){.fate = PK_DNSTAP_OVERSIZE, .ts_us = pk_clock_wall_us()};
        give(listener, &event);
    }
    if (result == PK_FSTRM_OVERSIZE || result == PK_FSTRM_BROKEN) {
        drop(listener, peer, &stats->broken, pk_fstrm_fault(&peer->stream));
        return false;
    }
    size_t reply_len = peer->stream.reply_len;
    ssize_t n_sent =
        reply_len > 0 ? send(peer->fd, peer->stream.reply, reply_len, MSG_NOSIGNAL) : 0;
    peer->stream.reply_len = 0;
    if (result ==
        PK_FSTRM_ENDED) { /* FINISH is a courtesy: some leave after STOP without waiting for it */
        drop(listener, peer, NULL, NULL);
        return false;
    }
    if (n_sent != (ssize_t)reply_len) { /* a few bytes into an empty buffer */
        drop(listener, peer, &stats->broken, "does not take the handshake's answer");
        return false;
    }
    return true;
}

static size_t read_peer(struct pk_dnstap_listener *listener, struct peer *peer)
{
    struct pk_dnstap_stats *stats = &listener->stats->dnstap;
    size_t n_frames = 0, n_bytes = 0;
    while (n_bytes < PK_DNSTAP_TURN_BYTES) {
        size_t room;
        uint8_t *p = pk_fstrm_room(&peer->stream, &room);
        if (!p) {
            drop(listener, peer, &stats->broken, "out of memory");
            return n_frames;
        }
        ssize_t n = recv(peer->fd, p, room, 0);
        if (n < 0) {
            if (errno != EAGAIN && errno != EINTR) {
                drop(listener, peer, &stats->broken, strerror(errno));
            }
            return n_frames;
        }
        if (n == 0) {
            bool is_inside = pk_fstrm_is_inside(&peer->stream);
            drop(listener, peer, is_inside ? &stats->broken : NULL, "gone within a frame");
            return n_frames;
        }
        pk_fstrm_filled(&peer->stream, (size_t)n);
        peer->heard_ms = pk_clock_mono_ms();
        n_bytes += (size_t)n;
        if (!take_frames(listener, peer, &n_frames)) {
            return n_frames;
        }
    }
    stats->paused++;
    return n_frames;
}

/* --- the source --- */

static size_t source_read(void *self)
{
    struct pk_dnstap_listener *listener = self;
    struct epoll_event events[MAX_EVENTS];
    size_t n_frames = 0;
    int n = epoll_wait(listener->epoll_fd, events, MAX_EVENTS, 0);
    /* Peers first: a place freed now is not taken by a new peer whose event is not this one's. */
    for (int i = 0; i < n; i++) {
        uint32_t index = events[i].data.u32;
        if (index < PK_DNSTAP_MAX_PEERS && listener->peers[index].fd >= 0) {
            n_frames += read_peer(listener, &listener->peers[index]);
        }
    }
    for (int i = 0; i < n; i++) {
        uint32_t index = events[i].data.u32;
        if (index >= PK_DNSTAP_MAX_PEERS) {
            accept_peers(listener, &listener->endpoints[index - PK_DNSTAP_MAX_PEERS]);
        }
    }
    return n_frames;
}

static bool source_tick(void *self, int64_t mono_ms)
{
    struct pk_dnstap_listener *listener = self;
    for (size_t i = 0; i < PK_DNSTAP_MAX_PEERS; i++) {
        struct peer *peer = &listener->peers[i];
        if (peer->fd < 0) {
            continue;
        }
        if (peer->stream.state != PK_FSTRM_OPEN &&
            mono_ms - peer->accepted_ms > PK_DNSTAP_HANDSHAKE_MS) {
            drop(listener, peer, &listener->stats->dnstap.idle, "no handshake in time");
        } else if (pk_fstrm_is_inside(&peer->stream) &&
                   mono_ms - peer->heard_ms > PK_DNSTAP_STALL_MS) {
            drop(listener, peer, &listener->stats->dnstap.idle, "stopped within a frame");
        }
    }
    return true;
}

struct pk_source pk_dnstap_listen_source(struct pk_dnstap_listener *listener)
{
    return (struct pk_source){
        .self = listener, .fd = listener->epoll_fd, .read = source_read, .tick = source_tick};
}

void pk_dnstap_listen_close(struct pk_dnstap_listener *listener)
{
    if (!listener) {
        return;
    }
    for (size_t i = 0; i < PK_DNSTAP_MAX_PEERS; i++) {
        if (listener->peers[i].fd >= 0) {
            close(listener->peers[i].fd);
            pk_fstrm_done(&listener->peers[i].stream);
        }
    }
    for (size_t i = 0; i < listener->n_endpoints; i++) {
        const struct endpoint *endpoint = &listener->endpoints[i];
        if (endpoint->fd >= 0) {
            close(endpoint->fd);
        }
        if (endpoint->is_bound && endpoint->address.any.sa_family == AF_UNIX) {
            (void)unlink(
                endpoint->address.un.sun_path); /* Landlock may forbid it: see remove_stale */
        }
    }
    if (listener->epoll_fd >= 0) {
        close(listener->epoll_fd);
    }
    pk_dnstap_free(listener->dnstap);
    free(listener);
}

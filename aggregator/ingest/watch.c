/* Connections that swallow memory before the application sees anything.
 *
 * libzmq 4.3.4 collects all frames of a message before it hands over the first, and no option bounds their number: 600,000 small frames from one enrolled peer are a gigabyte.
 * But the kernel counts what came in on each connection (TCP_INFO), and we count what came out as messages. A difference beyond what credit and buffers explain is such a message
 * in the making, and its connection is shut down; libzmq then gives the memory back. Looked at when the process has grown, so it costs nothing otherwise. The limit of the address
 * space stays as the last resort. */
#include "watch.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <inttypes.h>
#include <linux/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "child.h"

enum {
    WATCH_MS = 100,
    GROWTH_BYTES = 16 << 20,  /* of the process, between two looks */
    SESSION_SLACK = 16 << 20, /* credit, high-water mark and socket buffers together are less */
    STRANGER_SLACK = 4 << 20, /* a connection that has not said HELLO yet */
    PING_BYTES_S = 16,        /* ZeroMQ's own heartbeats, which no message shows */
    TCP_LISTENING = 10,       /* TCP_LISTEN of <netinet/tcp.h>, which linux/tcp.h excludes */
};

bool pk_watch_peer(int fd, char out_peer[PK_PEER_SIZE])
{
    struct sockaddr_storage storage;
    socklen_t len = sizeof storage;
    char address[INET6_ADDRSTRLEN];
    if (getpeername(fd, (struct sockaddr *)&storage, &len) != 0) {
        return false;
    }
    if (storage.ss_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, &storage, sizeof v4);
        inet_ntop(AF_INET, &v4.sin_addr, address, sizeof address);
        snprintf(out_peer, PK_PEER_SIZE, "%s:%u", address, ntohs(v4.sin_port));
        return true;
    }
    if (storage.ss_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, &storage, sizeof v6);
        inet_ntop(AF_INET6, &v6.sin6_addr, address, sizeof address);
        snprintf(out_peer, PK_PEER_SIZE, "[%s]:%u", address, ntohs(v6.sin6_port));
        return true;
    }
    return false;
}

static uint64_t resident_bytes(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file) {
        return 0;
    }
    int n = fscanf(file, "%*u %lu", &pages);
    fclose(file);
    return n == 1 ? pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

static struct pk_session *session_on(struct pk_sessions *sessions, int fd, const char *peer)
{
    for (size_t i = 0; i < sessions->n; i++) {
        if (sessions->slots[i].fd == fd && strcmp(sessions->slots[i].peer, peer) == 0) {
            return &sessions->slots[i];
        }
    }
    return NULL;
}

static void look_at(struct child *child, int fd, int64_t now_ms)
{
    struct tcp_info info;
    socklen_t len = sizeof info;
    char peer[PK_PEER_SIZE];
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0 ||
        info.tcpi_state == TCP_LISTENING || info.tcpi_bytes_received < STRANGER_SLACK ||
        !pk_watch_peer(fd, peer)) {
        return;
    }
    struct pk_session *session = session_on(&child->sessions, fd, peer);
    uint64_t allowed = STRANGER_SLACK;
    if (session) {
        allowed = session->bytes_seen + session->bytes_seen / 8 + SESSION_SLACK +
                  (uint64_t)(now_ms - session->hello_ms) / 1000 * PING_BYTES_S;
    }
    if (info.tcpi_bytes_received <= allowed) {
        return;
    }
    child->stats.overgrown++;
    (void)shutdown(fd, SHUT_RDWR); /* it was looked at in this very moment: the number is right */
    if (session) {
        pk_peer_offence(child, session->sensor, session->tenant, peer, PK_OFFENCE_FLOOD, true);
    } else {
        pk_peer_offence(child, 0, 0, peer, PK_OFFENCE_FLOOD, true);
    }
}

void pk_watch_connections(struct child *child, int64_t now_ms)
{
    if (now_ms < child->next_watch_ms) {
        return;
    }
    child->next_watch_ms = now_ms + WATCH_MS;
    uint64_t rss = resident_bytes();
    if (rss < child->watched_rss + GROWTH_BYTES) {
        child->watched_rss = rss < child->watched_rss ? rss : child->watched_rss;
        return;
    }
    child->watched_rss = rss;
    DIR *folder = opendir("/proc/self/fd");
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        if (entry->d_name[0] != '.') {
            look_at(child, (int)strtol(entry->d_name, NULL, 10), now_ms);
        }
    }
    if (folder) {
        closedir(folder);
    }
}

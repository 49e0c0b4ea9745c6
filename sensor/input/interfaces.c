/* The set is one epoll descriptor over the rings and a netlink socket. A netlink message only says "look again"; what there is is always read afresh, so that a lost
 * message (the socket's buffer is small on purpose) costs no more than the next look, at most five seconds later. */
#include "input/interfaces.h"

#include <errno.h>
#include <fnmatch.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "picket/clock.h"
#include "picket/log.h"

#include "privileges.h"

enum {
    LOOK_MS = 5000,
    COUNT_MS = 1000,
    RETRY_FIRST_MS = 1000,
    RETRY_MAX_MS = 30000,
    NETLINK = PK_STATS_MAX_INTERFACES, /* their numbers among the epoll events */
    TIMER,
    N_EVENTS,
    FUTURE_US =
        1000000, /* a packet so far ahead of the clock was stamped before the clock stepped back: it does not wait */
};

struct slot {
    bool is_used, is_pattern; /* is_pattern: came by a pattern, goes with its interface */
    char name[IF_NAMESIZE];
    unsigned ifindex; /* while open */
    struct pk_live *live;
    enum pk_interface_state state;
    int64_t retry_ms, wait_ms;
    uint64_t dropped_before, iface_dropped_before; /* by earlier openings */
    uint64_t packets_before;
};

struct pk_interfaces {
    struct slot slots[PK_STATS_MAX_INTERFACES];
    char (*names)[IF_NAMESIZE];
    size_t n_names;
    struct pk_ports ports;
    size_t ring_bytes;
    unsigned n_fanout;
    struct pk_stats *stats;
    pk_live_cb on_packet;
    void *arg;
    int epoll_fd, netlink_fd, timer_fd;
    bool
        is_merging; /* several are open: a timer wakes the set, not the rings, which always hold something that waits */
    bool must_look;
    uint64_t gone_dropped, gone_iface_dropped;    /* of slots used again */
    int64_t next_look_ms, next_count_ms, left_ms; /* left_ms: when nothing was left; -1 */
};

bool pk_interfaces_is_pattern(const char *name)
{
    return strpbrk(name, "*?[") != NULL;
}

static struct pk_interface_stats *stats_of(struct pk_interfaces *set, const struct slot *slot)
{
    return &set->stats->interfaces[slot - set->slots];
}

/* --- one interface --- */

static void set_state(struct pk_interfaces *set, struct slot *slot, enum pk_interface_state state)
{
    slot->state = state;
    stats_of(set, slot)->state = state;
}

static void count(struct pk_interfaces *set, struct slot *slot, struct pk_live_counts *out_counts)
{
    struct pk_interface_stats *stats = stats_of(set, slot);
    pk_live_counts(slot->live, out_counts);
    stats->kernel_dropped = slot->dropped_before + out_counts->dropped;
    stats->iface_dropped = slot->iface_dropped_before + out_counts->iface_dropped;
}

static void close_slot(struct pk_interfaces *set, struct slot *slot)
{
    struct pk_interface_stats *stats = stats_of(set, slot);
    struct pk_live_counts counts;
    if (slot->live) {
        count(set, slot, &counts);
        uint64_t known = stats->packets - slot->packets_before + counts.dropped;
        stats->kernel_unread += counts.received > known ? counts.received - known : 0;
        pk_live_close(slot->live); /* its descriptor leaves the epoll set with it */
        slot->live = NULL;
    }
}

static void retry_later(struct slot *slot, int64_t now_ms)
{
    slot->wait_ms = slot->wait_ms ? slot->wait_ms * 2 : RETRY_FIRST_MS;
    slot->wait_ms = slot->wait_ms > RETRY_MAX_MS ? RETRY_MAX_MS : slot->wait_ms;
    slot->retry_ms = now_ms + slot->wait_ms;
}

static enum pk_interface_state state_of(enum pk_live_result result)
{
    switch (result) {
    case PK_LIVE_OK:
        return PK_INTERFACE_OPEN;
    case PK_LIVE_DOWN:
        return PK_INTERFACE_DOWN;
    case PK_LIVE_GONE:
        return PK_INTERFACE_GONE;
    case PK_LIVE_DENIED:
        return PK_INTERFACE_DENIED;
    case PK_LIVE_FAILED:
        break;
    }
    return PK_INTERFACE_FAILED;
}

/* Says it once for each change of state, not at every try. */
static void lose(
    struct pk_interfaces *set, struct slot *slot, enum pk_live_result result, const char *error)
{
    enum pk_interface_state state = state_of(result);
    if (slot->state != state) {
        char escaped[PK_CAPTURE_ERROR_SIZE];
        pk_warn("capture", "interface=%s reason=\"%s\" waiting for it", slot->name,
            pk_log_escape(error, strlen(error), escaped, sizeof escaped));
    }
    close_slot(set, slot);
    set_state(set, slot, state);
    retry_later(slot, pk_clock_mono_ms());
}

static enum pk_live_result open_slot(
    struct pk_interfaces *set, struct slot *slot, char out_error[PK_CAPTURE_ERROR_SIZE])
{
    struct pk_live_options options = {
        .ring_bytes = set->ring_bytes,
        .ports = &set->ports,
        .interface = (uint16_t)(slot - set->slots),
        .n_fanout = set->n_fanout,
    };
    pk_privileges_net_raw(true);
    enum pk_live_result result = pk_live_open(slot->name, &options, &slot->live, out_error);
    pk_privileges_net_raw(false);
    if (result != PK_LIVE_OK) {
        slot->live = NULL;
        return result;
    }
    struct pk_interface_stats *stats = stats_of(set, slot);
    slot->ifindex = if_nametoindex(slot->name);
    slot->wait_ms = 0;
    slot->dropped_before = stats->kernel_dropped;
    slot->iface_dropped_before = stats->iface_dropped;
    slot->packets_before = stats->packets;
    snprintf(stats->link_type, sizeof stats->link_type, "%s", pk_live_link_name(slot->live));
    stats->openings++;
    set_state(set, slot, PK_INTERFACE_OPEN);
    pk_info("capture", "interface=%s state=open link_type=%s ring_mb=%zu", slot->name,
        stats->link_type, set->ring_bytes >> 20);
    return PK_LIVE_OK;
}

/* An open handle outlives its link (libpcap says nothing of it, and packets come again by themselves), so the interface is asked: administratively up, and by its operational
 * state (RFC 2863), which goes with the cable or the other end. One that cannot be asked keeps its state; `any` is never down. */
static void see_link(struct pk_interfaces *set, struct slot *slot)
{
    struct ifreq request = {0};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", slot->name);
    if (ioctl(set->netlink_fd, SIOCGIFFLAGS, &request) != 0) {
        return;
    }
    bool is_up = (request.ifr_flags & IFF_UP) && (request.ifr_flags & IFF_RUNNING);
    if (!is_up && slot->state == PK_INTERFACE_OPEN) {
        set_state(set, slot, PK_INTERFACE_DOWN);
        pk_warn("capture", "interface=%s link=down state=down: %s", slot->name,
            request.ifr_flags & IFF_UP ? "no carrier (the cable, or the other end)"
                                       : "it was set down");
    } else if (is_up && slot->state == PK_INTERFACE_DOWN) {
        set_state(set, slot, PK_INTERFACE_OPEN);
        pk_info("capture", "interface=%s link=up state=open", slot->name);
    }
}

static size_t read_slot(struct pk_interfaces *set, struct slot *slot, int64_t until_us)
{
    char error[PK_CAPTURE_ERROR_SIZE];
    size_t n = 0;
    enum pk_live_result result =
        pk_live_read(slot->live, PK_INTERFACES_READ, until_us, set->on_packet, set->arg, &n, error);
    stats_of(set, slot)->packets += n;
    if (result != PK_LIVE_OK) {
        lose(set, slot, result, error);
        set->must_look = true;
    }
    return n;
}

/* --- which there are --- */

static struct slot *find_slot(struct pk_interfaces *set, const char *name)
{
    for (size_t i = 0; i < PK_STATS_MAX_INTERFACES; i++) {
        if (set->slots[i].is_used && strcmp(set->slots[i].name, name) == 0) {
            return &set->slots[i];
        }
    }
    return NULL;
}

/* The place its counters are in, else one never used, else one of an interface that is gone: that one's counters stay in the sums only. */
static struct slot *free_slot(struct pk_interfaces *set, const char *name)
{
    struct slot *unused = NULL, *gone = NULL;
    for (size_t i = PK_STATS_MAX_INTERFACES; i-- > 0;) {
        const char *had = set->stats->interfaces[i].name;
        if (!set->slots[i].is_used && strcmp(had, name) == 0) {
            return &set->slots[i];
        }
        if (!set->slots[i].is_used) {
            *(had[0] ? &gone : &unused) = &set->slots[i];
        }
    }
    return unused ? unused : gone;
}

static struct slot *add_slot(struct pk_interfaces *set, const char *name, bool is_pattern)
{
    struct slot *slot = free_slot(set, name);
    if (!slot) {
        return NULL;
    }
    struct pk_interface_stats *stats = stats_of(set, slot);
    if (strcmp(stats->name, name) != 0) {
        set->gone_dropped += stats->kernel_dropped;
        set->gone_iface_dropped += stats->iface_dropped;
        *stats = (struct pk_interface_stats){0};
    }
    *slot = (struct slot){.is_used = true, .is_pattern = is_pattern};
    snprintf(slot->name, sizeof slot->name, "%s", name);
    snprintf(stats->name, sizeof stats->name, "%s", name);
    return slot;
}

static void drop_slot(struct pk_interfaces *set, struct slot *slot)
{
    close_slot(set, slot);
    set_state(set, slot, PK_INTERFACE_GONE);
    slot->is_used = false;
}

/* Which name or pattern wants this interface; -1: none. */
static int wanted(const struct pk_interfaces *set, const char *name)
{
    int found = -1;
    for (size_t i = 0; i < set->n_names; i++) {
        if (strcmp(set->names[i], name) == 0) {
            return (int)i;
        }
        if (found < 0 && fnmatch(set->names[i], name, 0) == 0) {
            found = (int)i;
        }
    }
    return found;
}

static unsigned index_in(const struct if_nameindex *list, const char *name)
{
    for (; list && list->if_index != 0; list++) {
        if (strcmp(list->if_name, name) == 0) {
            return list->if_index;
        }
    }
    return strcmp(name, "any") == 0 ? UINT32_MAX : 0; /* of libpcap, not of the kernel */
}

/* One wakes the set by its ring; with several a timer does. */
static void set_wakers(struct pk_interfaces *set)
{
    size_t n_open = pk_interfaces_n_open(set);
    set->is_merging = n_open > 1;
    for (size_t i = 0; i < PK_STATS_MAX_INTERFACES; i++) {
        if (set->slots[i].live) {
            struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
            int fd = pk_live_fd(set->slots[i].live); /* may be there already, or not be there */
            (void)epoll_ctl(
                set->epoll_fd, set->is_merging ? EPOLL_CTL_DEL : EPOLL_CTL_ADD, fd, &event);
        }
    }
    const struct timespec turn = {.tv_nsec = PK_INTERFACES_TURN_MS * 1000000L};
    const struct itimerspec timer = {.it_interval = turn, .it_value = turn}, never = {0};
    (void)timerfd_settime(set->timer_fd, 0, set->is_merging ? &timer : &never, NULL);
}

static void look_at(struct pk_interfaces *set, struct slot *slot, unsigned ifindex, int64_t now_ms)
{
    char error[PK_CAPTURE_ERROR_SIZE];
    bool is_there = ifindex != 0;
    if (slot->live && ifindex != UINT32_MAX && ifindex != slot->ifindex) {
        snprintf(error, sizeof error, is_there ? "it was made anew" : "it vanished");
        lose(set, slot, PK_LIVE_GONE, error);
        slot->retry_ms = now_ms;
    }
    if (slot->live) {
        see_link(set, slot);
        return;
    }
    if (!is_there) {
        if (slot->is_pattern) {
            pk_info("capture", "interface=%s state=gone", slot->name);
            drop_slot(set, slot);
        } else if (slot->state != PK_INTERFACE_GONE) {
            lose(set, slot, PK_LIVE_GONE, "it vanished");
        }
        return;
    }
    if (now_ms >= slot->retry_ms) {
        enum pk_live_result result = open_slot(set, slot, error);
        if (result != PK_LIVE_OK) {
            lose(set, slot, result, error);
        } else {
            see_link(set, slot);
        }
    }
}

static void look(struct pk_interfaces *set, int64_t now_ms)
{
    struct if_nameindex *list = if_nameindex();
    set->next_look_ms = now_ms + LOOK_MS;
    bool is_news = set->must_look;
    set->must_look = false;
    for (const struct if_nameindex *one = list; one && one->if_index != 0; one++) {
        int name = find_slot(set, one->if_name) ? -1 : wanted(set, one->if_name);
        if (name >= 0 && !add_slot(set, one->if_name, pk_interfaces_is_pattern(set->names[name])) &&
            is_news) {
            set->stats->interfaces_refused++;
            pk_warn("capture", "interface=%s refused: %d are captured already", one->if_name,
                PK_STATS_MAX_INTERFACES);
        }
    }
    for (size_t i = 0; list && i < PK_STATS_MAX_INTERFACES; i++) {
        struct slot *slot = &set->slots[i];
        if (slot->is_used) {
            if (is_news && slot->state != PK_INTERFACE_DENIED &&
                slot->state != PK_INTERFACE_FAILED) {
                slot->retry_ms = now_ms;
            }
            look_at(set, slot, index_in(list, slot->name), now_ms);
        }
    }
    if (list) {
        if_freenameindex(list);
    }
    set_wakers(set);
}

/* --- the source --- */

static void drain_netlink(struct pk_interfaces *set)
{
    char scrap[4096];
    ssize_t n;
    do {
        n = recv(set->netlink_fd, scrap, sizeof scrap, MSG_DONTWAIT);
        set->must_look |= n > 0 || errno == ENOBUFS;
    } while (n > 0 || (n < 0 && (errno == ENOBUFS || errno == EINTR)));
}

/* The slot with the oldest head, and in out_until_us how far it may be read: to the next oldest head or the limit. NULL: nothing is due. */
static struct slot *oldest_slot(struct pk_interfaces *set, int64_t now_us, int64_t *out_until_us)
{
    struct slot *oldest = NULL;
    int64_t oldest_us = INT64_MAX, next_us = now_us - PK_INTERFACES_HOLD_MS * INT64_C(1000);
    const int64_t limit_us = next_us;
    for (size_t i = 0; i < PK_STATS_MAX_INTERFACES; i++) {
        struct slot *slot = &set->slots[i];
        int64_t head_us = slot->live ? pk_live_held_us(slot->live) : INT64_MAX;
        if (head_us == INT64_MAX) {
            continue;
        }
        head_us = head_us > now_us + FUTURE_US ? INT64_MIN : head_us;
        if (head_us < oldest_us) {
            next_us = oldest_us < next_us ? oldest_us : next_us;
            oldest_us = head_us;
            oldest = slot;
        } else if (head_us < next_us) {
            next_us = head_us;
        }
    }
    if (!oldest || oldest_us > limit_us) {
        return NULL;
    }
    *out_until_us = oldest_us == INT64_MIN ? pk_live_held_us(oldest->live) : next_us;
    return oldest;
}

static size_t merge(struct pk_interfaces *set)
{
    int64_t now_us = pk_clock_wall_us(), until_us;
    size_t n_read = 0;
    for (size_t i = 0; i < PK_STATS_MAX_INTERFACES; i++) {
        if (set->slots[i].live) {
            (void)read_slot(set, &set->slots[i], INT64_MIN); /* only to have its head */
        }
    }
    struct slot *slot;
    while (n_read < PK_INTERFACES_READ && (slot = oldest_slot(set, now_us, &until_us))) {
        n_read += read_slot(set, slot, until_us);
    }
    return n_read;
}

static size_t read_set(void *self)
{
    struct pk_interfaces *set = self;
    struct epoll_event events[N_EVENTS];
    size_t n_read = 0;
    int n = epoll_wait(set->epoll_fd, events, N_EVENTS, 0);
    for (int i = 0; i < n; i++) {
        uint32_t which = events[i].data.u32;
        uint64_t expired;
        if (which == NETLINK) {
            drain_netlink(set);
        } else if (which == TIMER) {
            n_read += merge(set);
            if (n_read < PK_INTERFACES_READ) { /* else there is more: the timer stays due */
                ssize_t len = read(set->timer_fd, &expired, sizeof expired);
                (void)len;
            }
        } else if (set->slots[which].live) {
            n_read += read_slot(set, &set->slots[which], INT64_MAX);
        }
    }
    if (set->must_look) {
        look(set, pk_clock_mono_ms());
    }
    return n_read;
}

void pk_interfaces_count(struct pk_interfaces *set)
{
    struct pk_live_counts counts;
    uint64_t dropped = set->gone_dropped, iface_dropped = set->gone_iface_dropped;
    for (size_t i = 0; i < PK_STATS_MAX_INTERFACES; i++) {
        if (set->slots[i].live) {
            count(set, &set->slots[i], &counts);
        }
        dropped += set->stats->interfaces[i].kernel_dropped;
        iface_dropped += set->stats->interfaces[i].iface_dropped;
    }
    set->stats->kernel_dropped = dropped;
    set->stats->iface_dropped = iface_dropped;
}

/* Anything open, anything that exists and may come up, any pattern that may match tomorrow. */
static bool has_hope(const struct pk_interfaces *set)
{
    for (size_t i = 0; i < set->n_names; i++) {
        if (pk_interfaces_is_pattern(set->names[i])) {
            return true;
        }
    }
    for (size_t i = 0; i < PK_STATS_MAX_INTERFACES; i++) {
        const struct slot *slot = &set->slots[i];
        if (slot->is_used &&
            (slot->state == PK_INTERFACE_OPEN || slot->state == PK_INTERFACE_DOWN)) {
            return true;
        }
    }
    return false;
}

static bool tick_set(void *self, int64_t now_ms)
{
    struct pk_interfaces *set = self;
    bool is_due = set->must_look || now_ms >= set->next_look_ms;
    for (size_t i = 0; i < PK_STATS_MAX_INTERFACES && !is_due; i++) {
        const struct slot *slot = &set->slots[i];
        is_due = slot->is_used && !slot->live && slot->state != PK_INTERFACE_GONE &&
                 now_ms >= slot->retry_ms;
    }
    if (is_due) {
        look(set, now_ms);
    }
    if (now_ms >= set->next_count_ms) {
        set->next_count_ms = now_ms + COUNT_MS;
        pk_interfaces_count(set);
    }
    if (has_hope(set)) {
        set->left_ms = -1;
    } else if (set->left_ms < 0) {
        set->left_ms = now_ms;
    }
    return set->left_ms < 0 || now_ms - set->left_ms < PK_INTERFACES_LEFT_MS;
}

struct pk_source pk_interfaces_source(struct pk_interfaces *set)
{
    return (struct pk_source){.self = set, .fd = set->epoll_fd, .read = read_set, .tick = tick_set};
}

/* --- the set --- */

static pk_err take_names(struct pk_interfaces *set, const struct pk_interfaces_options *options,
    char out_error[PK_CAPTURE_ERROR_SIZE])
{
    if (options->n_names > PK_STATS_MAX_INTERFACES) {
        snprintf(out_error, PK_CAPTURE_ERROR_SIZE, "at most %d interfaces and patterns",
            PK_STATS_MAX_INTERFACES);
        return PK_ERR_LIMIT;
    }
    for (size_t i = 0; i < options->n_names; i++) {
        if (strlen(options->names[i]) >= IF_NAMESIZE) {
            snprintf(out_error, PK_CAPTURE_ERROR_SIZE,
                "%s: an interface's name has at most %d characters", options->names[i],
                IF_NAMESIZE - 1);
            return PK_ERR_LIMIT;
        }
    }
    char(*names)[IF_NAMESIZE] = calloc(options->n_names + 1, sizeof *names);
    if (!names) {
        snprintf(out_error, PK_CAPTURE_ERROR_SIZE, "out of memory");
        return PK_ERR_NOMEM;
    }
    for (size_t i = 0; i < options->n_names; i++) {
        snprintf(names[i], sizeof names[i], "%s", options->names[i]);
    }
    free(set->names);
    set->names = names;
    set->n_names = options->n_names;
    return PK_OK;
}

/* At the start a name that cannot be opened is a mistake to be told; later it is an interface that may come back. */
static pk_err open_names(struct pk_interfaces *set, char out_error[PK_CAPTURE_ERROR_SIZE])
{
    for (size_t i = 0; i < set->n_names; i++) {
        if (pk_interfaces_is_pattern(set->names[i]) || find_slot(set, set->names[i])) {
            continue;
        }
        struct slot *slot = add_slot(set, set->names[i], false);
        enum pk_live_result result = open_slot(set, slot, out_error);
        if (result == PK_LIVE_DOWN) {
            lose(set, slot, result, out_error);
        } else if (result != PK_LIVE_OK) {
            return result == PK_LIVE_DENIED ? PK_ERR_AUTH : PK_ERR_IO;
        }
    }
    set->must_look = true;
    look(set, pk_clock_mono_ms());
    for (size_t i = 0; i < PK_STATS_MAX_INTERFACES; i++) {
        if (set->slots[i].is_used && set->slots[i].state == PK_INTERFACE_DENIED) {
            snprintf(out_error, PK_CAPTURE_ERROR_SIZE,
                "%s: not allowed to capture; it needs the capability CAP_NET_RAW (setcap cap_net_raw+p, or start as root)",
                set->slots[i].name);
            return PK_ERR_AUTH;
        }
    }
    return PK_OK;
}

static bool open_descriptors(struct pk_interfaces *set)
{
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = NETLINK};
    struct epoll_event timer = {.events = EPOLLIN, .data.u32 = TIMER};
    set->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    set->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    set->netlink_fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    return set->epoll_fd >= 0 && set->netlink_fd >= 0 && set->timer_fd >= 0 &&
           epoll_ctl(set->epoll_fd, EPOLL_CTL_ADD, set->timer_fd, &timer) == 0 &&
           bind(set->netlink_fd, (const struct sockaddr *)&address, sizeof address) == 0 &&
           epoll_ctl(set->epoll_fd, EPOLL_CTL_ADD, set->netlink_fd, &event) == 0;
}

pk_err pk_interfaces_open(const struct pk_interfaces_options *options, struct pk_stats *stats,
    pk_live_cb on_packet, void *arg, struct pk_interfaces **out_set,
    char out_error[PK_CAPTURE_ERROR_SIZE])
{
    struct pk_interfaces *set = calloc(1, sizeof *set);
    if (!set) {
        snprintf(out_error, PK_CAPTURE_ERROR_SIZE, "out of memory");
        return PK_ERR_NOMEM;
    }
    set->epoll_fd = set->netlink_fd = set->timer_fd = -1;
    set->left_ms = -1;
    set->ports = options->ports;
    set->ring_bytes = options->ring_bytes;
    set->n_fanout = options->n_fanout;
    set->stats = stats;
    set->on_packet = on_packet;
    set->arg = arg;
    pk_err err = take_names(set, options, out_error);
    if (err == PK_OK && !open_descriptors(set)) {
        snprintf(
            out_error, PK_CAPTURE_ERROR_SIZE, "cannot watch the interfaces: %s", strerror(errno));
        err = PK_ERR_IO;
    }
    if (err == PK_OK) {
        err = open_names(set, out_error);
    }
    if (err != PK_OK) {
        pk_interfaces_close(set);
        return err;
    }
    *out_set = set;
    return PK_OK;
}

void pk_interfaces_close(struct pk_interfaces *set)
{
    if (!set) {
        return;
    }
    for (size_t i = 0; i < PK_STATS_MAX_INTERFACES; i++) {
        close_slot(set, &set->slots[i]);
    }
    pk_interfaces_count(set);
    if (set->netlink_fd >= 0) {
        close(set->netlink_fd);
    }
    if (set->timer_fd >= 0) {
        close(set->timer_fd);
    }
    if (set->epoll_fd >= 0) {
        close(set->epoll_fd);
    }
    free(set->names);
    free(set);
}

pk_err pk_interfaces_change(struct pk_interfaces *set, const struct pk_interfaces_options *options,
    char out_error[PK_CAPTURE_ERROR_SIZE])
{
    pk_err err = take_names(set, options, out_error);
    if (err != PK_OK) {
        return err;
    }
    bool has_new_ports = memcmp(&set->ports, &options->ports, sizeof set->ports) != 0;
    set->ports = options->ports;
    for (size_t i = 0; i < PK_STATS_MAX_INTERFACES; i++) {
        struct slot *slot = &set->slots[i];
        int name = slot->is_used ? wanted(set, slot->name) : -1;
        if (slot->is_used && name < 0) {
            pk_info("capture", "interface=%s state=closed: not configured any more", slot->name);
            drop_slot(set, slot);
        } else if (slot->is_used) {
            slot->is_pattern = pk_interfaces_is_pattern(set->names[name]);
        }
        if (slot->live && has_new_ports &&
            pk_live_set_ports(slot->live, &set->ports, out_error) != PK_LIVE_OK) {
            lose(set, slot, PK_LIVE_FAILED, out_error);
            err = PK_ERR_IO;
        }
    }
    for (size_t i = 0; i < set->n_names; i++) {
        if (!pk_interfaces_is_pattern(set->names[i]) && !find_slot(set, set->names[i])) {
            (void)add_slot(set, set->names[i], false); /* full: the look below says so */
        }
    }
    set->must_look = true;
    look(set, pk_clock_mono_ms());
    return err;
}

size_t pk_interfaces_n_open(const struct pk_interfaces *set)
{
    size_t n = 0;
    for (size_t i = 0; i < PK_STATS_MAX_INTERFACES; i++) {
        n += set->slots[i].live != NULL;
    }
    return n;
}

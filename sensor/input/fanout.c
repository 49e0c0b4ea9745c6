/* A group lasts in the kernel as long as a member, and so does its entry here. */
#include "input/fanout.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

/* The hash is the flow's, the same for both directions; DEFRAG brings all fragments of a datagram to one member. */
static const uint32_t how = PACKET_FANOUT_HASH | PACKET_FANOUT_FLAG_DEFRAG;

struct pk_fanout {
    struct pk_fanout *next;
    unsigned ifindex;
    unsigned n_members;
    uint16_t id;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct pk_fanout *groups; /* at most one a member */

/* Older kernels take the flag without a word and make the group 0. */
static bool has_unique_ids(void)
{
    struct utsname system;
    unsigned major = 0, minor = 0;
    return uname(&system) == 0 && sscanf(system.release, "%u.%u", &major, &minor) == 2 &&
           (major > 4 || (major == 4 && minor >= 12));
}

static bool join(int fd, uint32_t id, uint32_t flags)
{
    uint32_t value = id | (how | flags) << 16;
    return setsockopt(fd, SOL_PACKET, PACKET_FANOUT, &value, sizeof value) == 0;
}

static bool found(int fd, struct pk_fanout *group)
{
    uint32_t value = 0;
    socklen_t size = sizeof value;
    if (!has_unique_ids()) {
        group->id = (uint16_t)((unsigned)getpid() << 6 ^ group->ifindex);
        return join(fd, group->id, 0);
    }
    if (!join(fd, 0, PACKET_FANOUT_FLAG_UNIQUEID) ||
        getsockopt(fd, SOL_PACKET, PACKET_FANOUT, &value, &size) != 0) {
        return false;
    }
    group->id = (uint16_t)value;
    return true;
}

static struct pk_fanout *new_group(int fd, unsigned ifindex)
{
    struct pk_fanout *group = calloc(1, sizeof *group);
    if (!group) {
        return NULL;
    }
    group->ifindex = ifindex;
    if (!found(fd, group)) {
        int reason = errno;
        free(group);
        errno = reason;
        return NULL;
    }
    group->next = groups;
    groups = group;
    return group;
}

struct pk_fanout *pk_fanout_join(int fd, unsigned ifindex)
{
    pthread_mutex_lock(&lock);
    struct pk_fanout *group = groups;
    while (group && group->ifindex != ifindex) {
        group = group->next;
    }
    if (!group) {
        group = new_group(fd, ifindex);
    } else if (!join(fd, group->id, 0)) {
        group = NULL;
    }
    if (group) {
        group->n_members++;
    }
    pthread_mutex_unlock(&lock);
    return group;
}

void pk_fanout_leave(struct pk_fanout *group)
{
    if (!group) {
        return;
    }
    pthread_mutex_lock(&lock);
    if (--group->n_members == 0) {
        struct pk_fanout **at = &groups;
        while (*at != group) {
            at = &(*at)->next;
        }
        *at = group->next;
        free(group);
    }
    pthread_mutex_unlock(&lock);
}

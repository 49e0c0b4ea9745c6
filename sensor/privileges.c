/* setgroups, setgid, setuid in that order, then a look whether it worked; capabilities by the system calls themselves. Landlock and seccomp are in confine.c. */
#include "privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    NET_RAW_BIT = 1 << CAP_NET_RAW
};

static bool has_become;

static bool set_capabilities(uint32_t permitted, uint32_t effective)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{.permitted = permitted, .effective = effective}};
    return syscall(SYS_capset, &header, data) == 0;
}

static uint32_t permitted_net_raw(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};
    return syscall(SYS_capget, &header, data) == 0 ? data[0].permitted & NET_RAW_BIT : 0;
}

const char *pk_privileges_user(const char *user)
{
    return user ? user : getpwnam("picket") ? "picket" : "nobody";
}

static const struct passwd *entry_of(const char *user, char *out_error, size_t size)
{
    const char *name = pk_privileges_user(user);
    const struct passwd *entry = getpwnam(name);
    if (!entry) {
        snprintf(out_error, size,
            "there is no user \"%s\" to become; make it, or name another (--user, capture.user)",
            name);
    }
    return entry;
}

bool pk_privileges_give_folder(const char *user, const char *folder, char *out_error, size_t size)
{
    if (geteuid() != 0) {
        return true;
    }
    const struct passwd *entry = entry_of(user, out_error, size);
    if (!entry) {
        return false;
    }
    struct stat status;
    if (lstat(folder, &status) != 0) {
        if (mkdir(folder, 0700) != 0 || chown(folder, entry->pw_uid, entry->pw_gid) != 0) {
            snprintf(out_error, size, "%s: cannot be made for user \"%s\": %s", folder,
                entry->pw_name, strerror(errno));
            return false;
        }
        return true;
    }
    if (status.st_uid != entry->pw_uid) {
        snprintf(out_error, size,
            "%s: belongs to user %u, and the sensor becomes \"%s\" (%u); chown -R %s %s, or set capture.user",
            folder, (unsigned)status.st_uid, entry->pw_name, (unsigned)entry->pw_uid,
            entry->pw_name, folder);
        return false;
    }
    return true;
}

static bool change_user(const struct passwd *entry)
{
    /* Nothing that is run from here can have a capability again, whoever owns the file. */
    for (unsigned long capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0;
         capability++) {
        (void)prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
    }
    return prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0 && setgroups(0, NULL) == 0 &&
           setresgid(entry->pw_gid, entry->pw_gid, entry->pw_gid) == 0 &&
           setresuid(entry->pw_uid, entry->pw_uid, entry->pw_uid) == 0;
}

bool pk_privileges_become(const char *user, char *out_error, size_t size)
{
    if (geteuid() == 0) {
        const struct passwd *entry = entry_of(user, out_error, size);
        if (!entry) {
            return false;
        }
        if (entry->pw_uid != 0 && !change_user(entry)) {
            snprintf(
                out_error, size, "cannot become user \"%s\": %s", entry->pw_name, strerror(errno));
            return false;
        }
    }
    bool is_root = geteuid() == 0;
    if (!set_capabilities(permitted_net_raw(), 0) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        (!is_root && setuid(0) == 0)) {
        snprintf(out_error, size, "cannot give up privileges: %s", strerror(errno));
        return false;
    }
    has_become = true;
    return true;
}

void pk_privileges_net_raw(bool is_raised)
{
    uint32_t permitted = has_become ? permitted_net_raw() : 0;
    if (permitted) {
        (void)set_capabilities(permitted, is_raised ? permitted : 0);
    }
}

/* setgroups, setgid, setuid in that order, then a look whether it worked. Sandboxing (seccomp, Landlock) joins here later. */
#include "privileges.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

bool pk_privileges_drop(const char *user, char *out_error, size_t error_size)
{
    if (geteuid() == 0) {
        const char *name = user ? user : "nobody";
        const struct passwd *entry = getpwnam(name);
        if (!entry) {
            snprintf(out_error, error_size,
                "there is no user \"%s\" to become; make it or name another with --user", name);
            return false;
        }
        if (entry->pw_uid != 0 && (setgroups(0, NULL) != 0 || setgid(entry->pw_gid) != 0 ||
                                      setuid(entry->pw_uid) != 0 || setuid(0) == 0)) {
            snprintf(out_error, error_size, "cannot become user \"%s\": %s", name, strerror(errno));
            return false;
        }
    }
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return true;
}

/* The second half of privileges.h: Landlock for files and TCP, seccomp for system calls.
 *
 * Seccomp is an allow-list. A call that is not on it fails with EPERM and the sensor lives: a sensor that dies of a call nobody foresaw is the blind spot an adversary would like,
 * and a refused call gains him nothing. clone3 fails with ENOSYS, because glibc then falls back to clone, whose flags a filter can look at; only threads pass.
 * Landlock is spoken to directly: Debian 12's headers know its first version only. */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "privileges.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED 1
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED 0
#endif

/* --- Landlock --- */

#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (1ULL << 13)
#endif
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif
#ifndef LANDLOCK_ACCESS_FS_IOCTL_DEV
#define LANDLOCK_ACCESS_FS_IOCTL_DEV (1ULL << 15)
#endif
#ifndef LANDLOCK_ACCESS_NET_BIND_TCP
#define LANDLOCK_ACCESS_NET_BIND_TCP    (1ULL << 0)
#define LANDLOCK_ACCESS_NET_CONNECT_TCP (1ULL << 1)
#endif
#ifndef LANDLOCK_SCOPE_SIGNAL
#define LANDLOCK_SCOPE_SIGNAL (1ULL << 1)
#endif

enum {
    RULE_PATH = 1,
    RULE_PORT = 2,
    ABI_REFER = 2,
    ABI_TRUNCATE = 3,
    ABI_TCP = 4,
    ABI_IOCTL = 5,
    ABI_SCOPE = 6
};

/* As linux/landlock.h of version 6 has them. */
struct ruleset {
    uint64_t fs, net, scoped;
};
struct port_rule {
    uint64_t access, port;
};

static const uint64_t FILE_READ = LANDLOCK_ACCESS_FS_READ_FILE;
static const uint64_t FOLDER_READ = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;

static uint64_t all_fs(int abi)
{
    uint64_t all = (1ULL << 13) - 1; /* version 1: from EXECUTE to MAKE_SYM */
    all |= abi >= ABI_REFER ? LANDLOCK_ACCESS_FS_REFER : 0;
    all |= abi >= ABI_TRUNCATE ? LANDLOCK_ACCESS_FS_TRUNCATE : 0;
    all |= abi >= ABI_IOCTL ? LANDLOCK_ACCESS_FS_IOCTL_DEV : 0;
    return all;
}

static uint64_t folder_write(int abi)
{
    return FOLDER_READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |
           LANDLOCK_ACCESS_FS_REMOVE_FILE | (abi >= ABI_TRUNCATE ? LANDLOCK_ACCESS_FS_TRUNCATE : 0);
}

static bool allow_path(int ruleset, const char *path, uint64_t access)
{
    struct stat status;
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0) {
        return true; /* not there: nothing to allow */
    }
    if (fstat(fd, &status) == 0 && !S_ISDIR(status.st_mode)) {
        access &= ~(uint64_t)(LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
                              LANDLOCK_ACCESS_FS_REMOVE_FILE);
    }
    struct landlock_path_beneath_attr rule = {.allowed_access = access, .parent_fd = fd};
    bool is_good = syscall(SYS_landlock_add_rule, ruleset, RULE_PATH, &rule, 0) == 0;
    close(fd);
    return is_good;
}

/* What libc reads to resolve a name, and libpcap to count what an interface dropped. */
static const char *const always_readable[] = {
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/ld.so.cache",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/sys/class/net",
    "/sys/devices",
    "/dev/urandom",
};

static bool add_rules(int ruleset, const struct pk_privileges_rules *rules, int abi)
{
    bool is_good = true;
    for (size_t i = 0; i < rules->n_writable; i++) {
        is_good = is_good && allow_path(ruleset, rules->writable[i], folder_write(abi));
    }
    for (size_t i = 0; i < rules->n_readable; i++) {
        is_good = is_good && allow_path(ruleset, rules->readable[i], FOLDER_READ);
    }
    for (size_t i = 0; i < sizeof always_readable / sizeof *always_readable; i++) {
        is_good = is_good && allow_path(ruleset, always_readable[i], FOLDER_READ);
    }
    for (size_t i = 0; i < rules->n_tcp_ports && abi >= ABI_TCP; i++) {
        struct port_rule rule = {
            .access = LANDLOCK_ACCESS_NET_CONNECT_TCP, .port = rules->tcp_ports[i]};
        is_good = is_good && syscall(SYS_landlock_add_rule, ruleset, RULE_PORT, &rule, 0) == 0;
    }
    return is_good && allow_path(ruleset, "/dev/null", FILE_READ | LANDLOCK_ACCESS_FS_WRITE_FILE);
}

/* The version the kernel has, 0 without Landlock, -1 when it refuses. */
static int start_landlock(const struct pk_privileges_rules *rules)
{
    long abi =
        syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 1) {
        return 0;
    }
    struct ruleset attributes = {
        .fs = all_fs((int)abi),
        .net = LANDLOCK_ACCESS_NET_BIND_TCP | LANDLOCK_ACCESS_NET_CONNECT_TCP,
        .scoped = LANDLOCK_SCOPE_SIGNAL,
    };
    size_t size = abi >= ABI_SCOPE ? sizeof attributes
                  : abi >= ABI_TCP ? 2 * sizeof(uint64_t)
                                   : sizeof(uint64_t);
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attributes, size, 0);
    bool is_good = ruleset >= 0 && add_rules(ruleset, rules, (int)abi) &&
                   syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
    int saved = errno;
    if (ruleset >= 0) {
        close(ruleset);
    }
    errno = saved;
    return is_good ? (int)abi : -1;
}

/* --- seccomp --- */

/* What libc, libpcap, libzmq, libsodium and the spool call, on all architectures; names an architecture lacks are skipped. */
static const char *const allowed[] = {
    /* files */
    "read",
    "write",
    "readv",
    "writev",
    "pread64",
    "pwrite64",
    "close",
    "open",
    "openat",
    "stat",
    "lstat",
    "fstat",
    "fstat64",
    "newfstatat",
    "statx",
    "lseek",
    "_llseek",
    "access",
    "faccessat",
    "faccessat2",
    "readlink",
    "readlinkat",
    "getdents64",
    "unlink",
    "unlinkat",
    "rename",
    "renameat",
    "renameat2",
    "mkdir",
    "mkdirat",
    "fsync",
    "fdatasync",
    "sync_file_range",
    "ftruncate",
    "ftruncate64",
    "fallocate",
    "fadvise64",
    "fcntl",
    "fcntl64",
    "flock",
    "dup",
    "fchmod",
    "umask",
    "getcwd",
    "statfs",
    "fstatfs",
    /* waiting */
    "poll",
    "ppoll",
    "select",
    "pselect6",
    "epoll_create1",
    "epoll_ctl",
    "epoll_wait",
    "epoll_pwait",
    "epoll_pwait2",
    "eventfd2",
    "timerfd_settime",
    "pipe2",
    "futex",
    "futex_waitv",
    "nanosleep",
    "clock_nanosleep",
    "restart_syscall",
    /* sockets; which families: below */
    "connect",
    "bind",
    "accept4",
    "accept",
    "getsockname",
    "getpeername",
    "setsockopt",
    "getsockopt",
    "sendto",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "sendmmsg",
    "recvmmsg",
    "shutdown",
    "ioctl",
    /* memory; which protections: below */
    "brk",
    "munmap",
    "mremap",
    "madvise",
    "mlock",
    "munlock",
    "membarrier",
    /* the process and its threads */
    "exit",
    "exit_group",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sigreturn",
    "sigaltstack",
    "rt_sigtimedwait",
    "tgkill",
    "gettid",
    "getpid",
    "getppid",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "set_robust_list",
    "get_robust_list",
    "set_tid_address",
    "rseq",
    "sched_yield",
    "sched_getaffinity",
    "sched_getparam",
    "sched_getscheduler",
    "sched_setscheduler",
    "sched_get_priority_max",
    "sched_get_priority_min", /* libzmq sets its threads to the default */

    "getrusage",
    "times",
    "capget",
    "capset",
    "arch_prctl",
    "prlimit64",
    "getrlimit",
    "uname",
    "sysinfo",
    "getcpu",
    /* time and chance */
    "clock_gettime",
    "clock_gettime64",
    "clock_getres",
    "gettimeofday",
    "time",
    "getrandom",
};

static bool allow(scmp_filter_ctx filter, const char *name, unsigned n, struct scmp_arg_cmp when)
{
    int number = seccomp_syscall_resolve_name(name);
    if (number == __NR_SCMP_ERROR) {
        return true;
    }
    int result = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, n, &when);
    return result == 0 || result == -EDOM; /* EDOM: this architecture has no such call */
}

static bool fill_filter(scmp_filter_ctx filter)
{
    static const int families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET};
    static const char *const mappings[] = {"mmap", "mmap2"};
    const unsigned both = PROT_WRITE | PROT_EXEC;
    const unsigned one_of_both[] = {0, PROT_WRITE, PROT_EXEC};
    const struct scmp_arg_cmp none = {0};
    bool is_good = true;
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++) {
        is_good = is_good && allow(filter, allowed[i], 0, none);
    }
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        is_good = is_good &&
                  allow(filter, "socket", 1, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i], 0));
    }
    /* Memory is writable or executable, never both; what was written is never made executable. */
    for (size_t i = 0; i < 2; i++) {
        for (size_t k = 0; k < 3; k++) {
            is_good = is_good && allow(filter, mappings[i], 1,
                                     SCMP_A2(SCMP_CMP_MASKED_EQ, both, one_of_both[k]));
        }
    }
    return is_good && allow(filter, "mprotect", 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)) &&
           allow(filter, "clone", 1, SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD)) &&
           allow(filter, "prctl", 1, SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME, 0)) &&
           seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0) == 0;
}

static bool start_seccomp(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!filter) {
        errno = ENOMEM;
        return false;
    }
    bool is_good = fill_filter(filter);
    int result = is_good ? seccomp_load(filter) : -EINVAL;
    seccomp_release(filter);
    errno = -result;
    return result == 0;
}

bool pk_privileges_confine(const struct pk_privileges_rules *rules,
    struct pk_privileges_done *out_done, char *out_error, size_t size)
{
    struct pk_privileges_done done = {.has_seccomp = !IS_SANITIZED};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        snprintf(out_error, size, "cannot forbid new privileges: %s", strerror(errno));
        return false;
    }
    done.landlock_abi = start_landlock(rules);
    if (done.landlock_abi < 0) {
        snprintf(out_error, size, "Landlock refuses: %s; sandbox: false goes on without it",
            strerror(errno));
        return false;
    }
    if (done.has_seccomp && !start_seccomp()) {
        snprintf(out_error, size, "seccomp refuses: %s; sandbox: false goes on without it",
            strerror(errno));
        return false;
    }
    *out_done = done;
    return true;
}

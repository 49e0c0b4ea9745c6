/* The core's side of the ingest child: start, stop.
 *
 * posix_spawn of this very program and not a bare fork: the core has threads, and a fork of a process with threads may only exec. The address
 * space of the child is limited, because libzmq accepts messages of any number of frames before the application sees one (docs/PROTOCOL.md s9). */
#include "ingest.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "picket/clock.h"

enum {
    CHILD_FD = 3,
    STOP_WAIT_MS = 2000,
    CORE_QUEUE_BYTES = 64 << 20
};

/* glibc's posix_spawn has no resource limits: prlimit on the child right after the start, before it gets its setup and so before it
 * opens a socket. */
static pk_err limit_memory(pid_t pid, uint64_t bytes)
{
    struct rlimit limit = {.rlim_cur = bytes, .rlim_max = bytes};
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    (void)pid; /* sanitizers reserve terabytes of address space */
    (void)limit;
    return PK_OK;
#else
    return bytes == 0 || prlimit(pid, RLIMIT_AS, &limit, NULL) == 0 ? PK_OK : PK_ERR_IO;
#endif
}

pk_err pk_ingest_start(
    const struct pk_link_setup *setup, uint64_t memory_limit_bytes, struct pk_ingest *out_ingest)
{
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
        return PK_ERR_IO;
    }
    pid_t pid = -1;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setpgroup(
        &attributes, 0); /* Ctrl-C reaches the core, which stops the child in order */
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
    int failed = 0;
    if (fds[1] == CHILD_FD) { /* dup2 onto itself would leave close-on-exec set */
        failed = fcntl(fds[1], F_SETFD, 0) != 0;
    } else {
        failed = posix_spawn_file_actions_adddup2(&actions, fds[1], CHILD_FD) != 0;
    }
    char program[] = "picket-aggregator", command[] = "ingest";
    char *argv[] = {program, command, NULL};
    failed =
        failed || posix_spawn(&pid, "/proc/self/exe", &actions, &attributes, argv, environ) != 0;
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    close(fds[1]);
    if (failed) {
        close(fds[0]);
        return PK_ERR_IO;
    }
    *out_ingest = (struct pk_ingest){.pid = pid};
    pk_err err = pk_link_init(&out_ingest->link, fds[0], CORE_QUEUE_BYTES);
    if (err == PK_OK) {
        err = limit_memory(pid, memory_limit_bytes);
    }
    if (err == PK_OK) {
        err = pk_link_send(&out_ingest->link, PK_LINK_SETUP, setup, sizeof *setup, NULL, 0);
    }
    if (err != PK_OK) {
        pk_ingest_stop(out_ingest);
    }
    return err;
}

void pk_ingest_stop(struct pk_ingest *ingest)
{
    if (ingest->pid > 0) {
        (void)pk_link_send(&ingest->link, PK_LINK_STOP, NULL, 0, NULL,
            0); /* it may be gone: then waitpid says so */
        int64_t deadline_ms = pk_clock_mono_ms() + STOP_WAIT_MS;
        while (waitpid(ingest->pid, NULL, WNOHANG) == 0) {
            if (pk_clock_mono_ms() > deadline_ms) {
                kill(ingest->pid, SIGKILL);
                (void)waitpid(ingest->pid, NULL, 0);
                break;
            }
            usleep(10000);
        }
        ingest->pid = 0;
        pk_link_done(&ingest->link);
    }
}

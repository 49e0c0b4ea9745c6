/* Giving up what the sensor does not need: first the user (become), once everything is open the rest of the system (confine).
 *
 * What is kept for good: CAP_NET_RAW in the permitted set, raised for the moment in which an interface is opened again (docs/decisions/0003-opening-an-interface-again.md). Call before
 * threads are started; they inherit. Edge. */
#ifndef SENSOR_PRIVILEGES_H
#define SENSOR_PRIVILEGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PK_PRIVILEGES_MAX_PATHS = 80,
    PK_PRIVILEGES_MAX_PORTS = 24,
    PK_PRIVILEGES_ERROR_SIZE = 512
};

/* The user that root becomes: `user`, or when it is NULL the user picket where there is one, else nobody. */
const char *pk_privileges_user(const char *user);

/* When root: makes the folder for that user if it is not there; false with the sentence when it belongs to somebody else. Otherwise nothing. */
bool pk_privileges_give_folder(const char *user, const char *folder, char *out_error, size_t size);

/* When root becomes `user` (as above) with no way back; in any case no capability is left but CAP_NET_RAW, permitted and not effective, and no program run from here can
 * gain any. False with the sentence. */
bool pk_privileges_become(const char *user, char *out_error, size_t size);

/* Raises CAP_NET_RAW in this thread, or lowers it again. Without effect when it is not permitted, or before pk_privileges_become. */
void pk_privileges_net_raw(bool is_raised);

/* What stays reachable. Paths that do not exist are left out. All borrowed. */
struct pk_privileges_rules {
    const char
        *writable[PK_PRIVILEGES_MAX_PATHS]; /* folders: everything below may be made and changed */
    size_t n_writable;
    const char *readable[PK_PRIVILEGES_MAX_PATHS]; /* files, or folders with all below */
    size_t n_readable;
    uint16_t tcp_ports[PK_PRIVILEGES_MAX_PORTS]; /* that may be connected to */
    size_t n_tcp_ports;
};

/* What of it the kernel could do. */
struct pk_privileges_done {
    int landlock_abi; /* 0: none; from 4 on it holds TCP too */
    bool has_seccomp; /* false in builds with a sanitizer, whose runtime needs more calls */
};

/* Landlock and seccomp. Called twice it only gets narrower. False with the sentence when the kernel has one of them and refuses. */
bool pk_privileges_confine(const struct pk_privileges_rules *rules,
    struct pk_privileges_done *out_done, char *out_error, size_t size);

#endif

/* The daemon's inside, shared by daemon.c and daemon_*.c, and by the ways to run it (run_daemon.c, run_ship.c, run_keys.c). Private; one a process.
 *
 * Who owns what: the main thread captures with the first worker, changes settings and talks to people; further workers, the uplink and the spool's sync have threads of their own. Statuses
 * are those of sysexits.h; EX_OK, or a line in the log says why not. */
#ifndef SENSOR_DAEMON_H
#define SENSOR_DAEMON_H

#include <limits.h>
#include <pthread.h>
#include <signal.h>

#include "picket/limits.h"

#include "settings.h"
#include "ship/spool.h"
#include "ship/uplink.h"
#include "worker.h"

struct daemon {
    struct pk_settings *settings; /* wanted by all workers */
    struct pk_settings *retired;  /* while a worker may still use them; NULL else */
    uint8_t client_key[PK_KEY_BYTES];
    bool has_client_key;
    uint8_t spool_key[PK_SPOOL_KEY_BYTES];            /* with uplink.spool_key */
    bool keeps_scope_in_clear;                        /* from before there was a key */
    struct pk_worker *workers[PK_CONFIG_MAX_THREADS]; /* the first runs in the main thread */
    pthread_t threads[PK_CONFIG_MAX_THREADS];
    unsigned n_workers, n_threads; /* threads started beside the main one */
    struct pk_worker_hooks hooks;  /* of those */
    struct pk_spool *spool;
    struct pk_spool_status spool_status; /* as last said */
    struct pk_uplink_options uplink;
    char sensor[PK_MAX_WIRE_TEXT + 1];
    char key_file[PATH_MAX], spool_folder[PATH_MAX];
    struct pk_queue queue;
    struct pk_uplink_counters uplink_counters;
    pthread_t uplink_thread, sync_thread;
    bool has_uplink_thread, has_sync_thread;
    int sync_stop_fd;
    int stop_fd; /* of the uplink */
    const char *config_path;
    struct pk_scope_box scopes; /* that the aggregator sends */
    struct pk_pushed pushed;    /* the last of them that could be used; version 0: none came yet */
};

/* daemon.c */
extern volatile sig_atomic_t daemon_stop_requested, daemon_reload_requested;
extern volatile int
    daemon_stop_event; /* the uplink's stop_fd once it may be stopped by a signal directly; -1: not yet */
void daemon_catch_signals(void);
/* Says a text from inside, and gives the status back. */
int daemon_fail(int status, const char *text);
/* Configuration, scope and keys: everything that must be right before anything is opened. */
int daemon_load(struct daemon *d, const char *path);
/* Says whose scope it is, and to the uplink which. */
void daemon_announce_scope(struct daemon *d);
int daemon_new_workers(struct daemon *d, unsigned n);
/* Prints the counters; safe on one that was only half opened. */
void daemon_close(struct daemon *d);

/* daemon_spool.c */
/* Spool and rings, and the workers' cores behind them. */
int daemon_open_core(struct daemon *d);
/* Spool and uplink are one for all workers; their counters go out with the first worker's. */
void daemon_copy_counters(struct daemon *d);
/* A thread makes the spool sure. */
bool daemon_start_sync(struct daemon *d);
void daemon_stop_sync(struct daemon *d);

/* daemon_uplink.c */
/* The uplink keeps copies, so that settings can go while it runs. */
void daemon_set_uplink(struct daemon *d);
/* Looks for a pair that is to be the next (rotate-key). False: there is none, or none that is new. */
bool daemon_take_next_key(struct daemon *d);
/* What the uplink found out while it ran: the next pair is the pair now. */
void daemon_settle_rotation(struct daemon *d);
bool daemon_start_uplink(struct daemon *d);
void daemon_stop_uplink(struct daemon *d);

/* daemon_reload.c: what is due each second in the main thread; the worker's hook */
void daemon_tick(void *arg, int64_t mono_ms);

/* daemon_confine.c: seccomp and Landlock, as far as they are there and wanted */
int daemon_confine(const struct daemon *d);

#endif

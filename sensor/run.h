/* The two ways a sensor runs: over files, or live until a signal. Edge: files, signals, clock, privileges. */
#ifndef SENSOR_RUN_H
#define SENSOR_RUN_H

#include "options.h"

/* `--read` and `--interface`: to the terminal or a .psp file. Exit status (sysexits). */
int pk_run_capture(const struct pk_options *options);
/* `--config`: capture, spool, uplink. */
int pk_run_daemon(const char *config_path);
/* `--config FILE --ship FILE.psp...`: ships files made by --write, ends when all is acknowledged. */
int pk_run_ship(const char *config_path, const char *const *paths, size_t n);
/* `--reread-ring`: ships what a new scope lets through of the local ring. */
int pk_run_reread(const char *config_path, int64_t since_us);
/* `check-config`. */
int pk_run_check_config(const char *config_path);
/* `rotate-key`: makes the pair that is to be the next; the daemon does the rest. */
int pk_run_rotate_key(const char *config_path);
/* `genkey`. */
int pk_run_genkey(const char *path);

#endif

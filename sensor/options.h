/* The command line of picket-sensor. */
#ifndef SENSOR_OPTIONS_H
#define SENSOR_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picket/observation.h"

#include "input/dnstap_listen.h"
#include "output.h"
#include "packet/packet.h"

enum pk_command {
    PK_COMMAND_CAPTURE, /* --read or --interface */
    PK_COMMAND_DAEMON,  /* --config FILE */
    PK_COMMAND_SHIP,    /* --config FILE --ship FILE.psp... */
    PK_COMMAND_REREAD,  /* --config FILE --reread-ring [--since T] */
    PK_COMMAND_CHECK_CONFIG,
    PK_COMMAND_GENKEY,
    PK_COMMAND_ROTATE_KEY, /* rotate-key --config FILE */
    PK_COMMAND_ENROLL,     /* enroll TOKEN [--config FOLDER] */
};

struct pk_options {
    enum pk_command command;
    const char **reads;      /* borrowed from argv; owned array */
    size_t n_reads;          /* of SHIP: the .psp files */
    const char **interfaces; /* names and patterns; borrowed from argv; owned array */
    size_t n_interfaces;
    struct pk_dnstap_settings dnstap; /* texts borrowed from argv */
    enum pk_output_mode output;
    const char *write;
    const char *site;
    const char *scope;
    const char *client_key;
    const char *sensor;
    const char *config;   /* DAEMON, CHECK_CONFIG */
    const char *key_file; /* GENKEY */
    const char *token; /* ENROLL, NULL: PICKET_TOKEN, "-": standard input; config is the folder */
    const char *user;
    enum pk_vantage vantage;
    uint32_t window_ms;
    int64_t since_us;    /* REREAD */
    int64_t window_rows; /* -1: the default */
    struct pk_ports ports;
    bool has_no_sandbox;
    bool shift_to_now; /* --now: a recorded capture is told as if it ended now */
};

enum {
    PK_OPTIONS_RUN = -1
};
/* Returns PK_OPTIONS_RUN, or the exit status with everything said (help, version, usage). */
int pk_options_parse(int argc, char **argv, struct pk_options *out_options);
void pk_options_done(struct pk_options *options);

#endif

/* picket-sensor: arguments, then one of the ways to run. */
#include <stdio.h>
#include <sysexits.h>

#include "picket/hash.h"
#include "picket/hide.h"

#include "options.h"
#include "run.h"
#include "ship/uplink_enrol.h"

int main(int argc, char **argv)
{
    struct pk_options options;
    pk_hide_memory();
    if (pk_hash_start() != PK_OK) {
        fputs("picket-sensor: the system gives no random numbers\n", stderr);
        return EX_OSERR;
    }
    int status = pk_options_parse(argc, argv, &options);
    if (status == PK_OPTIONS_RUN) {
        switch (options.command) {
        case PK_COMMAND_CAPTURE:
            status = pk_run_capture(&options);
            break;
        case PK_COMMAND_DAEMON:
            status = pk_run_daemon(options.config);
            break;
        case PK_COMMAND_SHIP:
            status = pk_run_ship(options.config, options.reads, options.n_reads);
            break;
        case PK_COMMAND_REREAD:
            status = pk_run_reread(options.config, options.since_us);
            break;
        case PK_COMMAND_CHECK_CONFIG:
            status = pk_run_check_config(options.config);
            break;
        case PK_COMMAND_ENROLL:
            status = pk_run_enroll(options.token, options.config);
            break;
        case PK_COMMAND_ROTATE_KEY:
            status = pk_run_rotate_key(options.config);
            break;
        case PK_COMMAND_GENKEY:
            status = pk_run_genkey(options.key_file);
            break;
        }
    }
    pk_options_done(&options);
    return status;
}

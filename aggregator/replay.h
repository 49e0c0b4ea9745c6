/* `picket-aggregator replay`: the detection engine over .psp files, with no server, or over stored activity (hunt.h). */
#ifndef AGGREGATOR_REPLAY_H
#define AGGREGATOR_REPLAY_H

/* argv[0] is "replay". Findings as JSON lines on standard output, every revision in order; counters as the last line of standard error. Exit status
 * (sysexits): EX_DATAERR when a file is refused, and then nothing of it was used. */
int pk_replay_main(int argc, char **argv);

#endif

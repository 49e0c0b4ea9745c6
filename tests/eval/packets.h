/* A cell as packets: one capture a site, so that dissecting, pairing and merging have their say too. */
#ifndef TESTS_EVAL_PACKETS_H
#define TESTS_EVAL_PACKETS_H

#include "attack.h"
#include "mix.h"
#include "plan.h"

/* Writes an hour of the cell's ground and the first seed of its attack, without flaws, as FOLDER/sNN.pcap for each site that sees anything,
 * FOLDER/scope.yaml and FOLDER/expected.json (what the engine finds in-process in the same traffic). Exit status. */
int ev_packets_main(const struct ev_world *world, const struct ev_cell *cell,
    const struct ev_mix *mix, const struct ev_lists *lists, const char *folder);

#endif

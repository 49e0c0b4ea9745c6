/* Who broke the protocol, how often, and who is out for it; and which keys are used on two machines.
 *
 * Pure. Ten offences within ten minutes put a sensor out for ten minutes. A clone shows by its boot id: a machine that restarts comes with a new one, two machines
 * with one key come back each with its own. Two such returns within ten minutes are an alarm (two sensors, each sent away for half a minute by the other's HELLO, take
 * turns twice to four times a minute); with more than six in a minute the newcomer is kept out. The table is bounded; when it is full the one longest quiet is forgotten. */
#ifndef AGGREGATOR_INGEST_OFFENCE_H
#define AGGREGATOR_INGEST_OFFENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picket/envelope.h"
#include "picket/err.h"
#include "picket/map.h"

enum {
    PK_OFFENCE_STRIKES = 10,
    PK_OFFENCE_WINDOW_MS = 600000,
    PK_OFFENCE_OUT_MS = 600000,
    PK_OFFENCE_FLIPS = 6,
    PK_OFFENCE_FLIP_WINDOW_MS = 60000,
    PK_OFFENCE_CLONE_FLIPS = 2,
    PK_OFFENCE_CLONE_WINDOW_MS = 600000,
    PK_OFFENCE_PEER_SIZE = 64,
    PK_OFFENCE_BOOTS = 8,
    PK_OFFENCE_NEWS_MS = 10000,
    PK_MAX_OFFENDERS = 20000,
};

struct pk_offender {
    uint32_t sensor;
    uint32_t n_strikes, n_flips; /* ever */
    int64_t strikes_ms[PK_OFFENCE_STRIKES];
    int64_t flips_ms[PK_OFFENCE_FLIPS + 1];
    uint64_t boots[PK_OFFENCE_BOOTS]; /* hashes of boot ids, newest last; 0: none */
    uint64_t boot;                    /* of the machine that spoke last */
    char peer[PK_OFFENCE_PEER_SIZE],
        other[PK_OFFENCE_PEER_SIZE]; /* its address; the one before's */
    int64_t last_ms, said_ms;
};

struct pk_offences {
    struct pk_offender *slots;
    size_t n;
    struct pk_map by_sensor;
};

pk_err pk_offences_init(struct pk_offences *offences);
void pk_offences_done(struct pk_offences *offences);
/* Counts an offence; true when the sensor is out now (is_grave: at once). *out_strikes: how many within the window. */
bool pk_offence_strike(struct pk_offences *offences, uint32_t sensor, int64_t now_ms, bool is_grave,
    uint32_t *out_strikes);
enum pk_offence_turn {
    PK_OFFENCE_ALONE,
    PK_OFFENCE_CLONED, /* two machines take turns with this key */
    PK_OFFENCE_STORM,  /* so often that the newcomer is to be kept out */
};
/* A new connection said HELLO from this address. *out_other: where the machine before it spoke from; borrowed until the next call. */
enum pk_offence_turn pk_offence_flip(struct pk_offences *offences, uint32_t sensor,
    const uint8_t boot_id[PK_BOOT_ID_BYTES], const char *address, int64_t now_ms,
    const char **out_other);

/* Whether to speak of the sensor again: at most once in ten seconds. For what does not count as a strike. */
bool pk_offence_is_news(struct pk_offences *offences, uint32_t sensor, int64_t now_ms);

#endif

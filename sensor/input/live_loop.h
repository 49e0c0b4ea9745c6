/* One poll loop over the live sources of a thread, with a timer of its own, so that time passes on an idle wire too. Edge. */
#ifndef SENSOR_LIVE_LOOP_H
#define SENSOR_LIVE_LOOP_H

#include "input/source.h"

enum {
    PK_LIVE_MAX_SOURCES = 4,
    PK_LIVE_TICK_MS = 100,
    PK_LIVE_LAG_MS = 250,    /* older than this nothing waits in a ring that was just found empty */
    PK_LIVE_DRAIN_MS = 2000, /* for what the kernel still holds at the end */
};

struct pk_live_loop {
    struct pk_source sources[PK_LIVE_MAX_SOURCES];
    size_t n_sources;
    void *arg;
    bool (*is_done)(void *arg);
    /* Every PK_LIVE_TICK_MS. was_idle: no source gave anything since the last tick, so the core's clock may be moved to the present less PK_LIVE_LAG_MS. */
    void (*tick)(void *arg, int64_t mono_ms, bool was_idle);
};

/* Until is_done; then what the kernel still holds is taken, for PK_LIVE_DRAIN_MS at most. False: no source has anything left to wait for. */
bool pk_live_loop_run(const struct pk_live_loop *loop);

#endif

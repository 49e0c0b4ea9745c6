/* poll(2) is enough: a source with many descriptors is one epoll descriptor here. */
#include "input/live_loop.h"

#include <poll.h>

#include "picket/clock.h"

static size_t wait_and_read(const struct pk_live_loop *loop, int64_t wait_ms)
{
    struct pollfd fds[PK_LIVE_MAX_SOURCES];
    size_t n = 0;
    for (size_t i = 0; i < loop->n_sources; i++) {
        fds[i] = (struct pollfd){.fd = loop->sources[i].fd, .events = POLLIN};
    }
    if (poll(fds, loop->n_sources, wait_ms > 0 ? (int)wait_ms : 0) <= 0) {
        return 0; /* the time is over, or a signal came */
    }
    for (size_t i = 0; i < loop->n_sources; i++) {
        if (fds[i].revents) {
            n += loop->sources[i].read(loop->sources[i].self);
        }
    }
    return n;
}

static bool tick_sources(const struct pk_live_loop *loop, int64_t now_ms)
{
    bool has_hope = false;
    for (size_t i = 0; i < loop->n_sources; i++) {
        has_hope |= loop->sources[i].tick(loop->sources[i].self, now_ms);
    }
    return has_hope;
}

bool pk_live_loop_run(const struct pk_live_loop *loop)
{
    int64_t now_ms = pk_clock_mono_ms(), next_tick_ms = now_ms + PK_LIVE_TICK_MS;
    size_t n_since_tick = 0;
    bool has_hope = true;
    while (has_hope && !loop->is_done(loop->arg)) {
        n_since_tick += wait_and_read(loop, next_tick_ms - now_ms);
        now_ms = pk_clock_mono_ms();
        if (now_ms >= next_tick_ms) {
            has_hope = tick_sources(loop, now_ms);
            loop->tick(loop->arg, now_ms, n_since_tick == 0);
            n_since_tick = 0;
            next_tick_ms = now_ms + PK_LIVE_TICK_MS;
        }
    }
    /* What arrived before the end is read: until nothing came for as long as a block may take, but not for ever on a busy interface. */
    const int64_t limit_ms = pk_clock_mono_ms() + PK_LIVE_DRAIN_MS;
    int64_t end_ms = pk_clock_mono_ms() + PK_LIVE_LAG_MS;
    while (has_hope && (now_ms = pk_clock_mono_ms()) < end_ms) {
        if (wait_and_read(loop, end_ms - now_ms) > 0) {
            end_ms = pk_clock_mono_ms() + PK_LIVE_LAG_MS;
            end_ms = end_ms < limit_ms ? end_ms : limit_ms;
        }
    }
    return has_hope;
}

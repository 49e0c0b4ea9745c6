/* Where packets (or messages) come from while the sensor runs live. The loop in live_loop.h knows no more than this of any source. */
#ifndef SENSOR_SOURCE_H
#define SENSOR_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pk_source {
    void *self;
    int fd; /* readable when read has something to do; may be an epoll descriptor; -1: only tick */
    /* Takes what is ready, a bounded part of it, and never waits. Returns how much it gave to the core. */
    size_t (*read)(void *self);
    /* About every 100 ms. False when nothing can ever come from it again. */
    bool (*tick)(void *self, int64_t mono_ms);
};

#endif

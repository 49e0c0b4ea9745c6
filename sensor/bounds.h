/* What a sensor may come to hold, told at its start: the sum of the bounds of everything that outsiders can fill. Pure but for the log line. */
#ifndef SENSOR_BOUNDS_H
#define SENSOR_BOUNDS_H

#include <stddef.h>
#include <stdint.h>

struct pk_bounds {
    unsigned n_threads;
    uint64_t tables;    /* memory_bound_bytes of all threads' counters */
    uint64_t spool;     /* its ring, and its index of what is on disk */
    uint64_t dnstap;    /* of peers */
    uint64_t unpacking; /* of one file after the other */
    uint64_t rings;     /* the kernel's: locked memory */
};

/* At most so much in kernel rings: each name an interface, a pattern as many as are ever captured. */
uint64_t pk_bounds_rings(
    const char *const *names, size_t n_names, size_t ring_bytes, unsigned n_threads);
uint64_t pk_bounds_dnstap(size_t n_endpoints);
void pk_bounds_log(const struct pk_bounds *bounds);

#endif

/* A wall clock that a test steps while programs run: preloaded, it adds to CLOCK_REALTIME what PICKET_CLOCK_FILE holds (8 bytes, microseconds, native order).
 *
 * Time namespaces move only the monotonic clocks, and settimeofday moves everybody's. libfaketime reads its file again through open and stat, which the sensor's sandbox
 * refuses; here the file is mapped before main, so a step is one store, seen at once by all processes and their children. Only what programs read as the time changes:
 * timers, file times and the kernel's packet times do not. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static _Atomic int64_t none;
static _Atomic int64_t *offset_us = &none;

__attribute__((constructor)) static void map_offset(void)
{
    const char *path = getenv("PICKET_CLOCK_FILE");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        void *map = mmap(NULL, sizeof *offset_us, PROT_READ, MAP_SHARED, fd, 0);
        offset_us = map == MAP_FAILED ? &none : map;
        close(fd);
    }
}

int clock_gettime(clockid_t id, struct timespec *out)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real) {
        *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    }
    int result = real(id, out);
    if (result == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
        int64_t us = atomic_load_explicit(offset_us, memory_order_relaxed);
        out->tv_sec += us / 1000000;
        out->tv_nsec += us % 1000000 * 1000;
        if (out->tv_nsec < 0 || out->tv_nsec >= 1000000000) {
            int carry = out->tv_nsec < 0 ? -1 : 1;
            out->tv_sec += carry;
            out->tv_nsec -= carry * 1000000000L;
        }
    }
    return result;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    int result = clock_gettime(CLOCK_REALTIME, &now);
    *out = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
    return result;
}

time_t time(time_t *out)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) {
        *out = now.tv_sec;
    }
    return now.tv_sec;
}

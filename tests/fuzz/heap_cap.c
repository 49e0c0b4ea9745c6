/* The sanitizer calls a hook for each piece that it gives and takes; what was there before heap_cap_begin and is freed later only makes the sum smaller. */
#include "heap_cap.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CAP_BYTES ((int64_t)64 << 20)

/* Of sanitizer/allocator_interface.h, which not every compiler's headers have; absent in builds without it. */
typedef void malloc_hook(const volatile void *piece, size_t size);
typedef void free_hook(const volatile void *piece);
extern int __sanitizer_install_malloc_and_free_hooks(malloc_hook *on_malloc, free_hook *on_free)
    __attribute__((weak));
extern size_t __sanitizer_get_allocated_size(const volatile void *piece) __attribute__((weak));

static int64_t held, most;
static int is_installed, is_over;

static void on_malloc(const volatile void *piece, size_t size)
{
    (void)piece;
    held += (int64_t)size;
    most = held > most ? held : most;
    if (held > CAP_BYTES && !is_over) {
        is_over = 1;
        fprintf(stderr,
            "heap cap: an input makes us hold %" PRId64 " bytes, the last %zu at once\n", held,
            size);
        abort();
    }
}

static void on_free(const volatile void *piece)
{
    held -= piece ? (int64_t)__sanitizer_get_allocated_size(piece) : 0;
}

static void tell(void)
{
    if (getenv("PICKET_HEAP_CAP")) {
        fprintf(stderr, "heap cap: at most %" PRId64 " bytes held\n", most);
    }
}

void heap_cap_begin(void)
{
    if (!is_installed && __sanitizer_install_malloc_and_free_hooks) {
        (void)__sanitizer_install_malloc_and_free_hooks(on_malloc, on_free);
        (void)atexit(tell);
    }
    is_installed = 1;
    held = 0;
}

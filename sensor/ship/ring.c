/* Files by psp_file.c; this decides when one ends and which is too old. */
#include "ship/ring.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "picket/clock.h"
#include "picket/hash.h"

#include "ship/psp_file.h"

enum {
    MAX_PATH = PATH_MAX,
};

struct pk_ring {
    char folder[MAX_PATH / 2];
    uint64_t max_bytes, lost_rows;
    unsigned writer;
    char digest[PK_RING_DIGEST_SIZE];
    struct pk_batcher *origin_batcher; /* to seal the origin of each file */
    struct pk_origin origin;
    struct pk_stats unused;
    struct pk_psp_file *file; /* NULL: none begun */
    uint64_t file_bytes;
    int64_t file_us;
};

pk_err pk_ring_keep_scope(
    const char *folder, const struct pk_bytes *scope, char out_digest[PK_RING_DIGEST_SIZE])
{
    uint8_t digest[PK_DIGEST_BYTES];
    char path[MAX_PATH];
    pk_digest(scope->data, scope->len, digest);
    for (unsigned i = 0; i < 8; i++) {
        snprintf(out_digest + 2 * i, 3, "%02x", digest[i]);
    }
    snprintf(path, sizeof path, "%.*s/scope-%s.yaml", MAX_PATH / 2, folder, out_digest);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool is_good = fd >= 0 && write(fd, scope->data, scope->len) == (ssize_t)scope->len;
    if (fd >= 0) {
        is_good = close(fd) == 0 && is_good;
    }
    return is_good ? PK_OK : PK_ERR_IO;
}

static int is_ring_file(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);
    return strncmp(entry->d_name, "ring-", 5) == 0 && len > 4 &&
           strcmp(entry->d_name + len - 4, ".psp") == 0;
}

/* Names begin with their time, so the first is the oldest. */
static void remove_oldest(const struct pk_ring *ring)
{
    struct dirent **entries;
    char path[MAX_PATH];
    struct stat info;
    uint64_t total = 0;
    int n = scandir(ring->folder, &entries, is_ring_file, alphasort);
    for (int i = n; i-- > 0;) {
        snprintf(path, sizeof path, "%s/%s", ring->folder, entries[i]->d_name);
        if (stat(path, &info) == 0) {
            total += (uint64_t)info.st_size;
            if (total > ring->max_bytes) {
                (void)unlink(path);
            }
        }
        free(entries[i]);
    }
    if (n >= 0) {
        free(entries);
    }
}

static int is_part(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);
    return strncmp(entry->d_name, "ring-", 5) == 0 && len > 9 &&
           strcmp(entry->d_name + len - 9, ".psp.part") == 0;
}

/* Of a sensor that was killed: nobody would read them, and no bound counts them. */
static void remove_parts(const struct pk_ring *ring)
{
    struct dirent **entries;
    char path[MAX_PATH];
    int n = scandir(ring->folder, &entries, is_part, NULL);
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", ring->folder, entries[i]->d_name);
        (void)unlink(path);
        free(entries[i]);
    }
    if (n >= 0) {
        free(entries);
    }
}

static void end_file(struct pk_ring *ring)
{
    char error[PK_PSP_ERROR_SIZE];
    if (ring->file) {
        (void)pk_psp_file_close(ring->file, true, error); /* said by lost_rows when it fails */
        ring->file = NULL;
        remove_oldest(ring);
    }
}

static pk_err begin_file(struct pk_ring *ring)
{
    char path[MAX_PATH], error[PK_PSP_ERROR_SIZE];
    ring->file_us = pk_clock_wall_us();
    ring->file_bytes = 0;
    snprintf(path, sizeof path, "%s/ring-%016" PRIx64 "-%u-%s.psp", ring->folder,
        (uint64_t)ring->file_us, ring->writer, ring->digest);
    pk_err err = pk_psp_file_create(path, ring->file_us, 1, true, &ring->file, error);
    return err == PK_OK ? pk_batcher_origin(ring->origin_batcher, &ring->origin) : err;
}

static pk_err append_origin(void *arg, const struct pk_sealed *sealed)
{
    return pk_psp_file_append(((struct pk_ring *)arg)->file, sealed);
}

pk_err pk_ring_open(const char *folder, uint64_t max_bytes, unsigned writer,
    const struct pk_origin *origin, const struct pk_bytes *scope, struct pk_ring **out_ring,
    char out_error[PK_RING_ERROR_SIZE])
{
    struct pk_ring *ring = calloc(1, sizeof *ring);
    if (!ring || strlen(folder) >= sizeof ring->folder) {
        free(ring);
        return PK_ERR_NOMEM;
    }
    snprintf(ring->folder, sizeof ring->folder, "%s", folder);
    ring->max_bytes = max_bytes;
    ring->writer = writer;
    ring->origin = *origin;
    pk_err err = mkdir(folder, 0700) == 0 || errno == EEXIST ? PK_OK : PK_ERR_IO;
    if (err == PK_OK && writer == 0) { /* the first to open, before anything is written */
        remove_parts(ring);
    }
    if (err == PK_OK) {
        err = pk_ring_set_scope(ring, scope);
    }
    if (err == PK_OK) {
        err = pk_batcher_new(&ring->unused, append_origin, ring, &ring->origin_batcher);
    }
    if (err != PK_OK) {
        snprintf(out_error, PK_RING_ERROR_SIZE, "ring.folder: %.500s: cannot be written: %s",
            folder, strerror(errno));
        pk_ring_close(ring);
        return err;
    }
    *out_ring = ring;
    return PK_OK;
}

void pk_ring_close(struct pk_ring *ring)
{
    if (ring) {
        end_file(ring);
        pk_batcher_free(ring->origin_batcher);
        free(ring);
    }
}

pk_err pk_ring_set_scope(struct pk_ring *ring, const struct pk_bytes *scope)
{
    end_file(ring);
    return pk_ring_keep_scope(ring->folder, scope, ring->digest);
}

pk_err pk_ring_append(void *arg, const struct pk_sealed *sealed)
{
    struct pk_ring *ring = arg;
    if (sealed->kind == PK_BATCH_HEALTH) { /* of another life: the shipped ones count */
        return PK_OK;
    }
    if (ring->file && (ring->file_bytes >= PK_RING_FILE_BYTES ||
                          pk_clock_wall_us() - ring->file_us > PK_RING_FILE_S * PK_US_PER_S)) {
        end_file(ring);
    }
    pk_err err = ring->file ? PK_OK : begin_file(ring);
    if (err == PK_OK) {
        err = pk_psp_file_append(ring->file, sealed);
    }
    ring->file_bytes += sealed->body_len;
    ring->lost_rows += err != PK_OK ? sealed->rows : 0;
    return PK_OK;
}

uint64_t pk_ring_lost(const struct pk_ring *ring)
{
    return ring->lost_rows;
}

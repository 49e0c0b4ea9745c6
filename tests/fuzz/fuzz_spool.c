/* Any bytes as a segment of a spool: recovery ends, what it gives out is in order, and a second recovery finds the same. The first byte chooses the key and the class of name. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "picket/hash.h"
#include "picket/limits.h"

#include "sensor/ship/spool.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[64];

static void remove_folder(void)
{
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        (void)unlinkat(dirfd(dir), entry->d_name, 0); /* dots stay */
    }
    if (dir) {
        closedir(dir);
    }
    (void)rmdir(folder);
}

static void start(void)
{
    snprintf(folder, sizeof folder, "%s/picket-fuzz-spool-%ld",
        access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", (long)getpid());
    if (pk_hash_start() != PK_OK || sodium_init() < 0 || atexit(remove_folder) != 0) {
        abort();
    }
}

/* Reads all; how many batches that are not losses. */
static size_t read_all(const uint8_t *key)
{
    struct pk_spool_options options = {
        .folder = folder, .max_bytes = 8 << 20, .memory_bytes = 1 << 20, .key = key};
    struct pk_spool *spool;
    struct pk_spool_found found;
    char error[PK_SPOOL_ERROR_SIZE];
    struct pk_bytes buffer;
    struct pk_queue_at at = {0}, before = {0};
    struct pk_segment_record record;
    size_t n = 0;
    if (pk_spool_open(&options, &spool, &found, error) != PK_OK) {
        return 0;
    }
    struct pk_queue queue = pk_spool_queue(spool);
    pk_bytes_init(&buffer, PK_MAX_SEGMENT_RECORD);
    while (queue.next(queue.self, at, &buffer, &at, &record)) {
        if (at.epoch < before.epoch || (at.epoch == before.epoch && at.seq <= before.seq)) {
            abort();
        }
        before = at;
        n += record.kind != PK_BATCH_LOSS;
    }
    pk_bytes_done(&buffer);
    pk_spool_close(spool);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t key[PK_SPOOL_KEY_BYTES] = {1};
    char path[128];
    if (!folder[0]) {
        start();
    }
    remove_folder();
    if (size < 1 || mkdir(folder, 0700) != 0) {
        return 0;
    }
    snprintf(path, sizeof path, "%s/seg-0000000000000007-0000000000000001-%c.psp", folder,
        "dhk"[data[0] / 2 % 3]);
    FILE *file = fopen(path, "wbe");
    if (!file || fwrite(data + 1, 1, size - 1, file) != size - 1 || fclose(file) != 0) {
        abort();
    }
    const uint8_t *used = data[0] & 1 ? key : NULL;
    size_t n = read_all(used);
    if (read_all(used) != n) {
        abort();
    }
    return 0;
}

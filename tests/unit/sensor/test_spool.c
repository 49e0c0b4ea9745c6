/* The spool on a real folder. A crash is a copy of the folder as it is at that moment; a disk that refuses is a table of calls that say so. Whatever happens, every batch is read
 * once, or is in the loss ledger with its transactions. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "picket/clock.h"
#include "picket/codec.h"
#include "picket/hash.h"
#include "picket/limits.h"

#include "sensor/ship/spool.h"
#include "sensor/ship/spool_ledger.h"

enum {
    MAX_SEEN = 4096
};

static char root[64];

static const char *folder_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", root, name);
    return path;
}

static void each_file(
    const char *folder, void (*visit)(const char *path, const char *name, void *arg), void *arg)
{
    char names[256][64], path[256];
    size_t n = 0;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) && n < 256;) {
        if (entry->d_name[0] != '.') {
            snprintf(names[n++], 64, "%.63s", entry->d_name);
        }
    }
    closedir(dir);
    for (size_t i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        visit(path, names[i], arg);
    }
}

static void remove_one(const char *path, const char *name, void *arg)
{
    (void)name;
    (void)arg;
    unlink(path);
}

static void copy_one(const char *path, const char *name, void *arg)
{
    char to[256];
    static uint8_t data[4 << 20];
    FILE *in = fopen(path, "rb");
    size_t len = fread(data, 1, sizeof data, in);
    fclose(in);
    snprintf(to, sizeof to, "%s/%s", (const char *)arg, name);
    FILE *out = fopen(to, "wb");
    fwrite(data, 1, len, out);
    fclose(out);
}

/* As it is now, whoever writes to it. */
static void copy_folder(const char *from, const char *to)
{
    char source[128], target[128];
    snprintf(source, sizeof source, "%s", folder_of(from));
    snprintf(target, sizeof target, "%s", folder_of(to));
    mkdir(target, 0700);
    each_file(target, remove_one, NULL);
    each_file(source, copy_one, target);
}

static int setup(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "%s/picket-spool-XXXXXX",
        access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    return pk_hash_start() == PK_OK && sodium_init() >= 0 && mkdtemp(root) ? 0 : 1;
}

static int teardown(void **state)
{
    (void)state;
    DIR *dir = opendir(root);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (entry->d_name[0] != '.') {
            char path[400];
            snprintf(path, sizeof path, "%s/%s", root, entry->d_name);
            each_file(path, remove_one, NULL);
            rmdir(path);
        }
    }
    if (dir) {
        closedir(dir);
    }
    return rmdir(root);
}

/* --- a spool and what comes out of it --- */

static struct pk_spool_options options_of(const char *name)
{
    return (struct pk_spool_options){
        .folder = folder_of(name), .max_bytes = 64 << 20, .memory_bytes = 16 << 20};
}

static struct pk_spool *open_with(
    const struct pk_spool_options *options, struct pk_spool_found *found)
{
    struct pk_spool *spool = NULL;
    struct pk_spool_found unwanted;
    char error[PK_SPOOL_ERROR_SIZE] = "";
    if (pk_spool_open(options, &spool, found ? found : &unwanted, error) != PK_OK) {
        fail_msg("%s", error);
    }
    return spool;
}

static struct pk_spool *open_spool(const char *name)
{
    struct pk_spool_options options = options_of(name);
    return open_with(&options, NULL);
}

/* Batch number id, with 10 * id transactions in its rows. */
static void add_sized(struct pk_spool *spool, enum pk_batch_kind kind, uint32_t id, size_t len)
{
    static uint8_t body[512 << 10];
    memset(body, (int)id, len);
    body[0] = (uint8_t)(id >> 8);
    body[1] = (uint8_t)id;
    assert_int_equal(pk_spool_append(spool, &(struct pk_sealed){.kind = kind,
                                                .rows = 2,
                                                .transactions = 10 * (uint64_t)id,
                                                .first_us = 1000 + id,
                                                .last_us = 2000 + id,
                                                .body = body,
                                                .body_len = len}),
        PK_OK);
}

static void add(struct pk_spool *spool, enum pk_batch_kind kind, uint32_t id)
{
    add_sized(spool, kind, id, 40 + id % 13);
}

struct seen {
    uint32_t ids[MAX_SEEN];
    struct pk_queue_at at[MAX_SEEN];
    size_t n;
    uint64_t delivered;          /* transactions */
    uint64_t lost, lost_batches; /* by the losses read */
    uint64_t by_cause[PK_N_LOSS_CAUSES], by_kind[8];
    unsigned times[MAX_SEEN];
};

static void see_loss(void *arg, const struct pk_loss *loss)
{
    struct seen *seen = arg;
    seen->lost += loss->transactions;
    seen->lost_batches += loss->batches;
    seen->by_cause[loss->cause] += loss->batches;
    seen->by_kind[loss->kind & 7] += loss->batches;
}

/* Reads on from where `seen` stands, in the queue's order. */
static void read_more(struct pk_spool *spool, struct seen *seen, size_t at_most)
{
    struct pk_queue queue = pk_spool_queue(spool);
    struct pk_queue_at at = seen->n ? seen->at[seen->n - 1] : (struct pk_queue_at){0};
    struct pk_segment_record record;
    struct pk_bytes buffer;
    pk_bytes_init(&buffer, PK_MAX_SEGMENT_RECORD);
    for (size_t i = 0; i < at_most && queue.next(queue.self, at, &buffer, &at, &record); i++) {
        assert_true(seen->n < MAX_SEEN);
        if (seen->n) {
            struct pk_queue_at before = seen->at[seen->n - 1];
            assert_true(
                at.epoch > before.epoch || (at.epoch == before.epoch && at.seq > before.seq));
        }
        seen->at[seen->n] = at;
        seen->ids[seen->n] = 0;
        if (record.kind == PK_BATCH_LOSS) {
            pk_ledger_read(record.body, record.body_len, record.codec, see_loss, seen);
        } else {
            uint32_t id = (uint32_t)record.body[0] << 8 | record.body[1];
            assert_true(id < MAX_SEEN);
            assert_int_equal(record.transactions, 10 * (uint64_t)id);
            seen->ids[seen->n] = id;
            seen->times[id]++;
            seen->delivered += record.transactions;
        }
        seen->n++;
    }
    pk_bytes_done(&buffer);
}

static const struct seen *read_all(struct pk_spool *spool)
{
    static struct seen seen;
    memset(&seen, 0, sizeof seen);
    read_more(spool, &seen, MAX_SEEN);
    return &seen;
}

static void sync_now(struct pk_spool *spool)
{
    pk_spool_sync(spool, pk_clock_mono_ms(), true);
}

static void ack_first(struct pk_spool *spool, size_t n)
{
    static struct seen seen;
    memset(&seen, 0, sizeof seen);
    struct pk_queue queue = pk_spool_queue(spool);
    read_more(spool, &seen, n);
    for (size_t i = 0; i < seen.n; i++) {
        queue.ack(queue.self, seen.at[i].epoch, 0, seen.at[i].seq);
    }
}

static const enum pk_batch_kind kinds[] = {
    PK_BATCH_ACTIVITY, PK_BATCH_RRSET, PK_BATCH_NEGATIVE, PK_BATCH_HEALTH};

/* --- order and restart --- */

static void all_classes_are_read_in_one_order_and_again_after_a_restart(void **state)
{
    (void)state;
    struct pk_spool *spool = open_spool("order");
    for (uint32_t id = 1; id <= 40; id++) {
        add(spool, kinds[id * 7 % 4], id);
    }
    for (int again = 0; again < 2; again++) {
        const struct seen *seen = read_all(spool);
        assert_int_equal(seen->n, 40);
        for (uint32_t i = 0; i < 40; i++) {
            assert_int_equal(seen->ids[i], i + 1);
            assert_int_equal(seen->at[i].seq, i + 1);
        }
        pk_spool_close(spool);
        spool = open_spool("order");
    }
    uint64_t epoch = read_all(spool)->at[0].epoch;
    ack_first(spool, 25);
    add(spool, PK_BATCH_ACTIVITY, 41);
    pk_spool_close(spool);
    spool = open_spool("order");
    const struct seen *seen = read_all(spool);
    assert_int_equal(seen->n, 16);
    assert_int_equal(seen->ids[0], 26);
    assert_int_equal(seen->at[15].seq, 41);
    assert_int_equal(seen->at[15].epoch, epoch);
    pk_spool_close(spool);
}

static void numbers_go_on_when_all_was_delivered(void **state)
{
    (void)state;
    struct pk_spool *spool = open_spool("empty");
    for (uint32_t id = 1; id <= 3; id++) {
        add(spool, PK_BATCH_ACTIVITY, id);
    }
    ack_first(spool, 3);
    pk_spool_close(spool);
    spool = open_spool("empty");
    struct pk_queue queue = pk_spool_queue(spool);
    struct pk_queue_info info;
    queue.info(queue.self, &info);
    assert_int_equal(info.n_batches, 0);
    add(spool, PK_BATCH_ACTIVITY, 4);
    assert_int_equal(read_all(spool)->at[0].seq, 4);
    queue.info(queue.self, &info);
    assert_int_equal(info.n_batches, 1);
    assert_int_equal(info.oldest_us, 1004);
    pk_spool_close(spool);
}

static void a_second_process_is_refused_and_told_why(void **state)
{
    (void)state;
    struct pk_spool *spool = open_spool("locked"), *second;
    struct pk_spool_options options = options_of("locked");
    struct pk_spool_found found;
    char error[PK_SPOOL_ERROR_SIZE];
    assert_int_equal(pk_spool_open(&options, &second, &found, error), PK_ERR_CONFIG);
    assert_non_null(strstr(error, "another picket-sensor"));
    pk_spool_close(spool);
    spool = open_spool("locked");
    pk_spool_close(spool);
}

/* --- recovery --- */

struct damage {
    char path[256], name[64];
    long size;
    uint64_t ends[16]; /* of records: a segment cut there shows nothing */
    size_t n_ends;
};

static void find_detail(const char *path, const char *name, void *arg)
{
    struct damage *damage = arg;
    struct stat info;
    size_t len = strlen(name);
    if (len > 6 && strcmp(name + len - 6, "-d.psp") == 0 && stat(path, &info) == 0) {
        snprintf(damage->path, sizeof damage->path, "%s", path);
        snprintf(damage->name, sizeof damage->name, "%s", name);
        damage->size = (long)info.st_size;
    }
}

/* What is read after damage: a beginning of what was written, and a loss unless all is there. */
static void check_beginning(const char *name, const uint8_t *key, uint32_t n, bool shows)
{
    struct pk_spool_options options = options_of(name);
    options.key = key;
    struct pk_spool *spool = open_with(&options, NULL);
    sync_now(spool);
    const struct seen *seen = read_all(spool);
    uint32_t n_ids = 0;
    for (size_t i = 0; i < seen->n; i++) {
        if (seen->ids[i] != 0) {
            assert_int_equal(seen->ids[i], ++n_ids);
        }
    }
    assert_true(n_ids <= n);
    assert_true(n_ids == n || !shows || seen->lost_batches > 0);
    pk_spool_close(spool);
    spool = open_with(&options, NULL); /* nothing is counted twice */
    sync_now(spool);
    uint64_t lost = seen->lost_batches;
    assert_int_equal(read_all(spool)->lost_batches, lost);
    pk_spool_close(spool);
}

static void note_ends(struct damage *damage, const char *folder, const uint8_t *key)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct pk_spool_reader reader;
    struct pk_segment_record record;
    struct pk_bytes buffer;
    pk_bytes_init(&buffer, PK_MAX_SEGMENT_RECORD);
    pk_spool_reader_init(&reader);
    assert_int_equal(pk_spool_reader_open(&reader, fd, damage->name, key), PK_SPOOL_OPENED);
    damage->n_ends = 0;
    do {
        damage->ends[damage->n_ends++] = reader.at;
    } while (pk_spool_reader_next(&reader, (uint64_t)damage->size, &buffer, &record) ==
             PK_SPOOL_READ_RECORD);
    pk_spool_reader_done(&reader);
    pk_bytes_done(&buffer);
    close(fd);
}

static bool is_end(const struct damage *damage, uint64_t at)
{
    bool is_end = at < damage->ends[0]; /* no record was ever in it */
    for (size_t i = 0; i < damage->n_ends; i++) {
        is_end = is_end || damage->ends[i] == at;
    }
    return is_end;
}

static void every_cut_and_flip_leaves_what_was_before(const uint8_t *key)
{
    enum {
        N = 5
    };
    struct pk_spool_options options = options_of("whole");
    options.key = key;
    struct pk_spool *spool = open_with(&options, NULL);
    for (uint32_t id = 1; id <= N; id++) {
        add(spool, PK_BATCH_ACTIVITY, id);
    }
    pk_spool_close(spool);
    struct damage damage;
    copy_folder("whole", "cut");
    each_file(folder_of("cut"), find_detail, &damage);
    long size = damage.size;
    note_ends(&damage, folder_of("cut"), key);
    for (long at = 0; at < size; at++) {
        copy_folder("whole", "cut");
        assert_int_equal(truncate(damage.path, at), 0);
        check_beginning("cut", key, N, !is_end(&damage, (uint64_t)at));
    }
    for (long at = key ? 64 : 0; at < size; at++) {
        copy_folder("whole", "cut");
        int fd = open(damage.path, O_RDWR | O_CLOEXEC);
        uint8_t byte;
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= (uint8_t)(1 << at % 8);
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        close(fd);
        if (at >= 8 && at < 10) {
            continue; /* the version: its own error, below */
        }
        check_beginning("cut", key, N, true);
    }
    each_file(folder_of("whole"), remove_one, NULL);
}

static void any_damage_leaves_what_was_before_it_and_is_counted_once(void **state)
{
    (void)state;
    every_cut_and_flip_leaves_what_was_before(NULL);
}

static void the_same_holds_for_an_encrypted_spool(void **state)
{
    (void)state;
    uint8_t key[PK_SPOOL_KEY_BYTES] = {7};
    every_cut_and_flip_leaves_what_was_before(key);
}

static void segments_in_clear_and_encrypted_mix_and_another_key_is_refused(void **state)
{
    (void)state;
    uint8_t key[PK_SPOOL_KEY_BYTES] = {1}, other[PK_SPOOL_KEY_BYTES] = {2};
    struct pk_spool_options options = options_of("mixed");
    char error[PK_SPOOL_ERROR_SIZE];
    for (uint32_t round = 0; round < 3; round++) {
        options.key = round == 1 ? key : NULL;
        if (round == 2) {
            options.key = key; /* still needed to read */
        }
        struct pk_spool *spool = open_with(&options, NULL);
        add(spool, PK_BATCH_ACTIVITY, 2 * round + 1);
        add(spool, PK_BATCH_RRSET, 2 * round + 2);
        pk_spool_close(spool);
    }
    struct pk_spool *spool = NULL;
    struct pk_spool_found found;
    const uint8_t *wrong[] = {other, NULL};
    for (size_t i = 0; i < 2; i++) {
        options.key = wrong[i];
        assert_int_equal(pk_spool_open(&options, &spool, &found, error), PK_ERR_CONFIG);
        assert_non_null(strstr(error, "key"));
    }
    options.key = key;
    spool = open_with(&options, NULL);
    const struct seen *seen = read_all(spool);
    assert_int_equal(seen->n, 6);
    struct pk_queue queue = pk_spool_queue(spool);
    struct pk_bytes buffer;
    struct pk_queue_at at;
    struct pk_segment_record record;
    pk_bytes_init(&buffer, PK_MAX_SEGMENT_RECORD);
    for (size_t i = 6; i-- > 1;) { /* backwards: each time from the segment's beginning */
        assert_true(queue.next(queue.self, seen->at[i - 1], &buffer, &at, &record));
        assert_int_equal(at.seq, seen->at[i].seq);
    }
    pk_bytes_done(&buffer);
    pk_spool_close(spool);
}

static void damage_meta(const char *path, const char *name, void *arg)
{
    if (strcmp(name, arg) == 0) {
        int fd = open(path, O_RDWR | O_CLOEXEC);
        assert_int_equal(pwrite(fd, "xx", 2, 20), 2);
        close(fd);
    }
}

static void a_damaged_slot_of_meta_only_sends_again(void **state)
{
    (void)state;
    for (int slot = 0; slot < 2; slot++) {
        char name[] = "meta.0";
        struct pk_spool *spool = open_spool("meta");
        for (uint32_t id = 1; id <= 6; id++) {
            add(spool, PK_BATCH_ACTIVITY, id);
        }
        ack_first(spool, 2);
        sync_now(spool);
        ack_first(spool, 2);
        sync_now(spool);
        uint64_t epoch = read_all(spool)->at[0].epoch;
        pk_spool_close(spool);
        name[5] = (char)('0' + slot);
        each_file(folder_of("meta"), damage_meta, name);
        spool = open_spool("meta");
        const struct seen *seen = read_all(spool);
        assert_true(seen->n == 2 || seen->n == 4);
        assert_int_equal(seen->at[0].epoch, epoch);
        assert_int_equal(seen->ids[seen->n - 1], 6);
        pk_spool_close(spool);
        each_file(folder_of("meta"), remove_one, NULL);
    }
}

/* --- giving up --- */

static void a_full_spool_gives_up_detail_first_and_tells_exactly_what(void **state)
{
    (void)state;
    struct pk_spool_options options = options_of("full");
    options.max_bytes = 1 << 20;
    struct pk_spool *spool = open_with(&options, NULL);
    uint64_t all = 0;
    for (uint32_t id = 1; id <= 200; id++) {
        enum pk_batch_kind kind = kinds[id % 4];
        add_sized(spool, kind, id, kind == PK_BATCH_ACTIVITY ? 30000 : 3000);
        all += 10 * id;
    }
    sync_now(spool);
    struct pk_spool_status status;
    pk_spool_get_status(spool, &status);
    assert_true(status.bytes <= (1 << 20) + 4096);
    const struct seen *seen = read_all(spool);
    assert_int_equal(seen->delivered + seen->lost, all);
    assert_true(seen->by_kind[PK_BATCH_ACTIVITY] > 0);
    assert_int_equal(seen->by_kind[PK_BATCH_ACTIVITY], seen->by_cause[PK_LOSS_OVERFLOW]);
    pk_spool_close(spool);
    spool = open_with(&options, NULL); /* the ledger survives */
    seen = read_all(spool);
    assert_int_equal(seen->delivered + seen->lost, all);
    pk_spool_close(spool);
}

static void losses_are_not_lost_when_their_own_segment_goes(void **state)
{
    (void)state;
    struct pk_spool_options options = options_of("losses");
    options.max_bytes = 300 << 10;
    struct pk_spool *spool = open_with(&options, NULL);
    uint64_t all = 0;
    for (uint32_t id = 1; id <= 300; id++) {
        add_sized(spool, id % 3 ? PK_BATCH_HEALTH : PK_BATCH_ACTIVITY, id, 20000);
        all += 10 * id;
    }
    sync_now(spool);
    const struct seen *seen = read_all(spool);
    assert_true(seen->by_kind[PK_BATCH_HEALTH] > 100);
    assert_int_equal(seen->delivered + seen->lost, all);
    assert_int_equal(seen->n > 0 ? seen->by_kind[PK_BATCH_LOSS] : 1, 0);
    pk_spool_close(spool);
}

/* Dies at any moment of giving up: what is read afterwards and what is told lost make the whole, nothing twice. */
static void a_crash_while_shedding_neither_loses_nor_doubles(void **state)
{
    (void)state;
    struct pk_spool_options options = options_of("shed");
    options.max_bytes = 400 << 10;
    struct pk_spool *spool = open_with(&options, NULL);
    uint64_t all = 0;
    for (uint32_t id = 1; id <= 120; id++) {
        add_sized(spool, kinds[id % 3], id, 9000);
        all += 10 * id;
        if (id % 5 == 0) {
            copy_folder("shed", "crashed");
            struct pk_spool *crashed = open_spool("crashed");
            sync_now(crashed);
            const struct seen *seen = read_all(crashed);
            assert_int_equal(seen->delivered + seen->lost, all);
            pk_spool_close(crashed);
        }
    }
    pk_spool_close(spool);
}

static void what_the_aggregator_will_not_have_is_counted(void **state)
{
    (void)state;
    struct pk_spool *spool = open_spool("refused");
    struct pk_queue queue = pk_spool_queue(spool);
    for (uint32_t id = 1; id <= 6; id++) {
        add(spool, PK_BATCH_ACTIVITY, id);
    }
    struct pk_queue_at third = read_all(spool)->at[2], fourth = read_all(spool)->at[3];
    queue.refused(queue.self, third, PK_QUEUE_REFUSED_LOST);
    queue.refused(queue.self, third, PK_QUEUE_REFUSED_LOST); /* once is enough */
    queue.refused(queue.self, fourth, PK_QUEUE_REFUSED_KEPT);
    sync_now(spool);
    for (int again = 0; again < 2; again++) {
        const struct seen *seen = read_all(spool);
        assert_int_equal(seen->by_cause[PK_LOSS_REFUSED], 1);
        assert_int_equal(seen->lost, 30);
        assert_int_equal(seen->times[3], 0);
        pk_spool_close(spool);
        spool = open_spool("refused"); /* the refusal stands; the one that was kept comes again */
    }
    pk_spool_close(spool);
}

static void old_segments_go_by_age(void **state)
{
    (void)state;
    struct pk_spool_options options = options_of("age");
    options.max_age_ms = 3600000;
    struct pk_spool *spool = open_with(&options, NULL);
    add(spool, PK_BATCH_ACTIVITY, 1);
    pk_spool_sync(spool, pk_clock_mono_ms() + 3000000, true);
    assert_int_equal(read_all(spool)->delivered, 10);
    pk_spool_sync(spool, pk_clock_mono_ms() + 3700000, true);
    const struct seen *seen = read_all(spool);
    assert_int_equal(seen->delivered, 0);
    assert_int_equal(seen->by_cause[PK_LOSS_AGE], 1);
    assert_int_equal(seen->lost, 10);
    pk_spool_close(spool);
}

/* --- a disk that refuses --- */

static struct {
    int writes_left; /* then none succeeds; -1: all do */
    bool writes_half, sync_fails, cut_fails;
    unsigned syncs;
    int free_percent;
    void (*during_sync)(void); /* what happens meanwhile: once */
} disk;

static ssize_t disk_write(int fd, const void *data, size_t len)
{
    if (disk.writes_left == 0) {
        errno = ENOSPC;
        return disk.writes_half && len > 1 ? write(fd, data, len / 2) : -1;
    }
    disk.writes_left -= disk.writes_left > 0;
    return write(fd, data, len);
}

static int disk_sync(int fd)
{
    void (*during_sync)(void) = disk.during_sync;
    (void)fd;
    disk.syncs++;
    disk.during_sync = NULL;
    if (during_sync) {
        during_sync();
    }
    errno = EIO;
    return disk.sync_fails ? -1 : 0;
}

static int disk_cut(int fd, off_t len)
{
    return disk.cut_fails ? -1 : ftruncate(fd, len);
}

static int disk_free(int folder)
{
    (void)folder;
    return disk.free_percent;
}

static struct pk_spool *open_on_disk(struct pk_spool_options *options, const char *name)
{
    static struct pk_spool_ops ops;
    ops = pk_spool_system_ops;
    ops.write = disk_write;
    ops.fdatasync = disk_sync;
    ops.ftruncate = disk_cut;
    ops.free_percent = disk_free;
    memset(&disk, 0, sizeof disk);
    disk.writes_left = -1;
    disk.free_percent = 100;
    *options = options_of(name);
    options->ops = &ops;
    return open_with(options, NULL);
}

static void a_disk_that_refuses_for_a_while_changes_nothing_but_where_batches_wait(void **state)
{
    (void)state;
    uint8_t key[PK_SPOOL_KEY_BYTES] = {9};
    for (int way = 0; way < 8; way++) {
        struct pk_spool_options options;
        struct pk_spool *spool = open_on_disk(&options, "refuses");
        pk_spool_close(spool);
        options.key = way & 4 ? key : NULL;
        spool = open_with(&options, NULL);
        struct pk_spool_status status;
        disk.writes_left = -1;
        for (uint32_t id = 1; id <= 60; id++) {
            if (id % 20 == 10) {
                disk.writes_left = way & 1 ? 1 : 0;
                disk.writes_half = true;
                disk.cut_fails = way & 2;
            }
            if (id % 20 == 19) {
                pk_spool_get_status(spool, &status);
                assert_false(status.is_on_disk);
                assert_true(status.ring_batches > 0);
                assert_int_equal(read_all(spool)->n, id - 1);
                disk.writes_left = -1;
                disk.cut_fails = false;
                sync_now(spool);
            }
            add(spool, kinds[id % 4], id);
        }
        pk_spool_get_status(spool, &status);
        assert_true(status.is_on_disk);
        assert_int_equal(status.ring_batches, 0);
        pk_spool_close(spool);
        spool = open_with(&options, NULL);
        const struct seen *seen = read_all(spool);
        for (uint32_t id = 1; id <= 60; id++) {
            assert_int_equal(seen->times[id], 1);
        }
        assert_int_equal(seen->by_cause[PK_LOSS_MEMORY], 0);
        pk_spool_close(spool);
        each_file(folder_of("refuses"), remove_one, NULL);
    }
}

static void a_full_ring_gives_up_detail_first_and_tells(void **state)
{
    (void)state;
    struct pk_spool_options options;
    struct pk_spool *spool = open_on_disk(&options, "ring");
    pk_spool_close(spool);
    options.memory_bytes = 100000;
    spool = open_with(&options, NULL);
    uint64_t all = 0;
    disk.writes_left = 0;
    for (uint32_t id = 1; id <= 100; id++) {
        add_sized(spool, kinds[id % 4], id, 2000);
        all += 10 * id;
    }
    disk.writes_left = -1;
    sync_now(spool);
    const struct seen *seen = read_all(spool);
    assert_int_equal(seen->delivered + seen->lost, all);
    assert_int_equal(seen->by_cause[PK_LOSS_MEMORY], seen->lost_batches);
    assert_int_equal(seen->by_kind[PK_BATCH_ACTIVITY], 25);
    assert_int_equal(seen->by_kind[PK_BATCH_HEALTH], 0);
    pk_spool_close(spool);
}

static void after_a_failed_sync_a_new_segment_begins_and_nobody_asks_again(void **state)
{
    (void)state;
    struct pk_spool_options options;
    struct pk_spool *spool = open_on_disk(&options, "unsure");
    struct pk_spool_status status;
    add(spool, PK_BATCH_ACTIVITY, 1);
    disk.sync_fails = true;
    disk.syncs = 0;
    sync_now(spool);
    pk_spool_get_status(spool, &status);
    assert_true(status.sync_failures == 1);
    unsigned syncs = disk.syncs;
    sync_now(spool);
    assert_true(
        disk.syncs <= syncs + 1); /* meta's own; the segment's pages are not asked about again */
    pk_spool_get_status(spool, &status);
    assert_int_equal(status.sync_failures, 1);
    disk.sync_fails = false;
    add(spool, PK_BATCH_ACTIVITY, 2);
    struct damage damage = {0};
    each_file(folder_of("unsure"), find_detail, &damage);
    assert_int_equal(read_all(spool)->n, 2);
    pk_spool_close(spool);
}

static void who_appends_does_not_wait_for_the_disk_when_a_segment_is_full(void **state)
{
    (void)state;
    struct pk_spool_options options;
    struct pk_spool *spool = open_on_disk(&options, "rolls");
    struct pk_spool_status status;
    pk_spool_close(spool);
    options.max_bytes = 1 << 20; /* segments of 64 KiB: three batches each */
    spool = open_with(&options, NULL);
    sync_now(spool);
    disk.syncs = 0;
    for (uint32_t id = 1; id <= 20; id++) {
        add_sized(spool, PK_BATCH_ACTIVITY, id, 30000);
    }
    assert_int_equal(disk.syncs, 0);
    disk.sync_fails = true;
    sync_now(spool); /* six that are full and the one that is not: each is asked once */
    pk_spool_get_status(spool, &status);
    assert_int_equal(status.sync_failures, 7);
    disk.sync_fails = false;
    disk.syncs = 0;
    sync_now(spool);
    assert_true(disk.syncs <= 1); /* meta's own */
    disk.syncs = 0;
    for (uint32_t id = 21; id <= 60; id++) { /* thirteen: more than may wait for a round */
        add_sized(spool, PK_BATCH_ACTIVITY, id, 30000);
    }
    assert_in_range(disk.syncs, 1, 6);
    pk_spool_close(spool);
    spool = open_with(&options, NULL);
    const struct seen *seen = read_all(spool);
    assert_int_equal(seen->delivered + seen->lost, 10 * 60 * 61 / 2);
    pk_spool_close(spool);
}

static struct pk_spool *conflicting;

static void conflict_with_the_first(void)
{
    struct pk_queue queue = pk_spool_queue(conflicting);
    struct pk_queue_at at = read_all(conflicting)->at[0];
    queue.refused(queue.self, at, PK_QUEUE_REFUSED_CONFLICT);
}

static void count_segment(const char *path, const char *name, void *arg)
{
    (void)path;
    *(unsigned *)arg += strncmp(name, "seg-", 4) == 0;
}

/* A batch gets its new number while a round of sync is under way: that round does not make the new one sure, so it must not remove the old. */
static void what_was_renumbered_goes_when_its_new_record_is_sure(void **state)
{
    (void)state;
    struct pk_spool_options options;
    unsigned n = 0;
    conflicting = open_on_disk(&options, "stand-in");
    add(conflicting, PK_BATCH_ACTIVITY, 1);
    disk.during_sync = conflict_with_the_first;
    sync_now(conflicting);
    assert_null(disk.during_sync);
    assert_int_equal(read_all(conflicting)->n, 1);
    each_file(folder_of("stand-in"), count_segment, &n);
    assert_int_equal(n, 2);
    sync_now(conflicting);
    n = 0;
    each_file(folder_of("stand-in"), count_segment, &n);
    assert_int_equal(n, 1);
    pk_spool_close(conflicting);
}

static void a_file_system_that_runs_full_gets_room_from_whole_segments(void **state)
{
    (void)state;
    struct pk_spool_options options;
    struct pk_spool *spool = open_on_disk(&options, "space");
    pk_spool_close(spool);
    options.max_bytes = 1 << 20; /* segments of 64 KiB */
    options.min_free_percent = 5;
    spool = open_with(&options, NULL);
    uint64_t all = 0;
    for (uint32_t id = 1; id <= 20; id++) {
        add_sized(spool, PK_BATCH_ACTIVITY, id, 20000);
        all += 10 * id;
    }
    disk.free_percent = 4;
    sync_now(spool);
    const struct seen *seen = read_all(spool);
    assert_true(seen->by_cause[PK_LOSS_SPACE] >= 12 && seen->delivered > 0);
    assert_int_equal(seen->delivered + seen->lost, all);
    pk_spool_close(spool);
}

static void without_a_folder_batches_wait_in_memory(void **state)
{
    (void)state;
    struct pk_spool_options options = {.memory_bytes = 50000};
    struct pk_spool *spool = open_with(&options, NULL);
    uint64_t all = 0;
    for (uint32_t id = 1; id <= 40; id++) {
        add_sized(spool, PK_BATCH_ACTIVITY, id, 2000);
        all += 10 * id;
    }
    sync_now(spool);
    sync_now(spool); /* to tell it, one more had to go */
    const struct seen *seen = read_all(spool);
    assert_true(seen->lost > 0);
    assert_int_equal(seen->delivered + seen->lost, all);
    size_t n = seen->n;
    ack_first(spool, 5);
    assert_int_equal(read_all(spool)->n, n - 5);
    pk_spool_close(spool);
}

/* --- conflicts --- */

static void a_conflict_gets_a_number_of_a_new_epoch_and_no_crash_doubles_it(void **state)
{
    (void)state;
    struct pk_spool *spool = open_spool("conflict");
    struct pk_queue queue = pk_spool_queue(spool);
    for (uint32_t id = 1; id <= 8; id++) {
        add(spool, kinds[id % 4], id);
    }
    uint64_t epoch = read_all(spool)->at[0].epoch;
    for (uint64_t seq = 3; seq <= 5; seq++) {
        queue.refused(queue.self, (struct pk_queue_at){epoch, seq}, PK_QUEUE_REFUSED_CONFLICT);
        copy_folder("conflict", "conflict-crash");
        struct pk_spool *crashed = open_spool("conflict-crash");
        const struct seen *seen = read_all(crashed);
        assert_int_equal(seen->n, 8);
        for (uint32_t id = 1; id <= 8; id++) {
            assert_int_equal(seen->times[id], 1);
        }
        pk_spool_close(crashed);
    }
    add(spool, PK_BATCH_ACTIVITY, 9);
    const struct seen *seen = read_all(spool);
    static const uint32_t expected[] = {1, 2, 6, 7, 8, 3, 4, 5, 9};
    assert_int_equal(seen->n, 9);
    for (size_t i = 0; i < 9; i++) {
        assert_int_equal(seen->ids[i], expected[i]);
    }
    assert_true(seen->at[5].epoch > epoch && seen->at[8].epoch == seen->at[5].epoch);
    /* Delivered one after the other, with a crash behind each. */
    for (size_t i = 0; i < 9; i++) {
        ack_first(spool, 1);
        sync_now(spool);
        copy_folder("conflict", "conflict-crash");
        struct pk_spool *crashed = open_spool("conflict-crash");
        assert_int_equal(read_all(crashed)->n, 8 - i);
        pk_spool_close(crashed);
    }
    pk_spool_close(spool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_classes_are_read_in_one_order_and_again_after_a_restart),
        cmocka_unit_test(numbers_go_on_when_all_was_delivered),
        cmocka_unit_test(a_second_process_is_refused_and_told_why),
        cmocka_unit_test(any_damage_leaves_what_was_before_it_and_is_counted_once),
        cmocka_unit_test(the_same_holds_for_an_encrypted_spool),
        cmocka_unit_test(segments_in_clear_and_encrypted_mix_and_another_key_is_refused),
        cmocka_unit_test(a_damaged_slot_of_meta_only_sends_again),
        cmocka_unit_test(a_full_spool_gives_up_detail_first_and_tells_exactly_what),
        cmocka_unit_test(losses_are_not_lost_when_their_own_segment_goes),
        cmocka_unit_test(a_crash_while_shedding_neither_loses_nor_doubles),
        cmocka_unit_test(what_the_aggregator_will_not_have_is_counted),
        cmocka_unit_test(old_segments_go_by_age),
        cmocka_unit_test(a_disk_that_refuses_for_a_while_changes_nothing_but_where_batches_wait),
        cmocka_unit_test(a_full_ring_gives_up_detail_first_and_tells),
        cmocka_unit_test(after_a_failed_sync_a_new_segment_begins_and_nobody_asks_again),
        cmocka_unit_test(who_appends_does_not_wait_for_the_disk_when_a_segment_is_full),
        cmocka_unit_test(what_was_renumbered_goes_when_its_new_record_is_sure),
        cmocka_unit_test(a_file_system_that_runs_full_gets_room_from_whole_segments),
        cmocka_unit_test(without_a_folder_batches_wait_in_memory),
        cmocka_unit_test(a_conflict_gets_a_number_of_a_new_epoch_and_no_crash_doubles_it),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

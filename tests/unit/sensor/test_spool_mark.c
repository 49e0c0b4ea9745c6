/* A capture that is killed: a model captures, notes and seals at random, dies at every step (a copy of the folder as it is then), and the next process must tell what was captured and not
 * sealed: health rows, transactions stored and transactions lost meet what the model counted up to its last note. */
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

#include "picket/batch.h"
#include "picket/hash.h"
#include "picket/limits.h"

#include "sensor/ship/spool.h"
#include "sensor/ship/spool_ledger.h"

static char root[64];

static int setup(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "%s/picket-mark-XXXXXX",
        access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    return pk_hash_start() == PK_OK && sodium_init() >= 0 && mkdtemp(root) ? 0 : 1;
}

static const char *path_of(const char *folder, const char *name)
{
    static char path[2][400];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s%s%s", root, folder, name[0] ? "/" : "", name);
    return path[turn];
}

static void empty(const char *folder)
{
    DIR *dir = opendir(path_of(folder, ""));
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (entry->d_name[0] != '.') {
            (void)unlink(path_of(folder, entry->d_name));
        }
    }
    if (dir) {
        closedir(dir);
    }
}

static int teardown(void **state)
{
    (void)state;
    static const char *const folders[] = {"alive", "dead", "stale"};
    for (size_t i = 0; i < 3; i++) {
        empty(folders[i]);
        (void)rmdir(path_of(folders[i], ""));
    }
    return rmdir(root);
}

static void copy_file(const char *from, const char *to)
{
    static uint8_t data[1 << 20];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    assert_non_null(in);
    assert_non_null(out);
    size_t len = fread(data, 1, sizeof data, in);
    assert_int_equal(fwrite(data, 1, len, out), len);
    fclose(in);
    fclose(out);
}

/* What is there at this moment, whoever has it open: what a kill leaves. */
static void die(const char *from, const char *to)
{
    (void)mkdir(path_of(to, ""), 0700);
    empty(to);
    DIR *dir = opendir(path_of(from, ""));
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] != '.') {
            copy_file(path_of(from, entry->d_name), path_of(to, entry->d_name));
        }
    }
    closedir(dir);
}

static bool disk_refuses;
static uint64_t writes_left = UINT64_MAX; /* then it refuses again */

static ssize_t write_or_not(int fd, const void *data, size_t len)
{
    errno = ENOSPC;
    if (disk_refuses || writes_left == 0) {
        return -1;
    }
    writes_left -= writes_left != UINT64_MAX;
    return write(fd, data, len);
}

static struct pk_spool *open_spool(const char *folder, struct pk_spool_found *found)
{
    static struct pk_spool_ops ops;
    ops = pk_spool_system_ops;
    ops.write = write_or_not;
    struct pk_spool_options options = {
        .folder = path_of(folder, ""), .max_bytes = 64 << 20, .memory_bytes = 1 << 20, .ops = &ops};
    struct pk_spool *spool = NULL;
    char error[PK_SPOOL_ERROR_SIZE] = "";
    if (pk_spool_open(&options, &spool, found, error) != PK_OK) {
        fail_msg("%s", error);
    }
    return spool;
}

/* --- what the spool has, by what an aggregator would make of it --- */

struct sums {
    uint64_t stored[PK_MARK_KINDS], lost[PK_MARK_KINDS];
    uint64_t messages, in_scope, rrsets, negative, shed, health_rows, open_now, unknown;
    int64_t loss_us; /* of the last loss batch */
    uint64_t memory_batches, health_lost;
};

static void see_loss(void *arg, const struct pk_loss *loss)
{
    struct sums *sums = arg;
    if (loss->cause == PK_LOSS_MEMORY) {
        sums->memory_batches += loss->batches;
        sums->health_lost += loss->kind == PK_BATCH_HEALTH ? loss->batches : 0;
        if (pk_mark_kind(loss->kind) < PK_MARK_KINDS) {
            sums->lost[pk_mark_kind(loss->kind)] += loss->transactions;
        }
        return;
    }
    assert_int_equal(loss->cause, PK_LOSS_CRASH);
    if (pk_mark_kind(loss->kind) < PK_MARK_KINDS) {
        assert_int_equal(loss->batches, 0);
        assert_true(loss->rows <= loss->transactions && loss->first_us <= loss->last_us);
        sums->lost[pk_mark_kind(loss->kind)] += loss->transactions;
    } else {
        sums->unknown += loss->batches;
    }
}

static int64_t time_of(const struct pk_segment_record *record)
{
    struct pk_batch *batch;
    struct pk_batch_fault fault;
    assert_int_equal(pk_batch_decode(record->body, record->body_len, &batch, &fault), PK_OK);
    int64_t start_us = pk_batch_info(batch)->window_start_us;
    pk_batch_free(batch);
    return start_us;
}

static void see_health(struct sums *sums, const struct pk_segment_record *record)
{
    struct pk_batch *batch;
    struct pk_batch_fault fault;
    struct pk_health health;
    assert_int_equal(pk_batch_decode(record->body, record->body_len, &batch, &fault), PK_OK);
    pk_batch_health(batch, &health);
    pk_batch_free(batch);
    sums->health_rows++;
    sums->messages += health.v[PK_HEALTH_MESSAGES];
    sums->in_scope += health.v[PK_HEALTH_IN_SCOPE];
    sums->rrsets += health.v[PK_HEALTH_RRSETS] - health.v[PK_HEALTH_RRSETS_SHED];
    sums->negative += health.v[PK_HEALTH_NEGATIVE];
    sums->shed += health.v[PK_HEALTH_MERGE_SHED];
    sums->open_now = health.v[PK_HEALTH_OPEN_NOW];
}

static struct sums sum_up(struct pk_spool *spool)
{
    struct sums sums = {0};
    struct pk_queue queue = pk_spool_queue(spool);
    struct pk_queue_at at = {0};
    struct pk_segment_record record;
    struct pk_bytes buffer;
    pk_bytes_init(&buffer, PK_MAX_SEGMENT_RECORD);
    while (queue.next(queue.self, at, &buffer, &at, &record)) {
        if (record.kind == PK_BATCH_LOSS) {
            pk_ledger_read(record.body, record.body_len, record.codec, see_loss, &sums);
            sums.loss_us = time_of(&record);
        } else if (record.kind == PK_BATCH_HEALTH) {
            see_health(&sums, &record);
        } else {
            sums.stored[pk_mark_kind(record.kind)] += record.transactions;
        }
    }
    pk_bytes_done(&buffer);
    return sums;
}

static void assert_balanced(const struct sums *sums)
{
    assert_int_equal(sums->stored[0] + sums->lost[0], sums->in_scope);
    assert_int_equal(sums->stored[1] + sums->lost[1], sums->rrsets);
    assert_int_equal(sums->stored[2] + sums->lost[2], sums->negative);
}

/* --- a capture thread --- */

struct thread {
    struct pk_spool_source *source;
    struct pk_unsealed now;
    uint64_t open[PK_MARK_KINDS]; /* transactions in the tables */
    uint64_t messages;            /* ever, as of the last note */
    uint64_t reported;            /* messages in health rows */
    uint64_t captured[PK_MARK_KINDS], n_health;
};

static uint64_t random_state = 1;

static uint64_t below(uint64_t n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (random_state >> 33) % n;
}

static void capture(struct thread *thread)
{
    uint64_t *v = thread->now.health.v, n = 1 + below(50);
    static const enum pk_health_key keys[PK_MARK_KINDS] = {
        PK_HEALTH_IN_SCOPE, PK_HEALTH_RRSETS, PK_HEALTH_NEGATIVE};
    unsigned kind = (unsigned)below(PK_MARK_KINDS);
    v[PK_HEALTH_PACKETS] += 2 * n;
    v[PK_HEALTH_MESSAGES] += 2 * n;
    v[PK_HEALTH_TRANSACTIONS] += kind != 1 ? n : 0;
    v[keys[kind]] += n;
    v[PK_HEALTH_OPEN_NOW] = below(5);
    thread->open[kind] += n;
    thread->captured[kind] += n;
    thread->now.rows[kind]++;
}

static void note(struct thread *thread)
{
    pk_spool_source_note(thread->source, &thread->now);
    thread->messages = thread->reported + thread->now.health.v[PK_HEALTH_MESSAGES];
}

static void seal(struct thread *thread, unsigned kind, uint64_t transactions, uint32_t rows)
{
    static const enum pk_batch_kind kinds[] = {
        PK_BATCH_ACTIVITY, PK_BATCH_RRSET, PK_BATCH_NEGATIVE};
    const uint8_t body[] = {1, 2, 3};
    const struct pk_sealed sealed = {.kind = kinds[kind],
        .rows = rows,
        .transactions = transactions,
        .body = body,
        .body_len = sizeof body};
    note(thread); /* as the batcher does */
    assert_int_equal(pk_spool_source_append(thread->source, &sealed), PK_OK);
    thread->open[kind] -= transactions;
    thread->now.rows[kind] -= rows;
}

static void seal_health(struct thread *thread)
{
    struct pk_bytes body;
    struct pk_batch_builder *builder;
    struct pk_sealed sealed = {.kind = PK_BATCH_HEALTH, .rows = 1};
    const struct pk_batch_info info = {.kind = PK_BATCH_HEALTH,
        .window_start_us = thread->now.window_start_us,
        .window_ms = thread->now.window_ms};
    pk_bytes_init(&body, PK_MAX_BODY_BYTES);
    assert_int_equal(pk_batch_builder_new(1, &builder), PK_OK);
    pk_batch_builder_begin(builder, &info);
    assert_int_equal(pk_batch_set_health(builder, &thread->now.health), PK_OK);
    assert_int_equal(pk_batch_encode(builder, &body, &sealed.first_us, &sealed.last_us), PK_OK);
    pk_batch_builder_free(builder);
    sealed.body = body.data;
    sealed.body_len = body.len;
    note(thread);
    assert_int_equal(pk_spool_source_append(thread->source, &sealed), PK_OK);
    pk_bytes_done(&body);
    thread->n_health++;
    thread->reported += thread->now.health.v[PK_HEALTH_MESSAGES];
    uint64_t open_now = thread->now.health.v[PK_HEALTH_OPEN_NOW];
    thread->now.health = (struct pk_health){0};
    thread->now.health.v[PK_HEALTH_OPEN_NOW] = open_now;
    thread->now.window_start_us += 10000000;
}

static void end_window(struct thread *thread)
{
    for (unsigned kind = 0; kind < PK_MARK_KINDS; kind++) {
        if (thread->open[kind] > 0) {
            seal(thread, kind, thread->open[kind], (uint32_t)thread->now.rows[kind]);
        }
    }
    seal_health(thread);
}

static void start(struct thread *thread, struct pk_spool *spool, unsigned n)
{
    *thread = (struct thread){.source = pk_spool_source(spool, n),
        .now = {.window_start_us = 1760000000000000, .window_ms = 10000}};
}

static void step(struct thread *thread)
{
    switch (below(8)) {
    case 0:
        end_window(thread);
        break;
    case 1: {
        unsigned kind = (unsigned)below(PK_MARK_KINDS);
        if (thread->now.rows[kind] > 1) { /* a part of the window, for want of room */
            seal(thread, kind, thread->open[kind] / 2, (uint32_t)(thread->now.rows[kind] / 2));
        }
        break;
    }
    case 2:
    case 3:
        note(thread);
        break;
    default:
        capture(thread);
    }
}

/* --- tests --- */

/* The next process, killed itself before anything is delivered, and the one after it: nothing is told twice. */
static void check_dead(const char *folder, uint64_t messages)
{
    struct pk_spool_found found;
    for (int again = 0; again < 2; again++) {
        struct pk_spool *spool = open_spool(folder, &found);
        struct sums sums = sum_up(spool);
        assert_balanced(&sums);
        assert_int_equal(sums.messages, messages);
        assert_int_equal(sums.unknown, 0);
        assert_int_not_equal(access(path_of(folder, "mark"), F_OK), 0);
        assert_true(again == 0 || !found.has_crashed);
        pk_spool_close(spool);
    }
}

static void whenever_it_is_killed_the_sums_meet(void **state)
{
    (void)state;
    for (unsigned n_threads = 1; n_threads <= 3; n_threads++) {
        struct pk_spool_found found;
        struct thread threads[3];
        empty("alive");
        struct pk_spool *spool = open_spool("alive", &found);
        for (unsigned i = 0; i < n_threads; i++) {
            start(&threads[i], spool, i);
        }
        for (int i = 0; i < 300; i++) {
            uint64_t messages = 0;
            step(&threads[below(n_threads)]);
            for (unsigned k = 0; k < n_threads; k++) {
                messages += threads[k].messages;
            }
            die("alive", "dead");
            check_dead("dead", messages);
        }
        pk_spool_close(spool);
    }
}

/* The batch is in the spool and its mark is not: what a kill between the two leaves, or a power cut that kept an older page. */
static void what_was_sealed_after_the_mark_is_not_told_lost(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        struct pk_spool_found found;
        struct thread thread;
        empty("alive");
        struct pk_spool *spool = open_spool("alive", &found);
        start(&thread, spool, 0);
        for (uint64_t k = below(30); k > 0; k--) {
            step(&thread);
        }
        note(&thread);
        uint64_t messages = thread.messages;
        die("alive", "stale");
        bool has_ended = below(2);
        if (has_ended) {
            end_window(&thread);
        } else {
            for (unsigned kind = 0; kind < PK_MARK_KINDS; kind++) {
                if (thread.open[kind] > 0 && below(2)) {
                    seal(&thread, kind, thread.open[kind], (uint32_t)thread.now.rows[kind]);
                }
            }
        }
        die("alive", "dead");
        copy_file(path_of("stale", "mark"), path_of("dead", "mark"));
        check_dead("dead", messages);
        pk_spool_close(spool);
    }
}

/* Killed after the health row that it told, before the loss batch. */
static void a_crash_while_a_crash_is_told_doubles_nothing(void **state)
{
    (void)state;
    struct pk_spool_found found;
    struct thread thread;
    empty("alive");
    struct pk_spool *spool = open_spool("alive", &found);
    start(&thread, spool, 0);
    for (int k = 0; k < 20; k++) {
        capture(&thread);
    }
    thread.now.health.v[PK_HEALTH_OPEN_NOW] = 3;
    note(&thread);
    uint64_t messages = thread.messages;
    die("alive", "dead");
    pk_spool_close(spool);
    die("dead", "stale");
    spool = open_spool("dead", &found);
    assert_true(found.has_crashed && !found.is_crash_unknown);
    assert_int_equal(found.crashed_messages, messages);
    struct sums sums = sum_up(spool);
    assert_int_equal(sums.health_rows, 1);
    assert_int_equal(sums.shed, 3); /* open queries: closed, and for nobody */
    assert_int_equal(sums.open_now, 0);
    assert_int_equal(sums.loss_us, thread.now.window_start_us); /* where its health row is */
    assert_true(sums.lost[0] > 0 && sums.lost[1] > 0 && sums.lost[2] > 0);
    pk_spool_close(spool);
    copy_file(path_of("stale", "mark"), path_of("dead", "mark")); /* all told, the mark not gone */
    check_dead("dead", messages);
    for (int half = 0; half < 2; half++) { /* one of the two batches is not there */
        copy_file(path_of("stale", "mark"), path_of("dead", "mark"));
        DIR *dir = opendir(path_of("dead", ""));
        for (struct dirent *entry; (entry = readdir(dir));) {
            size_t len = strlen(entry->d_name);
            if (len > 6 && strcmp(entry->d_name + len - 6, "-k.psp") == 0) {
                struct stat info;
                const char *path = path_of("dead", entry->d_name);
                assert_int_equal(stat(path, &info), 0);
                FILE *in = fopen(path, "rb");
                uint8_t head[84];
                assert_int_equal(fread(head, 1, sizeof head, in), sizeof head);
                fclose(in);
                uint32_t body = (uint32_t)head[64] << 24 | (uint32_t)head[65] << 16 |
                                (uint32_t)head[66] << 8 | head[67];
                long first_end = 64 + (((long)body + (head[82] ? 64 : 40) + 7) & ~7L);
                assert_int_equal(truncate(path, half == 0 ? first_end : 64), 0);
            }
        }
        closedir(dir);
        check_dead("dead", messages);
    }
}

/* While the disk refuses batches wait in memory, and go with the process; when it works again they come to it one by one, and a kill in between tells those that are left. */
static void what_waited_in_memory_is_told(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        struct pk_spool_found found;
        struct thread thread;
        empty("alive");
        disk_refuses = false;
        struct pk_spool *spool = open_spool("alive", &found);
        start(&thread, spool, 0);
        uint64_t captured[PK_MARK_KINDS] = {0}, seen[PK_MARK_KINDS];
        for (uint64_t k = below(10); k > 0; k--) {
            step(&thread);
        }
        disk_refuses = true;
        for (uint64_t k = 5 + below(30); k > 0; k--) {
            step(&thread);
        }
        note(&thread);
        die("alive", "stale");
        bool is_stale = below(2);
        if (below(4) > 0) {
            disk_refuses = false;
            writes_left = below(2) ? below(12) : UINT64_MAX; /* all of it, or some */
            pk_spool_sync(spool, INT64_MAX / 2, true);
            if (!is_stale) {
                step(&thread);
            }
        }
        note(&thread);
        memcpy(captured, thread.captured, sizeof captured);
        die("alive", "dead");
        if (is_stale) { /* on the disk, and the mark does not say so yet */
            copy_file(path_of("stale", "mark"), path_of("dead", "mark"));
        }
        disk_refuses = false;
        writes_left = UINT64_MAX;
        struct pk_spool *dead = open_spool("dead", &found);
        struct sums sums = sum_up(dead);
        for (unsigned kind = 0; kind < PK_MARK_KINDS; kind++) {
            seen[kind] = sums.stored[kind] + sums.lost[kind];
            assert_int_equal(seen[kind], captured[kind]);
        }
        uint64_t told = thread.now.health.v[PK_HEALTH_PACKETS] > 0 ||
                        thread.now.health.v[PK_HEALTH_OPEN_NOW] > 0;
        assert_int_equal(sums.health_rows + sums.health_lost, thread.n_health + told);
        pk_spool_close(dead);
        pk_spool_close(spool);
    }
}

static void a_clean_end_tells_nothing(void **state)
{
    (void)state;
    struct pk_spool_found found;
    struct thread thread;
    empty("alive");
    struct pk_spool *spool = open_spool("alive", &found);
    start(&thread, spool, 0);
    capture(&thread);
    end_window(&thread);
    assert_int_equal(access(path_of("alive", "mark"), F_OK), 0);
    pk_spool_close(spool);
    assert_int_not_equal(access(path_of("alive", "mark"), F_OK), 0);
    spool = open_spool("alive", &found);
    assert_false(found.has_crashed);
    assert_int_equal(sum_up(spool).health_rows, 1);
    pk_spool_close(spool);
}

static void a_mark_that_cannot_be_read_is_a_loss_of_unknown_size(void **state)
{
    (void)state;
    struct pk_spool_found found;
    struct thread thread;
    empty("alive");
    struct pk_spool *spool = open_spool("alive", &found);
    start(&thread, spool, 0);
    capture(&thread);
    note(&thread);
    die("alive", "dead");
    pk_spool_close(spool);
    int fd = open(path_of("dead", "mark"), O_WRONLY);
    for (int slot = 0; slot < 2; slot++) { /* a counter of each slot */
        assert_int_equal(pwrite(fd, "damage", 6, slot * PK_MARK_SLOT_BYTES + 130), 6);
    }
    close(fd);
    spool = open_spool("dead", &found);
    assert_true(found.has_crashed && found.is_crash_unknown);
    assert_int_equal(sum_up(spool).unknown, 1);
    pk_spool_close(spool);
}

static void a_note_cut_short_leaves_the_one_before(void **state)
{
    (void)state;
    struct pk_spool_found found;
    struct thread thread;
    empty("alive");
    struct pk_spool *spool = open_spool("alive", &found);
    start(&thread, spool, 0);
    capture(&thread);
    note(&thread);
    uint64_t messages = thread.messages;
    capture(&thread);
    note(&thread); /* the third: in the second slot again */
    die("alive", "dead");
    pk_spool_close(spool);
    int fd = open(path_of("dead", "mark"), O_WRONLY);
    assert_int_equal(pwrite(fd, "half", 4, PK_MARK_SLOT_BYTES + 130), 4);
    close(fd);
    check_dead("dead", messages);
}

static void a_file_that_is_cut_does_not_end_the_capture(void **state)
{
    (void)state;
    struct pk_spool_found found;
    struct pk_spool_status status;
    struct thread thread;
    empty("alive");
    struct pk_spool *spool = open_spool("alive", &found);
    start(&thread, spool, 0);
    pk_spool_get_status(spool, &status);
    assert_false(status.has_no_mark);
    assert_int_equal(truncate(path_of("alive", "mark"), 0), 0);
    capture(&thread);
    note(&thread); /* would be SIGBUS */
    end_window(&thread);
    pk_spool_get_status(spool, &status);
    assert_true(status.has_no_mark);
    struct sums sums = sum_up(spool);
    assert_balanced(&sums);
    pk_spool_close(spool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whenever_it_is_killed_the_sums_meet),
        cmocka_unit_test(what_was_sealed_after_the_mark_is_not_told_lost),
        cmocka_unit_test(a_crash_while_a_crash_is_told_doubles_nothing),
        cmocka_unit_test(what_waited_in_memory_is_told),
        cmocka_unit_test(a_clean_end_tells_nothing),
        cmocka_unit_test(a_mark_that_cannot_be_read_is_a_loss_of_unknown_size),
        cmocka_unit_test(a_note_cut_short_leaves_the_one_before),
        cmocka_unit_test(a_file_that_is_cut_does_not_end_the_capture),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

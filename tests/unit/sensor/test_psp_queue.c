/* A .psp file as a queue: whatever is acknowledged, alone, by ranges or up to somewhere, and whatever is refused, what is left comes in order and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "picket/batch.h"
#include "picket/hash.h"
#include "picket/limits.h"

#include "sensor/ship/psp_file.h"
#include "sensor/ship/psp_queue.h"

enum {
    N = 20,
    EPOCH = 9
};

static char path[64];

static int make_file(void **state)
{
    struct pk_psp_file *file;
    struct pk_batch_builder *builder;
    char error[PK_PSP_ERROR_SIZE];
    (void)state;
    snprintf(path, sizeof path, "/tmp/picket-psp-%d.psp", (int)getpid());
    if (pk_hash_start() != PK_OK || pk_batch_builder_new(1, &builder) != PK_OK ||
        pk_psp_file_create(path, 1760000000000000, EPOCH, true, &file, error) != PK_OK) {
        return 1;
    }
    for (int i = 0; i < N; i++) {
        const struct pk_batch_info info = {.kind = PK_BATCH_HEALTH, .window_start_us = 1000000 * i};
        const struct pk_health health = {.v = {[PK_HEALTH_MESSAGES] = (uint64_t)i}};
        struct pk_sealed sealed = {.kind = PK_BATCH_HEALTH, .rows = 1};
        struct pk_bytes body;
        pk_bytes_init(&body, PK_MAX_BODY_BYTES);
        pk_batch_builder_begin(builder, &info);
        assert_int_equal(pk_batch_set_health(builder, &health), PK_OK);
        assert_int_equal(pk_batch_encode(builder, &body, &sealed.first_us, &sealed.last_us), PK_OK);
        sealed.body = body.data;
        sealed.body_len = body.len;
        assert_int_equal(pk_psp_file_append(file, &sealed), PK_OK);
        pk_bytes_done(&body);
    }
    pk_batch_builder_free(builder);
    return pk_psp_file_close(file, true, error) == PK_OK ? 0 : 1;
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

static void check(const struct pk_queue *queue, const bool done[N + 1])
{
    struct pk_queue_info info;
    struct pk_queue_at at = {0};
    struct pk_segment_record record;
    struct pk_bytes buffer;
    size_t n_left = 0;
    pk_bytes_init(&buffer, PK_MAX_SEGMENT_RECORD);
    for (uint64_t seq = 1; seq <= N; seq++) {
        if (!done[seq]) {
            assert_true(queue->next(queue->self, at, &buffer, &at, &record));
            assert_int_equal(at.epoch, EPOCH);
            assert_int_equal(at.seq, seq);
            assert_int_equal(record.seq, seq);
            n_left++;
        }
    }
    assert_false(queue->next(queue->self, at, &buffer, &at, &record));
    queue->info(queue->self, &info);
    assert_int_equal(info.n_batches, n_left);
    pk_bytes_done(&buffer);
}

static void what_is_left_comes_in_order(void **state)
{
    (void)state;
    uint32_t random = 1;
    for (int round = 0; round < 500; round++) {
        struct pk_psp_queue *file;
        char error[PK_PSP_QUEUE_ERROR_SIZE];
        bool done[N + 1] = {false};
        uint64_t n_refused = 0;
        assert_int_equal(pk_psp_queue_open(path, &file, error), PK_OK);
        struct pk_queue queue = pk_psp_queue(file);
        check(&queue, done);
        for (int i = 0; i < 12; i++) {
            random = random * 1664525u + 1013904223u;
            uint64_t from = 1 + (random >> 8) % N, to = from + (random >> 16) % 4;
            bool is_epochs = (random >> 28) != 0;
            if (random >> 30 == 1) {
                n_refused += !done[from];
                done[from] = true;
                queue.refused(queue.self, (struct pk_queue_at){EPOCH, from}, PK_QUEUE_REFUSED_KEPT);
            } else {
                queue.ack(queue.self, is_epochs ? EPOCH : EPOCH + 1, from, to);
                for (uint64_t seq = from; seq <= to && seq <= N && is_epochs; seq++) {
                    done[seq] = true;
                }
            }
            check(&queue, done);
            assert_int_equal(pk_psp_queue_refused(file), n_refused);
        }
        queue.ack(queue.self, EPOCH, 0, N);
        memset(done, true, sizeof done);
        check(&queue, done);
        pk_psp_queue_close(file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_left_comes_in_order)};
    return cmocka_run_group_tests(tests, make_file, remove_file);
}

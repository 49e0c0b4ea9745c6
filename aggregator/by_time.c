/* An array of what waits, sorted when something is to be given out; batches count their rows that wait. */
#include "by_time.h"

#include <stdlib.h>
#include <string.h>

struct waiting_batch {
    struct pk_batch *batch;
    const void *about;
    size_t n_left;
};

struct row {
    int64_t time_us;
    uint64_t number; /* of adding: ties keep their order */
    struct waiting_batch *of;
    size_t row;
};

struct pk_by_time {
    pk_by_time_fn give;
    void *arg;
    struct row *v;
    size_t n, cap;
    uint64_t n_added;
};

pk_err pk_by_time_new(pk_by_time_fn give, void *arg, struct pk_by_time **out_rows)
{
    struct pk_by_time *rows = calloc(1, sizeof *rows);
    if (!rows) {
        return PK_ERR_NOMEM;
    }
    rows->give = give;
    rows->arg = arg;
    *out_rows = rows;
    return PK_OK;
}

static void done_with(struct row *row)
{
    if (--row->of->n_left == 0) {
        pk_batch_free(row->of->batch);
        free(row->of);
    }
}

void pk_by_time_free(struct pk_by_time *rows)
{
    for (size_t i = 0; rows && i < rows->n; i++) {
        done_with(&rows->v[i]);
    }
    if (rows) {
        free(rows->v);
    }
    free(rows);
}

static bool reserve(struct pk_by_time *rows, size_t n)
{
    if (rows->n + n <= rows->cap) {
        return true;
    }
    size_t cap = 2 * (rows->n + n);
    struct row *grown = realloc(rows->v, cap * sizeof *grown);
    if (!grown) {
        return false;
    }
    rows->v = grown;
    rows->cap = cap;
    return true;
}

static int64_t time_of(const struct pk_batch *batch, size_t i)
{
    if (pk_batch_info(batch)->kind == PK_BATCH_CLIENT) {
        struct pk_client_count row;
        pk_batch_client_count(batch, i, &row);
        return row.first_us + row.span_us;
    }
    struct pk_activity row;
    pk_batch_activity(batch, i, &row);
    return row.first_us;
}

pk_err pk_by_time_add(struct pk_by_time *rows, struct pk_batch *batch, const void *about)
{
    size_t n = pk_batch_rows(batch);
    struct waiting_batch *of = n > 0 && reserve(rows, n) ? malloc(sizeof *of) : NULL;
    if (!of) {
        pk_batch_free(batch);
        return n > 0 ? PK_ERR_NOMEM : PK_OK;
    }
    *of = (struct waiting_batch){.batch = batch, .about = about, .n_left = n};
    for (size_t i = 0; i < n; i++) {
        rows->v[rows->n++] = (struct row){
            .time_us = time_of(batch, i), .number = rows->n_added++, .of = of, .row = i};
    }
    return PK_OK;
}

static int compare(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    if (x->time_us != y->time_us) {
        return x->time_us < y->time_us ? -1 : 1;
    }
    return x->number < y->number ? -1 : x->number > y->number;
}

pk_err pk_by_time_give(struct pk_by_time *rows, int64_t until_us)
{
    pk_err err = PK_OK;
    size_t given = 0;
    if (rows->n > 1) {
        qsort(rows->v, rows->n, sizeof *rows->v, compare);
    }
    while (given < rows->n && rows->v[given].time_us < until_us && err == PK_OK) {
        struct row *row = &rows->v[given++];
        err = rows->give(rows->arg, row->of->batch, row->of->about, row->row);
        done_with(row);
    }
    rows->n -= given;
    if (given > 0) {
        memmove(rows->v, rows->v + given, rows->n * sizeof *rows->v);
    }
    return err;
}

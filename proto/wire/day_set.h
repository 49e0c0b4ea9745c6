/* The distinct days (UTC) of a batch's rows, up to as many as a batch may span. */
#ifndef PICKET_WIRE_DAY_SET_H
#define PICKET_WIRE_DAY_SET_H

#include <stdbool.h>
#include <stdint.h>

#include "picket/clock.h"
#include "picket/limits.h"

struct day_set {
    int32_t v[PK_MAX_BATCH_DAYS]; /* days since 1970, in the order they came */
    uint32_t n;
    int64_t last_us; /* where the day asked for last begins; of no meaning while n is 0 */
};

/* False: it would be one too many. Rows lie side by side in time, so nearly every one is of the day before it. */
static inline bool day_set_add(struct day_set *days, int64_t us)
{
    if (days->n > 0 && us >= days->last_us && us - days->last_us < PK_US_PER_DAY) {
        return true;
    }
    int32_t day = (int32_t)(us / PK_US_PER_DAY - (us % PK_US_PER_DAY < 0));
    uint32_t i = 0;
    while (i < days->n && days->v[i] != day) {
        i++;
    }
    if (i == PK_MAX_BATCH_DAYS) {
        return false;
    }
    days->v[i] = day;
    days->n = i == days->n ? i + 1 : days->n;
    days->last_us = day * PK_US_PER_DAY;
    return true;
}

#endif

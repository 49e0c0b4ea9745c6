/* Filters and counters only: nothing grows with the number of clients. */
#include "window/share.h"

#include <stdlib.h>
#include <string.h>

#include "picket/hash.h"

enum {
    KNOWN_BITS = 1 << 20,
    COUNTERS = 1 << 14,
    N_COUNTER_ROWS = 2,
    FIRST_PARTS = 8,  /* not counted; also the share of a client up to half */
    LATE_PARTS = 512, /* the share of a known client above half */
};

struct filter {
    uint64_t words[KNOWN_BITS / 64];
};

struct pk_share {
    uint32_t max_rows;
    struct filter known[2];
    unsigned now;    /* the filter of this window; the other is of the one before */
    bool is_noted;   /* something stands in it */
    bool is_counted; /* something stands in counters */
    uint32_t counters[N_COUNTER_ROWS][COUNTERS];
};

pk_err pk_share_new(uint32_t max_rows, struct pk_share **out_share)
{
    struct pk_share *share = calloc(1, sizeof *share);
    if (!share) {
        return PK_ERR_NOMEM;
    }
    share->max_rows = max_rows;
    *out_share = share;
    return PK_OK;
}

void pk_share_free(struct pk_share *share)
{
    free(share);
}

size_t pk_share_bound_bytes(void)
{
    return sizeof(struct pk_share);
}

void pk_share_set(struct pk_share *share, uint32_t max_rows)
{
    share->max_rows = max_rows;
}

void pk_share_begin(struct pk_share *share)
{
    share->now ^= 1;
    if (share->is_noted) { /* in either of the two */
        memset(&share->known[share->now], 0, sizeof share->known[0]);
    }
    if (share->is_counted) {
        memset(share->counters, 0, sizeof share->counters);
        share->is_counted = false;
    }
}

uint64_t pk_share_watch_from(const struct pk_share *share)
{
    return share->max_rows ? share->max_rows / FIRST_PARTS : UINT64_MAX;
}

static uint64_t hash_of(const struct pk_addr *client)
{
    return pk_hash_quick(client, sizeof *client);
}

static bool holds(const struct filter *filter, uint64_t hash)
{
    uint32_t a = (uint32_t)hash % KNOWN_BITS, b = (uint32_t)(hash >> 32) % KNOWN_BITS;
    return filter->words[a / 64] >> a % 64 & filter->words[b / 64] >> b % 64 & 1;
}

void pk_share_note(struct pk_share *share, const struct pk_addr *client, uint64_t n_rows)
{
    if (share->max_rows == 0 || n_rows >= share->max_rows / 2) {
        return;
    }
    uint64_t hash = hash_of(client);
    uint32_t a = (uint32_t)hash % KNOWN_BITS, b = (uint32_t)(hash >> 32) % KNOWN_BITS;
    struct filter *filter = &share->known[share->now];
    filter->words[a / 64] |= UINT64_C(1) << a % 64;
    filter->words[b / 64] |= UINT64_C(1) << b % 64;
    share->is_noted = true;
}

bool pk_share_allows(struct pk_share *share, const struct pk_addr *client, uint64_t n_rows)
{
    uint64_t hash = hash_of(client);
    bool is_late = n_rows >= share->max_rows / 2;
    if (n_rows >= share->max_rows ||
        (is_late && !holds(&share->known[0], hash) && !holds(&share->known[1], hash))) {
        return false;
    }
    uint32_t *first = &share->counters[0][hash >> 20 & (COUNTERS - 1)];
    uint32_t *second = &share->counters[1][hash >> 44 & (COUNTERS - 1)];
    uint32_t have = *first < *second ? *first : *second;
    if (have >= share->max_rows / (is_late ? LATE_PARTS : FIRST_PARTS)) {
        return false;
    }
    ++*first;
    ++*second;
    share->is_counted = true;
    return true;
}

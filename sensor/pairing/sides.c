/* Two places for each server; the emptier one gives way after it was halved down, so that a scan of many servers does not push out the busy ones. */
#include "pairing/sides.h"

#include "picket/hash.h"

static uint32_t seen(const struct pk_side *side)
{
    return side->answered + side->queries_alone + side->responses_alone;
}

static struct pk_side *find(struct pk_sides *sides, const struct pk_addr *server)
{
    uint64_t hash = pk_addr_hash(server);
    struct pk_side *a = &sides->v[hash & (PK_SIDES_SLOTS - 1)];
    struct pk_side *b = &sides->v[hash >> 32 & (PK_SIDES_SLOTS - 1)];
    if (pk_addr_equal(&a->server, server)) {
        return a;
    }
    if (pk_addr_equal(&b->server, server)) {
        return b;
    }
    struct pk_side *least = seen(b) < seen(a) ? b : a;
    if (seen(least) > 1) {
        least->answered /= 2;
        least->queries_alone /= 2;
        least->responses_alone /= 2;
        return NULL;
    }
    *least = (struct pk_side){.server = *server};
    return least;
}

void pk_sides_note(struct pk_sides *sides, const struct pk_transaction *transaction)
{
    struct pk_side *side = find(sides, &transaction->query.server);
    if (side && seen(side) < UINT32_MAX) {
        side->answered += transaction->outcome == PK_OUTCOME_ANSWERED;
        side->queries_alone += transaction->outcome == PK_OUTCOME_UNANSWERED;
        side->responses_alone += transaction->outcome == PK_OUTCOME_UNSOLICITED;
    }
}

void pk_sides_sum(const struct pk_sides *sides, struct pk_sides_sum *out_sum)
{
    *out_sum = (struct pk_sides_sum){0};
    for (size_t i = 0; i < PK_SIDES_SLOTS; i++) {
        const struct pk_side *side = &sides->v[i];
        if (seen(side) < PK_SIDES_LEAST) {
            continue;
        }
        out_sum->n_servers++;
        if (side->answered > 0) {
            continue;
        }
        if (side->responses_alone == 0) {
            out_sum->n_queries_only++;
            const struct pk_side *most = out_sum->queries_only;
            out_sum->queries_only = !most || seen(side) > seen(most) ? side : most;
        } else if (side->queries_alone == 0) {
            out_sum->n_responses_only++;
            const struct pk_side *most = out_sum->responses_only;
            out_sum->responses_only = !most || seen(side) > seen(most) ? side : most;
        }
    }
}

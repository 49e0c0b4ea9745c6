/* A set-associative table, because that forgets by itself: a message takes the place of the oldest in its set. Tags stand apart from the entries, so that a message
 * without a copy costs one line read and one written. */
#include "pairing/copies.h"

#include <stdlib.h>
#include <string.h>

struct seen {
    int64_t ts_us;
    uint64_t hash;
    struct pk_leg leg;
    uint16_t interface;
    uint8_t transport;
};

struct tags {
    uint32_t v[PK_COPIES_WAYS];
    uint32_t next; /* the oldest: its place is taken next */
};

struct pk_copies {
    struct tags tags[PK_COPIES_SETS];
    struct seen seen[PK_COPIES_SETS][PK_COPIES_WAYS];
    uint64_t n_forgotten;
};

pk_err pk_copies_new(struct pk_copies **out_copies)
{
    *out_copies = calloc(1, sizeof **out_copies);
    return *out_copies ? PK_OK : PK_ERR_NOMEM;
}

void pk_copies_free(struct pk_copies *copies)
{
    free(copies);
}

uint64_t pk_copies_forgotten(const struct pk_copies *copies)
{
    return copies->n_forgotten;
}

static bool is_within(const struct seen *seen, const struct pk_message *message, int64_t window_us)
{
    int64_t apart_us = message->ts_us - seen->ts_us;
    return apart_us <= window_us && apart_us >= -window_us;
}

static enum pk_copy compare(const struct seen *seen, const struct pk_message *message)
{
    bool has_src =
        seen->leg.sport == message->sport && pk_addr_equal(&seen->leg.src, &message->src);
    bool has_dst =
        seen->leg.dport == message->dport && pk_addr_equal(&seen->leg.dst, &message->dst);
    bool is_elsewhere = seen->interface != message->interface;
    if (has_src && has_dst) {
        if (is_elsewhere) {
            return is_within(seen, message, PK_COPY_OTHER_US) ? PK_COPY_SAME : PK_COPY_NONE;
        }
        bool is_repeat =
            message->transport == PK_TRANSPORT_UDP && is_within(seen, message, PK_COPY_SAME_US);
        return is_repeat ? PK_COPY_REPEAT : PK_COPY_NONE;
    }
    return (has_src || has_dst) && is_elsewhere && is_within(seen, message, PK_COPY_NAT_US)
               ? PK_COPY_TRANSLATED
               : PK_COPY_NONE;
}

static void remember(
    struct pk_copies *copies, uint64_t hash, size_t set, const struct pk_message *message)
{
    struct tags *tags = &copies->tags[set];
    struct seen *seen = &copies->seen[set][tags->next];
    copies->n_forgotten += tags->v[tags->next] != 0 && is_within(seen, message, PK_COPY_SAME_US);
    tags->v[tags->next] = (uint32_t)hash | 1; /* 0: empty */
    tags->next = (tags->next + 1) % PK_COPIES_WAYS;
    seen->ts_us = message->ts_us;
    seen->hash = hash;
    seen->leg = message->leg;
    seen->interface = message->interface;
    seen->transport = message->transport;
}

static size_t set_of(uint64_t hash)
{
    return hash >> 32 & (PK_COPIES_SETS - 1);
}

void pk_copies_ahead(const struct pk_copies *copies, uint64_t digest)
{
    size_t set = set_of(digest);
    __builtin_prefetch(&copies->tags[set]);
    for (unsigned i = 0; i < PK_COPIES_WAYS; i++) {
        __builtin_prefetch(&copies->seen[set][i], 1);
    }
}

enum pk_copy pk_copies_see(
    struct pk_copies *copies, const struct pk_message *message, struct pk_leg *out_first)
{
    uint64_t hash = message->digest;
    size_t set = set_of(hash);
    const struct tags *tags = &copies->tags[set];
    const struct seen *translated = NULL;
    for (size_t i = 0; i < PK_COPIES_WAYS; i++) {
        if (tags->v[i] != ((uint32_t)hash | 1)) {
            continue;
        }
        const struct seen *seen = &copies->seen[set][i];
        if (seen->hash != hash || seen->transport != message->transport) {
            continue;
        }
        enum pk_copy copy = compare(seen, message);
        if (copy == PK_COPY_SAME || copy == PK_COPY_REPEAT) {
            return copy;
        }
        translated = copy == PK_COPY_TRANSLATED ? seen : translated;
    }
    if (translated) {
        *out_first = translated->leg;
        return PK_COPY_TRANSLATED;
    }
    remember(copies, hash, set, message);
    return PK_COPY_NONE;
}

size_t pk_copies_bound_bytes(void)
{
    return sizeof(struct pk_copies);
}

/* Direct mapped, because only the last of what fell on a place matters. */
#include "pairing/closed.h"

#include <stdlib.h>
#include <string.h>

#include "picket/hash.h"

struct entry {
    uint32_t tag, question, answer;
    uint16_t stamp_s;
    uint8_t n_again;
    bool is_used;
};

struct pk_closed {
    struct entry entries[PK_CLOSED_SLOTS];
};

pk_err pk_closed_new(struct pk_closed **out_closed)
{
    *out_closed = calloc(1, sizeof **out_closed);
    return *out_closed ? PK_OK : PK_ERR_NOMEM;
}

void pk_closed_free(struct pk_closed *closed)
{
    free(closed);
}

uint32_t pk_closed_question(const struct pk_question *question, uint64_t name_hash)
{
    uint64_t name = name_hash ? name_hash : pk_name_hash(&question->name);
    uint32_t hash = (uint32_t)pk_hash_mix(name, (uint64_t)question->type << 16 | question->class);
    return hash ? hash : 1;
}

static uint16_t stamp(int64_t now_us)
{
    return (uint16_t)(now_us / 1000000);
}

void pk_closed_note(struct pk_closed *closed, uint64_t key, uint32_t question, uint32_t answer,
    uint32_t n_again, int64_t now_us)
{
    closed->entries[key & (PK_CLOSED_SLOTS - 1)] = (struct entry){.tag = (uint32_t)(key >> 32),
        .question = question,
        .answer = answer,
        .stamp_s = stamp(now_us),
        .n_again = n_again > UINT8_MAX ? UINT8_MAX : (uint8_t)n_again,
        .is_used = true};
}

enum pk_outcome pk_closed_judge(
    struct pk_closed *closed, uint64_t key, uint32_t question, uint32_t answer, int64_t now_us)
{
    struct entry *entry = &closed->entries[key & (PK_CLOSED_SLOTS - 1)];
    uint16_t age_s = (uint16_t)(stamp(now_us) - entry->stamp_s);
    if (!entry->is_used || entry->tag != (uint32_t)(key >> 32) || age_s > PK_CLOSED_KEEP_S) {
        return PK_OUTCOME_UNSOLICITED;
    }
    if (question != 0 && entry->question != 0 && question != entry->question) {
        return PK_OUTCOME_MISMATCHED;
    }
    if (entry->answer == 0) {
        entry->answer = answer; /* another one after it is no longer late */
        return PK_OUTCOME_LATE;
    }
    if (answer == entry->answer) {
        return PK_OUTCOME_REPEATED;
    }
    if (entry->n_again > 0) { /* asked twice, so answered twice; servers turn their records round */
        entry->n_again--;
        return PK_OUTCOME_REPEATED;
    }
    return PK_OUTCOME_CONFLICTING;
}

size_t pk_closed_bound_bytes(void)
{
    return sizeof(struct pk_closed);
}

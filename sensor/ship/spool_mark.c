/* Reading is careful, for a crash may leave anything; writing is a few stores. A disk that refuses a page of the mapping is a signal (SIGBUS), which must not end the capture: then
 * plain memory takes the page's place. */
#include "ship/spool_mark.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "picket/codec.h"
#include "picket/limits.h"

#include "ship/spool_ledger.h"

enum {
    FILE_BYTES = (PK_MARK_SOURCES + 1) * 2 * PK_MARK_SLOT_BYTES, /* the last two are the ring's */
    RING_WAITING = 4,                                            /* place of a word */
    RING_WORDS = RING_WAITING + 3 * PK_MARK_BATCH_KINDS,
    N_WORDS = PK_MARK_SLOT_BYTES / 8,
    /* places of words */
    GENERATION = 1,
    EPOCH,
    SEQ,
    WINDOW_START,
    WINDOW_MS,
    NOTED,
    SEALED,
    OPEN_ROWS = SEALED + PK_MARK_KINDS,
    N_COUNTERS = OPEN_ROWS + PK_MARK_KINDS,
    COUNTERS,
};
#define RING_MAGIC UINT64_C(0x314b52414d52504b)
#define MAGIC      UINT64_C(0x314b52414d4b5050) /* of another byte order it is another number */

_Static_assert(COUNTERS + PK_N_HEALTH_KEYS < N_WORDS, "a slot holds the counters and a checksum");

unsigned pk_mark_kind(unsigned kind)
{
    return kind == PK_BATCH_ACTIVITY   ? 0
           : kind == PK_BATCH_RRSET    ? 1
           : kind == PK_BATCH_NEGATIVE ? 2
                                       : PK_MARK_KINDS;
}

/* --- what an earlier process left --- */

/* Counters that this version does not know are left out, those it knows and are not there are zero. */
static bool read_slot(const uint64_t *slot, struct pk_mark *out)
{
    uint64_t n = slot[N_COUNTERS];
    if (slot[0] != MAGIC || n > N_WORDS - COUNTERS - 1 ||
        slot[COUNTERS + n] != pk_crc32c(slot, (COUNTERS + n) * 8)) {
        return false;
    }
    *out = (struct pk_mark){.generation = slot[GENERATION],
        .epoch = slot[EPOCH],
        .seq = slot[SEQ],
        .unsealed = {.window_start_us = (int64_t)slot[WINDOW_START],
            .window_ms = (uint32_t)slot[WINDOW_MS]},
        .noted_us = (int64_t)slot[NOTED]};
    for (unsigned i = 0; i < PK_MARK_KINDS; i++) {
        out->sealed[i] = slot[SEALED + i];
        out->unsealed.rows[i] = slot[OPEN_ROWS + i];
    }
    memcpy(out->unsealed.health.v, slot + COUNTERS,
        (n < PK_N_HEALTH_KEYS ? n : PK_N_HEALTH_KEYS) * sizeof *slot);
    return true;
}

static bool read_ring_slot(const uint64_t *slot, struct pk_mark_ring *out)
{
    if (slot[0] != RING_MAGIC || slot[RING_WORDS] != pk_crc32c(slot, RING_WORDS * 8)) {
        return false;
    }
    *out = (struct pk_mark_ring){.generation = slot[1], .epoch = slot[2], .seq = slot[3]};
    memcpy(out->of, slot + RING_WAITING, sizeof out->of);
    return true;
}

static void read_ring(int fd, struct pk_mark_left *left)
{
    uint64_t slots[2][N_WORDS];
    struct pk_mark_ring rings[2];
    memset(slots, 0, sizeof slots);
    ssize_t n = pread(fd, slots, sizeof slots, (off_t)(PK_MARK_SOURCES * sizeof slots));
    bool is_good[2] = {
        n > 0 && read_ring_slot(slots[0], &rings[0]), n > 0 && read_ring_slot(slots[1], &rings[1])};
    left->has_ring = is_good[0] || is_good[1];
    if (left->has_ring) {
        left->ring =
            rings[is_good[1] && (!is_good[0] || rings[1].generation > rings[0].generation)];
    }
}

static bool is_after(uint64_t epoch, uint64_t seq, const struct pk_mark_left *left)
{
    return epoch > left->epoch || (epoch == left->epoch && seq >= left->seq);
}

void pk_mark_read(int folder, struct pk_mark_left *out_left)
{
    static const uint64_t none[N_WORDS];
    uint64_t slots[2][N_WORDS];
    *out_left = (struct pk_mark_left){0};
    int fd = openat(folder, "mark", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return;
    }
    bool is_damaged = false;
    for (unsigned i = 0; i < PK_MARK_SOURCES; i++) {
        struct pk_mark marks[2];
        memset(slots, 0, sizeof slots);
        ssize_t n = pread(fd, slots, sizeof slots, (off_t)(i * sizeof slots));
        bool is_good[2] = {
            n > 0 && read_slot(slots[0], &marks[0]), n > 0 && read_slot(slots[1], &marks[1])};
        if (is_good[0] || is_good[1]) {
            bool takes_second =
                is_good[1] && (!is_good[0] || marks[1].generation > marks[0].generation);
            const struct pk_mark *mark = &marks[takes_second];
            out_left->marks[out_left->n++] = *mark;
            if (is_after(mark->epoch, mark->seq, out_left)) {
                out_left->epoch = mark->epoch;
                out_left->seq = mark->seq;
            }
        } else {
            is_damaged |= memcmp(slots[0], none, sizeof none) != 0 ||
                          memcmp(slots[1], none, sizeof none) != 0;
        }
    }
    read_ring(fd, out_left);
    close(fd);
    out_left->is_unreadable = out_left->n == 0 || is_damaged;
}

static void note_loss(void *arg, const struct pk_loss *loss)
{
    struct pk_mark_left *left = arg;
    left->is_loss_told |= loss->cause == PK_LOSS_CRASH;
}

/* A health row of the same window that tells of as much is a mark's own, sealed after all; or what an attempt before this one told of it. */
static void see_health(struct pk_mark_left *left, const struct pk_segment_record *record)
{
    struct pk_batch *batch = NULL;
    struct pk_batch_fault fault;
    struct pk_bytes unpacked;
    const uint8_t *body;
    size_t len;
    pk_bytes_init(&unpacked, PK_MAX_BODY_BYTES);
    if (pk_unpack(record->codec, record->body, record->body_len, &unpacked, &body, &len) == PK_OK &&
        pk_batch_decode(body, len, &batch, &fault) == PK_OK &&
        pk_batch_info(batch)->kind == PK_BATCH_HEALTH) {
        struct pk_health health;
        pk_batch_health(batch, &health);
        for (size_t i = 0; i < left->n; i++) {
            struct pk_mark *mark = &left->marks[i];
            const uint64_t *v = mark->unsealed.health.v;
            if (!mark->is_told &&
                mark->unsealed.window_start_us == pk_batch_info(batch)->window_start_us &&
                v[PK_HEALTH_PACKETS] <= health.v[PK_HEALTH_PACKETS] &&
                v[PK_HEALTH_MESSAGES] <= health.v[PK_HEALTH_MESSAGES]) {
                mark->is_told = true;
                break;
            }
        }
    }
    pk_batch_free(batch);
    pk_bytes_done(&unpacked);
}

void pk_mark_see(struct pk_mark_left *left, uint64_t epoch, const struct pk_segment_record *record)
{
    unsigned kind = pk_mark_kind(record->kind);
    const struct pk_mark_ring *ring = &left->ring;
    if (left->has_ring &&
        (epoch > ring->epoch || (epoch == ring->epoch && record->seq >= ring->seq))) {
        struct pk_mark_waiting *drained = &left->drained[record->kind % PK_MARK_BATCH_KINDS];
        drained->batches++;
        drained->rows += record->rows;
        drained->transactions += record->transactions;
    }
    if ((left->n == 0 && !left->is_unreadable) || record->origin_epoch != 0 ||
        !is_after(epoch, record->seq, left)) {
        return;
    }
    if (kind < PK_MARK_KINDS) {
        left->sealed[kind] += record->transactions;
        left->rows[kind] += record->rows;
    } else if (record->kind == PK_BATCH_HEALTH) {
        see_health(left, record);
    } else if (record->kind == PK_BATCH_LOSS) {
        pk_ledger_read(record->body, record->body_len, record->codec, note_loss, left);
    }
}

bool pk_mark_health(const struct pk_mark *mark, struct pk_health *out_health)
{
    struct pk_health health = mark->unsealed.health;
    uint64_t open = health.v[PK_HEALTH_OPEN_NOW];
    if (mark->is_told ||
        (health.v[PK_HEALTH_PACKETS] == 0 && health.v[PK_HEALTH_TRANSACTIONS] == 0 && open == 0)) {
        return false;
    }
    health.v[PK_HEALTH_TRANSACTIONS] += open;
    health.v[PK_HEALTH_UNANSWERED] += open;
    health.v[PK_HEALTH_MERGE_SHED] += open;
    health.v[PK_HEALTH_OPEN_NOW] = health.v[PK_HEALTH_HELD_NOW] = 0;
    *out_health = health;
    return true;
}

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

bool pk_mark_loss(const struct pk_mark_left *left, unsigned kind, struct pk_loss *out_loss)
{
    static const enum pk_batch_kind kinds[PK_MARK_KINDS] = {
        PK_BATCH_ACTIVITY, PK_BATCH_RRSET, PK_BATCH_NEGATIVE};
    struct pk_loss loss = {
        .cause = PK_LOSS_CRASH, .kind = (uint8_t)kinds[kind], .epoch = left->epoch};
    uint64_t seen = 0, sealed = left->sealed[kind], rows = 0;
    for (size_t i = 0; i < left->n; i++) {
        const struct pk_mark *mark = &left->marks[i];
        const uint64_t *v = mark->unsealed.health.v;
        seen += kind == 0   ? v[PK_HEALTH_IN_SCOPE]
                : kind == 1 ? less(v[PK_HEALTH_RRSETS], v[PK_HEALTH_RRSETS_SHED])
                            : v[PK_HEALTH_NEGATIVE];
        sealed += mark->sealed[kind];
        rows += mark->unsealed.rows[kind];
        if (v[PK_HEALTH_PACKETS] > 0) {
            int64_t start_us = mark->unsealed.window_start_us;
            loss.first_us =
                loss.first_us == 0 || start_us < loss.first_us ? start_us : loss.first_us;
            loss.last_us = mark->noted_us > loss.last_us ? mark->noted_us : loss.last_us;
        }
    }
    loss.transactions = less(seen, sealed);
    loss.rows = loss.transactions > 0 ? less(rows, left->rows[kind]) : 0;
    loss.last_us = loss.last_us < loss.first_us ? loss.first_us : loss.last_us;
    *out_loss = loss;
    return loss.transactions > 0;
}

bool pk_mark_ring_loss(
    const struct pk_mark_left *left, unsigned batch_kind, struct pk_loss *out_loss)
{
    const struct pk_mark_waiting *had = &left->ring.of[batch_kind],
                                 *has = &left->drained[batch_kind];
    *out_loss = (struct pk_loss){.cause = PK_LOSS_MEMORY,
        .kind = (uint8_t)batch_kind,
        .batches = less(had->batches, has->batches),
        .rows = less(had->rows, has->rows),
        .transactions = less(had->transactions, has->transactions),
        .epoch = left->ring.epoch};
    return left->has_ring && out_loss->batches > 0;
}

/* --- writing --- */

static uint8_t *volatile guarded;
static volatile sig_atomic_t is_cut_off;

/* What was in the page does not matter: the next note writes it whole. */
static void on_bus_error(int number, siginfo_t *info, void *context)
{
    const uint8_t *at = info->si_addr;
    (void)context;
    if (guarded && at >= guarded && at < guarded + FILE_BYTES &&
        mmap(guarded, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
            -1, 0) != MAP_FAILED) {
        is_cut_off = 1;
        return;
    }
    signal(number, SIG_DFL); /* not ours: it comes again, and ends us */
}

bool pk_mark_is_cut_off(void)
{
    return is_cut_off != 0;
}

uint8_t *pk_mark_map(int folder)
{
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
    int fd = openat(folder, "mark", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    void *map = MAP_FAILED;
    if (fd >= 0 && posix_fallocate(fd, 0, FILE_BYTES) == 0) {
        map = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    if (fd >= 0) {
        close(fd);
    }
    if (map == MAP_FAILED) {
        if (fd >= 0) {
            (void)unlinkat(folder, "mark", 0);
        }
        return NULL;
    }
    guarded = map;
    is_cut_off = 0;
    sigaction(SIGBUS, &action, NULL);
    return map;
}

void pk_mark_unmap(uint8_t *map)
{
    if (map) {
        guarded = guarded == map ? NULL : guarded;
        munmap(map, FILE_BYTES);
    }
}

void pk_mark_write(uint8_t *map, unsigned source, struct pk_mark *mark)
{
    uint64_t words[N_WORDS] = {MAGIC, ++mark->generation, mark->epoch, mark->seq,
        (uint64_t)mark->unsealed.window_start_us, mark->unsealed.window_ms,
        (uint64_t)mark->noted_us};
    for (unsigned i = 0; i < PK_MARK_KINDS; i++) {
        words[SEALED + i] = mark->sealed[i];
        words[OPEN_ROWS + i] = mark->unsealed.rows[i];
    }
    words[N_COUNTERS] = PK_N_HEALTH_KEYS;
    memcpy(words + COUNTERS, mark->unsealed.health.v, sizeof mark->unsealed.health.v);
    const size_t n = COUNTERS + PK_N_HEALTH_KEYS;
    words[n] = pk_crc32c(words, n * 8);
    uint8_t *slot = map + (source * 2 + (mark->generation & 1)) * PK_MARK_SLOT_BYTES;
    memcpy(slot, words, (n + 1) * 8);
    atomic_signal_fence(memory_order_seq_cst); /* the other slot is not begun before */
}

void pk_mark_write_ring(uint8_t *map, struct pk_mark_ring *ring)
{
    uint64_t words[RING_WORDS + 1] = {RING_MAGIC, ++ring->generation, ring->epoch, ring->seq};
    memcpy(words + RING_WAITING, ring->of, sizeof ring->of);
    words[RING_WORDS] = pk_crc32c(words, RING_WORDS * 8);
    memcpy(map + (PK_MARK_SOURCES * 2 + (ring->generation & 1)) * PK_MARK_SLOT_BYTES, words,
        sizeof words);
    atomic_signal_fence(memory_order_seq_cst);
}

/* meta.0, meta.1: "PICKETM2", then big-endian u64 generation, epoch, next seq, number of epochs, [epoch, acknowledged]..., crc32c. */
#include "ship/spool_meta.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum {
    HEAD = 40, /* magic and four numbers */
    SLOT_MAX = HEAD + PK_META_EPOCHS * 16 + 8,
};

static const char magic[8] = "PICKETM2";

static void put(uint8_t *p, uint64_t v)
{
    for (unsigned i = 8; i-- > 0; v >>= 8) {
        p[i] = (uint8_t)v;
    }
}

static uint64_t get(const uint8_t *p)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < 8; i++) {
        v = v << 8 | p[i];
    }
    return v;
}

static const char *slot_name(uint64_t generation)
{
    return generation % 2 ? "meta.1" : "meta.0";
}

static bool read_slot(int folder, const char *name, struct pk_meta *out)
{
    uint8_t raw[SLOT_MAX];
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t len = fd >= 0 ? read(fd, raw, sizeof raw) : -1;
    if (fd >= 0) {
        close(fd);
    }
    if (len < HEAD + 8 || memcmp(raw, magic, sizeof magic) != 0) {
        return false;
    }
    uint64_t n = get(raw + 32);
    if (n > PK_META_EPOCHS || len < (ssize_t)(HEAD + n * 16 + 8) ||
        get(raw + HEAD + n * 16) != pk_crc32c(raw, HEAD + n * 16)) {
        return false;
    }
    *out = (struct pk_meta){.generation = get(raw + 8),
        .epoch = get(raw + 16),
        .next_seq = get(raw + 24),
        .n = (uint32_t)n};
    for (size_t i = 0; i < n; i++) {
        out->epochs[i].epoch = get(raw + HEAD + i * 16);
        out->epochs[i].acked = get(raw + HEAD + i * 16 + 8);
    }
    return true;
}

bool pk_meta_read(int folder, struct pk_meta *out)
{
    struct pk_meta slots[2] = {0};
    bool is_good[2] = {
        read_slot(folder, "meta.0", &slots[0]), read_slot(folder, "meta.1", &slots[1])};
    if (!is_good[0] && !is_good[1]) {
        *out = (struct pk_meta){0};
        return false;
    }
    bool takes_second = is_good[1] && (!is_good[0] || slots[1].generation > slots[0].generation);
    *out = slots[takes_second];
    return true;
}

bool pk_meta_write(int folder, const struct pk_spool_ops *ops, struct pk_meta *meta)
{
    uint8_t raw[SLOT_MAX];
    memcpy(raw, magic, sizeof magic);
    put(raw + 8, meta->generation + 1);
    put(raw + 16, meta->epoch);
    put(raw + 24, meta->next_seq);
    put(raw + 32, meta->n);
    size_t len = HEAD;
    for (uint32_t i = 0; i < meta->n; i++, len += 16) {
        put(raw + len, meta->epochs[i].epoch);
        put(raw + len + 8, meta->epochs[i].acked);
    }
    put(raw + len, pk_crc32c(raw, len));
    len += 8;
    int fd = openat(
        folder, slot_name(meta->generation + 1), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool is_good = fd >= 0 && ops->write(fd, raw, len) == (ssize_t)len && ops->fdatasync(fd) == 0;
    if (fd >= 0) {
        is_good = close(fd) == 0 && is_good;
    }
    /* The first time also the name; later it is there. */
    is_good = is_good && (meta->generation > 1 || fsync(folder) == 0);
    meta->generation += is_good;
    return is_good;
}

uint64_t pk_meta_acked(const struct pk_meta *meta, uint64_t epoch)
{
    for (uint32_t i = 0; i < meta->n; i++) {
        if (meta->epochs[i].epoch == epoch) {
            return meta->epochs[i].acked;
        }
    }
    return 0;
}

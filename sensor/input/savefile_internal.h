/* Between savefile.c (the window, pcap) and pcapng.c; nobody else includes this. */
#ifndef SENSOR_SAVEFILE_INTERNAL_H
#define SENSOR_SAVEFILE_INTERNAL_H

#include <stdbool.h>
#include <string.h>

#include "input/savefile.h"

#define PK_SAVEFILE_MAX_S INT64_C(253402300799) /* the end of the year 9999 */

struct pk_pcapng_interface {
    uint32_t snaplen; /* 0: no limit */
    uint64_t units;   /* ticks a second */
    int64_t offset_s;
};

struct pk_savefile {
    pk_savefile_read read;
    void *arg;
    uint8_t *buffer; /* pos .. end is read and not used yet */
    size_t size, pos, end;
    uint64_t base; /* offset of buffer[0] in the file */
    bool at_end;
    bool is_broken;
    bool is_foreign; /* of the other byte order than this machine */
    bool is_pcapng;
    int link_type;
    /* pcap */
    size_t record_header;
    uint32_t snaplen, per_us; /* per_us: the fraction's units a microsecond */
    uint8_t swaps_lengths;    /* PK_SAVEFILE_KEEP .. */
    /* pcapng, of the section being read */
    struct pk_pcapng_interface *interfaces;
    int *links; /* of each interface; of pcap one */
    size_t n_links, max_links;
    char fault[PK_SAVEFILE_FAULT_SIZE];
};

/* Makes n bytes stand at pos; false when there are not that many (or no memory: then it is broken). */
bool pk_savefile_fill(struct pk_savefile *file, size_t n);

static inline bool pk_savefile_has(struct pk_savefile *file, size_t n)
{
    return __builtin_expect(file->end - file->pos >= n, 1) || pk_savefile_fill(file, n);
}

static inline uint16_t pk_savefile_u16(const struct pk_savefile *file, const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return file->is_foreign ? __builtin_bswap16(v) : v;
}

static inline uint32_t pk_savefile_u32(const struct pk_savefile *file, const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return file->is_foreign ? __builtin_bswap32(v) : v;
}

/* Says so once, stays so. */
__attribute__((format(printf, 2, 3))) enum pk_capture_result pk_savefile_break(
    struct pk_savefile *file, const char *format, ...);
/* n bytes are wanted and the file has not that many left: its end, or cut short within `what`. */
enum pk_capture_result pk_savefile_ends(struct pk_savefile *file, size_t n, const char *what);
int pk_savefile_link_of(uint32_t linktype);
/* What libpcap does to packets that hold numbers in the order of the machine that wrote them. */
void pk_savefile_turn(const struct pk_savefile *file, uint8_t *data, size_t len);

/* The next block with a packet; a first call reads up to it when only_before is set, and gives out none. */
enum pk_capture_result pk_pcapng_next(
    struct pk_savefile *file, bool only_before, struct pk_raw_packet *out_packet);

#endif

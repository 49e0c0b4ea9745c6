/* pcapng, block by block. A block is taken when it is there as a whole and its two lengths agree, so damage is seen before anything of it is believed. */
#include <stdlib.h>

#include "input/savefile_internal.h"

enum {
    BLOCK_SECTION = 0x0a0d0d0a,
    BLOCK_INTERFACE = 1,
    BLOCK_PACKET = 2, /* obsolete; as an enhanced one but for 16 bits of interface */
    BLOCK_SIMPLE = 3,
    BLOCK_ENHANCED = 6,
};
enum {
    LEAST_BLOCK = 12,
    LEAST_SECTION = 28,
    LEAST_INTERFACE = 20,
    PACKET_DATA = 28, /* where it begins in a block */
    SIMPLE_DATA = 12,
    TRAILER = 4,
    OPTION_END = 0,
    OPTION_TSRESOL = 9,
    OPTION_TSOFFSET = 14,
    US_PER_S = 1000000,
    NS_PER_S = 1000000000,
};
#define ORDER_MAGIC UINT32_C(0x1a2b3c4d)

static uint64_t u64(const struct pk_savefile *file, const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return file->is_foreign ? __builtin_bswap64(v) : v;
}

/* A section has its own byte order and its own interfaces. */
static bool take_section(struct pk_savefile *file, const uint8_t *block, uint32_t total)
{
    unsigned major = pk_savefile_u16(file, block + 12), minor = pk_savefile_u16(file, block + 14);
    if (total < LEAST_SECTION) {
        (void)pk_savefile_break(file, "a section header of %u bytes", (unsigned)total);
    } else if (major != 1) {
        (void)pk_savefile_break(file, "version %u.%u of pcapng is not known", major, minor);
    }
    file->n_links = 0;
    return !file->is_broken;
}

static bool take_resolution(struct pk_pcapng_interface *interface, uint8_t resolution)
{
    unsigned exponent = resolution & 0x7f;
    bool is_binary = resolution & 0x80;
    if (exponent > (is_binary ? 63 : 19)) {
        return false;
    }
    interface->units = is_binary ? UINT64_C(1) << exponent : 1;
    for (unsigned i = 0; !is_binary && i < exponent; i++) {
        interface->units *= 10;
    }
    return true;
}

/* False when they do not fit, or a time's resolution is beyond 64 bits. */
static bool take_options(const struct pk_savefile *file, const uint8_t *p, const uint8_t *end,
    struct pk_pcapng_interface *interface)
{
    while (end - p >= 4) {
        uint16_t code = pk_savefile_u16(file, p);
        size_t len = pk_savefile_u16(file, p + 2), padded = (len + 3) / 4 * 4;
        p += 4;
        if (code == OPTION_END) {
            return true;
        }
        if (padded > (size_t)(end - p) || (code == OPTION_TSRESOL && len != 1) ||
            (code == OPTION_TSOFFSET && len != 8) ||
            (code == OPTION_TSRESOL && !take_resolution(interface, *p))) {
            return false;
        }
        if (code == OPTION_TSOFFSET) {
            interface->offset_s = (int64_t)u64(file, p);
        }
        p += padded;
    }
    return p == end;
}

static bool make_room(struct pk_savefile *file)
{
    if (file->n_links < file->max_links) {
        return true;
    }
    size_t max = file->max_links ? 2 * file->max_links : 8;
    struct pk_pcapng_interface *interfaces =
        realloc(file->interfaces, max * sizeof *file->interfaces);
    if (!interfaces) {
        return false;
    }
    file->interfaces = interfaces;
    int *links = realloc(file->links, max * sizeof *links);
    if (!links) {
        return false;
    }
    file->links = links;
    file->max_links = max;
    return true;
}

static bool take_interface(struct pk_savefile *file, const uint8_t *block, uint32_t total)
{
    struct pk_pcapng_interface interface = {.units = US_PER_S};
    if (total < LEAST_INTERFACE) {
        (void)pk_savefile_break(file, "an interface of %u bytes", (unsigned)total);
    } else if (file->n_links == PK_SAVEFILE_MAX_INTERFACES) {
        (void)pk_savefile_break(
            file, "more than %u interfaces", (unsigned)PK_SAVEFILE_MAX_INTERFACES);
    } else if (!make_room(file)) {
        (void)pk_savefile_break(file, "out of memory");
    } else if (!take_options(file, block + 16, block + total - TRAILER, &interface)) {
        (void)pk_savefile_break(file, "the options of interface %zu are not sound", file->n_links);
    } else {
        interface.snaplen = pk_savefile_u32(file, block + 12);
        file->links[file->n_links] = pk_savefile_link_of(pk_savefile_u16(file, block + 8));
        file->interfaces[file->n_links++] = interface;
    }
    return !file->is_broken;
}

static int64_t time_us(const struct pk_pcapng_interface *interface, uint64_t ticks)
{
    uint64_t s, us;
    if (interface->units == US_PER_S) {
        s = ticks / US_PER_S;
        us = ticks % US_PER_S;
    } else if (interface->units == NS_PER_S) {
        s = ticks / NS_PER_S;
        us = ticks % NS_PER_S / 1000;
    } else {
        __extension__ typedef unsigned __int128 u128;
        s = ticks / interface->units;
        us = (uint64_t)((u128)(ticks % interface->units) * US_PER_S / interface->units);
    }
    int64_t whole_s = s > PK_SAVEFILE_MAX_S ? PK_SAVEFILE_MAX_S : (int64_t)s;
    if (__builtin_add_overflow(whole_s, interface->offset_s, &whole_s) ||
        whole_s > PK_SAVEFILE_MAX_S) {
        whole_s = interface->offset_s < 0 ? 0 : PK_SAVEFILE_MAX_S;
    }
    return (whole_s < 0 ? 0 : whole_s) * US_PER_S + (int64_t)us;
}

static enum pk_capture_result give(struct pk_savefile *file, size_t index, uint64_t ticks,
    uint8_t *data, uint32_t caplen, uint32_t len, struct pk_raw_packet *out_packet)
{
    file->link_type = file->links[index];
    pk_savefile_turn(file, data, caplen);
    out_packet->ts_us = time_us(&file->interfaces[index], ticks);
    out_packet->data = data;
    out_packet->caplen = caplen;
    out_packet->wire_len = len;
    return PK_CAPTURE_PACKET;
}

static enum pk_capture_result no_interface(struct pk_savefile *file, uint32_t index)
{
    return pk_savefile_break(
        file, "a packet of interface %u, which the file does not describe", (unsigned)index);
}

static enum pk_capture_result take_packet(struct pk_savefile *file, uint8_t *block, uint32_t total,
    bool is_obsolete, struct pk_raw_packet *out_packet)
{
    if (total < PACKET_DATA + TRAILER) {
        return pk_savefile_break(file, "a packet's block of %u bytes", (unsigned)total);
    }
    uint32_t index =
        is_obsolete ? pk_savefile_u16(file, block + 8) : pk_savefile_u32(file, block + 8);
    uint64_t high = pk_savefile_u32(file, block + 12), low = pk_savefile_u32(file, block + 16);
    uint32_t caplen = pk_savefile_u32(file, block + 20), len = pk_savefile_u32(file, block + 24);
    if (index >= file->n_links) {
        return no_interface(file, index);
    }
    if (caplen > total - PACKET_DATA - TRAILER) {
        return pk_savefile_break(
            file, "a packet of %u bytes in a block of %u", (unsigned)caplen, (unsigned)total);
    }
    return give(file, index, high << 32 | low, block + PACKET_DATA, caplen, len, out_packet);
}

/* Of the first interface, without a time; as much is there as its snap length let through. */
static enum pk_capture_result take_simple(
    struct pk_savefile *file, uint8_t *block, uint32_t total, struct pk_raw_packet *out_packet)
{
    if (total < SIMPLE_DATA + TRAILER) {
        return pk_savefile_break(file, "a packet's block of %u bytes", (unsigned)total);
    }
    if (file->n_links == 0) {
        return no_interface(file, 0);
    }
    uint32_t len = pk_savefile_u32(file, block + 8), snaplen = file->interfaces[0].snaplen;
    uint32_t caplen = snaplen != 0 && len > snaplen ? snaplen : len;
    if (caplen > total - SIMPLE_DATA - TRAILER) {
        return pk_savefile_break(
            file, "a packet of %u bytes in a block of %u", (unsigned)caplen, (unsigned)total);
    }
    return give(file, 0, 0, block + SIMPLE_DATA, caplen, len, out_packet);
}

/* The type of the block that stands at pos, whole, its length out. Which order a section is in is known only from its header. */
static enum pk_capture_result find_block(
    struct pk_savefile *file, uint32_t *out_type, uint32_t *out_total)
{
    if (!pk_savefile_has(file, LEAST_BLOCK)) {
        return pk_savefile_ends(file, LEAST_BLOCK, "block");
    }
    const uint8_t *block = file->buffer + file->pos;
    uint32_t type = pk_savefile_u32(file, block);
    if (type == BLOCK_SECTION) {
        uint32_t magic;
        memcpy(&magic, block + 8, sizeof magic);
        if (magic != ORDER_MAGIC && magic != __builtin_bswap32(ORDER_MAGIC)) {
            return pk_savefile_break(file, "a section header without the byte order's mark");
        }
        file->is_foreign = magic != ORDER_MAGIC;
    }
    uint32_t total = pk_savefile_u32(file, block + 4);
    if (total < LEAST_BLOCK || total % 4 != 0 || total > PK_SAVEFILE_MAX_BLOCK) {
        return pk_savefile_break(file, "a block of %u bytes", (unsigned)total);
    }
    if (!pk_savefile_has(file, total)) {
        return pk_savefile_ends(file, total, "block");
    }
    uint32_t again = pk_savefile_u32(file, file->buffer + file->pos + total - TRAILER);
    if (again != total) {
        return pk_savefile_break(
            file, "a block of %u bytes says %u at its end", (unsigned)total, (unsigned)again);
    }
    *out_type = type;
    *out_total = total;
    return PK_CAPTURE_PACKET;
}

/* A block that holds no packet; what is not known is passed over. */
static bool take_other(
    struct pk_savefile *file, const uint8_t *block, uint32_t type, uint32_t total)
{
    return type == BLOCK_SECTION     ? take_section(file, block, total)
           : type == BLOCK_INTERFACE ? take_interface(file, block, total)
                                     : true;
}

enum pk_capture_result pk_pcapng_next(
    struct pk_savefile *file, bool only_before, struct pk_raw_packet *out_packet)
{
    uint32_t type, total;
    enum pk_capture_result result;
    while ((result = find_block(file, &type, &total)) == PK_CAPTURE_PACKET) {
        uint8_t *block = file->buffer + file->pos;
        bool has_packet = type == BLOCK_ENHANCED || type == BLOCK_SIMPLE || type == BLOCK_PACKET;
        if (has_packet && only_before) {
            return PK_CAPTURE_END;
        }
        if (has_packet) {
            result = type == BLOCK_SIMPLE
                         ? take_simple(file, block, total, out_packet)
                         : take_packet(file, block, total, type == BLOCK_PACKET, out_packet);
        } else if (!take_other(file, block, type, total)) {
            result = PK_CAPTURE_BROKEN;
        }
        if (result == PK_CAPTURE_BROKEN) {
            return result;
        }
        file->pos += total;
        if (has_packet) {
            return result;
        }
    }
    return result;
}

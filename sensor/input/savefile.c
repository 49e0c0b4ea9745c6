/* The window over a file's bytes, and pcap. A packet is given out where it stands in the window: it is copied by the kernel once, and by nobody else. libpcap took two calls of
 * stdio and a copy for each, 880 instructions a transaction; this takes a tenth. */
#include "input/savefile.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "input/savefile_internal.h"

enum {
    FILE_HEADER = 24,
    RECORD_HEADER = 16,
    RECORD_HEADER_MODIFIED = 24, /* with interface, protocol and packet type, by Alexey Kuznetsov */
    LINKTYPE_RAW = 101,
    DLT_EN10MB = 1,
    DLT_RAW_LINUX = 12,
    DLT_NFLOG = 239,
};
enum {
    KEEP,
    SWAP_IF_WRONG, /* version 2.3 wrote either */
    SWAP,          /* before that, and DG/UX (543.0) */
};
#define MAGIC_MICRO    UINT32_C(0xa1b2c3d4)
#define MAGIC_NANO     UINT32_C(0xa1b23c4d)
#define MAGIC_MODIFIED UINT32_C(0xa1b2cd34)
#define MAGIC_PCAPNG   UINT32_C(0x0a0d0d0a)

/* --- the window --- */

pk_err pk_savefile_new(pk_savefile_read read, void *arg, struct pk_savefile **out_file)
{
    struct pk_savefile *file = calloc(1, sizeof *file);
    if (!file) {
        return PK_ERR_NOMEM;
    }
    file->read = read;
    file->arg = arg;
    file->size = PK_SAVEFILE_BLOCK;
    file->buffer = malloc(file->size);
    if (!file->buffer) {
        free(file);
        return PK_ERR_NOMEM;
    }
    *out_file = file;
    return PK_OK;
}

void pk_savefile_free(struct pk_savefile *file)
{
    if (file) {
        free(file->buffer);
        free(file->interfaces);
        free(file->links);
        free(file);
    }
}

enum pk_capture_result pk_savefile_break(struct pk_savefile *file, const char *format, ...)
{
    va_list args;
    if (!file->is_broken) {
        va_start(args, format);
        (void)vsnprintf(file->fault, sizeof file->fault, format, args);
        va_end(args);
    }
    file->is_broken = true;
    return PK_CAPTURE_BROKEN;
}

enum pk_capture_result pk_savefile_ends(struct pk_savefile *file, size_t n, const char *what)
{
    size_t left = file->end - file->pos;
    if (left == 0 && !file->is_broken) {
        return PK_CAPTURE_END;
    }
    return pk_savefile_break(
        file, "the file ends within a %s: %zu bytes wanted, %zu there", what, n, left);
}

static bool widen(struct pk_savefile *file, size_t n)
{
    uint8_t *wider = realloc(file->buffer, n);
    if (!wider) {
        (void)pk_savefile_break(file, "out of memory");
        return false;
    }
    file->buffer = wider;
    file->size = n;
    return true;
}

bool pk_savefile_fill(struct pk_savefile *file, size_t n)
{
    size_t left = file->end - file->pos;
    memmove(file->buffer, file->buffer + file->pos, left);
    file->base += file->pos;
    file->pos = 0;
    file->end = left;
    if (n > file->size && !widen(file, n)) {
        return false;
    }
    /* No more than is needed is waited for: what comes through a pipe is used when it comes. */
    while (file->end < n && !file->at_end) {
        size_t got = file->read(file->arg, file->buffer + file->end, file->size - file->end);
        file->at_end = got == 0;
        file->end += got;
    }
    return file->end >= n;
}

/* --- what both formats share --- */

int pk_savefile_link_of(uint32_t linktype)
{
    linktype &= 0x03ffffff; /* above: the length of a frame check sequence */
    return linktype == LINKTYPE_RAW ? DLT_RAW_LINUX : (int)linktype;
}

/* NFLOG: length and type of each attribute. The other kinds libpcap turns are not dissected. */
void pk_savefile_turn(const struct pk_savefile *file, uint8_t *data, size_t len)
{
    if (!file->is_foreign || file->link_type != DLT_NFLOG || len < 4 || data[1] != 0) {
        return;
    }
    for (size_t at = 4; len - at >= 4;) {
        uint16_t pair[2];
        memcpy(pair, data + at, sizeof pair);
        pair[0] = __builtin_bswap16(pair[0]);
        pair[1] = __builtin_bswap16(pair[1]);
        memcpy(data + at, pair, sizeof pair);
        size_t size = ((size_t)pair[0] + 3) / 4 * 4;
        if (size < 4 || size > len - at) {
            return;
        }
        at += size;
    }
}

const int *pk_savefile_links(const struct pk_savefile *file, size_t *out_n)
{
    *out_n = file->n_links;
    return file->links;
}

int pk_savefile_link_type(const struct pk_savefile *file)
{
    return file->link_type;
}

const char *pk_savefile_fault(const struct pk_savefile *file)
{
    return file->fault;
}

uint64_t pk_savefile_offset(const struct pk_savefile *file)
{
    return file->base + file->pos;
}

/* --- pcap --- */

static bool is_magic(uint32_t magic)
{
    return magic == MAGIC_MICRO || magic == MAGIC_NANO || magic == MAGIC_MODIFIED;
}

static enum pk_capture_result start_pcap(struct pk_savefile *file, uint32_t magic)
{
    if (!pk_savefile_has(file, FILE_HEADER)) {
        return pk_savefile_ends(file, FILE_HEADER, "file header");
    }
    const uint8_t *p = file->buffer;
    unsigned major = pk_savefile_u16(file, p + 4), minor = pk_savefile_u16(file, p + 6);
    if (!(major == 2 && minor <= 4) && !(major == 543 && minor == 0)) {
        return pk_savefile_break(file, "version %u.%u of pcap is not known", major, minor);
    }
    file->links = malloc(sizeof *file->links);
    if (!file->links) {
        return pk_savefile_break(file, "out of memory");
    }
    file->swaps_lengths = major == 543 || minor < 3 ? SWAP : minor == 3 ? SWAP_IF_WRONG : KEEP;
    file->record_header = magic == MAGIC_MODIFIED ? RECORD_HEADER_MODIFIED : RECORD_HEADER;
    file->per_us = magic == MAGIC_NANO ? 1000 : 1;
    file->snaplen = pk_savefile_u32(file, p + 16);
    if (file->snaplen == 0 || file->snaplen > PK_SAVEFILE_MAX_PACKET) {
        file->snaplen = PK_SAVEFILE_MAX_PACKET;
    }
    file->link_type = file->links[0] = pk_savefile_link_of(pk_savefile_u32(file, p + 20));
    if (magic == MAGIC_MODIFIED && file->link_type == DLT_EN10MB) {
        file->snaplen += 14; /* cooked captures were given an Ethernet header after they were cut */
    }
    file->n_links = 1;
    file->pos = FILE_HEADER;
    return PK_CAPTURE_END;
}

pk_err pk_savefile_start(struct pk_savefile *file)
{
    enum pk_capture_result result = PK_CAPTURE_BROKEN;
    uint32_t magic = 0;
    if (pk_savefile_has(file, sizeof magic)) {
        memcpy(&magic, file->buffer, sizeof magic);
    }
    file->is_foreign = is_magic(__builtin_bswap32(magic));
    file->is_pcapng = magic == MAGIC_PCAPNG; /* the same in both orders */
    if (file->end - file->pos < sizeof magic) {
        (void)pk_savefile_break(file, "too short for a capture file: %zu bytes", file->end);
    } else if (file->is_pcapng) {
        result = pk_pcapng_next(file, true, NULL);
        file->link_type = file->n_links > 0 ? file->links[0] : 0;
    } else if (file->is_foreign || is_magic(magic)) {
        result = start_pcap(file, file->is_foreign ? __builtin_bswap32(magic) : magic);
    } else {
        (void)pk_savefile_break(file, "neither pcap nor pcapng nor dnstap");
    }
    return result == PK_CAPTURE_BROKEN ? PK_ERR_MALFORMED : PK_OK;
}

static void swap_lengths(const struct pk_savefile *file, uint32_t *caplen, uint32_t *len)
{
    if (file->swaps_lengths == SWAP || *caplen > *len) {
        uint32_t other = *caplen;
        *caplen = *len;
        *len = other;
    }
}

static enum pk_capture_result next_record(
    struct pk_savefile *file, struct pk_raw_packet *out_packet)
{
    if (!pk_savefile_has(file, file->record_header)) {
        return pk_savefile_ends(file, file->record_header, "record header");
    }
    const uint8_t *p = file->buffer + file->pos;
    int64_t s = pk_savefile_u32(file, p);
    uint32_t us = pk_savefile_u32(file, p + 4);
    uint32_t caplen = pk_savefile_u32(file, p + 8), len = pk_savefile_u32(file, p + 12);
    if (__builtin_expect(file->swaps_lengths != KEEP, 0)) {
        swap_lengths(file, &caplen, &len);
    }
    if (caplen > PK_SAVEFILE_MAX_PACKET) {
        return pk_savefile_break(file, "a record of %u bytes, more than %u", (unsigned)caplen,
            (unsigned)PK_SAVEFILE_MAX_PACKET);
    }
    size_t size = file->record_header + caplen;
    if (!pk_savefile_has(file, size)) {
        return pk_savefile_ends(file, size, "packet");
    }
    uint8_t *data = file->buffer + file->pos + file->record_header;
    file->pos += size;
    us = file->per_us == 1 ? us : us / 1000;
    us = us < 1000000 ? us : us % 1000000;
    caplen = caplen < file->snaplen ? caplen : file->snaplen;
    pk_savefile_turn(file, data, caplen);
    out_packet->ts_us = s * 1000000 + us;
    out_packet->data = data;
    out_packet->caplen = caplen;
    out_packet->wire_len = len;
    return PK_CAPTURE_PACKET;
}

enum pk_capture_result pk_savefile_next(struct pk_savefile *file, struct pk_raw_packet *out_packet)
{
    if (file->is_broken) {
        return PK_CAPTURE_BROKEN;
    }
    out_packet->tapped = NULL;
    out_packet->interface = 0;
    return file->is_pcapng ? pk_pcapng_next(file, false, out_packet)
                           : next_record(file, out_packet);
}

/* The libpcap edge, files. They go through fopencookie, which unpacks and counts bytes, so that an error can name the offset in the unpacked file. */
#include "capture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lzma.h>
#include <pcap/pcap.h>
#include <zlib.h>
#include <zstd.h>

enum {
    IN_SIZE = 256 << 10,
    PEEK = 6
};

enum packing {
    PLAIN,
    GZIP,
    XZ,
    ZSTD
};

/* A packed file being read. */
struct source {
    FILE *file;
    enum packing packing;
    uint8_t in[IN_SIZE];
    size_t in_len, in_pos;
    bool at_end;      /* of the file on disk */
    bool is_damaged;  /* the packed stream is */
    uint64_t out_pos; /* bytes given out: the offset in the unpacked file */
    z_stream gzip;
    lzma_stream xz;
    ZSTD_DStream *zstd;
};

struct pk_capture {
    pcap_t *pcap;
    struct source *source; /* borrowed: pcap's FILE owns it */
    char name[256];
    char error[PK_CAPTURE_ERROR_SIZE];
    uint64_t n_packets;
};

/* --- unpacking --- */

static enum packing packing_of(const uint8_t *p, size_t len)
{
    if (len >= 2 && p[0] == 0x1f && p[1] == 0x8b) {
        return GZIP;
    }
    if (len >= 6 && memcmp(p,
                        "\xfd"
                        "7zXZ\0",
                        6) == 0) {
        return XZ;
    }
    if (len >= 4 && memcmp(p, "\x28\xb5\x2f\xfd", 4) == 0) {
        return ZSTD;
    }
    return PLAIN;
}

static void refill(struct source *source)
{
    if (source->in_pos == source->in_len && !source->at_end) {
        source->in_len = fread(source->in, 1, sizeof source->in, source->file);
        source->in_pos = 0;
        source->at_end = source->in_len == 0;
    }
}

static size_t unpack_plain(struct source *source, uint8_t *out, size_t size)
{
    size_t n = source->in_len - source->in_pos < size ? source->in_len - source->in_pos : size;
    memcpy(out, source->in + source->in_pos, n);
    source->in_pos += n;
    return n;
}

static size_t unpack_gzip(struct source *source, uint8_t *out, size_t size)
{
    z_stream *z = &source->gzip;
    z->next_in = source->in + source->in_pos;
    z->avail_in = (uInt)(source->in_len - source->in_pos);
    z->next_out = out;
    z->avail_out = (uInt)size;
    int result = inflate(z, Z_NO_FLUSH);
    source->in_pos = source->in_len - z->avail_in;
    if (result == Z_STREAM_END) {
        (void)inflateReset(z); /* another member may follow */
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
        source->is_damaged = true;
    }
    return size - z->avail_out;
}

static size_t unpack_xz(struct source *source, uint8_t *out, size_t size)
{
    lzma_stream *x = &source->xz;
    x->next_in = source->in + source->in_pos;
    x->avail_in = source->in_len - source->in_pos;
    x->next_out = out;
    x->avail_out = size;
    lzma_ret result = lzma_code(x, source->at_end ? LZMA_FINISH : LZMA_RUN);
    source->in_pos = source->in_len - x->avail_in;
    if (result != LZMA_OK && result != LZMA_STREAM_END && result != LZMA_BUF_ERROR) {
        source->is_damaged = true;
    }
    return size - x->avail_out;
}

static size_t unpack_zstd(struct source *source, uint8_t *out, size_t size)
{
    ZSTD_inBuffer in = {.src = source->in, .size = source->in_len, .pos = source->in_pos};
    ZSTD_outBuffer room = {.dst = out, .size = size};
    source->is_damaged = ZSTD_isError(ZSTD_decompressStream(source->zstd, &room, &in));
    source->in_pos = in.pos;
    return room.pos;
}

static size_t unpack(struct source *source, uint8_t *out, size_t size)
{
    switch (source->packing) {
    case GZIP:
        return unpack_gzip(source, out, size);
    case XZ:
        return unpack_xz(source, out, size);
    case ZSTD:
        return unpack_zstd(source, out, size);
    case PLAIN:
        break;
    }
    return unpack_plain(source, out, size);
}

static ssize_t source_read(void *cookie, char *buf, size_t size)
{
    struct source *source = cookie;
    size_t n = 0;
    while (n == 0 && !source->is_damaged) {
        refill(source);
        n = unpack(source, (uint8_t *)buf, size);
        if (n == 0 && source->at_end) {
            break;
        }
    }
    source->out_pos += n;
    return (ssize_t)n;
}

/* Only "where am I": lets ftello tell the bytes libpcap has consumed from those in stdio's buffer. */
static int source_seek(void *cookie, off64_t *offset, int whence)
{
    const struct source *source = cookie;
    if (whence != SEEK_CUR || *offset != 0) {
        return -1;
    }
    *offset = (off64_t)source->out_pos;
    return 0;
}

static int source_close(void *cookie)
{
    struct source *source = cookie;
    if (source->packing == GZIP) {
        inflateEnd(&source->gzip);
    } else if (source->packing == XZ) {
        lzma_end(&source->xz);
    } else if (source->packing == ZSTD) {
        ZSTD_freeDStream(source->zstd);
    }
    if (source->file != stdin) {
        fclose(source->file);
    }
    free(source);
    return 0;
}

static bool start_unpacking(struct source *source)
{
    refill(source);
    source->packing = packing_of(source->in, source->in_len);
    switch (source->packing) {
    case GZIP:
        return inflateInit2(&source->gzip, 15 + 16) == Z_OK;
    case XZ:
        source->xz = (lzma_stream)LZMA_STREAM_INIT;
        return lzma_stream_decoder(&source->xz, UINT64_C(256) << 20, LZMA_CONCATENATED) == LZMA_OK;
    case ZSTD:
        source->zstd = ZSTD_createDStream();
        return source->zstd && !ZSTD_isError(ZSTD_initDStream(source->zstd));
    case PLAIN:
        break;
    }
    return true;
}

static pk_err source_open(const char *path, FILE **out_stream, struct source **out_source,
    char out_error[PK_CAPTURE_ERROR_SIZE])
{
    struct source *source = calloc(1, sizeof *source);
    if (!source) {
        return PK_ERR_NOMEM;
    }
    source->file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rbe");
    if (!source->file) {
        snprintf(
            out_error, PK_CAPTURE_ERROR_SIZE, "%s: cannot be opened: %s", path, strerror(errno));
        free(source);
        return PK_ERR_IO;
    }
    cookie_io_functions_t functions = {
        .read = source_read, .seek = source_seek, .close = source_close};
    FILE *stream = start_unpacking(source) ? fopencookie(source, "r", functions) : NULL;
    if (!stream) {
        snprintf(out_error, PK_CAPTURE_ERROR_SIZE, "%s: out of memory", path);
        source_close(source);
        return PK_ERR_NOMEM;
    }
    (void)setvbuf(
        stream, NULL, _IOFBF, IN_SIZE); /* the default would call the unpacker every 4 KiB */
    *out_stream = stream;
    *out_source = source;
    return PK_OK;
}

/* --- opening --- */

pk_err pk_capture_open_file(
    const char *path, struct pk_capture **out_capture, char out_error[PK_CAPTURE_ERROR_SIZE])
{
    char reason[PCAP_ERRBUF_SIZE] = "";
    FILE *stream = NULL;
    struct pk_capture *capture = calloc(1, sizeof *capture);
    if (!capture) {
        return PK_ERR_NOMEM;
    }
    pk_err err = source_open(path, &stream, &capture->source, out_error);
    if (err != PK_OK) {
        free(capture);
        return err;
    }
    snprintf(capture->name, sizeof capture->name, "%s", path);
    capture->pcap =
        pcap_fopen_offline_with_tstamp_precision(stream, PCAP_TSTAMP_PRECISION_MICRO, reason);
    if (!capture->pcap) {
        snprintf(out_error, PK_CAPTURE_ERROR_SIZE, "%s: offset %llu: %s%s", path,
            (unsigned long long)capture->source->out_pos, reason,
            capture->source->is_damaged ? " (the packed data is damaged)" : "");
        fclose(stream);
        free(capture);
        return PK_ERR_MALFORMED;
    }
    int link_type = pcap_datalink(capture->pcap);
    if (!pk_packet_link_supported(link_type)) {
        const char *name = pcap_datalink_val_to_name(link_type);
        snprintf(out_error, PK_CAPTURE_ERROR_SIZE, "%s: link type %d (%s) is not supported", path,
            link_type, name ? name : "unknown");
        pk_capture_close(capture);
        return PK_ERR_UNSUPPORTED;
    }
    *out_capture = capture;
    return PK_OK;
}

const char *pk_capture_filter(
    int link_type, const struct pk_ports *ports, char *out, size_t out_size)
{
    char port[256] = "";
    size_t len = 0;
    for (size_t i = 0; i < ports->n; i++) {
        len += (size_t)snprintf(
            port + len, sizeof port - len, "%sport %u", i ? " or " : "", ports->v[i]);
    }
    char here[512];
    /* Later fragments carry no ports, and the kernel cannot follow IPv6 extension headers: both are let through. */
    snprintf(here, sizeof here,
        "%s or (ip[6:2] & 0x1fff != 0) or (ip6 and (ip6[6]=44 or ip6[6]=0 or ip6[6]=60 or ip6[6]=43))",
        port);
    if (link_type == DLT_EN10MB) {
        /* "vlan" shifts the offsets of everything after it, so the untagged part stands first. */
        snprintf(out, out_size,
            "(%s) or (vlan and ((%s) or (vlan and (%s or (ip[6:2] & 0x1fff != 0)))))", here, here,
            port);
    } else {
        snprintf(out, out_size, "%s", here);
    }
    return out;
}

void pk_capture_close(struct pk_capture *capture)
{
    if (capture) {
        if (capture->pcap) {
            pcap_close(capture->pcap); /* closes the stream and with it the source */
        }
        free(capture);
    }
}

/* --- reading --- */

int pk_capture_link_type(const struct pk_capture *capture)
{
    return pcap_datalink(capture->pcap);
}

/* Damaged files hold any number; beyond the year 9999 it would overflow what is reckoned with it. */
static int64_t time_us(const struct timeval *time)
{
    const int64_t max_s = 253402300799, s = time->tv_sec;
    return (s < 0 ? 0 : s > max_s ? max_s : s) * 1000000 + time->tv_usec % 1000000;
}

enum pk_capture_result pk_capture_next(struct pk_capture *capture, struct pk_raw_packet *out_packet)
{
    struct pcap_pkthdr *header;
    const unsigned char *data;
    int result = pcap_next_ex(capture->pcap, &header, &data);
    if (result == 1) {
        capture->n_packets++;
        *out_packet = (struct pk_raw_packet){
            .ts_us = time_us(&header->ts),
            .data = data,
            .caplen = header->caplen,
            .wire_len = header->len,
        };
        return PK_CAPTURE_PACKET;
    }
    if (result == PCAP_ERROR_BREAK && !capture->source->is_damaged) {
        return PK_CAPTURE_END;
    }
    snprintf(capture->error, sizeof capture->error,
        "%s: damaged at offset %lld, after packet %llu: %s", capture->name,
        (long long)ftello(pcap_file(capture->pcap)), (unsigned long long)capture->n_packets,
        capture->source->is_damaged ? "the packed data cannot be unpacked"
                                    : pcap_geterr(capture->pcap));
    return PK_CAPTURE_BROKEN;
}

const char *pk_capture_error(const struct pk_capture *capture)
{
    return capture->error;
}

/* Our reader of capture files beside libpcap, on the shared captures and on files made here; and what libpcap does not read, against what was written. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pcap/pcap.h>

#include "sensor/input/savefile.h"
#include "sensor/input/unpack.h"

enum {
    MAX_FILE = 4096,
    DLT_NFLOG_ = 239
};

/* --- a file in memory, given out in pieces --- */

struct memory {
    const uint8_t *data;
    size_t len, at, piece; /* piece: at most so many bytes a read */
};

static size_t read_memory(void *arg, uint8_t *out, size_t size)
{
    struct memory *memory = arg;
    size_t n = memory->len - memory->at;
    n = n < size ? n : size;
    n = n < memory->piece ? n : memory->piece;
    memcpy(out, memory->data + memory->at, n);
    memory->at += n;
    return n;
}

static size_t read_unpacked(void *arg, uint8_t *out, size_t size)
{
    return pk_unpack_read(arg, out, size);
}

/* --- making files --- */

struct maker {
    uint8_t data[MAX_FILE];
    size_t len;
    bool is_big;
};

static void put(struct maker *maker, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t shift = 8 * (maker->is_big ? n - 1 - i : i);
        maker->data[maker->len++] = (uint8_t)(v >> shift);
    }
}

static void put_bytes(struct maker *maker, const void *bytes, size_t n)
{
    memcpy(maker->data + maker->len, bytes, n);
    maker->len += n;
    while (maker->len % 4 != 0) {
        maker->data[maker->len++] = 0;
    }
}

static void put_pcap_header(
    struct maker *maker, uint32_t magic, unsigned minor, uint32_t snaplen, uint32_t link)
{
    put(maker, magic, 4);
    put(maker, 2, 2);
    put(maker, minor, 2);
    put(maker, 0, 8);
    put(maker, snaplen, 4);
    put(maker, link, 4);
}

/* The block that began at start gets its lengths. */
static void end_block(struct maker *maker, size_t start)
{
    size_t end = maker->len, total = end + 4 - start;
    maker->len = start + 4;
    put(maker, total, 4);
    maker->len = end;
    put(maker, total, 4);
}

static void put_section(struct maker *maker, bool is_big)
{
    maker->is_big = is_big;
    size_t start = maker->len;
    put(maker, 0x0a0d0d0a, 4);
    put(maker, 0, 4);
    put(maker, 0x1a2b3c4d, 4);
    put(maker, 1, 2);
    put(maker, 0, 2);
    put(maker, UINT64_MAX, 8);
    end_block(maker, start);
}

static void put_option(struct maker *maker, unsigned code, uint64_t v, size_t n)
{
    put(maker, code, 2);
    put(maker, n, 2);
    put(maker, v, n);
    while (maker->len % 4 != 0) {
        maker->data[maker->len++] = 0;
    }
}

/* Options only where they are not 0 (the default resolution is 6). */
static void put_interface(
    struct maker *maker, uint32_t link, uint32_t snaplen, unsigned resolution, int64_t offset_s)
{
    size_t start = maker->len;
    put(maker, 1, 4);
    put(maker, 0, 4);
    put(maker, link, 2);
    put(maker, 0, 2);
    put(maker, snaplen, 4);
    if (resolution) {
        put_option(maker, 9, resolution, 1);
    }
    if (offset_s) {
        put_option(maker, 14, (uint64_t)offset_s, 8);
    }
    if (resolution || offset_s) {
        put_option(maker, 0, 0, 0);
    }
    end_block(maker, start);
}

static void put_packet(struct maker *maker, unsigned type, uint32_t interface, uint64_t ticks,
    const char *data, uint32_t caplen)
{
    size_t start = maker->len;
    put(maker, type, 4);
    put(maker, 0, 4);
    if (type == 2) {
        put(maker, interface, 2);
        put(maker, 0xffff, 2); /* dropped: not known */
    } else {
        put(maker, interface, 4);
    }
    put(maker, ticks >> 32, 4);
    put(maker, ticks & UINT32_MAX, 4);
    put(maker, caplen, 4);
    put(maker, caplen + 5, 4);
    put_bytes(maker, data, caplen);
    end_block(maker, start);
}

static void put_simple(struct maker *maker, const char *data, uint32_t len, uint32_t caplen)
{
    size_t start = maker->len;
    put(maker, 3, 4);
    put(maker, 0, 4);
    put(maker, len, 4);
    put_bytes(maker, data, caplen);
    end_block(maker, start);
}

static void put_unknown(struct maker *maker)
{
    size_t start = maker->len;
    put(maker, 0x0bad, 4);
    put(maker, 0, 4);
    put(maker, 7, 4);
    end_block(maker, start);
}

/* --- beside libpcap --- */

/* damaged files hold any number of microseconds, and 32 bits of seconds are unsigned here */
static int64_t libpcap_us(const struct pcap_pkthdr *header)
{
    return (int64_t)(uint32_t)header->ts.tv_sec * 1000000 + (uint32_t)header->ts.tv_usec % 1000000;
}

/* Packets that both give out; then each says the same of how it ended. */
static size_t compare_rest(struct pk_savefile *file, pcap_t *pcap, const char *name)
{
    struct pcap_pkthdr *header;
    const unsigned char *data;
    struct pk_raw_packet packet;
    size_t n = 0;
    int theirs;
    while ((theirs = pcap_next_ex(pcap, &header, &data)) == 1) {
        if (pk_savefile_next(file, &packet) != PK_CAPTURE_PACKET) {
            fail_msg("%s: packet %zu: %s", name, n + 1, pk_savefile_fault(file));
        }
        n++;
        if (packet.ts_us != libpcap_us(header) || packet.caplen != header->caplen ||
            packet.wire_len != header->len || memcmp(packet.data, data, header->caplen) != 0 ||
            pk_savefile_link_type(file) != pcap_datalink(pcap)) {
            fail_msg("%s: packet %zu differs: %lld %zu %zu, libpcap %lld %u %u", name, n,
                (long long)packet.ts_us, packet.caplen, packet.wire_len,
                (long long)libpcap_us(header), header->caplen, header->len);
        }
    }
    enum pk_capture_result ours = pk_savefile_next(file, &packet);
    if ((theirs == PCAP_ERROR_BREAK) != (ours == PK_CAPTURE_END)) {
        fail_msg("%s: after packet %zu: %s / %s", name, n, pk_savefile_fault(file),
            theirs == PCAP_ERROR ? pcap_geterr(pcap) : "the end");
    }
    assert_int_equal(pk_savefile_next(file, &packet), ours); /* and it stays so */
    return n;
}

static pcap_t *libpcap_of(const uint8_t *data, size_t len)
{
    char error[PCAP_ERRBUF_SIZE];
    FILE *stream = tmpfile();
    assert_non_null(stream);
    assert_int_equal(fwrite(data, 1, len, stream), len);
    rewind(stream);
    pcap_t *pcap =
        pcap_fopen_offline_with_tstamp_precision(stream, PCAP_TSTAMP_PRECISION_MICRO, error);
    if (!pcap) {
        fclose(stream);
    }
    return pcap;
}

/* Returns how many packets; -1 when neither opens it. */
static long compare_made(const uint8_t *data, size_t len, size_t piece, const char *name)
{
    struct memory memory = {.data = data, .len = len, .piece = piece};
    struct pk_savefile *file;
    long n = -1;
    assert_int_equal(pk_savefile_new(read_memory, &memory, &file), PK_OK);
    pcap_t *pcap = libpcap_of(data, len);
    pk_err err = pk_savefile_start(file);
    if ((err == PK_OK) != (pcap != NULL)) {
        fail_msg("%s of %zu bytes: only one opens it: %s", name, len, pk_savefile_fault(file));
    }
    if (pcap) {
        n = (long)compare_rest(file, pcap, name);
        pcap_close(pcap);
    }
    pk_savefile_free(file);
    return n;
}

static size_t compare_shared(const char *path, bool *out_is_both)
{
    char error[PK_UNPACK_ERROR_SIZE], reason[PCAP_ERRBUF_SIZE];
    struct pk_unpack *source, *again;
    struct pk_savefile *file;
    uint8_t block[8192];
    size_t n, n_packets = 0;
    FILE *stream = tmpfile();
    assert_non_null(stream);
    assert_int_equal(pk_unpack_open(path, &again, error), PK_OK);
    while ((n = pk_unpack_read(again, block, sizeof block)) > 0) {
        assert_int_equal(fwrite(block, 1, n, stream), n);
    }
    pk_unpack_close(again);
    rewind(stream);
    assert_int_equal(pk_unpack_open(path, &source, error), PK_OK);
    assert_int_equal(pk_savefile_new(read_unpacked, source, &file), PK_OK);
    assert_int_equal(pk_savefile_start(file), PK_OK);
    pcap_t *pcap =
        pcap_fopen_offline_with_tstamp_precision(stream, PCAP_TSTAMP_PRECISION_MICRO, reason);
    assert_non_null(pcap);
    *out_is_both = strstr(path, "many_interfaces") == NULL; /* libpcap stops at its second link */
    if (*out_is_both) {
        n_packets = compare_rest(file, pcap, path);
    }
    pcap_close(pcap);
    pk_savefile_free(file);
    pk_unpack_close(source);
    return n_packets;
}

static void every_shared_capture_reads_as_libpcap_reads_it(void **state)
{
    (void)state;
    DIR *folder = opendir(PICKET_SHARED_CAPTURES);
    if (!folder) {
        skip();
    }
    size_t n_files = 0, n_packets = 0;
    struct dirent *entry;
    while ((entry = readdir(folder)) != NULL) {
        char path[1024];
        bool is_both = false;
        snprintf(path, sizeof path, "%s/%s", PICKET_SHARED_CAPTURES, entry->d_name);
        if (entry->d_name[0] != '.') {
            n_packets += compare_shared(path, &is_both);
            n_files += is_both;
        }
    }
    closedir(folder);
    printf("%zu files, %zu packets\n", n_files, n_packets);
    assert_true(n_files > 100 && n_packets > 40000);
}

static void make_pcap(struct maker *maker, uint32_t magic, unsigned minor, bool is_big)
{
    *maker = (struct maker){.is_big = is_big};
    put_pcap_header(maker, magic, minor, 60, 1);
    for (uint32_t i = 0; i < 3; i++) {
        char data[80];
        uint32_t caplen = 20 + 30 * i, len = caplen + 9; /* the last is beyond the snap length */
        memset(data, 'a' + (int)i, sizeof data);
        put(maker, 1700000000 + i, 4);
        put(maker, 999999 - i, 4);
        put(maker, minor < 3 ? len : caplen, 4);
        put(maker, minor < 3 ? caplen : len, 4);
        put(maker, 0x01020304, magic == 0xa1b2cd34 ? 4 : 0);
        put(maker, 0x05060708, magic == 0xa1b2cd34 ? 4 : 0);
        memcpy(maker->data + maker->len, data, caplen);
        maker->len += caplen;
    }
}

/* Also cut short at every byte, in which what stood before must stay; and in reads of every size. */
static void every_kind_of_pcap_reads_as_libpcap_reads_it(void **state)
{
    (void)state;
    static const uint32_t magics[] = {0xa1b2c3d4, 0xa1b23c4d, 0xa1b2cd34};
    for (size_t i = 0; i < 3; i++) {
        for (unsigned variant = 0; variant < 6; variant++) {
            struct maker maker;
            make_pcap(&maker, magics[i], 2 + variant / 2, variant & 1);
            for (size_t cut = 0; cut <= maker.len; cut++) {
                long n = compare_made(maker.data, cut, 1 + cut % 7, "pcap");
                assert_true(cut < 24 ? n == -1 : n == 3 || cut < maker.len);
            }
        }
    }
}

static void damaged_pcap_says_so_where_libpcap_says_so(void **state)
{
    (void)state;
    for (size_t at = 0; at < 24 + 16; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            struct maker maker;
            make_pcap(&maker, 0xa1b2c3d4, 4, false);
            maker.data[at] ^= (uint8_t)(1u << bit);
            if (at < 20 || at > 23) { /* other link types have other limits in libpcap */
                (void)compare_made(maker.data, maker.len, SIZE_MAX, "damaged pcap");
            }
        }
    }
}

static void make_pcapng(struct maker *maker, bool is_big)
{
    *maker = (struct maker){0};
    put_section(maker, is_big);
    put_unknown(maker);
    put_interface(maker, 1, 0, 0, 0);
    put_interface(maker, 1, 0, 9, 0);
    put_interface(maker, 1, 0, 3, 3600);
    put_interface(maker, 1, 0, 0x80 | 20, 0);
    put_packet(maker, 6, 0, 1700000000123456, "micro", 5);
    put_unknown(maker);
    put_packet(maker, 6, 1, 1700000000123456789, "nanoseconds", 11);
    put_packet(maker, 6, 2, 1700000000123, "milli, an hour later", 20);
    put_packet(maker, 6, 3, (UINT64_C(1700000000) << 20) + 7, "binary", 6);
    put_packet(maker, 2, 1, 1700000001000000001, "obsolete", 8);
    put_simple(maker, "simple", 6, 6);
}

static void pcapng_reads_as_libpcap_reads_it(void **state)
{
    (void)state;
    for (unsigned is_big = 0; is_big < 2; is_big++) {
        struct maker maker;
        make_pcapng(&maker, is_big);
        assert_int_equal(compare_made(maker.data, maker.len, SIZE_MAX, "pcapng"), 6);
        /* Behind the first packet: what stands before it we read when the file is opened. */
        for (size_t cut = 28 + 16 + 20 + 32 + 44 + 32 + 40; cut < maker.len; cut++) {
            (void)compare_made(maker.data, cut, 1 + cut % 7, "pcapng cut short");
        }
    }
}

static void nflog_of_the_other_order_is_turned_as_libpcap_turns_it(void **state)
{
    (void)state;
    static const uint8_t sound[] = {2, 0, 0, 0, 0, 8, 0, 5, 1, 2, 3, 4, 0, 6, 0, 9, 7, 7, 0, 0};
    for (size_t len = 0; len <= sizeof sound; len++) {
        for (unsigned is_big = 0; is_big < 2; is_big++) {
            struct maker maker = {.is_big = is_big};
            put_pcap_header(&maker, 0xa1b2c3d4, 4, 0, DLT_NFLOG_);
            put(&maker, 1, 8);
            put(&maker, len, 4);
            put(&maker, len, 4);
            memcpy(maker.data + maker.len, sound, len);
            assert_int_equal(compare_made(maker.data, maker.len + len, SIZE_MAX, "NFLOG"), 1);
        }
    }
}

/* --- what libpcap does not read --- */

struct wanted {
    int link;
    int64_t ts_us;
    const char *data;
    size_t caplen, wire_len;
};

static void expect(
    const struct maker *maker, const struct wanted *wanted, size_t n, enum pk_capture_result end)
{
    for (size_t piece = 1; piece < 100; piece += 49) {
        struct memory memory = {.data = maker->data, .len = maker->len, .piece = piece};
        struct pk_savefile *file;
        struct pk_raw_packet packet;
        assert_int_equal(pk_savefile_new(read_memory, &memory, &file), PK_OK);
        assert_int_equal(pk_savefile_start(file), PK_OK);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(pk_savefile_next(file, &packet), PK_CAPTURE_PACKET);
            assert_int_equal(pk_savefile_link_type(file), wanted[i].link);
            assert_int_equal(packet.ts_us, wanted[i].ts_us);
            assert_int_equal(packet.caplen, wanted[i].caplen);
            assert_int_equal(packet.wire_len, wanted[i].wire_len);
            assert_memory_equal(packet.data, wanted[i].data, wanted[i].caplen);
        }
        assert_int_equal(pk_savefile_next(file, &packet), end);
        pk_savefile_free(file);
    }
}

static void interfaces_of_several_links_and_sections_of_both_orders_are_read(void **state)
{
    (void)state;
    struct maker maker = {0};
    put_section(&maker, false);
    put_interface(&maker, 1, 0, 0, 0);
    put_interface(&maker, 113, 96, 0, -1);
    put_packet(&maker, 6, 1, 1700000000000001, "cooked", 6);
    put_packet(&maker, 6, 0, 1700000000000002, "ether", 5);
    put_section(&maker, true);
    put_interface(&maker, 101, 4, 6, 0);
    put_packet(&maker, 6, 0, 1700000000000003, "raw", 3);
    put_simple(&maker, "cut at four", 11, 4);
    put_interface(&maker, 276, 0, 0, 0); /* in the middle */
    put_packet(&maker, 2, 1, 1700000000000004, "SLL2", 4);
    static const struct wanted wanted[] = {
        {113, 1699999999000001, "cooked", 6, 11},
        {1, 1700000000000002, "ether", 5, 10},
        {12, 1700000000000003, "raw", 3, 8},
        {12, 0, "cut ", 4, 11},
        {276, 1700000000000004, "SLL2", 4, 9},
    };
    expect(&maker, wanted, 5, PK_CAPTURE_END);
}

static void times_beyond_any_calendar_stay_within_it(void **state)
{
    (void)state;
    struct maker maker = {0};
    put_section(&maker, false);
    put_interface(&maker, 1, 0, 0, INT64_MAX);
    put_interface(&maker, 1, 0, 0, INT64_MIN);
    put_interface(&maker, 1, 0, 19, 5);
    put_interface(&maker, 1, 0, 0x80, 0);      /* whole seconds */
    put_interface(&maker, 1, 0, 0x80 | 63, 0); /* and the finest */
    for (uint32_t i = 0; i < 5; i++) {
        put_packet(&maker, 6, i, UINT64_MAX, "x", 1);
    }
    static const struct wanted wanted[] = {
        {1, 253402300799551615, "x", 1, 6},
        {1, 551615, "x", 1, 6},
        {1, 6844674, "x", 1, 6},
        {1, 253402300799000000, "x", 1, 6},
        {1, 1999999, "x", 1, 6},
    };
    expect(&maker, wanted, 5, PK_CAPTURE_END);
}

/* Each after one sound packet, which is given out. */
static void damaged_pcapng_is_told_after_what_was_good(void **state)
{
    (void)state;
    static const struct wanted good = {1, 1000000, "good", 4, 9};
    static const struct {
        size_t at; /* in the bad block */
        uint8_t v;
        const char *says;
    } faults[] = {
        {8, 1, "interface 1"},          /* not described */
        {4, 6, "block of 6 bytes"},     /* its length */
        {7, 0x10, "block of"},          /* more than may be */
        {4, 34, "block of 34 bytes"},   /* no multiple of four */
        {36, 32, "says 32 at its end"}, /* its second length */
        {20, 9, "packet of 9 bytes"},   /* more than the block holds */
    };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        struct maker maker = {0};
        put_section(&maker, false);
        put_interface(&maker, 1, 0, 0, 0);
        put_packet(&maker, 6, 0, 1000000, "good", 4);
        size_t bad = maker.len;
        put_packet(&maker, 6, 0, 1000001, "damaged", 7);
        put_packet(&maker, 6, 0, 1000002, "behind", 6);
        maker.data[bad + faults[i].at] = faults[i].v;
        expect(&maker, &good, 1, PK_CAPTURE_BROKEN);
        struct memory memory = {.data = maker.data, .len = maker.len, .piece = SIZE_MAX};
        struct pk_savefile *file;
        struct pk_raw_packet packet;
        assert_int_equal(pk_savefile_new(read_memory, &memory, &file), PK_OK);
        assert_int_equal(pk_savefile_start(file), PK_OK);
        while (pk_savefile_next(file, &packet) == PK_CAPTURE_PACKET) {
        }
        assert_non_null(strstr(pk_savefile_fault(file), faults[i].says));
        assert_int_equal(pk_savefile_offset(file), bad);
        pk_savefile_free(file);
    }
}

static void what_is_no_capture_is_refused_with_a_reason(void **state)
{
    (void)state;
    static const char *const files[] = {"", "\n\r", "GIF89a", "\n\r\r\n\x1c\0\0\0AAAA"};
    static const size_t lens[] = {0, 2, 6, 12};
    static const char *const says[] = {"too short", "too short", "neither", "byte order"};
    for (size_t i = 0; i < 4; i++) {
        struct memory memory = {.data = (const uint8_t *)files[i], .len = lens[i], .piece = 1};
        struct pk_savefile *file;
        assert_int_equal(pk_savefile_new(read_memory, &memory, &file), PK_OK);
        assert_int_equal(pk_savefile_start(file), PK_ERR_MALFORMED);
        assert_non_null(strstr(pk_savefile_fault(file), says[i]));
        pk_savefile_free(file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shared_capture_reads_as_libpcap_reads_it),
        cmocka_unit_test(every_kind_of_pcap_reads_as_libpcap_reads_it),
        cmocka_unit_test(damaged_pcap_says_so_where_libpcap_says_so),
        cmocka_unit_test(pcapng_reads_as_libpcap_reads_it),
        cmocka_unit_test(nflog_of_the_other_order_is_turned_as_libpcap_turns_it),
        cmocka_unit_test(interfaces_of_several_links_and_sections_of_both_orders_are_read),
        cmocka_unit_test(times_beyond_any_calendar_stay_within_it),
        cmocka_unit_test(damaged_pcapng_is_told_after_what_was_good),
        cmocka_unit_test(what_is_no_capture_is_refused_with_a_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

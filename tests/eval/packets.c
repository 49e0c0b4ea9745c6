/* Workloads as packets: see packets.h. Ethernet, IPv4 or IPv6, UDP, and a DNS message a question and an answer; transfers are left out, since a
 * stream has its own tests. Names keep no case pattern. What is compared is what was found, not when. */
#include "packets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "picket/dnsmsg.h"

#include "judge.h"

struct frame {
    uint8_t bytes[1500];
    size_t len;
};

static void put(struct frame *frame, const void *data, size_t len)
{
    if (frame->len + len <= sizeof frame->bytes) {
        memcpy(frame->bytes + frame->len, data, len);
        frame->len += len;
    }
}

static void put16(struct frame *frame, unsigned v)
{
    put(frame, (const uint8_t[2]){(uint8_t)(v >> 8), (uint8_t)v}, 2);
}

static void put32(struct frame *frame, uint32_t v)
{
    put16(frame, v >> 16);
    put16(frame, v & 0xffff);
}

static void put_rdata(struct frame *frame, uint16_t type, uint64_t digest)
{
    static const uint8_t target[] = "\4host\7example";
    uint8_t bytes[16] = {0x20, 0x01, 0x0d, 0xb8};
    memcpy(bytes + 8, &digest, 8);
    switch (type) {
    case PK_TYPE_A:
        put16(frame, 4);
        put(frame, (const uint8_t[4]){198, 19, (uint8_t)(digest >> 8), (uint8_t)digest}, 4);
        break;
    case PK_TYPE_AAAA:
        put16(frame, 16);
        put(frame, bytes, 16);
        break;
    case PK_TYPE_NS:
    case PK_TYPE_PTR:
        put16(frame, sizeof target);
        put(frame, target, sizeof target);
        break;
    case PK_TYPE_MX:
        put16(frame, sizeof target + 2);
        put16(frame, 10);
        put(frame, target, sizeof target);
        break;
    case PK_TYPE_SRV:
        put16(frame, sizeof target + 6);
        put32(frame, 0);
        put16(frame, 443);
        put(frame, target, sizeof target);
        break;
    case PK_TYPE_SOA:
        put16(frame, 2 * sizeof target + 20);
        put(frame, target, sizeof target);
        put(frame, target, sizeof target);
        for (unsigned i = 0; i < 5; i++) {
            put32(frame, 3600);
        }
        break;
    case PK_TYPE_TXT:
        put16(frame, 3);
        put(frame, "\2ok", 3);
        break;
    default: /* opaque, RFC 3597 */
        put16(frame, 8);
        put(frame, &digest, 8);
    }
}

static void put_message(struct frame *frame, const struct ev_event *event, const uint8_t *name,
    uint16_t id, bool is_response)
{
    bool is_data = event->answer == PK_ANSWER_DATA;
    bool is_empty = event->answer == PK_ANSWER_NXDOMAIN || event->answer == PK_ANSWER_NODATA;
    bool has_edns = event->flags & PK_SIG_QUERY_EDNS;
    unsigned flags = event->flags & PK_SIG_QUERY_RD ? 0x0100 : 0;
    if (is_response) {
        flags |= 0x8000U | (event->flags & PK_SIG_AA ? 0x0400 : 0) |
                 (event->flags & PK_SIG_RA ? 0x0080 : 0) | (event->rcode & 15);
    }
    put16(frame, id);
    put16(frame, flags);
    put16(frame, 1);
    put16(frame, is_response && is_data);
    put16(frame, is_response && is_empty);
    put16(frame, has_edns);
    put(frame, name, event->name_len);
    put16(frame, event->qtype);
    put16(frame, event->qclass);
    if (is_response && (is_data || is_empty)) {
        uint16_t type = is_data ? event->qtype : PK_TYPE_SOA;
        put16(frame, 0xc00c);
        if (!is_data) { /* the authority's owner is the parent, which is near enough to the apex */
            frame->len -= 2;
            size_t first = event->name_len > 1 ? name[0] + 1U : 0;
            put(frame, name + first, event->name_len - first);
        }
        put16(frame, type);
        put16(frame, event->qclass);
        put32(frame, 3600);
        put_rdata(frame, type, event->digest);
    }
    if (has_edns) {
        put(frame, "", 1);
        put16(frame, PK_TYPE_OPT);
        put16(frame, 1232);
        put16(frame, 0);
        put16(frame, event->flags & PK_SIG_QUERY_DO ? 0x8000 : 0);
        put16(frame, 0);
    }
}

static void put_ip(struct frame *frame, const struct pk_addr *from, const struct pk_addr *to,
    unsigned from_port, unsigned to_port, const struct frame *payload)
{
    unsigned udp_len = (unsigned)payload->len + 8;
    bool is_six = from->family == 6;
    put(frame, "\2\0\0\0\0\1\2\0\0\0\0\2", 12);
    put16(frame, is_six ? 0x86dd : 0x0800);
    if (is_six) {
        struct pk_addr to_six = *to; /* our servers have both families; the sensor needs one */
        if (to_six.family == 4) {
            to_six = (struct pk_addr){.family = 6, .bytes = {0x20, 0x01, 0x0d, 0xb8}};
            memcpy(to_six.bytes + 12, to->bytes, 4);
        }
        put32(frame, 0x60000000);
        put16(frame, udp_len);
        put(frame, "\21\100", 2);
        put(frame, from->bytes, 16);
        put(frame, to_six.bytes, 16);
    } else {
        put16(frame, 0x4500);
        put16(frame, 20 + udp_len);
        put32(frame, 0x00004000);
        put(frame, "\100\21\0\0",
            4); /* no checksum: captures are often taken before the card fills it in */
        put(frame, from->bytes, 4);
        put(frame, to->bytes, 4);
    }
    put16(frame, from_port);
    put16(frame, to_port);
    put16(frame, udp_len);
    put16(frame, 0);
    put(frame, payload->bytes, payload->len);
}

static void write_packet(FILE *file, int64_t time_us, const struct frame *frame)
{
    uint32_t header[4] = {(uint32_t)(time_us / 1000000), (uint32_t)(time_us % 1000000),
        (uint32_t)frame->len, (uint32_t)frame->len};
    (void)fwrite(header, sizeof header, 1, file);
    (void)fwrite(frame->bytes, frame->len, 1, file);
}

static void write_pair(FILE *file, const struct ev_event *event, const uint8_t *name)
{
    struct pk_addr server = ev_server(event->site, event->vantage);
    if (event->client.family == 6) {
        struct pk_addr six = {.family = 6, .bytes = {0x20, 0x01, 0x0d, 0xb8}};
        memcpy(six.bytes + 12, server.bytes, 4);
        server = six;
    }
    uint16_t id = (uint16_t)ev_hash3(event->order, 1, 1);
    unsigned port = 1024 + (unsigned)(ev_hash3(event->order, 2, 2) % 60000);
    for (unsigned i = 0; i < 2 && (i == 0 || event->answer != PK_ANSWER_NONE); i++) {
        struct frame message = {.len = 0}, frame = {.len = 0};
        put_message(&message, event, name, id, i == 1);
        if (i == 0) {
            put_ip(&frame, &event->client, &server, port, 53, &message);
        } else {
            put_ip(&frame, &server, &event->client, 53, port, &message);
        }
        write_packet(file, event->time_us + (i ? 300 : 0), &frame);
    }
}

static FILE *capture_open(const char *folder, unsigned site)
{
    static const uint32_t header[6] = {0xa1b2c3d4, 2 | 4 << 16, 0, 0, 65535, 1};
    char path[512];
    (void)snprintf(path, sizeof path, "%s/s%02u.pcap", folder, site + 1);
    FILE *file = fopen(path, "wbe");
    if (file) {
        (void)fwrite(header, sizeof header, 1, file);
    }
    return file;
}

static bool write_captures(const struct ev_traffic *traffic, const char *folder)
{
    FILE *files[EV_N_SITES] = {NULL};
    bool is_good = true;
    for (size_t i = 0; is_good && i < traffic->n; i++) {
        const struct ev_event *event = &traffic->events[i];
        if (!files[event->site]) {
            files[event->site] = capture_open(folder, event->site);
        }
        is_good = files[event->site] != NULL;
        if (is_good && event->transport == PK_TRANSPORT_UDP) {
            write_pair(files[event->site], event, traffic->names + event->name_pos);
        }
    }
    for (unsigned i = 0; i < EV_N_SITES; i++) {
        is_good = (!files[i] || fclose(files[i]) == 0) && is_good;
    }
    return is_good;
}

static bool write_scope(const struct ev_world *world, const char *folder)
{
    char path[512];
    struct pk_bytes text;
    (void)snprintf(path, sizeof path, "%s/scope.yaml", folder);
    FILE *file = fopen(path, "we");
    if (!file) {
        return false;
    }
    pk_bytes_init(&text, 1 << 16);
    ev_world_scope_text(world, &text);
    (void)fwrite(text.data, 1, text.len, file);
    pk_bytes_done(&text);
    return fclose(file) == 0;
}

int ev_packets_main(const struct ev_world *world, const struct ev_cell *cell,
    const struct ev_mix *mix, const struct ev_lists *lists, const char *folder)
{
    enum {
        HOUR = 9
    };
    struct ev_traffic traffic = {0};
    struct ev_rows rows = {0};
    struct ev_campaign campaign = {0};
    struct ev_judge judge;
    char path[512];
    int64_t start = world->start_us + HOUR * EV_HOUR_US;
    const struct ev_flaws none = {.late_site = -1};
    if (!ev_mix_fill(world, mix, HOUR, &traffic) ||
        !ev_judge_init(&judge, world, 1, -1, false, start)) {
        return 70;
    }
    if (cell->is_attack) {
        if (!ev_attack_make(world, cell, lists, 0, start + 300000000, &campaign)) {
            return 65;
        }
        ev_traffic_append(&traffic, &campaign.traffic);
        ev_judge_campaign(&judge, &campaign);
    }
    ev_traffic_sort(&traffic);
    size_t kept = 0; /* what packets cannot show is not shown to the engine either */
    for (size_t i = 0; i < traffic.n; i++) {
        if (traffic.events[i].transport == PK_TRANSPORT_UDP) {
            traffic.events[kept] = traffic.events[i];
            traffic.events[kept++].is_mixed_case = 0;
        }
    }
    traffic.n = kept;
    ev_traffic_rows(&traffic, &none, &rows);
    ev_judge_feed(&judge, &rows);
    ev_judge_finish(&judge);
    (void)snprintf(path, sizeof path, "%s/expected.json", folder);
    FILE *expected = fopen(path, "we");
    bool is_good = expected && write_captures(&traffic, folder) && write_scope(world, folder);
    if (expected) {
        ev_judge_print_benign(&judge, expected);
        is_good = fclose(expected) == 0 && is_good;
    }
    ev_judge_done(&judge);
    ev_campaign_done(&campaign);
    ev_rows_done(&rows);
    ev_traffic_done(&traffic);
    return is_good ? 0 : 74;
}

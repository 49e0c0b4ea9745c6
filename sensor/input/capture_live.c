/* libpcap, live.
 *
 * Measured: immediate mode falls back to TPACKET_V2 with a whole frame slot a packet and keeps a hundredth of what V3 keeps in the same memory. V3 slots are variable, so the
 * large snap length costs nothing. Packets are taken by pcap_dispatch: a callback a packet, no call back into libpcap between them. */
#include "input/capture_live.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pcap/pcap.h>

#include "input/fanout.h"
#include "input/filter.h"

enum {
    SNAPLEN = 262144,
    MAX_FILTER_BYTES = 256 << 10
};

struct pk_live {
    pcap_t *pcap;
    struct pk_fanout *group; /* NULL: alone */
    char name[IF_NAMESIZE];
    int link_type;
    uint16_t interface;
    pk_live_cb on_packet; /* during a read */
    void *arg;
    int64_t until_us;
    size_t n_given;
    struct pk_raw_packet held; /* data points to held_bytes; NULL: none is held */
    uint8_t *held_bytes;
    size_t held_size;
    uint32_t last_received, last_dropped, last_iface_dropped; /* libpcap's are 32 bits and wrap */
    struct pk_live_counts counts;
};

static enum pk_live_result result_of(int code)
{
    switch (code) {
    case PCAP_ERROR_IFACE_NOT_UP:
        return PK_LIVE_DOWN;
    case PCAP_ERROR_NO_SUCH_DEVICE:
        return PK_LIVE_GONE;
    case PCAP_ERROR_PERM_DENIED:
    case PCAP_ERROR_PROMISC_PERM_DENIED:
        return PK_LIVE_DENIED;
    default:
        return PK_LIVE_FAILED;
    }
}

static enum pk_live_result fail(const struct pk_live *live, enum pk_live_result result,
    const char *what, char out_error[PK_CAPTURE_ERROR_SIZE])
{
    const char *why = pcap_geterr(live->pcap);
    snprintf(out_error, PK_CAPTURE_ERROR_SIZE, "%s: %s%s%s%s", live->name, what, *why ? ": " : "",
        why,
        result == PK_LIVE_DENIED
            ? "; it needs the capability CAP_NET_RAW (setcap cap_net_raw+p, or start as root)"
            : "");
    return result;
}

enum pk_live_result pk_live_set_ports(
    struct pk_live *live, const struct pk_ports *ports, char out_error[PK_CAPTURE_ERROR_SIZE])
{
    struct bpf_program program;
    struct pk_bytes filter;
    pk_bytes_init(&filter, MAX_FILTER_BYTES);
    bool is_made =
        pk_filter_text(live->link_type, ports, &filter) == PK_OK &&
        pcap_compile(live->pcap, &program, pk_bytes_text(&filter), 1, PCAP_NETMASK_UNKNOWN) == 0;
    pk_bytes_done(&filter);
    if (!is_made) {
        return fail(live, PK_LIVE_FAILED, "cannot make the kernel filter", out_error);
    }
    int result = pcap_setfilter(live->pcap, &program);
    pcap_freecode(&program);
    return result == 0 ? PK_LIVE_OK
                       : fail(live, PK_LIVE_FAILED, "cannot set the kernel filter", out_error);
}

static bool join_fanout(struct pk_live *live)
{
    live->group = pk_fanout_join(pcap_fileno(live->pcap), if_nametoindex(live->name));
    return live->group != NULL;
}

static enum pk_live_result start(struct pk_live *live, const struct pk_live_options *options,
    char out_error[PK_CAPTURE_ERROR_SIZE])
{
    char reason[PCAP_ERRBUF_SIZE] = "";
    (void)pcap_set_snaplen(live->pcap, SNAPLEN);
    (void)pcap_set_promisc(live->pcap, 1);
    (void)pcap_set_timeout(live->pcap, PK_LIVE_BLOCK_MS);
    (void)pcap_set_buffer_size(live->pcap, (int)options->ring_bytes);
    int code = pcap_activate(live->pcap);
    if (code < 0) {
        return fail(live, result_of(code), "cannot capture", out_error);
    }
    live->link_type = pcap_datalink(live->pcap);
    if (!pk_packet_link_supported(live->link_type)) {
        return fail(live, PK_LIVE_FAILED, "its link type is not supported", out_error);
    }
    if (pcap_setnonblock(live->pcap, 1, reason) != 0) {
        return fail(live, PK_LIVE_FAILED, reason, out_error);
    }
    enum pk_live_result result = pk_live_set_ports(live, options->ports, out_error);
    if (result == PK_LIVE_OK && options->n_fanout > 1 && !join_fanout(live)) {
        snprintf(out_error, PK_CAPTURE_ERROR_SIZE, "%s: cannot share it between threads: %s",
            live->name, strerror(errno));
        result = PK_LIVE_FAILED;
    }
    return result;
}

enum pk_live_result pk_live_open(const char *interface, const struct pk_live_options *options,
    struct pk_live **out_live, char out_error[PK_CAPTURE_ERROR_SIZE])
{
    char reason[PCAP_ERRBUF_SIZE] = "";
    struct pk_live *live = calloc(1, sizeof *live);
    if (!live) {
        snprintf(out_error, PK_CAPTURE_ERROR_SIZE, "%s: out of memory", interface);
        return PK_LIVE_FAILED;
    }
    snprintf(live->name, sizeof live->name, "%s", interface);
    live->interface = options->interface;
    live->pcap = pcap_create(interface, reason);
    if (!live->pcap) {
        snprintf(out_error, PK_CAPTURE_ERROR_SIZE, "%s: %s", interface, reason);
        free(live);
        return PK_LIVE_FAILED;
    }
    enum pk_live_result result = start(live, options, out_error);
    if (result != PK_LIVE_OK) {
        pk_live_close(live);
        return result;
    }
    *out_live = live;
    return PK_LIVE_OK;
}

void pk_live_close(struct pk_live *live)
{
    if (live) {
        pk_fanout_leave(live->group);
        pcap_close(live->pcap);
        free(live->held_bytes);
        free(live);
    }
}

int pk_live_fd(const struct pk_live *live)
{
    return pcap_get_selectable_fd(live->pcap);
}

int pk_live_link_type(const struct pk_live *live)
{
    return live->link_type;
}

const char *pk_live_link_name(const struct pk_live *live)
{
    const char *name = pcap_datalink_val_to_name(live->link_type);
    return name ? name : "?";
}

/* libpcap gives a block back to the kernel with its last packet, so a packet that is to wait is copied. False: no memory, then it does not wait. */
static bool hold(struct pk_live *live, const struct pk_raw_packet *packet)
{
    if (live->held_size < packet->caplen) {
        uint8_t *bytes = realloc(live->held_bytes, packet->caplen);
        if (!bytes) {
            return false;
        }
        live->held_bytes = bytes;
        live->held_size = packet->caplen;
    }
    memcpy(live->held_bytes, packet->data, packet->caplen);
    live->held = *packet;
    live->held.data = live->held_bytes;
    return true;
}

static void on_pcap(unsigned char *user, const struct pcap_pkthdr *header, const uint8_t *data)
{
    struct pk_live *live = (void *)user;
    const struct pk_raw_packet packet = {
        .ts_us = (int64_t)header->ts.tv_sec * 1000000 + header->ts.tv_usec,
        .data = data,
        .caplen = header->caplen,
        .wire_len = header->len,
        .interface = live->interface,
    };
    if (packet.ts_us > live->until_us && hold(live, &packet)) {
        pcap_breakloop(live->pcap);
        return;
    }
    live->on_packet(live->arg, live->link_type, &packet);
    live->n_given++;
}

static bool give_held(struct pk_live *live)
{
    if (live->held.data && live->held.ts_us > live->until_us) {
        return false;
    }
    if (live->held.data) {
        live->on_packet(live->arg, live->link_type, &live->held);
        live->held.data = NULL;
        live->n_given++;
    }
    return true;
}

enum pk_live_result pk_live_read(struct pk_live *live, int max, int64_t until_us,
    pk_live_cb on_packet, void *arg, size_t *out_n, char out_error[PK_CAPTURE_ERROR_SIZE])
{
    live->on_packet = on_packet;
    live->arg = arg;
    live->until_us = until_us;
    live->n_given = 0;
    int result =
        give_held(live) ? pcap_dispatch(live->pcap, max, on_pcap, (unsigned char *)live) : 0;
    *out_n = live->n_given;
    if (result >= 0 || result == PCAP_ERROR_BREAK) {
        return PK_LIVE_OK;
    }
    /* libpcap has one code for all that can happen to a running capture; the interface itself tells them apart. */
    return fail(live, if_nametoindex(live->name) ? PK_LIVE_DOWN : PK_LIVE_GONE, "the capture ended",
        out_error);
}

int64_t pk_live_held_us(const struct pk_live *live)
{
    return live->held.data ? live->held.ts_us : INT64_MAX;
}

void pk_live_counts(struct pk_live *live, struct pk_live_counts *out_counts)
{
    struct pcap_stat stat;
    struct pk_live_counts *counts = &live->counts;
    if (pcap_stats(live->pcap, &stat) == 0) {
        counts->received += (uint32_t)(stat.ps_recv - live->last_received);
        counts->dropped += (uint32_t)(stat.ps_drop - live->last_dropped);
        counts->iface_dropped += (uint32_t)(stat.ps_ifdrop - live->last_iface_dropped);
        live->last_received = stat.ps_recv;
        live->last_dropped = stat.ps_drop;
        live->last_iface_dropped = stat.ps_ifdrop;
    }
    *out_counts = *counts;
}

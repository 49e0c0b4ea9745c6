/* send_dns INTERFACE PAIRS_A_SECOND SECONDS [PAIRS [FIRST]]: raw frames with DNS queries and their answers, prepared beforehand and sent at an even pace.
 *
 * A pair is a query for one of 4,096 names and an answer with one address, from one of 64,000 ports of one of 250 clients. Ends after SECONDS, or after PAIRS when given;
 * then the frames also pass by captures on INTERFACE itself, and numbers begin at FIRST: pairs with different numbers differ.
 * Prints `sent FRAMES seconds S dropped FRAMES`. What the kernel refused for want of room is sent again, what it dropped on the way to the other end of a veth pair is not
 * among the sent but told by itself. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    N_NAMES = 4096,
    BATCH = 64, /* frames a sendmmsg */
    ETH = 14,
    IP = 20,
    UDP = 8,
    HEADERS = ETH + IP + UDP,
    MAX_FRAME = 160,
    SLICE_NS = 500000
};

struct frame {
    uint8_t bytes[MAX_FRAME];
    size_t len;
};

struct pair {
    struct frame query, response;
};

static void put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void put_headers(struct frame *frame, const uint8_t *src, const uint8_t *dst)
{
    uint8_t *p = frame->bytes;
    static const uint8_t ethernet[ETH] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0};
    memcpy(p, ethernet, ETH);
    uint8_t *ip = p + ETH, *udp = ip + IP;
    ip[0] = 0x45;
    put16(ip + 2, (unsigned)(frame->len - ETH));
    ip[8] = 64;
    ip[9] = 17;
    memcpy(ip + 12, src, 4);
    memcpy(ip + 16, dst, 4);
    uint32_t sum = 0;
    for (int i = 0; i < IP; i += 2) {
        sum += (uint32_t)(ip[i] << 8 | ip[i + 1]);
    }
    sum = (sum & 0xffff) + (sum >> 16);
    put16(ip + 10, ~(sum + (sum >> 16)) & 0xffff);
    put16(udp, 53);
    put16(udp + 2, 53);
    put16(udp + 4, (unsigned)(frame->len - ETH - IP)); /* checksum 0: none */
}

static size_t put_question(uint8_t *p, unsigned i)
{
    char label[16];
    int len = snprintf(label, sizeof label, "host-%04u", i);
    uint8_t *start = p;
    *p++ = (uint8_t)len;
    memcpy(p, label, (size_t)len);
    p += len;
    memcpy(p, "\4acme\7example\0\0\1\0\1", 18);
    return (size_t)(p + 18 - start);
}

static void prepare(struct pair *pair, unsigned i)
{
    const uint8_t client[4] = {10, 1, (uint8_t)(i / 250), (uint8_t)(i % 250 + 1)},
                  server[4] = {192, 0, 2, 53};
    uint8_t *q = pair->query.bytes + HEADERS, *r = pair->response.bytes + HEADERS;
    static const uint8_t answer[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 198, 51, 100};
    memcpy(q, "\0\0\1\0\0\1\0\0\0\0\0\0", 12);
    memcpy(r, "\0\0\x85\x80\0\1\0\1\0\0\0\0", 12);
    size_t question = put_question(q + 12, i);
    memcpy(r + 12, q + 12, question);
    memcpy(r + 12 + question, answer, sizeof answer);
    r[12 + question + sizeof answer] = (uint8_t)i;
    pair->query.len = HEADERS + 12 + question;
    pair->response.len = HEADERS + 12 + question + sizeof answer + 1;
    put_headers(&pair->query, client, server);
    put_headers(&pair->response, server, client);
}

/* Another port and id each time round, so that no pair repeats within 16 million. */
static void stamp(struct pair *pair, uint64_t n)
{
    unsigned port = 1024 + (unsigned)(n / N_NAMES) % 64000, id = (unsigned)(n / 7) & 0xffff;
    put16(pair->query.bytes + ETH + IP, port);
    put16(pair->response.bytes + ETH + IP + 2, port);
    put16(pair->query.bytes + HEADERS, id);
    put16(pair->response.bytes + HEADERS, id);
}

static int open_socket(const char *interface, int bypass)
{
    struct sockaddr_ll address = {.sll_family = AF_PACKET,
        .sll_protocol = 0, /* receives nothing */
        .sll_ifindex = (int)if_nametoindex(interface)};
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), size = 4 << 20;
    if (fd < 0 || address.sll_ifindex == 0 ||
        bind(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        fprintf(stderr, "send_dns: %s: %s\n", interface, strerror(errno));
        exit(1);
    }
    (void)setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &bypass, sizeof bypass);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
    return fd;
}

static void send_all(int fd, struct mmsghdr *messages, unsigned n)
{
    while (n > 0) {
        int sent = sendmmsg(fd, messages, n, 0);
        if (sent < 0 && errno != ENOBUFS && errno != EAGAIN && errno != EINTR) {
            fprintf(stderr, "send_dns: %s\n", strerror(errno));
            exit(1);
        }
        if (sent > 0) {
            messages += sent;
            n -= (unsigned)sent;
        }
    }
}

/* What the kernel dropped between the two ends of a veth pair, because the receiving processor's queue was full: it reached no capture. */
static uint64_t dropped_on_the_way(const char *interface)
{
    char path[128], text[32] = "0";
    snprintf(path, sizeof path, "/sys/class/net/%s/statistics/tx_dropped", interface);
    FILE *file = fopen(path, "re");
    if (file) {
        (void)!fgets(text, sizeof text, file);
        fclose(file);
    }
    return strtoull(text, NULL, 10);
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void send_pairs(int fd, struct pair *pairs, uint64_t first, uint64_t end)
{
    struct mmsghdr messages[BATCH];
    struct iovec parts[BATCH];
    while (first < end) {
        unsigned n = 0;
        for (; first < end && n < BATCH; first++) {
            struct pair *pair = &pairs[first % N_NAMES];
            stamp(pair, first);
            struct frame *both[] = {&pair->query, &pair->response};
            for (int i = 0; i < 2; i++, n++) {
                parts[n] = (struct iovec){both[i]->bytes, both[i]->len};
                messages[n] = (struct mmsghdr){.msg_hdr = {.msg_iov = &parts[n], .msg_iovlen = 1}};
            }
        }
        send_all(fd, messages, n);
    }
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fputs("send_dns INTERFACE PAIRS_A_SECOND SECONDS [PAIRS [FIRST]]\n", stderr);
        return 64;
    }
    static struct pair pairs[N_NAMES];
    for (unsigned i = 0; i < N_NAMES; i++) {
        prepare(&pairs[i], i);
    }
    double rate = strtod(argv[2], NULL), seconds = strtod(argv[3], NULL);
    uint64_t limit = argc > 4 ? strtoull(argv[4], NULL, 10) : UINT64_MAX, n = 0;
    uint64_t first = argc > 5 ? strtoull(argv[5], NULL, 10) : 0;
    int fd = open_socket(argv[1], argc <= 4);
    uint64_t dropped = dropped_on_the_way(argv[1]);
    int64_t start = now_ns(), end = start + (int64_t)(seconds * 1e9), now;
    while ((now = now_ns()) < end && n < limit) {
        /* What is due by now; a sender that was held up does not make up for more than 10 ms at once. */
        uint64_t due = (uint64_t)(rate * (double)(now - start) / 1e9) + 1;
        uint64_t most = n + (uint64_t)(rate / 100) + 1;
        due = due > most ? most : due;
        due = due > limit ? limit : due;
        if (due > n) {
            send_pairs(fd, pairs, first + n, first + due);
            n = due;
        }
        struct timespec pause = {.tv_nsec = SLICE_NS};
        nanosleep(&pause, NULL);
    }
    dropped = dropped_on_the_way(argv[1]) - dropped;
    printf("sent %llu seconds %.3f dropped %llu\n", (unsigned long long)(n * 2 - dropped),
        (double)(now_ns() - start) / 1e9, (unsigned long long)dropped);
    close(fd);
    return 0;
}

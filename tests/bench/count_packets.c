/* count_packets INTERFACE RING_MB FILTER: a libpcap program that only counts, to measure the sensor beside. Until SIGTERM, then `seen N dropped N`. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include <pcap/pcap.h>

static pcap_t *pcap;
static unsigned long long n_seen;

static void on_signal(int number)
{
    (void)number;
    pcap_breakloop(pcap);
}

static void on_packet(unsigned char *user, const struct pcap_pkthdr *header, const uint8_t *data)
{
    (void)user;
    (void)header;
    (void)data;
    n_seen++;
}

int main(int argc, char **argv)
{
    char reason[PCAP_ERRBUF_SIZE];
    struct bpf_program program;
    struct pcap_stat stat = {0};
    if (argc != 4 || !(pcap = pcap_create(argv[1], reason))) {
        fputs("count_packets INTERFACE RING_MB FILTER\n", stderr);
        return 64;
    }
    pcap_set_snaplen(pcap, 262144);
    pcap_set_promisc(pcap, 1);
    pcap_set_timeout(pcap, 100);
    pcap_set_buffer_size(pcap, (int)strtol(argv[2], NULL, 10) << 20);
    if (pcap_activate(pcap) < 0 ||
        pcap_compile(pcap, &program, argv[3], 1, PCAP_NETMASK_UNKNOWN) != 0 ||
        pcap_setfilter(pcap, &program) != 0) {
        fprintf(stderr, "count_packets: %s\n", pcap_geterr(pcap));
        return 1;
    }
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    puts("ready");
    fflush(stdout);
    while (pcap_dispatch(pcap, -1, on_packet, NULL) >= 0) {
    }
    pcap_stats(pcap, &stat);
    printf("seen %llu dropped %u\n", n_seen, stat.ps_drop);
    return 0;
}

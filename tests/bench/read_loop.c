/* The floor: read every packet of a capture through libpcap and touch none. Built and run by tests/bench/run beside the sensor. */
#include <stdio.h>

#include <pcap/pcap.h>

int main(int argc, char **argv)
{
    char error[PCAP_ERRBUF_SIZE];
    unsigned long n = 0;
    for (int i = 1; i < argc; i++) {
        pcap_t *pcap = pcap_open_offline(argv[i], error);
        struct pcap_pkthdr *header;
        const unsigned char *data;
        if (!pcap) {
            fprintf(stderr, "%s\n", error);
            return 1;
        }
        while (pcap_next_ex(pcap, &header, &data) == 1) {
            n++;
        }
        pcap_close(pcap);
    }
    printf("%lu packets\n", n);
    return 0;
}

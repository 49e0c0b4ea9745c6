/* From the innermost layer outwards: each puts its header in front. Written from the RFCs; nothing of the sensor is used. */
#include "wrap_builder.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "packet_builder.h"

struct frame {
    uint8_t bytes[PK_BUILD_MAX];
    size_t at;     /* where it begins: headers grow downwards */
    unsigned type; /* Ethernet type of what is there */
};

static void front(struct frame *f, const void *data, size_t len)
{
    assert(f->at >= len);
    f->at -= len;
    memcpy(f->bytes + f->at, data, len);
}

static void front16(struct frame *f, unsigned v)
{
    uint8_t two[2] = {(uint8_t)(v >> 8), (uint8_t)v};
    front(f, two, 2);
}

static void front32(struct frame *f, uint32_t v)
{
    front16(f, v & 0xffff);
    front16(f, v >> 16);
}

static size_t length(const struct frame *f)
{
    return PK_BUILD_MAX - f->at;
}

static void ethernet(struct frame *f)
{
    front16(f, f->type);
    front(f, "\2\2\2\2\2\2\2\2\2\2\2\2", 12);
    f->type = 0x6558;
}

static void ipv4(struct frame *f, uint8_t protocol)
{
    size_t total = length(f) + 20;
    front(f, "\x0a\0\0\1\x0a\0\0\2", 8);
    front16(f, 0);
    front16(f, 64u << 8 | protocol);
    front32(f, 0);
    front16(f, (unsigned)total);
    front16(f, 0x4500);
    f->type = 0x0800;
}

static void ipv6(struct frame *f, uint8_t next)
{
    size_t payload = length(f);
    front(f, "\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\2", 32);
    front16(f, (unsigned)next << 8 | 64);
    front16(f, (unsigned)payload);
    front32(f, 0x60000000);
    f->type = 0x86dd;
}

static void udp(struct frame *f, unsigned port)
{
    size_t len = length(f) + 8;
    front16(f, 0);
    front16(f, (unsigned)len);
    front16(f, port);
    front16(f, 50000);
    ipv4(f, 17);
}

static void gre(struct frame *f, unsigned flags, uint32_t key)
{
    if (flags & 0x1000) {
        front32(f, 1);
    }
    if (flags & 0x2000) {
        front32(f, key);
    }
    if (flags & 0x8000) {
        front32(f, 0);
    }
    front16(f, f->type);
    front16(f, flags);
    ipv4(f, 47);
}

static void erspan(struct frame *f, uint32_t session, bool is_type_3)
{
    ethernet(f);
    if (is_type_3) {
        front(f, "\0\0\0\0\0\0\0\0", 8); /* platform */
        front32(f, 1);
        front32(f, 0);
    } else {
        front32(f, 0);
    }
    front16(f, session);
    front16(f, is_type_3 ? 0x2000 : 0x1000);
    f->type = is_type_3 ? 0x22eb : 0x88be;
    gre(f, 0x1000, 0);
}

static void teredo(struct frame *f)
{
    front(f, "\0\0\xff\xff\xff\xff\xff\xff", 8);             /* origin */
    front(f, "\0\1\2\3ab-au\1\2\3\4\5\6\7\x8\0", 4 + 5 + 9); /* authentication */
    udp(f, 3544);
}

static void tag(struct frame *f, uint32_t id, unsigned type)
{
    front16(f, f->type);
    front16(f, id);
    f->type = type;
}

static void pppoe(struct frame *f, uint32_t session)
{
    front16(f, f->type == 0x86dd ? 0x57 : 0x21);
    front16(f, (unsigned)length(f));
    front16(f, session);
    front16(f, 0x1100);
    f->type = 0x8864;
}

static bool overlay(struct frame *f, const char *kind, uint32_t id)
{
    unsigned port = strcmp(kind, "vxlan") == 0       ? 4789
                    : strcmp(kind, "vxlan_old") == 0 ? 8472
                    : strcmp(kind, "gpe") == 0       ? 4790
                    : strcmp(kind, "geneve") == 0    ? 6081
                    : strcmp(kind, "gtp") == 0       ? 2152
                                                     : 0;
    if (port == 6081) {
        ethernet(f);
        front32(f, 0x01020000);
        front32(f, id << 8);
        front32(f, 0x01006558);
    } else if (port == 2152) {
        front32(f, 0x01000000); /* an extension of one word, the last */
        front32(f, 0x00000085); /* sequence, N-PDU, what extension follows */
        size_t len = length(f);
        front32(f, id);
        front16(f, (unsigned)len);
        front16(f, 0x34ff);
    } else if (port) {
        bool is_ipv4 = port == 4790 && f->type == 0x0800;
        if (!is_ipv4) {
            ethernet(f);
        }
        front32(f, id << 8);
        front32(f, is_ipv4 ? 0x0c000001 : port == 4790 ? 0x0c000003 : 0x08000000);
    }
    if (port) {
        udp(f, port);
    }
    return port != 0;
}

static void wrap(struct frame *f, const char *kind, bool has_id, uint32_t id)
{
    if (overlay(f, kind, id)) {
        return;
    }
    if (strcmp(kind, "vlan") == 0) {
        tag(f, id, 0x8100);
    } else if (strcmp(kind, "qinq") == 0) {
        tag(f, id, 0x88a8);
    } else if (strcmp(kind, "pppoe") == 0) {
        pppoe(f, id);
    } else if (strcmp(kind, "mpls") == 0) {
        front32(f, id << 12 | (f->type == 0x8847 ? 0 : 0x100) | 64);
        f->type = 0x8847;
    } else if (strcmp(kind, "gre") == 0) {
        gre(f, has_id ? 0x2000 : 0, id);
    } else if (strcmp(kind, "bridge") == 0) {
        ethernet(f);
        gre(f, 0xb000, id);
    } else if (strcmp(kind, "erspan") == 0 || strcmp(kind, "erspan3") == 0) {
        erspan(f, id, kind[6] == '3');
    } else if (strcmp(kind, "ipip") == 0 || strcmp(kind, "6in4") == 0) {
        ipv4(f, kind[0] == 'i' ? 4 : 41);
    } else if (strcmp(kind, "4in6") == 0 || strcmp(kind, "6in6") == 0) {
        ipv6(f, kind[0] == '4' ? 4 : 41);
    } else {
        assert(strcmp(kind, "teredo") == 0);
        teredo(f);
    }
}

size_t pk_build_wrapped(uint8_t *out, const char *layers, const uint8_t *ip, size_t len)
{
    static struct frame f;
    char text[256], *layer;
    f.at = PK_BUILD_MAX;
    f.type = ip[0] >> 4 == 6 ? 0x86dd : 0x0800;
    front(&f, ip, len);
    assert(strlen(layers) < sizeof text);
    memcpy(text, layers, strlen(layers) + 1);
    while (text[0]) { /* from the last to the first */
        layer = strrchr(text, ',');
        char *kind = layer ? layer + 1 : text, *colon = strchr(kind, ':');
        uint32_t id = colon ? (uint32_t)strtoul(colon + 1, NULL, 10) : 0;
        if (colon) {
            *colon = '\0';
        }
        wrap(&f, kind, colon != NULL, id);
        *(layer ? layer : text) = '\0';
    }
    ethernet(&f);
    memcpy(out, f.bytes + f.at, length(&f));
    return length(&f);
}

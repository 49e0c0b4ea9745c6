/* The encapsulations around a packet, outermost first. A value; cheap when there is none.
 *
 * Text: layers joined with commas, each with its number behind a colon where it has one: "vlan:12,vxlan:77" is 802.1Q tag 12 around VXLAN network 77. */
#ifndef SENSOR_VIA_H
#define SENSOR_VIA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum pk_via_kind {
    PK_VIA_VLAN,   /* 802.1Q or 802.1ad tag: VLAN id */
    PK_VIA_PPPOE,  /* session id */
    PK_VIA_MPLS,   /* one label of the stack */
    PK_VIA_GRE,    /* key, where there is one */
    PK_VIA_ERSPAN, /* types I (without number), II and III: session id */
    PK_VIA_VXLAN,  /* VNI */
    PK_VIA_GENEVE, /* VNI */
    PK_VIA_GTP,    /* GTP-U: TEID */
    PK_VIA_IPIP,   /* IPv4 in IPv4 */
    PK_VIA_6IN4,
    PK_VIA_4IN6,
    PK_VIA_6IN6,
    PK_VIA_TEREDO,
    PK_N_VIA_KINDS,
};

enum {
    PK_VIA_MAX = 8, /* layers; what is wrapped deeper is counted as too_deep and not read */
    PK_VIA_TEXT_SIZE = PK_VIA_MAX * 18,
};

struct pk_via {
    uint8_t n;
    uint8_t has_id; /* a bit for each layer, layer 0 lowest */
    uint8_t kind[PK_VIA_MAX];
    uint32_t id[PK_VIA_MAX]; /* zero where has_id says there is none */
};

/* False, and nothing changed, when PK_VIA_MAX layers are there already. */
bool pk_via_push(struct pk_via *via, enum pk_via_kind kind, bool has_id, uint32_t id);
const char *pk_via_text(const struct pk_via *via, char out_text[PK_VIA_TEXT_SIZE]);
/* A number that differs (by a keyed hash) where the layers do; 0 without any. Streams and fragments of networks that share addresses stay apart by it. */
uint64_t pk_via_hash(const struct pk_via *via);

#endif

/* The kernel's filter for a live capture, as text for libpcap. Pure.
 *
 * It must let pass every packet that packet.c would find DNS in, and of the rest as little as it can. The kernel looks through VLAN tags, PPPoE and MPLS; later IP
 * fragments carry no ports, IPv6 extension headers cannot be followed and tunnels not be looked into, so these pass whole (unless struct pk_ports says not to) and
 * the sensor decides. "port 53" alone misses all of them. */
#ifndef SENSOR_FILTER_H
#define SENSOR_FILTER_H

#include "picket/bytes.h"
#include "picket/err.h"

#include "packet/packet.h"

/* Appends the text for a link type; nothing where the kernel cannot filter it (NFLOG, 802.11, PPP), which lets everything pass. PK_ERR_LIMIT or PK_ERR_NOMEM of out. */
pk_err pk_filter_text(int link_type, const struct pk_ports *ports, struct pk_bytes *out);

#endif

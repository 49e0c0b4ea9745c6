/* Encapsulations around an IP packet, written down as the sensor prints them. */
#ifndef TESTS_WRAP_BUILDER_H
#define TESTS_WRAP_BUILDER_H

#include <stddef.h>
#include <stdint.h>

/* An Ethernet frame: the IP packet (its version tells IPv4 from IPv6) inside these layers, outermost first, joined with commas: vlan:N qinq:N pppoe:N mpls:N gre gre:N
 * bridge (Ethernet in GRE with checksum, key and sequence number) erspan:N erspan3:N vxlan:N vxlan_old:N gpe:N geneve:N gtp:N ipip 6in4 4in6 6in6 teredo. "" is Ethernet alone. Returns the length; out has
 * PK_BUILD_MAX bytes. */
size_t pk_build_wrapped(uint8_t *out, const char *layers, const uint8_t *ip, size_t len);

#endif

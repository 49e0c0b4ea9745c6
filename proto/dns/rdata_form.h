/* How the RDATA of each type is built: a string of field codes, shared by the checker, the expander and the text writer. Private to proto/dns. */
#ifndef DNS_RDATA_FORM_H
#define DNS_RDATA_FORM_H

#include <stdint.h>

/* n  name, may be compressed (RFC 3597 s4 lists the types)     N  name, must not be, but is read either way
 * 1 2 4 6 8  unsigned of that many bytes                       a  IPv4 address      A  IPv6 address
 * s  character string                                          S  one or more of them, to the end
 * t  type (2 bytes)        T  time (4 bytes, as a date)        m  type bitmap, to the end
 * h  bytes in hex, to the end     b  bytes in base64, to the end
 * x  byte length and bytes in hex, "-" when empty (NSEC3 salt) e  byte length and bytes in base32hex (NSEC3 next hash)
 * d  48-bit EUI            D  64-bit EUI, or Node identifiers  p  SVCB parameters   l LOC   c CAA   P APL   i IPSECKEY tail, k TKEY/TSIG other
 * q  text in quotes to the end (URI) */
const char *pk_rdata_form(uint16_t type);

#endif

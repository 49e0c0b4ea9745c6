/* Record data: canonical bytes and master-file text, by type. Types without a rule here are opaque (RFC 3597). */
#ifndef PICKET_RDATA_H
#define PICKET_RDATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picket/bytes.h"
#include "picket/dnsmsg.h"
#include "picket/err.h"

enum {
    PK_TYPE_TEXT_SIZE = 16,
    PK_CLASS_TEXT_SIZE = 16
};

/* Mnemonic of the IANA registry, or TYPE123 / CLASS123 (RFC 3597 s5). */
const char *pk_type_text(uint16_t type, char out_text[PK_TYPE_TEXT_SIZE]);
const char *pk_class_text(uint16_t class, char out_text[PK_CLASS_TEXT_SIZE]);
bool pk_type_parse(const char *text, uint16_t *out_type); /* any case */
bool pk_class_parse(const char *text, uint16_t *out_class);
/* "NOERROR", "NXDOMAIN", ...; RCODE123 for the rest. */
const char *pk_rcode_text(uint16_t rcode, char out_text[PK_TYPE_TEXT_SIZE]);

/* Appends the RDATA with embedded names uncompressed. With lower set, names of the types of RFC 4034
 * s6.2 / RFC 6840 s5.1 are in lower case: the form that history compares. */
void pk_rdata_expand(
    const struct pk_dnsmsg *msg, const struct pk_rr *rr, bool lower, struct pk_bytes *out);
/* Checks RDATA of a known type (also embedded names); msg may hold compression targets. */
bool pk_rdata_check(const uint8_t *msg, size_t msg_len, uint16_t type, size_t pos, uint16_t len);
/* Appends master-file text of expanded RDATA; always possible: RDATA that does not fit its type is
 * written in the form of RFC 3597 (\# length hex). */
void pk_rdata_text(
    uint16_t type, uint16_t class, const uint8_t *rdata, size_t len, struct pk_bytes *out);

#endif

/* DNSDB v2 answers: Streaming API Framing around one object a line (DNSDB API v2, "SAF"; draft-dulaunoy-dnsop-passive-dns-cof). Pure. */
#ifndef API_SAF_H
#define API_SAF_H

#include "picket/bytes.h"

#include "store/store.h"

void pk_saf_begin(struct pk_bytes *out);
void pk_saf_rrset(struct pk_bytes *out, const struct pk_store_rrset *rrset);
/* limited: the query's limit was reached and more may be there. */
void pk_saf_end(struct pk_bytes *out, bool limited);

#endif

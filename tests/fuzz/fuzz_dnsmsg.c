/* Any bytes as a DNS message: every record it claims is good must be readable as name and text. */
#include <stdlib.h>

#include "picket/bytes.h"
#include "picket/dnsmsg.h"
#include "picket/rdata.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pk_dnsmsg msg;
    struct pk_rr_iter iter;
    struct pk_rr rr;
    struct pk_bytes rdata, text;
    unsigned n = 0;
    pk_bytes_init(&rdata, 1 << 20);
    pk_bytes_init(&text, 1 << 22);
    (void)pk_dnsmsg_parse(data, size, &msg);
    struct pk_prefix subnet;
    if (pk_edns_client_subnet(&msg.edns, &subnet) &&
        (subnet.len == 0 || !pk_prefix_contains(&subnet, &subnet.addr))) {
        abort();
    }
    for (pk_rr_iter_init(&iter, &msg); pk_rr_next(&iter, &rr); n++) {
        struct pk_name owner;
        char owner_text[PK_NAME_TEXT_SIZE];
        pk_rr_owner(&msg, &rr, &owner);
        pk_name_text(&owner, owner_text);
        pk_bytes_clear(&rdata);
        pk_bytes_clear(&text);
        pk_rdata_expand(&msg, &rr, true, &rdata);
        pk_rdata_text(rr.type, rr.class, rdata.data, rdata.len, &text);
        if (rdata.err != PK_OK || text.err != PK_OK || rdata.len > UINT16_MAX) {
            abort();
        }
    }
    if (n != msg.n_good_records) {
        abort();
    }
    pk_bytes_done(&rdata);
    pk_bytes_done(&text);
    return 0;
}

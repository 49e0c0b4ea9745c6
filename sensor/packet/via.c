/* Layers as numbers until somebody wants to read them: formatting text for every tagged packet would cost more than dissecting it. */
#include "packet/via.h"

#include <stdio.h>
#include <string.h>

#include "picket/hash.h"

bool pk_via_push(struct pk_via *via, enum pk_via_kind kind, bool has_id, uint32_t id)
{
    if (via->n == PK_VIA_MAX) {
        return false;
    }
    if (via->n == 0) {
        via->has_id = 0;
    }
    via->kind[via->n] = (uint8_t)kind;
    via->id[via->n] = has_id ? id : 0;
    via->has_id |= (uint8_t)((unsigned)has_id << via->n);
    via->n++;
    return true;
}

const char *pk_via_text(const struct pk_via *via, char out_text[PK_VIA_TEXT_SIZE])
{
    static const char *const names[PK_N_VIA_KINDS] = {"vlan", "pppoe", "mpls", "gre", "erspan",
        "vxlan", "geneve", "gtp", "ipip", "6in4", "4in6", "6in6", "teredo"};
    size_t at = 0;
    out_text[0] = '\0';
    for (unsigned i = 0; i < via->n; i++) {
        const char *comma = i ? "," : "", *name = names[via->kind[i]];
        at += (size_t)(via->has_id >> i & 1
                           ? snprintf(out_text + at, PK_VIA_TEXT_SIZE - at, "%s%s:%u", comma, name,
                                 (unsigned)via->id[i])
                           : snprintf(out_text + at, PK_VIA_TEXT_SIZE - at, "%s%s", comma, name));
    }
    return out_text;
}

uint64_t pk_via_hash(const struct pk_via *via)
{
    uint32_t flat[2 * PK_VIA_MAX];
    if (via->n == 0) {
        return 0;
    }
    for (unsigned i = 0; i < via->n; i++) {
        flat[2 * i] = via->kind[i];
        flat[2 * i + 1] = via->id[i];
    }
    return pk_hash(flat, 8 * (size_t)via->n);
}

/* RDATA by its form: checking, and expanding embedded names.
 *
 * One interpreter over the field codes of rdata_form.h instead of a function a type: a new type is a line in the registry. */
#include "picket/rdata.h"

#include <string.h>

#include "picket/name.h"

#include "rdata_form.h"

/* Length of one fixed-size field code, 0 for the others. */
static size_t fixed_len(char code)
{
    switch (code) {
    case '1':
        return 1;
    case '2':
    case 't':
        return 2;
    case '4':
    case 'T':
    case 'a':
        return 4;
    case 'd':
        return 6;
    case '8':
    case 'D':
        return 8;
    case 'A':
        return 16;
    default:
        return 0;
    }
}

/* Window blocks of RFC 4034 s4.1.2: ascending, 1..32 bytes each. */
static bool check_bitmap(const uint8_t *p, size_t len)
{
    int last = -1;
    for (size_t at = 0; at < len;) {
        if (len - at < 2 || p[at + 1] == 0 || p[at + 1] > 32 || p[at + 1] > len - at - 2 ||
            p[at] <= last) {
            return false;
        }
        last = p[at];
        at += 2 + (size_t)p[at + 1];
    }
    return true;
}

/* SvcParams of RFC 9460 s2.2: ascending keys, lengths that fit. */
static bool check_svcb(const uint8_t *p, size_t len)
{
    int last = -1;
    for (size_t at = 0; at < len;) {
        if (len - at < 4) {
            return false;
        }
        int key = p[at] << 8 | p[at + 1];
        size_t value_len = (size_t)p[at + 2] << 8 | p[at + 3];
        if (key <= last || value_len > len - at - 4) {
            return false;
        }
        last = key;
        at += 4 + value_len;
    }
    return true;
}

/* Items of RFC 3123 s4. */
static bool check_apl(const uint8_t *p, size_t len)
{
    for (size_t at = 0; at < len;) {
        if (len - at < 4 || (size_t)(p[at + 3] & 0x7f) > len - at - 4) {
            return false;
        }
        at += 4 + (size_t)(p[at + 3] & 0x7f);
    }
    return true;
}

static bool check_strings(const uint8_t *p, size_t len)
{
    size_t at = 0;
    while (at < len) {
        if (p[at] > len - at - 1) {
            return false;
        }
        at += 1 + (size_t)p[at];
    }
    return len > 0;
}

/* A field that takes the rest of the RDATA. */
static bool check_rest(char code, const uint8_t *p, size_t len)
{
    switch (code) {
    case 'S':
        return check_strings(p, len);
    case 'm':
        return check_bitmap(p, len);
    case 'p':
        return check_svcb(p, len);
    case 'P':
        return check_apl(p, len);
    case 'l':
        return len == 16 || (len > 0 && p[0] != 0); /* RFC 1876: other versions are opaque */
    case 'c':
        return len >= 2 && p[1] > 0 && p[1] <= len - 2;
    default:
        return true; /* h, b, q: any bytes */
    }
}

static bool check_fields(const uint8_t *msg, const char *form, size_t pos, uint16_t len)
{
    size_t at = pos, end = pos + len;
    for (; *form; form++) {
        size_t field = fixed_len(*form);
        if (field > 0) {
            if (end - at < field) {
                return false;
            }
            at += field;
        } else if (*form == 'n' || *form == 'N') {
            if (pk_name_skip(msg, end, &at) != PK_OK) {
                return false;
            }
        } else if (*form == 's' || *form == 'x' || *form == 'e') {
            if (at >= end || msg[at] > end - at - 1) {
                return false;
            }
            at += 1 + (size_t)msg[at];
        } else {
            return check_rest(*form, end > at ? msg + at : msg, end - at);
        }
    }
    return at == end;
}

/* Length once the names are written out, of RDATA whose fields are sound. */
static size_t expanded_len(const uint8_t *msg, const char *form, size_t pos, uint16_t len)
{
    size_t at = pos, end = pos + len, total = len;
    for (; *form && at < end; form++) {
        PK_UNSET struct pk_name name;
        size_t start = at, field = fixed_len(*form);
        if (*form == 'n' || *form == 'N') {
            if (pk_name_parse(msg, end, &at, &name) != PK_OK) {
                break; /* checked before: cannot be */
            }
            total = total - (at - start) + name.len;
        } else {
            at += field > 0 ? field
                            : 1 + (size_t)msg[at]; /* a string; what takes the rest stands last */
        }
    }
    return total;
}

bool pk_rdata_check(const uint8_t *msg, size_t msg_len, uint16_t type, size_t pos, uint16_t len)
{
    const char *form = pk_rdata_form(type);
    (void)msg_len; /* names may point anywhere before, never past the RDATA */
    /* No RDATA is longer than its length field can say, also not expanded (CVE-2020-1350); no type has more than two names. */
    bool may_swell = len > UINT16_MAX - 2 * PK_NAME_MAX;
    return !form || (check_fields(msg, form, pos, len) &&
                        (!may_swell || expanded_len(msg, form, pos, len) <= UINT16_MAX));
}

/* RFC 4034 s6.2 item 3 as RFC 6840 s5.1 amends it: these have their names in lower case in canonical form. */
static bool lowers_names(uint16_t type)
{
    switch (type) {
    case PK_TYPE_NS:
    case 3:
    case 4:
    case PK_TYPE_CNAME:
    case PK_TYPE_SOA:
    case 7:
    case 8:
    case 9:
    case PK_TYPE_PTR:
    case 14:
    case PK_TYPE_MX:
    case 17:
    case 18:
    case 21:
    case PK_TYPE_SIG:
    case 26:
    case PK_TYPE_SRV:
    case 35:
    case 36:
    case PK_TYPE_DNAME:
    case PK_TYPE_RRSIG:
        return true;
    default:
        return false;
    }
}

void pk_rdata_expand(
    const struct pk_dnsmsg *msg, const struct pk_rr *rr, bool lower, struct pk_bytes *out)
{
    const char *form = pk_rdata_form(rr->type);
    size_t at = rr->rdata_pos, end = at + rr->rdata_len;
    bool has_name = form && (strchr(form, 'n') || strchr(form, 'N'));
    if (!has_name || rr->rdata_len == 0) {
        pk_bytes_put(out, msg->wire + at, rr->rdata_len);
        return;
    }
    lower = lower && lowers_names(rr->type);
    for (; *form && at < end; form++) {
        size_t field = fixed_len(*form);
        if (*form == 'n' || *form == 'N') {
            PK_UNSET struct pk_name name;
            if (pk_name_parse(msg->wire, end, &at, &name) != PK_OK) {
                return; /* checked by the parser: cannot be */
            }
            if (lower) {
                pk_name_lower(&name);
            }
            pk_bytes_put(out, name.wire, name.len);
        } else {
            if (field == 0) { /* a string by its length, anything else to the end */
                field = *form == 's' || *form == 'x' || *form == 'e' ? 1 + (size_t)msg->wire[at]
                                                                     : end - at;
            }
            pk_bytes_put(out, msg->wire + at, field);
            at += field;
        }
    }
}

/* IANA's registries of types, classes and RCODEs, and the form of each type's RDATA (RFC numbers beside the newer ones). */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "picket/rdata.h"

#include "rdata_form.h"

struct entry {
    uint16_t number;
    const char *name;
    const char *form; /* rdata_form.h; NULL: opaque */
};

/* Sorted by number. */
static const struct entry types[] = {
    {1, "A", "a"},
    {2, "NS", "n"},
    {3, "MD", "n"},
    {4, "MF", "n"},
    {5, "CNAME", "n"},
    {6, "SOA", "nn44444"},
    {7, "MB", "n"},
    {8, "MG", "n"},
    {9, "MR", "n"},
    {10, "NULL", NULL},
    {11, "WKS", NULL},
    {12, "PTR", "n"},
    {13, "HINFO", "ss"},
    {14, "MINFO", "nn"},
    {15, "MX", "2n"},
    {16, "TXT", "S"},
    {17, "RP", "nn"},
    {18, "AFSDB", "2n"},
    {19, "X25", "s"},
    {20, "ISDN", "S"},
    {21, "RT", "2n"},
    {22, "NSAP", NULL},
    {23, "NSAP-PTR", "n"},
    {24, "SIG", "t114TT2Nb"},
    {25, "KEY", "211b"},
    {26, "PX", "2nn"},
    {27, "GPOS", "sss"},
    {28, "AAAA", "A"},
    {29, "LOC", "l"},
    {30, "NXT", NULL},
    {31, "EID", NULL},
    {32, "NIMLOC", NULL},
    {33, "SRV", "222N"},
    {34, "ATMA", NULL},
    {35, "NAPTR", "22sssN"},
    {36, "KX", "2N"},
    {37, "CERT", "221b"},
    {38, "A6", NULL},
    {39, "DNAME", "N"},
    {40, "SINK", NULL},
    {41, "OPT", NULL},
    {42, "APL", "P"},
    {43, "DS", "211h"},
    {44, "SSHFP", "11h"},
    {45, "IPSECKEY", NULL},
    {46, "RRSIG", "t114TT2Nb"},
    {47, "NSEC", "Nm"},
    {48, "DNSKEY", "211b"},
    {49, "DHCID", "b"},
    {50, "NSEC3", "112xem"},
    {51, "NSEC3PARAM", "112x"},
    {52, "TLSA", "111h"},
    {53, "SMIMEA", "111h"},
    {55, "HIP", NULL},
    {56, "NINFO", "S"},
    {57, "RKEY", NULL},
    {58, "TALINK", "NN"},
    {59, "CDS", "211h"},
    {60, "CDNSKEY", "211b"},
    {61, "OPENPGPKEY", "b"},
    {62, "CSYNC", "42m"},
    {63, "ZONEMD", "411h"},
    {64, "SVCB", "2Np"},
    {65, "HTTPS", "2Np"},
    {66, "DSYNC", NULL},
    {67, "HHIT", NULL},
    {68, "BRID", NULL},
    {99, "SPF", "S"},
    {100, "UINFO", NULL},
    {101, "UID", NULL},
    {102, "GID", NULL},
    {103, "UNSPEC", NULL},
    {104, "NID", "2D"},
    {105, "L32", "2a"},
    {106, "L64", "2D"},
    {107, "LP", "2N"},
    {108, "EUI48", "d"},
    {109, "EUI64", "8"},
    {128, "NXNAME", NULL},
    {249, "TKEY", NULL},
    {250, "TSIG", NULL},
    {251, "IXFR", NULL},
    {252, "AXFR", NULL},
    {253, "MAILB", NULL},
    {254, "MAILA", NULL},
    {255, "ANY", NULL},
    {256, "URI", "22q"},
    {257, "CAA", "c"},
    {258, "AVC", "S"},
    {259, "DOA", NULL},
    {260, "AMTRELAY", NULL},
    {261, "RESINFO", "S"},
    {262, "WALLET", "S"},
    {263, "CLA", "S"},
    {264, "IPN", NULL},
    {32768, "TA", "211h"},
    {32769, "DLV", "211h"},
};

static const struct entry classes[] = {
    {1, "IN", NULL},
    {3, "CH", NULL},
    {4, "HS", NULL},
    {254, "NONE", NULL},
    {255, "ANY", NULL},
};

static const struct entry rcodes[] = {
    {0, "NOERROR", NULL},
    {1, "FORMERR", NULL},
    {2, "SERVFAIL", NULL},
    {3, "NXDOMAIN", NULL},
    {4, "NOTIMP", NULL},
    {5, "REFUSED", NULL},
    {6, "YXDOMAIN", NULL},
    {7, "YXRRSET", NULL},
    {8, "NXRRSET", NULL},
    {9, "NOTAUTH", NULL},
    {10, "NOTZONE", NULL},
    {11, "DSOTYPENI", NULL},
    {16, "BADVERS", NULL},
    {17, "BADKEY", NULL},
    {18, "BADTIME", NULL},
    {19, "BADMODE", NULL},
    {20, "BADNAME", NULL},
    {21, "BADALG", NULL},
    {22, "BADTRUNC", NULL},
    {23, "BADCOOKIE", NULL},
};

#define N_OF(array) (sizeof(array) / sizeof *(array))

static int compare_numbers(const void *key, const void *entry)
{
    return (int)*(const uint16_t *)key - (int)((const struct entry *)entry)->number;
}

static const struct entry *by_number(const struct entry *table, size_t n, uint16_t number)
{
    size_t place = (size_t)number - 1; /* the first fifty types stand where their number says */
    if (place < n && table[place].number == number) {
        return &table[place];
    }
    return bsearch(&number, table, n, sizeof *table, compare_numbers);
}

static const char *text_of(const struct entry *table, size_t n, uint16_t number,
    const char *generic, char out_text[PK_TYPE_TEXT_SIZE])
{
    const struct entry *entry = by_number(table, n, number);
    if (entry) {
        snprintf(out_text, PK_TYPE_TEXT_SIZE, "%s", entry->name);
    } else {
        snprintf(out_text, PK_TYPE_TEXT_SIZE, "%s%u", generic, number);
    }
    return out_text;
}

static bool parse(const struct entry *table, size_t n, const char *generic, const char *text,
    uint16_t *out_number)
{
    for (size_t i = 0; i < n; i++) {
        if (strcasecmp(table[i].name, text) == 0) {
            *out_number = table[i].number;
            return true;
        }
    }
    size_t len = strlen(generic);
    if (strncasecmp(text, generic, len) != 0 || !isdigit((unsigned char)text[len])) {
        return false;
    }
    char *end;
    unsigned long v = strtoul(text + len, &end, 10);
    if (*end != '\0' || v > UINT16_MAX) {
        return false;
    }
    *out_number = (uint16_t)v;
    return true;
}

const char *pk_rdata_form(uint16_t type)
{
    /* Nearly every record is one of these; the search is for the rest. */
    switch (type) {
    case PK_TYPE_A:
        return "a";
    case PK_TYPE_AAAA:
        return "A";
    case PK_TYPE_NS:
    case PK_TYPE_CNAME:
    case PK_TYPE_PTR:
        return "n";
    default:
        break;
    }
    const struct entry *entry = by_number(types, N_OF(types), type);
    return entry ? entry->form : NULL;
}

const char *pk_type_text(uint16_t type, char out_text[PK_TYPE_TEXT_SIZE])
{
    return text_of(types, N_OF(types), type, "TYPE", out_text);
}

const char *pk_class_text(uint16_t class, char out_text[PK_CLASS_TEXT_SIZE])
{
    return text_of(classes, N_OF(classes), class, "CLASS", out_text);
}

const char *pk_rcode_text(uint16_t rcode, char out_text[PK_TYPE_TEXT_SIZE])
{
    return text_of(rcodes, N_OF(rcodes), rcode, "RCODE", out_text);
}

bool pk_type_parse(const char *text, uint16_t *out_type)
{
    return parse(types, N_OF(types), "TYPE", text, out_type);
}

bool pk_class_parse(const char *text, uint16_t *out_class)
{
    return parse(classes, N_OF(classes), "CLASS", text, out_class);
}

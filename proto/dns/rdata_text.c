/* RDATA as master-file text (RFC 1035 s5, RFC 3597 s5, and each type's own document).
 *
 * Works on expanded RDATA. Text is written field by field; when any field does not fit, what was written is taken back and the generic form is
 * written instead, so the output is always something a master file could hold. */
#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "picket/clock.h"
#include "picket/rdata.h"
#include "picket/reader.h"

#include "rdata_form.h"

static void put_text(struct pk_bytes *out, const char *text)
{
    pk_bytes_put(out, text, strlen(text));
}

static void put_hex(struct pk_bytes *out, const uint8_t *p, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    char *room = (char *)pk_bytes_extend(out, 2 * len);
    for (size_t i = 0; room && i < len; i++) {
        room[2 * i] = digits[p[i] >> 4];
        room[2 * i + 1] = digits[p[i] & 0xf];
    }
}

static void put_base64(struct pk_bytes *out, const uint8_t *p, size_t len)
{
    size_t size =
        sodium_base64_ENCODED_LEN(len, sodium_base64_VARIANT_ORIGINAL); /* with the zero */
    char *room = (char *)pk_bytes_extend(out, size);
    if (room) {
        sodium_bin2base64(room, size, p, len, sodium_base64_VARIANT_ORIGINAL);
        out->len--;
    }
}

/* RFC 4648 s7 without padding, as NSEC3 wants it. */
static void put_base32hex(struct pk_bytes *out, const uint8_t *p, size_t len)
{
    static const char digits[] = "0123456789abcdefghijklmnopqrstuv";
    uint32_t bits = 0;
    unsigned n_bits = 0;
    for (size_t i = 0; i < len; i++) {
        bits = bits << 8 | p[i];
        n_bits += 8;
        while (n_bits >= 5) {
            n_bits -= 5;
            pk_bytes_put_u8(out, (uint8_t)digits[bits >> n_bits & 0x1f]);
        }
    }
    if (n_bits > 0) {
        pk_bytes_put_u8(out, (uint8_t)digits[bits << (5 - n_bits) & 0x1f]);
    }
}

static void put_quoted(struct pk_bytes *out, const uint8_t *p, size_t len)
{
    pk_bytes_put_u8(out, '"');
    for (size_t i = 0; i < len; i++) {
        if (p[i] == '"' || p[i] == '\\') {
            pk_bytes_put_u8(out, '\\');
            pk_bytes_put_u8(out, p[i]);
        } else if (p[i] < 0x20 || p[i] >= 0x7f) {
            pk_bytes_printf(out, "\\%03u", p[i]);
        } else {
            pk_bytes_put_u8(out, p[i]);
        }
    }
    pk_bytes_put_u8(out, '"');
}

static void put_name(struct pk_bytes *out, struct pk_reader *in)
{
    struct pk_name name;
    char text[PK_NAME_TEXT_SIZE];
    size_t at = in->pos;
    if (in->err != PK_OK || pk_name_parse(in->data, in->len, &at, &name) != PK_OK ||
        at - in->pos != name.len) {
        pk_reader_fail(in, PK_ERR_MALFORMED);
        return;
    }
    in->pos = at;
    put_text(out, pk_name_text(&name, text));
}

static void put_address(struct pk_bytes *out, int family, const uint8_t *p)
{
    char text[INET6_ADDRSTRLEN];
    if (p && inet_ntop(family, p, text, sizeof text)) {
        put_text(out, text);
    }
}

/* Serial-number time of RFC 4034 s3.2 as YYYYMMDDHHmmSS. */
static void put_date(struct pk_bytes *out, uint32_t s)
{
    char text[PK_TIME_TEXT_SIZE];
    pk_time_text((int64_t)s * PK_US_PER_S, text);
    pk_bytes_printf(
        out, "%.4s%.2s%.2s%.2s%.2s%.2s", text, text + 5, text + 8, text + 11, text + 14, text + 17);
}

static void put_bitmap(struct pk_bytes *out, struct pk_reader *in)
{
    const char *separator = "";
    while (pk_reader_left(in) > 0) {
        unsigned window = pk_reader_u8(in);
        uint8_t len = pk_reader_u8(in);
        const uint8_t *bits = pk_reader_bytes(in, len);
        for (unsigned i = 0; bits && i < 8u * len; i++) {
            if (bits[i / 8] & (0x80 >> i % 8)) {
                char type[PK_TYPE_TEXT_SIZE];
                put_text(out, separator);
                put_text(out, pk_type_text((uint16_t)(window << 8 | i), type));
                separator = " ";
            }
        }
    }
}

static void put_colons(
    struct pk_bytes *out, const uint8_t *p, size_t len, size_t group, char separator)
{
    for (size_t i = 0; p && i < len; i += group) {
        if (i > 0) {
            pk_bytes_put_u8(out, (uint8_t)separator);
        }
        put_hex(out, p + i, group);
    }
}

/* --- SVCB (RFC 9460 s2.1) --- */

static void put_svcb_list(struct pk_bytes *out, uint16_t key, struct pk_reader *value)
{
    const char *separator = "";
    while (pk_reader_left(value) > 0) {
        put_text(out, separator);
        separator = ",";
        if (key == 0) { /* mandatory */
            static const char *const names[] = {"mandatory", "alpn", "no-default-alpn", "port",
                "ipv4hint", "ech", "ipv6hint", "dohpath"};
            uint16_t k = pk_reader_be16(value);
            if (k < sizeof names / sizeof *names) {
                put_text(out, names[k]);
            } else {
                pk_bytes_printf(out, "key%u", k);
            }
        } else if (key == 4) {
            put_address(out, AF_INET, pk_reader_bytes(value, 4));
        } else {
            put_address(out, AF_INET6, pk_reader_bytes(value, 16));
        }
    }
}

/* alpn ids are a list inside a character string: commas and backslashes are escaped twice (RFC 9460 appendix A.1). */
static void put_alpn(struct pk_bytes *out, struct pk_reader *value)
{
    const char *separator = "";
    pk_bytes_put_u8(out, '"');
    while (pk_reader_left(value) > 0) {
        uint8_t len = pk_reader_u8(value);
        const uint8_t *id = pk_reader_bytes(value, len);
        put_text(out, separator);
        separator = ",";
        for (uint8_t i = 0; id && i < len; i++) {
            if (id[i] == ',' || id[i] == '\\') {
                put_text(out, id[i] == ',' ? "\\\\," : "\\\\\\\\");
            } else if (id[i] == '"') {
                put_text(out, "\\\"");
            } else if (id[i] < 0x20 || id[i] >= 0x7f) {
                pk_bytes_printf(out, "\\%03u", id[i]);
            } else {
                pk_bytes_put_u8(out, id[i]);
            }
        }
    }
    pk_bytes_put_u8(out, '"');
}

static void put_svcb_value(struct pk_bytes *out, uint16_t key, const uint8_t *p, uint16_t len)
{
    struct pk_reader value;
    pk_reader_init(&value, p, len);
    switch (key) {
    case 0:
        put_text(out, "mandatory=");
        put_svcb_list(out, key, &value);
        break;
    case 1:
        put_text(out, "alpn=");
        put_alpn(out, &value);
        break;
    case 2:
        put_text(out, "no-default-alpn");
        break;
    case 3:
        pk_bytes_printf(out, "port=%u", pk_reader_be16(&value));
        break;
    case 4:
    case 6:
        put_text(out, key == 4 ? "ipv4hint=" : "ipv6hint=");
        put_svcb_list(out, key, &value);
        break;
    case 5:
        put_text(out, "ech=");
        put_base64(out, p, len);
        value.pos = value.len;
        break;
    default:
        pk_bytes_printf(out, "key%u", key);
        if (len > 0) {
            pk_bytes_put_u8(out, '=');
            put_quoted(out, p, len);
        }
        value.pos = value.len;
        break;
    }
    if (!pk_reader_at_end(&value) && out->err == PK_OK) {
        out->err = PK_ERR_MALFORMED;
    }
}

static void put_svcb(struct pk_bytes *out, struct pk_reader *in)
{
    const char *separator = "";
    while (pk_reader_left(in) > 0) {
        uint16_t key = pk_reader_be16(in);
        uint16_t len = pk_reader_be16(in);
        const uint8_t *value = pk_reader_bytes(in, len);
        put_text(out, separator);
        separator = " ";
        put_svcb_value(out, key, value, pk_reader_err(in) == PK_OK ? len : 0);
    }
}

/* --- LOC (RFC 1876 s3) --- */

static void put_loc_angle(struct pk_bytes *out, uint32_t raw, char positive, char negative)
{
    int64_t ms = (int64_t)raw - (INT64_C(1) << 31);
    char side = ms < 0 ? negative : positive;
    ms = ms < 0 ? -ms : ms;
    pk_bytes_printf(out, "%" PRId64 " %" PRId64 " %" PRId64 ".%03" PRId64 " %c ", ms / 3600000,
        ms / 60000 % 60, ms / 1000 % 60, ms % 1000, side);
}

/* Centimetres as mantissa and power of ten, in metres. */
static bool put_loc_size(struct pk_bytes *out, uint8_t v)
{
    uint64_t cm = v >> 4;
    if (cm > 9 || (v & 0xf) > 9) {
        return false;
    }
    for (unsigned i = v & 0xf; i > 0; i--) {
        cm *= 10;
    }
    pk_bytes_printf(out, "%" PRIu64 ".%02" PRIu64 "m", cm / 100, cm % 100);
    return true;
}

static void put_loc(struct pk_bytes *out, struct pk_reader *in)
{
    uint8_t version = pk_reader_u8(in), size = pk_reader_u8(in), horizontal = pk_reader_u8(in),
            vertical = pk_reader_u8(in);
    put_loc_angle(out, pk_reader_be32(in), 'N', 'S');
    put_loc_angle(out, pk_reader_be32(in), 'E', 'W');
    int64_t cm = (int64_t)pk_reader_be32(in) - 10000000;
    pk_bytes_printf(out, "%s%" PRId64 ".%02" PRId64 "m ", cm < 0 ? "-" : "",
        (cm < 0 ? -cm : cm) / 100, (cm < 0 ? -cm : cm) % 100);
    bool is_good = version == 0 && put_loc_size(out, size);
    pk_bytes_put_u8(out, ' ');
    is_good = is_good && put_loc_size(out, horizontal);
    pk_bytes_put_u8(out, ' ');
    if (!is_good || !put_loc_size(out, vertical)) {
        pk_reader_fail(in, PK_ERR_MALFORMED);
    }
}

/* --- the rest --- */

static void put_apl(struct pk_bytes *out, struct pk_reader *in)
{
    const char *separator = "";
    while (pk_reader_left(in) > 0) {
        uint16_t family = pk_reader_be16(in);
        uint8_t prefix = pk_reader_u8(in), tail = pk_reader_u8(in);
        uint8_t len = tail & 0x7f, raw[16] = {0};
        const uint8_t *p = pk_reader_bytes(in, len);
        size_t full = family == 1 ? 4 : family == 2 ? 16 : 0;
        if (full == 0 || len > full || prefix > full * 8) {
            pk_reader_fail(in, PK_ERR_MALFORMED);
            return;
        }
        if (p) {
            memcpy(raw, p, len);
        }
        pk_bytes_printf(out, "%s%s%u:", separator, tail & 0x80 ? "!" : "", family);
        put_address(out, family == 1 ? AF_INET : AF_INET6, raw);
        pk_bytes_printf(out, "/%u", prefix);
        separator = " ";
    }
}

static void put_caa(struct pk_bytes *out, struct pk_reader *in)
{
    uint8_t flags = pk_reader_u8(in), len = pk_reader_u8(in);
    const uint8_t *tag = pk_reader_bytes(in, len);
    pk_bytes_printf(out, "%u ", flags);
    for (uint8_t i = 0; tag && i < len; i++) {
        bool is_plain =
            (tag[i] >= '0' && tag[i] <= '9') || ((tag[i] | 0x20) >= 'a' && (tag[i] | 0x20) <= 'z');
        if (!is_plain) { /* RFC 8659 s4.1: letters and digits */
            pk_reader_fail(in, PK_ERR_MALFORMED);
            return;
        }
        pk_bytes_put_u8(out, tag[i]);
    }
    pk_bytes_put_u8(out, ' ');
    size_t left = pk_reader_left(in);
    put_quoted(out, pk_reader_bytes(in, left), left);
}

/* A field that takes everything that is left. */
static void put_rest(struct pk_bytes *out, char code, struct pk_reader *in)
{
    size_t left = pk_reader_left(in);
    const char *separator = "";
    switch (code) {
    case 'S':
        while (pk_reader_left(in) > 0) {
            uint8_t len = pk_reader_u8(in);
            const uint8_t *p = pk_reader_bytes(in, len);
            put_text(out, separator);
            put_quoted(out, p, pk_reader_err(in) == PK_OK ? len : 0);
            separator = " ";
        }
        break;
    case 'm':
        put_bitmap(out, in);
        break;
    case 'p':
        put_svcb(out, in);
        break;
    case 'P':
        put_apl(out, in);
        break;
    case 'l':
        put_loc(out, in);
        break;
    case 'c':
        put_caa(out, in);
        break;
    case 'q':
        put_quoted(out, pk_reader_bytes(in, left), left);
        break;
    case 'b':
        put_base64(out, pk_reader_bytes(in, left), left);
        break;
    default: /* h */
        put_hex(out, pk_reader_bytes(in, left), left);
        break;
    }
}

/* A field of known or stated length. False: the code is one of put_rest's. */
static bool put_field(struct pk_bytes *out, char code, struct pk_reader *in)
{
    char type[PK_TYPE_TEXT_SIZE];
    uint8_t len;
    const uint8_t *p;
    switch (code) {
    case '1':
        pk_bytes_printf(out, "%u", pk_reader_u8(in));
        return true;
    case '2':
        pk_bytes_printf(out, "%u", pk_reader_be16(in));
        return true;
    case '4':
        pk_bytes_printf(out, "%u", pk_reader_be32(in));
        return true;
    case 't':
        put_text(out, pk_type_text(pk_reader_be16(in), type));
        return true;
    case 'T':
        put_date(out, pk_reader_be32(in));
        return true;
    case 'a':
        put_address(out, AF_INET, pk_reader_bytes(in, 4));
        return true;
    case 'A':
        put_address(out, AF_INET6, pk_reader_bytes(in, 16));
        return true;
    case 'd':
        put_colons(out, pk_reader_bytes(in, 6), 6, 1, '-');
        return true;
    case '8':
        put_colons(out, pk_reader_bytes(in, 8), 8, 1, '-');
        return true;
    case 'D':
        put_colons(out, pk_reader_bytes(in, 8), 8, 2, ':');
        return true;
    case 'n':
    case 'N':
        put_name(out, in);
        return true;
    case 's':
    case 'x':
    case 'e':
        len = pk_reader_u8(in);
        p = pk_reader_bytes(in, len);
        len = pk_reader_err(in) == PK_OK ? len : 0;
        if (code == 's') {
            put_quoted(out, p, len);
        } else if (code == 'e') {
            put_base32hex(out, p, len);
        } else if (len == 0) {
            pk_bytes_put_u8(out, '-');
        } else {
            put_hex(out, p, len);
        }
        return true;
    default:
        return false;
    }
}

static bool write_form(const char *form, const uint8_t *rdata, size_t len, struct pk_bytes *out)
{
    struct pk_reader in;
    pk_reader_init(&in, rdata, len);
    for (const char *code = form; *code; code++) {
        if (code != form && pk_reader_left(&in) > 0) { /* an empty tail leaves no blank behind */
            pk_bytes_put_u8(out, ' ');
        }
        if (!put_field(out, *code, &in)) {
            put_rest(out, *code, &in);
        }
    }
    return pk_reader_at_end(&in) && out->err == PK_OK;
}

void pk_rdata_text(
    uint16_t type, uint16_t class, const uint8_t *rdata, size_t len, struct pk_bytes *out)
{
    const char *form = pk_rdata_form(type);
    size_t start = out->len;
    if (out->err != PK_OK) {
        return;
    }
    bool is_known =
        form && (class == PK_CLASS_IN ||
                    (*form != 'a' && *form != 'A')); /* A of class CH is something else */
    if (is_known && (len > 0 || *form == 'P') &&
        pk_rdata_check(rdata, len, type, 0, (uint16_t)len) && write_form(form, rdata, len, out)) {
        return;
    }
    if (out->err == PK_ERR_MALFORMED) {
        out->err = PK_OK;
    }
    if (out->err == PK_OK) {
        out->len = start;
        pk_bytes_printf(out, "\\# %zu%s", len, len ? " " : "");
        put_hex(out, rdata, len);
    }
}

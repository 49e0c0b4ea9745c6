/* Message parsing: one walk over everything, then iterators that need no checks.
 *
 * The owner of nearly every record in a response is a pointer to the question at offset 12; that case is decided by two bytes. RDATA is checked by type
 * (rdata.c), so that whoever takes a record later may trust the names inside. */
#include "picket/dnsmsg.h"

#include <string.h>

#include "picket/rdata.h"

enum {
    FLAG_QR = 0x8000,
    FLAG_AA = 0x0400,
    FLAG_TC = 0x0200,
    FLAG_RD = 0x0100,
    FLAG_RA = 0x0080,
    FLAG_AD = 0x0020,
    FLAG_CD = 0x0010
};

static uint16_t be16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool fail(struct pk_dnsmsg *msg, enum pk_dns_fault fault, size_t pos)
{
    msg->fault = fault;
    msg->fault_pos = pos;
    return false;
}

static void read_header(struct pk_dnsmsg *msg)
{
    const uint8_t *p = msg->wire;
    uint16_t flags = be16(p + 2);
    msg->id = be16(p);
    msg->is_response = flags & FLAG_QR;
    msg->opcode = flags >> 11 & 0xf;
    msg->aa = flags & FLAG_AA;
    msg->tc = flags & FLAG_TC;
    msg->rd = flags & FLAG_RD;
    msg->ra = flags & FLAG_RA;
    msg->ad = flags & FLAG_AD;
    msg->cd = flags & FLAG_CD;
    msg->rcode = flags & 0xf;
    for (unsigned i = 0; i < 4; i++) {
        msg->n_records[i] = be16(p + 4 + 2 * i);
    }
}

static void no_header(struct pk_dnsmsg *msg)
{
    msg->id = 0;
    msg->opcode = 0;
    msg->rcode = 0;
    msg->is_response = msg->aa = msg->tc = msg->rd = msg->ra = msg->ad = msg->cd = false;
    memset(msg->n_records, 0, sizeof msg->n_records);
}

/* The question in `question`; no other message than a strange one has more. */
static bool read_question(struct pk_dnsmsg *msg, size_t *pos)
{
    size_t start = *pos;
    pk_err err = pk_name_parse(msg->wire, msg->len, pos, &msg->question.name);
    if (err != PK_OK || msg->len - *pos < 4) {
        return fail(msg, PK_DNS_BAD_QUESTION, start);
    }
    msg->question.type = be16(msg->wire + *pos);
    msg->question.class = be16(msg->wire + *pos + 2);
    msg->question_name_end = *pos;
    msg->has_question = true;
    *pos += 4;
    return true;
}

static bool skip_question(struct pk_dnsmsg *msg, size_t *pos)
{
    size_t start = *pos;
    if (pk_name_skip(msg->wire, msg->len, pos) != PK_OK || msg->len - *pos < 4) {
        return fail(msg, PK_DNS_BAD_QUESTION, start);
    }
    *pos += 4;
    return true;
}

static bool read_questions(struct pk_dnsmsg *msg, size_t *pos)
{
    unsigned n = msg->n_records[PK_SECTION_QUESTION];
    bool is_good = n == 0 || read_question(msg, pos);
    for (unsigned i = 1; i < n && is_good; i++) {
        is_good = skip_question(msg, pos);
    }
    return is_good;
}

/* OPT (RFC 6891 s6.1): only in the additional section, once, at the root; the options are code, length, data. */
static bool read_edns(struct pk_dnsmsg *msg, enum pk_section section, size_t owner_pos,
    const uint8_t *fixed, const uint8_t *rdata, uint16_t rdata_len)
{
    if (section != PK_SECTION_ADDITIONAL || msg->edns.present || msg->wire[owner_pos] != 0) {
        return false;
    }
    for (size_t at = 0; at < rdata_len;) {
        if (rdata_len - at < 4 || be16(rdata + at + 2) > rdata_len - at - 4) {
            return false;
        }
        at += 4 + (size_t)be16(rdata + at + 2);
    }
    msg->edns = (struct pk_edns){
        .present = true,
        .udp_size = be16(fixed + 2),
        .ext_rcode = fixed[4],
        .version = fixed[5],
        .dnssec_ok = fixed[6] & 0x80,
        .options = rdata,
        .options_len = rdata_len,
    };
    msg->rcode = (uint16_t)(msg->edns.ext_rcode << 4 | (msg->rcode & 0xf));
    return true;
}

/* RFC 7871 s6: family, source and scope prefix length, as many bytes as the source prefix takes, bits beyond it zero. */
static bool read_subnet(const uint8_t *option, size_t len, struct pk_prefix *out_subnet)
{
    unsigned family = len >= 4 ? be16(option) : 0, bits = len >= 4 ? option[2] : 0;
    struct pk_addr addr = {.family = family == 1 ? 4 : family == 2 ? 6 : 0};
    if (bits == 0 || bits > 8 * pk_addr_len(&addr) || len != 4 + (bits + 7) / 8) {
        return false;
    }
    memcpy(addr.bytes, option + 4, len - 4);
    *out_subnet = pk_addr_prefix(&addr, (uint8_t)bits);
    return pk_addr_equal(&out_subnet->addr, &addr);
}

bool pk_edns_client_subnet(const struct pk_edns *edns, struct pk_prefix *out_subnet)
{
    size_t len;
    for (size_t at = 0; at < edns->options_len; at += 4 + len) {
        len = be16(edns->options + at + 2);
        if (be16(edns->options + at) == PK_EDNS_CLIENT_SUBNET) {
            return read_subnet(edns->options + at + 4, len, out_subnet);
        }
    }
    return false;
}

/* RFC 2136 s2.4, s2.5: prerequisites and deletions carry types with empty RDATA. */
static bool may_be_empty(const struct pk_dnsmsg *msg, uint16_t class)
{
    return msg->opcode == PK_OPCODE_UPDATE || class == PK_CLASS_ANY || class == 254;
}

/* Addresses, which most records are, need no look at their form. */
static bool is_address(uint16_t type, uint16_t rdata_len)
{
    return (type == PK_TYPE_A && rdata_len == 4) || (type == PK_TYPE_AAAA && rdata_len == 16);
}

static bool read_record(struct pk_dnsmsg *msg, enum pk_section section, size_t *pos)
{
    size_t owner_pos = *pos;
    const uint8_t *wire = msg->wire;
    if (msg->len - owner_pos >= 2 && wire[owner_pos] == 0xc0 &&
        wire[owner_pos + 1] == PK_DNS_HEADER_BYTES && msg->has_question) {
        *pos += 2;
    } else if (owner_pos >= msg->len) {
        return fail(msg, PK_DNS_SHORT_RECORD, owner_pos);
    } else {
        pk_err err = pk_name_skip(wire, msg->len, pos);
        if (err != PK_OK) {
            return fail(
                msg, err == PK_ERR_TRUNCATED ? PK_DNS_SHORT_RECORD : PK_DNS_BAD_NAME, owner_pos);
        }
    }
    if (msg->len - *pos < 10) {
        return fail(msg, PK_DNS_SHORT_RECORD, owner_pos);
    }
    const uint8_t *fixed = wire + *pos;
    uint16_t type = be16(fixed), rdata_len = be16(fixed + 8);
    size_t rdata_pos = *pos + 10;
    if (rdata_len > msg->len - rdata_pos) {
        return fail(msg, PK_DNS_SHORT_RECORD, owner_pos);
    }
    if (type == PK_TYPE_OPT) {
        if (!read_edns(msg, section, owner_pos, fixed, wire + rdata_pos, rdata_len)) {
            return fail(msg, PK_DNS_BAD_EDNS, owner_pos);
        }
    } else if (!is_address(type, rdata_len) &&
               !(rdata_len == 0 && may_be_empty(msg, be16(fixed + 2))) &&
               !pk_rdata_check(wire, msg->len, type, rdata_pos, rdata_len)) {
        return fail(msg, PK_DNS_BAD_RDATA, owner_pos);
    }
    *pos = rdata_pos + rdata_len;
    msg->n_good_records++;
    return true;
}

/* Sets every field but those of the header and the bytes of the question's name, which are not worth zeroing for each packet. */
static void reset(struct pk_dnsmsg *msg, const uint8_t *wire, size_t len)
{
    msg->wire = wire;
    msg->len = len;
    msg->has_question = false;
    msg->question.name.len = 1;
    msg->question.name.n_labels = 0;
    msg->question.name.wire[0] = 0;
    msg->question.type = 0;
    msg->question.class = 0;
    msg->question_name_end = 0;
    msg->records_pos = 0;
    msg->n_good_records = 0;
    msg->edns = (struct pk_edns){.present = false};
    msg->fault = PK_DNS_OK;
    msg->fault_pos = 0;
}

static bool read_records(struct pk_dnsmsg *msg, size_t *pos)
{
    unsigned n_answers = msg->n_records[PK_SECTION_ANSWER];
    unsigned n_before = n_answers + msg->n_records[PK_SECTION_AUTHORITY];
    unsigned n = n_before + msg->n_records[PK_SECTION_ADDITIONAL];
    for (unsigned i = 0; i < n; i++) {
        enum pk_section section = i < n_answers  ? PK_SECTION_ANSWER
                                  : i < n_before ? PK_SECTION_AUTHORITY
                                                 : PK_SECTION_ADDITIONAL;
        if (!read_record(msg, section, pos)) {
            return false;
        }
    }
    return true;
}

bool pk_dnsmsg_parse(const uint8_t *wire, size_t len, struct pk_dnsmsg *out_msg)
{
    struct pk_dnsmsg *msg = out_msg;
    reset(msg, wire, len);
    if (len < PK_DNS_HEADER_BYTES) {
        no_header(msg);
        return fail(msg, PK_DNS_SHORT_HEADER, len);
    }
    read_header(msg);
    size_t pos = PK_DNS_HEADER_BYTES;
    if (!read_questions(msg, &pos)) {
        return false;
    }
    msg->records_pos = pos;
    if (!read_records(msg, &pos)) {
        return false;
    }
    if (pos < len) {
        msg->fault = PK_DNS_TRAILING;
        msg->fault_pos = pos;
    }
    return true;
}

const char *pk_dns_fault_str(enum pk_dns_fault fault)
{
    static const char *const names[PK_N_DNS_FAULTS] = {
        [PK_DNS_OK] = "ok",
        [PK_DNS_SHORT_HEADER] = "short_header",
        [PK_DNS_BAD_QUESTION] = "bad_question",
        [PK_DNS_BAD_NAME] = "bad_name",
        [PK_DNS_SHORT_RECORD] = "short_record",
        [PK_DNS_BAD_RDATA] = "bad_rdata",
        [PK_DNS_BAD_EDNS] = "bad_edns",
        [PK_DNS_TRAILING] = "trailing_bytes",
    };
    return fault < PK_N_DNS_FAULTS ? names[fault] : "unknown";
}

void pk_rr_iter_init(struct pk_rr_iter *iter, const struct pk_dnsmsg *msg)
{
    *iter = (struct pk_rr_iter){.msg = msg, .pos = msg->records_pos};
}

/* Past an owner name that the parser has checked. */
static size_t after_name(const uint8_t *wire, size_t pos)
{
    while (wire[pos] != 0 && wire[pos] < 0xc0) {
        pos += (size_t)wire[pos] + 1;
    }
    return pos + (wire[pos] == 0 ? 1 : 2);
}

bool pk_rr_next(struct pk_rr_iter *iter, struct pk_rr *out_rr)
{
    const struct pk_dnsmsg *msg = iter->msg;
    if (iter->index >= msg->n_good_records) {
        return false;
    }
    unsigned n_answers = msg->n_records[PK_SECTION_ANSWER];
    unsigned n_authority = msg->n_records[PK_SECTION_AUTHORITY];
    size_t pos = iter->pos;
    out_rr->section = iter->index < n_answers                 ? PK_SECTION_ANSWER
                      : iter->index < n_answers + n_authority ? PK_SECTION_AUTHORITY
                                                              : PK_SECTION_ADDITIONAL;
    out_rr->owner_pos = pos;
    pos = after_name(msg->wire, pos);
    const uint8_t *fixed = msg->wire + pos;
    out_rr->type = be16(fixed);
    out_rr->class = be16(fixed + 2);
    out_rr->ttl_s = be32(fixed + 4);
    out_rr->rdata_len = be16(fixed + 8);
    out_rr->rdata_pos = pos + 10;
    iter->pos = out_rr->rdata_pos + out_rr->rdata_len;
    iter->index++;
    return true;
}

void pk_rr_owner(const struct pk_dnsmsg *msg, const struct pk_rr *rr, struct pk_name *out_owner)
{
    size_t pos = rr->owner_pos;
    (void)pk_name_parse(msg->wire, msg->len, &pos, out_owner);
}

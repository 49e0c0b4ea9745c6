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

static bool read_questions(struct pk_dnsmsg *msg, size_t *pos)
{
    for (unsigned i = 0; i < msg->n_records[PK_SECTION_QUESTION]; i++) {
        size_t start = *pos;
        pk_err err = i == 0 ? pk_name_parse(msg->wire, msg->len, pos, &msg->question.name)
                            : pk_name_skip(msg->wire, msg->len, pos);
        size_t name_end = *pos;
        if (err != PK_OK || msg->len - *pos < 4) {
            return fail(msg, PK_DNS_BAD_QUESTION, start);
        }
        if (i == 0) {
            msg->question.type = be16(msg->wire + *pos);
            msg->question.class = be16(msg->wire + *pos + 2);
            msg->question_name_end = name_end;
            msg->has_question = true;
        }
        *pos += 4;
    }
    return true;
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

/* RFC 2136 s2.4, s2.5: prerequisites and deletions carry types with empty RDATA. */
static bool may_be_empty(const struct pk_dnsmsg *msg, uint16_t class)
{
    return msg->opcode == PK_OPCODE_UPDATE || class == PK_CLASS_ANY || class == 254;
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
    } else if (!(rdata_len == 0 && may_be_empty(msg, be16(fixed + 2))) &&
               !pk_rdata_check(wire, msg->len, type, rdata_pos, rdata_len)) {
        return fail(msg, PK_DNS_BAD_RDATA, owner_pos);
    }
    *pos = rdata_pos + rdata_len;
    msg->n_good_records++;
    return true;
}

/* Sets every field but the bytes of the question's name, which are not worth zeroing for each packet. */
static void reset(struct pk_dnsmsg *msg, const uint8_t *wire, size_t len)
{
    msg->wire = wire;
    msg->len = len;
    msg->id = 0;
    msg->opcode = 0;
    msg->rcode = 0;
    msg->is_response = msg->aa = msg->tc = msg->rd = msg->ra = msg->ad = msg->cd = false;
    memset(msg->n_records, 0, sizeof msg->n_records);
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

bool pk_dnsmsg_parse(const uint8_t *wire, size_t len, struct pk_dnsmsg *out_msg)
{
    struct pk_dnsmsg *msg = out_msg;
    reset(msg, wire, len);
    if (len < PK_DNS_HEADER_BYTES) {
        return fail(msg, PK_DNS_SHORT_HEADER, len);
    }
    read_header(msg);
    size_t pos = PK_DNS_HEADER_BYTES;
    if (!read_questions(msg, &pos)) {
        return false;
    }
    msg->records_pos = pos;
    for (enum pk_section section = PK_SECTION_ANSWER; section <= PK_SECTION_ADDITIONAL; section++) {
        for (unsigned i = 0; i < msg->n_records[section]; i++) {
            if (!read_record(msg, section, &pos)) {
                return false;
            }
        }
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

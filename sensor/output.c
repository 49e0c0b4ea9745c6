/* JSON lines by jansson.
 *
 * Names and RDATA are master-file text, hence ASCII; what is not a name is escaped the same way, so no line holds bytes that JSON could not. */
#include "output.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "picket/clock.h"
#include "picket/hash.h"
#include "picket/map.h"
#include "picket/rdata.h"

#include "window/history.h"

enum {
    MAX_LINE = 16 << 20,
    MAX_KEY = 256 << 10
};

struct rrset {
    uint32_t key_start, key_len, n_rdata, rdata_start;
    struct pk_name owner, bailiwick;
    uint16_t type;
    uint8_t trust;
    uint64_t count;
    int64_t first_us, last_us;
};

struct pk_output {
    enum pk_output_mode mode;
    FILE *stream;
    bool is_closed;
    struct pk_bytes text;  /* scratch for RDATA */
    struct pk_bytes rdata; /* scratch for expanded RDATA */
    struct rrset *rrsets;
    uint32_t n_rrsets, cap_rrsets;
    struct pk_bytes keys;
    struct pk_map map;
};

bool pk_output_mode_parse(const char *text, enum pk_output_mode *out_mode)
{
    static const char *const names[] = {"none", "messages", "transactions", "rrsets"};
    for (unsigned i = 0; i < 4; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out_mode = (enum pk_output_mode)i;
            return true;
        }
    }
    return false;
}

struct wanted {
    const uint8_t *key;
    size_t len;
};

static bool is_rrset(const void *entries, uint32_t entry, const void *key)
{
    const struct pk_output *output = entries;
    const struct wanted *wanted = key;
    const struct rrset *rrset = &output->rrsets[entry];
    return rrset->key_len == wanted->len &&
           memcmp(output->keys.data + rrset->key_start, wanted->key, wanted->len) == 0;
}

pk_err pk_output_new(enum pk_output_mode mode, FILE *stream, struct pk_output **out_output)
{
    struct pk_output *output = calloc(1, sizeof *output);
    if (!output) {
        return PK_ERR_NOMEM;
    }
    output->mode = mode;
    output->stream = stream;
    pk_bytes_init(&output->text, MAX_LINE);
    pk_bytes_init(&output->rdata, MAX_LINE);
    pk_bytes_init(&output->keys, (size_t)1 << 30);
    if (mode == PK_OUTPUT_RRSETS &&
        pk_map_init(&output->map, PK_OUTPUT_MAX_RRSETS, is_rrset) != PK_OK) {
        pk_output_free(output);
        return PK_ERR_NOMEM;
    }
    *out_output = output;
    return PK_OK;
}

void pk_output_free(struct pk_output *output)
{
    if (!output) {
        return;
    }
    pk_bytes_done(&output->text);
    pk_bytes_done(&output->rdata);
    pk_bytes_done(&output->keys);
    free(output->rrsets);
    if (output->map.slots) {
        pk_map_done(&output->map);
    }
    free(output);
}

/* Writes the object as a line and lets it go. */
static void put_line(struct pk_output *output, json_t *object)
{
    if (!output->is_closed && (json_dumpf(object, output->stream, JSON_COMPACT) != 0 ||
                                  fputc('\n', output->stream) == EOF)) {
        output->is_closed = true;
    }
    json_decref(object);
}

static void set(json_t *object, const char *key, json_t *value)
{
    (void)json_object_set_new_nocheck(
        object, key, value); /* out of memory shows as a missing key */
}

static json_t *text(const char *value)
{
    return json_string_nocheck(value);
}

static json_t *number(uint64_t v)
{
    return json_integer((json_int_t)v);
}

static json_t *timestamp(int64_t us)
{
    char out[40];
    int64_t s = us / PK_US_PER_S, rest = us % PK_US_PER_S;
    if (rest < 0) {
        rest += PK_US_PER_S;
        s--;
    }
    snprintf(out, sizeof out, "%" PRId64 ".%06" PRId64, s, rest);
    return text(out);
}

static json_t *address(const struct pk_addr *addr)
{
    char out[PK_ADDR_TEXT_SIZE];
    return addr->family ? text(pk_addr_text(addr, out)) : json_null(); /* servers need not tell */
}

static json_t *name_text(const struct pk_name *name)
{
    char out[PK_NAME_TEXT_SIZE];
    return text(pk_name_text(name, out));
}

static json_t *hex(const uint8_t *p, size_t len)
{
    char out[2 * PK_NAME_MAX + 1];
    len = len > PK_NAME_MAX ? PK_NAME_MAX : len;
    for (size_t i = 0; i < len; i++) {
        snprintf(out + 2 * i, 3, "%02x", p[i]);
    }
    out[2 * len] = '\0';
    return text(out);
}

static const char *transport_text(uint8_t transport)
{
    static const char *const names[PK_N_TRANSPORTS] = {
        "udp", "tcp", "dot", "doh", "doq", "dnscrypt-udp", "dnscrypt-tcp"};
    return names[transport];
}

static void put_question(json_t *object, const struct pk_question *question)
{
    char out[PK_TYPE_TEXT_SIZE];
    set(object, "qname", name_text(&question->name));
    set(object, "qname_hex", hex(question->name.wire, question->name.len));
    set(object, "qtype", text(pk_type_text(question->type, out)));
    set(object, "qtype_num", number(question->type));
    set(object, "qclass", text(pk_class_text(question->class, out)));
    set(object, "qclass_num", number(question->class));
}

static json_t *record_json(
    struct pk_output *output, const struct pk_dnsmsg *msg, const struct pk_rr *rr)
{
    static const char *const sections[] = {"question", "answer", "authority", "additional"};
    char out[PK_TYPE_TEXT_SIZE];
    struct pk_name owner;
    pk_rr_owner(msg, rr, &owner);
    pk_bytes_clear(&output->rdata);
    pk_bytes_clear(&output->text);
    pk_rdata_expand(msg, rr, false, &output->rdata);
    if (rr->rdata_len > 0) { /* RFC 2136 records may carry none */
        pk_rdata_text(rr->type, rr->class, output->rdata.data, output->rdata.len, &output->text);
    }
    const char *rdata = pk_bytes_text(&output->text);
    json_t *record = json_object();
    set(record, "section", text(sections[rr->section]));
    set(record, "owner", name_text(&owner));
    set(record, "type", text(pk_type_text(rr->type, out)));
    set(record, "class", text(pk_class_text(rr->class, out)));
    set(record, "ttl", number(rr->ttl_s));
    set(record, "rdata", text(rdata ? rdata : ""));
    return record;
}

static json_t *records_json(struct pk_output *output, const struct pk_dnsmsg *msg, int only_section)
{
    struct pk_rr_iter iter;
    struct pk_rr rr;
    json_t *list = json_array();
    pk_rr_iter_init(&iter, msg);
    while (pk_rr_next(&iter, &rr)) {
        if (rr.type != PK_TYPE_OPT && (only_section < 0 || (int)rr.section == only_section)) {
            (void)json_array_append_new(list, record_json(output, msg, &rr));
        }
    }
    return list;
}

static json_t *edns_json(const struct pk_edns *edns)
{
    json_t *object = json_object(), *options = json_array();
    set(object, "udp", number(edns->udp_size));
    set(object, "do", json_boolean(edns->dnssec_ok));
    set(object, "version", number(edns->version));
    for (size_t at = 0; at + 4 <= edns->options_len;) {
        const uint8_t *p = edns->options + at;
        size_t len = (size_t)p[2] << 8 | p[3];
        json_t *option = json_object();
        set(option, "code", number((uint64_t)p[0] << 8 | p[1]));
        set(option, "data", hex(p + 4, len));
        (void)json_array_append_new(options, option);
        at += 4 + len;
    }
    set(object, "options", options);
    return object;
}

void pk_output_message(struct pk_output *output, const struct pk_message *message)
{
    const struct pk_dnsmsg *dns = &message->dns;
    if (output->mode != PK_OUTPUT_MESSAGES || output->is_closed) {
        return;
    }
    json_t *line = json_object();
    set(line, "frame", number(message->frame));
    set(line, "ts", timestamp(message->ts_us));
    set(line, "src", address(&message->src));
    set(line, "sport", number(message->sport));
    set(line, "dst", address(&message->dst));
    set(line, "dport", number(message->dport));
    set(line, "proto", text(transport_text(message->transport)));
    if (dns->fault != PK_DNS_SHORT_HEADER) {
        set(line, "id", number(dns->id));
        set(line, "qr", number(dns->is_response));
        set(line, "opcode", number(dns->opcode));
        set(line, "rcode", number(dns->rcode));
        set(line, "aa", json_boolean(dns->aa));
        set(line, "tc", json_boolean(dns->tc));
        set(line, "rd", json_boolean(dns->rd));
        set(line, "ra", json_boolean(dns->ra));
        set(line, "ad", json_boolean(dns->ad));
        set(line, "cd", json_boolean(dns->cd));
        if (dns->has_question) {
            put_question(line, &dns->question);
        }
        set(line, "qd", number(dns->n_records[PK_SECTION_QUESTION]));
        set(line, "an", number(dns->n_records[PK_SECTION_ANSWER]));
        set(line, "ns", number(dns->n_records[PK_SECTION_AUTHORITY]));
        set(line, "ar", number(dns->n_records[PK_SECTION_ADDITIONAL]));
        set(line, "records", records_json(output, dns, -1));
        if (dns->edns.present) {
            set(line, "edns", edns_json(&dns->edns));
        }
    }
    if (dns->fault != PK_DNS_OK) {
        set(line, "malformed", text(pk_dns_fault_str(dns->fault)));
    }
    if (message->is_cut) {
        set(line, "cut", json_true());
    }
    if (message->is_fragmented) {
        set(line, "fragmented", json_true());
    }
    if (message->layers.n > 0) {
        char via[PK_VIA_TEXT_SIZE];
        set(line, "via", text(pk_via_text(&message->layers, via)));
    } else if (message->via) {
        set(line, "via", text(message->via));
    }
    put_line(output, line);
}

static const char *outcome_text(enum pk_outcome outcome)
{
    static const char *const names[PK_N_OUTCOMES] = {"answered", "unanswered", "unreachable",
        "unsolicited", "late", "mismatched", "repeated", "conflicting"};
    return names[outcome];
}

static const char *answer_text(enum pk_answer_kind kind)
{
    static const char *const names[PK_N_ANSWER_KINDS] = {
        "none", "data", "nodata", "referral", "nxdomain", "error", "truncated", "transfer"};
    return names[kind];
}

void pk_output_transaction(struct pk_output *output, const struct pk_transaction *transaction)
{
    const struct pk_query *query = &transaction->query;
    char rcode[PK_TYPE_TEXT_SIZE];
    if (output->mode != PK_OUTPUT_TRANSACTIONS || output->is_closed) {
        return;
    }
    json_t *line = json_object();
    bool has_time = transaction->response_ts_us != 0;
    set(line, "outcome", text(outcome_text(transaction->outcome)));
    set(line, "query_ts",
        pk_outcome_is_stray(transaction->outcome) ? json_null() : timestamp(query->ts_us));
    set(line, "response_ts", has_time ? timestamp(transaction->response_ts_us) : json_null());
    set(line, "latency_us",
        has_time && transaction->outcome == PK_OUTCOME_ANSWERED
            ? json_integer(transaction->response_ts_us - query->ts_us)
            : json_null());
    set(line, "client", address(&query->client));
    set(line, "client_port", number(query->client_port));
    set(line, "server", address(&query->server));
    set(line, "server_port", number(query->server_port));
    set(line, "proto", text(transport_text(query->transport)));
    set(line, "id", number(query->id));
    set(line, "opcode", number(query->opcode));
    if (query->has_question) {
        put_question(line, &query->question);
    }
    set(line, "retransmissions", number(query->retransmissions));
    set(line, "answer", text(answer_text(pk_history_answer_kind(transaction))));
    if (transaction->response) {
        const struct pk_dnsmsg *dns = &transaction->response->dns;
        set(line, "rcode", text(pk_rcode_text(dns->rcode, rcode)));
        set(line, "aa", json_boolean(dns->aa));
        set(line, "tc", json_boolean(dns->tc));
        set(line, "ra", json_boolean(dns->ra));
        set(line, "ad", json_boolean(dns->ad));
        set(line, "answers", records_json(output, dns, PK_SECTION_ANSWER));
    } else {
        set(line, "rcode", json_null());
        set(line, "answers", json_array());
    }
    set(line, "rd", json_boolean(query->flags & PK_SIG_QUERY_RD));
    set(line, "cd", json_boolean(query->flags & PK_SIG_QUERY_CD));
    set(line, "do", json_boolean(query->flags & PK_SIG_QUERY_DO));
    set(line, "response_bytes", number(transaction->response_bytes));
    if (transaction->transfer_records > 0) {
        set(line, "transfer_records", number(transaction->transfer_records));
        set(line, "transfer_messages", number(transaction->transfer_messages));
    }
    if (query->via) {
        set(line, "via", text(query->via));
    }
    put_line(output, line);
}

/* --- RRsets: collected, then printed as COF (draft-dulaunoy-dnsop-passive-dns-cof) with bailiwick and trust --- */

static struct rrset *add_rrset(
    struct pk_output *output, const uint8_t *key, size_t len, uint64_t hash)
{
    if (output->n_rrsets == output->cap_rrsets) {
        uint32_t cap = output->cap_rrsets ? 2 * output->cap_rrsets : 1024;
        struct rrset *grown = realloc(output->rrsets, cap * sizeof *grown);
        if (!grown) {
            return NULL;
        }
        output->rrsets = grown;
        output->cap_rrsets = cap;
    }
    uint32_t start = (uint32_t)output->keys.len;
    pk_bytes_put(&output->keys, key, len);
    if (output->keys.err != PK_OK || !pk_map_add(&output->map, hash, output->n_rrsets)) {
        output->keys.err = PK_OK;
        return NULL;
    }
    struct rrset *rrset = &output->rrsets[output->n_rrsets++];
    *rrset = (struct rrset){.key_start = start, .key_len = (uint32_t)len};
    return rrset;
}

void pk_output_rrset(struct pk_output *output, const struct pk_rrset *row)
{
    if (output->mode != PK_OUTPUT_RRSETS || output->is_closed) {
        return;
    }
    struct pk_bytes *key = &output->rdata;
    pk_bytes_clear(key);
    pk_bytes_put(key, row->owner.data, row->owner.len);
    pk_bytes_put(key, row->bailiwick.data, row->bailiwick.len);
    pk_bytes_put_be16(key, row->type);
    pk_bytes_put_u8(key, row->trust);
    size_t rdata_start = key->len;
    for (uint32_t i = 0; i < row->n_rdata; i++) {
        pk_bytes_put_be32(key, row->rdata[i].len);
        pk_bytes_put(key, row->rdata[i].data, row->rdata[i].len);
    }
    struct wanted wanted = {.key = key->data, .len = key->len};
    uint64_t hash = pk_hash(key->data, key->len);
    uint32_t found = pk_map_find(&output->map, hash, output, &wanted);
    struct rrset *rrset = found == PK_MAP_NONE ? NULL : &output->rrsets[found];
    if (!rrset) {
        if (output->n_rrsets == PK_OUTPUT_MAX_RRSETS ||
            output->keys.len + key->len > output->keys.max_bytes) {
            struct pk_bytes saved = *key; /* flushing uses the scratch */
            pk_bytes_init(key, MAX_LINE);
            (void)pk_output_flush(output);
            pk_bytes_done(key);
            *key = saved;
        }
        rrset = add_rrset(output, key->data, key->len, hash);
        if (!rrset) {
            return;
        }
        rrset->rdata_start = (uint32_t)rdata_start;
        rrset->n_rdata = row->n_rdata;
        (void)pk_name_from_wire(row->owner.data, row->owner.len, &rrset->owner);
        (void)pk_name_from_wire(row->bailiwick.data, row->bailiwick.len, &rrset->bailiwick);
        rrset->type = row->type;
        rrset->trust = row->trust;
        rrset->first_us = row->first_us;
        rrset->last_us = row->last_us;
    }
    rrset->count += row->count;
    rrset->first_us = row->first_us < rrset->first_us ? row->first_us : rrset->first_us;
    rrset->last_us = row->last_us > rrset->last_us ? row->last_us : rrset->last_us;
}

static int compare_rrsets(const void *a, const void *b)
{
    const struct rrset *x = a, *y = b;
    if (x->first_us != y->first_us) {
        return x->first_us < y->first_us ? -1 : 1;
    }
    int order = pk_name_compare(&x->owner, &y->owner);
    return order ? order : (int)x->type - (int)y->type;
}

static void put_rrset(struct pk_output *output, const struct rrset *rrset)
{
    static const char *const trusts[PK_N_TRUSTS] = {
        "authoritative", "resolver", "referral", "glue"};
    char type[PK_TYPE_TEXT_SIZE];
    json_t *line = json_object(), *rdata = json_array();
    const uint8_t *p = output->keys.data + rrset->key_start + rrset->rdata_start;
    for (uint32_t i = 0; i < rrset->n_rdata; i++) {
        uint32_t len = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
        pk_bytes_clear(&output->text);
        pk_rdata_text(rrset->type, PK_CLASS_IN, p + 4, len, &output->text);
        const char *one = pk_bytes_text(&output->text);
        (void)json_array_append_new(rdata, text(one ? one : ""));
        p += 4 + len;
    }
    set(line, "rrname", name_text(&rrset->owner));
    set(line, "rrtype", text(pk_type_text(rrset->type, type)));
    set(line, "rdata", rdata);
    set(line, "time_first", json_integer(rrset->first_us / PK_US_PER_S));
    set(line, "time_last", json_integer(rrset->last_us / PK_US_PER_S));
    set(line, "count", number(rrset->count));
    set(line, "bailiwick", name_text(&rrset->bailiwick));
    set(line, "trust", text(trusts[rrset->trust]));
    put_line(output, line);
}

pk_err pk_output_flush(struct pk_output *output)
{
    if (output->n_rrsets > 0) {
        qsort(output->rrsets, output->n_rrsets, sizeof *output->rrsets, compare_rrsets);
        for (uint32_t i = 0; i < output->n_rrsets; i++) {
            put_rrset(output, &output->rrsets[i]);
        }
        output->n_rrsets = 0;
        pk_bytes_clear(&output->keys);
        pk_map_clear(&output->map);
    }
    if (!output->is_closed && fflush(output->stream) != 0) {
        output->is_closed = true;
    }
    return output->is_closed && errno != EPIPE ? PK_ERR_IO : PK_OK;
}

bool pk_output_is_closed(const struct pk_output *output)
{
    return output->is_closed;
}

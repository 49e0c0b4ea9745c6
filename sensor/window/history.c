/* RRsets out of responses. The rules stand in the header, because they are the product's promise. */
#include "window/history.h"

#include <stdlib.h>
#include <string.h>

#include "picket/hash.h"
#include "picket/rdata.h"

#include "window/repeats.h"
#include "window/suffixes.h"

enum {
    SCRATCH_BYTES = 1 << 20,
    MAX_CHAIN = 64 /* resolvers give up long before */
};

struct record {
    struct pk_rr rr;
    struct pk_name owner; /* lower case */
    size_t owner_at;      /* where it stands in the message: of two at one place one is read */
    uint32_t rdata_start, rdata_len; /* in scratch */
    unsigned number;                 /* in the message, from 0 */
    bool is_done;
    bool is_on_chain;
};

struct pk_history {
    struct pk_stats *stats;
    struct pk_history_sink sink;
    struct pk_repeats *repeats;   /* NULL: the sink keeps no rows */
    struct pk_repeat made;        /* of the response in hand */
    struct pk_suffixes *suffixes; /* NULL: no list on this machine */
    struct record records[PK_HISTORY_MAX_RECORDS];
    struct pk_slice rdata[PK_HISTORY_MAX_RECORDS];
    struct pk_bytes scratch;
};

pk_err pk_history_new(
    struct pk_stats *stats, const struct pk_history_sink *sink, struct pk_history **out_history)
{
    struct pk_history *history = calloc(1, sizeof *history);
    if (!history) {
        return PK_ERR_NOMEM;
    }
    history->stats = stats;
    history->sink = *sink;
    if (sink->enter && pk_repeats_new(sink, &history->repeats) != PK_OK) {
        free(history);
        return PK_ERR_NOMEM;
    }
    if (pk_suffixes_load(PICKET_PUBLIC_SUFFIX_LIST, &history->suffixes) == PK_ERR_NOMEM) {
        pk_history_free(history);
        return PK_ERR_NOMEM;
    }
    pk_bytes_init(&history->scratch, SCRATCH_BYTES);
    *out_history = history;
    return PK_OK;
}

void pk_history_free(struct pk_history *history)
{
    if (history) {
        pk_suffixes_free(history->suffixes);
        pk_repeats_free(history->repeats);
        pk_bytes_done(&history->scratch);
        free(history);
    }
}

/* --- the registrable domain --- */

static void registrable(
    const struct pk_history *history, const struct pk_name *name, struct pk_name *out_domain)
{
    pk_name_strip(name, pk_suffixes_strip(history->suffixes, name), out_domain);
}

bool pk_history_has_suffixes(const struct pk_history *history)
{
    return history->suffixes != NULL;
}

/* --- what kind of answer --- */

static bool is_cut_for(
    const struct pk_dnsmsg *msg, const struct pk_rr *rr, const struct pk_name *qname)
{
    PK_UNSET struct pk_name owner;
    pk_rr_owner(msg, rr, &owner);
    return pk_name_is_within(qname, &owner);
}

enum pk_answer_kind pk_history_answer_kind(const struct pk_transaction *transaction)
{
    if (transaction->transfer_records > 1 ||
        (transaction->outcome == PK_OUTCOME_ANSWERED && !transaction->response)) {
        return PK_ANSWER_TRANSFER;
    }
    if (!transaction->response) {
        return PK_ANSWER_NONE;
    }
    const struct pk_dnsmsg *msg = &transaction->response->dns;
    if (msg->rcode == PK_RCODE_NXDOMAIN) {
        return PK_ANSWER_NXDOMAIN;
    }
    if (msg->rcode != PK_RCODE_NOERROR) {
        return PK_ANSWER_ERROR;
    }
    if (msg->tc) {
        return PK_ANSWER_TRUNCATED;
    }
    struct pk_rr_iter iter;
    struct pk_rr rr;
    bool has_cut = false;
    pk_rr_iter_init(&iter, msg);
    while (pk_rr_next(&iter, &rr) && rr.section != PK_SECTION_ADDITIONAL) {
        if (rr.section == PK_SECTION_ANSWER) {
            return PK_ANSWER_DATA;
        }
        if (rr.type == PK_TYPE_SOA) {
            return PK_ANSWER_NODATA;
        }
        has_cut = has_cut || (rr.type == PK_TYPE_NS && transaction->query.has_question &&
                                 is_cut_for(msg, &rr, &transaction->query.question.name));
    }
    return has_cut && !msg->aa ? PK_ANSWER_REFERRAL : PK_ANSWER_NODATA;
}

uint64_t pk_history_answer_digest(
    struct pk_history *history, const struct pk_message *response, uint32_t *out_min_ttl_s)
{
    struct pk_rr_iter iter;
    struct pk_rr rr;
    uint64_t digest = 0;
    uint32_t min_ttl_s = UINT32_MAX;
    pk_rr_iter_init(&iter, &response->dns);
    while (pk_rr_next(&iter, &rr) && rr.section == PK_SECTION_ANSWER) {
        pk_bytes_clear(&history->scratch);
        pk_bytes_put_be16(&history->scratch, rr.type);
        pk_rdata_expand(&response->dns, &rr, true, &history->scratch);
        digest += pk_hash_fixed(history->scratch.data,
            history->scratch.len); /* a sum: the order of records is the server's whim */
        min_ttl_s = rr.ttl_s < min_ttl_s ? rr.ttl_s : min_ttl_s;
    }
    bool is_empty = min_ttl_s == UINT32_MAX && digest == 0;
    *out_min_ttl_s = is_empty ? 0 : min_ttl_s;
    return digest;
}

/* --- RRsets --- */

static bool is_meta(uint16_t type)
{
    return type == PK_TYPE_OPT || type == PK_TYPE_SIG || (type >= 249 && type <= 255);
}

/* Where an owner stands: a pointer alone, as nearly all are, says it. */
static size_t place_of(const struct pk_dnsmsg *msg, size_t owner_pos)
{
    const uint8_t *p = msg->wire + owner_pos;
    return p[0] >= 0xc0 ? (size_t)(p[0] & 0x3f) << 8 | p[1] : owner_pos;
}

static void copy_name(struct pk_name *out, const struct pk_name *name)
{
    out->len = name->len;
    out->n_labels = name->n_labels;
    memcpy(out->wire, name->wire, name->len);
}

/* The owner of records[n], in lower case. Most are the question or the owner of the record before: reading and folding each anew was a tenth of a root server's traffic. */
static void read_owner(
    struct pk_history *history, const struct pk_dnsmsg *msg, const struct pk_name *qname, size_t n)
{
    struct record *record = &history->records[n];
    record->owner_at = place_of(msg, record->rr.owner_pos);
    if (n > 0 && record[-1].owner_at == record->owner_at) {
        copy_name(&record->owner, &record[-1].owner);
    } else if (record->owner_at == PK_DNS_HEADER_BYTES && msg->has_question) {
        copy_name(&record->owner, qname); /* the response's is the same but for case */
    } else {
        pk_rr_owner(msg, &record->rr, &record->owner);
        pk_name_lower(&record->owner);
    }
}

static bool is_same_owner(const struct record *a, const struct record *b)
{
    return a->owner_at == b->owner_at || pk_name_equal(&a->owner, &b->owner);
}

/* Copies the records of class IN with their canonical RDATA, each after its type; returns how many. None when they are too many: part of an RRset would be a false RRset. */
static size_t collect(
    struct pk_history *history, const struct pk_dnsmsg *msg, const struct pk_name *qname)
{
    struct pk_rr_iter iter;
    struct pk_rr rr;
    size_t n = 0;
    unsigned number = 0;
    pk_bytes_clear(&history->scratch);
    pk_rr_iter_init(&iter, msg);
    for (; pk_rr_next(&iter, &rr); number++) {
        if (is_meta(rr.type) || rr.class != PK_CLASS_IN) {
            continue;
        }
        if (n == PK_HISTORY_MAX_RECORDS) {
            history->made.is_whole = false;
            history->stats->rrsets_shed++;
            return 0;
        }
        struct record *record = &history->records[n];
        record->rr = rr;
        record->number = number;
        record->is_done = false;
        record->is_on_chain = false;
        pk_bytes_put_be16(&history->scratch, rr.type);
        record->rdata_start = (uint32_t)history->scratch.len;
        read_owner(history, msg, qname, n);
        pk_rdata_expand(msg, &rr, true, &history->scratch);
        record->rdata_len = (uint32_t)history->scratch.len - record->rdata_start;
        if (record->rdata_len >
            UINT16_MAX) { /* names written out can swell it (CVE-2020-1350): nobody can have sent that */
            history->made.is_whole = false;
            history->stats->rrsets_shed++;
            return 0;
        }
        n++;
    }
    history->stats->rrsets_shed += history->scratch.err != PK_OK;
    return history->scratch.err == PK_OK ? n : 0;
}

static void refuse(struct pk_history *history)
{
    history->stats->rrsets_refused++;
    history->made.n_refused++;
}

static int compare_slices(const void *a, const void *b)
{
    const struct pk_slice *x = a, *y = b;
    uint32_t shorter = x->len < y->len ? x->len : y->len;
    int order = shorter ? memcmp(x->data, y->data, shorter) : 0;
    return order ? order : x->len < y->len ? -1 : x->len > y->len;
}

static uint32_t sort_unique(struct pk_slice *items, uint32_t n)
{
    if (n > 1) {
        qsort(items, n, sizeof *items, compare_slices);
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (kept == 0 || compare_slices(&items[kept - 1], &items[i]) != 0) {
            items[kept++] = items[i];
        }
    }
    return kept;
}

/* Reports the RRset that begins with record `first`, taking in its fellows. */
static void report(struct pk_history *history, const struct pk_transaction *transaction,
    size_t first, size_t n, enum pk_trust trust, const struct pk_name *bailiwick)
{
    const struct record *head = &history->records[first];
    struct pk_rrset rrset = {
        .owner = {head->owner.wire, head->owner.len},
        .type = head->rr.type,
        .class = head->rr.class,
        .rdata = history->rdata,
        .bailiwick = {bailiwick->wire, bailiwick->len},
        .trust = (uint8_t)trust,
        .count = 1,
        .first_us = transaction->response_ts_us,
        .last_us = transaction->response_ts_us,
        .ttl_min_s = UINT32_MAX,
        .server = transaction->query.server,
    };
    for (size_t i = first; i < n; i++) {
        struct record *record = &history->records[i];
        bool is_fellow = !record->is_done && record->rr.section == head->rr.section &&
                         record->rr.type == head->rr.type &&
                         (i == first || is_same_owner(record, head));
        if (is_fellow) {
            record->is_done = true;
            pk_repeat_belongs(&history->made, record->number);
            history->rdata[rrset.n_rdata++] =
                (struct pk_slice){history->scratch.data + record->rdata_start, record->rdata_len};
            rrset.ttl_min_s =
                record->rr.ttl_s < rrset.ttl_min_s ? record->rr.ttl_s : rrset.ttl_min_s;
            rrset.ttl_max_s =
                record->rr.ttl_s > rrset.ttl_max_s ? record->rr.ttl_s : rrset.ttl_max_s;
        } else if (record->rr.type == PK_TYPE_RRSIG && record->rr.section == head->rr.section &&
                   record->rdata_len >= 2 && is_same_owner(record, head)) {
            const uint8_t *covered = history->scratch.data + record->rdata_start;
            bool covers = (covered[0] << 8 | covered[1]) == head->rr.type;
            rrset.flags = (uint8_t)(rrset.flags | (covers ? PK_RRSET_SIGNED : 0));
        }
    }
    rrset.n_rdata = sort_unique(history->rdata, rrset.n_rdata);
    history->stats->rrsets++;
    pk_repeat_row(&history->made, history->sink.rrset(history->sink.arg, &rrset));
}

/* The deepest zone the authority section names that encloses the QNAME and lies at or below `registrable`: a server must not widen its own bailiwick by
 * claiming to be the root. Left alone when there is none. */
static void narrow_to_authority(const struct pk_history *history, size_t n,
    const struct pk_name *qname, struct pk_name *bailiwick)
{
    for (size_t i = 0; i < n; i++) {
        const struct record *record = &history->records[i];
        if (record->rr.section == PK_SECTION_AUTHORITY &&
            (record->rr.type == PK_TYPE_SOA || record->rr.type == PK_TYPE_NS) &&
            pk_name_is_within(qname, &record->owner) &&
            pk_name_is_within(&record->owner, bailiwick)) {
            *bailiwick = record->owner;
        }
    }
}

static bool is_signature_of(
    const struct pk_history *history, const struct record *record, uint16_t type)
{
    const uint8_t *covered = history->scratch.data + record->rdata_start;
    return record->rr.type == PK_TYPE_RRSIG && record->rdata_len >= 2 &&
           (covered[0] << 8 | covered[1]) == type;
}

/* Marks the answer records that belong to one name of the chain, and gives out the next name: the target of its CNAME. A DNAME stands above the name it
 * rewrites (RFC 6672 s2.2). */
static bool mark_link(
    struct pk_history *history, size_t n, const struct pk_name *link, struct pk_name *out_next)
{
    bool has_next = false;
    for (size_t i = 0; i < n; i++) {
        struct record *record = &history->records[i];
        if (record->rr.section != PK_SECTION_ANSWER) {
            continue;
        }
        bool is_dname =
            record->rr.type == PK_TYPE_DNAME || is_signature_of(history, record, PK_TYPE_DNAME);
        if (pk_name_equal(&record->owner, link)) {
            bool is_new = !record->is_on_chain;
            record->is_on_chain = true;
            if (record->rr.type == PK_TYPE_CNAME && is_new && !has_next) {
                has_next = pk_name_from_wire(history->scratch.data + record->rdata_start,
                               record->rdata_len, out_next) == PK_OK;
            }
        } else if (is_dname && pk_name_is_within(link, &record->owner)) {
            record->is_on_chain = true;
        }
    }
    return has_next;
}

static void mark_chain(struct pk_history *history, size_t n, const struct pk_name *qname)
{
    PK_UNSET struct pk_name link, next;
    link = *qname;
    for (unsigned i = 0; i < MAX_CHAIN && mark_link(history, n, &link, &next); i++) {
        link = next;
    }
}

/* The zone the asking resolver took the server to serve (dnstap): better than any guess, when it encloses the question. */
static bool has_zone(const struct pk_transaction *transaction, const struct pk_name *qname)
{
    return transaction->response->zone.len > 0 &&
           pk_name_is_within(qname, &transaction->response->zone);
}

static void report_answer(struct pk_history *history, const struct pk_transaction *transaction,
    size_t n, const struct pk_name *qname)
{
    const struct pk_dnsmsg *msg = &transaction->response->dns;
    enum pk_trust trust = msg->aa ? PK_TRUST_AUTHORITATIVE : PK_TRUST_RESOLVER;
    PK_UNSET struct pk_name bailiwick, own;
    registrable(history, qname, &bailiwick);
    if (msg->aa && has_zone(transaction, qname)) {
        bailiwick = transaction->response->zone;
        pk_name_lower(&bailiwick);
    }
    if (msg->aa) {
        narrow_to_authority(history, n, qname, &bailiwick);
    } else {
        mark_chain(history, n, qname);
    }
    for (size_t i = 0; i < n; i++) {
        struct record *record = &history->records[i];
        if (record->rr.section != PK_SECTION_ANSWER || record->is_done) {
            continue;
        }
        if (pk_name_is_within(&record->owner, &bailiwick)) {
            report(history, transaction, i, n, trust, &bailiwick);
        } else if (record->is_on_chain) {
            registrable(history, &record->owner, &own);
            report(history, transaction, i, n, trust, &own);
        } else {
            refuse(history);
        }
    }
}

/* Whether name is a target of one of the NS records of the cut. */
static bool is_server_of(const struct pk_history *history, size_t n, const struct pk_name *cut,
    const struct pk_name *name)
{
    for (size_t i = 0; i < n; i++) {
        const struct record *record = &history->records[i];
        if (record->rr.section == PK_SECTION_AUTHORITY && record->rr.type == PK_TYPE_NS &&
            pk_name_equal(&record->owner, cut) && record->rdata_len == name->len &&
            memcmp(history->scratch.data + record->rdata_start, name->wire, name->len) == 0) {
            return true;
        }
    }
    return false;
}

static void report_referral(struct pk_history *history, const struct pk_transaction *transaction,
    size_t n, const struct pk_name *qname)
{
    PK_UNSET struct pk_name cut, parent;
    bool has_cut = false;
    for (size_t i = 0; i < n; i++) {
        struct record *record = &history->records[i];
        if (record->rr.section == PK_SECTION_AUTHORITY && record->rr.type == PK_TYPE_NS &&
            !record->is_done && !has_cut && pk_name_is_within(qname, &record->owner) &&
            !pk_name_is_root(&record->owner)) {
            cut = record->owner;
            pk_name_strip(&cut, 1, &parent);
            if (has_zone(transaction, qname)) {
                parent = transaction->response->zone;
                pk_name_lower(&parent);
            }
            if (cut.n_labels <= parent.n_labels || !pk_name_is_within(&cut, &parent)) {
                refuse(history); /* a server refers to what is below its zone */
                continue;
            }
            has_cut = true;
            report(history, transaction, i, n, PK_TRUST_REFERRAL, &parent);
        }
    }
    for (size_t i = 0; has_cut && i < n; i++) {
        struct record *record = &history->records[i];
        bool is_address = record->rr.type == PK_TYPE_A || record->rr.type == PK_TYPE_AAAA;
        if (record->rr.section != PK_SECTION_ADDITIONAL || record->is_done || !is_address) {
            continue;
        }
        if (pk_name_is_within(&record->owner, &cut) &&
            is_server_of(history, n, &cut, &record->owner)) {
            report(history, transaction, i, n, PK_TRUST_GLUE, &parent);
        } else {
            refuse(history);
        }
    }
}

/* Whether history looks at this response at all. */
static bool is_fit(const struct pk_transaction *transaction)
{
    if (transaction->outcome != PK_OUTCOME_ANSWERED || !transaction->response ||
        transaction->query.opcode != PK_OPCODE_QUERY || !transaction->query.has_question ||
        transaction->query.question.class != PK_CLASS_IN || transaction->transfer_records > 0) {
        return false;
    }
    const struct pk_dnsmsg *msg = &transaction->response->dns;
    return (msg->fault == PK_DNS_OK || msg->fault == PK_DNS_TRAILING) && msg->has_question;
}

/* Whether the answer's kind is one whose records are looked at. */
static bool has_rrsets(const struct pk_dnsmsg *msg, enum pk_answer_kind kind)
{
    bool has_chain =
        kind == PK_ANSWER_NXDOMAIN &&
        msg->n_records[PK_SECTION_ANSWER] > 0; /* a CNAME to a name that does not exist */
    return kind == PK_ANSWER_DATA || kind == PK_ANSWER_REFERRAL || (has_chain && !msg->tc);
}

static void report_all(struct pk_history *history, const struct pk_transaction *transaction,
    enum pk_answer_kind kind, size_t n, const struct pk_name *qname)
{
    if (kind == PK_ANSWER_REFERRAL) {
        report_referral(history, transaction, n, qname);
    } else {
        report_answer(history, transaction, n, qname);
    }
}

/* pk_history_answer_digest of records that are collected already. False when not all of the answer section are, or none. */
static bool digest_collected(const struct pk_history *history, const struct pk_dnsmsg *msg,
    size_t n, struct pk_answer *answer)
{
    unsigned n_answers = 0;
    answer->min_ttl_s = UINT32_MAX;
    for (size_t i = 0; i < n && history->records[i].rr.section == PK_SECTION_ANSWER; i++) {
        const struct record *record = &history->records[i];
        answer->digest += pk_hash_fixed(
            history->scratch.data + record->rdata_start - 2, 2 + (size_t)record->rdata_len);
        answer->min_ttl_s =
            record->rr.ttl_s < answer->min_ttl_s ? record->rr.ttl_s : answer->min_ttl_s;
        n_answers++;
    }
    return n_answers > 0 && n_answers == msg->n_records[PK_SECTION_ANSWER];
}

/* Whether it may be told from the message's bytes alone what history makes of it. */
static bool is_plain(const struct pk_message *response)
{
    return response->zone.len == 0 && !response->is_fragmented;
}

/* What came back, and its RRsets when it fits. */
static struct pk_answer take_apart(
    struct pk_history *history, const struct pk_transaction *transaction, bool fits)
{
    struct pk_answer answer = {.kind = pk_history_answer_kind(transaction), .memo = NULL};
    const struct pk_message *response = transaction->response;
    PK_UNSET struct pk_name room;
    const struct pk_name *qname = NULL;
    size_t n = 0;
    fits = fits && has_rrsets(&response->dns, answer.kind);
    if (fits) {
        qname = pk_transaction_name(transaction, &room);
        n = collect(history, &response->dns, qname);
    }
    if (answer.kind == PK_ANSWER_DATA && !digest_collected(history, &response->dns, n, &answer)) {
        answer.digest = pk_history_answer_digest(history, response, &answer.min_ttl_s);
        n = n > 0 ? collect(history, &response->dns, qname) : 0; /* their bytes are gone */
    }
    if (fits) {
        report_all(history, transaction, answer.kind, n, qname);
    }
    return answer;
}

void pk_history_ahead(struct pk_history *history, const struct pk_message *message)
{
    if (history->repeats) {
        pk_repeats_ahead(history->repeats, message->dns.is_response ? &message->dns : NULL);
    }
}

void pk_history_nearer(const struct pk_history *history)
{
    if (history->repeats) {
        pk_repeats_nearer(history->repeats);
    }
}

void pk_history_settle(struct pk_history *history)
{
    if (history->repeats) {
        pk_repeats_forget(history->repeats);
    }
}

void pk_history_transaction(struct pk_history *history, const struct pk_transaction *transaction,
    struct pk_answer *out_answer)
{
    bool fits = is_fit(transaction);
    bool may_keep = false;
    if (fits && transaction->response->is_fragmented) {
        /* Who guesses the second fragment replaces the end of a genuine response (Herzberg and Shulman 2013). */
        history->stats->refused_fragmented++;
        fits = false;
    }
    history->made.is_whole = true;
    if (fits && history->repeats && is_plain(transaction->response)) {
        uint32_t epoch = history->sink.enter(history->sink.arg, transaction->ended_us);
        const struct pk_dnsmsg *msg = &transaction->response->dns;
        struct pk_remembered *known = pk_repeats_find(history->repeats, msg);
        if (known) {
            *out_answer = (struct pk_answer){.kind = (enum pk_answer_kind)known->kind,
                .digest = known->digest,
                .min_ttl_s =
                    pk_repeats_count(history->repeats, known, msg, transaction->response_ts_us),
                .memo = &known->memo};
            history->stats->rrsets += known->n_rows;
            history->stats->rrsets_refused += known->n_refused;
            return;
        }
        may_keep = true;
        pk_repeat_begin(&history->made, epoch);
    }
    struct pk_answer answer = take_apart(history, transaction, fits);
    if (may_keep && history->sink.enter(history->sink.arg, transaction->ended_us) ==
                        history->made.epoch) { /* else some of the rows are gone already */
        history->made.answer = answer;
        struct pk_remembered *known = pk_repeats_keep(history->repeats, &history->made);
        answer.memo = known ? &known->memo : NULL;
    }
    *out_answer = answer;
}

size_t pk_history_bound_bytes(void)
{
    return sizeof(struct pk_history) + pk_bytes_bound_bytes(SCRATCH_BYTES) +
           pk_repeats_bound_bytes() + pk_suffixes_bound_bytes();
}

/* From transactions and RRsets to the rows of a window.
 *
 * The tables are window.c's, who may be named is client.c's; here is when a window begins and ends, what the scope lets through, and how a row takes in one
 * more observation. */
#include "merge.h"

#include <stdlib.h>
#include <string.h>

#include "pairing.h"
#include "vantage.h"
#include "window.h"

struct pk_merge {
    struct pk_merge_options options;
    struct pk_client_rules rules;
    struct pk_stats *stats;
    struct pk_merge_sink sink;
    int64_t window_start_us;
    bool is_open;
    uint32_t part; /* counts what has been given out: the rows' numbers are good within one */
    struct window window;
    struct pk_vantages *vantages;
};

static void set_options(struct pk_merge *merge, const struct pk_merge_options *options)
{
    merge->options = *options;
    merge->rules = (struct pk_client_rules){
        .site = options->tenant ? options->site : NULL, .client_key = options->client_key};
}

pk_err pk_merge_new(const struct pk_merge_options *options, struct pk_stats *stats,
    const struct pk_merge_sink *sink, struct pk_merge **out_merge)
{
    struct pk_merge *merge = calloc(1, sizeof *merge);
    if (!merge) {
        return PK_ERR_NOMEM;
    }
    set_options(merge, options);
    merge->stats = stats;
    merge->sink = *sink;
    if (window_init(&merge->window) != PK_OK || pk_vantages_new(&merge->vantages) != PK_OK) {
        pk_merge_free(merge);
        return PK_ERR_NOMEM;
    }
    stats->memory_bound_bytes += pk_merge_bound_bytes();
    *out_merge = merge;
    return PK_OK;
}

void pk_merge_free(struct pk_merge *merge)
{
    if (merge) {
        window_done(&merge->window);
        pk_vantages_free(merge->vantages);
        free(merge);
    }
}

size_t pk_merge_bound_bytes(void)
{
    return sizeof(struct pk_merge) + window_bound_bytes() + pk_vantages_bound_bytes();
}

/* --- the window --- */

static void open_window(struct pk_merge *merge, int64_t now_us)
{
    int64_t window_us = (int64_t)merge->options.window_ms * 1000;
    merge->window_start_us = now_us - (now_us % window_us + window_us) % window_us;
    merge->is_open = true;
}

/* Gives the rows out and forgets them. A window whose bounds are reached goes on after this: a flood costs bytes, never sight. */
static void give_part(struct pk_merge *merge, bool is_last)
{
    struct pk_batch_info info = {
        .window_start_us = merge->window_start_us,
        .window_ms = merge->options.window_ms,
        .privacy = !merge->options.tenant      ? PK_PRIVACY_CLEAR
                   : merge->options.client_key ? PK_PRIVACY_PSEUDONYMS
                                               : PK_PRIVACY_NO_CLIENTS,
    };
    merge->sink.window(merge->sink.arg, &info);
    window_give(&merge->window, &merge->sink);
    merge->sink.window_end(merge->sink.arg, is_last);
    window_clear(&merge->window);
    merge->part++;
}

void pk_merge_tick(struct pk_merge *merge, int64_t now_us, bool force)
{
    int64_t window_us = (int64_t)merge->options.window_ms * 1000;
    bool is_over = now_us >= merge->window_start_us + window_us;
    bool is_stepped_back =
        now_us < merge->window_start_us - window_us; /* a clock step, or the next file is older */
    if (merge->is_open && (is_over || is_stepped_back || force)) {
        give_part(merge, true);
        merge->is_open = false;
    }
    if (!merge->is_open && !force) {
        open_window(merge, now_us);
    }
}

void pk_merge_change(struct pk_merge *merge, const struct pk_merge_options *options)
{
    pk_merge_tick(merge, 0, true);
    set_options(merge, options);
}

uint32_t pk_merge_enter(struct pk_merge *merge, int64_t ts_us)
{
    pk_merge_tick(merge, ts_us, false);
    return merge->part;
}

/* --- what they have in common --- */

/* Which side of DNS this server is: what the operator says, what the source or the site says, or what its answers show. */
static uint8_t vantage_of(struct pk_merge *merge, const struct pk_transaction *transaction)
{
    if (merge->options.vantage != PK_VANTAGE_UNKNOWN) {
        return (uint8_t)merge->options.vantage;
    }
    if (transaction->query.vantage != PK_VANTAGE_UNKNOWN) {
        return transaction->query.vantage;
    }
    if (merge->options.site && merge->options.site->vantage != PK_VANTAGE_UNKNOWN) {
        return (uint8_t)merge->options.site->vantage;
    }
    return pk_vantages_of(merge->vantages, transaction);
}

static uint16_t edns_class(uint16_t size)
{
    static const uint16_t classes[] = {4096, 1400, 1232, 512};
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        if (size >= classes[i]) {
            return size > 4096 ? UINT16_MAX : classes[i];
        }
    }
    return 0;
}

static void fill_signature(struct pk_merge *merge, const struct pk_transaction *transaction,
    enum pk_answer_kind kind, struct pk_signature *out)
{
    const struct pk_query *query = &transaction->query;
    const struct pk_dnsmsg *msg = transaction->response ? &transaction->response->dns : NULL;
    memset(out, 0, sizeof *out); /* with its holes: it is interned by its bytes */
    out->server = query->server;
    out->server_port = query->server_port;
    out->transport = query->transport;
    out->vantage = vantage_of(merge, transaction);
    out->opcode = query->opcode;
    out->answer = (uint8_t)kind;
    out->qtype = query->question.type;
    out->qclass = query->question.class;
    out->rcode = msg                          ? msg->rcode
                 : kind == PK_ANSWER_TRANSFER ? PK_RCODE_NOERROR
                                              : PK_RCODE_NO_RESPONSE;
    out->flags = (uint16_t)(query->flags | (msg && msg->aa ? PK_SIG_AA : 0) |
                            (msg && msg->tc ? PK_SIG_TC : 0) | (msg && msg->ra ? PK_SIG_RA : 0));
    out->edns_udp_size = query->flags & PK_SIG_QUERY_EDNS ? edns_class(query->edns_udp_size) : 0;
}

/* --- transactions --- */

static uint32_t clamp32(int64_t v)
{
    return v < 0 ? 0 : v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
}

static uint32_t min32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static uint32_t max32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static void add_activity(struct activity_value *value, bool is_new,
    const struct pk_transaction *transaction, uint32_t min_ttl_s)
{
    const struct pk_query *query = &transaction->query;
    uint32_t latency_us =
        transaction->response_ts_us ? clamp32(transaction->response_ts_us - query->ts_us) : 0;
    if (is_new) {
        *value = (struct activity_value){.first_us = query->ts_us,
            .count = 1,
            .latency_min_us = latency_us,
            .latency_max_us = latency_us,
            .min_ttl_s = min_ttl_s};
    } else {
        int64_t last_us = value->first_us + value->span_us;
        last_us = query->ts_us > last_us ? query->ts_us : last_us;
        value->first_us = query->ts_us < value->first_us ? query->ts_us : value->first_us;
        value->span_us = clamp32(last_us - value->first_us);
        value->count++;
        value->latency_min_us = min32(value->latency_min_us, latency_us);
        value->latency_max_us = max32(value->latency_max_us, latency_us);
        value->min_ttl_s = min32(value->min_ttl_s, min_ttl_s);
    }
    value->response_bytes_max = max32(value->response_bytes_max, transaction->response_bytes);
    value->retransmissions += query->retransmissions;
    value->transfer_records += transaction->transfer_records;
    value->transfer_soas =
        (uint16_t)min32((uint32_t)value->transfer_soas + transaction->transfer_soas, UINT16_MAX);
    value->case_mixed =
        (uint8_t)(value->case_mixed + (query->is_case_mixed && value->case_mixed < UINT8_MAX));
}

static pk_err merge_activity(struct pk_merge *merge, const struct pk_transaction *transaction,
    const struct pk_name *name, const struct pk_answer *answer)
{
    struct window *window = &merge->window;
    struct pk_signature signature;
    struct activity_key key = {.answer_digest = answer->digest};
    fill_signature(merge, transaction, answer->kind, &signature);
    pk_err err = pk_dictionary_intern(&window->names, name->wire, name->len, &key.name);
    if (err == PK_OK) {
        err = window_client(window, &merge->rules, &transaction->query.client, &key.client);
    }
    if (err == PK_OK) {
        err =
            pk_dictionary_intern(&window->signatures, &signature, sizeof signature, &key.signature);
    }
    uint32_t row, n = window->activity.n;
    if (err == PK_OK) {
        err = pk_dictionary_intern(&window->activity, &key, sizeof key, &row);
    }
    if (err == PK_OK) {
        merge->stats->in_scope++;
        add_activity(&window->activity_values[row], row == n, transaction, answer->min_ttl_s);
    }
    return err;
}

static pk_err merge_negative(
    struct pk_merge *merge, const struct pk_transaction *transaction, const struct pk_name *name)
{
    struct window *window = &merge->window;
    const struct pk_query *query = &transaction->query;
    struct negative_key key = {
        .type = query->question.type,
        .class = query->question.class,
        .rcode = transaction->response ? transaction->response->dns.rcode : PK_RCODE_NO_RESPONSE,
    };
    uint32_t row, n = window->negatives.n;
    pk_err err = pk_dictionary_intern(&window->names, name->wire, name->len, &key.name);
    if (err == PK_OK) {
        err = pk_dictionary_intern(&window->negatives, &key, sizeof key, &row);
    }
    if (err != PK_OK) {
        return err;
    }
    merge->stats->negative++;
    struct negative_value *value = &window->negative_values[row];
    if (row == n) {
        *value = (struct negative_value){.first_us = query->ts_us, .last_us = query->ts_us};
    }
    value->count++;
    value->first_us = query->ts_us < value->first_us ? query->ts_us : value->first_us;
    value->last_us = query->ts_us > value->last_us ? query->ts_us : value->last_us;
    return PK_OK;
}

void pk_merge_transaction(struct pk_merge *merge, const struct pk_transaction *transaction,
    const struct pk_answer *answer)
{
    if (pk_outcome_is_stray(transaction->outcome)) {
        return; /* counted; evidence rows come with the forgery detectors */
    }
    struct pk_name name;
    name.len = 1;
    name.n_labels = 0;
    name.wire[0] = 0;
    if (transaction->query.has_question) {
        name.len = transaction->query.question.name.len;
        name.n_labels = transaction->query.question.name.n_labels;
        memcpy(name.wire, transaction->query.question.name.wire, name.len);
        pk_name_lower(&name);
    }
    /* The moment it ended: that is monotone, the time of the query is not. */
    (void)pk_merge_enter(merge, transaction->ended_us);
    bool is_in_scope =
        !merge->options.tenant ||
        pk_scope_match(merge->options.tenant, &name, transaction->query.question.type,
            transaction->query.question.class, NULL) != PK_SCOPE_NOT;
    bool has_data = answer->kind == PK_ANSWER_DATA || answer->kind == PK_ANSWER_REFERRAL ||
                    answer->kind == PK_ANSWER_TRANSFER;
    if (!is_in_scope && has_data) {
        merge->stats->positive++;
        return;
    }
    pk_err err = PK_ERR_LIMIT;
    for (unsigned attempt = 0; attempt < 2 && err == PK_ERR_LIMIT; attempt++) {
        if (attempt > 0) {
            give_part(merge, false);
        }
        err = is_in_scope ? merge_activity(merge, transaction, &name, answer)
                          : merge_negative(merge, transaction, &name);
    }
    merge->stats->merge_shed += err != PK_OK;
}

/* --- RRsets --- */

static pk_err intern_rrset(struct window *window, const struct pk_rrset *rrset, uint32_t *out_row)
{
    struct pk_bytes *bytes = &window->scratch;
    struct rrset_key key = {.type = rrset->type,
        .class = rrset->class,
        .trust = rrset->trust,
        .n_rdata = (uint16_t)rrset->n_rdata};
    pk_err err =
        pk_dictionary_intern(&window->names, rrset->owner.data, rrset->owner.len, &key.owner);
    if (err == PK_OK) {
        err = pk_dictionary_intern(
            &window->names, rrset->bailiwick.data, rrset->bailiwick.len, &key.bailiwick);
    }
    if (err != PK_OK) {
        return err;
    }
    pk_bytes_clear(bytes);
    pk_bytes_put(bytes, &key, sizeof key);
    for (uint32_t i = 0; i < rrset->n_rdata; i++) {
        pk_bytes_put_be16(bytes, (uint16_t)rrset->rdata[i].len);
        pk_bytes_put(bytes, rrset->rdata[i].data, rrset->rdata[i].len);
    }
    if (bytes->err != PK_OK) {
        return PK_ERR_UNSUPPORTED; /* as good as: more than one response can hold */
    }
    return pk_dictionary_intern(&window->rrsets, bytes->data, bytes->len, out_row);
}

uint32_t pk_merge_rrset(struct pk_merge *merge, const struct pk_rrset *rrset)
{
    struct window *window = &merge->window;
    uint32_t row = PK_MERGE_NO_ROW, n = 0;
    if (!merge->is_open) { /* else it belongs to the window its transaction ends in */
        open_window(merge, rrset->last_us);
    }
    pk_err err = rrset->n_rdata > WINDOW_MAX_SET ? PK_ERR_UNSUPPORTED : PK_ERR_LIMIT;
    for (unsigned attempt = 0; attempt < 2 && err == PK_ERR_LIMIT; attempt++) {
        if (attempt > 0) {
            give_part(merge, false);
        }
        n = window->rrsets.n;
        err = intern_rrset(window, rrset, &row);
    }
    if (err != PK_OK) {
        merge->stats->rrsets_shed++;
        return PK_MERGE_NO_ROW;
    }
    if (row == n) {
        window->rrset_values[row] = (struct rrset_value){.first_us = rrset->first_us,
            .last_us = rrset->last_us,
            .ttl_min_s = rrset->ttl_min_s,
            .ttl_max_s = rrset->ttl_max_s,
            .server = rrset->server};
    }
    struct rrset_value *value = &window->rrset_values[row];
    value->flags |= rrset->flags;
    value->count += rrset->count;
    value->first_us = rrset->first_us < value->first_us ? rrset->first_us : value->first_us;
    value->last_us = rrset->last_us > value->last_us ? rrset->last_us : value->last_us;
    value->ttl_min_s = min32(value->ttl_min_s, rrset->ttl_min_s);
    value->ttl_max_s = max32(value->ttl_max_s, rrset->ttl_max_s);
    return row;
}

void pk_merge_repeat(
    struct pk_merge *merge, uint32_t row, int64_t ts_us, uint32_t ttl_min_s, uint32_t ttl_max_s)
{
    struct rrset_value *value = &merge->window.rrset_values[row];
    value->count++;
    value->first_us = ts_us < value->first_us ? ts_us : value->first_us;
    value->last_us = ts_us > value->last_us ? ts_us : value->last_us;
    value->ttl_min_s = min32(value->ttl_min_s, ttl_min_s);
    value->ttl_max_s = max32(value->ttl_max_s, ttl_max_s);
}

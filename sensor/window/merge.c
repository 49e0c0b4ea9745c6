/* From transactions and RRsets to the rows of a window.
 *
 * The tables are window.c's, who may be named is client.c's; here is when a window begins and ends, what the scope lets through, and how a row takes in one
 * more observation. */
#include "window/merge.h"

#include <stdlib.h>
#include <string.h>

#include "picket/clock.h"
#include "picket/hash.h"

#include "pairing/pairing.h"
#include "window/share.h"
#include "window/vantage.h"
#include "window/window.h"

enum {
    ALIAS_BITS = 1 << 16,
    MAX_WAITING = 8, /* as many transactions later memory has answered */
};

/* What a transaction adds to its activity row. */
struct addition {
    struct activity_key key;
    uint32_t hash; /* of the key */
    int64_t ts_us;
    uint32_t latency_us, response_bytes, min_ttl_s, retransmissions, transfer_records;
    uint16_t transfer_soas;
    bool is_case_mixed;
};

/* Rows of this window in the parts that are out already. */
struct given {
    uint64_t activity, rrsets, negatives, counts;
};

struct pk_merge {
    struct pk_merge_options options;
    struct pk_client_rules rules;
    struct pk_share *share;
    uint64_t watch_from; /* of activity rows: pk_share_watch_from */
    uint64_t limit;      /* of rows of a kind in a window */
    struct given given;  /* in parts of this window that are out */
    uint64_t
        aliased[ALIAS_BITS / 64]; /* addresses whose alias has been told in this hour, by hash */
    int64_t alias_hour;
    struct pk_stats *stats;
    struct pk_merge_sink sink;
    void (*before_rrsets)(void *arg);
    void *before_arg;
    int64_t window_start_us;
    uint64_t window_us;
    bool is_open;
    uint32_t part,
        rrset_part; /* count what has been given out, from 1: numbers are good within one */
    struct window window;
    struct rrsets rrsets;
    struct addition waiting[MAX_WAITING]; /* for their rows; a ring, counted in in_scope already */
    uint32_t first_waiting, n_waiting;
    struct pk_vantages *vantages;
};

static void set_options(struct pk_merge *merge, const struct pk_merge_options *options)
{
    merge->options = *options;
    merge->window_us = options->window_ms * UINT64_C(1000);
    pk_client_rules_forget(&merge->rules);
    pk_share_set(merge->share, options->window_rows);
    merge->watch_from = pk_share_watch_from(merge->share);
    merge->limit = options->window_rows ? options->window_rows : UINT64_MAX;
}

pk_err pk_merge_new(const struct pk_merge_options *options, struct pk_stats *stats,
    const struct pk_merge_sink *sink, struct pk_merge **out_merge)
{
    struct pk_merge *merge = calloc(1, sizeof *merge);
    if (!merge) {
        return PK_ERR_NOMEM;
    }
    merge->stats = stats;
    merge->sink = sink ? *sink : (struct pk_merge_sink){0};
    if (pk_share_new(options->window_rows, &merge->share) != PK_OK ||
        window_init(&merge->window) != PK_OK || rrsets_init(&merge->rrsets) != PK_OK ||
        pk_vantages_new(&merge->vantages) != PK_OK) {
        pk_merge_free(merge);
        return PK_ERR_NOMEM;
    }
    merge->part = merge->rrset_part = 1;
    set_options(merge, options);
    stats->memory_bound_bytes += pk_merge_bound_bytes();
    *out_merge = merge;
    return PK_OK;
}

void pk_merge_free(struct pk_merge *merge)
{
    if (merge) {
        window_done(&merge->window);
        rrsets_done(&merge->rrsets);
        pk_vantages_free(merge->vantages);
        pk_share_free(merge->share);
        pk_client_rules_forget(&merge->rules);
        free(merge);
    }
}

size_t pk_merge_bound_bytes(void)
{
    return sizeof(struct pk_merge) + window_bound_bytes() + rrsets_bound_bytes() +
           pk_share_bound_bytes() + pk_vantages_bound_bytes();
}

/* --- the window --- */

static void open_window(struct pk_merge *merge, int64_t now_us)
{
    int64_t window_us = (int64_t)merge->window_us;
    merge->window_start_us = now_us - (now_us % window_us + window_us) % window_us;
    merge->is_open = true;
    merge->given = (struct given){0};
    pk_share_begin(merge->share);
    pk_client_rules_set(&merge->rules, merge->options.tenant,
        merge->options.tenant ? merge->options.site : NULL, merge->options.client_key,
        merge->window_start_us);
    merge->rules.declared = merge->options.is_own ? merge->options.tenant : NULL;
}

/* In the first day of a period: which pseudonym each client had before, once an hour, so that who compares can follow it over the change. Two clients of one bit: the second
 * waits for another hour. The rows of clients are out: their place is taken for these. */
static void give_aliases(struct pk_merge *merge, const struct pk_batch_info *info)
{
    static const uint8_t root[] = {0};
    struct window *window = &merge->window;
    int64_t hour = merge->window_start_us / (INT64_C(3600) * PK_US_PER_S);
    uint32_t zone;
    if (!merge->rules.has_former || /* or no room for one more name: in the next part */
        pk_dictionary_intern(&window->names, root, sizeof root, &zone) != PK_OK) {
        return;
    }
    if (hour != merge->alias_hour) {
        merge->alias_hour = hour;
        memset(merge->aliased, 0, sizeof merge->aliased);
    }
    table_clear(&window->counts);
    for (uint32_t i = 0; i < window->addresses.n; i++) {
        struct pk_addr addr = window_address(window, i);
        uint64_t bit = pk_hash_mix(pk_addr_hash(&addr), (uint64_t)hour) % ALIAS_BITS;
        uint32_t number = 0, former;
        (void)window_find_client(window, &addr, &number);
        if (*pk_dictionary_at(&window->clients, number).data != PK_CLIENT_PSEUDONYM ||
            merge->aliased[bit / 64] >> bit % 64 & 1) {
            continue;
        }
        uint8_t packed[PK_CLIENT_PACKED_SIZE];
        struct pk_client client = pk_client_of(&merge->rules, &addr);
        client = pk_client_former(&merge->rules, &client, &addr);
        if (pk_dictionary_append(
                &window->clients, packed, pk_client_pack(&client, packed), &former) != PK_OK) {
            break; /* in the next part */
        }
        merge->aliased[bit / 64] |= UINT64_C(1) << bit % 64;
        struct pk_count_row *row = table_at(&window->counts, window->counts.n++);
        *row = (struct pk_count_row){.client = number,
            .zone = zone,
            .reason = PK_CLIENT_ALIAS,
            .former = former + 1,
            .first_us = merge->window_start_us,
            .last_us = merge->window_start_us};
        if (window->counts.n == window->counts.max) {
            window_give_counts(window, info, &merge->sink);
            window->counts.n = 0;
        }
    }
    window_give_counts(window, info, &merge->sink);
}

static void settle_all(struct pk_merge *merge);

static struct pk_batch_info info_of(const struct pk_merge *merge, bool is_last)
{
    return (struct pk_batch_info){
        .window_start_us = merge->window_start_us,
        .window_ms = merge->options.window_ms,
        .flags = is_last ? 0 : PK_BATCH_PARTIAL,
        .privacy = !merge->options.tenant      ? PK_PRIVACY_CLEAR
                   : merge->options.client_key ? PK_PRIVACY_PSEUDONYMS
                                               : PK_PRIVACY_NO_CLIENTS,
        .key_period = merge->rules.period,
    };
}

void pk_merge_tell(const struct pk_merge *merge)
{
    if (merge->is_open && merge->sink.open) {
        merge->sink.open(
            merge->sink.arg, &(struct pk_merge_open){.window_start_us = merge->window_start_us,
                                 .window_ms = merge->options.window_ms,
                                 .activity = merge->window.activity.n,
                                 .rrsets = merge->rrsets.contents.n,
                                 .negatives = merge->window.negatives.n});
    }
}

/* Gives rows out and forgets them: all but RRsets, or these. A window whose bounds are reached goes on after this: a flood costs bytes, never sight. */
static void give_part(struct pk_merge *merge, bool is_last)
{
    struct window *window = &merge->window;
    struct pk_batch_info info = info_of(merge, is_last);
    settle_all(merge);
    pk_merge_tell(merge);
    merge->given.activity += window->activity.n;
    merge->given.negatives += window->negatives.n;
    merge->given.counts += window->counts.n;
    if (merge->sink.rows) {
        window_give(window, &info, &merge->sink);
        give_aliases(merge, &info);
    }
    window_clear(window);
    merge->part++;
}

static void give_rrsets(struct pk_merge *merge, bool is_last)
{
    struct pk_batch_info info = info_of(merge, is_last);
    if (merge->before_rrsets) {
        merge->before_rrsets(merge->before_arg);
    }
    pk_merge_tell(merge);
    merge->given.rrsets += merge->rrsets.contents.n;
    if (merge->sink.rows) {
        rrsets_give(&merge->rrsets, &info, &merge->sink);
    }
    rrsets_clear(&merge->rrsets);
    merge->rrset_part++;
}

static void end_window(struct pk_merge *merge)
{
    struct pk_batch_info info = info_of(merge, true);
    give_part(merge, true);
    give_rrsets(merge, true);
    pk_merge_tell(merge);
    if (merge->sink.window_end) {
        merge->sink.window_end(merge->sink.arg, &info);
    }
    merge->is_open = false;
}

void pk_merge_tick(struct pk_merge *merge, int64_t now_us, bool force)
{
    if (merge->is_open && !force &&
        (uint64_t)(now_us - merge->window_start_us) < merge->window_us) {
        return; /* within it, as for each packet but few */
    }
    int64_t window_us = (int64_t)merge->window_us;
    bool is_over = now_us >= merge->window_start_us + window_us;
    bool is_stepped_back =
        now_us < merge->window_start_us - window_us; /* a clock step, or the next file is older */
    if (merge->is_open && (is_over || is_stepped_back || force)) {
        end_window(merge);
    }
    if (!merge->is_open && !force) {
        open_window(merge, now_us);
    }
}

void pk_merge_before_rrsets(struct pk_merge *merge, void (*before)(void *arg), void *arg)
{
    merge->before_rrsets = before;
    merge->before_arg = arg;
}

void pk_merge_change(struct pk_merge *merge, const struct pk_merge_options *options)
{
    pk_merge_tick(merge, 0, true);
    set_options(merge, options);
}

uint32_t pk_merge_enter(struct pk_merge *merge, int64_t ts_us)
{
    pk_merge_tick(merge, ts_us, false);
    return merge->rrset_part;
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

/* All but the server. */
static struct pk_signature_row signature_of(
    struct pk_merge *merge, const struct pk_transaction *transaction, enum pk_answer_kind kind)
{
    const struct pk_query *query = &transaction->query;
    const struct pk_dnsmsg *msg = transaction->response ? &transaction->response->dns : NULL;
    return (struct pk_signature_row){
        .server_port = query->server_port,
        .transport = query->transport,
        .vantage = vantage_of(merge, transaction),
        .opcode = query->opcode,
        .answer = (uint8_t)kind,
        .qtype = query->question.type,
        .qclass = query->question.class,
        .rcode = msg                          ? msg->rcode
                 : kind == PK_ANSWER_TRANSFER ? PK_RCODE_NOERROR
                                              : PK_RCODE_NO_RESPONSE,
        .flags = (uint16_t)(query->flags | (msg && msg->aa ? PK_SIG_AA : 0) |
                            (msg && msg->tc ? PK_SIG_TC : 0) | (msg && msg->ra ? PK_SIG_RA : 0)),
        .edns_udp_size =
            query->flags & PK_SIG_QUERY_EDNS ? edns_class(query->edns_udp_size) : (uint16_t)0,
    };
}

/* --- when rows are scarce --- */

/* Whether this transaction already has its row. */
static bool has_row(struct pk_merge *merge, const struct pk_transaction *transaction,
    const struct pk_name *name, const struct pk_answer *answer)
{
    const struct window *window = &merge->window;
    const struct pk_query *query = &transaction->query;
    struct pk_signature_row signature = signature_of(merge, transaction, answer->kind);
    struct activity_key key = {0};
    uint32_t number = 0;
    if (!pk_dictionary_find(&window->names, name->wire, name->len, &key.name) ||
        !window_find_client(window, &query->client, &key.client) ||
        (query->subnet.addr.family != 0 &&
            !window_find_client_for(window, &query->subnet, &key.client)) ||
        !servers_find(&window->servers, &query->server, &signature.server)) {
        return false;
    }
    key.signature = table_find(&window->signatures, &signature, sizeof signature,
        table_hash(&signature, sizeof signature));
    if (answer->digest != 0) {
        number = table_find(&window->answers, &answer->digest, sizeof answer->digest,
            table_hash(&answer->digest, sizeof answer->digest));
        key.answer = number + 1;
    }
    if (key.signature == TABLE_NONE || number == TABLE_NONE) {
        return false;
    }
    return table_find(&window->activity, &key, sizeof key, table_hash(&key, sizeof key)) !=
           TABLE_NONE;
}

/* Rows for clients that are only counted are scarce too: above their number new ones are counted without a client. */
static pk_err count_client(struct pk_merge *merge, const struct pk_transaction *transaction,
    const struct pk_name *zone, enum pk_client_reason reason, uint32_t *out_row)
{
    static const struct pk_addr nobody = {0};
    struct window *window = &merge->window;
    struct count_key key = {.reason = reason};
    const struct pk_addr *client = &transaction->query.client;
    uint32_t number;
    bool is_scarce = merge->given.counts + window->counts.n >= merge->limit / 4;
    if (is_scarce && !window_find_client(window, client, &number)) {
        client = &nobody;
    }
    pk_err err = pk_dictionary_intern(&window->names, zone->wire, zone->len, &key.zone);
    if (err == PK_OK) {
        err = window_client(window, &merge->rules, client, &key.client);
    }
    if (err == PK_OK && is_scarce &&
        table_find(&window->counts, &key, sizeof key, table_hash(&key, sizeof key)) == TABLE_NONE) {
        err = window_client(window, &merge->rules, &nobody, &key.client);
    }
    return err == PK_OK
               ? table_put(&window->counts, &key, sizeof key, table_hash(&key, sizeof key), out_row)
               : err;
}

static pk_err merge_count(struct pk_merge *merge, const struct pk_transaction *transaction,
    const struct pk_name *name, const struct pk_name *zone, enum pk_client_reason reason,
    bool has_data)
{
    struct window *window = &merge->window;
    const struct pk_query *query = &transaction->query;
    uint32_t row, n = window->counts.n;
    pk_err err = count_client(merge, transaction, zone, reason, &row);
    if (err != PK_OK) {
        return err;
    }
    struct pk_count_row *value = table_at(&window->counts, row);
    if (row == n) {
        *value = (struct pk_count_row){.client = value->client,
            .zone = value->zone,
            .reason = value->reason,
            .first_us = query->ts_us,
            .last_us = query->ts_us};
    }
    value->count++;
    value->negative += !has_data;
    value->unanswered += transaction->outcome != PK_OUTCOME_ANSWERED;
    value->ptr += query->question.type == PK_TYPE_PTR;
    value->first_us = query->ts_us < value->first_us ? query->ts_us : value->first_us;
    value->last_us = query->ts_us > value->last_us ? query->ts_us : value->last_us;
    pk_sketch_add(&value->names, pk_sketch_hash(merge->rules.sketch_key, name->wire, name->len));
    return PK_OK;
}

/* "*." and the last labels of the name: a name that nobody asks for stands for all that were. */
static void fold(struct pk_name *name, unsigned n_labels)
{
    PK_UNSET struct pk_name tail;
    if (name->n_labels <= n_labels) {
        return;
    }
    pk_name_strip(name, name->n_labels - n_labels, &tail);
    name->wire[0] = 1;
    name->wire[1] = '*';
    memcpy(name->wire + 2, tail.wire, tail.len);
    name->len = (uint8_t)(tail.len + 2);
    name->n_labels = (uint8_t)(n_labels + 1);
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

static void new_activity(struct pk_activity_row *value, const struct addition *addition)
{
    *value = (struct pk_activity_row){
        .name = addition->key.name,
        .client = addition->key.client,
        .signature = addition->key.signature,
        .answer = addition->key.answer,
        .first_us = addition->ts_us,
        .count = 1,
        .latency_min_us = addition->latency_us,
        .latency_max_us = addition->latency_us,
        .response_bytes_max = addition->response_bytes,
        .min_ttl_s = addition->min_ttl_s,
        .retransmissions = addition->retransmissions,
        .transfer_records = addition->transfer_records,
        .transfer_soas = addition->transfer_soas,
        .case_mixed = addition->is_case_mixed,
    };
}

static void add_activity(struct pk_activity_row *value, const struct addition *addition)
{
    {
        int64_t last_us = value->first_us + value->span_us;
        last_us = addition->ts_us > last_us ? addition->ts_us : last_us;
        value->first_us = addition->ts_us < value->first_us ? addition->ts_us : value->first_us;
        value->span_us = clamp32(last_us - value->first_us);
        value->count++;
        value->latency_min_us = min32(value->latency_min_us, addition->latency_us);
        value->latency_max_us = max32(value->latency_max_us, addition->latency_us);
        value->min_ttl_s = min32(value->min_ttl_s, addition->min_ttl_s);
    }
    value->response_bytes_max = max32(value->response_bytes_max, addition->response_bytes);
    value->retransmissions += addition->retransmissions;
    value->transfer_records += addition->transfer_records;
    value->transfer_soas =
        (uint16_t)min32((uint32_t)value->transfer_soas + addition->transfer_soas, UINT16_MAX);
    value->case_mixed =
        (uint8_t)(value->case_mixed + (addition->is_case_mixed && value->case_mixed < UINT8_MAX));
}

/* Finds the row of an addition, or makes it. PK_ERR_LIMIT: there is no room for a new one. */
static pk_err put_addition(struct window *window, const struct addition *addition)
{
    uint32_t row, n = window->activity.n;
    pk_err err =
        table_put(&window->activity, &addition->key, sizeof addition->key, addition->hash, &row);
    if (err == PK_OK && row == n) {
        new_activity(table_at(&window->activity, row), addition);
    } else if (err == PK_OK) {
        add_activity(table_at(&window->activity, row), addition);
    }
    return err;
}

/* The one that waits longest. There is room for its row. */
static void settle_one(struct pk_merge *merge)
{
    pk_err err = put_addition(&merge->window, &merge->waiting[merge->first_waiting]);
    merge->first_waiting = (merge->first_waiting + 1) % MAX_WAITING;
    merge->n_waiting--;
    merge->stats->in_scope -= err != PK_OK;
    merge->stats->merge_shed += err != PK_OK;
}

static void settle_all(struct pk_merge *merge)
{
    while (merge->n_waiting > 0) {
        settle_one(merge);
    }
}

/* Most rows are new, and where a row's place in the index is depends on all that is in its key: so it waits until memory has answered. Only while the table has room for
 * all that wait: who is last to fit, or the first who does not, is settled at once. */
static pk_err merge_addition(struct pk_merge *merge, struct addition *addition)
{
    struct window *window = &merge->window;
    addition->hash = table_hash(&addition->key, sizeof addition->key);
    table_prefetch(&window->activity, addition->hash);
    if (window->activity.n + merge->n_waiting >= PK_MERGE_MAX_ROWS) {
        settle_all(merge);
        pk_err err = put_addition(window, addition);
        merge->stats->in_scope += err == PK_OK;
        return err;
    }
    if (merge->n_waiting == MAX_WAITING) {
        settle_one(merge);
    }
    merge->waiting[(merge->first_waiting + merge->n_waiting++) % MAX_WAITING] = *addition;
    merge->stats->in_scope++;
    return PK_OK;
}

static pk_err intern_signature(struct pk_merge *merge, const struct pk_transaction *transaction,
    enum pk_answer_kind kind, uint32_t *out_signature)
{
    struct window *window = &merge->window;
    struct pk_signature_row signature = signature_of(merge, transaction, kind);
    pk_err err = servers_number(&window->servers, &transaction->query.server, &signature.server);
    return err == PK_OK ? table_put(&window->signatures, &signature, sizeof signature,
                              table_hash(&signature, sizeof signature), out_signature)
                        : err;
}

/* Of the question's name in lower case; reckoned already when it is the response's. */
static uint64_t name_hash(const struct pk_transaction *transaction, const struct pk_name *name)
{
    bool is_told = transaction->response && name == &transaction->response->lower;
    return is_told ? transaction->response->name_hash : pk_hash_quick(name->wire, name->len);
}

/* The same answer to the same question within a part: what it was the last time. */
static pk_err name_and_answer(struct pk_merge *merge, const struct pk_transaction *transaction,
    const struct pk_name *name, const struct pk_answer *answer, struct activity_key *key)
{
    struct window *window = &merge->window;
    struct pk_answer_memo *memo = answer->memo;
    if (memo && memo->part == merge->part) {
        key->name = memo->name;
        key->answer = memo->answer;
        return PK_OK;
    }
    pk_err err = pk_dictionary_intern_hashed(
        &window->names, name->wire, name->len, name_hash(transaction, name), &key->name);
    if (err == PK_OK && answer->digest != 0) {
        err = table_put(&window->answers, &answer->digest, sizeof answer->digest,
            table_hash(&answer->digest, sizeof answer->digest), &key->answer);
        key->answer++;
    }
    if (memo && err == PK_OK) {
        *memo = (struct pk_answer_memo){merge->part, key->name, key->answer};
    }
    return err;
}

static pk_err merge_activity(struct pk_merge *merge, const struct pk_transaction *transaction,
    const struct pk_name *name, const struct pk_answer *answer)
{
    struct window *window = &merge->window;
    const struct pk_query *query = &transaction->query;
    struct addition addition = {
        .ts_us = query->ts_us,
        .latency_us =
            transaction->response_ts_us ? clamp32(transaction->response_ts_us - query->ts_us) : 0,
        .response_bytes = transaction->response_bytes,
        .min_ttl_s = answer->min_ttl_s,
        .retransmissions = query->retransmissions,
        .transfer_records = transaction->transfer_records,
        .transfer_soas = transaction->transfer_soas,
        .is_case_mixed = query->is_case_mixed,
    };
    uint32_t n_addresses = window->addresses.n;
    pk_err err = name_and_answer(merge, transaction, name, answer, &addition.key);
    if (err == PK_OK) {
        err = window_client(window, &merge->rules, &query->client, &addition.key.client);
    }
    if (err == PK_OK && window->addresses.n != n_addresses) {
        pk_share_note(merge->share, &query->client, merge->given.activity + window->activity.n);
    }
    if (err == PK_OK && query->subnet.addr.family != 0 &&
        !window_client_for(window, &merge->rules, &query->subnet, &addition.key.client)) {
        merge->stats->subnets_shed++;
    }
    if (err == PK_OK) {
        err = intern_signature(merge, transaction, answer->kind, &addition.key.signature);
    }
    return err == PK_OK ? merge_addition(merge, &addition) : err;
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
    PK_UNSET struct pk_name folded;
    uint64_t n_rows = merge->given.negatives + window->negatives.n;
    uint32_t row, n = window->negatives.n;
    bool is_folded = n_rows >= merge->limit &&
                     !(pk_dictionary_find(&window->names, name->wire, name->len, &key.name) &&
                         table_find(&window->negatives, &key, sizeof key,
                             table_hash(&key, sizeof key)) != TABLE_NONE);
    if (is_folded) {
        folded = *name;
        fold(&folded, n_rows >= merge->limit + merge->limit / 4 ? 0 : 2);
        name = &folded;
    }
    pk_err err = pk_dictionary_intern(&window->names, name->wire, name->len, &key.name);
    if (err == PK_OK) {
        err = table_put(&window->negatives, &key, sizeof key, table_hash(&key, sizeof key), &row);
    }
    if (err != PK_OK) {
        return err;
    }
    merge->stats->negative++;
    merge->stats->folded += is_folded;
    struct pk_negative_row *value = table_at(&window->negatives, row);
    if (row == n) {
        value->count = 0;
        value->first_us = value->last_us = query->ts_us;
    }
    value->count++;
    value->first_us = query->ts_us < value->first_us ? query->ts_us : value->first_us;
    value->last_us = query->ts_us > value->last_us ? query->ts_us : value->last_us;
    return PK_OK;
}

/* A reverse name tells whom somebody looked up. Of foreign networks, and those are all that are out of scope, it is cut to the /24 or /48. */
static void cut_reverse(struct pk_name *name)
{
    static const struct {
        uint8_t len, wire[14];
        uint8_t n_labels; /* kept */
    } zones[] = {{14, "\7in-addr\4arpa", 5}, {10, "\3ip6\4arpa", 14}};
    for (size_t i = 0; i < sizeof zones / sizeof *zones; i++) {
        if (name->n_labels > zones[i].n_labels && name->len > zones[i].len &&
            memcmp(name->wire + name->len - zones[i].len, zones[i].wire, zones[i].len) == 0) {
            struct pk_name whole = *name;
            pk_name_strip(&whole, whole.n_labels - (unsigned)zones[i].n_labels, name);
        }
    }
}

void pk_merge_ahead(const struct pk_merge *merge, const struct pk_message *message)
{
    if (message->name_hash != 0) {
        pk_dictionary_prefetch(&merge->window.names, message->name_hash);
    }
    if (message->dns.is_response) {
        window_client_ahead(&merge->window, &message->dst);
    }
}

/* Two tries: a table that is full is given out and is empty then. */
static pk_err merge_in_scope(struct pk_merge *merge, const struct pk_transaction *transaction,
    const struct pk_name *name, const struct pk_answer *answer, bool has_data)
{
    if (merge->given.activity + merge->window.activity.n + merge->n_waiting >= merge->watch_from) {
        settle_all(merge); /* from here on it matters how many there are */
    }
    uint64_t n_rows = merge->given.activity + merge->window.activity.n;
    bool is_scarce = n_rows >= merge->watch_from && !has_row(merge, transaction, name, answer);
    if (!is_scarce || pk_share_allows(merge->share, &transaction->query.client, n_rows)) {
        pk_err err = merge_activity(merge, transaction, name, answer);
        if (err == PK_ERR_LIMIT) {
            give_part(merge, false);
            err = merge_activity(merge, transaction, name, answer);
        }
        return err;
    }
    struct pk_name zone = {.len = 1};
    if (merge->options.tenant) {
        (void)pk_scope_match(merge->options.tenant, name, transaction->query.question.type,
            transaction->query.question.class, &zone);
    }
    pk_err err = merge_count(merge, transaction, name, &zone, PK_CLIENT_OVERFLOW, has_data);
    if (err == PK_ERR_LIMIT) {
        give_part(merge, false);
        err = merge_count(merge, transaction, name, &zone, PK_CLIENT_OVERFLOW, has_data);
    }
    merge->stats->overflow += err == PK_OK;
    return err;
}

static pk_err merge_out_of_scope(struct pk_merge *merge, const struct pk_transaction *transaction,
    const struct pk_name *name, bool has_data)
{
    static const struct pk_name root = {.len = 1};
    pk_err err = merge_count(merge, transaction, name, &root, PK_CLIENT_OUT_OF_SCOPE, has_data);
    if (err == PK_ERR_LIMIT) {
        give_part(merge, false);
        err = merge_count(merge, transaction, name, &root, PK_CLIENT_OUT_OF_SCOPE, has_data);
    }
    if (has_data || err != PK_OK) {
        merge->stats->positive += err == PK_OK;
        return err;
    }
    PK_UNSET struct pk_name cut;
    pk_name_copy(&cut, name);
    cut_reverse(&cut);
    err = merge_negative(merge, transaction, &cut);
    if (err == PK_ERR_LIMIT) {
        give_part(merge, false);
        err = merge_negative(merge, transaction, &cut);
    }
    return err;
}

void pk_merge_transaction(struct pk_merge *merge, const struct pk_transaction *transaction,
    const struct pk_answer *answer)
{
    if (pk_outcome_is_stray(transaction->outcome)) {
        return; /* counted; evidence rows come with the forgery detectors */
    }
    PK_UNSET struct pk_name room;
    const struct pk_name *name = pk_transaction_name(transaction, &room);
    /* The moment it ended: that is monotone, the time of the query is not. */
    (void)pk_merge_enter(merge, transaction->ended_us);
    bool is_in_scope = !merge->options.tenant ||
                       pk_scope_match(merge->options.tenant, name, transaction->query.question.type,
                           transaction->query.question.class, NULL) != PK_SCOPE_NOT;
    bool has_data = answer->kind == PK_ANSWER_DATA || answer->kind == PK_ANSWER_REFERRAL ||
                    answer->kind == PK_ANSWER_TRANSFER;
    pk_err err = is_in_scope ? merge_in_scope(merge, transaction, name, answer, has_data)
                             : merge_out_of_scope(merge, transaction, name, has_data);
    merge->stats->merge_shed += err != PK_OK;
}

/* --- RRsets --- */

/* Of a PTR the name says whom somebody looked up, and cut it would be a false record: those of foreign networks stay at the site. */
static bool is_withheld(const struct pk_merge *merge, const struct pk_rrset *rrset)
{
    static const uint8_t arpa[] = "\4arpa";
    PK_UNSET struct pk_name owner;
    if (!merge->options.tenant || rrset->owner.len < sizeof arpa ||
        memcmp(rrset->owner.data + rrset->owner.len - sizeof arpa, arpa, sizeof arpa) != 0 ||
        pk_name_from_wire(rrset->owner.data, rrset->owner.len, &owner) != PK_OK ||
        pk_scope_match(merge->options.tenant, &owner, rrset->type, rrset->class, NULL) !=
            PK_SCOPE_NOT) {
        return false;
    }
    uint8_t len = owner.len;
    cut_reverse(&owner);
    return owner.len != len;
}

uint32_t pk_merge_rrset(struct pk_merge *merge, const struct pk_rrset *rrset)
{
    struct rrsets *rrsets = &merge->rrsets;
    uint32_t row = PK_MERGE_NO_ROW, server = 0, n = 0;
    if (!merge->is_open) { /* else it belongs to the window its transaction ends in */
        open_window(merge, rrset->last_us);
    }
    if (is_withheld(merge, rrset)) {
        merge->stats->rrsets_withheld++;
        return PK_MERGE_NO_ROW;
    }
    bool is_scarce = merge->given.rrsets + rrsets->contents.n >= merge->limit;
    pk_err err = rrset->n_rdata > PK_ROWS_MAX_SET ? PK_ERR_UNSUPPORTED : PK_ERR_LIMIT;
    for (unsigned attempt = 0; attempt < 2 && err == PK_ERR_LIMIT; attempt++) {
        if (attempt > 0) {
            give_rrsets(merge, false);
        }
        n = rrsets->contents.n;
        err = servers_number(&rrsets->servers, &rrset->server, &server);
        err = err == PK_OK ? rrsets_row(rrsets, rrset, is_scarce, &row) : err;
    }
    if (err != PK_OK) {
        merge->stats->rrsets_shed++;
        return PK_MERGE_NO_ROW;
    }
    struct pk_rrset_row *value = &rrsets->rows[row];
    if (row == n) {
        value->server = server;
        value->first_us = rrset->first_us;
        value->last_us = rrset->last_us;
        value->count = 0;
        value->ttl_min_s = rrset->ttl_min_s;
        value->ttl_max_s = rrset->ttl_max_s;
        value->flags = 0;
    }
    value->flags |= rrset->flags;
    value->count += rrset->count;
    value->first_us = rrset->first_us < value->first_us ? rrset->first_us : value->first_us;
    value->last_us = rrset->last_us > value->last_us ? rrset->last_us : value->last_us;
    value->ttl_min_s = min32(value->ttl_min_s, rrset->ttl_min_s);
    value->ttl_max_s = max32(value->ttl_max_s, rrset->ttl_max_s);
    return row;
}

void pk_merge_repeat(struct pk_merge *merge, const struct pk_history_repeat *repeat)
{
    struct pk_rrset_row *value = &merge->rrsets.rows[repeat->row];
    value->count += repeat->count;
    value->first_us = repeat->first_us < value->first_us ? repeat->first_us : value->first_us;
    value->last_us = repeat->last_us > value->last_us ? repeat->last_us : value->last_us;
    value->ttl_min_s = min32(value->ttl_min_s, repeat->ttl_min_s);
    value->ttl_max_s = max32(value->ttl_max_s, repeat->ttl_max_s);
}

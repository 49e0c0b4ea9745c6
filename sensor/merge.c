/* Three tables of one shape: rows in an array, a keyed index over them, their names and RDATA in one arena that is forgotten with the window.
 *
 * Rows are keyed by bytes: what identifies a row is written into a key, the key is interned in the arena, the index compares keys. */
#include "merge.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "picket/hash.h"
#include "picket/map.h"

#include "pairing.h"

enum {
    MAX_KEY = 1024,
    MAX_SET = 512
};

struct row {
    uint32_t key_start, key_len; /* in the arena */
    uint32_t index;              /* of the kind's own data */
};

struct table {
    const struct pk_merge *merge; /* for the arena, when comparing */
    struct row *rows;
    uint32_t n;
    struct pk_map map;
};

struct server {
    struct pk_addr addr;
    uint8_t vantage;
};

struct pk_merge {
    struct pk_merge_options options;
    struct pk_stats *stats;
    struct pk_merge_sink sink;
    struct pk_history *digester; /* for answer digests only */
    int64_t window_start_us;
    bool is_open;
    struct pk_bytes arena;
    struct table activity, rrsets, negatives;
    struct pk_activity *activity_rows;
    struct pk_rrset *rrset_rows;
    struct pk_negative *negative_rows;
    struct server *servers;
    struct pk_map server_map;
    uint32_t n_servers;
    struct pk_slice set[MAX_SET];
};

struct wanted {
    const uint8_t *key;
    size_t len;
};

static bool is_row(const void *entries, uint32_t entry, const void *key)
{
    const struct table *table = entries;
    const struct row *row = &table->rows[entry];
    const struct wanted *wanted = key;
    return row->key_len == wanted->len &&
           memcmp(table->merge->arena.data + row->key_start, wanted->key, wanted->len) == 0;
}

static bool is_server(const void *entries, uint32_t entry, const void *key)
{
    return pk_addr_equal(&((const struct server *)entries)[entry].addr, key);
}

static pk_err table_init(struct table *table, const struct pk_merge *merge)
{
    table->merge = merge;
    table->rows = malloc(PK_MERGE_MAX_ROWS * sizeof *table->rows);
    return table->rows ? pk_map_init(&table->map, PK_MERGE_MAX_ROWS, is_row) : PK_ERR_NOMEM;
}

static void table_done(struct table *table)
{
    free(table->rows);
    if (table->map.slots) {
        pk_map_done(&table->map);
    }
}

static void ignore_rrset(void *arg, const struct pk_rrset *rrset)
{
    (void)arg;
    (void)rrset;
}

pk_err pk_merge_new(const struct pk_merge_options *options, struct pk_stats *stats,
    const struct pk_merge_sink *sink, struct pk_merge **out_merge)
{
    struct pk_merge *merge = calloc(1, sizeof *merge);
    if (!merge) {
        return PK_ERR_NOMEM;
    }
    merge->options = *options;
    merge->stats = stats;
    merge->sink = *sink;
    pk_bytes_init(&merge->arena, PK_MERGE_MAX_BYTES);
    merge->activity_rows = malloc(PK_MERGE_MAX_ROWS * sizeof *merge->activity_rows);
    merge->rrset_rows = malloc(PK_MERGE_MAX_ROWS * sizeof *merge->rrset_rows);
    merge->negative_rows = malloc(PK_MERGE_MAX_ROWS * sizeof *merge->negative_rows);
    merge->servers = malloc(PK_MERGE_MAX_SERVERS * sizeof *merge->servers);
    bool is_good = merge->activity_rows && merge->rrset_rows && merge->negative_rows &&
                   merge->servers && table_init(&merge->activity, merge) == PK_OK &&
                   table_init(&merge->rrsets, merge) == PK_OK &&
                   table_init(&merge->negatives, merge) == PK_OK &&
                   pk_map_init(&merge->server_map, PK_MERGE_MAX_SERVERS, is_server) == PK_OK &&
                   pk_history_new(stats, ignore_rrset, NULL, &merge->digester) == PK_OK;
    if (!is_good) {
        pk_merge_free(merge);
        return PK_ERR_NOMEM;
    }
    *out_merge = merge;
    return PK_OK;
}

void pk_merge_free(struct pk_merge *merge)
{
    if (!merge) {
        return;
    }
    table_done(&merge->activity);
    table_done(&merge->rrsets);
    table_done(&merge->negatives);
    if (merge->server_map.slots) {
        pk_map_done(&merge->server_map);
    }
    pk_history_free(merge->digester);
    pk_bytes_done(&merge->arena);
    free(merge->activity_rows);
    free(merge->rrset_rows);
    free(merge->negative_rows);
    free(merge->servers);
    free(merge);
}

/* --- rows --- */

/* The arena may move while the window is open: slices into it are kept as offsets and made good when rows are given out. */
static struct pk_slice offset_slice(uint32_t start, uint32_t len)
{
    return (struct pk_slice){.data = (const uint8_t *)(uintptr_t)(start + 1), .len = len};
}

static struct pk_slice resolve(const struct pk_merge *merge, struct pk_slice slice)
{
    return (struct pk_slice){
        .data = merge->arena.data + ((uintptr_t)slice.data - 1), .len = slice.len};
}

/* --- the window --- */

static void open_window(struct pk_merge *merge, int64_t now_us)
{
    int64_t window_us = (int64_t)merge->options.window_ms * 1000;
    merge->window_start_us = now_us - (now_us % window_us + window_us) % window_us;
    merge->is_open = true;
}

static void give_rrset(struct pk_merge *merge, uint32_t i)
{
    struct pk_rrset row = merge->rrset_rows[i];
    row.owner = resolve(merge, row.owner);
    row.bailiwick = resolve(merge, row.bailiwick);
    /* The key ends with the RDATA, each with its length before it. */
    const struct row *entry = &merge->rrsets.rows[i];
    const uint8_t *p =
        merge->arena.data + entry->key_start + entry->key_len - (uint32_t)(uintptr_t)row.rdata;
    for (uint32_t k = 0; k < row.n_rdata; k++) {
        uint32_t len = (uint32_t)p[0] << 8 | p[1];
        merge->set[k] = (struct pk_slice){.data = p + 2, .len = len};
        p += 2 + len;
    }
    row.rdata = merge->set;
    merge->sink.rrset(merge->sink.arg, &row);
}

static void close_window(struct pk_merge *merge)
{
    struct pk_batch_info info = {
        .window_start_us = merge->window_start_us,
        .window_ms = merge->options.window_ms,
        .privacy = !merge->options.tenant      ? PK_PRIVACY_CLEAR
                   : merge->options.client_key ? PK_PRIVACY_PSEUDONYMS
                                               : PK_PRIVACY_NO_CLIENTS,
    };
    merge->sink.window(merge->sink.arg, &info);
    for (uint32_t i = 0; i < merge->activity.n; i++) {
        struct pk_activity row = merge->activity_rows[i];
        row.name = resolve(merge, row.name);
        merge->sink.activity(merge->sink.arg, &row);
    }
    for (uint32_t i = 0; i < merge->rrsets.n; i++) {
        give_rrset(merge, i);
    }
    for (uint32_t i = 0; i < merge->negatives.n; i++) {
        struct pk_negative row = merge->negative_rows[i];
        row.name = resolve(merge, row.name);
        merge->sink.negative(merge->sink.arg, &row);
    }
    merge->sink.window_end(merge->sink.arg);
    struct table *tables[] = {&merge->activity, &merge->rrsets, &merge->negatives};
    for (size_t i = 0; i < 3; i++) {
        if (tables[i]->n > 0) {
            pk_map_clear(&tables[i]->map);
            tables[i]->n = 0;
        }
    }
    pk_bytes_clear(&merge->arena);
    merge->is_open = false;
}

void pk_merge_tick(struct pk_merge *merge, int64_t now_us, bool force)
{
    if (!merge->is_open) {
        return;
    }
    int64_t window_us = (int64_t)merge->options.window_ms * 1000;
    bool is_over = now_us >= merge->window_start_us + window_us;
    bool is_stepped_back =
        now_us < merge->window_start_us - window_us; /* a clock step, or the next file is older */
    if (is_over || is_stepped_back || force) {
        close_window(merge);
    }
}

void pk_merge_change(struct pk_merge *merge, const struct pk_merge_options *options)
{
    pk_merge_tick(merge, 0, true);
    merge->options = *options;
}

static void enter_window(struct pk_merge *merge, int64_t ts_us)
{
    pk_merge_tick(merge, ts_us, false);
    if (!merge->is_open) {
        open_window(merge, ts_us);
    }
}

/* The row with this key: an old one, or a new one with *out_is_new. When the bounds of a window are
 * reached its rows are given out early, as a part of it: a flood costs bytes, never sight. NULL when memory is. */
static struct row *row_for(
    struct pk_merge *merge, struct table *table, const uint8_t *key, size_t len, bool *out_is_new)
{
    struct wanted wanted = {.key = key, .len = len};
    uint64_t hash = pk_hash_quick(key, len);
    uint32_t found = pk_map_find(&table->map, hash, table, &wanted);
    *out_is_new = found == PK_MAP_NONE;
    if (found != PK_MAP_NONE) {
        return &table->rows[found];
    }
    if (table->n == PK_MERGE_MAX_ROWS || len > merge->arena.max_bytes - merge->arena.len) {
        close_window(merge);
        merge->is_open = true; /* the same window goes on */
    }
    uint32_t start = (uint32_t)merge->arena.len;
    pk_bytes_put(&merge->arena, key, len);
    if (merge->arena.err != PK_OK) {
        merge->arena.err = PK_OK;
        return NULL;
    }
    struct row *row = &table->rows[table->n];
    *row = (struct row){.key_start = start, .key_len = (uint32_t)len, .index = table->n};
    (void)pk_map_add(&table->map, hash, table->n++); /* as many places as rows */
    return row;
}

/* --- who and where --- */

/* Which side of DNS this server is: what the operator says, what the site says, or what its answers show. */
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
    const struct pk_addr *addr = &transaction->query.server;
    uint64_t hash = pk_addr_hash(addr);
    uint32_t found = pk_map_find(&merge->server_map, hash, merge->servers, addr);
    if (transaction->response) {
        const struct pk_dnsmsg *msg = &transaction->response->dns;
        uint8_t shown = msg->ra   ? PK_VANTAGE_RESOLVER
                        : msg->aa ? PK_VANTAGE_AUTHORITATIVE
                                  : PK_VANTAGE_UNKNOWN;
        if (shown != PK_VANTAGE_UNKNOWN && found == PK_MAP_NONE &&
            merge->n_servers < PK_MERGE_MAX_SERVERS) {
            found = merge->n_servers++;
            merge->servers[found] = (struct server){.addr = *addr};
            (void)pk_map_add(&merge->server_map, hash, found);
        }
        if (shown != PK_VANTAGE_UNKNOWN && found != PK_MAP_NONE) {
            merge->servers[found].vantage = shown;
        }
    }
    return found == PK_MAP_NONE ? PK_VANTAGE_UNKNOWN : merge->servers[found].vantage;
}

static bool is_private(const struct pk_addr *addr)
{
    const uint8_t *b = addr->bytes;
    if (addr->family == 4) {
        return b[0] == 10 || (b[0] == 172 && (b[1] & 0xf0) == 16) || (b[0] == 192 && b[1] == 168) ||
               (b[0] == 100 && (b[1] & 0xc0) == 64) || (b[0] == 169 && b[1] == 254) || b[0] == 127;
    }
    return (b[0] & 0xfe) == 0xfc || (b[0] == 0xfe && (b[1] & 0xc0) == 0x80);
}

static struct pk_client client_of(const struct pk_merge *merge, const struct pk_addr *addr)
{
    struct pk_client client = {.kind = PK_CLIENT_OUTSIDE, .addr = *addr};
    const struct pk_scope_site *site = merge->options.site;
    if (addr->family == 0) { /* a server's log need not say who asked */
        return (struct pk_client){.kind = PK_CLIENT_NONE};
    }
    if (!merge->options.tenant) {
        client.kind = is_private(addr) ? PK_CLIENT_INSIDE : PK_CLIENT_OUTSIDE;
        return client;
    }
    for (size_t i = 0; i < site->n_clients; i++) {
        if (!pk_prefix_contains(&site->clients[i], addr)) {
            continue;
        }
        memset(&client, 0, sizeof client);
        if (merge->options.client_key) {
            uint8_t salt[crypto_generichash_blake2b_SALTBYTES] = {0};
            static const uint8_t personal[crypto_generichash_blake2b_PERSONALBYTES] = "pk-client";
            uint8_t raw[16];
            (void)crypto_generichash_blake2b_salt_personal(raw, sizeof raw, (const uint8_t *)addr,
                sizeof *addr, merge->options.client_key, 32, salt, personal);
            client.kind = PK_CLIENT_PSEUDONYM;
            memcpy(client.pseudonym, raw, sizeof client.pseudonym);
            client.prefix = site->clients[i];
        }
        return client;
    }
    return client;
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
    memset(out, 0, sizeof *out);
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

static void merge_activity(struct pk_merge *merge, const struct pk_transaction *transaction,
    const struct pk_name *name, enum pk_answer_kind kind)
{
    const struct pk_query *query = &transaction->query;
    struct pk_activity fresh = {
        .client = client_of(merge, &query->client), .first_us = query->ts_us, .count = 1};
    fill_signature(merge, transaction, kind, &fresh.signature);
    if (transaction->response && kind == PK_ANSWER_DATA) {
        fresh.answer_digest =
            pk_history_answer_digest(merge->digester, transaction->response, &fresh.min_ttl_s);
    }
    uint8_t key[MAX_KEY];
    size_t len = 0;
    memcpy(key + len, name->wire, name->len); /* first: the row's name is a slice of its key */
    len += name->len;
    memcpy(key + len, &fresh.client.addr, sizeof fresh.client.addr);
    len += sizeof fresh.client.addr;
    memcpy(key + len, fresh.client.pseudonym, sizeof fresh.client.pseudonym);
    len += sizeof fresh.client.pseudonym;
    memcpy(key + len, &fresh.signature, sizeof fresh.signature);
    len += sizeof fresh.signature;
    memcpy(key + len, &fresh.answer_digest, sizeof fresh.answer_digest);
    len += sizeof fresh.answer_digest;
    bool is_new;
    struct row *row = row_for(merge, &merge->activity, key, len, &is_new);
    if (!row) {
        merge->stats->merge_shed++;
        return;
    }
    merge->stats->in_scope++;
    uint32_t latency_us =
        transaction->response_ts_us ? clamp32(transaction->response_ts_us - query->ts_us) : 0;
    struct pk_activity *kept = &merge->activity_rows[row->index];
    if (is_new) {
        *kept = fresh;
        kept->name = offset_slice(row->key_start, name->len);
        kept->latency_min_us = kept->latency_max_us = latency_us;
    } else {
        int64_t last_us = kept->first_us + kept->span_us;
        last_us = query->ts_us > last_us ? query->ts_us : last_us;
        kept->first_us = query->ts_us < kept->first_us ? query->ts_us : kept->first_us;
        kept->span_us = clamp32(last_us - kept->first_us);
        kept->count++;
        kept->latency_min_us =
            latency_us < kept->latency_min_us ? latency_us : kept->latency_min_us;
        kept->latency_max_us =
            latency_us > kept->latency_max_us ? latency_us : kept->latency_max_us;
        kept->min_ttl_s = fresh.min_ttl_s < kept->min_ttl_s ? fresh.min_ttl_s : kept->min_ttl_s;
    }
    kept->response_bytes_max = transaction->response_bytes > kept->response_bytes_max
                                   ? transaction->response_bytes
                                   : kept->response_bytes_max;
    kept->retransmissions += query->retransmissions;
    kept->transfer_records += transaction->transfer_records;
    kept->transfer_soas = (uint16_t)(kept->transfer_soas + transaction->transfer_soas > UINT16_MAX
                                         ? UINT16_MAX
                                         : kept->transfer_soas + transaction->transfer_soas);
    kept->case_mixed =
        (uint8_t)(kept->case_mixed + (query->is_case_mixed && kept->case_mixed < UINT8_MAX));
}

static void merge_negative(
    struct pk_merge *merge, const struct pk_transaction *transaction, const struct pk_name *name)
{
    const struct pk_query *query = &transaction->query;
    struct pk_negative fresh = {
        .type = query->question.type,
        .class = query->question.class,
        .rcode = transaction->response ? transaction->response->dns.rcode : PK_RCODE_NO_RESPONSE,
        .count = 1,
        .first_us = query->ts_us,
        .last_us = query->ts_us,
    };
    uint8_t key[MAX_KEY];
    size_t len = name->len;
    memcpy(key, name->wire, name->len);
    const uint16_t rest[] = {fresh.type, fresh.class, fresh.rcode};
    memcpy(key + len, rest, sizeof rest);
    bool is_new;
    struct row *row = row_for(merge, &merge->negatives, key, len + sizeof rest, &is_new);
    if (!row) {
        merge->stats->merge_shed++;
        return;
    }
    merge->stats->negative++;
    struct pk_negative *kept = &merge->negative_rows[row->index];
    if (is_new) {
        *kept = fresh;
        kept->name = offset_slice(row->key_start, name->len);
    } else {
        kept->count++;
        kept->first_us = fresh.first_us < kept->first_us ? fresh.first_us : kept->first_us;
        kept->last_us = fresh.last_us > kept->last_us ? fresh.last_us : kept->last_us;
    }
}

void pk_merge_transaction(struct pk_merge *merge, const struct pk_transaction *transaction)
{
    if (pk_outcome_is_stray(transaction->outcome)) {
        return; /* counted; evidence rows come with the forgery detectors */
    }
    struct pk_name name = {.len = 1, .n_labels = 0, .wire = {0}};
    if (transaction->query.has_question) {
        name = transaction->query.question.name;
        pk_name_lower(&name);
    }
    /* The moment it ended: that is monotone, the time of the query is not. */
    enter_window(merge, transaction->ended_us);
    enum pk_answer_kind kind = pk_history_answer_kind(transaction);
    bool is_in_scope =
        !merge->options.tenant ||
        pk_scope_match(merge->options.tenant, &name, transaction->query.question.type,
            transaction->query.question.class, NULL) != PK_SCOPE_NOT;
    if (is_in_scope) {
        merge_activity(merge, transaction, &name, kind);
    } else if (kind == PK_ANSWER_DATA || kind == PK_ANSWER_REFERRAL || kind == PK_ANSWER_TRANSFER) {
        merge->stats->positive++;
    } else {
        merge_negative(merge, transaction, &name);
    }
}

void pk_merge_rrset(struct pk_merge *merge, const struct pk_rrset *rrset)
{
    uint8_t stack[4096];
    size_t need = (size_t)rrset->owner.len + rrset->bailiwick.len + 8;
    size_t rdata_bytes = 0;
    for (uint32_t i = 0; i < rrset->n_rdata; i++) {
        rdata_bytes += 2 + (size_t)rrset->rdata[i].len;
    }
    uint8_t *key = need + rdata_bytes <= sizeof stack ? stack : malloc(need + rdata_bytes);
    if (!key || rrset->n_rdata > MAX_SET) {
        merge->stats->rrsets_shed++;
        if (key && key != stack) {
            free(key);
        }
        return;
    }
    size_t len = 0;
    memcpy(key, rrset->owner.data, rrset->owner.len);
    len += rrset->owner.len;
    memcpy(key + len, rrset->bailiwick.data, rrset->bailiwick.len);
    len += rrset->bailiwick.len;
    const uint16_t head[] = {rrset->type, rrset->class, rrset->trust};
    memcpy(key + len, head, sizeof head);
    len += sizeof head;
    for (uint32_t i = 0; i < rrset->n_rdata; i++) {
        key[len++] = (uint8_t)(rrset->rdata[i].len >> 8);
        key[len++] = (uint8_t)rrset->rdata[i].len;
        memcpy(key + len, rrset->rdata[i].data, rrset->rdata[i].len);
        len += rrset->rdata[i].len;
    }
    enter_window(merge, rrset->last_us);
    bool is_new;
    struct row *row = row_for(merge, &merge->rrsets, key, len, &is_new);
    if (key != stack) {
        free(key);
    }
    if (!row) {
        merge->stats->rrsets_shed++;
        return;
    }
    struct pk_rrset *kept = &merge->rrset_rows[row->index];
    if (is_new) {
        *kept = *rrset;
        kept->owner = offset_slice(row->key_start, rrset->owner.len);
        kept->bailiwick = offset_slice(row->key_start + rrset->owner.len, rrset->bailiwick.len);
        kept->rdata = (const struct pk_slice *)(uintptr_t)
            rdata_bytes; /* from the end of the key; see give_rrset */
        return;
    }
    kept->count += rrset->count;
    kept->first_us = rrset->first_us < kept->first_us ? rrset->first_us : kept->first_us;
    kept->last_us = rrset->last_us > kept->last_us ? rrset->last_us : kept->last_us;
    kept->ttl_min_s = rrset->ttl_min_s < kept->ttl_min_s ? rrset->ttl_min_s : kept->ttl_min_s;
    kept->ttl_max_s = rrset->ttl_max_s > kept->ttl_max_s ? rrset->ttl_max_s : kept->ttl_max_s;
    kept->flags |= rrset->flags;
}

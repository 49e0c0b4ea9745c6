/* Open queries stand in a fixed table, linked in the order of their deadlines (the timeout is the same for all, so that is the order of arrival or of last
 * activity), apart for known clients and strangers (crowd.h). A response that came first waits in a small table of copies. */
#include "pairing/pairing.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "picket/hash.h"
#include "picket/map.h"

#include "pairing/closed.h"
#include "pairing/crowd.h"

enum {
    NONE = UINT32_MAX
};

/* The ends of a query, its id and transport, in whole words: what is stored in the sizes in which it is hashed and compared is at hand at once (picket/addr.h). */
struct key {
    uint64_t client[2], server[2]; /* the first sixteen bytes of each address, as they stand */
    uint64_t last;                 /* the seventeenth of each, ports, transport */
    uint64_t id;
};

struct wanted {
    struct key key;
    const struct pk_question *question; /* NULL: any */
};

struct open {
    struct key key;
    uint64_t hash;
    struct pk_query query;
    int64_t active_us; /* query, retransmission or message of a transfer */
    bool is_transfer;
    int64_t response_ts_us;
    uint32_t response_bytes, transfer_records, transfer_messages;
    uint16_t transfer_soas;
    uint32_t transfer_serial; /* of the first SOA */
    uint32_t newer, older;
    uint64_t network; /* pk_crowd_network of the client */
    bool is_known;
    bool is_undeliverable; /* an ICMP error says so; whoever sent that may lie, so an answer wins */
};

/* Open queries in the order of their deadlines. */
struct order {
    uint32_t newest, oldest, n;
};

struct held {
    struct key key;
    uint64_t hash;
    struct pk_message message; /* its bytes are in `bytes` */
    uint8_t bytes[PK_PAIRING_MAX_HELD_BYTES];
};

struct pk_pairing {
    struct pk_stats *stats;
    pk_pairing_cb on_transaction;
    void *arg;
    struct open *open;
    struct pk_map open_map;
    struct order orders[2]; /* strangers, known */
    uint32_t free, n_places;
    struct pk_crowd *crowd;
    bool is_crowded; /* shares are counted */
    struct pk_closed *closed;
    int64_t now_us;    /* of the packets */
    struct held *held; /* a ring in order of arrival */
    struct pk_map held_map;
    uint32_t held_first, n_held;
};

static bool same_question(const struct pk_question *a, const struct pk_question *b)
{
    return a->type == b->type && a->class == b->class && pk_name_equal(&a->name, &b->name);
}

static bool same_key(const struct key *a, const struct key *b)
{
    return ((a->client[0] ^ b->client[0]) | (a->client[1] ^ b->client[1]) |
               (a->server[0] ^ b->server[0]) | (a->server[1] ^ b->server[1]) | (a->last ^ b->last) |
               (a->id ^ b->id)) == 0;
}

static bool is_open(const void *entries, uint32_t entry, const void *key)
{
    const struct open *open = &((const struct open *)entries)[entry];
    const struct wanted *wanted = key;
    return same_key(&open->key, &wanted->key) &&
           (!wanted->question || !open->query.has_question ||
               same_question(&open->query.question, wanted->question));
}

static bool is_held(const void *entries, uint32_t entry, const void *key)
{
    const struct held *held = &((const struct held *)entries)[entry];
    const struct wanted *wanted = key;
    return same_key(&held->key, &wanted->key) &&
           (!wanted->question || !held->message.dns.has_question ||
               same_question(&held->message.dns.question, wanted->question));
}

pk_err pk_pairing_new(struct pk_stats *stats, pk_pairing_cb on_transaction, void *arg,
    struct pk_pairing **out_pairing)
{
    struct pk_pairing *pairing = calloc(1, sizeof *pairing);
    if (!pairing) {
        return PK_ERR_NOMEM;
    }
    *pairing = (struct pk_pairing){.stats = stats,
        .on_transaction = on_transaction,
        .arg = arg,
        .orders = {{NONE, NONE, 0}, {NONE, NONE, 0}},
        .free = NONE};
    /* Left unzeroed: the kernel gives pages as they are used, and a quiet sensor uses few. */
    pairing->open = malloc(PK_PAIRING_MAX_OPEN * sizeof *pairing->open);
    pairing->held = malloc(PK_PAIRING_MAX_HELD * sizeof *pairing->held);
    if (!pairing->open || !pairing->held || pk_crowd_new(&pairing->crowd) != PK_OK ||
        pk_closed_new(&pairing->closed) != PK_OK ||
        pk_map_init(&pairing->open_map, PK_PAIRING_MAX_OPEN, is_open) != PK_OK ||
        pk_map_init(&pairing->held_map, PK_PAIRING_MAX_HELD, is_held) != PK_OK) {
        pk_pairing_free(pairing);
        return PK_ERR_NOMEM;
    }
    *out_pairing = pairing;
    return PK_OK;
}

void pk_pairing_free(struct pk_pairing *pairing)
{
    if (!pairing) {
        return;
    }
    struct pk_map *maps[] = {&pairing->open_map, &pairing->held_map};
    for (size_t i = 0; i < 2; i++) {
        if (maps[i]->slots) {
            pk_map_done(maps[i]);
        }
    }
    free(pairing->open);
    pk_crowd_free(pairing->crowd);
    pk_closed_free(pairing->closed);
    free(pairing->held);
    free(pairing);
}

/* --- the order of deadlines --- */

static void unlink_open(struct pk_pairing *pairing, struct open *open)
{
    struct order *order = &pairing->orders[open->is_known];
    *(open->newer != NONE ? &pairing->open[open->newer].older : &order->newest) = open->older;
    *(open->older != NONE ? &pairing->open[open->older].newer : &order->oldest) = open->newer;
    order->n--;
}

static void link_newest(struct pk_pairing *pairing, struct open *open)
{
    struct order *order = &pairing->orders[open->is_known];
    uint32_t index = (uint32_t)(open - pairing->open);
    open->newer = NONE;
    open->older = order->newest;
    *(order->newest != NONE ? &pairing->open[order->newest].newer : &order->oldest) = index;
    order->newest = index;
    order->n++;
}

static void renew(struct pk_pairing *pairing, struct open *open, int64_t now_us)
{
    open->active_us = now_us;
    unlink_open(pairing, open);
    link_newest(pairing, open);
}

/* The next to time out; NULL when none is open. */
static struct open *oldest_open(struct pk_pairing *pairing)
{
    uint32_t stranger = pairing->orders[0].oldest, known = pairing->orders[1].oldest;
    if (stranger == NONE || known == NONE) {
        uint32_t only = stranger == NONE ? known : stranger;
        return only == NONE ? NULL : &pairing->open[only];
    }
    struct open *a = &pairing->open[stranger], *b = &pairing->open[known];
    return a->active_us <= b->active_us ? a : b;
}

/* Long ago, or so far ahead that time stepped back since: who waits until the clock comes there again keeps all behind it waiting. A little ahead is no step, for
 * interfaces are read in turn. */
static bool is_over(int64_t since_us, int64_t now_us, int64_t limit_us)
{
    return since_us < now_us - limit_us || since_us - PK_PAIRING_TIMEOUT_US > now_us;
}

/* Of both heads: after a step back the one that is later may be over while the other is not. NULL: none is over. */
static struct open *next_over(struct pk_pairing *pairing, int64_t now_us)
{
    struct open *over = NULL;
    for (unsigned known = 0; known < 2; known++) {
        uint32_t oldest = pairing->orders[known].oldest;
        struct open *open = oldest == NONE ? NULL : &pairing->open[oldest];
        if (open && is_over(open->active_us, now_us, PK_PAIRING_TIMEOUT_US) &&
            (!over || open->active_us < over->active_us)) {
            over = open;
        }
    }
    return over;
}

/* --- fairness --- */

/* Counts the shares of all that are open. Entered at half full, left at a quarter, so that it is not done over and over. */
static void begin_crowd(struct pk_pairing *pairing)
{
    pairing->is_crowded = true;
    pk_crowd_clear(pairing->crowd);
    for (unsigned known = 0; known < 2; known++) {
        for (uint32_t i = pairing->orders[known].oldest; i != NONE; i = pairing->open[i].newer) {
            const struct open *open = &pairing->open[i];
            (void)pk_crowd_add(pairing->crowd, &open->query.client, open->network);
        }
    }
}

static enum pk_crowd_verdict enter_crowd(struct pk_pairing *pairing, const struct open *open)
{
    if (pairing->is_crowded) {
        return pk_crowd_add(pairing->crowd, &open->query.client, open->network);
    }
    if (pairing->open_map.n > PK_PAIRING_MAX_OPEN / 2) {
        begin_crowd(pairing);
    }
    return PK_CROWD_FINE;
}

static void leave_crowd(struct pk_pairing *pairing, const struct open *open)
{
    if (pairing->is_crowded) {
        pk_crowd_remove(pairing->crowd, &open->query.client, open->network);
        pairing->is_crowded = pairing->open_map.n > PK_PAIRING_MAX_OPEN / 4;
    }
}

/* --- closing --- */

/* The hash of the name asked, when the response repeats the question and brought it; else 0. */
static uint64_t hash_told(const struct pk_message *response)
{
    return response && response->dns.has_question ? response->name_hash : 0;
}

static uint32_t answer_of(const struct open *open, const struct pk_message *response)
{
    uint32_t answer = response ? (uint32_t)response->digest : open->is_transfer;
    return response && answer == 0 ? 1 : answer;
}

/* What stands before the name's bytes, the name, what stands behind them. */
static void copy_query(struct pk_query *to, const struct pk_query *from)
{
    const size_t behind = offsetof(struct pk_query, question.type);
    memcpy(to, from, offsetof(struct pk_query, question));
    pk_name_copy(&to->question.name, &from->question.name);
    memcpy((uint8_t *)to + behind, (const uint8_t *)from + behind, sizeof *to - behind);
}

/* Reports an open query and frees its place. */
static void close_open(struct pk_pairing *pairing, struct open *open, enum pk_outcome outcome,
    const struct pk_message *response)
{
    struct pk_stats *stats = pairing->stats;
    const struct pk_query *query = &open->query;
    bool is_answered = response || open->is_transfer;
    if (!is_answered && open->is_undeliverable) {
        outcome = PK_OUTCOME_UNREACHABLE;
    }
    bool is_case_changed = response && query->is_case_mixed && response->dns.has_question &&
                           memcmp(query->question.name.wire, response->dns.question.name.wire,
                               query->question.name.len) != 0;
    PK_UNSET struct pk_transaction
        transaction; /* every field is set; the name's rest is not read */
    transaction.outcome = is_answered ? PK_OUTCOME_ANSWERED : outcome;
    copy_query(&transaction.query, query);
    transaction.response = response;
    transaction.response_ts_us = open->response_ts_us;
    transaction.ended_us = pairing->now_us;
    transaction.is_case_changed = is_case_changed;
    transaction.response_bytes = open->response_bytes;
    transaction.transfer_records = open->transfer_records;
    transaction.transfer_soas = open->transfer_soas;
    transaction.transfer_messages = open->transfer_messages;
    stats->answered += is_answered;
    stats->unanswered += !is_answered;
    stats->unreachable += !is_answered && outcome == PK_OUTCOME_UNREACHABLE;
    stats->case_changed += is_case_changed;
    stats->transfers_now -= open->is_transfer;
    stats->open_now--;
    pk_closed_note(pairing->closed, open->hash,
        query->has_question ? pk_closed_question(&query->question, hash_told(response)) : 0,
        answer_of(open, response), open->is_transfer ? UINT8_MAX : query->retransmissions,
        pairing->now_us);
    if (is_answered) {
        pk_crowd_note_answer(pairing->crowd, open->network, pairing->now_us);
    }
    pairing->on_transaction(pairing->arg, &transaction);

    uint32_t index = (uint32_t)(open - pairing->open);
    (void)pk_map_remove(&pairing->open_map, open->hash, index);
    leave_crowd(pairing, open);
    unlink_open(pairing, open);
    open->older = pairing->free;
    pairing->free = index;
}

static void evict(struct pk_pairing *pairing, struct open *open)
{
    pairing->stats->evicted++;
    close_open(pairing, open, PK_OUTCOME_UNANSWERED, NULL);
}

/* What a response that met no open query is, now that it does not wait any more. */
static enum pk_outcome judge(struct pk_pairing *pairing, const struct key *key, uint64_t hash,
    const struct pk_message *message)
{
    const struct wanted any = {.key = *key};
    if (pk_map_find(&pairing->open_map, hash, pairing->open, &any) != PK_MAP_NONE) {
        return PK_OUTCOME_MISMATCHED; /* the ends and the id are asked for, the question is another */
    }
    const struct pk_dnsmsg *dns = &message->dns;
    uint32_t answer = (uint32_t)message->digest;
    return pk_closed_judge(pairing->closed, hash,
        dns->has_question ? pk_closed_question(&dns->question, message->name_hash) : 0,
        answer ? answer : 1, pairing->now_us);
}

static void report_stray(struct pk_pairing *pairing, const struct key *key, uint64_t hash,
    const struct pk_message *message)
{
    struct pk_stats *stats = pairing->stats;
    enum pk_outcome outcome = judge(pairing, key, hash, message);
    struct pk_transaction transaction = {
        .outcome = outcome,
        .query =
            {
                .ts_us = message->ts_us,
                .client = message->dst,
                .server = message->src,
                .client_port = message->dport,
                .server_port = message->sport,
                .id = message->dns.id,
                .transport = message->transport,
                .opcode = message->dns.opcode,
                .has_question = message->dns.has_question,
                .question = message->dns.question,
                .via = message->via,
                .vantage = message->vantage,
                .is_upstream = message->is_upstream,
            },
        .response = message,
        .response_ts_us = message->ts_us,
        .ended_us = pairing->now_us,
        .response_bytes = (uint32_t)message->dns.len,
    };
    stats->unsolicited++;
    stats->late += outcome == PK_OUTCOME_LATE;
    stats->mismatched += outcome == PK_OUTCOME_MISMATCHED;
    stats->repeated += outcome == PK_OUTCOME_REPEATED;
    stats->conflicting += outcome == PK_OUTCOME_CONFLICTING;
    pairing->on_transaction(pairing->arg, &transaction);
}

/* --- responses --- */

/* Sums a message of a transfer; true when it was the last: the zone's SOA came a second time, or it never began (an error, or "up to date"). */
static bool add_transfer(struct open *open, const struct pk_message *message)
{
    struct pk_rr_iter iter;
    struct pk_rr rr;
    bool is_last = message->dns.rcode != PK_RCODE_NOERROR || message->dns.n_good_records == 0;
    bool is_first_message = open->transfer_messages++ == 0;
    uint32_t n_answers = 0;
    pk_rr_iter_init(&iter, &message->dns);
    while (pk_rr_next(&iter, &rr) && rr.section == PK_SECTION_ANSWER) {
        open->transfer_records++;
        n_answers++;
        is_last = is_last && message->dns.rcode != PK_RCODE_NOERROR;
        if (rr.type == PK_TYPE_SOA && rr.rdata_len >= 22) {
            const uint8_t *p = message->dns.wire + rr.rdata_pos + rr.rdata_len - 20;
            uint32_t serial =
                (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
            open->transfer_soas++;
            if (open->transfer_soas == 1) {
                open->transfer_serial = serial;
            }
            is_last = open->transfer_soas > 1 && serial == open->transfer_serial;
        } else {
            is_last = false;
        }
    }
    bool is_up_to_date = is_first_message && n_answers == 1 && open->transfer_soas == 1 &&
                         open->query.question.type == PK_TYPE_IXFR;
    return is_last || is_up_to_date || n_answers == 0;
}

static bool is_transfer(const struct pk_query *query)
{
    return query->has_question &&
           (query->question.type == PK_TYPE_AXFR || query->question.type == PK_TYPE_IXFR);
}

static void match(struct pk_pairing *pairing, struct open *open, const struct pk_message *message)
{
    if (open->is_transfer) {
        pairing->stats->transfer_more++;
    } else {
        pairing->stats->matched++;
        open->response_ts_us = message->ts_us;
    }
    open->response_bytes += (uint32_t)message->dns.len;
    if (is_transfer(&open->query) && !add_transfer(open, message)) {
        pairing->stats->transfers_now += !open->is_transfer;
        open->is_transfer = true;
        renew(pairing, open, message->ts_us);
        return;
    }
    close_open(pairing, open, PK_OUTCOME_ANSWERED, message);
}

static void expire_held(struct pk_pairing *pairing, int64_t now_us)
{
    while (pairing->n_held > 0) {
        struct held *held = &pairing->held[pairing->held_first];
        bool is_taken = held->message.frame == 0;
        if (!is_taken && !is_over(held->message.ts_us, now_us, PK_PAIRING_HOLD_US)) {
            return;
        }
        uint32_t index = pairing->held_first;
        pairing->held_first = (pairing->held_first + 1) % PK_PAIRING_MAX_HELD;
        pairing->n_held--;
        if (!is_taken) {
            (void)pk_map_remove(&pairing->held_map, held->hash, index);
            pairing->stats->held_now--;
            report_stray(pairing, &held->key, held->hash, &held->message);
        }
    }
}

static void hold(struct pk_pairing *pairing, const struct key *key, uint64_t hash,
    const struct pk_message *message)
{
    if (pairing->n_held == PK_PAIRING_MAX_HELD || message->dns.len > PK_PAIRING_MAX_HELD_BYTES) {
        pairing->stats->held_shed++;
        report_stray(pairing, key, hash, message);
        return;
    }
    uint32_t index = (pairing->held_first + pairing->n_held++) % PK_PAIRING_MAX_HELD;
    struct held *held = &pairing->held[index];
    held->key = *key;
    held->hash = hash;
    held->message = *message;
    memcpy(held->bytes, message->dns.wire, message->dns.len);
    (void)pk_dnsmsg_parse(
        held->bytes, message->dns.len, &held->message.dns); /* the same bytes parse the same way */
    (void)pk_map_add(&pairing->held_map, hash, index);
    pairing->stats->held_now++;
}

/* Out of the table of those that wait; it leaves the ring when it comes to the front. */
static struct held *take_held(
    struct pk_pairing *pairing, uint64_t hash, const struct wanted *wanted)
{
    uint32_t found = pairing->stats->held_now
                         ? pk_map_find(&pairing->held_map, hash, pairing->held, wanted)
                         : PK_MAP_NONE;
    if (found == PK_MAP_NONE) {
        return NULL;
    }
    (void)pk_map_remove(&pairing->held_map, hash, found);
    pairing->stats->held_now--;
    return &pairing->held[found];
}

static void on_response(struct pk_pairing *pairing, const struct wanted *wanted, uint64_t hash,
    const struct pk_message *message)
{
    uint32_t found = pk_map_find(&pairing->open_map, hash, pairing->open, wanted);
    pairing->stats->responses++;
    if (found != PK_MAP_NONE) {
        match(pairing, &pairing->open[found], message);
    } else {
        hold(pairing, &wanted->key, hash, message);
    }
}

/* --- queries --- */

static uint16_t query_flags(const struct pk_dnsmsg *dns)
{
    uint16_t flags =
        (uint16_t)((dns->rd ? PK_SIG_QUERY_RD : 0) | (dns->ad ? PK_SIG_QUERY_AD : 0) |
                   (dns->cd ? PK_SIG_QUERY_CD : 0) | (dns->edns.present ? PK_SIG_QUERY_EDNS : 0) |
                   (dns->edns.dnssec_ok ? PK_SIG_QUERY_DO : 0));
    for (size_t at = 0; at + 4 <= dns->edns.options_len;) {
        const uint8_t *p = dns->edns.options + at;
        unsigned code = (unsigned)p[0] << 8 | p[1];
        flags |= (uint16_t)(code == PK_EDNS_NSID            ? PK_SIG_QUERY_NSID
                            : code == PK_EDNS_CLIENT_SUBNET ? PK_SIG_QUERY_ECS
                            : code == PK_EDNS_COOKIE        ? PK_SIG_QUERY_COOKIE
                                                            : 0);
        at += 4 + ((size_t)p[2] << 8 | p[3]);
    }
    return flags;
}

static void fill_query(struct pk_query *query, const struct pk_message *message)
{
    query->ts_us = message->ts_us;
    query->client = message->src;
    query->server = message->dst;
    query->client_port = message->sport;
    query->server_port = message->dport;
    query->id = message->dns.id;
    query->transport = message->transport;
    query->opcode = message->dns.opcode;
    query->flags = query_flags(&message->dns);
    if (!(query->flags & PK_SIG_QUERY_ECS) ||
        !pk_edns_client_subnet(&message->dns.edns, &query->subnet)) {
        query->subnet.addr.family = 0;
    }
    query->edns_udp_size = message->dns.edns.udp_size;
    query->has_question = message->dns.has_question;
    query->is_case_mixed = pk_name_is_case_mixed(&message->dns.question.name);
    query->question.type = message->dns.question.type;
    query->question.class = message->dns.question.class;
    pk_name_copy(&query->question.name, &message->dns.question.name);
    query->retransmissions = 0;
    query->via = message->via;
    query->vantage = message->vantage;
    query->is_upstream = message->is_upstream;
}

static struct open *add_open(struct pk_pairing *pairing, const struct key *key, uint64_t hash,
    const struct pk_message *message)
{
    if (pairing->free == NONE && pairing->n_places == PK_PAIRING_MAX_OPEN) {
        /* Each class is sure of half the places. */
        bool is_known = pairing->orders[0].n <= PK_PAIRING_MAX_OPEN / 2;
        evict(pairing, &pairing->open[pairing->orders[is_known].oldest]);
    }
    uint32_t index = pairing->free;
    if (index != NONE) {
        pairing->free = pairing->open[index].older;
    } else {
        index = pairing->n_places++;
    }
    struct open *open = &pairing->open[index];
    open->key = *key;
    open->hash = hash;
    open->active_us = message->ts_us;
    open->is_transfer = open->is_undeliverable = false;
    open->response_ts_us = 0;
    open->response_bytes = open->transfer_records = open->transfer_messages =
        open->transfer_serial = 0;
    open->transfer_soas = 0;
    open->network = pk_crowd_network(&message->src);
    open->is_known = pk_crowd_is_known(pairing->crowd, open->network, pairing->now_us);
    fill_query(&open->query, message);
    pairing->stats->opened++;
    pairing->stats->open_now++;
    (void)pk_map_add(&pairing->open_map, hash, index); /* as many places as the table */
    link_newest(pairing, open);
    return open;
}

static void on_query(struct pk_pairing *pairing, const struct wanted *wanted, uint64_t hash,
    const struct pk_message *message)
{
    uint32_t found = pk_map_find(&pairing->open_map, hash, pairing->open, wanted);
    pairing->stats->queries++;
    if (found != PK_MAP_NONE) {
        struct open *open = &pairing->open[found];
        pairing->stats->retransmissions++;
        open->query.retransmissions++;
        renew(pairing, open, message->ts_us);
        return;
    }
    struct open *open = add_open(pairing, &wanted->key, hash, message);
    enum pk_crowd_verdict verdict = enter_crowd(pairing, open);
    struct held *held = take_held(pairing, hash, wanted);
    if (held) {
        match(pairing, open, &held->message);
        held->message.frame = 0;
    } else if (verdict != PK_CROWD_FINE) {
        pairing->stats->evicted_client += verdict == PK_CROWD_CLIENT_FULL;
        pairing->stats->evicted_network += verdict == PK_CROWD_NETWORK_FULL;
        evict(pairing, open);
    }
}

/* The key of a message whose ends were these. */
static void want(const struct pk_message *message, const struct pk_leg *leg,
    struct wanted *out_wanted, uint64_t *out_hash)
{
    bool is_response = message->dns.is_response;
    const struct pk_addr *client = is_response ? &leg->dst : &leg->src;
    const struct pk_addr *server = is_response ? &leg->src : &leg->dst;
    uint64_t client_port = is_response ? leg->dport : leg->sport;
    uint64_t server_port = is_response ? leg->sport : leg->dport;
    struct key *key = &out_wanted->key;
    memcpy(key->client, client, sizeof key->client);
    memcpy(key->server, server, sizeof key->server);
    key->last = client->bytes[15] | (uint64_t)server->bytes[15] << 8 | client_port << 16 |
                server_port << 32 | (uint64_t)message->transport << 48;
    key->id = message->dns.id;
    out_wanted->question = message->dns.has_question ? &message->dns.question : NULL;
    *out_hash = pk_hash_quick(key, sizeof *key);
}

void pk_pairing_message(struct pk_pairing *pairing, const struct pk_message *message)
{
    struct wanted wanted;
    uint64_t hash;
    want(message, &message->leg, &wanted, &hash);
    if (message->dns.is_response) {
        on_response(pairing, &wanted, hash, message);
    } else {
        on_query(pairing, &wanted, hash, message);
    }
}

bool pk_pairing_awaits(const struct pk_pairing *pairing, const struct pk_message *message)
{
    struct wanted wanted;
    uint64_t hash;
    want(message, &message->leg, &wanted, &hash);
    return pk_map_find(&pairing->open_map, hash, pairing->open, &wanted) != PK_MAP_NONE;
}

bool pk_pairing_claim(
    struct pk_pairing *pairing, const struct pk_message *message, const struct pk_leg *first)
{
    struct wanted wanted;
    uint64_t hash, first_hash;
    want(message, &message->leg, &wanted, &hash);
    uint32_t found = pk_map_find(&pairing->open_map, hash, pairing->open, &wanted);
    if (found == PK_MAP_NONE) {
        return false;
    }
    want(message, first, &wanted, &first_hash);
    struct held *held = take_held(pairing, first_hash, &wanted);
    if (held) { /* counted as a response already: this one stands for it */
        held->message.frame = 0;
        pairing->stats->copies++;
    } else {
        pairing->stats->responses++;
    }
    match(pairing, &pairing->open[found], message);
    return true;
}

bool pk_pairing_unreachable(struct pk_pairing *pairing, const struct pk_leg *quoted,
    uint8_t transport, uint16_t id, int64_t now_us)
{
    const struct pk_message query = {.transport = transport, .dns = {.id = id}};
    struct wanted wanted;
    uint64_t hash;
    pairing->now_us = now_us;
    want(&query, quoted, &wanted, &hash);
    uint32_t found = pk_map_find(&pairing->open_map, hash, pairing->open, &wanted);
    if (found == PK_MAP_NONE) {
        return false;
    }
    pairing->open[found].is_undeliverable = true;
    return true;
}

void pk_pairing_set_now(struct pk_pairing *pairing, int64_t now_us)
{
    pairing->now_us = now_us;
}

void pk_pairing_tick(struct pk_pairing *pairing, int64_t now_us)
{
    struct open *over;
    pairing->now_us = now_us;
    while ((over = next_over(pairing, now_us))) {
        close_open(pairing, over, PK_OUTCOME_UNANSWERED, NULL);
    }
    if (pairing->n_held > 0) {
        expire_held(pairing, now_us);
    }
}

void pk_pairing_flush(struct pk_pairing *pairing)
{
    struct open *oldest;
    while ((oldest = oldest_open(pairing))) {
        close_open(pairing, oldest, PK_OUTCOME_UNANSWERED, NULL);
    }
    expire_held(pairing, INT64_MAX);
}

size_t pk_pairing_bound_bytes(void)
{
    return sizeof(struct pk_pairing) + PK_PAIRING_MAX_OPEN * sizeof(struct open) +
           PK_PAIRING_MAX_HELD * sizeof(struct held) + pk_map_bound_bytes(PK_PAIRING_MAX_OPEN) +
           pk_map_bound_bytes(PK_PAIRING_MAX_HELD) + pk_closed_bound_bytes() +
           pk_crowd_bound_bytes();
}

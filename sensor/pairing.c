/* Open queries stand in a fixed table, linked in the order of their deadlines (the timeout is the same for all, so that is the order of arrival or of last
 * activity). A response that came first waits in a small table of copies. */
#include "pairing.h"

#include <stdlib.h>
#include <string.h>

#include "picket/hash.h"
#include "picket/map.h"

enum {
    NONE = UINT32_MAX
};

struct key {
    struct pk_addr client, server;
    uint16_t client_port, server_port, id;
    uint16_t transport;
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
};

struct held {
    struct key key;
    uint64_t hash;
    struct pk_message message; /* its bytes are in `bytes` */
    uint8_t bytes[PK_PAIRING_MAX_HELD_BYTES];
};

struct client {
    struct pk_addr addr;
    uint32_t n_open;
};

struct pk_pairing {
    struct pk_stats *stats;
    pk_pairing_cb on_transaction;
    void *arg;
    struct open *open;
    struct pk_map open_map;
    uint32_t newest, oldest, free, n_open;
    struct client *clients; /* one for each client with open queries; dense */
    struct pk_map client_map;
    uint32_t n_clients;
    struct held *held; /* a ring in order of arrival */
    struct pk_map held_map;
    uint32_t held_first, n_held;
};

static bool same_question(const struct pk_question *a, const struct pk_question *b)
{
    return a->type == b->type && a->class == b->class && pk_name_equal(&a->name, &b->name);
}

static bool is_open(const void *entries, uint32_t entry, const void *key)
{
    const struct open *open = &((const struct open *)entries)[entry];
    const struct wanted *wanted = key;
    return memcmp(&open->key, &wanted->key, sizeof open->key) == 0 &&
           (!wanted->question || !open->query.has_question ||
               same_question(&open->query.question, wanted->question));
}

static bool is_held(const void *entries, uint32_t entry, const void *key)
{
    const struct held *held = &((const struct held *)entries)[entry];
    const struct wanted *wanted = key;
    return memcmp(&held->key, &wanted->key, sizeof held->key) == 0 &&
           (!wanted->question || !held->message.dns.has_question ||
               same_question(&held->message.dns.question, wanted->question));
}

static bool is_client(const void *entries, uint32_t entry, const void *key)
{
    return pk_addr_equal(&((const struct client *)entries)[entry].addr, key);
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
        .newest = NONE,
        .oldest = NONE,
        .free = NONE};
    /* Left unzeroed: the kernel gives pages as they are used, and a quiet sensor uses few. */
    pairing->open = malloc(PK_PAIRING_MAX_OPEN * sizeof *pairing->open);
    pairing->clients = malloc(PK_PAIRING_MAX_OPEN * sizeof *pairing->clients);
    pairing->held = malloc(PK_PAIRING_MAX_HELD * sizeof *pairing->held);
    if (!pairing->open || !pairing->clients || !pairing->held ||
        pk_map_init(&pairing->open_map, PK_PAIRING_MAX_OPEN, is_open) != PK_OK ||
        pk_map_init(&pairing->client_map, PK_PAIRING_MAX_OPEN, is_client) != PK_OK ||
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
    struct pk_map *maps[] = {&pairing->open_map, &pairing->client_map, &pairing->held_map};
    for (size_t i = 0; i < 3; i++) {
        if (maps[i]->slots) {
            pk_map_done(maps[i]);
        }
    }
    free(pairing->open);
    free(pairing->clients);
    free(pairing->held);
    free(pairing);
}

/* --- the order of deadlines --- */

static void unlink_open(struct pk_pairing *pairing, struct open *open)
{
    if (open->newer != NONE) {
        pairing->open[open->newer].older = open->older;
    } else {
        pairing->newest = open->older;
    }
    if (open->older != NONE) {
        pairing->open[open->older].newer = open->newer;
    } else {
        pairing->oldest = open->newer;
    }
}

static void link_newest(struct pk_pairing *pairing, struct open *open)
{
    uint32_t index = (uint32_t)(open - pairing->open);
    open->newer = NONE;
    open->older = pairing->newest;
    if (pairing->newest != NONE) {
        pairing->open[pairing->newest].newer = index;
    } else {
        pairing->oldest = index;
    }
    pairing->newest = index;
}

/* --- fairness --- */

static struct client *client_of(
    struct pk_pairing *pairing, const struct pk_addr *addr, uint64_t hash)
{
    uint32_t entry = pk_map_find(&pairing->client_map, hash, pairing->clients, addr);
    return entry == PK_MAP_NONE ? NULL : &pairing->clients[entry];
}

static uint32_t client_add(struct pk_pairing *pairing, const struct pk_addr *addr)
{
    uint64_t hash = pk_addr_hash(addr);
    struct client *client = client_of(pairing, addr, hash);
    if (!client) {
        client = &pairing->clients[pairing->n_clients];
        *client = (struct client){.addr = *addr};
        (void)pk_map_add(&pairing->client_map, hash,
            pairing->n_clients++); /* never more clients than open queries */
    }
    return ++client->n_open;
}

static void client_remove(struct pk_pairing *pairing, const struct pk_addr *addr)
{
    uint64_t hash = pk_addr_hash(addr);
    struct client *client = client_of(pairing, addr, hash);
    if (!client || --client->n_open > 0) {
        return;
    }
    uint32_t gap = (uint32_t)(client - pairing->clients), last = --pairing->n_clients;
    (void)pk_map_remove(&pairing->client_map, hash, gap);
    if (gap != last) {
        uint64_t moved = pk_addr_hash(&pairing->clients[last].addr);
        (void)pk_map_remove(&pairing->client_map, moved, last);
        *client = pairing->clients[last];
        (void)pk_map_add(&pairing->client_map, moved, gap);
    }
}

/* --- closing --- */

/* Reports an open query and frees its place. */
static void close_open(
    struct pk_pairing *pairing, struct open *open, const struct pk_message *response)
{
    bool is_answered = response || open->is_transfer;
    struct pk_transaction transaction = {
        .outcome = is_answered ? PK_OUTCOME_ANSWERED : PK_OUTCOME_UNANSWERED,
        .response = response,
        .response_ts_us = open->response_ts_us,
        .response_bytes = open->response_bytes,
        .transfer_records = open->transfer_records,
        .transfer_soas = open->transfer_soas,
        .transfer_messages = open->transfer_messages,
        .query = open->query,
    };
    pairing->stats->answered += is_answered;
    pairing->stats->unanswered += !is_answered;
    pairing->on_transaction(pairing->arg, &transaction);

    uint32_t index = (uint32_t)(open - pairing->open);
    client_remove(pairing, &open->key.client);
    (void)pk_map_remove(&pairing->open_map, open->hash, index);
    unlink_open(pairing, open);
    open->older = pairing->free;
    pairing->free = index;
}

static void report_unsolicited(struct pk_pairing *pairing, const struct pk_message *message)
{
    struct pk_transaction transaction = {
        .outcome = PK_OUTCOME_UNSOLICITED,
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
        .response_bytes = (uint32_t)message->dns.len,
    };
    pairing->stats->unsolicited++;
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
        open->is_transfer = true;
        open->active_us = message->ts_us;
        unlink_open(pairing, open);
        link_newest(pairing, open);
        return;
    }
    close_open(pairing, open, message);
}

static void expire_held(struct pk_pairing *pairing, int64_t now_us)
{
    while (pairing->n_held > 0) {
        struct held *held = &pairing->held[pairing->held_first];
        bool is_taken = held->message.frame == 0;
        if (!is_taken && now_us - PK_PAIRING_HOLD_US <= held->message.ts_us) {
            return;
        }
        uint32_t index = pairing->held_first;
        pairing->held_first = (pairing->held_first + 1) % PK_PAIRING_MAX_HELD;
        pairing->n_held--;
        if (!is_taken) {
            (void)pk_map_remove(&pairing->held_map, held->hash, index);
            report_unsolicited(pairing, &held->message);
        }
    }
}

static void hold(struct pk_pairing *pairing, const struct key *key, uint64_t hash,
    const struct pk_message *message)
{
    if (pairing->n_held == PK_PAIRING_MAX_HELD || message->dns.len > PK_PAIRING_MAX_HELD_BYTES) {
        pairing->stats->held_shed++;
        report_unsolicited(pairing, message);
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
}

static void on_response(struct pk_pairing *pairing, const struct wanted *wanted, uint64_t hash,
    const struct pk_message *message)
{
    uint32_t found = pk_map_find(&pairing->open_map, hash, pairing->open, wanted);
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
        flags |= (uint16_t)(code == 3    ? PK_SIG_QUERY_NSID
                            : code == 8  ? PK_SIG_QUERY_ECS
                            : code == 10 ? PK_SIG_QUERY_COOKIE
                                         : 0);
        at += 4 + ((size_t)p[2] << 8 | p[3]);
    }
    return flags;
}

/* Both cases of letters in one name: the 0x20 trick, or somebody's shift key. */
static bool is_case_mixed(const struct pk_name *name)
{
    bool has_upper = false, has_lower = false;
    for (size_t i = 0; i < name->len; i++) {
        has_upper = has_upper || (name->wire[i] >= 'A' && name->wire[i] <= 'Z');
        has_lower = has_lower || (name->wire[i] >= 'a' && name->wire[i] <= 'z');
    }
    return has_upper && has_lower;
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
    query->edns_udp_size = message->dns.edns.udp_size;
    query->has_question = message->dns.has_question;
    query->is_case_mixed = is_case_mixed(&message->dns.question.name);
    query->question.type = message->dns.question.type;
    query->question.class = message->dns.question.class;
    query->question.name.len = message->dns.question.name.len;
    query->question.name.n_labels = message->dns.question.name.n_labels;
    memcpy(
        query->question.name.wire, message->dns.question.name.wire, message->dns.question.name.len);
    query->retransmissions = 0;
    query->via = message->via;
    query->vantage = message->vantage;
    query->is_upstream = message->is_upstream;
}

static struct open *add_open(struct pk_pairing *pairing, const struct key *key, uint64_t hash,
    const struct pk_message *message)
{
    if (pairing->free == NONE && pairing->n_open == PK_PAIRING_MAX_OPEN) {
        pairing->stats->evicted++;
        close_open(pairing, &pairing->open[pairing->oldest], NULL);
    }
    uint32_t index = pairing->free;
    if (index != NONE) {
        pairing->free = pairing->open[index].older;
    } else {
        index = pairing->n_open++;
    }
    struct open *open = &pairing->open[index];
    open->key = *key;
    open->hash = hash;
    open->active_us = message->ts_us;
    open->is_transfer = false;
    open->response_ts_us = 0;
    open->response_bytes = open->transfer_records = open->transfer_messages =
        open->transfer_serial = 0;
    open->transfer_soas = 0;
    fill_query(&open->query, message);
    (void)pk_map_add(&pairing->open_map, hash, index); /* as many places as the table */
    link_newest(pairing, open);
    return open;
}

static void on_query(struct pk_pairing *pairing, const struct wanted *wanted, uint64_t hash,
    const struct pk_message *message)
{
    uint32_t found = pk_map_find(&pairing->open_map, hash, pairing->open, wanted);
    if (found != PK_MAP_NONE) {
        struct open *open = &pairing->open[found];
        pairing->stats->retransmissions++;
        open->query.retransmissions++;
        open->active_us = message->ts_us;
        unlink_open(pairing, open);
        link_newest(pairing, open);
        return;
    }
    pairing->stats->opened++;
    struct open *open = add_open(pairing, &wanted->key, hash, message);
    uint32_t n_client = client_add(pairing, &open->key.client);
    uint32_t held = pairing->n_held ? pk_map_find(&pairing->held_map, hash, pairing->held, wanted)
                                    : PK_MAP_NONE;
    if (held != PK_MAP_NONE) {
        (void)pk_map_remove(&pairing->held_map, hash, held);
        match(pairing, open, &pairing->held[held].message);
        pairing->held[held].message.frame =
            0; /* taken; leaves the ring when it comes to the front */
    } else if (n_client > PK_PAIRING_MAX_CLIENT && pairing->open_map.n > PK_PAIRING_MAX_OPEN / 2) {
        pairing->stats->evicted++;
        close_open(pairing, open, NULL);
    }
}

static void want(const struct pk_message *message, const struct pk_leg *leg,
    struct wanted *out_wanted, uint64_t *out_hash)
{
    bool is_response = message->dns.is_response;
    memset(out_wanted, 0, sizeof *out_wanted);
    out_wanted->key.client = is_response ? leg->dst : leg->src;
    out_wanted->key.server = is_response ? leg->src : leg->dst;
    out_wanted->key.client_port = is_response ? leg->dport : leg->sport;
    out_wanted->key.server_port = is_response ? leg->sport : leg->dport;
    out_wanted->key.id = message->dns.id;
    out_wanted->key.transport = message->transport;
    out_wanted->question = message->dns.has_question ? &message->dns.question : NULL;
    *out_hash = pk_hash_quick(&out_wanted->key, sizeof out_wanted->key);
}

static struct pk_leg leg_of(const struct pk_message *message)
{
    return (struct pk_leg){
        .src = message->src, .dst = message->dst, .sport = message->sport, .dport = message->dport};
}

void pk_pairing_message(struct pk_pairing *pairing, const struct pk_message *message)
{
    struct wanted wanted;
    struct pk_leg leg = leg_of(message);
    uint64_t hash;
    want(message, &leg, &wanted, &hash);
    pk_pairing_tick(pairing, message->ts_us);
    if (message->dns.is_response) {
        on_response(pairing, &wanted, hash, message);
    } else {
        on_query(pairing, &wanted, hash, message);
    }
}

bool pk_pairing_awaits(const struct pk_pairing *pairing, const struct pk_message *message)
{
    struct wanted wanted;
    struct pk_leg leg = leg_of(message);
    uint64_t hash;
    want(message, &leg, &wanted, &hash);
    return pk_map_find(&pairing->open_map, hash, pairing->open, &wanted) != PK_MAP_NONE;
}

enum pk_claim pk_pairing_claim(
    struct pk_pairing *pairing, const struct pk_message *message, const struct pk_leg *first)
{
    struct wanted wanted;
    struct pk_leg leg = leg_of(message);
    uint64_t hash;
    want(message, &leg, &wanted, &hash);
    uint32_t found = pk_map_find(&pairing->open_map, hash, pairing->open, &wanted);
    if (found == PK_MAP_NONE) {
        return PK_CLAIM_NONE;
    }
    match(pairing, &pairing->open[found], message);
    want(message, first, &wanted, &hash);
    uint32_t held = pk_map_find(&pairing->held_map, hash, pairing->held, &wanted);
    if (held == PK_MAP_NONE) {
        return PK_CLAIM_OWN;
    }
    (void)pk_map_remove(&pairing->held_map, hash, held);
    pairing->held[held].message.frame = 0; /* taken */
    return PK_CLAIM_TAKEN;
}

void pk_pairing_tick(struct pk_pairing *pairing, int64_t now_us)
{
    while (pairing->oldest != NONE &&
           now_us - pairing->open[pairing->oldest].active_us > PK_PAIRING_TIMEOUT_US) {
        close_open(pairing, &pairing->open[pairing->oldest], NULL);
    }
    expire_held(pairing, now_us);
}

void pk_pairing_flush(struct pk_pairing *pairing)
{
    while (pairing->oldest != NONE) {
        close_open(pairing, &pairing->open[pairing->oldest], NULL);
    }
    expire_held(pairing, INT64_MAX);
}

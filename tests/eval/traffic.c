/* Buffers of events, and the way from events to rows: see traffic.h. */
#include "traffic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "picket/dnsmsg.h"

#include "rng.h"

static void *grow(void *data, size_t size)
{
    void *more = realloc(data, size);
    if (!more) {
        (void)fprintf(stderr, "eval: out of memory\n");
        exit(70);
    }
    return more;
}

void ev_traffic_done(struct ev_traffic *traffic)
{
    free(traffic->events);
    free(traffic->names);
    *traffic = (struct ev_traffic){0};
}

void ev_traffic_clear(struct ev_traffic *traffic)
{
    traffic->n = 0;
    traffic->names_len = 0;
}

void ev_traffic_add(
    struct ev_traffic *traffic, const struct ev_event *event, const struct pk_name *name)
{
    if (traffic->n == traffic->cap) {
        traffic->cap = traffic->cap ? 2 * traffic->cap : 4096;
        traffic->events = grow(traffic->events, traffic->cap * sizeof *traffic->events);
    }
    if (traffic->names_len + name->len > traffic->names_cap) {
        traffic->names_cap = traffic->names_cap ? 2 * traffic->names_cap : 1 << 17;
        traffic->names = grow(traffic->names, traffic->names_cap);
    }
    struct ev_event *kept = &traffic->events[traffic->n];
    *kept = *event;
    kept->order = (uint32_t)traffic->n++;
    kept->name_pos = (uint32_t)traffic->names_len;
    kept->name_len = name->len;
    for (size_t i = 0; i < name->len; i++) {
        uint8_t c = name->wire[i];
        traffic->names[traffic->names_len++] = c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
    }
}

void ev_traffic_append(struct ev_traffic *traffic, const struct ev_traffic *more)
{
    for (size_t i = 0; i < more->n; i++) {
        struct pk_name name = {.len = more->events[i].name_len};
        memcpy(name.wire, more->names + more->events[i].name_pos, name.len);
        ev_traffic_add(traffic, &more->events[i], &name);
    }
}

static int by_time(const void *a, const void *b)
{
    const struct ev_event *x = a, *y = b;
    if (x->time_us != y->time_us) {
        return x->time_us < y->time_us ? -1 : 1;
    }
    return (x->order > y->order) - (x->order < y->order);
}

void ev_traffic_sort(struct ev_traffic *traffic)
{
    if (traffic->n) {
        qsort(traffic->events, traffic->n, sizeof *traffic->events, by_time);
    }
    for (size_t i = 0; i < traffic->n; i++) {
        traffic->events[i].order = (uint32_t)i;
    }
}

void ev_rows_done(struct ev_rows *rows)
{
    free(rows->rows);
    *rows = (struct ev_rows){0};
}

void ev_pseudonym(const struct pk_addr *addr, uint8_t out_pseudonym[8])
{
    uint64_t a, b;
    memcpy(&a, addr->bytes, 8);
    memcpy(&b, addr->bytes + 8, 8);
    a = ev_hash3(a, b, addr->family);
    memcpy(out_pseudonym, &a, 8);
}

struct pk_addr ev_server(uint8_t site, uint8_t vantage)
{
    if (vantage == PK_VANTAGE_RESOLVER) {
        return pk_addr_v4((const uint8_t[4]){10, (uint8_t)(site + 1), 0, 53});
    }
    return pk_addr_v4((const uint8_t[4]){198, 18, (uint8_t)(site + 1), 53});
}

/* What the merge of a window compares: client, name and signature. */
static uint64_t identity(const struct ev_event *event, const uint8_t *names, bool is_one_way)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325), a, b;
    for (size_t i = 0; i < event->name_len; i++) {
        hash = (hash ^ names[event->name_pos + i]) * UINT64_C(0x100000001b3);
    }
    memcpy(&a, event->client.bytes, 8);
    memcpy(&b, event->client.bytes + 8, 8);
    hash = ev_hash3(hash, a, b ^ event->client.family);
    hash =
        ev_hash3(hash, (uint64_t)event->qtype << 32 | (uint64_t)event->qclass << 16 | event->flags,
            event->transport);
    return is_one_way ? hash
                      : ev_hash3(hash, (uint64_t)event->rcode << 8 | event->answer, event->vantage);
}

/* What the sensor of that site makes of an event; false: it never saw it. */
static bool see(const struct ev_event *event, const uint8_t *names, const struct ev_flaws *flaws,
    struct ev_row *out_row)
{
    uint64_t a, path;
    memcpy(&a, event->client.bytes, 8);
    memcpy(&path, event->client.bytes + 8, 8);
    path = ev_hash3(flaws->seed ^ a, path, event->site);
    struct ev_rng rng = ev_rng_begin(flaws->seed, path, (uint64_t)event->time_us, event->order);
    if (ev_rng_chance(&rng, flaws->loss)) {
        return false;
    }
    bool is_one_way = (double)(path >> 11) * 0x1p-53 < flaws->one_way;
    struct ev_rng clock = ev_rng_begin(flaws->seed, 'C', event->site, 0);
    int64_t skew = (int64_t)((2 * ev_rng_unit(&clock) - 1) * (double)flaws->max_skew_us);
    int64_t seen = event->time_us + skew;
    struct pk_activity row = {
        .name = {names + event->name_pos, event->name_len},
        .first_us = seen,
        .count = 1,
        .answer_digest = event->answer == PK_ANSWER_DATA ? event->digest : 0,
        .min_ttl_s = event->answer == PK_ANSWER_DATA ? 3600 : 0,
        .case_mixed = event->is_mixed_case,
        .transfer_records = event->transfer_records,
        .transfer_soas = event->transfer_records ? 2 : 0,
        .latency_min_us = 300,
        .latency_max_us = 300,
        .response_bytes_max = 120,
    };
    row.signature = (struct pk_signature){.server = ev_server(event->site, event->vantage),
        .server_port = 53,
        .transport = event->transport,
        .vantage = event->vantage,
        .answer = event->answer,
        .qtype = event->qtype,
        .qclass = event->qclass,
        .rcode = event->rcode,
        .flags = event->flags,
        .edns_udp_size = event->flags & PK_SIG_QUERY_EDNS ? 1232 : 0};
    if (is_one_way) {
        row.signature.answer = PK_ANSWER_NONE;
        row.signature.rcode = PK_RCODE_NO_RESPONSE;
        row.signature.flags &= (uint16_t) ~(PK_SIG_AA | PK_SIG_RA | PK_SIG_TC);
        row.answer_digest = row.min_ttl_s = row.response_bytes_max = row.latency_min_us =
            row.latency_max_us = row.transfer_records = 0;
        row.transfer_soas = 0;
    }
    if (event->is_inside) {
        row.client.kind = PK_CLIENT_PSEUDONYM;
        ev_pseudonym(&event->client, row.client.pseudonym);
        row.client.prefix = pk_addr_prefix(&event->client, 16);
    } else {
        row.client.kind = PK_CLIENT_OUTSIDE;
        row.client.addr = event->client;
    }
    int64_t window_end = (seen / EV_WINDOW_US + 1) * EV_WINDOW_US - skew;
    out_row->arrival_us = window_end + (event->site == flaws->late_site ? flaws->late_us : 0);
    out_row->activity = row;
    out_row->site = event->site;
    out_row->n_attack = event->is_attack;
    out_row->order = event->order;
    out_row->identity = identity(event, names, is_one_way);
    return true;
}

/* Rows of one window and site with the same identity stand side by side, the earliest first. */
static int by_identity(const void *a, const void *b)
{
    const struct ev_row *x = a, *y = b;
    if (x->arrival_us != y->arrival_us) {
        return x->arrival_us < y->arrival_us ? -1 : 1;
    }
    if (x->site != y->site) {
        return x->site < y->site ? -1 : 1;
    }
    if (x->identity != y->identity) {
        return x->identity < y->identity ? -1 : 1;
    }
    return (x->order > y->order) - (x->order < y->order);
}

static bool merges(const struct ev_row *x, const struct ev_row *y)
{
    return x->arrival_us == y->arrival_us && x->site == y->site && x->identity == y->identity;
}

static int by_arrival(const void *a, const void *b)
{
    const struct ev_row *x = a, *y = b;
    if (x->arrival_us != y->arrival_us) {
        return x->arrival_us < y->arrival_us ? -1 : 1;
    }
    if (x->site != y->site) {
        return x->site < y->site ? -1 : 1;
    }
    return (x->order > y->order) - (x->order < y->order);
}

void ev_traffic_rows(
    struct ev_traffic *traffic, const struct ev_flaws *flaws, struct ev_rows *out_rows)
{
    ev_traffic_sort(traffic);
    if (out_rows->cap < traffic->n) {
        out_rows->cap = traffic->n;
        out_rows->rows = grow(out_rows->rows, out_rows->cap * sizeof *out_rows->rows);
    }
    size_t n = 0;
    for (size_t i = 0; i < traffic->n; i++) {
        n += see(&traffic->events[i], traffic->names, flaws, &out_rows->rows[n]);
    }
    if (n) {
        qsort(out_rows->rows, n, sizeof *out_rows->rows, by_identity);
    }
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        struct ev_row *row = &out_rows->rows[i];
        struct ev_row *last = kept ? &out_rows->rows[kept - 1] : NULL;
        if (!last || !merges(last, row)) {
            out_rows->rows[kept++] = *row;
            continue;
        }
        last->activity.count++;
        last->activity.span_us = (uint32_t)(row->activity.first_us - last->activity.first_us);
        unsigned mixed = (unsigned)last->activity.case_mixed + row->activity.case_mixed;
        last->activity.case_mixed = (uint8_t)(mixed > 255 ? 255 : mixed);
        last->n_attack += row->n_attack;
    }
    if (kept) {
        qsort(out_rows->rows, kept, sizeof *out_rows->rows, by_arrival);
    }
    out_rows->n = kept;
}

void ev_traffic_hold(struct ev_traffic *traffic, const struct ev_flaws *flaws, int64_t end_us,
    struct ev_traffic *out_later)
{
    size_t kept = 0;
    for (size_t i = 0; i < traffic->n; i++) {
        const struct ev_event *event = &traffic->events[i];
        if (event->site == flaws->late_site && event->time_us >= end_us - flaws->late_us) {
            struct pk_name name = {.len = event->name_len};
            memcpy(name.wire, traffic->names + event->name_pos, name.len);
            ev_traffic_add(out_later, event, &name);
        } else {
            traffic->events[kept++] = *event;
        }
    }
    traffic->n = kept;
}

/* Whatever mix of packets comes, everything is in its place when a window ends: the rules of enum pk_health_key, window by window, and the rows that leave. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "picket/hash.h"

#include "packet_builder.h"
#include "row_sink.h"
#include "sensor/pipeline.h"

enum {
    N_PACKETS = 30000,
    WINDOW_MS = 1000,
    MAX_WIRE = 1500
};

struct fixture {
    struct pk_stats stats, before;
    struct pk_merge *merge;
    struct row_sink *rows;
    struct pk_pipeline *pipeline;
    uint64_t random;
    int64_t ts_us;
    uint64_t n_windows, told; /* told: transactions in rows since the last window's end */
    uint64_t told_unnamed;    /* of clients out of scope */
    uint64_t told_all, transactions_all;
    uint32_t seq[64];
};

static uint32_t dice(struct fixture *f, uint32_t n)
{
    f->random ^= f->random << 13; /* xorshift64, Marsaglia 2003 */
    f->random ^= f->random >> 7;
    f->random ^= f->random << 17;
    return (uint32_t)(f->random >> 32) % n;
}

static void on_window(void *arg, const struct pk_batch_info *info)
{
    (void)arg;
    (void)info;
}

static void on_activity(void *arg, const struct pk_activity *row)
{
    struct fixture *f = arg;
    f->told += row->count;
}

static void on_rrset(void *arg, const struct pk_rrset *row)
{
    (void)arg;
    (void)row;
}

static void on_negative(void *arg, const struct pk_negative *row)
{
    struct fixture *f = arg;
    f->told += row->count;
}

static void on_client(void *arg, const struct pk_client_count *row)
{
    struct fixture *f = arg;
    f->told += row->reason == PK_CLIENT_OVERFLOW ? row->count : 0;
    f->told_unnamed += row->reason == PK_CLIENT_OUT_OF_SCOPE ? row->count : 0;
}

static void on_window_end(void *arg, bool is_last)
{
    struct fixture *f = arg;
    struct pk_health health;
    if (!is_last) {
        return;
    }
    assert_null(pk_stats_check(&f->stats));
    pk_stats_health(&f->stats, &f->before, WINDOW_MS, &health);
    const uint64_t *v = health.v;
    assert_int_equal(v[PK_HEALTH_PACKETS], v[PK_HEALTH_DNS_PACKETS] + v[PK_HEALTH_TCP_PACKETS] +
                                               v[PK_HEALTH_NOT_DNS] + v[PK_HEALTH_SNAPPED] +
                                               v[PK_HEALTH_BAD_PACKET] + v[PK_HEALTH_FRAGMENTS]);
    assert_int_equal(v[PK_HEALTH_MESSAGES], v[PK_HEALTH_MALFORMED] + v[PK_HEALTH_IGNORED] +
                                                v[PK_HEALTH_COPIES] + v[PK_HEALTH_QUERIES] +
                                                v[PK_HEALTH_RESPONSES]);
    assert_int_equal(v[PK_HEALTH_QUERIES], v[PK_HEALTH_OPENED] + v[PK_HEALTH_RETRANSMISSIONS]);
    assert_int_equal(v[PK_HEALTH_TRANSACTIONS], v[PK_HEALTH_ANSWERED] + v[PK_HEALTH_UNANSWERED]);
    assert_int_equal(v[PK_HEALTH_OPENED],
        v[PK_HEALTH_TRANSACTIONS] + v[PK_HEALTH_OPEN_NOW] - f->before.open_now);
    assert_int_equal(v[PK_HEALTH_TRANSACTIONS], v[PK_HEALTH_IN_SCOPE] + v[PK_HEALTH_OVERFLOW] +
                                                    v[PK_HEALTH_NEGATIVE] + v[PK_HEALTH_POSITIVE] +
                                                    v[PK_HEALTH_MERGE_SHED]);
    assert_int_equal(
        f->told, v[PK_HEALTH_IN_SCOPE] + v[PK_HEALTH_OVERFLOW] + v[PK_HEALTH_NEGATIVE]);
    assert_int_equal(f->told_unnamed, v[PK_HEALTH_NEGATIVE] + v[PK_HEALTH_POSITIVE]);
    f->told_unnamed = 0;
    f->transactions_all += v[PK_HEALTH_TRANSACTIONS];
    f->told = 0;
    f->before = f->stats;
    f->n_windows++;
}

static void give(struct fixture *f, const struct pk_build_flow *flow, const uint8_t *payload,
    size_t len, uint16_t interface)
{
    uint8_t data[PK_BUILD_MAX];
    size_t whole = pk_build_packet(data, flow, payload, len);
    size_t cut = dice(f, 60) == 0 ? dice(f, (uint32_t)whole) : 0;
    if (dice(f, 60) == 0) {
        data[dice(f, (uint32_t)whole)] ^= (uint8_t)(1 + dice(f, 255));
    }
    const struct pk_raw_packet raw = {.ts_us = f->ts_us,
        .data = data,
        .caplen = whole - cut,
        .wire_len = whole,
        .interface = interface};
    pk_pipeline_packet(f->pipeline, (int)flow->link, &raw);
}

/* A message of one of few clients, servers, names and ids, so that they meet; returns its bytes. */
static size_t make_message(struct fixture *f, uint8_t *wire, bool is_response)
{
    static const char *const names[] = {
        "www.example.com.", "WwW.example.com.", "mail.example.org.", "example.com.", "."};
    static const uint8_t addr[4] = {192, 0, 2, 80};
    uint32_t which = dice(f, 5);
    const char *name = names[which];
    uint16_t id = (uint16_t)dice(f, 8), type = which == 3 ? 252 : 1;
    if (!is_response) {
        size_t len = pk_build_query(wire, id, name, type);
        wire[2] = dice(f, 30) == 0 ? 6 << 3 : wire[2]; /* another opcode */
        return len;
    }
    uint16_t rcode = (uint16_t)(dice(f, 4) == 0 ? 3 : 0);
    size_t len = pk_build_response(wire, id, name, type, rcode | 0x0400);
    for (uint32_t n = dice(f, 3); rcode == 0 && n > 0; n--) {
        len = pk_build_record(wire, len, 1, "www.example.com.", 1, addr, sizeof addr);
    }
    return len;
}

static void one_packet(struct fixture *f)
{
    uint8_t wire[MAX_WIRE], framed[MAX_WIRE + 2];
    bool is_response = dice(f, 2);
    uint8_t client = (uint8_t)(1 + dice(f, 6)), server = (uint8_t)(50 + dice(f, 2));
    uint16_t port = (uint16_t)(4000 + dice(f, 2));
    size_t len = make_message(f, wire, is_response);
    struct pk_build_flow flow = {.link = PK_BUILD_ETHERNET,
        .n_vlans = dice(f, 5) == 0,
        .is_v6 = dice(f, 4) == 0,
        .is_tcp = dice(f, 6) == 0,
        .src = is_response ? server : client,
        .dst = is_response ? client : server,
        .sport = is_response ? 53 : port,
        .dport = is_response ? port : 53};
    if (dice(f, 40) == 0) {
        flow.sport = flow.dport = 443;
    }
    const uint8_t *payload = wire;
    if (flow.is_tcp) {
        uint32_t *seq = &f->seq[(client * 2 + server % 2) * 2 + is_response];
        payload = framed;
        len = pk_build_framed(framed, wire, len);
        flow.seq = *seq;
        *seq += dice(f, 20) == 0 ? 3 : (uint32_t)len; /* now and then a piece comes twice, cut */
    }
    give(f, &flow, payload, len, (uint16_t)dice(f, 2));
    for (uint32_t copies = dice(f, 4); copies == 3; copies = dice(f, 4)) {
        f->ts_us += dice(f, 100);
        if (dice(f, 2)) { /* translated */
            *(is_response ? &flow.dst : &flow.src) = 99;
        }
        give(f, &flow, payload, len, (uint16_t)dice(f, 3));
    }
}

static void pass_time(struct fixture *f)
{
    uint32_t kind = dice(f, 1000);
    f->ts_us += kind < 900   ? dice(f, 3000)
                : kind < 995 ? dice(f, 400000)
                : kind < 998 ? dice(f, 20000000)
                             : -(int64_t)dice(f, 5000000); /* the clock was set */
    if (kind == 950) {
        pk_pipeline_tick(f->pipeline, f->ts_us);
    }
}

static void run(uint64_t seed, const struct pk_scope_tenant *tenant)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->random = seed * UINT64_C(0x9e3779b97f4a7c15);
    f->ts_us = 1000000000;
    pk_hash_set_key((const uint8_t[16]){(uint8_t)seed});
    const struct row_calls calls = {
        f, on_window, on_activity, on_rrset, on_negative, on_client, on_window_end};
    f->rows = row_sink_new(&calls);
    const struct pk_merge_sink sink = row_sink_of(f->rows);
    const struct pk_merge_options options = {
        .tenant = tenant, .site = tenant ? &tenant->sites[0] : NULL, .window_ms = WINDOW_MS};
    assert_int_equal(pk_merge_new(&options, &f->stats, &sink, &f->merge), PK_OK);
    const struct pk_pipeline_options pipeline = {
        .ports = {.v = {53}, .n = 1}, .merge = f->merge, .wants_rrsets = true};
    assert_int_equal(pk_pipeline_new(&pipeline, &f->stats, &f->pipeline), PK_OK);
    for (unsigned i = 0; i < N_PACKETS; i++) {
        pass_time(f);
        one_packet(f);
    }
    pk_pipeline_flush(f->pipeline);
    assert_null(pk_stats_check(&f->stats));
    assert_int_equal(f->stats.open_now + f->stats.held_now, 0);
    assert_int_equal(f->transactions_all, f->stats.opened);
    /* The mix has something of everything. */
    const uint64_t seen[] = {f->n_windows, f->stats.answered, f->stats.unanswered,
        f->stats.retransmissions, f->stats.copies, f->stats.late, f->stats.mismatched,
        f->stats.repeated, f->stats.conflicting, f->stats.ignored, f->stats.unusable,
        f->stats.messages_tcp, f->stats.transfer_more, f->stats.case_changed,
        f->stats.dispositions[PK_PACKET_NOT_DNS], f->stats.dispositions[PK_PACKET_SNAPPED]};
    for (size_t i = 0; i < sizeof seen / sizeof *seen; i++) {
        if (seen[i] == 0) {
            fail_msg("seed %llu: kind %zu never came", (unsigned long long)seed, i);
        }
    }
    pk_pipeline_free(f->pipeline);
    pk_merge_free(f->merge);
    row_sink_free(f->rows);
    free(f);
}

static void every_window_balances(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        run(seed, NULL);
    }
}

/* One of the names is in scope: activity, negatives, and what only counts. */
static void every_window_balances_with_a_scope(void **state)
{
    (void)state;
    static const char text[] = "tenants:\n  - {name: acme, sites: [hq], zones: [example.org]}\n";
    char error[PK_CONF_ERROR_SIZE];
    struct pk_scope *scope;
    assert_int_equal(pk_scope_parse("scope", text, sizeof text - 1, &scope, error), PK_OK);
    for (uint64_t seed = 5; seed <= 8; seed++) {
        run(seed, &scope->tenants[0]);
    }
    pk_scope_free(scope);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_window_balances),
        cmocka_unit_test(every_window_balances_with_a_scope),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

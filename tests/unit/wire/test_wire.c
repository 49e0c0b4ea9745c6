/* Batches, columns, segments and the scope: round trips, size, refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "picket/batch_rows.h"
#include "picket/clock.h"
#include "picket/codec.h"
#include "picket/envelope.h"
#include "picket/hash.h"
#include "picket/limits.h"
#include "picket/pseudonym.h"
#include "picket/scope.h"
#include "picket/segment.h"

#include "proto/wire/columns.h"

static void put_column(const uint64_t *values, size_t n, struct pk_bytes *out)
{
    struct column_plan plan = column_plan(values, n);
    uint8_t *room = pk_bytes_extend(out, plan.len + COLUMN_SLACK);
    assert_non_null(room);
    column_write(&plan, values, n, room);
    out->len -= COLUMN_SLACK;
}

/* Columns of 32 bits have code of their own, and the same bytes. */
static void check_narrow(const uint64_t *values, size_t n, const struct pk_bytes *wide)
{
    uint32_t narrow[200];
    uint8_t room[200 * 5 + 1 + COLUMN_SLACK];
    for (size_t i = 0; i < n; i++) {
        if (values[i] > UINT32_MAX) {
            return;
        }
        narrow[i] = (uint32_t)values[i];
    }
    struct column_plan plan = column_plan_narrow(narrow, n);
    if (pk_column_is_zero(values, n)) {
        assert_int_equal(plan.len, 0);
        return;
    }
    assert_int_equal(plan.len, wide->len);
    column_write_narrow(&plan, narrow, n, room);
    assert_memory_equal(room, wide->data, wide->len);
}

static void column_of_the_draft_has_its_bytes(void **state)
{
    static const struct {
        uint64_t values[4];
        size_t n;
        const char *hex;
    } cases[] = {
        {{100000, 100001, 100003}, 3, "01c09a0c0204"},
        {{7, 7, 7, 7}, 4, "0407"},
        {{1, 2, 3}, 3, "00010203"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pk_bytes out;
        char hex[64] = "";
        uint64_t back[4];
        pk_bytes_init(&out, 1000);
        put_column(cases[i].values, cases[i].n, &out);
        for (size_t k = 0; k < out.len; k++) {
            snprintf(hex + 2 * k, 3, "%02x", out.data[k]);
        }
        assert_string_equal(hex, cases[i].hex);
        assert_int_equal(pk_column_decode((struct pk_slice){out.data, (uint32_t)out.len},
                             cases[i].n, UINT64_MAX, back),
            PK_OK);
        assert_memory_equal(back, cases[i].values, cases[i].n * sizeof *back);
        pk_bytes_done(&out);
    }
}

static void columns_of_any_values_come_back(void **state)
{
    (void)state;
    uint64_t seed = 88172645463325252u, values[200], back[200];
    for (unsigned round = 0; round < 3000; round++) {
        size_t n = 1 + round % 200;
        unsigned bits = round / 7 % 65; /* most values are small */
        for (size_t i = 0; i < n; i++) {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            values[i] = round % 7 == 0   ? seed
                        : round % 7 == 1 ? seed % 3
                        : round % 7 == 2 ? seed >> (seed % 64)
                        : round % 7 == 3 ? round + i / 20 /* runs */
                        : round % 7 == 4 ? round + i * (seed % 300)
                                         : (bits ? seed >> (64 - bits) : 0);
        }
        struct pk_bytes out;
        pk_bytes_init(&out, 100000);
        put_column(values, n, &out);
        assert_int_equal(
            pk_column_decode((struct pk_slice){out.data, (uint32_t)out.len}, n, UINT64_MAX, back),
            PK_OK);
        assert_memory_equal(back, values, n * sizeof *values);
        check_narrow(values, n, &out);
        pk_bytes_done(&out);
    }
}

static size_t wire_name(uint8_t *out, const char *text)
{
    struct pk_name name;
    assert_int_equal(pk_name_from_text(text, &name), PK_OK);
    memcpy(out, name.wire, name.len);
    return name.len;
}

/* --- rows made to take the most bytes there can be --- */

static uint64_t dice_state;

static uint64_t throw_dice(void)
{
    dice_state = dice_state * 6364136223846793005u + 1442695040888963407u;
    return dice_state ^ dice_state >> 29;
}

/* A name of about this many bytes that shares nothing with others. */
static struct pk_slice odd_name(uint8_t out[PK_NAME_MAX], unsigned len)
{
    unsigned at = 0;
    while (at + 2 < len) {
        unsigned label = len - at - 2 < 60 ? len - at - 2 : 60;
        out[at++] = (uint8_t)label;
        for (unsigned i = 0; i < label; i++) {
            out[at++] = (uint8_t)('a' + throw_dice() % 26);
        }
    }
    out[at++] = 0;
    return (struct pk_slice){out, at};
}

static pk_err add_greedy_activity(
    struct pk_batch_builder *builder, struct pk_slice name, const struct pk_addr *addr)
{
    struct pk_activity row = {.client = {.kind = PK_CLIENT_OUTSIDE,
                                  .addr = *addr,
                                  .prefix = pk_addr_prefix(addr, (uint8_t)(8 * pk_addr_len(addr)))},
        .name = name,
        .signature = {.server = *addr, .server_port = addr->bytes[1], .qtype = 0xffff},
        .first_us = (int64_t)throw_dice() / 2,
        .span_us = (uint32_t)throw_dice() | 1u << 31,
        .count = (uint32_t)throw_dice() | 1u << 31,
        .latency_max_us = (uint32_t)throw_dice() | 1u << 31,
        .response_bytes_max = (uint32_t)throw_dice() | 1u << 31,
        .answer_digest = throw_dice(),
        .min_ttl_s = (uint32_t)throw_dice() | 1u << 31,
        .retransmissions = (uint32_t)throw_dice() | 1u << 31,
        .transfer_records = (uint32_t)throw_dice() | 1u << 31,
        .transfer_soas = (uint16_t)(throw_dice() | 1u << 15),
        .case_mixed = (uint8_t)throw_dice()};
    return pk_batch_add_activity(builder, &row);
}

static pk_err add_greedy_rrset(
    struct pk_batch_builder *builder, struct pk_slice name, const struct pk_addr *addr)
{
    uint8_t bytes[3][40];
    struct pk_slice rdata[3];
    for (unsigned i = 0; i < 3; i++) {
        rdata[i] = (struct pk_slice){bytes[i], 1 + (uint32_t)(throw_dice() % sizeof bytes[i])};
        for (unsigned k = 0; k < rdata[i].len; k++) {
            bytes[i][k] = (uint8_t)throw_dice();
        }
    }
    struct pk_rrset row = {.owner = name,
        .type = 0xffff,
        .class = 0xffff,
        .rdata = rdata,
        .n_rdata = 3,
        .bailiwick = name,
        .count = (uint32_t)throw_dice() | 1u << 31,
        .first_us = (int64_t)throw_dice() / 2,
        .last_us = (int64_t)throw_dice() / 2,
        .ttl_max_s = (uint32_t)throw_dice() | 1u << 31,
        .server = *addr};
    return pk_batch_add_rrset(builder, &row);
}

static pk_err add_greedy_negative(
    struct pk_batch_builder *builder, struct pk_slice name, const struct pk_addr *addr)
{
    (void)addr;
    struct pk_negative row = {.name = name,
        .type = 0xffff,
        .class = 0xffff,
        .rcode = 0xfff,
        .count = (uint32_t)throw_dice() | 1u << 31,
        .first_us = (int64_t)throw_dice() / 2,
        .last_us = (int64_t)throw_dice() / 2};
    return pk_batch_add_negative(builder, &row);
}

/* An encoder's PK_ERR_LIMIT would end the sensor: the builder has to say no before. */
static void no_rows_make_a_body_that_does_not_fit(void **state)
{
    (void)state;
    static const struct {
        enum pk_batch_kind kind;
        pk_err (*add)(struct pk_batch_builder *, struct pk_slice, const struct pk_addr *);
    } kinds[] = {{PK_BATCH_ACTIVITY, add_greedy_activity}, {PK_BATCH_RRSET, add_greedy_rrset},
        {PK_BATCH_NEGATIVE, add_greedy_negative}};
    struct pk_batch_builder *builder;
    struct pk_bytes body;
    size_t largest = 0;
    pk_bytes_init(&body, PK_MAX_BODY_BYTES);
    assert_int_equal(pk_batch_builder_new(PK_MAX_BATCH_ROWS, &builder), PK_OK);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        for (unsigned len = 3; len <= 255; len = len * 3 / 2) {
            struct pk_batch_info info = {.kind = kinds[i].kind, .window_start_us = INT64_MAX / 2};
            uint8_t address[16], wire[PK_NAME_MAX];
            bool is_varied = len % 2;
            struct pk_slice name = odd_name(wire, len);
            pk_err err = PK_OK;
            pk_batch_builder_begin(builder, &info);
            while (err == PK_OK) {
                for (unsigned k = 0; k < sizeof address; k++) { /* few addresses, or each its own */
                    address[k] = is_varied || k == 1 ? (uint8_t)(throw_dice() >> 8) : 0;
                }
                struct pk_addr addr = pk_addr_v6(address);
                err = kinds[i].add(builder, is_varied ? odd_name(wire, len) : name, &addr);
            }
            assert_int_equal(err, PK_ERR_LIMIT);
            size_t rows = pk_batch_builder_rows(builder);
            int64_t first_us, last_us;
            pk_bytes_clear(&body);
            assert_true(rows > 1000);
            assert_int_equal(pk_batch_encode(builder, &body, &first_us, &last_us), PK_OK);
            largest = body.len > largest ? body.len : largest;
        }
    }
    print_message("largest body %zu bytes\n", largest);
    assert_true(largest > PK_MAX_BODY_BYTES / 2); /* else nothing was attacked */
    pk_batch_builder_free(builder);
    pk_bytes_done(&body);
}

/* A row that no batch can hold is refused, and leaves nothing behind. */
static void a_row_that_does_not_fit_is_taken_back(void **state)
{
    (void)state;
    struct pk_batch_builder *builder;
    struct pk_bytes body, without;
    struct pk_batch_info info = {.kind = PK_BATCH_RRSET};
    static uint8_t big[40][60000];
    struct pk_slice rdata[40];
    int64_t first_us, last_us;
    pk_bytes_init(&body, PK_MAX_BODY_BYTES);
    pk_bytes_init(&without, PK_MAX_BODY_BYTES);
    assert_int_equal(pk_batch_builder_new(PK_MAX_BATCH_ROWS, &builder), PK_OK);
    for (unsigned i = 0; i < 40; i++) {
        memset(big[i], (int)i, sizeof big[i]);
        rdata[i] = (struct pk_slice){big[i], sizeof big[i]};
    }
    for (unsigned with = 0; with < 2; with++) {
        struct pk_rrset fits = {.owner = {(const uint8_t *)"\1a", 3},
            .type = 1,
            .rdata = rdata,
            .n_rdata = 1,
            .bailiwick = {(const uint8_t *)"", 1},
            .count = 1};
        struct pk_rrset too_big = {.owner = {(const uint8_t *)"\1b", 3},
            .rdata = rdata,
            .n_rdata = 40,
            .bailiwick = {(const uint8_t *)"", 1}};
        pk_batch_builder_begin(builder, &info);
        assert_int_equal(pk_batch_add_rrset(builder, &fits), PK_OK);
        if (with) {
            assert_int_equal(pk_batch_add_rrset(builder, &too_big), PK_ERR_LIMIT);
        }
        fits.owner.data = (const uint8_t *)"\1b"; /* the refused row's */
        assert_int_equal(pk_batch_add_rrset(builder, &fits), PK_OK);
        struct pk_bytes *out = with ? &body : &without;
        assert_int_equal(pk_batch_encode(builder, out, &first_us, &last_us), PK_OK);
    }
    assert_int_equal(body.len, without.len);
    assert_memory_equal(body.data, without.data, body.len);
    pk_batch_builder_free(builder);
    pk_bytes_done(&body);
    pk_bytes_done(&without);
}

/* From tables of numbers as from values: the same rows give the same bytes. */
static void rows_of_tables_are_the_builders_bytes(void **state)
{
    (void)state;
    enum {
        N_ROWS = 3000,
        N_NAMES = 700,
        N_CLIENTS = 50,
        N_ANSWERS = 20
    };
    static struct pk_activity_row rows[N_ROWS];
    static const struct pk_signature_row signatures[] = {
        {.server = 1, .server_port = 53, .qtype = 1, .qclass = 1, .flags = 9, .answer = 1},
        {.server = 2, .server_port = 5353, .qtype = 300, .qclass = 3, .rcode = 0xffff, .opcode = 4},
        {.qtype = 28, .transport = 1, .vantage = 2, .edns_udp_size = 1232}};
    const struct pk_addr servers[] = {{0}, pk_addr_v4((const uint8_t[]){192, 0, 2, 1}),
        pk_addr_v6((const uint8_t[16]){0x20, 1, 0xd, 0xb8, 9})};
    const struct pk_batch_info info = {
        .kind = PK_BATCH_ACTIVITY, .window_start_us = 1795000000000000, .window_ms = 10000};
    uint64_t answers[N_ANSWERS];
    struct pk_dictionary names, clients, addrs;
    struct pk_client values[N_CLIENTS];
    struct pk_batch_builder *builder;
    struct pk_rows_encoder *encoder;
    struct pk_bytes wanted, got;
    uint32_t number;
    pk_bytes_init(&wanted, PK_MAX_BODY_BYTES);
    pk_bytes_init(&got, PK_MAX_BODY_BYTES);
    assert_int_equal(pk_dictionary_init(&names, N_NAMES, 1 << 20), PK_OK);
    assert_int_equal(pk_dictionary_init(&clients, N_CLIENTS, 1 << 20), PK_OK);
    assert_int_equal(pk_dictionary_init(&addrs, 2, 1 << 20), PK_OK);
    for (unsigned i = 0; i < N_NAMES; i++) {
        uint8_t wire[PK_NAME_MAX];
        struct pk_slice name = odd_name(wire, 4 + i % 60);
        (void)pk_dictionary_intern(&names, name.data, name.len, &number);
    }
    for (unsigned i = 0; i < N_CLIENTS; i++) {
        uint8_t packed[PK_CLIENT_PACKED_SIZE];
        values[i] = (struct pk_client){.kind = PK_CLIENT_OUTSIDE,
            .addr = pk_addr_v4((const uint8_t[]){198, 51, 100, (uint8_t)i})};
        if (i % 3 == 0) {
            values[i].prefix = pk_addr_prefix(&values[i].addr, 32);
        } else if (i % 3 == 1) {
            const struct pk_addr wide =
                pk_addr_v6((const uint8_t[16]){0x20, 1, 0xd, 0xb8, (uint8_t)i});
            values[i].prefix = pk_addr_prefix(&wide, 48);
        }
        (void)pk_dictionary_append(
            &clients, packed, pk_client_pack_with_subnet(&values[i], packed), &number);
    }
    for (unsigned i = 1; i < 3; i++) {
        (void)pk_dictionary_append(&addrs, &servers[i], 1 + pk_addr_len(&servers[i]), &number);
    }
    for (unsigned i = 0; i < N_ANSWERS; i++) {
        answers[i] = throw_dice() + i;
    }
    assert_int_equal(pk_batch_builder_new(PK_MAX_BATCH_ROWS, &builder), PK_OK);
    assert_int_equal(pk_rows_encoder_new(&encoder), PK_OK);
    pk_batch_builder_begin(builder, &info);
    for (unsigned i = 0; i < N_ROWS; i++) {
        struct pk_activity_row *row = &rows[i];
        *row = (struct pk_activity_row){.name = (uint32_t)throw_dice() % names.n,
            .client = (uint32_t)throw_dice() % N_CLIENTS,
            .signature = (uint32_t)throw_dice() % 3,
            .answer = (uint32_t)throw_dice() % (N_ANSWERS + 1),
            .first_us = info.window_start_us + 40 * (int64_t)i - (i % 100 == 0 ? 100000 : 0),
            .span_us = i % 7 ? 0 : (uint32_t)throw_dice(),
            .count = 1 + i % 3,
            .latency_min_us = (uint32_t)throw_dice() % 100000,
            .response_bytes_max = (uint32_t)throw_dice() % 1400,
            .min_ttl_s = i % 10 ? 300 : UINT32_MAX};
        row->latency_max_us = row->latency_min_us + i % 2;
        const struct pk_signature_row *s = &signatures[row->signature];
        const struct pk_activity value = {.client = values[row->client],
            .name = pk_dictionary_at(&names, row->name),
            .signature = {.server = servers[s->server],
                .server_port = s->server_port,
                .transport = s->transport,
                .vantage = s->vantage,
                .opcode = s->opcode,
                .answer = s->answer,
                .qtype = s->qtype,
                .qclass = s->qclass,
                .rcode = s->rcode,
                .flags = s->flags,
                .edns_udp_size = s->edns_udp_size},
            .first_us = row->first_us,
            .span_us = row->span_us,
            .count = row->count,
            .latency_min_us = row->latency_min_us,
            .latency_max_us = row->latency_max_us,
            .response_bytes_max = row->response_bytes_max,
            .answer_digest = row->answer ? answers[row->answer - 1] : 0,
            .min_ttl_s = row->min_ttl_s};
        assert_int_equal(pk_batch_add_activity(builder, &value), PK_OK);
    }
    const struct pk_rows table = {.kind = PK_BATCH_ACTIVITY,
        .rows = rows,
        .n = N_ROWS,
        .names = &names,
        .clients = &clients,
        .has_subnets = true,
        .signatures = signatures,
        .answers = answers,
        .addrs = &addrs};
    struct pk_rows_batch batch;
    int64_t first_us, last_us;
    assert_int_equal(pk_batch_encode(builder, &wanted, &first_us, &last_us), PK_OK);
    assert_int_equal(pk_rows_encoder_begin(encoder, &info, &table), PK_OK);
    assert_int_equal(pk_rows_encoder_next(encoder, &got, &batch), PK_OK);
    assert_int_equal(batch.n_rows, N_ROWS);
    assert_int_equal(batch.first_us, first_us);
    assert_int_equal(batch.last_us, last_us);
    assert_int_equal(got.len, wanted.len);
    assert_memory_equal(got.data, wanted.data, got.len);
    struct pk_batch *decoded;
    struct pk_batch_fault fault;
    assert_int_equal(pk_batch_decode(got.data, got.len, &decoded, &fault), PK_OK);
    for (unsigned i = 0; i < N_ROWS; i++) {
        struct pk_activity row;
        pk_batch_activity(decoded, i, &row);
        assert_memory_equal(&row.client, &values[rows[i].client], sizeof row.client);
    }
    pk_batch_free(decoded);
    assert_int_equal(pk_rows_encoder_next(encoder, &got, &batch), PK_OK);
    assert_int_equal(batch.n_rows, 0);
    /* A capture whose time jumps: whatever days its rows are of, no batch is refused for them. */
    uint32_t n_rows = 0;
    for (unsigned i = 0; i < N_ROWS; i++) {
        rows[i].first_us -= (int64_t)(i / 50) * PK_US_PER_DAY;
    }
    assert_int_equal(pk_rows_encoder_begin(encoder, &info, &table), PK_OK);
    for (batch.n_rows = 1; batch.n_rows > 0; n_rows += batch.n_rows) {
        pk_bytes_clear(&got);
        assert_int_equal(pk_rows_encoder_next(encoder, &got, &batch), PK_OK);
        if (batch.n_rows > 0) {
            assert_int_equal(pk_batch_decode(got.data, got.len, &decoded, &fault), PK_OK);
            pk_batch_free(decoded);
        }
    }
    assert_int_equal(n_rows, N_ROWS);
    pk_batch_builder_free(builder);
    pk_rows_encoder_free(encoder);
    pk_dictionary_done(&names);
    pk_dictionary_done(&clients);
    pk_dictionary_done(&addrs);
    pk_bytes_done(&wanted);
    pk_bytes_done(&got);
}

/* The mix of the design: 65 % popular names, 20 % random labels, 15 % reverse names, 5,000 rows. */
static void activity_takes_few_bytes_a_row_and_comes_back(void **state)
{
    (void)state;
    struct pk_batch_builder *builder;
    struct pk_batch_info info = {
        .kind = PK_BATCH_ACTIVITY, .window_start_us = 1795000000000000, .window_ms = 10000};
    struct pk_activity rows[5000];
    uint8_t names[5000][64];
    uint64_t seed = 42;
    assert_int_equal(pk_batch_builder_new(PK_MAX_BATCH_ROWS, &builder), PK_OK);
    pk_batch_builder_begin(builder, &info);
    size_t n = 0;
    for (; n < 5000; n++) {
        char text[64];
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        unsigned dice = (unsigned)(seed >> 33) % 100, pick = (unsigned)(seed >> 40);
        if (dice < 65) {
            snprintf(text, sizeof text, "host%u.site%u.example.com", pick % 20, pick % 40);
        } else if (dice < 85) {
            snprintf(text, sizeof text, "%08x%03u.example.net", pick * 2654435761u, pick % 1000);
        } else {
            snprintf(text, sizeof text, "%u.%u.51.198.in-addr.arpa", pick % 250, pick % 8);
        }
        rows[n] = (struct pk_activity){
            .client = {.kind = PK_CLIENT_OUTSIDE,
                .addr = pk_addr_v4((const uint8_t[]){192, 0, 2, (uint8_t)(pick % 100)})},
            .name = {names[n], (uint32_t)wire_name(names[n], text)},
            .signature = {.server = pk_addr_v4((const uint8_t[]){198, 51, 100, 1}),
                .server_port = 53,
                .qtype = dice < 85 ? 1 : 12,
                .qclass = 1,
                .answer = dice < 65 ? PK_ANSWER_DATA : PK_ANSWER_NXDOMAIN,
                .rcode = dice < 65 ? 0 : 3},
            .first_us = info.window_start_us + (int64_t)n * 2000,
            .count = 1,
            .latency_min_us = 100 + pick % 1000,
            .latency_max_us = 100 + pick % 1000,
            .response_bytes_max = 60 + pick % 100,
        };
        if (pk_batch_add_activity(builder, &rows[n]) != PK_OK) {
            break;
        }
    }
    struct pk_bytes body;
    int64_t first_us, last_us;
    pk_bytes_init(&body, PK_MAX_BODY_BYTES);
    assert_int_equal(pk_batch_encode(builder, &body, &first_us, &last_us), PK_OK);
    print_message("%zu rows, %.1f bytes a row\n", n, (double)body.len / (double)n);
    assert_true(n >= 4000);
    assert_true(body.len < 22 * n);
    struct pk_batch *batch;
    struct pk_batch_fault fault;
    assert_int_equal(pk_batch_decode(body.data, body.len, &batch, &fault), PK_OK);
    assert_int_equal(pk_batch_rows(batch), n);
    for (size_t i = 0; i < n; i++) {
        struct pk_activity row;
        pk_batch_activity(batch, i, &row);
        assert_int_equal(row.name.len, rows[i].name.len);
        assert_memory_equal(row.name.data, rows[i].name.data, row.name.len);
        assert_memory_equal(&row.client.addr, &rows[i].client.addr, sizeof row.client.addr);
        assert_int_equal(row.first_us, rows[i].first_us);
        assert_int_equal(row.latency_max_us, rows[i].latency_max_us);
        assert_int_equal(row.signature.rcode, rows[i].signature.rcode);
    }
    pk_batch_free(batch);
    /* Cut anywhere, it is refused. */
    for (size_t cut = 0; cut < body.len; cut += 1 + body.len / 500) {
        assert_int_not_equal(pk_batch_decode(body.data, cut, &batch, &fault), PK_OK);
        assert_non_null(fault.what);
    }
    pk_bytes_done(&body);
    pk_batch_builder_free(builder);
}

static void rows_of_more_days_than_a_batch_may_have_are_refused(void **state)
{
    (void)state;
    static const struct {
        enum pk_batch_kind kind;
        int n_days;
        pk_err err;
    } cases[] = {
        {PK_BATCH_ACTIVITY, PK_MAX_BATCH_DAYS, PK_OK},
        {PK_BATCH_ACTIVITY, PK_MAX_BATCH_DAYS + 1, PK_ERR_LIMIT},
        {PK_BATCH_NEGATIVE, PK_MAX_BATCH_DAYS + 1, PK_ERR_LIMIT},
        {PK_BATCH_RRSET, 100, PK_OK},
    };
    struct pk_batch_builder *builder;
    struct pk_bytes body;
    pk_bytes_init(&body, PK_MAX_BODY_BYTES);
    assert_int_equal(pk_batch_builder_new(100, &builder), PK_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pk_batch_info info = {.kind = cases[i].kind, .window_start_us = 86399999999};
        uint8_t wire[64], rdata = 1;
        struct pk_slice name = {wire, (uint32_t)wire_name(wire, "www.example.com")};
        struct pk_slice value = {&rdata, 1};
        int64_t first_us, last_us;
        pk_batch_builder_begin(builder, &info);
        for (int row = 0; row < 100; row++) {
            int64_t us = info.window_start_us - row % cases[i].n_days * PK_US_PER_DAY;
            const struct pk_activity activity = {.name = name, .first_us = us};
            const struct pk_negative negative = {.name = name, .first_us = us, .last_us = us};
            const struct pk_rrset rrset = {.owner = name,
                .bailiwick = name,
                .rdata = &value,
                .n_rdata = 1,
                .first_us = us,
                .last_us = us};
            pk_err err = info.kind == PK_BATCH_ACTIVITY ? pk_batch_add_activity(builder, &activity)
                         : info.kind == PK_BATCH_NEGATIVE
                             ? pk_batch_add_negative(builder, &negative)
                             : pk_batch_add_rrset(builder, &rrset);
            assert_int_equal(err, PK_OK);
        }
        struct pk_batch *batch = NULL;
        struct pk_batch_fault fault;
        const int32_t *days;
        pk_bytes_clear(&body);
        assert_int_equal(pk_batch_encode(builder, &body, &first_us, &last_us), PK_OK);
        assert_int_equal(pk_batch_decode(body.data, body.len, &batch, &fault), cases[i].err);
        if (cases[i].kind == PK_BATCH_ACTIVITY && batch) {
            assert_int_equal(pk_batch_days(batch, &days), cases[i].n_days);
            assert_int_equal(days[0], 0); /* its last microsecond */
            assert_int_equal(days[1], -1);
        }
        pk_batch_free(batch);
    }
    pk_bytes_done(&body);
    pk_batch_builder_free(builder);
}

static void every_flipped_bit_of_a_segment_record_is_noticed(void **state)
{
    (void)state;
    struct pk_segment_record record = {.seq = 7,
                                 .kind = 2,
                                 .rows = 3,
                                 .first_us = 1,
                                 .last_us = 2,
                                 .body = (const uint8_t *)"hello",
                                 .body_len = 5},
                             back;
    struct pk_bytes out;
    pk_bytes_init(&out, 1000);
    pk_segment_record_encode(&record, &out);
    assert_int_equal(out.len % 8, 0);
    size_t pos = 0;
    assert_int_equal(pk_segment_record_decode(out.data, out.len, &pos, &back), PK_OK);
    assert_int_equal(pos, out.len);
    assert_memory_equal(back.body, "hello", 5);
    for (size_t bit = 0; bit < out.len * 8; bit++) {
        out.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        pos = 0;
        assert_int_not_equal(pk_segment_record_decode(out.data, out.len, &pos, &back), PK_OK);
        assert_int_equal(pos, 0);
        out.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t cut = 0; cut < out.len; cut++) {
        pos = 0;
        assert_int_equal(pk_segment_record_decode(out.data, cut, &pos, &back), PK_ERR_TRUNCATED);
    }
    pk_bytes_done(&out);
}

static void crc32c_has_the_value_of_rfc_3720(void **state)
{
    (void)state;
    assert_int_equal(pk_crc32c("123456789", 9), 0xe3069283u);
}

static struct pk_scope *scope_of(const char *text)
{
    struct pk_scope *scope = NULL;
    char error[PK_CONF_ERROR_SIZE] = "";
    if (pk_scope_parse("s.yaml", text, strlen(text), &scope, error) != PK_OK) {
        print_message("%s\n", error);
    }
    return scope;
}

static void wrong_scopes_name_line_key_and_what_would_be_right(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"tenants:\n  - name: acme\n    zonez: [a.b]\n",
            "s.yaml:3: zonez: unknown key; known here: name"},
        {"tenants:\n  - name: Acme\n", "s.yaml:2: name: \"Acme\" is not a name"},
        {"tenants:\n  - name: a\n    networks:\n      - 192.0.2.1/24\n",
            "s.yaml:4: \"192.0.2.1/24\" is not a network"},
        {"tenants:\n  - name: a\n    sites: [x, x]\n", "the site \"x\" stands here twice"},
        {"tenants:\n  - name: a\n    budget: none\n", "s.yaml:3: budget: must be a number"},
        {"tenants: &a\n  - name: a\n", "s.yaml:1:"},
        {"tenants:\n  - zones: [a]\n", "the key \"name\" is missing"},
        {"tenants:\n  - name: a\n   zones: [a]\n", "not YAML"},
        {"", "the key \"tenants\" is missing"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pk_scope *scope = NULL;
        char error[PK_CONF_ERROR_SIZE] = "";
        assert_int_not_equal(
            pk_scope_parse("s.yaml", cases[i].text, strlen(cases[i].text), &scope, error), PK_OK);
        if (!strstr(error, cases[i].message)) {
            fail_msg("\"%s\" does not say \"%s\"", error, cases[i].message);
        }
    }
}

static void names_match_the_most_specific_zone(void **state)
{
    static const struct {
        const char *name;
        uint16_t qtype;
        enum pk_scope_reason reason;
    } cases[] = {
        {"www.example.com.", 1, PK_SCOPE_ZONE}, {"EXAMPLE.com.", 1, PK_SCOPE_ZONE},
        {"notexample.com.", 1, PK_SCOPE_NOT}, {"7.100.51.198.in-addr.arpa.", 12, PK_SCOPE_REVERSE},
        {"7.101.51.198.in-addr.arpa.", 12, PK_SCOPE_NOT},
        {"1.4.0.10.in-addr.arpa.", 12, PK_SCOPE_REVERSE}, /* in 10.0.4.0/22 */
        {"1.8.0.10.in-addr.arpa.", 12, PK_SCOPE_NOT},     /* in its /16, not in the network */
        {"api.dnsdb.info.", 1, PK_SCOPE_WATCH}, {"other.org.", 252, PK_SCOPE_BUILTIN},
        {"printer.local.", 1, PK_SCOPE_BUILTIN},
        {"crt.sh.", 1, PK_SCOPE_BUILTIN}, /* a service that knows others' names */
        {"www.crt.sh.", 1, PK_SCOPE_BUILTIN},
        {"api.shodan.io.", 1, PK_SCOPE_ZONE}, /* but not to its own tenant */
        {"shodan.example.org.", 1, PK_SCOPE_NOT},
        {"x.vpn-kiel3.example.org.", 1, PK_SCOPE_ZONE}, /* below a canary */
    };
    (void)state;
    struct pk_scope *scope = scope_of(
        "tenants:\n  - name: acme\n    sites: [hq]\n    zones: [example.com, shodan.io]\n    networks: [198.51.100.0/24, 10.0.4.0/22]\n"
        "    watch: [api.dnsdb.info]\n    canaries: [vpn-kiel3.example.org, {name: Mx-Oslo4.example.com, channel: axfr, planted: 2026-11-20T10:00:00Z}]\n");
    assert_non_null(scope);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pk_name name;
        assert_int_equal(pk_name_from_text(cases[i].name, &name), PK_OK);
        if (pk_scope_match(&scope->tenants[0], &name, cases[i].qtype, 1, NULL) != cases[i].reason) {
            fail_msg("%s", cases[i].name);
        }
    }
    struct pk_name name, zone;
    assert_int_equal(pk_name_from_text("a.mx-oslo4.example.com", &name), PK_OK);
    assert_int_equal(pk_scope_match(&scope->tenants[0], &name, 1, 1, &zone), PK_SCOPE_ZONE);
    const struct pk_scope_canary *canary = pk_scope_canary_of(&scope->tenants[0], &zone);
    assert_non_null(canary);
    assert_string_equal(canary->channel, "axfr");
    assert_true(canary->planted_us == 1763632800000000 + (int64_t)365 * 86400 * 1000000);
    assert_int_equal(pk_name_from_text("example.com", &name), PK_OK);
    assert_null(pk_scope_canary_of(&scope->tenants[0], &name));
    pk_scope_free(scope);
}

static int start(void **state)
{
    (void)state;
    return pk_hash_start() == PK_OK ? 0 : -1;
}

/* --- codecs --- */

static void packed_bodies_come_back_and_bounds_hold(void **state)
{
    (void)state;
    struct pk_packer *packer;
    struct pk_bytes packed, buffer;
    static uint8_t body[100000];
    const uint8_t *out;
    size_t len;
    uint32_t noise = 1;
    for (size_t i = 0; i < sizeof body; i++) {
        noise = noise * 1664525 + 1013904223;
        body[i] = i % 4 ? 7 : (uint8_t)(noise >> 24);
    }
    assert_int_equal(pk_packer_new(&packer), PK_OK);
    pk_bytes_init(&packed, PK_MAX_BODY_BYTES);
    pk_bytes_init(&buffer, PK_MAX_BODY_BYTES);
    assert_int_equal(pk_pack(packer, body, sizeof body, &packed), PK_CODEC_ZSTD);
    assert_true(packed.len < sizeof body / 2);
    assert_int_equal(pk_unpack(PK_CODEC_ZSTD, packed.data, packed.len, &buffer, &out, &len), PK_OK);
    assert_int_equal(len, sizeof body);
    assert_memory_equal(out, body, sizeof body);

    /* Cut, longer, with another codec: refused. */
    assert_int_equal(pk_unpack(PK_CODEC_ZSTD, packed.data, packed.len - 1, &buffer, &out, &len),
        PK_ERR_MALFORMED);
    pk_bytes_put_u8(&packed, 0);
    assert_int_equal(
        pk_unpack(PK_CODEC_ZSTD, packed.data, packed.len, &buffer, &out, &len), PK_ERR_MALFORMED);
    assert_int_equal(
        pk_unpack(2, packed.data, packed.len, &buffer, &out, &len), PK_ERR_UNSUPPORTED);
    assert_int_equal(pk_unpack(PK_CODEC_PLAIN, body, 7, &buffer, &out, &len), PK_OK);
    assert_ptr_equal(out, body);

    /* What packs better than any reader allows stays plain, and so does what does not pack. */
    memset(body, 0, sizeof body);
    assert_int_equal(pk_pack(packer, body, sizeof body, &packed), PK_CODEC_PLAIN);
    for (size_t i = 0; i < sizeof body; i++) {
        noise = noise * 1664525 + 1013904223;
        body[i] = (uint8_t)(noise >> 24);
    }
    assert_int_equal(pk_pack(packer, body, sizeof body, &packed), PK_CODEC_PLAIN);
    pk_packer_free(packer);
    pk_bytes_done(&packed);
    pk_bytes_done(&buffer);
}

/* A frame may state any length: it is refused before anything is allocated for it. */
static void a_bomb_is_refused_by_its_head(void **state)
{
    (void)state;
    struct pk_bytes buffer;
    const uint8_t *out;
    size_t len;
    /* Magic; single segment, content size of 8 bytes; the size; one empty raw block, the last. */
    uint8_t bomb[64] = {0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0};
    pk_bytes_init(&buffer, PK_MAX_BODY_BYTES);
    assert_int_equal(
        pk_unpack(PK_CODEC_ZSTD, bomb, sizeof bomb, &buffer, &out, &len), PK_ERR_LIMIT);
    assert_null(buffer.data);
    memset(bomb + 5, 0, 8);
    bomb[6] = 0x10; /* 4096: within a body, but more than 32 times these bytes */
    assert_int_equal(
        pk_unpack(PK_CODEC_ZSTD, bomb, sizeof bomb, &buffer, &out, &len), PK_ERR_LIMIT);
    assert_null(buffer.data);
}

/* Bodies that are small maps: keys ascend, blobs have their length, nothing follows. Each case is a HELLO or a BYE body by hand. */
static void small_maps_are_canonical_or_refused(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        uint8_t body[16];
        size_t len;
        bool is_good;
    } cases[] = {
        {"one key", {0x81, 3, 1}, 3, true},
        {"two keys", {0x82, 3, 1, 4, 2}, 5, true},
        {"an unknown key is skipped", {0x82, 3, 1, 99, 2}, 5, true},
        {"the same key twice", {0x82, 3, 1, 3, 1}, 5, false},
        {"keys that descend", {0x82, 4, 2, 3, 1}, 5, false},
        {"key 0", {0x81, 0, 1}, 3, false},
        {"a key that does not come", {0x82, 3, 1}, 3, false},
        {"something behind", {0x81, 3, 1, 0}, 4, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct pk_hello_body hello = {.capabilities = 77};
        bool is_good = pk_hello_body_decode(cases[i].body, cases[i].len, &hello) == PK_OK;
        if (is_good != cases[i].is_good) {
            fail_msg("%s: %s", cases[i].what, is_good ? "taken" : "refused");
        }
        assert_int_equal(hello.capabilities, is_good ? 1 : 77); /* left alone when refused */
    }
    for (uint8_t len = 31; len <= 33; len++) {
        uint8_t bye[64] = {0x82, 1, 0xa1, 'a', 2, 0xc4, len};
        struct pk_endpoint elsewhere;
        assert_int_equal(pk_bye_body_decode(bye, 7U + len, &elsewhere) == PK_OK, len == 32);
    }
}

/* What an older sensor does not say stays zero; what a newer one says besides is skipped (above). */
static void hello_says_what_waits_and_an_older_one_does_not(void **state)
{
    (void)state;
    struct pk_hello_body hello = {.sensor = "s",
                             .software = "t",
                             .spool_bytes = 5,
                             .wall_us = -1,
                             .queued = 7,
                             .behind_us = UINT64_MAX},
                         again;
    struct pk_bytes out;
    pk_bytes_init(&out, 256);
    assert_int_equal(pk_hello_body_encode(&hello, &out), PK_OK);
    assert_int_equal(pk_hello_body_decode(out.data, out.len, &again), PK_OK);
    assert_memory_equal(&again, &hello, sizeof hello);
    /* Keys 13 and 14 are the last: 0d 07, 0e cf and eight bytes. */
    assert_memory_equal(out.data + out.len - 12, "\x0d\x07\x0e\xcf", 4);
    out.data[0] -= 2;
    assert_int_equal(pk_hello_body_decode(out.data, out.len - 12, &again), PK_OK);
    hello.queued = hello.behind_us = 0;
    assert_memory_equal(&again, &hello, sizeof hello);
    pk_bytes_done(&out);
}

static void add_names(struct pk_sketch *sketch, unsigned from, unsigned to)
{
    static const uint8_t key[PK_SKETCH_KEY_BYTES] = {7};
    for (unsigned i = from; i < to; i++) {
        char name[16];
        int len = snprintf(name, sizeof name, "%08x", i);
        pk_sketch_add(sketch, pk_sketch_hash(key, (const uint8_t *)name, (size_t)len));
    }
}

static void sketches_count_within_15_percent_and_unite(void **state)
{
    (void)state;
    static const unsigned sizes[] = {1, 10, 100, 640, 1000, 30000, 1000000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct pk_sketch whole = {{0}}, left = {{0}}, right = {{0}};
        unsigned n = sizes[i];
        add_names(&whole, 0, n);
        add_names(&left, 0, n / 2 + n / 4);
        add_names(&right, n / 2, n); /* a quarter in both */
        add_names(&right, 0, n / 4);
        double estimate = pk_sketch_estimate(&whole);
        assert_true(estimate > 0.85 * n && estimate < 1.15 * n);
        pk_sketch_unite(&left, &right);
        assert_memory_equal(&left, &whole, sizeof whole);
        uint8_t packed[PK_SKETCH_PACKED_SIZE];
        size_t len = pk_sketch_pack(&whole, packed);
        assert_true(pk_sketch_unpack(packed, len, &left));
        assert_memory_equal(&left, &whole, sizeof whole);
        assert_false(pk_sketch_unpack(packed, len - 1, &left));
    }
    assert_true(pk_sketch_estimate(&(struct pk_sketch){{0}}) == 0);
}

static void pseudonyms_hold_for_their_period(void **state)
{
    (void)state;
    static const uint8_t master[PK_PSEUDONYM_KEY_BYTES] = {1}, other[PK_PSEUDONYM_KEY_BYTES] = {2};
    const int64_t day_us = INT64_C(86400000000);
    uint32_t period = pk_pseudonym_period(18000 * day_us, 90); /* 200 * 90 */
    uint8_t key[PK_PSEUDONYM_KEY_BYTES], next[PK_PSEUDONYM_KEY_BYTES];
    uint8_t a[PK_PSEUDONYM_BYTES], b[PK_PSEUDONYM_BYTES];
    struct pk_addr addr = pk_addr_v4((const uint8_t[]){10, 1, 2, 3});
    assert_int_equal(period, 18000);
    assert_int_equal(pk_pseudonym_period(18090 * day_us - 1, 90), 18000);
    assert_int_equal(pk_pseudonym_period(18090 * day_us, 90), 18090);
    assert_int_equal(pk_pseudonym_period(0, 90), 1);
    pk_pseudonym_key(master, period, key);
    pk_pseudonym_key(master, period + 90, next);
    pk_pseudonym_of(key, &addr, a);
    pk_pseudonym_of(key, &addr, b);
    assert_memory_equal(a, b, sizeof a);
    pk_pseudonym_of(next, &addr, b);
    assert_memory_not_equal(a, b, sizeof a);
    pk_pseudonym_key(other, period, next);
    pk_pseudonym_of(next, &addr, b);
    assert_memory_not_equal(a, b, sizeof a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_maps_are_canonical_or_refused),
        cmocka_unit_test(hello_says_what_waits_and_an_older_one_does_not),
        cmocka_unit_test(sketches_count_within_15_percent_and_unite),
        cmocka_unit_test(pseudonyms_hold_for_their_period),
        cmocka_unit_test(packed_bodies_come_back_and_bounds_hold),
        cmocka_unit_test(a_bomb_is_refused_by_its_head),
        cmocka_unit_test(column_of_the_draft_has_its_bytes),
        cmocka_unit_test(columns_of_any_values_come_back),
        cmocka_unit_test(no_rows_make_a_body_that_does_not_fit),
        cmocka_unit_test(a_row_that_does_not_fit_is_taken_back),
        cmocka_unit_test(rows_of_tables_are_the_builders_bytes),
        cmocka_unit_test(activity_takes_few_bytes_a_row_and_comes_back),
        cmocka_unit_test(rows_of_more_days_than_a_batch_may_have_are_refused),
        cmocka_unit_test(every_flipped_bit_of_a_segment_record_is_noticed),
        cmocka_unit_test(crc32c_has_the_value_of_rfc_3720),
        cmocka_unit_test(wrong_scopes_name_line_key_and_what_would_be_right),
        cmocka_unit_test(names_match_the_most_specific_zone),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}

/* The rows of a .psp file as lines, for tests/support/psp_same.py: psp_rows FILE.psp.
 *
 * One row a line: kind and identity without spaces, a space, the values. The rows' order, their parts and the times of writing are left out; what stands for a
 * sum, a minimum or a maximum of the window is named there by its place. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "picket/batch.h"
#include "picket/codec.h"
#include "picket/limits.h"
#include "picket/segment.h"

static void put_hex(const void *data, size_t len)
{
    const uint8_t *p = data;
    putchar(',');
    for (size_t i = 0; i < len; i++) {
        printf("%02x", p[i]);
    }
}

static void put_addr(const struct pk_addr *addr)
{
    put_hex(addr, 1 + (addr->family ? pk_addr_len(addr) : 0));
}

static void put_client(const struct pk_client *client)
{
    printf(",%d", (int)client->kind);
    if (client->kind == PK_CLIENT_PSEUDONYM) {
        put_hex(client->pseudonym, sizeof client->pseudonym);
        put_addr(&client->prefix.addr);
        printf("/%u", client->prefix.len);
    } else if (client->kind != PK_CLIENT_NONE) {
        put_addr(&client->addr);
    }
    if (client->kind == PK_CLIENT_OUTSIDE && client->prefix.addr.family != 0) {
        put_addr(&client->prefix.addr);
        printf("/%u", client->prefix.len);
    }
}

static void put_activity(const struct pk_batch *batch, size_t i)
{
    struct pk_activity row;
    pk_batch_activity(batch, i, &row);
    const struct pk_signature *s = &row.signature;
    put_client(&row.client);
    put_hex(row.name.data, row.name.len);
    put_addr(&s->server);
    printf(",%u,%u,%u,%u,%u,%u,%u,%u,%u,%u,%" PRIx64, s->server_port, s->transport, s->vantage,
        s->opcode, s->answer, s->qtype, s->qclass, s->rcode, s->flags, s->edns_udp_size,
        row.answer_digest);
    printf(" %" PRId64 " %" PRId64 " %u %u %u %u %u %u %u %u %u\n", row.first_us,
        row.first_us + row.span_us, row.count, row.latency_min_us, row.latency_max_us,
        row.response_bytes_max, row.min_ttl_s, row.retransmissions, row.transfer_records,
        row.transfer_soas, row.case_mixed);
}

static void put_rrset(const struct pk_batch *batch, size_t i)
{
    struct pk_rrset row;
    pk_batch_rrset(batch, i, &row);
    put_hex(row.owner.data, row.owner.len);
    put_hex(row.bailiwick.data, row.bailiwick.len);
    printf(",%u,%u,%u", row.type, row.class, row.trust);
    for (uint32_t k = 0; k < row.n_rdata; k++) {
        put_hex(row.rdata[k].data, row.rdata[k].len);
    }
    printf(" %" PRId64 " %" PRId64 " %u %u %u %u server=", row.first_us, row.last_us, row.count,
        row.ttl_min_s, row.ttl_max_s, row.flags);
    put_addr(&row.server);
    putchar('\n');
}

static void put_negative(const struct pk_batch *batch, size_t i)
{
    struct pk_negative row;
    pk_batch_negative(batch, i, &row);
    put_hex(row.name.data, row.name.len);
    printf(",%u,%u,%u %" PRId64 " %" PRId64 " %u\n", row.type, row.class, row.rcode, row.first_us,
        row.last_us, row.count);
}

static void put_count(const struct pk_batch *batch, size_t i)
{
    struct pk_client_count row;
    uint8_t packed[PK_SKETCH_PACKED_SIZE];
    pk_batch_client_count(batch, i, &row);
    put_client(&row.client);
    put_client(&row.former);
    put_hex(row.zone.data, row.zone.len);
    printf(",%u %" PRId64 " %" PRId64 " %u %u %u %u sketch=", row.reason, row.first_us,
        row.first_us + row.span_us, row.count, row.negative, row.unanswered, row.ptr);
    put_hex(packed, pk_sketch_pack(&row.names, packed));
    putchar('\n');
}

/* But for what counts rows and batches: that depends on the parts. */
static void put_health(const struct pk_batch *batch)
{
    struct pk_health health;
    pk_batch_health(batch, &health);
    health.v[PK_HEALTH_ROWS] = 0;
    for (size_t i = 0; i < PK_N_HEALTH_KEYS; i++) {
        printf(",%" PRIu64, health.v[i]);
    }
    puts(" 1");
}

static void put_rows(const struct pk_batch *batch)
{
    const struct pk_batch_info *info = pk_batch_info(batch);
    for (size_t i = 0; i < pk_batch_rows(batch); i++) {
        if (info->kind == PK_BATCH_ORIGIN) {
            continue;
        }
        printf("%s,%" PRId64 ",%u,%u", pk_batch_kind_str(info->kind), info->window_start_us,
            info->window_ms, info->privacy);
        if (info->kind == PK_BATCH_ACTIVITY) {
            put_activity(batch, i);
        } else if (info->kind == PK_BATCH_RRSET) {
            put_rrset(batch, i);
        } else if (info->kind == PK_BATCH_NEGATIVE) {
            put_negative(batch, i);
        } else if (info->kind == PK_BATCH_CLIENT) {
            put_count(batch, i);
        } else {
            put_health(batch);
        }
    }
}

/* Whether all of the file could be read. */
static bool put_file(const struct pk_bytes *file)
{
    struct pk_segment_record record;
    struct pk_bytes buffer;
    size_t pos = PK_SEGMENT_HEADER_BYTES;
    bool is_good = file->len >= pos;
    pk_bytes_init(&buffer, PK_MAX_BODY_BYTES);
    while (is_good && pos < file->len) {
        struct pk_batch *batch = NULL;
        struct pk_batch_fault fault;
        const uint8_t *body;
        size_t len;
        is_good =
            pk_segment_record_decode(file->data, file->len, &pos, &record) == PK_OK &&
            pk_unpack(record.codec, record.body, record.body_len, &buffer, &body, &len) == PK_OK &&
            pk_batch_decode(body, len, &batch, &fault) == PK_OK;
        if (is_good) {
            put_rows(batch);
            pk_batch_free(batch);
        }
    }
    pk_bytes_done(&buffer);
    return is_good;
}

int main(int argc, char **argv)
{
    struct pk_bytes file;
    pk_bytes_init(&file, SIZE_MAX);
    bool is_good = argc == 2 && pk_bytes_read_file(&file, argv[1]) == PK_OK && put_file(&file);
    pk_bytes_done(&file);
    if (!is_good) {
        fputs("psp_rows FILE.psp: a file that can be read whole\n", stderr);
    }
    return is_good ? 0 : 1;
}

/* A window into the C codec for tests/system/test_vectors.py.
 *
 *   wire_probe make          the sample batches and frames as lines "name hex"
 *   wire_probe batch HEX     the decoded rows as JSON, or "refused: <code> key <n>: <what>" with exit status 1
 *   wire_probe pseudonym MASTER PERIOD ADDRESS    hex and number to the pseudonym in hex, and the sketch key of tenant "acme" in that period
 *   wire_probe rotate HEX    the key in the body of ROTATE, in hex, or "refused: <code>"
 *   wire_probe config HEX    the endpoints in the body of CONFIG, "address key time" each, then the body again in hex, or "refused: <code>"
 *   wire_probe scope HEX     number, text and the body again in hex of a CONFIG with a scope, and its version; or "refused: <code>"
 *   wire_probe ack HEX       the reason in the body of CONFIG_ACK in hex, then the body again
 *   wire_probe enrol HEX, enrolled HEX    the fields of their bodies, bytes in hex, then the body again
 *   wire_probe token TEXT    the fields of a token, bytes in hex, then the token again
 *   wire_probe unpack HEX    a body of codec 1 unpacked, or "refused: <code>"
 *   wire_probe frame HEX     the decoded header as JSON, or "refused: <code>" */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "picket/batch.h"
#include "picket/codec.h"
#include "picket/enrol.h"
#include "picket/envelope.h"
#include "picket/hash.h"
#include "picket/limits.h"
#include "picket/pseudonym.h"

static void put_hex(const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        printf("%02x", p[i]);
    }
}

static struct pk_slice slice(const char *wire, uint32_t len)
{
    return (struct pk_slice){.data = (const uint8_t *)wire, .len = len};
}

#define NAME(text) slice(text, sizeof(text))

static const int64_t start_us = INT64_C(1795000000000000);

static void make_activity(struct pk_batch_builder *builder)
{
    struct pk_activity row = {
        .client = {.kind = PK_CLIENT_OUTSIDE,
            .addr = pk_addr_v4((const uint8_t[]){203, 0, 113, 66})},
        .name = NAME("\3www\7example\3com"),
        .signature = {.server = pk_addr_v4((const uint8_t[]){198, 51, 100, 10}),
            .server_port = 53,
            .vantage = PK_VANTAGE_AUTHORITATIVE,
            .answer = PK_ANSWER_DATA,
            .qtype = 1,
            .qclass = 1,
            .flags = PK_SIG_AA | PK_SIG_QUERY_EDNS,
            .edns_udp_size = 1232},
        .first_us = start_us + 1500,
        .span_us = 2000000,
        .count = 3,
        .latency_min_us = 140,
        .latency_max_us = 900,
        .response_bytes_max = 62,
        .answer_digest = UINT64_C(0x1122334455667788),
        .min_ttl_s = 3600,
    };
    (void)pk_batch_add_activity(builder, &row);
    row.name = NAME("\6vpn-01\7example\3com");
    row.signature.answer = PK_ANSWER_NXDOMAIN;
    row.signature.rcode = 3;
    row.first_us = start_us - 250;
    row.answer_digest = 0;
    row.count = 1;
    (void)pk_batch_add_activity(builder, &row);
    row.client =
        (struct pk_client){.kind = PK_CLIENT_PSEUDONYM, .pseudonym = {1, 2, 3, 4, 5, 6, 7, 8}};
    (void)pk_prefix_parse("10.2.0.0/16", &row.client.prefix);
    (void)pk_batch_add_activity(builder, &row);
}

static void make_rrset(struct pk_batch_builder *builder)
{
    const struct pk_slice two[] = {slice("\300\0\2\1", 4), slice("\300\0\2\2", 4)};
    struct pk_rrset row = {
        .owner = NAME("\3www\7example\3com"),
        .type = 1,
        .class = 1,
        .rdata = two,
        .n_rdata = 2,
        .bailiwick = NAME("\7example\3com"),
        .trust = PK_TRUST_AUTHORITATIVE,
        .count = 7,
        .first_us = start_us + 10,
        .last_us = start_us + 9000000,
        .ttl_min_s = 300,
        .ttl_max_s = 3600,
        .server = pk_addr_v6((const uint8_t[]){0x20, 1, 0xd, 0xb8, [15] = 1}),
    };
    (void)pk_batch_add_rrset(builder, &row);
    row.owner = NAME("\4mail\7example\3com");
    row.n_rdata = 1;
    row.trust = PK_TRUST_RESOLVER;
    row.server.family = 0;
    (void)pk_batch_add_rrset(builder, &row);
}

static void make_negative(struct pk_batch_builder *builder)
{
    struct pk_negative row = {.name = NAME("\4nope\7example\3net"),
        .type = 28,
        .class = 1,
        .rcode = 3,
        .count = 2,
        .first_us = start_us + 5,
        .last_us = start_us + 6};
    (void)pk_batch_add_negative(builder, &row);
}

static void make_client(struct pk_batch_builder *builder)
{
    struct pk_client_count row = {
        .client = {.kind = PK_CLIENT_PSEUDONYM, .pseudonym = {8, 7, 6, 5, 4, 3, 2, 1}},
        .zone = NAME(""),
        .reason = PK_CLIENT_OUT_OF_SCOPE,
        .count = 12,
        .negative = 5,
        .unanswered = 1,
        .ptr = 2,
        .first_us = start_us + 70,
        .span_us = 9000000};
    (void)pk_prefix_parse("10.2.0.0/16", &row.client.prefix);
    pk_sketch_add(&row.names, UINT64_C(0x1203));
    pk_sketch_add(&row.names, UINT64_C(0xff));
    (void)pk_batch_add_client_count(builder, &row);
    row.zone = NAME("\7example\3com");
    row.reason = PK_CLIENT_OVERFLOW;
    row.count = 5000000;
    for (uint64_t i = 0; i < 4096; i++) {
        pk_sketch_add(&row.names, i * UINT64_C(0x9e3779b97f4a7c15));
    }
    (void)pk_batch_add_client_count(builder, &row);
    row = (struct pk_client_count){.client = row.client,
        .former = row.client,
        .zone = NAME(""),
        .reason = PK_CLIENT_ALIAS,
        .first_us = start_us + 1};
    row.former.pseudonym[0] = 9;
    (void)pk_batch_add_client_count(builder, &row);
}

static void make_health(struct pk_batch_builder *builder)
{
    struct pk_health health = {.v = {[PK_HEALTH_INTERVAL_MS] = 10000,
                                   [PK_HEALTH_PACKETS] = 70000,
                                   [PK_HEALTH_RECONNECTS] = 1}};
    (void)pk_batch_set_health(builder, &health);
}

static void make_more_health(struct pk_batch_builder *builder)
{
    struct pk_health health = {.v = {[PK_HEALTH_INTERVAL_MS] = 10000,
                                   [PK_HEALTH_COPIES] = 300,
                                   [PK_HEALTH_CLOCK_STEPS] = 2}};
    (void)pk_batch_set_health(builder, &health);
}

static void make_interfaces(struct pk_batch_builder *builder)
{
    static const struct pk_health_interface interfaces[] = {
        {.name = "eth0", .state = PK_IFACE_OPEN, .packets = 69000, .kernel_dropped = 12},
        {.name = "a-name-of-fif15",
            .state = PK_IFACE_DOWN,
            .packets = 1000,
            .iface_dropped = UINT64_MAX}};
    make_health(builder);
    pk_batch_set_interfaces(builder, interfaces, 2);
}

static void make_origin(struct pk_batch_builder *builder)
{
    struct pk_origin origin = {.site = "acme/hq", .sensor = "hq-1", .software = "picket-sensor"};
    (void)pk_batch_set_origin(builder, &origin);
}

static void make_loss(struct pk_batch_builder *builder)
{
    struct pk_loss row = {.cause = PK_LOSS_OVERFLOW,
        .kind = PK_BATCH_ACTIVITY,
        .batches = 3,
        .rows = 41000,
        .transactions = 900000,
        .first_us = start_us - 30000000,
        .last_us = start_us - 7,
        .epoch = UINT64_C(117374873960448),
        .from_seq = 9,
        .to_seq = 15};
    (void)pk_batch_add_loss(builder, &row);
    row = (struct pk_loss){.cause = PK_LOSS_TORN, .batches = 1, .epoch = row.epoch};
    (void)pk_batch_add_loss(builder, &row);
}

static int make(void)
{
    static const struct {
        enum pk_batch_kind kind;
        void (*fill)(struct pk_batch_builder *builder);
        const char *name; /* NULL: the kind's */
    } samples[] = {{PK_BATCH_ACTIVITY, make_activity, NULL}, {PK_BATCH_RRSET, make_rrset, NULL},
        {PK_BATCH_NEGATIVE, make_negative, NULL}, {PK_BATCH_HEALTH, make_health, NULL},
        {PK_BATCH_HEALTH, make_more_health, "health-more"},
        {PK_BATCH_HEALTH, make_interfaces, "health-interfaces"},
        {PK_BATCH_ORIGIN, make_origin, NULL}, {PK_BATCH_LOSS, make_loss, NULL},
        {PK_BATCH_CLIENT, make_client, NULL}};
    struct pk_batch_builder *builder;
    if (pk_batch_builder_new(100, &builder) != PK_OK) {
        return 1;
    }
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        struct pk_batch_info info = {.kind = samples[i].kind,
            .window_start_us = start_us,
            .window_ms = 10000,
            .privacy = PK_PRIVACY_PSEUDONYMS};
        struct pk_bytes body;
        int64_t first_us, last_us;
        pk_bytes_init(&body, PK_MAX_BODY_BYTES);
        pk_batch_builder_begin(builder, &info);
        samples[i].fill(builder);
        if (pk_batch_encode(builder, &body, &first_us, &last_us) != PK_OK) {
            return 1;
        }
        printf("%s ", samples[i].name ? samples[i].name : pk_batch_kind_str(samples[i].kind));
        put_hex(body.data, body.len);
        putchar('\n');
        pk_bytes_done(&body);
    }
    pk_batch_builder_free(builder);
    return 0;
}

static void print_slice(const char *key, struct pk_slice value)
{
    printf("\"%s\":\"", key);
    put_hex(value.data, value.len);
    putchar('"');
}

static void print_row(const struct pk_batch *batch, size_t i)
{
    char text[PK_ADDR_TEXT_SIZE];
    switch (pk_batch_info(batch)->kind) {
    case PK_BATCH_ACTIVITY: {
        struct pk_activity row;
        pk_batch_activity(batch, i, &row);
        print_slice("name", row.name);
        printf(
            ",\"client\":\"%s\",\"client_kind\":%d,\"qtype\":%u,\"rcode\":%u,\"answer\":%u,\"server\":\"%s\"",
            pk_addr_text(&row.client.addr, (char[PK_ADDR_TEXT_SIZE]){""}), (int)row.client.kind,
            row.signature.qtype, row.signature.rcode, row.signature.answer,
            pk_addr_text(&row.signature.server, text));
        printf(
            ",\"first_us\":%" PRId64
            ",\"span_us\":%u,\"count\":%u,\"latency_min_us\":%u,\"latency_max_us\":%u,\"answer_digest\":%" PRIu64
            ",\"min_ttl_s\":%u",
            row.first_us, row.span_us, row.count, row.latency_min_us, row.latency_max_us,
            row.answer_digest, row.min_ttl_s);
        break;
    }
    case PK_BATCH_RRSET: {
        struct pk_rrset row;
        pk_batch_rrset(batch, i, &row);
        print_slice("owner", row.owner);
        putchar(',');
        print_slice("bailiwick", row.bailiwick);
        printf(",\"type\":%u,\"trust\":%u,\"count\":%u,\"first_us\":%" PRId64
               ",\"last_us\":%" PRId64
               ",\"ttl_min_s\":%u,\"ttl_max_s\":%u,\"server\":\"%s\",\"rdata\":[",
            row.type, row.trust, row.count, row.first_us, row.last_us, row.ttl_min_s, row.ttl_max_s,
            pk_addr_text(&row.server, text));
        for (uint32_t k = 0; k < row.n_rdata; k++) {
            printf("%s\"", k ? "," : "");
            put_hex(row.rdata[k].data, row.rdata[k].len);
            putchar('"');
        }
        putchar(']');
        break;
    }
    case PK_BATCH_NEGATIVE: {
        struct pk_negative row;
        pk_batch_negative(batch, i, &row);
        print_slice("name", row.name);
        printf(",\"type\":%u,\"rcode\":%u,\"count\":%u,\"first_us\":%" PRId64
               ",\"last_us\":%" PRId64,
            row.type, row.rcode, row.count, row.first_us, row.last_us);
        break;
    }
    case PK_BATCH_CLIENT: {
        struct pk_client_count row;
        pk_batch_client_count(batch, i, &row);
        print_slice("zone", row.zone);
        printf(",\"pseudonym\":\"");
        put_hex(row.client.pseudonym, sizeof row.client.pseudonym);
        printf("\",\"former\":\"");
        put_hex(row.former.pseudonym, sizeof row.former.pseudonym);
        printf(
            "\",\"reason\":%u,\"count\":%u,\"negative\":%u,\"unanswered\":%u,\"ptr\":%u,\"first_us\":%" PRId64
            ",\"span_us\":%u,\"distinct\":%.0f,\"registers\":\"",
            row.reason, row.count, row.negative, row.unanswered, row.ptr, row.first_us, row.span_us,
            pk_sketch_estimate(&row.names));
        put_hex(row.names.registers, sizeof row.names.registers);
        putchar('"');
        break;
    }
    case PK_BATCH_HEALTH: {
        struct pk_health health;
        pk_batch_health(batch, &health);
        printf("\"counters\":[");
        for (int k = 0; k < PK_N_HEALTH_KEYS; k++) {
            printf("%s%" PRIu64, k ? "," : "", health.v[k]);
        }
        printf("],\"interfaces\":[");
        const struct pk_health_interface *interfaces;
        size_t n_interfaces = pk_batch_interfaces(batch, &interfaces);
        for (size_t k = 0; k < n_interfaces; k++) {
            printf("%s[\"%s\",%u,%" PRIu64 ",%" PRIu64 ",%" PRIu64 "]", k ? "," : "",
                interfaces[k].name, interfaces[k].state, interfaces[k].packets,
                interfaces[k].kernel_dropped, interfaces[k].iface_dropped);
        }
        putchar(']');
        break;
    }
    case PK_BATCH_LOSS: {
        struct pk_loss row;
        pk_batch_loss(batch, i, &row);
        printf("\"cause\":%u,\"kind\":%u,\"batches\":%" PRIu64 ",\"rows\":%" PRIu64
               ",\"transactions\":%" PRIu64 ",\"first_us\":%" PRId64 ",\"last_us\":%" PRId64
               ",\"epoch\":%" PRIu64 ",\"from_seq\":%" PRIu64 ",\"to_seq\":%" PRIu64,
            row.cause, row.kind, row.batches, row.rows, row.transactions, row.first_us, row.last_us,
            row.epoch, row.from_seq, row.to_seq);
        break;
    }
    case PK_BATCH_ORIGIN: {
        struct pk_origin origin;
        pk_batch_origin(batch, &origin);
        printf("\"site\":\"%s\",\"sensor\":\"%s\",\"software\":\"%s\"", origin.site, origin.sensor,
            origin.software);
        break;
    }
    }
}

static int show_batch(const uint8_t *bytes, size_t len)
{
    struct pk_batch *batch;
    struct pk_batch_fault fault;
    pk_err err = pk_batch_decode(bytes, len, &batch, &fault);
    if (err != PK_OK) {
        printf("refused: %d key %u: %s\n", (int)err, fault.key, fault.what);
        return 1;
    }
    const struct pk_batch_info *info = pk_batch_info(batch);
    printf("{\"kind\":%d,\"window_start_us\":%" PRId64 ",\"window_ms\":%u,\"rows\":[",
        (int)info->kind, info->window_start_us, info->window_ms);
    for (size_t i = 0; i < pk_batch_rows(batch); i++) {
        printf(i ? ",{" : "{");
        print_row(batch, i);
        putchar('}');
    }
    puts("]}");
    pk_batch_free(batch);
    return 0;
}

static int show_frame(const uint8_t *bytes, size_t len)
{
    struct pk_frame frame;
    struct pk_bytes again;
    pk_err err = pk_frame_decode(bytes, len, &frame);
    if (err != PK_OK) {
        printf("refused: %d\n", (int)err);
        return 1;
    }
    pk_bytes_init(&again, PK_MAX_HEADER_BYTES);
    if (pk_frame_encode(&frame, &again) != PK_OK) {
        return 1;
    }
    printf("{\"type\":%d,\"session\":%" PRIu64 ",\"again\":\"", (int)frame.type, frame.session);
    put_hex(again.data, again.len);
    puts("\"}");
    pk_bytes_done(&again);
    return 0;
}

static int show_pseudonym(const char *master_hex, const char *period, const char *address)
{
    uint8_t master[32], key[32], pseudonym[PK_PSEUDONYM_BYTES], sketch_key[PK_SKETCH_KEY_BYTES];
    struct pk_addr addr;
    size_t len;
    if (sodium_hex2bin(master, sizeof master, master_hex, strlen(master_hex), NULL, &len, NULL) ||
        len != sizeof master || !pk_addr_parse(address, &addr)) {
        return 2;
    }
    pk_pseudonym_key(master, (uint32_t)strtoul(period, NULL, 10), key);
    pk_pseudonym_of(key, &addr, pseudonym);
    pk_sketch_key(key, "acme", sketch_key);
    put_hex(pseudonym, sizeof pseudonym);
    putchar(' ');
    put_hex(sketch_key, sizeof sketch_key);
    putchar('\n');
    return 0;
}

static int show_rotate(const uint8_t *bytes, size_t len)
{
    uint8_t pubkey[PK_KEY_BYTES];
    struct pk_bytes again;
    pk_err err = pk_rotate_body_decode(bytes, len, pubkey);
    if (err != PK_OK) {
        printf("refused: %s\n", pk_err_str(err));
        return 1;
    }
    pk_bytes_init(&again, PK_MAX_HEADER_BYTES);
    (void)pk_rotate_body_encode(pubkey, &again);
    put_hex(pubkey, sizeof pubkey);
    putchar(' ');
    put_hex(again.data, again.len);
    putchar('\n');
    pk_bytes_done(&again);
    return 0;
}

static int show_config(const uint8_t *bytes, size_t len)
{
    struct pk_config_body body;
    struct pk_bytes again;
    pk_err err = pk_config_body_decode(bytes, len, &body);
    if (err != PK_OK) {
        printf("refused: %s\n", pk_err_str(err));
        return 1;
    }
    for (uint32_t i = 0; i < body.n; i++) {
        printf("%s ", body.endpoints[i].endpoint.address);
        put_hex(body.endpoints[i].endpoint.server_pubkey, PK_KEY_BYTES);
        printf(" %" PRId64 "\n", body.endpoints[i].not_before_us);
    }
    pk_bytes_init(&again, PK_MAX_BODY_BYTES);
    (void)pk_config_body_encode(&body, &again);
    put_hex(again.data, again.len);
    putchar('\n');
    pk_bytes_done(&again);
    return 0;
}

static int refused(pk_err err)
{
    printf("refused: %s\n", pk_err_str(err));
    return 1;
}

static int finish(struct pk_bytes *again)
{
    putchar(' ');
    put_hex(again->data, again->len);
    putchar('\n');
    pk_bytes_done(again);
    return 0;
}

static int show_scope(const uint8_t *bytes, size_t len)
{
    struct pk_config_scope scope;
    struct pk_bytes again;
    pk_err err = pk_config_scope_decode(bytes, len, &scope);
    if (err != PK_OK) {
        return refused(err);
    }
    printf("%u %u ", pk_config_version(bytes, len), scope.serial);
    put_hex(scope.text.data, scope.text.len);
    pk_bytes_init(&again, PK_MAX_BODY_BYTES);
    (void)pk_config_scope_encode(&scope, &again);
    return finish(&again);
}

static int show_ack(const uint8_t *bytes, size_t len)
{
    char reason[PK_CONFIG_REASON_SIZE];
    struct pk_bytes again;
    pk_err err = pk_config_ack_body_decode(bytes, len, reason);
    if (err != PK_OK) {
        return refused(err);
    }
    put_hex((const uint8_t *)reason, strlen(reason));
    pk_bytes_init(&again, PK_MAX_BODY_BYTES);
    (void)pk_config_ack_body_encode(reason, &again);
    return finish(&again);
}

static int show_enrol(const uint8_t *bytes, size_t len)
{
    struct pk_enrol_request request;
    struct pk_bytes again;
    pk_err err = pk_enrol_request_decode(bytes, len, &request);
    if (err != PK_OK) {
        return refused(err);
    }
    put_hex(request.id, sizeof request.id);
    putchar(' ');
    put_hex(request.secret, sizeof request.secret);
    printf(" %s", request.name);
    pk_bytes_init(&again, PK_MAX_BODY_BYTES);
    (void)pk_enrol_request_encode(&request, &again);
    return finish(&again);
}

static int show_enrolled(const uint8_t *bytes, size_t len)
{
    struct pk_enrol_answer answer;
    struct pk_bytes again;
    pk_err err = pk_enrol_answer_decode(bytes, len, &answer);
    if (err != PK_OK) {
        return refused(err);
    }
    printf("%u %u %s %s ", answer.status, answer.sensor_id, answer.name, answer.place);
    for (uint32_t i = 0; i < answer.n_endpoints; i++) {
        printf("%s%s", i ? "," : "", answer.endpoints[i]);
    }
    putchar(' ');
    put_hex(answer.scope.data, answer.scope.len);
    pk_bytes_init(&again, PK_MAX_BODY_BYTES);
    (void)pk_enrol_answer_encode(&answer, &again);
    return finish(&again);
}

static int show_token(const char *text)
{
    struct pk_token token;
    char again[PK_TOKEN_TEXT_SIZE];
    pk_err err = pk_token_decode(text, &token);
    if (err != PK_OK) {
        return refused(err);
    }
    printf("%s ", token.endpoint);
    put_hex(token.server_pubkey, sizeof token.server_pubkey);
    putchar(' ');
    put_hex(token.id, sizeof token.id);
    putchar(' ');
    put_hex(token.secret, sizeof token.secret);
    putchar(' ');
    if (token.has_client_key) {
        put_hex(token.client_key, sizeof token.client_key);
    } else {
        putchar('-');
    }
    (void)pk_token_encode(&token, again);
    printf(" %s\n", again);
    return 0;
}

static int show_unpacked(const uint8_t *bytes, size_t len)
{
    struct pk_bytes buffer;
    const uint8_t *body;
    size_t body_len;
    pk_bytes_init(&buffer, PK_MAX_BODY_BYTES);
    pk_err err = pk_unpack(PK_CODEC_ZSTD, bytes, len, &buffer, &body, &body_len);
    if (err == PK_OK) {
        put_hex(body, body_len);
        putchar('\n');
    }
    pk_bytes_done(&buffer);
    return err == PK_OK ? 0 : refused(err);
}

static int show(const char *what, const uint8_t *bytes, size_t len)
{
    static const struct {
        const char *what;
        int (*show)(const uint8_t *bytes, size_t len);
    } all[] = {{"batch", show_batch}, {"config", show_config}, {"rotate", show_rotate},
        {"scope", show_scope}, {"ack", show_ack}, {"enrol", show_enrol},
        {"enrolled", show_enrolled}, {"unpack", show_unpacked}, {"frame", show_frame}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (strcmp(what, all[i].what) == 0) {
            return all[i].show(bytes, len);
        }
    }
    return 2;
}

int main(int argc, char **argv)
{
    if (pk_hash_start() != PK_OK) {
        return 2;
    }
    if (argc == 3 && strcmp(argv[1], "token") == 0) {
        return show_token(argv[2]);
    }
    if (argc == 2 && strcmp(argv[1], "make") == 0) {
        return make();
    }
    if (argc == 5 && strcmp(argv[1], "pseudonym") == 0) {
        return show_pseudonym(argv[2], argv[3], argv[4]);
    }
    size_t len = argc == 3 ? strlen(argv[2]) / 2 : 0;
    uint8_t *bytes = malloc(len + 1);
    if (argc != 3 || !bytes ||
        sodium_hex2bin(bytes, len + 1, argv[2], strlen(argv[2]), NULL, &len, NULL) != 0) {
        fputs("wire_probe make | token TEXT | WHAT HEX; see the top of wire_probe.c\n", stderr);
        free(bytes);
        return 2;
    }
    int status = show(argv[1], bytes, len);
    free(bytes);
    return status;
}

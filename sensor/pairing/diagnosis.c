/* One rule a function; a rule that does not hold writes nothing. Thresholds are shares that no sound tap reaches: they stand beside their sentence. */
#include "pairing/diagnosis.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

struct diagnoser {
    const struct pk_stats *now, *before;
    struct pk_diagnosed *out;
    size_t n;
};

#define SINCE(d, field) ((d)->now->field - (d)->before->field)

const char *pk_diagnosis_str(enum pk_diagnosis kind)
{
    static const char *const names[PK_N_DIAGNOSES] = {"nothing", "no_dns", "only_queries",
        "only_responses", "server_queries", "server_responses", "duplicated", "clock", "snapped",
        "dropped", "encrypted", "tcp_parts", "crowded", "forged"};
    return names[kind];
}

__attribute__((format(printf, 3, 4))) static void say(
    struct diagnoser *d, enum pk_diagnosis kind, const char *format, ...)
{
    va_list args;
    struct pk_diagnosed *one = &d->out[d->n++];
    one->kind = kind;
    va_start(args, format);
    (void)vsnprintf(one->text, sizeof one->text, format, args);
    va_end(args);
}

static double percent(uint64_t part, uint64_t whole)
{
    return whole ? 100.0 * (double)part / (double)whole : 0;
}

static uint64_t messages(const struct diagnoser *d)
{
    return SINCE(d, messages_udp) + SINCE(d, messages_tcp) + SINCE(d, dnstap.messages);
}

static void judge_presence(struct diagnoser *d)
{
    uint64_t packets = SINCE(d, packets);
    bool is_empty = packets + SINCE(d, dnstap.frames) == 0;
    if (is_empty && d->now->files > 0) {
        say(d, PK_DIAGNOSIS_NOTHING,
            "no packet in %" PRIu64
            " files: they are empty, or no captures (pcap, pcapng, frame streams of dnstap)",
            d->now->files);
    } else if (is_empty) {
        say(d, PK_DIAGNOSIS_NOTHING, "no packet arrived: is this the interface that carries DNS?");
    } else if (packets >= PK_DIAGNOSIS_LEAST && messages(d) == 0) {
        say(d, PK_DIAGNOSIS_NO_DNS,
            "%" PRIu64 " packets and no DNS message: wrong interface, VLAN or port list", packets);
    }
}

/* Below one in fifty the other side is somebody else's traffic. */
static void judge_direction(struct diagnoser *d)
{
    uint64_t queries = SINCE(d, queries), responses = SINCE(d, responses);
    if (queries >= PK_DIAGNOSIS_LEAST && responses < queries / 50 + 1) {
        say(d, PK_DIAGNOSIS_ONLY_QUERIES,
            "%" PRIu64 " queries but %" PRIu64
            " responses: the tap shows one direction, or the responses take another way",
            queries, responses);
    } else if (responses >= PK_DIAGNOSIS_LEAST && queries < responses / 50 + 1) {
        say(d, PK_DIAGNOSIS_ONLY_RESPONSES,
            "%" PRIu64 " responses but %" PRIu64
            " queries: the tap shows one direction, or the queries take another way",
            responses, queries);
    }
}

static void judge_servers(struct diagnoser *d, const struct pk_sides *sides)
{
    struct pk_sides_sum sum;
    char text[PK_ADDR_TEXT_SIZE];
    bool is_said = d->n > 0 && (d->out[d->n - 1].kind == PK_DIAGNOSIS_ONLY_QUERIES ||
                                   d->out[d->n - 1].kind == PK_DIAGNOSIS_ONLY_RESPONSES);
    if (is_said) {
        return; /* of all of them */
    }
    pk_sides_sum(sides, &sum);
    if (sum.queries_only) {
        say(d, PK_DIAGNOSIS_SERVER_QUERIES,
            "%u of %u servers show queries and never a response, %s most (%u): silent, or seen from one side",
            sum.n_queries_only, sum.n_servers, pk_addr_text(&sum.queries_only->server, text),
            sum.queries_only->queries_alone);
    }
    if (sum.responses_only) {
        say(d, PK_DIAGNOSIS_SERVER_RESPONSES,
            "%u of %u servers show responses and never a query, %s most (%u): seen from one side, or reflecting an attack",
            sum.n_responses_only, sum.n_servers, pk_addr_text(&sum.responses_only->server, text),
            sum.responses_only->responses_alone);
    }
}

/* Retransmissions within a copy's window are rare: 5 % are a second tap. */
static void judge_tap(struct diagnoser *d)
{
    uint64_t copies = SINCE(d, copies), n = messages(d);
    if (copies >= PK_DIAGNOSIS_LEAST && copies * 20 >= n) {
        say(d, PK_DIAGNOSIS_DUPLICATED,
            "%" PRIu64 " of %" PRIu64
            " messages (%.1f %%) are copies: the same traffic is tapped more than once; counted once",
            copies, n, percent(copies, n));
    }
    if (SINCE(d, clock_steps) > 0) {
        say(d, PK_DIAGNOSIS_CLOCK,
            "the time of packets jumped %" PRIu64
            " times: a clock was set, or captures are not in order",
            SINCE(d, clock_steps));
    }
    uint64_t cut = SINCE(d, dispositions[PK_PACKET_SNAPPED]) + SINCE(d, messages_cut);
    if (cut > 0) {
        say(d, PK_DIAGNOSIS_SNAPPED,
            "%" PRIu64
            " packets end early: capture whole packets (snap length 65535), if no header lies about its length",
            cut);
    }
    uint64_t dropped = SINCE(d, kernel_dropped) + SINCE(d, iface_dropped);
    if (dropped > 0) {
        say(d, PK_DIAGNOSIS_DROPPED,
            "%" PRIu64
            " packets (%.2f %%) were dropped before we saw them: a larger buffer, more threads or a narrower filter",
            dropped, percent(dropped, dropped + SINCE(d, packets)));
    }
}

static void judge_sight(struct diagnoser *d)
{
    uint64_t hidden = SINCE(d, encrypted_packets);
    if (hidden > 0) {
        uint64_t read =
            SINCE(d, dispositions[PK_PACKET_DNS]) + SINCE(d, dispositions[PK_PACKET_TCP]);
        say(d, PK_DIAGNOSIS_ENCRYPTED,
            "%" PRIu64 " flows of encrypted DNS (%" PRIu64
            " packets, %.1f %% of all DNS packets) cannot be read; dnstap from the resolver would show them",
            SINCE(d, encrypted_flows), hidden, percent(hidden, hidden + read));
    }
    uint64_t parts = SINCE(d, tcp_shed[PK_TCP_SHED_UNSYNCED]) + SINCE(d, tcp_shed[PK_TCP_SHED_GAP]);
    if (parts >= 1000 && parts * 20 >= SINCE(d, tcp_bytes)) {
        say(d, PK_DIAGNOSIS_TCP_PARTS,
            "%" PRIu64 " of %" PRIu64
            " bytes (%.1f %%) over TCP could not be used: streams have holes or began before the capture",
            parts, SINCE(d, tcp_bytes), percent(parts, SINCE(d, tcp_bytes)));
    }
    if (SINCE(d, evicted) > 0) {
        say(d, PK_DIAGNOSIS_CROWDED,
            "%" PRIu64 " of %" PRIu64 " queries were closed early: a flood filled the table",
            SINCE(d, evicted), SINCE(d, opened));
    }
    uint64_t forged = SINCE(d, mismatched) + SINCE(d, conflicting);
    if (forged >= PK_DIAGNOSIS_LEAST) {
        say(d, PK_DIAGNOSIS_FORGED,
            "%" PRIu64 " responses look forged: %" PRIu64 " to another question, %" PRIu64
            " against an answer given before",
            forged, SINCE(d, mismatched), SINCE(d, conflicting));
    }
}

size_t pk_diagnose(const struct pk_stats *now, const struct pk_stats *before,
    const struct pk_sides *sides, struct pk_diagnosed out[PK_N_DIAGNOSES])
{
    static const struct pk_stats zero;
    struct diagnoser d = {.now = now, .before = before ? before : &zero, .out = out};
    judge_presence(&d);
    judge_direction(&d);
    if (sides) {
        judge_servers(&d, sides);
    }
    judge_tap(&d);
    judge_sight(&d);
    return d.n;
}

uint64_t pk_diagnosis_bits(const struct pk_stats *now, const struct pk_stats *before)
{
    struct pk_diagnosed all[PK_N_DIAGNOSES];
    uint64_t bits = 0;
    for (size_t i = 0, n = pk_diagnose(now, before, NULL, all); i < n; i++) {
        bits |= UINT64_C(1) << all[i].kind;
    }
    return bits;
}

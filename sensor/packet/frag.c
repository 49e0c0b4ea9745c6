/* The fragment table: packets in order of their first part, each with its parts sorted by offset.
 *
 * A packet that was refused keeps its place, without data, until its time is over, so that its later parts find the refusal instead of starting anew. */
#include "packet/frag.h"

#include <stdlib.h>
#include <string.h>

#include "picket/hash.h"
#include "picket/map.h"

enum {
    NONE = UINT32_MAX,
    MAX_WHOLE = 65535,
    MIN_TCP_FIRST =
        20, /* a first part that splits the TCP header is an attack (RFC 1858, RFC 3128) */
};

struct part {
    struct part *next; /* by offset */
    uint32_t offset, len;
    uint8_t data[];
};

struct key { /* compared as bytes: no padding may differ */
    uint64_t via;
    struct pk_addr src, dst;
    uint32_t id;
    uint8_t protocol; /* IPv4 only: RFC 791 makes it part of the identity, RFC 8200 does not */
};

struct whole {
    struct key key;
    uint64_t hash;
    int64_t since_us;
    struct part *parts;     /* owned; sorted, without overlap */
    uint32_t n_parts, held; /* bytes of data in parts */
    uint32_t end;           /* 0: the last part has not come */
    uint8_t protocol;
    enum pk_frag_fate refused; /* PK_FRAG_USED: not refused */
    uint32_t newer, older;     /* the free list runs through older */
};

struct pk_frags {
    const struct pk_ports *ports;
    struct pk_stats *stats;
    struct pk_map map;
    uint32_t newest, oldest, free;
    size_t bytes;
    struct whole wholes[PK_FRAG_MAX_PACKETS];
    uint8_t out[MAX_WHOLE];
};

static bool is_whole(const void *entries, uint32_t entry, const void *key)
{
    return memcmp(&((const struct whole *)entries)[entry].key, key, sizeof(struct key)) == 0;
}

pk_err pk_frags_new(
    const struct pk_ports *ports, struct pk_stats *stats, struct pk_frags **out_frags)
{
    struct pk_frags *frags = calloc(1, sizeof *frags);
    if (!frags || pk_map_init(&frags->map, PK_FRAG_MAX_PACKETS, is_whole) != PK_OK) {
        free(frags);
        return PK_ERR_NOMEM;
    }
    frags->ports = ports;
    frags->stats = stats;
    frags->newest = frags->oldest = NONE;
    for (uint32_t i = 0; i < PK_FRAG_MAX_PACKETS; i++) {
        frags->wholes[i].older = i + 1 < PK_FRAG_MAX_PACKETS ? i + 1 : NONE;
    }
    *out_frags = frags;
    return PK_OK;
}

/* Frees the parts of a packet; each counts as fate. */
static void drop_parts(struct pk_frags *frags, struct whole *whole, enum pk_frag_fate fate)
{
    frags->stats->frags[fate] += whole->n_parts;
    frags->stats->frags[PK_FRAG_PENDING] -= whole->n_parts;
    for (struct part *part = whole->parts, *next; part; part = next) {
        next = part->next;
        frags->bytes -= part->len + PK_REASM_PIECE_BYTES;
        free(part);
    }
    whole->parts = NULL;
    whole->n_parts = whole->held = 0;
}

static void remove_whole(struct pk_frags *frags, struct whole *whole, enum pk_frag_fate fate)
{
    uint32_t index = (uint32_t)(whole - frags->wholes);
    drop_parts(frags, whole, fate);
    (void)pk_map_remove(&frags->map, whole->hash, index);
    *(whole->newer != NONE ? &frags->wholes[whole->newer].older : &frags->newest) = whole->older;
    *(whole->older != NONE ? &frags->wholes[whole->older].newer : &frags->oldest) = whole->newer;
    whole->older = frags->free;
    frags->free = index;
}

void pk_frags_flush(struct pk_frags *frags)
{
    while (frags->oldest != NONE) {
        remove_whole(frags, &frags->wholes[frags->oldest], PK_FRAG_TIMEOUT);
    }
}

void pk_frags_free(struct pk_frags *frags)
{
    if (frags) {
        pk_frags_flush(frags);
        pk_map_done(&frags->map);
        free(frags);
    }
}

/* Time may step back (the next file): what lies far ahead is over as well. */
static void expire(struct pk_frags *frags, int64_t ts_us)
{
    while (frags->oldest != NONE) {
        struct whole *oldest = &frags->wholes[frags->oldest];
        int64_t age_us = ts_us - oldest->since_us;
        if (age_us >= -PK_FRAG_TIMEOUT_US && age_us <= PK_FRAG_TIMEOUT_US) {
            return;
        }
        remove_whole(frags, oldest, PK_FRAG_TIMEOUT);
    }
}

static struct whole *find_or_add(
    struct pk_frags *frags, const struct pk_packet *packet, int64_t ts_us)
{
    struct key key;
    memset(&key, 0, sizeof key);
    key.via = pk_via_hash(&packet->via);
    key.src = packet->src;
    key.dst = packet->dst;
    key.id = packet->fragment.id;
    key.protocol = packet->src.family == 4 ? packet->fragment.protocol : 0;
    uint64_t hash = pk_hash(&key, sizeof key);
    uint32_t found = pk_map_find(&frags->map, hash, frags->wholes, &key);
    if (found != PK_MAP_NONE) {
        return &frags->wholes[found];
    }
    if (frags->free == NONE) {
        remove_whole(frags, &frags->wholes[frags->oldest], PK_FRAG_SHED);
    }
    uint32_t index = frags->free;
    struct whole *whole = &frags->wholes[index];
    frags->free = whole->older;
    *whole = (struct whole){.key = key,
        .hash = hash,
        .since_us = ts_us,
        .protocol = packet->fragment.protocol,
        .newer = NONE,
        .older = frags->newest};
    *(frags->newest != NONE ? &frags->wholes[frags->newest].newer : &frags->oldest) = index;
    frags->newest = index;
    (void)pk_map_add(&frags->map, hash, index); /* as many places as packets */
    return whole;
}

/* What is wrong with a part by itself; PK_FRAG_USED when nothing is. */
static enum pk_frag_fate judge_part(
    const struct pk_frags *frags, const struct whole *whole, const struct pk_fragment *part)
{
    uint64_t end = (uint64_t)part->offset + part->len;
    if (part->len == 0 || end > MAX_WHOLE || (part->has_more && part->len % 8 != 0)) {
        return PK_FRAG_BAD;
    }
    if (whole->n_parts == PK_FRAG_MAX_PARTS) {
        return PK_FRAG_BAD;
    }
    if (part->has_more ? whole->end && end > whole->end : whole->end && end != whole->end) {
        return PK_FRAG_OVERLAP; /* beyond the end, or another end */
    }
    if (part->offset == 0) {
        if (part->protocol == 6 && part->len < MIN_TCP_FIRST) {
            return PK_FRAG_BAD;
        }
        if (!pk_packet_is_wanted(part->protocol, part->data, part->len, frags->ports)) {
            return PK_FRAG_NOT_DNS;
        }
    }
    return PK_FRAG_USED;
}

/* Where the part belongs; *out_place is the link to hang it on. */
static enum pk_frag_fate find_place(
    struct whole *whole, const struct pk_fragment *part, struct part ***out_place)
{
    struct part **place = &whole->parts;
    while (*place && (*place)->offset + (*place)->len <= part->offset) {
        place = &(*place)->next;
    }
    const struct part *there = *place;
    *out_place = place;
    if (there && there->offset < part->offset + part->len) {
        bool is_copy = there->offset == part->offset && there->len == part->len &&
                       memcmp(there->data, part->data, part->len) == 0;
        return is_copy ? PK_FRAG_DUPLICATE : PK_FRAG_OVERLAP;
    }
    if (!part->has_more && there) { /* something lies behind the end that this part states */
        return PK_FRAG_OVERLAP;
    }
    return PK_FRAG_USED;
}

static bool reserve(struct pk_frags *frags, const struct whole *asking, size_t bytes)
{
    while (frags->bytes + bytes > PK_FRAG_MAX_BYTES) {
        struct whole *oldest = &frags->wholes[frags->oldest];
        if (oldest == asking) {
            return false;
        }
        remove_whole(frags, oldest, PK_FRAG_SHED);
    }
    return true;
}

static bool hold(struct pk_frags *frags, struct whole *whole, const struct pk_fragment *part,
    struct part **place)
{
    size_t bytes = part->len + PK_REASM_PIECE_BYTES;
    struct part *made = reserve(frags, whole, bytes) ? malloc(sizeof *made + part->len) : NULL;
    if (!made) {
        return false;
    }
    *made = (struct part){.next = *place, .offset = part->offset, .len = (uint32_t)part->len};
    memcpy(made->data, part->data, part->len);
    *place = made;
    frags->bytes += bytes;
    frags->stats->frags[PK_FRAG_PENDING]++;
    whole->n_parts++;
    whole->held += made->len;
    if (part->offset == 0) {
        whole->protocol = part->protocol; /* the first part's word counts (RFC 8200 s4.5) */
    }
    if (!part->has_more) {
        whole->end = part->offset + made->len;
    }
    return true;
}

static void put_together(
    struct pk_frags *frags, struct whole *whole, struct pk_datagram *out_datagram)
{
    for (const struct part *part = whole->parts; part; part = part->next) {
        memcpy(frags->out + part->offset, part->data, part->len);
    }
    *out_datagram =
        (struct pk_datagram){.protocol = whole->protocol, .data = frags->out, .len = whole->end};
    frags->stats->frags_whole++;
    remove_whole(frags, whole, PK_FRAG_USED);
}

bool pk_frags_take(struct pk_frags *frags, const struct pk_packet *packet, int64_t ts_us,
    struct pk_datagram *out_datagram)
{
    const struct pk_fragment *part = &packet->fragment;
    struct part **place;
    expire(frags, ts_us);
    struct whole *whole = find_or_add(frags, packet, ts_us);
    if (whole->refused != PK_FRAG_USED) {
        frags->stats->frags[whole->refused]++;
        if (whole->refused == PK_FRAG_NOT_DNS && !part->has_more) {
            remove_whole(frags, whole, PK_FRAG_NOT_DNS); /* the usual end: make room */
        }
        return false;
    }
    enum pk_frag_fate fate = judge_part(frags, whole, part);
    if (fate == PK_FRAG_USED) {
        fate = find_place(whole, part, &place);
    }
    if (fate == PK_FRAG_DUPLICATE) {
        frags->stats->frags[fate]++;
        return false;
    }
    if (fate == PK_FRAG_USED && !hold(frags, whole, part, place)) {
        fate = PK_FRAG_SHED;
    }
    if (fate != PK_FRAG_USED) {
        whole->refused = fate;
        frags->stats->frags[fate]++;
        drop_parts(frags, whole, fate);
        return false;
    }
    if (whole->end == 0 || whole->held != whole->end) {
        return false;
    }
    put_together(frags, whole, out_datagram);
    return true;
}

size_t pk_frags_bound_bytes(void)
{
    return sizeof(struct pk_frags) + pk_map_bound_bytes(PK_FRAG_MAX_PACKETS) + PK_FRAG_MAX_BYTES;
}

/* The table of sources. Private to aggregator/detect.
 *
 * A source is small; what rules know of it hangs on it as ledgers. Finer and coarser keys stand in the same table: an address, its network (/24 or /48), a
 * fingerprint class. When the table is full the queue's oldest goes, unless it was seen again since it last came up (it goes to the end, once around),
 * is suspected, or has an open finding. A flood of addresses that come once therefore passes through and does not push out who comes back. */
#ifndef DETECT_ACTOR_H
#define DETECT_ACTOR_H

#include "picket/bytes.h"
#include "picket/map.h"
#include "picket/observation.h"
#include "picket/reader.h"

#include "trial.h"

struct ledger;
struct pk_engine;

enum actor_kind {
    ACTOR_ADDRESS,   /* an outside address */
    ACTOR_INSIDE,    /* an inside address in clear: files written without a scope */
    ACTOR_PSEUDONYM, /* an inside client of the mesh: eight bytes in place of the address */
    ACTOR_NETWORK,   /* /24 or /48 of outside addresses */
    ACTOR_PRINT,     /* fingerprint class of outside sources: two bytes in place of the address */
    ACTOR_SITE, /* all inside clients of a site that tells nothing of them (no client key): its name in place of the address */
    ACTOR_SUBNET, /* /24 or /48 for which a resolver said it asked (RFC 7871) */
    N_ACTOR_KINDS
};

struct actor_key {
    uint8_t kind; /* enum actor_kind */
    struct pk_addr addr;
};

struct actor {
    struct actor_key key;
    uint8_t first_pseudonym
        [8];         /* ACTOR_PSEUDONYM: the one of the period it was met in (actor_succeed) */
    bool is_touched; /* seen again since it last came up for eviction, or got a ledger */
    bool
        is_suspected; /* a rule asks to keep it: its evidence is beyond a quarter of the threshold */
    uint32_t newer, older;
    struct ledger *ledgers;
    int64_t first_us, last_us; /* of its rows; last never goes back */
    uint64_t last_miss;        /* name hash of its latest miss: query minimisation (trial.c) */
    int64_t last_miss_us;
    uint32_t rows;          /* saturating */
    uint16_t asked, echoed; /* questions, and those an inside leg asked just before (legs.c) */
    uint16_t lesson_day, lessons; /* what it taught the baseline today (baseline.c) */
    float repeats;                /* its questions asked again, like own */
    float own[N_OUTCOMES];        /* its trials while not suspected; the past fades (baseline.c) */
};

struct actors {
    struct actor *v; /* max places; pages come as they are used */
    struct pk_map map;
    size_t max;
    uint32_t used, newest, oldest, free;
    uint64_t evicted;
};

pk_err actors_init(struct actors *actors, size_t max);
void actors_done(struct pk_engine *engine);

/* The source with this key, made when it is not known; its ledgers of an evicted one are gone. */
struct actor *actor_get(struct pk_engine *engine, const struct actor_key *key, int64_t now_us);
struct actor *actor_find(const struct pk_engine *engine, const struct actor_key *key);
uint32_t actor_index(const struct pk_engine *engine, const struct actor *actor);
uint64_t actor_hash(const struct actor_key *key); /* the same on every machine */
struct actor_key actor_network_key(const struct actor *
        actor); /* of an ACTOR_ADDRESS; any other source is its own network, under its first pseudonym */
/* Under which a source's contacts, legs and finding ids stand: its key, for a client with the pseudonym it was met with. So they outlive a change of pseudonyms. */
struct actor_key actor_first_key(const struct actor *actor);
uint64_t actor_identity(const struct actor *actor); /* hash of that, the same on every machine */

/* The source `former` is now called `key` (both pseudonyms): what is known of either stands under the new one. Of two ledgers of one rule the one with an open finding stays, else
 * the former's. Nothing when `former` is not known. */
void actor_succeed(
    struct pk_engine *engine, const struct actor_key *former, const struct actor_key *key);

/* Whether it is of our own: a client, or all of a site that tells nothing of single ones. */
bool actor_is_inside(const struct actor *actor);
/* The clients of a site together; of a long name the beginning and a hash. */
struct actor_key actor_site_key(const char *site);
/* Its name for people and for finding ids: "203.0.113.66", "203.0.113.0/24", "client:0011...", "print:00ff", "site:branch",
 * "subnet:203.0.113.0/24". */
void actor_text(const struct actor_key *key, char out[64]);

/* All sources from the oldest, and where each stands in that order. positions has room for used of them. */
void actors_save(const struct actors *actors, uint32_t *positions, struct pk_bytes *out);
void actors_load(struct pk_engine *engine, struct pk_reader *in);

#endif

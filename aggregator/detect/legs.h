/* One resolution seen several times: client -> branch forwarder -> head-office resolver -> authority. Private to aggregator/detect.
 *
 * Evidence is charged to the leg nearest to the client. A source is the next leg when nearly all it asks was asked within three seconds by an inside client or at a resolver:
 * nine in ten of at least fifty questions; for a declared resolver of the tenant half of ten. Before, a question that an inside leg just asked is charged to that leg alone when half of the
 * source's questions so far were such. Addresses do not matter, so it works across NAT and with pseudonyms. Only an inside leg
 * can take the charge: an outsider who forges questions in another's name shifts nothing.
 *
 * The memory of questions is a fixed table, one place a name hash; what is older than two minutes of the engine's clock counts for nothing and is not saved. */
#ifndef DETECT_LEGS_H
#define DETECT_LEGS_H

#include <stdbool.h>
#include <stdint.h>

#include "picket/bytes.h"
#include "picket/err.h"
#include "picket/reader.h"

struct pk_engine;
struct observation;

struct leg {
    uint64_t name, source; /* fixed hashes; name 0: free */
    int64_t time_us;
    uint32_t actor; /* its index; good when the source's hash still agrees */
    bool is_inside;
};

struct legs {
    struct leg *v;
};

pk_err legs_init(struct legs *legs);
void legs_done(struct legs *legs);
/* Notes the row. Sets is_upstream: its source is a later leg, its questions are charged elsewhere; is_echo: this question at least was just asked by an inside leg. */
void legs_note(struct pk_engine *engine, struct observation *seen);
void legs_save(const struct pk_engine *engine, const uint32_t *positions, struct pk_bytes *out);
/* After actors_load into a fresh engine, where position and index are the same. */
void legs_load(struct pk_engine *engine, struct pk_reader *in);

#endif

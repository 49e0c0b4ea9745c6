/* Who may have rows of its own in a window that many want.
 *
 * A window gives at most so many activity rows (window_rows); what comes above is counted in its client's overflow row. Four stages, by the rows given so far:
 *   - the first eighth: everybody, and nothing is counted;
 *   - up to half: a client may have an eighth of all rows more;
 *   - above half: clients that are known (they had rows in the window before or in the first half of this one), each 1/512 of all rows;
 *   - all: nobody.
 * So a few clients cannot take more than the first half, however many names they ask for, and a crowd of made-up sources neither: the other half is for those who were there
 * before it came. Not defended against: more than 256 known clients that all flood.
 *
 * Known clients stand in a Bloom filter (2^20 bits, two of them: at the 100,000 clients that half of 200,000 rows can be, 3 % of strangers pass), rows of a client in two rows of
 * counters, the smaller of which is taken (Cormode and Muthukrishnan 2005). Both keyed. */
#ifndef SENSOR_SHARE_H
#define SENSOR_SHARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picket/addr.h"
#include "picket/err.h"

struct pk_share;

/* max_rows 0: no limit. */
pk_err pk_share_new(uint32_t max_rows, struct pk_share **out_share);
void pk_share_free(struct pk_share *share);
size_t pk_share_bound_bytes(void);
void pk_share_set(struct pk_share *share, uint32_t max_rows);
/* A window begins: who had rows in the one before is known. */
void pk_share_begin(struct pk_share *share);
/* From so many rows on pk_share_allows must be asked for each new one; UINT64_MAX without a limit. */
uint64_t pk_share_watch_from(const struct pk_share *share);
/* This client has a row, and the window n_rows. */
void pk_share_note(struct pk_share *share, const struct pk_addr *client, uint64_t n_rows);
/* Whether this client may have one more row of a window that has n_rows; counted when it may. */
bool pk_share_allows(struct pk_share *share, const struct pk_addr *client, uint64_t n_rows);

#endif

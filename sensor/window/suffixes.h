/* Public suffixes: where the names that anybody can register begin (publicsuffix.org). Private to history.
 *
 * A trie over labels from the right, in one hash table, built at start from the list's text form: two or three probes a name. libpsl took 3,000 instructions for the same
 * answer (docs/decisions/). Labels are compared as bytes; rules with letters beyond ASCII are held in their wire form (RFC 5891). */
#ifndef SENSOR_SUFFIXES_H
#define SENSOR_SUFFIXES_H

#include <stdbool.h>

#include "picket/err.h"
#include "picket/name.h"

enum {
    PK_SUFFIXES_MAX_NODES = 1 << 16, /* labels in the trie; the list of 2023 has 10,000 */
    PK_SUFFIXES_MAX_BYTES = 1 << 20
};

/* Where the distribution's package publicsuffix puts it. */
#ifndef PICKET_PUBLIC_SUFFIX_LIST
#define PICKET_PUBLIC_SUFFIX_LIST "/usr/share/publicsuffix/public_suffix_list.dat"
#endif

struct pk_suffixes;

/* Reads the list. PK_ERR_IO: there is no such file; PK_ERR_LIMIT: more rules than the bounds above; PK_ERR_NOMEM. Lines that are no rule are passed over. */
pk_err pk_suffixes_load(const char *path, struct pk_suffixes **out_suffixes);
void pk_suffixes_free(struct pk_suffixes *suffixes);
/* How many labels stand left of the registrable domain: a suffix and one label. Names that are suffixes themselves: 0. The name is in lower case. With NULL for the
 * list the registrable domain is the last two labels. */
unsigned pk_suffixes_strip(const struct pk_suffixes *suffixes, const struct pk_name *name);

size_t pk_suffixes_bound_bytes(void);

#endif

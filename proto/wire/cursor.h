/* A bounded walk over msgpack, canonical form only (docs/PROTOCOL.md s1): shortest integers and lengths, no floats, no nil, no
 * extension types. msgpack-c's own object tree believes any length it is told (a five-byte header made it reserve 4 GB), so bytes from outside are read
 * here and nowhere else. Private to proto/wire. */
#ifndef WIRE_CURSOR_H
#define WIRE_CURSOR_H

#include "picket/observation.h"
#include "picket/reader.h"

/* Each fails the reader (sticky) and returns zero when the next item is something else, not canonical, or does not fit. */
uint64_t mp_uint(struct pk_reader *in, uint64_t max);
int64_t mp_int(struct pk_reader *in);
/* Element and pair counts are at most max, and no larger than the bytes that are left could hold. */
uint32_t mp_array(struct pk_reader *in, uint32_t max);
uint32_t mp_map(struct pk_reader *in, uint32_t max);
struct pk_slice mp_bin(struct pk_reader *in, uint32_t max);
/* Exactly len bytes into out; any other length fails the reader and leaves out alone. */
void mp_blob(struct pk_reader *in, uint8_t *out, uint32_t len);
/* The next key of a map with *left pairs to come; it must be above the last (0 before the first). 0 at the end or on failure. */
unsigned mp_next_key(struct pk_reader *in, uint32_t *left, unsigned last);
/* UTF-8 is not checked here: texts are escaped wherever they are shown. Copies, cut never: longer than size - 1 is PK_ERR_LIMIT. */
void mp_text(struct pk_reader *in, char *out, size_t size);
bool mp_bool(struct pk_reader *in);
/* Skips one item of any allowed kind, at most four levels deep. */
void mp_skip(struct pk_reader *in);

#endif

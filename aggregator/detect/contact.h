/* First contacts: has this source asked this name within the last day? Two generations of hash sets; when the younger is half a day old or full it becomes the older and the
 * older is forgotten. So a contact is remembered for 12 to 24 hours, shorter under a flood, and memory is bounded. */
#ifndef DETECT_CONTACT_H
#define DETECT_CONTACT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picket/bytes.h"
#include "picket/err.h"
#include "picket/reader.h"

enum {
    PK_CONTACT_GENERATION_S = 43200
};

struct pk_contacts {
    uint64_t *sets[2]; /* open addressing; 0: empty; [0] is the younger */
    size_t n[2];
    size_t mask, max;
    int64_t since_us; /* of the younger */
    uint64_t forgotten;
};

pk_err pk_contacts_init(struct pk_contacts *contacts, size_t max_contacts);
void pk_contacts_done(struct pk_contacts *contacts);
/* True when key was not known; it is from now on. */
bool pk_contacts_add(struct pk_contacts *contacts, uint64_t key, int64_t now_us);
bool pk_contacts_has(const struct pk_contacts *contacts, uint64_t key);
void pk_contacts_save(const struct pk_contacts *contacts, struct pk_bytes *out);
pk_err pk_contacts_load(struct pk_contacts *contacts, struct pk_reader *in);

#endif

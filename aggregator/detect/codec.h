/* Writing and reading engine state: the few shapes that pk_bytes and pk_reader do not have. What is read is checked like anything from outside. */
#ifndef DETECT_CODEC_H
#define DETECT_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "picket/addr.h"
#include "picket/bytes.h"
#include "picket/name.h"
#include "picket/reader.h"

void state_put_double(struct pk_bytes *out,
    double v); /* its bits: a restored engine goes on exactly where the saved one stood */
void state_put_float(struct pk_bytes *out, float v);
void state_put_time(struct pk_bytes *out, int64_t us);
void state_put_addr(struct pk_bytes *out, const struct pk_addr *addr);
void state_put_names(
    struct pk_bytes *out, uint8_t *const *names, uint8_t n); /* as names_add keeps them */

double state_get_double(struct pk_reader *in); /* PK_ERR_MALFORMED when not within +-1e9 */
float state_get_float(struct pk_reader *in);
int64_t state_get_time(struct pk_reader *in);
uint32_t state_get_u32(struct pk_reader *in);               /* a varint that fits */
uint16_t state_get_u16(struct pk_reader *in);               /* a varint that fits */
uint8_t state_get_count(struct pk_reader *in, size_t max);  /* one byte, at most max */
uint8_t state_get_index(struct pk_reader *in, size_t size); /* one byte, below size */
void state_get_addr(struct pk_reader *in, struct pk_addr *out);
void state_get_bytes(struct pk_reader *in, void *out, size_t len);
uint8_t *state_get_name(struct pk_reader *in); /* owned; NULL with the error set */
uint8_t state_get_names(struct pk_reader *in, uint8_t **out, size_t max); /* how many were read */

/* Names kept for findings: length byte and wire form, owned by the list. */
uint8_t *name_copy(const struct pk_name *name);
bool names_have(uint8_t *const *names, size_t n, const struct pk_name *name);
/* Adds unless it is there or the list is full (samples, not a list). */
pk_err names_add(uint8_t **names, uint8_t *n, size_t max, const struct pk_name *name);
void names_done(uint8_t **names, uint8_t *n);

#endif

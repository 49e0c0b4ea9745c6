/* The clocks, and times as text. Edges read clocks and hand the value down; cores take it as an
 * argument. Wall time is int64 microseconds since 1970 UTC everywhere (`_us`). */
#ifndef PICKET_CLOCK_H
#define PICKET_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PK_US_PER_S   INT64_C(1000000)
#define PK_US_PER_DAY (INT64_C(86400) * PK_US_PER_S)

enum {
    PK_TIME_TEXT_SIZE = 28
}; /* "2026-11-23T09:55:00.000000Z" and the zero */

int64_t pk_clock_wall_us(void); /* CLOCK_REALTIME */
int64_t pk_clock_mono_ms(void); /* CLOCK_MONOTONIC */

/* RFC 3339 UTC with six decimals, years 0000..9999 (others are shown as the nearest bound). */
const char *pk_time_text(int64_t wall_us, char out_text[PK_TIME_TEXT_SIZE]);
/* RFC 3339 (with Z or offset, fraction optional) or a plain date; false when it is neither. */
bool pk_time_parse(const char *text, int64_t *out_wall_us);

#endif

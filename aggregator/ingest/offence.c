/* A slot a sensor, rings of times in it. */
#include "offence.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "picket/hash.h"

static bool is_sensor(const void *entries, uint32_t entry, const void *key)
{
    return ((const struct pk_offender *)entries)[entry].sensor == *(const uint32_t *)key;
}

pk_err pk_offences_init(struct pk_offences *offences)
{
    *offences = (struct pk_offences){.slots = calloc(PK_MAX_OFFENDERS, sizeof *offences->slots)};
    return offences->slots ? pk_map_init(&offences->by_sensor, PK_MAX_OFFENDERS, is_sensor)
                           : PK_ERR_NOMEM;
}

void pk_offences_done(struct pk_offences *offences)
{
    free(offences->slots);
    offences->slots = NULL;
    offences->n = 0;
    pk_map_done(&offences->by_sensor);
}

static uint32_t longest_quiet(const struct pk_offences *offences)
{
    uint32_t oldest = 0;
    for (uint32_t i = 1; i < offences->n; i++) {
        oldest = offences->slots[i].last_ms < offences->slots[oldest].last_ms ? i : oldest;
    }
    return oldest;
}

static struct pk_offender *slot_of(struct pk_offences *offences, uint32_t sensor, int64_t now_ms)
{
    uint64_t hash = pk_hash(&sensor, sizeof sensor);
    uint32_t entry = pk_map_find(&offences->by_sensor, hash, offences->slots, &sensor);
    if (entry == PK_MAP_NONE) {
        entry = (uint32_t)offences->n;
        if (offences->n == PK_MAX_OFFENDERS) {
            entry = longest_quiet(offences);
            uint32_t gone = offences->slots[entry].sensor;
            (void)pk_map_remove(&offences->by_sensor, pk_hash(&gone, sizeof gone), entry);
        } else {
            offences->n++;
        }
        offences->slots[entry] = (struct pk_offender){.sensor = sensor};
        (void)pk_map_add(&offences->by_sensor, hash, entry); /* there is a place */
    }
    offences->slots[entry].last_ms = now_ms;
    return &offences->slots[entry];
}

bool pk_offence_strike(struct pk_offences *offences, uint32_t sensor, int64_t now_ms, bool is_grave,
    uint32_t *out_strikes)
{
    struct pk_offender *offender = slot_of(offences, sensor, now_ms);
    offender->strikes_ms[offender->n_strikes++ % PK_OFFENCE_STRIKES] = now_ms;
    uint32_t n = 0;
    for (uint32_t i = 0; i < PK_OFFENCE_STRIKES && i < offender->n_strikes; i++) {
        n += now_ms - offender->strikes_ms[i] < PK_OFFENCE_WINDOW_MS;
    }
    *out_strikes = n;
    if (!is_grave && n < PK_OFFENCE_STRIKES) {
        return false;
    }
    offender->n_strikes = 0; /* whoever comes back after that begins anew */
    return true;
}

/* How many of the returns kept are younger than that. */
static uint32_t flips_within(const struct pk_offender *offender, int64_t now_ms, int64_t window_ms)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < PK_OFFENCE_FLIPS + 1 && i < offender->n_flips; i++) {
        n += now_ms - offender->flips_ms[i] < window_ms;
    }
    return n;
}

enum pk_offence_turn pk_offence_flip(struct pk_offences *offences, uint32_t sensor,
    const uint8_t boot_id[PK_BOOT_ID_BYTES], const char *address, int64_t now_ms,
    const char **out_other)
{
    struct pk_offender *offender = slot_of(offences, sensor, now_ms);
    uint64_t boot = pk_hash(boot_id, PK_BOOT_ID_BYTES) | 1;
    bool is_same = boot == offender->boot, is_known = false;
    if (!is_same) {
        memcpy(offender->other, offender->peer, sizeof offender->other);
    }
    snprintf(offender->peer, sizeof offender->peer, "%s", address);
    *out_other = offender->other;
    if (is_same) {
        return PK_OFFENCE_ALONE; /* the same machine again: its connection broke */
    }
    for (size_t i = 0; i < PK_OFFENCE_BOOTS; i++) {
        is_known = is_known || offender->boots[i] == boot;
    }
    offender->boot = boot;
    if (!is_known) {
        memmove(offender->boots, offender->boots + 1,
            (PK_OFFENCE_BOOTS - 1) * sizeof offender->boots[0]);
        offender->boots[PK_OFFENCE_BOOTS - 1] = boot;
        return PK_OFFENCE_ALONE;
    }
    offender->flips_ms[offender->n_flips++ % (PK_OFFENCE_FLIPS + 1)] = now_ms;
    return flips_within(offender, now_ms, PK_OFFENCE_FLIP_WINDOW_MS) > PK_OFFENCE_FLIPS
               ? PK_OFFENCE_STORM
           : flips_within(offender, now_ms, PK_OFFENCE_CLONE_WINDOW_MS) >= PK_OFFENCE_CLONE_FLIPS
               ? PK_OFFENCE_CLONED
               : PK_OFFENCE_ALONE;
}

bool pk_offence_is_news(struct pk_offences *offences, uint32_t sensor, int64_t now_ms)
{
    struct pk_offender *offender = slot_of(offences, sensor, now_ms);
    bool is_news = offender->said_ms == 0 || now_ms - offender->said_ms >= PK_OFFENCE_NEWS_MS;
    offender->said_ms = is_news ? now_ms : offender->said_ms;
    return is_news;
}

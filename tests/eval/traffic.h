/* What happened on the wire, before any sensor: events in true time, and the rows that 50 imperfect sensors make of them.
 *
 * Events are made an hour at a time, in any order. ev_traffic_rows then does what capture does to them: clocks that differ, lost
 * packets, paths seen one way only, merging within a window, a site whose data comes late; the rows are in order of arrival. */
#ifndef TESTS_EVAL_TRAFFIC_H
#define TESTS_EVAL_TRAFFIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picket/name.h"
#include "picket/observation.h"

enum {
    EV_WINDOW_US = 10000000, /* the sensor's default */
    EV_N_SITES = 50,
};

/* One transaction. client.kind is OUTSIDE or PSEUDONYM; in the latter case addr still holds the inside address, for packets. */
struct ev_event {
    int64_t time_us;
    uint32_t name_pos; /* into names: wire form, lower case */
    uint8_t name_len;
    uint8_t site;
    uint8_t is_inside; /* an inside client: travels as a pseudonym */
    uint8_t is_attack;
    struct pk_addr client;
    uint8_t vantage, transport, answer, is_mixed_case;
    uint16_t qtype, qclass, rcode, flags;
    uint64_t digest;
    uint32_t transfer_records;
    uint32_t order; /* number of the event within its buffer; ties in time keep it */
};

struct ev_traffic {
    struct ev_event *events;
    size_t n, cap;
    uint8_t *names;
    size_t names_len, names_cap;
};

void ev_traffic_done(struct ev_traffic *traffic);
void ev_traffic_clear(struct ev_traffic *traffic);
/* Adds a copy of event with this name (any case; kept in lower case). Dies when memory ends: this is a test program. */
void ev_traffic_add(
    struct ev_traffic *traffic, const struct ev_event *event, const struct pk_name *name);
/* Appends all of more. */
void ev_traffic_append(struct ev_traffic *traffic, const struct ev_traffic *more);
void ev_traffic_sort(struct ev_traffic *traffic); /* by time, then order */

/* How the sensors are worse than perfect (detection.md s4, traps). */
struct ev_flaws {
    uint64_t seed;
    int64_t max_skew_us; /* each site's clock is off by a constant up to this much */
    int late_site;       /* its rows arrive late_us later; -1: none */
    int64_t late_us;
    double loss;    /* share of transactions not seen at all */
    double one_way; /* share of (site, client) paths of which only the queries are seen */
};

/* A row, when it reaches the engine, and what it was made of. */
struct ev_row {
    int64_t arrival_us;
    struct pk_activity activity; /* name borrowed from the traffic */
    uint8_t site;
    uint32_t n_attack; /* transactions of the attack in it */
    uint32_t order;
    uint64_t identity; /* equal: merged within a window */
};

struct ev_rows {
    struct ev_row *rows;
    size_t n, cap;
};

void ev_rows_done(struct ev_rows *rows);
/* Replaces *out_rows by the rows of the traffic (which is sorted on the way), in order of arrival. */
void ev_traffic_rows(
    struct ev_traffic *traffic, const struct ev_flaws *flaws, struct ev_rows *out_rows);
/* Moves what the late site sees in the last late_us before end_us into out_later: it arrives among the rows of the next hour. */
void ev_traffic_hold(struct ev_traffic *traffic, const struct ev_flaws *flaws, int64_t end_us,
    struct ev_traffic *out_later);
/* The pseudonym an inside address travels as. */
void ev_pseudonym(const struct pk_addr *addr, uint8_t out_pseudonym[8]);
/* The address of the server of a site: its authoritative server, or its resolver. */
struct pk_addr ev_server(uint8_t site, uint8_t vantage);

#endif

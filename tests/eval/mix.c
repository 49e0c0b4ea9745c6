/* What the benign mixes share: see mix.h. */
#include "mix.h"

#include <stdio.h>
#include <string.h>

#include "picket/dnsmsg.h"

bool ev_mix_needs_wildcards(const char *id)
{
    return strcmp(id, "B5") == 0;
}

bool ev_mix_fill(
    const struct ev_world *world, const struct ev_mix *mix, uint32_t hour, struct ev_traffic *out)
{
    struct ev_hour h = {.world = world,
        .mix = mix,
        .hour = hour,
        .start_us = world->start_us + hour * EV_HOUR_US,
        .out = out};
    h.rng = ev_rng_begin(world->options.seed, 'H', hour, (uint64_t)mix->id[1]);
    switch (mix->id[0] == 'B' ? mix->id[1] : 0) {
    case '1':
        ev_mix_office(&h);
        return true;
    case '8': {
        size_t from = out->n;
        ev_mix_office(&h);
        ev_forward(out, from, false);
        return true;
    }
    case '2':
        ev_mix_mail(&h);
        return true;
    case '3':
        ev_mix_kubernetes(&h);
        return true;
    case '4':
    case '5':
        ev_mix_authority(&h, 1.0);
        return true;
    case '6':
        ev_mix_internet(&h);
        return true;
    case '7':
        ev_mix_measured(&h);
        return true;
    default:
        return false;
    }
}

void ev_forward(struct ev_traffic *traffic, size_t from, bool is_all)
{
    size_t n = traffic->n;
    for (size_t i = from; i < n; i++) {
        struct ev_event event = traffic->events[i];
        bool is_asked = is_all || event.answer == PK_ANSWER_NXDOMAIN ||
                        ev_hash3((uint64_t)event.time_us, i, 'F') % 10 < 3;
        if (!event.is_inside || event.site == 0 || !is_asked) {
            continue;
        }
        struct pk_name name = {.len = event.name_len};
        memcpy(name.wire, traffic->names + event.name_pos, name.len);
        event.client = ev_server(event.site, PK_VANTAGE_RESOLVER);
        event.site = 0;
        event.time_us += 400;
        ev_traffic_add(traffic, &event, &name);
    }
}

double ev_day_curve(uint32_t hour, bool is_office)
{
    uint32_t of_day = (hour + 1) % 24;
    bool is_weekend = hour / 24 % 7 >= 5;
    if (is_office) {
        double level = of_day >= 8 && of_day < 18 ? 2.1 : of_day == 7 || of_day == 18 ? 0.9 : 0.15;
        return is_weekend ? 0.12 : level;
    }
    double level = 1.0 + 0.45 * sin(6.283185307179586 * ((double)of_day - 9.0) / 24.0);
    return is_weekend ? 0.75 * level : level;
}

int64_t ev_any_time(struct ev_hour *hour)
{
    return hour->start_us + (int64_t)(ev_rng_unit(&hour->rng) * (double)EV_HOUR_US);
}

void ev_emit(
    struct ev_hour *hour, const struct ev_zone *zone, const char *label, struct ev_event event)
{
    struct pk_name name;
    ev_world_name(zone, label, &name);
    ev_world_answer(hour->world, zone, &name, &event);
    ev_traffic_add(hour->out, &event, &name);
}

void ev_emit_reverse(struct ev_hour *hour, const struct pk_addr *addr, struct ev_event event)
{
    char text[80];
    struct pk_name name;
    (void)snprintf(text, sizeof text, "%u.%u.%u.%u.in-addr.arpa", addr->bytes[3], addr->bytes[2],
        addr->bytes[1], addr->bytes[0]);
    ev_name_from(text, &name);
    event.qtype = PK_TYPE_PTR;
    ev_world_answer(hour->world, NULL, &name, &event);
    ev_traffic_add(hour->out, &event, &name);
}

void ev_emit_foreign(
    struct ev_hour *hour, const char *name_text, bool exists, struct ev_event event)
{
    if (!hour->mix->is_clear) {
        return;
    }
    struct pk_name name;
    ev_name_from(name_text, &name);
    event.qclass = PK_CLASS_IN;
    event.flags |= PK_SIG_RA | PK_SIG_QUERY_RD;
    event.answer = exists ? PK_ANSWER_DATA : PK_ANSWER_NXDOMAIN;
    event.rcode = exists ? PK_RCODE_NOERROR : PK_RCODE_NXDOMAIN;
    event.digest = ev_hash3(hour->world->options.seed, event.order, name.len);
    ev_traffic_add(hour->out, &event, &name);
}

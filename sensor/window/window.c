/* Everything is interned in dictionaries and forgotten together when the window, or a part of it, has been given out. */
#include "window/window.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_NAME_BYTES = 8 << 20,
    MAX_ADDRESS_BYTES = PK_MERGE_MAX_ROWS * sizeof(struct pk_addr),
    MAX_SIGNATURE_BYTES = PK_MERGE_MAX_ROWS * sizeof(struct pk_signature),
    MAX_ACTIVITY_BYTES = PK_MERGE_MAX_ROWS * sizeof(struct activity_key),
    MAX_NEGATIVE_BYTES = PK_MERGE_MAX_ROWS * sizeof(struct negative_key),
    MAX_COUNT_BYTES = WINDOW_MAX_COUNTS * sizeof(struct count_key),
    MAX_KEY_BYTES = 1 << 20, /* one RRset; history's RDATA of one response are not longer */
    MAX_RRSET_BYTES = PK_MERGE_MAX_BYTES - MAX_NAME_BYTES,
};

/* One line a dictionary, for making, forgetting and summing up. */
static const struct {
    size_t offset;
    uint32_t max_entries;
    size_t max_bytes;
} tables[] = {
    {offsetof(struct window, names), WINDOW_MAX_NAMES, MAX_NAME_BYTES},
    {offsetof(struct window, addresses), PK_MERGE_MAX_ROWS, MAX_ADDRESS_BYTES},
    {offsetof(struct window, signatures), PK_MERGE_MAX_ROWS, MAX_SIGNATURE_BYTES},
    {offsetof(struct window, activity), PK_MERGE_MAX_ROWS, MAX_ACTIVITY_BYTES},
    {offsetof(struct window, rrsets), PK_MERGE_MAX_ROWS, MAX_RRSET_BYTES},
    {offsetof(struct window, negatives), PK_MERGE_MAX_ROWS, MAX_NEGATIVE_BYTES},
    {offsetof(struct window, counts), WINDOW_MAX_COUNTS, MAX_COUNT_BYTES},
};
enum {
    N_TABLES = sizeof tables / sizeof *tables
};

static struct pk_dictionary *table(struct window *window, size_t i)
{
    return (struct pk_dictionary *)(void *)((uint8_t *)window + tables[i].offset);
}

pk_err window_init(struct window *window)
{
    pk_err err = PK_OK;
    *window = (struct window){.hidden_client = UINT32_MAX};
    for (size_t i = 0; i < N_TABLES && err == PK_OK; i++) {
        err = pk_dictionary_init(table(window, i), tables[i].max_entries, tables[i].max_bytes);
    }
    pk_bytes_init(&window->scratch, MAX_KEY_BYTES);
    window->clients = malloc(PK_MERGE_MAX_ROWS * sizeof *window->clients);
    window->client_of_address = malloc(PK_MERGE_MAX_ROWS * sizeof *window->client_of_address);
    window->activity_values = malloc(PK_MERGE_MAX_ROWS * sizeof *window->activity_values);
    window->rrset_values = malloc(PK_MERGE_MAX_ROWS * sizeof *window->rrset_values);
    window->negative_values = malloc(PK_MERGE_MAX_ROWS * sizeof *window->negative_values);
    window->count_values = malloc(WINDOW_MAX_COUNTS * sizeof *window->count_values);
    bool is_good = window->clients && window->client_of_address && window->activity_values &&
                   window->rrset_values && window->negative_values && window->count_values;
    return is_good ? err : PK_ERR_NOMEM;
}

void window_done(struct window *window)
{
    for (size_t i = 0; i < N_TABLES; i++) {
        pk_dictionary_done(table(window, i));
    }
    pk_bytes_done(&window->scratch);
    free(window->clients);
    free(window->client_of_address);
    free(window->activity_values);
    free(window->rrset_values);
    free(window->negative_values);
    free(window->count_values);
}

void window_clear(struct window *window)
{
    for (size_t i = 0; i < N_TABLES; i++) {
        if (table(window, i)->n > 0) {
            pk_dictionary_clear(table(window, i));
        }
    }
    window->n_clients = 0;
    window->hidden_client = UINT32_MAX;
}

size_t window_bound_bytes(void)
{
    size_t sum = pk_bytes_bound_bytes(MAX_KEY_BYTES);
    for (size_t i = 0; i < N_TABLES; i++) {
        sum += pk_dictionary_bound_bytes(tables[i].max_entries, tables[i].max_bytes);
    }
    return sum + WINDOW_MAX_COUNTS * sizeof(struct count_value) +
           PK_MERGE_MAX_ROWS *
               (sizeof(struct pk_client) + sizeof(uint32_t) + sizeof(struct activity_value) +
                   sizeof(struct rrset_value) + sizeof(struct negative_value));
}

pk_err window_client(struct window *window, const struct pk_client_rules *rules,
    const struct pk_addr *addr, uint32_t *out_client)
{
    uint32_t address, n = window->addresses.n;
    pk_err err = pk_dictionary_intern(&window->addresses, addr, sizeof *addr, &address);
    if (err != PK_OK) {
        return err;
    }
    if (address == n) {
        struct pk_client client = pk_client_of(rules, addr);
        uint32_t number = window->n_clients;
        if (client.kind == PK_CLIENT_NONE && window->hidden_client != UINT32_MAX) {
            number = window->hidden_client;
        } else {
            window->clients[window->n_clients++] = client;
            if (client.kind == PK_CLIENT_NONE) {
                window->hidden_client = number;
            }
        }
        window->client_of_address[address] = number;
    }
    *out_client = window->client_of_address[address];
    return PK_OK;
}

/* --- giving out --- */

static void give_activity(struct window *window, uint32_t i, const struct pk_merge_sink *sink)
{
    const struct activity_value *value = &window->activity_values[i];
    struct activity_key key;
    memcpy(&key, pk_dictionary_at(&window->activity, i).data, sizeof key);
    struct pk_activity row = {
        .client = window->clients[key.client],
        .name = pk_dictionary_at(&window->names, key.name),
        .first_us = value->first_us,
        .span_us = value->span_us,
        .count = value->count,
        .latency_min_us = value->latency_min_us,
        .latency_max_us = value->latency_max_us,
        .response_bytes_max = value->response_bytes_max,
        .answer_digest = key.answer_digest,
        .min_ttl_s = value->min_ttl_s,
        .retransmissions = value->retransmissions,
        .transfer_records = value->transfer_records,
        .transfer_soas = value->transfer_soas,
        .case_mixed = value->case_mixed,
    };
    memcpy(&row.signature, pk_dictionary_at(&window->signatures, key.signature).data,
        sizeof row.signature);
    struct pk_row_numbers numbers = {
        .name = key.name, .client = key.client, .signature = key.signature};
    sink->activity(sink->arg, &row, &numbers);
}

static void give_rrset(struct window *window, uint32_t i, const struct pk_merge_sink *sink)
{
    const struct rrset_value *value = &window->rrset_values[i];
    struct pk_slice bytes = pk_dictionary_at(&window->rrsets, i);
    struct rrset_key key;
    memcpy(&key, bytes.data, sizeof key);
    const uint8_t *p = bytes.data + sizeof key;
    for (uint32_t k = 0; k < key.n_rdata; k++) {
        uint32_t len = (uint32_t)p[0] << 8 | p[1];
        window->set[k] = (struct pk_slice){.data = p + 2, .len = len};
        p += 2 + len;
    }
    struct pk_rrset row = {
        .owner = pk_dictionary_at(&window->names, key.owner),
        .type = key.type,
        .class = key.class,
        .rdata = window->set,
        .n_rdata = key.n_rdata,
        .bailiwick = pk_dictionary_at(&window->names, key.bailiwick),
        .trust = (uint8_t)key.trust,
        .flags = value->flags,
        .count = value->count,
        .first_us = value->first_us,
        .last_us = value->last_us,
        .ttl_min_s = value->ttl_min_s,
        .ttl_max_s = value->ttl_max_s,
        .server = value->server,
    };
    struct pk_row_numbers numbers = {.name = key.owner, .bailiwick = key.bailiwick};
    sink->rrset(sink->arg, &row, &numbers);
}

static void give_negative(struct window *window, uint32_t i, const struct pk_merge_sink *sink)
{
    const struct negative_value *value = &window->negative_values[i];
    struct negative_key key;
    memcpy(&key, pk_dictionary_at(&window->negatives, i).data, sizeof key);
    struct pk_negative row = {
        .name = pk_dictionary_at(&window->names, key.name),
        .type = key.type,
        .class = key.class,
        .rcode = key.rcode,
        .count = value->count,
        .first_us = value->first_us,
        .last_us = value->last_us,
    };
    struct pk_row_numbers numbers = {.name = key.name};
    sink->negative(sink->arg, &row, &numbers);
}

static void give_count(struct window *window, uint32_t i, const struct pk_merge_sink *sink)
{
    const struct count_value *value = &window->count_values[i];
    struct count_key key;
    memcpy(&key, pk_dictionary_at(&window->counts, i).data, sizeof key);
    int64_t span_us = value->last_us - value->first_us;
    struct pk_client_count row = {
        .client = window->clients[key.client],
        .zone = pk_dictionary_at(&window->names, key.zone),
        .reason = (uint8_t)key.reason,
        .count = value->count,
        .negative = value->negative,
        .unanswered = value->unanswered,
        .ptr = value->ptr,
        .first_us = value->first_us,
        .span_us = span_us > UINT32_MAX ? UINT32_MAX : (uint32_t)span_us,
        .names = value->names,
    };
    struct pk_row_numbers numbers = {.name = key.zone, .client = key.client};
    sink->client(sink->arg, &row, &numbers);
}

void window_give(struct window *window, const struct pk_merge_sink *sink)
{
    for (uint32_t i = 0; i < window->activity.n; i++) {
        give_activity(window, i, sink);
    }
    for (uint32_t i = 0; i < window->rrsets.n; i++) {
        give_rrset(window, i, sink);
    }
    for (uint32_t i = 0; i < window->negatives.n; i++) {
        give_negative(window, i, sink);
    }
    for (uint32_t i = 0; i < window->counts.n; i++) {
        give_count(window, i, sink);
    }
}

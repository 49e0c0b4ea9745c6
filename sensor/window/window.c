/* Everything is interned in dictionaries and forgotten together when the window, or a part of it, has been given out. */
#include "window/window.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_NAME_BYTES = PK_ROWS_MAX_NAME_BYTES,
    MAX_ADDRESS_BYTES = PK_MERGE_MAX_ROWS * sizeof(struct pk_addr),
    MAX_CLIENTS = 2 * PK_MERGE_MAX_ROWS +
                  WINDOW_MAX_SUBNETS, /* as many pseudonyms of the period before as addresses */
    MAX_CLIENT_BYTES = MAX_CLIENTS * PK_CLIENT_PACKED_SIZE,
    MAX_CONTENT = 1 << 20, /* one RRset; history's RDATA of one response are not longer */
    MAX_CONTENT_BYTES = PK_MERGE_MAX_BYTES - MAX_NAME_BYTES,
};

_Static_assert((int)WINDOW_MAX_NAMES <= (int)PK_ROWS_MAX_NUMBERS &&
                   (int)MAX_CLIENTS <= (int)PK_ROWS_MAX_NUMBERS,
    "numbers that the encoder takes");
_Static_assert(sizeof(struct pk_activity_row) == 64, "a cache line");

/* One line a dictionary, for making, forgetting and summing up. */
struct dictionary_of {
    size_t offset;
    uint32_t max_entries;
    size_t max_bytes;
};
static const struct dictionary_of window_dictionaries[] = {
    {offsetof(struct window, names), WINDOW_MAX_NAMES, MAX_NAME_BYTES},
    {offsetof(struct window, clients), MAX_CLIENTS, MAX_CLIENT_BYTES},
    {offsetof(struct window, servers.addrs), PK_MERGE_MAX_ROWS, MAX_ADDRESS_BYTES},
};
static const struct dictionary_of rrset_dictionaries[] = {
    {offsetof(struct rrsets, contents), PK_MERGE_MAX_ROWS, MAX_CONTENT_BYTES},
    {offsetof(struct rrsets, servers.addrs), PK_MERGE_MAX_ROWS, MAX_ADDRESS_BYTES},
};
enum {
    N_WINDOW = sizeof window_dictionaries / sizeof *window_dictionaries,
    N_RRSETS = sizeof rrset_dictionaries / sizeof *rrset_dictionaries
};

static struct pk_dictionary *dictionary_at(void *base, size_t offset)
{
    return (struct pk_dictionary *)(void *)((uint8_t *)base + offset);
}

static pk_err init_all(void *base, const struct dictionary_of *all, size_t n)
{
    pk_err err = PK_OK;
    for (size_t i = 0; i < n && err == PK_OK; i++) {
        err = pk_dictionary_init(
            dictionary_at(base, all[i].offset), all[i].max_entries, all[i].max_bytes);
    }
    return err;
}

static void done_all(void *base, const struct dictionary_of *all, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        pk_dictionary_done(dictionary_at(base, all[i].offset));
    }
}

static void clear_all(void *base, const struct dictionary_of *all, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct pk_dictionary *dictionary = dictionary_at(base, all[i].offset);
        if (dictionary->n > 0) {
            pk_dictionary_clear(dictionary);
        }
    }
}

static size_t bound_of_all(const struct dictionary_of *all, size_t n)
{
    size_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += pk_dictionary_bound_bytes(all[i].max_entries, all[i].max_bytes);
    }
    return sum;
}

/* One line a table, the same. */
static const struct {
    size_t offset;
    uint32_t max_rows;
    size_t row_bytes;
} window_tables[] = {
    {offsetof(struct window, addresses), PK_MERGE_MAX_ROWS, sizeof(struct address_row)},
    {offsetof(struct window, subnets), WINDOW_MAX_SUBNETS, sizeof(struct subnet_row)},
    {offsetof(struct window, signatures), PK_MERGE_MAX_ROWS, sizeof(struct pk_signature_row)},
    {offsetof(struct window, answers), PK_MERGE_MAX_ROWS, sizeof(uint64_t)},
    {offsetof(struct window, activity), PK_MERGE_MAX_ROWS, sizeof(struct pk_activity_row)},
    {offsetof(struct window, negatives), PK_MERGE_MAX_ROWS, sizeof(struct pk_negative_row)},
    {offsetof(struct window, counts), WINDOW_MAX_COUNTS, sizeof(struct pk_count_row)},
};
enum {
    N_TABLES = sizeof window_tables / sizeof *window_tables
};

static struct table *window_table(struct window *window, size_t i)
{
    return (struct table *)(void *)((uint8_t *)window + window_tables[i].offset);
}

/* --- servers --- */

bool servers_find(
    const struct servers *servers, const struct pk_addr *addr, uint32_t *out_reference)
{
    *out_reference = 0;
    if (addr->family == 0) {
        return true;
    }
    if (servers->last_reference && pk_addr_equal(&servers->last, addr)) {
        *out_reference = servers->last_reference;
        return true;
    }
    bool is_known = pk_dictionary_find(&servers->addrs, addr, 1 + pk_addr_len(addr), out_reference);
    *out_reference += is_known;
    return is_known;
}

pk_err servers_number(struct servers *servers, const struct pk_addr *addr, uint32_t *out_reference)
{
    *out_reference = 0;
    if (addr->family == 0) {
        return PK_OK;
    }
    if (servers->last_reference && pk_addr_equal(&servers->last, addr)) {
        *out_reference = servers->last_reference;
        return PK_OK;
    }
    pk_err err = pk_dictionary_intern(&servers->addrs, addr, 1 + pk_addr_len(addr), out_reference);
    if (err == PK_OK) {
        servers->last = *addr;
        servers->last_reference = ++*out_reference;
    }
    return err;
}

/* --- activity and what is counted --- */

pk_err window_init(struct window *window)
{
    *window = (struct window){.hidden_client = UINT32_MAX};
    pk_err err = init_all(window, window_dictionaries, N_WINDOW);
    for (size_t i = 0; i < N_TABLES && err == PK_OK; i++) {
        err = table_init(
            window_table(window, i), window_tables[i].max_rows, window_tables[i].row_bytes);
    }
    return err;
}

void window_done(struct window *window)
{
    done_all(window, window_dictionaries, N_WINDOW);
    for (size_t i = 0; i < N_TABLES; i++) {
        table_done(window_table(window, i));
    }
}

void window_clear(struct window *window)
{
    clear_all(window, window_dictionaries, N_WINDOW);
    for (size_t i = 0; i < N_TABLES; i++) {
        if (window_table(window, i)->n > 0) {
            table_clear(window_table(window, i));
        }
    }
    window->servers.last_reference = 0;
    window->hidden_client = UINT32_MAX;
}

size_t window_bound_bytes(void)
{
    size_t sum = bound_of_all(window_dictionaries, N_WINDOW);
    for (size_t i = 0; i < N_TABLES; i++) {
        sum += table_bound_bytes(window_tables[i].max_rows, window_tables[i].row_bytes);
    }
    return sum;
}

static struct address_key address_key_of(const struct pk_addr *addr)
{
    struct address_key key;
    const uint8_t *bytes = (const uint8_t *)addr;
    memcpy(key.words, bytes, 16);
    key.words[4] = bytes[16]; /* a word in one piece: it is read as one right after */
    return key;
}

void window_client_ahead(const struct window *window, const struct pk_addr *addr)
{
    struct address_key key = address_key_of(addr);
    table_prefetch(&window->addresses, table_hash(&key, sizeof key));
}

bool window_find_client(
    const struct window *window, const struct pk_addr *addr, uint32_t *out_client)
{
    struct address_key key = address_key_of(addr);
    uint32_t number =
        table_find(&window->addresses, &key, sizeof key, table_hash(&key, sizeof key));
    if (number != TABLE_NONE) {
        *out_client = ((struct address_row *)table_at(&window->addresses, number))->client;
    }
    return number != TABLE_NONE;
}

struct pk_addr window_address(const struct window *window, uint32_t number)
{
    struct pk_addr addr;
    memcpy(&addr, table_at(&window->addresses, number), sizeof addr);
    return addr;
}

/* Of an address that is new. */
static pk_err add_client(struct window *window, const struct pk_client_rules *rules,
    const struct pk_addr *addr, uint32_t *out_client)
{
    struct pk_client client = pk_client_of(rules, addr);
    uint8_t packed[PK_CLIENT_PACKED_SIZE];
    bool is_hidden = client.kind == PK_CLIENT_NONE;
    *out_client = window->hidden_client;
    if (is_hidden && window->hidden_client != UINT32_MAX) {
        return PK_OK;
    }
    pk_err err =
        pk_dictionary_append(&window->clients, packed, pk_client_pack(&client, packed), out_client);
    if (err == PK_OK && is_hidden) {
        window->hidden_client = *out_client;
    }
    return err;
}

pk_err window_client(struct window *window, const struct pk_client_rules *rules,
    const struct pk_addr *addr, uint32_t *out_client)
{
    struct address_key key = address_key_of(addr);
    uint32_t hash = table_hash(&key, sizeof key), number;
    number = table_find(&window->addresses, &key, sizeof key, hash);
    if (number != TABLE_NONE) {
        *out_client = ((struct address_row *)table_at(&window->addresses, number))->client;
        return PK_OK;
    }
    pk_err err = window->addresses.n == window->addresses.max
                     ? PK_ERR_LIMIT
                     : add_client(window, rules, addr, out_client);
    if (err == PK_OK &&
        (err = table_put(&window->addresses, &key, sizeof key, hash, &number)) == PK_OK) {
        ((struct address_row *)table_at(&window->addresses, number))->client = *out_client;
    }
    return err;
}

static struct subnet_key subnet_key_of(uint32_t through, const struct pk_prefix *subnet)
{
    struct subnet_key key = {.through = through};
    const struct pk_prefix told = pk_client_subnet(subnet);
    _Static_assert(sizeof told <= sizeof key.words, "a subnet fits its key");
    memcpy(key.words, &told, sizeof told);
    return key;
}

/* The table's number of a new one. */
static pk_err add_subnet(struct window *window, const struct pk_client_rules *rules,
    const struct pk_prefix *subnet, uint32_t *client)
{
    struct pk_slice through = pk_dictionary_at(&window->clients, *client);
    struct pk_client whole = {.kind = (enum pk_client_kind)through.data[0]};
    uint8_t packed[PK_CLIENT_PACKED_SIZE];
    if (whole.kind == PK_CLIENT_OUTSIDE) { /* kind, then the address as it is in memory */
        memcpy(&whole.addr, through.data + 1, through.len - 1);
    }
    const struct pk_prefix told = pk_client_subnet(subnet);
    return pk_client_asks_for(rules, &whole, &told)
               ? pk_dictionary_append(
                     &window->clients, packed, pk_client_pack_with_subnet(&whole, packed), client)
               : PK_OK;
}

bool window_client_for(struct window *window, const struct pk_client_rules *rules,
    const struct pk_prefix *subnet, uint32_t *client)
{
    struct subnet_key key = subnet_key_of(*client, subnet);
    uint32_t hash = table_hash(&key, sizeof key), n = window->subnets.n, row;
    if (n == window->subnets.max) {
        uint32_t through = *client;
        (void)window_find_client_for(window, subnet, client);
        return *client != through;
    }
    if (table_put(&window->subnets, &key, sizeof key, hash, &row) != PK_OK) {
        return false;
    }
    struct subnet_row *value = table_at(&window->subnets, row);
    bool is_there = row < n;
    if (!is_there) {
        value->client = *client;
        is_there = add_subnet(window, rules, subnet, &value->client) == PK_OK;
    }
    *client = value->client;
    return is_there;
}

bool window_find_client_for(
    const struct window *window, const struct pk_prefix *subnet, uint32_t *client)
{
    struct subnet_key key = subnet_key_of(*client, subnet);
    uint32_t row = table_find(&window->subnets, &key, sizeof key, table_hash(&key, sizeof key));
    if (row != TABLE_NONE) {
        *client = ((struct subnet_row *)table_at(&window->subnets, row))->client;
    }
    return row != TABLE_NONE || window->subnets.n == window->subnets.max;
}

/* --- RRsets --- */

pk_err rrsets_init(struct rrsets *rrsets)
{
    *rrsets = (struct rrsets){0};
    pk_bytes_init(&rrsets->scratch, MAX_CONTENT);
    rrsets->rows = malloc(PK_MERGE_MAX_ROWS * sizeof *rrsets->rows);
    pk_err err = init_all(rrsets, rrset_dictionaries, N_RRSETS);
    return rrsets->rows ? err : PK_ERR_NOMEM;
}

void rrsets_done(struct rrsets *rrsets)
{
    done_all(rrsets, rrset_dictionaries, N_RRSETS);
    pk_bytes_done(&rrsets->scratch);
    free(rrsets->rows);
}

void rrsets_clear(struct rrsets *rrsets)
{
    clear_all(rrsets, rrset_dictionaries, N_RRSETS);
    rrsets->servers.last_reference = 0;
}

size_t rrsets_bound_bytes(void)
{
    return bound_of_all(rrset_dictionaries, N_RRSETS) + pk_bytes_bound_bytes(MAX_CONTENT) +
           PK_MERGE_MAX_ROWS * sizeof(struct pk_rrset_row);
}

pk_err rrsets_row(
    struct rrsets *rrsets, const struct pk_rrset *rrset, bool is_scarce, uint32_t *out_row)
{
    struct pk_bytes *bytes = &rrsets->scratch;
    const struct pk_rrset_content content = {.type = rrset->type,
        .class = rrset->class,
        .n_rdata = (uint16_t)rrset->n_rdata,
        .trust = rrset->trust,
        .owner_len = (uint8_t)rrset->owner.len,
        .bailiwick_len = (uint8_t)rrset->bailiwick.len};
    size_t len = sizeof content + rrset->owner.len + rrset->bailiwick.len;
    for (uint32_t i = 0; i < rrset->n_rdata; i++) {
        len += 2 + (size_t)rrset->rdata[i].len;
    }
    pk_bytes_clear(bytes);
    uint8_t *p = pk_bytes_extend(bytes, len);
    if (!p) { /* more than one response can hold, or no memory */
        return PK_ERR_UNSUPPORTED;
    }
    memcpy(p, &content, sizeof content);
    p += sizeof content;
    memcpy(p, rrset->owner.data, rrset->owner.len);
    p += rrset->owner.len;
    memcpy(p, rrset->bailiwick.data, rrset->bailiwick.len);
    p += rrset->bailiwick.len;
    for (uint32_t i = 0; i < rrset->n_rdata; i++) {
        const struct pk_slice *rdata = &rrset->rdata[i];
        *p++ = (uint8_t)(rdata->len >> 8);
        *p++ = (uint8_t)rdata->len;
        memcpy(p, rdata->data, rdata->len);
        p += rdata->len;
    }
    if (is_scarce) {
        return pk_dictionary_find(&rrsets->contents, bytes->data, len, out_row)
                   ? PK_OK
                   : PK_ERR_UNSUPPORTED;
    }
    return pk_dictionary_intern(&rrsets->contents, bytes->data, len, out_row);
}

/* --- giving out --- */

static void give(const struct pk_merge_sink *sink, const struct pk_batch_info *info,
    struct pk_rows rows, const struct table *table, enum pk_batch_kind kind)
{
    rows.kind = kind;
    rows.rows = table->rows;
    rows.n = table->n;
    if (rows.n > 0) {
        sink->rows(sink->arg, info, &rows);
    }
}

static struct pk_rows rows_of(const struct window *window)
{
    return (struct pk_rows){
        .names = &window->names,
        .clients = &window->clients,
        .signatures = table_at(&window->signatures, 0),
        .answers = table_at(&window->answers, 0),
        .addrs = &window->servers.addrs,
        .has_subnets = window->subnets.n > 0,
    };
}

void window_give_counts(
    const struct window *window, const struct pk_batch_info *info, const struct pk_merge_sink *sink)
{
    give(sink, info, rows_of(window), &window->counts, PK_BATCH_CLIENT);
}

void window_give(
    const struct window *window, const struct pk_batch_info *info, const struct pk_merge_sink *sink)
{
    give(sink, info, rows_of(window), &window->activity, PK_BATCH_ACTIVITY);
    give(sink, info, rows_of(window), &window->negatives, PK_BATCH_NEGATIVE);
    window_give_counts(window, info, sink);
}

void rrsets_give(
    const struct rrsets *rrsets, const struct pk_batch_info *info, const struct pk_merge_sink *sink)
{
    const struct pk_rows rows = {
        .kind = PK_BATCH_RRSET,
        .rows = rrsets->rows,
        .n = rrsets->contents.n,
        .contents = &rrsets->contents,
        .addrs = &rrsets->servers.addrs,
    };
    if (rows.n > 0) {
        sink->rows(sink->arg, info, &rows);
    }
}

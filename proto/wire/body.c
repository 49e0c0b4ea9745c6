/* A msgpack map with ascending keys, by msgpack-c's packer into our bounded buffer. The sizes of all columns are measured first: whether a column is there at all, what it takes and how it is
 * written is known before its first byte. */
#include "body.h"

#include <string.h>

#include <msgpack.h>

#include "columns.h"
#include "msgpack_bytes.h"

static void put_uint(msgpack_packer *packer, uint64_t v)
{
    msgpack_pack_uint64(packer, v);
}

static void put_bin(msgpack_packer *packer, const void *data, size_t len)
{
    msgpack_pack_bin(packer, len);
    msgpack_pack_bin_body(packer, data, len);
}

static void put_str(msgpack_packer *packer, const char *text)
{
    msgpack_pack_str(packer, strlen(text));
    msgpack_pack_str_body(packer, text, strlen(text));
}

static void put_text(msgpack_packer *packer, unsigned key, const char *text)
{
    put_uint(packer, key);
    put_str(packer, text);
}

static void put_dictionary(
    msgpack_packer *packer, unsigned key, const struct body_dictionary *dictionary)
{
    if (dictionary->n > 0) {
        put_uint(packer, key);
        msgpack_pack_array(packer, 2);
        put_uint(packer, dictionary->n);
        put_bin(packer, dictionary->data, dictionary->len);
    }
}

static void put_common(msgpack_packer *packer, const struct body *body)
{
    const struct pk_batch_info *info = body->info;
    put_uint(packer, KEY_VERSION);
    put_uint(packer, BODY_VERSION);
    put_uint(packer, KEY_KIND);
    put_uint(packer, info->kind);
    put_uint(packer, KEY_WINDOW_START);
    msgpack_pack_int64(packer, info->window_start_us);
    put_uint(packer, KEY_WINDOW_MS);
    put_uint(packer, info->window_ms);
    put_uint(packer, KEY_FLAGS);
    put_uint(packer, info->flags);
    put_uint(packer, KEY_PRIVACY);
    msgpack_pack_array(packer, 2);
    put_uint(packer, info->privacy);
    put_uint(packer, info->key_period);
    put_uint(packer, KEY_ROWS);
    put_uint(packer, body->n_rows);
}

static void put_column(msgpack_packer *packer, struct pk_bytes *out, const struct column_plan *plan,
    const struct body_column *column, size_t n)
{
    msgpack_pack_bin(packer, plan->len);
    uint8_t *room = pk_bytes_extend(out, plan->len + COLUMN_SLACK);
    if (room && column->narrow) {
        column_write_narrow(plan, column->narrow, n, room);
    } else if (room) {
        column_write(plan, column->wide, n, room);
    }
    out->len -= room ? COLUMN_SLACK : 0;
}

/* Two columns: a reader of the first minor version wants exactly PK_N_HEALTH_FIRST values in the first, and skips the second. */
static void put_health(
    msgpack_packer *packer, struct pk_bytes *out, const struct pk_health *health, bool has_more)
{
    struct body_column first = {.wide = health->v}, more = {.wide = health->v + PK_N_HEALTH_FIRST};
    size_t n_more = PK_N_HEALTH_KEYS - PK_N_HEALTH_FIRST;
    struct column_plan plan = column_plan(first.wide, PK_N_HEALTH_FIRST);
    put_uint(packer, KEY_HEALTH);
    put_column(packer, out, &plan, &first, PK_N_HEALTH_FIRST);
    if (has_more) {
        plan = column_plan(more.wide, n_more);
        put_uint(packer, KEY_HEALTH_MORE);
        msgpack_pack_array(packer, 2);
        put_uint(packer, n_more);
        put_column(packer, out, &plan, &more, n_more);
    }
}

static void put_interfaces(msgpack_packer *packer, const struct body *body)
{
    put_uint(packer, KEY_INTERFACES);
    msgpack_pack_array(packer, body->n_interfaces);
    for (size_t i = 0; i < body->n_interfaces; i++) {
        const struct pk_health_interface *interface = &body->interfaces[i];
        msgpack_pack_array(packer, 5);
        put_str(packer, interface->name);
        put_uint(packer, interface->state);
        put_uint(packer, interface->packets);
        put_uint(packer, interface->kernel_dropped);
        put_uint(packer, interface->iface_dropped);
    }
}

/* Lengths of the columns that are there; 0 for the rest. Returns how many there are. */
static uint32_t plan_columns(const struct body *body, struct column_plan plans[MAX_COLUMNS])
{
    uint32_t n = 0;
    for (unsigned i = 0; body->schema && i < body->schema->n_columns; i++) {
        const struct body_column *column = &body->columns[i];
        plans[i] = (struct column_plan){0};
        if (column->narrow) {
            plans[i] = column_plan_narrow(column->narrow, body->n_rows);
        } else if (column->wide && !pk_column_is_zero(column->wide, body->n_rows)) {
            plans[i] = column_plan(column->wide, body->n_rows);
        }
        n += plans[i].len > 0;
    }
    return n;
}

void body_write(const struct body *body, struct pk_bytes *out)
{
    static const uint8_t keys[BODY_N_DICTIONARIES] = {KEY_ADDRS, KEY_CLIENTS, KEY_SIGNATURES,
        KEY_RDATA, KEY_RDATA_SETS, KEY_ANSWERS, KEY_SKETCHES, KEY_SUBNETS};
    struct column_plan plans[MAX_COLUMNS];
    msgpack_packer packer;
    bool has_more = body->health && !pk_column_is_zero(body->health->v + PK_N_HEALTH_FIRST,
                                        PK_N_HEALTH_KEYS - PK_N_HEALTH_FIRST);
    uint32_t n = 7 + (body->names.n > 0); /* version, kind, start, length, flags, privacy, rows */
    for (unsigned i = 0; i < BODY_N_DICTIONARIES; i++) {
        n += body->dictionaries[i].n > 0;
    }
    n += plan_columns(body, plans) + (body->health ? 1 + has_more : 0) + (body->n_interfaces > 0) +
         (body->origin ? 3 : 0);
    msgpack_packer_init(&packer, out, pk_msgpack_write);
    msgpack_pack_map(&packer, n);
    put_common(&packer, body);
    put_dictionary(&packer, KEY_NAMES, &body->names);
    for (unsigned i = 0; i < BODY_N_DICTIONARIES; i++) {
        put_dictionary(&packer, keys[i], &body->dictionaries[i]);
    }
    for (unsigned i = 0; body->schema && i < body->schema->n_columns; i++) {
        if (plans[i].len > 0) {
            put_uint(&packer, body->schema->columns[i].key);
            put_column(&packer, out, &plans[i], &body->columns[i], body->n_rows);
        }
    }
    if (body->health) {
        put_health(&packer, out, body->health, has_more);
    }
    if (body->n_interfaces > 0) {
        put_interfaces(&packer, body);
    }
    if (body->origin) {
        put_text(&packer, KEY_ORIGIN_SITE, body->origin->site);
        put_text(&packer, KEY_ORIGIN_SENSOR, body->origin->sensor);
        put_text(&packer, KEY_ORIGIN_SOFTWARE, body->origin->software);
    }
}

/* Bytes that both have at their ends; eight at a time while both have as many, since names that stand side by side mostly share a domain. */
static uint32_t shared_bytes(struct pk_slice a, struct pk_slice b)
{
    uint32_t most = a.len < b.len ? a.len : b.len, n = 0;
    if (most == 0) {
        return 0; /* the first name has none before it, nor a place to count from */
    }
    const uint8_t *x = a.data + a.len, *y = b.data + b.len;
    for (; n + 8 <= most; n += 8) {
        uint64_t v, w;
        memcpy(&v, x - n - 8, sizeof v);
        memcpy(&w, y - n - 8, sizeof w);
        if (v != w) {
            break;
        }
    }
    while (n < most && x[-1 - (ptrdiff_t)n] == y[-1 - (ptrdiff_t)n]) {
        n++;
    }
    return n;
}

void body_put_name(struct pk_bytes *out, struct pk_slice name, struct pk_slice before)
{
    uint32_t shared = shared_bytes(name, before), own = name.len - shared;
    uint8_t *room = pk_bytes_extend(out, 4 + own); /* neither length takes more than two bytes */
    if (room) {
        uint8_t *p = column_put_varint(column_put_varint(room, shared), own);
        memcpy(p, name.data, own);
        out->len -= (size_t)(room + 4 - p);
    }
}

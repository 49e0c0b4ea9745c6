/* Reading a batch body that nobody vouches for.
 *
 * The map is walked once in key order; each part is checked whole before the next is looked at, and every index against its dictionary before the
 * batch is given out. So the accessors at the end cannot fail. Counts are believed only up to the limits of limits.h and never beyond the bytes that would
 * have to carry them. */
#include <stdlib.h>
#include <string.h>

#include "picket/batch.h"
#include "picket/name.h"

#include "batch_schema.h"
#include "columns.h"
#include "cursor.h"
#include "day_set.h"

struct pk_batch {
    struct pk_batch_info info;
    const struct schema *schema;
    size_t n_rows;
    uint8_t *names_blob; /* all names side by side */
    struct pk_slice *names;
    uint32_t n_names;
    struct pk_addr *addrs;
    uint32_t n_addrs;
    struct pk_client *clients;
    uint32_t n_clients;
    struct pk_signature *signatures;
    uint32_t n_signatures;
    uint8_t *rdata_blob;
    struct pk_slice *rdata;
    uint32_t n_rdata;
    struct pk_slice *set_items; /* of all sets, one after another */
    uint32_t *set_ends;
    uint32_t n_sets;
    uint64_t *answers;
    uint32_t n_answers;
    struct pk_sketch *sketches;
    uint32_t n_sketches;
    struct pk_prefix *subnets;
    uint32_t n_subnets;
    uint64_t *columns[MAX_COLUMNS]; /* NULL: all zero */
    struct pk_health health;
    struct pk_health_interface interfaces[PK_MAX_HEALTH_INTERFACES];
    size_t n_interfaces;
    struct pk_origin origin;
    struct day_set days;
};

enum {
    MAX_MORE_HEALTH = 256
};
_Static_assert(PK_N_HEALTH_KEYS - PK_N_HEALTH_FIRST <= MAX_MORE_HEALTH, "a batch of ours is read");

struct decoder {
    struct pk_batch *batch;
    struct pk_reader in;
    unsigned key;
    const char *what; /* what is wrong, when a part says more than the error code */
    bool has_rows;
};

static void refuse(struct decoder *decoder, pk_err err, const char *what)
{
    if (decoder->in.err == PK_OK) {
        decoder->what = what;
    }
    pk_reader_fail(&decoder->in, err);
}

/* [count, bin]; the reader over the bin. min_bytes: the least an entry takes. */
static struct pk_reader open_dictionary(
    struct decoder *decoder, uint32_t max, uint32_t min_bytes, uint32_t *out_n)
{
    if (mp_array(&decoder->in, 2) != 2 && decoder->in.err == PK_OK) {
        refuse(decoder, PK_ERR_MALFORMED, "a dictionary is [count, bin]");
    }
    uint32_t n = (uint32_t)mp_uint(&decoder->in, max);
    struct pk_slice bin = mp_bin(&decoder->in, PK_MAX_BODY_BYTES);
    if (decoder->in.err == PK_OK && (n == 0 || (uint64_t)n * min_bytes > bin.len)) {
        refuse(decoder, PK_ERR_MALFORMED, "more entries than bytes, or none");
    }
    struct pk_reader part;
    pk_reader_init(&part, bin.data, bin.len);
    *out_n = decoder->in.err == PK_OK ? n : 0;
    return part;
}

static void *allocate(struct decoder *decoder, size_t n, size_t size)
{
    void *memory = decoder->in.err == PK_OK ? calloc(n ? n : 1, size) : NULL;
    if (!memory) {
        refuse(decoder, PK_ERR_NOMEM, NULL);
    }
    return memory;
}

static void close_dictionary(
    struct decoder *decoder, const struct pk_reader *part, const char *what)
{
    if (part->err != PK_OK) {
        refuse(decoder, part->err, what);
    } else if (!pk_reader_at_end(part)) {
        refuse(decoder, PK_ERR_MALFORMED, "bytes after the last entry");
    }
}

static bool is_lower(const struct pk_name *name)
{
    for (size_t i = 0; i < name->len; i++) {
        if (name->wire[i] >= 'A' && name->wire[i] <= 'Z') {
            return false;
        }
    }
    return true;
}

/* One suffix-coded name after `before`; false with the part failed. */
static bool read_name(
    struct pk_reader *part, const struct pk_name *before, bool is_first, struct pk_name *out_name)
{
    uint64_t shared = pk_reader_varint(part), fresh = pk_reader_varint(part);
    uint8_t wire[PK_NAME_MAX];
    if (shared > (is_first ? 0 : before->len) || fresh > PK_NAME_MAX ||
        shared + fresh > PK_NAME_MAX || shared + fresh == 0) {
        pk_reader_fail(part, PK_ERR_MALFORMED);
        return false;
    }
    const uint8_t *bytes = pk_reader_bytes(part, (size_t)fresh);
    if (part->err != PK_OK) {
        return false;
    }
    if (fresh > 0) {
        memcpy(wire, bytes, (size_t)fresh);
    }
    if (shared > 0) {
        memcpy(wire + fresh, before->wire + before->len - shared, (size_t)shared);
    }
    if (pk_name_from_wire(wire, (size_t)(shared + fresh), out_name) != PK_OK ||
        !is_lower(out_name) || (!is_first && pk_name_compare(before, out_name) >= 0)) {
        pk_reader_fail(part, PK_ERR_MALFORMED);
        return false;
    }
    return true;
}

static void read_names(struct decoder *decoder)
{
    struct pk_batch *batch = decoder->batch;
    uint32_t n;
    struct pk_reader part = open_dictionary(decoder, PK_MAX_BATCH_NAMES, 2, &n);
    struct pk_bytes blob;
    pk_bytes_init(&blob, PK_MAX_UNPACKED_BYTES);
    batch->names = allocate(decoder, n, sizeof *batch->names);
    struct pk_name name = {.len = 1}, next;
    for (uint32_t i = 0; batch->names && i < n && read_name(&part, &name, i == 0, &next); i++) {
        pk_bytes_put(&blob, next.wire, next.len);
        batch->names[i].len = next.len;
        name.len = next.len;
        name.n_labels = next.n_labels;
        memcpy(name.wire, next.wire, next.len);
    }
    close_dictionary(decoder, &part, "a name is not valid, not lower case, or out of order");
    if (blob.err != PK_OK) {
        refuse(decoder, blob.err, "names");
    }
    batch->names_blob = blob.data;
    const uint8_t *at = blob.data;
    for (uint32_t i = 0; decoder->in.err == PK_OK && i < n; i++) {
        batch->names[i].data = at;
        at += batch->names[i].len;
    }
    batch->n_names = n;
}

static struct pk_addr read_addr(struct pk_reader *part)
{
    struct pk_addr addr = {.family = pk_reader_u8(part)};
    if (addr.family != 4 && addr.family != 6) {
        pk_reader_fail(part, PK_ERR_MALFORMED);
        return (struct pk_addr){0};
    }
    size_t len = pk_addr_len(&addr);
    const uint8_t *bytes = pk_reader_bytes(part, len);
    if (bytes) {
        memcpy(addr.bytes, bytes, len);
    }
    return addr;
}

static void read_addrs(struct decoder *decoder)
{
    struct pk_batch *batch = decoder->batch;
    struct pk_reader part = open_dictionary(decoder, PK_MAX_BATCH_ADDRS, 5, &batch->n_addrs);
    batch->addrs = allocate(decoder, batch->n_addrs, sizeof *batch->addrs);
    for (uint32_t i = 0; batch->addrs && i < batch->n_addrs && part.err == PK_OK; i++) {
        batch->addrs[i] = read_addr(&part);
    }
    close_dictionary(decoder, &part, "an address is not valid");
}

/* Family, length, as many bytes as that takes; family 0 has none. */
static struct pk_prefix read_prefix(struct pk_reader *part)
{
    struct pk_prefix prefix = {.addr.family = pk_reader_u8(part)};
    prefix.len = pk_reader_u8(part);
    size_t max = pk_addr_len(&prefix.addr) * 8, n = (prefix.len + 7u) / 8u;
    const uint8_t *bytes = prefix.len <= max ? pk_reader_bytes(part, n) : NULL;
    if (prefix.len > max || (prefix.addr.family != 0 && max == 0)) {
        pk_reader_fail(part, PK_ERR_MALFORMED);
    }
    if (bytes) {
        memcpy(prefix.addr.bytes, bytes, n);
    }
    return prefix;
}

static struct pk_client read_client(struct pk_reader *part)
{
    struct pk_client client = {.kind = (enum pk_client_kind)pk_reader_u8(part)};
    if (client.kind == PK_CLIENT_OUTSIDE || client.kind == PK_CLIENT_INSIDE) {
        client.addr = read_addr(part);
    } else if (client.kind == PK_CLIENT_PSEUDONYM) {
        const uint8_t *pseudonym = pk_reader_bytes(part, sizeof client.pseudonym);
        client.prefix = read_prefix(part);
        if (part->err == PK_OK) {
            memcpy(client.pseudonym, pseudonym, sizeof client.pseudonym);
        }
    } else if (client.kind != PK_CLIENT_NONE) {
        pk_reader_fail(part, PK_ERR_MALFORMED);
    }
    return client;
}

static void read_clients(struct decoder *decoder)
{
    struct pk_batch *batch = decoder->batch;
    struct pk_reader part = open_dictionary(decoder, PK_MAX_BATCH_ADDRS, 1, &batch->n_clients);
    batch->clients = allocate(decoder, batch->n_clients, sizeof *batch->clients);
    for (uint32_t i = 0; batch->clients && i < batch->n_clients && part.err == PK_OK; i++) {
        batch->clients[i] = read_client(&part);
    }
    close_dictionary(decoder, &part, "a client is not valid");
}

static uint64_t bounded(struct pk_reader *part, uint64_t max)
{
    uint64_t v = pk_reader_varint(part);
    if (v > max) {
        pk_reader_fail(part, PK_ERR_MALFORMED);
        return 0;
    }
    return v;
}

static void read_signatures(struct decoder *decoder)
{
    struct pk_batch *batch = decoder->batch;
    struct pk_reader part =
        open_dictionary(decoder, PK_MAX_BATCH_SIGNATURES, 11, &batch->n_signatures);
    batch->signatures = allocate(decoder, batch->n_signatures, sizeof *batch->signatures);
    for (uint32_t i = 0; batch->signatures && i < batch->n_signatures && part.err == PK_OK; i++) {
        struct pk_signature *signature = &batch->signatures[i];
        uint64_t server = bounded(&part, batch->n_addrs);
        if (server > 0) {
            signature->server = batch->addrs[server - 1];
        }
        signature->server_port = (uint16_t)bounded(&part, UINT16_MAX);
        signature->transport = (uint8_t)bounded(&part, PK_N_TRANSPORTS - 1);
        signature->vantage = (uint8_t)bounded(&part, PK_N_VANTAGES - 1);
        signature->opcode = (uint8_t)bounded(&part, 15);
        signature->answer = (uint8_t)bounded(&part, PK_N_ANSWER_KINDS - 1);
        signature->qtype = (uint16_t)bounded(&part, UINT16_MAX);
        signature->qclass = (uint16_t)bounded(&part, UINT16_MAX);
        signature->rcode = (uint16_t)bounded(&part, UINT16_MAX);
        signature->flags = (uint16_t)bounded(&part, UINT16_MAX);
        signature->edns_udp_size = (uint16_t)bounded(&part, UINT16_MAX);
    }
    close_dictionary(decoder, &part, "a signature is not valid");
}

static void read_rdata(struct decoder *decoder)
{
    struct pk_batch *batch = decoder->batch;
    struct pk_reader part = open_dictionary(decoder, PK_MAX_BATCH_RDATA, 1, &batch->n_rdata);
    batch->rdata = allocate(decoder, batch->n_rdata, sizeof *batch->rdata);
    batch->rdata_blob = allocate(decoder, part.len, 1);
    if (!batch->rdata_blob || !batch->rdata) {
        return;
    }
    memcpy(batch->rdata_blob, part.data, part.len);
    part.data = batch->rdata_blob; /* the slices outlive the body */
    for (uint32_t i = 0; i < batch->n_rdata && part.err == PK_OK; i++) {
        uint32_t len = (uint32_t)bounded(&part, UINT16_MAX);
        batch->rdata[i] = (struct pk_slice){.len = len};
        batch->rdata[i].data = len ? pk_reader_bytes(&part, len) : batch->rdata_blob;
    }
    close_dictionary(decoder, &part, "RDATA does not fit");
}

static void read_sets(struct decoder *decoder)
{
    struct pk_batch *batch = decoder->batch;
    struct pk_reader part = open_dictionary(decoder, PK_MAX_BATCH_ROWS, 2, &batch->n_sets);
    batch->set_ends = allocate(decoder, batch->n_sets, sizeof *batch->set_ends);
    batch->set_items =
        allocate(decoder, part.len, sizeof *batch->set_items); /* an item takes a byte at least */
    uint32_t end = 0;
    for (uint32_t i = 0;
         batch->set_items && batch->set_ends && i < batch->n_sets && part.err == PK_OK; i++) {
        uint64_t n = bounded(&part, pk_reader_left(&part));
        if (n == 0 || batch->n_rdata == 0) {
            pk_reader_fail(&part, PK_ERR_MALFORMED);
        }
        for (uint64_t k = 0; k < n && part.err == PK_OK; k++) {
            uint64_t index = bounded(&part, batch->n_rdata - 1);
            batch->set_items[end++] = batch->rdata[index];
        }
        batch->set_ends[i] = end;
    }
    close_dictionary(decoder, &part, "a set of RDATA is empty or points outside");
}

static void read_answers(struct decoder *decoder)
{
    struct pk_batch *batch = decoder->batch;
    struct pk_reader part = open_dictionary(decoder, PK_MAX_BATCH_ROWS, 8, &batch->n_answers);
    batch->answers = allocate(decoder, batch->n_answers, sizeof *batch->answers);
    for (uint32_t i = 0; batch->answers && i < batch->n_answers; i++) {
        const uint8_t *raw = pk_reader_bytes(&part, sizeof *batch->answers);
        if (raw) {
            memcpy(&batch->answers[i], raw, sizeof *batch->answers);
        }
    }
    close_dictionary(decoder, &part, "answer digests");
}

static void read_sketch(struct pk_reader *part, struct pk_sketch *out)
{
    unsigned n = pk_reader_u8(part);
    if (n == 0) {
        const uint8_t *all = pk_reader_bytes(part, PK_SKETCH_REGISTERS);
        if (all) {
            memcpy(out->registers, all, PK_SKETCH_REGISTERS);
        }
    }
    if (n > PK_SKETCH_MAX_SPARSE) {
        pk_reader_fail(part, PK_ERR_MALFORMED);
    }
    for (unsigned i = 0, least = 0; i < n && part->err == PK_OK; i++) {
        unsigned number = pk_reader_u8(part);
        out->registers[number] = pk_reader_u8(part);
        if (number < least || out->registers[number] == 0) {
            pk_reader_fail(part, PK_ERR_MALFORMED);
        }
        least = number + 1;
    }
    unsigned n_set = 0;
    for (unsigned i = 0; i < PK_SKETCH_REGISTERS; i++) {
        n_set += out->registers[i] != 0;
        if (out->registers[i] > PK_SKETCH_MAX_RANK) {
            pk_reader_fail(part, PK_ERR_MALFORMED);
        }
    }
    if (n == 0 && n_set <= PK_SKETCH_MAX_SPARSE) {
        pk_reader_fail(part, PK_ERR_MALFORMED);
    }
}

static void read_sketches(struct decoder *decoder)
{
    struct pk_batch *batch = decoder->batch;
    struct pk_reader part = open_dictionary(decoder, PK_MAX_BATCH_ROWS, 3, &batch->n_sketches);
    batch->sketches = allocate(decoder, batch->n_sketches, sizeof *batch->sketches);
    for (uint32_t i = 0; batch->sketches && i < batch->n_sketches && part.err == PK_OK; i++) {
        read_sketch(&part, &batch->sketches[i]);
    }
    close_dictionary(decoder, &part, "a sketch is not valid");
}

static void read_subnets(struct decoder *decoder)
{
    struct pk_batch *batch = decoder->batch;
    struct pk_reader part = open_dictionary(decoder, PK_MAX_BATCH_ADDRS, 3, &batch->n_subnets);
    batch->subnets = allocate(decoder, batch->n_subnets, sizeof *batch->subnets);
    for (uint32_t i = 0; batch->subnets && i < batch->n_subnets && part.err == PK_OK; i++) {
        batch->subnets[i] = read_prefix(&part);
        struct pk_prefix clean = pk_addr_prefix(&batch->subnets[i].addr, batch->subnets[i].len);
        if (batch->subnets[i].len == 0 || !pk_addr_equal(&clean.addr, &batch->subnets[i].addr)) {
            pk_reader_fail(&part, PK_ERR_MALFORMED);
        }
    }
    close_dictionary(decoder, &part, "a client subnet is not valid");
}

static uint64_t column_max(const struct pk_batch *batch, const struct column *column)
{
    switch ((enum reference)column->reference) {
    case REF_NAME:
        return (uint64_t)batch->n_names - 1;
    case REF_CLIENT:
        return (uint64_t)batch->n_clients - 1;
    case REF_SIGNATURE:
        return (uint64_t)batch->n_signatures - 1;
    case REF_RDATA_SET:
        return (uint64_t)batch->n_sets - 1;
    case REF_ANSWER_OR_ZERO:
        return batch->n_answers;
    case REF_ADDR_OR_ZERO:
        return batch->n_addrs;
    case REF_CLIENT_OR_ZERO:
        return batch->n_clients;
    case REF_SKETCH_OR_ZERO:
        return batch->n_sketches;
    case REF_SUBNET_OR_ZERO:
        return batch->n_subnets;
    case REF_NONE:
        break;
    }
    return column->max;
}

static bool read_column(struct decoder *decoder)
{
    struct pk_batch *batch = decoder->batch;
    for (unsigned i = 0; batch->schema && i < batch->schema->n_columns; i++) {
        const struct column *column = &batch->schema->columns[i];
        if (column->key != decoder->key) {
            continue;
        }
        struct pk_slice bin = mp_bin(&decoder->in, PK_MAX_BODY_BYTES);
        batch->columns[i] = allocate(decoder, batch->n_rows, sizeof(uint64_t));
        if (batch->columns[i]) {
            pk_err err =
                pk_column_decode(bin, batch->n_rows, column_max(batch, column), batch->columns[i]);
            if (err != PK_OK) {
                refuse(decoder, err,
                    "a column does not hold one good value a row, or points outside its dictionary");
            }
        }
        return true;
    }
    return false;
}

static void read_health(struct decoder *decoder)
{
    struct pk_slice bin = mp_bin(&decoder->in, 4096);
    pk_err err = pk_column_decode(bin, PK_N_HEALTH_FIRST, UINT64_MAX, decoder->batch->health.v);
    if (decoder->in.err == PK_OK && err != PK_OK) {
        refuse(decoder, err, "health counters");
    }
}

/* [count, column]: a newer minor version has more than we know, an older one fewer. */
static void read_more_health(struct decoder *decoder)
{
    uint64_t values[MAX_MORE_HEALTH];
    uint32_t n_known = PK_N_HEALTH_KEYS - PK_N_HEALTH_FIRST, n;
    if (mp_array(&decoder->in, 2) != 2 && decoder->in.err == PK_OK) {
        refuse(decoder, PK_ERR_MALFORMED, "further health counters are [count, bin]");
    }
    n = (uint32_t)mp_uint(&decoder->in, MAX_MORE_HEALTH);
    struct pk_slice bin = mp_bin(&decoder->in, 4096);
    if (decoder->in.err != PK_OK) {
        return;
    }
    pk_err err = pk_column_decode(bin, n, UINT64_MAX, values);
    if (err != PK_OK) {
        refuse(decoder, err, "health counters");
        return;
    }
    memcpy(decoder->batch->health.v + PK_N_HEALTH_FIRST, values,
        (n < n_known ? n : n_known) * sizeof *values);
}

/* [[name, state, packets, dropped by the kernel, by the interface]...]; a newer minor version may say more of each. */
static void read_interfaces(struct decoder *decoder)
{
    struct pk_batch *batch = decoder->batch;
    struct pk_reader *in = &decoder->in;
    uint32_t n = mp_array(in, PK_MAX_HEALTH_INTERFACES);
    for (uint32_t i = 0; i < n && in->err == PK_OK; i++) {
        struct pk_health_interface *interface = &batch->interfaces[i];
        uint32_t fields = mp_array(in, 16);
        if (in->err == PK_OK && fields < 5) {
            refuse(decoder, PK_ERR_MALFORMED, "an interface is five fields");
            return;
        }
        mp_text(in, interface->name, sizeof interface->name);
        interface->state = (uint8_t)mp_uint(in, UINT8_MAX);
        interface->packets = mp_uint(in, UINT64_MAX);
        interface->kernel_dropped = mp_uint(in, UINT64_MAX);
        interface->iface_dropped = mp_uint(in, UINT64_MAX);
        for (; fields > 5 && in->err == PK_OK; fields--) {
            mp_skip(in);
        }
    }
    batch->n_interfaces = n;
}

static void read_info(struct decoder *decoder)
{
    struct pk_batch_info *info = &decoder->batch->info;
    switch (decoder->key) {
    case KEY_VERSION:
        if (mp_uint(&decoder->in, UINT32_MAX) != BODY_VERSION) {
            refuse(decoder, PK_ERR_VERSION, "body version");
        }
        break;
    case KEY_KIND:
        info->kind = (enum pk_batch_kind)mp_uint(&decoder->in, PK_BATCH_CLIENT);
        decoder->batch->schema = batch_schema(info->kind);
        break;
    case KEY_WINDOW_START:
        info->window_start_us = mp_int(&decoder->in);
        break;
    case KEY_WINDOW_MS:
        info->window_ms = (uint32_t)mp_uint(&decoder->in, UINT32_MAX);
        break;
    case KEY_FLAGS:
        info->flags = (uint32_t)mp_uint(&decoder->in, UINT32_MAX);
        break;
    case KEY_PRIVACY:
        if (mp_array(&decoder->in, 2) != 2) {
            refuse(decoder, PK_ERR_MALFORMED, "privacy is [mode, period]");
        }
        info->privacy = (uint8_t)mp_uint(&decoder->in, PK_PRIVACY_NO_CLIENTS);
        info->key_period = (uint32_t)mp_uint(&decoder->in, UINT32_MAX);
        break;
    default: /* KEY_ROWS */
        decoder->batch->n_rows = (size_t)mp_uint(&decoder->in, PK_MAX_BATCH_ROWS);
        decoder->has_rows = true;
        break;
    }
}

static void read_part(struct decoder *decoder)
{
    struct pk_batch *batch = decoder->batch;
    switch (decoder->key) {
    case KEY_VERSION:
    case KEY_KIND:
    case KEY_WINDOW_START:
    case KEY_WINDOW_MS:
    case KEY_FLAGS:
    case KEY_PRIVACY:
    case KEY_ROWS:
        read_info(decoder);
        break;
    case KEY_NAMES:
        read_names(decoder);
        break;
    case KEY_ADDRS:
        read_addrs(decoder);
        break;
    case KEY_CLIENTS:
        read_clients(decoder);
        break;
    case KEY_SIGNATURES:
        read_signatures(decoder);
        break;
    case KEY_RDATA:
        read_rdata(decoder);
        break;
    case KEY_RDATA_SETS:
        read_sets(decoder);
        break;
    case KEY_ANSWERS:
        read_answers(decoder);
        break;
    case KEY_SKETCHES:
        read_sketches(decoder);
        break;
    case KEY_SUBNETS:
        read_subnets(decoder);
        break;
    default:
        if (batch->info.kind == PK_BATCH_HEALTH && decoder->key == KEY_HEALTH) {
            read_health(decoder);
        } else if (batch->info.kind == PK_BATCH_HEALTH && decoder->key == KEY_HEALTH_MORE) {
            read_more_health(decoder);
        } else if (batch->info.kind == PK_BATCH_HEALTH && decoder->key == KEY_INTERFACES) {
            read_interfaces(decoder);
        } else if (batch->info.kind == PK_BATCH_ORIGIN && decoder->key == KEY_ORIGIN_SITE) {
            mp_text(&decoder->in, batch->origin.site, sizeof batch->origin.site);
        } else if (batch->info.kind == PK_BATCH_ORIGIN && decoder->key == KEY_ORIGIN_SENSOR) {
            mp_text(&decoder->in, batch->origin.sensor, sizeof batch->origin.sensor);
        } else if (batch->info.kind == PK_BATCH_ORIGIN && decoder->key == KEY_ORIGIN_SOFTWARE) {
            mp_text(&decoder->in, batch->origin.software, sizeof batch->origin.software);
        } else if (!read_column(decoder)) {
            mp_skip(&decoder->in); /* from a newer minor version */
        }
    }
}

/* A reference column that is absent reads as zero, so its dictionary must have an entry 0. */
static bool references_hold(const struct pk_batch *batch)
{
    for (unsigned i = 0; batch->schema && i < batch->schema->n_columns; i++) {
        enum reference reference = (enum reference)batch->schema->columns[i].reference;
        if ((reference == REF_NAME && batch->n_names == 0) ||
            (reference == REF_CLIENT && batch->n_clients == 0) ||
            (reference == REF_SIGNATURE && batch->n_signatures == 0) ||
            (reference == REF_RDATA_SET && batch->n_sets == 0)) {
            return false;
        }
    }
    return true;
}

/* Times so far out that adding window start and offsets could overflow, or that no clock shows, are refused: years 1900 to 2500. */
static bool times_hold(const struct pk_batch *batch)
{
    const int64_t least_us = INT64_C(-2208988800) * 1000000,
                  most_us = INT64_C(16725225600) * 1000000;
    if (batch->info.window_start_us < least_us || batch->info.window_start_us > most_us) {
        return false;
    }
    const uint64_t *first = batch->schema ? batch->columns[batch->schema->first_column] : NULL;
    for (size_t i = 0; first && i < batch->n_rows; i++) {
        int64_t offset_us = (int64_t)first[i];
        if (offset_us < least_us || offset_us > most_us) {
            return false;
        }
    }
    return true;
}

/* A window's rows are of a day or two. Rows are kept by day: whoever could name many would have a table made for each. */
static bool days_hold(struct pk_batch *batch)
{
    enum pk_batch_kind kind = batch->info.kind;
    bool are_kept_by_day =
        kind == PK_BATCH_ACTIVITY || kind == PK_BATCH_NEGATIVE || kind == PK_BATCH_CLIENT;
    const uint64_t *first = are_kept_by_day ? batch->columns[batch->schema->first_column] : NULL;
    for (size_t i = 0; are_kept_by_day && i < batch->n_rows; i++) {
        int64_t offset_us = first ? (int64_t)first[i] : 0;
        if (!day_set_add(&batch->days, batch->info.window_start_us + offset_us)) {
            return false;
        }
    }
    return true;
}

static void read_body(struct decoder *decoder)
{
    uint32_t n = mp_map(&decoder->in, PK_MAX_MAP_ENTRIES);
    unsigned last = 0;
    for (uint32_t i = 0; i < n && decoder->in.err == PK_OK; i++) {
        decoder->key = (unsigned)mp_uint(&decoder->in, UINT16_MAX);
        if (decoder->in.err == PK_OK && decoder->key <= last) {
            refuse(decoder, PK_ERR_MALFORMED, "keys must ascend");
        }
        if (decoder->key > KEY_ROWS && last < KEY_ROWS && !decoder->has_rows) {
            refuse(decoder, PK_ERR_MALFORMED, "the number of rows is missing");
        }
        last = decoder->key;
        if (decoder->in.err == PK_OK) {
            read_part(decoder);
        }
    }
    decoder->key = decoder->in.err == PK_OK ? 0 : decoder->key;
    const struct pk_batch *batch = decoder->batch;
    if (decoder->in.err == PK_OK && !pk_reader_at_end(&decoder->in)) {
        refuse(decoder, PK_ERR_MALFORMED, "bytes after the body");
    } else if (decoder->in.err == PK_OK &&
               (batch->info.kind == 0 || batch->n_rows == 0 || !references_hold(batch))) {
        refuse(decoder, PK_ERR_MALFORMED, "kind, rows or a dictionary is missing");
    } else if (decoder->in.err == PK_OK && !times_hold(batch)) {
        refuse(decoder, PK_ERR_MALFORMED, "a time outside 1900 to 2500");
    } else if (decoder->in.err == PK_OK && !days_hold(decoder->batch)) {
        refuse(decoder, PK_ERR_LIMIT, "rows of more days than a batch may have");
    }
}

pk_err pk_batch_decode(
    const uint8_t *body, size_t len, struct pk_batch **out_batch, struct pk_batch_fault *out_fault)
{
    struct decoder decoder = {.batch = calloc(1, sizeof *decoder.batch)};
    if (!decoder.batch) {
        *out_fault = (struct pk_batch_fault){.what = "out of memory"};
        return PK_ERR_NOMEM;
    }
    pk_reader_init(&decoder.in, body, len);
    if (len > PK_MAX_BODY_BYTES) {
        refuse(&decoder, PK_ERR_LIMIT, "larger than a body may be");
    }
    read_body(&decoder);
    if (decoder.in.err != PK_OK) {
        *out_fault = (struct pk_batch_fault){.key = decoder.key,
            .what = decoder.what ? decoder.what : "not canonical msgpack of the form expected"};
        pk_batch_free(decoder.batch);
        return decoder.in.err;
    }
    *out_batch = decoder.batch;
    return PK_OK;
}

void pk_batch_free(struct pk_batch *batch)
{
    if (!batch) {
        return;
    }
    free(batch->names_blob);
    free(batch->names);
    free(batch->addrs);
    free(batch->clients);
    free(batch->signatures);
    free(batch->rdata_blob);
    free(batch->rdata);
    free(batch->set_items);
    free(batch->set_ends);
    free(batch->answers);
    free(batch->sketches);
    free(batch->subnets);
    for (unsigned i = 0; i < MAX_COLUMNS; i++) {
        free(batch->columns[i]);
    }
    free(batch);
}

const struct pk_batch_info *pk_batch_info(const struct pk_batch *batch)
{
    return &batch->info;
}

size_t pk_batch_rows(const struct pk_batch *batch)
{
    return batch->n_rows;
}

size_t pk_batch_days(const struct pk_batch *batch, const int32_t **out_days)
{
    *out_days = batch->days.v;
    return batch->days.n;
}

static uint64_t at(const struct pk_batch *batch, unsigned column, size_t row)
{
    return batch->columns[column] ? batch->columns[column][row] : 0;
}

void pk_batch_activity(const struct pk_batch *batch, size_t index, struct pk_activity *out_row)
{
    uint64_t answer = at(batch, ACT_ANSWER, index);
    *out_row = (struct pk_activity){
        .client = batch->clients[at(batch, ACT_CLIENT, index)],
        .name = batch->names[at(batch, ACT_NAME, index)],
        .signature = batch->signatures[at(batch, ACT_SIGNATURE, index)],
        .first_us = batch->info.window_start_us + (int64_t)at(batch, ACT_FIRST, index),
        .span_us = (uint32_t)at(batch, ACT_SPAN, index),
        .count = (uint32_t)at(batch, ACT_COUNT, index),
        .latency_min_us = (uint32_t)at(batch, ACT_LATENCY_MIN, index),
        .latency_max_us =
            (uint32_t)(at(batch, ACT_LATENCY_MIN, index) + at(batch, ACT_LATENCY_MAX, index)),
        .response_bytes_max = (uint32_t)at(batch, ACT_RESPONSE_BYTES, index),
        .answer_digest = answer ? batch->answers[answer - 1] : 0,
        .min_ttl_s = (uint32_t)at(batch, ACT_MIN_TTL, index),
        .retransmissions = (uint32_t)at(batch, ACT_RETRANSMISSIONS, index),
        .transfer_records = (uint32_t)at(batch, ACT_TRANSFER_RECORDS, index),
        .transfer_soas = (uint16_t)at(batch, ACT_TRANSFER_SOAS, index),
        .case_mixed = (uint8_t)at(batch, ACT_CASE_MIXED, index),
    };
    uint64_t subnet = at(batch, ACT_SUBNET, index);
    if (subnet && out_row->client.kind == PK_CLIENT_OUTSIDE) {
        out_row->client.prefix = batch->subnets[subnet - 1];
    }
}

void pk_batch_rrset(const struct pk_batch *batch, size_t index, struct pk_rrset *out_row)
{
    uint64_t set = at(batch, RR_SET, index), server = at(batch, RR_SERVER, index);
    uint32_t start = set ? batch->set_ends[set - 1] : 0;
    int64_t first_us = batch->info.window_start_us + (int64_t)at(batch, RR_FIRST, index);
    *out_row = (struct pk_rrset){
        .owner = batch->names[at(batch, RR_OWNER, index)],
        .type = (uint16_t)at(batch, RR_TYPE, index),
        .class = (uint16_t)at(batch, RR_CLASS, index),
        .rdata = batch->set_items + start,
        .n_rdata = batch->set_ends[set] - start,
        .bailiwick = batch->names[at(batch, RR_BAILIWICK, index)],
        .trust = (uint8_t)at(batch, RR_TRUST, index),
        .flags = (uint8_t)at(batch, RR_FLAGS, index),
        .count = (uint32_t)at(batch, RR_COUNT, index),
        .first_us = first_us,
        .last_us = first_us + (int64_t)at(batch, RR_SPAN, index),
        .ttl_min_s = (uint32_t)at(batch, RR_TTL_MIN, index),
        .ttl_max_s = (uint32_t)(at(batch, RR_TTL_MIN, index) + at(batch, RR_TTL_MAX, index)),
        .server = server ? batch->addrs[server - 1] : (struct pk_addr){0},
    };
}

void pk_batch_negative(const struct pk_batch *batch, size_t index, struct pk_negative *out_row)
{
    int64_t first_us = batch->info.window_start_us + (int64_t)at(batch, NEG_FIRST, index);
    *out_row = (struct pk_negative){
        .name = batch->names[at(batch, NEG_NAME, index)],
        .type = (uint16_t)at(batch, NEG_TYPE, index),
        .class = (uint16_t)at(batch, NEG_CLASS, index),
        .rcode = (uint16_t)at(batch, NEG_RCODE, index),
        .count = (uint32_t)at(batch, NEG_COUNT, index),
        .first_us = first_us,
        .last_us = first_us + (int64_t)at(batch, NEG_SPAN, index),
    };
}

void pk_batch_loss(const struct pk_batch *batch, size_t index, struct pk_loss *out_row)
{
    int64_t first_us = batch->info.window_start_us + (int64_t)at(batch, LOSS_FIRST, index);
    *out_row = (struct pk_loss){
        .cause = (uint8_t)at(batch, LOSS_CAUSE, index),
        .kind = (uint8_t)at(batch, LOSS_KIND, index),
        .batches = at(batch, LOSS_BATCHES, index),
        .rows = at(batch, LOSS_ROWS, index),
        .transactions = at(batch, LOSS_TRANSACTIONS, index),
        .first_us = first_us,
        .last_us = first_us + (int64_t)at(batch, LOSS_SPAN, index),
        .epoch = at(batch, LOSS_EPOCH, index),
        .from_seq = at(batch, LOSS_FROM, index),
        .to_seq = at(batch, LOSS_TO, index),
    };
}

void pk_batch_client_count(
    const struct pk_batch *batch, size_t index, struct pk_client_count *out_row)
{
    uint64_t sketch = at(batch, CL_SKETCH, index), former = at(batch, CL_FORMER, index);
    *out_row = (struct pk_client_count){
        .client = batch->clients[at(batch, CL_CLIENT, index)],
        .zone = batch->names[at(batch, CL_ZONE, index)],
        .reason = (uint8_t)at(batch, CL_REASON, index),
        .count = (uint32_t)at(batch, CL_COUNT, index),
        .negative = (uint32_t)at(batch, CL_NEGATIVE, index),
        .unanswered = (uint32_t)at(batch, CL_UNANSWERED, index),
        .ptr = (uint32_t)at(batch, CL_PTR, index),
        .first_us = batch->info.window_start_us + (int64_t)at(batch, CL_FIRST, index),
        .span_us = (uint32_t)at(batch, CL_SPAN, index),
    };
    if (sketch) {
        out_row->names = batch->sketches[sketch - 1];
    }
    if (former) {
        out_row->former = batch->clients[former - 1];
    }
}

void pk_batch_health(const struct pk_batch *batch, struct pk_health *out_health)
{
    *out_health = batch->health;
}

size_t pk_batch_interfaces(
    const struct pk_batch *batch, const struct pk_health_interface **out_interfaces)
{
    *out_interfaces = batch->interfaces;
    return batch->n_interfaces;
}

void pk_batch_origin(const struct pk_batch *batch, struct pk_origin *out_origin)
{
    *out_origin = batch->origin;
}

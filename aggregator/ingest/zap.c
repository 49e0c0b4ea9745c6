/* ZAP handler thread.
 *
 * The user id of an accepted peer is its sensor id in decimal, a space, and its key in Z85: it travels with every payload frame, so a frame names its sender by what the key table
 * says and by nothing the sender says. An unknown key gets 400 (libzmq then gives up on that socket; the sensor's monitor rebuilds it after its
 * back-off), anything malformed 500. */
#include "zap.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zmq.h>

#include "picket/addr.h"
#include "picket/clock.h"
#include "picket/hash.h"

#define ZAP_ENDPOINT  "inproc://zeromq.zap.01" /* fixed by RFC 27 */
#define STOP_ENDPOINT "inproc://picket.zap.stop"

enum {
    MAX_PARTS = 8,
    PART_SIZE = 256,
    USER_ID_SIZE = 11 + PK_KEY_TEXT_SIZE,
    MAX_KNOCKERS = 1024,
    KNOCKS_A_MINUTE = 600,  /* in all */
    KNOCKS_AN_ADDRESS = 30, /* a fleet behind one address enrols within minutes */
    MAX_OUT = 1024,         /* beyond, the one whose time ends first comes in early */
    ZAP_PARTS = 7
}; /* RFC 27: version, id, domain, address, routing id, mechanism, key */

struct owner {
    uint32_t sensor, tenant;
};

struct table {
    struct pk_link_key *keys; /* sorted by pubkey */
    struct owner *owners;     /* sorted by sensor */
    size_t n;
};

struct pk_zap {
    void *rep;
    void *stop_in, *stop_out;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards table */
    struct table table;
    struct pk_link_tenant *tenants; /* sorted by tenant; those that say where from */
    size_t n_tenants;
    bool is_door_open;
    struct {
        uint64_t address; /* hash; 0: free */
        unsigned n;
    } knocks[MAX_KNOCKERS]; /* of the present minute */
    unsigned n_knocks;
    int64_t minute;
    bool has_table;
    struct {
        uint32_t sensor;
        int64_t until_ms;
    } out[MAX_OUT]; /* the door is shut for them */
    atomic_uint_fast64_t refused;
};

struct part {
    uint8_t data[PART_SIZE];
    size_t len;
};

static int compare_keys(const void *a, const void *b)
{
    return memcmp(((const struct pk_link_key *)a)->pubkey, ((const struct pk_link_key *)b)->pubkey,
        PK_KEY_BYTES);
}

static int compare_owners(const void *a, const void *b)
{
    uint32_t x = ((const struct owner *)a)->sensor, y = ((const struct owner *)b)->sensor;
    return x < y ? -1 : x > y;
}

/* Receives a whole multipart request; returns the number of parts, parts beyond MAX_PARTS are read and thrown away. */
static int receive(void *socket, struct part parts[MAX_PARTS])
{
    int n = 0;
    int more = 1;
    while (more) {
        uint8_t scrap[PART_SIZE];
        struct part *part = n < MAX_PARTS ? &parts[n] : NULL;
        int len = zmq_recv(socket, part ? part->data : scrap, PART_SIZE, 0);
        if (len < 0) {
            return -1;
        }
        if (part) {
            part->len = len > PART_SIZE ? PART_SIZE : (size_t)len;
        }
        n++;
        size_t size = sizeof more;
        if (zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &size) != 0) {
            return -1;
        }
    }
    return n;
}

static bool is_text(const struct part *part, const char *text)
{
    return part->len == strlen(text) && memcmp(part->data, text, part->len) == 0;
}

static bool is_out(const struct pk_zap *zap, uint32_t sensor)
{
    for (size_t i = 0; i < MAX_OUT; i++) {
        if (zap->out[i].sensor == sensor && pk_clock_mono_ms() < zap->out[i].until_ms) {
            return true;
        }
    }
    return false;
}

void pk_zap_shut_out(struct pk_zap *zap, uint32_t sensor, int64_t until_ms)
{
    size_t place = 0;
    pthread_mutex_lock(&zap->mutex);
    for (size_t i = 1; i < MAX_OUT; i++) {
        place = zap->out[i].until_ms < zap->out[place].until_ms ? i : place;
    }
    zap->out[place].sensor = sensor;
    zap->out[place].until_ms = until_ms;
    pthread_mutex_unlock(&zap->mutex);
}

/* IPv4 may come in the dress of IPv6. */
struct pk_addr pk_zap_address(const char *text, size_t len)
{
    char copy[PK_ADDR_TEXT_SIZE];
    struct pk_addr addr = {0}, none = {0};
    if (len >= sizeof copy) {
        return none;
    }
    memcpy(copy, text, len);
    copy[len] = '\0';
    bool is_one = pk_addr_parse(
        strncmp(copy, "::ffff:", 7) == 0 && strchr(copy, '.') ? copy + 7 : copy, &addr);
    return is_one ? addr : none;
}

static int compare_tenants(const void *a, const void *b)
{
    uint32_t x = ((const struct pk_link_tenant *)a)->tenant,
             y = ((const struct pk_link_tenant *)b)->tenant;
    return x < y ? -1 : x > y;
}

/* addr NULL: one that cannot be read, which is in no list. */
static bool is_listed(const struct pk_prefix *from, size_t n, const struct pk_addr *addr)
{
    for (size_t i = 0; addr && i < n; i++) {
        if (pk_prefix_contains(&from[i], addr)) {
            return true;
        }
    }
    return n == 0;
}

/* The sensor's own list and its tenant's: both must allow it. */
static bool may_come(
    const struct pk_zap *zap, const struct pk_link_key *key, const struct pk_addr *addr)
{
    struct pk_link_tenant wanted = {.tenant = key->tenant};
    const struct pk_link_tenant *tenant =
        zap->n_tenants
            ? bsearch(&wanted, zap->tenants, zap->n_tenants, sizeof wanted, compare_tenants)
            : NULL;
    size_t n_own = key->n_from < PK_LINK_MAX_FROM ? key->n_from : PK_LINK_MAX_FROM;
    return is_listed(key->from, n_own, addr) &&
           (!tenant || is_listed(tenant->from, tenant->n_from, addr));
}

/* Counts a handshake at the enrolment port; false beyond the limits. A table that is full lets no further address in this minute. */
static bool knock(struct pk_zap *zap, const struct part *address)
{
    int64_t minute = pk_clock_mono_ms() / 60000;
    if (minute != zap->minute) {
        zap->minute = minute;
        zap->n_knocks = 0;
        memset(zap->knocks, 0, sizeof zap->knocks);
    }
    if (++zap->n_knocks > KNOCKS_A_MINUTE) {
        return false;
    }
    uint64_t hash = pk_hash(address->data, address->len) | 1;
    for (size_t i = 0; i < MAX_KNOCKERS; i++) {
        size_t at = (hash + i) % MAX_KNOCKERS;
        if (zap->knocks[at].address == hash || zap->knocks[at].address == 0) {
            zap->knocks[at].address = hash;
            return ++zap->knocks[at].n <= KNOCKS_AN_ADDRESS;
        }
    }
    return false;
}

void pk_zap_set_door(struct pk_zap *zap, bool is_open)
{
    pthread_mutex_lock(&zap->mutex);
    zap->is_door_open = is_open;
    pthread_mutex_unlock(&zap->mutex);
}

/* Looks the key up; the answer's status code, and the user id when it is 200. */
static const char *judge(
    struct pk_zap *zap, const struct part parts[MAX_PARTS], int n, char user_id[USER_ID_SIZE])
{
    user_id[0] = '\0';
    if (n != ZAP_PARTS || !is_text(&parts[0], "1.0")) {
        return "500";
    }
    if (is_text(&parts[2], PK_ZAP_ENROL_DOMAIN) && is_text(&parts[5], "CURVE") &&
        parts[6].len == PK_KEY_BYTES) {
        pthread_mutex_lock(&zap->mutex);
        bool may_knock = zap->is_door_open && knock(zap, &parts[3]);
        pthread_mutex_unlock(&zap->mutex);
        (void)pk_key_text(parts[6].data, user_id);
        return may_knock ? "200" : "300";
    }
    if (!is_text(&parts[2], PK_ZAP_DOMAIN) || !is_text(&parts[5], "CURVE") ||
        parts[6].len != PK_KEY_BYTES) {
        return "400";
    }
    struct pk_link_key wanted = {0};
    struct pk_addr address = pk_zap_address((const char *)parts[3].data, parts[3].len);
    memcpy(wanted.pubkey, parts[6].data, PK_KEY_BYTES);
    const char *status = "300";
    pthread_mutex_lock(&zap->mutex);
    if (zap->has_table) {
        const struct pk_link_key *found =
            zap->table.n
                ? bsearch(&wanted, zap->table.keys, zap->table.n, sizeof wanted, compare_keys)
                : NULL;
        status = found ? "200" : "400";
        if (found && (found->is_pending || is_out(zap, found->sensor))) {
            status = "300";
        } else if (found && !may_come(zap, found, address.family ? &address : NULL)) {
            status = "400";
        } else if (found) {
            char key[PK_KEY_TEXT_SIZE];
            snprintf(
                user_id, USER_ID_SIZE, "%u %s", found->sensor, pk_key_text(wanted.pubkey, key));
        }
    }
    pthread_mutex_unlock(&zap->mutex);
    return status;
}

static void answer(
    struct pk_zap *zap, const struct part *id, const char *status, const char *user_id)
{
    static const char *const texts[] = {"OK", "try again", "unknown key", "bad request"};
    const char *text = texts[status[0] == '2'   ? 0
                             : status[0] == '3' ? 1
                             : status[0] == '4' ? 2
                                                : 3];
    zmq_send(zap->rep, "1.0", 3, ZMQ_SNDMORE);
    zmq_send(zap->rep, id->data, id->len, ZMQ_SNDMORE);
    zmq_send(zap->rep, status, 3, ZMQ_SNDMORE);
    zmq_send(zap->rep, text, strlen(text), ZMQ_SNDMORE);
    zmq_send(zap->rep, user_id, strlen(user_id), ZMQ_SNDMORE);
    zmq_send(zap->rep, "", 0, 0);
}

static void *handler_thread(void *arg)
{
    struct pk_zap *zap = arg;
    for (;;) {
        zmq_pollitem_t items[] = {
            {.socket = zap->rep, .events = ZMQ_POLLIN},
            {.socket = zap->stop_out, .events = ZMQ_POLLIN},
        };
        if (zmq_poll(items, 2, -1) < 0) {
            if (zmq_errno() == EINTR) {
                continue;
            }
            break;
        }
        if (items[1].revents) {
            break;
        }
        struct part parts[MAX_PARTS];
        int n = receive(zap->rep, parts);
        if (n < 2) {
            break;
        }
        char user_id[USER_ID_SIZE];
        const char *status = judge(zap, parts, n, user_id);
        if (status[0] != '2') {
            atomic_fetch_add(&zap->refused, 1);
        }
        answer(zap, &parts[1], status, user_id);
    }
    zmq_close(zap->rep);
    zmq_close(zap->stop_out);
    return NULL;
}

static void *socket_open(void *context, int type, const char *endpoint, bool binds)
{
    void *socket = zmq_socket(context, type);
    int linger = 0;
    if (socket && (zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger) != 0 ||
                      (binds ? zmq_bind(socket, endpoint) : zmq_connect(socket, endpoint)) != 0)) {
        zmq_close(socket);
        socket = NULL;
    }
    return socket;
}

pk_err pk_zap_start(void *zmq_context, struct pk_zap **out_zap)
{
    struct pk_zap *zap = calloc(1, sizeof *zap);
    if (!zap) {
        return PK_ERR_NOMEM;
    }
    pthread_mutex_init(&zap->mutex, NULL);
    zap->rep = socket_open(zmq_context, ZMQ_REP, ZAP_ENDPOINT, true);
    zap->stop_out = socket_open(zmq_context, ZMQ_PAIR, STOP_ENDPOINT, true);
    zap->stop_in = socket_open(zmq_context, ZMQ_PAIR, STOP_ENDPOINT, false);
    if (zap->rep && zap->stop_out && zap->stop_in &&
        pthread_create(&zap->thread, NULL, handler_thread, zap) == 0) {
        *out_zap = zap;
        return PK_OK;
    }
    void *sockets[] = {zap->rep, zap->stop_in, zap->stop_out};
    for (size_t i = 0; i < 3; i++) {
        if (sockets[i]) {
            zmq_close(sockets[i]);
        }
    }
    pthread_mutex_destroy(&zap->mutex);
    free(zap);
    return PK_ERR_IO;
}

void pk_zap_stop(struct pk_zap *zap)
{
    if (!zap) {
        return;
    }
    zmq_send(zap->stop_in, "", 0, 0);
    pthread_join(zap->thread, NULL);
    zmq_close(zap->stop_in);
    pthread_mutex_destroy(&zap->mutex);
    free(zap->table.keys);
    free(zap->table.owners);
    free(zap->tenants);
    free(zap);
}

pk_err pk_zap_set_keys(struct pk_zap *zap, const struct pk_link_key *keys, size_t n)
{
    struct table table = {.keys = calloc(n + 1, sizeof *table.keys),
        .owners = calloc(n + 1, sizeof *table.owners),
        .n = n};
    if (!table.keys || !table.owners) {
        free(table.keys);
        free(table.owners);
        return PK_ERR_NOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        table.keys[i] = keys[i];
        table.owners[i] = (struct owner){.sensor = keys[i].sensor, .tenant = keys[i].tenant};
    }
    qsort(table.keys, n, sizeof *table.keys, compare_keys);
    qsort(table.owners, n, sizeof *table.owners, compare_owners);

    pthread_mutex_lock(&zap->mutex);
    struct table old = zap->table;
    zap->table = table;
    zap->has_table = true;
    pthread_mutex_unlock(&zap->mutex);
    free(old.keys);
    free(old.owners);
    return PK_OK;
}

pk_err pk_zap_set_tenants(struct pk_zap *zap, const struct pk_link_tenant *tenants, size_t n)
{
    struct pk_link_tenant *copy = calloc(n + 1, sizeof *copy);
    if (!copy) {
        return PK_ERR_NOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        copy[i] = tenants[i];
        if (copy[i].n_from > PK_LINK_MAX_TENANT_FROM) {
            copy[i].n_from = PK_LINK_MAX_TENANT_FROM;
        }
    }
    qsort(copy, n, sizeof *copy, compare_tenants);
    pthread_mutex_lock(&zap->mutex);
    struct pk_link_tenant *old = zap->tenants;
    zap->tenants = copy;
    zap->n_tenants = n;
    pthread_mutex_unlock(&zap->mutex);
    free(old);
    return PK_OK;
}

bool pk_zap_may_stay(struct pk_zap *zap, uint32_t sensor, const uint8_t pubkey[PK_KEY_BYTES],
    const struct pk_addr *address)
{
    struct pk_link_key wanted = {.sensor = sensor};
    memcpy(wanted.pubkey, pubkey, PK_KEY_BYTES);
    pthread_mutex_lock(&zap->mutex);
    const struct pk_link_key *found =
        zap->table.n ? bsearch(&wanted, zap->table.keys, zap->table.n, sizeof wanted, compare_keys)
                     : NULL;
    bool may_stay =
        found && found->sensor == sensor && may_come(zap, found, address->family ? address : NULL);
    pthread_mutex_unlock(&zap->mutex);
    return may_stay;
}

uint32_t pk_zap_tenant(struct pk_zap *zap, uint32_t sensor)
{
    struct owner wanted = {.sensor = sensor};
    pthread_mutex_lock(&zap->mutex);
    const struct owner *found = zap->table.n ? bsearch(&wanted, zap->table.owners, zap->table.n,
                                                   sizeof wanted, compare_owners)
                                             : NULL;
    uint32_t tenant = found ? found->tenant : 0;
    pthread_mutex_unlock(&zap->mutex);
    return tenant;
}

uint64_t pk_zap_refused(struct pk_zap *zap)
{
    return atomic_load(&zap->refused);
}

bool pk_zap_has_key(struct pk_zap *zap, uint32_t sensor, const uint8_t pubkey[PK_KEY_BYTES])
{
    struct pk_link_key wanted = {.sensor = sensor};
    memcpy(wanted.pubkey, pubkey, PK_KEY_BYTES);
    pthread_mutex_lock(&zap->mutex);
    const struct pk_link_key *found =
        zap->table.n ? bsearch(&wanted, zap->table.keys, zap->table.n, sizeof wanted, compare_keys)
                     : NULL;
    bool has_key = found && found->sensor == sensor;
    pthread_mutex_unlock(&zap->mutex);
    return has_key;
}

bool pk_zap_read_user(const char *user_id, uint32_t *out_sensor, uint8_t out_pubkey[PK_KEY_BYTES])
{
    char *end;
    unsigned long sensor = strtoul(user_id, &end, 10);
    *out_sensor = (uint32_t)sensor;
    return *end == ' ' && pk_key_parse(end + 1, out_pubkey);
}

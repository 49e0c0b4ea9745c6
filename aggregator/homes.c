/* The keeper's thread and the table between it and the core.
 *
 * The table is replaced whole after each look at the database; what the core opened survives by tenant. The keeper holds the lock only to swap, never while it waits for
 * the database. */
#include "homes.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <sodium.h>

#include "picket/clock.h"
#include "picket/log.h"

#include "homes_plan.h"

enum {
    RENEW_MS = 1000,         /* and up to a quarter more: aggregators do not stay in step */
    CORE_SILENT_MS = 180000, /* longer than the longest statement may take */
    STORE_TEXT_SIZE = 512
};

struct entry {
    struct pk_tenant_id tenant;
    struct pk_home home;
};

struct pk_homes {
    struct pk_homes_options options;
    char application[PK_HOMES_APPLICATION_SIZE];
    struct pk_store *store; /* the keeper's */
    pthread_t thread;
    bool has_thread;
    int changed_fd, poke_fd;
    atomic_bool is_stopping, is_poked;
    atomic_int_fast64_t core_alive_ms;
    bool is_first, is_failing; /* the keeper's */
    pthread_mutex_t lock;
    struct entry *entries; /* under the lock, as what follows */
    size_t n_entries;
    struct pk_store_homes view;
};

static struct entry *find(struct pk_homes *homes, struct pk_tenant_id tenant)
{
    for (size_t i = 0; i < homes->n_entries; i++) {
        if (homes->entries[i].tenant.v == tenant.v) {
            return &homes->entries[i];
        }
    }
    return NULL;
}

static void signal_fd(int fd)
{
    uint64_t one = 1;
    (void)!write(fd, &one, sizeof one);
}

static void drain_fd(int fd)
{
    uint64_t count;
    (void)!read(fd, &count, sizeof count);
}

/* --- the keeper --- */

static struct pk_home place_of(const struct pk_homes *homes, const struct pk_store_homes *view,
    const struct pk_store_home *stored, enum pk_homes_move move)
{
    struct pk_home home = {.generation = stored->generation};
    const struct pk_store_node *self = &homes->options.self;
    const struct pk_store_node *holder = pk_homes_holder(view, stored);
    if (stored->is_live && strcmp(stored->instance, self->instance) == 0) {
        home.place = move == PK_HOMES_LEAVE ? PK_HOME_LEAVING : PK_HOME_HERE;
        holder = pk_homes_next(view, stored, self);
    } else if (stored->is_live) {
        home.place = PK_HOME_ELSEWHERE;
    }
    if (holder && home.place != PK_HOME_NOWHERE) {
        home.elsewhere = holder->endpoint;
    }
    return home;
}

/* Swaps the table; tells the core when something is different. */
static void publish(struct pk_homes *homes, struct pk_store_homes *view,
    const enum pk_homes_move *moves, bool is_awaited)
{
    struct entry *entries = calloc(view->n_homes + 1, sizeof *entries);
    if (!entries) {
        pk_store_homes_done(view);
        return;
    }
    pthread_mutex_lock(&homes->lock);
    bool is_changed = view->n_homes != homes->n_entries;
    for (size_t i = 0; i < view->n_homes; i++) {
        entries[i].tenant = view->homes[i].tenant;
        entries[i].home = place_of(homes, view, &view->homes[i], moves[i]);
        struct entry *old = find(homes, entries[i].tenant);
        entries[i].home.opened = old ? old->home.opened : 0;
        is_changed = is_changed || !old || old->home.place != entries[i].home.place ||
                     old->home.generation != entries[i].home.generation;
    }
    struct entry *old = homes->entries;
    homes->entries = entries;
    homes->n_entries = view->n_homes;
    pk_store_homes_done(&homes->view);
    homes->view = *view;
    *view = (struct pk_store_homes){0};
    pthread_mutex_unlock(&homes->lock);
    free(old);
    if (is_changed || is_awaited) {
        signal_fd(homes->changed_fd);
    }
}

static void take(struct pk_homes *homes, struct pk_store_home *home)
{
    uint64_t generation = 0;
    char text[STORE_TEXT_SIZE];
    pk_err err = pk_store_take_home(
        homes->store, &homes->options.self, PK_HOMES_LEASE_MS, home, &generation);
    if (err == PK_OK) {
        pk_info("homes", "tenant=%s taken generation=%" PRIu64 " from=\"%s\"", home->tenant_name,
            generation, home->holder);
        home->generation = generation;
        home->is_live = true;
        memcpy(home->holder, homes->options.self.name, sizeof home->holder);
        memcpy(home->instance, homes->options.self.instance, sizeof home->instance);
    } else {
        const char *why = pk_store_error(homes->store);
        pk_warn("homes", "tenant=%s not taken: %s", home->tenant_name,
            pk_log_escape(why, strlen(why), text, sizeof text));
    }
}

static pk_err look(struct pk_homes *homes)
{
    struct pk_store_homes view;
    bool is_awaited = atomic_exchange(&homes->is_poked, false);
    pk_err err = pk_store_renew_homes(
        homes->store, &homes->options.self, PK_HOMES_LEASE_MS, homes->is_first, &view);
    if (err != PK_OK) {
        return err;
    }
    enum pk_homes_move *moves = calloc(view.n_homes + 1, sizeof *moves);
    if (!moves) {
        pk_store_homes_done(&view);
        return PK_ERR_NOMEM;
    }
    pk_homes_plan(&view, &homes->options.self, homes->is_first, moves);
    for (size_t i = 0; i < view.n_homes; i++) {
        if (moves[i] == PK_HOMES_TAKE) {
            take(homes, &view.homes[i]);
        }
    }
    publish(homes, &view, moves, is_awaited);
    free(moves);
    homes->is_first = false;
    return PK_OK;
}

static void look_or_say(struct pk_homes *homes)
{
    pk_err err = look(homes);
    if (err == PK_ERR_IO) {
        err = pk_store_reconnect(homes->store) == PK_OK ? look(homes) : err;
    }
    if (err != PK_OK && !homes->is_failing) {
        char text[STORE_TEXT_SIZE];
        const char *why = pk_store_error(homes->store);
        pk_warn("homes", "cannot renew: %s", pk_log_escape(why, strlen(why), text, sizeof text));
    } else if (err == PK_OK && homes->is_failing) {
        pk_info("homes", "renewing again");
    }
    homes->is_failing = err != PK_OK;
}

static void *keep(void *arg)
{
    struct pk_homes *homes = arg;
    int64_t began_ms = pk_clock_mono_ms();
    while (!atomic_load(&homes->is_stopping)) {
        struct pollfd item = {.fd = homes->poke_fd, .events = POLLIN};
        int64_t next_ms = began_ms + RENEW_MS + randombytes_uniform(RENEW_MS / 4);
        int64_t left_ms = next_ms - pk_clock_mono_ms(); /* none when the last one took long */
        if (poll(&item, 1, left_ms > 0 ? (int)left_ms : 0) > 0) {
            drain_fd(homes->poke_fd);
        }
        began_ms = pk_clock_mono_ms();
        bool is_core_alive = began_ms - atomic_load(&homes->core_alive_ms) < CORE_SILENT_MS;
        if (is_core_alive && !atomic_load(&homes->is_stopping)) {
            look_or_say(homes);
        }
    }
    return NULL;
}

/* --- life --- */

struct pk_store_node pk_homes_self(
    const struct pk_aggregator_config *config, const uint8_t server_pubkey[PK_KEY_BYTES])
{
    struct pk_store_node self = {0};
    if (config->name) {
        snprintf(self.name, sizeof self.name, "%s", config->name);
    } else {
        char host[48] = "aggregator";
        const char *port = strrchr(config->listen, ':');
        (void)gethostname(host, sizeof host - 1);
        snprintf(self.name, sizeof self.name, "%.47s%.12s", host, port ? port : "");
    }
    snprintf(self.endpoint.address, sizeof self.endpoint.address, "%s",
        config->advertise ? config->advertise : "");
    memcpy(self.endpoint.server_pubkey, server_pubkey, PK_KEY_BYTES);
    snprintf(self.prefers, sizeof self.prefers, "%s", config->prefers);
    return self;
}

void pk_homes_name_instance(
    struct pk_store_node *self, char out_application[PK_HOMES_APPLICATION_SIZE])
{
    uint8_t random[(PK_STORE_INSTANCE_SIZE - 1) / 2];
    randombytes_buf(random, sizeof random);
    (void)sodium_bin2hex(self->instance, sizeof self->instance, random, sizeof random);
    snprintf(out_application, PK_HOMES_APPLICATION_SIZE, "picket-aggregator/%s", self->instance);
}

pk_err pk_homes_open(const struct pk_homes_options *options, struct pk_homes **out_homes)
{
    struct pk_homes *homes = calloc(1, sizeof *homes);
    *out_homes = NULL;
    if (!homes) {
        return PK_ERR_NOMEM;
    }
    homes->options = *options;
    homes->is_first = true;
    pthread_mutex_init(&homes->lock, NULL);
    homes->changed_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    homes->poke_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pk_homes_alive(homes);
    snprintf(homes->application, sizeof homes->application, "picket-aggregator/%s",
        options->self.instance);
    struct pk_store_options store = {.conninfo = options->conninfo,
        .role = options->role,
        .application = homes->application,
        .is_application_fixed = true,
        .is_hasty = true};
    pk_err err = homes->changed_fd < 0 || homes->poke_fd < 0 ? PK_ERR_IO : PK_OK;
    if (err == PK_OK) {
        err = pk_store_open(&store, &homes->store);
    }
    if (err == PK_OK) {
        err = look(homes);
    }
    if (err == PK_OK && pthread_create(&homes->thread, NULL, keep, homes) != 0) {
        err = PK_ERR_NOMEM;
    }
    if (err != PK_OK) {
        pk_error("homes", "cannot take a place among the aggregators: %s",
            homes->store ? pk_store_error(homes->store) : pk_err_str(err));
        pk_homes_close(homes);
        return err;
    }
    homes->has_thread = true;
    *out_homes = homes;
    return PK_OK;
}

void pk_homes_retire(struct pk_homes *homes)
{
    atomic_store(&homes->is_stopping, true);
    if (homes->has_thread) {
        signal_fd(homes->poke_fd);
        pthread_join(homes->thread, NULL);
        (void)pk_store_leave(homes->store, &homes->options.self); /* else the others wait a lease */
    }
    homes->has_thread = false;
}

void pk_homes_close(struct pk_homes *homes)
{
    if (!homes) {
        return;
    }
    pk_homes_retire(homes);
    pk_store_close(homes->store);
    close(homes->changed_fd);
    close(homes->poke_fd);
    pk_store_homes_done(&homes->view);
    free(homes->entries);
    pthread_mutex_destroy(&homes->lock);
    free(homes);
}

/* --- for the core --- */

int pk_homes_fd(const struct pk_homes *homes)
{
    return homes->changed_fd;
}

void pk_homes_clear_fd(struct pk_homes *homes)
{
    drain_fd(homes->changed_fd);
}

void pk_homes_alive(struct pk_homes *homes)
{
    atomic_store(&homes->core_alive_ms, pk_clock_mono_ms());
}

void pk_homes_poke(struct pk_homes *homes)
{
    atomic_store(&homes->is_poked, true);
    signal_fd(homes->poke_fd);
}

struct pk_tenant_id pk_homes_at(struct pk_homes *homes, size_t index)
{
    pthread_mutex_lock(&homes->lock);
    struct pk_tenant_id tenant =
        index < homes->n_entries ? homes->entries[index].tenant : (struct pk_tenant_id){0};
    pthread_mutex_unlock(&homes->lock);
    return tenant;
}

struct pk_home pk_homes_get(struct pk_homes *homes, struct pk_tenant_id tenant)
{
    pthread_mutex_lock(&homes->lock);
    struct entry *entry = find(homes, tenant);
    struct pk_home home = entry ? entry->home : (struct pk_home){0};
    pthread_mutex_unlock(&homes->lock);
    return home;
}

uint64_t pk_homes_generation(struct pk_homes *homes, struct pk_tenant_id tenant)
{
    return pk_homes_get(homes, tenant).opened;
}

void pk_homes_opened(struct pk_homes *homes, struct pk_tenant_id tenant, uint64_t generation)
{
    pthread_mutex_lock(&homes->lock);
    struct entry *entry = find(homes, tenant);
    if (entry) {
        entry->home.opened = generation;
    }
    pthread_mutex_unlock(&homes->lock);
}

void pk_homes_closed(struct pk_homes *homes, struct pk_tenant_id tenant)
{
    pthread_mutex_lock(&homes->lock);
    struct entry *entry = find(homes, tenant);
    if (entry) { /* where it is now the next look tells */
        entry->home.opened = 0;
        entry->home.place = PK_HOME_NOWHERE;
    }
    pthread_mutex_unlock(&homes->lock);
    pk_homes_poke(homes);
}

bool pk_homes_next_place(
    struct pk_homes *homes, struct pk_tenant_id tenant, struct pk_endpoint *out_endpoint)
{
    pthread_mutex_lock(&homes->lock);
    const struct pk_store_node *next = NULL;
    for (size_t i = 0; i < homes->view.n_homes && !next; i++) {
        if (homes->view.homes[i].tenant.v == tenant.v) {
            next = pk_homes_next(&homes->view, &homes->view.homes[i], &homes->options.self);
        }
    }
    bool is_known = next && next->endpoint.address[0];
    if (is_known) {
        *out_endpoint = next->endpoint;
    }
    pthread_mutex_unlock(&homes->lock);
    return is_known;
}

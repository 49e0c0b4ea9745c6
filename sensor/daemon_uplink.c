/* The thread that ships, and the keys it ships under. */
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "picket/log.h"

#include "daemon.h"

void daemon_set_uplink(struct daemon *d)
{
    const struct pk_sensor_config *config = &d->settings->config;
    struct pk_delivery_options *delivery = &d->uplink.delivery;
    memcpy(delivery->endpoints, config->endpoints, sizeof config->endpoints);
    delivery->n_endpoints = config->n_endpoints;
    d->uplink.learned_folder = NULL;
    if (config->spool_folder) { /* cannot change while running */
        snprintf(d->spool_folder, sizeof d->spool_folder, "%s", config->spool_folder);
        d->uplink.learned_folder = d->spool_folder;
        pk_learned_load(d->spool_folder, &delivery->learned);
    }
    delivery->sensor = d->sensor;
    delivery->vantage = (uint8_t)config->vantage;
    delivery->privacy = d->has_client_key && !config->floor.hides_inside ? PK_PRIVACY_PSEUDONYMS
                                                                         : PK_PRIVACY_NO_CLIENTS;
}

bool daemon_take_next_key(struct daemon *d)
{
    char path[PATH_MAX], error[PK_KEY_ERROR_SIZE];
    struct pk_uplink_options *uplink = &d->uplink;
    struct pk_keypair next;
    const uint8_t *known =
        uplink->delivery.has_next_key ? uplink->next_keys.pubkey : uplink->keys.pubkey;
    if (!pk_keypair_next_path(uplink->key_file, path, sizeof path) || access(path, F_OK) != 0) {
        return false;
    }
    if (pk_keypair_load(path, &next, error) != PK_OK) {
        pk_warn("key", "%s; the present key stays", error);
        return false;
    }
    bool is_new = memcmp(next.pubkey, known, PK_KEY_BYTES) != 0;
    if (is_new) {
        uplink->next_keys = next;
        uplink->delivery.has_next_key = true;
        pk_info("key", "a new key waits for the aggregator file=%s", path);
    }
    pk_keypair_wipe(&next);
    return is_new;
}

void daemon_settle_rotation(struct daemon *d)
{
    if (atomic_exchange(&d->uplink_counters.has_rotated, false)) {
        d->uplink.keys = d->uplink.next_keys;
        d->uplink.delivery.has_next_key = false;
    }
}

static void *uplink_main(void *arg)
{
    struct daemon *d = arg;
    pk_err err = pk_uplink_run(&d->uplink, &d->queue, &d->uplink_counters, d->stop_fd);
    if (err != PK_OK) {
        pk_error("uplink", "ended: %s", pk_err_str(err));
    }
    return NULL;
}

/* Signals go to the thread that captures. */
bool daemon_start_uplink(struct daemon *d)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    d->has_uplink_thread = pthread_create(&d->uplink_thread, NULL, uplink_main, d) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return d->has_uplink_thread;
}

void daemon_stop_uplink(struct daemon *d)
{
    uint64_t count = 1;
    if (d->has_uplink_thread) {
        ssize_t n = write(d->stop_fd, &count, sizeof count);
        pthread_join(d->uplink_thread, NULL);
        n = read(d->stop_fd, &count, sizeof count); /* it may be started again */
        (void)n;
        d->has_uplink_thread = false;
    }
}

/* Sensors that come: keys that change, homes that are elsewhere or not yet decided. */
#include <inttypes.h>
#include <string.h>

#include "picket/clock.h"
#include "picket/key.h"
#include "picket/log.h"

#include "pipeline_internal.h"

/* Not the home: the sensor hears where that is, or waits for it to be decided. What we know may be a second old, and the home may have gone just now: before a
 * sensor is sent back to where it came from, we look again. */
static void refuse_hello(struct pk_pipeline *pipeline, const struct pk_link_hello *hello,
    const struct pk_home *home, bool is_fresh)
{
    bool is_decided = home->place == PK_HOME_ELSEWHERE && is_fresh;
    if (!is_decided && pk_tenancy_park(&pipeline->tenancy, hello)) {
        if (!is_fresh) {
            pk_homes_poke(pipeline->homes);
        }
        return;
    }
    if (home->place == PK_HOME_ELSEWHERE && home->elsewhere.address[0]) {
        atomic_fetch_add(&pipeline->counters.turned_away, 1);
        pipeline_turn_away(pipeline, hello->sensor, hello->session, &home->elsewhere);
    } /* else it goes on along its list when nobody answers */
}

/* The first HELLO under a new key retires the one before. False: not sure yet, the sensor asks again. */
static bool settle_key(struct pk_pipeline *pipeline, const struct pk_link_hello *hello)
{
    const struct pk_store_sensor *key = pk_registry_key(&pipeline->registry, hello->pubkey);
    if (!key || !key->is_successor) {
        return true;
    }
    if (!pipeline_store_ready(pipeline)) {
        return false;
    }
    char fingerprint[PK_FINGERPRINT_SIZE];
    pk_err err = pk_store_retire_replaced(pipeline->store, hello->pubkey);
    if (err == PK_OK) {
        pk_info("key", "sensor=%s changed its key fingerprint=\"%s\"", key->name,
            pk_key_fingerprint(hello->pubkey, fingerprint));
        err = pipeline_reload(pipeline);
    }
    if (err != PK_OK) {
        pipeline_store_failed(pipeline, "retire a key");
    }
    return err == PK_OK;
}

/* ROTATE is answered when the key is in the table and the child has the table. Not answered: the sensor asks again. */
void pipeline_on_rotate(struct pk_pipeline *pipeline, const uint8_t *data, size_t len)
{
    struct pk_link_rotate rotate;
    if (len != sizeof rotate || !pipeline_store_ready(pipeline)) {
        return;
    }
    memcpy(&rotate, data, sizeof rotate);
    bool is_taken = false, is_busy = false;
    pk_err err = pk_store_rotate_key(pipeline->store, (struct pk_sensor_id){rotate.sensor},
        rotate.pubkey, rotate.next, &is_taken, &is_busy);
    if (err == PK_OK && is_taken) {
        err = pipeline_reload(pipeline);
    }
    if (err != PK_OK) {
        pipeline_store_failed(pipeline, "add a key");
    }
    if (err == PK_OK && !is_busy) {
        struct pk_link_rotated rotated = {
            .sensor = rotate.sensor, .session = rotate.session, .is_refused = !is_taken};
        memcpy(rotated.next, rotate.next, sizeof rotated.next);
        (void)pk_link_send(
            &pipeline->ingest.link, PK_LINK_ROTATED, &rotated, sizeof rotated, NULL, 0);
    }
}

static void answer_hello(
    struct pk_pipeline *pipeline, const struct pk_link_hello *hello, bool is_fresh)
{
    const struct pk_store_sensor *sensor = pk_registry_sensor(&pipeline->registry, hello->sensor);
    if (!sensor) {
        return; /* no WELCOME: the sensor asks again */
    }
    struct pk_home home = pk_homes_get(pipeline->homes, sensor->tenant);
    if (!home.opened) {
        refuse_hello(pipeline, hello, &home, is_fresh);
        return;
    }
    if (!settle_key(pipeline, hello)) {
        return;
    }
    sensor = pk_registry_sensor(&pipeline->registry, hello->sensor);
    if (!sensor) {
        return; /* the registry was read again */
    }
    struct pk_link_resume resume = {.sensor = hello->sensor,
        .session = hello->session,
        .epoch = hello->body.spool_epoch,
        .config_version = pipeline_scope_version(pipeline, sensor->tenant)};
    /* What is durable is told for people only: a sensor is welcome while the store is away, and gets credit when it is back. */
    if (pipeline_store_ready(pipeline) && pk_store_newest_seq(pipeline->store, sensor->tenant,
                                              sensor->sensor, resume.epoch, &resume.seq) != PK_OK) {
        pipeline_store_failed(pipeline, "read newest sequence");
        resume.seq = 0;
    }
    (void)pk_link_send(&pipeline->ingest.link, PK_LINK_RESUME, &resume, sizeof resume, NULL, 0);
    char name[128], address[128];
    pk_info("ingest",
        "hello sensor=%s software=\"%s\" address=%s epoch=%" PRIu64 " resume_seq=%" PRIu64,
        sensor->name,
        pk_log_escape(hello->body.software, strlen(hello->body.software), name, sizeof name),
        pk_log_escape(hello->address, strlen(hello->address), address, sizeof address),
        resume.epoch, resume.seq);
    pk_reports_hello(&pipeline->reports, sensor->tenant, hello, pk_clock_wall_us());
}

void pipeline_on_hello(struct pk_pipeline *pipeline, const uint8_t *data, size_t len)
{
    struct pk_link_hello hello;
    if (len == sizeof hello) {
        memcpy(&hello, data, sizeof hello);
        hello.body.software[sizeof hello.body.software - 1] = '\0';
        hello.address[sizeof hello.address - 1] = '\0';
        answer_hello(pipeline, &hello, false);
    }
}

static void on_unparked(void *arg, const struct pk_link_hello *hello)
{
    answer_hello(arg, hello, true);
}

void pipeline_mind_homes(struct pk_pipeline *pipeline)
{
    pk_homes_alive(pipeline->homes);
    if (!pipeline->homes_changed || !pipeline_store_ready(pipeline)) {
        return;
    }
    pipeline->homes_changed = false;
    if (pk_tenancy_sync(&pipeline->tenancy) != PK_OK) {
        pipeline->homes_changed = true;
        pipeline_store_failed(pipeline, "open a home");
    }
    pk_tenancy_unpark(&pipeline->tenancy, on_unparked);
}

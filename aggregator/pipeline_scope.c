/* Sensors as they stand: the tenants' scopes on their way to them and what they say to it; fleets' identities that are gone. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "picket/clock.h"
#include "picket/log.h"

#include "pipeline_internal.h"

enum {
    NOTES_MS = 1000
};

void pipeline_scope_reloaded(struct pk_pipeline *pipeline)
{
    if (pk_scope_push_set(&pipeline->scopes, &pipeline->registry) && pipeline->ingest.pid > 0) {
        (void)pk_link_send(&pipeline->ingest.link, PK_LINK_SCOPES, NULL, 0, NULL,
            0); /* lost with the child, whose successor asks for all */
    }
}

uint32_t pipeline_scope_version(struct pk_pipeline *pipeline, struct pk_tenant_id tenant)
{
    return pk_scope_push_version(&pipeline->scopes, &pipeline->registry, tenant);
}

void pipeline_on_scope_ask(struct pk_pipeline *pipeline, const uint8_t *data, size_t len)
{
    struct pk_link_scope_ask ask;
    if (len != sizeof ask) {
        return;
    }
    memcpy(&ask, data, sizeof ask);
    const struct pk_store_sensor *sensor = pk_registry_sensor(&pipeline->registry, ask.sensor);
    struct pk_link_scope scope = {.sensor = ask.sensor, .session = ask.session};
    struct pk_slice body = {.data = NULL};
    if (sensor) {
        body = pk_scope_push_body(
            &pipeline->scopes, &pipeline->registry, sensor->tenant, &scope.version);
    }
    bool is_known = scope.version == ask.has;
    (void)pk_link_send(&pipeline->ingest.link, PK_LINK_SCOPE, &scope, sizeof scope, body.data,
        is_known ? 0 : body.len); /* a full link: the child asks again */
}

void pipeline_on_scope_ack(struct pk_pipeline *pipeline, const uint8_t *data, size_t len)
{
    struct pk_link_scope_ack ack;
    if (len != sizeof ack) {
        return;
    }
    memcpy(&ack, data, sizeof ack);
    ack.reason[sizeof ack.reason - 1] = '\0';
    for (char *at = ack.reason; *at; at++) { /* it goes into the database and onto screens */
        *at = *at >= 0x20 && *at < 0x7f ? *at : '?';
    }
    const struct pk_store_sensor *sensor = pk_registry_sensor(&pipeline->registry, ack.sensor);
    if (!sensor || ack.version != pipeline_scope_version(pipeline, sensor->tenant)) {
        return; /* to one that is no longer in force */
    }
    struct pk_store_config_note note = {.tenant = sensor->tenant,
        .sensor = sensor->sensor,
        .serial = (int64_t)pipeline->scopes.serial,
        .status = ack.status,
        .at_us = pk_clock_wall_us()};
    snprintf(note.reason, sizeof note.reason, "%s", ack.reason);
    size_t i = 0;
    while (i < pipeline->n_config_notes && pipeline->config_notes[i].sensor.v != note.sensor.v) {
        i++;
    }
    if (ack.status == PK_CONFIG_REFUSED && i == pipeline->n_config_notes) { /* once a second */
        char escaped[4 * sizeof ack.reason];
        atomic_fetch_add(&pipeline->counters.scope_refusals, 1);
        pk_warn("scope", "refused sensor=%s serial=%" PRIi64 " reason=\"%s\"", sensor->name,
            note.serial, pk_log_escape(ack.reason, strlen(ack.reason), escaped, sizeof escaped));
    }
    if (i < PK_STORE_MAX_NOTES) { /* a full table: said again at the sensor's next session */
        pipeline->config_notes[i] = note;
        pipeline->n_config_notes += i == pipeline->n_config_notes;
    }
}

void pipeline_expire_stale(struct pk_pipeline *pipeline, int64_t now_ms)
{
    uint64_t homes = atomic_load(&pipeline->counters.homes);
    if (homes != pipeline->calm_homes || pipeline->calm_since_ms == 0) {
        pipeline->calm_homes = homes;
        pipeline->calm_since_ms = now_ms;
    }
    if (pk_tenancy_expire_stale(&pipeline->tenancy, (now_ms - pipeline->calm_since_ms) * 1000) !=
        PK_OK) {
        pipeline_store_failed(pipeline, "look for stale sensors");
    }
}

/* "[::ffff:192.0.2.1]:7353", "192.0.2.1:7353", "2001:db8::1" without brackets, port and dress; empty when that is no address. */
static void plain_address(const char *from, char *out, size_t size)
{
    struct pk_addr addr;
    const char *text = from[0] == '[' ? from + 1 : from;
    text = strncmp(text, "::ffff:", 7) == 0 && strchr(text, '.') ? text + 7 : text;
    size_t len = strcspn(text, strchr(text, '.') ? "]:" : "]");
    snprintf(out, size, "%.*s", len < size ? (int)len : 0, text);
    if (!pk_addr_parse(out, &addr)) {
        out[0] = '\0';
    }
}

void pipeline_note_offence(struct pk_pipeline *pipeline, const struct pk_store_sensor *sensor,
    const struct pk_link_offence *offence)
{
    size_t i = 0;
    while (i < pipeline->n_offence_notes &&
           (pipeline->offence_notes[i].sensor.v != sensor->sensor.v ||
               pipeline->offence_notes[i].kind != (uint8_t)offence->kind)) {
        i++;
    }
    if (i == PK_STORE_MAX_NOTES) {
        return; /* the log and the counters have it */
    }
    struct pk_store_offence_note *note = &pipeline->offence_notes[i];
    if (i == pipeline->n_offence_notes) {
        pipeline->n_offence_notes++;
        *note = (struct pk_store_offence_note){
            .tenant = sensor->tenant, .sensor = sensor->sensor, .kind = (uint8_t)offence->kind};
    }
    note->n++;
    note->cuts += offence->is_out;
    note->at_us = pk_clock_wall_us();
    plain_address(offence->address, note->address, sizeof note->address);
}

static size_t drop_configs(struct pk_store_config_note *notes, size_t n, struct pk_tenant_id tenant)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (notes[i].tenant.v != tenant.v) {
            notes[kept++] = notes[i];
        }
    }
    return kept;
}

static size_t drop_offences(
    struct pk_store_offence_note *notes, size_t n, struct pk_tenant_id tenant)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (notes[i].tenant.v != tenant.v) {
            notes[kept++] = notes[i];
        }
    }
    return kept;
}

/* Both kinds of notes of one tenant, which are then gone, unless the store is away. One whose home is elsewhere by now is told there what matters. */
static pk_err write_notes_of(struct pk_pipeline *pipeline, struct pk_tenant_id tenant)
{
    uint64_t generation = pk_homes_generation(pipeline->homes, tenant);
    pk_err err = PK_OK;
    if (generation != 0) {
        err = pk_store_note_configs(
            pipeline->store, tenant, generation, pipeline->config_notes, pipeline->n_config_notes);
    }
    if (generation != 0 && err == PK_OK) {
        err = pk_store_note_offences(pipeline->store, tenant, generation, pipeline->offence_notes,
            pipeline->n_offence_notes);
    }
    if (err == PK_ERR_CONFLICT) {
        pk_tenancy_lose(&pipeline->tenancy, tenant);
        err = PK_OK;
    }
    if (err == PK_OK) {
        pipeline->n_config_notes =
            drop_configs(pipeline->config_notes, pipeline->n_config_notes, tenant);
        pipeline->n_offence_notes =
            drop_offences(pipeline->offence_notes, pipeline->n_offence_notes, tenant);
    }
    return err;
}

void pipeline_write_notes(struct pk_pipeline *pipeline, int64_t now_ms)
{
    bool has_notes = pipeline->n_config_notes > 0 || pipeline->n_offence_notes > 0;
    if (now_ms < pipeline->next_notes_ms || !has_notes || !pipeline_store_ready(pipeline)) {
        return;
    }
    pipeline->next_notes_ms = now_ms + NOTES_MS;
    pk_err err = PK_OK;
    while (err == PK_OK && (pipeline->n_config_notes > 0 || pipeline->n_offence_notes > 0)) {
        err = write_notes_of(pipeline, pipeline->n_config_notes > 0
                                           ? pipeline->config_notes[0].tenant
                                           : pipeline->offence_notes[0].tenant);
    }
    if (err != PK_OK) {
        pipeline_store_failed(pipeline, "note how sensors stand");
    }
}

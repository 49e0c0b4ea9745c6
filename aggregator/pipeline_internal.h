/* The core loop's inside, shared by pipeline.c (store, control, child, the loop itself), pipeline_queue.c (batches to commits) and pipeline_hello.c (sensors that come). Private. */
#ifndef AGGREGATOR_PIPELINE_INTERNAL_H
#define AGGREGATOR_PIPELINE_INTERNAL_H

#include "detection.h"
#include "enrolment.h"
#include "fair.h"
#include "homes.h"
#include "ingest/ingest.h"
#include "pipeline.h"
#include "registry.h"
#include "reports.h"
#include "scope_push.h"
#include "store/store.h"
#include "tenancy.h"

/* A batch on its way to the commit. */
struct pending {
    struct pk_fair_item item; /* first */
    struct pk_link_batch head;
    bool is_refused; /* by the child: for the quarantine */
    int64_t received_us;
    uint8_t n_too_much; /* how often it alone was too much for the database */
    uint8_t body[];     /* head.frame.body_len bytes */
};

struct pk_pipeline {
    const struct pk_aggregator_config *config;
    struct pk_store *store;
    struct pk_homes *homes;
    struct pk_tenancy tenancy;
    bool homes_changed; /* the table of homes, and nobody has looked yet */
    char application[PK_HOMES_APPLICATION_SIZE];
    struct pk_registry registry;
    struct pk_detection *detection;
    struct pk_reports reports;
    struct pk_link_setup setup;
    struct pk_ingest ingest;
    bool is_door_open;    /* as the child was told */
    struct pk_fair queue; /* of struct pending */
    int64_t retry_at_ms;  /* nothing touches the store before */
    int64_t retry_ms;
    int64_t next_alarm_ms, next_prune_ms, next_report_ms, next_control_ms, next_state_ms,
        next_child_ms;
    int64_t calm_since_ms; /* the store has answered and no home was opened since */
    uint64_t calm_homes, pruned_homes;
    struct pk_scope_push scopes;
    struct pk_store_config_note config_notes[PK_STORE_MAX_NOTES]; /* to be written, one a sensor */
    size_t n_config_notes;
    struct pk_store_offence_note
        offence_notes[PK_STORE_MAX_NOTES]; /* the same, one a sensor and kind */
    size_t n_offence_notes;
    int64_t next_notes_ms;
    struct pk_pipeline_counters counters;
};

/* pipeline.c */
/* Notes the failure, sets the back-off, tells the child. */
void pipeline_store_failed(struct pk_pipeline *pipeline, const char *doing);
/* True when the store may be used now; reconnects when that is due. */
bool pipeline_store_ready(struct pk_pipeline *pipeline);
/* Reads registry and scope again and hands them to those who use them. PK_ERR_IO: nothing has changed. */
pk_err pipeline_reload(struct pk_pipeline *pipeline);
/* Ends a session here: the tenant's home is elsewhere, or was. */
void pipeline_turn_away(
    void *arg, uint32_t sensor, uint64_t session, const struct pk_endpoint *elsewhere);
/* Of the tenant's home, as commits must carry it. */
uint64_t pipeline_generation_of(struct pk_pipeline *pipeline, const struct pk_store_sensor *sensor);

/* pipeline_queue.c */
/* Forgets the first n of the queue. */
void pipeline_pop(struct pk_pipeline *pipeline, size_t n);
/* One tenant's turn; false: nothing can be done now. */
bool pipeline_commit_turn(struct pk_pipeline *pipeline);
/* A batch from the child joins the queue. */
void pipeline_on_batch(
    struct pk_pipeline *pipeline, const uint8_t *data, size_t len, bool is_refused);

/* pipeline_scope.c */
/* A registry was read: sensors are sent the scope when it is another. */
void pipeline_scope_reloaded(struct pk_pipeline *pipeline);
/* Of the CONFIG that has the tenant's scope; 0: none. */
uint32_t pipeline_scope_version(struct pk_pipeline *pipeline, struct pk_tenant_id tenant);
/* The child wants a session's scope; a sensor said what became of one. */
void pipeline_on_scope_ask(struct pk_pipeline *pipeline, const uint8_t *data, size_t len);
void pipeline_on_scope_ack(struct pk_pipeline *pipeline, const uint8_t *data, size_t len);
/* A sensor broke the protocol. */
void pipeline_note_offence(struct pk_pipeline *pipeline, const struct pk_store_sensor *sensor,
    const struct pk_link_offence *offence);
/* Ends identities of fleets that are silent too long. */
void pipeline_expire_stale(struct pk_pipeline *pipeline, int64_t now_ms);
/* Writes what sensors said, at most once a second. */
void pipeline_write_notes(struct pk_pipeline *pipeline, int64_t now_ms);

/* pipeline_hello.c */
/* A sensor came: welcome it, send it on, or let it wait. */
void pipeline_on_hello(struct pk_pipeline *pipeline, const uint8_t *data, size_t len);
/* A sensor's new key. */
void pipeline_on_rotate(struct pk_pipeline *pipeline, const uint8_t *data, size_t len);
/* Homes that were won or lost since the last look. */
void pipeline_mind_homes(struct pk_pipeline *pipeline);

#endif

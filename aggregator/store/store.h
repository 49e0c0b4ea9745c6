/* The store, in the words of the domain: sensors, batches, history, findings. SQL and libpq stay behind it.
 *
 * One struct pk_store is one connection, for one thread. Calls block. After PK_ERR_IO the connection is gone: the caller waits
 * (jittered back-off is his) and calls pk_store_reconnect; nothing half done is ever visible. Every statement that
 * reads or writes customer data takes the tenant first. */
#ifndef AGGREGATOR_STORE_H
#define AGGREGATOR_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picket/batch.h"
#include "picket/enrol.h"
#include "picket/envelope.h"
#include "picket/err.h"
#include "picket/ids.h"
#include "picket/key.h"
#include "picket/observation.h"
#include "picket/scope.h"

struct pk_store;

/* conninfo as libpq takes it (URI or keywords). role: SET ROLE after connecting, or NULL. application: shown in pg_stat_activity.
 * PK_ERR_IO; PK_ERR_VERSION when the schema is newer than this program or migrations are missing (unless skip_version_check);
 * pk_store_error has the sentence. *out_store is set also on failure so that the error can be read; free it with _close. */
struct pk_store_options {
    const char *conninfo;
    const char *role;
    const char *application;
    bool is_application_fixed; /* over what conninfo may say: others find these connections by it */
    bool skip_version_check;
    bool is_hasty; /* waits 2 s for a lock, not 30 */
};
pk_err pk_store_open(const struct pk_store_options *options, struct pk_store **out_store);
void pk_store_close(struct pk_store *store);
pk_err pk_store_reconnect(struct pk_store *store);
const char *pk_store_error(
    const struct pk_store *store); /* last failure: SQLSTATE, message, what was being done */
int pk_store_socket(
    const struct pk_store *store); /* to poll for notifications; -1 when not connected */

/* --- schema (pg_migrate.c; SQL embedded at build from migrations/) --- */
/* Brings the schema up to this program's version under an advisory lock; reports each step through `progress`. */
pk_err pk_store_migrate(struct pk_store *store,
    void (*progress)(void *arg, unsigned version, const char *name), void *arg);
unsigned pk_store_schema_version(void);

/* --- control (pg_control.c) --- */
/* Writes the scope as a new version, creating tenants and sites by name; sites and tenants that are gone from the file stay, marked
 * retired. Everything or nothing; wakes the aggregator (NOTIFY picket_control). scope_text is kept verbatim, from/to versioned. */
pk_err pk_store_apply_scope(struct pk_store *store, const struct pk_scope *scope,
    const char *scope_text, uint32_t *out_version);
/* Adds a sensor with its public key to "tenant/site"; the same key twice is PK_ERR_CONFLICT, no such site PK_ERR_CONFIG. */
pk_err pk_store_add_sensor(struct pk_store *store, const char *tenant, const char *site,
    const char *name, const uint8_t pubkey[PK_KEY_BYTES], struct pk_sensor_id *out_sensor);

enum {
    PK_STORE_MAX_ALLOWED = 4
};
/* What the registry needs, as one consistent snapshot (one transaction). */
struct pk_store_sensor {
    struct pk_tenant_id tenant;
    struct pk_sensor_id sensor;
    uint8_t pubkey[PK_KEY_BYTES];
    bool is_active, is_pending;
    bool is_successor; /* the key it replaces still works */
    struct pk_prefix allowed_from[PK_STORE_MAX_ALLOWED];
    size_t n_allowed_from; /* 0: from anywhere */
    char name[65];
};
/* Where a sensor stood, and when: [from_us, to_us). */
struct pk_store_assignment {
    struct pk_tenant_id tenant;
    struct pk_sensor_id sensor;
    struct pk_site_id site;
    int64_t from_us, to_us; /* INT64_MAX: still */
};
struct pk_store_tenant {
    struct pk_tenant_id tenant;
    char name[65];
};
struct pk_store_site {
    struct pk_tenant_id tenant;
    struct pk_site_id site;
    char name[65];
};
struct pk_store_registry {
    uint64_t control_version; /* grows with every control change */
    struct pk_store_tenant *tenants;
    size_t n_tenants;
    struct pk_store_site *sites;
    size_t n_sites;
    struct pk_store_sensor *sensors;
    size_t n_sensors;
    struct pk_store_assignment *assignments; /* ordered by sensor, from_us */
    size_t n_assignments;
    int64_t enrol_until_us; /* a token is open until then */
    char *scope_text;       /* newest scope, YAML; NULL when none was applied */
    uint64_t scope_serial;  /* its version */
};
pk_err pk_store_load_registry(struct pk_store *store, struct pk_store_registry *out_registry);
void pk_store_registry_done(struct pk_store_registry *registry);
/* The control version alone, for the poll behind NOTIFY; LISTEN is set by the first call. */
pk_err pk_store_control_version(struct pk_store *store, uint64_t *out_version);

/* What a sensor said to the scope it was sent. */
enum {
    PK_STORE_MAX_NOTES = 1024 /* of one call */
};
struct pk_store_config_note {
    struct pk_tenant_id tenant;
    struct pk_sensor_id sensor;
    int64_t serial; /* of the scope */
    uint8_t status; /* enum pk_config_status */
    char reason[PK_CONFIG_REASON_SIZE];
    int64_t at_us;
};
/* Those of this tenant among the notes; the newest of a sensor stands. PK_ERR_CONFLICT as of pk_store_commit. */
pk_err pk_store_note_configs(struct pk_store *store, struct pk_tenant_id tenant,
    uint64_t generation, const struct pk_store_config_note *notes, size_t n);
/* A sensor broke the protocol so many times, and was cut off for it so many. */
struct pk_store_offence_note {
    struct pk_tenant_id tenant;
    struct pk_sensor_id sensor;
    uint8_t kind; /* enum pk_offence_kind (ingest/link.h), below PK_STORE_OFFENCES */
    uint64_t n, cuts;
    int64_t at_us;
    char address[64];
};
enum {
    PK_STORE_OFFENCES = 8
};
/* Adds up those of this tenant. PK_ERR_CONFLICT as of pk_store_commit. */
pk_err pk_store_note_offences(struct pk_store *store, struct pk_tenant_id tenant,
    uint64_t generation, const struct pk_store_offence_note *notes, size_t n);
/* Who a tenant's sensors are, and what they were told (pg_standing.c). */
struct pk_store_sensor_row {
    char name[65], site[65];
    bool is_active, is_pending, is_fleet;
    int64_t stale_us;                /* when it was taken for gone; 0: it was not */
    int64_t scope_wanted, scope_has; /* serials; has 0: nothing was said */
    uint8_t scope_status;            /* enum pk_config_status */
    char scope_reason[PK_CONFIG_REASON_SIZE];
    int64_t scope_at_us;
    uint64_t offences[PK_STORE_OFFENCES], cuts; /* by kind, ever */
    int64_t offence_last_us;
    char offence_address[64]; /* of the last */
};
pk_err pk_store_query_sensors(struct pk_store *store, struct pk_tenant_id tenant,
    void (*row)(void *arg, const struct pk_store_sensor_row *sensor), void *arg);

/* --- enrolment and key life (pg_enrol.c) --- */
/* Where sensors find this mesh. endpoints: one a line. */
struct pk_store_aggregator {
    uint8_t pubkey[PK_KEY_BYTES];
    char endpoints[512];
    char enrol_endpoint[PK_ENDPOINT_SIZE];
};
pk_err pk_store_announce(struct pk_store *store, const struct pk_store_aggregator *aggregator);
/* The one that was announced last; PK_ERR_CONFIG when none ever was. */
pk_err pk_store_find_aggregator(struct pk_store *store, struct pk_store_aggregator *out_aggregator);
struct pk_store_token {
    const char *tenant, *site;
    uint8_t id[PK_TOKEN_ID_BYTES], secret_hash[32];
    uint32_t n_uses;
    int64_t until_us;
    const char *allowed_from; /* prefixes with commas between; "": from anywhere */
    bool needs_approval;
    uint32_t
        stale_after_s; /* of a fleet: who was silent for so long is taken for gone; 0: nobody */
    bool
        is_fleet; /* a newcomer with a node name that is known is the same sensor: its new key replaces the old */
};
pk_err pk_store_add_token(struct pk_store *store, const struct pk_store_token *token);
/* A token as it stands, without its secret. */
struct pk_store_token_row {
    uint8_t id[PK_TOKEN_ID_BYTES];
    char tenant[65], site[65];
    uint32_t uses_left, failures, stale_after_s;
    int64_t until_us;
    bool needs_approval, is_fleet;
};
/* Those that are open, newest first. */
pk_err pk_store_list_tokens(struct pk_store *store,
    bool (*row)(void *arg, const struct pk_store_token_row *token), void *arg);
/* Nobody enrols with it any more; who has stays. PK_ERR_CONFIG when there is none of that id. */
pk_err pk_store_close_token(struct pk_store *store, const uint8_t id[PK_TOKEN_ID_BYTES]);
enum pk_store_enrol {
    PK_STORE_ENROLLED,
    PK_STORE_ENROL_PENDING,
    PK_STORE_ENROL_REFUSED /* unknown, wrong secret, expired, used up, from elsewhere: not told apart */
};
struct pk_store_enrolled {
    enum pk_store_enrol result;
    struct pk_sensor_id sensor;
    char name[65], tenant[65], site[65];
};
/* Whether sensors of this tenant may come from there, by its scope. */
struct pk_store_gate {
    bool (*may_come)(void *arg, const char *tenant, const struct pk_addr *from);
    void *arg;
};
/* One transaction: checks the token, adds the sensor with its key (under the wished name, or that and a number), takes one use. The same key again within an hour (of a fleet: at any time) gets the same
 * answer and takes none; so it does by another open token of the place where its sensor stands. A stale identity of the fleet, found by its node's name or its key, is the same sensor again and takes one. */
pk_err pk_store_enrol(struct pk_store *store, const struct pk_enrol_request *request,
    const uint8_t pubkey[PK_KEY_BYTES], const struct pk_addr *from,
    const struct pk_store_gate *gate, struct pk_store_enrolled *out_enrolled);
/* What an administrator does to a sensor of a tenant; PK_ERR_CONFIG when there is none of that name. */
enum pk_store_sensor_change {
    PK_STORE_SENSOR_REVOKE,  /* its keys are refused from now on; what it sent stays */
    PK_STORE_SENSOR_APPROVE, /* one that enrolled and waits */
    PK_STORE_SENSOR_MOVE,    /* to the site `text` from now on; its past stays where it was */
    PK_STORE_SENSOR_LIMIT,   /* connections only from the prefixes in `text`; "": from anywhere */
};
pk_err pk_store_change_sensor(struct pk_store *store, const char *tenant, const char *name,
    enum pk_store_sensor_change change, const char *text);
/* Ends the identities of a tenant's fleets that were silent for as long as their token says (pg_stale.c), and tells of each. calm_us: how long sensors had the chance to be heard. PK_ERR_CONFLICT as of
 * pk_store_commit. */
pk_err pk_store_expire_stale(struct pk_store *store, struct pk_tenant_id tenant,
    uint64_t generation, int64_t calm_us,
    void (*gone)(void *arg, const char *sensor, int64_t silent_s), void *arg);
/* "10.0.0.0/8,2001:db8::1": false when one of them is none, or there are more than max. */
bool pk_store_parse_prefixes(
    const char *text, struct pk_prefix *out_prefixes, size_t max, size_t *out_n);

/* Takes `next` as a second key of the sensor that came in by `pubkey`, or finds that it is there. Not taken: another sensor's, retired, or the sensor changed its key less than a
 * minute ago (*out_is_busy). A successor that was never used gives its place to the newer one. */
pk_err pk_store_rotate_key(struct pk_store *store, struct pk_sensor_id sensor,
    const uint8_t pubkey[PK_KEY_BYTES], const uint8_t next[PK_KEY_BYTES], bool *out_is_taken,
    bool *out_is_busy);
/* The successor was used: the key it replaces is refused from now on. */
pk_err pk_store_retire_replaced(struct pk_store *store, const uint8_t pubkey[PK_KEY_BYTES]);

/* --- ingest (pg_ingest.c) --- */
/* A checked batch with who sent it. The site valid at the batch's window start is in `site`. */
struct pk_store_batch {
    struct pk_tenant_id tenant;
    struct pk_sensor_id sensor;
    struct pk_site_id site;
    const struct pk_frame_batch *frame; /* epoch, seq, digest, kind, rows */
    const struct pk_batch *batch;
    int64_t received_us;
    uint64_t generation; /* of the tenant's home, see below */
};
/* The time of an event as it is kept: one that lies more than five minutes after the aggregator got the batch is held to that moment, because the sensor's clock is wrong
 * and a time in the future would stand as last_seen for ever. Batches from a spool may be days old: the past is left alone. */
int64_t pk_store_hold_time(int64_t us, int64_t received_us);
enum pk_store_commit {
    PK_STORE_COMMITTED, /* rows and mark are durable */
    PK_STORE_DUPLICATE, /* this (sensor, epoch, seq) with this digest was durable before: nothing was written */
    PK_STORE_CONFLICT, /* the same (sensor, epoch, seq) with another digest: nothing was written */
};
/* Commits n batches of one tenant in one transaction: dedupe marks, rows, one ingest sequence number each (consecutive, in order
 * given; only COMMITTED ones). out_results[i] and out_ingest_seq[i] for each. PK_ERR_MALFORMED: the database refused values (22*, 23*), PK_ERR_LIMIT: the
 * transaction was too much for it (53200, 54*): the caller retries with fewer and quarantines what fails alone. PK_ERR_CONFLICT: another aggregator is the tenant's home now, nothing was written. */
pk_err pk_store_commit(struct pk_store *store, const struct pk_store_batch *batches, size_t n,
    enum pk_store_commit *out_results, uint64_t *out_ingest_seq);
/* Keeps a refused body (size-capped) with its reason and marks (sensor, epoch, seq) durable, so that it is not sent for ever. PK_ERR_CONFLICT as above. */
pk_err pk_store_quarantine(struct pk_store *store, struct pk_tenant_id tenant, uint64_t generation,
    struct pk_sensor_id sensor, const struct pk_frame_batch *frame, const uint8_t *body,
    size_t body_len, const char *reason);
/* For WELCOME: the greatest durable sequence of this epoch (0 when none). */
pk_err pk_store_newest_seq(struct pk_store *store, struct pk_tenant_id tenant,
    struct pk_sensor_id sensor, uint64_t epoch, uint64_t *out_seq);

/* --- retention (pg_retention.c) --- */
enum {
    PK_STORE_LEDGER_HOURS_DAYS = 14 /* the ledger's hours before are put together to days */
};
/* For how many days after it came what a tenant sent is kept. */
struct pk_store_retention {
    struct pk_tenant_id tenant;
    uint32_t activity_days; /* activity and client rows */
    uint32_t history_days;  /* negatives; RRsets stay */
    uint32_t health_days;   /* health, of interfaces too, and the quarantine */
};
struct pk_store_retention_plan {
    const struct pk_store_retention
        *all; /* every tenant's, because a day goes whole when none of them keeps it */
    size_t n;
    int64_t today; /* days since 1970, of pk_store_read_day */
};
struct pk_store_pruned {
    uint64_t activity, health, quarantine; /* rows */
    uint64_t folded;                       /* days of a sensor's ledger */
    bool has_more;                         /* another pass would find something */
};
/* The day it is by the database's clock, and by how much ours is ahead of it (negative: behind). */
pk_err pk_store_read_day(struct pk_store *store, int64_t *out_day, int64_t *out_ahead_s);
struct pk_store_dropped {
    uint64_t days; /* whole partitions */
    bool is_busy;  /* somebody uses them: it stopped there; better call again later than soon */
    bool has_more; /* days it did not look at */
};
/* Drops some of the days in which no tenant keeps a row; holds the home of all[which] meanwhile. Errors as of pk_store_prune. */
pk_err pk_store_drop_days(struct pk_store *store, const struct pk_store_retention_plan *plan,
    size_t which, uint64_t generation, struct pk_store_dropped *out_dropped);
/* One bounded pass for the tenant all[which] of the plan: at most some thousand rows of a table. PK_ERR_CONFLICT as of pk_store_commit;
 * PK_ERR_MALFORMED: the database refused some of it, the rest was done. *out_pruned is what was done, also on failure. */
pk_err pk_store_prune(struct pk_store *store, const struct pk_store_retention_plan *plan,
    size_t which, uint64_t generation, struct pk_store_pruned *out_pruned);

/* --- detection: what the engine reads and leaves (pg_detect.c) --- */
/* Activity rows, and client rows that say something to the engine, with ingest_seq > after, in (ingest_seq, row) order; `row` returns false to stop. Fixed memory (cursor). */
struct pk_store_activity {
    uint64_t ingest_seq;
    uint32_t row_no;
    struct pk_site_id site;
    struct pk_sensor_id sensor;
    struct pk_activity activity;
    const struct pk_client_count *client; /* the row is this one; NULL: it is activity */
};
pk_err pk_store_read_activity(struct pk_store *store, struct pk_tenant_id tenant, uint64_t after,
    bool (*row)(void *arg, const struct pk_store_activity *activity), void *arg);
/* Findings as rendered JSON (aggregator/detect/finding.h) with the keys that are searched by; the highest revision of an id stands.
 * State and the sequence it stands at are saved in the same transaction when state is not NULL. PK_ERR_CONFLICT as of pk_store_commit. */
struct pk_store_finding {
    const char *id; /* text, derived */
    uint32_t revision;
    const char *detector;
    uint8_t severity;
    int64_t first_us, last_us;
    const char *json;
};
pk_err pk_store_save_detection(struct pk_store *store, struct pk_tenant_id tenant,
    uint64_t generation, const struct pk_store_finding *findings, size_t n,
    const struct pk_slice *state, uint32_t state_version, uint64_t at_seq);
/* PK_OK with *out_state NULL when there is none; caller frees with free(). */
pk_err pk_store_load_state(struct pk_store *store, struct pk_tenant_id tenant, uint8_t **out_state,
    size_t *out_len, uint32_t *out_version, uint64_t *out_seq);

/* --- homes: which of several aggregators works for which tenant (pg_home.c) --- */
/* A lease, by the database's clock alone. Its generation grows each time it changes hands, and every commit names it. */
enum {
    PK_STORE_NAME_SIZE = 65,
    PK_STORE_INSTANCE_SIZE = 33,
};
/* An aggregator that is there: it said so within a lease's time. */
struct pk_store_node {
    char name[PK_STORE_NAME_SIZE];
    char instance[PK_STORE_INSTANCE_SIZE]; /* random, of the process */
    struct pk_endpoint endpoint;           /* where sensors reach it; an empty address: unknown */
    char prefers[512];                     /* names of tenants, each with a line feed after it */
};
struct pk_store_home {
    struct pk_tenant_id tenant;
    char tenant_name[PK_STORE_NAME_SIZE];
    char holder[PK_STORE_NAME_SIZE]; /* empty: nobody */
    char instance[PK_STORE_INSTANCE_SIZE];
    char pinned[PK_STORE_NAME_SIZE]; /* the aggregator an operator named; empty: none */
    uint64_t generation;
    bool is_live; /* the lease has not run out */
};
struct pk_store_homes {
    struct pk_store_node *nodes; /* by name */
    size_t n_nodes;
    struct pk_store_home *homes; /* by tenant */
    size_t n_homes;
    bool is_young; /* the database started a moment ago: nobody had the time to renew */
};
pk_err pk_store_read_homes(struct pk_store *store, struct pk_store_homes *out_homes);
void pk_store_homes_done(struct pk_store_homes *homes);
/* Says that self is there, renews what its instance holds: one statement; then reads everything. claims_name: take the name over from
 * another instance (a restart); else PK_ERR_CONFLICT when another instance goes by it. */
pk_err pk_store_renew_homes(struct pk_store *store, const struct pk_store_node *self,
    uint32_t lease_ms, bool claims_name, struct pk_store_homes *out_homes);
/* Takes a home as it was read, when it is free still (or its holder goes by our name); ends connections of the instance that held it, which may be stopped in the
 * midst of a transaction. PK_ERR_CONFLICT: somebody was faster. */
pk_err pk_store_take_home(struct pk_store *store, const struct pk_store_node *self,
    uint32_t lease_ms, const struct pk_store_home *home, uint64_t *out_generation);
/* Gives a home up, so that another takes it at once; without effect when it is not held any more. */
pk_err pk_store_release_home(
    struct pk_store *store, struct pk_tenant_id tenant, uint64_t generation);
/* No longer there. */
pk_err pk_store_leave(struct pk_store *store, const struct pk_store_node *self);
/* Wants the tenant's home at the aggregator of this name ("": anywhere). PK_ERR_CONFIG: no such tenant, or that aggregator is not there. */
pk_err pk_store_pin_home(struct pk_store *store, struct pk_tenant_id tenant, const char *name);

/* For a hunt in the past (pg_detect.c): the rows of [from_us, to_us) in ingest order; every scope that was ever in force, oldest first; first and last window a sensor of the
 * tenant reported (from > to: none ever did). */
pk_err pk_store_read_activity_between(struct pk_store *store, struct pk_tenant_id tenant,
    int64_t from_us, int64_t to_us,
    bool (*row)(void *arg, const struct pk_store_activity *activity), void *arg);
pk_err pk_store_read_scopes(struct pk_store *store,
    bool (*row)(void *arg, int64_t from_us, int64_t to_us, const char *scope), void *arg);
pk_err pk_store_read_reported(
    struct pk_store *store, struct pk_tenant_id tenant, int64_t *out_from_us, int64_t *out_to_us);

/* --- history for detection (pg_history.c) --- */
/* A name's answers, over all types and sites. */
struct pk_store_life {
    struct pk_name owner;
    int64_t first_us, last_us;
    uint32_t n_sites; /* 0 for one that was heard later than before_us: not counted */
    bool is_authoritative;
};
/* Where a walk over a zone's names stands; zeros: at its beginning. */
struct pk_store_lives_cursor {
    uint8_t key[PK_NAME_SORT_KEY_ROOM];
    size_t key_len;
};
/* The next names below the zone, some `limit` RRsets of them. */
pk_err pk_store_read_lives(struct pk_store *store, struct pk_tenant_id tenant,
    const struct pk_name *zone, struct pk_store_lives_cursor *cursor, size_t limit,
    int64_t before_us, bool (*row)(void *arg, const struct pk_store_life *life), void *arg,
    bool *out_is_last);
/* The record of names known to be retired: good for rows of activity with from_seq < ingest_seq <= to_seq. */
struct pk_store_retired {
    struct pk_store_life life;
    uint64_t from_seq, to_seq; /* INT64_MAX: still */
};
/* What holds for any row after `after`, oldest first. */
pk_err pk_store_read_retired(struct pk_store *store, struct pk_tenant_id tenant, uint64_t after,
    size_t limit, bool (*row)(void *arg, const struct pk_store_retired *retired), void *arg);
/* For rows after at_seq: these are retired, those are back. PK_ERR_CONFLICT: the home is not of this generation, nothing was written. */
pk_err pk_store_write_retired(struct pk_store *store, struct pk_tenant_id tenant,
    uint64_t generation, uint64_t at_seq, const struct pk_store_life *retired, size_t n,
    const struct pk_name *back, size_t n_back);

/* --- queries, as the API's role under row-level security (pg_query.c) --- */
struct pk_store_rrset {
    struct pk_name owner, bailiwick;
    uint16_t type, class;
    uint8_t trust;
    uint64_t count;
    int64_t first_us, last_us;
    const struct pk_slice *rdata; /* borrowed during the callback */
    size_t n_rdata;
};
struct pk_store_rrset_query {
    struct pk_name name;
    bool is_wildcard_left;  /* "*.example.com": everything below name */
    bool is_wildcard_right; /* "www.*": names that begin with name's labels */
    uint16_t type;          /* 0 or 255: any (without the DNSSEC types, as DNSDB does) */
    bool has_bailiwick;
    struct pk_name bailiwick;
    int64_t time_first_after_us, time_first_before_us, time_last_after_us,
        time_last_before_us; /* 0: unset */
    size_t limit, offset;
};
/* tenant.v == 0 is refused. */
pk_err pk_store_query_rrsets(struct pk_store *store, struct pk_tenant_id tenant,
    const struct pk_store_rrset_query *query,
    bool (*row)(void *arg, const struct pk_store_rrset *rrset), void *arg);
/* When the name, in lower case, was last seen not to exist (NXDOMAIN, outside the scope); 0: never. */
pk_err pk_store_last_absent(struct pk_store *store, struct pk_tenant_id tenant,
    const struct pk_name *name, int64_t *out_last_us);
struct pk_store_finding_query {
    int64_t since_us;
    uint8_t min_severity;
    const char *id; /* or NULL */
    size_t limit;
};
/* What was done about a finding, by whom. */
struct pk_store_action {
    const char *action; /* acknowledge, close, reopen, note; "" for none */
    const char *note, *by_key;
    int64_t at_us;
    uint32_t revision; /* the finding's at that time */
};
struct pk_store_told_finding {
    const char *json; /* as the engine rendered it */
    uint32_t revision;
    struct pk_store_action last; /* the last that changed its state */
};
pk_err pk_store_query_findings(struct pk_store *store, struct pk_tenant_id tenant,
    const struct pk_store_finding_query *query,
    bool (*row)(void *arg, const struct pk_store_told_finding *finding), void *arg);
/* Everything done about one finding, oldest first. */
pk_err pk_store_query_actions(struct pk_store *store, struct pk_tenant_id tenant, const char *id,
    bool (*row)(void *arg, const struct pk_store_action *action), void *arg);
/* action->revision and at_us are filled by the store. PK_ERR_CONFIG: no such finding. */
pk_err pk_store_act_on_finding(struct pk_store *store, struct pk_tenant_id tenant, const char *id,
    const struct pk_store_action *action);

/* What is expected: empty texts stand for any. */
struct pk_store_suppression {
    uint32_t id;
    const char *detector, *actor, *zone, *reason, *by_key;
    int64_t from_us, until_us;
};
/* Those that have not ended; with_ended: all. At most PK_MAX_SUPPRESSIONS, the newest first. */
enum {
    PK_MAX_SUPPRESSIONS = 1000
};
pk_err pk_store_query_suppressions(struct pk_store *store, struct pk_tenant_id tenant,
    bool with_ended, bool (*row)(void *arg, const struct pk_store_suppression *suppression),
    void *arg);
pk_err pk_store_add_suppression(struct pk_store *store, struct pk_tenant_id tenant,
    const struct pk_store_suppression *suppression, uint32_t *out_id);
/* Ends one now. PK_ERR_CONFIG: there is none with this number that has not ended. */
pk_err pk_store_end_suppression(struct pk_store *store, struct pk_tenant_id tenant, uint32_t id);
/* How a sensor was when it last spoke, by its HELLO and HEARTBEAT. */
struct pk_store_report {
    struct pk_sensor_id sensor;
    int64_t reported_us;            /* the aggregator's clock; 0: never */
    char address[65], software[33]; /* empty: not known, what was known stays */
    int64_t offset_us;              /* the aggregator's clock minus the sensor's; 0: not known */
    uint64_t queued, queued_bytes;  /* batches that wait there */
    uint64_t behind_us;             /* age of the oldest row in them */
    int64_t cloned_us;              /* when two machines last took turns with its key; 0: never */
    char clone_peers[140];          /* where they are */
};
/* Keeps them; a clock that is off by more than the bound is noted with the time since when. n >= 1. PK_ERR_CONFLICT as of pk_store_commit. */
pk_err pk_store_write_reports(struct pk_store *store, struct pk_tenant_id tenant,
    uint64_t generation, const struct pk_store_report *reports, size_t n);

/* A sensor's life in numbers: sums of its ledger from captured to stored, losses by cause, and how it is now. */
struct pk_store_loss {
    char site[65], sensor[65];
    struct pk_health sum; /* gauges mean nothing here */
    uint64_t stored_activity, stored_negative,
        stored_rrset; /* transactions, and sightings of RRsets, in stored rows */
    uint64_t batches, rows, quarantined;
    struct pk_store_report now;
    char alarms[80]; /* kinds that are open, with commas between */
    const char *
        interfaces; /* JSON: [{name, state, packets, kernel_dropped, iface_dropped}...] of its last sixty health rows; borrowed during the callback; empty: none */
    struct pk_store_lost {
        uint64_t batches, rows, transactions;
        uint64_t counted; /* transactions of activity and negative rows: what stored_* lack */
        uint64_t health_batches; /* without them what the sensor counted is not known here */
    } lost
        [PK_N_LOSS_CAUSES]; /* sealed, but never delivered: by enum pk_loss_cause; 0: of a cause not known here */
    int64_t last_received_us;
};
pk_err pk_store_query_loss(struct pk_store *store, struct pk_tenant_id tenant,
    bool (*row)(void *arg, const struct pk_store_loss *loss), void *arg);
/* The same by hour of the sensor's clock, summed when the batches were stored: it outlives health rows. Hours with hour_us >= since_us, by sensor and hour. */
struct pk_store_ledger {
    char sensor[65];
    int64_t hour_us, last_received_us;
    uint64_t batches, rows;
    struct pk_health sum; /* gauges mean nothing here */
    uint64_t
        stored[8]; /* by enum pk_batch_kind: transactions, or sightings of RRsets, in stored rows */
    uint64_t lost[PK_N_LOSS_CAUSES]; /* by enum pk_loss_cause: transactions */
};
pk_err pk_store_query_ledger(struct pk_store *store, struct pk_tenant_id tenant, int64_t since_us,
    bool (*row)(void *arg, const struct pk_store_ledger *ledger), void *arg);
/* Something that is wrong with a sensor: "silent", "unbalanced", "skewed", "cloned", "blind", "tap". */
struct pk_store_alarm {
    char sensor[65], kind[16], detail[160];
    bool is_open;
    int64_t opened_us, closed_us; /* 0: still open */
};
/* Opens what holds now and was not open, closes what does no longer; tells of each change after it is durable. PK_ERR_CONFLICT as of pk_store_commit. */
pk_err pk_store_check_alarms(struct pk_store *store, struct pk_tenant_id tenant,
    uint64_t generation, void (*changed)(void *arg, const struct pk_store_alarm *alarm), void *arg);
pk_err pk_store_query_alarms(struct pk_store *store, struct pk_tenant_id tenant, bool wants_closed,
    void (*row)(void *arg, const struct pk_store_alarm *alarm), void *arg);
pk_err pk_store_find_tenant(struct pk_store *store, const char *name,
    struct pk_tenant_id *out_tenant); /* out 0 when unknown */
bool pk_store_ping(struct pk_store *store);

/* API keys: only BLAKE2b-256 of the key is stored. A key without tenant is an administrator's. */
struct pk_store_api_key {
    bool is_known, is_admin;
    char name[65];
    struct pk_tenant_id tenant;
};
pk_err pk_store_check_api_key(
    struct pk_store *store, const uint8_t key_hash[32], struct pk_store_api_key *out_key);
pk_err pk_store_add_api_key(struct pk_store *store, const char *name, struct pk_tenant_id tenant,
    const uint8_t key_hash[32]);
pk_err pk_store_has_admin_key(struct pk_store *store, bool *out_has);

#endif

/* Findings and what people do about them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pg_internal.h"

enum {
    DEFAULT_LIMIT = 10000
};

static const char *text_at(const PGresult *result, int row, int column)
{
    return PQgetvalue(result, row, column); /* text format: terminated */
}

static int64_t int_at(const PGresult *result, int row, int column)
{
    return strtoll(PQgetvalue(result, row, column), NULL, 10);
}

static struct pk_store_action action_at(const PGresult *r, int i, int column)
{
    return (struct pk_store_action){.action = text_at(r, i, column),
        .note = text_at(r, i, column + 1),
        .by_key = text_at(r, i, column + 2),
        .at_us = int_at(r, i, column + 3),
        .revision = (uint32_t)int_at(r, i, column + 4)};
}

pk_err pk_store_query_findings(struct pk_store *store, struct pk_tenant_id tenant,
    const struct pk_store_finding_query *query,
    bool (*row)(void *arg, const struct pk_store_told_finding *finding), void *arg)
{
    struct params params = {0};
    param_int(&params, tenant.v);
    param_int(&params, query->since_us);
    param_int(&params, query->min_severity);
    param_text(&params, query->id ? query->id : "");
    param_int(&params, (int64_t)(query->limit ? query->limit : DEFAULT_LIMIT));
    pk_err err = pg_begin_for(store, tenant);
    PGresult *result = NULL;
    if (err == PK_OK) {
        err = pg_query(store, "list findings",
            "select f.finding, f.revision, coalesce(a.action, ''), coalesce(a.note, ''), coalesce(a.by_key, ''), coalesce(a.at_us, 0), coalesce(a.revision, 0)"
            " from finding f left join (select distinct on (finding_id) finding_id, action, note, by_key, at_us, revision from finding_action"
            "  where tenant_id = $1::int and action <> 'note' order by finding_id, at_us desc) a on a.finding_id = f.id"
            " where f.tenant_id = $1::int and f.last_us >= $2::bigint and f.severity >= $3::smallint and ($4 = '' or f.id = $4)"
            " order by f.severity desc, f.last_us desc, f.id limit $5::bigint",
            &params, false, &result);
    }
    for (int i = 0; err == PK_OK && i < PQntuples(result); i++) {
        struct pk_store_told_finding finding = {.json = text_at(result, i, 0),
            .revision = (uint32_t)int_at(result, i, 1),
            .last = action_at(result, i, 2)};
        if (!row(arg, &finding)) {
            break;
        }
    }
    PQclear(result);
    return pg_end(store, err);
}

pk_err pk_store_query_actions(struct pk_store *store, struct pk_tenant_id tenant, const char *id,
    bool (*row)(void *arg, const struct pk_store_action *action), void *arg)
{
    struct params params = {0};
    param_int(&params, tenant.v);
    param_text(&params, id);
    pk_err err = pg_begin_for(store, tenant);
    PGresult *result = NULL;
    if (err == PK_OK) {
        err = pg_query(store, "list actions",
            "select action, note, by_key, at_us, revision from finding_action where tenant_id = $1::int and finding_id = $2 order by at_us",
            &params, false, &result);
    }
    for (int i = 0; err == PK_OK && i < PQntuples(result); i++) {
        struct pk_store_action action = action_at(result, i, 0);
        if (!row(arg, &action)) {
            break;
        }
    }
    PQclear(result);
    return pg_end(store, err);
}

/* Runs a statement that returns one row when it did something. */
static pk_err one_row(struct pk_store *store, const char *doing, const char *sql,
    const struct params *params, const char *otherwise, int64_t *out_value)
{
    PGresult *result;
    pk_err err = pg_query(store, doing, sql, params, false, &result);
    if (err == PK_OK && PQntuples(result) == 0) {
        err = pg_fail(store, PK_ERR_CONFIG, otherwise);
    } else if (err == PK_OK && out_value) {
        *out_value = int_at(result, 0, 0);
    }
    PQclear(result);
    return err;
}

pk_err pk_store_act_on_finding(struct pk_store *store, struct pk_tenant_id tenant, const char *id,
    const struct pk_store_action *action)
{
    struct params params = {0};
    param_int(&params, tenant.v);
    param_text(&params, id);
    param_int(&params, now_us());
    param_text(&params, action->action);
    param_text(&params, action->note);
    param_text(&params, action->by_key);
    return one_row(store, "act on finding",
        "insert into finding_action (tenant_id, finding_id, at_us, action, note, by_key, revision)"
        " select tenant_id, id, $3::bigint, $4, $5, $6, revision from finding where tenant_id = $1::int and id = $2 returning 1",
        &params, "there is no such finding", NULL);
}

pk_err pk_store_query_suppressions(struct pk_store *store, struct pk_tenant_id tenant,
    bool with_ended, bool (*row)(void *arg, const struct pk_store_suppression *suppression),
    void *arg)
{
    struct params params = {0};
    param_int(&params, tenant.v);
    param_int(&params, with_ended ? INT64_MIN : now_us());
    param_int(&params, PK_MAX_SUPPRESSIONS);
    pk_err err = pg_begin_for(store, tenant);
    PGresult *result = NULL;
    if (err == PK_OK) {
        err = pg_query(store, "list suppressions",
            "select suppression_id, detector, actor, zone, reason, by_key, from_us, until_us from suppression"
            " where tenant_id = $1::int and until_us > $2::bigint order by suppression_id desc limit $3::bigint",
            &params, false, &result);
    }
    for (int i = 0; err == PK_OK && i < PQntuples(result); i++) {
        struct pk_store_suppression suppression = {.id = (uint32_t)int_at(result, i, 0),
            .detector = text_at(result, i, 1),
            .actor = text_at(result, i, 2),
            .zone = text_at(result, i, 3),
            .reason = text_at(result, i, 4),
            .by_key = text_at(result, i, 5),
            .from_us = int_at(result, i, 6),
            .until_us = int_at(result, i, 7)};
        if (!row(arg, &suppression)) {
            break;
        }
    }
    PQclear(result);
    return pg_end(store, err);
}

pk_err pk_store_add_suppression(struct pk_store *store, struct pk_tenant_id tenant,
    const struct pk_store_suppression *suppression, uint32_t *out_id)
{
    struct params params = {0};
    int64_t id = 0;
    param_int(&params, tenant.v);
    param_text(&params, suppression->detector);
    param_text(&params, suppression->actor);
    param_text(&params, suppression->zone);
    param_text(&params, suppression->reason);
    param_text(&params, suppression->by_key);
    param_int(&params, now_us());
    param_int(&params, suppression->until_us);
    pk_err err = one_row(store, "add suppression",
        "insert into suppression (tenant_id, suppression_id, detector, actor, zone, reason, by_key, from_us, until_us)"
        " values ($1::int, nextval('suppression_id_seq'), $2, $3, $4, $5, $6, $7::bigint, $8::bigint) returning suppression_id",
        &params, "nothing was added", &id);
    if (err == PK_OK) {
        *out_id = (uint32_t)id;
    }
    return err;
}

pk_err pk_store_end_suppression(struct pk_store *store, struct pk_tenant_id tenant, uint32_t id)
{
    struct params params = {0};
    param_int(&params, tenant.v);
    param_int(&params, id);
    param_int(&params, now_us());
    return one_row(store, "end suppression",
        "update suppression set until_us = $3::bigint where tenant_id = $1::int and suppression_id = $2::int and until_us > $3::bigint returning 1",
        &params, "there is no such suppression, or it has ended", NULL);
}

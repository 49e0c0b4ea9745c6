/* Tokens, enrolment, and what an administrator says about one sensor. Every change raises control_version, so that the aggregator hears of it at once. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "picket/clock.h"

#include "pg_internal.h"

enum {
    MAX_NAMES = 1000 /* tried for one wish */
};

bool pk_store_parse_prefixes(
    const char *text, struct pk_prefix *out_prefixes, size_t max, size_t *out_n)
{
    size_t n = 0;
    for (const char *at = text; *at; n++) {
        char one[PK_PREFIX_TEXT_SIZE];
        size_t len = strcspn(at, ",");
        if (n == max || len == 0 || len >= sizeof one) {
            return false;
        }
        memcpy(one, at, len);
        one[len] = '\0';
        if (!pk_prefix_parse(one, &out_prefixes[n])) {
            return false;
        }
        at += len + (at[len] == ',');
    }
    *out_n = n;
    return true;
}

/* --- where the mesh is --- */

pk_err pk_store_announce(struct pk_store *store, const struct pk_store_aggregator *aggregator)
{
    struct params params = {0};
    param_bytes(&params, aggregator->pubkey, PK_KEY_BYTES);
    param_text(&params, aggregator->endpoints);
    param_text(&params, aggregator->enrol_endpoint);
    param_int(&params, now_us());
    return pg_exec(store, "announce aggregator",
        "insert into aggregator (pubkey, endpoints, enrol_endpoint, at_us) values ($1, $2, $3, $4::bigint)"
        " on conflict (pubkey) do update set endpoints = excluded.endpoints, enrol_endpoint = excluded.enrol_endpoint, at_us = excluded.at_us",
        &params);
}

static void copy_field(const PGresult *result, int row, int column, char *out, size_t size)
{
    struct pk_slice text = get_bytes(result, row, column);
    size_t n = text.len < size - 1 ? text.len : size - 1;
    memcpy(out, text.data, n);
    out[n] = '\0';
}

pk_err pk_store_find_aggregator(struct pk_store *store, struct pk_store_aggregator *out_aggregator)
{
    PGresult *result;
    pk_err err = pg_query(store, "find aggregator",
        "select pubkey, endpoints, enrol_endpoint from aggregator order by at_us desc limit 1",
        NULL, true, &result);
    if (err == PK_OK && PQntuples(result) == 1) {
        struct pk_slice key = get_bytes(result, 0, 0);
        memcpy(out_aggregator->pubkey, key.data, key.len < PK_KEY_BYTES ? key.len : PK_KEY_BYTES);
        copy_field(result, 0, 1, out_aggregator->endpoints, sizeof out_aggregator->endpoints);
        copy_field(
            result, 0, 2, out_aggregator->enrol_endpoint, sizeof out_aggregator->enrol_endpoint);
    } else if (err == PK_OK) {
        err = pg_fail(store, PK_ERR_CONFIG, "no aggregator has run on this database yet");
    }
    PQclear(result);
    return err;
}

/* --- tokens --- */

pk_err pk_store_add_token(struct pk_store *store, const struct pk_store_token *token)
{
    int64_t tenant = 0, site = 0;
    pk_err err = pg_begin(store);
    if (err != PK_OK) {
        return err;
    }
    err = pg_find_site(store, token->tenant, token->site, &tenant, &site);
    if (err == PK_OK) {
        struct params params = {0};
        param_bytes(&params, token->id, sizeof token->id);
        param_bytes(&params, token->secret_hash, sizeof token->secret_hash);
        param_int(&params, tenant);
        param_int(&params, site);
        param_int(&params, token->n_uses);
        param_int(&params, token->until_us);
        param_text(&params, token->allowed_from);
        param_int(&params, token->needs_approval);
        param_int(&params, token->is_fleet);
        param_int(&params, now_us());
        param_int(&params, token->stale_after_s);
        err = pg_exec(store, "add token",
            "insert into enrol_token (token_id, secret_hash, tenant_id, site_id, uses_left, until_us, allowed_from, needs_approval, is_fleet, added_us, stale_after_s)"
            " values ($1, $2, $3::int, $4::int, $5::int, $6::bigint, $7, $8::int::boolean, $9::int::boolean, $10::bigint, $11::int)",
            &params);
    }
    if (err == PK_OK) {
        err = pg_raise_version(store);
    }
    return pg_end(store, err);
}

pk_err pk_store_list_tokens(struct pk_store *store,
    bool (*row)(void *arg, const struct pk_store_token_row *token), void *arg)
{
    PGresult *result;
    struct params params = {0};
    param_int(&params, now_us());
    pk_err err = pg_query(store, "list tokens",
        "select k.token_id, t.name, s.name, k.uses_left, k.failures, k.until_us, k.needs_approval::int, k.is_fleet::int, k.stale_after_s"
        " from enrol_token k join tenant t using (tenant_id) join site s on s.tenant_id = k.tenant_id and s.site_id = k.site_id"
        " where k.until_us > $1::bigint and " PG_TOKEN_IS_OPEN " order by k.added_us desc",
        &params, true, &result);
    for (int i = 0; err == PK_OK && i < PQntuples(result); i++) {
        struct pk_store_token_row token = {.uses_left = (uint32_t)get_int(result, i, 3),
            .failures = (uint32_t)get_int(result, i, 4),
            .stale_after_s = (uint32_t)get_int(result, i, 8),
            .until_us = get_int(result, i, 5),
            .needs_approval = get_int(result, i, 6) != 0,
            .is_fleet = get_int(result, i, 7) != 0};
        struct pk_slice id = get_bytes(result, i, 0);
        memcpy(token.id, id.data, id.len < sizeof token.id ? id.len : sizeof token.id);
        copy_field(result, i, 1, token.tenant, sizeof token.tenant);
        copy_field(result, i, 2, token.site, sizeof token.site);
        if (!row(arg, &token)) {
            break;
        }
    }
    PQclear(result);
    return err;
}

pk_err pk_store_close_token(struct pk_store *store, const uint8_t id[PK_TOKEN_ID_BYTES])
{
    PGresult *result = NULL;
    struct params params = {0};
    pk_err err = pg_begin(store);
    if (err != PK_OK) {
        return err;
    }
    param_bytes(&params, id, PK_TOKEN_ID_BYTES);
    param_int(&params, now_us());
    err = pg_query(store, "close token",
        "update enrol_token set until_us = least(until_us, $2::bigint), uses_left = 0 where token_id = $1 returning tenant_id",
        &params, true, &result);
    if (err == PK_OK && PQntuples(result) == 0) {
        err = pg_fail(store, PK_ERR_CONFIG, "there is no token of this id");
    }
    PQclear(result);
    if (err == PK_OK) {
        err = pg_raise_version(store);
    }
    return pg_end(store, err);
}

/* A token as it stands, locked until the end of the transaction. */
struct token_row {
    bool is_there;
    int64_t tenant, site, uses_left;
    bool needs_approval, is_fleet, is_good;
};

static bool is_allowed(const char *allowed_from, const struct pk_addr *from)
{
    struct pk_prefix prefixes[16];
    size_t n = 0;
    bool is_in = *allowed_from == '\0';
    if (!pk_store_parse_prefixes(allowed_from, prefixes, 16, &n)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        is_in = is_in || pk_prefix_contains(&prefixes[i], from);
    }
    return is_in;
}

static pk_err read_token(struct pk_store *store, const struct pk_enrol_request *request,
    const struct pk_addr *from, const struct pk_store_gate *gate, struct token_row *out_row,
    struct pk_store_enrolled *out)
{
    PGresult *result;
    struct params params = {0};
    param_bytes(&params, request->id, sizeof request->id);
    pk_err err = pg_query(store, "read token",
        "select k.tenant_id, k.site_id, k.uses_left, k.until_us, k.needs_approval::int, k.is_fleet::int, k.secret_hash, k.allowed_from, t.name, s.name"
        " from enrol_token k join tenant t using (tenant_id) join site s on s.tenant_id = k.tenant_id and s.site_id = k.site_id"
        " where k.token_id = $1 and not t.is_retired and not s.is_retired for update of k",
        &params, true, &result);
    if (err == PK_OK && PQntuples(result) == 1) {
        uint8_t digest[32];
        char allowed_from[1024];
        pk_token_digest(request->secret, digest);
        struct pk_slice hash = get_bytes(result, 0, 6);
        copy_field(result, 0, 7, allowed_from, sizeof allowed_from);
        *out_row = (struct token_row){.is_there = true,
            .tenant = get_int(result, 0, 0),
            .site = get_int(result, 0, 1),
            .uses_left = get_int(result, 0, 2),
            .needs_approval = get_int(result, 0, 4) != 0,
            .is_fleet = get_int(result, 0, 5) != 0};
        out_row->is_good = hash.len == sizeof digest &&
                           sodium_memcmp(hash.data, digest, sizeof digest) == 0 &&
                           get_int(result, 0, 3) > now_us() && is_allowed(allowed_from, from);
        copy_field(result, 0, 8, out->tenant, sizeof out->tenant);
        copy_field(result, 0, 9, out->site, sizeof out->site);
        out_row->is_good = out_row->is_good && gate->may_come(gate->arg, out->tenant, from);
    }
    PQclear(result);
    return err;
}

/* An identity that was taken for gone is there again, and takes a use again. Without one it stays refused. */
static pk_err revive(struct pk_store *store, const struct token_row *token,
    const struct pk_enrol_request *request, int64_t sensor, bool *out_revived)
{
    struct params params = {0}, use = {0};
    *out_revived = token->uses_left > 0;
    if (!*out_revived) {
        return PK_OK;
    }
    param_int(&params, token->tenant);
    param_int(&params, sensor);
    pk_err err = pg_exec(store, "revive sensor",
        "update sensor set is_active = true, stale_us = null where tenant_id = $1::int and sensor_id = $2::int",
        &params);
    param_bytes(&use, request->id, sizeof request->id);
    param_int(&use, now_us());
    return err == PK_OK
               ? pg_exec(store, "take a use",
                     "update enrol_token set uses_left = uses_left - 1, used_us = $2::bigint where token_id = $1",
                     &use)
               : err;
}

/* The same key once more: the answer may have been lost on its way, or a container of a fleet starts again. *out_known: the key is somebody's; the result stands when it came by this token, lately unless
 * it is a fleet's, or when the token is another one for the place where it stands: the first is used up, and who has the key has the sensor. */
static pk_err find_same_key(struct pk_store *store, const struct token_row *token,
    const struct pk_enrol_request *request, const uint8_t *pubkey, bool *out_known,
    struct pk_store_enrolled *out)
{
    PGresult *result;
    struct params params = {0};
    param_bytes(&params, pubkey, PK_KEY_BYTES);
    param_bytes(&params, request->id, sizeof request->id);
    param_int(&params, token->is_fleet ? 0 : now_us() - 3600 * PK_US_PER_S);
    param_int(&params, token->tenant);
    param_int(&params, token->site);
    pk_err err = pg_query(store, "find key",
        "select s.sensor_id, s.name, s.is_pending::int, (k.is_active and ((coalesce(k.token_id = $2, false) and k.added_us > $3::bigint and (s.is_active or s.stale_us is not null))"
        " or (s.is_active and s.tenant_id = $4::int and exists (select from site_assignment a where a.tenant_id = s.tenant_id and a.sensor_id = s.sensor_id and a.site_id = $5::int"
        " and a.to_us = 9223372036854775807))))::int,"
        " (s.stale_us is not null)::int from sensor_key k join sensor s on s.tenant_id = k.tenant_id and s.sensor_id = k.sensor_id where k.pubkey = $1",
        &params, true, &result);
    if (err == PK_OK && PQntuples(result) == 1) {
        *out_known = true;
        bool is_same = get_int(result, 0, 3) != 0;
        if (is_same && get_int(result, 0, 4) != 0) {
            err = revive(store, token, request, get_int(result, 0, 0), &is_same);
        }
        if (is_same) {
            out->result = get_int(result, 0, 2) ? PK_STORE_ENROL_PENDING : PK_STORE_ENROLLED;
            out->sensor.v = (uint32_t)get_int(result, 0, 0);
            copy_field(result, 0, 1, out->name, sizeof out->name);
        }
    }
    PQclear(result);
    return err;
}

static pk_err add_key(struct pk_store *store, int64_t tenant, int64_t sensor, const uint8_t *pubkey,
    const struct pk_enrol_request *request)
{
    struct params params = {0};
    param_bytes(&params, pubkey, PK_KEY_BYTES);
    param_int(&params, tenant);
    param_int(&params, sensor);
    param_int(&params, now_us());
    param_bytes(&params, request->id, sizeof request->id);
    return pg_exec(store, "add key",
        "insert into sensor_key (pubkey, tenant_id, sensor_id, added_us, token_id) values ($1, $2::int, $3::int, $4::bigint, $5)",
        &params);
}

/* A fleet's newcomer whose node is known: the same sensor with a new key; the keys of before are of containers that are gone. */
static pk_err join_fleet(struct pk_store *store, const struct token_row *token,
    const struct pk_enrol_request *request, const uint8_t *pubkey, bool *out_joined,
    struct pk_store_enrolled *out)
{
    PGresult *result;
    struct params params = {0};
    param_int(&params, token->tenant);
    param_text(&params, request->name);
    param_bytes(&params, request->id, sizeof request->id);
    pk_err err = pg_query(store, "find node",
        "select sensor_id, is_pending::int, (stale_us is not null)::int from sensor where tenant_id = $1::int and name = $2 and fleet_token = $3 and (is_active or stale_us is not null)",
        &params, true, &result);
    bool is_there = err == PK_OK && PQntuples(result) == 1;
    if (is_there && get_int(result, 0, 2) != 0) {
        err = revive(store, token, request, get_int(result, 0, 0), &is_there);
        *out_joined = true; /* also when it cannot be: nobody else takes its name */
    }
    if (err == PK_OK && is_there) {
        int64_t sensor = get_int(result, 0, 0);
        struct params old = {0};
        param_int(&old, token->tenant);
        param_int(&old, sensor);
        err = pg_exec(store, "retire keys",
            "update sensor_key set is_active = false where tenant_id = $1::int and sensor_id = $2::int",
            &old);
        err = err == PK_OK ? add_key(store, token->tenant, sensor, pubkey, request) : err;
        out->result = get_int(result, 0, 1) ? PK_STORE_ENROL_PENDING : PK_STORE_ENROLLED;
        out->sensor.v = (uint32_t)sensor;
        snprintf(out->name, sizeof out->name, "%s", request->name);
        *out_joined = true;
    }
    PQclear(result);
    return err;
}

/* The wished name, or that with the first number that is free. */
static pk_err free_name(
    struct pk_store *store, int64_t tenant, const char *wish, const char *site, char out[65])
{
    for (int i = 1; i < MAX_NAMES; i++) {
        PGresult *result;
        struct params params = {0};
        const char *base = *wish ? wish : site;
        if (i == 1) {
            snprintf(out, 65, "%s", base);
        } else {
            snprintf(out, 65, "%.58s-%d", base, i);
        }
        param_int(&params, tenant);
        param_text(&params, out);
        pk_err err = pg_query(store, "look for a name",
            "select count(*) from sensor where tenant_id = $1::int and name = $2", &params, true,
            &result);
        bool is_free = err == PK_OK && get_int(result, 0, 0) == 0;
        PQclear(result);
        if (err != PK_OK || is_free) {
            return err;
        }
    }
    return pg_fail(store, PK_ERR_LIMIT, "too many sensors of this name");
}

static pk_err add_newcomer(struct pk_store *store, const struct token_row *token,
    const struct pk_enrol_request *request, const uint8_t *pubkey, struct pk_store_enrolled *out)
{
    int64_t sensor = 0;
    pk_err err = free_name(store, token->tenant, request->name, out->site, out->name);
    if (err == PK_OK) {
        PGresult *result;
        struct params params = {0};
        param_int(&params, token->tenant);
        param_text(&params, out->name);
        param_int(&params, now_us());
        param_int(&params, token->needs_approval);
        param_bytes(&params, request->id, sizeof request->id);
        param_int(&params, token->is_fleet);
        err = pg_query(store, "enrol sensor",
            "insert into sensor (tenant_id, sensor_id, name, added_us, is_pending, fleet_token)"
            " values ($1::int, nextval('sensor_id_seq'), $2, $3::bigint, $4::int::boolean, case when $6::int = 1 then $5::bytea end) returning sensor_id",
            &params, true, &result);
        sensor = err == PK_OK ? get_int(result, 0, 0) : 0;
        PQclear(result);
    }
    if (err == PK_OK) {
        err = add_key(store, token->tenant, sensor, pubkey, request);
    }
    if (err == PK_OK) {
        struct params place = {0};
        param_int(&place, token->tenant);
        param_int(&place, sensor);
        param_int(&place, token->site);
        param_int(&place, now_us());
        err = pg_exec(store, "assign sensor",
            "insert into site_assignment (tenant_id, sensor_id, site_id, from_us) values ($1::int, $2::int, $3::int, $4::bigint)",
            &place);
    }
    if (err == PK_OK) {
        struct params use = {0};
        param_bytes(&use, request->id, sizeof request->id);
        param_int(&use, now_us());
        err = pg_exec(store, "take a use",
            "update enrol_token set uses_left = uses_left - 1, used_us = $2::bigint where token_id = $1",
            &use);
    }
    out->sensor.v = (uint32_t)sensor;
    out->result = token->needs_approval ? PK_STORE_ENROL_PENDING : PK_STORE_ENROLLED;
    return err;
}

/* A token that is guessed at closes for good after a hundred wrong secrets. */
static pk_err count_failure(struct pk_store *store, const struct pk_enrol_request *request)
{
    struct params params = {0};
    param_bytes(&params, request->id, sizeof request->id);
    return pg_exec(store, "count failure",
        "update enrol_token set failures = failures + 1, uses_left = case when failures >= 99 then 0 else uses_left end where token_id = $1",
        &params);
}

pk_err pk_store_enrol(struct pk_store *store, const struct pk_enrol_request *request,
    const uint8_t pubkey[PK_KEY_BYTES], const struct pk_addr *from,
    const struct pk_store_gate *gate, struct pk_store_enrolled *out_enrolled)
{
    struct pk_store_enrolled enrolled = {.result = PK_STORE_ENROL_REFUSED};
    struct token_row token = {0};
    bool is_known = false, has_joined = false;
    pk_err err = pg_begin(store);
    if (err != PK_OK) {
        return err;
    }
    err = read_token(store, request, from, gate, &token, &enrolled);
    if (err == PK_OK && token.is_good) {
        err = find_same_key(store, &token, request, pubkey, &is_known, &enrolled);
    }
    if (err == PK_OK && token.is_good && !is_known && token.is_fleet && *request->name) {
        err = join_fleet(store, &token, request, pubkey, &has_joined, &enrolled);
    }
    if (err == PK_OK && token.is_good && !is_known && !has_joined && token.uses_left > 0) {
        err = add_newcomer(store, &token, request, pubkey, &enrolled);
    }
    if (err == PK_OK && enrolled.result == PK_STORE_ENROL_REFUSED && token.is_there) {
        err = count_failure(store, request);
    }
    if (err == PK_OK && enrolled.result != PK_STORE_ENROL_REFUSED) {
        err = pg_raise_version(store);
    }
    err = pg_end(store, err);
    if (err == PK_OK) {
        *out_enrolled = enrolled;
    }
    return err;
}

/* --- one sensor --- */

static pk_err find_sensor(struct pk_store *store, const char *tenant, const char *name,
    int64_t *out_tenant, int64_t *out_sensor)
{
    PGresult *result;
    struct params params = {0};
    param_text(&params, tenant);
    param_text(&params, name);
    pk_err err = pg_query(store, "find sensor",
        "select s.tenant_id, s.sensor_id from sensor s join tenant t using (tenant_id) where t.name = $1 and s.name = $2",
        &params, true, &result);
    if (err == PK_OK && PQntuples(result) == 1) {
        *out_tenant = get_int(result, 0, 0);
        *out_sensor = get_int(result, 0, 1);
    } else if (err == PK_OK) {
        snprintf(
            store->error, sizeof store->error, "there is no sensor %s of tenant %s", name, tenant);
        err = PK_ERR_CONFIG;
    }
    PQclear(result);
    return err;
}

static pk_err move_sensor(
    struct pk_store *store, int64_t tenant, int64_t sensor, const char *tenant_name, const char *to)
{
    int64_t to_tenant = 0, site = 0, now = now_us();
    pk_err err = pg_find_site(store, tenant_name, to, &to_tenant, &site);
    if (err == PK_OK) {
        struct params end = {0};
        param_int(&end, tenant);
        param_int(&end, sensor);
        param_int(&end, now);
        err = pg_exec(store, "end assignment",
            "update site_assignment set to_us = $3::bigint where tenant_id = $1::int and sensor_id = $2::int and to_us = 9223372036854775807",
            &end);
    }
    if (err == PK_OK) {
        struct params place = {0};
        param_int(&place, tenant);
        param_int(&place, sensor);
        param_int(&place, site);
        param_int(&place, now);
        err = pg_exec(store, "assign sensor",
            "insert into site_assignment (tenant_id, sensor_id, site_id, from_us) values ($1::int, $2::int, $3::int, $4::bigint)",
            &place);
    }
    return err;
}

pk_err pk_store_change_sensor(struct pk_store *store, const char *tenant_name, const char *name,
    enum pk_store_sensor_change change, const char *text)
{
    int64_t tenant = 0, sensor = 0;
    pk_err err = pg_begin(store);
    if (err != PK_OK) {
        return err;
    }
    err = find_sensor(store, tenant_name, name, &tenant, &sensor);
    struct params params = {0};
    param_int(&params, tenant);
    param_int(&params, sensor);
    if (err == PK_OK) {
        switch (change) {
        case PK_STORE_SENSOR_REVOKE:
            err = pg_exec(store, "revoke sensor",
                "update sensor set is_active = false, stale_us = null where tenant_id = $1::int and sensor_id = $2::int",
                &params);
            break;
        case PK_STORE_SENSOR_APPROVE:
            err = pg_exec(store, "approve sensor",
                "update sensor set is_pending = false where tenant_id = $1::int and sensor_id = $2::int",
                &params);
            break;
        case PK_STORE_SENSOR_MOVE:
            err = move_sensor(store, tenant, sensor, tenant_name, text);
            break;
        case PK_STORE_SENSOR_LIMIT:
            param_text(&params, text);
            err = pg_exec(store, "limit sensor",
                "update sensor set allowed_from = $3 where tenant_id = $1::int and sensor_id = $2::int",
                &params);
            break;
        }
    }
    if (err == PK_OK) {
        err = pg_raise_version(store);
    }
    return pg_end(store, err);
}

/* A file of the ring says by its name which scope was in force; `read-<scope>-<file>` beside it says under which it was read again. A row goes out when none of these had it in scope and the new one
 * has. Files that are still being written are not looked at. */
#include "ship/reread.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "picket/clock.h"
#include "picket/codec.h"
#include "picket/hash.h"
#include "picket/limits.h"
#include "picket/segment.h"

#include "ship/psp_file.h"
#include "ship/ring.h"
#include "window/client.h"

enum {
    MAX_SCOPES =
        64, /* of one file: the one it was written under and those it was read again under */
    MAX_FILE = 64 << 20,
};

struct reread {
    const struct pk_settings *settings;
    const char *folder;
    const uint8_t *client_key;
    int64_t since_us;
    char digest[PK_RING_DIGEST_SIZE];
    struct pk_client_rules rules;
    struct pk_scope *scopes[MAX_SCOPES]; /* of the file in hand */
    const struct pk_scope_tenant *tenants[MAX_SCOPES];
    size_t n_scopes;
    struct pk_stats stats;
    struct pk_batcher *batcher;
    struct pk_batch_builder *builder;
    struct pk_psp_file *out;
    FILE *list;
    uint64_t n_rows;
    char *error;
};

static pk_err fail(struct reread *r, pk_err err, const char *path, const char *what)
{
    snprintf(r->error, PK_REREAD_ERROR_SIZE, "%.400s: %s", path, what);
    return err;
}

/* --- which scopes had a file's rows --- */

static void forget_scopes(struct reread *r)
{
    for (size_t i = 0; i < r->n_scopes; i++) {
        pk_scope_free(r->scopes[i]);
    }
    r->n_scopes = 0;
}

static pk_err know_scope(struct reread *r, const char *digest)
{
    char path[PK_REREAD_PATH_SIZE], error[PK_CONF_ERROR_SIZE];
    const struct pk_scope_site *site;
    snprintf(path, sizeof path, "%s/scope-%.16s.yaml", r->folder, digest);
    if (r->n_scopes == MAX_SCOPES) {
        return fail(r, PK_ERR_LIMIT, path, "read again too often");
    }
    struct pk_scope **scope = &r->scopes[r->n_scopes];
    if (pk_scope_load(path, scope, error) != PK_OK) {
        return fail(r, PK_ERR_CONFIG, path, error);
    }
    if (pk_scope_find_site(
            *scope, r->settings->config.site, &r->tenants[r->n_scopes], &site, error) != PK_OK) {
        pk_scope_free(*scope);
        return fail(r, PK_ERR_CONFIG, path, error);
    }
    r->n_scopes++;
    return PK_OK;
}

/* ring-<16>-<writer>-<digest>.psp */
static const char *digest_of(const char *name)
{
    const char *dash = strrchr(name, '-');
    return dash && strlen(dash + 1) == PK_RING_DIGEST_SIZE - 1 + 4 ? dash + 1 : NULL;
}

static pk_err know_scopes(struct reread *r, const char *name)
{
    const char *own = digest_of(name);
    forget_scopes(r);
    if (!own) {
        return fail(r, PK_ERR_MALFORMED, name, "is no name of the ring's");
    }
    pk_err err = know_scope(r, own);
    DIR *dir = opendir(r->folder);
    for (struct dirent *entry; err == PK_OK && dir && (entry = readdir(dir));) {
        bool is_mark = strncmp(entry->d_name, "read-", 5) == 0 && strlen(entry->d_name) > 22 &&
                       strcmp(entry->d_name + 22, name) == 0; /* read-<16>-<name> */
        if (is_mark) {
            err = know_scope(r, entry->d_name + 5);
        }
    }
    if (dir) {
        closedir(dir);
    }
    return err;
}

static bool has_left(
    const struct reread *r, const struct pk_name *name, const struct pk_activity *row)
{
    for (size_t i = 0; i < r->n_scopes; i++) {
        if (pk_scope_match(r->tenants[i], name, row->signature.qtype, row->signature.qclass,
                NULL) != PK_SCOPE_NOT) {
            return true;
        }
    }
    return false;
}

/* --- rows --- */

static pk_err take_batch(struct reread *r, const struct pk_batch *batch)
{
    pk_err err = PK_OK;
    const struct pk_scope_tenant *tenant = r->settings->tenant;
    struct pk_batch_info info = *pk_batch_info(batch);
    pk_client_rules_set(&r->rules, tenant, r->settings->site, r->client_key, info.window_start_us);
    r->rules.declared = r->settings->pushed_version == 0 ? tenant : NULL;
    info.privacy = r->client_key ? PK_PRIVACY_PSEUDONYMS : PK_PRIVACY_NO_CLIENTS;
    info.key_period = r->rules.period;
    pk_batch_builder_begin(r->builder, &info);
    for (size_t i = 0; i < pk_batch_rows(batch) && err == PK_OK; i++) {
        struct pk_activity row;
        struct pk_name name;
        pk_batch_activity(batch, i, &row);
        if (row.first_us < r->since_us ||
            pk_name_from_wire(row.name.data, row.name.len, &name) != PK_OK ||
            pk_scope_match(tenant, &name, row.signature.qtype, row.signature.qclass, NULL) ==
                PK_SCOPE_NOT ||
            has_left(r, &name, &row)) {
            continue;
        }
        row.client = pk_client_of(&r->rules, &row.client.addr);
        err = pk_batch_add_activity(r->builder, &row);
        if (err == PK_ERR_LIMIT) {
            pk_batcher_seal(r->batcher, r->builder, PK_BATCH_ACTIVITY);
            pk_batch_builder_begin(r->builder, &info);
            err = pk_batch_add_activity(r->builder, &row);
        }
        r->n_rows++;
    }
    pk_batcher_seal(
        r->batcher, r->builder, PK_BATCH_ACTIVITY); /* no health: nothing was captured */
    return err;
}

static pk_err take_record(struct reread *r, const struct pk_segment_record *record)
{
    struct pk_bytes unpacked;
    struct pk_batch *batch = NULL;
    struct pk_batch_fault fault;
    const uint8_t *body;
    size_t len;
    if (record->kind != PK_BATCH_ACTIVITY || record->last_us < r->since_us) {
        return PK_OK;
    }
    pk_bytes_init(&unpacked, PK_MAX_BODY_BYTES);
    pk_err err = pk_unpack(record->codec, record->body, record->body_len, &unpacked, &body, &len);
    err = err == PK_OK ? pk_batch_decode(body, len, &batch, &fault) : err;
    if (err == PK_OK && pk_batch_info(batch)->kind == PK_BATCH_ACTIVITY) {
        err = take_batch(r, batch);
    }
    pk_batch_free(batch);
    pk_bytes_done(&unpacked);
    return err;
}

static pk_err take_file(struct reread *r, const char *name)
{
    char path[PK_REREAD_PATH_SIZE];
    struct pk_bytes data;
    struct pk_segment_header header;
    size_t pos = PK_SEGMENT_HEADER_BYTES;
    snprintf(path, sizeof path, "%s/%.255s", r->folder, name);
    pk_bytes_init(&data, MAX_FILE);
    pk_err err = know_scopes(r, name);
    err = err == PK_OK ? pk_bytes_read_file(&data, path) : err;
    if (err == PK_OK) {
        err = pk_segment_header_decode(data.data, data.len, &header);
    }
    while (err == PK_OK && pos < data.len) {
        struct pk_segment_record record;
        err = pk_segment_record_decode(data.data, data.len, &pos, &record);
        err = err == PK_OK ? take_record(r, &record) : err;
    }
    pk_bytes_done(&data);
    if (err != PK_OK && !r->error[0]) {
        return fail(r, err, path, pk_err_str(err));
    }
    if (err == PK_OK && fprintf(r->list, "%s\n", name) < 0) {
        return fail(r, PK_ERR_IO, path, "cannot be listed");
    }
    return err;
}

static int is_ring_file(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);
    return strncmp(entry->d_name, "ring-", 5) == 0 && len > 4 &&
           strcmp(entry->d_name + len - 4, ".psp") == 0;
}

static pk_err take_files(struct reread *r)
{
    struct dirent **entries;
    int n = scandir(r->folder, &entries, is_ring_file, alphasort);
    pk_err err = n >= 0 ? PK_OK : fail(r, PK_ERR_IO, r->folder, strerror(errno));
    for (int i = 0; i < n; i++) {
        err = err == PK_OK ? take_file(r, entries[i]->d_name) : err;
        free(entries[i]);
    }
    if (n >= 0) {
        free(entries);
    }
    return err;
}

static void pending_paths(const char *folder, const char *digest, char psp[PK_REREAD_PATH_SIZE],
    char list[PK_REREAD_PATH_SIZE])
{
    snprintf(psp, PK_REREAD_PATH_SIZE, "%s/pending-%s.psp", folder, digest);
    snprintf(list, PK_REREAD_PATH_SIZE, "%s/pending-%s.list", folder, digest);
}

static pk_err make(struct reread *r, const char *psp, const char *list)
{
    char error[PK_PSP_ERROR_SIZE];
    int64_t now_us = pk_clock_wall_us();
    uint64_t epoch =
        ((uint64_t)(now_us / PK_US_PER_S) << 16 | (pk_hash(&now_us, sizeof now_us) & 0xffff)) &
        INT64_MAX;
    r->list = fopen(list, "we");
    pk_err err = r->list ? PK_OK : fail(r, PK_ERR_IO, list, strerror(errno));
    if (err == PK_OK) {
        err = pk_psp_file_create(psp, now_us, epoch, true, &r->out, error);
        err = err == PK_OK ? pk_batcher_new(&r->stats, pk_psp_file_append, r->out, &r->batcher)
                           : fail(r, err, psp, error);
    }
    if (err == PK_OK) {
        err = pk_batch_builder_new(PK_MAX_BATCH_ROWS, &r->builder);
        err = err == PK_OK ? take_files(r) : err;
    }
    err = err == PK_OK ? pk_batcher_err(r->batcher) : err;
    if (r->list && fclose(r->list) != 0 && err == PK_OK) {
        err = fail(r, PK_ERR_IO, list, strerror(errno));
    }
    pk_err close_err = pk_psp_file_close(r->out, err == PK_OK && r->n_rows > 0, error);
    if (err == PK_OK && close_err != PK_OK) {
        err = fail(r, close_err, psp, error);
    }
    if (err != PK_OK || r->n_rows == 0) {
        (void)unlink(list);
    }
    return err;
}

pk_err pk_reread_make(const struct pk_settings *settings, const uint8_t *client_key,
    int64_t since_us, char out_path[PK_REREAD_PATH_SIZE], uint64_t *out_rows,
    char out_error[PK_REREAD_ERROR_SIZE])
{
    struct reread r = {.settings = settings,
        .folder = settings->config.ring_folder,
        .client_key = client_key,
        .since_us = since_us,
        .error = out_error};
    char list[PK_REREAD_PATH_SIZE];
    out_error[0] = '\0';
    pk_client_rules_forget(&r.rules);
    if (pk_ring_keep_scope(r.folder, &settings->scope_text, r.digest) != PK_OK) {
        return fail(&r, PK_ERR_IO, r.folder, strerror(errno));
    }
    pending_paths(r.folder, r.digest, out_path, list);
    if (access(out_path, F_OK) == 0) {
        *out_rows = 1; /* as many as it holds */
        return PK_OK;
    }
    pk_err err = make(&r, out_path, list);
    forget_scopes(&r);
    pk_batch_builder_free(r.builder);
    pk_batcher_free(r.batcher);
    pk_client_rules_forget(&r.rules);
    if (err == PK_OK) {
        *out_rows = r.n_rows;
    }
    return err;
}

pk_err pk_reread_done(const struct pk_settings *settings, char out_error[PK_REREAD_ERROR_SIZE])
{
    struct reread r = {
        .settings = settings, .folder = settings->config.ring_folder, .error = out_error};
    char psp[PK_REREAD_PATH_SIZE], list[PK_REREAD_PATH_SIZE], mark[PK_REREAD_PATH_SIZE], name[256];
    if (pk_ring_keep_scope(r.folder, &settings->scope_text, r.digest) != PK_OK) {
        return fail(&r, PK_ERR_IO, r.folder, strerror(errno));
    }
    pending_paths(r.folder, r.digest, psp, list);
    FILE *names = fopen(list, "re");
    pk_err err = names ? PK_OK : fail(&r, PK_ERR_IO, list, strerror(errno));
    while (err == PK_OK && fgets(name, sizeof name, names)) {
        name[strcspn(name, "\n")] = '\0';
        snprintf(mark, sizeof mark, "%s/read-%s-%s", r.folder, r.digest, name);
        int fd = open(mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        err = fd >= 0 ? PK_OK : fail(&r, PK_ERR_IO, mark, strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
    }
    if (names) {
        (void)fclose(names); /* was only read */
    }
    if (err == PK_OK && (unlink(psp) != 0 || unlink(list) != 0)) {
        err = fail(&r, PK_ERR_IO, psp, strerror(errno));
    }
    return err;
}

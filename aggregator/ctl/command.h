/* What picketctl's commands share: their arguments, asking the API, printing its answers. */
#ifndef CTL_COMMAND_H
#define CTL_COMMAND_H

#include <stdbool.h>

#include <jansson.h>

#include "client.h"

enum {
    PK_CTL_MAX_WORDS = 64
};

struct arguments {
    struct pk_api_client client;
    const char *file, *tenant, *site, *name, *pubkey, *severity, *since, *type, *note, *detector,
        *actor, *zone, *reason, *until, *ttl, *uses, *from, *client_key, *to, *number, *seed,
        *hours, *stale_after, *in, *candidates, *day, *days;
    bool as_json, wants_all, approve, fleet;
    const char *words[PK_CTL_MAX_WORDS]; /* the command itself is the first */
    int n_words;
};

/* Prints "picketctl: text" and returns status (sysexits). */
int ctl_fail(int status, const char *text);
/* Sends and checks; on EX_OK the answer is in out_body. It is the caller's to free in any case. */
int ctl_request(const struct arguments *arguments, const char *method, const char *path,
    const char *body, size_t body_len, struct pk_bytes *out_body);
/* POST with a JSON object, which is taken. */
int ctl_post(
    const struct arguments *arguments, const char *path, json_t *object, struct pk_bytes *out_body);
void ctl_put_text(struct pk_bytes *out, const char *text);
/* Appends separator, name=value (escaped) unless value is NULL; the separator becomes '&' then. */
void ctl_put_query(struct pk_bytes *path, char *separator, const char *name, const char *value);
/* path with ?tenant= when one was named; false when it is too long. */
bool ctl_path(const struct arguments *arguments, const char *path, char *out, size_t out_size);
/* A GET whose answer is a JSON list: a line of JSON each, or by print. */
int ctl_list(
    const struct arguments *arguments, const char *path, void (*print)(const json_t *list));
/* A text member, "" when it is not there. */
const char *ctl_text(const json_t *object, const char *key);
/* A list of texts with commas between. */
void ctl_join(const json_t *list, char *out, size_t size);

/* sensors.c */
int ctl_enroll(const struct arguments *arguments);
int ctl_tokens(const struct arguments *arguments);
int ctl_token_close(const struct arguments *arguments);
int ctl_sensor_change(const struct arguments *arguments);

/* findings.c */
int ctl_findings(const struct arguments *arguments);
int ctl_finding(const struct arguments *arguments);
int ctl_suppress(const struct arguments *arguments);
int ctl_unsuppress(const struct arguments *arguments);
int ctl_suppressions(const struct arguments *arguments);

/* exposure.c */
int ctl_exposure(const struct arguments *arguments);
int ctl_canary_list(const struct arguments *arguments);
int ctl_canary_make(const struct arguments *arguments);

/* resolve.c */
int ctl_resolve(const struct arguments *arguments);

#endif

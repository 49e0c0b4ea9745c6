#include "command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum {
    MAX_ANSWER = 256 << 20
};

int ctl_fail(int status, const char *text)
{
    fprintf(stderr, "picketctl: %s\n", text);
    return status;
}

/* The API's own sentence, when there is one. */
static int fail_status(long status, struct pk_bytes *body)
{
    json_t *root = json_loadb(body->data ? (const char *)body->data : "", body->len, 0, NULL);
    const char *why = json_string_value(json_object_get(root, "error"));
    if (why && strstr(why, "?tenant=NAME")) {
        why = "an administrator's key needs --tenant NAME here";
    }
    fprintf(stderr, "picketctl: %s (HTTP %ld)\n", why ? why : "the API refused", status);
    json_decref(root);
    return status == 401 || status == 403 ? EX_NOPERM : status >= 500 ? EX_UNAVAILABLE : EX_DATAERR;
}

int ctl_request(const struct arguments *arguments, const char *method, const char *path,
    const char *body, size_t body_len, struct pk_bytes *out_body)
{
    char error[PK_CLIENT_ERROR_SIZE];
    long status = 0;
    pk_bytes_init(out_body, MAX_ANSWER);
    if (pk_client_request(
            &arguments->client, method, path, body, body_len, &status, out_body, error) != PK_OK) {
        return ctl_fail(EX_UNAVAILABLE, error);
    }
    return status >= 200 && status < 300 ? EX_OK : fail_status(status, out_body);
}

void ctl_put_text(struct pk_bytes *out, const char *text)
{
    pk_bytes_put(out, text, strlen(text));
}

void ctl_put_query(struct pk_bytes *path, char *separator, const char *name, const char *value)
{
    if (value) {
        pk_bytes_put_u8(path, (uint8_t)*separator);
        ctl_put_text(path, name);
        pk_bytes_put_u8(path, '=');
        pk_client_escape(path, value);
        *separator = '&';
    }
}

int ctl_post(
    const struct arguments *arguments, const char *path, json_t *object, struct pk_bytes *out_body)
{
    char *text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    int status = text ? ctl_request(arguments, "POST", path, text, strlen(text), out_body)
                      : ctl_fail(EX_OSERR, "out of memory");
    free(text);
    return status;
}

void ctl_join(const json_t *list, char *out, size_t size)
{
    size_t index, len = 0;
    const json_t *item;
    out[0] = '\0';
    json_array_foreach((json_t *)(uintptr_t)list, index, item)
    {
        int n = snprintf(out + len, size - len, "%s%s", index ? "," : "",
            json_string_value(item) ? json_string_value(item) : "");
        len += n > 0 && (size_t)n < size - len ? (size_t)n : 0;
    }
}

int ctl_list(const struct arguments *arguments, const char *path, void (*print)(const json_t *list))
{
    struct pk_bytes full, body;
    char separator = '?';
    pk_bytes_init(&full, 8192);
    ctl_put_text(&full, path);
    ctl_put_query(&full, &separator, "tenant", arguments->tenant);
    ctl_put_query(&full, &separator, "min_severity", arguments->severity);
    ctl_put_query(&full, &separator, "since", arguments->since);
    ctl_put_query(&full, &separator, "hours", arguments->hours);
    ctl_put_query(&full, &separator, "state", arguments->wants_all ? "all" : NULL);
    const char *text = pk_bytes_text(&full);
    int status = text ? ctl_request(arguments, "GET", text, NULL, 0, &body)
                      : ctl_fail(EX_USAGE, "the arguments are too long");
    pk_bytes_done(&full);
    if (status != EX_OK) {
        if (text) {
            pk_bytes_done(&body);
        }
        return status;
    }
    json_t *root = json_loadb((const char *)body.data, body.len, 0, NULL);
    if (!json_is_array(root)) {
        status = ctl_fail(EX_PROTOCOL, "the answer is not a list");
    } else if (arguments->as_json) {
        size_t index;
        json_t *item;
        json_array_foreach(root, index, item)
        {
            (void)json_dumpf(item, stdout, JSON_COMPACT);
            putchar('\n');
        }
    } else {
        print(root);
    }
    json_decref(root);
    pk_bytes_done(&body);
    return status;
}

bool ctl_path(const struct arguments *arguments, const char *path, char *out, size_t out_size)
{
    struct pk_bytes full;
    char separator = '?';
    pk_bytes_init(&full, out_size - 1);
    ctl_put_text(&full, path);
    ctl_put_query(&full, &separator, "tenant", arguments->tenant);
    const char *text = pk_bytes_text(&full);
    if (text) {
        memcpy(out, text, full.len + 1);
    }
    pk_bytes_done(&full);
    return text != NULL;
}

const char *ctl_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

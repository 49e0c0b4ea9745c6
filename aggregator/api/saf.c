/* SAF lines. */
#include "saf.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "picket/clock.h"
#include "picket/rdata.h"

enum {
    MAX_RDATA_TEXT = 1 << 20
};

static void put_text(struct pk_bytes *out, const char *text)
{
    pk_bytes_put(out, text, strlen(text));
}

void pk_saf_begin(struct pk_bytes *out)
{
    put_text(out, "{\"cond\":\"begin\"}\n");
}

void pk_saf_end(struct pk_bytes *out, bool limited)
{
    put_text(out, limited ? "{\"cond\":\"limited\",\"msg\":\"Result limit reached\"}\n"
                          : "{\"cond\":\"succeeded\"}\n");
}

static json_t *name_json(const struct pk_name *name)
{
    char text[PK_NAME_TEXT_SIZE];
    return json_string_nocheck(pk_name_text(name, text));
}

void pk_saf_rrset(struct pk_bytes *out, const struct pk_store_rrset *rrset)
{
    char type[PK_TYPE_TEXT_SIZE];
    json_t *line = json_object(), *object = json_object(), *rdata = json_array();
    struct pk_bytes text;
    pk_bytes_init(&text, MAX_RDATA_TEXT);
    for (size_t i = 0; i < rrset->n_rdata; i++) {
        pk_bytes_clear(&text);
        pk_rdata_text(rrset->type, rrset->class, rrset->rdata[i].data, rrset->rdata[i].len, &text);
        const char *one = pk_bytes_text(&text);
        (void)json_array_append_new(rdata, json_string_nocheck(one ? one : ""));
    }
    (void)json_object_set_new(object, "count", json_integer((json_int_t)rrset->count));
    (void)json_object_set_new(object, "time_first", json_integer(rrset->first_us / PK_US_PER_S));
    (void)json_object_set_new(object, "time_last", json_integer(rrset->last_us / PK_US_PER_S));
    (void)json_object_set_new(object, "rrname", name_json(&rrset->owner));
    (void)json_object_set_new(
        object, "rrtype", json_string_nocheck(pk_type_text(rrset->type, type)));
    (void)json_object_set_new(object, "bailiwick", name_json(&rrset->bailiwick));
    (void)json_object_set_new(object, "rdata", rdata);
    (void)json_object_set_new(line, "obj", object);
    char *dumped = json_dumps(line, JSON_COMPACT);
    json_decref(line);
    pk_bytes_done(&text);
    if (!dumped) {
        out->err = out->err != PK_OK ? out->err : PK_ERR_NOMEM;
        return;
    }
    put_text(out, dumped);
    put_text(out, "\n");
    free(dumped);
}

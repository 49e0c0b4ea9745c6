/* What a zone shows to everybody. */
#include "exposure.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "picket/bytes.h"
#include "picket/dnsmsg.h"
#include "picket/hash.h"
#include "picket/rdata.h"

#include "label.h"

enum {
    MAX_ITEMS = 4096,
    MAX_NAMES = 1 << 16,
    SLOTS = 2 * MAX_NAMES,
    MAX_EVIDENCE = 240,
    WILDCARD_NAMES = 3,
    MAX_WILDCARD_SETS = 256,
    SUPERSEDED_US_S = 3600 /* a later set of the same owner and type, by more than this */
};

struct item {
    enum pk_exposure_kind kind;
    struct pk_name zone, name, target; /* target: CNAME, NS, MX; length 0: none */
    uint16_t type;
    bool is_sensitive;
    char *evidence; /* owned */
    int64_t first_us, last_us;
};

/* Latest time by key; open addressing, keys are hashes, 0 is free. */
struct times {
    struct {
        uint64_t key;
        int64_t us;
    } * v;
    size_t n;
};

struct wildcard_set {
    uint64_t digest;
    unsigned n;
};

struct pk_exposure {
    const struct pk_scope_tenant *tenant;
    struct pk_labels *labels;
    struct item *items;
    size_t n_items;
    struct times present, absent,
        latest; /* names with a record, names without, sets by owner and type */
    struct wildcard_set wildcards[MAX_WILDCARD_SETS];
    size_t n_wildcards;
    uint64_t dropped;
};

static const struct {
    const char *name;
    uint8_t severity;
} kinds[PK_N_EXPOSURE_KINDS] = {
    [PK_EXPOSURE_TRANSFER] = {"transfer", 5},
    [PK_EXPOSURE_DANGLING] = {"dangling", 4},
    [PK_EXPOSURE_CLAIMABLE] = {"claimable", 2},
    [PK_EXPOSURE_SPF_ALL] = {"spf_all", 3},
    [PK_EXPOSURE_PRIVATE_ADDRESS] = {"private_address", 2},
    [PK_EXPOSURE_INTERNAL_NAME] = {"internal_name", 2},
    [PK_EXPOSURE_NSEC] = {"nsec", 2},
    [PK_EXPOSURE_WILDCARD] = {"wildcard", 1},
    [PK_EXPOSURE_DMARC_NONE] = {"dmarc_none", 1},
    [PK_EXPOSURE_VERSION] = {"version", 1},
};

/* Suffixes below which a customer picks the name himself, and may pick one that another gave up. From these services' documentation. */
static const char *const claimable[] = {"azurewebsites.net", "cloudapp.net", "cloudapp.azure.com",
    "trafficmanager.net", "blob.core.windows.net", "azureedge.net", "azurefd.net", "herokuapp.com",
    "herokudns.com", "github.io", "gitlab.io", "netlify.app", "vercel.app", "pages.dev",
    "s3.amazonaws.com", "elasticbeanstalk.com", "surge.sh", "fly.dev", "onrender.com",
    "readthedocs.io", "wordpress.com", "ghost.io", "zendesk.com", "myshopify.com", "statuspage.io",
    "bitbucket.io", "web.app", "firebaseapp.com"};

static const char *const inside_ranges[] = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",
    "100.64.0.0/10", "169.254.0.0/16", "127.0.0.0/8", "fc00::/7", "fe80::/10", "::1/128"};

const char *pk_exposure_kind_str(enum pk_exposure_kind kind)
{
    return kinds[kind].name;
}

/* --- times --- */

static int64_t times_get(const struct times *times, uint64_t key)
{
    for (size_t i = key % SLOTS;; i = (i + 1) % SLOTS) {
        if (times->v[i].key == key || times->v[i].key == 0) {
            return times->v[i].key ? times->v[i].us : 0;
        }
    }
}

static void times_note(struct pk_exposure *exposure, struct times *times, uint64_t key, int64_t us)
{
    size_t i = key % SLOTS;
    while (times->v[i].key != key && times->v[i].key != 0) {
        i = (i + 1) % SLOTS;
    }
    if (times->v[i].key == 0) {
        if (times->n == MAX_NAMES) {
            exposure->dropped++;
            return;
        }
        times->n++;
        times->v[i].key = key;
    }
    times->v[i].us = us > times->v[i].us ? us : times->v[i].us;
}

static uint64_t name_key(const struct pk_name *name, uint16_t type)
{
    uint64_t key = pk_hash_mix(pk_name_hash(name), type);
    return key ? key : 1;
}

/* --- life --- */

pk_err pk_exposure_new(const struct pk_scope_tenant *tenant, struct pk_exposure **out_exposure)
{
    struct pk_exposure *exposure = calloc(1, sizeof *exposure);
    if (!exposure) {
        return PK_ERR_NOMEM;
    }
    exposure->tenant = tenant;
    struct times *tables[] = {&exposure->present, &exposure->absent, &exposure->latest};
    bool is_good = pk_labels_new(&exposure->labels) == PK_OK;
    for (size_t i = 0; i < 3; i++) {
        tables[i]->v = calloc(SLOTS, sizeof *tables[i]->v);
        is_good = is_good && tables[i]->v;
    }
    exposure->items = malloc(MAX_ITEMS * sizeof *exposure->items); /* pages come as they are used */
    if (!is_good || !exposure->items) {
        pk_exposure_free(exposure);
        return PK_ERR_NOMEM;
    }
    *out_exposure = exposure;
    return PK_OK;
}

void pk_exposure_free(struct pk_exposure *exposure)
{
    if (!exposure) {
        return;
    }
    for (size_t i = 0; i < exposure->n_items; i++) {
        free(exposure->items[i].evidence);
    }
    free(exposure->items);
    free(exposure->present.v);
    free(exposure->absent.v);
    free(exposure->latest.v);
    pk_labels_free(exposure->labels);
    free(exposure);
}

uint64_t pk_exposure_dropped(const struct pk_exposure *exposure)
{
    return exposure->dropped;
}

/* --- judging a record --- */

static bool is_sensitive(const struct pk_exposure *exposure, const struct pk_name *name)
{
    for (size_t i = 0; i < exposure->tenant->n_sensitive_zones; i++) {
        if (pk_name_is_within(name, &exposure->tenant->sensitive_zones[i])) {
            return true;
        }
    }
    return false;
}

/* evidence: rdata in master-file form when text is NULL. */
static pk_err add(struct pk_exposure *exposure, enum pk_exposure_kind kind,
    const struct pk_name *zone, const struct pk_exposure_record *record, size_t rdata,
    const struct pk_name *target, const char *text)
{
    struct pk_bytes rendered;
    if (exposure->n_items == MAX_ITEMS) {
        exposure->dropped++;
        return PK_OK;
    }
    pk_bytes_init(&rendered, 1 << 20);
    if (!text) {
        pk_rdata_text(record->type, record->class, record->rdata[rdata].data,
            record->rdata[rdata].len, &rendered);
        text = rendered.len ? pk_bytes_text(&rendered) : "";
    }
    char *copy = strndup(text, MAX_EVIDENCE);
    pk_bytes_done(&rendered);
    if (!copy) {
        return PK_ERR_NOMEM;
    }
    struct item *item = &exposure->items[exposure->n_items++];
    *item = (struct item){.kind = kind,
        .zone = *zone,
        .name = record->owner,
        .type = record->type,
        .is_sensitive = is_sensitive(exposure, &record->owner),
        .evidence = copy,
        .first_us = record->first_us,
        .last_us = record->last_us};
    if (target) {
        item->target = *target;
    }
    return PK_OK;
}

static bool is_inside_address(uint16_t type, const struct pk_slice *rdata)
{
    struct pk_addr addr = {.family = type == PK_TYPE_A ? 4 : 6};
    if (rdata->len != (type == PK_TYPE_A ? 4u : 16u)) {
        return false;
    }
    memcpy(addr.bytes, rdata->data, rdata->len);
    for (size_t i = 0; i < sizeof inside_ranges / sizeof *inside_ranges; i++) {
        struct pk_prefix prefix;
        if (pk_prefix_parse(inside_ranges[i], &prefix) && pk_prefix_contains(&prefix, &addr)) {
            return true;
        }
    }
    return false;
}

static bool is_claimable(const struct pk_name *target)
{
    for (size_t i = 0; i < sizeof claimable / sizeof *claimable; i++) {
        struct pk_name suffix;
        if (pk_name_from_text(claimable[i], &suffix) == PK_OK &&
            pk_name_is_within(target, &suffix)) {
            return true;
        }
    }
    return false;
}

static pk_err judge_target(struct pk_exposure *exposure, const struct pk_name *zone,
    const struct pk_exposure_record *record, size_t i)
{
    struct pk_name target;
    size_t skip = record->type == PK_TYPE_MX ? 2 : 0;
    const struct pk_slice *rdata = &record->rdata[i];
    if (rdata->len <= skip ||
        pk_name_from_wire(rdata->data + skip, rdata->len - skip, &target) != PK_OK ||
        pk_name_is_root(&target)) { /* RFC 7505: no mail */
        return PK_OK;
    }
    pk_name_lower(&target);
    pk_err err = add(exposure, PK_EXPOSURE_DANGLING, zone, record, i, &target, NULL);
    return err == PK_OK && record->type == PK_TYPE_CNAME && is_claimable(&target)
               ? add(exposure, PK_EXPOSURE_CLAIMABLE, zone, record, i, &target, NULL)
               : err;
}

/* Character strings of a TXT record put together (RFC 7208 s3.3), lower case. */
static void txt_text(const struct pk_slice *rdata, char out[1024])
{
    size_t at = 0;
    for (uint32_t pos = 0; pos < rdata->len; pos += 1u + rdata->data[pos]) {
        for (uint32_t k = 1; k <= rdata->data[pos] && pos + k < rdata->len && at < 1023; k++) {
            uint8_t c = rdata->data[pos + k];
            out[at++] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
        }
    }
    out[at] = '\0';
}

static pk_err judge_txt(struct pk_exposure *exposure, const struct pk_name *zone,
    const struct pk_exposure_record *record, size_t i)
{
    char text[1024], *save = NULL;
    uint8_t len;
    txt_text(&record->rdata[i], text);
    bool is_dmarc = record->owner.n_labels > 0 &&
                    pk_name_label(&record->owner, 0, &len)[0] == '_' &&
                    strncmp(text, "v=dmarc1", 8) == 0;
    if (is_dmarc) {
        for (char *tag = strtok_r(text, "; ", &save); tag; tag = strtok_r(NULL, "; ", &save)) {
            if (strcmp(tag, "p=none") == 0) {
                return add(exposure, PK_EXPOSURE_DMARC_NONE, zone, record, i, NULL, NULL);
            }
        }
    } else if (strncmp(text, "v=spf1", 6) == 0) {
        for (char *term = strtok_r(text, " ", &save); term; term = strtok_r(NULL, " ", &save)) {
            if (strcmp(term, "+all") == 0 || strcmp(term, "all") == 0) {
                return add(exposure, PK_EXPOSURE_SPF_ALL, zone, record, i, NULL, NULL);
            }
        }
    }
    return PK_OK;
}

/* The same data for three random-looking names. */
static pk_err judge_wildcard(struct pk_exposure *exposure, const struct pk_name *zone,
    const struct pk_exposure_record *record)
{
    uint8_t len;
    const uint8_t *label = pk_name_label(&record->owner, 0, &len);
    if (pk_label_classify(exposure->labels, label, len) != PK_LABEL_RANDOM) {
        return PK_OK;
    }
    uint64_t digest = pk_hash_mix(pk_name_hash(zone), record->type);
    for (size_t i = 0; i < record->n_rdata; i++) {
        digest = pk_hash_mix(digest, pk_hash(record->rdata[i].data, record->rdata[i].len));
    }
    size_t slot = 0;
    while (slot < exposure->n_wildcards && exposure->wildcards[slot].digest != digest) {
        slot++;
    }
    if (slot == MAX_WILDCARD_SETS) {
        exposure->dropped++;
        return PK_OK;
    }
    if (slot == exposure->n_wildcards) {
        exposure->wildcards[exposure->n_wildcards++] = (struct wildcard_set){.digest = digest};
    }
    return ++exposure->wildcards[slot].n == WILDCARD_NAMES
               ? add(exposure, PK_EXPOSURE_WILDCARD, zone, record, 0, NULL, NULL)
               : PK_OK;
}

static bool has_label(const struct pk_name *name, const char *text)
{
    for (unsigned i = 0; i < name->n_labels; i++) {
        uint8_t len;
        const uint8_t *label = pk_name_label(name, i, &len);
        if (len == strlen(text) && memcmp(label, text, len) == 0) {
            return true;
        }
    }
    return false;
}

static pk_err judge_set(struct pk_exposure *exposure, const struct pk_name *zone,
    const struct pk_exposure_record *record)
{
    pk_err err = PK_OK;
    if (has_label(&record->owner, "_msdcs")) {
        err = add(exposure, PK_EXPOSURE_INTERNAL_NAME, zone, record, 0, NULL, NULL);
    }
    if (err == PK_OK && record->type == PK_TYPE_NSEC && is_sensitive(exposure, &record->owner)) {
        err = add(exposure, PK_EXPOSURE_NSEC, zone, record, 0, NULL, NULL);
    }
    bool is_address = record->type == PK_TYPE_A || record->type == PK_TYPE_AAAA;
    if (err == PK_OK && is_address && record->owner.n_labels > zone->n_labels) {
        err = judge_wildcard(exposure, zone, record);
    }
    for (size_t i = 0; i < record->n_rdata && err == PK_OK; i++) {
        if (is_address && is_inside_address(record->type, &record->rdata[i])) {
            return add(exposure, PK_EXPOSURE_PRIVATE_ADDRESS, zone, record, i, NULL, NULL);
        }
        if (record->type == PK_TYPE_CNAME || record->type == PK_TYPE_NS ||
            record->type == PK_TYPE_MX) {
            err = judge_target(exposure, zone, record, i);
        } else if (record->type == PK_TYPE_TXT) {
            err = judge_txt(exposure, zone, record, i);
        }
    }
    return err;
}

static bool has_digit(const struct pk_slice *rdata)
{
    for (uint32_t i = 1; i < rdata->len; i++) { /* after the length byte */
        if (rdata->data[i] >= '0' && rdata->data[i] <= '9') {
            return true;
        }
    }
    return false;
}

pk_err pk_exposure_record(struct pk_exposure *exposure, const struct pk_exposure_record *record)
{
    struct pk_name zone;
    if (record->n_rdata == 0) {
        return PK_OK;
    }
    if (record->class == PK_CLASS_CH) {
        bool is_version = record->type == PK_TYPE_TXT && record->owner.n_labels > 0 &&
                          (has_label(&record->owner, "version")) && has_digit(&record->rdata[0]);
        pk_name_strip(&record->owner, record->owner.n_labels, &zone);
        return is_version ? add(exposure, PK_EXPOSURE_VERSION, &zone, record, 0, NULL, NULL)
                          : PK_OK;
    }
    times_note(exposure, &exposure->present, name_key(&record->owner, 0), record->last_us);
    if (record->is_inside || !record->is_authoritative ||
        pk_scope_match(exposure->tenant, &record->owner, record->type, record->class, &zone) !=
            PK_SCOPE_ZONE ||
        pk_scope_canary_of(exposure->tenant, &zone)) {
        return PK_OK;
    }
    times_note(
        exposure, &exposure->latest, name_key(&record->owner, record->type), record->last_us);
    return judge_set(exposure, &zone, record);
}

void pk_exposure_absent(struct pk_exposure *exposure, const struct pk_name *name, int64_t last_us)
{
    times_note(exposure, &exposure->absent, name_key(name, 0), last_us);
}

pk_err pk_exposure_transferred(
    struct pk_exposure *exposure, const struct pk_name *zone, int64_t at_us, const char *evidence)
{
    struct pk_exposure_record record = {.owner = *zone, .first_us = at_us, .last_us = at_us};
    for (size_t i = 0; i < exposure->n_items; i++) {
        struct item *item = &exposure->items[i];
        if (item->kind == PK_EXPOSURE_TRANSFER && pk_name_equal(&item->name, zone)) {
            item->last_us = at_us > item->last_us ? at_us : item->last_us;
            return PK_OK;
        }
    }
    return add(exposure, PK_EXPOSURE_TRANSFER, zone, &record, 0, NULL, evidence);
}

/* --- the report --- */

void pk_exposure_targets(
    struct pk_exposure *exposure, void (*target)(void *arg, const struct pk_name *name), void *arg)
{
    for (size_t i = 0; i < exposure->n_items; i++) {
        const struct item *item = &exposure->items[i];
        if (item->target.len > 0 &&
            times_get(&exposure->present, name_key(&item->target, 0)) == 0) {
            target(arg, &item->target);
        }
    }
}

static bool stands(const struct pk_exposure *exposure, const struct item *item)
{
    int64_t newest = item->type == 0 || item->kind == PK_EXPOSURE_VERSION
                         ? 0
                         : times_get(&exposure->latest, name_key(&item->name, item->type));
    if (newest - item->last_us > (int64_t)SUPERSEDED_US_S * 1000000) {
        return false; /* the owner has another set by now */
    }
    int64_t present =
                item->target.len ? times_get(&exposure->present, name_key(&item->target, 0)) : 0,
            absent =
                item->target.len ? times_get(&exposure->absent, name_key(&item->target, 0)) : 0;
    return item->kind == PK_EXPOSURE_DANGLING    ? absent > present
           : item->kind == PK_EXPOSURE_CLAIMABLE ? present == 0 && absent == 0
                                                 : true;
}

static uint8_t severity_of(const struct item *item)
{
    unsigned severity = kinds[item->kind].severity + (item->is_sensitive ? 1u : 0u);
    return (uint8_t)(severity < 5 ? severity : 5);
}

static int compare(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    int by_severity = severity_of(y) - severity_of(x);
    int by_kind = by_severity ? by_severity : (int)x->kind - (int)y->kind;
    int by_name = by_kind ? by_kind : pk_name_compare(&x->name, &y->name);
    return by_name ? by_name : strcmp(x->evidence, y->evidence);
}

pk_err pk_exposure_report(struct pk_exposure *exposure, const struct pk_name *zone,
    void (*item)(void *arg, const struct pk_exposure_item *item), void *arg)
{
    if (exposure->n_items > 1) {
        qsort(exposure->items, exposure->n_items, sizeof *exposure->items, compare);
    }
    const struct item *before = NULL;
    for (size_t i = 0; i < exposure->n_items; i++) {
        const struct item *from = &exposure->items[i];
        bool is_wanted =
            !zone || pk_name_is_within(&from->name, zone) || from->kind == PK_EXPOSURE_VERSION;
        if (!is_wanted || !stands(exposure, from) || (before && compare(before, from) == 0)) {
            continue;
        }
        before = from;
        struct pk_exposure_item out = {.kind = from->kind,
            .severity = severity_of(from),
            .zone = from->zone,
            .name = from->name,
            .type = from->type,
            .evidence = from->evidence,
            .first_us = from->first_us,
            .last_us = from->last_us};
        item(arg, &out);
    }
    return PK_OK;
}

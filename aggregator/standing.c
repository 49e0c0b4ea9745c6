/* Standing exposure out of recorded batches. */
#include "standing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "picket/dnsmsg.h"
#include "picket/hash.h"
#include "picket/rdata.h"

#include "detect/exposure.h"

struct pk_standing {
    const struct pk_scope_tenant *tenant;
    struct pk_exposure *exposure;
    pk_finding_cb on_finding; /* during a report */
    void *arg;
    struct pk_finding finding; /* the one being filled: too big for the stack */
};

pk_err pk_standing_new(const struct pk_scope_tenant *tenant, struct pk_standing **out_standing)
{
    struct pk_standing *standing = calloc(1, sizeof *standing);
    if (!standing || pk_exposure_new(tenant, &standing->exposure) != PK_OK) {
        free(standing);
        return PK_ERR_NOMEM;
    }
    standing->tenant = tenant;
    *out_standing = standing;
    return PK_OK;
}

void pk_standing_free(struct pk_standing *standing)
{
    if (standing) {
        pk_exposure_free(standing->exposure);
        free(standing);
    }
}

/* RFC 1918, RFC 4193: such a server's view is not the public one. */
static bool is_private(const struct pk_addr *addr)
{
    const uint8_t *b = addr->bytes;
    return addr->family == 4
               ? b[0] == 10 || (b[0] == 172 && (b[1] & 0xf0) == 16) || (b[0] == 192 && b[1] == 168)
               : addr->family == 6 && (b[0] & 0xfe) == 0xfc;
}

static pk_err take_rrset(struct pk_standing *standing, const struct pk_rrset *row)
{
    struct pk_exposure_record record = {.type = row->type,
        .class = row->class,
        .is_authoritative = row->trust == PK_TRUST_AUTHORITATIVE,
        .is_inside = is_private(&row->server),
        .rdata = row->rdata,
        .n_rdata = row->n_rdata,
        .first_us = row->first_us,
        .last_us = row->last_us};
    if (pk_name_from_wire(row->owner.data, row->owner.len, &record.owner) != PK_OK) {
        return PK_OK; /* checked when the batch was decoded */
    }
    pk_name_lower(&record.owner);
    return pk_exposure_record(standing->exposure, &record);
}

static void take_absent(
    struct pk_standing *standing, const struct pk_slice *wire, unsigned class, int64_t last_us)
{
    struct pk_name name;
    if (class == PK_CLASS_IN && pk_name_from_wire(wire->data, wire->len, &name) == PK_OK) {
        pk_name_lower(&name);
        pk_exposure_absent(standing->exposure, &name, last_us);
    }
}

pk_err pk_standing_batch(struct pk_standing *standing, const struct pk_batch *batch)
{
    enum pk_batch_kind kind = pk_batch_info(batch)->kind;
    pk_err err = PK_OK;
    for (size_t i = 0; i < pk_batch_rows(batch) && err == PK_OK; i++) {
        if (kind == PK_BATCH_RRSET) {
            struct pk_rrset row;
            pk_batch_rrset(batch, i, &row);
            err = take_rrset(standing, &row);
        } else if (kind == PK_BATCH_NEGATIVE) {
            struct pk_negative row;
            pk_batch_negative(batch, i, &row);
            if (row.rcode == PK_RCODE_NXDOMAIN) {
                take_absent(standing, &row.name, row.class, row.last_us);
            }
        } else if (kind == PK_BATCH_ACTIVITY) {
            struct pk_activity row;
            pk_batch_activity(batch, i, &row);
            if (row.signature.answer == PK_ANSWER_NXDOMAIN) {
                take_absent(standing, &row.name, row.signature.qclass, row.first_us + row.span_us);
            }
        }
    }
    return err;
}

static void on_item(void *arg, const struct pk_exposure_item *item)
{
    struct pk_standing *standing = arg;
    struct pk_finding *finding = &standing->finding;
    const char *kind = pk_exposure_kind_str(item->kind);
    char zone[PK_NAME_TEXT_SIZE], name[PK_NAME_TEXT_SIZE], type[PK_TYPE_TEXT_SIZE], id[800];
    uint8_t digest[PK_DIGEST_BYTES];
    memset(finding, 0, sizeof *finding);
    (void)pk_name_text(&item->zone, zone);
    (void)pk_name_text(&item->name, name);
    int n = snprintf(id, sizeof id, "%s|exposure|%s|%.300s|%u|%.200s", standing->tenant->name, kind,
        name, item->type, item->evidence);
    pk_digest(id, (size_t)n < sizeof id ? (size_t)n : sizeof id - 1, digest);
    for (size_t i = 0; i < sizeof digest; i++) {
        snprintf(finding->id + 2 * i, 3, "%02x", digest[i]);
    }
    finding->revision = 1;
    finding->state = "standing";
    finding->detector = "D14";
    finding->version = "1";
    finding->tenant = standing->tenant->name;
    finding->technique[finding->n_techniques++] = "T1590";
    finding->actor_kind = "zone";
    snprintf(finding->actor_key, sizeof finding->actor_key, "%.63s", zone);
    finding->severity = item->severity;
    snprintf(finding->title, sizeof finding->title, "Exposed, %s: %.60s%s%s %.60s", kind, name,
        item->type ? " " : "", item->type ? pk_type_text(item->type, type) : "", item->evidence);
    finding->zones[finding->n_zones++] = item->zone;
    finding->samples[finding->n_samples++] = item->name;
    finding->first_us = item->first_us;
    finding->last_us = item->last_us;
    standing->on_finding(standing->arg, finding);
}

pk_err pk_standing_report(struct pk_standing *standing, pk_finding_cb on_finding, void *arg)
{
    standing->on_finding = on_finding;
    standing->arg = arg;
    return pk_exposure_report(standing->exposure, NULL, on_item, standing);
}

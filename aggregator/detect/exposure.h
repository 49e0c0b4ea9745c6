/* D14: what a zone shows to everybody. A standing report from the records of the history, not a behaviour: nothing here counts as an alert. Pure.
 *
 * Feed every fact once, in any order (pk_exposure_record, _absent, _transferred), then ask for the report. Records within a zone of the tenant are judged; others only say that a
 * name exists. A record stands when its owner and type were not seen with another, later set. Bounded: MAX_ITEMS suspicious records, MAX_NAMES names each that exist, that do
 * not, and (owner, type) pairs; what does not fit is counted, not guessed about. */
#ifndef AGGREGATOR_DETECT_EXPOSURE_H
#define AGGREGATOR_DETECT_EXPOSURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "picket/err.h"
#include "picket/name.h"
#include "picket/observation.h"
#include "picket/scope.h"

enum pk_exposure_kind {
    PK_EXPOSURE_TRANSFER,  /* severity 5: the whole zone was handed over */
    PK_EXPOSURE_DANGLING,  /* 4: CNAME, NS or MX whose target does not exist */
    PK_EXPOSURE_CLAIMABLE, /* 2: CNAME into a cloud where names of that form can be claimed, and nothing says that its target exists */
    PK_EXPOSURE_SPF_ALL,   /* 3: SPF lets everybody send */
    PK_EXPOSURE_PRIVATE_ADDRESS, /* 2: a public answer with an inside address */
    PK_EXPOSURE_INTERNAL_NAME,   /* 2: names of an inside directory (_msdcs) in the public zone */
    PK_EXPOSURE_NSEC,            /* 2, sensitive zones only: the chain can be walked */
    PK_EXPOSURE_WILDCARD,        /* 1: every name exists */
    PK_EXPOSURE_DMARC_NONE,      /* 1: DMARC asks for nothing */
    PK_EXPOSURE_VERSION,         /* 1: a server tells its version */
    PK_N_EXPOSURE_KINDS
};
const char *pk_exposure_kind_str(enum pk_exposure_kind kind); /* "transfer", "dangling", ... */

struct pk_exposure_record {
    struct pk_name owner; /* lower case */
    uint16_t type, class;
    bool is_authoritative;        /* said by the zone's own server */
    bool is_inside;               /* by a server with an inside address: not public */
    const struct pk_slice *rdata; /* borrowed during the call; canonical, uncompressed */
    size_t n_rdata;
    int64_t first_us, last_us;
};

struct pk_exposure_item {
    enum pk_exposure_kind kind;
    uint8_t severity;     /* one more, at most 5, below a sensitive zone */
    struct pk_name zone;  /* of the tenant; the root for VERSION */
    struct pk_name name;  /* the record's owner */
    uint16_t type;        /* of the record; 0: none */
    const char *evidence; /* record data in master-file form, or a sentence; good during the call */
    int64_t first_us, last_us;
};

struct pk_exposure;

/* tenant is borrowed for its life. PK_ERR_NOMEM. */
pk_err pk_exposure_new(const struct pk_scope_tenant *tenant, struct pk_exposure **out_exposure);
void pk_exposure_free(struct pk_exposure *exposure);
pk_err pk_exposure_record(struct pk_exposure *exposure, const struct pk_exposure_record *record);
/* NXDOMAIN for the name, last at that time. */
void pk_exposure_absent(struct pk_exposure *exposure, const struct pk_name *name, int64_t last_us);
/* A transfer of the zone to somebody not listed succeeded (D1). */
pk_err pk_exposure_transferred(
    struct pk_exposure *exposure, const struct pk_name *zone, int64_t at_us, const char *evidence);
/* Targets of CNAME, NS and MX that were not themselves seen, for a caller that can look them up (and feed what it finds). Names may come twice. */
void pk_exposure_targets(
    struct pk_exposure *exposure, void (*target)(void *arg, const struct pk_name *name), void *arg);
/* Every item that stands, below the zone (NULL: all of the tenant's), worst first, then by name. */
pk_err pk_exposure_report(struct pk_exposure *exposure, const struct pk_name *zone,
    void (*item)(void *arg, const struct pk_exposure_item *item), void *arg);
uint64_t pk_exposure_dropped(const struct pk_exposure *exposure); /* facts that did not fit */

#endif

/* D14 beside a replay: what the records in recorded batches show of a tenant's zones, as lines like findings, state "standing".
 *
 * Fed with whole batches in any order; RRsets and names that do not exist count, other kinds are looked over. The judgement is detect/exposure.h, whose bounds hold. */
#ifndef AGGREGATOR_STANDING_H
#define AGGREGATOR_STANDING_H

#include "picket/batch.h"
#include "picket/err.h"
#include "picket/scope.h"

#include "detect/engine.h"
#include "detect/finding.h"

struct pk_standing;

/* tenant is borrowed for its life. PK_ERR_NOMEM. */
pk_err pk_standing_new(const struct pk_scope_tenant *tenant, struct pk_standing **out_standing);
void pk_standing_free(struct pk_standing *standing);
pk_err pk_standing_batch(struct pk_standing *standing, const struct pk_batch *batch);
/* One finding of detector D14 for each item that stands, worst first. No score, no confidence: nothing was inferred. */
pk_err pk_standing_report(struct pk_standing *standing, pk_finding_cb on_finding, void *arg);

#endif

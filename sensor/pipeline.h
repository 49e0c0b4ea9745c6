/* One packet's way through the sensor: dissect, reassemble, parse, pair; then output, or history and merging. */
#ifndef SENSOR_PIPELINE_H
#define SENSOR_PIPELINE_H

#include "picket/err.h"

#include "input/capture.h"
#include "input/dnstap.h"
#include "output.h"
#include "pairing/sides.h"
#include "stats.h"
#include "window/merge.h"

struct pk_pipeline;

/* Where results go; each may be NULL. All borrowed. */
struct pk_pipeline_options {
    struct pk_ports ports;
    struct pk_output *output;
    struct pk_merge *ring; /* sees every transaction that merge sees, for the local ring */
    struct pk_merge *merge;
    bool wants_rrsets; /* for output; merge always has them */
    struct pk_dnstap_use
        dnstap; /* which messages of a dnstap source are used; both sets empty: the defaults */
};

pk_err pk_pipeline_new(const struct pk_pipeline_options *options, struct pk_stats *stats,
    struct pk_pipeline **out_pipeline);
/* What it can come to hold, in bytes, without merge and output. */
size_t pk_pipeline_bound_bytes(void);
void pk_pipeline_free(struct pk_pipeline *pipeline);
void pk_pipeline_set_ports(struct pk_pipeline *pipeline, const struct pk_ports *ports);
/* A packet of this link type, or a frame of dnstap (link_type is not looked at). */
void pk_pipeline_packet(
    struct pk_pipeline *pipeline, int link_type, const struct pk_raw_packet *packet);
/* Whether there is a list of public suffixes; without it names are held together by their last two labels. */
bool pk_pipeline_has_suffixes(const struct pk_pipeline *pipeline);
/* For pk_diagnose; borrowed as long as the pipeline lives. */
const struct pk_sides *pk_pipeline_sides(const struct pk_pipeline *pipeline);
/* Live capture without packets: time passes all the same. */
void pk_pipeline_tick(struct pk_pipeline *pipeline, int64_t now_us);
/* End of input: everything open is closed and given out. */
void pk_pipeline_flush(struct pk_pipeline *pipeline);

#endif

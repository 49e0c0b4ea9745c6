/* The aggregator's own /metrics (Prometheus text), /healthz and /readyz. A thread of libmicrohttpd that reads atomic counters and nothing else. */
#ifndef AGGREGATOR_METRICS_H
#define AGGREGATOR_METRICS_H

#include "pipeline.h"

struct pk_metrics;

/* PK_ERR_IO: the address is wrong or taken. counters is borrowed until stop. */
pk_err pk_metrics_start(const char *address, uint16_t port, struct pk_pipeline_counters *counters,
    struct pk_metrics **out_metrics);
void pk_metrics_stop(struct pk_metrics *metrics);

#endif

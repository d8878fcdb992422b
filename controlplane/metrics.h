/* The control plane's counters and their Prometheus text. The table is metrics.def. Thread-safe;
 * nothing here is on a hot path. */
#pragma once

#include <stdint.h>

#include "common/dynbuf.h"

enum control_metric {
#define METRIC(symbol, type, name, labels, help) CONTROL_METRIC_##symbol,
#include "controlplane/metrics.def"
#undef METRIC
    CONTROL_METRIC_COUNT
};

void control_metrics_add(enum control_metric metric, int64_t by);
void control_metrics_set(enum control_metric metric, int64_t value);
int64_t control_metrics_value(enum control_metric metric);
/* Appends the exposition (text format 0.0.4), process_* and build info included. */
void control_metrics_render(struct dynbuf *out);

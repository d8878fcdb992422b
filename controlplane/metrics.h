/* The control plane's counters and their Prometheus text. The table is metrics.def. Thread-safe;
 * nothing here is on a hot path. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/dynbuf.h"

#define CONTROL_METRICS_PREFIX "cloudgate_control_"

enum control_metric {
#define METRIC(symbol, type, name, labels, help) CONTROL_METRIC_##symbol,
#define HISTOGRAM(symbol, name, help)
#include "controlplane/metrics.def"
#undef METRIC
#undef HISTOGRAM
    CONTROL_METRIC_COUNT
};

enum control_histogram {
#define METRIC(symbol, type, name, labels, help)
#define HISTOGRAM(symbol, name, help) CONTROL_HISTOGRAM_##symbol,
#include "controlplane/metrics.def"
#undef METRIC
#undef HISTOGRAM
    CONTROL_HISTOGRAM_COUNT
};

/* Rows of routes.def count from 0; a request of none of them counts as the one after the last. */
enum control_route_count {
    CONTROL_ROUTES = 0
#define ROUTE(method, path, access, handler, meaning) +1
#include "controlplane/routes.def"
#undef ROUTE
};

void control_metrics_add(enum control_metric metric, int64_t by);
void control_metrics_set(enum control_metric metric, int64_t value);
int64_t control_metrics_value(enum control_metric metric);
void control_metrics_observe(enum control_histogram histogram, uint64_t elapsed_ns);
/* An HTTP request was answered. route: its row in routes.def, or CONTROL_ROUTES. */
void control_metrics_http(size_t route, int status);
/* Appends the exposition (text format 0.0.4), process_* and build info included. */
void control_metrics_render(struct dynbuf *out);

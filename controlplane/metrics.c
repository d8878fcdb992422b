/* The control plane's counters: one atomic a series. Any thread. */
#include "controlplane/metrics.h"

#include <stdatomic.h>
#include <string.h>

#include "common/promtext.h"

#define PREFIX "cloudgate_control_"

static _Atomic int64_t values[CONTROL_METRIC_COUNT];

static const struct {
    const char *type;
    const char *name;
    const char *labels;
    const char *help;
} rows[CONTROL_METRIC_COUNT] = {
#define METRIC(symbol, type, name, labels, help) {#type, PREFIX name, labels, help},
#include "controlplane/metrics.def"
#undef METRIC
};

void control_metrics_add(enum control_metric metric, int64_t by)
{
    atomic_fetch_add_explicit(&values[metric], by, memory_order_relaxed);
}

void control_metrics_set(enum control_metric metric, int64_t value)
{
    atomic_store_explicit(&values[metric], value, memory_order_relaxed);
}

int64_t control_metrics_value(enum control_metric metric)
{
    return atomic_load_explicit(&values[metric], memory_order_relaxed);
}

void control_metrics_render(struct dynbuf *out)
{
    for (size_t i = 0; i < CONTROL_METRIC_COUNT; i++) {
        if (i == 0 || strcmp(rows[i - 1].name, rows[i].name) != 0)
            promtext_family(out, rows[i].name, rows[i].type, rows[i].help);
        promtext_sample(out, rows[i].name, rows[i].labels,
                        control_metrics_value((enum control_metric)i));
    }
    promtext_family(out, PREFIX "build_info", "gauge", "Always 1; the version is in the label");
    promtext_sample(out, PREFIX "build_info", "version=\"" CLOUDGATE_VERSION "\"", 1);
    promtext_process(out);
}

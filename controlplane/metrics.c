/* The control plane's counters: one atomic a series. Any thread. */
#include "controlplane/metrics.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "common/check.h"
#include "common/promtext.h"

#define PREFIX CONTROL_METRICS_PREFIX

static _Atomic int64_t values[CONTROL_METRIC_COUNT];

static const struct {
    const char *type;
    const char *name;
    const char *labels;
    const char *help;
} rows[CONTROL_METRIC_COUNT] = {
#define METRIC(symbol, type, name, labels, help) {#type, PREFIX name, labels, help},
#define HISTOGRAM(symbol, name, help)
#include "controlplane/metrics.def"
#undef METRIC
#undef HISTOGRAM
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

/* ---- histograms ---- */

/* Up to the wait for acknowledgements, 5 s. */
static const double bounds[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                0.1,    0.25,  0.5,    1,     2.5,  5};

static struct {
    _Atomic uint64_t buckets[ARRAY_COUNT(bounds) + 1];
    _Atomic uint64_t sum_ns;
} histograms[CONTROL_HISTOGRAM_COUNT];

static const struct {
    const char *name;
    const char *help;
} histogram_rows[CONTROL_HISTOGRAM_COUNT] = {
#define METRIC(symbol, type, name, labels, help)
#define HISTOGRAM(symbol, name, help) {PREFIX name, help},
#include "controlplane/metrics.def"
#undef METRIC
#undef HISTOGRAM
};

void control_metrics_observe(enum control_histogram histogram, uint64_t elapsed_ns)
{
    size_t bucket = 0;
    while (bucket < ARRAY_COUNT(bounds) && (double)elapsed_ns > bounds[bucket] * 1e9)
        bucket++;
    atomic_fetch_add_explicit(&histograms[histogram].buckets[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&histograms[histogram].sum_ns, elapsed_ns, memory_order_relaxed);
}

static void render_histograms(struct dynbuf *out)
{
    for (size_t i = 0; i < CONTROL_HISTOGRAM_COUNT; i++) {
        uint64_t buckets[ARRAY_COUNT(bounds) + 1];
        for (size_t bucket = 0; bucket < ARRAY_COUNT(buckets); bucket++)
            buckets[bucket] =
                atomic_load_explicit(&histograms[i].buckets[bucket], memory_order_relaxed);
        promtext_family(out, histogram_rows[i].name, "histogram", histogram_rows[i].help);
        promtext_histogram(out, histogram_rows[i].name, "", buckets, bounds, ARRAY_COUNT(bounds),
                           atomic_load_explicit(&histograms[i].sum_ns, memory_order_relaxed));
    }
}

/* ---- HTTP ---- */

static const struct {
    const char *method;
    const char *path;
} routes[] = {
#define ROUTE(method, path, access, handler, meaning) {method, path},
#include "controlplane/routes.def"
#undef ROUTE
    {"other", "other"},
};

static const char *const classes[] = {"2xx", "3xx", "4xx", "5xx"};

static _Atomic int64_t answers[ARRAY_COUNT(routes)][ARRAY_COUNT(classes)];

void control_metrics_http(size_t route, int status)
{
    if (status < 200 || status >= 600 || route >= ARRAY_COUNT(routes))
        return;
    atomic_fetch_add_explicit(&answers[route][status / 100 - 2], 1, memory_order_relaxed);
}

static void render_http(struct dynbuf *out)
{
    promtext_family(out, PREFIX "http_requests_total", "counter",
                    "HTTP requests answered, by route and class of status code");
    for (size_t route = 0; route < ARRAY_COUNT(routes); route++) {
        for (size_t class = 0; class < ARRAY_COUNT(classes); class ++) {
            char labels[160];
            snprintf(labels, sizeof labels, "code=\"%s\",method=\"%s\",route=\"%s\"",
                     classes[class], routes[route].method, routes[route].path);
            promtext_sample(out, PREFIX "http_requests_total", labels,
                            atomic_load_explicit(&answers[route][class], memory_order_relaxed));
        }
    }
}

void control_metrics_render(struct dynbuf *out)
{
    for (size_t i = 0; i < CONTROL_METRIC_COUNT; i++) {
        if (i == 0 || strcmp(rows[i - 1].name, rows[i].name) != 0)
            promtext_family(out, rows[i].name, rows[i].type, rows[i].help);
        promtext_sample(out, rows[i].name, rows[i].labels,
                        control_metrics_value((enum control_metric)i));
    }
    render_histograms(out);
    render_http(out);
    promtext_family(out, PREFIX "build_info", "gauge", "Always 1; the version is in the label");
    promtext_sample(out, PREFIX "build_info", "version=\"" CLOUDGATE_VERSION "\"", 1);
    promtext_process(out);
}

/* STATS of the control link. Main thread, once a second; only reads what others count, so that no
 * request costs more for it. */
#include "dataplane/stats.h"

#include <stdio.h>

#include "common/clock.h"
#include "dataplane/cluster.h"
#include "dataplane/metrics.h"
#include "proto/ctl_codec.h"
#include "proto/ctl_histogram.h"

static void set_health(const struct cluster *cluster, char *health, size_t size)
{
    struct cluster_status status = {.is_up = false};
    if (cluster != NULL)
        cluster_status(cluster, &status);
    snprintf(health, size, "%s", status.is_up ? "up" : "down");
}

/* All but UNPREPARED, which is how a cluster asks for a statement again: nothing has failed. */
static uint64_t errors_of(const struct metrics_pool_sum *sum)
{
    uint64_t errors = 0;
    for (int error = 0; error < NODE_ERROR_COUNT; error++)
        if (error != NODE_ERROR_UNPREPARED)
            errors += sum->failed[error];
    return errors;
}

/* Bounds are told in whole microseconds: those that are the same then are one. */
static void print_latency(const struct metrics_pool_sum *sum, char *text, size_t size)
{
    struct ctl_histogram histogram = {.count = 0};
    uint64_t before = 0, carried = 0;
    for (size_t i = 0; i <= sum->bounds->count; i++) {
        bool is_last = i == sum->bounds->count;
        uint64_t bound_us = is_last ? UINT64_MAX : sum->bounds->ns[i] / NS_PER_US;
        carried += sum->buckets[i];
        if (bound_us <= before)
            continue;
        histogram.buckets[histogram.count].bound_us = bound_us;
        histogram.buckets[histogram.count].total = carried;
        histogram.count++;
        before = bound_us;
        carried = 0;
    }
    ctl_histogram_print(&histogram, text, size);
}

static uint64_t total(enum metric metric)
{
    return (uint64_t)metrics_total(metric);
}

void stats_read(struct cluster *const clusters[CLUSTER_COUNT], struct ctl_stats *stats)
{
    struct metrics_pool_sum origin, target, shadow;
    _Static_assert(METRIC_BOUNDS_MAX + 1 <= CTL_HISTOGRAM_BUCKETS_MAX, "every bucket has a place");
    _Static_assert(sizeof stats->latency_origin > CTL_HISTOGRAM_TEXT_MAX, "its text has room");
    metrics_sum_pool(METRIC_POOL_ORIGIN, &origin);
    metrics_sum_pool(METRIC_POOL_TARGET, &target);
    metrics_sum_pool(METRIC_POOL_SHADOW, &shadow);
    *stats = (struct ctl_stats){
        .reads_origin = metrics_request_count(METRIC_REQUEST_READS_ORIGIN),
        .reads_target = metrics_request_count(METRIC_REQUEST_READS_TARGET),
        .writes = metrics_request_count(METRIC_REQUEST_WRITES),
        .failed_reads = total(METRIC_FAILED_READS_ORIGIN) + total(METRIC_FAILED_READS_TARGET),
        .failed_writes = total(METRIC_FAILED_WRITES_BOTH) + total(METRIC_FAILED_WRITES_ORIGIN) +
                         total(METRIC_FAILED_WRITES_TARGET),
        .client_connections = total(METRIC_CLIENT_CONNECTIONS),
        .requests_origin = origin.requests,
        .requests_target = target.requests,
        .shadow = shadow.requests,
        .errors_origin = errors_of(&origin),
        .errors_target = errors_of(&target),
        .errors_shadow = errors_of(&shadow),
    };
    set_health(clusters[CLUSTER_ORIGIN], stats->origin_health, sizeof stats->origin_health);
    set_health(clusters[CLUSTER_TARGET], stats->target_health, sizeof stats->target_health);
    print_latency(&origin, stats->latency_origin, sizeof stats->latency_origin);
    print_latency(&target, stats->latency_target, sizeof stats->latency_target);
    print_latency(&shadow, stats->latency_shadow, sizeof stats->latency_shadow);
}

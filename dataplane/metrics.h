/* Counters, gauges and histograms of the data plane, named as zdm-proxy names them
 * (docs/metrics.md).
 *
 * Each thread owns one metrics_block and is its only writer: an increment is a relaxed load and
 * store, no locked instruction. metrics_render sums the blocks when somebody scrapes. The table of
 * names, types, labels and help texts is metrics.def and nowhere else. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/conftab.h"
#include "common/dynbuf.h"
#include "dataplane/cluster_id.h"

struct config;

/* One series of the process (no node label). Gauges are kept as two's complement sums over blocks.
 */
enum metric {
#define METRIC(symbol, type, name, labels, help) METRIC_##symbol,
#include "dataplane/metrics.def"
#undef METRIC
    METRIC_COUNT
};

enum metric_request {
    METRIC_REQUEST_READS_ORIGIN,
    METRIC_REQUEST_READS_TARGET,
    METRIC_REQUEST_WRITES,
    METRIC_REQUEST_COUNT
};

/* Values of the `error` label of {origin,target}_requests_failed_total. */
enum metric_node_error {
    NODE_ERROR_CLIENT_TIMEOUT,
    NODE_ERROR_READ_TIMEOUT,
    NODE_ERROR_READ_FAILURE,
    NODE_ERROR_WRITE_TIMEOUT,
    NODE_ERROR_WRITE_FAILURE,
    NODE_ERROR_OVERLOADED,
    NODE_ERROR_UNAVAILABLE,
    NODE_ERROR_UNPREPARED,
    NODE_ERROR_OTHER,
    NODE_ERROR_COUNT
};

enum metric_node_gauge {
    NODE_CONNECTIONS,
    NODE_USED_STREAM_IDS,
    NODE_FAILED_CONNECTIONS,
    NODE_INFLIGHT, /* of the shadow pool only */
    NODE_VALUE_COUNT
};

/* What a connection to a node is for: the part of its metric names before the underscore. */
enum metric_pool {
    METRIC_POOL_ORIGIN = CLUSTER_ORIGIN,
    METRIC_POOL_TARGET = CLUSTER_TARGET,
    METRIC_POOL_SHADOW, /* `async`, as zdm-proxy calls it */
    METRIC_POOL_COUNT
};

#define METRIC_BOUNDS_MAX CONFTAB_NUMBERS_MAX

/* Upper bounds of a histogram's buckets, rising; the one at [count] holds everything. */
struct metric_bounds {
    size_t count;
    uint64_t ns[METRIC_BOUNDS_MAX + 1];
    double seconds[METRIC_BOUNDS_MAX]; /* as they were given */
};

struct metric_histogram {
    const struct metric_bounds *bounds;
    _Atomic uint64_t sum_ns;
    _Atomic uint64_t buckets[METRIC_BOUNDS_MAX + 1]; /* not cumulative; metrics_render sums up */
};

struct metrics_node { /* series of one node in one thread's block */
    struct metrics_node *_Atomic next;
    enum metric_pool pool;
    char node[64]; /* ip:port, as dialled */
    _Atomic uint64_t failed[NODE_ERROR_COUNT];
    struct metric_histogram duration[2]; /* reads, writes */
    _Atomic uint64_t values[NODE_VALUE_COUNT];
};

struct metrics_block {
    struct metrics_block *next;
    _Atomic uint64_t values[METRIC_COUNT];
    struct metric_histogram request_duration[METRIC_REQUEST_COUNT];
    struct metrics_node *_Atomic nodes;
};

/* Takes prefix and buckets from the settings. Once, before the first block is made; without it they
 * are zdm-proxy's defaults. */
void metrics_configure(const struct config *config);

/* A new block, registered for rendering and never freed before the process ends. Called before the
 * owner thread runs or by it. */
struct metrics_block *metrics_block_new(void);

/* The node's series in block, made on first use (owner thread only). Never freed. */
struct metrics_node *metrics_node(struct metrics_block *block, enum metric_pool pool,
                                  const char *node);

static inline void metrics_bump(_Atomic uint64_t *value, int64_t by)
{
    atomic_store_explicit(value, atomic_load_explicit(value, memory_order_relaxed) + (uint64_t)by,
                          memory_order_relaxed);
}

static inline void metrics_add(struct metrics_block *block, enum metric metric, int64_t by)
{
    metrics_bump(&block->values[metric], by);
}

static inline void metrics_observe(struct metric_histogram *histogram, uint64_t elapsed_ns)
{
    const uint64_t *bound = histogram->bounds->ns;
    size_t bucket = 0;
    while (elapsed_ns > bound[bucket]) /* nearly always the first one or two */
        bucket++;
    metrics_bump(&histogram->buckets[bucket], 1);
    metrics_bump(&histogram->sum_ns, (int64_t)elapsed_ns);
}

/* Sum of one series over all blocks. */
int64_t metrics_total(enum metric metric);
/* Number of observations of one request histogram over all blocks. */
uint64_t metrics_request_count(enum metric_request kind);

/* What became of the requests to one pool's nodes, all nodes and blocks together. */
struct metrics_pool_sum {
    uint64_t requests;
    uint64_t failed[NODE_ERROR_COUNT];
    const struct metric_bounds *bounds;
    uint64_t buckets[METRIC_BOUNDS_MAX + 1]; /* of their durations; not cumulative */
};

void metrics_sum_pool(enum metric_pool pool, struct metrics_pool_sum *sum);

struct metrics_certificate { /* in force on one side */
    const char *side;
    const char *file;
    int64_t not_after; /* Unix seconds */
};

/* Facts only the main thread knows, shown as gauges. */
struct metrics_process {
    uint64_t routing_revision;
    bool control_connected;
    const struct metrics_certificate *certificates;
    size_t certificate_count;
};

/* Appends the whole exposition (Prometheus text format 0.0.4) to out. */
void metrics_render(struct dynbuf *out, const struct metrics_process *process);

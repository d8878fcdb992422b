/* Blocks of counters and their rendering. A block belongs to one thread, which alone writes it,
 * with relaxed loads and stores; the main thread reads all blocks with relaxed loads when somebody
 * scrapes. The mutex guards only the list of blocks: it must never be taken on the request path,
 * and nothing here may free what another thread may still read. */
#include "dataplane/metrics.h"

#include <pthread.h>
#include <string.h>

#include "common/cache_line.h"
#include "common/clock.h"
#include "common/promtext.h"
#include "dataplane/config.h"

#define NAME_MAX_BYTES 160

/* A family's name with the prefix. */
struct full_name {
    char text[NAME_MAX_BYTES];
};

static char prefix[64] = "zdm_";

/* Of reads from the origin, of all writes and of origin nodes; of reads from the target and of its
 * nodes; of shadow reads. In force once a block was made. */
static struct metric_bounds bounds[METRIC_POOL_COUNT];
static pthread_once_t bounds_once = PTHREAD_ONCE_INIT;

enum metric_type { METRIC_TYPE_COUNTER, METRIC_TYPE_GAUGE };
static const char *const type_names[] = {"counter", "gauge"};

static const struct {
    const char *name;
    const char *labels;
    const char *help;
    enum metric_type type;
} metrics[METRIC_COUNT] = {
#define METRIC(symbol, type, name, labels, help) {name, labels, help, METRIC_TYPE_##type},
#include "dataplane/metrics.def"
#undef METRIC
};

static const char *const request_labels[METRIC_REQUEST_COUNT] = {
    "type=\"reads_origin\"", "type=\"reads_target\"", "type=\"writes\""};

static const char *const error_names[NODE_ERROR_COUNT] = {
    [NODE_ERROR_CLIENT_TIMEOUT] = "client_timeout",
    [NODE_ERROR_READ_TIMEOUT] = "read_timeout",
    [NODE_ERROR_READ_FAILURE] = "read_failure",
    [NODE_ERROR_WRITE_TIMEOUT] = "write_timeout",
    [NODE_ERROR_WRITE_FAILURE] = "write_failure",
    [NODE_ERROR_OVERLOADED] = "overloaded",
    [NODE_ERROR_UNAVAILABLE] = "unavailable",
    [NODE_ERROR_UNPREPARED] = "unprepared",
    [NODE_ERROR_OTHER] = "other",
};

/* The prefix of a pool's families and what their help texts call it. */
static const struct {
    const char *name;
    const char *title;
} pools[METRIC_POOL_COUNT] = {
    [METRIC_POOL_ORIGIN] = {"origin", "Origin Cluster"},
    [METRIC_POOL_TARGET] = {"target", "Target Cluster"},
    [METRIC_POOL_SHADOW] = {"async", "Async Connector"},
};

/* Families with a node label; the name is completed with the prefix and the
 * pool's name. */
static const struct {
    const char *name;
    const char *type;
    const char *help;
} node_values[NODE_VALUE_COUNT] = {
    [NODE_CONNECTIONS] = {"connections_total", "gauge", "Number of open connections to %s nodes"},
    [NODE_USED_STREAM_IDS] = {"used_stream_ids_total", "gauge",
                              "Number of stream ids in use on connections to %s nodes"},
    [NODE_FAILED_CONNECTIONS] =
        {"failed_connections_total", "counter",
         "Running total of failed attempts to open a connection to %s nodes"},
    [NODE_INFLIGHT] = {"inflight_requests_total", "gauge",
                       "Number of requests in flight on connections to %s nodes"},
};

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct metrics_block *registry; /* newest first; blocks are never removed */

static uint64_t load(const _Atomic uint64_t *value)
{
    return atomic_load_explicit(value, memory_order_relaxed);
}

/* ---- prefix and buckets ---- */

static struct full_name full(const char *name)
{
    struct full_name name_with_prefix;
    snprintf(name_with_prefix.text, sizeof name_with_prefix.text, "%s%s", prefix, name);
    return name_with_prefix;
}

static void set_bounds(struct metric_bounds *to, const double *ms, size_t count)
{
    CHECK(count <= METRIC_BOUNDS_MAX);
    to->count = count;
    for (size_t i = 0; i < count; i++) {
        to->ns[i] = (uint64_t)(ms[i] * (double)NS_PER_MS + 0.5);
        to->seconds[i] = ms[i] / 1000;
    }
    to->ns[count] = UINT64_MAX;
}

static const struct metric_bounds *request_bounds(enum metric_request kind)
{
    return &bounds[kind == METRIC_REQUEST_READS_TARGET ? METRIC_POOL_TARGET : METRIC_POOL_ORIGIN];
}

/* Without settings, as in tests: zdm-proxy's. */
static void set_default_bounds(void)
{
    static const double ms[] = {1,   4,   7,   10,   25,   40,   60,    80,   100,
                                150, 250, 500, 1000, 2500, 5000, 10000, 15000};
    for (size_t i = 0; i < METRIC_POOL_COUNT; i++)
        if (bounds[i].count == 0)
            set_bounds(&bounds[i], ms, ARRAY_COUNT(ms));
}

void metrics_configure(const struct config *config)
{
    const struct conftab_numbers *lists[METRIC_POOL_COUNT] = {
        [METRIC_POOL_ORIGIN] = &config->metrics_origin_latency_buckets_ms,
        [METRIC_POOL_TARGET] = &config->metrics_target_latency_buckets_ms,
        [METRIC_POOL_SHADOW] = &config->metrics_async_read_latency_buckets_ms,
    };
    for (size_t i = 0; i < METRIC_POOL_COUNT; i++)
        set_bounds(&bounds[i], lists[i]->values, lists[i]->count);
    snprintf(prefix, sizeof prefix, "%s%s", config->metrics_prefix,
             config->metrics_prefix[0] == '\0' ? "" : "_");
}

/* ---- blocks ---- */

struct metrics_block *metrics_block_new(void)
{
    struct metrics_block *block = cache_line_alloc(sizeof *block);
    pthread_once(&bounds_once, set_default_bounds);
    for (size_t kind = 0; kind < METRIC_REQUEST_COUNT; kind++)
        block->request_duration[kind].bounds = request_bounds((enum metric_request)kind);
    pthread_mutex_lock(&registry_lock);
    block->next = registry;
    registry = block;
    pthread_mutex_unlock(&registry_lock);
    return block;
}

/* The list only ever grows at its head, so a reader needs the lock for the head alone. */
static const struct metrics_block *first_block(void)
{
    pthread_mutex_lock(&registry_lock);
    const struct metrics_block *block = registry;
    pthread_mutex_unlock(&registry_lock);
    return block;
}

struct metrics_node *metrics_node(struct metrics_block *block, enum metric_pool pool,
                                  const char *node)
{
    struct metrics_node *first = atomic_load_explicit(&block->nodes, memory_order_relaxed);
    struct metrics_node *entry = first;
    for (; entry != NULL; entry = atomic_load_explicit(&entry->next, memory_order_relaxed))
        if (entry->pool == pool && strncmp(entry->node, node, sizeof entry->node - 1) == 0)
            return entry;
    entry = cache_line_alloc(sizeof *entry);
    entry->pool = pool;
    for (size_t kind = 0; kind < ARRAY_COUNT(entry->duration); kind++)
        entry->duration[kind].bounds = &bounds[pool];
    memcpy(entry->node, node, strnlen(node, sizeof entry->node - 1));
    atomic_store_explicit(&entry->next, first, memory_order_relaxed);
    atomic_store_explicit(&block->nodes, entry, memory_order_release);
    return entry;
}

int64_t metrics_total(enum metric metric)
{
    uint64_t sum = 0;
    for (const struct metrics_block *block = first_block(); block != NULL; block = block->next)
        sum += load(&block->values[metric]);
    return (int64_t)sum;
}

/* A histogram read once, so that buckets and count agree. */
struct histogram_sum {
    uint64_t buckets[METRIC_BOUNDS_MAX + 1];
    uint64_t sum_ns;
};

static void accumulate(struct histogram_sum *sum, const struct metric_histogram *histogram)
{
    for (size_t i = 0; i <= histogram->bounds->count; i++)
        sum->buckets[i] += load(&histogram->buckets[i]);
    sum->sum_ns += load(&histogram->sum_ns);
}

static struct histogram_sum request_histogram(enum metric_request kind)
{
    struct histogram_sum sum = {0};
    for (const struct metrics_block *block = first_block(); block != NULL; block = block->next)
        accumulate(&sum, &block->request_duration[kind]);
    return sum;
}

uint64_t metrics_request_count(enum metric_request kind)
{
    struct histogram_sum sum = request_histogram(kind);
    uint64_t count = 0;
    for (size_t i = 0; i < ARRAY_COUNT(sum.buckets); i++)
        count += sum.buckets[i];
    return count;
}

static void add_to_pool(struct metrics_pool_sum *sum, const struct metrics_node *node)
{
    for (size_t i = 0; i < NODE_ERROR_COUNT; i++)
        sum->failed[i] += load(&node->failed[i]);
    for (size_t kind = 0; kind < ARRAY_COUNT(node->duration); kind++) {
        for (size_t i = 0; i <= sum->bounds->count; i++) {
            uint64_t count = load(&node->duration[kind].buckets[i]);
            sum->buckets[i] += count;
            sum->requests += count;
        }
    }
}

void metrics_sum_pool(enum metric_pool pool, struct metrics_pool_sum *sum)
{
    *sum = (struct metrics_pool_sum){.bounds = &bounds[pool]};
    for (const struct metrics_block *block = first_block(); block != NULL; block = block->next) {
        const struct metrics_node *node = atomic_load_explicit(&block->nodes, memory_order_acquire);
        for (; node != NULL; node = atomic_load_explicit(&node->next, memory_order_relaxed))
            if (node->pool == pool)
                add_to_pool(sum, node);
    }
}

/* One node's series, summed over the blocks that know it. */
struct node_sum {
    enum metric_pool pool;
    const char *node;
    uint64_t failed[NODE_ERROR_COUNT];
    struct histogram_sum duration[2];
    uint64_t values[NODE_VALUE_COUNT];
};

static struct node_sum *find_or_add(struct node_sum **sums, size_t *count,
                                    const struct metrics_node *node)
{
    for (size_t i = 0; i < *count; i++)
        if ((*sums)[i].pool == node->pool && strcmp((*sums)[i].node, node->node) == 0)
            return &(*sums)[i];
    struct node_sum *grown = realloc(*sums, (*count + 1) * sizeof **sums);
    CHECK(grown != NULL);
    *sums = grown;
    grown[*count] = (struct node_sum){.pool = node->pool, .node = node->node};
    return &grown[(*count)++];
}

static int compare_nodes(const void *left, const void *right)
{
    return strcmp(((const struct node_sum *)left)->node, ((const struct node_sum *)right)->node);
}

/* All nodes any thread has used, by name. The caller frees the array. */
static struct node_sum *sum_nodes(size_t *count)
{
    struct node_sum *sums = NULL;
    *count = 0;
    for (const struct metrics_block *block = first_block(); block != NULL; block = block->next) {
        const struct metrics_node *node = atomic_load_explicit(&block->nodes, memory_order_acquire);
        for (; node != NULL; node = atomic_load_explicit(&node->next, memory_order_relaxed)) {
            struct node_sum *sum = find_or_add(&sums, count, node);
            for (size_t i = 0; i < NODE_ERROR_COUNT; i++)
                sum->failed[i] += load(&node->failed[i]);
            for (size_t i = 0; i < NODE_VALUE_COUNT; i++)
                sum->values[i] += load(&node->values[i]);
            for (size_t i = 0; i < 2; i++)
                accumulate(&sum->duration[i], &node->duration[i]);
        }
    }
    if (*count > 1)
        qsort(sums, *count, sizeof *sums, compare_nodes);
    return sums;
}

/* `before node="…" after` as a label text in scratch. */
static const char *node_labels(struct dynbuf *scratch, const char *before, const char *node,
                               const char *after)
{
    dynbuf_reset(scratch);
    dynbuf_append_text(scratch, before);
    dynbuf_append_text(scratch, "node=\"");
    promtext_label_value(scratch, node);
    dynbuf_append_text(scratch, "\"");
    dynbuf_append_text(scratch, after);
    return dynbuf_text(scratch);
}

static void render_failed_requests(struct dynbuf *out, struct dynbuf *scratch, const char *name,
                                   enum metric_pool pool, const struct node_sum *sums, size_t count)
{
    char help[96];
    snprintf(help, sizeof help, "Running total of requests that failed on %s", pools[pool].title);
    promtext_family(out, name, "counter", help);
    for (size_t i = 0; i < count; i++) {
        if (sums[i].pool != pool)
            continue;
        for (size_t error = 0; error < NODE_ERROR_COUNT; error++) {
            char before[48];
            snprintf(before, sizeof before, "error=\"%s\",", error_names[error]);
            promtext_sample(out, name, node_labels(scratch, before, sums[i].node, ""),
                            (int64_t)sums[i].failed[error]);
        }
    }
}

static void render_node_durations(struct dynbuf *out, struct dynbuf *scratch, const char *name,
                                  const char *title, enum metric_pool pool,
                                  const struct node_sum *sums, size_t count)
{
    static const char *const kinds[2] = {",type=\"reads\"", ",type=\"writes\""};
    char help[128];
    snprintf(help, sizeof help, "Histogram that tracks the latency of requests sent to %s nodes",
             title);
    promtext_family(out, name, "histogram", help);
    for (size_t i = 0; i < count; i++)
        for (size_t kind = 0; sums[i].pool == pool && kind < 2; kind++)
            promtext_histogram(out, name, node_labels(scratch, "", sums[i].node, kinds[kind]),
                               sums[i].duration[kind].buckets, bounds[pool].seconds,
                               bounds[pool].count, sums[i].duration[kind].sum_ns);
}

/* The families of one pool. One that no connection has used yet has no series, and so no HELP or
 * TYPE either. */
static void render_pool(struct dynbuf *out, enum metric_pool pool, const struct node_sum *sums,
                        size_t count)
{
    bool is_used = false;
    for (size_t i = 0; i < count; i++)
        is_used = is_used || sums[i].pool == pool;
    if (!is_used)
        return;
    const char *title = pools[pool].name;
    char name[NAME_MAX_BYTES];
    struct dynbuf scratch;
    dynbuf_init(&scratch, 1024);
    snprintf(name, sizeof name, "%s%s_requests_failed_total", prefix, title);
    render_failed_requests(out, &scratch, name, pool, sums, count);
    snprintf(name, sizeof name, "%s%s_request_duration_seconds", prefix, title);
    render_node_durations(out, &scratch, name, title, pool, sums, count);
    for (size_t value = 0; value < NODE_VALUE_COUNT; value++) {
        if (value == NODE_INFLIGHT && pool != METRIC_POOL_SHADOW)
            continue;
        const char *placeholder = strstr(node_values[value].help, "%s");
        char help[128];
        snprintf(help, sizeof help, "%.*s%s%s", (int)(placeholder - node_values[value].help),
                 node_values[value].help, title, placeholder + 2);
        snprintf(name, sizeof name, "%s%s_%s", prefix, title, node_values[value].name);
        promtext_family(out, name, node_values[value].type, help);
        for (size_t i = 0; i < count; i++)
            if (sums[i].pool == pool)
                promtext_sample(out, name, node_labels(&scratch, "", sums[i].node, ""),
                                (int64_t)sums[i].values[value]);
    }
    dynbuf_fini(&scratch);
}

static void render_certificates(struct dynbuf *out, const struct metrics_process *process)
{
    const struct full_name name = full("tls_certificate_expiry_seconds");
    struct dynbuf labels;
    if (process->certificate_count == 0)
        return;
    dynbuf_init(&labels, 8192);
    promtext_family(out, name.text, "gauge",
                    "Unix time at which the first certificate of a TLS file runs out (of several "
                    "authorities: the last)");
    for (size_t i = 0; i < process->certificate_count; i++) {
        dynbuf_reset(&labels);
        dynbuf_append_text(&labels, "file=\"");
        promtext_label_value(&labels, process->certificates[i].file);
        dynbuf_printf(&labels, "\",side=\"%s\"", process->certificates[i].side);
        promtext_sample(out, name.text, dynbuf_text(&labels), process->certificates[i].not_after);
    }
    dynbuf_fini(&labels);
}

static void render_process(struct dynbuf *out, const struct metrics_process *process)
{
    promtext_family(out, full("routing_revision").text, "gauge",
                    "Revision of the routing state in force; 0: from the settings");
    promtext_sample(out, full("routing_revision").text, "", (int64_t)process->routing_revision);
    promtext_family(out, full("control_connected").text, "gauge",
                    "1 while the control plane is connected");
    promtext_sample(out, full("control_connected").text, "", process->control_connected);
    promtext_family(out, full("build_info").text, "gauge", "Always 1; the label tells the version");
    promtext_sample(out, full("build_info").text, "version=\"" CLOUDGATE_VERSION "\"", 1);
    render_certificates(out, process);
    promtext_process(out);
}

void metrics_render(struct dynbuf *out, const struct metrics_process *process)
{
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        if (i == 0 || strcmp(metrics[i].name, metrics[i - 1].name) != 0)
            promtext_family(out, full(metrics[i].name).text, type_names[metrics[i].type],
                            metrics[i].help);
        promtext_sample(out, full(metrics[i].name).text, metrics[i].labels,
                        metrics_total((enum metric)i));
    }
    promtext_family(out, full("proxy_request_duration_seconds").text, "histogram",
                    "Histogram that tracks the latency of requests at proxy entry point");
    for (size_t kind = 0; kind < METRIC_REQUEST_COUNT; kind++) {
        struct histogram_sum sum = request_histogram((enum metric_request)kind);
        const struct metric_bounds *of = request_bounds((enum metric_request)kind);
        promtext_histogram(out, full("proxy_request_duration_seconds").text, request_labels[kind],
                           sum.buckets, of->seconds, of->count, sum.sum_ns);
    }
    size_t node_count;
    struct node_sum *nodes = sum_nodes(&node_count);
    for (size_t pool = 0; pool < METRIC_POOL_COUNT; pool++)
        render_pool(out, (enum metric_pool)pool, nodes, node_count);
    free(nodes);
    render_process(out, process);
}

/* The exposition: names, label order, zero series, histogram arithmetic, and sums over blocks that
 * are being written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#include "common/clock.h"
#include "common/promtext.h"
#include "dataplane/metrics.h"

/* Blocks live as long as the process: one for all tests, as one worker would have. */
static struct metrics_block *block;

static struct dynbuf render(void)
{
    struct dynbuf out;
    struct metrics_process process = {.routing_revision = 42, .control_connected = true};
    dynbuf_init(&out, 1 << 20);
    metrics_render(&out, &process);
    assert_false(out.failed);
    return out;
}

static void expect_line(const struct dynbuf *out, const char *line)
{
    char needle[256];
    snprintf(needle, sizeof needle, "\n%s\n", line);
    if (strstr(dynbuf_text(out), needle) == NULL)
        fail_msg("no line \"%s\" in:\n%s", line, dynbuf_text(out));
}

static void series_stand_at_zero_from_the_start(void **state)
{
    (void)state;
    struct dynbuf out = render();
    static const char *const lines[] = {
        "zdm_proxy_failed_connections_total{cluster=\"origin\"} 0",
        "zdm_proxy_failed_reads_total{cluster=\"target\"} 0",
        "zdm_proxy_failed_writes_total{failed_on=\"both\"} 0",
        "zdm_proxy_inflight_requests_total{type=\"writes\"} 0",
        "zdm_client_connections_total 0",
        "zdm_pscache_entries_total 0",
        "zdm_pscache_miss_total 0",
        "# TYPE zdm_proxy_request_duration_seconds histogram",
        "# HELP zdm_proxy_request_duration_seconds Histogram that tracks the latency of requests "
        "at proxy entry point",
        "zdm_proxy_request_duration_seconds_bucket{type=\"reads_origin\",le=\"0.001\"} 0",
        "zdm_proxy_request_duration_seconds_bucket{type=\"writes\",le=\"15\"} 0",
        "zdm_proxy_request_duration_seconds_bucket{type=\"writes\",le=\"+Inf\"} 0",
        "zdm_proxy_request_duration_seconds_sum{type=\"writes\"} 0",
        "zdm_proxy_request_duration_seconds_count{type=\"reads_target\"} 0",
        "zdm_routing_revision 42",
        "zdm_control_connected 1",
        "zdm_build_info{version=\"" CLOUDGATE_VERSION "\"} 1",
        "# TYPE process_open_fds gauge",
        "# TYPE process_cpu_seconds_total counter",
        "# TYPE process_resident_memory_bytes gauge",
        "# TYPE process_start_time_seconds gauge",
    };
    for (size_t i = 0; i < ARRAY_COUNT(lines); i++)
        expect_line(&out, lines[i]);
    /* No node was used yet. */
    assert_null(strstr(dynbuf_text(&out), "zdm_origin_"));
    assert_null(strstr(dynbuf_text(&out), "zdm_target_"));
    dynbuf_fini(&out);
}

static void every_family_is_described_once(void **state)
{
    (void)state;
    struct dynbuf out = render();
    const char *text = dynbuf_text(&out);
    const char *cursor = text;
    size_t families = 0;
    while ((cursor = strstr(cursor, "# HELP ")) != NULL) {
        char heading[128];
        size_t length = strcspn(cursor + 7, " ");
        snprintf(heading, sizeof heading, "# TYPE %.*s ", (int)length, cursor + 7);
        const char *first = strstr(text, heading);
        assert_non_null(first);
        assert_null(strstr(first + 1, heading));
        families++;
        cursor++;
    }
    assert_true(families >= 11);
    dynbuf_fini(&out);
}

static void counters_and_gauges_count(void **state)
{
    (void)state;
    struct metrics_block *other = metrics_block_new();
    metrics_add(block, METRIC_FAILED_WRITES_TARGET, 2);
    metrics_add(other, METRIC_FAILED_WRITES_TARGET, 3);
    /* A gauge may rise in one thread and fall in another. */
    metrics_add(block, METRIC_CLIENT_CONNECTIONS, 5);
    metrics_add(other, METRIC_CLIENT_CONNECTIONS, -4);
    assert_int_equal(metrics_total(METRIC_FAILED_WRITES_TARGET), 5);
    assert_int_equal(metrics_total(METRIC_CLIENT_CONNECTIONS), 1);
    struct dynbuf out = render();
    expect_line(&out, "zdm_proxy_failed_writes_total{failed_on=\"target\"} 5");
    expect_line(&out, "zdm_client_connections_total 1");
    dynbuf_fini(&out);
}

static void histogram_bounds_are_inclusive_and_cumulative(void **state)
{
    (void)state;
    struct metric_histogram *writes = &block->request_duration[METRIC_REQUEST_WRITES];
    metrics_observe(writes, 0);
    metrics_observe(writes, 1 * NS_PER_MS);
    metrics_observe(writes, 1 * NS_PER_MS + 1);
    metrics_observe(writes, 15000 * NS_PER_MS);
    metrics_observe(writes, 15000 * NS_PER_MS + 500);
    assert_int_equal(metrics_request_count(METRIC_REQUEST_WRITES), 5);
    struct dynbuf out = render();
    expect_line(&out, "zdm_proxy_request_duration_seconds_bucket{type=\"writes\",le=\"0.001\"} 2");
    expect_line(&out, "zdm_proxy_request_duration_seconds_bucket{type=\"writes\",le=\"0.004\"} 3");
    expect_line(&out, "zdm_proxy_request_duration_seconds_bucket{type=\"writes\",le=\"2.5\"} 3");
    expect_line(&out, "zdm_proxy_request_duration_seconds_bucket{type=\"writes\",le=\"15\"} 4");
    expect_line(&out, "zdm_proxy_request_duration_seconds_bucket{type=\"writes\",le=\"+Inf\"} 5");
    expect_line(&out, "zdm_proxy_request_duration_seconds_count{type=\"writes\"} 5");
    expect_line(&out, "zdm_proxy_request_duration_seconds_sum{type=\"writes\"} 30.002000501");
    dynbuf_fini(&out);
}

static void node_series_appear_on_first_use(void **state)
{
    (void)state;
    struct metrics_node *node = metrics_node(block, METRIC_POOL_ORIGIN, "10.0.0.1:9042");
    assert_ptr_equal(metrics_node(block, METRIC_POOL_ORIGIN, "10.0.0.1:9042"), node);
    assert_ptr_not_equal(metrics_node(block, METRIC_POOL_TARGET, "10.0.0.1:9042"), node);
    struct metrics_block *other = metrics_block_new();
    struct metrics_node *same = metrics_node(other, METRIC_POOL_ORIGIN, "10.0.0.1:9042");
    metrics_bump(&node->values[NODE_CONNECTIONS], 2);
    metrics_bump(&same->values[NODE_CONNECTIONS], 1);
    metrics_bump(&same->failed[NODE_ERROR_OVERLOADED], 1);
    metrics_observe(&node->duration[0], 3 * NS_PER_MS);
    metrics_observe(&same->duration[0], 3 * NS_PER_MS);
    struct dynbuf out = render();
    static const char *const errors[] = {"client_timeout", "read_timeout",  "read_failure",
                                         "write_timeout",  "write_failure", "unavailable",
                                         "unprepared",     "other"};
    for (size_t i = 0; i < ARRAY_COUNT(errors); i++) {
        char line[160];
        snprintf(line, sizeof line,
                 "zdm_origin_requests_failed_total{error=\"%s\",node=\"10.0.0.1:9042\"} 0",
                 errors[i]);
        expect_line(&out, line);
    }
    expect_line(&out,
                "zdm_origin_requests_failed_total{error=\"overloaded\",node=\"10.0.0.1:9042\"} 1");
    expect_line(&out, "zdm_origin_connections_total{node=\"10.0.0.1:9042\"} 3");
    expect_line(&out, "zdm_target_connections_total{node=\"10.0.0.1:9042\"} 0");
    expect_line(&out, "zdm_origin_failed_connections_total{node=\"10.0.0.1:9042\"} 0");
    expect_line(&out, "zdm_origin_used_stream_ids_total{node=\"10.0.0.1:9042\"} 0");
    expect_line(&out, "zdm_origin_request_duration_seconds_bucket{node=\"10.0.0.1:9042\",type="
                      "\"reads\",le=\"0.004\"} 2");
    expect_line(
        &out,
        "zdm_origin_request_duration_seconds_sum{node=\"10.0.0.1:9042\",type=\"reads\"} 0.006");
    expect_line(
        &out,
        "zdm_origin_request_duration_seconds_count{node=\"10.0.0.1:9042\",type=\"writes\"} 0");
    expect_line(&out, "# HELP zdm_target_requests_failed_total Running total of requests that "
                      "failed on Target Cluster");
    expect_line(&out, "# TYPE zdm_origin_connections_total gauge");
    expect_line(&out, "# TYPE zdm_origin_failed_connections_total counter");
    dynbuf_fini(&out);
}

static void label_values_are_escaped(void **state)
{
    (void)state;
    struct dynbuf out;
    dynbuf_init(&out, 64);
    promtext_label_value(&out, "a\\b\"c\nd");
    assert_string_equal(dynbuf_text(&out), "a\\\\b\\\"c\\nd");
    dynbuf_fini(&out);
}

#define ROUNDS 20000

static void *write_steadily(void *argument)
{
    struct metrics_block *own = argument;
    for (int i = 0; i < ROUNDS; i++) {
        char name[32];
        snprintf(name, sizeof name, "10.1.0.%d:9042", i % 8);
        metrics_add(own, METRIC_PSCACHE_MISSES, 1);
        metrics_observe(&own->request_duration[METRIC_REQUEST_READS_TARGET], (uint64_t)i * 1000);
        metrics_bump(&metrics_node(own, METRIC_POOL_TARGET, name)->failed[NODE_ERROR_OTHER], 1);
    }
    return NULL;
}

static void rendering_runs_beside_writers(void **state)
{
    (void)state;
    pthread_t threads[2];
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_steadily, metrics_block_new()), 0);
    int64_t last = 0;
    for (int i = 0; i < 50; i++) {
        struct dynbuf out = render();
        int64_t now = metrics_total(METRIC_PSCACHE_MISSES);
        assert_true(now >= last);
        last = now;
        dynbuf_fini(&out);
    }
    for (size_t i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(metrics_total(METRIC_PSCACHE_MISSES), 2 * ROUNDS);
    assert_int_equal(metrics_request_count(METRIC_REQUEST_READS_TARGET), 2 * ROUNDS);
    struct dynbuf out = render();
    expect_line(&out,
                "zdm_target_requests_failed_total{error=\"other\",node=\"10.1.0.7:9042\"} 5000");
    dynbuf_fini(&out);
}

int main(void)
{
    block = metrics_block_new();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(series_stand_at_zero_from_the_start),
        cmocka_unit_test(counters_and_gauges_count),
        cmocka_unit_test(histogram_bounds_are_inclusive_and_cumulative),
        cmocka_unit_test(node_series_appear_on_first_use),
        cmocka_unit_test(every_family_is_described_once),
        cmocka_unit_test(label_values_are_escaped),
        cmocka_unit_test(rendering_runs_beside_writers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

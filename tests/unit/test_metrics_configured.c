/* Metrics with a prefix and buckets of the settings' own. A program of its own: they are taken
 * once, before the first block is made. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/promtext.h"
#include "dataplane/config.h"
#include "dataplane/metrics.h"

static struct metrics_block *block;

static int configure(void **state)
{
    (void)state;
    static char prefix[] = "mine";
    static struct config config = {
        .metrics_prefix = prefix,
        .metrics_origin_latency_buckets_ms = {.count = 3, .values = {0.001, 2.5, 15000}},
        .metrics_target_latency_buckets_ms = {.count = 1, .values = {7}},
        .metrics_async_read_latency_buckets_ms = {.count = CONFTAB_NUMBERS_MAX},
    };
    for (size_t i = 0; i < CONFTAB_NUMBERS_MAX; i++)
        config.metrics_async_read_latency_buckets_ms.values[i] = (double)(i + 1);
    metrics_configure(&config);
    block = metrics_block_new();
    return 0;
}

static void expect_line(const char *line)
{
    struct metrics_process process = {0};
    struct dynbuf out;
    char needle[256];
    dynbuf_init(&out, 1 << 20);
    metrics_render(&out, &process);
    snprintf(needle, sizeof needle, "\n%s\n", line);
    if (out.failed || strstr(dynbuf_text(&out), needle) == NULL)
        fail_msg("no line \"%s\" in:\n%s", line, dynbuf_text(&out));
    assert_null(strstr(dynbuf_text(&out), "zdm_"));
    dynbuf_fini(&out);
}

static void every_name_has_the_prefix(void **state)
{
    (void)state;
    expect_line("# TYPE mine_client_connections_total gauge");
    expect_line("mine_client_connections_total 0");
    expect_line("mine_routing_revision 0");
    expect_line("# TYPE process_open_fds gauge");
}

static void each_kind_has_its_own_buckets(void **state)
{
    (void)state;
    struct metric_histogram *writes = &block->request_duration[METRIC_REQUEST_WRITES];
    struct metric_histogram *target = &block->request_duration[METRIC_REQUEST_READS_TARGET];
    metrics_observe(writes, 1000);
    metrics_observe(writes, 1001);
    metrics_observe(writes, 2500 * (NS_PER_MS / 1000));
    metrics_observe(writes, 2500 * (NS_PER_MS / 1000) + 1);
    metrics_observe(writes, UINT64_MAX);
    metrics_observe(target, 7 * NS_PER_MS);
    metrics_observe(target, 7 * NS_PER_MS + 1);
#define DURATION "mine_proxy_request_duration_seconds"
    expect_line(DURATION "_bucket{type=\"writes\",le=\"1e-06\"} 1");
    expect_line(DURATION "_bucket{type=\"writes\",le=\"0.0025\"} 3");
    expect_line(DURATION "_bucket{type=\"writes\",le=\"15\"} 4");
    expect_line(DURATION "_bucket{type=\"writes\",le=\"+Inf\"} 5");
    expect_line(DURATION "_count{type=\"writes\"} 5");
    expect_line(DURATION "_bucket{type=\"reads_target\",le=\"0.007\"} 1");
    expect_line(DURATION "_bucket{type=\"reads_target\",le=\"+Inf\"} 2");
    expect_line(DURATION "_bucket{type=\"reads_origin\",le=\"0.0025\"} 0");
}

static void nodes_have_the_buckets_of_their_pool(void **state)
{
    (void)state;
    struct metrics_node *origin = metrics_node(block, METRIC_POOL_ORIGIN, "o:1");
    struct metrics_node *target = metrics_node(block, METRIC_POOL_TARGET, "t:1");
    struct metrics_node *shadow = metrics_node(block, METRIC_POOL_SHADOW, "s:1");
    metrics_observe(&origin->duration[1], 3 * NS_PER_MS);
    metrics_observe(&target->duration[1], 3 * NS_PER_MS);
    metrics_observe(&shadow->duration[0], 64 * NS_PER_MS);
    metrics_observe(&shadow->duration[0], 65 * NS_PER_MS);
    expect_line(
        "mine_origin_request_duration_seconds_bucket{node=\"o:1\",type=\"writes\",le=\"15\"} 1");
    expect_line(
        "mine_target_request_duration_seconds_bucket{node=\"t:1\",type=\"writes\",le=\"0.007\"} 1");
    expect_line(
        "mine_async_request_duration_seconds_bucket{node=\"s:1\",type=\"reads\",le=\"0.064\"} 1");
    expect_line(
        "mine_async_request_duration_seconds_bucket{node=\"s:1\",type=\"reads\",le=\"+Inf\"} 2");
}

static void bounds_are_the_shortest_texts(void **state)
{
    (void)state;
    static const struct {
        double seconds;
        const char *text;
    } cases[] = {{0.001, "0.001"},    {0.004, "0.004"},
                 {0.25, "0.25"},      {15, "15"},
                 {2.5, "2.5"},        {100000, "100000"},
                 {1e6, "1e+06"},      {1234567, "1.234567e+06"},
                 {0.0001, "0.0001"},  {1e-05, "1e-05"},
                 {1.5e-7, "1.5e-07"}, {1.0 / 3, "0.3333333333333333"}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        const uint64_t buckets[2] = {0};
        struct dynbuf out;
        char line[96];
        dynbuf_init(&out, 4096);
        promtext_histogram(&out, "h", "", buckets, &cases[i].seconds, 1, 0);
        snprintf(line, sizeof line, "h_bucket{le=\"%s\"} 0\n", cases[i].text);
        if (strncmp(dynbuf_text(&out), line, strlen(line)) != 0)
            fail_msg("not \"%s\": %s", line, dynbuf_text(&out));
        dynbuf_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_has_the_prefix),
        cmocka_unit_test(each_kind_has_its_own_buckets),
        cmocka_unit_test(nodes_have_the_buckets_of_their_pool),
        cmocka_unit_test(bounds_are_the_shortest_texts),
    };
    return cmocka_run_group_tests(tests, configure, NULL);
}

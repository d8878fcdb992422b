/* From the totals a data plane tells to what happened between two of them: histogram texts, the
 * common cells, percentiles, and totals that make no sense. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "controlplane/traffic.h"

static void test_histogram_texts(void **state)
{
    static const char *const good[] = {"", "inf:0", "1000:52 4000:3 inf:0", "1:1 2:2 inf:3",
                                       "250:0 inf:999999999999999999"};
    static const char *const bad[] = {" ",
                                      "1000",
                                      "1000:",
                                      ":5",
                                      "1000:5",
                                      "inf:1 2:3",
                                      "1:1  inf:2",
                                      "1:1 inf:2 ",
                                      "1:-1 inf:2",
                                      "2:1 1:1 inf:1",
                                      "1:1 1:2 inf:3",
                                      "inf:1 inf:2",
                                      "0:1 inf:2",
                                      "x",
                                      "1:1,inf:2",
                                      "1:9999999999999999999 inf:1",
                                      "infinite:1"};
    struct ctl_histogram histogram;
    char text[CTL_HISTOGRAM_TEXT_MAX + 1];
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
        if (!ctl_histogram_parse(good[i], &histogram))
            fail_msg("refused: %s", good[i]);
        ctl_histogram_print(&histogram, text, sizeof text);
        assert_string_equal(text, good[i]);
    }
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        if (ctl_histogram_parse(bad[i], &histogram))
            fail_msg("taken: %s", bad[i]);
}

/* One bucket more than there is room for is refused; what is too long is not cut. */
static void test_histogram_limits(void **state)
{
    struct ctl_histogram histogram = {.count = CTL_HISTOGRAM_BUCKETS_MAX};
    struct ctl_histogram back;
    char text[CTL_HISTOGRAM_TEXT_MAX + 20];
    (void)state;
    for (size_t i = 0; i < histogram.count; i++) {
        histogram.buckets[i].bound_us = i + 1 == histogram.count ? UINT64_MAX : 100000 + i;
        histogram.buckets[i].total = i;
    }
    ctl_histogram_print(&histogram, text, sizeof text);
    assert_true(ctl_histogram_parse(text, &back));
    assert_int_equal(back.count, histogram.count);
    assert_int_equal(back.buckets[64].total, 64);
    memmove(text + 4, text, strlen(text) + 1);
    memcpy(text, "1:1 ", 4);
    assert_false(ctl_histogram_parse(text, &back));
    for (size_t i = 0; i < histogram.count; i++)
        histogram.buckets[i].total = UINT64_MAX;
    for (size_t i = 0; i + 1 < histogram.count; i++)
        histogram.buckets[i].bound_us = UINT64_MAX / 2 + i;
    ctl_histogram_print(&histogram, text, sizeof text);
    assert_string_equal(text, "");
}

static uint64_t percentile(const struct latency *latency, unsigned permille)
{
    uint64_t us;
    assert_true(latency_percentile(latency, permille, &us));
    return us;
}

static uint64_t count(const struct latency *latency)
{
    uint64_t total = 0;
    for (size_t i = 0; i < LATENCY_CELLS; i++)
        total += latency->cells[i];
    return total;
}

static void test_percentiles(void **state)
{
    struct latency latency = {.cells = {0}}, other = {.cells = {0}};
    uint64_t us;
    (void)state;
    assert_false(latency_percentile(&latency, 500, &us));
    latency_add(&latency, 0, 1000, 990);
    latency_add(&latency, 1000, 4000, 10);
    assert_int_equal(count(&latency), 1000);
    assert_in_range(percentile(&latency, 500), 480, 530);
    assert_in_range(percentile(&latency, 990), 950, 1050);
    assert_in_range(percentile(&latency, 1000), 3900, 4100);
    /* Another data plane has other buckets. */
    latency_add(&other, 0, 250, 500);
    latency_add(&other, 250, 500, 500);
    latency_merge(&latency, &other);
    assert_int_equal(count(&latency), 2000);
    assert_in_range(percentile(&latency, 1), 0, 10);
    assert_in_range(percentile(&latency, 500), 280, 360);
    /* Few are kept, too, and what has no bound is far out. */
    memset(&latency, 0, sizeof latency);
    for (int i = 0; i < 7; i++)
        latency_add(&latency, 0, 1000, 1);
    assert_int_equal(count(&latency), 7);
    latency_add(&latency, 15000000, UINT64_MAX, 3);
    assert_int_equal(count(&latency), 10);
    assert_true(percentile(&latency, 990) > 15000000);
    latency_add(&latency, UINT64_MAX - 1, UINT64_MAX, UINT64_MAX);
    assert_true(count(&latency) >= UINT32_MAX);
    latency_merge(&latency, &latency); /* full cells stay full */
    assert_true(percentile(&latency, 990) > 15000000);
}

static struct ctl_stats stats(uint64_t reads, const char *origin)
{
    struct ctl_stats stats = {.reads_origin = reads,
                              .requests_origin = reads,
                              .origin_health = "up",
                              .target_health = "down"};
    snprintf(stats.latency_origin, sizeof stats.latency_origin, "%s", origin);
    return stats;
}

static struct traffic_totals totals(uint64_t reads, const char *origin)
{
    struct ctl_stats told = stats(reads, origin);
    struct traffic_totals totals;
    const char *member;
    assert_true(traffic_read(&told, &totals, &member));
    return totals;
}

static void test_between_two_readings(void **state)
{
    struct traffic_totals before = totals(100, "1000:90 inf:10"), now;
    struct traffic traffic, sum = {.has_detail = false};
    (void)state;
    now = totals(150, "1000:139 inf:11");
    assert_true(traffic_between(&before, &now, &traffic));
    assert_true(traffic.has_detail);
    assert_int_equal(traffic.counts[TRAFFIC_READS_ORIGIN], 50);
    assert_int_equal(count(&traffic.latencies[TRAFFIC_ORIGIN]), 50);
    traffic_add(&sum, &traffic);
    traffic_add(&sum, &traffic);
    assert_true(sum.has_detail);
    assert_int_equal(sum.counts[TRAFFIC_REQUESTS_ORIGIN], 100);
    assert_int_equal(count(&sum.latencies[TRAFFIC_ORIGIN]), 100);
    /* A total that went back, other bounds, no histogram. */
    assert_false(traffic_between(&now, &before, &traffic));
    now = totals(150, "2000:139 inf:11");
    assert_true(traffic_between(&before, &now, &traffic));
    assert_int_equal(count(&traffic.latencies[TRAFFIC_ORIGIN]), 0);
    now = totals(150, "");
    assert_true(traffic_between(&before, &now, &traffic));
    assert_int_equal(count(&traffic.latencies[TRAFFIC_ORIGIN]), 0);
    now.has_detail = false;
    assert_true(traffic_between(&before, &now, &traffic));
    assert_false(traffic.has_detail);
}

static void test_what_is_not_told(void **state)
{
    struct ctl_stats told = stats(7, "nonsense");
    struct traffic_totals read;
    const char *member;
    struct dynbuf text;
    struct json_writer writer;
    (void)state;
    assert_false(traffic_read(&told, &read, &member));
    assert_string_equal(member, "latency_origin");
    told = (struct ctl_stats){.reads_origin = 7};
    assert_true(traffic_read(&told, &read, &member));
    assert_false(read.has_detail);
    dynbuf_init(&text, 4096);
    json_writer_init(&writer, &text);
    json_begin_object(&writer);
    traffic_write(&read, &writer);
    json_end_object(&writer);
    assert_string_equal(dynbuf_text(&text),
                        "{\"reads_origin\":7,\"reads_target\":0,\"writes\":0,\"failed_reads\":0,"
                        "\"failed_writes\":0}");
    dynbuf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_histogram_texts),  cmocka_unit_test(test_histogram_limits),
        cmocka_unit_test(test_percentiles),      cmocka_unit_test(test_between_two_readings),
        cmocka_unit_test(test_what_is_not_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

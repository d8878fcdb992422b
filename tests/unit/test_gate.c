/* Gates: each at its limit, one past it, and unknown; the rolling sums behind some of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/check.h"
#include "controlplane/gate.h"
#include "controlplane/rolling.h"

static const struct gate_limits limits = {
    .error_percent = 0.1, .latency_percent = 150, .latency_ms = 5, .quiet_minutes = 5};

static struct gate_figures good(void)
{
    struct gate_figures figures = {
        .connected = 2,
        .in_sync = 2,
        .origin_health = {true, 2},
        .target_health = {true, 2},
        .reads = {true, 1000, 1},
        .origin = {true, 1000, 1},
        .target = {true, 1000, 1},
        .shadow = {true, 1000, 1},
        .is_shadow_in_use = true,
        .are_latencies_known = true,
        .origin_p99_us = 20000,
        .target_p99_us = 30000,
        .are_failed_writes_known = true,
        .failed_writes_s = 300,
    };
    return figures;
}

static void expect(enum gate gate, const struct gate_figures *figures, enum gate_verdict verdict,
                   const char *word)
{
    struct gate_check check;
    gate_check(gate, figures, &limits, &check);
    if (check.verdict != verdict)
        fail_msg("%s: %s", gate_name(gate), check.detail);
    if (strstr(check.detail, word) == NULL)
        fail_msg("%s should say \"%s\": %s", gate_name(gate), word, check.detail);
    assert_true(check.figure[0] != '\0' && check.limit[0] != '\0');
    if (verdict == GATE_UNKNOWN)
        assert_string_equal(check.figure, "unknown");
}

static void test_all_hold_at_their_limits(void **state)
{
    struct gate_figures figures = good();
    struct gate_check checks[GATE_COUNT];
    bool all_hold = false;
    (void)state;
    assert_int_equal(gate_check_all(GATES_ALL, &figures, &limits, checks, &all_hold), GATE_COUNT);
    for (int i = 0; i < GATE_COUNT; i++) {
        assert_int_equal(checks[i].gate, i);
        if (checks[i].verdict != GATE_HOLDS)
            fail_msg("%s: %s", gate_name(checks[i].gate), checks[i].detail);
    }
    assert_true(all_hold);
    assert_int_equal(gate_check_all(0, &figures, &limits, checks, &all_hold), 0);
    assert_true(all_hold);
}

static void test_one_past_each_limit(void **state)
{
    struct gate_figures figures;
    (void)state;
#define PAST(gate, change, word)                                                                   \
    do {                                                                                           \
        figures = good();                                                                          \
        change;                                                                                    \
        expect(gate, &figures, GATE_FAILS, word);                                                  \
    } while (0)
    PAST(GATE_DATAPLANES, figures.connected = 0, "nobody would follow");
    PAST(GATE_CONVERGED, figures.in_sync = 1, "do not follow");
    PAST(GATE_CONVERGED,
         (figures.disconnected = 1, snprintf(figures.straggler, sizeof figures.straggler, "a:1#0")),
         "a:1#0");
    PAST(GATE_ORIGIN_HEALTH, figures.origin_health.healthy = 1, "1 of 2 data planes do not");
    PAST(GATE_TARGET_HEALTH, figures.target_health.healthy = 0, "2 of 2 data planes do not");
    PAST(GATE_FAILED_READS, figures.reads.failed = 2, "2 of 1000");
    PAST(GATE_ORIGIN_ERRORS, figures.origin.failed = 2, "2 of 1000 requests to the origin");
    PAST(GATE_TARGET_ERRORS, figures.target.failed = 2, "2 of 1000 requests to the target");
    PAST(GATE_TARGET_LATENCY, figures.target_p99_us = 30001, "of the target");
    PAST(GATE_FAILED_WRITES, figures.failed_writes = 1, "may differ");
    PAST(GATE_SHADOW_READS, figures.shadow.failed = 2, "2 of 1000 shadow reads");
    /* Close to nothing, the absolute allowance counts. */
    figures = good();
    figures.origin_p99_us = 1000;
    figures.target_p99_us = 6000;
    expect(GATE_TARGET_LATENCY, &figures, GATE_HOLDS, "accepted");
    figures.target_p99_us = 6001;
    expect(GATE_TARGET_LATENCY, &figures, GATE_FAILS, "accepted");
}

static void test_unknown_never_holds(void **state)
{
    struct gate_figures nothing = {.connected = 1, .in_sync = 1, .is_shadow_in_use = true};
    struct gate_check checks[GATE_COUNT];
    bool all_hold = true;
    (void)state;
    for (int gate = GATE_ORIGIN_HEALTH; gate < GATE_COUNT; gate++)
        expect((enum gate)gate, &nothing, GATE_UNKNOWN, "no data plane has told");
    (void)gate_check_all(GATE_BIT(FAILED_WRITES), &nothing, &limits, checks, &all_hold);
    assert_false(all_hold);
    nothing.is_shadow_in_use = false; /* then there is nothing to know */
    expect(GATE_SHADOW_READS, &nothing, GATE_HOLDS, "not in use");
    struct gate_figures idle = good(); /* no traffic is known, and nothing failed in it */
    idle.reads = idle.origin = (struct gate_share){.is_known = true};
    expect(GATE_FAILED_READS, &idle, GATE_HOLDS, "none failed");
    expect(GATE_ORIGIN_ERRORS, &idle, GATE_HOLDS, "none failed");
}

static void test_json(void **state)
{
    struct gate_figures figures = good();
    struct gate_check check;
    struct dynbuf text;
    struct json_writer writer;
    (void)state;
    figures.in_sync = 1;
    gate_check(GATE_CONVERGED, &figures, &limits, &check);
    dynbuf_init(&text, 4096);
    json_writer_init(&writer, &text);
    gate_write(&check, 1, &writer);
    assert_non_null(strstr(dynbuf_text(&text), "[{\"name\":\"dataplanes_converged\","));
    assert_non_null(
        strstr(dynbuf_text(&text), "\"ok\":false,\"known\":true,\"figure\":\"1 of 2\""));
    dynbuf_fini(&text);
}

static void test_rolling_sums(void **state)
{
    struct rolling *rolling = calloc(1, sizeof *rolling);
    struct traffic sum;
    uint64_t us;
    const struct traffic nothing = {.has_detail = true};
    struct traffic some = {
        .counts = {
            [TRAFFIC_READS_ORIGIN] = 10, [TRAFFIC_FAILED_READS] = 2, [TRAFFIC_FAILED_WRITES] = 1}};
    (void)state;
    assert_non_null(rolling);
    latency_add(&some.latencies[TRAFFIC_TARGET], 4000, 7000, 10);
    assert_false(rolling_sum(rolling, 1000, 300, &sum)); /* nobody looked */
    rolling_add(rolling, 1000, &some);
    rolling_add(rolling, 1000, &some);
    assert_int_equal(rolling->first_s, 1000);
    assert_true(rolling_sum(rolling, 1299, 300, &sum));
    assert_false(sum.has_detail);
    rolling_add(rolling, 1299, &nothing);
    assert_true(rolling_sum(rolling, 1299, 300, &sum));
    assert_true(sum.has_detail);
    assert_int_equal(sum.counts[TRAFFIC_READS_ORIGIN], 20);
    assert_int_equal(sum.counts[TRAFFIC_FAILED_WRITES], 2);
    assert_true(latency_percentile(&sum.latencies[TRAFFIC_TARGET], 500, &us));
    assert_in_range(us, 5000, 6000);
    assert_true(rolling_sum(rolling, 1300, 300, &sum)); /* one second on, the first is out */
    assert_int_equal(sum.counts[TRAFFIC_READS_ORIGIN], 0);
    assert_false(latency_percentile(&sum.latencies[TRAFFIC_TARGET], 500, &us));
    /* An hour is counted, of latencies less. */
    assert_true(rolling_sum(rolling, 1300, 3600, &sum));
    assert_int_equal(sum.counts[TRAFFIC_READS_ORIGIN], 20);
    assert_false(latency_percentile(&sum.latencies[TRAFFIC_TARGET], 500, &us));
    assert_false(rolling_sum(rolling, 1599, 300, &sum));
    assert_true(rolling_sum(rolling, 1299, 1, &sum));
    assert_int_equal(sum.counts[TRAFFIC_READS_ORIGIN], 0);
    /* An hour later the ring has come round: what was there is not counted again. */
    rolling_add(rolling, 1000 + ROLLING_SECONDS, &some);
    assert_true(rolling_sum(rolling, 1000 + ROLLING_SECONDS, ROLLING_SECONDS + 99, &sum));
    assert_int_equal(sum.counts[TRAFFIC_READS_ORIGIN], 10);
    assert_int_equal(sum.counts[TRAFFIC_FAILED_READS], 2);
    assert_false(rolling_sum(rolling, 5, 300, &sum));
    free(rolling);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_hold_at_their_limits),
        cmocka_unit_test(test_one_past_each_limit),
        cmocka_unit_test(test_unknown_never_holds),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_rolling_sums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

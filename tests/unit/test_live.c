/* Live settings: the snapshot's value where it has one, the configuration's where it has none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "dataplane/live.h"

static const struct config configured = {.request_timeout_ms = 10000,
                                         .max_clients_threshold = 500,
                                         .replace_cql_functions = true,
                                         .stamp_write_timestamps = false,
                                         .log_level = LOG_LEVEL_WARN};

static void test_absent_is_as_configured(void **state)
{
    struct snapshot snapshot = {.revision = 7};
    struct live_settings live = live_settings_of(&configured, &snapshot);
    (void)state;
    assert_int_equal(live.request_timeout_ms, 10000);
    assert_int_equal(live.request_timeout_ns, 10 * NS_PER_S);
    assert_int_equal(live.max_clients, 500);
    assert_true(live.replaces_functions);
    assert_false(live.stamps_writes);
    assert_int_equal(live_log_level(&configured, &snapshot), LOG_LEVEL_WARN);
}

static void test_the_snapshot_wins(void **state)
{
    struct snapshot snapshot = {.request_timeout_ms = 3600000,
                                .max_clients = 1000000,
                                .replace_cql_functions = SNAPSHOT_OFF,
                                .stamp_timestamps = SNAPSHOT_ON,
                                .has_log_level = true,
                                .log_level = LOG_LEVEL_DEBUG};
    struct live_settings live = live_settings_of(&configured, &snapshot);
    (void)state;
    assert_int_equal(live.request_timeout_ms, 3600000);
    assert_int_equal(live.request_timeout_ns, 3600 * NS_PER_S); /* beyond 32 bits */
    assert_int_equal(live.max_clients, 1000000);
    assert_false(live.replaces_functions);
    assert_true(live.stamps_writes);
    assert_int_equal(live_log_level(&configured, &snapshot), LOG_LEVEL_DEBUG);
    snapshot.replace_cql_functions = SNAPSHOT_ON;
    snapshot.stamp_timestamps = SNAPSHOT_OFF;
    live = live_settings_of(&configured, &snapshot);
    assert_true(live.replaces_functions);
    assert_false(live.stamps_writes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_absent_is_as_configured),
                                       cmocka_unit_test(test_the_snapshot_wins)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
